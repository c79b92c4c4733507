/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_PASSED_FD 3

/* -1: the service manager passed none. */
static int passed_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int type = 0;
	socklen_t size = sizeof(type);

	if (!pid || !count || strtol(pid, NULL, 10) != getpid() || strtol(count, NULL, 10) < 1)
		return -1;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	if (getsockopt(FIRST_PASSED_FD, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_SEQPACKET) {
		wp_log(WP_LOG_ERROR,
		       "the socket that was passed isn't SOCK_SEQPACKET: use ListenSequentialPacket=");
		return -EINVAL;
	}
	fcntl(FIRST_PASSED_FD, F_SETFD, FD_CLOEXEC);
	/* Passed as it pleases who passes it; ours mustn't wait for a client that left before accept. */
	fcntl(FIRST_PASSED_FD, F_SETFL, fcntl(FIRST_PASSED_FD, F_GETFL) | O_NONBLOCK);
	return FIRST_PASSED_FD;
}

/* A socket that nobody serves any more is in the way; one that is served, or another file, stays. */
static bool remove_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool stale = connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;
	struct stat file;

	close(fd);
	if (stale && !lstat(address->sun_path, &file) && S_ISSOCK(file.st_mode))
		return !unlink(address->sun_path);
	errno = EEXIST;
	return false;
}

static int set_owner(const struct hostd_config *config, const char *path)
{
	const struct group *group;

	if (chmod(path, config->mode))
		return -1;
	if (!config->group[0])
		return 0;
	group = getgrnam(config->group);
	if (!group) {
		errno = ENOENT;
		return -1;
	}
	return chown(path, (uid_t)-1, group->gr_gid);
}

/* The name that it is to have, beside the one that it has. */
static bool appear(const struct sockaddr_un *hidden, const struct sockaddr_un *address)
{
	return !link(hidden->sun_path, address->sun_path) ||
	       (errno == EEXIST && remove_stale(address) && !link(hidden->sun_path, address->sun_path));
}

static const char *why_not(int err)
{
	switch (err) {
	case ENOENT:
		return "its directory or group doesn't exist; create it or choose --socket PATH";
	case EEXIST:
		return "another winapi-hostd serves it, or it is no socket";
	default:
		return "can't be bound";
	}
}

/* Under another name until it listens and has its permissions: who sees its own can connect to it. */
static int bind_and_listen(const struct hostd_config *config, int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX }, hidden = { .sun_family = AF_UNIX };
	int err = 0;

	memcpy(address.sun_path, config->socket, strlen(config->socket));
	snprintf(hidden.sun_path, sizeof(hidden.sun_path), "%s.%d", config->socket, getpid());
	unlink(hidden.sun_path); /* of a process that had our number */
	if (bind(fd, (struct sockaddr *)&hidden, sizeof(hidden)))
		return errno;
	if (set_owner(config, hidden.sun_path) || listen(fd, 128) || !appear(&hidden, &address))
		err = errno;
	unlink(hidden.sun_path);
	return err;
}

int listener_open(const struct hostd_config *config, bool *ours)
{
	int fd = passed_socket(), err;

	*ours = false;
	if (fd != -1)
		return fd;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	err = fd < 0 ? errno : bind_and_listen(config, fd);
	if (!err) {
		*ours = true;
		return fd;
	}
	wp_log(WP_LOG_ERROR, "%s: %s: %s", config->socket, why_not(err), strerror(err));
	if (fd >= 0)
		close(fd);
	return -err;
}
