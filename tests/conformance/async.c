/* SPDX-License-Identifier: MIT */
/* Submit, complete, the descriptor, cancel. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define FLIGHTS 64u

static struct {
	uint8_t in[FLIGHTS][128];
	uint8_t out[FLIGHTS][128];
	struct winapi_call call[FLIGHTS];
	bool flying[FLIGHTS];
} f;

static void prepare(uint64_t seed)
{
	memset(&f, 0, sizeof(f));
	for (uint32_t i = 0; i < FLIGHTS; i++) {
		winapi_pattern_fill(f.in[i], sizeof(f.in[i]), seed + i);
		f.call[i] = echo_call(f.in[i], 1 + i * 2, f.out[i]);
		f.call[i].user_data = i;
	}
}

/* Takes completions until `left` have come; each exactly once and right. */
static const char *collect(struct context *c, unsigned int left)
{
	struct winapi_completion done[7];

	while (left) {
		int n = winapi_complete(c->handle, done, 7, 60000);

		EXPECT(n > 0);
		for (int i = 0; i < n; i++) {
			uint64_t at = done[i].user_data;

			EXPECT(at < FLIGHTS && f.flying[at]);
			f.flying[at] = false;
			EXPECT(done[i].result == 0 && done[i].out_size == f.call[at].in_size);
			EXPECT(!memcmp(f.in[at], f.out[at], f.call[at].in_size));
		}
		left -= (unsigned int)n;
	}
	return NULL;
}

static const char *submit_all(struct context *c, unsigned int count, unsigned int *started)
{
	*started = 0;
	while (*started < count) {
		int n = winapi_submit(c->handle, f.call + *started, count - *started);

		if (n == -EAGAIN)
			break;
		EXPECT(n > 0);
		for (int i = 0; i < n; i++)
			f.flying[*started + (unsigned int)i] = true;
		*started += (unsigned int)n;
	}
	return NULL;
}

static const char *each_submission_completes_once(struct context *c)
{
	for (unsigned int round = 0; round < scaled(c, 300); round++) {
		unsigned int started;
		const char *wrong;

		prepare(round);
		wrong = submit_all(c, 1 + round % FLIGHTS, &started);
		if (!wrong)
			wrong = collect(c, started);
		if (wrong)
			return wrong;
		EXPECT(started == 1 + round % FLIGHTS || c->info.max_in_flight < FLIGHTS);
	}
	return NULL;
}

#define WAIT_MS 20u

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static const char *nothing_to_complete_is_zero(struct context *c)
{
	struct winapi_completion done;
	uint64_t begin = now_ms();

	EXPECT(winapi_complete(c->handle, &done, 1, 0) == 0);
	EXPECT(winapi_complete(c->handle, &done, 1, WAIT_MS) == 0);
	EXPECT(now_ms() - begin + 1 >= WAIT_MS); /* never less, even where nothing can come */
	EXPECT(winapi_complete(c->handle, NULL, 1, 0) == -EINVAL);
	EXPECT(winapi_complete(c->handle, &done, 0, 0) == -EINVAL);
	EXPECT(winapi_submit(c->handle, NULL, 0) == 0);
	return NULL;
}

static const char *the_descriptor_tells(struct context *c)
{
	struct pollfd fd = { .fd = winapi_fd(c->handle), .events = POLLIN };
	unsigned int started;
	const char *wrong;

	EXPECT(fd.fd >= 0 && winapi_fd(c->handle) == fd.fd);
	for (unsigned int round = 0; round < scaled(c, 500); round++) {
		struct winapi_completion done[FLIGHTS];
		unsigned int left;

		prepare(round);
		wrong = submit_all(c, 1 + round % 5, &started);
		if (wrong)
			return wrong;
		for (left = started; left;) {
			int n = winapi_complete(c->handle, done, FLIGHTS, 0);

			EXPECT(n >= 0);
			left -= (unsigned int)n;
			if (!n)
				EXPECT(poll(&fd, 1, 60000) == 1);
		}
	}
	return NULL;
}

