/* SPDX-License-Identifier: MIT */
/* Branches: separators with heads, searched as leaves are; children and counts stand apart.
 * branch_format.h draws it.
 */
#include "page_internal.h"

#include <inttypes.h>

/* ---- arrays ------------------------------------------------------------------------------ */

/* How many separators stand in a branch of `count` children. */
static inline unsigned keys_of(unsigned count)
{
    return count > 0 ? count - 1 : 0;
}

static inline size_t children_offset(unsigned count)
{
    return CELLS_HEADS + BRANCH_SLOT_BYTES * (size_t)keys_of(count);
}
static inline size_t entries_offset(unsigned count)
{
    return children_offset(count) + BRANCH_CHILD_BYTES * (size_t)count;
}

static sombra_slice suffix_at(const uint8_t *page, unsigned keys, unsigned key)
{
    assert(key < keys);
    size_t bytes;
    const uint8_t *at = length_get(page + slot_at(page, keys, key), &bytes);
    return slice_of(at, bytes);
}

static size_t cell_bytes(size_t suffix_bytes)
{
    return length_bytes(suffix_bytes) + suffix_bytes;
}

page_id branch_child(const uint8_t *page, size_t page_bytes, unsigned index)
{
    unsigned count = cells_count(page);
    (void)page_bytes;
    assert(index < count);
    return get_le48(page + children_offset(count) + BRANCH_CHILD_BYTES * (size_t)index);
}

uint64_t branch_entries(const uint8_t *page, size_t page_bytes, unsigned index)
{
    unsigned count = cells_count(page);
    (void)page_bytes;
    assert(index < count);
    return get_le48(page + entries_offset(count) + BRANCH_CHILD_BYTES * (size_t)index);
}

uint64_t branch_entries_before(const uint8_t *page, size_t page_bytes, unsigned index)
{
    unsigned count = cells_count(page);
    (void)page_bytes;
    assert(index <= count);
    const uint8_t *entries = page + entries_offset(count);
    uint64_t sum = 0;
    for (unsigned i = 0; i < index; i++)
        sum += get_le48(entries + BRANCH_CHILD_BYTES * (size_t)i);
    return sum;
}

static struct branch_child child_at(const uint8_t *page, size_t page_bytes, unsigned index)
{
    return (struct branch_child){ branch_child(page, page_bytes, index),
                                  branch_entries(page, page_bytes, index) };
}

void branch_set_child(uint8_t *page, size_t page_bytes, unsigned index, page_id child,
                      uint64_t entries)
{
    unsigned count = cells_count(page);
    (void)page_bytes;
    assert(index < count);
    assert(child != 0 && child >> 48 == 0 && entries >> 48 == 0);
    put_le48(page + children_offset(count) + BRANCH_CHILD_BYTES * (size_t)index, child);
    put_le48(page + entries_offset(count) + BRANCH_CHILD_BYTES * (size_t)index, entries);
}

void branch_add_entries(uint8_t *page, unsigned index, int64_t delta)
{
    unsigned count = cells_count(page);
    assert(index < count);
    uint8_t *at = page + entries_offset(count) + BRANCH_CHILD_BYTES * (size_t)index;
    uint64_t entries = get_le48(at) + (uint64_t)delta;
    assert(entries >> 48 == 0);
    put_le48(at, entries);
}

/* ---- search ------------------------------------------------------------------------------ */

/* The child for a suffix whose head the separator `low` has, the first of them that does. Seldom;
 * a function of its own, so that the usual way needs few registers. */
