/* SPDX-License-Identifier: MIT */
/* The operations of a history: each is done to the store and to the model, whose answers are
 * compared. */
#include "kv_history_internal.h"
#include "kv_history_keys.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SHRINKING_AFTER = 4000 /* operations, three times out of four */ };

/* ---- answers ------------------------------------------------------------------------------ */

static bool same_err(struct history *h, sombra_err store, sombra_err model)
{
    if (store == model)
        return true;
    return history_differs(h, "store says %s (%s), model %s", sombra_err_name(store),
                           store ? sombra_err_message() : "", sombra_err_name(model));
}

static bool same_number(struct history *h, const char *what, uint64_t store, uint64_t model)
{
    return store == model ||
           history_differs(h, "%s: store %" PRIu64 ", model %" PRIu64, what, store, model);
}

/* How a key is shown in the log: its length and first bytes. */
static const char *shown(sombra_slice key)
{
    static char texts[4][48];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    int used = snprintf(text, sizeof texts[0], "%zu:", key.bytes);
    const uint8_t *bytes = key.data;
    for (size_t i = 0; i < key.bytes && i < 18; i++)
        used += snprintf(text + used, sizeof texts[0] - (size_t)used, "%02x", bytes[i]);
    return text;
}

static bool same_bytes(struct history *h, const char *what, sombra_slice store, sombra_slice model)
{
    return slice_equal(store, model) ||
           history_differs(h, "%s: store %s, model %s", what, shown(store), shown(model));
}

static uint64_t below(struct history *h, uint64_t bound)
{
    return random_below(&h->random, bound);
}

static sombra_slice draw_key(struct history *h)
{
    return history_key(&h->random, &h->key);
}

/* Often a key that is there, as seen by the model. */
static sombra_slice draw_present_key(struct history *h, struct kv_txn *model_txn)
{
    sombra_slice key = draw_key(h);
    struct kv_cursor *cursor;
    bool found = false;
    if (below(h, 4) == 0)
        return key;
    if (kv_cursor_open(model_txn, (struct kv_range){ 0 }, &cursor) != SOMBRA_OK)
        abort();
    if (kv_cursor_move(cursor, KV_SEEK_GE, key, &found) != SOMBRA_OK)
        abort();
    if (found && buf_set(&h->key, cursor->entry.key) != SOMBRA_OK)
        abort();
    kv_cursor_close(cursor);
    return buf_slice(&h->key);
}

/* ---- whole contents ---------------------------------------------------------------------- */

/* The entries of a range one by one, read in batches. */
struct stream {
    struct kv_cursor *cursor;
    struct kv_entry entries[128];
    struct kv_batch batch;
    size_t index;
};

static sombra_err stream_open(struct stream *s, struct kv_txn *txn)
{
    s->batch = (struct kv_batch){ .entries = s->entries, .capacity = COUNT_OF(s->entries) };
    s->index = 0;
    return kv_cursor_open(txn, (struct kv_range){ 0 }, &s->cursor);
}

/* *out_found false at the end; the key is written to `key`. */
static sombra_err stream_next(struct stream *s, struct buf *key, sombra_slice *out_value,
                              bool *out_found)
{
    if (s->index == s->batch.count) {
        sombra_err err = kv_cursor_read(s->cursor, KV_NEXT, &s->batch);
        if (err)
            return err;
        s->index = 0;
    }
    *out_found = s->batch.count > 0;
    if (s->batch.count == 0)
        return SOMBRA_OK;
    sombra_err err = buf_set(key, s->batch.prefix);
    if (!err)
        err = buf_append_slice(key, s->entries[s->index].key);
    *out_value = s->entries[s->index++].value;
    return err;
}

static bool same_content(struct history *h, struct kv_txn *store, struct kv_txn *model)
{
    struct stream streams[2];
    sombra_err err = stream_open(&streams[0], store);
    if (err)
        return same_err(h, err, SOMBRA_OK);
    if (stream_open(&streams[1], model) != SOMBRA_OK)
        abort();
    bool agree = true, found = true;
    while (agree && found) {
        sombra_slice values[2];
        bool model_found;
        err = stream_next(&streams[0], &h->key, &values[0], &found);
        if (stream_next(&streams[1], &h->other_key, &values[1], &model_found) != SOMBRA_OK)
            abort();
        agree = same_err(h, err, SOMBRA_OK) && same_number(h, "walk goes on", found, model_found) &&
                (!found || (same_bytes(h, "key", buf_slice(&h->key), buf_slice(&h->other_key)) &&
                            same_bytes(h, "value", values[0], values[1])));
    }
    kv_cursor_close(streams[0].cursor);
    kv_cursor_close(streams[1].cursor);
    return agree;
}

