/* SPDX-License-Identifier: MIT */
/* Rings: what fits, wrap-around, indices and descriptors that make no sense, signals, release. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../common/ring.h"

struct pair {
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	struct vmbus_ring_header *shared;
	uint8_t *data;
	uint32_t size;
};

static struct pair *pair_new(uint32_t size)
{
	struct pair *p = calloc(1, sizeof(*p));
	int fd = memfd_create("ring", MFD_CLOEXEC);
	uint8_t *at;

	assert_non_null(p);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096 + size), 0);
	at = mmap(NULL, 4096 + 2ul * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_ptr_not_equal(mmap(at, 4096ul + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			     MAP_FAILED);
	assert_ptr_not_equal(mmap(at + 4096 + size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
				  4096),
			     MAP_FAILED);
	close(fd);
	p->shared = (void *)at;
	p->data = at + 4096;
	p->size = size;
	vmbus_ring_out_init(&p->out, p->shared, p->data, size);
	vmbus_ring_in_init(&p->in, p->shared, p->data, size);
	return p;
}

static void pair_free(struct pair *p)
{
	munmap(p->shared, 4096 + 2ul * p->size);
	free(p);
}

/* A packet that takes `total` bytes in the ring, full of one byte. */
static int put(struct pair *p, uint64_t id, uint32_t total)
{
	static uint8_t fill[1 << 20];
	const struct vmbus_ring_part part = { fill, total - 24 };

	assert_true(total >= 24 && total - 24 <= sizeof(fill) && total % 8 == 0);
	memset(fill, (int)(id & 0xff), total - 24);
	return vmbus_ring_write(&p->out, VMBUS_PACKET_INBAND, 0, id, 0, &part, 1);
}

static void get(struct pair *p, uint64_t id, uint32_t total)
{
	struct vmbus_ring_packet packet;

	assert_int_equal(vmbus_ring_next(&p->in, &packet), 1);
	assert_int_equal(packet.desc.transaction_id, id);
	assert_int_equal(packet.total, total);
	assert_int_equal(packet.payload_size, total - 24);
	for (uint32_t i = 0; i < packet.payload_size; i++)
		assert_int_equal(packet.payload[i], id & 0xff);
	vmbus_ring_advance(&p->in, &packet);
}

/* Moves both ends on by `by` bytes. */
static void move(struct pair *p, uint32_t by)
{
	if (!by)
		return;
	assert_int_equal(put(p, 1, by), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, by);
	vmbus_ring_release(&p->in, true);
}

/* ---- What fits ------------------------------------------------------------------------------- */

static void test_packet_sizes(void **state)
{
	(void)state;
	assert_int_equal(vmbus_ring_packet_size(0), 24);
	assert_int_equal(vmbus_ring_packet_size(1), 32);
	assert_int_equal(vmbus_ring_packet_size(8), 32);
	assert_int_equal(vmbus_ring_packet_size(9), 40);
	assert_int_equal(vmbus_ring_packet_size(4064), 4088);
	assert_int_equal(vmbus_ring_packet_size(4065), 4096);
}

static void test_the_largest_packet_of_a_4_kib_ring(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 4096), -EMSGSIZE);
	assert_int_equal(put(p, 1, 4104), -EMSGSIZE);
	assert_int_equal(put(p, 1, 1 << 16), -EMSGSIZE);
	/* 4,080 bytes of packet, 8 of trailer; 8 stay free. At every place in the ring. */
	for (uint32_t i = 0; i < 1024; i++) {
		assert_int_equal(put(p, i, 4088), 0);
		assert_int_equal(put(p, i, 24), -EAGAIN);
		vmbus_ring_publish(&p->out);
		get(p, i, 4088);
		vmbus_ring_release(&p->in, true);
	}
	pair_free(p);
}

