/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../common/protocol.h"

#define WARM_UP 1000u

/* ---- Latency ------------------------------------------------------------------------------------------- */

static int echo(struct winapi *handle, const uint8_t *in, uint8_t *out, uint32_t size, uint64_t *host_ns)
{
	struct winapi_call call = WINAPI_CALL_INIT;
	int err;

	call.api = WINAPI_API_ECHO;
	call.in = in;
	call.in_size = size;
	call.out = out;
	call.out_capacity = size;
	err = winapi_call(handle, &call);
	*host_ns = call.host_ns;
	return err;
}

int measure_latency(struct winapi *handle, uint32_t size, uint64_t calls, struct latency *latency)
{
	uint8_t in[WINAPI_INLINE_MAX], out[WINAPI_INLINE_MAX];
	uint64_t begin, end = 0, started, host;
	int err = 0;

	samples_init(&latency->round_trip, calls);
	samples_init(&latency->host, calls);
	progress_begin("round trips", calls);
	for (uint64_t i = 0; i < WARM_UP && !err; i++)
		err = echo(handle, in, out, 0, &host);
	started = tool_clock_ns();
	for (uint64_t i = 0; i < calls && !err; i++) {
		winapi_pattern_fill(in, size, i); /* so that no late or doubled echo passes for this one */
		begin = tool_clock_ns();
		err = echo(handle, in, out, size, &host);
		end = tool_clock_ns();
		if (!err && memcmp(in, out, size))
			err = -EILSEQ;
		samples_add(&latency->round_trip, end - begin);
		samples_add(&latency->host, host);
		progress_update(i);
	}
	progress_end();
	latency->calls_per_second = end > started ? (double)calls * 1e9 / (double)(end - started) : 0;
	samples_sort(&latency->round_trip);
	samples_sort(&latency->host);
	return err;
}

struct flight {
	uint8_t in[WINAPI_INLINE_MAX];
	uint8_t out[WINAPI_INLINE_MAX];
	uint64_t begun_ns;
};

static void prepare(struct winapi_call *call, struct flight *flight, uint64_t index, uint32_t size)
{
	*call = (struct winapi_call)WINAPI_CALL_INIT;
	call->api = WINAPI_API_ECHO;
	call->in = flight->in;
	call->in_size = size;
	call->out = flight->out;
	call->out_capacity = size;
	call->user_data = index;
	flight->begun_ns = tool_clock_ns();
}

/* Keeps as many in flight as are free; `idle` is a stack of flights. */
static int fill(struct winapi *handle, struct flight *flights, uint32_t *idle, uint32_t *idle_count,
		uint64_t *left, uint32_t size)
{
	struct winapi_call calls[256];
	uint32_t n = 0;
	int started;

	while (n < 256 && n < *idle_count && n < *left) {
		uint32_t at = idle[*idle_count - 1 - n];

		prepare(&calls[n++], &flights[at], at, size);
	}
	if (!n)
		return 0;
	started = winapi_submit(handle, calls, n);
	if (started < 0)
		return started == -EAGAIN ? 0 : started;
	/* Those that were not started go back on the stack. */
	for (uint32_t i = (uint32_t)started, k = *idle_count - n; i < n; i++, k++)
		idle[k] = (uint32_t)calls[i].user_data;
	*idle_count -= (uint32_t)started;
	*left -= (uint64_t)started;
	return 0;
}

static int collect(struct winapi *handle, struct flight *flights, uint32_t *idle, uint32_t *idle_count,
		   uint32_t size, struct samples *samples)
{
	struct winapi_completion done[64];
	int n = winapi_complete(handle, done, 64, WINAPI_TIMEOUT_INFINITE);
	uint64_t now = tool_clock_ns();

	for (int i = 0; i < n; i++) {
		struct flight *flight = &flights[done[i].user_data];

		if (done[i].result)
			return done[i].result;
		if (done[i].out_size != size || memcmp(flight->in, flight->out, size))
			return -EILSEQ;
		samples_add(samples, now - flight->begun_ns);
		idle[(*idle_count)++] = (uint32_t)done[i].user_data;
	}
	return n < 0 ? n : 0;
}

int measure_in_flight(struct winapi *handle, uint32_t size, uint64_t calls, uint32_t in_flight,
		      struct latency *latency)
{
	struct flight *flights = calloc(in_flight, sizeof(*flights));
	uint32_t *idle = calloc(in_flight, sizeof(*idle)), idle_count = in_flight;
	uint64_t left = calls, started;
	int err = flights && idle ? 0 : -ENOMEM;

	samples_init(&latency->round_trip, calls);
	samples_init(&latency->host, 0);
	for (uint32_t i = 0; i < in_flight && !err; i++) {
		idle[i] = i;
		winapi_pattern_fill(flights[i].in, size, i);
	}
	progress_begin("calls", calls);
	started = tool_clock_ns();
	while (!err && (left || idle_count < in_flight)) {
		err = fill(handle, flights, idle, &idle_count, &left, size);
		if (!err && idle_count < in_flight)
			err = collect(handle, flights, idle, &idle_count, size, &latency->round_trip);
		progress_update(calls - left);
	}
	latency->calls_per_second = (double)calls * 1e9 / (double)(tool_clock_ns() - started);
	progress_end();
	samples_sort(&latency->round_trip);
	free(flights);
	free(idle);
	return err;
}

