/* SPDX-License-Identifier: MIT */
#include "guest_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "../../common/hot.h"

#define PAGE 4096u
#define POPULATED_AT_ONCE (64u << 10) /* bytes: what a peer can have charged to us before we notice */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* ---- Mappings --------------------------------------------------------------------------------------- */

#define USUAL_MAPPINGS 65530u

/* The other half is for the heap, stacks, and pages that the guard puts in the place of others. */
void guest_mappings_init(struct guest_mappings *all)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned int most = 0;

	if (!file || fscanf(file, "%u", &most) != 1)
		most = USUAL_MAPPINGS;
	if (file)
		fclose(file);
	*all = (struct guest_mappings){ .most = most / 2 };
}

static bool take_mappings(struct guest_memory *memory, uint32_t count)
{
	struct guest_mappings *all = memory->all;
	uint32_t taken = __atomic_add_fetch(&all->taken, count, __ATOMIC_RELAXED);

	if (taken <= all->most && memory->mappings + count <= (all->most - taken) / 16) {
		memory->mappings += count;
		return true;
	}
	__atomic_fetch_sub(&all->taken, count, __ATOMIC_RELAXED);
	return false;
}

static void give_mappings(struct guest_memory *memory, uint32_t count)
{
	__atomic_fetch_sub(&memory->all->taken, count, __ATOMIC_RELAXED);
	memory->mappings -= count;
}

/* ---- Begin ------------------------------------------------------------------------------------------ */

void guest_memory_init(struct guest_memory *memory, struct guest_mappings *all, uint32_t max_regions,
		       uint64_t max_bytes, bool trusted)
{
	*memory = (struct guest_memory){
		.all = all,
		.max_regions = max_regions,
		.max_bytes = max_bytes,
		.trusted = trusted,
	};
}

HOT_PATH bool guest_memory_faulted(const struct guest_memory *memory)
{
	return __atomic_load_n(&memory->faulted, __ATOMIC_ACQUIRE);
}

/* ---- Regions ---------------------------------------------------------------------------------------- */

static bool overlaps(const struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		const struct guest_region *r = &memory->regions[i];

		if (gpa < r->gpa + r->size && r->gpa < gpa + size)
			return true;
	}
	return false;
}

/*
 * A memfd that can no longer change its size, so that no access behind its end can be provoked. Pages of
 * hugetlb could run out at an access. An ordinary peer's is all in the region. The seals first: they tell a memfd from
 * files whose owner decides how long fstat() takes. Nothing here takes the inode's lock, which a peer may hold.
 */
static int check_file(const struct guest_memory *memory, int fd, uint64_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	if (seals < 0 || (seals & SEALS) != SEALS || seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EINVAL;
	if (fstat(fd, &st) || fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return -EINVAL;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < size)
		return -EINVAL;
	return memory->trusted || (uint64_t)st.st_size == size ? 0 : -EINVAL;
}

static int check_place(const struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	if (!size || gpa % PAGE || size % PAGE || gpa > UINT64_MAX - size)
		return -EINVAL;
	if (memory->count >= memory->max_regions || size > memory->max_bytes - memory->bytes)
		return -ENOSPC;
	if (overlaps(memory, gpa, size))
		return -EEXIST;
	return 0;
}

static void *map_file(int fd, void *at, size_t size, off_t offset, int flags)
{
	void *data = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, offset);

	return data == MAP_FAILED ? NULL : data;
}

static uint64_t blocks(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks;
}

/*
 * Maps all pages in, a few at a time, as long as that takes no memory: the file's size in blocks may hide holes, since
 * pages behind its end count as well. (lseek() would tell, but waits for the inode's lock.)
 */
static bool populate(const struct guest_region *region)
{
	const uint64_t before = blocks(region->fd);
	size_t step;

	if (before * 512 < region->size)
		return false;
	for (size_t at = 0; at < region->size; at += step) {
		step = region->size - at < POPULATED_AT_ONCE ? region->size - at : POPULATED_AT_ONCE;
		if (!map_file(region->fd, region->data + at, step, (off_t)at, MAP_FIXED | MAP_POPULATE) ||
		    blocks(region->fd) > before)
			return false;
	}
	return true;
}

/* An ordinary peer's memory must be allocated already, so that it is charged to the peer and not to us. */
static int map_allocated(struct guest_memory *memory, struct guest_region *region)
{
	region->data = map_file(region->fd, NULL, region->size, 0, 0);
	if (!region->data)
		return -ENOMEM;
	if (memory->trusted || populate(region))
		return 0;
	munmap(region->data, region->size);
	return -EINVAL;
}

static int map_region(struct guest_memory *memory, struct guest_region *region)
{
	int err = map_allocated(memory, region);

	if (err)
		return err;
	madvise(region->data, region->size, MADV_DONTDUMP);
	region->guard = guard_watch(region->data, region->size, &memory->faulted);
	if (!region->guard) {
		munmap(region->data, region->size);
		return -ENOMEM;
	}
	return 0;
}

static int append(struct guest_memory *memory, struct guest_region *region)
{
	struct guest_region *grown = reallocarray(memory->regions, memory->count + 1, sizeof(*grown));
	int err;

	if (!grown)
		return -ENOMEM;
	memory->regions = grown;
	if (!take_mappings(memory, 1))
		return -ENOSPC;
	err = map_region(memory, region);
	if (err) {
		give_mappings(memory, 1);
		return err;
	}
	memory->regions[memory->count++] = *region;
	memory->bytes += region->size;
	return 0;
}

int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size, int fd)
{
	struct guest_region region = { .gpa = gpa, .size = size, .fd = fd };
	int err = check_place(memory, gpa, size);

	if (!err)
		err = check_file(memory, fd, size);
	if (!err)
		err = append(memory, &region);
	if (err)
		close(fd);
	return err;
}

