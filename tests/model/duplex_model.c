/* SPDX-License-Identifier: MIT */
/*
 * A model of a channel: requests up, replies down, both rings so small that both fill up. ring_model.c
 * checks one ring step by step; this one checks what the two sides do with two of them, by the same
 * functions of common/ring.h, and follows these statement by statement:
 *
 *	guest	guest/lib/local/calls.c, wait.c: submits all its requests and then waits for the replies. A
 *		request without room takes the replies that are there while it waits (send_await_room).
 *	host	host/linux/device.c, host/provider/reply.c: answers each request at once, keeps the replies
 *		that don't fit, and takes no request while it has parked_max of them (device->stalled).
 *
 * Either side has one wake-up for both reasons, data and room, and may poll on or go to sleep whenever it
 * found nothing. Either may release late: a ring that is a quarter full can be too full for a large packet.
 * Each packet has its number in its slot, which goes through the store buffer as well.
 *
 * What must hold: each request is answered once and in order, and from every state the end can be reached.
 * Not here: several threads on one side, and replies made by workers.
 */
#include <stdio.h>

#include "tso.h"

#define SLOTS_MAX 3u
#define PARKED_MAX 2u
#define REQUESTS 4u

/* Each ring's header and slots; UP is written by the guest. */
enum ring { UP, DOWN };
enum field { WRITE_INDEX, READ_INDEX, MASK, PENDING, SLOT, FIELDS = SLOT + SLOTS_MAX };

enum mutant {
	NONE,
	GUEST_DRAINS_NOTHING,
	GUEST_AWAITS_NO_ROOM,
	GUEST_SIGNALS_NO_ROOM,
	GUEST_RELEASES_LATE,
	GUEST_PUBLISHES_LATE,
	HOST_AWAITS_NO_ROOM,
	HOST_SIGNALS_NO_ROOM,
	HOST_RELEASES_LATE,
	HOST_PUBLISHES_LATE,
	GUEST_POLLS_WITHOUT_RELEASE,
	HOST_POLLS_WITHOUT_RELEASE,
	GUEST_ASKS_TOO_LITTLE,
	GUEST_NO_BARRIER_IN_PUBLISH,
	GUEST_NO_BARRIER_IN_AWAIT_ROOM,
	GUEST_NO_BARRIER_IN_RELEASE,
	GUEST_NO_BARRIER_IN_UNMASK,
	HOST_NO_BARRIER_IN_PUBLISH,
	HOST_NO_BARRIER_IN_AWAIT_ROOM,
	HOST_NO_BARRIER_IN_RELEASE,
	HOST_NO_BARRIER_IN_UNMASK,
	MUTANTS
};

enum {
	/* The functions of common/ring.h, for both sides. */
	PUBLISH, /* vmbus_ring_publish */
	PUBLISH_BARRIER,
	PUBLISH_MASK,
	PUBLISH_READ,
	AWAIT, /* vmbus_ring_await_room */
	AWAIT_BARRIER,
	AWAIT_REFRESH,
	RELEASE_LATE, /* vmbus_ring_release(false) */
	RELEASE, /* vmbus_ring_release(true) */
	RELEASE_BARRIER,
	RELEASE_PENDING,
	RELEASE_ROOM,
	UNMASK, /* vmbus_ring_unmask */
	UNMASK_BARRIER,
	UNMASK_LOOK,
	SLEEP, /* sleep_for_all: sleep_until; ring_thread_run: sleep_until_event */

	G_SEND, /* send_next: vmbus_ring_write, room by the index last seen? */
	G_REFRESH,
	G_WRITTEN, /* send_next: publish now or after the next one */
	G_TAKE, /* calls_drain */
	G_WISH, /* fulfilled: room_or_lost, or all replies there? */
	G_POLL, /* poll_until, poll_yielding: replies_pending */
	G_END,

