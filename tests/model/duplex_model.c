/* SPDX-License-Identifier: MIT */
/*
 * A model of a channel: requests up, replies down, both rings so small that both fill up. It looks for
 * states in which both sides sleep and work is left. ring_model.c checks one ring step by step; this one
 * checks what the two sides do with two of them, by the same functions of common/ring.h:
 *
 *	guest	guest/lib/local/calls.c, wait.c: sends without waiting for replies, as async callers do.
 *		Without room it takes the replies that are there before it sleeps (send_await_room).
 *	host	host/linux/device.c, host/provider/reply.c: keeps replies that don't fit, up to PARKED, and
 *		takes no request while it has that many (device->stalled).
 *
 * Either side has one wake-up for both reasons, data and room. A ring has SLOTS packets less one.
 */
#include <stdio.h>

#include "tso.h"

#define SLOTS 2u
#define REQUESTS 4u
#define PARKED 1u

/* Each ring's header; UP is written by the guest. */
enum ring { UP, DOWN };
enum field { WRITE_INDEX, READ_INDEX, MASK, PENDING, FIELDS };

enum mutant {
	NONE,
	GUEST_DRAINS_NOTHING,
	GUEST_AWAITS_NO_ROOM,
	GUEST_SIGNALS_NO_ROOM,
	GUEST_RELEASES_LATE,
	HOST_AWAITS_NO_ROOM,
	HOST_SIGNALS_NO_ROOM,
	HOST_RELEASES_LATE,
	NO_BARRIER_IN_PUBLISH,
	NO_BARRIER_IN_AWAIT_ROOM,
	NO_BARRIER_IN_RELEASE,
	NO_BARRIER_IN_UNMASK,
	MUTANTS
};

/* Both sides' program: they differ in SEND and TAKE only. */
enum {
	SEND, /* vmbus_ring_write: something to send, and room by the index last seen? */
	REFRESH,
	PUBLISH, /* vmbus_ring_publish */
	PUBLISH_BARRIER,
	PUBLISH_MASK,
	PUBLISH_READ,
	AWAIT, /* vmbus_ring_await_room */
	AWAIT_BARRIER,
	AWAIT_REFRESH,
	TAKE, /* vmbus_ring_next */
	RELEASE, /* vmbus_ring_release */
	RELEASE_BARRIER,
	RELEASE_PENDING,
	RELEASE_ROOM,
	UNMASK, /* vmbus_ring_unmask */
	UNMASK_BARRIER,
	UNMASK_LOOK,
	SLEEP,
	END,
};

struct side {
	struct tso_thread thread;
	uint8_t sent; /* packets; the write index is sent % SLOTS */
	uint8_t seen; /* the reader's index as last seen */
	uint8_t old; /* the write index before the publish under way */
	uint8_t awaiting; /* we have set PENDING */
	uint8_t full; /* found no room since the last time that something was taken */
	uint8_t taken;
	uint8_t released;
	uint8_t before;
	uint8_t sleepy; /* the release under way comes before unmasking */
};

struct state {
	uint8_t memory[2 * FIELDS];
	struct side side[2]; /* UP: the guest, DOWN: the host */
};

static enum mutant mutant;
static const char *wrong;

/* ---- A side and its rings ---------------------------------------------------------------------------------- */

struct view {
	struct state *s;
	struct side *me;
	struct side *other;
	enum ring out;
	enum ring in;
};

static struct view view_of(struct state *s, enum ring out)
{
	return (struct view){ s, &s->side[out], &s->side[!out], out, !out };
}

static uint8_t load(const struct view *v, enum ring ring, enum field field)
{
	return tso_load(v->s->memory, &v->me->thread, (uint8_t)(ring * FIELDS + field));
}

static void store(const struct view *v, enum ring ring, enum field field, uint8_t value)
{
	tso_store(v->s->memory, &v->me->thread, (uint8_t)(ring * FIELDS + field), value);
}

static bool guest(const struct view *v)
{
	return v->out == UP;
}

static bool is(const struct view *v, enum mutant for_guest, enum mutant for_host)
{
	return mutant == (guest(v) ? for_guest : for_host);
}

