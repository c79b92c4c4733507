/* SPDX-License-Identifier: MIT */
/*
 * Submitted calls. The driver never writes a submitter's memory later: ends come as records by read(), and
 * here their data find the caller's `out`.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmbus.h"

#define RECORD_MAX (sizeof(struct winapi_ioc_completion) + WINAPI_INLINE_MAX)
#define SUBMIT_AT_ONCE 64u
#define TURN_NS 1000000000ull /* how often a waiter looks whether the handle is being closed */

int device_async_init(struct device *device)
{
	uint32_t count = device->base.info.max_in_flight;

	pthread_condattr_t clock;

	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&device->turn, &clock);
	pthread_condattr_destroy(&clock);
	device->pending = calloc(count, sizeof(*device->pending));
	device->records = malloc(RECORDS * RECORD_MAX);
	if (!device->pending || !device->records)
		return fail(-ENOMEM, "no memory for %u calls in flight", count);
	for (uint32_t i = 0; i < count; i++)
		device->pending[i].next_free = i + 1 < count ? i + 1 : NOTHING_PENDING;
	return 0;
}

void device_async_free(struct device *device)
{
	free(device->pending);
	free(device->records);
}

/* ---- Submit -------------------------------------------------------------------------------------------- */

/* Under lock. */
static bool take_pending(struct device *device, const struct winapi_call *call, uint64_t *token)
{
	uint32_t index = device->pending_free;
	struct pending *pending = &device->pending[index];

	if (index == NOTHING_PENDING)
		return false;
	device->pending_free = pending->next_free;
	*pending = (struct pending){ call->out, call->user_data, call->out_capacity, NOTHING_PENDING, true };
	*token = index;
	return true;
}

/* Under lock. */
static void give_pending(struct device *device, uint64_t token)
{
	struct pending *pending = &device->pending[token];

	pending->busy = false;
	pending->next_free = device->pending_free;
	device->pending_free = (uint32_t)token;
}

/* As many as there is room for, with one ioctl. How many were started, or -errno. */
static int submit_some(struct device *device, const struct winapi_call *calls, unsigned int count)
{
	struct winapi_ioc_buffer_ref refs[SUBMIT_AT_ONCE][WINAPI_BUFFERS_MAX];
	struct winapi_ioc_call ioc[SUBMIT_AT_ONCE];
	struct winapi_ioc_submit submit = { .calls = (uintptr_t)ioc, .call_size = sizeof(ioc[0]) };
	int started;

	pthread_mutex_lock(&device->lock);
	while (submit.count < count && submit.count < SUBMIT_AT_ONCE) {
		unsigned int i = submit.count;

		ioc[i] = device_call_of(device, &calls[i], refs[i]);
		if (!take_pending(device, &calls[i], (uint64_t *)&ioc[i].user_data))
			break;
		submit.count++;
	}
	pthread_mutex_unlock(&device->lock);
	started = submit.count ? device_ioctl(device, WINAPI_IOC_SUBMIT, &submit) : -EAGAIN;
	pthread_mutex_lock(&device->lock);
	for (unsigned int i = started < 0 ? 0 : (unsigned int)started; i < submit.count; i++)
		give_pending(device, ioc[i].user_data);
	pthread_mutex_unlock(&device->lock);
	return started;
}

int device_submit(struct winapi *handle, const struct winapi_call *calls, unsigned int count)
{
	struct device *device = device_of(handle);
	unsigned int done = 0;

	while (done < count) {
		unsigned int some = count - done < SUBMIT_AT_ONCE ? count - done : SUBMIT_AT_ONCE;
		int started = submit_some(device, calls + done, some);

		if (started < 0 && !done)
			return device_fail(device, started);
		done += started < 0 ? 0 : (unsigned int)started;
		if (started != (int)some)
			break;
	}
	return (int)done;
}

/* ---- Complete ------------------------------------------------------------------------------------------ */

