// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Counters of a device: /sys/class/winapi/NAME/statistics, one number to a file, and
 * /sys/kernel/debug/winapi/NAME/{latency,requests,learning}.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

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
}

void wc_debugfs_remove(struct wc_device *device)
{
	debugfs_remove_recursive(device->debugfs);
}
