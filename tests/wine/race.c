/* SPDX-License-Identifier: MIT */
/*
 * Requests that meet. Wine hands a driver one request after the other; Windows hands them out on as many threads as
 * ask. Here four threads do at once what may be done to one handle and one offer: offer, withdraw, cancel, close. The
 * driver must complete each request once (irp.c looks) and withdraw what it offered.
 */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/windows/ioctl.h"

#define THREADS 4u
#define ROOM 4096u

struct sent {
	struct sent *next; /* ended in this round */
	PIRP irp;
	uint32_t done; /* atomic */
	NTSTATUS status;
	uint8_t buffer[ROOM];
};

struct round {
	PDEVICE_OBJECT device;
	FILE_OBJECT file;
	struct winapi_offer_request offer;
	uint64_t id; /* of the offer that all are about */
	uint32_t random;
	uint32_t ready; /* atomic: threads that are about to begin */
	uint32_t left; /* atomic: threads that haven't ended */
	struct sent *ended; /* atomic */
	const char *wrong;
};

/* ---- One request -------------------------------------------------------------------------------------- */

static NTSTATUS NTAPI completed(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
	struct sent *sent = context;

	(void)device;
	sent->status = irp->IoStatus.Status;
	__atomic_store_n(&sent->done, 1, __ATOMIC_RELEASE);
	return STATUS_MORE_PROCESSING_REQUIRED; /* it stays ours, to be cancelled too late */
}

/* Not sent yet. */
static struct sent *request_new(struct round *round, UCHAR major, ULONG code, const void *in, ULONG in_size,
				ULONG out_size)
{
	struct sent *sent = calloc(1, sizeof(*sent));
	PIO_STACK_LOCATION stack;

	sent->irp = IoAllocateIrp(1, FALSE);
	memcpy(sent->buffer, in, in_size);
	sent->irp->AssociatedIrp.SystemBuffer = sent->buffer;
	stack = IoGetNextIrpStackLocation(sent->irp);
	stack->MajorFunction = major;
	stack->DeviceObject = round->device;
	stack->FileObject = &round->file;
	stack->Parameters.DeviceIoControl.IoControlCode = code;
	stack->Parameters.DeviceIoControl.InputBufferLength = in_size;
	stack->Parameters.DeviceIoControl.OutputBufferLength = out_size;
	IoSetCompletionRoutine(sent->irp, completed, sent, TRUE, TRUE, TRUE);
	IoSetNextIrpStackLocation(sent->irp);
	return sent;
}

static struct sent *request(struct round *round, UCHAR major, ULONG code, const void *in, ULONG in_size,
			    ULONG out_size)
{
	struct sent *sent = request_new(round, major, code, in, in_size, out_size);

	irp_dispatch(round->device, sent->irp);
	return sent;
}

/* As IoCancelIrp is, at DISPATCH_LEVEL until the driver gives the cancel spin lock up. */
static void cancel(struct sent *sent)
{
	irql_set(DISPATCH_LEVEL);
	IoCancelIrp(sent->irp);
	irql_set(PASSIVE_LEVEL);
}

static VOID NTAPI trap(PDEVICE_OBJECT device, PIRP irp)
{
	(void)device;
	(void)irp;
	fault("a request is cancelled that was completed");
}

/* It stays until the round ends, so that a driver that looks at it again takes it for one to complete. */
static NTSTATUS finish(struct round *round, struct sent *sent)
{
	while (!__atomic_load_n(&sent->done, __ATOMIC_ACQUIRE))
		lx_yield();
	IoSetCancelRoutine(sent->irp, trap);
	sent->next = __atomic_load_n(&round->ended, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&round->ended, &sent->next, sent, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	return sent->status;
}

static void bury(struct round *round)
{
	while (round->ended) {
		struct sent *sent = round->ended;

		round->ended = sent->next;
		IoFreeIrp(sent->irp);
		free(sent);
	}
}

static struct sent *withdraw_new(struct round *round)
{
	const struct winapi_withdraw_request r = { round->id };

	return request_new(round, IRP_MJ_DEVICE_CONTROL, WINAPI_IOCTL_WITHDRAW, &r, sizeof(r), 0);
}

static struct sent *withdraw(struct round *round)
{
	struct sent *sent = withdraw_new(round);

	irp_dispatch(round->device, sent->irp);
	return sent;
}

static struct sent *offer(struct round *round)
{
	return request(round, IRP_MJ_DEVICE_CONTROL, WINAPI_IOCTL_OFFER, &round->offer, sizeof(round->offer),
		       sizeof(struct winapi_offer_reply));
}

/* ---- A round ------------------------------------------------------------------------------------------ */

/* How the requests ended, to tell that they really met. */
static const struct {
	NTSTATUS status;
	const char *name;
} ends[] = {
	{ STATUS_SUCCESS, "done" },	  { STATUS_CANCELLED, "cancelled" }, { STATUS_DEVICE_BUSY, "busy" },
	{ STATUS_NOT_FOUND, "too late" }, { STATUS_FILE_CLOSED, "closed" },
};
#define ENDS (sizeof(ends) / sizeof(ends[0]))
static uint32_t ended[ENDS]; /* atomic */

static void expect(struct round *round, NTSTATUS status, const char *wrong)
{
	for (unsigned int i = 0; i < ENDS; i++) {
		if (ends[i].status != status)
			continue;
		__atomic_add_fetch(&ended[i], 1, __ATOMIC_RELAXED);
		return;
	}
	round->wrong = wrong;
}

static void begin(struct round *round, unsigned int number)
{
	uint32_t pause = round->random >> 8 * number & 0xff;

	__atomic_add_fetch(&round->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&round->ready, __ATOMIC_ACQUIRE) < THREADS)
		lx_yield();
	for (uint32_t i = 0; i < pause * 16; i++)
		__builtin_ia32_pause();
}

