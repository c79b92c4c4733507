/* SPDX-License-Identifier: MIT */
/*
 * SIGTERM lets the calls that the daemon has taken come to their end: each is answered, and well, before the daemon
 * ends with status 0. Usage: drain HOSTD
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw_guest.h"

#define CALLS 24u /* some 15 ms each on one of at most four workers; the daemon waits for 5 s */
#define FIRST_ID 100u

static struct raw_guest g;
static char folder[] = "/tmp/winapi-drain-XXXXXX";
static char path[100];

static pid_t start_host(const char *hostd)
{
	pid_t pid;

	if (!mkdtemp(folder))
		exit(1);
	snprintf(path, sizeof(path), "%s/s", folder);
	pid = fork();
	if (!pid) {
		execl(hostd, hostd, "--socket", path, "--log-level", "error", NULL);
		_exit(127);
	}
	while (access(path, F_OK) && !waitpid(pid, NULL, WNOHANG))
		usleep(1000);
	return pid;
}

/* The host has read them all, so it has taken them. */
static bool start_calls(void)
{
	uint64_t handle = raw_register(&g, 1, VMBUS_GPADL_HEADER_PFNS);

	for (unsigned int i = 0; handle && i < CALLS; i++)
		raw_send_throughput(&g, FIRST_ID + i, handle, VMBUS_GPADL_HEADER_PFNS,
				    WINAPI_PERF_MAX_ITERATIONS);
	while (handle && !g.gone && VMBUS_RING_LOAD(&g.up->read_index) != g.up_write)
		usleep(100);
	return handle;
}

static unsigned int count_answers(void)
{
	struct winapi_msg_header reply;
	unsigned int count = 0;

	while (count < CALLS && raw_reply(&g, &reply, NULL, 0) && !reply.status)
		count++;
	return count;
}

int main(int argc, char **argv)
{
	unsigned int answered = 0;
	bool good, ended;
	pid_t host;
	int status;

	if (argc != 2)
		return 2;
	host = start_host(argv[1]);
	printf("1..2\n");
	good = raw_start(&g, path, RAW_SESSION) && start_calls();
	kill(host, SIGTERM);
	if (good)
		answered = count_answers();
	good = answered == CALLS;
	printf("%s 1 - calls are answered after SIGTERM\n", good ? "ok" : "not ok");
	if (!good)
		printf("# %u of %u\n", answered, CALLS);
	ended = waitpid(host, &status, 0) == host && WIFEXITED(status) && !WEXITSTATUS(status);
	printf("%s 2 - and the daemon ends with status 0\n", ended ? "ok" : "not ok");
	raw_end(&g);
	rmdir(folder);
	return !good || !ended;
}
