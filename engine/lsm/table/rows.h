/* SPDX-License-Identifier: MIT */
/* rows: a data block as it lies in memory: unpacked, each entry with its whole key.
 *
 * Blocks on disk leave out what a key shares with the one before (table_format.h). They are read
 * far more often than loaded, so that is undone once, when the block was checked: a search is a
 * bisection of one array, a step in either direction an addition, and keys are given where they
 * stand. In the order of memory:
 *
 *   struct rows_head | heads: count x u32 | places: (count + 1) x 2 x u16 or u32 | bytes
 *
 *   head    the 4 bytes of a key behind the prefix that all keys of the block share, big-endian,
 *           zeros where the key ends before. Heads never descend; where two differ, they order the
 *           keys.
 *   place   where a key begins in `bytes`, its value behind it; bytes of the key, and the entry's
 *           kind above ROWS_KIND_SHIFT. The last one says where the last value ends. Two numbers
 *           of 2 bytes, but where there are more `bytes` than those can tell: of 4.
 *
 * An entry costs 8 bytes more than its key and its value, in a large block 12. A search of a short
 * key touches the lines of its head, its place and its value only: the prefix begins in rows_head,
 * and samples of the heads stand there, which tell between which of them to look.
 *
 * Ownership: struct rows points into the memory of a block.
 * Threads: reading only; safe.
 */
#ifndef LSM_ROWS_H
#define LSM_ROWS_H

#include "block_read.h"

enum { ROWS_KIND_SHIFT = 14 };
static_assert(KV_KEY_BYTES_MAX < 1 << ROWS_KIND_SHIFT, "a size has room for the kind");
static_assert((int)ENTRY_LARGE < 1 << (16 - ROWS_KIND_SHIFT), "in 2 bytes as well");

enum { ROWS_PREFIX_BYTES = 20, ROWS_SAMPLES = 16 };
struct rows_head {
    uint32_t count;
    uint16_t prefix_bytes;
    uint16_t is_wide;                  /* places are of 4 bytes */
    uint32_t step;                     /* heads from one sample to the next */
    uint8_t prefix[ROWS_PREFIX_BYTES]; /* as much of it as there is room for */
    uint32_t samples[ROWS_SAMPLES];    /* heads 0, step, 2 step, ...; where there are no more, what
                                          is below no head */
};
static_assert(sizeof(struct rows_head) == 96, "one line of samples, and half of one");
struct rows {
    uint32_t count;        /* >= 1 */
    uint32_t prefix_bytes; /* of the first key: all have them */
    uint32_t step;
    bool is_wide;
    const uint8_t *prefix;
    const uint32_t *samples;
    const uint32_t *heads;
    const uint8_t *places;
    const uint8_t *bytes;
};

/* What a block will take. `block` was checked by block_rules_data. */
size_t rows_bytes(const struct block *block);
/* What it takes at most in a block that a writer made. */
size_t rows_bytes_max(uint32_t entries);
/* Unpacks it to `to`, of `bytes` as rows_bytes says, and aligned for 8 of them. */
void rows_unpack(const struct block *block, uint8_t *to, size_t bytes);

static inline void rows_open(struct rows *rows, const uint8_t *memory)
{
    const struct rows_head *head = (const struct rows_head *)(const void *)memory;
    rows->count = head->count;
    rows->prefix_bytes = head->prefix_bytes;
    rows->step = head->step;
    rows->samples = head->samples;
    rows->heads = (const uint32_t *)(const void *)(head + 1);
    rows->is_wide = head->is_wide;
    rows->places = (const uint8_t *)(rows->heads + head->count);
    rows->bytes = rows->places + ((size_t)head->count + 1) * (head->is_wide ? 8 : 4);
    rows->prefix = head->prefix_bytes <= ROWS_PREFIX_BYTES ? head->prefix : rows->bytes;
}

static inline const uint8_t *rows_place(const struct rows *rows, uint32_t at)
{
    return rows->places + (size_t)at * (rows->is_wide ? 8 : 4);
}
/* Where a key begins in `bytes`; of `count`, where the last value ends. */
static inline uint32_t rows_key_at(const struct rows *rows, uint32_t at)
{
    const void *place = rows_place(rows, at);
    assert(at <= rows->count);
    return UNLIKELY(rows->is_wide) ? *(const uint32_t *)place : *(const uint16_t *)place;
}
/* Bytes of a key, and the kind. */
static inline uint32_t rows_size_at(const struct rows *rows, uint32_t at)
{
    const void *place = rows_place(rows, at);
    assert(at < rows->count);
    return UNLIKELY(rows->is_wide) ? ((const uint32_t *)place)[1] : ((const uint16_t *)place)[1];
}
static inline uint32_t rows_key_bytes(const struct rows *rows, uint32_t at)
{
    return rows_size_at(rows, at) & ((1U << ROWS_KIND_SHIFT) - 1);
}
static inline sombra_slice rows_key(const struct rows *rows, uint32_t at)
{
    return slice_of(rows->bytes + rows_key_at(rows, at), rows_key_bytes(rows, at));
}
/* All of an entry but its table. */
static inline void rows_entry(const struct rows *rows, uint32_t at, struct lsm_entry *out)
{
    uint32_t key_at = rows_key_at(rows, at), size = rows_size_at(rows, at);
    uint32_t key_bytes = size & ((1U << ROWS_KIND_SHIFT) - 1);
    const uint8_t *key = rows->bytes + key_at;
    out->key = slice_of(key, key_bytes);
    out->value = slice_of(key + key_bytes, rows_key_at(rows, at + 1) - key_at - key_bytes);
    out->kind = (enum entry_kind)(size >> ROWS_KIND_SHIFT);
}

/* The first entry with a key >= `key`, or count. *out_is_equal may be NULL. */
uint32_t rows_find(const struct rows *rows, sombra_slice key, bool *out_is_equal);
/* In steps, for who looks for many: each fetches what the next one reads. */
struct rows_aim {
    uint32_t head;      /* of the key; nothing where is_outside */
    uint32_t low, high; /* among these, or `high`, is the first head that is not below */
    bool is_outside;    /* it does not begin as all keys do: `high` is the answer */
};
void rows_aim(const struct rows *rows, sombra_slice key, struct rows_aim *out);
/* Where keys with that head begin; then the answer, as rows_find gives it. */
uint32_t rows_find_head(const struct rows *rows, const struct rows_aim *aim);
uint32_t rows_find_at(const struct rows *rows, sombra_slice key, const struct rows_aim *aim,
                      uint32_t head_at, bool *out_is_equal);
/* The same where the answer is >= `from` and probably not far behind it. */
uint32_t rows_find_from(const struct rows *rows, sombra_slice key, uint32_t from);

#endif
