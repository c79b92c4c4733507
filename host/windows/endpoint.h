/* SPDX-License-Identifier: MIT */
/*
 * An offer's endpoint: a KMCL channel on one side, a channel of the provider core on the other.
 *
 * KMCL opens and closes it, hands it packets, one at a time, and gets each back. A guest that breaks the
 * protocol is cut off at once; the owner sees `failed` signalled and revokes the offer.
 */
#ifndef WINAPI_ENDPOINT_H
#define WINAPI_ENDPOINT_H

#include "driver.h"

struct packet;
struct gpadl;

/* Each is counted by one thread at a time, and read by any. */
struct endpoint_counters {
	uint64_t opens;
	uint64_t packets;
	uint64_t external_packets;
	uint64_t external_pending;
	uint64_t deferred;
	uint64_t stalled;
	uint64_t malformed;
	uint64_t completed; /* of packets */
	uint64_t external_completed;
	uint64_t gpadls_mapped;
	uint64_t gpadls_unmapped;
};

struct endpoint {
	uint64_t id; /* the offer's, for the trace */
	struct kmcl_channel *channel;
	uint32_t open; /* atomic: the guest has it open */
	KEVENT failed; /* the guest broke the protocol, or there was no memory for it */
	KEVENT resume; /* the core has a free slot again */
	KEVENT closed; /* the core is done with the guest's memory */
	struct endpoint_counters counters;

	/* KMCL's callbacks alone, which come one at a time (checked builds look): */
#if WINAPI_CHECKED
	LONG inside;
#endif
	struct wp_channel *core; /* NULL: not open */
	bool broken;
	struct packet *spare; /* free packets */

	PVOID volatile given_back; /* packets, atomic: completions come from any thread */
	struct wp_lock lock; /* the list, which the end of any call changes */
	struct gpadl *gpadls;
};

/* Readies the channel, all but the offer. `endpoint` is zeroed; `vmbus`, a kernel handle, says to which VM it goes. */
_IRQL_requires_max_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS
	endpoint_create(_Inout_ struct endpoint *endpoint, uint64_t id, _In_ HANDLE vmbus,
			_In_ const GUID *instance);
/* Makes the offer: from now on the guest may open. */
_IRQL_requires_max_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS
	endpoint_offer(_Inout_ struct endpoint *endpoint);
/* Takes it back. Returns when the guest is out of it, which may take as long as the guest likes. */
_IRQL_requires_max_(PASSIVE_LEVEL) void endpoint_revoke(_Inout_ struct endpoint *endpoint);
_IRQL_requires_max_(PASSIVE_LEVEL) void endpoint_destroy(_Inout_ struct endpoint *endpoint);

#endif /* WINAPI_ENDPOINT_H */
