/* SPDX-License-Identifier: MIT */
/* The public functions: arguments are checked here, once, whatever the transport. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_TIMEOUT_MS 30000u

WINAPI_ASSERT_SIZE(struct winapi_api_info, sizeof(struct winapi_api_desc));

HOT_PATH uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

HOT_PATH uint64_t deadline_after(uint64_t now, uint32_t timeout_ms)
{
	return timeout_ms == WINAPI_TIMEOUT_INFINITE ? NO_DEADLINE : now + timeout_ms * 1000000ull;
}

const char *winapi_library_version(void)
{
	return WINAPI_LIBRARY_VERSION;
}

/* ---- Entering and leaving ---------------------------------------------------------------------------- */

HOT_PATH int handle_enter(struct winapi *handle)
{
	if (!handle)
		return fail(-EINVAL, "the handle is NULL");
	if (!process_is(handle->process))
		return fail(-ECHILD, "the handle belongs to the parent process; open one in the child");
	__atomic_fetch_add(&handle->inside, 1, __ATOMIC_ACQUIRE);
	if (__atomic_load_n(&handle->closing, __ATOMIC_ACQUIRE)) {
		handle_leave(handle);
		return fail(-ECANCELED, "the handle is being closed");
	}
	return 0;
}

HOT_PATH void handle_leave(struct winapi *handle)
{
	if (__atomic_sub_fetch(&handle->inside, 1, __ATOMIC_ACQ_REL) == 0)
		handle->ops->release(handle);
}

void winapi_close(struct winapi *handle)
{
	if (!handle)
		return;
	if (!process_is(handle->process)) {
		handle->ops->release_forked(handle);
		return;
	}
	__atomic_store_n(&handle->closing, 1, __ATOMIC_RELEASE);
	handle->ops->shut_down(handle);
	handle_leave(handle); /* the owner's part: the last one out releases */
}

/* ---- Structs that grow ------------------------------------------------------------------------------- */

/* What the caller knows of a struct, in ours. Bytes that only a newer caller knows must be zero. */
static int take_sized(void *ours, size_t our_size, const void *theirs, size_t their_size)
{
	const unsigned char *bytes = theirs;

	if (their_size < sizeof(size_t))
		return fail(-EINVAL, "a struct's size field isn't set; use its WINAPI_..._INIT");
	for (size_t i = our_size; i < their_size; i++)
		if (bytes[i])
			return fail(-E2BIG, "a field is set that this version of the library doesn't know");
	memset(ours, 0, our_size);
	memcpy(ours, theirs, their_size < our_size ? their_size : our_size);
	return 0;
}

/* Ours in as much as the caller knows of it; `size` keeps what the caller set. */
static int give_sized(void *theirs, size_t their_size, void *ours, size_t our_size)
{
	if (their_size < sizeof(size_t))
		return fail(-EINVAL, "a struct's size field isn't set");
	memcpy(ours, &their_size, sizeof(their_size));
	if (their_size > our_size)
		memset((char *)theirs + our_size, 0, their_size - our_size);
	memcpy(theirs, ours, their_size < our_size ? their_size : our_size);
	return 0;
}

/* ---- Open -------------------------------------------------------------------------------------------- */

static int check_options(const struct winapi_open_options *o)
{
	if (o->poll > WINAPI_POLL_NEVER)
		return fail(-EINVAL, "poll must be WINAPI_POLL_ADAPTIVE, _ALWAYS or _NEVER");
	if (o->ring_size & (o->ring_size - 1) || o->ring_size < WINAPI_MIN_RING_DATA ||
	    o->ring_size > WINAPI_MAX_RING_DATA)
		return fail(-EINVAL, "ring_size must be a power of two from 4096 to 1048576");
	if (o->reserved)
		return fail(-EINVAL, "a reserved field of the options isn't zero");
	return 0;
}

static int open_uri(struct winapi **handle, const char *uri, const struct winapi_open_options *options)
{
	if (!uri || !*uri)
		return access(VMBUS_DEVICE, F_OK) ? local_open(handle, "", options) :
						    vmbus_open(handle, options);
	if (!strncmp(uri, "local:", 6))
		return local_open(handle, uri + 6, options);
	if (!strcmp(uri, "vmbus:"))
		return vmbus_open(handle, options);
	return fail(-EINVAL, "\"%.80s\" isn't a URI of a host: use \"local:\", \"local:PATH\" or \"vmbus:\"",
		    uri);
}

