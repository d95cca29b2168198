/* SPDX-License-Identifier: MIT */
/* Cursors. A cursor keeps a copy of its key and a source over what its transaction sees of the
 * range, made at the first motion. Where the source stands is remembered only until the transaction
 * writes: then the key is sought again.
 */
#include "lsm_internal.h"

#define OUT_OF_ORDER "entries of a table or a memtable are out of order"

enum cursor_state {
    CURSOR_FRESH,  /* never positioned */
    CURSOR_ON,     /* on an entry, or where it was before it was deleted */
    CURSOR_BEFORE, /* ran off the range's low end */
    CURSOR_BEHIND, /* ran off the high end */
};

/* Where the source stands, seen from the cursor's key. */
enum cursor_place {
    PLACE_UNKNOWN,
    PLACE_ON,
    PLACE_NEXT,     /* on the entry after it, or there is none */
    PLACE_PREVIOUS, /* on the entry before it, or there is none */
};

enum {
    BATCH_ENTRIES_MAX = 128,
    BATCH_LARGE_BYTES = 1 << 20, /* values out of line: a batch ends with the one that reaches it */
    BATCH_ROOM_BYTES = 16 << 10, /* for the entries of a backward batch */
    KEPT_BYTES_MAX = 64 << 10,   /* of a buffer, by a closed cursor */
    SPARE_CURSORS_MAX = 4,       /* kept by a transaction */
};

struct lsm_cursor {
    struct kv_cursor kv;
    struct lsm_txn *txn;
    struct lsm_cursor *next_spare;
    enum cursor_state state;
    enum cursor_place place;
    bool is_empty;         /* the range holds nothing whatever is written */
    bool has_ranges;       /* the writer's memtable hid ranges when `source` was made */
    bool is_narrow;        /* `source` was made for keys that begin with `key`, and no others */
    uint64_t changes;      /* of the transaction when the source was placed */
    uint64_t undone;       /* of the transaction when the source was made */
    struct source *source; /* NULL before the first motion */
    size_t key_bytes;
    struct buf room;   /* of backward batches: copies of their entries */
    struct buf *large; /* values out of line, read; large_count of them exist */
    size_t large_count;
    struct lsm_entry entries[BATCH_ENTRIES_MAX];
    uint8_t key[KV_KEY_BYTES_MAX + 1]; /* one more for its successor */
    struct kv_bounds bounds;
};

static struct lsm_cursor *cursor_of(struct kv_cursor *cursor)
{
    assert(cursor->ops == &lsm_ops);
    return container_of(cursor, struct lsm_cursor, kv);
}

static sombra_slice low_of(const struct lsm_cursor *cursor)
{
    return slice_of(cursor->bounds.low, cursor->bounds.low_bytes);
}

static sombra_slice high_of(const struct lsm_cursor *cursor)
{
    return slice_of(cursor->bounds.high, cursor->bounds.high_bytes);
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static struct lsm_cursor *cursor_take(struct lsm_txn *txn)
{
    struct lsm_cursor *cursor = txn->spare;
    if (LIKELY(cursor)) {
        txn->spare = cursor->next_spare;
        return cursor;
    }
    cursor = mem_alloc(sizeof *cursor);
    if (cursor) {
        cursor->room = (struct buf)BUF_INIT;
        cursor->large = NULL;
        cursor->large_count = 0;
    }
    return cursor;
}

static void cursor_free(struct lsm_cursor *cursor)
{
    for (size_t i = 0; i < cursor->large_count; i++)
        buf_release(&cursor->large[i]);
    mem_free(cursor->large);
    buf_release(&cursor->room);
    mem_free(cursor);
}

void lsm_cursor_free_spare(struct lsm_txn *txn)
{
    while (txn->spare) {
        struct lsm_cursor *cursor = txn->spare;
        txn->spare = cursor->next_spare;
        cursor_free(cursor);
    }
}

static void cursor_keep(struct lsm_txn *txn, struct lsm_cursor *cursor)
{
    size_t spares = 0;
    for (const struct lsm_cursor *spare = txn->spare; spare; spare = spare->next_spare)
        spares++;
    if (spares >= SPARE_CURSORS_MAX) {
        cursor_free(cursor);
        return;
    }
    if (cursor->room.capacity > KEPT_BYTES_MAX)
        buf_release(&cursor->room);
    for (size_t i = 0; i < cursor->large_count; i++)
        if (cursor->large[i].capacity > KEPT_BYTES_MAX)
            buf_release(&cursor->large[i]);
    cursor->next_spare = txn->spare;
    txn->spare = cursor;
}

sombra_err lsm_cursor_open(struct kv_txn *kv_txn, struct kv_range range, struct kv_cursor **out)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    struct lsm_cursor *cursor = cursor_take(txn);
    if (!cursor)
        return diag_nomem("a cursor", sizeof *cursor);
    cursor->kv = (struct kv_cursor){ .ops = &lsm_ops, .txn = kv_txn };
    cursor->txn = txn;
    cursor->state = CURSOR_FRESH;
    cursor->place = PLACE_UNKNOWN;
    cursor->is_empty = lsm_range_is_empty(range);
    cursor->source = NULL;
    cursor->is_narrow = false;
    sombra_err err = kv_bounds_set(&cursor->bounds, range);
    if (err) {
        cursor_keep(txn, cursor);
        return err;
    }
    *out = &cursor->kv;
    return SOMBRA_OK;
}

