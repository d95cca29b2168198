/* SPDX-License-Identifier: MIT */
/* lsm_fake_table: tables without files, for the tests of what stands on them. The fake takes the
 * place of table.c and cache.c in the program. Keys are four bytes, big-endian. */
#ifndef LSM_FAKE_TABLE_H
#define LSM_FAKE_TABLE_H

#include "assert_err.h"
#include "lsm/version.h"

struct fake_key {
    uint8_t bytes[4];
};
static inline struct fake_key fake_key_of(uint32_t value)
{
    struct fake_key key;
    put_be32(key.bytes, value);
    return key;
}
static inline sombra_slice fake_slice(const struct fake_key *key)
{
    return slice_of(key->bytes, sizeof key->bytes);
}

/* What table `number` holds, until fake_forget_all. Numbers below FAKE_FILES_MAX. */
enum { FAKE_FILES_MAX = 4096, FAKE_MEMORY_BYTES = 1000 };
struct fake_file {
    struct fake_key *keys; /* ascending; malloc'ed, the fake's from then on */
    size_t count;
    struct fake_key *ranges; /* pairs, low and high; likewise */
    size_t range_count;
};
void fake_file_put(uint64_t number, struct fake_file file);
void fake_forget_all(void);

extern _Atomic uint64_t fake_open_now, fake_open_total;
extern _Atomic uint64_t fake_dropped; /* calls of cache_drop_table */
/* Opens fail with LIMIT while more than this many are open. */
extern _Atomic uint64_t fake_open_limit;
/* The n-th open from now fails with IO; 0 = none. */
extern _Atomic uint64_t fake_open_fail_at;

/* The meta of a table of [low, end); the rest follows from its number. */
struct edit_table fake_table(unsigned level, uint64_t run, uint64_t number,
                             const struct fake_key *low, const struct fake_key *end);
uint64_t fake_seed(void);

#endif
