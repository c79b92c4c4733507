/* SPDX-License-Identifier: MIT */
/* VMBus server: contact, version negotiation, framing of control messages, unload. */
#include "vmbus_guest.h"

static const struct vmbus_version_response *contact(struct guest *g, uint32_t version)
{
	send_contact(g, version, 0);
	return &expect(g, VMBUS_MSG_VERSION_RESPONSE)->version;
}

static void test_every_known_version_is_accepted(void **state)
{
	static const uint32_t known[] = { 0x40000, 0x40001, 0x50000, 0x50001, 0x50002, 0x50003, 0x60000 };

	(void)state;
	for (unsigned int i = 0; i < 7; i++) {
		struct guest *g = guest_new(NULL);
		const struct vmbus_version_response *r = contact(g, known[i]);

		assert_int_equal(r->version_supported, 1);
		assert_int_equal(r->connection_state, 0);
		assert_int_equal(r->message_connection_id, known[i] >= 0x50000 ? 4 : 1);
		assert_int_equal(g->complaints, 0);
		guest_free(g);
	}
}

static void test_unknown_versions_are_refused_and_a_lower_one_may_follow(void **state)
{
	static const uint32_t unknown[] = { 0,	     0x0000d, 0x20004, 0x30000,	  0x40002,
					    0x50004, 0x60001, 0x70000, UINT32_MAX };
	struct guest *g = guest_new(NULL);

	(void)state;
	for (unsigned int i = 0; i < 9; i++)
		assert_int_equal(contact(g, unknown[i])->version_supported, 0);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect_complaint(g);
	expect_nothing(g);
	assert_int_equal(contact(g, VMBUS_VERSION_5_2)->version_supported, 1);
	guest_free(g);
}

static void test_versions_over_the_limit_are_refused(void **state)
{
	struct vmbus_limits limits = { .max_bus_version = VMBUS_VERSION_5_2 };
	struct guest *g = guest_new(&limits);

	(void)state;
	assert_int_equal(contact(g, VMBUS_VERSION_6_0)->version_supported, 0);
	assert_int_equal(contact(g, VMBUS_VERSION_5_3)->version_supported, 0);
	assert_int_equal(contact(g, VMBUS_VERSION_5_2)->version_supported, 1);
	guest_free(g);
}

static void test_another_sint_is_refused_from_5_0_on(void **state)
{
	struct vmbus_initiate_contact m = {
		.header.type = VMBUS_MSG_INITIATE_CONTACT,
		.version_requested = VMBUS_VERSION_5_3,
		.interrupt_page = 5,
	};
	struct guest *g = guest_new(NULL);

	(void)state;
	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->version.version_supported, 0);
	expect_complaint(g);
	/* Above the SINT's byte are a VTL and feature flags that are none of our business. */
	m.interrupt_page = 0xffffffffffffff00ull | VMBUS_SINT;
	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->version.version_supported, 1);
	guest_free(g);
}

static void test_messages_go_to_the_vp_of_the_contact(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	send_contact(g, VMBUS_VERSION_5_3, 5);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->vp, 5);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	assert_int_equal(expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED)->vp, 5);
	send_contact(g, VMBUS_VERSION_5_3, 2);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->vp, 2);
	guest_free(g);
}

static void test_impossible_sizes_end_the_guest(void **state)
{
	uint8_t m[512] = { VMBUS_MSG_REQUEST_OFFERS };
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_connect(g, VMBUS_VERSION_5_3);
	for (uint32_t size = 0; size < 8; size++)
		assert_int_equal(guest_send(g, m, size), -EPROTO);
	assert_int_equal(guest_send(g, m, 241), -EPROTO);
	assert_int_equal(guest_send(g, m, 512), -EPROTO);
	assert_int_equal(guest_send(g, m, UINT32_MAX), -EPROTO);
	expect_nothing(g);
	guest_free(g);
}

