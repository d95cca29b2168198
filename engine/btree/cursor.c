/* SPDX-License-Identifier: MIT */
/* Cursors. A cursor keeps its key and the path to it; when its transaction has written since, the
 * path is stale and it seeks its key again: no pointers are fixed up.
 */
#include "btree_internal.h"

enum cursor_state {
    CURSOR_FRESH,  /* never positioned */
    CURSOR_ON,     /* on an entry, or where it was before it was deleted */
    CURSOR_BEFORE, /* ran off the range's low end */
    CURSOR_BEHIND, /* ran off the high end */
};

enum { READ_ENTRIES_MAX = 512, READ_ROOM_BYTES = 32 << 10 };

/* Of batch reads, allocated by the first. */
struct read_room {
    sombra_slice suffixes[READ_ENTRIES_MAX];
    struct leaf_value values[READ_ENTRIES_MAX];
    uint8_t bytes[READ_ROOM_BYTES];
};

struct btree_cursor {
    struct kv_cursor kv;
    struct btree_txn *txn;
    enum cursor_state state;
    uint64_t generation; /* of the transaction when path and iter were made */
    struct tree_path path;
    struct leaf_iter iter;
    unsigned first, end; /* entries [first, end) of the leaf are in the range */
    size_t key_bytes;
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t low_bytes, high_bytes; /* 0 = no bound */
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
    struct read_room *room;
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

/* A bound longer than any key: the keys before it are those up to its first KV_KEY_BYTES_MAX bytes.
 */
static sombra_err bound_copy(sombra_slice bound, uint8_t *to, size_t *out_bytes)
{
    if (bound.bytes > KV_KEY_BYTES_MAX)
        return diag_fail(SOMBRA_INVALID, "a range bound of %zu bytes: keys have at most %d",
                         bound.bytes, KV_KEY_BYTES_MAX);
    if (bound.bytes)
        memcpy(to, bound.data, bound.bytes);
    *out_bytes = bound.bytes;
    return SOMBRA_OK;
}

sombra_err btree_cursor_open(struct kv_txn *kv_txn, struct kv_range range,
                             struct kv_cursor **out_cursor)
{
    struct btree_txn *txn = txn_of(kv_txn);
    struct btree_cursor *cursor = mem_alloc(sizeof *cursor);
    if (!cursor)
        return diag_nomem("a cursor", sizeof *cursor);
    cursor->kv = (struct kv_cursor){ .ops = &btree_ops, .txn = kv_txn };
    cursor->txn = txn;
    cursor->state = CURSOR_FRESH;
    cursor->generation = txn->generation;
    cursor->room = NULL;
    sombra_err err = bound_copy(range.low, cursor->low, &cursor->low_bytes);
    if (!err)
        err = bound_copy(range.high, cursor->high, &cursor->high_bytes);
    if (err) {
        mem_free(cursor);
        return err;
    }
    *out_cursor = &cursor->kv;
    return SOMBRA_OK;
}

void btree_cursor_close(struct kv_cursor *kv_cursor)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    mem_free(cursor->room);
    mem_free(cursor);
}

/* ---- positions --------------------------------------------------------------------------- */

/* The path leads to another leaf: which of its entries are in the range? */
static void leaf_enter(struct btree_cursor *cursor)
{
    const uint8_t *page = cursor->path.at[0].page;
    cursor->first = 0;
    cursor->end = page_count(page);
    if (cursor->low_bytes)
        (void)leaf_find(page, page_bytes_of(cursor), slice_of(cursor->low, cursor->low_bytes),
                        &cursor->first);
    if (cursor->high_bytes)
        (void)leaf_find(page, page_bytes_of(cursor), slice_of(cursor->high, cursor->high_bytes),
                        &cursor->end);
    cursor->generation = cursor->txn->generation;
}

static sombra_err off_end(struct btree_cursor *cursor, enum cursor_state state, bool *out_found)
{
    cursor->state = state;
    cursor->kv.is_positioned = false;
    *out_found = false;
    return SOMBRA_OK;
}