int winapi_open(struct winapi **handle, const char *uri, const struct winapi_open_options *options)
{
	struct winapi_open_options o = { .size = sizeof(o) };
	int err = 0;

	if (!handle)
		return fail(-EINVAL, "nowhere to put the handle: it is NULL");
	*handle = NULL;
	if (options)
		err = take_sized(&o, sizeof(o), options, options->size);
	if (err)
		return err;
	if (!o.ring_size)
		o.ring_size = WINAPI_DEFAULT_RING_DATA;
	if (!o.timeout_ms)
		o.timeout_ms = DEFAULT_TIMEOUT_MS;
	err = check_options(&o);
	return err ? err : open_uri(handle, uri, &o);
}

int winapi_get_info(struct winapi *handle, struct winapi_info *info)
{
	struct winapi_info ours;
	int err = handle_enter(handle);

	if (err)
		return err;
	ours = handle->info;
	handle_leave(handle);
	if (!info)
		return fail(-EINVAL, "nowhere to put the info: it is NULL");
	return give_sized(info, info->size, &ours, sizeof(ours));
}

/* ---- Buffers ----------------------------------------------------------------------------------------- */

static int check_buffer(struct winapi *handle, size_t length, uint32_t access)
{
	if (!length || !access || access & ~(WINAPI_HOST_READS | WINAPI_HOST_WRITES))
		return fail(-EINVAL, "a buffer needs a length and WINAPI_HOST_READS, _WRITES or both");
	if (length > handle->info.max_buffer_size)
		return fail(-E2BIG, "%zu bytes are more than the %llu that one buffer may have", length,
			    (unsigned long long)handle->info.max_buffer_size);
	return 0;
}

int winapi_buffer_alloc(struct winapi *handle, size_t length, uint32_t access, struct winapi_buffer **buffer)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	err = buffer ? check_buffer(handle, length, access) :
		       fail(-EINVAL, "nowhere to put the buffer: it is NULL");
	if (!err)
		err = handle->ops->buffer_alloc(handle, length, access, buffer);
	handle_leave(handle);
	return err;
}

int winapi_buffer_register(struct winapi *handle, void *address, size_t length, uint32_t access,
			   struct winapi_buffer **buffer)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	err = buffer && address ? check_buffer(handle, length, access) :
				  fail(-EINVAL, "the memory or the place for the buffer is NULL");
	if (!err)
		err = handle->ops->buffer_register(handle, address, length, access, buffer);
	handle_leave(handle);
	return err;
}

int winapi_buffer_free(struct winapi_buffer *buffer)
{
	struct winapi *handle;
	int err;

	if (!buffer)
		return 0;
	handle = buffer->handle;
	err = handle_enter(handle);
	if (err)
		return err;
	err = handle->ops->buffer_free(buffer);
	handle_leave(handle);
	return err;
}

void *winapi_buffer_data(const struct winapi_buffer *buffer)
{
	return buffer ? buffer->data : NULL;
}

int winapi_buffer_get_info(const struct winapi_buffer *buffer, struct winapi_buffer_info *info)
{
	struct winapi_buffer_info ours = { 0 };

	if (!buffer || !info)
		return fail(-EINVAL, "the buffer or the place for its info is NULL");
	ours.length = buffer->length;
	ours.access = buffer->access;
	ours.flags = buffer->flags;
	return give_sized(info, info->size, &ours, sizeof(ours));
}

/* ---- Calls ------------------------------------------------------------------------------------------- */

static int check_ref(const struct winapi *handle, const struct winapi_buffer_ref *ref)
{
	if (!ref->length || !ref->access || ref->reserved ||
	    ref->access & ~(WINAPI_HOST_READS | WINAPI_HOST_WRITES))
		return fail(-EINVAL, "a buffer of the call lacks a length or an access, or has reserved set");
	if (ref->length > WINAPI_BUFFER_SIZE_MAX)
		return fail(-E2BIG, "a buffer of the call is larger than 64 MiB");
	if (!ref->buffer)
		return ref->address && !ref->offset ?
			       0 :
			       fail(-EINVAL, "plain memory needs an address and no offset");
	if (ref->buffer->handle != handle)
		return fail(-EBADF, "a buffer of the call belongs to another handle");
	return 0;
}

