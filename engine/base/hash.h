/* SPDX-License-Identifier: MIT */
/* hash: for tables in memory only; values are not part of any format. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection that mixes every bit. */
static inline uint64_t hash_u64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t hash_bytes(const void *data, size_t bytes, uint64_t seed);

#endif
