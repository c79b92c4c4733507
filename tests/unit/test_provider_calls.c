/* SPDX-License-Identifier: MIT */
/* Calls: the APIs' answers, workers, cancel, timeouts, limits, sessions that close meanwhile. */
#include "provider_guest.h"

#include "../../host/provider/memory_ops.h"

#define PAGE 4096u
#define MIB (1u << 20)
#define SIZE (4 * MIB)

static struct guest guest;
static struct message m;
static uint8_t memory[SIZE] __attribute__((aligned(4096)));
static uint64_t handle; /* of the lower half of memory */
static uint64_t upper; /* of the upper half */

static void share(struct guest *g)
{
	struct wp_segment low = { memory, SIZE / 2 }, high = { memory + SIZE / 2, SIZE / 2 };

	guest_gpadl(g, 1, &low, 1);
	guest_gpadl(g, 2, &high, 1);
	handle = guest_register(g, 1, SIZE / 2, WINAPI_ACCESS_BOTH);
	upper = guest_register(g, 2, SIZE / 2, WINAPI_ACCESS_BOTH);
}

static int ready(void **state)
{
	(void)state;
	guest_ready(&guest, NULL);
	share(&guest);
	memset(memory, 0, sizeof(memory));
	return 0;
}

static int done(void **state)
{
	(void)state;
	guest_end(&guest);
	return 0;
}

/* ---- Which API, which method, which sizes ---------------------------------------------------- */

static int status_of(uint32_t api, uint16_t method, uint32_t size, uint32_t buffers)
{
	static const uint8_t zeros[WINAPI_MAX_INLINE];

	message_call(&guest, &m, api, method, zeros, size);
	for (uint32_t i = 0; i < buffers; i++)
		message_buffer(&m, handle, 0, 8, WINAPI_ACCESS_BOTH);
	return guest_status(&guest, &m);
}

static void unknown_apis_and_methods(void **state)
{
	(void)state;
	assert_int_equal(status_of(4, 0, 0, 0), WINAPI_STATUS_UNKNOWN_API);
	assert_int_equal(status_of(0x80000001, 0, 0, 0), WINAPI_STATUS_UNKNOWN_API);
	assert_int_equal(status_of(0xffffffff, 0, 0, 0), WINAPI_STATUS_UNKNOWN_API);
	assert_int_equal(status_of(0, 2, 0, 0), WINAPI_STATUS_UNKNOWN_METHOD);
	assert_int_equal(status_of(1, 1, 0, 0), WINAPI_STATUS_UNKNOWN_METHOD);
	assert_int_equal(status_of(2, 0, 8, 1), WINAPI_STATUS_UNKNOWN_METHOD);
	assert_int_equal(status_of(2, 4, 8, 1), WINAPI_STATUS_UNKNOWN_METHOD);
	assert_int_equal(status_of(3, 0xffff, 8, 1), WINAPI_STATUS_UNKNOWN_METHOD);
}

