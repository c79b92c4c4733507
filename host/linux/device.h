/* SPDX-License-Identifier: MIT */
/*
 * The winapi device of a guest: a VMBus channel on one side, a channel of the provider core on the
 * other. All of it runs on the guest's ring thread, but for completions, which workers bring too.
 */
#ifndef HOSTD_DEVICE_H
#define HOSTD_DEVICE_H

#include "../provider/provider.h"
#include "../vmbus/vmbus_server.h"
#include "ring_thread.h"

struct mapping;
struct external;

struct device {
	struct guest *guest;
	struct vmbus_channel *channel;
	struct wp_channel *core; /* NULL: not open */
	bool draining; /* the daemon ends: no new calls */
	bool rescinded; /* the channel may be freed at any time */
	bool stalled; /* a packet waits in the ring for a slot */
	struct device *next_active; /* polled by the ring thread */
	bool active;
	struct task resume_task;
	uint32_t resume_posted; /* atomic */
	struct task unmap_task;
	uint32_t unmap_posted; /* atomic */
	struct task closed_task;
	struct task broken_task;
	uint32_t broken; /* atomic: a reply couldn't be sent, broken_task was posted */

	struct wp_lock externals_lock; /* the lists below; completions come from any thread */
	struct mapping *mappings; /* of GPADLs */
	struct mapping *unused; /* that the core let go, to be unmapped on the ring thread */
	struct external *externals; /* GPA-direct packets that aren't complete */
	size_t external_bytes; /* what these take */
	bool external_awaited; /* a packet waits for one of them to end */
};

void device_init(struct device *device, struct guest *guest);
void device_free(struct device *device);
/* What the VMBus server offers for it. */
void device_describe(struct device *device, struct vmbus_offer *offer);

/* Takes packets, up to a budget, and sends what they bring. True: there was something. */
bool device_turn(struct device *device);
/* Leaves the polled ones. False: not yet, a packet came just now. */
bool device_stop_polling(struct device *device);
/* Takes the offer back, if it is still there. */
void device_rescind(struct device *device);
/* Does a packet that isn't complete lie in [start, start + size) of our memory? */
bool device_uses(struct device *device, const uint8_t *start, size_t size);

#endif /* HOSTD_DEVICE_H */
