/* SPDX-License-Identifier: MIT */
/* CALL and CANCEL: from descriptors to views, on the ring's thread or a worker, to the answer. */
#include "core.h"

/* ---- For handlers ---------------------------------------------------------------------------- */

enum winapi_status wp_call_check(struct wp_call *call)
{
	if (call->unchecked < WP_CHUNK)
		return WINAPI_STATUS_OK;
	call->unchecked = 0;
	if (wp_atomic_load32(&call->cancelled))
		return WINAPI_STATUS_CANCELED;
	if (call->deadline_ns && wp_clock_ns() >= call->deadline_ns)
		return WINAPI_STATUS_TIMED_OUT;
	return WINAPI_STATUS_OK;
}

enum winapi_status wp_walk(struct wp_call *call, const struct wp_view *view, wp_piece_fn piece, void *context)
{
	struct wp_cursor cursor = wp_cursor_at_start(view);
	enum winapi_status status;
	uint8_t *data;
	size_t size;

	while ((status = wp_call_check(call)) == WINAPI_STATUS_OK) {
		size = wp_cursor_look(&cursor, &data, wp_call_allowance(call));
		if (!size || !piece(context, data, size))
			break;
		wp_cursor_advance(&cursor, size);
		call->unchecked += (uint32_t)size;
	}
	return status;
}

/* ---- Start ----------------------------------------------------------------------------------- */

static enum winapi_status check_call(struct wp_slot *slot)
{
	const struct wp_method *method;

	slot->api = wp_api_find(slot->header.api);
	if (!slot->api)
		return WINAPI_STATUS_UNKNOWN_API;
	method = wp_method_find(slot->api, slot->header.method);
	if (!method)
		return WINAPI_STATUS_UNKNOWN_METHOD;
	slot->method = method;
	if (slot->call.in_size < method->min_in || slot->call.in_size > method->max_in ||
	    slot->header.buffer_count < method->min_buffers ||
	    slot->header.buffer_count > method->max_buffers)
		return WINAPI_STATUS_INVALID_PARAMETER;
	return WINAPI_STATUS_OK;
}

static enum winapi_status resolve(struct wp_slot *slot)
{
	const uint8_t *at = slot->body;
	struct winapi_buffer_desc desc;

	for (uint32_t i = 0; i < slot->header.buffer_count; i++, at += sizeof(desc)) {
		enum winapi_status status;

		memcpy(&desc, at, sizeof(desc));
		status = wp_buffer_view(slot, i, &desc);
		if (status)
			return status;
		slot->call.buffer_count++;
	}
	return WINAPI_STATUS_OK;
}

static void hold(struct wp_slot *slot)
{
	for (uint32_t i = 0; i < slot->call.buffer_count; i++)
		if (slot->buffer[i])
			slot->buffer[i]->users++;
	slot->session->running++;
}

/* The call uses its buffers and its session no more. */
static void let_go(struct wp_slot *slot)
{
	for (uint32_t i = 0; i < slot->call.buffer_count; i++)
		if (slot->buffer[i])
			slot->buffer[i]->users--;
	slot->session->running--;
}

static void run_later(struct wp_channel *channel, struct wp_slot *slot);

HOT_PATH enum winapi_status wp_call_start(struct wp_channel *channel, struct wp_slot *slot)
{
	enum winapi_status status = check_call(slot);
	uint64_t work = 0;

	if (!status && slot->header.buffer_count) {
		status = resolve(slot);
		if (!status)
			work = slot->method->work ? slot->method->work(&slot->call) :
						    wp_call_bytes(&slot->call);
	}
	if (status)
		return status;
	if (work <= wp_api_inline_work(channel->provider, slot->api))
		return slot->method->run(&slot->call);
	run_later(channel, slot);
	return WINAPI_STATUS_OK;
}

/* ---- On a worker ----------------------------------------------------------------------------- */

static struct wp_slot *slot_of(struct wp_work *work)
{
	return (struct wp_slot *)((uint8_t *)work - offsetof(struct wp_slot, work));
}

/* False: the call was answered while it was queued. */
static bool begin(struct wp_channel *channel, struct wp_slot *slot)
{
	bool queued;

	wp_lock(&channel->lock);
	slot->work_pending = false;
	queued = slot->state == WP_SLOT_QUEUED;
	if (queued)
		slot->state = WP_SLOT_RUNNING;
	else if (slot->state == WP_SLOT_ANSWERED)
		wp_slot_free(channel, slot);
	wp_channel_unlock(channel);
	return queued;
}

