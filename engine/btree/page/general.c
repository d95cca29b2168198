/* SPDX-License-Identifier: MIT */
/* The general leaf: any keys and values; leaf_format.h draws it. A lookup costs one pass over the
 * heads and one full comparison.
 */
#include "leaf_internal.h"

/* A cell, taken apart. All pointers go into the page. */
struct cell {
    const uint8_t *suffix;
    size_t suffix_bytes;
    const uint8_t *value; /* bytes of the value, or of the reference */
    size_t value_bytes;   /* stored here: of the value, or LEAF_OVERFLOW_BYTES */
    bool is_overflow;
};

static inline struct cell cell_parse(const uint8_t *at)
{
    struct cell cell;
    size_t mark;
    at = length_get(at, &cell.suffix_bytes);
    at = length_get(at, &mark);
    cell.is_overflow = (mark & 1) != 0;
    cell.value_bytes = cell.is_overflow ? LEAF_OVERFLOW_BYTES : mark >> 1;
    cell.suffix = at;
    cell.value = at + cell.suffix_bytes;
    return cell;
}

static inline struct cell cell_at(const uint8_t *page, unsigned count, unsigned index)
{
    assert(index < count);
    return cell_parse(page + slot_at(page, count, index));
}

static size_t cell_bytes_at(const uint8_t *page, unsigned count, unsigned index)
{
    size_t offset = slot_at(page, count, index);
    struct cell cell = cell_parse(page + offset);
    return (size_t)(cell.value + cell.value_bytes - (page + offset));
}

static inline void cell_value(const struct cell *cell, struct leaf_value *out)
{
    if (UNLIKELY(cell->is_overflow)) {
        *out = (struct leaf_value){ .overflow = get_le64(cell->value),
                                    .overflow_bytes = get_le64(cell->value + 8) };
        return;
    }
    *out = (struct leaf_value){ .bytes = slice_of(cell->value, cell->value_bytes) };
}

size_t general_cell_bytes(size_t suffix_bytes, const struct leaf_value *value)
{
    size_t lengths = length_bytes(suffix_bytes);
    if (value->overflow)
        return lengths + 1 + suffix_bytes + LEAF_OVERFLOW_BYTES;
    return lengths + length_bytes(value->bytes.bytes << 1) + suffix_bytes + value->bytes.bytes;
}

static void cell_write(uint8_t *at, sombra_slice suffix, const struct leaf_value *value)
{
    at = length_put(at, suffix.bytes);
    at = length_put(at, value->overflow ? LEAF_OVERFLOW_MARK : value->bytes.bytes << 1);
    if (suffix.bytes > 0)
        memcpy(at, suffix.data, suffix.bytes);
    at += suffix.bytes;
    if (value->overflow) {
        put_le64(at, value->overflow);
        put_le64(at + 8, value->overflow_bytes);
    } else if (value->bytes.bytes > 0) {
        memcpy(at, value->bytes.data, value->bytes.bytes);
    }
}

/* ---- search ------------------------------------------------------------------------------ */

