/* SPDX-License-Identifier: MIT */
/* target: a new database file that is filled under a temporary name and then published: what backup
 * and salvage write to.
 *
 * The name is taken last and never from another file. Until then there is only
 * `<path>-part-<16 digits>` (and its logs and lock file), which target_release takes away; a crash
 * leaves it, and it may be deleted.
 *
 * Threads: one at a time. Nobody else knows the temporary name, so the store needs no turn.
 */
#ifndef BTREE_TARGET_INTERNAL_H
#define BTREE_TARGET_INTERNAL_H

#include "btree.h"

struct target {
    struct os *os;
    char *path;      /* as given, resolved */
    char *temporary; /* where it is filled */
    struct kv *kv;   /* NULL = closed */
    struct kv_txn *txn;
    uint64_t batch_bytes; /* written by `txn` */
    bool is_made;         /* the temporary file may be there */
    bool is_published;
};

#define TARGET_INIT \
    {               \
        .os = NULL  \
    }

/* EXISTS if there is something at `path`, or a log beside it. */
sombra_err target_open(struct target *target, struct os *os, const char *path, size_t page_bytes,
                       unsigned mode) SOMBRA_MUST_CHECK;
/* Keys that come in order leave full pages. The slices are not kept. Memory stays bounded: what was
 * written is committed now and then. */
sombra_err target_put(struct target *target, sombra_slice key,
                      sombra_slice value) SOMBRA_MUST_CHECK;
/* The transaction that is being filled, for other changes; after each of them target_wrote, which
 * may commit it. */
sombra_err target_txn(struct target *target, struct kv_txn **out_txn) SOMBRA_MUST_CHECK;
sombra_err target_wrote(struct target *target, size_t bytes) SOMBRA_MUST_CHECK;
/* Commits, closes, and gives the file its name, durably. EXISTS if another file took the name. */
sombra_err target_publish(struct target *target) SOMBRA_MUST_CHECK;
/* Takes away what was not published; keeps the thread's error text. */
void target_release(struct target *target);

#endif
