/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <assert.h>

uint64_t random_u64(struct random *random)
{
    random->state += UINT64_C(0x9E3779B97F4A7C15);
    return hash_u64(random->state);
}

/* Lemire's multiplication: the high half is the answer, and the few low halves that would favour
 * small answers are drawn again. */
uint64_t random_below(struct random *random, uint64_t bound)
{
    assert(bound > 0);
    unsigned __int128 product = (unsigned __int128)random_u64(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t unfair = (0 - bound) % bound;
        while ((uint64_t)product < unfair)
            product = (unsigned __int128)random_u64(random) * bound;
    }
    assert((uint64_t)(product >> 64) < bound);
    return (uint64_t)(product >> 64);
}
