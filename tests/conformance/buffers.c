/* SPDX-License-Identifier: MIT */
/* Shared, registered and plain memory. */
#include <errno.h>
#include <unistd.h>

#include "conformance.h"

static const uint32_t both = WINAPI_HOST_READS | WINAPI_HOST_WRITES;

/* READ, WRITE and VERIFY over one buffer of the call, checked here. */
static const char *exercise(struct context *c, struct winapi_buffer_ref *ref, uint8_t *data, uint64_t seed)
{
	uint64_t size = ref->length, bad;
	const uint64_t planted[] = { 0, size / 2, size - 1 };
	uint32_t crc;

	EXPECT(winapi_buffer_test_write(c->handle, ref, 1, seed) == 0);
	EXPECT(winapi_pattern_verify(data, size, seed) == UINT64_MAX);
	EXPECT(winapi_buffer_test_read(c->handle, ref, 1, &crc) == 0);
	EXPECT(crc == winapi_crc32c(data, size));
	EXPECT(winapi_buffer_test_verify(c->handle, ref, 1, seed, &bad) == 0 && bad == UINT64_MAX);
	for (int i = 0; i < 3; i++) {
		data[planted[i]] ^= 0x40;
		EXPECT(winapi_buffer_test_verify(c->handle, ref, 1, seed, &bad) == 0 && bad == planted[i]);
		data[planted[i]] ^= 0x40;
	}
	return NULL;
}

static const char *buffers_of_all_sizes(struct context *c)
{
	static const uint64_t sizes[] = { 1,
					  7,
					  4095,
					  4096,
					  4097,
					  65536,
					  (1 << 20) - 1,
					  1 << 20,
					  (1 << 20) + 1,
					  (16 << 20) - 1,
					  16 << 20,
					  (16 << 20) + 1,
					  64 << 20 };

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct winapi_buffer_ref ref = { .length = sizes[i], .access = both };
		struct winapi_buffer_info info = { .size = sizeof(info) };
		const char *wrong;
		uint8_t *data;

		EXPECT(winapi_buffer_alloc(c->handle, sizes[i], both, &ref.buffer) == 0);
		EXPECT(winapi_buffer_get_info(ref.buffer, &info) == 0);
		EXPECT(info.length == sizes[i] && info.access == both && !info.flags);
		data = winapi_buffer_data(ref.buffer);
		for (uint64_t k = 0; k < sizes[i]; k += 997)
			EXPECT(!data[k]);
		wrong = exercise(c, &ref, data, sizes[i]);
		if (wrong)
			return wrong;
		EXPECT(winapi_buffer_free(ref.buffer) == 0);
	}
	return NULL;
}

static const char *eight_of_64_mib(struct context *c)
{
	struct winapi_buffer_ref ref[8];
	uint64_t bad[8];

	memset(ref, 0, sizeof(ref));
	for (int i = 0; i < 8; i++) {
		EXPECT(winapi_buffer_alloc(c->handle, 64 << 20, both, &ref[i].buffer) == 0);
		ref[i].length = 64 << 20;
		ref[i].access = both;
	}
	EXPECT(winapi_buffer_test_write(c->handle, ref, 8, 9) == 0);
	((uint8_t *)winapi_buffer_data(ref[7].buffer))[(64 << 20) - 1] ^= 1;
	EXPECT(winapi_buffer_test_verify(c->handle, ref, 8, 9, bad) == 0);
	for (int i = 0; i < 7; i++)
		EXPECT(bad[i] == UINT64_MAX);
	EXPECT(bad[7] == (64 << 20) - 1);
	return NULL;
}

static const char *pieces_and_bounds(struct context *c)
{
	struct winapi_buffer_ref ref = { .access = both };
	const char *wrong;
	uint32_t crc;
	uint8_t *data;

	EXPECT(winapi_buffer_alloc(c->handle, 100000, both, &ref.buffer) == 0);
	data = winapi_buffer_data(ref.buffer);
	for (uint64_t offset = 0; offset < 100000; offset += 9999) {
		ref.offset = offset;
		ref.length = 100000 - offset;
		wrong = exercise(c, &ref, data + offset, offset);
		if (wrong)
			return wrong;
		ref.length++;
		EXPECT(winapi_buffer_test_read(c->handle, &ref, 1, &crc) == -ERANGE);
	}
	ref.offset = UINT64_MAX;
	ref.length = 2;
	EXPECT(winapi_buffer_test_read(c->handle, &ref, 1, &crc) == -ERANGE);
	ref.offset = 100001;
	EXPECT(winapi_buffer_test_read(c->handle, &ref, 1, &crc) == -ERANGE);
	return NULL;
}

