/* SPDX-License-Identifier: MIT */
#include "vmbus.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- The driver ---------------------------------------------------------------------------------------- */

int device_ioctl(const struct device *device, unsigned long request, void *argument)
{
	int result;

	do
		result = ioctl(device->fd, request, argument);
	while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

int device_fail(const struct device *device, int err)
{
	switch (err) {
	case -ENODEV:
		return fail(err,
			    "the host took its channel back or the driver was unloaded; close the handle "
			    "and open another");
	case -ECANCELED:
		return fail(err, "the handle is being closed");
	case -ETIMEDOUT:
		return fail(err, "no answer in time; the host was told to stop");
	case -EAGAIN:
		return fail(err, "all %u calls that the host allows are in flight",
			    device->base.info.max_in_flight);
	case -EFAULT:
		return fail(err,
			    "memory of the call isn't mapped, or isn't writable where the host is to write");
	case -EBUSY:
		return fail(err, "a call in flight uses the buffer; wait for its end");
	case -ERANGE:
		return fail(err, "offset and length pass the end of the buffer");
	case -EACCES:
		return fail(err, "the buffer isn't shared for that access");
	case -ENOSPC:
	case -EDQUOT:
		return fail(-ENOSPC,
			    "plain memory of the call can't be shared: the session or the host allows no "
			    "more; see `winapi info`");
	default:
		return fail(err, "%s", winapi_strerror(err));
	}
}

/* ---- Calls --------------------------------------------------------------------------------------------- */

struct winapi_ioc_call device_call_of(const struct device *device, const struct winapi_call *call,
				      struct winapi_ioc_buffer_ref *refs)
{
	uint32_t timeout = call->timeout_ms == WINAPI_TIMEOUT_DEFAULT ? device->base.timeout_ms :
									call->timeout_ms;

	for (uint32_t i = 0; i < call->buffer_count; i++) {
		const struct winapi_buffer_ref *ref = &call->buffers[i];
		const struct device_buffer *buffer = (const struct device_buffer *)ref->buffer;

		refs[i] = (struct winapi_ioc_buffer_ref){ .id = buffer ? buffer->id : 0,
							  .access = ref->access,
							  .address = buffer ? 0 : (uintptr_t)ref->address,
							  .offset = ref->offset,
							  .length = ref->length };
	}
	return (struct winapi_ioc_call){
		.in = (uintptr_t)call->in,
		.out = (uintptr_t)call->out,
		.buffers = (uintptr_t)refs,
		.in_size = call->in_size,
		.out_capacity = call->out_capacity,
		.buffer_count = call->buffer_count,
		.timeout_ms = timeout == WINAPI_TIMEOUT_INFINITE ? WINAPI_IOC_NO_TIMEOUT : timeout,
		.api = call->api,
		.method = call->method,
	};
}

/* The reply is there: what it means for the caller. */
static int judge(uint32_t status, uint32_t out_size, uint32_t capacity)
{
	if (status)
		return fail_status("the call failed", status);
	if (out_size > capacity)
		return fail(-EMSGSIZE, "the reply is larger than the call's out_capacity");
	return 0;
}

static int device_call(struct winapi *handle, struct winapi_call *call)
{
	struct device *device = device_of(handle);
	struct winapi_ioc_buffer_ref refs[WINAPI_BUFFERS_MAX];
	struct winapi_ioc_call ioc = device_call_of(device, call, refs);
	int err = device_ioctl(device, WINAPI_IOC_CALL, &ioc);

	if (err)
		return device_fail(device, err);
	call->status = ioc.status;
	call->out_size = ioc.out_size;
	call->host_ns = ioc.host_ns;
	return judge(ioc.status, ioc.out_size, call->out_capacity);
}

static int device_batch(struct winapi *handle, const void *in, uint32_t in_size, void *out,
			uint32_t *out_size, uint32_t timeout_ms)
{
	struct device *device = device_of(handle);
	struct winapi_call call = WINAPI_CALL_INIT;
	struct winapi_ioc_call ioc;
	int err;

	call.in = in;
	call.in_size = in_size;
	call.out = out;
	call.out_capacity = *out_size;
	call.timeout_ms = timeout_ms;
	ioc = device_call_of(device, &call, NULL);
	ioc.flags = WINAPI_IOC_CALL_BATCH;
	err = device_ioctl(device, WINAPI_IOC_CALL, &ioc);
	if (err)
		return device_fail(device, err);
	*out_size = ioc.out_size;
	return judge(ioc.status, ioc.out_size, call.out_capacity);
}

#define PACKET_OVERHEAD 32u /* descriptor, trailer, and the byte that always stays free */

static uint32_t device_batch_room(struct winapi *handle)
{
	uint32_t room = handle->info.ring_size - PACKET_OVERHEAD - (uint32_t)sizeof(struct winapi_msg_header);

	return room < handle->info.max_inline ? room : handle->info.max_inline;
}

static int device_fd(struct winapi *handle)
{
	return device_of(handle)->fd;
}

static void device_stats(struct winapi *handle, struct winapi_stats *stats)
{
	struct winapi_ioc_stats ioc = { 0 };

	if (device_ioctl(device_of(handle), WINAPI_IOC_STATS, &ioc))
		return;
	stats->calls = ioc.calls;
	stats->replies = ioc.replies;
	stats->bad_replies = ioc.bad_replies;
	stats->timeouts = ioc.timeouts;
	stats->signals_sent = ioc.signals;
	stats->sleeps = ioc.sleeps;
	stats->bytes_bounced = ioc.bytes_copied;
	stats->buffers = ioc.buffers;
	stats->buffer_bytes = ioc.buffer_bytes;
}

/* ---- Open and the end ---------------------------------------------------------------------------------- */

static void device_shut_down(struct winapi *handle)
{
	device_ioctl(device_of(handle), WINAPI_IOC_SHUTDOWN, NULL);
}

static void free_device(struct device *device, bool forked)
{
	if (device->fd >= 0)
		close(device->fd);
	device_buffers_forget(device, forked);
	device_async_free(device);
	pthread_mutex_destroy(&device->lock);
	pthread_mutex_destroy(&device->read_lock);
	free(device);
}

static void device_release(struct winapi *handle)
{
	free_device(device_of(handle), false);
}

static void device_release_forked(struct winapi *handle)
{
	free_device(device_of(handle), true);
}

static const struct transport_ops device_ops = {
	.shut_down = device_shut_down,
	.release = device_release,
	.release_forked = device_release_forked,
	.call = device_call,
	.submit = device_submit,
	.complete = device_complete,
	.cancel = device_cancel,
	.fd = device_fd,
	.batch = device_batch,
	.batch_room = device_batch_room,
	.buffer_alloc = device_buffer_alloc,
	.buffer_register = device_buffer_register,
	.buffer_free = device_buffer_free,
	.stats = device_stats,
};

static int open_file(struct device *device)
{
	device->fd = open(VMBUS_DEVICE, O_RDWR | O_CLOEXEC);
	if (device->fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
		return fail(-ENOENT,
			    VMBUS_DEVICE " doesn't exist: is the winapi_client module loaded, and does "
					 "the host offer its channel? See `dmesg | grep winapi`");
	case EACCES:
		return fail(-EACCES, VMBUS_DEVICE " can't be opened: become a member of group winapi");
	case ENODEV:
		return fail(-ENODEV, VMBUS_DEVICE ": the host is gone; see `dmesg | grep winapi`");
	case ETIMEDOUT:
		return fail(-ETIMEDOUT, VMBUS_DEVICE ": the host is silent");
	case EUSERS:
		return fail(-EUSERS, VMBUS_DEVICE ": the host allows no more sessions");
	default:
		return fail(-errno, VMBUS_DEVICE ": %s", strerrordesc_np(errno));
	}
}

static int take_info(struct device *device)
{
	struct winapi_info *info = &device->base.info;
	struct winapi_ioc_info ioc = { 0 };
	int err = device_ioctl(device, WINAPI_IOC_INFO, &ioc);

	if (err)
		return device_fail(device, err);
	memcpy(info->transport, "vmbus", 6);
	memcpy(info->provider, ioc.provider, sizeof(info->provider));
	info->provider[sizeof(info->provider) - 1] = '\0';
	info->protocol_version = ioc.protocol_version;
	info->features = ioc.features;
	info->ring_size = ioc.ring_size;
	info->max_in_flight = ioc.max_in_flight;
	info->max_inline = ioc.max_inline;
	info->max_buffers_per_call = ioc.max_buffers_per_call;
	info->max_batch = ioc.max_batch < WINAPI_MAX_BATCH ? ioc.max_batch : WINAPI_MAX_BATCH;
	info->max_buffers = ioc.max_buffers;
	info->max_buffer_size = ioc.max_buffer_size;
	info->max_bytes = ioc.max_bytes;
	return 0;
}

int vmbus_open(struct winapi **handle, const struct winapi_open_options *options)
{
	struct device *device = calloc(1, sizeof(*device));
	int err;

	if (!device)
		return fail(-ENOMEM, "no memory for a handle");
	device->base.ops = &device_ops;
	device->base.timeout_ms = options->timeout_ms;
	device->base.inside = 1;
	device->fd = -1;
	pthread_mutex_init(&device->lock, NULL);
	pthread_mutex_init(&device->read_lock, NULL);
	err = process_number(&device->base.process);
	if (err)
		fail(err, "a forked child couldn't be told apart: %s", winapi_strerror(err));
	if (!err)
		err = open_file(device);
	if (!err)
		err = take_info(device);
	if (!err)
		err = device_async_init(device);
	if (err) {
		free_device(device, false);
		return err;
	}
	*handle = &device->base;
	return 0;
}
