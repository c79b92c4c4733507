/* SPDX-License-Identifier: MIT */
/*
 * KMCL by static import from vmbkmclr.sys, as drivers that come with Windows do it. That isn't documented for
 * others: this is how tests and lab machines bind; bind_query.c is the documented way.
 */
#include "driver.h"

#ifndef WINAPI_KMCL_ASSUMED
#error "this binds with a value that Microsoft hasn't published: for tests only, build bind_query.c instead"
#endif

#define KMCL_IMPORT(returns, name, arguments) __declspec(dllimport) returns NTAPI name arguments;
#define KMCL_NOTHING(name)
KMCL_CLIENT_METHODS(KMCL_IMPORT, KMCL_NOTHING)
KMCL_SERVER_METHODS(KMCL_IMPORT, KMCL_NOTHING)

struct kmcl_interface kmcl;

_Use_decl_annotations_ NTSTATUS kmcl_bind(PUNICODE_STRING service_key)
{
	UNREFERENCED_PARAMETER(service_key);
#define KMCL_FILL(returns, name, arguments) kmcl.name = name;
	KMCL_CLIENT_METHODS(KMCL_FILL, KMCL_NOTHING)
	KMCL_SERVER_METHODS(KMCL_FILL, KMCL_NOTHING)
	return STATUS_SUCCESS;
}

_Use_decl_annotations_ void kmcl_unbind(void)
{
}

_Use_decl_annotations_ void kmcl_state_callbacks_init(struct kmcl_state_callbacks *callbacks)
{
	memset(callbacks, 0, sizeof(*callbacks));
	callbacks->version = KMCL_ASSUMED_STATE_CALLBACKS_VERSION;
	callbacks->size = sizeof(*callbacks);
}
