/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * The interface of /dev/winapi, which winapi_client.ko serves: one session with the host for each open
 * file. libwinapi's "vmbus:" transport is its user; docs/uapi.md describes it.
 *
 * An ioctl's size is the size of its struct as the caller knows it. Structs only grow at their end: the
 * driver takes a shorter one as if zeros followed, and refuses a longer one with -E2BIG unless what it
 * doesn't know is zero. No field differs between 32-bit and 64-bit callers. Pointers are __u64, sizes and
 * offsets are bytes, reserved fields are 0 (-EINVAL), timeouts are in milliseconds.
 *
 * Every ioctl may be used by many threads at once. Any answers -ENODEV once the channel is gone (the
 * host took it back, or the driver was unloaded): close the file and open the device again.
 */
#ifndef WINAPI_IOCTL_H
#define WINAPI_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define WINAPI_IOC_TYPE 0xb7

/* Every call waits as long: no timeout. */
#define WINAPI_IOC_NO_TIMEOUT 0xffffffffu

/* What the host said in HELLO, within the bounds of the protocol and of the driver's parameters. */
struct winapi_ioc_info {
	__u32 protocol_version;
	__u32 flags; /* none yet: 0 */
	__u64 features; /* WINAPI_FEATURE_* of the protocol */
	__u32 ring_size; /* bytes of ring data each way */
	__u32 max_in_flight;
	__u32 max_inline;
	__u32 max_buffers_per_call;
	__u32 max_batch;
	__u32 max_buffers; /* of a session */
	__u64 max_buffer_size;
	__u64 max_bytes; /* registered, of a session */
	char provider[32]; /* NUL-terminated */
};

/* A buffer of a call. */
struct winapi_ioc_buffer_ref {
	__u32 id; /* from IOC_ALLOC or IOC_REGISTER; 0: `address` is memory that is pinned for the call */
	__u32 access; /* what the host does: 1 reads, 2 writes, 3 both */
	__u64 address; /* with id 0 */
	__u64 offset; /* into the buffer; 0 with id 0 */
	__u64 length;
};

/* winapi_ioc_call.flags */
#define WINAPI_IOC_CALL_BATCH 0x1u /* the inline data are a BATCH; no buffers, api and method 0 */

/*
 * IOC_CALL sends a request and waits for its reply. 0: the reply came, and `status` (an enum
 * winapi_status, 0 is OK), `out_size`, `host_ns` and the bytes at `out` are what it said. Where
 * out_size is above out_capacity nothing was copied. Otherwise:
 *   -EINVAL, -E2BIG, -ENOENT, -ERANGE, -EACCES   a field, a size, an unknown buffer id, a range past the
 *                                                buffer's end, an access the buffer isn't registered for
 *   -EFAULT, -ENOMEM                             memory that isn't there, can't be written or pinned
 *   -ENOSPC, -EDQUOT                             as for IOC_REGISTER, where plain memory doesn't fit a packet and
 *                                                is registered for the call (which waits for the host, too)
 *   -EOPNOTSUPP  a BATCH, and the host has none
 *   -EAGAIN      O_NONBLOCK, and all calls that the host allows are in flight or the ring is full
 *   -ETIMEDOUT   no reply in time. The host was told to stop; until it answers, the call's buffers stay
 *                in use and it counts as in flight
 *   -EINTR       a signal that kills; otherwise as for -ETIMEDOUT
 */
struct winapi_ioc_call {
	__u64 in;
	__u64 out;
	__u64 buffers; /* struct winapi_ioc_buffer_ref[buffer_count] */
	__u32 in_size;
	__u32 out_capacity;
	__u32 buffer_count;
	__u32 timeout_ms; /* WINAPI_IOC_NO_TIMEOUT, or milliseconds */
	__u32 api;
	__u16 method;
	__u16 flags; /* WINAPI_IOC_CALL_* */
	__u64 user_data; /* IOC_SUBMIT, IOC_CANCEL */
	/* results of IOC_CALL */
	__u32 status;
	__u32 out_size;
	__u64 host_ns;
};

/*
 * IOC_SUBMIT starts calls whose ends are read() from the file; `out` is unused, out_capacity says how much
 * room the caller has. Returns how many were started, or the error of the first; it never waits for a
 * call to end, but starts fewer (-EAGAIN: none), as it does when max_in_flight records are unread. For
 * room in the ring, which comes without any call's end, it waits unless O_NONBLOCK is set. The host is signalled
 * when the ring was empty, so once for a row of calls that it doesn't take meanwhile.
 */
struct winapi_ioc_submit {
	__u64 calls; /* array of struct winapi_ioc_call, call_size bytes apart */
	__u32 count;
	__u32 call_size; /* sizeof(struct winapi_ioc_call) */
};

