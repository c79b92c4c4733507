/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what libwinapi makes of a hostile host's ring: replies that fit a request and were spoilt a little, raw
 * bytes, indices, and requests of all kinds that wait for them: calls whose threads poll, sleep or gave up, calls
 * submitted, cancels, with buffers that bounce. The input is a list of steps: a byte that says what, a byte of
 * size, then that many bytes; the very first byte says whether the host can be signalled.
 *
 * The handle is made by hand: rings in plain memory, no host. Every request must end once, and no sooner is its
 * memory free than it is freed, so that the sanitizer sees what writes there later.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../guest/lib/local/local.h"

#define RING 4096u
#define IN_FLIGHT 48u /* more than 32: what ends with nobody there to free it is freed by so many */
#define ASKED 80u /* requests in an input */
#define STEPS 150u /* more of them take long, and rarely find more */
#define PAGES 64u
#define BUFFER 96u

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "lib_reply: %s\n", what);
	abort();
}

/* A request that the application waits for. */
struct asked {
	struct request *request; /* of a thread; NULL: submitted */
	uint8_t *out; /* NULL: ended and taken */
	uint32_t capacity;
};

static struct {
	struct local local;
	struct vmbus_ring_header *up; /* what the host reads */
	struct vmbus_ring_header *down;
	uint8_t *up_data; /* both have their data twice, and not a byte more */
	uint8_t *down_data;
	uint32_t write; /* the host's place in `down` */
	bool stuck; /* the host takes no more requests */
	struct asked asked[ASKED];
	unsigned int asked_count;
	struct local_buffer shared;
	struct local_buffer bounced;
	uint8_t application[2][BUFFER];
	uint8_t *pages;
	struct region *region;
	int call_fd;
	int kick_fd;
} f;

/* ---- The host's side of the rings --------------------------------------------------------------------- */

/* Where it lies and in the other copy, also what goes on at the start. Less than the ring. */
static void put(const void *data, uint32_t size)
{
	uint32_t first = RING - f.write < size ? RING - f.write : size;

	memcpy(f.down_data + f.write, data, size);
	memcpy(f.down_data + RING + f.write, data, first);
	memcpy(f.down_data, (const uint8_t *)data + first, size - first);
	f.write = (f.write + size) % RING;
}

static uint32_t room(void)
{
	return RING - vmbus_ring_distance(f.local.in.read, f.write, RING);
}

static void publish(void)
{
	VMBUS_RING_STORE(&f.down->write_index, f.write);
}

/* Takes all requests at once, as long as it takes any. */
static void take_requests(void)
{
	if (!f.stuck)
		VMBUS_RING_STORE(&f.up->read_index, f.up->write_index);
}

static enum request_state state(const struct request *request)
{
	return state_of(request_word(request));
}

static uint64_t id_of(const struct request *request)
{
	return state(request) == REQUEST_FREE ? 0 : request_id(&f.local, request, request_word(request));
}

static void set(struct request *request, enum request_state to)
{
	request->word = with_state(request->word, to);
}

/* The one in that place, or the next that is in use. */
static struct request *choose(uint8_t place)
{
	uint32_t at = place % f.local.table_size, size = f.local.table_size;

	for (uint32_t i = 0; i < size; i++)
		if (id_of(&f.local.table[(at + i) % size]))
			return &f.local.table[(at + i) % size];
	return &f.local.table[at];
}

struct completion {
	struct vmbus_packet_descriptor desc;
	struct winapi_msg_header header;
	uint8_t data[WINAPI_MAX_INLINE];
};

static void make_completion(struct completion *c, const struct request *request, uint32_t size,
			    uint8_t status)
{
	*c = (struct completion){
		.desc = { VMBUS_PACKET_COMPLETION, 2,
			  (uint16_t)((sizeof(c->desc) + sizeof(c->header) + size + 7) / 8), 0,
			  id_of(request) },
		.header = { .magic = WINAPI_MAGIC,
			    .version = WINAPI_VERSION_1,
			    .type = request->type,
			    .flags = WINAPI_FLAG_REPLY,
			    .request_id = id_of(request),
			    .session_id = request->session,
			    .status = status,
			    .inline_size = size },
	};
}