static void test_sums_that_overflow(void **state)
{
	static uint8_t data[64];
	const struct vmbus_ring_part parts[] = {
		{ data, UINT32_MAX },
		{ data, 33 },
		{ data, UINT32_MAX - 31 },
	};
	struct pair *p = pair_new(4096);

	(void)state;
	for (unsigned int count = 1; count <= 3; count++)
		assert_int_equal(vmbus_ring_write(&p->out, VMBUS_PACKET_INBAND, 0, 1, 0, parts, count),
				 -EMSGSIZE);
	for (uint32_t size = UINT32_MAX - 40; size >= UINT32_MAX - 40; size++) {
		const struct vmbus_ring_part part = { data, size };

		assert_int_equal(vmbus_ring_write(&p->out, VMBUS_PACKET_INBAND, 0, 1, 0, &part, 1),
				 -EMSGSIZE);
	}
	pair_free(p);
}

static void test_length_in_units_of_8_has_16_bits(void **state)
{
	struct pair *p = pair_new(1 << 20);

	(void)state;
	assert_int_equal(put(p, 1, 65535 * 8 + 16), -EMSGSIZE);
	assert_int_equal(put(p, 1, 65535 * 8 + 8), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 65535 * 8 + 8);
	pair_free(p);
}

static void test_a_ring_is_never_quite_full(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 2048), 0);
	assert_int_equal(put(p, 2, 2048), -EAGAIN);
	assert_int_equal(put(p, 2, 2040), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 2048);
	get(p, 2, 2040);
	pair_free(p);
}

static void test_packets_wrap_at_every_place(void **state)
{
	(void)state;
	for (uint32_t at = 24; at < 4096; at += 8) {
		struct pair *p = pair_new(4096);

		move(p, at);
		assert_int_equal(put(p, 7, 2000), 0);
		assert_int_equal(put(p, 8, 1024), 0);
		vmbus_ring_publish(&p->out);
		get(p, 7, 2000);
		get(p, 8, 1024);
		assert_int_equal(p->in.read, (at + 3024) % 4096);
		pair_free(p);
	}
}

static void test_a_packets_bytes(void **state)
{
	static const uint8_t range[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	static const uint8_t payload[3] = { 0xaa, 0xbb, 0xcc };
	const struct vmbus_ring_part parts[] = { { range, 8 }, { payload, 3 }, { NULL, 0 } };
	struct pair *p = pair_new(4096);
	uint64_t trailer;

	(void)state;
	move(p, 48);
	memset(p->data, 0xee, 4096);
	assert_int_equal(vmbus_ring_write(&p->out, 9, 1, 0x1122334455667788, 8, parts, 3), 0);
	assert_memory_equal(p->data + 48, "\x09\0\x03\0\x04\0\x01\0\x88\x77\x66\x55\x44\x33\x22\x11", 16);
	assert_memory_equal(p->data + 64, range, 8);
	/* No stale byte in the padding. */
	assert_memory_equal(p->data + 72, "\xaa\xbb\xcc\0\0\0\0\0", 8);
	memcpy(&trailer, p->data + 80, 8);
	assert_int_equal(trailer, 48ull << 32);
	assert_int_equal(p->data[88], 0xee);
	assert_int_equal(p->shared->write_index, 48);
	vmbus_ring_publish(&p->out);
	assert_int_equal(p->shared->write_index, 88);
	pair_free(p);
}

static void test_the_writer_sets_its_feature_bit(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(p->shared->feature_bits, VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
	pair_free(p);
}

static void test_nothing_is_seen_before_it_is_published(void **state)
{
	struct pair *p = pair_new(4096);
	struct vmbus_ring_packet packet;

	(void)state;
	assert_int_equal(put(p, 1, 64), 0);
	assert_int_equal(put(p, 2, 64), 0);
	assert_false(vmbus_ring_pending(&p->in));
	assert_int_equal(vmbus_ring_next(&p->in, &packet), 0);
	vmbus_ring_publish(&p->out);
	assert_true(vmbus_ring_pending(&p->in));
	get(p, 1, 64);
	assert_true(vmbus_ring_pending(&p->in));
	get(p, 2, 64);
	assert_false(vmbus_ring_pending(&p->in));
	pair_free(p);
}

/* ---- A writer that can't be trusted ---------------------------------------------------------- */

static void expect_nonsense(struct pair *p)
{
	struct vmbus_ring_packet packet;

	assert_int_equal(vmbus_ring_next(&p->in, &packet), -EPROTO);
}

static void test_write_indices_out_of_range(void **state)
{
	static const uint32_t wrong[] = { 4096, 4104, 8192, 0x80000000, UINT32_MAX - 7, UINT32_MAX };
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 64), 0); /* the descriptor isn't what's wrong */
	for (unsigned int i = 0; i < 6; i++) {
		VMBUS_RING_STORE(&p->shared->write_index, wrong[i]);
		expect_nonsense(p);
	}
	pair_free(p);
}

