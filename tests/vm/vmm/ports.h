/* SPDX-License-Identifier: MIT */
/* What the test VMM offers to its guest beside the devices of a PC. A use of any is one exit to the VMM. */
#ifndef VMM_PORTS_H
#define VMM_PORTS_H

#define PORT_FIRST 0x500
#define PORT_EXIT 0x500 /* out, a byte: ends the VM with that status */
#define PORT_HOST 0x502 /* out, bytes: a line for whoever reads the VMM's --control */
#define PORT_EXITS 0x504 /* in, 4 bytes: exits to the VMM so far, this one included */
#define PORT_KVM_EXITS 0x508 /* in, 4 bytes: exits to KVM so far, of all CPUs */
#define PORT_CONNECTIONS 0x50c /* in, 4 bytes: how many back-ends have served the guest */
#define PORT_PRINT 0x510 /* out, 4 bytes: the output, but for NULs; one exit each, in REP OUTSD, too */
#define PORT_COUNT 20

#endif /* VMM_PORTS_H */
