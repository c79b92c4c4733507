/* SPDX-License-Identifier: MIT */
/*
 * libwinapi: call APIs of the Windows host from a Linux guest.
 *
 * Errors: functions return 0 (or a count) on success and a negative errno on failure; errno itself isn't
 * part of it and may have any value afterwards. winapi_error_message() has a sentence about the calling thread's last failure.
 *
 * Threads: any function may be called from any thread, many at a time on one handle, unless its
 * comment says otherwise. A handle isn't usable in a child after fork(): every function that needs the
 * host answers -ECHILD there; winapi_close frees what the child inherited. Shared memory isn't mapped there.
 *
 * Structs that may grow begin with `size`; set it to sizeof(the struct). Fields that an older library
 * doesn't know must be zero, else -E2BIG; those that a newer library fills in for an older program stay
 * unwritten. struct winapi_call comes in arrays, so it doesn't grow: its `size` is checked and nothing more.
 * The macros WINAPI_*_INIT set all this.
 *
 * Units: sizes in bytes, durations in ns unless the name says ms.
 */
#ifndef WINAPI_H
#define WINAPI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(WINAPI_BUILDING) && defined(__GNUC__)
#define WINAPI_PUBLIC __attribute__((visibility("default")))
#else
#define WINAPI_PUBLIC
#endif

#define WINAPI_LIBRARY_VERSION "0.1.0"

/* Bounds of the protocol. A host may have tighter ones: see winapi_get_info. */
#define WINAPI_INLINE_MAX 3072u /* bytes of input, and of output, of one call */
#define WINAPI_BUFFERS_MAX 8u /* buffers of one call */
#define WINAPI_BUFFER_SIZE_MAX (64ull << 20) /* bytes of one buffer */

#define WINAPI_TIMEOUT_DEFAULT 0u /* what the handle was opened with */
#define WINAPI_TIMEOUT_INFINITE UINT32_MAX

struct winapi; /* a connection to a host */
struct winapi_buffer; /* memory shared with it */

/* ---- Opening --------------------------------------------------------------------------------------- */

enum winapi_poll {
	/* Poll for as long as recent replies took, then sleep; of long calls that take alike, poll for the end. */
	WINAPI_POLL_ADAPTIVE = 0,
	WINAPI_POLL_ALWAYS = 1, /* burn a CPU, never sleep */
	WINAPI_POLL_NEVER = 2, /* always sleep */
};

struct winapi_open_options {
	size_t size;
	/* "local:" only; a driver has rings of its own and waits as its parameters say: */
	uint32_t poll; /* enum winapi_poll, for this side; a private host gets the same */
	uint32_t ring_size; /* bytes of ring data each way, a power of two from 4 KiB to 1 MiB; 0: 64 KiB */
	uint32_t timeout_ms; /* what WINAPI_TIMEOUT_DEFAULT means on this handle; 0: 30,000 */
	uint32_t reserved; /* 0 */
};
#define WINAPI_OPEN_OPTIONS_INIT \
	{ \
		sizeof(struct winapi_open_options), 0, 0, 0, 0 \
	}

/*
 * Opens a connection. `uri`:
 *   NULL or ""      /dev/winapi if it exists, else as "local:"
 *   "local:"        a private host process, started for this handle and gone with it
 *   "local:PATH"    the winapi-hostd that listens on the Unix socket PATH
 *   "vmbus:"        /dev/winapi
 * `options` may be NULL. A /dev/winapi that exists but can't be opened is an error, not a fallback.
 *
 * -EINVAL: bad URI or options. -ENOENT, -ECONNREFUSED, -EACCES: no host there. -EPROTONOSUPPORT: no
 * version in common. -EOPNOTSUPP: this build has no such transport. -ETIMEDOUT: the host is silent.
 */
WINAPI_PUBLIC int winapi_open(struct winapi **handle, const char *uri,
			      const struct winapi_open_options *options);

/*
 * Ends the handle: calls in flight end with -ECANCELED, buffers are taken back from the host and then
 * freed, also those that winapi_buffer_free was never called for. Other threads may still be inside
 * functions on the handle; they return -ECANCELED, but no new call may begin. Once it has returned no
 * submitted call's memory is touched any more. NULL is ignored.
 */
WINAPI_PUBLIC void winapi_close(struct winapi *handle);

/* winapi_info.flags */
#define WINAPI_INFO_BOUNCES 0x1u /* winapi_buffer_register copies on this transport */

