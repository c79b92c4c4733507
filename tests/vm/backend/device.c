/* SPDX-License-Identifier: MIT */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE_MS 5000u /* for a guest that makes no room in its ring */

/* ---- To the guest -------------------------------------------------------------------------------------- */

/* -EAGAIN published what fills the ring and asked for a signal; looking again is simpler here. */
static bool send_completion(struct backend *b, uint64_t transaction_id, const void *message, uint32_t size)
{
	int err = -EAGAIN;

	for (uint32_t i = 0; i < PATIENCE_MS && err == -EAGAIN; i++) {
		err = vmbus_channel_send(b->channel, VMBUS_PACKET_COMPLETION, 0, transaction_id, message,
					 size);
		if (err == -EAGAIN)
			usleep(1000);
	}
	return !err;
}

bool device_reply(struct backend *b, uint64_t transaction_id, const struct winapi_msg_header *header,
		  const void *data, uint32_t size)
{
	uint8_t message[WINAPI_MAX_REPLY];

	memcpy(message, header, sizeof(*header));
	if (size)
		memcpy(message + sizeof(*header), data, size);
	return send_completion(b, transaction_id, message, (uint32_t)sizeof(*header) + size);
}

/* As long as an honest packet of `size` bytes, whatever its descriptor says. */
bool device_packet(struct backend *b, const struct vmbus_packet_descriptor *desc, const void *payload,
		   uint32_t size)
{
	const struct vmbus_ring_part part = { payload, size };
	struct vmbus_ring_out *out = &b->channel->out;
	uint32_t at = out->write;
	int err = -EAGAIN;

	for (uint32_t i = 0; i < PATIENCE_MS && err == -EAGAIN && vmbus_channel_is_open(b->channel); i++) {
		err = vmbus_ring_write(out, desc->type, desc->flags, desc->transaction_id, 0, &part, 1);
		if (err == -EAGAIN) {
			vmbus_channel_publish(b->channel);
			usleep(1000);
		}
	}
	if (err)
		return false;
	memcpy(out->data + at, desc, sizeof(*desc));
	return true;
}

struct winapi_msg_header device_reply_header(const struct event *e, uint32_t inline_size)
{
	return (struct winapi_msg_header){
		.magic = WINAPI_MAGIC,
		.version = WINAPI_VERSION_1,
		.type = e->header.type,
		.api = e->header.api,
		.method = e->header.method,
		.flags = WINAPI_FLAG_REPLY,
		.request_id = e->header.request_id,
		.session_id = e->header.session_id,
		.inline_size = inline_size,
		.timestamp = e->header.timestamp,
		.host_ns = 1,
	};
}

static void reply_with(struct backend *b, const struct event *e, int32_t status, const void *data,
		       uint32_t size)
{
	struct winapi_msg_header header = device_reply_header(e, size);

	header.status = status;
	device_reply(b, header.request_id, &header, data, size);
}

/* ---- Honest answers ------------------------------------------------------------------------------------ */

struct winapi_hello_reply device_hello(const struct backend *b)
{
	struct winapi_hello_reply reply = {
		.version = WINAPI_VERSION_1,
		.max_buffers_per_call = WINAPI_MAX_BUFFERS,
		.max_in_flight = MAX_HELD,
		.features = WINAPI_FEATURES_V1,
		.max_inline = WINAPI_MAX_INLINE,
		.max_batch = WINAPI_MAX_BATCH,
		.max_sessions = 64,
		.max_chunks = WINAPI_MAX_CHUNKS,
		.max_buffers = 1024,
		.max_buffer_size = WINAPI_MAX_BUFFER_SIZE,
		.max_bytes = 1 << 30,
	};

	if (b->small) {
		reply.max_in_flight = BACKEND_SMALL_IN_FLIGHT;
		reply.max_sessions = BACKEND_SMALL_SESSIONS;
		reply.max_buffers = BACKEND_SMALL_BUFFERS;
		reply.max_buffer_size = BACKEND_SMALL_BUFFER_SIZE;
		reply.max_bytes = BACKEND_SMALL_BYTES;
	}
	/* By its name a guest knows the channel from those before. */
	snprintf(reply.provider, sizeof(reply.provider), "test channel %llu",
		 (unsigned long long)b->counters.channel);
	return reply;
}

