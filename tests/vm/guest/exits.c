/* SPDX-License-Identifier: MIT */
/*
 * Counts how often the CPUs leave the guest for KVM, and KVM for the VMM, while calls are made. The VMM's ports tell;
 * reading one is an exit itself, which is taken off. Run as root, and write nothing meanwhile: the console exits, too.
 */
#include <sys/io.h>
#include <unistd.h>

#include "../vmm/ports.h"
#include "guest.h"

#define CALLS 1000u

int main(void)
{
	int fd = device_await(), err = 0;
	unsigned int exits, kvm_exits;

	if (ioperm(PORT_FIRST, PORT_COUNT, 1))
		bail("no ports: %s", strerror(errno));
	for (unsigned int i = 0; i < 20 && !err; i++)
		err = echo(fd);
	sleep(1); /* what else the guest had to say has been said */
	kvm_exits = inl(PORT_KVM_EXITS);
	exits = inl(PORT_EXITS);
	for (unsigned int i = 0; i < CALLS && !err; i++)
		err = echo(fd);
	exits = inl(PORT_EXITS) - exits - 1;
	kvm_exits = inl(PORT_KVM_EXITS) - kvm_exits - 3;
	check_error(err, 0, "%u calls, one after the other", CALLS);
	printf("# figure vmm_exits_sync %u exits\n", exits);
	check(kvm_exits > 0 && kvm_exits < UINT32_MAX / 2, "KVM counts its exits");
	printf("# figure kvm_exits_sync %g per call\n", (double)kvm_exits / CALLS);
	close(fd);
	return finish();
}
