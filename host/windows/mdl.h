/* SPDX-License-Identifier: MIT */
/* Guest memory as KMCL gives it, chains of locked MDLs without an address, as segments for the provider core. */
#ifndef WINAPI_MDL_H
#define WINAPI_MDL_H

#include "driver.h"

_IRQL_requires_max_(DISPATCH_LEVEL) uint32_t mdl_count(_In_opt_ PMDL chain);
/* Gives each of `count` MDLs a system address: no byte is copied. False: none has one, for lack of room. */
_IRQL_requires_max_(DISPATCH_LEVEL) _Must_inspect_result_
	bool mdl_map(_In_ PMDL chain, uint32_t count, _Out_writes_(count) struct wp_segment *segment);
_IRQL_requires_max_(DISPATCH_LEVEL) void mdl_unmap(_In_opt_ PMDL chain, uint32_t count);

#endif /* WINAPI_MDL_H */
