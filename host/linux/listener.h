/* SPDX-License-Identifier: MIT */
/* The daemon's Unix socket: its own, or systemd's (LISTEN_FDS, as sd_listen_fds(3) describes). */
#ifndef HOSTD_LISTENER_H
#define HOSTD_LISTENER_H

#include "config.h"

/* A listening descriptor, or -errno after saying what is wrong. *ours: unlink the path at the end. */
int listener_open(const struct hostd_config *config, bool *ours);

#endif /* HOSTD_LISTENER_H */