	H_TURN, /* device_turn: wp_channel_flush if replies wait */
	H_REPLY, /* vmbus_channel_send: vmbus_ring_write, room by the index last seen? */
	H_REFRESH,
	H_LOOK, /* device_turn: anything to take? */
	H_TAKE, /* take_packet */
	H_NEXT, /* device_turn's loop */
	H_RELEASE,
	H_IDLE, /* keep_polling, or device_stop_polling */
};

struct side {
	struct tso_thread thread;
	uint8_t then; /* where the function under way returns to */
	uint8_t sent; /* packets; the write index is sent % slots */
	uint8_t published;
	uint8_t old; /* what write_index said before the publish under way */
	uint8_t seen; /* the reader's index as last seen */
	uint8_t awaiting; /* PENDING is set */
	uint8_t taken;
	uint8_t released;
	uint8_t before; /* what read_index said before the release under way */
	uint8_t pending; /* pending_send_size as loaded */
	uint8_t waits; /* guest: for room */
	uint8_t clock; /* guest: how often it still wakes up by itself, to poll for a long call's end */
	uint8_t active; /* host: polls, and the mask is set */
	uint8_t flushing; /* host: in wp_channel_flush */
	uint8_t parked[PARKED_MAX]; /* host: the requests whose replies aren't sent */
};

struct state {
	uint8_t memory[2 * FIELDS];
	struct side side[2]; /* UP: the guest, DOWN: the host */
};

struct setup {
	const char *name;
	uint8_t slots; /* one stays free */
	uint8_t parked_max;
	uint8_t asked; /* the room that the guest waits for, and asks a signal for */
	bool guest_polls; /* never sleeps */
	bool host_polls;
	uint8_t clock; /* a limited number, or no wake-up would ever be missed */
};

static struct setup setup;
static enum mutant mutant;
static const char *wrong;

/* ---- A side and its rings -------------------------------------------------------------------------------- */

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

static uint8_t load(const struct view *v, enum ring ring, unsigned int field)
{
	return tso_load(v->s->memory, &v->me->thread, (uint8_t)(ring * FIELDS + field));
}

static void store(const struct view *v, enum ring ring, unsigned int field, uint8_t value)
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

static uint8_t at(uint8_t packets)
{
	return packets % setup.slots;
}

static uint8_t distance(uint8_t from, uint8_t to)
{
	return at((uint8_t)(to + setup.slots - from));
}

/* Free slots by the reader's index as last seen. */
static uint8_t room(const struct view *v)
{
	return (uint8_t)(setup.slots - distance(v->me->seen, at(v->me->sent)));
}

static bool arrived(const struct view *v)
{
	return load(v, v->in, WRITE_INDEX) != at(v->me->taken);
}

/* Replies that the host has and hasn't sent. */
static uint8_t parked(const struct side *host)
{
	return (uint8_t)(host->taken - host->sent);
}

/* Would this side take what arrived? */
static bool takes(const struct view *v)
{
	if (guest(v))
		return mutant != GUEST_DRAINS_NOTHING || !v->me->waits;
	return parked(v->me) < setup.parked_max;
}

/* ---- Steps ----------------------------------------------------------------------------------------------- */

static void go(const struct view *v, uint8_t pc)
{
	v->me->thread.pc = pc;
}

static void call(const struct view *v, uint8_t pc, uint8_t then)
{
	v->me->then = then;
	go(v, pc);
}

/* From a function. Its variables mean nothing any more and make no difference between states. */
static void back(const struct view *v)
{
	go(v, v->me->then);
	v->me->then = v->me->old = v->me->before = v->me->pending = 0;
}

/* Besides the step that is being made, there is this one. */
static void or_call(const struct view *v, uint8_t pc, uint8_t then)
{
	struct state s = *v->s;
	struct view other = view_of(&s, v->out);

	call(&other, pc, then);
	search_push(&s);
}

