/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Tracepoints: /sys/kernel/tracing/events/winapi */
/* clang-format off */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM winapi

#if !defined(WC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define WC_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(winapi_send,
	TP_PROTO(int device, u64 id, u16 type, u32 api, u16 method, u32 size, u32 pfns),
	TP_ARGS(device, id, type, api, method, size, pfns),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u64, id)
		__field(u32, api)
		__field(u32, size)
		__field(u32, pfns)
		__field(u16, type)
		__field(u16, method)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->id = id;
		__entry->api = api;
		__entry->size = size;
		__entry->pfns = pfns;
		__entry->type = type;
		__entry->method = method;
	),
	TP_printk("winapi%d id=%llx type=%u api=%u method=%u bytes=%u pfns=%u", __entry->device, __entry->id,
		  __entry->type, __entry->api, __entry->method, __entry->size, __entry->pfns)
);

TRACE_EVENT(winapi_reply,
	TP_PROTO(int device, u64 id, u32 status, u32 size, u64 ns, u64 host_ns),
	TP_ARGS(device, id, status, size, ns, host_ns),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u64, id)
		__field(u32, status)
		__field(u32, size)
		__field(u64, ns)
		__field(u64, host_ns)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->id = id;
		__entry->status = status;
		__entry->size = size;
		__entry->ns = ns;
		__entry->host_ns = host_ns;
	),
	TP_printk("winapi%d id=%llx status=%u bytes=%u ns=%llu host_ns=%llu", __entry->device, __entry->id,
		  __entry->status, __entry->size, __entry->ns, __entry->host_ns)
);

/* What the host sent that fits no request in flight. */
TRACE_EVENT(winapi_bad_reply,
	TP_PROTO(int device, u64 transaction, u32 size),
	TP_ARGS(device, transaction, size),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u64, transaction)
		__field(u32, size)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->transaction = transaction;
		__entry->size = size;
	),
	TP_printk("winapi%d transaction=%llx bytes=%u", __entry->device, __entry->transaction, __entry->size)
);

/* A request ends without its reply. */
TRACE_EVENT(winapi_end,
	TP_PROTO(int device, u64 id, int result),
	TP_ARGS(device, id, result),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u64, id)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->id = id;
		__entry->result = result;
	),
	TP_printk("winapi%d id=%llx result=%d", __entry->device, __entry->id, __entry->result)
);

/* GPADLs of a buffer: established (or not: result), torn down. */
TRACE_EVENT(winapi_share,
	TP_PROTO(int device, u32 buffer, u64 length, u32 chunks, int result),
	TP_ARGS(device, buffer, length, chunks, result),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, buffer)
		__field(u64, length)
		__field(u32, chunks)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->buffer = buffer;
		__entry->length = length;
		__entry->chunks = chunks;
		__entry->result = result;
	),
	TP_printk("winapi%d buffer=%u bytes=%llu gpadls=%u result=%d", __entry->device, __entry->buffer,
		  __entry->length, __entry->chunks, __entry->result)
);

TRACE_EVENT(winapi_unshare,
	TP_PROTO(int device, u32 buffer, u32 chunks),
	TP_ARGS(device, buffer, chunks),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, buffer)
		__field(u32, chunks)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->buffer = buffer;
		__entry->chunks = chunks;
	),
	TP_printk("winapi%d buffer=%u gpadls=%u", __entry->device, __entry->buffer, __entry->chunks)
);

#endif /* WC_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
