/* SPDX-License-Identifier: MIT */
/*
 * Hosts that misuse the ring: replies that name no call, the wrong call or one that is over, headers with
 * one wrong field, batches with members that don't fit, indices and packets that no honest host writes.
 */
#include <unistd.h>

#include "hostile_host.h"

/* ---- One wrong reply, then the right one ---------------------------------------------------------------------- */

/* How many of them the library must have dropped is the case's `wanted`. */
static const char *drops(struct winapi *handle, const struct host_case *c)
{
	uint64_t before = bad_replies(handle);

	EXPECT(echo_once(handle) == 0);
	EXPECT(echo_once(handle) == 0); /* takes what came after the right one */
	EXPECT(bad_replies(handle) == before + (uint64_t)c->wanted);
	EXPECT(use_everything(handle) == 0);
	return NULL;
}

#define WRONG_ID(function, id) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		struct winapi_msg_header header = fake_reply_header(e, 0); \
\
		header.request_id = (id); \
		fake_reply(h, header.request_id, &header, NULL, 0); \
		fake_answer(h, e); \
	}

WRONG_ID(id_zero, 0)
WRONG_ID(id_past_table, (e->header.request_id & ~0xffffull) | 0xffff)
WRONG_ID(id_unused, (e->header.request_id & ~0xffffull) | 60)
WRONG_ID(id_of_older, e->header.request_id - 0x10000)
WRONG_ID(id_of_later, e->header.request_id + 0x10000)
WRONG_ID(id_far_off, e->header.request_id | 1ull << 63)

#define WRONG_HEADER(function, change) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		struct winapi_msg_header header = fake_reply_header(e, 16); \
\
		change; \
		fake_reply(h, e->header.request_id, &header, "not these bytes", 16); \
		fake_answer(h, e); \
	}

WRONG_HEADER(two_ids, header.request_id ^= 1)
WRONG_HEADER(wrong_magic, header.magic ^= 1)
WRONG_HEADER(wrong_version, header.version = 2)
WRONG_HEADER(wrong_type, header.type = WINAPI_MSG_BATCH)
WRONG_HEADER(no_reply_flag, header.flags = 0)
WRONG_HEADER(more_flags, header.flags |= 0x8000)
WRONG_HEADER(with_buffers, header.buffer_count = 1)
WRONG_HEADER(reserved_set, header.reserved = 1)
WRONG_HEADER(past_packet, header.inline_size = 17 + 7)
WRONG_HEADER(over_inline, header.inline_size = WINAPI_MAX_INLINE + 1)
WRONG_HEADER(most_inline, header.inline_size = UINT32_MAX)
WRONG_HEADER(wrong_session, header.session_id++)
WRONG_HEADER(no_session, header.session_id = 0)

static void repeated(struct fake_host *h, const struct fake_event *e)
{
	fake_answer(h, e);
	fake_answer(h, e);
	fake_answer(h, e);
}

static void packet_of(struct fake_host *h, const struct fake_event *e, uint16_t type, uint32_t size)
{
	struct winapi_msg_header header = fake_reply_header(e, 0);
	struct vmbus_packet_descriptor desc = { type, 2, (uint16_t)(2 + (size + 7) / 8), 0,
						e->header.request_id };

	fake_packet(h, &desc, &header, size);
	fake_answer(h, e);
}

static void headless(struct fake_host *h, const struct fake_event *e)
{
	packet_of(h, e, VMBUS_PACKET_COMPLETION, 56);
}

static void empty(struct fake_host *h, const struct fake_event *e)
{
	packet_of(h, e, VMBUS_PACKET_COMPLETION, 0);
}

static void inband(struct fake_host *h, const struct fake_event *e)
{
	packet_of(h, e, VMBUS_PACKET_INBAND, 64);
}

static void type_4711(struct fake_host *h, const struct fake_event *e)
{
	packet_of(h, e, 4711, 64);
}

