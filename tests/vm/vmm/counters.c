/* SPDX-License-Identifier: MIT */
/* Exits to KVM, from KVM's binary statistics of each CPU (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD). */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm.h"

static int stats_fd[MAX_CPUS];
static off_t exits_at[MAX_CPUS]; /* where the counter is in the file; 0: KVM has none */

static off_t find_exits(int fd)
{
	struct kvm_stats_header header;
	off_t at = -1;

	if (fd < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return 0;
	for (uint32_t i = 0; i < header.num_desc && at < 0; i++) {
		size_t size = sizeof(struct kvm_stats_desc) + header.name_size;
		struct kvm_stats_desc *desc = calloc(1, size + 1);

		if (!desc)
			die("no memory");
		if (pread(fd, desc, size, (off_t)(header.desc_offset + i * size)) != (ssize_t)size)
			at = 0;
		else if (!strcmp(desc->name, "exits"))
			at = (off_t)header.data_offset + desc->offset;
		free(desc);
	}
	return at > 0 ? at : 0;
}

void counters_init(void)
{
	for (uint32_t i = 0; i < vmm.cpus; i++) {
		stats_fd[i] = ioctl(vmm.vcpu[i].fd, KVM_GET_STATS_FD, NULL);
		exits_at[i] = find_exits(stats_fd[i]);
	}
}

uint32_t counters_kvm_exits(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < vmm.cpus; i++) {
		uint64_t exits;

		if (!exits_at[i] || pread(stats_fd[i], &exits, sizeof(exits), exits_at[i]) != sizeof(exits))
			return UINT32_MAX; /* no such counter: a kernel before 5.14 */
		sum += exits;
	}
	return (uint32_t)sum;
}

uint32_t counters_exits(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < MAX_REASONS; i++)
		sum += __atomic_load_n(&vmm.exits[i], __ATOMIC_RELAXED);
	return (uint32_t)sum;
}
