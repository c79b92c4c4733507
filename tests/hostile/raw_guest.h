/* SPDX-License-Identifier: MIT */
/*
 * A front-end with a guest of its own, made to misbehave: it speaks vmbus-user, VMBus and the winapi
 * protocol by hand, and lets a test write anything anywhere. Independent of libwinapi.
 */
#ifndef RAW_GUEST_H
#define RAW_GUEST_H

#include "../../common/protocol.h"
#include "../../common/ring.h"
#include "../../common/status.h"
#include "../../common/vmbus_user.h"

#define RAW_RING_PAGES 3u /* of each ring: its header and 8 KiB of data */
#define RAW_EXTRA_PAGES 64u /* memory behind the rings */
#define RAW_GPA 0x100000ull
#define RAW_EXTRA_GPA (RAW_GPA + 2 * RAW_RING_PAGES * VMBUS_PAGE_SIZE)
#define RAW_RING_GPADL 0x77u

struct raw_record {
	struct vmbus_user_header header;
	uint8_t payload[VMBUS_USER_MAX_PAYLOAD];
};

struct raw_guest {
	int socket;
	int call;
	int kick;
	uint32_t relid;
	int ram_fd;
	uint8_t *ram; /* the rings, then the extra pages */
	struct vmbus_ring_header *up;
	struct vmbus_ring_header *down;
	uint8_t *up_data;
	uint8_t *down_data;
	uint32_t up_write;
	uint32_t down_read;
	uint64_t session;
	uint32_t torndown; /* the last GPADL that was answered TORNDOWN */
	bool rescinded;
	bool gone; /* the back-end closed the socket */
};

/* How far to go: each includes those before it. False when the back-end didn't play along. */
enum raw_stage { RAW_CONNECTED, RAW_READY, RAW_MEMORY, RAW_OFFERED, RAW_OPEN, RAW_SESSION };
bool raw_start(struct raw_guest *g, const char *path, enum raw_stage stage);
/* The same over a connected socket, which it takes. */
bool raw_start_on(struct raw_guest *g, int socket, enum raw_stage stage);
void raw_end(struct raw_guest *g);

void raw_send(struct raw_guest *g, uint32_t type, const void *payload, uint32_t size, int fd);
void raw_post(struct raw_guest *g, const void *message, uint32_t size);
/* The next record of that type; rescinds and the end are noted on the way. False: none within a few s. */
bool raw_receive(struct raw_guest *g, uint32_t type, struct raw_record *record);
bool raw_receive_message(struct raw_guest *g, uint32_t type, void *message, uint32_t size);
/* Waits until TORNDOWN has come for that GPADL. */
bool raw_torndown(struct raw_guest *g, uint32_t gpadl);
/* Waits until the channel was rescinded or the socket closed. */
bool raw_dropped(struct raw_guest *g);

int raw_memfd(uint64_t size, bool sealed, bool allocated);
/* The rings' GPADL and OPEN_CHANNEL, from fresh rings on. */
bool raw_open(struct raw_guest *g);
bool raw_gpadl(struct raw_guest *g, uint32_t id, uint64_t gpa, uint32_t pages, uint32_t *status);

/* Writes a packet as given and signals. */
void raw_packet(struct raw_guest *g, const struct vmbus_packet_descriptor *desc, const void *payload,
		uint32_t size);
void raw_message(struct raw_guest *g, uint64_t transaction_id, const void *message, uint32_t size);
/* Waits until the host has given back what a packet with that much payload takes: nothing else does. */
bool raw_await_room(struct raw_guest *g, uint32_t payload);
/* The next reply's header, copied; false: none within a few seconds, or the guest was dropped. */
bool raw_reply(struct raw_guest *g, struct winapi_msg_header *header, void *data, uint32_t room);
struct winapi_msg_header raw_header(const struct raw_guest *g, uint16_t type, uint64_t id);

/* An echo of nothing is answered, and well. */
bool raw_echo(struct raw_guest *g, uint64_t id);
/* A buffer of that many of the extra pages, at most VMBUS_GPADL_HEADER_PFNS: its handle, or 0. */
uint64_t raw_register(struct raw_guest *g, uint32_t gpadl, uint32_t pages);
/* A call that reads all of it `iterations` times, and isn't waited for. Enough room in the ring is the caller's care. */
void raw_send_throughput(struct raw_guest *g, uint64_t id, uint64_t handle, uint32_t pages,
			 uint32_t iterations);

/* Gives memory at `gpa`, takes it back: REGION_DONE's error, or 1 when none came. */
int raw_add_region(struct raw_guest *g, uint64_t gpa, uint64_t size, int fd);
int raw_remove_region(struct raw_guest *g, uint64_t gpa);
/* Takes the page of the event flags away, and brings it back, while calls end on other threads. */
bool raw_churn_event_flags(struct raw_guest *g, unsigned int rounds);

#endif /* RAW_GUEST_H */