static __attribute__((noinline)) unsigned find_among_equals(const uint8_t *page, unsigned keys,
                                                            sombra_slice suffix, uint32_t head,
                                                            unsigned low)
{
    const uint8_t *heads = page + CELLS_HEADS;
    unsigned high = low + 1;
    if (high < keys && head_at(heads, high) == head)
        high = head == UINT32_MAX
                   ? keys
                   : low + heads_below(heads + 4 * (size_t)low, keys - low, head + 1);
    while (low < high) { /* the first separator above the key */
        unsigned middle = low + (high - low) / 2;
        if (slice_compare(suffix_at(page, keys, middle), suffix) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

unsigned branch_find(const uint8_t *page, size_t page_bytes, sombra_slice key)
{
    const unsigned keys = cells_count(page) - 1;
    const uint8_t *heads = page + CELLS_HEADS;
    const sombra_slice prefix = cells_prefix(page, page_bytes);
    if (UNLIKELY(!cells_key_has_prefix(key, prefix)))
        return slice_compare(key, prefix) < 0 ? 0 : keys;
    const sombra_slice suffix = slice_from(key, prefix.bytes);
    const uint32_t head = head_of(suffix.data, suffix.bytes);
    const unsigned low = heads_below(heads, keys, head);
    if (LIKELY(low == keys || head_at(heads, low) != head))
        return low;
    return find_among_equals(page, keys, suffix, head, low);
}

void branch_find_many(const uint8_t *page, size_t page_bytes, const struct page_key *keys,
                      size_t count, bool ascend, page_id *out_children)
{
    const unsigned separators = cells_count(page) - 1;
    const uint8_t *heads = page + CELLS_HEADS;
    const uint8_t *children = page + children_offset(separators + 1);
    const struct key_frame frame = key_frame_of(page, page_bytes);
    unsigned index = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t head = key_frame_head(&frame, &keys[i]);
        if (UNLIKELY(!key_frame_has(&frame, &keys[i]))) {
            index = branch_find(page, page_bytes, keys[i].bytes);
        } else if ((index < separators && head_at(heads, index) <= head) ||
                   (index > 0 && head_at(heads, index - 1) >= head)) {
            index = heads_below_near(heads, separators, head, index);
            if (UNLIKELY(index < separators && head_at(heads, index) == head))
                index = find_among_equals(
                    page, separators, slice_from(keys[i].bytes, frame.prefix_bytes), head, index);
        }
        const page_id child = get_le48(children + BRANCH_CHILD_BYTES * (size_t)index);
        out_children[i] = child;
        /* If the last one goes there as well, so do all between. */
        if (i > 0 || !ascend || !key_frame_has(&frame, &keys[count - 1]) ||
            (index < separators &&
             key_frame_head(&frame, &keys[count - 1]) >= head_at(heads, index)))
            continue;
        while (++i < count)
            out_children[i] = child;
    }
}

static size_t key_copy(const uint8_t *page, size_t page_bytes, unsigned key, uint8_t *to)
{
    sombra_slice prefix = cells_prefix(page, page_bytes);
    sombra_slice suffix = suffix_at(page, keys_of(cells_count(page)), key);
    memcpy(to, prefix.data, prefix.bytes);
    memcpy(to + prefix.bytes, suffix.data, suffix.bytes);
    return prefix.bytes + suffix.bytes;
}

size_t branch_separator(const uint8_t *page, size_t page_bytes, unsigned index, uint8_t *to)
{
    assert(index >= 1 && index < cells_count(page));
    return key_copy(page, page_bytes, index - 1, to);
}

/* ---- building from sequences ------------------------------------------------------------- */

/* The children of one or two neighbour branches, with one more child and its separator. */
struct source {
    const uint8_t *pages[2]; /* [1] may be NULL */
    size_t page_bytes;
    unsigned page_count[2]; /* children */
    sombra_slice between;   /* separator between the two pages */
    unsigned extra_at;      /* index of the extra child; its separator is extra_at - 1 */
    sombra_slice extra_key;
    struct branch_child extra_child;
    unsigned count; /* children of the sequence */
};

#define NO_EXTRA 0 /* an extra child is never the first */

/* Key j, the separator left of child j + 1, in two parts: prefix and rest. */
static void source_key(const struct source *source, unsigned key, sombra_slice out_parts[2])
{
    out_parts[0] = slice_of(NULL, 0);
    if (source->extra_at != NO_EXTRA && key == source->extra_at - 1) {
        out_parts[1] = source->extra_key;
        return;
    }
    if (source->extra_at != NO_EXTRA && key > source->extra_at - 1)
        key--;
    if (key == source->page_count[0] - 1) {
        out_parts[1] = source->between;
        return;
    }
    const uint8_t *page = source->pages[0];
    if (key >= source->page_count[0]) {
        page = source->pages[1];
        key -= source->page_count[0];
    }
    out_parts[0] = cells_prefix(page, source->page_bytes);
    out_parts[1] = suffix_at(page, keys_of(cells_count(page)), key);
}

static size_t source_key_copy(const struct source *source, unsigned key, uint8_t *to)
{
    sombra_slice parts[2];
    source_key(source, key, parts);
    if (parts[0].bytes > 0)
        memcpy(to, parts[0].data, parts[0].bytes);
    memcpy(to + parts[0].bytes, parts[1].data, parts[1].bytes);
    return parts[0].bytes + parts[1].bytes;
}

static size_t source_key_bytes(const struct source *source, unsigned key)
{
    sombra_slice parts[2];
    source_key(source, key, parts);
    return parts[0].bytes + parts[1].bytes;
}

static struct branch_child source_child(const struct source *source, unsigned index)
{
    if (source->extra_at != NO_EXTRA && index == source->extra_at)
        return source->extra_child;
    if (source->extra_at != NO_EXTRA && index > source->extra_at)
        index--;
    const uint8_t *page = source->pages[0];
    if (index >= source->page_count[0]) {
        page = source->pages[1];
        index -= source->page_count[0];
    }
    return child_at(page, source->page_bytes, index);
}

static void source_init(struct source *source, const uint8_t *left, sombra_slice between,
                        const uint8_t *right, size_t page_bytes)
{
    *source = (struct source){
        .pages = { left, right },
        .page_bytes = page_bytes,
        .page_count = { cells_count(left), right ? cells_count(right) : 0 },
        .between = between,
        .extra_at = NO_EXTRA,
    };
    source->count = source->page_count[0] + source->page_count[1];
}

/* One child more, at `index`, with the separator left of it. */
static void source_add(struct source *source, unsigned index, sombra_slice separator,
                       struct branch_child child)
{
    source->extra_at = index;
    source->extra_key = separator;
    source->extra_child = child;
    source->count++;
}

/* Prefix common to keys [first, last). */
static size_t source_prefix(const struct source *source, unsigned first, unsigned last)
{
    if (first >= last)
        return 0;
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
    size_t low_bytes = source_key_copy(source, first, low);
    if (last - first == 1)
        return low_bytes;
    size_t high_bytes = source_key_copy(source, last - 1, high);
    return slice_common_prefix(slice_of(low, low_bytes), slice_of(high, high_bytes));
}

/* page_used of a branch of children [first, last). */
static size_t source_measure(const struct source *source, unsigned first, unsigned last)
{
    assert(first < last);
    size_t prefix_bytes = source_prefix(source, first, last - 1);
    size_t bytes =
        entries_offset(last - first) + BRANCH_CHILD_BYTES * (size_t)(last - first) + prefix_bytes;
    for (unsigned key = first; key + 1 < last; key++)
        bytes += cell_bytes(source_key_bytes(source, key) - prefix_bytes);
    return bytes;
}

/* Builds children [first, last), which must fit, in `to`, whose header stands. */
static void source_build(const struct source *source, unsigned first, unsigned last, uint8_t *to)
{
    size_t page_bytes = source->page_bytes;
    unsigned count = last - first;
    size_t prefix_bytes = source_prefix(source, first, last - 1);
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t low = page_bytes - prefix_bytes;

    memset(to + CELLS_COUNT, 0, CELLS_HEADS - CELLS_COUNT);
    cells_set_count(to, count);
    put_le16(to + CELLS_PREFIX_BYTES, (uint16_t)prefix_bytes);
    for (unsigned i = 0; i < count; i++) {
        struct branch_child child = source_child(source, first + i);
        branch_set_child(to, page_bytes, i, child.id, child.entries);
        if (i + 1 == count)
            break;
        size_t bytes = source_key_copy(source, first + i, key);
        if (i == 0)
            memcpy(to + page_bytes - prefix_bytes, key, prefix_bytes);
        size_t suffix_bytes = bytes - prefix_bytes;
        low -= cell_bytes(suffix_bytes);
        memcpy(length_put(to + low, suffix_bytes), key + prefix_bytes, suffix_bytes);
        put_le32(to + CELLS_HEADS + 4 * (size_t)i, head_of(key + prefix_bytes, suffix_bytes));
        slot_set(to, count - 1, i, low);
    }
    cells_set_low(to, low);
    assert(low >= page_arrays_end(to));
}

/* Builds the whole sequence in place of `page`, one of its sources; false = does not fit. */
static __attribute__((noinline)) bool source_rebuild(const struct source *source, uint8_t *page)
{
    uint8_t built[PAGE_BYTES_MAX] __attribute__((aligned(8)));
    if (source_measure(source, 0, source->count) > source->page_bytes)
        return false;
    memcpy(built, page, CELLS_COUNT);
    source_build(source, 0, source->count, built);
    page_copy(page, built, source->page_bytes);
    return true;
}

/* ---- change ------------------------------------------------------------------------------ */

void branch_build(uint8_t *page, size_t page_bytes, struct branch_child left,
                  sombra_slice separator, struct branch_child right)
{
    assert(cells_count(page) == 0 && page_level(page) > 0);
    assert(separator.bytes >= 1 && separator.bytes <= KV_KEY_BYTES_MAX);
    cells_set_count(page, 1);
    branch_set_child(page, page_bytes, 0, left.id, left.entries);
    bool did_fit = branch_insert(page, page_bytes, 1, separator, right);
    assert(did_fit);
    (void)did_fit;
}

static __attribute__((noinline)) void compact(uint8_t *page, size_t page_bytes)
{
    uint8_t old[PAGE_BYTES_MAX];
    unsigned keys = keys_of(cells_count(page));
    size_t low = cells_low(page);
    size_t to = cells_top(page, page_bytes);
    memcpy(old + low, page + low, to - low);
    for (unsigned i = 0; i < keys; i++) {
        size_t offset = slot_at(page, keys, i);
        size_t suffix_bytes;
        length_get(old + offset, &suffix_bytes);
        size_t bytes = cell_bytes(suffix_bytes);
        to -= bytes;
        memcpy(page + to, old + offset, bytes);
        slot_set(page, keys, i, to);
    }
    assert(to == low + cells_holes(page));
    cells_set_low(page, to);
    cells_set_holes(page, 0);
}

static size_t cell_append(uint8_t *page, sombra_slice suffix)
{
    size_t offset = cells_low(page) - cell_bytes(suffix.bytes);
    assert(offset >= page_arrays_end(page));
    uint8_t *at = length_put(page + offset, suffix.bytes);
    if (suffix.bytes > 0)
        memcpy(at, suffix.data, suffix.bytes);
    cells_set_low(page, offset);
    return offset;
}

bool branch_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice separator,
                   struct branch_child child)
{
    unsigned count = cells_count(page);
    assert(index >= 1 && index <= count);
    assert(separator.bytes >= 1 && separator.bytes <= KV_KEY_BYTES_MAX);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (count == 1 || !cells_key_has_prefix(separator, prefix)) {
        struct source source;
        source_init(&source, page, slice_of(NULL, 0), NULL, page_bytes);
        source_add(&source, index, separator, child);
        return source_rebuild(&source, page);
    }
    sombra_slice suffix = slice_from(separator, prefix.bytes);
    size_t slot_bytes = BRANCH_SLOT_BYTES + 2 * BRANCH_CHILD_BYTES;
    if (!cells_make_space(page, page_bytes, cell_bytes(suffix.bytes) + slot_bytes, compact))
        return false;

    size_t offset = cell_append(page, suffix);
    unsigned keys = count - 1;
    slots_insert(page, keys, index - 1, head_of(suffix.data, suffix.bytes), offset,
                 2 * BRANCH_CHILD_BYTES * (size_t)count);
    /* Both arrays moved behind the new slot; now each opens a place, the last one first. */
    cells_set_count(page, count + 1);
    size_t behind = BRANCH_CHILD_BYTES * (size_t)(count - index);
    uint8_t *children = page + children_offset(count + 1);
    uint8_t *old_counts = children + BRANCH_CHILD_BYTES * (size_t)count;
    uint8_t *counts = old_counts + BRANCH_CHILD_BYTES;
    size_t at = BRANCH_CHILD_BYTES * (size_t)index;
    memmove(counts + at + BRANCH_CHILD_BYTES, old_counts + at, behind);
    memmove(counts, old_counts, at);
    memmove(children + at + BRANCH_CHILD_BYTES, children + at, behind);
    branch_set_child(page, page_bytes, index, child.id, child.entries);
    return true;
}

/* Takes separators [first, last) out of slots and cells; the arrays behind them move along. */
static void keys_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last)
{
    unsigned count = cells_count(page);
    unsigned keys = keys_of(count);
    size_t low = cells_low(page);
    size_t holes = cells_holes(page);
    for (unsigned i = first; i < last; i++) {
        size_t offset = slot_at(page, keys, i);
        size_t bytes = cell_bytes(suffix_at(page, keys, i).bytes);
        if (offset == low)
            low += bytes;
        else
            holes += bytes;
    }
    slots_remove(page, keys, first, last, 2 * BRANCH_CHILD_BYTES * (size_t)count);
    if (last - first == keys) {
        low = cells_top(page, page_bytes);
        holes = 0;
    }
    cells_set_low(page, low);
    cells_set_holes(page, holes);
}

