// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Calls. Type, session, request id and buffer handles are the driver's; api, method and inline data pass through as
 * they are, so a new API needs no new driver.
 */
#include <linux/uaccess.h>

#include "wc.h"

#define HEADER sizeof(struct winapi_msg_header)
#define DESC sizeof(struct winapi_buffer_desc)

u64 wc_deadline(u32 timeout_ms)
{
	return timeout_ms == WINAPI_IOC_NO_TIMEOUT ? U64_MAX :
						     ktime_get_ns() + timeout_ms * (u64)NSEC_PER_MSEC;
}

/* ---- Building ------------------------------------------------------------------------------------------------------- */

static int check(const struct wc_device *device, const struct winapi_ioc_call *call)
{
	bool batch = call->flags & WINAPI_IOC_CALL_BATCH;

	if (call->flags & ~WINAPI_IOC_CALL_BATCH ||
	    (batch && (call->api || call->method || call->buffer_count)))
		return -EINVAL;
	if (batch && !(device->info.features & WINAPI_FEATURE_BATCH))
		return -EOPNOTSUPP;
	if (call->in_size > device->info.max_inline || call->buffer_count > device->info.max_buffers_per_call)
		return -E2BIG;
	return 0;
}

static int use_registered(struct wc_session *session, struct wc_request *r,
			  const struct winapi_ioc_buffer_ref *ref, struct winapi_buffer_desc *desc)
{
	struct wc_buffer *buffer;
	int err;

	if (ref->address)
		return -EINVAL;
	err = wc_buffer_use(session, ref->id, ref->offset, ref->length, ref->access, &buffer);
	if (err)
		return err;
	r->buffer[r->buffers++] = buffer;
	desc->handle = buffer->handle;
	desc->offset = ref->offset;
	return 0;
}

static int build_buffers(struct wc_session *session, struct wc_request *r, const struct winapi_ioc_call *call)
{
	struct winapi_buffer_desc *desc = (struct winapi_buffer_desc *)(r->message + HEADER);
	struct winapi_ioc_buffer_ref ref[WINAPI_MAX_BUFFERS];
	u32 i, count = call->buffer_count;
	int err = 0;

	if (!count)
		return 0;
	if (copy_from_user(ref, u64_to_user_ptr(call->buffers), count * sizeof(ref[0])))
		return -EFAULT;
	memset(desc, 0, count * DESC);
	for (i = 0; i < count && !err; i++) {
		desc[i].length = ref[i].length;
		desc[i].access = ref[i].access;
		if (ref[i].id)
			err = use_registered(session, r, &ref[i], &desc[i]);
	}
	return err ? err :
		     wc_pins_for_call(session, r, ref, count, desc, HEADER + count * DESC + call->in_size);
}

static int build(struct wc_session *session, struct wc_request *r, const struct winapi_ioc_call *call,
		 u32 *size)
{
	u32 head = HEADER + call->buffer_count * DESC;
	struct winapi_msg_header *h;

	h = wc_request_header(r, call->flags & WINAPI_IOC_CALL_BATCH ? WINAPI_MSG_BATCH : WINAPI_MSG_CALL,
			      session->id);
	h->api = call->api;
	h->method = call->method;
	h->buffer_count = call->buffer_count;
	h->inline_size = call->in_size;
	if (call->timeout_ms != WINAPI_IOC_NO_TIMEOUT)
		h->timeout_ms = max(call->timeout_ms, 1u); /* 0 on the wire means none */
	if (copy_from_user(r->message + head, u64_to_user_ptr(call->in), call->in_size))
		return -EFAULT;
	*size = head + call->in_size;
	return build_buffers(session, r, call);
}

int wc_call_build(struct wc_session *session, const struct winapi_ioc_call *call, enum wc_kind kind,
		  enum wc_wait wait, u64 deadline, struct wc_request **request, u32 *size)
{
	int err = check(session->device, call);

	if (!err)
		err = wc_await_running(session->device, wait, deadline);
	if (!err)
		err = wc_request_take(session->device, session, kind, wait, deadline, request);
	if (err)
		return err;
	err = build(session, *request, call, size);
	if (err)
		wc_request_drop(*request);
	return err;
}

/* ---- IOC_CALL -------------------------------------------------------------------------------------------------------- */

/* Sends, and looks for the reply itself for a while. The host's signals are masked meanwhile, and only then. */
static int send_polling(struct wc_device *device, struct wc_request *r, u32 size, u64 plan, u64 deadline)
{
	int err;

	wc_poll_begin(device);
	err = wc_request_send(r, size, WC_NO_WAIT, deadline);
	if (!err)
		wc_poll_for(device, r, plan, deadline);
	wc_poll_end(device);
	return err;
}

/* Sends and waits. After an error the request isn't the caller's any more. */
static int run(struct wc_session *session, struct wc_request *r, u32 size, enum wc_wait wait, u64 deadline)
{
	struct wc_device *device = session->device;
	u64 plan = wc_poll_plan(device);
	int err = -EAGAIN;

	if (plan)
		err = send_polling(device, r, size, plan, deadline);
	if (err == -EAGAIN)
		err = wc_request_send(r, size, wait, deadline);
	if (!err)
		return wc_request_wait(r, WC_WAIT_KILLABLE, deadline);
	wc_request_drop(r);
	return err;
}

static int take_result(struct wc_request *r, struct winapi_ioc_call *call)
{
	int err = r->result;

	if (!err) {
		call->status = r->status;
		call->out_size = r->out_size;
		call->host_ns = r->host_ns;
		if (r->out_size <= call->out_capacity &&
		    copy_to_user(u64_to_user_ptr(call->out), r->message, r->out_size))
			err = -EFAULT;
	}
	wc_request_drop(r);
	return err;
}

int wc_ioc_call(struct wc_session *session, unsigned long argument, size_t size, bool nonblock)
{
	enum wc_wait wait = nonblock ? WC_NO_WAIT : WC_WAIT_KILLABLE;
	struct winapi_ioc_call call;
	struct wc_request *r;
	u64 deadline;
	u32 bytes;
	int err = wc_take_struct(&call, sizeof(call), argument, size);

	if (err)
		return err;
	deadline = wc_deadline(call.timeout_ms);
	err = wc_call_build(session, &call, WC_SYNC, wait, deadline, &r, &bytes);
	if (!err)
		err = run(session, r, bytes, wait, deadline);
	if (!err)
		err = take_result(r, &call);
	return err ? err : wc_give_struct(argument, size, &call, sizeof(call));
}
