/* SPDX-License-Identifier: MIT */
/*
 * The winapi wire protocol, version 1: what a guest and a provider say to each other inside VMBus
 * packets. docs/protocol.md describes the conversation; this header fixes the bytes.
 *
 * Everything is little-endian and naturally aligned. The header compiles unchanged in the Linux
 * kernel, in Linux user space and in the Windows kernel, and uses nothing but fixed-width types.
 *
 * A request is a VMBus packet (in-band, or GPA-direct when it carries a page range) that asks for a
 * completion. Its VMBus transaction id equals header.request_id. The reply is the completion packet.
 */
#ifndef WINAPI_PROTOCOL_H
#define WINAPI_PROTOCOL_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#ifdef __cplusplus
#define WINAPI_STATIC_ASSERT(expr) static_assert(expr, #expr)
#else
#define WINAPI_STATIC_ASSERT(expr) _Static_assert(expr, #expr)
#endif
#define WINAPI_ASSERT_SIZE(type, size) WINAPI_STATIC_ASSERT(sizeof(type) == (size))
#define WINAPI_ASSERT_OFFSET(type, member, at) WINAPI_STATIC_ASSERT(__builtin_offsetof(type, member) == (at))
/* clang-format off */
#if defined(_MSC_VER) && !defined(__clang__)
#define __builtin_offsetof(type, member) ((size_t)&(((type *)0)->member))
#endif

/* VMBus interface type of the device: 6ac83d8f-6e16-4e5c-ab3d-fd8c5a4b7e21, as GUID bytes in memory. */
#define WINAPI_INTERFACE_GUID_BYTES \
	{ 0x8f, 0x3d, 0xc8, 0x6a, 0x16, 0x6e, 0x5c, 0x4e, \
	  0xab, 0x3d, 0xfd, 0x8c, 0x5a, 0x4b, 0x7e, 0x21 }
/* clang-format on */

#define WINAPI_MAGIC 0x49504157u /* "WAPI" in memory */
#define WINAPI_VERSION_1 1u
#define WINAPI_VERSION_MIN WINAPI_VERSION_1
#define WINAPI_VERSION_MAX WINAPI_VERSION_1

#define WINAPI_MAX_INLINE 3072u /* bytes of inline data in a request or a reply */
#define WINAPI_MAX_BUFFERS 8u /* buffer descriptors in a call */
#define WINAPI_MAX_BUFFER_SIZE (64ull << 20) /* bytes in one buffer */
#define WINAPI_MAX_CHUNKS 16u /* GPADLs in one registered buffer */
#define WINAPI_CHUNK_SIZE (16ull << 20) /* bytes a guest puts in one GPADL at most */
#define WINAPI_PAGE_SIZE 4096u /* VMBus pages are 4 KiB whatever the guest's are */
#define WINAPI_DEFAULT_RING_DATA (64u << 10) /* ring data each way; one header page comes on top */
#define WINAPI_MIN_RING_DATA (4u << 10)
#define WINAPI_MAX_RING_DATA (1u << 20)
#define WINAPI_MAX_BATCH 128u /* members of a batch */

enum winapi_msg_type {
	WINAPI_MSG_HELLO = 1, /* once per channel, first */
	WINAPI_MSG_SESSION_OPEN = 2,
	WINAPI_MSG_SESSION_CLOSE = 3,
	WINAPI_MSG_BUFFER_REGISTER = 4,
	WINAPI_MSG_BUFFER_UNREGISTER = 5,
	WINAPI_MSG_CALL = 6,
	WINAPI_MSG_BATCH = 7,
	WINAPI_MSG_CANCEL = 8,
	WINAPI_MSG_STREAM = 9, /* number held back, not in version 1 */
	WINAPI_MSG_EVENT = 10, /* number held back, not in version 1 */
};

/* winapi_msg_header.flags */
#define WINAPI_FLAG_REPLY 0x0001u /* set in every reply, never in a request */
#define WINAPI_FLAGS_REQUEST 0x0000u /* flags a version 1 request may carry: none */

