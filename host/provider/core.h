/* SPDX-License-Identifier: MIT */
/*
 * What the files of the provider core share.
 *
 * Who owns what. The channel's thread (the one that calls wp_channel_packet, flush and close) alone
 * touches the session table, the buffer tables and `spare`; so a call that it runs itself needs no
 * references and takes the lock once, to send. Everything that a worker or the statistics see too
 * is under wp_channel.lock: states and links of slots, reply queue, counters, wp_buffer.users,
 * wp_session.running. Lock order: provider, then channel; one channel at a time.
 *
 * A request lives in a slot. Most requests begin and end inside wp_channel_packet, in the spare
 * slot. One that outlives it (a worker runs it, or its reply finds no room) is "parked": it is in
 * the index of request ids, counts as in flight, and has a state.
 */
#ifndef WINAPI_PROVIDER_CORE_H
#define WINAPI_PROVIDER_CORE_H

#include "../../common/header.h"
#include "api.h"

/* The errnos that cross wp_transport_ops, which has no header for them. */
#define WP_EAGAIN 11
#define WP_ENOMEM 12

#define WP_NO_SLOT UINT16_MAX

/* Calls of one channel that the platform has at a time: as many as it has workers, so that a guest alone keeps all busy. */
#define WP_WORK_SHARE 4u

/* ---- Statistics ------------------------------------------------------------------------------ */

struct wp_counters {
	uint64_t requests;
	uint64_t replies;
	uint64_t errors;
	uint64_t replies_queued;
};

struct wp_api_counters {
	uint64_t calls;
	uint64_t errors;
	uint64_t bytes;
	uint64_t host_ns;
};

/* ---- Provider -------------------------------------------------------------------------------- */

struct wp_provider {
	struct wp_config config; /* with defaults filled in; constant */
	uint64_t ids; /* atomic: session ids and handles given out, for wp_new_id */
	uint64_t channels; /* atomic, and the next three: open now */
	uint64_t sessions;
	uint64_t buffers;
	uint64_t bytes;
	struct wp_lock lock; /* all below */
	struct wp_channel *first_channel;
	struct wp_counters closed; /* of channels that are gone */
	struct wp_api_counters *closed_api; /* by API */
};

/* Counters of a channel: changed by one thread at a time, read by any. */
static inline void wp_bump(uint64_t *counter, uint64_t by)
{
	wp_atomic_store64(counter, wp_atomic_load64(counter) + by);
}

static inline void wp_count(uint64_t *counter, uint64_t up)
{
	wp_atomic_add64(counter, up);
}

static inline void wp_uncount(uint64_t *counter, uint64_t down)
{
	wp_atomic_add64(counter, 0 - down);
}

/*
 * An id for entry `index` of a table: never 0, and no other of this provider for 2^47 more, so one
 * that is stale or another session's is known by comparing.
 */
uint64_t wp_new_id(struct wp_provider *provider, uint32_t index);
static inline uint32_t wp_id_index(uint64_t id)
{
	return (uint32_t)(id & 0xffff);
}

/* Adds every channel's counters to the descriptions of `count` APIs from `first` on. */
void wp_provider_add_calls(struct wp_provider *provider, uint32_t first, uint32_t count,
			   struct winapi_api_desc *desc);
/* What is open now, into the provider_* fields. */
void wp_provider_open_now(struct wp_provider *provider, struct winapi_provider_stats *stats);
void wp_provider_link(struct wp_channel *channel);
void wp_provider_unlink(struct wp_channel *channel);

extern const struct wp_api *const wp_api_table[];
extern const uint32_t wp_api_count;

static inline const struct wp_api *wp_api_find(uint32_t id)
{
	return id < wp_api_count ? wp_api_table[id] : NULL;
}

static inline const struct wp_method *wp_method_find(const struct wp_api *api, uint16_t id)
{
	for (uint32_t i = 0; i < api->method_count; i++)
		if (api->methods[i].id == id)
			return &api->methods[i];
	return NULL;
}

static inline uint64_t wp_api_inline_work(const struct wp_provider *provider, const struct wp_api *api)
{
	return api->inline_work ? api->inline_work : provider->config.limits.inline_work;
}

