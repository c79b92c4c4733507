/* SPDX-License-Identifier: MIT */
/* VMBus server: GPADL creation with all that can be wrong in it, mapping, teardown. */
#include "vmbus_guest.h"

#define GPADL 40u

struct header_message {
	struct vmbus_gpadl_header h;
	uint64_t pfn[26];
} __attribute__((packed));

struct body_message {
	struct vmbus_gpadl_body b;
	uint64_t pfn[28];
} __attribute__((packed));

/* A faultless header for that many pages, to be spoilt. */
static struct header_message header_for(uint32_t pages)
{
	struct header_message m = {
		.h.header.type = VMBUS_MSG_GPADL_HEADER,
		.h.relid = 1,
		.h.gpadl = GPADL,
		.h.range_buflen = (uint16_t)(8 + 8 * pages),
		.h.range_count = 1,
		.h.range.byte_count = pages * 4096,
	};

	for (uint32_t i = 0; i < 26; i++)
		m.pfn[i] = i;
	return m;
}

static void send_header(struct guest *g, const struct header_message *m, uint32_t pfns)
{
	assert_int_equal(guest_send(g, m, sizeof(m->h) + 8 * pfns), 0);
}

static void send_body(struct guest *g, uint32_t number, uint32_t pfns)
{
	struct body_message m = {
		.b.header.type = VMBUS_MSG_GPADL_BODY,
		.b.message_number = number,
		.b.gpadl = GPADL,
	};

	for (uint32_t i = 0; i < 28; i++)
		m.pfn[i] = 100 + i;
	assert_int_equal(guest_send(g, &m, sizeof(m.b) + 8 * pfns), 0);
}

static void expect_refused(struct guest *g)
{
	expect_created(g, GPADL, false);
	expect_complaint(g);
	expect_nothing(g);
}

static struct guest *offered(const struct vmbus_limits *limits)
{
	struct guest *g = guest_new(limits);

	guest_with_offer(g);
	return g;
}

/* ---- Creation -------------------------------------------------------------------------------- */

static void test_one_message(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(26);

	(void)state;
	send_header(g, &m, 26);
	assert_int_equal(g->log[g->read].created.relid, 1);
	expect_created(g, GPADL, true);
	expect_nothing(g);
	guest_free(g);
}

static void test_header_and_bodies_up_to_the_largest(void **state)
{
	static const uint32_t sizes[] = { 1, 26, 27, 54, 55, 4096, 8189, 8190 };
	struct guest *g = offered(NULL);

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t *pfn = calloc(sizes[i], sizeof(*pfn));

		send_gpadl(g, 1, 1000 + i, pfn, sizes[i]);
		expect_created(g, 1000 + i, true);
		expect_nothing(g);
		free(pfn);
	}
	guest_free(g);
}

static void test_header_without_pfns_waits_for_bodies(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(3);

	(void)state;
	send_header(g, &m, 0);
	expect_nothing(g);
	send_body(g, 0, 3);
	expect_created(g, GPADL, true);
	guest_free(g);
}

static void test_bodies_may_be_counted(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(60);

	(void)state;
	send_header(g, &m, 26);
	send_body(g, 1, 28);
	send_body(g, 2, 6);
	expect_created(g, GPADL, true);
	guest_free(g);
}

static void test_bodies_out_of_order_are_refused(void **state)
{
	static const uint32_t wrong[] = { 2, 3, UINT32_MAX };
	struct guest *g = offered(NULL);
	struct header_message m = header_for(60);

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		send_header(g, &m, 26);
		send_body(g, wrong[i], 28);
		expect_refused(g);
		/* What still follows is swallowed. */
		send_body(g, 1, 28);
		send_body(g, 2, 6);
		expect_nothing(g);
		assert_int_equal(g->complaints, 0);
	}
	send_header(g, &m, 26);
	send_body(g, 1, 28);
	send_body(g, 1, 6);
	expect_refused(g);
	guest_free(g);
}

static void test_range_count_must_be_one(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(2);

	(void)state;
	m.h.range_count = 0;
	send_header(g, &m, 2);
	expect_refused(g);
	m.h.range_count = 2;
	send_header(g, &m, 2);
	expect_refused(g);
	m.h.range_count = UINT16_MAX;
	send_header(g, &m, 2);
	expect_refused(g);
	guest_free(g);
}

