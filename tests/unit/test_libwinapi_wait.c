/* SPDX-License-Identifier: MIT */
/*
 * Whether libwinapi sleeps or polls when the reply to a long call comes: a host that takes its time looks at the
 * ring's interrupt mask, which is set while somebody polls, before it answers.
 */
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../include/winapi.h"
#include "../support/fake_host.h"

#define CALLS 60u

static struct {
	uint32_t us[4]; /* that calls take, in turn */
	uint32_t polled;
	uint32_t asleep;
} answers; /* the host's thread writes; to be read after fake_end */

static bool take_time(struct fake_host *h, const struct fake_event *e)
{
	if (e->step != FAKE_ECHO)
		return false;
	usleep(answers.us[e->nth % 4]);
	if (VMBUS_RING_LOAD(&h->down->interrupt_mask))
		answers.polled++;
	else
		answers.asleep++;
	fake_answer(h, e);
	return true;
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* CALLS calls. Returns the part of their time that this thread was on a CPU. */
static double busy(const uint32_t us[4], enum winapi_poll poll, uint64_t *sleeps)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi_stats stats = { .size = sizeof(stats) };
	static struct fake_host host;
	struct winapi *handle;
	char uri[128], in[8] = "in time", out[8];
	double cpu, wall;

	memcpy(answers.us, us, sizeof(answers.us));
	answers.polled = answers.asleep = 0;
	assert_true(fake_start(&host, take_time, NULL));
	snprintf(uri, sizeof(uri), "local:%s", host.path);
	options.poll = poll;
	assert_int_equal(winapi_open(&handle, uri, &options), 0);
	cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
	wall = seconds(CLOCK_MONOTONIC);
	for (unsigned int i = 0; i < CALLS; i++)
		assert_int_equal(winapi_echo(handle, in, out, sizeof(in)), 0);
	cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wall = seconds(CLOCK_MONOTONIC) - wall;
	assert_int_equal(winapi_get_stats(handle, &stats), 0);
	*sleeps = stats.sleeps;
	winapi_close(handle);
	fake_end(&host);
	assert_int_equal(answers.polled + answers.asleep, CALLS);
	return cpu / wall;
}

static const uint32_t steady[4] = { 3000, 3000, 3000, 3000 };

static bool one_cpu(void)
{
	cpu_set_t cpus;

	return !sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1;
}

/*
 * Once it knows how long they take. How often it is in time depends on what else the machine does, so one end in all
 * tries is enough. With a single CPU for both sides it never polls.
 */
static void polls_for_the_end_of_long_calls(void **state)
{
	unsigned int tries = 0;

	(void)state;
	do {
		uint64_t sleeps;
		double part = busy(steady, WINAPI_POLL_ADAPTIVE, &sleeps);

		printf("# %u of %u ends polled for, %.2f of the time on a CPU\n", answers.polled, CALLS,
		       part);
		assert_true(answers.asleep > (one_cpu() ? CALLS / 2 : 0)); /* the first, at least */
		assert_true(sleeps >= CALLS / 2);
		assert_true(part < 0.5);
	} while (!one_cpu() && !answers.polled && ++tries < 20);
	assert_true(one_cpu() || answers.polled);
}

static void sleeps_where_calls_differ(void **state)
{
	static const uint32_t us[4] = { 1000, 4000, 1000, 4000 };
	uint64_t sleeps;
	double part = busy(us, WINAPI_POLL_ADAPTIVE, &sleeps);

	(void)state;
	printf("# %u of %u ends polled for, %.2f of the time on a CPU\n", answers.polled, CALLS, part);
	assert_true(answers.asleep > CALLS / 2);
	assert_true(sleeps >= CALLS / 2);
	assert_true(part < 0.1);
}

static void sleeps_on_where_a_call_takes_longer(void **state)
{
	static const uint32_t us[4] = { 3000, 3000, 3000, 40000 };
	uint64_t sleeps;
	double part = busy(us, WINAPI_POLL_ADAPTIVE, &sleeps);

	(void)state;
	printf("# %u of %u ends polled for, %.2f of the time on a CPU\n", answers.polled, CALLS, part);
	assert_true(answers.asleep >= CALLS / 4);
	assert_true(part < 0.25);
}

static void sleeps_where_it_may_not_poll(void **state)
{
	uint64_t sleeps;
	double part = busy(steady, WINAPI_POLL_NEVER, &sleeps);

	(void)state;
	printf("# %u of %u ends polled for, %.2f of the time on a CPU\n", answers.polled, CALLS, part);
	assert_true(answers.asleep > CALLS / 2);
	assert_true(part < 0.1);
}

static bool answer_echo(struct fake_host *h, const struct fake_event *e)
{
	if (e->step == FAKE_ECHO)
		fake_answer(h, e);
	return e->step == FAKE_ECHO;
}

static bool hog_ends;

static void *hog(void *unused)
{
	while (!__atomic_load_n(&hog_ends, __ATOMIC_RELAXED))
		;
	return unused;
}

/* On the first CPU that this process may use. */
static void stay(pthread_t thread)
{
	cpu_set_t cpus, first;
	int cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	while (!CPU_ISSET(cpu, &cpus))
		cpu++;
	CPU_ZERO(&first);
	CPU_SET(cpu, &first);
	assert_int_equal(pthread_setaffinity_np(thread, sizeof(first), &first), 0);
}

