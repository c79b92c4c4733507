// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Registered buffers: pages of the driver's or of the application's, shared over GPADLs of at most 16 MiB, with a
 * handle of the host's. Sharing and unsharing are work's, as the bus waits for the host without end; callers wait
 * for that work, killable, and after a while go on without it.
 *
 * Pages are given back after the host has answered BUFFER_UNREGISTER (or SESSION_CLOSE) and each GPADL's teardown.
 * Where the channel goes first the buffer stays in wc_device.buffers, "forgotten", until wc_buffers_detach.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "trace.h"
#include "wc.h"

#define CHUNK_PAGES (WINAPI_CHUNK_SIZE >> PAGE_SHIFT)
#define LARGEST_ORDER 9u /* 2 MiB: what the guest's page tables can map at once */

/* ---- Pages ----------------------------------------------------------------------------------------------------------- */

/* Many pages at a caller's wish: no process is to be killed for them, and no long run is worth a wait. */
static struct page *alloc_run(u32 order)
{
	gfp_t gfp = WC_GFP_PAGES | __GFP_ZERO | __GFP_NOWARN;

	return alloc_pages(gfp | (order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL), order);
}

/* Zeroed, in runs as long as they can be had: fewer runs are fewer mappings for the host. */
static int alloc_pages_of(struct wc_buffer *buffer)
{
	u32 wanted = buffer->pages, order = LARGEST_ORDER;

	buffer->pages = 0;
	while (buffer->pages < wanted) {
		struct page *page;
		u32 i;

		if (fatal_signal_pending(current))
			return -EINTR;
		order = min_t(u32, order, ilog2(wanted - buffer->pages));
		page = alloc_run(order);
		if (!page && !order)
			return -ENOMEM;
		if (!page) {
			order--;
			continue;
		}
		if (order)
			split_page(page, order);
		for (i = 0; i < 1u << order; i++)
			buffer->page[buffer->pages++] = page + i;
		cond_resched();
	}
	return 0;
}

static void release_pages_of(struct wc_buffer *buffer)
{
	u32 i;

	if (buffer->tainted)
		pr_warn_ratelimited("%u pages stay lost: the host didn't give them back\n", buffer->pages);
	else if (buffer->pinned)
		wc_unpin_pages(buffer->page, buffer->pages, buffer->access & WINAPI_ACCESS_WRITE, buffer->mm);
	else
		for (i = 0; i < buffer->pages; i++)
			put_page(buffer->page[i]);
	kvfree(buffer->page);
	buffer->page = NULL;
}

/* ---- GPADLs: within wc_enter, under bus_lock ------------------------------------------------------------------------------- */

static int establish(struct wc_device *device, struct wc_buffer *buffer)
{
	u32 done = 0;

	while (done < buffer->pages) {
		struct wc_chunk *chunk = &buffer->chunk[buffer->chunks];
		int err = -ENOMEM;

		chunk->pages = min_t(u32, buffer->pages - done, CHUNK_PAGES);
		chunk->va = vmap(buffer->page + done, chunk->pages, VM_MAP, PAGE_KERNEL);
		if (chunk->va)
			err = wc_gpadl_establish(device->channel, chunk->va, chunk->pages << PAGE_SHIFT,
						 &chunk->gpadl);
		if (err) {
			vunmap(chunk->va);
			return err == -ENODEV || err == -ENOMEM ? err : -EDQUOT;
		}
		buffer->chunks++;
		done += chunk->pages;
	}
	return 0;
}

static void tear_down(struct wc_device *device, struct wc_buffer *buffer)
{
	trace_winapi_unshare(device->number, buffer->id, buffer->chunks);
	while (buffer->chunks) {
		struct wc_chunk *chunk = &buffer->chunk[--buffer->chunks];

		if (!wc_gpadl_teardown(device->channel, &chunk->gpadl))
			buffer->tainted = true;
		vunmap(chunk->va);
	}
}

/* ---- Sharing, in work -------------------------------------------------------------------------------------------------------- */