static const char *direction_is_enforced(struct context *c)
{
	struct winapi_buffer_ref reads = { .length = 5000 }, writes = { .length = 5000 };
	uint32_t crc;

	EXPECT(winapi_buffer_alloc(c->handle, 5000, WINAPI_HOST_READS, &reads.buffer) == 0);
	EXPECT(winapi_buffer_alloc(c->handle, 5000, WINAPI_HOST_WRITES, &writes.buffer) == 0);
	reads.access = WINAPI_HOST_READS;
	EXPECT(winapi_buffer_test_read(c->handle, &reads, 1, &crc) == 0);
	EXPECT(winapi_buffer_test_write(c->handle, &reads, 1, 1) == -EACCES);
	reads.access = both;
	EXPECT(winapi_buffer_test_read(c->handle, &reads, 1, &crc) == -EACCES);
	writes.access = WINAPI_HOST_WRITES;
	EXPECT(winapi_buffer_test_write(c->handle, &writes, 1, 1) == 0);
	EXPECT(winapi_buffer_test_read(c->handle, &writes, 1, &crc) == -EACCES);
	return NULL;
}

static const char *registered_memory(struct context *c)
{
	uint8_t *memory = malloc(300000);
	struct winapi_buffer_info info = { .size = sizeof(info) };
	const char *wrong = NULL;

	EXPECT(memory);
	for (unsigned int shift = 0; shift < 3 && !wrong; shift++) {
		struct winapi_buffer_ref ref = { .length = 250001, .access = both };
		uint8_t *at = memory + shift * 17;

		EXPECT(winapi_buffer_register(c->handle, at, 250001, both, &ref.buffer) == 0);
		EXPECT(winapi_buffer_data(ref.buffer) == at);
		EXPECT(winapi_buffer_get_info(ref.buffer, &info) == 0);
		EXPECT(!(info.flags & WINAPI_BUFFER_BOUNCED) == !(c->info.flags & WINAPI_INFO_BOUNCES));
		wrong = exercise(c, &ref, at, shift);
		EXPECT(winapi_buffer_free(ref.buffer) == 0);
	}
	free(memory);
	return wrong;
}

static const char *plain_memory(struct context *c)
{
	static const uint64_t sizes[] = { 1, 100, 4096, 5000, 65536, 300001, 1 << 20, 3 << 20 };
	uint8_t *memory = malloc((3 << 20) + 64);
	const char *wrong = NULL;

	EXPECT(memory);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !wrong; i++) {
		struct winapi_buffer_ref ref = { .address = memory + i * 3,
						 .length = sizes[i],
						 .access = both };

		wrong = exercise(c, &ref, memory + i * 3, i);
	}
	free(memory);
	return wrong;
}

static const char *plain_and_shared_together(struct context *c)
{
	static uint8_t plain[3][5000];
	struct winapi_buffer_ref ref[6];
	uint32_t crc[6];

	memset(ref, 0, sizeof(ref));
	for (int i = 0; i < 6; i++) {
		ref[i].length = 4000 + (uint64_t)i;
		ref[i].access = both;
		if (i % 2)
			ref[i].address = plain[i / 2] + i;
		else
			EXPECT(winapi_buffer_alloc(c->handle, 5000, both, &ref[i].buffer) == 0);
	}
	EXPECT(winapi_buffer_test_write(c->handle, ref, 6, 3) == 0);
	EXPECT(winapi_buffer_test_read(c->handle, ref, 6, crc) == 0);
	for (int i = 0; i < 6; i++) {
		const uint8_t *data = i % 2 ? ref[i].address : winapi_buffer_data(ref[i].buffer);

		EXPECT(winapi_pattern_verify(data, ref[i].length, 3) == UINT64_MAX);
		EXPECT(crc[i] == winapi_crc32c(data, ref[i].length));
	}
	return NULL;
}

/* Plain memory inside an allocation of ours needs no copy. */
static const char *no_copy_is_made_of_shared_memory(struct context *c)
{
	struct winapi_stats before = { .size = sizeof(before) }, after = { .size = sizeof(after) };
	struct winapi_buffer_ref ref = { .length = 1 << 20, .access = both },
				 inside = { .length = 1000, .access = both };
	uint32_t crc;

	EXPECT(winapi_buffer_alloc(c->handle, 1 << 20, both, &ref.buffer) == 0);
	EXPECT(winapi_get_stats(c->handle, &before) == 0);
	EXPECT(winapi_buffer_test_write(c->handle, &ref, 1, 1) == 0);
	inside.address = (uint8_t *)winapi_buffer_data(ref.buffer) + 1234;
	EXPECT(winapi_buffer_test_read(c->handle, &inside, 1, &crc) == 0);
	EXPECT(crc == winapi_crc32c(inside.address, 1000));
	EXPECT(winapi_get_stats(c->handle, &after) == 0);
	EXPECT(after.bytes_bounced == before.bytes_bounced && after.host_bytes_copied == 0);
	EXPECT(after.buffers == 1 && after.buffer_bytes == 1 << 20 && after.host_buffers == 1);
	return NULL;
}

