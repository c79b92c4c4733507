// SPDX-License-Identifier: MIT OR GPL-2.0
/* /dev/winapi, as include/winapi_ioctl.h describes it. */
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/uaccess.h>

#include "wc.h"

/* ---- Structs that grow ------------------------------------------------------------------------------------------------- */

int wc_take_struct(void *to, size_t our_size, u64 address, size_t size)
{
	if (address != (unsigned long)address)
		return -EFAULT;
	return copy_struct_from_user(to, our_size, (const void __user *)(unsigned long)address, size);
}

int wc_give_struct(u64 address, size_t size, const void *from, size_t our_size)
{
	void __user *to = (void __user *)(unsigned long)address;

	if (copy_to_user(to, from, min(size, our_size)))
		return -EFAULT;
	/* What only a newer caller knows is nothing here. */
	return size > our_size && clear_user(to + our_size, size - our_size) ? -EFAULT : 0;
}

/* ---- ioctls ---------------------------------------------------------------------------------------------------------------- */

static long ioc_info(struct wc_session *session, unsigned long argument, size_t size)
{
	struct wc_device *device = session->device;
	struct winapi_ioc_info info;

	spin_lock_bh(&device->lock);
	info = device->info;
	spin_unlock_bh(&device->lock);
	return wc_give_struct(argument, size, &info, sizeof(info));
}

static long ioc_stats(struct wc_session *session, unsigned long argument, size_t size)
{
	struct wc_device *device = session->device;
	struct winapi_ioc_stats stats = { 0 };

	mutex_lock(&session->lock);
	stats.buffers = session->buffer_count;
	stats.buffer_bytes = session->buffer_bytes;
	mutex_unlock(&session->lock);
	spin_lock_bh(&device->lock);
	stats.calls = session->calls;
	stats.replies = session->replies;
	stats.timeouts = session->timeouts;
	stats.bad_replies = device->count.bad_replies;
	stats.sleeps = device->count.sleeps;
	stats.pages_pinned = device->count.pages_pinned;
	stats.gpa_direct = device->count.gpa_direct;
	spin_unlock_bh(&device->lock);
	wc_channel_counts(device, &stats.signals, &stats.interrupts);
	return wc_give_struct(argument, size, &stats, sizeof(stats));
}

static long ioc_shutdown(struct wc_session *session)
{
	wc_session_shut(session, -ECANCELED);
	return 0;
}

static long wc_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	/* The size is the struct's as the caller knows it. */
	unsigned int command_type = command & ~(_IOC_SIZEMASK << _IOC_SIZESHIFT);
	struct wc_session *session = file->private_data;
	bool nonblock = file->f_flags & O_NONBLOCK;
	size_t size = _IOC_SIZE(command);
	int err = wc_session_check(session);

#define WITHOUT_SIZE(c) ((c) & ~(_IOC_SIZEMASK << _IOC_SIZESHIFT))
	if (command == WINAPI_IOC_SHUTDOWN)
		return err && err != -ECANCELED ? err : ioc_shutdown(session);
	if (!size)
		return -ENOTTY;
	switch (command_type) {
	case WITHOUT_SIZE(WINAPI_IOC_INFO):
		return err ? err : ioc_info(session, argument, size);
	case WITHOUT_SIZE(WINAPI_IOC_CALL):
		return err ? err : wc_ioc_call(session, argument, size, nonblock);
	case WITHOUT_SIZE(WINAPI_IOC_SUBMIT):
		return err ? err : wc_ioc_submit(session, argument, size, nonblock);
	case WITHOUT_SIZE(WINAPI_IOC_CANCEL):
		return err ? err : wc_ioc_cancel(session, argument, size);
	case WITHOUT_SIZE(WINAPI_IOC_ALLOC):
		return err ? err : wc_ioc_alloc(session, argument, size);
	case WITHOUT_SIZE(WINAPI_IOC_REGISTER):
		return err ? err : wc_ioc_register(session, argument, size);
	case WITHOUT_SIZE(WINAPI_IOC_FREE):
		return err ? err : wc_ioc_free(session, argument, size);
	case WITHOUT_SIZE(WINAPI_IOC_STATS):
		return err ? err : ioc_stats(session, argument, size);
	default:
		return -ENOTTY;
	}
#undef WITHOUT_SIZE
}

/* ---- The file ----------------------------------------------------------------------------------------------------------------- */

static int wc_open(struct inode *inode, struct file *file)
{
	struct wc_device *device = container_of(inode->i_cdev, struct wc_device, cdev);
	struct wc_session *session;
	int err = wc_session_open(device, &session);

	if (err)
		return err;
	file->private_data = session;
	return nonseekable_open(inode, file);
}

static int wc_release(struct inode *inode, struct file *file)
{
	wc_session_close(file->private_data);
	return 0;
}

static ssize_t wc_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	return wc_read_records(file->private_data, to, size, file->f_flags & O_NONBLOCK);
}

static __poll_t wc_poll_file(struct file *file, poll_table *table)
{
	struct wc_session *session = file->private_data;
	struct wc_device *device = session->device;
	__poll_t events = 0;
	int err;

	poll_wait(file, &session->wait, table);
	spin_lock_bh(&device->lock);
	err = session->dead;
	if (!list_empty(&session->records) || (err && !session->unread))
		events |= EPOLLIN | EPOLLRDNORM;
	spin_unlock_bh(&device->lock);
	return err ? events | EPOLLHUP | EPOLLERR : events;
}

static int wc_mmap(struct file *file, struct vm_area_struct *vma)
{
	return wc_buffer_map(file->private_data, vma);
}

const struct file_operations wc_fops = {
	.owner = THIS_MODULE,
	.open = wc_open,
	.release = wc_release,
	.unlocked_ioctl = wc_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = wc_read,
	.poll = wc_poll_file,
	.mmap = wc_mmap,
};
