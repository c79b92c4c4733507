/* SPDX-License-Identifier: MIT */
/* Buffers: the driver's memory, mapped here, and the application's, pinned by the driver. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "vmbus.h"

static struct device_buffer *new_buffer(struct device *device, void *data, size_t length, uint32_t access)
{
	struct device_buffer *buffer = calloc(1, sizeof(*buffer));

	if (!buffer)
		return NULL;
	buffer->base.handle = &device->base;
	buffer->base.data = data;
	buffer->base.length = length;
	buffer->base.access = access;
	return buffer;
}

static void link_buffer(struct device *device, struct device_buffer *buffer)
{
	pthread_mutex_lock(&device->lock);
	buffer->next = device->buffers;
	if (buffer->next)
		buffer->next->previous = buffer;
	device->buffers = buffer;
	pthread_mutex_unlock(&device->lock);
}

static void unlink_buffer(struct device *device, struct device_buffer *buffer)
{
	pthread_mutex_lock(&device->lock);
	if (buffer->previous)
		buffer->previous->next = buffer->next;
	else
		device->buffers = buffer->next;
	if (buffer->next)
		buffer->next->previous = buffer->previous;
	pthread_mutex_unlock(&device->lock);
}

static void free_id(struct device *device, uint32_t id)
{
	struct winapi_ioc_free argument = { .id = id };

	device_ioctl(device, WINAPI_IOC_FREE, &argument);
}

/* ---- The driver's memory ------------------------------------------------------------------------------- */

/* The host's refusal: the same errno for callers as with every transport, and how far it went. */
static int fail_refused(const struct device *device, size_t length)
{
	struct winapi_ioc_stats stats = { 0 };

	device_ioctl(device, WINAPI_IOC_STATS, &stats);
	return fail(-ENOSPC, "the host refuses to share %zu bytes more; this handle shares %llu", length,
		    (unsigned long long)stats.buffer_bytes);
}

static int fail_alloc(const struct device *device, int err, size_t length)
{
	switch (err) {
	case -EDQUOT:
		return fail_refused(device, length);
	case -ENOSPC:
		return fail(err, "%zu bytes more are over the limits of the session; see `winapi info`",
			    length);
	case -ENOMEM:
		return fail(err, "no memory for a buffer of %zu bytes", length);
	default:
		return device_fail(device, err);
	}
}

int device_buffer_alloc(struct winapi *handle, size_t length, uint32_t access, struct winapi_buffer **out)
{
	struct device *device = device_of(handle);
	struct winapi_ioc_alloc alloc = { .length = length, .access = access };
	struct device_buffer *buffer;
	int err = device_ioctl(device, WINAPI_IOC_ALLOC, &alloc);
	void *map;

	if (err)
		return fail_alloc(device, err, length);
	map = mmap(NULL, alloc.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd,
		   (off_t)alloc.map_offset);
	buffer = map == MAP_FAILED ? NULL : new_buffer(device, map, length, access);
	if (!buffer) {
		if (map != MAP_FAILED)
			munmap(map, alloc.map_size);
		free_id(device, alloc.id);
		return fail(-ENOMEM, "a buffer of %zu bytes can't be mapped", length);
	}
	madvise(map, alloc.map_size, MADV_DONTFORK);
	buffer->id = alloc.id;
	buffer->map = map;
	buffer->map_size = alloc.map_size;
	link_buffer(device, buffer);
	*out = &buffer->base;
	return 0;
}

/* ---- The application's memory -------------------------------------------------------------------------- */

static int fail_register(const struct device *device, int err, size_t length)
{
	struct rlimit limit = { 0, 0 };

	switch (err) {
	case -ENOMEM:
		getrlimit(RLIMIT_MEMLOCK, &limit);
		return fail(err,
			    "%zu bytes can't be pinned: RLIMIT_MEMLOCK is %llu bytes; raise it (`ulimit -l`) "
			    "or use winapi_buffer_alloc, which doesn't count against it",
			    length, (unsigned long long)limit.rlim_cur);
	case -EFAULT:
		return fail(err, "the memory isn't mapped, or isn't writable by this process: use "
				 "winapi_buffer_alloc");
	default:
		return fail_alloc(device, err, length);
	}
}

int device_buffer_register(struct winapi *handle, void *address, size_t length, uint32_t access,
			   struct winapi_buffer **out)
{
	struct device *device = device_of(handle);
	struct winapi_ioc_register request = { .address = (uintptr_t)address,
					       .length = length,
					       .access = access };
	struct device_buffer *buffer;
	int err = device_ioctl(device, WINAPI_IOC_REGISTER, &request);

	if (err)
		return fail_register(device, err, length);
	buffer = new_buffer(device, address, length, access);
	if (!buffer) {
		free_id(device, request.id);
		return fail(-ENOMEM, "no memory");
	}
	buffer->id = request.id;
	link_buffer(device, buffer);
	*out = &buffer->base;
	return 0;
}

/* ---- The end ------------------------------------------------------------------------------------------- */

static void forget(struct device_buffer *buffer, bool forked)
{
	if (buffer->map && !forked)
		munmap(buffer->map, buffer->map_size);
	free(buffer);
}

int device_buffer_free(struct winapi_buffer *base)
{
	struct device *device = device_of(base->handle);
	struct device_buffer *buffer = (struct device_buffer *)base;
	struct winapi_ioc_free argument = { .id = buffer->id };
	int err = device_ioctl(device, WINAPI_IOC_FREE, &argument);

	/* With the channel gone there is nothing to wait for: the driver lets go by itself. */
	if (err && err != -ENODEV)
		return device_fail(device, err);
	unlink_buffer(device, buffer);
	forget(buffer, false);
	return 0;
}

void device_buffers_forget(struct device *device, bool forked)
{
	while (device->buffers) {
		struct device_buffer *buffer = device->buffers;

		device->buffers = buffer->next;
		forget(buffer, forked);
	}
}
