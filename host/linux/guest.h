/* SPDX-License-Identifier: MIT */
/*
 * A guest: a vmbus-user connection with the bus that is served over it, its memory, and its winapi
 * device. It lives on one ring thread; functions are for that thread unless they say otherwise.
 */
#ifndef HOSTD_GUEST_H
#define HOSTD_GUEST_H

#include "device.h"
#include "guest_memory.h"
#include "log.h"

struct outgoing; /* a record that the socket had no room for */
struct kick;

struct guest_vp {
	int call; /* eventfd, -1: none */
	uint64_t flags_gpa;
	uint8_t *flags; /* that page, while a region holds it */
};

struct guest {
	struct ring_thread *thread;
	struct guest *next; /* on the thread */
	unsigned int number; /* in log lines */
	int fd; /* -1: dropped */
	struct source source;
	struct wp_identity identity;
	bool one_cpu; /* polling would only take it from the guest */
	struct guest_memory memory;
	struct vmbus_server *server; /* NULL until STATE */
	struct device device;
	struct kick *kicks;
	struct log_limit log_limit;
	bool writable_awaited;
	struct outgoing *out;
	struct outgoing **out_last;
	uint32_t out_count;

	struct wp_lock vp_lock; /* completions signal from any thread */
	struct guest_vp vp[VMBUS_USER_MAX_VPS];

	struct task add_task;
	struct task idle_task;
	uint32_t idle_posted; /* atomic */
	struct task fail_task;
	const char *failing; /* atomic; why it is about to be dropped */
	struct task free_task;
};

/* Takes the socket. Any thread; NULL: no memory. The guest begins on the thread soon. */
struct guest *guest_start(struct ring_thread *thread, int fd, const struct wp_identity *identity,
			  bool trusted, unsigned int number);
/* Ends the guest: its socket now, the rest when the last access to its memory is over. */
void guest_drop(struct guest *guest);
/* The same, with a line in the log. */
__attribute__((cold)) void guest_fail(struct guest *guest, const char *why);
/* The same soon, from any thread, and from inside the VMBus server or the core; nothing more is sent to it. */
__attribute__((cold)) void guest_fail_soon(struct guest *guest, const char *why);
__attribute__((cold)) void guest_complain(struct guest *guest, const char *what);

/* A use of the guest's memory ended: regions may leave. Any thread. */
void guest_memory_idle(struct guest *guest);
void guest_channel_closed(struct guest *guest);

#endif /* HOSTD_GUEST_H */