struct winapi_info {
	size_t size;
	char transport[16]; /* "local", "vmbus" */
	char provider[32]; /* the host's name and version */
	uint32_t protocol_version;
	uint32_t flags; /* WINAPI_INFO_* */
	uint64_t features; /* WINAPI_FEATURE_* of common/protocol.h */
	uint32_t ring_size; /* bytes of ring data each way */
	uint32_t max_in_flight;
	uint32_t max_inline;
	uint32_t max_buffers_per_call;
	uint32_t max_batch;
	uint32_t max_buffers;
	uint64_t max_buffer_size;
	uint64_t max_bytes; /* registered in this session */
};
WINAPI_PUBLIC int winapi_get_info(struct winapi *handle, struct winapi_info *info);

/* ---- Buffers --------------------------------------------------------------------------------------- */

/* Access, as seen from the host. VMBus knows no direction: see docs/security.md. */
#define WINAPI_HOST_READS 0x1u
#define WINAPI_HOST_WRITES 0x2u

/*
 * Allocates zeroed, page-aligned memory and shares it with the host: the fast path. The memory is the
 * library's and lives until winapi_buffer_free or winapi_close.
 * -EINVAL: length 0 or access 0. -E2BIG: above max_buffer_size. -ENOSPC: over a limit of the session.
 * -ENOMEM: no memory here or there.
 */
WINAPI_PUBLIC int winapi_buffer_alloc(struct winapi *handle, size_t length, uint32_t access,
				      struct winapi_buffer **buffer);

/*
 * Shares memory of the application's, which must stay mapped until winapi_buffer_free. On "vmbus:"
 * its pages are pinned and shared as they are (-ENOMEM over RLIMIT_MEMLOCK). On "local:" it is copied
 * on every call, by direction, once each way; WINAPI_BUFFER_BOUNCED says so.
 */
WINAPI_PUBLIC int winapi_buffer_register(struct winapi *handle, void *address, size_t length, uint32_t access,
					 struct winapi_buffer **buffer);

/*
 * Takes the buffer back from the host and frees it; for registered memory, the application's again.
 * 0, also when the host is gone: the object is no more. Otherwise it is still there, to be freed again
 * or by winapi_close: -EBUSY: a call in flight uses it (also one that timed out here and is still
 * unanswered). -ETIMEDOUT: the host didn't say in the handle's time that it is done. -EAGAIN: too much
 * is being asked of the host at once. -ECHILD, -ECANCELED: not in a child, not while it is being closed.
 */
WINAPI_PUBLIC int winapi_buffer_free(struct winapi_buffer *buffer);

WINAPI_PUBLIC void *winapi_buffer_data(const struct winapi_buffer *buffer);

/* winapi_buffer_info.flags */
#define WINAPI_BUFFER_BOUNCED 0x1u /* every call copies what it uses of this buffer */

struct winapi_buffer_info {
	size_t size;
	uint64_t length;
	uint32_t access;
	uint32_t flags; /* WINAPI_BUFFER_* */
};
WINAPI_PUBLIC int winapi_buffer_get_info(const struct winapi_buffer *buffer, struct winapi_buffer_info *info);

/* A buffer of a call: a piece of a shared buffer, or plain memory that is shared for the call only. */
struct winapi_buffer_ref {
	struct winapi_buffer *buffer; /* NULL: `address` is plain memory of the application's */
	void *address; /* with `buffer` NULL */
	uint64_t offset; /* into `buffer`; 0 without one */
	uint64_t length;
	uint32_t access; /* WINAPI_HOST_*: what the host does in this call */
	uint32_t reserved; /* 0 */
};

/* ---- Calls ----------------------------------------------------------------------------------------- */

struct winapi_call {
	size_t size;
	uint32_t api;
	uint16_t method;
	uint16_t reserved; /* 0 */
	const void *in; /* inline input, copied before the function returns; may be NULL with in_size 0 */
	uint32_t in_size; /* <= WINAPI_INLINE_MAX */
	uint32_t out_capacity;
	void *out; /* inline output; for winapi_submit valid until the completion is taken */
	const struct winapi_buffer_ref *buffers;
	uint32_t buffer_count; /* <= WINAPI_BUFFERS_MAX */
	uint32_t timeout_ms; /* WINAPI_TIMEOUT_*, or milliseconds */
	uint64_t user_data; /* winapi_submit, winapi_cancel: yours, unique among calls in flight */
	/* results of winapi_call */
	uint32_t out_size; /* bytes written to out */
	uint32_t status; /* enum winapi_status of common/status.h, 0 when the host didn't answer */
	uint64_t host_ns; /* from receipt to reply, by the host's clock */
};
#define WINAPI_CALL_INIT \
	{ \
		sizeof(struct winapi_call), 0, 0, 0, NULL, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0 \
	}

