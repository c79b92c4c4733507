/* SPDX-License-Identifier: MIT */
/*
 * A message header on its way into a ring.
 *
 * Its fields have just been stored, one by one, when it is copied. A load that spans several such stores can't be
 * served from the store buffer: it waits until they have reached the cache, which they do in order, behind what was
 * written to the ring before, and those lines take hundreds of nanoseconds to come from the other CPU. So the
 * header is packed into words first, with loads as narrow as the stores were, and copied by the word.
 */
#ifndef WINAPI_HEADER_H
#define WINAPI_HEADER_H

#include "protocol.h"

#define WINAPI_HEADER_WORDS (sizeof(struct winapi_msg_header) / 8)

/* volatile, lest the compiler join the loads again. */
static inline void winapi_header_pack(uint64_t word[WINAPI_HEADER_WORDS],
				      const volatile struct winapi_msg_header *h)
{
	word[0] = h->magic | (uint64_t)h->version << 32 | (uint64_t)h->type << 48;
	word[1] = h->api | (uint64_t)h->method << 32 | (uint64_t)h->flags << 48;
	word[2] = h->request_id;
	word[3] = h->session_id;
	word[4] = (uint32_t)h->status | (uint64_t)h->buffer_count << 32 | (uint64_t)h->reserved << 48;
	word[5] = h->inline_size | (uint64_t)h->timeout_ms << 32;
	word[6] = h->timestamp;
	word[7] = h->host_ns;
}

#endif /* WINAPI_HEADER_H */
