/* SPDX-License-Identifier: MIT */
/* Many threads on one handle, and the end of a handle that others use. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "conformance.h"

#define THREADS 8

struct worker {
	pthread_t thread;
	struct context *context;
	unsigned int number;
	unsigned int rounds;
	int result; /* of the call that failed */
	const char *wrong;
};

static int start_and_join(struct context *c, struct worker *workers, void *(*run)(void *),
			  unsigned int rounds)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .context = c, .number = i, .rounds = rounds };
		if (pthread_create(&workers[i].thread, NULL, run, &workers[i]))
			return -1;
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	return 0;
}

static const char *echo_some(struct worker *w)
{
	uint8_t in[256], out[256];

	for (unsigned int i = 0; i < w->rounds; i++) {
		uint32_t size = (i * 7 + w->number) % 257;

		winapi_pattern_fill(in, sizeof(in), i * THREADS + w->number);
		w->result = winapi_echo(w->context->handle, in, out, size);
		EXPECT(w->result == 0 && !memcmp(in, out, size));
	}
	return NULL;
}

static void *echo_thread(void *arg)
{
	struct worker *w = arg;

	w->wrong = echo_some(w);
	return NULL;
}

static const char *threads_share_a_handle(struct context *c)
{
	struct worker workers[THREADS];

	EXPECT(start_and_join(c, workers, echo_thread, scaled(c, 3000)) == 0);
	for (int i = 0; i < THREADS; i++)
		if (workers[i].wrong)
			return workers[i].wrong;
	return NULL;
}

static const char *mix(struct worker *w)
{
	const uint32_t both = WINAPI_HOST_READS | WINAPI_HOST_WRITES;

	for (unsigned int i = 0; i < w->rounds; i++) {
		struct winapi_buffer_ref ref = { .length = 1000 + 30000 * w->number, .access = both };
		struct winapi_batch_item item = { .api = WINAPI_API_ECHO, .in = "mix", .in_size = 3 };
		char out[3];
		uint32_t crc;

		EXPECT(winapi_buffer_alloc(w->context->handle, ref.length, both, &ref.buffer) == 0);
		EXPECT(winapi_buffer_test_write(w->context->handle, &ref, 1, i) == 0);
		EXPECT(winapi_pattern_verify(winapi_buffer_data(ref.buffer), ref.length, i) == UINT64_MAX);
		EXPECT(winapi_buffer_test_read(w->context->handle, &ref, 1, &crc) == 0);
		EXPECT(crc == winapi_crc32c(winapi_buffer_data(ref.buffer), ref.length));
		EXPECT(winapi_buffer_free(ref.buffer) == 0);
		item.out = out;
		item.out_capacity = 3;
		EXPECT(winapi_batch(w->context->handle, &item, 1, 0) == 0 && !memcmp(out, "mix", 3));
	}
	return NULL;
}

static void *mix_thread(void *arg)
{
	struct worker *w = arg;

	w->wrong = mix(w);
	return NULL;
}

static const char *threads_mix_calls_and_buffers(struct context *c)
{
	struct worker workers[THREADS];

	EXPECT(start_and_join(c, workers, mix_thread, scaled(c, 60)) == 0);
	for (int i = 0; i < THREADS; i++)
		if (workers[i].wrong)
			return workers[i].wrong;
	return NULL;
}

/* One thread collects while others call synchronously. */
static const char *async_beside_sync(struct context *c)
{
	struct worker workers[THREADS];
	uint8_t in[16][32], out[16][32];
	struct winapi_call calls[16];
	struct winapi_completion done[16];

	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .context = c, .number = i, .rounds = scaled(c, 1000) };
		EXPECT(pthread_create(&workers[i].thread, NULL, echo_thread, &workers[i]) == 0);
	}
	for (unsigned int round = 0; round < scaled(c, 500); round++) {
		unsigned int left = 16;
		int n;

		for (uint32_t i = 0; i < 16; i++) {
			winapi_pattern_fill(in[i], 32, round + i);
			calls[i] = echo_call(in[i], 32, out[i]);
			calls[i].user_data = i;
		}
		EXPECT(winapi_submit(c->handle, calls, 16) == 16);
		while (left) {
			n = winapi_complete(c->handle, done, 16, 60000);
			EXPECT(n > 0);
			left -= (unsigned int)n;
		}
		EXPECT(!memcmp(in, out, sizeof(in)));
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < THREADS; i++)
		if (workers[i].wrong)
			return workers[i].wrong;
	return NULL;
}

