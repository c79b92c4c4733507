/* SPDX-License-Identifier: MIT */
/*
 * A guest that does what no guest should, one thing at a time, to a provider. After each, the provider
 * must have answered, rescinded or dropped as docs/protocol.md says, and still serve a guest that behaves.
 *
 * Usage: hostile_guest HOSTD     (starts it on a socket of its own)
 *        hostile_guest --path PATH
 *        hostile_guest --kmcl PATH
 *
 * --kmcl: KMCL hides a packet's transaction id and flags from the provider behind it, which thus can't judge them and
 * serves the guest on. What the stand-in for KMCL does on its own, with vmbus-user's records, is left out there.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/winapi.h"
#include "raw_guest.h"

static char path[100];
static struct raw_guest g;
static const char *skip; /* why a case could not be run */
static bool over_kmcl;

struct bad_case {
	const char *name;
	enum raw_stage stage;
	bool (*run)(void);
};

/* ---- Messages of the winapi protocol: a status, and the channel goes on ---------------------------------- */

static bool expect_status(const void *message, uint32_t size, uint64_t id, int32_t status)
{
	struct winapi_msg_header reply;

	raw_message(&g, id, message, size);
	if (!raw_reply(&g, &reply, NULL, 0))
		return false;
	if (reply.status != status)
		printf("# status %d, not %d\n", reply.status, status);
	return reply.request_id == id && reply.status == status;
}

struct call {
	struct winapi_msg_header h;
	struct winapi_buffer_desc desc[9];
	uint8_t data[WINAPI_MAX_INLINE + 8];
};
static struct call call;

static struct call *echo(uint64_t id)
{
	memset(&call, 0, sizeof(call));
	call.h = raw_header(&g, WINAPI_MSG_CALL, id);
	call.h.api = WINAPI_API_ECHO;
	return &call;
}

static bool still_works(void)
{
	return raw_echo(&g, 900);
}

#define HEADER_CASE(function, change, wanted) \
	static bool function(void) \
	{ \
		struct winapi_msg_header *h = &echo(10)->h; \
\
		change; \
		return expect_status(&call, 64, 10, wanted) && still_works(); \
	}

HEADER_CASE(bad_version, h->version = 2, WINAPI_STATUS_UNSUPPORTED_VERSION)
HEADER_CASE(bad_type, h->type = 11, WINAPI_STATUS_UNKNOWN_TYPE)
HEADER_CASE(type_zero, h->type = 0, WINAPI_STATUS_UNKNOWN_TYPE)
HEADER_CASE(held_back_type, h->type = WINAPI_MSG_STREAM, WINAPI_STATUS_UNKNOWN_TYPE)
HEADER_CASE(bad_flags, h->flags = 2, WINAPI_STATUS_UNKNOWN_FLAGS)
HEADER_CASE(reply_flag, h->flags = WINAPI_FLAG_REPLY, WINAPI_STATUS_UNKNOWN_FLAGS)
HEADER_CASE(bad_api, h->api = 4711, WINAPI_STATUS_UNKNOWN_API)
HEADER_CASE(bad_method, h->method = 9, WINAPI_STATUS_UNKNOWN_METHOD)
HEADER_CASE(reserved_set, h->reserved = 1, WINAPI_STATUS_RESERVED_NOT_ZERO)
HEADER_CASE(status_set, h->status = -1, WINAPI_STATUS_RESERVED_NOT_ZERO)
HEADER_CASE(host_ns_set, h->host_ns = 1, WINAPI_STATUS_RESERVED_NOT_ZERO)
HEADER_CASE(nine_buffers, h->buffer_count = 9, WINAPI_STATUS_TOO_LARGE)
HEADER_CASE(most_buffers, h->buffer_count = UINT16_MAX, WINAPI_STATUS_TOO_LARGE)
HEADER_CASE(inline_over, h->inline_size = WINAPI_MAX_INLINE + 1, WINAPI_STATUS_TOO_LARGE)
HEADER_CASE(inline_huge, h->inline_size = UINT32_MAX, WINAPI_STATUS_TOO_LARGE)
HEADER_CASE(inline_past_packet, h->inline_size = 1, WINAPI_STATUS_MALFORMED)
HEADER_CASE(buffers_past_packet, h->buffer_count = 1, WINAPI_STATUS_MALFORMED)
HEADER_CASE(foreign_session, h->session_id ^= 0x10000, WINAPI_STATUS_NO_SESSION)
HEADER_CASE(no_session, h->session_id = 0, WINAPI_STATUS_NO_SESSION)
HEADER_CASE(second_hello, (h->type = WINAPI_MSG_HELLO, h->session_id = 0, h->api = 0),
	    WINAPI_STATUS_INVALID_PARAMETER)

/* ---- Buffers --------------------------------------------------------------------------------------------- */

static uint64_t register_pages(uint32_t gpadl, uint32_t pages, uint64_t length, int32_t wanted)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_register_request r;
	} m = { raw_header(&g, WINAPI_MSG_BUFFER_REGISTER, 20),
		{ .length = length, .access = 3, .chunk_count = 1 } };
	struct winapi_msg_header reply;
	uint64_t handle = 0;
	uint32_t status = 1;

	if (pages && (!raw_gpadl(&g, gpadl, RAW_EXTRA_GPA, pages, &status) || status))
		return 0;
	m.r.gpadl[0] = gpadl;
	m.h.inline_size = 28;
	raw_message(&g, 20, &m, 64 + 28);
	if (!raw_reply(&g, &reply, &handle, 8) || reply.status != wanted)
		return 0;
	return wanted ? 1 : handle;
}

