/* SPDX-License-Identifier: MIT */
/* API 3, perf test: the host's share of a round trip, and the speed at which it moves buffers. */
#include "../api.h"
#include "../memory_ops.h"

/* ---- Latency --------------------------------------------------------------------------------- */

static enum winapi_status latency(struct wp_call *call)
{
	struct winapi_perf_latency_reply reply = { .receive_ns = call->received_ns };

	if (call->out_capacity < sizeof(reply))
		return WINAPI_STATUS_REPLY_TOO_LARGE;
	reply.send_ns = wp_clock_ns();
	memcpy(call->out, &reply, sizeof(reply));
	call->out_size = sizeof(reply);
	return WINAPI_STATUS_OK;
}

/* Its buffers, if any, are only checked: what a reference to one costs can be measured. */
static uint64_t latency_work(const struct wp_call *call)
{
	(void)call;
	return 0;
}

/* ---- Throughput ------------------------------------------------------------------------------ */

struct pass {
	uint8_t value; /* what WRITE writes */
	uint64_t sum; /* of what READ read */
};

static bool read_piece(void *context, uint8_t *data, size_t size)
{
	struct pass *pass = context;

	pass->sum += memory_read(data, size);
	return true;
}

static bool write_piece(void *context, uint8_t *data, size_t size)
{
	const struct pass *pass = context;

	memset(data, pass->value, size);
	return true;
}

static enum winapi_status each_buffer(struct wp_call *call, wp_piece_fn piece, struct pass *pass)
{
	enum winapi_status status = WINAPI_STATUS_OK;

	for (uint32_t i = 0; !status && i < call->buffer_count; i++)
		status = wp_walk(call, &call->view[i], piece, pass);
	return status;
}

static bool overlap(const uint8_t *a, const uint8_t *b, size_t size)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x < y ? y - x < size : x - y < size;
}

/* The guest may have shared the same pages two times, and only the addresses here tell. */
static enum winapi_status copy_buffer(struct wp_call *call, const struct wp_view *from,
				      const struct wp_view *to)
{
	struct wp_cursor source = wp_cursor_at_start(from), target = wp_cursor_at_start(to);
	enum winapi_status status;
	uint8_t *in = NULL, *out = NULL;
	size_t size;

	while ((status = wp_call_check(call)) == WINAPI_STATUS_OK) {
		size = wp_cursor_look(&source, &in, wp_call_allowance(call));
		size = wp_cursor_look(&target, &out, size);
		if (!size)
			break;
		if (overlap(in, out, size))
			return WINAPI_STATUS_INVALID_PARAMETER;
		memcpy(out, in, size);
		wp_cursor_advance(&source, size);
		wp_cursor_advance(&target, size);
		call->unchecked += (uint32_t)size;
	}
	return status;
}

static enum winapi_status copy_pairs(struct wp_call *call)
{
	enum winapi_status status = WINAPI_STATUS_OK;

	for (uint32_t i = 0; !status && i < call->buffer_count; i += 2)
		status = copy_buffer(call, &call->view[i], &call->view[i + 1]);
	return status;
}

static enum winapi_status run_pass(struct wp_call *call, uint32_t op, struct pass *pass)
{
	switch (op) {
	case WINAPI_PERF_READ:
		return each_buffer(call, read_piece, pass);
	case WINAPI_PERF_WRITE:
		return each_buffer(call, write_piece, pass);
	default:
		return copy_pairs(call);
	}
}

static enum winapi_status check_pairs(const struct wp_call *call)
{
	if (call->buffer_count % 2)
		return WINAPI_STATUS_INVALID_PARAMETER;
	for (uint32_t i = 0; i < call->buffer_count; i += 2) {
		if (call->view[i].length != call->view[i + 1].length)
			return WINAPI_STATUS_INVALID_PARAMETER;
		if (!(call->view[i].access & WINAPI_ACCESS_READ) ||
		    !(call->view[i + 1].access & WINAPI_ACCESS_WRITE))
			return WINAPI_STATUS_ACCESS_DENIED;
	}
	return WINAPI_STATUS_OK;
}