static void test_write_indices_unaligned(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 64), 0);
	for (uint32_t index = 1; index < 4096; index++) {
		if (index % 8 == 0)
			continue;
		VMBUS_RING_STORE(&p->shared->write_index, index);
		expect_nonsense(p);
	}
	pair_free(p);
}

static void test_a_write_index_that_moves_back(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	move(p, 1000);
	assert_int_equal(put(p, 1, 512), 0);
	assert_int_equal(put(p, 2, 512), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 512);
	get(p, 2, 512);
	assert_int_equal(put(p, 3, 64), 0); /* the descriptor isn't what's wrong */
	/* Read up to 2,024, given back up to 1,000: the writer can't be anywhere in between. */
	for (uint32_t index = 1000; index < 2024; index += 8) {
		VMBUS_RING_STORE(&p->shared->write_index, index);
		expect_nonsense(p);
	}
	pair_free(p);
}

static void test_a_write_index_into_what_is_not_given_back(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	/* Read to 1,024, nothing given back: an index below that means the writer overtook us. */
	assert_int_equal(put(p, 1, 1024), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 1024);
	assert_int_equal(put(p, 2, 64), 0);
	for (uint32_t index = 0; index < 1024; index += 8) {
		VMBUS_RING_STORE(&p->shared->write_index, index);
		expect_nonsense(p);
	}
	pair_free(p);
}

/* One descriptor with `available` bytes published behind it. */
static void descriptor_is(uint32_t available, uint16_t offset8, uint16_t length8, int expected)
{
	struct pair *p = pair_new(4096);
	struct vmbus_packet_descriptor desc = {
		.type = VMBUS_PACKET_INBAND,
		.offset8 = offset8,
		.length8 = length8,
	};
	struct vmbus_ring_packet packet;

	/* So that the packet lies across the ring's end. */
	move(p, 4000);
	memcpy(p->data + 4000, &desc, sizeof(desc));
	VMBUS_RING_STORE(&p->shared->write_index, (4000 + available) % 4096);
	assert_int_equal(vmbus_ring_next(&p->in, &packet), expected);
	if (expected == 1) {
		assert_int_equal(packet.total, length8 * 8 + 8);
		assert_int_equal(packet.payload_size, (length8 - offset8) * 8);
		assert_ptr_equal(packet.payload, p->data + 4000 + offset8 * 8);
	}
	pair_free(p);
}

