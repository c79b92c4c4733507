/* SPDX-License-Identifier: MIT */
/*
 * Registered buffers: checks, limits, mapping, pieces, access, bounds, busy, and memory that runs
 * out.
 */
#include "provider_guest.h"

#include "../../host/provider/memory_ops.h"

#define PAGE 4096u
#define PAGES 64u

static struct guest guest;
static struct message m;
static uint8_t memory[PAGES * PAGE] __attribute__((aligned(4096)));

/* GPADL 1: pages 0 to 15 in one piece. 2: pages 16 to 31, backwards page by page. 3: page 32. */
static void make_gpadls(void)
{
	struct wp_segment whole = { memory, 16 * PAGE }, pages[16], one = { memory + 32 * PAGE, PAGE };

	for (uint32_t i = 0; i < 16; i++)
		pages[i] = (struct wp_segment){ memory + (31 - i) * PAGE, PAGE };
	guest_gpadl(&guest, 1, &whole, 1);
	guest_gpadl(&guest, 2, pages, 16);
	guest_gpadl(&guest, 3, &one, 1);
}

static int ready(void **state)
{
	(void)state;
	guest_ready(&guest, NULL);
	make_gpadls();
	memset(memory, 0, sizeof(memory));
	return 0;
}

static int done(void **state)
{
	(void)state;
	guest_end(&guest);
	return 0;
}

static int try_register(uint64_t length, uint32_t offset, uint32_t access, const uint32_t *gpadl,
			uint32_t count)
{
	message_register(&guest, &m, length, offset, access, gpadl, count);
	return guest_status(&guest, &m);
}

static int try_one(uint64_t length, uint32_t offset, uint32_t access, uint32_t gpadl)
{
	return try_register(length, offset, access, &gpadl, 1);
}

/* ---- Register -------------------------------------------------------------------------------- */

static void register_and_unregister(void **state)
{
	uint64_t handle = guest_register(&guest, 1, 16 * PAGE, WINAPI_ACCESS_BOTH);

	(void)state;
	assert_int_equal(guest.mapped, 1);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
	assert_int_equal(guest.mapped, 0);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_INVALID_HANDLE);
}

