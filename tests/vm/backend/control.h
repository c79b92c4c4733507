/* SPDX-License-Identifier: MIT */
/*
 * How a test in the guest tells the test back-end what to do: calls of an API that only it has, so they
 * need nothing but an honest channel. Also the back-end's side of what is counted.
 */
#ifndef BACKEND_CONTROL_H
#define BACKEND_CONTROL_H

#include "../../../common/protocol.h"

#define WINAPI_API_BACKEND 0x7e57u

/* What `vm_backend --small` allows. */
#define BACKEND_SMALL_IN_FLIGHT 16u
#define BACKEND_SMALL_SESSIONS 4u
#define BACKEND_SMALL_BUFFERS 8u
#define BACKEND_SMALL_BUFFER_SIZE (4ull << 20)
#define BACKEND_SMALL_BYTES (8ull << 20)

enum backend_method {
	BACKEND_ARM = 1, /* a scenario's name: its step is misbehaved at next. NOT_FOUND: no such scenario */
	BACKEND_RESTART, /* takes the channel back after the answer, and offers it anew */
	BACKEND_COUNTERS, /* nothing -> backend_counters */
	BACKEND_HOLD, /* u32: masks, holds that many calls and batches back, then answers all at once. 0: now */
	BACKEND_POLL, /* u32: 1 keeps the ring masked and polls it, 0 ends that */
	BACKEND_SECOND, /* u32: 1 offers another device, always honest, 0 takes it back */
	BACKEND_LIST, /* u32 first -> names of scenarios from there on, each NUL-terminated */
};

struct backend_counters {
	uint64_t channel; /* how many channels were opened so far, this one included */
	uint64_t fired; /* how often an armed scenario misbehaved, since BACKEND_ARM */
	uint64_t signals; /* from the guest */
	uint64_t interrupts; /* to the guest */
	uint64_t requests; /* packets taken */
	uint64_t gpa_direct; /* of these */
	uint64_t gpadl_messages; /* headers, bodies and teardowns */
	uint64_t gpadls; /* created and not torn down */
};
WINAPI_ASSERT_SIZE(struct backend_counters, 64);

#endif /* BACKEND_CONTROL_H */
