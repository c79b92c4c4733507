/* SPDX-License-Identifier: MIT */
#include "raw_guest.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../common/vmbus_user_socket.h"

#define RING_DATA ((RAW_RING_PAGES - 1) * VMBUS_PAGE_SIZE)
#define RAM_SIZE ((2 * RAW_RING_PAGES + RAW_EXTRA_PAGES) * (uint64_t)VMBUS_PAGE_SIZE)
#define PATIENCE_MS 60000

/* ---- Socket -------------------------------------------------------------------------------------------- */

void raw_send(struct raw_guest *g, uint32_t type, const void *payload, uint32_t size, int fd)
{
	if (vmbus_user_send(g->socket, type, payload, size, fd, 0))
		g->gone = true;
}

void raw_post(struct raw_guest *g, const void *message, uint32_t size)
{
	struct vmbus_user_message out = { .connection_id = VMBUS_CONNECTION_MESSAGES_5 };

	memcpy(out.data, message, size < sizeof(out.data) ? size : sizeof(out.data));
	raw_send(g, VMBUS_USER_GUEST_MESSAGE, &out, 8 + size, -1);
}

static void note(struct raw_guest *g, const struct raw_record *record, int fd)
{
	struct vmbus_msg_header message;

	if (record->header.type == VMBUS_USER_CHANNEL) {
		memcpy(&g->relid, record->payload, sizeof(g->relid));
		g->kick = fd;
	} else if (record->header.type == VMBUS_USER_HOST_MESSAGE) {
		memcpy(&message, record->payload + 8, sizeof(message));
		if (message.type == VMBUS_MSG_RESCIND_OFFER)
			g->rescinded = true;
		if (message.type == VMBUS_MSG_GPADL_TORNDOWN)
			memcpy(&g->torndown, record->payload + 16, sizeof(g->torndown));
	}
}

static bool receive_any(struct raw_guest *g, struct raw_record *record)
{
	struct pollfd p = { .fd = g->socket, .events = POLLIN };
	int fd;

	if (g->gone || poll(&p, 1, PATIENCE_MS) != 1)
		return false;
	g->gone = vmbus_user_receive(g->socket, record, sizeof(*record), &fd, 0) <= 0;
	if (!g->gone)
		note(g, record, fd);
	else if (fd >= 0)
		close(fd);
	return !g->gone;
}

bool raw_receive(struct raw_guest *g, uint32_t type, struct raw_record *record)
{
	while (receive_any(g, record))
		if (record->header.type == type)
			return true;
	return false;
}

bool raw_receive_message(struct raw_guest *g, uint32_t type, void *message, uint32_t size)
{
	struct raw_record record;
	struct vmbus_msg_header header;

	while (raw_receive(g, VMBUS_USER_HOST_MESSAGE, &record)) {
		memcpy(&header, record.payload + 8, sizeof(header));
		if (header.type == type) {
			memcpy(message, record.payload + 8, size);
			return true;
		}
	}
	return false;
}

bool raw_torndown(struct raw_guest *g, uint32_t gpadl)
{
	struct raw_record record;

	while (g->torndown != gpadl && receive_any(g, &record))
		;
	return g->torndown == gpadl;
}

bool raw_dropped(struct raw_guest *g)
{
	struct raw_record record;

	while (!g->rescinded && !g->gone && receive_any(g, &record))
		;
	return g->rescinded || g->gone;
}

/* ---- Bring-up ------------------------------------------------------------------------------------------- */

int raw_memfd(uint64_t size, bool sealed, bool allocated)
{
	int fd = memfd_create("raw", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) || (allocated && fallocate(fd, 0, 0, (off_t)size)) ||
	    (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)))
		abort();
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int to = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path));
	if (!connect(to, (struct sockaddr *)&address, sizeof(address)))
		return to;
	close(to);
	return -1;
}

static bool introduce(struct raw_guest *g)
{
	struct vmbus_user_state state = { .magic = VMBUS_USER_MAGIC, .version = VMBUS_USER_VERSION };
	struct vmbus_user_vp vp = { .event_flags_gpa = VMBUS_USER_FLAGS_OFF };
	struct raw_record record;

	raw_send(g, VMBUS_USER_STATE, &state, sizeof(state), -1);
	if (!raw_receive(g, VMBUS_USER_READY, &record))
		return false;
	raw_send(g, VMBUS_USER_VP, &vp, sizeof(vp), g->call);
	return true;
}

