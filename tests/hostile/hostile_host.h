/* SPDX-License-Identifier: MIT */
/*
 * Hosts that lie, break off or say nothing, against libwinapi. A case is a script for the fake host and
 * what the application sees of it; after each, no descriptor and no mapping may be left.
 */
#ifndef HOSTILE_HOST_H
#define HOSTILE_HOST_H

#include <stdio.h>
#include <stdlib.h>

#include "../../include/winapi.h"
#include "../support/fake_host.h"

#define SHORT_MS 300u /* for hosts that say nothing: what the application waits */

struct host_case {
	const char *name;
	bool (*script)(struct fake_host *h, const struct fake_event *e);
	const void *argument; /* the script's */
	uint32_t timeout_ms; /* of the handle, 0: the default */
	int open; /* what winapi_open must return */
	/* After an open that went well: NULL, or a sentence about what is wrong. */
	const char *(*use)(struct winapi *handle, const struct host_case *c);
	int wanted; /* `use`: the error that the application must get */
};

/* Runs the case in each polling mode and prints its lines. */
void run_case(const struct host_case *c);
/* A line of the output for something that isn't a case of the fake host; NULL: it held. */
void report(const char *name, const char *wrong);
const char *failure(const char *file, int line, const char *what);

#define EXPECT(condition) \
	do { \
		if (!(condition)) \
			return failure(__FILE__, __LINE__, #condition); \
	} while (0)

/* A host that says something else at one step, the first time. */
struct words {
	const char *name;
	enum fake_step step;
	void (*say)(struct fake_host *h, const struct fake_event *e);
	int open;
	const char *(*use)(struct winapi *handle, const struct host_case *c);
	int wanted;
	uint32_t timeout_ms;
};
void run_words(const struct words *first, unsigned int count);
/* A completion with that status and data, otherwise honest. */
void say(struct fake_host *h, const struct fake_event *e, int32_t status, const void *data, uint32_t size);

/* For `use`. 0 or the first error; -EBADMSG: wrong bytes. */
int echo_once(struct winapi *handle);
/* An echo by winapi_submit that is cancelled at once; the first error. */
int use_async(struct winapi *handle);
/* Each kind of call once. */
int use_everything(struct winapi *handle);
uint64_t bad_replies(struct winapi *handle);

void host_steps(void);
void host_words(void);
void host_records(void);
void host_replies(void);
void host_rings(void);
void host_waits(void);
void user_mistakes(const char *hostd);

#endif /* HOSTILE_HOST_H */
