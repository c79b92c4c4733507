/* SPDX-License-Identifier: MIT */
/*
 * Taking over a guest from another back-end: what it believes about its bus comes from the
 * front-end's record. Nothing of the old channels can be served, so each offer is rescinded,
 * whatever the guest waits for is answered, and offers begin anew when the guest has released the
 * old relids.
 */
#include "internal.h"

static bool entry_valid(const struct vmbus_user_entry *entry)
{
	if (entry->reserved || entry->kind < VMBUS_USER_ENTRY_RELID || entry->kind > VMBUS_USER_ENTRY_UNLOAD)
		return false;
	return entry->kind != VMBUS_USER_ENTRY_RELID ||
	       (entry->relid >= 1 && entry->relid <= VMBUS_MAX_CHANNELS);
}

const char *vmbus_server_check_state(const struct vmbus_server *server, const struct vmbus_user_state *state,
				     const struct vmbus_user_entry *entries)
{
	if (state->magic != VMBUS_USER_MAGIC || state->version != VMBUS_USER_VERSION || state->reserved ||
	    state->flags & ~VMBUS_USER_STATE_OFFERS_REQUESTED || state->entry_count > VMBUS_USER_MAX_ENTRIES)
		return "malformed STATE";
	if (!state->bus_version)
		return state->entry_count || state->flags ? "STATE of a bus without a version" : NULL;
	if (!bus_version_known(server, state->bus_version))
		return "STATE of a bus version that isn't served here";
	for (uint32_t i = 0; i < state->entry_count; i++)
		if (!entry_valid(&entries[i]))
			return "STATE with an entry of no known kind, or a relid that can't be";
	return NULL;
}

static void entry_answer(struct vmbus_server *server, const struct vmbus_user_entry *entry)
{
	switch (entry->kind) {
	case VMBUS_USER_ENTRY_GPADL:
		gpadl_answer(server, entry->relid, entry->gpadl, BUS_STATUS_REFUSED);
		break;
	case VMBUS_USER_ENTRY_TEARDOWN:
		torndown_answer(server, entry->gpadl);
		break;
	case VMBUS_USER_ENTRY_OPEN:
		open_answer(server, entry->relid, entry->gpadl, BUS_STATUS_REFUSED);
		break;
	case VMBUS_USER_ENTRY_MODIFY:
		modify_answer(server, entry->relid, BUS_STATUS_REFUSED);
		break;
	}
}

static bool entries_have(const struct vmbus_user_state *state, const struct vmbus_user_entry *entries,
			 uint32_t kind)
{
	for (uint32_t i = 0; i < state->entry_count; i++)
		if (entries[i].kind == kind)
			return true;
	return false;
}

static void relids_take(struct vmbus_server *server, const struct vmbus_user_state *state,
			const struct vmbus_user_entry *entries)
{
	for (uint32_t i = 0; i < state->entry_count; i++) {
		uint32_t relid = entries[i].relid;

		/* Named twice by a careless front-end, it is still one offer to rescind. */
		if (entries[i].kind != VMBUS_USER_ENTRY_RELID || relid_taken(server, relid))
			continue;
		relid_take(server, relid);
		server->foreign_relids++;
		offers_rescind_relid(server, relid);
	}
}

int vmbus_server_restore(struct vmbus_server *server, const struct vmbus_user_state *state,
			 const struct vmbus_user_entry *entries)
{
	if (server->state != BUS_IDLE || vmbus_server_check_state(server, state, entries))
		return -EPROTO;
	if (!state->bus_version)
		return 0;
	server->state = BUS_CONNECTED;
	server->version = state->bus_version;
	server->message_vp = state->message_vp;
	/* Answers before rescinds, so that no wait of the guest is still open when its channel
	 * goes. */
	for (uint32_t i = 0; i < state->entry_count; i++)
		entry_answer(server, &entries[i]);
	if (entries_have(state, entries, VMBUS_USER_ENTRY_UNLOAD)) {
		bus_unloaded(server);
		return 0;
	}
	relids_take(server, state, entries);
	server->offers_requested = state->flags & VMBUS_USER_STATE_OFFERS_REQUESTED;
	/* Whether the guest was told that it has all offers isn't recorded, and twice does no harm.
	 */
	server->delivered_owed = server->offers_requested;
	offers_send(server);
	return 0;
}
