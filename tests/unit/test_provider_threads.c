/* SPDX-License-Identifier: MIT */
/*
 * The provider core on winapi-hostd's platform: channels on threads of their own, calls on its workers, and all
 * that may meet them: full rings, cancels, buffers and sessions that go, a close in the middle. What
 * ThreadSanitizer sees here is the core's own; the transport takes a lock only where the core promises none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/linux/platform_linux.h"
#include "../../host/provider/provider.h"

#define CHANNELS 3u
#define ROUNDS 100u /* times each channel is opened and closed */
#define STEPS 400u
#define PACKETS (2 * STEPS)
#define SIZE (256u << 10) /* more than runs on the ring's thread */
#define ROOM 8u

struct channel {
	struct wp_provider *provider;
	struct wp_channel *core;
	pthread_t thread;
	uint64_t random;
	uint64_t session, handle;
	unsigned int sent;
	/* What completions write: never two at a time, says the core, and TSan checks it. */
	uint8_t completed[PACKETS];
	unsigned int completions;
	unsigned int room;
	bool busy;
	struct winapi_msg_header last;
	uint8_t last_data[64];
	_Atomic unsigned int more_room;
	_Atomic bool mapped, closing, closed;
	uint32_t gpadl;
};

static uint8_t memory[SIZE] __attribute__((aligned(4096)));

