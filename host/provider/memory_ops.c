/* SPDX-License-Identifier: MIT */
/*
 * CRC32C, pattern and reading, as fast as one core does them without state that a Windows driver
 * would have to save: general registers and SSE, no AVX.
 */
#include "memory_ops.h"

#include "../../common/protocol.h"
#include "platform.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the pattern and the CRC are written for little-endian machines"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define MEMORY_X86 1
#include <emmintrin.h>
#include <nmmintrin.h>
#include <wmmintrin.h>
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define MEMORY_TARGET_CRC
#else
#include <cpuid.h>
#define MEMORY_TARGET_CRC __attribute__((target("sse4.2,pclmul")))
#endif
#else
#define MEMORY_X86 0
#endif

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static inline void store64(uint8_t *p, uint64_t value)
{
	memcpy(p, &value, sizeof(value));
}

/* ---- CRC32C without special instructions: eight tables, eight bytes a step ------------------- */

/*
 * A CRC is linear: the entry for a byte is the XOR of the entries for its bits. So each table is
 * written down by its eight entries for 1, 2, 4, ... 128, and the compiler computes the rest.
 */
#define BIT(i, n, entry) (((i) >> (n)) & 1u ? (entry) : 0u)
#define ENTRY(i, a, b, c, d, e, f, g, h) \
	(BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^ \
	 BIT(i, 6, g) ^ BIT(i, 7, h))
#define ROW4(i, ...) \
	ENTRY((i), __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__), \
		ENTRY((i) + 3, __VA_ARGS__)
#define ROW16(i, ...) \
	ROW4((i), __VA_ARGS__), ROW4((i) + 4, __VA_ARGS__), ROW4((i) + 8, __VA_ARGS__), \
		ROW4((i) + 12, __VA_ARGS__)
#define ROW64(i, ...) \
	ROW16((i), __VA_ARGS__), ROW16((i) + 16, __VA_ARGS__), ROW16((i) + 32, __VA_ARGS__), \
		ROW16((i) + 48, __VA_ARGS__)
#define TABLE(...) \
	{ \
		ROW64(0u, __VA_ARGS__), ROW64(64u, __VA_ARGS__), ROW64(128u, __VA_ARGS__), \
			ROW64(192u, __VA_ARGS__) \
	}

/*
 * crc_table[n][i]: the CRC register after byte i and n zero bytes. Polynomial 0x82f63b78,
 * reflected.
 */
static const uint32_t crc_table[8][256] = {
	TABLE(0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu, 0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu,
	      0x82f63b78u),
	TABLE(0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u, 0x3fc5f181u, 0x7f8be302u, 0xff17c604u,
	      0xfbc3faf9u),
	TABLE(0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u, 0x70a27d8au, 0xe144fb14u, 0xc76580d9u,
	      0x8b277743u),
	TABLE(0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u, 0xe964b13du, 0xd725148bu, 0xaba65fe7u,
	      0x52a0c93fu),
	TABLE(0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u, 0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu,
	      0x6ea2d55cu),
	TABLE(0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu, 0xc00c303eu, 0x85f4168du, 0x0e045bebu,
	      0x1c08b7d6u),
	TABLE(0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u, 0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au,
	      0xf56e0ef4u),
	TABLE(0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau, 0x847609b4u, 0x0d006599u, 0x1a00cb32u,
	      0x34019664u),
};

uint32_t memory_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;

	crc = ~crc;
	for (; size >= 8; size -= 8, p += 8) {
		uint64_t word = load64(p) ^ crc;

		crc = crc_table[7][word & 0xff] ^ crc_table[6][word >> 8 & 0xff] ^
		      crc_table[5][word >> 16 & 0xff] ^ crc_table[4][word >> 24 & 0xff] ^
		      crc_table[3][word >> 32 & 0xff] ^ crc_table[2][word >> 40 & 0xff] ^
		      crc_table[1][word >> 48 & 0xff] ^ crc_table[0][word >> 56];
	}
	for (; size; size--, p++)
		crc = crc_table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
	return ~crc;
}

/* ---- CRC32C by the crc32 instruction --------------------------------------------------------- */

#if MEMORY_X86

