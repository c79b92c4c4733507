/* SPDX-License-Identifier: MIT */
#include "offer.h"

#include "endpoint.h"
#include "platform_windows.h"
#include "trace.h"

#define MAX_OFFERS 1024u

struct offer {
	struct endpoint endpoint;
	uint64_t id;
	GUID instance;
	uint32_t flags; /* WINAPI_OFFER_* */
	HANDLE vmbus; /* a kernel handle */
	PVOID thread;
	KEVENT presented; /* its maker is done with it, and then: */
	bool offered; /* it can be revoked */
	KEVENT withdraw;

	/* Under offers.lock: */
	struct offer *next;
	PFILE_OBJECT owner; /* the handle it was made through, while that is open */
	PIRP waiter; /* a WITHDRAW, cancellable */
	bool withdrawn; /* it was asked for */
};

static struct {
	KSPIN_LOCK lock; /* all below */
	struct offer *first; /* oldest first */
	struct offer **last;
	struct offer *ended; /* their threads are about to end, or have: to be joined and freed */
	uint64_t count; /* in the first list */
	uint64_t made;
	struct endpoint_counters gone; /* sums of those that ended */
	KEVENT empty; /* no offer in the first list */
} offers;

/* ---- The list ------------------------------------------------------------------------------------------ */

static void link(struct offer *offer)
{
	*offers.last = offer;
	offers.last = &offer->next;
	offers.count++;
	KeClearEvent(&offers.empty);
}

static void unlink(struct offer *offer)
{
	struct offer **at = &offers.first;

	while (*at != offer)
		at = &(*at)->next;
	*at = offer->next;
	if (offers.last == &offer->next)
		offers.last = at;
	if (!--offers.count)
		KeSetEvent(&offers.empty, IO_NO_INCREMENT, FALSE);
}

static struct offer *find(uint64_t id)
{
	struct offer *offer = offers.first;

	while (offer && offer->id != id)
		offer = offer->next;
	return offer;
}

static void add_counters(struct endpoint_counters *sum, const struct endpoint_counters *more)
{
	sum->opens += wp_atomic_load64(&more->opens);
	sum->packets += wp_atomic_load64(&more->packets);
	sum->external_packets += wp_atomic_load64(&more->external_packets);
	sum->external_pending += wp_atomic_load64(&more->external_pending);
	sum->deferred += wp_atomic_load64(&more->deferred);
	sum->stalled += wp_atomic_load64(&more->stalled);
	sum->malformed += wp_atomic_load64(&more->malformed);
	sum->completed += wp_atomic_load64(&more->completed);
	sum->external_completed += wp_atomic_load64(&more->external_completed);
	sum->gpadls_mapped += wp_atomic_load64(&more->gpadls_mapped);
	sum->gpadls_unmapped += wp_atomic_load64(&more->gpadls_unmapped);
}

/* ---- Waiting for the end ------------------------------------------------------------------------------- */

static void complete_waiter(PIRP irp, NTSTATUS status)
{
	if (!irp)
		return;
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
}

/* Under offers.lock. The WITHDRAW that waits, now the caller's; NULL: none, or it is being cancelled. */
static PIRP take_waiter(struct offer *offer)
{
	PIRP irp = offer->waiter;

	offer->waiter = NULL;
	return irp && IoSetCancelRoutine(irp, NULL) ? irp : NULL;
}

static DRIVER_CANCEL cancel_waiter;

static _Use_decl_annotations_ VOID NTAPI cancel_waiter(PDEVICE_OBJECT device, PIRP irp)
{
	struct offer *offer;
	KIRQL irql;

	UNREFERENCED_PARAMETER(device);
	IoReleaseCancelSpinLock(irp->CancelIrql);
	KeAcquireSpinLock(&offers.lock, &irql);
	for (offer = offers.first; offer; offer = offer->next)
		if (offer->waiter == irp)
			offer->waiter = NULL;
	KeReleaseSpinLock(&offers.lock, irql);
	complete_waiter(irp, STATUS_CANCELLED);
}

/* Under offers.lock. False: it was cancelled before it could wait, and is still the caller's. */
static bool wait_for_end(struct offer *offer, PIRP irp)
{
	offer->waiter = irp;
	IoSetCancelRoutine(irp, cancel_waiter);
	if (!irp->Cancel || !IoSetCancelRoutine(irp, NULL)) {
		IoMarkIrpPending(irp);
		return true;
	}
	offer->waiter = NULL;
	return false;
}

