/* SPDX-License-Identifier: MIT */
/* Split, merge, balance and filling of leaves of either kind.
 *
 * A split always succeeds. Where it cuts is chosen by weight; if a half does not fit after all, the
 * cut moves away from it; if neither side can take the new entry, it gets a page of its own: what
 * stands before and behind it is then cut out of copies of the old page, and removing entries in
 * place never needs space.
 */
#include "leaf_internal.h"

/* The cut may leave the middle by this share of the weight for a shorter separator. */
enum { CUT_SLACK_SHARE = 16, CUT_REACH_MAX = 8 };
/* A leaf rebuilt as one, without a split, must leave this share of the page free, or the next
 * inserts would rebuild it again and again. */
enum { REBUILD_FREE_SHARE = 8 };
/* Mean bytes of an entry in a general leaf above which a dense leaf cannot save a quarter: it saves
 * some 8 to 14 bytes an entry. */
enum { DENSE_ENTRY_WEIGHT_MAX = 64 };
/* Mean bytes of an entry in a dense leaf of fair runs up to which it saves a quarter: a general one
 * takes 5 bytes more, and those that are shared. */
enum { DENSE_LIGHT_WEIGHT_MAX = 16 };

/* Dense lookups cost more, so a dense leaf has to save a quarter. */
static bool prefers_dense(const struct leaf_source *source, unsigned count,
                          const struct leaf_measure *measure)
{
    if (measure->dense_bytes > source->page_bytes)
        return false;
    if (measure->general_bytes > source->page_bytes)
        return true;
    if (count < KIND_ENTRIES_MIN)
        return leaf_is_dense(source->pages[0]);
    return measure->dense_bytes - CELLS_HEADS <= (measure->general_bytes - CELLS_HEADS) / 4 * 3;
}

/* Bytes of a leaf's entries, slots included. */
static size_t leaf_weight(const uint8_t *page, size_t page_bytes)
{
    return page_used(page, page_bytes) - CELLS_HEADS - cells_prefix_bytes(page);
}

/* No dense leaf could save enough on entries like these. */
static bool is_heavy(const uint8_t *page, size_t page_bytes)
{
    return !leaf_is_dense(page) &&
           leaf_weight(page, page_bytes) / DENSE_ENTRY_WEIGHT_MAX > cells_count(page);
}

static bool has_extra(const struct leaf_source *source, unsigned first, unsigned last)
{
    return source->extra_at != SOURCE_NO_EXTRA && source->extra_at >= first &&
           source->extra_at < last;
}

/* Are entries [first, last) a stretch of a general leaf, perhaps with the new one, that keeps its
 * kind and its prefix? Then cells are copied as they are. */
static bool can_cut(const struct leaf_source *source, unsigned first, unsigned last)
{
    const uint8_t *page = source->pages[0];
    return !source->pages[1] && !source->replaces && last - first > 2 &&
           is_heavy(page, source->page_bytes) &&
           leaf_common_prefix(source, first, last) == cells_prefix_bytes(page);
}

static bool build_cut(const struct leaf_source *source, unsigned first, unsigned last, uint8_t *to)
{
    bool with_extra = has_extra(source, first, last);
    unsigned skipped = source->extra_at < first ? 1 : 0;
    general_cut(source->pages[0], source->page_bytes, first - skipped,
                last - skipped - (with_extra ? 1 : 0), to);
    return !with_extra || general_insert(to, source->page_bytes, source->extra_at - first,
                                         source->extra_key, source->extra_value);
}

/* Will entries of the dense leaf stay dense, in fair runs? */
static bool is_light(const uint8_t *page, size_t page_bytes)
{
    return leaf_is_dense(page) &&
           dense_run_count(page) <= cells_count(page) / (DENSE_INTERVAL / 2) + 1 &&
           leaf_weight(page, page_bytes) <= DENSE_LIGHT_WEIGHT_MAX * cells_count(page);
}

