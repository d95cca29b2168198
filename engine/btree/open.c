/* SPDX-License-Identifier: MIT */
/* The life of a store: creation, open, close.
 */
#include "upkeep.h"

enum {
    PAGE_BYTES_DEFAULT = 8192,
    SYNC_INTERVAL_MS_DEFAULT = 100,
    GROUP_WAIT_US_DEFAULT = 100,
    TXN_GAP =
        1 << 20, /* numbers burnt by a recovery: pages of lost transactions carry lower ones */
};
#define CHECKPOINT_LOG_BYTES_DEFAULT (64 * MiB)
#define WAL_BYPASS_BYTES_DEFAULT     (16 * MiB)
#define TXN_MEMORY_MAX_DEFAULT       (64 * MiB)

/* ---- options ----------------------------------------------------------------------------- */

static sombra_err options_complete(const struct btree_options *given, struct btree_options *out)
{
    *out = given ? *given : (struct btree_options){ 0 };
    if (!out->page_bytes)
        out->page_bytes = PAGE_BYTES_DEFAULT;
    if (out->page_bytes < PAGE_BYTES_MIN || out->page_bytes > PAGE_BYTES_MAX ||
        (out->page_bytes & (out->page_bytes - 1)))
        return diag_fail(SOMBRA_INVALID, "page size %zu: a power of two from %d to %d is needed",
                         out->page_bytes, PAGE_BYTES_MIN, PAGE_BYTES_MAX);
    if (!out->mode)
        out->mode = 0600;
    if (out->durability == KV_DURABILITY_STORE)
        out->durability = KV_FULL;
    if (!out->sync_interval_ms)
        out->sync_interval_ms = SYNC_INTERVAL_MS_DEFAULT;
    if (!out->group_wait_us)
        out->group_wait_us = GROUP_WAIT_US_DEFAULT;
    if (!out->checkpoint_log_bytes)
        out->checkpoint_log_bytes = CHECKPOINT_LOG_BYTES_DEFAULT;
    if (!out->wal_bypass_bytes)
        out->wal_bypass_bytes = WAL_BYPASS_BYTES_DEFAULT;
    if (out->txn_memory_max)
        out->wal_bypass_bytes = u64_min(out->wal_bypass_bytes, out->txn_memory_max);
    else
        out->txn_memory_max = TXN_MEMORY_MAX_DEFAULT;
    if (out->wal_bypass_bytes > GiB || out->checkpoint_log_bytes > 64 * GiB)
        return diag_fail(
            SOMBRA_INVALID,
            "wal_bypass_bytes is at most 1 GiB and checkpoint_log_bytes at most 64 GiB");
    return SOMBRA_OK;
}

/* ---- the parts in memory ------------------------------------------------------------------ */

static void btree_free(struct btree *btree)
{
    if (!btree)
        return;
    logs_release(&btree->logs);
    space_release(&btree->space);
    pager_release(&btree->pager);
    shared_detach(btree, false);
    os_mutex_release(&btree->attachment.blocks_mutex);
    btree_txn_free(btree->writer);
    for (size_t i = 0, left = atomic_load(&btree->reader_count); i < HEAD_SLOTS && left; i++) {
        left -= btree->readers[i] != NULL;
        btree_txn_free(btree->readers[i]);
    }
    for (size_t i = 0; i < SCRATCH_PAGES; i++)
        mem_free(btree->scratch[i]);
    mem_free(btree->split);
    os_condition_release(&btree->checkpoint_changed);
    os_mutex_release(&btree->checkpoint_mutex);
    gate_release(&btree->gate);
    os_close(btree->file);
    mem_free(btree->path);
    mem_free(btree);
}

static sombra_err locks_init(struct btree *btree)
{
    sombra_err err = gate_init(&btree->gate);
    if (!err)
        err = os_mutex_init(&btree->checkpoint_mutex);
    if (!err)
        err = os_condition_init(&btree->checkpoint_changed);
    if (!err)
        err = os_mutex_init(&btree->attachment.blocks_mutex);
    return err;
}

