/* SPDX-License-Identifier: MIT */
/* Cursors. A cursor keeps its key and the path to it; when its transaction has written since, the
 * path is stale and it seeks its key again: no pointers are fixed up.
 */
#include "btree_internal.h"

#include <limits.h>

enum cursor_state {
    CURSOR_FRESH,  /* never positioned */
    CURSOR_ON,     /* on an entry, or where it was before it was deleted */
    CURSOR_BEFORE, /* ran off the range's low end */
    CURSOR_BEHIND, /* ran off the high end */
};

enum {
    ROOM_ENTRIES_MAX = 512,   /* of a batch of decoded entries */
    ROOM_ENTRIES = 128,       /* of the usual ones; one size of room, so that it seldom grows */
    SPARE_CURSORS_MAX = 4,    /* kept by a transaction */
    BOUND_UNKNOWN = UINT_MAX, /* more than the entries of any leaf */
};

struct btree_cursor {
    struct kv_cursor kv;
    struct btree_txn *txn;
    struct btree_cursor *next_spare;
    enum cursor_state state;
    bool has_iter;           /* iter is in the path's leaf, and `key` begins with its prefix */
    bool has_path;           /* after keys were read as words: the path leads to a leaf */
    uint64_t generation;     /* of the transaction when the path was made */
    struct tree_path path;   /* the leaf's index is that of the entry it is on */
    struct leaf_iter iter;   /* follows it when an entry is shown */
    struct leaf_place place; /* within one call: where the seek of place_key ended */
    sombra_slice place_key;
    unsigned first, end; /* entries [first, end) of the leaf are in the range, or BOUND_UNKNOWN */
    size_t key_bytes;
    uint8_t *room; /* of batch reads: decoded suffixes */
    size_t room_bytes;
    uint8_t key[KV_KEY_BYTES_MAX];
    struct kv_bounds bounds;
};

static struct btree_cursor *cursor_of(struct kv_cursor *cursor)
{
    assert(cursor->ops == &btree_ops);
    return container_of(cursor, struct btree_cursor, kv);
}

static size_t page_bytes_of(const struct btree_cursor *cursor)
{
    return cursor->txn->btree->pager.page_bytes;
}

static struct btree_cursor *cursor_take(struct btree_txn *txn)
{
    struct btree_cursor *cursor = txn->spare_cursors;
    if (LIKELY(cursor)) {
        txn->spare_cursors = cursor->next_spare;
        txn->spare_count--;
        return cursor;
    }
    cursor = mem_alloc(sizeof *cursor);
    if (cursor) {
        cursor->room = NULL;
        cursor->room_bytes = 0;
    }
    return cursor;
}

static void cursor_free(struct btree_cursor *cursor)
{
    mem_free(cursor->room);
    mem_free(cursor);
}

void cursors_free_spare(struct btree_txn *txn)
{
    while (txn->spare_cursors) {
        struct btree_cursor *cursor = txn->spare_cursors;
        txn->spare_cursors = cursor->next_spare;
        cursor_free(cursor);
    }
    txn->spare_count = 0;
}

/* Kept for the transaction's next one, and for the next transaction in its place. */
static void cursor_keep(struct btree_txn *txn, struct btree_cursor *cursor)
{
    if (txn->spare_count == SPARE_CURSORS_MAX) {
        cursor_free(cursor);
        return;
    }
    cursor->next_spare = txn->spare_cursors;
    txn->spare_cursors = cursor;
    txn->spare_count++;
}

sombra_err btree_cursor_open(struct kv_txn *kv_txn, struct kv_range range,
                             struct kv_cursor **out_cursor)
{
    struct btree_txn *txn = txn_of(kv_txn);
    struct btree_cursor *cursor = cursor_take(txn);
    if (!cursor)
        return diag_nomem("a cursor", sizeof *cursor);
    cursor->kv = (struct kv_cursor){ .ops = &btree_ops, .txn = kv_txn };
    cursor->txn = txn;
    cursor->state = CURSOR_FRESH;
    cursor->has_iter = false;
    cursor->has_path = false;
    cursor->place.at = NULL;
    cursor->generation = txn->generation;
    sombra_err err = kv_bounds_set(&cursor->bounds, range);
    if (err) {
        cursor_keep(txn, cursor);
        return err;
    }
    txn->open_cursors++;
    *out_cursor = &cursor->kv;
    return SOMBRA_OK;
}