/* The same of dense leaves, which keeps their runs. False = nothing is built. */
static bool build_join(const struct leaf_source *source, unsigned first, unsigned last, uint8_t *to)
{
    const uint8_t *const *pages = source->pages;
    size_t page_bytes = source->page_bytes;
    if (source->replaces || last - first <= KIND_ENTRIES_MIN || !is_light(pages[0], page_bytes) ||
        (pages[1] && !is_light(pages[1], page_bytes)))
        return false;
    bool with_extra = has_extra(source, first, last);
    assert(source->extra_at == SOURCE_NO_EXTRA || !pages[1]);
    unsigned low = first - (source->extra_at < first ? 1 : 0);
    unsigned high = last - (source->extra_at < last ? 1 : 0);
    unsigned count = source->page_count[0];
    const struct dense_piece pieces[] = {
        { pages[0], low < count ? low : count, high < count ? high : count },
        { pages[1], low > count ? low - count : 0, high > count ? high - count : 0 },
    };
    return dense_join(pieces, page_bytes, leaf_common_prefix(source, first, last), to) &&
           (!with_extra || dense_insert(to, page_bytes, source->extra_at - first, source->extra_key,
                                        source->extra_value));
}

/* Builds entries [first, last) in the better kind; false = they fit in none. */
static bool build(const struct leaf_source *source, unsigned first, unsigned last, uint8_t *to)
{
    if (can_cut(source, first, last))
        return build_cut(source, first, last, to);
    if (build_join(source, first, last, to))
        return true;
    struct leaf_measure measure;
    leaf_measure(source, first, last, &measure);
    if (prefers_dense(source, last - first, &measure)) {
        dense_build(source, first, last, &measure, to);
        return true;
    }
    if (measure.general_bytes > source->page_bytes)
        return false;
    general_build(source, first, last, measure.prefix_bytes, to);
    return true;
}

/* ---- separators -------------------------------------------------------------------------- */

/* The shortest start of `high` that is above `low`; low < high. */
static size_t separator_between(sombra_slice low, sombra_slice high, uint8_t *to)
{
    assert(slice_compare(low, high) < 0);
    size_t bytes = slice_common_prefix(low, high) + 1;
    assert(bytes <= high.bytes);
    memcpy(to, high.data, bytes);
    return bytes;
}

/* Between the last key of one leaf and the first of the next. */
static size_t separator_of(const uint8_t *left, const uint8_t *right, size_t page_bytes,
                           uint8_t *to)
{
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
    size_t low_bytes = leaf_key_at(left, page_bytes, cells_count(left) - 1, low);
    size_t high_bytes = leaf_key_at(right, page_bytes, 0, high);
    return separator_between(slice_of(low, low_bytes), slice_of(high, high_bytes), to);
}

static void finish_split(struct leaf_split *split, unsigned pages, size_t page_bytes)
{
    split->pages = pages;
    if (pages == 1)
        return;
    const uint8_t *next = pages == 3 ? split->middle : split->right;
    split->separator_bytes = separator_of(split->left, next, page_bytes, split->separator);
    if (pages == 3)
        split->separator2_bytes =
            separator_of(split->middle, split->right, page_bytes, split->separator2);
}

/* ---- where to cut ------------------------------------------------------------------------ */

static size_t weight_before(const uint8_t *page, size_t page_bytes, unsigned index)
{
    return leaf_is_dense(page) ? dense_weight_before(page, page_bytes, index)
                               : general_weight_before(page, index);
}

/* The index before which about `weight` bytes of entries stand. */
static unsigned index_at_weight(const uint8_t *page, size_t page_bytes, size_t weight)
{
    return leaf_is_dense(page) ? dense_index_at_weight(page, page_bytes, weight)
                               : general_index_at_weight(page, weight);
}

/* Entries for the left side, such that both sides weigh the same. */
static unsigned middle_of_pages(const struct leaf_source *source)
{
    size_t page_bytes = source->page_bytes;
    size_t left = leaf_weight(source->pages[0], page_bytes);
    size_t half = (left + leaf_weight(source->pages[1], page_bytes)) / 2;
    if (half <= left)
        return index_at_weight(source->pages[0], page_bytes, half);
    return source->page_count[0] + index_at_weight(source->pages[1], page_bytes, half - left);
}

