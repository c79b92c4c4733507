/* SPDX-License-Identifier: MIT */
/*
 * What each CPU is at, on SIGUSR1: for a guest that doesn't move any more. That there is an answer says that the
 * machine around the guest moves.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm.h"

#define KICK SIGUSR2 /* makes KVM_RUN return, so that its CPU can be looked at: by the CPU's own thread */
#define FLAG_INTERRUPTS 0x200u

/* Registers of the local APIC (Intel SDM volume 3, table 11-1) */
#define APIC_ISR 0x100u
#define APIC_IRR 0x200u
#define APIC_TIMER 0x320u
#define APIC_INITIAL 0x380u
#define APIC_CURRENT 0x390u

static uint32_t wanted; /* a bit for each CPU that is to tell */

static uint32_t apic(const struct kvm_lapic_state *state, uint32_t at)
{
	uint32_t value;

	memcpy(&value, state->regs + at, sizeof(value));
	return value;
}

static void print_vectors(const struct kvm_lapic_state *state, const char *name, uint32_t at)
{
	printf(", %s", name);
	for (uint32_t i = 0; i < 8; i++)
		if (apic(state, at + i * 16))
			printf(" %x:%08x", i * 32, apic(state, at + i * 16));
}

static void print(struct vcpu *vcpu)
{
	struct kvm_regs regs = { 0 };
	struct kvm_mp_state mp = { 0 };
	struct kvm_lapic_state lapic = { 0 };
	struct kvm_vcpu_events events = { 0 };

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp);
	ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic);
	ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events);
	flockfile(stdout);
	printf("vmm: CPU %u: %s, interrupts %s, rip %llx, rsp %llx", vcpu->index,
	       mp.mp_state == KVM_MP_STATE_HALTED ? "halted" : "running",
	       regs.rflags & FLAG_INTERRUPTS ? "on" : "off", (unsigned long long)regs.rip,
	       (unsigned long long)regs.rsp);
	printf(", timer %x of %x left %x", apic(&lapic, APIC_TIMER), apic(&lapic, APIC_INITIAL),
	       apic(&lapic, APIC_CURRENT));
	print_vectors(&lapic, "irr", APIC_IRR);
	print_vectors(&lapic, "isr", APIC_ISR);
	printf(", injected %u:%x shadow %u, last exit %u\n", events.interrupt.injected, events.interrupt.nr,
	       events.interrupt.shadow, vcpu->run->exit_reason);
	fflush(stdout);
	funlockfile(stdout);
}

void state_print_if_wanted(struct vcpu *vcpu)
{
	if (__atomic_fetch_and(&wanted, ~(1u << vcpu->index), __ATOMIC_ACQ_REL) >> vcpu->index & 1)
		print(vcpu);
}

static void *serve(void *nothing)
{
	sigset_t signals;
	int number;

	(void)nothing;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	while (!sigwait(&signals, &number)) {
		printf("vmm: state of %u CPUs:\n", vmm.cpus);
		__atomic_store_n(&wanted, (1u << vmm.cpus) - 1, __ATOMIC_RELEASE);
		/* Again, as one that comes just before KVM_RUN is lost. */
		for (int tries = 0; tries < 20 && __atomic_load_n(&wanted, __ATOMIC_ACQUIRE); tries++) {
			for (uint32_t i = 0; i < vmm.cpus; i++)
				pthread_kill(vmm.vcpu[i].thread, KICK);
			usleep(100000);
		}
	}
	return NULL;
}

static void kicked(int number)
{
	(void)number;
}

/* Before any other thread is made, so that all of them leave SIGUSR1 to this one. */
void state_init(void)
{
	struct sigaction action = { .sa_handler = kicked };
	sigset_t signals;
	pthread_t thread;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	vmm.vcpu[0].thread = pthread_self();
	if (pthread_sigmask(SIG_BLOCK, &signals, NULL) || sigaction(KICK, &action, NULL) ||
	    pthread_create(&thread, NULL, serve, NULL))
		die("no thread");
}
