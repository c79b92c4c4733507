/* SPDX-License-Identifier: MIT */
/*
 * Hosts that keep an application waiting, in one of the many ways to wait. What would be waited for in vain takes
 * LONG_MS, or for ever: by then the test has run out of time.
 */
#include <poll.h>
#include <unistd.h>

#include "hostile_host.h"

#define LONG_MS 600000u
#define IN_FLIGHT 32u /* what the fake host allows */
#define PLAIN (3u << 20) /* bytes: too many pages for a packet */

static struct winapi_call echo(uint64_t user_data, uint32_t timeout_ms)
{
	static char in[4] = "echo";
	static char out[IN_FLIGHT][4];
	struct winapi_call call = WINAPI_CALL_INIT;

	call.api = WINAPI_API_ECHO;
	call.in = in;
	call.in_size = sizeof(in);
	call.out = out[user_data % IN_FLIGHT];
	call.out_capacity = sizeof(out[0]);
	call.timeout_ms = timeout_ms;
	call.user_data = user_data;
	return call;
}

/* ---- The descriptor and the host's end ------------------------------------------------------------------------ */

#define WAKE_UPS 100 /* of a descriptor: a few are needed, thousands are a loop */

/* Answers one echo, then says goodbye in its way. */
static bool leave_after_echo(struct fake_host *h, const struct fake_event *e)
{
	void (*const *leave)(struct fake_host *) = h->argument;

	if (e->step != FAKE_ECHO)
		return false;
	fake_answer(h, e);
	(*leave)(h);
	return true;
}

static const char *descriptor_tells_the_end(struct winapi *handle, const struct host_case *c)
{
	struct pollfd fd = { .fd = winapi_fd(handle), .events = POLLIN };
	const struct winapi_call call = echo(1, 0);
	struct winapi_completion done;
	int got = 0, n = 0;

	EXPECT(fd.fd >= 0 && winapi_submit(handle, &call, 1) == 1);
	for (int i = 0; i < WAKE_UPS && n >= 0; i++) {
		n = winapi_complete(handle, &done, 1, 0);
		got += n > 0;
		if (!n)
			EXPECT(poll(&fd, 1, LONG_MS) == 1);
	}
	EXPECT(n == c->wanted);
	EXPECT(got == 1 && !done.result);
	return NULL;
}

/* An index that no honest host writes: it stays there, and there is always something to look at. */
static void spoil_ring(struct fake_host *h)
{
	usleep(SHORT_MS * 1000); /* by then the other side waits */
	VMBUS_RING_STORE(&h->down->write_index, 4);
	fake_call(h);
}

static const char *waiting_tells_of_nonsense(struct winapi *handle, const struct host_case *c)
{
	struct winapi_completion done;

	EXPECT(winapi_fd(handle) >= 0 && echo_once(handle) == 0);
	EXPECT(winapi_complete(handle, &done, 1, LONG_MS) == c->wanted);
	EXPECT(winapi_complete(handle, &done, 1, 0) == c->wanted);
	return NULL;
}

/* Who asks without ever waiting finds out, too. */
static const char *asking_tells_the_end(struct winapi *handle, const struct host_case *c)
{
	const struct winapi_call call = echo(1, 0);
	struct winapi_completion done;
	int n;

	EXPECT(winapi_submit(handle, &call, 1) == 1);
	while ((n = winapi_complete(handle, &done, 1, 0)) >= 0)
		;
	EXPECT(n == c->wanted);
	return NULL;
}

