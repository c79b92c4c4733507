/* SPDX-License-Identifier: MIT */
/*
 * Our rows. Usage: ours URI HOST_PID MODE COUNT, where winapi-hostd already serves URI.
 * MODE: polled, default, asleep, blocking, async, async_4k, batch, memory, nothing, threads, fair, idle, alloc.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "../common/protocol.h"
#include "../host/provider/memory_ops.h"
#include "../include/winapi.h"

static const char *uri;
static pid_t host;
static struct winapi *handle;

static void must(int err, const char *what)
{
	if (err < 0) {
		fprintf(stderr, "%s: %s\n", what, winapi_error_message());
		exit(1);
	}
}

static struct winapi *open_host(enum winapi_poll poll, uint32_t ring_size)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *h;

	options.poll = poll;
	options.ring_size = ring_size;
	must(winapi_open(&h, uri, &options), "open");
	return h;
}

/* ---- One call at a time --------------------------------------------------------------------------------- */

static struct {
	char in[3000];
	char out[3000];
	uint32_t size;
} echo;

static void call_echo(void *arg)
{
	must(winapi_echo(arg, echo.in, echo.out, echo.size), "echo");
	if (memcmp(echo.in, echo.out, echo.size))
		bench_die("an echo came back wrong");
}

static void latency(const char *name, uint32_t size, unsigned int count, bool paused)
{
	memset(echo.in, 0x5a, sizeof(echo.in));
	echo.size = size;
	bench_row_latency(name, bench_latency(call_echo, handle, count, paused, host));
}

/* ---- Many in flight --------------------------------------------------------------------------------------- */

static struct {
	struct winapi_call call[IN_FLIGHT];
	char in[IN_FLIGHT][64];
	char out[IN_FLIGHT][64];
	uint32_t idle[IN_FLIGHT];
	uint32_t idle_count;
} flight;

static unsigned int submit(unsigned int most)
{
	struct winapi_call calls[IN_FLIGHT];
	unsigned int n = flight.idle_count < most ? flight.idle_count : most;
	int started;

	for (unsigned int i = 0; i < n; i++)
		calls[i] = flight.call[flight.idle[flight.idle_count - 1 - i]];
	if (!n)
		return 0;
	started = winapi_submit(handle, calls, n);
	must(started, "submit");
	for (unsigned int i = (unsigned int)started, k = flight.idle_count - n; i < n; i++, k++)
		flight.idle[k] = (uint32_t)calls[i].user_data;
	flight.idle_count -= (uint32_t)started;
	return (unsigned int)started;
}

static void async(const char *name, unsigned int count)
{
	struct winapi_completion done[IN_FLIGHT];
	unsigned int sent = 0, got = 0;
	uint64_t begin, cpu;

	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		flight.call[i] = (struct winapi_call)WINAPI_CALL_INIT;
		flight.call[i].api = WINAPI_API_ECHO;
		flight.call[i].in = flight.in[i];
		flight.call[i].in_size = 64;
		flight.call[i].out = flight.out[i];
		flight.call[i].out_capacity = 64;
		flight.call[i].user_data = i;
		flight.in[i][0] = (char)i;
		flight.idle[i] = i;
	}
	flight.idle_count = IN_FLIGHT;
	begin = bench_now();
	cpu = bench_cpu(getpid()) + bench_cpu(host);
	while (got < count) {
		int n;

		sent += submit(count - sent);
		n = winapi_complete(handle, done, 16, WINAPI_TIMEOUT_INFINITE);
		must(n, "complete");
		for (int i = 0; i < n; i++) {
			must(done[i].result, "call");
			flight.idle[flight.idle_count++] = (uint32_t)done[i].user_data;
		}
		got += (unsigned int)n;
	}
	begin = bench_now() - begin;
	cpu = bench_cpu(getpid()) + bench_cpu(host) - cpu;
	for (uint32_t i = 0; i < IN_FLIGHT; i++)
		if (memcmp(flight.in[i], flight.out[i], 64))
			bench_die("an echo came back wrong");
	printf("{\"name\": \"%s\", \"value\": %.0f, \"unit\": \"calls/s\", \"cpu_ns\": %.1f}\n", name,
	       (double)count * 1e9 / (double)begin, (double)cpu / count);
}

static void batch(unsigned int count)
{
	struct winapi_batch_item items[32];
	uint64_t begin;

	memset(items, 0, sizeof(items));
	for (unsigned int i = 0; i < 32; i++) {
		items[i].api = WINAPI_API_ECHO;
		items[i].in = flight.in[i];
		items[i].in_size = 64;
		items[i].out = flight.out[i];
		items[i].out_capacity = 64;
	}
	begin = bench_now();
	for (unsigned int i = 0; i < count; i++) {
		flight.in[i % 32][1] = (char)i;
		must(winapi_batch(handle, items, 32, 0), "batch");
	}
	begin = bench_now() - begin;
	if (memcmp(flight.in, flight.out, 32 * 64))
		bench_die("a batch came back wrong");
	bench_row("batch32", 32.0 * count * 1e9 / (double)begin, "calls/s");
}

