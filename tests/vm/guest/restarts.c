/* SPDX-License-Identifier: MIT */
/*
 * The back-end is killed while calls are in flight, again and again, and another takes its place: the calls end
 * with -ENODEV, the device comes back, and new calls work. Run as root, for the VMM's ports.
 * Usage: vm_restarts COMMAND LINE OF A BACK-END
 */
#include <sys/io.h>
#include <unistd.h>

#include "../vmm/ports.h"
#include "guest.h"

#define RESTARTS 100u
#define FLIGHT 16u
#define LENGTH (1u << 20)

static char orders[1024];

/* What each restart may go wrong by, counted over all. */
static unsigned int not_started, not_ended, not_over, not_refused;

/* Long enough that none ends by itself. */
static bool start_calls(int fd, uint32_t id)
{
	static const struct winapi_perf_throughput_request request = { WINAPI_PERF_READ,
								       WINAPI_PERF_MAX_ITERATIONS };
	const struct winapi_ioc_buffer_ref ref = { .id = id, .access = HOST_READS, .length = LENGTH };
	struct winapi_ioc_call calls[FLIGHT];
	struct winapi_ioc_submit submit = { (uintptr_t)calls, FLIGHT, sizeof(calls[0]) };

	for (unsigned int i = 0; i < FLIGHT; i++)
		calls[i] =
			(struct winapi_ioc_call){ .in = (uintptr_t)&request,
						  .buffers = (uintptr_t)&ref,
						  .in_size = sizeof(request),
						  .out_capacity = sizeof(struct winapi_perf_throughput_reply),
						  .buffer_count = 1,
						  .timeout_ms = WINAPI_IOC_NO_TIMEOUT,
						  .api = WINAPI_API_PERF_TEST,
						  .method = WINAPI_PERF_TEST_THROUGHPUT,
						  .user_data = i };
	return device(fd, WINAPI_IOC_SUBMIT, &submit) == FLIGHT;
}

/* Each call's record, then the end of the file. */
static void take_ends(int fd)
{
	struct winapi_ioc_completion record;
	unsigned int ended = 0;
	ssize_t size;

	while ((size = read(fd, &record, sizeof(record))) == sizeof(record))
		ended += record.result == -ENODEV && !record.out_size;
	not_ended += ended != FLIGHT;
	not_over += size != 0;
}

static void restart(unsigned int i)
{
	struct winapi_ioc_alloc a;
	int fd = device_await();

	not_started += buffer_alloc(fd, LENGTH, HOST_READS, &a) || !start_calls(fd, a.id);
	usleep(i % 10 * 3000); /* at another point of the host's work each time */
	outsb(PORT_HOST, orders, strlen(orders));
	take_ends(fd);
	not_refused += echo(fd) != -ENODEV;
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 2 || ioperm(PORT_FIRST, PORT_COUNT, 1))
		bail("usage: vm_restarts COMMAND..., as root");
	strcpy(orders, "kill\nstart");
	for (int i = 1; i < argc; i++)
		snprintf(orders + strlen(orders), sizeof(orders) - strlen(orders), " %s%s", argv[i],
			 i + 1 < argc ? "" : "\n");
	for (unsigned int i = 0; i < RESTARTS; i++)
		restart(i);
	check(!not_started, "%u restarts: calls were in flight at each", RESTARTS);
	check(!not_ended, "each call ended once, with -ENODEV");
	check(!not_over, "then read() said that nothing more comes");
	check(!not_refused, "and any other call on the old file is refused");
	check(device_await() >= 0, "the device is back after the last, and works");
	check(pins_settle(), "no page is left pinned");
	return finish();
}