static void test_messages_shorter_than_their_type_end_the_guest(void **state)
{
	static const struct {
		uint32_t type, size;
	} kinds[] = {
		{ VMBUS_MSG_INITIATE_CONTACT, 40 }, { VMBUS_MSG_OPEN_CHANNEL, 148 },
		{ VMBUS_MSG_CLOSE_CHANNEL, 12 },    { VMBUS_MSG_GPADL_HEADER, 28 },
		{ VMBUS_MSG_GPADL_BODY, 16 },	    { VMBUS_MSG_GPADL_TEARDOWN, 16 },
		{ VMBUS_MSG_RELID_RELEASED, 12 },   { VMBUS_MSG_MODIFY_CHANNEL, 16 },
	};
	struct guest *g = guest_new(NULL);
	uint8_t m[256] = { 0 };

	(void)state;
	guest_connect(g, VMBUS_VERSION_5_3);
	for (unsigned int i = 0; i < 8; i++) {
		memcpy(m, &kinds[i].type, 4);
		for (uint32_t size = 8; size < kinds[i].size; size++)
			assert_int_equal(guest_send(g, m, size), -EPROTO);
	}
	expect_nothing(g);
	guest_free(g);
}

static void test_longer_messages_than_known_are_taken(void **state)
{
	uint8_t m[240] = { VMBUS_MSG_REQUEST_OFFERS };
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_connect(g, VMBUS_VERSION_5_3);
	assert_int_equal(guest_send(g, m, 240), 0);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	assert_int_equal(g->complaints, 0);
	guest_free(g);
}

static void test_unknown_types_are_complained_of_and_ignored(void **state)
{
	static const uint32_t types[] = { 0, 1, 2, 4, 6, 10, 12, 15, 17, 18, 21, 23, 24, 25, 255, UINT32_MAX };
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_connect(g, VMBUS_VERSION_5_3);
	for (unsigned int i = 0; i < 16; i++) {
		send_plain(g, types[i]);
		expect_complaint(g);
	}
	expect_nothing(g);
	guest_free(g);
}

static void test_nothing_works_before_contact(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_offer_instance(g, &g->device, 1);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 1);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	send_gpadl_run(g, 1, 1, 0, 1);
	send_open(g, 1, 1, 0, 2);
	send_teardown(g, 1, 1);
	send_modify(g, 1, 0);
	assert_int_equal(g->complaints, 7);
	expect_nothing(g);
	guest_free(g);
}

static void test_unload_is_answered_also_without_contact(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	send_plain(g, VMBUS_MSG_UNLOAD);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	expect_nothing(g);
	guest_free(g);
}

static void test_unload_closes_and_the_bus_can_be_loaded_again(void **state)
{
	struct guest *g = guest_new(NULL);

	(void)state;
	g->channel = guest_offer_instance(g, &g->device, 1);
	for (unsigned int cycle = 1; cycle <= 200; cycle++) {
		guest_connect(g, VMBUS_VERSION_5_3);
		send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
		assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 1);
		expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
		guest_open(g, 1);
		guest_gpadl(g, 5, 100, 30);
		send_plain(g, VMBUS_MSG_UNLOAD);
		expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
		expect_nothing(g);
		assert_int_equal(g->device.closing, cycle);
		assert_int_equal(g->gone, cycle);
		assert_int_equal(g->rings, 0);
		/* What a bus that is going down may still say is dropped. */
		send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
		expect_nothing(g);
	}
	guest_free(g);
}

static void test_unload_waits_for_the_device(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_plain(g, VMBUS_MSG_UNLOAD);
	assert_int_equal(g->device.closing, 1);
	expect_nothing(g);
	send_plain(g, VMBUS_MSG_UNLOAD);
	expect_nothing(g);
	vmbus_channel_closed(g->channel);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	expect_nothing(g);
	assert_int_equal(g->device.closing, 1);
	guest_free(g);
}

static void test_unload_waits_for_all_of_several_devices(void **state)
{
	struct guest *g = guest_opened(1);
	struct device second = { .slow = true };
	struct vmbus_channel *channel = guest_offer_instance(g, &second, 2);

	(void)state;
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	send_gpadl_run(g, 2, 200, 64, 4);
	expect_created(g, 200, true);
	send_open(g, 2, 200, 0, 2);
	expect_open(g, 2, true);
	send_plain(g, VMBUS_MSG_UNLOAD);
	assert_int_equal(g->device.closing, 1);
	assert_int_equal(second.closing, 1);
	expect_nothing(g);
	vmbus_channel_closed(channel);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	expect_nothing(g);
	guest_free(g);
}

