/* SPDX-License-Identifier: MIT */
/* The life of a store: creation, open, close.
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
#define TXN_MEMORY_MAX_DEFAULT       (64 * MiB)

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
    if (btree->writer) {
        buf_release(&btree->writer->redo);
        buf_release(&btree->writer->record);
        buf_release(&btree->writer->lent);
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
    btree->kv.ops = &btree_ops;
    btree->os = os;
    btree->options = *options;
    btree->references = 1;
    sombra_err err = locks_init(btree);
    if (err) {
        mem_free(btree);
        return err;
    }
    {
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

char *path_with(const char *path, const char *suffix)
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
        err =
            os_lock_wait(file, LOCK_CREATION, 1, OS_LOCK_EXCLUSIVE, btree->options.busy_timeout_ms);
    /* While it waited, another process may have given this very file its name. */
    struct os_identity identity = { .links = 0 };
    struct os_identity named = { .links = 0 };
    if (!err)
        err = os_identify(file, &identity);
    if (!err)
        err = os_identify_path(btree->os, temporary, &named);
    if (err == SOMBRA_NOT_FOUND || (!err && (identity.links != 1 || identity.inode != named.inode)))
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
        err = shared_attach(btree, options->busy_timeout_ms);
        if (err)
            return err;
        struct os_identity named;
        err = os_identify_path(btree->os, btree->path, &named);
        if (!err && named.device == btree->identity.device && named.inode == btree->identity.inode)
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

/* ---- open -------------------------------------------------------------------------------- */

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
    space_init(&btree->space, btree);
    btree->pager.head = btree->head;
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
    if (btree->meta.log_state == META_LOG_CLEAN)
        return logs_check_clean(btree);
    if (btree->options.is_readonly)
        return diag_fail(SOMBRA_READONLY,
                         "%s was not closed: open it once for writing, so that it is recovered",
                         btree->path);
    return diag_wrap(btree_recover(btree), "recover %s", btree->path);
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
    if (!err)
        err = in_memory ? shared_private(btree) : file_open(btree);
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
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        shared_detach(btree,
                      btree->attachment.is_first); /* the open lock is held: nobody else has it */
        btree_free(btree);
        diag_restore(text);
        return err;
    }
    shared_open_done(btree);
    btree->next_open = open_stores;
    open_stores = btree;
    *out_btree = btree;
    return SOMBRA_OK;
}

/* ---- fork -------------------------------------------------------------------------------- */

static void fork_prepare(void)
{
    pthread_mutex_lock(&open_mutex);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&open_mutex);
}

/* The child has the parent's handles and none of its rights: they answer with an error from now on,
 * and the files that carry the parent's locks are closed, so that the locks end with the parent. */
static void fork_child(void)
{
    for (struct btree *at = open_stores; at; at = at->next_open) {
        atomic_store(&at->is_forked, 1);
        if (at->file && at->os == os_posix()) {
            os_close(at->attachment.file);
            at->attachment.file = NULL;
        }
    }
    open_stores = NULL;
    pthread_mutex_unlock(&open_mutex);
}

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_watch(void)
{
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
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
    if (pthread_once(&fork_once, fork_watch) != 0)
        return diag_fail(SOMBRA_NOMEM, "out of memory: watching for fork()");
    pthread_mutex_lock(&open_mutex);
    err = open_locked(os, path, &complete, &btree);
    pthread_mutex_unlock(&open_mutex);
    if (err)
        return diag_wrap(err, "open %s", path);
    *out_kv = &btree->kv;
    return SOMBRA_OK;
}

/* ---- close ------------------------------------------------------------------------------- */

/* Everything into the one file, which then stands alone. After a failure nothing is written: the
 * log and the older checkpoint hold everything. The open lock is held, and nobody else is attached.
 */
static sombra_err store_finish(struct btree *btree)
{
    if (!btree->file || btree->options.is_readonly || !atomic_load(&btree->head->has_logs))
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

static sombra_err store_leave(struct btree *btree)
{
    bool is_last;
    /* Nobody else would sync what was committed as KV_NORMAL here. */
    uint64_t lsn = atomic_exchange(&btree->normal_lsn, 0);
    sombra_err sync_err = lsn ? logs_sync(&btree->logs, lsn) : SOMBRA_OK;
    sombra_err err = shared_begin_close(btree, &is_last);
    if (!err)
        err = sync_err;
    if (!err && is_last)
        err = store_finish(btree);
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
    pthread_mutex_lock(&open_mutex);
    if (btree->references > 1) {
        btree->references--;
        pthread_mutex_unlock(&open_mutex);
        return SOMBRA_OK;
    }
    if (atomic_load(&btree->transactions_open) > 0) {
        pthread_mutex_unlock(&open_mutex);
        return diag_fail(SOMBRA_BUSY, "%s has open transactions: end them first",
                         btree->path ? btree->path : BTREE_MEMORY);
    }
    /* No transaction is open, and none may begin: the thread cannot wait for the turn of one. */
    background_stop(btree);
    btree->options.no_background = true; /* nor does the last checkpoint's turn start it again */
    struct btree **at = &open_stores;
    while (*at != btree)
        at = &(*at)->next_open;
    *at = btree->next_open;
    sombra_err err =
        diag_wrap(store_leave(btree), "close %s", btree->path ? btree->path : BTREE_MEMORY);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    btree_free(btree);
    diag_restore(text);
    pthread_mutex_unlock(&open_mutex);
    return err;
}
