/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm.h"

struct vmm vmm = { .cpus = 2 };

void die(const char *format, ...)
{
	int err = errno;
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "vmm: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, " (%s)\n", strerror(err));
	va_end(arguments);
	exit(3);
}

void *guest_memory(uint64_t gpa, uint64_t size)
{
	return size <= vmm.ram_size && gpa <= vmm.ram_size - size ? vmm.ram + gpa : NULL;
}

static void create_vm(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = vmm.ram_size,
						      .userspace_addr = (uintptr_t)vmm.ram };

	vmm.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vmm.kvm < 0)
		die("/dev/kvm");
	vmm.vm = ioctl(vmm.kvm, KVM_CREATE_VM, 0);
	if (vmm.vm < 0)
		die("KVM_CREATE_VM");
	if (ioctl(vmm.vm, KVM_SET_TSS_ADDR, 0xfffbd000ul) || ioctl(vmm.vm, KVM_CREATE_IRQCHIP, 0) ||
	    ioctl(vmm.vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("the VM can't be set up");
}

static void create_cpu(uint32_t index)
{
	struct kvm_enable_cap synic = { .cap = KVM_CAP_HYPERV_SYNIC2 };
	struct vcpu *vcpu = &vmm.vcpu[index];
	int size = ioctl(vmm.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	vcpu->index = index;
	vcpu->event_page = VMBUS_USER_FLAGS_OFF;
	vcpu->fd = ioctl(vmm.vm, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0 || ioctl(vcpu->fd, KVM_ENABLE_CAP, &synic))
		die("CPU %u", index);
	vcpu->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die("CPU %u", index);
	cpuid_set(vcpu);
}

struct arguments {
	const char *kernel;
	const char *initrd;
	const char *append;
	uint64_t megabytes;
	uint64_t vsock_cid; /* 0: none */
};

static struct arguments parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "append", required_argument, NULL, 'a' },
		{ "memory", required_argument, NULL, 'm' },
		{ "cpus", required_argument, NULL, 'c' },
		{ "socket", required_argument, NULL, 's' },
		{ "control", required_argument, NULL, 'C' },
		{ "vsock", required_argument, NULL, 'v' },
		{ 0 },
	};
	struct arguments a = { .append = "", .megabytes = 512 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'k')
			a.kernel = optarg;
		else if (option == 'i')
			a.initrd = optarg;
		else if (option == 'a')
			a.append = optarg;
		else if (option == 'm')
			a.megabytes = strtoul(optarg, NULL, 10);
		else if (option == 'c')
			vmm.cpus = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 's')
			vmm.socket = optarg;
		else if (option == 'C')
			control_open(optarg);
		else if (option == 'v')
			a.vsock_cid = strtoul(optarg, NULL, 10);
		else
			exit(2);
	}
	if (!a.kernel || !a.initrd || !vmm.cpus || vmm.cpus > MAX_CPUS || a.megabytes < 64 ||
	    a.megabytes > 2048) {
		fprintf(stderr,
			"usage: vmm --kernel FILE --initrd FILE [--append TEXT] [--memory MIB, 64 to 2048] "
			"[--cpus 1 to %u] [--socket PATH of a vmbus-user back-end] "
			"[--control FIFO for what the guest tells the host] "
			"[--vsock CID]\n",
			MAX_CPUS);
		exit(2);
	}
	return a;
}

int main(int argc, char **argv)
{
	struct arguments a = parse(argc, argv);
	pthread_t frontend;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	state_init();
	boot_memory(a.megabytes << 20);
	create_vm();
	for (uint32_t i = 0; i < vmm.cpus; i++)
		create_cpu(i);
	synic_init();
	counters_init();
	if (a.vsock_cid)
		vsock_init(a.vsock_cid);
	boot_cpu(vmm.vcpu[0].fd, boot_load(a.kernel, a.initrd, a.append));
	frontend_init();
	if (vmm.socket && pthread_create(&frontend, NULL, frontend_run, NULL))
		die("no thread");
	for (uint32_t i = 1; i < vmm.cpus; i++)
		if (pthread_create(&vmm.vcpu[i].thread, NULL, vcpu_run, &vmm.vcpu[i]))
			die("no thread");
	vcpu_run(&vmm.vcpu[0]);
	return 0;
}
