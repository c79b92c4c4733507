// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Requests in flight. An id is the index in the table and a generation above it, so that a reply that is late,
 * repeated or made up names no request in flight. Bit 15 marks the id of a request's CANCEL.
 *
 * The host is told to stop a request that nobody waits for any more, and its memory and its place in the table are
 * kept until the reply comes, or the channel is closed.
 */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "trace.h"
#include "wc.h"

#define INDEX_MASK 0x7fffull
#define CANCEL_BIT 0x8000ull
#define GENERATION 0x10000ull
#define RETRY_NS (5 * NSEC_PER_MSEC) /* of a CANCEL that found no room */

int wc_sleep(enum wc_wait wait, u64 deadline_ns)
{
	long left = MAX_SCHEDULE_TIMEOUT;

	if (wait == WC_WAIT_KILLABLE && fatal_signal_pending(current))
		return -EINTR;
	if (deadline_ns != U64_MAX) {
		u64 now = ktime_get_ns();

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		left = nsecs_to_jiffies(deadline_ns - now) + 1;
	}
	if (wait == WC_WAIT_KILLABLE)
		wc_schedule(left);
	else
		schedule_timeout(left);
	return 0;
}

/* ---- The table ------------------------------------------------------------------------------------------------------ */

static void finish(struct work_struct *work);

int wc_requests_init(struct wc_device *device)
{
	u32 i;

	device->table_size = wc_max_in_flight;
	device->table = vzalloc(array_size(device->table_size, sizeof(*device->table)));
	if (!device->table)
		return -ENOMEM;
	for (i = 0; i < device->table_size; i++) {
		struct wc_request *r = &device->table[i];

		r->id = i;
		r->device = device;
		r->next_free = i + 1 < device->table_size ? i + 1 : WC_NONE;
		init_waitqueue_head(&r->wait);
		INIT_WORK(&r->finish, finish);
	}
	return 0;
}

void wc_requests_free(struct wc_device *device)
{
	vfree(device->table);
}

/* Under lock. NULL: none now. */
static struct wc_request *pop(struct wc_device *device, enum wc_kind kind)
{
	struct wc_request *r;

	if (device->free_first == WC_NONE || device->in_flight >= device->host_in_flight ||
	    (kind != WC_CONTROL && device->calls_in_flight >= device->info.max_in_flight))
		return NULL;
	r = &device->table[device->free_first];
	device->free_first = r->next_free;
	device->in_flight++;
	device->calls_in_flight += kind != WC_CONTROL;
	r->id += GENERATION;
	r->state = WC_BUILDING;
	r->kind = kind;
	r->cancel_due = false;
	r->doomed = 0;
	r->deadline_ns = U64_MAX;
	return r;
}

/* Under lock. */
static void push(struct wc_request *r)
{
	struct wc_device *device = r->device;

	r->state = WC_FREE;
	r->next_free = device->free_first;
	device->free_first = r->id & INDEX_MASK;
	device->in_flight--;
	device->calls_in_flight -= r->kind != WC_CONTROL;
	wake_up_all(&device->slot_wait);
}

/* It is over, and its pins are gone: lets go of session and buffers, and of the place in the table. Under lock. */
static void release(struct wc_request *r)
{
	while (r->buffers) {
		struct wc_buffer *buffer = r->buffer[--r->buffers];

		wc_buffer_unuse(buffer);
		wc_buffer_put(buffer);
	}
	if (r->session)
		wc_session_put(r->session);
	r->session = NULL;
	if (r->cancel_sent)
		r->state = WC_LINGERING;
	else
		push(r);
}

/* Under lock. 0: it may; -EAGAIN: a user's, and the device starts or sleeps. */
static int may_begin(struct wc_device *device, struct wc_session *session, enum wc_kind kind)
{
	if (session && session->dead)
		return session->dead;
	if (kind == WC_CONTROL || device->state == WC_RUNNING)
		return device->halted;
	return device->state == WC_STARTING || device->state == WC_SUSPENDED ? -EAGAIN : -ENODEV;
}

/* 0 or a reason not to begin; -EAGAIN: none is free. */
static int try_take(struct wc_device *device, struct wc_session *session, enum wc_kind kind,
		    struct wc_request **request)
{
	int err;