/* First of entries [low, high), all of one head, that is >= suffix. */
static bool find_among_equals(const uint8_t *page, unsigned count, sombra_slice suffix,
                              unsigned low, unsigned high, unsigned *out_index)
{
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        struct cell cell = cell_at(page, count, middle);
        int order = slice_compare(slice_of(cell.suffix, cell.suffix_bytes), suffix);
        if (order == 0) {
            *out_index = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_index = low;
    return false;
}

/* First of the entries from `low` on, the first whose head is not below the suffix's, that is >=
 * suffix. */
static inline bool find_from(const uint8_t *page, unsigned count, sombra_slice suffix, unsigned low,
                             unsigned *out_index)
{
    const uint8_t *heads = page + CELLS_HEADS;
    uint32_t head = head_of(suffix.data, suffix.bytes);
    if (low == count || head_at(heads, low) != head) {
        *out_index = low;
        return false;
    }
    unsigned high = low + 1;
    if (high < count && head_at(heads, high) == head) {
        high = head == UINT32_MAX
                   ? count
                   : low + heads_below(heads + 4 * (size_t)low, count - low, head + 1);
    } else if (suffix.bytes <= 4 && cell_at(page, count, low).suffix_bytes == suffix.bytes) {
        *out_index = low; /* the head is all of it */
        return true;
    }
    return find_among_equals(page, count, suffix, low, high, out_index);
}

bool general_find(const uint8_t *page, size_t page_bytes, sombra_slice key, unsigned *out_index)
{
    unsigned count = cells_count(page);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (UNLIKELY(!cells_key_has_prefix(key, prefix))) {
        *out_index = slice_compare(key, prefix) < 0 ? 0 : count;
        return false;
    }
    sombra_slice suffix = slice_from(key, prefix.bytes);
    unsigned low = heads_below(page + CELLS_HEADS, count, head_of(suffix.data, suffix.bytes));
    return find_from(page, count, suffix, low, out_index);
}

/* ---- many keys ---------------------------------------------------------------------------- */

/* Sets head and rest of keys of any length; else 0. */
static __attribute__((noinline)) void seek_begin_slow(struct leaf_seek *seek, size_t page_bytes)
{
    const struct key_frame frame = key_frame_of(seek->page, page_bytes);
    seek->rest_bytes = 0;
    if (!key_frame_has(&frame, seek->key))
        return;
    seek->head = key_frame_head(&frame, seek->key);
    seek->rest_bytes = (unsigned)(seek->key->bytes.bytes - frame.prefix_bytes);
}

/* What a search of the page begins with. Of keys that are numbers without gaps the first tells
 * where each stands. */
static inline void seek_begin(struct leaf_seek *seek, size_t page_bytes)
{
    enum { FEW = 4 };
    const uint8_t *page = seek->page, *heads = page + CELLS_HEADS;
    const unsigned count = cells_count(page), prefix = (unsigned)cells_prefix_bytes(page);
    const unsigned rest = (unsigned)seek->key->bytes.bytes - prefix;
    seek->rest_bytes = 0;
    if (UNLIKELY(leaf_is_dense(page) || count == 0))
        return;
    if (LIKELY(prefix - 1 < FEW && rest - 1 < FEW)) {
        const uint64_t word = seek->key->word, end = get_be64(page + page_bytes - 8);
        const unsigned shift = 64 - 8 * prefix;
        if (UNLIKELY((word ^ end << shift) >> shift))
            return;
        seek->head = (uint32_t)(word << 8 * prefix >> 32);
        seek->rest_bytes = rest;
    } else {
        seek_begin_slow(seek, page_bytes);
        if (seek->rest_bytes == 0)
            return;
    }
    const unsigned unit_bits = rest < FEW ? 32 - 8 * rest : 0;
    const uint32_t steps = (seek->head - head_at(heads, 0)) >> unit_bits;
    seek->index = steps < count ? steps : count - 1;
    __builtin_prefetch(heads + 4 * (size_t)seek->index);
    __builtin_prefetch(heads + 4 * (size_t)count + 2 * (size_t)seek->index);
}

void leaf_seeks_begin(struct leaf_seek *seeks, size_t count, size_t page_bytes)
{
    for (const struct leaf_seek *end = seeks + count; seeks < end; seeks++)
        seek_begin(seeks, page_bytes);
}

void leaf_seeks_fetch(struct leaf_seek *seeks, size_t count)
{
    for (struct leaf_seek *seek = seeks, *end = seeks + count; seek < end; seek++) {
        const uint8_t *page = seek->page, *heads = page + CELLS_HEADS;
        if (UNLIKELY(seek->rest_bytes == 0))
            continue;
        const unsigned entries = cells_count(page);
        const uint32_t head = seek->head;
        unsigned index = seek->index;
        seek->cell = NULL;
        /* One that is not the first of its head will do only where no key is longer. */
        if (UNLIKELY(head_at(heads, index) != head || seek->rest_bytes > 4)) {
            index = heads_below(heads, entries, head);
            if (index == entries || head_at(heads, index) != head)
                continue;
        }
        seek->cell = page + slot_at(page, entries, index);
        __builtin_prefetch(seek->cell);
    }
}

/* Of those with the key's head. */
static __attribute__((noinline)) bool seek_among_equals(const struct leaf_seek *seek,
                                                        struct leaf_value *out)
{
    const uint8_t *page = seek->page;
    const sombra_slice key = seek->key->bytes;
    unsigned count = cells_count(page);
    unsigned index = heads_below(page + CELLS_HEADS, count, seek->head);
    if (!find_from(page, count, slice_from(key, key.bytes - seek->rest_bytes), index, &index))
        return false;
    struct cell cell = cell_at(page, count, index);
    cell_value(&cell, out);
    return true;
}

bool leaf_seek_end(const struct leaf_seek *seek, size_t page_bytes, struct leaf_value *out)
{
    if (UNLIKELY(seek->rest_bytes == 0))
        return leaf_get(seek->page, page_bytes, seek->key->bytes, out);
    if (UNLIKELY(!seek->cell))
        return false;
    const struct cell cell = cell_parse(seek->cell);
    if (UNLIKELY(seek->rest_bytes > 4 || cell.suffix_bytes != seek->rest_bytes))
        return seek_among_equals(seek, out);
    cell_value(&cell, out);
    return true;
}

/* ---- by index ----------------------------------------------------------------------------- */

void general_value_at(const uint8_t *page, unsigned index, struct leaf_value *out)
{
    struct cell cell = cell_at(page, cells_count(page), index);
    cell_value(&cell, out);
}

size_t general_weight_of(const uint8_t *page, unsigned first, unsigned last)
{
    unsigned count = cells_count(page);
    assert(first <= last && last <= count);
    size_t weight = LEAF_SLOT_BYTES * (size_t)(last - first);
    for (unsigned i = first; i < last; i++)
        weight += cell_bytes_at(page, count, i);
    return weight;
}

size_t general_weight_before(const uint8_t *page, unsigned index)
{
    return general_weight_of(page, 0, index);
}

unsigned general_index_at_weight(const uint8_t *page, size_t weight)
{
    unsigned count = cells_count(page);
    unsigned index = 0;
    for (size_t before = 0; index < count; index++) {
        size_t bytes = LEAF_SLOT_BYTES + cell_bytes_at(page, count, index);
        if (before + bytes / 2 >= weight)
            break;
        before += bytes;
    }
    return index;
}

void general_entry_at(const uint8_t *page, unsigned index, sombra_slice *out_suffix,
                      struct leaf_value *out_value)
{
    struct cell cell = cell_at(page, cells_count(page), index);
    *out_suffix = slice_of(cell.suffix, cell.suffix_bytes);
    cell_value(&cell, out_value);
}

unsigned general_read(const uint8_t *page, unsigned index, struct leaf_batch *batch)
{
    unsigned count = cells_count(page);
    unsigned read = batch->capacity < count - index ? batch->capacity : count - index;
    const uint8_t *slots = page + CELLS_HEADS + 4 * (size_t)count + 2 * (size_t)index;
    struct kv_entry *to = batch->entries + (batch->is_backward ? batch->capacity - 1 : 0);
    ptrdiff_t step = batch->is_backward ? -1 : 1;
    for (unsigned i = 0; i < read; i++, to += step) {
        struct cell cell = cell_parse(page + get_le16(slots + 2 * (size_t)i));
        to->key = slice_of(cell.suffix, cell.suffix_bytes);
        to->value = slice_of(cell.value, cell.value_bytes);
        if (UNLIKELY(cell.is_overflow)) {
            to->value = slice_of(NULL, 0);
            batch->has_overflows = true;
        }
    }
    return read;
}

unsigned general_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                            struct leaf_words *words)
{
    struct word_frame frame;
    const unsigned count = cells_count(page), from = index;
    if (!word_frame_init(&frame, cells_prefix(page, page_bytes), words->within)) {
        words->is_over = true;
        return 0;
    }
    for (; index < count && index - from < words->capacity; index++) {
        const struct cell cell = cell_at(page, count, index);
        words->is_over = cell.suffix_bytes < frame.match_bytes ||
                         memcmp(cell.suffix, frame.match, frame.match_bytes) != 0;
        if (words->is_over)
            break;
        size_t own = cell.suffix_bytes - frame.match_bytes;
        words->is_long = frame.rest_bytes + own > KV_WORD_BYTES;
        if (words->is_long)
            break;
        uint64_t word = word_read(cell.suffix + frame.match_bytes, own, page + page_bytes);
        if (frame.rest_bytes)
            word = frame.rest_word |
                   (frame.rest_bytes < KV_WORD_BYTES ? word >> (8 * frame.rest_bytes) : 0);
        words->words[index - from] = word;
        words->bytes[index - from] = (uint8_t)(frame.rest_bytes + own);
    }
    return index - from;
}