static const struct words dropped[] = {
	{ "a reply to request 0", FAKE_ECHO, id_zero, 0, drops, 1, 0 },
	{ "a reply past the table", FAKE_ECHO, id_past_table, 0, drops, 1, 0 },
	{ "a reply to a request that isn't", FAKE_ECHO, id_unused, 0, drops, 1, 0 },
	{ "a reply to an older request", FAKE_ECHO, id_of_older, 0, drops, 1, 0 },
	{ "a reply to a later request", FAKE_ECHO, id_of_later, 0, drops, 1, 0 },
	{ "a reply to a request of far off", FAKE_ECHO, id_far_off, 0, drops, 1, 0 },
	{ "a reply with two ids", FAKE_ECHO, two_ids, 0, drops, 1, 0 },
	{ "a reply of wrong magic", FAKE_ECHO, wrong_magic, 0, drops, 1, 0 },
	{ "a reply of wrong version", FAKE_ECHO, wrong_version, 0, drops, 1, 0 },
	{ "a reply of wrong type", FAKE_ECHO, wrong_type, 0, drops, 1, 0 },
	{ "a reply that says it is none", FAKE_ECHO, no_reply_flag, 0, drops, 1, 0 },
	{ "a reply with unknown flags", FAKE_ECHO, more_flags, 0, drops, 1, 0 },
	{ "a reply with buffers", FAKE_ECHO, with_buffers, 0, drops, 1, 0 },
	{ "a reply with reserved set", FAKE_ECHO, reserved_set, 0, drops, 1, 0 },
	{ "a reply longer than its packet", FAKE_ECHO, past_packet, 0, drops, 1, 0 },
	{ "a reply over the bound of inline data", FAKE_ECHO, over_inline, 0, drops, 1, 0 },
	{ "a reply of 4 GiB", FAKE_ECHO, most_inline, 0, drops, 1, 0 },
	{ "a reply to another session", FAKE_ECHO, wrong_session, 0, drops, 1, 0 },
	{ "a reply to no session", FAKE_ECHO, no_session, 0, drops, 1, 0 },
	{ "a reply that comes three times", FAKE_ECHO, repeated, 0, drops, 2, 0 },
	{ "a completion of 56 bytes", FAKE_ECHO, headless, 0, drops, 1, 0 },
	{ "a completion of no bytes", FAKE_ECHO, empty, 0, drops, 1, 0 },
	{ "an in-band packet instead of a completion", FAKE_ECHO, inband, 0, drops, 1, 0 },
	{ "a packet of unknown type", FAKE_ECHO, type_4711, 0, drops, 1, 0 },
};

/* ---- Late, wrong and never ------------------------------------------------------------------------------------- */

static void too_long(struct fake_host *h, const struct fake_event *e)
{
	static const uint8_t bytes[WINAPI_MAX_INLINE];

	say(h, e, 0, bytes, sizeof(bytes));
}

static const char *too_long_for_us(struct winapi *handle, const struct host_case *c)
{
	EXPECT(echo_once(handle) == c->wanted);
	EXPECT(echo_once(handle) == 0 && !bad_replies(handle));
	return NULL;
}

/* The first call's reply comes with the second call's, and once more. */
static bool late(struct fake_host *h, const struct fake_event *e)
{
	struct fake_event first = *e;

	if (e->step != FAKE_ECHO || e->nth > 1)
		return false;
	if (!e->nth) {
		h->kept = e->header;
		return true;
	}
	first.header = h->kept;
	fake_answer(h, &first);
	fake_answer(h, &first);
	fake_answer(h, e);
	return true;
}

static const char *late_is_taken_once(struct winapi *handle, const struct host_case *c)
{
	struct winapi_stats stats = { .size = sizeof(stats) };

	(void)c;
	EXPECT(echo_once(handle) == -ETIMEDOUT);
	EXPECT(echo_once(handle) == 0 && echo_once(handle) == 0);
	EXPECT(winapi_get_stats(handle, &stats) == 0);
	EXPECT(stats.timeouts == 1 && stats.bad_replies == 1);
	return NULL;
}

/* Nothing but wrong replies, as fast as they can be written, until nobody reads them any more. */
static bool flood_of_replies(struct fake_host *h, const struct fake_event *e)
{
	struct winapi_msg_header header = fake_reply_header(e, 0);

	if (e->step != FAKE_ECHO || e->nth)
		return false;
	header.request_id ^= 0x10000;
	h->patience_ms = 50;
	while (fake_reply(h, header.request_id, &header, NULL, 0))
		;
	h->patience_ms = FAKE_PATIENCE_MS;
	return true;
}

static const char *flood_ends_in_time(struct winapi *handle, const struct host_case *c)
{
	(void)c;
	EXPECT(echo_once(handle) == -ETIMEDOUT);
	usleep(500000); /* nobody reads: the flood ends */
	EXPECT(bad_replies(handle) > 0 && echo_once(handle) == 0);
	return NULL;
}

