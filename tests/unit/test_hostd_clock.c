/* SPDX-License-Identifier: MIT */
/* The clock between looks at the real one: with a counter made up here, then with this machine's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "../../host/linux/clock.h"
#include "../../host/provider/platform.h"

#define SPAN_NS 100000 /* what it may be off by while it hasn't noticed */
#define START_NS 5000000000000ull

/* A counter that runs beside a real clock. */
struct world {
	struct tsc_clock clock;
	uint64_t tsc;
	uint64_t ns;
	double ticks_per_ns;
	uint64_t told;
	int64_t ahead; /* the most that was told beyond the real time, of this walk */
	int64_t behind;
	unsigned int sets;
};

static void tell(struct world *w)
{
	uint64_t now = tsc_clock_read(&w->clock, w->tsc);
	int64_t off;

	if (!now) {
		now = tsc_clock_set(&w->clock, w->tsc, w->ns);
		w->sets++;
	}
	assert_true(now >= w->told);
	w->told = now;
	off = (int64_t)(now - w->ns);
	w->ahead = off > w->ahead ? off : w->ahead;
	w->behind = -off > w->behind ? -off : w->behind;
}

static void walk(struct world *w, uint64_t ns, uint64_t step)
{
	w->ahead = w->behind = 0;
	w->sets = 0;
	for (uint64_t i = 0; i < ns; i += step) {
		w->ns += step;
		w->tsc += (uint64_t)((double)step * w->ticks_per_ns);
		tell(w);
	}
}

static struct world world(double ticks_per_ns)
{
	/* The counter began with the clock, but not quite. */
	struct world w = { .tsc = 77, .ns = START_NS, .ticks_per_ns = ticks_per_ns };

	walk(&w, 50000000, 1000);
	return w;
}

static void test_steady(void **state)
{
	static const double rates[] = { 0.01, 1, 2.1, 4.2 };

	(void)state;
	for (unsigned int i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct world w = world(rates[i]);

		walk(&w, 1000000000, 1000);
		assert_true(w.ahead == 0);
		assert_true(w.behind <= 101); /* the counter's grain */
		assert_in_range(w.sets, 9000, 10100);
	}
}

static void test_pauses(void **state)
{
	struct world w = world(2.1);

	(void)state;
	walk(&w, 100ull * 3600 * 1000000000, 3600ull * 1000000000);
	assert_true(w.ahead == 0 && w.behind == 0);
	walk(&w, 20000000, 1000);
	assert_true(w.ahead == 0 && w.behind <= 10);
}

static void test_counter_goes_back(void **state)
{
	struct world w = world(2.1);

	(void)state;
	w.tsc = 5;
	walk(&w, 100000000, 1000);
	assert_true(w.ahead <= SPAN_NS && w.behind <= SPAN_NS);
	walk(&w, 100000000, 1000);
	assert_true(w.behind <= 10);
	assert_in_range(w.sets, 900, 1100);
}

static void test_counter_leaps(void **state)
{
	struct world w = world(2.1);

	(void)state;
	w.tsc += 1ull << 40;
	walk(&w, 100000000, 1000);
	assert_true(w.ahead <= SPAN_NS && w.behind <= SPAN_NS);
	assert_true(w.behind <= 10);
}

static void test_counter_stops(void **state)
{
	struct world w = world(2.1);

	(void)state;
	w.ticks_per_ns = 0;
	walk(&w, 1000000, 1000); /* all that time nothing tells it */
	assert_true(w.ahead == 0);
	w.tsc += 1ull << 30;
	w.ticks_per_ns = 2.1;
	walk(&w, 100000000, 1000);
	assert_true(w.ahead == 0 && w.behind <= 10);
}

static void test_other_rate(void **state)
{
	struct world w = world(2.1);

	(void)state;
	w.ticks_per_ns = 3.3;
	walk(&w, 10000000, 1000);
	assert_true(w.ahead <= SPAN_NS && w.behind <= 10);
	walk(&w, 30000000, 1000);
	w.ticks_per_ns = 1.1;
	walk(&w, 100000000, 1000);
	assert_true(w.ahead == 0 && w.behind <= 2 * SPAN_NS + 10); /* a span takes three times as long */
	walk(&w, 100000000, 1000);
	assert_in_range(w.sets, 900, 1100);
}

/* One that never keeps a rate is never trusted: every reading is a real one. */
static void test_no_rate(void **state)
{
	struct world w = { .tsc = 77, .ns = START_NS };

	(void)state;
	for (int i = 0; i < 50; i++) {
		w.ticks_per_ns = i % 2 ? 1 : 2;
		walk(&w, 10000000, 1000);
		assert_true(w.ahead == 0 && w.behind == 0);
	}
	assert_true(w.sets == 10000);
}

static uint64_t real_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void test_this_machine(void **state)
{
	uint64_t end = real_clock() + 200000000, last = 0, after = 0;

	(void)state;
	while (after < end) {
		uint64_t before = real_clock(), now = wp_clock_ns();

		after = real_clock();
		assert_true(now >= last);
		assert_true(now + SPAN_NS >= before && now <= after + SPAN_NS);
		last = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steady),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_counter_goes_back),
		cmocka_unit_test(test_counter_leaps),
		cmocka_unit_test(test_counter_stops),
		cmocka_unit_test(test_other_rate),
		cmocka_unit_test(test_no_rate),
		cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
