/* SPDX-License-Identifier: MIT */
/*
 * Hosts that misuse the socket: records of vmbus-user that are too short, too long, of no known kind or
 * with the wrong descriptors, and control messages that are cut, foreign or refuse.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile_host.h"

static void record(struct fake_host *h, uint32_t type, uint32_t size)
{
	static const uint8_t zeros[VMBUS_USER_MAX_PAYLOAD];

	fake_record(h, type, zeros, size, size, -1, -1);
}

static void message(struct fake_host *h, uint32_t type, uint32_t size)
{
	uint8_t bytes[VMBUS_MESSAGE_MAX] = { 0 };

	memcpy(bytes, &type, sizeof(type));
	fake_post(h, bytes, size);
}

/* ---- Records ----------------------------------------------------------------------------------------------- */

#define SAYS(function, what) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		(void)e; \
		what; \
	}

SAYS(type_unknown, record(h, 200, 8))
SAYS(type_of_guests, record(h, VMBUS_USER_STATE, 48))
SAYS(type_zero, record(h, 0, 0))
SAYS(size_too_large, fake_record(h, VMBUS_USER_READY, "0123456789abcdef", 16, 24, -1, -1))
SAYS(size_too_small, fake_record(h, VMBUS_USER_READY, "0123456789abcdef", 16, 8, -1, -1))
SAYS(size_of_4_g, fake_record(h, VMBUS_USER_READY, "0123456789abcdef", 16, UINT32_MAX, -1, -1))
SAYS(huge, record(h, VMBUS_USER_READY, VMBUS_USER_MAX_PAYLOAD))
SAYS(stub, send(h->socket, "abc", 3, MSG_NOSIGNAL))
SAYS(ready_short, record(h, VMBUS_USER_READY, sizeof(struct vmbus_user_ready) - 1))
SAYS(done_short, record(h, VMBUS_USER_REGION_DONE, 8))
SAYS(refused_short, record(h, VMBUS_USER_REFUSED, 4))
SAYS(channel_without_kick, record(h, VMBUS_USER_CHANNEL, sizeof(struct vmbus_user_channel)))

/* A write to it would kill the process. */
static void channel_with_pipe(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_channel channel = { .relid = FAKE_RELID };
	int ends[2];

	(void)e;
	if (pipe(ends))
		abort();
	close(ends[0]);
	fake_record(h, VMBUS_USER_CHANNEL, &channel, sizeof(channel), sizeof(channel), ends[1], -1);
	close(ends[1]);
}

SAYS(channel_short, fake_record(h, VMBUS_USER_CHANNEL, "\7\0\0", 4, 4, h->kick, -1))
SAYS(message_empty, record(h, VMBUS_USER_HOST_MESSAGE, 0))
SAYS(message_headless, record(h, VMBUS_USER_HOST_MESSAGE, 8))
SAYS(message_cut, record(h, VMBUS_USER_HOST_MESSAGE, 8 + 4))
SAYS(message_over, record(h, VMBUS_USER_HOST_MESSAGE, 8 + VMBUS_MESSAGE_MAX + 1))

static void refuse(struct fake_host *h, int32_t error)
{
	struct vmbus_user_refused r = { .error = error };

	memset(r.reason, 'x', sizeof(r.reason)); /* no end */
	fake_record(h, VMBUS_USER_REFUSED, &r, sizeof(r), sizeof(r), -1, -1);
}

SAYS(refused, refuse(h, -EUSERS))
SAYS(refused_version, refuse(h, -EPROTONOSUPPORT))
SAYS(refused_oddly, refuse(h, INT32_MIN))
SAYS(refused_well, refuse(h, 0))

static void ready_with_descriptors(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_ready ready = { .version = VMBUS_USER_VERSION };

	(void)e;
	fake_record(h, VMBUS_USER_READY, &ready, sizeof(ready), sizeof(ready), h->kick, h->stop);
}

static void region_refused(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_region_done done = { .gpa = e->id, .error = -ENOSPC };

	fake_record(h, VMBUS_USER_REGION_DONE, &done, sizeof(done), sizeof(done), -1, -1);
}

static void region_odd_error(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_region_done done = { .gpa = e->id, .error = INT32_MAX };

	fake_record(h, VMBUS_USER_REGION_DONE, &done, sizeof(done), sizeof(done), -1, -1);
}

