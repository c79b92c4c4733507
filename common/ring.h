/* SPDX-License-Identifier: MIT */
/*
 * VMBus rings for both ends in user space: a writer and a reader over memory that the other side can
 * change at any time.
 *
 * What may be assumed of the other side: nothing. Each end keeps its own index in private memory and
 * only publishes it; the peer's index is read once, with acquire semantics, and checked. A packet's
 * descriptor is copied once and the copy is what gets validated. The payload is handed out in place;
 * whoever interprets it copies it first.
 *
 * The data area is mapped twice in a row, so that no packet wraps.
 *
 * Two full barriers keep wake-ups from being lost, one on each side:
 *
 *	writer: store write_index; FULL BARRIER; load interrupt_mask, read_index
 *	reader: store read_index, interrupt_mask = 0; FULL BARRIER; load write_index
 *
 * If the writer saw the mask still set (or the ring not yet emptied), its new write_index was stored
 * before the reader's barrier, and the reader sees it. pending_send_size works the same way with
 * the roles exchanged. tests/model checks both with store buffers, and without the barriers fails.
 *
 * A reader that polls may publish its read_index late: the index shares a cache line with the
 * writer's, and every store to it costs the writer a transfer. It must publish before it unmasks,
 * and before the writer runs short (vmbus_ring_release decides).
 *
 * What a packet costs is its cache lines' way from one CPU to the other and back, so both ends ask for them
 * early: the writer for those that the packets after this one will take, as stores wait for their lines one
 * after the other; the reader for all of a packet as soon as it knows its length.
 *
 * One thread at a time may use an end; the two ends need no common lock.
 */
#ifndef WINAPI_RING_H
#define WINAPI_RING_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "vmbus.h"

struct vmbus_ring_out {
	struct vmbus_ring_header *shared;
	uint8_t *data; /* mapped twice */
	uint32_t size; /* bytes of data, a multiple of 4096 */
	uint32_t write; /* where the next packet goes */
	uint32_t published; /* what write_index says */
	uint32_t read; /* the reader's index when last looked at */
	uint32_t awaiting; /* what pending_send_size says */
};

struct vmbus_ring_in {
	struct vmbus_ring_header *shared;
	uint8_t *data; /* mapped twice */
	uint32_t size;
	uint32_t read; /* the next packet */
	uint32_t published; /* what read_index says */
	uint32_t write; /* the writer's index when last looked at */
};

/* A packet as vmbus_ring_next hands it out: the descriptor validated, the rest still shared. */
struct vmbus_ring_packet {
	struct vmbus_packet_descriptor desc; /* a private copy */
	const uint8_t *start; /* the packet's first byte, in the ring */
	const uint8_t *payload; /* start + offset8 * 8 */
	uint32_t payload_size; /* up to the packet's end, padding included */
	uint32_t total; /* bytes in the ring, trailer included */
};

/* A piece of a packet to be written. */
struct vmbus_ring_part {
	const void *data;
	uint32_t size;
};

#define VMBUS_RING_LINE 64u
#define VMBUS_RING_AHEAD (4 * VMBUS_RING_LINE) /* two or three small packets: as long as a line takes */
#define VMBUS_RING_AHEAD_LINES 3u /* what a small packet takes */
#define VMBUS_RING_PREFETCH_MAX 4096u /* bytes of a packet: more would push out what came first */
#define VMBUS_RING_BY_WORD 512u /* bytes: what is longer is better off with memcpy */

#define VMBUS_RING_LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define VMBUS_RING_PEEK(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define VMBUS_RING_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define VMBUS_RING_FULL_BARRIER() __atomic_thread_fence(__ATOMIC_SEQ_CST)

static inline bool vmbus_ring_index_valid(uint32_t index, uint32_t size)
{
	return index < size && !(index & 7);
}

/* Bytes from `from` forward to `to`. */
static inline uint32_t vmbus_ring_distance(uint32_t from, uint32_t to, uint32_t size)
{
	return to >= from ? to - from : size - from + to;
}

/* `at` + `by`, where both are below size. */
static inline uint32_t vmbus_ring_add(uint32_t at, uint32_t by, uint32_t size)
{
	uint32_t sum = at + by;

	return sum >= size ? sum - size : sum;
}

