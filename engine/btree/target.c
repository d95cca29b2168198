/* SPDX-License-Identifier: MIT */
/* Filling and publishing a new database file.
 *
 * Publishing goes over the name `<path>-new`, which creation uses too: a crash between giving the
 * file its name and taking the other one away leaves two names, and the next open removes exactly
 * that one.
 *
 *   1 close the store: one file, no log, synced
 *   2 lock the file, and `<path>-new`, so that no creation works there
 *   3 rename the file to `<path>-new`, sync the directory: else the next step may survive without
 * it 4 link it to `path`, which fails if there is a file     (it is published) 5 unlink
 * `<path>-new`, sync the directory
 */
#include "target_internal.h"

#include "btree_internal.h"

#include <stdio.h>

enum {
    BATCH_BYTES_MAX = 32 << 20, /* bounds what a store without mapped stores keeps in memory */
    ENTRY_BYTES = 16,           /* counted for an entry beside its key and value */
};

static sombra_err names_make(struct target *target, const char *path)
{
    uint64_t number = 0;
    char suffix[32];
    sombra_err err = os_resolve(target->os, path, &target->path);
    if (!err)
        err = os_random(target->os, &number, sizeof number);
    if (err)
        return err;
    snprintf(suffix, sizeof suffix, "-part-%016" PRIx64, number);
    target->temporary = path_with(target->path, suffix);
    return target->temporary ? SOMBRA_OK : diag_nomem("a path", strlen(target->path));
}

static sombra_err expect_nothing_at(struct os *os, const char *path)
{
    struct os_identity identity;
    sombra_err err = os_identify_path(os, path, &identity);
    if (!err)
        return diag_fail(SOMBRA_EXISTS, "%s exists; it is not replaced", path);
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

/* The log of a database that had this name would be taken for the new one's. */
static sombra_err expect_no_logs_of(struct os *os, const char *path)
{
    static const char *const suffixes[] = { "-log0", "-log1" };
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < COUNT_OF(suffixes) && !err; i++) {
        char *name = path_with(path, suffixes[i]);
        if (!name)
            return diag_nomem("a path", strlen(path));
        err = expect_nothing_at(os, name);
        mem_free(name);
    }
    return diag_wrap(err, "the log of another database");
}

sombra_err target_open(struct target *target, struct os *os, const char *path, size_t page_bytes,
                       unsigned mode)
{
    assert(!target->os && os && path);
    if (strcmp(path, BTREE_MEMORY) == 0)
        return diag_fail(SOMBRA_INVALID, "%s is no file", path);
    target->os = os;
    sombra_err err = names_make(target, path);
    if (!err)
        err = expect_nothing_at(os, target->path);
    if (!err)
        err = expect_no_logs_of(os, target->path);
    if (!err)
        err = expect_nothing_at(os, target->temporary);
    if (err)
        return err;
    target->is_made = true;
    /* Everything goes past the log: nobody sees the file before it is whole. */
    const struct btree_options options = { .create = true,
                                           .mode = mode,
                                           .page_bytes = page_bytes,
                                           .durability = KV_OFF,
                                           .wal_bypass_bytes = 1,
                                           .no_background = true };
    return btree_open(os, target->temporary, &options, &target->kv);
}

static sombra_err batch_commit(struct target *target)
{
    struct kv_txn *txn = target->txn;
    target->txn = NULL;
    target->batch_bytes = 0;
    return txn ? kv_commit(txn, KV_DURABILITY_STORE) : SOMBRA_OK;
}

sombra_err target_txn(struct target *target, struct kv_txn **out_txn)
{
    assert(target->kv);
    if (!target->txn) {
        const struct kv_begin_options options = { .is_write = true };
        sombra_err err = kv_begin(target->kv, &options, &target->txn);
        if (err)
            return err;
    }
    *out_txn = target->txn;
    return SOMBRA_OK;
}

sombra_err target_wrote(struct target *target, size_t bytes)
{
    target->batch_bytes += bytes;
    return target->batch_bytes < BATCH_BYTES_MAX ? SOMBRA_OK : batch_commit(target);
}