/*
 * read() takes whole records: this, then out_size bytes padded with zeros to a multiple of 8. As many as fit;
 * -EINVAL when not even the first does. Without records it waits, or answers -EAGAIN with
 * O_NONBLOCK; poll() says when there are some. 0: the channel is gone and everything was read. `result`
 * is 0 when a reply came, -EMSGSIZE when its data passed out_capacity (out_size says how much; no data follow),
 * -ETIMEDOUT, -ECANCELED or -ENODEV when none will.
 */
struct winapi_ioc_completion {
	__u64 user_data;
	__s32 result;
	__u32 status;
	__u32 out_size;
	__u32 reserved;
	__u64 host_ns;
};

/*
 * IOC_CANCEL: 0, the host was asked; the call still ends in its one record. -ENOENT: no such call; -EOPNOTSUPP: the
 * host can't.
 */
struct winapi_ioc_cancel {
	__u64 user_data;
};

/*
 * IOC_ALLOC: `length` bytes of zeroed memory of the driver's, shared with the host. mmap() the file at
 * `map_offset` for `map_size` bytes (whole pages, MAP_SHARED) to reach it. Mappings keep the memory, not
 * the sharing. -E2BIG: above max_buffer_size; -ENOSPC: over max_buffers or max_bytes; -EDQUOT: the host shares no
 * more (IOC_STATS says how much it does); -ETIMEDOUT: the host doesn't answer (the memory comes back when it does);
 * -EINTR: a signal that kills.
 */
struct winapi_ioc_alloc {
	__u64 length;
	__u32 access;
	__u32 id; /* result, never 0 */
	__u64 map_offset; /* result */
	__u64 map_size; /* result */
};

/*
 * IOC_REGISTER: the caller's own writable memory, pinned (long-term, counted against RLIMIT_MEMLOCK) and shared
 * as it is. -EFAULT: not mapped, or not writable by the caller (use IOC_ALLOC); -ENOMEM: over RLIMIT_MEMLOCK;
 * the rest as for IOC_ALLOC.
 */
struct winapi_ioc_register {
	__u64 address;
	__u64 length;
	__u32 access;
	__u32 id; /* result, never 0 */
};

/*
 * IOC_FREE: the host lets go, then the pages do. -EBUSY: a call in flight uses it; -ENOENT: unknown id. 0 comes when
 * that has happened, or after a while without the host's answer: then the pages stay pinned until it comes.
 */
struct winapi_ioc_free {
	__u32 id;
	__u32 reserved;
};

/*
 * IOC_SHUTDOWN (no argument): calls in flight on this file end with -ECANCELED, in IOC_CALL and in records,
 * and any ioctl after it answers -ECANCELED. For a process whose threads must leave before it closes.
 */

/* IOC_STATS: counters since the file was opened (session) and since the channel was (device). */
struct winapi_ioc_stats {
	__u64 calls; /* session: requests sent, a batch counted once */
	__u64 replies; /* session */
	__u64 timeouts; /* session */
	__u64 buffers; /* session, now */
	__u64 buffer_bytes; /* session, now */
	__u64 bad_replies; /* device: dropped, as no request in flight fits them */
	__u64 signals; /* device: to the host */
	__u64 interrupts; /* device: channel callbacks */
	__u64 sleeps; /* device: waits that didn't end while polling */
	__u64 pages_pinned; /* device: so far, for calls and for registered memory */
	__u64 gpa_direct; /* device: packets with a page range */
	__u64 bytes_copied; /* device: of buffers, by the driver. 0: nothing bounces */
};

#define WINAPI_IOC_INFO _IOR(WINAPI_IOC_TYPE, 0, struct winapi_ioc_info)
#define WINAPI_IOC_CALL _IOWR(WINAPI_IOC_TYPE, 1, struct winapi_ioc_call)
#define WINAPI_IOC_SUBMIT _IOW(WINAPI_IOC_TYPE, 2, struct winapi_ioc_submit)
#define WINAPI_IOC_CANCEL _IOW(WINAPI_IOC_TYPE, 3, struct winapi_ioc_cancel)
#define WINAPI_IOC_ALLOC _IOWR(WINAPI_IOC_TYPE, 4, struct winapi_ioc_alloc)
#define WINAPI_IOC_REGISTER _IOWR(WINAPI_IOC_TYPE, 5, struct winapi_ioc_register)
#define WINAPI_IOC_FREE _IOW(WINAPI_IOC_TYPE, 6, struct winapi_ioc_free)
#define WINAPI_IOC_STATS _IOR(WINAPI_IOC_TYPE, 7, struct winapi_ioc_stats)
#define WINAPI_IOC_SHUTDOWN _IO(WINAPI_IOC_TYPE, 8)

#endif /* WINAPI_IOCTL_H */
