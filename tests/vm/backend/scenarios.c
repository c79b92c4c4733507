/* SPDX-License-Identifier: MIT */
/*
 * What this host does wrong, once, when the guest has armed it: a wrong reply before the right one, other
 * words than an honest host's, silence, refusal, a channel taken back in the middle, nonsense in the ring.
 *
 * tests/vm/guest/hostile.c knows for each what the guest must see of it.
 */
#include "backend.h"

#include <stdio.h>
#include <unistd.h>

#define SILENCE_MS 1000u /* until a host that says nothing takes its channel back */
#define LATE_MS 500u
#define FLOOD 3000u

/* ---- Pieces -------------------------------------------------------------------------------------------- */

static void say(struct backend *b, const struct event *e, int32_t status, const void *data, uint32_t size)
{
	struct winapi_msg_header header = device_reply_header(e, size);

	header.status = status;
	device_reply(b, header.request_id, &header, data, size);
}

static void silence(struct backend *b, const struct event *e)
{
	(void)b;
	(void)e;
}

static void answer_late(struct backend *b, const struct event *e)
{
	b->late = *e;
	b->late_ms = now_ms() + LATE_MS;
}

static void answer_twice(struct backend *b, const struct event *e)
{
	device_answer(b, e);
	device_answer(b, e);
}

/* The channel goes and the answer never comes. */
static void rescind(struct backend *b, const struct event *e)
{
	(void)e;
	device_restart(b);
}

static void answer_then_rescind(struct backend *b, const struct event *e)
{
	device_answer(b, e);
	vmbus_channel_publish(b->channel);
	device_restart(b);
}

/* For control messages, whose answers need no channel. */
static void rescind_then_answer(struct backend *b, const struct event *e)
{
	device_restart(b);
	device_answer(b, e);
}

static void rescind_then_answer_late(struct backend *b, const struct event *e)
{
	device_restart(b);
	answer_late(b, e);
}

void scenario_tick(struct backend *b)
{
	uint64_t now = now_ms();

	if (b->late_ms && now >= b->late_ms) {
		b->late_ms = 0;
		device_answer(b, &b->late);
		vmbus_channel_publish(b->channel);
	}
	if (b->restart_ms && now >= b->restart_ms) {
		b->restart_ms = 0;
		device_restart(b);
	}
}

/* ---- One wrong reply, then the right one --------------------------------------------------------------- */

#define WRONG_ID(function, id) \
	static void function(struct backend *b, const struct event *e) \
	{ \
		struct winapi_msg_header header = device_reply_header(e, 0); \
\
		header.request_id = (id); \
		device_reply(b, header.request_id, &header, NULL, 0); \
		device_answer(b, e); \
	}

WRONG_ID(id_zero, 0)
WRONG_ID(id_ones, UINT64_MAX)
WRONG_ID(id_other_index, e->header.request_id ^ 0x80)
WRONG_ID(id_past_table, e->header.request_id | 0xffff)
WRONG_ID(id_of_older, e->header.request_id - 0x10000)
WRONG_ID(id_of_later, e->header.request_id + 0x10000)
WRONG_ID(id_far_off, e->header.request_id ^ 1ull << 63)

/* The driver's ids of CANCELs have bit 15 set. */
static void cancel_unasked(struct backend *b, const struct event *e)
{
	struct winapi_msg_header header = device_reply_header(e, 0);

	header.type = WINAPI_MSG_CANCEL;
	header.request_id |= 0x8000;
	device_reply(b, header.request_id, &header, NULL, 0);
	device_answer(b, e);
}

#define WRONG_HEADER(function, change) \
	static void function(struct backend *b, const struct event *e) \
	{ \
		struct winapi_msg_header header = device_reply_header(e, 16); \
\
		change; \
		device_reply(b, e->header.request_id, &header, "not these bytes", 16); \
		device_answer(b, e); \
	}

