/* SPDX-License-Identifier: MIT */
/* VMBus server: packets of an open channel in both directions, GPA ranges, waiting for room. */
#include "vmbus_guest.h"

/* A packet from the guest; GPA ranges first, where there are any. */
static void guest_write(struct guest *g, uint16_t type, uint16_t flags, uint64_t id, const void *ranges,
			uint32_t ranges_size, const void *payload, uint32_t size)
{
	const struct vmbus_ring_part parts[] = {
		{ ranges, ranges_size },
		{ payload, size },
	};

	assert_int_equal(vmbus_ring_write(&g->out, type, flags, id, ranges_size, parts, 2), 0);
	vmbus_ring_publish(&g->out);
}

static void guest_write_inband(struct guest *g, uint64_t id, const void *payload, uint32_t size)
{
	guest_write(g, VMBUS_PACKET_INBAND, VMBUS_PACKET_FLAG_COMPLETION_REQUESTED, id, NULL, 0, payload,
		    size);
}

static void expect_malformed(struct guest *g)
{
	struct vmbus_packet packet;

	assert_int_equal(vmbus_channel_next(g->channel, &packet), -EPROTO);
	expect_complaint(g);
}

/* ---- In-band --------------------------------------------------------------------------------- */

static void test_inband_packets_arrive(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_packet packet;

	(void)state;
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 0);
	assert_false(vmbus_channel_pending(g->channel));
	guest_write_inband(g, 42, "hello", 5);
	guest_write(g, VMBUS_PACKET_INBAND, 0, 43, NULL, 0, NULL, 0);
	assert_true(vmbus_channel_pending(g->channel));
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.type, VMBUS_PACKET_INBAND);
	assert_int_equal(packet.transaction_id, 42);
	assert_true(packet.wants_completion);
	assert_int_equal(packet.payload_size, 8);
	assert_memory_equal(packet.payload, "hello\0\0", 8);
	assert_null(packet.segments);
	vmbus_channel_take(g->channel, &packet);
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.transaction_id, 43);
	/* A keyboard's driver asks for no completion: told, not enforced. */
	assert_false(packet.wants_completion);
	assert_int_equal(packet.payload_size, 0);
	vmbus_channel_take(g->channel, &packet);
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 0);
	guest_free(g);
}

static void test_a_packet_left_comes_again(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_packet packet;

	(void)state;
	guest_write_inband(g, 42, "hello", 5);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
		assert_int_equal(packet.transaction_id, 42);
		vmbus_channel_leave(g->channel, &packet);
	}
	guest_free(g);
}

static void test_other_packet_types_are_malformed(void **state)
{
	static const uint16_t types[] = { 0,  1,  4,  5,	 7, 8, 10, VMBUS_PACKET_COMPLETION,
					  12, 13, 14, UINT16_MAX };

	(void)state;
	for (unsigned int i = 0; i < 12; i++) {
		struct guest *g = guest_opened(1);

		guest_write(g, types[i], 1, 1, NULL, 0, "payload", 7);
		expect_malformed(g);
		guest_free(g);
	}
}

static void test_a_senseless_index_is_malformed(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	VMBUS_RING_STORE(&g->out.shared->write_index, 4096);
	expect_malformed(g);
	VMBUS_RING_STORE(&g->out.shared->write_index, 12);
	expect_malformed(g);
	guest_free(g);
}

/* ---- GPA-direct ------------------------------------------------------------------------------ */

#define MAX_PFNS 16386u

struct ranges {
	struct vmbus_gpa_direct head;
	struct vmbus_gpa_range range;
	uint64_t pfn[MAX_PFNS];
};

#define RANGES_SIZE(pages) (16 + 8 * (uint32_t)(pages))

static struct ranges *ranges_new(uint32_t bytes, uint32_t offset)
{
	struct ranges *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->head.range_count = 1;
	r->range.byte_count = bytes;
	r->range.byte_offset = offset;
	for (uint32_t i = 0; i < MAX_PFNS; i++)
		r->pfn[i] = 500 + i % 1000;
	return r;
}

static void guest_write_gpa(struct guest *g, const struct ranges *r, uint32_t size)
{
	guest_write(g, VMBUS_PACKET_GPA_DIRECT, VMBUS_PACKET_FLAG_COMPLETION_REQUESTED, 9, r, size, "payload",
		    8);
}