/* A byte each: which request, status; two for the size of the data; then pairs, place and change. */
static void reply(const uint8_t *data, size_t size)
{
	uint32_t inline_size = (size > 2 ? data[2] : 0) | (size > 3 ? data[3] % 12u << 8 : 0), total;
	static struct completion c;
	static const uint8_t trailer[VMBUS_PACKET_TRAILER];

	make_completion(&c, choose(size ? data[0] : 0), inline_size, size > 1 ? data[1] : 0);
	total = c.desc.length8 * 8u;
	for (size_t i = 4; i + 1 < size; i += 2)
		((uint8_t *)&c)[data[i]] ^= data[i + 1];
	if (total + sizeof(trailer) >= room())
		return;
	put(&c, total);
	put(trailer, sizeof(trailer));
	publish();
}

static void raw(const uint8_t *data, size_t size)
{
	static const uint8_t zeros[8];

	if (size + 8 >= room())
		return;
	put(data, (uint32_t)size);
	put(zeros, (uint32_t)(-size % 8));
	publish();
}

/* Any word of the headers that the host can write. */
static void header_word(const uint8_t *data, size_t size)
{
	uint32_t value = 0;
	uint32_t *const words[] = {
		&f.down->write_index, &f.down->pending_send_size, &f.down->read_index,
		&f.up->read_index,    &f.up->interrupt_mask,	  &f.down->interrupt_mask
	};
	unsigned int which = size ? data[0] % 6u : 0;

	memcpy(&value, data + !!size, size > 4 ? 4 : size - !!size);
	VMBUS_RING_STORE(words[which], value);
	f.stuck |= which == 3;
}

/* ---- The application's side --------------------------------------------------------------------------- */

static struct asked *new_asked(uint8_t capacity)
{
	struct asked *a = &f.asked[f.asked_count++];

	a->request = NULL;
	a->capacity = capacity * 13u;
	a->out = malloc(a->capacity + 1);
	require(a->out, "out of memory");
	a->out[a->capacity] = 0x5a;
	return a;
}

static void taken(struct asked *a)
{
	require(a->out, "ended two times");
	require(a->out[a->capacity] == 0x5a, "more was copied than there is room");
	free(a->out);
	a->out = NULL;
}

static void check_result(const struct asked *a, int32_t result, uint32_t status, uint32_t out_size)
{
	require(result <= 0 && result > -4096, "a result that is no errno");
	require(!result || result == -EMSGSIZE || out_size <= WINAPI_MAX_INLINE, "a size that can't be");
	require(result || (!status && out_size <= a->capacity), "no error, but a status or too large");
}

/* By three bits: a buffer that is shared, one that bounces, plain memory. */
static uint32_t choose_buffers(struct winapi_buffer_ref *refs, uint8_t choice)
{
	uint32_t count = 0;

	if (choice & 1)
		refs[count++] =
			(struct winapi_buffer_ref){ .buffer = &f.shared.base, .length = 8, .access = 3 };
	if (choice & 2)
		refs[count++] = (struct winapi_buffer_ref){ .buffer = &f.bounced.base,
							    .offset = 1,
							    .length = BUFFER - 1,
							    .access = 1 + (choice >> 3) % 3u };
	if (choice & 4 && f.region->free_pages)
		refs[count++] = (struct winapi_buffer_ref){ .address = f.application[1],
							    .length = BUFFER,
							    .access = 3 };
	return count;
}

static void fill_call(struct winapi_call *call, struct winapi_buffer_ref *refs, struct asked *a,
		      uint8_t buffers)
{
	*call = (struct winapi_call)WINAPI_CALL_INIT;
	call->out = a->out;
	call->out_capacity = a->capacity;
	call->buffers = refs;
	call->buffer_count = choose_buffers(refs, buffers);
	call->user_data = (uint64_t)(a - f.asked);
}

/* The deadline of those with any is now. */
static void submit(uint8_t capacity, uint8_t buffers, bool hurry)
{
	struct winapi_buffer_ref refs[3];
	struct asked *a = new_asked(capacity);
	struct winapi_call call;
	int n;

	fill_call(&call, refs, a, buffers);
	call.timeout_ms = hurry || f.stuck ? WINAPI_TIMEOUT_DEFAULT : WINAPI_TIMEOUT_INFINITE;
	n = async_submit(&f.local.base, &call, 1);
	require(n == 1 || (n < 0 && n > -4096), "submit");
	if (n < 0)
		taken(a);
}

/* A thread's whole call, which waits for nothing: what the host has sent by now is looked at. */
static void call_now(uint8_t capacity, uint8_t buffers)
{
	struct winapi_buffer_ref refs[3];
	struct asked *a = new_asked(capacity);
	struct winapi_call call;
	int err;

	fill_call(&call, refs, a, buffers);
	err = calls_call(&f.local.base, &call);
	check_result(a, err, call.status * !err, call.out_size);
	taken(a);
}

