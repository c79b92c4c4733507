/* SPDX-License-Identifier: MIT */
/* Lines from the guest to the host's side of a test, by a FIFO. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm.h"

static int fifo = -1;
static char line[1024];
static size_t length;

void control_open(const char *path)
{
	/* For both, so that neither the open nor a write depends on when the reader comes. */
	fifo = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fifo < 0)
		die("%s", path);
}

void control_out(uint8_t byte)
{
	if (length < sizeof(line))
		line[length++] = (char)byte;
	if (byte != '\n')
		return;
	if (fifo >= 0 && write(fifo, line, length) != (ssize_t)length)
		fprintf(stderr, "vmm: nobody reads --control\n");
	length = 0;
}
