/* SPDX-License-Identifier: MIT */
/* The life of a store: creation, open, recovery, the first write, close.
 *
 * Recovery: the newest valid meta record is written again and synced (it may be page cache that the
 * disk never got); the log's valid prefix is replayed into pages that are free in it; a full
 * checkpoint into the other slot; only then is the log touched and a commit taken. Interrupted
 * anywhere, it begins again from the same meta.
 */
#include "btree_internal.h"

#include <stdio.h>

enum {
    PAGE_BYTES_DEFAULT = 8192,
    SYNC_INTERVAL_MS_DEFAULT = 100,
    GROUP_WAIT_US_DEFAULT = 100,
    TXN_GAP =
        1 << 20, /* numbers burnt by a recovery: pages of lost transactions carry lower ones */
};
#define CHECKPOINT_LOG_BYTES_DEFAULT (64 * MiB)
#define WAL_BYPASS_BYTES_DEFAULT     (16 * MiB)
/* Byte of the database file that says who uses it. */
#define LOCK_OFFSET (UINT64_C(1) << 62)

/* Every store that this process has open. */
static struct btree *open_stores;
static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;

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
    if (btree->head)
        os_release_anonymous(btree->head, sizeof *btree->head);
    if (btree->writer) {
        buf_release(&btree->writer->redo);
        buf_release(&btree->writer->record);
        mem_free(btree->writer->savepoints);
        mem_free(btree->writer);
    }
    for (size_t i = 0; i < SCRATCH_PAGES; i++)
        mem_free(btree->scratch[i]);
    mem_free(btree->split);
    os_condition_release(&btree->checkpoint_changed);
    os_mutex_release(&btree->checkpoint_mutex);
    os_condition_release(&btree->gate.free);
    os_mutex_release(&btree->gate.mutex);
    os_close(btree->file);
    mem_free(btree->path);
    mem_free(btree);
}

static sombra_err locks_init(struct btree *btree)
{
    sombra_err err = os_mutex_init(&btree->gate.mutex);
    if (!err)
        err = os_condition_init(&btree->gate.free);
    if (!err)
        err = os_mutex_init(&btree->checkpoint_mutex);
    if (!err)
        err = os_condition_init(&btree->checkpoint_changed);
    return err;
}

/* A store without its file: *out_btree is for btree_free whatever happens next. */
static sombra_err btree_new(struct os *os, const struct btree_options *options,
                            struct btree **out_btree)
{
    struct btree *btree = mem_zalloc(sizeof *btree);
    if (!btree)
        return diag_nomem("a store", sizeof *btree);
    btree->kv.ops = &btree_ops;
    btree->os = os;
    btree->options = *options;
    btree->references = 1;
    sombra_err err = locks_init(btree);
    if (err) {
        mem_free(btree);
        return err;
    }
    void *head = NULL;
    err = os_reserve_anonymous(sizeof *btree->head, &head);
    btree->head = head;
    if (!err) {
        btree->writer = mem_zalloc(sizeof *btree->writer);
        btree->split = mem_zalloc(sizeof *btree->split);
        if (!btree->writer || !btree->split)
            err = diag_nomem("a store", sizeof *btree->writer + sizeof *btree->split);
    }
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
    }
    return SOMBRA_OK;
}

static void head_begin(struct btree *btree, const struct snapshot *snapshot)
{
    head_publish(btree->head, snapshot);
    atomic_store(&btree->head->durable_lsn, snapshot->lsn);
    atomic_store(&btree->head->pinned_meta, btree->file ? snapshot->txn : 0);
    btree->next_txn = snapshot->txn + 1;
}

/* ---- creation ---------------------------------------------------------------------------- */

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
    return err ? err : os_sync(file);
}

static char *path_with(const char *path, const char *suffix)
{
    size_t bytes = strlen(path) + strlen(suffix) + 1;
    char *to = mem_alloc(bytes);
    if (to)
        snprintf(to, bytes, "%s%s", path, suffix);
    return to;
}

/* A name whose sync failed is taken away again: nothing that is built on it would survive, and a
 * second sync proves nothing. */
