/* SPDX-License-Identifier: MIT */
/*
 * The provider core, as the transports below it see it (host/linux, host/windows, tests).
 *
 * A provider holds the API table, the limits and the totals. Each VMBus channel that a guest opens is
 * a wp_channel: it takes packets, keeps sessions and buffers, and answers every request exactly once
 * through wp_transport_ops.complete.
 *
 * Threads: for one channel, wp_channel_packet, wp_channel_flush and wp_channel_close are called by one
 * thread at a time. Completions come from that thread or from any worker.
 */
#ifndef WINAPI_PROVIDER_H
#define WINAPI_PROVIDER_H

#include "../../common/protocol.h"
#include "../../common/status.h"
#include "platform.h"

struct wp_provider;
struct wp_channel;

/* The most that the core can count; it takes more for that. */
#define WP_MAX_IN_FLIGHT 16384u /* twice as many slots have indices of 16 bits, and one means none */
#define WP_MAX_TABLE 65536u /* sessions, buffers: the index is 16 bits of the id */

/* Limits. Zero means the default, which wp_provider_create fills in. */
struct wp_limits {
	uint32_t max_in_flight; /* requests on a channel, 256; CANCELs come on top */
	uint32_t max_sessions; /* on a channel, 1,024 */
	uint32_t max_buffers; /* registered in a session, 1,024 */
	uint64_t max_bytes; /* registered in a session, 1 GiB */
	uint64_t max_buffer_size; /* WINAPI_MAX_BUFFER_SIZE */
	uint64_t inline_work; /* bytes of buffers up to which a call runs on the ring's thread, 64 KiB */
};

struct wp_config {
	struct wp_limits limits;
	char name[32]; /* what HELLO tells the guest, as in "winapi-hostd 0.1.0" */
};

/* Host memory that is a piece of a guest's buffer. The guest may change its content at any time. */
struct wp_segment {
	uint8_t *data;
	size_t size;
};

/* Consecutive bytes in guest order, as pieces. The transport owns the array. */
struct wp_segments {
	const struct wp_segment *segment;
	uint32_t count;
	uint64_t size; /* sum */
};

/* Who is at the other end, where the transport knows better than the guest's SESSION_OPEN. */
struct wp_identity {
	bool known; /* false: believe SESSION_OPEN */
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
};

struct wp_transport_ops {
	/*
	 * Sends the completion of a packet. 0: sent, and `packet` (with its external data) is the
	 * transport's again. -EAGAIN (-11): no room; the core keeps the reply and tries again in
	 * wp_channel_flush, in order. Any other: the channel is gone, the reply is dropped and `packet`
	 * is the transport's. From any thread, but never two at a time for a channel; must not call back.
	 * The guest need not see it before `publish`.
	 * Every packet that was taken comes back this way exactly once, also during and after
	 * wp_channel_close: then a reply that finds no room is followed by a call with `reply` NULL, which only gives
	 * `packet` back.
	 */
	int (*complete)(void *transport, void *packet, uint64_t request_id, const void *reply, uint32_t size);
	/* Lets the guest see the completions so far. Called as `complete` is. NULL: they are seen at once. */
	void (*publish)(void *transport);
	/*
	 * Maps the pages of a GPADL of this channel: they stay mapped and the GPADL alive until
	 * unmap. 0 and *segments (the transport's, valid until unmap), or a negative errno. A GPADL is mapped at
	 * most once; mapping it again is -EBUSY. Called from the channel's thread.
	 */
	int (*map_gpadl)(void *transport, uint32_t gpadl, struct wp_segments *segments);
	/* May be called by any thread, not under the channel's lock. */
	void (*unmap_gpadl)(void *transport, uint32_t gpadl);
	/*
	 * A request slot became free after wp_channel_packet said WP_PACKET_BUSY: offer the packet
	 * again. Any thread, not under the lock.
	 */
	void (*resume)(void *transport);
	/*
	 * After wp_channel_close: the last host access to the guest's memory is over and the channel
	 * object is gone. Any thread, once; perhaps before wp_channel_close returns.
	 */
	void (*closed)(void *transport);
};

enum wp_packet_result {
	WP_PACKET_TAKEN, /* will be completed exactly once (perhaps it was already) */
	WP_PACKET_BUSY, /* not taken: keep it in the ring and come back after `resume` */
	WP_PACKET_MALFORMED, /* not taken, not answered: the guest is broken, close its channel */
};

/* NULL when out of memory. The config is copied. */
struct wp_provider *wp_provider_create(const struct wp_config *config);
/* Those in force, defaults filled in. */
const struct wp_limits *wp_provider_limits(const struct wp_provider *provider);
/* All channels must be closed (their `closed` called). */
void wp_provider_destroy(struct wp_provider *provider);

/* A guest opened a channel. Preallocates everything that its requests can need. NULL: no memory. */
struct wp_channel *wp_channel_open(struct wp_provider *provider, const struct wp_transport_ops *ops,
				   void *transport, const struct wp_identity *identity);
/*
 * Ends the channel: queued calls are dropped, running ones told to stop; buffers are unmapped when the
 * last call that uses them has ended. Doesn't wait: `closed` tells when all is over.
 */
void wp_channel_close(struct wp_channel *channel);

/*
 * A request arrived. `data` may still be shared with the guest: it is copied once, then the copy is
 * validated. `packet` is the transport's name for it, handed to complete. `request_id` is the VMBus transaction id where
 * the transport knows it, or 0; it must agree with the header. `external` holds the pages of a
 * GPA-direct packet, mapped until complete; NULL when it has none.
 */
enum wp_packet_result wp_channel_packet(struct wp_channel *channel, void *packet, uint64_t request_id,
					const void *data, uint32_t size, const struct wp_segments *external);

/*
 * After a few wp_channel_packet in a row, by a transport that has `publish`: that for what they completed.
 * (Completions by workers and wp_channel_flush are published by themselves.) Until then those requests follow one
 * another without a pause: each counts as received when the one before it was answered.
 */
void wp_channel_publish(struct wp_channel *channel);

/* There may be room for replies again. True: replies are still waiting. */
bool wp_channel_flush(struct wp_channel *channel);
/* Are replies waiting for room? */
bool wp_channel_blocked(const struct wp_channel *channel);

/* Counts that no request carries, for logs, `winapi stat` and tests. */
void wp_provider_totals(struct wp_provider *provider, struct winapi_provider_stats *totals);

#endif /* WINAPI_PROVIDER_H */
