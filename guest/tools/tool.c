/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *tool_name = "tool";

int tool_fail(int status, const char *format, ...)
{
	va_list arguments;

	progress_end();
	fprintf(stderr, "%s: ", tool_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return status;
}

int tool_flush(void)
{
	static bool said;
	int err = fflush(stdout) ? errno : 0;

	if (!err && !ferror(stdout))
		return TOOL_OK;
	if (!said) /* an earlier write's errno is lost */
		tool_fail(TOOL_FAILED, "standard output: %s",
			  err ? strerror(err) : "what was printed couldn't be written");
	said = true;
	return TOOL_FAILED;
}

static void flush_at_exit(void)
{
	if (tool_flush())
		_exit(TOOL_FAILED); /* exit() has its status already */
}

void tool_begin(const char *name)
{
	tool_name = name;
	atexit(flush_at_exit);
}

struct winapi *tool_open(const char *uri, uint32_t ring_size, uint32_t poll)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle;
	int err;

	options.ring_size = ring_size;
	options.poll = poll;
	progress_begin("waiting for the host", 0);
	err = winapi_open(&handle, uri, &options);
	progress_end();
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

#define PROGRESS_EVERY_NS 200000000ull
#define PROGRESS_FIRST 5 /* so many of these after the beginning */

static struct {
	const char *what;
	uint64_t total;
	uint64_t begun_ns;
	_Atomic uint64_t done;
	bool running;
	bool stop; /* under lock, as what follows */
	bool shown;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void progress_show(void)
{
	uint64_t done = atomic_load_explicit(&progress.done, memory_order_relaxed);
	uint64_t seconds = (tool_clock_ns() - progress.begun_ns) / 1000000000u;

	if (progress.total)
		fprintf(stderr, "\r%s: %3u %%, %llu s", progress.what,
			(unsigned int)(100.0 * (double)done / (double)progress.total),
			(unsigned long long)seconds);
	else
		fprintf(stderr, "\r%s: %llu s", progress.what, (unsigned long long)seconds);
	progress.shown = true;
}

static void *progress_run(void *unused)
{
	uint64_t next = progress.begun_ns + PROGRESS_FIRST * PROGRESS_EVERY_NS;

	(void)unused;
	pthread_mutex_lock(&progress.lock);
	while (!progress.stop) {
		struct timespec t = { (time_t)(next / 1000000000u), (long)(next % 1000000000u) };

		if (pthread_cond_timedwait(&progress.changed, &progress.lock, &t) != ETIMEDOUT)
			continue;
		progress_show();
		next = tool_clock_ns() + PROGRESS_EVERY_NS;
	}
	pthread_mutex_unlock(&progress.lock);
	return NULL;
}

static void init_changed(void)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&progress.changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void progress_begin(const char *what, uint64_t total)
{
	progress_end();
	atomic_store_explicit(&progress.done, 0, memory_order_relaxed);
	if (!isatty(STDERR_FILENO))
		return;
	progress.what = what;
	progress.total = total;
	progress.begun_ns = tool_clock_ns();
	progress.stop = false;
	progress.shown = false;
	init_changed();
	progress.running = !pthread_create(&progress.thread, NULL, progress_run, NULL);
}

void progress_update(uint64_t done)
{
	atomic_store_explicit(&progress.done, done, memory_order_relaxed);
}

void progress_add(uint64_t done)
{
	atomic_fetch_add_explicit(&progress.done, done, memory_order_relaxed);
}

void progress_end(void)
{
	if (!progress.running)
		return;
	pthread_mutex_lock(&progress.lock);
	progress.stop = true;
	pthread_cond_signal(&progress.changed);
	pthread_mutex_unlock(&progress.lock);
	pthread_join(progress.thread, NULL);
	pthread_cond_destroy(&progress.changed);
	progress.running = false;
	if (progress.shown)
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
