/* SPDX-License-Identifier: MIT */
/* Read-only stores: what the directory says now, as one view; nothing is written.
 *
 * A process that writes may change the files meanwhile. Its tables stay as long as the version is
 * pinned (files.c); a log that is gone, or one read while it was appended to, is read again with
 * the manifest of a moment later.
 */
#include "write_internal.h"

enum {
    READ_TRIES = 50, /* beside a writer that changes the files */
    READ_WAIT_US = 2000,
};

void lsm_seq_begin(struct lsm *lsm, uint64_t seq)
{
    atomic_store(&lsm->seq, seq);
    atomic_store(&lsm->durable_seq, seq);
}

/* The version may be one that is pinned already. */
static void unpin(struct lsm *lsm, uint64_t number)
{
    if (!lsm->has_pin || number > lsm->pinned_last)
        lsm_version_unpin(lsm, number, number + 1);
}

static sombra_err snapshot_read(struct lsm *lsm, struct version **out_version,
                                struct memtable **out_memtable, uint64_t *out_seq)
{
    struct version *version = NULL;
    struct memtable *memtable = NULL;
    uint64_t seq = 0, records;
    sombra_err err = lsm_version_pin_begin(lsm);
    if (err)
        return err;
    err = manifest_read(lsm->os, lsm->directory, lsm->tables, &lsm->state, &version);
    if (!err)
        err = lsm_version_pin(lsm, version->number);
    lsm_version_pin_end(lsm);
    if (!err)
        err = memtable_new(&memtable);
    if (!err)
        err = lsm_logs_replay(lsm, memtable, &seq, &records);
    if (err) {
        if (version)
            unpin(lsm, version->number);
        memtable_unref(memtable);
        version_unref(version);
        return err;
    }
    *out_version = version;
    *out_memtable = memtable;
    *out_seq = seq;
    return SOMBRA_OK;
}

/* A writer that lives may have changed what was just being read; one that closed meanwhile, too:
 * *is_last is then set, and what the next try finds holds. */
static bool may_try_again(struct lsm *lsm, sombra_err err, bool *is_last)
{
    bool is_held = false;
    if ((err != SOMBRA_CORRUPT && err != SOMBRA_NOT_FOUND) || !lsm->lock || *is_last)
        return false;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err lock_err = os_lock_is_held(lsm->lock, LOCK_WRITER, 1, OS_LOCK_SHARED, &is_held);
    diag_restore(text);
    *is_last = lock_err || !is_held;
    return true;
}

/* Readers may still have views of any version since the first that is pinned: those stay until
 * there is none. */
static void pin_settle(struct lsm *lsm, uint64_t number)
{
    if (lsm->has_pin && number < lsm->pinned_last)
        return; /* somebody put an older manifest there */
    if (!lsm->has_pin)
        lsm->pinned_first = number;
    lsm->has_pin = true;
    lsm->pinned_last = number;
    if (lsm_readers_count(lsm) > 0)
        return;
    lsm_version_unpin(lsm, lsm->pinned_first, number);
    lsm->pinned_first = number;
}

static sombra_err snapshot_publish(struct lsm *lsm, struct memtable *memtable,
                                   struct version *version, uint64_t seq)
{
    os_mutex_lock(&lsm->mutex);
    struct view *old = lsm->view;
    if (old)
        view_ref(old); /* its end may close files: not under the mutex */
    sombra_err err = view_publish(lsm, &memtable, 1, version);
    if (!err) {
        lsm_seq_begin(lsm, u64_max(seq, atomic_load(&lsm->seq)));
        memcpy(lsm->totals_before, lsm->state.totals, sizeof lsm->totals_before);
    }
    os_mutex_unlock(&lsm->mutex);
    view_release(old);
    if (err) {
        unpin(lsm, version->number);
        return err;
    }
    lsm_memory_adapt(lsm, version);
    lsm_pool_sweep(lsm);
    pin_settle(lsm, version->number);
    return SOMBRA_OK;
}

sombra_err lsm_refresh(struct lsm *lsm)
{
    assert(lsm->options.is_readonly);
    struct version *version = NULL;
    struct memtable *memtable = NULL;
    uint64_t seq = 0;
    os_mutex_lock(&lsm->manifest_mutex); /* one at a time */
    sombra_err err = snapshot_read(lsm, &version, &memtable, &seq);
    bool is_last = false;
    for (int i = 0; i < READ_TRIES && err && may_try_again(lsm, err, &is_last); i++) {
        if (!is_last)
            os_sleep_us(lsm->os, READ_WAIT_US);
        err = snapshot_read(lsm, &version, &memtable, &seq);
    }
    if (!err) {
        err = snapshot_publish(lsm, memtable, version, seq);
        memtable_unref(memtable);
        version_unref(version);
    }
    os_mutex_unlock(&lsm->manifest_mutex);
    return err;
}
