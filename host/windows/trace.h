/* SPDX-License-Identifier: MIT */
/*
 * What the driver tells: events of the ETW provider that winapi_remoting.man describes, and for messages the
 * kernel debugger's output too. From any thread, at DISPATCH_LEVEL or below.
 */
#ifndef WINAPI_TRACE_H
#define WINAPI_TRACE_H

#include "driver.h"

/* 6e7ac5e0-3a0c-4d37-9a5b-58d2d0c1a4f3 */
#define TRACE_PROVIDER_GUID \
	{ \
		0x6e7ac5e0, 0x3a0c, 0x4d37, \
		{ \
			0x9a, 0x5b, 0x58, 0xd2, 0xd0, 0xc1, 0xa4, 0xf3 \
		} \
	}

/* X(name, id, level): the manifest has the same, and manifest_test.py compares. */
#define TRACE_EVENTS(X) \
	X(MESSAGE_ERROR, 1, 2) \
	X(MESSAGE_WARNING, 2, 3) \
	X(MESSAGE_INFO, 3, 4) \
	X(MESSAGE_DEBUG, 4, 5) \
	X(LOADED, 10, 4) \
	X(UNLOADED, 11, 4) \
	X(OFFERED, 12, 4) \
	X(OPENED, 13, 4) \
	X(CLOSED, 14, 4) \
	X(FAILED, 15, 3) \
	X(WITHDRAWN, 16, 4)

enum trace_event {
#define TRACE_ENUM(name, id, level) TRACE_##name = id,
	TRACE_EVENTS(TRACE_ENUM)
#undef TRACE_ENUM
};

_IRQL_requires_max_(PASSIVE_LEVEL) void trace_start(void);
_IRQL_requires_max_(PASSIVE_LEVEL) void trace_stop(void);

void trace_loaded(void);
void trace_offered(uint64_t offer, const GUID *instance);
void trace_opened(uint64_t offer);
void trace_closed(uint64_t offer, uint64_t packets);
void trace_failed(uint64_t offer, const char *why);
void trace_withdrawn(uint64_t offer);

#endif /* WINAPI_TRACE_H */