static void test_byte_counts_at_and_over_the_bounds(void **state)
{
	static const struct {
		uint32_t count, offset, buflen;
	} wrong[] = {
		{ 0, 0, 8 },
		{ 0, 0, 16 },
		{ 0, 1, 16 },
		/* 8,191 pages: 8 + 8 * 8,191 is the first length that 16 bits can't say */
		{ 8191 * 4096, 0, 0 },
		{ 8190 * 4096 + 1, 0, 0 },
		{ 8190 * 4096, 1, 0 },
		{ 8191 * 4096, 0, 65535 },
		{ 8190 * 4096 + 1, 0, 65535 },
		{ 8190 * 4096, 1, 65535 },
		{ UINT32_MAX, 0, 65535 },
		{ UINT32_MAX, 4095, 16 },
		{ UINT32_MAX, UINT32_MAX, 16 },
		/* 8,192 pages and more wrap range_buflen: 8 + 8 * 8192 = 65,544 */
		{ 8192 * 4096, 0, 8 },
		{ 8193 * 4096, 0, 16 },
		/* an offset beyond the first page; 1 + UINT32_MAX wraps to nothing in 32 bits */
		{ 4096, 4096, 16 },
		{ 4096, 4096, 24 },
		{ 1, UINT32_MAX, 16 },
		{ 1, UINT32_MAX, 8 },
	};
	struct guest *g = offered(NULL);
	struct header_message m = header_for(1);

	(void)state;
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		m.h.range.byte_count = wrong[i].count;
		m.h.range.byte_offset = wrong[i].offset;
		m.h.range_buflen = (uint16_t)wrong[i].buflen;
		send_header(g, &m, 1);
		expect_refused(g);
	}
	guest_free(g);
}

static void test_range_length_must_agree_with_the_bytes(void **state)
{
	static const uint16_t wrong[] = { 0, 7, 8, 16, 23, 25, 32, 65535 };
	struct guest *g = offered(NULL);
	struct header_message m = header_for(2);

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		m.h.range_buflen = wrong[i];
		send_header(g, &m, 2);
		expect_refused(g);
	}
	guest_free(g);
}

static void test_offset_counts_for_the_pages(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(2);

	(void)state;
	m.h.range.byte_offset = 4095;
	m.h.range.byte_count = 4097 - 4095 + 4095; /* bytes 4,095 to 8,191: exactly two pages */
	send_header(g, &m, 2);
	expect_created(g, GPADL, true);
	m.h.gpadl++;
	m.h.range.byte_count++; /* one more: three pages */
	send_header(g, &m, 2);
	expect_created(g, GPADL + 1, false);
	guest_free(g);
}

static void test_more_pfns_than_pages_in_the_header(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(2);

	(void)state;
	send_header(g, &m, 3);
	expect_refused(g);
	send_header(g, &m, 26);
	expect_refused(g);
	guest_free(g);
}

static void test_more_pfns_than_pages_in_a_body(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(30);

	(void)state;
	send_header(g, &m, 26);
	send_body(g, 0, 5);
	expect_refused(g);
	send_header(g, &m, 26);
	send_body(g, 0, 28);
	expect_refused(g);
	guest_free(g);
}

static void test_half_pfns_and_empty_bodies(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(30);
	struct body_message b = { .b.header.type = VMBUS_MSG_GPADL_BODY, .b.gpadl = GPADL };

	(void)state;
	assert_int_equal(guest_send(g, &m, sizeof(m.h) + 12), 0);
	expect_refused(g);
	send_header(g, &m, 26);
	assert_int_equal(guest_send(g, &b, sizeof(b.b) + 4), 0);
	expect_refused(g);
	send_header(g, &m, 26);
	assert_int_equal(guest_send(g, &b, sizeof(b.b)), 0);
	expect_refused(g);
	guest_free(g);
}

static void test_bodies_after_the_last(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(2);

	(void)state;
	send_header(g, &m, 2);
	expect_created(g, GPADL, true);
	send_body(g, 0, 1);
	expect_complaint(g);
	expect_nothing(g);
	guest_free(g);
}

static void test_duplicates_are_refused(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(30);
	struct device second = { 0 };

	(void)state;
	send_header(g, &m, 26);
	send_header(g, &m, 26); /* while the first is being created */
	expect_refused(g);
	send_body(g, 0, 4);
	expect_created(g, GPADL, true);
	send_header(g, &m, 26);
	expect_refused(g);
	/* also on another channel: bodies name the id alone */
	guest_offer_instance(g, &second, 2);
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	m.h.relid = 2;
	send_header(g, &m, 26);
	expect_refused(g);
	guest_free(g);
}

