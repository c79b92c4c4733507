/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ports.h"
#include "vmm.h"

#define SERIAL 0x3f8

#define HV_POST_MESSAGE 0x5cu
#define HV_SIGNAL_EVENT 0x5du
#define HV_STATUS_INVALID_HYPERCALL_CODE 2u
#define HV_STATUS_INVALID_PARAMETER 5u
#define HV_STATUS_INSUFFICIENT_BUFFERS 19u

static pthread_mutex_t devices = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noreturn)) static void end_vm(int status, const char *why)
{
	fflush(stdout);
	if (why)
		fprintf(stderr, "vmm: %s\n", why);
	fprintf(stderr, "vmm: exits by reason:");
	for (unsigned int i = 0; i < MAX_REASONS; i++)
		if (vmm.exits[i])
			fprintf(stderr, " %u:%llu", i, (unsigned long long)vmm.exits[i]);
	fprintf(stderr, "\n");
	_Exit(status);
}

static void print(const uint8_t *data, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		if (data[i])
			putchar(data[i]);
}

static void port_out(uint16_t port, const uint8_t *data, uint32_t size)
{
	if (port >= SERIAL && port < SERIAL + 8)
		serial_out(port, *data);
	else if (port == PORT_PRINT)
		print(data, size);
	else if (port == PORT_HOST)
		control_out(*data);
	else if (port == PORT_EXIT)
		end_vm(*data, NULL);
	else if (port == 0x64 && *data == 0xfe)
		end_vm(4, "the guest reset itself");
}

static uint32_t counter(uint16_t port)
{
	switch (port) {
	case PORT_EXITS:
		return counters_exits();
	case PORT_KVM_EXITS:
		return counters_kvm_exits();
	case PORT_CONNECTIONS:
		return frontend_connections();
	default:
		return UINT32_MAX;
	}
}

static void port_in(uint16_t port, uint8_t *data, uint32_t size)
{
	uint32_t value = counter(port);

	memset(data, 0xff, size);
	if (port >= SERIAL && port < SERIAL + 8)
		*data = serial_in(port);
	else if (size == sizeof(value))
		memcpy(data, &value, sizeof(value));
	else if (port == 0x71 || port == 0x64)
		*data = 0;
}

static void on_port(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			port_out(run->io.port, data, run->io.size);
		else
			port_in(run->io.port, data, run->io.size);
	}
}

static void on_mmio(struct kvm_run *run)
{
	uint64_t at = run->mmio.phys_addr - VSOCK_MMIO;
	bool vsock = vsock_present() && at < VSOCK_MMIO_SIZE && run->mmio.len == sizeof(uint32_t);
	uint32_t value;

	if (vsock && run->mmio.is_write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		vsock_write(at, value);
	} else if (!run->mmio.is_write) {
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		value = vsock ? vsock_read(at) : UINT32_MAX;
		memcpy(run->mmio.data, &value, sizeof(value));
	}
}

/* HvPostMessage: connection, padding, message type, size, then up to 240 bytes. */
static uint64_t post_message(uint64_t gpa)
{
	uint32_t head[4];
	const uint8_t *input = guest_memory(gpa, sizeof(head) + VMBUS_MESSAGE_MAX);
	uint8_t message[VMBUS_MESSAGE_MAX];

	if (!input)
		return HV_STATUS_INVALID_PARAMETER;
	memcpy(head, input, sizeof(head));
	if (head[3] > VMBUS_MESSAGE_MAX)
		return HV_STATUS_INVALID_PARAMETER;
	memcpy(message, input + sizeof(head), head[3]);
	return frontend_guest_message(head[0], message, head[3]) ? 0 : HV_STATUS_INSUFFICIENT_BUFFERS;
}

static void on_hyperv(struct vcpu *vcpu)
{
	struct kvm_hyperv_exit *exit = &vcpu->run->hyperv;

	if (exit->type == KVM_EXIT_HYPERV_SYNIC) {
		synic_changed(vcpu, exit->u.synic.msg_page, exit->u.synic.evt_page);
	} else if (exit->type == KVM_EXIT_HYPERV_HCALL) {
		uint16_t code = (uint16_t)exit->u.hcall.input;

		if (code == HV_POST_MESSAGE)
			exit->u.hcall.result = post_message(exit->u.hcall.params[0]);
		else if (code == HV_SIGNAL_EVENT)
			exit->u.hcall.result = 0; /* of a channel that is gone: KVM knows the others */
		else
			exit->u.hcall.result = HV_STATUS_INVALID_HYPERCALL_CODE;
	}
}

static void unexpected(const struct vcpu *vcpu)
{
	struct kvm_regs regs = { 0 };
	char text[120];

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	snprintf(text, sizeof(text), "CPU %u: exit %u, rip %llx", vcpu->index, vcpu->run->exit_reason,
		 (unsigned long long)regs.rip);
	end_vm(4, text);
}

static void on_exit_of(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		on_port(run);
		break;
	case KVM_EXIT_MMIO:
		on_mmio(run);
		break;
	case KVM_EXIT_HYPERV:
		on_hyperv(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		end_vm(4, "triple fault");
	default:
		unexpected(vcpu);
	}
}

void *vcpu_run(void *argument)
{
	struct vcpu *vcpu = argument;

	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno != EINTR && errno != EAGAIN)
				die("KVM_RUN");
			state_print_if_wanted(vcpu);
			continue;
		}
		__atomic_fetch_add(&vmm.exits[vcpu->run->exit_reason % MAX_REASONS], 1, __ATOMIC_RELAXED);
		pthread_mutex_lock(&devices);
		on_exit_of(vcpu);
		pthread_mutex_unlock(&devices);
	}
	return NULL;
}