/* False: it waits for its store buffer. */
static bool barrier(const struct view *v, enum mutant for_guest, enum mutant for_host, uint8_t then)
{
	if (v->me->thread.stores && !is(v, for_guest, for_host))
		return false;
	go(v, then);
	return true;
}

static void stop_awaiting(const struct view *v)
{
	if (v->me->awaiting)
		store(v, v->out, PENDING, 0);
	v->me->awaiting = 0;
}

static void write_packet(const struct view *v, uint8_t content)
{
	store(v, v->out, SLOT + at(v->me->sent), content);
	v->me->sent++;
}

/* The packet's content. */
static uint8_t read_packet(const struct view *v)
{
	uint8_t content = load(v, v->in, SLOT + at(v->me->taken));

	v->me->taken++;
	if (content != v->me->taken)
		wrong = guest(v) ? "a reply is lost, doubled or out of order" :
				   "a request is lost, doubled or out of order";
	return content;
}

/* ---- common/ring.h --------------------------------------------------------------------------------------- */

static void publish(const struct view *v)
{
	if (v->me->published == v->me->sent) {
		back(v);
		return;
	}
	v->me->old = at(v->me->published);
	v->me->published = v->me->sent;
	store(v, v->out, WRITE_INDEX, at(v->me->sent));
	go(v, PUBLISH_BARRIER);
}

static void publish_read(const struct view *v)
{
	if (load(v, v->out, READ_INDEX) == v->me->old)
		v->other->thread.woken = 1;
	back(v);
}

static uint8_t asked(const struct view *v)
{
	return guest(v) && mutant != GUEST_ASKS_TOO_LITTLE ? setup.asked : 1;
}

/* No room, and a signal will come. */
static void wait_for_room(const struct view *v)
{
	if (guest(v)) {
		v->me->waits = 1;
		go(v, G_TAKE);
	} else if (v->me->flushing) {
		call(v, PUBLISH, H_LOOK);
	} else {
		go(v, H_NEXT);
	}
}

static void await(const struct view *v)
{
	v->me->then = 0;
	if (is(v, GUEST_AWAITS_NO_ROOM, HOST_AWAITS_NO_ROOM)) {
		wait_for_room(v);
		return;
	}
	v->me->awaiting = 1;
	store(v, v->out, PENDING, asked(v));
	go(v, AWAIT_BARRIER);
}

static void await_refresh(const struct view *v)
{
	v->me->seen = load(v, v->out, READ_INDEX);
	if (room(v) <= asked(v)) {
		wait_for_room(v);
		return;
	}
	stop_awaiting(v);
	go(v, guest(v) ? G_SEND : H_REPLY);
}

static void release_late(const struct view *v)
{
	if (v->me->released == v->me->taken) {
		back(v);
	} else if (load(v, v->in, PENDING)) {
		go(v, RELEASE);
	} else {
		or_call(v, RELEASE, v->me->then);
		back(v);
	}
}

static void release(const struct view *v)
{
	if (v->me->released == v->me->taken) {
		back(v);
		return;
	}
	v->me->before = at(v->me->released);
	v->me->released = v->me->taken;
	store(v, v->in, READ_INDEX, at(v->me->taken));
	go(v, RELEASE_BARRIER);
}

static void release_room(const struct view *v)
{
	uint8_t now = at(v->me->taken), pending = v->me->pending;
	uint8_t free_slots = (uint8_t)(setup.slots - distance(now, load(v, v->in, WRITE_INDEX)));

	if (free_slots > pending && free_slots - distance(v->me->before, now) <= pending &&
	    !is(v, GUEST_SIGNALS_NO_ROOM, HOST_SIGNALS_NO_ROOM))
		v->other->thread.woken = 1;
	back(v);
}

static void unmask_look(const struct view *v)
{
	if (arrived(v) && takes(v)) {
		store(v, v->in, MASK, 1);
		go(v, guest(v) ? G_TAKE : H_TURN);
		return;
	}
	v->me->active = 0;
	go(v, SLEEP);
}

