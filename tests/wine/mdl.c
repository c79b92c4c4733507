/* SPDX-License-Identifier: MIT */
/*
 * MDLs over a guest's pages, as KMCL hands them out: locked, without an address, in a chain when the pages are
 * more than one MDL can name. Mapping one gives the pages an address range of their own, or the one they
 * have when they lie side by side.
 */
#include "standin.h"

#include <stdlib.h>
#include <string.h>

#include "../../host/vmbus/vmbus_server.h"

#define MDL_MAGIC 0x4d444c21u
/* MDL.Size is a signed 16-bit count of bytes, page frame numbers included. */
#define MDL_MOST_PAGES ((INT16_MAX - (uint32_t)sizeof(MDL)) / (uint32_t)sizeof(PFN_NUMBER))

struct guest_mdl {
	uint32_t magic;
	struct vm *vm;
	struct vmbus_segment *piece;
	uint32_t count;
	void *mapped; /* a range of its own, or NULL */
	size_t mapped_size;
	MDL mdl; /* page frame numbers follow */
};

static struct guest_mdl *guest_mdl(PMDL mdl)
{
	struct guest_mdl *g = CONTAINING_RECORD(mdl, struct guest_mdl, mdl);

	if (g->magic == MDL_MAGIC)
		return g;
	fault("an MDL that isn't one of KMCL's");
	return NULL;
}

static uint32_t pages_of(const struct vmbus_segment *piece)
{
	return (uint32_t)(((uintptr_t)piece->data % PAGE_SIZE + piece->size + PAGE_SIZE - 1) / PAGE_SIZE);
}

static uint32_t pages_in(const struct vmbus_segment *piece, uint32_t count, uint32_t most)
{
	uint32_t pages = 0;

	for (uint32_t i = 0; i < count && pages < most; i++)
		pages += pages_of(&piece[i]);
	return pages < most ? pages : most;
}

/* One MDL over as many as `most` of the pages that are left, which it takes off. */
static struct guest_mdl *cut(struct vm *vm, struct vmbus_segment *left, uint32_t *from, uint32_t count,
			     uint32_t limit)
{
	uint32_t most = pages_in(left + *from, count - *from, limit);
	struct guest_mdl *g = must_fail("MDL") ? NULL : calloc(1, sizeof(*g) + most * sizeof(PFN_NUMBER));
	struct vmbus_segment *piece = malloc((count - *from) * sizeof(*piece));
	uint32_t pages = 0;
	PFN_NUMBER *pfn;

	if (!g || !piece) {
		free(g);
		free(piece);
		return NULL;
	}
	pfn = (PFN_NUMBER *)(&g->mdl + 1);
	g->magic = MDL_MAGIC;
	g->vm = vm;
	g->piece = piece;
	g->mdl.ByteOffset = (ULONG)((uintptr_t)left[*from].data % PAGE_SIZE);
	while (*from < count && pages < most) {
		struct vmbus_segment *s = &left[*from];
		uint32_t n = pages_of(s) < most - pages ? pages_of(s) : most - pages;
		size_t bytes = (size_t)n * PAGE_SIZE - (uintptr_t)s->data % PAGE_SIZE;

		bytes = bytes < s->size ? bytes : s->size;
		piece[g->count++] = (struct vmbus_segment){ s->data, bytes };
		for (uint32_t i = 0; i < n; i++)
			pfn[pages + i] =
				(uintptr_t)s->data / PAGE_SIZE + i; /* any will do: only a CPU reads them */
		pages += n;
		g->mdl.ByteCount += (ULONG)bytes;
		s->data += bytes;
		s->size -= bytes;
		*from += !s->size;
	}
	g->mdl.Size = (CSHORT)(sizeof(MDL) + pages * sizeof(PFN_NUMBER));
	g->mdl.MdlFlags = MDL_PAGES_LOCKED;
	hold(HELD_MDL, 1);
	return g;
}

PMDL mdl_new(struct vm *vm, const struct vmbus_segment *piece, uint32_t count, uint32_t chain)
{
	struct vmbus_segment *left = malloc(count * sizeof(*left));
	uint32_t most = settings.mdl_pages ? settings.mdl_pages : MDL_MOST_PAGES, from = 0;
	PMDL first = NULL, *last = &first;

	if (!left)
		return NULL;
	memcpy(left, piece, count * sizeof(*left));
	for (; from < count && chain; chain--) {
		struct guest_mdl *g = cut(vm, left, &from, count, most);

		if (!g)
			break;
		*last = &g->mdl;
		last = &g->mdl.Next;
	}
	free(left);
	if (from == count)
		return first;
	mdl_free(first, NULL);
	return NULL;
}

static void unmap(struct guest_mdl *g)
{
	if (g->mapped)
		lx_munmap(g->mapped, g->mapped_size);
	g->mapped = NULL;
	g->mdl.MdlFlags &= ~MDL_MAPPED_TO_SYSTEM_VA;
	g->mdl.MappedSystemVa = NULL;
	hold(HELD_MAPPING, -1);
}

void mdl_free(PMDL mdl, const char *stays)
{
	while (mdl) {
		struct guest_mdl *g = guest_mdl(mdl);

		if (!g)
			return;
		mdl = mdl->Next;
		if (g->mdl.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) {
			if (stays)
				fault("%s while its MDL is mapped", stays);
			unmap(g);
		}
		hold(HELD_MDL, -1);
		free(g->piece);
		memset(g, 0xdd, sizeof(*g));
		free(g);
	}
}

bool mdl_uses(PMDL mdl, const uint8_t *start, uint64_t size)
{
	for (; mdl; mdl = mdl->Next) {
		const struct guest_mdl *g = CONTAINING_RECORD(mdl, struct guest_mdl, mdl);

		for (uint32_t i = 0; i < g->count; i++)
			if (g->piece[i].data >= start && g->piece[i].data < start + size)
				return true;
	}
	return false;
}

PVOID mdl_map(PMDL mdl)
{
	struct guest_mdl *g = guest_mdl(mdl);
	void *at;

	if (!g || must_fail("MmMapLockedPagesSpecifyCache"))
		return NULL;
	if (mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) {
		fault("an MDL is mapped twice");
		return mdl->MappedSystemVa;
	}
	if (g->count == 1) {
		at = g->piece[0].data;
	} else {
		at = vm_map_pieces(g->vm, g->piece, g->count, &g->mapped_size);
		g->mapped = at ? (void *)((uintptr_t)at & ~(uintptr_t)(PAGE_SIZE - 1)) : NULL;
	}
	if (!at)
		return NULL;
	mdl->MappedSystemVa = at;
	mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
	hold(HELD_MAPPING, 1);
	return at;
}

void mdl_unmap(PVOID address, PMDL mdl)
{
	struct guest_mdl *g = guest_mdl(mdl);

	if (!g)
		return;
	if (!(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) || mdl->MappedSystemVa != address)
		fault("MmUnmapLockedPages of an address that the MDL isn't mapped at");
	else
		unmap(g);
}
