/* SPDX-License-Identifier: MIT */
/* Many entries as a row of leaves: where to cut, and in which kind each is built.
 *
 * Sizes are counted entry by entry, for both kinds at once. Those of a general leaf may come out a
 * little too high (a length of two bytes that the prefix would make one of one), those of a dense
 * leaf are exact.
 */
#include "leaf_internal.h"

/* What entries [first, first + count) take, without the prefix itself. */
struct tally {
    unsigned first, count;
    size_t prefix_bytes;
    size_t general; /* with whole keys */
    size_t dense;   /* without values */
    struct dense_values values;
    bool is_unfit; /* for a dense leaf */
};

static size_t general_bytes(const struct tally *tally)
{
    return tally->general + tally->prefix_bytes - tally->count * tally->prefix_bytes;
}

static size_t dense_bytes(const struct tally *tally)
{
    return tally->dense + tally->prefix_bytes + dense_values_bytes(&tally->values);
}

static inline size_t dense_entry(const struct leaf_row *row, unsigned first, unsigned index,
                                 size_t prefix_bytes)
{
    size_t key_bytes = row->entries[index].key.bytes;
    size_t shared = row->shared[index];
    if ((index - first) % DENSE_ROW_INTERVAL == 0)
        return DENSE_SLOT_BYTES + dense_entry_bytes(0, key_bytes - prefix_bytes);
    return dense_entry_bytes(shared - prefix_bytes, key_bytes - shared);
}

/* A shorter prefix changes what all of them take. (Of the tally it gets numbers and no pointer, so
 * that the compiler may keep that in registers.) */
static __attribute__((noinline)) size_t dense_anew(const struct leaf_row *row, unsigned first,
                                                   unsigned count, size_t prefix_bytes)
{
    size_t bytes = CELLS_HEADS;
    for (unsigned i = 0; i < count; i++)
        bytes += dense_entry(row, first, first + i, prefix_bytes);
    return bytes;
}

static inline size_t cell_bytes(const struct leaf_entry *entry)
{
    if (LIKELY(entry->key.bytes < 0x80 && entry->value.bytes.bytes < 0x40 &&
               !entry->value.overflow))
        return 2 + entry->key.bytes + entry->value.bytes.bytes;
    return general_cell_bytes(entry->key.bytes, &entry->value);
}

/* Adds the next entry; `counts` is of the lengths of its and the earlier values. */
static inline void tally_add(struct tally *tally, const struct leaf_row *row,
                             uint16_t counts[DENSE_VALUE_BYTES_MAX + 1])
{
    unsigned index = tally->first + tally->count;
    const struct leaf_entry *entry = &row->entries[index];
    size_t prefix_bytes =
        tally->count == 0 ? entry->key.bytes : size_min(tally->prefix_bytes, row->shared[index]);
    size_t value_bytes = entry->value.bytes.bytes;
    bool is_shorter = prefix_bytes != tally->prefix_bytes;
    tally->prefix_bytes = prefix_bytes;
    tally->general += LEAF_SLOT_BYTES + cell_bytes(entry);
    tally->is_unfit |= entry->value.overflow || value_bytes > DENSE_VALUE_BYTES_MAX;
    tally->count++;
    if (tally->is_unfit)
        return;
    dense_values_add(&tally->values, counts, value_bytes);
    if (UNLIKELY(is_shorter))
        tally->dense = dense_anew(row, tally->first, tally->count, prefix_bytes);
    else
        tally->dense += dense_entry(row, tally->first, index, prefix_bytes);
}

/* Dense lookups cost more, so a dense leaf has to save a quarter. */
static inline bool prefers_dense(const struct tally *tally, size_t page_bytes)
{
    return !tally->is_unfit && tally->count >= KIND_ENTRIES_MIN &&
           dense_bytes(tally) <= page_bytes &&
           dense_bytes(tally) - CELLS_HEADS <= (general_bytes(tally) - CELLS_HEADS) / 4 * 3;
}

void leaf_row_cut(const struct leaf_row *row, unsigned first, size_t fill_bytes,
                  struct leaf_cut *out)
{
    assert(first < row->count && fill_bytes <= row->page_bytes);
    struct tally tally = { .first = first, .general = CELLS_HEADS, .dense = CELLS_HEADS };
    struct tally last = tally; /* that fits */
    uint16_t counts[DENSE_VALUE_BYTES_MAX + 1] = { 0 };
    bool is_dense = false;
    for (;;) {
        tally_add(&tally, row, counts);
        if (tally.count > 1 && !is_dense && general_bytes(&tally) > fill_bytes) {
            is_dense = prefers_dense(&last, row->page_bytes);
            if (!is_dense)
                break;
        }
        if (is_dense && (tally.is_unfit || dense_bytes(&tally) > fill_bytes))
            break;
        last = tally;
        if (first + tally.count == row->count)
            break;
    }
    is_dense = is_dense || prefers_dense(&last, row->page_bytes);
    *out = (struct leaf_cut){ .first = first,
                              .count = last.count,
                              .bytes = is_dense ? dense_bytes(&last) : general_bytes(&last),
                              .prefix_bytes = last.prefix_bytes,
                              .is_dense = is_dense,
                              .dense_flags = dense_values_flags(&last.values) };
    assert(out->bytes <= row->page_bytes);
}

void leaf_row_build(const struct leaf_row *row, const struct leaf_cut *cut, uint8_t *to)
{
    struct leaf_source source = { .page_bytes = row->page_bytes,
                                  .entries = row->entries,
                                  .shared = row->shared,
                                  .extra_at = SOURCE_NO_EXTRA,
                                  .count = row->count };
    unsigned last = cut->first + cut->count;
    assert(cut->count > 0 && last <= row->count);
    if (!cut->is_dense) {
        general_build(&source, cut->first, last, cut->prefix_bytes, to);
        return;
    }
    struct leaf_measure measure = { .prefix_bytes = cut->prefix_bytes,
                                    .dense_bytes = cut->bytes,
                                    .dense_flags = cut->dense_flags };
    dense_build(&source, cut->first, last, &measure, to);
}

void leaf_mark_appended(uint8_t *page)
{
    leaf_set_ends(page, LEAF_SEQUENTIAL_MIN, 0);
}
