/* SPDX-License-Identifier: MIT */
/* platform_msvc.h is Microsoft's compiler's alone; mingw-w64 has the same intrinsics, so it can be compiled here. */
#include <stdint.h>

#define _M_X64 100
#include "../../provider/platform_msvc.h"

uint64_t platform_msvc_check(uint64_t *wide, uint32_t *narrow);

uint64_t platform_msvc_check(uint64_t *wide, uint32_t *narrow)
{
	wp_atomic_store64(wide, wp_atomic_load64(wide) + 1);
	wp_atomic_store32(narrow, wp_atomic_load32(narrow) + 1);
	return wp_atomic_add64(wide, 1);
}
