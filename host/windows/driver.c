/* SPDX-License-Identifier: MIT */
/* winapi_remoting.sys from load to unload. */
#include "driver.h"
#include "offer.h"
#include "platform_windows.h"
#include "trace.h"

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD unload;

struct driver winapi_driver;

#if WINAPI_CHECKED
/* A code of our own, as drivers may use: !analyze shows expression, file and line as arguments. */
#define BUGCHECK_ASSERTION 0xE0574150u

void assertion_failed(const char *expression, const char *file, ULONG line)
{
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "winapi_remoting: %s:%lu: %s doesn't hold\n",
		   file, line, expression);
	KeBugCheckEx(BUGCHECK_ASSERTION, (ULONG_PTR)expression, (ULONG_PTR)file, line, 0);
}
#endif

static NTSTATUS create_provider(void)
{
	static const char name[] = "winapi_remoting " WINAPI_VERSION;
	struct wp_config config = { .limits = winapi_driver.parameters.limits };

	WINAPI_STATIC_ASSERT(sizeof(name) <= sizeof(config.name));
	memcpy(config.name, name, sizeof(name));
	winapi_driver.provider = wp_provider_create(&config);
	return winapi_driver.provider ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

#define LINK L"\\DosDevices\\WinApiRemoting"

/*
 * The link comes last: users find the device by it, and then it is closed to strangers already. By its own name nobody
 * opens it before DriverEntry has returned: until then the system has it marked as being initialised.
 */
static NTSTATUS create_device(PDRIVER_OBJECT driver)
{
	UNICODE_STRING name, link;
	NTSTATUS status;

	RtlInitUnicodeString(&name, L"\\Device\\WinApiRemoting");
	RtlInitUnicodeString(&link, LINK);
	status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE,
				&winapi_driver.device);
	if (!NT_SUCCESS(status))
		return status;
	status = device_secure(winapi_driver.device);
	if (NT_SUCCESS(status))
		status = IoCreateSymbolicLink(&link, &name);
	if (!NT_SUCCESS(status))
		IoDeleteDevice(winapi_driver.device);
	return status;
}

static void delete_device(void)
{
	UNICODE_STRING link;

	RtlInitUnicodeString(&link, LINK);
	IoDeleteSymbolicLink(&link);
	IoDeleteDevice(winapi_driver.device);
}

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
	UNREFERENCED_PARAMETER(driver);
	assert_passive();
	offers_stop();
	delete_device();
	wp_provider_destroy(winapi_driver.provider);
	kmcl_unbind();
	platform_stop();
	trace_stop();
}

_Use_decl_annotations_ NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service_key)
{
	NTSTATUS status;

	trace_start();
	parameters_read(service_key, &winapi_driver.parameters);
	status = platform_start();
	if (!NT_SUCCESS(status))
		goto no_platform;
	status = kmcl_bind(service_key);
	if (!NT_SUCCESS(status))
		goto no_kmcl;
	status = create_provider();
	if (!NT_SUCCESS(status))
		goto no_provider;
	offers_start();
	control_register(driver);
	driver->DriverUnload = unload;
	status = create_device(driver);
	if (!NT_SUCCESS(status))
		goto no_device;
	trace_loaded();
	return STATUS_SUCCESS;

no_device:
	wp_provider_destroy(winapi_driver.provider);
no_provider:
	kmcl_unbind();
no_kmcl:
	platform_stop();
no_platform:
	wp_log(WP_LOG_ERROR, "not loaded: status %08x", (unsigned int)status);
	trace_stop();
	return status;
}
