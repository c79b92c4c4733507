/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *tool_name = "winapi";

int tool_fail(int status, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", tool_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return status;
}

struct winapi *tool_open(const char *uri, uint32_t ring_size, uint32_t poll)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle;
	int err;

	options.ring_size = ring_size;
	options.poll = poll;
	err = winapi_open(&handle, uri, &options);
	if (err)
		exit(tool_fail(err == -EINVAL ? TOOL_USAGE : TOOL_NO_HOST, "%s", winapi_error_message()));
	return handle;
}

uint64_t tool_number(const char *option, const char *text, uint64_t least, uint64_t most)
{
	static const char units[] = "KMG";
	uint64_t value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end) {
		const char *unit = strchr(units, *end);
		unsigned int shift = unit ? 10 * (unsigned int)(unit - units + 1) : 0;

		if (!unit || end[1] || value > UINT64_MAX >> shift)
			errno = EINVAL;
		value <<= shift;
	}
	if (errno || *text < '0' || *text > '9' || value < least || value > most)
		exit(tool_fail(TOOL_USAGE, "%s takes a number from %llu to %llu, not \"%s\"", option,
			       (unsigned long long)least, (unsigned long long)most, text));
	return value;
}

static char *text_buffer(void)
{
	static char texts[4][32];
	static unsigned int next;

	return texts[next++ % 4];
}

const char *tool_size(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
	char *text = text_buffer();
	unsigned int unit = 0;

	while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 32, "%llu %s", (unsigned long long)bytes, units[unit]);
	return text;
}

const char *tool_duration(double ns)
{
	char *text = text_buffer();

	if (ns < 1e3)
		snprintf(text, 32, "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(text, 32, "%.2f us", ns / 1e3);
	else if (ns < 1e9)
		snprintf(text, 32, "%.2f ms", ns / 1e6);
	else
		snprintf(text, 32, "%.2f s", ns / 1e9);
	return text;
}

uint64_t tool_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* ---- Progress ------------------------------------------------------------------------------------------ */

#define PROGRESS_AFTER_NS 1000000000ull
#define PROGRESS_EVERY_NS 200000000ull

void progress_begin(struct progress *progress, const char *what, uint64_t total)
{
	*progress = (struct progress){ .what = what, .total = total, .begun_ns = tool_clock_ns() };
}

void progress_update(struct progress *progress, uint64_t done)
{
	uint64_t now = tool_clock_ns();

	if (now - progress->begun_ns < PROGRESS_AFTER_NS || now - progress->shown_ns < PROGRESS_EVERY_NS ||
	    !isatty(STDERR_FILENO))
		return;
	progress->shown_ns = now;
	fprintf(stderr, "\r%s: %3u %%", progress->what,
		(unsigned int)(progress->total ? 100 * done / progress->total : 0));
}

void progress_end(struct progress *progress)
{
	if (progress->shown_ns)
		fputs("\r\033[K", stderr);
}

/* ---- Samples ------------------------------------------------------------------------------------------- */

void samples_init(struct samples *samples, size_t capacity)
{
	samples->value = malloc((capacity ? capacity : 1) * sizeof(*samples->value));
	if (!samples->value)
		exit(tool_fail(TOOL_FAILED, "no memory for %zu samples", capacity));
	samples->count = 0;
	samples->capacity = capacity;
}

void samples_add(struct samples *samples, uint64_t value)
{
	if (samples->count < samples->capacity)
		samples->value[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void samples_sort(struct samples *samples)
{
	qsort(samples->value, samples->count, sizeof(*samples->value), compare);
}

uint64_t samples_at(const struct samples *samples, double percentile)
{
	size_t at = (size_t)(percentile / 100 * (double)samples->count);

	if (!samples->count)
		return 0;
	return samples->value[at < samples->count ? at : samples->count - 1];
}

void samples_free(struct samples *samples)
{
	free(samples->value);
}
