/* SPDX-License-Identifier: MIT */
/*
 * The memory of a guest: regions that its front-end passes as memfds, each mapped once and whole, and
 * the rings in them, mapped once more so that they don't wrap. All of it under the guard.
 */
#ifndef HOSTD_GUEST_MEMORY_H
#define HOSTD_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guard.h"

struct guest_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *data;
	int fd; /* kept for the rings */
	struct guard_range *guard;
	bool leaving; /* REGION_DEL came while in use */
};

struct guest_ring {
	struct guest_ring *next;
	void *start;
	size_t size; /* of the whole mapping */
	uint32_t mappings;
	struct guard_range *guard;
};

/*
 * Mappings of the process, which the kernel bounds: what all guests may have, and have. One guest may have a sixteenth
 * of what is left, so that however many take what they can get, the next still finds some.
 */
struct guest_mappings {
	uint32_t most;
	uint32_t taken; /* atomic */
};

struct guest_memory {
	struct guest_mappings *all;
	uint32_t mappings; /* this guest's of them */
	struct guest_region *regions;
	uint32_t count;
	uint32_t max_regions;
	uint64_t bytes;
	uint64_t max_bytes;
	bool trusted; /* a VMM: its memory may be sparse */
	uint32_t faulted; /* set by the guard */
	uint32_t leaving; /* atomic: regions that leave */
	struct guest_ring *rings;
};

/* Half of what a process may have. */
void guest_mappings_init(struct guest_mappings *all);
void guest_memory_init(struct guest_memory *memory, struct guest_mappings *all, uint32_t max_regions,
		       uint64_t max_bytes, bool trusted);
/* Unmaps everything. */
void guest_memory_free(struct guest_memory *memory);

/* Takes fd, also on failure. -EINVAL: not page-aligned, not a sealed memfd, sparse; -EEXIST: overlap; -ENOSPC: limit. */
int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size, int fd);
struct guest_region *guest_memory_find(struct guest_memory *memory, uint64_t gpa);
/* No use may begin in it any more; guest_memory_remove it when the last has ended. */
void guest_memory_leave(struct guest_memory *memory, struct guest_region *region);
void guest_memory_remove(struct guest_memory *memory, struct guest_region *region);

/* Where [gpa, gpa + size) is, or NULL unless one region that isn't leaving holds all of it. */
uint8_t *guest_memory_translate(struct guest_memory *memory, uint64_t gpa, uint64_t size);
/*
 * NULL and errno: EFAULT: not all of it is memory; ENOSPC: it is in too many pieces, each of them pages that follow one
 * another in memory, or no mappings are left; ENOMEM.
 */
#define GUEST_RING_PIECES 32u
void *guest_memory_map_ring(struct guest_memory *memory, const uint64_t *pfn, uint32_t count);
void guest_memory_unmap_ring(struct guest_memory *memory, void *ring);

bool guest_memory_faulted(const struct guest_memory *memory);

#endif /* HOSTD_GUEST_MEMORY_H */