/* The first half of a thread's call, and what SLEEPING means to others: a thread that waits on the state. */
static void begin_call(uint8_t capacity, uint8_t buffers, uint16_t type, bool sleeping)
{
	struct request *request = f.local.lost ? NULL : request_take(&f.local, type == WINAPI_MSG_CALL);
	struct message message = { .header = { .type = type,
					       .session_id = type == WINAPI_MSG_CALL ? 5 : 0 } };
	struct winapi_buffer_ref refs[3];
	struct winapi_call call;
	struct asked *a;
	int err;

	if (!request)
		return;
	a = new_asked(capacity);
	fill_call(&call, refs, a, type == WINAPI_MSG_CALL ? buffers : 0);
	request_describe(request, REQUEST_SYNC, NO_DEADLINE, 0);
	request->type = type;
	request->out = a->out;
	request->out_capacity = a->capacity;
	message.header.buffer_count = (uint16_t)call.buffer_count;
	request->holds = call.buffer_count &&
			 !buffers_hold(&f.local, &call, message.desc, &request->held, NO_DEADLINE);
	lock_take(&f.local.send_lock);
	err = request_write(&f.local, request, &message, NULL, request->holds ? &request->held : NULL);
	send_publish(&f.local);
	lock_drop(&f.local.send_lock);
	if (!err) {
		a->request = request;
		if (sleeping && state(request) == REQUEST_PENDING)
			set(request, REQUEST_SLEEPING);
		return;
	}
	if (request->holds)
		buffers_let_go(&f.local, &request->held);
	request_free(&f.local, request);
	taken(a);
}

/* The second half, where its end has come. */
static void end_call(struct asked *a)
{
	struct request *request = a->request;

	if (!request || state(request) != REQUEST_DONE)
		return;
	check_result(a, request->result, request->status * !request->result, request->out_size);
	if (request->holds) {
		if (!request->result)
			buffers_copy_back(&request->held);
		buffers_let_go(&f.local, &request->held);
	}
	a->request = NULL;
	request_free(&f.local, request);
	taken(a);
}

/* A thread whose time is up. */
static void give_up(struct asked *a)
{
	uint32_t word = a->request ? request_word(a->request) : 0;

	if (!a->request || !request_try_end(a->request, &word, REQUEST_ABANDONED))
		return;
	a->request = NULL;
	taken(a);
}

static void end_calls(void)
{
	for (unsigned int i = 0; i < f.asked_count; i++)
		end_call(&f.asked[i]);
}

