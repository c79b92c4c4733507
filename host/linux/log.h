/* SPDX-License-Identifier: MIT */
/* Log lines on stderr, with a level; to a journal they carry its priority prefix. */
#ifndef HOSTD_LOG_H
#define HOSTD_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "../provider/platform.h"

void log_set_level(enum wp_log_level level);
/* "error", "warning", "info" or "debug"; false: none of these. */
bool log_level_parse(const char *name, enum wp_log_level *level);

/* At most `LOG_BURST` lines in ten seconds from one source; the next line then says how many were lost. */
#define LOG_BURST 10u
struct log_limit {
	uint64_t since_ns;
	uint32_t lines;
	uint32_t lost;
};
bool log_allowed(struct log_limit *limit);

#endif /* HOSTD_LOG_H */