/* ---- operations on cursors --------------------------------------------------------------- */

static void twin_cursor_close(struct twin_cursor *twin)
{
    kv_cursor_close(twin->store);
    kv_cursor_close(twin->model);
    *twin = (struct twin_cursor){ 0 };
}

static void twin_cursors_close(struct twin_txn *txn)
{
    for (size_t i = 0; i < CURSORS_MAX; i++)
        twin_cursor_close(&txn->cursors[i]);
}

static void writer_wrote(struct history *h)
{
    for (size_t i = 0; i < CURSORS_MAX; i++)
        h->writer.cursors[i].is_lost |= h->writer.cursors[i].is_off;
}

static bool cursor_open(struct history *h, struct twin_txn *txn, struct twin_cursor *twin)
{
    struct kv_range range = { 0 };
    if (below(h, 3) > 0)
        range = history_range(&h->random, &h->key, &h->other_key);
    history_log(h, "cursor %s [%s, %s)", txn == &h->writer ? "of writer" : "of reader",
                shown(range.low), shown(range.high));
    return same_err(h, kv_cursor_open(txn->store, range, &twin->store), SOMBRA_OK) &&
           same_err(h, kv_cursor_open(txn->model, range, &twin->model), SOMBRA_OK);
}

static const char *const motion_names[] = { "first",    "last",    "next",
                                            "previous", "seek_ge", "seek_le" };

static bool cursor_move(struct history *h, struct twin_cursor *twin, enum kv_motion motion)
{
    sombra_slice key = slice_of(NULL, 0);
    if (motion == KV_SEEK_GE || motion == KV_SEEK_LE)
        key = draw_key(h);
    history_log(h, "move %s %s", motion_names[motion], shown(key));
    bool found = false, model_found = false;
    sombra_err err = kv_cursor_move(twin->store, motion, key, &found);
    if (!same_err(h, err, kv_cursor_move(twin->model, motion, key, &model_found)) ||
        !same_number(h, "found", found, model_found))
        return false;
    twin->is_off = !found;
    twin->is_lost = false;
    return !found || (same_bytes(h, "key", twin->store->entry.key, twin->model->entry.key) &&
                      same_bytes(h, "value", twin->store->entry.value, twin->model->entry.value));
}

/* The model steps entry by entry: batches end where the engine likes. */
static bool cursor_read(struct history *h, struct twin_cursor *twin, enum kv_motion direction)
{
    struct kv_entry entries[100];
    struct kv_batch batch = { .entries = entries, .capacity = 1 + below(h, COUNT_OF(entries)) };
    history_log(h, "read %zu %s", batch.capacity, motion_names[direction]);
    if (!same_err(h, kv_cursor_read(twin->store, direction, &batch), SOMBRA_OK))
        return false;
    if (batch.count > batch.capacity)
        return history_differs(h, "batch of %zu in room for %zu", batch.count, batch.capacity);
    bool found = true;
    for (size_t i = 0; i < size_max(batch.count, 1); i++) {
        if (kv_cursor_move(twin->model, direction, slice_of(NULL, 0), &found) != SOMBRA_OK)
            abort();
        if (!same_number(h, "batch goes on", i < batch.count, found))
            return false;
        if (!found)
            break;
        sombra_slice key = twin->model->entry.key;
        if (!slice_has_prefix(key, batch.prefix))
            return history_differs(h, "prefix %s of key %s", shown(batch.prefix), shown(key));
        key = slice_from(key, batch.prefix.bytes);
        if (!same_bytes(h, "suffix", entries[i].key, key) ||
            !same_bytes(h, "value", entries[i].value, twin->model->entry.value))
            return false;
    }
    twin->is_off = !found;
    return true;
}

