/* SPDX-License-Identifier: MIT */
/* Building and changing dense leaves. A change re-encodes the entry it is about and the one behind
 * it; what stands at lower addresses in the page, the rest of the run and all later runs, moves by
 * the difference. Removing never grows a page (dense_format.h).
 */
#include "dense_internal.h"

/* ---- runs -------------------------------------------------------------------------------- */

static size_t free_bytes(const uint8_t *page)
{
    return cells_low(page) - dense_arrays_end(page);
}

/* The slots of runs [first, runs) say where their runs are after they moved down by `bytes`. */
static void move_slots(uint8_t *page, unsigned first, ptrdiff_t bytes)
{
    unsigned runs = dense_runs(page);
    for (unsigned run = first; run < runs; run++)
        slot_set(page, runs, run, (size_t)((ptrdiff_t)slot_at(page, runs, run) - bytes));
}

static void add_ordinals(uint8_t *page, unsigned first, int entries)
{
    unsigned runs = dense_runs(page);
    for (unsigned run = first; run < runs; run++)
        dense_set_ordinal(page, runs, run,
                          (unsigned)((int)dense_ordinal(page, runs, run) + entries));
}

/* Replaces `old_bytes` at `offset`; the slots of `run` and those behind move. The space must be
 * there. */
static void splice(uint8_t *page, unsigned run, size_t offset, size_t old_bytes, sombra_slice bytes)
{
    ptrdiff_t growth = (ptrdiff_t)bytes.bytes - (ptrdiff_t)old_bytes;
    size_t low = cells_low(page);
    assert(growth <= (ptrdiff_t)free_bytes(page));
    assert(offset >= low);
    if (growth != 0) {
        memmove(page + (ptrdiff_t)low - growth, page + low, offset - low);
        move_slots(page, run, growth);
        cells_set_low(page, (size_t)((ptrdiff_t)low - growth));
    }
    if (bytes.bytes > 0)
        memcpy(page + (ptrdiff_t)offset - growth, bytes.data, bytes.bytes);
}

/* Opens a slot for a run that begins with `first_suffix`. */
static void slot_insert(uint8_t *page, unsigned run, sombra_slice first_suffix, size_t offset,
                        unsigned ordinal)
{
    unsigned runs = dense_runs(page);
    slots_insert(page, runs, run, head_of(first_suffix.data, first_suffix.bytes), offset,
                 2 * (size_t)runs);
    put_le16(page + DENSE_RUNS, (uint16_t)(runs + 1));
    uint8_t *ordinals = page + CELLS_HEADS + 6 * (size_t)(runs + 1);
    memmove(ordinals + 2 * (size_t)run + 2, ordinals + 2 * (size_t)run, 2 * (size_t)(runs - run));
    dense_set_ordinal(page, runs + 1, run, ordinal);
}

static void slot_remove(uint8_t *page, unsigned run)
{
    unsigned runs = dense_runs(page);
    slots_remove(page, runs, run, run + 1, 2 * (size_t)runs);
    put_le16(page + DENSE_RUNS, (uint16_t)(runs - 1));
    uint8_t *ordinals = page + CELLS_HEADS + 6 * (size_t)(runs - 1);
    memmove(ordinals + 2 * (size_t)run, ordinals + 2 * (size_t)run + 2,
            2 * (size_t)(runs - 1 - run));
}

static void set_head(uint8_t *page, unsigned run, sombra_slice first_suffix)
{
    put_le32(page + CELLS_HEADS + 4 * (size_t)run, head_of(first_suffix.data, first_suffix.bytes));
}

/* Where entry `index` of run `run` begins; *out_before is the key before it (empty for the first).
 */
static const uint8_t *run_walk(const uint8_t *page, unsigned run, unsigned index,
                               struct dense_key *out_before)
{
    unsigned runs = dense_runs(page);
    const unsigned flags = dense_flags(page);
    const uint8_t *at = page + slot_at(page, runs, run);
    out_before->bytes = 0;
    for (unsigned i = dense_ordinal(page, runs, run); i < index; i++) {
        struct dense_entry entry;
        at = dense_parse(at, flags, &entry);
        dense_key_apply(out_before, &entry);
    }
    return at;
}

/* ---- splitting a run --------------------------------------------------------------------- */

/* Makes two runs of one, in its middle; false = there is no space. The second half moves below the
 * first. */
