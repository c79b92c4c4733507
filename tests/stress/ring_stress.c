/* SPDX-License-Identifier: MIT */
/*
 * Two processes, two small rings, traffic both ways at once: every byte sent must arrive once, in
 * order, and nobody may sleep for ever.
 *
 * A packet's size and content follow from the seed, the direction and its number, so the receiver
 * knows all of it beforehand. How each side behaves (polls, sleeps, releases late, publishes late,
 * dawdles) is drawn from the same seed. A third process watches; when neither side gets on for
 * STALL_SECONDS, a wake-up was lost.
 *
 *	ring_stress [SEED [PERCENT]]	one seed for all rounds; more or fewer packets
 */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../common/ring.h"

#define STALL_SECONDS 30
#define RING_SIZE 4096u
#define MAX_PAYLOAD (RING_SIZE - 8 - VMBUS_PACKET_TRAILER - 16) /* 4,064: the ring's largest */
#define MAX_PARTS 3u

struct round {
	const char *name;
	uint32_t max_payload;
	uint32_t packets[2]; /* from each side */
	uint32_t batch; /* packets written before they are published, at most */
	uint8_t polls[2]; /* percent of rests in which a side polls instead of sleeping */
	uint8_t lazy; /* percent of packets after which nothing is released */
	uint16_t dawdles; /* one in so many rests is a long one; 0: none */
};

/* In traffic one way, nothing that the other side sends wakes up a sleeper by accident. */
static const struct round rounds[] = {
	{ "one way, both sleep", 64, { 1200000, 0 }, 1, { 0, 0 }, 0, 0 },
	{ "one way, adaptive", 64, { 3000000, 0 }, 2, { 50, 50 }, 30, 0 },
	{ "one way, any size", MAX_PAYLOAD, { 0, 600000 }, 1, { 0, 50 }, 0, 0 },
	{ "small, adaptive", 64, { 2000000, 2000000 }, 4, { 50, 50 }, 30, 5000 },
	{ "small, both sleep", 64, { 200000, 200000 }, 1, { 0, 0 }, 0, 0 },
	{ "small, both poll", 64, { 2000000, 2000000 }, 8, { 100, 100 }, 50, 0 },
	{ "small, one polls", 64, { 400000, 500000 }, 2, { 100, 0 }, 20, 1000 },
	{ "any size, adaptive", MAX_PAYLOAD, { 400000, 300000 }, 2, { 70, 30 }, 30, 2000 },
	{ "any size, both sleep", MAX_PAYLOAD, { 150000, 150000 }, 2, { 0, 0 }, 30, 0 },
	{ "any size, both poll", MAX_PAYLOAD, { 400000, 400000 }, 2, { 100, 100 }, 50, 0 },
};
#define ROUNDS (sizeof(rounds) / sizeof(rounds[0]))

/* What the watching process sees of a side. */
struct progress {
	uint64_t sent;
	uint64_t received;
	uint64_t sleeps;
	uint64_t full; /* times that it found no room */
};

struct ring_memory {
	struct vmbus_ring_header *header;
	uint8_t *data;
};

struct side {
	const struct round *round;
	uint64_t seed;
	unsigned int self;
	uint64_t to_send;
	uint64_t to_receive;
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	int own_event, other_event;
	struct progress *progress;
	uint64_t random; /* how it behaves */
	uint32_t unpublished;
	uint32_t awaited; /* bytes that the next packet needs, when it found no room */
};

static struct ring_memory ring[2]; /* ring[i]: side i writes */
static int event[2]; /* event[i]: side i sleeps on it */
static struct progress *progress;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint32_t draw(struct side *side, uint32_t below)
{
	side->random = mix(side->random);
	return (uint32_t)((side->random >> 32) * below >> 32);
}

static bool percent(struct side *side, unsigned int chance)
{
	return draw(side, 100) < chance;
}

/* ---- Packets ------------------------------------------------------------------------------------ */

