/* SPDX-License-Identifier: MIT */
/* API 4, text: the example of docs/extending.md. */
#include "../api.h"
#include "text.h"

static enum winapi_status upper(struct wp_call *call)
{
	const uint8_t *in = call->in;
	uint8_t *out = call->out;

	if (call->in_size > call->out_capacity)
		return WINAPI_STATUS_REPLY_TOO_LARGE;
	for (uint32_t i = 0; i < call->in_size; i++)
		out[i] = in[i] >= 'a' && in[i] <= 'z' ? (uint8_t)(in[i] - 'a' + 'A') : in[i];
	call->out_size = call->in_size;
	return WINAPI_STATUS_OK;
}

struct walk {
	uint8_t byte;
	uint64_t count;
};

/* The guest may write while we read: what is counted is what was there at that moment. */
static bool count_piece(void *context, uint8_t *data, size_t size)
{
	struct walk *walk = context;

	for (size_t i = 0; i < size; i++)
		walk->count += data[i] == walk->byte;
	return true;
}

static enum winapi_status count(struct wp_call *call)
{
	struct text_count_request request;
	struct text_count_reply reply;

	memcpy(&request, call->in, sizeof(request));
	if (request.reserved)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	if (request.byte > UINT8_MAX)
		return WINAPI_STATUS_INVALID_PARAMETER;
	for (uint32_t i = 0; i < call->buffer_count; i++) {
		struct walk walk = { .byte = (uint8_t)request.byte };
		enum winapi_status status = wp_walk(call, &call->view[i], count_piece, &walk);

		if (status)
			return status;
		reply.count[i] = walk.count;
	}
	call->out_size = call->buffer_count * (uint32_t)sizeof(reply.count[0]);
	memcpy(call->out, &reply, call->out_size);
	return WINAPI_STATUS_OK;
}

static const struct wp_method methods[] = {
	{
		.id = TEXT_UPPER,
		.max_in = WINAPI_MAX_INLINE,
		.run = upper,
	},
	{
		.id = TEXT_COUNT,
		.min_in = sizeof(struct text_count_request),
		.max_in = sizeof(struct text_count_request),
		.min_buffers = 1,
		.max_buffers = WINAPI_MAX_BUFFERS,
		.access = WINAPI_ACCESS_READ,
		.run = count,
	},
};

const struct wp_api wp_text_api = {
	.id = TEXT_API,
	.version = 1,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.flags = WINAPI_API_SHORT | WINAPI_API_BUFFERS,
	.name = "text",
	.methods = methods,
};
