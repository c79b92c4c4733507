/* SPDX-License-Identifier: MIT */
/*
 * A model of one ring's wake-ups and flow control on x86-TSO (tso.h): a writer and a reader. All
 * interleavings are searched, with all moments at which stores can become visible.
 *
 * The threads follow common/ring.h statement by statement; each step names the function that it is in. A
 * packet is one slot, the ring has SLOTS, and PACKETS go through it. The reader may release late or not,
 * and may sleep whenever it found nothing.
 *
 * What must hold: packets come once and in order, and no state without a next step is reached unless all
 * came. Each mutant leaves out one barrier or one second look and must fail; without store buffers the
 * missing barriers go unnoticed, which shows that the buffers are what finds them.
 */
#include <stdio.h>

#include "tso.h"

#define SLOTS 4u /* one stays free */
#define PACKETS 6u

enum variable { WRITE_INDEX, READ_INDEX, INTERRUPT_MASK, PENDING_SEND, VARIABLES };

enum mutant {
	NONE,
	NO_BARRIER_IN_PUBLISH,
	NO_BARRIER_IN_UNMASK,
	NO_BARRIER_IN_RELEASE,
	NO_BARRIER_IN_AWAIT_ROOM,
	NO_SECOND_LOOK_IN_UNMASK,
	NO_SECOND_LOOK_IN_AWAIT_ROOM,
	NO_RELEASE_BEFORE_UNMASK,
	NO_PUBLISH_BEFORE_AWAIT_ROOM,
	NO_SIGNAL_FOR_ROOM,
	MUTANTS
};

/* The writer's program. */
enum {
	W_WRITE, /* vmbus_ring_write: room by the index last seen? */
	W_REFRESH, /* vmbus_ring_refresh, then room? */
	W_PUBLISH, /* vmbus_ring_publish: store write_index */
	W_PUBLISH_BARRIER,
	W_PUBLISH_MASK, /* load interrupt_mask */
	W_PUBLISH_READ, /* load read_index: was it empty? signal */
	W_AWAIT, /* vmbus_ring_await_room: store pending_send_size */
	W_AWAIT_BARRIER,
	W_AWAIT_REFRESH, /* look again */
	W_SLEEP,
	W_END,
};

/* The reader's. */
enum {
	R_LOOK, /* vmbus_ring_next: load write_index */
	R_LAZY, /* vmbus_ring_release(false): late, or for a writer that waits */
	R_RELEASE, /* store read_index */
	R_RELEASE_BARRIER,
	R_RELEASE_PENDING, /* load pending_send_size */
	R_RELEASE_ROOM, /* load write_index: has the room become enough? signal */
	R_UNMASK, /* store interrupt_mask = 0 */
	R_UNMASK_BARRIER,
	R_UNMASK_LOOK, /* load write_index again */
	R_SLEEP,
	R_END,
};

struct state {
	uint8_t memory[VARIABLES];
	struct tso_thread writer;
	struct tso_thread reader;
	uint8_t sent; /* packets written; the writer's index is sent % SLOTS */
	uint8_t published;
	uint8_t old; /* what write_index said before the last publish */
	uint8_t seen; /* the reader's index as the writer last saw it */
	uint8_t awaiting; /* the publish under way comes before a wait for room */
	uint8_t taken; /* packets read; the reader's index is taken % SLOTS */
	uint8_t released;
	uint8_t before; /* the reader's published index before the release under way */
	uint8_t sleepy; /* the release under way comes before unmasking */
	uint8_t pending; /* pending_send_size as loaded */
};

static enum mutant mutant;

/* ---- Memory --------------------------------------------------------------------------------------------- */

static uint8_t load(const struct state *s, const struct tso_thread *t, uint8_t variable)
{
	return tso_load(s->memory, t, variable);
}

static void store(struct state *s, struct tso_thread *t, uint8_t variable, uint8_t value)
{
	tso_store(s->memory, t, variable, value);
}

static uint8_t distance(uint8_t from, uint8_t to)
{
	return (uint8_t)((to + SLOTS - from) % SLOTS);
}

/* ---- The search's list of next states ---------------------------------------------------------------------- */

#define MAX_NEXT 8
struct next {
	struct state state[MAX_NEXT];
	unsigned int count;
	bool wrong; /* a property broke on the way */
};

static struct state *branch(struct next *n, const struct state *s)
{
	n->state[n->count] = *s;
	return &n->state[n->count++];
}

/* ---- Writer -------------------------------------------------------------------------------------------------- */

static bool room(const struct state *s)
{
	return SLOTS - distance(s->seen, s->sent % SLOTS) > 1;
}

