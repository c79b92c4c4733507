/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory. Each region is a memfd of its own, sealed so that the host knows its size is
 * final, with its pages allocated so that they are charged to this process. Addresses are never used twice.
 * All under buffers_lock
 * but memory_put_back.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "local.h"

#define SLAB_SIZE (2ull << 20)
#define PAGE ((uint64_t)VMBUS_PAGE_SIZE)

int memory_file(uint64_t size)
{
	int fd = memfd_create("winapi", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) || fallocate(fd, 0, 0, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int map_file(struct region *region, int fd)
{
	void *data = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (data == MAP_FAILED)
		return -errno;
	madvise(data, region->size, MADV_DONTFORK);
	region->data = data;
	return 0;
}

static int region_add(struct local *local, uint64_t size, bool slab, struct region **out, uint64_t deadline)
{
	struct region *region = calloc(1, sizeof(*region) + (slab ? size / PAGE : 0));
	int fd, err;

	if (!region)
		return fail(-ENOMEM, "no memory");
	region->size = size;
	region->gpa = local->next_gpa;
	/* A gap, so that nothing runs from one into the next; also where this fails, as its answer may be yet to come. */
	local->next_gpa += size + PAGE;
	if (slab) {
		region->used = (uint8_t *)(region + 1);
		region->free_pages = (uint32_t)(size / PAGE);
	}
	fd = memory_file(size);
	err = fd < 0 ? fd : map_file(region, fd);
	if (err) {
		fail(err, "no %llu bytes of shared memory: %s", (unsigned long long)size,
		     winapi_strerror(err));
	} else {
		err = bus_add_region(local, region->gpa, size, fd, deadline);
		if (err == -ETIMEDOUT)
			bus_remove_region(local, region->gpa, 0); /* for when the host gets to it */
		if (err)
			munmap(region->data, size);
	}
	if (fd >= 0)
		close(fd);
	if (err) {
		free(region);
		return err;
	}
	region->next = local->regions;
	local->regions = region;
	*out = region;
	return 0;
}

static void region_free(struct local *local, struct region *region)
{
	struct region **at = &local->regions;

	while (*at != region)
		at = &(*at)->next;
	*at = region->next;
	free(region);
}

/* The first place with so many pages free in a row, or the region's end. */
static uint32_t find_pages(const struct region *region, uint32_t pages)
{
	uint32_t total = (uint32_t)(region->size / PAGE), run = 0;

	for (uint32_t i = 0; i < total; i++) {
		run = region->used[i] ? 0 : run + 1;
		if (run == pages)
			return i + 1 - pages;
	}
	return total;
}

static bool slab_take(struct local *local, struct region *region, uint64_t size, struct piece *piece)
{
	uint32_t pages = (uint32_t)(size / PAGE), at;

	if (!region->used)
		return false;
	lock_take(&local->slab_lock);
	at = find_pages(region, pages);
	if (at < region->size / PAGE) {
		memset(region->used + at, 1, pages);
		region->free_pages -= pages;
	}
	lock_drop(&local->slab_lock);
	if (at == region->size / PAGE)
		return false;
	*piece = (struct piece){ region, region->data + at * PAGE, region->gpa + at * PAGE, size };
	memset(piece->data, 0, size);
	return true;
}

int memory_take(struct local *local, uint64_t size, struct piece *piece, uint64_t deadline)
{
	struct region *region;
	int err;

	size = (size + PAGE - 1) / PAGE * PAGE;
	if (size > SLAB_PIECE_MAX) {
		err = region_add(local, size, false, &region, deadline);
		if (!err)
			*piece = (struct piece){ region, region->data, region->gpa, size };
		return err;
	}
	for (region = local->regions; region; region = region->next)
		if (slab_take(local, region, size, piece))
			return 0;
	err = region_add(local, SLAB_SIZE, true, &region, deadline);
	if (!err)
		slab_take(local, region, size, piece);
	return err;
}

/* The last slab stays: small buffers come and go. */
static bool keep(const struct local *local, const struct region *region)
{
	for (const struct region *r = local->regions; r; r = r->next)
		if (r->used && r != region)
			return false;
	return true;
}

void memory_put_back(struct local *local, struct piece *piece)
{
	struct region *region = piece->region;
	uint32_t pages = (uint32_t)(piece->size / PAGE);

	lock_take(&local->slab_lock);
	memset(region->used + (piece->data - region->data) / (ptrdiff_t)PAGE, 0, pages);
	region->free_pages += pages;
	lock_drop(&local->slab_lock);
}

static bool is_free(struct local *local, const struct region *region)
{
	bool all;

	lock_take(&local->slab_lock);
	all = region->free_pages == region->size / PAGE;
	lock_drop(&local->slab_lock);
	return all;
}

void memory_give(struct local *local, struct piece *piece, uint64_t deadline)
{
	struct region *region = piece->region;

	if (region->used) {
		memory_put_back(local, piece);
		if (!is_free(local, region) || keep(local, region))
			return;
	}
	/* A host that doesn't answer is gone, and can do no more with the memfd than what it has mapped. */
	bus_remove_region(local, region->gpa, deadline);
	munmap(region->data, region->size);
	region_free(local, region);
}

void memory_forget_all(struct local *local, bool mapped)
{
	while (local->regions) {
		if (mapped)
			munmap(local->regions->data, local->regions->size);
		region_free(local, local->regions);
	}
}
