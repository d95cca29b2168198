/* SPDX-License-Identifier: MIT */
/* Leaves of either kind: the calls of page.h that choose the kind. Splits and merges are
 * in leaf_split.c.
 */
#include "leaf_internal.h"

size_t leaf_inline_max(size_t page_bytes)
{
    /* So that two entries of the longest key and value share the smallest page. */
    return page_bytes / 4 - 64;
}

/* ---- sequential loads -------------------------------------------------------------------- */

/* Counts an insert at either end; any other starts the counts anew. */
static void note_insert(uint8_t *page, unsigned index, unsigned count)
{
    unsigned appends = leaf_appends(page);
    unsigned prepends = leaf_prepends(page);
    leaf_set_ends(page, index == count ? appends + 1 : 0, index == 0 ? prepends + 1 : 0);
}

/* An empty leaf is general, whatever it was. */
static void make_general(uint8_t *page, size_t page_bytes)
{
    assert(cells_count(page) == 0);
    page[PAGE_KIND] = PAGE_LEAF;
    memset(page + CELLS_COUNT, 0, LEAF_ENDS - CELLS_COUNT);
    cells_set_low(page, page_bytes);
}

/* ---- one entry --------------------------------------------------------------------------- */

bool leaf_find(const uint8_t *page, size_t page_bytes, sombra_slice key, unsigned *out_index)
{
    assert(key.bytes >= 1 && key.bytes <= KV_KEY_BYTES_MAX);
    if (leaf_is_dense(page))
        return dense_find(page, page_bytes, key, out_index);
    return general_find(page, page_bytes, key, out_index);
}

bool leaf_get(const uint8_t *page, size_t page_bytes, sombra_slice key, struct leaf_value *out)
{
    unsigned index;
    if (leaf_is_dense(page))
        return dense_get(page, page_bytes, key, out);
    if (!general_find(page, page_bytes, key, &index))
        return false;
    general_value_at(page, index, out);
    return true;
}

bool leaf_find_place(const uint8_t *page, size_t page_bytes, sombra_slice key,
                     struct leaf_place *out_place)
{
    assert(key.bytes >= 1 && key.bytes <= KV_KEY_BYTES_MAX);
    if (leaf_is_dense(page))
        return dense_find_place(page, page_bytes, key, out_place);
    out_place->at = NULL;
    return general_find(page, page_bytes, key, &out_place->index);
}

unsigned leaf_find_end(const uint8_t *page, size_t page_bytes, const struct leaf_place *place,
                       sombra_slice low, sombra_slice high)
{
    unsigned index;
    assert(slice_compare(low, high) < 0);
    if (leaf_is_dense(page))
        return dense_find_end(page, page_bytes, place, low, high);
    (void)general_find(page, page_bytes, high, &index);
    return index;
}

bool leaf_is_behind(const uint8_t *page, size_t page_bytes, sombra_slice key)
{
    unsigned count = cells_count(page);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (leaf_is_dense(page) || count == 0 || !cells_key_has_prefix(key, prefix))
        return false;
    sombra_slice suffix = slice_from(key, prefix.bytes);
    return head_of(suffix.data, suffix.bytes) > head_at(page + CELLS_HEADS, count - 1);
}

void leaf_value_at(const uint8_t *page, size_t page_bytes, unsigned index, struct leaf_value *out)
{
    assert(index < cells_count(page));
    if (leaf_is_dense(page))
        dense_value_at(page, page_bytes, index, out);
    else
        general_value_at(page, index, out);
}

size_t leaf_key_at(const uint8_t *page, size_t page_bytes, unsigned index, uint8_t *to)
{
    assert(index < cells_count(page));
    struct leaf_iter iter;
    leaf_iter_seek(&iter, page, page_bytes, index);
    memcpy(to, iter.prefix.data, iter.prefix.bytes);
    memcpy(to + iter.prefix.bytes, iter.suffix.data, iter.suffix.bytes);
    return iter.prefix.bytes + iter.suffix.bytes;
}

bool leaf_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                 const struct leaf_value *value)
{
    unsigned count = cells_count(page);
    assert(index <= count);
    assert(key.bytes >= 1 && key.bytes <= KV_KEY_BYTES_MAX);
    assert(value->overflow || value->bytes.bytes <= leaf_inline_max(page_bytes));

    if (count == 0)
        make_general(page, page_bytes);
    bool did_fit = leaf_is_dense(page) ? dense_insert(page, page_bytes, index, key, value)
                                       : general_insert(page, page_bytes, index, key, value);
    if (did_fit)
        note_insert(page, index, count);
    return did_fit;
}

size_t leaf_gap_wanted(const uint8_t *page, size_t page_bytes, unsigned index, bool replaces,
                       sombra_slice key, const struct leaf_value *value)
{
    if (leaf_is_dense(page) || cells_count(page) == 0 ||
        (!value->overflow && value->bytes.bytes > leaf_inline_max(page_bytes)))
        return SIZE_MAX;
    return replaces ? general_replace_wants(page, index, value)
                    : general_insert_wants(page, page_bytes, key, value);
}

