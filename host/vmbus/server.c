/* SPDX-License-Identifier: MIT */
/*
 * The bus itself: contact and version, dispatch of control messages, unload, end.
 */
#include <stdlib.h>

#include "internal.h"

/* Bytes of all ranges of a Server 2019 guest; see the bus' documentation in the Linux kernel. */
#define DEFAULT_GPADL_BYTES (1280ull << 20)
#define DEFAULT_GPADLS 8192u
#define DEFAULT_RING_PAGES 257u

void bus_send(struct vmbus_server *server, const void *message, uint32_t size)
{
	/* Answers for a guest that has gone, or for the kernel before the one that now makes
	 * contact. */
	if (server->state == BUS_GONE || server->state == BUS_RECONTACT)
		return;
	server->ops.send_message(server->owner, server->message_vp, message, size);
}

void bus_complain(struct vmbus_server *server, const char *what)
{
	server->ops.complain(server->owner, what);
}

bool bus_version_known(const struct vmbus_server *server, uint32_t version)
{
	static const uint32_t known[] = {
		VMBUS_VERSION_4_0, VMBUS_VERSION_4_1, VMBUS_VERSION_5_0, VMBUS_VERSION_5_1,
		VMBUS_VERSION_5_2, VMBUS_VERSION_5_3, VMBUS_VERSION_6_0,
	};

	if (version > server->limits.max_bus_version)
		return false;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == version)
			return true;
	return false;
}

/* ---- Contact and unload ---------------------------------------------------------------------- */

static bool contact_acceptable(struct vmbus_server *server, const struct vmbus_initiate_contact *contact)
{
	if (!bus_version_known(server, contact->version_requested))
		return false; /* no complaint: a guest asks for its highest version first */
	if (contact->version_requested >= VMBUS_VERSION_5_0 &&
	    (contact->interrupt_page & 0xff) != VMBUS_SINT) {
		/* Event flags and messages go to that SINT alone, so the guest would never hear of
		 * us. */
		bus_complain(server, "INITIATE_CONTACT names a SINT other than 2");
		return false;
	}
	return true;
}

static void contact_answer(struct vmbus_server *server, const struct vmbus_initiate_contact *contact)
{
	struct vmbus_version_response response = { .header.type = VMBUS_MSG_VERSION_RESPONSE };

	server->state = BUS_IDLE;
	server->message_vp = contact->target_vcpu;
	if (contact_acceptable(server, contact)) {
		server->state = BUS_CONNECTED;
		server->version = contact->version_requested;
		response.version_supported = 1;
		response.message_connection_id = server->version >= VMBUS_VERSION_5_0 ?
							 VMBUS_CONNECTION_MESSAGES_5 :
							 VMBUS_CONNECTION_MESSAGES;
	}
	bus_send(server, &response, sizeof(response));
}

void bus_unloaded(struct vmbus_server *server)
{
	struct vmbus_msg_header response = { .type = VMBUS_MSG_UNLOAD_RESPONSE };

	bus_send(server, &response, sizeof(response));
	server->state = BUS_IDLE;
}

void bus_settle(struct vmbus_server *server)
{
	if (server->state != BUS_UNLOADING && server->state != BUS_RECONTACT)
		return;
	if (!channels_closed(server))
		return;
	gpadls_free(server, NULL);
	offers_forgotten(server);
	if (server->state == BUS_UNLOADING)
		bus_unloaded(server);
	else
		contact_answer(server, &server->contact);
}

/*
 * A second contact means that another kernel took over (kexec, a crash kernel, a reloaded bus):
 * what the first one had is closed before the answer, since its memory is about to be used
 * otherwise.
 */
static int on_initiate_contact(struct vmbus_server *server, const void *message, uint32_t size)
{
	(void)size;
	memcpy(&server->contact, message, sizeof(server->contact));
	server->state = BUS_RECONTACT;
	channels_close(server);
	bus_settle(server);
	return 0;
}

static int on_unload(struct vmbus_server *server, const void *message, uint32_t size)
{
	(void)message;
	(void)size;
	if (server->state == BUS_RECONTACT) {
		bus_complain(server, "UNLOAD before the answer to INITIATE_CONTACT");
		return 0;
	}
	server->state = BUS_UNLOADING;
	channels_close(server);
	bus_settle(server);
	return 0;
}

/* ---- Dispatch -------------------------------------------------------------------------------- */

