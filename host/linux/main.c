/* SPDX-License-Identifier: MIT */
/* winapi-hostd: options, signals, and the wait for clients or for the end. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostd.h"
#include "listener.h"
#include "log.h"

#define GRACE_MS 5000u

enum { EXIT_USAGE = 2 };

static const char usage[] =
	"Usage: winapi-hostd [OPTION]...\n"
	"Serves the winapi provider to guests over vmbus-user on a Unix socket.\n\n"
	"  --config FILE      configuration (default " HOSTD_DEFAULT_CONFIG ", if it exists)\n"
	"  --socket PATH      listen here (default " HOSTD_DEFAULT_SOCKET ")\n"
	"  --private FD       serve the one client at the other end of descriptor FD, then exit\n"
	"  --poll MODE        adaptive, always or never\n"
	"  --log-level LEVEL  error, warning, info or debug\n"
	"  --help, --version\n\n"
	"See winapi-hostd(8) and winapi-hostd.conf(5).\n";

struct options {
	const char *config;
	const char *socket;
	const char *poll;
	const char *log_level;
	int private_fd; /* -1: none */
};

static int bad_usage(const char *why, const char *what)
{
	fprintf(stderr, "winapi-hostd: %s%s\nTry 'winapi-hostd --help'.\n", why, what);
	return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },    { "socket", required_argument, NULL, 's' },
		{ "private", required_argument, NULL, 'p' },   { "poll", required_argument, NULL, 'm' },
		{ "log-level", required_argument, NULL, 'l' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },	       { 0 },
	};
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			options->config = optarg;
			break;
		case 's':
			options->socket = optarg;
			break;
		case 'p':
			options->private_fd = (int)strtol(optarg, &end, 10);
			if (!*optarg || *end || options->private_fd < 0)
				return bad_usage("--private needs a descriptor's number, not ", optarg);
			break;
		case 'm':
			options->poll = optarg;
			break;
		case 'l':
			options->log_level = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'v':
			puts("winapi-hostd " WINAPI_VERSION);
			return EXIT_SUCCESS;
		default:
			return bad_usage("see above", "");
		}
	}
	return optind < argc ? bad_usage("no such argument: ", argv[optind]) : -1;
}

/* -1: go on; else the exit status. The usual file need not exist; but one that can't be read says something. */
static int load(struct hostd_config *config, const char *path)
{
	const char *from = path ? path : HOSTD_DEFAULT_CONFIG;
	int err = config_load(config, from);

	if (!err || (err == -ENOENT && !path))
		return -1;
	if (err != -EINVAL)
		fprintf(stderr, "winapi-hostd: can't read the configuration %s: %s\n", from, strerror(-err));
	return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int configure(const struct options *options, struct hostd_config *config)
{
	config_defaults(config);
	if (options->config || options->private_fd < 0) {
		int status = load(config, options->config);

		if (status >= 0)
			return status;
	}
	if (options->socket && strlen(options->socket) >= sizeof(config->socket))
		return bad_usage("--socket takes a path of at most 99 characters, not ", options->socket);
	if (options->socket)
		strcpy(config->socket, options->socket);
	if (options->poll && !config_parse_poll(options->poll, &config->poll))
		return bad_usage("--poll takes adaptive, always or never, not ", options->poll);
	if (options->log_level && !log_level_parse(options->log_level, &config->log_level))
		return bad_usage("--log-level takes error, warning, info or debug, not ", options->log_level);
	log_set_level(config->log_level);
	return -1;
}

/* Every guest takes a handful of descriptors. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int signal_descriptor(bool private)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	/* A private host is in its application's process group: its end is the socket's. */
	if (private)
		signal(SIGINT, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void accept_clients(struct hostd *hostd, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		hostd_add_guest(hostd, fd);
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
		wp_log(WP_LOG_ERROR, "can't accept a client: %s", strerror(errno));
		usleep(100000); /* it stays pending: don't spin on it */
	}
}

/* Until a signal, or in private mode until the one client is gone. */
static void serve(struct hostd *hostd, int signals, int listener)
{
	struct pollfd fds[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = listener, .events = POLLIN },
		{ .fd = listener < 0 ? hostd->gone : -1, .events = POLLIN },
	};

	for (;;) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents || fds[2].revents)
			return;
		if (fds[1].revents)
			accept_clients(hostd, listener);
	}
}

static int run(struct hostd *hostd, const struct options *options)
{
	int signals = signal_descriptor(options->private_fd >= 0);
	int listener = -1;
	bool ours = false;

	if (options->private_fd < 0) {
		listener = listener_open(&hostd->config, &ours);
		if (listener < 0)
			return EXIT_FAILURE;
	}
	if (signals < 0 || hostd_start(hostd))
		return EXIT_FAILURE;
	if (options->private_fd >= 0 && hostd_add_guest(hostd, options->private_fd)) {
		wp_log(WP_LOG_ERROR, "descriptor %d isn't a Unix socket", options->private_fd);
		hostd_stop(hostd, 0);
		return EXIT_FAILURE;
	}
	if (listener >= 0)
		wp_log(WP_LOG_INFO, "version %s serves %s with %u ring threads", WINAPI_VERSION,
		       hostd->config.socket, hostd->thread_count);
	serve(hostd, signals, listener);
	if (listener >= 0) {
		close(listener);
		if (ours)
			unlink(hostd->config.socket);
		wp_log(WP_LOG_INFO, "ending: running calls may finish, the rest is turned away");
	}
	hostd_stop(hostd, listener >= 0 ? GRACE_MS : 0);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options = { .private_fd = -1 };
	struct hostd_config config;
	struct hostd *hostd;
	int status = parse_options(argc, argv, &options);

	if (status < 0)
		status = configure(&options, &config);
	if (status >= 0)
		return status;
	mallopt(M_ARENA_MAX, 1); /* small and long-lived: one heap for all threads */
	/*
	 * What a client has room for is megabytes that mostly stay untouched, as they come zeroed from the kernel.
	 * Left to itself, malloc takes such pieces from its heap once one was freed, and zeroes them.
	 */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	raise_descriptor_limit();
	hostd = hostd_create(&config, options.private_fd >= 0 ? 1 : 0);
	if (!hostd) {
		wp_log(WP_LOG_ERROR, "can't start: out of memory or descriptors");
		return EXIT_FAILURE;
	}
	status = run(hostd, &options);
	if (status == EXIT_SUCCESS)
		hostd_destroy(hostd);
	return status;
}
