/* SPDX-License-Identifier: MIT */
/*
 * The vmbus-user socket, seen from a guest: bring-up, regions, GPADLs, and the host's word that it is
 * over. One thread at a time, under bus_lock; what comes is checked like anything from the other side.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../common/vmbus_user_socket.h"
#include "local.h"

struct record {
	struct vmbus_user_header header;
	uint8_t payload[sizeof(struct vmbus_user_message) + 8];
	int fd; /* -1: none */
};

/* What a thread waits for: a record's or control message's type, and the id in it. */
struct answer {
	uint32_t type; /* VMBUS_USER_*, or ANSWER_MESSAGE + VMBUS_MSG_* */
	uint64_t id;
	int64_t value;
	bool came;
};
#define ANSWER_MESSAGE 0x10000u

/* ---- The end ------------------------------------------------------------------------------------------ */

void local_lose(struct local *local, int err, const char *why)
{
	bool first;

	/* The reason before the fact: who sees that the host is lost may say why. */
	lock_take(&local->lost_lock);
	first = !local->lost;
	if (first) {
		snprintf(local->lost_why, sizeof(local->lost_why), "%s", why);
		__atomic_store_n(&local->lost, (uint32_t)-err, __ATOMIC_RELEASE);
	}
	lock_drop(&local->lost_lock);
	if (first)
		calls_end_all(local, err);
}

int local_check(struct local *local)
{
	uint32_t lost = __atomic_load_n(&local->lost, __ATOMIC_ACQUIRE);

	if (!lost)
		return 0;
	return fail(-(int)lost, "%s; close the handle and open another",
		    local->lost_why[0] ? local->lost_why : "the host is gone");
}

/* ---- Records ------------------------------------------------------------------------------------------ */

