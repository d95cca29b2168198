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

/* How long the fields of a word are, and in front of them its type: those of a batch are mostly as
 * those of the word before, and then a few masks read them. Zeroed, it is that of no word. */
struct edge_shape {
    uint64_t mask, form;            /* bits that say so, and what they are */
    uint64_t other_top, edge_top;   /* of each number one of these is set, or it is too long */
    uint64_t other_mask, edge_mask; /* of the numbers when they are shifted */
    unsigned other_shift, edge_shift;
    unsigned bytes; /* 0 = of no word */
};
/* Of a word that was read; `field` is 0 or 1. */
void edge_shape_set(struct edge_shape *shape, uint64_t word, size_t bytes, size_t field);

/* One of them, if it has the shape: other and edge are set; the type is that of the word before. */
static inline __attribute__((always_inline)) bool edge_shape_get(const struct edge_shape *shape,
                                                                 uint64_t word, size_t bytes,
                                                                 struct edge_fields *fields)
{
    if (UNLIKELY((word & shape->mask) != shape->form || bytes != shape->bytes))
        return false;
    if (UNLIKELY(!(word & shape->other_top) || !(word & shape->edge_top)))
        return false;
    fields->other = word >> shape->other_shift & shape->other_mask;
    fields->edge = word >> shape->edge_shift & shape->edge_mask;
    return true;
}

/* The others of all of them, and the bits that are set in any; what is behind them is not looked
 * at. `field` is 0 or 1. False: there are some that are not of the usual size. */
bool edge_words_others(const struct edge_words *words, size_t field, uint64_t *others,
                       uint64_t *out_bits);
/* The edge of a word, whose fields are those from `field` on; false = damage. */
bool edge_word_edge(uint64_t word, size_t field, uint64_t *out_edge);

/* One of them: the fields from `field` on are set. False = damage. The shape, zeroed at first, is
 * the caller's for a loop over the words; NULL where they are few, which costs less then. */
static inline __attribute__((always_inline)) bool edge_words_get(const struct edge_words *words,
                                                                 size_t index, const size_t field,
                                                                 struct edge_shape *shape,
                                                                 struct edge_fields *fields)
{
    uint64_t word = words->words[index];
    size_t left = words->bytes[index];
    if (LIKELY(shape && field <= 1 && edge_shape_get(shape, word, left, fields)))
        return true;
    bool is_read = (field > 0 || word_take(&word, &left, &fields->type)) &&
                   (field > 1 || word_take(&word, &left, &fields->other)) &&
                   (field > 2 || word_take(&word, &left, &fields->edge)) && left == 0;
    if (UNLIKELY(!is_read)) { /* on a copy: the fields themselves stay in registers */
        struct edge_fields slow = *fields;
        if (!edge_words_slow(words, index, field, &slow))
            return false;
        *fields = slow;
        if (shape)
            shape->bytes = 0;
    } else if (shape && field <= 1) {
        edge_shape_set(shape, words->words[index], words->bytes[index], field);
    }
    return LIKELY((field > 0 || fields->type - 1 < UINT32_MAX) && fields->other != 0);
}

#endif
