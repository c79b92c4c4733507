/* SPDX-License-Identifier: MIT */
/*
 * Callers of /dev/winapi who do everything wrong. Each must get its error, and nothing may be lost by it: between
 * the groups an echo is called, and at the end all buffers are gone and all memory is unpinned.
 */
#include "guest.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define BETWEEN_SIZES 0x3fffu /* the most that an ioctl's number can say */

static int fd;
static uint8_t *plain; /* 4 pages, the last not mapped */
static uint8_t *constant; /* a page that can't be written */

static void still_works(const char *after)
{
	check_error(echo(fd), 0, "an echo after %s", after);
}

static unsigned long resized(unsigned long request, unsigned int size)
{
	return _IOC(_IOC_DIR(request), _IOC_TYPE(request), _IOC_NR(request), size);
}

static const struct ioctl_kind {
	const char *name;
	unsigned long request;
	unsigned int size;
} kinds[] = {
	{ "INFO", WINAPI_IOC_INFO, sizeof(struct winapi_ioc_info) },
	{ "CALL", WINAPI_IOC_CALL, sizeof(struct winapi_ioc_call) },
	{ "SUBMIT", WINAPI_IOC_SUBMIT, sizeof(struct winapi_ioc_submit) },
	{ "CANCEL", WINAPI_IOC_CANCEL, sizeof(struct winapi_ioc_cancel) },
	{ "ALLOC", WINAPI_IOC_ALLOC, sizeof(struct winapi_ioc_alloc) },
	{ "REGISTER", WINAPI_IOC_REGISTER, sizeof(struct winapi_ioc_register) },
	{ "FREE", WINAPI_IOC_FREE, sizeof(struct winapi_ioc_free) },
	{ "STATS", WINAPI_IOC_STATS, sizeof(struct winapi_ioc_stats) },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- The argument's address, size and number ----------------------------------------------------------- */

static void pointers(const struct ioctl_kind *k)
{
	static const struct {
		const char *name;
		uint64_t address;
	} bad[] = {
		{ "NULL", 0 },
		{ "1", 1 },
		{ "the kernel's direct map", KERNEL_DIRECT },
		{ "the kernel's text", KERNEL_TEXT },
		{ "no address at all", NO_ADDRESS },
		{ "the highest page", HIGHEST },
		{ "-1", UINT64_MAX },
	};

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_error(device(fd, k->request, at(bad[i].address)), -EFAULT, "%s at %s", k->name,
			    bad[i].name);
	check_error(device(fd, k->request, plain + 3 * PAGE), -EFAULT, "%s where nothing is mapped", k->name);
	check_error(device(fd, k->request, plain + 3 * PAGE - k->size / 2), -EFAULT,
		    "%s half of it where nothing is mapped", k->name);
}

/* Zeros, but for a call: that must not be sent, as its timeout of 0 would race its reply. */
static void fill_zeros(const struct ioctl_kind *k, uint8_t *bytes, size_t size)
{
	memset(bytes, 0, size);
	if (k->request == WINAPI_IOC_CALL)
		bytes[offsetof(struct winapi_ioc_call, flags)] = 2;
}

/* One that is longer than the driver knows: fine while all of that is zero, and -EFAULT where it isn't there. */
static void sizes(const struct ioctl_kind *k)
{
	static uint8_t big[BETWEEN_SIZES + 1];
	int honest;

	if (_IOC_DIR(k->request) == _IOC_READ) {
		unsigned int behind = 0;

		memset(big, 0xee, sizeof(big));
		check_error(device(fd, resized(k->request, BETWEEN_SIZES), big), 0, "%s, longer than it is",
			    k->name);
		for (unsigned int i = k->size; i < BETWEEN_SIZES; i++)
			behind |= big[i];
		check(big[0] != 0xee && !behind, "it is filled in, with zeros behind it");
		check_error(device(fd, resized(k->request, BETWEEN_SIZES), plain + 3 * PAGE - k->size),
			    -EFAULT, "%s, longer than what is mapped", k->name);
		return;
	}
	fill_zeros(k, big, sizeof(big));
	honest = device(fd, k->request, big); /* may well be an error, but the same one for any size */
	for (unsigned int more = 1; more <= BETWEEN_SIZES - k->size; more = more * 4 + 3) {
		fill_zeros(k, big, sizeof(big));
		check_error(device(fd, resized(k->request, k->size + more), big), honest,
			    "%s with %u zeros behind it", k->name, more);
		fill_zeros(k, big, sizeof(big));
		big[k->size + more - 1] = 1;
		check_error(device(fd, resized(k->request, k->size + more), big), -E2BIG,
			    "%s with a 1 behind it, after %u bytes", k->name, more - 1);
	}
	memset(plain, 0, 3 * PAGE);
	check_error(device(fd, resized(k->request, BETWEEN_SIZES), plain + 3 * PAGE - k->size), -EFAULT,
		    "%s, longer than what is mapped", k->name);
}

/* One that is shorter counts as if zeros followed, and nothing behind it is written. */
static void short_sizes(const struct ioctl_kind *k)
{
	uint8_t bytes[512];

	for (unsigned int size = 0; size < k->size; size += size < 8 ? 1 : 4) {
		bool whole = true;

		memset(bytes, 0xee, sizeof(bytes));
		memset(bytes, 0, size);
		device(fd, resized(k->request, size), bytes);
		for (unsigned int i = size; i < sizeof(bytes); i++)
			whole = whole && bytes[i] == 0xee;
		if (!whole || size % 16 == 0)
			check(whole, "%s of %u bytes leaves what follows alone", k->name, size);
	}
}

static void numbers(void)
{
	static uint8_t zeros[BETWEEN_SIZES];
	unsigned int taken = 0, other = 0;

	for (unsigned int nr = 9; nr < 256; nr++) {
		taken += device(fd, _IOWR(WINAPI_IOC_TYPE, nr, uint64_t), zeros) != -ENOTTY;
		taken += device(fd, _IO(WINAPI_IOC_TYPE, nr), zeros) != -ENOTTY;
	}
	check(!taken, "unknown numbers are -ENOTTY");
	for (unsigned int type = 0; type < 256; type++)
		for (unsigned int nr = 0; nr < 9 && type != WINAPI_IOC_TYPE; nr++)
			/* 'T' 0x54 and 'f' have numbers of the kernel's own for any file (FIONBIO and the like) */
			other += device(fd, _IOC(_IOC_READ | _IOC_WRITE, type, nr, 56), zeros) >= 0;
	check(!other, "other types do nothing");
	check_error(device(fd, 0, zeros), -ENOTTY, "number 0");
	check_error(device(fd, ULONG_MAX, zeros), -ENOTTY, "number -1");
}

static void read_only_results(void)
{
	/* The page holds zeros: an ALLOC or a call that gets as far as its results must still fail. */
	check_error(device(fd, WINAPI_IOC_INFO, constant), -EFAULT, "INFO into memory that can't be written");
	check_error(device(fd, WINAPI_IOC_STATS, constant), -EFAULT,
		    "STATS into memory that can't be written");
	check(device(fd, WINAPI_IOC_ALLOC, constant) < 0, "ALLOC of zeros that can't be written");
	check(device(fd, WINAPI_IOC_CALL, constant) < 0, "CALL that can't be written");
}

/* Results that can't be written after the work was done: the buffer isn't kept. */
static void results_nowhere(void)
{
	struct winapi_ioc_alloc *alloc = at((uint64_t)(uintptr_t)plain);
	struct winapi_ioc_register *r = at((uint64_t)(uintptr_t)plain);
	struct winapi_ioc_call *c = at((uint64_t)(uintptr_t)plain);
	uint64_t before = device_stats(fd).buffers;

	*alloc = (struct winapi_ioc_alloc){ .length = PAGE, .access = 1 };
	mprotect(plain, PAGE, PROT_READ);
	check_error(device(fd, WINAPI_IOC_ALLOC, alloc), -EFAULT, "ALLOC whose results can't be written");
	mprotect(plain, PAGE, PROT_READ | PROT_WRITE);
	*r = (struct winapi_ioc_register){ .address = (uintptr_t)(plain + PAGE),
					   .length = PAGE,
					   .access = 1 };
	mprotect(plain, PAGE, PROT_READ);
	check_error(device(fd, WINAPI_IOC_REGISTER, r), -EFAULT, "REGISTER whose results can't be written");
	mprotect(plain, PAGE, PROT_READ | PROT_WRITE);
	check(device_stats(fd).buffers == before, "neither buffer is kept");
	*c = echo_call("x", 1, plain + PAGE);
	mprotect(plain, PAGE, PROT_READ);
	check_error(device(fd, WINAPI_IOC_CALL, c), -EFAULT, "CALL whose results can't be written");
	mprotect(plain, PAGE, PROT_READ | PROT_WRITE);
}

static void unaligned(void)
{
	struct winapi_ioc_call c = echo_call("odd", 3, plain + 101);
	struct winapi_ioc_info info = device_info(fd), odd;

	check(device(fd, WINAPI_IOC_INFO, plain + 1) == 0, "INFO at an odd address");
	memcpy(&odd, plain + 1, sizeof(odd));
	check(!memcmp(&info, &odd, sizeof(info)), "and it says the same there");
	memcpy(plain + 203, &c, sizeof(c));
	check_error(device(fd, WINAPI_IOC_CALL, plain + 203), 0, "CALL at an odd address");
	memcpy(&c, plain + 203, sizeof(c));
	check(c.out_size == 3 && !memcmp(plain + 101, "odd", 3), "and its data are right");
}

/* ---- CALL ---------------------------------------------------------------------------------------------- */

#define CALL_IS(wanted, what, change) \
	do { \
		uint8_t out[64]; \
		struct winapi_ioc_call c = echo_call("0123456789abcdef", 16, out); \
\
		change; \
		check_error(device(fd, WINAPI_IOC_CALL, &c), wanted, "CALL: " what); \
	} while (0)

static void call_fields(void)
{
	CALL_IS(-EINVAL, "unknown flag", c.flags = 2);
	CALL_IS(-EINVAL, "all flags", c.flags = 0xffff);
	CALL_IS(-EINVAL, "a batch of an API", (c.flags = WINAPI_IOC_CALL_BATCH, c.api = 1));
	CALL_IS(-EINVAL, "a batch of a method", (c.flags = WINAPI_IOC_CALL_BATCH, c.api = 0, c.method = 1));
	CALL_IS(-E2BIG, "a byte too much", c.in_size = WINAPI_MAX_INLINE + 1);
	CALL_IS(-E2BIG, "4 GiB of data", c.in_size = UINT32_MAX);
	CALL_IS(-E2BIG, "9 buffers", c.buffer_count = 9);
	CALL_IS(-E2BIG, "4 G of buffers", c.buffer_count = UINT32_MAX);
	CALL_IS(-EFAULT, "data at NULL", c.in = 0);
	CALL_IS(-EFAULT, "data in the kernel", c.in = KERNEL_DIRECT);
	CALL_IS(-EFAULT, "data in the kernel's text", c.in = KERNEL_TEXT);
	CALL_IS(-EFAULT, "data at no address", c.in = NO_ADDRESS);
	CALL_IS(-EFAULT, "data that end where nothing is mapped", c.in = (uintptr_t)plain + 3 * PAGE - 8);
	CALL_IS(-EFAULT, "data around the end of all addresses", c.in = UINT64_MAX - 7);
	CALL_IS(-EFAULT, "results at NULL", c.out = 0);
	CALL_IS(-EFAULT, "results in the kernel", c.out = KERNEL_DIRECT);
	CALL_IS(-EFAULT, "results where nothing can be written", c.out = (uintptr_t)constant);
	CALL_IS(-EFAULT, "results that end where nothing is mapped", c.out = (uintptr_t)plain + 3 * PAGE - 8);
	CALL_IS(-EFAULT, "buffers at NULL", c.buffer_count = 1);
	CALL_IS(-EFAULT, "buffers in the kernel", (c.buffer_count = 1, c.buffers = KERNEL_DIRECT));
	CALL_IS(-EFAULT, "buffers at no address", (c.buffer_count = 8, c.buffers = NO_ADDRESS));
	CALL_IS(-EFAULT, "buffers of which the last isn't mapped",
		(c.buffer_count = 8, c.buffers = (uintptr_t)plain + 3 * PAGE - 7 * 32));
	CALL_IS(0, "no data, from nowhere to nowhere",
		(c.in = KERNEL_DIRECT, c.in_size = 0, c.out = KERNEL_DIRECT, c.out_capacity = 0));
	CALL_IS(0, "more room than any reply takes", c.out_capacity = UINT32_MAX);
	CALL_IS(0, "results over the data", c.out = c.in = (uintptr_t)plain);
	CALL_IS(0, "results one byte into the data", (c.in = (uintptr_t)plain, c.out = (uintptr_t)plain + 1));
	still_works("bad calls");
}

static void call_sizes(void)
{
	static uint8_t in[WINAPI_MAX_INLINE], out[WINAPI_MAX_INLINE];
	struct winapi_ioc_call c = echo_call(in, sizeof(in), out);

	memset(in, 0x5a, sizeof(in));
	check_error(device(fd, WINAPI_IOC_CALL, &c), 0, "CALL: the most data");
	check(c.out_size == sizeof(in) && !memcmp(in, out, sizeof(in)), "they come back");
	memset(out, 0, sizeof(out));
	c = echo_call(in, 100, out);
	c.out_capacity = 99;
	check_error(device(fd, WINAPI_IOC_CALL, &c), 0, "CALL: a byte too little room");
	check(c.out_size == 100 && !out[0], "out_size says so and nothing is copied");
	/* The results overlap the struct that they belong to: odd, but the caller's own memory. */
	memcpy(plain, &c, sizeof(c));
	((struct winapi_ioc_call *)(void *)plain)->out = (uintptr_t)plain;
	((struct winapi_ioc_call *)(void *)plain)->out_capacity = 100;
	check_error(device(fd, WINAPI_IOC_CALL, plain), 0, "CALL: results over the struct itself");
}

static void unknown_api(void)
{
	CALL_IS(0, "an unknown API", c.api = 0xfffff);
	CALL_IS(0, "an unknown method", c.method = 0xffff);
	still_works("unknown APIs");
}

static void cancels(void)
{
	struct winapi_ioc_cancel c = { .user_data = 4711 };

	check_error(device(fd, WINAPI_IOC_CANCEL, &c), -ENOENT, "CANCEL of nothing");
}

/* ---- SUBMIT and read ----------------------------------------------------------------------------------- */

static int submit(const struct winapi_ioc_call *calls, uint32_t count, uint32_t call_size)
{
	struct winapi_ioc_submit s = { (uintptr_t)calls, count, call_size };

	return device(fd, WINAPI_IOC_SUBMIT, &s);
}

/* The next record's result; its data go to waste. */
static int next_record(uint64_t *user_data)
{
	union {
		struct winapi_ioc_completion record;
		uint8_t bytes[sizeof(struct winapi_ioc_completion) + WINAPI_MAX_INLINE];
	} r;
	struct pollfd p = { fd, POLLIN, 0 };
	ssize_t size;

	if (poll(&p, 1, (int)PATIENCE_MS) != 1)
		return -ETIME;
	size = read(fd, r.bytes, sizeof(r.record)); /* with data: too small, so once more */
	if (size < 0 && errno == EINVAL)
		size = read(fd, r.bytes, sizeof(r.record) + 32);
	if (size < (ssize_t)sizeof(r.record))
		return -EBADMSG;
	*user_data = r.record.user_data;
	return r.record.result;
}

static void submits(void)
{
	struct winapi_ioc_call calls[4] = { { .user_data = 0 } };
	uint64_t user_data = 0;

	for (unsigned int i = 0; i < 4; i++) {
		calls[i] = echo_call("0123456789abcdef", 16, NULL);
		calls[i].user_data = 70 + i;
	}
	check_error(submit(NULL, 1, sizeof(calls[0])), -EFAULT, "SUBMIT of NULL");
	check_error(submit(at(KERNEL_DIRECT), 1, sizeof(calls[0])), -EFAULT, "SUBMIT of the kernel's");
	check_error(submit(at(NO_ADDRESS), INT32_MAX, sizeof(calls[0])), -EFAULT, "SUBMIT of no address");
	check_error(submit(calls, UINT32_MAX, sizeof(calls[0])), -EINVAL,
		    "SUBMIT of more than it could return");
	check(submit(calls, 1, 0) < 0, "SUBMIT of calls without size");
	check_error(submit(calls, 1, UINT32_MAX), -EINVAL, "SUBMIT of calls of 4 GiB");
	check(submit(calls, 0, sizeof(calls[0])) <= 0, "SUBMIT of none");
	calls[0].flags = 2;
	check_error(submit(calls, 4, sizeof(calls[0])), -EINVAL, "SUBMIT whose first call is bad");
	calls[0].flags = 0;
	calls[1].in = KERNEL_DIRECT;
	check_error(submit(calls, 4, sizeof(calls[0])), 1, "SUBMIT whose second call is bad starts one");
	check_error(next_record(&user_data), 0, "which ends");
	check(user_data == 70, "with its user_data");
	calls[1].in = calls[0].in;
	calls[0].out_capacity = 15;
	check_error(submit(calls, 1, sizeof(calls[0])), 1, "SUBMIT with a byte too little room");
	check_error(next_record(&user_data), -EMSGSIZE, "ends with -EMSGSIZE");
	still_works("bad submissions");
}

static void reads(void)
{
	struct winapi_ioc_call c = echo_call("0123456789abcdef", 16, NULL);
	struct pollfd p = { fd, POLLIN, 0 };
	struct iovec parts[2];
	uint8_t bytes[256];
	uint64_t user_data = 0;
	int flags = fcntl(fd, F_GETFL);

	check(poll(&p, 1, 0) == 0, "poll() when there is nothing");
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	check(read(fd, bytes, sizeof(bytes)) < 0 && errno == EAGAIN,
	      "read() when there is nothing, without waiting");
	fcntl(fd, F_SETFL, flags);
	c.user_data = 99;
	check_error(submit(&c, 1, sizeof(c)), 1, "a call");
	check(poll(&p, 1, (int)PATIENCE_MS) == 1 && p.revents & POLLIN, "poll() says that it has ended");
	check(read(fd, bytes, 0) <= 0, "read() of no bytes");
	for (unsigned int size = 1; size < sizeof(struct winapi_ioc_completion) + 16; size += 15)
		check(read(fd, bytes, size) < 0 && errno == EINVAL, "read() of %u bytes", size);
	check(read(fd, at(0), 64) < 0 && errno == EFAULT, "read() to NULL");
	check(read(fd, at(KERNEL_DIRECT), 64) < 0 && errno == EFAULT, "read() to the kernel");
	check(read(fd, plain + 3 * PAGE - 8, 64) < 0 && errno == EFAULT, "read() to where little is mapped");
	check(poll(&p, 1, 0) == 1, "and the record is still there");
	parts[0] = (struct iovec){ bytes, 64 };
	parts[1] = (struct iovec){ bytes + 64, 64 };
	if (readv(fd, parts, 2) != 48)
		check_error(next_record(&user_data), 0, "a read() that has room takes it");
	else
		check(true, "a readv() that has room takes it");
	check(poll(&p, 1, 0) == 0, "once");
	check(write(fd, bytes, 8) < 0, "write()");
	check(pread(fd, bytes, 8, 0) < 0 || lseek(fd, 0, SEEK_SET) <= 0, "no offsets");
}

/* ---- 32-bit callers ------------------------------------------------------------------------------------ */

/* ioctl by int 0x80: the kernel takes the caller for a 32-bit one. */
static int compat_ioctl(uint32_t request, const void *argument)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(54), "b"(fd), "c"(request), "d"((uint32_t)(uintptr_t)argument)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static void compat(void)
{
	uint8_t *low =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct winapi_ioc_info info = device_info(fd);
	struct winapi_ioc_call c = echo_call(low + PAGE, 16, low + PAGE + 64);
	struct winapi_ioc_alloc alloc = { .length = PAGE, .access = 3 };
	struct winapi_ioc_free f = { 0 };

	if (low == MAP_FAILED || compat_ioctl((uint32_t)WINAPI_IOC_INFO, low) == -ENOSYS) {
		skip("this kernel runs no 32-bit callers");
		return;
	}
	check(!memcmp(low, &info, sizeof(info)), "32-bit: INFO");
	memcpy(low + PAGE, "0123456789abcdef", 16);
	memcpy(low, &c, sizeof(c));
	check_error(compat_ioctl((uint32_t)WINAPI_IOC_CALL, low), 0, "32-bit: CALL");
	check(!memcmp(low + PAGE, low + PAGE + 64, 16), "32-bit: its data");
	memcpy(low, &alloc, sizeof(alloc));
	check_error(compat_ioctl((uint32_t)WINAPI_IOC_ALLOC, low), 0, "32-bit: ALLOC");
	memcpy(&alloc, low, sizeof(alloc));
	check(alloc.map_offset / PAGE <= UINT32_MAX, "32-bit: its offset fits mmap2");
	f.id = alloc.id;
	memcpy(low, &f, sizeof(f));
	check_error(compat_ioctl((uint32_t)WINAPI_IOC_FREE, low), 0, "32-bit: FREE");
	check_error(compat_ioctl((uint32_t)WINAPI_IOC_CALL, NULL), -EFAULT, "32-bit: CALL at NULL");
	check_error(compat_ioctl((uint32_t)WINAPI_IOC_STATS, at(0xfffff000)), -EFAULT,
		    "32-bit: STATS at the top");
	check_error(compat_ioctl(_IO(WINAPI_IOC_TYPE, 99), low), -ENOTTY, "32-bit: an unknown number");
	munmap(low, 2 * PAGE);
}

/* ---- What must not be left ----------------------------------------------------------------------------- */

static void nothing_left(void)
{
	check(!device_stats(fd).buffers && !device_stats(fd).buffer_bytes, "no buffer is left");
	close(fd);
	check(pins_settle(), "no page is left pinned");
}

int main(void)
{
	fd = device_await();
	plain = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	constant = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (plain == MAP_FAILED || constant == MAP_FAILED || munmap(plain + 3 * PAGE, PAGE))
		bail("no memory");
	for (unsigned int i = 0; i < KINDS; i++) {
		pointers(&kinds[i]);
		sizes(&kinds[i]);
		short_sizes(&kinds[i]);
	}
	still_works("bad arguments");
	numbers();
	read_only_results();
	results_nowhere();
	unaligned();
	call_fields();
	call_sizes();
	unknown_api();
	cancels();
	submits();
	reads();
	compat();
	nothing_left();
	return finish();
}
