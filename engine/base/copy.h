/* SPDX-License-Identifier: MIT */
/* copy: some KiB of memory at once.
 *
 * Threads: no state.
 */
#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stddef.h>

/* As memcpy, and sooner done with some KiB: 175 instead of 250 ns for the used bytes of a page of
 * 8 KiB that is in the second cache, 0.93 of the time for one that is in none (Zen, glibc 2.36,
 * whose memcpy is `rep movsb` from 2 KiB on). */
void copy_wide(void *restrict to, const void *restrict from, size_t bytes);

#endif
