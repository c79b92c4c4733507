/* SPDX-License-Identifier: MIT */
/*
 * Everything that the driver may import from the kernel here, with the highest IRQL that its documentation
 * allows. gate.py fails the build for an import that isn't in this list.
 *
 *	WORKS	Wine's own does what Windows' does, as far as the driver uses it
 *	SHIM	shims.c has it: because Wine lacks it, or to count or check what the driver does with it
 *	PLAIN	C that is the same everywhere and may be called at any IRQL
 *
 * WORKS and SHIM are called through a check of the IRQL.
 */

/* Wine 8 has none: found through MmGetSystemRoutineAddress. */
SHIM(ExAllocatePool2, DISPATCH_LEVEL)
/* Counted, spoilt before and after use, with a guard behind, and told to fail. */
SHIM(ExAllocatePoolWithTag, DISPATCH_LEVEL)
SHIM(ExFreePoolWithTag, DISPATCH_LEVEL)
/* Wine's hides what isn't in its kernel. */
SHIM(MmGetSystemRoutineAddress, PASSIVE_LEVEL)

/* They change the IRQL, which Wine doesn't know; acquiring twice is a finding, not a hang. */
SHIM(KeAcquireSpinLockRaiseToDpc, DISPATCH_LEVEL)
SHIM(KeReleaseSpinLock, DISPATCH_LEVEL)
SHIM(IoAcquireCancelSpinLock, DISPATCH_LEVEL)
SHIM(IoReleaseCancelSpinLock, DISPATCH_LEVEL)
/* Blocking needs APC_LEVEL at most, looking doesn't. */
SHIM(KeWaitForSingleObject, DISPATCH_LEVEL)
SHIM(KeWaitForMultipleObjects, DISPATCH_LEVEL)
WORKS(KeInitializeEvent, HIGH_LEVEL)
WORKS(KeSetEvent, DISPATCH_LEVEL)
WORKS(KeReadStateEvent, DISPATCH_LEVEL)
WORKS(KeClearEvent, DISPATCH_LEVEL)
WORKS(KeInitializeSemaphore, HIGH_LEVEL)
WORKS(KeReleaseSemaphore, DISPATCH_LEVEL)
WORKS(KeQueryActiveProcessorCount, HIGH_LEVEL)
/* Wine's takes a call into its Unix side for each. */
SHIM(KeQueryPerformanceCounter, HIGH_LEVEL)
/* Wine's goes on. */
SHIM(KeBugCheckEx, HIGH_LEVEL)

/* Wine's maps nothing. */
SHIM(MmMapLockedPagesSpecifyCache, DISPATCH_LEVEL)
SHIM(MmUnmapLockedPages, DISPATCH_LEVEL)

/* Counted, and told to fail. */
SHIM(IoCreateDevice, APC_LEVEL)
SHIM(IoDeleteDevice, APC_LEVEL)
SHIM(IoCreateSymbolicLink, PASSIVE_LEVEL)
SHIM(IoDeleteSymbolicLink, PASSIVE_LEVEL)
SHIM(PsCreateSystemThread, PASSIVE_LEVEL)
SHIM(PsTerminateSystemThread, PASSIVE_LEVEL)
SHIM(ObReferenceObjectByHandle, PASSIVE_LEVEL)
SHIM(ObOpenObjectByPointer, PASSIVE_LEVEL)
SHIM(ObfReferenceObject, DISPATCH_LEVEL)
SHIM(ObfDereferenceObject, DISPATCH_LEVEL)
SHIM(ZwOpenKey, PASSIVE_LEVEL)
SHIM(ZwClose, PASSIVE_LEVEL)
/* Told to fail. */
SHIM(ZwQueryValueKey, PASSIVE_LEVEL)
SHIM(ExUuidCreate, PASSIVE_LEVEL)

/* Judged: security.c and irp.c. */
SHIM(ZwSetSecurityObject, PASSIVE_LEVEL)
SHIM(IofCompleteRequest, DISPATCH_LEVEL)

/* Wine 8 has none: a recorder, whose records the tests read. */
SHIM(EtwRegister, PASSIVE_LEVEL)
SHIM(EtwUnregister, PASSIVE_LEVEL)
SHIM(EtwWrite, HIGH_LEVEL)
/* For formats; what goes out of them is seen with WINEDEBUG=warn+debugstr. */
WORKS(DbgPrintEx, HIGH_LEVEL)
WORKS(vDbgPrintExWithPrefix, HIGH_LEVEL)
WORKS(_vsnprintf, PASSIVE_LEVEL)

WORKS(RtlInitUnicodeString, HIGH_LEVEL)
WORKS(RtlCreateSecurityDescriptor, HIGH_LEVEL)
WORKS(RtlCreateAcl, PASSIVE_LEVEL)
WORKS(RtlAddAccessAllowedAce, PASSIVE_LEVEL)
WORKS(RtlSetDaclSecurityDescriptor, HIGH_LEVEL)

PLAIN(memcpy)
PLAIN(memset)
PLAIN(strlen)
