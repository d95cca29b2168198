/* SPDX-License-Identifier: MIT */
#include "base/base.h"

static const uint64_t odd_factor = UINT64_C(0x9E3779B97F4A7C15);

/* For one word a bijection of the state, so that no input can bring it to a fixed point. */
static uint64_t mix(uint64_t state, uint64_t word)
{
    state = (state ^ word) * odd_factor;
    return state ^ (state >> 32);
}

uint64_t hash_bytes(const void *data, size_t bytes, uint64_t seed)
{
    const uint8_t *at = data;
    uint64_t state = mix(seed, bytes);
    for (; bytes >= sizeof(uint64_t); bytes -= sizeof(uint64_t), at += sizeof(uint64_t))
        state = mix(state, get_le64(at));
    uint64_t rest = 0;
    for (size_t i = 0; i < bytes; i++)
        rest |= (uint64_t)at[i] << (8 * i);
    return hash_u64(mix(state, rest));
}