static const char *a_busy_buffer_stays(struct context *c)
{
	struct winapi_completion done;
	struct long_call l;
	const char *wrong = long_call_init(&l, c->handle);

	if (wrong)
		return wrong;
	EXPECT(winapi_submit(c->handle, &l.call, 1) == 1);
	EXPECT(winapi_buffer_free(l.ref[0].buffer) == -EBUSY);
	EXPECT(winapi_cancel(c->handle, 0) == 0);
	EXPECT(winapi_complete(c->handle, &done, 1, 60000) == 1);
	EXPECT(winapi_buffer_free(l.ref[0].buffer) == 0);
	return NULL;
}

static const char *a_foreign_buffer_is_refused(struct context *c)
{
	struct winapi *other = open_again(c);
	struct winapi_buffer_ref ref = { .length = 10, .access = WINAPI_HOST_READS };
	uint32_t crc;

	EXPECT(other && winapi_buffer_alloc(other, 10, both, &ref.buffer) == 0);
	EXPECT(winapi_buffer_test_read(c->handle, &ref, 1, &crc) == -EBADF);
	EXPECT(winapi_buffer_test_read(other, &ref, 1, &crc) == 0);
	winapi_close(other);
	return NULL;
}

static const char *registered_bytes_are_bounded(struct context *c)
{
	struct winapi_buffer *buffers[64];
	unsigned int n = 0;
	int err = 0;

	while (n < 64 && !(err = winapi_buffer_alloc(c->handle, 64 << 20, both, &buffers[n])))
		n++;
	EXPECT(err == -ENOSPC && n >= 1 && n <= c->info.max_bytes >> 26);
	EXPECT(*winapi_error_message());
	EXPECT(winapi_buffer_free(buffers[0]) == 0);
	EXPECT(winapi_buffer_alloc(c->handle, 64 << 20, both, &buffers[0]) == 0);
	return NULL;
}

static const char *come_and_go(struct context *c)
{
	for (unsigned int i = 0; i < scaled(c, 200); i++) {
		struct winapi_buffer *a, *b;

		EXPECT(winapi_buffer_alloc(c->handle, 1 + i * 5000, both, &a) == 0);
		EXPECT(winapi_buffer_alloc(c->handle, 3, WINAPI_HOST_READS, &b) == 0);
		EXPECT(winapi_buffer_free(a) == 0 && winapi_buffer_free(b) == 0);
	}
	return NULL;
}

static const char *throughput_counts_its_passes(struct context *c)
{
	struct winapi_buffer_ref ref[2] = { { .length = 100000, .access = both },
					    { .length = 100000, .access = both } };
	struct winapi_throughput t;
	uint64_t passes = 0;

	for (int i = 0; i < 2; i++)
		EXPECT(winapi_buffer_alloc(c->handle, 100000, both, &ref[i].buffer) == 0);
	winapi_pattern_fill(winapi_buffer_data(ref[0].buffer), 100000, 77);
	EXPECT(winapi_perf_throughput(c->handle, WINAPI_PERF_MODE_COPY, 5, ref, 2, &t) == 0);
	EXPECT(winapi_pattern_verify(winapi_buffer_data(ref[1].buffer), 100000, 77) == UINT64_MAX);
	EXPECT(t.bytes == 500000 && t.host_ns > 0);
	for (unsigned int i = 0; i < WINAPI_PERF_HISTOGRAM; i++)
		passes += t.histogram[i];
	EXPECT(passes == 5);
	EXPECT(winapi_perf_throughput(c->handle, WINAPI_PERF_MODE_READ, 0, ref, 1, &t) == -EINVAL);
	EXPECT(winapi_perf_throughput(c->handle, WINAPI_PERF_MODE_COPY, 1, ref, 1, &t) == -EINVAL);
	return NULL;
}

const struct test_case buffer_cases[] = {
	{ "buffers of all sizes", buffers_of_all_sizes, false },
	{ "eight buffers of 64 MiB in a call", eight_of_64_mib, false },
	{ "pieces of a buffer, and its bounds", pieces_and_bounds, false },
	{ "direction is enforced", direction_is_enforced, false },
	{ "registered memory", registered_memory, false },
	{ "plain memory", plain_memory, false },
	{ "plain and shared memory together", plain_and_shared_together, false },
	{ "no copy is made of shared memory", no_copy_is_made_of_shared_memory, false },
	{ "a busy buffer stays", a_busy_buffer_stays, true },
	{ "a foreign buffer is refused", a_foreign_buffer_is_refused, false },
	{ "registered bytes are bounded", registered_bytes_are_bounded, false },
	{ "buffers come and go", come_and_go, false },
	{ "throughput counts its passes", throughput_counts_its_passes, false },
	{ NULL, NULL, false },
};
