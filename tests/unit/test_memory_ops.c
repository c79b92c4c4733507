/* SPDX-License-Identifier: MIT */
/*
 * CRC32C, pattern and reading: against known values, a bitwise reference, and at odd sizes and
 * places.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../common/protocol.h"
#include "../../host/provider/memory_ops.h"

static uint8_t bytes[40000];

static void fill_with_noise(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		x = x * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(x >> 24);
	}
}

static uint32_t crc_bit_by_bit(const uint8_t *p, size_t size)
{
	uint32_t crc = ~0u;

	while (size--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* Check value of the CRC catalogue, and RFC 3720, B.4. */
static void crc_has_known_values(void **state)
{
	uint8_t data[32];

	(void)state;
	assert_int_equal(memory_crc32c(0, "", 0), 0);
	assert_int_equal(memory_crc32c(0, "123456789", 9), 0xe3069283u);
	memset(data, 0, 32);
	assert_int_equal(memory_crc32c(0, data, 32), 0x8a9136aau);
	memset(data, 0xff, 32);
	assert_int_equal(memory_crc32c(0, data, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)i;
	assert_int_equal(memory_crc32c(0, data, 32), 0x46dd794eu);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)(31 - i);
	assert_int_equal(memory_crc32c(0, data, 32), 0x113fdb5cu);
}

static void crc_agrees_with_the_reference(size_t start, size_t size)
{
	uint32_t expected = crc_bit_by_bit(bytes + start, size);

	assert_int_equal(memory_crc32c(0, bytes + start, size), expected);
	assert_int_equal(memory_crc32c_portable(0, bytes + start, size), expected);
}

/* Around the lengths of the interleaved runs too: 768 and 4,080 bytes. */
static void crc_of_every_size(void **state)
{
	(void)state;
	fill_with_noise();
	for (size_t size = 0; size < 1700; size++)
		crc_agrees_with_the_reference(size % 9, size);
	for (size_t size = 4000; size < 5000; size += 3)
		crc_agrees_with_the_reference(size % 9, size);
	for (size_t size = 8100; size < sizeof(bytes) - 9; size += 1231)
		crc_agrees_with_the_reference(size % 9, size);
}

static void crc_goes_on_where_it_stopped(void **state)
{
	uint32_t expected;

	(void)state;
	fill_with_noise();
	expected = crc_bit_by_bit(bytes, 10000);
	for (size_t cut = 0; cut <= 10000; cut += 77) {
		uint32_t crc = memory_crc32c(0, bytes, cut);

		assert_int_equal(memory_crc32c(crc, bytes + cut, 10000 - cut), expected);
		crc = memory_crc32c_portable(0, bytes, cut);
		assert_int_equal(memory_crc32c_portable(crc, bytes + cut, 10000 - cut), expected);
	}
}

static uint8_t expected_byte(uint64_t seed, uint64_t at)
{
	return (uint8_t)(winapi_pattern_word(seed, at / 8) >> (at % 8 * 8));
}

static void pattern_is_as_written_down(void **state)
{
	uint64_t words[2];

	(void)state;
	memory_fill(words, sizeof(words), 5, 0);
	/* (5 ^ 1) * c and (5 ^ 2) * c, each XORed with itself >> 29. */
	assert_true(words[0] == (4 * 0x9e3779b97f4a7c15ull ^ (4 * 0x9e3779b97f4a7c15ull) >> 29));
	assert_true(words[1] == (7 * 0x9e3779b97f4a7c15ull ^ (7 * 0x9e3779b97f4a7c15ull) >> 29));
}

static void fill_writes_these_bytes_and_no_others(void **state)
{
	(void)state;
	for (size_t size = 0; size < 100; size++) {
		for (uint64_t position = 0; position < 19; position++) {
			memset(bytes, 0xee, 140);
			memory_fill(bytes + 20, size, 99, position);
			for (size_t i = 0; i < 20; i++) {
				assert_int_equal(bytes[i], 0xee);
				assert_int_equal(bytes[20 + size + i], 0xee);
			}
			for (size_t i = 0; i < size; i++)
				assert_int_equal(bytes[20 + i], expected_byte(99, position + i));
		}
	}
}

static void fill_in_pieces_is_fill_at_once(void **state)
{
	static uint8_t pieces[20000];
	size_t at = 0;

	(void)state;
	memory_fill(bytes, sizeof(pieces), 7, 0);
	for (size_t size = 1; at < sizeof(pieces); size = size * 3 % 1009) {
		size_t left = sizeof(pieces) - at;

		size = size < left ? size : left;
		memory_fill(pieces + at, size, 7, at);
		at += size;
	}
	assert_memory_equal(bytes, pieces, sizeof(pieces));
}

static void positions_beyond_32_bits(void **state)
{
	const uint64_t far = (1ull << 35) + 5;

	(void)state;
	memory_fill(bytes, 64, 3, far);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(bytes[i], expected_byte(3, far + i));
	assert_true(memory_verify(bytes, 64, 3, far) == MEMORY_NO_MISMATCH);
}

static void verify_finds_the_first_wrong_byte(void **state)
{
	(void)state;
	for (size_t size = 1; size < 110; size++) {
		for (uint64_t position = 0; position < 9; position++) {
			memory_fill(bytes + 1, size, 11, position);
			bytes[0] ^= 1;
			bytes[size + 1] ^= 1;
			assert_true(memory_verify(bytes + 1, size, 11, position) == MEMORY_NO_MISMATCH);
			for (size_t bad = 0; bad < size; bad++) {
				bytes[1 + bad] ^= 0x10;
				bytes[size] ^= 0x01; /* the last byte too: the first counts */
				assert_int_equal(memory_verify(bytes + 1, size, 11, position), bad);
				bytes[size] ^= 0x01;
				bytes[1 + bad] ^= 0x10;
			}
		}
	}
}

static void verify_knows_seed_and_position(void **state)
{
	(void)state;
	memory_fill(bytes, 4096, 1, 0);
	assert_int_equal(memory_verify(bytes, 4096, 2, 0), 0);
	assert_int_equal(memory_verify(bytes, 4096, 1, 8), 0);
	assert_true(memory_verify(bytes + 8, 4000, 1, 8) == MEMORY_NO_MISMATCH);
	assert_true(memory_verify(bytes, 0, 2, 0) == MEMORY_NO_MISMATCH);
}

static void read_depends_on_every_byte(void **state)
{
	(void)state;
	fill_with_noise();
	for (size_t size = 0; size < 300; size++) {
		uint64_t sum = memory_read(bytes + 3, size);

		for (size_t i = 0; i < size; i++) {
			bytes[3 + i] ^= 0x40;
			assert_true(memory_read(bytes + 3, size) != sum);
			bytes[3 + i] ^= 0x40;
		}
		bytes[2] ^= 1;
		bytes[3 + size] ^= 1;
		assert_true(memory_read(bytes + 3, size) == sum);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_has_known_values),
		cmocka_unit_test(crc_of_every_size),
		cmocka_unit_test(crc_goes_on_where_it_stopped),
		cmocka_unit_test(pattern_is_as_written_down),
		cmocka_unit_test(fill_writes_these_bytes_and_no_others),
		cmocka_unit_test(fill_in_pieces_is_fill_at_once),
		cmocka_unit_test(positions_beyond_32_bits),
		cmocka_unit_test(verify_finds_the_first_wrong_byte),
		cmocka_unit_test(verify_knows_seed_and_position),
		cmocka_unit_test(read_depends_on_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