static void lengths_are_checked(void **state)
{
	(void)state;
	assert_int_equal(try_one(0, 0, 1, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one((64u << 20) + 1, 0, 1, 1), WINAPI_STATUS_TOO_LARGE);
	assert_int_equal(try_one(~0ull, 4095, 1, 1), WINAPI_STATUS_TOO_LARGE);
	assert_int_equal(try_one(~0ull - 10, 20, 1, 1), WINAPI_STATUS_TOO_LARGE);
	assert_int_equal(guest.mapped, 0);
}

static void offset_access_reserved_are_checked(void **state)
{
	struct winapi_buffer_register_request *request = (void *)m.body;
	const uint32_t one = 1;

	(void)state;
	assert_int_equal(try_one(PAGE, PAGE, 1, 3), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(1, 0xffffffff, 1, 3), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(PAGE, 0, 0, 3), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(PAGE, 0, 4, 3), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(PAGE, 0, 7, 3), WINAPI_STATUS_INVALID_PARAMETER);
	message_register(&guest, &m, PAGE, 0, 1, &one, 1);
	request->reserved = 1;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
}

static void chunk_count_must_fit_the_size(void **state)
{
	struct winapi_buffer_register_request *request = (void *)m.body;
	uint32_t ids[17] = { 1 };

	(void)state;
	assert_int_equal(try_register(PAGE, 0, 1, ids, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_register(PAGE, 0, 1, ids, 17), WINAPI_STATUS_MALFORMED);
	for (uint32_t claim = 0; claim < 40; claim++) {
		message_register(&guest, &m, PAGE, 0, 1, ids, 5);
		request->chunk_count = claim;
		if (claim != 5)
			assert_int_equal(guest_status(&guest, &m),
					 claim > 16 ? WINAPI_STATUS_TOO_LARGE : WINAPI_STATUS_MALFORMED);
	}
	message_register(&guest, &m, PAGE, 0, 1, ids, 1);
	request->chunk_count = 0x40000001;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_TOO_LARGE);
	for (uint32_t size = 0; size < 24; size++) {
		message_start(&guest, &m, WINAPI_MSG_BUFFER_REGISTER);
		m.header.inline_size = size;
		m.size += size;
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
	}
}

static void pages_must_match_the_length(void **state)
{
	(void)state;
	assert_int_equal(try_one(16 * PAGE + 1, 0, 1, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(16 * PAGE, 1, 1, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(15 * PAGE, 0, 1, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(15 * PAGE - 5, 5, 1, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(try_one(1, 0, 1, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(guest.mapped, 0);
	assert_int_equal(try_one(15 * PAGE - 4, 5, 1, 1), WINAPI_STATUS_OK);
	assert_int_equal(try_one(1, 4095, 1, 3), WINAPI_STATUS_OK);
}

static void unknown_gpadls_are_refused(void **state)
{
	const uint32_t ids[] = { 1, 2, 60 }, twice[] = { 3, 3 };

	(void)state;
	assert_int_equal(try_one(PAGE, 0, 1, 60), WINAPI_STATUS_GPADL_UNKNOWN);
	assert_int_equal(try_one(PAGE, 0, 1, 0xffffffff), WINAPI_STATUS_GPADL_UNKNOWN);
	assert_int_equal(try_register(33 * PAGE, 0, 1, ids, 3), WINAPI_STATUS_GPADL_UNKNOWN);
	assert_int_equal(try_register(2 * PAGE, 0, 1, twice, 2), WINAPI_STATUS_GPADL_UNKNOWN);
	assert_int_equal(guest.mapped, 0);
	guest.gpadl[3].error = -12;
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_NO_MEMORY);
	guest.gpadl[3].error = -14;
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_GPADL_UNKNOWN);
}

static void gpadl_belongs_to_one_buffer(void **state)
{
	uint64_t handle = guest_register(&guest, 3, PAGE, 1);

	(void)state;
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_GPADL_UNKNOWN);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_OK);
}

static void buffers_are_limited(void **state)
{
	struct wp_limits limits = { .max_buffers = 2 };
	uint64_t handle;

	(void)state;
	guest_ready(&guest, &limits);
	make_gpadls();
	guest_register(&guest, 1, 16 * PAGE, 1);
	handle = guest_register(&guest, 2, 16 * PAGE, 1);
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_LIMIT_BUFFERS);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_OK);
	guest_end(&guest);
}

static void bytes_are_limited_before_memory_is_taken(void **state)
{
	struct wp_limits limits = { .max_bytes = 17 * PAGE - 1, .max_buffer_size = 16 * PAGE };
	unsigned long before;
	uint64_t handle;

	(void)state;
	guest_ready(&guest, &limits);
	make_gpadls();
	handle = guest_register(&guest, 1, 16 * PAGE, 1);
	before = steps_allocations();
	assert_int_equal(try_one(PAGE, 0, 1, 3), WINAPI_STATUS_LIMIT_BYTES);
	assert_int_equal(try_one(16 * PAGE + 1, 0, 1, 2), WINAPI_STATUS_TOO_LARGE);
	assert_int_equal(steps_allocations(), before);
	assert_int_equal(guest.mapped, 1);
	assert_int_equal(try_one(PAGE - 1, 0, 1, 3), WINAPI_STATUS_OK);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_OK);
	assert_int_equal(try_one(16 * PAGE, 0, 1, 2), WINAPI_STATUS_OK);
	guest_end(&guest);
}

static void every_failed_allocation_of_register_is_survived(void **state)
{
	unsigned int nth = 0;
	int status;

	(void)state;
	do {
		steps_fail_allocation(++nth);
		status = try_one(16 * PAGE, 0, 1, 2);
		if (steps_allocation_failed()) {
			assert_int_equal(status, WINAPI_STATUS_NO_MEMORY);
			assert_int_equal(guest.mapped, 0);
		}
	} while (steps_allocation_failed());
	assert_int_equal(nth, 3); /* two allocations, and the try that met none */
	assert_int_equal(status, WINAPI_STATUS_OK);
	steps_fail_allocation(0);
}

/* ---- Handles --------------------------------------------------------------------------------- */

static int fill(uint64_t handle, uint64_t offset, uint64_t length, uint64_t seed)
{
	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_WRITE, &seed, 8);
	message_buffer(&m, handle, offset, length, WINAPI_ACCESS_WRITE);
	assert_int_equal(guest_send(&guest, &m), WP_PACKET_TAKEN);
	steps_run_all();
	return guest_got(&guest, &m);
}