WRONG_HEADER(two_ids, header.request_id ^= 1)
WRONG_HEADER(wrong_magic, header.magic ^= 1)
WRONG_HEADER(wrong_version, header.version = 2)
WRONG_HEADER(wrong_type, header.type = WINAPI_MSG_BATCH)
WRONG_HEADER(wrong_api, header.api ^= 1)
WRONG_HEADER(wrong_method, header.method ^= 1)
WRONG_HEADER(no_reply_flag, header.flags = 0)
WRONG_HEADER(more_flags, header.flags |= 0x8000)
WRONG_HEADER(with_buffers, header.buffer_count = 1)
WRONG_HEADER(reserved_set, header.reserved = 1)
WRONG_HEADER(past_packet, header.inline_size = 16 + 8)
WRONG_HEADER(over_inline, header.inline_size = WINAPI_MAX_INLINE + 1)
WRONG_HEADER(most_inline, header.inline_size = UINT32_MAX)
WRONG_HEADER(wrong_session, header.session_id++)
WRONG_HEADER(no_session, header.session_id = 0)
WRONG_HEADER(error_with_data, header.status = WINAPI_STATUS_INTERNAL)
WRONG_HEADER(wrong_time, header.timestamp++)

static void three_times(struct backend *b, const struct event *e)
{
	answer_twice(b, e);
	device_answer(b, e);
}

#define WRONG_PACKET(function, type_, flags_, size) \
	static void function(struct backend *b, const struct event *e) \
	{ \
		struct winapi_msg_header header = device_reply_header(e, 0); \
		struct vmbus_packet_descriptor desc = { type_, 2, 2 + (size) / 8, flags_, \
							e->header.request_id }; \
\
		device_packet(b, &desc, &header, size); \
		device_answer(b, e); \
	}

WRONG_PACKET(headless, VMBUS_PACKET_COMPLETION, 0, 56)
WRONG_PACKET(empty, VMBUS_PACKET_COMPLETION, 0, 0)
WRONG_PACKET(inband, VMBUS_PACKET_INBAND, 0, 64)
WRONG_PACKET(inband_asks, VMBUS_PACKET_INBAND, VMBUS_PACKET_FLAG_COMPLETION_REQUESTED, 64)
WRONG_PACKET(type_4711, 4711, 0, 64)

/* Two calls in flight: each one's transaction with the other one's header. */
static void crossed_second(struct backend *b, const struct event *e)
{
	struct winapi_msg_header first = device_reply_header(&b->kept, 0), second = device_reply_header(e, 0);

	device_reply(b, first.request_id, &second, NULL, 0);
	device_reply(b, second.request_id, &first, NULL, 0);
	device_answer(b, &b->kept);
	device_answer(b, e);
}

static void crossed(struct backend *b, const struct event *e)
{
	static const struct scenario second = { "", STEP_ECHO, crossed_second, 0 };

	b->kept = *e;
	b->armed = &second;
}

/* The first call's reply comes with the second's, and once more when it is stale. */
static void stale_second(struct backend *b, const struct event *e)
{
	answer_twice(b, &b->kept);
	device_answer(b, e);
}

static void stale(struct backend *b, const struct event *e)
{
	static const struct scenario second = { "", STEP_ECHO, stale_second, 0 };

	b->kept = *e;
	b->armed = &second;
}

/* ---- Floods -------------------------------------------------------------------------------------------- */

static void flood_of_replies(struct backend *b, const struct event *e)
{
	struct winapi_msg_header header = device_reply_header(e, 0);

	header.request_id ^= 0x10000;
	for (uint32_t i = 0; i < FLOOD; i++)
		device_reply(b, header.request_id, &header, NULL, 0);
	device_answer(b, e);
}

static void flood_of_packets(struct backend *b, const struct event *e)
{
	static const uint8_t zeros[2048];
	struct vmbus_packet_descriptor desc = { VMBUS_PACKET_INBAND, 2, 2 + sizeof(zeros) / 8, 0, 0 };

	for (uint32_t i = 0; i < FLOOD; i++)
		device_packet(b, &desc, zeros, sizeof(zeros));
	device_answer(b, e);
}

static void flood_of_interrupts(struct backend *b, const struct event *e)
{
	for (uint32_t i = 0; i < FLOOD; i++)
		frontend_interrupt(b, b->channel->relid, b->channel->target_vp);
	device_answer(b, e);
}

/* ---- Other words: HELLO -------------------------------------------------------------------------------- */

#define HELLO_SAYS(function, change) \
	static void function(struct backend *b, const struct event *e) \
	{ \
		struct winapi_hello_reply reply = device_hello(b); \
\
		change; \
		say(b, e, 0, &reply, sizeof(reply)); \
	}