static bool read_call(uint64_t handle, uint64_t offset, uint64_t length, uint32_t access, int32_t wanted)
{
	echo(30);
	call.h.api = WINAPI_API_BUFFER_TEST;
	call.h.method = WINAPI_BUFFER_TEST_READ;
	call.h.buffer_count = 1;
	call.h.inline_size = 8;
	call.desc[0] = (struct winapi_buffer_desc){ handle, offset, length, access, 0 };
	return expect_status(&call, 64 + 32 + 8, 30, wanted);
}

static bool bad_descriptors(void)
{
	uint64_t handle = register_pages(1, 4, 4 * 4096, 0);

	return handle && read_call(handle, 0, 4 * 4096, 1, WINAPI_STATUS_OK) &&
	       read_call(handle, 1, 4 * 4096, 1, WINAPI_STATUS_OUT_OF_BOUNDS) &&
	       read_call(handle, UINT64_MAX, 2, 1, WINAPI_STATUS_OUT_OF_BOUNDS) &&
	       read_call(handle, 4, UINT64_MAX - 1, 1, WINAPI_STATUS_TOO_LARGE) &&
	       read_call(handle, 0, 0, 1, WINAPI_STATUS_INVALID_PARAMETER) &&
	       read_call(handle, 0, 1, 0, WINAPI_STATUS_INVALID_PARAMETER) &&
	       read_call(handle, 0, 1, 8, WINAPI_STATUS_INVALID_PARAMETER) &&
	       read_call(0, 0, 1, 1, WINAPI_STATUS_INVALID_PARAMETER) &&
	       read_call(handle ^ 0x10000, 0, 1, 1, WINAPI_STATUS_INVALID_HANDLE) &&
	       read_call(handle + 1, 0, 1, 1, WINAPI_STATUS_INVALID_HANDLE) && still_works();
}

static bool unregister(uint64_t handle, int32_t wanted)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_unregister_request r;
	} m = { raw_header(&g, WINAPI_MSG_BUFFER_UNREGISTER, 40), { handle } };

	m.h.inline_size = 8;
	return expect_status(&m, sizeof(m), 40, wanted);
}

static bool double_free(void)
{
	uint64_t handle = register_pages(1, 4, 4 * 4096, 0);

	return handle && unregister(handle, WINAPI_STATUS_OK) &&
	       unregister(handle, WINAPI_STATUS_INVALID_HANDLE) &&
	       read_call(handle, 0, 1, 1, WINAPI_STATUS_INVALID_HANDLE) && still_works();
}

static bool another_session(uint64_t *session)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_session_open_request open;
	} m = { raw_header(&g, WINAPI_MSG_SESSION_OPEN, 50), { 0, 0, 0, 0 } };
	struct winapi_msg_header reply;

	m.h.session_id = 0;
	m.h.inline_size = sizeof(m.open);
	raw_message(&g, 50, &m, sizeof(m));
	return raw_reply(&g, &reply, session, sizeof(*session)) && !reply.status;
}

static bool foreign_handle(void)
{
	uint64_t handle = register_pages(1, 4, 4 * 4096, 0), first = g.session;
	bool good = handle && another_session(&g.session) && g.session != first &&
		    read_call(handle, 0, 1, 1, WINAPI_STATUS_INVALID_HANDLE) &&
		    unregister(handle, WINAPI_STATUS_INVALID_HANDLE);

	g.session = first;
	return good && read_call(handle, 0, 1, 1, WINAPI_STATUS_OK) && unregister(handle, WINAPI_STATUS_OK);
}

static bool bad_registrations(void)
{
	return register_pages(99, 0, 4096, WINAPI_STATUS_GPADL_UNKNOWN) &&
	       register_pages(0x77, 0, 4096, WINAPI_STATUS_GPADL_UNKNOWN) /* the ring's */ &&
	       register_pages(1, 4, 4 * 4096 + 1, WINAPI_STATUS_INVALID_PARAMETER) &&
	       register_pages(1, 0, 3 * 4096, WINAPI_STATUS_INVALID_PARAMETER) &&
	       register_pages(1, 0, (64 << 20) + 1, WINAPI_STATUS_TOO_LARGE) &&
	       register_pages(1, 0, UINT64_MAX, WINAPI_STATUS_TOO_LARGE) &&
	       register_pages(1, 0, 0, WINAPI_STATUS_INVALID_PARAMETER) &&
	       register_pages(1, 0, 4 * 4096, 0) &&
	       register_pages(1, 0, 4 * 4096, WINAPI_STATUS_GPADL_UNKNOWN) && still_works();
}

/* The answer must wait until the buffer is given back. */
static bool teardown_while_in_use(void)
{
	struct vmbus_gpadl_teardown m = { .header.type = VMBUS_MSG_GPADL_TEARDOWN,
					  .relid = g.relid,
					  .gpadl = 1 };
	uint64_t handle = register_pages(1, 4, 4 * 4096, 0);

	raw_post(&g, &m, sizeof(m));
	return handle && read_call(handle, 0, 4096, 1, WINAPI_STATUS_OK) && !g.torndown &&
	       unregister(handle, WINAPI_STATUS_OK) && raw_torndown(&g, 1);
}

