/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "tso.h"

#define SLOTS (1u << 23)
#define FULL (SLOTS / 2)
#define NO_STATE UINT32_MAX

bool tso_buffered;

/* From a state to one that comes next. */
struct edge {
	uint32_t from;
	uint32_t to;
};

static size_t size;
static uint8_t *states; /* in the order in which they were found; a state's number is its place */
static uint32_t *table; /* numbers + 1, by hash */
static uint32_t *stack; /* numbers of those to be expanded */
static struct edge *edges;
static uint8_t *good; /* by number: the end was reached, or can be */
static size_t visited, depth, edge_count, states_room, stack_room, edges_room, good_room;
static uint32_t current;
static bool overflowed;

/* Room for one more: `count` of `room` elements are used. */
static void *grown(void *array, size_t count, size_t *room, size_t element)
{
	if (count < *room)
		return array;
	*room = *room ? 2 * *room : 4096;
	array = realloc(array, *room * element);
	if (!array)
		abort();
	return array;
}

bool search_init(size_t state_size)
{
	size = state_size;
	table = calloc(SLOTS, sizeof(*table));
	return table;
}

void search_begin(void)
{
	memset(table, 0, SLOTS * sizeof(*table));
	visited = depth = edge_count = 0;
	current = NO_STATE;
	overflowed = false;
}

static uint32_t add(const void *state)
{
	states = grown(states, visited, &states_room, size);
	stack = grown(stack, depth, &stack_room, sizeof(*stack));
	good = grown(good, visited, &good_room, 1);
	memcpy(states + visited * size, state, size);
	good[visited] = 0;
	stack[depth++] = (uint32_t)visited;
	return (uint32_t)visited++;
}

/* The state's number, also when it is new. */
static uint32_t number_of(const void *state)
{
	uint64_t hash = 1469598103934665603ull;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ ((const uint8_t *)state)[i]) * 1099511628211ull;
	for (uint32_t at = (uint32_t)(hash ^ hash >> 32) % SLOTS;; at = (at + 1) % SLOTS) {
		if (!table[at])
			return (table[at] = add(state) + 1) - 1;
		if (!memcmp(states + (table[at] - 1) * size, state, size))
			return table[at] - 1;
	}
}

void search_push(const void *state)
{
	uint32_t to;

	if (visited >= FULL) {
		overflowed = true;
		return;
	}
	to = number_of(state);
	if (current == NO_STATE || current == to)
		return;
	edges = grown(edges, edge_count, &edges_room, sizeof(*edges));
	edges[edge_count++] = (struct edge){ current, to };
}

bool search_pop(void *state)
{
	if (!depth)
		return false;
	current = stack[--depth];
	memcpy(state, states + current * size, size);
	return true;
}

void search_goal(void)
{
	good[current] = 1;
}

/* Edges in order of where they lead to: those to state n are first[n] up to first[n + 1]. */
static uint32_t *sort_edges(uint32_t *from)
{
	uint32_t *first = calloc(visited + 2, sizeof(*first));

	if (!first)
		abort();
	for (size_t i = 0; i < edge_count; i++)
		first[edges[i].to + 2]++;
	for (size_t n = 1; n <= visited; n++)
		first[n + 1] += first[n];
	for (size_t i = 0; i < edge_count; i++)
		from[first[edges[i].to + 1]++] = edges[i].from;
	return first;
}

/* Backwards from the ends. */
static void spread(void)
{
	uint32_t *from = malloc((edge_count + 1) * sizeof(*from)), *first;

	if (!from)
		abort();
	first = sort_edges(from);
	stack = realloc(stack, (visited + 1) * sizeof(*stack));
	if (!stack)
		abort();
	stack_room = visited + 1;
	for (size_t n = 0; n < visited; n++)
		if (good[n])
			stack[depth++] = (uint32_t)n;
	while (depth) {
		uint32_t to = stack[--depth];

		for (uint32_t i = first[to]; i < first[to + 1]; i++)
			if (!good[from[i]]) {
				good[from[i]] = 1;
				stack[depth++] = from[i];
			}
	}
	free(first);
	free(from);
}

bool search_trapped(void *state)
{
	spread();
	for (size_t n = 0; n < visited; n++)
		if (!good[n]) {
			memcpy(state, states + n * size, size);
			return true;
		}
	return false;
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

void model_report(bool ok, const char *what, const char *outcome)
{
	failures += !ok;
	printf("%s %u - %s: %s (%zu states)\n", ok ? "ok" : "not ok", ++number, what,
	       outcome ? outcome : "holds", visited);
	fflush(stdout);
}

unsigned int model_failures(void)
{
	return failures;
}
