/* SPDX-License-Identifier: MIT */
/*
 * IRQLs. Wine runs a driver in user mode and knows none: a read of CR8, which is what KeGetCurrentIrql is on
 * x64, traps and Wine answers 0. Here each thread has an IRQL, set by the routines that change it and around
 * the driver's callbacks, and CR8 is served from it before Wine sees the trap.
 */
#include "standin.h"

#define PRIVILEGED_INSTRUCTION 0xC0000096u
#define CONTINUE_EXECUTION (-1L)
#define CONTINUE_SEARCH 0L

static ULONG slot;

KIRQL irql_get(void)
{
	return (KIRQL)(ULONG_PTR)TlsGetValue(slot);
}

void irql_set(KIRQL irql)
{
	TlsSetValue(slot, (void *)(ULONG_PTR)irql);
}

void irql_check(const char *routine, KIRQL most)
{
	KIRQL irql = irql_get();

	if (irql > most)
		fault("%s at IRQL %u, above %u", routine, irql, most);
}

/* mov to or from CR8 and a general register: REX with R, 0F 20 or 22, ModRM with both registers. */
static LONG NTAPI serve_cr8(EXCEPTION_POINTERS *pointers)
{
	CONTEXT *context = pointers->ContextRecord;
	const uint8_t *code = (const uint8_t *)(ULONG_PTR)context->Rip;
	DWORD64 *registers = &context->Rax; /* and on, in the order of their numbers */
	unsigned int number;

	if ((uint32_t)pointers->ExceptionRecord->ExceptionCode != PRIVILEGED_INSTRUCTION)
		return CONTINUE_SEARCH;
	if ((code[0] & 0xf4) != 0x44 || code[1] != 0x0f || (code[2] & 0xfd) != 0x20 ||
	    (code[3] & 0xf8) != 0xc0)
		return CONTINUE_SEARCH;
	number = (code[3] & 7) | (code[0] & 1) << 3;
	if (code[2] == 0x20)
		registers[number] = irql_get();
	else
		irql_set((KIRQL)registers[number]);
	context->Rip += 4;
	return CONTINUE_EXECUTION;
}

bool irql_start(void)
{
	slot = TlsAlloc();
	return slot != (ULONG)-1 && AddVectoredExceptionHandler(1, serve_cr8);
}
