/* SPDX-License-Identifier: MIT */
/*
 * The requests that the driver is given: between Wine and its dispatch routines, and again where it completes them.
 * Each is completed once, as Driver Verifier wants it.
 */
#include "standin.h"

#include <string.h>

#define MOST 1024u /* at a time */
#define CLOSE_NS 10000000000u /* for the last handle to go */

struct request {
	PIRP irp; /* NULL: unused */
	bool returned; /* the dispatch routine did */
	bool completed;
	bool marked; /* pending, when it was completed */
	NTSTATUS status; /* it was completed with */
};

static struct lx_lock lock;
static struct request requests[MOST];
static PDEVICE_OBJECT device; /* the one that was made last */
static PDRIVER_DISPATCH routines[IRP_MJ_MAXIMUM_FUNCTION + 1]; /* the driver's own */
static PDRIVER_UNLOAD unload; /* its own, too */
static uint32_t open_files; /* atomic: of its device */
static bool unloading; /* atomic */

/* ---- From dispatch to completion ---------------------------------------------------------------------- */

/* Under the lock. */
static struct request *find(PIRP irp)
{
	for (unsigned int i = 0; i < MOST; i++)
		if (requests[i].irp == irp)
			return &requests[i];
	return NULL;
}

static struct request *begin(PIRP irp)
{
	struct request *request;

	lx_lock(&lock);
	request = find(NULL);
	if (request)
		*request = (struct request){ .irp = irp };
	else
		fault("more than %u requests at a time", MOST);
	lx_unlock(&lock);
	hold(HELD_IRP, 1);
	return request;
}

static bool is_marked(PIRP irp)
{
	return IoGetCurrentIrpStackLocation(irp)->Control & SL_PENDING_RETURNED;
}

/* What is completed may have gone; what isn't stays while the lock is held. */
static const char *judge_return(const struct request *request, NTSTATUS status)
{
	bool marked = request->completed ? request->marked : is_marked(request->irp);

	if (status == STATUS_PENDING)
		return marked ? NULL : "STATUS_PENDING for a request that isn't marked pending";
	if (marked)
		return "another status than STATUS_PENDING for a request that is marked pending";
	if (!request->completed)
		return "a status for a request that isn't completed";
	return status == request->status ? NULL : "another status than the request was completed with";
}

static void returned(struct request *request, NTSTATUS status)
{
	const char *wrong;

	lx_lock(&lock);
	wrong = judge_return(request, status);
	request->returned = true;
	if (request->completed)
		request->irp = NULL;
	lx_unlock(&lock);
	if (wrong)
		fault("a dispatch routine returns %s", wrong);
}

static void judge_completion(PIRP irp)
{
	const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);

	if (irp->CancelRoutine)
		fault("IoCompleteRequest of a request that has a cancel routine");
	if (irp->IoStatus.Status == STATUS_PENDING)
		fault("IoCompleteRequest with STATUS_PENDING");
	if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL &&
	    irp->IoStatus.Information > stack->Parameters.DeviceIoControl.OutputBufferLength)
		fault("IoCompleteRequest with more bytes than there is room for");
}

bool irp_completes(PIRP irp)
{
	struct request *request;

	lx_lock(&lock);
	request = find(irp);
	if (!request || request->completed) {
		lx_unlock(&lock);
		fault("IoCompleteRequest of a request that isn't the driver's");
		return false;
	}
	request->completed = true;
	request->marked = is_marked(irp);
	request->status = irp->IoStatus.Status;
	if (request->returned)
		request->irp = NULL;
	lx_unlock(&lock);
	judge_completion(irp);
	hold(HELD_IRP, -1);
	return true;
}

NTSTATUS irp_dispatch(PDEVICE_OBJECT to, PIRP irp)
{
	PDRIVER_DISPATCH run = routines[IoGetCurrentIrpStackLocation(irp)->MajorFunction];
	struct request *request = begin(irp);
	NTSTATUS status;

	irql_set(misuse_level(MISUSE_REQUEST));
	status = run(to, irp);
	irql_check("return from a dispatch routine", PASSIVE_LEVEL);
	if (request)
		returned(request, status);
	return status;
}

