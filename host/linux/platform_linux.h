/* SPDX-License-Identifier: MIT */
/* Threads and CPUs, for the daemon's own use. */
#ifndef HOSTD_PLATFORM_LINUX_H
#define HOSTD_PLATFORM_LINUX_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* CPUs that this process may run on. */
unsigned int platform_cpus(void);
/* Have this process and its peer only one CPU between them? Then polling keeps the peer from running. */
bool platform_shares_one_cpu(pid_t peer);
/* A thread with a small stack: a daemon with many guests shouldn't pay for megabytes. 0 or -errno. */
int platform_thread(pthread_t *thread, void *(*run)(void *), void *argument);

/* Until no worker does anything: what they post to may go away after that. */
void platform_wait_for_workers(void);

#endif /* HOSTD_PLATFORM_LINUX_H */
