/* SPDX-License-Identifier: MIT */
/* Registered buffers, and the views of calls on them. */
#include "core.h"

/* ---- Free ------------------------------------------------------------------------------------ */

static void unmap(struct wp_channel *channel, const struct wp_buffer *buffer)
{
	for (uint32_t i = 0; i < buffer->chunk_count; i++)
		channel->ops->unmap_gpadl(channel->transport, buffer->gpadl[i]);
}

static void buffer_free(struct wp_channel *channel, struct wp_buffer *buffer)
{
	unmap(channel, buffer);
	wp_uncount(&channel->provider->buffers, 1);
	wp_uncount(&channel->provider->bytes, buffer->length);
	wp_free(buffer->segment);
	wp_free(buffer);
}

void wp_buffer_free_all(struct wp_channel *channel, struct wp_session *session)
{
	for (uint32_t i = 0; session->buffer_count; i++) {
		if (!session->buffer[i])
			continue;
		buffer_free(channel, session->buffer[i]);
		session->buffer_count--;
	}
}

/* ---- Register -------------------------------------------------------------------------------- */

static enum winapi_status check_request(const struct wp_slot *slot,
					const struct winapi_buffer_register_request *request)
{
	const struct wp_limits *limits = &slot->channel->provider->config.limits;

	if (request->reserved)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	if (request->chunk_count > WINAPI_MAX_CHUNKS)
		return WINAPI_STATUS_TOO_LARGE;
	if (slot->call.in_size !=
	    offsetof(struct winapi_buffer_register_request, gpadl) + 4 * request->chunk_count)
		return WINAPI_STATUS_MALFORMED;
	if (request->length > limits->max_buffer_size)
		return WINAPI_STATUS_TOO_LARGE;
	if (!request->length || !request->chunk_count || request->offset >= WINAPI_PAGE_SIZE ||
	    !request->access || request->access & ~WINAPI_ACCESS_BOTH)
		return WINAPI_STATUS_INVALID_PARAMETER;
	if (slot->session->buffer_count >= limits->max_buffers)
		return WINAPI_STATUS_LIMIT_BUFFERS;
	if (request->length > limits->max_bytes - slot->session->buffer_bytes)
		return WINAPI_STATUS_LIMIT_BYTES;
	return WINAPI_STATUS_OK;
}

/* Maps the chunks in order; buffer->chunk_count counts those to unmap. */
static enum winapi_status map(struct wp_channel *channel, struct wp_buffer *buffer,
			      const struct winapi_buffer_register_request *request)
{
	for (uint32_t i = 0; i < request->chunk_count; i++) {
		int err = channel->ops->map_gpadl(channel->transport, request->gpadl[i], &buffer->chunk[i]);

		if (err == -WP_ENOMEM)
			return WINAPI_STATUS_NO_MEMORY;
		if (err)
			return WINAPI_STATUS_GPADL_UNKNOWN;
		buffer->gpadl[buffer->chunk_count++] = request->gpadl[i];
	}
	return WINAPI_STATUS_OK;
}

/* The pages must hold the buffer and no whole page more. */
static bool pages_fit(const struct wp_buffer *buffer, const struct winapi_buffer_register_request *request)
{
	uint64_t bytes = 0, end = request->offset + request->length;

	for (uint32_t i = 0; i < buffer->chunk_count; i++) {
		if (buffer->chunk[i].size > UINT64_MAX - bytes)
			return false;
		bytes += buffer->chunk[i].size;
	}
	return bytes >= end && bytes - end < WINAPI_PAGE_SIZE;
}

/* Adds a run at the buffer's end; one that goes on where the last one stops becomes part of it. */
static void append(struct wp_buffer *buffer, uint8_t *data, size_t size, uint64_t start)
{
	struct wp_segment *last = buffer->segment + buffer->segment_count - 1;

	if (buffer->segment_count && last->data + last->size == data) {
		last->size += size;
		return;
	}
	buffer->segment[buffer->segment_count] = (struct wp_segment){ data, size };
	buffer->start[buffer->segment_count++] = start;
}

