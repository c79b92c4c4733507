/* SPDX-License-Identifier: MIT */
/* VMBus server: offers, rescind in every state, release of relids. */
#include "vmbus_guest.h"

static void test_offer_carries_what_the_device_gave(void **state)
{
	static const uint8_t guid[16] = WINAPI_INTERFACE_GUID_BYTES;
	struct guest *g = guest_new(NULL);
	const struct vmbus_offer_channel *m;
	struct vmbus_offer offer = {
		.interface_type = WINAPI_INTERFACE_GUID_BYTES,
		.interface_instance = { 9 },
		.channel_flags = VMBUS_OFFER_NAMED_PIPE_MODE,
		.ops = &device_ops,
		.device = &g->device,
	};

	(void)state;
	memset(offer.user_defined, 0xab, sizeof(offer.user_defined));
	assert_non_null(vmbus_server_offer(g->server, &offer));
	guest_connect(g, VMBUS_VERSION_5_3);
	assert_int_equal(g->added, 0);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	assert_int_equal(g->log[g->read].size, 196);
	m = &expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer;
	assert_memory_equal(m->interface_type, guid, 16);
	assert_int_equal(m->interface_instance[0], 9);
	assert_memory_equal(m->user_defined, offer.user_defined, 120);
	assert_int_equal(m->channel_flags, VMBUS_OFFER_NAMED_PIPE_MODE);
	assert_int_equal(m->dedicated_interrupt, 1);
	assert_int_equal(m->monitor_allocated, 0);
	assert_int_equal(m->sub_channel_index, 0);
	assert_int_equal(m->relid, 1);
	assert_int_equal(m->connection_id, 0x2001);
	assert_int_equal(g->added_connection, 0x2001);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_nothing(g);
	guest_free(g);
}

static void test_late_offers_are_told_at_once(void **state)
{
	struct guest *g = guest_new(NULL);
	struct device second = { 0 };

	(void)state;
	guest_with_offer(g);
	guest_offer_instance(g, &second, 2);
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 2);
	expect_nothing(g);
	guest_free(g);
}

static void test_asking_again_brings_no_offer_twice(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_with_offer(g);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_nothing(g);
	guest_free(g);
}

static void test_an_owner_without_a_kick_makes_no_offer(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	g->added_error = -ENOSPC;
	guest_offer_instance(g, &g->device, 1);
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_complaint(g);
	guest_free(g);
}

static void test_relids_end_at_2047(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	for (unsigned int i = 0; i < VMBUS_MAX_CHANNELS + 1; i++) {
		struct vmbus_offer offer = { .ops = &device_ops, .device = &g->device };

		memcpy(offer.interface_instance, &i, sizeof(i));
		assert_non_null(vmbus_server_offer(g->server, &offer));
	}
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	for (unsigned int i = 1; i <= VMBUS_MAX_CHANNELS; i++)
		assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, i);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_complaint(g);
	guest_free(g);
}

/* ---- Rescind --------------------------------------------------------------------------------- */

static void rescind_and_expect(struct guest *g)
{
	vmbus_channel_rescind(g->channel);
	assert_int_equal(expect(g, VMBUS_MSG_RESCIND_OFFER)->channel.relid, 1);
	expect_nothing(g);
}

static void test_rescind_of_what_was_never_offered(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	g->channel = guest_offer_instance(g, &g->device, 1);
	vmbus_channel_rescind(g->channel);
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_nothing(g);
	assert_int_equal(g->added, 0);
	guest_free(g);
}

static void test_rescind_of_a_closed_channel_until_released(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_with_offer(g);
	rescind_and_expect(g);
	vmbus_channel_rescind(g->channel);
	expect_nothing(g);
	assert_int_equal(g->device.closing, 0);
	assert_int_equal(g->gone, 0);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	assert_int_equal(g->gone, 1);
	assert_int_equal(g->gone_relid, 1);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_complaint(g);
	guest_free(g);
}

static void test_rescind_of_an_open_channel_closes_it_first(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	vmbus_channel_rescind(g->channel);
	assert_int_equal(g->device.closing, 1);
	/* A Linux guest frees its memory on RESCIND_OFFER: not before the device has let go of it.
	 */
	expect_nothing(g);
	assert_int_equal(g->rings, 2);
	vmbus_channel_closed(g->channel);
	assert_int_equal(g->rings, 0);
	assert_int_equal(expect(g, VMBUS_MSG_RESCIND_OFFER)->channel.relid, 1);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	assert_int_equal(g->gone, 1);
	g->device.channel = NULL;
	guest_free(g);
}

static void test_rescind_while_the_guests_close_runs(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	vmbus_channel_rescind(g->channel);
	assert_int_equal(g->device.closing, 1);
	expect_nothing(g);
	vmbus_channel_closed(g->channel);
	expect(g, VMBUS_MSG_RESCIND_OFFER);
	expect_nothing(g);
	guest_free(g);
}

static void test_release_before_the_rescind_is_ignored(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_complaint(g);
	g->device.slow = true;
	vmbus_channel_rescind(g->channel);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_complaint(g);
	assert_int_equal(g->gone, 0);
	vmbus_channel_closed(g->channel);
	expect(g, VMBUS_MSG_RESCIND_OFFER);
	guest_free(g);
}