void lsm_cursor_close(struct kv_cursor *kv_cursor)
{
    struct lsm_cursor *cursor = cursor_of(kv_cursor);
    /* In a child of fork() a lock that this takes may be held by a thread that is not there. */
    if (UNLIKELY(
            atomic_load_explicit(&lsm_of(cursor->txn->txn.kv)->is_forked, memory_order_relaxed)))
        return;
    source_close(cursor->source);
    cursor->source = NULL;
    cursor_keep(cursor->txn, cursor);
}

/* ---- places ------------------------------------------------------------------------------ */

static bool txn_has_ranges(const struct lsm_txn *txn)
{
    return txn->txn.is_write && txn->view->count && memtable_has_ranges(txn->view->memtables[0]);
}

/* A source over `range`, which it need not outlive. */
static sombra_err cursor_source(struct lsm_cursor *cursor, struct kv_range range)
{
    struct lsm_txn *txn = cursor->txn;
    source_close(cursor->source);
    cursor->source = NULL;
    cursor->is_narrow = false;
    cursor->place = PLACE_UNKNOWN;
    cursor->changes = txn->changes;
    cursor->has_ranges = txn_has_ranges(txn);
    cursor->undone = txn->undone;
    return lsm_range_source(txn, range, &cursor->source);
}

/* The source is there, and it is known where it stands. */
static sombra_err cursor_wake(struct lsm_cursor *cursor)
{
    struct lsm_txn *txn = cursor->txn;
    if (LIKELY(cursor->source && cursor->changes == txn->changes && !cursor->is_narrow))
        return SOMBRA_OK;
    cursor->place = PLACE_UNKNOWN;
    cursor->changes = txn->changes;
    if (cursor->source && cursor->has_ranges == txn_has_ranges(txn) &&
        cursor->undone == txn->undone && !cursor->is_narrow)
        return SOMBRA_OK;
    return cursor_source(cursor, (struct kv_range){ low_of(cursor), high_of(cursor) });
}

static sombra_err off_end(struct lsm_cursor *cursor, enum cursor_state state, bool *out_found)
{
    cursor->state = state;
    cursor->place = PLACE_UNKNOWN;
    cursor->kv.is_positioned = false;
    *out_found = false;
    return SOMBRA_OK;
}

/* The source went forward: is it in the range still? */
static sombra_err land_forward(struct lsm_cursor *cursor, sombra_err err, bool *out_found)
{
    const struct source *source = cursor->source;
    if (UNLIKELY(err))
        return err;
    if (!source->is_valid ||
        (cursor->bounds.high_bytes && slice_compare(source->entry.key, high_of(cursor)) >= 0))
        return off_end(cursor, CURSOR_BEHIND, out_found);
    *out_found = true;
    return SOMBRA_OK;
}

static sombra_err land_backward(struct lsm_cursor *cursor, sombra_err err, bool *out_found)
{
    const struct source *source = cursor->source;
    if (UNLIKELY(err))
        return err;
    if (!source->is_valid ||
        (cursor->bounds.low_bytes && slice_compare(source->entry.key, low_of(cursor)) < 0))
        return off_end(cursor, CURSOR_BEFORE, out_found);
    *out_found = true;
    return SOMBRA_OK;
}