static void write_one(struct state *s)
{
	s->sent++;
	if (load(s, &s->writer, PENDING_SEND))
		store(s, &s->writer, PENDING_SEND, 0); /* vmbus_ring_stop_awaiting */
	s->writer.pc = W_PUBLISH;
	s->awaiting = 0;
}

static bool barrier(struct tso_thread *t, enum mutant without, uint8_t then)
{
	if (mutant != without && t->stores)
		return false; /* waits for its buffer */
	t->pc = then;
	return true;
}

static void step_writer(struct next *n, const struct state *from)
{
	struct state *s = branch(n, from);
	struct tso_thread *t = &s->writer;

	switch (t->pc) {
	case W_WRITE:
		if (s->sent == PACKETS)
			t->pc = W_END;
		else if (room(s))
			write_one(s);
		else
			t->pc = W_REFRESH;
		return;
	case W_REFRESH:
		s->seen = load(s, t, READ_INDEX);
		if (room(s)) {
			write_one(s);
		} else {
			s->awaiting = 1;
			t->pc = mutant == NO_PUBLISH_BEFORE_AWAIT_ROOM ? W_AWAIT : W_PUBLISH;
		}
		return;
	case W_PUBLISH:
		if (s->published == s->sent) {
			t->pc = s->awaiting ? W_AWAIT : W_WRITE;
			return;
		}
		/* Several packets may be published at once, unless the last one was written or room is awaited. */
		if (!s->awaiting && s->sent < PACKETS) {
			struct state *later = branch(n, s);

			later->writer.pc = W_WRITE;
			s = &n->state[n->count - 2];
			t = &s->writer;
		}
		s->old = s->published % SLOTS;
		s->published = s->sent;
		store(s, t, WRITE_INDEX, s->sent % SLOTS);
		t->pc = W_PUBLISH_BARRIER;
		return;
	case W_PUBLISH_BARRIER:
		if (!barrier(t, NO_BARRIER_IN_PUBLISH, W_PUBLISH_MASK))
			n->count--;
		return;
	case W_PUBLISH_MASK:
		t->pc = load(s, t, INTERRUPT_MASK) ? (s->awaiting ? W_AWAIT : W_WRITE) : W_PUBLISH_READ;
		return;
	case W_PUBLISH_READ:
		if (load(s, t, READ_INDEX) == s->old)
			s->reader.woken = 1;
		t->pc = s->awaiting ? W_AWAIT : W_WRITE;
		return;
	case W_AWAIT:
		store(s, t, PENDING_SEND, 1);
		t->pc = W_AWAIT_BARRIER;
		return;
	case W_AWAIT_BARRIER:
		if (!barrier(t, NO_BARRIER_IN_AWAIT_ROOM,
			     mutant == NO_SECOND_LOOK_IN_AWAIT_ROOM ? W_SLEEP : W_AWAIT_REFRESH))
			n->count--;
		return;
	case W_AWAIT_REFRESH:
		s->seen = load(s, t, READ_INDEX);
		t->pc = room(s) ? W_WRITE : W_SLEEP;
		if (room(s))
			store(s, t, PENDING_SEND, 0);
		return;
	case W_SLEEP:
		if (!t->woken) {
			n->count--;
			return;
		}
		t->woken = 0;
		t->pc = W_WRITE;
		return;
	default:
		n->count--;
	}
}

/* ---- Reader -------------------------------------------------------------------------------------------------- */

static void look(struct next *n, struct state *s)
{
	uint8_t write = load(s, &s->reader, WRITE_INDEX);

	if (s->taken == PACKETS) {
		s->reader.pc = R_END;
		return;
	}
	if (write == s->taken % SLOTS) {
		struct state *tired = branch(n, s);

		s = &n->state[n->count - 2];
		s->reader.pc = R_LAZY; /* polls on */
		tired->sleepy = 1;
		tired->reader.pc = mutant == NO_RELEASE_BEFORE_UNMASK ? R_UNMASK : R_RELEASE;
		return;
	}
	/* Everything up to `write` must have been written, and nothing be taken twice. */
	s->taken++;
	if (s->taken > s->sent)
		n->wrong = true;
	s->reader.pc = R_LAZY;
}

