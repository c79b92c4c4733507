/* SPDX-License-Identifier: MIT */
#include "ring_thread.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../common/hot.h"
#include "device.h"
#include "guest.h"

#define EVENTS 32
#define LOOK_NS 100000u /* how often a polling thread looks at its sockets */
#define POLL_MIN_NS 10000u /* after any traffic: a caller that polls too is back in 1 or 2 us */
#define POLL_MAX_NS 50000u /* about what waking up costs: polling longer can't win */

int ring_thread_init(struct ring_thread *thread, struct hostd *hostd, enum hostd_poll poll)
{
	*thread = (struct ring_thread){ .hostd = hostd, .poll = poll, .epoll = -1, .wake = -1 };
	thread->inbox_last = &thread->inbox;
	wp_lock_init(&thread->inbox_lock);
	thread->epoll = epoll_create1(EPOLL_CLOEXEC);
	thread->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (thread->epoll < 0 || thread->wake < 0)
		return -errno;
	return ring_thread_watch(thread, thread->wake, EPOLLIN | EPOLLET, &thread->wake_source);
}

void ring_thread_free(struct ring_thread *thread)
{
	close(thread->epoll);
	close(thread->wake);
	wp_lock_destroy(&thread->inbox_lock);
}

int ring_thread_watch(struct ring_thread *thread, int fd, uint32_t events, struct source *source)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(thread->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* ---- Tasks ------------------------------------------------------------------------------------------ */

void ring_thread_post(struct ring_thread *thread, struct task *task)
{
	static const uint64_t one = 1;

	task->next = NULL;
	wp_lock(&thread->inbox_lock);
	__atomic_store_n(thread->inbox_last, task, __ATOMIC_RELEASE);
	thread->inbox_last = &task->next;
	wp_unlock(&thread->inbox_lock);
	/* Against the fence in sleep_until_event: one of the two sees the other. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&thread->asleep, __ATOMIC_RELAXED) && write(thread->wake, &one, sizeof(one)) < 0)
		wp_log(WP_LOG_ERROR, "a ring thread couldn't be woken: errno %d", errno);
}

static bool inbox_empty(struct ring_thread *thread)
{
	return !__atomic_load_n(&thread->inbox, __ATOMIC_ACQUIRE);
}

static bool run_tasks(struct ring_thread *thread)
{
	struct task *task;

	if (inbox_empty(thread))
		return false;
	wp_lock(&thread->inbox_lock);
	task = thread->inbox;
	__atomic_store_n(&thread->inbox, NULL, __ATOMIC_RELAXED);
	thread->inbox_last = &thread->inbox;
	wp_unlock(&thread->inbox_lock);
	while (task) {
		struct task *next = task->next;

		task->run(task);
		task = next;
	}
	return true;
}

void ring_thread_bury(struct ring_thread *thread, struct task *task)
{
	task->next = thread->graveyard;
	thread->graveyard = task;
}

static void run_graveyard(struct ring_thread *thread)
{
	while (thread->graveyard) {
		struct task *task = thread->graveyard;

		thread->graveyard = task->next;
		task->run(task);
	}
}

/* ---- Events ----------------------------------------------------------------------------------------- */

HOT_PATH static bool take_events(struct ring_thread *thread, int timeout)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(thread->epoll, events, EVENTS, timeout);

	for (int i = 0; i < n; i++) {
		struct source *source = events[i].data.ptr;

		if (source->ready)
			source->ready(source, events[i].events);
	}
	run_graveyard(thread);
	return n > 0;
}

/* ---- Rings ------------------------------------------------------------------------------------------ */

static bool poll_rings(struct ring_thread *thread)
{
	struct device *device = thread->active, *next;
	bool found = false;

	for (; device; device = next) {
		next = device->next_active;
		if (device_turn(device))
			found = true;
	}
	return found;
}

/* A request came after `gap` ns without one. What no polling could bridge counts as just that. */
static void learn(struct ring_thread *thread, uint64_t gap)
{
	if (gap > 4 * POLL_MAX_NS)
		gap = 4 * POLL_MAX_NS;
	thread->gap_ns = (7 * thread->gap_ns + gap) / 8;
}

static uint64_t poll_for_ns(const struct ring_thread *thread)
{
	uint64_t window = 2 * thread->gap_ns;

	if (window < POLL_MIN_NS || thread->gap_ns > POLL_MAX_NS)
		return POLL_MIN_NS;
	return window < POLL_MAX_NS ? window : POLL_MAX_NS;
}

/* Is there a guest whose CPU isn't just this thread's? */
static bool may_poll(const struct ring_thread *thread)
{
	if (thread->poll == HOSTD_POLL_ALWAYS)
		return thread->active;
	for (const struct device *device = thread->active; device; device = device->next_active)
		if (!device->guest->one_cpu)
			return thread->poll == HOSTD_POLL_ADAPTIVE;
	return false;
}

/* After a turn that found nothing: is it worth another? */
static bool keep_polling(struct ring_thread *thread)
{
	uint64_t now;

	if (!may_poll(thread))
		return false;
	if (thread->idle_turns++ % 16 && thread->idle_since_ns)
		return true;
	now = wp_clock_ns();
	if (!thread->idle_since_ns)
		thread->idle_since_ns = now;
	if (now - thread->looked_ns > LOOK_NS) {
		thread->looked_ns = now;
		take_events(thread, 0);
	}
	return thread->poll == HOSTD_POLL_ALWAYS || now - thread->idle_since_ns < poll_for_ns(thread);
}

static void traffic(struct ring_thread *thread)
{
	thread->idle_turns = 0;
	if (!thread->idle_since_ns)
		return;
	learn(thread, wp_clock_ns() - thread->idle_since_ns);
	thread->idle_since_ns = 0;
}

/* Gives up polling: every channel's interrupts on, and looked at once more. False: there was something. */
static bool stop_polling(struct ring_thread *thread)
{
	while (thread->active)
		if (!device_stop_polling(thread->active))
			return false;
	return true;
}

static void sleep_until_event(struct ring_thread *thread)
{
	__atomic_store_n(&thread->asleep, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* against the one in ring_thread_post */
	if (inbox_empty(thread))
		take_events(thread, -1);
	__atomic_store_n(&thread->asleep, 0, __ATOMIC_RELAXED);
}

HOT_PATH bool ring_thread_turn(struct ring_thread *thread)
{
	bool found = run_tasks(thread);

	if (poll_rings(thread))
		found = true;
	run_graveyard(thread);
	return found;
}

bool ring_thread_step(struct ring_thread *thread)
{
	bool found = ring_thread_turn(thread);

	return take_events(thread, 0) || found;
}

static bool finished(struct ring_thread *thread)
{
	return thread->stopping && !thread->guests && inbox_empty(thread);
}

HOT_PATH void *ring_thread_run(void *argument)
{
	struct ring_thread *thread = argument;

	while (!finished(thread)) {
		if (ring_thread_turn(thread)) {
			traffic(thread);
			/* Rings that are never empty mustn't hide the sockets. */
			if (++thread->busy_turns % 256 == 0)
				take_events(thread, 0);
			continue;
		}
		if (keep_polling(thread)) {
			/* A guest that is about to publish needs the line: looking all the time takes it away. */
			__builtin_ia32_pause();
			continue;
		}
		if (stop_polling(thread))
			sleep_until_event(thread);
	}
	return NULL;
}
