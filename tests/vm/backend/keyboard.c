/* SPDX-License-Identifier: MIT */
/*
 * A synthetic keyboard as Hyper-V offers it, as far as the stock hyperv_keyboard driver needs one: it
 * asks for a protocol version, and gets keys from then on. Here they are the word "winapi", again and again.
 */
#include "backend.h"

#define KEYBOARD_VERSION (1u << 16) /* 1.0 */
#define TYPE_EVERY_MS 300u

enum { PROTOCOL_REQUEST = 1, PROTOCOL_RESPONSE = 2, KEY = 3 };

struct protocol_request {
	uint32_t type;
	uint32_t version;
};

struct protocol_response {
	uint32_t type;
	uint32_t accepted;
};

struct key {
	uint32_t type;
	uint16_t make_code; /* of scan code set 1 */
	uint16_t reserved;
	uint32_t info;
};
#define KEY_IS_BREAK 2u

static void send_inband(struct vmbus_channel *channel, const void *message, uint32_t size)
{
	vmbus_channel_send(channel, VMBUS_PACKET_INBAND, 0, 0, message, size);
}

static void answer_request(struct backend *b, struct vmbus_channel *channel, const struct protocol_request *r)
{
	const struct protocol_response response = { PROTOCOL_RESPONSE, r->version == KEYBOARD_VERSION };

	if (r->type != PROTOCOL_REQUEST)
		return;
	send_inband(channel, &response, sizeof(response));
	if (response.accepted)
		b->type_ms = now_ms() + TYPE_EVERY_MS;
}

static void kicked(void *device, struct vmbus_channel *channel)
{
	struct protocol_request request;
	struct vmbus_packet packet;

	do {
		while (vmbus_channel_next(channel, &packet) > 0) {
			memset(&request, 0, sizeof(request));
			memcpy(&request, packet.payload,
			       packet.payload_size < sizeof(request) ? packet.payload_size : sizeof(request));
			vmbus_channel_leave(channel, &packet);
			vmbus_channel_take(channel, &packet);
			answer_request(device, channel, &request);
		}
		vmbus_channel_publish(channel);
	} while (vmbus_channel_unmask(channel));
}

void keyboard_tick(struct backend *b)
{
	static const uint16_t winapi[] = { 0x11, 0x17, 0x31, 0x1e, 0x19, 0x17 };

	if (!b->type_ms || now_ms() < b->type_ms)
		return;
	b->type_ms = now_ms() + TYPE_EVERY_MS;
	for (unsigned int i = 0; i < sizeof(winapi) / sizeof(winapi[0]); i++) {
		struct key key = { .type = KEY, .make_code = winapi[i] };

		send_inband(b->keyboard_channel, &key, sizeof(key));
		key.info = KEY_IS_BREAK;
		send_inband(b->keyboard_channel, &key, sizeof(key));
	}
	vmbus_channel_publish(b->keyboard_channel);
}

static uint32_t opened(void *device, struct vmbus_channel *channel)
{
	(void)device;
	(void)channel;
	return 0;
}

static void closing(void *device, struct vmbus_channel *channel)
{
	struct backend *b = device;

	b->type_ms = 0;
	vmbus_channel_closed(channel);
}

void keyboard_offer(struct backend *b)
{
	static const struct vmbus_device_ops ops = { opened, closing, kicked };
	/* f912ad6d-2b17-48ea-bd65-f927a61c7684 */
	struct vmbus_offer offer = { .interface_type = { 0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd,
							 0x65, 0xf9, 0x27, 0xa6, 0x1c, 0x76, 0x84 },
				     .interface_instance = "winapi-keyboard",
				     .channel_flags = VMBUS_OFFER_ENUMERATE_DEVICE_INTERFACE,
				     .ops = &ops,
				     .device = b };

	b->keyboard_channel = vmbus_server_offer(b->server, &offer);
	if (!b->keyboard_channel)
		die("no memory");
}