static void region_of_another(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_region_done done = { .gpa = e->id + VMBUS_PAGE_SIZE, .error = -ENOSPC };

	fake_record(h, VMBUS_USER_REGION_DONE, &done, sizeof(done), sizeof(done), -1, -1);
	fake_answer(h, e);
}

/* Only the first kick is kept, and nothing leaks. */
static void channel_twice(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_channel channel = { FAKE_RELID, 1 };

	fake_answer(h, e);
	fake_record(h, VMBUS_USER_CHANNEL, &channel, sizeof(channel), sizeof(channel), h->stop, -1);
}

static void channel_with_descriptors(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_channel channel = { FAKE_RELID, 1 };

	(void)e;
	fake_record(h, VMBUS_USER_CHANNEL, &channel, sizeof(channel), sizeof(channel), h->kick, h->stop);
}

/* ---- Control messages ---------------------------------------------------------------------------------------- */

SAYS(version_cut, message(h, VMBUS_MSG_VERSION_RESPONSE, 8))
SAYS(offer_cut, message(h, VMBUS_MSG_OFFER_CHANNEL, 195))
SAYS(rescind_cut, message(h, VMBUS_MSG_RESCIND_OFFER, 8))
SAYS(open_cut, message(h, VMBUS_MSG_OPEN_RESULT, 16))
SAYS(created_cut, message(h, VMBUS_MSG_GPADL_CREATED, 16))
SAYS(torndown_cut, message(h, VMBUS_MSG_GPADL_TORNDOWN, 8))
SAYS(no_offers, message(h, VMBUS_MSG_ALL_OFFERS_DELIVERED, 8))

static void offers_of_others(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_user_channel channel = { FAKE_RELID, 1 };

	(void)e;
	fake_record(h, VMBUS_USER_CHANNEL, &channel, sizeof(channel), sizeof(channel), h->kick, -1);
	message(h, VMBUS_MSG_OFFER_CHANNEL, sizeof(struct vmbus_offer_channel));
	message(h, VMBUS_MSG_ALL_OFFERS_DELIVERED, 8);
}

static void offer_without_channel(struct fake_host *h, const struct fake_event *e)
{
	static const uint8_t type[16] = WINAPI_INTERFACE_GUID_BYTES;
	struct vmbus_offer_channel offer = { .header.type = VMBUS_MSG_OFFER_CHANNEL, .relid = FAKE_RELID };

	(void)e;
	memcpy(offer.interface_type, type, sizeof(type));
	fake_post(h, &offer, sizeof(offer));
	message(h, VMBUS_MSG_ALL_OFFERS_DELIVERED, 8);
}

/* The second offer's relid must not become the channel's. */
static void two_offers(struct fake_host *h, const struct fake_event *e)
{
	static const uint8_t type[16] = WINAPI_INTERFACE_GUID_BYTES;
	struct vmbus_offer_channel offer = { .header.type = VMBUS_MSG_OFFER_CHANNEL, .relid = 99 };
	struct vmbus_channel_msg rescind = { .header.type = VMBUS_MSG_RESCIND_OFFER, .relid = 99 };

	fake_answer(h, e);
	memcpy(offer.interface_type, type, sizeof(type));
	fake_post(h, &offer, sizeof(offer));
	fake_post(h, &rescind, sizeof(rescind));
}

static void open_refused(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_open_result result = { .header.type = VMBUS_MSG_OPEN_RESULT,
					    .relid = FAKE_RELID,
					    .open_id = (uint32_t)e->id,
					    .status = 0xc000000d };

	fake_post(h, &result, sizeof(result));
}

static void open_of_another(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_open_result result = { .header.type = VMBUS_MSG_OPEN_RESULT,
					    .relid = FAKE_RELID,
					    .open_id = (uint32_t)e->id + 1 };

	fake_post(h, &result, sizeof(result));
}

static void gpadl_refused(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_gpadl_created created = { .header.type = VMBUS_MSG_GPADL_CREATED,
					       .relid = FAKE_RELID,
					       .gpadl = (uint32_t)e->id,
					       .status = 1 };

	fake_post(h, &created, sizeof(created));
}

static void gpadl_of_another(struct fake_host *h, const struct fake_event *e)
{
	struct vmbus_gpadl_created created = { .header.type = VMBUS_MSG_GPADL_CREATED,
					       .relid = FAKE_RELID,
					       .gpadl = (uint32_t)e->id + 1 };

	fake_post(h, &created, sizeof(created));
}

