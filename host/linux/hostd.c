/* SPDX-License-Identifier: MIT */
#include "hostd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "eventfd.h"
#include "guest.h"
#include "platform_linux.h"

static unsigned int thread_count(unsigned int asked)
{
	unsigned int count = asked ? asked : platform_cpus();

	return count < HOSTD_MAX_THREADS ? count : HOSTD_MAX_THREADS;
}

struct hostd *hostd_create(const struct hostd_config *config, unsigned int threads)
{
	struct hostd *hostd = calloc(1, sizeof(*hostd));
	struct wp_config core = { .limits = config->provider };

	if (!hostd)
		return NULL;
	hostd->config = *config;
	guest_mappings_init(&hostd->mappings);
	snprintf(core.name, sizeof(core.name), "winapi-hostd %s", WINAPI_VERSION);
	hostd->gone = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	hostd->provider = wp_provider_create(&core);
	if (hostd->gone < 0 || !hostd->provider || guard_install() || eventfd_install())
		goto fail;
	for (unsigned int i = 0; i < thread_count(threads); i++) {
		if (ring_thread_init(&hostd->thread[i], hostd, config->poll))
			goto fail;
		hostd->thread_count++;
	}
	return hostd;
fail:
	hostd_destroy(hostd);
	return NULL;
}

void hostd_destroy(struct hostd *hostd)
{
	for (unsigned int i = 0; i < hostd->thread_count; i++)
		ring_thread_free(&hostd->thread[i]);
	if (hostd->provider)
		wp_provider_destroy(hostd->provider);
	if (hostd->gone >= 0)
		close(hostd->gone);
	free(hostd);
}

int hostd_start(struct hostd *hostd)
{
	for (unsigned int i = 0; i < hostd->thread_count; i++) {
		int err = platform_thread(&hostd->thread[i].thread, ring_thread_run, &hostd->thread[i]);

		if (err)
			return err;
	}
	hostd->running = true;
	return 0;
}

static struct ring_thread *least_loaded(struct hostd *hostd)
{
	struct ring_thread *best = &hostd->thread[0];

	for (unsigned int i = 1; i < hostd->thread_count; i++)
		if (__atomic_load_n(&hostd->thread[i].guest_count, __ATOMIC_RELAXED) <
		    __atomic_load_n(&best->guest_count, __ATOMIC_RELAXED))
			best = &hostd->thread[i];
	return best;
}

int hostd_add_guest(struct hostd *hostd, int fd)
{
	struct wp_identity identity = { .known = true };
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
		int err = -errno;

		close(fd);
		return err;
	}
	if (__atomic_load_n(&hostd->clients, __ATOMIC_RELAXED) >= hostd->config.max_clients) {
		wp_log(WP_LOG_WARNING, "a client of uid %u is turned away: %u are served already", peer.uid,
		       hostd->config.max_clients);
		close(fd);
		return -EUSERS;
	}
	identity.uid = peer.uid;
	identity.gid = peer.gid;
	identity.pid = (uint32_t)peer.pid;
	__atomic_fetch_add(&hostd->clients, 1, __ATOMIC_RELAXED);
	if (guest_start(least_loaded(hostd), fd, &identity, config_trusts(&hostd->config, peer.uid),
			++hostd->last_number))
		return 0;
	__atomic_fetch_sub(&hostd->clients, 1, __ATOMIC_RELAXED);
	return -ENOMEM;
}

void hostd_guest_gone(struct hostd *hostd)
{
	static const uint64_t one = 1;

	__atomic_fetch_sub(&hostd->clients, 1, __ATOMIC_RELAXED);
	if (write(hostd->gone, &one, sizeof(one)) < 0)
		return; /* full: it is readable anyway */
}

bool hostd_step(struct hostd *hostd)
{
	return ring_thread_step(&hostd->thread[0]);
}

bool hostd_poll_rings(struct hostd *hostd)
{
	return ring_thread_turn(&hostd->thread[0]);
}

/* ---- The end ------------------------------------------------------------------------------------------ */

struct end_task {
	struct task task;
	struct ring_thread *thread;
	enum { END_DRAIN, END_RESCIND, END_DROP } what;
};

static void end_now(struct task *task)
{
	struct end_task *end = (struct end_task *)task;
	struct guest *guest, *next;

	for (guest = end->thread->guests; guest; guest = next) {
		next = guest->next;
		if (end->what == END_DRAIN)
			guest->device.draining = true;
		else if (end->what == END_RESCIND && guest->fd >= 0 && guest->server)
			device_rescind(&guest->device);
		else if (end->what == END_DROP)
			guest_drop(guest);
	}
	/* By a task of its own, so that none is posted to a thread that has ended. */
	if (end->what == END_DROP)
		end->thread->stopping = true;
	free(end);
}

static void tell_threads(struct hostd *hostd, int what)
{
	for (unsigned int i = 0; i < hostd->thread_count; i++) {
		struct end_task *end = malloc(sizeof(*end));

		if (!end)
			abort();
		end->task.run = end_now;
		end->thread = &hostd->thread[i];
		end->what = what;
		ring_thread_post(end->thread, &end->task);
	}
}

static bool calls_in_flight(struct hostd *hostd)
{
	struct winapi_provider_stats totals;

	wp_provider_totals(hostd->provider, &totals);
	return totals.channel_in_flight;
}

static bool guests_there(struct hostd *hostd)
{
	return __atomic_load_n(&hostd->clients, __ATOMIC_RELAXED);
}

/* Until `condition` is false, at most `ms`. */
static void wait_while(struct hostd *hostd, bool (*condition)(struct hostd *hostd), unsigned int ms)
{
	for (unsigned int waited = 0; waited < ms && condition(hostd); waited += 5)
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

static void join(struct hostd *hostd)
{
	tell_threads(hostd, END_DROP);
	for (unsigned int i = 0; i < hostd->thread_count; i++)
		pthread_join(hostd->thread[i].thread, NULL);
	/* A worker's last word let a guest go; the worker itself may still be on its way out. */
	platform_wait_for_workers();
}

void hostd_stop(struct hostd *hostd, unsigned int grace_ms)
{
	if (!hostd->running)
		return;
	tell_threads(hostd, END_DRAIN);
	wait_while(hostd, calls_in_flight, grace_ms);
	tell_threads(hostd, END_RESCIND);
	wait_while(hostd, guests_there, grace_ms ? 500 : 0);
	join(hostd);
}