struct expected {
	uint64_t key;
	uint32_t payload; /* bytes, the part that counts as descriptor included */
	uint32_t offset; /* of them, that count as descriptor */
};

static struct expected packet_of(const struct side *side, unsigned int sender, uint64_t number)
{
	struct expected e = { .key = mix(mix(side->seed + sender) ^ number) };
	uint32_t draws = (uint32_t)(e.key >> 32), max = side->round->max_payload;

	/* Half of them are small, some are as large as can be. */
	if (draws % 16 == 0)
		e.payload = max - draws / 16 % 9;
	else if (draws % 2)
		e.payload = draws / 16 % 65;
	else
		e.payload = draws / 16 % (max + 1);
	if (draws % 7 == 0)
		e.offset = e.payload / 16 * 8;
	return e;
}

static uint64_t word_of(const struct expected *e, uint32_t index)
{
	return mix(e->key + index);
}

static void payload_make(const struct expected *e, uint8_t *to)
{
	for (uint32_t at = 0; at < e->payload; at += 8) {
		uint64_t word = word_of(e, at);
		uint32_t size = e->payload - at;

		memcpy(to + at, &word, size < 8 ? size : 8);
	}
}

/* Payload, then zeros up to a multiple of 8. */
static bool payload_is(const struct expected *e, const uint8_t *from)
{
	for (uint32_t at = 0; at < e->payload; at += 8) {
		uint64_t word = word_of(e, at), got;
		uint32_t size = e->payload - at;

		if (size < 8)
			word &= (1ull << 8 * size) - 1;
		memcpy(&got, from + at, 8);
		if (got != word)
			return false;
	}
	return true;
}

static bool packet_is(const struct expected *e, uint64_t number, const struct vmbus_ring_packet *p,
		      uint32_t at)
{
	uint64_t trailer;

	memcpy(&trailer, p->start + p->total - VMBUS_PACKET_TRAILER, sizeof(trailer));
	return p->desc.type == VMBUS_PACKET_INBAND && p->desc.transaction_id == number &&
	       p->desc.flags == (number & 1) && p->total == vmbus_ring_packet_size(e->payload) &&
	       p->payload == p->start + 16 + e->offset && trailer == (uint64_t)at << 32 &&
	       payload_is(e, p->start + 16);
}

/* ---- A side ------------------------------------------------------------------------------------- */

static void wake_other(const struct side *side)
{
	uint64_t one = 1;

	if (write(side->other_event, &one, sizeof(one)) != sizeof(one))
		die("eventfd");
}

static void fail(const struct side *side, const char *what, uint64_t number)
{
	printf("side %u: %s at packet %" PRIu64 "\n", side->self, what, number);
	exit(1);
}

static int write_one(struct side *side)
{
	uint8_t content[MAX_PAYLOAD];
	uint64_t number = side->progress->sent;
	struct expected e = packet_of(side, side->self, number);
	struct vmbus_ring_part part[MAX_PARTS];
	uint32_t at = 0;

	payload_make(&e, content);
	for (unsigned int i = 0; i < MAX_PARTS; i++) {
		part[i].data = content + at;
		part[i].size = i + 1 < MAX_PARTS ? draw(side, e.payload - at + 1) : e.payload - at;
		at += part[i].size;
	}
	return vmbus_ring_write(&side->out, VMBUS_PACKET_INBAND, number & 1, number, e.offset, part,
				MAX_PARTS);
}

static void publish(struct side *side)
{
	side->unpublished = 0;
	if (vmbus_ring_publish(&side->out))
		wake_other(side);
}

/* Publish first: the reader can't make room by what it doesn't see. */
static void no_room(struct side *side)
{
	struct expected e = packet_of(side, side->self, side->progress->sent);
	uint32_t total = vmbus_ring_packet_size(e.payload);
	int err;

	side->progress->full++;
	publish(side);
	err = vmbus_ring_await_room(&side->out, total);
	if (err == -EPROTO)
		fail(side, "the read index makes no sense", side->progress->sent);
	side->awaited = err ? total : 0;
}

