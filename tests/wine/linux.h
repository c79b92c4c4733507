/* SPDX-License-Identifier: MIT */
/*
 * Linux system calls from a PE module that Wine runs: the module is Windows code, yet its process is a Linux
 * one. x86-64 only. `long` has 32 bits here, so nothing of the C library's Linux side can be used; results
 * are Linux' own: negative errnos, which below 35 are the same as msvcrt's.
 */
#ifndef TESTS_WINE_LINUX_H
#define TESTS_WINE_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LX_EPROTO 71
#define LX_EPROTONOSUPPORT 93

#define LX_PROT_NONE 0
#define LX_PROT_RW 3
#define LX_MAP_SHARED 0x01
#define LX_MAP_PRIVATE 0x02
#define LX_MAP_FIXED 0x10
#define LX_MAP_ANONYMOUS 0x20
#define LX_MAP_POPULATE 0x8000

#define LX_POLLIN 1
#define LX_POLLOUT 4

struct lx_pollfd {
	int fd;
	int16_t events;
	int16_t revents;
};

/* What a descriptor is, as far as the mapping of a guest's memory asks. */
struct lx_file {
	bool sealed; /* SHRINK, GROW and SEAL, but not against writing */
	bool tmpfs;
	bool regular;
	uint64_t size;
	uint64_t allocated; /* bytes */
};

int lx_close(int fd);
long long lx_read(int fd, void *data, size_t size);
long long lx_write(int fd, const void *data, size_t size);
int lx_open_read(const char *path);
int lx_open_append(const char *path);
int lx_unlink(const char *path);
int lx_dup(int fd);
int lx_eventfd(void); /* non-blocking, close-on-exec */
bool lx_is_eventfd(int fd);
int lx_poll(struct lx_pollfd *fds, unsigned int count, int64_t timeout_ns); /* negative: for ever */
int lx_file(int fd, struct lx_file *file);

void *lx_mmap(void *at, size_t size, int protection, int flags, int fd, uint64_t offset); /* NULL: failed */
void lx_munmap(void *at, size_t size);

int lx_listen(const char *path); /* SOCK_SEQPACKET */
int lx_connect(const char *path); /* blocking */
int lx_accept(int fd); /* the new socket is non-blocking */
/* One record, with `passed` if that isn't negative. */
long long lx_send(int fd, const void *data, size_t size, int passed);
/*
 * One record: its size, also when it was cut off at `room`. The first descriptor that came is *passed, or
 * -1; *odd tells of a second one, or of one that was lost.
 */
long long lx_receive(int fd, void *data, size_t room, int *passed, bool *odd);

_Noreturn void lx_exit(int status); /* of the process */
uint64_t lx_clock_ns(void); /* monotonic */
void lx_yield(void);

/* ---- Locks, and waiting for a change of what one guards -------------------------------------------- */

struct lx_lock {
	uint32_t state; /* 0: free, 1: held, 2: held and waited for */
};
void lx_lock(struct lx_lock *lock);
void lx_unlock(struct lx_lock *lock);

void lx_futex_wait(uint32_t *word, uint32_t value); /* may return early */
void lx_futex_wake(uint32_t *word);

#endif /* TESTS_WINE_LINUX_H */
