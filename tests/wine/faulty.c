/* SPDX-License-Identifier: MIT */
/*
 * A driver that does wrong, one thing at a time, while it is loaded: the stand-in must find each of them, and nothing
 * else. check_wine.py knows what it should say.
 */
#include <ntddk.h>

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

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service_key)
{
	driver->DriverUnload = unload;
	spoil_pool();
	break_levels();
	EtwUnregister(4711);
	return service_key ? STATUS_SUCCESS : (NTSTATUS)(ULONG_PTR)VmbChannelGetPointer(driver);
}