static void answer_session(struct backend *b, const struct event *e)
{
	struct winapi_msg_header header = device_reply_header(e, sizeof(uint64_t));

	header.session_id = ++b->next_session;
	device_reply(b, header.request_id, &header, &header.session_id, sizeof(uint64_t));
}

static void answer_list(struct backend *b, const struct event *e)
{
	char names[WINAPI_MAX_INLINE];
	uint32_t first, size = 0;
	const char *name;

	for (memcpy(&first, e->data, sizeof(first)); (name = scenario_name(first)); first++) {
		uint32_t length = (uint32_t)strlen(name) + 1;

		if (length > sizeof(names) - size)
			break;
		memcpy(names + size, name, length);
		size += length;
	}
	reply_with(b, e, 0, names, size);
}

static void answer_arm(struct backend *b, const struct event *e)
{
	char name[100] = "";

	memcpy(name, e->data,
	       e->header.inline_size < sizeof(name) ? e->header.inline_size : sizeof(name) - 1);
	b->armed = scenario_find(name);
	b->counters.fired = 0;
	reply_with(b, e, b->armed ? 0 : WINAPI_STATUS_NOT_FOUND, NULL, 0);
}

static void answer_held(struct backend *b)
{
	b->hold = 0;
	for (uint32_t i = 0; i < b->held_count; i++)
		device_event(b, &b->held[i]);
	b->held_count = 0;
}

/* Only a call that is held back can still be cancelled. */
static void answer_cancel(struct backend *b, const struct event *e)
{
	int32_t status = WINAPI_STATUS_NOT_FOUND;
	uint64_t id;

	memcpy(&id, e->data, sizeof(id));
	for (uint32_t i = 0; i < b->held_count && status; i++) {
		if (b->held[i].header.request_id != id)
			continue;
		reply_with(b, &b->held[i], WINAPI_STATUS_CANCELED, NULL, 0);
		b->held[i] = b->held[--b->held_count];
		status = 0;
	}
	reply_with(b, e, status, NULL, 0);
}

static void second_offer(struct backend *b);

static void answer_control(struct backend *b, const struct event *e)
{
	uint32_t value;

	memcpy(&value, e->data, sizeof(value));
	switch (e->header.method) {
	case BACKEND_ARM:
		answer_arm(b, e);
		return;
	case BACKEND_LIST:
		answer_list(b, e);
		return;
	case BACKEND_COUNTERS:
		b->counters.gpadls = b->server->gpadl_count;
		reply_with(b, e, 0, &b->counters, sizeof(b->counters));
		return;
	case BACKEND_RESTART:
		b->restart_ms = now_ms();
		break;
	case BACKEND_HOLD:
		b->hold = value < MAX_HELD ? value : MAX_HELD;
		if (!value)
			answer_held(b);
		break;
	case BACKEND_POLL:
		b->polls = value;
		break;
	case BACKEND_SECOND:
		if (value && !b->second)
			second_offer(b);
		else if (!value && b->second)
			vmbus_channel_rescind(b->second);
		if (!value)
			b->second = NULL;
		break;
	default:
		reply_with(b, e, WINAPI_STATUS_UNKNOWN_METHOD, NULL, 0);
		return;
	}
	reply_with(b, e, 0, NULL, 0);
}

/* Results of the buffer test that only look like some; who wants true ones asks winapi-hostd. */
static void answer_call(struct backend *b, const struct event *e)
{
	uint64_t results[WINAPI_MAX_BUFFERS] = { 0 };
	struct winapi_provider_stats stats = { 0 };

	if (e->header.api == WINAPI_API_INTROSPECTION) {
		reply_with(b, e, 0, &stats,
			   e->header.method == WINAPI_INTROSPECTION_STATS ? sizeof(stats) : 0);
		return;
	}
	for (uint32_t i = 0; i < e->header.buffer_count; i++)
		results[i] = e->desc[i].length;
	reply_with(b, e, 0, results, e->header.buffer_count * 8u);
}