static void ends(void)
{
	static void (*const hang_up)(struct fake_host *) = fake_hang_up;
	static void (*const rescind)(struct fake_host *) = fake_rescind;
	static void (*const spoil)(struct fake_host *) = spoil_ring;
	static const struct host_case cases[] = {
		{ "the descriptor tells that the socket is closed", leave_after_echo, &hang_up, 0, 0,
		  descriptor_tells_the_end, -ENODEV },
		{ "the descriptor tells of a rescind", leave_after_echo, &rescind, 0, 0,
		  descriptor_tells_the_end, -ENODEV },
		{ "waiting tells of a ring that makes no sense", leave_after_echo, &spoil, 0, 0,
		  waiting_tells_of_nonsense, -ENODEV },
		{ "asking without waiting tells of a rescind", leave_after_echo, &rescind, 0, 0,
		  asking_tells_the_end, -ENODEV },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(&cases[i]);
}

/* ---- Timeouts --------------------------------------------------------------------------------------------------- */

static bool no_answer(struct fake_host *h, const struct fake_event *e)
{
	(void)h;
	return e->step == FAKE_ECHO || e->step == FAKE_CANCEL;
}

static uint32_t completer_waits; /* atomic */

static void *complete_one(void *handle)
{
	static struct winapi_completion done;

	__atomic_store_n(&completer_waits, 1, __ATOMIC_RELEASE);
	return winapi_complete(handle, &done, 1, WINAPI_TIMEOUT_INFINITE) == 1 ? &done : NULL;
}

/* A thread waits for a call that may take for ever, and another thread submits one that may not. */
static const char *an_earlier_deadline(struct winapi *handle, const struct host_case *c)
{
	const struct winapi_call patient = echo(1, WINAPI_TIMEOUT_INFINITE), hasty = echo(2, SHORT_MS);
	struct winapi_completion *done;
	pthread_t thread;

	(void)c;
	__atomic_store_n(&completer_waits, 0, __ATOMIC_RELAXED);
	EXPECT(winapi_submit(handle, &patient, 1) == 1);
	EXPECT(!pthread_create(&thread, NULL, complete_one, handle));
	while (!__atomic_load_n(&completer_waits, __ATOMIC_ACQUIRE))
		usleep(1000);
	usleep(SHORT_MS * 1000); /* it gave up polling */
	EXPECT(winapi_submit(handle, &hasty, 1) == 1);
	pthread_join(thread, (void **)&done);
	EXPECT(done && done->user_data == 2 && done->result == -ETIMEDOUT);
	return NULL;
}

static bool no_more_memory(struct fake_host *h, const struct fake_event *e)
{
	(void)h;
	return e->step == FAKE_REGION_ADD && e->nth;
}

/* An echo that brings memory which isn't shared yet, and is too much for its packet. */
static struct winapi_call echo_with_memory(uint32_t timeout_ms)
{
	static uint8_t memory[PLAIN];
	static const struct winapi_buffer_ref ref = { .address = memory,
						      .length = PLAIN,
						      .access = WINAPI_HOST_READS };
	struct winapi_call call = echo(1, timeout_ms);

	call.buffers = &ref;
	call.buffer_count = 1;
	return call;
}

/* Sharing it takes messages to the host: their time is the call's. */
static const char *plain_memory(struct winapi *handle, const struct host_case *c)
{
	struct winapi_call call = echo_with_memory(SHORT_MS);

	EXPECT(winapi_call(handle, &call) == c->wanted);
	EXPECT(winapi_submit(handle, &call, 1) == c->wanted);
	return NULL;
}

static void region_is_done(struct fake_host *h, uint64_t gpa)
{
	const struct vmbus_user_region_done done = { .gpa = gpa };

	fake_record(h, VMBUS_USER_REGION_DONE, &done, sizeof(done), sizeof(done), -1, -1);
}

/* Maps memory when nobody waits for it any more. What is asked for next must be another place: that one is taken. */
static bool slow_to_map(struct fake_host *h, const struct fake_event *e)
{
	static uint64_t late;

	if (e->step != FAKE_REGION_ADD || !e->nth)
		return false;
	if (e->nth == 1) {
		late = e->id;
		return true;
	}
	region_is_done(h, late);
	if (e->id == late)
		fake_hang_up(h);
	return e->id == late;
}

static const char *plain_memory_later(struct winapi *handle, const struct host_case *c)
{
	struct winapi_call hasty = echo_with_memory(SHORT_MS), patient = echo_with_memory(LONG_MS);

	EXPECT(winapi_call(handle, &hasty) == c->wanted);
	EXPECT(winapi_call(handle, &patient) == 0);
	return NULL;
}

static bool slow_to_unregister(struct fake_host *h, const struct fake_event *e)
{
	if (e->step != FAKE_UNREGISTER)
		return false;
	if (e->nth)
		say(h, e, WINAPI_STATUS_INVALID_HANDLE, NULL, 0);
	return true;
}

/* The first time the host has no time to answer; the second time it has done what it was asked for. */
static const char *free_again(struct winapi *handle, const struct host_case *c)
{
	struct winapi_stats stats = { .size = sizeof(stats) };
	struct winapi_buffer *buffer;

	EXPECT(winapi_buffer_alloc(handle, 100, WINAPI_HOST_READS, &buffer) == 0);
	EXPECT(winapi_buffer_free(buffer) == c->wanted);
	EXPECT(winapi_buffer_free(buffer) == 0);
	EXPECT(winapi_get_stats(handle, &stats) == 0 && !stats.buffers && !stats.buffer_bytes);
	return NULL;
}

/* More records than anybody reads, until the other end of the socket is closed. */
static bool talk_forever(struct fake_host *h, const struct fake_event *e)
{
	static const uint8_t nothing[8];

	if (e->step != FAKE_ECHO)
		return false;
	while (h->socket >= 0)
		fake_record(h, VMBUS_USER_CHANNEL_GONE, nothing, sizeof(nothing), sizeof(nothing), -1, -1);
	return true;
}

static const char *call_times_out(struct winapi *handle, const struct host_case *c)
{
	EXPECT(echo_once(handle) == c->wanted);
	return NULL;
}

static void timeouts(void)
{
	static const struct host_case cases[] = {
		{ "an earlier deadline ends a wait", no_answer, NULL, 0, 0, an_earlier_deadline, 0 },
		{ "the call's timeout is that of its plain memory", no_more_memory, NULL, LONG_MS, 0,
		  plain_memory, -ETIMEDOUT },
		{ "memory that is mapped too late", slow_to_map, NULL, LONG_MS, 0, plain_memory_later,
		  -ETIMEDOUT },
		{ "a buffer that was given back late is freed again", slow_to_unregister, NULL, SHORT_MS, 0,
		  free_again, -ETIMEDOUT },
		{ "a host that never stops talking", talk_forever, NULL, SHORT_MS, 0, call_times_out,
		  -ETIMEDOUT },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(&cases[i]);
}

/* ---- Replies at the moment of giving up -------------------------------------------------------------------------- */

#define HASTY_MS 1u
#define ROUNDS 400u
#define AT_ONCE 4u /* and one of the other thread's */

static bool answer_just_in_time(struct fake_host *h, const struct fake_event *e)
{
	if (e->step != FAKE_ECHO)
		return false;
	if (e->header.timeout_ms == HASTY_MS)
		usleep(HASTY_MS * 1000 / (AT_ONCE + 1) + e->nth % 100);
	fake_answer(h, e);
	return true;
}

static void *call_hastily(void *handle)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct winapi_call call = echo(7, HASTY_MS);
		int err = winapi_call(handle, &call);

		if (err && err != -ETIMEDOUT && err != -EAGAIN)
			return (void *)(intptr_t)err;
	}
	return NULL;
}

