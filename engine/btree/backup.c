/* SPDX-License-Identifier: MIT */
/* Backup: one snapshot, written in key order to a new file.
 *
 * The snapshot is pinned for as long as it takes, and the writer goes on. A copy by entries and not
 * by pages: full pages, nothing free, and every checksum of what was read is proved on the way.
 * Values are handed on from the map without a copy.
 */
#include "btree_internal.h"
#include "target_internal.h"

enum { BATCH_ENTRIES = 256 };

struct backup {
    struct kv_maintenance *job;
    struct target target;
    uint64_t done, total; /* entries */
};

static sombra_err progress(const struct backup *backup)
{
    const struct kv_maintenance *job = backup->job;
    if (!job->progress || job->progress(job->context, backup->done, backup->total))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " of %" PRIu64 " entries",
                     backup->done, backup->total);
}

static sombra_err batch_write(struct backup *backup, const struct kv_batch *batch)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t prefix_bytes = batch->prefix.bytes;
    if (prefix_bytes)
        memcpy(key, batch->prefix.data, prefix_bytes);
    for (size_t i = 0; i < batch->count; i++) {
        const struct kv_entry *entry = &batch->entries[i];
        assert(prefix_bytes + entry->key.bytes <= sizeof key);
        if (entry->key.bytes)
            memcpy(key + prefix_bytes, entry->key.data, entry->key.bytes);
        sombra_err err = target_put(&backup->target, slice_of(key, prefix_bytes + entry->key.bytes),
                                    entry->value);
        if (err)
            return err;
        backup->done++;
    }
    return SOMBRA_OK;
}

static sombra_err entries_write(struct backup *backup, struct kv_txn *txn)
{
    struct kv_entry entries[BATCH_ENTRIES];
    struct kv_batch batch = { .entries = entries, .capacity = BATCH_ENTRIES };
    struct kv_cursor *cursor;
    sombra_err err = btree_cursor_open(txn, (struct kv_range){ 0 }, &cursor);
    if (err)
        return err;
    do {
        err = progress(backup);
        if (!err)
            err = btree_cursor_read(cursor, KV_NEXT, &batch);
        if (!err)
            err = batch_write(backup, &batch);
    } while (!err && batch.count > 0);
    btree_cursor_close(cursor);
    if (!err && backup->done != backup->total)
        err = diag_fail(SOMBRA_CORRUPT,
                        "the tree has %" PRIu64 " entries, counted as %" PRIu64 ": run verify",
                        backup->done, backup->total);
    return err;
}

sombra_err btree_backup(struct btree *btree, struct kv_maintenance *job)
{
    struct backup backup = { .job = job, .target = TARGET_INIT };
    struct kv_txn *txn;
    if (!job->path)
        return diag_fail(SOMBRA_INVALID, "backup: no path is given");
    sombra_err err = btree_begin(&btree->kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    backup.total = txn_of(txn)->snapshot.entries;
    err = target_open(&backup.target, btree->os, job->path, btree->pager.page_bytes,
                      btree->options.mode);
    if (!err)
        err = entries_write(&backup, txn);
    btree_abort(txn);
    if (!err)
        err = target_publish(&backup.target);
    target_release(&backup.target);
    return err;
}