static __attribute__((noinline)) bool run_split(uint8_t *page, size_t page_bytes, unsigned run)
{
    uint8_t halves[PAGE_BYTES_MAX];
    unsigned runs = dense_runs(page);
    unsigned first = dense_ordinal(page, runs, run);
    unsigned middle = (first + dense_run_last(page, runs, run)) / 2;
    size_t offset = slot_at(page, runs, run);
    size_t end = dense_run_end(page, page_bytes, runs, run);
    assert(middle > first);

    struct dense_key key;
    struct dense_entry entry;
    const uint8_t *at = run_walk(page, run, middle, &key);
    const uint8_t *behind = dense_parse(at, dense_flags(page), &entry);
    dense_key_apply(&key, &entry);
    size_t first_bytes = (size_t)(at - (page + offset));
    size_t behind_bytes = (size_t)(page + end - behind);
    size_t growth =
        dense_entry_bytes(0, key.bytes) - dense_entry_bytes(entry.shared, entry.suffix_bytes);
    if (free_bytes(page) < growth + DENSE_SLOT_BYTES)
        return false;

    uint8_t *to = dense_put(halves, dense_flags(page), dense_key_slice(&key), 0,
                            slice_of(entry.value, entry.value_bytes));
    memcpy(to, behind, behind_bytes);
    to += behind_bytes;
    memcpy(to, page + offset, first_bytes);
    splice(page, run, offset, end - offset, slice_of(halves, (size_t)(to - halves) + first_bytes));
    slot_set(page, runs, run, end - first_bytes);
    slot_insert(page, run + 1, dense_key_slice(&key), offset - growth, middle);
    return true;
}

/* ---- insert ------------------------------------------------------------------------------ */

static bool is_fit(const struct leaf_value *value)
{
    return !value->overflow && value->bytes.bytes <= DENSE_VALUE_BYTES_MAX;
}

/* A run of one entry before run `run` (0 or the number of runs). */
static bool insert_run(uint8_t *page, size_t page_bytes, unsigned run, sombra_slice suffix,
                       sombra_slice value)
{
    uint8_t encoded[DENSE_ENTRY_BYTES_MAX];
    size_t bytes = (size_t)(dense_put(encoded, dense_flags(page), suffix, 0, value) - encoded);
    if (free_bytes(page) < bytes + DENSE_SLOT_BYTES)
        return false;
    size_t low = cells_low(page);
    size_t end = run == 0 ? cells_top(page, page_bytes) : low;
    memmove(page + low - bytes, page + low, end - low);
    memcpy(page + end - bytes, encoded, bytes);
    move_slots(page, run, (ptrdiff_t)bytes);
    add_ordinals(page, run, 1);
    cells_set_low(page, low - bytes);
    unsigned count = cells_count(page);
    slot_insert(page, run, suffix, end - bytes, run == 0 ? 0 : count);
    cells_set_count(page, count + 1);
    return true;
}

/* Into run `run`, at `index`, which is one of its entries or its end. */
static bool insert_in_run(uint8_t *page, unsigned run, unsigned index, sombra_slice suffix,
                          sombra_slice value)
{
    uint8_t encoded[2 * DENSE_ENTRY_BYTES_MAX];
    unsigned runs = dense_runs(page);
    const unsigned flags = dense_flags(page);
    bool has_next = index < dense_run_last(page, runs, run);
    struct dense_key key;
    const uint8_t *at = run_walk(page, run, index, &key);
    size_t shared = slice_common_prefix(dense_key_slice(&key), suffix);
    uint8_t *to = dense_put(encoded, flags, suffix, shared, value);
    size_t old_bytes = 0;
    if (has_next) {
        struct dense_entry next;
        old_bytes = (size_t)(dense_parse(at, flags, &next) - at);
        dense_key_apply(&key, &next);
        shared = slice_common_prefix(suffix, dense_key_slice(&key));
        to = dense_put(to, flags, dense_key_slice(&key), shared,
                       slice_of(next.value, next.value_bytes));
    }
    size_t bytes = (size_t)(to - encoded);
    if (bytes > old_bytes + free_bytes(page))
        return false;
    if (index == dense_ordinal(page, runs, run))
        set_head(page, run, suffix);
    splice(page, run, (size_t)(at - page), old_bytes, slice_of(encoded, bytes));
    add_ordinals(page, run + 1, 1);
    cells_set_count(page, cells_count(page) + 1);
    return true;
}