/*
 * The header of every message, 64 bytes. In a request: `buffer_count` descriptors follow at offset
 * 64, then `inline_size` bytes of inline data at 64 + 32 * buffer_count. In a reply: inline data at
 * offset 64. What lies behind the inline data (padding to 8) is ignored.
 */
struct winapi_msg_header {
	uint32_t magic;
	uint16_t version; /* WINAPI_VERSION_1 in HELLO, then what HELLO settled */
	uint16_t type; /* enum winapi_msg_type; a reply repeats its request's */
	uint32_t api; /* CALL: enum winapi_api_id; else 0 */
	uint16_t method; /* CALL: the API's own numbering; else 0 */
	uint16_t flags; /* WINAPI_FLAG_* */
	uint64_t request_id; /* never 0; chosen by the guest, unique among its requests in flight */
	uint64_t session_id; /* from SESSION_OPEN's reply; 0 in HELLO and SESSION_OPEN */
	int32_t status; /* reply: enum winapi_status; request: 0 */
	uint16_t buffer_count; /* request: descriptors that follow (CALL only); reply: 0 */
	uint16_t reserved; /* 0 */
	uint32_t inline_size; /* bytes, <= WINAPI_MAX_INLINE */
	uint32_t timeout_ms; /* request: counted by the host from receipt, 0 for none; reply: 0 */
	uint64_t timestamp; /* request: ns of the guest's monotonic clock; echoed in the reply */
	uint64_t host_ns; /* reply: ns from receipt to reply by the host's clock; request: 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_msg_header, 64);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, version, 4);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, type, 6);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, api, 8);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, method, 12);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, flags, 14);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, request_id, 16);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, session_id, 24);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, status, 32);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, buffer_count, 36);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, reserved, 38);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, inline_size, 40);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, timeout_ms, 44);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, timestamp, 48);
WINAPI_ASSERT_OFFSET(struct winapi_msg_header, host_ns, 56);

/* Access bits, as seen from the host. */
#define WINAPI_ACCESS_READ 0x1u /* the host reads the buffer */
#define WINAPI_ACCESS_WRITE 0x2u /* the host writes the buffer */
#define WINAPI_ACCESS_BOTH (WINAPI_ACCESS_READ | WINAPI_ACCESS_WRITE)

/* A buffer of a call, 32 bytes. */
struct winapi_buffer_desc {
	uint64_t handle; /* a registered buffer, or 0: the packet's own GPA range */
	uint64_t offset; /* bytes from the start of the buffer, or of the range's first page */
	uint64_t length; /* bytes, 1 to WINAPI_MAX_BUFFER_SIZE */
	uint32_t access; /* WINAPI_ACCESS_*, within what the buffer was registered for */
	uint32_t reserved; /* 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_buffer_desc, 32);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_desc, offset, 8);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_desc, length, 16);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_desc, access, 24);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_desc, reserved, 28);

/* The longest message: header, 8 descriptors, 3,072 bytes of inline data. */
#define WINAPI_MAX_MESSAGE 3392u
WINAPI_STATIC_ASSERT(sizeof(struct winapi_msg_header) +
			     WINAPI_MAX_BUFFERS * sizeof(struct winapi_buffer_desc) + WINAPI_MAX_INLINE ==
		     WINAPI_MAX_MESSAGE);
#define WINAPI_MAX_REPLY (64u + WINAPI_MAX_INLINE)

/* ---- HELLO ------------------------------------------------------------------------------------ */

/* Feature bits. Each side sends what it has built; the reply holds those that both have. */
#define WINAPI_FEATURE_BATCH 0x1ull
#define WINAPI_FEATURE_CANCEL 0x2ull
#define WINAPI_FEATURE_GPA_DIRECT 0x4ull /* per-call buffers in the packet's GPA range */
#define WINAPI_FEATURES_V1 (WINAPI_FEATURE_BATCH | WINAPI_FEATURE_CANCEL | WINAPI_FEATURE_GPA_DIRECT)

struct winapi_hello_request {
	uint16_t min_version; /* lowest and highest protocol version that the guest speaks */
	uint16_t max_version;
	uint32_t reserved; /* 0 */
	uint64_t features;
};
WINAPI_ASSERT_SIZE(struct winapi_hello_request, 16);
WINAPI_ASSERT_OFFSET(struct winapi_hello_request, max_version, 2);
WINAPI_ASSERT_OFFSET(struct winapi_hello_request, reserved, 4);
WINAPI_ASSERT_OFFSET(struct winapi_hello_request, features, 8);

struct winapi_hello_reply {
	uint16_t version; /* the one to use from now on */
	uint16_t max_buffers_per_call;
	uint32_t max_in_flight; /* requests in flight on the channel, CANCEL not counted */
	uint64_t features;
	uint32_t max_inline;
	uint32_t max_batch;
	uint32_t max_sessions; /* on this channel */
	uint32_t max_chunks; /* GPADLs in a registered buffer */
	uint32_t max_buffers; /* registered buffers in a session */
	uint32_t reserved; /* 0 */
	uint64_t max_buffer_size; /* bytes in one buffer */
	uint64_t max_bytes; /* registered bytes in a session */
	char provider[32]; /* name and version, NUL-terminated */
};
WINAPI_ASSERT_SIZE(struct winapi_hello_reply, 88);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_buffers_per_call, 2);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_in_flight, 4);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, features, 8);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_inline, 16);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_batch, 20);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_sessions, 24);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_chunks, 28);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_buffers, 32);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, reserved, 36);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_buffer_size, 40);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, max_bytes, 48);
WINAPI_ASSERT_OFFSET(struct winapi_hello_reply, provider, 56);

