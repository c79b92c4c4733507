/* SPDX-License-Identifier: MIT */
/* The provider's intake: HELLO, sessions, and every way in which a header can be wrong. */
#include "provider_guest.h"

static struct guest guest;
static struct message m;

static int ready(void **state)
{
	(void)state;
	guest_ready(&guest, NULL);
	return 0;
}

static int bare(void **state)
{
	(void)state;
	guest_start(&guest, NULL);
	return 0;
}

static int done(void **state)
{
	(void)state;
	guest_end(&guest);
	return 0;
}

static void echo_message(void)
{
	message_call(&guest, &m, WINAPI_API_ECHO, WINAPI_ECHO_CALL, "12345678", 8);
}

/* ---- HELLO ----------------------------------------------------------------------------------- */

static void hello_tells_limits(void **state)
{
	struct winapi_hello_reply hello;
	const struct guest_reply *got;

	(void)state;
	message_hello(&guest, &m);
	got = guest_ask(&guest, &m);
	assert_int_equal(got->header.status, WINAPI_STATUS_OK);
	assert_int_equal(got->header.inline_size, sizeof(hello));
	memcpy(&hello, got->data, sizeof(hello));
	assert_int_equal(hello.version, 1);
	assert_int_equal(hello.features, WINAPI_FEATURES_V1);
	assert_int_equal(hello.max_in_flight, 256);
	assert_int_equal(hello.max_buffers_per_call, 8);
	assert_int_equal(hello.max_inline, 3072);
	assert_int_equal(hello.max_batch, 128);
	assert_int_equal(hello.max_sessions, 1024);
	assert_int_equal(hello.max_chunks, 16);
	assert_int_equal(hello.max_buffers, 1024);
	assert_int_equal(hello.max_buffer_size, 64u << 20);
	assert_int_equal(hello.max_bytes, 1u << 30);
	assert_int_equal(hello.reserved, 0);
	assert_string_equal(hello.provider, "test 1.0");
}

static int hello_with(uint16_t min, uint16_t max, uint32_t reserved, uint64_t features)
{
	struct winapi_hello_request request = { min, max, reserved, features };

	message_start(&guest, &m, WINAPI_MSG_HELLO);
	m.header.session_id = 0;
	message_add(&m, &request, sizeof(request));
	return guest_status(&guest, &m);
}

static void hello_negotiates(void **state)
{
	struct winapi_hello_reply hello;

	(void)state;
	assert_int_equal(hello_with(2, 9, 0, 0), WINAPI_STATUS_UNSUPPORTED_VERSION);
	assert_int_equal(hello_with(0, 0, 0, 0), WINAPI_STATUS_UNSUPPORTED_VERSION);
	assert_int_equal(hello_with(2, 1, 0, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(hello_with(1, 1, 5, 0), WINAPI_STATUS_RESERVED_NOT_ZERO);
	assert_int_equal(hello_with(0, 9, 0, ~0ull & ~WINAPI_FEATURE_CANCEL), WINAPI_STATUS_OK);
	memcpy(&hello, guest.reply[guest.replies - 1].data, sizeof(hello));
	assert_int_equal(hello.version, 1);
	assert_int_equal(hello.features, WINAPI_FEATURES_V1 & ~WINAPI_FEATURE_CANCEL);
}

static void hello_comes_once(void **state)
{
	(void)state;
	assert_int_equal(hello_with(1, 1, 0, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK);
}

static void hello_may_grow_but_not_shrink(void **state)
{
	struct winapi_hello_request request = { 1, 1, 0, 0 };

	(void)state;
	message_start(&guest, &m, WINAPI_MSG_HELLO);
	message_add(&m, &request, sizeof(request) - 1);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
	message_start(&guest, &m, WINAPI_MSG_HELLO);
	message_add(&m, &request, sizeof(request));
	message_add(&m, &request, sizeof(request));
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_OK);
}

static void nothing_before_hello(void **state)
{
	(void)state;
	for (uint16_t type = WINAPI_MSG_SESSION_OPEN; type <= WINAPI_MSG_CANCEL; type++) {
		message_start(&guest, &m, type);
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_NO_SESSION);
	}
}

static void long_provider_name_ends(void **state)
{
	struct wp_config config;
	struct winapi_hello_reply hello;

	(void)state;
	steps_reset();
	memset(&config, 0, sizeof(config));
	memset(config.name, 'x', sizeof(config.name));
	guest_start_beside(&guest, wp_provider_create(&config));
	message_hello(&guest, &m);
	memcpy(&hello, guest_ask(&guest, &m)->data, sizeof(hello));
	assert_int_equal(strnlen(hello.provider, sizeof(hello.provider)), 31);
	guest_end(&guest);
}

/* ---- What ends the channel ------------------------------------------------------------------- */

static void expect_malformed(void)
{
	unsigned int before = guest.replies;

	assert_int_equal(guest_send(&guest, &m), WP_PACKET_MALFORMED);
	assert_int_equal(guest.replies, before);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK);
}