/* The iterator stands on the new entry: publishes it. */
static sombra_err entry_show(struct btree_cursor *cursor, bool is_new_leaf, bool *out_found)
{
    const struct leaf_iter *iter = &cursor->iter;
    sombra_slice value;
    sombra_err err = tree_value(cursor->txn, &iter->value, &value);
    if (err)
        return err;
    if (is_new_leaf && iter->prefix.bytes)
        memcpy(cursor->key, iter->prefix.data, iter->prefix.bytes);
    if (iter->suffix.bytes)
        memcpy(cursor->key + iter->prefix.bytes, iter->suffix.data, iter->suffix.bytes);
    cursor->key_bytes = iter->prefix.bytes + iter->suffix.bytes;
    cursor->kv.entry =
        (struct kv_entry){ .key = slice_of(cursor->key, cursor->key_bytes), .value = value };
    cursor->kv.is_positioned = true;
    cursor->state = CURSOR_ON;
    *out_found = true;
    return SOMBRA_OK;
}

static sombra_err land(struct btree_cursor *cursor, unsigned index, bool *out_found)
{
    cursor->path.at[0].index = index;
    leaf_iter_seek(&cursor->iter, cursor->path.at[0].page, page_bytes_of(cursor), index);
    return entry_show(cursor, true, out_found);
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
    if (index >= cursor->end)
        return off_end(cursor, CURSOR_BEHIND, out_found);
    return land(cursor, index, out_found);
}