static const struct message_kind {
	uint32_t type;
	uint32_t min_size;
	bool any_state; /* else only when connected */
	int (*handle)(struct vmbus_server *server, const void *message, uint32_t size);
} message_kinds[] = {
	{ VMBUS_MSG_INITIATE_CONTACT, sizeof(struct vmbus_initiate_contact), true, on_initiate_contact },
	{ VMBUS_MSG_UNLOAD, sizeof(struct vmbus_msg_header), true, on_unload },
	{ VMBUS_MSG_REQUEST_OFFERS, sizeof(struct vmbus_msg_header), false, on_request_offers },
	{ VMBUS_MSG_RELID_RELEASED, sizeof(struct vmbus_channel_msg), false, on_relid_released },
	{ VMBUS_MSG_OPEN_CHANNEL, sizeof(struct vmbus_open_channel), false, on_open },
	{ VMBUS_MSG_CLOSE_CHANNEL, sizeof(struct vmbus_channel_msg), false, on_close },
	{ VMBUS_MSG_MODIFY_CHANNEL, sizeof(struct vmbus_modify_channel), false, on_modify },
	{ VMBUS_MSG_GPADL_HEADER, sizeof(struct vmbus_gpadl_header), false, on_gpadl_header },
	{ VMBUS_MSG_GPADL_BODY, sizeof(struct vmbus_gpadl_body), false, on_gpadl_body },
	{ VMBUS_MSG_GPADL_TEARDOWN, sizeof(struct vmbus_gpadl_teardown), false, on_gpadl_teardown },
};

static int message_handle(struct vmbus_server *server, const struct message_kind *kind, const void *message,
			  uint32_t size)
{
	if (size < kind->min_size) {
		bus_complain(server, "a control message is too short for its type");
		return -EPROTO;
	}
	if (!kind->any_state && server->state != BUS_CONNECTED) {
		bus_complain(server, "a control message without contact");
		return 0;
	}
	return kind->handle(server, message, size);
}

/*
 * Framing. A type that isn't known here may be one of a newer bus, or for a service that isn't
 * offered: Hyper-V lets it pass, and so it is complained of and ignored. A message longer than its
 * type has fields of a newer bus at its end, which no one here asks for. But one that is too short,
 * or longer than a SynIC message can be, comes from no working bus driver: nothing after it can be
 * believed.
 */
int vmbus_server_message(struct vmbus_server *server, const void *message, uint32_t size)
{
	uint64_t copy[VMBUS_MESSAGE_MAX / 8];
	struct vmbus_msg_header header;

	if (server->state == BUS_GONE)
		return 0;
	if (size < sizeof(header) || size > VMBUS_MESSAGE_MAX) {
		bus_complain(server, "a control message has an impossible size");
		return -EPROTO;
	}
	memcpy(copy, message, size);
	memcpy(&header, copy, sizeof(header));
	for (size_t i = 0; i < sizeof(message_kinds) / sizeof(message_kinds[0]); i++)
		if (message_kinds[i].type == header.type)
			return message_handle(server, &message_kinds[i], copy, size);
	bus_complain(server, "a control message of unknown type");
	return 0;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

struct vmbus_server *vmbus_server_create(const struct vmbus_server_ops *ops, void *owner,
					 const struct vmbus_limits *limits)
{
	struct vmbus_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->ops = *ops;
	server->owner = owner;
	if (limits)
		server->limits = *limits;
	if (!server->limits.max_gpadls)
		server->limits.max_gpadls = DEFAULT_GPADLS;
	if (!server->limits.max_gpadl_bytes)
		server->limits.max_gpadl_bytes = DEFAULT_GPADL_BYTES;
	if (!server->limits.max_ring_pages)
		server->limits.max_ring_pages = DEFAULT_RING_PAGES;
	if (!server->limits.max_bus_version)
		server->limits.max_bus_version = VMBUS_VERSION_6_0;
	return server;
}

bool vmbus_server_shut_down(struct vmbus_server *server)
{
	server->state = BUS_GONE;
	channels_close(server);
	return channels_closed(server);
}

void vmbus_server_destroy(struct vmbus_server *server)
{
	if (!server)
		return;
	vmbus_server_shut_down(server);
	gpadls_free(server, NULL);
	while (server->channels)
		channel_drop(server->channels);
	free(server);
}
