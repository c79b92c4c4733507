// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Counters of a device: /sys/class/winapi/NAME/statistics, one number to a file, and
 * /sys/kernel/debug/winapi/NAME/{latency,requests,learning,ping}.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "wc.h"

static struct wc_device *device_of(struct device *dev)
{
	return container_of(dev, struct wc_device, dev);
}

/* ---- sysfs ----------------------------------------------------------------------------------------------------------------- */

#define COUNTER(name) \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attribute, char *to) \
	{ \
		struct wc_device *device = device_of(dev); \
		u64 value; \
\
		spin_lock_bh(&device->lock); \
		value = device->count.name; \
		spin_unlock_bh(&device->lock); \
		return sysfs_emit(to, "%llu\n", value); \
	} \
	static DEVICE_ATTR_RO(name)

COUNTER(calls);
COUNTER(replies);
COUNTER(errors);
COUNTER(timeouts);
COUNTER(cancels);
COUNTER(bad_replies);
COUNTER(late_replies);
COUNTER(sleeps);
COUNTER(polled);
COUNTER(pages_pinned);
COUNTER(gpa_direct);
COUNTER(bytes_inline);

static ssize_t signals_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	u64 signals, interrupts;

	wc_channel_counts(device_of(dev), &signals, &interrupts);
	return sysfs_emit(to, "%llu\n", signals);
}
static DEVICE_ATTR_RO(signals);

static ssize_t interrupts_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	u64 signals, interrupts;

	wc_channel_counts(device_of(dev), &signals, &interrupts);
	return sysfs_emit(to, "%llu\n", interrupts);
}
static DEVICE_ATTR_RO(interrupts);

static ssize_t in_flight_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	return sysfs_emit(to, "%u\n", READ_ONCE(device_of(dev)->in_flight));
}
static DEVICE_ATTR_RO(in_flight);

static ssize_t sessions_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	return sysfs_emit(to, "%u\n", READ_ONCE(device_of(dev)->session_count));
}
static DEVICE_ATTR_RO(sessions);

static struct attribute *statistics[] = {
	&dev_attr_calls.attr,
	&dev_attr_replies.attr,
	&dev_attr_errors.attr,
	&dev_attr_timeouts.attr,
	&dev_attr_cancels.attr,
	&dev_attr_bad_replies.attr,
	&dev_attr_late_replies.attr,
	&dev_attr_sleeps.attr,
	&dev_attr_polled.attr,
	&dev_attr_pages_pinned.attr,
	&dev_attr_gpa_direct.attr,
	&dev_attr_bytes_inline.attr,
	&dev_attr_signals.attr,
	&dev_attr_interrupts.attr,
	&dev_attr_in_flight.attr,
	&dev_attr_sessions.attr,
	NULL,
};

static const struct attribute_group group = { .name = "statistics", .attrs = statistics };
const struct attribute_group *wc_groups[] = { &group, NULL };

/* ---- debugfs ------------------------------------------------------------------------------------------------------------------ */

static struct dentry *root;

/* Replies by the ns from sending to reply, in powers of two. */
static int latency_show(struct seq_file *to, void *nothing)
{
	struct wc_device *device = to->private;
	u32 i;

	for (i = 0; i < WC_HISTOGRAM; i++) {
		u64 n = READ_ONCE(device->count.latency[i]);

		if (n)
			seq_printf(to, "below %llu ns: %llu\n", 1ull << i, n);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(latency);

static int requests_show(struct seq_file *to, void *nothing)
{
	static const char *const names[] = { "free",  "building", "sending",   "replied",  "in flight",
					     "ended", "orphan",	  "finishing", "lingering" };
	struct wc_device *device = to->private;
	u64 now = ktime_get_ns();
	u32 i;

	spin_lock_bh(&device->lock);
	for (i = 0; i < device->table_size; i++) {
		const struct wc_request *r = &device->table[i];

		if (r->state != WC_FREE)
			seq_printf(to, "%llx %s type %u api %u method %u pid %u age %llu us\n", r->id,
				   names[r->state], r->sent.type, r->sent.api, r->sent.method,
				   r->session ? r->session->pid : 0, (now - r->sent_ns) / 1000);
	}
	spin_unlock_bh(&device->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(requests);

static int learning_show(struct seq_file *to, void *nothing)
{
	struct wc_device *device = to->private;
	const struct wc_learning *l = &device->learning;

	spin_lock_bh(&device->lock);
	seq_printf(to, "reply %u ns, score %d, pause %u calls\n", l->reply_ns, l->score, l->pause);
	spin_unlock_bh(&device->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(learning);

/*
 * The least that can go to the host and back: a CANCEL of nothing, which any host refuses. Writing a number does so
 * many times; reading tells how long one took. What a call costs beside that is this driver's and the library's.
 */
static int ping(struct wc_device *device)
{
	static const struct winapi_cancel_request nothing;

	return wc_rpc(device, NULL, WINAPI_MSG_CANCEL, &nothing, sizeof(nothing), NULL, 0,
		      ktime_get_ns() + NSEC_PER_SEC);
}

static ssize_t ping_write(struct file *file, const char __user *from, size_t size, loff_t *offset)
{
	struct wc_device *device = ((struct seq_file *)file->private_data)->private;
	u32 count, i;
	u64 begin;
	int err = kstrtou32_from_user(from, size, 0, &count);

	if (err || !count || count > 1000000)
		return err ? err : -EINVAL;
	err = wc_enter(device);
	if (err)
		return err;
	begin = ktime_get_ns();
	for (i = 0; i < count && (!err || err == -EBADF) && !fatal_signal_pending(current); i++)
		err = ping(device);
	device->ping_ns = div_u64(ktime_get_ns() - begin, max(i, 1u));
	wc_leave(device);
	return err == -EBADF ? size : err ? err : -EPROTO;
}

static int ping_show(struct seq_file *to, void *nothing)
{
	seq_printf(to, "%llu ns\n", READ_ONCE(((struct wc_device *)to->private)->ping_ns));
	return 0;
}

static int ping_open(struct inode *inode, struct file *file)
{
	return single_open(file, ping_show, inode->i_private);
}

static const struct file_operations ping_fops = {
	.owner = THIS_MODULE,
	.open = ping_open,
	.read = seq_read,
	.write = ping_write,
	.llseek = seq_lseek,
	.release = single_release,
};

void wc_debugfs_init(void)
{
	root = debugfs_create_dir("winapi", NULL);
}

void wc_debugfs_exit(void)
{
	debugfs_remove_recursive(root);
}

void wc_debugfs_add(struct wc_device *device)
{
	device->debugfs = debugfs_create_dir(dev_name(&device->dev), root);
	debugfs_create_file("latency", 0400, device->debugfs, device, &latency_fops);
	debugfs_create_file("requests", 0400, device->debugfs, device, &requests_fops);
	debugfs_create_file("learning", 0400, device->debugfs, device, &learning_fops);
	debugfs_create_file("ping", 0600, device->debugfs, device, &ping_fops);
}

void wc_debugfs_remove(struct wc_device *device)
{
	debugfs_remove_recursive(device->debugfs);
}
