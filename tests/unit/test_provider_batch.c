/* SPDX-License-Identifier: MIT */
/* Batches: order, padding, room, members that fail, and those that can't even be walked. */
#include "provider_guest.h"

static struct guest guest;
static struct message m;
static uint32_t members;

static int ready(void **state)
{
	(void)state;
	guest_ready(&guest, NULL);
	return 0;
}

static int done(void **state)
{
	(void)state;
	guest_end(&guest);
	return 0;
}

static void begin(void)
{
	message_start(&guest, &m, WINAPI_MSG_BATCH);
	members = 0;
}

static void add(uint16_t api, uint16_t method, const void *data, uint16_t size)
{
	static const uint8_t zeros[8];
	struct winapi_batch_entry entry = { api, method, size, 0, members++, 0 };

	message_add(&m, &entry, sizeof(entry));
	message_add(&m, data, size);
	message_add(&m, zeros, -size & 7);
}

static void add_echo(const void *data, uint16_t size)
{
	add(WINAPI_API_ECHO, WINAPI_ECHO_CALL, data, size);
}

/* The reply's next member; its data. */
static const uint8_t *take(const struct guest_reply *reply, uint32_t *at, struct winapi_batch_entry *entry)
{
	const uint8_t *data;

	assert_true(*at + sizeof(*entry) <= reply->header.inline_size);
	memcpy(entry, reply->data + *at, sizeof(*entry));
	data = reply->data + *at + sizeof(*entry);
	*at += (uint32_t)sizeof(*entry) + ((entry->inline_size + 7u) & ~7u);
	assert_true(*at <= reply->header.inline_size);
	assert_int_equal(entry->flags, 0);
	if (entry->status)
		assert_int_equal(entry->inline_size, 0);
	for (uint32_t i = entry->inline_size; i % 8; i++)
		assert_int_equal(data[i], 0);
	return data;
}

static const struct guest_reply *send_ok(void)
{
	const struct guest_reply *reply = guest_ask(&guest, &m);

	assert_int_equal(reply->header.status, WINAPI_STATUS_OK);
	assert_int_equal(reply->header.inline_size % 8, 0);
	return reply;
}

static void members_are_answered_in_order(void **state)
{
	const struct guest_reply *reply;
	struct winapi_batch_entry entry;
	uint8_t data[64];
	uint32_t at = 0;

	(void)state;
	begin();
	for (uint32_t i = 0; i < 32; i++) {
		memset(data, (int)i + 1, sizeof(data));
		add_echo(data, (uint16_t)(i * 2));
	}
	reply = send_ok();
	for (uint32_t i = 0; i < 32; i++) {
		const uint8_t *out = take(reply, &at, &entry);

		memset(data, (int)i + 1, sizeof(data));
		assert_int_equal(entry.index, i);
		assert_int_equal(entry.api, WINAPI_API_ECHO);
		assert_int_equal(entry.method, WINAPI_ECHO_CALL);
		assert_int_equal(entry.status, WINAPI_STATUS_OK);
		assert_int_equal(entry.inline_size, i * 2);
		assert_memory_equal(out, data, i * 2);
	}
	assert_int_equal(at, reply->header.inline_size);
}

static void empty_batch_has_empty_reply(void **state)
{
	(void)state;
	begin();
	assert_int_equal(send_ok()->header.inline_size, 0);
}

static void batch_of_128_but_not_129(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < 128; i++)
		add_echo(NULL, 0);
	assert_int_equal(send_ok()->header.inline_size, 128 * 16);
	begin();
	for (int i = 0; i < 129; i++)
		add_echo(NULL, 0);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_TOO_LARGE);
}

static void largest_member(void **state)
{
	const struct guest_reply *reply;
	struct winapi_batch_entry entry;
	uint8_t data[WINAPI_MAX_INLINE - 16];
	uint32_t at = 0;

	(void)state;
	memset(data, 7, sizeof(data));
	begin();
	add_echo(data, sizeof(data));
	reply = send_ok();
	assert_memory_equal(take(reply, &at, &entry), data, sizeof(data));
	assert_int_equal(entry.inline_size, sizeof(data));
}

