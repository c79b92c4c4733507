/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory in the driver's process: the regions of its front-end, each mapped once and whole, and
 * what needs an address range of its own: rings, and MDLs whose pages don't lie side by side. Pages are
 * mapped, never copied. All calls under the VM's lock.
 *
 * Real Windows locks a guest's pages, so no access to them can fault. Here one could when the machine
 * runs out of memory for a page with a hole; then the test's process ends.
 */
#ifndef TESTS_WINE_GUEST_MEMORY_H
#define TESTS_WINE_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../host/vmbus/vmbus_server.h"

#define MEMORY_MAX_REGIONS 2048u
#define MEMORY_MAX_BYTES (8ull << 30)

struct memory_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *data;
	int fd;
	bool leaving; /* REGION_DEL came while in use */
};

struct memory {
	struct memory_region *regions;
	uint32_t count;
	uint64_t bytes;
};

/* Takes fd, also on failure. 0 or what REGION_DONE says. */
int memory_add(struct memory *memory, uint64_t gpa, uint64_t size, int fd);
void memory_remove(struct memory *memory, struct memory_region *region);
void memory_free(struct memory *memory);
struct memory_region *memory_find(struct memory *memory, uint64_t gpa);

uint8_t *memory_at(struct memory *memory, uint64_t gpa, uint64_t size);
/* As vmbus_server_ops.map_ring says. */
void *memory_map_ring(struct memory *memory, const uint64_t *pfn, uint32_t count);
void memory_unmap_ring(void *ring, uint32_t count);

/*
 * Whole-page pieces of the regions side by side at one address; NULL: no memory. The pieces' first byte
 * and last may lie within a page. The offset into the first page is kept.
 */
void *memory_map_pieces(struct memory *memory, const struct vmbus_segment *piece, uint32_t count,
			size_t *size);

#endif /* TESTS_WINE_GUEST_MEMORY_H */
