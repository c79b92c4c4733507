/* SPDX-License-Identifier: MIT */
/*
 * Hardware-reduced ACPI: RSDP, XSDT, FADT, MADT and a DSDT with VMBus, the serial port and perhaps vsock. VMBus
 * hangs below a module device with an MMIO window, as in a generation 2 VM of Hyper-V. AML by ACPI 6.4,
 * chapter 20.
 */
#include <string.h>

#include "vmm.h"

#define BASE 0xe0000u
enum { RSDP = 0, XSDT = 0x40, FADT = 0x100, MADT = 0x300, DSDT = 0x600, END = 0x1000 };

static uint8_t *tables;

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void put64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static uint8_t checksum(const uint8_t *data, uint32_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum = (uint8_t)(sum + *data++);
	return (uint8_t)-sum;
}

static void finish(uint8_t *table, const char *signature, uint32_t size, uint8_t revision)
{
	memcpy(table, signature, 4);
	put32(table + 4, size);
	table[8] = revision;
	table[9] = 0;
	memcpy(table + 10, "WINAPITESTVM  ", 14);
	put32(table + 24, 1);
	memcpy(table + 28, "TEST", 4);
	put32(table + 32, 1);
	table[9] = checksum(table, size);
}

/* ---- AML ------------------------------------------------------------------------------------------------- */

struct aml {
	uint8_t *at;
};

static void put(struct aml *aml, const void *data, uint32_t size)
{
	memcpy(aml->at, data, size);
	aml->at += size;
}

/* An object whose length comes before its contents: `end` once they are there. Lengths of two bytes. */
static uint8_t *begin(struct aml *aml, const char *opcode, uint32_t opcode_size, const char *name)
{
	uint8_t *length;

	put(aml, opcode, opcode_size);
	length = aml->at;
	aml->at += 2;
	put(aml, name, (uint32_t)strlen(name));
	return length;
}

static void end(const struct aml *aml, uint8_t *length)
{
	uint32_t size = (uint32_t)(aml->at - length);

	length[0] = (uint8_t)(0x40 | (size & 0xf));
	length[1] = (uint8_t)(size >> 4);
}

static uint8_t *begin_device(struct aml *aml, const char *name)
{
	return begin(aml, "\x5b\x82", 2, name);
}

static void name_string(struct aml *aml, const char *name, const char *value)
{
	put(aml, "\x08", 1);
	put(aml, name, 4);
	put(aml, "\x0d", 1);
	put(aml, value, (uint32_t)strlen(value) + 1);
}

static void name_byte(struct aml *aml, const char *name, uint8_t value)
{
	put(aml, "\x08", 1);
	put(aml, name, 4);
	put(aml, "\x0a", 1);
	put(aml, &value, 1);
}

static void name_dword(struct aml *aml, const char *name, uint32_t value)
{
	put(aml, "\x08", 1);
	put(aml, name, 4);
	put(aml, "\x0c", 1);
	put(aml, &value, 4);
}

/* Name (_CRS, Buffer), the end tag included. */
static void name_resources(struct aml *aml, const void *resources, uint32_t size)
{
	uint8_t count = (uint8_t)(size + 2);
	uint8_t *length;

	put(aml, "\x08_CRS", 5);
	length = begin(aml, "\x11", 1, "");
	put(aml, "\x0a", 1);
	put(aml, &count, 1);
	put(aml, resources, size);
	put(aml, "\x79\x00", 2);
	end(aml, length);
}

static void module_device(struct aml *aml)
{
	/* QWordMemory, produced, fixed at both ends, 0xf8000000 to 0xfebfffff. */
	uint8_t window[46] = { 0x8a, 43, 0, 0, 0x0c, 1 };
	uint8_t irq[3] = { 0x22, 1 << 5, 0 }; /* IRQ 5, edge, active high */
	uint8_t *module, *bus, *status;

	put64(window + 14, 0xf8000000);
	put64(window + 22, 0xfebfffff);
	put64(window + 38, 0x6c00000);
	module = begin_device(aml, "VMOD");
	name_string(aml, "_HID", "ACPI0004");
	name_byte(aml, "_UID", 0);
	name_resources(aml, window, sizeof(window));
	bus = begin_device(aml, "VMBS");
	name_string(aml, "_HID", "VMBUS");
	name_byte(aml, "_UID", 0);
	status = begin(aml, "\x14", 1, "_STA");
	put(aml, "\x00\xa4\x0a\x0f", 4); /* no arguments; Return (0x0f) */
	end(aml, status);
	name_resources(aml, irq, sizeof(irq));
	end(aml, bus);
	end(aml, module);
}

