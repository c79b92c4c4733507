/* SPDX-License-Identifier: MIT */
#include "fake_host.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../common/vmbus_user_socket.h"

struct incoming {
	struct vmbus_user_header header;
	uint8_t payload[VMBUS_USER_MAX_PAYLOAD];
	int fd;
};

/* ---- Records ------------------------------------------------------------------------------------------ */

void fake_record(struct fake_host *h, uint32_t type, const void *payload, uint32_t size, uint32_t claimed,
		 int fd, int second)
{
	union {
		char space[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	const int fds[2] = { fd, second };
	size_t bytes = second >= 0 ? sizeof(fds) : sizeof(int);
	struct vmbus_user_header header = { type, claimed };
	struct iovec iov[] = { { &header, sizeof(header) }, { (void *)payload, size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	if (fd >= 0) {
		struct cmsghdr *c;

		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(bytes);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), fds, bytes);
	}
	if (h->socket >= 0 && sendmsg(h->socket, &message, MSG_NOSIGNAL) < 0)
		fake_hang_up(h);
}

static void send_record(struct fake_host *h, uint32_t type, const void *payload, uint32_t size, int fd)
{
	fake_record(h, type, payload, size, size, fd, -1);
}

void fake_post(struct fake_host *h, const void *message, uint32_t size)
{
	struct vmbus_user_message out = { .connection_id = 0 };

	memcpy(out.data, message, size);
	send_record(h, VMBUS_USER_HOST_MESSAGE, &out, 8 + size, -1);
}

void fake_rescind(struct fake_host *h)
{
	struct vmbus_channel_msg m = { .header.type = VMBUS_MSG_RESCIND_OFFER, .relid = FAKE_RELID };

	fake_post(h, &m, sizeof(m));
}

void fake_hang_up(struct fake_host *h)
{
	if (h->socket >= 0)
		close(h->socket);
	h->socket = -1;
}

/* 1: a record, 0: none now or the guest is gone. */
static int receive(struct fake_host *h, struct incoming *in)
{
	int got = vmbus_user_receive(h->socket, in, offsetof(struct incoming, fd), &in->fd, MSG_DONTWAIT);

	if (got >= 0)
		return got;
	if (in->fd >= 0)
		close(in->fd);
	fake_hang_up(h);
	return 0;
}

/* ---- Rings -------------------------------------------------------------------------------------------- */

static void map_rings(struct fake_host *h, uint32_t downstream_page)
{
	uint64_t one = (uint64_t)downstream_page * VMBUS_PAGE_SIZE;

	if (h->region < 0 || h->region_size != 2 * one || h->ram)
		return;
	h->ram = mmap(NULL, h->region_size, PROT_READ | PROT_WRITE, MAP_SHARED, h->region, 0);
	if (h->ram == MAP_FAILED)
		abort();
	h->ring_data = (uint32_t)one - VMBUS_PAGE_SIZE;
	h->up = (void *)h->ram;
	h->up_data = h->ram + VMBUS_PAGE_SIZE;
	h->down = (void *)(h->ram + one);
	h->down_data = h->ram + one + VMBUS_PAGE_SIZE;
}

void fake_call(struct fake_host *h)
{
	uint64_t one = 1;

	VMBUS_RING_FULL_BARRIER();
	if (h->call >= 0 && write(h->call, &one, sizeof(one)) < 0)
		abort();
}

static void put(struct fake_host *h, const void *data, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		h->down_data[(h->down_write + i) % h->ring_data] = ((const uint8_t *)data)[i];
	h->down_write = (h->down_write + size) % h->ring_data;
}

/* The tests' guests read before a ring is full, but a reply may come before they have. */
static bool await_room(struct fake_host *h, uint32_t size)
{
	for (uint32_t i = 0; i < h->patience_ms; i++) {
		uint32_t read = VMBUS_RING_LOAD(&h->down->read_index);

		if (h->ring_data - vmbus_ring_distance(read, h->down_write, h->ring_data) > size)
			return true;
		fake_call(h);
		usleep(1000);
	}
	return false;
}

bool fake_packet(struct fake_host *h, const struct vmbus_packet_descriptor *desc, const void *payload,
		 uint32_t size)
{
	static const uint8_t zeros[8];
	uint64_t trailer;

	if (!await_room(h, vmbus_ring_packet_size(size)))
		return false;
	trailer = (uint64_t)h->down_write << 32;
	put(h, desc, sizeof(*desc));
	put(h, payload, size);
	put(h, zeros, -size % 8);
	put(h, &trailer, sizeof(trailer));
	VMBUS_RING_STORE(&h->down->write_index, h->down_write);
	fake_call(h);
	return true;
}

bool fake_reply(struct fake_host *h, uint64_t transaction_id, const struct winapi_msg_header *header,
		const void *data, uint32_t size)
{
	uint8_t message[WINAPI_MAX_REPLY];
	uint32_t total = (uint32_t)sizeof(*header) + size;
	struct vmbus_packet_descriptor desc = { VMBUS_PACKET_COMPLETION, 2, (uint16_t)(2 + (total + 7) / 8),
						0, transaction_id };

	memcpy(message, header, sizeof(*header));
	if (size)
		memcpy(message + sizeof(*header), data, size);
	return fake_packet(h, &desc, message, total);
}

static void get(struct fake_host *h, uint32_t at, void *out, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		((uint8_t *)out)[i] = h->up_data[(h->up_read + at + i) % h->ring_data];
}

static enum fake_step step_of(const struct winapi_msg_header *header)
{
	switch (header->type) {
	case WINAPI_MSG_HELLO:
		return FAKE_HELLO;
	case WINAPI_MSG_SESSION_OPEN:
		return FAKE_SESSION;
	case WINAPI_MSG_BUFFER_REGISTER:
		return FAKE_REGISTER;
	case WINAPI_MSG_BUFFER_UNREGISTER:
		return FAKE_UNREGISTER;
	case WINAPI_MSG_BATCH:
		return FAKE_BATCH;
	case WINAPI_MSG_CANCEL:
		return FAKE_CANCEL;
	default:
		return header->api == WINAPI_API_ECHO ? FAKE_ECHO : FAKE_CALL;
	}
}

static void happen(struct fake_host *h, struct fake_event *e)
{
	e->nth = h->seen[e->step]++;
	if (!h->script || !h->script(h, e))
		fake_answer(h, e);
}

/* The guest is the honest side here: what it writes is taken as it is. */
static void read_ring(struct fake_host *h)
{
	while (h->ram && !h->deaf && h->socket >= 0 && VMBUS_RING_LOAD(&h->up->write_index) != h->up_read) {
		struct vmbus_packet_descriptor desc;
		struct fake_event e;
		uint32_t at;

		get(h, 0, &desc, sizeof(desc));
		at = desc.offset8 * 8u;
		get(h, at, &e.header, sizeof(e.header));
		at += (uint32_t)sizeof(e.header);
		get(h, at, e.desc, e.header.buffer_count * (uint32_t)sizeof(e.desc[0]));
		at += e.header.buffer_count * (uint32_t)sizeof(e.desc[0]);
		get(h, at, e.data, e.header.inline_size);
		h->up_read = (h->up_read + desc.length8 * 8u + VMBUS_PACKET_TRAILER) % h->ring_data;
		VMBUS_RING_STORE(&h->up->read_index, h->up_read);
		VMBUS_RING_FULL_BARRIER();
		if (VMBUS_RING_LOAD(&h->up->pending_send_size))
			fake_call(h);
		e.step = step_of(&e.header);
		happen(h, &e);
	}
}

/* ---- Honest answers ------------------------------------------------------------------------------------- */

struct winapi_msg_header fake_reply_header(const struct fake_event *e, uint32_t inline_size)
{
	return (struct winapi_msg_header){
		.magic = WINAPI_MAGIC,
		.version = WINAPI_VERSION_1,
		.type = e->header.type,
		.api = e->header.api,
		.method = e->header.method,
		.flags = WINAPI_FLAG_REPLY,
		.request_id = e->header.request_id,
		.session_id = e->step == FAKE_SESSION ? FAKE_SESSION_ID : e->header.session_id,
		.inline_size = inline_size,
		.timestamp = e->header.timestamp,
		.host_ns = 1,
	};
}

static void reply_with(struct fake_host *h, const struct fake_event *e, const void *data, uint32_t size)
{
	struct winapi_msg_header header = fake_reply_header(e, size);

	fake_reply(h, header.request_id, &header, data, size);
}

static void answer_hello(struct fake_host *h, const struct fake_event *e)
{
	const struct winapi_hello_reply reply = {
		.version = WINAPI_VERSION_1,
		.max_buffers_per_call = WINAPI_MAX_BUFFERS,
		.max_in_flight = 32,
		.features = WINAPI_FEATURES_V1,
		.max_inline = WINAPI_MAX_INLINE,
		.max_batch = WINAPI_MAX_BATCH,
		.max_sessions = 1,
		.max_chunks = WINAPI_MAX_CHUNKS,
		.max_buffers = 1024,
		.max_buffer_size = WINAPI_MAX_BUFFER_SIZE,
		.max_bytes = 1 << 30,
		.provider = "fake",
	};

	reply_with(h, e, &reply, sizeof(reply));
}

static void answer_call(struct fake_host *h, const struct fake_event *e)
{
	uint64_t results[WINAPI_MAX_BUFFERS] = { 0 };
	struct winapi_provider_stats stats = { 0 };

	if (e->header.api == WINAPI_API_INTROSPECTION) {
		reply_with(h, e, &stats, e->header.method == WINAPI_INTROSPECTION_STATS ? sizeof(stats) : 0);
		return;
	}
	for (uint32_t i = 0; i < e->header.buffer_count; i++)
		results[i] = e->desc[i].length;
	reply_with(h, e, results, e->header.buffer_count * 8u);
}

static void answer_message(struct fake_host *h, const struct fake_event *e)
{
	const struct vmbus_version_response version = { .header.type = VMBUS_MSG_VERSION_RESPONSE,
							.version_supported = 1,
							.message_connection_id = 4 };
	const struct vmbus_gpadl_created created = { .header.type = VMBUS_MSG_GPADL_CREATED,
						     .relid = FAKE_RELID,
						     .gpadl = (uint32_t)e->id };
	const struct vmbus_open_result opened = { .header.type = VMBUS_MSG_OPEN_RESULT,
						  .relid = FAKE_RELID,
						  .open_id = (uint32_t)e->id };
	const struct vmbus_gpadl_torndown torndown = { .header.type = VMBUS_MSG_GPADL_TORNDOWN,
						       .gpadl = (uint32_t)e->id };

	if (e->step == FAKE_CONTACT)
		fake_post(h, &version, sizeof(version));
	else if (e->step == FAKE_GPADL)
		fake_post(h, &created, sizeof(created));
	else if (e->step == FAKE_OPEN)
		fake_post(h, &opened, sizeof(opened));
	else
		fake_post(h, &torndown, sizeof(torndown));
}

static void answer_offers(struct fake_host *h)
{
	static const uint8_t type[16] = WINAPI_INTERFACE_GUID_BYTES;
	const struct vmbus_msg_header end = { .type = VMBUS_MSG_ALL_OFFERS_DELIVERED };
	const struct vmbus_user_channel channel = { FAKE_RELID, 1 };
	struct vmbus_offer_channel offer = { .header.type = VMBUS_MSG_OFFER_CHANNEL,
					     .relid = FAKE_RELID,
					     .connection_id = 1 };

	memcpy(offer.interface_type, type, sizeof(type));
	send_record(h, VMBUS_USER_CHANNEL, &channel, sizeof(channel), h->kick);
	fake_post(h, &offer, sizeof(offer));
	fake_post(h, &end, sizeof(end));
}

void fake_answer(struct fake_host *h, const struct fake_event *e)
{
	const struct vmbus_user_ready ready = { VMBUS_USER_VERSION, 0, 64, 1 << 30 };
	const struct vmbus_user_region_done done = { .gpa = e->id };

	switch (e->step) {
	case FAKE_STATE:
		send_record(h, VMBUS_USER_READY, &ready, sizeof(ready), -1);
		break;
	case FAKE_REGION_ADD:
	case FAKE_REGION_DEL:
		send_record(h, VMBUS_USER_REGION_DONE, &done, sizeof(done), -1);
		break;
	case FAKE_OFFERS:
		answer_offers(h);
		break;
	case FAKE_CONTACT:
	case FAKE_GPADL:
	case FAKE_OPEN:
	case FAKE_TEARDOWN:
		answer_message(h, e);
		break;
	case FAKE_HELLO:
		answer_hello(h, e);
		break;
	case FAKE_SESSION:
		reply_with(h, e, &(uint64_t){ FAKE_SESSION_ID }, 8);
		break;
	case FAKE_REGISTER:
		h->next_handle++;
		reply_with(h, e, &h->next_handle, 8);
		break;
	case FAKE_ECHO:
	case FAKE_BATCH: /* its members are echoes */
		reply_with(h, e, e->data, e->header.inline_size);
		break;
	case FAKE_CALL:
		answer_call(h, e);
		break;
	default:
		reply_with(h, e, NULL, 0);
	}
}

/* ---- What comes over the socket -------------------------------------------------------------------------- */

static void on_gpadl(struct fake_host *h, const uint8_t *data, uint32_t size)
{
	struct vmbus_gpadl_header header;
	struct vmbus_msg_header type;
	struct fake_event e = { .step = FAKE_GPADL };

	memcpy(&type, data, sizeof(type));
	if (type.type == VMBUS_MSG_GPADL_HEADER) {
		memcpy(&header, data, sizeof(header));
		h->gpadl = header.gpadl;
		h->gpadl_left = (header.range_buflen - 8u) / 8 - (size - (uint32_t)sizeof(header)) / 8;
	} else {
		h->gpadl_left -= (size - (uint32_t)sizeof(struct vmbus_gpadl_body)) / 8;
	}
	e.id = h->gpadl;
	if (!h->gpadl_left)
		happen(h, &e);
}

static void on_message(struct fake_host *h, const uint8_t *data, uint32_t size)
{
	struct fake_event e = { .id = 0 };
	struct vmbus_msg_header header;
	uint32_t words[8] = { 0 };

	memcpy(&header, data, sizeof(header));
	memcpy(words, data, size < sizeof(words) ? size : sizeof(words));
	switch (header.type) {
	case VMBUS_MSG_INITIATE_CONTACT:
		e.step = FAKE_CONTACT;
		break;
	case VMBUS_MSG_REQUEST_OFFERS:
		e.step = FAKE_OFFERS;
		break;
	case VMBUS_MSG_OPEN_CHANNEL:
		e.step = FAKE_OPEN;
		e.id = words[3];
		map_rings(h, words[6]);
		break;
	case VMBUS_MSG_GPADL_TEARDOWN:
		e.step = FAKE_TEARDOWN;
		e.id = words[3];
		break;
	default:
		on_gpadl(h, data, size);
		return;
	}
	happen(h, &e);
}

/* The first region is the rings'. */
static void on_region(struct fake_host *h, struct incoming *in)
{
	struct fake_event e = { .step = FAKE_REGION_ADD };
	struct vmbus_user_region region;

	memcpy(&region, in->payload, sizeof(region));
	e.id = region.gpa;
	if (h->region < 0) {
		h->region = in->fd;
		h->region_size = region.size;
		in->fd = -1;
	}
	happen(h, &e);
}

static void on_record(struct fake_host *h, struct incoming *in)
{
	struct fake_event e = { .step = FAKE_STATE };

	switch (in->header.type) {
	case VMBUS_USER_STATE:
		happen(h, &e);
		break;
	case VMBUS_USER_REGION_ADD:
		on_region(h, in);
		break;
	case VMBUS_USER_REGION_DEL:
		e.step = FAKE_REGION_DEL;
		memcpy(&e.id, in->payload, sizeof(e.id));
		happen(h, &e);
		break;
	case VMBUS_USER_VP:
		h->call = in->fd;
		in->fd = -1;
		break;
	case VMBUS_USER_GUEST_MESSAGE:
		on_message(h, in->payload + 8, in->header.size - 8);
		break;
	default:
		abort();
	}
}

/* ---- Begin and end ---------------------------------------------------------------------------------------- */

static void serve(struct fake_host *h)
{
	struct incoming in;

	while (h->socket >= 0) {
		struct pollfd fds[] = { { h->socket, POLLIN, 0 },
					{ h->kick, POLLIN, 0 },
					{ h->stop, POLLIN, 0 } };
		uint64_t count;

		poll(fds, 3, -1);
		if (fds[2].revents)
			return;
		if (fds[1].revents && read(h->kick, &count, sizeof(count)) < 0)
			abort();
		while (h->socket >= 0 && receive(h, &in)) {
			on_record(h, &in);
			if (in.fd >= 0)
				close(in.fd);
		}
		read_ring(h);
	}
}

static void *run(void *argument)
{
	struct fake_host *h = argument;
	struct pollfd fds[] = { { h->listener, POLLIN, 0 }, { h->stop, POLLIN, 0 } };

	poll(fds, 2, -1);
	if (fds[1].revents)
		return NULL;
	h->socket = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	serve(h);
	return NULL;
}

bool fake_start(struct fake_host *h, bool (*script)(struct fake_host *h, const struct fake_event *e),
		const void *argument)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char folder[] = "/tmp/winapi-fake-XXXXXX";

	*h = (struct fake_host){ .script = script,
				 .argument = argument,
				 .socket = -1,
				 .call = -1,
				 .region = -1,
				 .patience_ms = FAKE_PATIENCE_MS };
	if (!mkdtemp(folder))
		return false;
	snprintf(h->path, sizeof(h->path), "%s/s", folder);
	memcpy(address.sun_path, h->path, sizeof(h->path));
	h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	h->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return !bind(h->listener, (struct sockaddr *)&address, sizeof(address)) && !listen(h->listener, 1) &&
	       !pthread_create(&h->thread, NULL, run, h);
}

void fake_end(struct fake_host *h)
{
	const int fds[] = { h->listener, h->kick, h->stop };
	uint64_t one = 1;

	if (write(h->stop, &one, sizeof(one)) < 0)
		abort();
	pthread_join(h->thread, NULL);
	fake_hang_up(h);
	for (unsigned int i = 0; i < 3; i++)
		close(fds[i]);
	if (h->call >= 0)
		close(h->call);
	if (h->region >= 0)
		close(h->region);
	if (h->ram)
		munmap(h->ram, h->region_size);
	unlink(h->path);
	*strrchr(h->path, '/') = '\0';
	rmdir(h->path);
}
