/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <stdarg.h>
#include <stdio.h>

#define MAX_TEXT 192u

static const GUID provider_guid = TRACE_PROVIDER_GUID;
static REGHANDLE provider; /* 0: not registered, and EtwWrite does nothing */

/* One channel-less version 0 event each. */
static const EVENT_DESCRIPTOR descriptors[] = {
#define TRACE_DESCRIPTOR(name, id, level) { id, 0, 0, level, 0, 0, 0 },
	TRACE_EVENTS(TRACE_DESCRIPTOR)
#undef TRACE_DESCRIPTOR
};

static const EVENT_DESCRIPTOR *descriptor_of(enum trace_event event)
{
	const EVENT_DESCRIPTOR *descriptor = descriptors;

	while (descriptor->Id != event)
		descriptor++;
	return descriptor;
}

static void write_event(enum trace_event event, EVENT_DATA_DESCRIPTOR *data, ULONG count)
{
	assert_irql_max(DISPATCH_LEVEL);
	EtwWrite(provider, descriptor_of(event), NULL, count, data);
}

static void field(EVENT_DATA_DESCRIPTOR *data, const void *value, ULONG size)
{
	EventDataDescCreate(data, value, size);
}

_Use_decl_annotations_ void trace_start(void)
{
	if (!NT_SUCCESS(EtwRegister(&provider_guid, NULL, NULL, &provider)))
		provider = 0;
}

_Use_decl_annotations_ void trace_stop(void)
{
	write_event(TRACE_UNLOADED, NULL, 0);
	EtwUnregister(provider);
	provider = 0;
}

void trace_loaded(void)
{
	static const char version[] = WINAPI_VERSION;
	EVENT_DATA_DESCRIPTOR data[1];

	field(&data[0], version, sizeof(version));
	write_event(TRACE_LOADED, data, 1);
}

void trace_offered(uint64_t offer, const GUID *instance)
{
	EVENT_DATA_DESCRIPTOR data[2];

	field(&data[0], &offer, sizeof(offer));
	field(&data[1], instance, sizeof(*instance));
	write_event(TRACE_OFFERED, data, 2);
}

void trace_opened(uint64_t offer)
{
	EVENT_DATA_DESCRIPTOR data[1];

	field(&data[0], &offer, sizeof(offer));
	write_event(TRACE_OPENED, data, 1);
}

void trace_closed(uint64_t offer, uint64_t packets)
{
	EVENT_DATA_DESCRIPTOR data[2];

	field(&data[0], &offer, sizeof(offer));
	field(&data[1], &packets, sizeof(packets));
	write_event(TRACE_CLOSED, data, 2);
}

void trace_failed(uint64_t offer, const char *why)
{
	EVENT_DATA_DESCRIPTOR data[2];

	field(&data[0], &offer, sizeof(offer));
	field(&data[1], why, (ULONG)strlen(why) + 1);
	write_event(TRACE_FAILED, data, 2);
	wp_log(WP_LOG_WARNING, "offer %llu: %s: revoked", (unsigned long long)offer, why);
}

void trace_withdrawn(uint64_t offer)
{
	EVENT_DATA_DESCRIPTOR data[1];

	field(&data[0], &offer, sizeof(offer));
	write_event(TRACE_WITHDRAWN, data, 1);
}

/* ---- Messages ------------------------------------------------------------------------------------------ */

static const struct {
	enum trace_event event;
	ULONG debugger; /* level */
} levels[] = {
	[WP_LOG_ERROR] = { TRACE_MESSAGE_ERROR, DPFLTR_ERROR_LEVEL },
	[WP_LOG_WARNING] = { TRACE_MESSAGE_WARNING, DPFLTR_WARNING_LEVEL },
	[WP_LOG_INFO] = { TRACE_MESSAGE_INFO, DPFLTR_INFO_LEVEL },
	[WP_LOG_DEBUG] = { TRACE_MESSAGE_DEBUG, DPFLTR_TRACE_LEVEL },
};

/* A message that is too long is cut. */
void wp_log(enum wp_log_level level, const char *format, ...)
{
	EVENT_DATA_DESCRIPTOR data[1];
	char text[MAX_TEXT];
	va_list arguments;

	va_start(arguments, format);
	_vsnprintf(text, sizeof(text) - 1, format, arguments);
	va_end(arguments);
	text[sizeof(text) - 1] = '\0';
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, levels[level].debugger, "winapi_remoting: %s\n", text);
	field(&data[0], text, (ULONG)strlen(text) + 1);
	write_event(levels[level].event, data, 1);
}
