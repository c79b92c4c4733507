/* SPDX-License-Identifier: MIT */
/*
 * A platform for the provider core with one thread and no system behind it: the clock stands still
 * until a test moves it, work items run when a test says so, and any allocation can be made to
 * fail. So every test that uses it is deterministic.
 *
 * It also watches the core's manners: a lock taken twice or freed while held, memory taken or given
 * back or work queued under a lock, all abort with a word on stderr.
 */
#ifndef TESTS_PLATFORM_STEPS_H
#define TESTS_PLATFORM_STEPS_H

#include "../../host/provider/platform.h"

/* Forgets hooks, failures and logs; the clock is at 1,000,000. */
void steps_reset(void);

void steps_clock_advance(uint64_t ns);
/* Called on every reading of the clock outside locks, before it is read; NULL: none. */
void steps_on_clock(void (*hook)(void *context), void *context);

/* Runs the work item that was queued first. False: there was none. */
bool steps_run_one(void);
void steps_run_all(void);
unsigned int steps_queued(void);

/* The nth allocation from now on fails, 1 being the next; 0: none does. */
void steps_fail_allocation(unsigned int nth);
/* Has that one been asked for? */
bool steps_allocation_failed(void);
unsigned long steps_allocations(void); /* since the program began */
unsigned long steps_blocks(void); /* not yet freed */

bool steps_locked(void);
bool steps_working(void); /* inside a work item, as a worker would be */
const char *steps_last_log(void);

#endif /* TESTS_PLATFORM_STEPS_H */