/* A store without its file: *out_btree is for btree_free whatever happens next. */
static sombra_err btree_new(struct os *os, const struct btree_options *options,
                            struct btree **out_btree)
{
    struct btree *btree = mem_zalloc(sizeof *btree);
    if (!btree)
        return diag_nomem("a store", sizeof *btree);
    btree->kv = (struct kv){ .ops = &btree_ops, .metrics = &btree->metrics };
    btree->os = os;
    btree->options = *options;
    btree->rest_ms = COMPACT_REST_MS;
    sombra_err err = locks_init(btree);
    if (err) {
        mem_free(btree);
        return err;
    }
    btree->writer = mem_zalloc(sizeof *btree->writer);
    btree->split = mem_zalloc(sizeof *btree->split);
    if (!btree->writer || !btree->split)
        err = diag_nomem("a store", sizeof *btree->writer + sizeof *btree->split);
    if (!err)
        err = logs_init(&btree->logs, btree);
    if (err) {
        btree_free(btree);
        return err;
    }
    *out_btree = btree;
    return SOMBRA_OK;
}

static sombra_err scratch_alloc(struct btree *btree)
{
    for (size_t i = 0; i < SCRATCH_PAGES; i++) {
        btree->scratch[i] = mem_alloc_aligned(64, btree->pager.page_bytes);
        if (!btree->scratch[i])
            return diag_nomem("scratch pages", btree->pager.page_bytes);
        memset(btree->scratch[i], 0, btree->pager.page_bytes);
    }
    return SOMBRA_OK;
}

/* The first process of all makes the newest state known. */
static void head_begin(struct btree *btree, struct snapshot snapshot)
{
    struct head *head = btree->head;
    if (btree->file)
        snapshot_set_position(&snapshot, btree->meta.log, btree->meta.log_half);
    atomic_store(&head->durable_lsn, snapshot.lsn);
    atomic_store(&head->pinned_meta, btree->file ? snapshot.txn : 0);
    atomic_store(&head->durable_meta, btree->meta.sequence << 1 | btree->meta_slot);
    atomic_store(&head->next_txn, snapshot.txn + 1);
    head_publish(head, &snapshot);
}

/* ---- opening the file -------------------------------------------------------------------- */

/* A crash between giving a new file its name and taking the other one away leaves two names: takes
 * it away. */
static sombra_err names_check(struct btree *btree)
{
    if (btree->identity.links == 1)
        return SOMBRA_OK;
    char *temporary = path_with(btree->path, "-new");
    if (!temporary)
        return diag_nomem("a path", strlen(btree->path));
    struct os_identity other;
    sombra_err err = os_identify_path(btree->os, temporary, &other);
    if (!err && os_identity_is_same(&other, &btree->identity) && !btree->options.is_readonly)
        err = os_unlink(btree->os, temporary);
    mem_free(temporary);
    if (!err || err == SOMBRA_NOT_FOUND)
        err = os_identify(btree->file, &btree->identity);
    if (!err && btree->identity.links > 1)
        err = diag_fail(SOMBRA_INVALID,
                        "%s has %" PRIu64 " names (hard links): each would have its own log; "
                        "remove the others",
                        btree->path, btree->identity.links);
    return err;
}

/* Opens and locks the file, making it if asked. The lock is on the file that has the name now.
 * *out_shared is the store of the same file, if this process has it open; there is no lock then. */