static int register_at_host(struct wc_device *device, struct wc_buffer *buffer)
{
	struct winapi_buffer_register_request request = {
		.length = buffer->length,
		.offset = buffer->offset,
		.access = buffer->access,
		.chunk_count = buffer->chunks,
	};
	struct winapi_buffer_register_reply reply;
	u32 i;
	int err;

	for (i = 0; i < buffer->chunks; i++)
		request.gpadl[i] = wc_gpadl_number(&buffer->chunk[i].gpadl);
	err = wc_rpc(device, buffer->session, WINAPI_MSG_BUFFER_REGISTER, &request,
		     offsetof(struct winapi_buffer_register_request, gpadl) + buffer->chunks * sizeof(u32),
		     &reply, sizeof(reply), U64_MAX);
	if (!err && !reply.handle)
		err = -EPROTO;
	if (!err)
		buffer->handle = reply.handle;
	return err;
}

/* Is it the channel that goes, so that GPADLs wait for its end? */
static bool going(struct wc_device *device)
{
	return READ_ONCE(device->halted);
}

int wc_buffer_share(struct wc_buffer *buffer)
{
	struct wc_device *device = buffer->session->device;
	int err;

	buffer->handle = 0;
	wc_bus_lock(device);
	err = establish(device, buffer);
	mutex_unlock(&device->bus_lock);
	if (!err)
		err = register_at_host(device, buffer);
	if (err && !going(device)) {
		wc_bus_lock(device);
		tear_down(device, buffer);
		mutex_unlock(&device->bus_lock);
	}
	trace_winapi_share(device->number, buffer->id, buffer->length, buffer->chunks, err);
	return err;
}

static void share(struct work_struct *work)
{
	struct wc_buffer *buffer = container_of(work, struct wc_buffer, share);
	struct wc_device *device = buffer->session->device;
	bool abandoned;
	int err = wc_enter(device);

	if (!err) {
		err = wc_session_check(buffer->session);
		if (!err)
			err = wc_buffer_share(buffer);
		wc_leave(device);
	}
	spin_lock_bh(&device->lock);
	buffer->result = err;
	complete_all(&buffer->shared);
	abandoned = buffer->abandoned;
	spin_unlock_bh(&device->lock);
	if (abandoned)
		queue_work(wc_host_wq, &buffer->unshare);
	wc_buffer_put(buffer);
}

/* ---- Unsharing, in work ---------------------------------------------------------------------------------------------------------- */

static int unregister_at_host(struct wc_device *device, struct wc_buffer *buffer)
{
	struct winapi_buffer_unregister_request request = { .handle = buffer->handle };

	if (!buffer->handle)
		return 0;
	buffer->handle = 0;
	return wc_rpc(device, buffer->session, WINAPI_MSG_BUFFER_UNREGISTER, &request, sizeof(request), NULL,
		      0, U64_MAX);
}

static void unreserve(struct wc_session *session, u64 length);

/* Nothing of it is the host's any more. */
static void dispose(struct wc_buffer *buffer)
{
	struct wc_device *device = buffer->session->device;

	release_pages_of(buffer);
	spin_lock_bh(&device->lock);
	list_del_init(&buffer->link);
	spin_unlock_bh(&device->lock);
	unreserve(buffer->session, buffer->length);
	complete_all(&buffer->unshared);
	wc_buffer_put(buffer);
}

/* Takes the owner's reference. `registered`: the host is to be told first. */
static void unshare_now(struct wc_buffer *buffer, bool registered)
{
	struct wc_device *device = buffer->session->device;
	bool forgotten;

	get_device(&device->dev); /* the buffer may be gone before we are done */
	if (!wc_enter(device)) {
		if (registered)
			unregister_at_host(device, buffer);
		wc_bus_lock(device);
		if (!going(device))
			tear_down(device, buffer);
		mutex_unlock(&device->bus_lock);
		wc_leave(device);
	}
	wc_bus_lock(device);
	forgotten = buffer->chunks;
	buffer->forgotten = forgotten;
	mutex_unlock(&device->bus_lock);
	if (!forgotten)
		dispose(buffer);
	wc_device_put(device);
}

static void unshare(struct work_struct *work)
{
	unshare_now(container_of(work, struct wc_buffer, unshare), true);
}

/* One that has GPADLs; nobody else disposes of it before it has none, which takes bus_lock. */
static struct wc_buffer *next_shared(struct wc_device *device)
{
	struct wc_buffer *buffer, *found = NULL;

