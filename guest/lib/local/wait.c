/* SPDX-License-Identifier: MIT */
/*
 * Waiting. Any number of threads wait on a handle; whoever gets receive_lock drains the ring for all.
 *
 * First everybody polls, for a while that recent replies taught: tightly at first, then with pauses; and
 * where more threads wait than there are other CPUs, each lets the others run instead. Then they sleep:
 * one, holding receive_lock, in the kernel with the ring's interrupt on; the others on the states of their
 * requests, until their replies come or the one who drained leaves and wakes the next.
 *
 * Long calls that take as long as the ones before them are slept through until shortly before their end,
 * which is polled for: waking up an idle CPU would be a twentieth of a call over 64 MiB.
 */
#include <linux/futex.h>
#include <limits.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "local.h"

#define TIGHT_LOOKS 1000u /* `pause` costs 45 ns, a third of a cache line's way across */
#define LOOKS_PER_CLOCK 32u
#define TURN_NS 500000u /* handing a CPU round among threads that wait takes microseconds */
#define SHY_WAITS 1000u /* until the next yield is tried, which costs milliseconds if nothing has changed */
#define SOCKET_NS 10000000u /* how often one who never sleeps looks whether the host lives */

/* ---- Looking ------------------------------------------------------------------------------------------- */

/* Until when polling is worth it. */
static uint64_t poll_end(const struct local *local, uint64_t begin)
{
	if (local->base.poll == WINAPI_POLL_NEVER)
		return 0;
	if (local->base.poll == WINAPI_POLL_ALWAYS)
		return UINT64_MAX;
	return begin + learned_poll_ns(&local->learned);
}

HOT_PATH bool replies_pending(const struct local *local)
{
	const struct vmbus_ring_header *ring = local->in.shared;

	/* A host without room may have begun to wait after the last reply was taken: it needs that place. */
	return VMBUS_RING_PEEK(&ring->write_index) != __atomic_load_n(&local->read_hint, __ATOMIC_RELAXED) ||
	       VMBUS_RING_PEEK(&ring->pending_send_size);
}

static bool lost(const struct local *local)
{
	return __atomic_load_n(&local->lost, __ATOMIC_RELAXED);
}

static bool ended(const struct request *request)
{
	enum request_state state = state_of(request_word(request));

	return state == REQUEST_DONE || state == REQUEST_ENDING;
}

static void try_drain(struct local *local)
{
	if (!lock_try(&local->receive_lock))
		return;
	calls_drain(local);
	receive_drop(local);
}

/* More threads are in this handle than there are CPUs beside the host's. (One of `inside` is the owner.) */
static bool crowded(const struct local *local)
{
	return __atomic_load_n(&local->base.inside, __ATOMIC_RELAXED) > local->cpus + 1;
}

/*
 * Lets others run who may be what this thread waits for. A yield that takes long gave the CPU to another program for
 * its whole turn, as the next ones would: then sleeping is better, since who is woken up goes first. True: that
 * happened now.
 */
static bool yield_to_others(struct local *local)
{
	uint64_t before = clock_ns();

	sched_yield();
	if (clock_ns() - before < TURN_NS)
		return false;
	__atomic_store_n(&local->shy, SHY_WAITS, __ATOMIC_RELAXED);
	return true;
}

/* Is this wait to be slept through because yields went wrong? Threads that count at once may lose a count. */
static bool shy(struct local *local)
{
	uint32_t left = __atomic_load_n(&local->shy, __ATOMIC_RELAXED);

	if (!left)
		return false;
	__atomic_store_n(&local->shy, left - 1, __ATOMIC_RELAXED);
	return true;
}

/* What a thread waits for: a request's end, or something of the caller's. */
struct wish {
	struct local *local;
	struct request *request;
	enough_fn enough;
	uint64_t begin;
	uint64_t deadline;
};

static bool fulfilled(const struct wish *wish)
{
	if (wish->request)
		return ended(wish->request);
	return wish->enough(wish->local, wish->deadline);
}

