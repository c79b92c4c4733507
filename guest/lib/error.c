/* SPDX-License-Identifier: MIT */
/* Words for errors and statuses, and the calling thread's last message. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static __thread char message[384];

int fail(int err, const char *format, ...)
{
	char words[sizeof(message)]; /* as the arguments may have the last message among them */
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	memcpy(message, words, sizeof(message));
	return err;
}

const char *winapi_error_message(void)
{
	return message;
}

static const struct {
	const char *name;
	const char *text;
	int error;
} statuses[] = {
#define STATUS_ENTRY(name, value, err, nt, text) [value] = { #name, text, err },
	WINAPI_STATUS_TABLE(STATUS_ENTRY)
#undef STATUS_ENTRY
};

const char *winapi_status_name(uint32_t status)
{
	return status < WINAPI_STATUS_COUNT ? statuses[status].name : "UNKNOWN";
}

const char *winapi_status_text(uint32_t status)
{
	return status < WINAPI_STATUS_COUNT ? statuses[status].text :
					      "a status that this library doesn't know";
}

HOT_PATH int status_error(uint32_t status)
{
	return status < WINAPI_STATUS_COUNT ? -statuses[status].error : -EPROTO;
}

int fail_status(const char *what, uint32_t status)
{
	return fail(status_error(status), "%s: the host says %s: %s", what, winapi_status_name(status),
		    winapi_status_text(status));
}

/* Where this library means something more exact than the C library says. */
const char *winapi_strerror(int error)
{
	if (error > 0)
		error = -error;
	switch (error) {
	case 0:
		return "success";
	case -ENODEV:
		return "the host is gone, or took the channel back";
	case -ECHILD:
		return "the handle belongs to the process that opened it";
	case -EAGAIN:
		return "too many calls in flight";
	case -EMSGSIZE:
		return "the reply is larger than the room for it";
	case -ENOSPC:
		return "over a limit of the session";
	case -EBUSY:
		return "a call in flight uses the buffer";
	case -EPROTO:
		return "the host doesn't keep to the protocol";
	case -EOPNOTSUPP:
		return "this build or this host can't do that";
	default:
		return strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error";
	}
}
