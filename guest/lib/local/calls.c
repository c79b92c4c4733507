/* SPDX-License-Identifier: MIT */
/*
 * Requests: a table of them, how they are sent, and how replies find them.
 *
 * A request id is the index in the table and a generation above it, so a reply that is late, repeated or
 * made up names no request in flight. Generation and state are one word: who ends a request wins it with a
 * compare-and-swap, which fails if the slot went on to another call meanwhile; from then on the other side
 * can't reach its caller's memory.
 */
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "local.h"

/* ---- Locks --------------------------------------------------------------------------------------------- */

HOT_PATH bool lock_try(struct lock *lock)
{
	uint32_t zero = 0;

	return __atomic_compare_exchange_n(&lock->word, &zero, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static bool wait_for_lock(struct lock *lock, uint64_t deadline)
{
	const struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000u),
				     .tv_nsec = (long)(deadline % 1000000000u) };

	while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE))
		if (syscall(SYS_futex, &lock->word, FUTEX_WAIT_BITSET_PRIVATE, 2,
			    deadline == NO_DEADLINE ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY) &&
		    errno == ETIMEDOUT)
			return false;
	return true;
}

HOT_PATH bool lock_take_until(struct lock *lock, uint64_t deadline)
{
	return lock_try(lock) || wait_for_lock(lock, deadline);
}

HOT_PATH void lock_take(struct lock *lock)
{
	lock_take_until(lock, NO_DEADLINE);
}

HOT_PATH void lock_drop(struct lock *lock)
{
	if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2)
		syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- The table ----------------------------------------------------------------------------------------- */

int calls_init(struct local *local, uint32_t max_in_flight)
{
	uint32_t size = max_in_flight + CONTROL_REQUESTS;

	if (size > UINT16_MAX)
		size = UINT16_MAX;
	local->table = aligned_alloc(128, size * sizeof(*local->table));
	if (!local->table)
		return fail(-ENOMEM, "no memory for %u calls in flight", max_in_flight);
	memset(local->table, 0, size * sizeof(*local->table));
	local->table_size = size;
	local->max_in_flight = size - CONTROL_REQUESTS;
	for (uint32_t i = 0; i < size; i++)
		local->table[i].next_free = i + 1 < size ? i + 1 : NO_REQUEST;
	local->free_first = 0;
	local->spare = NO_REQUEST;
	return 0;
}

void calls_free(struct local *local)
{
	free(local->table);
}

/* Under table_lock. */
static struct request *pop(struct local *local, bool call)
{
	struct request *request;

	if (local->free_first == NO_REQUEST || (call && local->in_flight >= local->max_in_flight))
		return NULL;
	request = &local->table[local->free_first];
	__atomic_store_n(&local->free_first, request->next_free, __ATOMIC_RELAXED);
	__atomic_store_n(&local->in_flight, local->in_flight + call, __ATOMIC_RELAXED);
	return request;
}

static bool is_call(const struct request *request)
{
	return request->type == WINAPI_MSG_CALL || request->type == WINAPI_MSG_BATCH;
}

/* Under table_lock. */
static void push(struct local *local, struct request *request)
{
	__atomic_store_n(&local->in_flight, local->in_flight - is_call(request), __ATOMIC_RELAXED);
	request->next_free = local->free_first;
	__atomic_store_n(&local->free_first, (uint32_t)(request - local->table), __ATOMIC_RELAXED);
}

/* A call in a row uses one slot over and over, without the lock: it is left in `spare`, still counted. */
HOT_PATH struct request *request_take(struct local *local, bool call)
{
	struct request *request;

	if (call) {
		uint32_t spare = __atomic_exchange_n(&local->spare, NO_REQUEST, __ATOMIC_ACQUIRE);

		if (spare != NO_REQUEST)
			return &local->table[spare];
	}
	lock_take(&local->table_lock);
	request = pop(local, call);
	lock_drop(&local->table_lock);
	return request;
}

