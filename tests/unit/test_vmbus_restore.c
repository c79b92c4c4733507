/* SPDX-License-Identifier: MIT */
/* VMBus server: taking over a guest that another back-end served. */
#include "vmbus_guest.h"

static struct vmbus_user_state state_of(uint32_t entries)
{
	return (struct vmbus_user_state){
		.magic = VMBUS_USER_MAGIC,
		.version = VMBUS_USER_VERSION,
		.bus_version = VMBUS_VERSION_5_3,
		.message_vp = 2,
		.flags = VMBUS_USER_STATE_OFFERS_REQUESTED,
		.entry_count = entries,
	};
}

static struct guest *restored(const struct vmbus_user_entry *entries, uint32_t count)
{
	struct vmbus_user_state s = state_of(count);
	struct guest *g = guest_new(NULL);

	g->channel = guest_offer_instance(g, &g->device, 1);
	assert_int_equal(vmbus_server_restore(g->server, &s, entries), 0);
	return g;
}

static void expect_rescind(struct guest *g, uint32_t relid)
{
	const struct logged *m = expect(g, VMBUS_MSG_RESCIND_OFFER);

	assert_int_equal(m->channel.relid, relid);
	assert_int_equal(m->vp, 2);
}

static void expect_offer(struct guest *g, uint32_t relid)
{
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, relid);
}

static void test_a_fresh_guest_has_no_state(void **state)
{
	struct vmbus_user_state s = { .magic = VMBUS_USER_MAGIC, .version = VMBUS_USER_VERSION };
	struct guest *g = guest_new(NULL);

	(void)state;
	assert_int_equal(vmbus_server_restore(g->server, &s, NULL), 0);
	expect_nothing(g);
	guest_with_offer(g);
	guest_free(g);
}

static void test_old_relids_are_rescinded_and_then_offers_come_anew(void **state)
{
	static const struct vmbus_user_entry entries[] = {
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 2047 },
	};
	struct guest *g = restored(entries, 2);

	(void)state;
	expect_rescind(g, 1);
	expect_rescind(g, 2047);
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 2047);
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_nothing(g);
	guest_open(g, 1);
	assert_int_equal(g->complaints, 0);
	guest_free(g);
}

static void test_offers_put_up_meanwhile_wait_too(void **state)
{
	static const struct vmbus_user_entry entry = { .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 };
	struct guest *g = restored(&entry, 1);
	struct device second = { 0 };

	(void)state;
	expect_rescind(g, 1);
	guest_offer_instance(g, &second, 2);
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_offer(g, 1);
	expect_offer(g, 2);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_free(g);
}

static void test_without_old_relids_offers_come_at_once(void **state)
{
	struct guest *g = restored(NULL, 0);

	(void)state;
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	expect_nothing(g);
	guest_free(g);
}

static void test_a_guest_that_hasnt_asked_for_offers_gets_none(void **state)
{
	struct vmbus_user_state s = state_of(0);
	struct guest *g = guest_new(NULL);

	(void)state;
	s.flags = 0;
	guest_offer_instance(g, &g->device, 1);
	assert_int_equal(vmbus_server_restore(g->server, &s, NULL), 0);
	expect_nothing(g);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_free(g);
}

static void test_asking_for_offers_while_old_relids_are_out(void **state)
{
	static const struct vmbus_user_entry entry = { .kind = VMBUS_USER_ENTRY_RELID, .relid = 3 };
	struct vmbus_user_state s = state_of(1);
	struct guest *g = guest_new(NULL);

	(void)state;
	s.flags = 0;
	guest_offer_instance(g, &g->device, 1);
	assert_int_equal(vmbus_server_restore(g->server, &s, &entry), 0);
	expect_rescind(g, 3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 3);
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_free(g);
}

