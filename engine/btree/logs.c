/* SPDX-License-Identifier: MIT */
/* The redo log of the store: two files, used in turn. Commits append to the active one; a
 * checkpoint makes the other one active under the next epoch and, once its meta is durable, the
 * first one's content is history.
 *
 * Why recycling is sound here: log sequence numbers never restart, a record names its epoch, offset
 * and predecessor, and the meta names the epoch and offset that replay begins at, so that nothing
 * an older epoch left behind can follow a newer record.
 *
 * What every process must know of the log stands in the head: the end of it in each published
 * descriptor, the newest record of each half, what is durable.
 */
#include "btree_internal.h"

static uint64_t durable_lsn(void *context)
{
    const struct logs *logs = context;
    return atomic_load(&logs->btree->head->durable_lsn);
}

static uint64_t newest_lsn(void *context)
{
    const struct logs *logs = context;
    struct snapshot newest;
    head_newest(logs->btree->head, &newest);
    return newest.lsn;
}

static sombra_err sync_check(void *context)
{
    const struct logs *logs = context;
    return head_check_writable(logs->btree->head);
}

static sombra_err sync_run(void *context);

static const struct wal_group_ops group_ops = {
    .durable_lsn = durable_lsn,
    .newest_lsn = newest_lsn,
    .check = sync_check,
    .sync = sync_run,
};

sombra_err logs_init(struct logs *logs, struct btree *btree)
{
    *logs = (struct logs){ .btree = btree };
    sombra_err err = os_mutex_init(&logs->open_mutex);
    if (err)
        return err;
    err = wal_group_init(&logs->group, &group_ops, logs);
    if (err)
        os_mutex_release(&logs->open_mutex);
    atomic_store(&logs->last_sync_ns, os_monotonic_ns(btree->os));
    return err;
}

void logs_release(struct logs *logs)
{
    if (!logs->btree)
        return;
    for (unsigned half = 0; half < LOG_HALVES; half++)
        wal_close(logs->halves[half]);
    wal_group_release(&logs->group);
    os_mutex_release(&logs->open_mutex);
    *logs = (struct logs){ 0 };
}

char *logs_path(const struct btree *btree, unsigned half)
{
    return path_with(btree->path, half ? "-log1" : "-log0");
}

/* By the writer, or under open_mutex where another thread may open the logs. */
static void bytes_refresh(struct logs *logs)
{
    uint64_t bytes = 0;
    for (unsigned half = 0; half < LOG_HALVES; half++)
        if (logs->halves[half])
            bytes += wal_file_bytes(logs->halves[half]);
    atomic_store_explicit(&logs->bytes, bytes, memory_order_relaxed);
}

/* ---- the files --------------------------------------------------------------------------- */

/* Both have their first space from the beginning: a switch that found none for the other half would
 * end all commits on a full disk, of deletes too. */
static sombra_err half_create(struct logs *logs, unsigned half)
{
    struct btree *btree = logs->btree;
    char *path = logs_path(btree, half);
    if (!path)
        return diag_nomem("the log's path", strlen(btree->path));
    sombra_err err = wal_create_unsynced(btree->os, path, btree->options.mode, LOG_FIRST_BYTES,
                                         &logs->halves[half]);
    /* One that a clean close or a recovery left behind. Its size may be page cache that a failed
     * sync lost, so it is not used again. */
    if (err == SOMBRA_EXISTS) {
        err = os_unlink(btree->os, path);
        if (!err)
            err = wal_create_unsynced(btree->os, path, btree->options.mode, LOG_FIRST_BYTES,
                                      &logs->halves[half]);
    }
    if (!err)
        wal_use_short_records(logs->halves[half]);
    mem_free(path);
    return err;
}

/* Those of which the disk may not have the names are made anew the next time. */
static void halves_drop(struct logs *logs)
{
    for (unsigned half = 0; half < LOG_HALVES; half++) {
        wal_close(logs->halves[half]);
        logs->halves[half] = NULL;
    }
}

sombra_err logs_create(struct logs *logs, uint64_t epoch)
{
    sombra_err err = SOMBRA_OK;
    halves_drop(logs);
    for (unsigned half = 0; half < LOG_HALVES && !err; half++)
        err = half_create(logs, half);
    if (!err)
        err = wal_restart(logs->halves[0], epoch, 0);
    if (err) {
        halves_drop(logs);
        return diag_wrap(err, "make the log");
    }
    logs->active = 0;
    logs->epoch = epoch;
    struct head *head = logs->btree->head;
    struct snapshot newest;
    head_newest(head, &newest);
    for (unsigned half = 0; half < LOG_HALVES; half++)
        atomic_store(&head->half_last_lsn[half], newest.lsn);
    bytes_refresh(logs);
    return SOMBRA_OK;
}

