/* SPDX-License-Identifier: MIT */
/*
 * The control device of winapi_remoting.sys, \\.\WinApiRemoting. Only SYSTEM and administrators may open
 * it. All calls are METHOD_BUFFERED; input must have exactly the size given here, output at least.
 *
 * Include after windows.h and winioctl.h, or ntddk.h.
 */
#ifndef WINAPI_WINDOWS_IOCTL_H
#define WINAPI_WINDOWS_IOCTL_H

#include <stdint.h>

#include "../../common/protocol.h"

#define WINAPI_DEVICE_NAME L"\\\\.\\WinApiRemoting"
#define WINAPI_DEVICE_TYPE 0xa2b7u /* 0x8000 and up are for vendors */

#define WINAPI_IOCTL(number, access) CTL_CODE(WINAPI_DEVICE_TYPE, number, METHOD_BUFFERED, access)
/* winapi_offer_request -> winapi_offer_reply */
#define WINAPI_IOCTL_OFFER WINAPI_IOCTL(0x800, FILE_READ_ACCESS | FILE_WRITE_ACCESS)
/* winapi_withdraw_request -> nothing */
#define WINAPI_IOCTL_WITHDRAW WINAPI_IOCTL(0x801, FILE_READ_ACCESS | FILE_WRITE_ACCESS)
/* nothing -> winapi_driver_stats */
#define WINAPI_IOCTL_STATS WINAPI_IOCTL(0x802, FILE_READ_ACCESS)
/* nothing -> winapi_channel_list */
#define WINAPI_IOCTL_LIST WINAPI_IOCTL(0x803, FILE_READ_ACCESS)

/* The offer outlives the handle it was made through; else closing that withdraws it. */
#define WINAPI_OFFER_KEEP 0x1u

/*
 * Offers the device to a VM. `vmbus_handle` is a VMBus handle of that VM in the calling process, which the
 * driver hands to KMCL and never looks into; it may be closed once the call has returned. `instance` is
 * the offer's instance GUID, as in memory; all zero: the driver makes one.
 *
 * Errors: STATUS_INVALID_PARAMETER (flags, reserved), STATUS_INVALID_HANDLE, STATUS_QUOTA_EXCEEDED (too
 * many offers), STATUS_INSUFFICIENT_RESOURCES, and what KMCL says.
 */
struct winapi_offer_request {
	uint64_t vmbus_handle;
	uint32_t flags; /* WINAPI_OFFER_* */
	uint32_t reserved; /* 0 */
	uint8_t instance[16];
};
WINAPI_ASSERT_SIZE(struct winapi_offer_request, 32);

struct winapi_offer_reply {
	uint64_t id; /* names the offer from now on; never 0, never used again */
	uint8_t instance[16];
};
WINAPI_ASSERT_SIZE(struct winapi_offer_reply, 24);

/*
 * Takes an offer back. Ends when the guest is out of it, which may take long, so the request can be
 * pending; cancelling it (or closing the handle) ends the wait, not the withdrawal.
 * STATUS_NOT_FOUND: no such offer; STATUS_DEVICE_BUSY: it is being withdrawn already.
 */
struct winapi_withdraw_request {
	uint64_t id;
};
WINAPI_ASSERT_SIZE(struct winapi_withdraw_request, 8);

enum winapi_channel_state {
	WINAPI_CHANNEL_OFFERED = 1, /* the guest hasn't opened it */
	WINAPI_CHANNEL_OPEN = 2,
	WINAPI_CHANNEL_FAILED = 3, /* the guest broke the protocol: revoked, waits to be withdrawn */
	WINAPI_CHANNEL_WITHDRAWN = 4, /* on its way out */
};

struct winapi_channel_entry {
	uint64_t id;
	uint8_t instance[16];
	uint32_t state; /* enum winapi_channel_state */
	uint32_t flags; /* WINAPI_OFFER_* */
	uint64_t opens; /* how many times the guest opened it */
	uint64_t packets; /* taken, since it was offered */
	uint64_t in_flight; /* packets not completed */
	uint64_t gpadls; /* mapped now */
};
WINAPI_ASSERT_SIZE(struct winapi_channel_entry, 64);

/* STATUS_BUFFER_TOO_SMALL unless the head fits; then as many entries as fit, oldest first. */
struct winapi_channel_list {
	uint32_t total; /* offers there are */
	uint32_t count; /* entries that follow */
	struct winapi_channel_entry entry[];
};

/* Since the driver was loaded, unless it says "now". */
struct winapi_driver_stats {
	struct winapi_provider_stats provider; /* its channel_* fields are sums over all channels */
	uint64_t offers; /* made */
	uint64_t offers_now;
	uint64_t opens;
	uint64_t packets; /* handed to the provider core */
	uint64_t external_packets; /* of those, with pages of their own */
	uint64_t external_pending; /* external data that wasn't there at the first asking */
	uint64_t deferred; /* packets that came at DISPATCH_LEVEL and were sent round */
	uint64_t stalled; /* packets that waited for a request slot */
	uint64_t malformed; /* packets that ended their channel */
	uint64_t gpadls_now; /* mapped */
	uint64_t externals_now; /* packets whose pages are mapped */
	uint64_t pool_allocations_now;
	uint64_t pool_bytes_now;
	uint64_t pool_failures;
	uint64_t reserved[2]; /* 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_driver_stats, 224);

#endif /* WINAPI_WINDOWS_IOCTL_H */
