/* SPDX-License-Identifier: MIT */
/* Sequences of entries, walked with whole keys, and what they would cost as leaves. */
#include "leaf_internal.h"

/* ---- source ------------------------------------------------------------------------------ */

void leaf_source_init(struct leaf_source *source, const uint8_t *first, const uint8_t *second,
                      size_t page_bytes)
{
    *source = (struct leaf_source){
        .pages = { first, second },
        .page_bytes = page_bytes,
        .page_count = { cells_count(first), second ? cells_count(second) : 0 },
        .extra_at = SOURCE_NO_EXTRA,
    };
    source->count = source->page_count[0] + source->page_count[1];
}

void leaf_source_add(struct leaf_source *source, unsigned index, sombra_slice key,
                     const struct leaf_value *value, bool replaces)
{
    assert(source->extra_at == SOURCE_NO_EXTRA);
    assert(index <= source->count - (replaces ? 1 : 0));
    source->extra_at = index;
    source->replaces = replaces;
    source->extra_key = key;
    source->extra_value = value;
    source->count += replaces ? 0 : 1;
}

/* ---- cursor ------------------------------------------------------------------------------ */

static void cursor_load_page(struct leaf_cursor *cursor, const uint8_t *page, unsigned index)
{
    struct leaf_iter *iter = &cursor->iter;
    bool is_next = cursor->iter_page == page && iter->index + 1 == index;
    if (!(is_next && leaf_iter_next(iter)))
        leaf_iter_seek(iter, page, cursor->source->page_bytes, index);
    cursor->iter_page = page;
    memcpy(cursor->key, iter->prefix.data, iter->prefix.bytes);
    memcpy(cursor->key + iter->prefix.bytes, iter->suffix.data, iter->suffix.bytes);
    cursor->key_bytes = iter->prefix.bytes + iter->suffix.bytes;
    cursor->value = iter->value;
}

static void cursor_load(struct leaf_cursor *cursor)
{
    const struct leaf_source *source = cursor->source;
    unsigned index = cursor->index;
    if (source->entries) {
        const struct leaf_entry *entry = &source->entries[index];
        memcpy(cursor->key, entry->key.data, entry->key.bytes);
        cursor->key_bytes = entry->key.bytes;
        cursor->value = entry->value;
        return;
    }
    if (index == source->extra_at) {
        memcpy(cursor->key, source->extra_key.data, source->extra_key.bytes);
        cursor->key_bytes = source->extra_key.bytes;
        cursor->value = *source->extra_value;
        return;
    }
    if (source->extra_at != SOURCE_NO_EXTRA && index > source->extra_at && !source->replaces)
        index--;
    if (index < source->page_count[0])
        cursor_load_page(cursor, source->pages[0], index);
    else
        cursor_load_page(cursor, source->pages[1], index - source->page_count[0]);
}

void leaf_cursor_seek(struct leaf_cursor *cursor, const struct leaf_source *source, unsigned index)
{
    assert(index < source->count);
    cursor->source = source;
    cursor->index = index;
    cursor->iter_page = NULL;
    cursor_load(cursor);
}

bool leaf_cursor_next(struct leaf_cursor *cursor)
{
    if (cursor->index + 1 >= cursor->source->count)
        return false;
    cursor->index++;
    cursor_load(cursor);
    return true;
}

/* ---- measure ----------------------------------------------------------------------------- */

size_t leaf_common_prefix(const struct leaf_source *source, unsigned first, unsigned last)
{
    struct leaf_cursor low, high;
    leaf_cursor_seek(&low, source, first);
    if (last - first == 1)
        return low.key_bytes;
    leaf_cursor_seek(&high, source, last - 1);
    return slice_common_prefix(slice_of(low.key, low.key_bytes),
                               slice_of(high.key, high.key_bytes));
}

/* How a dense leaf of these values tells their lengths: so that it takes the fewest bytes; of few
 * entries as the leaf that they come from. */
