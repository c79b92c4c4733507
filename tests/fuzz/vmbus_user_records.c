/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the daemon with whole front-ends: vmbus-user records with the descriptors that the input chooses, control
 * messages in them, requests in the rings, kicks also of channels that are gone, and sockets that nobody reads. The
 * input is a list of steps: a byte that says what, a byte of size, then that many bytes; the very first byte
 * says whether the daemon trusts the front-end as a virtual machine monitor.
 *
 * The daemon is the real one, single-stepped: its only ring thread has no thread. No call is large enough for a
 * worker. After each input the guest must be gone, with all its descriptors and mappings.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../host/linux/guest.h"
#include "../../host/linux/hostd.h"

#define NAME "fuzz-front-end"
#define PAGES 16u
#define PAGE VMBUS_PAGE_SIZE
#define UP_PAGE 1u /* of the ring to the host: header, then a page of data */
#define DOWN_PAGE 3u
#define KICKS 8u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define STEPS_TO_END 100u

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "vmbus_user_records: %s\n", what);
	abort();
}

/* What may go with a record. */
enum {
	NOTHING,
	RAM, /* sealed, and what the guest's rings are in */
	SMALL, /* sealed, 4 pages */
	SPARSE,
	UNSEALED,
	NOT_WRITABLE, /* sealed against writes to come */
	EVENT,
	PIPE, /* to write to; nobody reads it */
	DEVICE, /* /dev/null */
	KINDS,
	SELF = KINDS, /* the front-end's end of the socket */
	TWO,
	MANY, /* more than a receiver has room for */
	CHOICES
};

static struct {
	struct hostd *hostd;
	int kind[KINDS];
	uint8_t *ram;
	uint8_t *rings; /* both as a guest maps them, data twice */
	unsigned int open_files;
	unsigned int mappings;

	int socket; /* -1: hung up */
	int kick[KICKS];
	unsigned int kicks;
	struct vmbus_ring_out up;
	struct vmbus_ring_in down;
	uint64_t next_id;
	uint64_t session;
	uint64_t buffer;
} f;

/* ---- What is left ------------------------------------------------------------------------------------- */

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

/* Of our memfds. */
static unsigned int count_mappings(void)
{
	static char text[1 << 16];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t size = 0;
	unsigned int count = 0;
	ssize_t n;

	while ((n = read(fd, text + size, sizeof(text) - size - 1)) > 0)
		size += (size_t)n;
	close(fd);
	text[size] = '\0';
	for (const char *at = text; (at = strstr(at, "memfd:" NAME)); at++)
		count++;
	return count;
}

/* ---- Descriptors -------------------------------------------------------------------------------------- */

static int file(size_t pages, bool allocate, int seals)
{
	int fd = memfd_create(NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	require(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)), "no memfd");
	require(!allocate || !fallocate(fd, 0, 0, (off_t)(pages * PAGE)), "no memory for a memfd");
	require(!seals || !fcntl(fd, F_ADD_SEALS, seals), "no seals");
	return fd;
}

static void *map(void *at, size_t pages, int flags, int fd, size_t first)
{
	void *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, (off_t)(first * PAGE));

	require(p != MAP_FAILED, "no mapping");
	return p;
}

