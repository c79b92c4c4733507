/* SPDX-License-Identifier: MIT */
/* nng over ipc: req and rep, one call at a time. */
#include "peer.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <string.h>

static void serve(const char *path)
{
	char address[128];
	nng_socket rep;
	uint32_t sum;

	snprintf(address, sizeof(address), "ipc://%s", path);
	if (nng_rep0_open(&rep) || nng_socket_set_size(rep, NNG_OPT_RECVMAXSZ, 2 * BULK_SIZE) ||
	    nng_listen(rep, address, NULL, 0))
		bench_die("nng_listen");
	for (;;) {
		nng_msg *message;
		size_t size;

		if (nng_recvmsg(rep, &message, 0))
			return;
		size = nng_msg_len(message);
		if (peer_answer(nng_msg_body(message), size, &sum) != size) {
			nng_msg_clear(message);
			nng_msg_append(message, &sum, sizeof(sum));
		}
		if (nng_sendmsg(rep, message, 0))
			return;
	}
}

static nng_socket req;

static void connect_to(const char *path)
{
	char address[128];

	snprintf(address, sizeof(address), "ipc://%s", path);
	if (nng_req0_open(&req) || nng_socket_set_size(req, NNG_OPT_RECVMAXSZ, 2 * BULK_SIZE) ||
	    nng_dial(req, address, NULL, 0))
		bench_die("nng_dial");
}

static size_t exchange(const void *data, size_t size, void *answer, size_t room)
{
	if (nng_send(req, (void *)data, size, 0) || nng_recv(req, answer, &room, 0))
		return 0;
	return room;
}

const struct peer peer = { "nng", BULK_SIZE, serve, connect_to, exchange, NULL };