/* One after the other without a look at the answers: the host may not be late with the end of the first. */
static bool unregister_and_register(void)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_unregister_request r;
	} away = { raw_header(&g, WINAPI_MSG_BUFFER_UNREGISTER, 40), { register_pages(1, 4, 4 * 4096, 0) } };
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_register_request r;
	} back = { raw_header(&g, WINAPI_MSG_BUFFER_REGISTER, 41),
		   { .length = 4 * 4096, .access = 3, .chunk_count = 1, .gpadl = { 1 } } };
	struct winapi_msg_header reply;

	away.h.inline_size = 8;
	back.h.inline_size = 28;
	for (int i = 0; i < 100; i++) {
		raw_message(&g, 40, &away, sizeof(away));
		raw_message(&g, 41, &back, 64 + 28);
		if (!raw_reply(&g, &reply, NULL, 0) || reply.status ||
		    !raw_reply(&g, &reply, &away.r.handle, sizeof(away.r.handle)) || reply.status)
			return printf("# round %d: request %u has status %d\n", i,
				      (unsigned int)reply.request_id, reply.status),
			       false;
	}
	return true;
}

/* ---- Rings and packets: the channel ends ------------------------------------------------------------------ */

static bool bad_magic(void)
{
	echo(10)->h.magic ^= 1;
	raw_message(&g, 10, &call, 64);
	return raw_dropped(&g);
}

static bool wrong_transaction(void)
{
	struct winapi_msg_header reply;

	echo(10);
	raw_message(&g, 11, &call, 64);
	if (over_kmcl)
		return raw_reply(&g, &reply, NULL, 0) && reply.request_id == 10 && still_works();
	return raw_dropped(&g);
}

static bool short_packet(void)
{
	echo(10);
	raw_message(&g, 10, &call, 56);
	return raw_dropped(&g);
}

static void send_with(uint16_t type, uint16_t offset8, uint16_t length8, uint16_t flags)
{
	struct vmbus_packet_descriptor desc = { type, offset8, length8, flags, 10 };

	echo(10);
	raw_packet(&g, &desc, &call, 64);
}

static bool packet_with(uint16_t type, uint16_t offset8, uint16_t length8, uint16_t flags)
{
	send_with(type, offset8, length8, flags);
	return raw_dropped(&g);
}

/* KMCL drops the completion: the next reply is another's. */
static bool no_completion_flag(void)
{
	send_with(VMBUS_PACKET_INBAND, 2, 10, 0);
	return over_kmcl ? still_works() : raw_dropped(&g);
}

static bool bad_packet_type(void)
{
	return packet_with(VMBUS_PACKET_COMPLETION, 2, 10, 1);
}

static bool packet_longer_than_ring(void)
{
	return packet_with(VMBUS_PACKET_INBAND, 2, UINT16_MAX, 1);
}

static bool offset_past_length(void)
{
	return packet_with(VMBUS_PACKET_INBAND, 11, 10, 1);
}

static bool offset_in_descriptor(void)
{
	return packet_with(VMBUS_PACKET_INBAND, 1, 10, 1);
}

static bool range_without_pages(void)
{
	return packet_with(VMBUS_PACKET_GPA_DIRECT, 2, 10, 1);
}

static bool write_index(uint32_t value)
{
	uint64_t one = 1;

	VMBUS_RING_STORE(&g.up->write_index, value);
	if (write(g.kick, &one, sizeof(one)) < 0)
		return false;
	return raw_dropped(&g);
}

static bool index_out_of_range(void)
{
	return write_index(2 * VMBUS_PAGE_SIZE);
}

static bool index_far_out(void)
{
	return write_index(UINT32_MAX - 7);
}

static bool index_unaligned(void)
{
	return write_index(g.up_write + 4);
}

/* ---- Control messages and records --------------------------------------------------------------------------- */

static bool gpadl_with(uint16_t buflen, uint16_t count, uint32_t bytes, uint32_t offset)
{
	struct vmbus_gpadl_header m = { .header.type = VMBUS_MSG_GPADL_HEADER,
					.relid = g.relid,
					.gpadl = 50,
					.range_buflen = buflen,
					.range_count = count,
					.range = { bytes, offset } };
	struct vmbus_gpadl_created created;

	raw_post(&g, &m, sizeof(m));
	return raw_receive_message(&g, VMBUS_MSG_GPADL_CREATED, &created, sizeof(created)) && created.status;
}

static bool bad_gpadls(void)
{
	uint32_t status = 0;

	return gpadl_with(8, 1, 0, 0) && gpadl_with(16, 0, 4096, 0) && gpadl_with(16, 2, 4096, 0) &&
	       gpadl_with(16, 1, UINT32_MAX, 0) && gpadl_with(16, 1, 4096, 4096) &&
	       gpadl_with(24, 1, 4096, 0) && raw_gpadl(&g, 60, RAW_GPA, 4, &status) && !status &&
	       raw_gpadl(&g, 60, RAW_GPA, 4, &status) && status;
}