static sombra_err seek_forward(struct lsm_cursor *cursor, sombra_slice key, bool *out_found)
{
    struct source *source = cursor->source;
    return land_forward(cursor, source->ops->seek_ge(source, key), out_found);
}

static sombra_err seek_backward(struct lsm_cursor *cursor, sombra_slice key, bool *out_found)
{
    struct source *source = cursor->source;
    return land_backward(cursor, source->ops->seek_lt(source, key), out_found);
}

/* ---- motions: the source goes to the entry that they find --------------------------------- */

static sombra_err step_next(struct lsm_cursor *cursor, bool *out_found)
{
    struct source *source = cursor->source;
    if (LIKELY(cursor->place == PLACE_ON))
        return land_forward(cursor, source->ops->next(source), out_found);
    if (cursor->place == PLACE_NEXT)
        return land_forward(cursor, SOMBRA_OK, out_found);
    cursor->key[cursor->key_bytes] = 0;
    return seek_forward(cursor, slice_of(cursor->key, cursor->key_bytes + 1), out_found);
}

static sombra_err step_previous(struct lsm_cursor *cursor, bool *out_found)
{
    struct source *source = cursor->source;
    if (LIKELY(cursor->place == PLACE_ON))
        return land_backward(cursor, source->ops->previous(source), out_found);
    if (cursor->place == PLACE_PREVIOUS)
        return land_backward(cursor, SOMBRA_OK, out_found);
    return seek_backward(cursor, slice_of(cursor->key, cursor->key_bytes), out_found);
}

static sombra_err move_next(struct lsm_cursor *cursor, bool *out_found)
{
    if (LIKELY(cursor->state == CURSOR_ON))
        return step_next(cursor, out_found);
    if (cursor->state == CURSOR_BEHIND)
        return off_end(cursor, CURSOR_BEHIND, out_found);
    return seek_forward(cursor, low_of(cursor), out_found);
}

static sombra_err move_previous(struct lsm_cursor *cursor, bool *out_found)
{
    if (LIKELY(cursor->state == CURSOR_ON))
        return step_previous(cursor, out_found);
    if (cursor->state == CURSOR_BEFORE)
        return off_end(cursor, CURSOR_BEFORE, out_found);
    return seek_backward(cursor, high_of(cursor), out_found);
}

static sombra_err move_seek_ge(struct lsm_cursor *cursor, sombra_slice key, bool *out_found)
{
    if (cursor->bounds.high_bytes && slice_compare(key, high_of(cursor)) >= 0)
        return off_end(cursor, CURSOR_BEHIND, out_found);
    bool is_inside = slice_compare(key, low_of(cursor)) > 0;
    return seek_forward(cursor, is_inside ? key : low_of(cursor), out_found);
}

static sombra_err move_seek_le(struct lsm_cursor *cursor, sombra_slice key, bool *out_found)
{
    if (slice_compare(key, low_of(cursor)) < 0)
        return off_end(cursor, CURSOR_BEFORE, out_found);
    if (cursor->bounds.high_bytes && slice_compare(key, high_of(cursor)) >= 0)
        return seek_backward(cursor, high_of(cursor), out_found);
    if (key.bytes > KV_KEY_BYTES_MAX) /* no key is equal to it */
        return seek_backward(cursor, key, out_found);
    uint8_t successor[KV_KEY_BYTES_MAX + 1];
    if (key.bytes)
        memcpy(successor, key.data, key.bytes);
    successor[key.bytes] = 0;
    return seek_backward(cursor, slice_of(successor, key.bytes + 1), out_found);
}

static sombra_err move(struct lsm_cursor *cursor, enum kv_motion motion, sombra_slice key,
                       bool *out_found)
{
    if (lsm_txn_is_unusable(cursor->txn))
        return lsm_txn_refuse(cursor->txn);
    if (UNLIKELY(cursor->is_empty)) {
        bool forward = motion == KV_NEXT || motion == KV_FIRST || motion == KV_SEEK_GE;
        return off_end(cursor, forward ? CURSOR_BEHIND : CURSOR_BEFORE, out_found);
    }
    sombra_err err = cursor_wake(cursor);
    if (UNLIKELY(err))
        return err;
    switch (motion) {
    case KV_NEXT:
        return move_next(cursor, out_found);
    case KV_PREVIOUS:
        return move_previous(cursor, out_found);
    case KV_FIRST:
        return seek_forward(cursor, low_of(cursor), out_found);
    case KV_LAST:
        return seek_backward(cursor, high_of(cursor), out_found);
    case KV_SEEK_GE:
        return move_seek_ge(cursor, key, out_found);
    case KV_SEEK_LE:
        return move_seek_le(cursor, key, out_found);
    }
    return diag_fail(SOMBRA_INVALID, "cursor motion %d", (int)motion);
}

