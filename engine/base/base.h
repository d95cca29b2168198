/* SPDX-License-Identifier: MIT */
/* base: what every folder stands on. No I/O, no global state but the thread's error text and the
 * test hook of the allocator. This is the folder's only header for others; the parts are listed
 * in reading order.
 */
#ifndef BASE_H
#define BASE_H

#include "arena.h"
#include "buf.h"
#include "byte_reader.h"
#include "checksum.h"
#include "copy.h"
#include "diag.h"
#include "endian.h"
#include "hash.h"
#include "mem.h"
#include "random.h"
#include "sanitizer.h"
#include "slice.h"
#include "varint.h"

#define KiB ((size_t)1024)
#define MiB ((size_t)1024 * KiB)
#define GiB ((size_t)1024 * MiB)

#define container_of(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define LIKELY(x)       __builtin_expect(!!(x), 1)
#define UNLIKELY(x)     __builtin_expect(!!(x), 0)

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}
static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}
static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
/* Rounds up to a power of two `align`. */
static inline uint64_t u64_align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

#endif