static sombra_err name_publish(struct btree *btree, const char *temporary)
{
    sombra_err err = os_link(btree->os, temporary, btree->path);
    sombra_err unlink_err = os_unlink(btree->os, temporary);
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

/* Built under another name, synced, given its name, which must not replace another's file; EXISTS
 * when somebody else was faster. The other name is locked meanwhile, and one left by a crash is
 * taken over. */
static sombra_err file_create(struct btree *btree)
{
    char *temporary = path_with(btree->path, "-new");
    if (!temporary)
        return diag_nomem("a path", strlen(btree->path));
    struct os_file *file = NULL;
    sombra_err err =
        os_open(btree->os, temporary, OS_WRITE | OS_CREATE, btree->options.mode, &file);
    if (!err)
        err = os_lock_wait(file, LOCK_OFFSET, 1, OS_LOCK_EXCLUSIVE, btree->options.busy_timeout_ms);
    struct os_identity identity = { .links = 0 };
    if (!err)
        err = os_identify(file, &identity);
    if (!err && identity.links != 1)
        err = diag_fail(SOMBRA_EXISTS, "%s was made by another process just now", btree->path);
    if (!err) {
        err = file_build(btree, file);
        if (!err)
            err = name_publish(btree, temporary);
    }
    os_close(file);
    mem_free(temporary);
    return err;
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
    if (!err && other.device == btree->identity.device && other.inode == btree->identity.inode &&
        !btree->options.is_readonly)
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

static struct btree *registry_find(struct os *os, const struct os_identity *identity)
{
    for (struct btree *at = open_stores; at; at = at->next_open)
        if (at->os == os && at->file && at->identity.device == identity->device &&
            at->identity.inode == identity->inode)
            return at;
    return NULL;
}

/* Opens and locks the file, making it if asked. The lock is on the file that has the name now. */
static sombra_err file_open(struct btree *btree)
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
        if (err || registry_find(btree->os, &btree->identity))
            return err;
        enum os_lock_kind kind = options->is_readonly ? OS_LOCK_SHARED : OS_LOCK_EXCLUSIVE;
        err = os_lock_wait(btree->file, LOCK_OFFSET, 1, kind, options->busy_timeout_ms);
        if (err)
            return diag_wrap(err, "%s is open in another process", btree->path);
        struct os_identity named;
        err = os_identify_path(btree->os, btree->path, &named);
        if (!err && named.device == btree->identity.device && named.inode == btree->identity.inode)
            return names_check(btree);
        if (err && err != SOMBRA_NOT_FOUND)
            return err;
    }
    return diag_fail(SOMBRA_BUSY, "%s is being replaced again and again", btree->path);
}

static sombra_err meta_read(struct btree *btree)
{
    uint64_t bytes = 0;
    sombra_err err = os_size(btree->file, &bytes);
    if (!err && bytes < META_AREA_BYTES)
        err = diag_fail(SOMBRA_INVALID, "%s: not a sombra database: %" PRIu64 " bytes are too few",
                        btree->path, bytes);
    if (!err)
        err = meta_choose(btree->file, &btree->meta, &btree->meta_slot);
    if (err)
        return err;
    const struct snapshot *snapshot = &btree->meta.snapshot;
    if (snapshot->page_count > bytes / btree->meta.page_bytes)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: the file has %" PRIu64 " bytes and should have %" PRIu64
                         " pages of %" PRIu32 ": it was cut short",
                         btree->path, bytes, snapshot->page_count, btree->meta.page_bytes);
    return SOMBRA_OK;
}

/* ---- the first write --------------------------------------------------------------------- */

static sombra_err meta_make_in_use(struct btree *btree)
{
    struct meta meta = btree->meta;
    meta.sequence++;
    meta.log_state = META_LOG_IN_USE;
    meta.log = logs_position(&btree->logs);
    meta.log_half = btree->logs.active;
    unsigned slot = 1 - btree->meta_slot;
    sombra_err err = meta_write(btree->file, slot, &meta);
    if (!err)
        err = os_sync(btree->file);
    if (err) {
        head_poison(btree->head);
        return err;
    }
    btree->meta = meta;
    btree->meta_slot = slot;
    return SOMBRA_OK;
}

/* What open read may be page cache that the disk never got, after a failed sync: the meta is
 * written again, and the file is cut to what the meta names, so that growing it anew is a change
 * that the next sync saves. */
