/* SPDX-License-Identifier: MIT */
/* The daemon's view of a guest's memory: what it takes, where things are, and what a fault does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../host/linux/guest_memory.h"

#define PAGE 4096u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static struct guest_mappings mappings;
static struct guest_memory memory;

static int setup(void **state)
{
	(void)state;
	guest_mappings_init(&mappings);
	guest_memory_init(&memory, &mappings, 4, 64 * PAGE, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guest_memory_free(&memory);
	return mappings.taken || memory.mappings;
}

static int file(size_t pages, unsigned int flags, int seals, bool allocate)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	if (allocate)
		assert_int_equal(fallocate(fd, 0, 0, (off_t)(pages * PAGE)), 0);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static int good(size_t pages)
{
	return file(pages, 0, SEALS, true);
}

static void test_region_is_found(void **state)
{
	uint8_t *at;

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0x10000, 4 * PAGE, good(4)), 0);
	at = guest_memory_translate(&memory, 0x10000, 4 * PAGE);
	assert_non_null(at);
	assert_ptr_equal(guest_memory_translate(&memory, 0x10000 + 5000, 100), at + 5000);
	assert_null(guest_memory_translate(&memory, 0x10000, 4 * PAGE + 1));
	assert_null(guest_memory_translate(&memory, 0xffff, 1));
	assert_null(guest_memory_translate(&memory, 0x10000 + 4 * PAGE, 1));
	assert_null(guest_memory_translate(&memory, 0x10001, UINT64_MAX));
}

static void test_unsealed_files_are_refused(void **state)
{
	char name[] = "/tmp/winapi-test-XXXXXX";
	int plain = mkstemp(name);

	(void)state;
	assert_true(plain >= 0);
	unlink(name);
	assert_int_equal(ftruncate(plain, PAGE), 0);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, plain), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, file(1, 0, 0, true)), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, file(1, 0, F_SEAL_SHRINK | F_SEAL_GROW, true)),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, file(1, 0, F_SEAL_SHRINK | F_SEAL_SEAL, true)),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, file(1, 0, SEALS | F_SEAL_FUTURE_WRITE, true)),
			 -EINVAL);
	assert_int_equal(memory.count, 0);
	assert_int_equal(memory.bytes, 0);
}

static void test_sparse_files_only_from_a_trusted_peer(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 4 * PAGE, file(4, 0, SEALS, false)), -EINVAL);
	memory.trusted = true;
	assert_int_equal(guest_memory_add(&memory, 0, 4 * PAGE, file(4, 0, SEALS, false)), 0);
}

/* Their blocks are as many as the region's pages, but not where those are. */
static void test_files_with_pages_elsewhere_are_refused(void **state)
{
	int upper = file(8, 0, 0, false), behind = file(4, 0, 0, false);

	(void)state;
	assert_int_equal(fallocate(upper, 0, 4 * PAGE, 4 * PAGE), 0);
	assert_int_equal(fcntl(upper, F_ADD_SEALS, SEALS), 0);
	assert_int_equal(guest_memory_add(&memory, 0, 4 * PAGE, upper), -EINVAL);
	assert_int_equal(fallocate(behind, FALLOC_FL_KEEP_SIZE, 4 * PAGE, 4 * PAGE), 0);
	assert_int_equal(fcntl(behind, F_ADD_SEALS, SEALS), 0);
	assert_int_equal(guest_memory_add(&memory, 0, 4 * PAGE, behind), -EINVAL);
}

static void test_short_files_are_refused(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 5 * PAGE, good(4)), -EINVAL);
}

static void test_places_are_checked(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_add(&memory, 1, PAGE, good(1)), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, 0, good(1)), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE + 1, good(2)), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, UINT64_MAX - PAGE + 1, 2 * PAGE, good(2)), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 8 * PAGE, 4 * PAGE, good(4)), 0);
	assert_int_equal(guest_memory_add(&memory, 5 * PAGE, 4 * PAGE, good(4)), -EEXIST);
	assert_int_equal(guest_memory_add(&memory, 11 * PAGE, PAGE, good(1)), -EEXIST);
	assert_int_equal(guest_memory_add(&memory, 9 * PAGE, PAGE, good(1)), -EEXIST);
	assert_int_equal(guest_memory_add(&memory, 12 * PAGE, PAGE, good(1)), 0);
	assert_int_equal(guest_memory_add(&memory, 4 * PAGE, 4 * PAGE, good(4)), 0);
}