	spin_lock_bh(&device->lock);
	list_for_each_entry(buffer, &device->buffers, link) {
		if (buffer->chunks) {
			found = buffer;
			break;
		}
	}
	spin_unlock_bh(&device->lock);
	return found;
}

void wc_buffers_detach(struct wc_device *device)
{
	struct wc_buffer *buffer, *next;
	LIST_HEAD(forgotten);

	wc_bus_lock(device);
	while ((buffer = next_shared(device))) {
		tear_down(device, buffer);
		buffer->handle = 0;
		if (!buffer->forgotten)
			continue;
		spin_lock_bh(&device->lock);
		list_move(&buffer->link, &forgotten);
		spin_unlock_bh(&device->lock);
	}
	mutex_unlock(&device->bus_lock);
	list_for_each_entry_safe(buffer, next, &forgotten, link)
		dispose(buffer);
}

/* ---- References ---------------------------------------------------------------------------------------------------------------------- */

static void buffer_free(struct kref *ref)
{
	struct wc_buffer *buffer = container_of(ref, struct wc_buffer, ref);

	wc_session_put(buffer->session);
	kfree_rcu(buffer, rcu);
}

/* May be called in any context: the pages are gone long since. */
void wc_buffer_put(struct wc_buffer *buffer)
{
	kref_put(&buffer->ref, buffer_free);
}

/* ---- Unsharing, for its users -------------------------------------------------------------------------------------------------------------- */

/* Gives the owner's reference to the work, and waits for it for a while. */
static int unshare_and_wait(struct wc_buffer *buffer)
{
	long left;

	kref_get(&buffer->ref);
	queue_work(wc_host_wq, &buffer->unshare);
	left = wait_for_completion_killable_timeout(&buffer->unshared,
						    msecs_to_jiffies(READ_ONCE(wc_patience_ms)));
	wc_buffer_put(buffer);
	return left < 0 ? -EINTR : 0;
}

/* ---- Making one ------------------------------------------------------------------------------------------------------------------------ */

static int check(const struct wc_device *device, u64 length, u32 access)
{
	if (!length || !access || access & ~WINAPI_ACCESS_BOTH)
		return -EINVAL;
	return length > device->info.max_buffer_size ? -E2BIG : 0;
}

/* Against the session's limits, before any memory is taken. */
static int reserve(struct wc_session *session, u64 length)
{
	const struct winapi_ioc_info *info = &session->device->info;
	int err = -ENOSPC;

	mutex_lock(&session->lock);
	if (session->buffer_count < info->max_buffers && session->buffer_bytes + length <= info->max_bytes) {
		session->buffer_count++;
		session->buffer_bytes += length;
		err = 0;
	}
	mutex_unlock(&session->lock);
	return err;
}

static void unreserve(struct wc_session *session, u64 length)
{
	mutex_lock(&session->lock);
	session->buffer_count--;
	session->buffer_bytes -= length;
	mutex_unlock(&session->lock);
}

static struct wc_buffer *buffer_new(struct wc_session *session, u64 address, u64 length, u32 access)
{
	struct wc_buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);

	if (!buffer)
		return NULL;
	buffer->offset = offset_in_page(address);
	buffer->pages = DIV_ROUND_UP(buffer->offset + length, PAGE_SIZE);
	buffer->page = kvmalloc_array(buffer->pages, sizeof(*buffer->page), GFP_KERNEL_ACCOUNT);
	if (!buffer->page) {
		kfree(buffer);
		return NULL;
	}
	kref_init(&buffer->ref);
	buffer->length = length;
	buffer->access = access;
	wc_session_get(session);
	buffer->session = session;
	INIT_LIST_HEAD(&buffer->link);
	INIT_WORK(&buffer->share, share);
	INIT_WORK(&buffer->unshare, unshare);
	init_completion(&buffer->shared);
	init_completion(&buffer->unshared);
	return buffer;
}

/* With its pages: the application's at `address`, or the driver's. */
static int buffer_with_pages(struct wc_session *session, u64 address, bool pinned, u64 length, u32 access,
			     struct wc_buffer **out)
{
	struct wc_device *device = session->device;
	struct wc_buffer *buffer = buffer_new(session, address, length, access);
	int err;

