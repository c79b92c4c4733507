/* SPDX-License-Identifier: MIT */
/*
 * A guest that sends calls and cancels them at once, faster than the provider's workers take them, and more than
 * it said it would hold: it may let packets wait in the ring, but each is answered once.
 * Usage: flood --transport local:PATH, of a provider whose limit of calls in flight is small.
 */
#include <stdio.h>
#include <string.h>

#include "raw_guest.h"

#define CALLS 400u
#define FIRST_ID 100u
#define AT_ONCE 40u /* requests; the rings hold 60, of which the host may hold back 20 that it took */
#define BUFFER_GPADL 1u
#define BUFFER_PAGES VMBUS_GPADL_HEADER_PFNS /* one message; and too much for the ring's thread */

static struct raw_guest g;

/* Long enough that those behind it come while it runs. */
static bool send_call(uint64_t handle, uint64_t id)
{
	if (!raw_await_room(&g, 64 + 32 + sizeof(struct winapi_perf_throughput_request)))
		return false;
	raw_send_throughput(&g, id, handle, BUFFER_PAGES, 512);
	return true;
}

static bool send_cancel(uint64_t id, uint64_t of)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_cancel_request r;
	} m = { raw_header(&g, WINAPI_MSG_CANCEL, id), { of } };

	m.h.inline_size = sizeof(m.r);
	if (!raw_await_room(&g, sizeof(m)))
		return false;
	raw_message(&g, id, &m, sizeof(m));
	return true;
}

/* 0 to CALLS - 1: the calls; from there on: their CANCELs. */
static bool acceptable(uint64_t at, int32_t status)
{
	if (at < CALLS)
		return !status || status == WINAPI_STATUS_CANCELED || status == WINAPI_STATUS_LIMIT_IN_FLIGHT;
	return !status || status == WINAPI_STATUS_NOT_FOUND;
}

static bool take_replies(bool *answered, unsigned int *got, unsigned int until)
{
	struct winapi_msg_header reply;

	for (; *got < until; ++*got) {
		uint64_t at;

		if (!raw_reply(&g, &reply, NULL, 0))
			return printf("# %u of %u answered\n", *got, until), false;
		at = reply.request_id - FIRST_ID;
		if (at >= 2 * CALLS || answered[at] || !acceptable(at, reply.status))
			return printf("# request %u: status %d\n", (unsigned int)at, reply.status), false;
		answered[at] = true;
	}
	return true;
}

static bool flood(uint64_t handle)
{
	bool answered[2 * CALLS] = { false };
	unsigned int got = 0;

	for (unsigned int i = 0; i < CALLS; i++) {
		if (!send_call(handle, FIRST_ID + i) || !send_cancel(FIRST_ID + CALLS + i, FIRST_ID + i))
			return printf("# no room\n"), false;
		if (2 * i > AT_ONCE && !take_replies(answered, &got, 2 * i - AT_ONCE))
			return false;
	}
	return take_replies(answered, &got, 2 * CALLS);
}

int main(int argc, char **argv)
{
	uint64_t handle;
	bool good;

	if (argc != 3 || strncmp(argv[2], "local:", 6))
		return 2;
	printf("1..1\n");
	if (!raw_start(&g, argv[2] + 6, RAW_SESSION))
		return printf("not ok 1 - no connection\n"), 1;
	handle = raw_register(&g, BUFFER_GPADL, BUFFER_PAGES);
	good = handle && flood(handle);
	raw_end(&g);
	printf("%s 1 - calls and their cancellation, more than are held at once\n", good ? "ok" : "not ok");
	return !good;
}