static void test_limits_hold(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 65 * PAGE, good(65)), -ENOSPC);
	assert_int_equal(guest_memory_add(&memory, 0, 64 * PAGE, good(64)), 0);
	assert_int_equal(guest_memory_add(&memory, 100 * PAGE, PAGE, good(1)), -ENOSPC);
	guest_memory_remove(&memory, guest_memory_find(&memory, 0));
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(guest_memory_add(&memory, i * PAGE, PAGE, good(1)), 0);
	assert_int_equal(guest_memory_add(&memory, 9 * PAGE, PAGE, good(1)), -ENOSPC);
}

static void test_a_leaving_region_serves_no_new_use(void **state)
{
	struct guest_region *region;

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, good(1)), 0);
	region = guest_memory_find(&memory, 0);
	guest_memory_leave(&memory, region);
	assert_null(guest_memory_translate(&memory, 0, 1));
	assert_int_equal(memory.leaving, 1);
	guest_memory_remove(&memory, region);
	assert_int_equal(memory.leaving, 0);
	assert_null(guest_memory_find(&memory, 0));
}

static void test_a_ring_is_mapped_twice(void **state)
{
	const uint64_t pfn[] = { 3, 1, 2 };
	uint8_t *ring, *base;

	(void)state;
	assert_int_equal(guest_memory_add(&memory, PAGE, 3 * PAGE, good(3)), 0);
	base = guest_memory_translate(&memory, PAGE, 3 * PAGE);
	ring = guest_memory_map_ring(&memory, pfn, 3);
	assert_non_null(ring);
	base[2 * PAGE] = 1; /* page 3: the header */
	base[0] = 2; /* page 1: first of the data */
	base[PAGE] = 3;
	assert_int_equal(ring[0], 1);
	assert_int_equal(ring[PAGE], 2);
	assert_int_equal(ring[2 * PAGE], 3);
	assert_int_equal(ring[3 * PAGE], 2);
	assert_int_equal(ring[4 * PAGE], 3);
	ring[4 * PAGE + 9] = 7;
	assert_int_equal(base[PAGE + 9], 7);
	guest_memory_unmap_ring(&memory, ring);
}

static void test_a_ring_outside_memory_is_refused(void **state)
{
	const uint64_t outside[] = { 1, 9 }, huge[] = { 1, UINT64_MAX / 4096 + 1 };

	(void)state;
	assert_int_equal(guest_memory_add(&memory, PAGE, PAGE, good(1)), 0);
	assert_null(guest_memory_map_ring(&memory, outside, 2));
	assert_null(guest_memory_map_ring(&memory, huge, 2));
}

/* Every second page, then the others: pages that never follow one another. */
static void scatter(uint64_t *pfn, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		pfn[i] = i % 2 ? 32 + i : 1 + i;
}

static void test_a_ring_in_too_many_pieces_is_refused(void **state)
{
	uint64_t pfn[GUEST_RING_PIECES + 1];
	void *ring;

	(void)state;
	scatter(pfn, GUEST_RING_PIECES + 1);
	assert_int_equal(guest_memory_add(&memory, 0, 64 * PAGE, good(64)), 0);
	assert_null(guest_memory_map_ring(&memory, pfn, GUEST_RING_PIECES + 1));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(mappings.taken, 1);
	ring = guest_memory_map_ring(&memory, pfn, GUEST_RING_PIECES);
	assert_non_null(ring);
	assert_int_equal(mappings.taken, 1 + 2 * GUEST_RING_PIECES);
	guest_memory_unmap_ring(&memory, ring);
	assert_int_equal(mappings.taken, 1);
}

