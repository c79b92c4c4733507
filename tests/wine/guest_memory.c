/* SPDX-License-Identifier: MIT */
#include "guest_memory.h"

#include <errno.h>
#include <stdlib.h>

#include "linux.h"

#define PAGE 4096u

/* ---- Regions ------------------------------------------------------------------------------------------ */

static bool overlaps(const struct memory *memory, uint64_t gpa, uint64_t size)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		const struct memory_region *r = &memory->regions[i];

		if (gpa < r->gpa + r->size && r->gpa < gpa + size)
			return true;
	}
	return false;
}

/* What docs/vmbus-user.md asks of a region and its memfd. */
static int check(const struct memory *memory, uint64_t gpa, uint64_t size, int fd)
{
	struct lx_file file;

	if (!size || gpa % PAGE || size % PAGE || gpa > UINT64_MAX - size)
		return -EINVAL;
	if (memory->count >= MEMORY_MAX_REGIONS || size > MEMORY_MAX_BYTES - memory->bytes)
		return -ENOSPC;
	if (overlaps(memory, gpa, size))
		return -EEXIST;
	if (lx_file(fd, &file) || !file.sealed || !file.tmpfs || !file.regular)
		return -EINVAL;
	return file.size < size || file.allocated < size ? -EINVAL : 0;
}

int memory_add(struct memory *memory, uint64_t gpa, uint64_t size, int fd)
{
	struct memory_region region = { .gpa = gpa, .size = size, .fd = fd };
	int err = check(memory, gpa, size, fd);

	if (!err) {
		struct memory_region *grown = realloc(memory->regions, (memory->count + 1) * sizeof(*grown));

		if (grown) {
			memory->regions = grown;
			region.data = lx_mmap(NULL, size, LX_PROT_RW, LX_MAP_SHARED | LX_MAP_POPULATE, fd, 0);
		}
		err = region.data ? 0 : -ENOMEM;
	}
	if (err) {
		lx_close(fd);
		return err;
	}
	memory->regions[memory->count++] = region;
	memory->bytes += size;
	return 0;
}

void memory_remove(struct memory *memory, struct memory_region *region)
{
	lx_munmap(region->data, region->size);
	lx_close(region->fd);
	memory->bytes -= region->size;
	*region = memory->regions[--memory->count];
}

void memory_free(struct memory *memory)
{
	while (memory->count)
		memory_remove(memory, &memory->regions[memory->count - 1]);
	free(memory->regions);
	memory->regions = NULL;
}

struct memory_region *memory_find(struct memory *memory, uint64_t gpa)
{
	for (uint32_t i = 0; i < memory->count; i++)
		if (memory->regions[i].gpa == gpa)
			return &memory->regions[i];
	return NULL;
}

uint8_t *memory_at(struct memory *memory, uint64_t gpa, uint64_t size)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		struct memory_region *r = &memory->regions[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && size <= r->size - (gpa - r->gpa))
			return r->leaving ? NULL : r->data + (gpa - r->gpa);
	}
	return NULL;
}

/* ---- Ranges of their own ------------------------------------------------------------------------------ */

static const struct memory_region *region_of(const struct memory *memory, const uint8_t *data)
{
	for (uint32_t i = 0; i < memory->count; i++)
		if (data >= memory->regions[i].data &&
		    data < memory->regions[i].data + memory->regions[i].size)
			return &memory->regions[i];
	return NULL;
}

/* Maps whole pages of a region once more, at `at`. */
static bool map_again(const struct memory *memory, uint8_t *at, const uint8_t *data, size_t size)
{
	const struct memory_region *r = region_of(memory, data);

	return r && lx_mmap(at, size, LX_PROT_RW, LX_MAP_SHARED | LX_MAP_FIXED | LX_MAP_POPULATE, r->fd,
			    (uint64_t)(data - r->data));
}

static bool map_pages(struct memory *memory, uint8_t *at, const uint64_t *pfn, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *data = memory_at(memory, pfn[i] * PAGE, PAGE);

		if (!data || !map_again(memory, at + (size_t)i * PAGE, data, PAGE))
			return false;
	}
	return true;
}

static uint8_t *reserve(size_t size)
{
	return lx_mmap(NULL, size, LX_PROT_NONE, LX_MAP_PRIVATE | LX_MAP_ANONYMOUS, -1, 0);
}

void *memory_map_ring(struct memory *memory, const uint64_t *pfn, uint32_t count)
{
	size_t size = (2 * (size_t)count - 1) * PAGE;
	uint8_t *ring = reserve(size);

	if (!ring)
		return NULL;
	if (map_pages(memory, ring, pfn, count) &&
	    map_pages(memory, ring + (size_t)count * PAGE, pfn + 1, count - 1))
		return ring;
	lx_munmap(ring, size);
	return NULL;
}

void memory_unmap_ring(void *ring, uint32_t count)
{
	lx_munmap(ring, (2 * (size_t)count - 1) * PAGE);
}

void *memory_map_pieces(struct memory *memory, const struct vmbus_segment *piece, uint32_t count,
			size_t *size)
{
	size_t offset = (uintptr_t)piece[0].data % PAGE, at = 0;
	uint8_t *start;

	*size = offset;
	for (uint32_t i = 0; i < count; i++)
		*size += piece[i].size;
	*size = (*size + PAGE - 1) / PAGE * PAGE;
	start = reserve(*size);
	if (!start)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		size_t head = (uintptr_t)piece[i].data % PAGE; /* of the first piece alone */
		size_t bytes = (head + piece[i].size + PAGE - 1) / PAGE * PAGE;

		if (!map_again(memory, start + at, piece[i].data - head, bytes)) {
			lx_munmap(start, *size);
			return NULL;
		}
		at += bytes;
	}
	return start + offset;
}