static bool op_cursor(struct history *h, struct twin_txn *txn)
{
    struct twin_cursor *twin = &txn->cursors[below(h, CURSORS_MAX)];
    uint64_t dice = below(h, 100);
    if (!twin->store)
        return cursor_open(h, txn, twin);
    if (dice < 6) {
        history_log(h, "cursor close");
        twin_cursor_close(twin);
        return true;
    }
    enum kv_motion motion = (enum kv_motion)below(h, 6);
    if (dice < 60 && !twin->is_lost)
        motion = dice % 3 ? KV_NEXT : KV_PREVIOUS;
    if (twin->is_lost && (motion == KV_NEXT || motion == KV_PREVIOUS))
        motion = KV_SEEK_GE;
    if (dice >= 85 && !twin->is_lost)
        return cursor_read(h, twin, dice % 2 ? KV_NEXT : KV_PREVIOUS);
    return cursor_move(h, twin, motion);
}

/* ---- operations that read ---------------------------------------------------------------- */

static bool op_get(struct history *h, struct twin_txn *txn)
{
    sombra_slice key = draw_present_key(h, txn->model), got[2] = { { 0 }, { 0 } };
    history_log(h, "get %s", shown(key));
    sombra_err err = kv_get(txn->store, key, &got[0]);
    return same_err(h, err, kv_get(txn->model, key, &got[1])) &&
           (err || same_bytes(h, "value", got[0], got[1]));
}

static bool op_count(struct history *h, struct twin_txn *txn)
{
    struct kv_range range = history_range(&h->random, &h->key, &h->other_key);
    uint64_t limit = below(h, 2) ? 0 : 1 + below(h, 50);
    history_log(h, "count [%s, %s) limit %" PRIu64, shown(range.low), shown(range.high), limit);
    uint64_t store, whole, estimate;
    if (kv_count(txn->model, range, 0, &whole) != SOMBRA_OK)
        abort();
    if (!same_err(h, kv_count(txn->store, range, limit, &store), SOMBRA_OK) ||
        !same_err(h, kv_estimate(txn->store, range, &estimate), SOMBRA_OK))
        return false;
    if (limit && whole >= limit && store == limit)
        return true;
    return same_number(h, "count", store, whole) &&
           (!h->driver->is_counted || same_number(h, "estimate", estimate, whole));
}

static bool op_read(struct history *h, struct twin_txn *txn)
{
    uint64_t dice = below(h, 10);
    if (dice < 3)
        return op_get(h, txn);
    return dice < 4 ? op_count(h, txn) : op_cursor(h, txn);
}

/* ---- operations of the writer ------------------------------------------------------------ */

static bool op_put(struct history *h)
{
    sombra_slice key = below(h, 3) ? draw_key(h) : draw_present_key(h, h->writer.model);
    sombra_slice value = history_value(&h->random, &h->value);
    history_log(h, "put %s = %zu bytes", shown(key), value.bytes);
    writer_wrote(h);
    return same_err(h, kv_put(h->writer.store, key, value), kv_put(h->writer.model, key, value));
}

/* Neighbours, as a load makes them. */
static bool op_put_run(struct history *h)
{
    uint8_t key[10] = { (uint8_t)(1 + below(h, 4)) };
    uint64_t first = below(h, 5000), count = 1 + below(h, 60);
    sombra_slice value = history_value(&h->random, &h->value);
    value.bytes = size_min(value.bytes, 30);
    history_log(h, "put %" PRIu64 " neighbours of %zu bytes from %u, %" PRIu64, count, value.bytes,
                key[0], first);
    writer_wrote(h);
    for (uint64_t i = 0; i < count; i++) {
        put_be64(key + 1, first + i);
        sombra_slice at = slice_of(key, sizeof key);
        if (!same_err(h, kv_put(h->writer.store, at, value), kv_put(h->writer.model, at, value)))
            return false;
    }
    return true;
}

static int entry_order(const void *a, const void *b)
{
    return slice_compare(((const struct kv_entry *)a)->key, ((const struct kv_entry *)b)->key);
}