static sombra_err base_restore(struct btree *btree)
{
    uint64_t used_bytes = btree->meta.snapshot.page_count * btree->meta.page_bytes;
    uint64_t file_bytes = 0;
    sombra_err err = os_size(btree->file, &file_bytes);
    if (!err && file_bytes > used_bytes)
        err = os_truncate(btree->file, used_bytes);
    if (!err)
        err = meta_write(btree->file, btree->meta_slot, &btree->meta);
    if (err)
        return err; /* nothing was synced in vain: it may be tried again */
    err = os_sync(btree->file);
    if (err) {
        head_poison(btree->head);
        return err;
    }
    /* Its maker may have died before it had saved the name. */
    err = os_sync_directory_of(btree->os, btree->path);
    if (err && err != SOMBRA_NOMEM)
        head_poison(btree->head);
    return err;
}

sombra_err btree_prepare_write(struct btree *btree)
{
    if (LIKELY(btree->is_prepared))
        return SOMBRA_OK;
    sombra_err err = SOMBRA_OK;
    if (btree->file) {
        err = base_restore(btree);
        if (!err && !btree->space.is_loaded) {
            space_release(&btree->space);
            space_init(&btree->space, btree);
            err = space_load(&btree->space, btree->meta.space_directory,
                             btree->meta.snapshot.page_count);
            btree->space.is_loaded = !err;
        }
        if (!err)
            err = logs_create(&btree->logs, btree->meta.log.epoch + 1);
        if (!err)
            err = meta_make_in_use(btree);
        if (!err)
            err = background_start(btree);
    } else {
        err = space_set_page_count(&btree->space, btree->space.first_page);
    }
    if (err)
        return diag_wrap(err, "prepare %s for writing", btree->path ? btree->path : BTREE_MEMORY);
    btree->is_prepared = true;
    return SOMBRA_OK;
}

/* ---- recovery ---------------------------------------------------------------------------- */

struct replay {
    struct btree_txn *txn;
    uint64_t newest_txn;
};

static sombra_err replay_record(void *context, const struct wal_record *record)
{
    struct replay *replay = context;
    uint64_t txn = 0;
    sombra_err err = redo_apply(replay->txn, record->payload, &txn);
    if (!err && txn <= replay->newest_txn)
        err =
            diag_fail(SOMBRA_CORRUPT, "log record %" PRIu64 ": txn %" PRIu64 " after txn %" PRIu64,
                      record->lsn, txn, replay->newest_txn);
    if (err)
        return err;
    replay->newest_txn = txn;
    replay->txn->snapshot.lsn = record->lsn;
    return SOMBRA_OK;
}

/* Does the log fit the chosen meta record? What does not fit is never applied, and never taken for
 * an empty log. Epochs of other databases begin with another random number. */
static sombra_err log_check(const struct btree *btree, unsigned half, struct wal *log)
{
    const struct meta *meta = &btree->meta;
    bool is_in_use = meta->log_state == META_LOG_IN_USE;
    uint64_t newest = meta->log.epoch + (is_in_use ? 1 : 0);
    uint64_t epoch = 0;
    sombra_err err = wal_first_epoch(log, &epoch);
    if (err || epoch == 0)
        return err;
    if (epoch > newest + (UINT64_C(1) << 31) || epoch + (UINT64_C(1) << 31) < newest)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s-log%u: the log is of epoch %" PRIu64 ", the database of %" PRIu64
                         ": it belongs to another database; move it away",
                         btree->path, half, epoch, meta->log.epoch);
    if (epoch > newest)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s-log%u: the log is of epoch %" PRIu64
                         ", and the newest sound meta record knows of %" PRIu64
                         ": a newer meta record was damaged, or the file is an older copy",
                         btree->path, half, epoch, meta->log.epoch);
    bool is_active = half == meta->log_half;
    if (is_in_use && epoch >= meta->log.epoch && (epoch == meta->log.epoch) != is_active)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s-log%u: the log is of epoch %" PRIu64
                         ", which belongs into the other half: the two were swapped",
                         btree->path, half, epoch);
    return SOMBRA_OK;
}

