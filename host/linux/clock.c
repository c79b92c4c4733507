/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <stdbool.h>
#include <time.h>

#include "../../common/hot.h"
#include "../provider/platform.h"

#define SPAN_NS 100000u
#define MEASURE_NS 10000000u /* two readings, each 100 ns off, make 20 ppm of it */
#define STEADY 512u /* NTP changes the rate by 1/2000 at most */

static bool steady(uint64_t rate, uint64_t before)
{
	return (rate > before ? rate - before : before - rate) < rate / STEADY;
}

static void measure(struct tsc_clock *clock, uint64_t tsc, uint64_t real_ns)
{
	uint64_t ticks = tsc - clock->measured_tsc, ns = real_ns - clock->measured_ns, rate;

	if (ns < MEASURE_NS)
		return;
	/* A counter slower than 250 kHz, or one that went back (by a huge number of ticks), is of no use. */
	rate = ticks > ns >> 12 ? (uint64_t)((double)ns / (double)ticks * 4294967296.0) : 0;
	clock->span = rate && steady(rate, clock->rate) ? ((uint64_t)SPAN_NS << 32) / rate : 0;
	clock->rate = rate;
	clock->measured_tsc = tsc;
	clock->measured_ns = real_ns;
}

/* The latest time that may have been told since it was set. */
static uint64_t told(const struct tsc_clock *clock, uint64_t tsc)
{
	uint64_t ticks = tsc - clock->tsc;

	return clock->ns + ((ticks < clock->span ? ticks : clock->span) * clock->rate >> 32);
}

HOT_PATH uint64_t tsc_clock_set(struct tsc_clock *clock, uint64_t tsc, uint64_t real_ns)
{
	uint64_t least = told(clock, tsc);

	if (real_ns < least)
		return least; /* it stands still until the real clock has caught up */
	clock->tsc = tsc;
	clock->ns = real_ns;
	measure(clock, tsc, real_ns);
	return real_ns;
}

static uint64_t real_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

#ifdef __x86_64__
#include <cpuid.h>

#define TOGETHER 1024u /* ticks: more between two readings of the counter, and an interrupt came between */

/* Does the counter run at one rate, and when the CPU idles? */
static bool invariant(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1u << 8;
}

static uint64_t set_clock(struct tsc_clock *clock)
{
	uint64_t before = __builtin_ia32_rdtsc(), real = real_clock();
	uint64_t least = told(clock, before);

	if (__builtin_ia32_rdtsc() - before < TOGETHER)
		return tsc_clock_set(clock, before, real);
	return real > least ? real : least;
}

HOT_PATH uint64_t wp_clock_ns(void)
{
	static __thread struct tsc_clock clock;
	static int known; /* 1: usable, -1: not; any thread finds the same */
	int usable;
	uint64_t now = tsc_clock_read(&clock, __builtin_ia32_rdtsc());

	if (now)
		return now;
	usable = __atomic_load_n(&known, __ATOMIC_RELAXED);
	if (!usable) {
		usable = invariant() ? 1 : -1;
		__atomic_store_n(&known, usable, __ATOMIC_RELAXED);
	}
	return usable > 0 ? set_clock(&clock) : real_clock();
}
#else
uint64_t wp_clock_ns(void)
{
	return real_clock();
}
#endif