/* The bytes of the buffer out of the pages, `skip` bytes left out at the start. */
static void gather(struct wp_buffer *buffer, uint64_t skip)
{
	uint64_t start = 0;

	for (uint32_t i = 0; i < buffer->chunk_count; i++) {
		const struct wp_segments *chunk = &buffer->chunk[i];

		for (uint32_t j = 0; j < chunk->count && start < buffer->length; j++) {
			const struct wp_segment *piece = &chunk->segment[j];
			size_t size = piece->size;

			if (skip >= size) {
				skip -= size;
				continue;
			}
			size -= (size_t)skip;
			if (size > buffer->length - start)
				size = (size_t)(buffer->length - start);
			append(buffer, piece->data + skip, size, start);
			start += size;
			skip = 0;
		}
	}
}

/* The transport's pieces of all chunks as one list, in memory of the buffer's. */
static enum winapi_status collect(struct wp_buffer *buffer,
				  const struct winapi_buffer_register_request *request)
{
	uint64_t pieces = 0;

	if (!pages_fit(buffer, request))
		return WINAPI_STATUS_INVALID_PARAMETER;
	for (uint32_t i = 0; i < buffer->chunk_count; i++)
		pieces += buffer->chunk[i].count;
	buffer->segment = wp_alloc((size_t)pieces * (sizeof(*buffer->segment) + sizeof(*buffer->start)));
	if (!buffer->segment)
		return WINAPI_STATUS_NO_MEMORY;
	buffer->start = (uint64_t *)(buffer->segment + pieces);
	gather(buffer, request->offset);
	return WINAPI_STATUS_OK;
}

static void enter(struct wp_channel *channel, struct wp_session *session, struct wp_buffer *buffer)
{
	uint32_t index = 0;

	while (session->buffer[index])
		index++;
	buffer->handle = wp_new_id(channel->provider, index);
	session->buffer[index] = buffer;
	session->buffer_count++;
	session->buffer_bytes += buffer->length;
	wp_count(&channel->provider->buffers, 1);
	wp_count(&channel->provider->bytes, buffer->length);
}

static enum winapi_status register_buffer(struct wp_slot *slot, struct wp_buffer *buffer,
					  const struct winapi_buffer_register_request *request)
{
	struct wp_channel *channel = slot->channel;
	enum winapi_status status = map(channel, buffer, request);

	buffer->length = request->length;
	buffer->access = request->access;
	if (!status)
		status = collect(buffer, request);
	if (status)
		unmap(channel, buffer);
	else
		enter(channel, slot->session, buffer);
	return status;
}

enum winapi_status wp_buffer_register(struct wp_channel *channel, struct wp_slot *slot)
{
	struct winapi_buffer_register_request request;
	struct winapi_buffer_register_reply reply;
	enum winapi_status status;
	struct wp_buffer *buffer;

	(void)channel;
	if (slot->call.in_size < offsetof(struct winapi_buffer_register_request, gpadl) ||
	    slot->call.in_size > sizeof(request))
		return WINAPI_STATUS_MALFORMED;
	memcpy(&request, slot->call.in, slot->call.in_size);
	status = check_request(slot, &request);
	if (status)
		return status;
	buffer = wp_alloc(sizeof(*buffer));
	if (!buffer)
		return WINAPI_STATUS_NO_MEMORY;
	status = register_buffer(slot, buffer, &request);
	if (status) {
		wp_free(buffer);
		return status;
	}
	reply.handle = buffer->handle;
	memcpy(slot->call.out, &reply, sizeof(reply));
	slot->call.out_size = sizeof(reply);
	return WINAPI_STATUS_OK;
}

/* ---- Use ------------------------------------------------------------------------------------- */

static struct wp_buffer *buffer_find(const struct wp_slot *slot, uint64_t handle)
{
	uint32_t index = wp_id_index(handle);
	struct wp_buffer *buffer;

