/* SPDX-License-Identifier: MIT */
/*
 * The daemon with its threads in this process, where a sanitizer sees all of them, against a guest that speaks by
 * hand and breaks the rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../host/linux/hostd.h"
#include "../../host/linux/log.h"
#include "../hostile/raw_guest.h"

static struct hostd *hostd;
static struct raw_guest g, other;

/* ---- Daemon and guests --------------------------------------------------------------------------------- */

static bool start(struct raw_guest *guest, enum raw_stage stage)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(hostd_add_guest(hostd, ends[1]), 0);
	return raw_start_on(guest, ends[0], stage);
}

/* In the test itself, as cmocka has a handler of SIGBUS of its own for each function that it runs. */
static void begin(enum raw_stage stage)
{
	struct hostd_config config;

	config_defaults(&config);
	log_set_level(WP_LOG_ERROR);
	signal(SIGPIPE, SIG_IGN);
	hostd = hostd_create(&config, 1);
	assert_non_null(hostd);
	assert_int_equal(hostd_start(hostd), 0);
	assert_true(start(&g, stage));
	assert_true(start(&other, RAW_SESSION));
}

/* Whatever the one did, the other is served. */
static void end(void)
{
	assert_true(raw_echo(&other, 7));
	raw_end(&g);
	raw_end(&other);
	hostd_stop(hostd, 0);
	hostd_destroy(hostd);
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

static void test_the_event_flags_page_comes_and_goes(void **state)
{
	(void)state;
	begin(RAW_SESSION);
	assert_true(raw_churn_event_flags(&g, 300));
	assert_true(raw_echo(&g, 8));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_event_flags_page_comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
