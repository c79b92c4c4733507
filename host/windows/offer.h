/* SPDX-License-Identifier: MIT */
/*
 * Offers: what the control device makes and withdraws, each with an endpoint and a thread that ends it.
 *
 * Ending takes as long as the guest takes to leave, so nobody else waits for it but a WITHDRAW that was asked to,
 * and the driver's unload.
 */
#ifndef WINAPI_OFFER_H
#define WINAPI_OFFER_H

#include "driver.h"

void offers_start(void);
/* Withdraws all and waits until they are gone. */
_IRQL_requires_max_(PASSIVE_LEVEL) void offers_stop(void);

/* In the context of the process that owns request->vmbus_handle. */
_IRQL_requires_max_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS
	offer_make(_In_ const struct winapi_offer_request *request, _In_ PFILE_OBJECT owner,
		   _Out_ struct winapi_offer_reply *reply);
/* STATUS_PENDING: the IRP will be completed. Any other: it is still the caller's. */
_IRQL_requires_max_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS offer_withdraw(uint64_t id, _In_ PIRP irp);
/* A handle of the control device was closed: ends its waits, and withdraws what was to go with it. */
_IRQL_requires_max_(PASSIVE_LEVEL) void offers_let_go(_In_ PFILE_OBJECT owner);

/* As many entries as fit into `room` bytes, behind the head, which must fit. Bytes used. */
_IRQL_requires_max_(PASSIVE_LEVEL) ULONG
	offers_list(_Out_writes_bytes_(room) struct winapi_channel_list *list, ULONG room);
/* The fields that count offers, channels and packets. */
_IRQL_requires_max_(PASSIVE_LEVEL) void offers_count(_Inout_ struct winapi_driver_stats *stats);

#endif /* WINAPI_OFFER_H */
