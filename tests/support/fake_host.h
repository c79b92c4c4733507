/* SPDX-License-Identifier: MIT */
/*
 * A host that does as a test says: it speaks vmbus-user, VMBus and the winapi protocol by hand, in a
 * thread of the test, to one guest. Left alone it is honest; at each step a script may do something else.
 * Independent of host/.
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <pthread.h>

#include "../../common/protocol.h"
#include "../../common/ring.h"
#include "../../common/status.h"
#include "../../common/vmbus_user.h"

/* What a guest asks for, and an honest host answers. */
enum fake_step {
	FAKE_STATE,
	FAKE_CONTACT,
	FAKE_OFFERS,
	FAKE_REGION_ADD,
	FAKE_GPADL, /* complete, with its bodies */
	FAKE_OPEN,
	FAKE_HELLO,
	FAKE_SESSION,
	FAKE_REGISTER,
	FAKE_UNREGISTER,
	FAKE_TEARDOWN,
	FAKE_REGION_DEL,
	FAKE_ECHO,
	FAKE_CALL, /* of another API */
	FAKE_BATCH,
	FAKE_CANCEL,
	FAKE_STEPS
};

struct fake_event {
	enum fake_step step;
	uint32_t nth; /* of its step, from 0 */
	uint64_t id; /* region: its address; GPADL, TEARDOWN: the GPADL; OPEN: the open id */
	/* what came in the ring */
	struct winapi_msg_header header;
	struct winapi_buffer_desc desc[WINAPI_MAX_BUFFERS];
	uint8_t data[WINAPI_MAX_INLINE];
};

struct fake_host {
	/* the test's */
	bool (*script)(struct fake_host *h, const struct fake_event *e); /* true: dealt with */
	const void *argument;
	struct winapi_msg_header kept; /* for scripts that answer late */
	uint32_t seen[FAKE_STEPS]; /* to be read after fake_end */
	bool deaf; /* reads no ring any more */
	uint32_t patience_ms;
	/* its own */
	char path[100];
	pthread_t thread;
	int listener;
	int stop;
	int socket;
	int kick;
	int call;
	int region; /* the memfd of the rings */
	uint64_t region_size;
	uint8_t *ram;
	struct vmbus_ring_header *up; /* from the guest */
	struct vmbus_ring_header *down; /* to the guest */
	uint8_t *up_data;
	uint8_t *down_data;
	uint32_t ring_data;
	uint32_t up_read;
	uint32_t down_write;
	uint32_t gpadl_left; /* pages that bodies still bring */
	uint64_t gpadl;
	uint64_t next_handle;
};

#define FAKE_PATIENCE_MS 60000u
#define FAKE_RELID 7u
#define FAKE_SESSION_ID 0x51ull

/* Listens on a socket in a folder of its own, and serves the first guest that comes. */
bool fake_start(struct fake_host *h, bool (*script)(struct fake_host *h, const struct fake_event *e),
		const void *argument);
void fake_end(struct fake_host *h);

/* For scripts. A record with up to two descriptors (-1: none); `claimed` is what its header says. */
void fake_record(struct fake_host *h, uint32_t type, const void *payload, uint32_t size, uint32_t claimed,
		 int fd, int second);
void fake_post(struct fake_host *h, const void *message, uint32_t size);
void fake_rescind(struct fake_host *h);
void fake_hang_up(struct fake_host *h);
/* What an honest host does at that step. */
void fake_answer(struct fake_host *h, const struct fake_event *e);
/* The header of the honest reply to a request. */
struct winapi_msg_header fake_reply_header(const struct fake_event *e, uint32_t inline_size);
/* Any header and data as the completion of any transaction. */
bool fake_reply(struct fake_host *h, uint64_t transaction_id, const struct winapi_msg_header *header,
		const void *data, uint32_t size);
/* Writes a packet as given and calls the guest. False: it made no room for it within patience_ms. */
bool fake_packet(struct fake_host *h, const struct vmbus_packet_descriptor *desc, const void *payload,
		 uint32_t size);
void fake_call(struct fake_host *h);

#endif /* FAKE_HOST_H */
