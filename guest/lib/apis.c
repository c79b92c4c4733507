/* SPDX-License-Identifier: MIT */
/* The host's APIs as functions. Each is a winapi_call with its arguments put in order. */
#include <string.h>

#include "../../host/provider/memory_ops.h"
#include "internal.h"

HOT_PATH int simple_call(struct winapi *handle, uint32_t api, uint16_t method, const void *in,
			 uint32_t in_size, void *out, uint32_t *out_size)
{
	struct winapi_call call = WINAPI_CALL_INIT;
	int err;

	call.api = api;
	call.method = method;
	call.in = in;
	call.in_size = in_size;
	call.out = out;
	call.out_capacity = *out_size;
	err = winapi_call(handle, &call);
	*out_size = call.out_size;
	return err;
}

/* The host's reply must have the size that the API promises: no more trust than that. */
static int check_size(uint32_t got, size_t wanted)
{
	if (got == wanted)
		return 0;
	return fail(-EPROTO, "the host answered %u bytes where the API promises %zu", got, wanted);
}

/* ---- Introspection ------------------------------------------------------------------------------------ */

int winapi_list_apis(struct winapi *handle, struct winapi_api_info *apis, unsigned int max)
{
	struct winapi_api_desc page[WINAPI_MAX_INLINE / sizeof(struct winapi_api_desc)];
	unsigned int total = 0;

	if (max && !apis)
		return fail(-EINVAL, "the array for the APIs is NULL");
	for (;;) {
		struct winapi_list_request request = { .first = total };
		uint32_t size = sizeof(page);
		int err = simple_call(handle, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_LIST, &request,
				      sizeof(request), page, &size);
		uint32_t count = size / (uint32_t)sizeof(page[0]);

		if (!err)
			err = check_size(size, count * sizeof(page[0]));
		if (err)
			return err;
		for (uint32_t i = 0; i < count; i++, total++) {
			page[i].name[sizeof(page[i].name) - 1] = '\0';
			if (total < max)
				memcpy(&apis[total], &page[i], sizeof(page[i]));
		}
		if (!count || total > UINT16_MAX)
			return (int)total;
	}
}

/* ---- Echo ---------------------------------------------------------------------------------------------- */

HOT_PATH int winapi_echo(struct winapi *handle, const void *in, void *out, uint32_t size)
{
	uint32_t got = size;
	int err = simple_call(handle, WINAPI_API_ECHO, WINAPI_ECHO_CALL, in, size, out, &got);

	return err ? err : check_size(got, size);
}

/* ---- Buffer test ---------------------------------------------------------------------------------------- */

static int buffer_test(struct winapi *handle, uint16_t method, uint64_t seed,
		       const struct winapi_buffer_ref *buffers, unsigned int count,
		       struct winapi_buffer_test_reply *reply)
{
	struct winapi_buffer_test_request request = { .seed = seed };
	struct winapi_call call = WINAPI_CALL_INIT;
	int err;

	call.api = WINAPI_API_BUFFER_TEST;
	call.method = method;
	call.in = &request;
	call.in_size = sizeof(request);
	call.out = reply;
	call.out_capacity = sizeof(*reply);
	call.buffers = buffers;
	call.buffer_count = count;
	err = winapi_call(handle, &call);
	return err ? err : check_size(call.out_size, count * sizeof(reply->result[0]));
}

int winapi_buffer_test_read(struct winapi *handle, const struct winapi_buffer_ref *buffers,
			    unsigned int count, uint32_t *crc32c)
{
	struct winapi_buffer_test_reply reply;
	int err = crc32c ? buffer_test(handle, WINAPI_BUFFER_TEST_READ, 0, buffers, count, &reply) :
			   fail(-EINVAL, "nowhere to put the checksums: it is NULL");

	for (unsigned int i = 0; !err && i < count; i++)
		crc32c[i] = (uint32_t)reply.result[i];
	return err;
}