sombra_err target_put(struct target *target, sombra_slice key, sombra_slice value)
{
    struct kv_txn *txn;
    sombra_err err = target_txn(target, &txn);
    if (!err)
        err = kv_put(txn, key, value);
    return err ? err : target_wrote(target, key.bytes + value.bytes + ENTRY_BYTES);
}

/* ---- publishing -------------------------------------------------------------------------- */

/* Opens `name` and keeps others out of it until the file is closed. */
static sombra_err lock_file(struct target *target, const char *name, unsigned flags,
                            struct os_file **out_file)
{
    struct os_file *file = NULL;
    struct os_identity identity = { .links = 0 };
    sombra_err err = os_open(target->os, name, OS_WRITE | OS_NO_FOLLOW | flags, 0600, &file);
    if (!err)
        err = os_lock(file, LOCK_CREATION, 1, OS_LOCK_EXCLUSIVE);
    if (!err)
        err = os_identify(file, &identity);
    if (!err && identity.links != 1)
        err = diag_fail(SOMBRA_BUSY, "%s is being made by another process", target->path);
    if (err) {
        os_close(file);
        return err;
    }
    *out_file = file;
    return SOMBRA_OK;
}

static void unlink_quietly(struct os *os, const char *path)
{
    sombra_err ignored = os_unlink(os, path);
    (void)ignored; /* the first failure is the one to tell */
}

/* From the sync of step 3 on. A name whose sync failed is taken away again: a second sync proves
 * nothing. */
static sombra_err link_and_sync(struct target *target, const char *staging)
{
    sombra_err err = os_sync_directory_of(target->os, target->path);
    if (!err)
        err = os_link(target->os, staging, target->path);
    if (err == SOMBRA_EXISTS)
        err = diag_fail(err, "%s exists; it is not replaced", target->path);
    bool is_linked = !err;
    if (!err)
        err = os_unlink(target->os, staging);
    if (!err)
        err = os_sync_directory_of(target->os, target->path);
    if (!err)
        return SOMBRA_OK;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    if (is_linked)
        unlink_quietly(target->os, target->path);
    unlink_quietly(target->os, staging);
    diag_restore(text);
    return err;
}

static sombra_err name_give(struct target *target, const char *staging)
{
    struct os_file *file = NULL, *other = NULL;
    sombra_err err = lock_file(target, target->temporary, 0, &file);
    if (!err)
        err = lock_file(target, staging, OS_CREATE, &other);
    if (!err)
        err = os_rename(target->os, target->temporary, staging);
    /* Made by the open above, or left by a crash: nobody else has it. */
    if (err && other)
        unlink_quietly(target->os, staging);
    if (!err) {
        target->is_made = false;
        err = link_and_sync(target, staging);
    }
    os_close(other);
    os_close(file);
    return err;
}

sombra_err target_publish(struct target *target)
{
    assert(target->kv && !target->is_published);
    sombra_err err = batch_commit(target);
    if (err)
        return err;
    struct kv *kv = target->kv;
    target->kv = NULL;
    err = kv_close(kv);
    if (err)
        return err;
    char *staging = path_with(target->path, "-new");
    if (!staging)
        return diag_nomem("a path", strlen(target->path));
    err = name_give(target, staging);
    mem_free(staging);
    target->is_published = !err;
    return diag_wrap(err, "give the new file its name");
}

void target_release(struct target *target)
{
    static const char *const suffixes[] = { "", "-new", "-log0", "-log1", "-lock" };
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    if (target->txn)
        kv_abort(target->txn);
    if (target->kv) {
        sombra_err ignored = kv_close(target->kv);
        (void)ignored; /* the file goes away */
    }
    for (size_t i = 0; i < COUNT_OF(suffixes) && target->is_made; i++) {
        char name[4096 + 64];
        int length = snprintf(name, sizeof name, "%s%s", target->temporary, suffixes[i]);
        if (length > 0 && (size_t)length < sizeof name)
            unlink_quietly(target->os, name);
    }
    mem_free(target->temporary);
    mem_free(target->path);
    *target = (struct target)TARGET_INIT;
    diag_restore(text);
}