static void short_packets_end_the_channel(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < 64; size++) {
		echo_message();
		m.size = size;
		expect_malformed();
	}
}

static void wrong_magic_ends_the_channel(void **state)
{
	(void)state;
	for (uint32_t bit = 0; bit < 32; bit++) {
		echo_message();
		m.header.magic ^= 1u << bit;
		expect_malformed();
	}
}

static void ids_must_agree(void **state)
{
	(void)state;
	echo_message();
	m.header.request_id = 0;
	expect_malformed();
	echo_message();
	assert_int_equal(wp_channel_packet(guest.channel, &guest, m.header.request_id + 1, &m, m.size, NULL),
			 WP_PACKET_MALFORMED);
	assert_int_equal(wp_channel_packet(guest.channel, &guest, m.header.request_id + (1ull << 32), &m,
					   m.size, NULL),
			 WP_PACKET_MALFORMED);
}

static void unknown_transaction_id_is_fine(void **state)
{
	(void)state;
	echo_message();
	guest.packets++;
	assert_int_equal(wp_channel_packet(guest.channel, (void *)(uintptr_t)guest.packets, 0, &m, m.size,
					   NULL),
			 WP_PACKET_TAKEN);
	assert_int_equal(guest_got(&guest, &m), WINAPI_STATUS_OK);
}

/* ---- What gets a status ---------------------------------------------------------------------- */

static void versions_are_checked(void **state)
{
	static const uint16_t wrong[] = { 0, 2, 0x100, 0xffff };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		echo_message();
		m.header.version = wrong[i];
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_UNSUPPORTED_VERSION);
	}
}

static void types_are_checked(void **state)
{
	static const uint16_t wrong[] = { 0, WINAPI_MSG_STREAM, WINAPI_MSG_EVENT, 11, 0xffff };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		message_start(&guest, &m, wrong[i]);
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_UNKNOWN_TYPE);
	}
}

static void flags_are_checked(void **state)
{
	(void)state;
	for (uint32_t bit = 0; bit < 16; bit++) {
		echo_message();
		m.header.flags = (uint16_t)(1u << bit);
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_UNKNOWN_FLAGS);
	}
}

static void reserved_fields_are_checked(void **state)
{
	(void)state;
	echo_message();
	m.header.reserved = 1;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
	echo_message();
	m.header.status = -1;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
	echo_message();
	m.header.host_ns = 1ull << 63;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
}

static void only_calls_have_api_method_and_buffers(void **state)
{
	(void)state;
	for (uint16_t type = WINAPI_MSG_HELLO; type <= WINAPI_MSG_CANCEL; type++) {
		if (type == WINAPI_MSG_CALL)
			continue;
		message_start(&guest, &m, type);
		m.header.api = 1;
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
		message_start(&guest, &m, type);
		m.header.method = 1;
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
		message_start(&guest, &m, type);
		m.header.buffer_count = 1;
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
	}
}

static void hello_and_session_open_have_no_session(void **state)
{
	(void)state;
	message_start(&guest, &m, WINAPI_MSG_HELLO);
	assert_int_not_equal(m.header.session_id, 0);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
	message_start(&guest, &m, WINAPI_MSG_SESSION_OPEN);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
}

