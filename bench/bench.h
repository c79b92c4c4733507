/* SPDX-License-Identifier: MIT */
/* What every benchmark program does: two processes on two CPUs, medians of many, one JSON line a row. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CLIENT_CPU 0
#define SERVER_CPU 1
#define BULK_SIZE ((size_t)64 << 20)
#define PAUSE_NS 3000000u
#define IN_FLIGHT 64u

void bench_pin(int cpu);
uint64_t bench_now(void);
void bench_pause(void); /* 3 ms, asleep */
_Noreturn void bench_die(const char *what);
/* CPU time that a process has used so far, in ns. */
uint64_t bench_cpu(pid_t pid);

/* Makes `count` calls and notes the median of their times and the CPU time of both processes. */
struct bench_latency {
	double median_ns;
	double cpu_ns; /* per call */
};
struct bench_latency bench_latency(void (*call)(void *arg), void *arg, unsigned int count, bool paused,
				   pid_t server);

/* Sorts the values. */
double bench_median(double *values, unsigned int count);

void bench_row(const char *name, double value, const char *unit);
void bench_row_latency(const char *name, struct bench_latency latency);

#endif /* BENCH_H */
