/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- TAP ----------------------------------------------------------------------------------------------- */

static unsigned int count, failed;

static void line(bool held, const char *directive, const char *format, va_list arguments)
{
	char text[300];

	vsnprintf(text, sizeof(text), format, arguments);
	printf("%s %u - %s%s\n", held ? "ok" : "not ok", ++count, text, directive);
	fflush(stdout);
	failed += !held;
}

bool check(bool held, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	line(held, "", format, arguments);
	va_end(arguments);
	return held;
}

bool check_error(int got, int wanted, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	line(got == wanted, "", format, arguments);
	va_end(arguments);
	if (got != wanted)
		printf("# got %d (%s), wanted %d (%s)\n", got, strerror(got < 0 ? -got : 0), wanted,
		       strerror(wanted < 0 ? -wanted : 0));
	return got == wanted;
}

void skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	line(true, " # SKIP", format, arguments);
	va_end(arguments);
}

void bail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("Bail out! ");
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
	fflush(stdout);
	exit(1);
}

int finish(void)
{
	printf("1..%u\n", count);
	fflush(stdout);
	return failed || !count;
}

/* ---- The device ---------------------------------------------------------------------------------------- */

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int device_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int device_await(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	int fd = -1;

	while (now_ms() < end) {
		fd = device_open();
		if (fd >= 0 && !echo(fd))
			return fd;
		if (fd >= 0)
			close(fd);
		usleep(20000);
	}
	bail("the device doesn't come (back) within %u s: %s", PATIENCE_MS / 1000,
	     strerror(fd < 0 ? -fd : EIO));
}

int device(int fd, unsigned long request, void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

struct winapi_ioc_call echo_call(const void *in, uint32_t size, void *out)
{
	return (struct winapi_ioc_call){ .in = (uintptr_t)in,
					 .out = (uintptr_t)out,
					 .in_size = size,
					 .out_capacity = size,
					 .timeout_ms = PATIENCE_MS,
					 .api = WINAPI_API_ECHO };
}

static int status_errno(uint32_t status)
{
#define ERROR(name, value, error, nt, words) \
	case value: \
		return -(error);
	switch (status) {
		WINAPI_STATUS_TABLE(ERROR)
	default:
		return -EPROTO;
	}
#undef ERROR
}

int call(int fd, struct winapi_ioc_call *call)
{
	int err = device(fd, WINAPI_IOC_CALL, call);

	return err ? err : status_errno(call->status);
}

int echo(int fd)
{
	static const char text[] = "there and back";
	char out[sizeof(text)] = "";
	struct winapi_ioc_call c = echo_call(text, sizeof(text), out);
	int err = call(fd, &c);

	if (err)
		return err;
	return c.out_size == sizeof(text) && !memcmp(out, text, sizeof(text)) ? 0 : -EBADMSG;
}

int buffer_alloc(int fd, uint64_t length, uint32_t access, struct winapi_ioc_alloc *out)
{
	*out = (struct winapi_ioc_alloc){ .length = length, .access = access };
	return device(fd, WINAPI_IOC_ALLOC, out);
}

uint8_t *buffer_alloc_mapped(int fd, uint64_t length, uint32_t access, struct winapi_ioc_alloc *out)
{
	void *map;

	if (buffer_alloc(fd, length, access, out))
		return NULL;
	map = mmap(NULL, out->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)out->map_offset);
	return map == MAP_FAILED ? NULL : map;
}

int buffer_register(int fd, void *address, uint64_t length, uint32_t access, uint32_t *id)
{
	struct winapi_ioc_register r = { .address = (uintptr_t)address, .length = length, .access = access };
	int err = device(fd, WINAPI_IOC_REGISTER, &r);

	*id = r.id;
	return err;
}

int buffer_free(int fd, uint32_t id)
{
	struct winapi_ioc_free f = { .id = id };

	return device(fd, WINAPI_IOC_FREE, &f);
}

int buffer_crc(int fd, const struct winapi_ioc_buffer_ref *ref, uint32_t *crc)
{
	const struct winapi_buffer_test_request request = { 0 };
	uint64_t result = UINT64_MAX;
	struct winapi_ioc_call c = { .in = (uintptr_t)&request,
				     .out = (uintptr_t)&result,
				     .buffers = (uintptr_t)ref,
				     .in_size = sizeof(request),
				     .out_capacity = sizeof(result),
				     .buffer_count = 1,
				     .timeout_ms = PATIENCE_MS,
				     .api = WINAPI_API_BUFFER_TEST,
				     .method = WINAPI_BUFFER_TEST_READ };
	int err = call(fd, &c);

	*crc = (uint32_t)result;
	return err;
}

uint32_t crc32c(const uint8_t *data, size_t size)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

bool host_sees(int file, uint32_t id, const uint8_t *memory, size_t size)
{
	const struct winapi_ioc_buffer_ref ref = { .id = id, .access = HOST_READS, .length = size };
	uint32_t crc = 0;

	return !buffer_crc(file, &ref, &crc) && crc == crc32c(memory, size);
}

struct winapi_ioc_stats device_stats(int fd)
{
	struct winapi_ioc_stats stats = { 0 };

	device(fd, WINAPI_IOC_STATS, &stats);
	return stats;
}

struct winapi_ioc_info device_info(int fd)
{
	struct winapi_ioc_info info = { 0 };

	device(fd, WINAPI_IOC_INFO, &info);
	return info;
}

/* ---- Memory and children ------------------------------------------------------------------------------- */

uint8_t *fresh_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		bail("no memory");
	return memory;
}

int in_child(int (*act)(void *argument), void *argument)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(act(argument));
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* ---- What must not be left ----------------------------------------------------------------------------- */

static long vmstat(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "re");
	char key[64];
	long value, found = -1;

	while (file && fscanf(file, "%63s %ld", key, &value) == 2)
		if (!strcmp(key, name))
			found = value;
	if (file)
		fclose(file);
	return found;
}

bool pins_settle(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	long left;

	do {
		left = vmstat("nr_foll_pin_acquired") - vmstat("nr_foll_pin_released");
		if (left)
			usleep(10000);
	} while (left && now_ms() < end);
	if (left)
		printf("# %ld pages are still pinned\n", left);
	return !left;
}

uint64_t chance(struct chance *c)
{
	c->state = c->state * 6364136223846793005u + 1442695040888963407u;
	return c->state ^ c->state >> 29;
}
