/* SPDX-License-Identifier: MIT */
/*
 * KMCL by IRP_MN_QUERY_INTERFACE, the documented way since Windows 10 1803. Interface type and version are in the
 * WDK's header alone, so this is for WDK builds. Which device answers isn't documented: the value KmclDevice
 * (REG_SZ, under Parameters) names it.
 *
 * Never run so far, for want of a Windows to run it on: compiled only.
 */
#include "driver.h"

#include <initguid.h>
#include <vmbuskernelmodeclientlibapi.h>

struct kmcl_interface kmcl;
static PFILE_OBJECT device_file; /* keeps the device that answered */

/* ---- The device's name ----------------------------------------------------------------------------------- */

struct name_value {
	KEY_VALUE_PARTIAL_INFORMATION info;
	WCHAR room[256];
};

static NTSTATUS read_name(HANDLE key, struct name_value *value, UNICODE_STRING *name)
{
	UNICODE_STRING value_name;
	NTSTATUS status;
	ULONG size;

	RtlInitUnicodeString(&value_name, L"KmclDevice");
	status = ZwQueryValueKey(key, &value_name, KeyValuePartialInformation, value, sizeof(*value), &size);
	if (!NT_SUCCESS(status))
		return status;
	if (value->info.Type != REG_SZ || value->info.DataLength < 2 * sizeof(WCHAR))
		return STATUS_OBJECT_TYPE_MISMATCH;
	name->Buffer = (PWCH)(PVOID)value->info.Data;
	name->Length = (USHORT)(value->info.DataLength - sizeof(WCHAR)); /* it ends with a NUL */
	name->MaximumLength = (USHORT)value->info.DataLength;
	return STATUS_SUCCESS;
}

static NTSTATUS find_device(PUNICODE_STRING service_key, PDEVICE_OBJECT *device)
{
	HANDLE key = parameters_open(service_key);
	struct name_value *value;
	UNICODE_STRING name;
	NTSTATUS status;

	if (!key)
		return STATUS_OBJECT_NAME_NOT_FOUND;
	value = wp_alloc(sizeof(*value));
	status = value ? read_name(key, value, &name) : STATUS_INSUFFICIENT_RESOURCES;
	if (NT_SUCCESS(status))
		status = IoGetDeviceObjectPointer(&name, FILE_READ_DATA, &device_file, device);
	wp_free(value);
	ZwClose(key);
	return status;
}

/* ---- The query ---------------------------------------------------------------------------------------------- */

static NTSTATUS send_and_wait(PDEVICE_OBJECT device, PIRP irp, PKEVENT done, PIO_STATUS_BLOCK result)
{
	NTSTATUS status = IoCallDriver(device, irp);

	if (status != STATUS_PENDING)
		return status;
	KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL);
	return result->Status;
}

static NTSTATUS query(PDEVICE_OBJECT device)
{
	PIO_STACK_LOCATION stack;
	IO_STATUS_BLOCK result;
	KEVENT done;
	PIRP irp;

	KeInitializeEvent(&done, NotificationEvent, FALSE);
	irp = IoBuildSynchronousFsdRequest(IRP_MJ_PNP, device, NULL, 0, NULL, &done, &result);
	if (!irp)
		return STATUS_INSUFFICIENT_RESOURCES;
	irp->IoStatus.Status = STATUS_NOT_SUPPORTED; /* what a device that doesn't know it leaves */
	stack = IoGetNextIrpStackLocation(irp);
	stack->MinorFunction = IRP_MN_QUERY_INTERFACE;
	stack->Parameters.QueryInterface.InterfaceType = &KMCL_SERVER_INTERFACE_TYPE;
	stack->Parameters.QueryInterface.Size = sizeof(kmcl);
	stack->Parameters.QueryInterface.Version = KMCL_SERVER_INTERFACE_VERSION_V1;
	stack->Parameters.QueryInterface.Interface = &kmcl.head;
	stack->Parameters.QueryInterface.InterfaceSpecificData = NULL;
	return send_and_wait(device, irp, &done, &result);
}

_Use_decl_annotations_ NTSTATUS kmcl_bind(PUNICODE_STRING service_key)
{
	PDEVICE_OBJECT device;
	NTSTATUS status = find_device(service_key, &device);

	if (!NT_SUCCESS(status)) {
		wp_log(WP_LOG_ERROR, "Parameters\\KmclDevice names no device: status %08x",
		       (unsigned int)status);
		return status;
	}
	status = query(device);
	if (!NT_SUCCESS(status)) {
		wp_log(WP_LOG_ERROR, "the device has no KMCL interface: status %08x", (unsigned int)status);
		ObDereferenceObject(device_file);
	}
	return status;
}

_Use_decl_annotations_ void kmcl_unbind(void)
{
	if (kmcl.head.InterfaceDereference)
		kmcl.head.InterfaceDereference(kmcl.head.Context);
	ObDereferenceObject(device_file);
}

/* Both structures are the same (kmcl_check.c); theirs knows its version. */
_Use_decl_annotations_ void kmcl_state_callbacks_init(struct kmcl_state_callbacks *callbacks)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS theirs;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&theirs);
	memcpy(callbacks, &theirs, sizeof(*callbacks));
}