/* ---- change ------------------------------------------------------------------------------ */

/* Lays the cells anew, in key order, so that the holes join the free space. */
static __attribute__((noinline)) void compact(uint8_t *page, size_t page_bytes)
{
    uint8_t old[PAGE_BYTES_MAX];
    unsigned count = cells_count(page);
    size_t low = cells_low(page);
    size_t to = cells_top(page, page_bytes);
    memcpy(old + low, page + low, to - low);
    for (unsigned i = 0; i < count; i++) {
        size_t offset = slot_at(page, count, i);
        struct cell cell = cell_parse(old + offset);
        size_t bytes = (size_t)(cell.value + cell.value_bytes - (old + offset));
        to -= bytes;
        memcpy(page + to, old + offset, bytes);
        slot_set(page, count, i, to);
    }
    assert(to == low + cells_holes(page));
    cells_set_low(page, to);
    cells_set_holes(page, 0);
}

void general_copy_packed(uint8_t *to, const uint8_t *from, size_t page_bytes)
{
    unsigned count = cells_count(from);
    size_t at = cells_top(from, page_bytes);
    assert(to != from && page_kind(from) == PAGE_LEAF);
    memcpy(to + PAGE_NUMBER, from + PAGE_NUMBER, CELLS_HEADS + 4 * (size_t)count - PAGE_NUMBER);
    memcpy(to + at, from + at, page_bytes - at);
    for (unsigned i = 0; i < count; i++) {
        size_t offset = slot_at(from, count, i);
        size_t bytes = cell_bytes_at(from, count, i);
        at -= bytes;
        memcpy(to + at, from + offset, bytes);
        slot_set(to, count, i, at);
    }
    assert(at == cells_low(from) + cells_holes(from));
    cells_set_low(to, at);
    cells_set_holes(to, 0);
}