static void test_unanswered_requests_are_answered_before_the_rescind(void **state)
{
	static const struct vmbus_user_entry entries[] = {
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 4 },
		{ .kind = VMBUS_USER_ENTRY_GPADL, .relid = 4, .gpadl = 50 },
		{ .kind = VMBUS_USER_ENTRY_TEARDOWN, .relid = 4, .gpadl = 51 },
		{ .kind = VMBUS_USER_ENTRY_OPEN, .relid = 4, .gpadl = 77 },
		{ .kind = VMBUS_USER_ENTRY_MODIFY, .relid = 4 },
	};
	struct guest *g = restored(entries, 5);

	(void)state;
	assert_int_equal(g->log[g->read].created.relid, 4);
	expect_created(g, 50, false);
	expect_torndown(g, 51);
	expect_open(g, 4, false);
	assert_int_not_equal(expect(g, VMBUS_MSG_MODIFY_RESPONSE)->modify.status, 0);
	expect_rescind(g, 4);
	expect_nothing(g);
	guest_free(g);
}

static void test_modify_has_no_answer_on_an_older_bus(void **state)
{
	static const struct vmbus_user_entry entry = { .kind = VMBUS_USER_ENTRY_MODIFY, .relid = 1 };
	struct vmbus_user_state s = state_of(1);
	struct guest *g = guest_new(NULL);

	(void)state;
	s.bus_version = VMBUS_VERSION_5_2;
	s.flags = 0;
	assert_int_equal(vmbus_server_restore(g->server, &s, &entry), 0);
	expect_nothing(g);
	guest_free(g);
}

static void test_an_unanswered_unload(void **state)
{
	static const struct vmbus_user_entry entries[] = {
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 },
		{ .kind = VMBUS_USER_ENTRY_UNLOAD },
		{ .kind = VMBUS_USER_ENTRY_TEARDOWN, .relid = 1, .gpadl = 51 },
	};
	struct guest *g = restored(entries, 3);

	(void)state;
	expect_torndown(g, 51);
	expect(g, VMBUS_MSG_UNLOAD_RESPONSE);
	expect_nothing(g);
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_free(g);
}

static void test_messages_for_old_relids_are_answered(void **state)
{
	static const struct vmbus_user_entry entry = { .kind = VMBUS_USER_ENTRY_RELID, .relid = 9 };
	struct guest *g = restored(&entry, 1);

	(void)state;
	expect_rescind(g, 9);
	send_relid(g, VMBUS_MSG_CLOSE_CHANNEL, 9);
	send_teardown(g, 9, 1234);
	expect_torndown(g, 1234);
	send_modify(g, 9, 0);
	assert_int_not_equal(expect(g, VMBUS_MSG_MODIFY_RESPONSE)->modify.status, 0);
	send_gpadl_run(g, 9, 8, 0, 60);
	expect_created(g, 8, false);
	send_open(g, 9, 8, 0, 2);
	expect_open(g, 9, false);
	expect_nothing(g);
	assert_int_equal(g->complaints, 0);
	guest_free(g);
}

static void test_a_contact_clears_old_relids(void **state)
{
	static const struct vmbus_user_entry entry = { .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 };
	struct guest *g = restored(&entry, 1);

	(void)state;
	expect_rescind(g, 1);
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_complaint(g);
	guest_free(g);
}

static void test_a_relid_named_twice_is_one(void **state)
{
	static const struct vmbus_user_entry entries[] = {
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 },
	};
	struct guest *g = restored(entries, 2);

	(void)state;
	expect_rescind(g, 1);
	expect_nothing(g);
	send_relid(g, VMBUS_MSG_RELID_RELEASED, 1);
	expect_offer(g, 1);
	guest_free(g);
}

