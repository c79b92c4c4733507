/* SPDX-License-Identifier: MIT */
/* VMBus server: open, close, MODIFY_CHANNEL. */
#include "vmbus_guest.h"

static struct guest *offered(const struct vmbus_limits *limits)
{
	struct guest *g = guest_new(limits);

	guest_with_offer(g);
	return g;
}

static void expect_open_refused(struct guest *g)
{
	expect_open(g, 1, false);
	expect_complaint(g);
	expect_nothing(g);
	assert_int_equal(g->rings, 0);
	assert_false(vmbus_channel_is_open(g->channel));
}

/* ---- Open ------------------------------------------------------------------------------------ */

static void test_open(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	assert_false(vmbus_channel_is_open(g->channel));
	guest_open(g, 5);
	assert_true(vmbus_channel_is_open(g->channel));
	assert_int_equal(vmbus_channel_ring_size(g->channel), 5 * 4096);
	assert_int_equal(g->device.opened, 1);
	assert_int_equal(g->rings, 2);
	assert_int_equal(g->complaints, 0);
	/* The host tells the guest that it honours pending_send_size. */
	assert_int_equal(((struct vmbus_ring_header *)g->down)->feature_bits, 1);
	guest_free(g);
}

static void test_rings_may_differ_in_size(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	guest_gpadl(g, RING_GPADL, RING_PFN, 12);
	send_open(g, 1, RING_GPADL, 0, 3);
	expect_open(g, 1, true);
	assert_int_equal(vmbus_channel_ring_size(g->channel), 8 * 4096);
	guest_free(g);
}

static void test_downstream_page_at_and_over_its_bounds(void **state)
{
	static const uint32_t wrong[] = { 0, 1, 9, 10, 11, 0x80000000, UINT32_MAX };
	static const uint32_t right[] = { 2, 5, 8 };
	struct guest *g = offered(NULL);

	(void)state;
	guest_gpadl(g, RING_GPADL, RING_PFN, 10);
	for (unsigned int i = 0; i < 7; i++) {
		send_open(g, 1, RING_GPADL, 0, wrong[i]);
		expect_open_refused(g);
	}
	for (unsigned int i = 0; i < 3; i++) {
		send_open(g, 1, RING_GPADL, 0, right[i]);
		expect_open(g, 1, true);
		send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	}
	guest_free(g);
}

static void test_gpadls_too_small_for_two_rings(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	for (uint32_t pages = 1; pages < 4; pages++) {
		guest_gpadl(g, pages, RING_PFN, pages);
		for (uint32_t down = 0; down < 5; down++) {
			send_open(g, 1, pages, 0, down);
			expect_open_refused(g);
		}
	}
	guest_free(g);
}

static void test_ring_pages_are_limited(void **state)
{
	struct vmbus_limits limits = { .max_ring_pages = 4 };
	struct guest *g = offered(&limits);

	(void)state;
	guest_gpadl(g, 1, RING_PFN, 8);
	guest_gpadl(g, 2, RING_PFN, 9);
	send_open(g, 1, 2, 0, 4);
	expect_open_refused(g);
	send_open(g, 1, 2, 0, 5);
	expect_open_refused(g);
	send_open(g, 1, 1, 0, 4);
	expect_open(g, 1, true);
	guest_free(g);
}

static void test_ring_gpadl_must_exist_complete_and_be_the_channels(void **state)
{
	struct {
		struct vmbus_gpadl_header h;
		uint64_t pfn[3];
	} __attribute__((packed)) head = {
		.h.header.type = VMBUS_MSG_GPADL_HEADER,
		.h.relid = 1,
		.h.gpadl = 5,
		.h.range_buflen = 8 + 4 * 8,
		.h.range_count = 1,
		.h.range.byte_count = 4 * 4096,
		.pfn = { 1, 2, 3 },
	};
	struct guest *g = offered(NULL);
	struct device second = { 0 };

	(void)state;
	send_open(g, 1, 4711, 0, 2);
	expect_open_refused(g);
	assert_int_equal(guest_send(g, &head, sizeof(head)), 0);
	send_open(g, 1, 5, 0, 2);
	expect_open_refused(g);
	guest_offer_instance(g, &second, 2);
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	send_gpadl_run(g, 2, 6, 0, 4);
	expect_created(g, 6, true);
	send_open(g, 1, 6, 0, 2);
	expect_open_refused(g);
	guest_free(g);
}

static void test_ring_must_be_whole_pages(void **state)
{
	struct {
		struct vmbus_gpadl_header h;
		uint64_t pfn[4];
	} __attribute__((packed)) head = {
		.h.header.type = VMBUS_MSG_GPADL_HEADER,
		.h.relid = 1,
		.h.gpadl = 5,
		.h.range_buflen = 8 + 4 * 8,
		.h.range_count = 1,
		.h.range.byte_count = 4 * 4096 - 1,
		.pfn = { 1, 2, 3, 4 },
	};
	struct guest *g = offered(NULL);

	(void)state;
	assert_int_equal(guest_send(g, &head, sizeof(head)), 0);
	expect_created(g, 5, true);
	send_open(g, 1, 5, 0, 2);
	expect_open_refused(g);
	head.h.gpadl = 6;
	head.h.range.byte_offset = 1;
	assert_int_equal(guest_send(g, &head, sizeof(head)), 0);
	expect_created(g, 6, true);
	send_open(g, 1, 6, 0, 2);
	expect_open_refused(g);
	guest_free(g);
}