static size_t cell_append(uint8_t *page, sombra_slice suffix, const struct leaf_value *value)
{
    size_t offset = cells_low(page) - general_cell_bytes(suffix.bytes, value);
    assert(offset >= page_arrays_end(page));
    cell_write(page + offset, suffix, value);
    cells_set_low(page, offset);
    return offset;
}

bool general_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                    const struct leaf_value *value)
{
    unsigned count = cells_count(page);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (UNLIKELY(count == 0 || !cells_key_has_prefix(key, prefix)))
        return leaf_insert_rebuilding(page, page_bytes, index, key, value);

    sombra_slice suffix = slice_from(key, prefix.bytes);
    size_t bytes = general_cell_bytes(suffix.bytes, value);
    if (!cells_make_space(page, page_bytes, bytes + LEAF_SLOT_BYTES, compact))
        return false;
    size_t offset = cell_append(page, suffix, value);
    slots_insert(page, count, index, head_of(suffix.data, suffix.bytes), offset, 0);
    cells_set_count(page, count + 1);
    return true;
}

bool general_append(uint8_t *page, size_t page_bytes, sombra_slice key,
                    const struct leaf_value *value)
{
    unsigned count = cells_count(page);
    assert(count > 0);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (UNLIKELY(!cells_key_has_prefix(key, prefix)))
        return false;
    sombra_slice suffix = slice_from(key, prefix.bytes);
    uint32_t head = head_of(suffix.data, suffix.bytes);
    size_t bytes = general_cell_bytes(suffix.bytes, value);
    size_t low = cells_low(page);
    size_t end = CELLS_HEADS + LEAF_SLOT_BYTES * (size_t)count;
    if (head <= head_at(page + CELLS_HEADS, count - 1) || low - end < bytes + LEAF_SLOT_BYTES)
        return false;
    low -= bytes;
    cell_write(page + low, suffix, value);
    cells_set_low(page, low);
    slots_insert(page, count, count, head, low, 0);
    cells_set_count(page, count + 1);
    return true;
}

/* Makes the cell at `offset` longer at its front by `more`, for which the gap has room. */
static void cell_grow(uint8_t *page, unsigned count, size_t offset, size_t more)
{
    size_t low = cells_low(page);
    assert(low >= page_arrays_end(page) + more && offset >= low);
    memmove(page + low - more, page + low, offset - low);
    for (unsigned i = 0; i < count; i++) {
        size_t at = slot_at(page, count, i);
        if (at <= offset)
            slot_set(page, count, i, at - more);
    }
    cells_set_low(page, low - more);
}

