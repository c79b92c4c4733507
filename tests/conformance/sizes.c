/* SPDX-License-Identifier: MIT */
/*
 * Structs that grow. A program that was built with an older header passes a smaller one, a program with a newer header
 * a larger one: the library keeps to what `size` says, both ways.
 */
#include <errno.h>

#include "conformance.h"

#define SPARE 64u
#define UNTOUCHED 0xee

/* A struct of any size, with bytes behind it that nobody may touch. */
struct sized {
	union {
		size_t size;
		struct winapi_info info;
		struct winapi_stats stats;
		struct winapi_buffer_info buffer;
		struct winapi_open_options options;
	};
	uint8_t spare[2 * SPARE];
};

static void prepare(struct sized *s, size_t size)
{
	memset(s, UNTOUCHED, sizeof(*s));
	s->size = size;
}

static bool all(const struct sized *s, size_t from, size_t to, uint8_t value)
{
	const uint8_t *bytes = (const uint8_t *)s;

	while (from < to && bytes[from] == value)
		from++;
	return from >= to;
}

/* `size` as it was; what both sides know filled; what only the caller knows zero; the rest untouched. */
static const char *filled(const struct sized *s, size_t size, size_t known)
{
	EXPECT(s->size == size);
	EXPECT(size <= sizeof(size_t) || !all(s, sizeof(size_t), size, UNTOUCHED));
	EXPECT(all(s, known, size, 0));
	EXPECT(all(s, size, sizeof(*s), UNTOUCHED));
	return NULL;
}

static const char *same_as(const struct sized *s, const struct sized *whole, size_t size, size_t known)
{
	size_t shared = size < known ? size : known;

	EXPECT(!memcmp((const uint8_t *)s + sizeof(size_t), (const uint8_t *)whole + sizeof(size_t),
		       shared - sizeof(size_t)));
	return filled(s, size, known);
}

static const char *info_fits_any_size(struct context *c)
{
	const size_t known = sizeof(struct winapi_info);
	struct sized s, whole;
	const char *wrong = NULL;

	prepare(&whole, known);
	EXPECT(winapi_get_info(c->handle, &whole.info) == 0 && whole.info.max_inline == c->info.max_inline);
	for (size_t size = sizeof(size_t); size <= known + SPARE && !wrong; size++) {
		prepare(&s, size);
		EXPECT(winapi_get_info(c->handle, &s.info) == 0);
		wrong = same_as(&s, &whole, size, known);
	}
	return wrong;
}

static const char *buffer_info_fits_any_size(struct context *c)
{
	const size_t known = sizeof(struct winapi_buffer_info);
	struct winapi_buffer *buffer;
	struct sized s, whole;
	const char *wrong = NULL;

	EXPECT(winapi_buffer_alloc(c->handle, 4096, WINAPI_HOST_READS, &buffer) == 0);
	prepare(&whole, known);
	EXPECT(winapi_buffer_get_info(buffer, &whole.buffer) == 0 && whole.buffer.length == 4096);
	for (size_t size = sizeof(size_t); size <= known + SPARE && !wrong; size++) {
		prepare(&s, size);
		EXPECT(winapi_buffer_get_info(buffer, &s.buffer) == 0);
		wrong = same_as(&s, &whole, size, known);
	}
	winapi_buffer_free(buffer);
	return wrong;
}

/* Each asks the host, and counts change: so few sizes, and no comparison with another answer. */
static const char *statistics_fit_any_size(struct context *c)
{
	const size_t known = sizeof(struct winapi_stats);
	const size_t sizes[] = {
		sizeof(size_t), 12, 16, known / 2, known - 1, known, known + 1, known + SPARE
	};
	const char *wrong = NULL;
	struct sized s;

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !wrong; i++) {
		prepare(&s, sizes[i]);
		EXPECT(winapi_get_stats(c->handle, &s.stats) == 0);
		EXPECT(sizes[i] < 16 || (s.stats.calls >= 1 && s.stats.calls < 1000));
		EXPECT(sizes[i] < known || (s.stats.host_requests >= 1 && s.stats.provider_channels >= 1));
		wrong = filled(&s, sizes[i], known);
	}
	return wrong;
}

static const char *no_size_is_refused(struct context *c)
{
	struct winapi_buffer *buffer;
	struct sized s;

	EXPECT(winapi_buffer_alloc(c->handle, 4096, WINAPI_HOST_READS, &buffer) == 0);
	for (size_t size = 0; size < sizeof(size_t); size++) {
		prepare(&s, size);
		EXPECT(winapi_get_info(c->handle, &s.info) == -EINVAL);
		EXPECT(winapi_get_stats(c->handle, &s.stats) == -EINVAL);
		EXPECT(winapi_buffer_get_info(buffer, &s.buffer) == -EINVAL);
		EXPECT(s.size == size && all(&s, sizeof(size_t), sizeof(s), UNTOUCHED));
	}
	EXPECT(winapi_buffer_free(buffer) == 0);
	return NULL;
}

/* The way in: what an older caller doesn't have is zero, what only a newer one has must be. */
static const char *options_of_any_size_are_taken(struct context *c)
{
	const size_t known = sizeof(struct winapi_open_options);
	const size_t sizes[] = { sizeof(size_t), sizeof(size_t) + 8, known, known + 1, known + SPARE };
	struct winapi *handle;
	struct sized s;

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(&s, 0, sizeof(s));
		memset((uint8_t *)&s + sizes[i], UNTOUCHED, sizeof(s) - sizes[i]);
		s.size = sizes[i];
		EXPECT(winapi_open(&handle, c->uri, &s.options) == 0);
		winapi_close(handle);
	}
	((uint8_t *)&s)[known + SPARE - 1] = 1; /* a member that this library doesn't know is set */
	EXPECT(winapi_open(&handle, c->uri, &s.options) == -E2BIG && !handle);
	for (s.size = 0; s.size < sizeof(size_t); s.size++)
		EXPECT(winapi_open(&handle, c->uri, &s.options) == -EINVAL && !handle);
	return NULL;
}

const struct test_case size_cases[] = {
	{ "info fits a struct of any size", info_fits_any_size, false },
	{ "so does a buffer's", buffer_info_fits_any_size, false },
	{ "so do statistics", statistics_fit_any_size, false },
	{ "a struct without its size is refused", no_size_is_refused, false },
	{ "options of any size are taken", options_of_any_size_are_taken, false },
	{ 0 },
};