static void take_completions(void)
{
	struct winapi_completion done[4];
	int n;

	f.local.empty = 1; /* it isn't time to look at the socket, which isn't there */
	while ((n = async_complete(&f.local.base, done, 4, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			require(done[i].user_data < f.asked_count, "a completion of no call");
			check_result(&f.asked[done[i].user_data], done[i].result,
				     done[i].status * !done[i].result, done[i].out_size);
			taken(&f.asked[done[i].user_data]);
		}
	}
	require(n > -4096, "complete");
}

static void drain(void)
{
	lock_take(&f.local.receive_lock);
	calls_drain(&f.local);
	lock_drop(&f.local.receive_lock);
}

/* ---- Steps -------------------------------------------------------------------------------------------- */

static void ask(uint8_t how, uint8_t capacity, uint8_t buffers)
{
	take_requests();
	if (f.asked_count == ASKED)
		return;
	switch (how % 8) {
	case 0:
		call_now(capacity, buffers);
		break;
	case 1:
	case 2:
		begin_call(capacity, buffers, WINAPI_MSG_CALL, how & 1);
		break;
	case 3:
		begin_call(capacity, 0, WINAPI_MSG_SESSION_OPEN, false);
		break;
	case 4:
		calls_send_cancel(&f.local, id_of(choose(capacity)), 0);
		break;
	default:
		submit(capacity, buffers, how & 1);
	}
}

static void step(uint8_t what, const uint8_t *data, size_t size)
{
	switch (what % 8) {
	case 0:
		ask(what / 8, size ? data[0] : 0, size > 1 ? data[1] : 0);
		break;
	case 1:
	case 2:
		reply(data, size);
		break;
	case 3:
		raw(data, size);
		break;
	case 4:
		header_word(data, size);
		break;
	case 5:
		drain();
		break;
	case 6:
		take_completions();
		break;
	default:
		if (what & 8)
			end_calls();
		else if (f.asked_count)
			give_up(&f.asked[what / 16u % f.asked_count]);
	}
}

/* ---- Beginning and end -------------------------------------------------------------------------------- */

static void make_buffers(void)
{
	f.shared = (struct local_buffer){ .base = { .length = BUFFER, .access = 3 }, .handle = 1 };
	f.shared.base.data = f.shared.piece.data = f.pages;
	f.bounced = (struct local_buffer){
		.base = { .length = BUFFER, .access = 3, .flags = WINAPI_BUFFER_BOUNCED }, .handle = 2
	};
	f.bounced.base.data = f.application[0];
	f.bounced.piece.data = f.pages + VMBUS_PAGE_SIZE;
	*f.region = (struct region){ .gpa = 1 << 20,
				     .size = PAGES * VMBUS_PAGE_SIZE,
				     .data = f.pages,
				     .free_pages = PAGES - 2,
				     .used = (uint8_t *)(f.region + 1) };
	memset(f.region->used, 0, PAGES);
	memset(f.region->used, 1, 2);
}

static void begin(bool can_signal)
{
	struct local *l = &f.local;

	*l = (struct local){ .socket = -1,
			     .host_pid_fd = -1,
			     .call_fd = f.call_fd,
			     .kick_fd = can_signal ? f.kick_fd : -1,
			     .poll_fd = -1,
			     .notify_fd = -1,
			     .stir_fd = -1,
			     .timer_fd = -1,
			     .session = 5,
			     .cpus = 8,
			     .async_deadline = NO_DEADLINE,
			     .regions = f.region };
	l->base.inside = 1;
	l->base.info.features = WINAPI_FEATURES_V1;
	l->base.info.max_buffer_size = WINAPI_MAX_BUFFER_SIZE;
	require(!calls_init(l, IN_FLIGHT), "out of memory");
	memset(f.up, 0, 128);
	memset(f.down, 0, 128);
	memset(f.down_data, 0, 2 * RING);
	vmbus_ring_out_init(&l->out, f.up, f.up_data, RING);
	vmbus_ring_in_init(&l->in, f.down, f.down_data, RING);
	f.write = 0;
	f.stuck = false;
	f.asked_count = 0;
	make_buffers();
}

/* Free slots: each once in the list, and all of them say so. */
static void check_table(void)
{
	bool seen[IN_FLIGHT + CONTROL_REQUESTS] = { false };

	for (uint32_t i = f.local.free_first; i != NO_REQUEST; i = f.local.table[i].next_free) {
		require(i < f.local.table_size && !seen[i], "a slot was freed two times");
		require(state(&f.local.table[i]) == REQUEST_FREE, "a slot in use is free");
		seen[i] = true;
	}
	require(f.local.in_flight <= f.local.max_in_flight, "more calls in flight than can be");
}

static void end(void)
{
	check_table();
	local_lose(&f.local, -ENODEV, "the end");
	drain();
	take_completions();
	end_calls();
	for (unsigned int i = 0; i < f.asked_count; i++)
		require(!f.asked[i].out, "a request never ended");
	require(!f.local.async_in_flight && !f.local.done.count, "completions are left");
	require(!f.shared.base.users && !f.bounced.base.users, "a buffer is still in use");
	require(f.region->free_pages == PAGES - 2, "pages of calls are still in use");
	free(f.local.done.entry);
	calls_free(&f.local);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	f.up = aligned_alloc(VMBUS_PAGE_SIZE, VMBUS_PAGE_SIZE);
	f.down = aligned_alloc(VMBUS_PAGE_SIZE, VMBUS_PAGE_SIZE);
	f.up_data = aligned_alloc(VMBUS_PAGE_SIZE, 2 * RING);
	f.down_data = aligned_alloc(VMBUS_PAGE_SIZE, 2 * RING);
	f.pages = aligned_alloc(VMBUS_PAGE_SIZE, PAGES * VMBUS_PAGE_SIZE);
	f.region = malloc(sizeof(*f.region) + PAGES);
	f.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	require(f.up && f.down && f.up_data && f.down_data && f.pages && f.region && f.call_fd >= 0 &&
			f.kick_fd >= 0,
		"no memory or descriptors");
	memset(f.up, 0, VMBUS_PAGE_SIZE);
	memset(f.down, 0, VMBUS_PAGE_SIZE);
	memset(f.pages, 0, PAGES * VMBUS_PAGE_SIZE);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin(!size || data[0] % 4);
	data++;
	size -= !!size;
	for (unsigned int i = 0; size >= 2 && i < STEPS; i++) {
		size_t part = data[1] < size - 2 ? data[1] : size - 2;

		step(data[0], data + 2, part);
		data += 2 + part;
		size -= 2 + part;
	}
	end();
	return 0;
}
