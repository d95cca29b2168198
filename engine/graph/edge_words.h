/* SPDX-License-Identifier: MIT */
/* edge_words: adjacency keys (TAG_OUT, TAG_IN) read as numbers, where the store does that well. */
#ifndef EDGE_WORDS_H
#define EDGE_WORDS_H

#include "graph_internal.h"

struct edge_fields {
    uint64_t type, other, edge;
};

/* Of the keys that begin with `within`: from the first on, or (`seeks` false) those behind what
 * was read before. At most `capacity`, which is at most GRAPH_BATCH. */
sombra_err edge_words_read(struct edge_words *words, struct kv_cursor *cursor, sombra_slice within,
                           bool seeks, size_t capacity) SOMBRA_MUST_CHECK;
/* Any of them; false if it is not exactly the fields from `field` on (0 type, 1 other, 2 edge). */
bool edge_words_slow(const struct edge_words *words, size_t index, size_t field,
                     struct edge_fields *fields);

/* One of them: the fields from `field` on are set. False = damage. */
static inline __attribute__((always_inline)) bool edge_words_get(const struct edge_words *words,
                                                                 size_t index, const size_t field,
                                                                 struct edge_fields *fields)
{
    uint64_t word = words->words[index];
    size_t left = words->bytes[index];
    bool is_read = (field > 0 || word_take(&word, &left, &fields->type)) &&
                   (field > 1 || word_take(&word, &left, &fields->other)) &&
                   (field > 2 || word_take(&word, &left, &fields->edge)) && left == 0;
    if (UNLIKELY(!is_read)) { /* on a copy: the fields themselves stay in registers */
        struct edge_fields slow = *fields;
        if (!edge_words_slow(words, index, field, &slow))
            return false;
        *fields = slow;
    }
    return LIKELY((field > 0 || fields->type - 1 < UINT32_MAX) && fields->other != 0);
}

#endif
