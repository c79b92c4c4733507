/* SPDX-License-Identifier: MIT */
/* Measurements that both tools make. */
#ifndef MEASURE_H
#define MEASURE_H

#include <jansson.h>

#include "tool.h"

/* Round trips of echo calls, and the host's part of each. */
struct latency {
	struct samples round_trip;
	struct samples host;
	double calls_per_second;
};
/* 0, or the errno of the call that failed. */
int measure_latency(struct winapi *handle, uint32_t size, uint64_t calls, struct latency *latency);
/* The same with many calls in flight; host times aren't taken. */
int measure_in_flight(struct winapi *handle, uint32_t size, uint64_t calls, uint32_t in_flight,
		      struct latency *latency);
void latency_free(struct latency *latency);
void latency_print(const struct latency *latency);
void latency_print_histogram(const struct latency *latency);
json_t *latency_json(const struct latency *latency);

/* How fast the host reads, writes and copies shared buffers of a size, in GB/s; each is a step of progress. */
#define THROUGHPUT_STEPS 3u
struct throughput {
	uint64_t size;
	double read;
	double write;
	double copy;
};
int measure_throughput(struct winapi *handle, uint64_t size, struct throughput *throughput);
void throughput_print_head(void);
void throughput_print(const struct throughput *throughput);
json_t *throughput_json(const struct throughput *throughput);

#endif /* MEASURE_H */
