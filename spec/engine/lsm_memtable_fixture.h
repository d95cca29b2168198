/* SPDX-License-Identifier: MIT */
/* What the tests of the memtable share: numbers as keys and values. */
#ifndef LSM_MEMTABLE_FIXTURE_H
#define LSM_MEMTABLE_FIXTURE_H

#include "lsm/memtable.h"
#include "os_fixture.h"

static inline uint64_t seed(void)
{
    const char *text = getenv("SOMBRA_SEED");
    return text ? strtoull(text, NULL, 0) : 20261121;
}

static inline void put_number(struct memtable *memtable, uint64_t seq, uint64_t number,
                              uint64_t value)
{
    uint8_t key[16], bytes[8];
    memcpy(key, "prefix__", 8);
    put_be64(key + 8, number);
    put_le64(bytes, value);
    assert_ok(memtable_put(memtable, seq, ENTRY_PUT, slice_of(key, 16), slice_of(bytes, 8)));
}

/* `count` numbers from `first` on, `step` apart, the value being the number. */
static inline void put_ascending(struct memtable *memtable, uint64_t seq, uint64_t first,
                                 uint64_t step, uint64_t count)
{
    put_number(memtable, seq, first, first);
    for (uint64_t i = 1; i < count; i++) {
        uint8_t key[16] = "prefix__", bytes[8];
        put_be64(key + 8, first + i * step);
        put_le64(bytes, first + i * step);
        assert_ok(memtable_put_next(memtable, seq, slice_of(key, 16), slice_of(bytes, 8)));
    }
}

static inline uint64_t number_of(sombra_slice key)
{
    assert_int_equal(key.bytes, 16);
    return get_be64((const uint8_t *)key.data + 8);
}

#endif
