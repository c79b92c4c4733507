/* SPDX-License-Identifier: MIT */
/*
 * A record of vmbus-user on its way through the socket, for whoever sends or takes one on Linux.
 */
#ifndef WINAPI_VMBUS_USER_SOCKET_H
#define WINAPI_VMBUS_USER_SOCKET_H

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmbus_user.h"

/* `fd` goes along unless it is negative, and stays the caller's. 0 or -errno. */
static inline int vmbus_user_send(int to, uint32_t type, const void *payload, uint32_t size, int fd,
				  int flags)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct vmbus_user_header header = { .type = type, .size = size };
	struct iovec iov[] = { { &header, sizeof(header) }, { (void *)payload, size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	if (fd >= 0) {
		struct cmsghdr *c;

		message.msg_control = &control;
		message.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(to, &message, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Keeps the first of what descriptors came; more than one is a fault of the sender's. */
static inline int vmbus_user_take_fd(struct msghdr *message, int *fd)
{
	int err = message->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int one;

			memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*fd < 0) {
				*fd = one;
			} else {
				close(one);
				err = -EPROTO;
			}
		}
	}
	return err;
}

/*
 * `record` is a header, then room for payload, `room` bytes in all. 1: a record, whose payload is as long as its header
 * says. 0: none now. -ECONNRESET: the other side hung up, -EPROTO: it broke the rules, or another -errno. Whatever is
 * returned, *fd is the caller's to close unless it is -1.
 */
static inline int vmbus_user_receive(int from, void *record, size_t room, int *fd, int flags)
{
	union {
		char space[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct vmbus_user_header header;
	struct iovec iov = { record, room };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control.space) };
	ssize_t size = recvmsg(from, &message, flags | MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (vmbus_user_take_fd(&message, fd))
		return -EPROTO;
	if (!size)
		return -ECONNRESET;
	if (message.msg_flags & MSG_TRUNC || (size_t)size < sizeof(header))
		return -EPROTO;
	memcpy(&header, record, sizeof(header));
	return header.size == (size_t)size - sizeof(header) ? 1 : -EPROTO;
}

#endif