bool dense_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                  const struct leaf_value *value)
{
    sombra_slice prefix = cells_prefix(page, page_bytes);
    unsigned count = cells_count(page);
    assert(count > 0);
    if (!is_fit(value))
        return false;
    if (!cells_key_has_prefix(key, prefix) || (value->bytes.bytes > 0 && !dense_has_values(page)))
        return leaf_insert_rebuilding(page, page_bytes, index, key, value);

    sombra_slice suffix = slice_from(key, prefix.bytes);
    unsigned runs = dense_runs(page);
    unsigned run = index == 0 ? 0 : dense_run_of(page, index - 1);
    unsigned run_count = dense_run_last(page, runs, run) - dense_ordinal(page, runs, run);
    if (run_count >= DENSE_INTERVAL && (index == count || index == 0))
        return insert_run(page, page_bytes, index == 0 ? 0 : runs, suffix, value->bytes);
    if (run_count >= 2 * DENSE_INTERVAL) {
        if (!run_split(page, page_bytes, run))
            return false;
        run = dense_run_of(page, index - 1);
    }
    return insert_in_run(page, run, index, suffix, value->bytes);
}

bool dense_replace(uint8_t *page, size_t page_bytes, unsigned index, const struct leaf_value *value)
{
    (void)page_bytes;
    if (!is_fit(value) || (value->bytes.bytes > 0 && !dense_has_values(page)))
        return false;
    if (!dense_has_values(page))
        return true;
    const unsigned flags = dense_flags(page);
    uint8_t encoded[DENSE_ENTRY_BYTES_MAX];
    struct dense_key key;
    struct dense_entry entry;
    unsigned run = dense_run_of(page, index);
    const uint8_t *at = run_walk(page, run, index, &key);
    size_t old_bytes = (size_t)(dense_parse(at, flags, &entry) - at);
    dense_key_apply(&key, &entry);
    size_t bytes =
        (size_t)(dense_put(encoded, flags, dense_key_slice(&key), entry.shared, value->bytes) -
                 encoded);
    if (bytes > old_bytes + free_bytes(page))
        return false;
    splice(page, run, (size_t)(at - page), old_bytes, slice_of(encoded, bytes));
    return true;
}

/* ---- remove ------------------------------------------------------------------------------ */

static void remove_run(uint8_t *page, size_t page_bytes, unsigned run)
{
    unsigned runs = dense_runs(page);
    unsigned entries = dense_run_last(page, runs, run) - dense_ordinal(page, runs, run);
    size_t offset = slot_at(page, runs, run);
    size_t end = dense_run_end(page, page_bytes, runs, run);
    /* Its own slot goes: it might have to say the end of the largest page. */
    splice(page, run + 1, offset, end - offset, slice_of(NULL, 0));
    add_ordinals(page, run + 1, -(int)entries);
    slot_remove(page, run);
    cells_set_count(page, cells_count(page) - entries);
}

/* Entries [first, last) of one run, but not all of them. */
static void remove_in_run(uint8_t *page, unsigned run, unsigned first, unsigned last)
{
    uint8_t encoded[DENSE_ENTRY_BYTES_MAX];
    unsigned runs = dense_runs(page);
    const unsigned flags = dense_flags(page);
    bool has_next = last < dense_run_last(page, runs, run);
    bool is_first = first == dense_ordinal(page, runs, run);
    struct dense_key before;
    const uint8_t *at = run_walk(page, run, first, &before);
    struct dense_key key = before;
    const uint8_t *behind = at;
    struct dense_entry entry = { .shared = 0 };
    for (unsigned i = first; i < last + (has_next ? 1 : 0); i++) {
        behind = dense_parse(behind, flags, &entry);
        dense_key_apply(&key, &entry);
    }
    size_t bytes = 0;
    if (has_next) {
        size_t shared = slice_common_prefix(dense_key_slice(&before), dense_key_slice(&key));
        bytes = (size_t)(dense_put(encoded, flags, dense_key_slice(&key), shared,
                                   slice_of(entry.value, entry.value_bytes)) -
                         encoded);
    }
    assert(bytes <= (size_t)(behind - at));
    if (is_first)
        set_head(page, run, dense_key_slice(&key));
    splice(page, run, (size_t)(at - page), (size_t)(behind - at), slice_of(encoded, bytes));
    add_ordinals(page, run + 1, -(int)(last - first));
    cells_set_count(page, cells_count(page) - (last - first));
}