static uint8_t distance(uint8_t from, uint8_t to)
{
	return (uint8_t)((to + SLOTS - from) % SLOTS);
}

static bool room(const struct view *v)
{
	return SLOTS - distance(v->me->seen, v->me->sent % SLOTS) > 1;
}

/* Replies that the host has and hasn't sent. */
static uint8_t parked(const struct view *v)
{
	return (uint8_t)(v->me->taken - v->me->sent);
}

static bool has_to_send(const struct view *v)
{
	return guest(v) ? v->me->sent < REQUESTS : parked(v) > 0;
}

static bool may_take(const struct view *v)
{
	if (guest(v))
		return mutant != GUEST_DRAINS_NOTHING || !has_to_send(v);
	return parked(v) < PARKED;
}

/* ---- Steps -------------------------------------------------------------------------------------------------- */

static void write_one(const struct view *v)
{
	v->me->old = v->me->sent % SLOTS;
	v->me->sent++;
	v->me->full = 0;
	if (v->me->awaiting)
		store(v, v->out, PENDING, 0); /* vmbus_ring_stop_awaiting */
	v->me->awaiting = 0;
	v->me->thread.pc = PUBLISH;
}

static void no_room(const struct view *v, uint8_t then)
{
	v->me->full = 1;
	v->me->thread.pc = then;
}

static void take(const struct view *v)
{
	uint8_t write = load(v, v->in, WRITE_INDEX);
	struct side *me = v->me;

	if (!may_take(v) || write == me->taken % SLOTS) {
		me->sleepy = 1;
		me->thread.pc = is(v, GUEST_RELEASES_LATE, HOST_RELEASES_LATE) ? UNMASK : RELEASE;
		if (guest(v) && me->taken == REQUESTS)
			me->thread.pc = END;
		return;
	}
	me->taken++;
	if (me->taken > v->other->sent)
		wrong = "a packet was taken that wasn't written";
	me->sleepy = 0;
	/* Late, but for a writer that waits. */
	me->thread.pc = load(v, v->in, PENDING) && !is(v, GUEST_RELEASES_LATE, HOST_RELEASES_LATE) ? RELEASE :
												     SEND;
}

static uint8_t after_release(const struct side *me)
{
	return me->sleepy ? UNMASK : SEND;
}

static void release_room(const struct view *v)
{
	struct side *me = v->me;
	uint8_t now = me->taken % SLOTS;
	uint8_t free_slots = (uint8_t)(SLOTS - distance(now, load(v, v->in, WRITE_INDEX)));

	if (free_slots > 1 && free_slots - distance(me->before, now) <= 1 &&
	    !is(v, GUEST_SIGNALS_NO_ROOM, HOST_SIGNALS_NO_ROOM))
		v->other->thread.woken = 1;
	me->thread.pc = after_release(me);
}

/* False: it waits for its store buffer. */
static bool barrier(struct tso_thread *t, enum mutant without, uint8_t then)
{
	if (mutant != without && t->stores)
		return false;
	t->pc = then;
	return true;
}

