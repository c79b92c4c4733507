// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A device: what the host offered, and /dev/winapi in front of it.
 *
 * Probe never waits for the host, as a rescind waits for probe; opening the channel and HELLO are work. Remove ends
 * every call first, without waiting for the files that are open; those find -ENODEV from then on, and a new offer
 * makes a new device. Suspend is a remove that keeps the files, and resume starts as probe does.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "wc.h"

#define MINORS 64
#define DRAIN_MS 5000 /* that a suspend leaves to calls in flight */

static dev_t first_minor;
static DEFINE_IDA(numbers);
static struct class class = { .name = "winapi" };

/* ---- State ------------------------------------------------------------------------------------------------------------ */

static void set_state(struct wc_device *device, enum wc_device_state state, int error)
{
	spin_lock_bh(&device->lock);
	if (device->state != WC_GONE) {
		WRITE_ONCE(device->state, state);
		device->start_error = error;
	}
	spin_unlock_bh(&device->lock);
	wake_up_all(&device->state_wait);
	wake_up_all(&device->slot_wait);
}

static bool settled(struct wc_device *device)
{
	enum wc_device_state state = READ_ONCE(device->state);

	return state != WC_STARTING && state != WC_SUSPENDED;
}

int wc_enter(struct wc_device *device)
{
	for (;;) {
		enum wc_device_state state;

		wait_event_idle(device->state_wait, settled(device));
		down_read(&device->gate);
		state = READ_ONCE(device->state);
		if (state == WC_RUNNING)
			return 0;
		up_read(&device->gate);
		if (state == WC_FAILED || state == WC_GONE)
			return -ENODEV;
	}
}

void wc_leave(struct wc_device *device)
{
	up_read(&device->gate);
}

int wc_await_running(struct wc_device *device, enum wc_wait wait, u64 deadline_ns)
{
	u64 patience = ktime_get_ns() + READ_ONCE(wc_patience_ms) * (u64)NSEC_PER_MSEC;
	int err = 0;

	if (likely(READ_ONCE(device->state) == WC_RUNNING))
		return 0;
	if (wait == WC_NO_WAIT)
		err = settled(device) ? 0 : -EAGAIN;
	else
		err = wc_wait_for(&device->state_wait, wait, min(patience, deadline_ns), settled(device), 0);
	if (err)
		return err;
	switch (READ_ONCE(device->state)) {
	case WC_FAILED:
		return device->start_error;
	case WC_GONE:
		return -ENODEV;
	default:
		return 0;
	}
}

void wc_bus_lock(struct wc_device *device)
{
	/* Who holds it may wait for the host for long: that is no hung task, as a killable one isn't. */
	if (mutex_lock_killable(&device->bus_lock))
		mutex_lock(&device->bus_lock);
}

/* Open files find -ENODEV from now on. */
static void sessions_die(struct wc_device *device)
{
	struct wc_session *session;

	spin_lock_bh(&device->lock);
	list_for_each_entry(session, &device->sessions, link) {
		if (!session->dead)
			WRITE_ONCE(session->dead, -ENODEV);
		wake_up_all(&session->wait);
	}
	spin_unlock_bh(&device->lock);
}

/* ---- Start, in work ---------------------------------------------------------------------------------------------------- */

/* Requests may begin, unless the device is on its way out. */
static void unhalt(struct wc_device *device)
{
	spin_lock_bh(&device->lock);
	device->detached = false;
	if (!device->removing)
		device->halted = 0;
	spin_unlock_bh(&device->lock);
}

/* One that was open before a suspend, with a reference; NULL: no more. */
static struct wc_session *next_to_restart(struct wc_device *device)
{
	struct wc_session *session, *found = NULL;

	spin_lock_bh(&device->lock);
	list_for_each_entry(session, &device->sessions, link) {
		if (session->epoch == device->epoch)
			continue;
		session->epoch = device->epoch;
		wc_session_get(session);
		found = session;
		break;
	}
	spin_unlock_bh(&device->lock);
	return found;
}

