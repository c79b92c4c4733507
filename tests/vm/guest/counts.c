/* SPDX-License-Identifier: MIT */
/*
 * Counts what calls cost: signals, interrupts, pinned pages, copied bytes, GPADL messages. Times under emulation say
 * nothing; these numbers are the same everywhere. Run as root, for the driver's `poll` parameter.
 * Usage: vm_counts backend | hostd
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend.h"

#define PARAMETERS "/sys/module/winapi_client/parameters/"

static int fd;

/* The runner reads these and holds them against their bounds. */
static void figure(const char *name, double value, const char *unit)
{
	printf("# figure %s %.10g %s\n", name, value, unit);
}

static void driver_polls(const char *mode)
{
	int file = open(PARAMETERS "poll", O_WRONLY | O_CLOEXEC);

	if (file < 0 || write(file, mode, 1) != 1)
		bail(PARAMETERS "poll: %s", strerror(errno));
	close(file);
}

/* The difference of a counter over something. */
#define GREW(member, before) ((double)(device_stats(fd).member - (before).member))

/* ---- Signals and interrupts ---------------------------------------------------------------------------- */

#define IDLE_CALLS 40u

/* Both sides have gone to sleep before each call. */
static void sync_idle(void)
{
	struct winapi_ioc_stats before;
	int err = 0;

	driver_polls("0");
	echo(fd);
	usleep(50000);
	before = device_stats(fd);
	for (unsigned int i = 0; i < IDLE_CALLS && !err; i++) {
		err = echo(fd);
		usleep(30000);
	}
	check_error(err, 0, "%u calls with both sides idle", IDLE_CALLS);
	figure("signals_sync_idle", GREW(signals, before) / IDLE_CALLS, "per call");
	figure("interrupts_sync_idle", GREW(interrupts, before) / IDLE_CALLS, "per call");
}

#define POLLED_CALLS 100u

static void sync_polled(void)
{
	struct winapi_ioc_stats before;
	int err;

	driver_polls("2");
	err = backend_number(fd, BACKEND_POLL, 1);
	usleep(50000);
	before = device_stats(fd);
	for (unsigned int i = 0; i < POLLED_CALLS && !err; i++)
		err = echo(fd);
	check_error(err, 0, "%u calls with both sides polling", POLLED_CALLS);
	figure("signals_sync_polled", GREW(signals, before) / POLLED_CALLS, "per call");
	figure("interrupts_sync_polled", GREW(interrupts, before) / POLLED_CALLS, "per call");
	check_error(backend_number(fd, BACKEND_POLL, 0), 0, "the host polls no more");
	driver_polls("0");
}

#define FLIGHT 64u

static int submit_one(void)
{
	struct winapi_ioc_call c = echo_call("abcdefgh", 8, NULL);
	struct winapi_ioc_submit s = { (uintptr_t)&c, 1, sizeof(c) };

	return device(fd, WINAPI_IOC_SUBMIT, &s);
}

/* Takes `count` records, however many come at once. */
static unsigned int take_records(unsigned int count)
{
	uint8_t bytes[64 * 40];
	unsigned int taken = 0;
	ssize_t size;

	while (taken < count && (size = read(fd, bytes, sizeof(bytes))) > 0)
		taken += (unsigned int)size / 40; /* 32 and 8 bytes of data */
	return taken;
}

static void in_flight(void)
{
	struct winapi_ioc_stats before;
	unsigned int started = 0;

	check_error(backend_number(fd, BACKEND_HOLD, FLIGHT), 0, "the host holds calls back");
	usleep(50000);
	before = device_stats(fd);
	for (unsigned int i = 0; i < FLIGHT; i++)
		started += submit_one() == 1;
	check(started == FLIGHT && take_records(FLIGHT) == FLIGHT, "%u calls in flight", FLIGHT);
	figure("signals_64_in_flight", GREW(signals, before) / FLIGHT, "per call");
	figure("interrupts_64_in_flight", GREW(interrupts, before) / FLIGHT, "per call");
}

#define MEMBERS 32u
#define BATCHES 10u

static void batches(void)
{
	struct winapi_batch_entry members[MEMBERS] = { { 0 } };
	struct winapi_ioc_stats before;
	int err = 0;

	for (unsigned int i = 0; i < MEMBERS; i++)
		members[i] = (struct winapi_batch_entry){ .api = WINAPI_API_ECHO, .index = i };
	usleep(50000);
	before = device_stats(fd);
	for (unsigned int i = 0; i < BATCHES && !err; i++) {
		struct winapi_batch_entry out[MEMBERS];
		struct winapi_ioc_call c = echo_call(members, sizeof(members), out);

		c.api = 0;
		c.flags = WINAPI_IOC_CALL_BATCH;
		err = call(fd, &c);
		if (!err && c.out_size != sizeof(out))
			err = -EBADMSG;
		usleep(30000);
	}
	check_error(err, 0, "%u batches of %u", BATCHES, MEMBERS);
	figure("signals_batch_32", GREW(signals, before) / BATCHES, "per batch");
	figure("interrupts_batch_32", GREW(interrupts, before) / BATCHES, "per batch");
}

