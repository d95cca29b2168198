/* SPDX-License-Identifier: MIT */
/* The records: keys, the pool of values, random orders. */
#include "kv.h"

#include <math.h>
#include <stdlib.h>

enum { POOL_BYTES = 1 << 20, PIECE_BYTES = 100 };

static uint8_t pool[POOL_BYTES + PIECE_BYTES];

/* Pieces of 50 random printable bytes, each twice: a compressor finds a quarter to save. */
void data_init(void)
{
    struct random random;
    random_seed(&random, 301);
    for (size_t at = 0; at + PIECE_BYTES <= sizeof pool; at += PIECE_BYTES) {
        for (size_t i = 0; i < PIECE_BYTES / 2; i++)
            pool[at + i] = (uint8_t)(' ' + random_below(&random, 95));
        memcpy(pool + at + PIECE_BYTES / 2, pool + at, PIECE_BYTES / 2);
    }
}

const uint8_t *data_value(uint64_t index, uint64_t version)
{
    return pool + hash_u64(index * 8 + version) % (POOL_BYTES - VALUE_BYTES);
}

void data_key(uint64_t index, uint8_t to[KEY_BYTES])
{
    memset(to, '0', KEY_BYTES);
    for (size_t i = KEY_BYTES; index > 0; index /= 10)
        to[--i] = (uint8_t)('0' + index % 10);
}

uint32_t *data_order(uint32_t count, uint64_t seed)
{
    uint32_t *order = malloc(count * sizeof *order);
    if (!order)
        die("out of memory");
    struct random random;
    random_seed(&random, seed);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = (uint32_t)random_below(&random, (uint64_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

uint32_t *data_choice(uint32_t count, uint32_t bound, uint64_t seed)
{
    uint32_t *choice = malloc(count * sizeof *choice);
    if (!choice)
        die("out of memory");
    struct random random;
    random_seed(&random, seed);
    for (uint32_t i = 0; i < count; i++)
        choice[i] = (uint32_t)random_below(&random, bound);
    return choice;
}

uint64_t record_hash(const uint8_t *key, const uint8_t *value)
{
    return hash_bytes(value, VALUE_BYTES, hash_bytes(key, KEY_BYTES, 0));
}

/* Gray et al., "Quickly generating billion-record synthetic databases", 1994; the constant is
 * YCSB's. Ranks are scattered over the records, as YCSB's scrambled generator does. */
uint32_t *data_zipf(uint32_t count, uint32_t bound, uint64_t seed)
{
    const double theta = 0.99;
    struct random random;
    uint32_t *choice = malloc(count * sizeof *choice);
    double zeta = 0;
    if (!choice)
        die("out of memory");
    for (uint32_t i = 1; i <= bound; i++)
        zeta += pow(1.0 / i, theta);
    double alpha = 1 / (1 - theta), second = 1 + pow(0.5, theta);
    double eta = (1 - pow(2.0 / bound, 1 - theta)) / (1 - second / zeta);
    random_seed(&random, seed);
    for (uint32_t i = 0; i < count; i++) {
        double u = (double)(random_u64(&random) >> 11) / 9007199254740992.0, uz = u * zeta;
        uint64_t rank = uz < 1        ? 0
                        : uz < second ? 1
                                      : (uint64_t)(bound * pow(eta * u - eta + 1, alpha));
        choice[i] = (uint32_t)(hash_u64(rank) % bound);
    }
    return choice;
}
