// SPDX-License-Identifier: MIT OR GPL-2.0
/* The driver's own requests: HELLO, sessions, buffers. Work runs these, and waits as long as the host takes. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>

#include "wc.h"

#define RESERVE 8u /* requests of the driver's own that users' calls can't crowd out */

static const s16 status_errno[] = {
/* checkpatch takes the designator for an index. */
#define WC_STATUS(name, value, err, nt, text) [value] = -(err),
	WINAPI_STATUS_TABLE(WC_STATUS)
#undef WC_STATUS
};

/* The host may say anything. */
int wc_status_errno(u32 status)
{
	return status < ARRAY_SIZE(status_errno) ? status_errno[status] : -EIO;
}

int wc_rpc(struct wc_device *device, struct wc_session *session, u16 type, const void *in, u32 in_size,
	   void *out, u32 out_size, u64 deadline_ns)
{
	struct wc_request *r;
	int err = wc_request_take(device, NULL, WC_CONTROL, WC_WAIT_ALWAYS, deadline_ns, &r);

	if (err)
		return err;
	wc_request_header(r, type, session ? session->id : 0)->inline_size = in_size;
	memcpy(r->message + sizeof(struct winapi_msg_header), in, in_size);
	err = wc_request_send(r, sizeof(struct winapi_msg_header) + in_size, WC_WAIT_ALWAYS, deadline_ns);
	if (!err) {
		err = wc_request_wait(r, WC_WAIT_ALWAYS, deadline_ns);
		if (err)
			return err; /* it goes on without us */
		err = r->result ? r->result : wc_status_errno(r->status);
	}
	if (!err && r->out_size != out_size)
		err = -EPROTO;
	/* A new session's id is in both header and data. */
	if (!err && type == WINAPI_MSG_SESSION_OPEN &&
	    memcmp(r->message, &r->session_id, sizeof(r->session_id)))
		err = -EPROTO;
	if (!err)
		memcpy(out, r->message, out_size);
	wc_request_drop(r);
	return err;
}

/* ---- HELLO ------------------------------------------------------------------------------------------------------ */

static bool hello_sane(const struct winapi_hello_reply *h)
{
	return h->version == WINAPI_VERSION_1 && h->max_in_flight && h->max_sessions && h->max_buffers &&
	       h->max_inline && h->max_buffers_per_call && h->max_buffer_size && h->max_bytes &&
	       h->max_chunks && !h->reserved;
}

/* Within what both sides allow. */
static void take_limits(struct wc_device *device, const struct winapi_hello_reply *h)
{
	struct winapi_ioc_info *info = &device->info;
	u32 in_flight = min(h->max_in_flight, device->table_size);

	spin_lock_bh(&device->lock);
	device->host_in_flight = in_flight;
	info->protocol_version = h->version;
	info->features = h->features & WINAPI_FEATURES_V1;
	info->ring_size = device->ring_data;
	info->max_in_flight = in_flight - min(in_flight / 4, RESERVE);
	info->max_inline = min(h->max_inline, WINAPI_MAX_INLINE);
	info->max_buffers_per_call = min_t(u32, h->max_buffers_per_call, WINAPI_MAX_BUFFERS);
	info->max_batch = min(h->max_batch, WINAPI_MAX_BATCH);
	info->max_buffers = min(h->max_buffers, wc_max_buffers);
	info->max_buffer_size = min_t(u64, h->max_buffer_size, WINAPI_MAX_BUFFER_SIZE);
	/* A buffer that doesn't begin with a page takes one page more. */
	info->max_buffer_size =
		min_t(u64, info->max_buffer_size, h->max_chunks * WINAPI_CHUNK_SIZE - PAGE_SIZE);
	info->max_bytes = min_t(u64, h->max_bytes, (u64)wc_max_mib << 20);
	memcpy(info->provider, h->provider, sizeof(info->provider));
	info->provider[sizeof(info->provider) - 1] = '\0';
	device->max_sessions = min(h->max_sessions, wc_max_sessions);
	spin_unlock_bh(&device->lock);
}

/* The name comes from the host: only what can't hurt a log or a terminal stays. */
static void clean(char *name)
{
	for (; *name; name++)
		if (*name < ' ' || *name > '~')
			*name = '?';
}

int wc_hello(struct wc_device *device)
{
	struct winapi_hello_request request = {
		.min_version = WINAPI_VERSION_MIN,
		.max_version = WINAPI_VERSION_MAX,
		.features = WINAPI_FEATURES_V1,
	};
	struct winapi_hello_reply reply;
	int err = wc_rpc(device, NULL, WINAPI_MSG_HELLO, &request, sizeof(request), &reply, sizeof(reply),
			 ktime_get_ns() + READ_ONCE(wc_patience_ms) * (u64)NSEC_PER_MSEC);

	if (err)
		return err;
	if (!hello_sane(&reply))
		return -EPROTO;
	take_limits(device, &reply);
	clean(device->info.provider);
	return 0;
}
