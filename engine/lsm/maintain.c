/* SPDX-License-Identifier: MIT */
/* Maintenance: which job does what. */
#include "lsm_internal.h"

sombra_err lsm_flush_all(struct lsm *lsm, const struct kv_maintenance *job)
{
    sombra_err err = lsm_check_writable(lsm);
    if (!err)
        err = lsm_turn_take_for(lsm, job);
    if (err)
        return err;
    err = lsm_switch_memtable(lsm);
    lsm_turn_give(lsm);
    return err ? err : lsm_flush_full(lsm);
}

/* Everything committed goes into tables, so that no log is needed. */
static sombra_err checkpoint(struct lsm *lsm, const struct kv_maintenance *job)
{
    if (lsm->options.is_readonly)
        return SOMBRA_OK;
    sombra_err err = lsm_flush_all(lsm, job);
    if (err)
        return err;
    kv_metrics_add(&lsm->metrics, KV_COUNTER_CHECKPOINTS, 1);
    return SOMBRA_OK;
}

sombra_err lsm_maintain(struct kv *kv, struct kv_maintenance *job)
{
    struct lsm *lsm = lsm_of(kv);
    assert(job);
    sombra_err err = lsm_check_fork(lsm);
    if (err)
        return err;
    switch (job->kind) {
    case KV_STATS:
        return lsm_stats(lsm, job);
    case KV_CHECKPOINT:
        return checkpoint(lsm, job);
    case KV_COMPACT:
        if (lsm->options.is_readonly)
            return diag_fail(SOMBRA_READONLY, "%s is open for reading only", lsm->directory);
        return lsm_compact_all(lsm, job);
    case KV_VERIFY:
        return lsm_verify(lsm, job);
    case KV_BACKUP:
        return lsm_backup(lsm, job);
    case KV_REFRESH:
        return lsm->options.is_readonly ? lsm_refresh(lsm) : SOMBRA_OK;
    }
    return diag_fail(SOMBRA_UNSUPPORTED, "the engine lsm has no job with the number %d",
                     (int)job->kind);
}