/* ---- The end --------------------------------------------------------------------------------------------- */

/* The last that the offer's thread does with it. */
static void ended(struct offer *offer)
{
	PIRP waiter;
	KIRQL irql;

	KeAcquireSpinLock(&offers.lock, &irql);
	waiter = take_waiter(offer);
	add_counters(&offers.gone, &offer->endpoint.counters);
	unlink(offer);
	offer->next = offers.ended;
	offers.ended = offer;
	KeReleaseSpinLock(&offers.lock, irql);
	complete_waiter(waiter, STATUS_SUCCESS);
}

/* Sleeps until the offer is withdrawn, or must be revoked at once because of what its guest did. */
static void keep_offered(struct offer *offer)
{
	PVOID either[] = { &offer->withdraw, &offer->endpoint.failed };

	KeWaitForMultipleObjects(2, either, WaitAny, Executive, KernelMode, FALSE, NULL, NULL);
	endpoint_revoke(&offer->endpoint);
	KeWaitForSingleObject(&offer->withdraw, Executive, KernelMode, FALSE, NULL);
	trace_withdrawn(offer->id);
}

static VOID NTAPI keep(PVOID context)
{
	struct offer *offer = context;

	KeWaitForSingleObject(&offer->presented, Executive, KernelMode, FALSE, NULL);
	if (offer->offered)
		keep_offered(offer);
	endpoint_destroy(&offer->endpoint);
	ZwClose(offer->vmbus);
	ended(offer);
	PsTerminateSystemThread(STATUS_SUCCESS);
}

/* Frees what has ended. Waits for no more than the last steps of its threads. */
static void reap(void)
{
	struct offer *offer;
	KIRQL irql;

	KeAcquireSpinLock(&offers.lock, &irql);
	offer = offers.ended;
	offers.ended = NULL;
	KeReleaseSpinLock(&offers.lock, irql);
	while (offer) {
		struct offer *next = offer->next;

		platform_join(offer->thread);
		wp_free(offer);
		offer = next;
	}
}

/* Under offers.lock. */
static void withdraw(struct offer *offer)
{
	if (offer->withdrawn)
		return;
	offer->withdrawn = true;
	KeSetEvent(&offer->withdraw, IO_NO_INCREMENT, FALSE);
}

/* ---- Make ------------------------------------------------------------------------------------------------- */

static NTSTATUS check(const struct winapi_offer_request *request)
{
	if (request->flags & ~WINAPI_OFFER_KEEP || request->reserved)
		return STATUS_INVALID_PARAMETER;
	if (!request->vmbus_handle || request->vmbus_handle != (ULONG_PTR)request->vmbus_handle)
		return STATUS_INVALID_HANDLE;
	return STATUS_SUCCESS;
}

static NTSTATUS choose_instance(struct offer *offer, const struct winapi_offer_request *request)
{
	static const GUID none;
	NTSTATUS status;

	memcpy(&offer->instance, request->instance, sizeof(offer->instance));
	if (memcmp(&offer->instance, &none, sizeof(none)))
		return STATUS_SUCCESS;
	status = ExUuidCreate(&offer->instance);
	return status == RPC_NT_UUID_LOCAL_ONLY ? STATUS_SUCCESS : status;
}

/* An endpoint and a thread that waits to end it; nobody else knows of either. */
static NTSTATUS build(struct offer *offer, const struct winapi_offer_request *request)
{
	NTSTATUS status = choose_instance(offer, request);

	if (!NT_SUCCESS(status))
		return status;
	status = kmcl.VmbConvertVmbusHandleToKernelHandle((HANDLE)(ULONG_PTR)request->vmbus_handle,
							  &offer->vmbus);
	if (!NT_SUCCESS(status))
		return status;
	status = endpoint_create(&offer->endpoint, offer->id, offer->vmbus, &offer->instance);
	if (NT_SUCCESS(status)) {
		status = platform_thread(keep, offer, &offer->thread);
		if (NT_SUCCESS(status))
			return status;
		endpoint_destroy(&offer->endpoint);
	}
	ZwClose(offer->vmbus);
	return status;
}

/* The handle may have been closed while the request was on its way: then nobody would end the offer. */
static NTSTATUS enter(struct offer *offer, PFILE_OBJECT owner)
{
	NTSTATUS status = STATUS_SUCCESS;
	KIRQL irql;

	KeAcquireSpinLock(&offers.lock, &irql);
	if (owner->FsContext) {
		status = STATUS_FILE_CLOSED;
	} else if (offers.count >= MAX_OFFERS) {
		status = STATUS_QUOTA_EXCEEDED;
	} else {
		offer->id = ++offers.made;
		offer->owner = owner;
		link(offer);
	}
	KeReleaseSpinLock(&offers.lock, irql);
	return status;
}