/* Never answers one of the calls: the handle goes on with one slot less, and closes. */
static bool lose_some(struct fake_host *h, const struct fake_event *e)
{
	(void)h;
	return e->step == FAKE_ECHO && e->nth < 32;
}

static const char *slots_stay_taken(struct winapi *handle, const struct host_case *c)
{
	struct winapi_call call = WINAPI_CALL_INIT;

	(void)c;
	call.api = WINAPI_API_ECHO;
	call.timeout_ms = 5;
	for (int i = 0; i < 32; i++)
		EXPECT(winapi_call(handle, &call) == -ETIMEDOUT);
	/* All that the host allows are its own to answer now, so another can't begin. */
	EXPECT(winapi_call(handle, &call) == -EAGAIN);
	EXPECT(*winapi_error_message());
	return NULL;
}

/* ---- Batches ------------------------------------------------------------------------------------------------------ */

#define MEMBERS 3u

/* What the guest sent, with one change. The members have no data, so entries are at 0, 16 and 32. */
#define BATCH_SAYS(function, members, change) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		struct winapi_batch_entry entry[MEMBERS + 1] = { { 0 } }; \
		uint32_t size = (members) * (uint32_t)sizeof(entry[0]); \
\
		memcpy(entry, e->data, MEMBERS * sizeof(entry[0])); \
		change; \
		say(h, e, 0, entry, size); \
	}

BATCH_SAYS(one_less, MEMBERS - 1, (void)0)
BATCH_SAYS(one_more, MEMBERS + 1, entry[MEMBERS].index = MEMBERS)
BATCH_SAYS(one_twice, MEMBERS, entry[2].index = 1)
BATCH_SAYS(index_over, MEMBERS, entry[1].index = MEMBERS)
BATCH_SAYS(index_huge, MEMBERS, entry[1].index = UINT32_MAX)
BATCH_SAYS(other_api, MEMBERS, entry[0].api = 77)
BATCH_SAYS(other_method, MEMBERS, entry[0].method = 77)
BATCH_SAYS(member_past_end, MEMBERS, entry[2].inline_size = 1)
BATCH_SAYS(member_huge, MEMBERS, entry[0].inline_size = UINT16_MAX)
BATCH_SAYS(half_a_member, MEMBERS, size -= 8)
BATCH_SAYS(no_member, 0, (void)0)
BATCH_SAYS(odd_status, MEMBERS, entry[1].status = INT32_MIN)
BATCH_SAYS(other_order, MEMBERS, (entry[0].index = 2, entry[2].index = 0))

static const char *batch_gives(struct winapi *handle, const struct host_case *c)
{
	struct winapi_batch_item items[MEMBERS] = { { .api = WINAPI_API_ECHO },
						    { .api = WINAPI_API_ECHO },
						    { .api = WINAPI_API_ECHO } };
	int err = winapi_batch(handle, items, MEMBERS, 0);

	if (!err)
		err = items[1].result;
	EXPECT(err == c->wanted);
	EXPECT(!err || err == items[1].result);
	EXPECT(use_everything(handle) == 0);
	return NULL;
}

