/* SPDX-License-Identifier: MIT */
/* leaf_internal: the calls of page.h for one leaf kind each, and sequences of entries out of which
 * leaves are built. Private to the leaf files.
 */
#ifndef BTREE_LEAF_INTERNAL_H
#define BTREE_LEAF_INTERNAL_H

#include "dense_format.h"
#include "page_internal.h"

#include <limits.h>

/* Consecutive inserts at one end that make the next split one at the edge. */
enum { LEAF_SEQUENTIAL_MIN = 3 };
/* Below so many entries the costs say little, and a built leaf keeps the kind of its source; one in
 * a row is general. */
enum { KIND_ENTRIES_MIN = 8 };

static inline bool leaf_is_dense(const uint8_t *page)
{
    return page[PAGE_KIND] == PAGE_DENSE;
}

static inline unsigned leaf_appends(const uint8_t *page)
{
    return page[LEAF_ENDS] & 15;
}
static inline unsigned leaf_prepends(const uint8_t *page)
{
    return page[LEAF_ENDS] >> 4;
}
static inline void leaf_set_ends(uint8_t *page, unsigned appends, unsigned prepends)
{
    appends = appends < 15 ? appends : 15;
    prepends = prepends < 15 ? prepends : 15;
    page[LEAF_ENDS] = (uint8_t)(prepends << 4 | appends);
}

/* ---- sequences of entries (leaf_build.c) -------------------------------------------------- */

#define SOURCE_NO_EXTRA UINT_MAX

/* The entries of one or two neighbour leaves, with one more that is inserted or replaces one; or
 * any entries (leaf_pack.c). The pages and entries outlive it. */
struct leaf_source {
    const struct leaf_entry *entries; /* if it is not NULL, these, and no pages */
    const uint16_t *shared;           /* by the keys of these, each with the one before */
    const uint8_t *pages[2];          /* [1] may be NULL */
    size_t page_bytes;
    unsigned page_count[2];
    unsigned extra_at; /* its index in the sequence; SOURCE_NO_EXTRA */
    bool replaces;     /* the extra stands for the page's entry of that index */
    sombra_slice extra_key;
    const struct leaf_value *extra_value;
    unsigned count; /* of the sequence */
};

void leaf_source_init(struct leaf_source *source, const uint8_t *first, const uint8_t *second,
                      size_t page_bytes);
void leaf_source_add(struct leaf_source *source, unsigned index, sombra_slice key,
                     const struct leaf_value *value, bool replaces);

/* Walks a source with whole keys. */
struct leaf_cursor {
    const struct leaf_source *source;
    unsigned index; /* in the sequence */
    struct leaf_iter iter;
    const uint8_t *iter_page; /* what iter stands in; NULL = nothing yet */
    size_t key_bytes;
    struct leaf_value value;
    uint8_t key[KV_KEY_BYTES_MAX];
};

void leaf_cursor_seek(struct leaf_cursor *cursor, const struct leaf_source *source, unsigned index);
bool leaf_cursor_next(struct leaf_cursor *cursor); /* false at the end */

/* Bytes that leaves of entries [first, last) would take, prefix and header included. */
struct leaf_measure {
    size_t prefix_bytes;  /* common to all of them */
    size_t general_bytes; /* page_used of a general leaf */
    size_t dense_bytes;   /* of a dense one; SIZE_MAX: unfit */
    uint8_t dense_flags;  /* of that one */
};
/* Length of the prefix common to the keys of entries [first, last). */
size_t leaf_common_prefix(const struct leaf_source *source, unsigned first, unsigned last);
void leaf_measure(const struct leaf_source *source, unsigned first, unsigned last,
                  struct leaf_measure *out);
/* Inserts what the page cannot take as it is: its prefix has to become shorter (or, in an empty
 * page, is free to choose), or its entries get value lengths. The kind of leaf stays. */
bool leaf_insert_rebuilding(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                            const struct leaf_value *value);

/* ---- keys as words (leaf.c) --------------------------------------------------------------- */