static int begin(struct wc_device *device)
{
	struct wc_session *session;
	int err = wc_channel_open(device);

	if (err) {
		dev_err(&device->dev, "the host didn't open the channel (%d)\n", err);
		return -ENODEV;
	}
	unhalt(device);
	err = wc_hello(device);
	if (err == -ETIMEDOUT)
		dev_err(&device->dev, "the host doesn't answer HELLO\n");
	else if (err)
		dev_err(&device->dev, "the host's answer to HELLO is unusable (%d)\n", err);
	if (err)
		return err;
	while ((session = next_to_restart(device))) {
		wc_session_restart(session);
		wc_session_put(session);
	}
	dev_info(&device->dev, "connected to %s, %u calls in flight, %u KiB rings\n", device->info.provider,
		 device->info.max_in_flight, device->ring_data >> 10);
	return 0;
}

static void start(struct work_struct *work)
{
	struct wc_device *device = container_of(work, struct wc_device, start);
	int err;

	spin_lock_bh(&device->lock);
	device->epoch++;
	spin_unlock_bh(&device->lock);
	err = begin(device);
	set_state(device, err ? WC_FAILED : WC_RUNNING, err);
	if (err)
		sessions_die(device);
}

/* ---- Stop --------------------------------------------------------------------------------------------------------------- */

static void stop(struct wc_device *device, int result)
{
	wc_channel_stop(device);
	wc_requests_end(device, result);
}

/* The channel is closed, GPADLs are torn down, pages go back: the host has nothing any more. */
static void detach(struct wc_device *device)
{
	bool closed;

	down_write(&device->gate);
	closed = wc_channel_close(device);
	wc_buffers_detach(device);
	up_write(&device->gate);
	wc_limbo_release(device, closed);
}

static void broken(struct work_struct *work)
{
	struct wc_device *device = container_of(work, struct wc_device, broken);

	stop(device, -ENODEV);
	sessions_die(device);
}

void wc_device_break(struct wc_device *device, const char *why)
{
	if (queue_work(wc_wq, &device->broken))
		dev_err_ratelimited(&device->dev, "%s: unusable until the host offers it anew\n", why);
}

/* ---- Probe and remove ------------------------------------------------------------------------------------------------------- */

static void free_device(struct work_struct *work)
{
	struct wc_device *device = container_of(work, struct wc_device, free);

	cancel_delayed_work_sync(&device->reaper);
	cancel_work_sync(&device->broken);
	wc_requests_free(device);
	kfree(device);
}

/* The last reference may go in a softirq, the memory can't. */
static void release(struct device *dev)
{
	struct wc_device *device = container_of(dev, struct wc_device, dev);

	queue_work(wc_wq, &device->free);
}

void wc_device_put(struct wc_device *device)
{
	put_device(&device->dev);
}

static struct wc_device *device_new(struct hv_device *hv)
{
	struct wc_device *device = kzalloc(sizeof(*device), GFP_KERNEL);

	if (!device)
		return NULL;
	device->channel = hv->channel;
	device->halted = -ENODEV;
	device->host_in_flight = 1;
	device->reap_at = U64_MAX;
	init_rwsem(&device->gate);
	mutex_init(&device->bus_lock);
	init_waitqueue_head(&device->state_wait);
	init_waitqueue_head(&device->tx_wait);
	init_waitqueue_head(&device->slot_wait);
	spin_lock_init(&device->tx_lock);
	spin_lock_init(&device->rx_lock);
	spin_lock_init(&device->lock);
	INIT_LIST_HEAD(&device->sessions);
	INIT_LIST_HEAD(&device->buffers);
	INIT_LIST_HEAD(&device->limbo);
	INIT_WORK(&device->start, start);
	INIT_WORK(&device->broken, broken);
	INIT_WORK(&device->free, free_device);
	INIT_DELAYED_WORK(&device->reaper, wc_reap);
	if (wc_requests_init(device)) {
		kfree(device);
		return NULL;
	}
	return device;
}