uint32_t request_take_many(struct local *local, struct request **requests, uint32_t max)
{
	uint32_t spare = max ? __atomic_exchange_n(&local->spare, NO_REQUEST, __ATOMIC_ACQUIRE) : NO_REQUEST;
	uint32_t n = 0;

	if (spare != NO_REQUEST)
		requests[n++] = &local->table[spare];
	lock_take(&local->table_lock);
	while (n < max && (requests[n] = pop(local, true)))
		n++;
	lock_drop(&local->table_lock);
	return n;
}

/* The owner's: nobody else changes the word of a request that isn't pending. */
HOT_PATH static void set_state(struct request *request, enum request_state state)
{
	__atomic_store_n(&request->word, with_state(request_word(request), state), __ATOMIC_RELEASE);
}

/* After a slot was freed, against the count in take_slot: either its thread sees the slot, or this one sees it. */
static void tell_slot_waiters(struct local *local)
{
	if (__atomic_load_n(&local->slot_waiters, __ATOMIC_SEQ_CST))
		wait_stir(local);
}

static void put_back(struct local *local, struct request *const *requests, uint32_t count)
{
	lock_take(&local->table_lock);
	for (uint32_t i = 0; i < count; i++)
		push(local, requests[i]);
	lock_drop(&local->table_lock);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	tell_slot_waiters(local);
}