static enum winapi_status check(const struct wp_call *call,
				const struct winapi_perf_throughput_request *request)
{
	if (request->op > WINAPI_PERF_COPY || !request->iterations ||
	    request->iterations > WINAPI_PERF_MAX_ITERATIONS)
		return WINAPI_STATUS_INVALID_PARAMETER;
	if (request->op == WINAPI_PERF_COPY)
		return check_pairs(call);
	if (!wp_call_allows(call, request->op == WINAPI_PERF_READ ? WINAPI_ACCESS_READ : WINAPI_ACCESS_WRITE))
		return WINAPI_STATUS_ACCESS_DENIED;
	return WINAPI_STATUS_OK;
}

/* Log-linear, 8 steps to the octave. */
static uint32_t bucket_of(uint64_t ns)
{
	uint32_t octave = 0, bucket;

	if (ns < 8)
		return (uint32_t)ns;
	while (ns >> octave >= 16)
		octave++;
	bucket = 8 * (octave + 1) + (uint32_t)(ns >> octave & 7);
	return bucket < WINAPI_PERF_BUCKETS ? bucket : WINAPI_PERF_BUCKETS - 1;
}

/* The histogram grows in the reply itself: 1 KiB is much for a kernel's stack. */
static enum winapi_status run_passes(struct wp_call *call, uint32_t op, uint32_t iterations)
{
	struct winapi_perf_throughput_reply *reply = call->out;
	uint64_t start = wp_clock_ns(), before = start;
	struct pass pass = { 0 };
	volatile uint64_t sink;

	for (uint32_t i = 0; i < iterations; i++) {
		enum winapi_status status;
		uint64_t now;

		pass.value = (uint8_t)(i + 1);
		status = run_pass(call, op, &pass);
		if (status)
			return status;
		now = wp_clock_ns();
		reply->histogram[bucket_of(now - before)]++;
		before = now;
	}
	sink = pass.sum; /* so that the reading isn't optimised away */
	(void)sink;
	reply->elapsed_ns = before - start;
	return WINAPI_STATUS_OK;
}

static enum winapi_status throughput(struct wp_call *call)
{
	struct winapi_perf_throughput_reply *reply = call->out;
	struct winapi_perf_throughput_request request;
	enum winapi_status status;

	memcpy(&request, call->in, sizeof(request));
	status = check(call, &request);
	if (status)
		return status;
	memset(reply, 0, sizeof(*reply));
	status = run_passes(call, request.op, request.iterations);
	if (status)
		return status;
	reply->bytes = wp_call_bytes(call) * request.iterations;
	if (request.op == WINAPI_PERF_COPY)
		reply->bytes /= 2;
	call->out_size = sizeof(*reply);
	return WINAPI_STATUS_OK;
}

static uint64_t throughput_work(const struct wp_call *call)
{
	struct winapi_perf_throughput_request request;

	memcpy(&request, call->in, sizeof(request));
	return wp_call_bytes(call) * request.iterations;
}

static const struct wp_method methods[] = {
	{ .id = WINAPI_PERF_TEST_LATENCY,
	  .max_in = WINAPI_MAX_INLINE,
	  .max_buffers = WINAPI_MAX_BUFFERS,
	  .run = latency,
	  .work = latency_work },
	{ .id = WINAPI_PERF_TEST_THROUGHPUT,
	  .min_in = sizeof(struct winapi_perf_throughput_request),
	  .max_in = sizeof(struct winapi_perf_throughput_request),
	  .min_buffers = 1,
	  .max_buffers = WINAPI_MAX_BUFFERS,
	  .run = throughput,
	  .work = throughput_work },
};

const struct wp_api wp_perf_test_api = {
	.id = WINAPI_API_PERF_TEST,
	.version = 1,
	.method_count = sizeof(methods) / sizeof(methods[0]),
	.flags = WINAPI_API_SHORT | WINAPI_API_BUFFERS,
	.name = "perf test",
	.methods = methods,
};
