/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the VMBus server with whole guests: control messages, and what the guest writes into its memory, its
 * rings among it. The input is a list of steps: a byte that says what, a byte of size, then that many bytes.
 */
#include <stdlib.h>

#include "../../host/vmbus/vmbus_server.h"

#define RAM_PAGES 32u

struct owner {
	uint8_t ram[RAM_PAGES * VMBUS_PAGE_SIZE] __attribute__((aligned(4096)));
	struct vmbus_channel *channel;
	bool open;
	bool closing;
	unsigned int rings;
};

static void send_message(void *owner, uint32_t vp, const void *message, uint32_t size)
{
	(void)owner;
	(void)vp;
	(void)message;
	if (!size || size > VMBUS_MESSAGE_MAX)
		abort();
}

static uint8_t *translate(void *arg, uint64_t gpa, uint64_t size)
{
	struct owner *o = arg;

	return gpa < sizeof(o->ram) && size <= sizeof(o->ram) - gpa ? o->ram + gpa : NULL;
}

/* A copy in place of a mapping: its data twice, as far as a fuzzer needs it. */
static void *map_ring(void *arg, const uint64_t *pfn, uint32_t count)
{
	struct owner *o = arg;
	uint8_t *ring;

	for (uint32_t i = 0; i < count; i++)
		if (pfn[i] >= RAM_PAGES)
			return NULL;
	ring = malloc((2 * (size_t)count - 1) * VMBUS_PAGE_SIZE);
	for (uint32_t i = 0; ring && i < 2 * count - 1; i++)
		memcpy(ring + (size_t)i * VMBUS_PAGE_SIZE,
		       o->ram + pfn[i < count ? i : i - count + 1] * VMBUS_PAGE_SIZE, VMBUS_PAGE_SIZE);
	o->rings += !!ring;
	return ring;
}

static void unmap_ring(void *arg, void *ring, uint32_t count)
{
	struct owner *o = arg;

	(void)count;
	o->rings--;
	free(ring);
}

static void signal_guest(void *owner, uint32_t relid, uint32_t vp)
{
	(void)owner;
	(void)relid;
	(void)vp;
}

static int channel_added(void *arg, struct vmbus_channel *channel, uint32_t relid, uint32_t connection_id)
{
	struct owner *o = arg;

	(void)relid;
	(void)connection_id;
	o->channel = channel;
	return 0;
}

static void channel_gone(void *arg, struct vmbus_channel *channel, uint32_t relid)
{
	struct owner *o = arg;

	(void)relid;
	if (o->channel == channel)
		o->channel = NULL;
}

static void complain(void *owner, const char *what)
{
	(void)owner;
	if (!*what)
		abort();
}

static const struct vmbus_server_ops server_ops = {
	send_message, translate, map_ring, unmap_ring, signal_guest, channel_added, channel_gone, complain,
};

/* ---- The device: takes all packets, answers them ---------------------------------------------------------- */

static uint32_t opened(void *arg, struct vmbus_channel *channel)
{
	struct owner *o = arg;

	o->channel = channel;
	o->open = true;
	return 0;
}

static void closing(void *arg, struct vmbus_channel *channel)
{
	struct owner *o = arg;

	o->channel = channel;
	o->closing = true;
}

static void kicked(void *arg, struct vmbus_channel *channel)
{
	struct vmbus_packet packet;
	uint8_t copy[4096];
	int got;

	(void)arg;
	while ((got = vmbus_channel_next(channel, &packet)) > 0) {
		uint32_t size = packet.payload_size < sizeof(copy) ? packet.payload_size :
								     (uint32_t)sizeof(copy);

		memcpy(copy, packet.payload, size);
		vmbus_channel_take(channel, &packet);
		free(packet.segments);
		vmbus_channel_release(channel, false);
		if (vmbus_channel_send(channel, VMBUS_PACKET_COMPLETION, 0, packet.transaction_id, copy,
				       size) == 0)
			vmbus_channel_publish(channel);
	}
	if (got < 0)
		vmbus_channel_rescind(channel);
}

static const struct vmbus_device_ops device_ops = { opened, closing, kicked };

static void finish_closing(struct owner *o)
{
	if (!o->closing)
		return;
	o->closing = false;
	o->open = false;
	vmbus_channel_closed(o->channel);
}

/* ---- Steps ---------------------------------------------------------------------------------------------------- */

static int step(struct owner *o, struct vmbus_server *server, uint8_t what, const uint8_t *data, size_t size)
{
	const struct vmbus_segment *segments;
	uint32_t id = size ? data[0] : 0, count;

	switch (what % 8) {
	case 0: /* into memory, anywhere */
		if (size > 3)
			memcpy(o->ram + (data[0] % RAM_PAGES) * VMBUS_PAGE_SIZE + data[1] * 8u, data + 2,
			       size - 2);
		return 0;
	case 1:
		if (o->channel && o->open && !o->closing)
			vmbus_channel_kick(o->channel);
		return 0;
	case 2:
		finish_closing(o);
		return 0;
	case 3:
		if (o->channel && o->open && !o->closing &&
		    !vmbus_gpadl_map(o->channel, id, &segments, &count)) {
			for (uint32_t i = 0; i < count; i++)
				if (segments[i].data < o->ram || segments[i].size > sizeof(o->ram))
					abort();
			vmbus_gpadl_unmap(o->channel, id);
		}
		return 0;
	case 4:
		vmbus_server_uses(server, (uint64_t)id << 12, 4096);
		return 0;
	default:
		return vmbus_server_message(server, data, (uint32_t)size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct owner o;
	struct vmbus_offer offer = { .ops = &device_ops, .device = &o };
	struct vmbus_limits limits = { .max_gpadls = 64, .max_gpadl_bytes = 1 << 20 };
	struct vmbus_server *server;

	memset(&o, 0, sizeof(o));
	server = vmbus_server_create(&server_ops, &o, &limits);
	if (!server || !vmbus_server_offer(server, &offer))
		abort();
	while (size >= 2) {
		size_t part = data[1] < size - 2 ? data[1] : size - 2;

		if (step(&o, server, data[0], data + 2, part))
			break;
		data += 2 + part;
		size -= 2 + part;
	}
	if (!vmbus_server_shut_down(server))
		finish_closing(&o);
	finish_closing(&o);
	vmbus_server_destroy(server);
	if (o.rings)
		abort(); /* a mapping was forgotten */
	return 0;
}
