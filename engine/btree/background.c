/* SPDX-License-Identifier: MIT */
/* The thread of an open store: it syncs KV_NORMAL commits, of the dead as well, runs checkpoints
 * and compactions, and marks the log of a store at rest. Each may be done without it, but that for
 * the dead: who is alone and does little has none.
 */
#include "upkeep.h"

/* ---- what is asked of it ------------------------------------------------------------------ */

void background_want_sync(struct btree *btree, uint64_t lsn)
{
    /* Only the first commit of an interval wakes the thread. */
    if (shared_note_normal(btree, lsn) != 0)
        return;
    os_mutex_lock(&btree->checkpoint_mutex);
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

void background_want_mark(struct btree *btree)
{
    if (atomic_load_explicit(&btree->mark_wanted, memory_order_relaxed) ||
        !atomic_load(&btree->has_background))
        return;
    atomic_store(&btree->mark_wanted, 1);
    os_mutex_lock(&btree->checkpoint_mutex);
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

/* ---- its work ----------------------------------------------------------------------------- */

/* The last record of the log has no later one to say that it was durable, and rot there would pass
 * for a crash's tail: an idle store appends a mark that says so. */
static sombra_err mark_append(struct btree *btree)
{
    owner_word dead;
    if (!atomic_load(&btree->head->has_logs))
        return SOMBRA_OK;
    sombra_err err = gate_enter_brief(btree, 0, &dead);
    if (err)
        return err == SOMBRA_BUSY ? SOMBRA_OK : err;
    err = head_check_writable(btree->head);
    struct snapshot newest = { 0 };
    if (!err)
        err = turn_take(btree, dead, &newest);
    uint64_t durable = atomic_load(&btree->head->durable_lsn);
    if (!err && durable >= newest.lsn && logs_position(&btree->logs).offset > 0) {
        err = logs_append_mark(&btree->logs, newest.lsn, durable);
        snapshot_set_position(&newest, logs_position(&btree->logs), btree->logs.active);
        account_publish(btree, &newest);
    }
    gate_leave(btree);
    return err;
}

enum { MARK_IDLE_MS = 1000, DEAD_IDLE_MS = 1000 };

static bool background_has_work(const struct btree *btree)
{
    return btree->background_stops || btree->checkpoint_wanted || btree->compact_wanted ||
           atomic_load(shared_normal_lsn(btree));
}

/* Under checkpoint_mutex: sleeps until there is work, or until nothing was committed for a while,
 * or until it is time to look after the dead. */
static void background_wait(struct btree *btree)
{
    while (!background_has_work(btree) && !atomic_load(&btree->mark_wanted))
        if (!os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, DEAD_IDLE_MS))
            return;
    if (btree->background_stops || btree->checkpoint_wanted || btree->compact_wanted)
        return;
    uint64_t wait_ms =
        atomic_load(shared_normal_lsn(btree)) ? btree->options.sync_interval_ms : MARK_IDLE_MS;
    (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, wait_ms);
}

/* A process that was killed no longer syncs its KV_NORMAL commits. The logs are opened before that
 * happens, so that a failed write-back until then is told to this process as well. */
static sombra_err dead_sync(struct btree *btree)
{
    sombra_err err = logs_open_if_any(&btree->logs);
    uint64_t lsn = err ? 0 : shared_dead_normal_lsn(btree);
    return lsn ? logs_sync(&btree->logs, lsn) : err;
}

/* Syncs this process's KV_NORMAL commits, if there are any; *out_lsn says up to which. */
static sombra_err normal_sync(struct btree *btree, uint64_t *out_lsn)
{
    _Atomic uint64_t *normal_lsn = shared_normal_lsn(btree);
    uint64_t lsn = atomic_load(normal_lsn);
    *out_lsn = lsn;
    sombra_err err = lsn ? logs_sync(&btree->logs, lsn) : SOMBRA_OK;
    /* Taken back after the sync: until then another process may have to do it. A newer commit has
     * not woken the thread, and is seen at once. */
    uint64_t synced = lsn;
    (void)atomic_compare_exchange_strong(normal_lsn, &synced, 0);
    return err;
}

/* Between the steps of a compaction: the thread's other work, and whether to go on. */
static bool background_between(void *context, uint64_t done, uint64_t total)
{
    struct btree *btree = context;
    (void)done;
    (void)total;
    os_mutex_lock(&btree->checkpoint_mutex);
    bool goes_on = !btree->background_stops && btree->compact_waiters == 0;
    bool wants_checkpoint = btree->checkpoint_wanted;
    btree->checkpoint_wanted = false;
    os_mutex_unlock(&btree->checkpoint_mutex);
    sombra_err err = SOMBRA_OK;
    uint64_t lsn;
    uint64_t since_ns = os_monotonic_ns(btree->os) - btree->logs.last_sync_ns;
    if (since_ns / 1000000 >= btree->options.sync_interval_ms)
        err = normal_sync(btree, &lsn);
    if (!err && wants_checkpoint)
        err = checkpoint_run(btree, NULL);
    return goes_on && !err;
}

/* What the background thread does when it wakes. A failure poisons the store, and the next write
 * reports it. */
static void background_work(struct btree *btree, bool wants_checkpoint, bool wants_compact,
                            uint64_t *commits_seen, struct compact_rest *rest)
{
    uint64_t lsn;
    uint64_t commits = kv_metrics_count(&btree->metrics, KV_COUNTER_COMMITS);
    struct kv_maintenance job = { .kind = KV_COMPACT,
                                  .progress = background_between,
                                  .context = btree };
    memory_weigh_again(btree);
    sombra_err err = normal_sync(btree, &lsn);
    if (!err && !lsn)
        err = dead_sync(btree);
    if (!err && wants_checkpoint)
        err = checkpoint_run(btree, NULL);
    if (!err && wants_compact)
        err = compact_automatic(btree, &job);
    bool is_idle = !lsn && !wants_checkpoint && !wants_compact && commits == *commits_seen;
    if (!err && is_idle && atomic_exchange(&btree->mark_wanted, 0))
        err = mark_append(btree);
    if (!err && is_idle && compact_rest_is_due(btree, rest))
        err = compact_resting(btree, rest, &job);
    *commits_seen = commits;
    (void)err;
}

/* The store's own thread. It holds the writer's turn inside a checkpoint and for a mark, and
 * nowhere else. */
static void *background_main(void *argument)
{
    struct btree *btree = argument;
    uint64_t commits_seen = UINT64_MAX;
    struct compact_rest rest = { 0 };
    os_mutex_lock(&btree->checkpoint_mutex);
    for (;;) {
        background_wait(btree);
        if (btree->background_stops)
            break;
        bool wants_checkpoint = btree->checkpoint_wanted;
        bool wants_compact = btree->compact_wanted;
        btree->checkpoint_wanted = btree->compact_wanted = false;
        os_mutex_unlock(&btree->checkpoint_mutex);
        background_work(btree, wants_checkpoint, wants_compact, &commits_seen, &rest);
        os_mutex_lock(&btree->checkpoint_mutex);
    }
    os_mutex_unlock(&btree->checkpoint_mutex);
    return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------- */

/* Others count on this process's thread from now on, or never did. */
static void background_announce(struct btree *btree)
{
    owner_word self = btree->attachment.self;
    atomic_store(&btree->background_after, 0);
    (void)atomic_compare_exchange_strong(&btree->head->threadless, &self, 0);
}

/* The system gave it no thread: they go on without, or begin to. */
static void background_renounce(struct btree *btree)
{
    owner_word nobody = 0;
    atomic_store(&btree->background_after, 0);
    (void)atomic_compare_exchange_strong(&btree->head->threadless, &nobody, btree->attachment.self);
}

/* May this store have a thread at all? */
static bool background_is_allowed(const struct btree *btree)
{
    return btree->file && !btree->options.is_readonly && !btree->options.no_background;
}

void background_start(struct btree *btree)
{
    if (!background_is_allowed(btree) || atomic_load(&btree->has_background))
        return;
    os_mutex_lock(&btree->checkpoint_mutex);
    sombra_err err = SOMBRA_OK;
    if (!atomic_load(&btree->has_background)) {
        err = os_thread_start(&btree->background, background_main, btree);
        if (!err)
            atomic_store(&btree->has_background, 1);
    }
    os_mutex_unlock(&btree->checkpoint_mutex);
    if (err)
        background_renounce(btree); /* commits run the checkpoints */
    else
        background_announce(btree);
}

/* Somebody must sync what a process leaves behind that dies (rule 23). So whoever finds others has
 * the thread from the first moment. Who is the first needs it only when others come, and those do
 * without until it has one: a thread is a fifth of an open, a get and a close. */
void background_begin(struct btree *btree)
{
    enum { FEW_TRANSACTIONS = 8 };
    if (!background_is_allowed(btree))
        return;
    if (!btree->attachment.is_first) {
        background_start(btree);
        return;
    }
    atomic_store(&btree->background_after, FEW_TRANSACTIONS);
    atomic_store(&btree->head->threadless, btree->attachment.self);
}

void background_approach(struct btree *btree)
{
    uint32_t left = atomic_load(&btree->background_after);
    bool is_alone = !atomic_load(&btree->head->joins);
    if (left > 1 && is_alone)
        (void)atomic_compare_exchange_strong(&btree->background_after, &left, left - 1);
    else if (left)
        background_start(btree);
}

void background_stop(struct btree *btree)
{
    if (btree->head)
        background_announce(btree);
    if (!atomic_load(&btree->has_background))
        return;
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->background_stops = true;
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
    os_thread_join(&btree->background);
    atomic_store(&btree->has_background, 0);
    btree->background_stops = false;
}
