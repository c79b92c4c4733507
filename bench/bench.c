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
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

struct bench_latency bench_latency(void (*call)(void *arg), void *arg, unsigned int count, bool paused,
				   pid_t server)
{
	double *ns = malloc(count * sizeof(*ns));
	uint64_t cpu = 0;
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
			ns[i - warm] = (double)(bench_now() - begin);
	}
	cpu = bench_cpu(getpid()) + bench_cpu(server) - cpu;
	result.median_ns = bench_median(ns, count);
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