/*
 * Calls and waits. 0, or the negative errno of what went wrong; where the host refused, call->status
 * has its exact word. -EMSGSIZE: the output is larger than out_capacity (out_size says how large;
 * nothing was copied). -ETIMEDOUT: the call ended here, but if it was sent its buffers stay in use until
 * the host's word comes. -EAGAIN: too many calls in flight. -ENODEV: the host is gone.
 */
WINAPI_PUBLIC int winapi_call(struct winapi *handle, struct winapi_call *call);

struct winapi_completion {
	uint64_t user_data;
	int32_t result; /* as winapi_call returns */
	uint32_t status;
	uint32_t out_size;
	uint32_t reserved;
	uint64_t host_ns;
};

/*
 * Starts `count` calls, and signals the host only where it sleeps. The number started (fewer than count
 * when a limit or an error stopped it there), or a negative errno when not even the first was. Every
 * started call ends in exactly one completion. Sharing plain memory and waiting for room count against
 * the timeout of the call concerned: -ETIMEDOUT.
 */
WINAPI_PUBLIC int winapi_submit(struct winapi *handle, const struct winapi_call *calls, unsigned int count);

/*
 * Takes up to `max` completions, of any thread's submissions. Waits up to timeout_ms (0: not at all,
 * WINAPI_TIMEOUT_INFINITE: for ever) for the first, also when no call is in flight: another thread may
 * submit one. The number taken; 0 when there was none in time; -ENODEV when the host is gone and all
 * completions have been taken; -ECANCELED when the handle is being closed.
 */
WINAPI_PUBLIC int winapi_complete(struct winapi *handle, struct winapi_completion *completions,
				  unsigned int max, uint32_t timeout_ms);

/*
 * A descriptor that polls readable (POLLIN) when winapi_complete may find something: wait on it only
 * after winapi_complete(timeout 0) has returned 0. The handle's: don't read or close it.
 */
WINAPI_PUBLIC int winapi_fd(struct winapi *handle);

/*
 * Asks the host to cancel a submitted call. 0: asked (the call still ends in its one completion,
 * perhaps too late to be cancelled). -ENOENT: no such call in flight. -EOPNOTSUPP: the host can't cancel.
 * -EAGAIN, -ETIMEDOUT: the host couldn't be asked in time.
 */
WINAPI_PUBLIC int winapi_cancel(struct winapi *handle, uint64_t user_data);

/* A member of a batch: a call without buffers to an API that allows it. */
struct winapi_batch_item {
	uint32_t api;
	uint16_t method;
	uint16_t reserved; /* 0 */
	const void *in;
	void *out;
	uint32_t in_size;
	uint32_t out_capacity;
	/* results */
	uint32_t out_size;
	uint32_t status;
	int32_t result;
	uint32_t reserved2;
};

/*
 * Calls all items, in one packet where they fit and in few where not, and waits for all. 0 when every
 * item was answered (see its result), else the negative errno of the packet that failed first; the
 * items behind it have that result too.
 */
WINAPI_PUBLIC int winapi_batch(struct winapi *handle, struct winapi_batch_item *items, unsigned int count,
			       uint32_t timeout_ms);

/* ---- The host's APIs ------------------------------------------------------------------------------- */

struct winapi_api_info {
	uint32_t id;
	uint16_t version;
	uint16_t methods;
	uint32_t flags; /* WINAPI_API_* of common/protocol.h */
	uint32_t reserved;
	uint64_t inline_work;
	uint64_t calls;
	uint64_t errors;
	uint64_t bytes;
	uint64_t host_ns;
	char name[32];
};
/* Fills up to `max` entries in order of id; the number that the host has, or a negative errno. */
WINAPI_PUBLIC int winapi_list_apis(struct winapi *handle, struct winapi_api_info *apis, unsigned int max);

/* Echo: `out` (as large as `in`) gets the same bytes back. */
WINAPI_PUBLIC int winapi_echo(struct winapi *handle, const void *in, void *out, uint32_t size);