static bool wake_up(const struct view *v)
{
	if (v->me->thread.woken)
		v->me->thread.woken = 0;
	else if (v->me->clock)
		v->me->clock--;
	else
		return false;
	if (guest(v))
		store(v, v->in, MASK, 1);
	go(v, guest(v) ? G_TAKE : H_TURN);
	return true;
}

static bool step_publish(const struct view *v)
{
	switch (v->me->thread.pc) {
	case PUBLISH:
		publish(v);
		return true;
	case PUBLISH_BARRIER:
		return barrier(v, GUEST_NO_BARRIER_IN_PUBLISH, HOST_NO_BARRIER_IN_PUBLISH, PUBLISH_MASK);
	case PUBLISH_MASK:
		if (load(v, v->out, MASK))
			back(v);
		else
			go(v, PUBLISH_READ);
		return true;
	default:
		publish_read(v);
		return true;
	}
}

static bool step_await(const struct view *v)
{
	switch (v->me->thread.pc) {
	case AWAIT:
		await(v);
		return true;
	case AWAIT_BARRIER:
		return barrier(v, GUEST_NO_BARRIER_IN_AWAIT_ROOM, HOST_NO_BARRIER_IN_AWAIT_ROOM,
			       AWAIT_REFRESH);
	default:
		await_refresh(v);
		return true;
	}
}

static bool step_release(const struct view *v)
{
	switch (v->me->thread.pc) {
	case RELEASE_LATE:
		release_late(v);
		return true;
	case RELEASE:
		release(v);
		return true;
	case RELEASE_BARRIER:
		return barrier(v, GUEST_NO_BARRIER_IN_RELEASE, HOST_NO_BARRIER_IN_RELEASE, RELEASE_PENDING);
	case RELEASE_PENDING:
		v->me->pending = load(v, v->in, PENDING);
		if (v->me->pending)
			go(v, RELEASE_ROOM);
		else
			back(v);
		return true;
	default:
		release_room(v);
		return true;
	}
}

static bool step_sleep(const struct view *v)
{
	switch (v->me->thread.pc) {
	case UNMASK:
		v->me->then = 0;
		store(v, v->in, MASK, 0);
		go(v, UNMASK_BARRIER);
		return true;
	case UNMASK_BARRIER:
		return barrier(v, GUEST_NO_BARRIER_IN_UNMASK, HOST_NO_BARRIER_IN_UNMASK, UNMASK_LOOK);
	case UNMASK_LOOK:
		unmask_look(v);
		return true;
	default:
		return wake_up(v);
	}
}

/* ---- The guest ------------------------------------------------------------------------------------------- */

static void send_request(const struct view *v)
{
	write_packet(v, (uint8_t)(v->me->sent + 1));
	v->me->waits = 0;
	stop_awaiting(v);
	go(v, G_WRITTEN);
}

static void no_room(const struct view *v)
{
	if (is(v, GUEST_PUBLISHES_LATE, HOST_PUBLISHES_LATE))
		go(v, AWAIT);
	else
		call(v, PUBLISH, AWAIT);
}

/* What is wanted isn't there: on with polling, or to sleep. */
static void wait_on(const struct view *v)
{
	if (!setup.guest_polls)
		or_call(v, mutant == GUEST_RELEASES_LATE ? UNMASK : RELEASE, UNMASK);
	go(v, G_POLL);
}

static void wish(const struct view *v)
{
	if (v->me->waits)
		v->me->seen = load(v, v->out, READ_INDEX);
	if (v->me->waits && room(v) > setup.asked)
		go(v, G_SEND);
	else if (v->me->taken == REQUESTS)
		go(v, G_END);
	else
		wait_on(v);
}

static void drain(const struct view *v)
{
	if (arrived(v) && takes(v)) {
		read_packet(v);
		call(v, RELEASE_LATE, G_TAKE);
	} else {
		call(v, RELEASE_LATE, G_WISH);
	}
}

