/* SPDX-License-Identifier: MIT */
/*
 * The driver's imports. Its import table is rewritten in memory when Wine has loaded it, so that the file stays
 * what it is: each import leads through a check of the IRQL to Wine's routine or to a shim.
 */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etw.h"

/* ---- Pool --------------------------------------------------------------------------------------------- */

#define POOL_MAGIC 0x706f6f6c77696e65ull
#define POOL_FLAG_UNINITIALIZED_ 0x2u
#define POOL_FLAG_PAGED_ 0x100u

struct pool_head {
	uint64_t magic;
	uint64_t size;
	uint64_t tag;
	uint64_t unused; /* what follows is aligned to 16 */
};

static PVOID pool_new(SIZE_T size, ULONG tag, int fill)
{
	struct pool_head *head = must_fail("pool") ? NULL :
						     malloc(sizeof(*head) + size + sizeof(head->magic));
	const uint64_t guard = POOL_MAGIC;

	if (!head)
		return NULL;
	*head = (struct pool_head){ POOL_MAGIC, size, tag, 0 };
	memset(head + 1, fill, size);
	memcpy((uint8_t *)(head + 1) + size, &guard, sizeof(guard));
	hold(HELD_POOL, 1);
	hold(HELD_POOL_BYTES, (int64_t)size);
	return head + 1;
}

static PVOID NTAPI shim_ExAllocatePool2(ULONGLONG flags, SIZE_T size, ULONG tag)
{
	if (flags & POOL_FLAG_PAGED_)
		irql_check("paged ExAllocatePool2", APC_LEVEL);
	return pool_new(size, tag, flags & POOL_FLAG_UNINITIALIZED_ ? 0xa5 : 0);
}

static PVOID NTAPI shim_ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
{
	if (type & PagedPool)
		irql_check("paged ExAllocatePoolWithTag", APC_LEVEL);
	return pool_new(size, tag, 0xa5);
}

static VOID NTAPI shim_ExFreePoolWithTag(PVOID p, ULONG tag)
{
	struct pool_head *head = (struct pool_head *)p - 1;
	uint64_t guard;

	if (head->magic != POOL_MAGIC) {
		fault("ExFreePoolWithTag of what isn't pool");
		return;
	}
	memcpy(&guard, (uint8_t *)p + head->size, sizeof(guard));
	if (guard != POOL_MAGIC)
		fault("something was written behind %llu bytes of pool", (unsigned long long)head->size);
	if (head->tag != tag)
		fault("pool of tag %08llx is freed with tag %08lx", (unsigned long long)head->tag, tag);
	hold(HELD_POOL, -1);
	hold(HELD_POOL_BYTES, -(int64_t)head->size);
	memset(head, 0xdd, sizeof(*head) + head->size);
	free(head);
}

/* ---- Levels and locks --------------------------------------------------------------------------------- */

static ULONG_PTR self(void)
{
	ULONG_PTR id;

	__asm__("movq %%gs:0x48, %0" : "=r"(id)); /* the thread's id in its TEB */
	return id;
}

