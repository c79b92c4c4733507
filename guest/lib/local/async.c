/* SPDX-License-Identifier: MIT */
/*
 * Calls that somebody collects later. Their ends go into a queue that has room for all that can be in
 * flight or uncollected; the pollable descriptor is an epoll over the host's interrupt, an eventfd of
 * our own, and a timer for the earliest deadline.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "local.h"

/* ---- The queue of completions --------------------------------------------------------------------------- */

static int queue_init(struct local *local)
{
	struct completion_queue *q = &local->done;
	int err = 0;

	lock_take(&local->done_lock);
	if (!q->entry) {
		q->capacity = 4 * local->table_size;
		__atomic_store_n(&q->entry, calloc(q->capacity, sizeof(*q->entry)), __ATOMIC_RELEASE);
		if (!q->entry)
			err = fail(-ENOMEM, "no memory for completions");
	}
	lock_drop(&local->done_lock);
	return err;
}

void async_notify(struct local *local)
{
	static const uint64_t one = 1;

	if (__atomic_exchange_n(&local->poll_armed, 0, __ATOMIC_SEQ_CST) &&
	    write(local->notify_fd, &one, sizeof(one)) < 0)
		return; /* full: readable anyway */
}

void async_push_begin(struct local *local)
{
	lock_take(&local->done_lock);
}

/* Never more than one round behind `capacity`: a division would cost as much as all else here. */
static uint32_t wrapped(const struct completion_queue *q, uint32_t at)
{
	return at < q->capacity ? at : at - q->capacity;
}

/* There is room: submit saw to that. */
void async_push(struct local *local, const struct winapi_completion *completion)
{
	struct completion_queue *q = &local->done;

	q->entry[wrapped(q, q->first + q->count)] = *completion;
	__atomic_store_n(&q->count, q->count + 1, __ATOMIC_RELEASE);
}

void async_push_end(struct local *local, uint32_t count)
{
	lock_drop(&local->done_lock);
	__atomic_fetch_sub(&local->async_in_flight, count, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&local->poll_armed, __ATOMIC_SEQ_CST))
		async_notify(local);
}

static uint32_t uncollected(struct local *local)
{
	return __atomic_load_n(&local->done.count, __ATOMIC_ACQUIRE);
}

static unsigned int pop(struct local *local, struct winapi_completion *out, unsigned int max)
{
	struct completion_queue *q = &local->done;
	unsigned int n = 0;

	if (!uncollected(local))
		return 0;
	lock_take(&local->done_lock);
	for (; n < max && q->count; n++) {
		out[n] = q->entry[q->first];
		q->first = wrapped(q, q->first + 1);
		__atomic_store_n(&q->count, q->count - 1, __ATOMIC_RELEASE);
	}
	lock_drop(&local->done_lock);
	return n;
}

/* ---- Submit --------------------------------------------------------------------------------------------- */

static uint64_t deadline_of(const struct local *local, const struct winapi_call *call, uint64_t now)
{
	uint32_t timeout = call->timeout_ms;

	return deadline_after(now, timeout == WINAPI_TIMEOUT_DEFAULT ? local->base.timeout_ms : timeout);
}

