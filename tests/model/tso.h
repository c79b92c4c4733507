/* SPDX-License-Identifier: MIT */
/*
 * What the models share: threads on x86-TSO, and a search through all states.
 *
 * Each thread has a FIFO store buffer that memory sees late; loads look into the own buffer first; a full
 * barrier waits until it is empty. Wake-ups are sticky, like an eventfd.
 */
#ifndef MODEL_TSO_H
#define MODEL_TSO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TSO_BUFFER 6u

struct tso_store {
	uint8_t variable;
	uint8_t value;
};

struct tso_thread {
	uint8_t pc;
	uint8_t stores;
	struct tso_store buffer[TSO_BUFFER];
	uint8_t woken;
};

extern bool tso_buffered; /* false: sequentially consistent */

static inline uint8_t tso_load(const uint8_t *memory, const struct tso_thread *t, uint8_t variable)
{
	for (uint8_t i = t->stores; i; i--)
		if (t->buffer[i - 1].variable == variable)
			return t->buffer[i - 1].value;
	return memory[variable];
}

static inline void tso_store(uint8_t *memory, struct tso_thread *t, uint8_t variable, uint8_t value)
{
	if (!tso_buffered)
		memory[variable] = value;
	else
		t->buffer[t->stores++] = (struct tso_store){ variable, value };
}

/* The oldest store becomes visible. */
static inline void tso_drain(uint8_t *memory, struct tso_thread *t)
{
	memory[t->buffer[0].variable] = t->buffer[0].value;
	t->stores--;
	memmove(t->buffer, t->buffer + 1, t->stores * sizeof(t->buffer[0]));
	t->buffer[t->stores] = (struct tso_store){ 0, 0 }; /* one state, one representation */
}

/* Room for the stores of one more step. */
static inline bool tso_may_step(const struct tso_thread *t)
{
	return t->stores < TSO_BUFFER - 1;
}

/*
 * Depth first, each state once. States are compared byte by byte: no padding in them. What is pushed
 * comes next after the state that was popped last.
 */
bool search_init(size_t state_size);
void search_begin(void);
void search_push(const void *state);
/* False: all were seen. */
bool search_pop(void *state);
/* The state that was popped last is an end as it should be. */
void search_goal(void);
/*
 * After all were seen. True: *state is one from which no end can be reached any more, whatever happens
 * next: a deadlock, or steps in a circle for ever.
 */
bool search_trapped(void *state);
size_t search_visited(void);
bool search_overflowed(void);

/* A line of TAP; `outcome` NULL: it holds. */
void model_report(bool ok, const char *what, const char *outcome);
unsigned int model_failures(void);

#endif /* MODEL_TSO_H */