/* ---- Buffers ---------------------------------------------------------------------------------------------- */

static struct winapi_buffer_ref share(uint64_t size)
{
	const uint32_t both = WINAPI_HOST_READS | WINAPI_HOST_WRITES;
	struct winapi_buffer_ref ref = { .length = size, .access = both };

	must(winapi_buffer_alloc(handle, size, both, &ref.buffer), "buffer_alloc");
	return ref;
}

static struct bulk {
	struct winapi_buffer_ref ref[8];
	uint8_t *data; /* of the first */
	uint64_t seed;
	uint64_t bad[8];
	uint32_t crc[8];
	uint32_t floor_crc;
	uint64_t floor_bad;
} bulk;

static void call_write(void)
{
	must(winapi_buffer_test_write(handle, bulk.ref, 1, ++bulk.seed), "write");
}

static void floor_fill(void)
{
	memory_fill(bulk.data, BULK_SIZE, ++bulk.seed, 0);
}

static void call_read(void)
{
	must(winapi_buffer_test_read(handle, bulk.ref, 1, bulk.crc), "read");
}

static void floor_crc32c(void)
{
	bulk.floor_crc = memory_crc32c(0, bulk.data, BULK_SIZE);
}

static void call_verify(void)
{
	must(winapi_buffer_test_verify(handle, bulk.ref, 1, bulk.seed, bulk.bad), "verify");
}

static void floor_verify(void)
{
	bulk.floor_bad = memory_verify(bulk.data, BULK_SIZE, bulk.seed, 0);
}

static double took_ns(void (*work)(void), int cpu)
{
	uint64_t begin;

	bench_pin(cpu);
	begin = bench_now();
	work();
	return (double)(bench_now() - begin);
}

/* On the host's CPU, whose speed is the one that counts, and in turn with the calls: it changes by the second. */
static void compare(const char *name, void (*call)(void), const char *floor_name, void (*floor)(void),
		    unsigned int rounds)
{
	double *calls = malloc(rounds * sizeof(*calls)), *floors = malloc(rounds * sizeof(*floors));

	if (!calls || !floors)
		bench_die("malloc");
	took_ns(floor, SERVER_CPU); /* warm */
	took_ns(call, CLIENT_CPU);
	for (unsigned int i = 0; i < rounds; i++) {
		floors[i] = took_ns(floor, SERVER_CPU);
		calls[i] = took_ns(call, CLIENT_CPU);
	}
	bench_row(floor_name, (double)BULK_SIZE / bench_median(floors, rounds), "GB/s");
	bench_row(name, (double)BULK_SIZE / bench_median(calls, rounds), "GB/s");
	free(calls);
	free(floors);
}

static void copy_floor(void)
{
	static uint8_t *other;

	if (!other && !(other = malloc(BULK_SIZE)))
		bench_die("malloc");
	memcpy(other, bulk.data, BULK_SIZE);
}

static void memory(unsigned int rounds)
{
	struct winapi_stats stats = { .size = sizeof(stats) };
	uint64_t begin = bench_now();

	bulk.ref[0] = share(BULK_SIZE);
	bench_row("register_64m", (double)(bench_now() - begin), "ns");
	bulk.data = winapi_buffer_data(bulk.ref[0].buffer);
	compare("write_64m", call_write, "memory_fill", floor_fill, rounds);
	compare("read_64m", call_read, "memory_crc32c", floor_crc32c, rounds);
	compare("verify_64m", call_verify, "memory_verify", floor_verify, rounds);
	if (bulk.crc[0] != bulk.floor_crc || bulk.bad[0] != UINT64_MAX || bulk.floor_bad != UINT64_MAX)
		bench_die("a checksum or a pattern came back wrong");
	took_ns(copy_floor, SERVER_CPU);
	bench_row("memory_copy", (double)BULK_SIZE / took_ns(copy_floor, SERVER_CPU), "GB/s");
	bench_pin(CLIENT_CPU);
	for (int i = 1; i < 8; i++)
		bulk.ref[i] = share(BULK_SIZE);
	must(winapi_buffer_test_write(handle, bulk.ref, 8, 1), "write");
	begin = bench_now();
	must(winapi_buffer_test_write(handle, bulk.ref, 8, 2), "write");
	bench_row("eight_64m", 8.0 * (double)BULK_SIZE / (double)(bench_now() - begin), "GB/s");
	must(winapi_get_stats(handle, &stats), "stats");
	bench_row("buffer_bytes_copied", (double)(stats.bytes_bounced + stats.host_bytes_copied), "bytes");
}

