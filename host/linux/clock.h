/* SPDX-License-Identifier: MIT */
/*
 * CLOCK_MONOTONIC for a thread that asks twice in every call: between two looks at the real one, 100 us
 * apart at most, the time-stamp counter says how much has passed. That saves more than the half of a reading,
 * and the fence in it, which has every load before it (of a ring's next packets) finish first.
 *
 * A thread's clock never goes back, and is ahead of the real one by an interval at most, whatever the counter does.
 * It falls behind by as long as a counter stands still or runs slow, and notices that after 10 ms (a VM may wake up
 * on another machine); from then on the real clock alone is asked, until the rate holds again.
 */
#ifndef HOSTD_CLOCK_H
#define HOSTD_CLOCK_H

#include <stdint.h>

/* Zeroed at first. */
struct tsc_clock {
	uint64_t tsc; /* when last set */
	uint64_t ns; /* what was told then */
	uint64_t rate; /* ns per tick, 32.32 */
	uint64_t span; /* ticks for which `rate` may be trusted; 0: it isn't */
	uint64_t measured_tsc; /* where the measuring of the next rate began */
	uint64_t measured_ns;
};

/* The counter and the real clock, read at the same moment. Returns the time. */
uint64_t tsc_clock_set(struct tsc_clock *clock, uint64_t tsc, uint64_t real_ns);

/* Time at `tsc`, or 0: the clock wants to be set. */
static inline uint64_t tsc_clock_read(const struct tsc_clock *clock, uint64_t tsc)
{
	uint64_t ticks = tsc - clock->tsc;

	return ticks < clock->span ? clock->ns + (ticks * clock->rate >> 32) : 0;
}

#endif /* HOSTD_CLOCK_H */
