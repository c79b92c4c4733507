/* SPDX-License-Identifier: MIT */
/* The control device's requests: sizes are checked here, values where they are used. */
#include "driver.h"
#include "offer.h"
#include "platform_windows.h"

_Dispatch_type_(IRP_MJ_CREATE) _Dispatch_type_(IRP_MJ_CLOSE) static DRIVER_DISPATCH create_close;
_Dispatch_type_(IRP_MJ_CLEANUP) static DRIVER_DISPATCH cleanup;
_Dispatch_type_(IRP_MJ_DEVICE_CONTROL) static DRIVER_DISPATCH device_control;

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR size)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = NT_SUCCESS(status) ? size : 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static _Use_decl_annotations_ NTSTATUS NTAPI create_close(PDEVICE_OBJECT device, PIRP irp)
{
	UNREFERENCED_PARAMETER(device);
	return complete(irp, STATUS_SUCCESS, 0);
}

static _Use_decl_annotations_ NTSTATUS NTAPI cleanup(PDEVICE_OBJECT device, PIRP irp)
{
	UNREFERENCED_PARAMETER(device);
	assert_passive();
	offers_let_go(IoGetCurrentIrpStackLocation(irp)->FileObject);
	return complete(irp, STATUS_SUCCESS, 0);
}

/* ---- Requests: the buffer holds the input, of exactly the right size, and has room for the output ---- */

static NTSTATUS make_offer(PIRP irp, void *buffer)
{
	struct winapi_offer_request request;
	struct winapi_offer_reply reply;
	NTSTATUS status;

	memcpy(&request, buffer, sizeof(request));
	status = offer_make(&request, IoGetCurrentIrpStackLocation(irp)->FileObject, &reply);
	if (NT_SUCCESS(status))
		memcpy(buffer, &reply, sizeof(reply));
	return complete(irp, status, sizeof(reply));
}

static NTSTATUS withdraw_offer(PIRP irp, void *buffer)
{
	struct winapi_withdraw_request request;
	NTSTATUS status;

	memcpy(&request, buffer, sizeof(request));
	status = offer_withdraw(request.id, irp);
	return status == STATUS_PENDING ? status : complete(irp, status, 0);
}

static NTSTATUS give_stats(PIRP irp, void *buffer)
{
	struct winapi_driver_stats *stats = buffer;
	struct platform_pool pool;

	memset(stats, 0, sizeof(*stats));
	wp_provider_totals(winapi_driver.provider, &stats->provider);
	offers_count(stats);
	platform_pool(&pool);
	stats->pool_allocations_now = pool.allocations;
	stats->pool_bytes_now = pool.bytes;
	stats->pool_failures = pool.failures;
	return complete(irp, STATUS_SUCCESS, sizeof(*stats));
}

static NTSTATUS give_list(PIRP irp, void *buffer)
{
	ULONG room = IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength;

	return complete(irp, STATUS_SUCCESS, offers_list(buffer, room));
}

static const struct request {
	ULONG code;
	ULONG in;
	ULONG out;
	NTSTATUS (*run)(PIRP irp, void *buffer);
} requests[] = {
	{ WINAPI_IOCTL_OFFER, sizeof(struct winapi_offer_request), sizeof(struct winapi_offer_reply),
	  make_offer },
	{ WINAPI_IOCTL_WITHDRAW, sizeof(struct winapi_withdraw_request), 0, withdraw_offer },
	{ WINAPI_IOCTL_STATS, 0, sizeof(struct winapi_driver_stats), give_stats },
	{ WINAPI_IOCTL_LIST, 0, sizeof(struct winapi_channel_list), give_list },
};

static const struct request *find(ULONG code)
{
	for (ULONG i = 0; i < ARRAYSIZE(requests); i++)
		if (requests[i].code == code)
			return &requests[i];
	return NULL;
}

static _Use_decl_annotations_ NTSTATUS NTAPI device_control(PDEVICE_OBJECT device, PIRP irp)
{
	const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
	const struct request *request = find(stack->Parameters.DeviceIoControl.IoControlCode);

	UNREFERENCED_PARAMETER(device);
	assert_passive();
	if (!request)
		return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
	if (stack->Parameters.DeviceIoControl.InputBufferLength != request->in)
		return complete(irp, STATUS_INFO_LENGTH_MISMATCH, 0);
	if (stack->Parameters.DeviceIoControl.OutputBufferLength < request->out)
		return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
	return request->run(irp, irp->AssociatedIrp.SystemBuffer);
}

_Use_decl_annotations_ void control_register(PDRIVER_OBJECT driver)
{
	driver->MajorFunction[IRP_MJ_CREATE] = create_close;
	driver->MajorFunction[IRP_MJ_CLOSE] = create_close;
	driver->MajorFunction[IRP_MJ_CLEANUP] = cleanup;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = device_control;
}
