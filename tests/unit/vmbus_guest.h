/* SPDX-License-Identifier: MIT */
/*
 * A guest for the VMBus server's tests: RAM in a memfd, a log of everything that the server does, a
 * device that records, and short ways to send each message.
 *
 * RAM is two regions, one behind the other in guest-physical memory: [0, 8 MiB) and [8, 16 MiB).
 */
#ifndef VMBUS_GUEST_H
#define VMBUS_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../host/vmbus/vmbus_server.h"

#define RAM_PAGES 4096u
#define REGION_PAGES (RAM_PAGES / 2)
#define LOG_SIZE 4096u

struct logged {
	uint32_t vp;
	uint32_t size;
	union {
		uint8_t bytes[VMBUS_MESSAGE_MAX];
		struct vmbus_msg_header header;
		struct vmbus_version_response version;
		struct vmbus_offer_channel offer;
		struct vmbus_channel_msg channel;
		struct vmbus_open_result open;
		struct vmbus_gpadl_created created;
		struct vmbus_gpadl_torndown torndown;
		struct vmbus_modify_response modify;
	};
};

struct device {
	uint32_t open_status; /* what `opened` answers */
	bool slow; /* `closing` leaves vmbus_channel_closed to the test */
	bool rescind_in_opened;
	uint32_t map_in_opened; /* a GPADL, or 0 */
	unsigned int opened, closing, kicked;
	struct vmbus_channel *channel;
};

struct guest {
	int ram_fd;
	uint8_t *ram;
	struct vmbus_server *server;
	struct logged *log;
	unsigned int logged, read;
	unsigned int signals, complaints, rings, added, gone;
	uint32_t signal_relid, signal_vp, added_connection, gone_relid;
	int added_error; /* what channel_added answers */
	bool map_fails;
	struct device device;
	struct vmbus_channel *channel; /* of `device`, once guest_offer was called */
	void *up, *down; /* the guest's own mappings of its rings */
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	uint32_t up_pages, down_pages;
};

/* ---- What the server asks of its owner ------------------------------------------------------- */

static void op_send_message(void *owner, uint32_t vp, const void *message, uint32_t size)
{
	struct guest *g = owner;
	struct logged *entry = &g->log[g->logged++];

	assert_true(g->logged <= LOG_SIZE);
	assert_true(size >= 8 && size <= VMBUS_MESSAGE_MAX);
	entry->vp = vp;
	entry->size = size;
	memcpy(entry->bytes, message, size);
}

static uint8_t *op_translate(void *owner, uint64_t gpa, uint64_t size)
{
	struct guest *g = owner;
	uint64_t half = REGION_PAGES * 4096ull;
	uint64_t end = gpa < half ? half : 2 * half;

	if (gpa >= end || size > end - gpa)
		return NULL;
	return g->ram + gpa;
}

