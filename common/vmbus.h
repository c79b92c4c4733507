/* SPDX-License-Identifier: MIT */
/*
 * The VMBus ABI: control messages, packet descriptors and the ring header, as a guest and its host
 * exchange them. Facts from the Linux kernel's Documentation/virt/hyperv/vmbus.rst and the layouts
 * that its hv_vmbus driver uses; control messages from versions 4.0 to 6.0 of the bus.
 *
 * Both ends in user space use this header; the Linux driver uses the kernel's own <linux/hyperv.h>.
 */
#ifndef WINAPI_VMBUS_H
#define WINAPI_VMBUS_H

#include "protocol.h"

#define VMBUS_PAGE_SIZE 4096u
#define VMBUS_PAGE_SHIFT 12
#define VMBUS_MESSAGE_MAX 240u /* bytes of a control message: a SynIC message's payload */
#define VMBUS_MAX_CHANNELS 2047u /* relids 1 to 2047: one bit each in the event flags page */

/* Versions of the bus, (major << 16) | minor. */
#define VMBUS_VERSION_4_0 0x00040000u
#define VMBUS_VERSION_4_1 0x00040001u
#define VMBUS_VERSION_5_0 0x00050000u
#define VMBUS_VERSION_5_1 0x00050001u
#define VMBUS_VERSION_5_2 0x00050002u
#define VMBUS_VERSION_5_3 0x00050003u
#define VMBUS_VERSION_6_0 0x00060000u

/* SynIC message connections: 1 up to bus 4.1, 4 for INITIATE_CONTACT from 5.0 on. */
#define VMBUS_CONNECTION_MESSAGES 1u
#define VMBUS_CONNECTION_MESSAGES_5 4u
#define VMBUS_SINT 2u /* the SINT that Linux asks for */

enum vmbus_msg_type {
	VMBUS_MSG_OFFER_CHANNEL = 1,
	VMBUS_MSG_RESCIND_OFFER = 2,
	VMBUS_MSG_REQUEST_OFFERS = 3,
	VMBUS_MSG_ALL_OFFERS_DELIVERED = 4,
	VMBUS_MSG_OPEN_CHANNEL = 5,
	VMBUS_MSG_OPEN_RESULT = 6,
	VMBUS_MSG_CLOSE_CHANNEL = 7,
	VMBUS_MSG_GPADL_HEADER = 8,
	VMBUS_MSG_GPADL_BODY = 9,
	VMBUS_MSG_GPADL_CREATED = 10,
	VMBUS_MSG_GPADL_TEARDOWN = 11,
	VMBUS_MSG_GPADL_TORNDOWN = 12,
	VMBUS_MSG_RELID_RELEASED = 13,
	VMBUS_MSG_INITIATE_CONTACT = 14,
	VMBUS_MSG_VERSION_RESPONSE = 15,
	VMBUS_MSG_UNLOAD = 16,
	VMBUS_MSG_UNLOAD_RESPONSE = 17,
	VMBUS_MSG_MODIFY_CHANNEL = 22,
	VMBUS_MSG_MODIFY_RESPONSE = 24,
};

#pragma pack(push, 1)

struct vmbus_msg_header {
	uint32_t type; /* enum vmbus_msg_type */
	uint32_t padding;
};
WINAPI_ASSERT_SIZE(struct vmbus_msg_header, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_msg_header, padding, 4);

struct vmbus_initiate_contact {
	struct vmbus_msg_header header;
	uint32_t version_requested;
	uint32_t target_vcpu; /* VP that takes the host's messages */
	uint64_t interrupt_page; /* from 5.0 on: the low byte is the message SINT */
	uint64_t monitor_page1; /* host to guest */
	uint64_t monitor_page2; /* guest to host */
};
WINAPI_ASSERT_SIZE(struct vmbus_initiate_contact, 40);
WINAPI_ASSERT_OFFSET(struct vmbus_initiate_contact, version_requested, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_initiate_contact, target_vcpu, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_initiate_contact, interrupt_page, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_initiate_contact, monitor_page1, 24);
WINAPI_ASSERT_OFFSET(struct vmbus_initiate_contact, monitor_page2, 32);

struct vmbus_version_response {
	struct vmbus_msg_header header;
	uint8_t version_supported;
	uint8_t connection_state; /* 0: fine */
	uint16_t padding;
	uint32_t message_connection_id; /* from 5.0 on: where later messages go */
};
WINAPI_ASSERT_SIZE(struct vmbus_version_response, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_version_response, version_supported, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_version_response, connection_state, 9);
WINAPI_ASSERT_OFFSET(struct vmbus_version_response, padding, 10);
WINAPI_ASSERT_OFFSET(struct vmbus_version_response, message_connection_id, 12);