/* One step of one side; false: none is possible. */
static bool step(const struct view *v)
{
	struct side *me = v->me;
	struct tso_thread *t = &me->thread;

	switch (t->pc) {
	case SEND:
		if (!has_to_send(v))
			t->pc = TAKE;
		else if (room(v))
			write_one(v);
		else
			t->pc = REFRESH;
		return true;
	case REFRESH:
		me->seen = load(v, v->out, READ_INDEX);
		if (room(v))
			write_one(v);
		else
			no_room(v, is(v, GUEST_AWAITS_NO_ROOM, HOST_AWAITS_NO_ROOM) ? TAKE : AWAIT);
		return true;
	case PUBLISH:
		store(v, v->out, WRITE_INDEX, me->sent % SLOTS);
		t->pc = PUBLISH_BARRIER;
		return true;
	case PUBLISH_BARRIER:
		return barrier(t, NO_BARRIER_IN_PUBLISH, PUBLISH_MASK);
	case PUBLISH_MASK:
		t->pc = load(v, v->out, MASK) ? SEND : PUBLISH_READ;
		return true;
	case PUBLISH_READ:
		if (load(v, v->out, READ_INDEX) == me->old)
			v->other->thread.woken = 1;
		t->pc = SEND;
		return true;
	case AWAIT:
		me->awaiting = 1;
		store(v, v->out, PENDING, 1);
		t->pc = AWAIT_BARRIER;
		return true;
	case AWAIT_BARRIER:
		return barrier(t, NO_BARRIER_IN_AWAIT_ROOM, AWAIT_REFRESH);
	case AWAIT_REFRESH:
		me->seen = load(v, v->out, READ_INDEX);
		t->pc = room(v) ? SEND : TAKE;
		return true;
	case TAKE:
		take(v);
		return true;
	case RELEASE:
		if (me->released == me->taken) {
			t->pc = after_release(me);
			return true;
		}
		me->before = me->released % SLOTS;
		me->released = me->taken;
		store(v, v->in, READ_INDEX, me->taken % SLOTS);
		t->pc = RELEASE_BARRIER;
		return true;
	case RELEASE_BARRIER:
		return barrier(t, NO_BARRIER_IN_RELEASE, RELEASE_PENDING);
	case RELEASE_PENDING:
		t->pc = load(v, v->in, PENDING) ? RELEASE_ROOM : after_release(me);
		return true;
	case RELEASE_ROOM:
		release_room(v);
		return true;
	case UNMASK:
		store(v, v->in, MASK, 0);
		t->pc = UNMASK_BARRIER;
		return true;
	case UNMASK_BARRIER:
		return barrier(t, NO_BARRIER_IN_UNMASK, UNMASK_LOOK);
	case UNMASK_LOOK:
		t->pc = SLEEP;
		if (load(v, v->in, WRITE_INDEX) != me->taken % SLOTS && may_take(v)) {
			store(v, v->in, MASK, 1);
			t->pc = SEND;
		}
		return true;
	case SLEEP:
		if (!t->woken)
			return false;
		t->woken = 0;
		store(v, v->in, MASK, 1);
		t->pc = SEND;
		return true;
	default:
		return false;
	}
}

/* ---- Search -------------------------------------------------------------------------------------------------- */

/* All that can happen next: a side's step, or a store becomes visible. False: nothing can. */
static bool expand(const struct state *s)
{
	bool any = false;

	for (enum ring out = UP; out <= DOWN; out++) {
		struct state next = *s;
		struct view v = view_of(&next, out);

		if (tso_may_step(&v.me->thread) && step(&v)) {
			search_push(&next);
			any = true;
		}
		next = *s;
		if (v.me->thread.stores) {
			tso_drain(next.memory, &v.me->thread);
			search_push(&next);
			any = true;
		}
	}
	return any;
}

/* NULL: everything holds. */
static const char *search(void)
{
	struct state start = { .memory = { [UP * FIELDS + MASK] = 1, [DOWN * FIELDS + MASK] = 1 } }, s;

	start.side[DOWN].thread.pc = TAKE;
	wrong = NULL;
	search_begin();
	search_push(&start);
	while (search_pop(&s)) {
		if (!expand(&s) && s.side[UP].thread.pc != END)
			return s.side[UP].full && s.side[DOWN].full ? "both sleep, both rings full" :
								      "both sleep, and work is left";
		if (wrong)
			return wrong;
	}
	return search_overflowed() ? "the table is too small" : NULL;
}

static const char *const names[MUTANTS] = {
	"two rings, both full",
	"a guest without room takes no replies",
	"a guest without room doesn't ask for a signal",
	"a guest that makes room doesn't signal",
	"a guest sleeps before it gives back room",
	"a host without room doesn't ask for a signal",
	"a host that makes room doesn't signal",
	"a host sleeps before it gives back room",
	"no barrier in vmbus_ring_publish",
	"no barrier in vmbus_ring_await_room",
	"no barrier in vmbus_ring_release",
	"no barrier in vmbus_ring_unmask",
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
	for (mutant = NONE; mutant < MUTANTS; mutant = mutant ? mutant + 1 : NO_BARRIER_IN_PUBLISH) {
		char what[96];
		const char *outcome = search();

		snprintf(what, sizeof(what), "without store buffers, %s", names[mutant]);
		model_report(!outcome, what, outcome);
	}
	return model_failures() ? 1 : 0;
}