static int wait_socket(struct local *local, short events, uint64_t deadline)
{
	struct pollfd fd = { .fd = local->socket, .events = events };
	uint64_t now = clock_ns();
	struct timespec left;

	if (now >= deadline)
		return -ETIMEDOUT;
	left.tv_sec = (time_t)((deadline - now) / 1000000000u);
	left.tv_nsec = (long)((deadline - now) % 1000000000u);
	if (ppoll(&fd, 1, deadline == NO_DEADLINE ? NULL : &left, NULL) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

static int send_record(struct local *local, uint32_t type, const void *payload, uint32_t size, int fd,
		       uint64_t deadline)
{
	int err;

	while ((err = vmbus_user_send(local->socket, type, payload, size, fd, 0)) != 0) {
		if (err == -EAGAIN)
			err = wait_socket(local, POLLOUT, deadline);
		else if (err != -EINTR)
			local_lose(local, -ENODEV, "the host closed the connection");
		if (err && err != -EINTR)
			return err == -ETIMEDOUT ? fail(err, "the host doesn't read its socket") :
						   local_check(local);
	}
	return 0;
}

static int receive_record(struct local *local, struct record *record)
{
	return vmbus_user_receive(local->socket, record, offsetof(struct record, fd), &record->fd,
				  MSG_DONTWAIT);
}

/* ---- Control messages from the host ------------------------------------------------------------------ */

static void note(struct answer *answer, uint32_t type, uint64_t id, int64_t value)
{
	if (!answer || answer->type != type || answer->id != id)
		return;
	answer->came = true;
	answer->value = value;
}

static const uint8_t our_type[16] = WINAPI_INTERFACE_GUID_BYTES;

static void on_offer(struct local *local, const struct vmbus_offer_channel *offer)
{
	if (memcmp(offer->interface_type, our_type, sizeof(our_type)) || local->offered)
		return;
	local->offered = true;
	local->relid = offer->relid;
}

static uint32_t least_size(uint32_t type)
{
	switch (type) {
	case VMBUS_MSG_OFFER_CHANNEL:
		return sizeof(struct vmbus_offer_channel);
	case VMBUS_MSG_RESCIND_OFFER:
		return sizeof(struct vmbus_channel_msg);
	case VMBUS_MSG_OPEN_RESULT:
		return sizeof(struct vmbus_open_result);
	case VMBUS_MSG_GPADL_CREATED:
		return sizeof(struct vmbus_gpadl_created);
	case VMBUS_MSG_GPADL_TORNDOWN:
		return sizeof(struct vmbus_gpadl_torndown);
	case VMBUS_MSG_VERSION_RESPONSE:
		return sizeof(struct vmbus_version_response);
	default:
		return sizeof(struct vmbus_msg_header);
	}
}

static int on_message(struct local *local, const uint8_t *data, uint32_t size, struct answer *answer)
{
	union {
		struct vmbus_msg_header header;
		struct vmbus_offer_channel offer;
		struct vmbus_channel_msg channel;
		struct vmbus_open_result open;
		struct vmbus_gpadl_created created;
		struct vmbus_gpadl_torndown torndown;
		struct vmbus_version_response version;
		uint8_t bytes[VMBUS_MESSAGE_MAX];
	} m = { { 0 } };
	uint32_t type;

	if (size < sizeof(m.header) || size > sizeof(m))
		return -EPROTO;
	memcpy(&m, data, size);
	type = m.header.type;
	if (size < least_size(type))
		return -EPROTO;
	if (type == VMBUS_MSG_OFFER_CHANNEL)
		on_offer(local, &m.offer);
	else if (type == VMBUS_MSG_RESCIND_OFFER && local->offered && m.channel.relid == local->relid)
		local_lose(local, -ENODEV, "the host took its channel back");
	else if (type == VMBUS_MSG_ALL_OFFERS_DELIVERED)
		note(answer, ANSWER_MESSAGE + type, 0, 0);
	else if (type == VMBUS_MSG_OPEN_RESULT)
		note(answer, ANSWER_MESSAGE + type, m.open.open_id, m.open.status);
	else if (type == VMBUS_MSG_GPADL_CREATED)
		note(answer, ANSWER_MESSAGE + type, m.created.gpadl, m.created.status);
	else if (type == VMBUS_MSG_GPADL_TORNDOWN)
		note(answer, ANSWER_MESSAGE + type, m.torndown.gpadl, 0);
	else if (type == VMBUS_MSG_VERSION_RESPONSE)
		note(answer, ANSWER_MESSAGE + type, 0, m.version.version_supported);
	return 0;
}

/* ---- Records from the host ---------------------------------------------------------------------------- */

static int on_refused(struct local *local, const struct record *record)
{
	struct vmbus_user_refused refused;
	char why[160];

	if (record->header.size != sizeof(refused))
		return -EPROTO;
	memcpy(&refused, record->payload, sizeof(refused));
	refused.reason[sizeof(refused.reason) - 1] = '\0';
	snprintf(why, sizeof(why), "the host refuses us: %s", refused.reason);
	local_lose(local, refused.error == -EPROTONOSUPPORT ? -EPROTONOSUPPORT : -ENODEV, why);
	return 0;
}

/* A write to a pipe or socket may kill the process with SIGPIPE; an eventfd has no type of file. */
static bool may_be_eventfd(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && !(stat.st_mode & S_IFMT);
}

static int on_channel(struct local *local, struct record *record)
{
	if (record->header.size != sizeof(struct vmbus_user_channel) || record->fd < 0)
		return -EPROTO;
	if (local->kick_fd >= 0)
		return 0; /* another device's */
	/* A kick must not keep a call beyond its timeout. */
	if (!may_be_eventfd(record->fd) || fcntl(record->fd, F_SETFL, O_NONBLOCK))
		return -EPROTO;
	local->kick_fd = record->fd;
	record->fd = -1;
	return 0;
}

static int on_region_done(const struct record *record, struct answer *answer)
{
	struct vmbus_user_region_done done;

	if (record->header.size != sizeof(done))
		return -EPROTO;
	memcpy(&done, record->payload, sizeof(done));
	note(answer, VMBUS_USER_REGION_DONE, done.gpa, done.error);
	return 0;
}

static int on_record(struct local *local, struct record *record, struct answer *answer)
{
	const uint32_t head = offsetof(struct vmbus_user_message, data);

	switch (record->header.type) {
	case VMBUS_USER_READY:
		note(answer, VMBUS_USER_READY, 0, 0);
		return record->header.size == sizeof(struct vmbus_user_ready) ? 0 : -EPROTO;
	case VMBUS_USER_REFUSED:
		return on_refused(local, record);
	case VMBUS_USER_REGION_DONE:
		return on_region_done(record, answer);
	case VMBUS_USER_CHANNEL:
		return on_channel(local, record);
	case VMBUS_USER_CHANNEL_GONE:
		return 0;
	case VMBUS_USER_HOST_MESSAGE:
		if (record->header.size < head)
			return -EPROTO;
		return on_message(local, record->payload + head, record->header.size - head, answer);
	default:
		return -EPROTO;
	}
}

#define RECORDS_AT_ONCE 256u /* more than a host that keeps to the rules has to say at a time */

/* Takes what is there: not for ever, as a host may send faster than this is. Under bus_lock. */
static void pump(struct local *local, struct answer *answer)
{
	struct record record;
	int got;

	for (unsigned int i = 0; i < RECORDS_AT_ONCE && !(answer && answer->came); i++) {
		got = receive_record(local, &record);
		if (!got)
			return;
		if (got > 0)
			got = on_record(local, &record, answer);
		if (record.fd >= 0)
			close(record.fd);
		if (got == -EPROTO)
			local_lose(local, -ENODEV, "the host broke the rules of vmbus-user");
		else if (got < 0)
			local_lose(local, -ENODEV, "the host closed the connection");
		if (got < 0)
			return;
	}
}

void bus_look(struct local *local)
{
	if (!lock_try(&local->bus_lock))
		return;
	if (!__atomic_load_n(&local->lost, __ATOMIC_ACQUIRE))
		pump(local, NULL);
	lock_drop(&local->bus_lock);
}

static int await(struct local *local, struct answer *answer, uint64_t deadline, const char *what)
{
	for (;;) {
		int err = local_check(local);

		if (err)
			return err;
		pump(local, answer);
		if (answer->came)
			return 0;
		err = local_check(local);
		if (!err)
			err = wait_socket(local, POLLIN, deadline);
		if (err == -ETIMEDOUT)
			return fail(err, "the host is silent: no answer to %s", what);
		if (err)
			return err;
	}
}

static int post(struct local *local, const void *message, uint32_t size, uint64_t deadline)
{
	struct vmbus_user_message out = { .connection_id = VMBUS_CONNECTION_MESSAGES_5 };

	memcpy(out.data, message, size);
	return send_record(local, VMBUS_USER_GUEST_MESSAGE, &out,
			   (uint32_t)offsetof(struct vmbus_user_message, data) + size, -1, deadline);
}

/* bus_lock isn't had in time: the thread that has it waits for an answer, and may do so for longer. */
#define SLOW "the host is slow to answer what was asked before"

/* A control message and its answer. */
static int ask(struct local *local, const void *message, uint32_t size, struct answer *answer,
	       uint64_t deadline, const char *what)
{
	int err;

	if (!lock_take_until(&local->bus_lock, deadline))
		return fail(-ETIMEDOUT, SLOW);
	err = local_check(local);
	if (!err)
		err = post(local, message, size, deadline);
	if (!err)
		err = await(local, answer, deadline, what);
	lock_drop(&local->bus_lock);
	return err;
}

/* ---- Bring-up ------------------------------------------------------------------------------------------ */

static int introduce(struct local *local, uint64_t deadline)
{
	struct vmbus_user_state state = { .magic = VMBUS_USER_MAGIC, .version = VMBUS_USER_VERSION };
	struct vmbus_user_vp vp = { .event_flags_gpa = VMBUS_USER_FLAGS_OFF };
	struct answer ready = { .type = VMBUS_USER_READY };
	int err = send_record(local, VMBUS_USER_STATE, &state, sizeof(state), -1, deadline);

	if (!err)
		err = await(local, &ready, deadline, "the introduction");
	if (!err)
		err = send_record(local, VMBUS_USER_VP, &vp, sizeof(vp), local->call_fd, deadline);
	return err;
}

static int contact(struct local *local, uint64_t deadline)
{
	static const uint32_t versions[] = { VMBUS_VERSION_5_3, VMBUS_VERSION_5_2, VMBUS_VERSION_5_0,
					     VMBUS_VERSION_4_1, VMBUS_VERSION_4_0 };

	for (unsigned int i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct vmbus_initiate_contact request = {
			.header.type = VMBUS_MSG_INITIATE_CONTACT,
			.version_requested = versions[i],
			.interrupt_page = versions[i] >= VMBUS_VERSION_5_0 ? VMBUS_SINT : 0,
		};
		struct answer response = { .type = ANSWER_MESSAGE + VMBUS_MSG_VERSION_RESPONSE };
		int err = post(local, &request, sizeof(request), deadline);

		if (!err)
			err = await(local, &response, deadline, "the contact");
		if (err)
			return err;
		if (response.value)
			return 0;
	}
	return fail(-EPROTONOSUPPORT, "the host speaks no version of VMBus that this library knows");
}

int bus_connect(struct local *local, uint64_t deadline)
{
	static const struct vmbus_msg_header request = { .type = VMBUS_MSG_REQUEST_OFFERS };
	struct answer offers = { .type = ANSWER_MESSAGE + VMBUS_MSG_ALL_OFFERS_DELIVERED };
	int err = introduce(local, deadline);

	if (!err)
		err = contact(local, deadline);
	if (!err)
		err = post(local, &request, sizeof(request), deadline);
	if (!err)
		err = await(local, &offers, deadline, "the request for offers");
	if (!err && (!local->offered || local->kick_fd < 0))
		err = fail(-ENODEV, "the host offers no winapi channel");
	return err;
}

int bus_open_channel(struct local *local, const struct piece *rings, uint32_t ring_data, uint64_t deadline)
{
	struct vmbus_open_channel request = {
		.header.type = VMBUS_MSG_OPEN_CHANNEL,
		.relid = local->relid,
		.open_id = ++local->open_id,
		.downstream_page = 1 + ring_data / VMBUS_PAGE_SIZE,
	};
	struct answer result = { .type = ANSWER_MESSAGE + VMBUS_MSG_OPEN_RESULT, .id = request.open_id };
	int err = bus_gpadl_create(local, rings->gpa, rings->size / VMBUS_PAGE_SIZE, &request.ring_gpadl,
				   deadline);

	if (err)
		return err;
	err = ask(local, &request, sizeof(request), &result, deadline, "the opening of the channel");
	if (!err && result.value)
		err = fail(-ENODEV, "the host refuses to open the channel (status 0x%x)",
			   (unsigned int)result.value);
	return err;
}

/* ---- Regions and GPADLs -------------------------------------------------------------------------------- */

static int tell_region(struct local *local, uint32_t type, const struct vmbus_user_region *region, int fd,
		       struct answer *done, uint64_t deadline, const char *what)
{
	int err;

	if (!lock_take_until(&local->bus_lock, deadline))
		return fail(-ETIMEDOUT, SLOW);
	err = send_record(local, type, region, sizeof(*region), fd, deadline);
	if (!err)
		err = await(local, done, deadline, what);
	lock_drop(&local->bus_lock);
	return err;
}

int bus_add_region(struct local *local, uint64_t gpa, uint64_t size, int fd, uint64_t deadline)
{
	const struct vmbus_user_region region = { .gpa = gpa, .size = size };
	struct answer done = { .type = VMBUS_USER_REGION_DONE, .id = gpa };
	int err = tell_region(local, VMBUS_USER_REGION_ADD, &region, fd, &done, deadline, "new memory");

	if (!err && done.value)
		err = fail(
			done.value == -ENOSPC ? -ENOSPC : -ENOMEM,
			"the host doesn't take %llu more bytes of memory: see [limits] of winapi-hostd.conf(5)",
			(unsigned long long)size);
	return err;
}

int bus_remove_region(struct local *local, uint64_t gpa, uint64_t deadline)
{
	const struct vmbus_user_region region = { .gpa = gpa };
	struct answer done = { .type = VMBUS_USER_REGION_DONE, .id = gpa };

	return tell_region(local, VMBUS_USER_REGION_DEL, &region, -1, &done, deadline,
			   "the removal of memory");
}

static uint32_t fill_pfns(uint8_t *at, uint64_t *pfn, uint64_t *left, uint32_t room)
{
	uint32_t n = *left < room ? (uint32_t)*left : room;

	for (uint32_t i = 0; i < n; i++, at += 8, ++*pfn)
		memcpy(at, pfn, 8);
	*left -= n;
	return n * 8;
}

static int send_gpadl(struct local *local, uint32_t id, uint64_t gpa, uint64_t pages, uint64_t deadline)
{
	uint8_t message[VMBUS_MESSAGE_MAX];
	struct vmbus_gpadl_header header = {
		.header.type = VMBUS_MSG_GPADL_HEADER,
		.relid = local->relid,
		.gpadl = id,
		.range_buflen = (uint16_t)(sizeof(struct vmbus_gpa_range) + pages * 8),
		.range_count = 1,
		.range.byte_count = (uint32_t)(pages * VMBUS_PAGE_SIZE),
	};
	struct vmbus_gpadl_body body = { .header.type = VMBUS_MSG_GPADL_BODY, .gpadl = id };
	uint64_t pfn = gpa >> VMBUS_PAGE_SHIFT;
	uint32_t size;
	int err;

	memcpy(message, &header, sizeof(header));
	size = fill_pfns(message + sizeof(header), &pfn, &pages, VMBUS_GPADL_HEADER_PFNS);
	err = post(local, message, (uint32_t)sizeof(header) + size, deadline);
	while (!err && pages) {
		body.message_number++;
		memcpy(message, &body, sizeof(body));
		size = fill_pfns(message + sizeof(body), &pfn, &pages, VMBUS_GPADL_BODY_PFNS);
		err = post(local, message, (uint32_t)sizeof(body) + size, deadline);
	}
	return err;
}

int bus_gpadl_create(struct local *local, uint64_t gpa, uint64_t pages, uint32_t *gpadl, uint64_t deadline)
{
	struct answer created = { .type = ANSWER_MESSAGE + VMBUS_MSG_GPADL_CREATED };
	int err;

	if (!lock_take_until(&local->bus_lock, deadline))
		return fail(-ETIMEDOUT, SLOW);
	*gpadl = ++local->next_gpadl;
	created.id = *gpadl;
	err = send_gpadl(local, *gpadl, gpa, pages, deadline);
	if (!err)
		err = await(local, &created, deadline, "a GPADL");
	lock_drop(&local->bus_lock);
	if (!err && created.value)
		err = fail(-ENOSPC, "the host refuses a GPADL of %llu pages (status 0x%x)",
			   (unsigned long long)pages, (unsigned int)created.value);
	return err;
}

int bus_gpadl_teardown(struct local *local, uint32_t gpadl, uint64_t deadline)
{
	struct vmbus_gpadl_teardown request = {
		.header.type = VMBUS_MSG_GPADL_TEARDOWN,
		.relid = local->relid,
		.gpadl = gpadl,
	};
	struct answer torndown = { .type = ANSWER_MESSAGE + VMBUS_MSG_GPADL_TORNDOWN, .id = gpadl };

	return ask(local, &request, sizeof(request), &torndown, deadline, "the teardown of a GPADL");
}