/* With the lock, so that the last one who sets it knows the earliest deadline. */
static void set_timer(struct local *local)
{
	struct itimerspec at = { .it_value = { 0, 0 } };
	uint64_t deadline;

	lock_take(&local->done_lock);
	deadline = __atomic_load_n(&local->async_deadline, __ATOMIC_SEQ_CST);
	if (deadline != NO_DEADLINE) {
		at.it_value.tv_sec = (time_t)(deadline / 1000000000u);
		at.it_value.tv_nsec = (long)(deadline % 1000000000u);
	}
	timerfd_settime(local->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	lock_drop(&local->done_lock);
}

/*
 * After calls were published, which is a full barrier between their words and the look at async_deadline here; against
 * the one in expire_late, which takes the deadline away before it looks at the words.
 */
static void note_deadline(struct local *local, uint64_t deadline)
{
	uint64_t first = __atomic_load_n(&local->async_deadline, __ATOMIC_SEQ_CST);

	do {
		if (deadline >= first)
			return;
	} while (!__atomic_compare_exchange_n(&local->async_deadline, &first, deadline, true,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	if (__atomic_load_n(&local->poll_armed, __ATOMIC_SEQ_CST))
		set_timer(local);
	if (__atomic_load_n(&local->completers, __ATOMIC_SEQ_CST))
		wait_stir(local);
}

static uint32_t wire_timeout(uint64_t now, uint64_t deadline)
{
	uint64_t ms = (deadline - now) / 1000000u;

	return deadline == NO_DEADLINE || ms > UINT32_MAX ? 0 : ms ? (uint32_t)ms : 1;
}

static ALWAYS_INLINE int prepare(struct local *local, struct request *request, const struct winapi_call *call,
				 struct message *message, uint64_t now)
{
	uint64_t deadline = deadline_of(local, call, now);
	int err = 0;

	request_describe(request, REQUEST_ASYNC, deadline, call->user_data);
	request->type = WINAPI_MSG_CALL;
	request->out = call->out;
	request->out_capacity = call->out_capacity;
	request->holds = false;
	message->header = (struct winapi_msg_header){
		.type = WINAPI_MSG_CALL,
		.api = call->api,
		.method = call->method,
		.session_id = local->session,
		.buffer_count = (uint16_t)call->buffer_count,
		.inline_size = call->in_size,
		.timeout_ms = wire_timeout(now, deadline),
		.timestamp = now,
	};
	if (call->buffer_count) {
		err = buffers_hold(local, call, message->desc, &request->held, deadline);
		request->holds = !err;
	}
	return err;
}

/*
 * Counts calls as in flight, as many as the queue has room for the ends of. Whose end is being pushed is in both counts
 * meanwhile, so that they never say too little in this order.
 */
static uint32_t reserve(struct local *local, uint32_t wanted)
{
	uint32_t taken =
		__atomic_fetch_add(&local->async_in_flight, wanted, __ATOMIC_SEQ_CST) + uncollected(local);
	uint32_t room = taken < local->done.capacity ? local->done.capacity - taken : 0;

	if (room >= wanted)
		return wanted;
	__atomic_fetch_sub(&local->async_in_flight, wanted - room, __ATOMIC_SEQ_CST);
	return room;
}

#define SUBMIT_AT_ONCE 32u /* slots taken, and calls sent, with one lock */
#define PUBLISH_EVERY 16u /* calls: the host starts on them while more are written */

/* Calls of one array that are sent with one lock. */
struct group {
	const struct winapi_call *call;
	struct request *request[SUBMIT_AT_ONCE];
	uint32_t count;
	uint32_t sent;
	uint64_t now;
	uint64_t deadline; /* the earliest of those sent */
};

/* Under send_lock: what was written is on its way, and whoever waits for completions knows until when. */
static void publish(struct local *local, const struct group *group)
{
	send_publish(local);
	note_deadline(local, group->deadline);
}

/* Under send_lock. */
static ALWAYS_INLINE int send_next(struct local *local, struct group *group, struct message *message)
{
	struct request *request = group->request[group->sent];
	const struct held *held = request->holds ? &request->held : NULL;
	uint64_t deadline = request->deadline; /* once it is sent, the request isn't ours any more */
	int err;

	for (;;) {
		err = request_write(local, request, message, group->call[group->sent].in, held);
		if (err != -EAGAIN)
			break;
		publish(local, group);
		err = send_await_room(local, message_payload(message, held), deadline);
		if (err)
			break;
	}
	if (err) {
		if (held)
			buffers_let_go(local, &request->held);
		return err;
	}
	if (deadline < group->deadline)
		group->deadline = deadline;
	if (++group->sent % PUBLISH_EVERY == 0)
		publish(local, group);
	return 0;
}

static int send_shared(struct local *local, struct group *group)
{
	struct message message;
	int err = send_begin(local, deadline_of(local, group->call, group->now));

	if (err)
		return err;
	while (!err && group->sent < group->count) {
		err = prepare(local, group->request[group->sent], &group->call[group->sent], &message,
			      group->now);
		if (!err)
			err = send_next(local, group, &message);
	}
	publish(local, group);
	lock_drop(&local->send_lock);
	return err;
}

/* One call with plain memory, whose sharing may take messages of its own, and so send_lock. */
__attribute__((cold)) static int send_plain(struct local *local, struct group *group)
{
	struct request *request = group->request[0];
	struct message message;
	int err = prepare(local, request, group->call, &message, group->now);

	if (err)
		return err;
	err = send_begin(local, request->deadline);
	if (err) {
		buffers_let_go(local, &request->held);
		return err;
	}
	err = send_next(local, group, &message);
	publish(local, group);
	lock_drop(&local->send_lock);
	return err;
}

/* How many calls from the first on bring no plain memory, as it doesn't. */
static uint32_t together(const struct winapi_call *calls, unsigned int count)
{
	uint32_t n = 1;

	while (n < count && n < SUBMIT_AT_ONCE && !buffers_plain(&calls[n]))
		n++;
	return n;
}

/* Some calls of the array, and how many: *err says why it stopped, if it did before the end. */
static unsigned int submit_some(struct local *local, const struct winapi_call *calls, unsigned int count,
				uint64_t now, int *err)
{
	struct group group;
	bool plain = buffers_plain(calls);
	uint32_t reserved = reserve(local, plain ? 1 : together(calls, count)), unsent;

	group.call = calls;
	group.count = request_take_many(local, group.request, reserved);
	if (group.count < reserved)
		__atomic_fetch_sub(&local->async_in_flight, reserved - group.count, __ATOMIC_SEQ_CST);
	group.sent = 0;
	group.now = now;
	group.deadline = NO_DEADLINE;
	if (!group.count) {
		*err = fail(-EAGAIN, "too many calls are in flight or uncollected: winapi_complete some");
		return 0;
	}
	*err = plain ? send_plain(local, &group) : send_shared(local, &group);
	unsent = group.count - group.sent;
	if (unsent) {
		__atomic_fetch_sub(&local->async_in_flight, unsent, __ATOMIC_RELAXED);
		for (uint32_t i = group.sent; i < group.count; i++)
			group.request[i]->type = WINAPI_MSG_CALL;
		request_free_many(local, group.request + group.sent, unsent);
	}
	return group.sent;
}

int async_submit(struct winapi *handle, const struct winapi_call *calls, unsigned int count)
{
	struct local *local = local_of(handle);
	unsigned int n = 0;
	uint64_t now;
	int err = local_check(local);

	if (!err && !__atomic_load_n(&local->done.entry, __ATOMIC_ACQUIRE))
		err = queue_init(local);
	if (err)
		return err;
	now = clock_ns();
	while (n < count && !err) {
		if (__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE))
			err = -ENODEV;
		else
			n += submit_some(local, calls + n, count - n, now, &err);
	}
	if (err == -EPROTO)
		local_lose(local, -ENODEV, "the host broke the rules of the ring");
	/* Lost meanwhile: these may have come too late to be ended with the others. */
	if (__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE))
		calls_end_all(local, -(int32_t)__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE));
	if (n)
		return (int)n;
	return err == -EPROTO || err == -ENODEV ? local_check(local) : err;
}

