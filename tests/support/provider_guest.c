/* SPDX-License-Identifier: MIT */
/* See provider_guest.h. */
#include "provider_guest.h"

#include <stdlib.h>

const struct wp_config guest_config = { .name = "test 1.0" };

/* ---- The transport --------------------------------------------------------------------------- */

static void check_reply(const struct winapi_msg_header *h, uint64_t request_id, uint32_t size)
{
	assert_int_equal(h->magic, WINAPI_MAGIC);
	assert_int_equal(h->flags, WINAPI_FLAG_REPLY);
	assert_int_equal(h->request_id, request_id);
	assert_int_equal(h->buffer_count, 0);
	assert_int_equal(h->reserved, 0);
	assert_int_equal(h->timeout_ms, 0);
	assert_in_range(h->inline_size, 0, WINAPI_MAX_INLINE);
	assert_int_equal(size, sizeof(*h) + h->inline_size);
	assert_in_range(h->status, 0, WINAPI_STATUS_COUNT - 1);
	if (h->status)
		assert_int_equal(h->inline_size, 0);
}

static int complete(void *transport, void *packet, uint64_t request_id, const void *reply, uint32_t size)
{
	struct guest *g = transport;
	uintptr_t number = (uintptr_t)packet - 1;

	/* A worker is never alone; the channel's thread may know that it is. */
	assert_true(steps_locked() || !steps_working());
	assert_int_equal(g->closed, 0);
	assert_true(number < GUEST_PACKETS);
	assert_false(g->completed[number]);
	if (reply)
		check_reply(reply, request_id, size);
	if (reply && !g->complete_error && !g->room)
		return -11;
	g->completed[number] = true;
	g->completions++;
	if (!reply || g->complete_error)
		return g->complete_error;
	g->room--;
	assert_true(g->replies < GUEST_PACKETS);
	memcpy(&g->reply[g->replies++], reply, size);
	return 0;
}

static int map_gpadl(void *transport, uint32_t id, struct wp_segments *segments)
{
	struct guest *g = transport;

	assert_false(steps_locked());
	assert_int_equal(g->closed, 0);
	if (id >= GUEST_GPADLS || !g->gpadl[id].segments.segment)
		return -2;
	if (g->gpadl[id].mapped)
		return -16;
	if (g->gpadl[id].error)
		return g->gpadl[id].error;
	g->gpadl[id].mapped = true;
	g->mapped++;
	*segments = g->gpadl[id].segments;
	return 0;
}

static void unmap_gpadl(void *transport, uint32_t id)
{
	struct guest *g = transport;

	assert_false(steps_locked());
	assert_int_equal(g->closed, 0);
	assert_true(id < GUEST_GPADLS);
	assert_true(g->gpadl[id].mapped);
	g->gpadl[id].mapped = false;
	g->mapped--;
}

static void resume(void *transport)
{
	struct guest *g = transport;

	assert_false(steps_locked());
	assert_int_equal(g->closed, 0);
	g->resumed++;
}

static void closed(void *transport)
{
	struct guest *g = transport;

	assert_false(steps_locked());
	g->closed++;
}

static const struct wp_transport_ops ops = {
	.complete = complete,
	.map_gpadl = map_gpadl,
	.unmap_gpadl = unmap_gpadl,
	.resume = resume,
	.closed = closed,
};

/* ---- Beginning and end ----------------------------------------------------------------------- */

void guest_start_as(struct guest *g, struct wp_provider *provider, const struct wp_identity *identity)
{
	memset(g, 0, sizeof(*g));
	g->provider = provider;
	g->room = GUEST_PACKETS;
	g->next_id = 0x10001;
	g->reply = calloc(GUEST_PACKETS, sizeof(*g->reply));
	assert_non_null(g->reply);
	g->ops = ops;
	g->channel = wp_channel_open(provider, &g->ops, g, identity);
}

void guest_start_beside(struct guest *g, struct wp_provider *provider)
{
	const struct wp_identity unknown = { .known = false };

	guest_start_as(g, provider, &unknown);
}

void guest_start(struct guest *g, const struct wp_limits *limits)
{
	struct wp_config config = guest_config;
	struct wp_provider *provider;

	steps_reset();
	if (limits)
		config.limits = *limits;
	provider = wp_provider_create(&config);
	assert_non_null(provider);
	guest_start_beside(g, provider);
	assert_non_null(g->channel);
}

void guest_ready(struct guest *g, const struct wp_limits *limits)
{
	guest_start(g, limits);
	guest_hello(g);
	g->session = guest_open_session(g);
}

