// SPDX-License-Identifier: MIT OR GPL-2.0
/* The module: parameters, the work queue, and the driver that hv_vmbus binds to our devices. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#define CREATE_TRACE_POINTS
#include "trace.h"
#include "wc.h"

unsigned int wc_ring_kib = WINAPI_DEFAULT_RING_DATA >> 10;
module_param_named(ring_kib, wc_ring_kib, uint, 0444);
MODULE_PARM_DESC(ring_kib, "KiB of ring data each way, a power of two from 4 to 1024 (64)");

unsigned int wc_max_in_flight = 256;
module_param_named(max_in_flight, wc_max_in_flight, uint, 0444);
MODULE_PARM_DESC(max_in_flight,
		 "requests in flight on a device, 2 to 1024, within what the host allows (256)");

unsigned int wc_max_sessions = 256;
module_param_named(max_sessions, wc_max_sessions, uint, 0444);
MODULE_PARM_DESC(max_sessions, "open files of a device, within what the host allows (256)");

unsigned int wc_max_buffers = 1024;
module_param_named(max_buffers, wc_max_buffers, uint, 0444);
MODULE_PARM_DESC(max_buffers, "registered buffers of an open file, within what the host allows (1024)");

unsigned int wc_max_mib;
module_param_named(max_mib, wc_max_mib, uint, 0444);
MODULE_PARM_DESC(
	max_mib,
	"MiB of registered buffers of an open file, within what the host allows (half of the memory)");

unsigned int wc_poll = 1;
module_param_named(poll, wc_poll, uint, 0644);
MODULE_PARM_DESC(poll, "wait for replies by polling: 0 never, 1 while that pays (default), 2 always");

unsigned int wc_poll_max_us = 50;
module_param_named(poll_max_us, wc_poll_max_us, uint, 0644);
MODULE_PARM_DESC(poll_max_us, "microseconds to poll at most before sleeping, with poll=1 (50)");

unsigned int wc_patience_ms = 10000;
module_param_named(patience_ms, wc_patience_ms, uint, 0644);
MODULE_PARM_DESC(patience_ms, "ms that opening, sharing and freeing wait for a silent host (10000)");

struct workqueue_struct *wc_wq;
struct workqueue_struct *wc_host_wq;

static const struct hv_vmbus_device_id ids[] = {
	{ .guid = GUID_INIT(0x6ac83d8f, 0x6e16, 0x4e5c, 0xab, 0x3d, 0xfd, 0x8c, 0x5a, 0x4b, 0x7e, 0x21) },
	{},
};
MODULE_DEVICE_TABLE(vmbus, ids);

static struct hv_driver driver = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = wc_probe,
	.remove = wc_remove,
	.suspend = wc_suspend,
	.resume = wc_resume,
	.driver.probe_type = PROBE_PREFER_ASYNCHRONOUS,
};

static int check_parameters(void)
{
	u32 ring = wc_ring_kib << 10;

	if (!is_power_of_2(ring) || wc_ring_kib > WINAPI_MAX_RING_DATA >> 10 || ring < WINAPI_MIN_RING_DATA)
		pr_err("ring_kib=%u isn't a power of two from 4 to 1024\n", wc_ring_kib);
	else if (wc_max_in_flight < 2 || wc_max_in_flight > WC_MAX_IN_FLIGHT)
		pr_err("max_in_flight=%u isn't from 2 to %u\n", wc_max_in_flight, WC_MAX_IN_FLIGHT);
	else if (!wc_max_sessions || !wc_max_buffers || wc_max_buffers > WC_MAX_BUFFERS)
		pr_err("max_sessions and max_buffers (up to %u) can't be 0\n", WC_MAX_BUFFERS);
	else
		return 0;
	return -EINVAL;
}

static int __init init_queues(void)
{
	wc_wq = alloc_workqueue(KBUILD_MODNAME, WQ_UNBOUND, WQ_MAX_ACTIVE);
	wc_host_wq = alloc_workqueue(KBUILD_MODNAME "_host", WQ_UNBOUND, WQ_MAX_ACTIVE);
	if (wc_wq && wc_host_wq)
		return 0;
	if (wc_wq)
		destroy_workqueue(wc_wq);
	if (wc_host_wq)
		destroy_workqueue(wc_host_wq);
	return -ENOMEM;
}

/* Either may queue on the other until there is nothing left of any device. */
static void exit_queues(void)
{
	flush_workqueue(wc_wq);
	destroy_workqueue(wc_host_wq);
	destroy_workqueue(wc_wq);
}

static int __init wc_init(void)
{
	int err = check_parameters();

	if (err)
		return err;
	BUILD_BUG_ON(PAGE_SIZE != WINAPI_PAGE_SIZE); /* buffers are counted in VMBus's pages */
	if (!wc_max_mib)
		wc_max_mib = (totalram_pages() >> (20 - PAGE_SHIFT)) / 2;
	err = init_queues();
	if (err)
		return err;
	err = wc_devices_init();
	if (!err) {
		err = vmbus_driver_register(&driver);
		if (err)
			wc_devices_exit();
	}
	if (err)
		exit_queues();
	return err;
}

/* No file is open (each holds the module), so what is still on the queues ends by itself. */
static void __exit wc_exit(void)
{
	vmbus_driver_unregister(&driver);
	exit_queues();
	wc_devices_exit();
}

module_init(wc_init);
module_exit(wc_exit);

MODULE_DESCRIPTION("Windows API remoting: guest driver");
MODULE_AUTHOR("The winapi authors");
MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION("0.1.0");
