/* SPDX-License-Identifier: MIT */
/*
 * Whether libwinapi sleeps or polls when the reply to a long call comes: a host that takes its time looks at the
 * ring's interrupt mask, which is set while somebody polls, before it answers.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
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
 * Once it knows how long they take. How often it is in time depends on what else the machine does. With a single
 * CPU for both sides it never polls.
 */
static void polls_for_the_end_of_long_calls(void **state)
{
	uint64_t sleeps;
	double part = busy(steady, WINAPI_POLL_ADAPTIVE, &sleeps);

	(void)state;
	printf("# %u of %u ends polled for, %.2f of the time on a CPU\n", answers.polled, CALLS, part);
	assert_true(one_cpu() || answers.polled > 0);
	assert_true(answers.asleep > (one_cpu() ? CALLS / 2 : 0)); /* the first, at least */
	assert_true(sleeps >= CALLS / 2);
	assert_true(part < 0.5);
}

/*
 * As calls do whose host waits for a CPU now and then. A machine that is busy elsewhere makes all of them such calls,
 * so one run of three is enough.
 */
static void polls_on_where_few_calls_take_long(void **state)
{
	static const uint32_t us[4] = { 0, 0, 0, 3000 };
	uint32_t most = 0;

	(void)state;
	for (unsigned int i = 0; i < 3 && most <= CALLS / 2; i++) {
		uint64_t sleeps;
		double part = busy(us, WINAPI_POLL_ADAPTIVE, &sleeps);

		printf("# %u of %u ends polled for, %.2f of the time on a CPU\n", answers.polled, CALLS,
		       part);
		if (answers.polled > most)
			most = answers.polled;
	}
	assert_true(one_cpu() || most > CALLS / 2);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(polls_for_the_end_of_long_calls),
		cmocka_unit_test(polls_on_where_few_calls_take_long),
		cmocka_unit_test(sleeps_where_calls_differ),
		cmocka_unit_test(sleeps_on_where_a_call_takes_longer),
		cmocka_unit_test(sleeps_where_it_may_not_poll),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