/* Of 100 the first may have 5, as 95 are left then; and the next something, too. */
static void test_mappings_are_shared_out(void **state)
{
	const uint64_t pfn[] = { 1, 3 };
	struct guest_memory next;

	(void)state;
	mappings.most = 100;
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(guest_memory_add(&memory, i * PAGE, PAGE, good(1)), 0);
	assert_null(guest_memory_map_ring(&memory, pfn, 2)); /* four more */
	assert_int_equal(errno, EFAULT);
	assert_int_equal(guest_memory_add(&memory, 3 * PAGE, PAGE, good(1)), 0);
	assert_null(guest_memory_map_ring(&memory, pfn, 2));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(mappings.taken, 4);
	guest_memory_init(&next, &mappings, 100, 64 * PAGE, false);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(guest_memory_add(&next, i * PAGE, PAGE, good(1)), 0);
	assert_int_equal(guest_memory_add(&next, 5 * PAGE, PAGE, good(1)), -ENOSPC);
	assert_int_equal(mappings.taken, 9);
	guest_memory_free(&next);
	assert_int_equal(mappings.taken, 4);
}

static unsigned int count_mappings(void)
{
	unsigned int count = 0;
	char line[256];
	FILE *maps = fopen("/proc/self/maps", "re");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += !!strchr(line, '\n');
	fclose(maps);
	return count;
}

/* Each page with a mapping of its own would use up those of the process, and then a fault would be its end. */
static void test_many_faults_take_no_mappings(void **state)
{
	int fd = file(64, 0, 0, true);
	uint8_t *data = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t faulted = 0;
	struct guard_range *range;
	unsigned int before;

	(void)state;
	assert_ptr_not_equal(data, MAP_FAILED);
	assert_int_equal(guard_install(), 0);
	range = guard_watch(data, 64 * PAGE, &faulted);
	before = count_mappings();
	assert_int_equal(ftruncate(fd, 0), 0);
	for (unsigned int i = 0; i < 64; i += 2)
		data[i * PAGE] = 1;
	assert_int_equal(faulted, 1);
	assert_in_range(count_mappings(), 0, before + 4);
	guard_forget(range);
	munmap(data, 64 * PAGE);
	close(fd);
}

/* A file that shrinks under its mapping faults as no sealed one can: the guard is tested below the seals. */
static void test_a_fault_becomes_zeros_and_a_mark(void **state)
{
	int fd = file(2, 0, 0, true);
	uint8_t *data = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t faulted = 0, other = 0;
	struct guard_range *mine, *theirs;
	uint8_t neighbour[PAGE];

	(void)state;
	assert_ptr_not_equal(data, MAP_FAILED);
	assert_int_equal(guard_install(), 0); /* here, as cmocka has a handler of its own for each test */
	theirs = guard_watch(neighbour, sizeof(neighbour), &other);
	mine = guard_watch(data, 2 * PAGE, &faulted);
	assert_non_null(mine);
	data[PAGE + 5] = 9;
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(data[PAGE + 5], 0);
	assert_int_equal(faulted, 1);
	assert_int_equal(other, 0);
	data[PAGE + 5] = 1; /* writes go nowhere, and go on */
	guard_forget(mine);
	guard_forget(theirs);
	munmap(data, 2 * PAGE);
	close(fd);
}

static void test_a_fault_elsewhere_stays_deadly(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		int fd = file(1, 0, 0, true);
		volatile uint8_t *data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (guard_install() || ftruncate(fd, 0))
			_exit(1);
		_exit(data[0] + 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* A sanitizer's runtime may turn the signal into an exit of its own. */
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_region_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsealed_files_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sparse_files_only_from_a_trusted_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_with_pages_elsewhere_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_files_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_leaving_region_serves_no_new_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ring_is_mapped_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ring_outside_memory_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ring_in_too_many_pieces_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mappings_are_shared_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_faults_take_no_mappings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_fault_becomes_zeros_and_a_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_fault_elsewhere_stays_deadly, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