/* ---- Sessions and buffers -------------------------------------------------------------------- */

struct wp_buffer {
	uint64_t handle;
	uint64_t length;
	uint32_t access;
	uint32_t users; /* parked calls that refer to it; channel's lock */
	uint32_t chunk_count;
	uint32_t gpadl[WINAPI_MAX_CHUNKS];
	struct wp_segments
		chunk[WINAPI_MAX_CHUNKS]; /* what each was mapped to: too much for a kernel's stack */
	uint32_t segment_count;
	/*
	 * Runs of memory, none empty, that together hold exactly the buffer, and where each starts
	 * in it.
	 */
	struct wp_segment *segment;
	uint64_t *start;
};

struct wp_session {
	uint64_t id;
	struct wp_identity identity;
	uint32_t buffer_count;
	uint64_t buffer_bytes;
	uint32_t running; /* parked calls not yet answered; channel's lock, and the next two */
	bool closing; /* out of the session table; the end of its last call ends it */
	struct wp_slot *close_slot; /* the SESSION_CLOSE that waits for that */
	struct wp_buffer *buffer[]; /* limits.max_buffers */
};

/* ---- Slots ----------------------------------------------------------------------------------- */

enum wp_slot_state {
	WP_SLOT_QUEUED, /* for wp_work_queue, no worker has begun */
	WP_SLOT_RUNNING, /* a worker runs the call */
	WP_SLOT_CLOSING, /* SESSION_CLOSE, waits for calls to end */
	WP_SLOT_REPLY, /* answered; the reply waits for room */
	WP_SLOT_ANSWERED, /* answered and sent before its work item ran: that frees it */
};

struct wp_slot {
	struct winapi_msg_header header; /* of the request, a copy */
	/* Behind the header in both directions, so that each message is one piece of memory. */
	uint8_t body[WINAPI_MAX_MESSAGE - sizeof(struct winapi_msg_header)];
	uint64_t reply[WINAPI_HEADER_WORDS];
	uint8_t reply_body[WINAPI_MAX_INLINE];
	struct wp_work work;
	struct wp_channel *channel;
	void *packet;
	const struct wp_api *api; /* CALL with an API that exists, else NULL */
	const struct wp_method *method;
	struct wp_session *session;
	struct wp_buffer *buffer[WINAPI_MAX_BUFFERS]; /* of the call's views; NULL: external */
	struct wp_segments external;
	uint64_t host_ns;
	uint32_t status; /* enum winapi_status, once answered; and reply_size */
	uint32_t reply_size; /* bytes of reply_body */
	uint16_t index;
	uint16_t next_by_id; /* parked: in the index of ids */
	uint16_t next_reply; /* WP_SLOT_REPLY: in the queue */
	uint16_t next_work; /* among those that wait for a turn */
	uint8_t state; /* parked: enum wp_slot_state */
	bool work_pending; /* the work item waits, or hasn't come back from the platform */
	struct wp_call call;
};
/* The spare slot, which serves most calls, starts on a line; so does all that is copied in it. */
WINAPI_STATIC_ASSERT(offsetof(struct wp_slot, body) % 64 == 0);
WINAPI_STATIC_ASSERT(offsetof(struct wp_slot, reply) % 64 == 0);
WINAPI_STATIC_ASSERT(offsetof(struct wp_slot, reply_body) ==
		     offsetof(struct wp_slot, reply) + sizeof(struct winapi_msg_header));

struct wp_channel {
	struct wp_provider *provider;
	const struct wp_transport_ops *ops;
	void *transport;
	struct wp_identity identity;
	void *slot_memory;
	struct wp_slot *slot; /* in it, on a cache line */
	uint32_t slot_count;

	/* The channel's thread alone: */
	struct wp_slot *spare; /* taken from the free ones and not parked, or NULL */
	uint64_t burst_ns; /* when the request before this one was answered, until wp_channel_publish; or 0 */
	bool greeted; /* HELLO done */
	uint32_t session_count;
	struct wp_session **session; /* limits.max_sessions */
	struct wp_api_counters *batch; /* by API, of the batch that runs, until it is answered */

