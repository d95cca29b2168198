/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Older headers lack it; the kernel answers EINVAL where it does not know it. */
#if defined(__linux__) && !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23
#endif

enum { HUGE_BYTES = 2 << 20 };

/* Counting begins with the first mem_test_* call, so that a program which never makes one pays a
 * single relaxed load for each block. */
static atomic_bool counting;
static atomic_bool fails_sticky;
static _Atomic uint64_t fails_at; /* number of the allocation that fails; 0: none */
static _Atomic uint64_t allocations;
static _Atomic uint64_t live;

static inline bool is_counting(void)
{
    return UNLIKELY(atomic_load_explicit(&counting, memory_order_relaxed));
}

static bool refuse_counted(void)
{
    uint64_t number = atomic_fetch_add(&allocations, 1) + 1;
    uint64_t at = atomic_load(&fails_at);
    return at != 0 && (number == at || (number > at && atomic_load(&fails_sticky)));
}

/* Requests above PTRDIFF_MAX are refused here: malloc would too, but sanitizers abort on them. */
static bool refuse(size_t bytes)
{
    return bytes > PTRDIFF_MAX || (is_counting() && refuse_counted());
}

static void *born(void *memory)
{
    if (memory && is_counting())
        atomic_fetch_add(&live, 1);
    return memory;
}

/* malloc(0) may be NULL, which would read as failure. */
static size_t at_least_one(size_t bytes)
{
    return bytes ? bytes : 1;
}

void *mem_alloc(size_t bytes)
{
    return refuse(bytes) ? NULL : born(malloc(at_least_one(bytes)));
}

void *mem_zalloc(size_t bytes)
{
    return refuse(bytes) ? NULL : born(calloc(1, at_least_one(bytes)));
}

void *mem_realloc(void *memory, size_t bytes)
{
    if (!memory)
        return mem_alloc(bytes);
    return refuse(bytes) ? NULL : realloc(memory, at_least_one(bytes));
}

void *mem_alloc_aligned(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    assert(alignment >= sizeof(void *));
    assert((alignment & (alignment - 1)) == 0);
    if (refuse(bytes) || posix_memalign(&memory, alignment, at_least_one(bytes)) != 0)
        return NULL;
    return born(memory);
}

/* Advice that may be refused: the memory is good without. */
static void *alloc_huge(size_t bytes)
{
    if (bytes > PTRDIFF_MAX - HUGE_BYTES)
        return NULL;
    bytes = u64_align_up(bytes, HUGE_BYTES);
    void *memory = mem_alloc_aligned(HUGE_BYTES, bytes);
#ifdef MADV_HUGEPAGE
    if (memory)
        (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void *mem_grow(void *memory, size_t old_bytes, size_t bytes)
{
    assert(memory || old_bytes == 0);
    if (bytes < HUGE_BYTES)
        return mem_realloc(memory, bytes);
    void *grown = alloc_huge(bytes);
    if (!grown)
        return NULL;
    if (old_bytes)
        memcpy(grown, memory, old_bytes < bytes ? old_bytes : bytes);
    mem_free(memory);
    return grown;
}

void mem_populate(void *memory, size_t bytes)
{
#ifdef __linux__
    enum { PAGE_BYTES = 4096 };
    uintptr_t from = (uintptr_t)memory;
    uintptr_t begin = u64_align_up(from, PAGE_BYTES),
              end = (from + bytes) / PAGE_BYTES * PAGE_BYTES;
    if (begin < end)
        (void)madvise((uint8_t *)memory + (begin - from), end - begin,
                      MADV_POPULATE_WRITE); /* advice */
#else
    (void)memory;
    (void)bytes;
#endif
}

void mem_free(void *memory)
{
    if (memory && is_counting())
        atomic_fetch_sub(&live, 1);
    free(memory);
}

void mem_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

sombra_err diag_nomem(const char *what, size_t bytes)
{
    assert(what);
    return diag_fail(SOMBRA_NOMEM, "out of memory: %zu bytes for %s", bytes, what);
}

void mem_test_fail_at(uint64_t nth, bool sticky)
{
    atomic_store(&counting, true);
    atomic_store(&fails_sticky, sticky);
    atomic_store(&fails_at, nth ? atomic_load(&allocations) + nth : 0);
}

uint64_t mem_test_allocations(void)
{
    atomic_store(&counting, true);
    return atomic_load(&allocations);
}

uint64_t mem_test_live(void)
{
    atomic_store(&counting, true);
    return atomic_load(&live);
}