/* A clean database has no log, but for one that was emptied and not yet taken away. */
static sombra_err logs_check_clean(const struct btree *btree)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned half = 0; half < LOG_HALVES && !err; half++) {
        struct wal *log = NULL;
        char *path = logs_path(btree, half);
        if (!path)
            return diag_nomem("the log's path", strlen(btree->path));
        err = wal_open(btree->os, path, true, &log);
        mem_free(path);
        if (!err)
            err = log_check(btree, half, log);
        else if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK;
        wal_close(log);
    }
    return err;
}

static sombra_err logs_open(struct btree *btree)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned half = 0; half < LOG_HALVES && !err; half++) {
        char *path = logs_path(btree, half);
        if (!path)
            return diag_nomem("the log's path", strlen(btree->path));
        err = wal_open(btree->os, path, btree->options.is_readonly, &btree->logs.halves[half]);
        if (err == SOMBRA_NOT_FOUND)
            err = diag_fail(
                SOMBRA_CORRUPT,
                "%s is missing: %s was not closed, and its newest commits are in that log; "
                "put it back",
                path, btree->path);
        mem_free(path);
        if (!err)
            err = log_check(btree, half, btree->logs.halves[half]);
    }
    return err;
}

/* The halves after the meta's position, in the order of epochs. */
static sombra_err logs_replay(struct btree *btree, struct replay *replay)
{
    struct wal_position from = btree->meta.log;
    unsigned half = btree->meta.log_half;
    uint64_t lsn = btree->meta.snapshot.lsn;
    for (unsigned i = 0; i < LOG_HALVES; i++) {
        struct wal_replay_result result;
        sombra_err err =
            wal_replay(btree->logs.halves[half], from, lsn, replay_record, replay, &result);
        if (err)
            return err;
        lsn = result.last_lsn;
        from = (struct wal_position){ .epoch = from.epoch + 1, .link = result.end.link };
        half = 1 - half;
    }
    return SOMBRA_OK;
}

static sombra_err recover(struct btree *btree)
{
    sombra_err err = base_restore(btree);
    if (!err)
        err = logs_open(btree);
    if (!err)
        err =
            space_load(&btree->space, btree->meta.space_directory, btree->meta.snapshot.page_count);
    if (err)
        return err;
    btree->space.is_loaded = true;
    btree->is_prepared = true; /* for this one transaction */
    btree->next_txn = btree->meta.snapshot.txn + TXN_GAP;
    err = gate_enter(btree, 0);
    if (err)
        return err;
    struct btree_txn *txn;
    err = txn_start_write(btree, &txn);
    if (err) {
        gate_leave(btree);
        return err;
    }
    txn->is_replay = true;
    struct replay replay = { .txn = txn, .newest_txn = btree->meta.snapshot.txn };
    err = logs_replay(btree, &replay);
    /* Numbers are burnt: pages of lost transactions carry numbers up to some way above the newest
     * found. */
    if (!err && replay.newest_txn + TXN_GAP > txn->stamp) {
        btree->next_txn = replay.newest_txn + 2 * TXN_GAP;
        txn->stamp = txn->newest_page_txn = btree->next_txn++;
    }
    if (!err)
        err = checkpoint_commit(txn);
    if (err)
        txn_undo_all(txn);
    txn_end_write(txn);
    /* The first write makes new logs and says so in a meta, as after a clean close. */
    btree->is_prepared = false;
    return err ? err : logs_unlink(&btree->logs);
}

/* ---- open -------------------------------------------------------------------------------- */

static sombra_err store_start(struct btree *btree)
{
    sombra_err err = btree->file ? meta_read(btree) : SOMBRA_OK;
    if (err)
        return err;
    size_t page_bytes = btree->file ? btree->meta.page_bytes : btree->options.page_bytes;
    err = pager_open(&btree->pager, btree->os, btree->file, page_bytes,
                     btree->options.map_bytes_max, !btree->options.no_mapped_stores);
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
    space_init(&btree->space, btree);
    struct snapshot snapshot = btree->meta.snapshot;
    if (!btree->file)
        snapshot = (struct snapshot){ .txn = 1, .page_count = btree->space.first_page };
    head_begin(btree, &snapshot);
    atomic_store(&btree->pager.durable_txn, snapshot.txn);
    atomic_store(&btree->pages_free, btree->meta.pages_free);
    atomic_store(&btree->pages_pending, btree->meta.pages_pending);
    if (!btree->file)
        return SOMBRA_OK;
    if (btree->meta.log_state == META_LOG_CLEAN)
        return logs_check_clean(btree);
    if (btree->options.is_readonly)
        return diag_fail(SOMBRA_READONLY,
                         "%s was not closed: open it once for writing, so that it is recovered",
                         btree->path);
    return diag_wrap(recover(btree), "recover %s", btree->path);
}