/* The prefix gets shorter: on a copy, since that may not fit. */
static __attribute__((noinline)) bool replace_rebuilding(uint8_t *page, size_t page_bytes,
                                                         unsigned index, sombra_slice separator)
{
    uint8_t copy[PAGE_BYTES_MAX] __attribute__((aligned(8)));
    const struct branch_child child = child_at(page, page_bytes, index);
    page_copy(copy, page, page_bytes);
    branch_remove(copy, page_bytes, index, index + 1);
    if (!branch_insert(copy, page_bytes, index, separator, child))
        return false;
    page_copy(page, copy, page_bytes);
    return true;
}

bool branch_replace_separator(uint8_t *page, size_t page_bytes, unsigned index,
                              sombra_slice separator)
{
    unsigned count = cells_count(page);
    assert(index >= 1 && index < count);
    assert(separator.bytes >= 1 && separator.bytes <= KV_KEY_BYTES_MAX);
    const struct branch_child child = child_at(page, page_bytes, index);
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (cells_key_has_prefix(separator, prefix)) {
        size_t old_bytes = cell_bytes(suffix_at(page, count - 1, index - 1).bytes);
        size_t new_bytes = cell_bytes(separator.bytes - prefix.bytes);
        size_t gap = cells_low(page) - page_arrays_end(page) + cells_holes(page);
        if (new_bytes > gap + old_bytes)
            return false;
        branch_remove(page, page_bytes, index, index + 1);
        bool did_fit = branch_insert(page, page_bytes, index, separator, child);
        assert(did_fit);
        return did_fit;
    }
    return replace_rebuilding(page, page_bytes, index, separator);
}