/* The cell as a new one below all others. There is room in the gap and the holes. */
static void cell_move(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice suffix,
                      const struct leaf_value *value)
{
    unsigned count = cells_count(page);
    uint32_t head = head_at(page + CELLS_HEADS, index);
    general_remove(page, page_bytes, index, index + 1);
    bool has_space = cells_make_space(
        page, page_bytes, general_cell_bytes(suffix.bytes, value) + LEAF_SLOT_BYTES, compact);
    assert(has_space);
    (void)has_space;
    size_t offset = cell_append(page, suffix, value);
    slots_insert(page, count - 1, index, head, offset, 0);
    cells_set_count(page, count);
}

/* What is shorter stays where it is and leaves a hole behind it. What is longer goes below all
 * cells; if there is no room for that without laying them anew, and that would not make room for
 * much more, those below it move by what it is longer. */
bool general_replace(uint8_t *page, size_t page_bytes, unsigned index,
                     const struct leaf_value *value)
{
    unsigned count = cells_count(page);
    struct cell cell = cell_at(page, count, index);
    bool same_form = cell.is_overflow == (value->overflow != 0);
    if (same_form && !cell.is_overflow && cell.value_bytes == value->bytes.bytes) {
        if (value->bytes.bytes > 0)
            memcpy(page + (cell.value - page), value->bytes.data, value->bytes.bytes);
        return true;
    }
    size_t offset = slot_at(page, count, index);
    size_t old_bytes = cell_bytes_at(page, count, index);
    size_t new_bytes = general_cell_bytes(cell.suffix_bytes, value);
    size_t gap = cells_low(page) - page_arrays_end(page), holes = cells_holes(page);
    if (new_bytes > gap + holes + old_bytes)
        return false;
    uint8_t bytes[KV_KEY_BYTES_MAX];
    sombra_slice suffix = slice_of(bytes, cell.suffix_bytes);
    memcpy(bytes, cell.suffix, cell.suffix_bytes);
    if (new_bytes <= old_bytes) {
        cell_write(page + offset, suffix, value);
        cells_set_holes(page, holes + (old_bytes - new_bytes));
    } else if (gap < new_bytes && gap >= new_bytes - old_bytes && holes <= new_bytes) {
        cell_grow(page, count, offset, new_bytes - old_bytes);
        cell_write(page + slot_at(page, count, index), suffix, value);
    } else {
        cell_move(page, page_bytes, index, suffix, value);
    }
    return true;
}

size_t general_insert_wants(const uint8_t *page, size_t page_bytes, sombra_slice key,
                            const struct leaf_value *value)
{
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (!cells_key_has_prefix(key, prefix))
        return SIZE_MAX;
    return general_cell_bytes(key.bytes - prefix.bytes, value) + LEAF_SLOT_BYTES;
}

size_t general_replace_wants(const uint8_t *page, unsigned index, const struct leaf_value *value)
{
    struct cell cell = cell_at(page, cells_count(page), index);
    if (cell.is_overflow || value->overflow)
        return SIZE_MAX;
    return cell.value_bytes == value->bytes.bytes ? 0
                                                  : general_cell_bytes(cell.suffix_bytes, value);
}

void general_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last)
{
    unsigned count = cells_count(page);
    size_t low = cells_low(page);
    size_t holes = cells_holes(page);
    for (unsigned i = first; i < last; i++) {
        size_t offset = slot_at(page, count, i);
        size_t bytes = cell_bytes_at(page, count, i);
        if (offset == low)
            low += bytes;
        else
            holes += bytes;
    }
    slots_remove(page, count, first, last, 0);
    cells_set_count(page, count - (last - first));
    if (count == last - first) {
        low = cells_top(page, page_bytes);
        holes = 0;
    }
    cells_set_low(page, low);
    cells_set_holes(page, holes);
}

