/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../../common/hot.h"
#include "guest.h"
#include "hostd.h"

#define BUDGET 64u /* packets of one channel before the next has its turn */
#define EXTERNALS_MAX (4u << 20) /* bytes of a channel: words about pages, 16 for each that lies alone */
#define PUBLISH_EVERY 16u /* replies: the guest starts on them while more are made */

/* A GPADL that the core uses, in the core's words. */
struct mapping {
	struct mapping *next;
	uint32_t gpadl;
	struct wp_segment segment[];
};

/* The pages of a GPA-direct packet until its completion. */
struct external {
	struct external *next;
	struct external **link;
	size_t bytes;
	struct wp_segments segments;
	struct wp_segment segment[];
};

/* ---- Polling ---------------------------------------------------------------------------------------- */

static void activate(struct device *device)
{
	struct ring_thread *thread = device->guest->thread;

	if (device->active)
		return;
	device->active = true;
	device->next_active = thread->active;
	thread->active = device;
	vmbus_channel_mask(device->channel);
}

static void deactivate(struct device *device)
{
	struct device **at = &device->guest->thread->active;

	if (!device->active)
		return;
	while (*at != device)
		at = &(*at)->next_active;
	*at = device->next_active;
	device->active = false;
}

bool device_stop_polling(struct device *device)
{
	bool more = vmbus_channel_unmask(device->channel);

	/* What can't be taken now isn't worth staying awake for: `resume` or the guest's signal comes. */
	if (more && !device->stalled && !device->draining) {
		vmbus_channel_mask(device->channel);
		return false;
	}
	deactivate(device);
	return true;
}

/* What stalled a channel may be over. */
static void resume_now(struct task *task)
{
	struct device *device = (struct device *)((char *)task - offsetof(struct device, resume_task));

	__atomic_store_n(&device->resume_posted, 0, __ATOMIC_RELEASE);
	device->stalled = false;
	if (device->core)
		activate(device);
}

/* On any thread. */
static void resume(void *transport)
{
	struct device *device = transport;

	if (!__atomic_exchange_n(&device->resume_posted, 1, __ATOMIC_ACQ_REL)) {
		device->resume_task.run = resume_now;
		ring_thread_post(device->guest->thread, &device->resume_task);
	}
}

/* ---- Packets ---------------------------------------------------------------------------------------- */

/* Is there room for a packet's pages among those of others? If not, the end of one of them resumes the device. */
static bool external_fits(struct device *device, size_t bytes)
{
	bool fits;

	wp_lock(&device->externals_lock);
	fits = !device->externals || device->external_bytes + bytes <= EXTERNALS_MAX;
	device->external_awaited = !fits;
	wp_unlock(&device->externals_lock);
	return fits;
}

static struct external *external_new(struct device *device, const struct vmbus_packet *packet)
{
	size_t bytes = sizeof(struct external) + packet->segment_count * sizeof(struct wp_segment);
	struct external *ext = malloc(bytes);

	if (!ext)
		return NULL;
	ext->bytes = bytes;
	for (uint32_t i = 0; i < packet->segment_count; i++)
		ext->segment[i] = (struct wp_segment){ packet->segments[i].data, packet->segments[i].size };
	ext->segments = (struct wp_segments){ ext->segment, packet->segment_count, packet->segment_bytes };
	wp_lock(&device->externals_lock);
	ext->next = device->externals;
	ext->link = &device->externals;
	if (ext->next)
		ext->next->link = &ext->next;
	device->externals = ext;
	device->external_bytes += bytes;
	wp_unlock(&device->externals_lock);
	return ext;
}

static void external_free(struct device *device, struct external *ext)
{
	bool awaited;

	if (!ext)
		return;
	wp_lock(&device->externals_lock);
	*ext->link = ext->next;
	if (ext->next)
		ext->next->link = ext->link;
	device->external_bytes -= ext->bytes;
	awaited = device->external_awaited;
	device->external_awaited = false;
	wp_unlock(&device->externals_lock);
	free(ext);
	if (awaited)
		resume(device);
}

bool device_uses(struct device *device, const uint8_t *start, size_t size)
{
	bool uses = false;

	wp_lock(&device->externals_lock);
	for (const struct external *e = device->externals; e && !uses; e = e->next)
		for (uint32_t i = 0; i < e->segments.count && !uses; i++)
			uses = e->segment[i].data >= start && e->segment[i].data < start + size;
	wp_unlock(&device->externals_lock);
	return uses;
}