/* Any thread may find it, so no longjmp(). */
static void must(bool held, const char *what)
{
	if (held)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

/* ---- The transport ------------------------------------------------------------------------------------- */

static int complete(void *transport, void *packet, uint64_t request_id, const void *reply, uint32_t size)
{
	struct channel *c = transport;
	uintptr_t number = (uintptr_t)packet - 1;

	(void)request_id;
	must(!c->busy, "two completions at a time");
	c->busy = true;
	must(number < PACKETS && !c->completed[number], "a packet is completed twice");
	c->room += c->more_room;
	c->more_room = 0;
	if (reply && !c->room) {
		c->busy = false;
		return -11;
	}
	c->completed[number] = 1;
	c->completions++;
	if (!reply) {
		must(c->closing, "a reply is dropped");
		c->busy = false;
		return 0;
	}
	c->room--;
	memcpy(&c->last, reply, sizeof(c->last));
	if (size <= sizeof(c->last) + sizeof(c->last_data))
		memcpy(c->last_data, (const uint8_t *)reply + sizeof(c->last), size - sizeof(c->last));
	c->busy = false;
	return 0;
}

static int map_gpadl(void *transport, uint32_t gpadl, struct wp_segments *segments)
{
	static const struct wp_segment all = { memory, SIZE };
	struct channel *c = transport;

	(void)gpadl;
	must(!c->mapped, "mapped twice");
	c->mapped = true;
	*segments = (struct wp_segments){ &all, 1, SIZE };
	return 0;
}

static void unmap_gpadl(void *transport, uint32_t gpadl)
{
	struct channel *c = transport;

	(void)gpadl;
	must(c->mapped, "unmapped what isn't mapped");
	c->mapped = false;
}

/* The channel's thread comes back anyway. */
static void resume(void *transport)
{
	(void)transport;
}

static void closed(void *transport)
{
	((struct channel *)transport)->closed = true;
}

static const struct wp_transport_ops ops = {
	.complete = complete,
	.map_gpadl = map_gpadl,
	.unmap_gpadl = unmap_gpadl,
	.resume = resume,
	.closed = closed,
};

/* ---- The guest ----------------------------------------------------------------------------------------- */

struct message {
	struct winapi_msg_header header;
	uint8_t body[sizeof(struct winapi_buffer_desc) + sizeof(struct winapi_buffer_register_request)];
};

static uint32_t chance(struct channel *c, uint32_t bound)
{
	c->random = c->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(c->random >> 33) % bound;
}

static uint64_t id_of(unsigned int number)
{
	return 0x10000u + number;
}

static bool send(struct channel *c, uint16_t type, const struct winapi_buffer_desc *desc, const void *in,
		 uint32_t size)
{
	struct message m = { .header = { .magic = WINAPI_MAGIC,
					 .version = WINAPI_VERSION_1,
					 .type = type,
					 .request_id = id_of(c->sent),
					 .session_id = c->session,
					 .inline_size = size } };
	uint32_t descs = desc ? (uint32_t)sizeof(*desc) : 0;
	enum wp_packet_result result;

	if (type == WINAPI_MSG_CALL) {
		m.header.api = desc ? WINAPI_API_BUFFER_TEST : WINAPI_API_ECHO;
		m.header.method = desc ? WINAPI_BUFFER_TEST_READ : WINAPI_ECHO_CALL;
		m.header.buffer_count = desc ? 1 : 0;
	}
	if (desc)
		memcpy(m.body, desc, descs);
	if (size)
		memcpy(m.body + descs, in, size);
	result = wp_channel_packet(c->core, (void *)(uintptr_t)(c->sent + 1), m.header.request_id, &m,
				   (uint32_t)sizeof(m.header) + descs + size, NULL);
	must(result != WP_PACKET_MALFORMED, "a good packet is refused");
	c->sent += result == WP_PACKET_TAKEN;
	return result == WP_PACKET_TAKEN;
}

static void call_echo(struct channel *c)
{
	send(c, WINAPI_MSG_CALL, NULL, &c->random, sizeof(c->random));
}

static void call_read(struct channel *c)
{
	const struct winapi_buffer_desc desc = { c->handle, 0, SIZE, WINAPI_ACCESS_READ, 0 };
	const uint64_t seed = 0;

	send(c, WINAPI_MSG_CALL, &desc, &seed, sizeof(seed));
}

static void cancel(struct channel *c)
{
	struct winapi_cancel_request request = { id_of(c->sent - 1 - chance(c, c->sent < 8 ? c->sent : 8)) };

	send(c, WINAPI_MSG_CANCEL, NULL, &request, sizeof(request));
}

/* Fails while calls use it, and calls fail without it: either is an answer. */
static void unregister(struct channel *c)
{
	struct winapi_buffer_unregister_request request = { c->handle };

	send(c, WINAPI_MSG_BUFFER_UNREGISTER, NULL, &request, sizeof(request));
}

static void more_room(struct channel *c)
{
	c->more_room += chance(c, ROOM);
	if (wp_channel_blocked(c->core))
		wp_channel_flush(c->core);
}

/* Asks before any call is on a worker, so that the answer is the last completion. */
static void ask(struct channel *c, uint16_t type, const void *in, uint32_t size)
{
	c->more_room += 1;
	must(send(c, type, NULL, in, size) && c->last.type == type && !c->last.status,
	     "the start is refused");
}

static void begin(struct channel *c)
{
	const struct winapi_hello_request hello = { 1, 1, 0, WINAPI_FEATURES_V1 };
	const struct winapi_session_open_request session = { 1000, 100, 4711, 0 };
	const struct winapi_buffer_register_request buffer = {
		.length = SIZE, .access = WINAPI_ACCESS_BOTH, .chunk_count = 1, .gpadl = { 1 }
	};
	const struct wp_identity identity = { .known = false };

	c->sent = c->completions = c->room = 0;
	c->more_room = 0;
	c->session = 0;
	c->closing = false;
	c->closed = false;
	memset(c->completed, 0, sizeof(c->completed));
	c->core = wp_channel_open(c->provider, &ops, c, &identity);
	must(c->core, "no memory");
	ask(c, WINAPI_MSG_HELLO, &hello, sizeof(hello));
	ask(c, WINAPI_MSG_SESSION_OPEN, &session, sizeof(session));
	c->session = c->last.session_id;
	ask(c, WINAPI_MSG_BUFFER_REGISTER, &buffer,
	    offsetof(struct winapi_buffer_register_request, gpadl) + sizeof(buffer.gpadl[0]));
	memcpy(&c->handle, c->last_data, sizeof(c->handle));
}

static void step(struct channel *c)
{
	uint32_t what = chance(c, 256);

	if (what < 1)
		unregister(c);
	else if (what < 50)
		cancel(c);
	else if (what < 100)
		call_echo(c);
	else if (what < 116)
		wp_channel_publish(c->core);
	else if (what < 160)
		more_room(c);
	else
		call_read(c);
}

static void *run(void *argument)
{
	struct channel *c = argument;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		begin(c);
		for (unsigned int i = 0; i < STEPS; i++)
			step(c);
		c->closing = true; /* from here on a packet may come back without a reply */
		wp_channel_close(c->core);
		while (!c->closed)
			sched_yield();
		must(c->completions == c->sent, "a packet didn't come back");
		must(!c->mapped, "a buffer is left mapped");
	}
	return NULL;
}

static void test_channels_beside_each_other(void **state)
{
	const struct wp_config config = { .limits = { .max_in_flight = 16 }, .name = "threads 1.0" };
	static struct channel channels[CHANNELS];
	struct wp_provider *provider = wp_provider_create(&config);
	struct winapi_provider_stats totals;

	(void)state;
	assert_non_null(provider);
	for (unsigned int i = 0; i < CHANNELS; i++) {
		channels[i] = (struct channel){ .provider = provider, .random = i };
		assert_int_equal(pthread_create(&channels[i].thread, NULL, run, &channels[i]), 0);
	}
	for (unsigned int i = 0; i < CHANNELS; i++)
		pthread_join(channels[i].thread, NULL);
	platform_wait_for_workers();
	wp_provider_totals(provider, &totals);
	assert_int_equal(totals.provider_channels, 0);
	assert_int_equal(totals.provider_sessions, 0);
	assert_int_equal(totals.provider_buffers, 0);
	assert_int_equal(totals.channel_in_flight, 0);
	wp_provider_destroy(provider);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_channels_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