	if (!buffer)
		return -ENOMEM;
	buffer->pinned = pinned;
	/* Always writable: a long-term pin for reading alone goes stale when the owner writes (before 6.3). */
	err = pinned ? wc_pin_pages(address, buffer->pages, true, buffer->page, &buffer->mm) :
		       alloc_pages_of(buffer);
	if (err) {
		if (pinned)
			kvfree(buffer->page);
		else
			release_pages_of(buffer);
		wc_buffer_put(buffer);
		return err;
	}
	spin_lock_bh(&device->lock);
	list_add(&buffer->link, &device->buffers);
	device->count.pages_pinned += pinned ? buffer->pages : 0;
	spin_unlock_bh(&device->lock);
	*out = buffer;
	return 0;
}

/* Waits for the work, or leaves the buffer to it: then it isn't the caller's any more. */
static int await_share(struct wc_buffer *buffer)
{
	struct wc_device *device = buffer->session->device;
	long left = wait_for_completion_killable_timeout(&buffer->shared,
							 msecs_to_jiffies(READ_ONCE(wc_patience_ms)));
	bool done;
	int err;

	spin_lock_bh(&device->lock);
	done = completion_done(&buffer->shared);
	buffer->abandoned = !done;
	err = done ? buffer->result : left < 0 ? -EINTR : -ETIMEDOUT;
	spin_unlock_bh(&device->lock);
	if (done && err)
		unshare_and_wait(buffer); /* nothing is shared, or the channel is going */
	return err;
}

static int make(struct wc_session *session, u64 address, bool pinned, u64 length, u32 access,
		struct wc_buffer **out)
{
	int err = check(session->device, length, access);

	if (!err)
		err = wc_await_running(session->device, WC_WAIT_KILLABLE, U64_MAX);
	if (!err)
		err = reserve(session, length);
	if (err)
		return err;
	err = buffer_with_pages(session, address, pinned, length, access, out);
	if (err) {
		unreserve(session, length);
		return err;
	}
	kref_get(&(*out)->ref); /* the work's */
	queue_work(wc_host_wq, &(*out)->share);
	return await_share(*out);
}

/* ---- For one call ------------------------------------------------------------------------------------------------------------- */

int wc_buffer_for_call(struct wc_session *session, unsigned long address, u64 length, u32 access,
		       struct wc_buffer **buffer)
{
	return make(session, address, true, length, access, buffer);
}

void wc_buffer_retire(struct wc_buffer *buffer, bool wait)
{
	if (wait)
		unshare_and_wait(buffer);
	else
		queue_work(wc_host_wq, &buffer->unshare);
}

/* ---- Ids -------------------------------------------------------------------------------------------------------------------------------------- */

/* Ids go round, so that a stale one doesn't soon name another buffer. */
static int publish(struct wc_session *session, struct wc_buffer *buffer, u32 *id)
{
	int err;

	mutex_lock(&session->lock);
	err = xa_alloc_cyclic(&session->buffers, &buffer->id, buffer, XA_LIMIT(1, WC_MAX_BUFFERS),
			      &session->next_buffer, GFP_KERNEL_ACCOUNT);
	*id = buffer->id; /* from here on another thread may free it */
	mutex_unlock(&session->lock);
	if (err >= 0)
		return 0;
	unshare_and_wait(buffer);
	return err;
}

/* Takes it out of the table, unless a call uses it. 0: its reference is the caller's. */
static int remove(struct wc_session *session, u32 id, struct wc_buffer **out)
{
	struct wc_device *device = session->device;
	struct wc_buffer *buffer;
	int err = -ENOENT;

	mutex_lock(&session->lock);
	spin_lock_bh(&device->lock);
	buffer = xa_load(&session->buffers, id);
	if (buffer)
		err = buffer->users ? -EBUSY : 0;
	if (!err)
		buffer->removed = true;
	spin_unlock_bh(&device->lock);
	if (!err)
		xa_erase(&session->buffers, id);
	mutex_unlock(&session->lock);
	*out = buffer;
	return err;
}

int wc_buffer_use(struct wc_session *session, u32 id, u64 offset, u64 length, u32 access,
		  struct wc_buffer **out)
{
	struct wc_device *device = session->device;
	struct wc_buffer *buffer;
	int err = 0;

