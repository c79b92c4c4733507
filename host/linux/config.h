/* SPDX-License-Identifier: MIT */
/* The daemon's configuration: built-in values, then the file, then the command line. */
#ifndef HOSTD_CONFIG_H
#define HOSTD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../provider/provider.h"
#include "../vmbus/vmbus_server.h"

#define HOSTD_DEFAULT_CONFIG "/etc/winapi/hostd.conf"
#define HOSTD_DEFAULT_SOCKET "/run/winapi/hostd.sock"
#define HOSTD_MAX_VMM_UIDS 16u

enum hostd_poll {
	HOSTD_POLL_ADAPTIVE,
	HOSTD_POLL_ALWAYS,
	HOSTD_POLL_NEVER,
};

struct hostd_config {
	char socket[100]; /* sun_path, less what listener.c adds */
	char group[64]; /* that owns the socket; empty: the daemon's own */
	mode_t mode;
	enum hostd_poll poll;
	enum wp_log_level log_level;
	uint32_t max_clients;
	uint32_t max_regions; /* of one guest */
	uint64_t max_region_bytes; /* sum over one guest's */
	struct wp_limits provider;
	struct vmbus_limits vmbus;
	uid_t vmm_uids[HOSTD_MAX_VMM_UIDS]; /* peers that own real VMs */
	unsigned int vmm_uid_count;
};

void config_defaults(struct hostd_config *config);
/* 0, -EINVAL after saying what is wrong and where, or why the file can't be read: -ENOENT when there is none. */
int config_load(struct hostd_config *config, const char *path);
bool config_parse_poll(const char *name, enum hostd_poll *poll);
bool config_trusts(const struct hostd_config *config, uid_t uid);

#endif /* HOSTD_CONFIG_H */