static const struct words batches[] = {
	{ "a batch with a member less", FAKE_BATCH, one_less, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with a member more", FAKE_BATCH, one_more, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with a member twice", FAKE_BATCH, one_twice, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with an index over its count", FAKE_BATCH, index_over, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with a huge index", FAKE_BATCH, index_huge, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with another API", FAKE_BATCH, other_api, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with another method", FAKE_BATCH, other_method, 0, batch_gives, -EPROTO, 0 },
	{ "a batch whose member passes the end", FAKE_BATCH, member_past_end, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with a member of 64 KiB", FAKE_BATCH, member_huge, 0, batch_gives, -EPROTO, 0 },
	{ "a batch that ends within a member", FAKE_BATCH, half_a_member, 0, batch_gives, -EPROTO, 0 },
	{ "a batch without members", FAKE_BATCH, no_member, 0, batch_gives, -EPROTO, 0 },
	{ "a batch with an unknown status", FAKE_BATCH, odd_status, 0, batch_gives, -EPROTO, 0 },
	{ "a batch in another order", FAKE_BATCH, other_order, 0, batch_gives, 0, 0 },
	{ "a reply larger than there is room for", FAKE_ECHO, too_long, 0, too_long_for_us, -EMSGSIZE, 0 },
};

/* Takes nothing from the ring, and hangs up when memory is brought. */
static bool takes_nothing(struct fake_host *h, const struct fake_event *e)
{
	if (e->step == FAKE_REGION_ADD && e->nth)
		fake_hang_up(h);
	else if (e->step != FAKE_ECHO)
		return false;
	h->deaf = true;
	return true;
}

static struct winapi_call large_echo(uint32_t timeout_ms)
{
	static uint8_t bytes[WINAPI_INLINE_MAX];
	struct winapi_call call = WINAPI_CALL_INIT;

	call.api = WINAPI_API_ECHO;
	call.in = bytes;
	call.in_size = sizeof(bytes);
	call.timeout_ms = timeout_ms;
	return call;
}

static void *submit_three(void *handle)
{
	struct winapi_call calls[3];

	for (int i = 0; i < 3; i++)
		calls[i] = large_echo(WINAPI_TIMEOUT_INFINITE);
	return (void *)(intptr_t)winapi_submit(handle, calls, 3);
}

/* One thread waits for room without end, for the third of its calls at the latest. */
static const char *others_keep_their_time(struct winapi *handle, const struct host_case *c)
{
	struct winapi_call call = large_echo(SHORT_MS);
	struct winapi_buffer *buffer;
	pthread_t thread;
	void *submitted;

	(void)c;
	EXPECT(!pthread_create(&thread, NULL, submit_three, handle));
	for (int i = 0; i < 3; i++) {
		EXPECT(winapi_call(handle, &call) == -ETIMEDOUT && *winapi_error_message());
		EXPECT(winapi_submit(handle, &call, 1) == -ETIMEDOUT || !i);
	}
	EXPECT(winapi_buffer_alloc(handle, 100, 1, &buffer) == -ENODEV);
	pthread_join(thread, &submitted);
	EXPECT((intptr_t)submitted < 3);
	return NULL;
}

void host_replies(void)
{
	run_words(dropped, sizeof(dropped) / sizeof(dropped[0]));
	run_words(batches, sizeof(batches) / sizeof(batches[0]));
	run_case(&(struct host_case){ .name = "a reply after the caller gave up, twice",
				      .script = late,
				      .timeout_ms = SHORT_MS,
				      .use = late_is_taken_once });
	run_case(&(struct host_case){ .name = "a flood of wrong replies",
				      .script = flood_of_replies,
				      .timeout_ms = SHORT_MS,
				      .use = flood_ends_in_time });
	run_case(&(struct host_case){ .name = "a host that takes no call, with one caller who waits for ever",
				      .script = takes_nothing,
				      .use = others_keep_their_time });
	run_case(&(struct host_case){ .name = "every call that may be in flight is never answered",
				      .script = lose_some,
				      .use = slots_stay_taken });
}

/* ---- Rings ---------------------------------------------------------------------------------------------------------- */

#define INDEX_SAYS(function, what) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		(void)e; \
		what; \
		fake_call(h); \
		h->deaf = true; \
	}

INDEX_SAYS(write_at_end, VMBUS_RING_STORE(&h->down->write_index, h->ring_data))
INDEX_SAYS(write_far_out, VMBUS_RING_STORE(&h->down->write_index, UINT32_MAX & ~7u))
INDEX_SAYS(write_unaligned, VMBUS_RING_STORE(&h->down->write_index, h->down_write + 12))
INDEX_SAYS(write_backwards, VMBUS_RING_STORE(&h->down->write_index, h->down_write - 8))

static void raw_packet(struct fake_host *h, uint16_t offset8, uint16_t length8, uint32_t bytes)
{
	struct vmbus_packet_descriptor desc = { VMBUS_PACKET_COMPLETION, offset8, length8, 0, 1 };
	uint8_t zeros[256] = { 0 };

	fake_packet(h, &desc, zeros, bytes);
	h->deaf = true;
}

#define PACKET_SAYS(function, offset8, length8, bytes) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		(void)e; \
		raw_packet(h, offset8, length8, bytes); \
	}

PACKET_SAYS(length_zero, 2, 0, 64)
PACKET_SAYS(offset_zero, 0, 10, 64)
PACKET_SAYS(offset_past_length, 11, 10, 64)
PACKET_SAYS(longer_than_ring, 2, UINT16_MAX, 64)
PACKET_SAYS(longer_than_written, 2, 12, 64)

static const char *channel_is_over(struct winapi *handle, const struct host_case *c)
{
	EXPECT(echo_once(handle) == c->wanted && *winapi_error_message());
	EXPECT(echo_once(handle) == -ENODEV && *winapi_error_message());
	return NULL;
}