/* ---- SESSION_OPEN, SESSION_CLOSE (the latter has no payload) ------------------------------------ */

/* Who calls, as the guest's kernel knows it. A transport that knows better overrides this. */
struct winapi_session_open_request {
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	uint32_t reserved; /* 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_session_open_request, 16);
WINAPI_ASSERT_OFFSET(struct winapi_session_open_request, gid, 4);
WINAPI_ASSERT_OFFSET(struct winapi_session_open_request, pid, 8);
WINAPI_ASSERT_OFFSET(struct winapi_session_open_request, reserved, 12);

struct winapi_session_open_reply {
	uint64_t session_id; /* never 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_session_open_reply, 8);

/* ---- BUFFER_REGISTER, BUFFER_UNREGISTER --------------------------------------------------------- */

/*
 * The pages of `chunk_count` GPADLs, one after the other, form the buffer's pages; the buffer is the
 * `length` bytes that start `offset` (< 4096) bytes into the first. inline_size says how many of
 * gpadl[] are there: 24 + 4 * chunk_count.
 */
struct winapi_buffer_register_request {
	uint64_t length; /* bytes, 1 to max_buffer_size */
	uint32_t offset; /* bytes into the first page */
	uint32_t access; /* WINAPI_ACCESS_* that calls may ask for */
	uint32_t chunk_count; /* 1 to max_chunks */
	uint32_t reserved; /* 0 */
	uint32_t gpadl[WINAPI_MAX_CHUNKS];
};
WINAPI_ASSERT_SIZE(struct winapi_buffer_register_request, 24 + 4 * WINAPI_MAX_CHUNKS);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_register_request, offset, 8);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_register_request, access, 12);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_register_request, chunk_count, 16);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_register_request, reserved, 20);
WINAPI_ASSERT_OFFSET(struct winapi_buffer_register_request, gpadl, 24);

