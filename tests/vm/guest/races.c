/* SPDX-License-Identifier: MIT */
/*
 * Calls on a buffer, while other threads free it and close the file or shut it down. Whoever comes first, each
 * gets a clear answer and everything is given back. Against winapi-hostd.
 */
#include "guest.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fd;

#define RACES 30
#define RACERS 4

struct race {
	int fd;
	uint32_t id;
	int worst; /* the first error that may not be */
};

static bool may_be(int err)
{
	return !err || err == -EBADF || err == -ENOENT || err == -EBUSY || err == -ECANCELED ||
	       err == -EAGAIN;
}

static void *race_calls(void *argument)
{
	struct race *r = argument;

	for (int i = 0; i < 10; i++) {
		struct winapi_ioc_buffer_ref ref = { .id = r->id, .access = 1, .length = PAGE };
		uint32_t crc;
		int err = buffer_crc(r->fd, &ref, &crc);

		if (!may_be(err))
			r->worst = err;
	}
	return NULL;
}

static void *race_frees(void *argument)
{
	struct race *r = argument;
	int err;

	do
		err = buffer_free(r->fd, r->id);
	while (err == -EBUSY);
	if (!may_be(err))
		r->worst = err;
	return NULL;
}

static void *race_close(void *argument)
{
	struct race *r = argument;

	usleep(1000);
	close(r->fd);
	return NULL;
}

static void *race_shutdown(void *argument)
{
	struct race *r = argument;

	usleep(1000);
	ioctl(r->fd, WINAPI_IOC_SHUTDOWN, 0);
	return NULL;
}

/* Calls on a buffer, while it is freed and the file closed or shut down under them. */
static void races(const char *name, void *(*end)(void *))
{
	int worst = 0;

	for (int i = 0; i < RACES; i++) {
		struct winapi_ioc_alloc a;
		struct race r = { .fd = device_open() };
		pthread_t threads[RACERS + 2];

		if (r.fd < 0 || buffer_alloc(r.fd, PAGE, 1, &a))
			bail("no buffer to race for");
		r.id = a.id;
		for (int t = 0; t < RACERS; t++)
			pthread_create(&threads[t], NULL, race_calls, &r);
		pthread_create(&threads[RACERS], NULL, race_frees, &r);
		pthread_create(&threads[RACERS + 1], NULL, end, &r);
		for (int t = 0; t < RACERS + 2; t++)
			pthread_join(threads[t], NULL);
		worst = r.worst ? r.worst : worst;
		if (end != race_close)
			close(r.fd);
	}
	check_error(worst, 0, "%d races of calls, free and %s", RACES, name);
	check_error(echo(fd), 0, "an echo after them");
}

int main(void)
{
	fd = device_await();
	races("close", race_close);
	races("shutdown", race_shutdown);
	close(fd);
	check(pins_settle(), "no page is left pinned");
	return finish();
}