HOT_PATH void request_free(struct local *local, struct request *request)
{
	uint32_t none = NO_REQUEST;

	set_state(request, REQUEST_FREE);
	if (is_call(request) &&
	    __atomic_compare_exchange_n(&local->spare, &none, (uint32_t)(request - local->table), false,
					__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		tell_slot_waiters(local);
	else
		put_back(local, &request, 1);
}

void request_free_many(struct local *local, struct request **requests, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		set_state(requests[i], REQUEST_FREE);
	put_back(local, requests, count);
}

/* Of a call that was given up: its reply, or the end of the channel, takes it. */
static bool take_abandoned(struct request *request, uint32_t word)
{
	return state_of(word) == REQUEST_ABANDONED &&
	       __atomic_compare_exchange_n(&request->word, &word, with_state(word, REQUEST_ENDING), false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

HOT_PATH uint64_t request_id(const struct local *local, const struct request *request, uint32_t word)
{
	return (uint64_t)(request - local->table) | (uint64_t)generation_of(word) << 16;
}

/* A generation that the slot hasn't had for long, and never 0, so that no id is 0. */
HOT_PATH static uint32_t begin_generation(struct request *request)
{
	uint32_t next = (generation_of(request_word(request)) + 1) % REQUEST_GENERATIONS;

	return (next ? next : 1) << REQUEST_STATE_BITS;
}

#define LATE "the host took none of the calls before it in time"

/* ---- Sending ------------------------------------------------------------------------------------------- */

HOT_PATH void local_kick(struct local *local)
{
	static const uint64_t one = 1;

	__atomic_fetch_add(&local->signals, 1, __ATOMIC_RELAXED);
	if (write(local->kick_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		local_lose(local, -ENODEV, "the host can't be signalled");
}

HOT_PATH void send_publish(struct local *local)
{
	if (vmbus_ring_publish(&local->out))
		local_kick(local);
}

#define PARTS 4u /* of a packet: range, header, descriptors, inline data */

/* The packet's range: the pages of the call's plain memory, which lie in a row. */
static uint32_t fill_range(const struct piece *piece, uint8_t *out)
{
	const struct vmbus_gpa_direct direct = { .range_count = 1 };
	const struct vmbus_gpa_range range = { .byte_count = (uint32_t)piece->size };
	uint64_t pfn = piece->gpa >> VMBUS_PAGE_SHIFT;
	uint32_t at = sizeof(direct) + sizeof(range);

	memcpy(out, &direct, sizeof(direct));
	memcpy(out + sizeof(direct), &range, sizeof(range));
	for (uint64_t i = 0; i < piece->size / VMBUS_PAGE_SIZE; i++, pfn++, at += 8)
		memcpy(out + at, &pfn, 8);
	return at;
}

static int write_gpa_direct(struct local *local, uint64_t id, const struct piece *piece,
			    struct vmbus_ring_part *parts, uint32_t *payload)
{
	uint8_t range[sizeof(struct vmbus_gpa_direct) + sizeof(struct vmbus_gpa_range) +
		      SLAB_PIECE_MAX / VMBUS_PAGE_SIZE * 8];
	uint32_t size = fill_range(piece, range);

	parts[0] = (struct vmbus_ring_part){ range, size };
	*payload += size;
	return vmbus_ring_write(&local->out, VMBUS_PACKET_GPA_DIRECT, VMBUS_PACKET_FLAG_COMPLETION_REQUESTED,
				id, size, parts, PARTS);
}

HOT_PATH int request_write(struct local *local, struct request *request, struct message *message,
			   const void *in, const struct held *held)
{
	struct winapi_msg_header *h = &message->header;
	uint32_t descs = h->buffer_count * (uint32_t)sizeof(message->desc[0]);
	uint64_t header[WINAPI_HEADER_WORDS];
	struct vmbus_ring_part parts[PARTS] = {
		{ NULL, 0 }, { header, sizeof(header) }, { message->desc, descs }, { in, h->inline_size }
	};
	uint32_t word = begin_generation(request);
	uint64_t id = request_id(local, request, word);
	uint32_t payload = (uint32_t)sizeof(header) + descs + h->inline_size;
	int err;

	h->magic = WINAPI_MAGIC;
	h->version = WINAPI_VERSION_1;
	h->request_id = id;
	winapi_header_pack(header, h);
	request->type = h->type;
	request->session = h->session_id;
	if (held && held->piece.size)
		err = write_gpa_direct(local, id, &held->piece, parts, &payload);
	else
		err = vmbus_ring_write(&local->out, VMBUS_PACKET_INBAND,
				       VMBUS_PACKET_FLAG_COMPLETION_REQUESTED, id, 0, parts + 1, PARTS - 1);
	if (err)
		return err;
	/* Before it is published, as its reply may come at once; and not before it is written, as it may end from here on. */
	__atomic_store_n(&request->word, with_state(word, REQUEST_PENDING), __ATOMIC_RELEASE);
	vmbus_ring_stop_awaiting(&local->out);
	count_up(&local->calls);
	return 0;
}

/* Whoever has the lock may be waiting for room, for longer than others want to. */
HOT_PATH int send_begin(struct local *local, uint64_t deadline)
{
	if (lock_take_until(&local->send_lock, deadline))
		return 0;
	return local_check(local) ? local_check(local) : fail(-ETIMEDOUT, LATE);
}

static bool room_or_lost(struct local *local, uint64_t deadline)
{
	(void)deadline;
	return __atomic_load_n(&local->lost, __ATOMIC_RELAXED) || vmbus_ring_refresh(&local->out) ||
	       vmbus_ring_room(&local->out) > local->room_wanted;
}

/*
 * A sender without room drains its own inbound ring while it waits: the host may be stuck for room as
 * well. It waits until `payload` fits and a quarter of the ring is free, so that not every packet that the
 * host takes costs a wake-up. Only if that takes long does it ask for the signal.
 */
int send_await_room(struct local *local, uint32_t payload, uint64_t deadline)
{
	uint32_t total = vmbus_ring_packet_size(payload), quarter = local->out.size / 4;
	uint64_t now = clock_ns();
	int err;

	send_publish(local);
	local->room_wanted = total > quarter ? total : quarter;
	if (wait_shortly(local, room_or_lost))
		return __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE) ? -ENODEV : 0;
	err = vmbus_ring_await_room(&local->out, local->room_wanted);
	if (err != -EAGAIN)
		return err;
	if (now >= deadline)
		return fail(-ETIMEDOUT, LATE);
	wait_for_traffic(local, now, deadline, room_or_lost);
	return __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE) ? -ENODEV : 0;
}

HOT_PATH uint32_t message_payload(const struct message *message, const struct held *held)
{
	uint32_t size = (uint32_t)sizeof(message->header) +
			message->header.buffer_count * (uint32_t)sizeof(message->desc[0]) +
			message->header.inline_size;

	if (held && held->piece.size)
		size += (uint32_t)(sizeof(struct vmbus_gpa_direct) + sizeof(struct vmbus_gpa_range) +
				   held->piece.size / VMBUS_PAGE_SIZE * 8);
	return size;
}

HOT_PATH static int send_one(struct local *local, struct request *request, struct message *message,
			     const void *in, const struct held *held)
{
	int err;

	err = send_begin(local, request->deadline);
	if (err)
		return err;
	for (;;) {
		err = __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE) ?
			      -ENODEV :
			      request_write(local, request, message, in, held);
		if (err != -EAGAIN)
			break;
		err = send_await_room(local, message_payload(message, held), request->deadline);
		if (err)
			break;
	}
	if (!err)
		send_publish(local);
	lock_drop(&local->send_lock);
	if (err == -EPROTO)
		local_lose(local, -ENODEV, "the host broke the rules of the ring");
	if (err == -EPROTO || err == -ENODEV)
		return local_check(local);
	if (err == -EMSGSIZE)
		return fail(err, "the call doesn't fit the ring");
	return err;
}

/* ---- Replies ------------------------------------------------------------------------------------------- */

/* The header is a private copy. Everything the host could get wrong is in here. */
static bool reply_fits(const struct request *request, const struct winapi_msg_header *h, uint64_t id,
		       uint32_t size)
{
	return h->magic == WINAPI_MAGIC && h->version == WINAPI_VERSION_1 && h->type == request->type &&
	       h->flags == WINAPI_FLAG_REPLY && h->request_id == id && !h->buffer_count && !h->reserved &&
	       h->inline_size <= WINAPI_MAX_INLINE && h->inline_size <= size - sizeof(*h) &&
	       (!request->session || h->session_id == request->session);
}

static void take_result(struct request *request, const struct winapi_msg_header *h, const uint8_t *data)
{
	request->status = (uint32_t)h->status;
	request->host_ns = h->host_ns;
	request->out_size = h->inline_size;
	request->reply_session = h->session_id;
	request->result = status_error(request->status);
	if (request->result || h->inline_size > request->out_capacity) {
		if (!request->result)
			request->result = -EMSGSIZE;
		return;
	}
	vmbus_ring_copy(request->out, data, h->inline_size);
}

/* Requests that end with nobody there to free them, a batch of them for one lock. */
struct ended {
	struct request *request[32];
	uint32_t count;
	uint32_t pushed; /* completions: the queue's lock is held while this isn't 0 */
};

static void free_ended(struct local *local, struct ended *ended)
{
	if (ended->pushed)
		async_push_end(local, ended->pushed);
	ended->pushed = 0;
	if (ended->count)
		request_free_many(local, ended->request, ended->count);
	ended->count = 0;
}

static void end_here(struct local *local, struct request *request, struct ended *ended)
{
	if (request->holds)
		buffers_let_go(local, &request->held);
	request->holds = false;
	ended->request[ended->count++] = request;
	if (ended->count == sizeof(ended->request) / sizeof(ended->request[0]))
		free_ended(local, ended);
}

static void complete(struct local *local, struct request *request, struct ended *ended)
{
	const struct winapi_completion completion = {
		.user_data = request->user_data,
		.result = request->result,
		.status = request->status,
		.out_size = request->out_size,
		.host_ns = request->host_ns,
	};

	if (request->holds && !request->result)
		buffers_copy_back(&request->held);
	if (!ended->pushed++)
		async_push_begin(local);
	async_push(local, &completion);
}

/* The request is REQUEST_ENDING, after what `was` says, and has its results. */
HOT_PATH static void finish(struct local *local, struct request *request, enum request_state was,
			    struct ended *ended)
{
	if (request->kind == REQUEST_SYNC) {
		set_state(request, REQUEST_DONE);
		if (was == REQUEST_SLEEPING)
			wait_wake(request);
		return;
	}
	if (request->kind == REQUEST_ASYNC)
		complete(local, request, ended);
	end_here(local, request, ended);
}

/* Does a reply mean something to a request in that state? What it found free or done goes on without it. */
static bool awaits_reply(enum request_state state)
{
	return state == REQUEST_PENDING || state == REQUEST_SLEEPING || state == REQUEST_ABANDONED;
}

static bool take_reply(struct local *local, const struct vmbus_ring_packet *packet, struct ended *ended)
{
	uint64_t id = packet->desc.transaction_id;
	uint32_t index = id & 0xffff, word;
	struct winapi_msg_header header;
	struct request *request;

	if (packet->desc.type != VMBUS_PACKET_COMPLETION || packet->payload_size < sizeof(header) ||
	    index >= local->table_size)
		return false;
	request = &local->table[index];
	word = request_word(request);
	if (generation_of(word) != id >> 16 || !awaits_reply(state_of(word)))
		return false;
	memcpy(&header, packet->payload, sizeof(header));
	if (!reply_fits(request, &header, id, packet->payload_size))
		return false;
	if (request_try_end(request, &word, REQUEST_ENDING)) {
		take_result(request, &header, packet->payload + sizeof(header));
		finish(local, request, state_of(word), ended);
		return true;
	}
	/* Of a call that was given up, the first reply frees the slot; another may follow before that shows. */
	if (!take_abandoned(request, word))
		return false;
	end_here(local, request, ended);
	return true;
}

#define LEAST_PACKET ((uint32_t)sizeof(struct vmbus_packet_descriptor) + VMBUS_PACKET_TRAILER)

HOT_PATH void calls_drain(struct local *local)
{
	uint32_t most = local->in.size / LEAST_PACKET;
	struct vmbus_ring_packet packet;
	struct ended ended;
	int got = 0;

	ended.count = ended.pushed = 0; /* and not the whole array, for a single reply */
	/* What a reply would be copied to may be gone: see local_shut_down. */
	if (__atomic_load_n(&local->base.closing, __ATOMIC_ACQUIRE))
		return;

	/* No more than the ring holds: a host that floods must not keep a caller here past its timeout. */
	while (most-- && (got = vmbus_ring_next(&local->in, &packet)) > 0) {
		if (take_reply(local, &packet, &ended))
			count_up(&local->replies);
		else
			count_up(&local->bad_replies);
		vmbus_ring_advance(&local->in, &packet);
		if (!vmbus_ring_release(&local->in, false))
			continue;
		free_ended(local, &ended); /* a kick that fails loses the host, and ends all calls */
		local_kick(local);
	}
	free_ended(local, &ended);
	if (vmbus_ring_release(&local->in, false))
		local_kick(local);
	__atomic_store_n(&local->read_hint, local->in.read, __ATOMIC_RELAXED);
	if (got < 0)
		local_lose(local, -ENODEV, "the host broke the rules of the ring");
}

/* No reply can come any more: the buffers of a call that was given up are free. */
static void release_abandoned(struct local *local, struct request *request, uint32_t word)
{
	if (take_abandoned(request, word) && request->holds)
		buffers_let_go(local, &request->held);
}

/* On any thread, which may hold locks: so it only ends what pends, like a reply would. */
void calls_end_all(struct local *local, int32_t result)
{
	for (uint32_t i = 0; i < local->table_size; i++) {
		struct request *request = &local->table[i];
		struct ended ended = { .count = 0 };
		uint32_t word = request_word(request);

		/* The slot stays taken: the channel is over, and nothing will be sent again. */
		if (!request_try_end(request, &word, REQUEST_ENDING)) {
			release_abandoned(local, request, word);
			continue;
		}
		request->status = 0;
		request->out_size = 0;
		request->result = result;
		finish(local, request, state_of(word), &ended);
		if (ended.pushed)
			async_push_end(local, ended.pushed);
	}
	async_notify(local);
	wait_wake_all(local);
}

/* ---- Calls --------------------------------------------------------------------------------------------- */

static bool call_slot_freed(struct local *local, uint64_t deadline)
{
	(void)deadline;
	return __atomic_load_n(&local->spare, __ATOMIC_SEQ_CST) != NO_REQUEST ||
	       __atomic_load_n(&local->in_flight, __ATOMIC_RELAXED) < local->max_in_flight;
}

static bool control_slot_freed(struct local *local, uint64_t deadline)
{
	(void)deadline;
	return __atomic_load_n(&local->free_first, __ATOMIC_RELAXED) != NO_REQUEST;
}

HOT_PATH static struct request *take_slot(struct local *local, bool call, uint64_t deadline)
{
	struct request *request = request_take(local, call);

	while (!request) {
		uint64_t now = clock_ns();

		if (now >= deadline || local_check(local)) {
			fail(-EAGAIN, "all %u calls that the host allows are in flight",
			     local->max_in_flight);
			return NULL;
		}
		/* Replies free slots, so wait for those like everybody; or those whose calls they end do. */
		__atomic_fetch_add(&local->slot_waiters, 1, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		wait_for_traffic(local, now, deadline, call ? call_slot_freed : control_slot_freed);
		__atomic_fetch_sub(&local->slot_waiters, 1, __ATOMIC_RELAXED);
		request = request_take(local, call);
	}
	return request;
}

int calls_send_cancel(struct local *local, uint64_t id, uint64_t deadline)
{
	struct message message = { .header = { .type = WINAPI_MSG_CANCEL,
					       .session_id = local->session,
					       .inline_size = sizeof(struct winapi_cancel_request) } };
	struct winapi_cancel_request cancel = { .request_id = id };
	struct request *request;
	int err;

	if (!(local->base.info.features & WINAPI_FEATURE_CANCEL))
		return fail(-EOPNOTSUPP, "the host can't cancel calls");
	request = take_slot(local, false, deadline);
	if (!request)
		return -EAGAIN;
	request_describe(request, REQUEST_CANCEL, deadline, 0);
	request->type = WINAPI_MSG_CANCEL;
	request->holds = false;
	request->out_capacity = 0;
	err = send_one(local, request, &message, &cancel, NULL);
	if (err)
		request_free(local, request);
	return err;
}

/* Waits for the request's end. 0: DONE, to be read and freed; else it ended here. */
static int wait_end(struct local *local, struct request *request, uint64_t begin)
{
	uint32_t word;

	wait_for(local, request, begin);
	while (state_of(word = request_word(request)) != REQUEST_DONE) {
		/* Its slot and buffers stay until the reply comes, from now on any moment. */
		if (!request_try_end(request, &word, REQUEST_ABANDONED))
			continue; /* somebody is writing the results this moment */
		if (__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE)) {
			release_abandoned(local, request, with_state(word, REQUEST_ABANDONED));
			return local_check(local);
		}
		/* If it can't be sent, the host's own timeout ends the call. */
		calls_send_cancel(local, request_id(local, request, word), 0);
		__atomic_fetch_add(&local->timeouts, 1, __ATOMIC_RELAXED);
		return fail(-ETIMEDOUT, "no answer in time; the host was told to stop");
	}
	return 0;
}

static uint32_t wire_timeout(uint64_t begin, uint64_t deadline)
{
	uint64_t ms = (deadline - begin) / 1000000u;

	return deadline == NO_DEADLINE || ms > UINT32_MAX ? 0 : ms ? (uint32_t)ms : 1;
}

/* Sends a request and takes its reply: the whole of a synchronous call. */
HOT_PATH static int exchange(struct local *local, struct request *request, struct message *message,
			     const void *in, uint64_t begin)
{
	int err;

	request->type = message->header.type;
	message->header.timestamp = begin;
	message->header.timeout_ms = wire_timeout(begin, request->deadline);
	err = send_one(local, request, message, in, request->holds ? &request->held : NULL);
	if (err) {
		if (request->holds)
			buffers_let_go(local, &request->held);
		request_free(local, request);
		return err;
	}
	return wait_end(local, request, begin);
}

static uint64_t call_deadline(const struct local *local, uint64_t begin, uint32_t timeout_ms)
{
	return deadline_after(begin,
			      timeout_ms == WINAPI_TIMEOUT_DEFAULT ? local->base.timeout_ms : timeout_ms);
}

static int say_why(struct local *local, int result, uint32_t status)
{
	if (!result)
		return 0;
	if (status)
		return fail_status("the call failed", status);
	if (result == -EMSGSIZE)
		return fail(result, "the reply is larger than the call's out_capacity");
	if (local_check(local))
		return result;
	return fail(result, "%s", winapi_strerror(result));
}

HOT_PATH int calls_call(struct winapi *handle, struct winapi_call *call)
{
	struct local *local = local_of(handle);
	struct message message;
	struct request *request;
	uint64_t begin;
	int err;

	begin = clock_ns();
	request = take_slot(local, true, call_deadline(local, begin, call->timeout_ms));
	if (!request)
		return local_check(local) ? local_check(local) : -EAGAIN;
	message.header = (struct winapi_msg_header){
		.type = WINAPI_MSG_CALL,
		.api = call->api,
		.method = call->method,
		.session_id = local->session,
		.buffer_count = (uint16_t)call->buffer_count,
		.inline_size = call->in_size,
	};
	request_describe(request, REQUEST_SYNC, call_deadline(local, begin, call->timeout_ms), 0);
	request->type = WINAPI_MSG_CALL;
	request->out = call->out;
	request->out_capacity = call->out_capacity;
	request->holds = false;
	if (call->buffer_count) {
		err = buffers_hold(local, call, message.desc, &request->held, request->deadline);
		if (err) {
			request_free(local, request);
			return err;
		}
		request->holds = true;
	}
	err = exchange(local, request, &message, call->in, begin);
	if (err)
		return err;
	call->status = request->status;
	call->out_size = request->out_size;
	call->host_ns = request->host_ns;
	err = request->result;
	if (request->holds) {
		if (!err)
			buffers_copy_back(&request->held);
		buffers_let_go(local, &request->held);
	}
	request_free(local, request);
	return err ? say_why(local, err, call->status) : 0;
}

uint32_t calls_batch_room(struct winapi *handle)
{
	const struct local *local = local_of(handle);
	uint32_t fixed = vmbus_ring_packet_size(sizeof(struct winapi_msg_header)) + 8;
	uint32_t room = local->out.size - fixed;

	return room < WINAPI_MAX_INLINE ? room : WINAPI_MAX_INLINE;
}

int calls_batch(struct winapi *handle, const void *in, uint32_t in_size, void *out, uint32_t *out_size,
		uint32_t timeout_ms)
{
	struct local *local = local_of(handle);

	return calls_control(local, WINAPI_MSG_BATCH, in, in_size, out, out_size,
			     call_deadline(local, clock_ns(), timeout_ms), NULL);
}

int calls_control(struct local *local, uint16_t type, const void *in, uint32_t in_size, void *out,
		  uint32_t *out_size, uint64_t deadline, uint64_t *session)
{
	struct message message = {
		.header = { .type = type, .session_id = local->session, .inline_size = in_size }
	};
	uint64_t begin = clock_ns();
	struct request *request = take_slot(local, type == WINAPI_MSG_BATCH, deadline);
	int err;

	if (!request)
		return local_check(local) ? local_check(local) : -EAGAIN;
	request_describe(request, REQUEST_SYNC, deadline, 0);
	request->out = out;
	request->out_capacity = *out_size;
	request->holds = false;
	err = exchange(local, request, &message, in, begin);
	if (err)
		return err;
	*out_size = request->out_size;
	if (session)
		*session = request->reply_session;
	err = say_why(local, request->result, request->status);
	request_free(local, request);
	return err;
}
