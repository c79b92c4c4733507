/* SPDX-License-Identifier: MIT */
/*
 * Counts how often the CPUs leave the guest for KVM, and KVM for the VMM, while calls are made. The VMM's ports tell;
 * reading one is an exit itself, which is taken off. Run as root, and write nothing meanwhile: the console exits, too.
 */
#include <fcntl.h>
#include <sys/io.h>
#include <unistd.h>

#include "../vmm/ports.h"
#include "guest.h"

#define CALLS 1000u
#define PING "/sys/kernel/debug/winapi/winapi/ping"

static int call_often(int fd)
{
	int err = 0;

	for (unsigned int i = 0; i < CALLS && !err; i++)
		err = echo(fd);
	return err;
}

/* As many of the driver's own, which never leave the kernel. */
static int ping_often(int fd)
{
	char count[16];
	int size = snprintf(count, sizeof(count), "%u", CALLS), err;

	(void)fd;
	fd = open(PING, O_WRONLY);
	err = fd >= 0 && write(fd, count, (size_t)size) == size ? 0 : -errno;
	close(fd);
	return err;
}

struct cost {
	unsigned int exits; /* to the VMM */
	unsigned int kvm_exits;
	double us; /* each */
};

static struct cost cost_of(int (*act)(int fd), int fd, const char *what)
{
	uint64_t begin;
	struct cost c;
	int err;

	sleep(1); /* what else the guest had to say has been said */
	c.kvm_exits = inl(PORT_KVM_EXITS);
	c.exits = inl(PORT_EXITS);
	begin = now_ms();
	err = act(fd);
	c.us = (double)(now_ms() - begin) * 1000 / CALLS;
	c.exits = inl(PORT_EXITS) - c.exits - 1;
	c.kvm_exits = inl(PORT_KVM_EXITS) - c.kvm_exits - 3;
	check_error(err, 0, "%u %s, one after the other", CALLS, what);
	check(c.kvm_exits > 0 && c.kvm_exits < UINT32_MAX / 2, "KVM counts its exits");
	return c;
}

int main(void)
{
	int fd = device_await(), err = 0;
	struct cost call, ping;

	if (ioperm(PORT_FIRST, PORT_COUNT, 1))
		bail("no ports: %s", strerror(errno));
	for (unsigned int i = 0; i < 20 && !err; i++)
		err = echo(fd);
	check_error(err, 0, "calls to warm up");
	call = cost_of(call_often, fd, "calls");
	ping = cost_of(ping_often, fd, "pings of the driver's");
	printf("# figure vmm_exits_sync %u exits\n", call.exits);
	printf("# figure kvm_exits_sync %g per call\n", (double)call.kvm_exits / CALLS);
	printf("# figure kvm_exits_ping %g per ping\n", (double)ping.kvm_exits / CALLS);
	printf("# figure kvm_exits_over_ping %g per call\n",
	       ((double)call.kvm_exits - ping.kvm_exits) / CALLS);
	printf("# figure round_trip_call %g us\n", call.us);
	printf("# figure round_trip_ping %g us\n", ping.us);
	close(fd);
	return finish();
}
