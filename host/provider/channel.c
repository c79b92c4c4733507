/* SPDX-License-Identifier: MIT */
/* A channel: its memory from open to the last reference, and the way of a packet to its handler. */
#include "core.h"

#define CACHE_LINE 64u

/* ---- Open and close -------------------------------------------------------------------------- */

static uint32_t power_of_two_from(uint32_t least)
{
	uint32_t size = 1;

	while (size < least)
		size *= 2;
	return size;
}

static void free_memory(struct wp_channel *channel)
{
	wp_free(channel->slot_memory);
	wp_free(channel->session);
	wp_free(channel->free);
	wp_free(channel->bucket);
	wp_free(channel->api);
	wp_free(channel);
}

/* Slots are many and large: their memory isn't touched before a request needs it. */
static bool allocate(struct wp_channel *channel)
{
	const struct wp_limits *limits = &channel->provider->config.limits;
	uint32_t buckets = power_of_two_from(2 * limits->max_in_flight);
	uintptr_t start;

	channel->slot_count = 2 * limits->max_in_flight;
	channel->bucket_mask = buckets - 1;
	channel->slot_memory = wp_alloc(channel->slot_count * sizeof(*channel->slot) + CACHE_LINE);
	channel->session = wp_alloc(limits->max_sessions * sizeof(struct wp_session *));
	channel->free = wp_alloc(channel->slot_count * sizeof(*channel->free));
	channel->bucket = wp_alloc(buckets * sizeof(*channel->bucket));
	channel->api = wp_alloc(2 * wp_api_count * sizeof(*channel->api));
	if (!channel->slot_memory || !channel->session || !channel->free || !channel->bucket || !channel->api)
		return false;
	channel->batch = channel->api + wp_api_count;
	start = (uintptr_t)channel->slot_memory + CACHE_LINE - 1;
	channel->slot = (struct wp_slot *)(start - start % CACHE_LINE);
	return true;
}

struct wp_channel *wp_channel_open(struct wp_provider *provider, const struct wp_transport_ops *ops,
				   void *transport, const struct wp_identity *identity)
{
	struct wp_channel *channel = wp_alloc(sizeof(*channel));

	if (!channel)
		return NULL;
	channel->provider = provider;
	if (!allocate(channel)) {
		free_memory(channel);
		return NULL;
	}
	channel->ops = ops;
	channel->transport = transport;
	channel->identity = *identity;
	channel->references = 1;
	channel->first_reply = WP_NO_SLOT;
	channel->first_work = WP_NO_SLOT;
	memset(channel->bucket, 0xff, (channel->bucket_mask + 1) * sizeof(*channel->bucket));
	for (uint32_t i = channel->slot_count; i; i--)
		channel->free[channel->free_count++] = (uint16_t)(i - 1);
	wp_lock_init(&channel->lock);
	wp_provider_link(channel);
	return channel;
}

void wp_channel_put(struct wp_channel *channel)
{
	const struct wp_transport_ops *ops = channel->ops;
	void *transport = channel->transport;

	if (wp_atomic_add64(&channel->references, UINT64_MAX))
		return;
	for (uint32_t i = 0; i < channel->provider->config.limits.max_sessions; i++)
		if (channel->session[i])
			wp_session_free(channel, channel->session[i]);
	wp_provider_unlink(channel);
	wp_lock_destroy(&channel->lock);
	free_memory(channel);
	ops->closed(transport);
}

void wp_channel_close(struct wp_channel *channel)
{
	wp_lock(&channel->lock);
	channel->closed = true;
	wp_reply_drop_all(channel);
	wp_call_stop_all(channel, NULL);
	wp_unlock(&channel->lock);
	wp_channel_put(channel);
}

/* ---- HELLO ----------------------------------------------------------------------------------- */

