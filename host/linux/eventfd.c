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

#include "../../common/hot.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define PATIENCE_NS \
	2000000 /* what one guest may hold up the others of its thread, once; writing takes a microsecond */

/*
 * Each thread that signals has a timer, to interrupt it alone. It goes off again and again: an alarm may come just
 * before the write that blocks (where TSan runs the handler too late to see to another). Once set, it is left running
 * beyond the write, so that many writes share one setting, until it finds the thread not writing.
 */
struct timer {
	timer_t id;
	volatile sig_atomic_t writing; /* set before `running` is looked at: then the alarm leaves it running */
	volatile sig_atomic_t running;
};

static pthread_key_t timer_key;

static void timer_run(struct timer *timer, bool run)
{
	const struct timespec period = { 0, run ? PATIENCE_NS : 0 };
	const struct itimerspec at = { .it_interval = period, .it_value = period };

	timer->running = run;
	timer_settime(timer->id, 0, &at, NULL);
}

/* On the thread itself. What it is for has happened by then: a write that was under way ends with EINTR. */
static void on_alarm(int number, siginfo_t *info, void *context)
{
	struct timer *timer = info->si_value.sival_ptr;

	(void)number;
	(void)context;
	if (info->si_code == SI_TIMER && !timer->writing)
		timer_run(timer, false);
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
	struct sigaction action = { .sa_sigaction = on_alarm,
				    .sa_flags = SA_SIGINFO }; /* and no SA_RESTART */

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
	struct timer *timer = calloc(1, sizeof(*timer));

	event.sigev_notify_thread_id = gettid();
	event.sigev_value.sival_ptr = timer;
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

HOT_PATH int eventfd_signal(int fd)
{
	static const uint64_t one = 1;
	struct timer *timer = pthread_getspecific(timer_key);
	ssize_t n;

	if (!timer)
		timer = timer_new();
	if (!timer)
		return -ENOMEM;
	timer->writing = 1;
	if (!timer->running)
		timer_run(timer, true);
	/* Only a write that waits, as the counter is full, is interrupted: a thread that isn't run in time loses nothing. */
	n = write(fd, &one, sizeof(one));
	n = n < 0 && errno != EAGAIN ? -errno : 0;
	timer->writing = 0;
	return (int)n;
}