/* How the bytes that are wanted lie to the page's prefix: one of the two lengths is 0. */
struct word_frame {
    const uint8_t *match; /* what a suffix begins with, to be wanted */
    size_t match_bytes;
    size_t rest_bytes; /* of the page's prefix, that stand in front of each word */
    uint64_t rest_word;
};
/* False: no key of the page is wanted. */
bool word_frame_init(struct word_frame *frame, sombra_slice prefix, sombra_slice within);

/* The first `bytes` of a word; 0 to 8. */
static inline uint64_t word_mask(size_t bytes)
{
    static const uint64_t masks[9] = {
        0,
        UINT64_C(0xff00000000000000),
        UINT64_C(0xffff000000000000),
        UINT64_C(0xffffff0000000000),
        UINT64_C(0xffffffff00000000),
        UINT64_C(0xffffffffff000000),
        UINT64_C(0xffffffffffff0000),
        UINT64_C(0xffffffffffffff00),
        UINT64_MAX,
    };
    return masks[bytes];
}

/* `bytes` (0 to 8) as a word; nothing is read from `end` on. */
static inline uint64_t word_read(const uint8_t *at, size_t bytes, const uint8_t *end)
{
    if (LIKELY(end - at >= 8))
        return get_be64(at) & word_mask(bytes);
    uint64_t word = 0;
    for (size_t i = 0; i < bytes; i++)
        word |= (uint64_t)at[i] << (56 - 8 * i);
    return word;
}

/* ---- general leaves (general.c) ----------------------------------------------------------- */

size_t general_cell_bytes(size_t suffix_bytes, const struct leaf_value *value);
bool general_find(const uint8_t *page, size_t page_bytes, sombra_slice key, unsigned *out_index);
void general_value_at(const uint8_t *page, unsigned index, struct leaf_value *out);
/* Bytes of entries [0, index), slots included, and the index that has about so many before it. */
size_t general_weight_before(const uint8_t *page, unsigned index);
/* Bytes of entries [first, last), slots included. */
size_t general_weight_of(const uint8_t *page, unsigned first, unsigned last);
unsigned general_index_at_weight(const uint8_t *page, size_t weight);
bool general_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                    const struct leaf_value *value);
/* leaf_gap_wanted of an insert, and of a replacement. */
size_t general_insert_wants(const uint8_t *page, size_t page_bytes, sombra_slice key,
                            const struct leaf_value *value);
size_t general_replace_wants(const uint8_t *page, unsigned index, const struct leaf_value *value);
/* leaf_append of a leaf that is not empty. */
bool general_append(uint8_t *page, size_t page_bytes, sombra_slice key,
                    const struct leaf_value *value);
bool general_replace(uint8_t *page, size_t page_bytes, unsigned index,
                     const struct leaf_value *value);
void general_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last);
/* Copies entries [first, last) to the end or the front of a leaf that has the same prefix, and
 * room.
 */
void general_move_cells(const uint8_t *from, unsigned first, unsigned last, bool to_end,
                        uint8_t *to, size_t page_bytes);
/* Builds entries [first, last), whose common prefix is `prefix_bytes` long; they must fit. */
void general_build(const struct leaf_source *source, unsigned first, unsigned last,
                   size_t prefix_bytes, uint8_t *to);
/* Builds a leaf of entries [first, last) of a general one, with its prefix and no holes. */
void general_cut(const uint8_t *page, size_t page_bytes, unsigned first, unsigned last,
                 uint8_t *to);
/* Builds a leaf of the source's extra entry alone. */
void general_build_one(const struct leaf_source *source, uint8_t *to);
void general_entry_at(const uint8_t *page, unsigned index, sombra_slice *out_suffix,
                      struct leaf_value *out_value);
unsigned general_read(const uint8_t *page, unsigned index, struct leaf_batch *batch);
unsigned general_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                            struct leaf_words *words);

/* ---- dense leaves (dense.c) --------------------------------------------------------------- */

/* Bytes of lengths and suffix of an entry, value excluded. */
static inline size_t dense_length_bytes(size_t length)
{
    return length < DENSE_NIBBLE_MAX ? 0 : length_bytes(length - DENSE_NIBBLE_MAX);
}
static inline size_t dense_entry_bytes(size_t shared, size_t suffix_bytes)
{
    return 1 + dense_length_bytes(shared) + dense_length_bytes(suffix_bytes) + suffix_bytes;
}