void device_answer(struct backend *b, const struct event *e)
{
	const struct winapi_hello_reply hello = device_hello(b);

	switch (e->step) {
	case STEP_CLOSE:
		break;
	case STEP_RING_GPADL:
	case STEP_OPEN:
	case STEP_GPADL:
	case STEP_TEARDOWN:
	case STEP_RING_TEARDOWN:
	case STEP_OTHER:
		frontend_post(b, e->answer, e->answer_size);
		break;
	case STEP_HELLO:
		reply_with(b, e, 0, &hello, sizeof(hello));
		break;
	case STEP_SESSION_OPEN:
		answer_session(b, e);
		break;
	case STEP_REGISTER:
		b->next_handle++;
		reply_with(b, e, 0, &b->next_handle, sizeof(b->next_handle));
		break;
	case STEP_ECHO:
	case STEP_BATCH: /* its members are echoes */
		reply_with(b, e, 0, e->data, e->header.inline_size);
		break;
	case STEP_CALL:
		answer_call(b, e);
		break;
	case STEP_CANCEL:
		answer_cancel(b, e);
		break;
	case STEP_UNREGISTER:
	case STEP_SESSION_CLOSE:
		reply_with(b, e, 0, NULL, 0);
		break;
	}
}

/* ---- Events -------------------------------------------------------------------------------------------- */

void device_event(struct backend *b, const struct event *e)
{
	const struct scenario *scenario = b->armed;

	if (!scenario || scenario->step != e->step) {
		device_answer(b, e);
		return;
	}
	b->armed = NULL;
	b->counters.fired++;
	if (scenario->restart_ms)
		b->restart_ms = now_ms() + scenario->restart_ms;
	scenario->act(b, e);
}

enum step device_step_of(const struct backend *b, const void *answer)
{
	struct vmbus_gpadl_created m;
	const struct gpadl *gpadl;

	memcpy(&m.header, answer, sizeof(m.header));
	if (m.header.type == VMBUS_MSG_GPADL_TORNDOWN) {
		struct vmbus_gpadl_torndown torndown;

		memcpy(&torndown, answer, sizeof(torndown));
		gpadl = gpadl_find(b->server, torndown.gpadl);
		if (!b->channel || !gpadl || gpadl->channel != b->channel)
			return STEP_OTHER;
		return torndown.gpadl == b->ring_gpadl ? STEP_RING_TEARDOWN : STEP_TEARDOWN;
	}
	if (m.header.type != VMBUS_MSG_GPADL_CREATED && m.header.type != VMBUS_MSG_OPEN_RESULT)
		return STEP_OTHER;
	memcpy(&m, answer, sizeof(m)); /* both begin with the relid */
	if (!b->channel || m.relid != b->channel->relid)
		return STEP_OTHER;
	if (m.header.type == VMBUS_MSG_OPEN_RESULT)
		return STEP_OPEN;
	return vmbus_channel_is_open(b->channel) ? STEP_GPADL : STEP_RING_GPADL;
}

static enum step step_of_request(const struct winapi_msg_header *header)
{
	switch (header->type) {
	case WINAPI_MSG_HELLO:
		return STEP_HELLO;
	case WINAPI_MSG_SESSION_OPEN:
		return STEP_SESSION_OPEN;
	case WINAPI_MSG_SESSION_CLOSE:
		return STEP_SESSION_CLOSE;
	case WINAPI_MSG_BUFFER_REGISTER:
		return STEP_REGISTER;
	case WINAPI_MSG_BUFFER_UNREGISTER:
		return STEP_UNREGISTER;
	case WINAPI_MSG_BATCH:
		return STEP_BATCH;
	case WINAPI_MSG_CANCEL:
		return STEP_CANCEL;
	default:
		return header->api == WINAPI_API_ECHO ? STEP_ECHO : STEP_CALL;
	}
}

/* ---- From the guest ------------------------------------------------------------------------------------ */

/* The driver is held to what docs/protocol.md says of a request. */
static const char *wrong_with(const struct vmbus_packet *p, const struct event *e)
{
	const struct winapi_msg_header *h = &e->header;

	if (p->payload_size < sizeof(*h) || h->magic != WINAPI_MAGIC || h->version != WINAPI_VERSION_1)
		return "no request of version 1";
	if (!p->wants_completion || !h->request_id || h->request_id != p->transaction_id)
		return "its ids disagree";
	if (h->flags || h->status || h->reserved || h->host_ns || h->buffer_count > WINAPI_MAX_BUFFERS ||
	    h->inline_size > WINAPI_MAX_INLINE)
		return "fields that must be 0, or counts over their bounds";
	if (sizeof(*h) + h->buffer_count * sizeof(e->desc[0]) + h->inline_size > p->payload_size)
		return "longer than its packet";
	return NULL;
}

