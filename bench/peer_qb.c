/* SPDX-License-Identifier: MIT */
/* libqb's IPC over shared memory, as corosync uses it. */
#include "peer.h"

#include <qb/qbipcc.h>
#include <qb/qbipcs.h>
#include <qb/qbloop.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)1 << 20)
#define ROOM (CHUNK + 4096)

struct frame {
	struct qb_ipc_request_header header;
	char data[ROOM];
};

static qb_loop_t *loop;

static int32_t on_accept(qb_ipcs_connection_t *c, uid_t uid, gid_t gid)
{
	(void)c;
	(void)uid;
	(void)gid;
	return 0;
}

static int32_t on_message(qb_ipcs_connection_t *c, void *data, size_t size)
{
	static struct {
		struct qb_ipc_response_header header;
		char data[PEER_ECHO_MAX];
	} reply;
	struct frame *frame = data;
	uint32_t sum;
	size_t body = (size_t)frame->header.size - sizeof(frame->header);
	size_t answer = peer_answer(frame->data, body, &sum);

	(void)size;
	memcpy(reply.data, answer == body ? frame->data : (char *)&sum, answer);
	reply.header.id = frame->header.id;
	reply.header.size = (int32_t)(sizeof(reply.header) + answer);
	qb_ipcs_response_send(c, &reply, (size_t)reply.header.size);
	return 0;
}

static int32_t job_add(enum qb_loop_priority p, void *data, qb_loop_job_dispatch_fn fn)
{
	return qb_loop_job_add(loop, p, data, fn);
}

static int32_t dispatch_add(enum qb_loop_priority p, int32_t fd, int32_t events, void *data,
			    qb_ipcs_dispatch_fn_t fn)
{
	return qb_loop_poll_add(loop, p, fd, events, data, fn);
}

static int32_t dispatch_mod(enum qb_loop_priority p, int32_t fd, int32_t events, void *data,
			    qb_ipcs_dispatch_fn_t fn)
{
	return qb_loop_poll_mod(loop, p, fd, events, data, fn);
}

static int32_t dispatch_del(int32_t fd)
{
	return qb_loop_poll_del(loop, fd);
}

/* libqb names services, not files. */
static void service_name(const char *path, char *name, size_t room)
{
	snprintf(name, room, "%s", path + strlen("/tmp/"));
	for (char *c = name; *c; c++)
		if (*c == '/')
			*c = '-';
}

static void serve(const char *path)
{
	struct qb_ipcs_service_handlers handlers = { .connection_accept = on_accept,
						     .msg_process = on_message };
	struct qb_ipcs_poll_handlers poll = { job_add, dispatch_add, dispatch_mod, dispatch_del };
	qb_ipcs_service_t *service;
	char name[64];

	service_name(path, name, sizeof(name));
	loop = qb_loop_create();
	service = qb_ipcs_create(name, 0, QB_IPC_SHM, &handlers);
	qb_ipcs_poll_handlers_set(service, &poll);
	qb_ipcs_enforce_buffer_size(service, 2 * ROOM);
	if (qb_ipcs_run(service))
		bench_die("qb_ipcs_run");
	qb_loop_run(loop);
}

static qb_ipcc_connection_t *connection;

static void connect_to(const char *path)
{
	char name[64];

	service_name(path, name, sizeof(name));
	connection = qb_ipcc_connect(name, 2 * ROOM);
	if (!connection)
		bench_die("qb_ipcc_connect");
}

static size_t exchange(const void *data, size_t size, void *answer, size_t room)
{
	static struct frame frame;
	static struct {
		struct qb_ipc_response_header header;
		char data[PEER_ECHO_MAX];
	} reply;
	struct iovec iov;
	ssize_t n;

	frame.header.id = QB_IPC_MSG_USER_START;
	frame.header.size = (int32_t)(sizeof(frame.header) + size);
	memcpy(frame.data, data, size);
	iov.iov_base = &frame;
	iov.iov_len = (size_t)frame.header.size;
	n = qb_ipcc_sendv_recv(connection, &iov, 1, &reply, sizeof(reply), -1);
	if (n < (ssize_t)sizeof(reply.header) || (size_t)n - sizeof(reply.header) > room)
		return 0;
	memcpy(answer, reply.data, (size_t)n - sizeof(reply.header));
	return (size_t)n - sizeof(reply.header);
}

const struct peer peer = { "libqb", CHUNK, serve, connect_to, exchange, NULL };
