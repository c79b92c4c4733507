/* SPDX-License-Identifier: MIT */
/* API 1, Echo: returns its inline data, byte for byte. */
#include "../api.h"

HOT_PATH static enum winapi_status echo(struct wp_call *call)
{
	if (call->in_size > call->out_capacity)
		return WINAPI_STATUS_REPLY_TOO_LARGE;
	wp_copy(call->out, call->in, call->in_size);
	call->out_size = call->in_size;
	return WINAPI_STATUS_OK;
}

static const struct wp_method methods[] = {
	{ .id = WINAPI_ECHO_CALL, .max_in = WINAPI_MAX_INLINE, .run = echo },
};

const struct wp_api wp_echo_api = {
	.id = WINAPI_API_ECHO,
	.version = 1,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.flags = WINAPI_API_SHORT,
	.name = "echo",
	.methods = methods,
};