static void spin_acquire(KSPIN_LOCK *lock, const char *name)
{
	for (unsigned int turn = 1;; turn++) {
		KSPIN_LOCK holder = 0;

		if (__atomic_compare_exchange_n(lock, &holder, self(), false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		if (holder == self()) {
			fault("%s: the thread holds it already", name);
			return;
		}
		/* A holder that lost its CPU, which real spin locks can't. */
		if (turn % 100 == 0)
			lx_yield();
		__builtin_ia32_pause();
	}
}

static void spin_release(KSPIN_LOCK *lock, const char *name)
{
	if (*lock != self())
		fault("%s: another thread's, or not held", name);
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

static KIRQL NTAPI shim_KeAcquireSpinLockRaiseToDpc(KSPIN_LOCK *lock)
{
	KIRQL before = irql_get();

	irql_set(DISPATCH_LEVEL);
	spin_acquire(lock, "KeAcquireSpinLock");
	return before;
}

static VOID NTAPI shim_KeReleaseSpinLock(KSPIN_LOCK *lock, KIRQL before)
{
	spin_release(lock, "KeReleaseSpinLock");
	if (irql_get() != DISPATCH_LEVEL)
		fault("KeReleaseSpinLock at IRQL %u", irql_get());
	irql_set(before);
}

/* Wine's own lock must be held too: it calls cancel routines under it. */
static VOID NTAPI shim_IoAcquireCancelSpinLock(PKIRQL before)
{
	KIRQL unused;

	*before = irql_get();
	IoAcquireCancelSpinLock(&unused);
	irql_set(DISPATCH_LEVEL);
}

static VOID NTAPI shim_IoReleaseCancelSpinLock(KIRQL before)
{
	IoReleaseCancelSpinLock(before);
	irql_set(before);
}

static void wait_check(const char *name, PLARGE_INTEGER timeout)
{
	if (!timeout || timeout->QuadPart)
		irql_check(name, APC_LEVEL);
}

static NTSTATUS NTAPI shim_KeWaitForSingleObject(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode,
						 BOOLEAN alertable, PLARGE_INTEGER timeout)
{
	wait_check("a KeWaitForSingleObject that blocks", timeout);
	if (timeout && settings.impatient)
		return STATUS_TIMEOUT;
	return KeWaitForSingleObject(object, reason, mode, alertable, timeout);
}

static NTSTATUS NTAPI shim_KeWaitForMultipleObjects(ULONG count, PVOID *objects, WAIT_TYPE type,
						    KWAIT_REASON reason, KPROCESSOR_MODE mode,
						    BOOLEAN alertable, PLARGE_INTEGER timeout,
						    PKWAIT_BLOCK blocks)
{
	wait_check("a KeWaitForMultipleObjects that blocks", timeout);
	if (count > THREAD_WAIT_OBJECTS && !blocks)
		fault("KeWaitForMultipleObjects of %lu objects without wait blocks", count);
	return KeWaitForMultipleObjects(count, objects, type, reason, mode, alertable, timeout, blocks);
}

/* 10 MHz, as usual on Windows. */
static LARGE_INTEGER NTAPI shim_KeQueryPerformanceCounter(PLARGE_INTEGER frequency)
{
	static uint64_t ticks_32; /* 2^32ths of a tick in a cycle */
	LARGE_INTEGER now;

	if (!__atomic_load_n(&ticks_32, __ATOMIC_RELAXED)) {
		uint64_t ns = lx_clock_ns(), tsc = __builtin_ia32_rdtsc(), passed;

		while ((passed = lx_clock_ns() - ns) < 20000000)
			;
		__atomic_store_n(&ticks_32, (passed << 32) / 100 / (__builtin_ia32_rdtsc() - tsc),
				 __ATOMIC_RELAXED);
	}
	now.QuadPart = (LONGLONG)((unsigned __int128)__builtin_ia32_rdtsc() * ticks_32 >> 32);
	if (frequency)
		frequency->QuadPart = 10000000;
	return now;
}

/* A blue screen. */
static VOID NTAPI shim_KeBugCheckEx(ULONG code, ULONG_PTR a, ULONG_PTR b, ULONG_PTR c, ULONG_PTR d)
{
	fault("KeBugCheckEx(%08lx, %llx, %llx, %llu, %llx)", code, a, b, c, d);
	if (code == 0xE0574150) /* the driver's assertions: expression, file, line */
		fault("%s:%llu: %s doesn't hold", (const char *)b, c, (const char *)a);
	lx_exit(1);
}

/* ---- MDLs --------------------------------------------------------------------------------------------- */

static PVOID NTAPI shim_MmMapLockedPagesSpecifyCache(PMDL mdl, KPROCESSOR_MODE mode,
						     MEMORY_CACHING_TYPE cache, PVOID base, ULONG bug_check,
						     ULONG priority)
{
	(void)priority;
	if (mode != KernelMode || cache != MmCached || base || bug_check)
		fault("MmMapLockedPagesSpecifyCache other than cached, for the kernel, at any address, returning errors");
	return mdl_map(mdl);
}

static VOID NTAPI shim_MmUnmapLockedPages(PVOID address, PMDL mdl)
{
	mdl_unmap(address, mdl);
}

/* ---- Requests ----------------------------------------------------------------------------------------- */

static VOID FASTCALL shim_IofCompleteRequest(PIRP irp, CCHAR boost)
{
	if (irp_completes(irp))
		IofCompleteRequest(irp, boost);
}

/* ---- What is counted ---------------------------------------------------------------------------------- */

/* Makes a routine with a result fail when it is its turn, and counts what it gave. */
#define COUNTED(name, kind, call) \
	NTSTATUS status; \
\
	if (must_fail(name)) \
		return STATUS_INSUFFICIENT_RESOURCES; \
	status = call; \
	if (NT_SUCCESS(status)) \
		hold(kind, 1); \
	return status

static NTSTATUS create_device(PDRIVER_OBJECT driver, ULONG extension, PUNICODE_STRING name, DEVICE_TYPE type,
			      ULONG flags, BOOLEAN exclusive, PDEVICE_OBJECT *device)
{
	COUNTED("IoCreateDevice", HELD_DEVICE,
		IoCreateDevice(driver, extension, name, type, flags, exclusive, device));
}

static NTSTATUS NTAPI shim_IoCreateDevice(PDRIVER_OBJECT driver, ULONG extension, PUNICODE_STRING name,
					  DEVICE_TYPE type, ULONG flags, BOOLEAN exclusive,
					  PDEVICE_OBJECT *device)
{
	NTSTATUS status;

	irp_watch(driver);
	status = create_device(driver, extension, name, type, flags, exclusive, device);
	if (NT_SUCCESS(status)) {
		irp_device_is(*device);
		security_created(*device, flags);
	}
	return status;
}

static VOID NTAPI shim_IoDeleteDevice(PDEVICE_OBJECT device)
{
	hold(HELD_DEVICE, -1);
	IoDeleteDevice(device);
}

static NTSTATUS NTAPI shim_IoCreateSymbolicLink(PUNICODE_STRING link, PUNICODE_STRING name)
{
	security_named();
	COUNTED("IoCreateSymbolicLink", HELD_LINK, IoCreateSymbolicLink(link, name));
}

static NTSTATUS NTAPI shim_IoDeleteSymbolicLink(PUNICODE_STRING link)
{
	hold(HELD_LINK, -1);
	return IoDeleteSymbolicLink(link);
}

static NTSTATUS NTAPI shim_ObReferenceObjectByHandle(HANDLE handle, ACCESS_MASK access, POBJECT_TYPE type,
						     KPROCESSOR_MODE mode, PVOID *object,
						     POBJECT_HANDLE_INFORMATION information)
{
	NTSTATUS status = ObReferenceObjectByHandle(handle, access, type, mode, object, information);

	if (NT_SUCCESS(status))
		hold(HELD_REFERENCE, 1);
	return status;
}

static VOID FASTCALL shim_ObfReferenceObject(PVOID object)
{
	hold(HELD_REFERENCE, 1);
	ObfReferenceObject(object);
}

static VOID FASTCALL shim_ObfDereferenceObject(PVOID object)
{
	hold(HELD_REFERENCE, -1);
	ObfDereferenceObject(object);
}

static NTSTATUS open_object(PVOID object, ULONG attributes, PACCESS_STATE state, ACCESS_MASK access,
			    POBJECT_TYPE type, KPROCESSOR_MODE mode, PHANDLE handle)
{
	COUNTED("ObOpenObjectByPointer", HELD_HANDLE,
		ObOpenObjectByPointer(object, attributes, state, access, type, mode, handle));
}

static NTSTATUS NTAPI shim_ObOpenObjectByPointer(PVOID object, ULONG attributes, PACCESS_STATE state,
						 ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
						 PHANDLE handle)
{
	NTSTATUS status = open_object(object, attributes, state, access, type, mode, handle);

	if (NT_SUCCESS(status))
		security_opened(object, access, *handle);
	return status;
}

static NTSTATUS NTAPI shim_ZwSetSecurityObject(HANDLE handle, SECURITY_INFORMATION what, PVOID descriptor)
{
	NTSTATUS status = must_fail("ZwSetSecurityObject") ? STATUS_INSUFFICIENT_RESOURCES :
							     ZwSetSecurityObject(handle, what, descriptor);

	if (NT_SUCCESS(status))
		security_set(handle, what, descriptor);
	return status;
}

static NTSTATUS NTAPI shim_ZwOpenKey(PHANDLE key, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes)
{
	COUNTED("ZwOpenKey", HELD_HANDLE, ZwOpenKey(key, access, attributes));
}

static NTSTATUS NTAPI shim_ZwClose(HANDLE handle)
{
	NTSTATUS status = ZwClose(handle);

	if (NT_SUCCESS(status))
		hold(HELD_HANDLE, -1);
	else
		fault("ZwClose of what isn't a handle");
	return status;
}

/* ---- What only fails ---------------------------------------------------------------------------------- */

static NTSTATUS NTAPI shim_ZwQueryValueKey(HANDLE key, PUNICODE_STRING name,
					   KEY_VALUE_INFORMATION_CLASS class, PVOID value, ULONG size,
					   PULONG needed)
{
	return must_fail("ZwQueryValueKey") ? STATUS_INSUFFICIENT_RESOURCES :
					      ZwQueryValueKey(key, name, class, value, size, needed);
}

static NTSTATUS NTAPI shim_ExUuidCreate(UUID *uuid)
{
	return must_fail("ExUuidCreate") ? STATUS_RETRY : ExUuidCreate(uuid);
}

/* ---- Threads ------------------------------------------------------------------------------------------ */

struct thread_start {
	PKSTART_ROUTINE run;
	PVOID argument;
};

static NTSTATUS NTAPI shim_PsTerminateSystemThread(NTSTATUS status)
{
	hold(HELD_THREAD, -1);
	return PsTerminateSystemThread(status);
}

static VOID NTAPI thread_run(PVOID argument)
{
	struct thread_start start = *(struct thread_start *)argument;

	free(argument);
	start.run(start.argument);
	irql_check("end of a system thread", PASSIVE_LEVEL);
	shim_PsTerminateSystemThread(STATUS_SUCCESS);
}

static NTSTATUS NTAPI shim_PsCreateSystemThread(PHANDLE handle, ULONG access, POBJECT_ATTRIBUTES attributes,
						HANDLE process, PCLIENT_ID id, PKSTART_ROUTINE run,
						PVOID argument)
{
	struct thread_start *start = must_fail("PsCreateSystemThread") ? NULL : malloc(sizeof(*start));
	NTSTATUS status;

	if (!start)
		return STATUS_INSUFFICIENT_RESOURCES;
	*start = (struct thread_start){ run, argument };
	hold(HELD_THREAD, 1);
	hold(HELD_HANDLE, 1);
	status = PsCreateSystemThread(handle, access, attributes, process, id, thread_run, start);
	if (!NT_SUCCESS(status)) {
		hold(HELD_THREAD, -1);
		hold(HELD_HANDLE, -1);
		free(start);
	}
	return status;
}

/* ---- ETW ---------------------------------------------------------------------------------------------- */

static NTSTATUS NTAPI shim_EtwRegister(const GUID *provider, PVOID callback, PVOID context, ULONGLONG *handle)
{
	(void)callback;
	(void)context;
	COUNTED("EtwRegister", HELD_ETW, etw_register(provider, handle));
}

static NTSTATUS NTAPI shim_EtwUnregister(ULONGLONG handle)
{
	if (!handle) /* of a driver that couldn't register: allowed, and does nothing */
		return STATUS_INVALID_HANDLE;
	if (!etw_unregister(handle)) {
		fault("EtwUnregister of what isn't registered");
		return STATUS_INVALID_HANDLE;
	}
	hold(HELD_ETW, -1);
	return STATUS_SUCCESS;
}

static NTSTATUS NTAPI shim_EtwWrite(ULONGLONG handle, const struct etw_descriptor *event,
				    const GUID *activity, ULONG count, const struct etw_data *data)
{
	(void)activity;
	return etw_write(handle, event, count, data) ? STATUS_SUCCESS : STATUS_INVALID_HANDLE;
}

/* ---- The table ---------------------------------------------------------------------------------------- */

static PVOID NTAPI shim_MmGetSystemRoutineAddress(PUNICODE_STRING name);

/* A piece of code for each import: loads the entry's address and goes to import_enter. */
struct import {
	const char *name;
	PVOID target;
	KIRQL most;
	bool plain; /* stays as it is */
	uint8_t *thunk;
};

#define SHIM(routine, level) { #routine, (PVOID)(ULONG_PTR)shim_##routine, level, false, NULL },
#define WORKS(routine, level) { #routine, NULL, level, false, NULL },
#define PLAIN(routine) { #routine, NULL, 0, true, NULL },
static struct import imports[] = {
#include "imports.h"
};
#undef SHIM
#undef WORKS
#undef PLAIN

#define IMPORTS (sizeof(imports) / sizeof(imports[0]))
#define THUNK_SIZE 32u

/* Whole pages, since they alone become code. */
static uint8_t thunks[(IMPORTS * THUNK_SIZE + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE]
	__attribute__((aligned(PAGE_SIZE)));

void import_check(const struct import *import) __asm__("import_check");
void import_check(const struct import *import)
{
	irql_check(import->name, import->most);
}

/*
 * rax: the import. Checks, and goes on to its target with everything that the driver passed; from there it is
 * as if the driver had called that itself. Offsets: 0x28 shadow space and alignment, then the registers.
 */
void import_enter(void) __asm__("import_enter");
__asm__(".text\n"
	".globl import_enter\n"
	"import_enter:\n"
	"	subq $0x58, %rsp\n"
	"	movq %rcx, 0x28(%rsp)\n"
	"	movq %rdx, 0x30(%rsp)\n"
	"	movq %r8, 0x38(%rsp)\n"
	"	movq %r9, 0x40(%rsp)\n"
	"	movq %rax, 0x48(%rsp)\n"
	"	movq %rax, %rcx\n"
	"	call import_check\n"
	"	movq 0x28(%rsp), %rcx\n"
	"	movq 0x30(%rsp), %rdx\n"
	"	movq 0x38(%rsp), %r8\n"
	"	movq 0x40(%rsp), %r9\n"
	"	movq 0x48(%rsp), %rax\n"
	"	addq $0x58, %rsp\n"
	"	jmp *8(%rax)\n");
C_ASSERT(offsetof(struct import, target) == 8);

/* mov rax, import; mov r11, import_enter; jmp r11 */
static void thunk_write(struct import *import, uint8_t *code)
{
	const uint64_t entry = (uintptr_t)import, enter = (uintptr_t)import_enter;

	memcpy(code, "\x48\xb8", 2);
	memcpy(code + 2, &entry, 8);
	memcpy(code + 10, "\x49\xbb", 2);
	memcpy(code + 12, &enter, 8);
	memcpy(code + 20, "\x41\xff\xe3", 3);
	import->thunk = code;
}

static struct import *find_import(const char *name)
{
	for (unsigned int i = 0; i < IMPORTS; i++)
		if (!strcmp(imports[i].name, name))
			return &imports[i];
	return NULL;
}

/* Only what a driver may look up because not every Windows has it. */
static PVOID NTAPI shim_MmGetSystemRoutineAddress(PUNICODE_STRING name)
{
	static const WCHAR pool2[] = L"ExAllocatePool2";
	bool is_pool2 = name->Length == sizeof(pool2) - sizeof(WCHAR) &&
			!memcmp(name->Buffer, pool2, name->Length);

	if (!is_pool2)
		return MmGetSystemRoutineAddress(name);
	return settings.no_pool2 ? NULL : find_import("ExAllocatePool2")->thunk;
}

/* ---- The driver's import table ------------------------------------------------------------------------ */

struct pe {
	uint8_t *base;
	const uint8_t *directory; /* of imports: 20 bytes each */
};

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static struct pe pe_of(uint8_t *base)
{
	const uint8_t *headers = base + word(base + 0x3c);
	uint32_t rva = word(headers + 24 + 112 + 8); /* the second directory of a 64-bit optional header */

	return (struct pe){ base, rva ? base + rva : NULL };
}

static bool imports_from(const struct pe *pe, const char *module)
{
	for (const uint8_t *d = pe->directory; d && word(d + 12); d += 20)
		if (!_stricmp((const char *)pe->base + word(d + 12), module))
			return true;
	return false;
}

static void redirect(uint64_t *slot, const char *name)
{
	struct import *import = find_import(name);
	ULONG old;

	if (!import) {
		fault("the driver imports %s, which isn't in imports.h", name);
		return;
	}
	if (import->plain)
		return;
	VirtualProtect(slot, sizeof(*slot), WIN32_READ_WRITE, &old);
	if (!import->target)
		import->target = (PVOID)*slot;
	*slot = (uintptr_t)import->thunk;
	VirtualProtect(slot, sizeof(*slot), old, &old);
}

static void redirect_all(const struct pe *pe)
{
	for (const uint8_t *d = pe->directory; word(d + 12); d += 20) {
		const uint64_t *names = (const uint64_t *)(void *)(pe->base + word(d));
		uint64_t *slots = (uint64_t *)(void *)(pe->base + word(d + 16));

		if (!_stricmp((const char *)pe->base + word(d + 12), "vmbkmclr.sys"))
			continue;
		for (; *names; names++, slots++)
			redirect(slots, (const char *)pe->base + *names + 2);
	}
}

/* Wine calls it with the imports resolved, and before the module's entry point runs. */
static VOID NTAPI on_module(ULONG reason, const struct win32_module *module, PVOID context)
{
	struct pe pe = pe_of(module->base);

	(void)context;
	if (reason == WIN32_MODULE_LOADED && imports_from(&pe, "vmbkmclr.sys"))
		redirect_all(&pe);
}

bool shims_start(void)
{
	void *cookie;
	ULONG old;

	for (unsigned int i = 0; i < IMPORTS; i++)
		thunk_write(&imports[i], thunks + i * THUNK_SIZE);
	return VirtualProtect(thunks, sizeof(thunks), WIN32_EXECUTE_READ, &old) &&
	       !LdrRegisterDllNotification(0, on_module, NULL, &cookie);
}
