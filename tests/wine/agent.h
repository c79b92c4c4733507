/* SPDX-License-Identifier: MIT */
#ifndef TESTS_WINE_AGENT_H
#define TESTS_WINE_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winioctl.h>

#include "../../host/windows/ioctl.h"

/* All give Windows' error number, 0 for none. */
HANDLE device_open(DWORD flags);
HANDLE vm_open(unsigned int number);
DWORD offer(unsigned int number, uint64_t *id);
DWORD withdraw(uint64_t id);
DWORD stats(struct winapi_driver_stats *stats);
DWORD list(struct winapi_channel_list *list, DWORD room);

/* requests.c */
DWORD abuse_names(void); /* prints them */
const char *abuse(const char *name); /* "ok", or what was wrong */

#endif /* TESTS_WINE_AGENT_H */