/* ---- Deadlines ------------------------------------------------------------------------------------------ */

static void expire(struct local *local, struct request *request, uint32_t word)
{
	const struct winapi_completion late = {
		.user_data = __atomic_load_n(&request->user_data, __ATOMIC_RELAXED),
		.result = -ETIMEDOUT,
	};

	/* At once, as its reply may come any moment and has to find it so. */
	if (!request_try_end(request, &word, REQUEST_ABANDONED))
		return;
	async_push_begin(local);
	async_push(local, &late);
	async_push_end(local, 1);
	__atomic_fetch_add(&local->timeouts, 1, __ATOMIC_RELAXED);
	calls_send_cancel(local, request_id(local, request, word), 0);
}

static bool is_async(const struct request *request, uint32_t word)
{
	return state_of(word) == REQUEST_PENDING &&
	       __atomic_load_n(&request->kind, __ATOMIC_RELAXED) == REQUEST_ASYNC;
}

static void expire_late(struct local *local, uint64_t now)
{
	uint64_t first = NO_DEADLINE;

	if (now < __atomic_load_n(&local->async_deadline, __ATOMIC_RELAXED))
		return;
	__atomic_exchange_n(&local->async_deadline, NO_DEADLINE, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* against the one before note_deadline */
	for (uint32_t i = 0; i < local->table_size; i++) {
		struct request *request = &local->table[i];
		uint32_t word = request_word(request);
		uint64_t deadline = __atomic_load_n(&request->deadline, __ATOMIC_RELAXED);

		if (!is_async(request, word))
			continue;
		if (deadline <= now)
			expire(local, request, word);
		else if (deadline < first)
			first = deadline;
	}
	note_deadline(local, first);
}

/* ---- Complete ------------------------------------------------------------------------------------------- */

static void drain(struct local *local)
{
	if (!lock_try(&local->receive_lock))
		return;
	calls_drain(local);
	receive_drop(local);
}

/* Under receive_lock: turns the ring's interrupt on. False: something is there already. */
static bool listen(struct local *local)
{
	if (vmbus_ring_release(&local->in, true))
		local_kick(local);
	return !vmbus_ring_unmask(&local->in);
}

void async_rearm(struct local *local)
{
	if (!lock_try(&local->receive_lock))
		return; /* who has it comes here next */
	if (!listen(local))
		async_notify(local);
	lock_drop(&local->receive_lock);
	wake_next_sleeper(local);
}

/* Nothing is there: makes the descriptor tell when something is. False: something came meanwhile. */
static bool arm(struct local *local)
{
	bool quiet;

	local_clear(local->notify_fd);
	__atomic_store_n(&local->poll_armed, 1, __ATOMIC_SEQ_CST);
	set_timer(local); /* second: who notes an earlier deadline from here on sets it too */
	if (!lock_try(&local->receive_lock))
		return !uncollected(local); /* who has it sees poll_armed when it drops it */
	local_clear(local->call_fd);
	quiet = listen(local);
	lock_drop(&local->receive_lock);
	wake_next_sleeper(local);
	return quiet && !uncollected(local);
}

/* Something to collect, or an earlier deadline of a call than the one that is waited for. */
static bool something(struct local *local, uint64_t deadline)
{
	return uncollected(local) || __atomic_load_n(&local->async_deadline, __ATOMIC_SEQ_CST) < deadline;
}

static unsigned int collect(struct local *local, struct winapi_completion *out, unsigned int max)
{
	unsigned int n;

	if (replies_pending(local))
		drain(local);
	n = pop(local, out, max);
	if (!n && __atomic_load_n(&local->async_deadline, __ATOMIC_RELAXED) != NO_DEADLINE) {
		expire_late(local, clock_ns());
		n = pop(local, out, max);
	}
	return n;
}

static unsigned int collect_waiting(struct local *local, struct winapi_completion *out, unsigned int max,
				    uint32_t timeout_ms)
{
	uint64_t now = clock_ns(), deadline = deadline_after(now, timeout_ms);
	unsigned int n;

	do {
		uint64_t until = __atomic_load_n(&local->async_deadline, __ATOMIC_SEQ_CST);

		wait_for_traffic(local, now, until < deadline ? until : deadline, something);
		n = collect(local, out, max);
		now = clock_ns();
	} while (!n && now < deadline && !__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE));
	return n;
}