/* 1: taken, 0: none or not now, negative: the guest is broken. */
static int take_packet(struct device *device)
{
	struct vmbus_packet packet;
	struct external *ext = NULL;
	enum wp_packet_result result;
	int got = vmbus_channel_next(device->channel, &packet);

	if (got <= 0)
		return got;
	if (!packet.wants_completion || !packet.transaction_id) {
		vmbus_channel_leave(device->channel, &packet);
		return -EPROTO;
	}
	if (packet.segments) {
		size_t bytes = packet.segment_count * sizeof(struct wp_segment);

		if (!external_fits(device, bytes)) {
			vmbus_channel_leave(device->channel, &packet);
			device->stalled = true;
			return 0;
		}
		ext = external_new(device, &packet);
		vmbus_channel_leave(device->channel, &packet);
		if (!ext)
			return -ENOMEM;
	}
	result = wp_channel_packet(device->core, ext, packet.transaction_id, packet.payload,
				   packet.payload_size, ext ? &ext->segments : NULL);
	if (result == WP_PACKET_TAKEN) {
		vmbus_channel_take(device->channel, &packet);
		return 1;
	}
	external_free(device, ext);
	device->stalled = result == WP_PACKET_BUSY;
	return device->stalled ? 0 : -EPROTO;
}

/* Up to the budget, or until none is left: then *got is 0, or negative with a broken guest. */
static unsigned int take_packets(struct device *device, int *got)
{
	unsigned int taken = 0;

	while (taken < BUDGET && (*got = take_packet(device)) > 0)
		if (++taken % PUBLISH_EVERY == 0)
			wp_channel_publish(device->core);
	wp_channel_publish(device->core);
	return taken;
}

HOT_PATH bool device_turn(struct device *device)
{
	unsigned int taken = 0;
	int got = 0;

	if (guest_memory_faulted(&device->guest->memory)) {
		guest_fail(device->guest, "its memory faulted");
		return true;
	}
	if (wp_channel_blocked(device->core))
		wp_channel_flush(device->core);
	if (vmbus_channel_pending(device->channel) && !device->stalled && !device->draining)
		taken = take_packets(device, &got);
	/* Also when nothing came: the guest may have begun to wait for room since. */
	vmbus_channel_release(device->channel, false);
	if (got < 0) {
		guest_complain(device->guest, got == -ENOMEM ? "no memory for a packet: channel rescinded" :
							       "malformed packet: channel rescinded");
		device_rescind(device);
	}
	return taken || got < 0;
}

void device_rescind(struct device *device)
{
	if (device->rescinded)
		return;
	device->rescinded = true;
	vmbus_channel_rescind(device->channel);
}

/* ---- The provider core's side ---------------------------------------------------------------------- */

static void broken_now(struct task *task)
{
	struct device *device = (struct device *)((char *)task - offsetof(struct device, broken_task));

	guest_complain(device->guest, "the ring to it makes no sense: channel rescinded");
	device_rescind(device);
}

/* On any thread. The core lets go of a reply that can't be sent, so its request would never be answered. */
__attribute__((cold)) static void not_sent(struct device *device, int err)
{
	if (err == -EAGAIN || err == -ENODEV || __atomic_exchange_n(&device->broken, 1, __ATOMIC_ACQ_REL))
		return;
	device->broken_task.run = broken_now;
	ring_thread_post(device->guest->thread, &device->broken_task);
}

HOT_PATH static int complete(void *transport, void *packet, uint64_t request_id, const void *reply,
			     uint32_t size)
{
	struct device *device = transport;
	int err = -ENODEV;

	if (reply) {
		err = vmbus_channel_send(device->channel, VMBUS_PACKET_COMPLETION, 0, request_id, reply,
					 size);
		if (err)
			not_sent(device, err);
	}
	if (packet && err != -EAGAIN) {
		external_free(device, packet);
		guest_memory_idle(device->guest);
	}
	return err;
}

HOT_PATH static void publish(void *transport)
{
	struct device *device = transport;

	vmbus_channel_publish(device->channel);
}

/* On the ring thread, the server's. */
static void unmap_unused(struct device *device)
{
	struct mapping *unused, *next;

	wp_lock(&device->externals_lock);
	unused = device->unused;
	device->unused = NULL;
	wp_unlock(&device->externals_lock);
	for (; unused; unused = next) {
		next = unused->next;
		vmbus_gpadl_unmap(device->channel, unused->gpadl);
		guest_memory_idle(device->guest);
		free(unused);
	}
}

static void unmap_now(struct task *task)
{
	struct device *device = (struct device *)((char *)task - offsetof(struct device, unmap_task));

	__atomic_store_n(&device->unmap_posted, 0, __ATOMIC_RELEASE);
	unmap_unused(device);
}