	spin_lock_bh(&device->lock);
	err = may_begin(device, session, kind);
	if (!err) {
		*request = pop(device, kind);
		err = *request ? 0 : -EAGAIN;
	}
	if (!err && session) {
		wc_session_get(session);
		(*request)->session = session;
	}
	spin_unlock_bh(&device->lock);
	return err;
}

int wc_request_take(struct wc_device *device, struct wc_session *session, enum wc_kind kind,
		    enum wc_wait wait, u64 deadline_ns, struct wc_request **request)
{
	int err = try_take(device, session, kind, request);

	if (err != -EAGAIN || wait == WC_NO_WAIT)
		return err;
	return wc_wait_for(&device->slot_wait, wait, deadline_ns,
			   (err = try_take(device, session, kind, request)) != -EAGAIN, err);
}

void wc_request_drop(struct wc_request *r)
{
	struct wc_device *device = r->device;

	wc_pins_free(r->pins, true);
	r->pins = NULL;
	kfree(r->record);
	r->record = NULL;
	spin_lock_bh(&device->lock);
	release(r);
	spin_unlock_bh(&device->lock);
}

/* ---- The end of one -------------------------------------------------------------------------------------------------- */

/* Its record, if it has one, to its reader. Under lock. */
static void deliver(struct wc_request *r)
{
	struct wc_record *record = r->record;

	if (!record)
		return;
	r->record = NULL;
	record->head.user_data = r->user_data;
	record->head.result = r->result;
	record->head.status = r->status;
	record->head.out_size = r->out_size;
	record->head.host_ns = r->host_ns;
	wc_record_deliver(r->session, record);
}

static void finish(struct work_struct *work)
{
	struct wc_request *r = container_of(work, struct wc_request, finish);
	struct wc_device *device = r->device;

	get_device(&device->dev); /* the session that goes below may have held the last reference */
	wc_pins_free(r->pins, false);
	r->pins = NULL;
	spin_lock_bh(&device->lock);
	deliver(r);
	release(r);
	spin_unlock_bh(&device->lock);
	wc_device_put(device);
}

/* Nobody waits in the kernel for it: the memory goes first, then the record comes. Under lock. */
static void wind_up(struct wc_request *r)
{
	if (r->pins) {
		r->state = WC_FINISHING;
		queue_work(wc_wq, &r->finish);
	} else {
		deliver(r);
		release(r);
	}
}

/* The reply is here. Under lock. */
static void settle(struct wc_request *r)
{
	if (r->state == WC_IN_FLIGHT && r->kind != WC_ASYNC) {
		/* With its result: wc_request_over looks without the lock. */
		smp_store_release(&r->state, WC_ENDED);
		wake_up_all(&r->wait);
	} else {
		wind_up(r);
	}
}

static void set_result(struct wc_request *r, int result)
{
	r->result = result;
	r->status = 0;
	r->out_size = 0;
	r->host_ns = 0;
	trace_winapi_end(r->device->number, r->id, result);
}

/*
 * Nobody is interested any more, but the host may still be at work on it: told to stop, it goes on as an orphan.
 * Under lock.
 */
static void abandon(struct wc_request *r)
{
	r->state = WC_ORPHAN;
	r->cancel_due = r->device->info.features & WINAPI_FEATURE_CANCEL;
}

/* The channel is going, and with it every reply. Under lock. */
static void end(struct wc_request *r, int result)
{
	bool orphan = r->state == WC_ORPHAN;

	set_result(r, result);
	r->cancel_due = false;
	if (r->pins && !r->device->detached) {
		list_add(&r->pins->link, &r->device->limbo);
		r->pins = NULL;
	}
	if (orphan || r->kind == WC_ASYNC) {
		wind_up(r);
	} else {
		/* As in settle. */
		smp_store_release(&r->state, WC_ENDED);
		wake_up_all(&r->wait);
	}
}

/* ---- Sending ----------------------------------------------------------------------------------------------------------- */

struct winapi_msg_header *wc_request_header(struct wc_request *r, u16 type, u64 session_id)
{
	struct winapi_msg_header *h = (struct winapi_msg_header *)r->message;

	memset(h, 0, sizeof(*h));
	h->magic = WINAPI_MAGIC;
	h->version = WINAPI_VERSION_1;
	h->type = type;
	h->request_id = r->id;
	h->session_id = session_id;
	return h;
}