static void *guest_map(struct guest *g, const uint64_t *pfn, uint32_t count)
{
	uint8_t *at = mmap(NULL, (2 * count - 1) * 4096ul, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	for (uint32_t i = 0; i < 2 * count - 1; i++) {
		uint64_t frame = pfn[i < count ? i : i - count + 1];

		assert_true(frame < RAM_PAGES);
		assert_ptr_not_equal(mmap(at + i * 4096ul, 4096, PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_FIXED, g->ram_fd, (off_t)(frame * 4096)),
				     MAP_FAILED);
	}
	return at;
}

static void *op_map_ring(void *owner, const uint64_t *pfn, uint32_t count)
{
	struct guest *g = owner;

	if (g->map_fails)
		return NULL;
	g->rings++;
	return guest_map(g, pfn, count);
}

static void op_unmap_ring(void *owner, void *ring, uint32_t count)
{
	struct guest *g = owner;

	g->rings--;
	assert_int_equal(munmap(ring, (2 * count - 1) * 4096ul), 0);
}

static void op_signal(void *owner, uint32_t relid, uint32_t vp)
{
	struct guest *g = owner;

	g->signals++;
	g->signal_relid = relid;
	g->signal_vp = vp;
}

static int op_channel_added(void *owner, struct vmbus_channel *channel, uint32_t relid,
			    uint32_t connection_id)
{
	struct guest *g = owner;

	(void)channel;
	(void)relid;
	if (g->added_error)
		return g->added_error;
	g->added++;
	g->added_connection = connection_id;
	return 0;
}

static void op_channel_gone(void *owner, struct vmbus_channel *channel, uint32_t relid)
{
	struct guest *g = owner;

	(void)channel;
	g->gone++;
	g->gone_relid = relid;
}

static void op_complain(void *owner, const char *what)
{
	struct guest *g = owner;

	assert_non_null(what);
	g->complaints++;
}

static const struct vmbus_server_ops guest_ops = {
	.send_message = op_send_message,
	.translate = op_translate,
	.map_ring = op_map_ring,
	.unmap_ring = op_unmap_ring,
	.signal = op_signal,
	.channel_added = op_channel_added,
	.channel_gone = op_channel_gone,
	.complain = op_complain,
};

/* ---- The device ------------------------------------------------------------------------------ */

static uint32_t device_opened(void *arg, struct vmbus_channel *channel)
{
	struct device *device = arg;
	const struct vmbus_segment *segments;
	uint32_t count;

	device->opened++;
	device->channel = channel;
	if (device->map_in_opened)
		assert_int_equal(vmbus_gpadl_map(channel, device->map_in_opened, &segments, &count), 0);
	if (device->rescind_in_opened)
		vmbus_channel_rescind(channel);
	return device->open_status;
}

static void device_closing(void *arg, struct vmbus_channel *channel)
{
	struct device *device = arg;

	device->closing++;
	if (!device->slow)
		vmbus_channel_closed(channel);
}

static void device_kicked(void *arg, struct vmbus_channel *channel)
{
	struct device *device = arg;

	(void)channel;
	device->kicked++;
}

static const struct vmbus_device_ops device_ops = {
	.opened = device_opened,
	.closing = device_closing,
	.kicked = device_kicked,
};

/* ---- Beginning and end ----------------------------------------------------------------------- */

static struct guest *guest_new(const struct vmbus_limits *limits)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->log = calloc(LOG_SIZE, sizeof(*g->log));
	assert_non_null(g->log);
	g->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_true(g->ram_fd >= 0);
	assert_int_equal(ftruncate(g->ram_fd, RAM_PAGES * 4096l), 0);
	g->ram = mmap(NULL, RAM_PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_SHARED, g->ram_fd, 0);
	assert_ptr_not_equal(g->ram, MAP_FAILED);
	g->server = vmbus_server_create(&guest_ops, g, limits);
	assert_non_null(g->server);
	return g;
}

static void guest_unmap(struct guest *g)
{
	if (g->up)
		munmap(g->up, (2 * g->up_pages - 1) * 4096ul);
	if (g->down)
		munmap(g->down, (2 * g->down_pages - 1) * 4096ul);
	g->up = NULL;
	g->down = NULL;
}

/* Ends the server, and checks that it gave back all it took. */
static void guest_free(struct guest *g)
{
	if (!vmbus_server_shut_down(g->server) && g->device.channel)
		vmbus_channel_closed(g->device.channel);
	vmbus_server_destroy(g->server);
	assert_int_equal(g->rings, 0);
	assert_int_equal(g->added, g->gone);
	guest_unmap(g);
	munmap(g->ram, RAM_PAGES * 4096ul);
	close(g->ram_fd);
	free(g->log);
	free(g);
}

/* ---- Messages -------------------------------------------------------------------------------- */

static int guest_send(struct guest *g, const void *message, uint32_t size)
{
	return vmbus_server_message(g->server, message, size);
}

/* The next message from the server, which must be of this type. */
static const struct logged *expect(struct guest *g, uint32_t type)
{
	const struct logged *entry = &g->log[g->read++];

	assert_true(g->read <= g->logged);
	assert_int_equal(entry->header.type, type);
	return entry;
}