void btree_cursor_close(struct kv_cursor *kv_cursor)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    assert(cursor->txn->open_cursors > 0);
    cursor->txn->open_cursors--;
    cursor_keep(cursor->txn, cursor);
}

/* ---- positions --------------------------------------------------------------------------- */

/* The path leads to another leaf. Which of its entries are in the range is found out when a motion
 * comes near that end: a short scan never asks. */
static void leaf_enter(struct btree_cursor *cursor)
{
    cursor->first = cursor->bounds.low_bytes ? BOUND_UNKNOWN : 0;
    cursor->end = cursor->bounds.high_bytes ? BOUND_UNKNOWN : page_count(cursor->path.at[0].page);
    cursor->has_iter = false;
    cursor->generation = cursor->txn->generation;
}

static unsigned leaf_first(struct btree_cursor *cursor)
{
    if (cursor->first == BOUND_UNKNOWN)
        (void)leaf_find(cursor->path.at[0].page, page_bytes_of(cursor),
                        slice_of(cursor->bounds.low, cursor->bounds.low_bytes), &cursor->first);
    return cursor->first;
}

static unsigned leaf_end(struct btree_cursor *cursor)
{
    if (cursor->end == BOUND_UNKNOWN)
        (void)leaf_find(cursor->path.at[0].page, page_bytes_of(cursor),
                        slice_of(cursor->bounds.high, cursor->bounds.high_bytes), &cursor->end);
    return cursor->end;
}

static sombra_err off_end(struct btree_cursor *cursor, enum cursor_state state, bool *out_found)
{
    cursor->state = state;
    cursor->place.at = NULL;
    cursor->kv.is_positioned = false;
    *out_found = false;
    return SOMBRA_OK;
}

/* Brings the iterator to the path's entry; most often that is the one beside it. */
static void iter_follow(struct btree_cursor *cursor)
{
    struct leaf_iter *iter = &cursor->iter;
    unsigned index = cursor->path.at[0].index;
    if (LIKELY(cursor->has_iter && iter->index + 1 == index)) {
        (void)leaf_iter_next(iter);
        return;
    }
    if (cursor->place.at && cursor->place.index == index)
        leaf_iter_enter(iter, cursor->path.at[0].page, page_bytes_of(cursor), &cursor->place,
                        cursor->place_key);
    else
        leaf_iter_seek(iter, cursor->path.at[0].page, page_bytes_of(cursor), index);
    if (!cursor->has_iter && iter->prefix.bytes)
        memcpy(cursor->key, iter->prefix.data, iter->prefix.bytes);
    cursor->has_iter = true;
}

static void key_set_suffix(struct btree_cursor *cursor, size_t prefix_bytes, sombra_slice suffix)
{
    assert(prefix_bytes + suffix.bytes <= KV_KEY_BYTES_MAX);
    if (suffix.bytes)
        memcpy(cursor->key + prefix_bytes, suffix.data, suffix.bytes);
    cursor->key_bytes = prefix_bytes + suffix.bytes;
}

static void entry_publish(struct btree_cursor *cursor, sombra_slice value)
{
    cursor->kv.entry =
        (struct kv_entry){ .key = slice_of(cursor->key, cursor->key_bytes), .value = value };
    cursor->kv.is_positioned = true;
    cursor->state = CURSOR_ON;
}

/* Publishes the path's entry. */
static sombra_err entry_show(struct btree_cursor *cursor)
{
    sombra_slice value;
    iter_follow(cursor);
    cursor->place.at = NULL;
    const struct leaf_iter *iter = &cursor->iter;
    sombra_err err = tree_value(cursor->txn, &iter->value, &value);
    if (err)
        return err;
    key_set_suffix(cursor, iter->prefix.bytes, iter->suffix);
    entry_publish(cursor, value);
    return SOMBRA_OK;
}

