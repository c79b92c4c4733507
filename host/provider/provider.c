/* SPDX-License-Identifier: MIT */
/* The provider: configuration, ids, and totals over all channels, open and gone. */
#include "core.h"

#define DEFAULT_IN_FLIGHT 256u
#define DEFAULT_SESSIONS 1024u
#define DEFAULT_BUFFERS 1024u
#define DEFAULT_BYTES (1ull << 30)
#define DEFAULT_INLINE_WORK (64ull << 10)

/* The configured value, or the default for 0; at most what the core can count. */
static uint64_t limit(uint64_t configured, uint64_t standard, uint64_t most)
{
	if (!configured)
		configured = standard;
	return configured < most ? configured : most;
}

static void fill_limits(struct wp_limits *l)
{
	l->max_in_flight = (uint32_t)limit(l->max_in_flight, DEFAULT_IN_FLIGHT, WP_MAX_IN_FLIGHT);
	l->max_sessions = (uint32_t)limit(l->max_sessions, DEFAULT_SESSIONS, WP_MAX_TABLE);
	l->max_buffers = (uint32_t)limit(l->max_buffers, DEFAULT_BUFFERS, WP_MAX_TABLE);
	l->max_bytes = limit(l->max_bytes, DEFAULT_BYTES, UINT64_MAX);
	l->max_buffer_size = limit(l->max_buffer_size, WINAPI_MAX_BUFFER_SIZE, WINAPI_MAX_BUFFER_SIZE);
	l->inline_work = limit(l->inline_work, DEFAULT_INLINE_WORK, UINT64_MAX);
}

struct wp_provider *wp_provider_create(const struct wp_config *config)
{
	struct wp_provider *provider =
		wp_alloc(sizeof(*provider) + wp_api_count * sizeof(*provider->closed_api));

	if (!provider)
		return NULL;
	provider->config = *config;
	provider->config.name[sizeof(provider->config.name) - 1] = '\0';
	fill_limits(&provider->config.limits);
	provider->closed_api = (struct wp_api_counters *)(provider + 1);
	wp_lock_init(&provider->lock);
	return provider;
}

const struct wp_limits *wp_provider_limits(const struct wp_provider *provider)
{
	return &provider->config.limits;
}

void wp_provider_destroy(struct wp_provider *provider)
{
	wp_lock_destroy(&provider->lock);
	wp_free(provider);
}

uint64_t wp_new_id(struct wp_provider *provider, uint32_t index)
{
	/* Odd, so that different numbers stay different modulo 2^48, and far apart. */
	uint64_t scattered = wp_atomic_add64(&provider->ids, 1) * 0x9e3779b97f4bull;

	return scattered << 16 | index;
}

void wp_provider_link(struct wp_channel *channel)
{
	struct wp_provider *provider = channel->provider;

	wp_count(&provider->channels, 1);
	wp_lock(&provider->lock);
	channel->next = provider->first_channel;
	if (channel->next)
		channel->next->previous = channel;
	provider->first_channel = channel;
	wp_unlock(&provider->lock);
}

static void add_counters(struct wp_counters *sum, const struct wp_counters *more)
{
	sum->requests += wp_atomic_load64(&more->requests);
	sum->replies += wp_atomic_load64(&more->replies);
	sum->errors += wp_atomic_load64(&more->errors);
	sum->replies_queued += wp_atomic_load64(&more->replies_queued);
}

static void add_api_counters(struct wp_api_counters *sum, const struct wp_api_counters *more)
{
	sum->calls += wp_atomic_load64(&more->calls);
	sum->errors += wp_atomic_load64(&more->errors);
	sum->bytes += wp_atomic_load64(&more->bytes);
	sum->host_ns += wp_atomic_load64(&more->host_ns);
}

/* Nobody else knows the channel any more, but for the list. */
void wp_provider_unlink(struct wp_channel *channel)
{
	struct wp_provider *provider = channel->provider;

	wp_uncount(&provider->channels, 1);
	wp_lock(&provider->lock);
	if (channel->previous)
		channel->previous->next = channel->next;
	else
		provider->first_channel = channel->next;
	if (channel->next)
		channel->next->previous = channel->previous;
	add_counters(&provider->closed, &channel->counters);
	for (uint32_t i = 0; i < wp_api_count; i++)
		add_api_counters(&provider->closed_api[i], &channel->api[i]);
	wp_unlock(&provider->lock);
}

static void add_calls(struct winapi_api_desc *desc, uint32_t count, const struct wp_api_counters *from)
{
	for (uint32_t i = 0; i < count; i++) {
		desc[i].calls += wp_atomic_load64(&from[i].calls);
		desc[i].errors += wp_atomic_load64(&from[i].errors);
		desc[i].bytes += wp_atomic_load64(&from[i].bytes);
		desc[i].host_ns += wp_atomic_load64(&from[i].host_ns);
	}
}

void wp_provider_add_calls(struct wp_provider *provider, uint32_t first, uint32_t count,
			   struct winapi_api_desc *desc)
{
	wp_lock(&provider->lock);
	add_calls(desc, count, provider->closed_api + first);
	for (struct wp_channel *c = provider->first_channel; c; c = c->next) {
		wp_lock(&c->lock);
		add_calls(desc, count, c->api + first);
		wp_unlock(&c->lock);
	}
	wp_unlock(&provider->lock);
}

void wp_provider_open_now(struct wp_provider *provider, struct winapi_provider_stats *stats)
{
	stats->provider_channels = wp_atomic_add64(&provider->channels, 0);
	stats->provider_sessions = wp_atomic_add64(&provider->sessions, 0);
	stats->provider_buffers = wp_atomic_add64(&provider->buffers, 0);
	stats->provider_bytes = wp_atomic_add64(&provider->bytes, 0);
}

void wp_provider_totals(struct wp_provider *provider, struct winapi_provider_stats *totals)
{
	struct wp_counters sum;

	memset(totals, 0, sizeof(*totals));
	wp_lock(&provider->lock);
	sum = provider->closed;
	for (struct wp_channel *c = provider->first_channel; c; c = c->next) {
		wp_lock(&c->lock);
		add_counters(&sum, &c->counters);
		totals->channel_in_flight += c->in_flight;
		wp_unlock(&c->lock);
	}
	wp_unlock(&provider->lock);
	totals->channel_requests = sum.requests;
	totals->channel_replies = sum.replies;
	totals->channel_errors = sum.errors;
	totals->channel_replies_queued = sum.replies_queued;
	wp_provider_open_now(provider, totals);
	totals->session_buffers = totals->provider_buffers;
	totals->session_bytes = totals->provider_bytes;
}