static const char *fly_hastily(struct winapi *handle)
{
	struct winapi_completion done[AT_ONCE];
	struct winapi_call calls[AT_ONCE];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		int left;

		for (unsigned int k = 0; k < AT_ONCE; k++)
			calls[k] = echo(k, HASTY_MS);
		left = winapi_submit(handle, calls, AT_ONCE);
		EXPECT(left > 0 || left == -EAGAIN || left == -ETIMEDOUT);
		while (left > 0) {
			int n = winapi_complete(handle, done, AT_ONCE, WINAPI_TIMEOUT_INFINITE);

			EXPECT(n > 0);
			for (int k = 0; k < n; k++)
				EXPECT(done[k].result == 0 || done[k].result == -ETIMEDOUT);
			left -= n;
		}
	}
	return NULL;
}

static const char *all_slots_are_there(struct winapi *handle)
{
	struct winapi_completion done[IN_FLIGHT];
	struct winapi_call calls[IN_FLIGHT];
	unsigned int started = 0;

	for (unsigned int i = 0; i < IN_FLIGHT; i++)
		calls[i] = echo(i, LONG_MS);
	while (started < IN_FLIGHT) {
		int n = winapi_submit(handle, calls + started, IN_FLIGHT - started);

		EXPECT(n > 0 || n == -EAGAIN); /* the last replies are on their way */
		started += n > 0 ? (unsigned int)n : 0;
		if (n < 0)
			EXPECT(winapi_complete(handle, done, 1, 1) == 0);
	}
	while (started)
		started -= (unsigned int)winapi_complete(handle, done, IN_FLIGHT, WINAPI_TIMEOUT_INFINITE);
	return NULL;
}

/* Whichever comes first, each call ends once, its late reply is no bad one, and its slot comes back. */
static const char *photo_finish(struct winapi *handle, const struct host_case *c)
{
	pthread_t thread;
	const char *wrong;
	void *err;

	(void)c;
	EXPECT(!pthread_create(&thread, NULL, call_hastily, handle));
	wrong = fly_hastily(handle);
	pthread_join(thread, &err);
	EXPECT(!err);
	if (!wrong)
		wrong = all_slots_are_there(handle);
	if (wrong)
		return wrong;
	EXPECT(bad_replies(handle) == 0);
	return NULL;
}

static const struct host_case finish = {
	"replies at the moment of giving up", answer_just_in_time, NULL, 0, 0, photo_finish, 0
};

void host_waits(void)
{
	ends();
	timeouts();
	run_case(&finish);
}
