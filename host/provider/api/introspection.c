/* SPDX-License-Identifier: MIT */
/* API 0, introspection: which APIs there are, and what has been counted. */
#include "../core.h"

static void describe(const struct wp_provider *provider, const struct wp_api *api,
		     struct winapi_api_desc *desc)
{
	memset(desc, 0, sizeof(*desc));
	desc->id = api->id;
	desc->version = api->version;
	desc->methods = api->method_count;
	desc->flags = api->flags;
	desc->inline_work = wp_api_inline_work(provider, api);
	for (uint32_t i = 0; i < sizeof(desc->name) - 1 && api->name[i]; i++)
		desc->name[i] = api->name[i];
}

static enum winapi_status list(struct wp_call *call)
{
	struct wp_provider *provider = call->channel->provider;
	uint32_t most = call->out_capacity / (uint32_t)sizeof(struct winapi_api_desc);
	struct winapi_api_desc *desc = call->out;
	struct winapi_list_request request;
	uint32_t count;

	memcpy(&request, call->in, sizeof(request));
	if (request.reserved)
		return WINAPI_STATUS_RESERVED_NOT_ZERO;
	if (request.first >= wp_api_count)
		return WINAPI_STATUS_OK;
	count = wp_api_count - request.first;
	if (count > most)
		count = most;
	for (uint32_t i = 0; i < count; i++)
		describe(provider, wp_api_table[request.first + i], &desc[i]);
	wp_provider_add_calls(provider, request.first, count, desc);
	call->out_size = count * (uint32_t)sizeof(*desc);
	return WINAPI_STATUS_OK;
}

static enum winapi_status stats(struct wp_call *call)
{
	struct wp_channel *channel = call->channel;
	struct winapi_provider_stats stats;

	memset(&stats, 0, sizeof(stats));
	wp_lock(&channel->lock);
	/* This very request is counted when it ends, but it is in flight now. */
	stats.channel_requests = channel->counters.requests + 1;
	stats.channel_replies = channel->counters.replies;
	stats.channel_errors = channel->counters.errors;
	stats.channel_in_flight = channel->in_flight + 1u;
	stats.channel_replies_queued = channel->counters.replies_queued;
	wp_unlock(&channel->lock);
	stats.session_buffers = call->session->buffer_count;
	stats.session_bytes = call->session->buffer_bytes;
	wp_provider_open_now(channel->provider, &stats);
	memcpy(call->out, &stats, sizeof(stats));
	call->out_size = sizeof(stats);
	return WINAPI_STATUS_OK;
}

static const struct wp_method methods[] = {
	{ .id = WINAPI_INTROSPECTION_LIST,
	  .min_in = sizeof(struct winapi_list_request),
	  .max_in = sizeof(struct winapi_list_request),
	  .run = list },
	{ .id = WINAPI_INTROSPECTION_STATS, .run = stats },
};

const struct wp_api wp_introspection_api = {
	.id = WINAPI_API_INTROSPECTION,
	.version = 1,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.name = "introspection",
	.methods = methods,
};
