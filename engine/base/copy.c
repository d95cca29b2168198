/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define WIDE __attribute__((target("avx2")))

enum { VECTOR_BYTES = 32, LINE_BYTES = 64, WIDE_BYTES_MIN = 256 };

WIDE static inline void line_copy(uint8_t *to, const uint8_t *from)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)from);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(from + VECTOR_BYTES));
    _mm256_storeu_si256((__m256i *)(void *)to, a);
    _mm256_storeu_si256((__m256i *)(void *)(to + VECTOR_BYTES), b);
}

/* Both halves at once: where they are not in the processor's cache, two misses are on their way
 * instead of one, of bytes and of addresses. */
WIDE static void copy_lines(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t half = bytes / 2 / LINE_BYTES * LINE_BYTES;
    for (size_t at = 0; at < half; at += LINE_BYTES) {
        line_copy(to + at, from + at);
        line_copy(to + half + at, from + half + at);
    }
    for (size_t at = 2 * half; at < bytes; at += LINE_BYTES)
        line_copy(to + at, from + at);
}

void copy_wide(void *restrict to, const void *restrict from, size_t bytes)
{
    if (bytes < WIDE_BYTES_MIN || !__builtin_cpu_supports("avx2")) {
        memcpy(to, from, bytes);
        return;
    }
    uint8_t *dest = to;
    const uint8_t *source = from;
    /* The first and the last line overlap what lies between, whose lines are whole ones of `to`. */
    size_t begin = LINE_BYTES - ((uintptr_t)dest & (LINE_BYTES - 1));
    size_t lines = (bytes - begin) / LINE_BYTES * LINE_BYTES;
    line_copy(dest, source);
    copy_lines(dest + begin, source + begin, lines);
    line_copy(dest + bytes - LINE_BYTES, source + bytes - LINE_BYTES);
}
#else

void copy_wide(void *restrict to, const void *restrict from, size_t bytes)
{
    memcpy(to, from, bytes);
}
#endif
