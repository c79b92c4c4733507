/* SPDX-License-Identifier: MIT */
/*
 * Knows a forked child without a system call per call: a page that the kernel empties in the child,
 * however it was forked. It holds a number that the process drew; a handle remembers it.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "internal.h"

static uint32_t *page;
static uint32_t last_number; /* inherited, so that a child draws another */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int map_page(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, 4096, MADV_WIPEONFORK)) {
		int err = -errno;

		munmap(p, 4096);
		return err;
	}
	page = p;
	return 0;
}

int process_number(uint32_t *number)
{
	int err = 0;

	pthread_mutex_lock(&lock);
	if (!page)
		err = map_page();
	if (!err && !*page)
		__atomic_store_n(page, ++last_number, __ATOMIC_RELAXED);
	if (!err)
		*number = *page;
	pthread_mutex_unlock(&lock);
	return err;
}

HOT_PATH bool process_is(uint32_t number)
{
	return __atomic_load_n(page, __ATOMIC_RELAXED) == number;
}
