/* SPDX-License-Identifier: MIT */
/*
 * Flow: replies that find no room, slots that run out, channels that close, memory that isn't
 * there.
 */
#include "provider_guest.h"

#define SIZE (1u << 20)

static struct guest guest;
static struct message m;
static uint8_t memory[SIZE] __attribute__((aligned(4096)));
static uint64_t handle;

static void share(struct guest *g)
{
	struct wp_segment all = { memory, SIZE };

	guest_gpadl(g, 1, &all, 1);
	handle = guest_register(g, 1, SIZE, WINAPI_ACCESS_BOTH);
}

static int ready(void **state)
{
	(void)state;
	guest_ready(&guest, NULL);
	share(&guest);
	return 0;
}

static int ready_with_4_in_flight(void **state)
{
	struct wp_limits limits = { .max_in_flight = 4 };

	(void)state;
	guest_ready(&guest, &limits);
	share(&guest);
	return 0;
}

static int done(void **state)
{
	(void)state;
	guest_end(&guest);
	return 0;
}

static uint64_t send_echo(const void *data, uint32_t size)
{
	message_call(&guest, &m, WINAPI_API_ECHO, 0, data, size);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	return m.header.request_id;
}

static uint64_t send_large(void)
{
	const uint64_t seed = 0;

	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_READ, &seed, 8);
	message_buffer(&m, handle, 0, SIZE, WINAPI_ACCESS_READ);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	return m.header.request_id;
}

static int status_for(uint64_t request_id)
{
	const struct guest_reply *got = guest_reply_to(&guest, request_id);

	return got ? got->header.status : -1;
}

static struct winapi_provider_stats totals(void)
{
	struct winapi_provider_stats result;

	wp_provider_totals(guest.provider, &result);
	return result;
}

/* ---- Replies without room -------------------------------------------------------------------- */

static void replies_wait_in_order(void **state)
{
	unsigned int before = guest.replies;
	uint64_t id[5];

	(void)state;
	guest.room = 1;
	for (uint32_t i = 0; i < 5; i++)
		id[i] = send_echo("abcdef", i);
	assert_int_equal(guest.replies, before + 1);
	assert_true(wp_channel_blocked(guest.channel));
	assert_int_equal(totals().channel_in_flight, 4);
	assert_int_equal(totals().channel_replies_queued, 4);
	assert_true(wp_channel_flush(guest.channel)); /* still no room */
	assert_int_equal(guest.replies, before + 1);
	guest.room = 2;
	assert_true(wp_channel_flush(guest.channel));
	guest.room = 2;
	assert_false(wp_channel_flush(guest.channel));
	assert_false(wp_channel_blocked(guest.channel));
	assert_int_equal(guest.replies, before + 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(guest.reply[before + i].header.request_id, id[i]);
		assert_int_equal(guest.reply[before + i].header.inline_size, i);
		assert_memory_equal(guest.reply[before + i].data, "abcdef", i);
	}
	assert_int_equal(totals().channel_in_flight, 0);
}

/* Room came back, but an older reply still waits: the new one must not overtake it. */
static void no_reply_overtakes(void **state)
{
	unsigned int before = guest.replies;
	uint64_t first, second;

	(void)state;
	guest.room = 0;
	first = send_echo("1", 1);
	guest.room = 10;
	second = send_echo("2", 1);
	assert_int_equal(guest.replies, before);
	assert_false(wp_channel_flush(guest.channel));
	assert_int_equal(guest.reply[before].header.request_id, first);
	assert_int_equal(guest.reply[before + 1].header.request_id, second);
}

static void workers_replies_wait_too(void **state)
{
	unsigned int before = guest.replies;
	uint64_t small, large;

	(void)state;
	large = send_large();
	guest.room = 0;
	small = send_echo("1", 1);
	steps_run_all();
	assert_int_equal(guest.replies, before);
	guest.room = 10;
	/* Its reply waits, but the call is over and uses the buffer no more. */
	message_start(&guest, &m, WINAPI_MSG_BUFFER_UNREGISTER);
	message_add(&m, &handle, sizeof(handle));
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	assert_false(wp_channel_flush(guest.channel));
	assert_int_equal(guest.reply[before].header.request_id, small);
	assert_int_equal(guest.reply[before + 1].header.request_id, large);
	assert_int_equal(guest.reply[before + 1].header.inline_size, 8);
	assert_int_equal(guest_got(&guest, &m), WINAPI_STATUS_OK);
}