static int map_gpadl(void *transport, uint32_t gpadl, struct wp_segments *segments)
{
	struct device *device = transport;
	const struct vmbus_segment *runs;
	struct mapping *mapping;
	uint32_t count;
	int err;

	/* First what the guest was told is unregistered: it may be the same GPADL, in the same burst. */
	unmap_unused(device);
	err = vmbus_gpadl_map(device->channel, gpadl, &runs, &count);
	if (err)
		return err;
	mapping = malloc(sizeof(*mapping) + count * sizeof(mapping->segment[0]));
	if (!mapping) {
		vmbus_gpadl_unmap(device->channel, gpadl);
		return -ENOMEM;
	}
	mapping->gpadl = gpadl;
	*segments = (struct wp_segments){ .segment = mapping->segment, .count = count };
	for (uint32_t i = 0; i < count; i++) {
		mapping->segment[i] = (struct wp_segment){ runs[i].data, runs[i].size };
		segments->size += runs[i].size;
	}
	wp_lock(&device->externals_lock);
	mapping->next = device->mappings;
	device->mappings = mapping;
	wp_unlock(&device->externals_lock);
	return 0;
}

/* On any thread. */
static void unmap_gpadl(void *transport, uint32_t gpadl)
{
	struct device *device = transport;
	struct mapping **at = &device->mappings;
	struct mapping *mapping;

	wp_lock(&device->externals_lock);
	while ((*at)->gpadl != gpadl)
		at = &(*at)->next;
	mapping = *at;
	*at = mapping->next;
	mapping->next = device->unused;
	device->unused = mapping;
	wp_unlock(&device->externals_lock);
	if (!__atomic_exchange_n(&device->unmap_posted, 1, __ATOMIC_ACQ_REL)) {
		device->unmap_task.run = unmap_now;
		ring_thread_post(device->guest->thread, &device->unmap_task);
	}
}

static void closed_now(struct task *task)
{
	struct device *device = (struct device *)((char *)task - offsetof(struct device, closed_task));
	struct guest *guest = device->guest;

	vmbus_channel_closed(device->channel);
	guest_channel_closed(guest);
}

/* Posted also when on the ring thread, so that it comes after the unmappings that were posted before. */
static void closed(void *transport)
{
	struct device *device = transport;

	device->closed_task.run = closed_now;
	ring_thread_post(device->guest->thread, &device->closed_task);
}

static const struct wp_transport_ops transport_ops = {
	.complete = complete,
	.publish = publish,
	.map_gpadl = map_gpadl,
	.unmap_gpadl = unmap_gpadl,
	.resume = resume,
	.closed = closed,
};

/* ---- The VMBus server's side ------------------------------------------------------------------------ */

static uint32_t opened(void *arg, struct vmbus_channel *channel)
{
	struct device *device = arg;

	device->channel = channel;
	device->stalled = false;
	device->core = wp_channel_open(device->guest->thread->hostd->provider, &transport_ops, device,
				       &device->guest->identity);
	if (!device->core)
		return 0xc000009au; /* STATUS_INSUFFICIENT_RESOURCES */
	if (device->guest->thread->poll == HOSTD_POLL_ALWAYS)
		activate(device);
	return 0;
}

static void closing(void *arg, struct vmbus_channel *channel)
{
	struct device *device = arg;
	struct wp_channel *core = device->core;

	(void)channel;
	deactivate(device);
	device->core = NULL;
	wp_channel_close(core);
}

HOT_PATH static void kicked(void *arg, struct vmbus_channel *channel)
{
	struct device *device = arg;

	(void)channel;
	if (wp_channel_blocked(device->core))
		wp_channel_flush(device->core);
	activate(device);
}

static const struct vmbus_device_ops device_ops = {
	.opened = opened,
	.closing = closing,
	.kicked = kicked,
};

void device_describe(struct device *device, struct vmbus_offer *offer)
{
	static const uint8_t type[16] = WINAPI_INTERFACE_GUID_BYTES;

	*offer = (struct vmbus_offer){ .ops = &device_ops, .device = device };
	memcpy(offer->interface_type, type, sizeof(type));
	if (getrandom(offer->interface_instance, 16, 0) != 16)
		memcpy(offer->interface_instance, &device, sizeof(device)); /* any will do */
}

void device_init(struct device *device, struct guest *guest)
{
	*device = (struct device){ .guest = guest };
	wp_lock_init(&device->externals_lock);
}

void device_free(struct device *device)
{
	wp_lock_destroy(&device->externals_lock);
}
