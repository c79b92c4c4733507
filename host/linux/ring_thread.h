/* SPDX-License-Identifier: MIT */
/*
 * A ring thread: serves the guests that it was given, alone. It polls the rings of channels with
 * recent traffic, and sleeps in epoll when polling no longer pays.
 */
#ifndef HOSTD_RING_THREAD_H
#define HOSTD_RING_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"

struct device;
struct guest;
struct hostd;

/* Something to be done on the thread, posted by any other. The memory is the poster's until it ran. */
struct task {
	struct task *next;
	void (*run)(struct task *task);
};

/* What an epoll event means. */
struct source {
	void (*ready)(struct source *source, uint32_t events);
};

struct ring_thread {
	struct hostd *hostd;
	pthread_t thread;
	int epoll;
	int wake; /* eventfd */
	struct source wake_source;
	enum hostd_poll poll;
	uint32_t guest_count; /* atomic */

	struct wp_lock inbox_lock;
	struct task *inbox;
	struct task **inbox_last;
	uint32_t asleep; /* atomic: posters must write to `wake` */
	bool stopping;

	/* the thread's own */
	struct guest *guests;
	struct device *active; /* polled */
	struct task *graveyard; /* what events at hand may still name: run after them */
	uint64_t idle_since_ns; /* 0: the last turn found something */
	uint64_t looked_ns; /* when epoll was last asked */
	uint32_t idle_turns;
	uint32_t busy_turns;
	uint64_t gap_ns; /* smoothed time from one request to the next */
};

int ring_thread_init(struct ring_thread *thread, struct hostd *hostd, enum hostd_poll poll);
void ring_thread_free(struct ring_thread *thread);
/* Any thread. */
void ring_thread_post(struct ring_thread *thread, struct task *task);
/* The thread's own: runs the task after the events at hand. */
void ring_thread_bury(struct ring_thread *thread, struct task *task);
int ring_thread_watch(struct ring_thread *thread, int fd, uint32_t events, struct source *source);

/* One turn without sleeping: tasks and rings. True: it found something to do. */
bool ring_thread_turn(struct ring_thread *thread);
/* The same with a look at the sockets. */
bool ring_thread_step(struct ring_thread *thread);
/* Until `stopping` is set and the last guest is gone. */
void *ring_thread_run(void *thread);

#endif /* HOSTD_RING_THREAD_H */
