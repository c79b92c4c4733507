/* SPDX-License-Identifier: MIT */
/*
 * A steady small call, both sides polling, makes no system call and no allocation in the caller. The
 * system calls are caught by a seccomp filter, the allocations by malloc of our own. One system call in a
 * thousand calls is let pass: who has polled for 10 ms, as the host wasn't running, looks whether it lives.
 *
 * Usage: steady [CALLS]. With CALLS it only makes that many calls, for steady.py, which counts the
 * host's system calls from outside.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "winapi.h"

#define WARM_UP 20000
#define STEADY 100000
#define LOOK_NS 10000000u /* a call that waits longer, as for a CPU, looks whether the host lives */

static unsigned long allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations++;
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	allocations++;
	return __libc_realloc(old, size);
}

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

static unsigned long system_calls;
static unsigned long looks; /* at the socket */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* As if the call had found nothing to do. */
static void on_system_call(int signal, siginfo_t *info, void *context)
{
	ucontext_t *machine = context;

	(void)signal;
	if (info->si_syscall == SYS_recvmsg)
		looks++;
	else
		system_calls++;
	machine->uc_mcontext.gregs[REG_RAX] = -EAGAIN;
}

/*
 * From here on anything but exit_group, the return from the handler and this program's own output is counted and not
 * done. A signal to the host is a write, too, to another descriptor.
 */
static int forbid_system_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, STDOUT_FILENO, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
	struct sigaction action = { .sa_sigaction = on_system_call, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int echoes(struct winapi *handle, unsigned long count)
{
	char in[64], out[64];

	memset(in, 0x5a, sizeof(in));
	for (unsigned long i = 0; i < count; i++)
		if (winapi_echo(handle, in, out, sizeof(in)))
			return -1;
	return memcmp(in, out, sizeof(in)) ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle;
	unsigned long before;
	bool good, quiet;
	uint64_t begin;

	options.poll = WINAPI_POLL_ALWAYS;
	if (winapi_open(&handle, "local:", &options)) {
		fprintf(stderr, "%s\n", winapi_error_message());
		return 1;
	}
	if (argc > 1) {
		int failed = echoes(handle, strtoul(argv[1], NULL, 10));

		winapi_close(handle);
		return failed ? 1 : 0;
	}

	say("1..2\n");
	if (echoes(handle, WARM_UP) || forbid_system_calls())
		return 1;
	before = allocations;
	begin = now_ns();
	if (echoes(handle, STEADY))
		_exit(1);
	good = allocations == before;
	quiet = system_calls * 1000 <= STEADY && looks <= (now_ns() - begin) / LOOK_NS;
	say(good ? "ok 1 - no allocation in a steady call\n" : "not ok 1 - no allocation in a steady call\n");
	say(quiet ? "ok 2 - no system call in a steady call\n" :
		    "not ok 2 - no system call in a steady call\n");
	_exit(good && quiet ? 0 : 1);
}