sombra_err logs_open(struct logs *logs)
{
    struct btree *btree = logs->btree;
    sombra_err err = SOMBRA_OK;
    for (unsigned half = 0; half < LOG_HALVES && !err; half++) {
        if (logs->halves[half])
            continue;
        char *path = logs_path(btree, half);
        if (!path)
            return diag_nomem("the log's path", strlen(btree->path));
        err = wal_open(btree->os, path, btree->options.is_readonly, &logs->halves[half]);
        if (!err)
            wal_use_short_records(logs->halves[half]);
        if (err == SOMBRA_NOT_FOUND)
            err = diag_fail(
                SOMBRA_CORRUPT,
                "%s is missing: %s was not closed, and its newest commits are in that log; "
                "put it back",
                path, btree->path);
        mem_free(path);
    }
    return err;
}

bool logs_are_open(struct logs *logs)
{
    os_mutex_lock(&logs->open_mutex);
    bool are_open = logs->halves[0] && logs->halves[1];
    os_mutex_unlock(&logs->open_mutex);
    return are_open;
}

sombra_err logs_open_if_any(struct logs *logs)
{
    if (!atomic_load(&logs->btree->head->has_logs))
        return SOMBRA_OK;
    os_mutex_lock(&logs->open_mutex);
    sombra_err err = logs_open(logs);
    os_mutex_unlock(&logs->open_mutex);
    return err;
}

sombra_err logs_check_name(const struct btree *btree, bool *out_is_replaced)
{
    struct os_identity named;
    sombra_err err = os_identify_path(btree->os, btree->path, &named);
    if (!err)
        *out_is_replaced = !os_identity_is_same(&named, &btree->identity);
    return err;
}

sombra_err logs_unlink(struct logs *logs)
{
    bool is_replaced = false;
    sombra_err err = logs_check_name(logs->btree, &is_replaced);
    if (is_replaced)
        return diag_fail(SOMBRA_CONFLICT,
                         "%s was replaced while it was open: the file that has the name now, and "
                         "its log, are left alone",
                         logs->btree->path);
    if (err == SOMBRA_NOT_FOUND)
        err = SOMBRA_OK; /* it was moved, and its logs were not */
    for (unsigned half = 0; half < LOG_HALVES && !err; half++) {
        wal_close(logs->halves[half]);
        logs->halves[half] = NULL;
        char *path = logs_path(logs->btree, half);
        if (!path)
            return diag_nomem("the log's path", strlen(logs->btree->path));
        err = os_unlink(logs->btree->os, path);
        if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK;
        mem_free(path);
    }
    bytes_refresh(logs);
    return diag_wrap(err, "remove the log");
}

sombra_err logs_take_turn(struct logs *logs, const struct snapshot *newest)
{
    logs->active = snapshot_half(newest);
    logs->epoch = newest->log_epoch;
    return diag_wrap(wal_cut(logs->halves[logs->active], snapshot_position(newest), newest->lsn),
                     "take over the log");
}

/* ---- append ------------------------------------------------------------------------------ */

/* The log may outgrow the size that starts a checkpoint while one is running: up to what this says.
 * Others who write may start theirs later: who asked for less takes over what they logged, and
 * could commit nothing, nor come to a checkpoint. So the limit of whom has most is that of all. */
void logs_allow(struct logs *logs)
{
    const struct btree *btree = logs->btree;
    uint64_t begins_at = u64_max(btree->checkpoint_log_max, CHECKPOINT_LOG_BYTES_MAX);
    uint64_t own = 4 * (begins_at + btree->options.wal_bypass_bytes) + LOG_FIRST_BYTES;
    _Atomic uint64_t *most = &btree->head->log_bytes_max;
    uint64_t before = atomic_load(most);
    while (before < own && !atomic_compare_exchange_weak(most, &before, own))
        ;
}

/* A log that must grow for the record is synced, and that sync as well must be known to have been
 * on the way if its process dies in it. */
static bool growth_begin(struct logs *logs, const struct wal *wal, uint64_t payload_bytes)
{
    bool grows = wal_position(wal).offset + wal_record_bytes(payload_bytes) > wal_file_bytes(wal);
    if (UNLIKELY(grows))
        shared_sync_begin(logs->btree);
    return grows;
}

static void growth_end(struct logs *logs, const struct wal *wal, bool grows, sombra_err err)
{
    bool has_failed = err && wal_has_failed(wal);
    if (UNLIKELY(grows)) {
        shared_sync_end(logs->btree, has_failed ? err : SOMBRA_OK);
        bytes_refresh(logs);
    } else if (has_failed) {
        head_poison(logs->btree);
    }
}

sombra_err logs_reserve(struct logs *logs, uint64_t payload_bytes, bool syncs_soon)
{
    struct wal *wal = logs->halves[logs->active];
    sombra_err err =
        wal_use_window(wal, !syncs_soon && !pager_has_mode(&logs->btree->pager, PAGER_BUFFERED));
    bool grows = growth_begin(logs, wal, payload_bytes);
    if (!err)
        err = wal_reserve(
            wal, payload_bytes,
            atomic_load_explicit(&logs->btree->head->log_bytes_max, memory_order_relaxed));
    growth_end(logs, wal, grows, err);
    return err;
}