/* False: nothing more can be sent now. */
static bool send_one(struct side *side)
{
	int err;

	if (side->progress->sent == side->to_send)
		return false;
	err = write_one(side);
	if (err == -EAGAIN) {
		no_room(side);
		return !side->awaited;
	}
	if (err)
		fail(side, "writing failed", side->progress->sent);
	vmbus_ring_stop_awaiting(&side->out);
	side->awaited = 0;
	side->progress->sent++;
	if (++side->unpublished >= side->round->batch || percent(side, 30))
		publish(side);
	return true;
}

static void release(struct side *side, bool force)
{
	if (vmbus_ring_release(&side->in, force))
		wake_other(side);
}

static bool receive_one(struct side *side)
{
	uint64_t number = side->progress->received;
	struct expected e = packet_of(side, 1 - side->self, number);
	struct vmbus_ring_packet packet;
	int got = vmbus_ring_next(&side->in, &packet);

	if (got < 0)
		fail(side, "the ring makes no sense", number);
	if (!got)
		return false;
	if (!packet_is(&e, number, &packet, side->in.read))
		fail(side, "the wrong bytes came", number);
	vmbus_ring_advance(&side->in, &packet);
	side->progress->received++;
	if (!percent(side, side->round->lazy))
		release(side, false);
	return true;
}

static void dawdle(struct side *side)
{
	struct timespec t = { .tv_nsec = draw(side, 1000000) };

	if (side->round->dawdles && !draw(side, side->round->dawdles))
		nanosleep(&t, NULL);
}

static bool can_go_on(struct side *side)
{
	return vmbus_ring_pending(&side->in) || (side->awaited && !vmbus_ring_refresh(&side->out) &&
						 vmbus_ring_room(&side->out) > side->awaited);
}

static void poll_for_a_while(struct side *side)
{
	uint32_t looks = draw(side, 3000);

	if (draw(side, 2))
		vmbus_ring_mask(&side->in);
	while (looks-- && !can_go_on(side)) {
		release(side, false);
		if (looks % 256 == 0)
			sched_yield();
	}
}

static void sleep_for_a_signal(struct side *side)
{
	uint64_t count;

	release(side, true);
	if (vmbus_ring_unmask(&side->in))
		return;
	side->progress->sleeps++;
	if (read(side->own_event, &count, sizeof(count)) != sizeof(count))
		die("eventfd");
	if (draw(side, 2))
		vmbus_ring_mask(&side->in);
}

static void rest(struct side *side)
{
	publish(side);
	dawdle(side);
	if (percent(side, side->round->polls[side->self]))
		poll_for_a_while(side);
	else
		sleep_for_a_signal(side);
}

static void run_side(struct side *side)
{
	while (side->progress->sent < side->to_send || side->progress->received < side->to_receive) {
		bool moved = false;
		uint32_t most = 1 + draw(side, 40);

		while (most-- && receive_one(side))
			moved = true;
		most = 1 + draw(side, 40);
		while (most-- && send_one(side))
			moved = true;
		if (!moved)
			rest(side);
	}
	publish(side);
	release(side, true);
	exit(0);
}

/* ---- Both sides ---------------------------------------------------------------------------------- */

