/* SPDX-License-Identifier: MIT */
/* What the engine does where memory is short: the file is larger than what the system could keep of
 * it (decision 0018).
 *
 * - The system is told not to read around a fault: it would fetch what the next faults drive out.
 *   Instead, a page is fetched as a whole before it is touched, and scans ask for the next leaves.
 * - A write transaction's pages are buffered and written sealed, as where stores cannot be mapped:
 *   a store to a page that is not in memory would read it first, and the checkpoint would read it
 *   again for its checksum.
 * - What only the durable checkpoint still has is dropped from memory, and so is the log behind its
 *   end (wal_let_go).
 * - Puts wait for each other's leaves together (tree_defer.c).
 * - A key that is not there is mostly not looked for in its leaf (filters.c).
 */
#include "btree_internal.h"

#include <stdlib.h>

enum {
    FEW_BYTES = 32 << 20, /* of a file so small nobody asks what memory there is */
    EASE_PERCENT = 80,    /* short no more when the file is no larger than that of memory */
    BUFFER_SHARE = 8,     /* of memory, for the pages of a transaction */
    BUFFER_MIN_BYTES = 4 << 20,
    WEIGH_AGAIN_MS = 10000,
    RUN_BYTES_MAX = 1 << 20, /* fetched by one call */
};

/* ---- is it short? ------------------------------------------------------------------------- */

static void advise(struct pager *pager, bool is_short)
{
    os_map_advise_random(pager->file, pager->map, pager->map_bytes, is_short);
    for (size_t i = 0; i < atomic_load(&pager->windows_end); i++) {
        uint8_t *window = atomic_load(&pager->windows[i]);
        if (window)
            os_map_advise_random(pager->file, window, PAGER_WINDOW_BYTES, is_short);
    }
}

void memory_weigh(struct btree *btree, uint64_t page_count)
{
    struct pager *pager = &btree->pager;
    atomic_store(&pager->unweighed_clusters, 0);
    uint64_t bytes = page_count << pager->page_shift;
    bool was_short = pager_has_mode(pager, PAGER_SHORT);
    if (!pager->file || (bytes < FEW_BYTES && !pager->memory_bytes && !was_short))
        return;
    uint64_t memory = pager->memory_bytes ? pager->memory_bytes : os_memory_bytes(btree->os);
    atomic_store(&pager->weighed_bytes, memory);
    atomic_store(&pager->weighed_ns, os_coarse_ns(btree->os));
    bool is_short = bytes > (was_short ? memory / 100 * EASE_PERCENT : memory);
    if (is_short == was_short)
        return;
    if (is_short)
        atomic_fetch_or(&pager->modes, PAGER_SHORT);
    else
        atomic_fetch_and(&pager->modes, (uint8_t)~PAGER_SHORT);
    advise(pager, is_short);
}

/* A file that grows does so often, and asking takes as long as half of an open. What there is does
 * not go down to half in a moment. */
void memory_weigh_grown(struct btree *btree, uint64_t page_count)
{
    enum { MOMENT_MS = 100 };
    const struct pager *pager = &btree->pager;
    uint64_t bytes = page_count << pager->page_shift;
    uint64_t since_ns = os_coarse_ns(btree->os) - atomic_load(&pager->weighed_ns);
    bool is_far = !pager_has_mode(pager, PAGER_SHORT) && since_ns / 1000000 < MOMENT_MS &&
                  bytes < atomic_load(&pager->weighed_bytes) / 2;
    if (!is_far)
        memory_weigh(btree, page_count);
}

/* Asking takes as long as half of an open. */
void memory_weigh_late(struct btree *btree, uint64_t page_count)
{
    struct pager *pager = &btree->pager;
    if (pager->memory_bytes || !pager->file)
        memory_weigh(btree, page_count);
    else
        atomic_store(&pager->unweighed_clusters, FEW_BYTES / PAGER_CLUSTER_BYTES);
}

static void weigh_first(struct pager *pager, uint64_t page_count)
{
    if (atomic_exchange(&pager->unweighed_clusters, 0))
        memory_weigh(container_of(pager, struct btree, pager), page_count);
}