static unsigned middle_with_extra(const struct leaf_source *source)
{
    const uint8_t *page = source->pages[0];
    size_t page_bytes = source->page_bytes;
    unsigned at = source->extra_at;
    unsigned behind = source->replaces ? at + 1 : at;
    size_t before = weight_before(page, page_bytes, at);
    size_t replaced = weight_before(page, page_bytes, behind) - before;
    size_t extra =
        LEAF_SLOT_BYTES + general_cell_bytes(source->extra_key.bytes, source->extra_value);
    size_t half = (leaf_weight(page, page_bytes) - replaced + extra) / 2;
    if (half <= before)
        return index_at_weight(page, page_bytes, half);
    if (half <= before + extra)
        return half - before < extra / 2 ? at : at + 1;
    unsigned index = index_at_weight(page, page_bytes, half - extra + replaced);
    return index + (source->replaces ? 0 : 1);
}

/* Of the cuts around `middle`, the one with the shortest separator, if not too much weight lies
 * between them. */
static unsigned choose_separator(const struct leaf_source *source, unsigned middle)
{
    unsigned reach = source->count / (2 * CUT_SLACK_SHARE);
    reach = reach < CUT_REACH_MAX ? reach : CUT_REACH_MAX;
    unsigned first = middle > reach ? middle - reach : 1;
    unsigned last = middle + reach < source->count ? middle + reach : source->count - 1;
    if (first >= last)
        return middle;

    struct leaf_cursor cursor;
    uint8_t before[KV_KEY_BYTES_MAX];
    size_t best_bytes = SIZE_MAX;
    unsigned best = middle;
    leaf_cursor_seek(&cursor, source, first - 1);
    for (unsigned cut = first; cut <= last; cut++) {
        size_t before_bytes = cursor.key_bytes;
        size_t entry_bytes = before_bytes + cursor.value.bytes.bytes;
        memcpy(before, cursor.key, before_bytes);
        leaf_cursor_next(&cursor);
        if (entry_bytes > source->page_bytes / CUT_SLACK_SHARE / 4)
            return middle;
        size_t bytes = slice_common_prefix(slice_of(before, before_bytes),
                                           slice_of(cursor.key, cursor.key_bytes));
        unsigned distance = cut > middle ? cut - middle : middle - cut;
        unsigned best_distance = best > middle ? best - middle : middle - best;
        if (bytes < best_bytes || (bytes == best_bytes && distance < best_distance)) {
            best_bytes = bytes;
            best = cut;
        }
    }
    return best;
}

/* The number of entries for the left side, at least one on each side. */
static unsigned choose_cut(const struct leaf_source *source)
{
    assert(source->count >= 2);
    unsigned middle = source->pages[1] ? middle_of_pages(source) : middle_with_extra(source);
    middle = middle < 1 ? 1 : middle;
    middle = middle < source->count ? middle : source->count - 1;
    return choose_separator(source, middle);
}

/* ---- split ------------------------------------------------------------------------------- */

/* Whether it can pay to look if all of it fits into one leaf: as the other kind, with a longer
 * prefix, or with fuller runs. */
static bool may_rebuild(const struct leaf_source *source)
{
    const uint8_t *page = source->pages[0];
    if (source->count < 2)
        return true; /* One entry cannot be split. */
    if (!leaf_is_dense(page)) {
        size_t prefix_bytes = cells_prefix_bytes(page);
        size_t common_bytes = leaf_common_prefix(source, 0, source->count);
        size_t gain = common_bytes > prefix_bytes ? (common_bytes - prefix_bytes) : 0;
        return leaf_weight(page, source->page_bytes) / DENSE_ENTRY_WEIGHT_MAX <= source->count ||
               gain * source->count >= source->page_bytes / REBUILD_FREE_SHARE;
    }
    const struct leaf_value *value = source->extra_value;
    return value->overflow || value->bytes.bytes > DENSE_VALUE_BYTES_MAX ||
           dense_run_count(page) > source->count / (DENSE_INTERVAL / 2) + 1;
}

