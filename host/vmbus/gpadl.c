/* SPDX-License-Identifier: MIT */
/*
 * GPADLs: lists of guest pages that the guest announces in a header and bodies, and takes back with
 * a teardown that is answered when nobody uses the pages any more.
 *
 * Ids are unique on the whole bus, as bodies and TORNDOWN name nothing else.
 */
#include <stdlib.h>

#include "internal.h"

static uint32_t gpadl_bucket(uint32_t id)
{
	return (id * 0x9e3779b1u) >> 24; /* BUS_GPADL_BUCKETS == 256 */
}

struct gpadl *gpadl_find(const struct vmbus_server *server, uint32_t id)
{
	struct gpadl *gpadl = server->gpadls[gpadl_bucket(id)];

	while (gpadl && gpadl->id != id)
		gpadl = gpadl->next;
	return gpadl;
}

static void gpadl_free(struct vmbus_server *server, struct gpadl *gpadl)
{
	struct gpadl **at = &server->gpadls[gpadl_bucket(gpadl->id)];

	while (*at != gpadl)
		at = &(*at)->next;
	*at = gpadl->next;
	server->gpadl_count--;
	server->gpadl_bytes -= (uint64_t)gpadl->pages << VMBUS_PAGE_SHIFT;
	free(gpadl->segments);
	free(gpadl);
}

void gpadls_free(struct vmbus_server *server, const struct vmbus_channel *channel)
{
	for (uint32_t i = 0; i < BUS_GPADL_BUCKETS; i++) {
		struct gpadl *gpadl = server->gpadls[i], *next;

		for (; gpadl; gpadl = next) {
			next = gpadl->next;
			if (!channel || gpadl->channel == channel)
				gpadl_free(server, gpadl);
		}
	}
}

/* ---- Creation -------------------------------------------------------------------------------- */

void gpadl_answer(struct vmbus_server *server, uint32_t relid, uint32_t id, uint32_t status)
{
	struct vmbus_gpadl_created message = {
		.header.type = VMBUS_MSG_GPADL_CREATED,
		.relid = relid,
		.gpadl = id,
		.status = status,
	};

	bus_send(server, &message, sizeof(message));
}

/* What is wrong with the header, or NULL and the pages it announces. */
static const char *header_check(const struct vmbus_server *server, const struct vmbus_gpadl_header *header,
				uint32_t size, uint32_t *pages)
{
	uint64_t n = memory_pages(&header->range);
	uint32_t pfn_bytes = size - sizeof(*header);

	if (header->range_count != 1)
		return "GPADL_HEADER: not exactly one range";
	if (!n)
		return "GPADL_HEADER: no pages";
	/* What 16 bits can say bounds the pages, too. */
	WINAPI_STATIC_ASSERT(sizeof(header->range) + (VMBUS_GPADL_MAX_PAGES + 1) * sizeof(uint64_t) >
			     UINT16_MAX);
	if (header->range_buflen != sizeof(header->range) + n * sizeof(uint64_t))
		return "GPADL_HEADER: range length and byte count disagree";
	if (pfn_bytes % sizeof(uint64_t) || pfn_bytes / sizeof(uint64_t) > n)
		return "GPADL_HEADER: more PFNs than pages, or half ones";
	if (gpadl_find(server, header->gpadl))
		return "GPADL_HEADER: the GPADL exists";
	if (server->gpadl_count >= server->limits.max_gpadls)
		return "GPADL_HEADER: too many GPADLs";
	if (n << VMBUS_PAGE_SHIFT > server->limits.max_gpadl_bytes - server->gpadl_bytes)
		return "GPADL_HEADER: too many bytes in GPADLs";
	*pages = (uint32_t)n;
	return NULL;
}