static sombra_err file_open(struct btree *btree, struct os_claim *claim,
                            struct os_registered **out_shared)
{
    const struct btree_options *options = &btree->options;
    enum { TRIES = 16 };
    for (int i = 0; i < TRIES; i++) {
        os_close(btree->file);
        btree->file = NULL;
        unsigned flags = options->is_readonly ? OS_READ : OS_WRITE;
        sombra_err err = os_open(btree->os, btree->path, flags | OS_RANDOM, 0, &btree->file);
        if (err == SOMBRA_NOT_FOUND && options->create && !options->is_readonly) {
            err = file_create(btree);
            if (!err || err == SOMBRA_EXISTS)
                continue;
        }
        if (err == SOMBRA_NOT_FOUND && !options->create)
            return diag_wrap(err, "no such database (option create makes one)");
        if (err)
            return err;
        err = os_identify(btree->file, &btree->identity);
        bool waited = false;
        if (!err)
            err = os_claim_identity(claim, &btree->identity, !options->is_readonly, out_shared,
                                    &waited);
        if (!err && waited)
            continue; /* another of its names was opened or closed */
        if (!err && !*out_shared)
            err = network_refuse(btree, btree->file);
        if (err || *out_shared)
            return err;
        err = shared_attach(btree, options->busy_timeout_ms);
        if (err)
            return err;
        struct os_identity named;
        err = os_identify_path(btree->os, btree->path, &named);
        if (!err && os_identity_is_same(&named, &btree->identity))
            return names_check(btree);
        shared_detach(btree, false);
        if (err && err != SOMBRA_NOT_FOUND)
            return err;
    }
    return diag_fail(SOMBRA_BUSY, "%s is being replaced again and again", btree->path);
}

static sombra_err meta_read(struct btree *btree)
{
    uint64_t bytes = 0;
    bool is_settled = false;
    sombra_err err = os_size(btree->file, &bytes);
    if (!err && bytes < META_AREA_BYTES)
        err = diag_fail(SOMBRA_INVALID, "%s: not a sombra database: %" PRIu64 " bytes are too few",
                        btree->path, bytes);
    if (!err)
        err = meta_choose(btree->file, &btree->meta, &btree->meta_slot, &is_settled);
    if (err)
        return err;
    btree->settled_sequence = is_settled ? btree->meta.sequence : 0;
    const struct snapshot *snapshot = &btree->meta.snapshot;
    if (snapshot->page_count > bytes / btree->meta.page_bytes)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: the file has %" PRIu64 " bytes and should have %" PRIu64
                         " pages of %" PRIu32 ": it was cut short",
                         btree->path, bytes, snapshot->page_count, btree->meta.page_bytes);
    return SOMBRA_OK;
}

/* ---- open -------------------------------------------------------------------------------- */

/* What is read counts as durable. That of a process that died in its last sync, or whose last sync
 * failed, may be page cache: it is saved first. */
static sombra_err clean_begin(struct btree *btree)
{
    sombra_err err = logs_check_clean(btree);
    if (err || meta_is_settled(btree))
        return err;
    if (btree->options.is_readonly) {
        err = os_sync(btree->file);
        return err == SOMBRA_IO ? err : SOMBRA_OK; /* where nothing can be synced, nobody wrote */
    }
    err = base_restore(btree);
    if (!err)
        btree->settled_sequence = btree->meta.sequence;
    return err;
}

static sombra_err store_start(struct btree *btree)
{
    bool is_first = btree->attachment.is_first;
    sombra_err err = SOMBRA_OK;
    if (btree->file)
        err =
            is_first ? meta_read(btree) : meta_read_durable(btree, &btree->meta, &btree->meta_slot);
    if (err)
        return err;
    size_t page_bytes = btree->file ? btree->meta.page_bytes : btree->options.page_bytes;
    err = pager_open(&btree->pager, btree->os, btree->file, page_bytes, &btree->options);
    if (!err && btree->file &&
        btree->meta.snapshot.page_count > btree->pager.map_bytes >> btree->pager.page_shift)
        err = diag_fail(
            SOMBRA_LIMIT,
            "%s is larger than the %zu MiB of address space reserved (option map_bytes_max)",
            btree->path, btree->pager.map_bytes / MiB);
    if (!err)
        err = scratch_alloc(btree);
    if (err)
        return err;
    if (!btree->options.is_readonly)
        logs_allow(&btree->logs);
    space_init(&btree->space, btree);
    btree->pager.head = btree->head;
    memory_weigh_late(btree, btree->meta.snapshot.page_count);
    atomic_store(&btree->pages_free, btree->meta.pages_free);
    atomic_store(&btree->pages_pending, btree->meta.pages_pending);
    if (!is_first)
        return SOMBRA_OK;
    struct snapshot snapshot = btree->meta.snapshot;
    if (!btree->file)
        snapshot = (struct snapshot){ .txn = 1, .page_count = btree->space.first_page };
    head_begin(btree, snapshot);
    if (!btree->file)
        return SOMBRA_OK;
    if (btree->meta.log_state != META_LOG_IN_USE)
        return clean_begin(btree);
    if (btree->options.is_readonly)
        return diag_fail(SOMBRA_READONLY,
                         "%s was not closed: open it once for writing, so that it is recovered",
                         btree->path);
    return diag_wrap(btree_recover(btree), "recover %s", btree->path);
}