/*
 * Who waits for completions by a descriptor isn't told of replies that a sync call took. A signal may come after its
 * reply was seen without it, so now and then one is told in vain.
 */
static void sync_calls_leave_the_descriptor_quiet(void **state)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi_completion none;
	static struct fake_host host;
	char uri[128], in[8] = "quiet", out[8];
	unsigned int told = 0;
	struct winapi *handle;
	struct pollfd fd;

	(void)state;
	memcpy(answers.us, steady, sizeof(answers.us));
	assert_true(fake_start(&host, take_time, NULL));
	snprintf(uri, sizeof(uri), "local:%s", host.path);
	options.poll = WINAPI_POLL_NEVER;
	assert_int_equal(winapi_open(&handle, uri, &options), 0);
	fd = (struct pollfd){ .fd = winapi_fd(handle), .events = POLLIN };
	assert_true(fd.fd >= 0);
	for (unsigned int i = 0; i < CALLS; i++) {
		assert_int_equal(winapi_complete(handle, &none, 1, 0), 0);
		assert_int_equal(winapi_echo(handle, in, out, sizeof(in)), 0);
		told += poll(&fd, 1, 0) == 1;
	}
	winapi_close(handle);
	fake_end(&host);
	printf("# told in vain %u times of %u\n", told, CALLS);
	assert_true(told < CALLS / 2);
}

#define MOST_CALLERS 6u

struct callers {
	unsigned int threads;
	unsigned int calls; /* of each thread */
	bool (*answer)(struct fake_host *h, const struct fake_event *e);
	struct winapi *handle;
	long turns_lost; /* to whatever else is to run on their CPU, while they would have gone on */
};

static void *call_on(void *argument)
{
	struct callers *callers = argument;
	char in[8] = "callers", out[8];
	struct rusage usage;

	for (unsigned int i = 0; i < callers->calls; i++)
		if (winapi_echo(callers->handle, in, out, sizeof(in)))
			return argument;
	getrusage(RUSAGE_THREAD, &usage);
	__atomic_fetch_add(&callers->turns_lost, usage.ru_nivcsw, __ATOMIC_RELAXED);
	return NULL;
}

/* Seconds until all threads, on one CPU, had their calls. */
static double time_of(struct callers *callers, enum winapi_poll poll)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	static struct fake_host host;
	pthread_t thread[MOST_CALLERS];
	char uri[128];
	double begin;

	assert_true(fake_start(&host, callers->answer, NULL));
	snprintf(uri, sizeof(uri), "local:%s", host.path);
	options.poll = poll;
	assert_int_equal(winapi_open(&callers->handle, uri, &options), 0);
	begin = seconds(CLOCK_MONOTONIC);
	for (unsigned int i = 0; i < callers->threads; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, call_on, callers), 0);
	for (unsigned int i = 0; i < callers->threads; i++)
		stay(thread[i]);
	for (unsigned int i = 0; i < callers->threads; i++) {
		void *failed;

		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	begin = seconds(CLOCK_MONOTONIC) - begin;
	winapi_close(callers->handle);
	fake_end(&host);
	return begin;
}

/*
 * Another program wants the callers' CPU, too: a thread that yields is without it for milliseconds. Callers who would
 * poll notice, and take no longer than a few times what callers take who sleep at once.
 */
static pthread_t hog_start(void)
{
	pthread_t thread;

	hog_ends = false;
	assert_int_equal(pthread_create(&thread, NULL, hog, NULL), 0);
	stay(thread);
	return thread;
}

static void hog_stop(pthread_t thread)
{
	__atomic_store_n(&hog_ends, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

static void a_crowd_gives_way_to_no_other_program(void **state)
{
	struct callers crowd = { .threads = MOST_CALLERS, .calls = 1000, .answer = answer_echo };
	pthread_t other = hog_start();
	bool close = false;

	(void)state;
	for (unsigned int i = 0; i < 3 && !close; i++) {
		double sleeping = time_of(&crowd, WINAPI_POLL_NEVER),
		       polling = time_of(&crowd, WINAPI_POLL_ADAPTIVE);

		printf("# %.3f s sleeping, %.3f s polling\n", sleeping, polling);
		close = polling < 8 * sleeping; /* 50 without, 1.5 with */
	}
	hog_stop(other);
	assert_true(close);
}

/* For their ends they would poll. */
static void long_calls_give_way_to_no_other_program(void **state)
{
	static const uint32_t us[4] = { 300, 300, 300, 300 };
	struct callers caller = { .threads = 1, .calls = 400, .answer = take_time };
	pthread_t other = hog_start();
	double took;

	(void)state;
	memcpy(answers.us, us, sizeof(us));
	took = time_of(&caller, WINAPI_POLL_ADAPTIVE);
	hog_stop(other);
	printf("# %.3f s, %ld turns lost\n", took, caller.turns_lost);
	assert_true(caller.turns_lost < 40); /* 130 without, 1 to 10 with, however busy the machine is */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(polls_for_the_end_of_long_calls),
		cmocka_unit_test(sleeps_where_calls_differ),
		cmocka_unit_test(sleeps_on_where_a_call_takes_longer),
		cmocka_unit_test(sleeps_where_it_may_not_poll),
		cmocka_unit_test(sync_calls_leave_the_descriptor_quiet),
		cmocka_unit_test(a_crowd_gives_way_to_no_other_program),
		cmocka_unit_test(long_calls_give_way_to_no_other_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
