/* SPDX-License-Identifier: MIT */
/*
 * The limits of a host that allows little (vm_backend --small): the driver holds to them itself, with the right
 * error, and what is given back can be taken again.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend.h"

static int fd;

static void info(void)
{
	struct winapi_ioc_info i = device_info(fd);

	check(i.max_in_flight >= 1 && i.max_in_flight <= BACKEND_SMALL_IN_FLIGHT, "INFO: in flight");
	check(i.max_buffers == BACKEND_SMALL_BUFFERS, "INFO: buffers");
	check(i.max_buffer_size == BACKEND_SMALL_BUFFER_SIZE, "INFO: size of a buffer");
	check(i.max_bytes == BACKEND_SMALL_BYTES, "INFO: bytes");
}

static void sessions(void)
{
	int others[BACKEND_SMALL_SESSIONS];
	uint64_t end = now_ms() + PATIENCE_MS;

	for (unsigned int i = 1; i < BACKEND_SMALL_SESSIONS; i++) {
		others[i] = device_open();
		check(others[i] >= 0, "session %u of %u", i + 1, BACKEND_SMALL_SESSIONS);
	}
	check_error(device_open(), -EUSERS, "one more");
	check_error(echo(others[1]), 0, "the others go on");
	close(others[1]);
	do /* the host is told of the end in the background */
		others[1] = device_open();
	while (others[1] == -EUSERS && now_ms() < end);
	check(others[1] >= 0, "a session that ends makes room");
	for (unsigned int i = 1; i < BACKEND_SMALL_SESSIONS; i++)
		close(others[i]);
}

/* The driver is not to hang us if it waits: then nothing ends these calls. */
static int submit_in_child(struct winapi_ioc_submit *s)
{
	uint64_t end = now_ms() + PATIENCE_MS / 2;
	pid_t child = fork();
	int status;

	if (!child)
		_exit(-device(fd, WINAPI_IOC_SUBMIT, s) & 0xff);
	while (!waitpid(child, &status, WNOHANG) && now_ms() < end)
		usleep(10000);
	if (now_ms() < end)
		return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return -ETIME;
}

static void in_flight(void)
{
	uint32_t max = device_info(fd).max_in_flight, started = 0;
	int flags = fcntl(fd, F_GETFL), err = 1;
	char text[8] = "";
	struct winapi_ioc_call c = echo_call(NULL, 0, NULL), nothing = echo_call(text, sizeof(text), text);
	struct winapi_ioc_submit s = { (uintptr_t)&c, 1, sizeof(c) };
	struct winapi_ioc_completion record;

	c.timeout_ms = WINAPI_IOC_NO_TIMEOUT;
	check_error(backend_number(fd, BACKEND_HOLD, max), 0, "the host holds calls back");
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	for (started = 0; started < max - 1; started++)
		err = device(fd, WINAPI_IOC_SUBMIT, &s) == 1 ? err : 0;
	check(err == 1, "%u calls are started", max - 1);
	/* The last that may be in flight ends them all, so it must be the one that is refused no more. */
	check(read(fd, &record, sizeof(record)) < 0 && errno == EAGAIN, "none of them has ended");
	check_error(device(fd, WINAPI_IOC_SUBMIT, &s), 1, "and one more");
	fcntl(fd, F_SETFL, flags);
	for (started = 0;
	     started < max && read(fd, &record, sizeof(record)) == sizeof(record) && !record.result;)
		started++;
	check(started == max, "now all of them end");
	check_error(backend_number(fd, BACKEND_HOLD, max + 1), 0,
		    "the host holds back more than may be in flight");
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	for (started = 0; device(fd, WINAPI_IOC_SUBMIT, &s) == 1;)
		started++;
	check(started == max, "%u calls are started", max);
	check_error(device(fd, WINAPI_IOC_SUBMIT, &s), -EAGAIN, "SUBMIT of one more");
	check_error(device(fd, WINAPI_IOC_CALL, &nothing), -EAGAIN, "CALL of one more, without waiting");
	fcntl(fd, F_SETFL, flags);
	check_error(submit_in_child(&s), -EAGAIN, "SUBMIT of one more never waits, also where read() would");
	nothing.timeout_ms = 50;
	check_error(device(fd, WINAPI_IOC_CALL, &nothing), -ETIMEDOUT, "CALL of one more, waiting");
	check(ioctl(fd, WINAPI_IOC_SHUTDOWN, 0) == 0, "SHUTDOWN");
	for (started = 0; started < max && read(fd, &record, sizeof(record)) == sizeof(record);)
		started += record.result == -ECANCELED;
	check(started == max, "ends them all with -ECANCELED");
	check_error(echo(fd), -ECANCELED, "and any call after it");
	check_error(buffer_free(fd, 1), -ECANCELED, "and any other ioctl");
	close(fd);
	/* The host was told to stop them, so it answers, and they are in flight no more. */
	fd = device_open();
	check_error(backend_number(fd, BACKEND_HOLD, 0), 0, "another session goes on");
}

static void buffers(void)
{
	struct winapi_ioc_alloc a[BACKEND_SMALL_BUFFERS], more;
	int err = 0;

	for (unsigned int i = 0; i < BACKEND_SMALL_BUFFERS; i++)
		err = err ? err : buffer_alloc(fd, PAGE, 3, &a[i]);
	check_error(err, 0, "%u buffers", BACKEND_SMALL_BUFFERS);
	check_error(buffer_alloc(fd, PAGE, 3, &more), -ENOSPC, "ALLOC of one more");
	check_error(buffer_register(fd, &more, 8, 3, &more.id), -ENOSPC, "REGISTER of one more");
	check_error(buffer_free(fd, a[0].id), 0, "FREE of one");
	check_error(buffer_alloc(fd, PAGE, 3, &a[0]), 0, "makes room");
	for (unsigned int i = 0; i < BACKEND_SMALL_BUFFERS; i++)
		err = err ? err : buffer_free(fd, a[i].id);
	check_error(err, 0, "FREE of all");
}

static void bytes(void)
{
	uint64_t size = BACKEND_SMALL_BUFFER_SIZE;
	struct winapi_ioc_alloc a[2], more;

	check_error(buffer_alloc(fd, size + 1, 3, &more), -E2BIG, "ALLOC of more than a buffer may have");
	check_error(buffer_alloc(fd, size, 3, &a[0]), 0, "half of the bytes");
	check_error(buffer_alloc(fd, size, 3, &a[1]), 0, "the other half");
	check_error(buffer_alloc(fd, 1, 3, &more), -ENOSPC, "a byte more");
	check(device_stats(fd).buffer_bytes <= BACKEND_SMALL_BYTES, "STATS says no more");
	check_error(buffer_free(fd, a[0].id), 0, "FREE of a half");
	check_error(buffer_alloc(fd, size, 3, &a[0]), 0, "which can be had again");
	check_error(buffer_free(fd, a[0].id), 0, "FREE");
	check_error(buffer_free(fd, a[1].id), 0, "FREE");
}

int main(void)
{
	fd = device_await();
	info();
	sessions();
	in_flight();
	buffers();
	bytes();
	check_error(echo(fd), 0, "an echo at the end");
	close(fd);
	check(pins_settle(), "no page is left pinned");
	return finish();
}