/* The values of entries that a dense leaf may get. */
struct dense_values {
    size_t bytes; /* of all of them */
    unsigned count;
    unsigned usual_bytes, usual_count; /* the most frequent length but 0, and how many have it */
};
/* One more, of up to DENSE_VALUE_BYTES_MAX. `counts` has how many there are of each length. */
static inline void dense_values_add(struct dense_values *values,
                                    uint16_t counts[DENSE_VALUE_BYTES_MAX + 1], size_t bytes)
{
    assert(bytes <= DENSE_VALUE_BYTES_MAX);
    values->bytes += bytes;
    values->count++;
    if (bytes > 0 && ++counts[bytes] > values->usual_count) {
        values->usual_count = counts[bytes];
        values->usual_bytes = (unsigned)bytes;
    }
}
/* Bytes of their lengths, if each tells its own and if only unusual ones do. */
static inline size_t dense_lengths_bytes(const struct dense_values *values)
{
    return size_min(values->count,
                    DENSE_UNUSUAL_BYTES * (size_t)(values->count - values->usual_count));
}
/* Those of the leaf: what takes fewer bytes. */
static inline uint8_t dense_values_flags(const struct dense_values *values)
{
    if (values->usual_count == 0)
        return 0;
    unsigned usual = dense_lengths_bytes(values) < values->count ? values->usual_bytes : 0;
    return (uint8_t)(usual << DENSE_USUAL_SHIFT | DENSE_VALUES);
}
/* Bytes that values and their lengths take in it. */
static inline size_t dense_values_bytes(const struct dense_values *values)
{
    return values->usual_count == 0 ? 0 : values->bytes + dense_lengths_bytes(values);
}

bool dense_find(const uint8_t *page, size_t page_bytes, sombra_slice key, unsigned *out_index);
bool dense_find_place(const uint8_t *page, size_t page_bytes, sombra_slice key,
                      struct leaf_place *out_place);
unsigned dense_find_end(const uint8_t *page, size_t page_bytes, const struct leaf_place *low,
                        sombra_slice low_key, sombra_slice high_key);
bool dense_get(const uint8_t *page, size_t page_bytes, sombra_slice key, struct leaf_value *out);
void dense_value_at(const uint8_t *page, size_t page_bytes, unsigned index, struct leaf_value *out);
bool dense_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                  const struct leaf_value *value);
bool dense_replace(uint8_t *page, size_t page_bytes, unsigned index,
                   const struct leaf_value *value);
void dense_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last);
/* Builds entries [first, last), which must fit (`measure` is theirs). */
void dense_build(const struct leaf_source *source, unsigned first, unsigned last,
                 const struct leaf_measure *measure, uint8_t *to);
/* Entries [first, last) of a dense leaf; perhaps none. */
struct dense_piece {
    const uint8_t *page;
    unsigned first, last;
};
/* Builds a leaf of one or two pieces, in the runs they have, under the prefix that all of their
 * keys have in common, or a shorter one. False = they do not fit so. Of one piece, under a prefix
 * as long as its own or longer, they do. */
bool dense_join(const struct dense_piece pieces[2], size_t page_bytes, size_t prefix_bytes,
                uint8_t *to);
unsigned dense_read(const uint8_t *page, size_t page_bytes, unsigned index,
                    struct leaf_batch *batch);
unsigned dense_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                          struct leaf_words *words);
/* As in general leaves, but to the run: within, entries count as equal. */
size_t dense_weight_before(const uint8_t *page, size_t page_bytes, unsigned index);
unsigned dense_index_at_weight(const uint8_t *page, size_t page_bytes, size_t weight);
unsigned dense_run_count(const uint8_t *page);
void dense_iter_seek(struct leaf_iter *iter, unsigned index);
void dense_iter_enter(struct leaf_iter *iter, const struct leaf_place *place, sombra_slice key);
void dense_iter_next(struct leaf_iter *iter);

#endif
