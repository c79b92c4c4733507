/* SPDX-License-Identifier: MIT */
/*
 * The guest goes to sleep by /sys/power/pm_test with calls in flight: once while the host holds back some of a
 * file's SUBMIT and one that a process waits for in CALL, and once while small ones go to and fro. Against the
 * test back-end. As root.
 */
#include "backend.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLIGHT 8u

/* A way to sleep: pm_test, state, and what each call in flight ends with (0: it outlives the sleep). */
struct way {
	const char *what, *test, *state;
	int end;
};

static bool set(const char *path, const char *value)
{
	int file = open(path, O_WRONLY);
	ssize_t written = write(file, value, strlen(value));

	close(file);
	return written == (ssize_t)strlen(value);
}

static bool sleep_and_wake(const struct way *way)
{
	return set("/sys/power/pm_test", way->test) && set("/sys/power/state", way->state);
}

/* ---- Calls that the host holds back ---------------------------------------------------------------------- */

static int submit(int fd)
{
	struct winapi_ioc_call calls[FLIGHT];
	struct winapi_ioc_submit submit = { (uintptr_t)calls, FLIGHT, sizeof(calls[0]) };

	for (unsigned int i = 0; i < FLIGHT; i++)
		calls[i] = echo_call(NULL, 0, NULL);
	return device(fd, WINAPI_IOC_SUBMIT, &submit);
}

/* A process that waits in the kernel; its exit status is the error. */
static pid_t waiter(int fd)
{
	pid_t child = fork();

	if (!child)
		_exit(-echo(fd));
	return child;
}

static bool ended(pid_t child, int err)
{
	int status;

	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == -err;
}

/* How many of the records that are due say so. */
static unsigned int records(int fd, int result)
{
	struct winapi_ioc_completion record;
	unsigned int right = 0;

	for (unsigned int i = 0; i < FLIGHT; i++)
		right += read(fd, &record, sizeof(record)) == sizeof(record) && record.result == result;
	return right;
}

static unsigned int now_in_flight(void)
{
	FILE *file = fopen("/sys/class/winapi/winapi/statistics/in_flight", "r");
	unsigned int count = 0;

	if (!file || fscanf(file, "%u", &count) != 1)
		bail("no statistics of the device");
	fclose(file);
	return count;
}

static bool in_flight(unsigned int count)
{
	uint64_t until = now_ms() + PATIENCE_MS;

	while (now_in_flight() != count && now_ms() < until)
		usleep(1000);
	return now_in_flight() == count;
}

static uint64_t gpadls(int fd)
{
	struct backend_counters c = { 0 };

	backend_counters(fd, &c);
	return c.gpadls;
}

static void held_calls(const struct way *way)
{
	struct winapi_ioc_alloc a;
	int fd = device_await();
	uint64_t shared;
	pid_t child;

	if (buffer_alloc(fd, PAGE, HOST_READS, &a))
		bail("no buffer");
	shared = gpadls(fd);
	check_error(backend_number(fd, BACKEND_HOLD, FLIGHT + 2), 0, "%s: the host holds calls back",
		    way->what);
	child = waiter(fd);
	check(submit(fd) == (int)FLIGHT && in_flight(FLIGHT + 1), "%s: %u calls are in flight", way->what,
	      FLIGHT + 1);
	check(sleep_and_wake(way), "%s: slept and woke", way->what);
	if (!way->end) {
		check(!waitpid(child, NULL, WNOHANG) && in_flight(FLIGHT + 1), "%s: they still are",
		      way->what);
		check_error(backend_number(fd, BACKEND_HOLD, 0), 0, "%s: the host answers them", way->what);
	}
	check(ended(child, way->end), "%s: who waited gets %s", way->what,
	      way->end ? "-ECANCELED" : "a reply");
	check(records(fd, way->end) == FLIGHT, "%s: and so do those submitted", way->what);
	check_error(echo(fd), 0, "%s: the file goes on", way->what);
	check(gpadls(fd) == shared, "%s: with its buffer", way->what);
	close(fd);
}

/* ---- Calls to and fro ------------------------------------------------------------------------------------ */

struct small {
	int fd, err;
	_Atomic unsigned int done;
	_Atomic bool stop;
};

static void *small_calls(void *argument)
{
	struct small *s = argument;

	while (!s->err && !s->stop) {
		s->err = echo(s->fd);
		s->done++;
	}
	return NULL;
}

/* True when one more has its end. */
static bool progress(struct small *s)
{
	uint64_t until = now_ms() + PATIENCE_MS;
	unsigned int done = s->done;

	while (s->done == done && now_ms() < until)
		usleep(1000);
	return s->done != done;
}

static void busy_calls(const struct way *way)
{
	struct small s = { .fd = device_await() };
	pthread_t thread;

	pthread_create(&thread, NULL, small_calls, &s);
	check(progress(&s), "%s: calls go to and fro", way->what);
	check(sleep_and_wake(way), "%s: slept and woke beside them", way->what);
	check(progress(&s), "%s: they go on", way->what);
	s.stop = true;
	pthread_join(thread, NULL);
	check_error(s.err, 0, "%s: none failed", way->what);
	close(s.fd);
}

int main(void)
{
	/* From "platform" on hv_vmbus lets go of the host, and the driver's suspend and resume are called: the
	 * driver gives calls some time, then ends them. */
	static const struct way ways[] = {
		{ "suspend to idle, devices", "devices", "freeze", 0 },
		{ "hibernation, devices", "devices", "disk", 0 },
		{ "hibernation, platform", "platform", "disk", -ECANCELED },
		{ "hibernation, core", "core", "disk", -ECANCELED },
	};

	if (access("/sys/power/pm_test", W_OK)) {
		skip("this kernel has no pm_test");
		return finish();
	}
	set("/sys/module/suspend/parameters/pm_test_delay", "1"); /* seconds asleep; not on every kernel */
	for (unsigned int i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		held_calls(&ways[i]);
		busy_calls(&ways[i]);
	}
	check(set("/sys/power/pm_test", "none"), "no more tests of sleep");
	check(pins_settle(), "no page is left pinned");
	return finish();
}