struct winapi_buffer_register_reply {
	uint64_t handle; /* never 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_buffer_register_reply, 8);

/* When the reply says OK, the host touches the pages no more and their GPADLs may be torn down. */
struct winapi_buffer_unregister_request {
	uint64_t handle;
};
WINAPI_ASSERT_SIZE(struct winapi_buffer_unregister_request, 8);

/* ---- CANCEL -------------------------------------------------------------------------------------- */

/*
 * Best effort. The reply says OK (found, and told to stop) or NOT_FOUND; the request that it names
 * gets its own one reply all the same, CANCELED where the cancel came in time.
 */
struct winapi_cancel_request {
	uint64_t request_id;
};
WINAPI_ASSERT_SIZE(struct winapi_cancel_request, 8);

/* ---- BATCH --------------------------------------------------------------------------------------- */

/*
 * A member of a batch: this header, then inline_size bytes, padded with zeros to a multiple of 8.
 * In a request index counts 0, 1, 2, ... and status is 0; a reply holds one member for each, in any
 * order, with the request's index, api and method. Only APIs with WINAPI_API_SHORT; no buffers.
 */
struct winapi_batch_entry {
	uint16_t api;
	uint16_t method;
	uint16_t inline_size;
	uint16_t flags; /* 0 in version 1 */
	uint32_t index;
	int32_t status;
};
WINAPI_ASSERT_SIZE(struct winapi_batch_entry, 16);
WINAPI_ASSERT_OFFSET(struct winapi_batch_entry, method, 2);
WINAPI_ASSERT_OFFSET(struct winapi_batch_entry, inline_size, 4);
WINAPI_ASSERT_OFFSET(struct winapi_batch_entry, flags, 6);
WINAPI_ASSERT_OFFSET(struct winapi_batch_entry, index, 8);
WINAPI_ASSERT_OFFSET(struct winapi_batch_entry, status, 12);

/* ---- APIs ---------------------------------------------------------------------------------------- */

enum winapi_api_id {
	WINAPI_API_INTROSPECTION = 0,
	WINAPI_API_ECHO = 1,
	WINAPI_API_BUFFER_TEST = 2,
	WINAPI_API_PERF_TEST = 3,
};

/* winapi_api_desc.flags */
#define WINAPI_API_SHORT 0x1u /* calls without buffers may stand in a batch */
#define WINAPI_API_BUFFERS 0x2u /* takes buffers */

/* API 0, introspection. */
#define WINAPI_INTROSPECTION_LIST 0u /* winapi_list_request -> winapi_api_desc[] */
#define WINAPI_INTROSPECTION_STATS 1u /* nothing -> winapi_provider_stats */

struct winapi_list_request {
	uint32_t first; /* APIs to skip, in order of id */
	uint32_t reserved; /* 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_list_request, 8);
WINAPI_ASSERT_OFFSET(struct winapi_list_request, reserved, 4);

struct winapi_api_desc {
	uint32_t id;
	uint16_t version;
	uint16_t methods; /* how many */
	uint32_t flags; /* WINAPI_API_* */
	uint32_t reserved; /* 0 */
	uint64_t inline_work; /* bytes of buffers up to which a call runs on the ring's thread */
	uint64_t calls; /* since the provider started, from all guests */
	uint64_t errors;
	uint64_t bytes; /* inline and buffer bytes of those calls, requests and replies */
	uint64_t host_ns; /* sum over the calls */
	char name[32]; /* NUL-terminated */
};
WINAPI_ASSERT_SIZE(struct winapi_api_desc, 88);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, version, 4);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, methods, 6);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, flags, 8);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, reserved, 12);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, inline_work, 16);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, calls, 24);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, errors, 32);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, bytes, 40);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, host_ns, 48);
WINAPI_ASSERT_OFFSET(struct winapi_api_desc, name, 56);

/* Counters of the channel that asks, then of the whole provider. */
struct winapi_provider_stats {
	uint64_t channel_requests; /* packets taken, batches counted once */
	uint64_t channel_replies;
	uint64_t channel_errors; /* replies whose status isn't OK */
	uint64_t channel_in_flight; /* now */
	uint64_t channel_replies_queued; /* replies that found the ring full, so far */
	uint64_t session_buffers; /* registered now */
	uint64_t session_bytes; /* registered now */
	uint64_t bytes_copied; /* of buffers, by the transport or the provider: 0 unless it bounces */
	uint64_t provider_channels; /* open now */
	uint64_t provider_sessions;
	uint64_t provider_buffers;
	uint64_t provider_bytes;
};
WINAPI_ASSERT_SIZE(struct winapi_provider_stats, 96);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, channel_replies, 8);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, channel_errors, 16);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, channel_in_flight, 24);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, channel_replies_queued, 32);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, session_buffers, 40);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, session_bytes, 48);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, bytes_copied, 56);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, provider_channels, 64);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, provider_sessions, 72);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, provider_buffers, 80);
WINAPI_ASSERT_OFFSET(struct winapi_provider_stats, provider_bytes, 88);

