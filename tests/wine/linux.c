/* SPDX-License-Identifier: MIT */
#include "linux.h"

#include <stdio.h>
#include <string.h>

enum {
	NR_READ = 0,
	NR_WRITE = 1,
	NR_OPEN = 2,
	NR_CLOSE = 3,
	NR_FSTAT = 5,
	NR_MMAP = 9,
	NR_MUNMAP = 11,
	NR_SCHED_YIELD = 24,
	NR_DUP = 32,
	NR_SOCKET = 41,
	NR_CONNECT = 42,
	NR_SENDMSG = 46,
	NR_RECVMSG = 47,
	NR_BIND = 49,
	NR_LISTEN = 50,
	NR_FCNTL = 72,
	NR_UNLINK = 87,
	NR_READLINK = 89,
	NR_FSTATFS = 138,
	NR_FUTEX = 202,
	NR_CLOCK_GETTIME = 228,
	NR_EXIT_GROUP = 231,
	NR_PPOLL = 271,
	NR_ACCEPT4 = 288,
	NR_EVENTFD2 = 290,
};

#define O_WRONLY_ 01
#define O_CREAT_ 0100
#define O_APPEND_ 02000
#define O_CLOEXEC_ 02000000
#define SOCK_SEQPACKET_ 5
#define SOCK_NONBLOCK_ 04000
#define SOL_SOCKET_ 1
#define SCM_RIGHTS_ 1
#define MSG_CTRUNC_ 0x8
#define MSG_TRUNC_ 0x20
#define MSG_DONTWAIT_ 0x40
#define MSG_NOSIGNAL_ 0x4000
#define MSG_CMSG_CLOEXEC_ 0x40000000
#define F_DUPFD_CLOEXEC_ 1030
#define F_GET_SEALS_ 1034
#define SEALS (1 | 2 | 4) /* SEAL, SHRINK, GROW */
#define WRITE_SEALS (8 | 16)
#define TMPFS_MAGIC_ 0x01021994
#define EINTR_ 4

