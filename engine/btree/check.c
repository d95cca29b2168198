/* SPDX-License-Identifier: MIT */
/* Walking the whole store: verify and the statistics that need it, and the table of operations.
 *
 * Verify proves, for the newest commit: every page's checksum and structure, key order within and
 * between pages, counts, levels, values; and the account: every page of the file is exactly one of
 * meta area, tree, value, space map, free, pending.
 */
#include "upkeep.h"

#include <stdio.h>

struct walk {
    struct btree *btree;
    struct btree_txn *txn;
    struct kv_maintenance *job;
    struct kv_stats *stats; /* may be NULL */
    const struct space *space;
    uint64_t *seen; /* one bit a page */
    uint64_t page_count;
    uint64_t done; /* pages, for progress */
    bool is_cancelled;
};

/* ---- findings ---------------------------------------------------------------------------- */

static void problem(struct walk *walk, sombra_err code, page_id page, const char *message)
{
    walk->job->problems++;
    if (walk->job->problem)
        walk->job->problem(walk->job->context,
                           &(struct kv_problem){ .code = code, .page = page, .message = message });
}

/* The failure of a call, whose text the thread has. */
static void problem_of(struct walk *walk, sombra_err err, page_id page)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    problem(walk, err, page, text);
}

static bool progress(struct walk *walk)
{
    walk->done++;
    if (walk->job->progress && walk->done % 64 == 1 &&
        !walk->job->progress(walk->job->context, walk->done, walk->page_count))
        walk->is_cancelled = true;
    return !walk->is_cancelled;
}

/* False when any of them was seen before. */
static bool see(struct walk *walk, page_id id, uint64_t pages, const char *what)
{
    bool is_new = true;
    for (page_id at = id; at < id + pages; at++) {
        if (at >= walk->page_count) {
            problem(walk, SOMBRA_CORRUPT, at, "a page beyond the file's end is in use");
            return false;
        }
        uint64_t mask = UINT64_C(1) << (at % 64);
        if (walk->seen[at / 64] & mask) {
            char text[96];
            snprintf(text, sizeof text, "the page is in use twice; the second time as %s", what);
            problem(walk, SOMBRA_CORRUPT, at, text);
            is_new = false;
        }
        walk->seen[at / 64] |= mask;
    }
    return is_new;
}

/* ---- the tree ---------------------------------------------------------------------------- */

static void value_walk(struct walk *walk, const struct leaf_value *value)
{
    if (!value->overflow)
        return;
    uint64_t pages = pager_run_pages(&walk->btree->pager, value->overflow_bytes);
    sombra_slice bytes;
    sombra_err err = tree_value(walk->txn, value, &bytes);
    if (err) {
        problem_of(walk, err, value->overflow);
        return;
    }
    if (walk->stats) {
        walk->stats->pages_overflow += pages;
        walk->stats->bytes_used += value->overflow_bytes;
    }
    (void)see(walk, value->overflow, pages, "a value");
}

static void leaf_walk(struct walk *walk, page_id id, const uint8_t *page, sombra_slice low,
                      sombra_slice high)
{
    size_t page_bytes = walk->btree->pager.page_bytes;
    unsigned count = page_count(page);
    if (walk->stats) {
        walk->stats->bytes_used += page_used(page, page_bytes);
        if (page_kind(page) == PAGE_DENSE)
            walk->stats->pages_leaf_dense++;
        else
            walk->stats->pages_leaf++;
    }
    if (count == 0) {
        problem(walk, SOMBRA_CORRUPT, id, "an empty leaf");
        return;
    }
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t bytes = leaf_key_at(page, page_bytes, 0, key);
    if (slice_compare(slice_of(key, bytes), low) < 0)
        problem(walk, SOMBRA_CORRUPT, id, "the first key is less than the separator above allows");
    bytes = leaf_key_at(page, page_bytes, count - 1, key);
    if (high.bytes && slice_compare(slice_of(key, bytes), high) >= 0)
        problem(walk, SOMBRA_CORRUPT, id,
                "the last key is greater than the separator above allows");
    for (unsigned i = 0; i < count; i++) {
        struct leaf_value value;
        leaf_value_at(page, page_bytes, i, &value);
        value_walk(walk, &value);
    }
}

static uint64_t page_walk(struct walk *walk, page_id id, unsigned level, sombra_slice low,
                          sombra_slice high);

