/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set); /* with one CPU it stays where it is */
}

uint64_t bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_pause(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
}

void bench_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

uint64_t bench_cpu(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (pid <= 0 || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct bench_latency bench_latency(void (*call)(void *arg), void *arg, unsigned int count, bool paused,
				   pid_t server)
{
	uint64_t *ns = malloc(count * sizeof(*ns)), cpu = 0;
	struct bench_latency result;
	unsigned int warm = count / 10 + 1;

	if (!ns)
		bench_die("malloc");
	for (unsigned int i = 0; i < count + warm; i++) {
		uint64_t begin;

		if (i == warm)
			cpu = bench_cpu(getpid()) + bench_cpu(server);
		if (paused)
			bench_pause();
		begin = bench_now();
		call(arg);
		if (i >= warm)
			ns[i - warm] = bench_now() - begin;
	}
	cpu = bench_cpu(getpid()) + bench_cpu(server) - cpu;
	qsort(ns, count, sizeof(*ns), compare);
	result.median_ns = (double)ns[count / 2];
	result.cpu_ns = (double)cpu / count;
	free(ns);
	return result;
}

void bench_row(const char *name, double value, const char *unit)
{
	printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name, value, unit);
	fflush(stdout);
}

void bench_row_latency(const char *name, struct bench_latency latency)
{
	printf("{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"ns\", \"cpu_ns\": %.1f}\n", name,
	       latency.median_ns, latency.cpu_ns);
	fflush(stdout);
}