static long long call(long long n, long long a, long long b, long long c, long long d, long long e,
		      long long f)
{
	register long long r10 __asm__("r10") = d;
	register long long r8 __asm__("r8") = e;
	register long long r9 __asm__("r9") = f;
	long long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* Wine suspends threads by signals: what they interrupt is done again. */
static long long again(long long n, long long a, long long b, long long c)
{
	long long result;

	do
		result = call(n, a, b, c, 0, 0, 0);
	while (result == -EINTR_);
	return result;
}

static long long address(const void *p)
{
	return (long long)(uintptr_t)p;
}

/* ---- Files -------------------------------------------------------------------------------------------- */

int lx_close(int fd)
{
	return (int)call(NR_CLOSE, fd, 0, 0, 0, 0, 0);
}

long long lx_read(int fd, void *data, size_t size)
{
	return again(NR_READ, fd, address(data), (long long)size);
}

long long lx_write(int fd, const void *data, size_t size)
{
	return again(NR_WRITE, fd, address(data), (long long)size);
}

int lx_open_read(const char *path)
{
	return (int)again(NR_OPEN, address(path), O_CLOEXEC_, 0);
}

int lx_open_append(const char *path)
{
	return (int)again(NR_OPEN, address(path), O_CLOEXEC_ | O_APPEND_ | O_CREAT_ | O_WRONLY_, 0600);
}

int lx_unlink(const char *path)
{
	return (int)call(NR_UNLINK, address(path), 0, 0, 0, 0, 0);
}

int lx_dup(int fd)
{
	return (int)call(NR_FCNTL, fd, F_DUPFD_CLOEXEC_, 0, 0, 0, 0);
}

int lx_eventfd(void)
{
	return (int)call(NR_EVENTFD2, 0, O_CLOEXEC_ | SOCK_NONBLOCK_, 0, 0, 0, 0);
}

bool lx_is_eventfd(int fd)
{
	static const char wanted[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(wanted)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return call(NR_READLINK, address(path), address(target), sizeof(target), 0, 0, 0) ==
		       sizeof(wanted) - 1 &&
	       !memcmp(target, wanted, sizeof(wanted) - 1);
}

struct timespec64 {
	int64_t s;
	int64_t ns;
};

int lx_poll(struct lx_pollfd *fds, unsigned int count, int64_t timeout_ns)
{
	struct timespec64 t = { timeout_ns / 1000000000, timeout_ns % 1000000000 };

	return (int)call(NR_PPOLL, address(fds), count, timeout_ns < 0 ? 0 : address(&t), 0, 0, 0);
}

int lx_file(int fd, struct lx_file *file)
{
	long long seals = call(NR_FCNTL, fd, F_GET_SEALS_, 0, 0, 0, 0);
	uint64_t statfs[15], stat[18];
	long long err = call(NR_FSTAT, fd, address(stat), 0, 0, 0, 0);

	if (!err)
		err = call(NR_FSTATFS, fd, address(statfs), 0, 0, 0, 0);
	if (err)
		return (int)err;
	file->sealed = seals >= 0 && (seals & SEALS) == SEALS && !(seals & WRITE_SEALS);
	file->tmpfs = statfs[0] == TMPFS_MAGIC_;
	file->regular = (stat[3] & 0170000) == 0100000; /* st_mode is the lower half */
	file->size = stat[6];
	file->allocated = stat[8] * 512;
	return 0;
}

/* ---- Memory ------------------------------------------------------------------------------------------- */

void *lx_mmap(void *at, size_t size, int protection, int flags, int fd, uint64_t offset)
{
	long long result =
		call(NR_MMAP, address(at), (long long)size, protection, flags, fd, (long long)offset);

	return result < 0 && result > -4096 ? NULL : (void *)(uintptr_t)result;
}

void lx_munmap(void *at, size_t size)
{
	call(NR_MUNMAP, address(at), (long long)size, 0, 0, 0, 0);
}

/* ---- Sockets ------------------------------------------------------------------------------------------ */

struct socket_address {
	uint16_t family;
	char path[108];
};

static int unix_socket(const char *path, struct socket_address *to)
{
	if (strlen(path) >= sizeof(to->path))
		return -36; /* ENAMETOOLONG */
	memset(to, 0, sizeof(*to));
	to->family = 1;
	memcpy(to->path, path, strlen(path));
	return (int)call(NR_SOCKET, 1, SOCK_SEQPACKET_ | O_CLOEXEC_, 0, 0, 0, 0);
}

int lx_listen(const char *path)
{
	struct socket_address to;
	int fd = unix_socket(path, &to);
	long long err;

	if (fd < 0)
		return fd;
	lx_unlink(path);
	err = call(NR_BIND, fd, address(&to), sizeof(to), 0, 0, 0);
	if (!err)
		err = call(NR_LISTEN, fd, 128, 0, 0, 0, 0);
	if (!err)
		return fd;
	lx_close(fd);
	return (int)err;
}

int lx_connect(const char *path)
{
	struct socket_address to;
	int fd = unix_socket(path, &to);
	long long err;

	if (fd < 0)
		return fd;
	err = again(NR_CONNECT, fd, address(&to), sizeof(to));
	if (!err)
		return fd;
	lx_close(fd);
	return (int)err;
}

int lx_accept(int fd)
{
	long long result;

	do
		result = call(NR_ACCEPT4, fd, 0, 0, O_CLOEXEC_ | SOCK_NONBLOCK_, 0, 0);
	while (result == -EINTR_);
	return (int)result;
}

struct io_vector {
	void *data;
	uint64_t size;
};

struct message {
	void *name;
	uint64_t name_size;
	struct io_vector *vector;
	uint64_t vectors;
	void *control;
	uint64_t control_size;
	uint64_t flags;
};

/* A control message with descriptors, and room for more than the one that a record may carry. */
struct passed {
	uint64_t size;
	int32_t level;
	int32_t type;
	int32_t fd[4];
};
#define PASSED_HEAD offsetof(struct passed, fd)

long long lx_send(int fd, const void *data, size_t size, int passed)
{
	struct passed control = { PASSED_HEAD + sizeof(int32_t), SOL_SOCKET_, SCM_RIGHTS_, { passed } };
	struct io_vector vector = { (void *)(uintptr_t)data, size };
	struct message message = { .vector = &vector, .vectors = 1 };

	if (passed >= 0) {
		message.control = &control;
		message.control_size = PASSED_HEAD + 2 * sizeof(int32_t);
	}
	return again(NR_SENDMSG, fd, address(&message), MSG_NOSIGNAL_ | MSG_DONTWAIT_);
}

long long lx_receive(int fd, void *data, size_t room, int *passed, bool *odd)
{
	struct passed control = { .size = 0 };
	struct io_vector vector = { data, room };
	struct message message = {
		.vector = &vector, .vectors = 1, .control = &control, .control_size = sizeof(control)
	};
	long long n = again(NR_RECVMSG, fd, address(&message), MSG_CMSG_CLOEXEC_ | MSG_TRUNC_);

	*passed = -1;
	*odd = message.flags & MSG_CTRUNC_;
	if (n < 0 || message.control_size < PASSED_HEAD || control.type != SCM_RIGHTS_)
		return n;
	for (size_t i = 0; i < (control.size - PASSED_HEAD) / sizeof(int32_t); i++) {
		if (*passed < 0) {
			*passed = control.fd[i];
		} else {
			lx_close(control.fd[i]);
			*odd = true;
		}
	}
	return n;
}

/* ---- Time and locks ----------------------------------------------------------------------------------- */

void lx_exit(int status)
{
	for (;;)
		call(NR_EXIT_GROUP, status, 0, 0, 0, 0, 0);
}

uint64_t lx_clock_ns(void)
{
	struct timespec64 t;

	call(NR_CLOCK_GETTIME, 1, address(&t), 0, 0, 0, 0);
	return (uint64_t)t.s * 1000000000u + (uint64_t)t.ns;
}

void lx_yield(void)
{
	call(NR_SCHED_YIELD, 0, 0, 0, 0, 0, 0);
}

#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

void lx_futex_wait(uint32_t *word, uint32_t value)
{
	call(NR_FUTEX, address(word), FUTEX_WAIT_PRIVATE, value, 0, 0, 0);
}

void lx_futex_wake(uint32_t *word)
{
	call(NR_FUTEX, address(word), FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
}

void lx_lock(struct lx_lock *lock)
{
	uint32_t free = 0;

	if (__atomic_compare_exchange_n(&lock->state, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(&lock->state, 2, __ATOMIC_ACQUIRE))
		lx_futex_wait(&lock->state, 2);
}

void lx_unlock(struct lx_lock *lock)
{
	if (__atomic_exchange_n(&lock->state, 0, __ATOMIC_RELEASE) == 2)
		call(NR_FUTEX, address(&lock->state), FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}