HELLO_SAYS(version_0, reply.version = 0)
HELLO_SAYS(version_2, reply.version = 2)
HELLO_SAYS(nothing_in_flight, reply.max_in_flight = 0)
HELLO_SAYS(one_in_flight, reply.max_in_flight = 1)
HELLO_SAYS(most_in_flight, reply.max_in_flight = UINT32_MAX)
HELLO_SAYS(no_inline, reply.max_inline = 0)
HELLO_SAYS(inline_over, reply.max_inline = WINAPI_MAX_INLINE + 1)
HELLO_SAYS(inline_most, reply.max_inline = UINT32_MAX)
HELLO_SAYS(endless_name, memset(reply.provider, 'x', sizeof(reply.provider)))
HELLO_SAYS(no_buffers, (reply.max_buffers = 0, reply.max_buffers_per_call = 0, reply.max_buffer_size = 0,
			reply.max_bytes = 0, reply.max_chunks = 0))
HELLO_SAYS(huge_buffers, (reply.max_buffers = UINT32_MAX, reply.max_buffer_size = UINT64_MAX,
			  reply.max_bytes = UINT64_MAX, reply.max_chunks = UINT32_MAX))
HELLO_SAYS(many_buffers, reply.max_buffers_per_call = UINT16_MAX)
HELLO_SAYS(all_features, reply.features = UINT64_MAX)
HELLO_SAYS(no_features, reply.features = 0)
HELLO_SAYS(no_batch, reply.max_batch = 0)
HELLO_SAYS(huge_batch, reply.max_batch = UINT32_MAX)
HELLO_SAYS(no_sessions, reply.max_sessions = 0)
HELLO_SAYS(reserved_word, reply.reserved = 1)

static void hello_short(struct backend *b, const struct event *e)
{
	struct winapi_hello_reply reply = device_hello(b);

	say(b, e, 0, &reply, sizeof(reply) - 8);
}

static void hello_long(struct backend *b, const struct event *e)
{
	struct winapi_hello_reply reply[2] = { device_hello(b), device_hello(b) };

	say(b, e, 0, reply, sizeof(reply));
}

static void refuse_version(struct backend *b, const struct event *e)
{
	say(b, e, WINAPI_STATUS_UNSUPPORTED_VERSION, NULL, 0);
}

/* ---- Other words: the rest ----------------------------------------------------------------------------- */

static void nothing_said(struct backend *b, const struct event *e)
{
	say(b, e, 0, NULL, 0);
}

static void unknown_status(struct backend *b, const struct event *e)
{
	say(b, e, 4711, NULL, 0);
}

static void least_status(struct backend *b, const struct event *e)
{
	say(b, e, INT32_MIN, NULL, 0);
}

static void internal_error(struct backend *b, const struct event *e)
{
	say(b, e, WINAPI_STATUS_INTERNAL, NULL, 0);
}

static void limit_sessions(struct backend *b, const struct event *e)
{
	say(b, e, WINAPI_STATUS_LIMIT_SESSIONS, NULL, 0);
}

static void limit_bytes(struct backend *b, const struct event *e)
{
	say(b, e, WINAPI_STATUS_LIMIT_BYTES, NULL, 0);
}

static void buffer_busy(struct backend *b, const struct event *e)
{
	say(b, e, WINAPI_STATUS_BUFFER_BUSY, NULL, 0);
}

static void zero_said(struct backend *b, const struct event *e)
{
	say(b, e, 0, &(uint64_t){ 0 }, 8);
}

static void half_said(struct backend *b, const struct event *e)
{
	say(b, e, 0, &(uint64_t){ 0x51 }, 4);
}

/* The header names one session, the data another. */
static void two_sessions(struct backend *b, const struct event *e)
{
	struct winapi_msg_header header = device_reply_header(e, 8);

	header.session_id = ++b->next_session;
	device_reply(b, header.request_id, &header, &(uint64_t){ header.session_id + 1 }, 8);
}

static void too_long(struct backend *b, const struct event *e)
{
	static const uint8_t bytes[WINAPI_MAX_INLINE];

	say(b, e, 0, bytes, sizeof(bytes));
}