void guest_end_beside(struct guest *g)
{
	if (g->channel) {
		wp_channel_close(g->channel);
		steps_run_all();
		assert_int_equal(g->closed, 1);
	}
	assert_int_equal(g->completions, g->packets);
	assert_int_equal(g->mapped, 0);
	for (uint32_t i = 0; i < GUEST_GPADLS; i++)
		free((void *)g->gpadl[i].segments.segment);
	free(g->reply);
}

void guest_end(struct guest *g)
{
	struct winapi_provider_stats totals;

	guest_end_beside(g);
	wp_provider_totals(g->provider, &totals);
	assert_int_equal(totals.provider_channels, 0);
	assert_int_equal(totals.provider_sessions, 0);
	assert_int_equal(totals.provider_buffers, 0);
	assert_int_equal(totals.provider_bytes, 0);
	assert_int_equal(totals.channel_in_flight, 0);
	wp_provider_destroy(g->provider);
	assert_int_equal(steps_blocks(), 0);
}

/* ---- Messages -------------------------------------------------------------------------------- */

struct message *message_start(struct guest *g, struct message *m, uint16_t type)
{
	m->header = (struct winapi_msg_header){
		.magic = WINAPI_MAGIC,
		.version = WINAPI_VERSION_1,
		.type = type,
		.request_id = g->next_id,
		.session_id = g->session,
		.timestamp = 77,
	};
	g->next_id += 0x10001;
	m->size = sizeof(m->header);
	return m;
}

void message_add(struct message *m, const void *data, uint32_t size)
{
	uint8_t *end = (uint8_t *)m + m->size;

	assert_true(m->size + size <= sizeof(m->header) + sizeof(m->body));
	if (size)
		memcpy(end, data, size);
	m->header.inline_size += size;
	m->size += size;
}

void message_call(struct guest *g, struct message *m, uint32_t api, uint16_t method, const void *in,
		  uint32_t size)
{
	message_start(g, m, WINAPI_MSG_CALL);
	m->header.api = api;
	m->header.method = method;
	message_add(m, in, size);
}

/* Descriptors stand before the inline data, which moves up. */
void message_buffer(struct message *m, uint64_t handle, uint64_t offset, uint64_t length, uint32_t access)
{
	struct winapi_buffer_desc desc = { handle, offset, length, access, 0 };
	uint8_t *in = m->body + m->header.buffer_count * sizeof(desc);

	memmove(in + sizeof(desc), in, m->header.inline_size);
	memcpy(in, &desc, sizeof(desc));
	m->header.buffer_count++;
	m->size += (uint32_t)sizeof(desc);
}

/* From a block of exactly the packet's size, so that a sanitizer sees a read beyond it. */
enum wp_packet_result guest_send_with(struct guest *g, const struct message *m,
				      const struct wp_segments *external)
{
	void *packet = (void *)(uintptr_t)(g->packets + 1);
	uint8_t *copy = malloc(m->size ? m->size : 1);
	enum wp_packet_result result;

	assert_non_null(copy);
	assert_true(g->packets < GUEST_PACKETS);
	memcpy(copy, m, m->size);
	g->packets++;
	result = wp_channel_packet(g->channel, packet, m->header.request_id, copy, m->size, external);
	if (result != WP_PACKET_TAKEN) {
		g->packets--;
		assert_false(g->completed[g->packets]);
	}
	memset(copy, 0xdd, m->size); /* the core must have its own copy by now */
	free(copy);
	return result;
}

enum wp_packet_result guest_send(struct guest *g, const struct message *m)
{
	return guest_send_with(g, m, NULL);
}

const struct guest_reply *guest_reply_to(const struct guest *g, uint64_t request_id)
{
	for (unsigned int i = g->replies; i; i--)
		if (g->reply[i - 1].header.request_id == request_id)
			return &g->reply[i - 1];
	return NULL;
}

const struct guest_reply *guest_ask(struct guest *g, const struct message *m)
{
	unsigned int before = g->replies;
	const struct guest_reply *reply;

	assert_int_equal(guest_send(g, m), WP_PACKET_TAKEN);
	assert_int_equal(g->replies, before + 1);
	reply = &g->reply[before];
	assert_int_equal(reply->header.request_id, m->header.request_id);
	assert_int_equal(reply->header.type, m->header.type);
	assert_int_equal(reply->header.timestamp, m->header.timestamp);
	return reply;
}

