/* SPDX-License-Identifier: MIT */
/*
 * What all of libwinapi shares: the handle, error messages, and the seam to the transports.
 *
 * Public functions are in winapi.c, batch.c and apis.c. They check arguments, enter the handle, and
 * call the transport; a transport moves calls and shares buffers, however it does that.
 */
#ifndef LIBWINAPI_INTERNAL_H
#define LIBWINAPI_INTERNAL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../common/hot.h"
#include "../../common/protocol.h"
#include "../../common/status.h"
#include "../../include/winapi.h"

#define NO_DEADLINE UINT64_MAX

/* ---- Errors (error.c) ------------------------------------------------------------------------------- */

/* Notes what winapi_error_message will say, and returns err, a negative errno. */
__attribute__((cold, format(printf, 2, 3))) int fail(int err, const char *format, ...);
/* The errno of a status that a host sent (one it may have made up); 0 for OK. */
int status_error(uint32_t status);
/* Fails with what a status means. */
__attribute__((cold)) int fail_status(const char *what, uint32_t status);

/* ---- Time -------------------------------------------------------------------------------------------- */

uint64_t clock_ns(void);
/* When a timeout (WINAPI_TIMEOUT_*, or ms) that begins `now` is over. */
uint64_t deadline_after(uint64_t now, uint32_t timeout_ms);

/* ---- Fork (fork.c) ----------------------------------------------------------------------------------- */

/* A number that no forked child and no parent shares. 0 or -errno. */
int process_number(uint32_t *number);
/* Is this the process that got that number? One load. */
bool process_is(uint32_t number);

/* ---- The handle -------------------------------------------------------------------------------------- */

struct winapi_buffer {
	struct winapi *handle;
	void *data;
	uint64_t length;
	uint32_t access;
	uint32_t flags; /* WINAPI_BUFFER_* */
	uint32_t users; /* atomic: calls in flight that name it */
};

struct transport_ops {
	/* Ends every call and lets go of the host; other threads may still be inside. */
	void (*shut_down)(struct winapi *handle);
	/* Nobody is inside any more: frees the handle. */
	void (*release)(struct winapi *handle);
	/* In a forked child: frees what it inherited, touching nothing that is shared. */
	void (*release_forked)(struct winapi *handle);
	int (*call)(struct winapi *handle, struct winapi_call *call);
	int (*submit)(struct winapi *handle, const struct winapi_call *calls, unsigned int count);
	int (*complete)(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
			uint32_t timeout_ms);
	int (*cancel)(struct winapi *handle, uint64_t user_data);
	int (*fd)(struct winapi *handle);
	/* One BATCH message; *out_size: capacity, then bytes. */
	int (*batch)(struct winapi *handle, const void *in, uint32_t in_size, void *out, uint32_t *out_size,
		     uint32_t timeout_ms);
	/* The most bytes of inline data that a message may have here. */
	uint32_t (*batch_room)(struct winapi *handle);
	int (*buffer_alloc)(struct winapi *handle, size_t length, uint32_t access,
			    struct winapi_buffer **buffer);
	int (*buffer_register)(struct winapi *handle, void *address, size_t length, uint32_t access,
			       struct winapi_buffer **buffer);
	int (*buffer_free)(struct winapi_buffer *buffer);
	/* Adds this side's counters. */
	void (*stats)(struct winapi *handle, struct winapi_stats *stats);
};

struct winapi {
	const struct transport_ops *ops;
	struct winapi_info info;
	uint32_t timeout_ms; /* what WINAPI_TIMEOUT_DEFAULT means */
	uint32_t poll; /* enum winapi_poll, never ADAPTIVE or ALWAYS with one CPU */
	uint32_t process; /* process_number of the opener */
	uint32_t closing; /* atomic */
	uint32_t inside; /* atomic: the owner, and the threads in functions */
};

/* Every public function but winapi_close goes through these. 0, -EINVAL, -ECHILD or -ECANCELED. */
int handle_enter(struct winapi *handle);
void handle_leave(struct winapi *handle);

/* Opens "local:TARGET" (local/local.c). */
int local_open(struct winapi **handle, const char *target, const struct winapi_open_options *options);

/* Opens "vmbus:" (vmbus/vmbus.c). */
#define VMBUS_DEVICE "/dev/winapi"
int vmbus_open(struct winapi **handle, const struct winapi_open_options *options);

/* Calls with inline data alone, for the wrappers. *out_size: capacity, then bytes. */
int simple_call(struct winapi *handle, uint32_t api, uint16_t method, const void *in, uint32_t in_size,
		void *out, uint32_t *out_size);

#endif /* LIBWINAPI_INTERNAL_H */