#define ARMING_ROUNDS 64u

/* For who waits on the descriptor next: until nothing is there and it will tell; not for ever, as a host may go on. */
static unsigned int collect_arming(struct local *local, struct winapi_completion *out, unsigned int max)
{
	bus_look(local); /* the socket may be what it told of */
	for (unsigned int i = 0; i < ARMING_ROUNDS; i++) {
		unsigned int n = collect(local, out, max);

		if (n || __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE) || arm(local))
			return n;
	}
	async_notify(local);
	return 0;
}

/* The host is gone: takes what has ended by that, once it has. Whoever noticed first may not have come to it yet. */
static unsigned int collect_last(struct local *local, struct winapi_completion *out, unsigned int max)
{
	unsigned int n;

	calls_end_all(local, -(int32_t)__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE));
	while (!(n = pop(local, out, max)) && __atomic_load_n(&local->async_in_flight, __ATOMIC_SEQ_CST))
		sched_yield();
	return n;
}

#define EMPTY_PER_LOOK 256u

/* Who only ever asks without waiting has to learn somehow that the host is gone. */
static void look_at_times(struct local *local)
{
	if (__atomic_fetch_add(&local->empty, 1, __ATOMIC_RELAXED) % EMPTY_PER_LOOK == 0)
		bus_look(local);
}

