/* SPDX-License-Identifier: MIT */
/* What guest and host agree on about the "text" API: numbers and sizes, little-endian. */
#ifndef WINAPI_TEXT_H
#define WINAPI_TEXT_H

#include <stdint.h>

#define TEXT_API 4u

/* Bytes in, the same bytes out with a to z as A to Z. No buffers. */
#define TEXT_UPPER 1u

/* How often a byte occurs in each of 1 to 8 buffers, which the host reads. */
#define TEXT_COUNT 2u
struct text_count_request {
	uint32_t byte; /* 0 to 255 */
	uint32_t reserved; /* 0 */
};
struct text_count_reply { /* as many as there were buffers, in their order */
	uint64_t count[8];
};

#endif /* WINAPI_TEXT_H */