static void test_unknown_relids_are_refused(void **state)
{
	static const uint32_t relids[] = { 0, 2, 2047, 2048, UINT32_MAX };
	struct guest *g = offered(NULL);
	struct header_message m = header_for(2);

	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		m.h.relid = relids[i];
		send_header(g, &m, 2);
		expect_refused(g);
	}
	guest_free(g);
}

static void test_bodies_of_nothing_are_swallowed(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	for (unsigned int i = 0; i < 1000; i++)
		send_body(g, i, 28);
	expect_nothing(g);
	guest_free(g);
}

static void test_the_number_of_gpadls_is_limited(void **state)
{
	struct vmbus_limits limits = { .max_gpadls = 3 };
	struct guest *g = offered(&limits);
	struct header_message m = header_for(100);

	(void)state;
	/* Headers without bodies count as well. */
	for (m.h.gpadl = 1; m.h.gpadl <= 3; m.h.gpadl++)
		send_header(g, &m, 26);
	expect_nothing(g);
	m.h.gpadl = GPADL;
	for (unsigned int i = 0; i < 100; i++) {
		send_header(g, &m, 26);
		expect_refused(g);
	}
	send_teardown(g, 1, 2);
	expect_torndown(g, 2);
	send_header(g, &m, 26);
	expect_nothing(g);
	guest_free(g);
}

static void test_the_bytes_of_gpadls_are_limited(void **state)
{
	struct vmbus_limits limits = { .max_gpadl_bytes = 10 * 4096 };
	struct guest *g = offered(&limits);
	struct header_message m = header_for(11);

	(void)state;
	send_header(g, &m, 11);
	expect_refused(g);
	guest_gpadl(g, 1, 0, 4);
	guest_gpadl(g, 2, 0, 6);
	m = header_for(1);
	send_header(g, &m, 1);
	expect_refused(g);
	send_teardown(g, 1, 1);
	expect_torndown(g, 1);
	guest_gpadl(g, 3, 0, 4);
	guest_free(g);
}

static void test_a_refused_body_gives_its_bytes_back(void **state)
{
	struct vmbus_limits limits = { .max_gpadls = 1, .max_gpadl_bytes = 30 * 4096 };
	struct guest *g = offered(&limits);
	struct header_message m = header_for(30);

	(void)state;
	for (unsigned int i = 0; i < 10; i++) {
		send_header(g, &m, 26);
		send_body(g, 0, 28);
		expect_refused(g);
	}
	guest_free(g);
}

/* ---- Mapping --------------------------------------------------------------------------------- */

static void test_contiguous_pages_are_one_segment(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	guest_gpadl(g, GPADL, 100, 1000);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	assert_int_equal(count, 1);
	assert_ptr_equal(seg[0].data, g->ram + 100 * 4096);
	assert_int_equal(seg[0].size, 1000 * 4096);
	vmbus_gpadl_unmap(g->channel, GPADL);
	guest_free(g);
}

static void test_scattered_pages_are_runs(void **state)
{
	static const uint64_t pfn[] = { 7, 8, 9, 5, 4, 3, 3, 4, 2000 };
	static const struct {
		uint32_t first, pages;
	} runs[] = { { 7, 3 }, { 5, 1 }, { 4, 1 }, { 3, 1 }, { 3, 2 }, { 2000, 1 } };
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	send_gpadl(g, 1, GPADL, pfn, 9);
	expect_created(g, GPADL, true);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	assert_int_equal(count, 6);
	for (unsigned int i = 0; i < 6; i++) {
		assert_ptr_equal(seg[i].data, g->ram + runs[i].first * 4096ul);
		assert_int_equal(seg[i].size, runs[i].pages * 4096ul);
	}
	guest_free(g);
}

static void test_runs_end_where_a_region_does(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	for (uint32_t before = 1; before < 20; before++) {
		guest_gpadl(g, GPADL, REGION_PAGES - before, 20);
		assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
		assert_int_equal(count, 2);
		assert_int_equal(seg[0].size, before * 4096);
		assert_ptr_equal(seg[1].data, g->ram + REGION_PAGES * 4096);
		assert_int_equal(seg[1].size, (20 - before) * 4096);
		vmbus_gpadl_unmap(g->channel, GPADL);
		send_teardown(g, 1, GPADL);
		expect_torndown(g, GPADL);
	}
	guest_free(g);
}