/* On the entry before `index` of the path's leaf. */
static sombra_err land_backward(struct btree_cursor *cursor, unsigned index, bool steps,
                                bool *out_found)
{
    if (index == 0) {
        bool found;
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
    if (index <= cursor->first)
        return off_end(cursor, CURSOR_BEFORE, out_found);
    return land(cursor, index - 1, out_found);
}

/* ---- motions ----------------------------------------------------------------------------- */

/* Path to where `key` is or would be; *out_index there. */
static sombra_err seek(struct btree_cursor *cursor, sombra_slice key, unsigned *out_index,
                       bool *out_exact)
{
    sombra_err err = tree_descend(cursor->txn, key, &cursor->path);
    if (!err)
        *out_exact = leaf_find(cursor->path.at[0].page, page_bytes_of(cursor), key, out_index);
    return err;
}

static sombra_err move_first(struct btree_cursor *cursor, bool *out_found)
{
    unsigned index = 0;
    bool exact;
    sombra_err err = cursor->low_bytes
                         ? seek(cursor, slice_of(cursor->low, cursor->low_bytes), &index, &exact)
                         : tree_descend_edge(cursor->txn, false, &cursor->path);
    return err ? err : land_forward(cursor, index, false, out_found);
}

static sombra_err move_last(struct btree_cursor *cursor, bool *out_found)
{
    unsigned index = 0;
    bool exact;
    sombra_err err;
    if (cursor->high_bytes) {
        err = seek(cursor, slice_of(cursor->high, cursor->high_bytes), &index, &exact);
    } else {
        err = tree_descend_edge(cursor->txn, true, &cursor->path);
        if (!err)
            index = page_count(cursor->path.at[0].page);
    }
    return err ? err : land_backward(cursor, index, false, out_found);
}

static sombra_err move_seek_ge(struct btree_cursor *cursor, sombra_slice key, bool *out_found)
{
    if (slice_compare(key, slice_of(cursor->low, cursor->low_bytes)) < 0)
        return move_first(cursor, out_found);
    unsigned index;
    bool exact;
    sombra_err err = seek(cursor, key, &index, &exact);
    return err ? err : land_forward(cursor, index, false, out_found);
}

static sombra_err move_seek_le(struct btree_cursor *cursor, sombra_slice key, bool *out_found)
{
    if (cursor->high_bytes && slice_compare(key, slice_of(cursor->high, cursor->high_bytes)) >= 0)
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
    if (cursor->iter.index + 1 < cursor->end) {
        (void)leaf_iter_next(&cursor->iter);
        return entry_show(cursor, false, out_found);
    }
    return land_forward(cursor, cursor->iter.index + 1, true, out_found);
}

static sombra_err step_previous(struct btree_cursor *cursor, bool *out_found)
{
    if (UNLIKELY(cursor->generation != cursor->txn->generation)) {
        unsigned index;
        bool exact;
        sombra_err err = seek(cursor, slice_of(cursor->key, cursor->key_bytes), &index, &exact);
        return err ? err : land_backward(cursor, index, false, out_found);
    }
    if (cursor->iter.index > cursor->first) {
        (void)leaf_iter_previous(&cursor->iter);
        return entry_show(cursor, false, out_found);
    }
    return land_backward(cursor, cursor->iter.index, true, out_found);
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
    if (UNLIKELY(!txn_is_usable(cursor->txn)))
        return txn_unusable(cursor->txn);
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

sombra_err btree_cursor_move(struct kv_cursor *kv_cursor, enum kv_motion motion, sombra_slice key,
                             bool *out_found)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    sombra_err err = move(cursor, motion, key, out_found);
    if (UNLIKELY(err)) {
        /* The path is half way to somewhere: the next motion seeks the last key again. */
        cursor->generation = cursor->txn->generation - 1;
        cursor->kv.is_positioned = false;
    }
    return err;
}

/* ---- batches ----------------------------------------------------------------------------- */

/* Decodes `count` entries from `first` of the leaf into the batch, the other way round if
 * `backward`; *out_count may be less when the room for decoded keys is full. */
static sombra_err batch_fill(struct btree_cursor *cursor, unsigned first, unsigned count,
                             bool backward, struct kv_batch *batch)
{
    struct read_room *room = cursor->room;
    unsigned got = leaf_read(cursor->iter.page, page_bytes_of(cursor), first, count, &batch->prefix,
                             room->suffixes, room->values, room->bytes, sizeof room->bytes);
    if (backward && got < count) {
        /* The missing ones are those nearest to the position: fewer fit. */
        unsigned half = got ? got : 1;
        return batch_fill(cursor, first + (count - half), half, backward, batch);
    }
    for (unsigned i = 0; i < got; i++) {
        struct kv_entry *to = &batch->entries[backward ? got - 1 - i : i];
        to->key = room->suffixes[i];
        to->value = room->values[i].bytes;
        if (LIKELY(!room->values[i].overflow))
            continue;
        sombra_err err = tree_value(cursor->txn, &room->values[i], &to->value);
        if (err)
            return err;
    }
    batch->count = got;
    return SOMBRA_OK;
}

sombra_err btree_cursor_read(struct kv_cursor *kv_cursor, enum kv_motion direction,
                             struct kv_batch *batch)
{
    struct btree_cursor *cursor = cursor_of(kv_cursor);
    assert(direction == KV_NEXT || direction == KV_PREVIOUS);
    assert(batch->capacity > 0);
    if (!cursor->room) {
        cursor->room = mem_alloc(sizeof *cursor->room);
        if (!cursor->room)
            return diag_nomem("a batch of entries", sizeof *cursor->room);
    }
    bool found;
    bool backward = direction == KV_PREVIOUS;
    sombra_err err = btree_cursor_move(kv_cursor, direction, slice_of(NULL, 0), &found);
    batch->count = 0;
    batch->prefix = slice_of(NULL, 0);
    batch->is_before_next = false;
    if (err || !found)
        return err;
    bool is_reached = false;
    unsigned index = cursor->iter.index;
    size_t left = backward ? index - cursor->first + 1 : cursor->end - index;
    unsigned count = (unsigned)size_min(left, size_min(batch->capacity, READ_ENTRIES_MAX));
    if (batch->before.bytes && count > 1 && !backward) {
        unsigned before;
        (void)leaf_find(cursor->iter.page, page_bytes_of(cursor), batch->before, &before);
        is_reached = before > index && before - index <= count && before < cursor->end;
        count = before > index ? (unsigned)size_min(count, before - index) : 1;
    }
    err = batch_fill(cursor, backward ? index + 1 - count : index, count, backward, batch);
    if (err)
        return err;
    batch->is_before_next = is_reached && batch->count == count;
    unsigned last =
        backward ? index + 1 - (unsigned)batch->count : index + (unsigned)batch->count - 1;
    return land(cursor, last, &found);
}
