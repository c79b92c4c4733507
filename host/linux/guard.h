/* SPDX-License-Identifier: MIT */
/*
 * Recovery from SIGBUS on guest memory. A guest can punch holes into its memory or run it into a
 * limit, and the access that then faults is ours. The handler puts zeros in the place of
 * all that is watched there, notes that the guest faulted, and lets the access go on; the guest is dropped at the next look.
 */
#ifndef HOSTD_GUARD_H
#define HOSTD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Installs the handler, once for the process. A SIGBUS anywhere else stays deadly. */
int guard_install(void);

struct guard_range;
/* Watches [start, start + size); *faulted is set to 1 on a fault. NULL: no memory. */
struct guard_range *guard_watch(void *start, size_t size, uint32_t *faulted);
/* Before the range is unmapped. NULL is fine. */
void guard_forget(struct guard_range *range);

#endif /* HOSTD_GUARD_H */
