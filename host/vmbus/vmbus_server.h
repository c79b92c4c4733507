/* SPDX-License-Identifier: MIT */
/*
 * A VMBus server for one guest: contact, offers, GPADLs, open, close, rescind, unload, and the rings of
 * its channels, as Hyper-V does it. It does no I/O of its own: messages, memory and signals go through
 * vmbus_server_ops. It trusts nothing that comes from the guest.
 *
 * Threads: everything of one server is called by one thread at a time, except vmbus_channel_send and
 * what it needs (see there), which the owner serialises with a lock of its own per channel.
 */
#ifndef WINAPI_VMBUS_SERVER_H
#define WINAPI_VMBUS_SERVER_H

#include "../../common/ring.h"
#include "../../common/vmbus_user.h"

struct vmbus_server;
struct vmbus_channel;

/* Guest memory that is contiguous for the host. */
struct vmbus_segment {
	uint8_t *data;
	size_t size;
};

struct vmbus_server_ops {
	/* Delivers a control message to the guest, at the VP that INITIATE_CONTACT named. */
	void (*send_message)(void *owner, uint32_t vp, const void *message, uint32_t size);
	/* Host address of guest-physical [gpa, gpa + size), or NULL unless one region holds all of it. */
	uint8_t *(*translate)(void *owner, uint64_t gpa, uint64_t size);
	/*
	 * Maps a ring: `count` pages in order, the first (the header) once, then the rest twice in a
	 * row. The result is where the header is, or NULL.
	 */
	void *(*map_ring)(void *owner, const uint64_t *pfn, uint32_t count);
	void (*unmap_ring)(void *owner, void *ring, uint32_t count);
	/* Interrupts the guest for a channel: relid's bit in the VP's event flags, then its call. */
	void (*signal)(void *owner, uint32_t relid, uint32_t vp);
	/* A relid is about to be offered, or was released: the connection id's signals start or end. */
	int (*channel_added)(void *owner, struct vmbus_channel *channel, uint32_t relid,
			     uint32_t connection_id);
	void (*channel_gone)(void *owner, struct vmbus_channel *channel, uint32_t relid);
	/* The guest broke a rule of the bus: what to write in the log. */
	void (*complain)(void *owner, const char *what);
};

/* What stands behind an offer. */
struct vmbus_device_ops {
	/* The rings are mapped. 0, or the status of OPEN_RESULT. */
	uint32_t (*opened)(void *device, struct vmbus_channel *channel);
	/*
	 * The guest closed, unloaded or is gone, or the offer was rescinded. The device ends its use of rings
	 * and GPADLs, which may take time, and then calls vmbus_channel_closed.
	 */
	void (*closing)(void *device, struct vmbus_channel *channel);
	/* The guest signalled, or MODIFY_CHANNEL moved its interrupts: look at the rings. */
	void (*kicked)(void *device, struct vmbus_channel *channel);
};

struct vmbus_offer {
	uint8_t interface_type[16];
	uint8_t interface_instance[16];
	uint16_t channel_flags; /* VMBUS_OFFER_* */
	uint8_t user_defined[120];
	const struct vmbus_device_ops *ops;
	void *device;
};

/* Limits against a guest that asks for too much. Zero means the default. */
struct vmbus_limits {
	uint32_t max_gpadls; /* 8,192 */
	uint64_t max_gpadl_bytes; /* sum of all pages, 1,280 MiB as Server 2019 has */
	uint32_t max_ring_pages; /* of one ring with its header, 257 */
	uint32_t max_bus_version; /* VMBUS_VERSION_6_0 */
};

/* ---- The bus -------------------------------------------------------------------------------------- */

struct vmbus_server *vmbus_server_create(const struct vmbus_server_ops *ops, void *owner,
					 const struct vmbus_limits *limits);
/* Closes what is open, then frees. Every channel's device must have called vmbus_channel_closed. */
void vmbus_server_destroy(struct vmbus_server *server);
/* The guest is gone: `closing` for every open channel. True once all channels are closed. */
bool vmbus_server_shut_down(struct vmbus_server *server);

/*
 * A control message from the guest. 0, or -EPROTO when it breaks the rules so that the bus can't go
 * on (the owner drops the guest); lesser faults are complained of and answered as Hyper-V would.
 */
int vmbus_server_message(struct vmbus_server *server, const void *message, uint32_t size);

/*
 * The guest had another back-end before this one: rescinds its relids, answers what stayed
 * unanswered, and offers anew once the relids are released. Before any message. 0, or -EPROTO with nothing done.
 */
