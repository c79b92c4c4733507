/* SPDX-License-Identifier: MIT */
/*
 * For tests that run in the guest and speak to /dev/winapi by include/winapi_ioctl.h alone: their TAP, the
 * device, and the usual calls. One file is one program.
 */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../../../common/protocol.h"
#include "../../../common/status.h"
#include "../../../include/winapi_ioctl.h"

#define DEVICE "/dev/winapi"
#define PAGE 4096u
#define HOST_READS WINAPI_ACCESS_READ
#define HOST_WRITES WINAPI_ACCESS_WRITE
#define PATIENCE_MS 60000u /* for what must come; never for how fast */

/* ---- TAP ----------------------------------------------------------------------------------------------- */

/* A line of the output: did it hold? */
__attribute__((format(printf, 2, 3))) bool check(bool held, const char *format, ...);
/* The same for an error; says which came. */
__attribute__((format(printf, 3, 4))) bool check_error(int got, int wanted, const char *format, ...);
__attribute__((format(printf, 1, 2))) void skip(const char *format, ...);
/* Nothing more can be tested. */
__attribute__((noreturn, format(printf, 1, 2))) void bail(const char *format, ...);
/* The plan; the exit status of the program. */
int finish(void);

/* ---- The device ---------------------------------------------------------------------------------------- */

uint64_t now_ms(void);
/* All return what they should or -errno. */
int device_open(void);
/* Opens it as soon as it can be and does a call; bails when it doesn't come. */
int device_await(void);
/* ioctl() that a signal interrupts is not repeated. */
int device(int fd, unsigned long request, void *argument);

struct winapi_ioc_call echo_call(const void *in, uint32_t size, void *out);
/* One call of `method` with up to one buffer. The host's status comes as its errno. */
int call(int fd, struct winapi_ioc_call *call);
/* There and back with the bytes compared; -EBADMSG: others came. */
int echo(int fd);
int buffer_alloc(int fd, uint64_t length, uint32_t access, struct winapi_ioc_alloc *out);
/* With its mapping; NULL: failed. */
uint8_t *buffer_alloc_mapped(int fd, uint64_t length, uint32_t access, struct winapi_ioc_alloc *out);
int buffer_register(int fd, void *address, uint64_t length, uint32_t access, uint32_t *id);
int buffer_free(int fd, uint32_t id);
/* The host's CRC32C of a buffer's bytes. */
int buffer_crc(int fd, const struct winapi_ioc_buffer_ref *ref, uint32_t *crc);
/* The host reads just that in the buffer now. */
bool host_sees(int file, uint32_t id, const uint8_t *memory, size_t size);
uint32_t crc32c(const uint8_t *data, size_t size);
struct winapi_ioc_stats device_stats(int fd);
struct winapi_ioc_info device_info(int fd);

/* Of this process, never touched; bails when there is none. */
uint8_t *fresh_memory(size_t size);
/* Runs it in a child; its result, 0 to 100, or -1 when it died otherwise. */
int in_child(int (*act)(void *argument), void *argument);
/* Closing a file lets go of memory in the background: true once no page in the system is pinned. */
bool pins_settle(void);

/* ---- Where nobody's memory is -------------------------------------------------------------------------- */

#define KERNEL_DIRECT 0xffff888000001000ull /* the direct map */
#define KERNEL_TEXT 0xffffffff81000000ull
#define NO_ADDRESS 0x8000000000000000ull /* not canonical */
#define HIGHEST 0xfffffffffffff000ull
/* As a pointer, in a way that keeps compilers from knowing better. */
static inline void *at(uint64_t address)
{
	void *volatile pointer = (void *)(uintptr_t)address;

	return pointer;
}

/* ---- Chance with a seed -------------------------------------------------------------------------------- */

struct chance {
	uint64_t state;
};
uint64_t chance(struct chance *c);
static inline uint32_t below(struct chance *c, uint32_t bound)
{
	return (uint32_t)(chance(c) >> 33) % bound;
}

#endif /* GUEST_H */