static void open_undo(struct btree *btree)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    background_stop(btree);
    shared_detach(btree, btree->attachment.is_first); /* under the open lock: nobody else has it */
    btree_free(btree);
    diag_restore(text);
}

/* With the claim to its path. */
static sombra_err open_claimed(struct btree *btree, struct os_claim *claim,
                               struct os_registered **out_shared)
{
    sombra_err err = btree->path ? file_open(btree, claim, out_shared) : shared_private(btree);
    if (err || *out_shared)
        return err;
    err = store_start(btree);
    if (err)
        return err;
    background_begin(btree);
    shared_open_done(btree);
    return SOMBRA_OK;
}

static sombra_err check_idle(struct os_registered *entry)
{
    const struct btree *btree = container_of(entry, struct btree, registered);
    if (atomic_load(&btree->transactions_open) == 0)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_BUSY, "%s has open transactions: end them first", entry->path);
}

/* Nothing reads the files any more: the maps are not the child's either. */
static void fork_child(struct os_registered *entry)
{
    struct btree *btree = container_of(entry, struct btree, registered);
    atomic_store(&btree->is_forked, 1);
    if (!btree->file || btree->os != os_posix())
        return;
    os_close(btree->attachment.file);
    os_close(btree->file);
    btree->attachment.file = btree->file = NULL;
}

static struct os_registered *as_registered(struct btree *btree)
{
    btree->registered = (struct os_registered){ .os = btree->os,
                                                .path = btree->path ? btree->path : BTREE_MEMORY,
                                                .identity = btree->file ? &btree->identity : NULL,
                                                .is_readonly = btree->options.is_readonly,
                                                .check_idle = check_idle,
                                                .fork_child = fork_child };
    return &btree->registered;
}

sombra_err btree_open(struct os *os, const char *path, const struct btree_options *options,
                      struct kv **out_kv)
{
    assert(os && path && out_kv);
    struct btree_options complete;
    struct btree *btree = NULL;
    sombra_err err = options_complete(options, &complete);
    if (!err)
        err = os_registry_watch_fork();
    if (!err)
        err = btree_new(os, &complete, &btree);
    if (err)
        return diag_wrap(err, "open %s", path);
    btree->checkpoint_log_max = options && options->checkpoint_log_bytes
                                    ? complete.checkpoint_log_bytes
                                    : CHECKPOINT_LOG_BYTES_MAX;
    bool in_memory = strcmp(path, BTREE_MEMORY) == 0;
    if (!in_memory)
        err = os_resolve(os, path, &btree->path);
    struct os_claim claim;
    bool has_claim = !err && !in_memory;
    if (has_claim)
        os_claim_begin(&claim, os, btree->path);
    struct os_registered *shared = NULL;
    if (!err)
        err = open_claimed(btree, &claim, &shared);
    char *claimed_path = NULL;
    if (err || shared) { /* the claim needs it for a moment longer */
        claimed_path = btree->path;
        btree->path = NULL;
    }
    if (err)
        open_undo(btree);
    else if (shared)
        btree_free(btree);
    os_claim_end(has_claim ? &claim : NULL, err || shared ? NULL : as_registered(btree));
    mem_free(claimed_path);
    if (err)
        return diag_wrap(err, "open %s", path);
    *out_kv = shared ? &container_of(shared, struct btree, registered)->kv : &btree->kv;
    return SOMBRA_OK;
}