size_t leaf_gap(const uint8_t *page)
{
    assert(!leaf_is_dense(page));
    return cells_low(page) - (CELLS_HEADS + LEAF_SLOT_BYTES * (size_t)cells_count(page));
}

bool leaf_has_place(const uint8_t *page, size_t page_bytes, unsigned index, bool replaces,
                    sombra_slice key, const struct leaf_value *value)
{
    size_t wanted = leaf_gap_wanted(page, page_bytes, index, replaces, key, value);
    return wanted != SIZE_MAX && wanted <= leaf_gap(page);
}

bool leaf_append(uint8_t *page, size_t page_bytes, sombra_slice key, const struct leaf_value *value)
{
    unsigned count = cells_count(page);
    if (leaf_is_dense(page) || count == 0 || !general_append(page, page_bytes, key, value))
        return false;
    leaf_set_ends(page, leaf_appends(page) + 1, 0);
    return true;
}

bool leaf_replace(uint8_t *page, size_t page_bytes, unsigned index, const struct leaf_value *value)
{
    assert(index < cells_count(page));
    assert(value->overflow || value->bytes.bytes <= leaf_inline_max(page_bytes));
    if (leaf_is_dense(page))
        return dense_replace(page, page_bytes, index, value);
    return general_replace(page, page_bytes, index, value);
}

bool leaf_may_lose(const uint8_t *page, size_t page_bytes, unsigned index)
{
    sombra_slice suffix;
    struct leaf_value value;
    if (leaf_is_dense(page))
        return false;
    general_entry_at(page, index, &suffix, &value);
    return !value.overflow && page_used(page, page_bytes) >= page_bytes / MERGE_BELOW_DIVISOR +
                                                                 LEAF_SLOT_BYTES + suffix.bytes +
                                                                 value.bytes.bytes;
}

void leaf_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last)
{
    assert(first <= last && last <= cells_count(page));
    if (first == last)
        return;
    if (leaf_is_dense(page))
        dense_remove(page, page_bytes, first, last);
    else
        general_remove(page, page_bytes, first, last);
}

/* ---- iteration --------------------------------------------------------------------------- */

static void general_iter_load(struct leaf_iter *iter, unsigned index)
{
    iter->index = index;
    general_entry_at(iter->page, index, &iter->suffix, &iter->value);
}

void leaf_iter_seek(struct leaf_iter *iter, const uint8_t *page, size_t page_bytes, unsigned index)
{
    iter->page = page;
    iter->page_bytes = page_bytes;
    iter->count = cells_count(page);
    iter->prefix = cells_prefix(page, page_bytes);
    assert(index < iter->count);
    if (leaf_is_dense(page))
        dense_iter_seek(iter, index);
    else
        general_iter_load(iter, index);
}

void leaf_iter_enter(struct leaf_iter *iter, const uint8_t *page, size_t page_bytes,
                     const struct leaf_place *place, sombra_slice key)
{
    if (!place->at) {
        leaf_iter_seek(iter, page, page_bytes, place->index);
        return;
    }
    assert(leaf_is_dense(page));
    iter->page = page;
    iter->page_bytes = page_bytes;
    iter->count = cells_count(page);
    iter->prefix = cells_prefix(page, page_bytes);
    dense_iter_enter(iter, place, key);
}

bool leaf_iter_next(struct leaf_iter *iter)
{
    if (iter->index + 1 >= iter->count)
        return false;
    if (leaf_is_dense(iter->page))
        dense_iter_next(iter);
    else
        general_iter_load(iter, iter->index + 1);
    return true;
}

bool leaf_read_needs_room(const uint8_t *page)
{
    return leaf_is_dense(page);
}

unsigned leaf_read(const uint8_t *page, size_t page_bytes, unsigned index, struct leaf_batch *batch)
{
    assert(index <= cells_count(page));
    batch->prefix = cells_prefix(page, page_bytes);
    batch->has_overflows = false;
    if (leaf_is_dense(page))
        return dense_read(page, page_bytes, index, batch);
    return general_read(page, index, batch);
}

/* ---- keys as words ----------------------------------------------------------------------- */

bool word_frame_init(struct word_frame *frame, sombra_slice prefix, sombra_slice within)
{
    size_t common = size_min(prefix.bytes, within.bytes);
    const uint8_t *rest = (const uint8_t *)prefix.data + common;
    if (!cells_key_has_prefix(within, slice_of(prefix.data, common)))
        return false;
    *frame = (struct word_frame){ .match = (const uint8_t *)within.data + common,
                                  .match_bytes = within.bytes - common,
                                  .rest_bytes = prefix.bytes - common };
    frame->rest_word =
        word_read(rest, size_min(frame->rest_bytes, KV_WORD_BYTES), rest + frame->rest_bytes);
    return true;
}

unsigned leaf_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                         struct leaf_words *words)
{
    assert(index <= cells_count(page) && words->capacity > 0);
    words->is_over = words->is_long = false;
    if (index == cells_count(page))
        return 0;
    return leaf_is_dense(page) ? dense_read_words(page, page_bytes, index, words)
                               : general_read_words(page, page_bytes, index, words);
}