int winapi_buffer_test_write(struct winapi *handle, const struct winapi_buffer_ref *buffers,
			     unsigned int count, uint64_t seed)
{
	struct winapi_buffer_test_reply reply;
	int err = buffer_test(handle, WINAPI_BUFFER_TEST_WRITE, seed, buffers, count, &reply);

	for (unsigned int i = 0; !err && i < count; i++)
		if (reply.result[i] != buffers[i].length)
			err = fail(-EIO, "the host wrote %llu bytes of buffer %u, not %llu",
				   (unsigned long long)reply.result[i], i,
				   (unsigned long long)buffers[i].length);
	return err;
}

int winapi_buffer_test_verify(struct winapi *handle, const struct winapi_buffer_ref *buffers,
			      unsigned int count, uint64_t seed, uint64_t *first_bad)
{
	struct winapi_buffer_test_reply reply;
	int err = first_bad ? buffer_test(handle, WINAPI_BUFFER_TEST_VERIFY, seed, buffers, count, &reply) :
			      fail(-EINVAL, "nowhere to put the offsets: it is NULL");

	for (unsigned int i = 0; !err && i < count; i++)
		first_bad[i] = reply.result[i];
	return err;
}

uint32_t winapi_crc32c(const void *data, size_t size)
{
	return memory_crc32c(0, data, size);
}

void winapi_pattern_fill(void *data, size_t size, uint64_t seed)
{
	memory_fill(data, size, seed, 0);
}

uint64_t winapi_pattern_verify(const void *data, size_t size, uint64_t seed)
{
	return memory_verify(data, size, seed, 0);
}

/* ---- Perf test ------------------------------------------------------------------------------------------- */

int winapi_perf_latency(struct winapi *handle, uint32_t size, struct winapi_latency *latency)
{
	static const unsigned char nothing[WINAPI_INLINE_MAX];
	struct winapi_perf_latency_reply reply;
	uint32_t got = sizeof(reply);
	uint64_t begin, end;
	int err;

	if (!latency)
		return fail(-EINVAL, "nowhere to put the latency: it is NULL");
	if (size > sizeof(nothing))
		return fail(-E2BIG, "%u bytes are more than the %u that travel inline", size,
			    WINAPI_INLINE_MAX);
	begin = clock_ns();
	err = simple_call(handle, WINAPI_API_PERF_TEST, WINAPI_PERF_TEST_LATENCY, nothing, size, &reply,
			  &got);
	end = clock_ns();
	if (!err)
		err = check_size(got, sizeof(reply));
	if (err)
		return err;
	latency->round_trip_ns = end - begin;
	latency->host_ns = reply.send_ns - reply.receive_ns;
	return 0;
}

int winapi_perf_throughput(struct winapi *handle, enum winapi_perf_mode mode, uint32_t iterations,
			   const struct winapi_buffer_ref *buffers, unsigned int count,
			   struct winapi_throughput *result)
{
	struct winapi_perf_throughput_request request = { .op = mode, .iterations = iterations };
	struct winapi_perf_throughput_reply reply;
	struct winapi_call call = WINAPI_CALL_INIT;
	int err;

	WINAPI_STATIC_ASSERT(sizeof(result->histogram) == sizeof(reply.histogram));
	if (!result)
		return fail(-EINVAL, "nowhere to put the result: it is NULL");
	call.api = WINAPI_API_PERF_TEST;
	call.method = WINAPI_PERF_TEST_THROUGHPUT;
	call.in = &request;
	call.in_size = sizeof(request);
	call.out = &reply;
	call.out_capacity = sizeof(reply);
	call.buffers = buffers;
	call.buffer_count = count;
	err = winapi_call(handle, &call);
	if (!err)
		err = check_size(call.out_size, sizeof(reply));
	if (err)
		return err;
	result->bytes = reply.bytes;
	result->host_ns = reply.elapsed_ns;
	memcpy(result->histogram, reply.histogram, sizeof(reply.histogram));
	return 0;
}
