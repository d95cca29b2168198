/* SPDX-License-Identifier: MIT */
/* libdeflate folds 16 bytes at a time. Processors that multiply without carry 32 bytes at a time
 * do half the work for whole pages, which is most of what the first look at one costs. */
#include "base/base.h"

#include <assert.h>
#include <libdeflate.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define WIDE __attribute__((target("avx2,pclmul,vpclmulqdq")))

enum {
    LANE_BYTES = 16,
    VECTOR_BYTES = 32,
    VECTORS = 4,
    STEP_BYTES = VECTORS * VECTOR_BYTES,
    WIDE_BYTES_MIN = 4 * STEP_BYTES, /* of less, the last steps are most of the work */
};

/* x^(d + 32) and x^(d - 32) modulo the polynomial, bits reflected, one place to the left: what
 * moves a lane d bits on ("Fast CRC Computation Using PCLMULQDQ", Intel 2009). */
#define FOLD_1024 INT64_C(0x1e88ef372), INT64_C(0x14a7fe880)
#define FOLD_256  INT64_C(0x0f1da05aa), INT64_C(0x15a546366)
#define FOLD_128  INT64_C(0x1751997d0), INT64_C(0x0ccaa009e)

WIDE static inline __m256i vector_at(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

WIDE static inline __m256i fold(__m256i from, __m256i by, __m256i onto)
{
    __m256i low = _mm256_clmulepi64_epi128(from, by, 0x00);
    __m256i high = _mm256_clmulepi64_epi128(from, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(low, high), onto);
}

/* Of at least a step. */
WIDE static uint32_t crc32_wide(uint32_t crc, const uint8_t *at, size_t bytes)
{
    const __m256i by_step = _mm256_setr_epi64x(FOLD_1024, FOLD_1024);
    const __m256i by_vector = _mm256_setr_epi64x(FOLD_256, FOLD_256);
    const __m256i by_lane = _mm256_setr_epi64x(FOLD_128, 0, 0);
    const __m256i begin = _mm256_setr_epi32((int)~crc, 0, 0, 0, 0, 0, 0, 0);
    __m256i a = _mm256_xor_si256(vector_at(at), begin), b = vector_at(at + VECTOR_BYTES);
    __m256i c = vector_at(at + 2 * VECTOR_BYTES), d = vector_at(at + 3 * VECTOR_BYTES);
    uint8_t lane[VECTOR_BYTES];
    assert(bytes >= STEP_BYTES);
    for (at += STEP_BYTES, bytes -= STEP_BYTES; bytes >= STEP_BYTES;
         at += STEP_BYTES, bytes -= STEP_BYTES) {
        a = fold(a, by_step, vector_at(at));
        b = fold(b, by_step, vector_at(at + VECTOR_BYTES));
        c = fold(c, by_step, vector_at(at + 2 * VECTOR_BYTES));
        d = fold(d, by_step, vector_at(at + 3 * VECTOR_BYTES));
    }
    a = fold(a, by_vector, b);
    a = fold(a, by_vector, c);
    a = fold(a, by_vector, d);
    a = fold(a, by_lane, _mm256_permute2x128_si256(a, a, 0x11));
    _mm256_storeu_si256((__m256i *)(void *)lane, a);
    /* The first lane stands for all of it, begun from a register of zeros. */
    crc = libdeflate_crc32(UINT32_MAX, lane, LANE_BYTES);
    return bytes ? libdeflate_crc32(crc, at, bytes) : crc;
}

static inline bool is_wide(size_t bytes)
{
    return bytes >= WIDE_BYTES_MIN && __builtin_cpu_supports("vpclmulqdq") &&
           __builtin_cpu_supports("avx2");
}
#else

static uint32_t crc32_wide(uint32_t crc, const uint8_t *at, size_t bytes)
{
    return libdeflate_crc32(crc, at, bytes);
}

static inline bool is_wide(size_t bytes)
{
    (void)bytes;
    return false;
}
#endif

uint32_t crc32_update(uint32_t crc, const void *data, size_t bytes)
{
    if (is_wide(bytes))
        return crc32_wide(crc, data, bytes);
    /* libdeflate takes a NULL buffer for a request of the initial value. */
    return bytes ? libdeflate_crc32(crc, data, bytes) : crc;
}
