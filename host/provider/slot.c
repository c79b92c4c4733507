/* SPDX-License-Identifier: MIT */
/* Request slots: free ones, the index of parked ones by request id. */
#include "core.h"

HOT_PATH bool wp_slot_spare(struct wp_channel *channel)
{
	uint16_t index;

	wp_lock(&channel->lock);
	if (!channel->free_count) {
		channel->starved = true;
		wp_unlock(&channel->lock);
		return false;
	}
	index = channel->free[--channel->free_count];
	wp_unlock(&channel->lock);
	channel->spare = &channel->slot[index];
	channel->spare->index = index;
	channel->spare->channel = channel;
	channel->spare->call.channel = channel;
	return true;
}

void wp_slot_free(struct wp_channel *channel, struct wp_slot *slot)
{
	channel->free[channel->free_count++] = slot->index;
}

/* Guests count their ids up, from any start and in any step. */
static uint16_t *bucket_of(struct wp_channel *channel, uint64_t request_id)
{
	uint64_t scattered = request_id * 0x9e3779b97f4a7c15ull;

	return &channel->bucket[(scattered >> 40) & channel->bucket_mask];
}

struct wp_slot *wp_slot_find(struct wp_channel *channel, uint64_t request_id)
{
	uint16_t index = *bucket_of(channel, request_id);

	while (index != WP_NO_SLOT && channel->slot[index].header.request_id != request_id)
		index = channel->slot[index].next_by_id;
	return index == WP_NO_SLOT ? NULL : &channel->slot[index];
}

void wp_slot_park(struct wp_channel *channel, struct wp_slot *slot)
{
	uint16_t *bucket = bucket_of(channel, slot->header.request_id);

	slot->next_by_id = *bucket;
	*bucket = slot->index;
	slot->work_pending = false;
	channel->spare = NULL;
	wp_bump(&channel->counters.requests, 1);
	wp_atomic_store32(&channel->parked, channel->parked + 1);
	if (slot->header.type != WINAPI_MSG_CANCEL)
		channel->in_flight++;
}

void wp_slot_unpark(struct wp_channel *channel, struct wp_slot *slot)
{
	uint16_t *link = bucket_of(channel, slot->header.request_id);

	while (*link != slot->index)
		link = &channel->slot[*link].next_by_id;
	*link = slot->next_by_id;
	wp_atomic_store32(&channel->parked, channel->parked - 1);
	if (slot->header.type != WINAPI_MSG_CANCEL)
		channel->in_flight--;
	slot->state = WP_SLOT_ANSWERED;
	if (!slot->work_pending)
		wp_slot_free(channel, slot);
}

void wp_channel_unlock(struct wp_channel *channel)
{
	bool resume = channel->starved && channel->free_count && !channel->closed;

	if (resume)
		channel->starved = false;
	wp_unlock(&channel->lock);
	if (resume)
		channel->ops->resume(channel->transport);
}
