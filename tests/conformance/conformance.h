/* SPDX-License-Identifier: MIT */
/*
 * The conformance suite: what any transport and any provider must do, seen through winapi.h alone. Each
 * case is a function that returns NULL when it held, or a sentence about what didn't.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../common/protocol.h"
#include "../../common/status.h"
#include "../../include/winapi.h"

struct context {
	const char *uri;
	uint32_t ring_size;
	unsigned int scale; /* divides counts: a call may cost milliseconds elsewhere */
	struct winapi *handle; /* fresh for each case */
	struct winapi_info info;
};

struct test_case {
	const char *name;
	const char *(*run)(struct context *c);
	bool threads; /* several threads at work: also run under a race detector */
};

extern const struct test_case basic_cases[];
extern const struct test_case async_cases[];
extern const struct test_case buffer_cases[];
extern const struct test_case size_cases[];
extern const struct test_case thread_cases[];

struct winapi *open_again(const struct context *c);
/* "what (errno, message)": the text of a failed expectation, valid until the next. */
const char *failure(const char *file, int line, const char *what);

#define EXPECT(condition) \
	do { \
		if (!(condition)) \
			return failure(__FILE__, __LINE__, #condition); \
	} while (0)

/* `count` scaled down, but not below 1. */
static inline unsigned int scaled(const struct context *c, unsigned int count)
{
	return count / c->scale ? count / c->scale : 1;
}

static inline struct winapi_call echo_call(const void *in, uint32_t size, void *out)
{
	struct winapi_call call = WINAPI_CALL_INIT;

	call.api = WINAPI_API_ECHO;
	call.in = in;
	call.in_size = size;
	call.out = out;
	call.out_capacity = size;
	return call;
}

/* A call that keeps the host busy for long, unless it is told to stop. */
struct long_call {
	struct winapi_buffer_ref ref[WINAPI_BUFFERS_MAX]; /* of one buffer */
	struct winapi_perf_throughput_request request;
	struct winapi_perf_throughput_reply reply;
	struct winapi_call call;
};
const char *long_call_init(struct long_call *l, struct winapi *handle);

#endif /* CONFORMANCE_H */