/* Keys from all over, or from a few places, each once and in order; `keys` holds them. */
static size_t draw_entries(struct history *h, struct kv_entry *entries, size_t count,
                           sombra_slice value, struct buf *keys)
{
    size_t at = 0, kept = 0;
    uint64_t near = below(h, 2) ? below(h, 5000) + 1 : 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t key[10] = { (uint8_t)(1 + below(h, 4)) };
        put_be64(key + 1, near + below(h, 300));
        sombra_slice drawn = near ? slice_of(key, sizeof key) : draw_key(h);
        if (buf_append_slice(keys, drawn) != SOMBRA_OK)
            abort();
        entries[i] = (struct kv_entry){ .key = slice_of(NULL, drawn.bytes), .value = value };
    }
    for (size_t i = 0; i < count; at += entries[i++].key.bytes)
        entries[i].key.data = keys->data + at;
    qsort(entries, count, sizeof *entries, entry_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !slice_equal(entries[kept - 1].key, entries[i].key))
            entries[kept++] = entries[i];
    for (size_t i = 0; i < kept; i++) /* not all alike */
        entries[i].value.bytes -= size_min(entries[i].value.bytes, below(h, 8));
    return kept;
}

static bool op_put_many(struct history *h)
{
    struct kv_entry entries[400];
    struct buf keys = BUF_INIT;
    sombra_slice value = history_value(&h->random, &h->value);
    if (below(h, 8)) /* else some with a run of pages each */
        value.bytes = size_min(value.bytes, below(h, 3) ? 20 : 300);
    size_t wanted = 1 + below(h, value.bytes > 3000 ? 12 : COUNT_OF(entries));
    size_t count = draw_entries(h, entries, wanted, value, &keys);
    history_log(h, "put many: %zu of %zu bytes from %s to %s", count, value.bytes,
                shown(entries[0].key), shown(entries[count - 1].key));
    writer_wrote(h);
    bool agree = same_err(h, kv_put_many(h->writer.store, entries, count),
                          kv_put_many(h->writer.model, entries, count));
    buf_release(&keys);
    return agree;
}

static bool op_delete(struct history *h)
{
    sombra_slice key = draw_present_key(h, h->writer.model);
    history_log(h, "delete %s", shown(key));
    writer_wrote(h);
    return same_err(h, kv_delete(h->writer.store, key), kv_delete(h->writer.model, key));
}

/* Ranges that would empty the store are seldom, so that it grows. */
static bool op_delete_range(struct history *h)
{
    struct kv_range range = history_range(&h->random, &h->key, &h->other_key);
    uint64_t inside, all;
    if (kv_count(h->writer.model, range, 0, &inside) != SOMBRA_OK ||
        kv_count(h->writer.model, (struct kv_range){ { 0 }, { 0 } }, 0, &all) != SOMBRA_OK)
        abort();
    if (inside > 10 + all / 100 && below(h, 150))
        return true;
    history_log(h, "delete range [%s, %s)", shown(range.low), shown(range.high));
    writer_wrote(h);
    uint64_t store = 0, model = 0;
    return same_err(h, kv_delete_range(h->writer.store, range, &store),
                    kv_delete_range(h->writer.model, range, &model)) &&
           same_number(h, "removed", store, model);
}

static bool op_savepoint_set(struct history *h)
{
    if (h->mark_count == MARKS_MAX)
        return true;
    struct twin_mark *mark = &h->marks[h->mark_count++];
    history_log(h, "savepoint %u", h->mark_count - 1);
    return same_err(h, kv_savepoint(h->writer.store, KV_SAVEPOINT_SET, &mark->store),
                    kv_savepoint(h->writer.model, KV_SAVEPOINT_SET, &mark->model));
}

static bool op_savepoint_end(struct history *h)
{
    if (h->mark_count == 0)
        return true;
    unsigned index = (unsigned)below(h, h->mark_count);
    bool is_rollback = below(h, 2);
    enum kv_savepoint_action action = is_rollback ? KV_SAVEPOINT_ROLLBACK : KV_SAVEPOINT_RELEASE;
    history_log(h, "%s %u", is_rollback ? "roll back to" : "release", index);
    writer_wrote(h);
    struct twin_mark gone = h->marks[h->mark_count - 1], *mark = &h->marks[index];
    bool has_gone = is_rollback ? index < h->mark_count - 1 : true;
    h->mark_count = is_rollback ? index + 1 : index;
    return same_err(h, kv_savepoint(h->writer.store, action, &mark->store),
                    kv_savepoint(h->writer.model, action, &mark->model)) &&
           (!has_gone ||
            same_err(h, kv_savepoint(h->writer.store, action, &gone.store), SOMBRA_INVALID));
}

