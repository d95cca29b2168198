/* SPDX-License-Identifier: MIT */
/* Read transactions, and the views that they keep for the next one.
 *
 * A snapshot is a view and a commit number that was read while the view was the newest: a later
 * commit might be in a memtable that the view has not. A transaction that ended keeps its view as
 * long as that is the newest, so that beginning is to compare two numbers; who publishes a view
 * sweeps the older ones out. Sharded by thread: who begins and ends in one thread meets nobody.
 */
#include "write_internal.h"

enum { SHARDS = KV_STRIPES, IDLE_MAX = 8, LARGE_KEEP_BYTES = 1 << 16 };

struct reader {
    struct lsm_txn txn;
    struct reader *previous, *next; /* among the live ones of the shard; idle ones: next */
    struct shard *shard;
};

struct shard {
    _Alignas(64) struct os_mutex mutex; /* guards what follows */
    struct reader *live, *idle;
    unsigned idle_count;
};

struct lsm_readers {
    struct shard shards[SHARDS];
};

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err lsm_readers_new(struct lsm *lsm)
{
    struct lsm_readers *pool = mem_alloc_aligned(64, sizeof *pool);
    if (!pool)
        return diag_nomem("the pool of readers", sizeof *pool);
    memset(pool, 0, sizeof *pool);
    for (size_t i = 0; i < SHARDS; i++) {
        sombra_err err = os_mutex_init(&pool->shards[i].mutex);
        if (err) {
            while (i-- > 0)
                os_mutex_release(&pool->shards[i].mutex);
            mem_free(pool);
            return err;
        }
    }
    lsm->pool = pool;
    return SOMBRA_OK;
}

static void reader_free(struct reader *reader)
{
    lsm_cursor_free_spare(&reader->txn);
    view_release(reader->txn.view);
    buf_release(&reader->txn.large);
    mem_free(reader);
}

void lsm_readers_free(struct lsm *lsm)
{
    if (!lsm->pool)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &lsm->pool->shards[i];
        assert(!shard->live);
        while (shard->idle) {
            struct reader *reader = shard->idle;
            shard->idle = reader->next;
            reader_free(reader);
        }
        os_mutex_release(&shard->mutex);
    }
    mem_free(lsm->pool);
    lsm->pool = NULL;
}

static struct shard *shard_of_thread(struct lsm *lsm)
{
    return &lsm->pool->shards[kv_stripe_of_thread()];
}

/* ---- begin ------------------------------------------------------------------------------- */

static void live_add(struct shard *shard, struct reader *reader)
{
    reader->shard = shard;
    reader->previous = NULL;
    reader->next = shard->live;
    if (shard->live)
        shard->live->previous = reader;
    shard->live = reader;
}

static void live_remove(struct shard *shard, struct reader *reader)
{
    if (reader->previous)
        reader->previous->next = reader->next;
    else
        shard->live = reader->next;
    if (reader->next)
        reader->next->previous = reader->previous;
}

/* The number of the newest commit, if the view is the newest and so has it. The order of the two
 * loads is what makes it true: a commit to a new memtable comes after the view that has that. */
static bool snapshot_take(struct lsm *lsm, struct lsm_txn *txn)
{
    txn->seq = atomic_load_explicit(&lsm->seq, memory_order_acquire);
    txn->txn.version = txn->seq; /* commits never change */
    return txn->view->number == atomic_load_explicit(&lsm->view_number, memory_order_acquire);
}

static struct reader *reader_new(struct lsm *lsm)
{
    struct reader *reader = mem_zalloc(sizeof *reader);
    if (reader)
        reader->txn.txn = (struct kv_txn){ .ops = &lsm_ops, .kv = &lsm->kv };
    return reader;
}