int vmbus_server_restore(struct vmbus_server *server, const struct vmbus_user_state *state,
			 const struct vmbus_user_entry *entries);

/* The reason for which vmbus_server_restore would fail, or NULL. */
const char *vmbus_server_check_state(const struct vmbus_server *server, const struct vmbus_user_state *state,
				     const struct vmbus_user_entry *entries);

/* Puts up an offer: told to the guest at once when it has asked for offers, else when it does. */
struct vmbus_channel *vmbus_server_offer(struct vmbus_server *server, const struct vmbus_offer *offer);
/* Takes an offer back. The channel is freed after RELID_RELEASED and vmbus_channel_closed. */
void vmbus_channel_rescind(struct vmbus_channel *channel);

/* Does a ring or a mapped GPADL lie, in part or whole, in guest-physical [gpa, gpa + size)? */
bool vmbus_server_uses(const struct vmbus_server *server, uint64_t gpa, uint64_t size);

/* ---- A channel ------------------------------------------------------------------------------------ */

bool vmbus_channel_is_open(const struct vmbus_channel *channel);
uint32_t vmbus_channel_ring_size(const struct vmbus_channel *channel); /* data bytes, host to guest */
/* The device touches rings and GPADLs no more. */
void vmbus_channel_closed(struct vmbus_channel *channel);
/* The owner's kick came: runs the device's `kicked` when the channel is open. */
void vmbus_channel_kick(struct vmbus_channel *channel);

/* A packet from the guest. The payload is still shared; ranges are copied and translated. */
struct vmbus_packet {
	struct vmbus_ring_packet ring;
	const uint8_t *payload;
	uint32_t payload_size;
	uint64_t transaction_id;
	uint16_t type; /* VMBUS_PACKET_INBAND or VMBUS_PACKET_GPA_DIRECT */
	bool wants_completion;
	/* GPA_DIRECT: malloc'ed, the taker's from vmbus_channel_take on; else NULL. */
	struct vmbus_segment *segments;
	uint32_t segment_count;
	uint64_t segment_bytes;
};

/*
 * The next packet: 1, 0 for none, -EPROTO when ring or packet make no sense (rescind the channel),
 * -ENOMEM. Asking again without vmbus_channel_take gives the same packet.
 */
int vmbus_channel_next(struct vmbus_channel *channel, struct vmbus_packet *packet);
/* Done with the packet; its segments are the caller's to free. */
void vmbus_channel_take(struct vmbus_channel *channel, struct vmbus_packet *packet);
/* Not taking the packet now: frees its segments. */
void vmbus_channel_leave(struct vmbus_channel *channel, struct vmbus_packet *packet);

/* Is there anything in the inbound ring? Cheap enough to poll. */
bool vmbus_channel_pending(const struct vmbus_channel *channel);
/* Gives read packets back to the guest, all when forced; signals it when it waits for room. */
void vmbus_channel_release(struct vmbus_channel *channel, bool force);
/* Polling begins: no signals wanted. */
void vmbus_channel_mask(struct vmbus_channel *channel);
/* Polling ends. True: something came in meanwhile, go on. Releases first. */
bool vmbus_channel_unmask(struct vmbus_channel *channel);

/*
 * Writes a packet to the guest without telling it. -EAGAIN when the ring is full: the guest was asked to
 * signal once `size` fits. -EPROTO: the guest's index is nonsense. -ENODEV: not open.
 * vmbus_channel_publish makes written packets visible and signals the guest if it wants that.
 * These two (and only these) may run on any thread, under the owner's lock.
 */
int vmbus_channel_send(struct vmbus_channel *channel, uint16_t type, uint16_t flags, uint64_t transaction_id,
		       const void *payload, uint32_t size);
void vmbus_channel_publish(struct vmbus_channel *channel);

/* ---- GPADLs, for the device ------------------------------------------------------------------------ */

/*
 * The pages of a GPADL of this channel as runs that are contiguous for the host. It stays alive, and
 * its teardown unanswered, until vmbus_gpadl_unmap. -ENOENT: unknown or incomplete; -EBUSY: mapped or
 * the channel's ring; -EFAULT: pages outside the guest's memory.
 */
int vmbus_gpadl_map(struct vmbus_channel *channel, uint32_t gpadl, const struct vmbus_segment **segments,
		    uint32_t *count);
void vmbus_gpadl_unmap(struct vmbus_channel *channel, uint32_t gpadl);

#endif /* WINAPI_VMBUS_SERVER_H */