/* None of these changes anything. */
static bool op_misuse(struct history *h)
{
    static const uint8_t zeros[KV_KEY_BYTES_MAX + 1];
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = UINT64_MAX };
    struct kv_txn *second;
    uint64_t mark = UINT64_C(1) << 60;
    history_log(h, "misuse");
    writer_wrote(h);
    return same_err(h, kv_put(h->writer.store, slice_of(zeros, 0), slice_of(zeros, 1)),
                    SOMBRA_INVALID) &&
           same_err(h, kv_put(h->writer.store, slice_of(zeros, sizeof zeros), slice_of(zeros, 1)),
                    SOMBRA_INVALID) &&
           same_err(h, kv_begin(h->store, &options, &second), SOMBRA_BUSY) &&
           same_err(h, kv_savepoint(h->writer.store, KV_SAVEPOINT_ROLLBACK, &mark),
                    SOMBRA_INVALID) &&
           same_err(h, kv_close(h->store), SOMBRA_BUSY);
}

static bool same_soundness(struct history *h)
{
    struct kv_maintenance job = { .kind = KV_VERIFY };
    history_log(h, "verify");
    return same_err(h, kv_maintain(h->store, &job), SOMBRA_OK) &&
           same_number(h, "problems", job.problems, 0);
}

static bool op_commit(struct history *h)
{
    enum kv_durability durability = below(h, 4) ? KV_OFF : (enum kv_durability)below(h, 5);
    bool compares = below(h, 25) == 0, verifies = below(h, 25) == 0;
    uint64_t entries;
    if (kv_count(h->writer.model, (struct kv_range){ { 0 }, { 0 } }, 0, &entries) != SOMBRA_OK)
        abort();
    h->most_entries = u64_max(h->most_entries, entries);
    if (compares && !same_content(h, h->writer.store, h->writer.model))
        return false;
    history_log(h, "commit %d", (int)durability);
    twin_cursors_close(&h->writer);
    struct twin_txn writer = h->writer;
    h->writer = (struct twin_txn){ 0 };
    h->mark_count = 0;
    h->commits++;
    return same_err(h, kv_commit(writer.store, durability), kv_commit(writer.model, durability)) &&
           (!verifies || same_soundness(h));
}

static void writer_abort(struct history *h)
{
    history_log(h, "abort");
    twin_cursors_close(&h->writer);
    if (h->writer.store)
        kv_abort(h->writer.store);
    if (h->writer.model)
        kv_abort(h->writer.model);
    h->writer = (struct twin_txn){ 0 };
    h->mark_count = 0;
}

static bool op_begin_write(struct history *h)
{
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 10000 };
    history_log(h, "begin write");
    return same_err(h, kv_begin(h->store, &options, &h->writer.store), SOMBRA_OK) &&
           same_err(h, kv_begin(h->model, &options, &h->writer.model), SOMBRA_OK);
}

/* ---- readers ----------------------------------------------------------------------------- */

/* One in three that end is compared whole with what it saw at its beginning. */
static bool reader_end(struct history *h, struct twin_txn *reader, bool compares)
{
    if (!reader->store || !reader->model)
        return true;
    bool agree = !compares || same_content(h, reader->store, reader->model);
    history_log(h, "end read%s", compares ? ", compared" : "");
    twin_cursors_close(reader);
    kv_abort(reader->store);
    kv_abort(reader->model);
    *reader = (struct twin_txn){ 0 };
    return agree;
}

static bool op_reader(struct history *h)
{
    struct twin_txn *reader = &h->readers[below(h, READERS_MAX)];
    struct kv_begin_options options = { .needs_durable = below(h, 50) == 0 && !h->writer.store };
    if (reader->store)
        return below(h, 25) ? op_read(h, reader) : reader_end(h, reader, below(h, 3) == 0);
    history_log(h, "begin read");
    return same_err(h, kv_begin(h->store, &options, &reader->store), SOMBRA_OK) &&
           same_err(h, kv_begin(h->model, &options, &reader->model), SOMBRA_OK);
}

/* ---- operations on the store ------------------------------------------------------------- */