/* One record's end and data to where the submitter wants them. */
static void take_record(struct device *device, const struct winapi_ioc_completion *record,
			const uint8_t *data, struct winapi_completion *out)
{
	struct pending pending;

	pthread_mutex_lock(&device->lock);
	pending = device->pending[record->user_data];
	give_pending(device, record->user_data);
	pthread_mutex_unlock(&device->lock);
	*out = (struct winapi_completion){ .user_data = pending.user_data,
					   .result = record->result,
					   .status = record->status,
					   .out_size = record->out_size,
					   .host_ns = record->host_ns };
	if (!out->result)
		out->result = status_error(record->status);
	if (!out->result && record->out_size)
		memcpy(pending.out, data, record->out_size);
}

/* Records that were read and not yet asked for. Under read_lock. */
static unsigned int deliver(struct device *device, struct winapi_completion *out, unsigned int max)
{
	unsigned int n = 0;

	while (n < max && device->records_at < device->records_size) {
		struct winapi_ioc_completion record;

		memcpy(&record, device->records + device->records_at, sizeof(record));
		device->records_at += sizeof(record);
		take_record(device, &record, device->records + device->records_at, &out[n++]);
		device->records_at += record.result ? 0 : (record.out_size + 7) & ~7u;
	}
	return n;
}

static bool await_records(const struct device *device, int timeout_ms)
{
	struct pollfd fd = { .fd = device->fd, .events = POLLIN };

	return poll(&fd, 1, timeout_ms) > 0;
}

/* Reads what is there, and never waits: all read under read_lock, and look before. 0 or -errno. */
static int refill(struct device *device)
{
	ssize_t size;

	if (!await_records(device, 0))
		return 0;
	size = read(device->fd, device->records, RECORDS * RECORD_MAX);
	if (size < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	device->records_at = 0;
	device->records_size = (size_t)size;
	return size ? 0 : -ENODEV;
}

/* One thread waits for the file; the others wait for it to come back, as it may bring their records too. */
static void wait_in_turn(struct device *device, uint64_t now, uint64_t deadline)
{
	uint64_t until = deadline - now > TURN_NS ? now + TURN_NS : deadline;
	struct timespec at = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) };

	if (device->someone_waits) {
		pthread_cond_timedwait(&device->turn, &device->read_lock, &at);
		return;
	}
	device->someone_waits = true;
	pthread_mutex_unlock(&device->read_lock);
	await_records(device, (int)((until - now + 999999) / 1000000));
	pthread_mutex_lock(&device->read_lock);
	device->someone_waits = false;
}

static int complete(struct device *device, struct winapi_completion *out, unsigned int max, uint64_t deadline)
{
	for (;;) {
		unsigned int n = deliver(device, out, max);
		uint64_t now;
		int err = 0;

		if (!n) {
			err = refill(device);
			n = deliver(device, out, max);
		}
		if (n || err)
			return n ? (int)n : err;
		if (__atomic_load_n(&device->base.closing, __ATOMIC_ACQUIRE))
			return -ECANCELED;
		now = clock_ns();
		if (now >= deadline)
			return 0;
		wait_in_turn(device, now, deadline);
	}
}

int device_complete(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
		    uint32_t timeout_ms)
{
	struct device *device = device_of(handle);
	int n;

	pthread_mutex_lock(&device->read_lock);
	n = complete(device, completions, max, deadline_after(clock_ns(), timeout_ms));
	pthread_cond_broadcast(&device->turn);
	pthread_mutex_unlock(&device->read_lock);
	return n < 0 ? device_fail(device, n) : n;
}

/* ---- Cancel -------------------------------------------------------------------------------------------- */

int device_cancel(struct winapi *handle, uint64_t user_data)
{
	struct device *device = device_of(handle);
	struct winapi_ioc_cancel cancel;
	uint32_t i = 0;
	int err;

	if (!(handle->info.features & WINAPI_FEATURE_CANCEL))
		return fail(-EOPNOTSUPP, "the host can't cancel calls");
	pthread_mutex_lock(&device->lock);
	while (i < handle->info.max_in_flight &&
	       !(device->pending[i].busy && device->pending[i].user_data == user_data))
		i++;
	pthread_mutex_unlock(&device->lock);
	cancel.user_data = i;
	err = i < handle->info.max_in_flight ? device_ioctl(device, WINAPI_IOC_CANCEL, &cancel) : -ENOENT;
	if (err == -ENOENT)
		return fail(err, "no such call is in flight");
	return err ? device_fail(device, err) : 0;
}