static void stale_handles_are_refused(void **state)
{
	uint64_t old = guest_register(&guest, 1, 16 * PAGE, 3), new;

	(void)state;
	assert_int_equal(guest_unregister(&guest, old), WINAPI_STATUS_OK);
	new = guest_register(&guest, 1, 16 * PAGE, 3);
	assert_int_not_equal(old, new);
	assert_int_equal(old & 0xffff, new & 0xffff); /* the same place in the table */
	assert_int_equal(fill(old, 0, 8, 1), WINAPI_STATUS_INVALID_HANDLE);
	assert_int_equal(guest_unregister(&guest, old), WINAPI_STATUS_INVALID_HANDLE);
	assert_int_equal(fill(new, 0, 8, 1), WINAPI_STATUS_OK);
}

static void made_up_handles_are_refused(void **state)
{
	uint64_t handle = guest_register(&guest, 1, 16 * PAGE, 3);
	const uint64_t wrong[] = { 1,
				   2,
				   ~0ull,
				   handle + 1,
				   2ull << 16 | (handle & 0xffff),
				   handle ^ (1ull << 16),
				   handle ^ (1ull << 63),
				   handle | 0xffff,
				   guest.session };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(fill(wrong[i], 0, 8, 1), WINAPI_STATUS_INVALID_HANDLE);
		assert_int_equal(guest_unregister(&guest, wrong[i]), WINAPI_STATUS_INVALID_HANDLE);
	}
	assert_int_equal(guest_unregister(&guest, 0), WINAPI_STATUS_INVALID_HANDLE);
}

static void another_sessions_handle_is_refused(void **state)
{
	uint64_t handle = guest_register(&guest, 1, 16 * PAGE, 3), first = guest.session;

	(void)state;
	guest.session = guest_open_session(&guest);
	assert_int_equal(fill(handle, 0, 8, 1), WINAPI_STATUS_INVALID_HANDLE);
	assert_int_equal(guest_unregister(&guest, handle), WINAPI_STATUS_INVALID_HANDLE);
	guest_register(&guest, 3, PAGE, 3); /* now both have one at the same place */
	assert_int_equal(fill(handle, 0, 8, 1), WINAPI_STATUS_INVALID_HANDLE);
	guest.session = first;
	assert_int_equal(fill(handle, 0, 8, 1), WINAPI_STATUS_OK);
}

static void unregister_payload_is_checked(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < 17; size++) {
		if (size == 8)
			continue;
		message_start(&guest, &m, WINAPI_MSG_BUFFER_UNREGISTER);
		message_add(&m, "0123456789abcdefg", size);
		assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_MALFORMED);
	}
}

