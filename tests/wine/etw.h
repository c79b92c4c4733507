/* SPDX-License-Identifier: MIT */
/* What stands for ETW: a recorder of the driver's events. */
#ifndef TESTS_WINE_ETW_H
#define TESTS_WINE_ETW_H

#include "standin.h"

struct etw_descriptor { /* EVENT_DESCRIPTOR */
	uint16_t id;
	uint8_t version;
	uint8_t channel;
	uint8_t level;
	uint8_t opcode;
	uint16_t task;
	uint64_t keyword;
};

struct etw_data { /* EVENT_DATA_DESCRIPTOR */
	uint64_t address;
	uint32_t size;
	uint32_t reserved;
};

NTSTATUS etw_register(const GUID *provider, ULONGLONG *handle);
bool etw_unregister(ULONGLONG handle);
bool etw_write(ULONGLONG handle, const struct etw_descriptor *event, ULONG count,
	       const struct etw_data *data);
/*
 * The records since the last time, a line each: provider's first word, id, version, level, keyword, payload, all in
 * hexadecimal. How many bytes; those that find no room stay.
 */
size_t etw_take(char *text, size_t room);

#endif /* TESTS_WINE_ETW_H */
