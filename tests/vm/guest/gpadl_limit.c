/* SPDX-License-Identifier: MIT */
/*
 * A host that bounds the sum of GPADLs, as Windows does: the buffer that passes it is refused with -ENOSPC, those
 * before it go on, and what is freed can be had again. Usage: vm_gpadl_limit MIB
 */
#include <unistd.h>

#include "guest.h"

#define PIECE (16ull << 20)
#define MAX_PIECES 128u

int main(int argc, char **argv)
{
	uint64_t limit = argc > 1 ? strtoull(argv[1], NULL, 10) << 20 : 0;
	struct winapi_ioc_alloc a[MAX_PIECES], small;
	int fd = device_await(), err = 0;
	unsigned int count = 0;

	if (!limit || limit / PIECE > MAX_PIECES)
		bail("usage: vm_gpadl_limit MIB");
	if (device_info(fd).max_bytes <= limit)
		bail("the session's own limit is lower: the guest has too little memory");
	while (count < MAX_PIECES && !(err = buffer_alloc(fd, PIECE, 3, &a[count])))
		count++;
	check_error(err, -ENOSPC, "the host refuses when it has %llu MiB", (unsigned long long)(limit >> 20));
	/* The ring has some pages of it. */
	check(count == (limit - 1) / PIECE, "after %u buffers of 16 MiB", count);
	check(device_stats(fd).buffers == count, "and that many are there");
	check_error(echo(fd), 0, "calls go on");
	check_error(buffer_alloc(fd, PAGE, 3, &small), 0, "so do small buffers");
	check_error(count ? buffer_free(fd, a[--count].id) : -ENOENT, 0, "FREE of a large one");
	check_error(buffer_alloc(fd, PIECE, 3, &a[count]), 0, "makes room for another");
	close(fd);
	fd = device_await();
	check_error(buffer_alloc(fd, PIECE, 3, &a[0]), 0, "as does the end of a session");
	close(fd);
	return finish();
}
