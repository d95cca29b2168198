/* SPDX-License-Identifier: MIT */
/* Backup: one snapshot, written in key order to a new directory.
 *
 * The new store is one run of the last level: nothing hidden, nothing deleted, every checksum of
 * what was read proved on the way. Its manifest is written last, so that a directory that a failure
 * or a crash left half-made is no store; a failed backup takes it away.
 */
#include "lsm_internal.h"
#include "paths.h"

enum { BATCH_ENTRIES = 256, LAST_LEVEL = LSM_LEVELS - 1 };

struct backup {
    struct lsm *lsm;
    struct kv_maintenance *job;
    char *directory; /* resolved */
    bool is_made;    /* the directory, by this backup */
    struct table_writer *writer;
    uint64_t next_number;
    struct edit edit;
    size_t added_capacity;
    uint64_t seq;
    uint64_t done, total;
};

static sombra_err progress(struct backup *backup)
{
    const struct kv_maintenance *job = backup->job;
    if (backup->done > backup->total)
        backup->total = backup->done; /* it is an estimate */
    if (!job->progress || job->progress(job->context, backup->done, backup->total))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " of about %" PRIu64 " entries",
                     backup->done, backup->total);
}

static sombra_err directory_make(struct backup *backup, const char *path)
{
    const struct lsm_options *options = &backup->lsm->options;
    struct os_identity identity;
    if (os_identify_path(backup->lsm->os, path, &identity) == SOMBRA_OK)
        return diag_fail(SOMBRA_EXISTS, "%s exists; it is not replaced", path);
    sombra_err err = os_resolve(backup->lsm->os, path, &backup->directory);
    if (err)
        return err;
    unsigned mode = options->mode | ((options->mode & 0444U) >> 2);
    err = os_make_directory(backup->lsm->os, backup->directory, mode);
    backup->is_made = !err;
    return err ? err : os_sync_directory_of(backup->lsm->os, backup->directory);
}

/* ---- tables ------------------------------------------------------------------------------ */

static sombra_err writer_open(struct backup *backup)
{
    const struct lsm *lsm = backup->lsm;
    const struct table_writer_options options = {
        .codec = lsm->bottom_codec,
        .block_bytes = lsm->options.block_bytes,
        .filter_bits = lsm->options.filter_bits == LSM_NO_FILTER ? 0 : lsm->options.filter_bits,
        .prefix = lsm->options.prefix,
        .mode = lsm->options.mode,
    };
    char *path = lsm_path_of_table(backup->directory, backup->next_number);
    if (!path)
        return diag_nomem("a path", strlen(backup->directory));
    sombra_err err =
        table_writer_open(lsm->os, path, backup->next_number, &options, &backup->writer);
    mem_free(path);
    if (!err)
        backup->next_number++;
    return err;
}

static sombra_err added_reserve(struct backup *backup)
{
    if (backup->edit.added_count < backup->added_capacity)
        return SOMBRA_OK;
    size_t capacity = size_max(16, backup->added_capacity * 2);
    struct edit_table *added = mem_realloc(backup->edit.added, capacity * sizeof *added);
    if (!added)
        return diag_nomem("a list of tables", capacity * sizeof *added);
    backup->edit.added = added;
    backup->added_capacity = capacity;
    return SOMBRA_OK;
}

/* The writer's slices die with it: low and end are copied into one block. */
static sombra_err bounds_copy(struct table_meta *meta)
{
    uint8_t *bytes = mem_alloc(meta->low.bytes + meta->end.bytes);
    if (!bytes)
        return diag_nomem("the bounds of a table", meta->low.bytes + meta->end.bytes);
    memcpy(bytes, meta->low.data, meta->low.bytes);
    memcpy(bytes + meta->low.bytes, meta->end.data, meta->end.bytes);
    meta->end = slice_of(bytes + meta->low.bytes, meta->end.bytes);
    meta->low = slice_of(bytes, meta->low.bytes);
    return SOMBRA_OK;
}

static sombra_err writer_finish(struct backup *backup)
{
    struct table_meta meta;
    if (!backup->writer)
        return SOMBRA_OK;
    sombra_err err = added_reserve(backup);
    if (!err)
        err = table_writer_finish(backup->writer, backup->seq, &meta);
    if (!err)
        err = bounds_copy(&meta);
    if (!err)
        backup->edit.added[backup->edit.added_count++] =
            (struct edit_table){ .level = LAST_LEVEL, .meta = meta };
    if (!err) {
        table_writer_close(backup->writer);
        backup->writer = NULL;
    }
    return err;
}

static sombra_err entry_write(struct backup *backup, sombra_slice key, sombra_slice value)
{
    sombra_err err = backup->writer ? SOMBRA_OK : writer_open(backup);
    if (!err)
        err = table_writer_add(backup->writer, &(struct lsm_entry){ .key = key, .value = value });
    backup->done++;
    if (!err && table_writer_bytes(backup->writer) >= backup->lsm->options.table_bytes)
        err = writer_finish(backup);
    return err;
}

