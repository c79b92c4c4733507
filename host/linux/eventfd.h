/* SPDX-License-Identifier: MIT */
/*
 * Eventfds that a peer gave us. It keeps a copy, and with it the flag O_NONBLOCK and the counter: it can fill
 * the counter and have the next write block. So writing is watched by a timer.
 */
#ifndef HOSTD_EVENTFD_H
#define HOSTD_EVENTFD_H

#include <stdbool.h>

/* Prepares the process. 0 or -errno. */
int eventfd_install(void);
/* Is it one? Anything else may do anything when written, and may keep other files open (a socket its own). */
bool eventfd_check(int fd);
/* Adds 1, from any thread. 0, or -errno: no use to write to it again. A full counter, being readable, is fine. */
int eventfd_signal(int fd);

#endif /* HOSTD_EVENTFD_H */