	rcu_read_lock();
	spin_lock_bh(&device->lock);
	buffer = xa_load(&session->buffers, id);
	if (!buffer || buffer->removed)
		err = -ENOENT;
	else if (!length || !access || access & ~WINAPI_ACCESS_BOTH)
		err = -EINVAL;
	else if (access & ~buffer->access)
		err = -EACCES;
	else if (offset > buffer->length || length > buffer->length - offset)
		err = -ERANGE;
	if (!err) {
		buffer->users++;
		kref_get(&buffer->ref);
		*out = buffer;
	}
	spin_unlock_bh(&device->lock);
	rcu_read_unlock();
	return err;
}

void wc_buffer_unuse(struct wc_buffer *buffer)
{
	buffer->users--;
}

void wc_buffers_close(struct wc_session *session)
{
	struct wc_buffer *buffer;
	unsigned long id;

	xa_for_each(&session->buffers, id, buffer) {
		xa_erase(&session->buffers, id);
		unshare_now(buffer, false);
	}
}

/* ---- ioctls -------------------------------------------------------------------------------------------------------------------------------------- */

int wc_ioc_alloc(struct wc_session *session, unsigned long argument, size_t size)
{
	struct winapi_ioc_alloc alloc;
	struct wc_buffer *buffer;
	int err = wc_take_struct(&alloc, sizeof(alloc), argument, size);

	if (err)
		return err;
	if (alloc.id || alloc.map_offset || alloc.map_size)
		return -EINVAL;
	err = make(session, 0, false, alloc.length, alloc.access, &buffer);
	if (err)
		return err;
	alloc.map_size = (u64)buffer->pages << PAGE_SHIFT;
	err = publish(session, buffer, &alloc.id);
	if (err)
		return err;
	alloc.map_offset = (u64)alloc.id << WC_MAP_SHIFT;
	err = wc_give_struct(argument, size, &alloc, sizeof(alloc));
	if (err && !remove(session, alloc.id, &buffer))
		unshare_and_wait(buffer);
	return err;
}

int wc_ioc_register(struct wc_session *session, unsigned long argument, size_t size)
{
	struct winapi_ioc_register reg;
	struct wc_buffer *buffer;
	int err = wc_take_struct(&reg, sizeof(reg), argument, size);

	if (err)
		return err;
	if (reg.id)
		return -EINVAL;
	if (reg.address != (unsigned long)reg.address || reg.address + reg.length < reg.address)
		return -EFAULT;
	err = make(session, reg.address, true, reg.length, reg.access, &buffer);
	if (!err)
		err = publish(session, buffer, &reg.id);
	if (err)
		return err;
	err = wc_give_struct(argument, size, &reg, sizeof(reg));
	if (err && !remove(session, reg.id, &buffer))
		unshare_and_wait(buffer);
	return err;
}

int wc_ioc_free(struct wc_session *session, unsigned long argument, size_t size)
{
	struct winapi_ioc_free request;
	struct wc_buffer *buffer;
	int err = wc_take_struct(&request, sizeof(request), argument, size);

	if (err)
		return err;
	if (request.reserved)
		return -EINVAL;
	err = remove(session, request.id, &buffer);
	return err ? err : unshare_and_wait(buffer);
}

/* ---- mmap ------------------------------------------------------------------------------------------------------------------------------------------ */

int wc_buffer_map(struct wc_session *session, struct vm_area_struct *vma)
{
	unsigned long id = vma->vm_pgoff >> (WC_MAP_SHIFT - PAGE_SHIFT);
	unsigned long first = vma->vm_pgoff & ((1ul << (WC_MAP_SHIFT - PAGE_SHIFT)) - 1);
	unsigned long count = vma_pages(vma), i;
	struct wc_buffer *buffer;
	int err = -EINVAL;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	mutex_lock(&session->lock);
	buffer = xa_load(&session->buffers, id);
	if (buffer && !buffer->pinned && first < buffer->pages && count <= buffer->pages - first) {
		wc_vm_flags_set(vma, VM_DONTEXPAND);
		for (i = 0, err = 0; i < count && !err; i++)
			err = vm_insert_page(vma, vma->vm_start + (i << PAGE_SHIFT), buffer->page[first + i]);
	}
	mutex_unlock(&session->lock);
	return err;
}
