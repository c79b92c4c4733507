/* SPDX-License-Identifier: MIT */
/*
 * Calls that somebody collects later. Their ends go into a queue that has room for all that can be in
 * flight or uncollected; the pollable descriptor is an epoll over the host's interrupt, an eventfd of
 * our own, and a timer for the earliest deadline.
 */
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
void async_push(struct local *local, const struct request *request, int32_t result)
{
	struct completion_queue *q = &local->done;

	q->entry[wrapped(q, q->first + q->count)] = (struct winapi_completion){
		.user_data = request->user_data,
		.result = result,
		.status = request->status,
		.out_size = request->out_size,
		.host_ns = request->host_ns,
	};
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

static void note_deadline(struct local *local, uint64_t deadline)
{
	uint64_t first = __atomic_load_n(&local->async_deadline, __ATOMIC_RELAXED);

	do {
		if (deadline >= first)
			return;
	} while (!__atomic_compare_exchange_n(&local->async_deadline, &first, deadline, true,
					      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	if (__atomic_load_n(&local->poll_armed, __ATOMIC_SEQ_CST))
		set_timer(local);
}

static uint32_t wire_timeout(uint64_t now, uint64_t deadline)
{
	uint64_t ms = (deadline - now) / 1000000u;

	return deadline == NO_DEADLINE || ms > UINT32_MAX ? 0 : ms ? (uint32_t)ms : 1;
}

static void prepare(const struct local *local, struct request *request, const struct winapi_call *call,
		    struct message *message, uint64_t now)
{
	request->kind = REQUEST_ASYNC;
	request->type = WINAPI_MSG_CALL;
	request->out = call->out;
	request->out_capacity = call->out_capacity;
	request->user_data = call->user_data;
	request->deadline = deadline_of(local, call, now);
	request->holds = false;
	message->header = (struct winapi_msg_header){
		.type = WINAPI_MSG_CALL,
		.api = call->api,
		.method = call->method,
		.session_id = local->session,
		.buffer_count = (uint16_t)call->buffer_count,
		.inline_size = call->in_size,
		.timeout_ms = wire_timeout(now, request->deadline),
		.timestamp = now,
	};
}

/* How many more ends the queue has room for, besides those of the calls in flight. */
static uint32_t queue_room(struct local *local)
{
	uint32_t taken = __atomic_load_n(&local->async_in_flight, __ATOMIC_RELAXED) + uncollected(local);
	uint32_t limit = local->done.capacity - local->table_size; /* other threads may submit as well */

	return taken < limit ? limit - taken : 0;
}

/* Under send_lock. What stops here was given back. */
static int submit_one(struct local *local, struct request *request, const struct winapi_call *call,
		      uint64_t now)
{
	struct message message;
	uint64_t deadline;
	int err = 0;

	prepare(local, request, call, &message, now);
	deadline = request->deadline; /* once it is sent, the request isn't ours any more */
	if (call->buffer_count) {
		err = buffers_hold(local, call, message.desc, &request->held);
		request->holds = !err;
	}
	while (!err) {
		const struct held *held = request->holds ? &request->held : NULL;

		err = request_write(local, request, &message, call->in, held);
		if (err != -EAGAIN)
			break;
		err = send_await_room(local, message_payload(&message, held), deadline);
	}
	if (!err)
		note_deadline(local, deadline);
	else if (request->holds)
		buffers_let_go(local, &request->held);
	return err;
}

#define SUBMIT_AT_ONCE 32u /* slots taken with one lock */
#define PUBLISH_EVERY 16u /* calls: the host starts on them while more are written */

/* Some calls of the array: *err says why it stopped, if it did before the end. */
static unsigned int submit_some(struct local *local, const struct winapi_call *calls, unsigned int count,
				uint64_t now, int *err)
{
	struct request *requests[SUBMIT_AT_ONCE];
	uint32_t room = queue_room(local), got, n = 0;

	if (count > SUBMIT_AT_ONCE)
		count = SUBMIT_AT_ONCE;
	got = request_take_many(local, requests, count < room ? count : room);
	if (got < count)
		*err = fail(-EAGAIN, "too many calls are in flight or uncollected: winapi_complete some");
	/* Before their packets can be answered. */
	__atomic_fetch_add(&local->async_in_flight, got, __ATOMIC_RELAXED);
	while (n < got) {
		int stop = submit_one(local, requests[n], &calls[n], now);

		if (stop) {
			*err = stop;
			break;
		}
		if (++n % PUBLISH_EVERY == 0)
			send_publish(local);
	}
	if (n < got) {
		__atomic_fetch_sub(&local->async_in_flight, got - n, __ATOMIC_RELAXED);
		for (uint32_t i = n; i < got; i++)
			requests[i]->type = WINAPI_MSG_CALL;
		request_free_many(local, requests + n, got - n);
	}
	return n;
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
	err = send_begin(local, deadline_of(local, calls, now));
	if (err)
		return err;
	while (n < count && !err) {
		if (__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE))
			err = -ENODEV;
		else
			n += submit_some(local, calls + n, count - n, now, &err);
	}
	send_publish(local);
	lock_drop(&local->send_lock);
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

static void expire(struct local *local, struct request *request)
{
	uint64_t id = request->id;
	uint32_t was;

	if (!request_try_end(request, &was))
		return;
	request->status = 0;
	request->out_size = 0;
	request->host_ns = 0;
	async_push_begin(local);
	async_push(local, request, -ETIMEDOUT);
	async_push_end(local, 1);
	__atomic_store_n(&request->state, REQUEST_ABANDONED, __ATOMIC_RELEASE);
	__atomic_fetch_add(&local->timeouts, 1, __ATOMIC_RELAXED);
	calls_send_cancel(local, id, 0);
}

static void expire_late(struct local *local, uint64_t now)
{
	uint64_t first = NO_DEADLINE;

	if (now < __atomic_load_n(&local->async_deadline, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&local->async_deadline, NO_DEADLINE, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < local->table_size; i++) {
		struct request *request = &local->table[i];

		if (request->kind != REQUEST_ASYNC ||
		    __atomic_load_n(&request->state, __ATOMIC_ACQUIRE) != REQUEST_PENDING)
			continue;
		if (request->deadline <= now)
			expire(local, request);
		else if (request->deadline < first)
			first = request->deadline;
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

static void clear(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* it was clear */
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

	clear(local->notify_fd);
	__atomic_store_n(&local->poll_armed, 1, __ATOMIC_SEQ_CST);
	set_timer(local); /* second: who notes an earlier deadline from here on sets it too */
	if (!lock_try(&local->receive_lock))
		return !uncollected(local); /* who has it sees poll_armed when it drops it */
	clear(local->call_fd);
	quiet = listen(local);
	lock_drop(&local->receive_lock);
	wake_next_sleeper(local);
	return quiet && !uncollected(local);
}

static bool something(struct local *local)
{
	return uncollected(local) || !__atomic_load_n(&local->async_in_flight, __ATOMIC_RELAXED);
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

	for (;;) {
		uint64_t until = __atomic_load_n(&local->async_deadline, __ATOMIC_RELAXED);
		unsigned int n;

		wait_for_traffic(local, now, until < deadline ? until : deadline, something);
		n = collect(local, out, max);
		if (n)
			return n;
		now = clock_ns();
		if (now >= deadline || __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE) ||
		    !__atomic_load_n(&local->async_in_flight, __ATOMIC_RELAXED))
			return 0;
	}
}

int async_complete(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
		   uint32_t timeout_ms)
{
	struct local *local = local_of(handle);
	unsigned int n = collect(local, completions, max);

	if (n)
		return (int)n;
	if (local_check(local)) {
		n = pop(local, completions, max);
		return n ? (int)n : local_check(local);
	}
	if (timeout_ms)
		n = collect_waiting(local, completions, max, timeout_ms);
	while (!n && __atomic_load_n(&local->poll_fd, __ATOMIC_ACQUIRE) >= 0 && !arm(local))
		n = collect(local, completions, max);
	return n ? (int)n : local_check(local);
}

/* ---- Cancel --------------------------------------------------------------------------------------------- */

int async_cancel(struct winapi *handle, uint64_t user_data)
{
	struct local *local = local_of(handle);

	for (uint32_t i = 0; i < local->table_size; i++) {
		struct request *request = &local->table[i];

		if (request->kind == REQUEST_ASYNC && request->user_data == user_data &&
		    __atomic_load_n(&request->state, __ATOMIC_ACQUIRE) == REQUEST_PENDING)
			return calls_send_cancel(local, request->id,
						 deadline_after(clock_ns(), local->base.timeout_ms));
	}
	return fail(-ENOENT, "no call with that user_data is in flight");
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

	pthread_mutex_lock(&local->bus_lock);
	fd = local->poll_fd >= 0 ? local->poll_fd : make_descriptor(local);
	pthread_mutex_unlock(&local->bus_lock);
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
