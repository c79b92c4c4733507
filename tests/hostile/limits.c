/* SPDX-License-Identifier: MIT */
/*
 * The limits of a winapi-hostd whose configuration makes them small: each holds, with its own errno and a
 * message, and giving something back makes room again. Run by with_daemon.py with the values below.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "../../common/protocol.h"
#include "../../include/winapi.h"

#define IN_FLIGHT 4u
#define BUFFERS 3u
#define BYTES (1u << 20)
#define BUFFER_SIZE (512u << 10)
#define CLIENTS 3u

static const char *uri;
static struct winapi *handle;

static int alloc(size_t length, struct winapi_buffer **buffer)
{
	return winapi_buffer_alloc(handle, length, WINAPI_HOST_READS, buffer);
}

static bool info_tells(void)
{
	struct winapi_info info = { .size = sizeof(info) };

	return !winapi_get_info(handle, &info) && info.max_in_flight == IN_FLIGHT &&
	       info.max_buffers == BUFFERS && info.max_bytes == BYTES && info.max_buffer_size == BUFFER_SIZE;
}

static bool buffer_size(void)
{
	struct winapi_buffer *buffer;

	return alloc(BUFFER_SIZE + 1, &buffer) == -E2BIG && *winapi_error_message() &&
	       !alloc(BUFFER_SIZE, &buffer) && !winapi_buffer_free(buffer);
}

static bool buffers(void)
{
	struct winapi_buffer *buffer[BUFFERS], *more;
	bool good = true;

	for (unsigned int i = 0; i < BUFFERS; i++)
		good = good && !alloc(100, &buffer[i]);
	good = good && alloc(100, &more) == -ENOSPC && *winapi_error_message();
	good = good && !winapi_buffer_free(buffer[0]) && !alloc(100, &buffer[0]);
	for (unsigned int i = 0; good && i < BUFFERS; i++)
		good = !winapi_buffer_free(buffer[i]);
	return good;
}

static bool bytes(void)
{
	struct winapi_buffer *a, *b, *c;

	return !alloc(BUFFER_SIZE, &a) && !alloc(BUFFER_SIZE, &b) && alloc(1, &c) == -ENOSPC &&
	       !winapi_buffer_free(a) && !alloc(BUFFER_SIZE, &a) && !winapi_buffer_free(a) &&
	       !winapi_buffer_free(b);
}

/* Calls that take a while: no more than the limit are started, and the next can be once one has ended. */
static bool in_flight(void)
{
	const struct winapi_perf_throughput_request request = { WINAPI_PERF_READ,
								WINAPI_PERF_MAX_ITERATIONS };
	struct winapi_completion done[IN_FLIGHT + 1];
	struct winapi_call call[IN_FLIGHT + 1];
	struct winapi_perf_throughput_reply reply[IN_FLIGHT + 1];
	struct winapi_buffer_ref ref = { .length = BUFFER_SIZE, .access = WINAPI_HOST_READS };
	unsigned int ended = 0;

	/* A sync call leaves its slot for the next one; it is one of those that may be in flight. */
	if (alloc(BUFFER_SIZE, &ref.buffer) || winapi_echo(handle, NULL, NULL, 0))
		return false;
	for (unsigned int i = 0; i <= IN_FLIGHT; i++) {
		call[i] = (struct winapi_call)WINAPI_CALL_INIT;
		call[i].api = WINAPI_API_PERF_TEST;
		call[i].method = WINAPI_PERF_TEST_THROUGHPUT;
		call[i].in = &request;
		call[i].in_size = sizeof(request);
		call[i].out = &reply[i];
		call[i].out_capacity = sizeof(reply[i]);
		call[i].buffers = &ref;
		call[i].buffer_count = 1;
		call[i].user_data = i;
	}
	if (winapi_submit(handle, call, IN_FLIGHT + 1) != (int)IN_FLIGHT)
		return false;
	while (ended < IN_FLIGHT) {
		int n = winapi_complete(handle, done, IN_FLIGHT, WINAPI_TIMEOUT_INFINITE);

		if (n <= 0)
			return false;
		ended += (unsigned int)n;
	}
	return winapi_submit(handle, &call[IN_FLIGHT], 1) == 1 &&
	       winapi_complete(handle, done, 1, WINAPI_TIMEOUT_INFINITE) == 1 && !done[0].result &&
	       !winapi_buffer_free(ref.buffer);
}

static void *call_again_and_again(void *h)
{
	for (unsigned int i = 0; i < 200; i++) {
		int err = winapi_echo(h, NULL, NULL, 0);

		if (err)
			return (void *)(intptr_t)err;
	}
	return NULL;
}

/* More threads than calls may be in flight, all asleep: who frees a slot wakes one who waits for it. */
static bool threads_take_turns(void)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	pthread_t thread[2 * IN_FLIGHT];
	struct winapi *asleep;
	bool good = true;

	options.poll = WINAPI_POLL_NEVER;
	options.timeout_ms = WINAPI_TIMEOUT_INFINITE;
	/* The daemon notices in its own time that others have gone. */
	while (winapi_open(&asleep, uri, &options))
		;
	for (unsigned int i = 0; good && i < 2 * IN_FLIGHT; i++)
		good = !pthread_create(&thread[i], NULL, call_again_and_again, asleep);
	for (unsigned int i = 0; good && i < 2 * IN_FLIGHT; i++) {
		void *err;

		good = !pthread_join(thread[i], &err) && !err;
	}
	winapi_close(asleep);
	return good;
}

static bool clients(void)
{
	struct winapi *other[CLIENTS];
	bool good = true;

	for (unsigned int i = 1; i < CLIENTS; i++)
		good = good && !winapi_open(&other[i], uri, NULL);
	good = good && winapi_open(&other[0], uri, NULL) < 0 && *winapi_error_message();
	if (!good)
		return false;
	winapi_close(other[1]);
	/* The daemon notices in its own time. */
	while (winapi_open(&other[1], uri, NULL))
		;
	for (unsigned int i = 1; i < CLIENTS; i++)
		winapi_close(other[i]);
	return true;
}

static const struct {
	const char *name;
	bool (*run)(void);
} cases[] = {
	{ "info tells the limits", info_tells },
	{ "bytes in one buffer", buffer_size },
	{ "buffers", buffers },
	{ "bytes in all buffers", bytes },
	{ "calls in flight", in_flight },
	{ "clients", clients },
	{ "threads that take turns", threads_take_turns },
};

int main(int argc, char **argv)
{
	unsigned int count = sizeof(cases) / sizeof(cases[0]), failed = 0;

	if (argc != 3 || strcmp(argv[1], "--transport") != 0)
		return 2;
	uri = argv[2];
	if (winapi_open(&handle, uri, NULL)) {
		printf("Bail out! %s\n", winapi_error_message());
		return 1;
	}
	printf("1..%u\n", count);
	for (unsigned int i = 0; i < count; i++) {
		bool good = cases[i].run();

		failed += !good;
		printf("%s %u - limit: %s\n", good ? "ok" : "not ok", i + 1, cases[i].name);
		if (!good)
			printf("# last error: %s\n", winapi_error_message());
	}
	winapi_close(handle);
	return failed ? 1 : 0;
}
