/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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

static int fail(const struct hostd_config *config, int fd, const char *what)
{
	int err = -errno;

	wp_log(WP_LOG_ERROR, "%s: %s: %s", config->socket, what, strerror(errno));
	if (fd >= 0)
		close(fd);
	return err;
}

/* A socket file that nobody serves any more is in the way; one that is served is not ours to take. */
static bool remove_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool stale = connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;

	close(fd);
	return stale && !unlink(address->sun_path);
}

static int set_owner(const struct hostd_config *config)
{
	const struct group *group;

	if (chmod(config->socket, config->mode))
		return -1;
	if (!config->group[0])
		return 0;
	group = getgrnam(config->group);
	if (!group) {
		errno = ENOENT;
		return -1;
	}
	return chown(config->socket, (uid_t)-1, group->gr_gid);
}

int listener_open(const struct hostd_config *config, bool *ours)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = passed_socket();
	mode_t mask;
	int bound;

	*ours = false;
	if (fd != -1)
		return fd;
	memcpy(address.sun_path, config->socket, strlen(config->socket));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(config, fd, "no socket");
	mask = umask(0777); /* nobody connects before the permissions are right */
	bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
	if (bound && errno == EADDRINUSE && remove_stale(&address))
		bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (bound)
		return fail(config, fd,
			    errno == ENOENT ?
				    "its directory doesn't exist; create it or choose --socket PATH" :
			    errno == EADDRINUSE ? "another winapi-hostd serves it" :
						  "can't be bound");
	*ours = true;
	if (set_owner(config) || listen(fd, 128))
		return fail(config, fd, "permissions can't be set");
	return fd;
}