static void stamp(struct wc_request *r)
{
	struct winapi_msg_header *h = (struct winapi_msg_header *)r->message;

	r->sent_ns = ktime_get_ns();
	h->timestamp = r->sent_ns;
	r->sent = *h;
}

static void count_sent(struct wc_request *r)
{
	struct wc_device *device = r->device;

	device->count.calls++;
	device->count.bytes_inline += r->sent.inline_size;
	device->count.gpa_direct += r->pins && r->pins->pfns;
	if (r->session && r->kind != WC_CONTROL)
		r->session->calls++;
}

/* The packet is in the ring, unless err. True: it ends like any other now. Under lock. */
static bool sent(struct wc_request *r, int err)
{
	if (err && r->state == WC_SENDING) {
		r->state = WC_BUILDING;
		return false;
	}
	count_sent(r);
	if (r->state == WC_REPLIED) {
		r->state = WC_IN_FLIGHT;
		settle(r);
		return true;
	}
	r->state = WC_IN_FLIGHT;
	if (r->device->halted) {
		end(r, r->device->halted); /* wc_requests_end left it to us */
	} else if (r->doomed && r->kind == WC_ASYNC) {
		set_result(r, r->doomed);
		abandon(r);
		deliver(r);
		wc_reap_by(r->device, 0);
	}
	return true;
}

int wc_request_send(struct wc_request *r, u32 size, enum wc_wait wait, u64 deadline_ns)
{
	struct wc_device *device = r->device;
	int err;

	stamp(r);
	spin_lock_bh(&device->lock);
	err = r->doomed ? r->doomed : may_begin(device, r->session, r->kind);
	if (!err)
		r->state = WC_SENDING;
	spin_unlock_bh(&device->lock);
	if (err)
		return err;
	err = wc_channel_send(device, r, size, wait, deadline_ns);
	spin_lock_bh(&device->lock);
	if (sent(r, err))
		err = 0;
	spin_unlock_bh(&device->lock);
	return err;
}

/* ---- Replies ------------------------------------------------------------------------------------------------------------- */

/* Under lock. NULL: the host made it up. */
static struct wc_request *find(struct wc_device *device, u64 transaction)
{
	u64 index = transaction & INDEX_MASK;

	if (index >= device->table_size || device->table[index].id != (transaction & ~CANCEL_BIT))
		return NULL;
	return &device->table[index];
}

/* The header says that it answers that request. */
static bool agrees(const struct winapi_msg_header *h, const struct winapi_msg_header *sent, u32 size)
{
	return h->magic == WINAPI_MAGIC && h->version == sent->version && h->type == sent->type &&
	       h->api == sent->api && h->method == sent->method && h->flags == WINAPI_FLAG_REPLY &&
	       h->request_id == sent->request_id && h->timestamp == sent->timestamp && !h->buffer_count &&
	       !h->reserved && !h->timeout_ms && h->inline_size <= WINAPI_MAX_INLINE &&
	       h->inline_size <= size - sizeof(*h) && (!h->status || !h->inline_size) &&
	       (h->session_id == sent->session_id || sent->type == WINAPI_MSG_SESSION_OPEN);
}

static void count_reply(struct wc_request *r, const struct winapi_msg_header *h)
{
	struct wc_device *device = r->device;
	struct wc_learning *l = &device->learning;
	u64 ns = ktime_get_ns() - r->sent_ns;

	device->count.replies++;
	device->count.errors += h->status != 0;
	device->count.bytes_inline += h->inline_size;
	device->count.latency[min_t(u32, fls64(ns), WC_HISTOGRAM - 1)]++;
	if (r->kind == WC_SYNC)
		l->reply_ns = l->reply_ns ? (7ull * l->reply_ns + min_t(u64, ns, U32_MAX)) / 8 :
					    min_t(u64, ns, U32_MAX);
	if (r->session && r->kind != WC_CONTROL && r->state != WC_ORPHAN)
		r->session->replies++;
	trace_winapi_reply(device->number, r->id, h->status, h->inline_size, ns, h->host_ns);
}

/* The result, and the data to where they are wanted. */
static void take_reply(struct wc_request *r, const struct winapi_msg_header *h, const void *data)
{
	r->result = 0;
	r->status = h->status;
	r->out_size = h->inline_size;
	r->host_ns = h->host_ns;
	r->session_id = h->session_id;
	if (r->kind != WC_ASYNC)
		memcpy(r->message, data, h->inline_size);
	else if (r->record && h->inline_size > r->record->capacity)
		r->result = -EMSGSIZE;
	else if (r->record)
		memcpy(r->record->data, data, h->inline_size);
}