static void test_pages_outside_memory_cant_be_mapped(void **state)
{
	static const uint64_t wrong[] = { RAM_PAGES,  RAM_PAGES + 1,	1ull << 40,	(1ull << 52) - 1,
					  1ull << 52, (1ull << 52) + 5, UINT64_MAX - 1, UINT64_MAX };
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t pfn[3] = { 1, wrong[i], 0 };

		for (unsigned int at = 0; at < 2; at++) {
			send_gpadl(g, 1, GPADL, pfn + at, 2);
			expect_created(g, GPADL, true);
			assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), -EFAULT);
			assert_false(vmbus_server_uses(g->server, 4096, 4096));
			send_teardown(g, 1, GPADL);
			expect_torndown(g, GPADL);
		}
	}
	/* The last page of memory and the one behind it, as one run. */
	guest_gpadl(g, GPADL, RAM_PAGES - 1, 2);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), -EFAULT);
	guest_free(g);
}

static void test_what_cant_be_mapped(void **state)
{
	struct guest *g = guest_opened(1);
	struct header_message m = header_for(30);
	struct device second = { 0 };
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	assert_int_equal(vmbus_gpadl_map(g->channel, 999, &seg, &count), -ENOENT);
	assert_int_equal(vmbus_gpadl_map(g->channel, RING_GPADL, &seg, &count), -EBUSY);
	send_header(g, &m, 26);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), -ENOENT);
	send_body(g, 0, 4);
	expect_created(g, GPADL, true);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), -EBUSY);
	guest_offer_instance(g, &second, 2);
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	send_gpadl_run(g, 2, 60, 0, 1);
	expect_created(g, 60, true);
	assert_int_equal(vmbus_gpadl_map(g->channel, 60, &seg, &count), -ENOENT);
	g->device.slow = true;
	guest_gpadl(g, 61, 0, 1);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	assert_int_equal(vmbus_gpadl_map(g->channel, 61, &seg, &count), -ENOENT);
	guest_free(g);
}

static void test_uses_tells_rings_and_mapped_pages(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	assert_true(vmbus_server_uses(g->server, RING_PFN * 4096, 4096));
	assert_true(vmbus_server_uses(g->server, (RING_PFN + 3) * 4096, 1));
	assert_false(vmbus_server_uses(g->server, (RING_PFN + 4) * 4096, 4096 * 50));
	guest_gpadl(g, GPADL, 100, 2);
	assert_false(vmbus_server_uses(g->server, 100 * 4096, 8192));
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	assert_true(vmbus_server_uses(g->server, 100 * 4096, 8192));
	assert_true(vmbus_server_uses(g->server, 101 * 4096, 8192));
	assert_true(vmbus_server_uses(g->server, 0, UINT64_MAX));
	assert_true(vmbus_server_uses(g->server, 99 * 4096, UINT64_MAX));
	assert_false(vmbus_server_uses(g->server, 102 * 4096, UINT64_MAX));
	assert_false(vmbus_server_uses(g->server, 100 * 4096, 0));
	assert_false(vmbus_server_uses(g->server, 90 * 4096, 10 * 4096));
	vmbus_gpadl_unmap(g->channel, GPADL);
	assert_false(vmbus_server_uses(g->server, 100 * 4096, 8192));
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	assert_false(vmbus_server_uses(g->server, 0, UINT64_MAX));
	guest_free(g);
}

/* ---- Teardown -------------------------------------------------------------------------------- */

static void test_teardown_frees_the_id(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		guest_gpadl(g, GPADL, 0, 60);
		send_teardown(g, 1, GPADL);
		expect_torndown(g, GPADL);
		expect_nothing(g);
	}
	assert_int_equal(g->complaints, 0);
	guest_free(g);
}

static void test_teardown_of_the_unknown_is_answered(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	send_teardown(g, 1, 4711);
	expect_torndown(g, 4711);
	send_teardown(g, 999, 4711);
	expect_torndown(g, 4711);
	guest_free(g);
}

static void test_teardown_between_header_and_body(void **state)
{
	struct guest *g = offered(NULL);
	struct header_message m = header_for(30);

	(void)state;
	send_header(g, &m, 26);
	send_teardown(g, 1, GPADL);
	expect_torndown(g, GPADL);
	send_body(g, 0, 4);
	expect_nothing(g);
	guest_free(g);
}

