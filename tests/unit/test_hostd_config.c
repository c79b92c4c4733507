/* SPDX-License-Identifier: MIT */
/* The configuration file: what it may say, and that anything else is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../host/linux/config.h"

static struct hostd_config config;

static int load(const char *text)
{
	char name[] = "/tmp/winapi-test-XXXXXX";
	int fd = mkstemp(name), err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	config_defaults(&config);
	err = config_load(&config, name);
	unlink(name);
	return err;
}

static void test_values_are_taken(void **state)
{
	(void)state;
	assert_int_equal(
		load("; a comment\n[daemon]\nsocket = /x/y\nmode = 0600\npoll = never\nlog_level = debug\n"
		     "[limits]\nbytes = 2G\nin_flight = 17\nregion_bytes=3M\n[trust]\nvmm_uids = 7, 8\n"),
		0);
	assert_string_equal(config.socket, "/x/y");
	assert_int_equal(config.mode, 0600);
	assert_int_equal(config.poll, HOSTD_POLL_NEVER);
	assert_int_equal(config.log_level, WP_LOG_DEBUG);
	assert_int_equal(config.provider.max_bytes, 2ull << 30);
	assert_int_equal(config.provider.max_in_flight, 17);
	assert_int_equal(config.max_region_bytes, 3 << 20);
	assert_true(config_trusts(&config, 7) && config_trusts(&config, 8) && !config_trusts(&config, 0));
}

static void test_defaults_stay(void **state)
{
	(void)state;
	assert_int_equal(load(""), 0);
	assert_string_equal(config.socket, HOSTD_DEFAULT_SOCKET);
	assert_int_equal(config.max_clients, 4096);
	assert_int_equal(config.poll, HOSTD_POLL_ADAPTIVE);
}

static void test_what_is_unknown_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(load("[daemon]\nsokcet = /x\n"), -EINVAL);
	assert_int_equal(load("[demon]\nsocket = /x\n"), -EINVAL);
	assert_int_equal(load("socket = /x\n"), -EINVAL);
	assert_int_equal(load("[daemon\nsocket = /x\n"), -EINVAL);
}

static void test_bad_values_are_errors(void **state)
{
	static const char *const bad[] = {
		"[daemon]\npoll = sometimes\n",
		"[daemon]\nmode = 999\n",
		"[daemon]\nlog_level = loud\n",
		"[limits]\nbytes = many\n",
		"[limits]\nbytes = -1\n",
		"[limits]\nbytes = 1T\n",
		"[limits]\nbytes = 99999999999999999999\n",
		"[limits]\nbytes = 18446744073709551615G\n",
		"[limits]\nclients = 5000000000\n",
		"[limits]\nclients =\n",
		"[limits]\nin_flight = 16385\n",
		"[limits]\nsessions = 65537\n",
		"[limits]\nbuffers = 65537\n",
		"[limits]\nbuffer_size = 65M\n",
		"[trust]\nvmm_uids = root\n",
		"[trust]\nvmm_uids = 1;2\n",
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(load(bad[i]), -EINVAL);
}

static void test_the_largest_limits_are_taken(void **state)
{
	(void)state;
	assert_int_equal(load("[limits]\nin_flight = 16K\nsessions = 64K\nbuffers = 64K\nbuffer_size = 64M\n"
			      "clients = 4294967295\nbytes = 1000G\n"),
			 0);
	assert_int_equal(config.provider.max_in_flight, 16384);
	assert_int_equal(config.provider.max_sessions, 65536);
	assert_int_equal(config.provider.max_buffer_size, 64 << 20);
	assert_int_equal(config.max_clients, UINT32_MAX);
}

static void test_a_limit_of_0_means_the_built_in_value(void **state)
{
	struct hostd_config defaults;

	(void)state;
	config_defaults(&defaults);
	assert_int_equal(
		load("[limits]\nclients = 0\nregions = 0\nregion_bytes = 0\nin_flight = 7\nin_flight = 0\n"),
		0);
	assert_int_equal(config.max_clients, defaults.max_clients);
	assert_int_equal(config.max_regions, defaults.max_regions);
	assert_int_equal(config.max_region_bytes, defaults.max_region_bytes);
	assert_int_equal(config.provider.max_in_flight, 0); /* which the provider fills in */
}

static void test_what_cannot_be_read_is_told_apart(void **state)
{
	(void)state;
	config_defaults(&config);
	assert_int_equal(config_load(&config, "/dev/null/hostd.conf"), -ENOTDIR);
	assert_int_equal(config_load(&config, "/"), -EIO); /* opened, but no file */
}

static void test_a_missing_file_is_told_apart(void **state)
{
	(void)state;
	config_defaults(&config);
	assert_int_equal(config_load(&config, "/nonexistent/hostd.conf"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values_are_taken),
		cmocka_unit_test(test_defaults_stay),
		cmocka_unit_test(test_what_is_unknown_is_an_error),
		cmocka_unit_test(test_bad_values_are_errors),
		cmocka_unit_test(test_the_largest_limits_are_taken),
		cmocka_unit_test(test_a_limit_of_0_means_the_built_in_value),
		cmocka_unit_test(test_what_cannot_be_read_is_told_apart),
		cmocka_unit_test(test_a_missing_file_is_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
