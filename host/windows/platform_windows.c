/* SPDX-License-Identifier: MIT */
/* What the provider core asks of its platform, in the Windows kernel: see host/provider/platform.h. */
#include "platform_windows.h"

/* ---- Memory ----------------------------------------------------------------------------------------- */

/* From Windows 10 2004 on; before it ExAllocatePoolWithTag, which doesn't clear. */
#define POOL_NON_PAGED 0x40ull /* POOL_FLAG_NON_PAGED: cleared, not executable */
typedef PVOID NTAPI allocate_pool2_fn(ULONGLONG flags, SIZE_T size, ULONG tag);

/* In front of each allocation, for the count; keeps what follows aligned for any type. */
struct head {
	uint64_t size;
	uint64_t unused;
};

static allocate_pool2_fn *allocate_pool2;
static struct platform_pool pool;

static void *allocate(SIZE_T size)
{
	void *memory;

	if (allocate_pool2)
		return allocate_pool2(POOL_NON_PAGED, size, WINAPI_POOL_TAG);
#ifdef _MSC_VER
#pragma warning(suppress : 4996) /* deprecated, and all that is there before ExAllocatePool2 */
#endif
	memory = ExAllocatePoolWithTag(NonPagedPoolNx, size, WINAPI_POOL_TAG);
	if (memory)
		memset(memory, 0, size);
	return memory;
}

void *wp_alloc(size_t size)
{
	struct head *head = size > SIZE_MAX - sizeof(*head) ? NULL : allocate(size + sizeof(*head));

	if (!head) {
		wp_atomic_add64(&pool.failures, 1);
		return NULL;
	}
	head->size = size;
	wp_atomic_add64(&pool.allocations, 1);
	wp_atomic_add64(&pool.bytes, size);
	return head + 1;
}

void wp_free(void *p)
{
	struct head *head = p;

	if (!head)
		return;
	head--;
	wp_atomic_add64(&pool.allocations, UINT64_MAX);
	wp_atomic_add64(&pool.bytes, 0 - head->size);
	ExFreePoolWithTag(head, WINAPI_POOL_TAG);
}

_Use_decl_annotations_ void platform_pool(struct platform_pool *now)
{
	now->allocations = wp_atomic_load64(&pool.allocations);
	now->bytes = wp_atomic_load64(&pool.bytes);
	now->failures = wp_atomic_load64(&pool.failures);
}

/* ---- Locks ------------------------------------------------------------------------------------------- */

struct spin {
	KSPIN_LOCK lock;
	KIRQL before; /* the holder's level; only the holder touches it */
};
WINAPI_STATIC_ASSERT(sizeof(struct spin) <= sizeof(struct wp_lock));

static struct spin *spin_of(struct wp_lock *lock)
{
	return (struct spin *)lock->opaque;
}

void wp_lock_init(struct wp_lock *lock)
{
	KeInitializeSpinLock(&spin_of(lock)->lock);
}

void wp_lock_destroy(struct wp_lock *lock)
{
	UNREFERENCED_PARAMETER(lock);
}

_IRQL_raises_(DISPATCH_LEVEL) void wp_lock(struct wp_lock *lock)
{
	struct spin *spin = spin_of(lock);
	KIRQL before;

	KeAcquireSpinLock(&spin->lock, &before);
	spin->before = before;
}

void wp_unlock(struct wp_lock *lock)
{
	struct spin *spin = spin_of(lock);

	KeReleaseSpinLock(&spin->lock, spin->before);
}

/* ---- Clock -------------------------------------------------------------------------------------------- */

#define NS 1000000000ull

static uint64_t ticks_per_second;
static uint64_t ns_per_tick; /* where that is a whole number, as with the usual 10 MHz; else 0 */

uint64_t wp_clock_ns(void)
{
	uint64_t ticks = (uint64_t)KeQueryPerformanceCounter(NULL).QuadPart;

	if (ns_per_tick)
		return ticks * ns_per_tick;
	return ticks / ticks_per_second * NS + ticks % ticks_per_second * NS / ticks_per_second;
}

