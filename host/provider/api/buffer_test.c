/* SPDX-License-Identifier: MIT */
/* API 2, buffer test: the host reads, fills or checks each buffer by itself. */
#include "../api.h"
#include "../memory_ops.h"

struct walk {
	uint64_t seed;
	uint64_t position;
	uint64_t result;
};

static bool read_piece(void *context, uint8_t *data, size_t size)
{
	struct walk *walk = context;

	walk->result = memory_crc32c((uint32_t)walk->result, data, size);
	return true;
}

static bool write_piece(void *context, uint8_t *data, size_t size)
{
	struct walk *walk = context;

	memory_fill(data, size, walk->seed, walk->position);
	walk->position += size;
	walk->result = walk->position;
	return true;
}

static bool verify_piece(void *context, uint8_t *data, size_t size)
{
	struct walk *walk = context;
	uint64_t bad = memory_verify(data, size, walk->seed, walk->position);

	if (bad != MEMORY_NO_MISMATCH) {
		walk->result = walk->position + bad;
		return false;
	}
	walk->position += size;
	return true;
}

static enum winapi_status each_buffer(struct wp_call *call, wp_piece_fn piece, uint64_t start)
{
	struct winapi_buffer_test_request request;
	struct winapi_buffer_test_reply reply;

	memcpy(&request, call->in, sizeof(request));
	for (uint32_t i = 0; i < call->buffer_count; i++) {
		struct walk walk = { .seed = request.seed, .result = start };
		enum winapi_status status = wp_walk(call, &call->view[i], piece, &walk);

		if (status)
			return status;
		reply.result[i] = walk.result;
	}
	call->out_size = call->buffer_count * (uint32_t)sizeof(reply.result[0]);
	memcpy(call->out, &reply, call->out_size);
	return WINAPI_STATUS_OK;
}

static enum winapi_status read_buffers(struct wp_call *call)
{
	struct winapi_buffer_test_request request;

	memcpy(&request, call->in, sizeof(request));
	if (request.seed)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	return each_buffer(call, read_piece, 0);
}

static enum winapi_status write_buffers(struct wp_call *call)
{
	return each_buffer(call, write_piece, 0);
}

static enum winapi_status verify_buffers(struct wp_call *call)
{
	return each_buffer(call, verify_piece, WINAPI_BUFFER_TEST_NO_MISMATCH);
}

#define METHOD(number, function, needs) \
	{ \
		.id = (number), .min_in = sizeof(struct winapi_buffer_test_request), \
		.max_in = sizeof(struct winapi_buffer_test_request), .min_buffers = 1, \
		.max_buffers = WINAPI_MAX_BUFFERS, .access = (needs), .run = (function) \
	}

static const struct wp_method methods[] = {
	METHOD(WINAPI_BUFFER_TEST_READ, read_buffers, WINAPI_ACCESS_READ),
	METHOD(WINAPI_BUFFER_TEST_WRITE, write_buffers, WINAPI_ACCESS_WRITE),
	METHOD(WINAPI_BUFFER_TEST_VERIFY, verify_buffers, WINAPI_ACCESS_READ),
};

const struct wp_api wp_buffer_test_api = {
	.id = WINAPI_API_BUFFER_TEST,
	.version = 1,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.flags = WINAPI_API_BUFFERS,
	.name = "buffer test",
	.methods = methods,
};