static void describe(const struct wp_config *config, struct winapi_hello_reply *reply)
{
	memset(reply, 0, sizeof(*reply));
	reply->max_buffers_per_call = WINAPI_MAX_BUFFERS;
	reply->max_in_flight = config->limits.max_in_flight;
	reply->max_inline = WINAPI_MAX_INLINE;
	reply->max_batch = WINAPI_MAX_BATCH;
	reply->max_sessions = config->limits.max_sessions;
	reply->max_chunks = WINAPI_MAX_CHUNKS;
	reply->max_buffers = config->limits.max_buffers;
	reply->max_buffer_size = config->limits.max_buffer_size;
	reply->max_bytes = config->limits.max_bytes;
	memcpy(reply->provider, config->name, sizeof(reply->provider));
}

/* A later version's HELLO may be longer; its first 16 bytes are these for ever. */
static enum winapi_status hello(struct wp_channel *channel, struct wp_slot *slot)
{
	struct winapi_hello_request request;
	struct winapi_hello_reply reply;

	if (channel->greeted)
		return WINAPI_STATUS_INVALID_PARAMETER;
	if (slot->call.in_size < sizeof(request))
		return WINAPI_STATUS_MALFORMED;
	memcpy(&request, slot->call.in, sizeof(request));
	if (request.reserved)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	if (request.min_version > request.max_version)
		return WINAPI_STATUS_INVALID_PARAMETER;
	if (request.min_version > WINAPI_VERSION_MAX || request.max_version < WINAPI_VERSION_MIN)
		return WINAPI_STATUS_UNSUPPORTED_VERSION;
	describe(&channel->provider->config, &reply);
	reply.version = WINAPI_VERSION_1;
	reply.features = request.features & WINAPI_FEATURES_V1;
	memcpy(slot->call.out, &reply, sizeof(reply));
	slot->call.out_size = sizeof(reply);
	channel->greeted = true;
	return WINAPI_STATUS_OK;
}

/* ---- Intake ---------------------------------------------------------------------------------- */

static enum winapi_status check_type(const struct winapi_msg_header *h)
{
	if (h->version != WINAPI_VERSION_1)
		return WINAPI_STATUS_UNSUPPORTED_VERSION;
	if (h->type < WINAPI_MSG_HELLO || h->type > WINAPI_MSG_CANCEL)
		return WINAPI_STATUS_UNKNOWN_TYPE;
	if (h->flags & ~WINAPI_FLAGS_REQUEST)
		return WINAPI_STATUS_UNKNOWN_FLAGS;
	return WINAPI_STATUS_OK;
}

static enum winapi_status check_reserved(const struct winapi_msg_header *h)
{
	uint64_t zero = (uint32_t)h->status | h->reserved | h->host_ns;

	if (h->type != WINAPI_MSG_CALL)
		zero |= h->api | h->method | h->buffer_count;
	if (h->type == WINAPI_MSG_HELLO || h->type == WINAPI_MSG_SESSION_OPEN)
		zero |= h->session_id;
	return zero ? WINAPI_STATUS_RESERVED_NOT_ZERO : WINAPI_STATUS_OK;
}

static enum winapi_status check_sizes(const struct winapi_msg_header *h, uint32_t size)
{
	if (h->buffer_count > WINAPI_MAX_BUFFERS || h->inline_size > WINAPI_MAX_INLINE)
		return WINAPI_STATUS_TOO_LARGE;
	if (sizeof(*h) + h->buffer_count * sizeof(struct winapi_buffer_desc) + h->inline_size > size)
		return WINAPI_STATUS_MALFORMED;
	return WINAPI_STATUS_OK;
}

static enum winapi_status check_header(const struct winapi_msg_header *h, uint32_t size)
{
	enum winapi_status status = check_type(h);

	if (!status)
		status = check_reserved(h);
	if (!status)
		status = check_sizes(h, size);
	return status;
}

/* Among those in flight: is the id there already, are there too many for one more of this type? */
static void check_parked(struct wp_channel *channel, const struct winapi_msg_header *h, bool *duplicate,
			 bool *full)
{
	*duplicate = false;
	*full = false;
	if (!wp_atomic_load32(&channel->parked))
		return;
	wp_lock(&channel->lock);
	*duplicate = wp_slot_find(channel, h->request_id);
	*full = h->type != WINAPI_MSG_CANCEL &&
		channel->in_flight >= channel->provider->config.limits.max_in_flight;
	wp_unlock(&channel->lock);
}