static bool ring_outside_memory(void)
{
	struct vmbus_open_channel m = { .header.type = VMBUS_MSG_OPEN_CHANNEL,
					.relid = g.relid,
					.ring_gpadl = 61,
					.downstream_page = 3 };
	struct vmbus_open_result result;
	uint32_t status = 1;

	if (!raw_gpadl(&g, 61, 0x4000000000ull, 6, &status) || status)
		return false;
	raw_post(&g, &m, sizeof(m));
	return raw_receive_message(&g, VMBUS_MSG_OPEN_RESULT, &result, sizeof(result)) && result.status;
}

static bool short_control_message(void)
{
	struct vmbus_msg_header m = { .type = VMBUS_MSG_OPEN_CHANNEL };

	raw_post(&g, &m, sizeof(m));
	return raw_dropped(&g);
}

/* ---- GPADLs in pieces ---------------------------------------------------------------------------------------- */

static void post_body(uint32_t gpadl, uint32_t number, uint32_t pages)
{
	struct {
		struct vmbus_gpadl_body body;
		uint64_t pfn[VMBUS_GPADL_BODY_PFNS];
	} __attribute__((packed)) m = { .body = { { VMBUS_MSG_GPADL_BODY, 0 }, number, gpadl } };

	for (uint32_t i = 0; i < pages; i++)
		m.pfn[i] = RAW_EXTRA_GPA / VMBUS_PAGE_SIZE;
	raw_post(&g, &m, (uint32_t)sizeof(m.body) + pages * 8);
}

/* A GPADL of `pages` pages whose header brings none of them. */
static void post_header(uint32_t gpadl, uint32_t pages)
{
	struct vmbus_gpadl_header m = { .header.type = VMBUS_MSG_GPADL_HEADER,
					.relid = g.relid,
					.gpadl = gpadl,
					.range_buflen = (uint16_t)(8 + pages * 8),
					.range_count = 1,
					.range = { pages * VMBUS_PAGE_SIZE, 0 } };

	raw_post(&g, &m, sizeof(m));
}

/* What became of a GPADL: its status, or UINT32_MAX when the guest was dropped. */
static uint32_t created_status(uint32_t gpadl)
{
	struct vmbus_gpadl_created created;

	do {
		if (!raw_receive_message(&g, VMBUS_MSG_GPADL_CREATED, &created, sizeof(created)))
			return UINT32_MAX;
	} while (created.gpadl != gpadl);
	return created.status;
}

/* Numbers that lie, bodies of nothing, and one too long: refused or taken, never a crash. */
static bool odd_bodies(void)
{
	uint32_t status = 1;

	post_body(70, 1, 4); /* of no GPADL */
	post_header(71, 8);
	post_body(71, 2, 4); /* the second before the first */
	post_body(71, 1, 4);
	if (created_status(71) == UINT32_MAX)
		return false;
	post_header(72, 8);
	post_body(72, 1, 0);
	post_body(72, 1, VMBUS_GPADL_BODY_PFNS); /* more than there are */
	if (!created_status(72))
		return false;
	return raw_gpadl(&g, 73, RAW_EXTRA_GPA, 4, &status) && !status;
}

/* The same page eight times: the host must bear what a guest does to itself. */
static bool duplicate_pages(void)
{
	post_header(74, 8);
	post_body(74, 1, 8);
	return !created_status(74) && register_pages(74, 0, 8 * 4096, 0) && still_works();
}

/* As many as the message can say, all of them where there is no memory. */
static bool most_pages(void)
{
	uint32_t left = VMBUS_GPADL_MAX_PAGES, number = 0;
	struct {
		struct vmbus_gpadl_body body;
		uint64_t pfn[VMBUS_GPADL_BODY_PFNS];
	} __attribute__((packed)) m = { .body = { { VMBUS_MSG_GPADL_BODY, 0 }, 0, 75 } };

	post_header(75, left);
	memset(m.pfn, 0xff, sizeof(m.pfn));
	while (left) {
		uint32_t n = left < VMBUS_GPADL_BODY_PFNS ? left : VMBUS_GPADL_BODY_PFNS;

		m.body.message_number = ++number;
		raw_post(&g, &m, (uint32_t)sizeof(m.body) + n * 8);
		left -= n;
	}
	if (!created_status(75)) /* then the registration has to fail */
		return register_pages(75, 0, 4096, WINAPI_STATUS_GPADL_UNKNOWN) && still_works();
	return still_works();
}

/* ---- A channel that is closed ---------------------------------------------------------------------------------- */

static void post_channel(uint32_t type)
{
	struct vmbus_channel_msg m = { .header.type = type, .relid = g.relid };

	raw_post(&g, &m, sizeof(m));
}

static void tear_ring_down(void)
{
	struct vmbus_gpadl_teardown m = { .header.type = VMBUS_MSG_GPADL_TEARDOWN,
					  .relid = g.relid,
					  .gpadl = RAW_RING_GPADL };

	raw_post(&g, &m, sizeof(m));
}

/* Packets and kicks after CLOSE_CHANNEL reach nobody, and the channel opens again. */
static bool messages_while_closed(void)
{
	post_channel(VMBUS_MSG_CLOSE_CHANNEL);
	tear_ring_down();
	if (!raw_torndown(&g, RAW_RING_GPADL))
		return false;
	echo(10);
	for (int i = 0; i < 100; i++)
		raw_message(&g, 10, &call, 64);
	post_channel(VMBUS_MSG_CLOSE_CHANNEL); /* again, though it isn't open */
	return raw_open(&g) && VMBUS_RING_LOAD(&g.down->write_index) == 0;
}

