/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

void config_defaults(struct hostd_config *config)
{
	*config = (struct hostd_config){
		.socket = HOSTD_DEFAULT_SOCKET,
		.mode = 0660,
		.log_level = WP_LOG_INFO,
		.max_clients = 4096,
		.max_regions = 256,
		.max_region_bytes = 2ull << 30,
	};
}

bool config_trusts(const struct hostd_config *config, uid_t uid)
{
	for (unsigned int i = 0; i < config->vmm_uid_count; i++)
		if (config->vmm_uids[i] == uid)
			return true;
	return false;
}

/* ---- Values ----------------------------------------------------------------------------------------- */

/* A number with an optional K, M or G behind it. */
static bool parse_size(const char *text, uint64_t *value)
{
	char *end;
	unsigned int shift = 0;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end == 'K' || *end == 'M' || *end == 'G')
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30;
	if (shift)
		end++;
	if (*end || *value > UINT64_MAX >> shift)
		return false;
	*value <<= shift;
	return true;
}

bool config_parse_poll(const char *name, enum hostd_poll *poll)
{
	static const char *const names[] = { "adaptive", "always", "never" };

	for (unsigned int i = 0; i < 3; i++) {
		if (!strcmp(names[i], name)) {
			*poll = (enum hostd_poll)i;
			return true;
		}
	}
	return false;
}

static bool parse_mode(const char *text, mode_t *mode)
{
	char *end;
	unsigned long value = strtoul(text, &end, 8);

	*mode = (mode_t)value;
	return *text && !*end && value <= 0777;
}

static bool parse_text(const char *text, char *out, size_t size)
{
	return snprintf(out, size, "%s", text) < (int)size;
}

static bool parse_uids(const char *text, struct hostd_config *config)
{
	const char *at = text;

	config->vmm_uid_count = 0;
	while (*at) {
		char *end;
		unsigned long uid = strtoul(at, &end, 10);

		if (end == at || uid >= UINT32_MAX || config->vmm_uid_count == HOSTD_MAX_VMM_UIDS)
			return false;
		config->vmm_uids[config->vmm_uid_count++] = (uid_t)uid;
		at = end + strspn(end, " ,");
		if (at == end && *at)
			return false;
	}
	return true;
}

/* ---- Keys ------------------------------------------------------------------------------------------- */

enum kind { TEXT, MODE, POLL, LEVEL, COUNT, SIZE, UIDS };

#define AT(member) offsetof(struct hostd_config, member), sizeof(((struct hostd_config *)0)->member)

static const struct key {
	const char *section;
	const char *name;
	enum kind kind;
	size_t at;
	size_t size;
	const char *allowed;
	uint64_t most; /* 0: whatever fits */
} keys[] = {
	{ "daemon", "socket", TEXT, AT(socket), "a path of at most 99 characters", 0 },
	{ "daemon", "group", TEXT, AT(group), "a group's name", 0 },
	{ "daemon", "mode", MODE, AT(mode), "octal permissions such as 0660", 0 },
	{ "daemon", "poll", POLL, AT(poll), "adaptive, always or never", 0 },
	{ "daemon", "log_level", LEVEL, AT(log_level), "error, warning, info or debug", 0 },
	{ "limits", "clients", COUNT, AT(max_clients), "a number", 0 },
	{ "limits", "regions", COUNT, AT(max_regions), "a number", 0 },
	{ "limits", "region_bytes", SIZE, AT(max_region_bytes), "bytes, or with K, M or G", 0 },
	{ "limits", "in_flight", COUNT, AT(provider.max_in_flight), "a number of at most 16384",
	  WP_MAX_IN_FLIGHT },
	{ "limits", "sessions", COUNT, AT(provider.max_sessions), "a number of at most 65536", WP_MAX_TABLE },
	{ "limits", "buffers", COUNT, AT(provider.max_buffers), "a number of at most 65536", WP_MAX_TABLE },
	{ "limits", "bytes", SIZE, AT(provider.max_bytes), "bytes, or with K, M or G", 0 },
	{ "limits", "buffer_size", SIZE, AT(provider.max_buffer_size), "at most 64M",
	  WINAPI_MAX_BUFFER_SIZE },
	{ "limits", "gpadls", COUNT, AT(vmbus.max_gpadls), "a number", 0 },
	{ "limits", "gpadl_bytes", SIZE, AT(vmbus.max_gpadl_bytes), "bytes, or with K, M or G", 0 },
	{ "trust", "vmm_uids", UIDS, AT(vmm_uids), "user ids with commas between them", 0 },
};

/* 0: the built-in value. */
static bool set_limit(struct hostd_config *config, const struct key *key, const char *text)
{
	char *to = (char *)config + key->at;
	struct hostd_config built_in;
	uint32_t narrow;
	uint64_t value;

	if (!parse_size(text, &value) || (key->most && value > key->most) ||
	    (key->kind == COUNT && value > UINT32_MAX))
		return false;
	narrow = (uint32_t)value;
	memcpy(to, key->kind == COUNT ? (void *)&narrow : (void *)&value, key->size);
	if (!value) {
		config_defaults(&built_in);
		memcpy(to, (char *)&built_in + key->at, key->size);
	}
	return true;
}

static bool set(struct hostd_config *config, const struct key *key, const char *value)
{
	void *to = (char *)config + key->at;

	switch (key->kind) {
	case TEXT:
		return parse_text(value, to, key->size);
	case MODE:
		return parse_mode(value, to);
	case POLL:
		return config_parse_poll(value, to);
	case LEVEL:
		return log_level_parse(value, to);
	case COUNT:
	case SIZE:
		return set_limit(config, key, value);
	case UIDS:
		return parse_uids(value, config);
	}
	return false;
}

struct parse {
	struct hostd_config *config;
	bool told;
};

/* What inih calls for each line "name = value"; 0 ends up as the line's number from ini_parse. */
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
	struct parse *parse = user;

	if (parse->told)
		return 0;
	for (unsigned int i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(keys[i].section, section) || strcmp(keys[i].name, name))
			continue;
		if (set(parse->config, &keys[i], value))
			return 1;
		wp_log(WP_LOG_ERROR, "[%s] %s = %s: must be %s", section, name, value, keys[i].allowed);
		parse->told = true;
		return 0;
	}
	wp_log(WP_LOG_ERROR, "[%s] %s: no such key; winapi-hostd.conf(5) lists them", section, name);
	parse->told = true;
	return 0;
}

int config_load(struct hostd_config *config, const char *path)
{
	struct parse parse = { .config = config };
	FILE *file = fopen(path, "re");
	int line;

	if (!file)
		return -errno;
	line = ini_parse_file(file, on_pair, &parse);
	if (!line && ferror(file)) {
		fclose(file);
		return -EIO;
	}
	fclose(file);
	if (line) {
		wp_log(WP_LOG_ERROR, "%s:%d: can't be used%s", path, line,
		       parse.told ? "" : ": not a [section] and no \"key = value\"");
		return -EINVAL;
	}
	return 0;
}
