/* SPDX-License-Identifier: MIT */
/*
 * All that the provider core asks of the system it runs on. Implemented by host/linux (threads),
 * by the Windows driver (pool, spin locks, system threads) and by tests (one thread, steps on demand).
 * The core calls nothing else and includes no system header.
 */
#ifndef WINAPI_PLATFORM_H
#define WINAPI_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Freestanding C, which every compiler supplies and none of its own headers need declare. */
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* Zeroed memory, aligned for any type, non-paged on Windows; NULL when there is none. */
void *wp_alloc(size_t size);
void wp_free(void *p); /* NULL is fine */

/*
 * A lock held for short, bounded sections without calls out of the core but wp_transport_ops.complete
 * and .publish.
 * Not recursive. On Windows a spin lock, so nothing under it may sleep or touch pageable memory.
 */
struct wp_lock {
	uint64_t opaque[8];
};
void wp_lock_init(struct wp_lock *lock);
void wp_lock_destroy(struct wp_lock *lock);
void wp_lock(struct wp_lock *lock);
void wp_unlock(struct wp_lock *lock);

/* Monotonic, ns. Called two times in every call, so make it cheap. */
uint64_t wp_clock_ns(void);

/* Runs work->run(work) once, soon, on a thread that may take long. The memory is the caller's. */
struct wp_work {
	void (*run)(struct wp_work *work);
	void *opaque[4]; /* the platform's, while queued */
};
void wp_work_queue(struct wp_work *work);

enum wp_log_level {
	WP_LOG_ERROR,
	WP_LOG_WARNING,
	WP_LOG_INFO,
	WP_LOG_DEBUG,
};
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void wp_log(enum wp_log_level level, const char *format, ...);

/* Sequentially consistent read-modify-write and plain acquire/release accesses of aligned words. */
#if defined(_MSC_VER) && !defined(__clang__)
#include "platform_msvc.h"
#else
static inline uint64_t wp_atomic_add64(uint64_t *p, uint64_t v)
{
	return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST);
}
/* For counters that one thread at a time changes and others read. */
static inline uint64_t wp_atomic_load64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void wp_atomic_store64(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}
static inline uint32_t wp_atomic_load32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static inline void wp_atomic_store32(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}
#endif

#endif /* WINAPI_PLATFORM_H */