static bool step_guest(const struct view *v)
{
	switch (v->me->thread.pc) {
	case G_SEND:
		if (v->me->sent == REQUESTS)
			call(v, PUBLISH, G_TAKE);
		else if (room(v) > 1)
			send_request(v);
		else
			go(v, G_REFRESH);
		return true;
	case G_REFRESH:
		v->me->seen = load(v, v->out, READ_INDEX);
		if (room(v) > 1)
			send_request(v);
		else
			no_room(v);
		return true;
	case G_WRITTEN:
		or_call(v, PUBLISH, G_SEND);
		go(v, G_SEND);
		return true;
	case G_TAKE:
		drain(v);
		return true;
	case G_WISH:
		wish(v);
		return true;
	case G_POLL:
		if ((arrived(v) && takes(v)) ||
		    (load(v, v->in, PENDING) && mutant != GUEST_POLLS_WITHOUT_RELEASE))
			go(v, G_TAKE);
		else
			go(v, G_WISH);
		return true;
	default:
		return false;
	}
}

/* ---- The host -------------------------------------------------------------------------------------------- */

static void take_request(const struct view *v)
{
	uint8_t waiting = parked(v->me);

	v->me->parked[waiting] = read_packet(v);
	/* Behind those that wait, a reply isn't even tried. */
	go(v, waiting ? H_NEXT : H_REPLY);
}

static void send_reply(const struct view *v)
{
	write_packet(v, v->me->parked[0]);
	memmove(v->me->parked, v->me->parked + 1, PARKED_MAX - 1);
	v->me->parked[PARKED_MAX - 1] = 0;
	stop_awaiting(v);
	if (!v->me->flushing)
		go(v, H_NEXT);
	else if (parked(v->me))
		go(v, H_REPLY);
	else
		call(v, PUBLISH, H_LOOK);
}

static void look(const struct view *v)
{
	v->me->flushing = 0;
	if (!v->me->active) {
		v->me->active = 1; /* kicked: flush, then activate */
		store(v, v->in, MASK, 1);
		go(v, H_TURN);
	} else {
		go(v, arrived(v) && takes(v) ? H_TAKE : H_IDLE);
	}
}

static void idle(const struct view *v)
{
	if (!setup.host_polls)
		or_call(v, mutant == HOST_RELEASES_LATE ? UNMASK : RELEASE, UNMASK);
	if (mutant == HOST_POLLS_WITHOUT_RELEASE)
		go(v, H_TURN);
	else
		call(v, RELEASE_LATE, H_TURN);
}

static void turn(const struct view *v)
{
	v->me->flushing = parked(v->me) > 0;
	go(v, v->me->flushing ? H_REPLY : H_LOOK);
}

static bool step_host(const struct view *v)
{
	switch (v->me->thread.pc) {
	case H_TURN:
		turn(v);
		return true;
	case H_REPLY:
		if (room(v) > 1)
			send_reply(v);
		else
			go(v, H_REFRESH);
		return true;
	case H_REFRESH:
		v->me->seen = load(v, v->out, READ_INDEX);
		if (room(v) > 1)
			send_reply(v);
		else
			no_room(v);
		return true;
	case H_LOOK:
		look(v);
		return true;
	case H_TAKE:
		if (arrived(v) && takes(v))
			take_request(v);
		else
			call(v, PUBLISH, H_RELEASE);
		return true;
	case H_NEXT:
		or_call(v, PUBLISH, H_RELEASE); /* BUDGET */
		or_call(v, PUBLISH, H_TAKE); /* PUBLISH_EVERY */
		go(v, H_TAKE);
		return true;
	case H_RELEASE:
		call(v, RELEASE_LATE, H_TURN);
		return true;
	default:
		idle(v);
		return true;
	}
}

