/* SPDX-License-Identifier: MIT */
/*
 * Requests that nobody should send, and those that are taken back: each must end with its own error and leave the
 * driver as it was. A case that needs a VM is given the number of one that waits for its offer, as "NAME N".
 */
#include "agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned int vm;
static char wrong[160];

#define EXPECT(condition) \
	do { \
		if (!(condition)) { \
			snprintf(wrong, sizeof(wrong), "requests.c:%d: %s (error %lu)", __LINE__, \
				 #condition, GetLastError()); \
			return wrong; \
		} \
	} while (0)

/* ---- Buffers ------------------------------------------------------------------------------------------ */

static DWORD ask(DWORD code, void *in, DWORD in_size, void *out, DWORD out_size)
{
	HANDLE device = device_open(0);
	DWORD size, error = 0;

	if (device == INVALID_HANDLE_VALUE)
		return GetLastError();
	SetLastError(0);
	if (!DeviceIoControl(device, code, in, in_size, out, out_size, &size, NULL))
		error = GetLastError();
	CloseHandle(device);
	return error;
}

static const char *input_sizes(void)
{
	static const struct {
		DWORD code;
		DWORD size;
		DWORD out;
	} codes[] = {
		{ WINAPI_IOCTL_OFFER, sizeof(struct winapi_offer_request),
		  sizeof(struct winapi_offer_reply) },
		{ WINAPI_IOCTL_WITHDRAW, sizeof(struct winapi_withdraw_request), 0 },
		{ WINAPI_IOCTL_STATS, 0, sizeof(struct winapi_driver_stats) },
		{ WINAPI_IOCTL_LIST, 0, 4096 },
	};
	static const DWORD sizes[] = { 0, 1, 7, 8, 9, 31, 32, 33, 4096, 65536, 1 << 20 };
	uint8_t *in = calloc(1, 1 << 20), out[4096];

	for (unsigned int c = 0; c < 4; c++)
		for (unsigned int s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
			if (sizes[s] != codes[c].size)
				EXPECT(ask(codes[c].code, in, sizes[s], out, codes[c].out) ==
				       ERROR_BAD_LENGTH);
	free(in);
	return "ok";
}

static const char *output_sizes(void)
{
	struct winapi_offer_request request = { .vmbus_handle = 0x1234 };
	uint8_t out[8192];

	for (DWORD size = 0; size < sizeof(struct winapi_offer_reply); size++)
		EXPECT(ask(WINAPI_IOCTL_OFFER, &request, sizeof(request), out, size) ==
		       ERROR_INSUFFICIENT_BUFFER);
	for (DWORD size = 0; size < sizeof(struct winapi_driver_stats); size++)
		EXPECT(ask(WINAPI_IOCTL_STATS, NULL, 0, out, size) == ERROR_INSUFFICIENT_BUFFER);
	for (DWORD size = 0; size < sizeof(struct winapi_channel_list); size++)
		EXPECT(ask(WINAPI_IOCTL_LIST, NULL, 0, out, size) == ERROR_INSUFFICIENT_BUFFER);
	EXPECT(!ask(WINAPI_IOCTL_LIST, NULL, 0, out, sizeof(struct winapi_channel_list)));
	EXPECT(!ask(WINAPI_IOCTL_STATS, NULL, 0, out, sizeof(out)));
	return "ok";
}

static const char *null_buffers(void)
{
	EXPECT(ask(WINAPI_IOCTL_OFFER, NULL, 0, NULL, 0));
	EXPECT(ask(WINAPI_IOCTL_WITHDRAW, NULL, 0, NULL, 0));
	EXPECT(ask(WINAPI_IOCTL_STATS, NULL, 0, NULL, 0));
	EXPECT(ask(WINAPI_IOCTL_LIST, NULL, 0, NULL, 0));
	return "ok";
}

/* Addresses where there is nothing, or nothing to write: the system must find that out before the driver does. */
static const char *bad_addresses(void)
{
	uint8_t *read_only = VirtualAlloc(NULL, 4096, MEM_COMMIT | MEM_RESERVE, PAGE_READONLY);
	uint8_t *none = VirtualAlloc(NULL, 4096, MEM_RESERVE, PAGE_NOACCESS);
	struct winapi_driver_stats s;

	EXPECT(ask(WINAPI_IOCTL_WITHDRAW, none, sizeof(struct winapi_withdraw_request), NULL, 0));
	EXPECT(ask(WINAPI_IOCTL_STATS, NULL, 0, none, sizeof(s)));
	EXPECT(ask(WINAPI_IOCTL_STATS, NULL, 0, read_only, sizeof(s)));
	EXPECT(ask(WINAPI_IOCTL_STATS, NULL, 0, (void *)(ULONG_PTR)16, sizeof(s)));
	EXPECT(!stats(&s));
	return "ok";
}

static const char *unknown_codes(void)
{
	const DWORD codes[] = { 0,
				~0u,
				WINAPI_IOCTL_LIST + 4,
				WINAPI_IOCTL_OFFER | METHOD_NEITHER,
				WINAPI_IOCTL_OFFER | METHOD_IN_DIRECT,
				WINAPI_IOCTL(0x800, FILE_ANY_ACCESS) };
	uint8_t buffer[64] = { 0 };

	for (unsigned int i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		EXPECT(ask(codes[i], buffer, sizeof(buffer), buffer, sizeof(buffer)));
	return "ok";
}

static const char *reads_and_writes(void)
{
	HANDLE device = device_open(0);
	char data[16];
	DWORD size;

	EXPECT(!ReadFile(device, data, sizeof(data), &size, NULL));
	EXPECT(!WriteFile(device, data, sizeof(data), &size, NULL));
	CloseHandle(device);
	return "ok";
}

/* ---- Values ------------------------------------------------------------------------------------------- */

static DWORD offer_with(uint64_t handle, uint32_t flags, uint32_t reserved)
{
	struct winapi_offer_request request = { .vmbus_handle = handle,
						.flags = flags,
						.reserved = reserved };
	struct winapi_offer_reply reply;

	return ask(WINAPI_IOCTL_OFFER, &request, sizeof(request), &reply, sizeof(reply));
}

static const char *bad_flags(void)
{
	for (uint32_t flag = 2; flag; flag <<= 1)
		EXPECT(offer_with(0x1234, flag, 0) == ERROR_INVALID_PARAMETER);
	EXPECT(offer_with(0x1234, 0, 1) == ERROR_INVALID_PARAMETER);
	EXPECT(offer_with(0x1234, 0, ~0u) == ERROR_INVALID_PARAMETER);
	return "ok";
}

static const char *bad_handles(void)
{
	HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL), closed = CreateEventW(NULL, TRUE, FALSE, NULL);

	CloseHandle(closed);
	EXPECT(offer_with(0, 0, 0) == ERROR_INVALID_HANDLE);
	EXPECT(offer_with(0xdeadbee0, 0, 0) == ERROR_INVALID_HANDLE);
	EXPECT(offer_with(0x7fffffff00000000ull, 0, 0) == ERROR_INVALID_HANDLE);
	EXPECT(offer_with((ULONG_PTR)closed, 0, 0) == ERROR_INVALID_HANDLE);
	EXPECT(offer_with((ULONG_PTR)event, 0, 0) == ERROR_INVALID_HANDLE); /* a handle, but of no VM */
	CloseHandle(event);
	return "ok";
}

static const char *bad_ids(void)
{
	const uint64_t ids[] = { 0, 1ull << 40, UINT64_MAX };

	for (unsigned int i = 0; i < 3; i++)
		EXPECT(withdraw(ids[i]) == ERROR_NOT_FOUND);
	return "ok";
}

/* ---- Offers and their handles ------------------------------------------------------------------------- */

static uint32_t state_of(uint64_t id)
{
	struct winapi_channel_list *l = malloc(100000);
	uint32_t state = 0;

	if (!list(l, 100000))
		for (uint32_t i = 0; i < l->count; i++)
			if (l->entry[i].id == id)
				state = l->entry[i].state;
	free(l);
	return state;
}

/* Ends by itself, but takes its time. */
static bool comes_to(uint64_t id, uint32_t state)
{
	for (int i = 0; i < 6000 && state_of(id) != state; i++)
		Sleep(10);
	return state_of(id) == state;
}

static DWORD offer_through(HANDLE device, uint32_t flags, uint64_t *id)
{
	HANDLE handle = vm_open(vm);
	struct winapi_offer_request request = { .vmbus_handle = (ULONG_PTR)handle, .flags = flags };
	struct winapi_offer_reply reply = { 0 };
	DWORD size, error = 0;

	if (!DeviceIoControl(device, WINAPI_IOCTL_OFFER, &request, sizeof(request), &reply, sizeof(reply),
			     &size, NULL))
		error = GetLastError();
	*id = reply.id;
	CloseHandle(handle);
	return error;
}

static const char *handle_takes_its_offers(void)
{
	HANDLE device = device_open(0);
	uint64_t keeps, goes;

	EXPECT(!offer_through(device, WINAPI_OFFER_KEEP, &keeps));
	EXPECT(!offer_through(device, 0, &goes) && goes != keeps);
	EXPECT(state_of(goes) == WINAPI_CHANNEL_OFFERED);
	CloseHandle(device);
	EXPECT(comes_to(goes, 0));
	EXPECT(state_of(keeps) == WINAPI_CHANNEL_OFFERED);
	EXPECT(withdraw(goes) == ERROR_NOT_FOUND);
	EXPECT(!withdraw(keeps));
	EXPECT(withdraw(keeps) == ERROR_NOT_FOUND);
	return "ok";
}

/* 1,024 offers, 8 to each of the VMs from the first on, and one more. */
static const char *most_offers(void)
{
	HANDLE device = device_open(0);
	struct winapi_driver_stats s;
	unsigned int first = vm;
	uint64_t last, none;

	for (unsigned int i = 0; i < 1024; i++) {
		vm = first + i / 8;
		EXPECT(!offer_through(device, 0, &last));
	}
	vm = first + 128;
	EXPECT(offer_through(device, 0, &none) == ERROR_NOT_ENOUGH_QUOTA);
	EXPECT(!stats(&s) && s.offers_now == 1024);
	CloseHandle(device);
	EXPECT(comes_to(last, 0));
	return "ok";
}

/* The list tells of as many as fit. */
static const char *short_list(void)
{
	uint8_t room[sizeof(struct winapi_channel_list) + sizeof(struct winapi_channel_entry)];
	struct winapi_channel_list *l = (void *)room;
	HANDLE device = device_open(0);
	uint64_t id[2];

	EXPECT(!offer_through(device, 0, &id[0]) && !offer_through(device, 0, &id[1]));
	EXPECT(!list(l, sizeof(room) - 1) && l->total == 2 && l->count == 0);
	EXPECT(!list(l, sizeof(room)) && l->total == 2 && l->count == 1 && l->entry[0].id == id[0]);
	CloseHandle(device);
	EXPECT(comes_to(id[0], 0) && comes_to(id[1], 0));
	return "ok";
}

/* ---- Requests that are pending: the one channel that is open is kept from closing ------------------------ */

struct pending {
	HANDLE device;
	OVERLAPPED overlapped;
	struct winapi_withdraw_request request;
};

static bool begin_withdraw(struct pending *p, uint64_t id)
{
	DWORD size;

	memset(p, 0, sizeof(*p));
	p->device = device_open(FILE_FLAG_OVERLAPPED);
	p->overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
	p->request.id = id;
	return !DeviceIoControl(p->device, WINAPI_IOCTL_WITHDRAW, &p->request, sizeof(p->request), NULL, 0,
				&size, &p->overlapped) &&
	       GetLastError() == ERROR_IO_PENDING;
}

static DWORD result_of(struct pending *p)
{
	DWORD size;

	if (WaitForSingleObject(p->overlapped.hEvent, 60000))
		return ERROR_TIMEOUT;
	return GetOverlappedResult(p->device, &p->overlapped, &size, FALSE) ? 0 : GetLastError();
}

static uint64_t open_offer(void)
{
	struct winapi_channel_list *l = malloc(100000);
	uint64_t id = 0;

	if (!list(l, 100000))
		for (uint32_t i = 0; i < l->count; i++)
			if (l->entry[i].state == WINAPI_CHANNEL_OPEN)
				id = l->entry[i].id;
	free(l);
	return id;
}

static const char *cancel_pending(void)
{
	uint64_t id = open_offer();
	static struct pending p; /* a case that fails leaves it to the system */

	EXPECT(id && begin_withdraw(&p, id));
	EXPECT(withdraw(id) == ERROR_BUSY);
	EXPECT(CancelIoEx(p.device, &p.overlapped));
	EXPECT(result_of(&p) == ERROR_OPERATION_ABORTED);
	EXPECT(state_of(id) == WINAPI_CHANNEL_WITHDRAWN);
	CloseHandle(p.device);
	return "ok";
}

static const char *close_with_pending(void)
{
	uint64_t id = open_offer();
	static struct pending p; /* a case that fails leaves it to the system */

	EXPECT(id && begin_withdraw(&p, id));
	CloseHandle(p.device);
	EXPECT(!WaitForSingleObject(p.overlapped.hEvent, 60000));
	EXPECT(state_of(id) == WINAPI_CHANNEL_WITHDRAWN);
	return "ok";
}

/* ---- The cases ---------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	const char *(*run)(void);
} cases[] = {
	{ "input_sizes", input_sizes },
	{ "output_sizes", output_sizes },
	{ "null_buffers", null_buffers },
	{ "bad_addresses", bad_addresses },
	{ "unknown_codes", unknown_codes },
	{ "reads_and_writes", reads_and_writes },
	{ "bad_flags", bad_flags },
	{ "bad_handles", bad_handles },
	{ "bad_ids", bad_ids },
	{ "handle_takes_its_offers", handle_takes_its_offers },
	{ "short_list", short_list },
	{ "most_offers", most_offers },
	{ "cancel_pending", cancel_pending },
	{ "close_with_pending", close_with_pending },
};

DWORD abuse_names(void)
{
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		printf("%s\n", cases[i].name);
	return 0;
}

const char *abuse(const char *argument)
{
	char name[64] = "";

	vm = 0;
	sscanf(argument, "%63s %u", name, &vm);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(cases[i].name, name))
			return cases[i].run();
	return "no such case";
}