static void garbled_batch(struct backend *b, const struct event *e)
{
	uint8_t bytes[64];

	memset(bytes, 0xff, sizeof(bytes));
	say(b, e, 0, bytes, sizeof(bytes));
}

/* ---- Refusals by the bus ------------------------------------------------------------------------------- */

static void refuse_gpadl(struct backend *b, const struct event *e)
{
	struct vmbus_gpadl_created created;

	memcpy(&created, e->answer, sizeof(created));
	created.status = BUS_STATUS_REFUSED;
	frontend_post(b, &created, sizeof(created));
}

static void refuse_open(struct backend *b, const struct event *e)
{
	struct vmbus_open_result result;

	memcpy(&result, e->answer, sizeof(result));
	result.status = BUS_STATUS_REFUSED;
	channel_start_closing(b->channel); /* or the guest would wait for the ring's teardown */
	frontend_post(b, &result, sizeof(result));
}

/* Answers to what nobody asked for. */
static void strange_answers(struct backend *b, const struct event *e)
{
	const struct vmbus_gpadl_created created = { .header.type = VMBUS_MSG_GPADL_CREATED,
						     .relid = b->channel->relid,
						     .gpadl = 0x4711 };
	const struct vmbus_gpadl_torndown torndown = { .header.type = VMBUS_MSG_GPADL_TORNDOWN,
						       .gpadl = 0x4711 };
	const struct vmbus_open_result opened = { .header.type = VMBUS_MSG_OPEN_RESULT,
						  .relid = 0x4711,
						  .open_id = 0x4711 };

	frontend_post(b, &created, sizeof(created));
	frontend_post(b, &torndown, sizeof(torndown));
	frontend_post(b, &opened, sizeof(opened));
	device_answer(b, e);
}

/* ---- Rings --------------------------------------------------------------------------------------------- */

/* From here on the host reads no more: nothing after such a word could be believed. */
#define RING_SAYS(function, what) \
	static void function(struct backend *b, const struct event *e) \
	{ \
		struct vmbus_ring_out *out = &b->channel->out; \
		struct vmbus_ring_in *in = &b->channel->in; \
\
		(void)e; \
		(void)out; \
		(void)in; \
		vmbus_channel_publish(b->channel); \
		what; \
		frontend_interrupt(b, b->channel->relid, b->channel->target_vp); \
		b->deaf = true; \
	}

RING_SAYS(write_at_end, VMBUS_RING_STORE(&out->shared->write_index, out->size))
RING_SAYS(write_far_out, VMBUS_RING_STORE(&out->shared->write_index, UINT32_MAX & ~7u))
RING_SAYS(write_unaligned, VMBUS_RING_STORE(&out->shared->write_index, out->write + 12))
RING_SAYS(write_backwards,
	  VMBUS_RING_STORE(&out->shared->write_index, (out->write + out->size - 8) % out->size))
RING_SAYS(read_index_moved, VMBUS_RING_STORE(&out->shared->read_index, out->size - 8))
RING_SAYS(read_at_end, VMBUS_RING_STORE(&in->shared->read_index, in->size))
RING_SAYS(read_unaligned, VMBUS_RING_STORE(&in->shared->read_index, in->read + 4))
RING_SAYS(read_beyond, VMBUS_RING_STORE(&in->shared->read_index, (in->read + 8) % in->size))
RING_SAYS(read_far_out, VMBUS_RING_STORE(&in->shared->read_index, UINT32_MAX))
RING_SAYS(write_index_moved, VMBUS_RING_STORE(&in->shared->write_index, UINT32_MAX))
RING_SAYS(ring_of_ones, memset(out->data, 0xff, out->size))

/* The driver gives the device up and loses it in the same moment. */
static void broken_and_gone(struct backend *b, const struct event *e)
{
	write_far_out(b, e);
	device_restart(b);
}

static void raw_packet(struct backend *b, uint16_t offset8, uint16_t length8)
{
	static const uint8_t zeros[64];
	struct vmbus_packet_descriptor desc = { VMBUS_PACKET_COMPLETION, offset8, length8, 0, 1 };

	device_packet(b, &desc, zeros, sizeof(zeros));
	vmbus_channel_publish(b->channel);
	b->deaf = true;
}

#define PACKET_SAYS(function, offset8, length8) \
	static void function(struct backend *b, const struct event *e) \
	{ \
		(void)e; \
		raw_packet(b, offset8, length8); \
	}