static uint64_t branch_walk(struct walk *walk, page_id id, const uint8_t *page, sombra_slice low,
                            sombra_slice high)
{
    size_t page_bytes = walk->btree->pager.page_bytes;
    unsigned count = page_count(page);
    if (walk->stats) {
        walk->stats->pages_branch++;
        walk->stats->bytes_used += page_used(page, page_bytes);
    }
    uint8_t bounds[2][KV_KEY_BYTES_MAX];
    sombra_slice left = low;
    uint64_t entries = 0;
    for (unsigned i = 0; i < count && !walk->is_cancelled; i++) {
        sombra_slice right = high;
        if (i + 1 < count)
            right =
                slice_of(bounds[i % 2], branch_separator(page, page_bytes, i + 1, bounds[i % 2]));
        if (left.bytes && right.bytes && slice_compare(left, right) >= 0)
            problem(walk, SOMBRA_CORRUPT, id, "separators are not in order");
        uint64_t below =
            page_walk(walk, branch_child(page, page_bytes, i), page_level(page) - 1u, left, right);
        if (below != branch_entries(page, page_bytes, i) && !walk->is_cancelled) {
            char text[128];
            snprintf(text, sizeof text, "child %u has %" PRIu64 " entries, counted as %" PRIu64, i,
                     below, branch_entries(page, page_bytes, i));
            problem(walk, SOMBRA_CORRUPT, id, text);
        }
        entries += below;
        left = right;
    }
    return entries;
}

/* Returns the entries found below. */
static uint64_t page_walk(struct walk *walk, page_id id, unsigned level, sombra_slice low,
                          sombra_slice high)
{
    const uint8_t *page;
    sombra_err err = progress(walk) ? tree_page(walk->txn, id, level, &page) : SOMBRA_CANCELLED;
    if (walk->is_cancelled)
        return 0;
    /* A page that was proved long ago may have rotted since: it is proved again. */
    if (!err)
        err = page_validate(page, walk->btree->pager.page_bytes, id,
                            page_txn(page) > atomic_load(&walk->btree->head->pinned_meta));
    if (err) {
        problem_of(walk, err, id);
        return 0;
    }
    if (!see(walk, id, 1, "a tree page"))
        return 0; /* walked before, or the tree leads in circles */
    if (level > 0)
        return branch_walk(walk, id, page, low, high);
    leaf_walk(walk, id, page, low, high);
    return page_count(page);
}

static void tree_walk(struct walk *walk)
{
    const struct snapshot *snapshot = &walk->txn->snapshot;
    uint64_t entries = 0;
    sombra_slice none = { 0 };
    if (snapshot->root)
        entries = page_walk(walk, snapshot->root, (unsigned)snapshot->depth - 1, none, none);
    if (entries != snapshot->entries && !walk->is_cancelled && walk->job->kind == KV_VERIFY) {
        char text[128];
        snprintf(text, sizeof text, "the tree has %" PRIu64 " entries, counted as %" PRIu64,
                 entries, snapshot->entries);
        problem(walk, SOMBRA_CORRUPT, 0, text);
    }
}

/* ---- the account ------------------------------------------------------------------------- */

static void own_see(void *context, page_id id)
{
    (void)see(context, id, 1, "a space map");
}

static void account_walk(struct walk *walk)
{
    const struct space *space = walk->space;
    space_each_own(space, own_see, walk);
    for (size_t i = 0; i < space->reserve_count; i++)
        (void)see(walk, space->reserve[i], 1, "a free page");
    uint64_t pending = 0;
    for (size_t i = 0; i < space->pending_runs; i++) {
        (void)see(walk, space->pending[i].id, space->pending[i].pages, "a freed page");
        pending += space->pending[i].pages;
    }
    if (pending != space->pending_count)
        problem(walk, SOMBRA_CORRUPT, 0, "the count of pending pages is wrong");
    uint64_t free_count = 0;
    for (page_id id = space->first_page; id < space->page_count; id++) {
        if (!((space->free_bits[id / 64] >> (id % 64)) & 1))
            continue;
        free_count++;
        (void)see(walk, id, 1, "a free page");
    }
    if (free_count != space->free_count)
        problem(walk, SOMBRA_CORRUPT, 0, "the count of free pages is wrong");
    for (page_id id = space->first_page; id < walk->page_count; id++)
        if (!((walk->seen[id / 64] >> (id % 64)) & 1))
            problem(walk, SOMBRA_CORRUPT, id, "the page is lost: neither used nor free");
}

