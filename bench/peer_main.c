/* SPDX-License-Identifier: MIT */
/* Measures the peer that it is linked with. Usage: peer_NAME COUNT PAUSED_COUNT */
#include "peer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../host/provider/memory_ops.h"

size_t peer_answer(const void *data, size_t size, uint32_t *answer)
{
	if (size <= PEER_ECHO_MAX)
		return size;
	*answer = memory_crc32c(0, data, size);
	return sizeof(*answer);
}

static struct message {
	char data[3000];
	char answer[PEER_ECHO_MAX];
	size_t size;
} message;

static void call(void *arg)
{
	(void)arg;
	if (peer.exchange(message.data, message.size, message.answer, sizeof(message.answer)) !=
		    message.size ||
	    memcmp(message.data, message.answer, message.size))
		bench_die("an echo came back wrong");
}

static void latency(const char *what, size_t size, unsigned int count, bool paused, pid_t server)
{
	char name[64];

	message.size = size;
	memset(message.data, 0x5a, size);
	snprintf(name, sizeof(name), "%s_%s", peer.name, what);
	bench_row_latency(name, bench_latency(call, NULL, count, paused, server));
}

static void rate(unsigned int count)
{
	char name[64];
	uint64_t begin = bench_now();

	peer.pipeline(count);
	snprintf(name, sizeof(name), "%s_64_in_flight", peer.name);
	bench_row(name, (double)count * 1e9 / (double)(bench_now() - begin), "calls/s");
}

static void send_bulk(const uint8_t *data)
{
	for (size_t at = 0; at < BULK_SIZE; at += peer.chunk) {
		uint32_t answer = 0;

		if (peer.exchange(data + at, peer.chunk, &answer, sizeof(answer)) != sizeof(answer) ||
		    answer != memory_crc32c(0, data + at, peer.chunk))
			bench_die("a checksum came back wrong");
	}
}

/* Sent and checked: the checksum that the sender compares with is subtracted, as it is no part of sending. */
static void bulk(void)
{
	uint8_t *data = malloc(BULK_SIZE);
	uint64_t begin, own;
	char name[64];

	if (!data)
		bench_die("malloc");
	memory_fill(data, BULK_SIZE, 1, 0);
	send_bulk(data);
	begin = bench_now();
	for (int i = 0; i < 4; i++)
		send_bulk(data);
	own = bench_now();
	begin = own - begin;
	for (int i = 0; i < 4; i++)
		for (size_t at = 0; at < BULK_SIZE; at += peer.chunk)
			message.answer[0] = (char)memory_crc32c(0, data + at, peer.chunk);
	own = bench_now() - own;
	snprintf(name, sizeof(name), "%s_64m", peer.name);
	bench_row(name, 4.0 * (double)BULK_SIZE / (double)(begin - own), "GB/s");
	free(data);
}

int main(int argc, char **argv)
{
	unsigned int count = argc > 2 ? (unsigned int)atoi(argv[1]) : 0;
	unsigned int paused = argc > 2 ? (unsigned int)atoi(argv[2]) : 0;
	char folder[] = "/tmp/winapi-bench-XXXXXX", address[64];
	pid_t server;

	if (!count || !paused)
		return fprintf(stderr, "usage: %s COUNT PAUSED_COUNT\n", argv[0]), 2;
	if (!mkdtemp(folder))
		bench_die("mkdtemp");
	snprintf(address, sizeof(address), "%s/s", folder);
	server = fork();
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bench_pin(SERVER_CPU);
		peer.serve(address);
		_exit(0);
	}
	bench_pin(CLIENT_CPU);
	usleep(200000);
	peer.connect(address);
	latency("64", 64, count, false, server);
	latency("3000", 3000, count, false, server);
	latency("64_paused", 64, paused, true, server);
	latency("3000_paused", 3000, paused, true, server);
	bulk();
	if (peer.pipeline) /* last: a peer need not come back from it */
		rate(count * 20);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	unlink(address);
	rmdir(folder);
	return 0;
}