struct guest_region *guest_memory_find(struct guest_memory *memory, uint64_t gpa)
{
	for (uint32_t i = 0; i < memory->count; i++)
		if (memory->regions[i].gpa == gpa)
			return &memory->regions[i];
	return NULL;
}

void guest_memory_leave(struct guest_memory *memory, struct guest_region *region)
{
	region->leaving = true;
	__atomic_fetch_add(&memory->leaving, 1, __ATOMIC_RELEASE);
}

void guest_memory_remove(struct guest_memory *memory, struct guest_region *region)
{
	if (region->leaving)
		__atomic_fetch_sub(&memory->leaving, 1, __ATOMIC_RELEASE);
	guard_forget(region->guard);
	munmap(region->data, region->size);
	give_mappings(memory, 1);
	close(region->fd);
	memory->bytes -= region->size;
	*region = memory->regions[--memory->count];
}

static struct guest_region *region_of(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		struct guest_region *r = &memory->regions[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && size <= r->size - (gpa - r->gpa))
			return r->leaving ? NULL : r;
	}
	return NULL;
}

uint8_t *guest_memory_translate(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	struct guest_region *region = region_of(memory, gpa, size);

	return region ? region->data + (gpa - region->gpa) : NULL;
}

/* ---- Rings ------------------------------------------------------------------------------------------ */

/* How many pages from the first on follow one another in the guest and in one region. 0: that isn't memory. */
static uint32_t piece(struct guest_memory *memory, const uint64_t *pfn, uint32_t count)
{
	uint64_t gpa = pfn[0] * PAGE;
	const struct guest_region *region = pfn[0] > UINT64_MAX / PAGE ? NULL : region_of(memory, gpa, PAGE);
	uint32_t n = 1;

	if (!region)
		return 0;
	while (n < count && pfn[n] == pfn[0] + n &&
	       region_of(memory, gpa, (n + 1) * (uint64_t)PAGE) == region)
		n++;
	return n;
}

/* Every page is memory, and the pieces aren't too many. */
static int count_pieces(struct guest_memory *memory, const uint64_t *pfn, uint32_t count, uint32_t *pieces)
{
	uint32_t n;

	*pieces = 0;
	for (uint32_t i = 0; i < count; i += n) {
		n = piece(memory, pfn + i, count - i);
		if (!n)
			return -EFAULT;
		if (++*pieces > GUEST_RING_PIECES)
			return -ENOSPC;
	}
	return 0;
}

static int map_pages(struct guest_memory *memory, uint8_t *at, const uint64_t *pfn, uint32_t count)
{
	uint32_t n;

	for (uint32_t i = 0; i < count; i += n) {
		uint64_t gpa = pfn[i] * PAGE;
		const struct guest_region *region = region_of(memory, gpa, PAGE);

		n = piece(memory, pfn + i, count - i);
		if (mmap(at + (size_t)i * PAGE, (size_t)n * PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | (memory->trusted ? 0 : MAP_POPULATE), region->fd,
			 (off_t)(gpa - region->gpa)) == MAP_FAILED)
			return -ENOMEM;
	}
	return 0;
}

static int map_twice(struct guest_memory *memory, struct guest_ring *ring, const uint64_t *pfn,
		     uint32_t count)
{
	uint8_t *start;
	int err;

	ring->size = (2 * (size_t)count - 1) * PAGE;
	ring->start = mmap(NULL, ring->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring->start == MAP_FAILED)
		return -ENOMEM;
	start = ring->start;
	err = map_pages(memory, start, pfn, count);
	if (!err)
		err = map_pages(memory, start + (size_t)count * PAGE, pfn + 1, count - 1);
	if (!err) {
		madvise(start, ring->size, MADV_DONTDUMP);
		ring->guard = guard_watch(start, ring->size, &memory->faulted);
		err = ring->guard ? 0 : -ENOMEM;
	}
	if (err)
		munmap(start, ring->size);
	return err;
}

static int map_ring(struct guest_memory *memory, struct guest_ring *ring, const uint64_t *pfn, uint32_t count)
{
	uint32_t pieces;
	int err = count_pieces(memory, pfn, count, &pieces);

	if (err)
		return err;
	ring->mappings = 2 * pieces;
	if (!take_mappings(memory, ring->mappings))
		return -ENOSPC;
	err = map_twice(memory, ring, pfn, count);
	if (err)
		give_mappings(memory, ring->mappings);
	return err;
}

void *guest_memory_map_ring(struct guest_memory *memory, const uint64_t *pfn, uint32_t count)
{
	struct guest_ring *ring = calloc(1, sizeof(*ring));
	int err = ring ? map_ring(memory, ring, pfn, count) : -ENOMEM;

	if (err) {
		free(ring);
		errno = -err;
		return NULL;
	}
	ring->next = memory->rings;
	memory->rings = ring;
	return ring->start;
}

void guest_memory_unmap_ring(struct guest_memory *memory, void *start)
{
	struct guest_ring **at = &memory->rings;
	struct guest_ring *ring;

	while ((*at)->start != start)
		at = &(*at)->next;
	ring = *at;
	*at = ring->next;
	guard_forget(ring->guard);
	munmap(ring->start, ring->size);
	give_mappings(memory, ring->mappings);
	free(ring);
}

void guest_memory_free(struct guest_memory *memory)
{
	while (memory->rings)
		guest_memory_unmap_ring(memory, memory->rings->start);
	while (memory->count)
		guest_memory_remove(memory, &memory->regions[memory->count - 1]);
	free(memory->regions);
	memory->regions = NULL;
}