static void call_nothing(void *arg)
{
	struct winapi_buffer_ref *ref = arg;
	struct winapi_perf_latency_reply reply;
	struct winapi_call call = WINAPI_CALL_INIT;

	call.api = WINAPI_API_PERF_TEST;
	call.method = WINAPI_PERF_TEST_LATENCY;
	call.out = &reply;
	call.out_capacity = sizeof(reply);
	call.buffers = ref;
	call.buffer_count = 1;
	must(winapi_call(handle, &call), "call");
}

static void nothing(unsigned int count)
{
	struct winapi_buffer_ref small = share(4096), large = share(BULK_SIZE);

	bench_row_latency("nothing_4k", bench_latency(call_nothing, &small, count, false, host));
	bench_row_latency("nothing_64m", bench_latency(call_nothing, &large, count, false, host));
}

/* ---- Many callers ----------------------------------------------------------------------------------------- */

#define CALLERS 8

struct caller {
	pthread_t thread;
	unsigned int count;
	double seconds;
	int fd; /* of the Unix socket peer */
};

static void *run_caller(void *arg)
{
	struct caller *c = arg;
	char in[64] = "caller", out[64];
	uint64_t begin = bench_now();

	for (unsigned int i = 0; i < c->count; i++)
		if (c->fd < 0)
			must(winapi_echo(handle, in, out, sizeof(in)), "echo");
		else if (write(c->fd, in, 64) != 64 || read(c->fd, out, 64) != 64)
			bench_die("socket");
	c->seconds = (double)(bench_now() - begin) / 1e9;
	return NULL;
}

static void many(const char *name, struct caller *callers, unsigned int count, bool fairness)
{
	double slowest = 0, fastest = 1e9;
	uint64_t begin = bench_now();

	for (int i = 0; i < CALLERS; i++) {
		callers[i].count = count;
		if (pthread_create(&callers[i].thread, NULL, run_caller, &callers[i]))
			bench_die("pthread_create");
	}
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(callers[i].thread, NULL);
		if (callers[i].seconds > slowest)
			slowest = callers[i].seconds;
		if (callers[i].seconds < fastest)
			fastest = callers[i].seconds;
	}
	bench_row(name, CALLERS * count * 1e9 / (double)(bench_now() - begin), "calls/s");
	if (fairness)
		bench_row("echo64_8threads_fair", fastest / slowest, "slowest/fastest");
}

static void *serve_socket(void *arg)
{
	int fd = *(int *)arg;
	char data[64];

	while (read(fd, data, 64) == 64 && write(fd, data, 64) == 64)
		;
	return NULL;
}

/* Eight threads, eight sockets, each with a thread of its own at the other end. */
static void unix_threads(unsigned int count)
{
	struct caller callers[CALLERS];
	int pair[CALLERS][2];
	pid_t server;

	for (int i = 0; i < CALLERS; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair[i]))
			bench_die("socketpair");
	server = fork();
	if (!server) {
		pthread_t thread;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bench_pin(SERVER_CPU);
		for (int i = 0; i < CALLERS; i++)
			if (pthread_create(&thread, NULL, serve_socket, &pair[i][1]))
				_exit(1);
		pause();
	}
	for (int i = 0; i < CALLERS; i++)
		callers[i].fd = pair[i][0];
	many("unix_8threads", callers, count, false);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

static void threads(unsigned int count)
{
	struct caller callers[CALLERS];

	unix_threads(count / 4);
	handle = open_host(WINAPI_POLL_ADAPTIVE, 0);
	for (int i = 0; i < CALLERS; i++)
		callers[i].fd = -1;
	many("echo64_8threads", callers, count, true);
}

/* Eight client processes of one daemon for a while: the fewest calls to the most. */
static void fair(unsigned int ms)
{
	int result[2];
	double least = 1e18, most = 0;

	if (pipe(result))
		bench_die("pipe");
	for (int i = 0; i < CALLERS; i++) {
		if (fork())
			continue;
		char data[64] = "fair", out[64];
		uint64_t end;
		double calls = 0;

		handle = open_host(WINAPI_POLL_ADAPTIVE, 0);
		usleep(300000);
		end = bench_now() + ms * 1000000ull;
		for (; bench_now() < end; calls++)
			must(winapi_echo(handle, data, out, 64), "echo");
		if (write(result[1], &calls, sizeof(calls)) != sizeof(calls))
			_exit(1);
		winapi_close(handle);
		_exit(0);
	}
	for (int i = 0; i < CALLERS; i++) {
		double calls;

		if (read(result[0], &calls, sizeof(calls)) != sizeof(calls))
			bench_die("a client failed");
		least = calls < least ? calls : least;
		most = calls > most ? calls : most;
	}
	while (wait(NULL) > 0)
		;
	bench_row("clients8_fair", least / most, "slowest/fastest");
}

