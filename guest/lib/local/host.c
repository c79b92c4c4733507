/* SPDX-License-Identifier: MIT */
/*
 * The host process: a daemon that listens on a path, or a private one of our own. The latter is started
 * inside somebody else's program, so it leaves no trace there: no SIGCHLD, no inherited descriptors, no
 * changed signal state.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "local.h"

#define PRIVATE_FD 3
#define END_MS 2000

/* A listener whose backlog is full keeps connect() waiting. */
static void limit_connect(int fd, uint64_t deadline)
{
	uint64_t now = clock_ns(), us = deadline > now ? (deadline - now) / 1000u : 0;
	struct timeval left = { .tv_sec = (time_t)(us / 1000000u), .tv_usec = (suseconds_t)(us % 1000000u) };

	if (!us)
		left.tv_usec = 1; /* 0 would mean for ever */
	if (deadline != NO_DEADLINE)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left));
}

int host_connect(const char *path, uint64_t deadline)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return fail(-EINVAL, "\"%.60s...\" is longer than a Unix socket's name can be", path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(-errno, "no socket: %s", strerrordesc_np(errno));
	limit_connect(fd, deadline);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = -errno;

		close(fd);
		if (err == -EAGAIN)
			return fail(-ETIMEDOUT, "%s: the host is silent: it accepts no connection", path);
		if (err == -EACCES)
			return fail(err, "%s: not allowed; become a member of the socket's group", path);
		return fail(err,
			    "%s: %s; is winapi-hostd running? Try `systemctl start winapi-hostd.socket`, "
			    "or `winapi-hostd --socket %s`",
			    path, strerrordesc_np(-err), path);
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* ---- A private host ----------------------------------------------------------------------------------- */

static const char *host_path(void)
{
	const char *path = secure_getenv("WINAPI_HOSTD");

	return path ? path : WINAPI_LIBEXECDIR "/winapi-hostd";
}

static void reset_signals(void)
{
	struct sigaction standard = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &standard, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child, which shares nothing: only async-signal-safe functions until exec. */
static void become_host(const char *path, const char *const *argv, int socket, int report)
{
	int err;

	/* Both out of the way of descriptor 3 first. */
	socket = fcntl(socket, F_DUPFD_CLOEXEC, PRIVATE_FD + 2);
	report = fcntl(report, F_DUPFD_CLOEXEC, PRIVATE_FD + 2);
	reset_signals();
	if (socket >= 0 && report >= 0 && dup2(socket, PRIVATE_FD) == PRIVATE_FD &&
	    !syscall(SYS_close_range, PRIVATE_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC))
		execv(path, (char *const *)argv);
	err = errno;
	if (write(report, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

/* With all signals blocked, so that no handler of the application's runs in the child before they are reset. */
static pid_t clone_quietly(int *pid_fd)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD,
		.pidfd = (uintptr_t)pid_fd,
		.exit_signal = 0, /* no SIGCHLD, and an application's wait() doesn't see it */
	};
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* 0 when exec worked: the pipe closes without a word. */
static int exec_error(int report)
{
	int err = 0;
	ssize_t n;

	do
		n = read(report, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	return n == sizeof(err) ? -err : 0;
}

int host_start_private(uint32_t poll, int *socket, int *pid_fd)
{
	static const char *const modes[] = { "adaptive", "always", "never" };
	const char *path = host_path();
	const char *const argv[] = { path,	  "--private",	 "3",	  "--poll",
				     modes[poll], "--log-level", "error", NULL };
	int pair[2], report[2], err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return fail(-errno, "no socket: %s", strerrordesc_np(errno));
	if (pipe2(report, O_CLOEXEC)) {
		err = -errno;
		close(pair[0]);
		close(pair[1]);
		return fail(err, "no pipe: %s", strerrordesc_np(-err));
	}
	pid = clone_quietly(pid_fd);
	if (!pid)
		become_host(path, argv, pair[1], report[1]);
	err = pid < 0 ? -errno : 0;
	close(pair[1]);
	close(report[1]);
	if (!err) {
		err = exec_error(report[0]);
		if (err) {
			host_reap(*pid_fd);
			*pid_fd = -1;
		}
	}
	close(report[0]);
	if (err) {
		close(pair[0]);
		return fail(err,
			    "a private host can't be started: %s: %s; install it there or set WINAPI_HOSTD",
			    path, strerrordesc_np(-err));
	}
	*socket = pair[0];
	return 0;
}

static bool ends_soon(int pid_fd)
{
	struct pollfd ended = { .fd = pid_fd, .events = POLLIN };
	uint64_t now = clock_ns(), deadline = deadline_after(now, END_MS);

	/* Again after a signal of the application's: poll isn't restarted. */
	for (; now < deadline; now = clock_ns())
		if (poll(&ended, 1, (int)((deadline - now) / 1000000u) + 1) > 0)
			return true;
	return false;
}

void host_reap(int pid_fd)
{
	siginfo_t info;

	if (pid_fd < 0)
		return;
	/* Its socket is closed, so it ends by itself; a host that doesn't is of no use to anybody. */
	if (!ends_soon(pid_fd))
		syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)pid_fd, &info, WEXITED | __WALL) && errno == EINTR)
		;
	close(pid_fd);
}