/* ---- Wine's side -------------------------------------------------------------------------------------- */

static NTSTATUS NTAPI completed(PDEVICE_OBJECT of, PIRP irp, PVOID context)
{
	(void)of;
	(void)irp;
	*(bool *)context = true;
	return STATUS_MORE_PROCESSING_REQUIRED; /* it isn't Wine's */
}

/*
 * Wine 8 has no IRP_MJ_CLEANUP. It sends IRP_MJ_CLOSE when the last handle goes, whatever is pending then, which is
 * when Windows sends the one, so the driver gets first the one and then the other.
 */
static void clean_up(PDEVICE_OBJECT to, PFILE_OBJECT file)
{
	PIRP irp = IoAllocateIrp(1, FALSE);
	PIO_STACK_LOCATION stack = IoGetNextIrpStackLocation(irp);
	bool done = false;

	stack->MajorFunction = IRP_MJ_CLEANUP;
	stack->FileObject = file;
	stack->DeviceObject = to;
	IoSetCompletionRoutine(irp, completed, &done, TRUE, TRUE, TRUE);
	IoSetNextIrpStackLocation(irp);
	irp_dispatch(to, irp);
	if (!done)
		fault("IRP_MJ_CLEANUP isn't completed by its dispatch routine");
	IoFreeIrp(irp);
}

static NTSTATUS refuse(PIRP irp)
{
	irp->IoStatus.Status = STATUS_DELETE_PENDING;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return STATUS_DELETE_PENDING;
}

static NTSTATUS NTAPI dispatch(PDEVICE_OBJECT to, PIRP irp)
{
	const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
	UCHAR major = stack->MajorFunction;
	NTSTATUS status;

	if (major == IRP_MJ_CREATE)
		__atomic_fetch_add(&open_files, 1, __ATOMIC_SEQ_CST);
	if (major == IRP_MJ_CLOSE)
		clean_up(to, stack->FileObject);
	if (major == IRP_MJ_CREATE && __atomic_load_n(&unloading, __ATOMIC_SEQ_CST))
		status = refuse(irp);
	else
		status = irp_dispatch(to, irp);
	if (major == IRP_MJ_CLOSE || (major == IRP_MJ_CREATE && status != STATUS_SUCCESS))
		__atomic_fetch_sub(&open_files, 1, __ATOMIC_SEQ_CST);
	return status;
}

/*
 * Windows doesn't unload a driver whose device somebody has open, and lets nobody open it from then on. Wine does both,
 * and calls routines that are no longer there.
 */
static VOID NTAPI unload_when_closed(PDRIVER_OBJECT driver)
{
	uint64_t end = lx_clock_ns() + CLOSE_NS;

	__atomic_store_n(&unloading, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&open_files, __ATOMIC_SEQ_CST) && lx_clock_ns() < end)
		lx_poll(NULL, 0, 1000000);
	if (__atomic_load_n(&open_files, __ATOMIC_SEQ_CST))
		fault("the driver is unloaded while its device is open");
	unload(driver);
}

void irp_watch(PDRIVER_OBJECT driver)
{
	static const UCHAR majors[] = { IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP, IRP_MJ_DEVICE_CONTROL };

	if (driver->MajorFunction[IRP_MJ_CLOSE] == dispatch)
		return;
	for (unsigned int i = 0; i < sizeof(majors); i++) {
		routines[majors[i]] = driver->MajorFunction[majors[i]];
		driver->MajorFunction[majors[i]] = dispatch;
	}
	open_files = 0;
	unloading = false;
	unload = driver->DriverUnload;
	driver->DriverUnload = unload_when_closed;
}

void irp_device_is(PDEVICE_OBJECT made)
{
	device = made;
}

PDEVICE_OBJECT irp_device(void)
{
	return device;
}
