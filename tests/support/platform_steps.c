/* SPDX-License-Identifier: MIT */
/* platform.h for one thread: see platform_steps.h. */
#include "platform_steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
	uint64_t now;
	void (*on_clock)(void *context);
	void *on_clock_context;
	struct wp_work *first;
	struct wp_work *last;
	unsigned int queued;
	unsigned int fail_in;
	bool failed;
	unsigned long allocations;
	unsigned long blocks;
	bool working;
	unsigned int locks_held;
	char log[256];
} steps;

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "platform_steps: %s\n", what);
	abort();
}

void steps_reset(void)
{
	require(!steps.first, "reset with work queued");
	steps.now = 1000000;
	steps.on_clock = NULL;
	steps.fail_in = 0;
	steps.failed = false;
	steps.log[0] = '\0';
}

/* ---- Memory ---------------------------------------------------------------------------------- */

void *wp_alloc(size_t size)
{
	void *p;

	require(!steps.locks_held, "allocation under a lock");
	steps.allocations++;
	if (steps.fail_in && !--steps.fail_in) {
		steps.failed = true;
		return NULL;
	}
	p = calloc(1, size);
	require(p, "out of memory");
	steps.blocks++;
	return p;
}

void wp_free(void *p)
{
	require(!steps.locks_held, "free under a lock");
	if (p)
		steps.blocks--;
	free(p);
}

void steps_fail_allocation(unsigned int nth)
{
	steps.fail_in = nth;
	steps.failed = false;
}

bool steps_allocation_failed(void)
{
	return steps.failed;
}

unsigned long steps_allocations(void)
{
	return steps.allocations;
}

unsigned long steps_blocks(void)
{
	return steps.blocks;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

enum { LOCK_GONE, LOCK_FREE = 0x10c, LOCK_HELD };

void wp_lock_init(struct wp_lock *lock)
{
	lock->opaque[0] = LOCK_FREE;
}

void wp_lock_destroy(struct wp_lock *lock)
{
	require(lock->opaque[0] == LOCK_FREE, "destroying a lock that isn't free");
	lock->opaque[0] = LOCK_GONE;
}

void wp_lock(struct wp_lock *lock)
{
	require(lock->opaque[0] == LOCK_FREE, "taking a lock that isn't free");
	lock->opaque[0] = LOCK_HELD;
	steps.locks_held++;
}

void wp_unlock(struct wp_lock *lock)
{
	require(lock->opaque[0] == LOCK_HELD, "releasing a lock that isn't held");
	lock->opaque[0] = LOCK_FREE;
	steps.locks_held--;
}

bool steps_locked(void)
{
	return steps.locks_held != 0;
}

bool steps_working(void)
{
	return steps.working;
}

/* ---- Clock ----------------------------------------------------------------------------------- */

uint64_t wp_clock_ns(void)
{
	if (steps.on_clock && !steps.locks_held)
		steps.on_clock(steps.on_clock_context);
	return steps.now;
}

void steps_clock_advance(uint64_t ns)
{
	steps.now += ns;
}

void steps_on_clock(void (*hook)(void *context), void *context)
{
	steps.on_clock = hook;
	steps.on_clock_context = context;
}

/* ---- Work ------------------------------------------------------------------------------------ */

void wp_work_queue(struct wp_work *work)
{
	require(!steps.locks_held, "work queued under a lock");
	for (const struct wp_work *other = steps.first; other; other = other->opaque[0])
		require(other != work, "work queued two times");
	work->opaque[0] = NULL;
	if (steps.last)
		steps.last->opaque[0] = work;
	else
		steps.first = work;
	steps.last = work;
	steps.queued++;
}

bool steps_run_one(void)
{
	struct wp_work *work = steps.first;

	if (!work)
		return false;
	steps.first = work->opaque[0];
	if (!steps.first)
		steps.last = NULL;
	steps.queued--;
	steps.working = true;
	work->run(work);
	steps.working = false;
	return true;
}

void steps_run_all(void)
{
	while (steps_run_one())
		;
}

unsigned int steps_queued(void)
{
	return steps.queued;
}

/* ---- Log ------------------------------------------------------------------------------------- */

void wp_log(enum wp_log_level level, const char *format, ...)
{
	va_list args;

	(void)level;
	va_start(args, format);
	vsnprintf(steps.log, sizeof(steps.log), format, args);
	va_end(args);
}

const char *steps_last_log(void)
{
	return steps.log;
}