/* Buffer test, over 1 to 8 buffers; results[i] belongs to buffers[i]. */
WINAPI_PUBLIC int winapi_buffer_test_read(struct winapi *handle, const struct winapi_buffer_ref *buffers,
					  unsigned int count, uint32_t *crc32c);
WINAPI_PUBLIC int winapi_buffer_test_write(struct winapi *handle, const struct winapi_buffer_ref *buffers,
					   unsigned int count, uint64_t seed);
/* first_bad[i]: offset of the first wrong byte, or UINT64_MAX. */
WINAPI_PUBLIC int winapi_buffer_test_verify(struct winapi *handle, const struct winapi_buffer_ref *buffers,
					    unsigned int count, uint64_t seed, uint64_t *first_bad);

/* The same checksum and pattern, computed here: to prepare and check buffers. */
WINAPI_PUBLIC uint32_t winapi_crc32c(const void *data, size_t size);
WINAPI_PUBLIC void winapi_pattern_fill(void *data, size_t size, uint64_t seed);
WINAPI_PUBLIC uint64_t winapi_pattern_verify(const void *data, size_t size, uint64_t seed);

/* Perf test: one round trip of `size` bytes inline; all three in ns. */
struct winapi_latency {
	uint64_t round_trip_ns; /* by the guest's clock, around the call */
	uint64_t host_ns; /* from the host's receive stamp to its send stamp */
};
WINAPI_PUBLIC int winapi_perf_latency(struct winapi *handle, uint32_t size, struct winapi_latency *latency);

enum winapi_perf_mode {
	WINAPI_PERF_MODE_READ = 0,
	WINAPI_PERF_MODE_WRITE = 1,
	WINAPI_PERF_MODE_COPY = 2, /* buffer 0 to 1, 2 to 3, ... */
};
#define WINAPI_PERF_HISTOGRAM 256u
struct winapi_throughput {
	uint64_t bytes;
	uint64_t host_ns;
	/* passes by duration: bucket d for d < 8 ns, else 8 * (log2(d) - 2) + the next three bits */
	uint32_t histogram[WINAPI_PERF_HISTOGRAM];
};
WINAPI_PUBLIC int winapi_perf_throughput(struct winapi *handle, enum winapi_perf_mode mode,
					 uint32_t iterations, const struct winapi_buffer_ref *buffers,
					 unsigned int count, struct winapi_throughput *result);

/* ---- Statistics and words -------------------------------------------------------------------------- */

struct winapi_stats {
	size_t size;
	/* this handle */
	uint64_t calls; /* requests sent, a batch counted once */
	uint64_t replies;
	uint64_t bad_replies; /* dropped: unknown id, wrong length, type or session */
	uint64_t timeouts;
	uint64_t signals_sent;
	uint64_t sleeps; /* waits that ended up in the kernel */
	uint64_t bytes_bounced; /* copied for buffers that the transport can't share */
	uint64_t buffers; /* now */
	uint64_t buffer_bytes; /* now */
	/* the host: winapi_provider_stats of common/protocol.h */
	uint64_t host_requests;
	uint64_t host_replies;
	uint64_t host_errors;
	uint64_t host_in_flight;
	uint64_t host_replies_queued;
	uint64_t host_buffers;
	uint64_t host_bytes;
	uint64_t host_bytes_copied;
	uint64_t provider_channels;
	uint64_t provider_sessions;
	uint64_t provider_buffers;
	uint64_t provider_bytes;
};
WINAPI_PUBLIC int winapi_get_stats(struct winapi *handle, struct winapi_stats *stats);

/* What an error (a negative errno from this library) means; never NULL, never freed. */
WINAPI_PUBLIC const char *winapi_strerror(int error);
/* Name and meaning of a status, "UNKNOWN_API" and a sentence. */
WINAPI_PUBLIC const char *winapi_status_name(uint32_t status);
WINAPI_PUBLIC const char *winapi_status_text(uint32_t status);
/*
 * What went wrong in the calling thread's last failed call of this library and what to do about it.
 * The thread's, valid until its next failure.
 */
WINAPI_PUBLIC const char *winapi_error_message(void);
/* Version of the library that is loaded, as "0.1.0". */
WINAPI_PUBLIC const char *winapi_library_version(void);

#ifdef __cplusplus
}
#endif

#endif /* WINAPI_H */