static void test_teardown_waits_for_the_unmap(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	guest_gpadl(g, GPADL, 100, 2);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	send_teardown(g, 1, GPADL);
	expect_nothing(g);
	assert_int_equal(seg[0].size, 8192);
	send_teardown(g, 1, GPADL);
	expect_complaint(g);
	expect_nothing(g);
	vmbus_gpadl_unmap(g->channel, GPADL);
	expect_torndown(g, GPADL);
	expect_nothing(g);
	vmbus_gpadl_unmap(g->channel, GPADL);
	guest_free(g);
}

static void test_teardown_of_the_ring_waits_for_close(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_teardown(g, 1, RING_GPADL);
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	expect_nothing(g);
	vmbus_channel_closed(g->channel);
	expect_torndown(g, RING_GPADL);
	expect_nothing(g);
	guest_free(g);
}

static void test_close_ends_mappings_left_over(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	guest_gpadl(g, GPADL, 100, 2);
	guest_gpadl(g, GPADL + 1, 200, 2);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL + 1, &seg, &count), 0);
	send_teardown(g, 1, GPADL);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	expect_torndown(g, GPADL);
	expect_nothing(g);
	send_teardown(g, 1, GPADL + 1);
	expect_torndown(g, GPADL + 1);
	guest_free(g);
}

static void test_teardown_by_a_wrong_relid_still_waits(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	guest_gpadl(g, GPADL, 100, 2);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	send_teardown(g, 9, GPADL);
	expect_complaint(g);
	expect_nothing(g);
	vmbus_gpadl_unmap(g->channel, GPADL);
	expect_torndown(g, GPADL);
	guest_free(g);
}

static void test_a_gpadl_being_torn_down_cant_be_mapped_or_opened(void **state)
{
	struct guest *g = guest_opened(1);
	const struct vmbus_segment *seg;
	uint32_t count;

	(void)state;
	guest_gpadl(g, GPADL, 100, 2);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), 0);
	send_teardown(g, 1, GPADL);
	assert_int_equal(vmbus_gpadl_map(g->channel, GPADL, &seg, &count), -EBUSY);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_message),
		cmocka_unit_test(test_header_and_bodies_up_to_the_largest),
		cmocka_unit_test(test_header_without_pfns_waits_for_bodies),
		cmocka_unit_test(test_bodies_may_be_counted),
		cmocka_unit_test(test_bodies_out_of_order_are_refused),
		cmocka_unit_test(test_range_count_must_be_one),
		cmocka_unit_test(test_byte_counts_at_and_over_the_bounds),
		cmocka_unit_test(test_range_length_must_agree_with_the_bytes),
		cmocka_unit_test(test_offset_counts_for_the_pages),
		cmocka_unit_test(test_more_pfns_than_pages_in_the_header),
		cmocka_unit_test(test_more_pfns_than_pages_in_a_body),
		cmocka_unit_test(test_half_pfns_and_empty_bodies),
		cmocka_unit_test(test_bodies_after_the_last),
		cmocka_unit_test(test_duplicates_are_refused),
		cmocka_unit_test(test_unknown_relids_are_refused),
		cmocka_unit_test(test_bodies_of_nothing_are_swallowed),
		cmocka_unit_test(test_the_number_of_gpadls_is_limited),
		cmocka_unit_test(test_the_bytes_of_gpadls_are_limited),
		cmocka_unit_test(test_a_refused_body_gives_its_bytes_back),
		cmocka_unit_test(test_contiguous_pages_are_one_segment),
		cmocka_unit_test(test_scattered_pages_are_runs),
		cmocka_unit_test(test_runs_end_where_a_region_does),
		cmocka_unit_test(test_pages_outside_memory_cant_be_mapped),
		cmocka_unit_test(test_what_cant_be_mapped),
		cmocka_unit_test(test_uses_tells_rings_and_mapped_pages),
		cmocka_unit_test(test_teardown_frees_the_id),
		cmocka_unit_test(test_teardown_of_the_unknown_is_answered),
		cmocka_unit_test(test_teardown_between_header_and_body),
		cmocka_unit_test(test_teardown_waits_for_the_unmap),
		cmocka_unit_test(test_teardown_of_the_ring_waits_for_close),
		cmocka_unit_test(test_close_ends_mappings_left_over),
		cmocka_unit_test(test_teardown_by_a_wrong_relid_still_waits),
		cmocka_unit_test(test_a_gpadl_being_torn_down_cant_be_mapped_or_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
