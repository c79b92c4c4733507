/* SPDX-License-Identifier: MIT */
#include "eventfd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define PATIENCE_NS \
	10000000 /* writing takes a microsecond; a thread that isn't run meanwhile only repeats it */
#define TRIES 3

/* Each thread that signals has a timer, to interrupt it alone. */
struct timer {
	timer_t id;
};

static pthread_key_t timer_key;

/* Nothing to do: the write ends with EINTR. */
static void on_alarm(int signal)
{
	(void)signal;
}

static void timer_end(void *argument)
{
	struct timer *timer = argument;

	timer_delete(timer->id);
	free(timer);
}

static void make_key(void)
{
	if (pthread_key_create(&timer_key, timer_end))
		abort();
}

int eventfd_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sigaction action = { .sa_handler = on_alarm }; /* and no SA_RESTART */

	pthread_once(&once, make_key);
	return sigaction(SIGALRM, &action, NULL) ? -errno : 0;
}

bool eventfd_check(int fd)
{
	static const char wanted[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(wanted)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target)) == sizeof(wanted) - 1 &&
	       !memcmp(target, wanted, sizeof(wanted) - 1);
}

static struct timer *timer_new(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct timer *timer = malloc(sizeof(*timer));

	event.sigev_notify_thread_id = gettid();
	if (!timer || timer_create(CLOCK_MONOTONIC, &event, &timer->id)) {
		free(timer);
		return NULL;
	}
	if (pthread_setspecific(timer_key, timer)) {
		timer_end(timer);
		return NULL;
	}
	return timer;
}

/* Again and again until it is stopped: the first may come before the write has begun. */
static void timer_set(struct timer *timer, long ns)
{
	struct itimerspec at = { { 0, ns }, { 0, ns } };

	timer_settime(timer->id, 0, &at, NULL);
}

int eventfd_signal(int fd)
{
	static const uint64_t one = 1;
	struct timer *timer = pthread_getspecific(timer_key);
	ssize_t n = -1;

	if (!timer)
		timer = timer_new();
	if (!timer)
		return -ENOMEM;
	timer_set(timer, PATIENCE_NS);
	for (int i = 0; i < TRIES && n < 0; i++) {
		n = write(fd, &one, sizeof(one));
		if (n < 0 && errno != EINTR)
			break;
	}
	n = n < 0 && errno != EAGAIN ? -errno : 0;
	timer_set(timer, 0);
	return (int)n;
}
