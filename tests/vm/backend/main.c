/* SPDX-License-Identifier: MIT */
#include "backend.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../../host/linux/guard.h"

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "vm_backend: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, " (%s)\n", strerror(errno));
	va_end(arguments);
	exit(1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die("%s: too long", path);
	memcpy(address.sun_path, path, strlen(path));
	unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, 4))
		die("%s", path);
	return fd;
}

/* A masked ring gives no kicks, so it is looked at again and again. */
static int patience(const struct backend *b)
{
	if (b->polls)
		return 0;
	return b->hold ? 1 : b->late_ms || b->restart_ms || b->type_ms ? 10 : -1;
}

static void on_kick(struct backend *b, const struct kick *kick)
{
	struct vmbus_channel *channel = kick->channel;
	uint64_t count;

	if (read(kick->fd, &count, sizeof(count)) != sizeof(count))
		return;
	if (channel == b->channel)
		b->counters.signals += count;
	vmbus_channel_kick(channel);
}

static void turn(struct backend *b, int listener)
{
	struct pollfd fds[2 + MAX_KICKS] = { { b->socket, POLLIN, 0 },
					     { b->socket < 0 ? listener : -1, POLLIN, 0 } };
	struct kick kicks[MAX_KICKS];
	uint32_t count = b->kick_count;

	/* A copy: whatever is done for one of them may end another. */
	memcpy(kicks, b->kicks, sizeof(kicks));
	for (uint32_t i = 0; i < count; i++)
		fds[2 + i] = (struct pollfd){ kicks[i].fd, POLLIN, 0 };
	if (poll(fds, 2 + count, patience(b)) < 0 && errno != EINTR)
		die("poll");
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t now = 0; fds[2 + i].revents & POLLIN && now < b->kick_count; now++)
			if (b->kicks[now].fd == kicks[i].fd && b->kicks[now].channel == kicks[i].channel)
				on_kick(b, &kicks[i]);
	if (fds[0].revents)
		frontend_read(b);
	if (fds[1].revents)
		frontend_accept(b, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	if (b->polls || b->hold)
		device_poll(b);
	scenario_tick(b);
	keyboard_tick(b);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "keyboard", no_argument, NULL, 'k' },
		{ "small", no_argument, NULL, 'l' },
		{ "gpadl-mib", required_argument, NULL, 'g' },
		{ 0 },
	};
	static struct backend b = { .socket = -1 };
	const char *path = NULL;
	int option, listener;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			path = optarg;
		else if (option == 'k')
			b.keyboard = true;
		else if (option == 'l')
			b.small = true;
		else if (option == 'g')
			b.limits.max_gpadl_bytes = strtoull(optarg, NULL, 10) << 20;
		else
			return 2;
	}
	if (!path) {
		fprintf(stderr,
			"usage: vm_backend --socket PATH [--keyboard] [--small] [--gpadl-mib MIB in all GPADLs]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (guard_install())
		die("SIGBUS");
	listener = listen_at(path);
	for (;;)
		turn(&b, listener);
}