static void test_as_many_entries_as_there_can_be(void **state)
{
	struct vmbus_user_entry entries[VMBUS_USER_MAX_ENTRIES];
	struct guest *g;

	(void)state;
	for (uint32_t i = 0; i < VMBUS_USER_MAX_ENTRIES; i++)
		entries[i] = (struct vmbus_user_entry){ .kind = VMBUS_USER_ENTRY_RELID, .relid = i + 1 };
	g = restored(entries, VMBUS_USER_MAX_ENTRIES);
	for (uint32_t i = 0; i < VMBUS_USER_MAX_ENTRIES; i++)
		expect_rescind(g, i + 1);
	for (uint32_t i = VMBUS_USER_MAX_ENTRIES; i > 0; i--)
		send_relid(g, VMBUS_MSG_RELID_RELEASED, i);
	expect_offer(g, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
	guest_free(g);
}

/* ---- Refused --------------------------------------------------------------------------------- */

static void refuse(const struct vmbus_user_state *s, const struct vmbus_user_entry *entries)
{
	struct guest *g = guest_new(NULL);

	assert_int_equal(vmbus_server_restore(g->server, s, entries), -EPROTO);
	expect_nothing(g);
	guest_free(g);
}

static void test_states_that_make_no_sense(void **state)
{
	static const struct vmbus_user_entry entry = { .kind = VMBUS_USER_ENTRY_RELID, .relid = 1 };
	struct vmbus_user_state s;

	(void)state;
	s = state_of(0);
	s.magic++;
	refuse(&s, NULL);
	s = state_of(0);
	s.version++;
	refuse(&s, NULL);
	s = state_of(0);
	s.reserved = 1;
	refuse(&s, NULL);
	s = state_of(0);
	s.flags = 2;
	refuse(&s, NULL);
	s = state_of(0);
	s.bus_version = 0x70000;
	refuse(&s, NULL);
	s = state_of(VMBUS_USER_MAX_ENTRIES + 1);
	refuse(&s, NULL);
	s = state_of(UINT32_MAX);
	refuse(&s, NULL);
	s = state_of(1);
	s.bus_version = 0; /* a fresh guest has nothing to tell */
	refuse(&s, &entry);
}

static void test_entries_that_make_no_sense(void **state)
{
	static const struct vmbus_user_entry wrong[] = {
		{ .kind = 0, .relid = 1 },
		{ .kind = 7, .relid = 1 },
		{ .kind = UINT32_MAX, .relid = 1 },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 0 },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 2048 },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = UINT32_MAX },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 1, .reserved = 1 },
	};
	struct vmbus_user_state s = state_of(2);

	(void)state;
	for (unsigned int i = 0; i < 7; i++) {
		struct vmbus_user_entry entries[2] = {
			{ .kind = VMBUS_USER_ENTRY_TEARDOWN, .relid = 1, .gpadl = 5 },
			wrong[i],
		};

		refuse(&s, entries);
	}
}

static void test_only_before_contact(void **state)
{
	struct vmbus_user_state s = state_of(0);
	struct guest *g = guest_new(NULL);

	(void)state;
	guest_connect(g, VMBUS_VERSION_5_3);
	assert_int_equal(vmbus_server_restore(g->server, &s, NULL), -EPROTO);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fresh_guest_has_no_state),
		cmocka_unit_test(test_old_relids_are_rescinded_and_then_offers_come_anew),
		cmocka_unit_test(test_offers_put_up_meanwhile_wait_too),
		cmocka_unit_test(test_without_old_relids_offers_come_at_once),
		cmocka_unit_test(test_a_guest_that_hasnt_asked_for_offers_gets_none),
		cmocka_unit_test(test_asking_for_offers_while_old_relids_are_out),
		cmocka_unit_test(test_unanswered_requests_are_answered_before_the_rescind),
		cmocka_unit_test(test_modify_has_no_answer_on_an_older_bus),
		cmocka_unit_test(test_an_unanswered_unload),
		cmocka_unit_test(test_messages_for_old_relids_are_answered),
		cmocka_unit_test(test_a_contact_clears_old_relids),
		cmocka_unit_test(test_a_relid_named_twice_is_one),
		cmocka_unit_test(test_as_many_entries_as_there_can_be),
		cmocka_unit_test(test_states_that_make_no_sense),
		cmocka_unit_test(test_entries_that_make_no_sense),
		cmocka_unit_test(test_only_before_contact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
