/* SPDX-License-Identifier: MIT */
/* Adjacency keys read as numbers: what stands behind a node, or a node and a type. */
#include "edge_words.h"

sombra_err edge_words_read(struct edge_words *words, struct kv_cursor *cursor, sombra_slice within,
                           bool seeks, size_t capacity)
{
    struct kv_words from = {
        .within = within,
        .seeks = seeks,
        .capacity = capacity,
        .words = words->words,
        .bytes = words->bytes,
    };
    assert(capacity > 0 && capacity <= GRAPH_BATCH);
    words->count = 0;
    words->long_key = slice_of(NULL, 0);
    sombra_err err = kv_cursor_words(cursor, &from);
    if (err)
        return err;
    words->is_last = from.is_last;
    words->count = from.count;
    if (UNLIKELY(from.is_long && from.count == 0)) {
        bool found = false;
        err = kv_cursor_move(cursor, seeks ? KV_SEEK_GE : KV_NEXT, within, &found);
        if (!err && (!found || !slice_has_prefix(cursor->entry.key, within)))
            err = diag_fail(SOMBRA_CORRUPT, "a key that was there is gone");
        if (err)
            return err;
        words->count = 1;
        words->words[0] = 0;
        words->bytes[0] = UINT8_MAX; /* no word is so long: it is read slowly */
        words->long_key = slice_from(cursor->entry.key, within.bytes);
    }
    return SOMBRA_OK;
}

/* Bytes of the ordered number that the word begins with. */
static inline unsigned number_bytes(uint64_t word)
{
    return ~word ? (unsigned)__builtin_clzll(~word) + 1 : 64;
}

static inline uint64_t bits_front(unsigned bits) /* 0 to 63 */
{
    return ~(UINT64_MAX >> bits);
}

void edge_shape_set(struct edge_shape *shape, uint64_t word, size_t bytes, size_t field)
{
    const unsigned type = field ? 0 : number_bytes(word);
    *shape = (struct edge_shape){ .bytes = 0 };
    if (type >= KV_WORD_BYTES)
        return;
    const unsigned other = number_bytes(word << 8 * type);
    if (type + other >= KV_WORD_BYTES)
        return;
    const unsigned edge = number_bytes(word << 8 * (type + other));
    assert(field <= 1);
    if (type + other + edge != bytes || bytes > KV_WORD_BYTES)
        return;
    shape->bytes = (unsigned)bytes;
    shape->mask = bits_front(8 * type) | bits_front(other) >> 8 * type |
                  bits_front(edge) >> 8 * (type + other);
    shape->form = word & shape->mask;
    shape->other_shift = 64 - 8 * (type + other);
    shape->edge_shift = 64 - 8 * (unsigned)bytes;
    shape->other_mask = (UINT64_C(1) << 7 * other) - 1;
    shape->edge_mask = (UINT64_C(1) << 7 * edge) - 1;
    shape->other_top = (shape->other_mask & ~(shape->other_mask >> 7)) << shape->other_shift;
    shape->edge_top = (shape->edge_mask & ~(shape->edge_mask >> 7)) << shape->edge_shift;
}

/* By the first four bits of an ordered number: how it is shifted up, which drops the bits that say
 * how long it is, and down again. What is longer than four bytes becomes too large for any id. */
static const uint8_t number_up[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 0 };
static const uint8_t number_down[16] = { 57, 57, 57, 57, 57, 57, 57, 57,
                                         50, 50, 50, 50, 43, 43, 36, 0 };

static inline __attribute__((always_inline)) uint64_t
others_behind(const struct edge_words *words, const unsigned type_bits, uint64_t *others)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < words->count; i++) {
        const uint64_t word = words->words[i], at = word << type_bits;
        const uint64_t other = at << number_up[at >> 60] >> number_down[at >> 60];
        others[i] = other;
        bits |= type_bits ? other | (word & UINT64_C(1) << 63) : other;
    }
    return bits;
}

bool edge_words_others(const struct edge_words *words, size_t field, uint64_t *others,
                       uint64_t *out_bits)
{
    assert(field <= 1);
    *out_bits = field ? others_behind(words, 0, others) : others_behind(words, 8, others);
    return LIKELY(*out_bits >> 63 == 0 && words->long_key.bytes == 0);
}

bool edge_word_edge(uint64_t word, size_t field, uint64_t *out_edge)
{
    uint8_t bytes[KV_WORD_BYTES];
    const uint8_t *at = bytes, *end = bytes + sizeof bytes;
    put_be64(bytes, word);
    for (; at && field <= 2; field++)
        at = ordered_get(at, end, out_edge);
    return at != NULL;
}

bool edge_words_slow(const struct edge_words *words, size_t index, size_t field,
                     struct edge_fields *fields)
{
    uint8_t bytes[KV_WORD_BYTES];
    const uint8_t *at = bytes, *end;
    assert(index < words->count && field <= 3);
    if (words->long_key.bytes) {
        at = words->long_key.data;
        end = at + words->long_key.bytes;
    } else {
        put_be64(bytes, words->words[index]);
        end = bytes + words->bytes[index];
    }
    if (field == 0)
        at = ordered_get(at, end, &fields->type);
    if (at && field <= 1)
        at = ordered_get(at, end, &fields->other);
    if (at && field <= 2)
        at = ordered_get(at, end, &fields->edge);
    return at == end;
}