sombra_err logs_append(struct logs *logs, uint64_t lsn, const struct os_iovec *parts, size_t count)
{
    struct head *head = logs->btree->head;
    struct wal *wal = logs->halves[logs->active];
    uint64_t from = wal_position(wal).offset;
    sombra_err err = wal_append(wal, lsn, atomic_load(&head->durable_lsn), parts, count);
    if (err) {
        head_poison(logs->btree);
        return diag_wrap(err, "append to the log, outcome unknown");
    }
    kv_metrics_add_alone(&logs->btree->metrics, KV_COUNTER_LOG_BYTES,
                         wal_position(wal).offset - from);
    /* Who asks learns of the commit by the head that is published after it. */
    atomic_store_explicit(&head->half_last_lsn[logs->active], lsn, memory_order_relaxed);
    if (UNLIKELY(pager_has_mode(&logs->btree->pager, PAGER_SHORT)))
        wal_let_go(logs->halves[logs->active]);
    return SOMBRA_OK;
}

sombra_err logs_append_mark(struct logs *logs, uint64_t last_lsn, uint64_t durable_lsn)
{
    struct wal *wal = logs->halves[logs->active];
    bool grows = growth_begin(logs, wal, 0);
    sombra_err err = wal_append_mark(wal, last_lsn, durable_lsn);
    growth_end(logs, wal, grows, err);
    if (!err)
        kv_metrics_add_alone(&logs->btree->metrics, KV_COUNTER_LOG_BYTES, wal_record_bytes(0));
    return err;
}

/* ---- sync -------------------------------------------------------------------------------- */

void logs_raise_durable(struct logs *logs, uint64_t lsn)
{
    _Atomic uint64_t *durable = &logs->btree->head->durable_lsn;
    uint64_t seen = atomic_load(durable);
    while (seen < lsn && !atomic_compare_exchange_weak(durable, &seen, lsn))
        ;
}

void logs_cover(struct logs *logs, uint64_t lsn)
{
    for (unsigned half = 0; half < LOG_HALVES; half++)
        atomic_store(&logs->btree->head->half_last_lsn[half], lsn);
    logs_raise_durable(logs, lsn);
}

static sombra_err half_sync(struct logs *logs, unsigned half)
{
    struct kv_metrics *metrics = &logs->btree->metrics;
    uint64_t begin_ns = os_monotonic_ns(logs->btree->os);
    sombra_err err = wal_sync(logs->halves[half]);
    if (!err) {
        kv_metrics_add(metrics, KV_COUNTER_LOG_SYNCS, 1);
        kv_metrics_time(metrics, KV_HISTOGRAM_SYNC_NS, os_monotonic_ns(logs->btree->os) - begin_ns);
    }
    return err;
}

/* What is appended is sampled before the sync, never after. */
static sombra_err halves_sync(struct logs *logs)
{
    struct head *head = logs->btree->head;
    struct snapshot newest;
    head_newest(head, &newest);
    unsigned active = snapshot_half(&newest);
    uint64_t durable = atomic_load(&head->durable_lsn);
    sombra_err err = SOMBRA_OK;
    /* The order of commits is kept: the older half first, if it has unsynced records. */
    if (!err && atomic_load(&head->half_last_lsn[1 - active]) > durable)
        err = half_sync(logs, 1 - active);
    if (!err && newest.lsn > durable)
        err = half_sync(logs, active);
    if (!err)
        logs_raise_durable(logs, newest.lsn);
    return err;
}

/* One thread at a time (wal_group). */
static sombra_err sync_run(void *context)
{
    struct logs *logs = context;
    os_mutex_lock(&logs->open_mutex);
    sombra_err err = logs_open(logs);
    os_mutex_unlock(&logs->open_mutex);
    if (err)
        return err;
    shared_sync_begin(logs->btree);
    err = halves_sync(logs);
    shared_sync_end(logs->btree, err);
    atomic_store(&logs->last_sync_ns, os_monotonic_ns(logs->btree->os));
    return err;
}

sombra_err logs_sync(struct logs *logs, uint64_t lsn)
{
    return diag_wrap(wal_group_sync(&logs->group, lsn),
                     "sync the log: outcome of the commit unknown");
}

/* ---- halves ------------------------------------------------------------------------------ */

sombra_err logs_switch(struct logs *logs)
{
    struct head *head = logs->btree->head;
    unsigned next = 1 - logs->active;
    struct wal_position end = wal_position(logs->halves[logs->active]);
    sombra_err err = wal_restart(logs->halves[next], logs->epoch + 1, end.link);
    if (err) {
        head_poison(logs->btree);
        return diag_wrap(err, "begin the other half of the log");
    }
    atomic_store(&head->half_end[logs->active], end.offset);
    logs->active = next;
    logs->epoch++;
    return SOMBRA_OK;
}

struct wal_position logs_position(const struct logs *logs)
{
    return wal_position(logs->halves[logs->active]);
}

uint64_t logs_bytes(const struct logs *logs)
{
    return atomic_load_explicit(&logs->bytes, memory_order_relaxed);
}