static void test_ring_pages_must_be_in_memory(void **state)
{
	static const uint64_t outside[] = { RAM_PAGES, 1ull << 40, 1ull << 52, UINT64_MAX };
	struct guest *g = offered(NULL);

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		for (uint32_t at = 0; at < 4; at++) {
			uint64_t pfn[4] = { 1, 2, 3, 4 };

			pfn[at] = outside[i];
			send_gpadl(g, 1, 5, pfn, 4);
			expect_created(g, 5, true);
			send_open(g, 1, 5, 0, 2);
			expect_open_refused(g);
			assert_false(vmbus_server_uses(g->server, 0, UINT64_MAX));
			send_teardown(g, 1, 5);
			expect_torndown(g, 5);
		}
	assert_int_equal(g->device.opened, 0);
	guest_free(g);
}

static void test_an_owner_that_cant_map(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	guest_gpadl(g, RING_GPADL, RING_PFN, 4);
	g->map_fails = true;
	send_open(g, 1, RING_GPADL, 0, 2);
	expect_open_refused(g);
	g->map_fails = false;
	send_open(g, 1, RING_GPADL, 0, 2);
	expect_open(g, 1, true);
	guest_free(g);
}

static void test_a_page_twice_in_the_rings_is_the_guests_own_affair(void **state)
{
	static const uint64_t pfn[4] = { 9, 9, 9, 9 };
	struct guest *g = offered(NULL);

	(void)state;
	send_gpadl(g, 1, RING_GPADL, pfn, 4);
	expect_created(g, RING_GPADL, true);
	send_open(g, 1, RING_GPADL, 0, 2);
	expect_open(g, 1, true);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, "x", 1), 0);
	vmbus_channel_publish(g->channel);
	guest_free(g);
}

static void test_open_while_open(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	guest_gpadl(g, 5, 100, 4);
	send_open(g, 1, 5, 0, 2);
	expect_open(g, 1, false);
	expect_complaint(g);
	send_open(g, 1, RING_GPADL, 0, 2);
	expect_open(g, 1, false);
	expect_complaint(g);
	assert_true(vmbus_channel_is_open(g->channel));
	assert_int_equal(g->device.opened, 1);
	guest_free(g);
}

static void test_open_while_closing(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	guest_gpadl(g, 5, 100, 4);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	send_open(g, 1, 5, 0, 2);
	expect_open(g, 1, false);
	expect_complaint(g);
	vmbus_channel_closed(g->channel);
	send_open(g, 1, 5, 0, 2);
	expect_open(g, 1, true);
	guest_free(g);
}

static void test_open_of_unknown_relids(void **state)
{
	static const uint32_t relids[] = { 0, 2, 2047, 2048, UINT32_MAX };
	struct guest *g = offered(NULL);

	(void)state;
	guest_gpadl(g, RING_GPADL, RING_PFN, 4);
	for (unsigned int i = 0; i < 5; i++) {
		send_open(g, relids[i], RING_GPADL, 0, 2);
		expect_open(g, relids[i], false);
		expect_complaint(g);
	}
	guest_free(g);
}

static void test_a_device_may_refuse(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	g->device.open_status = 0xc000009a;
	g->device.map_in_opened = 5;
	guest_gpadl(g, 5, 100, 4);
	guest_gpadl(g, RING_GPADL, RING_PFN, 4);
	send_open(g, 1, RING_GPADL, 0, 2);
	assert_int_equal(expect(g, VMBUS_MSG_OPEN_RESULT)->open.status, 0xc000009a);
	assert_int_equal(g->rings, 0);
	assert_int_equal(g->device.closing, 0);
	send_teardown(g, 1, RING_GPADL);
	expect_torndown(g, RING_GPADL);
	send_teardown(g, 1, 5); /* mapped by the device that is none */
	expect_torndown(g, 5);
	guest_free(g);
}

/* ---- Close ----------------------------------------------------------------------------------- */

static void test_close_and_open_again(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	for (unsigned int i = 1; i <= 50; i++) {
		guest_open(g, 1);
		send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
		assert_int_equal(g->device.closing, i);
		assert_int_equal(g->rings, 0);
		send_teardown(g, 1, RING_GPADL);
		expect_torndown(g, RING_GPADL);
	}
	expect_nothing(g);
	assert_int_equal(g->complaints, 0);
	guest_free(g);
}

static void test_close_of_what_isnt_open(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	expect_complaint(g);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 0);
	expect_complaint(g);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, UINT32_MAX);
	expect_complaint(g);
	guest_open(g, 1);
	g->device.slow = true;
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	expect_complaint(g);
	assert_int_equal(g->device.closing, 1);
	expect_nothing(g);
	guest_free(g);
}

