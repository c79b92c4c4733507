/* SPDX-License-Identifier: MIT */
/*
 * What the files of winapi_remoting.sys share.
 *
 * Threads. The control device's requests run in their callers' contexts. Each offer has a thread of its own
 * (offer.c) that ends it. KMCL calls an offer's endpoint (endpoint.c) on threads of KMCL's. Workers
 * (platform_windows.c) run what the provider core gives them. All of it runs at PASSIVE_LEVEL but under the spin
 * locks: offers.lock in offer.c, an endpoint's lock, the core's.
 */
#ifndef WINAPI_DRIVER_H
#define WINAPI_DRIVER_H

#include <ntddk.h>

#include "../provider/provider.h"
#include "ioctl.h"
#include "kmcl.h"

/* Names that newer headers have. */
#ifndef MdlMappingNoExecute
#define MdlMappingNoExecute 0x40000000
#endif
#ifndef _Dispatch_type_
#define _Dispatch_type_(major)
#endif

#define WINAPI_POOL_TAG ((ULONG)'P' << 24 | 'A' << 16 | 'W' << 8 | 'R') /* "RWAP" in a dump */

/* ---- Assertions: checked builds stop at once, so that a dump shows the cause ----------------------- */

#if WINAPI_CHECKED
__declspec(noreturn) void assertion_failed(const char *expression, const char *file, ULONG line);
#define winapi_assert(expression) ((expression) ? (void)0 : assertion_failed(#expression, __FILE__, __LINE__))
#else
#define winapi_assert(expression) ((void)0)
#endif
#define assert_passive() winapi_assert(KeGetCurrentIrql() == PASSIVE_LEVEL)
#define assert_irql_max(level) winapi_assert(KeGetCurrentIrql() <= (level))

/* ---- The driver ------------------------------------------------------------------------------------ */

/* From the registry: the service's key, Parameters. Zero: the default. */
struct parameters {
	struct wp_limits limits;
	/* KMCL hands out packets at DISPATCH_LEVEL if it likes; they are sent round to PASSIVE_LEVEL. */
	BOOLEAN incoming_at_dispatch;
};

struct driver {
	PDEVICE_OBJECT device;
	struct wp_provider *provider;
	struct parameters parameters;
};
extern struct driver winapi_driver;

/* KMCL's methods: filled by kmcl_bind, from whichever bind_*.c is built in. */
extern struct kmcl_interface kmcl;
_IRQL_requires_max_(PASSIVE_LEVEL) NTSTATUS kmcl_bind(_In_ PUNICODE_STRING service_key);
_IRQL_requires_max_(PASSIVE_LEVEL) void kmcl_unbind(void);
/* All zero but for what KMCL wants to see in every such structure. */
void kmcl_state_callbacks_init(_Out_ struct kmcl_state_callbacks *callbacks);

/* The key, the caller's to close, or NULL. */
_IRQL_requires_max_(PASSIVE_LEVEL) HANDLE parameters_open(_In_ PUNICODE_STRING service_key);
_IRQL_requires_max_(PASSIVE_LEVEL) void parameters_read(_In_ PUNICODE_STRING service_key,
							_Out_ struct parameters *parameters);

/* Nobody but SYSTEM and administrators may open the device. */
_IRQL_requires_max_(PASSIVE_LEVEL) NTSTATUS device_secure(_In_ PDEVICE_OBJECT device);

/* The major functions of the control device. */
_IRQL_requires_max_(PASSIVE_LEVEL) void control_register(_Inout_ PDRIVER_OBJECT driver);

#endif /* WINAPI_DRIVER_H */
