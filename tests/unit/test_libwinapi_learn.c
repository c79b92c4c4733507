/* SPDX-License-Identifier: MIT */
/* How long libwinapi would poll, after calls of given lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../guest/lib/local/learn.h"

#define US 1000u
#define MS 1000000u

static void call(struct learned *learned, uint64_t took_ns)
{
	learn_took(learned, took_ns, true);
}

static void calls(struct learned *learned, const uint64_t took_ns[4], unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		call(learned, took_ns[i % 4]);
}

static void the_first_call_is_polled_for(void **state)
{
	struct learned none = { .usual_ns = 0 };

	(void)state;
	assert_true(learned_poll_ns(&none) >= 90 * US); /* that a sleeping host may take */
	assert_int_equal(learned_long_ns(&none), 0);
}

static void polls_for_what_calls_usually_take(void **state)
{
	static const uint64_t us[] = { 1, 5, 20, 60, 100, 180 };

	(void)state;
	for (unsigned int i = 0; i < sizeof(us) / sizeof(us[0]); i++) {
		const uint64_t took[4] = { us[i] * US, us[i] * US, us[i] * US, us[i] * US };
		struct learned learned = { .usual_ns = 0 };

		calls(&learned, took, 100);
		assert_true(learned_poll_ns(&learned) > us[i] * US);
		assert_true(learned_poll_ns(&learned) <= LEARN_POLL_MAX_NS);
		assert_true(learned_poll_ns(&learned) < 4 * us[i] * US + 2 * LEARN_POLL_MIN_NS);
	}
}

/* As calls do whose host waits for a CPU now and then. */
static void polls_on_where_few_calls_take_long(void **state)
{
	static const uint64_t took[4] = { 20 * US, 20 * US, 20 * US, 3 * MS };
	struct learned learned = { .usual_ns = 0 };

	(void)state;
	calls(&learned, took, 100);
	for (unsigned int i = 0; i < 4; i++) {
		assert_true(learned_poll_ns(&learned) > 20 * US);
		call(&learned, took[i]);
	}
}

static void polls_shortly_where_most_calls_take_long(void **state)
{
	static const uint64_t took[4] = { 20 * US, 3 * MS, 3 * MS, 3 * MS };
	struct learned learned = { .usual_ns = 0 };

	(void)state;
	calls(&learned, took, 100);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(learned_poll_ns(&learned), LEARN_POLL_MIN_NS);
		call(&learned, took[i]);
	}
}

static void polls_again_when_calls_are_short_again(void **state)
{
	static const uint64_t slow[4] = { 9000 * MS, 9000 * MS, 9000 * MS, 9000 * MS },
			      quick[4] = { US, US, US, US };
	struct learned learned = { .usual_ns = 0 };

	(void)state;
	calls(&learned, slow, 10000);
	assert_int_equal(learned_poll_ns(&learned), LEARN_POLL_MIN_NS);
	calls(&learned, quick, 12);
	assert_true(learned_poll_ns(&learned) > LEARN_POLL_MIN_NS);
}

static void two_alike_tell_how_long_the_next_one_takes(void **state)
{
	struct learned learned = { .usual_ns = 0 };

	(void)state;
	call(&learned, 3 * MS);
	assert_int_equal(learned_long_ns(&learned), 0);
	call(&learned, 3 * MS + 100 * US);
	assert_true(learned_long_ns(&learned) >= 3 * MS && learned_long_ns(&learned) <= 3 * MS + 100 * US);
	call(&learned, 40 * MS);
	assert_int_equal(learned_long_ns(&learned), 0);
	call(&learned, 3 * MS);
	assert_int_equal(learned_long_ns(&learned), 0);
	call(&learned, 3 * MS);
	assert_int_equal(learned_long_ns(&learned), 3 * MS);
	call(&learned, 10 * US); /* says nothing of long ones, */
	learn_took(&learned, 40 * MS, false); /* and neither does other traffic */
	assert_int_equal(learned_long_ns(&learned), 3 * MS);
}

static void calls_that_differ_tell_nothing(void **state)
{
	static const uint64_t took[4] = { MS, 4 * MS, MS, 4 * MS };
	struct learned learned = { .usual_ns = 0 };

	(void)state;
	for (unsigned int i = 0; i < 20; i++) {
		call(&learned, took[i % 4]);
		assert_int_equal(learned_long_ns(&learned), 0);
	}
}

static void early_grows_with_the_call_up_to_a_bound(void **state)
{
	(void)state;
	assert_int_equal(learned_early_ns(0), LEARN_EARLY_NS);
	assert_int_equal(learned_early_ns(MS), MS / 8 + LEARN_EARLY_NS);
	assert_int_equal(learned_early_ns(60000ull * MS), LEARN_EARLY_MAX_NS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_call_is_polled_for),
		cmocka_unit_test(polls_for_what_calls_usually_take),
		cmocka_unit_test(polls_on_where_few_calls_take_long),
		cmocka_unit_test(polls_shortly_where_most_calls_take_long),
		cmocka_unit_test(polls_again_when_calls_are_short_again),
		cmocka_unit_test(two_alike_tell_how_long_the_next_one_takes),
		cmocka_unit_test(calls_that_differ_tell_nothing),
		cmocka_unit_test(early_grows_with_the_call_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