static bool reply_to(struct wc_request *r, const struct winapi_msg_header *h, const void *payload, u32 size)
{
	if (r->state != WC_SENDING && r->state != WC_IN_FLIGHT && r->state != WC_ORPHAN)
		return false;
	if (!agrees(h, &r->sent, size))
		return false;
	count_reply(r, h);
	if (r->state != WC_ORPHAN)
		take_reply(r, h, (const u8 *)payload + sizeof(*h));
	else
		r->device->count.late_replies++;
	if (r->state == WC_SENDING)
		r->state = WC_REPLIED;
	else
		settle(r);
	return true;
}

static bool reply_to_cancel(struct wc_request *r, const struct winapi_msg_header *h, u64 transaction)
{
	if (!r->cancel_sent || h->magic != WINAPI_MAGIC || h->type != WINAPI_MSG_CANCEL ||
	    h->flags != WINAPI_FLAG_REPLY || h->request_id != transaction)
		return false;
	r->cancel_sent = false;
	if (r->state == WC_LINGERING)
		push(r);
	return true;
}

bool wc_request_reply(struct wc_device *device, u64 transaction, const void *payload, u32 size)
{
	struct winapi_msg_header h;
	struct wc_request *r;
	bool good = false;

	if (size < sizeof(h))
		return false;
	memcpy(&h, payload, sizeof(h));
	barrier(); /* the copy is what is checked and used from here on */
	spin_lock(&device->lock);
	r = find(device, transaction);
	if (r)
		good = transaction & CANCEL_BIT ? reply_to_cancel(r, &h, transaction) :
						  reply_to(r, &h, payload, size);
	spin_unlock(&device->lock);
	return good;
}

/* ---- Cancels --------------------------------------------------------------------------------------------------------------- */

/* False: no room now. Under lock. */
static bool send_cancel(struct wc_request *r)
{
	r->cancel_sent = true; /* first: the reply may be quick */
	if (!wc_channel_send_cancel(r->device, r->id | CANCEL_BIT, r->sent.session_id, r->id)) {
		r->cancel_sent = false;
		return false;
	}
	r->cancel_due = false;
	r->device->count.cancels++;
	return true;
}

