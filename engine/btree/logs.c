/* SPDX-License-Identifier: MIT */
/* The redo log of the store: two files, used in turn. Commits append to the active one; a
 * checkpoint makes the other one active under the next epoch and, once its meta is durable, the
 * first one's content is history.
 *
 * Why recycling is sound here: log sequence numbers never restart, a record names its epoch, offset
 * and predecessor, and the meta names the epoch and offset that replay begins at, so that nothing
 * an older epoch left behind can follow a newer record.
 *
 * Lock order: sync_mutex before mutex; the writer's gate before both.
 */
#include "btree_internal.h"

#include <stdio.h>

sombra_err logs_init(struct logs *logs, struct btree *btree)
{
    *logs = (struct logs){ .btree = btree };
    sombra_err err = os_mutex_init(&logs->mutex);
    if (err)
        return err;
    err = os_mutex_init(&logs->sync_mutex);
    if (err) {
        os_mutex_release(&logs->mutex);
        return err;
    }
    err = os_condition_init(&logs->synced);
    if (err) {
        os_mutex_release(&logs->sync_mutex);
        os_mutex_release(&logs->mutex);
        return err;
    }
    logs->last_sync_ns = os_monotonic_ns(btree->os);
    return SOMBRA_OK;
}

void logs_release(struct logs *logs)
{
    if (!logs->btree)
        return;
    for (unsigned half = 0; half < LOG_HALVES; half++)
        wal_close(logs->halves[half]);
    os_condition_release(&logs->synced);
    os_mutex_release(&logs->sync_mutex);
    os_mutex_release(&logs->mutex);
    *logs = (struct logs){ 0 };
}

char *logs_path(const struct btree *btree, unsigned half)
{
    size_t bytes = strlen(btree->path) + sizeof "-log0";
    char *path = mem_alloc(bytes);
    if (path)
        snprintf(path, bytes, "%s-log%u", btree->path, half);
    return path;
}

static void bytes_refresh(struct logs *logs)
{
    uint64_t bytes = 0;
    for (unsigned half = 0; half < LOG_HALVES; half++)
        if (logs->halves[half])
            bytes += wal_file_bytes(logs->halves[half]);
    atomic_store_explicit(&logs->bytes, bytes, memory_order_relaxed);
}

static sombra_err half_create(struct logs *logs, unsigned half)
{
    struct btree *btree = logs->btree;
    char *path = logs_path(btree, half);
    if (!path)
        return diag_nomem("the log's path", strlen(btree->path));
    sombra_err err =
        wal_create(btree->os, path, btree->options.mode, LOG_FIRST_BYTES, &logs->halves[half]);
    /* One that a clean close or a recovery left behind. Its size may be page cache that a failed
     * sync lost, so it is not used again. */
    if (err == SOMBRA_EXISTS) {
        err = os_unlink(btree->os, path);
        if (!err)
            err = wal_create(btree->os, path, btree->options.mode, LOG_FIRST_BYTES,
                             &logs->halves[half]);
    }
    mem_free(path);
    return err;
}

sombra_err logs_create(struct logs *logs, uint64_t epoch)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned half = 0; half < LOG_HALVES && !err; half++)
        if (!logs->halves[half])
            err = half_create(logs, half);
    if (!err)
        err = wal_restart(logs->halves[0], epoch, 0);
    if (err)
        return diag_wrap(err, "make the log");
    logs->active = 0;
    logs->epoch = epoch;
    struct snapshot newest;
    head_newest(logs->btree->head, &newest);
    logs->appended_lsn = newest.lsn;
    for (unsigned half = 0; half < LOG_HALVES; half++)
        logs->last_lsn[half] = newest.lsn;
    bytes_refresh(logs);
    return SOMBRA_OK;
}