/* Bytes that a packet with that much payload (GPA ranges counted as payload) takes in a ring. */
static inline uint32_t vmbus_ring_packet_size(uint32_t payload)
{
	return ((uint32_t)sizeof(struct vmbus_packet_descriptor) + payload + 7) / 8 * 8 +
	       VMBUS_PACKET_TRAILER;
}

/* ---- Writer --------------------------------------------------------------------------------------- */

/*
 * The rings are fresh: both indices start at 0, as on open. `shared` and `data` stay the caller's.
 */
static inline void vmbus_ring_out_init(struct vmbus_ring_out *out, struct vmbus_ring_header *shared,
				       uint8_t *data, uint32_t size)
{
	*out = (struct vmbus_ring_out){ .shared = shared, .data = data, .size = size };
	VMBUS_RING_STORE(&shared->feature_bits, VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
}

/* Looks at the reader's index again. 0, or -EPROTO when no honest reader could have written it. */
static inline int vmbus_ring_refresh(struct vmbus_ring_out *out)
{
	uint32_t read = VMBUS_RING_LOAD(&out->shared->read_index);

	/* The reader only moves forward, and never past what was published. */
	if (!vmbus_ring_index_valid(read, out->size) ||
	    vmbus_ring_distance(out->read, read, out->size) >
		    vmbus_ring_distance(out->read, out->published, out->size))
		return -EPROTO;
	out->read = read;
	return 0;
}

/* Free bytes by the reader's index as last seen; one byte at least always stays free. */
static inline uint32_t vmbus_ring_room(const struct vmbus_ring_out *out)
{
	return out->size - vmbus_ring_distance(out->read, out->write, out->size);
}

/* From `ahead` on, for the packets that come next. */
static inline void vmbus_ring_prefetch_write(const uint8_t *ahead)
{
	for (uint32_t i = 0; i < VMBUS_RING_AHEAD_LINES; i++)
		__builtin_prefetch(ahead + i * VMBUS_RING_LINE, 1);
}

/* In a register of its own: a compiler would join neighbours to a load that is wider than the stores were. */
static inline uint64_t load_word(const uint8_t *from)
{
	uint64_t word;

	memcpy(&word, from, sizeof(word));
	__asm__("" : "+r"(word));
	return word;
}

static inline void store_word(uint8_t *to, uint64_t word)
{
	memcpy(to, &word, sizeof(word));
}

/*
 * Into the ring or out of it. A small piece that goes in was most likely stored a moment ago, by the word at least (see
 * header.h): loads that are as wide as those stores find it in the store buffer, those of memcpy wait for the cache.
 */
static inline void vmbus_ring_copy(uint8_t *to, const void *data, uint32_t size)
{
	const uint8_t *from = data;
	uint64_t word[4];

	if (size > VMBUS_RING_BY_WORD) {
		memcpy(to, from, size);
		return;
	}
	for (; size >= sizeof(word); size -= 32, to += 32, from += 32) {
		word[0] = load_word(from);
		word[1] = load_word(from + 8);
		word[2] = load_word(from + 16);
		word[3] = load_word(from + 24);
		store_word(to, word[0]);
		store_word(to + 8, word[1]);
		store_word(to + 16, word[2]);
		store_word(to + 24, word[3]);
	}
	for (; size >= 8; size -= 8, to += 8, from += 8)
		store_word(to, load_word(from));
	for (; size; size--)
		*to++ = *from++;
}

/*
 * Puts a packet behind those already there, without publishing it. The payload begins with parts[0];
 * `offset` bytes of it (a multiple of 8) count as extended descriptor, as GPA ranges do.
 * -EAGAIN: no room now; -EMSGSIZE: never any room; -EPROTO: the reader's index is nonsense.
 */
static inline int vmbus_ring_write(struct vmbus_ring_out *out, uint16_t type, uint16_t flags,
				   uint64_t transaction_id, uint32_t offset,
				   const struct vmbus_ring_part *parts, unsigned int count)
{
	struct vmbus_packet_descriptor desc;
	uint32_t total, filled;
	uint8_t *at = out->data + out->write;
	uint64_t payload = 0, trailer;

	for (unsigned int i = 0; i < count; i++)
		payload += parts[i].size;
	if (payload >= out->size)
		return -EMSGSIZE;
	total = vmbus_ring_packet_size((uint32_t)payload);
	if (total >= out->size || (total - VMBUS_PACKET_TRAILER) / 8 > UINT16_MAX)
		return -EMSGSIZE;
	if (vmbus_ring_room(out) <= total) {
		int err = vmbus_ring_refresh(out);

		if (err)
			return err;
		if (vmbus_ring_room(out) <= total)
			return -EAGAIN;
	}

	vmbus_ring_prefetch_write(at + VMBUS_RING_AHEAD);
	desc.type = type;
	desc.offset8 = (uint16_t)((sizeof(desc) + offset) / 8);
	desc.length8 = (uint16_t)((total - VMBUS_PACKET_TRAILER) / 8);
	desc.flags = flags;
	desc.transaction_id = transaction_id;
	memcpy(at, &desc, sizeof(desc));
	filled = sizeof(desc);
	for (unsigned int i = 0; i < count; i++) {
		vmbus_ring_copy(at + filled, parts[i].data, parts[i].size);
		filled += parts[i].size;
	}
	/* What the other side gets to see is ours to the last byte: no stale memory in the padding. */
	for (; filled < total - VMBUS_PACKET_TRAILER; filled++)
		at[filled] = 0;
	trailer = (uint64_t)out->write << 32;
	memcpy(at + total - VMBUS_PACKET_TRAILER, &trailer, sizeof(trailer));
	out->write = vmbus_ring_add(out->write, total, out->size);
	return 0;
}

/*
 * Publishes what was written. True: the reader may be asleep and wants a signal, because the ring
 * was empty (as the reader last said) and the mask is clear.
 */
static inline bool vmbus_ring_publish(struct vmbus_ring_out *out)
{
	uint32_t old = out->published;

	if (old == out->write)
		return false;
	out->published = out->write;
	VMBUS_RING_STORE(&out->shared->write_index, out->write);
	VMBUS_RING_FULL_BARRIER(); /* against the reader's in vmbus_ring_unmask */
	if (VMBUS_RING_LOAD(&out->shared->interrupt_mask))
		return false;
	return VMBUS_RING_PEEK(&out->shared->read_index) == old;
}

/* There was room after all, or nothing left to send. */
static inline void vmbus_ring_stop_awaiting(struct vmbus_ring_out *out)
{
	if (!out->awaiting)
		return;
	out->awaiting = 0;
	VMBUS_RING_STORE(&out->shared->pending_send_size, 0);
}

/*
 * After -EAGAIN for a packet of `total` bytes: asks the reader for a signal once it fits. Looks
 * again afterwards: 0 means there is room now and no signal is awaited, -EAGAIN that one will come.
 * Publish what was written first: the reader reckons the room, and whether there is enough of it
 * only now, with the write_index that it sees.
 */
static inline int vmbus_ring_await_room(struct vmbus_ring_out *out, uint32_t total)
{
	int err;

	out->awaiting = total;
	VMBUS_RING_STORE(&out->shared->pending_send_size, total);
	VMBUS_RING_FULL_BARRIER(); /* against the reader's in vmbus_ring_release */
	err = vmbus_ring_refresh(out);
	if (err || vmbus_ring_room(out) <= total)
		return err ? err : -EAGAIN;
	vmbus_ring_stop_awaiting(out);
	return 0;
}

/* ---- Reader --------------------------------------------------------------------------------------- */

static inline void vmbus_ring_in_init(struct vmbus_ring_in *in, struct vmbus_ring_header *shared,
				      uint8_t *data, uint32_t size)
{
	*in = (struct vmbus_ring_in){ .shared = shared, .data = data, .size = size };
}

/* Is there anything to read? One load of a line that stays in this CPU's cache while nothing comes. */
static inline bool vmbus_ring_pending(const struct vmbus_ring_in *in)
{
	return in->read != in->write || VMBUS_RING_PEEK(&in->shared->write_index) != in->read;
}

/* A packet's lines, all at once instead of one miss after the other. */
static inline void vmbus_ring_prefetch_read(const uint8_t *start, uint32_t length)
{
	if (length > VMBUS_RING_PREFETCH_MAX)
		length = VMBUS_RING_PREFETCH_MAX;
	for (uint32_t i = 0; i < length; i += VMBUS_RING_LINE)
		__builtin_prefetch(start + i);
}

/*
 * The next packet: 1 and *packet, 0 when there is none, -EPROTO when indices or descriptor make no
 * sense. The payload stays where it is until vmbus_ring_advance.
 */
static inline int vmbus_ring_next(struct vmbus_ring_in *in, struct vmbus_ring_packet *packet)
{
	uint32_t available = vmbus_ring_distance(in->read, in->write, in->size);
	uint32_t length, offset;
	uint64_t word[2];
	const uint8_t *start = in->data + in->read;

	if (!available) {
		uint32_t write = VMBUS_RING_LOAD(&in->shared->write_index);

		if (write == in->read)
			return 0;
		vmbus_ring_prefetch_read(start, VMBUS_RING_AHEAD_LINES * VMBUS_RING_LINE);
		if (!vmbus_ring_index_valid(write, in->size))
			return -EPROTO;
		/*
		 * The writer only moves forward and never past what was released. The distance from
		 * `published` must therefore grow.
		 */
		if (vmbus_ring_distance(in->published, write, in->size) <
		    vmbus_ring_distance(in->published, in->read, in->size))
			return -EPROTO;
		in->write = write;
		available = vmbus_ring_distance(in->read, write, in->size);
	}
	/* Atomic loads, as a compiler may take a plain copy's source for its value once more. */
	word[0] = VMBUS_RING_PEEK((const uint64_t *)(const void *)start);
	word[1] = VMBUS_RING_PEEK((const uint64_t *)(const void *)start + 1);
	memcpy(&packet->desc, word, sizeof(packet->desc));
	length = packet->desc.length8 * 8u;
	offset = packet->desc.offset8 * 8u;
	if (available < VMBUS_PACKET_TRAILER || length > available - VMBUS_PACKET_TRAILER ||
	    offset < sizeof(packet->desc) || offset > length)
		return -EPROTO;
	vmbus_ring_prefetch_read(start + VMBUS_RING_LINE, length);
	packet->start = start;
	packet->payload = start + offset;
	packet->payload_size = length - offset;
	packet->total = length + VMBUS_PACKET_TRAILER;
	return 1;
}

/* Done with the packet that vmbus_ring_next gave. Its bytes aren't given back to the writer yet. */
static inline void vmbus_ring_advance(struct vmbus_ring_in *in, const struct vmbus_ring_packet *packet)
{
	in->read = vmbus_ring_add(in->read, packet->total, in->size);
}

/*
 * Gives what was read back to the writer. True: the writer waits for room and now has it, so it wants
 * a signal. Without `force` the index is published only when a quarter of the ring would be held
 * back otherwise, or when the writer waits. A reader that polls calls it at every look, also when
 * nothing came: the writer may have begun to wait after the last packet was read.
 */
static inline bool vmbus_ring_release(struct vmbus_ring_in *in, bool force)
{
	uint32_t held = vmbus_ring_distance(in->published, in->read, in->size);
	uint32_t before, pending, room;

	if (!held)
		return false;
	if (!force && held < in->size / 4 && !VMBUS_RING_PEEK(&in->shared->pending_send_size))
		return false;
	before = in->published;
	in->published = in->read;
	VMBUS_RING_STORE(&in->shared->read_index, in->read);
	VMBUS_RING_FULL_BARRIER(); /* against the writer's in vmbus_ring_await_room */
	pending = VMBUS_RING_LOAD(&in->shared->pending_send_size);
	if (!pending)
		return false;
	room = in->size - vmbus_ring_distance(in->read, VMBUS_RING_LOAD(&in->shared->write_index), in->size);
	/* Only when it becomes enough: it is told once, not with every packet. */
	return room > pending && room - vmbus_ring_distance(before, in->read, in->size) <= pending;
}

/* Tells the writer that nobody needs its signals. */
static inline void vmbus_ring_mask(struct vmbus_ring_in *in)
{
	VMBUS_RING_STORE(&in->shared->interrupt_mask, 1);
}

/*
 * Asks for signals again, after vmbus_ring_release(in, true). True: the ring isn't empty, so go on
 * reading instead of sleeping (the mask stays clear).
 */
static inline bool vmbus_ring_unmask(struct vmbus_ring_in *in)
{
	VMBUS_RING_STORE(&in->shared->interrupt_mask, 0);
	VMBUS_RING_FULL_BARRIER(); /* against the writer's in vmbus_ring_publish */
	return vmbus_ring_pending(in);
}

#endif /* WINAPI_RING_H */
