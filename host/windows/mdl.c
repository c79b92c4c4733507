/* SPDX-License-Identifier: MIT */
#include "mdl.h"

_Use_decl_annotations_ uint32_t mdl_count(PMDL chain)
{
	uint32_t count = 0;

	for (; chain; chain = chain->Next)
		count++;
	return count;
}

_Use_decl_annotations_ bool mdl_map(PMDL chain, uint32_t count, struct wp_segment *segment)
{
	PMDL mdl = chain;

	for (uint32_t i = 0; i < count; i++, mdl = mdl->Next) {
		/* KMCL says that they have no address. One with an address would be another's to unmap. */
		winapi_assert(!(mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)));
		segment[i].data = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority | MdlMappingNoExecute);
		segment[i].size = MmGetMdlByteCount(mdl);
		if (!segment[i].data) {
			mdl_unmap(chain, i);
			return false;
		}
	}
	return true;
}

_Use_decl_annotations_ void mdl_unmap(PMDL chain, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++, chain = chain->Next)
		MmUnmapLockedPages(chain->MappedSystemVa, chain);
}
