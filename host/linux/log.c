/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_NS 10000000000ull

static enum wp_log_level max_level = WP_LOG_INFO;

static const struct {
	const char *name;
	int priority; /* syslog's */
} levels[] = {
	[WP_LOG_ERROR] = { "error", 3 },
	[WP_LOG_WARNING] = { "warning", 4 },
	[WP_LOG_INFO] = { "info", 6 },
	[WP_LOG_DEBUG] = { "debug", 7 },
};

void log_set_level(enum wp_log_level level)
{
	max_level = level;
}

bool log_level_parse(const char *name, enum wp_log_level *level)
{
	for (unsigned int i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (!strcmp(levels[i].name, name)) {
			*level = (enum wp_log_level)i;
			return true;
		}
	}
	return false;
}

/* One write for a line, so that lines of several threads don't mix. */
void wp_log(enum wp_log_level level, const char *format, ...)
{
	char line[512];
	va_list arguments;
	int at, n;

	if (level > max_level)
		return;
	if (isatty(STDERR_FILENO))
		at = snprintf(line, sizeof(line), "winapi-hostd: %s: ", levels[level].name);
	else
		at = snprintf(line, sizeof(line), "<%d>winapi-hostd: ", levels[level].priority);
	va_start(arguments, format);
	n = vsnprintf(line + at, sizeof(line) - (size_t)at - 1, format, arguments);
	va_end(arguments);
	at += n < (int)sizeof(line) - at - 1 ? n : (int)sizeof(line) - at - 2;
	line[at++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)at) < 0)
		return; /* nowhere left to complain */
}

bool log_allowed(struct log_limit *limit)
{
	uint64_t now = wp_clock_ns();

	if (now - limit->since_ns > WINDOW_NS) {
		if (limit->lost)
			wp_log(WP_LOG_WARNING, "%u more lines of that kind were left out", limit->lost);
		*limit = (struct log_limit){ .since_ns = now };
	}
	if (limit->lines == LOG_BURST) {
		limit->lost++;
		return false;
	}
	limit->lines++;
	return true;
}
