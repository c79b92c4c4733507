// SPDX-License-Identifier: MIT OR GPL-2.0
/* Sessions: an open file is one. The host's part of its beginning and end is work's; the file waits for a while. */
#include <linux/cred.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "wc.h"

/* ---- References -------------------------------------------------------------------------------------------------- */

void wc_session_get(struct wc_session *session)
{
	kref_get(&session->ref);
}

static void session_free(struct kref *ref)
{
	struct wc_session *session = container_of(ref, struct wc_session, ref);

	wc_device_put(session->device);
	kfree(session);
}

/* May be called in any context. */
void wc_session_put(struct wc_session *session)
{
	kref_put(&session->ref, session_free);
}

/* ---- The host's part, in work -------------------------------------------------------------------------------------- */

/* Within wc_enter, or while the device resumes. */
static int open_at_host(struct wc_session *session)
{
	struct winapi_session_open_request request = {
		.uid = session->uid,
		.gid = session->gid,
		.pid = session->pid,
	};
	struct winapi_session_open_reply reply;
	int err = wc_rpc(session->device, NULL, WINAPI_MSG_SESSION_OPEN, &request, sizeof(request), &reply,
			 sizeof(reply), U64_MAX);

	if (!err && !reply.session_id)
		err = -EPROTO;
	if (!err)
		session->id = reply.session_id;
	return err;
}

/* Started: from now on its close may run. True: it was asked for meanwhile. */
static bool mark_started(struct wc_session *session)
{
	struct wc_device *device = session->device;
	bool closing;

	spin_lock_bh(&device->lock);
	session->is_started = true;
	closing = session->closing;
	spin_unlock_bh(&device->lock);
	complete_all(&session->started);
	return closing;
}

static void start(struct work_struct *work)
{
	struct wc_session *session = container_of(work, struct wc_session, start);
	int err = wc_enter(session->device);

	if (!err) {
		err = open_at_host(session);
		wc_leave(session->device);
	}
	session->start_error = err;
	if (mark_started(session))
		queue_work(wc_host_wq, &session->close);
	wc_session_put(session);
}

static void close_at_host(struct wc_session *session)
{
	if (wc_enter(session->device))
		return;
	/* -ENODEV: the channel went meanwhile, and the session with it. */
	if (session->id)
		wc_rpc(session->device, session, WINAPI_MSG_SESSION_CLOSE, NULL, 0, NULL, 0, U64_MAX);
	wc_leave(session->device);
}

static void close(struct work_struct *work)
{
	struct wc_session *session = container_of(work, struct wc_session, close);
	struct wc_device *device = session->device;

	close_at_host(session);
	wc_buffers_close(session);
	spin_lock_bh(&device->lock);
	list_del(&session->link);
	device->session_count--;
	spin_unlock_bh(&device->lock);
	wc_session_put(session);
}

/* In order of ids from *id on, with a reference; NULL: no more. */
static struct wc_buffer *next_buffer(struct wc_session *session, unsigned long *id)
{
	struct wc_buffer *buffer;

	mutex_lock(&session->lock);
	buffer = xa_find(&session->buffers, id, ULONG_MAX, XA_PRESENT);
	if (buffer)
		kref_get(&buffer->ref);
	mutex_unlock(&session->lock);
	++*id;
	return buffer;
}

/* One that is freed meanwhile is unshared once the device runs. */
static int share_again(struct wc_session *session)
{
	struct wc_buffer *buffer;
	unsigned long id = 0;
	int err = 0;

	while (!err && (buffer = next_buffer(session, &id))) {
		err = wc_buffer_share(buffer);
		wc_buffer_put(buffer);
	}
	return err;
}

void wc_session_restart(struct wc_session *session)
{
	int err;

	session->id = 0;
	if (session->dead || !session->is_started || session->start_error)
		return;
	err = open_at_host(session);
	if (!err)
		err = share_again(session);
	if (err)
		wc_session_shut(session, -ENODEV);
}

/* ---- The file's part -------------------------------------------------------------------------------------------------- */

static struct wc_session *session_new(struct wc_device *device)
{
	struct wc_session *session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);

	if (!session)
		return NULL;
	kref_init(&session->ref);
	get_device(&device->dev);
	session->device = device;
	session->uid = from_kuid(&init_user_ns, current_euid());
	session->gid = from_kgid(&init_user_ns, current_egid());
	session->pid = task_tgid_nr(current);
	mutex_init(&session->lock);
	xa_init_flags(&session->buffers, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&session->records);
	init_waitqueue_head(&session->wait);
	INIT_WORK(&session->start, start);
	INIT_WORK(&session->close, close);
	init_completion(&session->started);
	return session;
}

/* 0, or -EUSERS. */
static int enlist(struct wc_device *device, struct wc_session *session)
{
	int err = -EUSERS;

	spin_lock_bh(&device->lock);
	if (device->state == WC_GONE) {
		err = -ENODEV;
	} else if (device->session_count < device->max_sessions) {
		device->session_count++;
		session->epoch = device->epoch;
		list_add_tail(&session->link, &device->sessions);
		err = 0;
	}
	spin_unlock_bh(&device->lock);
	return err;
}

static int await_start(struct wc_session *session)
{
	long left = wait_for_completion_killable_timeout(&session->started,
							 msecs_to_jiffies(READ_ONCE(wc_patience_ms)));

	if (left < 0)
		return -EINTR;
	return left ? session->start_error : -ETIMEDOUT;
}

int wc_session_open(struct wc_device *device, struct wc_session **out)
{
	struct wc_session *session;
	int err = wc_await_running(device, WC_WAIT_KILLABLE, U64_MAX);

	if (err)
		return err;
	session = session_new(device);
	if (!session)
		return -ENOMEM;
	err = enlist(device, session);
	if (err) {
		wc_session_put(session);
		return err;
	}
	wc_session_get(session); /* the work's */
	queue_work(wc_host_wq, &session->start);
	err = await_start(session);
	if (err)
		wc_session_close(session);
	else
		*out = session;
	return err;
}

int wc_session_check(struct wc_session *session)
{
	return READ_ONCE(session->dead);
}

void wc_session_shut(struct wc_session *session, int why)
{
	struct wc_device *device = session->device;

	spin_lock_bh(&device->lock);
	if (!session->dead)
		WRITE_ONCE(session->dead, why);
	spin_unlock_bh(&device->lock);
	wc_requests_end_session(session, why);
	wake_up_all(&session->wait);
}

void wc_session_close(struct wc_session *session)
{
	struct wc_device *device = session->device;
	bool started;

	wc_session_shut(session, -ECANCELED);
	wc_records_free(session);
	spin_lock_bh(&device->lock);
	session->closing = true;
	started = session->is_started;
	spin_unlock_bh(&device->lock);
	if (started)
		queue_work(wc_host_wq, &session->close);
}
