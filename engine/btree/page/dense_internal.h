/* SPDX-License-Identifier: MIT */
/* dense_internal: runs and entries of a dense leaf, for the files dense*.c. */
#ifndef BTREE_DENSE_INTERNAL_H
#define BTREE_DENSE_INTERNAL_H

#include "leaf_internal.h"

/* ---- arrays ------------------------------------------------------------------------------ */

static inline unsigned dense_runs(const uint8_t *page)
{
    return get_le16(page + DENSE_RUNS);
}
static inline unsigned dense_flags(const uint8_t *page)
{
    return page[DENSE_FLAGS];
}
static inline bool dense_has_values(const uint8_t *page)
{
    return (dense_flags(page) & DENSE_VALUES) != 0;
}
/* By a page's flags: bytes of the value of an entry that does not tell them. */
static inline size_t dense_usual_bytes(unsigned flags)
{
    return flags >> DENSE_USUAL_SHIFT;
}
static inline unsigned dense_ordinal(const uint8_t *page, unsigned runs, unsigned run)
{
    return get_le16(page + CELLS_HEADS + 6 * (size_t)runs + 2 * (size_t)run);
}
static inline void dense_set_ordinal(uint8_t *page, unsigned runs, unsigned run, unsigned ordinal)
{
    assert(ordinal <= UINT16_MAX);
    put_le16(page + CELLS_HEADS + 6 * (size_t)runs + 2 * (size_t)run, (uint16_t)ordinal);
}
static inline size_t dense_run_end(const uint8_t *page, size_t page_bytes, unsigned runs,
                                   unsigned run)
{
    return run == 0 ? cells_top(page, page_bytes) : slot_at(page, runs, run - 1);
}
/* Index behind the run's last entry. */
static inline unsigned dense_run_last(const uint8_t *page, unsigned runs, unsigned run)
{
    return run + 1 < runs ? dense_ordinal(page, runs, run + 1) : cells_count(page);
}

/* The run that holds entry `index`. */
static inline unsigned dense_run_of(const uint8_t *page, unsigned index)
{
    unsigned runs = dense_runs(page);
    unsigned low = 0;
    assert(index < cells_count(page));
    for (unsigned left = runs; left > 1;) {
        unsigned half = left / 2;
        low = dense_ordinal(page, runs, low + half) <= index ? low + half : low;
        left -= half;
    }
    return low;
}

/* Asks for the run before it is read: runs lie in descending order, so that no processor expects
 * the next one, and where an entry begins is known only when the one before was read. */
static inline void dense_run_prefetch(const uint8_t *at, const uint8_t *end)
{
    enum { LINE_BYTES = 64, LINES_MAX = 12 };
    if (end - at > LINES_MAX * LINE_BYTES)
        end = at + LINES_MAX * LINE_BYTES;
    for (; at < end; at += LINE_BYTES)
        __builtin_prefetch(at);
}

/* ---- entries ----------------------------------------------------------------------------- */

/* How the entries of a page tell the lengths of their values (its flags): known where the loops are
 * compiled, so that each way has loops of its own. */
enum dense_lengths { LENGTHS_NONE, LENGTHS_EACH, LENGTHS_USUAL };

static inline enum dense_lengths dense_lengths_of(unsigned flags)
{
    return flags > DENSE_VALUES    ? LENGTHS_USUAL
           : flags == DENSE_VALUES ? LENGTHS_EACH
                                   : LENGTHS_NONE;
}

struct dense_entry {
    size_t shared; /* with the entry before, behind the page's prefix */
    size_t suffix_bytes;
    size_t value_bytes;
    const uint8_t *suffix;
    const uint8_t *value;
};

/* Takes the entry at `at`, of a page of these flags, apart; returns where the next one begins. */
static inline const uint8_t *dense_parse(const uint8_t *at, unsigned flags, struct dense_entry *out)
{
    size_t form = *at++;
    size_t more;
    out->value_bytes = dense_usual_bytes(flags);
    out->shared = form >> 4;
    out->suffix_bytes = form & 15;
    if (UNLIKELY(out->shared == DENSE_NIBBLE_MAX)) {
        if (form == DENSE_UNUSUAL && flags > DENSE_VALUES) {
            out->value_bytes = *at++;
            form = *at++;
            out->shared = form >> 4;
            out->suffix_bytes = form & 15;
        }
        if (out->shared == DENSE_NIBBLE_MAX) {
            at = length_get(at, &more);
            out->shared += more;
        }
    }
    if (UNLIKELY(out->suffix_bytes == DENSE_NIBBLE_MAX)) {
        at = length_get(at, &more);
        out->suffix_bytes += more;
    }
    if (flags == DENSE_VALUES)
        out->value_bytes = *at++;
    out->suffix = at;
    out->value = at + out->suffix_bytes;
    return out->value + out->value_bytes;
}

/* Bytes that one encoded entry can take. */
enum { DENSE_ENTRY_BYTES_MAX = 2 + 1 + 2 + 2 + KV_KEY_BYTES_MAX + DENSE_VALUE_BYTES_MAX };

/* Writes an entry whose first `shared` bytes are those of the entry before. */
static inline uint8_t *dense_put(uint8_t *at, unsigned flags, sombra_slice suffix, size_t shared,
                                 sombra_slice value)
{
    size_t rest = suffix.bytes - shared;
    size_t high = shared < DENSE_NIBBLE_MAX ? shared : DENSE_NIBBLE_MAX;
    size_t low = rest < DENSE_NIBBLE_MAX ? rest : DENSE_NIBBLE_MAX;
    assert(shared <= suffix.bytes && value.bytes <= DENSE_VALUE_BYTES_MAX);
    assert(flags & DENSE_VALUES || value.bytes == 0);
    if (flags > DENSE_VALUES && value.bytes != dense_usual_bytes(flags)) {
        *at++ = DENSE_UNUSUAL;
        *at++ = (uint8_t)value.bytes;
    }
    *at++ = (uint8_t)(high << 4 | low);
    if (high == DENSE_NIBBLE_MAX)
        at = length_put(at, shared - DENSE_NIBBLE_MAX);
    if (low == DENSE_NIBBLE_MAX)
        at = length_put(at, rest - DENSE_NIBBLE_MAX);
    if (flags == DENSE_VALUES)
        *at++ = (uint8_t)value.bytes;
    if (rest > 0)
        memcpy(at, (const uint8_t *)suffix.data + shared, rest);
    at += rest;
    if (value.bytes > 0)
        memcpy(at, value.data, value.bytes);
    return at + value.bytes;
}

/* A key behind the page's prefix, decoded step by step. */
struct dense_key {
    size_t bytes;
    uint8_t data[KV_KEY_BYTES_MAX];
};

static inline void dense_key_apply(struct dense_key *key, const struct dense_entry *entry)
{
    memcpy(key->data + entry->shared, entry->suffix, entry->suffix_bytes);
    key->bytes = entry->shared + entry->suffix_bytes;
}

static inline sombra_slice dense_key_slice(const struct dense_key *key)
{
    return slice_of(key->data, key->bytes);
}

/* 16 bytes at once, read before written: the areas may overlap. */
static inline void copy_16(uint8_t *to, const uint8_t *from)
{
    uint64_t words[2];
    memcpy(words, from, sizeof words);
    memcpy(to, words, sizeof words);
}

#endif