static void waiting_ids_are_in_flight(void **state)
{
	uint64_t id;

	(void)state;
	guest.room = 0;
	id = send_echo("1", 1);
	message_call(&guest, &m, WINAPI_API_ECHO, 0, NULL, 0);
	m.header.request_id = id;
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	guest.room = 10;
	assert_false(wp_channel_flush(guest.channel));
	assert_int_equal(guest.reply[guest.replies - 2].header.status, WINAPI_STATUS_OK);
	assert_int_equal(guest.reply[guest.replies - 1].header.status, WINAPI_STATUS_DUPLICATE_ID);
	assert_int_equal(guest.reply[guest.replies - 1].header.request_id, id);
}

static void cancelled_while_the_ring_is_full(void **state)
{
	uint64_t id = send_large();
	struct winapi_cancel_request request = { id };

	(void)state;
	guest.room = 0;
	message_start(&guest, &m, WINAPI_MSG_CANCEL);
	message_add(&m, &request, sizeof(request));
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_run_all(); /* the work item finds the call answered, its reply still waiting */
	assert_int_equal(status_for(id), -1);
	guest.room = 10;
	assert_false(wp_channel_flush(guest.channel));
	assert_int_equal(status_for(id), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(m.header.request_id), WINAPI_STATUS_OK);
	assert_int_equal(totals().channel_in_flight, 0);
}

static void other_errors_drop_the_reply(void **state)
{
	unsigned int before = guest.replies;

	(void)state;
	guest.complete_error = -19;
	send_echo("1", 1);
	send_large();
	steps_run_all();
	assert_int_equal(guest.replies, before);
	assert_false(wp_channel_blocked(guest.channel));
	assert_int_equal(totals().channel_in_flight, 0);
	assert_int_equal(guest.completions, guest.packets);
}

static void replies_carry_nothing_stale(void **state)
{
	uint8_t secret[WINAPI_MAX_INLINE];

	(void)state;
	memset(secret, 0x5e, sizeof(secret));
	send_echo(secret, sizeof(secret));
	memset(&guest.reply[guest.replies], 0, sizeof(guest.reply[0]));
	send_echo("x", 1);
	for (size_t i = 1; i < sizeof(secret); i++) /* `complete` was given 65 bytes */
		assert_int_equal(guest.reply[guest.replies - 1].data[i], 0);
	message_call(&guest, &m, 99, 0, NULL, 0);
	assert_int_equal(guest_ask(&guest, &m)->header.inline_size, 0);
}

/* ---- Slots run out --------------------------------------------------------------------------- */

/* Limit 4: 4 replies wait, 4 more say LIMIT_IN_FLIGHT, then there is no slot to answer from. */
static void guest_that_reads_nothing_is_held_off(void **state)
{
	(void)state;
	guest.room = 0;
	for (int i = 0; i < 8; i++)
		send_echo("1", 1);
	message_call(&guest, &m, WINAPI_API_ECHO, 0, "9", 1);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_BUSY);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_BUSY);
	assert_int_equal(guest.resumed, 0);
	guest.room = 1;
	assert_true(wp_channel_flush(guest.channel));
	assert_int_equal(guest.resumed, 1);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	guest.room = 100;
	assert_false(wp_channel_flush(guest.channel));
	assert_int_equal(guest.resumed, 1); /* nobody was turned away meanwhile */
	assert_int_equal(guest.reply[guest.replies - 1].header.request_id, m.header.request_id);
	assert_int_equal(guest.reply[guest.replies - 2].header.status, WINAPI_STATUS_LIMIT_IN_FLIGHT);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK);
}

/* Calls cancelled while queued hold their slots until the platform gives the work items back. */
static void worker_resumes_who_starved(void **state)
{
	(void)state;
	for (int i = 0; i < 7; i++)
		assert_int_equal(guest_cancel(&guest, send_large()), WINAPI_STATUS_OK);
	send_large();
	message_call(&guest, &m, WINAPI_API_ECHO, 0, "9", 1);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_BUSY);
	assert_true(steps_run_one());
	assert_int_equal(guest.resumed, 1);
	assert_true(steps_run_one());
	assert_int_equal(guest.resumed, 1);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_run_all();
	assert_int_equal(totals().channel_in_flight, 0);
}

