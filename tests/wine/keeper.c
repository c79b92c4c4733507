/* SPDX-License-Identifier: MIT */
/*
 * A driver that does nothing. Loaded first, it keeps the process in which Wine runs drivers alive from one load of the
 * driver under test to the next, and the stand-in with it.
 */
#include <ntddk.h>

/* So that the stand-in is loaded. */
__declspec(dllimport) PVOID NTAPI VmbChannelGetPointer(PVOID channel);

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD unload;

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
	(void)driver;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service_key)
{
	driver->DriverUnload = unload;
	return service_key ?
		       STATUS_SUCCESS :
		       (NTSTATUS)(ULONG_PTR)VmbChannelGetPointer(driver); /* never: an import must be used */
}