/* ---- close ------------------------------------------------------------------------------- */

/* A commit that needed no log has kept the pages that it freed: are they worth a whole checkpoint,
 * which cuts the file's free end off? */
static bool has_freed_much(const struct btree *btree)
{
    enum { PAGES_MIN = 16, SHARE = 8 };
    const struct space *space = &btree->space;
    return space->pending_count >= PAGES_MIN && space->pending_count >= space->page_count / SHARE;
}

/* The newest commit becomes all that the file holds, and both meta records say so. A whole
 * checkpoint makes a log for its own record where there is none: on a full disk that may fail, and
 * does without then; what the commit freed is free at the next open. */
static sombra_err store_settle(struct btree *btree)
{
    const struct head *head = btree->head;
    sombra_err err = SOMBRA_OK;
    if (atomic_load(&head->has_logs) || has_freed_much(btree)) {
        err = checkpoint_run_last(btree);
        if (!err || atomic_load(&head->has_logs) || head_check_writable(head))
            return err;
    }
    return checkpoint_repeat_meta(btree);
}

/* Everything into the one file, which then stands alone. After a failure nothing is written: the
 * log and the older checkpoint hold everything. The open lock is held, and nobody else is attached.
 */
static sombra_err store_finish(struct btree *btree, bool compacts)
{
    if (!btree->file || btree->options.is_readonly)
        return SOMBRA_OK;
    sombra_err err = head_check_writable(btree->head);
    if (err || (!atomic_load(&btree->head->has_logs) && !btree->went_beside))
        return err;
    /* If that fails, the file is only longer, or nothing more is written. */
    if (compacts && compact_closing_is_due(btree) && compact_closing(btree))
        err = head_check_writable(btree->head);
    if (!err)
        err = store_settle(btree);
    if (err)
        return err;
    uint64_t used_bytes = btree->meta.snapshot.page_count << btree->pager.page_shift;
    uint64_t file_bytes = 0;
    err = os_size(btree->file, &file_bytes);
    if (!err && file_bytes > used_bytes)
        err = os_truncate(btree->file, used_bytes);
    return err ? err : logs_unlink(&btree->logs);
}

static sombra_err store_leave(struct btree *btree, bool compacts)
{
    bool is_last;
    /* Nobody else would sync what was committed as KV_NORMAL here. */
    uint64_t lsn = atomic_load(shared_normal_lsn(btree));
    sombra_err sync_err = lsn ? logs_sync(&btree->logs, lsn) : SOMBRA_OK;
    if (!sync_err)
        atomic_store(shared_normal_lsn(btree), 0);
    sombra_err err = shared_begin_close(btree, &is_last);
    if (!err)
        err = sync_err;
    if (!err && is_last)
        err = store_finish(btree, compacts);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    shared_detach(btree, !err && is_last &&
                             !(btree->options.is_readonly && atomic_load(&btree->head->has_logs)));
    diag_restore(text);
    return err;
}

sombra_err btree_close(struct kv *kv)
{
    struct btree *btree = btree_of(kv);
    /* In a child of the process that opened it everything is the parent's: nothing is touched. */
    if (atomic_load(&btree->is_forked))
        return SOMBRA_OK;
    struct os_claim claim;
    bool is_last;
    sombra_err err = os_claim_close(&claim, &btree->registered, &is_last);
    if (err || !is_last)
        return err;
    /* No transaction is open, and none may begin: the thread cannot wait for the turn of one. */
    background_stop(btree);
    const bool compacts = !btree->options.no_background && !btree->options.no_auto_compact;
    btree->options.no_background = true; /* nor does the last checkpoint's turn start it again */
    err = diag_wrap(store_leave(btree, compacts), "close %s",
                    btree->path ? btree->path : BTREE_MEMORY);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    btree_free(btree);
    os_claim_end(&claim, NULL);
    diag_restore(text);
    return err;
}