static bool add_memory(struct raw_guest *g)
{
	int fd = raw_memfd(RAM_SIZE, true, true);

	g->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g->up = (void *)g->ram;
	g->up_data = g->ram + VMBUS_PAGE_SIZE;
	g->down = (void *)(g->ram + RAW_RING_PAGES * VMBUS_PAGE_SIZE);
	g->down_data = (uint8_t *)g->down + VMBUS_PAGE_SIZE;
	g->ram_fd = fd;
	return !raw_add_region(g, RAW_GPA, RAM_SIZE, fd);
}

static bool contact(struct raw_guest *g)
{
	struct vmbus_initiate_contact request = { .header.type = VMBUS_MSG_INITIATE_CONTACT,
						  .version_requested = VMBUS_VERSION_5_3,
						  .interrupt_page = VMBUS_SINT };
	struct vmbus_msg_header offers = { .type = VMBUS_MSG_REQUEST_OFFERS };
	struct vmbus_version_response response;

	raw_post(g, &request, sizeof(request));
	if (!raw_receive_message(g, VMBUS_MSG_VERSION_RESPONSE, &response, sizeof(response)) ||
	    !response.version_supported)
		return false;
	raw_post(g, &offers, sizeof(offers));
	return raw_receive_message(g, VMBUS_MSG_ALL_OFFERS_DELIVERED, &offers, sizeof(offers)) &&
	       g->kick >= 0;
}

bool raw_gpadl(struct raw_guest *g, uint32_t id, uint64_t gpa, uint32_t pages, uint32_t *status)
{
	struct {
		struct vmbus_gpadl_header header;
		uint8_t pfn[VMBUS_GPADL_HEADER_PFNS * 8];
	} __attribute__((packed)) m = { .header = { .header.type = VMBUS_MSG_GPADL_HEADER,
						    .relid = g->relid,
						    .gpadl = id,
						    .range_buflen = (uint16_t)(8 + pages * 8),
						    .range_count = 1,
						    .range.byte_count = pages * VMBUS_PAGE_SIZE } };
	struct vmbus_gpadl_created created;

	for (uint32_t i = 0; i < pages && i < VMBUS_GPADL_HEADER_PFNS; i++) {
		uint64_t pfn = gpa / VMBUS_PAGE_SIZE + i;

		memcpy(m.pfn + i * 8, &pfn, 8);
	}
	raw_post(g, &m, (uint32_t)sizeof(m.header) + pages * 8);
	if (!raw_receive_message(g, VMBUS_MSG_GPADL_CREATED, &created, sizeof(created)))
		return false;
	*status = created.status;
	return true;
}

bool raw_open(struct raw_guest *g)
{
	struct vmbus_open_channel request = { .header.type = VMBUS_MSG_OPEN_CHANNEL,
					      .relid = g->relid,
					      .open_id = 5,
					      .ring_gpadl = RAW_RING_GPADL,
					      .downstream_page = RAW_RING_PAGES };
	struct vmbus_open_result result;
	uint32_t status;

	memset(g->ram, 0, 2 * RAW_RING_PAGES * VMBUS_PAGE_SIZE);
	g->up_write = g->down_read = 0;
	if (!raw_gpadl(g, RAW_RING_GPADL, RAW_GPA, 2 * RAW_RING_PAGES, &status) || status)
		return false;
	raw_post(g, &request, sizeof(request));
	return raw_receive_message(g, VMBUS_MSG_OPEN_RESULT, &result, sizeof(result)) && !result.status;
}

static bool open_session(struct raw_guest *g)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_hello_request hello;
	} hello = { raw_header(g, WINAPI_MSG_HELLO, 1), { 1, 1, 0, WINAPI_FEATURES_V1 } };
	struct {
		struct winapi_msg_header h;
		struct winapi_session_open_request open;
	} session = { raw_header(g, WINAPI_MSG_SESSION_OPEN, 2), { 0, 0, 0, 0 } };
	struct winapi_msg_header reply;

	hello.h.inline_size = sizeof(hello.hello);
	session.h.inline_size = sizeof(session.open);
	raw_message(g, 1, &hello, sizeof(hello));
	if (!raw_reply(g, &reply, NULL, 0) || reply.status)
		return false;
	raw_message(g, 2, &session, sizeof(session));
	if (!raw_reply(g, &reply, NULL, 0) || reply.status)
		return false;
	g->session = reply.session_id;
	return true;
}

bool raw_start(struct raw_guest *g, const char *path, enum raw_stage stage)
{
	return raw_start_on(g, connect_to(path), stage);
}

