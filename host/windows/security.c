/* SPDX-License-Identifier: MIT */
/* Who may open the control device. */
#include <ntifs.h>

#include "driver.h"

/* S-1-5-18 and S-1-5-32-544, laid out as a SID. */
struct short_sid {
	UCHAR revision;
	UCHAR count;
	UCHAR authority[6];
	ULONG sub[2];
};
static const struct short_sid local_system = { SID_REVISION, 1, { 0, 0, 0, 0, 0, 5 }, { 18, 0 } };
static const struct short_sid administrators = { SID_REVISION, 2, { 0, 0, 0, 0, 0, 5 }, { 32, 544 } };

static NTSTATUS allow(PACL acl, const struct short_sid *sid)
{
	return RtlAddAccessAllowedAce(acl, ACL_REVISION, FILE_ALL_ACCESS, (PSID)(ULONG_PTR)sid);
}

static NTSTATUS describe(PSECURITY_DESCRIPTOR descriptor, PACL acl, ULONG size)
{
	NTSTATUS status = RtlCreateSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION);

	if (NT_SUCCESS(status))
		status = RtlCreateAcl(acl, size, ACL_REVISION);
	if (NT_SUCCESS(status))
		status = allow(acl, &local_system);
	if (NT_SUCCESS(status))
		status = allow(acl, &administrators);
	if (NT_SUCCESS(status))
		status = RtlSetDaclSecurityDescriptor(descriptor, TRUE, acl, FALSE);
	return status;
}

/* IoCreateDeviceSecure is no export of the kernel but a library that comes with the WDK; this is what it does. */
_Use_decl_annotations_ NTSTATUS device_secure(PDEVICE_OBJECT device)
{
	SECURITY_DESCRIPTOR descriptor;
	ULONGLONG acl[12];
	HANDLE handle;
	NTSTATUS status = describe(&descriptor, (PACL)acl, sizeof(acl));

	if (!NT_SUCCESS(status))
		return status;
	status = ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
	if (!NT_SUCCESS(status))
		return status;
	status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
	ZwClose(handle);
	return status;
}
