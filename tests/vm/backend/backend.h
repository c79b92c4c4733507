/* SPDX-License-Identifier: MIT */
/*
 * A vmbus-user back-end for tests. It serves the bus by host/vmbus and plays its own small winapi provider,
 * honest until a scenario that the guest armed says otherwise; then it lies once, in the ring, in a
 * control message or by saying nothing, and is honest again.
 *
 *	main.c       options, the loop, time
 *	frontend.c   the socket: records, memory, messages, signals
 *	device.c     the winapi device: steps, honest answers, what BACKEND_* methods ask for
 *	scenarios.c  the lies
 *	keyboard.c   a synthetic keyboard for the stock hyperv_keyboard driver
 *
 * One thread. A control message's answer isn't sent from within the VMBus server but after it returns, so
 * that a scenario may do anything in its place.
 */
#ifndef BACKEND_H
#define BACKEND_H

#include "../../../common/status.h"
#include "../../../host/linux/guest_memory.h"
#include "../../../host/vmbus/internal.h"
#include "control.h"

#define MAX_KICKS 8u
#define MAX_HELD 256u
#define MAX_ANSWERS 16u

/* What a guest asks for. */
enum step {
	STEP_RING_GPADL,
	STEP_OPEN,
	STEP_HELLO,
	STEP_SESSION_OPEN,
	STEP_GPADL, /* of a buffer */
	STEP_REGISTER,
	STEP_ECHO,
	STEP_CALL, /* of another API */
	STEP_BATCH,
	STEP_CANCEL,
	STEP_UNREGISTER,
	STEP_TEARDOWN, /* of a buffer's GPADL */
	STEP_SESSION_CLOSE,
	STEP_CLOSE, /* of the channel; has no answer */
	STEP_RING_TEARDOWN,
	STEP_OTHER, /* nobody lies about it */
};

/* A request on its way to be answered. Control messages carry the server's answer, packets what came. */
struct event {
	enum step step;
	uint32_t answer_size;
	uint8_t answer[VMBUS_MESSAGE_MAX];
	struct winapi_msg_header header;
	struct winapi_buffer_desc desc[WINAPI_MAX_BUFFERS];
	uint8_t data[WINAPI_MAX_INLINE];
};

struct backend;

struct scenario {
	const char *name;
	enum step step;
	void (*act)(struct backend *b, const struct event *e);
	uint32_t restart_ms; /* then the channel is taken back and offered anew; 0: it goes on */
};

struct kick {
	struct vmbus_channel *channel;
	uint32_t relid;
	int fd;
};

struct vp {
	int call; /* -1: unknown */
	uint64_t flags_gpa;
};

struct backend {
	/* frontend.c */
	int socket; /* -1: nobody is connected */
	struct guest_mappings mappings;
	struct guest_memory memory;
	struct vmbus_limits limits;
	struct vmbus_server *server;
	struct kick kicks[MAX_KICKS];
	uint32_t kick_count;
	struct vp vp[VMBUS_USER_MAX_VPS];
	bool serving; /* in the VMBus server, with a message */
	struct event answers[MAX_ANSWERS]; /* its answers, to be sent when it returns */
	uint32_t answer_count;
	/* device.c */
	bool small; /* says so in HELLO: BACKEND_SMALL_* */
	struct vmbus_channel *channel; /* the one offered now */
	struct vmbus_channel *second; /* of BACKEND_SECOND; NULL: not offered */
	uint32_t ring_gpadl; /* the last that it was opened with */
	bool deaf; /* reads its ring no more */
	bool polls; /* as told by BACKEND_POLL */
	uint32_t hold; /* calls to hold back, 0: none */
	uint32_t held_count;
	struct event held[MAX_HELD];
	uint64_t next_session;
	uint64_t next_handle;
	struct backend_counters counters;
	/* scenarios.c */
	const struct scenario *armed;
	struct event kept; /* for scenarios of two steps */
	struct event late; /* to be answered at late_ms */
	uint64_t late_ms; /* 0: nothing */
	uint64_t restart_ms; /* when to take the channel back, 0: never */
	/* keyboard.c */
	bool keyboard; /* offered */
	struct vmbus_channel *keyboard_channel;
	uint64_t type_ms; /* when to type again, 0: nobody listens */
};

/* main.c */
uint64_t now_ms(void);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* frontend.c */
void frontend_accept(struct backend *b, int socket);
void frontend_read(struct backend *b);
void frontend_drop(struct backend *b);
/* A control message to the guest as it is. */
void frontend_post(struct backend *b, const void *message, uint32_t size);
void frontend_interrupt(struct backend *b, uint32_t relid, uint32_t vp);

/* device.c */
void device_offer(struct backend *b);
/* Takes the channel back and offers it anew; the guest hears of the second once it has released the first. */
void device_restart(struct backend *b);
/* Reads the ring; called on kicks, and all the time while it is masked. */
void device_poll(struct backend *b);
/* Does the armed scenario's act or the honest thing. */
void device_event(struct backend *b, const struct event *e);
/* What a control message of the server answers. */
enum step device_step_of(const struct backend *b, const void *answer);
/* What an honest host does. */
void device_answer(struct backend *b, const struct event *e);
struct winapi_msg_header device_reply_header(const struct event *e, uint32_t inline_size);
/* Any header and data as the completion of any transaction. False: the guest made no room for it. */
bool device_reply(struct backend *b, uint64_t transaction_id, const struct winapi_msg_header *header,
		  const void *data, uint32_t size);
/* Any packet, in whichever words. */
bool device_packet(struct backend *b, const struct vmbus_packet_descriptor *desc, const void *payload,
		   uint32_t size);
struct winapi_hello_reply device_hello(const struct backend *b);

/* scenarios.c */
const struct scenario *scenario_find(const char *name);
const char *scenario_name(uint32_t index); /* NULL: no more */
void scenario_tick(struct backend *b);

/* keyboard.c */
void keyboard_offer(struct backend *b);
void keyboard_tick(struct backend *b);

#endif /* BACKEND_H */