static void make_descriptors(void)
{
	int ends[2];

	f.kind[NOTHING] = -1;
	f.kind[RAM] = file(PAGES, true, SEALS);
	f.kind[SMALL] = file(4, true, SEALS);
	f.kind[SPARSE] = file(4, false, SEALS);
	f.kind[UNSEALED] = file(4, true, 0);
	f.kind[NOT_WRITABLE] = file(4, true, SEALS | F_SEAL_FUTURE_WRITE);
	f.kind[EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f.kind[DEVICE] = open("/dev/null", O_RDWR | O_CLOEXEC);
	require(!pipe2(ends, O_CLOEXEC | O_NONBLOCK), "no pipe");
	f.kind[PIPE] = ends[1];
	f.ram = map(NULL, PAGES, MAP_SHARED, f.kind[RAM], 0);
	f.rings = map(NULL, 6, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned int i = 0; i < 2; i++) {
		map(f.rings + i * 3 * PAGE, 2, MAP_SHARED | MAP_FIXED, f.kind[RAM], i ? DOWN_PAGE : UP_PAGE);
		map(f.rings + (i * 3 + 2) * PAGE, 1, MAP_SHARED | MAP_FIXED, f.kind[RAM],
		    (i ? DOWN_PAGE : UP_PAGE) + 1);
	}
}

/* ---- Records ------------------------------------------------------------------------------------------ */

static unsigned int choose_fds(unsigned int choice, int *fds)
{
	if (choice == TWO) {
		fds[0] = f.kind[RAM];
		fds[1] = f.kind[EVENT];
		return 2;
	}
	if (choice == MANY) {
		for (unsigned int i = 0; i < 7; i++)
			fds[i] = f.kind[EVENT];
		return 7;
	}
	fds[0] = choice == SELF ? f.socket : f.kind[choice];
	return choice != NOTHING;
}

/* With the socket full, the front-end does as most would: it lets the record go. */
static void put(const void *record, size_t size, unsigned int choice)
{
	union {
		char space[CMSG_SPACE(7 * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	int fds[7];
	unsigned int count = choose_fds(choice, fds);
	struct iovec iov = { (void *)record, size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (f.socket < 0)
		return;
	if (count) {
		struct cmsghdr *c = (struct cmsghdr *)control.space;

		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	if (sendmsg(f.socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void put_record(uint32_t type, const void *payload, uint32_t size, unsigned int choice)
{
	struct {
		struct vmbus_user_header header;
		uint8_t payload[512];
	} record = { .header = { type, size } };

	memcpy(record.payload, payload, size);
	put(&record, sizeof(record.header) + size, choice);
}

static void put_message(const uint8_t *data, uint32_t size)
{
	struct {
		struct vmbus_user_message message;
		uint8_t beyond[64];
	} out = { .message = { .connection_id = VMBUS_CONNECTION_MESSAGES_5 } };

	memcpy(out.message.data, data, size);
	put_record(VMBUS_USER_GUEST_MESSAGE, &out, (uint32_t)offsetof(struct vmbus_user_message, data) + size,
		   NOTHING);
}

/* ---- What the daemon sends ---------------------------------------------------------------------------- */

static uint32_t size_of(uint32_t type)
{
	switch (type) {
	case VMBUS_USER_READY:
		return sizeof(struct vmbus_user_ready);
	case VMBUS_USER_REFUSED:
		return sizeof(struct vmbus_user_refused);
	case VMBUS_USER_REGION_DONE:
		return sizeof(struct vmbus_user_region_done);
	case VMBUS_USER_CHANNEL:
	case VMBUS_USER_CHANNEL_GONE:
		return sizeof(struct vmbus_user_channel);
	default:
		return 0;
	}
}

static void check_record(const struct vmbus_user_header *h, size_t size, int fd)
{
	bool message = h->type == VMBUS_USER_HOST_MESSAGE;

	require(size >= sizeof(*h) && h->size == size - sizeof(*h), "sent a record of the wrong size");
	require(message ? h->size >= 16 && h->size <= 248 : h->size && h->size == size_of(h->type),
		"sent an unknown record");
	require((fd >= 0) == (h->type == VMBUS_USER_CHANNEL), "sent a descriptor too many or none");
}

static bool get_record(void)
{
	union {
		char space[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct {
		struct vmbus_user_header header;
		uint8_t payload[512];
	} record;
	struct iovec iov = { &record, sizeof(record) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control.space) };
	ssize_t n = f.socket < 0 ? 0 : recvmsg(f.socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	int fd = -1;

	if (n <= 0)
		return false;
	if (message.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	check_record(&record.header, (size_t)n, fd);
	if (fd >= 0 && f.kicks < KICKS)
		f.kick[f.kicks++] = fd;
	else if (fd >= 0)
		close(fd);
	return true;
}

static void turn(uint8_t how)
{
	for (unsigned int i = 0; i < how % 4 + 1u; i++)
		hostd_step(f.hostd);
	if (how & 4)
		while (get_record())
			;
}

static void kick(uint8_t which)
{
	uint64_t one = 1;

	if (f.kicks && write(f.kick[which % f.kicks], &one, sizeof(one)) < 0)
		return;
}

/* ---- Requests in the ring ----------------------------------------------------------------------------- */

static void take_replies(void)
{
	struct vmbus_ring_packet packet;
	struct winapi_msg_header h;

	while (vmbus_ring_next(&f.down, &packet) > 0) {
		vmbus_ring_advance(&f.down, &packet);
		vmbus_ring_release(&f.down, true);
		if (packet.payload_size < sizeof(h) + 8)
			continue;
		memcpy(&h, packet.payload, sizeof(h));
		if (h.type == WINAPI_MSG_SESSION_OPEN)
			f.session = h.session_id;
		else if (h.type == WINAPI_MSG_BUFFER_REGISTER)
			memcpy(&f.buffer, packet.payload + sizeof(h), sizeof(f.buffer));
	}
}

static uint32_t add(uint8_t *at, uint32_t size, const void *data, uint32_t more)
{
	memcpy(at + size, data, more);
	return size + more;
}

/* Descriptors and inline data of the usual requests; what the input brings stands in for the rest. */
static uint32_t make_body(struct winapi_msg_header *h, uint8_t *out, const uint8_t *data, size_t size)
{
	struct winapi_hello_request hello = { 1, 1, 0, WINAPI_FEATURES_V1 };
	struct winapi_buffer_register_request share = {
		.length = PAGE, .access = 3, .chunk_count = 1, .gpadl = { size ? data[0] : 0 }
	};
	struct winapi_buffer_desc desc = { size ? f.buffer : 0, 0, PAGE, 3, 0 };
	uint64_t seed = 0;
	uint32_t used;

	h->session_id = f.session;
	switch (h->type) {
	case WINAPI_MSG_HELLO:
	case WINAPI_MSG_SESSION_OPEN:
		h->session_id = 0;
		return add(out, 0, h->type == WINAPI_MSG_HELLO ? &hello : &(struct winapi_hello_request){ 0 },
			   16);
	case WINAPI_MSG_BUFFER_REGISTER:
		return add(out, 0, &share, 28);
	case WINAPI_MSG_BUFFER_UNREGISTER:
		return add(out, 0, &f.buffer, 8);
	case WINAPI_MSG_CALL:
		h->api = size > 1 ? WINAPI_API_ECHO : WINAPI_API_BUFFER_TEST;
		h->method = size > 1 ? WINAPI_ECHO_CALL : WINAPI_BUFFER_TEST_WRITE;
		h->buffer_count = size <= 1;
		used = size > 1 ? 0 : add(out, 0, &desc, sizeof(desc));
		return size > 1 ? add(out, 0, data, (uint32_t)size) : add(out, used, &seed, sizeof(seed));
	default:
		return add(out, 0, data, (uint32_t)size);
	}
}

/* A byte of message type, one of the packet's, then what make_body makes of the rest. */
static void request(const uint8_t *data, size_t size)
{
	struct winapi_msg_header h = { .magic = WINAPI_MAGIC, .version = 1, .type = size ? data[0] : 0 };
	uint8_t kind = size > 1 ? data[1] : 0, body[512];
	struct vmbus_gpa_direct direct = { .range_count = 1 };
	struct {
		struct vmbus_gpa_range range;
		uint64_t pfn[2];
	} pages = { { kind & 2 ? 2 * PAGE : PAGE, 0 }, { 8u + (kind >> 4), 9u } };
	struct vmbus_ring_part parts[4] = { { &direct, sizeof(direct) }, { &pages, sizeof(pages) } };
	uint32_t used = make_body(&h, body, data + (size > 2 ? 2 : size), size > 2 ? size - 2 : 0);
	bool direct_too = kind & 1;

	h.request_id = f.next_id++;
	h.inline_size = used - h.buffer_count * (uint32_t)sizeof(struct winapi_buffer_desc);
	parts[2] = (struct vmbus_ring_part){ &h, sizeof(h) };
	parts[3] = (struct vmbus_ring_part){ body, used };
	if (!vmbus_ring_write(&f.up, direct_too ? VMBUS_PACKET_GPA_DIRECT : VMBUS_PACKET_INBAND, !(kind & 8),
			      h.request_id, direct_too ? sizeof(direct) + sizeof(pages) : 0,
			      direct_too ? parts : parts + 2, direct_too ? 4 : 2))
		vmbus_ring_publish(&f.up);
}

/* ---- Steps -------------------------------------------------------------------------------------------- */

/* As the ring's thread does when nothing has come for a while. */
static void stop_polling(void)
{
	if (f.hostd->thread[0].active)
		device_stop_polling(f.hostd->thread[0].active);
}

static void hang_up(void)
{
	if (f.socket >= 0)
		close(f.socket);
	f.socket = -1;
}

static void step(uint8_t what, const uint8_t *data, size_t size)
{
	switch (what % 8) {
	case 0:
		if (size)
			put_record(data[0], data + 1, (uint32_t)size - 1, what / 8 % CHOICES);
		break;
	case 1:
		put_message(data, (uint32_t)size);
		break;
	case 2: /* into memory, anywhere */
		if (size > 3)
			memcpy(f.ram + (data[0] % (PAGES - 1)) * PAGE + data[1] * 8u, data + 2, size - 2);
		break;
	case 3:
		kick(what / 8);
		break;
	case 4:
		turn(what / 8);
		break;
	case 5:
		put(data, size, what / 8 % CHOICES);
		break;
	case 6:
		request(data, size);
		break;
	default:
		if (what / 8 == 31)
			hang_up();
		else if (what / 8 == 30)
			stop_polling();
		else
			take_replies();
	}
}

/* ---- Beginning and end -------------------------------------------------------------------------------- */

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct hostd_config config;

	(void)argc;
	(void)argv;
	config_defaults(&config);
	config.log_level = WP_LOG_ERROR;
	config.max_regions = 4;
	config.max_region_bytes = 32 * PAGE;
	config.provider = (struct wp_limits){ .max_in_flight = 2, .max_sessions = 2, .max_buffers = 2 };
	config.vmbus = (struct vmbus_limits){ .max_gpadls = 16, .max_gpadl_bytes = 1 << 20 };
	config.vmm_uids[0] = getuid();
	log_set_level(config.log_level);
	signal(SIGPIPE, SIG_IGN); /* as main() does */
	make_descriptors();
	f.hostd = hostd_create(&config, 1);
	require(f.hostd, "no daemon");
	f.mappings = count_mappings();
	return 0;
}

static void begin(bool trusted)
{
	int ends[2], little = 1;

	memset(f.ram, 0, PAGES * PAGE);
	vmbus_ring_out_init(&f.up, (void *)f.rings, f.rings + PAGE, PAGE);
	vmbus_ring_in_init(&f.down, (void *)(f.rings + 3 * PAGE), f.rings + 4 * PAGE, PAGE);
	f.kicks = 0;
	f.next_id = 1;
	f.session = 0;
	f.buffer = 0;
	f.hostd->config.vmm_uid_count = trusted;
	f.open_files = count_files(); /* anew: libFuzzer opens some for itself */
	require(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "no sockets");
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)); /* so that records wait */
	f.socket = ends[0];
	require(!hostd_add_guest(f.hostd, ends[1]), "no guest");
}

/* The daemon ends as a whole, on a thread of its own as it would; the next input finds it as good as new. */
static void stop_daemon(void)
{
	require(!hostd_start(f.hostd), "no thread");
	hostd_stop(f.hostd, 0);
	f.hostd->running = false;
	f.hostd->thread[0].stopping = 0;
}

static void end(bool stop)
{
	uint64_t count;

	if (stop)
		stop_daemon();
	hang_up();
	/* The thread of a daemon without guests may end before its last task: so there may be one. */
	for (unsigned int i = 0; f.hostd->clients || f.hostd->thread[0].inbox; i++) {
		require(i < STEPS_TO_END, "the guest never goes");
		hostd_step(f.hostd);
	}
	require(!f.hostd->thread[0].guests && !f.hostd->thread[0].active, "a guest is left");
	while (f.kicks)
		close(f.kick[--f.kicks]);
	if (read(f.kind[EVENT], &count, sizeof(count)) < 0)
		count = 0;
	require(count_files() == f.open_files, "a descriptor is left");
	require(count_mappings() == f.mappings, "a mapping is left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how = size ? data[0] : 0;

	begin(how & 1);
	for (data++, size -= !!size; size >= 2;) {
		size_t part = data[1] < size - 2 ? data[1] : size - 2;

		step(data[0], data + 2, part);
		data += 2 + part;
		size -= 2 + part;
	}
	end(how & 2);
	return 0;
}