static bool open_twice(void)
{
	struct vmbus_open_channel m = { .header.type = VMBUS_MSG_OPEN_CHANNEL,
					.relid = g.relid,
					.open_id = 9,
					.ring_gpadl = RAW_RING_GPADL,
					.downstream_page = RAW_RING_PAGES };
	struct vmbus_open_result result;

	raw_post(&g, &m, sizeof(m));
	return raw_receive_message(&g, VMBUS_MSG_OPEN_RESULT, &result, sizeof(result)) && result.status &&
	       still_works();
}

static bool index_backwards(void)
{
	echo(10);
	raw_message(&g, 10, &call, 64);
	return raw_reply(&g, &call.h, NULL, 0) && write_index(g.up_write - 8);
}

static bool unknown_record(void)
{
	raw_send(&g, 63, "", 0, -1);
	return raw_dropped(&g);
}

static bool records_before_state(void)
{
	struct vmbus_user_region region = { 0, 4096 };

	raw_send(&g, VMBUS_USER_REGION_ADD, &region, sizeof(region), -1);
	return raw_dropped(&g);
}

static bool region_refused(uint64_t gpa, uint64_t size, int fd)
{
	int error = raw_add_region(&g, gpa, size, fd);

	if (fd >= 0)
		close(fd);
	return error < 0;
}

static bool bad_regions(void)
{
	char name[] = "/tmp/winapi-hostile-XXXXXX";
	int plain = mkstemp(name);

	unlink(name);
	if (plain < 0 || ftruncate(plain, 4096))
		return false;
	return region_refused(0, 4096, plain) && region_refused(0, 4096, raw_memfd(4096, false, true)) &&
	       region_refused(0, 1 << 20, raw_memfd(1 << 20, true, false)) && region_refused(0, 4096, -1) &&
	       region_refused(0, 8192, raw_memfd(4096, true, true)) &&
	       region_refused(1, 4096, raw_memfd(4096, true, true)) &&
	       region_refused(RAW_GPA, 4096, raw_memfd(4096, true, true)) &&
	       region_refused(0, 1ull << 40, raw_memfd(4096, true, true)) &&
	       region_refused(UINT64_MAX - 4095, 8192, raw_memfd(8192, true, true));
}

