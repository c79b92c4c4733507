/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the files of winapi_client share. "wc" prefixes what is internal.
 *
 *	main.c     module, parameters, the bus driver
 *	device.c   a device from probe to remove: states, HELLO, suspend and resume
 *	channel.c  the rings: open, close, sending, taking packets, polling
 *	request.c  requests in flight: ids, ends, late replies
 *	rpc.c      the driver's own requests
 *	session.c  an open file's session with the host
 *	file.c     /dev/winapi: open, ioctl, read, poll, mmap
 *	call.c     IOC_CALL, and what a submission has in common with it
 *	async.c    IOC_SUBMIT, records, deadlines, cancel
 *	pins.c     application memory: pinned, counted, given back
 *	buffer.c   registered buffers over GPADLs
 *	stats.c    sysfs, debugfs
 *
 * Lifetimes. A wc_device lives while the bus has the device or a session refers to it; `channel` is only
 * valid between wc_enter and wc_leave, or under tx_lock or rx_lock with the ring open. A wc_session lives while
 * its file is open, a request of it is in flight, or the host hasn't heard of its end. Whoever moves a request
 * out of WC_IN_FLIGHT (under wc_device.lock) decides how it ends; so each ends once.
 *
 * Memory that the host can reach is given back only after its word (the call's reply, BUFFER_UNREGISTER and
 * the GPADL's teardown) or after the channel was closed.
 *
 * Lock order: gate, session->lock, bus_lock, lock; tx_lock and rx_lock are innermost but for lock inside rx_lock.
 *
 * vmbus_open, GPADL creation and teardown wait without end, and a rescind wakes one waiter of a channel, not
 * all: so each holds bus_lock, and no caller of the device runs them; it waits, killable, for work that does.
 */
#ifndef WC_H
#define WC_H

#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/hyperv.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../../common/protocol.h"
#include "../../common/status.h"
#include "../../include/winapi_ioctl.h"
#include "compat.h"

#define WC_HISTOGRAM 64u /* power-of-two buckets of ns */
#define WC_MAX_IN_FLIGHT 1024u
#define WC_MAX_BUFFERS 65535u /* so that a 32-bit caller's mmap reaches every id */
#define WC_MAP_SHIFT 28 /* mmap offset of a buffer: id << WC_MAP_SHIFT */
#define WC_NONE U32_MAX

/* Module parameters (main.c). */
extern unsigned int wc_ring_kib;
extern unsigned int wc_max_in_flight;
extern unsigned int wc_max_sessions;
extern unsigned int wc_max_buffers;
extern unsigned int wc_max_mib;
extern unsigned int wc_poll;
extern unsigned int wc_poll_max_us;
extern unsigned int wc_patience_ms;

/* Work that may wait for the host as long as it takes, and all other: that must not stand behind the former. */
extern struct workqueue_struct *wc_host_wq;
extern struct workqueue_struct *wc_wq;

struct wc_buffer;
struct wc_device;
struct wc_session;

/* ---- Waiting --------------------------------------------------------------------------------------------------- */

enum wc_wait { WC_NO_WAIT, WC_WAIT_KILLABLE, WC_WAIT_ALWAYS };

/* Sleeps once, at most until the deadline. 0, -EINTR (a signal that kills) or -ETIMEDOUT. */
int wc_sleep(enum wc_wait wait, u64 deadline_ns);

/*
 * Waits for `condition` on a wait queue, and is then `value`; or -EINTR or -ETIMEDOUT. Work waits WC_WAIT_ALWAYS:
 * idle, so that nobody takes a silent host for a hung guest.
 */
#define wc_wait_for(queue, wait, deadline_ns, condition, value) \
	({ \
		DEFINE_WAIT(__entry); \
		int __err = 0; \
		for (;;) { \
			prepare_to_wait((queue), &__entry, \
					(wait) == WC_WAIT_ALWAYS ? TASK_IDLE : WC_KILLABLE); \
			if (condition) { \
				__err = (value); \
				break; \
			} \
			if (__err) \
				break; \
			__err = wc_sleep((wait), (deadline_ns)); \
		} \
		finish_wait((queue), &__entry); \
		__err; \
	})

/* ---- Requests ------------------------------------------------------------------------------------------------- */

enum wc_state {
	WC_FREE,
	WC_BUILDING, /* its taker's alone */
	WC_SENDING, /* the sender still reads it; a reply may come */
	WC_REPLIED, /* the reply came while it was being sent: the sender goes on with it */
	WC_IN_FLIGHT, /* a reply may come */
	WC_ENDED, /* its waiter takes it */
	WC_ORPHAN, /* in flight, and nobody waits any more */
	WC_FINISHING, /* work gives its memory back */
	WC_LINGERING, /* over; its CANCEL's reply is yet to come */
};

enum wc_kind {
	WC_CONTROL, /* the driver's own, waited for by work */
	WC_SYNC,
	WC_ASYNC,
};

/* One buffer's pages among a call's. */
struct wc_run {
	u32 first;
	u32 pages;
	bool write;
	struct mm_struct *mm; /* whose locked memory it counts as */
};

/* Application memory of one call, and what was registered just for it. */
struct wc_pins {
	struct list_head link; /* in wc_device.limbo */
	struct page **page;
	struct wc_run run[WINAPI_MAX_BUFFERS];
	u32 runs;
	u32 pfns; /* in range; 0: nothing travels with the packet */
	struct vmbus_packet_mpb_array *range;
	struct wc_buffer *registered[WINAPI_MAX_BUFFERS];
	u32 registered_count;
};

/* The end of a submitted call, to be read. */
struct wc_record {
	struct list_head link; /* in wc_session.records */
	struct winapi_ioc_completion head;
	u32 capacity;
	u8 data[];
};

struct wc_request {
	u64 id; /* generation << 16 | index */
	u32 next_free;
	u8 state; /* enum wc_state */
	u8 kind; /* enum wc_kind */
	bool cancel_due; /* a CANCEL is to be sent as soon as there is room */
	bool cancel_sent; /* and unanswered */
	int doomed; /* to end with this, by the thread that sends it or waits for it */
	struct wc_session *session; /* a reference; NULL for the device's own */
	struct wc_buffer *buffer[WINAPI_MAX_BUFFERS]; /* counted as users */
	u32 buffers;
	struct wc_pins *pins;
	struct wc_record *record; /* WC_ASYNC */
	u64 user_data;
	u64 sent_ns;
	u64 deadline_ns; /* WC_ASYNC; U64_MAX: none */
	int result; /* from here on: set when it ends */
	u32 status;
	u32 out_size;
	u64 host_ns;
	u64 session_id; /* the reply's */
	wait_queue_head_t wait;
	struct work_struct finish;
	struct wc_device *device;
	struct winapi_msg_header sent; /* the message buffer takes the reply */
	u8 message[WINAPI_MAX_MESSAGE] __aligned(8);
};

/* ---- Device --------------------------------------------------------------------------------------------------- */

enum wc_device_state {
	WC_STARTING, /* no HELLO yet */
	WC_RUNNING,
	WC_SUSPENDED,
	WC_FAILED, /* the host is unusable: start_error says why */
	WC_GONE,
};

/* Polling for replies: how long, learned from how it went (channel.c). */
struct wc_learning {
	u32 reply_ns; /* moving average */
	s32 score;
	u32 pause; /* calls to go without polling */
	u32 next_pause;
};

struct wc_counters { /* under wc_device.lock */
	u64 calls;
	u64 replies;
	u64 errors; /* replies with a status */
	u64 timeouts;
	u64 bad_replies;
	u64 late_replies;
	u64 sleeps;
	u64 polled; /* waits that ended while polling */
	u64 pages_pinned;
	u64 gpa_direct;
	u64 bytes_inline; /* both ways */
	u64 cancels;
	u64 latency[WC_HISTOGRAM]; /* replies by log2 of their ns */
};

struct wc_device {
	struct device dev; /* /dev/winapi, or winapi1 and so on; its references are the device's */
	struct cdev cdev;
	struct work_struct free;
	struct vmbus_channel *channel;
	int number;

	struct rw_semaphore gate; /* read: the channel stays; write: it opens or closes */
	struct mutex bus_lock; /* one waiter on the bus at a time */
	wait_queue_head_t state_wait;
	enum wc_device_state state; /* written under lock */
	int start_error;
	bool removing; /* under lock */
	u32 epoch; /* how often it has been started; sessions of an earlier one are opened again */
	struct winapi_ioc_info info;
	u32 max_sessions;
	u32 host_in_flight; /* what the host allows, the driver's own requests included */
	struct work_struct start;
	struct work_struct broken;

	spinlock_t tx_lock;
	bool tx_open;
	u32 tx_index; /* where the next packet goes: the ring says so too, but the host can write there */
	u32 tx_wanted; /* bytes that somebody waits for; 0: nobody waits */
	u32 tx_waiters;
	wait_queue_head_t tx_wait;

	spinlock_t rx_lock;
	bool rx_open;
	u32 pollers; /* while there are some the host's signals are masked */
	u32 ring_data; /* bytes of data each way */

	spinlock_t lock;
	struct wc_request *table; /* wc_max_in_flight of them */
	u32 table_size;
	u32 free_first;
	u32 in_flight; /* taken from the table */
	u32 calls_in_flight; /* of those, users' */
	wait_queue_head_t slot_wait;
	struct delayed_work reaper;
	u64 reap_at; /* when it runs next; U64_MAX: not */
	struct list_head sessions;
	u32 session_count;
	struct list_head buffers; /* shared, or being shared */
	struct list_head limbo; /* pins of ended calls whose pages the host may still touch */
	bool detached; /* the channel is closed: the host touches nothing any more */
	int halted; /* no request begins, with this; 0: they do */
	struct wc_learning learning;
	struct wc_counters count;
	u64 signals_before; /* of the channels before this one */
	u64 interrupts_before;

	struct dentry *debugfs;
	u64 ping_ns; /* of one, when last tried */
};

/* device.c */
int wc_probe(struct hv_device *hv, const struct hv_vmbus_device_id *id);
WC_REMOVE_TYPE wc_remove(struct hv_device *hv);
int wc_suspend(struct hv_device *hv);
int wc_resume(struct hv_device *hv);
void wc_device_put(struct wc_device *device); /* in any context */
int wc_devices_init(void);
void wc_devices_exit(void);
/* Waits until the device runs and keeps it so. 0, or -ENODEV; wc_leave only after 0. For work, not for users. */
int wc_enter(struct wc_device *device);
void wc_leave(struct wc_device *device);
/* For users: waits, killable, until it runs. Nothing is kept: whatever they do next may find it gone. */
int wc_await_running(struct wc_device *device, enum wc_wait wait, u64 deadline_ns);
void wc_bus_lock(struct wc_device *device);
/* The host broke the ring: work ends all calls; the device stays unusable until it is offered anew. Any context. */
void wc_device_break(struct wc_device *device, const char *why);

/* channel.c */
int wc_channel_open(struct wc_device *device);
void wc_channel_stop(struct wc_device *device); /* nobody touches the rings from here on */
bool wc_channel_close(struct wc_device *device); /* false: the host wasn't reached, and keeps what it has */
/*
 * Sends request->message, `size` bytes, with the pages of its pins. Waits for room (killable unless the caller is
 * work) until the deadline, or not at all: -EAGAIN. -ENODEV, -EINTR, -ETIMEDOUT, -EMSGSIZE: never any room.
 */
int wc_channel_send(struct wc_device *device, struct wc_request *request, u32 size, enum wc_wait wait,
		    u64 deadline_ns);
/* A CANCEL with that id of its own. False: no room now. */
bool wc_channel_send_cancel(struct wc_device *device, u64 id, u64 session_id, u64 request_id);
/* The most page frame numbers that fit a packet beside a message of that size. */
u32 wc_channel_room_pfns(const struct wc_device *device, u32 message_size);
/*
 * Polling: for how many ns it is worth it now (0: not at all), the host's signals masked from begin to end, and
 * looking for a request's reply meanwhile.
 */
u64 wc_poll_plan(struct wc_device *device);
void wc_poll_begin(struct wc_device *device);
void wc_poll_for(struct wc_device *device, struct wc_request *request, u64 plan, u64 deadline_ns);
void wc_poll_end(struct wc_device *device);
void wc_channel_forget(struct wc_device *device); /* the bus frees it next */
void wc_channel_counts(struct wc_device *device, u64 *signals, u64 *interrupts);

/* request.c */
int wc_requests_init(struct wc_device *device);
void wc_requests_free(struct wc_device *device);
/* One to build, or -EAGAIN, -EINTR, -ETIMEDOUT, or why the session or the device is dead. Holds the session. */
int wc_request_take(struct wc_device *device, struct wc_session *session, enum wc_kind kind,
		    enum wc_wait wait, u64 deadline_ns, struct wc_request **request);
/* Gives one back that is being built or has ended, with its session, buffers, pins and record. May sleep. */
void wc_request_drop(struct wc_request *request);
/* Begins the message: what every header has. */
struct winapi_msg_header *wc_request_header(struct wc_request *request, u16 type, u64 session_id);
/* 0: sent, and it ends like any other. Else it is the caller's as before. */
int wc_request_send(struct wc_request *request, u32 size, enum wc_wait wait, u64 deadline_ns);
/*
 * For WC_SYNC and WC_CONTROL: waits for the end. 0: it is the caller's, with its result. -EINTR, -ETIMEDOUT or
 * -ECANCELED: it was given up and isn't the caller's any more.
 */
int wc_request_wait(struct wc_request *request, enum wc_wait wait, u64 deadline_ns);
bool wc_request_over(const struct wc_request *request); /* or doomed; no lock needed */
/* A completion from the host. False: no request in flight fits it. Under rx_lock; the payload is still shared. */
bool wc_request_reply(struct wc_device *device, u64 transaction, const void *payload, u32 size);
/* The channel is going: ends everything. What the host may still touch goes to limbo. */
void wc_requests_end(struct wc_device *device, int result);
/* The channel is closed: the host touches nothing any more, unless the closing failed. */
void wc_limbo_release(struct wc_device *device, bool closed);
/* A session ends: its calls do. */
void wc_requests_end_session(struct wc_session *session, int result);
/* Asks the host to stop a submitted call. 0 or -ENOENT. */
int wc_request_cancel(struct wc_session *session, u64 user_data);
/* device->reaper: async calls whose time is over, CANCELs that found no room. */
void wc_reap(struct work_struct *work);
void wc_reap_by(struct wc_device *device, u64 deadline_ns); /* not later than that; under lock */

/*
 * rpc.c: for work, within wc_enter. Sends, waits and takes exactly out_size bytes. 0, -errno of the host's status, or
 * why there was no reply.
 */
int wc_rpc(struct wc_device *device, struct wc_session *session, u16 type, const void *in, u32 in_size,
	   void *out, u32 out_size, u64 deadline_ns);
int wc_hello(struct wc_device *device);

/* ---- Sessions -------------------------------------------------------------------------------------------------- */

struct wc_session {
	struct kref ref;
	struct wc_device *device;
	struct list_head link; /* in wc_device.sessions */
	u64 id; /* the host's; 0: none */
	u32 uid, gid, pid;
	int dead; /* why nothing goes any more: -ECANCELED, -ENODEV; 0: it lives. Under wc_device.lock */

	struct mutex lock; /* buffers */
	struct xarray buffers;
	u32 next_buffer;
	u32 buffer_count;
	u64 buffer_bytes;

	/* under wc_device.lock */
	struct list_head records;
	u32 unread; /* submitted and not yet read */
	wait_queue_head_t wait;
	u64 calls, replies, timeouts;

	struct work_struct start;
	struct work_struct close;
	struct completion started;
	int start_error;
	u32 epoch;
	bool is_started; /* under wc_device.lock, as the next two */
	bool closing; /* the file is closed: `close` runs once it has started */
	bool closed; /* records go nowhere */
};

int wc_session_open(struct wc_device *device, struct wc_session **session);
void wc_session_close(struct wc_session *session); /* the file's part */
void wc_session_get(struct wc_session *session);
void wc_session_put(struct wc_session *session);
int wc_session_check(struct wc_session *session); /* 0, or why it is dead */
void wc_session_shut(struct wc_session *session, int why);
/* After a resume: opens it again and shares its buffers again. */
void wc_session_restart(struct wc_session *session);

/* call.c */
/* For ioctls: their struct, as the caller knows it. */
int wc_take_struct(void *to, size_t our_size, u64 address, size_t size);
int wc_give_struct(u64 address, size_t size, const void *from, size_t our_size);
int wc_ioc_call(struct wc_session *session, unsigned long argument, size_t size, bool nonblock);
u64 wc_deadline(u32 timeout_ms);
int wc_call_build(struct wc_session *session, const struct winapi_ioc_call *call, enum wc_kind kind,
		  enum wc_wait wait, u64 deadline, struct wc_request **request, u32 *size);

/* async.c */
int wc_ioc_submit(struct wc_session *session, unsigned long argument, size_t size, bool nonblock);
int wc_ioc_cancel(struct wc_session *session, unsigned long argument, size_t size);
ssize_t wc_read_records(struct wc_session *session, char __user *to, size_t size, bool nonblock);
void wc_record_deliver(struct wc_session *session, struct wc_record *record); /* under wc_device.lock */
void wc_records_free(struct wc_session *session);

/* pins.c */
int wc_pin_pages(unsigned long address, u32 pages, bool write, struct page **page, struct mm_struct **mm);
void wc_unpin_pages(struct page **page, u32 pages, bool dirty, struct mm_struct *mm);
void wc_pins_free(struct wc_pins *pins,
		  bool wait); /* may sleep; wait: until what was registered is unshared */
/* Pins the call's plain memory, for the packet or, where it doesn't fit that, registered for the call. */
int wc_pins_for_call(struct wc_session *session, struct wc_request *request,
		     const struct winapi_ioc_buffer_ref *ref, u32 count, struct winapi_buffer_desc *desc,
		     u32 message_size);

/* ---- Buffers ------------------------------------------------------------------------------------------------------ */

struct wc_chunk {
	void *va;
	u32 pages;
	struct wc_gpadl gpadl;
};

struct wc_buffer {
	struct kref ref;
	struct rcu_head rcu;
	struct wc_session *session; /* a reference */
	struct list_head link; /* in wc_device.buffers, under its lock: GPADLs may be there */
	u32 id; /* 0: registered for one call */
	u32 access;
	u64 length;
	u32 offset; /* into the first page */
	u64 handle; /* the host's; 0: none */
	u32 users; /* requests that name it; under wc_device.lock, as the next two */
	bool removed; /* nobody finds it any more */
	bool abandoned; /* nobody waits for its sharing any more */
	u32 pages;
	struct page **page;
	bool pinned; /* the application's memory */
	bool tainted; /* the host may have its pages for ever */
	struct mm_struct *mm;
	struct wc_chunk chunk[WINAPI_MAX_CHUNKS];
	u32 chunks; /* established; under bus_lock */
	bool forgotten; /* whoever detaches the channel frees it; under bus_lock */
	struct work_struct share;
	struct work_struct unshare;
	struct completion shared;
	struct completion unshared;
	int result;
};

void wc_buffer_put(struct wc_buffer *buffer);
int wc_ioc_alloc(struct wc_session *session, unsigned long argument, size_t size);
int wc_ioc_register(struct wc_session *session, unsigned long argument, size_t size);
int wc_ioc_free(struct wc_session *session, unsigned long argument, size_t size);
int wc_buffer_map(struct wc_session *session, struct vm_area_struct *vma);
/* Memory for one call; *buffer is shared when it returns 0. */
int wc_buffer_for_call(struct wc_session *session, unsigned long address, u64 length, u32 access,
		       struct wc_buffer **buffer);
/* Its call is over: has it unshared, and waits for that for a while or not at all. */
void wc_buffer_retire(struct wc_buffer *buffer, bool wait);
/* The buffer with that id, with a user counted and a reference, for a range and an access. */
int wc_buffer_use(struct wc_session *session, u32 id, u64 offset, u64 length, u32 access,
		  struct wc_buffer **buffer);
void wc_buffer_unuse(struct wc_buffer *buffer); /* under wc_device.lock; the reference stays */
/* The session is closed at the host: its buffers' GPADLs go. For work. */
void wc_buffers_close(struct wc_session *session);
int wc_buffer_share(struct wc_buffer *buffer); /* within wc_enter, or while the device resumes */
/* The channel is closed: every GPADL of its goes, and the pages that nobody needs any more. */
void wc_buffers_detach(struct wc_device *device);

/* file.c */
extern const struct file_operations wc_fops;

/* stats.c */
extern const struct attribute_group *wc_groups[];
void wc_debugfs_init(void);
void wc_debugfs_exit(void);
void wc_debugfs_add(struct wc_device *device);
void wc_debugfs_remove(struct wc_device *device);

int wc_status_errno(u32 status);

#endif /* WC_H */