bool raw_start_on(struct raw_guest *g, int socket, enum raw_stage stage)
{
	*g = (struct raw_guest){ .socket = socket, .call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	g->kick = g->ram_fd = -1;
	if (socket < 0)
		return false;
	if (stage >= RAW_READY && !introduce(g))
		return false;
	if (stage >= RAW_MEMORY && !add_memory(g))
		return false;
	if (stage >= RAW_OFFERED && !contact(g))
		return false;
	if (stage >= RAW_OPEN && !raw_open(g))
		return false;
	return stage < RAW_SESSION || open_session(g);
}

void raw_end(struct raw_guest *g)
{
	close(g->socket);
	close(g->call);
	if (g->kick >= 0)
		close(g->kick);
	if (g->ram_fd >= 0)
		close(g->ram_fd);
	if (g->ram)
		munmap(g->ram, RAM_SIZE);
}

/* ---- Rings ---------------------------------------------------------------------------------------------- */

static void put(struct raw_guest *g, const void *data, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		g->up_data[(g->up_write + i) % RING_DATA] = ((const uint8_t *)data)[i];
	g->up_write = (g->up_write + size) % RING_DATA;
}

static void kick(struct raw_guest *g)
{
	uint64_t one = 1;

	VMBUS_RING_FULL_BARRIER();
	if (write(g->kick, &one, sizeof(one)) < 0)
		abort();
}

void raw_packet(struct raw_guest *g, const struct vmbus_packet_descriptor *desc, const void *payload,
		uint32_t size)
{
	static const uint8_t zeros[8];
	uint64_t trailer = (uint64_t)g->up_write << 32;

	put(g, desc, sizeof(*desc));
	put(g, payload, size);
	put(g, zeros, -size % 8);
	put(g, &trailer, sizeof(trailer));
	VMBUS_RING_STORE(&g->up->write_index, g->up_write);
	kick(g);
}

void raw_message(struct raw_guest *g, uint64_t transaction_id, const void *message, uint32_t size)
{
	struct vmbus_packet_descriptor desc = { .type = VMBUS_PACKET_INBAND,
						.offset8 = 2,
						.length8 = (uint16_t)(2 + (size + 7) / 8),
						.flags = VMBUS_PACKET_FLAG_COMPLETION_REQUESTED,
						.transaction_id = transaction_id };

	raw_packet(g, &desc, message, size);
}

bool raw_await_room(struct raw_guest *g, uint32_t payload)
{
	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		uint32_t read = VMBUS_RING_LOAD(&g->up->read_index);

		if (RING_DATA - vmbus_ring_distance(read, g->up_write, RING_DATA) >
		    vmbus_ring_packet_size(payload))
			return true;
		usleep(1000);
	}
	return false;
}

static void get(struct raw_guest *g, uint32_t at, void *out, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		((uint8_t *)out)[i] = g->down_data[(g->down_read + at + i) % RING_DATA];
}

static bool reply_there(const struct raw_guest *g)
{
	return VMBUS_RING_LOAD(&g->down->write_index) != g->down_read;
}

/* Polls: the socket too, as a rescind ends the wait; but what the host sent before it counts. */
static bool wait_reply(struct raw_guest *g)
{
	for (int ms = 0; ms < PATIENCE_MS && !reply_there(g); ms++) {
		struct pollfd p = { .fd = g->socket, .events = POLLIN };
		struct raw_record record;

		if ((poll(&p, 1, 1) == 1 && !receive_any(g, &record)) || g->rescinded)
			break;
	}
	return reply_there(g);
}

bool raw_reply(struct raw_guest *g, struct winapi_msg_header *header, void *data, uint32_t room)
{
	struct vmbus_packet_descriptor desc;

	if (!wait_reply(g))
		return false;
	get(g, 0, &desc, sizeof(desc));
	get(g, desc.offset8 * 8u, header, sizeof(*header));
	get(g, desc.offset8 * 8u + (uint32_t)sizeof(*header), data, room);
	g->down_read = (g->down_read + desc.length8 * 8u + VMBUS_PACKET_TRAILER) % RING_DATA;
	VMBUS_RING_STORE(&g->down->read_index, g->down_read);
	kick(g);
	return true;
}

struct winapi_msg_header raw_header(const struct raw_guest *g, uint16_t type, uint64_t id)
{
	return (struct winapi_msg_header){ .magic = WINAPI_MAGIC,
					   .version = WINAPI_VERSION_1,
					   .type = type,
					   .request_id = id,
					   .session_id = g->session };
}

/* ---- Calls ---------------------------------------------------------------------------------------------- */

