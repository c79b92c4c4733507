/* SPDX-License-Identifier: MIT */
/* Buffers: allocated and shared, registered and bounced, and plain memory that a call brings. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "local.h"

#define PAGE ((uint64_t)VMBUS_PAGE_SIZE)
#define PLAIN_ALIGN 64u /* pieces of plain memory start on lines of their own */

/* ---- Sharing a piece with the provider ----------------------------------------------------------------- */

static uint64_t patience(const struct local *local)
{
	return deadline_after(clock_ns(), local->base.timeout_ms);
}

/* Takes buffers_lock, from a thread that may wait for the host for longer than this one wants to. */
static int begin(struct local *local, uint64_t deadline)
{
	return lock_take_until(&local->buffers_lock, deadline) ?
		       0 :
		       fail(-ETIMEDOUT, "the host is slow to answer for another thread's buffer");
}

static void count_buffer(struct local *local, uint64_t buffers, uint64_t bytes)
{
	__atomic_store_n(&local->buffer_count, local->buffer_count + buffers, __ATOMIC_RELAXED);
	__atomic_store_n(&local->buffer_bytes, local->buffer_bytes + bytes, __ATOMIC_RELAXED);
}

static void tear_down(struct local *local, struct local_buffer *buffer, uint64_t deadline)
{
	while (buffer->chunks)
		bus_gpadl_teardown(local, buffer->gpadl[--buffer->chunks], deadline);
}

static int create_chunks(struct local *local, struct local_buffer *buffer, uint64_t deadline)
{
	for (uint64_t at = 0; at < buffer->piece.size; at += WINAPI_CHUNK_SIZE) {
		uint64_t left = buffer->piece.size - at;
		uint64_t size = left < WINAPI_CHUNK_SIZE ? left : WINAPI_CHUNK_SIZE;
		int err = bus_gpadl_create(local, buffer->piece.gpa + at, size / PAGE,
					   &buffer->gpadl[buffer->chunks], deadline);

		if (err == -ENOSPC)
			return fail(err,
				    "the host shares no more memory: %llu bytes are registered on this handle",
				    (unsigned long long)local->buffer_bytes);
		if (err)
			return err;
		buffer->chunks++;
	}
	return 0;
}

static int announce(struct local *local, struct local_buffer *buffer, uint64_t deadline)
{
	struct winapi_buffer_register_request request = {
		.length = buffer->base.length,
		.access = buffer->base.access,
		.chunk_count = buffer->chunks,
	};
	struct winapi_buffer_register_reply reply = { 0 };
	uint32_t size = sizeof(reply);
	int err;

	memcpy(request.gpadl, buffer->gpadl, buffer->chunks * sizeof(request.gpadl[0]));
	err = calls_control(local, WINAPI_MSG_BUFFER_REGISTER, &request,
			    (uint32_t)offsetof(struct winapi_buffer_register_request, gpadl) +
				    buffer->chunks * 4,
			    &reply, &size, deadline, NULL);
	if (!err && (size != sizeof(reply) || !reply.handle))
		err = fail(-EPROTO, "the host answered a registration without a handle");
	buffer->handle = reply.handle;
	return err;
}

/* Under buffers_lock. */
static int share(struct local *local, size_t length, uint32_t access, struct local_buffer **out,
		 uint64_t deadline)
{
	struct local_buffer *buffer = calloc(1, sizeof(*buffer));
	int err;

	if (!buffer)
		return fail(-ENOMEM, "no memory");
	buffer->base.handle = &local->base;
	buffer->base.length = length;
	buffer->base.access = access;
	err = memory_take(local, length, &buffer->piece, deadline);
	if (!err)
		err = create_chunks(local, buffer, deadline);
	if (!err)
		err = announce(local, buffer, deadline);
	if (err) {
		tear_down(local, buffer, deadline);
		if (buffer->piece.size)
			memory_give(local, &buffer->piece, deadline);
		free(buffer);
		return err;
	}
	count_buffer(local, 1, length);
	*out = buffer;
	return 0;
}