/*
 * Until a thread, which stores its number and then does nothing but call, is inside its call, and asleep there; a driver
 * may see to it that only a kill wakes it.
 */
static void await_sleep(const pid_t *thread)
{
	char path[64], line[256] = "";
	pid_t id;

	while (!(id = __atomic_load_n(thread, __ATOMIC_ACQUIRE)))
		usleep(1000);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)id);
	for (;;) {
		FILE *stat = fopen(path, "re");
		bool there = stat && fgets(line, sizeof(line), stat);
		const char *state = there ? strrchr(line, ')') : NULL;

		if (stat)
			fclose(stat);
		if (!there || (state && strchr("SD", state[2])))
			return;
		usleep(1000);
	}
}

struct victim {
	struct winapi *handle;
	pid_t thread; /* atomic */
	struct long_call l;
	int result;
};

static void *call_for_long(void *arg)
{
	struct victim *v = arg;

	__atomic_store_n(&v->thread, gettid(), __ATOMIC_RELEASE);
	v->result = winapi_call(v->handle, &v->l.call);
	return NULL;
}

static const char *close_ends_calls(struct context *c)
{
	struct victim victims[4];
	struct winapi *handle = open_again(c);
	pthread_t threads[4];

	EXPECT(handle);
	for (int i = 0; i < 4; i++) {
		const char *wrong = long_call_init(&victims[i].l, handle);

		if (wrong)
			return wrong;
		victims[i].handle = handle;
		victims[i].thread = 0;
		victims[i].l.call.timeout_ms = WINAPI_TIMEOUT_INFINITE;
	}
	for (int i = 0; i < 4; i++)
		EXPECT(pthread_create(&threads[i], NULL, call_for_long, &victims[i]) == 0);
	for (int i = 0; i < 4; i++)
		await_sleep(&victims[i].thread);
	winapi_close(handle);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT(victims[i].result == -ECANCELED);
	}
	return NULL;
}

#define FLIGHTS 16

struct collector {
	struct winapi *handle;
	pid_t thread; /* atomic */
	int result;
};

static void *collect_once(void *arg)
{
	struct winapi_completion done[FLIGHTS];
	struct collector *collector = arg;

	__atomic_store_n(&collector->thread, gettid(), __ATOMIC_RELEASE);
	collector->result = winapi_complete(collector->handle, done, FLIGHTS, WINAPI_TIMEOUT_INFINITE);
	return NULL;
}

/* Once a handle is closed nothing is written to its calls' output any more. */
static const char *close_and_free(struct winapi *handle, unsigned int round)
{
	struct collector collector = { .handle = handle };
	struct winapi_call calls[FLIGHTS];
	char *out = malloc(FLIGHTS * 64);
	pthread_t thread;
	int n;

	EXPECT(out);
	for (unsigned int i = 0; i < FLIGHTS; i++)
		calls[i] = echo_call("sixty-four bytes, of which each is to come back, and none too late", 64,
				     out + i * 64);
	EXPECT(pthread_create(&thread, NULL, collect_once, &collector) == 0);
	await_sleep(&collector.thread);
	n = winapi_submit(handle, calls, FLIGHTS);
	if (round % 4)
		usleep(round % 4 * 20);
	winapi_close(handle);
	memset(out, 0, FLIGHTS * 64);
	free(out);
	pthread_join(thread, NULL);
	EXPECT(n > 0);
	EXPECT(collector.result > 0 || collector.result == -ECANCELED);
	return NULL;
}

static const char *close_then_free(struct context *c)
{
	for (unsigned int round = 0; round < scaled(c, 40); round++) {
		struct winapi *handle = open_again(c);
		const char *wrong;

		EXPECT(handle);
		wrong = close_and_free(handle, round);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const struct test_case thread_cases[] = {
	{ "threads share a handle", threads_share_a_handle, true },
	{ "threads mix calls and buffers", threads_mix_calls_and_buffers, true },
	{ "async beside sync", async_beside_sync, true },
	{ "close ends calls in other threads", close_ends_calls, true },
	{ "closed, then freed", close_then_free, true },
	{ NULL, NULL, false },
};