int async_complete(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
		   uint32_t timeout_ms)
{
	struct local *local = local_of(handle);
	unsigned int n = collect(local, completions, max);

	if (n)
		return (int)n;
	if (timeout_ms && !local_check(local)) {
		__atomic_fetch_add(&local->completers, 1, __ATOMIC_SEQ_CST);
		n = collect_waiting(local, completions, max, timeout_ms);
		__atomic_fetch_sub(&local->completers, 1, __ATOMIC_RELAXED);
	}
	if (!n && __atomic_load_n(&local->poll_fd, __ATOMIC_ACQUIRE) >= 0)
		n = collect_arming(local, completions, max);
	else if (!n && !timeout_ms)
		look_at_times(local);
	if (!n && __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE))
		n = collect_last(local, completions, max);
	return n ? (int)n : local_check(local);
}

/* ---- Cancel --------------------------------------------------------------------------------------------- */

/* The id of the call with that user_data that is in flight, or 0. */
static uint64_t find_call(const struct local *local, uint64_t user_data)
{
	for (uint32_t i = 0; i < local->table_size; i++) {
		const struct request *request = &local->table[i];
		uint32_t word = request_word(request);

		if (!is_async(request, word) ||
		    __atomic_load_n(&request->user_data, __ATOMIC_RELAXED) != user_data)
			continue;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (request_word(request) == word) /* else it was another call's user_data, or is over */
			return request_id(local, request, word);
	}
	return 0;
}

int async_cancel(struct winapi *handle, uint64_t user_data)
{
	struct local *local = local_of(handle);
	uint64_t id = find_call(local, user_data);

	if (!id)
		return fail(-ENOENT, "no call with that user_data is in flight");
	return calls_send_cancel(local, id, deadline_after(clock_ns(), local->base.timeout_ms));
}

/* ---- The descriptor ------------------------------------------------------------------------------------- */

static int watch(int poll_fd, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int make_descriptor(struct local *local)
{
	int poll_fd = epoll_create1(EPOLL_CLOEXEC);
	int err = poll_fd < 0 ? -errno : 0;

	if (local->timer_fd < 0)
		local->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!err)
		err = watch(poll_fd, local->call_fd);
	if (!err)
		err = watch(poll_fd, local->notify_fd);
	if (!err)
		err = watch(poll_fd, local->timer_fd);
	if (!err)
		err = watch(poll_fd, local->socket);
	if (err) {
		if (poll_fd >= 0)
			close(poll_fd);
		return fail(err, "no descriptors left");
	}
	__atomic_store_n(&local->poll_fd, poll_fd, __ATOMIC_RELEASE);
	return poll_fd;
}

int async_fd(struct winapi *handle)
{
	struct local *local = local_of(handle);
	int fd;

	lock_take(&local->done_lock);
	fd = local->poll_fd >= 0 ? local->poll_fd : make_descriptor(local);
	lock_drop(&local->done_lock);
	return fd;
}

void async_free(struct local *local)
{
	const int fds[] = { local->poll_fd, local->notify_fd, local->timer_fd };

	for (unsigned int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(local->done.entry);
}