static void clock_start(void)
{
	LARGE_INTEGER frequency;

	KeQueryPerformanceCounter(&frequency);
	ticks_per_second = (uint64_t)frequency.QuadPart;
	ns_per_tick = NS % ticks_per_second ? 0 : NS / ticks_per_second;
}

/* ---- Threads ------------------------------------------------------------------------------------------ */

_Use_decl_annotations_ NTSTATUS platform_thread(PKSTART_ROUTINE run, PVOID argument, PVOID *thread)
{
	OBJECT_ATTRIBUTES attributes;
	HANDLE handle;
	NTSTATUS status;

	InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
	status = PsCreateSystemThread(&handle, SYNCHRONIZE, &attributes, NULL, NULL, run, argument);
	if (!NT_SUCCESS(status))
		return status;
	/* Can't fail: the handle is the kernel's own, and new. */
	status = ObReferenceObjectByHandle(handle, SYNCHRONIZE, NULL, KernelMode, thread, NULL);
	winapi_assert(NT_SUCCESS(status));
	ZwClose(handle);
	return status;
}

_Use_decl_annotations_ void platform_join(PVOID thread)
{
	KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL);
	ObDereferenceObject(thread);
}

/* ---- Workers: as many as there are CPUs, at most 4, for the driver's life ----------------------------- */

#define MAX_WORKERS 4u

static struct {
	KSPIN_LOCK lock; /* the queue */
	struct wp_work *first;
	struct wp_work *last;
	KSEMAPHORE more; /* one for each piece of work; without any: the end */
	ULONG count;
	PVOID thread[MAX_WORKERS];
} workers;

static struct wp_work *next_work(void)
{
	struct wp_work *work;
	KIRQL irql;

	KeAcquireSpinLock(&workers.lock, &irql);
	work = workers.first;
	if (work)
		workers.first = work->opaque[0];
	KeReleaseSpinLock(&workers.lock, irql);
	return work;
}

static VOID NTAPI work(PVOID unused)
{
	struct wp_work *next;

	UNREFERENCED_PARAMETER(unused);
	for (;;) {
		KeWaitForSingleObject(&workers.more, Executive, KernelMode, FALSE, NULL);
		next = next_work();
		if (!next)
			break;
		next->run(next);
		assert_passive();
	}
	PsTerminateSystemThread(STATUS_SUCCESS);
}

void wp_work_queue(struct wp_work *item)
{
	KIRQL irql;

	item->opaque[0] = NULL;
	KeAcquireSpinLock(&workers.lock, &irql);
	if (workers.first)
		workers.last->opaque[0] = item;
	else
		workers.first = item;
	workers.last = item;
	KeReleaseSpinLock(&workers.lock, irql);
	KeReleaseSemaphore(&workers.more, IO_NO_INCREMENT, 1, FALSE);
}

static void stop_workers(void)
{
	winapi_assert(!workers.first);
	if (workers.count)
		KeReleaseSemaphore(&workers.more, IO_NO_INCREMENT, (LONG)workers.count, FALSE);
	for (ULONG i = 0; i < workers.count; i++)
		platform_join(workers.thread[i]);
	workers.count = 0;
}

/* One is enough to go on. */
static NTSTATUS start_workers(void)
{
	ULONG cpus = KeQueryActiveProcessorCount(NULL);
	NTSTATUS status = STATUS_SUCCESS;

	KeInitializeSpinLock(&workers.lock);
	KeInitializeSemaphore(&workers.more, 0, MAXLONG);
	while (workers.count < MAX_WORKERS && workers.count < cpus) {
		status = platform_thread(work, NULL, &workers.thread[workers.count]);
		if (!NT_SUCCESS(status))
			break;
		workers.count++;
	}
	return workers.count ? STATUS_SUCCESS : status;
}

/* ---- Begin and end ------------------------------------------------------------------------------------ */

_Use_decl_annotations_ NTSTATUS platform_start(void)
{
	UNICODE_STRING name;

	RtlInitUnicodeString(&name, L"ExAllocatePool2");
	allocate_pool2 = (allocate_pool2_fn *)(ULONG_PTR)MmGetSystemRoutineAddress(&name);
	clock_start();
	return start_workers();
}

_Use_decl_annotations_ void platform_stop(void)
{
	stop_workers();
	winapi_assert(!pool.allocations);
}