static void test_gpa_direct_is_translated(void **state)
{
	struct guest *g = guest_opened(1);
	struct ranges *r = ranges_new(3 * 4096, 0);
	struct vmbus_packet packet;

	(void)state;
	r->pfn[0] = 70;
	r->pfn[1] = 71;
	r->pfn[2] = 60;
	guest_write_gpa(g, r, RANGES_SIZE(3));
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.type, VMBUS_PACKET_GPA_DIRECT);
	assert_memory_equal(packet.payload, "payload", 8);
	assert_int_equal(packet.payload_size, 8);
	assert_int_equal(packet.segment_count, 2);
	assert_int_equal(packet.segment_bytes, 3 * 4096);
	assert_ptr_equal(packet.segments[0].data, g->ram + 70 * 4096);
	assert_int_equal(packet.segments[0].size, 8192);
	assert_ptr_equal(packet.segments[1].data, g->ram + 60 * 4096);
	assert_int_equal(packet.segments[1].size, 4096);
	vmbus_channel_leave(g->channel, &packet);
	assert_null(packet.segments);
	/* Left, it comes again; taken, its segments are the taker's. */
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	vmbus_channel_take(g->channel, &packet);
	assert_int_equal(packet.segment_count, 2);
	free(packet.segments);
	free(r);
	guest_free(g);
}

static void test_segments_are_the_ranges_bytes_and_no_more(void **state)
{
	struct guest *g = guest_opened(1);
	struct ranges *r = ranges_new(2, 4095);
	struct vmbus_packet packet;

	(void)state;
	r->pfn[0] = 60;
	r->pfn[1] = 70;
	guest_write_gpa(g, r, RANGES_SIZE(2));
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.segment_count, 2);
	assert_int_equal(packet.segment_bytes, 2);
	assert_ptr_equal(packet.segments[0].data, g->ram + 60 * 4096 + 4095);
	assert_int_equal(packet.segments[0].size, 1);
	assert_ptr_equal(packet.segments[1].data, g->ram + 70 * 4096);
	assert_int_equal(packet.segments[1].size, 1);
	vmbus_channel_leave(g->channel, &packet);
	free(r);
	guest_free(g);
}

static void test_64_mib_anywhere_in_a_page_is_the_most(void **state)
{
	struct guest *g = guest_opened(64);
	struct ranges *r = ranges_new(64u << 20, 4095);
	struct vmbus_packet packet;

	(void)state;
	guest_write_gpa(g, r, RANGES_SIZE(16385));
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.segment_bytes, 64u << 20);
	assert_int_equal(packet.segment_count, 17);
	vmbus_channel_leave(g->channel, &packet);
	free(r);
	guest_free(g);

	g = guest_opened(64);
	r = ranges_new((64u << 20) + 4097, 0); /* one page more */
	guest_write_gpa(g, r, RANGES_SIZE(16386));
	expect_malformed(g);
	free(r);
	guest_free(g);
}

static void test_range_counts_other_than_one_are_malformed(void **state)
{
	static const uint32_t counts[] = { 0, 2, 3, 0x10001, UINT32_MAX };

	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		struct guest *g = guest_opened(1);
		struct ranges *r = ranges_new(4096, 0);

		r->head.range_count = counts[i];
		guest_write_gpa(g, r, RANGES_SIZE(1));
		expect_malformed(g);
		free(r);
		guest_free(g);
	}
}

static void test_byte_counts_beyond_the_pfns_are_malformed(void **state)
{
	static const struct {
		uint32_t bytes, offset, pfns;
	} wrong[] = {
		{ 4096, 0, 0 },
		{ 4097, 0, 1 },
		{ 4096, 1, 1 },
		{ 2, 4095, 1 },
		{ 81 * 4096 + 1, 0, 81 },
		{ 0, 0, 1 },
		{ 0, 0, 0 },
		{ 0, 5, 1 },
		{ 1, 4096, 1 },
		{ 1, 4096, 2 },
		{ 1, UINT32_MAX, 1 },
		{ UINT32_MAX, 0, 1 },
		{ UINT32_MAX, 1, 1 },
		{ UINT32_MAX, 4095, 1 },
		{ UINT32_MAX, UINT32_MAX, 1 },
		{ 0x80000000, 0x80000000, 1 },
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct guest *g = guest_opened(1);
		struct ranges *r = ranges_new(wrong[i].bytes, wrong[i].offset);

		guest_write_gpa(g, r, RANGES_SIZE(wrong[i].pfns));
		expect_malformed(g);
		free(r);
		guest_free(g);
	}
}