bool raw_echo(struct raw_guest *g, uint64_t id)
{
	struct winapi_msg_header m = raw_header(g, WINAPI_MSG_CALL, id), reply;

	m.api = WINAPI_API_ECHO;
	raw_message(g, id, &m, sizeof(m));
	return raw_reply(g, &reply, NULL, 0) && reply.request_id == id && !reply.status;
}

uint64_t raw_register(struct raw_guest *g, uint32_t gpadl, uint32_t pages)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_register_request r;
	} m = { raw_header(g, WINAPI_MSG_BUFFER_REGISTER, 20),
		{ .length = pages * (uint64_t)VMBUS_PAGE_SIZE,
		  .access = WINAPI_ACCESS_BOTH,
		  .chunk_count = 1,
		  .gpadl = { gpadl } } };
	struct winapi_msg_header reply;
	uint64_t handle = 0;
	uint32_t status;

	if (!raw_gpadl(g, gpadl, RAW_EXTRA_GPA, pages, &status) || status)
		return 0;
	m.h.inline_size = offsetof(struct winapi_buffer_register_request, gpadl) + 4;
	raw_message(g, 20, &m, (uint32_t)sizeof(m.h) + m.h.inline_size);
	return raw_reply(g, &reply, &handle, sizeof(handle)) && !reply.status ? handle : 0;
}

void raw_send_throughput(struct raw_guest *g, uint64_t id, uint64_t handle, uint32_t pages,
			 uint32_t iterations)
{
	struct {
		struct winapi_msg_header h;
		struct winapi_buffer_desc desc;
		struct winapi_perf_throughput_request r;
	} m = { raw_header(g, WINAPI_MSG_CALL, id),
		{ handle, 0, pages * (uint64_t)VMBUS_PAGE_SIZE, WINAPI_ACCESS_READ, 0 },
		{ WINAPI_PERF_READ, iterations } };

	m.h.api = WINAPI_API_PERF_TEST;
	m.h.method = WINAPI_PERF_TEST_THROUGHPUT;
	m.h.buffer_count = 1;
	m.h.inline_size = sizeof(m.r);
	raw_message(g, id, &m, sizeof(m));
}

/* ---- Regions -------------------------------------------------------------------------------------------- */

static int region_done(struct raw_guest *g)
{
	struct vmbus_user_region_done done;
	struct raw_record record;

	if (!raw_receive(g, VMBUS_USER_REGION_DONE, &record))
		return 1;
	memcpy(&done, record.payload, sizeof(done));
	return done.error;
}

static void send_region(struct raw_guest *g, uint32_t type, uint64_t gpa, uint64_t size, int fd)
{
	struct vmbus_user_region region = { gpa, size };

	raw_send(g, type, &region, sizeof(region), fd);
}

int raw_add_region(struct raw_guest *g, uint64_t gpa, uint64_t size, int fd)
{
	send_region(g, VMBUS_USER_REGION_ADD, gpa, size, fd);
	return region_done(g);
}

int raw_remove_region(struct raw_guest *g, uint64_t gpa)
{
	send_region(g, VMBUS_USER_REGION_DEL, gpa, 0, -1);
	return region_done(g);
}

bool raw_churn_event_flags(struct raw_guest *g, unsigned int rounds)
{
	const uint64_t gpa = 0x40000000;
	const struct vmbus_user_vp vp = { .event_flags_gpa = gpa };
	int page = raw_memfd(VMBUS_PAGE_SIZE, true, true);
	uint64_t handle = raw_register(g, 1, VMBUS_GPADL_HEADER_PFNS);
	struct winapi_msg_header reply;
	bool good = handle && !raw_add_region(g, gpa, VMBUS_PAGE_SIZE, page);

	raw_send(g, VMBUS_USER_VP, &vp, sizeof(vp), g->call);
	for (unsigned int i = 0; good && i < rounds; i++) {
		raw_send_throughput(g, 30, handle, VMBUS_GPADL_HEADER_PFNS, 1 + i % 3);
		/* In one go, so that the host is at it while the call ends. */
		for (int j = 0; j < 8; j++) {
			send_region(g, VMBUS_USER_REGION_DEL, gpa, 0, -1);
			send_region(g, VMBUS_USER_REGION_ADD, gpa, VMBUS_PAGE_SIZE, page);
		}
		for (int j = 0; good && j < 16; j++)
			good = !region_done(g);
		good = good && raw_reply(g, &reply, NULL, 0);
	}
	close(page);
	return good;
}