/* Its pages could run out at an access, long after they were shared. */
static bool hugetlb_region(void)
{
	int fd = memfd_create("huge", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB);

	if (fd < 0) {
		skip = "this kernel has no hugetlb memfds";
		return true;
	}
	if (ftruncate(fd, 2 << 20) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return false;
	return region_refused(0, 2 << 20, fd);
}

static bool second_state(void)
{
	struct vmbus_user_state state = { .magic = VMBUS_USER_MAGIC, .version = VMBUS_USER_VERSION };

	raw_send(&g, VMBUS_USER_STATE, &state, sizeof(state), -1);
	return raw_dropped(&g);
}

/* ---- Behaviour ------------------------------------------------------------------------------------------------ */

/* Sends until nothing more fits, reads nothing, then reads all: every request has its one reply. */
/* Room for a packet of that size? Not when the host has stopped taking them, as it must. */
static bool is_taken(uint32_t total)
{
	uint32_t size = 2 * VMBUS_PAGE_SIZE;

	for (;;) {
		uint32_t read = VMBUS_RING_LOAD(&g.up->read_index);

		if ((read + size - g.up_write - 1) % size >= total)
			return true;
		usleep(20000);
		if (VMBUS_RING_LOAD(&g.up->read_index) == read)
			return false;
	}
}

static bool never_reads(void)
{
	unsigned int sent = 0, got = 0;
	struct winapi_msg_header reply;

	while (sent < 100000 && is_taken(2 * 88)) {
		echo(1000 + sent++);
		raw_message(&g, call.h.request_id, &call, 64);
	}
	VMBUS_RING_STORE(&g.down->pending_send_size, 0);
	while (got < sent && raw_reply(&g, &reply, NULL, 0))
		got++;
	if (got != sent)
		printf("# %u sent, %u answered\n", sent, got);
	return sent < 100000 && got == sent;
}

/* Each message has an answer, and none is read: the host must not hoard them. */
#define PAGES 900u /* of a packet, the same page each: 14 KiB of words about them */
#define MOST_PACKETS 450u /* 376: 4 MiB of these words, and as many replies as fit; without a limit 590 */

static void echo_with_pages(uint64_t id)
{
	static struct {
		struct vmbus_gpa_direct direct;
		struct vmbus_gpa_range range;
		uint64_t pfn[PAGES];
		struct winapi_msg_header header;
	} packet;
	const struct vmbus_packet_descriptor desc = {
		.type = VMBUS_PACKET_GPA_DIRECT,
		.offset8 = (uint16_t)((sizeof(desc) + offsetof(typeof(packet), header)) / 8),
		.length8 = (uint16_t)((sizeof(desc) + sizeof(packet)) / 8),
		.flags = VMBUS_PACKET_FLAG_COMPLETION_REQUESTED,
		.transaction_id = id,
	};

	packet.direct.range_count = 1;
	packet.range.byte_count = PAGES * VMBUS_PAGE_SIZE;
	for (unsigned int i = 0; i < PAGES; i++)
		packet.pfn[i] = RAW_EXTRA_GPA / VMBUS_PAGE_SIZE;
	packet.header = raw_header(&g, WINAPI_MSG_CALL, id);
	packet.header.api = WINAPI_API_ECHO;
	raw_packet(&g, &desc, &packet, sizeof(packet));
}

/* What the host keeps about the pages of packets whose replies aren't read is bounded; and they are answered all. */
static bool pages_without_end(void)
{
	unsigned int sent = 0, got = 0;
	struct winapi_msg_header reply;

	if (over_kmcl) {
		skip = "what KMCL keeps of packets isn't the driver's";
		return true;
	}
	while (sent <= MOST_PACKETS && is_taken(PAGES * 8 + 256))
		echo_with_pages(1000 + sent++);
	VMBUS_RING_STORE(&g.down->pending_send_size, 0);
	while (got < sent && raw_reply(&g, &reply, NULL, 0))
		got++;
	if (got != sent || sent > MOST_PACKETS)
		printf("# %u sent, %u answered\n", sent, got);
	return sent <= MOST_PACKETS && got == sent && raw_echo(&g, 5000);
}

static bool never_reads_its_socket(void)
{
	struct vmbus_gpadl_teardown m = { .header.type = VMBUS_MSG_GPADL_TEARDOWN, .relid = g.relid };
	struct timeval patience = { 60, 0 };

	setsockopt(g.socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	for (m.gpadl = 1000; m.gpadl < 200000 && !g.gone; m.gpadl++)
		raw_post(&g, &m, sizeof(m)); /* of a GPADL that isn't: TORNDOWN all the same */
	return g.gone;
}

/*
 * A host that waits until the eventfd can be written would keep the other guests of its thread waiting; and again each
 * time, if it gave the guest another chance. The stand-in for KMCL looks before it writes, and leaves it at that.
 */
static bool call_that_blocks(void)
{
	struct vmbus_user_vp vp = { .event_flags_gpa = VMBUS_USER_FLAGS_OFF };
	uint64_t full = UINT64_MAX - 1;

	close(g.call);
	g.call = eventfd(0, EFD_CLOEXEC);
	if (write(g.call, &full, sizeof(full)) != sizeof(full))
		return false;
	raw_send(&g, VMBUS_USER_VP, &vp, sizeof(vp), g.call);
	if (over_kmcl)
		return still_works() && still_works();
	/* The ring may be looked at before the socket: what comes back from there comes after the VP was taken. */
	if (raw_remove_region(&g, 0x7777000) != -ENOENT)
		return false;
	raw_message(&g, 10, &echo(10)->h, 64);
	return raw_dropped(&g) && g.gone;
}

static bool send_vp(int fd)
{
	struct vmbus_user_vp vp = { .event_flags_gpa = VMBUS_USER_FLAGS_OFF };

	raw_send(&g, VMBUS_USER_VP, &vp, sizeof(vp), fd);
	return raw_dropped(&g);
}

/* The host would hold the socket's other end itself, and never see that the guest is gone. */
static bool call_is_own_socket(void)
{
	return send_vp(g.socket);
}

static bool call_is_a_file(void)
{
	return send_vp(g.ram_fd);
}

static bool holes_punched_mid_call(void)
{
	uint64_t handle = register_pages(1, 16, 16 * 4096, 0);
	struct winapi_msg_header reply;

	if (!handle)
		return false;
	raw_send_throughput(&g, 30, handle, 16, 1024);
	for (int i = 0; i < 200; i++)
		if (fallocate(g.ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      2 * RAW_RING_PAGES * VMBUS_PAGE_SIZE, RAW_EXTRA_PAGES * VMBUS_PAGE_SIZE))
			return false;
	return raw_reply(&g, &reply, NULL, 0) && !reply.status &&
	       read_call(handle, 0, 4096, 1, WINAPI_STATUS_OK);
}

/* Whoever ends a call on another thread of the host sets a flag in a page that has just gone, or not yet come. */
static bool event_flags_come_and_go(void)
{
	if (over_kmcl) {
		skip = "the stand-in takes a region away after its turn, and the guest doesn't wait for that";
		return true;
	}
	return raw_churn_event_flags(&g, 2000) && still_works();
}

static bool dies_mid_call(void)
{
	uint64_t handle = register_pages(1, 16, 16 * 4096, 0);

	if (!handle)
		return false;
	raw_send_throughput(&g, 30, handle, 16, 1024);
	return true; /* and the socket closes */
}

static bool sessions_without_end(void)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_session_open_request open;
	} m = { raw_header(&g, WINAPI_MSG_SESSION_OPEN, 50), { 0, 0, 0, 0 } };
	struct winapi_msg_header reply = { .status = 0 };

	m.h.session_id = 0;
	m.h.inline_size = sizeof(m.open);
	for (int i = 0; i < 100000 && !reply.status; i++) {
		raw_message(&g, 50, &m, sizeof(m));
		if (!raw_reply(&g, &reply, NULL, 0))
			return false;
	}
	return reply.status == WINAPI_STATUS_LIMIT_SESSIONS && still_works();
}

