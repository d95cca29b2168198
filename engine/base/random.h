/* SPDX-License-Identifier: MIT */
/* random: a seeded splitmix64 stream, for tests, sampling and jitter. Secrets and ids that must
 * be unique come from os_random. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

static inline void random_seed(struct random *random, uint64_t seed)
{
    random->state = seed;
}
uint64_t random_u64(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

#endif