void branch_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last)
{
    unsigned count = cells_count(page);
    unsigned removed = last - first;
    assert(first < last && last <= count);
    assert(removed < count);
    unsigned first_key = first > 0 ? first - 1 : 0;
    keys_remove(page, page_bytes, first_key, first_key + removed);
    cells_set_count(page, count - removed);

    uint8_t *children = page + children_offset(count - removed);
    uint8_t *old_counts = children + BRANCH_CHILD_BYTES * (size_t)count;
    uint8_t *counts = children + BRANCH_CHILD_BYTES * (size_t)(count - removed);
    size_t at = BRANCH_CHILD_BYTES * (size_t)first;
    size_t to = BRANCH_CHILD_BYTES * (size_t)last;
    size_t behind = BRANCH_CHILD_BYTES * (size_t)(count - last);
    memmove(children + at, children + to, behind);
    memmove(counts, old_counts, at);
    memmove(counts + at, old_counts + to, behind);
}

/* ---- split, merge, balance --------------------------------------------------------------- */

/* Children for the left side: such that the larger half is smallest and both fit. */
static unsigned choose_cut(const struct source *source)
{
    assert(source->count >= 4);
    size_t total = 0;
    for (unsigned key = 0; key + 1 < source->count; key++)
        total += source_key_bytes(source, key) + BRANCH_SLOT_BYTES + 2 * BRANCH_CHILD_BYTES;
    size_t left = 0;
    size_t best = SIZE_MAX;
    unsigned cut = 2;
    for (unsigned i = 1; i + 1 < source->count; i++) {
        /* Key i - 1 is the last of the left side; with `i + 1` children left, key i moves up. */
        left += source_key_bytes(source, i - 1) + BRANCH_SLOT_BYTES + 2 * BRANCH_CHILD_BYTES;
        size_t right = total - left;
        size_t worse = size_max(left, right);
        if (i + 1 < source->count - 1 && worse < best) {
            best = worse;
            cut = i + 1;
        }
    }
    return cut;
}