static void test_a_closed_channel_does_nothing(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_packet packet;

	(void)state;
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	vmbus_channel_closed(g->channel); /* once too often */
	assert_int_equal(vmbus_channel_next(g->channel, &packet), 0);
	assert_false(vmbus_channel_pending(g->channel));
	assert_false(vmbus_channel_unmask(g->channel));
	vmbus_channel_mask(g->channel);
	vmbus_channel_release(g->channel, true);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, "x", 1), -ENODEV);
	vmbus_channel_publish(g->channel);
	vmbus_channel_kick(g->channel);
	assert_int_equal(g->device.kicked, 0);
	assert_int_equal(g->signals, 0);
	guest_free(g);
}

static void test_replies_may_still_go_out_while_closing(void **state)
{
	struct guest *g = guest_opened(1);
	struct vmbus_ring_packet packet;

	(void)state;
	g->device.slow = true;
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_COMPLETION, 0, 1, "x", 1), 0);
	vmbus_channel_publish(g->channel);
	assert_int_equal(vmbus_ring_next(&g->in, &packet), 1);
	guest_free(g);
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

static void test_signals_go_to_the_vp_of_the_open(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, "x", 1), 0);
	assert_int_equal(g->signals, 0);
	vmbus_channel_publish(g->channel);
	assert_int_equal(g->signals, 1);
	assert_int_equal(g->signal_relid, 1);
	assert_int_equal(g->signal_vp, 3);
	guest_free(g);
}

static void test_modify_moves_the_signals(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	send_modify(g, 1, 7);
	assert_int_equal(expect(g, VMBUS_MSG_MODIFY_RESPONSE)->modify.status, 0);
	assert_int_equal(g->log[g->read - 1].modify.relid, 1);
	/* A signal may have gone to the old VP in between: the device looks at its rings. */
	assert_int_equal(g->device.kicked, 1);
	assert_int_equal(vmbus_channel_send(g->channel, VMBUS_PACKET_INBAND, 0, 0, "x", 1), 0);
	vmbus_channel_publish(g->channel);
	assert_int_equal(g->signal_vp, 7);
	guest_free(g);
}

static void test_modify_is_answered_from_5_3_on_only(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	g->channel = guest_offer_instance(g, &g->device, 1);
	guest_connect(g, VMBUS_VERSION_5_2);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_open(g, 1);
	send_modify(g, 1, 7);
	expect_nothing(g);
	assert_int_equal(g->device.kicked, 1);
	guest_free(g);
}

static void test_modify_of_what_isnt_open(void **state)
{
	static const uint32_t relids[] = { 1, 0, 2, UINT32_MAX };
	struct guest *g = offered(NULL);

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		send_modify(g, relids[i], 0);
		assert_int_not_equal(expect(g, VMBUS_MSG_MODIFY_RESPONSE)->modify.status, 0);
		expect_complaint(g);
	}
	guest_free(g);
}

static void test_kick_reaches_an_open_channel_only(void **state)
{
	struct guest *g = offered(NULL);

	(void)state;
	vmbus_channel_kick(g->channel);
	assert_int_equal(g->device.kicked, 0);
	guest_open(g, 1);
	vmbus_channel_kick(g->channel);
	assert_int_equal(g->device.kicked, 1);
	g->device.slow = true;
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	vmbus_channel_kick(g->channel);
	assert_int_equal(g->device.kicked, 1);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_rings_may_differ_in_size),
		cmocka_unit_test(test_downstream_page_at_and_over_its_bounds),
		cmocka_unit_test(test_gpadls_too_small_for_two_rings),
		cmocka_unit_test(test_ring_pages_are_limited),
		cmocka_unit_test(test_ring_gpadl_must_exist_complete_and_be_the_channels),
		cmocka_unit_test(test_ring_must_be_whole_pages),
		cmocka_unit_test(test_ring_pages_must_be_in_memory),
		cmocka_unit_test(test_an_owner_that_cant_map),
		cmocka_unit_test(test_a_page_twice_in_the_rings_is_the_guests_own_affair),
		cmocka_unit_test(test_open_while_open),
		cmocka_unit_test(test_open_while_closing),
		cmocka_unit_test(test_open_of_unknown_relids),
		cmocka_unit_test(test_a_device_may_refuse),
		cmocka_unit_test(test_close_and_open_again),
		cmocka_unit_test(test_close_of_what_isnt_open),
		cmocka_unit_test(test_a_closed_channel_does_nothing),
		cmocka_unit_test(test_replies_may_still_go_out_while_closing),
		cmocka_unit_test(test_signals_go_to_the_vp_of_the_open),
		cmocka_unit_test(test_modify_moves_the_signals),
		cmocka_unit_test(test_modify_is_answered_from_5_3_on_only),
		cmocka_unit_test(test_modify_of_what_isnt_open),
		cmocka_unit_test(test_kick_reaches_an_open_channel_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