/* It has no thread that would end it. */
static void leave(struct offer *offer)
{
	PIRP waiter;
	KIRQL irql;

	KeAcquireSpinLock(&offers.lock, &irql);
	waiter = take_waiter(offer);
	unlink(offer);
	KeReleaseSpinLock(&offers.lock, irql);
	complete_waiter(waiter, STATUS_SUCCESS);
	wp_free(offer);
}

/* From its end on, the offer is its thread's: perhaps it was withdrawn already. */
static NTSTATUS present(struct offer *offer, struct winapi_offer_reply *reply)
{
	PVOID thread = offer->thread;
	NTSTATUS status;

	reply->id = offer->id;
	memcpy(reply->instance, &offer->instance, sizeof(reply->instance));
	trace_offered(offer->id, &offer->instance);
	status = endpoint_offer(&offer->endpoint);
	offer->offered = NT_SUCCESS(status);
	if (offer->offered) {
		KeSetEvent(&offer->presented, IO_NO_INCREMENT, FALSE);
		return STATUS_SUCCESS; /* whatever success KMCL means: the request ends here */
	}
	ObReferenceObject(thread); /* its own reference goes with the offer */
	KeSetEvent(&offer->presented, IO_NO_INCREMENT, FALSE);
	platform_join(thread);
	reap();
	return status;
}

_Use_decl_annotations_ NTSTATUS offer_make(const struct winapi_offer_request *request, PFILE_OBJECT owner,
					   struct winapi_offer_reply *reply)
{
	NTSTATUS status = check(request);
	struct offer *offer;

	assert_passive();
	reap();
	if (!NT_SUCCESS(status))
		return status;
	offer = wp_alloc(sizeof(*offer));
	if (!offer)
		return STATUS_INSUFFICIENT_RESOURCES;
	offer->flags = request->flags;
	KeInitializeEvent(&offer->presented, NotificationEvent, FALSE);
	KeInitializeEvent(&offer->withdraw, NotificationEvent, FALSE);
	status = enter(offer, owner);
	if (!NT_SUCCESS(status)) {
		wp_free(offer);
		return status;
	}
	status = build(offer, request);
	if (!NT_SUCCESS(status)) {
		leave(offer);
		return status;
	}
	return present(offer, reply);
}

/* ---- Withdraw --------------------------------------------------------------------------------------------- */

_Use_decl_annotations_ NTSTATUS offer_withdraw(uint64_t id, PIRP irp)
{
	const FILE_OBJECT *owner = IoGetCurrentIrpStackLocation(irp)->FileObject;
	NTSTATUS status = STATUS_PENDING;
	struct offer *offer;
	KIRQL irql;

	reap();
	KeAcquireSpinLock(&offers.lock, &irql);
	offer = find(id);
	if (owner->FsContext) {
		status = STATUS_FILE_CLOSED; /* meanwhile: nobody would end the wait */
	} else if (!offer) {
		status = STATUS_NOT_FOUND;
	} else if (offer->withdrawn) {
		status = STATUS_DEVICE_BUSY;
	} else {
		if (!wait_for_end(offer, irp))
			status = STATUS_CANCELLED;
		withdraw(offer);
	}
	KeReleaseSpinLock(&offers.lock, irql);
	return status;
}

static bool made_through(const struct offer *offer, PFILE_OBJECT owner)
{
	return offer->owner == owner && !(offer->flags & WINAPI_OFFER_KEEP);
}

static bool waited_for_through(const struct offer *offer, PFILE_OBJECT owner)
{
	return offer->waiter && IoGetCurrentIrpStackLocation(offer->waiter)->FileObject == owner;
}

/* Under offers.lock: one of the WITHDRAWs that came through the handle, or NULL. */
static PIRP take_waiter_of(PFILE_OBJECT owner)
{
	PIRP irp = NULL;

	for (struct offer *offer = offers.first; offer && !irp; offer = offer->next)
		if (waited_for_through(offer, owner))
			irp = take_waiter(offer);
	return irp;
}

