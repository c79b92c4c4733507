/* SPDX-License-Identifier: MIT */
/* The 64-bit boot protocol of Linux (Documentation/x86/boot.rst) for an uncompressed kernel image. */
#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm.h"

#define GDT 0x500u
#define PARAMS 0x7000u
#define STACK 0x8ff0u
#define TABLES 0x9000u /* page tables: 1 + 1 + 4 pages */
#define COMMAND_LINE 0x20000u
#define LOW_END 0x9fc00u
#define HIGH 0x100000u

/* One memfd, sealed as vmbus-user asks, so that the back-end maps the same pages. */
void boot_memory(uint64_t size)
{
	vmm.ram_size = size;
	vmm.ram_fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (vmm.ram_fd < 0 || ftruncate(vmm.ram_fd, (off_t)size) ||
	    fcntl(vmm.ram_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		die("no memory for the guest");
	vmm.ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, vmm.ram_fd, 0);
	if (vmm.ram == MAP_FAILED)
		die("no memory for the guest");
}

static const uint8_t *map_file(const char *path, uint64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st))
		die("%s", path);
	*size = (uint64_t)st.st_size;
	data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die("%s", path);
	close(fd);
	return data;
}

static uint64_t load_kernel(const char *path)
{
	uint64_t size;
	const uint8_t *file = map_file(path, &size);
	const Elf64_Ehdr *header = (const void *)file;
	const Elf64_Phdr *segment = (const void *)(file + header->e_phoff);

	if (size < sizeof(*header) || memcmp(file, ELFMAG, SELFMAG) != 0)
		die("%s isn't an ELF kernel", path);
	for (unsigned int i = 0; i < header->e_phnum; i++) {
		void *to = guest_memory(segment[i].p_paddr, segment[i].p_memsz);

		if (segment[i].p_type != PT_LOAD)
			continue;
		if (!to || segment[i].p_offset + segment[i].p_filesz > size)
			die("%s doesn't fit the memory", path);
		memcpy(to, file + segment[i].p_offset, segment[i].p_filesz);
	}
	return header->e_entry;
}

uint64_t boot_load(const char *kernel, const char *initrd, const char *command_line)
{
	struct boot_params *p = guest_memory(PARAMS, sizeof(*p));
	uint64_t size, at, entry = load_kernel(kernel);
	const uint8_t *file = map_file(initrd, &size);

	at = (vmm.ram_size - size) & ~0xfffull;
	if (size > vmm.ram_size / 2 || strlen(command_line) > 2047)
		die("the initrd or the command line is too long");
	memcpy(vmm.ram + at, file, size);
	strcpy((char *)vmm.ram + COMMAND_LINE, command_line);
	p->hdr.boot_flag = 0xaa55;
	p->hdr.header = 0x53726448; /* "HdrS" */
	p->hdr.version = 0x20f;
	p->hdr.kernel_alignment = 0x200000;
	p->hdr.type_of_loader = 0xff;
	p->hdr.loadflags = LOADED_HIGH;
	p->hdr.cmd_line_ptr = COMMAND_LINE;
	p->hdr.ramdisk_image = (uint32_t)at;
	p->hdr.ramdisk_size = (uint32_t)size;
	p->acpi_rsdp_addr = acpi_build();
	p->e820_table[0] = (struct boot_e820_entry){ 0, LOW_END, 1 };
	p->e820_table[1] = (struct boot_e820_entry){ HIGH, vmm.ram_size - HIGH, 1 };
	p->e820_entries = 2;
	return entry;
}

/* The first 4 GiB mapped one to one in pages of 2 MiB. */
static void build_page_tables(void)
{
	uint64_t *level4 = guest_memory(TABLES, 4096), *level3 = level4 + 512, *level2 = level3 + 512;

	level4[0] = (TABLES + 0x1000) | 3;
	for (uint64_t i = 0; i < 4; i++)
		level3[i] = (TABLES + 0x2000 + i * 0x1000) | 3;
	for (uint64_t i = 0; i < 4 * 512; i++)
		level2[i] = i << 21 | 0x83;
}

void boot_cpu(int fd, uint64_t entry)
{
	const struct kvm_segment code = {
		.limit = ~0u, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	const struct kvm_segment data = {
		.limit = ~0u, .selector = 0x18, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = entry, .rsi = PARAMS, .rsp = STACK, .rflags = 2 };
	uint64_t *gdt = guest_memory(GDT, 32);
	struct kvm_sregs sregs;

	build_page_tables();
	gdt[2] = 0x00af9b000000ffffull;
	gdt[3] = 0x00cf93000000ffffull;
	if (ioctl(fd, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = GDT;
	sregs.gdt.limit = 31;
	sregs.cr0 = 0x80050033; /* PG AM WP NE ET MP PE */
	sregs.cr3 = TABLES;
	sregs.cr4 = 0x20; /* PAE */
	sregs.efer = 0x500; /* LMA LME */
	if (ioctl(fd, KVM_SET_SREGS, &sregs) || ioctl(fd, KVM_SET_REGS, &regs))
		die("the first CPU can't be set up");
}
