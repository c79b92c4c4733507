/* SPDX-License-Identifier: MIT */
/*
 * A small virtual machine monitor for tests: it boots an unmodified 64-bit Linux kernel with Hyper-V
 * enlightenments from KVM, and is the vmbus-user front-end of the guest's VMBus.
 *
 *	main.c      options, one thread for each CPU, the front-end's thread
 *	boot.c      memory, the kernel and its parameters, the first CPU's state
 *	acpi.c      the tables that name the CPUs, the serial port and VMBus
 *	cpuid.c     what the CPU says of itself: Hyper-V, and nothing that nested emulation lacks
 *	vcpu.c      the loop around KVM_RUN, ports, hypercalls
 *	serial.c    the console
 *	synic.c     interrupts and messages to the guest
 *	counters.c  how often a CPU has left the guest
 *	state.c     what each CPU is at, for a guest that doesn't move any more
 *	vsock.c     AF_VSOCK by vhost, for bench-vm
 *	control.c   lines from the guest to the test's host side
 *	frontend.c  vmbus-user: records, reconnect
 *	belief.c    what the guest believes about its bus, from the messages that pass
 *
 * A call between guest and back-end makes no exit to here: HvSignalEvent ends in the channel's eventfd and
 * the back-end's call in an irqfd, both inside KVM.
 */
#ifndef VMM_H
#define VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../../common/vmbus_user.h"

#define MAX_CPUS 8u
#define MAX_REASONS 64u

struct vcpu {
	uint32_t index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	/* SynIC, as the guest set it up */
	uint64_t message_page; /* 0: off */
	uint64_t event_page; /* VMBUS_USER_FLAGS_OFF: off */
	int call; /* eventfd: raises SINT 2 */
};

struct vmm {
	int kvm;
	int vm;
	int ram_fd;
	uint8_t *ram;
	uint64_t ram_size;
	uint32_t cpus;
	struct vcpu vcpu[MAX_CPUS];
	const char *socket; /* the back-end's path */
	uint64_t exits[MAX_REASONS]; /* to here, by reason; atomic */
};

extern struct vmm vmm;

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void *guest_memory(uint64_t gpa, uint64_t size); /* NULL: not in RAM */

/* boot.c */
void boot_memory(uint64_t size);
uint64_t boot_load(const char *kernel, const char *initrd, const char *command_line); /* the entry point */
void boot_cpu(int fd, uint64_t entry);

/* acpi.c: the RSDP's address */
uint64_t acpi_build(void);

/* cpuid.c */
void cpuid_set(const struct vcpu *vcpu);

/* vcpu.c */
void *vcpu_run(void *vcpu);

/* serial.c */
void serial_out(uint16_t port, uint8_t value);
uint8_t serial_in(uint16_t port);

/* synic.c */
void synic_init(void);
void synic_changed(struct vcpu *vcpu, uint64_t message_page, uint64_t event_page);
/* To the VP's message slot, in turn. Waits while as many wait already as may. */
void synic_post(uint32_t vp, const void *message, uint32_t size);

/* counters.c */
void counters_init(void);
uint32_t counters_exits(void);
uint32_t counters_kvm_exits(void);

/* state.c */
void state_init(void);
void state_print_if_wanted(struct vcpu *vcpu);

/* control.c */
void control_open(const char *path);
void control_out(uint8_t byte);

/* vsock.c: at this address, with this interrupt */
#define VSOCK_MMIO 0xd0000000ull
#define VSOCK_MMIO_SIZE 0x200u
#define VSOCK_IRQ 6u
void vsock_init(uint64_t guest_cid);
bool vsock_present(void);
void vsock_write(uint64_t at, uint32_t value);
uint32_t vsock_read(uint64_t at);

/* frontend.c */
void frontend_init(void);
void *frontend_run(void *nothing);
/* HvPostMessage. False: no room now, the guest tries again. */
bool frontend_guest_message(uint32_t connection, const void *message, uint32_t size);
void frontend_vp_changed(const struct vcpu *vcpu);
uint32_t frontend_connections(void);

/* belief.c */
void belief_from_guest(const void *message, uint32_t size);
void belief_from_host(const void *message, uint32_t size);
bool belief_contact_unanswered(void);
/* STATE's payload; its size. */
uint32_t belief_state(uint8_t *payload);

#endif /* VMM_H */
