/* SPDX-License-Identifier: MIT */
/* ZeroMQ over ipc: a DEALER asks, a ROUTER answers. */
#include "peer.h"

#include <string.h>
#include <zmq.h>

static void *socket_of(int type)
{
	return zmq_socket(zmq_ctx_new(), type);
}

static void serve(const char *path)
{
	void *router = socket_of(ZMQ_ROUTER);
	char address[128];
	uint32_t sum;

	snprintf(address, sizeof(address), "ipc://%s", path);
	if (zmq_bind(router, address))
		bench_die("zmq_bind");
	for (;;) {
		zmq_msg_t from, body;
		size_t size, answer;

		zmq_msg_init(&from);
		zmq_msg_init(&body);
		if (zmq_msg_recv(&from, router, 0) < 0 || zmq_msg_recv(&body, router, 0) < 0)
			bench_die("zmq_msg_recv");
		zmq_msg_send(&from, router, ZMQ_SNDMORE);
		size = zmq_msg_size(&body);
		answer = peer_answer(zmq_msg_data(&body), size, &sum);
		if (answer == size) {
			zmq_msg_send(&body, router, 0);
		} else {
			zmq_send(router, &sum, sizeof(sum), 0);
			zmq_msg_close(&body);
		}
	}
}

static void *dealer;

static void connect_to(const char *path)
{
	char address[128];

	dealer = socket_of(ZMQ_DEALER);
	snprintf(address, sizeof(address), "ipc://%s", path);
	if (zmq_connect(dealer, address))
		bench_die("zmq_connect");
}

static size_t exchange(const void *data, size_t size, void *answer, size_t room)
{
	int n;

	zmq_send(dealer, data, size, 0);
	n = zmq_recv(dealer, answer, room, 0);
	return n < 0 ? 0 : (size_t)n;
}

static void pipeline(unsigned int count)
{
	char data[64] = "x", answer[64];
	unsigned int sent = 0, got = 0;

	while (got < count) {
		for (; sent < count && sent - got < IN_FLIGHT; sent++)
			zmq_send(dealer, data, sizeof(data), 0);
		zmq_recv(dealer, answer, sizeof(answer), 0);
		got++;
	}
}

const struct peer peer = { "zeromq", BULK_SIZE, serve, connect_to, exchange, pipeline };