void memory_note_read(struct pager *pager)
{
    struct snapshot newest;
    uint32_t left = atomic_load(&pager->unweighed_clusters);
    if (left > 1) {
        (void)atomic_compare_exchange_strong(&pager->unweighed_clusters, &left, left - 1);
    } else if (left) {
        head_newest(pager->head, &newest);
        weigh_first(pager, newest.page_count);
    }
}

void memory_weigh_again(struct btree *btree)
{
    struct snapshot newest;
    uint64_t since_ns = os_coarse_ns(btree->os) - atomic_load(&btree->pager.weighed_ns);
    if (since_ns / 1000000 < WEIGH_AGAIN_MS)
        return;
    head_newest(btree->head, &newest);
    memory_weigh(btree, newest.page_count);
}

/* ---- writes ------------------------------------------------------------------------------- */

/* Pages are written in the other way from now on. */
static void writes_turn(struct btree *btree, bool is_buffered)
{
    struct pager *pager = &btree->pager;
    /* Reserved pages were prepared for the other way, and stretches of new space may be used out of
     * order now. */
    space_drop_reserve(&btree->space);
    pager_forget_fresh(pager);
    assert(pager->dirty.count == 0);
    atomic_fetch_xor(&pager->modes, PAGER_BUFFERED);
    uint64_t bytes_max = btree->options.txn_memory_max;
    if (is_buffered)
        bytes_max = u64_min(bytes_max, u64_max(atomic_load(&pager->weighed_bytes) / BUFFER_SHARE,
                                               BUFFER_MIN_BYTES));
    pager->dirty.limit = (size_t)(bytes_max >> pager->page_shift);
}

void memory_settle_writes(struct btree *btree, const struct snapshot *newest)
{
    struct pager *pager = &btree->pager;
    if (UNLIKELY(atomic_load_explicit(&pager->unweighed_clusters, memory_order_relaxed)))
        weigh_first(pager, newest->page_count);
    uint8_t modes = atomic_load_explicit(&pager->modes, memory_order_relaxed);
    if (LIKELY(modes == 0))
        return;
    bool is_short = modes & PAGER_SHORT;
    if (pager->can_map && is_short != (bool)(modes & PAGER_BUFFERED))
        writes_turn(btree, is_short);
    /* Buffered pages come by as they are written, the others do not. */
    if (is_short)
        filters_make(pager, newest->entries, newest->page_count);
    filters_begin(pager, newest->txn, is_short);
}

void memory_forget_freed(struct btree *btree)
{
    struct pager *pager = &btree->pager;
    if (LIKELY(!pager_has_mode(pager, PAGER_SHORT)))
        return;
    uint64_t durable = atomic_load(&btree->head->pinned_meta);
    for (size_t i = 0; i < btree->space.change_count; i++) {
        const struct space_change *change = &btree->space.changes[i];
        if (change->action != SPACE_FREED || change->born > durable)
            continue;
        uint64_t at = change->id << pager->page_shift;
        uint64_t bytes = change->pages << pager->page_shift;
        /* The system keeps pages that are mapped. */
        os_map_let_go(pager->file, pager->map + at, (size_t)bytes);
        os_forget(pager->file, at, bytes);
    }
}

/* ---- reads -------------------------------------------------------------------------------- */

void memory_bring(const struct pager *pager, page_id id, uint64_t pages)
{
    os_read_ahead(pager->file, id << pager->page_shift, pages << pager->page_shift);
}

static int id_compare(const void *a, const void *b)
{
    page_id left = *(const page_id *)a, right = *(const page_id *)b;
    return (left > right) - (left < right);
}

void memory_bring_many(const struct pager *pager, page_id *ids, size_t count)
{
    size_t run_max = RUN_BYTES_MAX >> pager->page_shift;
    qsort(ids, count, sizeof *ids, id_compare);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && ids[end] == ids[end - 1] + 1 && end - i < run_max; end++)
            ;
        memory_bring(pager, ids[i], end - i);
    }
}
