/* SPDX-License-Identifier: MIT */
/*
 * A guest and its transport in one, for tests of the provider core on platform_steps: it sends
 * packets from plain memory, keeps the replies, and checks on every callback that the core keeps
 * its promises (lock held or not, each packet completed once, headers of replies, GPADLs mapped and
 * unmapped in pairs).
 */
#ifndef TESTS_PROVIDER_GUEST_H
#define TESTS_PROVIDER_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "../../host/provider/provider.h"
#include "platform_steps.h"

#define GUEST_PACKETS 4096u
#define GUEST_GPADLS 64u

struct guest_reply {
	struct winapi_msg_header header;
	uint8_t data[WINAPI_MAX_INLINE];
};

struct guest_gpadl {
	struct wp_segments segments;
	int error; /* what map_gpadl says */
	bool mapped;
};

struct guest {
	struct wp_provider *provider;
	struct wp_channel *channel;
	/* The transport: */
	struct wp_transport_ops ops; /* completions are seen at once, unless a test puts a `publish` in */
	bool completed[GUEST_PACKETS]; /* by packet number, which is the core's `packet` less 1 */
	unsigned int packets; /* sent and taken */
	unsigned int completions;
	unsigned int room; /* replies that still fit */
	int complete_error; /* what `complete` says if not 0 */
	struct guest_reply *reply; /* in order of arrival */
	unsigned int replies;
	unsigned int resumed;
	unsigned int closed;
	struct guest_gpadl gpadl[GUEST_GPADLS]; /* by id, from 1 */
	unsigned int mapped;
	/* The guest: */
	uint64_t next_id;
	uint64_t session;
};

/* A message that is being made; `size` is what the packet says it has. */
struct message {
	struct winapi_msg_header header;
	uint8_t body[8192];
	uint32_t size;
};

extern const struct wp_config guest_config; /* no limits of its own */

/* Provider, channel; `limits` may be NULL. */
void guest_start(struct guest *g, const struct wp_limits *limits);
/* A guest of a provider that is there; its channel is NULL when it couldn't be opened. */
void guest_start_beside(struct guest *g, struct wp_provider *provider);
void guest_start_as(struct guest *g, struct wp_provider *provider, const struct wp_identity *identity);
/* The same, with HELLO and a session. */
void guest_ready(struct guest *g, const struct wp_limits *limits);
/* Closes, runs what is queued, and checks that nothing is left: mappings, packets, memory. */
void guest_end(struct guest *g);
void guest_end_beside(struct guest *g); /* leaves the provider */

/* A message of that type with the guest's session and the next id. */
struct message *message_start(struct guest *g, struct message *m, uint16_t type);
void message_add(struct message *m, const void *data, uint32_t size); /* inline */
void message_call(struct guest *g, struct message *m, uint32_t api, uint16_t method, const void *in,
		  uint32_t size);
void message_buffer(struct message *m, uint64_t handle, uint64_t offset, uint64_t length, uint32_t access);

enum wp_packet_result guest_send(struct guest *g, const struct message *m);
enum wp_packet_result guest_send_with(struct guest *g, const struct message *m,
				      const struct wp_segments *external);
/* The reply to a request, or NULL when it hasn't come. */
const struct guest_reply *guest_reply_to(const struct guest *g, uint64_t request_id);
/* Sends, expects an answer at once, and returns it. */
const struct guest_reply *guest_ask(struct guest *g, const struct message *m);
/* Its status. */
int guest_status(struct guest *g, const struct message *m);
/* The status of the reply that has come. */
int guest_got(const struct guest *g, const struct message *m);

void message_hello(struct guest *g, struct message *m);
void guest_hello(struct guest *g);
uint64_t guest_open_session(struct guest *g);
void message_register(struct guest *g, struct message *m, uint64_t length, uint32_t offset, uint32_t access,
		      const uint32_t *gpadl, uint32_t count);
/* One GPADL over `size` bytes at `data` (a multiple of 4,096), as one segment. */
void guest_gpadl(struct guest *g, uint32_t id, const struct wp_segment *segment, uint32_t count);
uint64_t guest_register(struct guest *g, uint32_t gpadl, uint64_t length, uint32_t access);
int guest_unregister(struct guest *g, uint64_t handle);
int guest_cancel(struct guest *g, uint64_t request_id);
int guest_echo(struct guest *g); /* checked; its status */

#endif /* TESTS_PROVIDER_GUEST_H */