static bool over(const struct wish *wish, uint64_t now)
{
	return now >= wish->deadline || lost(wish->local);
}

/* True: fulfilled, after *looks looks in vain. */
static bool poll_until(const struct wish *wish, uint64_t until, uint32_t *looks)
{
	struct local *local = wish->local;
	uint64_t looked = wish->begin;

	*looks = 0;
	if (!until || (local->base.poll == WINAPI_POLL_ADAPTIVE && crowded(local) && shy(local)))
		return fulfilled(wish);
	for (;; ++*looks) {
		uint64_t now;

		if (replies_pending(local))
			try_drain(local);
		if (fulfilled(wish))
			return true;
		if (crowded(local)) {
			if (yield_to_others(local) && local->base.poll == WINAPI_POLL_ADAPTIVE)
				return fulfilled(wish);
		} else if (*looks > TIGHT_LOOKS) {
			__builtin_ia32_pause();
		}
		if (*looks % LOOKS_PER_CLOCK != LOOKS_PER_CLOCK - 1)
			continue;
		now = clock_ns();
		if (over(wish, now) || now > until)
			return false;
		if (now - looked > SOCKET_NS) {
			looked = now;
			bus_look(local);
		}
	}
}

/* ---- Sleeping ------------------------------------------------------------------------------------------ */

#define WATCHED 3 /* descriptors of sleep_fd */

static struct timespec *left_until(uint64_t deadline, uint64_t now, struct timespec *left)
{
	uint64_t ns = deadline > now ? deadline - now : 0;

	if (deadline == NO_DEADLINE)
		return NULL;
	left->tv_sec = (time_t)(ns / 1000000000u);
	left->tv_nsec = (long)(ns % 1000000000u);
	return left;
}

/* For kernels without epoll_pwait2: whole milliseconds, rather late than early. */
static int ms_until(uint64_t deadline, uint64_t now)
{
	uint64_t ms = deadline > now ? (deadline - now + 999999u) / 1000000u : 0;

	return deadline == NO_DEADLINE ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
}

static int watch(struct local *local, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	return epoll_ctl(local->sleep_fd, EPOLL_CTL_ADD, fd, &event);
}

/* The edge saves a read: system calls are much of what a wake-up costs. */
int wait_init(struct local *local)
{
	static const struct timespec none;
	struct epoll_event events[WATCHED];

	local->sleep_fd = epoll_create1(EPOLL_CLOEXEC);
	if (local->sleep_fd < 0 || watch(local, local->call_fd, EPOLLIN | EPOLLET) ||
	    watch(local, local->stir_fd, EPOLLIN | EPOLLET) || watch(local, local->socket, EPOLLIN))
		return fail(-errno, "no descriptors left");
	local->sleeps_by_ms = epoll_pwait2(local->sleep_fd, events, WATCHED, &none, NULL) < 0;
	return 0;
}

