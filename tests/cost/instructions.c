/* SPDX-License-Identifier: MIT */
/*
 * Makes small calls with client and provider in one thread, in steps: submit, one turn of the host,
 * complete. Nothing depends on time there, so callgrind's count of instructions is exact. Bring-up isn't
 * counted: it needs two threads, whose turns are never the same. instructions.py runs this; by itself it
 * prints how many allocations the calls made, which must be none.
 *
 * Usage: instructions CALLS
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../host/linux/hostd.h"
#include "winapi.h"

static unsigned long allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations++;
	return __libc_calloc(count, size);
}

static struct hostd *hostd;
static char uri[128];

static int listen_somewhere(char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	if (!mkdtemp(folder))
		return -1;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", folder);
	snprintf(uri, sizeof(uri), "local:%s", address.sun_path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		return -1;
	return fd;
}

static void *open_client(void *handle)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;

	options.poll = WINAPI_POLL_NEVER;
	return (void *)(intptr_t)winapi_open(handle, uri, &options);
}

/* Bring-up needs both sides at once; from then on this thread plays both. */
static struct winapi *connect_both(int listener)
{
	struct winapi *handle = NULL;
	pthread_t thread;
	void *err;
	int fd;

	if (pthread_create(&thread, NULL, open_client, &handle))
		return NULL;
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 || hostd_add_guest(hostd, fd))
		return NULL;
	while (pthread_tryjoin_np(thread, &err) == EBUSY)
		hostd_step(hostd);
	return err ? NULL : handle;
}

/* By its name callgrind knows what to count. */
__attribute__((noinline)) static int call_once(struct winapi *handle, const char *in, char *out)
{
	struct winapi_call call = WINAPI_CALL_INIT;
	struct winapi_completion completion;
	int n;

	call.api = 1;
	call.in = in;
	call.in_size = 64;
	call.out = out;
	call.out_capacity = 64;
	if (winapi_submit(handle, &call, 1) != 1)
		return -1;
	do {
		hostd_poll_rings(hostd);
		n = winapi_complete(handle, &completion, 1, 0);
	} while (n == 0);
	if (n != 1 || completion.result)
		fprintf(stderr, "%d: %s\n", n, winapi_error_message());
	return n == 1 && !completion.result ? 0 : -1;
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/winapi-cost-XXXXXX", path[64];
	char in[64] = "counted", out[64] = "";
	struct hostd_config config;
	struct winapi *handle;
	unsigned long before;
	int listener = listen_somewhere(folder), failed = 0;

	config_defaults(&config);
	config.poll = HOSTD_POLL_ALWAYS;
	config.log_level = WP_LOG_ERROR;
	hostd = hostd_create(&config, 1);
	handle = hostd && listener >= 0 ? connect_both(listener) : NULL;
	snprintf(path, sizeof(path), "%s/s", folder);
	unlink(path);
	rmdir(folder);
	if (!handle) {
		fprintf(stderr, "no connection: %s\n", winapi_error_message());
		return 1;
	}
	for (int i = 0; i < 100 && !failed; i++)
		failed = call_once(handle, in, out);
	before = allocations;
	for (int i = argc > 1 ? atoi(argv[1]) : 1000; i > 0 && !failed; i--)
		failed = call_once(handle, in, out);
	before = allocations - before;
	printf("%lu allocations\n", before);
	return failed || memcmp(in, out, sizeof(in)) || before;
}
