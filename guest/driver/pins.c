// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Application memory. Pinned for as long as the host can reach it, which a call's timeout doesn't end; so always
 * long-term, and counted against the owner's RLIMIT_MEMLOCK.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "wc.h"

#define AT_ONCE 4096u /* pages pinned before signals are looked at */

static int pin(unsigned long address, u32 pages, unsigned int flags, struct page **page)
{
	u32 done = 0;

	while (done < pages) {
		int n = -EINTR;

		if (!fatal_signal_pending(current))
			n = pin_user_pages_fast(address + ((unsigned long)done << PAGE_SHIFT),
						min(pages - done, AT_ONCE), flags, page + done);
		if (n <= 0) {
			unpin_user_pages(page, done);
			return n == -ENOMEM || n == -EINTR ? n : -EFAULT;
		}
		done += n;
		cond_resched();
	}
	return 0;
}

int wc_pin_pages(unsigned long address, u32 pages, bool write, struct page **page, struct mm_struct **mm)
{
	int err = account_locked_vm(current->mm, pages, true);

	if (err)
		return err;
	err = pin(address & PAGE_MASK, pages, FOLL_LONGTERM | (write ? FOLL_WRITE : 0), page);
	if (err) {
		account_locked_vm(current->mm, pages, false);
		return err;
	}
	/* The count is the mm's; its pages are held by themselves. */
	mmgrab(current->mm);
	*mm = current->mm;
	return 0;
}

void wc_unpin_pages(struct page **page, u32 pages, bool dirty, struct mm_struct *mm)
{
	unpin_user_pages_dirty_lock(page, pages, dirty);
	account_locked_vm(mm, pages, false);
	mmdrop(mm);
}

/* ---- Of a call ------------------------------------------------------------------------------------------------------ */

void wc_pins_free(struct wc_pins *pins, bool wait)
{
	u32 i;

	if (!pins)
		return;
	for (i = 0; i < pins->runs; i++)
		wc_unpin_pages(pins->page + pins->run[i].first, pins->run[i].pages, pins->run[i].write,
			       pins->run[i].mm);
	for (i = 0; i < pins->registered_count; i++)
		wc_buffer_retire(pins->registered[i], wait);
	kvfree(pins->page);
	kvfree(pins->range);
	kfree(pins);
}

static u32 pages_of(const struct winapi_ioc_buffer_ref *ref)
{
	return DIV_ROUND_UP(offset_in_page(ref->address) + ref->length, PAGE_SIZE);
}

static int check(const struct wc_device *device, const struct winapi_ioc_buffer_ref *ref)
{
	if (ref->offset || !ref->length || !ref->access || ref->access & ~WINAPI_ACCESS_BOTH)
		return -EINVAL;
	if (ref->length > device->info.max_buffer_size)
		return -E2BIG;
	if (ref->address != (unsigned long)ref->address || ref->address + ref->length < ref->address)
		return -EFAULT;
	return 0;
}

static int pin_one(struct wc_device *device, struct wc_pins *pins, const struct winapi_ioc_buffer_ref *ref,
		   struct winapi_buffer_desc *desc)
{
	u32 pages = pages_of(ref), first = pins->pfns, i;
	struct wc_run *run = &pins->run[pins->runs];
	int err = wc_pin_pages(ref->address, pages, ref->access & WINAPI_ACCESS_WRITE, pins->page + first,
			       &run->mm);

	if (err)
		return err;
	run->first = first;
	run->pages = pages;
	run->write = ref->access & WINAPI_ACCESS_WRITE;
	pins->runs++;
	for (i = 0; i < pages; i++)
		pins->range->range.pfn_array[first + i] = page_to_hvpfn(pins->page[first + i]);
	pins->pfns += pages;
	desc->handle = 0;
	desc->offset = ((u64)first << PAGE_SHIFT) + offset_in_page(ref->address);
	spin_lock_bh(&device->lock);
	device->count.pages_pinned += pages;
	spin_unlock_bh(&device->lock);
	return 0;
}

/* All plain memory of the call as one range of whole pages that travels with the packet. */
static int pin_all(struct wc_device *device, struct wc_pins *pins, const struct winapi_ioc_buffer_ref *ref,
		   u32 count, struct winapi_buffer_desc *desc, u32 pages)
{
	u32 i;
	int err = 0;

	pins->page = kvmalloc_array(pages, sizeof(*pins->page), GFP_KERNEL_ACCOUNT);
	pins->range = kvzalloc(struct_size(pins->range, range.pfn_array, pages), GFP_KERNEL_ACCOUNT);
	if (!pins->page || !pins->range)
		return -ENOMEM;
	for (i = 0; i < count && !err; i++)
		if (!ref[i].id)
			err = pin_one(device, pins, &ref[i], &desc[i]);
	pins->range->rangecount = 1; /* the bus doesn't set it */
	pins->range->range.len = pages << PAGE_SHIFT;
	return err;
}

static int register_all(struct wc_session *session, struct wc_pins *pins,
			const struct winapi_ioc_buffer_ref *ref, u32 count, struct winapi_buffer_desc *desc)
{
	u32 i;

	for (i = 0; i < count; i++) {
		struct wc_buffer *buffer;
		int err;

		if (ref[i].id)
			continue;
		err = wc_buffer_for_call(session, ref[i].address, ref[i].length, ref[i].access, &buffer);
		if (err)
			return err;
		pins->registered[pins->registered_count++] = buffer;
		desc[i].handle = buffer->handle;
		desc[i].offset = 0;
	}
	return 0;
}

int wc_pins_for_call(struct wc_session *session, struct wc_request *request,
		     const struct winapi_ioc_buffer_ref *ref, u32 count, struct winapi_buffer_desc *desc,
		     u32 message_size)
{
	struct wc_device *device = session->device;
	u32 i, pages = 0;

	for (i = 0; i < count; i++) {
		int err = ref[i].id ? 0 : check(device, &ref[i]);

		if (err)
			return err;
		pages += ref[i].id ? 0 : pages_of(&ref[i]);
	}
	if (!pages)
		return 0;
	request->pins = kzalloc(sizeof(*request->pins), GFP_KERNEL_ACCOUNT);
	if (!request->pins)
		return -ENOMEM;
	if (device->info.features & WINAPI_FEATURE_GPA_DIRECT &&
	    pages <= wc_channel_room_pfns(device, message_size))
		return pin_all(device, request->pins, ref, count, desc, pages);
	return register_all(session, request->pins, ref, count, desc);
}