void general_move_cells(const uint8_t *from, unsigned first, unsigned last, bool to_end,
                        uint8_t *to, size_t page_bytes)
{
    unsigned of = cells_count(from);
    unsigned count = cells_count(to);
    unsigned more = last - first;
    size_t bytes = general_weight_of(from, first, last);
    assert(first < last && last <= of && cells_prefix_bytes(from) == cells_prefix_bytes(to));
    bool has_space = cells_make_space(to, page_bytes, bytes, compact);
    assert(has_space);
    (void)has_space;
    uint8_t *heads = to + CELLS_HEADS;
    unsigned at = to_end ? count : 0;
    memmove(heads + 4 * ((size_t)count + more) + (to_end ? 0 : 2 * (size_t)more),
            heads + 4 * (size_t)count, 2 * (size_t)count);
    if (!to_end)
        memmove(heads + 4 * (size_t)more, heads, 4 * (size_t)count);
    memcpy(heads + 4 * (size_t)at, from + CELLS_HEADS + 4 * (size_t)first, 4 * (size_t)more);
    size_t low = cells_low(to);
    for (unsigned i = 0; i < more; i++) {
        size_t offset = slot_at(from, of, first + i);
        size_t cell_bytes = cell_bytes_at(from, of, first + i);
        low -= cell_bytes;
        memcpy(to + low, from + offset, cell_bytes);
        slot_set(to, count + more, at + i, low);
    }
    cells_set_low(to, low);
    cells_set_count(to, count + more);
    assert(low >= page_arrays_end(to));
}

/* ---- build ------------------------------------------------------------------------------- */

void general_build(const struct leaf_source *source, unsigned first, unsigned last,
                   size_t prefix_bytes, uint8_t *to)
{
    assert(first <= last && last <= source->count);
    unsigned count = last - first;
    page_init(to, source->page_bytes, PAGE_LEAF, 0, 0, 0);
    cells_set_count(to, count);
    put_le16(to + CELLS_PREFIX_BYTES, (uint16_t)prefix_bytes);
    cells_set_low(to, source->page_bytes - prefix_bytes);
    if (count == 0)
        return;

    struct leaf_cursor cursor;
    leaf_cursor_seek(&cursor, source, first);
    memcpy(to + source->page_bytes - prefix_bytes, cursor.key, prefix_bytes);
    for (unsigned i = 0; i < count; i++) {
        sombra_slice suffix = slice_of(cursor.key + prefix_bytes, cursor.key_bytes - prefix_bytes);
        put_le32(to + CELLS_HEADS + 4 * (size_t)i, head_of(suffix.data, suffix.bytes));
        slot_set(to, count, i, cell_append(to, suffix, &cursor.value));
        if (i + 1 < count)
            leaf_cursor_next(&cursor);
    }
}

void general_cut(const uint8_t *page, size_t page_bytes, unsigned first, unsigned last, uint8_t *to)
{
    unsigned of = cells_count(page);
    unsigned count = last - first;
    assert(to != page && first <= last && last <= of);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    page_init(to, page_bytes, PAGE_LEAF, 0, 0, 0);
    cells_set_count(to, count);
    put_le16(to + CELLS_PREFIX_BYTES, (uint16_t)prefix.bytes);
    if (prefix.bytes)
        memcpy(to + page_bytes - prefix.bytes, prefix.data, prefix.bytes);
    memcpy(to + CELLS_HEADS, page + CELLS_HEADS + 4 * (size_t)first, 4 * (size_t)count);
    size_t low = page_bytes - prefix.bytes;
    for (unsigned i = 0; i < count; i++) {
        size_t offset = slot_at(page, of, first + i);
        size_t bytes = cell_bytes_at(page, of, first + i);
        low -= bytes;
        memcpy(to + low, page + offset, bytes);
        slot_set(to, count, i, low);
    }
    cells_set_low(to, low);
}

void general_build_one(const struct leaf_source *source, uint8_t *to)
{
    assert(source->extra_at != SOURCE_NO_EXTRA);
    general_build(source, source->extra_at, source->extra_at + 1, source->extra_key.bytes, to);
}

/* ---- validation -------------------------------------------------------------------------- */

