/* SPDX-License-Identifier: MIT */
/* BATCH: many short calls in one message, on the ring's thread, and one reply. */
#include "core.h"

#define ENTRY_SIZE ((uint32_t)sizeof(struct winapi_batch_entry))

static uint32_t padded(uint32_t size)
{
	return (size + 7) & ~7u;
}

/* Walks without running: every member must be there whole before the first is called. */
static enum winapi_status check_members(const uint8_t *at, uint32_t left, uint32_t *count)
{
	struct winapi_batch_entry entry;

	for (*count = 0; left; ++*count) {
		if (*count == WINAPI_MAX_BATCH)
			return WINAPI_STATUS_TOO_LARGE;
		if (left < ENTRY_SIZE)
			return WINAPI_STATUS_MALFORMED;
		memcpy(&entry, at, ENTRY_SIZE);
		at += ENTRY_SIZE;
		left -= ENTRY_SIZE;
		if (entry.index != *count || entry.flags || entry.status || padded(entry.inline_size) > left)
			return WINAPI_STATUS_MALFORMED;
		at += padded(entry.inline_size);
		left -= padded(entry.inline_size);
	}
	return WINAPI_STATUS_OK;
}

static enum winapi_status run_member(struct wp_call *call, const struct winapi_batch_entry *entry)
{
	const struct wp_api *api = wp_api_find(entry->api);
	const struct wp_method *method;

	if (!api)
		return WINAPI_STATUS_UNKNOWN_API;
	if (!(api->flags & WINAPI_API_SHORT))
		return WINAPI_STATUS_NOT_SHORT;
	method = wp_method_find(api, entry->method);
	if (!method)
		return WINAPI_STATUS_UNKNOWN_METHOD;
	if (call->in_size < method->min_in || call->in_size > method->max_in || method->min_buffers)
		return WINAPI_STATUS_INVALID_PARAMETER;
	return method->run(call);
}

static void count_member(struct wp_channel *channel, const struct winapi_batch_entry *entry,
			 const struct wp_call *call)
{
	struct wp_api_counters *counters;

	if (entry->api >= wp_api_count)
		return;
	counters = &channel->batch[entry->api];
	counters->calls++;
	counters->errors += entry->status != WINAPI_STATUS_OK;
	counters->bytes += call->in_size + call->out_size;
}

/* Answers the member at `in` into `out`; `entry` is its request and becomes its reply. */
static void answer_member(struct wp_channel *channel, struct wp_call *call, struct winapi_batch_entry *entry,
			  uint8_t *out)
{
	call->out = out + ENTRY_SIZE;
	call->in_size = entry->inline_size;
	call->out_size = 0;
	entry->status = (int32_t)run_member(call, entry);
	if (entry->status)
		call->out_size = 0;
	entry->inline_size = (uint16_t)call->out_size;
	count_member(channel, entry, call);
	memcpy(out, entry, ENTRY_SIZE);
	for (uint32_t i = call->out_size; i < padded(call->out_size); i++)
		out[ENTRY_SIZE + i] = 0;
}

enum winapi_status wp_batch_run(struct wp_channel *channel, struct wp_slot *slot)
{
	struct wp_call *call = &slot->call;
	const uint8_t *in = call->in;
	uint8_t *out = slot->reply_body;
	uint32_t count, room = sizeof(slot->reply_body);
	enum winapi_status status = check_members(in, call->in_size, &count);

	if (status)
		return status;
	for (; count; count--) {
		struct winapi_batch_entry entry;
		uint32_t used;

		memcpy(&entry, in, ENTRY_SIZE);
		call->in = in + ENTRY_SIZE;
		in += ENTRY_SIZE + padded(entry.inline_size);
		/* The members behind this one need room for their headers at least. */
		call->out_capacity = room - count * ENTRY_SIZE;
		answer_member(channel, call, &entry, out);
		used = ENTRY_SIZE + padded(call->out_size);
		out += used;
		room -= used;
	}
	call->out_size = (uint32_t)sizeof(slot->reply_body) - room;
	return WINAPI_STATUS_OK;
}
