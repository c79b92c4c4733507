/* SPDX-License-Identifier: MIT */
/*
 * The vmbus transport: /dev/winapi does the work, this turns the library's structs into the driver's.
 *
 *	vmbus.c    open and the end, calls, batches, statistics
 *	async.c    submit, complete, cancel
 *	buffers.c  buffers of the driver's and of the application's
 */
#ifndef LIBWINAPI_VMBUS_H
#define LIBWINAPI_VMBUS_H

#include <pthread.h>

#include "../../../include/winapi_ioctl.h"
#include "../internal.h"

struct device_buffer {
	struct winapi_buffer base;
	struct device_buffer *next;
	struct device_buffer *previous;
	uint32_t id; /* the driver's */
	void *map; /* NULL: the application's memory */
	size_t map_size;
};

/* A submitted call: where its output goes. The driver knows it by its index here. */
struct pending {
	void *out;
	uint64_t user_data;
	uint32_t out_capacity;
	uint32_t next_free;
	bool busy;
};

struct device {
	struct winapi base;
	int fd;
	pthread_mutex_t lock; /* buffers, pending */
	struct device_buffer *buffers;
	struct pending *pending; /* max_in_flight of them */
	uint32_t pending_free;
	pthread_mutex_t read_lock; /* records, as read and not yet taken */
	pthread_cond_t turn;
	bool someone_waits; /* for the file, without read_lock */
	uint8_t *records; /* room for RECORDS of the largest */
	size_t records_at;
	size_t records_size;
};

#define RECORDS 32u
#define NOTHING_PENDING UINT32_MAX

static inline struct device *device_of(struct winapi *handle)
{
	return (struct device *)handle;
}

/* An ioctl, again after a signal. 0 or more, or -errno. */
int device_ioctl(const struct device *device, unsigned long request, void *argument);
/* The library's call as the driver's; `refs` has room for WINAPI_BUFFERS_MAX. */
struct winapi_ioc_call device_call_of(const struct device *device, const struct winapi_call *call,
				      struct winapi_ioc_buffer_ref *refs);
/* Says what an errno of the driver means, and returns it. */
int device_fail(const struct device *device, int err);

/* async.c */
int device_async_init(struct device *device);
void device_async_free(struct device *device);
int device_submit(struct winapi *handle, const struct winapi_call *calls, unsigned int count);
int device_complete(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
		    uint32_t timeout_ms);
int device_cancel(struct winapi *handle, uint64_t user_data);

/* buffers.c */
int device_buffer_alloc(struct winapi *handle, size_t length, uint32_t access, struct winapi_buffer **buffer);
int device_buffer_register(struct winapi *handle, void *address, size_t length, uint32_t access,
			   struct winapi_buffer **buffer);
int device_buffer_free(struct winapi_buffer *buffer);
/* The file is closed; in a forked child the driver's memory isn't mapped. */
void device_buffers_forget(struct device *device, bool forked);

#endif /* LIBWINAPI_VMBUS_H */