/* vmbus_offer_channel.channel_flags */
#define VMBUS_OFFER_ENUMERATE_DEVICE_INTERFACE 0x0001u
#define VMBUS_OFFER_NAMED_PIPE_MODE 0x0010u

struct vmbus_offer_channel {
	struct vmbus_msg_header header;
	uint8_t interface_type[16]; /* GUID bytes as in memory */
	uint8_t interface_instance[16];
	uint64_t reserved1[2];
	uint16_t channel_flags;
	uint16_t mmio_megabytes;
	uint8_t user_defined[120];
	uint16_t sub_channel_index; /* 0: primary */
	uint16_t reserved2;
	uint32_t relid;
	uint8_t monitor_id;
	uint8_t monitor_allocated; /* bit 0 */
	uint16_t dedicated_interrupt; /* bit 0: signal by connection id only, no bit in a shared page */
	uint32_t connection_id; /* for HvSignalEvent */
};
WINAPI_ASSERT_SIZE(struct vmbus_offer_channel, 196);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, interface_type, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, interface_instance, 24);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, reserved1, 40);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, channel_flags, 56);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, mmio_megabytes, 58);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, user_defined, 60);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, sub_channel_index, 180);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, reserved2, 182);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, relid, 184);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, monitor_id, 188);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, monitor_allocated, 189);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, dedicated_interrupt, 190);
WINAPI_ASSERT_OFFSET(struct vmbus_offer_channel, connection_id, 192);

/* RESCIND_OFFER, CLOSE_CHANNEL and RELID_RELEASED name a channel and nothing else. */
struct vmbus_channel_msg {
	struct vmbus_msg_header header;
	uint32_t relid;
};
WINAPI_ASSERT_SIZE(struct vmbus_channel_msg, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_channel_msg, relid, 8);

struct vmbus_open_channel {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t open_id;
	uint32_t ring_gpadl;
	uint32_t target_vp; /* VP that takes the channel's interrupts */
	uint32_t downstream_page; /* page of the GPADL where the host-to-guest ring begins */
	uint8_t user_data[120];
};
WINAPI_ASSERT_SIZE(struct vmbus_open_channel, 148);
WINAPI_ASSERT_OFFSET(struct vmbus_open_channel, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_open_channel, open_id, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_open_channel, ring_gpadl, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_open_channel, target_vp, 20);
WINAPI_ASSERT_OFFSET(struct vmbus_open_channel, downstream_page, 24);
WINAPI_ASSERT_OFFSET(struct vmbus_open_channel, user_data, 28);

struct vmbus_open_result {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t open_id;
	uint32_t status; /* 0: open */
};
WINAPI_ASSERT_SIZE(struct vmbus_open_result, 20);
WINAPI_ASSERT_OFFSET(struct vmbus_open_result, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_open_result, open_id, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_open_result, status, 16);

/* A run of guest memory: ceil((byte_offset + byte_count) / 4096) page frame numbers follow. */
struct vmbus_gpa_range {
	uint32_t byte_count;
	uint32_t byte_offset; /* into the first page */
};
WINAPI_ASSERT_SIZE(struct vmbus_gpa_range, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_gpa_range, byte_offset, 4);

struct vmbus_gpadl_header {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t gpadl;
	uint16_t range_buflen; /* bytes of all ranges with their PFNs: a GPADL holds <= 8,190 pages */
	uint16_t range_count;
	struct vmbus_gpa_range range; /* PFNs follow, as many as fit; the rest comes in bodies */
};
WINAPI_ASSERT_SIZE(struct vmbus_gpadl_header, 28);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_header, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_header, gpadl, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_header, range_buflen, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_header, range_count, 18);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_header, range, 20);

struct vmbus_gpadl_body {
	struct vmbus_msg_header header;
	uint32_t message_number; /* 1, 2, ... within the GPADL, or 0 from some guests; order counts */
	uint32_t gpadl;
	/* PFNs follow */
};
WINAPI_ASSERT_SIZE(struct vmbus_gpadl_body, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_body, message_number, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_body, gpadl, 12);