/*
 * The instruction takes 3 cycles and one can start in each, so three neighbouring runs of bytes are
 * done at once and their registers joined: a register moves over n zero bytes by a carry-less
 * product with x^(8n - 33) mod P, which the next crc32 reduces (and multiplies by the missing
 * x^33).
 *
 * 3 x 1360 bytes leave 16 of a 4 KiB page: guest memory often comes page by page.
 */
#define RUN_LONG 1360u
#define RUN_LONG_OVER_1 0x3f70cc6fu /* x^(8 * 1360 - 33) mod P, reflected */
#define RUN_LONG_OVER_2 0x5aa1f3cfu /* x^(16 * 1360 - 33) mod P */
#define RUN_SHORT 256u
#define RUN_SHORT_OVER_1 0xb9e02b86u
#define RUN_SHORT_OVER_2 0xdd7e3b0cu

MEMORY_TARGET_CRC
static inline uint64_t crc_join(uint64_t a, uint64_t b, uint64_t c, uint32_t over_2, uint32_t over_1)
{
	__m128i x = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a), _mm_cvtsi32_si128((int)over_2), 0);
	__m128i y = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b), _mm_cvtsi32_si128((int)over_1), 0);

	return c ^ _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(x, y)));
}

MEMORY_TARGET_CRC
static inline uint64_t crc_three_runs(uint64_t a, const uint8_t *p, uint32_t run, uint32_t over_2,
				      uint32_t over_1)
{
	uint64_t b = 0, c = 0;

	for (const uint8_t *end = p + run; p < end; p += 8) {
		a = _mm_crc32_u64(a, load64(p));
		b = _mm_crc32_u64(b, load64(p + run));
		c = _mm_crc32_u64(c, load64(p + 2 * run));
	}
	return crc_join(a, b, c, over_2, over_1);
}

MEMORY_TARGET_CRC
static uint32_t crc_by_instruction(uint32_t start, const uint8_t *p, size_t size)
{
	uint64_t crc = (uint32_t)~start;

	for (; size >= 3 * RUN_LONG; size -= 3 * RUN_LONG, p += 3 * RUN_LONG)
		crc = crc_three_runs(crc, p, RUN_LONG, RUN_LONG_OVER_2, RUN_LONG_OVER_1);
	for (; size >= 3 * RUN_SHORT; size -= 3 * RUN_SHORT, p += 3 * RUN_SHORT)
		crc = crc_three_runs(crc, p, RUN_SHORT, RUN_SHORT_OVER_2, RUN_SHORT_OVER_1);
	for (; size >= 8; size -= 8, p += 8)
		crc = _mm_crc32_u64(crc, load64(p));
	for (; size; size--, p++)
		crc = _mm_crc32_u8((uint32_t)crc, *p);
	return ~(uint32_t)crc;
}

#define CPUID_1_ECX_PCLMUL (1u << 1)
#define CPUID_1_ECX_SSE4_2 (1u << 20)

static bool cpu_asked_has_crc(void)
{
	const uint32_t wanted = CPUID_1_ECX_PCLMUL | CPUID_1_ECX_SSE4_2;
#if defined(_MSC_VER) && !defined(__clang__)
	int regs[4];

	__cpuid(regs, 1);
	return ((uint32_t)regs[2] & wanted) == wanted;
#else
	uint32_t eax, ebx, ecx, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & wanted) == wanted;
#endif
}

/* cpuid leaves a virtual machine, so it is asked once; two threads that ask at once learn the same.
 */
static bool cpu_has_crc(void)
{
	static uint32_t answer; /* 0: not asked, 1: no, 2: yes */
	uint32_t known = wp_atomic_load32(&answer);

	if (!known) {
		known = cpu_asked_has_crc() ? 2 : 1;
		wp_atomic_store32(&answer, known);
	}
	return known == 2;
}

uint32_t memory_crc32c(uint32_t crc, const void *data, size_t size)
{
	if (!cpu_has_crc())
		return memory_crc32c_portable(crc, data, size);
	return crc_by_instruction(crc, data, size);
}

#else

uint32_t memory_crc32c(uint32_t crc, const void *data, size_t size)
{
	return memory_crc32c_portable(crc, data, size);
}

#endif

/* ---- Pattern --------------------------------------------------------------------------------- */