/* ---- jobs -------------------------------------------------------------------------------- */

static sombra_err snapshot_walk(struct walk *walk, struct kv_txn *txn, bool with_account)
{
    sombra_err err = SOMBRA_OK;
    walk->txn = txn_of(txn);
    walk->page_count = with_account ? walk->space->page_count : walk->txn->snapshot.page_count;
    walk->seen = mem_zalloc((size_t)(walk->page_count / 64 + 1) * sizeof *walk->seen);
    if (!walk->seen)
        return diag_nomem("the page account", (size_t)walk->page_count / 8);
    tree_walk(walk);
    if (with_account && !walk->is_cancelled)
        account_walk(walk);
    if (walk->is_cancelled)
        err = diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " pages", walk->done);
    mem_free(walk->seen);
    return err;
}

static sombra_err walk_run(struct walk *walk, bool with_account)
{
    struct kv_txn *txn;
    sombra_err err = btree_begin(&walk->btree->kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    err = snapshot_walk(walk, txn, with_account);
    btree_abort(txn);
    return err;
}

/* Where there is no log, the file's account is that of the newest commit, unless that is just being
 * made or was made a moment ago, for who may not hold the turn. The snapshot keeps the maps. */
static sombra_err file_walk(struct walk *walk)
{
    struct btree *btree = walk->btree;
    struct kv_txn *txn;
    sombra_err err = btree_begin(&btree->kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    struct space loaded;
    struct meta meta;
    unsigned slot;
    space_init(&loaded, btree);
    err = meta_read_durable(btree, &meta, &slot);
    bool with_account = !err && meta.snapshot.lsn == txn_of(txn)->snapshot.lsn;
    if (with_account)
        err = space_load(&loaded, &meta, false);
    walk->space = &loaded;
    if (with_account && err == SOMBRA_CORRUPT) {
        problem_of(walk, err, 0);
        with_account = false;
        err = SOMBRA_OK;
    }
    if (!err)
        err = snapshot_walk(walk, txn, with_account);
    space_release(&loaded);
    btree_abort(txn);
    return err;
}

/* Is the account of this process that of the newest commit? It is not where another process
 * committed and the store was poisoned before this one had a turn again. */
static bool account_is_newest(const struct btree *btree)
{
    struct snapshot newest;
    head_newest(btree->head, &newest);
    return btree->is_prepared && (!btree->file || btree->space.lsn == newest.lsn);
}

/* Holds the writer's turn, so that tree and account are of one moment. Before the first write the
 * account is read from the file and thrown away again. */
sombra_err btree_verify(struct btree *btree, struct kv_maintenance *job)
{
    job->problems = 0;
    bool has_turn = !btree->options.is_readonly;
    sombra_err err = has_turn ? checkpoint_pause(btree, job) : SOMBRA_OK;
    if (err)
        return err;
    struct walk walk = { .btree = btree, .job = job, .space = &btree->space };
    bool has_logs = atomic_load(&btree->head->has_logs);
    if (btree->file && !has_logs)
        err = file_walk(&walk);
    else /* without the turn: the account is with those who write */
        err = walk_run(&walk, has_turn && account_is_newest(btree));
    if (has_turn)
        checkpoint_resume(btree);
    return err;
}

sombra_err btree_walk_stats(struct btree *btree, struct kv_stats *stats)
{
    struct kv_maintenance job = { .kind = KV_STATS };
    struct walk walk = { .btree = btree, .job = &job, .stats = stats };
    sombra_err err = walk_run(&walk, false);
    if (!err && job.problems)
        err = diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " pages could not be read: run verify",
                        job.problems);
    return err;
}

static void stats_readers(struct btree *btree, struct kv_stats *stats)
{
    uint64_t oldest_ns = 0;
    uint32_t used = atomic_load(&btree->head->blocks_used) * HEAD_BLOCK_SLOTS;
    for (uint32_t i = 0; i < used; i++) {
        const struct head_slot *slot = &btree->head->slots[i];
        uint64_t txn = atomic_load(&slot->txn);
        owner_word owner = atomic_load(&btree->head->blocks[i / HEAD_BLOCK_SLOTS]);
        if (!txn || !owner || !shared_is_alive(btree, owner))
            continue;
        stats->readers++;
        if (stats->oldest_reader_txn == 0 || txn < stats->oldest_reader_txn) {
            stats->oldest_reader_txn = txn;
            stats->oldest_reader_process = shared_process_id(btree, owner);
            oldest_ns = atomic_load_explicit(&slot->since_ns, memory_order_relaxed);
        }
    }
    uint64_t now_ns = os_monotonic_ns(btree->os);
    if (stats->oldest_reader_txn && now_ns > oldest_ns)
        stats->oldest_reader_age_ms = (now_ns - oldest_ns) / 1000000;
}

static sombra_err stats_get(struct btree *btree, struct kv_maintenance *job)
{
    struct kv_stats *stats = &job->stats;
    *stats = (struct kv_stats){ 0 };
    struct snapshot newest;
    head_newest(btree->head, &newest);
    stats->entries = newest.entries;
    stats->is_entries_exact = true;
    stats->txn = newest.txn;
    stats->lsn = newest.lsn;
    stats->durable_lsn = atomic_load(&btree->head->durable_lsn);
    stats->depth = newest.depth;
    stats->page_bytes = btree->pager.page_bytes;
    stats->pages_total = newest.page_count;
    stats->pages_free = atomic_load_explicit(&btree->pages_free, memory_order_relaxed);
    stats->pages_pending = atomic_load_explicit(&btree->pages_pending, memory_order_relaxed);
    stats->pages_read = atomic_load_explicit(&btree->pages_read, memory_order_relaxed);
    stats->checkpoints = kv_metrics_count(&btree->metrics, KV_COUNTER_CHECKPOINTS);
    stats->commits = kv_metrics_count(&btree->metrics, KV_COUNTER_COMMITS);
    stats->refuses_writes = atomic_load(&btree->head->poisoned) != 0;
    stats_readers(btree, stats);
    sombra_err err = SOMBRA_OK;
    if (btree->file) {
        struct meta meta;
        unsigned slot;
        err = meta_read_durable(btree, &meta, &slot);
        if (!err)
            err = os_size(btree->file, &stats->file_bytes);
        if (err)
            return err;
        stats->compact_txn = meta.compact_txn;
        stats->compact_pages_moved = meta.compact_moved;
        stats->compact_pages_returned = meta.compact_returned;
        stats->log_bytes = logs_bytes(&btree->logs);
        size_t images = atomic_load_explicit(&btree->pager.dirty.images, memory_order_relaxed);
        stats->memory_bytes =
            ((uint64_t)images << btree->pager.page_shift) + filters_bytes(&btree->pager);
    } else {
        stats->memory_bytes = newest.page_count << btree->pager.page_shift;
    }
    if (!err && job->walk)
        err = btree_walk_stats(btree, stats);
    return err;
}

sombra_err btree_maintain(struct kv *kv, struct kv_maintenance *job)
{
    struct btree *btree = btree_of(kv);
    if (atomic_load(&btree->is_forked))
        return diag_fail(SOMBRA_INVALID,
                         "%s was opened before fork(): the child must open it again",
                         btree->path ? btree->path : BTREE_MEMORY);
    switch (job->kind) {
    case KV_STATS:
        return stats_get(btree, job);
    case KV_CHECKPOINT:
        return checkpoint_run(btree, job);
    case KV_VERIFY:
        return btree_verify(btree, job);
    case KV_BACKUP:
        return btree_backup(btree, job);
    case KV_REFRESH:
        return SOMBRA_OK;
    case KV_COMPACT:
        return btree_compact(btree, job);
    }
    return diag_fail(SOMBRA_INVALID, "maintenance job %d", (int)job->kind);
}

const struct kv_ops btree_ops = {
    .name = "btree",
    .close = btree_close,
    .begin = btree_begin,
    .commit = btree_commit,
    .abort = btree_abort,
    .savepoint = btree_savepoint,
    .get = btree_get,
    .get_many = btree_get_many,
    .put = btree_put,
    .put_many = btree_put_many,
    .expect = btree_expect,
    .remove = btree_delete,
    .remove_range = btree_delete_range,
    .count = btree_count,
    .estimate = btree_estimate,
    .cursor_open = btree_cursor_open,
    .cursor_move = btree_cursor_move,
    .cursor_read = btree_cursor_read,
    .cursor_words = btree_cursor_words,
    .cursor_close = btree_cursor_close,
    .maintain = btree_maintain,
};