/* ---- Search ---------------------------------------------------------------------------------------------- */

/* One step of one side; false: none is possible. */
static bool step(const struct view *v)
{
	uint8_t pc = v->me->thread.pc;

	if (pc <= PUBLISH_READ)
		return step_publish(v);
	if (pc <= AWAIT_REFRESH)
		return step_await(v);
	if (pc <= RELEASE_ROOM)
		return step_release(v);
	if (pc <= SLEEP)
		return step_sleep(v);
	return guest(v) ? step_guest(v) : step_host(v);
}

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

static bool full(const struct state *s, enum ring ring)
{
	const uint8_t *header = s->memory + ring * FIELDS;

	return distance(header[READ_INDEX], header[WRITE_INDEX]) == setup.slots - 1;
}

static const char *trap(const struct state *s)
{
	if (s->side[UP].thread.pc != SLEEP || s->side[DOWN].thread.pc != SLEEP)
		return "one waits, the other polls for ever";
	return full(s, UP) && full(s, DOWN) ? "both sleep, both rings full" : "both sleep, and work is left";
}

static void push_start(void)
{
	struct state start = { .memory = { [DOWN * FIELDS + MASK] = 1 } };
	struct side *host = &start.side[DOWN];

	start.side[UP].thread.pc = G_SEND;
	start.side[UP].clock = setup.clock;
	host->thread.pc = setup.host_polls ? H_TURN : SLEEP;
	host->active = setup.host_polls;
	start.memory[UP * FIELDS + MASK] = setup.host_polls;
	search_begin();
	search_push(&start);
}

/* NULL: everything holds. */
static const char *search(void)
{
	struct state s;

	wrong = NULL;
	push_start();
	while (search_pop(&s)) {
		if (s.side[UP].thread.pc == G_END)
			search_goal();
		else if (!expand(&s))
			return trap(&s);
		if (wrong)
			return wrong;
	}
	if (search_overflowed())
		return "the table is too small";
	return search_trapped(&s) ? trap(&s) : NULL;
}

enum { ONE_PACKET, TWO_PACKETS, TWO_PARKED, LARGE_PACKETS, GUEST_POLLS, HOST_POLLS, CLOCK, SETUPS };

static const struct setup setups[SETUPS] = {
	[ONE_PACKET] = { .name = "rings of one packet", .slots = 2, .parked_max = 1, .asked = 1 },
	[TWO_PACKETS] = { .name = "rings of two packets", .slots = 3, .parked_max = 1, .asked = 1 },
	[TWO_PARKED] = { .name = "rings of two packets, two replies parked",
			 .slots = 3,
			 .parked_max = 2,
			 .asked = 1 },
	[LARGE_PACKETS] = { .name = "a guest that asks for more room than one packet needs",
			    .slots = 3,
			    .parked_max = 1,
			    .asked = 2 },
	[GUEST_POLLS] = { .name = "a guest that never sleeps",
			  .slots = 2,
			  .parked_max = 1,
			  .asked = 1,
			  .guest_polls = true },
	[HOST_POLLS] = { .name = "a host that never sleeps",
			 .slots = 2,
			 .parked_max = 1,
			 .asked = 1,
			 .host_polls = true },
	[CLOCK] = { .name = "a guest that wakes up twice without a signal",
		    .slots = 3,
		    .parked_max = 1,
		    .asked = 1,
		    .clock = 2 },
};