static void expect_nothing(struct guest *g)
{
	assert_int_equal(g->read, g->logged);
}

/* Exactly one complaint since the last look. */
static void expect_complaint(struct guest *g)
{
	assert_int_equal(g->complaints, 1);
	g->complaints = 0;
}

static void send_contact(struct guest *g, uint32_t version, uint32_t vp)
{
	struct vmbus_initiate_contact m = {
		.header.type = VMBUS_MSG_INITIATE_CONTACT,
		.version_requested = version,
		.target_vcpu = vp,
		.interrupt_page = version >= VMBUS_VERSION_5_0 ? VMBUS_SINT : 0x5000,
	};

	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
}

static void guest_connect(struct guest *g, uint32_t version)
{
	send_contact(g, version, 0);
	assert_int_equal(expect(g, VMBUS_MSG_VERSION_RESPONSE)->version.version_supported, 1);
}

static void send_plain(struct guest *g, uint32_t type)
{
	struct vmbus_msg_header m = { .type = type };

	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
}

static void send_relid(struct guest *g, uint32_t type, uint32_t relid)
{
	struct vmbus_channel_msg m = { .header.type = type, .relid = relid };

	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
}

static struct vmbus_channel *guest_offer_instance(struct guest *g, struct device *device, uint8_t instance)
{
	struct vmbus_offer offer = {
		.interface_type = WINAPI_INTERFACE_GUID_BYTES,
		.interface_instance = { instance },
		.user_defined = { 1, 2, 3 },
		.ops = &device_ops,
		.device = device,
	};
	struct vmbus_channel *channel = vmbus_server_offer(g->server, &offer);

	assert_non_null(channel);
	return channel;
}

/* Contact, one offer, and the guest has heard of it: relid 1. */
static void guest_with_offer(struct guest *g)
{
	g->channel = guest_offer_instance(g, &g->device, 1);
	guest_connect(g, VMBUS_VERSION_5_3);
	send_plain(g, VMBUS_MSG_REQUEST_OFFERS);
	assert_int_equal(expect(g, VMBUS_MSG_OFFER_CHANNEL)->offer.relid, 1);
	expect(g, VMBUS_MSG_ALL_OFFERS_DELIVERED);
}

/* A GPADL over PFNs, in a header and as many bodies as it takes. */
static void send_gpadl(struct guest *g, uint32_t relid, uint32_t id, const uint64_t *pfn, uint32_t pages)
{
	struct {
		struct vmbus_gpadl_header h;
		uint64_t pfn[VMBUS_GPADL_HEADER_PFNS];
	} __attribute__((packed)) head = {
		.h.header.type = VMBUS_MSG_GPADL_HEADER,
		.h.relid = relid,
		.h.gpadl = id,
		.h.range_buflen = (uint16_t)(8 + 8 * pages),
		.h.range_count = 1,
		.h.range.byte_count = pages * 4096,
	};
	struct {
		struct vmbus_gpadl_body b;
		uint64_t pfn[VMBUS_GPADL_BODY_PFNS];
	} __attribute__((packed)) body = {
		.b.header.type = VMBUS_MSG_GPADL_BODY,
		.b.gpadl = id,
	};
	uint32_t n = pages < VMBUS_GPADL_HEADER_PFNS ? pages : VMBUS_GPADL_HEADER_PFNS;
	uint32_t at = n;

	memcpy(head.pfn, pfn, n * 8);
	assert_int_equal(guest_send(g, &head, sizeof(head.h) + n * 8), 0);
	for (; at < pages; at += n) {
		n = pages - at < VMBUS_GPADL_BODY_PFNS ? pages - at : VMBUS_GPADL_BODY_PFNS;
		memcpy(body.pfn, pfn + at, n * 8);
		assert_int_equal(guest_send(g, &body, sizeof(body.b) + n * 8), 0);
	}
}

