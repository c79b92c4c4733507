/* SPDX-License-Identifier: MIT */
/* Log lines: what they look like, which are written, and how many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../host/linux/log.h"

static char text[4096];
static int pipes[2], saved;

/* From here to text_end, stderr is a pipe: no terminal, as under a journal. */
static void text_begin(void)
{
	assert_int_equal(pipe(pipes), 0);
	saved = dup(STDERR_FILENO);
	dup2(pipes[1], STDERR_FILENO);
	close(pipes[1]);
}

static const char *text_end(void)
{
	ssize_t n;

	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(pipes[0], text, sizeof(text) - 1);
	close(pipes[0]);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_a_line_has_priority_and_name(void **state)
{
	(void)state;
	log_set_level(WP_LOG_DEBUG);
	text_begin();
	wp_log(WP_LOG_ERROR, "one %d", 1);
	wp_log(WP_LOG_WARNING, "two");
	wp_log(WP_LOG_INFO, "three");
	wp_log(WP_LOG_DEBUG, "four");
	assert_string_equal(text_end(), "<3>winapi-hostd: one 1\n<4>winapi-hostd: two\n"
					"<6>winapi-hostd: three\n<7>winapi-hostd: four\n");
}

static void test_a_long_line_is_cut_and_ends(void **state)
{
	char word[1000];

	(void)state;
	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	text_begin();
	wp_log(WP_LOG_ERROR, "%s", word);
	wp_log(WP_LOG_ERROR, "next");
	text_end();
	assert_in_range(strlen(text), 500, 540);
	assert_string_equal(strchr(text, '\n'), "\n<3>winapi-hostd: next\n");
}

static void test_the_level_decides(void **state)
{
	enum wp_log_level level;

	(void)state;
	assert_true(log_level_parse("warning", &level));
	log_set_level(level);
	text_begin();
	wp_log(WP_LOG_DEBUG, "no");
	wp_log(WP_LOG_INFO, "no");
	wp_log(WP_LOG_WARNING, "yes");
	wp_log(WP_LOG_ERROR, "yes");
	assert_string_equal(text_end(), "<4>winapi-hostd: yes\n<3>winapi-hostd: yes\n");
	assert_false(log_level_parse("loud", &level));
}

/* Ten in ten seconds; then how many were left out is told once, and it begins anew. */
static void test_one_source_has_its_limit(void **state)
{
	struct log_limit limit = { 0 };

	(void)state;
	log_set_level(WP_LOG_INFO);
	for (unsigned int i = 0; i < LOG_BURST; i++)
		assert_true(log_allowed(&limit));
	text_begin();
	for (unsigned int i = 0; i < 7; i++)
		assert_false(log_allowed(&limit));
	assert_string_equal(text_end(), "");
	limit.since_ns -= 10000000001ull; /* as if it had been then */
	text_begin();
	assert_true(log_allowed(&limit));
	assert_string_equal(text_end(), "<4>winapi-hostd: 7 more lines of that kind were left out\n");
	for (unsigned int i = 1; i < LOG_BURST; i++)
		assert_true(log_allowed(&limit));
	assert_false(log_allowed(&limit));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_has_priority_and_name),
		cmocka_unit_test(test_a_long_line_is_cut_and_ends),
		cmocka_unit_test(test_the_level_decides),
		cmocka_unit_test(test_one_source_has_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