/* /dev/winapi for the first, /dev/winapi1 for the next. */
static int publish(struct wc_device *device, struct hv_device *hv)
{
	int err;

	device_initialize(&device->dev);
	device->dev.class = &class;
	device->dev.parent = &hv->device;
	device->dev.groups = wc_groups;
	device->dev.release = release;
	device->number = ida_alloc_max(&numbers, MINORS - 1, GFP_KERNEL);
	if (device->number < 0)
		return device->number;
	device->dev.devt = first_minor + device->number;
	cdev_init(&device->cdev, &wc_fops);
	device->cdev.owner = THIS_MODULE;
	err = device->number ? dev_set_name(&device->dev, "winapi%d", device->number) :
			       dev_set_name(&device->dev, "winapi");
	if (!err)
		err = cdev_device_add(&device->cdev, &device->dev);
	if (err)
		ida_free(&numbers, device->number);
	return err;
}

int wc_probe(struct hv_device *hv, const struct hv_vmbus_device_id *id)
{
	struct wc_device *device;
	int err;

	/* Sharing would make pages readable for the host, and the bus lets no device of ours exist there anyway. */
	if (wc_is_confidential()) {
		dev_err(&hv->device, "not for confidential VMs\n");
		return -EOPNOTSUPP;
	}
	device = device_new(hv);
	if (!device)
		return -ENOMEM;
	hv_set_drvdata(hv, device);
	err = publish(device, hv);
	if (err) {
		wc_device_put(device);
		return err;
	}
	wc_debugfs_add(device);
	queue_work(wc_wq, &device->start);
	return 0;
}

WC_REMOVE_TYPE wc_remove(struct hv_device *hv)
{
	struct wc_device *device = hv_get_drvdata(hv);

	cdev_device_del(&device->cdev, &device->dev);
	ida_free(&numbers, device->number);
	spin_lock_bh(&device->lock);
	device->removing = true;
	spin_unlock_bh(&device->lock);
	stop(device, -ENODEV);
	wc_debugfs_remove(device); /* waits for pings, which have ended now */
	cancel_work_sync(&device->start); /* it can't wait for replies any more */
	stop(device, -ENODEV); /* it may have opened the channel meanwhile */
	cancel_work_sync(&device->broken);
	set_state(device, WC_GONE, -ENODEV);
	sessions_die(device);
	cancel_delayed_work_sync(&device->reaper);
	detach(device);
	wc_channel_forget(device);
	hv_set_drvdata(hv, NULL);
	wc_device_put(device);
	return WC_REMOVED;
}

/* ---- Suspend and resume --------------------------------------------------------------------------------------------------------- */

int wc_suspend(struct hv_device *hv)
{
	struct wc_device *device = hv_get_drvdata(hv);

	if (READ_ONCE(device->state) == WC_STARTING) {
		dev_warn(&device->dev, "the host hasn't answered yet, no suspend\n");
		return -EBUSY;
	}
	set_state(device, WC_SUSPENDED, 0);
	wait_event_timeout(device->slot_wait, !READ_ONCE(device->in_flight), msecs_to_jiffies(DRAIN_MS));
	stop(device, -ECANCELED);
	cancel_work_sync(&device->broken);
	detach(device);
	return 0;
}

int wc_resume(struct hv_device *hv)
{
	struct wc_device *device = hv_get_drvdata(hv);

	set_state(device, WC_STARTING, 0);
	queue_work(wc_wq, &device->start);
	return 0;
}

/* ---- All of them ---------------------------------------------------------------------------------------------------------------------- */

int wc_devices_init(void)
{
	int err = alloc_chrdev_region(&first_minor, 0, MINORS, "winapi");

	if (err)
		return err;
	err = class_register(&class);
	if (err)
		unregister_chrdev_region(first_minor, MINORS);
	else
		wc_debugfs_init();
	return err;
}

void wc_devices_exit(void)
{
	wc_debugfs_exit();
	class_unregister(&class);
	unregister_chrdev_region(first_minor, MINORS);
	ida_destroy(&numbers);
}