static void members_fail_one_by_one(void **state)
{
	static const struct {
		uint16_t api, method, size;
		int status;
	} cases[] = {
		{ WINAPI_API_ECHO, 0, 8, WINAPI_STATUS_OK },
		{ 4, 0, 0, WINAPI_STATUS_UNKNOWN_API },
		{ 0xffff, 0, 0, WINAPI_STATUS_UNKNOWN_API },
		{ WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_STATS, 0, WINAPI_STATUS_NOT_SHORT },
		{ WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_READ, 8, WINAPI_STATUS_NOT_SHORT },
		{ WINAPI_API_ECHO, 1, 8, WINAPI_STATUS_UNKNOWN_METHOD },
		{ WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_THROUGHPUT, 8, WINAPI_STATUS_INVALID_PARAMETER },
		{ WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_LATENCY, 8, WINAPI_STATUS_OK },
		{ WINAPI_API_ECHO, 0, 8, WINAPI_STATUS_OK },
	};
	const struct guest_reply *reply;
	struct winapi_batch_entry entry;
	uint32_t at = 0;

	(void)state;
	begin();
	for (size_t i = 0; i < 9; i++)
		add(cases[i].api, cases[i].method, "12345678", cases[i].size);
	reply = send_ok();
	for (size_t i = 0; i < 9; i++) {
		take(reply, &at, &entry);
		assert_int_equal(entry.index, i);
		assert_int_equal(entry.api, cases[i].api);
		assert_int_equal(entry.method, cases[i].method);
		assert_int_equal(entry.status, cases[i].status);
	}
	assert_int_equal(at, reply->header.inline_size);
}

/*
 * 128 stamps of 16 bytes need 4,096 with their headers: 64 fit, and each of the others has its
 * header.
 */
static void reply_without_room_says_so_per_member(void **state)
{
	const struct guest_reply *reply;
	struct winapi_batch_entry entry;
	uint32_t at = 0, fit = 0, missed = 0;

	(void)state;
	begin();
	for (int i = 0; i < 128; i++)
		add(WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_LATENCY, NULL, 0);
	reply = send_ok();
	for (uint32_t i = 0; i < 128; i++) {
		take(reply, &at, &entry);
		assert_int_equal(entry.index, i);
		fit += entry.status == WINAPI_STATUS_OK;
		missed += entry.status == WINAPI_STATUS_REPLY_TOO_LARGE;
	}
	assert_int_equal(fit, 64);
	assert_int_equal(missed, 64);
	assert_int_equal(at, reply->header.inline_size);
	assert_int_equal(at, WINAPI_MAX_INLINE);
}

/* ---- Structure ------------------------------------------------------------------------------- */

static uint64_t echo_calls(void)
{
	struct winapi_list_request request = { WINAPI_API_ECHO, 0 };
	struct winapi_api_desc desc;
	struct message list;

	message_call(&guest, &list, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_LIST, &request, 8);
	memcpy(&desc, guest_ask(&guest, &list)->data, sizeof(desc));
	return desc.calls;
}

/* A good batch of three, 24 bytes each, for a test to spoil. */
static struct winapi_batch_entry *three(uint32_t which)
{
	begin();
	for (int i = 0; i < 3; i++)
		add_echo("12345678", 8);
	return (struct winapi_batch_entry *)(m.body + which * 24);
}

static void expect(int status)
{
	uint64_t before = echo_calls();

	assert_int_equal(guest_status(&guest, &m), status);
	assert_int_equal(echo_calls(), before); /* none ran */
}

