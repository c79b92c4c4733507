/* SPDX-License-Identifier: MIT */
/*
 * Work on plain memory at the speed of memory: CRC32C, the test pattern, reading every byte.
 * Depends on nothing, so that the provider, libwinapi and the benchmarks run the very same loops.
 * Filling with a constant and copying are memset and memcpy.
 *
 * The other side may change the memory while these run: results are then arbitrary, nothing else
 * is.
 */
#ifndef WINAPI_MEMORY_OPS_H
#define WINAPI_MEMORY_OPS_H

#include <stddef.h>
#include <stdint.h>

#define MEMORY_NO_MISMATCH UINT64_MAX

/* CRC32C of `size` more bytes: start with 0, hand in the result to go on. "123456789": 0xe3069283.
 */
uint32_t memory_crc32c(uint32_t crc, const void *data, size_t size);
/* The same without special instructions, for other CPUs and to test against. */
uint32_t memory_crc32c_portable(uint32_t crc, const void *data, size_t size);

/* Fills with the pattern of winapi_pattern_word, from byte `position` of its stream on. */
void memory_fill(void *data, size_t size, uint64_t seed, uint64_t position);
/* Offset from `data` of the first byte that differs from that, or MEMORY_NO_MISMATCH. */
uint64_t memory_verify(const void *data, size_t size, uint64_t seed, uint64_t position);

/* Reads every byte. The result depends on each, so that no compiler leaves one out. */
uint64_t memory_read(const void *data, size_t size);

#endif /* WINAPI_MEMORY_OPS_H */