static void test_ranges_too_short_for_their_head_are_malformed(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < 24; size += 8) {
		struct guest *g = guest_opened(1);
		struct ranges *r = ranges_new(4096, 0);
		struct vmbus_packet packet;

		/* The ranges of a packet before must not complete those of the next. */
		guest_write_gpa(g, r, RANGES_SIZE(1));
		assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
		vmbus_channel_take(g->channel, &packet);
		free(packet.segments);
		guest_write_gpa(g, r, size);
		expect_malformed(g);
		free(r);
		guest_free(g);
	}
}

static void test_more_pfns_than_needed_are_let_be(void **state)
{
	struct guest *g = guest_opened(1);
	struct ranges *r = ranges_new(4096, 0);
	struct vmbus_packet packet;

	(void)state;
	r->pfn[1] = UINT64_MAX;
	guest_write_gpa(g, r, RANGES_SIZE(10));
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.segment_bytes, 4096);
	vmbus_channel_leave(g->channel, &packet);
	free(r);
	guest_free(g);
}

static void test_pages_outside_memory_are_malformed(void **state)
{
	static const uint64_t outside[] = { RAM_PAGES, 1ull << 40, 1ull << 52, UINT64_MAX };

	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		for (unsigned int at = 0; at < 3; at++) {
			struct guest *g = guest_opened(1);
			struct ranges *r = ranges_new(3 * 4096, 0);

			r->pfn[at] = outside[i];
			guest_write_gpa(g, r, RANGES_SIZE(3));
			expect_malformed(g);
			free(r);
			guest_free(g);
		}
}

static void test_a_run_into_the_next_region_is_two_segments(void **state)
{
	struct guest *g = guest_opened(1);
	struct ranges *r = ranges_new(4 * 4096, 0);
	struct vmbus_packet packet;

	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		r->pfn[i] = REGION_PAGES - 1 + i;
	guest_write_gpa(g, r, RANGES_SIZE(4));
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	assert_int_equal(packet.segment_count, 2);
	assert_int_equal(packet.segments[0].size, 4096);
	assert_int_equal(packet.segments[1].size, 3 * 4096);
	vmbus_channel_leave(g->channel, &packet);
	free(r);
	guest_free(g);
}

/* ---- To the guest ---------------------------------------------------------------------------- */

static void test_packets_reach_the_guest_when_published(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_ring_packet packet;

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, i + 1, "reply!",
						    6),
				 0);
	assert_int_equal(vmbus_ring_next(&g->in, &packet), 0);
	vmbus_channel_publish(g->channel);
	assert_int_equal(g->signals, 1);
	vmbus_channel_publish(g->channel);
	assert_int_equal(g->signals, 1);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(vmbus_ring_next(&g->in, &packet), 1);
		assert_int_equal(packet.desc.type, VMBUS_PACKET_COMPLETION);
		assert_int_equal(packet.desc.transaction_id, i + 1);
		assert_int_equal(packet.payload_size, 8);
		assert_memory_equal(packet.payload, "reply!\0", 8);
		vmbus_ring_advance(&g->in, &packet);
	}
	assert_int_equal(vmbus_ring_next(&g->in, &packet), 0);
	guest_free(g);
}

static void test_a_masked_guest_gets_no_signal(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	vmbus_ring_mask(&g->in);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, "x", 1), 0);
	vmbus_channel_publish(g->channel);
	assert_int_equal(g->signals, 0);
	assert_true(vmbus_ring_unmask(&g->in));
	guest_free(g);
}

static void test_a_full_ring_publishes_and_asks_for_a_signal(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_ring_packet packet;
	uint8_t reply[1000] = { 0 }; /* 1,024 bytes in the ring */
	unsigned int sent = 0;

	(void)state;
	while (!vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, sent + 1, reply, 1000))
		sent++;
	assert_int_equal(sent, 3);
	/* Nobody called publish, and yet the guest can see what it is to read. */
	assert_int_equal(g->signals, 1);
	assert_int_equal(g->in.shared->pending_send_size, 1024);
	assert_int_equal(vmbus_ring_next(&g->in, &packet), 1);
	vmbus_ring_advance(&g->in, &packet);
	assert_true(vmbus_ring_release(&g->in, false));
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, 4, reply, 1000), 0);
	/* The wait is over. */
	assert_int_equal(g->in.shared->pending_send_size, 0);
	guest_free(g);
}

static void test_packets_that_never_fit(void **state)
{
	struct guest *g = guest_opened(1);
	uint8_t *data = calloc(1, 1 << 20);

	(void)state;
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, data, 4065), -EMSGSIZE);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, data, 1 << 20), -EMSGSIZE);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, data, UINT32_MAX),
			 -EMSGSIZE);
	assert_int_equal(g->in.shared->pending_send_size, 0);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, data, 4064), 0);
	free(data);
	guest_free(g);
}

