/* SPDX-License-Identifier: MIT */
/*
 * Clients that come and go leave no memory behind in the daemon. What each has room for must be fresh from the kernel
 * and untouched, not recycled and zeroed; so it is resident pages that are counted.
 * Usage: churn --transport local:PATH
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../include/winapi.h"

#define CLIENTS 20
#define ROUNDS 12
#define MOST_KIB 12288 /* 1 MiB is usual; 70 where what clients had room for is recycled */

static const char *uri;

/* The daemon, which listens there. */
static pid_t daemon_pid(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	strncpy(address.sun_path, uri + strlen("local:"), sizeof(address.sun_path) - 1);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		perror("# peer");
	close(fd);
	return peer.pid;
}

static long resident_kib(pid_t pid)
{
	char path[32], line[256];
	long kib = -1;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "RssAnon: %ld kB", &kib) == 1)
			break;
	if (status)
		fclose(status);
	return kib;
}

static bool replace(struct winapi **client)
{
	char in = 1, out = 0;

	winapi_close(*client);
	*client = NULL;
	return !winapi_open(client, uri, NULL) && !winapi_echo(*client, &in, &out, 1);
}

int main(int argc, char **argv)
{
	struct winapi *clients[CLIENTS] = { NULL };
	bool good = true;
	long before, after;
	pid_t pid;

	if (argc != 3 || strncmp(argv[2], "local:", 6))
		return 2;
	uri = argv[2];
	pid = daemon_pid();
	printf("1..1\n");
	for (int i = 0; i < CLIENTS; i++)
		good = replace(&clients[i]) && good;
	before = resident_kib(pid);
	srand(1);
	for (int i = 0; i < ROUNDS * CLIENTS / 2; i++)
		good = replace(&clients[rand() % CLIENTS]) && good;
	after = resident_kib(pid);
	for (int i = 0; i < CLIENTS; i++)
		winapi_close(clients[i]);
	printf("# the daemon has %ld KiB of its own, before %ld\n", after, before);
	good = good && after >= 0 && after < MOST_KIB;
	printf("%s 1 - clients that come and go leave no memory behind\n", good ? "ok" : "not ok");
	return !good;
}