void dense_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last)
{
    /* Backwards, so that what is still to be removed keeps its indexes. */
    while (last > first) {
        unsigned runs = dense_runs(page);
        unsigned run = dense_run_of(page, last - 1);
        unsigned begin = dense_ordinal(page, runs, run);
        unsigned from = begin > first ? begin : first;
        if (from == begin && last == dense_run_last(page, runs, run))
            remove_run(page, page_bytes, run);
        else
            remove_in_run(page, run, from, last);
        last = from;
    }
}

/* ---- weights: where a leaf is cut -------------------------------------------------------- */

unsigned dense_run_count(const uint8_t *page)
{
    return dense_runs(page);
}

static size_t run_weight(const uint8_t *page, size_t page_bytes, unsigned run)
{
    unsigned runs = dense_runs(page);
    return DENSE_SLOT_BYTES + dense_run_end(page, page_bytes, runs, run) - slot_at(page, runs, run);
}

size_t dense_weight_before(const uint8_t *page, size_t page_bytes, unsigned index)
{
    unsigned runs = dense_runs(page);
    unsigned run = index > 0 ? dense_run_of(page, index - 1) : 0;
    size_t weight = 0;
    for (unsigned i = 0; i < run; i++)
        weight += run_weight(page, page_bytes, i);
    unsigned first = dense_ordinal(page, runs, run);
    return weight + run_weight(page, page_bytes, run) * (index - first) /
                        (dense_run_last(page, runs, run) - first);
}

unsigned dense_index_at_weight(const uint8_t *page, size_t page_bytes, size_t weight)
{
    unsigned runs = dense_runs(page);
    size_t before = 0;
    for (unsigned run = 0; run < runs; run++) {
        size_t bytes = run_weight(page, page_bytes, run);
        if (before + bytes >= weight) {
            unsigned first = dense_ordinal(page, runs, run);
            unsigned entries = dense_run_last(page, runs, run) - first;
            return first + (unsigned)((weight - before) * entries / bytes);
        }
        before += bytes;
    }
    return cells_count(page);
}

/* ---- build ------------------------------------------------------------------------------- */

/* Encodes up to DENSE_INTERVAL entries from where the cursor stands; returns their bytes. */
static size_t build_run(struct leaf_cursor *cursor, size_t prefix_bytes, unsigned entries,
                        unsigned flags, uint8_t *to)
{
    struct dense_key before;
    uint8_t *at = to;
    before.bytes = 0;
    for (unsigned i = 0; i < entries; i++) {
        sombra_slice suffix =
            slice_of(cursor->key + prefix_bytes, cursor->key_bytes - prefix_bytes);
        size_t shared = slice_common_prefix(dense_key_slice(&before), suffix);
        at = dense_put(at, flags, suffix, shared, cursor->value.bytes);
        memcpy(before.data + shared, (const uint8_t *)suffix.data + shared, suffix.bytes - shared);
        before.bytes = suffix.bytes;
        leaf_cursor_next(cursor);
    }
    return (size_t)(at - to);
}

/* The same of entries that are given, from `first` on: what they share is known. */
static size_t build_run_given(const struct leaf_source *source, unsigned first, size_t prefix_bytes,
                              unsigned entries, unsigned flags, uint8_t *to)
{
    uint8_t *at = to;
    for (unsigned i = first; i < first + entries; i++) {
        const struct leaf_entry *entry = &source->entries[i];
        size_t shared = i == first ? 0 : source->shared[i] - prefix_bytes;
        at = dense_put(at, flags, slice_from(entry->key, prefix_bytes), shared, entry->value.bytes);
    }
    return (size_t)(at - to);
}

