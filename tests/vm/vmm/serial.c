/* SPDX-License-Identifier: MIT */
/* An 8250 that sends at once and receives nothing: the guest's console on our stdout. */
#include <stdio.h>
#include <sys/ioctl.h>

#include "vmm.h"

#define IRQ 4u

enum { DATA, INTERRUPTS, IDENTITY, LINE, MODEM, LINE_STATUS, MODEM_STATUS, SCRATCH };

static struct {
	uint8_t interrupts;
	uint8_t line;
	uint8_t modem;
	uint8_t scratch;
	uint8_t fifo;
	uint8_t divisor[2];
	bool sent; /* the "transmitter empty" interrupt is due */
	bool level;
} uart;

static void update_irq(void)
{
	bool level = uart.interrupts & 2 && uart.sent;
	struct kvm_irq_level irq = { .irq = IRQ, .level = level };

	if (level == uart.level)
		return;
	uart.level = level;
	ioctl(vmm.vm, KVM_IRQ_LINE, &irq);
}

static bool divisor_latch(void)
{
	return uart.line & 0x80;
}

void serial_out(uint16_t port, uint8_t value)
{
	switch (port & 7) {
	case DATA:
		if (divisor_latch()) {
			uart.divisor[0] = value;
			break;
		}
		if (!(uart.modem & 0x10) && value != '\r')
			putchar(value);
		uart.sent = true;
		break;
	case INTERRUPTS:
		if (divisor_latch()) {
			uart.divisor[1] = value;
			break;
		}
		if (value & 2 && !(uart.interrupts & 2))
			uart.sent = true;
		uart.interrupts = value & 0xf;
		break;
	case IDENTITY:
		uart.fifo = value;
		break;
	case LINE:
		uart.line = value;
		break;
	case MODEM:
		uart.modem = value & 0x1f;
		break;
	case SCRATCH:
		uart.scratch = value;
		break;
	}
	update_irq();
}

static uint8_t identity(void)
{
	uint8_t value = uart.interrupts & 2 && uart.sent ? 2 : 1;

	if (value == 2)
		uart.sent = false;
	update_irq();
	return (uint8_t)(value | (uart.fifo & 1 ? 0xc0 : 0));
}

/* In loopback the modem's outputs come back as its inputs, by which drivers know the chip. */
static uint8_t modem_status(void)
{
	uint8_t m = uart.modem;

	if (!(m & 0x10))
		return 0xb0;
	return (uint8_t)((m & 1) << 5 | (m & 2) << 3 | (m & 4) << 4 | (m & 8) << 4);
}

uint8_t serial_in(uint16_t port)
{
	switch (port & 7) {
	case DATA:
		return divisor_latch() ? uart.divisor[0] : 0;
	case INTERRUPTS:
		return divisor_latch() ? uart.divisor[1] : uart.interrupts;
	case IDENTITY:
		return identity();
	case LINE:
		return uart.line;
	case MODEM:
		return uart.modem;
	case LINE_STATUS:
		return 0x60;
	case MODEM_STATUS:
		return modem_status();
	default:
		return uart.scratch;
	}
}