_Use_decl_annotations_ void offers_let_go(PFILE_OBJECT owner)
{
	PIRP waiter;
	KIRQL irql;

	KeAcquireSpinLock(&offers.lock, &irql);
	owner->FsContext = owner; /* any but NULL: closed */
	for (struct offer *offer = offers.first; offer; offer = offer->next)
		if (made_through(offer, owner))
			withdraw(offer);
	KeReleaseSpinLock(&offers.lock, irql);
	do {
		KeAcquireSpinLock(&offers.lock, &irql);
		waiter = take_waiter_of(owner);
		KeReleaseSpinLock(&offers.lock, irql);
		complete_waiter(waiter, STATUS_CANCELLED);
	} while (waiter);
}

/* ---- Look ------------------------------------------------------------------------------------------------- */

/* What was counted up less what was counted down: the two aren't read at one moment. */
static uint64_t now(const uint64_t *up, const uint64_t *down)
{
	uint64_t ended_before = wp_atomic_load64(down), begun = wp_atomic_load64(up);

	return begun > ended_before ? begun - ended_before : 0;
}

static uint32_t state_of(const struct offer *offer)
{
	if (offer->withdrawn)
		return WINAPI_CHANNEL_WITHDRAWN;
	if (KeReadStateEvent((PRKEVENT)(ULONG_PTR)&offer->endpoint.failed))
		return WINAPI_CHANNEL_FAILED;
	return wp_atomic_load32(&offer->endpoint.open) ? WINAPI_CHANNEL_OPEN : WINAPI_CHANNEL_OFFERED;
}

static void describe(const struct offer *offer, struct winapi_channel_entry *entry)
{
	const struct endpoint_counters *counters = &offer->endpoint.counters;

	memset(entry, 0, sizeof(*entry));
	entry->id = offer->id;
	memcpy(entry->instance, &offer->instance, sizeof(entry->instance));
	entry->state = state_of(offer);
	entry->flags = offer->flags;
	entry->opens = wp_atomic_load64(&counters->opens);
	entry->packets = wp_atomic_load64(&counters->packets);
	entry->in_flight = now(&counters->packets, &counters->completed);
	entry->gpadls = now(&counters->gpadls_mapped, &counters->gpadls_unmapped);
}

_Use_decl_annotations_ ULONG offers_list(struct winapi_channel_list *list, ULONG room)
{
	ULONG most = (room - sizeof(*list)) / sizeof(list->entry[0]);
	KIRQL irql;

	reap();
	list->count = 0;
	KeAcquireSpinLock(&offers.lock, &irql);
	list->total = (uint32_t)offers.count;
	for (struct offer *offer = offers.first; offer && list->count < most; offer = offer->next)
		describe(offer, &list->entry[list->count++]);
	KeReleaseSpinLock(&offers.lock, irql);
	return (ULONG)(sizeof(*list) + list->count * sizeof(list->entry[0]));
}

_Use_decl_annotations_ void offers_count(struct winapi_driver_stats *stats)
{
	struct endpoint_counters sum;
	KIRQL irql;

	reap();
	KeAcquireSpinLock(&offers.lock, &irql);
	sum = offers.gone;
	for (struct offer *offer = offers.first; offer; offer = offer->next)
		add_counters(&sum, &offer->endpoint.counters);
	stats->offers = offers.made;
	stats->offers_now = offers.count;
	KeReleaseSpinLock(&offers.lock, irql);
	stats->opens = sum.opens;
	stats->packets = sum.packets;
	stats->external_packets = sum.external_packets;
	stats->external_pending = sum.external_pending;
	stats->deferred = sum.deferred;
	stats->stalled = sum.stalled;
	stats->malformed = sum.malformed;
	stats->gpadls_now = now(&sum.gpadls_mapped, &sum.gpadls_unmapped);
	stats->externals_now = now(&sum.external_packets, &sum.external_completed);
}

/* ---- Begin and end ------------------------------------------------------------------------------------------ */

void offers_start(void)
{
	KeInitializeSpinLock(&offers.lock);
	KeInitializeEvent(&offers.empty, NotificationEvent, TRUE);
	offers.last = &offers.first;
}

_Use_decl_annotations_ void offers_stop(void)
{
	KIRQL irql;

	KeAcquireSpinLock(&offers.lock, &irql);
	for (struct offer *offer = offers.first; offer; offer = offer->next)
		withdraw(offer);
	KeReleaseSpinLock(&offers.lock, irql);
	KeWaitForSingleObject(&offers.empty, Executive, KernelMode, FALSE, NULL);
	reap();
}
