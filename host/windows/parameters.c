/* SPDX-License-Identifier: MIT */
/* The driver's configuration: DWORD values under the service's key, in Parameters. */
#include "driver.h"

/* NULL when there is none. */
static HANDLE open_key(HANDLE root, PUNICODE_STRING name)
{
	OBJECT_ATTRIBUTES attributes;
	HANDLE key = NULL;

	InitializeObjectAttributes(&attributes, name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, root, NULL);
	return NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)) ? key : NULL;
}

/* What isn't there, or isn't a DWORD, counts as 0: the default. */
static ULONG read_dword(HANDLE key, const WCHAR *name)
{
	union {
		KEY_VALUE_PARTIAL_INFORMATION info;
		UCHAR room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(ULONG)];
	} value;
	UNICODE_STRING string;
	ULONG size, dword;

	RtlInitUnicodeString(&string, name);
	if (!NT_SUCCESS(ZwQueryValueKey(key, &string, KeyValuePartialInformation, &value, sizeof(value),
					&size)) ||
	    value.info.Type != REG_DWORD || value.info.DataLength != sizeof(dword))
		return 0;
	memcpy(&dword, value.info.Data, sizeof(dword));
	return dword;
}

_Use_decl_annotations_ HANDLE parameters_open(PUNICODE_STRING service_key)
{
	HANDLE service = open_key(NULL, service_key), key;
	UNICODE_STRING name;

	if (!service)
		return NULL;
	RtlInitUnicodeString(&name, L"Parameters");
	key = open_key(service, &name);
	ZwClose(service);
	return key;
}

_Use_decl_annotations_ void parameters_read(PUNICODE_STRING service_key, struct parameters *parameters)
{
	HANDLE key = parameters_open(service_key);

	memset(parameters, 0, sizeof(*parameters));
	if (!key)
		return;
	parameters->limits.max_in_flight = read_dword(key, L"MaxInFlight");
	parameters->limits.max_sessions = read_dword(key, L"MaxSessions");
	parameters->limits.max_buffers = read_dword(key, L"MaxBuffers");
	parameters->limits.max_bytes = (uint64_t)read_dword(key, L"MaxMegabytes") << 20;
	parameters->limits.inline_work = (uint64_t)read_dword(key, L"InlineKilobytes") << 10;
	parameters->incoming_at_dispatch = read_dword(key, L"IncomingAtDispatch") != 0;
	ZwClose(key);
}
