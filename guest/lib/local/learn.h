/* SPDX-License-Identifier: MIT */
/*
 * What recent calls taught about how long the next one takes, and so how long to poll for its reply. Numbers alone: no
 * clock is read here. Several threads may learn at once; a guess gone wrong by that costs one of them a needless poll.
 */
#ifndef WINAPI_LEARN_H
#define WINAPI_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#define LEARN_POLL_MAX_NS 200000u /* a sleeping host takes 45 to 90 us to wake up and answer */
#define LEARN_POLL_MIN_NS 5000u
#define LEARN_FIRST_NS 60000u
#define LEARN_USUAL_MIN_NS 1000u
#define LEARN_USUAL_MAX_NS (4 * LEARN_POLL_MAX_NS)
#define LEARN_EARLY_NS 100000u /* to wake up from a sleep that the clock ends */
#define LEARN_EARLY_MAX_NS 600000u

struct learned {
	uint64_t usual_ns; /* from call to reply: about the median; 0: nothing yet */
	uint64_t long_ns; /* the same of calls that outlast all polling */
	bool long_alike; /* the last two took about as long */
};

/*
 * Towards the median: a mean would give up polling for the sake of the one call in ten that waits a millisecond for
 * its host to be run, and each call would take a second wake-up from then on.
 */
static inline void learn_usual(struct learned *learned, uint64_t took_ns)
{
	uint64_t usual = __atomic_load_n(&learned->usual_ns, __ATOMIC_RELAXED);

	if (!usual)
		usual = LEARN_FIRST_NS;
	if (took_ns < usual)
		usual -= usual > LEARN_USUAL_MIN_NS ? usual / 8 : 0;
	else
		usual += usual < LEARN_USUAL_MAX_NS ? usual / 8 : 0;
	__atomic_store_n(&learned->usual_ns, usual, __ATOMIC_RELAXED);
}

/* How long polling is worth it. */
static inline uint64_t learned_poll_ns(const struct learned *learned)
{
	uint64_t usual = __atomic_load_n(&learned->usual_ns, __ATOMIC_RELAXED);

	if (!usual)
		usual = LEARN_FIRST_NS;
	if (usual > LEARN_POLL_MAX_NS)
		return LEARN_POLL_MIN_NS;
	return 3 * usual > LEARN_POLL_MAX_NS ? LEARN_POLL_MAX_NS : 3 * usual + LEARN_POLL_MIN_NS;
}

/* How long before its expected end a long call is polled for, and how long after it. */
static inline uint64_t learned_early_ns(uint64_t expected_ns)
{
	uint64_t early = expected_ns / 8 + LEARN_EARLY_NS;

	return early < LEARN_EARLY_MAX_NS ? early : LEARN_EARLY_MAX_NS;
}

/* Of calls that outlast all polling: where the last two took about as long, the next may too. */
static inline void learn_long(struct learned *learned, uint64_t took_ns)
{
	uint64_t last = __atomic_load_n(&learned->long_ns, __ATOMIC_RELAXED), early = learned_early_ns(last);
	bool alike = took_ns + early > last && took_ns < last + early;

	__atomic_store_n(&learned->long_ns, alike ? (3 * last + took_ns) / 4 : took_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&learned->long_alike, alike, __ATOMIC_RELAXED);
}

/* Waiting took that long: for one call, or for traffic of any kind, which says nothing of a call's length. */
static inline void learn_took(struct learned *learned, uint64_t took_ns, bool one_call)
{
	learn_usual(learned, took_ns);
	if (took_ns > LEARN_POLL_MAX_NS && one_call)
		learn_long(learned, took_ns);
}

/* How long a call that is still not over after all polling will have taken, or 0. */
static inline uint64_t learned_long_ns(const struct learned *learned)
{
	if (!__atomic_load_n(&learned->long_alike, __ATOMIC_RELAXED))
		return 0;
	return __atomic_load_n(&learned->long_ns, __ATOMIC_RELAXED);
}

#endif
