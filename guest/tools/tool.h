/* SPDX-License-Identifier: MIT */
/* What test_client and winapi share: exit codes, options, units, progress, samples. */
#ifndef TOOL_H
#define TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../include/winapi.h"

enum {
	TOOL_OK = 0,
	TOOL_FAILED = 1, /* a call or a check */
	TOOL_USAGE = 2,
	TOOL_NO_HOST = 3,
};

/*
 * First in main: the tool's name, which stands in front of messages; and at exit, what was printed but can't be written
 * (a full disk) is an error.
 */
void tool_begin(const char *name);
/* Writes out what was printed; 0, or TOOL_FAILED after saying why not. */
int tool_flush(void);
__attribute__((format(printf, 2, 3))) int tool_fail(int status, const char *format, ...);
/* Opens, or says why not and exits with TOOL_NO_HOST (TOOL_USAGE for a bad URI or option). */
struct winapi *tool_open(const char *uri, uint32_t ring_size, uint32_t poll);
/* "64", "4K", "64M", "1G" between least and most; exits with TOOL_USAGE otherwise. */
uint64_t tool_number(const char *option, const char *text, uint64_t least, uint64_t most);
/* 4096 -> "4 KiB"; the text lives until the fourth call from now. */
const char *tool_size(uint64_t bytes);
/* 1234 -> "1.23 us"; likewise. */
const char *tool_duration(double ns);
uint64_t tool_clock_ns(void);

/*
 * A line on standard error that says how far something is, if that is a terminal and it takes more than a second. A
 * thread writes it, so it goes on while a call waits for the host. One at a time; tool_fail ends it.
 */
void progress_begin(const char *what, uint64_t total); /* total 0: only the time is shown */
void progress_update(uint64_t done);
void progress_add(uint64_t done);
void progress_end(void);

/* Raw samples, in ns: what percentiles come from. */
struct samples {
	uint64_t *value;
	size_t count;
	size_t capacity;
};
void samples_init(struct samples *samples, size_t capacity); /* exits when out of memory */
void samples_add(struct samples *samples, uint64_t value); /* beyond the capacity: dropped */
void samples_sort(struct samples *samples);
uint64_t samples_at(const struct samples *samples, double percentile); /* sorted; 0 to 100 */
void samples_free(struct samples *samples);

#endif /* TOOL_H */
