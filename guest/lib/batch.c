/* SPDX-License-Identifier: MIT */
/*
 * Batches: as many items in one message as fit, judged by request and by worst-case reply, which is
 * what the items have room for.
 */
#include <string.h>

#include "internal.h"

#define ENTRY_SIZE ((uint32_t)sizeof(struct winapi_batch_entry))

static uint32_t padded(uint32_t size)
{
	return (size + 7) & ~7u;
}

static int check_item(const struct winapi_batch_item *item)
{
	if (item->reserved || item->reserved2 || (item->in_size && !item->in) ||
	    (item->out_capacity && !item->out) || item->api > UINT16_MAX)
		return fail(-EINVAL,
			    "an item of the batch has a NULL pointer, an unknown API or reserved set");
	return 0;
}

/* What a reply can bring for an item: no more than the bound of one message. */
static uint32_t reply_size(const struct winapi_batch_item *item, uint32_t room)
{
	uint32_t most = room - ENTRY_SIZE;

	return ENTRY_SIZE + (item->out_capacity < most ? padded(item->out_capacity) : most);
}

/* Puts items into a message. How many there are; *size: its bytes. 0: not even the first fits. */
static unsigned int pack(const struct winapi_batch_item *items, unsigned int count, uint32_t room,
			 uint8_t *message, uint32_t *size)
{
	uint32_t reply = 0;
	unsigned int n = 0;

	*size = 0;
	for (; n < count; n++) {
		const struct winapi_batch_item *item = &items[n];
		struct winapi_batch_entry entry = {
			.api = (uint16_t)item->api,
			.method = item->method,
			.inline_size = (uint16_t)item->in_size,
			.index = n,
		};

		if (item->in_size > room - ENTRY_SIZE || ENTRY_SIZE + padded(item->in_size) > room - *size ||
		    reply_size(item, room) > room - reply)
			break;
		reply += reply_size(item, room);
		memcpy(message + *size, &entry, ENTRY_SIZE);
		if (item->in_size)
			memcpy(message + *size + ENTRY_SIZE, item->in, item->in_size);
		*size += ENTRY_SIZE;
		for (uint32_t i = item->in_size; i < padded(item->in_size); i++)
			message[*size + i] = 0;
		*size += padded(item->in_size);
	}
	return n;
}

static void take_member(struct winapi_batch_item *item, const struct winapi_batch_entry *entry,
			const uint8_t *data)
{
	item->status = (uint32_t)entry->status;
	item->out_size = entry->inline_size;
	item->result = status_error(item->status);
	if (!item->result && item->out_size > item->out_capacity)
		item->result = -EMSGSIZE;
	else if (!item->result && item->out_size)
		memcpy(item->out, data, item->out_size);
}

/* Each item exactly once, each member whole and for the right call; else the host made it up. */
static int unpack(struct winapi_batch_item *items, unsigned int count, const uint8_t *reply, uint32_t size)
{
	bool seen[WINAPI_MAX_BATCH] = { false };
	unsigned int n = 0;

	while (size >= ENTRY_SIZE) {
		struct winapi_batch_entry entry;

		memcpy(&entry, reply, ENTRY_SIZE);
		if (entry.index >= count || seen[entry.index] ||
		    padded(entry.inline_size) > size - ENTRY_SIZE || entry.api != items[entry.index].api ||
		    entry.method != items[entry.index].method)
			break;
		seen[entry.index] = true;
		take_member(&items[entry.index], &entry, reply + ENTRY_SIZE);
		reply += ENTRY_SIZE + padded(entry.inline_size);
		size -= ENTRY_SIZE + padded(entry.inline_size);
		n++;
	}
	if (size || n != count)
		return fail(-EPROTO, "the host answered a batch with members that don't fit its calls");
	return 0;
}

/* One message of the batch. How many items it took, or -errno. */
static int exchange(struct winapi *handle, struct winapi_batch_item *items, unsigned int count,
		    uint32_t timeout_ms)
{
	uint8_t message[WINAPI_MAX_INLINE], reply[WINAPI_MAX_INLINE];
	uint32_t size, reply_bytes = sizeof(reply);
	unsigned int most = count < handle->info.max_batch ? count : handle->info.max_batch;
	unsigned int n = pack(items, most, handle->ops->batch_room(handle), message, &size);
	int err;

	if (!n)
		return fail(-E2BIG, "an item of the batch is too large for any message");
	err = handle->ops->batch(handle, message, size, reply, &reply_bytes, timeout_ms);
	if (!err)
		err = unpack(items, n, reply, reply_bytes);
	return err ? err : (int)n;
}

static int run(struct winapi *handle, struct winapi_batch_item *items, unsigned int count,
	       uint32_t timeout_ms)
{
	unsigned int done = 0;

	while (done < count) {
		int n = exchange(handle, items + done, count - done, timeout_ms);

		if (n < 0) {
			for (; done < count; done++)
				items[done].result = n;
			return n;
		}
		done += (unsigned int)n;
	}
	return 0;
}

int winapi_batch(struct winapi *handle, struct winapi_batch_item *items, unsigned int count,
		 uint32_t timeout_ms)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	if (count && !items)
		err = fail(-EINVAL, "the array of items is NULL");
	else if (!(handle->info.features & WINAPI_FEATURE_BATCH) || !handle->info.max_batch)
		err = fail(-EOPNOTSUPP, "the host has no batches");
	for (unsigned int i = 0; !err && i < count; i++) {
		items[i].out_size = 0;
		items[i].status = 0;
		items[i].result = 0;
		err = check_item(&items[i]);
	}
	if (!err)
		err = run(handle, items, count, timeout_ms);
	handle_leave(handle);
	return err;
}