static struct gpadl *gpadl_new(struct vmbus_channel *channel, const struct vmbus_gpadl_header *header,
			       uint32_t pages)
{
	struct vmbus_server *server = channel->server;
	struct gpadl *gpadl = calloc(1, sizeof(*gpadl) + pages * sizeof(gpadl->pfn[0]));
	struct gpadl **bucket = &server->gpadls[gpadl_bucket(header->gpadl)];

	if (!gpadl)
		return NULL;
	gpadl->channel = channel;
	gpadl->id = header->gpadl;
	gpadl->pages = pages;
	gpadl->whole_pages = !header->range.byte_offset && !(header->range.byte_count % VMBUS_PAGE_SIZE);
	gpadl->next = *bucket;
	*bucket = gpadl;
	server->gpadl_count++;
	server->gpadl_bytes += (uint64_t)pages << VMBUS_PAGE_SHIFT;
	return gpadl;
}

/* Adds PFNs that are known to fit; the last one completes the GPADL. */
static void gpadl_fill(struct gpadl *gpadl, const uint8_t *pfn, uint32_t bytes)
{
	memcpy(gpadl->pfn + gpadl->filled, pfn, bytes);
	gpadl->filled += bytes / sizeof(gpadl->pfn[0]);
	if (gpadl->filled == gpadl->pages)
		gpadl_answer(gpadl->channel->server, gpadl->channel->relid, gpadl->id, BUS_STATUS_OK);
}

int on_gpadl_header(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_gpadl_header *header = message;
	struct vmbus_channel *channel = channel_find(server, header->relid);
	const char *wrong = NULL;
	struct gpadl *gpadl = NULL;
	uint32_t pages;

	if (channel ? channel->rescinded : relid_taken(server, header->relid)) {
		/* The message crossed the rescind: refused, but no fault of the guest's. */
		gpadl_answer(server, header->relid, header->gpadl, BUS_STATUS_REFUSED);
		return 0;
	}
	wrong = channel ? header_check(server, header, size, &pages) : "GPADL_HEADER for an unknown relid";
	if (!wrong) {
		gpadl = gpadl_new(channel, header, pages);
		if (!gpadl)
			wrong = "GPADL_HEADER: out of memory";
	}
	if (wrong) {
		bus_complain(server, wrong);
		gpadl_answer(server, header->relid, header->gpadl, BUS_STATUS_REFUSED);
		return 0;
	}
	gpadl_fill(gpadl, (const uint8_t *)message + sizeof(*header), size - sizeof(*header));
	return 0;
}

static const char *body_check(const struct gpadl *gpadl, const struct vmbus_gpadl_body *body,
			      uint32_t pfn_bytes)
{
	/* Linux leaves the number 0; whoever counts must count right. */
	if (body->message_number && body->message_number != gpadl->bodies + 1)
		return "GPADL_BODY: out of order";
	if (!pfn_bytes || pfn_bytes % sizeof(uint64_t))
		return "GPADL_BODY: no PFNs, or half ones";
	if (pfn_bytes / sizeof(uint64_t) > gpadl->pages - gpadl->filled)
		return "GPADL_BODY: more PFNs than pages";
	return NULL;
}

int on_gpadl_body(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_gpadl_body *body = message;
	uint32_t pfn_bytes = size - sizeof(*body);
	struct gpadl *gpadl = gpadl_find(server, body->gpadl);
	const char *wrong;

	/*
	 * A guest sends all bodies before it looks at the answer, so those of a GPADL that was
	 * refused meanwhile are no fault of its, and nothing is kept about them.
	 */
	if (!gpadl)
		return 0;
	if (gpadl->filled == gpadl->pages) {
		bus_complain(server, "GPADL_BODY for a GPADL that is complete");
		return 0;
	}
	wrong = body_check(gpadl, body, pfn_bytes);
	if (wrong) {
		bus_complain(server, wrong);
		gpadl_answer(server, gpadl->channel->relid, gpadl->id, BUS_STATUS_REFUSED);
		gpadl_free(server, gpadl);
		return 0;
	}
	gpadl->bodies++;
	gpadl_fill(gpadl, (const uint8_t *)message + sizeof(*body), pfn_bytes);
	return 0;
}

/* ---- Teardown -------------------------------------------------------------------------------- */

void torndown_answer(struct vmbus_server *server, uint32_t id)
{
	struct vmbus_gpadl_torndown message = {
		.header.type = VMBUS_MSG_GPADL_TORNDOWN,
		.gpadl = id,
	};

	bus_send(server, &message, sizeof(message));
}