/* The path's entry is the one; `state` and key change when it is published. */
static sombra_err land(struct btree_cursor *cursor, unsigned index, bool *out_found)
{
    assert(index < page_count(cursor->path.at[0].page));
    cursor->path.at[0].index = index;
    *out_found = true;
    return SOMBRA_OK;
}

/* The next leaf lies beyond the last key, or the tree leads in circles. */
static sombra_err order_check(const struct btree_cursor *cursor, bool forward)
{
    const struct path_level *leaf = &cursor->path.at[0];
    unsigned count = page_count(leaf->page);
    uint8_t key[KV_KEY_BYTES_MAX];
    if (cursor->state != CURSOR_ON || count == 0)
        return SOMBRA_OK;
    size_t bytes = leaf_key_at(leaf->page, page_bytes_of(cursor), forward ? 0 : count - 1, key);
    int order = slice_compare(slice_of(key, bytes), slice_of(cursor->key, cursor->key_bytes));
    if (forward ? order > 0 : order < 0)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT,
                     "page %" PRIu64 ": its keys are not behind those of the leaf before it",
                     leaf->id);
}

/* On the entry `index` of the path's leaf, which may be its count: then the next leaf's first.
 * `steps`: the cursor comes from the entry before. */
static sombra_err land_forward(struct btree_cursor *cursor, unsigned index, bool steps,
                               bool *out_found)
{
    if (index == page_count(cursor->path.at[0].page)) {
        bool found;
        cursor->place.at = NULL; /* it is of the leaf that is left */
        sombra_err err = tree_step_leaf(cursor->txn, &cursor->path, true, &found);
        if (err)
            return err;
        if (!found)
            return off_end(cursor, CURSOR_BEHIND, out_found);
        index = 0;
        err = steps ? order_check(cursor, true) : SOMBRA_OK;
        if (err)
            return err;
    }
    leaf_enter(cursor);
    if (index >= leaf_end(cursor))
        return off_end(cursor, CURSOR_BEHIND, out_found);
    return land(cursor, index, out_found);
}

/* On the entry before `index` of the path's leaf. */
static sombra_err land_backward(struct btree_cursor *cursor, unsigned index, bool steps,
                                bool *out_found)
{
    if (index == 0) {
        bool found;
        cursor->place.at = NULL; /* it is of the leaf that is left */
        sombra_err err = tree_step_leaf(cursor->txn, &cursor->path, false, &found);
        if (err)
            return err;
        if (!found)
            return off_end(cursor, CURSOR_BEFORE, out_found);
        index = page_count(cursor->path.at[0].page);
        err = steps ? order_check(cursor, false) : SOMBRA_OK;
        if (err)
            return err;
    }
    leaf_enter(cursor);
    if (index <= leaf_first(cursor))
        return off_end(cursor, CURSOR_BEFORE, out_found);
    return land(cursor, index - 1, out_found);
}

/* ---- motions ----------------------------------------------------------------------------- */

/* Path to where `key` is or would be; *out_index there. */
static sombra_err seek(struct btree_cursor *cursor, sombra_slice key, unsigned *out_index,
                       bool *out_exact)
{
    sombra_err err = tree_descend(cursor->txn, key, &cursor->path);
    if (err)
        return err;
    *out_exact =
        leaf_find_place(cursor->path.at[0].page, page_bytes_of(cursor), key, &cursor->place);
    cursor->place_key = key;
    *out_index = cursor->place.index;
    return SOMBRA_OK;
}

/* To the first of a range whose ends are both given, which is often in one leaf: the high one is
 * looked for from where the low one was found. */
static sombra_err move_first_between(struct btree_cursor *cursor, bool *out_found)
{
    const sombra_slice low = slice_of(cursor->bounds.low, cursor->bounds.low_bytes);
    const sombra_slice high = slice_of(cursor->bounds.high, cursor->bounds.high_bytes);
    unsigned index = 0;
    bool exact;
    sombra_err err = seek(cursor, low, &index, &exact);
    if (err)
        return err;
    if (index == page_count(cursor->path.at[0].page))
        return land_forward(cursor, index, false, out_found);
    leaf_enter(cursor);
    cursor->first = index;
    cursor->end =
        leaf_find_end(cursor->path.at[0].page, page_bytes_of(cursor), &cursor->place, low, high);
    assert(cursor->end >= index);
    return index == cursor->end ? off_end(cursor, CURSOR_BEHIND, out_found)
                                : land(cursor, index, out_found);
}