static bool split_rebuilds(const struct leaf_source *source, struct leaf_split *split)
{
    if (!may_rebuild(source))
        return false;
    struct leaf_measure measure;
    leaf_measure(source, 0, source->count, &measure);
    size_t bytes = size_min(measure.general_bytes, measure.dense_bytes);
    if (bytes > source->page_bytes - source->page_bytes / REBUILD_FREE_SHARE)
        return false;
    return build(source, 0, source->count, split->left);
}

bool leaf_splits_at_edge(const uint8_t *page, unsigned index)
{
    return (index == cells_count(page) && leaf_appends(page) >= LEAF_SEQUENTIAL_MIN) ||
           (index == 0 && leaf_prepends(page) >= LEAF_SEQUENTIAL_MIN);
}

/* Begins the leaf behind a full one with the new entry. The prefix is what the full one's keys have
 * in common with it, as the next keys will: one of the whole key would be shortened, and the leaf
 * rebuilt, again and again. */
static void begin_behind(const struct leaf_source *source, uint8_t *to)
{
    uint8_t first[KV_KEY_BYTES_MAX];
    sombra_slice key = slice_of(first, leaf_key_at(source->pages[0], source->page_bytes, 0, first));
    size_t prefix_bytes = slice_common_prefix(key, source->extra_key);
    unsigned at = source->extra_at;
    general_build(source, at, at + 1, prefix_bytes, to);
}

/* A sequential load: the full page stays as it is, the new entry begins a page of the same kind. */
static bool split_at_edge(const struct leaf_source *source, struct leaf_split *split)
{
    const uint8_t *page = source->pages[0];
    unsigned at = source->extra_at;
    unsigned appends = leaf_appends(page);
    unsigned prepends = leaf_prepends(page);
    bool is_append = at == source->page_count[0] && appends >= LEAF_SEQUENTIAL_MIN;
    bool is_prepend = at == 0 && prepends >= LEAF_SEQUENTIAL_MIN;
    if (source->replaces || !(is_append || is_prepend))
        return false;
    uint8_t *begun = is_append ? split->right : split->left;
    page_copy(is_append ? split->left : split->right, page, source->page_bytes);
    bool did_fit = true;
    if (is_append && is_heavy(page, source->page_bytes))
        begin_behind(source, begun);
    else
        did_fit = build(source, at, at + 1, begun);
    assert(did_fit);
    leaf_set_ends(begun, is_append ? appends + 1 : 0, is_append ? 0 : prepends + 1);
    return did_fit;
}

/* A sequential load in the middle of the tree: what is above it moves out of its way, and it goes
 * on at the end of the left page, whose splits then are at the edge. */
static bool split_behind_run(const struct leaf_source *source, struct leaf_split *split)
{
    unsigned at = source->extra_at;
    if (!split->ends_run || source->replaces || at == 0 || at + 1 >= source->count)
        return false;
    if (build(source, 0, at + 1, split->left) &&
        build(source, at + 1, source->count, split->right)) {
        leaf_set_ends(split->left, LEAF_SEQUENTIAL_MIN, 0);
        return true;
    }
    return build(source, 0, at, split->left) && build(source, at, source->count, split->right);
}

/* Cuts near the middle; false when no cut gives two pages that fit. */
static bool split_in_two(const struct leaf_source *source, struct leaf_split *split)
{
    unsigned cut = choose_cut(source);
    int direction = 0;
    while (cut >= 1 && cut < source->count) {
        if (!build(source, 0, cut, split->left)) {
            if (direction > 0)
                return false;
            direction = -1;
        } else if (!build(source, cut, source->count, split->right)) {
            if (direction < 0)
                return false;
            direction = 1;
        } else {
            return true;
        }
        cut = direction < 0 ? cut - 1 : cut + 1;
    }
    return false;
}