static void unsupported(struct fake_host *h, const struct fake_event *e)
{
	(void)e;
	message(h, VMBUS_MSG_VERSION_RESPONSE, sizeof(struct vmbus_version_response));
	h->seen[FAKE_CONTACT] = 0; /* and so for each version */
}

/* Thousands of messages about things that nobody asked for, and then the answer. */
static void flood(struct fake_host *h, const struct fake_event *e)
{
	for (uint32_t i = 0; i < 5000; i++) {
		message(h, i % 26, 236);
		record(h, VMBUS_USER_CHANNEL_GONE, 8);
	}
	fake_answer(h, e);
}

static const char *works(struct winapi *handle, const struct host_case *c)
{
	(void)c;
	EXPECT(use_everything(handle) == 0);
	return NULL;
}

static const char *echo_gives(struct winapi *handle, const struct host_case *c)
{
	EXPECT(echo_once(handle) == c->wanted && *winapi_error_message());
	return NULL;
}

/* The second region and the second GPADL are an allocation's. */
static bool spoil_second(struct fake_host *h, const struct fake_event *e)
{
	const struct words *w = h->argument;

	if (e->step != w->step || e->nth != 1)
		return false;
	w->say(h, e);
	return true;
}

static const char *large_alloc_gives(struct winapi *handle, const struct host_case *c)
{
	struct winapi_buffer *buffer;

	EXPECT(winapi_buffer_alloc(handle, 3 << 20, WINAPI_HOST_READS, &buffer) == c->wanted);
	EXPECT(*winapi_error_message());
	EXPECT(echo_once(handle) == 0);
	EXPECT(winapi_buffer_alloc(handle, 3 << 20, WINAPI_HOST_READS, &buffer) == 0);
	EXPECT(winapi_buffer_free(buffer) == 0);
	return NULL;
}

static const struct words second[] = {
	{ "a buffer's memory refused for want of room", FAKE_REGION_ADD, region_refused, 0, NULL, -ENOSPC,
	  0 },
	{ "a buffer's memory refused with an odd error", FAKE_REGION_ADD, region_odd_error, 0, NULL, -ENOMEM,
	  0 },
	{ "another's memory refused", FAKE_REGION_ADD, region_of_another, 0, works, 0, 0 },
	{ "a buffer's GPADL refused", FAKE_GPADL, gpadl_refused, 0, NULL, -ENOSPC, 0 },
	{ "another GPADL created", FAKE_GPADL, gpadl_of_another, 0, NULL, -ETIMEDOUT, SHORT_MS },
};

