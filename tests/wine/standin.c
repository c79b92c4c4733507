/* SPDX-License-Identifier: MIT */
/* Loading, findings, settings, and what the driver holds. */
#include "standin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER_VARIABLE "WINAPI_WINE_RUN="
#define MAX_FINDINGS 200u

/* ---- Log and findings --------------------------------------------------------------------------------- */

static struct lx_lock findings_lock;
static char findings[MAX_FINDINGS][160];
static uint32_t found, taken;
static int log_fd = -1;

static void write_log(const char *kind, const char *text)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "%s: %s\n", kind, text);

	lx_write(log_fd, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

void note(const char *format, ...)
{
	char text[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	write_log("note", text);
}

void fault(const char *format, ...)
{
	char text[160];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	write_log("FINDING", text);
	lx_lock(&findings_lock);
	if (found < MAX_FINDINGS)
		memcpy(findings[found], text, sizeof(text));
	found++;
	lx_unlock(&findings_lock);
}

size_t fault_take(char *text, size_t room)
{
	size_t at = 0;

	lx_lock(&findings_lock);
	for (; taken < found && at + 200 < room; taken++)
		at += (size_t)snprintf(text + at, room - at, "%s\n",
				       taken < MAX_FINDINGS ? findings[taken] : "and more");
	lx_unlock(&findings_lock);
	return at;
}

/* ---- Failures ----------------------------------------------------------------------------------------- */

struct settings settings;
static uint32_t seen;

uint32_t allocations_seen(void)
{
	return __atomic_load_n(&seen, __ATOMIC_RELAXED);
}

void allocations_restart(void)
{
	__atomic_store_n(&seen, 0, __ATOMIC_RELAXED);
}

bool must_fail(const char *what)
{
	bool now = __atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED) ==
		   __atomic_load_n(&settings.fail_at, __ATOMIC_RELAXED);

	if (now)
		note("%s fails, allocation %u", what, settings.fail_at);
	return now;
}

bool misuse(enum misuse what)
{
	return __atomic_load_n(&settings.misuse, __ATOMIC_RELAXED) == what;
}

KIRQL misuse_level(enum misuse what)
{
	return misuse(what) ? DISPATCH_LEVEL : PASSIVE_LEVEL;
}

/* ---- Holdings ----------------------------------------------------------------------------------------- */

const char *const held_names[HELD_KINDS] = {
	[HELD_POOL] = "pool",
	[HELD_POOL_BYTES] = "pool_bytes",
	[HELD_MDL] = "mdls",
	[HELD_MAPPING] = "mappings",
	[HELD_GPADL] = "gpadls",
	[HELD_PACKET] = "packets",
	[HELD_CHANNEL] = "channels",
	[HELD_HANDLE] = "handles",
	[HELD_REFERENCE] = "references",
	[HELD_THREAD] = "threads",
	[HELD_IRP] = "irps",
	[HELD_DEVICE] = "devices",
	[HELD_LINK] = "links",
	[HELD_ETW] = "etw",
};
static int64_t holdings[HELD_KINDS];

void hold(enum held what, int64_t change)
{
	__atomic_add_fetch(&holdings[what], change, __ATOMIC_RELAXED);
}

int64_t held(enum held what)
{
	return __atomic_load_n(&holdings[what], __ATOMIC_RELAXED);
}

void held_forget(void)
{
	memset(holdings, 0, sizeof(holdings));
}

/* ---- Loading ------------------------------------------------------------------------------------------ */

/* The test's folder, from the Linux environment that Wine hands on. */
static bool find_folder(char *folder, size_t room)
{
	static char environment[65536];
	const size_t length = strlen(FOLDER_VARIABLE);
	int fd = lx_open_read("/proc/self/environ");
	long long size = 0, n;

	while (fd >= 0 && size < (long long)sizeof(environment) - 1 &&
	       (n = lx_read(fd, environment + size, sizeof(environment) - 1 - (size_t)size)) > 0)
		size += n;
	lx_close(fd);
	for (const char *at = environment; at < environment + size; at += strlen(at) + 1)
		if (!strncmp(at, FOLDER_VARIABLE, length))
			return snprintf(folder, room, "%s", at + length) < (int)room;
	return false;
}

static bool start(void)
{
	char folder[80], path[108];

	if (!find_folder(folder, sizeof(folder)))
		return false;
	snprintf(path, sizeof(path), "%s/standin.log", folder);
	log_fd = lx_open_append(path);
	if (!irql_start() || !shims_start())
		return false;
	snprintf(path, sizeof(path), "%s/vms", folder);
	if (!vms_start(path))
		return false;
	/* The last one: a test waits for it. */
	snprintf(path, sizeof(path), "%s/control", folder);
	return control_start(path);
}

int NTAPI DllMain(void *module, ULONG reason, void *reserved);
int NTAPI DllMain(void *module, ULONG reason, void *reserved)
{
	void *pinned;

	(void)module;
	(void)reserved;
	if (reason != 1 /* process attach */)
		return 1;
	return GetModuleHandleExA(WIN32_MODULE_PIN_FROM_ADDRESS, (const void *)(uintptr_t)DllMain, &pinned) &&
	       start();
}
