/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "tso.h"

#define SLOTS (1u << 23)
#define FULL (SLOTS / 4 * 3)

bool tso_buffered;

static size_t size, visited, depth, room;
static uint8_t *table; /* of states, by hash */
static uint8_t *used;
static uint8_t *stack;
static bool overflowed;

bool search_init(size_t state_size)
{
	size = state_size;
	/* Only what is touched takes memory. */
	table = calloc(SLOTS, size);
	used = calloc(SLOTS, 1);
	return table && used;
}

void search_begin(void)
{
	memset(used, 0, SLOTS);
	visited = depth = 0;
	overflowed = false;
}

static bool is_new(const void *state)
{
	uint64_t hash = 1469598103934665603ull;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ ((const uint8_t *)state)[i]) * 1099511628211ull;
	for (uint32_t at = (uint32_t)(hash ^ hash >> 32) % SLOTS;; at = (at + 1) % SLOTS) {
		if (!used[at]) {
			used[at] = 1;
			memcpy(table + at * size, state, size);
			visited++;
			return true;
		}
		if (!memcmp(table + at * size, state, size))
			return false;
	}
}

void search_push(const void *state)
{
	if (visited >= FULL) {
		overflowed = true;
		return;
	}
	if (!is_new(state))
		return;
	if (depth == room) {
		room = room ? 2 * room : 4096;
		stack = realloc(stack, room * size);
		if (!stack)
			abort();
	}
	memcpy(stack + depth++ * size, state, size);
}

bool search_pop(void *state)
{
	if (!depth)
		return false;
	memcpy(state, stack + --depth * size, size);
	return true;
}

size_t search_visited(void)
{
	return visited;
}

bool search_overflowed(void)
{
	return overflowed;
}

static unsigned int number, failures;

void model_report(bool good, const char *what, const char *outcome)
{
	failures += !good;
	printf("%s %u - %s: %s (%zu states)\n", good ? "ok" : "not ok", ++number, what,
	       outcome ? outcome : "holds", visited);
	fflush(stdout);
}

unsigned int model_failures(void)
{
	return failures;
}
