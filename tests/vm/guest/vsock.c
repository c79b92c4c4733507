/* SPDX-License-Identifier: MIT */
/*
 * AF_VSOCK beside VMBus: the same work over a stream, 64 bytes there and back, and 64 MiB sent and its CRC32C
 * answered.
 * Usage: vm_vsock serve | vm_vsock ROUNDS (in the guest; prints two figures)
 */
#include <linux/vm_sockets.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../../host/provider/memory_ops.h"

#define PORT 5000u
#define SMALL 64u
#define BULK (64u << 20)
#define CHUNK (256u << 10)

static uint8_t chunk[CHUNK];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static bool take(int fd, void *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = read(fd, (char *)data + at, size - at);

		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static void give(int fd, const void *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = send(fd, (const char *)data + at, size - at, MSG_NOSIGNAL);

		if (n <= 0)
			fail("send");
		at += (size_t)n;
	}
}

/* Small messages come back as they are; one that begins with 0xff announces a bulk. */
static void serve(int fd)
{
	while (take(fd, chunk, SMALL)) {
		uint32_t crc = 0;

		if (chunk[0] != 0xff) {
			give(fd, chunk, SMALL);
			continue;
		}
		for (size_t at = 0; at < BULK; at += CHUNK) {
			if (!take(fd, chunk, CHUNK))
				return;
			crc = memory_crc32c(crc, chunk, CHUNK);
		}
		give(fd, &crc, sizeof(crc));
	}
}

static int listen_and_serve(void)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_ANY };
	int listener = socket(AF_VSOCK, SOCK_STREAM, 0), fd;

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 1))
		fail("AF_VSOCK");
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		serve(fd);
		close(fd);
	}
	return 1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure_small(int fd, unsigned int rounds)
{
	uint64_t *took = calloc(rounds, sizeof(*took));
	uint8_t message[SMALL] = { 1 };

	if (!took)
		fail("memory");
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t begin = now_ns();

		give(fd, message, SMALL);
		if (!take(fd, message, SMALL))
			fail("the host");
		took[i] = now_ns() - begin;
	}
	qsort(took, rounds, sizeof(*took), by_value);
	printf("# figure vsock_echo64 %.3f us\n", (double)took[rounds / 2] / 1e3);
	free(took);
}

static void measure_bulk(int fd)
{
	uint8_t message[SMALL] = { 0xff };
	uint64_t begin = now_ns();
	uint32_t crc = 0, theirs;

	give(fd, message, SMALL);
	for (size_t at = 0; at < BULK; at += CHUNK)
		give(fd, chunk, CHUNK);
	if (!take(fd, &theirs, sizeof(theirs)))
		fail("the host");
	printf("# figure vsock_64m %.3f GB/s\n", (double)BULK / (double)(now_ns() - begin));
	for (size_t at = 0; at < BULK; at += CHUNK)
		crc = memory_crc32c(crc, chunk, CHUNK);
	if (crc != theirs) {
		fprintf(stderr, "vm_vsock: other bytes arrived\n");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_HOST };
	int fd;

	if (argc > 1 && !strcmp(argv[1], "serve"))
		return listen_and_serve();
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("AF_VSOCK");
	memset(chunk, 0x5a, sizeof(chunk));
	measure_small(fd, argc > 1 ? (unsigned int)atoi(argv[1]) : 1000);
	measure_bulk(fd);
	return 0;
}