/* ---- entries ----------------------------------------------------------------------------- */

/* Keys come from files. */
static sombra_err key_check(sombra_slice key)
{
    if (LIKELY(key.bytes - 1 < KV_KEY_BYTES_MAX))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT, "a table has a key of %zu bytes: keys have 1 to %d", key.bytes,
                     KV_KEY_BYTES_MAX);
}

/* The `at`-th value out of line of this call. */
static sombra_err large_read(struct lsm_cursor *cursor, size_t at, const struct lsm_entry *entry,
                             sombra_slice *out_value)
{
    if (at >= cursor->large_count) {
        size_t count = size_max(at + 1, size_min(2 * cursor->large_count, BATCH_ENTRIES_MAX));
        struct buf *large = mem_realloc(cursor->large, count * sizeof(struct buf));
        if (!large)
            return diag_nomem("buffers for values", count * sizeof(struct buf));
        cursor->large = large;
        while (cursor->large_count < count)
            cursor->large[cursor->large_count++] = (struct buf)BUF_INIT;
    }
    struct buf *to = &cursor->large[at];
    sombra_err err = table_read_large(entry->table, entry->value, to);
    if (err)
        return err;
    *out_value = buf_slice(to);
    return SOMBRA_OK;
}

/* The cursor stands on the entry now. */
static void entry_publish(struct lsm_cursor *cursor, sombra_slice key, sombra_slice value,
                          enum cursor_place place)
{
    assert(key.bytes > 0 && key.bytes <= KV_KEY_BYTES_MAX);
    memcpy(cursor->key, key.data, key.bytes);
    cursor->key_bytes = key.bytes;
    cursor->kv.entry = (struct kv_entry){ .key = slice_of(cursor->key, key.bytes), .value = value };
    cursor->kv.is_positioned = true;
    cursor->state = CURSOR_ON;
    cursor->place = place;
}

/* The entry that the source stands on. */
static sombra_err entry_show(struct lsm_cursor *cursor)
{
    const struct lsm_entry *entry = &cursor->source->entry;
    sombra_slice value = entry->value;
    sombra_err err = key_check(entry->key);
    if (!err && UNLIKELY(entry->kind == ENTRY_LARGE))
        err = large_read(cursor, 0, entry, &value);
    if (!err)
        entry_publish(cursor, entry->key, value, PLACE_ON);
    return err;
}

/* The source may be half way to somewhere: the next motion seeks the last key again. */
static sombra_err lost(struct lsm_cursor *cursor, sombra_err err)
{
    cursor->place = PLACE_UNKNOWN;
    cursor->kv.is_positioned = false;
    return err;
}

