/* SPDX-License-Identifier: MIT */
/* Commits of one put that change pages where they are.
 *
 * A page that was written after every snapshot that anybody has pinned, and after the checkpoints,
 * is seen by nobody but who pins the newest commit from now on. So
 *
 *   1 the head says that there is an editor       2 all pins are looked at: is none as new?
 *   3 the record is appended, the leaf and the counts above it are changed
 *   4 the head is published                       5 the head says that there is no editor
 *
 * and a reader that has set its slot looks for an editor before it believes that the head stands
 * still: either the editor saw the slot, and copies, or the reader sees the editor, and waits for
 * it. Readers of older snapshots have pages of their own.
 *
 * A process that is killed between 3 and 4 leaves pages that fit no commit. The log has everything,
 * but only who is alone may recover: so only who is alone edits. Who attaches says so first, and
 * then waits for an editor (shared_attach).
 *
 * Readers that wait are counted. Where that happens, the next commits copy.
 */
#include "edit.h"
#include "tree_write_internal.h"

enum {
    PAUSE_MIN = 1024,    /* commits that copy after a reader has waited; twice as many each time */
    PAUSE_MAX = 1 << 17, /* that this happens again within the */
    CALM_EDITS = 4096,   /* next edits */
    LOOK_COMMITS = 4096, /* between two looks whether the other processes have gone */
    BLOCKS_MAX = 8,      /* of reader slots: a look at more of them costs more than it saves */
};

static bool is_alone(struct btree *btree)
{
    struct edits *edits = &btree->edits;
    if (LIKELY(atomic_load_explicit(&btree->head->joins, memory_order_relaxed) == edits->joins))
        return true;
    bool is_alone = false;
    if (++edits->looks % LOOK_COMMITS || shared_hold_alone(btree, &is_alone) || !is_alone)
        return false;
    /* Nobody joins before the open lock is given back. */
    edits->joins = atomic_load(&btree->head->joins);
    shared_open_done(btree);
    return true;
}

/* Nothing was written in this transaction, nor rolled back. */
static inline bool is_first_put(const struct btree_txn *txn)
{
    return !txn->is_changed && txn->care == 0 && txn->savepoint_count == 0 && !txn->is_replay &&
           !txn->is_bypass && txn->btree->space.change_count == 0;
}

/* Pages are written through windows, and nobody has noted what keys a leaf has: a note stands for
 * the page as one transaction wrote it. */
static inline bool pages_are_plain(const struct pager *pager)
{
    return atomic_load_explicit(&pager->modes, memory_order_relaxed) == 0 &&
           !atomic_load_explicit(&pager->filters, memory_order_relaxed);
}

bool edit_is_possible(struct btree_txn *txn)
{
    struct btree *btree = txn->btree;
    struct edits *edits = &btree->edits;
    if (edits->pause) {
        edits->pause--;
        return false;
    }
    return btree->attachment.file && pages_are_plain(&btree->pager) && is_alone(btree);
}

bool edit_may_store(struct btree_txn *txn, page_id id, const uint8_t *page)
{
    return !page_is_sealed(page) && pager_prepare(&txn->btree->pager, id) == SOMBRA_OK;
}

bool edit_wants(struct btree_txn *txn, const struct tree_path *path)
{
    struct edits *edits = &txn->btree->edits;
    if (!is_first_put(txn))
        return false;
    edits->is_likely = false;
    txn->many.state = MANY_OVER;
    if (!edit_is_possible(txn))
        return false;
    txn->many.state = MANY_PUTS;
    /* No page is older than its child. */
    if (page_txn(path->at[0].page) <= edits->floor)
        return false;
    for (unsigned level = 0; level < path->depth; level++)
        if (!edit_may_store(txn, path->at[level].id, path->at[level].page))
            return false;
    return true;
}

void edit_end(struct btree *btree)
{
    atomic_store_explicit(&btree->head->editor, 0, memory_order_release);
}

/* Steps 1 and 2. */
bool edit_begin(struct btree *btree, uint64_t oldest)
{
    struct head *head = btree->head;
    struct edits *edits = &btree->edits;
    if (atomic_load_explicit(&head->blocks_used, memory_order_relaxed) > BLOCKS_MAX)
        return false;
    atomic_store(&head->editor, btree->attachment.self);
    edits->floor = head_newest_pinned(head);
    /* Who noted something had it pinned. */
    if (LIKELY(edits->floor < oldest && atomic_load(&head->joins) == edits->joins &&
               pages_are_plain(&btree->pager)))
        return true;
    edit_end(btree);
    return false;
}

/* Pages that nobody else sees change; there is room. */
static void pages_change(struct btree_txn *txn)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    struct tree_path *path = &txn->btree->finger.path;
    sombra_slice key;
    struct leaf_value value = { 0 };
    redo_read_put(txn, txn->held.redo_at, &key, &value.bytes);
    unsigned index = path->at[0].index;
    uint8_t *leaf = tree_own_page(txn, path->at[0].id);
    bool fits = txn->held.replaces ? leaf_replace(leaf, page_bytes, index, &value)
                                   : leaf_insert(leaf, page_bytes, index, key, &value);
    assert(fits && "leaf_has_place went before");
    (void)fits;
    if (txn->held.replaces)
        return;
    txn->snapshot.entries++;
    for (unsigned level = 1; level < path->depth; level++)
        branch_add_entries(tree_own_page(txn, path->at[level].id), path->at[level].index, 1);
}

bool edit_must_pause(struct btree *btree)
{
    struct edits *edits = &btree->edits;
    uint32_t waits = atomic_load_explicit(&btree->head->editor_waits, memory_order_relaxed);
    if (LIKELY(waits == edits->waits_seen))
        return false;
    bool is_again = edits->pause_last && edits->since_pause < CALM_EDITS;
    unsigned pause = is_again ? 2 * edits->pause_last : PAUSE_MIN;
    edits->waits_seen = waits;
    edits->pause = edits->pause_last = pause < PAUSE_MAX ? pause : PAUSE_MAX;
    edits->since_pause = 0;
    return true;
}

sombra_err edit_commit(struct btree_txn *txn, bool *out_done)
{
    struct btree *btree = txn->btree;
    const struct tree_path *path = &btree->finger.path;
    uint64_t lsn = txn->snapshot.lsn + 1;
    *out_done = false;
    if (UNLIKELY(txn->held.redo_at || edit_must_pause(btree)))
        return SOMBRA_OK;
    /* What can fail and takes time, before anybody waits. */
    sombra_err err = txn_reserve(txn, false);
    if (err || !edit_begin(btree, page_txn(path->at[0].page)))
        return err;
    err = txn_append(txn, lsn);
    if (!err) {
        for (unsigned level = 0; level < path->depth; level++)
            pager_trust(&btree->pager, path->at[level].id);
        pages_change(txn);
        txn_publish(txn, lsn);
    }
    edit_end(btree);
    txn->care &= (unsigned)~TXN_HELD;
    btree->edits.since_pause++;
    btree->edits.is_likely = *out_done = !err;
    return err;
}