static bool take_packet(struct backend *b, struct event *e)
{
	struct vmbus_packet p;
	const uint8_t *at;
	const char *wrong;
	int got = vmbus_channel_next(b->channel, &p);

	if (got <= 0) {
		if (got)
			die("a packet of the guest's makes no sense");
		return false;
	}
	memset(e, 0, sizeof(*e));
	memcpy(&e->header, p.payload,
	       p.payload_size < sizeof(e->header) ? p.payload_size : sizeof(e->header));
	wrong = wrong_with(&p, e);
	if (wrong)
		die("a request of the guest's: %s", wrong);
	at = p.payload + sizeof(e->header);
	memcpy(e->desc, at, e->header.buffer_count * sizeof(e->desc[0]));
	memcpy(e->data, at + e->header.buffer_count * sizeof(e->desc[0]), e->header.inline_size);
	e->step = step_of_request(&e->header);
	b->counters.requests++;
	b->counters.gpa_direct += p.type == VMBUS_PACKET_GPA_DIRECT;
	vmbus_channel_leave(b->channel, &p); /* frees its segments: nothing here looks at pages */
	vmbus_channel_take(b->channel, &p);
	return true;
}

static void on_request(struct backend *b, const struct event *e)
{
	if (e->step == STEP_CALL && e->header.api == WINAPI_API_BACKEND) {
		answer_control(b, e);
	} else if (b->hold && (e->step == STEP_ECHO || e->step == STEP_CALL || e->step == STEP_BATCH)) {
		b->held[b->held_count++] = *e;
		if (b->held_count == b->hold)
			answer_held(b);
	} else {
		device_event(b, e);
	}
}

/* A lie in the ring may have ended the channel, or made it deaf, at any packet. */
static bool listens(const struct backend *b)
{
	return b->channel && !b->deaf && vmbus_channel_is_open(b->channel);
}

void device_poll(struct backend *b)
{
	static struct event e;
	bool again = true;

	while (again && listens(b)) {
		vmbus_channel_mask(b->channel);
		while (listens(b) && take_packet(b, &e))
			on_request(b, &e);
		if (!listens(b))
			return;
		vmbus_channel_release(b->channel, true);
		vmbus_channel_publish(b->channel);
		again = !b->polls && !b->hold && vmbus_channel_unmask(b->channel);
	}
}

/* ---- The device ---------------------------------------------------------------------------------------- */

static uint32_t opened(void *device, struct vmbus_channel *channel)
{
	struct backend *b = device;

	b->ring_gpadl = channel->ring_gpadl->id;
	b->deaf = b->polls = false;
	b->hold = b->held_count = 0;
	b->counters.channel++;
	return 0;
}

static void closing(void *device, struct vmbus_channel *channel)
{
	(void)device;
	vmbus_channel_closed(channel);
}

static void kicked(void *device, struct vmbus_channel *channel)
{
	struct backend *b = device;

	if (channel == b->channel)
		device_poll(b);
}

static struct vmbus_channel *put_up(struct backend *b, char instance, const struct vmbus_device_ops *ops)
{
	static const uint8_t type[16] = WINAPI_INTERFACE_GUID_BYTES;
	struct vmbus_offer offer = { .interface_instance = "winapi-backend-", .ops = ops, .device = b };
	struct vmbus_channel *channel;

	memcpy(offer.interface_type, type, sizeof(type));
	offer.interface_instance[15] = (uint8_t)instance;
	channel = vmbus_server_offer(b->server, &offer);
	if (!channel)
		die("no memory");
	return channel;
}

void device_offer(struct backend *b)
{
	static const struct vmbus_device_ops ops = { opened, closing, kicked };

	b->channel = put_up(b, '0', &ops);
}

/* ---- The second device --------------------------------------------------------------------------------- */

static uint32_t second_opened(void *device, struct vmbus_channel *channel)
{
	(void)device;
	(void)channel;
	return 0;
}

/* What serves the first serves it as well, by turns. */
static void second_kicked(void *device, struct vmbus_channel *channel)
{
	struct backend *b = device;
	struct vmbus_channel *first = b->channel;

	b->channel = channel;
	device_poll(b);
	b->channel = first;
}

static void second_offer(struct backend *b)
{
	static const struct vmbus_device_ops ops = { second_opened, closing, second_kicked };

	b->second = put_up(b, '1', &ops);
}

void device_restart(struct backend *b)
{
	vmbus_channel_rescind(b->channel);
	device_offer(b);
}