sombra_err lsm_cursor_move(struct kv_cursor *kv_cursor, enum kv_motion motion, sombra_slice key,
                           bool *out_found)
{
    struct lsm_cursor *cursor = cursor_of(kv_cursor);
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

/* Gives `count` entries, read by the source, which stands behind them; fewer where values out of
 * line are many. */
static sombra_err batch_give(struct lsm_cursor *cursor, size_t count, struct kv_batch *batch)
{
    size_t large = 0, large_bytes = 0, given = 0;
    while (given < count && large_bytes < BATCH_LARGE_BYTES) {
        const struct lsm_entry *entry = &cursor->entries[given];
        struct kv_entry *to = &batch->entries[given];
        sombra_err err = key_check(entry->key);
        *to = (struct kv_entry){ .key = entry->key, .value = entry->value };
        if (!err && UNLIKELY(entry->kind == ENTRY_LARGE)) {
            err = large_read(cursor, large++, entry, &to->value);
            large_bytes += to->value.bytes;
        }
        if (err)
            return err;
        given++;
    }
    const struct kv_entry *last = &batch->entries[given - 1];
    entry_publish(cursor, last->key, last->value, given == count ? PLACE_NEXT : PLACE_UNKNOWN);
    batch->count = given;
    return SOMBRA_OK;
}

/* The source stands on the first entry of the batch. */
static sombra_err batch_read(struct lsm_cursor *cursor, struct kv_batch *batch)
{
    struct source *source = cursor->source;
    size_t capacity = size_min(batch->capacity, BATCH_ENTRIES_MAX), count = 0;
    sombra_slice before = high_of(cursor);
    bool is_hinted =
        batch->before.bytes && (before.bytes == 0 || slice_compare(batch->before, before) < 0);
    if (is_hinted) {
        if (slice_compare(source->entry.key, batch->before) < 0)
            before = batch->before;
        else
            capacity = 1;
    }
    sombra_err err = source->ops->read(source, before, cursor->entries, capacity, &count);
    if (err)
        return err;
    if (count == 0)
        return diag_fail(SOMBRA_CORRUPT, OUT_OF_ORDER);
    err = batch_give(cursor, count, batch);
    if (!err && is_hinted)
        batch->is_before_next =
            batch->count == count &&
            (!source->is_valid || slice_compare(source->entry.key, batch->before) >= 0);
    return err;
}

/* What the source stands on, copied into the room; false when it does not fit. */
static bool batch_copy(struct lsm_cursor *cursor, struct kv_entry *out_entry)
{
    const struct lsm_entry *entry = &cursor->source->entry;
    struct buf *room = &cursor->room;
    assert(room->capacity >= BATCH_ROOM_BYTES);
    if (entry->kind == ENTRY_LARGE || entry->value.bytes > BATCH_ROOM_BYTES ||
        entry->key.bytes + entry->value.bytes > room->capacity - room->bytes)
        return false;
    uint8_t *to = room->data + room->bytes;
    memcpy(to, entry->key.data, entry->key.bytes);
    out_entry->key = slice_of(to, entry->key.bytes);
    to += entry->key.bytes;
    if (entry->value.bytes)
        memcpy(to, entry->value.data, entry->value.bytes);
    out_entry->value = slice_of(to, entry->value.bytes);
    room->bytes += entry->key.bytes + entry->value.bytes;
    return true;
}

/* The same backwards: sources have no such read, so it copies what it passes. A large entry comes
 * alone. */
static sombra_err batch_read_back(struct lsm_cursor *cursor, struct kv_batch *batch)
{
    struct source *source = cursor->source;
    size_t capacity = size_min(batch->capacity, BATCH_ENTRIES_MAX), count = 0;
    buf_reset(&cursor->room);
    sombra_err err = buf_reserve(&cursor->room, BATCH_ROOM_BYTES);
    if (err)
        return err;
    bool is_inside = true;
    while (is_inside && count < capacity) {
        err = key_check(source->entry.key);
        if (err)
            return err;
        if (!batch_copy(cursor, &batch->entries[count]))
            break;
        count++;
        err = source->ops->previous(source);
        if (err)
            return err;
        is_inside = source->is_valid && (cursor->bounds.low_bytes == 0 ||
                                         slice_compare(source->entry.key, low_of(cursor)) >= 0);
    }
    if (count > 0) {
        const struct kv_entry *last = &batch->entries[count - 1];
        entry_publish(cursor, last->key, last->value, PLACE_PREVIOUS);
    } else {
        err = entry_show(cursor);
        if (err)
            return err;
        batch->entries[count++] = cursor->kv.entry;
    }
    batch->count = count;
    return SOMBRA_OK;
}

sombra_err lsm_cursor_read(struct kv_cursor *kv_cursor, enum kv_motion direction,
                           struct kv_batch *batch)
{
    struct lsm_cursor *cursor = cursor_of(kv_cursor);
    assert(direction == KV_NEXT || direction == KV_PREVIOUS);
    assert(batch->capacity > 0);
    batch->count = 0;
    batch->prefix = slice_of(NULL, 0);
    batch->is_before_next = false;
    bool found = false;
    sombra_err err = move(cursor, direction, slice_of(NULL, 0), &found);
    if (!err && found)
        err = direction == KV_NEXT ? batch_read(cursor, batch) : batch_read_back(cursor, batch);
    if (UNLIKELY(err)) {
        batch->count = 0;
        return lost(cursor, err);
    }
    return SOMBRA_OK;
}

/* ---- keys as numbers --------------------------------------------------------------------- */

/* To the first key that begins with `within`, whose range ends at `end`. Who asks a cursor without
 * bounds asks most often once: the source is of those keys alone, so that filters have a say. */
static sombra_err words_seek(struct lsm_cursor *cursor, sombra_slice within, sombra_slice end)
{
    if (cursor->source || cursor->bounds.low_bytes > 0 || cursor->bounds.high_bytes > 0) {
        sombra_err err = cursor_wake(cursor);
        return err ? err : cursor->source->ops->seek_ge(cursor->source, within);
    }
    sombra_err err = cursor_source(cursor, (struct kv_range){ within, end });
    cursor->is_narrow = true;
    if (!err)
        err = cursor->source->ops->seek_ge(cursor->source, within);
    if (!err && lsm_has_one_run(cursor->txn)) {
        const struct source *source = cursor->source;
        lsm_trust(cursor->txn, source->is_valid &&
                                   (end.bytes == 0 || slice_compare(source->entry.key, end) < 0));
    }
    return err;
}

/* Of entries whose keys begin with `within`; stops before one that is long. */
static sombra_err words_take(const struct lsm_cursor *cursor, size_t count, struct kv_words *words)
{
    const size_t skip = words->within.bytes;
    size_t at = words->count, i = 0;
    for (; i < count; i++, at++) {
        const sombra_slice key = cursor->entries[i].key;
        if (UNLIKELY(!source_word(key.data, key.bytes, skip, &words->words[at], &words->bytes[at])))
            break;
    }
    words->count = at;
    words->is_long = i < count;
    if (words->is_long && cursor->entries[i].key.bytes < skip)
        return diag_fail(SOMBRA_CORRUPT, OUT_OF_ORDER);
    return SOMBRA_OK;
}

static sombra_err words_gather(struct lsm_cursor *cursor, sombra_slice end, struct kv_words *words)
{
    struct source *source = cursor->source;
    if (source->ops->words)
        return source->ops->words(source, end, words);
    size_t capacity = size_min(words->capacity - words->count, BATCH_ENTRIES_MAX), count = 0;
    sombra_err err = source->ops->read(source, end, cursor->entries, capacity, &count);
    return err ? err : words_take(cursor, count, words);
}

/* From the entry that the source stands on. */
static sombra_err words_read(struct lsm_cursor *cursor, sombra_slice end, struct kv_words *words)
{
    const struct source *source = cursor->source;
    for (;;) {
        words->is_last =
            !source->is_valid || (end.bytes && slice_compare(source->entry.key, end) >= 0);
        if (words->is_last || words->count == words->capacity)
            return SOMBRA_OK;
        const size_t before = words->count;
        sombra_err err = words_gather(cursor, end, words);
        if (!err && !words->is_long && words->count == before)
            err = diag_fail(SOMBRA_CORRUPT, OUT_OF_ORDER);
        if (err || words->is_long)
            return err;
    }
}

/* The cursor stands on the last key that was read. */
static void words_publish(struct lsm_cursor *cursor, const struct kv_words *words)
{
    const sombra_slice within = words->within;
    cursor->kv.is_positioned = false;
    cursor->place = words->is_long ? PLACE_UNKNOWN : PLACE_NEXT;
    if (words->count == 0) {
        if (words->seeks)
            cursor->state = CURSOR_FRESH;
        return;
    }
    size_t last = words->count - 1, bytes = words->bytes[last];
    uint8_t word[KV_WORD_BYTES];
    put_be64(word, words->words[last]);
    memcpy(cursor->key, within.data, within.bytes);
    memcpy(cursor->key + within.bytes, word, bytes);
    cursor->key_bytes = within.bytes + bytes;
    cursor->state = CURSOR_ON;
}

sombra_err lsm_cursor_words(struct kv_cursor *kv_cursor, struct kv_words *words)
{
    struct lsm_cursor *cursor = cursor_of(kv_cursor);
    uint8_t room[KV_KEY_BYTES_MAX];
    bool found = true;
    words->count = 0;
    words->is_last = words->is_long = false;
    assert(words->seeks || cursor->state == CURSOR_ON);
    if (lsm_txn_is_unusable(cursor->txn))
        return lsm_txn_refuse(cursor->txn);
    sombra_slice end = kv_prefix_end(words->within, room);
    sombra_err err = words->seeks ? words_seek(cursor, words->within, end)
                                  : move(cursor, KV_NEXT, words->within, &found);
    words->is_last = !found;
    if (!err && found)
        err = words_read(cursor, end, words);
    if (UNLIKELY(err)) {
        words->count = 0;
        return lost(cursor, err);
    }
    words_publish(cursor, words);
    return SOMBRA_OK;
}
