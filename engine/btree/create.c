/* SPDX-License-Identifier: MIT */
/* A new database file: built under the name `<path>-new`, synced, and then given its name, which
 * must not replace another's file.
 *
 * The other name is made exclusively, and locked meanwhile. One that is there already belongs to a
 * creator that is at work (its lock says so), or to one that died: that is taken away.
 */
#include "btree_internal.h"

#include <stdio.h>

char *path_with(const char *path, const char *suffix)
{
    size_t bytes = strlen(path) + strlen(suffix) + 1;
    char *to = mem_alloc(bytes);
    if (to)
        snprintf(to, bytes, "%s%s", path, suffix);
    return to;
}

static sombra_err file_build(struct btree *btree, struct os_file *file)
{
    struct meta meta = { .page_bytes = (uint32_t)btree->options.page_bytes, .sequence = 1 };
    meta.snapshot.txn = 1;
    meta.snapshot.page_count = u64_max(1, META_AREA_BYTES / btree->options.page_bytes);
    meta.created_ns = os_wall_ns(btree->os);
    uint8_t seed[4];
    sombra_err err = os_random(btree->os, meta.uuid, sizeof meta.uuid);
    if (!err)
        err = os_random(btree->os, seed, sizeof seed);
    if (err)
        return err;
    /* Ordered, and unlike any other database's. */
    meta.log.epoch = ((uint64_t)get_le32(seed) << 31) + 1;
    err = os_truncate(file, 0);
    if (!err)
        err = os_write_zeros(file, 0, meta.snapshot.page_count * btree->options.page_bytes);
    for (unsigned slot = 0; slot < META_SLOTS && !err; slot++, meta.sequence++)
        err = meta_write(file, slot, &meta);
    if (!err)
        err = os_sync(file);
    if (!err)
        memcpy(btree->created_uuid, meta.uuid, sizeof meta.uuid);
    return err;
}

/* A name whose sync failed is taken away again: nothing that is built on it would survive, and a
 * second sync proves nothing. */
static sombra_err name_publish(struct btree *btree, const char *temporary)
{
    sombra_err err = os_link(btree->os, temporary, btree->path);
    sombra_err unlink_err = os_unlink(btree->os, temporary);
    /* Who opened the file between the two has taken the other name away (names_check). That of the
     * next creator may have gone for it then: it tries again. */
    if (unlink_err == SOMBRA_NOT_FOUND)
        unlink_err = SOMBRA_OK;
    if (err == SOMBRA_NOT_FOUND)
        return diag_fail(SOMBRA_EXISTS, "%s was made by another process just now", btree->path);
    if (err)
        return err;
    err = unlink_err ? unlink_err : os_sync_directory_of(btree->os, btree->path);
    if (!err)
        return SOMBRA_OK;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err ignored = os_unlink(btree->os, btree->path);
    (void)ignored; /* the first failure is the one to tell */
    diag_restore(text);
    return err;
}

/* ---- the other name ---------------------------------------------------------------------- */

/* While one waited for the lock, another process may have given this very file its name, or taken
 * the other one away. */
static sombra_err staging_check(struct btree *btree, struct os_file *file, const char *staging)
{
    struct os_identity identity = { .links = 0 };
    struct os_identity named = { .links = 0 };
    sombra_err err = os_identify(file, &identity);
    if (!err)
        err = os_identify_path(btree->os, staging, &named);
    if (err == SOMBRA_NOT_FOUND ||
        (!err && (identity.links != 1 || !os_identity_is_same(&identity, &named))))
        err = diag_fail(SOMBRA_EXISTS, "%s was made by another process just now", btree->path);
    return err;
}

/* Is it what a creator leaves: nothing, zeros, or a database in which nothing ever was? */
static sombra_err leftover_check(struct btree *btree, struct os_file *file, const char *staging)
{
    static const uint8_t zeros[META_BYTES];
    uint8_t bytes[META_BYTES] = { 0 };
    size_t got = 0;
    uint64_t file_bytes = 0;
    bool is_open = false;
    sombra_err err = os_size(file, &file_bytes);
    if (!err)
        err = os_read_some(file, 0, bytes, sizeof bytes, &got);
    if (!err)
        err = os_lock_is_held(file, LOCK_WRITERS, 2, OS_LOCK_EXCLUSIVE, &is_open);
    if (err)
        return err;
    struct meta meta;
    bool is_blank = memcmp(bytes, zeros, sizeof zeros) == 0;
    bool is_empty = !is_blank && meta_decode(bytes, &meta) == SOMBRA_OK && !meta.snapshot.root;
    if (!is_open && file_bytes <= PAGE_BYTES_MAX && (is_blank || is_empty))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_INVALID,
                     "%s is in the way: %s is made under that name first; move it away", staging,
                     btree->path);
}

static sombra_err leftover_remove(struct btree *btree, const char *staging)
{
    struct os_file *file = NULL;
    sombra_err err = os_open(btree->os, staging, OS_WRITE | OS_NO_FOLLOW, 0, &file);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err)
        err =
            os_lock_wait(file, LOCK_CREATION, 1, OS_LOCK_EXCLUSIVE, btree->options.busy_timeout_ms);
    if (!err)
        err = staging_check(btree, file, staging);
    if (!err)
        err = leftover_check(btree, file, staging);
    if (!err)
        err = os_unlink(btree->os, staging);
    os_close(file);
    return err;
}

static sombra_err staging_open(struct btree *btree, const char *staging, struct os_file **out_file)
{
    enum { TRIES = 16 };
    struct os_file *file = NULL;
    sombra_err err = SOMBRA_EXISTS;
    for (int i = 0; i < TRIES && err == SOMBRA_EXISTS; i++) {
        err = os_open(btree->os, staging, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, btree->options.mode,
                      &file);
        if (err != SOMBRA_EXISTS)
            break;
        err = leftover_remove(btree, staging);
        if (err)
            return err;
        err = SOMBRA_EXISTS;
    }
    if (!err)
        err =
            os_lock_wait(file, LOCK_CREATION, 1, OS_LOCK_EXCLUSIVE, btree->options.busy_timeout_ms);
    if (!err)
        err = staging_check(btree, file, staging);
    if (err)
        os_close(file);
    else
        *out_file = file;
    return err;
}

sombra_err network_refuse(const struct btree *btree, struct os_file *file)
{
    if (btree->options.allows_network || !os_is_network(file))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_UNSUPPORTED,
                     "%s is on a network file system: machines do not share the memory that its "
                     "processes meet in, and two of them destroy it. Move it to a local one, or "
                     "set the option network_files if no other machine ever opens it",
                     btree->path);
}

sombra_err file_create(struct btree *btree)
{
    char *staging = path_with(btree->path, "-new");
    if (!staging)
        return diag_nomem("a path", strlen(btree->path));
    struct os_file *file = NULL;
    sombra_err err = staging_open(btree, staging, &file);
    if (!err) {
        err = network_refuse(btree, file);
        sombra_err ignored = err ? os_unlink(btree->os, staging) : SOMBRA_OK;
        (void)ignored; /* empty, it is in nobody's way */
    }
    if (!err)
        err = file_build(btree, file);
    if (!err)
        err = name_publish(btree, staging);
    os_close(file);
    mem_free(staging);
    return err;
}