/* The host has call_fd as well and may make it block: so not by read(), unless the kernel can't do it otherwise. */
void local_clear(int fd)
{
	uint64_t count;
	struct iovec into = { &count, sizeof(count) };

	if (preadv2(fd, &into, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP &&
	    read(fd, &count, sizeof(count)) < 0)
		return; /* it was clear */
}

static int sleep_until(struct local *local, uint64_t deadline, struct epoll_event events[WATCHED])
{
	struct timespec left;
	uint64_t now = clock_ns();

	if (local->sleeps_by_ms)
		return epoll_wait(local->sleep_fd, events, WATCHED, ms_until(deadline, now));
	return epoll_pwait2(local->sleep_fd, events, WATCHED, left_until(deadline, now, &left), NULL);
}

/* With receive_lock: in the kernel until the host calls, the socket speaks, or time is up. */
static void sleep_for_all(struct local *local, uint64_t deadline)
{
	struct epoll_event events[WATCHED];
	int count;

	if (vmbus_ring_release(&local->in, true))
		local_kick(local);
	if (vmbus_ring_unmask(&local->in) || lost(local)) {
		vmbus_ring_mask(&local->in);
		return;
	}
	__atomic_fetch_add(&local->sleeps, 1, __ATOMIC_RELAXED);
	count = sleep_until(local, deadline, events);
	vmbus_ring_mask(&local->in);
	/* The application's descriptor isn't edge-triggered: what was for us must not show there. */
	if (__atomic_load_n(&local->poll_fd, __ATOMIC_ACQUIRE) >= 0)
		local_clear(local->call_fd);
	for (int i = 0; i < count; i++)
		if (events[i].data.fd == local->socket)
			bus_look(local);
}

static void add_sleeper(struct local *local, struct request *request)
{
	lock_take(&local->sleepers_lock);
	request->next_sleeper = local->sleepers;
	local->sleepers = request;
	__atomic_fetch_add(&local->sleeper_count, 1, __ATOMIC_SEQ_CST);
	lock_drop(&local->sleepers_lock);
}

static void remove_sleeper(struct local *local, struct request *request)
{
	struct request **at = &local->sleepers;

	lock_take(&local->sleepers_lock);
	while (*at && *at != request)
		at = &(*at)->next_sleeper;
	if (*at)
		*at = request->next_sleeper;
	__atomic_fetch_sub(&local->sleeper_count, 1, __ATOMIC_SEQ_CST);
	lock_drop(&local->sleepers_lock);
}

void wait_wake(struct request *request)
{
	syscall(SYS_futex, &request->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* To PENDING, if it sleeps: its thread looks again. */
static bool rouse(struct request *request)
{
	uint32_t word = request_word(request);

	if (state_of(word) != REQUEST_SLEEPING ||
	    !__atomic_compare_exchange_n(&request->word, &word, with_state(word, REQUEST_PENDING), false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	wait_wake(request);
	return true;
}

/* Somebody who drained for all goes: one who sleeps has to take over. */
HOT_PATH void wake_next_sleeper(struct local *local)
{
	if (!__atomic_load_n(&local->sleeper_count, __ATOMIC_SEQ_CST))
		return;
	lock_take(&local->sleepers_lock);
	for (struct request *r = local->sleepers; r && !rouse(r); r = r->next_sleeper)
		;
	lock_drop(&local->sleepers_lock);
}

HOT_PATH void receive_drop(struct local *local)
{
	lock_drop(&local->receive_lock);
	wake_next_sleeper(local);
	/* Those who looked for themselves have masked the ring; a descriptor is to tell of what comes now. */
	if (__atomic_load_n(&local->poll_armed, __ATOMIC_SEQ_CST))
		async_rearm(local);
}

/* Without receive_lock: on the request's word, until it ends or the lock is to be had. */
static void sleep_on_request(struct local *local, struct request *request, uint64_t deadline)
{
	uint32_t pending = with_state(request_word(request), REQUEST_PENDING);
	uint32_t sleeping = with_state(pending, REQUEST_SLEEPING);
	struct timespec left;

	add_sleeper(local, request);
	if (__atomic_compare_exchange_n(&request->word, &pending, sleeping, false, __ATOMIC_SEQ_CST,
					__ATOMIC_RELAXED)) {
		/* Whoever drops the lock from here on sees us; who did before leaves it free. */
		if (__atomic_load_n(&local->receive_lock.word, __ATOMIC_SEQ_CST) && !lost(local))
			syscall(SYS_futex, &request->word, FUTEX_WAIT_PRIVATE, sleeping,
				left_until(deadline, clock_ns(), &left), NULL, 0);
		pending = with_state(sleeping, REQUEST_PENDING);
		__atomic_compare_exchange_n(&request->word, &sleeping, pending, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	}
	remove_sleeper(local, request);
}

/* A thread that waits for no request of its own has no state to sleep on: shortly, then. */
#define NAP_NS 1000000u

static void nap(uint64_t deadline)
{
	uint64_t now = clock_ns(), until = now + NAP_NS < deadline ? now + NAP_NS : deadline;
	struct timespec left;

	nanosleep(left_until(until, now, &left), NULL);
}

static void sleep_once(const struct wish *wish, uint64_t until)
{
	struct local *local = wish->local;

	if (lock_try(&local->receive_lock)) {
		calls_drain(local);
		if (!fulfilled(wish))
			sleep_for_all(local, until);
		calls_drain(local);
		receive_drop(local);
	} else if (wish->request) {
		sleep_on_request(local, wish->request, until);
	} else {
		nap(until);
	}
}

static void sleep_till(const struct wish *wish, uint64_t until)
{
	if (until > wish->deadline)
		until = wish->deadline;
	while (!fulfilled(wish)) {
		uint64_t now = clock_ns();

		if (over(wish, now) || now >= until)
			return;
		sleep_once(wish, until);
	}
}

/* A long call's host needn't have another CPU than this thread, and may be woken up by a clock as well. */
static void poll_yielding(const struct wish *wish, uint64_t until)
{
	while (!fulfilled(wish)) {
		uint64_t now = clock_ns();

		if (over(wish, now) || now >= until)
			return;
		if (yield_to_others(wish->local))
			return;
		if (replies_pending(wish->local))
			try_drain(wish->local);
	}
}

/* Through most of a long call, polling only for its end. */
static void sleep_and_poll(const struct wish *wish)
{
	uint64_t expected = learned_long_ns(&wish->local->learned), early = learned_early_ns(expected);

	if (!wish->request || !expected || crowded(wish->local) || shy(wish->local))
		return;
	sleep_till(wish, wish->begin + expected - early);
	poll_yielding(wish, wish->begin + expected + early);
}

HOT_PATH static void wait(const struct wish *wish)
{
	struct local *local = wish->local;
	uint32_t looks;
	bool soon = poll_until(wish, poll_end(local, wish->begin), &looks);

	if (!soon) {
		sleep_and_poll(wish);
		sleep_till(wish, wish->deadline);
		/* Who was woken to take over, and then had no more time: */
		if (!fulfilled(wish))
			wake_next_sleeper(local);
	}
	if (local->base.poll != WINAPI_POLL_ADAPTIVE)
		return;
	/* Shorter than anything that matters needs no clock. */
	learn_took(&local->learned,
		   soon && looks <= TIGHT_LOOKS ? LEARN_USUAL_MIN_NS : clock_ns() - wish->begin,
		   wish->request);
}

/* For as long as a host that is awake takes: it isn't asked for a signal, which is a system call of its. */
bool wait_shortly(struct local *local, enough_fn enough)
{
	if (local->base.poll == WINAPI_POLL_NEVER || crowded(local))
		return false;
	for (uint32_t looks = 0; looks < TIGHT_LOOKS; looks++) {
		if (replies_pending(local))
			try_drain(local);
		if (enough(local, NO_DEADLINE))
			return true;
	}
	return false;
}

HOT_PATH void wait_for(struct local *local, struct request *request, uint64_t begin)
{
	struct wish wish = {
		.local = local, .request = request, .begin = begin, .deadline = request->deadline
	};

	wait(&wish);
}

void wait_for_traffic(struct local *local, uint64_t begin, uint64_t deadline, enough_fn enough)
{
	struct wish wish = { .local = local, .enough = enough, .begin = begin, .deadline = deadline };

	wait(&wish);
}

void wait_stir(struct local *local)
{
	static const uint64_t one = 1;

	if (write(local->stir_fd, &one, sizeof(one)) < 0)
		return; /* full: told often enough */
}

/* The end: nobody may go on sleeping. */
void wait_wake_all(struct local *local)
{
	wait_stir(local);
	lock_take(&local->sleepers_lock);
	for (struct request *r = local->sleepers; r; r = r->next_sleeper)
		rouse(r);
	lock_drop(&local->sleepers_lock);
}
