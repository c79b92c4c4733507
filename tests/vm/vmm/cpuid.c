/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm.h"

#define MAX_ENTRIES 256u
#define HYPERV_MAX 0x40000005u /* no nested and no debugging leaves */

static struct kvm_cpuid2 *ask(unsigned long request)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX_ENTRIES * sizeof(c->entries[0]));

	if (!c)
		die("no memory");
	c->nent = MAX_ENTRIES;
	if (ioctl(vmm.kvm, request, c))
		die("CPUID");
	return c;
}

/* False: the leaf is left out. */
static bool adapt_cpu(const struct vcpu *vcpu, struct kvm_cpuid_entry2 *e)
{
	if (e->function >> 28 == 4)
		return false; /* KVM's own leaves: the guest would see KVM */
	if (e->function == 0xd)
		return false; /* XSAVE: emulated CPUs lack parts of it */
	switch (e->function) {
	case 1:
		e->ecx |= 1u << 31; /* a hypervisor */
		e->ecx &= ~(1u << 12 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 29); /* all that needs XSAVE */
		e->ebx = (e->ebx & 0xffff) | vmm.cpus << 16 | vcpu->index << 24;
		if (vmm.cpus > 1)
			e->edx |= 1u << 28;
		break;
	case 7:
		if (!e->index)
			e->ebx &= ~(1u << 5); /* AVX2 */
		break;
	case 0xb:
	case 0x1f:
		e->edx = vcpu->index;
		break;
	case 0x8000001e:
		e->eax = e->ebx = vcpu->index;
		e->ecx = 0;
		break;
	}
	return true;
}

static bool adapt_hyperv(struct kvm_cpuid_entry2 *e)
{
	switch (e->function) {
	case 0x40000000:
		e->eax = HYPERV_MAX;
		memcpy(&e->ebx, "Micr", 4);
		memcpy(&e->ecx, "osof", 4);
		memcpy(&e->edx, "t Hv", 4);
		break;
	case 0x40000003:
		/*
		 * Runtime, reference time, SynIC, APIC MSRs, hypercalls, VP index, reference TSC, frequencies. Synthetic
		 * timers stay out: unloading hv_vmbus breaks with KVM's.
		 */
		e->eax = 0xa77;
		e->ebx = 0x30; /* may post messages and signal events */
		e->edx = 0x108;
		break;
	case 0x40000004:
		e->eax = 0x28; /* use the APIC MSRs, relaxed timing */
		break;
	}
	return e->function <= HYPERV_MAX;
}

void cpuid_set(const struct vcpu *vcpu)
{
	struct kvm_cpuid2 *cpu = ask(KVM_GET_SUPPORTED_CPUID), *hyperv = ask(KVM_GET_SUPPORTED_HV_CPUID);
	struct kvm_cpuid2 *out = calloc(1, sizeof(*out) + 2 * MAX_ENTRIES * sizeof(out->entries[0]));

	if (!out)
		die("no memory");
	for (uint32_t i = 0; i < cpu->nent; i++)
		if (adapt_cpu(vcpu, &cpu->entries[i]))
			out->entries[out->nent++] = cpu->entries[i];
	for (uint32_t i = 0; i < hyperv->nent; i++)
		if (adapt_hyperv(&hyperv->entries[i]))
			out->entries[out->nent++] = hyperv->entries[i];
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, out))
		die("KVM_SET_CPUID2");
	free(out);
	free(hyperv);
	free(cpu);
}
