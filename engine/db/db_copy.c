/* SPDX-License-Identifier: MIT */
/* Copies from one store to another, whatever their engines: all keys of one snapshot, in order.
 *
 * The first commit makes the new store one that refuses to open; the last one, after a checkpoint
 * that made all others durable, puts the counters of the graph there and with them lifts that.
 */
#include "db_internal.h"

enum { BATCH_ENTRIES = 256, TXN_BYTES = 8 << 20 };

struct copy {
    const sombra_job *job;
    struct kv *to;
    struct kv_txn *txn;
    size_t txn_bytes;
    uint64_t done, total;
    struct buf first_key, first_value; /* the record that says "whole", kept for last */
};

static sombra_err writer_begin(struct copy *copy)
{
    const struct kv_begin_options options = { .is_write = true };
    return copy->txn ? SOMBRA_OK : kv_begin(copy->to, &options, &copy->txn);
}

static sombra_err writer_commit(struct copy *copy, enum kv_durability durability)
{
    struct kv_txn *txn = copy->txn;
    copy->txn = NULL;
    copy->txn_bytes = 0;
    return txn ? kv_commit(txn, durability) : SOMBRA_OK;
}

static sombra_err entry_copy(struct copy *copy, sombra_slice prefix, const struct kv_entry *entry)
{
    uint8_t bytes[KV_KEY_BYTES_MAX];
    sombra_slice key = entry->key;
    if (prefix.bytes) {
        memcpy(bytes, prefix.data, prefix.bytes);
        if (key.bytes)
            memcpy(bytes + prefix.bytes, key.data, key.bytes);
        key = slice_of(bytes, prefix.bytes + key.bytes);
    }
    copy->done++;
    if (graph_is_format_key(key)) {
        sombra_err err = buf_set(&copy->first_key, key);
        return err ? err : buf_set(&copy->first_value, entry->value);
    }
    sombra_err err = writer_begin(copy);
    if (!err)
        err = kv_put(copy->txn, key, entry->value);
    copy->txn_bytes += key.bytes + entry->value.bytes;
    if (!err && copy->txn_bytes >= TXN_BYTES)
        err = writer_commit(copy, KV_OFF);
    return err;
}

static sombra_err entries_copy(struct copy *copy, struct kv_txn *from)
{
    struct kv_entry entries[BATCH_ENTRIES];
    struct kv_batch batch = { .entries = entries, .capacity = BATCH_ENTRIES };
    struct kv_cursor *cursor;
    sombra_err err = kv_estimate(from, (struct kv_range){ 0 }, &copy->total);
    if (!err)
        err = kv_cursor_open(from, (struct kv_range){ 0 }, &cursor);
    if (err)
        return err;
    do {
        if (copy->done > copy->total)
            copy->total = copy->done; /* it may be an estimate */
        if (!db_progress((void *)(uintptr_t)copy->job, copy->done, copy->total))
            err = diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " entries", copy->done);
        if (!err)
            err = kv_cursor_read(cursor, KV_NEXT, &batch);
        for (size_t i = 0; i < batch.count && !err; i++)
            err = entry_copy(copy, batch.prefix, &batch.entries[i]);
    } while (!err && batch.count > 0);
    kv_cursor_close(cursor);
    return err ? err : writer_commit(copy, KV_OFF);
}

static sombra_err unfinished_mark(struct copy *copy)
{
    sombra_err err = writer_begin(copy);
    if (!err)
        err = graph_mark_unfinished(copy->txn);
    return err ? err : writer_commit(copy, KV_FULL);
}

static sombra_err unfinished_lift(struct copy *copy)
{
    struct kv_maintenance checkpoint = { .kind = KV_CHECKPOINT };
    sombra_err err = kv_maintain(copy->to, &checkpoint);
    if (!err)
        err = writer_begin(copy);
    if (!err && copy->first_key.bytes)
        err = kv_put(copy->txn, buf_slice(&copy->first_key), buf_slice(&copy->first_value));
    else if (!err)
        err = graph_unmark_unfinished(copy->txn);
    return err ? err : writer_commit(copy, KV_FULL);
}

static sombra_err copy_run(struct copy *copy, struct kv *from)
{
    struct kv_txn *txn;
    sombra_err err = unfinished_mark(copy);
    if (!err)
        err = kv_begin(from, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    err = entries_copy(copy, txn);
    kv_abort(txn);
    if (!err)
        err = unfinished_lift(copy);
    return err;
}

/* The first error counts. */
static sombra_err close_both(sombra_db *from, sombra_db *to, sombra_err err)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err of_to = sombra_close(to);
    if (!err && of_to)
        diag_save(text);
    sombra_err of_from = sombra_close(from);
    (void)of_from; /* it was only read */
    diag_restore(text);
    return err ? err : of_to;
}

sombra_err sombra_copy(const char *path, const char *to, const sombra_options *given,
                       const sombra_job *given_job, uint64_t *out_entries)
{
    sombra_options options, reading = SOMBRA_OPTIONS_INIT;
    sombra_job job;
    sombra_db *source = NULL, *target = NULL;
    struct copy copy = { .job = &job, .first_key = BUF_INIT, .first_value = BUF_INIT };
    if (!path || !*path || !to || !*to)
        return diag_fail(SOMBRA_INVALID, "copy: no path is given");
    sombra_err err = options_read(given, &options, sizeof options);
    if (!err)
        err = options_read(given_job, &job, sizeof job);
    if (err)
        return diag_wrap(err, "copy");
    if (db_place_of(to) != DB_NOTHING)
        return diag_fail(SOMBRA_EXISTS, "copy: %s exists; it is not replaced", to);
    reading.readonly = true;
    options.create = true;
    options.readonly = false;
    err = sombra_open(path, &reading, &source);
    if (!err)
        err = sombra_open(to, &options, &target);
    if (!err) {
        copy.to = target->kv;
        err = copy_run(&copy, source->kv);
    }
    if (copy.txn)
        kv_abort(copy.txn);
    buf_release(&copy.first_key);
    buf_release(&copy.first_value);
    err = close_both(source, target, err);
    if (!err && out_entries)
        *out_entries = copy.done;
    return diag_wrap(err, "copy %s to %s", path, to);
}
