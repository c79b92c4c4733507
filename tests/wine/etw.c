/* SPDX-License-Identifier: MIT */
#include "etw.h"

#include <stdio.h>
#include <string.h>

#define RECORDS 16384u
#define PROVIDERS 4u
#define PAYLOAD 128u

struct record {
	uint32_t provider;
	struct etw_descriptor event;
	uint32_t size;
	uint8_t payload[PAYLOAD];
};

static struct lx_lock lock;
static GUID providers[PROVIDERS];
static bool registered[PROVIDERS];
static struct record records[RECORDS];
static uint32_t written, read;

NTSTATUS etw_register(const GUID *provider, ULONGLONG *handle)
{
	NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

	lx_lock(&lock);
	for (unsigned int i = 0; i < PROVIDERS && status; i++) {
		if (registered[i])
			continue;
		registered[i] = true;
		providers[i] = *provider;
		*handle = 0x7700 + i;
		status = STATUS_SUCCESS;
	}
	lx_unlock(&lock);
	return status;
}

bool etw_unregister(ULONGLONG handle)
{
	uint64_t i = handle - 0x7700;
	bool was;

	lx_lock(&lock);
	was = i < PROVIDERS && registered[i];
	if (was)
		registered[i] = false;
	lx_unlock(&lock);
	return was;
}

bool etw_write(ULONGLONG handle, const struct etw_descriptor *event, ULONG count, const struct etw_data *data)
{
	uint64_t i = handle - 0x7700;
	struct record *r;
	bool is;

	lx_lock(&lock);
	is = i < PROVIDERS && registered[i];
	if (is && written - read < RECORDS) {
		r = &records[written++ % RECORDS];
		*r = (struct record){ .provider = providers[i].Data1, .event = *event };
		for (ULONG d = 0; d < count; d++) {
			uint32_t n = data[d].size < PAYLOAD - r->size ? data[d].size : PAYLOAD - r->size;

			memcpy(r->payload + r->size, (const void *)(uintptr_t)data[d].address, n);
			r->size += n;
		}
	}
	lx_unlock(&lock);
	return is;
}

size_t etw_take(char *text, size_t room)
{
	size_t at = 0;

	lx_lock(&lock);
	for (; read != written && at + 2 * PAYLOAD + 100 < room; read++) {
		const struct record *r = &records[read % RECORDS];

		at += (size_t)snprintf(text + at, room - at, "%08x %x %x %x %llx ", r->provider, r->event.id,
				       r->event.version, r->event.level,
				       (unsigned long long)r->event.keyword);
		for (uint32_t i = 0; i < r->size; i++)
			at += (size_t)snprintf(text + at, room - at, "%02x", r->payload[i]);
		at += (size_t)snprintf(text + at, room - at, "\n");
	}
	lx_unlock(&lock);
	return at;
}