void latency_free(struct latency *latency)
{
	samples_free(&latency->round_trip);
	samples_free(&latency->host);
}

static void print_row(const char *name, const struct samples *s)
{
	printf("  %-11s p50 %-10s p99 %-10s p99.9 %-10s max %s\n", name,
	       tool_duration((double)samples_at(s, 50)), tool_duration((double)samples_at(s, 99)),
	       tool_duration((double)samples_at(s, 99.9)), tool_duration((double)samples_at(s, 100)));
}

void latency_print(const struct latency *latency)
{
	print_row("round trip", &latency->round_trip);
	if (latency->host.count)
		print_row("host part", &latency->host);
	printf("  %.0f calls/s\n", latency->calls_per_second);
}

#define BAR 50u

/* Each line is a quarter of an octave; the bar is its share of the calls. */
void latency_print_histogram(const struct latency *latency)
{
	const struct samples *s = &latency->round_trip;
	size_t at = 0;
	double edge = 100, largest = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (at = 0, edge = 100; at < s->count; edge *= 1.189207115) {
			size_t begin = at;

			while (at < s->count && (double)s->value[at] < edge)
				at++;
			if (at == begin)
				continue;
			if (!pass && (double)(at - begin) > largest)
				largest = (double)(at - begin);
			if (pass)
				printf("  < %-10s %8zu %.*s\n", tool_duration(edge), at - begin,
				       (int)(BAR * (double)(at - begin) / largest),
				       "##################################################");
		}
	}
}

static json_t *percentiles(const struct samples *s)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "count", (json_int_t)s->count, "p50",
			 (json_int_t)samples_at(s, 50), "p99", (json_int_t)samples_at(s, 99), "p99.9",
			 (json_int_t)samples_at(s, 99.9), "max", (json_int_t)samples_at(s, 100));
}

json_t *latency_json(const struct latency *latency)
{
	return json_pack("{s:s,s:o,s:o,s:f}", "unit", "ns", "round_trip", percentiles(&latency->round_trip),
			 "host", percentiles(&latency->host), "calls_per_second", latency->calls_per_second);
}

/* ---- Throughput ---------------------------------------------------------------------------------------- */

#define ENOUGH_BYTES (256ull << 20)

static int one_mode(struct winapi *handle, enum winapi_perf_mode mode, const struct winapi_buffer_ref *refs,
		    unsigned int count, uint64_t size, double *gbps)
{
	uint64_t passes = ENOUGH_BYTES / size;
	struct winapi_throughput result;
	int err;

	if (passes > WINAPI_PERF_MAX_ITERATIONS)
		passes = WINAPI_PERF_MAX_ITERATIONS;
	/* Once to touch the pages, then for the figure. */
	err = winapi_perf_throughput(handle, mode, 1, refs, count, &result);
	if (!err)
		err = winapi_perf_throughput(handle, mode, (uint32_t)passes, refs, count, &result);
	*gbps = !err && result.host_ns ? (double)result.bytes / (double)result.host_ns : 0;
	progress_add(1);
	return err;
}

int measure_throughput(struct winapi *handle, uint64_t size, struct throughput *t)
{
	const uint32_t both = WINAPI_HOST_READS | WINAPI_HOST_WRITES;
	struct winapi_buffer_ref refs[2] = { { 0 } };
	int err = 0;

	*t = (struct throughput){ .size = size };
	for (int i = 0; i < 2 && !err; i++) {
		err = winapi_buffer_alloc(handle, size, both, &refs[i].buffer);
		refs[i].length = size;
		refs[i].access = both;
	}
	if (!err)
		err = one_mode(handle, WINAPI_PERF_MODE_READ, refs, 1, size, &t->read);
	if (!err)
		err = one_mode(handle, WINAPI_PERF_MODE_WRITE, refs, 1, size, &t->write);
	if (!err)
		err = one_mode(handle, WINAPI_PERF_MODE_COPY, refs, 2, size, &t->copy);
	for (int i = 0; i < 2; i++)
		winapi_buffer_free(refs[i].buffer);
	return err;
}

void throughput_print_head(void)
{
	printf("  %-10s %12s %12s %12s\n", "buffer", "host reads", "host writes", "host copies");
}

void throughput_print(const struct throughput *t)
{
	printf("  %-10s %7.2f GB/s %7.2f GB/s %7.2f GB/s\n", tool_size(t->size), t->read, t->write, t->copy);
}

json_t *throughput_json(const struct throughput *t)
{
	return json_pack("{s:I,s:s,s:f,s:f,s:f}", "size", (json_int_t)t->size, "unit", "GB/s", "read",
			 t->read, "write", t->write, "copy", t->copy);
}