PACKET_SAYS(length_zero, 2, 0)
PACKET_SAYS(length_one, 2, 1)
PACKET_SAYS(offset_zero, 0, 10)
PACKET_SAYS(offset_past_length, 11, 10)
PACKET_SAYS(offset_most, UINT16_MAX, 10)
PACKET_SAYS(longer_than_ring, 2, UINT16_MAX)
PACKET_SAYS(longer_than_written, 2, 12)

/* The ring fills up, and stays so until the channel goes. */
static void read_no_more(struct backend *b, const struct event *e)
{
	device_answer(b, e);
	vmbus_channel_publish(b->channel);
	b->deaf = true;
}

/* Masks and waits that say anything, and then an honest answer. */
static void restless(struct backend *b, const struct event *e)
{
	VMBUS_RING_STORE(&b->channel->out.shared->pending_send_size, UINT32_MAX);
	VMBUS_RING_STORE(&b->channel->out.shared->feature_bits, UINT32_MAX);
	VMBUS_RING_STORE(&b->channel->out.shared->interrupt_mask, 0x80000000u);
	VMBUS_RING_STORE(&b->channel->in.shared->pending_send_size, UINT32_MAX);
	device_answer(b, e);
	VMBUS_RING_STORE(&b->channel->out.shared->pending_send_size, 1);
	VMBUS_RING_STORE(&b->channel->in.shared->pending_send_size, 0);
	frontend_interrupt(b, b->channel->relid, b->channel->target_vp);
}

/* ---- The list ------------------------------------------------------------------------------------------ */

