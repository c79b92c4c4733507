/* SPDX-License-Identifier: MIT */
/*
 * From page frame numbers to host memory.
 */
#include <stdlib.h>

#include "internal.h"

/* How many of the pages follow each other in the guest, from the first on. */
static uint32_t run_length(const uint64_t *pfn, uint32_t pages)
{
	uint32_t n = 1;

	while (n < pages && pfn[n] == pfn[n - 1] + 1)
		n++;
	return n;
}

static uint32_t run_count(const uint64_t *pfn, uint32_t pages)
{
	uint32_t runs = 0;

	for (uint32_t at = 0; at < pages; at += run_length(pfn + at, pages - at))
		runs++;
	return runs;
}

/* As many of the run's pages as one region holds, and how many those are. NULL: not even the first.
 */
static uint8_t *run_translate(const struct vmbus_server *server, uint64_t pfn, uint32_t pages, uint32_t *got)
{
	uint32_t good = 0, bad = pages + 1;
	uint8_t *data = NULL;

	if (pfn >= BUS_PFN_LIMIT)
		return NULL;
	for (uint32_t n = pages; good + 1 < bad; n = good + (bad - good) / 2) {
		uint8_t *at = server->ops.translate(server->owner, pfn << VMBUS_PAGE_SHIFT,
						    (uint64_t)n << VMBUS_PAGE_SHIFT);

		if (at) {
			good = n;
			data = at;
		} else {
			bad = n;
		}
	}
	*got = good;
	return data;
}

static bool segments_grow(struct vmbus_segment **segments, uint32_t *room)
{
	struct vmbus_segment *larger = realloc(*segments, 2 * sizeof(**segments) * *room);

	if (!larger)
		return false;
	*segments = larger;
	*room *= 2;
	return true;
}

int memory_translate(const struct vmbus_server *server, const uint64_t *pfn, uint32_t pages, uint32_t offset,
		     uint64_t bytes, struct vmbus_segment **segments, uint32_t *count)
{
	uint32_t room = run_count(pfn, pages), n = 0, got;
	struct vmbus_segment *list = malloc(sizeof(*list) * room);

	if (!list)
		return -ENOMEM;
	for (uint32_t at = 0; at < pages; at += got) {
		uint8_t *data = run_translate(server, pfn[at], run_length(pfn + at, pages - at), &got);
		uint64_t size;

		if (!data) {
			free(list);
			return -EFAULT;
		}
		/* A run that crosses from one region into the next takes one segment more. */
		if (n == room && !segments_grow(&list, &room)) {
			free(list);
			return -ENOMEM;
		}
		size = ((uint64_t)got << VMBUS_PAGE_SHIFT) - offset;
		if (size > bytes)
			size = bytes;
		list[n].data = data + offset;
		list[n].size = (size_t)size;
		n++;
		bytes -= size;
		offset = 0;
	}
	*segments = list;
	*count = n;
	return 0;
}