/* Bounds of the protocol; what the host decides (handles' access, lengths) is left to the host. */
HOT_PATH static int check_call(const struct winapi *handle, const struct winapi_call *call)
{
	int err = 0;

	if (!call)
		return fail(-EINVAL, "the call is NULL");
	if (call->size != sizeof(*call))
		return fail(-EINVAL, "call->size isn't sizeof(struct winapi_call); use WINAPI_CALL_INIT");
	if (call->reserved || (call->in_size && !call->in) || (call->out_capacity && !call->out) ||
	    (call->buffer_count && !call->buffers))
		return fail(-EINVAL, "a pointer of the call is NULL where its size isn't 0");
	if (call->in_size > WINAPI_INLINE_MAX)
		return fail(-E2BIG, "%u bytes of input are more than the %u that travel inline: use a buffer",
			    call->in_size, WINAPI_INLINE_MAX);
	if (call->buffer_count > WINAPI_BUFFERS_MAX)
		return fail(-E2BIG, "%u buffers are more than the %u of a call", call->buffer_count,
			    WINAPI_BUFFERS_MAX);
	for (uint32_t i = 0; !err && i < call->buffer_count; i++)
		err = check_ref(handle, &call->buffers[i]);
	return err;
}

HOT_PATH int winapi_call(struct winapi *handle, struct winapi_call *call)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	err = check_call(handle, call);
	if (!err) {
		call->out_size = 0;
		call->status = 0;
		call->host_ns = 0;
		err = handle->ops->call(handle, call);
	}
	handle_leave(handle);
	return err;
}

int winapi_submit(struct winapi *handle, const struct winapi_call *calls, unsigned int count)
{
	unsigned int good = 0;
	int err = handle_enter(handle);

	if (err)
		return err;
	if (count > INT_MAX || (count && !calls))
		err = fail(-EINVAL, "the array of calls is NULL or too long");
	while (!err && good < count) {
		err = check_call(handle, &calls[good]);
		good += !err;
	}
	if (good || (!err && !count))
		err = good ? handle->ops->submit(handle, calls, good) : 0;
	handle_leave(handle);
	return err;
}

int winapi_complete(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
		    uint32_t timeout_ms)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	if (!completions || !max || max > INT_MAX)
		err = fail(-EINVAL, "no room for a completion");
	else
		err = handle->ops->complete(handle, completions, max, timeout_ms);
	handle_leave(handle);
	return err;
}

int winapi_fd(struct winapi *handle)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	err = handle->ops->fd(handle);
	handle_leave(handle);
	return err;
}

int winapi_cancel(struct winapi *handle, uint64_t user_data)
{
	int err = handle_enter(handle);

	if (err)
		return err;
	err = handle->ops->cancel(handle, user_data);
	handle_leave(handle);
	return err;
}

/* ---- Statistics -------------------------------------------------------------------------------------- */

static void take_host_stats(struct winapi_stats *to, const struct winapi_provider_stats *from)
{
	to->host_requests = from->channel_requests;
	to->host_replies = from->channel_replies;
	to->host_errors = from->channel_errors;
	to->host_in_flight = from->channel_in_flight;
	to->host_replies_queued = from->channel_replies_queued;
	to->host_buffers = from->session_buffers;
	to->host_bytes = from->session_bytes;
	to->host_bytes_copied = from->bytes_copied;
	to->provider_channels = from->provider_channels;
	to->provider_sessions = from->provider_sessions;
	to->provider_buffers = from->provider_buffers;
	to->provider_bytes = from->provider_bytes;
}

int winapi_get_stats(struct winapi *handle, struct winapi_stats *stats)
{
	struct winapi_provider_stats host = { 0 };
	uint32_t size = sizeof(host);
	struct winapi_stats ours = { 0 };
	int err = handle_enter(handle);

	if (err)
		return err;
	if (!stats) {
		handle_leave(handle);
		return fail(-EINVAL, "nowhere to put the statistics: it is NULL");
	}
	err = simple_call(handle, WINAPI_API_INTROSPECTION, WINAPI_INTROSPECTION_STATS, NULL, 0, &host,
			  &size);
	handle->ops->stats(handle, &ours);
	handle_leave(handle);
	if (err)
		return err;
	take_host_stats(&ours, &host);
	return give_sized(stats, stats->size, &ours, sizeof(ours));
}
