/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the VMBus server share among themselves.
 *
 * Life of a relid: it is given to a channel just before OFFER_CHANNEL and stays its until the guest
 * releases it after RESCIND_OFFER, unloads, or makes contact anew. A channel that is open is closed
 * first, and only when its device touches the guest's memory no more does the guest hear of the
 * rescind: a Linux guest frees ring and buffers at once then, without waiting for any answer.
 */
#ifndef VMBUS_INTERNAL_H
#define VMBUS_INTERNAL_H

#include "../../common/hot.h"
#include "vmbus_server.h"

/* Any status but 0 refuses; this is what Windows calls STATUS_UNSUCCESSFUL. */
#define BUS_STATUS_OK 0u
#define BUS_STATUS_REFUSED 0xC0000001u

#define BUS_CONNECTION_BASE 0x2000u /* connection id of a channel: this + relid */
#define BUS_GPADL_BUCKETS 256u
#define BUS_PFN_LIMIT (1ull << 40) /* physical addresses have 52 bits at most */

enum bus_state {
	BUS_IDLE, /* no contact yet, or unloaded */
	BUS_CONNECTED,
	BUS_UNLOADING, /* devices close, then UNLOAD_RESPONSE */
	BUS_RECONTACT, /* devices close, then VERSION_RESPONSE to server->contact */
	BUS_GONE, /* the guest is: nothing is sent any more */
};

enum channel_state {
	CHANNEL_CLOSED,
	CHANNEL_OPEN,
	CHANNEL_CLOSING, /* the device was told and hasn't called vmbus_channel_closed */
};

struct gpadl {
	struct gpadl *next; /* in its bucket */
	struct vmbus_channel *channel;
	uint32_t id;
	uint32_t pages;
	uint32_t filled; /* PFNs that came so far; == pages: complete */
	uint32_t bodies; /* that came so far */
	bool whole_pages; /* no offset, no odd end: fit for a ring */
	bool is_ring; /* of the open channel */
	bool mapped; /* by the device */
	bool torn; /* the guest asked for teardown and waits */
	struct vmbus_segment *segments; /* while mapped */
	uint64_t pfn[];
};

struct vmbus_channel {
	struct vmbus_channel *next; /* in order of offer */
	struct vmbus_server *server;
	struct vmbus_offer offer;
	uint32_t relid; /* 0: the guest doesn't know it */
	enum channel_state state;
	bool rescinded;
	bool rescind_sent; /* so RELID_RELEASED may come */
	uint32_t target_vp; /* read by senders on any thread */
	struct gpadl *ring_gpadl;
	void *in_map, *out_map;
	uint32_t in_pages, out_pages;
	uint8_t *ranges; /* private copy of a packet's GPA ranges; from the first such packet to
			    close */
	/* Reader and senders are different threads: keep their lines apart. */
	uint8_t apart1[64];
	struct vmbus_ring_in in;
	uint8_t apart2[64];
	struct vmbus_ring_out out;
	uint8_t apart3[64];
};

struct vmbus_server {
	struct vmbus_server_ops ops;
	void *owner;
	struct vmbus_limits limits;
	enum bus_state state;
	uint32_t version;
	uint32_t message_vp;
	struct vmbus_initiate_contact contact; /* BUS_RECONTACT: the one to answer */
	bool offers_requested;
	bool delivered_owed; /* ALL_OFFERS_DELIVERED is to follow the offers */
	struct vmbus_channel *channels;
	uint64_t relids[(VMBUS_MAX_CHANNELS + 64) / 64]; /* taken */
	uint32_t foreign_relids; /* taken by a back-end before this one: rescinded, not yet released
				  */
	struct gpadl *gpadls[BUS_GPADL_BUCKETS];
	uint32_t gpadl_count;
	uint64_t gpadl_bytes;
};

/* server.c */
void bus_send(struct vmbus_server *server, const void *message, uint32_t size);
__attribute__((cold)) void bus_complain(struct vmbus_server *server, const char *what);
bool bus_version_known(const struct vmbus_server *server, uint32_t version);
/* Once all devices have closed: goes on with the unload or contact that waits for it. */
void bus_settle(struct vmbus_server *server);
void bus_unloaded(struct vmbus_server *server);

/* offers.c */
struct vmbus_channel *channel_find(const struct vmbus_server *server, uint32_t relid);
bool relid_taken(const struct vmbus_server *server, uint32_t relid);
void relid_take(struct vmbus_server *server, uint32_t relid);
void relid_free(struct vmbus_server *server, uint32_t relid);
/* Offers what the guest asked for and doesn't know yet. */
void offers_send(struct vmbus_server *server);
void offers_rescind_relid(struct vmbus_server *server, uint32_t relid);
/* The channel is closed and was rescinded. Frees it when the guest never heard of it. */
void channel_withdraw(struct vmbus_channel *channel);
/* The guest has forgotten all offers. Frees those that were rescinded. */
void offers_forgotten(struct vmbus_server *server);
void channel_drop(struct vmbus_channel *channel);
int on_request_offers(struct vmbus_server *server, const void *message, uint32_t size);
int on_relid_released(struct vmbus_server *server, const void *message, uint32_t size);

/* channel.c */
void channel_start_closing(struct vmbus_channel *channel);
void channels_close(struct vmbus_server *server); /* `closing` for every open one */
bool channels_closed(const struct vmbus_server *server); /* is none open or closing? */
int on_open(struct vmbus_server *server, const void *message, uint32_t size);
int on_close(struct vmbus_server *server, const void *message, uint32_t size);
int on_modify(struct vmbus_server *server, const void *message, uint32_t size);
void open_answer(struct vmbus_server *server, uint32_t relid, uint32_t open_id, uint32_t status);
void modify_answer(struct vmbus_server *server, uint32_t relid, uint32_t status);

/* gpadl.c */
struct gpadl *gpadl_find(const struct vmbus_server *server, uint32_t id);
/* The device uses none of the channel's GPADLs any more: answers the teardowns that waited. */
void gpadls_release(struct vmbus_channel *channel);
void gpadls_free(struct vmbus_server *server, const struct vmbus_channel *channel); /* NULL: all */
int on_gpadl_header(struct vmbus_server *server, const void *message, uint32_t size);
int on_gpadl_body(struct vmbus_server *server, const void *message, uint32_t size);
int on_gpadl_teardown(struct vmbus_server *server, const void *message, uint32_t size);
void gpadl_answer(struct vmbus_server *server, uint32_t relid, uint32_t id, uint32_t status);
void torndown_answer(struct vmbus_server *server, uint32_t id);

/* memory.c */
/*
 * `bytes` bytes from `offset` on in these pages, as runs that are contiguous for guest and host.
 * *segments is malloc'ed. -EFAULT: a page isn't in the guest's memory; -ENOMEM.
 */
int memory_translate(const struct vmbus_server *server, const uint64_t *pfn, uint32_t pages, uint32_t offset,
		     uint64_t bytes, struct vmbus_segment **segments, uint32_t *count);

/* Pages that a range touches, 0 for an empty range or one that doesn't start in its first page. */
static inline uint64_t memory_pages(const struct vmbus_gpa_range *range)
{
	if (!range->byte_count || range->byte_offset >= VMBUS_PAGE_SIZE)
		return 0;
	return ((uint64_t)range->byte_offset + range->byte_count + VMBUS_PAGE_SIZE - 1) >> VMBUS_PAGE_SHIFT;
}

#endif /* VMBUS_INTERNAL_H */
