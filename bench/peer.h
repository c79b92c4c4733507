/* SPDX-License-Identifier: MIT */
/*
 * A peer: another way to send bytes to a process of the same machine and have an answer. Its server sends
 * every message back, but for those of more than PEER_ECHO_MAX bytes, whose CRC32C it answers.
 */
#ifndef PEER_H
#define PEER_H

#include "bench.h"

#define PEER_ECHO_MAX 65536u

struct peer {
	const char *name;
	size_t chunk; /* the largest message it takes at a time */
	/* In the server's process, before the client connects; then serves for ever. */
	void (*serve)(const char *address);
	void (*connect)(const char *address);
	/* A message and its answer. The answer's size. */
	size_t (*exchange)(const void *data, size_t size, void *answer, size_t room);
	/* `count` messages of 64 bytes, IN_FLIGHT at a time; NULL: it can't. */
	void (*pipeline)(unsigned int count);
};

extern const struct peer peer;

/* What a server does with a message: the answer's size, in place or in `answer` (4 bytes). */
size_t peer_answer(const void *data, size_t size, uint32_t *answer);

#endif /* PEER_H */