static void every_call_can_be_cancelled(void **state)
{
	uint64_t id[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		id[i] = send_large();
	for (int i = 0; i < 4; i++)
		assert_int_equal(guest_cancel(&guest, id[i]), WINAPI_STATUS_OK);
}

/* ---- Close ----------------------------------------------------------------------------------- */

static void close_with_queued_work(void **state)
{
	uint64_t id = send_large();

	(void)state;
	send_large();
	guest.complete_error = -19;
	wp_channel_close(guest.channel);
	assert_int_equal(guest.completions, guest.packets); /* packets are the transport's again */
	assert_int_equal(guest.closed, 0); /* work items still hold the channel */
	assert_int_equal(status_for(id), -1);
	assert_true(steps_run_one());
	assert_int_equal(guest.closed, 0);
	assert_true(steps_run_one());
	assert_int_equal(guest.closed, 1);
	assert_int_equal(guest.mapped, 0);
	guest.channel = NULL;
}

static int looks;

static void close_meanwhile(void *context)
{
	(void)context;
	if (++looks != 2)
		return;
	steps_on_clock(NULL, NULL);
	wp_channel_close(guest.channel);
	assert_int_equal(guest.closed, 0);
	assert_int_equal(guest.mapped, 1); /* the call still writes there */
}

static void close_with_running_work(void **state)
{
	struct winapi_perf_throughput_request request = { WINAPI_PERF_WRITE, 1000 };

	(void)state;
	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
	message_buffer(&m, handle, 0, SIZE, WINAPI_ACCESS_WRITE);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	looks = 0;
	steps_on_clock(close_meanwhile, NULL);
	steps_run_all();
	assert_int_equal(guest.closed, 1);
	assert_int_equal(guest.mapped, 0);
	assert_in_range(memory[0], 1, 4); /* passes, of 1,000 */
	guest.channel = NULL;
}

static void close_session_and_channel_meanwhile(void *context)
{
	(void)context;
	if (++looks != 2)
		return;
	steps_on_clock(NULL, NULL);
	message_start(&guest, &m, WINAPI_MSG_SESSION_CLOSE);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	wp_channel_close(guest.channel);
	assert_int_equal(guest.closed, 0);
}

static void close_while_a_session_closes(void **state)
{
	struct winapi_perf_throughput_request request = { WINAPI_PERF_WRITE, 1000 };

	(void)state;
	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
	message_buffer(&m, handle, 0, SIZE, WINAPI_ACCESS_WRITE);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	looks = 0;
	steps_on_clock(close_session_and_channel_meanwhile, NULL);
	steps_run_all();
	assert_int_equal(guest.closed, 1);
	assert_int_equal(guest.mapped, 0);
	guest.channel = NULL;
}

static void close_with_replies_that_wait(void **state)
{
	unsigned int before = guest.replies;

	(void)state;
	guest.room = 0;
	send_echo("1", 1);
	send_echo("2", 1);
	send_large();
	wp_channel_close(guest.channel); /* `complete` says "no room" once more: only the packets come back */
	assert_int_equal(guest.completions, guest.packets);
	assert_int_equal(guest.replies, before);
	steps_run_all();
	assert_int_equal(guest.closed, 1);
	guest.channel = NULL;
}

static void close_with_nothing(void **state)
{
	(void)state;
	guest_start(&guest, NULL);
	wp_channel_close(guest.channel);
	assert_int_equal(guest.closed, 1);
	guest.channel = NULL;
	guest_end(&guest);
}

static void totals_outlive_channels(void **state)
{
	struct winapi_provider_stats before = totals(), after;
	static struct guest other;

	(void)state;
	guest_start_beside(&other, guest.provider);
	assert_int_equal(totals().provider_channels, 2);
	guest_hello(&other);
	other.session = guest_open_session(&other);
	assert_int_equal(guest_echo(&other), 0);
	assert_int_equal(totals().provider_sessions, 2);
	guest_end_beside(&other);
	after = totals();
	assert_int_equal(after.channel_requests, before.channel_requests + 3);
	assert_int_equal(after.channel_replies, before.channel_replies + 3);
	assert_int_equal(after.provider_channels, 1);
	assert_int_equal(after.provider_sessions, 1);
	assert_int_equal(after.provider_buffers, 1);
	assert_int_equal(after.provider_bytes, SIZE);
}

static void guests_close_in_any_order(void **state)
{
	static struct guest others[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		guest_start_beside(&others[i], guest.provider);
		guest_hello(&others[i]);
	}
	guest_end_beside(&others[1]);
	assert_int_equal(guest_echo(&guest), 0);
	guest_end_beside(&others[2]);
	guest_end_beside(&others[0]);
	assert_int_equal(totals().provider_channels, 1);
	assert_int_equal(guest_echo(&guest), 0);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static void steady_calls_allocate_nothing(void **state)
{
	unsigned long before = steps_allocations();

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(guest_echo(&guest), 0);
	for (int i = 0; i < 10; i++)
		send_large();
	steps_run_all();
	assert_int_equal(steps_allocations(), before);
}

static void every_failed_allocation_of_open_is_survived(void **state)
{
	unsigned long before = steps_blocks();
	static struct guest other;
	unsigned int nth = 0;
	bool failed;

	(void)state;
	do {
		steps_fail_allocation(++nth);
		guest_start_beside(&other, guest.provider);
		failed = steps_allocation_failed();
		if (failed)
			assert_null(other.channel);
		else
			assert_non_null(other.channel);
		guest_end_beside(&other);
		assert_int_equal(steps_blocks(), before);
	} while (failed);
	assert_int_equal(nth, 7); /* six allocations, and the try that met none */
	assert_int_equal(totals().provider_channels, 1);
	steps_fail_allocation(0);
}

static void provider_without_memory(void **state)
{
	(void)state;
	steps_reset();
	steps_fail_allocation(1);
	assert_null(wp_provider_create(&guest_config));
	assert_int_equal(steps_blocks(), 0);
}

static void session_without_memory(void **state)
{
	struct winapi_session_open_request request = { 1, 2, 3, 0 };

	(void)state;
	steps_fail_allocation(1);
	message_start(&guest, &m, WINAPI_MSG_SESSION_OPEN);
	m.header.session_id = 0;
	message_add(&m, &request, sizeof(request));
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_NO_MEMORY);
	guest_open_session(&guest);
}

static void limits_have_bounds(void **state)
{
	struct wp_limits limits = { .max_in_flight = ~0u,
				    .max_sessions = ~0u,
				    .max_buffers = ~0u,
				    .max_bytes = ~0ull,
				    .max_buffer_size = ~0ull };
	struct winapi_hello_reply hello;
	struct wp_config config = { .limits = limits };
	struct wp_provider *provider;

	(void)state;
	steps_reset();
	provider = wp_provider_create(&config);
	assert_int_equal(wp_provider_limits(provider)->max_in_flight, 16384);
	guest_start_beside(&guest, provider);
	message_hello(&guest, &m);
	memcpy(&hello, guest_ask(&guest, &m)->data, sizeof(hello));
	assert_int_equal(hello.max_in_flight, 16384);
	assert_int_equal(hello.max_sessions, 65536);
	assert_int_equal(hello.max_buffers, 65536);
	assert_int_equal(hello.max_buffer_size, WINAPI_MAX_BUFFER_SIZE);
	guest.session = guest_open_session(&guest);
	assert_int_equal(guest_echo(&guest), 0);
	guest_end(&guest);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, ready, done)
#define WITH_4(test) cmocka_unit_test_setup_teardown(test, ready_with_4_in_flight, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(replies_wait_in_order),
		WITH(no_reply_overtakes),
		WITH(workers_replies_wait_too),
		WITH(waiting_ids_are_in_flight),
		WITH(cancelled_while_the_ring_is_full),
		WITH(other_errors_drop_the_reply),
		WITH(replies_carry_nothing_stale),
		WITH_4(guest_that_reads_nothing_is_held_off),
		WITH_4(worker_resumes_who_starved),
		WITH_4(every_call_can_be_cancelled),
		WITH(close_with_queued_work),
		WITH(close_with_running_work),
		WITH(close_while_a_session_closes),
		WITH(close_with_replies_that_wait),
		cmocka_unit_test(close_with_nothing),
		WITH(totals_outlive_channels),
		WITH(guests_close_in_any_order),
		WITH(steady_calls_allocate_nothing),
		WITH(every_failed_allocation_of_open_is_survived),
		cmocka_unit_test(provider_without_memory),
		WITH(session_without_memory),
		cmocka_unit_test(limits_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
