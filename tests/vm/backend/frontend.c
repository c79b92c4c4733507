/* SPDX-License-Identifier: MIT */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../../common/vmbus_user_socket.h"

#define MAX_REGIONS 256u
#define MAX_BYTES (4ull << 30)

struct record {
	struct vmbus_user_header header;
	uint8_t payload[VMBUS_USER_MAX_PAYLOAD];
	int fd; /* -1: none, or taken */
};

/* ---- To the front-end ---------------------------------------------------------------------------------- */

static void send_record(struct backend *b, uint32_t type, const void *payload, uint32_t size, int fd)
{
	/* A front-end that is gone is noticed when its socket is read. */
	if (b->socket >= 0)
		vmbus_user_send(b->socket, type, payload, size, fd, 0);
}

static void post(struct backend *b, uint32_t vp, const void *message, uint32_t size)
{
	struct vmbus_user_message out = { .connection_id = vp };

	memcpy(out.data, message, size);
	send_record(b, VMBUS_USER_HOST_MESSAGE, &out,
		    (uint32_t)offsetof(struct vmbus_user_message, data) + size, -1);
}

void frontend_post(struct backend *b, const void *message, uint32_t size)
{
	post(b, b->server->message_vp, message, size);
}

static void set_event_flag(struct backend *b, uint64_t page, uint32_t relid)
{
	uint64_t at = page + VMBUS_SINT * 256u + relid / 32 * 4;
	uint8_t *word = guest_memory_translate(&b->memory, at, 4);

	if (word)
		__atomic_fetch_or((uint32_t *)(void *)word, 1u << relid % 32, __ATOMIC_SEQ_CST);
}

void frontend_interrupt(struct backend *b, uint32_t relid, uint32_t vp)
{
	static const uint64_t one = 1;
	const struct vp *to = &b->vp[vp < VMBUS_USER_MAX_VPS && b->vp[vp].call >= 0 ? vp : 0];

	if (b->channel && relid == b->channel->relid)
		b->counters.interrupts++;
	if (to->call < 0)
		return;
	if (to->flags_gpa != VMBUS_USER_FLAGS_OFF)
		set_event_flag(b, to->flags_gpa, relid);
	if (write(to->call, &one, sizeof(one)) < 0 && errno != EAGAIN)
		die("a call eventfd");
}

/* ---- What the VMBus server asks for -------------------------------------------------------------------- */

/* What the server says to a message waits for it to return; a scenario may want to say something else. */
static void send_message(void *owner, uint32_t vp, const void *message, uint32_t size)
{
	struct backend *b = owner;
	enum step step;

	if (!b->serving || b->answer_count == MAX_ANSWERS) {
		post(b, vp, message, size);
		return;
	}
	step = device_step_of(b, message);
	b->answers[b->answer_count] = (struct event){ .step = step, .answer_size = size };
	memcpy(b->answers[b->answer_count++].answer, message, size);
}

static uint8_t *translate(void *owner, uint64_t gpa, uint64_t size)
{
	return guest_memory_translate(&((struct backend *)owner)->memory, gpa, size);
}

static void *map_ring(void *owner, const uint64_t *pfn, uint32_t count)
{
	return guest_memory_map_ring(&((struct backend *)owner)->memory, pfn, count);
}

static void unmap_ring(void *owner, void *ring, uint32_t count)
{
	(void)count;
	guest_memory_unmap_ring(&((struct backend *)owner)->memory, ring);
}

static void signal_guest(void *owner, uint32_t relid, uint32_t vp)
{
	frontend_interrupt(owner, relid, vp);
}

static int channel_added(void *owner, struct vmbus_channel *channel, uint32_t relid, uint32_t connection_id)
{
	const struct vmbus_user_channel added = { relid, connection_id };
	struct backend *b = owner;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0 || b->kick_count == MAX_KICKS)
		return -EMFILE;
	b->kicks[b->kick_count++] = (struct kick){ channel, relid, fd };
	send_record(b, VMBUS_USER_CHANNEL, &added, sizeof(added), fd);
	return 0;
}

static void channel_gone(void *owner, struct vmbus_channel *channel, uint32_t relid)
{
	const struct vmbus_user_channel gone = { relid, 0 };
	struct backend *b = owner;
	uint32_t i = 0;

	while (b->kicks[i].channel != channel)
		i++;
	close(b->kicks[i].fd);
	b->kicks[i] = b->kicks[--b->kick_count];
	send_record(b, VMBUS_USER_CHANNEL_GONE, &gone, sizeof(gone), -1);
}

static void complain(void *owner, const char *what)
{
	(void)owner;
	fprintf(stderr, "vm_backend: the guest: %s\n", what);
}

static const struct vmbus_server_ops server_ops = {
	.send_message = send_message,
	.translate = translate,
	.map_ring = map_ring,
	.unmap_ring = unmap_ring,
	.signal = signal_guest,
	.channel_added = channel_added,
	.channel_gone = channel_gone,
	.complain = complain,
};

/* ---- Records ------------------------------------------------------------------------------------------- */