#define VMBUS_GPADL_HEADER_PFNS 26u /* (240 - 28) / 8 */
#define VMBUS_GPADL_BODY_PFNS 28u /* (240 - 16) / 8 */
#define VMBUS_GPADL_MAX_PAGES 8190u /* (65,535 - 8) / 8, less one: what hv_vmbus can say */

struct vmbus_gpadl_created {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t gpadl;
	uint32_t status; /* 0: created */
};
WINAPI_ASSERT_SIZE(struct vmbus_gpadl_created, 20);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_created, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_created, gpadl, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_created, status, 16);

struct vmbus_gpadl_teardown {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t gpadl;
};
WINAPI_ASSERT_SIZE(struct vmbus_gpadl_teardown, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_teardown, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_teardown, gpadl, 12);

struct vmbus_gpadl_torndown {
	struct vmbus_msg_header header;
	uint32_t gpadl;
};
WINAPI_ASSERT_SIZE(struct vmbus_gpadl_torndown, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_gpadl_torndown, gpadl, 8);

struct vmbus_modify_channel {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t target_vp;
};
WINAPI_ASSERT_SIZE(struct vmbus_modify_channel, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_modify_channel, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_modify_channel, target_vp, 12);

/* Sent from bus 5.3 on; earlier buses leave MODIFY_CHANNEL unanswered. */
struct vmbus_modify_response {
	struct vmbus_msg_header header;
	uint32_t relid;
	uint32_t status;
};
WINAPI_ASSERT_SIZE(struct vmbus_modify_response, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_modify_response, relid, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_modify_response, status, 12);

#pragma pack(pop)

/* ---- Packets in a ring --------------------------------------------------------------------------- */

enum vmbus_packet_type {
	VMBUS_PACKET_INBAND = 6,
	VMBUS_PACKET_GPA_DIRECT = 9,
	VMBUS_PACKET_COMPLETION = 11,
};

#define VMBUS_PACKET_FLAG_COMPLETION_REQUESTED 1u

/* Sizes count from the descriptor's first byte, in units of 8 bytes. */
struct vmbus_packet_descriptor {
	uint16_t type; /* enum vmbus_packet_type */
	uint16_t offset8; /* where the payload starts */
	uint16_t length8; /* where the packet ends; the 8-byte trailer follows */
	uint16_t flags;
	uint64_t transaction_id;
};
WINAPI_ASSERT_SIZE(struct vmbus_packet_descriptor, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_packet_descriptor, offset8, 2);
WINAPI_ASSERT_OFFSET(struct vmbus_packet_descriptor, length8, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_packet_descriptor, flags, 6);
WINAPI_ASSERT_OFFSET(struct vmbus_packet_descriptor, transaction_id, 8);

/* GPA_DIRECT: between descriptor and payload. One vmbus_gpa_range with its PFNs for each range. */
struct vmbus_gpa_direct {
	uint32_t reserved;
	uint32_t range_count;
};
WINAPI_ASSERT_SIZE(struct vmbus_gpa_direct, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_gpa_direct, range_count, 4);

#define VMBUS_PACKET_TRAILER 8u /* (u64)write index before the packet << 32 */

/* ---- The ring header, one page; the data follow it ------------------------------------------------ */

#define VMBUS_RING_FEATURE_PENDING_SEND_SIZE 1u

struct vmbus_ring_header {
	uint32_t write_index; /* byte offset in the data; the writer's */
	uint32_t read_index; /* byte offset in the data; the reader's */
	uint32_t interrupt_mask; /* the reader's: not 0 means "don't signal me" */
	uint32_t pending_send_size; /* the writer's: signal me when more than this is free; 0: don't */
	uint32_t reserved1[12];
	uint32_t feature_bits; /* VMBUS_RING_FEATURE_*, set by the writer */
	uint8_t reserved2[VMBUS_PAGE_SIZE - 68];
};
WINAPI_ASSERT_SIZE(struct vmbus_ring_header, VMBUS_PAGE_SIZE);
WINAPI_ASSERT_OFFSET(struct vmbus_ring_header, read_index, 4);
WINAPI_ASSERT_OFFSET(struct vmbus_ring_header, interrupt_mask, 8);
WINAPI_ASSERT_OFFSET(struct vmbus_ring_header, pending_send_size, 12);
WINAPI_ASSERT_OFFSET(struct vmbus_ring_header, reserved1, 16);
WINAPI_ASSERT_OFFSET(struct vmbus_ring_header, feature_bits, 64);
WINAPI_ASSERT_OFFSET(struct vmbus_ring_header, reserved2, 68);

#endif /* WINAPI_VMBUS_H */