static void sizes_are_checked(void **state)
{
	static const uint32_t wrong[] = { 3073, 4096, 0x7fffffff, 0xffffffc0, 0xffffffff };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		echo_message();
		m.header.inline_size = wrong[i];
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_TOO_LARGE);
	}
	echo_message();
	m.header.buffer_count = 9;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_TOO_LARGE);
	m.header.buffer_count = 0xffff;
	m.header.request_id++;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_TOO_LARGE);
}

static void sizes_must_fit_the_packet(void **state)
{
	(void)state;
	echo_message();
	m.size--;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
	echo_message();
	m.size = 64;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
	echo_message();
	m.header.buffer_count = 1;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
}

static void padding_is_ignored(void **state)
{
	(void)state;
	echo_message();
	m.size += 4000;
	assert_int_equal(guest_ask(&guest, &m)->header.inline_size, 8);
}

static void checks_come_in_order(void **state)
{
	(void)state;
	echo_message();
	m.header.version = 9;
	m.header.type = 99;
	m.header.flags = 1;
	m.header.reserved = 1;
	m.header.inline_size = 9999;
	m.header.session_id = 5;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_UNSUPPORTED_VERSION);
	m.header.version = 1;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_UNKNOWN_TYPE);
	m.header.type = WINAPI_MSG_CALL;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_UNKNOWN_FLAGS);
	m.header.flags = 0;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
	m.header.reserved = 0;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_TOO_LARGE);
	m.header.inline_size = 8;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_NO_SESSION);
	m.header.session_id = guest.session;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_OK);
}

static void reply_repeats_the_request(void **state)
{
	const struct winapi_msg_header *h;

	(void)state;
	echo_message();
	m.header.timestamp = 0x1122334455667788ull;
	m.header.timeout_ms = 9;
	h = &guest_ask(&guest, &m)->header;
	assert_int_equal(h->version, 1);
	assert_int_equal(h->type, WINAPI_MSG_CALL);
	assert_int_equal(h->api, WINAPI_API_ECHO);
	assert_int_equal(h->method, WINAPI_ECHO_CALL);
	assert_int_equal(h->session_id, guest.session);
	assert_int_equal(h->timestamp, 0x1122334455667788ull);
}

static void tick(void *context)
{
	(void)context;
	steps_clock_advance(1000);
}

static void host_time_is_from_receipt_to_reply(void **state)
{
	(void)state;
	steps_on_clock(tick, NULL);
	echo_message();
	assert_int_equal(guest_ask(&guest, &m)->header.host_ns, 1000);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static int close_session(uint64_t id)
{
	message_start(&guest, &m, WINAPI_MSG_SESSION_CLOSE);
	m.header.session_id = id;
	return guest_status(&guest, &m);
}

static void session_payload_is_checked(void **state)
{
	struct winapi_session_open_request request = { 1, 2, 3, 0 };

	(void)state;
	for (uint32_t size = 0; size <= sizeof(request) + 1; size++) {
		message_start(&guest, &m, WINAPI_MSG_SESSION_OPEN);
		m.header.session_id = 0;
		message_add(&m, &request, size < 16 ? size : 16);
		message_add(&m, "x", size > 16);
		assert_int_equal(guest_status(&guest, &m),
				 size == 16 ? WINAPI_STATUS_OK : WINAPI_STATUS_MALFORMED);
	}
	request.reserved = 1;
	message_start(&guest, &m, WINAPI_MSG_SESSION_OPEN);
	m.header.session_id = 0;
	message_add(&m, &request, sizeof(request));
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
	message_start(&guest, &m, WINAPI_MSG_SESSION_CLOSE);
	message_add(&m, "x", 1);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
}

static void closed_session_is_gone(void **state)
{
	uint64_t id = guest_open_session(&guest);

	(void)state;
	assert_int_equal(close_session(id), WINAPI_STATUS_OK);
	assert_int_equal(close_session(id), WINAPI_STATUS_NO_SESSION);
	echo_message();
	m.header.session_id = id;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_NO_SESSION);
	assert_int_equal(guest_echo(&guest), WINAPI_STATUS_OK);
}