/* Each mutant where it must be noticed. */
static const struct {
	const char *name;
	unsigned int setup;
} mutants[MUTANTS] = {
	[NONE] = { "both sides as they are", TWO_PACKETS },
	[GUEST_DRAINS_NOTHING] = { "a guest without room takes no replies", ONE_PACKET },
	[GUEST_AWAITS_NO_ROOM] = { "a guest without room doesn't ask for a signal", TWO_PACKETS },
	[GUEST_SIGNALS_NO_ROOM] = { "a guest that makes room doesn't signal", TWO_PACKETS },
	[GUEST_RELEASES_LATE] = { "a guest sleeps before it gives back room", TWO_PACKETS },
	[GUEST_PUBLISHES_LATE] = { "a guest awaits room before it publishes", TWO_PACKETS },
	[HOST_AWAITS_NO_ROOM] = { "a host without room doesn't ask for a signal", TWO_PACKETS },
	[HOST_SIGNALS_NO_ROOM] = { "a host that makes room doesn't signal", TWO_PACKETS },
	[HOST_RELEASES_LATE] = { "a host sleeps before it gives back room", TWO_PACKETS },
	[HOST_PUBLISHES_LATE] = { "a host awaits room before it publishes", TWO_PARKED },
	[GUEST_POLLS_WITHOUT_RELEASE] = { "a guest that polls gives back room only when something came",
					  GUEST_POLLS },
	[HOST_POLLS_WITHOUT_RELEASE] = { "a host that polls gives back room only when something came",
					 HOST_POLLS },
	[GUEST_ASKS_TOO_LITTLE] = { "a guest waits for more room than it asked for", LARGE_PACKETS },
	[GUEST_NO_BARRIER_IN_PUBLISH] = { "no barrier in the guest's vmbus_ring_publish", TWO_PACKETS },
	[GUEST_NO_BARRIER_IN_AWAIT_ROOM] = { "no barrier in the guest's vmbus_ring_await_room", TWO_PACKETS },
	[GUEST_NO_BARRIER_IN_RELEASE] = { "no barrier in the guest's vmbus_ring_release", TWO_PACKETS },
	[GUEST_NO_BARRIER_IN_UNMASK] = { "no barrier in the guest's vmbus_ring_unmask", TWO_PACKETS },
	[HOST_NO_BARRIER_IN_PUBLISH] = { "no barrier in the host's vmbus_ring_publish", TWO_PACKETS },
	[HOST_NO_BARRIER_IN_AWAIT_ROOM] = { "no barrier in the host's vmbus_ring_await_room", TWO_PACKETS },
	[HOST_NO_BARRIER_IN_RELEASE] = { "no barrier in the host's vmbus_ring_release", TWO_PACKETS },
	[HOST_NO_BARRIER_IN_UNMASK] = { "no barrier in the host's vmbus_ring_unmask", TWO_PACKETS },
};

static void check_setups(void)
{
	tso_buffered = true;
	mutant = NONE;
	for (unsigned int i = 0; i < SETUPS; i++) {
		const char *outcome;

		setup = setups[i];
		outcome = search();
		model_report(!outcome, setup.name, outcome);
	}
}

static void check_mutants(void)
{
	char what[96];

	for (mutant = NONE + 1; mutant < MUTANTS; mutant++) {
		const char *outcome;

		setup = setups[mutants[mutant].setup];
		outcome = search();
		snprintf(what, sizeof(what), "mutant fails as it must, %s", mutants[mutant].name);
		model_report(outcome, what, outcome);
	}
}

/* The barriers are there for the store buffers only. */
static void check_without_buffers(void)
{
	char what[96];

	tso_buffered = false;
	for (mutant = NONE; mutant < MUTANTS; mutant = mutant ? mutant + 1 : GUEST_NO_BARRIER_IN_PUBLISH) {
		const char *outcome;

		setup = setups[mutants[mutant].setup];
		outcome = search();
		snprintf(what, sizeof(what), "without store buffers, %s", mutants[mutant].name);
		model_report(!outcome, what, outcome);
	}
}

int main(void)
{
	if (!search_init(sizeof(struct state)))
		return 1;
	printf("1..%d\n", SETUPS + MUTANTS - 1 + 1 + MUTANTS - GUEST_NO_BARRIER_IN_PUBLISH);
	check_setups();
	check_mutants();
	check_without_buffers();
	return model_failures() ? 1 : 0;
}
