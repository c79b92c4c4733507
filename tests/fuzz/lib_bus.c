/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what libwinapi makes of a hostile host's socket: records with descriptors, control messages in them, raw
 * bytes and silence, at every step from the introduction to the teardown of a buffer. The input is a list of steps:
 * a byte that says what, a byte of size, then that many bytes.
 *
 * The handle is made by hand and has no patience: what the host has to say to a step is in the socket before it, and
 * what isn't there is silence. After each input no descriptor may be left.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../guest/lib/local/local.h"

#define FDS_MAX 5u /* more than the receiver has room for */
#define GPA 0x100000ull

static struct {
	struct local local;
	int socket; /* the host's end */
	int event;
	unsigned int open_files;
	uint32_t gpadl;
} f;

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "lib_bus: %s\n", what);
	abort();
}

static unsigned int count_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;

	require(folder, "no /proc");
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/* ---- The host ----------------------------------------------------------------------------------------- */

/* With `count` descriptors, of which the odd ones are sockets. */
static void put(const void *data, size_t size, unsigned int count)
{
	union {
		char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	int fds[FDS_MAX];
	struct iovec iov = { (void *)data, size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c = (struct cmsghdr *)control.space;

	for (unsigned int i = 0; i < FDS_MAX; i++)
		fds[i] = i & 1 ? f.socket : f.event;
	if (count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	if (f.socket >= 0 && sendmsg(f.socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return; /* full: it is lost, as on any host that doesn't wait */
}

/* `claimed`: how much more its header says than there is. */
static void put_record(uint32_t type, const uint8_t *payload, uint32_t size, unsigned int fds,
		       uint32_t claimed)
{
	struct {
		struct vmbus_user_header header;
		uint8_t payload[512];
	} record = { .header = { type, size + claimed } };

	memcpy(record.payload, payload, size);
	put(&record, sizeof(record.header) + size, fds);
}

static void put_message(const uint8_t *data, uint32_t size)
{
	uint8_t out[8 + 255] = { 0 };

	memcpy(out + 8, data, size);
	put_record(VMBUS_USER_HOST_MESSAGE, out, 8 + size, 0, 0);
}

static void hang_up(void)
{
	if (f.socket >= 0)
		close(f.socket);
	f.socket = -1;
}

/* What the library sent isn't looked at; but there must be room for more. */
static void read_all(void)
{
	uint8_t record[1024];

	while (f.socket >= 0 && recv(f.socket, record, sizeof(record), MSG_DONTWAIT) > 0)
		;
}

/* ---- The library -------------------------------------------------------------------------------------- */

static int connect_bus(void)
{
	int err;

	lock_take(&f.local.bus_lock);
	err = bus_connect(&f.local, 0);
	lock_drop(&f.local.bus_lock);
	require(err || (f.local.offered && f.local.kick_fd >= 0), "connected without an offer or a kick");
	return err;
}

static int act(uint8_t what, uint64_t pages)
{
	const struct piece rings = { .gpa = GPA, .size = 4 * VMBUS_PAGE_SIZE };
	uint64_t gpa = GPA + pages * VMBUS_PAGE_SIZE;

	switch (what) {
	case 0:
		return connect_bus();
	case 1:
		return bus_open_channel(&f.local, &rings, VMBUS_PAGE_SIZE, 0);
	case 2:
		return bus_add_region(&f.local, gpa, VMBUS_PAGE_SIZE, f.event, 0);
	case 3:
		return bus_remove_region(&f.local, gpa, 0);
	case 4:
		return bus_gpadl_create(&f.local, GPA, pages + 1, &f.gpadl, 0);
	case 5:
		return bus_gpadl_teardown(&f.local, f.gpadl, 0);
	default:
		bus_look(&f.local);
		return 0;
	}
}

static void check_act(uint8_t what, uint64_t pages)
{
	bool lost = f.local.lost;
	int err = act(what, pages);

	require(err <= 0 && err > -4096, "a result that is no errno");
	require(err || !lost || what > 5, "done, with a host that is gone");
	require(!err || *winapi_error_message(), "failed without a word");
	read_all();
}

/* ---- Steps -------------------------------------------------------------------------------------------- */

static void step(uint8_t what, const uint8_t *data, size_t size)
{
	unsigned int more = what / 4u;

	switch (what % 4) {
	case 0:
		if (size)
			put_record(data[0], data + 1, (uint32_t)size - 1, more % (FDS_MAX + 1), more / 32);
		break;
	case 1:
		put_message(data, (uint32_t)size);
		break;
	case 2:
		if (more == 63)
			hang_up();
		else
			put(data, size, more % (FDS_MAX + 1));
		break;
	default:
		check_act(more % 8, size ? data[0] : 0);
	}
}

/* ---- Beginning and end -------------------------------------------------------------------------------- */

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	f.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	require(f.event >= 0, "no eventfd");
	return 0;
}

static void begin(void)
{
	struct local *l = &f.local;
	int ends[2];

	f.open_files = count_files();
	f.gpadl = 1;
	require(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "no sockets");
	f.socket = ends[1];
	*l = (struct local){ .socket = ends[0],
			     .call_fd = f.event,
			     .kick_fd = -1,
			     .poll_fd = -1,
			     .notify_fd = -1,
			     .stir_fd = -1 };
	l->base.timeout_ms = 0;
	require(!calls_init(l, 1), "out of memory");
}

static void end(void)
{
	hang_up();
	bus_look(&f.local);
	require(f.local.lost, "the host hung up, and nobody noticed");
	if (f.local.kick_fd >= 0)
		close(f.local.kick_fd);
	close(f.local.socket);
	calls_free(&f.local);
	require(count_files() == f.open_files, "a descriptor is left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	while (size >= 2) {
		size_t part = data[1] < size - 2 ? data[1] : size - 2;

		step(data[0], data + 2, part);
		data += 2 + part;
		size -= 2 + part;
	}
	end();
	return 0;
}