#define READ_SAYS(function, what) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		VMBUS_RING_STORE(&h->up->read_index, what); \
		fake_answer(h, e); \
		h->deaf = true; \
	}

READ_SAYS(read_at_end, h->ring_data)
READ_SAYS(read_unaligned, h->up_read + 4)
READ_SAYS(read_beyond, (h->up_read + 8) % h->ring_data)

/* Behind what the library must have seen to find room for its second call. */
static bool read_backwards(struct fake_host *h, const struct fake_event *e)
{
	uint32_t packet = vmbus_ring_packet_size((uint32_t)sizeof(e->header) + e->header.inline_size);

	if (e->step != FAKE_ECHO || e->nth != 1)
		return false;
	VMBUS_RING_STORE(&h->up->read_index, (h->up_read + h->ring_data - packet - 8) % h->ring_data);
	fake_answer(h, e);
	h->deaf = true;
	return true;
}

/* The library looks at the reader's index only when its ring seems full. */
static const char *sender_notices(struct winapi *handle, const struct host_case *c)
{
	struct winapi_call call = WINAPI_CALL_INIT;
	static uint8_t bytes[WINAPI_INLINE_MAX];
	int err = 0;

	call.api = WINAPI_API_ECHO;
	call.in = call.out = bytes;
	call.in_size = call.out_capacity = sizeof(bytes);
	call.timeout_ms = SHORT_MS;
	for (int i = 0; i < 8 && err != c->wanted; i++)
		err = winapi_call(handle, &call);
	EXPECT(err == c->wanted && *winapi_error_message());
	return NULL;
}

/* Signals without packets, a mask that says anything, and a writer that always waits for room. */
static void restless(struct fake_host *h, const struct fake_event *e)
{
	for (int i = 0; i < 10000; i++)
		fake_call(h);
	VMBUS_RING_STORE(&h->up->interrupt_mask, 0x80000000u);
	VMBUS_RING_STORE(&h->down->pending_send_size, UINT32_MAX);
	VMBUS_RING_STORE(&h->down->feature_bits, UINT32_MAX);
	fake_answer(h, e);
	VMBUS_RING_STORE(&h->up->interrupt_mask, 0);
	VMBUS_RING_STORE(&h->down->pending_send_size, 1);
}

static const char *goes_on(struct winapi *handle, const struct host_case *c)
{
	(void)c;
	for (int i = 0; i < 200; i++)
		EXPECT(echo_once(handle) == 0);
	EXPECT(use_everything(handle) == 0);
	return NULL;
}

static const struct words rings[] = {
	{ "write index at the ring's end", FAKE_ECHO, write_at_end, 0, channel_is_over, -ENODEV, 0 },
	{ "write index far out", FAKE_ECHO, write_far_out, 0, channel_is_over, -ENODEV, 0 },
	{ "write index unaligned", FAKE_ECHO, write_unaligned, 0, channel_is_over, -ENODEV, 0 },
	{ "write index backwards", FAKE_ECHO, write_backwards, 0, channel_is_over, -ENODEV, 0 },
	{ "a packet of length 0", FAKE_ECHO, length_zero, 0, channel_is_over, -ENODEV, 0 },
	{ "a packet whose payload begins in its descriptor", FAKE_ECHO, offset_zero, 0, channel_is_over,
	  -ENODEV, 0 },
	{ "a packet whose payload begins behind it", FAKE_ECHO, offset_past_length, 0, channel_is_over,
	  -ENODEV, 0 },
	{ "a packet longer than the ring", FAKE_ECHO, longer_than_ring, 0, channel_is_over, -ENODEV, 0 },
	{ "a packet longer than was written", FAKE_ECHO, longer_than_written, 0, channel_is_over, -ENODEV,
	  0 },
	{ "read index at the ring's end", FAKE_ECHO, read_at_end, 0, sender_notices, -ENODEV, 0 },
	{ "read index unaligned", FAKE_ECHO, read_unaligned, 0, sender_notices, -ENODEV, 0 },
	{ "read index beyond what was written", FAKE_ECHO, read_beyond, 0, sender_notices, -ENODEV, 0 },
	{ "signals, masks and waits for nothing", FAKE_ECHO, restless, 0, goes_on, 0, 0 },
};

void host_rings(void)
{
	run_words(rings, sizeof(rings) / sizeof(rings[0]));
	run_case(&(struct host_case){ .name = "read index backwards",
				      .script = read_backwards,
				      .use = sender_notices,
				      .wanted = -ENODEV });
}
