/* SPDX-License-Identifier: MIT */
/*
 * Status codes of the protocol: one table with value, name, text, and errno and NTSTATUS counterpart.
 * NTSTATUS values are from Microsoft's [MS-ERREF] 2.3.1.
 *
 * The numbers are wire format: never reuse or renumber one.
 */
#ifndef WINAPI_STATUS_H
#define WINAPI_STATUS_H

/* X(name, value, errno, NTSTATUS, text) */
#define WINAPI_STATUS_TABLE(X) \
	X(OK, 0, 0, 0x00000000u, "success") \
	X(MALFORMED, 1, EBADMSG, 0xC000000Du, "the message contradicts itself") \
	X(UNSUPPORTED_VERSION, 2, EPROTONOSUPPORT, 0xC0000059u, "no protocol version in common") \
	X(UNKNOWN_TYPE, 3, EPROTO, 0xC0000002u, "unknown message type") \
	X(UNKNOWN_API, 4, ENOSYS, 0xC00000BBu, "the host has no such API") \
	X(UNKNOWN_METHOD, 5, ENOSYS, 0xC0000010u, "the API has no such method") \
	X(UNKNOWN_FLAGS, 6, EINVAL, 0xC00000EFu, "unknown flags are set") \
	X(RESERVED_NOT_ZERO, 7, EINVAL, 0xC00000F0u, "a reserved field isn't zero") \
	X(INVALID_PARAMETER, 8, EINVAL, 0xC00000F1u, "a parameter is out of its range") \
	X(TOO_LARGE, 9, E2BIG, 0xC0000206u, "a size or count is over its bound") \
	X(REPLY_TOO_LARGE, 10, EMSGSIZE, 0xC0000023u, "the reply doesn't fit") \
	X(NO_SESSION, 11, EBADF, 0xC0000008u, "no such session, or HELLO is missing") \
	X(INVALID_HANDLE, 12, EBADF, 0xC0000008u, "no such buffer in this session") \
	X(ACCESS_DENIED, 13, EACCES, 0xC0000022u, "the buffer isn't shared for that access") \
	X(OUT_OF_BOUNDS, 14, ERANGE, 0xC0000004u, "offset and length pass the end of the buffer") \
	X(BUFFER_BUSY, 15, EBUSY, 0xC0000043u, "a call still uses the buffer") \
	X(LIMIT_IN_FLIGHT, 16, EAGAIN, 0xC00000C1u, "too many calls in flight") \
	X(LIMIT_BUFFERS, 17, ENOSPC, 0xC0000044u, "too many registered buffers") \
	X(LIMIT_BYTES, 18, ENOSPC, 0xC0000044u, "too many registered bytes") \
	X(LIMIT_SESSIONS, 19, EUSERS, 0xC00000CEu, "too many sessions") \
	X(NO_MEMORY, 20, ENOMEM, 0xC000009Au, "the host is out of memory") \
	X(TIMED_OUT, 21, ETIMEDOUT, 0xC00000B5u, "the call timed out on the host") \
	X(CANCELED, 22, ECANCELED, 0xC0000120u, "the call was cancelled") \
	X(NOT_FOUND, 23, ENOENT, 0xC0000225u, "no such request in flight") \
	X(NOT_SHORT, 24, EINVAL, 0xC00000BBu, "the API isn't allowed in a batch") \
	X(GPADL_UNKNOWN, 25, ENXIO, 0xC0000008u, "the GPADL doesn't exist or is in use") \
	X(DUPLICATE_ID, 26, EEXIST, 0xC0000035u, "the request id is in flight already") \
	X(CHANNEL_LOST, 27, ENODEV, 0xC00000C0u, "the channel to the host is gone") \
	X(NOT_PERMITTED, 28, EPERM, 0xC0000061u, "policy forbids the call") \
	X(NOT_SUPPORTED, 29, EOPNOTSUPP, 0xC00000BBu, "not supported here") \
	X(INTERNAL, 30, EIO, 0xC00000E5u, "internal error of the host")

enum winapi_status {
#define WINAPI_STATUS_ENUM(name, value, err, nt, text) WINAPI_STATUS_##name = value,
	WINAPI_STATUS_TABLE(WINAPI_STATUS_ENUM)
#undef WINAPI_STATUS_ENUM
		WINAPI_STATUS_COUNT
};

#endif /* WINAPI_STATUS_H */
