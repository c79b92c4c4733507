/* SPDX-License-Identifier: MIT */
/*
 * What a guest can ask its test VMM.
 *
 *	vmport exit STATUS	ends the VM
 *	vmport print		copies standard input to the VMM's output
 *	vmport host WORDS...	a line for the host's side of the test
 *	vmport exits		how often the CPUs have left KVM for the VMM
 *	vmport kvm-exits	how often they have left the guest for KVM
 *	vmport connections	how many back-ends have served the guest
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>

#include "../vmm/ports.h"

static int print(void)
{
	char text[512];
	ssize_t size;

	while ((size = read(0, text, sizeof(text))) > 0) {
		memset(text + size, 0, sizeof(text) - (size_t)size);
		outsl(PORT_PRINT, text, ((unsigned long)size + 3) / 4);
	}
	return 0;
}

static int tell_host(char **words)
{
	char line[1024] = "";

	for (; *words; words++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s%s", *words,
			 words[1] ? " " : "\n");
	outsb(PORT_HOST, line, strlen(line));
	return 0;
}

static int show(unsigned short port)
{
	printf("%u\n", inl(port));
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (ioperm(PORT_FIRST, PORT_COUNT, 1)) {
		perror("vmport");
		return 2;
	}
	if (!strcmp(what, "print"))
		return print();
	if (!strcmp(what, "host"))
		return tell_host(argv + 2);
	if (!strcmp(what, "exits"))
		return show(PORT_EXITS);
	if (!strcmp(what, "kvm-exits"))
		return show(PORT_KVM_EXITS);
	if (!strcmp(what, "connections"))
		return show(PORT_CONNECTIONS);
	if (strcmp(what, "exit"))
		return 2;
	sync();
	outb((unsigned char)(argc > 2 ? atoi(argv[2]) : 0), PORT_EXIT);
	return 1;
}