static void test_unload_of_two_quick_devices_is_answered_once(void **state)
{
	struct guest *g = guest_opened(1);
	struct device second = { 0 };

	(void)state;
	guest_offer_instance(g, &second, 2);
	expect(g, VMBUS_MSG_OFFER_CHANNEL);
	send_gpadl_run(g, 2, 200, 64, 4);
	expect_created(g, 200, true);
	send_open(g, 2, 200, 0, 2);
	expect_open(g, 2, true);
	send_plain(g, VMBUS_MSG_UNLOAD);
	assert_int_equal(second.closing, 1);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	expect_nothing(g);
	guest_free(g);
}

static void test_second_contact_resets_the_bus(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_contact(g, VMBUS_VERSION_5_1, 1);
	/* The old kernel's memory is in use until the device says otherwise: no answer yet. */
	expect_nothing(g);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect_complaint(g);
	vmbus_channel_closed(g->channel);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->version.version_supported, 1);
	expect_nothing(g);
	assert_int_equal(g->gone, 1);
	/* Offers are asked for anew, old GPADLs are forgotten. */
	g->device.slow = false;
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_open(g, 1);
	guest_free(g);
}

static void test_the_last_of_several_contacts_is_answered(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_contact(g, VMBUS_VERSION_5_1, 1);
	send_contact(g, 0x70000, 4);
	vmbus_channel_closed(g->channel);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->vp, 4);
	assert_int_equal(g->log[g->read - 1].version.version_supported, 0);
	expect_nothing(g);
	guest_free(g);
}

static void test_contact_overtakes_an_unload(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_plain(g, VMBUS_MSG_UNLOAD);
	send_contact(g, VMBUS_VERSION_5_3, 0);
	send_plain(g, VMBUS_MSG_UNLOAD);
	expect_complaint(g);
	vmbus_channel_closed(g->channel);
	expect(g, VMBUS_MSG_VERSION_RESPONSE);
	expect_nothing(g);
	guest_free(g);
}

static void test_teardown_answers_of_the_old_kernel_dont_reach_the_new(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_teardown(g, 1, RING_GPADL);
	send_contact(g, VMBUS_VERSION_5_3, 0);
	vmbus_channel_closed(g->channel);
	expect(g, VMBUS_MSG_VERSION_RESPONSE);
	expect_nothing(g);
	guest_free(g);
}

static void test_a_guest_that_is_gone_gets_nothing(void **state)
{
	struct guest *g = guest_opened(1);

	(void)state;
	g->device.slow = true;
	send_teardown(g, 1, RING_GPADL);
	assert_false(vmbus_server_shut_down(g->server));
	assert_false(vmbus_server_shut_down(g->server));
	assert_int_equal(g->device.closing, 1);
	send_contact(g, VMBUS_VERSION_5_3, 0);
	vmbus_channel_closed(g->channel);
	assert_true(vmbus_server_shut_down(g->server));
	expect_nothing(g);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_known_version_is_accepted),
		cmocka_unit_test(test_unknown_versions_are_refused_and_a_lower_one_may_follow),
		cmocka_unit_test(test_versions_over_the_limit_are_refused),
		cmocka_unit_test(test_another_sint_is_refused_from_5_0_on),
		cmocka_unit_test(test_messages_go_to_the_vp_of_the_contact),
		cmocka_unit_test(test_impossible_sizes_end_the_guest),
		cmocka_unit_test(test_messages_shorter_than_their_type_end_the_guest),
		cmocka_unit_test(test_longer_messages_than_known_are_taken),
		cmocka_unit_test(test_unknown_types_are_complained_of_and_ignored),
		cmocka_unit_test(test_nothing_works_before_contact),
		cmocka_unit_test(test_unload_is_answered_also_without_contact),
		cmocka_unit_test(test_unload_closes_and_the_bus_can_be_loaded_again),
		cmocka_unit_test(test_unload_waits_for_the_device),
		cmocka_unit_test(test_unload_waits_for_all_of_several_devices),
		cmocka_unit_test(test_unload_of_two_quick_devices_is_answered_once),
		cmocka_unit_test(test_second_contact_resets_the_bus),
		cmocka_unit_test(test_the_last_of_several_contacts_is_answered),
		cmocka_unit_test(test_contact_overtakes_an_unload),
		cmocka_unit_test(test_teardown_answers_of_the_old_kernel_dont_reach_the_new),
		cmocka_unit_test(test_a_guest_that_is_gone_gets_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
