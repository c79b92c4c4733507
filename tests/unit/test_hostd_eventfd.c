/* SPDX-License-Identifier: MIT */
/* Signals to a peer that may have filled its eventfd and made it block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../host/linux/eventfd.h"

#define FULL (UINT64_MAX - 1)

static int install(void **state)
{
	(void)state;
	return eventfd_install();
}

static int full(int flags)
{
	static const uint64_t most = FULL;
	int fd = eventfd(0, flags);

	assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
	return fd;
}

static void test_each_signal_counts(void **state)
{
	int fd = eventfd(0, 0);
	uint64_t count;

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(eventfd_signal(fd), 0);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1000);
	close(fd);
}

static void test_a_full_one_is_readable_anyway(void **state)
{
	int fd = full(EFD_NONBLOCK);

	(void)state;
	assert_int_equal(eventfd_signal(fd), 0);
	close(fd);
}

/* Beside good ones, which leave the alarm at all moments of its time. */
static void block_again_and_again(void)
{
	int good = eventfd(0, 0), bad = full(0);

	for (unsigned int i = 0; i < 30; i++) {
		assert_int_equal(eventfd_signal(good), 0);
		usleep(i * 487);
		assert_int_equal(eventfd_signal(bad), -EINTR);
	}
	close(good);
	close(bad);
}

static void test_a_write_that_blocks_is_given_up(void **state)
{
	(void)state;
	block_again_and_again();
}

static void *thread(void *argument)
{
	block_again_and_again();
	return argument;
}

static void test_each_thread_has_an_alarm(void **state)
{
	pthread_t threads[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static void test_other_files_are_told_apart(void **state)
{
	int pipes[2], fd = eventfd(0, 0);

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_true(eventfd_check(fd));
	assert_false(eventfd_check(pipes[1]));
	assert_false(eventfd_check(-1));
	close(fd);
	assert_false(eventfd_check(fd));
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_signal_counts),
		cmocka_unit_test(test_a_full_one_is_readable_anyway),
		cmocka_unit_test(test_a_write_that_blocks_is_given_up),
		cmocka_unit_test(test_each_thread_has_an_alarm),
		cmocka_unit_test(test_other_files_are_told_apart),
	};

	return cmocka_run_group_tests(tests, install, NULL);
}