static const char *tells_beside(struct winapi *handle)
{
	struct pollfd fd = { .fd = winapi_fd(handle), .events = POLLIN };
	char in[8] = "beside", out[8];
	struct winapi_completion done;
	struct long_call l;
	const char *wrong = long_call_init(&l, handle);
	int n;

	if (wrong)
		return wrong;
	l.call.timeout_ms = WINAPI_TIMEOUT_INFINITE; /* else its end would make the descriptor readable */
	EXPECT(winapi_submit(handle, &l.call, 1) == 1);
	EXPECT(winapi_complete(handle, &done, 1, 0) == 0);
	EXPECT(winapi_echo(handle, in, out, sizeof(in)) == 0);
	EXPECT(winapi_cancel(handle, 0) == 0);
	do
		EXPECT(poll(&fd, 1, 60000) == 1);
	while ((n = winapi_complete(handle, &done, 1, 0)) == 0);
	EXPECT(n == 1 && done.result == -ECANCELED);
	return NULL;
}

/* Between winapi_complete and poll another call sleeps until its own reply comes, and goes. */
static const char *the_descriptor_tells_beside_calls(struct context *c)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle;
	const char *wrong;

	options.poll = WINAPI_POLL_NEVER;
	options.ring_size = c->ring_size;
	EXPECT(winapi_open(&handle, c->uri, &options) == 0);
	wrong = tells_beside(handle);
	winapi_close(handle);
	return wrong;
}

static const char *calls_in_flight_are_bounded(struct context *c)
{
	struct winapi_completion done[FLIGHTS];
	struct long_call l;
	const char *wrong = long_call_init(&l, c->handle);
	unsigned int started = 0, limit = c->info.max_in_flight;
	int n = 0;

	if (wrong)
		return wrong;
	while (started <= limit && (n = winapi_submit(c->handle, &l.call, 1)) == 1) {
		l.call.user_data++;
		started++;
	}
	EXPECT(n == -EAGAIN && started == limit);
	for (uint64_t i = 0; i < started; i++)
		winapi_cancel(c->handle, i);
	while (started) {
		n = winapi_complete(c->handle, done, FLIGHTS, 60000);
		EXPECT(n > 0 && (unsigned int)n <= started);
		started -= (unsigned int)n;
	}
	return NULL;
}

static const char *cancel_ends_a_call_once(struct context *c)
{
	struct winapi_completion done;
	struct long_call l;
	const char *wrong = long_call_init(&l, c->handle);

	if (wrong)
		return wrong;
	l.call.user_data = 42;
	EXPECT(winapi_cancel(c->handle, 42) == -ENOENT);
	EXPECT(winapi_submit(c->handle, &l.call, 1) == 1);
	EXPECT(winapi_cancel(c->handle, 43) == -ENOENT);
	EXPECT(winapi_cancel(c->handle, 42) == 0);
	EXPECT(winapi_complete(c->handle, &done, 1, 60000) == 1);
	EXPECT(done.user_data == 42 && done.result == -ECANCELED && done.status == WINAPI_STATUS_CANCELED);
	EXPECT(winapi_complete(c->handle, &done, 1, 0) == 0);
	EXPECT(winapi_buffer_free(l.ref[0].buffer) == 0);
	return NULL;
}

static const char *a_late_submission_times_out(struct context *c)
{
	struct pollfd fd = { .fd = winapi_fd(c->handle), .events = POLLIN };
	struct winapi_completion done;
	struct long_call l;
	const char *wrong = long_call_init(&l, c->handle);
	int n;

	if (wrong)
		return wrong;
	l.call.timeout_ms = 30;
	EXPECT(winapi_submit(c->handle, &l.call, 1) == 1);
	while ((n = winapi_complete(c->handle, &done, 1, 0)) == 0)
		EXPECT(poll(&fd, 1, 60000) == 1);
	EXPECT(n == 1 && done.result == -ETIMEDOUT);
	return NULL;
}

struct completer {
	struct winapi *handle;
	struct winapi_completion done;
	int result;
	uint32_t ready; /* atomic */
};

static void *complete_one(void *arg)
{
	struct completer *one = arg;

	__atomic_store_n(&one->ready, 1, __ATOMIC_RELEASE);
	one->result = winapi_complete(one->handle, &one->done, 1, WINAPI_TIMEOUT_INFINITE);
	return NULL;
}

