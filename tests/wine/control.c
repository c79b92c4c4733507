/* SPDX-License-Identifier: MIT */
/*
 * The control socket: a record is a command, and so is its answer.
 *
 *	set NAME VALUE	a setting: settings_names below
 *	held		what the driver holds, "name count" a line, and "vms": how many there are
 *	findings	those since the last time, a line each
 *	events		ETW's, likewise
 *	forget		what a driver held that has gone
 *	vms		the numbers of the VMs that wait for their offer
 *	allocations	how many could have failed since the last "set fail_at"
 *	refuse N	no offer will come for that VM
 *	watch		from now on the VMs that come and go: "arrived N", "gone N", to all who watch
 *	race N ROUNDS	runs race.c on VM N: "ok:" and what was seen, or what was wrong
 *	waiting		"arrived N" once more for each that waits for its offer
 */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etw.h"

#define ROOM 60000u
#define MAX_WATCHERS 8u

static const struct {
	const char *name;
	uint32_t *value;
} settings_names[] = {
	{ "fail_at", &settings.fail_at },
	{ "pend", &settings.pend },
	{ "late", &settings.late },
	{ "mdl_pages", &settings.mdl_pages },
	{ "no_pool2", &settings.no_pool2 },
	{ "suspend_at", &settings.suspend_at },
	{ "hold_close", &settings.hold_close },
	{ "poll_always", &settings.poll_always },
	{ "long_chain", &settings.long_chain },
	{ "impatient", &settings.impatient },
	{ "no_gpadl", &settings.no_gpadl },
	{ "misuse", &settings.misuse },
};

static struct lx_lock watchers_lock;
static int watchers[MAX_WATCHERS];

void control_tell(const char *what, unsigned int number)
{
	char text[40];
	int n = snprintf(text, sizeof(text), "%s %u", what, number);

	lx_lock(&watchers_lock);
	for (unsigned int i = 0; i < MAX_WATCHERS; i++) {
		if (watchers[i] > 0 && lx_send(watchers[i], text, (size_t)n, -1) < 0) {
			lx_close(watchers[i]);
			watchers[i] = 0;
		}
	}
	lx_unlock(&watchers_lock);
}

static size_t watch(int fd)
{
	lx_lock(&watchers_lock);
	for (unsigned int i = 0; i < MAX_WATCHERS; i++) {
		if (watchers[i])
			continue;
		watchers[i] = lx_dup(fd);
		break;
	}
	lx_unlock(&watchers_lock);
	return 0;
}

static size_t set(const char *arguments, char *answer)
{
	char name[20];
	unsigned int value;

	if (sscanf(arguments, "%19s %u", name, &value) != 2)
		return (size_t)sprintf(answer, "set NAME VALUE\n");
	for (unsigned int i = 0; i < sizeof(settings_names) / sizeof(settings_names[0]); i++) {
		if (strcmp(settings_names[i].name, name))
			continue;
		if (settings_names[i].value == &settings.fail_at)
			allocations_restart();
		__atomic_store_n(settings_names[i].value, value, __ATOMIC_RELAXED);
		vms_changed();
		return (size_t)sprintf(answer, "ok\n");
	}
	return (size_t)sprintf(answer, "no such setting\n");
}

static size_t run_race(const char *arguments, char *answer)
{
	unsigned int vm, rounds;

	if (sscanf(arguments, "%u %u", &vm, &rounds) != 2 || !vm_handle(vm))
		return (size_t)sprintf(answer, "race N ROUNDS\n");
	race(vm_handle(vm), rounds, answer, ROOM);
	return strlen(answer);
}

static size_t tell_held(char *answer)
{
	size_t at = 0;

	for (unsigned int i = 0; i < HELD_KINDS; i++)
		at += (size_t)sprintf(answer + at, "%s %lld\n", held_names[i], (long long)held((enum held)i));
	return at + (size_t)sprintf(answer + at, "vms %u\n", vms_count());
}

/* 0: no answer. */
static size_t obey(int fd, const char *command, char *answer)
{
	if (!strncmp(command, "set ", 4))
		return set(command + 4, answer);
	if (!strcmp(command, "held"))
		return tell_held(answer);
	if (!strcmp(command, "findings"))
		return fault_take(answer, ROOM - 1) + (size_t)(answer[0] ? 0 : sprintf(answer, "\n"));
	if (!strcmp(command, "events"))
		return etw_take(answer, ROOM - 1) + (size_t)(answer[0] ? 0 : sprintf(answer, "\n"));
	if (!strcmp(command, "forget")) {
		held_forget();
		return (size_t)sprintf(answer, "ok\n");
	}
	if (!strcmp(command, "vms"))
		return vms_waiting(answer, ROOM - 1) + (size_t)(answer[0] ? 0 : sprintf(answer, "\n"));
	if (!strcmp(command, "allocations"))
		return (size_t)sprintf(answer, "%u\n", allocations_seen());
	if (!strncmp(command, "race ", 5))
		return run_race(command + 5, answer);
	if (!strcmp(command, "watch"))
		return watch(fd);
	if (!strcmp(command, "waiting")) {
		vms_announce();
		return 0;
	}
	if (!strncmp(command, "refuse ", 7)) {
		vm_refuse((unsigned int)strtoul(command + 7, NULL, 10));
		return 0;
	}
	return (size_t)sprintf(answer, "no such command\n");
}

static ULONG NTAPI serve(void *argument)
{
	struct lx_pollfd readable = { (int)(intptr_t)argument, LX_POLLIN, 0 };
	char *answer = malloc(ROOM), command[80];
	long long n = 1;
	int passed;
	bool odd;

	while (answer && n > 0) {
		size_t size;

		lx_poll(&readable, 1, -1);
		n = lx_receive(readable.fd, command, sizeof(command) - 1, &passed, &odd);
		if (n == -11 /* -EAGAIN */)
			n = 1;
		else if (n > 0 && n < (long long)sizeof(command)) {
			command[n] = '\0';
			answer[0] = '\0';
			size = obey(readable.fd, command, answer);
			if (size)
				lx_send(readable.fd, answer, size, -1);
		}
	}
	free(answer);
	lx_close(readable.fd);
	return 0;
}

static ULONG NTAPI accept_run(void *argument)
{
	for (;;) {
		int fd = lx_accept((int)(intptr_t)argument);

		if (fd >= 0)
			CloseHandle(CreateThread(NULL, 0, serve, (void *)(intptr_t)fd, 0, NULL));
	}
	return 0;
}

bool control_start(const char *path)
{
	int fd = lx_listen(path);
	HANDLE thread = fd >= 0 ? CreateThread(NULL, 0, accept_run, (void *)(intptr_t)fd, 0, NULL) : NULL;

	if (thread)
		CloseHandle(thread);
	return thread;
}