static void end(struct round *round)
{
	__atomic_sub_fetch(&round->left, 1, __ATOMIC_ACQ_REL);
}

static ULONG NTAPI withdraws_and_cancels(void *argument)
{
	struct round *round = argument;
	struct sent *sent;

	begin(round, 0);
	sent = withdraw(round);
	cancel(sent);
	expect(round, finish(round, sent), "a WITHDRAW that is cancelled ends otherwise");
	end(round);
	return 0;
}

/* Cancelled on its way, so it can't wait for the end. */
static ULONG NTAPI withdraws_cancelled(void *argument)
{
	struct round *round = argument;
	struct sent *sent = withdraw_new(round);
	NTSTATUS status;

	cancel(sent);
	begin(round, 1);
	irp_dispatch(round->device, sent->irp);
	status = finish(round, sent);
	expect(round, status == STATUS_SUCCESS ? STATUS_PENDING : status,
	       "a WITHDRAW that was cancelled waits");
	end(round);
	return 0;
}

static ULONG NTAPI offers_more(void *argument)
{
	struct round *round = argument;

	begin(round, 2);
	expect(round, finish(round, offer(round)), "an OFFER ends otherwise");
	end(round);
	return 0;
}

static ULONG NTAPI closes(void *argument)
{
	struct round *round = argument;

	begin(round, 3);
	if (!NT_SUCCESS(finish(round, request(round, IRP_MJ_CLEANUP, 0, NULL, 0, 0))))
		round->wrong = "CLEANUP fails";
	end(round);
	return 0;
}

static void run_threads(struct round *round)
{
	static ULONG(NTAPI *const runs[])(void *) = { withdraws_and_cancels, withdraws_cancelled, offers_more,
						      closes };

	round->left = THREADS;
	for (unsigned int i = 0; i < THREADS; i++)
		CloseHandle(CreateThread(NULL, 0, runs[i], round, 0, NULL));
	while (__atomic_load_n(&round->left, __ATOMIC_ACQUIRE))
		lx_yield();
}

/* A new handle and an offer made through it. */
static bool prepare(struct round *round)
{
	struct winapi_offer_reply reply;
	struct sent *sent;

	finish(round, request(round, IRP_MJ_CREATE, 0, NULL, 0, 0));
	sent = offer(round);
	memcpy(&reply, sent->buffer, sizeof(reply));
	round->id = reply.id;
	return NT_SUCCESS(finish(round, sent));
}

static uint32_t offers_left(struct round *round)
{
	struct sent *sent = request(round, IRP_MJ_DEVICE_CONTROL, WINAPI_IOCTL_LIST, NULL, 0, ROOM);
	struct winapi_channel_list list;

	memcpy(&list, sent->buffer, sizeof(list));
	finish(round, sent);
	return list.total;
}

static void tell(char *text, size_t room)
{
	size_t at = (size_t)snprintf(text, room, "ok:");

	for (unsigned int i = 0; i < ENDS; i++)
		at += (size_t)snprintf(text + at, room - at, " %u %s", ended[i], ends[i].name);
}

void race(HANDLE vm, unsigned int rounds, char *answer, size_t room)
{
	struct round round = { .device = irp_device() };
	uint32_t random = 20260101;

	memset(ended, 0, sizeof(ended));
	for (unsigned int i = 0; i < rounds && !round.wrong; i++) {
		memset(&round.file, 0, sizeof(round.file));
		round.offer = (struct winapi_offer_request){ .vmbus_handle = (ULONG_PTR)vm };
		round.random = random = random * 1664525u + 1013904223u;
		round.ready = 0;
		if (!prepare(&round)) {
			round.wrong = "no offer";
			break;
		}
		run_threads(&round);
		/* The handle is closed: everything that was offered through it goes. */
		while (offers_left(&round))
			lx_yield();
		if (finish(&round, withdraw(&round)) != STATUS_FILE_CLOSED ||
		    finish(&round, offer(&round)) != STATUS_FILE_CLOSED)
			round.wrong = "a handle that is closed still takes requests";
		finish(&round, request(&round, IRP_MJ_CLOSE, 0, NULL, 0, 0));
		bury(&round);
	}
	if (round.wrong)
		snprintf(answer, room, "%s", round.wrong);
	else
		tell(answer, room);
}