static const struct scenario scenarios[] = {
	{ "reply: id 0", STEP_ECHO, id_zero, 0 },
	{ "reply: id of ones", STEP_ECHO, id_ones, 0 },
	{ "reply: another index", STEP_ECHO, id_other_index, 0 },
	{ "reply: an index past the table", STEP_ECHO, id_past_table, 0 },
	{ "reply: an older generation", STEP_ECHO, id_of_older, 0 },
	{ "reply: a later generation", STEP_ECHO, id_of_later, 0 },
	{ "reply: an id of far off", STEP_ECHO, id_far_off, 0 },
	{ "reply: two ids", STEP_ECHO, two_ids, 0 },
	{ "reply: magic", STEP_ECHO, wrong_magic, 0 },
	{ "reply: version", STEP_ECHO, wrong_version, 0 },
	{ "reply: type", STEP_ECHO, wrong_type, 0 },
	{ "reply: api", STEP_ECHO, wrong_api, 0 },
	{ "reply: method", STEP_ECHO, wrong_method, 0 },
	{ "reply: says it is none", STEP_ECHO, no_reply_flag, 0 },
	{ "reply: unknown flags", STEP_ECHO, more_flags, 0 },
	{ "reply: buffers", STEP_ECHO, with_buffers, 0 },
	{ "reply: reserved", STEP_ECHO, reserved_set, 0 },
	{ "reply: longer than its packet", STEP_ECHO, past_packet, 0 },
	{ "reply: over the bound of inline data", STEP_ECHO, over_inline, 0 },
	{ "reply: 4 GiB", STEP_ECHO, most_inline, 0 },
	{ "reply: another session", STEP_ECHO, wrong_session, 0 },
	{ "reply: no session", STEP_ECHO, no_session, 0 },
	{ "reply: another time", STEP_ECHO, wrong_time, 0 },
	{ "reply: to a CANCEL that wasn't sent", STEP_ECHO, cancel_unasked, 0 },
	{ "reply: three times", STEP_ECHO, three_times, 0 },
	{ "reply: 56 bytes", STEP_ECHO, headless, 0 },
	{ "reply: no bytes", STEP_ECHO, empty, 0 },
	{ "reply: in-band", STEP_ECHO, inband, 0 },
	{ "reply: in-band, asks for a completion", STEP_ECHO, inband_asks, 0 },
	{ "reply: unknown packet type", STEP_ECHO, type_4711, 0 },
	{ "reply: two calls crossed", STEP_ECHO, crossed, 0 },
	{ "reply: after the caller gave up, twice", STEP_ECHO, stale, 0 },
	{ "reply: too long for the caller", STEP_ECHO, too_long, 0 },
	{ "reply: an error with data", STEP_ECHO, error_with_data, 0 },
	{ "reply: unknown status", STEP_ECHO, unknown_status, 0 },
	{ "reply: the least status", STEP_ECHO, least_status, 0 },
	{ "batch: garbled", STEP_BATCH, garbled_batch, 0 },
	{ "flood: replies", STEP_ECHO, flood_of_replies, 0 },
	{ "flood: packets", STEP_ECHO, flood_of_packets, 0 },
	{ "flood: interrupts", STEP_ECHO, flood_of_interrupts, 0 },
	{ "ring: restless", STEP_ECHO, restless, 0 },
	{ "ring: write index at the end", STEP_ECHO, write_at_end, SILENCE_MS },
	{ "ring: write index far out", STEP_ECHO, write_far_out, SILENCE_MS },
	{ "ring: write index unaligned", STEP_ECHO, write_unaligned, SILENCE_MS },
	{ "ring: write index backwards", STEP_ECHO, write_backwards, SILENCE_MS },
	{ "ring: the guest's read index moved", STEP_ECHO, read_index_moved, SILENCE_MS },
	{ "ring: read index at the end", STEP_ECHO, read_at_end, SILENCE_MS },
	{ "ring: read index unaligned", STEP_ECHO, read_unaligned, SILENCE_MS },
	{ "ring: read index beyond", STEP_ECHO, read_beyond, SILENCE_MS },
	{ "ring: read index far out", STEP_ECHO, read_far_out, SILENCE_MS },
	{ "ring: the guest's write index moved", STEP_ECHO, write_index_moved, SILENCE_MS },
	{ "ring: broken and taken back at once", STEP_ECHO, broken_and_gone, 0 },
	{ "ring: broken and taken back soon", STEP_ECHO, write_far_out, 2 },
	{ "ring: full of ones", STEP_ECHO, ring_of_ones, SILENCE_MS },
	{ "ring: not read, and SHUTDOWN", STEP_ECHO, read_no_more, 0 },
	{ "ring: not read, and a kill", STEP_ECHO, read_no_more, 0 },
	{ "ring: not read, and the driver leaves", STEP_ECHO, read_no_more, 0 },
	{ "packet: length 0", STEP_ECHO, length_zero, SILENCE_MS },
	{ "packet: length 8", STEP_ECHO, length_one, SILENCE_MS },
	{ "packet: offset 0", STEP_ECHO, offset_zero, SILENCE_MS },
	{ "packet: offset past its length", STEP_ECHO, offset_past_length, SILENCE_MS },
	{ "packet: the largest offset", STEP_ECHO, offset_most, SILENCE_MS },
	{ "packet: longer than the ring", STEP_ECHO, longer_than_ring, SILENCE_MS },
	{ "packet: longer than written", STEP_ECHO, longer_than_written, SILENCE_MS },

	{ "silence: ring GPADL", STEP_RING_GPADL, silence, SILENCE_MS },
	{ "silence: open", STEP_OPEN, silence, SILENCE_MS },
	{ "silence: HELLO", STEP_HELLO, silence, SILENCE_MS },
	{ "silence: SESSION_OPEN", STEP_SESSION_OPEN, silence, SILENCE_MS },
	{ "silence: GPADL", STEP_GPADL, silence, SILENCE_MS },
	{ "silence: REGISTER", STEP_REGISTER, silence, SILENCE_MS },
	{ "silence: CALL, for good", STEP_ECHO, silence, 0 },
	{ "silence: CALL, until the end", STEP_ECHO, silence, SILENCE_MS },
	{ "silence: BATCH", STEP_BATCH, silence, 0 },
	{ "silence: CANCEL", STEP_CANCEL, silence, 0 },
	{ "silence: UNREGISTER", STEP_UNREGISTER, silence, SILENCE_MS },
	{ "silence: SESSION_CLOSE", STEP_SESSION_CLOSE, silence, SILENCE_MS },

	{ "late: ring GPADL", STEP_RING_GPADL, answer_late, 0 },
	{ "late: open", STEP_OPEN, answer_late, 0 },
	{ "late: HELLO", STEP_HELLO, answer_late, 0 },
	{ "late: SESSION_OPEN", STEP_SESSION_OPEN, answer_late, 0 },
	{ "late: GPADL", STEP_GPADL, answer_late, 0 },
	{ "late: REGISTER", STEP_REGISTER, answer_late, 0 },
	{ "late: UNREGISTER", STEP_UNREGISTER, answer_late, 0 },
	{ "late: teardown", STEP_TEARDOWN, answer_late, 0 },
	{ "late: SESSION_CLOSE", STEP_SESSION_CLOSE, answer_late, 0 },
	{ "late: ring teardown", STEP_RING_TEARDOWN, answer_late, 0 },

	{ "refused: ring GPADL", STEP_RING_GPADL, refuse_gpadl, SILENCE_MS },
	{ "refused: open", STEP_OPEN, refuse_open, SILENCE_MS },
	{ "refused: HELLO", STEP_HELLO, refuse_version, SILENCE_MS },
	{ "refused: SESSION_OPEN", STEP_SESSION_OPEN, limit_sessions, 0 },
	{ "refused: GPADL", STEP_GPADL, refuse_gpadl, 0 },
	{ "refused: REGISTER", STEP_REGISTER, limit_bytes, 0 },
	{ "refused: UNREGISTER", STEP_UNREGISTER, buffer_busy, 0 },
	{ "refused: SESSION_CLOSE", STEP_SESSION_CLOSE, internal_error, 0 },

	{ "twice: ring GPADL", STEP_RING_GPADL, answer_twice, 0 },
	{ "twice: open", STEP_OPEN, answer_twice, 0 },
	{ "twice: HELLO", STEP_HELLO, answer_twice, 0 },
	{ "twice: SESSION_OPEN", STEP_SESSION_OPEN, answer_twice, 0 },
	{ "twice: GPADL", STEP_GPADL, answer_twice, 0 },
	{ "twice: REGISTER", STEP_REGISTER, answer_twice, 0 },
	{ "twice: UNREGISTER", STEP_UNREGISTER, answer_twice, 0 },
	{ "twice: teardown", STEP_TEARDOWN, answer_twice, 0 },
	{ "twice: SESSION_CLOSE", STEP_SESSION_CLOSE, answer_twice, 0 },
	{ "twice: ring teardown", STEP_RING_TEARDOWN, answer_twice, 0 },
	{ "strange answers: GPADL", STEP_GPADL, strange_answers, 0 },

	{ "rescind: ring GPADL", STEP_RING_GPADL, rescind, 0 },
	{ "rescind: open", STEP_OPEN, rescind, 0 },
	{ "rescind: HELLO", STEP_HELLO, rescind, 0 },
	{ "rescind: SESSION_OPEN", STEP_SESSION_OPEN, rescind, 0 },
	{ "rescind: GPADL", STEP_GPADL, rescind, 0 },
	{ "rescind: REGISTER", STEP_REGISTER, rescind, 0 },
	{ "rescind: CALL", STEP_ECHO, rescind, 0 },
	{ "rescind: BATCH", STEP_BATCH, rescind, 0 },
	{ "rescind: CANCEL", STEP_CANCEL, rescind, 0 },
	{ "rescind: UNREGISTER", STEP_UNREGISTER, rescind, 0 },
	{ "rescind: teardown", STEP_TEARDOWN, rescind, 0 },
	{ "rescind: SESSION_CLOSE", STEP_SESSION_CLOSE, rescind, 0 },
	{ "rescind: close", STEP_CLOSE, rescind, 0 },
	{ "rescind first: ring GPADL", STEP_RING_GPADL, rescind_then_answer, 0 },
	{ "rescind first: open", STEP_OPEN, rescind_then_answer, 0 },
	{ "rescind first: GPADL", STEP_GPADL, rescind_then_answer, 0 },
	{ "rescind first: teardown", STEP_TEARDOWN, rescind_then_answer, 0 },
	{ "rescind first: teardown, late", STEP_TEARDOWN, rescind_then_answer_late, 0 },
	{ "rescind first: ring teardown", STEP_RING_TEARDOWN, rescind_then_answer, 0 },
	{ "rescind first: ring teardown, late", STEP_RING_TEARDOWN, rescind_then_answer_late, 0 },
	{ "rescind after: ring GPADL", STEP_RING_GPADL, answer_then_rescind, 0 },
	{ "rescind after: open", STEP_OPEN, answer_then_rescind, 0 },
	{ "rescind after: HELLO", STEP_HELLO, answer_then_rescind, 0 },
	{ "rescind after: SESSION_OPEN", STEP_SESSION_OPEN, answer_then_rescind, 0 },
	{ "rescind after: GPADL", STEP_GPADL, answer_then_rescind, 0 },
	{ "rescind after: REGISTER", STEP_REGISTER, answer_then_rescind, 0 },
	{ "rescind after: CALL", STEP_ECHO, answer_then_rescind, 0 },
	{ "rescind after: UNREGISTER", STEP_UNREGISTER, answer_then_rescind, 0 },
	{ "rescind after: teardown", STEP_TEARDOWN, answer_then_rescind, 0 },
	{ "rescind after: SESSION_CLOSE", STEP_SESSION_CLOSE, answer_then_rescind, 0 },

	{ "HELLO: version 0", STEP_HELLO, version_0, SILENCE_MS },
	{ "HELLO: version 2", STEP_HELLO, version_2, SILENCE_MS },
	{ "HELLO: nothing in flight", STEP_HELLO, nothing_in_flight, SILENCE_MS },
	{ "HELLO: one in flight", STEP_HELLO, one_in_flight, 0 },
	{ "HELLO: 4 G in flight", STEP_HELLO, most_in_flight, 0 },
	{ "HELLO: no inline data", STEP_HELLO, no_inline, SILENCE_MS },
	{ "HELLO: too much inline data", STEP_HELLO, inline_over, 0 },
	{ "HELLO: 4 GiB of inline data", STEP_HELLO, inline_most, 0 },
	{ "HELLO: a name without end", STEP_HELLO, endless_name, 0 },
	{ "HELLO: no buffers", STEP_HELLO, no_buffers, SILENCE_MS },
	{ "HELLO: buffers without bound", STEP_HELLO, huge_buffers, 0 },
	{ "HELLO: 65,535 buffers in a call", STEP_HELLO, many_buffers, 0 },
	{ "HELLO: all features", STEP_HELLO, all_features, 0 },
	{ "HELLO: no features", STEP_HELLO, no_features, 0 },
	{ "HELLO: batches of none", STEP_HELLO, no_batch, 0 },
	{ "HELLO: batches of 4 G", STEP_HELLO, huge_batch, 0 },
	{ "HELLO: no sessions", STEP_HELLO, no_sessions, SILENCE_MS },
	{ "HELLO: reserved", STEP_HELLO, reserved_word, SILENCE_MS },
	{ "HELLO: too short", STEP_HELLO, hello_short, SILENCE_MS },
	{ "HELLO: too long", STEP_HELLO, hello_long, SILENCE_MS },
	{ "HELLO: unknown status", STEP_HELLO, unknown_status, SILENCE_MS },
	{ "SESSION_OPEN: session 0", STEP_SESSION_OPEN, zero_said, 0 },
	{ "SESSION_OPEN: two sessions", STEP_SESSION_OPEN, two_sessions, 0 },
	{ "SESSION_OPEN: no session", STEP_SESSION_OPEN, nothing_said, 0 },
	{ "SESSION_OPEN: half a session", STEP_SESSION_OPEN, half_said, 0 },
	{ "SESSION_OPEN: unknown status", STEP_SESSION_OPEN, unknown_status, 0 },
	{ "REGISTER: handle 0", STEP_REGISTER, zero_said, 0 },
	{ "REGISTER: no handle", STEP_REGISTER, nothing_said, 0 },
	{ "REGISTER: half a handle", STEP_REGISTER, half_said, 0 },
	{ "REGISTER: unknown status", STEP_REGISTER, least_status, 0 },
	{ "UNREGISTER: unknown status", STEP_UNREGISTER, least_status, 0 },
	{ "UNREGISTER: with data", STEP_UNREGISTER, zero_said, 0 },
};

#define COUNT (sizeof(scenarios) / sizeof(scenarios[0]))

const struct scenario *scenario_find(const char *name)
{
	for (const struct scenario *s = scenarios; s < scenarios + COUNT; s++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

const char *scenario_name(uint32_t index)
{
	return index < COUNT ? scenarios[index].name : NULL;
}
