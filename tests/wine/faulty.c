/* SPDX-License-Identifier: MIT */
/*
 * A driver that does wrong, one thing at a time, while it is loaded: the stand-in must find each of them, and nothing
 * else. check_wine.py knows what it should say.
 */
#include <ntifs.h>

/* So that the stand-in takes it for the driver. */
__declspec(dllimport) PVOID NTAPI VmbChannelGetPointer(PVOID channel);
__declspec(dllimport) NTSTATUS NTAPI EtwUnregister(ULONGLONG handle);

#define TAG 0x746c7546u /* "Fult" */

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD unload;

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
	(void)driver;
}

static void spoil_pool(void)
{
	UCHAR *p = ExAllocatePoolWithTag(NonPagedPool, 100, TAG);

	p[100] = 1;
	ExFreePoolWithTag(p, TAG);
	p = ExAllocatePoolWithTag(NonPagedPool, 100, TAG);
	ExFreePoolWithTag(p, TAG + 1);
	p = ExAllocatePoolWithTag(NonPagedPool, 77, TAG); /* and leaks it */
}

static void break_levels(void)
{
	LARGE_INTEGER soon = { .QuadPart = -10 };
	KSPIN_LOCK lock = 0;
	KEVENT event;
	KIRQL before;

	KeInitializeEvent(&event, SynchronizationEvent, FALSE);
	KeAcquireSpinLock(&lock, &before);
	if (KeGetCurrentIrql() != DISPATCH_LEVEL || before != PASSIVE_LEVEL)
		return; /* then the findings below are missing */
	ZwClose(NULL);
	KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &soon);
	KeReleaseSpinLock(&lock, before);
	KeReleaseSpinLock(&lock, before);
	KeRaiseIrql(APC_LEVEL, &before);
	ExFreePoolWithTag(ExAllocatePoolWithTag(PagedPool, 1, TAG), TAG);
	KeRaiseIrql(DISPATCH_LEVEL, &before);
	ExFreePoolWithTag(ExAllocatePoolWithTag(PagedPool, 1, TAG), TAG);
	KeLowerIrql(PASSIVE_LEVEL);
}

/* ---- Requests ----------------------------------------------------------------------------------------- */

enum wrong {
	KEEPS_CANCEL_ROUTINE,
	COMPLETES_AS_PENDING,
	COMPLETES_TWICE,
	FORGETS_TO_MARK,
	MARKS_AND_COMPLETES,
	OVERFLOWS,
	RETURNS_OTHER,
	WRONGS,
};

static VOID NTAPI cancel(PDEVICE_OBJECT device, PIRP irp)
{
	(void)device;
	(void)irp;
}

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR size)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = size;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS NTAPI control(PDEVICE_OBJECT device, PIRP irp)
{
	(void)device;
	switch (IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.IoControlCode) {
	case KEEPS_CANCEL_ROUTINE:
		IoSetCancelRoutine(irp, cancel);
		break;
	case COMPLETES_AS_PENDING:
		IoMarkIrpPending(irp);
		return complete(irp, STATUS_PENDING, 0);
	case COMPLETES_TWICE:
		complete(irp, STATUS_SUCCESS, 0);
		return complete(irp, STATUS_SUCCESS, 0);
	case FORGETS_TO_MARK:
		return STATUS_PENDING;
	case MARKS_AND_COMPLETES:
		IoMarkIrpPending(irp);
		break;
	case OVERFLOWS:
		return complete(irp, STATUS_SUCCESS, 9);
	case RETURNS_OTHER:
		complete(irp, STATUS_SUCCESS, 0);
		return STATUS_UNSUCCESSFUL;
	}
	return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI stays(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
	(void)device;
	(void)irp;
	(void)context;
	return STATUS_MORE_PROCESSING_REQUIRED;
}

/* What the I/O manager would send. */
static void send(PDRIVER_OBJECT driver, PDEVICE_OBJECT device, ULONG code)
{
	IO_STACK_LOCATION stack = { .MajorFunction = IRP_MJ_DEVICE_CONTROL,
				    .DeviceObject = device,
				    .CompletionRoutine = stays,
				    .Control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR };
	IRP irp;

	memset(&irp, 0, sizeof(irp));
	irp.StackCount = irp.CurrentLocation = 1;
	irp.Tail.Overlay.CurrentStackLocation = &stack;
	stack.Parameters.DeviceIoControl.IoControlCode = code;
	stack.Parameters.DeviceIoControl.OutputBufferLength = 8;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL](device, &irp);
	if (code == FORGETS_TO_MARK)
		complete(&irp, STATUS_SUCCESS, 0);
}

/* ---- The device's access list --------------------------------------------------------------------------- */

/* SYSTEM and all the world, S-1-1-0. */
static void let_everybody_in(PDEVICE_OBJECT device)
{
	static UCHAR everyone[] = { SID_REVISION, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 };
	static UCHAR local_system[] = { SID_REVISION, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0 };
	SECURITY_DESCRIPTOR descriptor;
	ULONGLONG acl[8];
	HANDLE handle;

	RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
	RtlSetDaclSecurityDescriptor(&descriptor, TRUE, NULL, FALSE);
	ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
	ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
	RtlCreateAcl((PACL)acl, sizeof(acl), ACL_REVISION);
	RtlAddAccessAllowedAce((PACL)acl, ACL_REVISION, FILE_ALL_ACCESS, local_system);
	RtlAddAccessAllowedAce((PACL)acl, ACL_REVISION, FILE_GENERIC_READ, everyone);
	RtlSetDaclSecurityDescriptor(&descriptor, TRUE, (PACL)acl, FALSE);
	ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
	ZwClose(handle);
}

static void make_device(PDRIVER_OBJECT driver)
{
	UNICODE_STRING name, link;
	PDEVICE_OBJECT device;

	RtlInitUnicodeString(&name, L"\\Device\\WinApiFaulty");
	RtlInitUnicodeString(&link, L"\\DosDevices\\WinApiFaulty");
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
	if (!NT_SUCCESS(IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device)))
		return; /* then the findings below are missing */
	let_everybody_in(device);
	IoCreateSymbolicLink(&link, &name);
	for (ULONG wrong = 0; wrong < WRONGS; wrong++)
		send(driver, device, wrong);
	IoDeleteSymbolicLink(&link);
	IoDeleteDevice(device);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service_key)
{
	driver->DriverUnload = unload;
	spoil_pool();
	break_levels();
	make_device(driver);
	EtwUnregister(4711);
	return service_key ? STATUS_SUCCESS : (NTSTATUS)(ULONG_PTR)VmbChannelGetPointer(driver);
}
