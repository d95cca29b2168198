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