/* A thread for completions may wait before the first call is submitted. */
static const char *a_thread_waits_for_what_comes(struct context *c)
{
	struct completer one = { .handle = c->handle };
	pthread_t thread;

	prepare(7);
	f.call[3].user_data = 33;
	EXPECT(pthread_create(&thread, NULL, complete_one, &one) == 0);
	while (!__atomic_load_n(&one.ready, __ATOMIC_ACQUIRE))
		usleep(1000);
	usleep(50000);
	EXPECT(winapi_submit(c->handle, &f.call[3], 1) == 1);
	pthread_join(thread, NULL);
	EXPECT(one.result == 1 && one.done.user_data == 33 && one.done.result == 0);
	return NULL;
}

#define SMALL 100u
#define LARGE (3u << 20) /* bytes: too many pages to travel in a packet */

/* A checksum of plain memory, submitted between echoes. */
static const char *submit_plain(struct context *c, const uint8_t *memory, uint64_t size, uint64_t seed)
{
	const struct winapi_buffer_test_request request = { .seed = 0 };
	struct winapi_buffer_ref ref = { .address = (void *)memory,
					 .length = size,
					 .access = WINAPI_HOST_READS };
	struct winapi_buffer_test_reply reply;
	struct winapi_completion done;
	int left = 3, n;

	prepare(seed);
	f.call[1].api = WINAPI_API_BUFFER_TEST;
	f.call[1].method = WINAPI_BUFFER_TEST_READ;
	f.call[1].in = &request;
	f.call[1].in_size = sizeof(request);
	f.call[1].out = &reply;
	f.call[1].out_capacity = sizeof(reply);
	f.call[1].buffers = &ref;
	f.call[1].buffer_count = 1;
	EXPECT(winapi_submit(c->handle, f.call, 3) == 3);
	for (; left; left -= n) {
		n = winapi_complete(c->handle, &done, 1, WINAPI_TIMEOUT_INFINITE);
		EXPECT(n == 1 && done.result == 0);
	}
	EXPECT(reply.result[0] == winapi_crc32c(memory, size));
	EXPECT(!memcmp(f.in[2], f.out[2], f.call[2].in_size));
	return NULL;
}

static const char *plain_memory_is_submitted(struct context *c)
{
	uint8_t *memory = malloc(LARGE);
	const char *wrong = NULL;

	EXPECT(memory);
	winapi_pattern_fill(memory, LARGE, 9);
	for (unsigned int i = 0; !wrong && i < scaled(c, 20); i++)
		wrong = submit_plain(c, memory, i % 2 ? LARGE : SMALL, i);
	free(memory);
	return wrong;
}

struct sharer {
	struct winapi *handle;
	uint32_t stop; /* atomic */
	int result;
};

static void *share_again_and_again(void *arg)
{
	struct sharer *s = arg;
	struct winapi_buffer *buffer;

	while (!s->result && !__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		s->result = winapi_buffer_alloc(s->handle, SMALL, WINAPI_HOST_READS, &buffer);
		if (!s->result)
			s->result = winapi_buffer_free(buffer);
	}
	return NULL;
}

/* Both take messages to the host, and must not wait for each other. */
static const char *plain_memory_beside_buffers(struct context *c)
{
	struct sharer sharer = { .handle = c->handle };
	const char *wrong;
	pthread_t thread;

	EXPECT(pthread_create(&thread, NULL, share_again_and_again, &sharer) == 0);
	wrong = plain_memory_is_submitted(c);
	__atomic_store_n(&sharer.stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	if (!wrong)
		EXPECT(sharer.result == 0);
	return wrong;
}

const struct test_case async_cases[] = {
	{ "each submission completes once", each_submission_completes_once, false },
	{ "nothing to complete is zero", nothing_to_complete_is_zero, false },
	{ "the descriptor tells of completions", the_descriptor_tells, false },
	{ "the descriptor tells of completions beside calls", the_descriptor_tells_beside_calls, true },
	{ "calls in flight are bounded", calls_in_flight_are_bounded, true },
	{ "cancel ends a call once", cancel_ends_a_call_once, true },
	{ "a late submission times out", a_late_submission_times_out, true },
	{ "a thread waits for what comes", a_thread_waits_for_what_comes, true },
	{ "plain memory is submitted", plain_memory_is_submitted, false },
	{ "plain memory beside another thread's buffers", plain_memory_beside_buffers, true },
	{ NULL, NULL, false },
};
