/* SPDX-License-Identifier: MIT */
/*
 * vmbus-user, version 1: what a front-end that owns a guest and the back-end that serves the guest's
 * VMBus say to each other over a Unix SOCK_SEQPACKET socket. docs/vmbus-user.md is the
 * specification; this header fixes the bytes (little-endian, native alignment).
 *
 * One record is one message: header, then `size` bytes of payload, with at most one descriptor.
 */
#ifndef WINAPI_VMBUS_USER_H
#define WINAPI_VMBUS_USER_H

#include "vmbus.h"

#define VMBUS_USER_MAGIC 0x55424d56u /* "VMBU" in memory */
#define VMBUS_USER_VERSION 1u
#define VMBUS_USER_MAX_PAYLOAD 16384u
#define VMBUS_USER_MAX_VPS 64u
#define VMBUS_USER_FLAGS_OFF UINT64_MAX /* vmbus_user_vp.event_flags_gpa: no page */

enum vmbus_user_type {
	/* front-end to back-end */
	VMBUS_USER_STATE = 1, /* first, once; answered by READY or REFUSED */
	VMBUS_USER_REGION_ADD = 2, /* with the region's memfd; answered by REGION_DONE */
	VMBUS_USER_REGION_DEL = 3, /* answered by REGION_DONE once the back-end has no use for it */
	VMBUS_USER_VP = 4, /* with the VP's call eventfd; sent again on any change */
	VMBUS_USER_GUEST_MESSAGE = 5, /* a control message that the guest posted */
	/* back-end to front-end */
	VMBUS_USER_READY = 64,
	VMBUS_USER_REFUSED = 65, /* the back-end closes the socket next */
	VMBUS_USER_REGION_DONE = 66,
	VMBUS_USER_CHANNEL = 67, /* with the channel's kick eventfd; before its offer */
	VMBUS_USER_CHANNEL_GONE = 68, /* the relid was released: forget the connection id */
	VMBUS_USER_HOST_MESSAGE = 69, /* a control message for the guest */
};

struct vmbus_user_header {
	uint32_t type; /* enum vmbus_user_type */
	uint32_t size; /* bytes of payload */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_header, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_user_header, size, 4);

/* What a guest believes about its bus. Recorded by the front-end from what it relays. */
enum vmbus_user_entry_kind {
	VMBUS_USER_ENTRY_RELID = 1, /* offered, not released */
	VMBUS_USER_ENTRY_GPADL = 2, /* creation asked for, unanswered */
	VMBUS_USER_ENTRY_TEARDOWN = 3, /* teardown asked for, unanswered */
	VMBUS_USER_ENTRY_OPEN = 4, /* open asked for, unanswered; gpadl holds the open id */
	VMBUS_USER_ENTRY_MODIFY = 5, /* MODIFY_CHANNEL asked for, unanswered */
	VMBUS_USER_ENTRY_UNLOAD = 6, /* UNLOAD asked for, unanswered */
};

struct vmbus_user_entry {
	uint32_t kind;
	uint32_t relid;
	uint32_t gpadl;
	uint32_t reserved; /* 0 */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_entry, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_user_entry, relid, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_user_entry, gpadl, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_user_entry, reserved, 12);

#define VMBUS_USER_MAX_ENTRIES 1000u

struct vmbus_user_state {
	uint32_t magic;
	uint16_t version; /* VMBUS_USER_VERSION */
	uint16_t reserved; /* 0 */
	uint32_t bus_version; /* VMBUS_VERSION_*, 0: the guest hasn't connected (then nothing follows) */
	uint32_t message_vp; /* VP that takes the host's messages */
	uint64_t interrupt_page;
	uint64_t monitor_page1;
	uint64_t monitor_page2;
	uint32_t flags; /* VMBUS_USER_STATE_* */
	uint32_t entry_count;
	/* struct vmbus_user_entry[entry_count] follows */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_state, 48);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, version, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, reserved, 6);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, bus_version, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, message_vp, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, interrupt_page, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, monitor_page1, 24);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, monitor_page2, 32);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, flags, 40);
WINAPI_ASSERT_OFFSET(struct vmbus_user_state, entry_count, 44);

#define VMBUS_USER_STATE_OFFERS_REQUESTED 1u

struct vmbus_user_ready {
	uint16_t version;
	uint16_t reserved; /* 0 */
	uint32_t max_regions;
	uint64_t max_region_bytes; /* sum over the guest's regions */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_ready, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_user_ready, reserved, 2);
WINAPI_ASSERT_OFFSET(struct vmbus_user_ready, max_regions, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_user_ready, max_region_bytes, 8);

struct vmbus_user_refused {
	int32_t error; /* negative errno */
	char reason[124]; /* NUL-terminated */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_refused, 128);
WINAPI_ASSERT_OFFSET(struct vmbus_user_refused, reason, 4);

/* Page-aligned, page-sized, no overlap with another region. REGION_DEL: size 0. */
struct vmbus_user_region {
	uint64_t gpa;
	uint64_t size; /* bytes; the memfd is mapped from its start */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_region, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_user_region, size, 8);

struct vmbus_user_region_done {
	uint64_t gpa;
	int32_t error; /* 0, or a negative errno */
	uint32_t reserved; /* 0 */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_region_done, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_user_region_done, error, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_user_region_done, reserved, 12);

struct vmbus_user_vp {
	uint32_t index;
	uint32_t reserved; /* 0 */
	uint64_t event_flags_gpa; /* the VP's SynIC event flags page, or VMBUS_USER_FLAGS_OFF */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_vp, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_user_vp, reserved, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_user_vp, event_flags_gpa, 8);

struct vmbus_user_channel {
	uint32_t relid;
	uint32_t connection_id; /* what the guest passes to HvSignalEvent; 0 in CHANNEL_GONE */
};
WINAPI_ASSERT_SIZE(struct vmbus_user_channel, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_user_channel, connection_id, 4);

/* GUEST_MESSAGE and HOST_MESSAGE: `size` - 8 bytes of message, 8 to 240. */
struct vmbus_user_message {
	uint32_t connection_id; /* from the guest: where it posted; from the host: the target VP */
	uint32_t reserved; /* 0 */
	uint8_t data[VMBUS_MESSAGE_MAX];
};
WINAPI_ASSERT_SIZE(struct vmbus_user_message, 248);
WINAPI_ASSERT_OFFSET(struct vmbus_user_message, reserved, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_user_message, data, 8);

#endif /* WINAPI_VMBUS_USER_H */