static bool on_state(struct backend *b, const struct record *r)
{
	const struct vmbus_user_ready ready = { VMBUS_USER_VERSION, 0, MAX_REGIONS, MAX_BYTES };
	static struct vmbus_user_entry entries[VMBUS_USER_MAX_ENTRIES];
	struct vmbus_user_state state;

	if (b->server || r->header.size < sizeof(state))
		return false;
	memcpy(&state, r->payload, sizeof(state));
	if (state.entry_count > VMBUS_USER_MAX_ENTRIES ||
	    r->header.size != sizeof(state) + state.entry_count * sizeof(entries[0]))
		return false;
	memcpy(entries, r->payload + sizeof(state), state.entry_count * sizeof(entries[0]));
	b->server = vmbus_server_create(&server_ops, b, &b->limits);
	if (!b->server)
		die("no memory");
	send_record(b, VMBUS_USER_READY, &ready, sizeof(ready), -1);
	device_offer(b);
	if (b->keyboard)
		keyboard_offer(b);
	return !vmbus_server_restore(b->server, &state, entries);
}

static void on_region_add(struct backend *b, struct record *r)
{
	struct vmbus_user_region region;
	struct vmbus_user_region_done done = { 0 };

	memcpy(&region, r->payload, sizeof(region));
	done.gpa = region.gpa;
	done.error = guest_memory_add(&b->memory, region.gpa, region.size, r->fd);
	r->fd = -1;
	send_record(b, VMBUS_USER_REGION_DONE, &done, sizeof(done), -1);
}

/* Only libwinapi's local: guests take regions away, and only after the device let go of them. */
static void on_region_del(struct backend *b, const struct record *r)
{
	struct vmbus_user_region_done done = { 0 };
	struct guest_region *region;

	memcpy(&done.gpa, r->payload, sizeof(done.gpa));
	region = guest_memory_find(&b->memory, done.gpa);
	if (region)
		guest_memory_remove(&b->memory, region);
	else
		done.error = -ENOENT;
	send_record(b, VMBUS_USER_REGION_DONE, &done, sizeof(done), -1);
}

static bool on_vp(struct backend *b, struct record *r)
{
	struct vmbus_user_vp vp;

	memcpy(&vp, r->payload, sizeof(vp));
	if (vp.index >= VMBUS_USER_MAX_VPS)
		return false;
	if (b->vp[vp.index].call >= 0)
		close(b->vp[vp.index].call);
	b->vp[vp.index] = (struct vp){ r->fd, vp.event_flags_gpa };
	r->fd = -1;
	return true;
}

static bool on_guest_message(struct backend *b, const struct record *r)
{
	uint32_t size = r->header.size - (uint32_t)offsetof(struct vmbus_user_message, data);
	const uint8_t *message = r->payload + offsetof(struct vmbus_user_message, data);
	struct event closed = { .step = STEP_CLOSE };
	struct vmbus_channel_msg head;
	static struct event answers[MAX_ANSWERS];
	uint32_t count;
	bool ours, fine;

	memcpy(&head, message, size < sizeof(head) ? size : sizeof(head));
	if (head.header.type == VMBUS_MSG_GPADL_HEADER || head.header.type == VMBUS_MSG_GPADL_BODY ||
	    head.header.type == VMBUS_MSG_GPADL_TEARDOWN)
		b->counters.gpadl_messages++;
	ours = head.header.type == VMBUS_MSG_CLOSE_CHANNEL && b->channel && head.relid == b->channel->relid;
	b->serving = true;
	fine = !vmbus_server_message(b->server, message, size);
	b->serving = false;
	count = b->answer_count;
	b->answer_count = 0;
	memcpy(answers, b->answers, count * sizeof(answers[0]));
	for (uint32_t i = 0; i < count; i++)
		device_event(b, &answers[i]);
	if (ours)
		device_event(b, &closed);
	return fine;
}

static bool on_record(struct backend *b, struct record *r)
{
	if (r->header.type == VMBUS_USER_STATE)
		return on_state(b, r);
	if (!b->server)
		return false;
	switch (r->header.type) {
	case VMBUS_USER_REGION_ADD:
		on_region_add(b, r);
		return true;
	case VMBUS_USER_REGION_DEL:
		on_region_del(b, r);
		return true;
	case VMBUS_USER_VP:
		return on_vp(b, r);
	case VMBUS_USER_GUEST_MESSAGE:
		return on_guest_message(b, r);
	default:
		return false;
	}
}

/* ---- Connection ---------------------------------------------------------------------------------------- */

void frontend_accept(struct backend *b, int socket)
{
	b->socket = socket;
	guest_mappings_init(&b->mappings);
	guest_memory_init(&b->memory, &b->mappings, MAX_REGIONS, MAX_BYTES, true);
	for (uint32_t i = 0; i < VMBUS_USER_MAX_VPS; i++)
		b->vp[i] = (struct vp){ -1, VMBUS_USER_FLAGS_OFF };
}

void frontend_drop(struct backend *b)
{
	close(b->socket);
	b->socket = -1;
	if (b->server)
		vmbus_server_destroy(b->server);
	b->server = NULL;
	b->channel = b->second = NULL;
	b->keyboard_channel = NULL;
	b->armed = NULL;
	b->late_ms = b->restart_ms = b->type_ms = 0;
	b->answer_count = 0;
	for (uint32_t i = 0; i < VMBUS_USER_MAX_VPS; i++)
		if (b->vp[i].call >= 0)
			close(b->vp[i].call);
	guest_memory_free(&b->memory);
}

void frontend_read(struct backend *b)
{
	static struct record r;
	bool fine = vmbus_user_receive(b->socket, &r, offsetof(struct record, fd), &r.fd, 0) == 1;

	if (fine && !on_record(b, &r)) {
		fprintf(stderr, "vm_backend: the front-end broke the rules: record %u\n", r.header.type);
		fine = false;
	}
	if (r.fd >= 0)
		close(r.fd);
	if (!fine)
		frontend_drop(b);
}