/* Takes the cell at `offset` apart within [low, top); a text says what is wrong. */
static const char *cell_check(const uint8_t *page, size_t page_bytes, size_t offset,
                              struct cell *out_cell)
{
    size_t prefix_bytes = cells_prefix_bytes(page);
    const uint8_t *end = page + page_bytes - prefix_bytes;
    size_t mark;
    struct cell cell;
    if (offset < cells_low(page) || offset >= page_bytes - prefix_bytes)
        return "a slot points outside the cell area";
    const uint8_t *at = page + offset;
    if (LIKELY(end - at >= 2 && (at[0] | at[1]) < 0x80)) {
        cell.suffix_bytes = at[0];
        mark = at[1];
        at += 2;
    } else {
        at = length_get_checked(at, end, &cell.suffix_bytes);
        at = at ? length_get_checked(at, end, &mark) : NULL;
        if (!at)
            return "a cell's lengths are not well formed";
    }
    cell.is_overflow = (mark & 1) != 0;
    cell.value_bytes = cell.is_overflow ? LEAF_OVERFLOW_BYTES : mark >> 1;
    cell.suffix = at;
    if (cell.suffix_bytes + prefix_bytes < 1 || cell.suffix_bytes > KV_KEY_BYTES_MAX - prefix_bytes)
        return "a key's length is outside 1 to 1024";
    if (cell.is_overflow ? mark != LEAF_OVERFLOW_MARK
                         : cell.value_bytes > leaf_inline_max(page_bytes))
        return "a value's length is out of bounds";
    if (cell.suffix_bytes + cell.value_bytes > (size_t)(end - at))
        return "a cell reaches past the cell area";
    cell.value = at + cell.suffix_bytes;
    if (cell.is_overflow) {
        uint64_t run = get_le64(cell.value);
        uint64_t bytes = get_le64(cell.value + 8);
        if (run == 0 || run >> 48 != 0 || run == page_number(page))
            return "an overflow run's page number is out of bounds";
        if (bytes == 0 || bytes > KV_VALUE_BYTES_MAX)
            return "an overflow value's length is out of bounds";
    }
    *out_cell = cell;
    return NULL;
}

static const char *entry_check(const uint8_t *page, unsigned index, const struct cell *cell,
                               const struct cell *before)
{
    const uint8_t *heads = page + CELLS_HEADS;
    uint32_t head = head_at(heads, index);
    if (head != head_of(cell->suffix, cell->suffix_bytes))
        return "a head differs from its key";
    if (index == 0)
        return NULL;
    uint32_t head_before = head_at(heads, index - 1);
    if (head > head_before)
        return NULL;
    if (head < head_before || slice_compare(slice_of(before->suffix, before->suffix_bytes),
                                            slice_of(cell->suffix, cell->suffix_bytes)) >= 0)
        return "keys are not in ascending order";
    return NULL;
}

sombra_err general_validate(const uint8_t *page, size_t page_bytes)
{
    sombra_err err = cells_validate_area(page, page_bytes, page_arrays_end(page));
    if (err)
        return err;
    if ((get_le32(page + LEAF_ZERO) & 0xffffff) != 0)
        return page_corrupt(page, LEAF_ZERO, "reserved bytes are not zero");

    unsigned count = cells_count(page);
    size_t used = 0;
    /* Cells of a built leaf stand one below the other; a map is for those that do not. */
    size_t row_end = cells_top(page, page_bytes);
    bool is_row = true;
    struct byte_map taken;
    struct cell cells[2];
    memset(cells, 0, sizeof cells);
    for (unsigned i = 0; i < count; i++) {
        size_t offset = slot_at(page, count, i);
        struct cell *cell = &cells[i % 2];
        const char *wrong = cell_check(page, page_bytes, offset, cell);
        if (!wrong)
            wrong = entry_check(page, i, cell, &cells[(i + 1) % 2]);
        if (wrong)
            return page_corrupt(page, offset, wrong);
        size_t bytes = (size_t)(cell->value + cell->value_bytes - (page + offset));
        used += bytes;
        if (LIKELY(is_row && offset + bytes == row_end)) {
            row_end = offset;
            continue;
        }
        if (is_row) {
            is_row = false;
            byte_map_init(&taken, page_bytes);
            size_t row_bytes = cells_top(page, page_bytes) - row_end;
            if (row_bytes)
                (void)byte_map_take(&taken, row_end, row_bytes);
        }
        if (!byte_map_take(&taken, offset, bytes))
            return page_corrupt(page, offset, "two cells overlap");
    }
    if (used + cells_holes(page) != cells_top(page, page_bytes) - cells_low(page))
        return page_corrupt(page, CELLS_HOLES, "cells and holes do not fill the cell area");
    return SOMBRA_OK;
}