static void test_a_guest_whose_index_is_nonsense(void **state)
{
	struct guest *g = guest_opened(1);
	uint8_t reply[1000] = { 0 };

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, 1, reply, 1000),
				 0);
	VMBUS_RING_STORE(&g->in.shared->read_index, 3);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, 1, reply, 1000), -EPROTO);
	guest_free(g);
}

/* ---- Signals for room, mask ------------------------------------------------------------------ */

static void test_release_signals_a_guest_that_waits_for_room(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_packet packet;
	uint8_t data[1000] = { 0 };

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		guest_write_inband(g, i, data, 1000);
	assert_int_equal(vmbus_ring_await_room(&g->out, 1024), -EAGAIN);
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	vmbus_channel_take(g->channel, &packet);
	vmbus_channel_release(g->channel, false);
	assert_int_equal(g->signals, 1);
	assert_int_equal(g->signal_vp, 3);
	assert_int_equal(vmbus_ring_refresh(&g->out), 0);
	assert_true(vmbus_ring_room(&g->out) > 1024);
	guest_free(g);
}

static void test_mask_and_unmask(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_packet packet;

	(void)state;
	vmbus_channel_mask(g->channel);
	assert_int_equal(g->out.shared->interrupt_mask, 1);
	guest_write_inband(g, 1, "x", 1);
	assert_true(vmbus_channel_unmask(g->channel));
	assert_int_equal(g->out.shared->interrupt_mask, 0);
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
	vmbus_channel_take(g->channel, &packet);
	/* Releases first, so that the guest's next packet finds the ring empty and signals. */
	assert_int_not_equal(g->out.shared->read_index, g->out.shared->write_index);
	assert_false(vmbus_channel_unmask(g->channel));
	assert_int_equal(g->out.shared->read_index, g->out.shared->write_index);
	guest_free(g);
}

static void test_many_packets_both_ways(void **state)
{
	struct guest *g = guest_opened(1);
	uint8_t data[512];
	uint64_t next = 0;

	(void)state;
	for (unsigned int i = 0; i < 5000; i++) {
		uint32_t size = (i * 37) % 512;
		struct vmbus_ring_packet reply;
		struct vmbus_packet packet;

		memset(data, (int)(i & 0xff), sizeof(data));
		guest_write_inband(g, i, data, size);
		assert_int_equal(vmbus_channel_next(g->channel, &packet), 1);
		assert_int_equal(packet.transaction_id, next++);
		assert_int_equal(packet.payload_size, (size + 7) / 8 * 8);
		assert_memory_equal(packet.payload, data, size);
		assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, i, packet.payload,
						    packet.payload_size),
				 0);
		vmbus_channel_take(g->channel, &packet);
		vmbus_channel_release(g->channel, false);
		vmbus_channel_publish(g->channel);
		assert_int_equal(vmbus_ring_next(&g->in, &reply), 1);
		assert_memory_equal(reply.payload, data, size);
		vmbus_ring_advance(&g->in, &reply);
		vmbus_ring_release(&g->in, true);
	}
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inband_packets_arrive),
		cmocka_unit_test(test_a_packet_left_comes_again),
		cmocka_unit_test(test_other_packet_types_are_malformed),
		cmocka_unit_test(test_a_senseless_index_is_malformed),
		cmocka_unit_test(test_gpa_direct_is_translated),
		cmocka_unit_test(test_segments_are_the_ranges_bytes_and_no_more),
		cmocka_unit_test(test_64_mib_anywhere_in_a_page_is_the_most),
		cmocka_unit_test(test_range_counts_other_than_one_are_malformed),
		cmocka_unit_test(test_byte_counts_beyond_the_pfns_are_malformed),
		cmocka_unit_test(test_ranges_too_short_for_their_head_are_malformed),
		cmocka_unit_test(test_more_pfns_than_needed_are_let_be),
		cmocka_unit_test(test_pages_outside_memory_are_malformed),
		cmocka_unit_test(test_a_run_into_the_next_region_is_two_segments),
		cmocka_unit_test(test_packets_reach_the_guest_when_published),
		cmocka_unit_test(test_a_masked_guest_gets_no_signal),
		cmocka_unit_test(test_a_full_ring_publishes_and_asks_for_a_signal),
		cmocka_unit_test(test_packets_that_never_fit),
		cmocka_unit_test(test_a_guest_whose_index_is_nonsense),
		cmocka_unit_test(test_release_signals_a_guest_that_waits_for_room),
		cmocka_unit_test(test_mask_and_unmask),
		cmocka_unit_test(test_many_packets_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
