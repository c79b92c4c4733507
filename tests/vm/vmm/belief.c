/* SPDX-License-Identifier: MIT */
/*
 * What the guest believes about its bus, taken from the messages that pass, so that a back-end that starts
 * anew can be told (docs/vmbus-user.md, "Reconnect"). Under the front-end's lock.
 */
#include <string.h>

#include "vmm.h"

static struct vmbus_user_state state;
static struct vmbus_user_entry entries[VMBUS_USER_MAX_ENTRIES];
static struct vmbus_initiate_contact contact; /* the last one asked for */
static bool contact_open; /* and not answered */

static void remember(uint32_t kind, uint32_t relid, uint32_t gpadl)
{
	if (state.entry_count < VMBUS_USER_MAX_ENTRIES)
		entries[state.entry_count++] = (struct vmbus_user_entry){ kind, relid, gpadl, 0 };
}

/* UINT32_MAX: any. */
static void forget(uint32_t kind, uint32_t relid, uint32_t gpadl)
{
	for (uint32_t i = 0; i < state.entry_count; i++) {
		const struct vmbus_user_entry *e = &entries[i];

		if (e->kind == kind && (relid == UINT32_MAX || e->relid == relid) &&
		    (gpadl == UINT32_MAX || e->gpadl == gpadl)) {
			entries[i] = entries[--state.entry_count];
			return;
		}
	}
}

static void forget_all(void)
{
	memset(&state, 0, sizeof(state));
}

union message {
	struct vmbus_msg_header header;
	struct vmbus_initiate_contact contact;
	struct vmbus_version_response version;
	struct vmbus_offer_channel offer;
	struct vmbus_channel_msg channel;
	struct vmbus_open_channel open;
	struct vmbus_open_result opened;
	struct vmbus_gpadl_header gpadl;
	struct vmbus_gpadl_created created;
	struct vmbus_gpadl_teardown teardown;
	struct vmbus_gpadl_torndown torndown;
	struct vmbus_modify_channel modify;
	struct vmbus_modify_response modified;
	uint8_t bytes[VMBUS_MESSAGE_MAX];
};

void belief_from_guest(const void *message, uint32_t size)
{
	union message m = { .bytes = { 0 } };

	memcpy(&m, message, size);
	switch (m.header.type) {
	case VMBUS_MSG_INITIATE_CONTACT:
		forget_all();
		contact = m.contact;
		contact_open = true;
		break;
	case VMBUS_MSG_REQUEST_OFFERS:
		state.flags |= VMBUS_USER_STATE_OFFERS_REQUESTED;
		break;
	case VMBUS_MSG_RELID_RELEASED:
		forget(VMBUS_USER_ENTRY_RELID, m.channel.relid, UINT32_MAX);
		break;
	case VMBUS_MSG_GPADL_HEADER:
		remember(VMBUS_USER_ENTRY_GPADL, m.gpadl.relid, m.gpadl.gpadl);
		break;
	case VMBUS_MSG_GPADL_TEARDOWN:
		remember(VMBUS_USER_ENTRY_TEARDOWN, m.teardown.relid, m.teardown.gpadl);
		break;
	case VMBUS_MSG_OPEN_CHANNEL:
		remember(VMBUS_USER_ENTRY_OPEN, m.open.relid, m.open.open_id);
		break;
	case VMBUS_MSG_MODIFY_CHANNEL:
		remember(VMBUS_USER_ENTRY_MODIFY, m.modify.relid, 0);
		break;
	case VMBUS_MSG_UNLOAD:
		remember(VMBUS_USER_ENTRY_UNLOAD, 0, 0);
		break;
	}
}

static void on_version(const struct vmbus_version_response *response)
{
	contact_open = false;
	if (!response->version_supported)
		return;
	state.bus_version = contact.version_requested;
	state.message_vp = contact.target_vcpu;
	state.interrupt_page = contact.interrupt_page;
	state.monitor_page1 = contact.monitor_page1;
	state.monitor_page2 = contact.monitor_page2;
}

void belief_from_host(const void *message, uint32_t size)
{
	union message m = { .bytes = { 0 } };

	memcpy(&m, message, size);
	switch (m.header.type) {
	case VMBUS_MSG_VERSION_RESPONSE:
		on_version(&m.version);
		break;
	case VMBUS_MSG_OFFER_CHANNEL:
		remember(VMBUS_USER_ENTRY_RELID, m.offer.relid, 0);
		break;
	case VMBUS_MSG_GPADL_CREATED:
		forget(VMBUS_USER_ENTRY_GPADL, UINT32_MAX, m.created.gpadl);
		break;
	case VMBUS_MSG_GPADL_TORNDOWN:
		forget(VMBUS_USER_ENTRY_TEARDOWN, UINT32_MAX, m.torndown.gpadl);
		break;
	case VMBUS_MSG_OPEN_RESULT:
		forget(VMBUS_USER_ENTRY_OPEN, m.opened.relid, UINT32_MAX);
		break;
	case VMBUS_MSG_MODIFY_RESPONSE:
		forget(VMBUS_USER_ENTRY_MODIFY, m.modified.relid, UINT32_MAX);
		break;
	case VMBUS_MSG_UNLOAD_RESPONSE:
		forget_all();
		break;
	}
}

bool belief_contact_unanswered(void)
{
	return contact_open;
}

uint32_t belief_state(uint8_t *payload)
{
	uint32_t size = state.entry_count * (uint32_t)sizeof(entries[0]);

	state.magic = VMBUS_USER_MAGIC;
	state.version = VMBUS_USER_VERSION;
	if (!state.bus_version) /* never connected: then nothing else counts */
		size = state.entry_count = 0;
	memcpy(payload, &state, sizeof(state));
	memcpy(payload + sizeof(state), entries, size);
	return (uint32_t)sizeof(state) + size;
}
