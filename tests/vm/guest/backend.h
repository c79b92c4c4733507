/* SPDX-License-Identifier: MIT */
/* Asking the test back-end for something, over the channel that it serves. */
#ifndef GUEST_BACKEND_H
#define GUEST_BACKEND_H

#include "../backend/control.h"
#include "guest.h"

/* 0, or -errno. *size: room at out, then what came. */
static inline int backend(int fd, enum backend_method method, const void *in, uint32_t in_size, void *out,
			  uint32_t *size)
{
	struct winapi_ioc_call c = { .in = (uintptr_t)in,
				     .in_size = in_size,
				     .out = (uintptr_t)out,
				     .out_capacity = size ? *size : 0,
				     .timeout_ms = PATIENCE_MS,
				     .api = WINAPI_API_BACKEND,
				     .method = (uint16_t)method };
	int err = call(fd, &c);

	if (size)
		*size = c.out_size;
	return err;
}

static inline int backend_counters(int fd, struct backend_counters *counters)
{
	uint32_t size = sizeof(*counters);
	int err = backend(fd, BACKEND_COUNTERS, NULL, 0, counters, &size);

	return err ? err : size == sizeof(*counters) ? 0 : -EBADMSG;
}

static inline int backend_number(int fd, enum backend_method method, uint32_t number)
{
	return backend(fd, method, &number, sizeof(number), NULL, NULL);
}

#endif /* GUEST_BACKEND_H */