void dense_build(const struct leaf_source *source, unsigned first, unsigned last,
                 const struct leaf_measure *measure, uint8_t *to)
{
    assert(first < last && last <= source->count);
    assert(measure->dense_bytes <= source->page_bytes);
    uint8_t encoded[DENSE_ROW_INTERVAL * DENSE_ENTRY_BYTES_MAX];
    unsigned count = last - first;
    unsigned interval = source->entries ? DENSE_ROW_INTERVAL : DENSE_INTERVAL;
    unsigned runs = (count + interval - 1) / interval;
    size_t prefix_bytes = measure->prefix_bytes;
    size_t low = source->page_bytes - prefix_bytes;
    page_init(to, source->page_bytes, PAGE_DENSE, 0, 0, 0);
    cells_set_count(to, count);
    put_le16(to + CELLS_PREFIX_BYTES, (uint16_t)prefix_bytes);
    put_le16(to + DENSE_RUNS, (uint16_t)runs);
    to[DENSE_FLAGS] = measure->dense_flags;

    struct leaf_cursor cursor;
    leaf_cursor_seek(&cursor, source, first);
    memcpy(to + low, cursor.key, prefix_bytes);
    for (unsigned run = 0; run < runs; run++) {
        unsigned left = count - run * interval;
        unsigned entries = left < interval ? left : interval;
        dense_set_ordinal(to, runs, run, run * interval);
        size_t bytes =
            source->entries
                ? build_run_given(source, first + run * interval, prefix_bytes, entries,
                                  measure->dense_flags, encoded)
                : build_run(&cursor, prefix_bytes, entries, measure->dense_flags, encoded);
        struct dense_entry entry;
        (void)dense_parse(encoded, measure->dense_flags, &entry);
        set_head(to, run, slice_of(entry.suffix, entry.suffix_bytes));
        low -= bytes;
        memcpy(to + low, encoded, bytes);
        slot_set(to, runs, run, low);
    }
    cells_set_low(to, low);
    assert(page_used(to, source->page_bytes) == measure->dense_bytes);
}

/* ---- join -------------------------------------------------------------------------------- */

/* The keys of a piece behind the new leaf's prefix: shorter by `dropped` bytes than behind that of
 * its own page, or longer by `added`, which begin with `front`. */
struct shift {
    size_t dropped, added;
    const uint8_t *front;
};

static struct shift shift_of(const uint8_t *page, size_t page_bytes, size_t prefix_bytes)
{
    sombra_slice own = cells_prefix(page, page_bytes);
    if (prefix_bytes >= own.bytes)
        return (struct shift){ .dropped = prefix_bytes - own.bytes };
    return (struct shift){ .added = own.bytes - prefix_bytes,
                           .front = (const uint8_t *)own.data + prefix_bytes };
}

/* What of run `run` the piece has. */
static unsigned join_first(const struct dense_piece *piece, unsigned run)
{
    unsigned first = dense_ordinal(piece->page, dense_runs(piece->page), run);
    return first > piece->first ? first : piece->first;
}

static unsigned join_last(const struct dense_piece *piece, unsigned run)
{
    unsigned last = dense_run_last(piece->page, dense_runs(piece->page), run);
    return last < piece->last ? last : piece->last;
}

/* That as a run of its own; returns its bytes. */
static size_t join_run(const struct dense_piece *piece, size_t page_bytes, unsigned run,
                       const struct shift *shift, uint8_t *to)
{
    const uint8_t *page = piece->page;
    unsigned runs = dense_runs(page);
    unsigned first = join_first(piece, run), last = dense_run_last(page, runs, run);
    const unsigned flags = dense_flags(page);
    bool is_kept = shift->dropped + shift->added == 0 && last <= piece->last;
    struct dense_key key;
    struct dense_entry entry;
    const uint8_t *at = run_walk(page, run, first, &key);
    uint8_t whole[KV_KEY_BYTES_MAX], *from = to;
    last = join_last(piece, run);
    for (unsigned i = first; i < last; i++) {
        if (i > first && is_kept) { /* only the first one could be written otherwise */
            size_t rest = (size_t)(page + dense_run_end(page, page_bytes, runs, run) - at);
            memcpy(to, at, rest);
            return (size_t)(to - from) + rest;
        }
        at = dense_parse(at, flags, &entry);
        dense_key_apply(&key, &entry);
        size_t shared = i == first ? 0 : entry.shared + shift->added - shift->dropped;
        sombra_slice suffix = slice_from(dense_key_slice(&key), shift->dropped);
        if (shift->added) {
            memcpy(whole, shift->front, shift->added);
            memcpy(whole + shift->added, suffix.data, suffix.bytes);
            suffix = slice_of(whole, shift->added + suffix.bytes);
        }
        to = dense_put(to, flags, suffix, shared, slice_of(entry.value, entry.value_bytes));
    }
    return (size_t)(to - from);
}

