/* SPDX-License-Identifier: MIT */
/* The daemon: a provider, its ring threads, and the guests on them. */
#ifndef HOSTD_HOSTD_H
#define HOSTD_HOSTD_H

#include "config.h"
#include "guest_memory.h"
#include "ring_thread.h"

#define HOSTD_MAX_THREADS 4u

struct hostd {
	struct hostd_config config;
	struct wp_provider *provider;
	struct guest_mappings mappings;
	struct ring_thread thread[HOSTD_MAX_THREADS];
	unsigned int thread_count;
	bool running; /* the threads were started */
	unsigned int last_number; /* of guests */
	uint32_t clients; /* atomic */
	int gone; /* eventfd, readable after a guest went */
};

/* Makes ready, starts no thread. At most `threads` ring threads; 0: as many as there are CPUs. */
struct hostd *hostd_create(const struct hostd_config *config, unsigned int threads);
int hostd_start(struct hostd *hostd);
/* Serves the guest at the other end of a connected vmbus-user socket, which it takes. 0 or -errno. */
int hostd_add_guest(struct hostd *hostd, int fd);
/* One turn of the only ring thread, without sleeping, for a harness that starts no thread. */
bool hostd_step(struct hostd *hostd);
/* The same for the rings alone: no look at sockets. */
bool hostd_poll_rings(struct hostd *hostd);
/*
 * The end: no new calls, those that run get `grace_ms` to finish, every offer is taken back, then every
 * guest is dropped. The threads have ended when it returns.
 */
void hostd_stop(struct hostd *hostd, unsigned int grace_ms);
void hostd_destroy(struct hostd *hostd);
void hostd_guest_gone(struct hostd *hostd);

#endif /* HOSTD_HOSTD_H */