static void session_close_unregisters(void **state)
{
	(void)state;
	guest_register(&guest, 1, 16 * PAGE, 3);
	guest_register(&guest, 3, PAGE, 3);
	assert_int_equal(guest.mapped, 2);
	message_start(&guest, &m, WINAPI_MSG_SESSION_CLOSE);
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_OK);
	assert_int_equal(guest.mapped, 0);
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static void bounds_are_checked(void **state)
{
	uint64_t size = 16 * PAGE, handle = guest_register(&guest, 1, size, 3);

	(void)state;
	assert_int_equal(fill(handle, 0, size, 1), WINAPI_STATUS_OK);
	assert_int_equal(fill(handle, size - 1, 1, 1), WINAPI_STATUS_OK);
	assert_int_equal(fill(handle, 0, size + 1, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill(handle, size, 1, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill(handle, 1, size, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill(handle, ~0ull, 1, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill(handle, ~0ull - 7, 8, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill(handle, ~0ull - 7, 16, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill(handle, 0, 0, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(fill(handle, 0, (64u << 20) + 1, 1), WINAPI_STATUS_TOO_LARGE);
	assert_int_equal(fill(handle, 8, ~0ull, 1), WINAPI_STATUS_TOO_LARGE);
}

static int write_with_access(uint64_t handle, uint32_t access)
{
	const uint64_t seed = 1;

	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_WRITE, &seed, 8);
	message_buffer(&m, handle, 0, 8, access);
	return guest_status(&guest, &m);
}

static void access_is_checked(void **state)
{
	uint64_t readable = guest_register(&guest, 1, 16 * PAGE, WINAPI_ACCESS_READ);
	uint64_t writable = guest_register(&guest, 2, 16 * PAGE, WINAPI_ACCESS_WRITE);
	uint64_t both = guest_register(&guest, 3, PAGE, WINAPI_ACCESS_BOTH);

	(void)state;
	assert_int_equal(write_with_access(readable, WINAPI_ACCESS_READ), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(write_with_access(readable, WINAPI_ACCESS_WRITE), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(write_with_access(readable, WINAPI_ACCESS_BOTH), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(write_with_access(writable, WINAPI_ACCESS_BOTH), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(write_with_access(writable, WINAPI_ACCESS_WRITE), WINAPI_STATUS_OK);
	assert_int_equal(write_with_access(both, WINAPI_ACCESS_READ), WINAPI_STATUS_ACCESS_DENIED);
	assert_int_equal(write_with_access(both, WINAPI_ACCESS_BOTH), WINAPI_STATUS_OK);
	assert_int_equal(write_with_access(both, 0), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(write_with_access(both, 4), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(write_with_access(both, 0x80000002), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(memory[0], 0); /* nothing reached the one that is only read */
}

static void descriptor_reserved_is_checked(void **state)
{
	struct winapi_buffer_desc *desc = (void *)m.body;
	uint64_t handle = guest_register(&guest, 1, 16 * PAGE, 3), seed = 1;

	(void)state;
	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_WRITE, &seed, 8);
	message_buffer(&m, handle, 0, 8, WINAPI_ACCESS_WRITE);
	desc->reserved = 1;
	assert_int_equal(guest_status(&guest, &m), WINAPI_STATUS_RESERVED_NOT_ZERO);
}

/* ---- Pieces ---------------------------------------------------------------------------------- */

/* The bytes of GPADLs 2, 3, 1 in that order, `offset` bytes into them. */
static uint8_t *byte_of(uint64_t at)
{
	if (at < 16 * PAGE)
		return memory + (31 - at / PAGE) * PAGE + at % PAGE;
	at -= 16 * PAGE;
	return at < PAGE ? memory + 32 * PAGE + at : memory + (at - PAGE);
}

static void every_range_of_a_buffer_in_pieces(void **state)
{
	const uint32_t ids[] = { 2, 3, 1 }, skip = 100;
	const uint64_t length = 33 * PAGE - skip - 50;
	struct winapi_buffer_register_reply reply;

	(void)state;
	message_register(&guest, &m, length, skip, 3, ids, 3);
	memcpy(&reply, guest_ask(&guest, &m)->data, sizeof(reply));
	for (uint64_t offset = 0; offset < length; offset += 1999) {
		for (uint64_t size = 1; size <= length - offset; size = size * 3 + 7) {
			memset(memory, 0, sizeof(memory));
			assert_int_equal(fill(reply.handle, offset, size, 42), WINAPI_STATUS_OK);
			for (uint64_t i = 0; i < size; i++) {
				uint8_t expected = (uint8_t)(winapi_pattern_word(42, i / 8) >> (i % 8 * 8));

				assert_int_equal(*byte_of(skip + offset + i), expected);
				*byte_of(skip + offset + i) = 0;
			}
			for (size_t i = 0; i < sizeof(memory); i++)
				assert_int_equal(memory[i], 0);
		}
	}
}

static void empty_pieces_are_harmless(void **state)
{
	const struct wp_segment pieces[] = {
		{ memory, 0 },
		{ memory + 8, 0 },
		{ memory, 100 },
		{ memory, 0 },
		{ memory + 200, PAGE - 100 },
		{ memory, 0 },
	};
	uint64_t handle;

	(void)state;
	guest_gpadl(&guest, 5, pieces, 6);
	handle = guest_register(&guest, 5, PAGE, 3);
	assert_int_equal(fill(handle, 0, PAGE, 1), WINAPI_STATUS_OK);
	assert_true(memory_verify(memory, 100, 1, 0) == MEMORY_NO_MISMATCH);
	assert_int_equal(memory[100], 0);
	assert_true(memory_verify(memory + 200, PAGE - 100, 1, 100) == MEMORY_NO_MISMATCH);
}

/* ---- Pages in the packet --------------------------------------------------------------------- */

static int fill_external(const struct wp_segments *pages, uint64_t offset, uint64_t length)
{
	const uint64_t seed = 9;

	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_WRITE, &seed, 8);
	message_buffer(&m, 0, offset, length, WINAPI_ACCESS_WRITE);
	assert_int_equal(guest_send_with(&guest, &m, pages), WP_PACKET_TAKEN);
	return guest_got(&guest, &m);
}

static void external_pages(void **state)
{
	const struct wp_segment list[] = { { memory + PAGE, PAGE },
					   { memory, 0 },
					   { memory + 5 * PAGE, PAGE } };
	const struct wp_segments pages = { list, 3, 2 * PAGE }, none = { 0 };

	(void)state;
	assert_int_equal(fill_external(&pages, 4090, 12), WINAPI_STATUS_OK);
	assert_true(memory_verify(memory + 2 * PAGE - 6, 6, 9, 0) == MEMORY_NO_MISMATCH);
	assert_true(memory_verify(memory + 5 * PAGE, 6, 9, 6) == MEMORY_NO_MISMATCH);
	assert_int_equal(memory[5 * PAGE + 6], 0);
	assert_int_equal(fill_external(&pages, 4096, 4096), WINAPI_STATUS_OK);
	assert_int_equal(fill_external(&pages, 0, 2 * PAGE), WINAPI_STATUS_OK);
	assert_int_equal(fill_external(&pages, 0, 2 * PAGE + 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill_external(&pages, 2 * PAGE, 1), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill_external(&pages, ~0ull, 2), WINAPI_STATUS_OUT_OF_BOUNDS);
	assert_int_equal(fill_external(NULL, 0, 1), WINAPI_STATUS_INVALID_PARAMETER);
	assert_int_equal(fill_external(&none, 0, 1), WINAPI_STATUS_INVALID_PARAMETER);
}

static void external_and_registered_in_one_call(void **state)
{
	uint64_t handle = guest_register(&guest, 1, 16 * PAGE, 3), crc[3], seed = 0;
	const struct wp_segment list = { memory + 40 * PAGE, PAGE };
	const struct wp_segments pages = { &list, 1, PAGE };
	const struct guest_reply *got;

	(void)state;
	memory_fill(memory, sizeof(memory), 1, 0);
	message_call(&guest, &m, WINAPI_API_BUFFER_TEST, WINAPI_BUFFER_TEST_READ, &seed, 8);
	message_buffer(&m, 0, 0, 100, WINAPI_ACCESS_READ);
	message_buffer(&m, handle, 50, 200, WINAPI_ACCESS_READ);
	message_buffer(&m, 0, 7, 300, WINAPI_ACCESS_READ);
	assert_int_equal(guest_send_with(&guest, &m, &pages), WP_PACKET_TAKEN);
	got = guest_reply_to(&guest, m.header.request_id);
	assert_int_equal(got->header.inline_size, sizeof(crc));
	memcpy(crc, got->data, sizeof(crc));
	assert_int_equal(crc[0], memory_crc32c(0, memory + 40 * PAGE, 100));
	assert_int_equal(crc[1], memory_crc32c(0, memory + 50, 200));
	assert_int_equal(crc[2], memory_crc32c(0, memory + 40 * PAGE + 7, 300));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, ready, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(register_and_unregister),
		WITH(lengths_are_checked),
		WITH(offset_access_reserved_are_checked),
		WITH(chunk_count_must_fit_the_size),
		WITH(pages_must_match_the_length),
		WITH(unknown_gpadls_are_refused),
		WITH(gpadl_belongs_to_one_buffer),
		cmocka_unit_test(buffers_are_limited),
		cmocka_unit_test(bytes_are_limited_before_memory_is_taken),
		WITH(every_failed_allocation_of_register_is_survived),
		WITH(stale_handles_are_refused),
		WITH(made_up_handles_are_refused),
		WITH(another_sessions_handle_is_refused),
		WITH(unregister_payload_is_checked),
		WITH(session_close_unregisters),
		WITH(bounds_are_checked),
		WITH(access_is_checked),
		WITH(descriptor_reserved_is_checked),
		WITH(every_range_of_a_buffer_in_pieces),
		WITH(empty_pieces_are_harmless),
		WITH(external_pages),
		WITH(external_and_registered_in_one_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
