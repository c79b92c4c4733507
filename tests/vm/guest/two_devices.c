/* SPDX-License-Identifier: MIT */
/*
 * A host that offers two devices: each has its own node, sessions and buffers, and when one goes its calls end and
 * the other's go on. Against vm_backend.
 */
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "backend.h"

#define SECOND "/dev/winapi1"
#define ROUNDS 5u

static int fd;

static int await_second(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	int second;

	do {
		second = open(SECOND, O_RDWR | O_CLOEXEC);
		if (second >= 0 && !echo(second))
			return second;
		if (second >= 0)
			close(second);
		usleep(20000);
	} while (now_ms() < end);
	bail(SECOND " doesn't come");
}

static bool second_goes(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;

	while (!access(SECOND, F_OK) && now_ms() < end)
		usleep(20000);
	return access(SECOND, F_OK) && errno == ENOENT;
}

static void side_by_side(int second)
{
	struct winapi_ioc_alloc a, b;
	int err = 0;

	for (unsigned int i = 0; i < 20 && !err; i++) {
		err = echo(fd);
		if (!err)
			err = echo(second);
	}
	check_error(err, 0, "calls on both, by turns");
	check_error(buffer_alloc(fd, 5 * PAGE, 3, &a), 0, "a buffer of the first");
	check_error(buffer_alloc(second, 7 * PAGE, 3, &b), 0, "a buffer of the second");
	check(device_stats(fd).buffer_bytes == 5 * PAGE && device_stats(second).buffer_bytes == 7 * PAGE,
	      "each counts its own");
	check_error(buffer_free(fd, a.id), 0, "the first is freed");
	check_error(echo(second), 0, "the second goes on, with a buffer");
}

/* With calls of both in flight, as the host holds them back. */
static void one_goes(int second)
{
	struct winapi_ioc_call c = echo_call(NULL, 0, NULL);
	struct winapi_ioc_submit s = { (uintptr_t)&c, 1, sizeof(c) };
	struct winapi_ioc_completion record = { 0 };
	struct pollfd p = { second, POLLIN, 0 };

	check_error(backend_number(fd, BACKEND_HOLD, 3), 0, "the host holds calls back");
	check_error(device(fd, WINAPI_IOC_SUBMIT, &s), 1, "a call on the first");
	check_error(backend_number(fd, BACKEND_SECOND, 0), 0, "the host takes the second back");
	check(poll(&p, 1, (int)PATIENCE_MS) == 1, "its file wakes up");
	check(read(second, &record, sizeof(record)) == 0, "and says that it's the end");
	check_error(echo(second), -ENODEV, "calls on the second");
	check(second_goes(), "its node is gone");
	p.fd = fd;
	check(!poll(&p, 1, 0), "the first's call is still in flight");
	check_error(backend_number(fd, BACKEND_HOLD, 0), 0, "the host answers it");
	check(read(fd, &record, sizeof(record)) == sizeof(record) && !record.result, "and it ends well");
}

int main(void)
{
	fd = device_await();
	for (unsigned int i = 0; i < ROUNDS; i++) {
		int second;

		check_error(backend_number(fd, BACKEND_SECOND, 1), 0, "the host offers a second device");
		second = await_second();
		side_by_side(second);
		one_goes(second);
		close(second);
	}
	close(fd);
	return finish();
}
