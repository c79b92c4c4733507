/* SPDX-License-Identifier: MIT */
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * A list that only grows, so that the signal handler can walk it without a lock at any moment. An
 * entry whose size is 0 is free for the next range; what was read of it counts if no change of hands came between.
 */
struct guard_range {
	struct guard_range *next;
	uintptr_t start; /* atomic, as is what follows */
	size_t size;
	uint32_t *faulted;
	uint32_t changes; /* odd while it changes hands */
};

static struct guard_range *ranges;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A copy of what an entry says. False: nothing, or it changed meanwhile, and then it wasn't the one that faulted. */
static bool peek(struct guard_range *range, struct guard_range *copy)
{
	uint32_t changes = __atomic_load_n(&range->changes, __ATOMIC_ACQUIRE);

	copy->start = __atomic_load_n(&range->start, __ATOMIC_RELAXED);
	copy->size = __atomic_load_n(&range->size, __ATOMIC_RELAXED);
	copy->faulted = __atomic_load_n(&range->faulted, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return copy->size && !(changes & 1) && __atomic_load_n(&range->changes, __ATOMIC_RELAXED) == changes;
}

/* Whose range has that address? It stays its range while somebody uses it, so while the access waits. */
static bool find(uintptr_t address, struct guard_range *found)
{
	struct guard_range *range = __atomic_load_n(&ranges, __ATOMIC_ACQUIRE);

	for (; range; range = range->next)
		if (peek(range, found) && address - found->start < found->size)
			return true;
	return false;
}

/* Under the lock. */
static void change(struct guard_range *range, uintptr_t start, size_t size, uint32_t *faulted)
{
	__atomic_store_n(&range->changes, range->changes + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&range->start, start, __ATOMIC_RELAXED);
	__atomic_store_n(&range->faulted, faulted, __ATOMIC_RELAXED);
	__atomic_store_n(&range->size, size, __ATOMIC_RELAXED);
	__atomic_store_n(&range->changes, range->changes + 1, __ATOMIC_RELEASE);
}

static bool zeros_at(uintptr_t start, size_t size)
{
	return mmap((void *)start, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* Of the whole range, so that it is in one mapping, not in one more for each page; or where that is too much, of the page. */
static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)4095;
	struct guard_range range;
	int saved = errno;

	(void)signal;
	(void)context;
	if (find(page, &range) && (zeros_at(range.start, range.size) || zeros_at(page, 4096))) {
		__atomic_store_n(range.faulted, 1, __ATOMIC_RELEASE);
		errno = saved;
		return;
	}
	/* Not a guest's: the access faults again, and then the default action ends the process. */
	sigaction(SIGBUS, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

int guard_install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	return sigaction(SIGBUS, &action, NULL) ? -errno : 0;
}

struct guard_range *guard_watch(void *start, size_t size, uint32_t *faulted)
{
	struct guard_range *range;

	pthread_mutex_lock(&lock);
	for (range = ranges; range && range->size; range = range->next)
		;
	if (!range) {
		range = calloc(1, sizeof(*range));
		if (range) {
			range->next = ranges;
			__atomic_store_n(&ranges, range, __ATOMIC_RELEASE);
		}
	}
	if (range)
		change(range, (uintptr_t)start, size, faulted);
	pthread_mutex_unlock(&lock);
	return range;
}

void guard_forget(struct guard_range *range)
{
	if (!range)
		return;
	pthread_mutex_lock(&lock);
	change(range, 0, 0, NULL);
	pthread_mutex_unlock(&lock);
}