static void serial_device(struct aml *aml)
{
	const uint8_t resources[] = { 0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 0, 8, 0x22, 1 << 4, 0 };
	uint8_t *device = begin_device(aml, "COM1");

	name_dword(aml, "_HID", 0x0105d041); /* EISA id PNP0501 */
	name_byte(aml, "_UID", 1);
	name_resources(aml, resources, sizeof(resources));
	end(aml, device);
}

static void vsock_device(struct aml *aml)
{
	/* Memory32Fixed, read and write; then an extended interrupt, edge, active high. */
	uint8_t resources[12 + 9] = { 0x86, 9, 0, 1 };
	const uint8_t interrupt[9] = { 0x89, 6, 0, 3, 1, VSOCK_IRQ };
	uint8_t *device = begin_device(aml, "VSCK");

	put32(resources + 4, (uint32_t)VSOCK_MMIO);
	put32(resources + 8, VSOCK_MMIO_SIZE);
	memcpy(resources + 12, interrupt, sizeof(interrupt));
	name_string(aml, "_HID", "LNRO0005"); /* virtio-mmio */
	name_byte(aml, "_UID", 2);
	name_resources(aml, resources, sizeof(resources));
	end(aml, device);
}

static void build_dsdt(void)
{
	struct aml aml = { tables + DSDT + 36 };
	uint8_t *scope = begin(&aml, "\x10", 1, "\\_SB_");

	module_device(&aml);
	serial_device(&aml);
	if (vsock_present())
		vsock_device(&aml);
	end(&aml, scope);
	finish(tables + DSDT, "DSDT", (uint32_t)(aml.at - (tables + DSDT)), 2);
}

/* ---- The other tables -------------------------------------------------------------------------------------- */

static void build_madt(void)
{
	uint8_t *madt = tables + MADT, *at = madt + 44;

	put32(madt + 36, 0xfee00000); /* local APICs */
	for (uint32_t i = 0; i < vmm.cpus; i++, at += 8) {
		const uint8_t cpu[8] = { 0, 8, (uint8_t)i, (uint8_t)i, 1 };

		memcpy(at, cpu, sizeof(cpu));
	}
	at[0] = 1; /* the I/O APIC */
	at[1] = 12;
	at[2] = (uint8_t)vmm.cpus;
	put32(at + 4, 0xfec00000);
	finish(madt, "APIC", (uint32_t)(at + 12 - madt), 4);
}

static void build_fadt(void)
{
	uint8_t *fadt = tables + FADT;

	fadt[109] = 1 << 2 | 1 << 5; /* no VGA, no CMOS clock */
	put32(fadt + 112, 1u << 20 | 1u << 5 | 1u << 4); /* hardware-reduced, no buttons */
	fadt[131] = 1;
	put64(fadt + 140, BASE + DSDT);
	finish(fadt, "FACP", 276, 6);
}

uint64_t acpi_build(void)
{
	tables = guest_memory(BASE, END);
	build_dsdt();
	build_madt();
	build_fadt();
	put64(tables + XSDT + 36, BASE + FADT);
	put64(tables + XSDT + 44, BASE + MADT);
	finish(tables + XSDT, "XSDT", 52, 1);
	memcpy(tables, "RSD PTR ", 8);
	memcpy(tables + 9, "WINAPI", 6);
	tables[15] = 2;
	put32(tables + 20, 36);
	put64(tables + 24, BASE + XSDT);
	tables[8] = checksum(tables, 20);
	tables[32] = checksum(tables, 36);
	return BASE;
}