static void end(struct wp_channel *channel, struct wp_slot *slot, enum winapi_status status)
{
	struct wp_session *session = slot->session;
	bool last;

	wp_reply_prepare(slot, status);
	wp_lock(&channel->lock);
	let_go(slot);
	last = session->closing && !session->running;
	wp_reply_parked(channel, slot);
	wp_channel_unlock(channel);
	if (last)
		wp_session_finish(channel, session);
}

/*
 * Work goes to the platform a few items of each channel at a time, and the platform takes what it has in order: so
 * channels take turns, however many calls one of them has. Under the lock. True: it is this one's turn already.
 */
static bool queue_up(struct wp_channel *channel, struct wp_slot *slot)
{
	if (channel->work_out < WP_WORK_SHARE) {
		channel->work_out++;
		return true;
	}
	slot->next_work = WP_NO_SLOT;
	if (channel->first_work == WP_NO_SLOT)
		channel->first_work = slot->index;
	else
		channel->slot[channel->last_work].next_work = slot->index;
	channel->last_work = slot->index;
	return false;
}

/* An item came back from the platform: the next one's turn. */
static void pass_turn(struct wp_channel *channel)
{
	struct wp_slot *next = NULL;

	wp_lock(&channel->lock);
	if (channel->first_work == WP_NO_SLOT) {
		channel->work_out--;
	} else {
		next = &channel->slot[channel->first_work];
		channel->first_work = next->next_work;
	}
	wp_unlock(&channel->lock);
	if (next)
		wp_work_queue(&next->work);
}

static void run(struct wp_work *work)
{
	struct wp_slot *slot = slot_of(work);
	struct wp_channel *channel = slot->channel;
	struct wp_call *call = &slot->call;

	if (begin(channel, slot)) {
		enum winapi_status status = WINAPI_STATUS_TIMED_OUT;

		if (!call->deadline_ns || wp_clock_ns() < call->deadline_ns)
			status = slot->method->run(call);
		end(channel, slot, status);
	}
	pass_turn(channel);
	wp_channel_put(channel);
}

static void run_later(struct wp_channel *channel, struct wp_slot *slot)
{
	bool now;

	slot->work.run = run;
	wp_atomic_add64(&channel->references, 1);
	wp_lock(&channel->lock);
	wp_slot_park(channel, slot);
	slot->state = WP_SLOT_QUEUED;
	slot->work_pending = true;
	hold(slot);
	now = queue_up(channel, slot);
	wp_unlock(&channel->lock);
	if (now)
		wp_work_queue(&slot->work);
}

/* ---- Stop ------------------------------------------------------------------------------------ */

/* A call that no worker has begun is answered at once; one that runs is told. */
static void stop(struct wp_channel *channel, struct wp_slot *slot)
{
	if (slot->state == WP_SLOT_QUEUED) {
		let_go(slot);
		wp_reply_prepare(slot, WINAPI_STATUS_CANCELED);
		wp_reply_parked(channel, slot);
	} else if (slot->state == WP_SLOT_RUNNING) {
		wp_atomic_store32(&slot->call.cancelled, 1);
	}
}

void wp_call_stop_all(struct wp_channel *channel, const struct wp_session *session)
{
	for (uint32_t i = 0; i <= channel->bucket_mask; i++) {
		uint16_t index = channel->bucket[i];

		while (index != WP_NO_SLOT) {
			struct wp_slot *slot = &channel->slot[index];

			index = slot->next_by_id; /* first: an answer takes the slot out */
			if (!session || slot->session == session)
				stop(channel, slot);
		}
	}
}

enum winapi_status wp_call_cancel(struct wp_channel *channel, struct wp_slot *slot)
{
	struct winapi_cancel_request request;
	struct wp_slot *found;

	if (slot->call.in_size != sizeof(request))
		return WINAPI_STATUS_MALFORMED;
	memcpy(&request, slot->call.in, sizeof(request));
	wp_lock(&channel->lock);
	found = wp_slot_find(channel, request.request_id);
	if (found && found->session != slot->session)
		found = NULL;
	if (found)
		stop(channel, found);
	wp_unlock(&channel->lock);
	return found ? WINAPI_STATUS_OK : WINAPI_STATUS_NOT_FOUND;
}