sombra_err logs_unlink(struct logs *logs)
{
    sombra_err err = SOMBRA_OK;
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

/* The log may outgrow the size that starts a checkpoint while one is running: up to this. */
static uint64_t half_bytes_max(const struct logs *logs)
{
    const struct btree_options *options = &logs->btree->options;
    return 4 * (options->checkpoint_log_bytes + options->wal_bypass_bytes) + LOG_FIRST_BYTES;
}

sombra_err logs_reserve(struct logs *logs, uint64_t payload_bytes, bool syncs_soon)
{
    struct wal *wal = logs->halves[logs->active];
    uint64_t bytes = wal_file_bytes(wal);
    sombra_err err = wal_use_window(wal, !syncs_soon && !logs->btree->pager.is_buffered);
    if (!err)
        err = wal_reserve(wal, payload_bytes, half_bytes_max(logs));
    if (UNLIKELY(wal_file_bytes(wal) != bytes))
        bytes_refresh(logs);
    return err;
}

sombra_err logs_append(struct logs *logs, uint64_t lsn, const struct os_iovec *parts, size_t count)
{
    assert(lsn == logs->appended_lsn + 1 || logs->appended_lsn < lsn);
    uint64_t durable = atomic_load(&logs->btree->head->durable_lsn);
    sombra_err err = wal_append(logs->halves[logs->active], lsn, durable, parts, count);
    if (err) {
        head_poison(logs->btree->head);
        return diag_wrap(err, "append to the log, outcome unknown");
    }
    os_mutex_lock(&logs->mutex);
    logs->appended_lsn = lsn;
    logs->last_lsn[logs->active] = lsn;
    os_mutex_unlock(&logs->mutex);
    return SOMBRA_OK;
}

void logs_raise_durable(struct logs *logs, uint64_t lsn)
{
    _Atomic uint64_t *durable = &logs->btree->head->durable_lsn;
    uint64_t seen = atomic_load(durable);
    while (seen < lsn && !atomic_compare_exchange_weak(durable, &seen, lsn))
        ;
}

/* By the one thread that set is_syncing. What is appended is sampled before the sync, never after.
 */
static sombra_err halves_sync(struct logs *logs)
{
    os_mutex_lock(&logs->mutex);
    unsigned active = logs->active;
    uint64_t appended = logs->appended_lsn;
    uint64_t other = logs->last_lsn[1 - active];
    os_mutex_unlock(&logs->mutex);
    uint64_t durable = atomic_load(&logs->btree->head->durable_lsn);
    sombra_err err = SOMBRA_OK;
    /* The order of commits is kept: the older half first, if it has unsynced records. */
    if (other > durable)
        err = wal_sync(logs->halves[1 - active]);
    if (!err && appended > durable)
        err = wal_sync(logs->halves[active]);
    if (!err)
        logs_raise_durable(logs, appended);
    return err;
}

sombra_err logs_sync(struct logs *logs, uint64_t lsn)
{
    struct head *head = logs->btree->head;
    /* In this order: a commit that is not durable yet was published after the log was made, but
     * another thread may be making it now. */
    if (atomic_load(&head->durable_lsn) >= lsn || !logs->halves[0])
        return SOMBRA_OK;
    sombra_err err = SOMBRA_OK;
    os_mutex_lock(&logs->sync_mutex);
    /* Whom the running sync covers leaves with it, whoever syncs next: in a queue at a mutex they
     * would stay until it is theirs. */
    while (logs->is_syncing && atomic_load(&head->durable_lsn) < lsn)
        (void)os_condition_wait(&logs->synced, &logs->sync_mutex, UINT64_MAX);
    if (atomic_load(&head->durable_lsn) < lsn) {
        logs->is_syncing = true;
        os_mutex_unlock(&logs->sync_mutex);
        err = head_check_writable(head);
        if (!err)
            err = halves_sync(logs);
        if (err)
            head_poison(head);
        os_mutex_lock(&logs->sync_mutex);
        logs->last_sync_ns = os_monotonic_ns(logs->btree->os);
        logs->is_syncing = false;
        os_condition_broadcast(&logs->synced);
    }
    os_mutex_unlock(&logs->sync_mutex);
    return diag_wrap(err, "sync the log: outcome of the commit unknown");
}

sombra_err logs_switch(struct logs *logs)
{
    unsigned next = 1 - logs->active;
    struct wal_position end = wal_position(logs->halves[logs->active]);
    sombra_err err = wal_restart(logs->halves[next], logs->epoch + 1, end.link);
    if (err) {
        head_poison(logs->btree->head);
        return diag_wrap(err, "begin the other half of the log");
    }
    os_mutex_lock(&logs->mutex);
    logs->active = next;
    logs->epoch++;
    os_mutex_unlock(&logs->mutex);
    bytes_refresh(logs);
    return SOMBRA_OK;
}

struct wal_position logs_position(const struct logs *logs)
{
    return wal_position(logs->halves[logs->active]);
}

void logs_cover(struct logs *logs, uint64_t lsn)
{
    os_mutex_lock(&logs->mutex);
    logs->appended_lsn = lsn;
    for (unsigned half = 0; half < LOG_HALVES; half++)
        logs->last_lsn[half] = lsn;
    os_mutex_unlock(&logs->mutex);
    logs_raise_durable(logs, lsn);
}

uint64_t logs_bytes(const struct logs *logs)
{
    return atomic_load_explicit(&logs->bytes, memory_order_relaxed);
}