/* The GPADL fell out of use: answers the teardown that waited for it. */
static void gpadl_unused(struct vmbus_server *server, struct gpadl *gpadl)
{
	if (!gpadl->torn)
		return;
	torndown_answer(server, gpadl->id);
	gpadl_free(server, gpadl);
}

/*
 * An unknown GPADL is torn down already as far as the guest can tell: a back-end before this one
 * may have created it, and the guest waits without end for the answer.
 */
int on_gpadl_teardown(struct vmbus_server *server, const void *message, uint32_t size)
{
	const struct vmbus_gpadl_teardown *teardown = message;
	struct gpadl *gpadl = gpadl_find(server, teardown->gpadl);

	(void)size;
	if (!gpadl) {
		torndown_answer(server, teardown->gpadl);
		return 0;
	}
	if (gpadl->torn) {
		bus_complain(server, "GPADL_TEARDOWN twice");
		return 0;
	}
	if (gpadl->channel->relid != teardown->relid)
		bus_complain(server, "GPADL_TEARDOWN names another channel's relid");
	gpadl->torn = true;
	if (!gpadl->mapped && !gpadl->is_ring)
		gpadl_unused(server, gpadl);
	return 0;
}

void gpadls_release(struct vmbus_channel *channel)
{
	struct vmbus_server *server = channel->server;

	for (uint32_t i = 0; i < BUS_GPADL_BUCKETS; i++) {
		struct gpadl *gpadl = server->gpadls[i], *next;

		for (; gpadl; gpadl = next) {
			next = gpadl->next;
			if (gpadl->channel != channel)
				continue;
			free(gpadl->segments);
			gpadl->segments = NULL;
			gpadl->mapped = false;
			gpadl_unused(server, gpadl);
		}
	}
}

/* ---- For the device -------------------------------------------------------------------------- */

int vmbus_gpadl_map(struct vmbus_channel *channel, uint32_t id, const struct vmbus_segment **segments,
		    uint32_t *count)
{
	struct gpadl *gpadl = gpadl_find(channel->server, id);
	int err;

	/* On a channel that closes, a new mapping would have no end that the device knows of. */
	if (channel->state != CHANNEL_OPEN || !gpadl || gpadl->channel != channel ||
	    gpadl->filled < gpadl->pages)
		return -ENOENT;
	if (gpadl->mapped || gpadl->is_ring)
		return -EBUSY;
	err = memory_translate(channel->server, gpadl->pfn, gpadl->pages, 0,
			       (uint64_t)gpadl->pages << VMBUS_PAGE_SHIFT, &gpadl->segments, count);
	if (err)
		return err;
	gpadl->mapped = true;
	*segments = gpadl->segments;
	return 0;
}

void vmbus_gpadl_unmap(struct vmbus_channel *channel, uint32_t id)
{
	struct gpadl *gpadl = gpadl_find(channel->server, id);

	if (!gpadl || gpadl->channel != channel || !gpadl->mapped)
		return;
	free(gpadl->segments);
	gpadl->segments = NULL;
	gpadl->mapped = false;
	gpadl_unused(channel->server, gpadl);
}

static bool gpadl_uses(const struct gpadl *gpadl, uint64_t first, uint64_t last)
{
	if (!gpadl->mapped && !gpadl->is_ring)
		return false;
	for (uint32_t i = 0; i < gpadl->pages; i++)
		if (gpadl->pfn[i] >= first && gpadl->pfn[i] <= last)
			return true;
	return false;
}

bool vmbus_server_uses(const struct vmbus_server *server, uint64_t gpa, uint64_t size)
{
	uint64_t first = gpa >> VMBUS_PAGE_SHIFT;
	uint64_t last;

	if (!size)
		return false;
	last = (size - 1 > UINT64_MAX - gpa ? UINT64_MAX : gpa + (size - 1)) >> VMBUS_PAGE_SHIFT;
	for (uint32_t i = 0; i < BUS_GPADL_BUCKETS; i++)
		for (const struct gpadl *gpadl = server->gpadls[i]; gpadl; gpadl = gpadl->next)
			if (gpadl_uses(gpadl, first, last))
				return true;
	return false;
}
