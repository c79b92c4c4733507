/* SPDX-License-Identifier: MIT */
/*
 * A channel between offer and release: open, close, and where its interrupts go.
 */
#include <stdlib.h>

#include "internal.h"

/* ---- Rings ----------------------------------------------------------------------------------- */

static void *ring_map(struct vmbus_server *server, const uint64_t *pfn, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		if (pfn[i] >= BUS_PFN_LIMIT ||
		    !server->ops.translate(server->owner, pfn[i] << VMBUS_PAGE_SHIFT, VMBUS_PAGE_SIZE))
			return NULL;
	return server->ops.map_ring(server->owner, pfn, pages);
}

static void rings_unmap(struct vmbus_channel *channel)
{
	struct vmbus_server *server = channel->server;

	if (channel->in_map)
		server->ops.unmap_ring(server->owner, channel->in_map, channel->in_pages);
	if (channel->out_map)
		server->ops.unmap_ring(server->owner, channel->out_map, channel->out_pages);
	channel->in_map = NULL;
	channel->out_map = NULL;
	memset(&channel->in, 0, sizeof(channel->in));
	memset(&channel->out, 0, sizeof(channel->out));
	free(channel->ranges);
	channel->ranges = NULL;
	if (channel->ring_gpadl)
		channel->ring_gpadl->is_ring = false;
	channel->ring_gpadl = NULL;
}

/* The first `downstream` pages are the guest's ring to us, the others ours to the guest. */
static bool rings_map(struct vmbus_channel *channel, struct gpadl *gpadl, uint32_t downstream)
{
	struct vmbus_server *server = channel->server;

	channel->in_pages = downstream;
	channel->out_pages = gpadl->pages - downstream;
	channel->in_map = ring_map(server, gpadl->pfn, channel->in_pages);
	channel->out_map = ring_map(server, gpadl->pfn + downstream, channel->out_pages);
	if (!channel->in_map || !channel->out_map) {
		rings_unmap(channel);
		return false;
	}
	channel->ring_gpadl = gpadl;
	gpadl->is_ring = true;
	vmbus_ring_in_init(&channel->in, channel->in_map, (uint8_t *)channel->in_map + VMBUS_PAGE_SIZE,
			   (channel->in_pages - 1) * VMBUS_PAGE_SIZE);
	vmbus_ring_out_init(&channel->out, channel->out_map, (uint8_t *)channel->out_map + VMBUS_PAGE_SIZE,
			    (channel->out_pages - 1) * VMBUS_PAGE_SIZE);
	return true;
}

/* ---- Open ------------------------------------------------------------------------------------ */

void open_answer(struct vmbus_server *server, uint32_t relid, uint32_t open_id, uint32_t status)
{
	struct vmbus_open_result message = {
		.header.type = VMBUS_MSG_OPEN_RESULT,
		.relid = relid,
		.open_id = open_id,
		.status = status,
	};

	bus_send(server, &message, sizeof(message));
}

/* What is wrong with these rings, or NULL. */
static const char *rings_check(const struct vmbus_channel *channel, const struct gpadl *gpadl,
			       uint32_t downstream)
{
	uint32_t limit = channel->server->limits.max_ring_pages;

	if (!gpadl || gpadl->channel != channel || gpadl->filled < gpadl->pages)
		return "OPEN_CHANNEL: no such complete GPADL on the channel";
	/* While the channel is closed none of its GPADLs is mapped, a ring, or waits for either. */
	if (!gpadl->whole_pages)
		return "OPEN_CHANNEL: the ring isn't made of whole pages";
	/* Each ring is a header page and one page of data at least. */
	if (downstream < 2 || downstream >= gpadl->pages || gpadl->pages - downstream < 2)
		return "OPEN_CHANNEL: the rings don't divide the GPADL";
	if (downstream > limit || gpadl->pages - downstream > limit)
		return "OPEN_CHANNEL: a ring is over the limit";
	return NULL;
}

static uint32_t channel_open(struct vmbus_channel *channel, const struct vmbus_open_channel *open)
{
	struct vmbus_server *server = channel->server;
	struct gpadl *gpadl = gpadl_find(server, open->ring_gpadl);
	const char *wrong = rings_check(channel, gpadl, open->downstream_page);
	uint32_t status;

	if (!wrong && !rings_map(channel, gpadl, open->downstream_page))
		wrong = "OPEN_CHANNEL: the rings can't be mapped";
	if (wrong) {
		bus_complain(server, wrong);
		return BUS_STATUS_REFUSED;
	}
	__atomic_store_n(&channel->target_vp, open->target_vp, __ATOMIC_RELAXED);
	channel->state = CHANNEL_OPEN;
	status = channel->offer.ops->opened(channel->offer.device, channel);
	/* The device may even have rescinded the channel: then it isn't ours to close. */
	if (channel->state != CHANNEL_OPEN)
		return status ? status : BUS_STATUS_REFUSED;
	if (status) {
		rings_unmap(channel);
		channel->state = CHANNEL_CLOSED;
		gpadls_release(channel);
	}
	return status;
}