/* The new entry alone between copies of what stood before and behind it. */
static unsigned split_around(const struct leaf_source *source, struct leaf_split *split)
{
    const uint8_t *page = source->pages[0];
    size_t page_bytes = source->page_bytes;
    unsigned count = source->page_count[0];
    unsigned at = source->extra_at;
    unsigned behind = source->replaces ? at + 1 : at;
    uint8_t *alone = at == 0 ? split->left : behind == count ? split->right : split->middle;
    general_build_one(source, alone);
    if (at > 0) {
        page_copy(split->left, page, page_bytes);
        leaf_remove(split->left, page_bytes, at, count);
        leaf_set_ends(split->left, 0, 0);
    }
    if (behind < count) {
        page_copy(split->right, page, page_bytes);
        leaf_remove(split->right, page_bytes, 0, behind);
        leaf_set_ends(split->right, 0, 0);
    }
    return at > 0 && behind < count ? 3 : at > 0 || behind < count ? 2 : 1;
}

void leaf_split(const uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                const struct leaf_value *value, struct leaf_split *split)
{
    assert(index <= cells_count(page));
    assert(split->left && split->middle && split->right);
    struct leaf_source source;
    leaf_source_init(&source, page, NULL, page_bytes);
    leaf_source_add(&source, index, key, value, split->replaces);

    unsigned pages = 2;
    if (split_rebuilds(&source, split)) {
        leaf_set_ends(split->left, leaf_appends(page), leaf_prepends(page));
        pages = 1;
    } else if (!split_at_edge(&source, split) && !split_behind_run(&source, split) &&
               !split_in_two(&source, split)) {
        pages = split_around(&source, split);
    }
    if (pages == 2)
        assert(cells_count(split->left) + cells_count(split->right) == source.count);
    finish_split(split, pages, page_bytes);
}

/* ---- merge and fill ---------------------------------------------------------------------- */

bool leaf_merge(const uint8_t *left, const uint8_t *right, size_t page_bytes, uint8_t *to)
{
    assert(to != left && to != right);
    struct leaf_source source;
    leaf_source_init(&source, left, right, page_bytes);
    if (source.count == 0) {
        general_build(&source, 0, 0, 0, to);
        return true;
    }
    return build(&source, 0, source.count, to);
}

/* Moves entries [first, last) of `from` to the end, or to the front, of the general leaf `to`,
 * whose prefix becomes shorter if it must. False if one does not fit: `to` is then of no use. */
static bool entries_move(const uint8_t *from, size_t page_bytes, unsigned first, unsigned last,
                         bool to_end, uint8_t *to)
{
    for (unsigned i = 0; i < last - first; i++) {
        unsigned index = to_end ? first + i : last - 1 - i;
        uint8_t key[KV_KEY_BYTES_MAX];
        struct leaf_value value;
        sombra_slice whole = slice_of(key, leaf_key_at(from, page_bytes, index, key));
        leaf_value_at(from, page_bytes, index, &value);
        if (!general_insert(to, page_bytes, to_end ? cells_count(to) : 0, whole, &value))
            return false;
    }
    return true;
}

/* Which entries a balance moves, and where. */
struct move {
    const uint8_t *from, *to;
    unsigned first, last; /* of `from` */
    bool to_end;          /* of `to`; else to its front */
};

static struct move move_of(const uint8_t *left, const uint8_t *right, unsigned cut)
{
    unsigned count = cells_count(left);
    if (cut <= count)
        return (struct move){ .from = left, .to = right, .first = cut, .last = count };
    return (struct move){ .from = right, .to = left, .last = cut - count, .to_end = true };
}