static void inline_sizes_are_the_methods(void **state)
{
	(void)state;
	assert_int_equal(status_of(0, 0, 7, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(0, 0, 9, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(0, 1, 1, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(2, 1, 0, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(2, 1, 16, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(3, 2, 4, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(2, 1, 8, 1), WINAPI_STATUS_OK);
}

static void buffer_counts_are_the_methods(void **state)
{
	(void)state;
	assert_int_equal(status_of(1, 0, 8, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(0, 0, 8, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(2, 1, 8, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(3, 2, 8, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(status_of(2, 1, 8, 8), WINAPI_STATUS_OK);
}

/* ---- Echo ------------------------------------------------------------------------------------ */

static void echo_returns_every_size(void **state)
{
	uint8_t data[WINAPI_MAX_INLINE];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (uint32_t size = 0; size <= sizeof(data); size = size * 2 + 1) {
		const struct guest_reply *got;

		message_call(&guest, &m, WINAPI_API_ECHO, 0, data, size);
		got = guest_ask(&guest, &m);
		assert_int_equal(got->header.status, WINAPI_STATUS_OK);
		assert_int_equal(got->header.inline_size, size);
		assert_memory_equal(got->data, data, size);
	}
	message_call(&guest, &m, WINAPI_API_ECHO, 0, data, sizeof(data));
	assert_memory_equal(guest_ask(&guest, &m)->data, data, sizeof(data));
}

/* ---- Introspection --------------------------------------------------------------------------- */

static unsigned int list(uint32_t first, struct winapi_api_desc *desc)
{
	struct winapi_list_request request = { first, 0 };
	const struct guest_reply *got;

	message_call(&guest, &m, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_LIST, &request, 8);
	got = guest_ask(&guest, &m);
	assert_int_equal(got->header.status, WINAPI_STATUS_OK);
	assert_int_equal(got->header.inline_size % sizeof(*desc), 0);
	memcpy(desc, got->data, got->header.inline_size);
	return got->header.inline_size / (unsigned int)sizeof(*desc);
}

static void list_has_all_apis(void **state)
{
	static const char *const names[] = { "introspection", "echo", "buffer test", "perf test" };
	static const uint16_t methods[] = { 2, 1, 3, 2 };
	static const uint32_t flags[] = { 0, 1, 2, 3 };
	struct winapi_api_desc desc[34];

	(void)state;
	assert_int_equal(list(0, desc), 4);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(desc[i].id, i);
		assert_int_equal(desc[i].version, 1);
		assert_int_equal(desc[i].methods, methods[i]);
		assert_int_equal(desc[i].flags, flags[i]);
		assert_int_equal(desc[i].inline_work, 65536);
		assert_string_equal(desc[i].name, names[i]);
	}
	assert_int_equal(list(3, desc), 1);
	assert_int_equal(desc[0].id, 3);
	assert_int_equal(list(4, desc), 0);
	assert_int_equal(list(0xffffffff, desc), 0);
}

static void list_reserved_is_checked(void **state)
{
	struct winapi_list_request request = { 0, 1 };

	(void)state;
	message_call(&guest, &m, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_LIST, &request, 8);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
}

static void tick(void *context)
{
	(void)context;
	steps_clock_advance(500);
}

static void calls_are_counted_by_api(void **state)
{
	struct winapi_api_desc desc[34], after[34];
	static struct guest other;

	(void)state;
	steps_on_clock(tick, NULL);
	guest_start_beside(&other, guest.provider);
	guest_hello(&other);
	other.session = guest_open_session(&other);
	for (int i = 0; i < 5; i++)
		assert_int_equal(guest_echo(&guest), 0);
	assert_int_equal(guest_echo(&other), 0);
	assert_int_equal(status_of(1, 0, 8, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(list(0, desc), 4);
	assert_int_equal(desc[1].calls, 7);
	assert_int_equal(desc[1].errors, 1);
	assert_int_equal(desc[1].bytes, 6 * 128 + 8);
	assert_int_equal(desc[1].host_ns, 7 * 500);
	guest_end_beside(&other); /* what it did stays counted */
	assert_int_equal(list(1, after), 3);
	assert_int_equal(after[0].calls, 7);
	assert_int_equal(after[0].bytes, desc[1].bytes);
}

static uint64_t host_ns_of_an_echo(void)
{
	message_call(&guest, &m, WINAPI_API_ECHO, WINAPI_ECHO_CALL, "x", 1);
	return guest_ask(&guest, &m)->header.host_ns;
}

static void publish(void *transport)
{
	(void)transport;
}

/* Where completions are published together, a request begins when the one before it ends. */
static void a_burst_reads_the_clock_once_a_request(void **state)
{
	uint64_t before = wp_clock_ns();

	(void)state;
	guest.ops.publish = publish;
	steps_on_clock(tick, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(host_ns_of_an_echo(), 500);
	assert_int_equal(wp_clock_ns(), before + (1 + 3 + 1) * 500);
	wp_channel_publish(guest.channel);
	assert_int_equal(host_ns_of_an_echo(), 500); /* and not the time since the burst */
	assert_int_equal(wp_clock_ns(), before + (5 + 2 + 1) * 500);
}

static void without_bursts_each_request_reads_it_twice(void **state)
{
	uint64_t before = wp_clock_ns();

	(void)state;
	steps_on_clock(tick, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(host_ns_of_an_echo(), 500);
	assert_int_equal(wp_clock_ns(), before + (3 * 2 + 1) * 500);
}

static struct winapi_provider_stats stats(void)
{
	struct winapi_provider_stats result;
	const struct guest_reply *got;

	message_call(&guest, &m, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_STATS, NULL, 0);
	got = guest_ask(&guest, &m);
	assert_int_equal(got->header.inline_size, sizeof(result));
	memcpy(&result, got->data, sizeof(result));
	return result;
}

static void stats_of_the_channel(void **state)
{
	struct winapi_provider_stats s = stats();

	(void)state;
	assert_int_equal(s.channel_requests, guest.packets);
	assert_int_equal(s.channel_replies, guest.packets - 1); /* this very one isn't sent yet */
	assert_int_equal(s.channel_errors, 0);
	assert_int_equal(s.channel_in_flight, 1);
	assert_int_equal(s.session_buffers, 2);
	assert_int_equal(s.session_bytes, SIZE);
	assert_int_equal(s.bytes_copied, 0);
	assert_int_equal(s.provider_channels, 1);
	assert_int_equal(s.provider_sessions, 1);
	assert_int_equal(s.provider_buffers, 2);
	assert_int_equal(s.provider_bytes, SIZE);
	assert_int_equal(status_of(9, 0, 0, 0), WINAPI_STATUS_UNKNOWN_API);
	assert_int_equal(stats().channel_errors, 1);
}

/* ---- Buffer test ----------------------------------------------------------------------------- */

static void message_buffer_test(uint16_t method, uint64_t seed, uint64_t offset, uint64_t length)
{
	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, method, &seed, 8);
	message_buffer(&m, handle, offset, length, WINAPI_ACCESS_BOTH);
}

static uint64_t buffer_test(uint16_t method, uint64_t seed, uint64_t offset, uint64_t length)
{
	uint64_t result;

	message_buffer_test(method, seed, offset, length);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_run_all();
	assert_int_equal(guest_got(&guest, &m), WINAPI_STATUS_OK);
	assert_int_equal(guest_reply_to(&guest, m.header.request_id)->header.inline_size, 8);
	memcpy(&result, guest_reply_to(&guest, m.header.request_id)->data, 8);
	return result;
}

static void write_verify_and_read(void **state)
{
	(void)state;
	assert_int_equal(buffer_test(WINAPI_BUFFER_TEST_WRITE, 5, 3, SIZE / 2 - 5), SIZE / 2 - 5);
	assert_true(memory_verify(memory + 3, SIZE / 2 - 5, 5, 0) == MEMORY_NO_MISMATCH);
	assert_int_equal(memory[2], 0);
	assert_int_equal(memory[SIZE / 2 - 2], 0);
	assert_true(buffer_test(WINAPI_BUFFER_TEST_VERIFY, 5, 3, SIZE / 2 - 5) ==
		    WINAPI_BUFFER_TEST_NO_MISMATCH);
	assert_int_equal(buffer_test(WINAPI_BUFFER_TEST_READ, 0, 3, 1000000),
			 memory_crc32c(0, memory + 3, 1000000));
	memory[3 + 1500000] ^= 1;
	assert_int_equal(buffer_test(WINAPI_BUFFER_TEST_VERIFY, 5, 3, SIZE / 2 - 5), 1500000);
	assert_int_equal(buffer_test(WINAPI_BUFFER_TEST_VERIFY, 6, 3, 100), 0);
}

static void read_takes_no_seed(void **state)
{
	(void)state;
	message_buffer_test(WINAPI_BUFFER_TEST_READ, 1, 0, 8);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
}

static void eight_buffers_have_eight_results(void **state)
{
	const uint64_t seed = 4;
	uint64_t result[8];

	(void)state;
	memory_fill(memory, 1000, 4, 0);
	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_VERIFY, &seed, 8);
	for (uint32_t i = 0; i < 8; i++)
		message_buffer(&m, i % 2 ? upper : handle, 0, 100 + i, WINAPI_ACCESS_READ);
	memcpy(result, guest_ask(&guest, &m)->data, sizeof(result));
	for (uint32_t i = 0; i < 8; i++)
		assert_true(result[i] == (i % 2 ? 0 : WINAPI_BUFFER_TEST_NO_MISMATCH));
}

/* ---- Perf test ------------------------------------------------------------------------------- */

static void latency_stamps(void **state)
{
	struct winapi_perf_latency_reply reply;
	uint64_t before = wp_clock_ns();

	(void)state;
	steps_on_clock(tick, NULL);
	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_LATENCY, "x", 1);
	message_buffer(&m, handle, 0, SIZE / 2, WINAPI_ACCESS_READ); /* not touched, so no worker */
	memcpy(&reply, guest_ask(&guest, &m)->data, sizeof(reply));
	assert_int_equal(reply.receive_ns, before + 500);
	assert_int_equal(reply.send_ns, before + 1000);
}

static const struct guest_reply *throughput(uint32_t op, uint32_t iterations)
{
	struct winapi_perf_throughput_request request = { op, iterations };

	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
	message_buffer(&m, handle, 0, 5000, WINAPI_ACCESS_BOTH);
	message_buffer(&m, upper, 1, 5000, WINAPI_ACCESS_BOTH);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_run_all();
	return guest_reply_to(&guest, m.header.request_id);
}

static void throughput_moves_bytes(void **state)
{
	struct winapi_perf_throughput_reply reply;

	(void)state;
	memory_fill(memory, 5000, 1, 0);
	memcpy(&reply, throughput(WINAPI_PERF_COPY, 3)->data, sizeof(reply));
	assert_int_equal(reply.bytes, 15000);
	assert_memory_equal(memory + SIZE / 2 + 1, memory, 5000);
	assert_int_equal(memory[SIZE / 2], 0);
	assert_int_equal(memory[SIZE / 2 + 5001], 0);
	memcpy(&reply, throughput(WINAPI_PERF_READ, 1)->data, sizeof(reply));
	assert_int_equal(reply.bytes, 10000);
	memcpy(&reply, throughput(WINAPI_PERF_WRITE, 7)->data, sizeof(reply));
	assert_int_equal(reply.bytes, 70000);
	for (uint32_t i = 0; i < 5000; i++) {
		assert_int_equal(memory[i], 7); /* the pass's number */
		assert_int_equal(memory[SIZE / 2 + 1 + i], 7);
	}
	assert_int_equal(memory[5000], 0);
}

static uint32_t expected_bucket(uint64_t d)
{
	uint32_t log2 = 0;

	if (d < 8)
		return (uint32_t)d;
	while (d >> log2 > 1)
		log2++;
	return 8 * (log2 - 2) + (uint32_t)(d >> (log2 - 3) & 7);
}

static uint64_t pass_ns;

static void tick_pass(void *context)
{
	(void)context;
	steps_clock_advance(pass_ns);
}

static void throughput_histogram(void **state)
{
	static const uint64_t durations[] = {
		0, 1, 7, 8, 9, 15, 16, 17, 18, 31, 32, 1000, 123456, 1ull << 32
	};
	struct winapi_perf_throughput_reply reply;

	(void)state;
	steps_on_clock(tick_pass, NULL);
	for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
		pass_ns = durations[i];
		memcpy(&reply, throughput(WINAPI_PERF_READ, 5)->data, sizeof(reply));
		assert_int_equal(reply.elapsed_ns, 5 * pass_ns);
		assert_int_equal(reply.histogram[expected_bucket(pass_ns)], 5);
		for (uint32_t b = 0; b < WINAPI_PERF_BUCKETS; b++)
			assert_int_equal(reply.histogram[b], b == expected_bucket(pass_ns) ? 5 : 0);
	}
	pass_ns = 1ull << 50; /* beyond the last bucket */
	memcpy(&reply, throughput(WINAPI_PERF_READ, 5)->data, sizeof(reply));
	assert_int_equal(reply.histogram[WINAPI_PERF_BUCKETS - 1], 5);
}

static int throughput_over(uint32_t op, uint32_t iterations, uint32_t buffers, uint32_t access,
			   uint64_t last_length)
{
	struct winapi_perf_throughput_request request = { op, iterations };

	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
	for (uint32_t i = 0; i < buffers; i++)
		message_buffer(&m, i % 2 ? upper : handle, 0, i + 1 == buffers ? last_length : 8, access);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_run_all();
	return guest_got(&guest, &m);
}

static void throughput_parameters_are_checked(void **state)
{
	(void)state;
	assert_int_equal(throughput_over(0, 1, 1, 1, 8), WINAPI_STATUS_OK);
	assert_int_equal(throughput_over(3, 1, 2, 3, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(~0u, 1, 2, 3, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(0, 0, 1, 1, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(0, 1025, 1, 1, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(0, ~0u, 1, 1, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(0, 1024, 1, 1, 8), WINAPI_STATUS_OK);
	assert_int_equal(throughput_over(0, 1, 1, 2, 8), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(throughput_over(1, 1, 1, 1, 8), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(throughput_over(2, 1, 2, 1, 8), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(throughput_over(2, 1, 2, 2, 8), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(throughput_over(2, 1, 1, 3, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(2, 1, 7, 3, 8), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(2, 1, 2, 3, 9), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(throughput_over(2, 1, 8, 3, 8), WINAPI_STATUS_OK);
}

static void copy_of_overlapping_buffers_is_refused(void **state)
{
	struct winapi_perf_throughput_request request = { WINAPI_PERF_COPY, 1 };
	static const struct {
		uint64_t from, to, length;
		int status;
	} cases[] = {
		{ 0, 0, 8, WINAPI_STATUS_INVALID_PARAMETER },
		{ 0, 7, 8, WINAPI_STATUS_INVALID_PARAMETER },
		{ 7, 0, 8, WINAPI_STATUS_INVALID_PARAMETER },
		{ 0, 8, 8, WINAPI_STATUS_OK },
		{ 8, 0, 8, WINAPI_STATUS_OK },
	};

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
		message_buffer(&m, handle, cases[i].from, cases[i].length, WINAPI_ACCESS_READ);
		message_buffer(&m, handle, cases[i].to, cases[i].length, WINAPI_ACCESS_WRITE);
		assert_int_equal(guest_status(&guest, &m), cases[i].status);
	}
}

/* ---- Workers --------------------------------------------------------------------------------- */

static void large_calls_go_to_a_worker(void **state)
{
	struct winapi_perf_throughput_request passes = { WINAPI_PERF_READ, 17 };

	(void)state;
	message_buffer_test(WINAPI_BUFFER_TEST_READ, 0, 0, 65536);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_OK);
	message_buffer_test(WINAPI_BUFFER_TEST_READ, 0, 0, 65537);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	assert_null(guest_reply_to(&guest, m.header.request_id));
	assert_int_equal(steps_queued(), 1);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK); /* isn't held up */
	assert_int_equal(stats().channel_in_flight, 2);
	steps_run_all();
	assert_int_equal(guest_got(&guest, &m), WINAPI_STATUS_OK);
	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &passes, 8);
	message_buffer(&m, handle, 0, PAGE, WINAPI_ACCESS_READ);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	assert_int_equal(steps_queued(), 1); /* 17 passes over 4 KiB are more than 64 KiB */
	steps_run_all();
	assert_int_equal(stats().channel_in_flight, 1);
}

static void inline_work_is_configurable(void **state)
{
	struct wp_limits limits = { .inline_work = 100 };
	struct winapi_api_desc desc[34];

	(void)state;
	guest_ready(&guest, &limits);
	share(&guest);
	list(0, desc);
	assert_int_equal(desc[2].inline_work, 100);
	message_buffer_test(WINAPI_BUFFER_TEST_READ, 0, 0, 100);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_OK);
	message_buffer_test(WINAPI_BUFFER_TEST_READ, 0, 0, 101);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	assert_int_equal(steps_queued(), 1);
	guest_end(&guest);
}

/* A large READ that is left with the workers. */
static uint64_t start_large(uint32_t timeout_ms)
{
	message_buffer_test(WINAPI_BUFFER_TEST_READ, 0, 0, SIZE / 2);
	m.header.timeout_ms = timeout_ms;
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	return m.header.request_id;
}

/* One that would write the lower half 1,000 times. */
static uint64_t start_writing(void)
{
	struct winapi_perf_throughput_request request = { WINAPI_PERF_WRITE, 1000 };

	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
	message_buffer(&m, handle, 0, SIZE / 2, WINAPI_ACCESS_WRITE);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	return m.header.request_id;
}

static int status_for(uint64_t request_id)
{
	const struct guest_reply *got = guest_reply_to(&guest, request_id);

	return got ? got->header.status : -1;
}

static void duplicate_ids_are_refused(void **state)
{
	uint64_t id = start_large(0);

	(void)state;
	message_call(&guest, &m, WINAPI_API_ECHO, 0, NULL, 0);
	m.header.request_id = id;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_DUPLICATE_ID);
	steps_run_all();
	assert_int_equal(status_for(id), WINAPI_STATUS_OK);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_OK); /* free again */
}

static void busy_buffers_stay(void **state)
{
	(void)state;
	start_large(0);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_BUFFER_BUSY);
	assert_int_equal(guest_unregister(&guest, upper), WINAPI_STATUS_OK);
	steps_run_all();
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
	assert_int_equal(guest.mapped, 0);
}

static void buffer_used_two_times_is_busy_until_both_end(void **state)
{
	uint64_t first = start_large(0);

	(void)state;
	start_large(0);
	assert_true(steps_run_one());
	assert_int_equal(status_for(first), WINAPI_STATUS_OK);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_BUFFER_BUSY);
	assert_true(steps_run_one());
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
}

/* A guest with many calls doesn't keep another's waiting for all of them. */
static void channels_take_turns(void **state)
{
	static struct guest other;
	struct message theirs;
	uint64_t ids[20], theirs_handle;

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		ids[i] = start_large(0);
	guest_start_beside(&other, guest.provider);
	guest_hello(&other);
	other.session = guest_open_session(&other);
	guest_gpadl(&other, 1, &(struct wp_segment){ memory, SIZE / 2 }, 1);
	theirs_handle = guest_register(&other, 1, SIZE / 2, WINAPI_ACCESS_BOTH);
	message_call(&other, &theirs, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_READ, &(uint64_t){ 0 }, 8);
	message_buffer(&theirs, theirs_handle, 0, SIZE / 2, WINAPI_ACCESS_READ);
	assert_int_equal(guest_send(&other, &theirs), WP_PACKET_TAKEN);
	for (unsigned int i = 0; i < 5; i++) /* as many of the first as the platform may have, and this one */
		assert_true(steps_run_one());
	assert_int_equal(guest_got(&other, &theirs), WINAPI_STATUS_OK);
	assert_int_equal(status_for(ids[3]), WINAPI_STATUS_OK);
	assert_int_equal(status_for(ids[4]), -1);
	steps_run_all();
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(status_for(ids[i]), WINAPI_STATUS_OK);
	guest_end_beside(&other);
}

/* Those that wait for a turn end like those that wait for a worker. */
static void waiting_for_a_turn_is_no_shelter(void **state)
{
	uint64_t ids[20];

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		ids[i] = start_large(0);
	assert_int_equal(guest_cancel(&guest, ids[10]), WINAPI_STATUS_OK);
	assert_int_equal(status_for(ids[10]), WINAPI_STATUS_CANCELED);
	assert_int_equal(steps_queued(), 4);
	/* And the channel closes with all of them. */
}

/* ---- Cancel ---------------------------------------------------------------------------------- */

static void cancel_of_a_queued_call_answers_it_at_once(void **state)
{
	uint64_t id = start_large(0);

	(void)state;
	assert_int_equal(guest_cancel(&guest, id), WINAPI_STATUS_OK);
	assert_int_equal(status_for(id), WINAPI_STATUS_CANCELED);
	assert_int_equal(guest_cancel(&guest, id), WINAPI_STATUS_NOT_FOUND);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
	assert_int_equal(steps_queued(), 1); /* comes back from the platform yet, and does nothing */
	steps_run_all();
	assert_int_equal(stats().channel_in_flight, 1);
}

static uint64_t to_cancel;
static int looks;

/* Another thread's CANCEL, at the third look at the clock of a call that runs. */
static void cancel_meanwhile(void *context)
{
	(void)context;
	if (++looks != 3)
		return;
	steps_on_clock(NULL, NULL);
	assert_int_equal(guest_cancel(&guest, to_cancel), WINAPI_STATUS_OK);
	assert_int_equal(status_for(to_cancel), -1);
}

static void cancel_of_a_running_call_stops_it(void **state)
{
	(void)state;
	to_cancel = start_writing();
	looks = 0;
	steps_on_clock(cancel_meanwhile, NULL);
	steps_run_all();
	assert_int_equal(status_for(to_cancel), WINAPI_STATUS_CANCELED);
	assert_in_range(memory[0], 1, 5); /* passes, of 1,000 */
}

static void cancel_finds_only_its_sessions_requests(void **state)
{
	uint64_t id = start_large(0), first = guest.session;

	(void)state;
	guest.session = guest_open_session(&guest);
	assert_int_equal(guest_cancel(&guest, id), WINAPI_STATUS_NOT_FOUND);
	guest.session = first;
	assert_int_equal(guest_cancel(&guest, 12345), WINAPI_STATUS_NOT_FOUND);
	assert_int_equal(guest_cancel(&guest, 0), WINAPI_STATUS_NOT_FOUND);
	steps_run_all();
	assert_int_equal(status_for(id), WINAPI_STATUS_OK);
}

static void cancel_payload_is_checked(void **state)
{
	(void)state;
	message_start(&guest, &m, WINAPI_MSG_CANCEL);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
	message_start(&guest, &m, WINAPI_MSG_CANCEL);
	message_add(&m, "123456789", 9);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
}

/* ---- Timeouts -------------------------------------------------------------------------------- */

static void queued_calls_time_out_without_running(void **state)
{
	uint64_t early, late = start_large(10), never = start_large(0);

	(void)state;
	message_buffer_test(WINAPI_BUFFER_TEST_WRITE, 2, 0, SIZE / 2);
	m.header.timeout_ms = 9;
	early = m.header.request_id;
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_clock_advance(9000000);
	steps_run_all();
	assert_int_equal(status_for(early), WINAPI_STATUS_TIMED_OUT);
	assert_int_equal(memory[0], 0);
	assert_int_equal(status_for(late), WINAPI_STATUS_OK);
	assert_int_equal(status_for(never), WINAPI_STATUS_OK);
}

static void longest_timeout_does_not_overflow(void **state)
{
	uint64_t id = start_large(0xffffffff);

	(void)state;
	steps_run_all();
	assert_int_equal(status_for(id), WINAPI_STATUS_OK);
}

static void tick_millisecond(void *context)
{
	(void)context;
	steps_clock_advance(1000000);
}

static void running_calls_time_out_between_chunks(void **state)
{
	struct winapi_perf_throughput_request request = { WINAPI_PERF_WRITE, 1000 };

	(void)state;
	message_call(&guest, &m, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, &request, 8);
	message_buffer(&m, handle, 0, SIZE / 2, WINAPI_ACCESS_WRITE);
	m.header.timeout_ms = 30;
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_on_clock(tick_millisecond, NULL);
	steps_run_all();
	assert_int_equal(guest_got(&guest, &m), WINAPI_STATUS_TIMED_OUT);
	assert_in_range(memory[0], 8, 16); /* two looks and a stamp to each pass */
}

/* ---- In flight ------------------------------------------------------------------------------- */

static void calls_in_flight_are_limited(void **state)
{
	struct wp_limits limits = { .max_in_flight = 3 };
	uint64_t id;

	(void)state;
	guest_ready(&guest, &limits);
	share(&guest);
	id = start_large(0);
	start_large(0);
	start_large(0);
	message_call(&guest, &m, WINAPI_API_ECHO, 0, NULL, 0);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_LIMIT_IN_FLIGHT);
	assert_int_equal(guest_cancel(&guest, id), WINAPI_STATUS_OK); /* doesn't count */
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK);
	guest_end(&guest);
}

/* ---- SESSION_CLOSE meanwhile ----------------------------------------------------------------- */

static uint64_t send_session_close(void)
{
	message_start(&guest, &m, WINAPI_MSG_SESSION_CLOSE);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	return m.header.request_id;
}

static void session_close_ends_queued_calls(void **state)
{
	uint64_t a = start_large(0), b = start_large(0), first = guest.session, other, close;

	(void)state;
	guest.session = guest_open_session(&guest);
	guest_gpadl(&guest, 3, &(struct wp_segment){ memory, SIZE / 2 }, 1);
	handle = guest_register(&guest, 3, SIZE / 2, WINAPI_ACCESS_BOTH);
	other = start_large(0);
	guest.session = first;
	close = send_session_close();
	assert_int_equal(status_for(a), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(b), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(close), WINAPI_STATUS_OK);
	assert_int_equal(guest.reply[guest.replies - 1].header.request_id, close);
	assert_int_equal(guest.mapped, 1); /* the other session's */
	assert_int_equal(status_for(other), -1);
	steps_run_all();
	assert_int_equal(status_for(other), WINAPI_STATUS_OK);
}

static uint64_t close_id;

static void close_meanwhile(void *context)
{
	(void)context;
	if (++looks != 3)
		return;
	steps_on_clock(NULL, NULL);
	close_id = send_session_close();
	assert_int_equal(status_for(close_id), -1); /* one of its calls runs */
	assert_int_equal(guest.mapped, 2);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_NO_SESSION);
}

static void session_close_waits_for_the_last_access(void **state)
{
	uint64_t id = start_writing(), queued = start_large(0);

	(void)state;
	looks = 0;
	steps_on_clock(close_meanwhile, NULL);
	assert_true(steps_run_one());
	assert_int_equal(status_for(queued), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(id), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(close_id), WINAPI_STATUS_OK);
	assert_int_equal(guest.reply[guest.replies - 1].header.request_id, close_id);
	assert_int_equal(guest.mapped, 0);
	steps_run_all();
}

static void close_once(void *context)
{
	(void)context;
	steps_on_clock(NULL, NULL);
	close_id = send_session_close();
}

/*
 * A second worker, inside the first one's look at the clock: its call ends while the first still
 * runs.
 */
static void run_second_meanwhile(void *context)
{
	(void)context;
	if (++looks != 3)
		return;
	steps_on_clock(close_once, NULL);
	assert_true(steps_run_one());
	assert_int_equal(status_for(to_cancel), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(close_id), -1);
	assert_int_equal(guest.mapped, 2);
}

static void session_close_waits_for_every_call(void **state)
{
	uint64_t first = start_writing();

	(void)state;
	to_cancel = start_writing();
	looks = 0;
	steps_on_clock(run_second_meanwhile, NULL);
	steps_run_all();
	assert_int_equal(status_for(first), WINAPI_STATUS_CANCELED);
	assert_int_equal(status_for(close_id), WINAPI_STATUS_OK);
	assert_int_equal(guest.reply[guest.replies - 1].header.request_id, close_id);
	assert_int_equal(guest.mapped, 0);
}

static void session_close_may_come_back_as_duplicate(void **state)
{
	uint64_t id = start_large(0);

	(void)state;
	message_start(&guest, &m, WINAPI_MSG_SESSION_CLOSE);
	m.header.request_id = id;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_DUPLICATE_ID);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, ready, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(unknown_apis_and_methods),
		WITH(inline_sizes_are_the_methods),
		WITH(buffer_counts_are_the_methods),
		WITH(echo_returns_every_size),
		WITH(list_has_all_apis),
		WITH(list_reserved_is_checked),
		WITH(calls_are_counted_by_api),
		WITH(a_burst_reads_the_clock_once_a_request),
		WITH(without_bursts_each_request_reads_it_twice),
		WITH(stats_of_the_channel),
		WITH(write_verify_and_read),
		WITH(read_takes_no_seed),
		WITH(eight_buffers_have_eight_results),
		WITH(latency_stamps),
		WITH(throughput_moves_bytes),
		WITH(throughput_histogram),
		WITH(throughput_parameters_are_checked),
		WITH(copy_of_overlapping_buffers_is_refused),
		WITH(large_calls_go_to_a_worker),
		cmocka_unit_test(inline_work_is_configurable),
		WITH(duplicate_ids_are_refused),
		WITH(busy_buffers_stay),
		WITH(channels_take_turns),
		WITH(waiting_for_a_turn_is_no_shelter),
		WITH(buffer_used_two_times_is_busy_until_both_end),
		WITH(cancel_of_a_queued_call_answers_it_at_once),
		WITH(cancel_of_a_running_call_stops_it),
		WITH(cancel_finds_only_its_sessions_requests),
		WITH(cancel_payload_is_checked),
		WITH(queued_calls_time_out_without_running),
		WITH(longest_timeout_does_not_overflow),
		WITH(running_calls_time_out_between_chunks),
		cmocka_unit_test(calls_in_flight_are_limited),
		WITH(session_close_ends_queued_calls),
		WITH(session_close_waits_for_the_last_access),
		WITH(session_close_waits_for_every_call),
		WITH(session_close_may_come_back_as_duplicate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