static bool buffers_without_end(void)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_register_request r;
	} m = { raw_header(&g, WINAPI_MSG_BUFFER_REGISTER, 20),
		{ .length = 1, .access = 3, .chunk_count = 1 } };
	struct winapi_msg_header reply = { .status = 0 };
	uint32_t status;

	m.h.inline_size = 28;
	for (m.r.gpadl[0] = 1000; m.r.gpadl[0] < 100000 && !reply.status; m.r.gpadl[0]++) {
		if (!raw_gpadl(&g, m.r.gpadl[0], RAW_EXTRA_GPA, 1, &status))
			return false;
		if (status) /* the server's own bound came first */
			return still_works();
		raw_message(&g, 20, &m, 64 + 28);
		if (!raw_reply(&g, &reply, NULL, 0))
			return false;
	}
	return reply.status == WINAPI_STATUS_LIMIT_BUFFERS && still_works();
}

static bool refused(const void *state, uint32_t size)
{
	struct vmbus_user_refused refusal = { 0 };
	struct raw_record record;
	bool good;

	raw_end(&g);
	good = raw_start(&g, path, RAW_CONNECTED);
	raw_send(&g, VMBUS_USER_STATE, state, size, -1);
	good = good && raw_receive(&g, VMBUS_USER_REFUSED, &record);
	if (good)
		memcpy(&refusal, record.payload, sizeof(refusal));
	return good && refusal.error < 0 && refusal.reason[0] && raw_dropped(&g);
}

/* The front-end must learn why, as its guest can't be served by the next of that kind either. */
static bool states_to_refuse(void)
{
	struct {
		struct vmbus_user_state state;
		struct vmbus_user_entry entry;
	} m = { { .magic = VMBUS_USER_MAGIC, .version = VMBUS_USER_VERSION, .bus_version = 0x70000 },
		{ .kind = VMBUS_USER_ENTRY_RELID, .relid = 0 } };
	bool good;

	if (over_kmcl) {
		skip = "the stand-in says READY when the driver makes its offer";
		return true;
	}
	good = refused(&m, sizeof(m.state) - 1) && refused(&m, sizeof(m.state));
	m.state.bus_version = VMBUS_VERSION_5_3;
	m.state.entry_count = 1;
	good = good && refused(&m, sizeof(m));
	m.entry = (struct vmbus_user_entry){ .kind = 77, .relid = 1 };
	return good && refused(&m, sizeof(m));
}

/* ---- Reserved fields ------------------------------------------------------------------------------------------ */

static bool reserved_in_message(void)
{
	struct vmbus_user_message m = { .connection_id = VMBUS_CONNECTION_MESSAGES_5, .reserved = 1 };

	if (over_kmcl) {
		skip = "the stand-in doesn't look";
		return true;
	}
	raw_send(&g, VMBUS_USER_GUEST_MESSAGE, &m, sizeof(m), -1);
	return raw_dropped(&g);
}

static bool removal_with_a_size(void)
{
	struct vmbus_user_region m = { RAW_GPA, VMBUS_PAGE_SIZE };

	if (over_kmcl) {
		skip = "the stand-in doesn't look";
		return true;
	}
	raw_send(&g, VMBUS_USER_REGION_DEL, &m, sizeof(m), -1);
	return raw_dropped(&g);
}