static uint8_t values_flags(const struct leaf_source *source, const struct dense_values *values)
{
    const uint8_t *page = source->pages[0];
    uint8_t flags = dense_values_flags(values);
    if (flags != 0 && values->count < KIND_ENTRIES_MIN && page && leaf_is_dense(page) &&
        page[DENSE_FLAGS] != 0)
        return page[DENSE_FLAGS];
    return flags;
}

/* Bytes that the lengths take then. */
static size_t lengths_bytes(const struct dense_values *values, const uint16_t *counts,
                            unsigned flags)
{
    if (flags <= DENSE_VALUES)
        return flags * (size_t)values->count;
    return DENSE_UNUSUAL_BYTES * (size_t)(values->count - counts[flags >> DENSE_USUAL_SHIFT]);
}

void leaf_measure(const struct leaf_source *source, unsigned first, unsigned last,
                  struct leaf_measure *out)
{
    assert(first < last && last <= source->count);
    size_t prefix_bytes = leaf_common_prefix(source, first, last);
    size_t general = CELLS_HEADS + prefix_bytes;
    size_t dense = general;
    struct dense_values values = { .count = 0 };
    uint16_t counts[DENSE_VALUE_BYTES_MAX + 1] = { 0 };
    bool fits_dense = true;

    struct leaf_cursor cursor;
    uint8_t before[KV_KEY_BYTES_MAX];
    size_t before_bytes = 0;
    leaf_cursor_seek(&cursor, source, first);
    for (unsigned i = 0; i < last - first; i++) {
        size_t suffix_bytes = cursor.key_bytes - prefix_bytes;
        general += LEAF_SLOT_BYTES + general_cell_bytes(suffix_bytes, &cursor.value);
        size_t value_bytes = cursor.value.bytes.bytes;
        fits_dense = fits_dense && !cursor.value.overflow && value_bytes <= DENSE_VALUE_BYTES_MAX;
        if (fits_dense) {
            size_t shared = 0;
            if (i % DENSE_INTERVAL != 0)
                shared = slice_common_prefix(slice_of(before, before_bytes),
                                             slice_of(cursor.key, cursor.key_bytes)) -
                         prefix_bytes;
            else
                dense += DENSE_SLOT_BYTES;
            dense += dense_entry_bytes(shared, suffix_bytes - shared);
            dense_values_add(&values, counts, value_bytes);
            memcpy(before + prefix_bytes, cursor.key + prefix_bytes, suffix_bytes);
            if (i == 0)
                memcpy(before, cursor.key, prefix_bytes);
            before_bytes = cursor.key_bytes;
        }
        if (i + 1 < last - first)
            leaf_cursor_next(&cursor);
    }
    uint8_t flags = values_flags(source, &values);
    *out = (struct leaf_measure){
        .prefix_bytes = prefix_bytes,
        .general_bytes = general,
        .dense_bytes =
            fits_dense ? dense + values.bytes + lengths_bytes(&values, counts, flags) : SIZE_MAX,
        .dense_flags = flags,
    };
}

/* ---- a leaf built anew ------------------------------------------------------------------- */

bool leaf_insert_rebuilding(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                            const struct leaf_value *value)
{
    uint8_t built[PAGE_BYTES_MAX] __attribute__((aligned(8)));
    bool is_dense = leaf_is_dense(page);
    struct leaf_source source;
    struct leaf_measure measure;
    leaf_source_init(&source, page, NULL, page_bytes);
    leaf_source_add(&source, index, key, value, false);
    leaf_measure(&source, 0, source.count, &measure);
    if ((is_dense ? measure.dense_bytes : measure.general_bytes) > page_bytes)
        return false;
    if (is_dense)
        dense_build(&source, 0, source.count, &measure, built);
    else
        general_build(&source, 0, source.count, measure.prefix_bytes, built);
    memcpy(built, page, CELLS_COUNT); /* the identity stays */
    built[LEAF_ENDS] = page[LEAF_ENDS];
    page_copy(page, built, page_bytes);
    return true;
}