static sombra_err open_locked(struct os *os, const char *path, const struct btree_options *options,
                              struct btree **out_btree)
{
    struct btree *btree = NULL;
    sombra_err err = btree_new(os, options, &btree);
    if (err)
        return err;
    bool in_memory = strcmp(path, BTREE_MEMORY) == 0;
    if (!in_memory)
        err = os_resolve(os, path, &btree->path);
    if (!err && !in_memory)
        err = file_open(btree);
    struct btree *shared = !err && !in_memory ? registry_find(os, &btree->identity) : NULL;
    if (shared) {
        btree_free(btree);
        if (shared->options.is_readonly && !options->is_readonly)
            return diag_fail(SOMBRA_BUSY, "%s is open read-only in this process: close that first",
                             path);
        shared->references++;
        *out_btree = shared;
        return SOMBRA_OK;
    }
    if (!err)
        err = store_start(btree);
    if (err) {
        background_stop(btree);
        btree_free(btree);
        return err;
    }
    btree->next_open = open_stores;
    open_stores = btree;
    *out_btree = btree;
    return SOMBRA_OK;
}

sombra_err btree_open(struct os *os, const char *path, const struct btree_options *options,
                      struct kv **out_kv)
{
    assert(os && path && out_kv);
    struct btree_options complete;
    sombra_err err = options_complete(options, &complete);
    if (err)
        return err;
    struct btree *btree = NULL;
    pthread_mutex_lock(&open_mutex);
    err = open_locked(os, path, &complete, &btree);
    pthread_mutex_unlock(&open_mutex);
    if (err)
        return diag_wrap(err, "open %s", path);
    *out_kv = &btree->kv;
    return SOMBRA_OK;
}

/* ---- close ------------------------------------------------------------------------------- */

static bool has_transactions(struct btree *btree)
{
    os_mutex_lock(&btree->gate.mutex);
    bool is_held = btree->gate.is_held;
    os_mutex_unlock(&btree->gate.mutex);
    return is_held || atomic_load(&btree->readers_open) > 0;
}

/* Everything into the one file, which then stands alone. After a failure nothing is written: the
 * log and the older checkpoint hold everything. */
static sombra_err store_finish(struct btree *btree)
{
    if (!btree->file || !btree->is_prepared)
        return SOMBRA_OK;
    sombra_err err = head_check_writable(btree->head);
    if (!err)
        err = checkpoint_run(btree, true);
    if (err)
        return err;
    uint64_t used_bytes = btree->meta.snapshot.page_count << btree->pager.page_shift;
    uint64_t file_bytes = 0;
    err = os_size(btree->file, &file_bytes);
    if (!err && file_bytes > used_bytes)
        err = os_truncate(btree->file, used_bytes);
    return err ? err : logs_unlink(&btree->logs);
}

sombra_err btree_close(struct kv *kv)
{
    struct btree *btree = btree_of(kv);
    pthread_mutex_lock(&open_mutex);
    if (btree->references > 1) {
        btree->references--;
        pthread_mutex_unlock(&open_mutex);
        return SOMBRA_OK;
    }
    /* First, so that a checkpoint of its own does not look like a transaction. */
    background_stop(btree);
    if (has_transactions(btree)) {
        sombra_err start_err = btree->is_prepared ? background_start(btree) : SOMBRA_OK;
        (void)start_err; /* without the thread, commits run the checkpoints */
        pthread_mutex_unlock(&open_mutex);
        return diag_fail(SOMBRA_BUSY, "%s has open transactions: end them first",
                         btree->path ? btree->path : BTREE_MEMORY);
    }
    struct btree **at = &open_stores;
    while (*at != btree)
        at = &(*at)->next_open;
    *at = btree->next_open;
    background_stop(btree);
    sombra_err err =
        diag_wrap(store_finish(btree), "close %s", btree->path ? btree->path : BTREE_MEMORY);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    btree_free(btree);
    diag_restore(text);
    pthread_mutex_unlock(&open_mutex);
    return err;
}