/* Writes [0, cut) and [cut, count) and the separator between them. */
static void cut_in_two(const struct source *source, unsigned cut, struct branch_split *split)
{
    unsigned level = page_level(source->pages[0]);
    page_init(split->left, source->page_bytes, PAGE_BRANCH, level, 0, 0);
    page_init(split->right, source->page_bytes, PAGE_BRANCH, level, 0, 0);
    source_build(source, 0, cut, split->left);
    source_build(source, cut, source->count, split->right);
    split->separator_bytes = source_key_copy(source, cut - 1, split->separator);
}

/* Moves the cut until both sides fit; 0 when no cut does. */
static unsigned fit_cut(const struct source *source, unsigned cut)
{
    int direction = 0;
    while (cut >= 1 && cut < source->count) {
        if (source_measure(source, 0, cut) > source->page_bytes) {
            if (direction > 0)
                return 0;
            direction = -1;
        } else if (source_measure(source, cut, source->count) > source->page_bytes) {
            if (direction < 0)
                return 0;
            direction = 1;
        } else {
            return cut;
        }
        cut = direction < 0 ? cut - 1 : cut + 1;
    }
    return 0;
}

void branch_split(const uint8_t *page, size_t page_bytes, unsigned index, sombra_slice separator,
                  struct branch_child child, struct branch_split *split)
{
    unsigned count = cells_count(page);
    assert(index >= 1 && index <= count && count >= 3);
    struct source source;
    source_init(&source, page, slice_of(NULL, 0), NULL, page_bytes);
    source_add(&source, index, separator, child);
    /* A new child at an end is the mark of a sequential load: the other branch stays full. Two
     * children go to the edge, so that no branch has a single one. */
    unsigned cut = choose_cut(&source);
    if (index == count)
        cut = source.count - 2;
    else if (index == 1)
        cut = 2;
    cut = fit_cut(&source, cut);
    /* Whatever stands before the new separator, or behind it, fit into the old page. */
    if (cut == 0)
        cut = index;
    cut_in_two(&source, cut, split);
}