static void test_descriptors_at_and_over_their_bounds(void **state)
{
	(void)state;
	descriptor_is(24, 2, 2, 1);
	descriptor_is(4088, 2, 510, 1);
	descriptor_is(4088, 510, 510, 1);
	descriptor_is(4088, 2, 2, 1); /* others may follow */
	/* longer than what was written, than the ring, than anything */
	descriptor_is(24, 2, 3, -EPROTO);
	descriptor_is(4088, 2, 511, -EPROTO);
	descriptor_is(4088, 2, 512, -EPROTO);
	descriptor_is(4088, 2, 513, -EPROTO);
	descriptor_is(4088, 2, UINT16_MAX, -EPROTO);
	/* shorter than a descriptor */
	descriptor_is(4088, 2, 1, -EPROTO);
	descriptor_is(4088, 0, 0, -EPROTO);
	descriptor_is(4088, 1, 1, -EPROTO);
	descriptor_is(4088, 0, 10, -EPROTO);
	descriptor_is(4088, 1, 10, -EPROTO);
	/* a payload that begins behind the packet's end */
	descriptor_is(4088, 11, 10, -EPROTO);
	descriptor_is(4088, UINT16_MAX, 10, -EPROTO);
	descriptor_is(4088, UINT16_MAX, UINT16_MAX, -EPROTO);
	/* not even room for a descriptor */
	descriptor_is(8, 2, 2, -EPROTO);
	descriptor_is(16, 2, 2, -EPROTO);
	descriptor_is(8, 0, 0, -EPROTO);
}

static void test_the_descriptor_is_read_once(void **state)
{
	struct pair *p = pair_new(4096);
	struct vmbus_ring_packet packet;

	(void)state;
	assert_int_equal(put(p, 5, 64), 0);
	vmbus_ring_publish(&p->out);
	assert_int_equal(vmbus_ring_next(&p->in, &packet), 1);
	memset(p->data, 0xff, 16);
	assert_int_equal(packet.desc.length8, 7);
	vmbus_ring_advance(&p->in, &packet);
	assert_int_equal(p->in.read, 64);
	pair_free(p);
}

/* ---- A reader that can't be trusted ---------------------------------------------------------- */

static void test_read_indices_out_of_range(void **state)
{
	static const uint32_t wrong[] = { 1, 4, 12, 4095, 4096, 4104, 0x80000000, UINT32_MAX - 7, UINT32_MAX };
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 4000), 0);
	vmbus_ring_publish(&p->out);
	for (unsigned int i = 0; i < 9; i++) {
		VMBUS_RING_STORE(&p->shared->read_index, wrong[i]);
		assert_int_equal(vmbus_ring_refresh(&p->out), -EPROTO);
		assert_int_equal(put(p, 2, 200), -EPROTO);
		assert_int_equal(vmbus_ring_await_room(&p->out, 200), -EPROTO);
	}
	pair_free(p);
}

static void test_a_read_index_beyond_what_was_published(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 1024), 0);
	vmbus_ring_publish(&p->out);
	assert_int_equal(put(p, 2, 1024), 0);
	VMBUS_RING_STORE(&p->shared->read_index, 1032);
	assert_int_equal(vmbus_ring_refresh(&p->out), -EPROTO);
	VMBUS_RING_STORE(&p->shared->read_index, 2048);
	assert_int_equal(vmbus_ring_refresh(&p->out), -EPROTO);
	VMBUS_RING_STORE(&p->shared->read_index, 4088);
	assert_int_equal(vmbus_ring_refresh(&p->out), -EPROTO);
	VMBUS_RING_STORE(&p->shared->read_index, 1024);
	assert_int_equal(vmbus_ring_refresh(&p->out), 0);
	assert_int_equal(vmbus_ring_room(&p->out), 3072);
	pair_free(p);
}

static void test_a_read_index_that_moves_back(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 1024), 0);
	vmbus_ring_publish(&p->out);
	VMBUS_RING_STORE(&p->shared->read_index, 512);
	assert_int_equal(vmbus_ring_refresh(&p->out), 0);
	VMBUS_RING_STORE(&p->shared->read_index, 504);
	assert_int_equal(vmbus_ring_refresh(&p->out), -EPROTO);
	VMBUS_RING_STORE(&p->shared->read_index, 0);
	assert_int_equal(vmbus_ring_refresh(&p->out), -EPROTO);
	pair_free(p);
}

