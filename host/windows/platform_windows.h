/* SPDX-License-Identifier: MIT */
/* What the driver, beside the provider core, has of its platform: host/provider/platform.h for the rest. */
#ifndef WINAPI_PLATFORM_WINDOWS_H
#define WINAPI_PLATFORM_WINDOWS_H

#include "driver.h"

_IRQL_requires_max_(PASSIVE_LEVEL) NTSTATUS platform_start(void);
/* Everything that wp_alloc gave must be back, and no work queued. */
_IRQL_requires_max_(PASSIVE_LEVEL) void platform_stop(void);

/* A system thread. Each that was started must be joined, or it could outlive the driver's code. */
_IRQL_requires_max_(PASSIVE_LEVEL) NTSTATUS
	platform_thread(_In_ PKSTART_ROUTINE run, _In_opt_ PVOID argument, _Outptr_ PVOID *thread);
_IRQL_requires_max_(PASSIVE_LEVEL) void platform_join(_In_ PVOID thread);

/* Of wp_alloc, now; failures since the driver was loaded. */
struct platform_pool {
	uint64_t allocations;
	uint64_t bytes;
	uint64_t failures;
};
void platform_pool(_Out_ struct platform_pool *pool);

#endif /* WINAPI_PLATFORM_WINDOWS_H */