/* Is there surely room for what is moved, under the prefix that all of it has in common? */
static bool move_fits(const struct move *move, size_t page_bytes)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    sombra_slice prefix = cells_prefix(move->to, page_bytes);
    size_t from_bytes = cells_prefix_bytes(move->from);
    size_t new_bytes = prefix.bytes;
    const unsigned ends[] = { move->first, move->last - 1 };
    for (unsigned i = 0; i < 2; i++) {
        size_t key_bytes = leaf_key_at(move->from, page_bytes, ends[i], key);
        new_bytes = size_min(new_bytes, slice_common_prefix(slice_of(key, key_bytes), prefix));
    }
    size_t bytes = general_weight_of(move->from, move->first, move->last);
    /* A longer suffix may take one more byte to say so. */
    if (from_bytes > new_bytes)
        bytes += (move->last - move->first) * (from_bytes - new_bytes + 1);
    if (prefix.bytes > new_bytes)
        bytes += cells_count(move->to) * (prefix.bytes - new_bytes + 1);
    return page_used(move->to, page_bytes) + bytes <= page_bytes;
}

unsigned leaf_balance_plan(const uint8_t *left, const uint8_t *right, size_t page_bytes,
                           struct leaf_split *split)
{
    if (!is_heavy(left, page_bytes) || !is_heavy(right, page_bytes))
        return 0;
    struct leaf_source source;
    leaf_source_init(&source, left, right, page_bytes);
    unsigned cut = choose_cut(&source);
    struct move move = move_of(left, right, cut);
    if (move.first == move.last || !move_fits(&move, page_bytes))
        return 0;
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
    unsigned at = move.to_end ? move.last : move.first;
    size_t low_bytes = leaf_key_at(move.from, page_bytes, at - 1, low);
    size_t high_bytes = leaf_key_at(move.from, page_bytes, at, high);
    split->separator_bytes =
        separator_between(slice_of(low, low_bytes), slice_of(high, high_bytes), split->separator);
    return cut;
}

void leaf_balance_move(uint8_t *left, uint8_t *right, size_t page_bytes, unsigned cut)
{
    struct move move = move_of(left, right, cut);
    uint8_t *from = move.to_end ? right : left;
    uint8_t *to = move.to_end ? left : right;
    if (slice_compare(cells_prefix(from, page_bytes), cells_prefix(to, page_bytes)) == 0) {
        general_move_cells(from, move.first, move.last, move.to_end, to, page_bytes);
    } else {
        bool did_fit = entries_move(from, page_bytes, move.first, move.last, move.to_end, to);
        assert(did_fit && "the plan saw to it");
        (void)did_fit;
    }
    general_remove(from, page_bytes, move.first, move.last);
    leaf_set_ends(left, 0, 0);
    leaf_set_ends(right, 0, 0);
}

void leaf_balance(const uint8_t *left, const uint8_t *right, size_t page_bytes,
                  struct leaf_split *split)
{
    assert(cells_count(left) > 0 && cells_count(right) > 0);
    struct leaf_source source;
    leaf_source_init(&source, left, right, page_bytes);
    if (!split_in_two(&source, split)) {
        page_copy(split->left, left, page_bytes);
        page_copy(split->right, right, page_bytes);
    }
    finish_split(split, 2, page_bytes);
}

bool leaf_fill(const uint8_t *left, const uint8_t *right, size_t page_bytes, size_t fill_bytes,
               struct leaf_split *split)
{
    assert(cells_count(left) > 0 && cells_count(right) > 0 && fill_bytes <= page_bytes);
    size_t used = page_used(left, page_bytes);
    if (used >= fill_bytes)
        return false;
    struct leaf_source source;
    leaf_source_init(&source, left, right, page_bytes);
    unsigned more = index_at_weight(right, page_bytes, fill_bytes - used);
    if (more >= source.page_count[1])
        more = source.page_count[1] - 1;
    /* A guess: entries weigh differently under another prefix. */
    for (; more > 0; more -= 1 + more / 32) {
        unsigned cut = source.page_count[0] + more;
        if (!build(&source, 0, cut, split->left) || page_used(split->left, page_bytes) > fill_bytes)
            continue;
        if (!build(&source, cut, source.count, split->right))
            return false;
        finish_split(split, 2, page_bytes);
        return true;
    }
    return false;
}