sombra_err lsm_readers_begin(struct lsm *lsm, struct lsm_txn **out_txn)
{
    struct shard *shard = shard_of_thread(lsm);
    uint64_t now_ns = os_coarse_ns(lsm->os);
    os_mutex_lock(&shard->mutex);
    struct reader *reader = shard->idle;
    if (LIKELY(reader)) {
        shard->idle = reader->next;
        shard->idle_count--;
        if (LIKELY(reader->txn.view && snapshot_take(lsm, &reader->txn))) {
            reader->txn.begun_ns = now_ns;
            live_add(shard, reader);
            os_mutex_unlock(&shard->mutex);
            *out_txn = &reader->txn;
            return SOMBRA_OK;
        }
    }
    os_mutex_unlock(&shard->mutex);
    if (!reader)
        reader = reader_new(lsm);
    if (!reader)
        return diag_nomem("a transaction", sizeof *reader);
    do {
        view_release(reader->txn.view);
        reader->txn.view = view_acquire(lsm);
    } while (!snapshot_take(lsm, &reader->txn));
    reader->txn.begun_ns = now_ns;
    os_mutex_lock(&shard->mutex);
    live_add(shard, reader);
    os_mutex_unlock(&shard->mutex);
    *out_txn = &reader->txn;
    return SOMBRA_OK;
}

/* ---- end --------------------------------------------------------------------------------- */

void lsm_readers_end(struct lsm_txn *txn)
{
    struct lsm *lsm = lsm_of(txn->txn.kv);
    struct reader *reader = container_of(txn, struct reader, txn);
    struct shard *shard = reader->shard;
    cache_release(lsm->cache, txn->got.block);
    txn->got = (struct table_value){ 0 };
    if (txn->large.capacity > LARGE_KEEP_BYTES)
        buf_release(&txn->large);
    txn->txn.pages = 0;
    struct view *old = NULL;
    os_mutex_lock(&shard->mutex);
    live_remove(shard, reader);
    /* Under the mutex: a sweep that has passed here published a number that is seen now. */
    if (UNLIKELY(txn->view->number !=
                 atomic_load_explicit(&lsm->view_number, memory_order_acquire))) {
        old = txn->view;
        txn->view = NULL;
    }
    bool is_kept = shard->idle_count < IDLE_MAX;
    if (is_kept) {
        reader->next = shard->idle;
        shard->idle = reader;
        shard->idle_count++;
    }
    os_mutex_unlock(&shard->mutex);
    view_release(old);
    if (!is_kept)
        reader_free(reader);
}

void lsm_pool_sweep(struct lsm *lsm)
{
    if (!lsm->pool || !lsm->writer)
        return; /* the store is being opened */
    view_release(atomic_exchange(&lsm->writer->view, NULL));
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &lsm->pool->shards[i];
        struct view *views[IDLE_MAX];
        size_t count = 0;
        os_mutex_lock(&shard->mutex);
        for (struct reader *at = shard->idle; at; at = at->next) {
            assert(count < IDLE_MAX);
            views[count++] = at->txn.view;
            at->txn.view = NULL;
        }
        os_mutex_unlock(&shard->mutex);
        for (size_t k = 0; k < count; k++)
            view_release(views[k]); /* may unlink files */
    }
}

void lsm_readers_measure(struct lsm *lsm, struct kv_stats *stats)
{
    uint64_t oldest_ns = 0;
    uint64_t now_ns = os_coarse_ns(lsm->os);
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &lsm->pool->shards[i];
        os_mutex_lock(&shard->mutex);
        for (const struct reader *at = shard->live; at; at = at->next) {
            stats->readers++;
            /* The clock is too coarse to tell which of two is older. */
            if (oldest_ns == 0 || at->txn.seq < stats->oldest_reader_txn)
                stats->oldest_reader_txn = at->txn.seq;
            if (oldest_ns == 0 || at->txn.begun_ns < oldest_ns)
                oldest_ns = at->txn.begun_ns;
        }
        os_mutex_unlock(&shard->mutex);
    }
    if (stats->readers) {
        stats->oldest_reader_age_ms = now_ns > oldest_ns ? (now_ns - oldest_ns) / 1000000 : 0;
        stats->oldest_reader_process = os_process_id();
    }
}

uint64_t lsm_readers_oldest(struct lsm *lsm)
{
    uint64_t oldest_seq = UINT64_MAX;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &lsm->pool->shards[i];
        os_mutex_lock(&shard->mutex);
        for (const struct reader *at = shard->live; at; at = at->next)
            oldest_seq = u64_min(oldest_seq, at->txn.seq);
        os_mutex_unlock(&shard->mutex);
    }
    return oldest_seq;
}

uint64_t lsm_readers_count(struct lsm *lsm)
{
    struct kv_stats stats = { 0 };
    lsm_readers_measure(lsm, &stats);
    return stats.readers;
}