static sombra_err move_first(struct btree_cursor *cursor, bool *out_found)
{
    const sombra_slice low = slice_of(cursor->bounds.low, cursor->bounds.low_bytes);
    unsigned index = 0;
    bool exact;
    sombra_err err;
    if (low.bytes && cursor->bounds.high_bytes &&
        slice_compare(low, slice_of(cursor->bounds.high, cursor->bounds.high_bytes)) < 0)
        return move_first_between(cursor, out_found);
    if (low.bytes) {
        err = seek(cursor, low, &index, &exact);
    } else {
        cursor->place.at = NULL;
        err = tree_descend_edge(cursor->txn, false, &cursor->path);
    }
    return err ? err : land_forward(cursor, index, false, out_found);
}

static sombra_err move_last(struct btree_cursor *cursor, bool *out_found)
{
    unsigned index = 0;
    bool exact;
    sombra_err err;
    if (cursor->bounds.high_bytes) {
        err =
            seek(cursor, slice_of(cursor->bounds.high, cursor->bounds.high_bytes), &index, &exact);
    } else {
        cursor->place.at = NULL;
        err = tree_descend_edge(cursor->txn, true, &cursor->path);
        if (!err)
            index = page_count(cursor->path.at[0].page);
    }
    return err ? err : land_backward(cursor, index, false, out_found);
}

static sombra_err move_seek_ge(struct btree_cursor *cursor, sombra_slice key, bool *out_found)
{
    if (slice_compare(key, slice_of(cursor->bounds.low, cursor->bounds.low_bytes)) < 0)
        return move_first(cursor, out_found);
    unsigned index;
    bool exact;
    sombra_err err = seek(cursor, key, &index, &exact);
    return err ? err : land_forward(cursor, index, false, out_found);
}

static sombra_err move_seek_le(struct btree_cursor *cursor, sombra_slice key, bool *out_found)
{
    if (cursor->bounds.high_bytes &&
        slice_compare(key, slice_of(cursor->bounds.high, cursor->bounds.high_bytes)) >= 0)
        return move_last(cursor, out_found);
    unsigned index;
    bool exact;
    sombra_err err = seek(cursor, key, &index, &exact);
    return err ? err : land_backward(cursor, exact ? index + 1 : index, false, out_found);
}

static sombra_err step_next(struct btree_cursor *cursor, bool *out_found)
{
    if (UNLIKELY(cursor->generation != cursor->txn->generation)) {
        unsigned index;
        bool exact;
        sombra_err err = seek(cursor, slice_of(cursor->key, cursor->key_bytes), &index, &exact);
        return err ? err : land_forward(cursor, exact ? index + 1 : index, false, out_found);
    }
    unsigned index = cursor->path.at[0].index + 1;
    return index < leaf_end(cursor) ? land(cursor, index, out_found)
                                    : land_forward(cursor, index, true, out_found);
}

static sombra_err step_previous(struct btree_cursor *cursor, bool *out_found)
{
    if (UNLIKELY(cursor->generation != cursor->txn->generation)) {
        unsigned index;
        bool exact;
        sombra_err err = seek(cursor, slice_of(cursor->key, cursor->key_bytes), &index, &exact);
        return err ? err : land_backward(cursor, index, false, out_found);
    }
    unsigned index = cursor->path.at[0].index;
    return index > leaf_first(cursor) ? land(cursor, index - 1, out_found)
                                      : land_backward(cursor, index, true, out_found);
}

static sombra_err move_next(struct btree_cursor *cursor, bool *out_found)
{
    if (LIKELY(cursor->state == CURSOR_ON))
        return step_next(cursor, out_found);
    if (cursor->state == CURSOR_BEHIND)
        return off_end(cursor, CURSOR_BEHIND, out_found);
    return move_first(cursor, out_found);
}

