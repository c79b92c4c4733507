// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Submitted calls and their records. A record is allocated, at the submitter's cost, before its call begins, so
 * the end always finds room; a file has at most max_in_flight of them, read or not.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "wc.h"

/* ---- Submit ------------------------------------------------------------------------------------------------------------ */

/* False: too many are on their way or wait to be read. */
static bool reserve(struct wc_session *session)
{
	struct wc_device *device = session->device;
	bool room;

	spin_lock_bh(&device->lock);
	room = session->unread < device->info.max_in_flight;
	session->unread += room;
	spin_unlock_bh(&device->lock);
	return room;
}

static void unreserve(struct wc_session *session)
{
	struct wc_device *device = session->device;

	spin_lock_bh(&device->lock);
	session->unread--;
	spin_unlock_bh(&device->lock);
	wake_up_all(&session->wait); /* a reader of a dead session may be waiting for the last */
}

static int attach_record(struct wc_request *r, const struct winapi_ioc_call *call)
{
	u32 capacity = min(call->out_capacity, WINAPI_MAX_INLINE);

	/* The padding is read too. */
	r->record = kzalloc(struct_size(r->record, data, ALIGN(capacity, 8)), GFP_KERNEL_ACCOUNT);
	if (!r->record)
		return -ENOMEM;
	r->record->capacity = capacity;
	r->user_data = call->user_data;
	return 0;
}

/* The reaper ends it when its time is over. */
static void watch(struct wc_device *device, u64 deadline)
{
	if (deadline == U64_MAX)
		return;
	spin_lock_bh(&device->lock);
	if (!device->halted) /* else it has ended, and nothing may start the reaper again */
		wc_reap_by(device, deadline);
	spin_unlock_bh(&device->lock);
}

static int submit_one(struct wc_session *session, const struct winapi_ioc_call *call, enum wc_wait wait)
{
	u64 deadline = wc_deadline(call->timeout_ms);
	struct wc_request *r;
	u32 size;
	int err;

	if (!reserve(session))
		return -EAGAIN;
	err = wc_call_build(session, call, WC_ASYNC, WC_NO_WAIT, deadline, &r, &size);
	if (!err) {
		err = attach_record(r, call);
		r->deadline_ns = deadline;
		/* For room in the ring it may wait: that comes without any call's end. */
		if (!err)
			err = wc_request_send(r, size, wait, deadline);
		if (err)
			wc_request_drop(r);
	}
	if (err)
		unreserve(session);
	else
		watch(session->device, deadline);
	return err;
}

int wc_ioc_submit(struct wc_session *session, unsigned long argument, size_t size, bool nonblock)
{
	struct winapi_ioc_submit submit;
	struct winapi_ioc_call call;
	int err = wc_take_struct(&submit, sizeof(submit), argument, size);
	u32 i;

	if (err)
		return err;
	if (!submit.call_size || submit.call_size > PAGE_SIZE || submit.count > INT_MAX)
		return -EINVAL;
	for (i = 0; i < submit.count && !err; i++) {
		err = wc_take_struct(&call, sizeof(call), submit.calls + (u64)i * submit.call_size,
				     submit.call_size);
		if (!err)
			err = submit_one(session, &call, nonblock ? WC_NO_WAIT : WC_WAIT_KILLABLE);
		if (err)
			break;
		cond_resched();
	}
	return i ? (int)i : err;
}

int wc_ioc_cancel(struct wc_session *session, unsigned long argument, size_t size)
{
	struct winapi_ioc_cancel cancel;
	int err = wc_take_struct(&cancel, sizeof(cancel), argument, size);

	if (err)
		return err;
	if (!(session->device->info.features & WINAPI_FEATURE_CANCEL))
		return -EOPNOTSUPP;
	return wc_request_cancel(session, cancel.user_data);
}

/* ---- Records -------------------------------------------------------------------------------------------------------------- */

void wc_record_deliver(struct wc_session *session, struct wc_record *record)
{
	if (session->closed) {
		kfree(record);
		return;
	}
	list_add_tail(&record->link, &session->records);
	wake_up_all(&session->wait);
}

/* Whoever takes a record off the list owns it; so several may read at once. */
static struct wc_record *take(struct wc_session *session, size_t room)
{
	struct wc_device *device = session->device;
	struct wc_record *record;
	size_t need;

	spin_lock_bh(&device->lock);
	record = list_first_entry_or_null(&session->records, struct wc_record, link);
	if (record) {
		need = sizeof(record->head) + (record->head.result ? 0 : ALIGN(record->head.out_size, 8));
		if (need > room) {
			record = ERR_PTR(-EINVAL);
		} else {
			list_del(&record->link);
			session->unread--;
		}
	}
	spin_unlock_bh(&device->lock);
	return record;
}

/* A record that couldn't be handed over comes first again. */
static void put_back(struct wc_session *session, struct wc_record *record)
{
	spin_lock_bh(&session->device->lock);
	list_add(&record->link, &session->records);
	session->unread++;
	spin_unlock_bh(&session->device->lock);
}

/* As many as there are and fit. Bytes, or -errno when there are none. */
static ssize_t read_some(struct wc_session *session, char __user *to, size_t size)
{
	size_t done = 0;

	for (;;) {
		struct wc_record *record = take(session, size - done);
		size_t data;

		if (IS_ERR_OR_NULL(record))
			return done || !record ? (ssize_t)done : PTR_ERR(record);
		data = record->head.result ? 0 : ALIGN(record->head.out_size, 8);
		if (copy_to_user(to + done, &record->head, sizeof(record->head)) ||
		    copy_to_user(to + done + sizeof(record->head), record->data, data)) {
			put_back(session, record);
			return done ? (ssize_t)done : -EFAULT;
		}
		done += sizeof(record->head) + data;
		kfree(record);
	}
}

/* A dead session's last records may still be on their way: only after them comes the end. */
static bool at_end(struct wc_session *session)
{
	return wc_session_check(session) && !READ_ONCE(session->unread);
}

static bool readable(struct wc_session *session)
{
	return !list_empty_careful(&session->records) || at_end(session);
}

ssize_t wc_read_records(struct wc_session *session, char __user *to, size_t size, bool nonblock)
{
	for (;;) {
		ssize_t done = read_some(session, to, size);
		int err;

		if (done)
			return done;
		err = wc_session_check(session);
		if (at_end(session))
			return err == -ENODEV ? 0 : err;
		if (nonblock)
			return -EAGAIN;
		err = wait_event_interruptible(session->wait, readable(session));
		if (err)
			return err;
	}
}

void wc_records_free(struct wc_session *session)
{
	struct wc_record *record, *next;
	LIST_HEAD(records);

	spin_lock_bh(&session->device->lock);
	session->closed = true; /* none comes any more */
	list_splice_init(&session->records, &records);
	spin_unlock_bh(&session->device->lock);
	list_for_each_entry_safe(record, next, &records, link)
		kfree(record);
}