static sombra_err batch_write(struct backup *backup, const struct kv_batch *batch)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t prefix_bytes = batch->prefix.bytes;
    sombra_err err = SOMBRA_OK;
    if (prefix_bytes)
        memcpy(key, batch->prefix.data, prefix_bytes);
    for (size_t i = 0; i < batch->count && !err; i++) {
        const struct kv_entry *entry = &batch->entries[i];
        assert(prefix_bytes + entry->key.bytes <= sizeof key);
        if (entry->key.bytes)
            memcpy(key + prefix_bytes, entry->key.data, entry->key.bytes);
        err = entry_write(backup, slice_of(key, prefix_bytes + entry->key.bytes), entry->value);
    }
    return err;
}

static sombra_err tables_write(struct backup *backup, struct kv_txn *txn)
{
    struct kv_entry entries[BATCH_ENTRIES];
    struct kv_batch batch = { .entries = entries, .capacity = BATCH_ENTRIES };
    struct kv_cursor *cursor;
    sombra_err err = lsm_estimate(txn, (struct kv_range){ 0 }, &backup->total);
    if (!err)
        err = lsm_cursor_open(txn, (struct kv_range){ 0 }, &cursor);
    if (err)
        return err;
    do {
        err = progress(backup);
        if (!err)
            err = lsm_cursor_read(cursor, KV_NEXT, &batch);
        if (!err)
            err = batch_write(backup, &batch);
    } while (!err && batch.count > 0);
    lsm_cursor_close(cursor);
    return err ? err : writer_finish(backup);
}

/* ---- publishing -------------------------------------------------------------------------- */

/* The names of the tables are durable before the manifest has its own. */
static sombra_err names_sync(const struct backup *backup)
{
    char *path = lsm_path(backup->directory, "MANIFEST");
    if (!path)
        return diag_nomem("path of the manifest", strlen(backup->directory));
    sombra_err err = os_sync_directory_of(backup->lsm->os, path);
    mem_free(path);
    return err;
}

static sombra_err manifest_write(struct backup *backup)
{
    const struct lsm *lsm = backup->lsm;
    const struct table_context context = { .os = lsm->os,
                                           .cache = lsm->cache,
                                           .prefix = lsm->options.prefix };
    struct table_cache *tables = NULL;
    struct version *empty = NULL, *version = NULL;
    struct manifest *manifest = NULL;
    sombra_err err = table_cache_new(&context, backup->directory, 16, &tables);
    if (!err)
        err = version_empty(tables, 0, &empty);
    if (!err)
        err = version_apply(empty, tables, &backup->edit, &version);
    struct manifest_state state = { .version = 1,
                                    .next_number = backup->next_number,
                                    .next_run = 1,
                                    .seq = backup->seq,
                                    .log_seq = backup->seq,
                                    .is_clean = true };
    if (!err)
        err = os_random(lsm->os, state.identity, sizeof state.identity);
    if (!err)
        err = names_sync(backup);
    if (!err)
        err = manifest_create(lsm->os, backup->directory, lsm->options.mode, &state, version,
                              &manifest);
    manifest_close(manifest);
    version_unref(version);
    version_unref(empty);
    table_cache_free(tables);
    return err;
}

/* True when it is gone; frees the path. The first failure is what the caller must know, so there is
 * no other. */
static bool path_remove(const struct backup *backup, char *path)
{
    if (!path)
        return false;
    sombra_err err = os_unlink(backup->lsm->os, path);
    mem_free(path);
    return !err || err == SOMBRA_NOT_FOUND;
}

/* The manifest first: what is left by a failure here is no store. */
static void directory_remove(const struct backup *backup)
{
    if (!path_remove(backup, lsm_path(backup->directory, "MANIFEST")))
        return;
    (void)path_remove(backup, lsm_path(backup->directory, "MANIFEST-new"));
    for (uint64_t number = 1; number < backup->next_number; number++)
        (void)path_remove(backup, lsm_path_of_table(backup->directory, number));
    if (os_remove_directory(backup->lsm->os, backup->directory)) {
        /* As above. */
    }
}

static void backup_release(struct backup *backup, bool is_whole)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    table_writer_close(backup->writer);
    if (!is_whole && backup->is_made)
        directory_remove(backup);
    for (size_t i = 0; i < backup->edit.added_count; i++)
        mem_free((void *)(uintptr_t)backup->edit.added[i].meta.low.data);
    mem_free(backup->edit.added);
    mem_free(backup->directory);
    diag_restore(text);
}

sombra_err lsm_backup(struct lsm *lsm, struct kv_maintenance *job)
{
    struct backup backup = { .lsm = lsm, .job = job, .next_number = 1 };
    struct kv_txn *txn;
    if (!job->path)
        return diag_fail(SOMBRA_INVALID, "backup: no path is given");
    sombra_err err = lsm_begin(&lsm->kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    backup.seq = lsm_txn_of(txn)->seq;
    err = directory_make(&backup, job->path);
    if (!err)
        err = tables_write(&backup, txn);
    lsm_abort(txn);
    if (!err)
        err = manifest_write(&backup);
    backup_release(&backup, !err);
    return err;
}