/* Bytes from `position` to the next word of the pattern, at most `size`. */
static inline size_t bytes_to_word(uint64_t position, size_t size)
{
	size_t head = (size_t)(0 - position) & 7;

	return head < size ? head : size;
}

static inline uint8_t pattern_byte(uint64_t seed, uint64_t position)
{
	return (uint8_t)(winapi_pattern_word(seed, position / 8) >> position % 8 * 8);
}

static void fill_bytes(uint8_t *p, size_t size, uint64_t seed, uint64_t position)
{
	for (size_t i = 0; i < size; i++)
		p[i] = pattern_byte(seed, position + i);
}

void memory_fill(void *data, size_t size, uint64_t seed, uint64_t position)
{
	uint8_t *p = data;
	size_t head = bytes_to_word(position, size);
	uint64_t word;

	fill_bytes(p, head, seed, position);
	p += head;
	size -= head;
	position += head;
	word = position / 8;
	for (; size >= 32; size -= 32, p += 32, word += 4) {
		store64(p, winapi_pattern_word(seed, word));
		store64(p + 8, winapi_pattern_word(seed, word + 1));
		store64(p + 16, winapi_pattern_word(seed, word + 2));
		store64(p + 24, winapi_pattern_word(seed, word + 3));
	}
	fill_bytes(p, size, seed, word * 8);
}

static uint64_t verify_bytes(const uint8_t *p, size_t size, uint64_t seed, uint64_t position)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != pattern_byte(seed, position + i))
			return i;
	return MEMORY_NO_MISMATCH;
}

uint64_t memory_verify(const void *data, size_t size, uint64_t seed, uint64_t position)
{
	const uint8_t *start = data, *p = start;
	size_t head = bytes_to_word(position, size);
	uint64_t word, bad = verify_bytes(p, head, seed, position);

	if (bad != MEMORY_NO_MISMATCH)
		return bad;
	p += head;
	size -= head;
	word = (position + head) / 8;
	for (; size >= 32; size -= 32, p += 32, word += 4) {
		uint64_t a = load64(p) ^ winapi_pattern_word(seed, word);
		uint64_t b = load64(p + 8) ^ winapi_pattern_word(seed, word + 1);
		uint64_t c = load64(p + 16) ^ winapi_pattern_word(seed, word + 2);
		uint64_t d = load64(p + 24) ^ winapi_pattern_word(seed, word + 3);

		if (a | b | c | d)
			break;
	}
	/* The tail, or the 32 bytes that hold a mismatch (unless the guest mended it meanwhile). */
	bad = verify_bytes(p, size, seed, word * 8);
	return bad == MEMORY_NO_MISMATCH ? bad : (uint64_t)(p - start) + bad;
}

/* ---- Reading --------------------------------------------------------------------------------- */

#if MEMORY_X86

static uint64_t read_blocks(const uint8_t *p, size_t blocks)
{
	__m128i a = _mm_setzero_si128(), b = a, c = a, d = a;

	for (; blocks; blocks--, p += 64) {
		a = _mm_add_epi64(a, _mm_loadu_si128((const __m128i *)p));
		b = _mm_add_epi64(b, _mm_loadu_si128((const __m128i *)(p + 16)));
		c = _mm_add_epi64(c, _mm_loadu_si128((const __m128i *)(p + 32)));
		d = _mm_add_epi64(d, _mm_loadu_si128((const __m128i *)(p + 48)));
	}
	a = _mm_add_epi64(_mm_add_epi64(a, b), _mm_add_epi64(c, d));
	return (uint64_t)_mm_cvtsi128_si64(a) + (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(a, a));
}

#else

static uint64_t read_blocks(const uint8_t *p, size_t blocks)
{
	uint64_t a = 0, b = 0, c = 0, d = 0;

	for (; blocks; blocks--, p += 64) {
		a += load64(p) + load64(p + 32);
		b += load64(p + 8) + load64(p + 40);
		c += load64(p + 16) + load64(p + 48);
		d += load64(p + 24) + load64(p + 56);
	}
	return a + b + c + d;
}

#endif

uint64_t memory_read(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t sum = read_blocks(p, size / 64);

	p += size / 64 * 64;
	for (size %= 64; size >= 8; size -= 8, p += 8)
		sum += load64(p);
	for (; size; size--, p++)
		sum += *p;
	return sum;
}