static bool op_maintain(struct history *h)
{
    static const enum kv_maintenance_kind kinds[] = { KV_CHECKPOINT, KV_STATS };
    struct kv_maintenance job = { .kind = kinds[below(h, COUNT_OF(kinds))] };
    if (below(h, 8) == 0)
        job.kind = KV_COMPACT;         /* several checkpoints */
    job.walk = !h->driver->is_counted; /* others know an estimate, unless they count */
    history_log(h, "maintenance %d", (int)job.kind);
    sombra_err err = kv_maintain(h->store, &job);
    if (err == SOMBRA_UNSUPPORTED && job.kind == KV_COMPACT)
        err = SOMBRA_OK;
    struct kv_maintenance model = { .kind = KV_STATS };
    if (kv_maintain(h->model, &model) != SOMBRA_OK)
        abort();
    return same_err(h, err, SOMBRA_OK) &&
           (job.kind != KV_STATS ||
            (same_number(h, "entries", job.stats.entries, model.stats.entries) &&
             same_number(h, "readers", job.stats.readers, model.stats.readers)));
}

static bool op_reopen(struct history *h)
{
    if (!h->driver->reopen)
        return true;
    for (size_t i = 0; i < READERS_MAX; i++)
        if (!reader_end(h, &h->readers[i], false))
            return false;
    history_log(h, "reopen");
    sombra_err err = kv_close(h->store);
    if (err == SOMBRA_BUSY)
        return same_err(h, err, SOMBRA_OK);
    h->store = NULL;
    if (!same_err(h, err, SOMBRA_OK) ||
        !same_err(h, h->driver->reopen(h->driver->context, &h->store), SOMBRA_OK))
        return false;
    struct kv_txn *store, *model;
    struct kv_begin_options options = { 0 };
    if (!same_err(h, kv_begin(h->store, &options, &store), SOMBRA_OK) ||
        kv_begin(h->model, &options, &model) != SOMBRA_OK)
        return false;
    bool agree = same_content(h, store, model);
    kv_abort(store);
    kv_abort(model);
    return agree && same_soundness(h);
}

/* ---- steps -------------------------------------------------------------------------------- */

static bool step_writing(struct history *h)
{
    uint64_t dice = below(h, 1000);
    /* It grows for a while, then shrinks. */
    bool shrinks = h->op / SHRINKING_AFTER % 4 == 3;
    if (dice < 340)
        return shrinks ? op_delete(h) : op_put(h);
    if (dice < 360)
        return shrinks ? op_delete_range(h) : h->op % 3 ? op_put_run(h) : op_put_many(h);
    if (dice < 460)
        return shrinks ? op_put(h) : op_delete(h);
    if (dice < 480)
        return op_delete_range(h);
    if (dice < 800)
        return op_read(h, &h->writer);
    if (dice < 820)
        return op_savepoint_set(h);
    if (dice < 840)
        return op_savepoint_end(h);
    if (dice < 842)
        return op_misuse(h);
    if (dice < 970)
        return op_reader(h);
    if (dice < 995)
        return op_commit(h);
    writer_abort(h);
    return true;
}

static bool step_idle(struct history *h)
{
    uint64_t dice = below(h, 100);
    if (dice < 70)
        return op_begin_write(h);
    if (dice < 94)
        return op_reader(h);
    return dice < 97 ? op_maintain(h) : op_reopen(h);
}

bool history_step(struct history *h)
{
    random_seed(&h->random, hash_u64(h->seed + hash_u64(h->op)));
    return h->writer.store ? step_writing(h) : step_idle(h);
}

/* After a difference nothing is compared any more: the store is only to be got rid of. */
void history_end(struct history *h)
{
    for (size_t i = 0; i < READERS_MAX; i++)
        if (!reader_end(h, &h->readers[i], !h->has_failed))
            h->has_failed = true;
    if (h->writer.store)
        writer_abort(h);
    if (h->store && !h->has_failed)
        same_soundness(h);
    if (h->store && kv_close(h->store) != SOMBRA_OK && !h->has_failed)
        history_differs(h, "close: %s", sombra_err_message());
    if (kv_close(h->model) != SOMBRA_OK && !h->has_failed)
        abort();
    if (h->driver->remove)
        h->driver->remove(h->driver->context);
    buf_release(&h->key);
    buf_release(&h->other_key);
    buf_release(&h->value);
}
