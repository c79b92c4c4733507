/* SPDX-License-Identifier: MIT */
/*
 * Offers and relids: putting up, telling the guest, rescind, release.
 */
#include <stdlib.h>

#include "internal.h"

struct vmbus_channel *channel_find(const struct vmbus_server *server, uint32_t relid)
{
	struct vmbus_channel *channel;

	if (!relid)
		return NULL; /* what channels have that the guest doesn't know */
	for (channel = server->channels; channel; channel = channel->next)
		if (channel->relid == relid)
			return channel;
	return NULL;
}

/* ---- Relids ---------------------------------------------------------------------------------- */

bool relid_taken(const struct vmbus_server *server, uint32_t relid)
{
	return relid <= VMBUS_MAX_CHANNELS && server->relids[relid / 64] >> relid % 64 & 1;
}

void relid_take(struct vmbus_server *server, uint32_t relid)
{
	server->relids[relid / 64] |= 1ull << relid % 64;
}

void relid_free(struct vmbus_server *server, uint32_t relid)
{
	server->relids[relid / 64] &= ~(1ull << relid % 64);
}

/* The guest knows the channel no more. */
static void channel_lose_relid(struct vmbus_channel *channel)
{
	struct vmbus_server *server = channel->server;
	uint32_t relid = channel->relid;

	if (!relid)
		return;
	relid_free(server, relid);
	channel->relid = 0;
	channel->rescind_sent = false;
	server->ops.channel_gone(server->owner, channel, relid);
}

static int channel_get_relid(struct vmbus_channel *channel)
{
	struct vmbus_server *server = channel->server;
	uint32_t relid;
	int err;

	for (relid = 1; relid <= VMBUS_MAX_CHANNELS && relid_taken(server, relid); relid++)
		;
	if (relid > VMBUS_MAX_CHANNELS)
		return -ENOSPC;
	err = server->ops.channel_added(server->owner, channel, relid, BUS_CONNECTION_BASE + relid);
	if (err)
		return err;
	relid_take(server, relid);
	channel->relid = relid;
	return 0;
}

/* ---- Offering -------------------------------------------------------------------------------- */

/*
 * Is another channel of the same device instance, rescinded, still known to the guest? A Linux
 * guest drops an offer of an instance that it has, so the new one waits.
 */
static bool instance_held(const struct vmbus_channel *channel)
{
	const struct vmbus_offer *offer = &channel->offer;
	const struct vmbus_channel *other;

	for (other = channel->server->channels; other; other = other->next)
		if (other->relid && other->rescinded &&
		    !memcmp(other->offer.interface_type, offer->interface_type,
			    sizeof(offer->interface_type)) &&
		    !memcmp(other->offer.interface_instance, offer->interface_instance,
			    sizeof(offer->interface_instance)))
			return true;
	return false;
}

static void channel_tell(struct vmbus_channel *channel)
{
	const struct vmbus_offer *offer = &channel->offer;
	struct vmbus_offer_channel message = {
		.header.type = VMBUS_MSG_OFFER_CHANNEL,
		.channel_flags = offer->channel_flags,
		.dedicated_interrupt = 1,
	};

	if (channel_get_relid(channel)) {
		bus_complain(channel->server, "no relid or no kick for a channel: not offered");
		return;
	}
	memcpy(message.interface_type, offer->interface_type, sizeof(message.interface_type));
	memcpy(message.interface_instance, offer->interface_instance, sizeof(message.interface_instance));
	memcpy(message.user_defined, offer->user_defined, sizeof(message.user_defined));
	message.relid = channel->relid;
	message.connection_id = BUS_CONNECTION_BASE + channel->relid;
	bus_send(channel->server, &message, sizeof(message));
}

void offers_send(struct vmbus_server *server)
{
	struct vmbus_msg_header delivered = { .type = VMBUS_MSG_ALL_OFFERS_DELIVERED };
	struct vmbus_channel *channel;

	/* While relids of a back-end before this one are out, so may be any of its instances. */
	if (server->state != BUS_CONNECTED || !server->offers_requested || server->foreign_relids)
		return;
	for (channel = server->channels; channel; channel = channel->next)
		if (!channel->relid && !channel->rescinded && !instance_held(channel))
			channel_tell(channel);
	if (server->delivered_owed) {
		server->delivered_owed = false;
		bus_send(server, &delivered, sizeof(delivered));
	}
}

int on_request_offers(struct vmbus_server *server, const void *message, uint32_t size)
{
	(void)message;
	(void)size;
	server->offers_requested = true;
	server->delivered_owed = true;
	offers_send(server);
	return 0;
}

struct vmbus_channel *vmbus_server_offer(struct vmbus_server *server, const struct vmbus_offer *offer)
{
	struct vmbus_channel *channel = calloc(1, sizeof(*channel));
	struct vmbus_channel **end = &server->channels;

	if (!channel)
		return NULL;
	channel->server = server;
	channel->offer = *offer;
	while (*end)
		end = &(*end)->next;
	*end = channel;
	offers_send(server);
	return channel;
}

/* ---- Taking back ----------------------------------------------------------------------------- */

void channel_drop(struct vmbus_channel *channel)
{
	struct vmbus_channel **at = &channel->server->channels;

	channel_lose_relid(channel);
	while (*at != channel)
		at = &(*at)->next;
	*at = channel->next;
	free(channel);
}

void offers_rescind_relid(struct vmbus_server *server, uint32_t relid)
{
	struct vmbus_channel_msg message = {
		.header.type = VMBUS_MSG_RESCIND_OFFER,
		.relid = relid,
	};

	bus_send(server, &message, sizeof(message));
}

void channel_withdraw(struct vmbus_channel *channel)
{
	if (!channel->relid) {
		channel_drop(channel);
		return;
	}
	/* On a bus that unloads or is contacted anew the guest forgets the offer in a moment. */
	if (channel->server->state != BUS_CONNECTED)
		return;
	channel->rescind_sent = true;
	offers_rescind_relid(channel->server, channel->relid);
}

void vmbus_channel_rescind(struct vmbus_channel *channel)
{
	if (channel->rescinded)
		return;
	channel->rescinded = true;
	if (channel->state == CHANNEL_OPEN)
		channel_start_closing(channel); /* vmbus_channel_closed withdraws the offer */
	else if (channel->state == CHANNEL_CLOSED)
		channel_withdraw(channel);
}

int on_relid_released(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_channel_msg *released = message;
	struct vmbus_channel *channel = channel_find(server, released->relid);

	(void)size;
	if (!channel && relid_taken(server, released->relid)) {
		relid_free(server, released->relid);
		server->foreign_relids--;
	} else if (!channel || !channel->rescind_sent) {
		bus_complain(server, "RELID_RELEASED for a relid that wasn't rescinded");
		return 0;
	} else {
		gpadls_free(server, channel);
		channel_drop(channel);
	}
	offers_send(server);
	return 0;
}

void offers_forgotten(struct vmbus_server *server)
{
	struct vmbus_channel *channel = server->channels, *next;

	for (; channel; channel = next) {
		next = channel->next;
		if (channel->rescinded)
			channel_drop(channel);
		else
			channel_lose_relid(channel);
	}
	memset(server->relids, 0, sizeof(server->relids));
	server->foreign_relids = 0;
	server->offers_requested = false;
	server->delivered_owed = false;
}