/* The rest of the message, and what every handler starts from. */
static void take_body(struct wp_slot *slot, const void *data, const struct wp_segments *external)
{
	uint32_t descs = slot->header.buffer_count * (uint32_t)sizeof(struct winapi_buffer_desc);
	struct wp_call *call = &slot->call;

	wp_copy(slot->body, (const uint8_t *)data + sizeof(slot->header), descs + slot->header.inline_size);
	call->in = slot->body + descs;
	call->in_size = slot->header.inline_size;
	call->out = slot->reply_body;
	call->out_capacity = sizeof(slot->reply_body);
	call->deadline_ns = 0;
	if (slot->header.timeout_ms)
		call->deadline_ns = call->received_ns + slot->header.timeout_ms * 1000000ull;
	call->cancelled = 0;
	call->unchecked = 0;
	slot->external = external ? *external : (struct wp_segments){ 0 };
}

static enum winapi_status check_context(struct wp_channel *channel, struct wp_slot *slot)
{
	const struct winapi_msg_header *h = &slot->header;
	bool duplicate, full;

	check_parked(channel, h, &duplicate, &full);
	if (duplicate)
		return WINAPI_STATUS_DUPLICATE_ID;
	if (h->type == WINAPI_MSG_HELLO)
		return WINAPI_STATUS_OK;
	if (!channel->greeted)
		return WINAPI_STATUS_NO_SESSION;
	if (h->type != WINAPI_MSG_SESSION_OPEN) {
		slot->session = wp_session_find(channel, h->session_id);
		slot->call.session = slot->session;
		if (!slot->session)
			return WINAPI_STATUS_NO_SESSION;
	}
	return full ? WINAPI_STATUS_LIMIT_IN_FLIGHT : WINAPI_STATUS_OK;
}

static enum winapi_status dispatch(struct wp_channel *channel, struct wp_slot *slot)
{
	switch (slot->header.type) {
	case WINAPI_MSG_CALL:
		return wp_call_start(channel, slot);
	case WINAPI_MSG_BATCH:
		return wp_batch_run(channel, slot);
	case WINAPI_MSG_HELLO:
		return hello(channel, slot);
	case WINAPI_MSG_SESSION_OPEN:
		return wp_session_open(channel, slot);
	case WINAPI_MSG_SESSION_CLOSE:
		return wp_session_close(channel, slot);
	case WINAPI_MSG_BUFFER_REGISTER:
		return wp_buffer_register(channel, slot);
	case WINAPI_MSG_BUFFER_UNREGISTER:
		return wp_buffer_unregister(channel, slot);
	default:
		return wp_call_cancel(channel, slot);
	}
}

/* False: the guest is broken. */
static bool take_header(struct wp_slot *slot, uint64_t request_id, const void *data)
{
	struct winapi_msg_header *h = &slot->header;

	memcpy(h, data, sizeof(*h));
	return h->magic == WINAPI_MAGIC && h->request_id && (!request_id || request_id == h->request_id);
}

HOT_PATH enum wp_packet_result wp_channel_packet(struct wp_channel *channel, void *packet,
						 uint64_t request_id, const void *data, uint32_t size,
						 const struct wp_segments *external)
{
	uint64_t now = channel->burst_ns ? channel->burst_ns : wp_clock_ns();
	enum winapi_status status;
	struct wp_slot *slot;

	if (size < sizeof(struct winapi_msg_header))
		return WP_PACKET_MALFORMED;
	if (!channel->spare && !wp_slot_spare(channel))
		return WP_PACKET_BUSY;
	slot = channel->spare;
	if (!take_header(slot, request_id, data))
		return WP_PACKET_MALFORMED;
	slot->packet = packet;
	slot->api = NULL;
	slot->session = NULL;
	slot->call.received_ns = now;
	slot->call.out_size = 0;
	slot->call.buffer_count = 0;
	status = check_header(&slot->header, size);
	if (!status) {
		take_body(slot, data, external);
		status = check_context(channel, slot);
	}
	if (!status)
		status = dispatch(channel, slot);
	if (channel->spare == slot)
		wp_reply_now(channel, status);
	return WP_PACKET_TAKEN;
}
