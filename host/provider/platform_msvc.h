/* SPDX-License-Identifier: MIT */
/*
 * platform.h's atomics for Microsoft's compiler, which has no __atomic. For x64: its loads acquire and its
 * stores release by themselves, so only the compiler must be kept from moving or splitting them.
 */
#ifndef WINAPI_PLATFORM_MSVC_H
#define WINAPI_PLATFORM_MSVC_H

#if !defined(_M_X64)
#error "these atomics rely on the memory model of x64"
#endif

#include <intrin.h>

static inline uint64_t wp_atomic_add64(uint64_t *p, uint64_t v)
{
	return (uint64_t)_InterlockedExchangeAdd64((volatile long long *)p, (long long)v) + v;
}
static inline uint64_t wp_atomic_load64(const uint64_t *p)
{
	return *(const volatile uint64_t *)p;
}
static inline void wp_atomic_store64(uint64_t *p, uint64_t v)
{
	*(volatile uint64_t *)p = v;
}
static inline uint32_t wp_atomic_load32(const uint32_t *p)
{
	uint32_t v = *(const volatile uint32_t *)p;

	_ReadWriteBarrier();
	return v;
}
static inline void wp_atomic_store32(uint32_t *p, uint32_t v)
{
	_ReadWriteBarrier();
	*(volatile uint32_t *)p = v;
}

#endif /* WINAPI_PLATFORM_MSVC_H */
