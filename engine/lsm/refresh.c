/* SPDX-License-Identifier: MIT */
/* Read-only stores: what the directory says now, as one view; nothing is written.
 *
 * A process that writes may change the files meanwhile. Its tables stay as long as the version is
 * pinned (files.c); a log that is gone, or one read while it was appended to, is read again with
 * the manifest of a moment later.
 */
#include "write_internal.h"

#include <stdlib.h>

enum {
    READ_TRIES = 50, /* beside a writer that changes the files */
    READ_WAIT_US = 2000,
};

void lsm_seq_begin(struct lsm *lsm, uint64_t seq)
{
    atomic_store(&lsm->seq, seq);
    atomic_store(&lsm->durable_seq, seq);
}

/* ---- is it the store of before? ------------------------------------------------------------ */

static bool table_is_same(const struct version_table *left, const struct version_table *right)
{
    const struct table_meta *a = &left->meta, *b = &right->meta;
    return a->file_bytes == b->file_bytes && a->entries == b->entries && a->deletes == b->deletes &&
           a->range_count == b->range_count && a->seq_max == b->seq_max &&
           slice_equal(a->low, b->low) && slice_equal(a->end, b->end);
}

static int by_number(const void *left, const void *right)
{
    const struct version_table *const *a = left, *const *b = right;
    const uint64_t x = (*a)->meta.number, y = (*b)->meta.number;
    return (x > y) - (x < y);
}

/* The tables of a version by their numbers; mem_alloc'ed, NULL when memory is out. */
static struct version_table **tables_sorted(const struct version *version, size_t *out_count)
{
    size_t count = 0;
    for (size_t i = 0; i < version->count; i++)
        count += version->runs[i].count;
    struct version_table **tables = mem_alloc((count + 1) * sizeof *tables);
    *out_count = count;
    if (!tables)
        return NULL;
    for (size_t i = 0, at = 0; i < version->count; i++)
        for (size_t k = 0; k < version->runs[i].count; k++)
            tables[at++] = version->runs[i].tables[k];
    qsort(tables, count, sizeof *tables, by_number);
    return tables;
}

/* A number stands for one file for ever: blocks of it may be in the cache. Those of tables that are
 * gone leave it with the last who reads them. */
static sombra_err tables_agree(const struct version *before, const struct version *now,
                               bool *out_agree)
{
    size_t old_count, new_count, old = 0;
    struct version_table **olds = tables_sorted(before, &old_count);
    struct version_table **news = tables_sorted(now, &new_count);
    bool agree = true;
    for (size_t i = 0; olds && news && agree && i <= new_count; i++) {
        for (; old < old_count && (i == new_count || by_number(&olds[old], &news[i]) < 0); old++)
            atomic_store(&olds[old]->is_obsolete, true);
        if (i < new_count && old < old_count && by_number(&olds[old], &news[i]) == 0)
            agree = table_is_same(olds[old++], news[i]);
    }
    const bool has_memory = olds && news;
    mem_free(olds);
    mem_free(news);
    if (!has_memory)
        return diag_nomem("tables of two versions", (old_count + new_count) * sizeof *olds);
    *out_agree = agree;
    return SOMBRA_OK;
}

/* Nothing that a store does takes a number back. Who puts an older manifest there, or another
 * store's, brings back tables that are gone, and numbers that will stand for other tables. */
static sombra_err check_follows(struct lsm *lsm, const struct manifest_state *now,
                                const struct version *version)
{
    const struct manifest_state *before = &lsm->state;
    if (!lsm->view) /* the first look */
        return SOMBRA_OK;
    bool is_same_store = memcmp(now->identity, before->identity, sizeof now->identity) == 0;
    bool follows = is_same_store && now->version >= before->version && now->seq >= before->seq &&
                   now->log_seq >= before->log_seq && now->next_number >= before->next_number &&
                   now->next_run >= before->next_run;
    sombra_err err = follows ? tables_agree(lsm->view->version, version, &follows) : SOMBRA_OK;
    if (err || follows)
        return err;
    return diag_fail(SOMBRA_CONFLICT,
                     "%s: the manifest is %s (version %" PRIu64 ", and it was %" PRIu64
                     "): somebody put it there while the store was open; close every handle and "
                     "open it again",
                     lsm->directory, is_same_store ? "not what follows" : "another store's",
                     now->version, before->version);
}

/* ---- reading ------------------------------------------------------------------------------- */

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
    struct manifest_state state;
    uint64_t seq = 0, records;
    sombra_err err = lsm_version_pin_begin(lsm);
    if (err)
        return err;
    err = manifest_read(lsm->os, lsm->directory, lsm->tables, &state, &version);
    if (!err)
        err = check_follows(lsm, &state, version);
    bool is_pinned = false;
    if (!err) {
        err = lsm_version_pin(lsm, version->number);
        is_pinned = !err;
    }
    lsm_version_pin_end(lsm);
    if (!err) {
        lsm->state = state;
        err = memtable_new(&memtable);
    }
    if (!err)
        err = lsm_logs_replay(lsm, memtable, &seq, &records);
    if (!err && seq < atomic_load(&lsm->seq))
        err = diag_fail(SOMBRA_CORRUPT,
                        "%s: the logs end at commit %" PRIu64 ", and ended at %" PRIu64
                        ": somebody put older ones there while the store was open",
                        lsm->directory, seq, atomic_load(&lsm->seq));
    if (err) {
        if (is_pinned)
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
    assert(!lsm->has_pin || number >= lsm->pinned_last); /* check_follows */
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
        assert(seq >= atomic_load(&lsm->seq)); /* snapshot_read */
        lsm_seq_begin(lsm, seq);
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