	if (index >= slot->channel->provider->config.limits.max_buffers)
		return NULL;
	buffer = slot->session->buffer[index];
	return buffer && buffer->handle == handle ? buffer : NULL;
}

enum winapi_status wp_buffer_unregister(struct wp_channel *channel, struct wp_slot *slot)
{
	struct winapi_buffer_unregister_request request;
	struct wp_session *session = slot->session;
	struct wp_buffer *buffer;
	bool busy;

	if (slot->call.in_size != sizeof(request))
		return WINAPI_STATUS_MALFORMED;
	memcpy(&request, slot->call.in, sizeof(request));
	buffer = buffer_find(slot, request.handle);
	if (!buffer)
		return WINAPI_STATUS_INVALID_HANDLE;
	wp_lock(&channel->lock);
	busy = buffer->users != 0;
	wp_unlock(&channel->lock);
	if (busy)
		return WINAPI_STATUS_BUFFER_BUSY;
	session->buffer[wp_id_index(buffer->handle)] = NULL;
	session->buffer_count--;
	session->buffer_bytes -= buffer->length;
	buffer_free(channel, buffer);
	return WINAPI_STATUS_OK;
}

/* The last run that starts at or before `offset`. */
static uint32_t segment_at(const struct wp_buffer *buffer, uint64_t offset)
{
	uint32_t low = 0, high = buffer->segment_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (buffer->start[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static enum winapi_status view_registered(struct wp_buffer *buffer, struct wp_view *view,
					  const struct winapi_buffer_desc *desc)
{
	uint32_t at;

	if (desc->access & ~buffer->access)
		return WINAPI_STATUS_ACCESS_DENIED;
	if (desc->offset > buffer->length || desc->length > buffer->length - desc->offset)
		return WINAPI_STATUS_OUT_OF_BOUNDS;
	at = segment_at(buffer, desc->offset);
	view->segment = &buffer->segment[at];
	view->skip = (size_t)(desc->offset - buffer->start[at]);
	return WINAPI_STATUS_OK;
}

/* The pages in the packet: the transport has just walked them one by one, and there is no index. */
static enum winapi_status view_external(const struct wp_segments *pages, struct wp_view *view,
					const struct winapi_buffer_desc *desc)
{
	const struct wp_segment *segment = pages->segment;
	uint64_t skip = desc->offset;

	if (!pages->size)
		return WINAPI_STATUS_INVALID_PARAMETER;
	if (desc->offset > pages->size || desc->length > pages->size - desc->offset)
		return WINAPI_STATUS_OUT_OF_BOUNDS;
	for (; skip >= segment->size; segment++)
		skip -= segment->size;
	view->segment = segment;
	view->skip = (size_t)skip;
	return WINAPI_STATUS_OK;
}

static enum winapi_status check_desc(const struct wp_slot *slot, const struct winapi_buffer_desc *desc)
{
	if (desc->reserved)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	if (!desc->access || desc->access & ~WINAPI_ACCESS_BOTH || !desc->length)
		return WINAPI_STATUS_INVALID_PARAMETER;
	if (desc->length > slot->channel->provider->config.limits.max_buffer_size)
		return WINAPI_STATUS_TOO_LARGE;
	if ((desc->access & slot->method->access) != slot->method->access)
		return WINAPI_STATUS_ACCESS_DENIED;
	return WINAPI_STATUS_OK;
}

enum winapi_status wp_buffer_view(struct wp_slot *slot, uint32_t at, const struct winapi_buffer_desc *desc)
{
	enum winapi_status status = check_desc(slot, desc);
	struct wp_view *view = &slot->call.view[at];
	struct wp_buffer *buffer = NULL;

	if (status)
		return status;
	view->length = desc->length;
	view->access = desc->access;
	if (desc->handle) {
		buffer = buffer_find(slot, desc->handle);
		if (!buffer)
			return WINAPI_STATUS_INVALID_HANDLE;
	}
	slot->buffer[at] = buffer;
	return buffer ? view_registered(buffer, view, desc) : view_external(&slot->external, view, desc);
}