static void step_reader(struct next *n, const struct state *from)
{
	struct state *s = branch(n, from);
	struct tso_thread *t = &s->reader;
	uint8_t free_slots;

	switch (t->pc) {
	case R_LOOK:
		look(n, s);
		return;
	case R_LAZY:
		s->sleepy = 0;
		if (s->released == s->taken) {
			t->pc = R_LOOK;
		} else if (load(s, t, PENDING_SEND) || (uint8_t)(s->taken - s->released) >= SLOTS / 4 + 1) {
			t->pc = R_RELEASE;
		} else {
			t->pc = R_LOOK; /* late */
		}
		return;
	case R_RELEASE:
		if (s->released == s->taken) {
			t->pc = s->sleepy ? R_UNMASK : R_LOOK;
			return;
		}
		s->before = s->released % SLOTS;
		s->released = s->taken;
		store(s, t, READ_INDEX, s->taken % SLOTS);
		t->pc = R_RELEASE_BARRIER;
		return;
	case R_RELEASE_BARRIER:
		if (!barrier(t, NO_BARRIER_IN_RELEASE, R_RELEASE_PENDING))
			n->count--;
		return;
	case R_RELEASE_PENDING:
		s->pending = load(s, t, PENDING_SEND);
		t->pc = s->pending ? R_RELEASE_ROOM : s->sleepy ? R_UNMASK : R_LOOK;
		return;
	case R_RELEASE_ROOM:
		free_slots = (uint8_t)(SLOTS - distance(s->taken % SLOTS, load(s, t, WRITE_INDEX)));
		if (free_slots > s->pending &&
		    free_slots - distance(s->before, s->taken % SLOTS) <= s->pending &&
		    mutant != NO_SIGNAL_FOR_ROOM)
			s->writer.woken = 1;
		t->pc = s->sleepy ? R_UNMASK : R_LOOK;
		return;
	case R_UNMASK:
		store(s, t, INTERRUPT_MASK, 0);
		t->pc = R_UNMASK_BARRIER;
		return;
	case R_UNMASK_BARRIER:
		if (!barrier(t, NO_BARRIER_IN_UNMASK,
			     mutant == NO_SECOND_LOOK_IN_UNMASK ? R_SLEEP : R_UNMASK_LOOK))
			n->count--;
		return;
	case R_UNMASK_LOOK:
		if (load(s, t, WRITE_INDEX) == s->taken % SLOTS) {
			t->pc = R_SLEEP;
		} else {
			store(s, t, INTERRUPT_MASK, 1);
			t->pc = R_LOOK;
		}
		return;
	case R_SLEEP:
		if (!t->woken) {
			n->count--;
			return;
		}
		t->woken = 0;
		store(s, t, INTERRUPT_MASK, 1);
		t->pc = R_LOOK;
		return;
	default:
		n->count--;
	}
}

/* ---- Search -------------------------------------------------------------------------------------------------- */

/* All that can happen next: a thread's step, or a store becomes visible. */
static void expand(const struct state *s, struct next *n)
{
	n->count = 0;
	n->wrong = false;
	if (tso_may_step(&s->writer))
		step_writer(n, s);
	if (tso_may_step(&s->reader))
		step_reader(n, s);
	if (s->writer.stores) {
		struct state *d = branch(n, s);

		tso_drain(d->memory, &d->writer);
	}
	if (s->reader.stores) {
		struct state *d = branch(n, s);

		tso_drain(d->memory, &d->reader);
	}
}

/* NULL: everything holds. */
static const char *search(void)
{
	struct state start = { .memory = { [INTERRUPT_MASK] = 1 } }, s;
	struct next n;

	search_begin();
	search_push(&start);
	while (search_pop(&s)) {
		expand(&s, &n);
		if (n.wrong)
			return "a packet was taken that wasn't written";
		if (!n.count && (s.writer.pc != W_END || s.reader.pc != R_END))
			return s.reader.pc == R_SLEEP ? "the reader sleeps for ever" :
							"the writer sleeps for ever";
		for (unsigned int i = 0; i < n.count; i++)
			search_push(&n.state[i]);
	}
	return search_overflowed() ? "the table is too small" : NULL;
}

static const char *const names[MUTANTS] = {
	"common/ring.h as it is",
	"no barrier in vmbus_ring_publish",
	"no barrier in vmbus_ring_unmask",
	"no barrier in vmbus_ring_release",
	"no barrier in vmbus_ring_await_room",
	"no second look in vmbus_ring_unmask",
	"no second look in vmbus_ring_await_room",
	"no release before vmbus_ring_unmask",
	"no publish before vmbus_ring_await_room",
	"no signal when room becomes enough",
};

int main(void)
{
	if (!search_init(sizeof(struct state)))
		return 1;
	printf("1..%u\n", MUTANTS + 5);
	for (tso_buffered = true, mutant = NONE; mutant < MUTANTS; mutant++) {
		const char *outcome = search();

		model_report(!outcome == (mutant == NONE), names[mutant], outcome);
	}
	tso_buffered = false;
	for (mutant = NONE; mutant <= NO_BARRIER_IN_AWAIT_ROOM; mutant++) {
		char what[96];
		const char *outcome = search();

		snprintf(what, sizeof(what), "without store buffers, %s", names[mutant]);
		model_report(!outcome, what, outcome);
	}
	return model_failures() ? 1 : 0;
}