bool branch_merge(const uint8_t *left, sombra_slice between, const uint8_t *right,
                  size_t page_bytes, uint8_t *to)
{
    assert(to != left && to != right);
    assert(page_level(left) == page_level(right));
    struct source source;
    source_init(&source, left, between, right, page_bytes);
    if (source_measure(&source, 0, source.count) > page_bytes)
        return false;
    page_init(to, page_bytes, PAGE_BRANCH, page_level(left), 0, 0);
    source_build(&source, 0, source.count, to);
    return true;
}

/* ---- validation -------------------------------------------------------------------------- */

static sombra_err children_validate(const uint8_t *page, size_t page_bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        page_id child = branch_child(page, page_bytes, i);
        if (child == 0 || child == page_number(page))
            return page_corrupt(page, children_offset(count) + BRANCH_CHILD_BYTES * (size_t)i,
                                "a child's page number is 0 or the page's own");
    }
    return SOMBRA_OK;
}

/* Takes the separator at `offset` apart; a text says what is wrong. */
static const char *cell_check(const uint8_t *page, size_t page_bytes, size_t offset,
                              sombra_slice *out_suffix)
{
    size_t prefix_bytes = cells_prefix_bytes(page);
    const uint8_t *end = page + page_bytes - prefix_bytes;
    size_t bytes;
    if (offset < cells_low(page) || offset >= page_bytes - prefix_bytes)
        return "a slot points outside the cell area";
    const uint8_t *at = length_get_checked(page + offset, end, &bytes);
    if (!at)
        return "a separator's length is not well formed";
    if (bytes + prefix_bytes < 1 || bytes > KV_KEY_BYTES_MAX - prefix_bytes)
        return "a separator's length is outside 1 to 1024";
    if (bytes > (size_t)(end - at))
        return "a separator reaches past the cell area";
    *out_suffix = slice_of(at, bytes);
    return NULL;
}

