/* SPDX-License-Identifier: MIT */
/* A plain Unix stream socket, with a length before each message. */
#include "peer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int connection = -1;

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, path, strlen(path));
	return address;
}

static void read_all(int fd, void *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = read(fd, (char *)data + at, size - at);

		if (n <= 0)
			_exit(0);
		at += (size_t)n;
	}
}

static void write_message(int fd, const void *data, size_t size)
{
	uint32_t length = (uint32_t)size;
	struct iovec iov[2] = { { &length, sizeof(length) }, { (void *)data, size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	size_t left = sizeof(length) + size;

	while (left) {
		ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (n <= 0)
			bench_die("sendmsg");
		left -= (size_t)n;
		for (int i = 0; i < 2 && n; i++) {
			size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (char *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
}

/* A length that says: from now on 64-byte messages without any, sent back as they come. */
#define RAW UINT32_MAX

static void serve_raw(int fd)
{
	static char data[65536];
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
			_exit(0);
	_exit(0);
}

static size_t read_message(int fd, void *data, size_t room)
{
	uint32_t length;

	read_all(fd, &length, sizeof(length));
	if (length == RAW)
		serve_raw(fd);
	if (length > room)
		bench_die("message too long");
	read_all(fd, data, length);
	return length;
}

static void serve(const char *path)
{
	struct sockaddr_un address = address_of(path);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	char *data = malloc(BULK_SIZE);
	uint32_t sum;
	int fd;

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1))
		bench_die("bind");
	fd = accept(listener, NULL, NULL);
	for (;;) {
		size_t size = read_message(fd, data, BULK_SIZE);
		size_t answer = peer_answer(data, size, &sum);

		write_message(fd, answer == size ? data : (char *)&sum, answer);
	}
}

static void connect_to(const char *path)
{
	struct sockaddr_un address = address_of(path);

	connection = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(connection, (struct sockaddr *)&address, sizeof(address)))
		bench_die("connect");
}

static size_t exchange(const void *data, size_t size, void *answer, size_t room)
{
	write_message(connection, data, size);
	return read_message(connection, answer, room);
}

/* As fast as a stream goes: whatever fits the window is written at once, whatever came is read at once. */
static void pipeline(unsigned int count)
{
	static char data[IN_FLIGHT * 64], answers[65536];
	uint64_t total = (uint64_t)count * 64, sent = 0, got = 0;
	uint32_t raw = RAW;

	if (send(connection, &raw, sizeof(raw), MSG_NOSIGNAL) != sizeof(raw))
		bench_die("send");
	while (got < total) {
		uint64_t window = sizeof(data) - (sent - got);
		ssize_t n;

		if (window > total - sent)
			window = total - sent;
		if (window && send(connection, data, window, MSG_NOSIGNAL) != (ssize_t)window)
			bench_die("send");
		sent += window;
		n = read(connection, answers, sizeof(answers));
		if (n <= 0)
			bench_die("read");
		got += (uint64_t)n;
	}
}

const struct peer peer = { "unix", BULK_SIZE, serve, connect_to, exchange, pipeline };