static void test_the_writers_own_index_isnt_taken_from_shared_memory(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 64), 0);
	vmbus_ring_publish(&p->out);
	VMBUS_RING_STORE(&p->shared->write_index, 4000);
	assert_int_equal(put(p, 2, 64), 0);
	vmbus_ring_publish(&p->out);
	assert_int_equal(p->shared->write_index, 128);
	pair_free(p);
}

/* ---- Signals --------------------------------------------------------------------------------- */

static void test_signal_only_from_empty_to_not_empty(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_false(vmbus_ring_publish(&p->out)); /* nothing written */
	assert_int_equal(put(p, 1, 64), 0);
	assert_true(vmbus_ring_publish(&p->out));
	assert_false(vmbus_ring_publish(&p->out));
	assert_int_equal(put(p, 2, 64), 0);
	assert_false(vmbus_ring_publish(&p->out)); /* the first is still unread */
	get(p, 1, 64);
	vmbus_ring_release(&p->in, true);
	assert_int_equal(put(p, 3, 64), 0);
	assert_false(vmbus_ring_publish(&p->out)); /* the second is */
	get(p, 2, 64);
	get(p, 3, 64);
	vmbus_ring_release(&p->in, true);
	assert_int_equal(put(p, 4, 64), 0);
	assert_true(vmbus_ring_publish(&p->out));
	pair_free(p);
}

static void test_several_packets_are_one_signal(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(put(p, i, 64), 0);
	assert_true(vmbus_ring_publish(&p->out));
	pair_free(p);
}

static void test_no_signal_while_masked(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	vmbus_ring_mask(&p->in);
	assert_int_equal(put(p, 1, 64), 0);
	assert_false(vmbus_ring_publish(&p->out));
	assert_true(vmbus_ring_unmask(&p->in)); /* instead of the signal */
	get(p, 1, 64);
	vmbus_ring_release(&p->in, true);
	assert_false(vmbus_ring_unmask(&p->in));
	assert_int_equal(put(p, 2, 64), 0);
	assert_true(vmbus_ring_publish(&p->out));
	pair_free(p);
}

static void test_any_mask_but_0_masks(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	VMBUS_RING_STORE(&p->shared->interrupt_mask, 0x80000000);
	assert_int_equal(put(p, 1, 64), 0);
	assert_false(vmbus_ring_publish(&p->out));
	pair_free(p);
}

/* ---- Waiting for room ------------------------------------------------------------------------ */

/* A full ring of eight packets of 504 bytes; 64 are free. The writer waits for `total`. */
static struct pair *waiting(uint32_t total)
{
	struct pair *p = pair_new(4096);

	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(put(p, i, 504), 0);
	vmbus_ring_publish(&p->out);
	assert_int_equal(vmbus_ring_await_room(&p->out, total), -EAGAIN);
	assert_int_equal(p->shared->pending_send_size, total);
	return p;
}

static void test_the_signal_comes_at_the_crossing_and_not_again(void **state)
{
	struct pair *p = waiting(64 + 2 * 504);

	(void)state;
	get(p, 0, 504);
	assert_false(vmbus_ring_release(&p->in, false)); /* 568 free */
	get(p, 1, 504);
	assert_false(vmbus_ring_release(&p->in, false)); /* 1,072 free: as much, but one byte too few */
	get(p, 2, 504);
	assert_true(vmbus_ring_release(&p->in, false)); /* crossed */
	get(p, 3, 504);
	assert_false(vmbus_ring_release(&p->in, false)); /* told already */
	assert_false(vmbus_ring_release(&p->in, true));
	pair_free(p);
}

static void test_a_crossing_by_many_packets_at_once(void **state)
{
	struct pair *p = waiting(1000);

	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		get(p, i, 504);
	assert_true(vmbus_ring_release(&p->in, true));
	assert_false(vmbus_ring_release(&p->in, true));
	pair_free(p);
}

