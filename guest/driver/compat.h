/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What differs between the kernels this builds on, 5.10 to the newest: all of it is here. */
#ifndef WC_COMPAT_H
#define WC_COMPAT_H

#include <linux/freezer.h>
#include <linux/hyperv.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
#include <linux/cc_platform.h>
#else
#include <linux/mem_encrypt.h>
#endif

/* ---- GPADLs: a bare number until 5.16 -------------------------------------------------------------------- */

struct wc_gpadl {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	struct vmbus_gpadl bus;
#else
	u32 handle;
#endif
};

static inline int wc_gpadl_establish(struct vmbus_channel *channel, void *va, u32 size,
				     struct wc_gpadl *gpadl)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	return vmbus_establish_gpadl(channel, va, size, &gpadl->bus);
#else
	return vmbus_establish_gpadl(channel, va, size, &gpadl->handle);
#endif
}

static inline u32 wc_gpadl_number(const struct wc_gpadl *gpadl)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	return gpadl->bus.gpadl_handle;
#else
	return gpadl->handle;
#endif
}

/* False: the host still has the pages; they must never be used again. */
static inline bool wc_gpadl_teardown(struct vmbus_channel *channel, struct wc_gpadl *gpadl)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	/* Its result may hide that the message couldn't be posted; the handle goes with the host's answer only. */
	return !vmbus_teardown_gpadl(channel, &gpadl->bus) && (!gpadl->bus.gpadl_handle || channel->rescind);
#else
	return !vmbus_teardown_gpadl(channel, gpadl->handle);
#endif
}

/*
 * Pages that are charged to the caller's memory cgroup. Until 5.11 such pages had a type that vm_insert_page refuses.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
#define WC_GFP_PAGES GFP_KERNEL_ACCOUNT
#else
#define WC_GFP_PAGES GFP_KERNEL
#endif

/* ---- Confidential VMs -------------------------------------------------------------------------------------- */

static inline bool wc_is_confidential(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
#else
	return mem_encrypt_active();
#endif
}

/* ---- The bus ------------------------------------------------------------------------------------------------ */

/* Until 5.14 hv_pkt_iter_first hands out the ring itself; later a copy in a buffer of this size. */
static inline void wc_set_max_packet(struct vmbus_channel *channel, u32 size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 14, 0)
	channel->max_pkt_size = size;
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define WC_REMOVE_TYPE void
#define WC_REMOVED
#else
#define WC_REMOVE_TYPE int
#define WC_REMOVED 0
#endif

/* ---- Waiting that doesn't keep the machine from suspending ---------------------------------------------------- */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)
#define WC_KILLABLE (TASK_KILLABLE | TASK_FREEZABLE)

static inline long wc_schedule(long timeout)
{
	return schedule_timeout(timeout);
}
#else
#define WC_KILLABLE TASK_KILLABLE

static inline long wc_schedule(long timeout)
{
	freezer_do_not_count();
	timeout = schedule_timeout(timeout);
	freezer_count();
	return timeout;
}
#endif

/* ---- Mappings ---------------------------------------------------------------------------------------------- */

static inline void wc_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

#endif /* WC_COMPAT_H */