static void ring_map(struct ring_memory *memory)
{
	int fd = memfd_create("ring", MFD_CLOEXEC);
	uint8_t *at;

	if (fd < 0 || ftruncate(fd, VMBUS_PAGE_SIZE + RING_SIZE))
		die("memfd");
	at = mmap(NULL, VMBUS_PAGE_SIZE + 2 * RING_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED ||
	    mmap(at, VMBUS_PAGE_SIZE + RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    MAP_FAILED ||
	    mmap(at + VMBUS_PAGE_SIZE + RING_SIZE, RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, VMBUS_PAGE_SIZE) == MAP_FAILED)
		die("mmap");
	close(fd);
	memory->header = (struct vmbus_ring_header *)(void *)at;
	memory->data = at + VMBUS_PAGE_SIZE;
}

static void set_up(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		ring_map(&ring[i]);
		event[i] = eventfd(0, EFD_CLOEXEC);
		if (event[i] < 0)
			die("eventfd");
	}
	progress =
		mmap(NULL, 2 * sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		die("mmap");
}

static void reset(void)
{
	uint64_t count;

	for (unsigned int i = 0; i < 2; i++) {
		uint64_t one = 1;

		memset(ring[i].header, 0, VMBUS_PAGE_SIZE + RING_SIZE);
		/* Leaves no signal of the round before. */
		if (write(event[i], &one, sizeof(one)) != sizeof(one) ||
		    read(event[i], &count, sizeof(count)) != sizeof(count))
			die("eventfd");
		memset(&progress[i], 0, sizeof(progress[i]));
	}
}

static pid_t start(const struct round *round, uint64_t seed, unsigned int self, uint64_t scale)
{
	struct side side = { .round = round,
			     .seed = seed,
			     .self = self,
			     .to_send = round->packets[self] * scale / 100,
			     .to_receive = round->packets[1 - self] * scale / 100,
			     .own_event = event[self],
			     .other_event = event[1 - self],
			     .progress = &progress[self],
			     .random = mix(seed * 2 + self) };
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	vmbus_ring_out_init(&side.out, ring[self].header, ring[self].data, RING_SIZE);
	vmbus_ring_in_init(&side.in, ring[1 - self].header, ring[1 - self].data, RING_SIZE);
	run_side(&side);
	exit(2);
}

static uint64_t moved_so_far(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < 2; i++)
		sum += __atomic_load_n(&progress[i].sent, __ATOMIC_RELAXED) +
		       __atomic_load_n(&progress[i].received, __ATOMIC_RELAXED);
	return sum;
}

/* Waits for both; kills both when one failed or nothing moves any more. True: both went well. */
static bool watch(const pid_t *pid)
{
	const struct timespec tick = { .tv_nsec = 20000000 };
	unsigned int left = 2, still = 0;
	uint64_t before = 0;
	bool good = true, done[2] = { false, false };

	while (left) {
		for (unsigned int i = 0; i < 2; i++) {
			int status;

			if (done[i] || waitpid(pid[i], &status, good ? WNOHANG : 0) != pid[i])
				continue;
			done[i] = true;
			left--;
			if (good && (!WIFEXITED(status) || WEXITSTATUS(status))) {
				good = false;
				kill(pid[1 - i], SIGKILL);
			}
		}
		nanosleep(&tick, NULL);
		still = moved_so_far() == before ? still + 1 : 0;
		before = moved_so_far();
		if (good && still > STALL_SECONDS * 50) {
			printf("nothing moves: a wake-up was lost\n");
			good = false;
			for (unsigned int i = 0; i < 2; i++)
				if (!done[i])
					kill(pid[i], SIGKILL);
		}
	}
	return good;
}

static bool run_round(const struct round *round, uint64_t seed, uint64_t scale)
{
	pid_t pid[2];
	bool good;

	reset();
	for (unsigned int i = 0; i < 2; i++)
		pid[i] = start(round, seed, i, scale);
	good = watch(pid);
	printf("%s %-22s seed %-6" PRIu64, good ? "ok  " : "FAIL", round->name, seed);
	for (unsigned int i = 0; i < 2; i++)
		printf("  side %u: %" PRIu64 " sent, %" PRIu64 " received, %" PRIu64 " sleeps, %" PRIu64
		       " times full",
		       i, progress[i].sent, progress[i].received, progress[i].sleeps, progress[i].full);
	printf("\n");
	return good;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t scale = argc > 2 ? strtoull(argv[2], NULL, 0) : 100;
	int failed = 0;

	set_up();
	for (size_t i = 0; i < ROUNDS; i++)
		if (!run_round(&rounds[i], seed + i, scale))
			failed++;
	return failed ? 1 : 0;
}