static void test_the_largest_packet_is_awaited_until_the_ring_is_empty(void **state)
{
	struct pair *p = waiting(4088);

	(void)state;
	for (unsigned int i = 0; i < 7; i++) {
		get(p, i, 504);
		assert_false(vmbus_ring_release(&p->in, true));
	}
	get(p, 7, 504);
	assert_true(vmbus_ring_release(&p->in, true));
	assert_int_equal(put(p, 9, 4088), 0);
	pair_free(p);
}

static void test_no_wait_when_there_is_room_now(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(put(p, i, 504), 0);
	vmbus_ring_publish(&p->out);
	get(p, 0, 504);
	assert_false(vmbus_ring_release(&p->in, true));
	assert_int_equal(vmbus_ring_await_room(&p->out, 504), 0);
	assert_int_equal(p->shared->pending_send_size, 0);
	assert_false(p->out.awaiting);
	pair_free(p);
}

static void test_the_wait_ends(void **state)
{
	struct pair *p = waiting(504);

	(void)state;
	vmbus_ring_stop_awaiting(&p->out);
	assert_int_equal(p->shared->pending_send_size, 0);
	for (unsigned int i = 0; i < 8; i++) {
		get(p, i, 504);
		assert_false(vmbus_ring_release(&p->in, true));
	}
	/* What the reader puts there is none of ours. */
	VMBUS_RING_STORE(&p->shared->pending_send_size, 77);
	vmbus_ring_stop_awaiting(&p->out);
	assert_int_equal(p->shared->pending_send_size, 77);
	pair_free(p);
}

static void test_a_wait_that_makes_no_sense_is_harmless(void **state)
{
	static const uint32_t wrong[] = { 1, 4096, 0x80000000, UINT32_MAX };
	struct pair *p = pair_new(4096);

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(put(p, i, 504), 0);
		vmbus_ring_publish(&p->out);
		VMBUS_RING_STORE(&p->shared->pending_send_size, wrong[i]);
		get(p, i, 504);
		assert_false(vmbus_ring_release(&p->in, false));
		assert_int_equal(p->shared->read_index, p->in.read);
	}
	pair_free(p);
}

/* ---- Release --------------------------------------------------------------------------------- */

static void test_release_is_lazy_up_to_a_quarter(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 1016), 0);
	assert_int_equal(put(p, 2, 24), 0);
	vmbus_ring_publish(&p->out);
	assert_false(vmbus_ring_release(&p->in, false));
	get(p, 1, 1016);
	vmbus_ring_release(&p->in, false);
	assert_int_equal(p->shared->read_index, 0); /* 1,016 < 1,024 */
	get(p, 2, 24);
	vmbus_ring_release(&p->in, false);
	assert_int_equal(p->shared->read_index, 1040);
	pair_free(p);
}

static void test_release_at_exactly_a_quarter(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 1024), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 1024);
	vmbus_ring_release(&p->in, false);
	assert_int_equal(p->shared->read_index, 1024);
	pair_free(p);
}

static void test_release_by_force(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 24), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 24);
	assert_false(vmbus_ring_release(&p->in, true));
	assert_int_equal(p->shared->read_index, 24);
	pair_free(p);
}

static void test_release_when_the_writer_begins_to_wait(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	assert_int_equal(put(p, 1, 504), 0);
	assert_int_equal(put(p, 2, 3000), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 504);
	assert_false(vmbus_ring_release(&p->in, false));
	assert_int_equal(p->shared->read_index, 0);
	assert_int_equal(vmbus_ring_await_room(&p->out, 800), -EAGAIN);
	/* Nothing new was read, and yet a look gives back what is held. */
	assert_true(vmbus_ring_release(&p->in, false));
	assert_int_equal(p->shared->read_index, 504);
	assert_int_equal(put(p, 3, 800), 0);
	pair_free(p);
}