static sombra_err move_previous(struct btree_cursor *cursor, bool *out_found)
{
    if (LIKELY(cursor->state == CURSOR_ON))
        return step_previous(cursor, out_found);
    if (cursor->state == CURSOR_BEFORE)
        return off_end(cursor, CURSOR_BEFORE, out_found);
    return move_last(cursor, out_found);
}

static sombra_err move(struct btree_cursor *cursor, enum kv_motion motion, sombra_slice key,
                       bool *out_found)
{
    sombra_err err = txn_check(cursor->txn);
    if (UNLIKELY(err))
        return err;
    if (cursor->txn->snapshot.depth == 0) {
        bool forward = motion == KV_NEXT || motion == KV_FIRST || motion == KV_SEEK_GE;
        return off_end(cursor, forward ? CURSOR_BEHIND : CURSOR_BEFORE, out_found);
    }
    switch (motion) {
    case KV_NEXT:
        return move_next(cursor, out_found);
    case KV_PREVIOUS:
        return move_previous(cursor, out_found);
    case KV_FIRST:
        return move_first(cursor, out_found);
    case KV_LAST:
        return move_last(cursor, out_found);
    case KV_SEEK_GE:
        return move_seek_ge(cursor, key, out_found);
    case KV_SEEK_LE:
        return move_seek_le(cursor, key, out_found);
    }
    return diag_fail(SOMBRA_INVALID, "cursor motion %d", (int)motion);
}

/* The path may be half way to somewhere: the next motion seeks the last key again. */
static sombra_err lost(struct btree_cursor *cursor, sombra_err err)
{
    cursor->generation = cursor->txn->generation - 1;
    cursor->has_path = false;
    cursor->place.at = NULL;
    cursor->kv.is_positioned = false;
    return err;
}

sombra_err btree_cursor_move(struct kv_cursor *kv_cursor, enum kv_motion motion, sombra_slice key,
                             bool *out_found)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    bool found = false;
    sombra_err err = move(cursor, motion, key, &found);
    if (!err && found)
        err = entry_show(cursor);
    if (UNLIKELY(err))
        return lost(cursor, err);
    *out_found = found;
    return SOMBRA_OK;
}

/* ---- batches ----------------------------------------------------------------------------- */

static sombra_err room_reserve(struct btree_cursor *cursor, size_t bytes)
{
    if (LIKELY(cursor->room_bytes >= bytes))
        return SOMBRA_OK;
    uint8_t *room = mem_alloc(bytes);
    if (!room)
        return diag_nomem("a batch of entries", bytes);
    mem_free(cursor->room);
    cursor->room = room;
    cursor->room_bytes = bytes;
    return SOMBRA_OK;
}

