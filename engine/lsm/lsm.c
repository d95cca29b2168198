/* SPDX-License-Identifier: MIT */
/* The engine's table of operations, and what every part asks before it writes. */
#include "lsm_internal.h"

static sombra_err ops_close(struct kv *kv);

const struct kv_ops lsm_ops = {
    .name = "lsm",
    .close = ops_close,
    .begin = lsm_begin,
    .commit = lsm_commit,
    .abort = lsm_abort,
    .savepoint = lsm_savepoint,
    .get = lsm_get,
    .get_many = lsm_get_many,
    .put = lsm_put,
    .put_many = lsm_put_many,
    .expect = lsm_expect,
    .remove = lsm_remove,
    .remove_range = lsm_remove_range,
    .count = lsm_count,
    .estimate = lsm_estimate,
    .cursor_open = lsm_cursor_open,
    .cursor_move = lsm_cursor_move,
    .cursor_read = lsm_cursor_read,
    .cursor_words = lsm_cursor_words,
    .cursor_close = lsm_cursor_close,
    .maintain = lsm_maintain,
};

static sombra_err ops_close(struct kv *kv)
{
    return lsm_close(lsm_of(kv));
}

/* ---- failure ----------------------------------------------------------------------------- */

sombra_err lsm_check_writable(struct lsm *lsm)
{
    if (LIKELY(!atomic_load_explicit(&lsm->is_failed, memory_order_acquire)))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_IO, "%s refuses writes since: %s; close it and open it again",
                     lsm->directory, lsm->failure);
}

sombra_err lsm_fail(struct lsm *lsm, sombra_err err)
{
    assert(err != SOMBRA_OK);
    if (atomic_exchange(&lsm->is_failing, true)) {
        while (!atomic_load(&lsm->is_failed)) /* for a copy of the text */
            os_thread_yield();
        return err;
    }
    diag_save(lsm->failure);
    atomic_store_explicit(&lsm->is_failed, true, memory_order_release);
    kv_metrics_report(&lsm->metrics,
                      &(struct kv_event){ .kind = KV_EVENT_FAILURE, .text = lsm->failure });
    return err;
}

sombra_err lsm_txn_refuse(const struct lsm_txn *txn)
{
    sombra_err err = lsm_check_fork(lsm_of(txn->txn.kv));
    return err ? err
               : diag_fail(SOMBRA_INVALID,
                           "an earlier write of this transaction failed in the middle: abort it or "
                           "roll back to a savepoint");
}

sombra_err lsm_check_fork(const struct lsm *lsm)
{
    if (LIKELY(!atomic_load_explicit(&lsm->is_forked, memory_order_relaxed)))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_INVALID, "%s was opened before fork(): the child must open it again",
                     lsm->directory);
}
