/* SPDX-License-Identifier: MIT */
/* Sessions: one opener on the guest each, with its buffers. */
#include "core.h"

HOT_PATH struct wp_session *wp_session_find(struct wp_channel *channel, uint64_t id)
{
	uint32_t index = wp_id_index(id);
	struct wp_session *session;

	if (index >= channel->provider->config.limits.max_sessions)
		return NULL;
	session = channel->session[index];
	return session && session->id == id ? session : NULL;
}

static struct wp_session *session_new(struct wp_channel *channel,
				      const struct winapi_session_open_request *claim)
{
	const struct wp_limits *limits = &channel->provider->config.limits;
	struct wp_session *session =
		wp_alloc(sizeof(*session) + limits->max_buffers * sizeof(session->buffer[0]));
	uint32_t index = 0;

	if (!session)
		return NULL;
	while (channel->session[index])
		index++;
	channel->session[index] = session;
	channel->session_count++;
	session->id = wp_new_id(channel->provider, index);
	session->identity = channel->identity;
	if (!session->identity.known) {
		session->identity.uid = claim->uid;
		session->identity.gid = claim->gid;
		session->identity.pid = claim->pid;
	}
	wp_count(&channel->provider->sessions, 1);
	return session;
}

enum winapi_status wp_session_open(struct wp_channel *channel, struct wp_slot *slot)
{
	struct winapi_session_open_request request;
	struct winapi_session_open_reply reply;
	struct wp_session *session;

	if (slot->call.in_size != sizeof(request))
		return WINAPI_STATUS_MALFORMED;
	memcpy(&request, slot->call.in, sizeof(request));
	if (request.reserved)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	if (channel->session_count >= channel->provider->config.limits.max_sessions)
		return WINAPI_STATUS_LIMIT_SESSIONS;
	session = session_new(channel, &request);
	if (!session)
		return WINAPI_STATUS_NO_MEMORY;
	wp_log(WP_LOG_DEBUG, "session opened by uid %u, gid %u, pid %u", (unsigned int)session->identity.uid,
	       (unsigned int)session->identity.gid, (unsigned int)session->identity.pid);
	reply.session_id = session->id;
	memcpy(slot->call.out, &reply, sizeof(reply));
	slot->call.out_size = sizeof(reply);
	slot->header.session_id = session->id;
	return WINAPI_STATUS_OK;
}

void wp_session_free(struct wp_channel *channel, struct wp_session *session)
{
	wp_buffer_free_all(channel, session);
	wp_uncount(&channel->provider->sessions, 1);
	wp_free(session);
}

enum winapi_status wp_session_close(struct wp_channel *channel, struct wp_slot *slot)
{
	struct wp_session *session = slot->session;
	bool running;

	if (slot->call.in_size)
		return WINAPI_STATUS_MALFORMED;
	/* From here on no packet finds it, so no call can begin. */
	channel->session[wp_id_index(session->id)] = NULL;
	channel->session_count--;
	wp_lock(&channel->lock);
	wp_call_stop_all(channel, session);
	running = session->running != 0;
	if (running) {
		session->closing = true;
		session->close_slot = slot;
		wp_slot_park(channel, slot);
		slot->state = WP_SLOT_CLOSING;
	}
	wp_unlock(&channel->lock);
	if (!running)
		wp_session_free(channel, session);
	return WINAPI_STATUS_OK;
}

void wp_session_finish(struct wp_channel *channel, struct wp_session *session)
{
	struct wp_slot *slot = session->close_slot;

	wp_session_free(channel, session);
	wp_reply_prepare(slot, WINAPI_STATUS_OK);
	wp_lock(&channel->lock);
	wp_reply_parked(channel, slot);
	wp_channel_unlock(channel);
}