static void test_a_rescinded_channel_still_answers(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	guest_gpadl(g, 7, 100, 3);
	rescind_and_expect(g);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	expect_nothing(g);
	send_teardown(g, 1, RING_GPADL);
	expect_torndown(g, RING_GPADL);
	send_modify(g, 1, 1);
	assert_int_not_equal(expect(g, VMBUS_MSG_MODIFY_RESPONSE)->modify.status, 0);
	send_gpadl_run(g, 1, 8, 0, 60);
	expect_created(g, 8, false);
	send_open(g, 1, 7, 0, 2);
	expect_open(g, 1, false);
	expect_nothing(g);
	assert_int_equal(g->complaints, 0);
	/* The release takes along what the guest left, and its id is free again. */
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	g->device.channel = NULL;
	g->channel = guest_offer_instance(g, &g->device, 1);
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	guest_gpadl(g, 7, 100, 3);
	guest_open(g, 1);
	guest_free(g);
}

static void test_rescind_between_header_and_bodies(void **state)
{
	struct {
		struct vmbus_gpadl_body b;
		uint64_t pfn[2];
	} __attribute__((packed)) body = {
		.b.header.type = VMBUS_MSG_GPADL_BODY,
		.b.gpadl = 5,
		.pfn = { 1, 2 },
	};
	struct {
		struct vmbus_gpadl_header h;
		uint64_t pfn[1];
	} __attribute__((packed)) head = {
		.h.header.type = VMBUS_MSG_GPADL_HEADER,
		.h.relid = 1,
		.h.gpadl = 5,
		.h.range_buflen = 8 + 3 * 8,
		.h.range_count = 1,
		.h.range.byte_count = 3 * 4096,
	};
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_with_offer(g);
	assert_int_equal(guest_send(g, &head, sizeof(head)), 0);
	rescind_and_expect(g);
	assert_int_equal(guest_send(g, &body, sizeof(body)), 0);
	expect_created(g, 5, true);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	assert_int_equal(g->gone, 1);
	assert_int_equal(guest_send(g, &body, sizeof(body)), 0);
	expect_nothing(g);
	guest_free(g);
}

static void test_rescind_during_unload_says_nothing(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_plain(g, VMBUS_MSG_UNLOAD);
	vmbus_channel_rescind(g->channel);
	expect_nothing(g);
	vmbus_channel_closed(g->channel);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	expect_nothing(g);
	g->device.channel = NULL;
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_nothing(g);
	guest_free(g);
}

static void test_unload_instead_of_release(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_with_offer(g);
	rescind_and_expect(g);
	send_plain(g, VMBUS_MSG_UNLOAD);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	assert_int_equal(g->gone, 1);
	guest_free(g);
}

static void test_rescind_within_opened(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_with_offer(g);
	guest_gpadl(g, RING_GPADL, RING_PFN, 4);
	g->device.rescind_in_opened = true;
	send_open(g, 1, RING_GPADL, 0, 2);
	expect(g, VMBUS_MSG_RESCIND_OFFER);
	expect_open(g, 1, false);
	assert_int_equal(g->rings, 0);
	guest_free(g);
}

static void test_relids_arent_reused_before_their_release(void **state)
{
	struct guest *g = guest_new(NULL);
	struct device second = { 0 }, third = { 0 };

	(void)state;
	guest_with_offer(g);
	rescind_and_expect(g);
	guest_offer_instance(g, &second, 2);
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 2);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	guest_offer_instance(g, &third, 3);
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 1);
	guest_free(g);
}

static void test_the_same_instance_comes_back_after_the_release(void **state)
{
	struct guest *g = guest_new(NULL);
	struct device again = { 0 };

	(void)state;
	guest_with_offer(g);
	rescind_and_expect(g);
	guest_offer_instance(g, &again, 1);
	/* Linux would take it for a duplicate and drop it. */
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 1);
	expect_nothing(g);
	guest_free(g);
}

static void test_release_of_relids_out_of_range(void **state)
{
	static const uint32_t relids[] = { 0, 2, 2047, 2048, 4096, 0x10001, UINT32_MAX };
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_with_offer(g);
	for (unsigned int i = 0; i < 7; i++) {
		send_relid(g, VMBUS_MSG_RELID_RELEASED, relids[i]);
		expect_complaint(g);
	}
	expect_nothing(g);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offer_carries_what_the_device_gave),
		cmocka_unit_test(test_late_offers_are_told_at_once),
		cmocka_unit_test(test_asking_again_brings_no_offer_twice),
		cmocka_unit_test(test_an_owner_without_a_kick_makes_no_offer),
		cmocka_unit_test(test_relids_end_at_2047),
		cmocka_unit_test(test_rescind_of_what_was_never_offered),
		cmocka_unit_test(test_rescind_of_a_closed_channel_until_released),
		cmocka_unit_test(test_rescind_of_an_open_channel_closes_it_first),
		cmocka_unit_test(test_rescind_while_the_guests_close_runs),
		cmocka_unit_test(test_release_before_the_rescind_is_ignored),
		cmocka_unit_test(test_a_rescinded_channel_still_answers),
		cmocka_unit_test(test_rescind_between_header_and_bodies),
		cmocka_unit_test(test_rescind_during_unload_says_nothing),
		cmocka_unit_test(test_unload_instead_of_release),
		cmocka_unit_test(test_rescind_within_opened),
		cmocka_unit_test(test_relids_arent_reused_before_their_release),
		cmocka_unit_test(test_the_same_instance_comes_back_after_the_release),
		cmocka_unit_test(test_release_of_relids_out_of_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