int on_open(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_open_channel *open = message;
	struct vmbus_channel *channel = channel_find(server, open->relid);
	uint32_t status = BUS_STATUS_REFUSED;

	(void)size;
	if (channel ? channel->rescinded : relid_taken(server, open->relid))
		; /* the message crossed the rescind: refused, but no fault of the guest's */
	else if (!channel)
		bus_complain(server, "OPEN_CHANNEL of an unknown relid");
	else if (channel->state != CHANNEL_CLOSED)
		bus_complain(server, "OPEN_CHANNEL of a channel that is open or closing");
	else
		status = channel_open(channel, open);
	open_answer(server, open->relid, open->open_id, status);
	return 0;
}

/* ---- Close ----------------------------------------------------------------------------------- */

void channel_start_closing(struct vmbus_channel *channel)
{
	channel->state = CHANNEL_CLOSING;
	channel->offer.ops->closing(channel->offer.device, channel);
}

void channels_close(struct vmbus_server *server)
{
	struct vmbus_channel *channel = server->channels;

	/* A device may be done at once, and the list changes: begin anew after each. */
	while (channel) {
		if (channel->state == CHANNEL_OPEN) {
			channel_start_closing(channel);
			channel = server->channels;
		} else {
			channel = channel->next;
		}
	}
}

bool channels_closed(const struct vmbus_server *server)
{
	const struct vmbus_channel *channel;

	for (channel = server->channels; channel; channel = channel->next)
		if (channel->state != CHANNEL_CLOSED)
			return false;
	return true;
}

int on_close(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_channel_msg *close = message;
	struct vmbus_channel *channel = channel_find(server, close->relid);

	(void)size;
	if (channel && channel->state == CHANNEL_OPEN)
		channel_start_closing(channel);
	else if (!relid_taken(server, close->relid) || (channel && !channel->rescinded))
		bus_complain(server, "CLOSE_CHANNEL of a channel that isn't open");
	return 0;
}

void vmbus_channel_closed(struct vmbus_channel *channel)
{
	struct vmbus_server *server = channel->server;

	if (channel->state != CHANNEL_CLOSING)
		return;
	rings_unmap(channel);
	channel->state = CHANNEL_CLOSED;
	gpadls_release(channel);
	if (channel->rescinded)
		channel_withdraw(channel);
	bus_settle(server);
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

void modify_answer(struct vmbus_server *server, uint32_t relid, uint32_t status)
{
	struct vmbus_modify_response message = {
		.header.type = VMBUS_MSG_MODIFY_RESPONSE,
		.relid = relid,
		.status = status,
	};

	if (server->version >= VMBUS_VERSION_5_3)
		bus_send(server, &message, sizeof(message));
}

int on_modify(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_modify_channel *modify = message;
	struct vmbus_channel *channel = channel_find(server, modify->relid);

	(void)size;
	if (!channel || channel->state != CHANNEL_OPEN) {
		/* The guest's message may have crossed a rescind; only one out of nowhere is a
		 * fault. */
		if (!relid_taken(server, modify->relid) || (channel && !channel->rescinded))
			bus_complain(server, "MODIFY_CHANNEL of a channel that isn't open");
		modify_answer(server, modify->relid, BUS_STATUS_REFUSED);
		return 0;
	}
	__atomic_store_n(&channel->target_vp, modify->target_vp, __ATOMIC_RELAXED);
	modify_answer(server, modify->relid, BUS_STATUS_OK);
	vmbus_channel_kick(channel);
	return 0;
}

bool vmbus_channel_is_open(const struct vmbus_channel *channel)
{
	return channel->state == CHANNEL_OPEN;
}

uint32_t vmbus_channel_ring_size(const struct vmbus_channel *channel)
{
	return channel->out.size;
}

HOT_PATH void vmbus_channel_kick(struct vmbus_channel *channel)
{
	if (channel->state == CHANNEL_OPEN)
		channel->offer.ops->kicked(channel->offer.device, channel);
}