/* Are the page's flags good for the piece? Not if none of its entries has a value; nor if most of
 * those of its first run are unusual. */
static bool piece_is_suited(const struct dense_piece *piece)
{
    const uint8_t *page = piece->page;
    const unsigned runs = dense_runs(page), flags = dense_flags(page);
    unsigned begin = dense_run_of(page, piece->first), end = dense_run_of(page, piece->last - 1);
    if (flags == 0)
        return true;
    for (unsigned run = begin; run <= end; run++) {
        const uint8_t *at = page + slot_at(page, runs, run);
        unsigned first = join_first(piece, run), last = join_last(piece, run);
        unsigned valued = 0, usual = 0;
        for (unsigned i = dense_ordinal(page, runs, run); i < last; i++) {
            struct dense_entry entry;
            at = dense_parse(at, flags, &entry);
            valued += i >= first && entry.value_bytes > 0;
            usual += i >= first && entry.value_bytes == dense_usual_bytes(flags);
        }
        if (flags != DENSE_VALUES)
            return 2 * usual >= last - first;
        if (valued > 0)
            return true;
    }
    return false;
}

/* The runs of a piece, from slot `slot` on; false = there is no room. */
static bool join_piece(const struct dense_piece *piece, size_t page_bytes, unsigned *slot,
                       unsigned *count, uint8_t *to)
{
    uint8_t encoded[PAGE_BYTES_MAX + 2 * KV_KEY_BYTES_MAX];
    const uint8_t *page = piece->page;
    const struct shift shift = shift_of(page, page_bytes, cells_prefix_bytes(to));
    unsigned runs = dense_runs(to);
    unsigned end = dense_run_of(page, piece->last - 1);
    for (unsigned run = dense_run_of(page, piece->first); run <= end; run++, ++*slot) {
        size_t bytes = join_run(piece, page_bytes, run, &shift, encoded);
        size_t low = cells_low(to);
        if (low < dense_arrays_end(to) + bytes)
            return false;
        struct dense_entry entry;
        (void)dense_parse(encoded, dense_flags(to), &entry);
        memcpy(to + low - bytes, encoded, bytes);
        cells_set_low(to, low - bytes);
        slot_set(to, runs, *slot, low - bytes);
        set_head(to, *slot, slice_of(entry.suffix, entry.suffix_bytes));
        dense_set_ordinal(to, runs, *slot, *count);
        *count += join_last(piece, run) - join_first(piece, run);
    }
    return true;
}

bool dense_join(const struct dense_piece pieces[2], size_t page_bytes, size_t prefix_bytes,
                uint8_t *to)
{
    unsigned runs = 0, slot = 0, count = 0;
    bool is_suited = false;
    const struct dense_piece *first = &pieces[pieces[0].first == pieces[0].last];
    for (unsigned i = 0; i < 2; i++) {
        const struct dense_piece *piece = &pieces[i];
        assert(piece->page != to);
        if (piece->first == piece->last)
            continue;
        assert(piece->first < piece->last && piece->last <= cells_count(piece->page));
        if (dense_flags(piece->page) != dense_flags(first->page))
            return false;
        is_suited = is_suited || piece_is_suited(piece);
        runs += dense_run_of(piece->page, piece->last - 1) -
                dense_run_of(piece->page, piece->first) + 1;
    }
    if (!is_suited)
        return false;
    page_init(to, page_bytes, PAGE_DENSE, 0, 0, 0);
    put_le16(to + CELLS_PREFIX_BYTES, (uint16_t)prefix_bytes);
    put_le16(to + DENSE_RUNS, (uint16_t)runs);
    to[DENSE_FLAGS] = first->page[DENSE_FLAGS];
    cells_set_low(to, page_bytes - prefix_bytes);
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t key_bytes = leaf_key_at(first->page, page_bytes, first->first, key);
    assert(prefix_bytes <= key_bytes);
    (void)key_bytes;
    memcpy(to + page_bytes - prefix_bytes, key, prefix_bytes);
    for (unsigned i = 0; i < 2; i++)
        if (pieces[i].first < pieces[i].last &&
            !join_piece(&pieces[i], page_bytes, &slot, &count, to))
            return false;
    assert(slot == runs);
    cells_set_count(to, count);
    return true;
}