sombra_err branch_validate(const uint8_t *page, size_t page_bytes)
{
    unsigned count = cells_count(page);
    if (count == 0)
        return page_corrupt(page, CELLS_COUNT, "a branch without children");
    sombra_err err = cells_validate_area(page, page_bytes, page_arrays_end(page));
    if (!err && get_le32(page + BRANCH_ZERO) != 0)
        err = page_corrupt(page, BRANCH_ZERO, "reserved bytes are not zero");
    if (!err)
        err = children_validate(page, page_bytes, count);
    if (err)
        return err;

    unsigned keys = keys_of(count);
    size_t used = 0;
    sombra_slice suffix = slice_of(NULL, 0), before;
    struct byte_map taken;
    byte_map_init(&taken, page_bytes);
    for (unsigned i = 0; i < keys; i++) {
        size_t offset = slot_at(page, keys, i);
        before = suffix;
        const char *wrong = cell_check(page, page_bytes, offset, &suffix);
        if (!wrong && head_at(page + CELLS_HEADS, i) != head_of(suffix.data, suffix.bytes))
            wrong = "a head differs from its separator";
        if (!wrong && i > 0 && slice_compare(before, suffix) >= 0)
            wrong = "separators are not in ascending order";
        if (!wrong && !byte_map_take(&taken, offset, cell_bytes(suffix.bytes)))
            wrong = "two separators overlap";
        if (wrong)
            return page_corrupt(page, offset, wrong);
        used += cell_bytes(suffix.bytes);
    }
    if (used + cells_holes(page) != cells_top(page, page_bytes) - cells_low(page))
        return page_corrupt(page, CELLS_HOLES, "separators and holes do not fill the cell area");
    return SOMBRA_OK;
}