	uint64_t references; /* atomic: the transport's one, and one per work item */

	/* Under the lock. Only the channel's thread raises `parked`, so it may trust a 0 without.
	 */
	struct wp_lock lock;
	uint32_t parked; /* wp_atomic_* */
	uint32_t replies_waiting; /* wp_atomic_* */
	uint32_t in_flight; /* parked, without CANCELs */
	bool starved; /* a packet found no slot: `resume` when there is one */
	bool closed;
	uint16_t first_reply; /* those that wait for room, in order */
	uint16_t last_reply;
	uint32_t work_out; /* work items at the platform, WP_WORK_SHARE at most */
	uint16_t first_work; /* those that wait for one of these to come back, in order */
	uint16_t last_work;
	uint32_t free_count;
	uint16_t *free; /* a stack of indices */
	uint16_t *bucket; /* by request id: the first parked slot */
	uint32_t bucket_mask;
	struct wp_counters counters;
	struct wp_api_counters *api; /* by API */
	struct wp_channel *next; /* provider's list: provider's lock, and the next */
	struct wp_channel *previous;
};

/* slot.c; all under the lock unless said otherwise. */
bool wp_slot_spare(struct wp_channel *channel); /* takes the lock: fills channel->spare */
struct wp_slot *wp_slot_find(struct wp_channel *channel, uint64_t request_id);
void wp_slot_park(struct wp_channel *channel, struct wp_slot *slot); /* the spare one */
void wp_slot_unpark(struct wp_channel *channel, struct wp_slot *slot);
void wp_slot_free(struct wp_channel *channel, struct wp_slot *slot);
void wp_channel_unlock(struct wp_channel *channel); /* unlocks, and resumes who starved */

/*
 * Has the channel's thread the channel to itself? While nothing is parked, no worker comes: the thread may
 * count and complete without the lock, which would cost it a wait for every store to the ring.
 */
static inline bool wp_channel_alone(const struct wp_channel *channel)
{
	return !wp_atomic_load32(&channel->parked);
}

/* reply.c */
void wp_reply_prepare(struct wp_slot *slot, enum winapi_status status); /* needs no lock */
void wp_reply_now(struct wp_channel *channel, enum winapi_status status); /* to the spare slot */
void wp_reply_parked(struct wp_channel *channel, struct wp_slot *slot); /* prepared; under the lock */
void wp_reply_drop_all(struct wp_channel *channel); /* under the lock */

/* channel.c */
void wp_channel_put(struct wp_channel *channel); /* the last one ends the channel */

/*
 * Handlers of message types, on the channel's thread. The status is the answer's, unless the slot
 * was parked and will be answered later.
 */
enum winapi_status wp_session_open(struct wp_channel *channel, struct wp_slot *slot);
enum winapi_status wp_session_close(struct wp_channel *channel, struct wp_slot *slot);
enum winapi_status wp_buffer_register(struct wp_channel *channel, struct wp_slot *slot);
enum winapi_status wp_buffer_unregister(struct wp_channel *channel, struct wp_slot *slot);
enum winapi_status wp_call_start(struct wp_channel *channel, struct wp_slot *slot);
enum winapi_status wp_call_cancel(struct wp_channel *channel, struct wp_slot *slot);
enum winapi_status wp_batch_run(struct wp_channel *channel, struct wp_slot *slot);

struct wp_session *wp_session_find(struct wp_channel *channel, uint64_t id);
void wp_session_free(struct wp_channel *channel, struct wp_session *session); /* unmaps its buffers */
/* The last parked call of a closing session ended: not under the lock. */
void wp_session_finish(struct wp_channel *channel, struct wp_session *session);

/* The buffer's part for one descriptor, checked. */
enum winapi_status wp_buffer_view(struct wp_slot *slot, uint32_t at, const struct winapi_buffer_desc *desc);
void wp_buffer_free_all(struct wp_channel *channel, struct wp_session *session);

/* Stops the parked calls of a session, or with NULL all: under the lock. */
void wp_call_stop_all(struct wp_channel *channel, const struct wp_session *session);

#endif /* WINAPI_PROVIDER_CORE_H */