/* Echo: returns its inline data. */
#define WINAPI_ECHO_CALL 0u

/*
 * Buffer test: each method works on each of 1 to 8 buffers by itself. The pattern is a stream of
 * little-endian 64-bit words; word i of a buffer is winapi_pattern_word(seed, i).
 */
#define WINAPI_BUFFER_TEST_READ 1u /* result: CRC32C of the bytes */
#define WINAPI_BUFFER_TEST_WRITE 2u /* fills with the pattern; result: bytes written */
#define WINAPI_BUFFER_TEST_VERIFY 3u /* result: offset of the first wrong byte, or NO_MISMATCH */

struct winapi_buffer_test_request {
	uint64_t seed; /* READ: 0 */
};
WINAPI_ASSERT_SIZE(struct winapi_buffer_test_request, 8);

struct winapi_buffer_test_reply { /* as many as there were buffers, in their order */
	uint64_t result[WINAPI_MAX_BUFFERS];
};
WINAPI_ASSERT_SIZE(struct winapi_buffer_test_reply, 64);

#define WINAPI_BUFFER_TEST_NO_MISMATCH UINT64_MAX

static inline uint64_t winapi_pattern_word(uint64_t seed, uint64_t index)
{
	uint64_t x = (seed ^ (index + 1)) * 0x9e3779b97f4a7c15ull;

	return x ^ (x >> 29);
}

/* Perf test. */
#define WINAPI_PERF_TEST_LATENCY 1u /* any inline data -> winapi_perf_latency_reply */
#define WINAPI_PERF_TEST_THROUGHPUT 2u /* winapi_perf_throughput_request -> ..._reply */

/* By the host's clock, so that the round trip and the host's part of it can be told apart. */
struct winapi_perf_latency_reply {
	uint64_t receive_ns;
	uint64_t send_ns;
};
WINAPI_ASSERT_SIZE(struct winapi_perf_latency_reply, 16);
WINAPI_ASSERT_OFFSET(struct winapi_perf_latency_reply, send_ns, 8);

enum winapi_perf_op {
	WINAPI_PERF_READ = 0, /* read every byte of every buffer */
	WINAPI_PERF_WRITE = 1, /* write every byte of every buffer */
	WINAPI_PERF_COPY = 2, /* copy buffer 0 to buffer 1, 2 to 3, ...: an even count, equal lengths */
};

struct winapi_perf_throughput_request {
	uint32_t op; /* enum winapi_perf_op */
	uint32_t iterations; /* passes over the buffers, 1 to WINAPI_PERF_MAX_ITERATIONS */
};
WINAPI_ASSERT_SIZE(struct winapi_perf_throughput_request, 8);
WINAPI_ASSERT_OFFSET(struct winapi_perf_throughput_request, iterations, 4);

#define WINAPI_PERF_MAX_ITERATIONS 1024u
#define WINAPI_PERF_BUCKETS 256u

/*
 * histogram[b] counts passes by duration, log-linear with 8 steps to the octave: for a duration of d
 * ns, b = d when d < 8, else 8 * (log2(d) - 2) + (the three bits below the highest).
 */
struct winapi_perf_throughput_reply {
	uint64_t bytes; /* moved in all passes */
	uint64_t elapsed_ns;
	uint32_t histogram[WINAPI_PERF_BUCKETS];
};
WINAPI_ASSERT_SIZE(struct winapi_perf_throughput_reply, 16 + 4 * WINAPI_PERF_BUCKETS);
WINAPI_ASSERT_OFFSET(struct winapi_perf_throughput_reply, elapsed_ns, 8);
WINAPI_ASSERT_OFFSET(struct winapi_perf_throughput_reply, histogram, 16);

#endif /* WINAPI_PROTOCOL_H */