/* ---- Buffers ------------------------------------------------------------------------------------------- */

static uint64_t host_copied(void)
{
	struct winapi_provider_stats stats = { 0 };
	struct winapi_ioc_call c = { .out = (uintptr_t)&stats,
				     .out_capacity = sizeof(stats),
				     .timeout_ms = PATIENCE_MS,
				     .method = WINAPI_INTROSPECTION_STATS };

	return call(fd, &c) ? UINT64_MAX : stats.bytes_copied;
}

#define BUFFER_CALLS 50u

static void registered(void)
{
	static uint8_t memory[1 << 20];
	uint64_t copied = host_copied();
	struct winapi_ioc_buffer_ref ref = { .access = 1, .length = sizeof(memory) };
	struct winapi_ioc_stats before;
	uint32_t crc = 0;
	int err = buffer_register(fd, memory, sizeof(memory), 3, &ref.id);

	before = device_stats(fd);
	for (unsigned int i = 0; i < BUFFER_CALLS && !err; i++)
		err = buffer_crc(fd, &ref, &crc);
	check_error(err, 0, "%u calls on a registered buffer", BUFFER_CALLS);
	check(crc == crc32c(memory, sizeof(memory)), "with the right result");
	figure("pages_pinned_registered", GREW(pages_pinned, before) / BUFFER_CALLS, "per call");
	figure("bytes_copied_registered",
	       (GREW(bytes_copied, before) + (double)(host_copied() - copied)) / BUFFER_CALLS, "per call");
	check_error(buffer_free(fd, ref.id), 0, "it is freed");
}

static void per_call(void)
{
	static uint8_t memory[64 << 10] __attribute__((aligned(4096)));
	uint64_t copied = host_copied();
	struct winapi_ioc_buffer_ref ref = { .access = 1,
					     .address = (uintptr_t)memory,
					     .length = sizeof(memory) };
	struct winapi_ioc_stats before;
	uint32_t crc = 0;
	int err = 0;

	for (unsigned int i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i * 7);
	before = device_stats(fd);
	for (unsigned int i = 0; i < BUFFER_CALLS && !err; i++)
		err = buffer_crc(fd, &ref, &crc);
	check_error(err, 0, "%u calls with 64 KiB of plain memory", BUFFER_CALLS);
	check(crc == crc32c(memory, sizeof(memory)), "with the right result");
	figure("gpa_direct_64k", GREW(gpa_direct, before) / BUFFER_CALLS, "per call");
	figure("pages_pinned_64k", GREW(pages_pinned, before) / BUFFER_CALLS, "per call");
	figure("bytes_copied_64k",
	       (GREW(bytes_copied, before) + (double)(host_copied() - copied)) / BUFFER_CALLS, "per call");
}

#define MANY_CALLS 10000u

static uint64_t gpadl_messages(void)
{
	struct backend_counters c = { 0 };

	if (backend_counters(fd, &c))
		bail("no counters");
	return c.gpadl_messages;
}

static void sixty_four_mib(void)
{
	uint64_t before = gpadl_messages(), after;
	struct winapi_ioc_alloc a = { 0 };
	struct winapi_ioc_buffer_ref ref = { .access = 3, .length = 64 << 20 };
	int err = buffer_alloc(fd, 64 << 20, 3, &a);
	uint32_t crc;

	check_error(err, 0, "a buffer of 64 MiB");
	after = gpadl_messages();
	figure("gpadl_messages_64m", (double)(after - before), "messages");
	ref.id = a.id;
	for (unsigned int i = 0; i < MANY_CALLS && !err; i++)
		err = buffer_crc(fd, &ref, &crc);
	check_error(err, 0, "%u calls on it", MANY_CALLS);
	figure("gpadl_messages_10000_calls", (double)(gpadl_messages() - after), "messages");
	check_error(buffer_free(fd, a.id), 0, "it is freed");
}

int main(int argc, char **argv)
{
	bool test_backend = argc > 1 && !strcmp(argv[1], "backend");

	if (argc < 2 || (!test_backend && strcmp(argv[1], "hostd"))) {
		fprintf(stderr, "usage: vm_counts backend | hostd\n");
		return 2;
	}
	fd = device_await();
	if (test_backend) {
		sync_polled();
		in_flight();
		batches();
		sixty_four_mib();
	} else {
		sync_idle();
		registered();
		per_call();
	}
	driver_polls("1");
	close(fd);
	check(pins_settle(), "no page is left pinned");
	return finish();
}
