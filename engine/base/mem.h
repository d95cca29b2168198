/* SPDX-License-Identifier: MIT */
/* mem: every allocation of the engine, so that tests can fail the n-th one.
 *
 * Threads: safe. The test hook is process-wide and is set before threads start.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "sombra/types.h"

/* NULL when memory is out; the caller says so with diag_nomem(). Zero bytes is a valid request
 * and gives a pointer that must be freed. */
void *mem_alloc(size_t bytes);
void *mem_zalloc(size_t bytes);
void *mem_realloc(void *memory, size_t bytes);
/* mem_realloc of a block that was asked for with `old_bytes` (NULL, 0: there is none yet), for what
 * may become large and is filled from its start. From 2 MiB on the system is asked to back it by
 * pages of that size: the first store to each 4 KiB of other memory is a fault, and costs eight
 * times what it costs to fill them. */
void *mem_grow(void *memory, size_t old_bytes, size_t bytes);
/* `alignment` is a power of two of at least sizeof(void *); freed with mem_free. */
void *mem_alloc_aligned(size_t alignment, size_t bytes);
/* Asks the system for the pages of a block that will be filled, all at once: a third cheaper than
 * a fault for each. Its bytes stay undefined. */
void mem_populate(void *memory, size_t bytes);
void mem_free(void *memory); /* NULL is a no-op */

/* Gives freed memory that lies between blocks in use back to the system, where malloc can. It may
 * take milliseconds. */
void mem_trim(void);

/* SOMBRA_NOMEM with the text "out of memory: <bytes> bytes for <what>". */
sombra_err diag_nomem(const char *what, size_t bytes);

/* Tests only. The n-th allocation from now (1 = the next) fails, once or, when `sticky`, with
 * every later one; 0 switches the failure off. mem_test_live() counts blocks not yet freed.
 * Counting begins with the first call of one of these three, which comes before the first block. */
void mem_test_fail_at(uint64_t nth, bool sticky);
uint64_t mem_test_allocations(void);
uint64_t mem_test_live(void);

#endif
