/* SPDX-License-Identifier: MIT */
/* block_read: sorted blocks (data, ranges, index) as they stand in table_format.h, decompressed.
 *
 * A block is checked once, completely, when it comes into memory: lengths, restarts, heads, prefix,
 * ascending keys. All other functions here trust it and check nothing, but for block_lookup.
 *
 * Ownership: a struct block points into its bytes.
 * Threads: reading only; safe.
 */
#ifndef LSM_BLOCK_READ_H
#define LSM_BLOCK_READ_H

#include "source.h"
#include "table_format.h"

struct block {
    const uint8_t *data;
    const uint8_t *heads; /* also where the entries end */
    const uint8_t *places;
    uint32_t restarts, entries; /* at least one of each */
    uint32_t interval;          /* entries from one restart to the next */
    sombra_slice prefix;        /* of all keys */
};

struct block_entry {
    uint32_t shared;   /* bytes of the key before that it begins with */
    sombra_slice rest; /* the key behind them */
    sombra_slice value;
    enum entry_kind kind;
    const uint8_t *next; /* where the next entry begins */
};

/* Of the blocks of one kind. */
struct block_rules {
    uint32_t interval;
    uint32_t key_bytes_min, key_bytes_max;
    bool is_data; /* else: every entry is a put */
};
extern const struct block_rules block_rules_data, block_rules_index, block_rules_ranges;

/* CORRUPT; the text does not name the file. */
sombra_err block_check(sombra_slice raw, const struct block_rules *rules) SOMBRA_MUST_CHECK;
/* The entry with `key` in a data block of which nothing was checked: what the search touches is
 * proved, and no more. *out_entry is set where one is found. CORRUPT, as block_check. */
sombra_err block_lookup(sombra_slice raw, sombra_slice key, bool *out_is_found,
                        struct block_entry *out_entry) SOMBRA_MUST_CHECK;
/* `raw` was checked by these rules. */
void block_open(struct block *block, sombra_slice raw, const struct block_rules *rules);

/* The entry that begins at `at`. */
static inline const uint8_t *block_varint(const uint8_t *at, uint32_t *out_value)
{
    uint32_t value = *at++;
    if (UNLIKELY(value >= 0x80)) {
        value &= 0x7f;
        for (unsigned shift = 7;; shift += 7) {
            uint32_t byte = *at++;
            value |= (byte & 0x7f) << shift;
            if (byte < 0x80)
                break;
        }
    }
    *out_value = value;
    return at;
}
static inline void block_entry_at(const uint8_t *at, struct block_entry *out)
{
    uint32_t unshared, packed;
    at = block_varint(at, &out->shared);
    at = block_varint(at, &unshared);
    at = block_varint(at, &packed);
    out->rest = slice_of(at, unshared);
    out->value = slice_of(at + unshared, packed >> 2);
    out->kind = (enum entry_kind)(packed & 3);
    out->next = at + unshared + (packed >> 2);
}
static inline const uint8_t *block_restart(const struct block *block, uint32_t restart)
{
    return block->data + get_le32(block->places + (size_t)restart * TABLE_PLACE_BYTES);
}

/* A place among the entries; index = block->entries is behind the last. */
struct block_spot {
    uint32_t index;
    uint32_t restart;  /* its interval; for the end, the last one */
    const uint8_t *at; /* where the entry begins; NULL at the end */
    bool is_equal;     /* its key is the one asked for */
};
/* First entry with key >= `key`. */
void block_find(const struct block *block, sombra_slice key, struct block_spot *out_spot);

#endif
