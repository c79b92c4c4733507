/* SPDX-License-Identifier: MIT */
/*
 * Replies: built in the slot, sent from there, and kept there, in order, while the ring is full.
 */
#include "core.h"

/* By whole words, as what is stored here goes into the ring at once: see common/header.h. */
static void fill_header(struct wp_slot *slot)
{
	const struct winapi_msg_header *h = &slot->header;
	uint64_t *word = slot->reply;

	memcpy(&word[0], h, 8); /* magic, version, type */
	word[1] = h->api | (uint64_t)h->method << 32 | (uint64_t)WINAPI_FLAG_REPLY << 48;
	word[2] = h->request_id;
	word[3] = h->session_id;
	word[4] = (uint32_t)slot->status; /* no buffers */
	word[5] = slot->reply_size; /* no timeout */
	word[6] = h->timestamp;
	word[7] = slot->host_ns;
}

HOT_PATH void wp_reply_prepare(struct wp_slot *slot, enum winapi_status status)
{
	slot->status = status;
	slot->host_ns = wp_clock_ns() - slot->call.received_ns;
	slot->reply_size = status == WINAPI_STATUS_OK ? slot->call.out_size : 0;
	fill_header(slot);
}

static void count_call(struct wp_channel *channel, const struct wp_slot *slot)
{
	struct wp_api_counters *api = &channel->api[slot->api->id];

	wp_bump(&api->calls, 1);
	wp_bump(&api->errors, slot->status != WINAPI_STATUS_OK);
	wp_bump(&api->bytes, slot->header.inline_size + slot->reply_size + wp_call_bytes(&slot->call));
	wp_bump(&api->host_ns, slot->host_ns);
}

/* The members were counted one by one; the time of the packet is theirs in equal parts. */
static void count_batch(struct wp_channel *channel, const struct wp_slot *slot)
{
	uint64_t members = 0;

	for (uint32_t i = 0; i < wp_api_count; i++)
		members += channel->batch[i].calls;
	for (uint32_t i = 0; members && i < wp_api_count; i++) {
		struct wp_api_counters *more = &channel->batch[i];

		wp_bump(&channel->api[i].calls, more->calls);
		wp_bump(&channel->api[i].errors, more->errors);
		wp_bump(&channel->api[i].bytes, more->bytes);
		wp_bump(&channel->api[i].host_ns, slot->host_ns * more->calls / members);
		*more = (struct wp_api_counters){ 0 };
	}
}

HOT_PATH static void count(struct wp_channel *channel, const struct wp_slot *slot)
{
	wp_bump(&channel->counters.errors, slot->status != WINAPI_STATUS_OK);
	if (slot->api)
		count_call(channel, slot);
	else if (slot->header.type == WINAPI_MSG_BATCH)
		count_batch(channel, slot);
}

/* False: no room, the slot keeps the reply. A channel that is closed only gives the packet back. */
HOT_PATH static bool send(struct wp_channel *channel, struct wp_slot *slot)
{
	int err = channel->ops->complete(channel->transport, slot->packet, slot->header.request_id,
					 slot->reply, (uint32_t)sizeof(slot->reply) + slot->reply_size);

	if (err == -WP_EAGAIN) {
		if (!channel->closed)
			return false;
		channel->ops->complete(channel->transport, slot->packet, slot->header.request_id, NULL, 0);
	}
	wp_bump(&channel->counters.replies, !err);
	return true;
}

/* Behind the replies that wait already. The slot is parked. */
static void wait_for_room(struct wp_channel *channel, struct wp_slot *slot)
{
	slot->state = WP_SLOT_REPLY;
	slot->next_reply = WP_NO_SLOT;
	if (channel->first_reply == WP_NO_SLOT)
		channel->first_reply = slot->index;
	else
		channel->slot[channel->last_reply].next_reply = slot->index;
	channel->last_reply = slot->index;
	wp_bump(&channel->counters.replies_queued, 1);
	wp_atomic_store32(&channel->replies_waiting, channel->replies_waiting + 1);
}

static bool send_in_order(struct wp_channel *channel, struct wp_slot *slot)
{
	return channel->first_reply == WP_NO_SLOT && send(channel, slot);
}

HOT_PATH void wp_reply_now(struct wp_channel *channel, enum winapi_status status)
{
	struct wp_slot *slot = channel->spare;
	bool alone = wp_channel_alone(channel);

	wp_reply_prepare(slot, status);
	/* The next request of a burst is looked at now: reading a clock is a tenth of what a small call takes. */
	if (channel->ops->publish)
		channel->burst_ns = slot->call.received_ns + slot->host_ns;
	if (!alone)
		wp_lock(&channel->lock);
	count(channel, slot);
	if (send_in_order(channel, slot)) {
		wp_bump(&channel->counters.requests, 1);
	} else {
		if (alone)
			wp_lock(&channel->lock);
		alone = false;
		wp_slot_park(channel, slot);
		wait_for_room(channel, slot);
	}
	if (!alone)
		wp_unlock(&channel->lock);
}

static void publish(struct wp_channel *channel)
{
	if (channel->ops->publish)
		channel->ops->publish(channel->transport);
}

HOT_PATH void wp_channel_publish(struct wp_channel *channel)
{
	bool alone = wp_channel_alone(channel);

	channel->burst_ns = 0;
	if (!alone)
		wp_lock(&channel->lock);
	publish(channel);
	if (!alone)
		wp_unlock(&channel->lock);
}

void wp_reply_parked(struct wp_channel *channel, struct wp_slot *slot)
{
	count(channel, slot);
	if (send_in_order(channel, slot)) {
		publish(channel); /* first: once nothing is parked, the channel's thread goes without the lock */
		wp_slot_unpark(channel, slot);
	} else {
		wait_for_room(channel, slot);
	}
}

/* The first of those that wait. False: still no room. */
static bool send_first(struct wp_channel *channel)
{
	struct wp_slot *slot = &channel->slot[channel->first_reply];

	if (!send(channel, slot))
		return false;
	channel->first_reply = slot->next_reply;
	wp_atomic_store32(&channel->replies_waiting, channel->replies_waiting - 1);
	wp_slot_unpark(channel, slot);
	return true;
}

void wp_reply_drop_all(struct wp_channel *channel)
{
	while (channel->first_reply != WP_NO_SLOT)
		send_first(channel);
}

bool wp_channel_flush(struct wp_channel *channel)
{
	bool waiting;

	wp_lock(&channel->lock);
	while (channel->first_reply != WP_NO_SLOT && send_first(channel))
		;
	publish(channel);
	waiting = channel->first_reply != WP_NO_SLOT;
	wp_channel_unlock(channel);
	return waiting;
}

HOT_PATH bool wp_channel_blocked(const struct wp_channel *channel)
{
	return wp_atomic_load32(&channel->replies_waiting) != 0;
}