int guest_status(struct guest *g, const struct message *m)
{
	return guest_ask(g, m)->header.status;
}

int guest_got(const struct guest *g, const struct message *m)
{
	const struct guest_reply *reply = guest_reply_to(g, m->header.request_id);

	assert_non_null(reply);
	return reply->header.status;
}

/* ---- The usual requests ---------------------------------------------------------------------- */

void message_hello(struct guest *g, struct message *m)
{
	struct winapi_hello_request request = { 1, 1, 0, WINAPI_FEATURES_V1 };

	message_start(g, m, WINAPI_MSG_HELLO);
	m->header.session_id = 0;
	message_add(m, &request, sizeof(request));
}

void guest_hello(struct guest *g)
{
	struct message m;

	message_hello(g, &m);
	assert_int_equal(guest_status(g, &m), WINAPI_STATUS_OK);
}

uint64_t guest_open_session(struct guest *g)
{
	struct winapi_session_open_request request = { 1000, 100, 4711, 0 };
	struct winapi_session_open_reply reply;
	const struct guest_reply *got;
	struct message m;

	message_start(g, &m, WINAPI_MSG_SESSION_OPEN);
	m.header.session_id = 0;
	message_add(&m, &request, sizeof(request));
	got = guest_ask(g, &m);
	assert_int_equal(got->header.status, WINAPI_STATUS_OK);
	assert_int_equal(got->header.inline_size, sizeof(reply));
	memcpy(&reply, got->data, sizeof(reply));
	assert_int_equal(got->header.session_id, reply.session_id);
	assert_int_not_equal(reply.session_id, 0);
	return reply.session_id;
}

void guest_gpadl(struct guest *g, uint32_t id, const struct wp_segment *segment, uint32_t count)
{
	struct wp_segments *segments = &g->gpadl[id].segments;
	struct wp_segment *copy = malloc(count * sizeof(*copy));

	assert_non_null(copy);
	memcpy(copy, segment, count * sizeof(*copy));
	free((void *)segments->segment);
	*segments = (struct wp_segments){ .segment = copy, .count = count };
	for (uint32_t i = 0; i < count; i++)
		segments->size += copy[i].size;
}

void message_register(struct guest *g, struct message *m, uint64_t length, uint32_t offset, uint32_t access,
		      const uint32_t *gpadl, uint32_t count)
{
	struct winapi_buffer_register_request request = {
		.length = length,
		.offset = offset,
		.access = access,
		.chunk_count = count,
	};

	message_start(g, m, WINAPI_MSG_BUFFER_REGISTER);
	message_add(m, &request, offsetof(struct winapi_buffer_register_request, gpadl));
	message_add(m, gpadl, 4 * count);
}

uint64_t guest_register(struct guest *g, uint32_t gpadl, uint64_t length, uint32_t access)
{
	struct winapi_buffer_register_reply reply;
	const struct guest_reply *got;
	struct message m;

	message_register(g, &m, length, 0, access, &gpadl, 1);
	got = guest_ask(g, &m);
	assert_int_equal(got->header.status, WINAPI_STATUS_OK);
	assert_int_equal(got->header.inline_size, sizeof(reply));
	memcpy(&reply, got->data, sizeof(reply));
	assert_int_not_equal(reply.handle, 0);
	return reply.handle;
}

int guest_unregister(struct guest *g, uint64_t handle)
{
	struct winapi_buffer_unregister_request request = { handle };
	struct message m;

	message_start(g, &m, WINAPI_MSG_BUFFER_UNREGISTER);
	message_add(&m, &request, sizeof(request));
	return guest_status(g, &m);
}

int guest_cancel(struct guest *g, uint64_t request_id)
{
	struct winapi_cancel_request request = { request_id };
	struct message m;

	message_start(g, &m, WINAPI_MSG_CANCEL);
	message_add(&m, &request, sizeof(request));
	assert_int_equal(guest_send(g, &m), WP_PACKET_TAKEN);
	return guest_got(g, &m);
}

int guest_echo(struct guest *g)
{
	const struct guest_reply *got;
	struct message m;
	uint8_t data[64];

	memset(data, (int)(g->next_id >> 4), sizeof(data));
	message_call(g, &m, WINAPI_API_ECHO, WINAPI_ECHO_CALL, data, sizeof(data));
	got = guest_ask(g, &m);
	if (got->header.status)
		return got->header.status;
	assert_int_equal(got->header.inline_size, sizeof(data));
	assert_memory_equal(got->data, data, sizeof(data));
	return 0;
}
