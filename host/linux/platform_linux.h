/* SPDX-License-Identifier: MIT */
/* Threads and CPUs, for the daemon's own use. */
#ifndef HOSTD_PLATFORM_LINUX_H
#define HOSTD_PLATFORM_LINUX_H

#include <pthread.h>

/* CPUs that this process may run on. */
unsigned int platform_cpus(void);
/* A thread with a small stack: a daemon with many guests shouldn't pay for megabytes. 0 or -errno. */
int platform_thread(pthread_t *thread, void *(*run)(void *), void *argument);

#endif /* HOSTD_PLATFORM_LINUX_H */