/* Consecutive pages from `first` on. */
static void send_gpadl_run(struct guest *g, uint32_t relid, uint32_t id, uint64_t first, uint32_t pages)
{
	uint64_t *pfn = calloc(pages, sizeof(*pfn));

	assert_non_null(pfn);
	for (uint32_t i = 0; i < pages; i++)
		pfn[i] = first + i;
	send_gpadl(g, relid, id, pfn, pages);
	free(pfn);
}

static void expect_created(struct guest *g, uint32_t id, bool fine)
{
	const struct logged *m = expect(g, VMBUS_MSG_GPADL_CREATED);

	assert_int_equal(m->created.gpadl, id);
	assert_int_equal(!m->created.status, fine);
}

static void guest_gpadl(struct guest *g, uint32_t id, uint64_t first, uint32_t pages)
{
	send_gpadl_run(g, 1, id, first, pages);
	expect_created(g, id, true);
}

static void send_teardown(struct guest *g, uint32_t relid, uint32_t id)
{
	struct vmbus_gpadl_teardown m = {
		.header.type = VMBUS_MSG_GPADL_TEARDOWN,
		.relid = relid,
		.gpadl = id,
	};

	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
}

static void expect_torndown(struct guest *g, uint32_t id)
{
	assert_int_equal(expect(g, VMBUS_MSG_GPADL_TORNDOWN)->torndown.gpadl, id);
}

static void send_open(struct guest *g, uint32_t relid, uint32_t gpadl, uint32_t vp, uint32_t downstream)
{
	struct vmbus_open_channel m = {
		.header.type = VMBUS_MSG_OPEN_CHANNEL,
		.relid = relid,
		.open_id = 77,
		.ring_gpadl = gpadl,
		.target_vp = vp,
		.downstream_page = downstream,
	};

	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
}

static void expect_open(struct guest *g, uint32_t relid, bool fine)
{
	const struct logged *m = expect(g, VMBUS_MSG_OPEN_RESULT);

	assert_int_equal(m->open.relid, relid);
	assert_int_equal(m->open.open_id, 77);
	assert_int_equal(!m->open.status, fine);
}

static void send_modify(struct guest *g, uint32_t relid, uint32_t vp)
{
	struct vmbus_modify_channel m = {
		.header.type = VMBUS_MSG_MODIFY_CHANNEL,
		.relid = relid,
		.target_vp = vp,
	};

	assert_int_equal(guest_send(g, &m, sizeof(m)), 0);
}

#define RING_GPADL 100u
#define RING_PFN 16u

/* Opens relid 1 with rings of `data` data pages each way (GPADL 100, PFN 16 on, VP 3). */
static void guest_open(struct guest *g, uint32_t data)
{
	uint64_t pfn[600];
	uint32_t pages = 2 * (data + 1);

	assert_true(pages <= 600);
	for (uint32_t i = 0; i < pages; i++)
		pfn[i] = RING_PFN + i;
	memset(g->ram + RING_PFN * 4096, 0, pages * 4096ul);
	send_gpadl(g, 1, RING_GPADL, pfn, pages);
	expect_created(g, RING_GPADL, true);
	send_open(g, 1, RING_GPADL, 3, data + 1);
	expect_open(g, 1, true);
	guest_unmap(g);
	g->up_pages = data + 1;
	g->down_pages = data + 1;
	g->up = guest_map(g, pfn, g->up_pages);
	g->down = guest_map(g, pfn + g->up_pages, g->down_pages);
	vmbus_ring_out_init(&g->out, g->up, (uint8_t *)g->up + 4096, data * 4096);
	vmbus_ring_in_init(&g->in, g->down, (uint8_t *)g->down + 4096, data * 4096);
}

/* A guest whose one channel is open. */
static struct guest *guest_opened(uint32_t data)
{
	struct guest *g = guest_new(NULL);

	guest_with_offer(g);
	guest_open(g, data);
	return g;
}

#endif /* VMBUS_GUEST_H */