/* ---- What a daemon costs ----------------------------------------------------------------------------------- */

static double status_kib(const char *key)
{
	char path[64], line[256];
	double kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)host);
	file = fopen(path, "r");
	if (!file)
		bench_die(path);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			kib = strtod(line + strlen(key) + 1, NULL);
	fclose(file);
	return kib;
}

static void idle(unsigned int clients)
{
	struct winapi **handles = calloc(clients, sizeof(*handles));
	double before = status_kib("RssAnon") + status_kib("RssFile"), after;
	uint64_t cpu;

	bench_row("hostd_rss", status_kib("VmRSS") / 1024, "MiB");
	for (unsigned int i = 0; i < clients; i++)
		handles[i] = open_host(WINAPI_POLL_ADAPTIVE, 0);
	after = status_kib("RssAnon") + status_kib("RssFile");
	usleep(300000);
	cpu = bench_cpu(host);
	sleep(2);
	cpu = bench_cpu(host) - cpu;
	bench_row("idle_client_memory", (after - before) / clients, "KiB");
	bench_row("idle_cpu", (double)cpu / 2e9 * 100, "%");
	for (unsigned int i = 0; i < clients; i++) {
		char in[8] = "alive", out[8];

		must(winapi_echo(handles[i], in, out, sizeof(in)), "echo");
		winapi_close(handles[i]);
	}
	free(handles);
}

static unsigned int mappings(pid_t pid)
{
	unsigned int lines = 0;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		lines++;
	if (file)
		fclose(file);
	return lines;
}

static void alloc(unsigned int cycles)
{
	unsigned int ours, theirs;
	struct winapi_buffer_ref ref = share(BULK_SIZE);
	uint64_t begin;

	must(winapi_buffer_free(ref.buffer), "free");
	ours = mappings(getpid());
	theirs = mappings(host);
	begin = bench_now();
	for (unsigned int i = 0; i < cycles; i++) {
		ref = share(BULK_SIZE);
		must(winapi_buffer_free(ref.buffer), "free");
	}
	bench_row("alloc_free_64m", (double)(bench_now() - begin) / cycles, "ns");
	bench_row("alloc_free_mappings_left",
		  (double)mappings(getpid()) - ours + (double)mappings(host) - theirs, "mappings");
}

int main(int argc, char **argv)
{
	unsigned int count = argc > 4 ? (unsigned int)atoi(argv[4]) : 0;
	const char *mode = argc > 4 ? argv[3] : "";

	if (!count)
		return fprintf(stderr, "usage: ours URI HOST_PID MODE COUNT\n"), 2;
	uri = argv[1];
	host = (pid_t)atoi(argv[2]);
	bench_pin(CLIENT_CPU);
	if (!strcmp(mode, "threads"))
		return threads(count), 0;
	if (!strcmp(mode, "fair"))
		return fair(count), 0;
	if (!strcmp(mode, "idle"))
		return idle(count), 0;
	handle = open_host(!strcmp(mode, "polled")   ? WINAPI_POLL_ALWAYS :
			   !strcmp(mode, "blocking") ? WINAPI_POLL_NEVER :
						       WINAPI_POLL_ADAPTIVE,
			   !strcmp(mode, "async_4k") ? 4096 : 0);
	if (!strcmp(mode, "polled")) {
		latency("echo64_polled", 64, count, false);
		latency("echo3000_polled", 3000, count, false);
	} else if (!strcmp(mode, "default")) {
		latency("echo64_default", 64, count, false);
		latency("echo3000_default", 3000, count, false);
	} else if (!strcmp(mode, "asleep")) {
		latency("echo64_asleep", 64, count, true);
		latency("echo3000_asleep", 3000, count, true);
	} else if (!strcmp(mode, "blocking")) {
		latency("echo64_blocking", 64, count, false);
	} else if (!strcmp(mode, "async")) {
		async("async64", count);
	} else if (!strcmp(mode, "async_4k")) {
		async("async64_4k", count);
	} else if (!strcmp(mode, "batch")) {
		batch(count);
	} else if (!strcmp(mode, "memory")) {
		memory(count);
	} else if (!strcmp(mode, "nothing")) {
		nothing(count);
	} else if (!strcmp(mode, "alloc")) {
		alloc(count);
	} else {
		return fprintf(stderr, "no such mode: %s\n", mode), 2;
	}
	winapi_close(handle);
	return 0;
}