/* Values that are not in the leaf. */
static sombra_err overflows_read(struct btree_cursor *cursor, struct kv_entry *entries,
                                 unsigned count, unsigned first, bool is_backward)
{
    for (unsigned i = 0; i < count; i++) {
        struct kv_entry *entry = &entries[is_backward ? count - 1 - i : i];
        if (entry->value.data)
            continue;
        struct leaf_value value;
        leaf_value_at(cursor->path.at[0].page, page_bytes_of(cursor), first + i, &value);
        sombra_err err = tree_value(cursor->txn, &value, &entry->value);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

/* Reads `count` entries from `first` of the leaf, the other way round if `is_backward`; fewer when
 * the room for decoded keys is full. */
static sombra_err batch_fill(struct btree_cursor *cursor, unsigned first, unsigned count,
                             bool is_backward, struct kv_batch *batch)
{
    const uint8_t *page = cursor->path.at[0].page;
    struct leaf_batch from = { .entries = batch->entries,
                               .capacity = count,
                               .is_backward = is_backward,
                               .place = is_backward ? NULL : &cursor->place,
                               .place_key = cursor->place_key };
    if (leaf_read_needs_room(page)) {
        unsigned wanted = count <= ROOM_ENTRIES ? ROOM_ENTRIES : ROOM_ENTRIES_MAX;
        sombra_err err = room_reserve(cursor, leaf_room_bytes(wanted));
        if (err)
            return err;
        from.room = cursor->room;
        from.room_bytes = cursor->room_bytes;
    }
    unsigned got = leaf_read(page, page_bytes_of(cursor), first, &from);
    if (is_backward && UNLIKELY(got < count)) {
        /* The missing ones are those nearest to the position: fewer fit. */
        unsigned half = got ? got : 1;
        return batch_fill(cursor, first + (count - half), half, true, batch);
    }
    assert(got > 0);
    batch->prefix = from.prefix;
    batch->count = got;
    if (UNLIKELY(from.has_overflows))
        return overflows_read(cursor, batch->entries, got, first, is_backward);
    return SOMBRA_OK;
}

/* Is who reads so many of the `left` entries of the leaf seen to come to the next one? */
static bool batch_goes_on(struct btree_cursor *cursor, bool is_backward, size_t left,
                          size_t capacity)
{
    enum { STEPS_MIN = 4 };
    if (left >= capacity && cursor->path.steps < STEPS_MIN)
        return false;
    return is_backward ? leaf_first(cursor) == 0
                       : leaf_end(cursor) == page_count(cursor->path.at[0].page);
}

/* The cursor stands on the first entry of the batch: reads it and what follows in its leaf. */
static sombra_err batch_read(struct btree_cursor *cursor, bool is_backward, struct kv_batch *batch)
{
    unsigned index = cursor->path.at[0].index;
    size_t left = is_backward ? index - leaf_first(cursor) + 1 : (size_t)(leaf_end(cursor) - index);
    unsigned count = (unsigned)size_min(left, size_min(batch->capacity, ROOM_ENTRIES_MAX));
    bool is_reached = false, goes_on = batch_goes_on(cursor, is_backward, left, batch->capacity);
    if (goes_on)
        count = (unsigned)size_min(
            count, tree_ahead_pace(cursor->txn, &cursor->path, !is_backward, (unsigned)left));
    if (batch->before.bytes && count > 1 && !is_backward) {
        unsigned before;
        (void)leaf_find(cursor->path.at[0].page, page_bytes_of(cursor), batch->before, &before);
        is_reached = before > index && before - index <= count && before < leaf_end(cursor);
        count = before > index ? (unsigned)size_min(count, before - index) : 1;
    }
    sombra_err err =
        batch_fill(cursor, is_backward ? index + 1 - count : index, count, is_backward, batch);
    cursor->place.at = NULL;
    if (err)
        return err;
    if (goes_on)
        tree_ahead_fetch(cursor->txn, &cursor->path);
    batch->is_before_next = is_reached && batch->count == count;
    unsigned steps = (unsigned)batch->count - 1;
    cursor->path.at[0].index = is_backward ? index - steps : index + steps;
    const struct kv_entry *last = &batch->entries[steps];
    if (batch->prefix.bytes)
        memcpy(cursor->key, batch->prefix.data, batch->prefix.bytes);
    key_set_suffix(cursor, batch->prefix.bytes, last->key);
    entry_publish(cursor, last->value);
    return SOMBRA_OK;
}

sombra_err btree_cursor_read(struct kv_cursor *kv_cursor, enum kv_motion direction,
                             struct kv_batch *batch)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    assert(direction == KV_NEXT || direction == KV_PREVIOUS);
    assert(batch->capacity > 0);
    batch->count = 0;
    batch->prefix = slice_of(NULL, 0);
    batch->is_before_next = false;
    bool found = false;
    sombra_err err = move(cursor, direction, slice_of(NULL, 0), &found);
    if (!err && found)
        err = batch_read(cursor, direction == KV_PREVIOUS, batch);
    if (UNLIKELY(err)) {
        batch->count = 0;
        return lost(cursor, err);
    }
    return SOMBRA_OK;
}

/* ---- keys as words ----------------------------------------------------------------------- */

/* To the first key that begins with `within`: who sweeps over many of them finds the next often in
 * the same leaf, which is tried first, but for its ends. */
static sombra_err words_seek(struct btree_cursor *cursor, sombra_slice within)
{
    const uint8_t *page = cursor->path.at[0].page;
    bool is_here = cursor->has_path && cursor->generation == cursor->txn->generation;
    if (is_here) {
        (void)leaf_find_place(page, page_bytes_of(cursor), within, &cursor->place);
        is_here = cursor->place.index > 0 && cursor->place.index < page_count(page);
    }
    if (!is_here) {
        unsigned index;
        bool exact;
        cursor->has_path = false;
        sombra_err err = seek(cursor, within, &index, &exact);
        if (err)
            return err;
    }
    cursor->path.at[0].index = cursor->place.index;
    cursor->has_path = true;
    return SOMBRA_OK;
}

/* Behind the position: the path's index is that of the next entry. */
static sombra_err words_go_on(struct btree_cursor *cursor)
{
    if (LIKELY(cursor->generation == cursor->txn->generation)) {
        cursor->path.at[0].index++;
        return SOMBRA_OK;
    }
    unsigned index;
    bool exact;
    sombra_err err = seek(cursor, slice_of(cursor->key, cursor->key_bytes), &index, &exact);
    if (!err)
        cursor->path.at[0].index = exact ? index + 1 : index;
    return err;
}

/* The last one that was read, if any, is the cursor's key. */
static void words_set_key(struct btree_cursor *cursor, const struct kv_words *words)
{
    const sombra_slice within = words->within;
    if (words->count == 0)
        return;
    uint8_t word[KV_WORD_BYTES];
    put_be64(word, words->words[words->count - 1]);
    memcpy(cursor->key, within.data, within.bytes);
    key_set_suffix(cursor, within.bytes, slice_of(word, words->bytes[words->count - 1]));
    cursor->state = CURSOR_ON;
}

/* From the path's entry on, leaf by leaf. The path is left on the one behind the last that was
 * read. */
static sombra_err words_read(struct btree_cursor *cursor, struct kv_words *words)
{
    struct path_level *leaf = &cursor->path.at[0];
    struct leaf_words from = { .within = words->within };
    if (words->seeks)
        from.place = &cursor->place;
    else
        from.before = slice_of(cursor->key, cursor->key_bytes);
    for (;;) {
        from.words = words->words + words->count;
        from.bytes = words->bytes + words->count;
        from.capacity = words->capacity - words->count;
        unsigned read = leaf_read_words(leaf->page, page_bytes_of(cursor), leaf->index, &from);
        leaf->index += read;
        words->count += read;
        words->is_last = from.is_over;
        words->is_long = from.is_long;
        if (from.is_over || from.is_long || words->count == words->capacity)
            return SOMBRA_OK;
        bool found = false;
        words_set_key(cursor, words);
        sombra_err err = tree_step_leaf(cursor->txn, &cursor->path, true, &found);
        if (err)
            return err;
        words->is_last = !found;
        if (!found)
            return SOMBRA_OK;
        if (words->count || !words->seeks)
            err = order_check(cursor, true);
        if (err)
            return err;
        leaf->index = 0;
        from.place = NULL;
    }
}

/* The cursor stands on the last key that was read; behind the last one of all nowhere. */
static void words_publish(struct btree_cursor *cursor, const struct kv_words *words)
{
    leaf_enter(cursor);
    cursor->place.at = NULL;
    cursor->kv.is_positioned = false;
    if (words->is_last || (words->seeks && words->count == 0)) {
        cursor->state = CURSOR_FRESH;
        return;
    }
    words_set_key(cursor, words);
    if (LIKELY(cursor->path.at[0].index > 0))
        cursor->path.at[0].index--;
    else /* it is in the leaf before */
        cursor->generation = cursor->txn->generation - 1;
}

sombra_err btree_cursor_words(struct kv_cursor *kv_cursor, struct kv_words *words)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    words->count = 0;
    words->is_last = words->is_long = false;
    assert(words->seeks || cursor->state == CURSOR_ON);
    sombra_err err = txn_check(cursor->txn);
    if (UNLIKELY(err))
        return err;
    if (cursor->txn->snapshot.depth == 0) {
        words->is_last = true;
        return SOMBRA_OK;
    }
    err = words->seeks ? words_seek(cursor, words->within) : words_go_on(cursor);
    if (!err)
        err = words_read(cursor, words);
    if (UNLIKELY(err)) {
        words->count = 0;
        return lost(cursor, err);
    }
    words_publish(cursor, words);
    return SOMBRA_OK;
}