static const struct words first[] = {
	{ "a record of unknown type", FAKE_STATE, type_unknown, -ENODEV, NULL, 0, 0 },
	{ "a record that only guests send", FAKE_STATE, type_of_guests, -ENODEV, NULL, 0, 0 },
	{ "a record of type 0", FAKE_STATE, type_zero, -ENODEV, NULL, 0, 0 },
	{ "a record that claims more than it has", FAKE_STATE, size_too_large, -ENODEV, NULL, 0, 0 },
	{ "a record that claims less than it has", FAKE_STATE, size_too_small, -ENODEV, NULL, 0, 0 },
	{ "a record that claims 4 GiB", FAKE_STATE, size_of_4_g, -ENODEV, NULL, 0, 0 },
	{ "a record of 16 KiB", FAKE_STATE, huge, -ENODEV, NULL, 0, 0 },
	{ "a record of three bytes", FAKE_STATE, stub, -ENODEV, NULL, 0, 0 },
	{ "READY too short", FAKE_STATE, ready_short, -ENODEV, NULL, 0, 0 },
	{ "READY with two descriptors", FAKE_STATE, ready_with_descriptors, -ENODEV, NULL, 0, 0 },
	{ "REFUSED too short", FAKE_STATE, refused_short, -ENODEV, NULL, 0, 0 },
	{ "REFUSED", FAKE_STATE, refused, -ENODEV, NULL, 0, 0 },
	{ "REFUSED for the version", FAKE_STATE, refused_version, -EPROTONOSUPPORT, NULL, 0, 0 },
	{ "REFUSED with an odd error", FAKE_STATE, refused_oddly, -ENODEV, NULL, 0, 0 },
	{ "REFUSED without an error", FAKE_STATE, refused_well, -ENODEV, NULL, 0, 0 },
	{ "REFUSED in the middle of a call", FAKE_ECHO, refused, 0, echo_gives, -ENODEV, 0 },
	{ "REGION_DONE too short", FAKE_REGION_ADD, done_short, -ENODEV, NULL, 0, 0 },
	{ "the rings' memory refused", FAKE_REGION_ADD, region_refused, -ENOSPC, NULL, 0, 0 },
	{ "CHANNEL without a kick", FAKE_OFFERS, channel_without_kick, -ENODEV, NULL, 0, 0 },
	{ "CHANNEL with a pipe that nobody reads", FAKE_OFFERS, channel_with_pipe, -ENODEV, NULL, 0, 0 },
	{ "CHANNEL too short", FAKE_OFFERS, channel_short, -ENODEV, NULL, 0, 0 },
	{ "CHANNEL twice", FAKE_OFFERS, channel_twice, 0, works, 0, 0 },
	{ "CHANNEL with two descriptors", FAKE_OFFERS, channel_with_descriptors, -ENODEV, NULL, 0, 0 },
	{ "HOST_MESSAGE without a header", FAKE_CONTACT, message_empty, -ENODEV, NULL, 0, 0 },
	{ "HOST_MESSAGE without a message", FAKE_CONTACT, message_headless, -ENODEV, NULL, 0, 0 },
	{ "HOST_MESSAGE of four bytes", FAKE_CONTACT, message_cut, -ENODEV, NULL, 0, 0 },
	{ "HOST_MESSAGE of 241 bytes", FAKE_CONTACT, message_over, -ENODEV, NULL, 0, 0 },
	{ "HOST_MESSAGE of 241 bytes in the middle of a call", FAKE_ECHO, message_over, 0, echo_gives,
	  -ENODEV, 0 },
	{ "VERSION_RESPONSE cut", FAKE_CONTACT, version_cut, -ENODEV, NULL, 0, 0 },
	{ "VERSION_RESPONSE: none supported", FAKE_CONTACT, unsupported, -EPROTONOSUPPORT, NULL, 0, 0 },
	{ "OFFER_CHANNEL cut", FAKE_OFFERS, offer_cut, -ENODEV, NULL, 0, 0 },
	{ "no offer", FAKE_OFFERS, no_offers, -ENODEV, NULL, 0, 0 },
	{ "only others' offers", FAKE_OFFERS, offers_of_others, -ENODEV, NULL, 0, 0 },
	{ "an offer without its CHANNEL", FAKE_OFFERS, offer_without_channel, -ENODEV, NULL, 0, 0 },
	{ "a second offer, taken back", FAKE_OFFERS, two_offers, 0, works, 0, 0 },
	{ "RESCIND_OFFER cut", FAKE_OPEN, rescind_cut, -ENODEV, NULL, 0, 0 },
	{ "OPEN_RESULT cut", FAKE_OPEN, open_cut, -ENODEV, NULL, 0, 0 },
	{ "OPEN_RESULT: refused", FAKE_OPEN, open_refused, -ENODEV, NULL, 0, 0 },
	{ "OPEN_RESULT of another open", FAKE_OPEN, open_of_another, -ETIMEDOUT, NULL, 0, SHORT_MS },
	{ "GPADL_CREATED cut", FAKE_GPADL, created_cut, -ENODEV, NULL, 0, 0 },
	{ "GPADL_CREATED: the rings refused", FAKE_GPADL, gpadl_refused, -ENOSPC, NULL, 0, 0 },
	{ "GPADL_TORNDOWN cut, unasked", FAKE_GPADL, torndown_cut, -ENODEV, NULL, 0, 0 },
	{ "a flood of messages while opening", FAKE_OPEN, flood, 0, works, 0, 0 },
	{ "a flood of messages in a call", FAKE_TEARDOWN, flood, 0, works, 0, 0 },
};

void host_records(void)
{
	run_words(first, sizeof(first) / sizeof(first[0]));
	for (unsigned int i = 0; i < sizeof(second) / sizeof(second[0]); i++) {
		const struct words *w = &second[i];

		run_case(&(struct host_case){ .name = w->name,
					      .script = spoil_second,
					      .argument = w,
					      .use = w->use ? w->use : large_alloc_gives,
					      .wanted = w->wanted,
					      .timeout_ms = w->timeout_ms });
	}
}