int wc_request_cancel(struct wc_session *session, u64 user_data)
{
	struct wc_device *device = session->device;
	int err = -ENOENT;
	u32 i;

	spin_lock_bh(&device->lock);
	for (i = 0; i < device->table_size && err; i++) {
		struct wc_request *r = &device->table[i];

		if (r->session != session || r->kind != WC_ASYNC || r->user_data != user_data ||
		    r->state != WC_IN_FLIGHT)
			continue;
		err = 0;
		if (!r->cancel_sent && !send_cancel(r)) {
			r->cancel_due = true;
			wc_reap_by(device, ktime_get_ns() + RETRY_NS);
		}
	}
	spin_unlock_bh(&device->lock);
	return err;
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------------------- */

bool wc_request_over(const struct wc_request *r)
{
	/* Against the release in settle and end: what comes with WC_ENDED is there. */
	return smp_load_acquire(&r->state) != WC_IN_FLIGHT || READ_ONCE(r->doomed);
}

/* The waiter leaves, unless the end came first. 0: it did. */
static int give_up(struct wc_request *r, int why)
{
	struct wc_device *device = r->device;

	spin_lock_bh(&device->lock);
	if (r->state == WC_ENDED) {
		why = 0;
	} else {
		device->count.timeouts += why == -ETIMEDOUT;
		if (r->session)
			r->session->timeouts += why == -ETIMEDOUT;
		trace_winapi_end(device->number, r->id, why);
		abandon(r);
		if (r->cancel_due && !send_cancel(r))
			wc_reap_by(device, ktime_get_ns() + RETRY_NS);
	}
	spin_unlock_bh(&device->lock);
	return why;
}

int wc_request_wait(struct wc_request *r, enum wc_wait wait, u64 deadline_ns)
{
	struct wc_device *device = r->device;
	int err;

	if (!wc_request_over(r)) {
		spin_lock_bh(&device->lock);
		device->count.sleeps++;
		spin_unlock_bh(&device->lock);
	}
	err = wc_wait_for(&r->wait, wait, deadline_ns, wc_request_over(r), 0);
	/* As in wc_request_over, which may have seen `doomed` only. */
	if (!err && smp_load_acquire(&r->state) == WC_ENDED)
		return 0;
	return give_up(r, err ? err : READ_ONCE(r->doomed));
}

/* ---- The end of many ------------------------------------------------------------------------------------------------------------ */

void wc_requests_end(struct wc_device *device, int result)
{
	u32 i;

	spin_lock_bh(&device->lock);
	device->halted = result;
	for (i = 0; i < device->table_size; i++) {
		struct wc_request *r = &device->table[i];

		r->cancel_sent = false;
		if (r->state == WC_LINGERING)
			push(r);
		else if (r->state == WC_IN_FLIGHT || r->state == WC_ORPHAN)
			end(r, result);
		else if (r->state == WC_BUILDING || r->state == WC_SENDING || r->state == WC_REPLIED)
			WRITE_ONCE(r->doomed,
				   result); /* a frozen sender finds another channel when it goes on */
	}
	spin_unlock_bh(&device->lock);
	wake_up_all(&device->slot_wait);
}

void wc_limbo_release(struct wc_device *device, bool closed)
{
	struct wc_pins *pins, *next;
	LIST_HEAD(limbo);

	spin_lock_bh(&device->lock);
	device->detached = closed;
	list_splice_init(&device->limbo, &limbo);
	spin_unlock_bh(&device->lock);
	if (!closed && !list_empty(&limbo))
		dev_warn(&device->dev,
			 "the channel couldn't be closed: the pages of its calls stay pinned\n");
	if (closed)
		list_for_each_entry_safe(pins, next, &limbo, link)
			wc_pins_free(pins, false);
}

void wc_requests_end_session(struct wc_session *session, int result)
{
	struct wc_device *device = session->device;
	u32 i;

	spin_lock_bh(&device->lock);
	for (i = 0; i < device->table_size; i++) {
		struct wc_request *r = &device->table[i];

		if (r->session != session || r->kind == WC_CONTROL)
			continue;
		if (r->state == WC_SENDING || r->state == WC_REPLIED ||
		    (r->state == WC_IN_FLIGHT && r->kind == WC_SYNC)) {
			WRITE_ONCE(r->doomed, result);
			wake_up_all(&r->wait);
		} else if (r->state == WC_IN_FLIGHT) {
			set_result(r, result);
			abandon(r);
			deliver(r);
			wc_reap_by(device, 0);
		}
	}
	spin_unlock_bh(&device->lock);
	wake_up_all(&device->slot_wait);
	wake_up_all(&device->tx_wait);
}

/* ---- The reaper ------------------------------------------------------------------------------------------------------------------- */

void wc_reap_by(struct wc_device *device, u64 deadline_ns)
{
	u64 now = ktime_get_ns();

	if (deadline_ns >= device->reap_at)
		return;
	device->reap_at = deadline_ns;
	mod_delayed_work(wc_wq, &device->reaper,
			 deadline_ns > now ? nsecs_to_jiffies(deadline_ns - now) + 1 : 0);
}

/* When this one is next of interest. Under lock. */
static u64 reap(struct wc_request *r, u64 now)
{
	if (r->state == WC_IN_FLIGHT && r->kind == WC_ASYNC && r->deadline_ns <= now) {
		r->device->count.timeouts++;
		r->session->timeouts++;
		set_result(r, -ETIMEDOUT);
		abandon(r);
		deliver(r);
	}
	if (r->cancel_due && (r->state == WC_IN_FLIGHT || r->state == WC_ORPHAN) && !r->cancel_sent &&
	    !send_cancel(r))
		return now + RETRY_NS;
	return r->state == WC_IN_FLIGHT && r->kind == WC_ASYNC ? r->deadline_ns : U64_MAX;
}

void wc_reap(struct work_struct *work)
{
	struct wc_device *device = container_of(to_delayed_work(work), struct wc_device, reaper);
	u64 now = ktime_get_ns(), next = U64_MAX;
	u32 i;

	spin_lock_bh(&device->lock);
	device->reap_at = U64_MAX;
	for (i = 0; i < device->table_size; i++)
		next = min(next, reap(&device->table[i], now));
	if (next != U64_MAX)
		wc_reap_by(device, next);
	spin_unlock_bh(&device->lock);
}