static void indices_count_up(void **state)
{
	(void)state;
	for (uint32_t which = 0; which < 3; which++) {
		three(which)->index = which + 1;
		expect(WINAPI_STATUS_MALFORMED);
		three(which)->index = ~0u;
		expect(WINAPI_STATUS_MALFORMED);
	}
}

static void flags_and_status_are_zero(void **state)
{
	(void)state;
	for (uint32_t which = 0; which < 3; which++) {
		three(which)->flags = 1;
		expect(WINAPI_STATUS_MALFORMED);
		three(which)->status = 1;
		expect(WINAPI_STATUS_MALFORMED);
	}
}

static void sizes_stay_inside(void **state)
{
	static const uint16_t wrong[] = { 9, 16, 3072, 0x7fff, 0xfff8, 0xffff };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		three(2)->inline_size = wrong[i];
		expect(WINAPI_STATUS_MALFORMED);
	}
}

static void every_cut_is_noticed(void **state)
{
	(void)state;
	for (uint32_t size = 1; size < 72; size++) {
		three(0);
		m.header.inline_size = size;
		if (size % 24)
			expect(WINAPI_STATUS_MALFORMED);
		else
			send_ok();
	}
}

static void last_member_is_padded_too(void **state)
{
	(void)state;
	for (uint16_t size = 1; size < 8; size++) {
		three(2)->inline_size = size;
		m.header.inline_size = 2 * 24 + 16 + size;
		expect(WINAPI_STATUS_MALFORMED);
	}
}

/* Behind the short batch, the slot still holds members that would go on: they must not be seen. */
static void stale_members_are_not_walked(void **state)
{
	static const uint8_t data[16];

	(void)state;
	begin();
	add_echo(NULL, 0);
	add_echo(data, 16);
	while (members < 128)
		add_echo(NULL, 0);
	send_ok();
	begin();
	add_echo(NULL, 0);
	add_echo(data, 9);
	m.header.inline_size = 16 + 16 + 9;
	expect(WINAPI_STATUS_MALFORMED);
}

static void padding_need_not_be_zero(void **state)
{
	const struct guest_reply *reply;
	struct winapi_batch_entry entry;
	uint32_t at = 0;

	(void)state;
	three(1)->inline_size = 3;
	reply = send_ok();
	take(reply, &at, &entry);
	assert_memory_equal(take(reply, &at, &entry), "123", 4); /* take() checks the reply's padding */
	assert_int_equal(entry.inline_size, 3);
}

/* ---- Counting -------------------------------------------------------------------------------- */

static void tick(void *context)
{
	(void)context;
	steps_clock_advance(900);
}

static void members_are_counted_as_calls(void **state)
{
	struct winapi_list_request request = { 0, 0 };
	struct winapi_api_desc desc[4];

	(void)state;
	steps_on_clock(tick, NULL);
	begin();
	add_echo("1234", 4);
	add_echo("12345678", 8);
	add(WINAPI_API_ECHO, 5, NULL, 0);
	send_ok();
	steps_on_clock(NULL, NULL);
	message_call(&guest, &m, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_LIST, &request, 8);
	memcpy(desc, guest_ask(&guest, &m)->data, sizeof(desc));
	assert_int_equal(desc[1].calls, 3);
	assert_int_equal(desc[1].errors, 1);
	assert_int_equal(desc[1].bytes, 24);
	assert_int_equal(desc[1].host_ns, 900);
	assert_int_equal(desc[3].calls, 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, ready, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(members_are_answered_in_order),
		WITH(empty_batch_has_empty_reply),
		WITH(batch_of_128_but_not_129),
		WITH(largest_member),
		WITH(members_fail_one_by_one),
		WITH(reply_without_room_says_so_per_member),
		WITH(indices_count_up),
		WITH(flags_and_status_are_zero),
		WITH(sizes_stay_inside),
		WITH(every_cut_is_noticed),
		WITH(last_member_is_padded_too),
		WITH(stale_members_are_not_walked),
		WITH(padding_need_not_be_zero),
		WITH(members_are_counted_as_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