static const struct bad_case cases[] = {
	{ "unknown version", RAW_SESSION, bad_version },
	{ "unknown type", RAW_SESSION, bad_type },
	{ "type 0", RAW_SESSION, type_zero },
	{ "type held back", RAW_SESSION, held_back_type },
	{ "unknown flags", RAW_SESSION, bad_flags },
	{ "a request that says it is a reply", RAW_SESSION, reply_flag },
	{ "unknown API", RAW_SESSION, bad_api },
	{ "unknown method", RAW_SESSION, bad_method },
	{ "reserved field set", RAW_SESSION, reserved_set },
	{ "status set", RAW_SESSION, status_set },
	{ "host_ns set", RAW_SESSION, host_ns_set },
	{ "nine buffers", RAW_SESSION, nine_buffers },
	{ "65,535 buffers", RAW_SESSION, most_buffers },
	{ "inline size over the bound", RAW_SESSION, inline_over },
	{ "inline size of 4 GiB", RAW_SESSION, inline_huge },
	{ "inline data past the packet", RAW_SESSION, inline_past_packet },
	{ "descriptors past the packet", RAW_SESSION, buffers_past_packet },
	{ "foreign session", RAW_SESSION, foreign_session },
	{ "no session", RAW_SESSION, no_session },
	{ "second HELLO", RAW_SESSION, second_hello },
	{ "bad descriptors", RAW_SESSION, bad_descriptors },
	{ "double free", RAW_SESSION, double_free },
	{ "buffers away and back at once", RAW_SESSION, unregister_and_register },
	{ "another session's buffer", RAW_SESSION, foreign_handle },
	{ "bad registrations", RAW_SESSION, bad_registrations },
	{ "teardown of a GPADL in use", RAW_SESSION, teardown_while_in_use },
	{ "wrong magic", RAW_SESSION, bad_magic },
	{ "wrong transaction id", RAW_SESSION, wrong_transaction },
	{ "packet without a header", RAW_SESSION, short_packet },
	{ "packet without completion flag", RAW_SESSION, no_completion_flag },
	{ "packet of another type", RAW_SESSION, bad_packet_type },
	{ "packet longer than the ring", RAW_SESSION, packet_longer_than_ring },
	{ "payload past the packet", RAW_SESSION, offset_past_length },
	{ "payload in the descriptor", RAW_SESSION, offset_in_descriptor },
	{ "page range without pages", RAW_SESSION, range_without_pages },
	{ "ring index out of range", RAW_SESSION, index_out_of_range },
	{ "ring index far out", RAW_SESSION, index_far_out },
	{ "ring index unaligned", RAW_SESSION, index_unaligned },
	{ "ring index backwards", RAW_SESSION, index_backwards },
	{ "messages while closed", RAW_SESSION, messages_while_closed },
	{ "open while open", RAW_SESSION, open_twice },
	{ "bad GPADLs", RAW_OFFERED, bad_gpadls },
	{ "GPADL bodies out of order", RAW_OFFERED, odd_bodies },
	{ "a page eight times in a GPADL", RAW_SESSION, duplicate_pages },
	{ "8,190 pages that aren't memory", RAW_SESSION, most_pages },
	{ "rings outside memory", RAW_OFFERED, ring_outside_memory },
	{ "control message too short", RAW_OFFERED, short_control_message },
	{ "unknown record", RAW_READY, unknown_record },
	{ "records before STATE", RAW_CONNECTED, records_before_state },
	{ "bad regions", RAW_MEMORY, bad_regions },
	{ "hugetlb region", RAW_MEMORY, hugetlb_region },
	{ "second STATE", RAW_READY, second_state },
	{ "STATE that can't be taken over", RAW_CONNECTED, states_to_refuse },
	{ "reserved field of a message set", RAW_OFFERED, reserved_in_message },
	{ "removal of a region with a size", RAW_MEMORY, removal_with_a_size },
	{ "replies never read", RAW_SESSION, never_reads },
	{ "pages of packets without end", RAW_SESSION, pages_without_end },
	{ "messages never read", RAW_OFFERED, never_reads_its_socket },
	{ "sessions without end", RAW_SESSION, sessions_without_end },
	{ "buffers without end", RAW_SESSION, buffers_without_end },
	{ "a call eventfd that blocks", RAW_SESSION, call_that_blocks },
	{ "its own socket for a call eventfd", RAW_READY, call_is_own_socket },
	{ "memory for a call eventfd", RAW_MEMORY, call_is_a_file },
	{ "holes punched in a call", RAW_SESSION, holes_punched_mid_call },
	{ "the event flags' page comes and goes", RAW_SESSION, event_flags_come_and_go },
	{ "death in a call", RAW_SESSION, dies_mid_call },
};

/* ---- The provider ----------------------------------------------------------------------------------------------- */

/* Before the bad one leaves, on the same thread of the host too: of as many as there can be threads. */
#define OTHERS 4

static bool others_are_served(void)
{
	struct winapi *handle[OTHERS] = { NULL };
	char uri[128], in[8] = "well", out[8] = "";
	bool good = true;

	snprintf(uri, sizeof(uri), "local:%s", path);
	for (int i = 0; i < OTHERS; i++)
		if (winapi_open(&handle[i], uri, NULL) || winapi_echo(handle[i], in, out, 8) ||
		    memcmp(in, out, 8)) {
			printf("# %s\n", winapi_error_message());
			good = false;
		}
	for (int i = 0; i < OTHERS; i++)
		winapi_close(handle[i]);
	return good;
}

static pid_t start_host(const char *hostd)
{
	char folder[] = "/tmp/winapi-hostile-XXXXXX";
	pid_t pid;

	if (!mkdtemp(folder))
		exit(1);
	snprintf(path, sizeof(path), "%s/s", folder);
	pid = fork();
	if (!pid) {
		execl(hostd, hostd, "--socket", path, "--log-level", "error", NULL);
		_exit(127);
	}
	for (int i = 0; i < 6000 && access(path, F_OK); i++)
		usleep(10000);
	return pid;
}

static bool host_ends_well(pid_t pid)
{
	char *slash = strrchr(path, '/');
	int status;

	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	*slash = '\0';
	rmdir(path);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
	unsigned int total = sizeof(cases) / sizeof(cases[0]), failed = 0;
	bool own = argc == 2;
	pid_t host = 0;

	if (argc != 2 && argc != 3)
		return 2;
	over_kmcl = !own && !strcmp(argv[1], "--kmcl");
	if (own)
		host = start_host(argv[1]);
	else
		snprintf(path, sizeof(path), "%s", argv[2]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%u\n", total + own);
	for (unsigned int i = 0; i < total; i++) {
		bool good = raw_start(&g, path, cases[i].stage);

		if (!good)
			printf("# no connection\n");
		else
			good = cases[i].run();
		good = others_are_served() && good;
		raw_end(&g);
		good = others_are_served() && good;
		failed += !good;
		printf("%s %u - %s%s%s\n", good ? "ok" : "not ok", i + 1, cases[i].name,
		       skip ? " # SKIP " : "", skip ? skip : "");
		skip = NULL;
	}
	if (own) {
		bool good = host_ends_well(host);

		failed += !good;
		printf("%s %u - the host ends with status 0 on SIGTERM\n", good ? "ok" : "not ok", total + 1);
	}
	return failed ? 1 : 0;
}
