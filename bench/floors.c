/* SPDX-License-Identifier: MIT */
/*
 * Floors: what two processes on two CPUs of this machine need at least, whatever carries their calls.
 * Usage: floors cores|spin|ring|ring_in_flight|futex|futex_paused|wake_paused COUNT
 */
#include "bench.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Fields that two CPUs write lie 128 bytes apart: neighbours of a line are fetched with it. */
struct word {
	uint32_t value;
	char padding[124];
};

struct shared {
	struct word request;
	struct word reply;
};
static struct shared *shared;

#define LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static void *map_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		bench_die("mmap");
	return p;
}

static pid_t start_server(void (*serve)(void))
{
	pid_t pid = fork();

	if (pid < 0)
		bench_die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bench_pin(SERVER_CPU);
		serve();
		_exit(0);
	}
	bench_pin(CLIENT_CPU);
	return pid;
}

/* ---- Cores ------------------------------------------------------------------------------------------------ */

#define ADDS 64u /* a turn of the loop */

static double adds_per_ns(void)
{
	const unsigned int turns = 2000;
	uint64_t begin = bench_now();

	for (unsigned int i = 0; i < turns; i++)
		__asm__ volatile(
			".rept 16\n\tadd $1, %%eax\n\tadd $1, %%ecx\n\tadd $1, %%edx\n\tadd $1, %%esi\n.endr" ::
				: "eax", "ecx", "edx", "esi", "cc");
	return (double)turns * ADDS / (double)(bench_now() - begin);
}

/*
 * What a core can do at once: a CPU that shares its core with another, of another virtual machine even, does about half
 * of it. Rows that compute feel that; those that wait for cache lines don't.
 */
static void cores(unsigned int count)
{
	double *rate = malloc(count * sizeof(*rate));

	if (!rate)
		bench_die("malloc");
	for (int cpu = CLIENT_CPU; cpu <= SERVER_CPU; cpu++) {
		bench_pin(cpu);
		for (unsigned int i = 0; i < count; i++)
			rate[i] = adds_per_ns();
		bench_row(cpu == CLIENT_CPU ? "core_client" : "core_server", bench_median(rate, count),
			  "adds/ns");
	}
	free(rate);
}

/* ---- A cache line there and one back ------------------------------------------------------------------- */

static void serve_spin(void)
{
	for (uint32_t i = 1;; i++) {
		while (LOAD(&shared->request.value) != i)
			__builtin_ia32_pause();
		STORE(&shared->reply.value, i);
	}
}

static void call_spin(void *arg)
{
	uint32_t *i = arg;

	STORE(&shared->request.value, ++*i);
	while (LOAD(&shared->reply.value) != *i)
		__builtin_ia32_pause();
}

/* ---- A ring each way, made by hand, that carries 64 bytes and nothing else -------------------------------- */

#define SLOTS 128u

struct ring {
	struct word head;
	struct word tail;
	struct {
		uint32_t size;
		uint32_t unused;
		char data[4088];
	} slot[SLOTS] __attribute__((aligned(4096)));
};

static struct ring *rings;

static void put(struct ring *ring, const void *data, uint32_t size)
{
	uint32_t head = ring->head.value;

	while (head - LOAD(&ring->tail.value) == SLOTS)
		__builtin_ia32_pause();
	memcpy(ring->slot[head % SLOTS].data, data, size);
	ring->slot[head % SLOTS].size = size;
	STORE(&ring->head.value, head + 1);
}

static void get(struct ring *ring, void *data)
{
	uint32_t tail = ring->tail.value;

	while (LOAD(&ring->head.value) == tail)
		__builtin_ia32_pause();
	memcpy(data, ring->slot[tail % SLOTS].data, ring->slot[tail % SLOTS].size);
	STORE(&ring->tail.value, tail + 1);
}

static void serve_ring(void)
{
	char data[4088];

	for (;;) {
		get(&rings[0], data);
		put(&rings[1], data, 64);
	}
}

static void call_ring(void *arg)
{
	char data[4088];

	put(&rings[0], arg, 64);
	get(&rings[1], data);
}

static void ring_in_flight(unsigned int count)
{
	char data[4088] = "floor";
	unsigned int sent = 0, got = 0;
	uint64_t begin = bench_now();

	while (got < count) {
		while (sent < count && sent - got < IN_FLIGHT) {
			put(&rings[0], data, 64);
			sent++;
		}
		do {
			get(&rings[1], data);
			got++;
		} while (got < sent && LOAD(&rings[1].head.value) != rings[1].tail.value);
	}
	bench_row("floor_ring_64_in_flight", (double)count * 1e9 / (double)(bench_now() - begin), "calls/s");
}

/* ---- Waking each other up ------------------------------------------------------------------------------- */

static void futex_wait(uint32_t *word, uint32_t old)
{
	while (LOAD(word) == old)
		syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
}

static void futex_set(uint32_t *word, uint32_t value)
{
	STORE(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void serve_futex(void)
{
	for (uint32_t i = 1;; i++) {
		futex_wait(&shared->request.value, i - 1);
		futex_set(&shared->reply.value, i);
	}
}

/* One who is woken up, and says so to one who polls. */
static void serve_wake(void)
{
	for (uint32_t i = 1;; i++) {
		futex_wait(&shared->request.value, i - 1);
		STORE(&shared->reply.value, i);
	}
}

static void call_wake(void *arg)
{
	uint32_t *i = arg;

	futex_set(&shared->request.value, ++*i);
	while (LOAD(&shared->reply.value) != *i)
		__builtin_ia32_pause();
}

static void call_futex(void *arg)
{
	uint32_t *i = arg;

	futex_set(&shared->request.value, ++*i);
	futex_wait(&shared->reply.value, *i - 1);
}

int main(int argc, char **argv)
{
	unsigned int count = argc > 2 ? (unsigned int)atoi(argv[2]) : 0;
	const char *mode = argc > 2 ? argv[1] : "";
	static char data[64] = "floor";
	uint32_t i = 0;
	pid_t server;

	if (!count)
		return fprintf(stderr,
			       "usage: floors cores|spin|ring|ring_in_flight|futex|futex_paused|wake_paused COUNT\n"),
		       2;
	if (!strcmp(mode, "cores"))
		return cores(count), 0;
	shared = map_shared(sizeof(*shared));
	rings = map_shared(2 * sizeof(*rings));
	if (!strcmp(mode, "spin")) {
		server = start_server(serve_spin);
		bench_row_latency("floor_spin", bench_latency(call_spin, &i, count, false, server));
	} else if (!strcmp(mode, "ring")) {
		server = start_server(serve_ring);
		bench_row_latency("floor_ring", bench_latency(call_ring, data, count, false, server));
	} else if (!strcmp(mode, "ring_in_flight")) {
		server = start_server(serve_ring);
		ring_in_flight(count);
	} else if (!strcmp(mode, "wake_paused")) {
		server = start_server(serve_wake);
		bench_row_latency("floor_wake_paused", bench_latency(call_wake, &i, count, true, server));
	} else {
		bool paused = !strcmp(mode, "futex_paused");

		server = start_server(serve_futex);
		bench_row_latency(paused ? "floor_futex_paused" : "floor_futex",
				  bench_latency(call_futex, &i, count, paused, server));
	}
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return 0;
}