static void test_release_across_the_end_of_the_ring(void **state)
{
	struct pair *p = pair_new(4096);

	(void)state;
	move(p, 3800);
	assert_int_equal(put(p, 1, 2000), 0);
	vmbus_ring_publish(&p->out);
	get(p, 1, 2000);
	vmbus_ring_release(&p->in, false);
	assert_int_equal(p->shared->read_index, (3800 + 2000) % 4096);
	assert_int_equal(vmbus_ring_refresh(&p->out), 0);
	assert_int_equal(vmbus_ring_room(&p->out), 4096);
	pair_free(p);
}

/* ---- All together ---------------------------------------------------------------------------- */

static void test_a_long_run_loses_nothing(void **state)
{
	struct pair *p = pair_new(4096);
	uint64_t written = 0, read = 0;
	uint32_t seed = 1;

	(void)state;
	while (read < 20000) {
		seed = seed * 1664525 + 1013904223;
		if (seed >> 31) {
			uint32_t total = 24 + written * 56 % 1000 / 8 * 8;
			int err = put(p, written, total);

			if (!err)
				written++;
			else
				assert_int_equal(err, -EAGAIN);
			vmbus_ring_publish(&p->out);
		} else if (vmbus_ring_pending(&p->in)) {
			get(p, read, 24 + (uint32_t)(read * 56 % 1000 / 8 * 8));
			read++;
			vmbus_ring_release(&p->in, false);
		}
	}
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packet_sizes),
		cmocka_unit_test(test_the_largest_packet_of_a_4_kib_ring),
		cmocka_unit_test(test_sums_that_overflow),
		cmocka_unit_test(test_length_in_units_of_8_has_16_bits),
		cmocka_unit_test(test_a_ring_is_never_quite_full),
		cmocka_unit_test(test_packets_wrap_at_every_place),
		cmocka_unit_test(test_a_packets_bytes),
		cmocka_unit_test(test_the_writer_sets_its_feature_bit),
		cmocka_unit_test(test_nothing_is_seen_before_it_is_published),
		cmocka_unit_test(test_write_indices_out_of_range),
		cmocka_unit_test(test_write_indices_unaligned),
		cmocka_unit_test(test_a_write_index_that_moves_back),
		cmocka_unit_test(test_a_write_index_into_what_is_not_given_back),
		cmocka_unit_test(test_descriptors_at_and_over_their_bounds),
		cmocka_unit_test(test_the_descriptor_is_read_once),
		cmocka_unit_test(test_read_indices_out_of_range),
		cmocka_unit_test(test_a_read_index_beyond_what_was_published),
		cmocka_unit_test(test_a_read_index_that_moves_back),
		cmocka_unit_test(test_the_writers_own_index_isnt_taken_from_shared_memory),
		cmocka_unit_test(test_signal_only_from_empty_to_not_empty),
		cmocka_unit_test(test_several_packets_are_one_signal),
		cmocka_unit_test(test_no_signal_while_masked),
		cmocka_unit_test(test_any_mask_but_0_masks),
		cmocka_unit_test(test_the_signal_comes_at_the_crossing_and_not_again),
		cmocka_unit_test(test_a_crossing_by_many_packets_at_once),
		cmocka_unit_test(test_the_largest_packet_is_awaited_until_the_ring_is_empty),
		cmocka_unit_test(test_no_wait_when_there_is_room_now),
		cmocka_unit_test(test_the_wait_ends),
		cmocka_unit_test(test_a_wait_that_makes_no_sense_is_harmless),
		cmocka_unit_test(test_release_is_lazy_up_to_a_quarter),
		cmocka_unit_test(test_release_at_exactly_a_quarter),
		cmocka_unit_test(test_release_by_force),
		cmocka_unit_test(test_release_when_the_writer_begins_to_wait),
		cmocka_unit_test(test_release_across_the_end_of_the_ring),
		cmocka_unit_test(test_a_long_run_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
