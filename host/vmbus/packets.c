/* SPDX-License-Identifier: MIT */
/*
 * Packets in the rings of an open channel, both ways.
 */
#include <stdlib.h>

#include "internal.h"

/* 64 MiB that start anywhere in their first page. */
#define MAX_RANGE_PAGES ((64u << 20) / VMBUS_PAGE_SIZE + 1)
#define RANGES_HEAD ((uint32_t)(sizeof(struct vmbus_gpa_direct) + sizeof(struct vmbus_gpa_range)))
#define MAX_RANGES (RANGES_HEAD + MAX_RANGE_PAGES * (uint32_t)sizeof(uint64_t))

static void channel_signal(struct vmbus_channel *channel)
{
	struct vmbus_server *server = channel->server;

	server->ops.signal(server->owner, channel->relid,
			   __atomic_load_n(&channel->target_vp, __ATOMIC_RELAXED));
}

/* ---- From the guest -------------------------------------------------------------------------- */

/* The packet's ranges, copied once: the guest may change the ring's memory while we look. */
static int ranges_copy(struct vmbus_channel *channel, const struct vmbus_packet *packet, uint32_t *size)
{
	const uint8_t *from = packet->ring.start + sizeof(packet->ring.desc);

	*size = (uint32_t)(packet->ring.payload - from);
	if (*size < RANGES_HEAD || *size > MAX_RANGES)
		return -EPROTO;
	if (!channel->ranges)
		channel->ranges = malloc(MAX_RANGES);
	if (!channel->ranges)
		return -ENOMEM;
	memcpy(channel->ranges, from, *size);
	/* Keeps the compiler from reading the original again in place of the copy. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return 0;
}

static int ranges_translate(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
	struct vmbus_gpa_direct head;
	struct vmbus_gpa_range range;
	const uint64_t *pfn;
	uint32_t size;
	uint64_t pages;
	int err = ranges_copy(channel, packet, &size);

	if (err)
		return err;
	memcpy(&head, channel->ranges, sizeof(head));
	memcpy(&range, channel->ranges + sizeof(head), sizeof(range));
	pages = memory_pages(&range);
	if (head.range_count != 1 || !pages || pages * sizeof(uint64_t) > size - RANGES_HEAD)
		return -EPROTO;
	/* malloc's alignment and a head of 16 bytes make these proper 64-bit words. */
	pfn = (const uint64_t *)(const void *)(channel->ranges + RANGES_HEAD);
	err = memory_translate(channel->server, pfn, (uint32_t)pages, range.byte_offset, range.byte_count,
			       &packet->segments, &packet->segment_count);
	packet->segment_bytes = range.byte_count;
	return err == -EFAULT ? -EPROTO : err;
}

HOT_PATH int vmbus_channel_next(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
	int got;

	if (channel->state != CHANNEL_OPEN)
		return 0;
	got = vmbus_ring_next(&channel->in, &packet->ring);
	if (got <= 0) {
		if (got)
			bus_complain(channel->server, "a ring's index or packet makes no sense");
		return got;
	}
	packet->payload = packet->ring.payload;
	packet->payload_size = packet->ring.payload_size;
	packet->transaction_id = packet->ring.desc.transaction_id;
	packet->type = packet->ring.desc.type;
	packet->wants_completion = packet->ring.desc.flags & VMBUS_PACKET_FLAG_COMPLETION_REQUESTED;
	packet->segments = NULL;
	packet->segment_count = 0;
	packet->segment_bytes = 0;
	if (packet->type == VMBUS_PACKET_INBAND)
		return 1;
	got = packet->type == VMBUS_PACKET_GPA_DIRECT ? ranges_translate(channel, packet) : -EPROTO;
	if (got == -EPROTO)
		bus_complain(channel->server, "a packet's type or its GPA ranges make no sense");
	return got ? got : 1;
}

HOT_PATH void vmbus_channel_take(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
	vmbus_ring_advance(&channel->in, &packet->ring);
}

void vmbus_channel_leave(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
	(void)channel;
	free(packet->segments);
	packet->segments = NULL;
}

HOT_PATH bool vmbus_channel_pending(const struct vmbus_channel *channel)
{
	return channel->state == CHANNEL_OPEN && vmbus_ring_pending(&channel->in);
}

HOT_PATH void vmbus_channel_release(struct vmbus_channel *channel, bool force)
{
	if (channel->state == CHANNEL_OPEN && vmbus_ring_release(&channel->in, force))
		channel_signal(channel);
}

HOT_PATH void vmbus_channel_mask(struct vmbus_channel *channel)
{
	if (channel->state == CHANNEL_OPEN)
		vmbus_ring_mask(&channel->in);
}

bool vmbus_channel_unmask(struct vmbus_channel *channel)
{
	if (channel->state != CHANNEL_OPEN)
		return false;
	vmbus_channel_release(channel, true);
	return vmbus_ring_unmask(&channel->in);
}

/* ---- To the guest ---------------------------------------------------------------------------- */

/*
 * These two run on any thread, so they look at nothing that the server's own thread changes while
 * the rings are mapped, but for target_vp.
 */
HOT_PATH int vmbus_channel_send(struct vmbus_channel *channel, uint16_t type, uint16_t flags,
				uint64_t transaction_id, const void *payload, uint32_t size)
{
	const struct vmbus_ring_part part = { .data = payload, .size = size };
	struct vmbus_ring_out *out = &channel->out;
	int err;

	if (!out->shared)
		return -ENODEV;
	err = vmbus_ring_write(out, type, flags, transaction_id, 0, &part, 1);
	if (err == -EAGAIN) {
		/* The guest must see all that fills the ring before it can make room. */
		vmbus_channel_publish(channel);
		err = vmbus_ring_await_room(out, vmbus_ring_packet_size(size));
		if (!err)
			err = vmbus_ring_write(out, type, flags, transaction_id, 0, &part, 1);
	}
	if (!err)
		vmbus_ring_stop_awaiting(out);
	return err;
}

HOT_PATH void vmbus_channel_publish(struct vmbus_channel *channel)
{
	if (channel->out.shared && vmbus_ring_publish(&channel->out))
		channel_signal(channel);
}