/*
 * The host says that it is done, then the pages may go. It may have been asked before and have had no time to answer;
 * then it knows no such buffer any more. Under buffers_lock.
 */
static int stop_sharing(struct local *local, struct local_buffer *buffer, uint64_t deadline)
{
	struct winapi_buffer_unregister_request request = { .handle = buffer->handle };
	uint32_t none = 0;
	int err = calls_control(local, WINAPI_MSG_BUFFER_UNREGISTER, &request, sizeof(request), NULL, &none,
				deadline, NULL);

	if (err && err != status_error(WINAPI_STATUS_INVALID_HANDLE) &&
	    !__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE))
		return err;
	tear_down(local, buffer, deadline);
	memory_give(local, &buffer->piece, deadline);
	count_buffer(local, -1ull, -buffer->base.length);
	free(buffer);
	return 0;
}

static void throw_away(struct local *local, struct local_buffer *buffer)
{
	buffer->next = __atomic_load_n(&local->garbage, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&local->garbage, &buffer->next, buffer, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

/* Buffers whose calls ended where nothing could be sent. What the host doesn't answer in time is left. Under buffers_lock. */
static void collect_garbage(struct local *local, uint64_t deadline)
{
	struct local_buffer *buffer = __atomic_exchange_n(&local->garbage, NULL, __ATOMIC_ACQ_REL);
	bool silent = false;

	while (buffer) {
		struct local_buffer *next = buffer->next;

		silent = silent || stop_sharing(local, buffer, deadline);
		if (silent)
			throw_away(local, buffer);
		buffer = next;
	}
}

/* ---- The application's buffers ------------------------------------------------------------------------- */

static void link_buffer(struct local *local, struct local_buffer *buffer)
{
	buffer->previous = NULL;
	buffer->next = local->buffers;
	if (buffer->next)
		buffer->next->previous = buffer;
	local->buffers = buffer;
}

static void unlink_buffer(struct local *local, struct local_buffer *buffer)
{
	if (buffer->previous)
		buffer->previous->next = buffer->next;
	else
		local->buffers = buffer->next;
	if (buffer->next)
		buffer->next->previous = buffer->previous;
}

static int make(struct winapi *handle, void *address, size_t length, uint32_t access,
		struct winapi_buffer **out)
{
	struct local *local = local_of(handle);
	uint64_t deadline = patience(local);
	struct local_buffer *buffer;
	int err = local_check(local);

	if (!err)
		err = begin(local, deadline);
	if (err)
		return err;
	collect_garbage(local, deadline);
	err = share(local, length, access, &buffer, deadline);
	if (!err) {
		buffer->base.data = address ? address : buffer->piece.data;
		buffer->base.flags = address ? WINAPI_BUFFER_BOUNCED : 0;
		link_buffer(local, buffer);
		*out = &buffer->base;
	}
	lock_drop(&local->buffers_lock);
	return err;
}

int buffers_alloc(struct winapi *handle, size_t length, uint32_t access, struct winapi_buffer **buffer)
{
	return make(handle, NULL, length, access, buffer);
}

/* The host can't reach memory of the application's, so the buffer gets a shadow that it can. */
int buffers_register(struct winapi *handle, void *address, size_t length, uint32_t access,
		     struct winapi_buffer **buffer)
{
	return make(handle, address, length, access, buffer);
}

int buffers_free(struct winapi_buffer *base)
{
	struct local *local = local_of(base->handle);
	struct local_buffer *buffer = (struct local_buffer *)base;
	uint64_t deadline = patience(local);
	int err;

	if (__atomic_load_n(&base->users, __ATOMIC_ACQUIRE))
		return fail(-EBUSY, "a call in flight uses the buffer; wait for its end");
	err = begin(local, deadline);
	if (err)
		return err;
	unlink_buffer(local, buffer);
	err = stop_sharing(local, buffer, deadline);
	if (err)
		link_buffer(local, buffer);
	lock_drop(&local->buffers_lock);
	return err;
}

void buffers_forget_all(struct local *local)
{
	struct local_buffer *lists[] = { local->buffers, local->garbage };

	for (unsigned int i = 0; i < 2; i++) {
		while (lists[i]) {
			struct local_buffer *next = lists[i]->next;

			free(lists[i]);
			lists[i] = next;
		}
	}
	local->buffers = NULL;
	local->garbage = NULL;
}

/* ---- Buffers of a call --------------------------------------------------------------------------------- */

static void use(struct held *held, struct local_buffer *buffer)
{
	__atomic_fetch_add(&buffer->base.users, 1, __ATOMIC_RELAXED);
	held->buffer[held->users++] = buffer;
}

static void bounce_in(struct local *local, struct held *held, struct bounce bounce)
{
	held->bounce[held->bounces++] = bounce;
	if (bounce.access & WINAPI_HOST_READS)
		memcpy(bounce.shared, bounce.application, bounce.length);
	__atomic_fetch_add(&local->bytes_bounced,
			   bounce.length * (bounce.access == WINAPI_ACCESS_BOTH ? 2 : 1), __ATOMIC_RELAXED);
}

static int hold_shared(struct local *local, const struct winapi_buffer_ref *ref, struct local_buffer *buffer,
		       uint64_t offset, struct winapi_buffer_desc *desc, struct held *held)
{
	/* The host checks these too; but bytes that bounce are copied before it could. */
	if (offset > buffer->base.length || ref->length > buffer->base.length - offset)
		return fail(-ERANGE, "offset and length pass the end of the buffer");
	if (ref->access & ~buffer->base.access)
		return fail(-EACCES, "the buffer isn't shared for that access");
	*desc = (struct winapi_buffer_desc){ buffer->handle, offset, ref->length, ref->access, 0 };
	use(held, buffer);
	if (buffer->base.flags & WINAPI_BUFFER_BOUNCED)
		bounce_in(local, held,
			  (struct bounce){ (uint8_t *)buffer->base.data + offset, buffer->piece.data + offset,
					   ref->length, ref->access });
	return 0;
}

/* The allocation of ours that plain memory lies in, if it may be used that way. */
static struct local_buffer *find_allocation(struct local *local, const struct winapi_buffer_ref *ref)
{
	uint8_t *at = ref->address;

	for (struct local_buffer *b = local->buffers; b; b = b->next) {
		uint8_t *start = b->base.data;

		if (!(b->base.flags & WINAPI_BUFFER_BOUNCED) && at >= start && at < start + b->base.length &&
		    ref->length <= b->base.length - (uint64_t)(at - start) &&
		    !(ref->access & ~b->base.access))
			return b;
	}
	return NULL;
}

static uint64_t aligned(uint64_t size)
{
	return (size + PLAIN_ALIGN - 1) / PLAIN_ALIGN * PLAIN_ALIGN;
}

/* Do so many pages, of one slab, fit in a packet beside this call's message? */
static bool fits_packet(const struct local *local, const struct winapi_call *call, uint64_t pages)
{
	uint64_t payload = sizeof(struct vmbus_gpa_direct) + sizeof(struct vmbus_gpa_range) + pages * 8 +
			   sizeof(struct winapi_msg_header) +
			   call->buffer_count * sizeof(struct winapi_buffer_desc) + call->in_size;

	return pages <= SLAB_PIECE_MAX / PAGE && payload < local->out.size &&
	       vmbus_ring_packet_size((uint32_t)payload) < local->out.size;
}

/* Memory for the call's plain bytes. Under buffers_lock. */
static int take_plain(struct local *local, const struct winapi_call *call, uint64_t bytes, struct held *held,
		      uint64_t deadline)
{
	uint64_t pages = (bytes + PAGE - 1) / PAGE;

	collect_garbage(local, deadline);
	if (fits_packet(local, call, pages) && local->base.info.features & WINAPI_FEATURE_GPA_DIRECT)
		return memory_take(local, bytes, &held->piece, deadline);
	if (bytes > local->base.info.max_buffer_size)
		return fail(-E2BIG,
			    "%llu bytes of plain memory are too many for one call: use winapi_buffer_alloc",
			    (unsigned long long)bytes);
	return share(local, bytes, WINAPI_ACCESS_BOTH, &held->registered, deadline);
}

static void place_plain(struct local *local, const struct winapi_buffer_ref *ref, uint64_t at,
			struct winapi_buffer_desc *desc, struct held *held)
{
	uint8_t *shared = held->registered ? held->registered->piece.data : held->piece.data;

	*desc = (struct winapi_buffer_desc){ held->registered ? held->registered->handle : 0, at, ref->length,
					     ref->access, 0 };
	bounce_in(local, held, (struct bounce){ ref->address, shared + at, ref->length, ref->access });
}

static int hold_all(struct local *local, const struct winapi_call *call, struct winapi_buffer_desc *desc,
		    struct held *held, uint64_t deadline)
{
	uint64_t plain = 0, at = 0;
	int err = 0;

	for (uint32_t i = 0; !err && i < call->buffer_count; i++) {
		const struct winapi_buffer_ref *ref = &call->buffers[i];
		struct local_buffer *buffer = (struct local_buffer *)ref->buffer;
		uint64_t offset = ref->offset;

		if (!buffer) {
			buffer = find_allocation(local, ref);
			offset = buffer ? (uint64_t)((uint8_t *)ref->address - (uint8_t *)buffer->base.data) :
					  0;
		}
		desc[i].length = 0;
		if (buffer)
			err = hold_shared(local, ref, buffer, offset, &desc[i], held);
		else
			plain += aligned(ref->length);
	}
	if (err || !plain)
		return err;
	err = take_plain(local, call, plain, held, deadline);
	for (uint32_t i = 0; !err && i < call->buffer_count; i++) {
		if (desc[i].length)
			continue;
		place_plain(local, &call->buffers[i], at, &desc[i], held);
		at += aligned(call->buffers[i].length);
	}
	return err;
}

bool buffers_plain(const struct winapi_call *call)
{
	for (uint32_t i = 0; i < call->buffer_count; i++)
		if (!call->buffers[i].buffer)
			return true;
	return false;
}

int buffers_hold(struct local *local, const struct winapi_call *call, struct winapi_buffer_desc *desc,
		 struct held *held, uint64_t deadline)
{
	bool plain = buffers_plain(call);
	int err = 0;

	held->users = 0;
	held->bounces = 0;
	held->piece.size = 0;
	held->registered = NULL;
	if (plain)
		err = begin(local, deadline);
	if (err)
		return err;
	err = hold_all(local, call, desc, held, deadline);
	if (plain)
		lock_drop(&local->buffers_lock);
	if (err)
		buffers_let_go(local, held);
	return err;
}

void buffers_copy_back(const struct held *held)
{
	for (uint32_t i = 0; i < held->bounces; i++)
		if (held->bounce[i].access & WINAPI_HOST_WRITES)
			memcpy(held->bounce[i].application, held->bounce[i].shared, held->bounce[i].length);
}

/* May run where the reply was found, under receive_lock: so what needs the host waits for later. */
void buffers_let_go(struct local *local, struct held *held)
{
	for (uint32_t i = 0; i < held->users; i++)
		__atomic_fetch_sub(&held->buffer[i]->base.users, 1, __ATOMIC_RELEASE);
	held->users = 0;
	if (held->piece.size)
		memory_put_back(local, &held->piece);
	held->piece.size = 0;
	if (held->registered)
		throw_away(local, held->registered);
	held->registered = NULL;
}