static void session_ids_are_not_used_again(void **state)
{
	uint64_t seen[200];

	(void)state;
	for (size_t i = 0; i < 200; i++) {
		seen[i] = guest_open_session(&guest);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(seen[i], seen[j]);
		assert_int_equal(close_session(seen[i]), WINAPI_STATUS_OK);
	}
}

static void wrong_session_ids_are_refused(void **state)
{
	const uint64_t wrong[] = { 0,
				   1,
				   ~0ull,
				   guest.session + 1,
				   guest.session ^ (1ull << 63),
				   guest.session ^ (1u << 16),
				   guest.session & 0xffff };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		echo_message();
		m.header.session_id = wrong[i];
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_NO_SESSION);
	}
}

static void another_guests_session_is_refused(void **state)
{
	static struct guest other;

	(void)state;
	guest_start_beside(&other, guest.provider);
	guest_hello(&other);
	other.session = guest_open_session(&other);
	echo_message();
	m.header.session_id = other.session;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_NO_SESSION);
	assert_int_equal(guest_echo(&other), WINAPI_STATUS_OK);
	guest_end_beside(&other);
}

static void sessions_are_limited(void **state)
{
	struct winapi_session_open_request request = { 1, 2, 3, 0 };
	struct wp_limits limits = { .max_sessions = 3 };
	uint64_t id;

	(void)state;
	guest_ready(&guest, &limits);
	guest_open_session(&guest);
	id = guest_open_session(&guest);
	message_start(&guest, &m, WINAPI_MSG_SESSION_OPEN);
	m.header.session_id = 0;
	message_add(&m, &request, sizeof(request));
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_LIMIT_SESSIONS);
	assert_int_equal(close_session(id), WINAPI_STATUS_OK);
	guest_open_session(&guest);
	guest_end(&guest);
}

static void guest_is_believed_where_nobody_knows(void **state)
{
	(void)state;
	assert_string_equal(steps_last_log(), "session opened by uid 1000, gid 100, pid 4711");
}

static void transport_overrides_identity(void **state)
{
	const struct wp_identity known = { true, 7, 8, 9 };
	static struct guest other;

	(void)state;
	guest_start_as(&other, guest.provider, &known);
	guest_hello(&other);
	guest_open_session(&other);
	assert_string_equal(steps_last_log(), "session opened by uid 7, gid 8, pid 9");
	guest_end_beside(&other);
}

#define WITH(test, setup) cmocka_unit_test_setup_teardown(test, setup, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(hello_tells_limits, bare),
		WITH(hello_negotiates, bare),
		WITH(hello_comes_once, ready),
		WITH(hello_may_grow_but_not_shrink, bare),
		WITH(nothing_before_hello, bare),
		cmocka_unit_test(long_provider_name_ends),
		WITH(short_packets_end_the_channel, ready),
		WITH(wrong_magic_ends_the_channel, ready),
		WITH(ids_must_agree, ready),
		WITH(unknown_transaction_id_is_fine, ready),
		WITH(versions_are_checked, ready),
		WITH(types_are_checked, ready),
		WITH(flags_are_checked, ready),
		WITH(reserved_fields_are_checked, ready),
		WITH(only_calls_have_api_method_and_buffers, ready),
		WITH(hello_and_session_open_have_no_session, ready),
		WITH(sizes_are_checked, ready),
		WITH(sizes_must_fit_the_packet, ready),
		WITH(padding_is_ignored, ready),
		WITH(checks_come_in_order, ready),
		WITH(reply_repeats_the_request, ready),
		WITH(host_time_is_from_receipt_to_reply, ready),
		WITH(session_payload_is_checked, ready),
		WITH(closed_session_is_gone, ready),
		WITH(session_ids_are_not_used_again, ready),
		WITH(wrong_session_ids_are_refused, ready),
		WITH(another_guests_session_is_refused, ready),
		cmocka_unit_test(sessions_are_limited),
		WITH(guest_is_believed_where_nobody_knows, ready),
		WITH(transport_overrides_identity, ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
