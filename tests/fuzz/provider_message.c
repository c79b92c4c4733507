/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the provider core with whole guests: messages, GPADLs, replies without room, memory that isn't there,
 * workers that run between two packets, packets that come while a worker runs. The input is a list of steps: a
 * byte that says what and to which guest, a byte of size, then that many bytes. They become messages of the right
 * shape, so that the core gets to work; a step before can have them spoilt.
 *
 * The transport is one of its own: provider_guest.h keeps 4,096 replies, which is more than a run may cost.
 */
#include "provider_guest.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

#define GUESTS 3u
#define PACKETS 64u
#define KNOWN 8u
#define RAM_PAGES 16u
#define PAGE 4096u
#define RUNS \
	128u /* of pages in a GPADL or a packet: enough for 1 MiB, after which a call looks for its end */
#define BYTES (4ull << 20)
#define EAGAIN_OF_CORE (-11)

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "provider_message: %s\n", what);
	abort();
}

/* ---- The input ---------------------------------------------------------------------------------------- */

struct input {
	const uint8_t *data;
	size_t size;
};

static uint8_t take8(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

static uint16_t take16(struct input *in)
{
	uint8_t low = take8(in);

	return (uint16_t)(low | take8(in) << 8);
}

/* ---- Guests' memory ----------------------------------------------------------------------------------- */

static uint8_t ram[RAM_PAGES * PAGE] __attribute__((aligned(4096)));
static unsigned int page_users[RAM_PAGES];

/* The host may touch what is mapped or travels in a packet, and nothing else: the sanitizer watches. */
static void use_pages(const struct wp_segment *segment)
{
	size_t first = (size_t)(segment->data - ram) / PAGE;

	for (size_t i = first; i < first + segment->size / PAGE; i++) {
		if (page_users[i]++)
			continue;
		ASAN_UNPOISON_MEMORY_REGION(ram + i * PAGE, PAGE);
		memset(ram + i * PAGE, 0, PAGE); /* so that a run doesn't depend on the one before */
	}
}

static void leave_pages(const struct wp_segment *segment)
{
	size_t first = (size_t)(segment->data - ram) / PAGE;

	for (size_t i = first; i < first + segment->size / PAGE; i++)
		if (!--page_users[i])
			ASAN_POISON_MEMORY_REGION(ram + i * PAGE, PAGE);
}

/* Some pages, in pieces that the input chooses. */
struct layout {
	uint8_t page[RUNS];
	uint8_t pages[RUNS];
	unsigned int runs;
};

static void layout_read(struct layout *layout, struct input *in)
{
	unsigned int times = take8(in) % 32u + 1, once;

	layout->runs = 0;
	while (in->size && layout->runs < RUNS / 4) {
		uint8_t byte = take8(in);
		uint8_t page = byte % RAM_PAGES, most = (uint8_t)(RAM_PAGES - page);
		uint8_t wanted = (uint8_t)(byte / RAM_PAGES + 1);

		layout->page[layout->runs] = page;
		layout->pages[layout->runs++] = wanted < most ? wanted : most;
	}
	once = layout->runs;
	for (; once && times > 1 && layout->runs + once <= RUNS; times--) {
		memcpy(layout->page + layout->runs, layout->page, once);
		memcpy(layout->pages + layout->runs, layout->pages, once);
		layout->runs += once;
	}
}

/* A block of just the pieces, so that the sanitizer sees one that is used too long or past its end. */
static struct wp_segments layout_map(const struct layout *layout)
{
	struct wp_segment *segment = malloc(layout->runs * sizeof(*segment));
	struct wp_segments segments = { .segment = segment, .count = layout->runs };

	require(segment, "out of memory");
	for (unsigned int i = 0; i < layout->runs; i++) {
		segment[i] =
			(struct wp_segment){ ram + layout->page[i] * PAGE, layout->pages[i] * (size_t)PAGE };
		segments.size += segment[i].size;
		use_pages(&segment[i]);
	}
	return segments;
}

static void layout_unmap(struct wp_segments *segments)
{
	for (uint32_t i = 0; i < segments->count; i++)
		leave_pages(&segments->segment[i]);
	free((void *)segments->segment);
	*segments = (struct wp_segments){ 0 };
}

static uint64_t layout_size(const struct layout *layout)
{
	uint64_t size = 0;

	for (unsigned int i = 0; i < layout->runs; i++)
		size += layout->pages[i] * (uint64_t)PAGE;
	return size;
}

/* ---- A guest and its transport ------------------------------------------------------------------------ */

struct packet {
	struct winapi_msg_header header;
	uint64_t length; /* BUFFER_REGISTER: of the buffer */
	struct wp_segments external;
	bool answered;
	bool twin; /* of one in flight */
	bool told; /* to stop */
};

struct known_buffer {
	uint64_t handle;
	uint64_t length;
};

struct gpadl {
	struct layout layout; /* without runs: there is none */
	struct wp_segments segments;
	bool mapped;
};

struct end {
	struct wp_channel *core; /* NULL: not open */
	bool closing;
	bool starved; /* a packet found no slot: `resume` is owed */
	int error; /* what `complete` says if not 0 */
	unsigned int room;
	unsigned int mapped;
	unsigned int packets;
	struct packet packet[PACKETS];
	uint64_t session[KNOWN]; /* 0: none */
	struct known_buffer buffer[KNOWN];
	unsigned int sessions; /* so far: the place of the next in the ring above */
	unsigned int buffers;
	struct gpadl gpadl[KNOWN];
};

static struct {
	struct wp_provider *provider;
	struct end end[GUESTS];
	struct guest maker; /* numbers the messages */
	struct message message;
	struct input spoil; /* what a PATCH step wants changed in the next message */
	struct input ambush; /* a step to be done while a worker runs */
	uint64_t bytes_left; /* that calls may yet touch: megabytes take their time */
	bool on_thread; /* what runs is the channels' thread, and no worker */
} f;

static void check_status(const struct end *e, const struct packet *p, int32_t status)
{
	require(status >= 0 && status < WINAPI_STATUS_COUNT, "reply: status");
	require(!p->twin || status, "an id that is in flight was taken");
	require(status != WINAPI_STATUS_CANCELED || p->told || e->closing, "cancelled by nobody");
}

static void check_reply(const struct packet *p, const struct winapi_msg_header *h, uint32_t size)
{
	bool opens = p->header.type == WINAPI_MSG_SESSION_OPEN && !h->status;

	require(h->magic == WINAPI_MAGIC && h->flags == WINAPI_FLAG_REPLY, "reply: magic or flags");
	require(h->version == p->header.version && h->type == p->header.type, "reply: version or type");
	require(h->api == p->header.api && h->method == p->header.method, "reply: another method");
	require(h->request_id == p->header.request_id && h->timestamp == p->header.timestamp,
		"reply: another request");
	require(opens ? h->session_id : h->session_id == p->header.session_id, "reply: session");
	require(!h->buffer_count && !h->reserved && !h->timeout_ms, "reply: must be zero");
	require(h->inline_size <= WINAPI_MAX_INLINE && size == sizeof(*h) + h->inline_size, "reply: size");
	require(!h->status || !h->inline_size, "reply: an error with data");
}

static void learn(struct end *e, const struct packet *p, const struct winapi_msg_header *h)
{
	if (h->status)
		return;
	if (h->type == WINAPI_MSG_SESSION_OPEN) {
		e->session[e->sessions++ % KNOWN] = h->session_id;
	} else if (h->type == WINAPI_MSG_BUFFER_REGISTER) {
		struct known_buffer *b = &e->buffer[e->buffers++ % KNOWN];

		memcpy(&b->handle, h + 1, sizeof(b->handle));
		b->length = p->length;
	}
}

/* Only the channels' thread may know that no worker is there, and go without the lock. */
static bool may_send(void)
{
	return steps_locked() || f.on_thread || !steps_working();
}

static int complete(void *transport, void *packet, uint64_t request_id, const void *reply, uint32_t size)
{
	struct end *e = transport;
	struct packet *p = packet;
	const struct winapi_msg_header *h = reply;

	require(may_send(), "a worker completes without the lock");
	require(e->core, "complete after closed");
	require(!p->answered, "answered two times");
	require(request_id == p->header.request_id, "completed by another id");
	require(h || (e->closing && !e->room), "a reply is dropped that has room");
	if (h) {
		check_reply(p, h, size);
		check_status(e, p, h->status);
		if (!e->error && !e->room)
			return EAGAIN_OF_CORE;
	}
	p->answered = true;
	layout_unmap(&p->external);
	if (!h || e->error)
		return e->error;
	e->room--;
	learn(e, p, h);
	return 0;
}

static void publish(void *transport)
{
	const struct end *e = transport;

	require(may_send(), "a worker publishes without the lock");
	require(e->core, "publish after closed");
}

static int map_gpadl(void *transport, uint32_t id, struct wp_segments *segments)
{
	struct end *e = transport;

	require(!steps_locked() && e->core && !e->closing, "map at a bad moment");
	if (id >= KNOWN || !e->gpadl[id].layout.runs)
		return -2;
	if (e->gpadl[id].mapped)
		return -16;
	e->gpadl[id].mapped = true;
	e->gpadl[id].segments = layout_map(&e->gpadl[id].layout);
	e->mapped++;
	*segments = e->gpadl[id].segments;
	return 0;
}

static void unmap_gpadl(void *transport, uint32_t id)
{
	struct end *e = transport;

	require(!steps_locked() && e->core, "unmap at a bad moment");
	require(id < KNOWN && e->gpadl[id].mapped, "unmaps what isn't mapped");
	e->gpadl[id].mapped = false;
	layout_unmap(&e->gpadl[id].segments);
	e->mapped--;
}

static void resume(void *transport)
{
	struct end *e = transport;

	require(!steps_locked() && e->core, "resume at a bad moment");
	e->starved = false;
}

static void all_answered(const struct end *e)
{
	for (unsigned int i = 0; i < e->packets; i++)
		require(e->packet[i].answered, "a request wasn't answered");
}

static void closed(void *transport)
{
	struct end *e = transport;

	require(!steps_locked() && e->core && e->closing, "closed at a bad moment");
	require(!e->mapped, "closed with a GPADL mapped");
	all_answered(e);
	e->core = NULL;
}

static const struct wp_transport_ops ops = { complete, publish, map_gpadl, unmap_gpadl, resume, closed };

static void open_channel(struct end *e)
{
	const struct wp_identity unknown = { .known = false };

	memset(e, 0, sizeof(*e));
	e->room = PACKETS;
	e->core = wp_channel_open(f.provider, &ops, e, &unknown);
}

static void close_channel(struct end *e)
{
	e->closing = true;
	wp_channel_close(e->core);
}

static bool live(const struct end *e)
{
	return e->core && !e->closing;
}

/* ---- Messages ----------------------------------------------------------------------------------------- */

static const struct {
	uint16_t api;
	uint16_t method;
} methods[] = {
	{ WINAPI_API_ECHO, WINAPI_ECHO_CALL },
	{ WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_READ },
	{ WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_WRITE },
	{ WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_VERIFY },
	{ WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_LATENCY },
	{ WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT },
	{ WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_LIST },
	{ WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_STATS },
	{ WINAPI_API_ECHO, 7 },
	{ 9, 0 },
};
#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* Of a request before, counted back from the last, or of none. */
static uint64_t earlier_id(const struct end *e, unsigned int back)
{
	return back < e->packets ? e->packet[e->packets - 1 - back].header.request_id : 0x7777;
}

/* Inline data that fits the method, from the input. */
static void add_arguments(struct message *m, struct input *in, unsigned int method)
{
	uint32_t words[2] = { 0, 0 };

	if (method == 0 || method == 4) {
		static const uint8_t filler[WINAPI_MAX_INLINE + 8];

		message_add(m, filler, take16(in) % (WINAPI_MAX_INLINE + 8));
		return;
	}
	if (method > 6)
		return;
	words[0] = take8(in);
	words[1] = method == 5 ? take8(in) : 0;
	message_add(m, words, sizeof(words));
}

static void add_buffer(struct end *e, struct message *m, struct input *in)
{
	uint8_t choice = take8(in);
	uint32_t access = (uint32_t)(choice >> 4 & 3) ^ WINAPI_ACCESS_BOTH;
	uint64_t offset = 7 * (uint64_t)take16(in), length = 7 * (uint64_t)take16(in);
	const struct known_buffer *b = &e->buffer[choice % KNOWN];
	uint64_t handle = choice & 8 ? 0 : b->handle;

	if (!length)
		length = handle && offset < b->length ? b->length - offset : 2 * PAGE;
	if (length > f.bytes_left)
		length = 5;
	f.bytes_left -= length;
	message_buffer(m, handle, offset, length, access);
}

static void make_call(struct end *e, struct message *m, struct input *in)
{
	uint8_t choice = take8(in), count = take8(in) % (WINAPI_MAX_BUFFERS + 2);
	unsigned int method = choice % METHODS;

	message_call(&f.maker, m, methods[method].api, methods[method].method, NULL, 0);
	for (uint8_t i = 0; i < count; i++)
		add_buffer(e, m, in);
	add_arguments(m, in, method);
}

static void make_batch(struct message *m, struct input *in)
{
	static const uint8_t zeros[8];

	message_start(&f.maker, m, WINAPI_MSG_BATCH);
	for (uint32_t index = 0; in->size && m->size < WINAPI_MAX_INLINE; index++) {
		uint8_t choice = take8(in), size = take8(in);
		struct winapi_batch_entry entry = {
			.api = methods[choice % METHODS].api,
			.method = methods[choice % METHODS].method,
			.inline_size = size < in->size ? size : (uint16_t)in->size,
			.index = index,
		};

		message_add(m, &entry, sizeof(entry));
		message_add(m, in->data, entry.inline_size);
		in->data += entry.inline_size;
		in->size -= entry.inline_size;
		if (choice < 0xf0)
			message_add(m, zeros, -entry.inline_size & 7);
	}
}

/* The GPADLs named hold the buffer exactly, unless the input wants otherwise. */
static void make_register(struct end *e, struct message *m, struct input *in)
{
	uint32_t access = take8(in) % 4u ^ WINAPI_ACCESS_BOTH, offset = take16(in) % (PAGE + 1), gpadl[17],
		 count = 0;
	uint64_t size = 0, less = take16(in);

	while (in->size && count < 17) {
		gpadl[count] = take8(in) % (KNOWN + 1);
		if (gpadl[count] < KNOWN)
			size += layout_size(&e->gpadl[gpadl[count]].layout);
		count++;
	}
	message_register(&f.maker, m, size - offset - less, offset, access, gpadl, count);
}

static void make_cancel(struct end *e, struct message *m, struct input *in)
{
	struct winapi_cancel_request request = { earlier_id(e, take8(in)) };

	message_start(&f.maker, m, WINAPI_MSG_CANCEL);
	message_add(m, &request, sizeof(request));
}

static void make_unregister(struct end *e, struct message *m, struct input *in)
{
	struct winapi_buffer_unregister_request request = { e->buffer[take8(in) % KNOWN].handle };

	message_start(&f.maker, m, WINAPI_MSG_BUFFER_UNREGISTER);
	message_add(m, &request, sizeof(request));
}

static void make_session_open(struct message *m, struct input *in)
{
	struct winapi_session_open_request request = { .uid = take8(in) };

	message_start(&f.maker, m, WINAPI_MSG_SESSION_OPEN);
	m->header.session_id = 0;
	message_add(m, &request, sizeof(request));
}

static void make(struct end *e, struct message *m, struct input *in, uint8_t type)
{
	switch (type) {
	case WINAPI_MSG_HELLO:
		message_hello(&f.maker, m);
		break;
	case WINAPI_MSG_SESSION_OPEN:
		make_session_open(m, in);
		break;
	case WINAPI_MSG_BUFFER_REGISTER:
		make_register(e, m, in);
		break;
	case WINAPI_MSG_BUFFER_UNREGISTER:
		make_unregister(e, m, in);
		break;
	case WINAPI_MSG_CALL:
		make_call(e, m, in);
		break;
	case WINAPI_MSG_BATCH:
		make_batch(m, in);
		break;
	case WINAPI_MSG_CANCEL:
		make_cancel(e, m, in);
		break;
	default: /* SESSION_CLOSE, and what version 1 doesn't know */
		message_start(&f.maker, m, type);
	}
}

/* Bytes at places; first of all the size, which the packet has and the message may not. */
static void spoil(struct message *m, struct input *in)
{
	int change = (int8_t)take8(in);

	if (change >= 0 || (uint32_t)-change <= m->size)
		m->size += (uint32_t)change;
	while (in->size) {
		uint8_t at = take8(in);

		((uint8_t *)m)[at] ^= take8(in);
	}
}

/* A pass is like another, and 1,024 of them over megabytes take seconds. */
static void shorten(struct message *m)
{
	struct winapi_perf_throughput_request request;
	size_t at = m->header.buffer_count * sizeof(struct winapi_buffer_desc);

	if (m->header.api != WINAPI_API_PERF_TEST || at > sizeof(m->body) - sizeof(request))
		return;
	memcpy(&request, m->body + at, sizeof(request));
	if (request.iterations <= WINAPI_PERF_MAX_ITERATIONS)
		request.iterations %= 4;
	memcpy(m->body + at, &request, sizeof(request));
}

/* What the message means for those in flight; more may be marked than are meant by one that is refused. */
static void mark(struct end *e, const struct message *m)
{
	uint64_t named;

	memcpy(&named, m->body, sizeof(named));
	for (unsigned int i = 0; i + 1 < e->packets; i++) {
		struct packet *p = &e->packet[i];
		bool same = p->header.session_id == m->header.session_id;

		if (p->answered)
			continue;
		if (p->header.request_id == m->header.request_id)
			e->packet[e->packets - 1].twin = true;
		if (same && m->header.type == WINAPI_MSG_SESSION_CLOSE)
			p->told = true;
		if (same && m->header.type == WINAPI_MSG_CANCEL && p->header.request_id == named)
			p->told = true;
	}
}

/* From a block of just its size, which is gone when the core returns: it must have its own copy by then. */
static void offer(struct end *e, const struct message *m, uint64_t transaction_id)
{
	struct packet *p = &e->packet[e->packets++];
	uint8_t *copy = malloc(m->size ? m->size : 1);
	enum wp_packet_result result;

	require(copy, "out of memory");
	memcpy(copy, m, m->size);
	p->header = m->header;
	mark(e, m);
	result = wp_channel_packet(e->core, p, transaction_id, copy, m->size,
				   p->external.count ? &p->external : NULL);
	free(copy);
	if (result == WP_PACKET_TAKEN)
		return;
	require(!p->answered, "answered, but not taken");
	layout_unmap(&p->external);
	e->packets--;
	if (result == WP_PACKET_BUSY)
		e->starved = true;
	else
		close_channel(e);
}

static uint64_t session_for(const struct end *e, uint8_t choice)
{
	return choice < 0xf0 ? e->session[choice % KNOWN] : choice;
}

/* A byte each: type and pages, session, id, timeout. */
static void send(struct end *e, struct input *in)
{
	struct message *m = &f.message;
	uint8_t type = take8(in), session = take8(in), id = take8(in), timeout = take8(in);
	struct packet *p = &e->packet[e->packets];

	if (e->packets == PACKETS)
		return;
	memset(p, 0, sizeof(*p));
	if (type & 16) {
		struct layout pages = { .page = { type >> 5, 8 }, .pages = { 2, 3 }, .runs = 2 };

		p->external = layout_map(&pages);
	}
	f.maker.session = session_for(e, session);
	make(e, m, in, type % 11);
	if (id >= 0xf0)
		m->header.request_id = earlier_id(e, id & 15);
	m->header.timeout_ms = timeout < 128 ? 0 : timeout & 127;
	memset((uint8_t *)m + m->size, 0, INT8_MAX); /* what SPOIL may add */
	if (f.spoil.size)
		spoil(m, &f.spoil);
	f.spoil.size = 0;
	shorten(m);
	if (m->header.type == WINAPI_MSG_BUFFER_REGISTER)
		memcpy(&p->length, m->body, sizeof(p->length));
	offer(e, m, id & 1 ? 0 : id == 0xee ? id : m->header.request_id);
}

/* ---- Steps -------------------------------------------------------------------------------------------- */

static void set_room(struct end *e, struct input *in)
{
	uint8_t room = take8(in);

	e->room = room % 8;
	e->error = room & 128 ? -19 : 0;
	if (live(e))
		require(wp_channel_flush(e->core) == wp_channel_blocked(e->core), "do replies wait or not?");
}

static void set_gpadl(struct end *e, struct input *in)
{
	struct gpadl *gpadl = &e->gpadl[take8(in) % KNOWN];

	if (!gpadl->mapped)
		layout_read(&gpadl->layout, in);
}

static void open_or_close(struct end *e)
{
	if (live(e))
		close_channel(e);
	else if (!e->core)
		open_channel(e);
}

static void work(void)
{
	bool on_thread = f.on_thread;

	f.on_thread = false;
	steps_run_one();
	f.on_thread = on_thread;
}

static void step(uint8_t what, struct input in)
{
	struct end *e = &f.end[(what >> 3) % GUESTS];

	switch (what % 8) {
	case 0:
		if (live(e))
			send(e, &in);
		break;
	case 1:
		work();
		break;
	case 2:
		set_room(e, &in);
		break;
	case 3:
		set_gpadl(e, &in);
		break;
	case 4:
		f.spoil = in;
		break;
	case 5:
		f.ambush = in;
		break;
	case 6:
		steps_clock_advance(take8(&in) * 1000000ull);
		steps_fail_allocation(take8(&in) % 16);
		break;
	default:
		open_or_close(e);
	}
	if (live(e))
		wp_channel_publish(e->core);
}

/* On a reading of the clock: a worker is at work, and the channels' thread may go on meanwhile. */
static void ambush(void *unused)
{
	struct input in = f.ambush;

	(void)unused;
	if (!steps_working() || f.on_thread || !in.size)
		return;
	f.ambush.size = 0;
	f.on_thread = true;
	step(in.data[0], (struct input){ in.data + 1, in.size - 1 });
	f.on_thread = false; /* the worker goes on */
}

/* ---- Beginning and end -------------------------------------------------------------------------------- */

static void begin(void)
{
	const struct wp_config config = {
		.limits = { .max_in_flight = 3,
			    .max_sessions = 3,
			    .max_buffers = 4,
			    .max_bytes = 4 << 20,
			    .max_buffer_size = BYTES / 2,
			    .inline_work = 8192 },
		.name = "fuzz",
	};

	steps_reset();
	steps_on_clock(ambush, NULL);
	for (unsigned int i = 0; i < GUESTS; i++)
		f.end[i].core = NULL;
	f.spoil.size = 0;
	f.ambush.size = 0;
	f.maker.next_id = 0x10001;
	f.bytes_left = BYTES;
	f.on_thread = true;
	f.provider = wp_provider_create(&config);
	require(f.provider, "out of memory");
	open_channel(&f.end[0]);
}

/* With all work done and room for all replies, nothing may wait any more. */
static void settle(struct end *e)
{
	if (!live(e))
		return;
	e->room = PACKETS;
	require(!wp_channel_flush(e->core) && !wp_channel_blocked(e->core), "replies wait with room for all");
	all_answered(e);
	require(!e->starved, "no `resume` after a packet found no slot");
	close_channel(e);
}

static void end(void)
{
	struct winapi_provider_stats totals;

	f.ambush.size = 0;
	steps_fail_allocation(0);
	while (steps_queued())
		work();
	for (unsigned int i = 0; i < GUESTS; i++)
		settle(&f.end[i]);
	for (unsigned int i = 0; i < GUESTS; i++)
		require(!f.end[i].core, "a channel never closed");
	wp_provider_totals(f.provider, &totals);
	require(!totals.channel_in_flight && !totals.provider_channels && !totals.provider_sessions &&
			!totals.provider_buffers && !totals.provider_bytes,
		"totals count what is gone");
	wp_provider_destroy(f.provider);
	require(!steps_blocks() && !steps_queued(), "memory or work is left");
	for (unsigned int i = 0; i < RAM_PAGES; i++)
		require(!page_users[i], "a page is still in use");
}

/* The slots of a channel are large: freed ones that are kept for long cost the cache more than they show. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4";
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	ASAN_POISON_MEMORY_REGION(ram, sizeof(ram));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	while (size >= 2) {
		size_t part = data[1] < size - 2 ? data[1] : size - 2;

		step(data[0], (struct input){ data + 2, part });
		data += 2 + part;
		size -= 2 + part;
	}
	end();
	return 0;
}
