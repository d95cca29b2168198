/* SPDX-License-Identifier: MIT */
/* What the files that write the tree share: tree_write.c (copy-on-write, put), tree_split.c,
 * tree_put_many.c, tree_delete.c.
 *
 * Each operation first reserves all pages it can need, so that between its first change and its
 * last nothing can fail but reading a damaged or unreadable page; that marks the transaction
 * failed. After each operation: every branch's count of a child is the number of entries below that
 * child, no page but the root is empty, a page whose txn is not the transaction's stamp was not
 * changed (but by edit.c and edit_many.c).
 */
#ifndef TREE_WRITE_INTERNAL_H
#define TREE_WRITE_INTERNAL_H

#include "btree_internal.h"

static inline sombra_err tree_check_writable(struct btree_txn *txn)
{
    if (UNLIKELY(!txn->kv.is_write))
        return diag_fail(SOMBRA_READONLY,
                         "the transaction is read-only: begin a write transaction");
    return txn_check(txn);
}

static inline sombra_err tree_broken(struct btree_txn *txn, sombra_err err)
{
    if (err)
        txn->care |= TXN_FAILED;
    return err;
}

static inline uint8_t *tree_own_page(struct btree_txn *txn, page_id id)
{
    return pager_writable(&txn->btree->pager, id);
}

static inline uint8_t *tree_new_page(struct btree_txn *txn, page_id *out_id)
{
    page_id id = space_take(&txn->btree->space);
    /* The file has grown: descents take what lies behind the count for damage. */
    if (UNLIKELY(id >= txn->snapshot.page_count))
        txn->snapshot.page_count = txn->btree->space.page_count;
    *out_id = id;
    return tree_own_page(txn, id);
}

static inline void tree_free_page(struct btree_txn *txn, page_id id, uint64_t born)
{
    space_free(&txn->btree->space, id, 1, born, txn->stamp);
}

static inline void tree_set_root(struct btree_txn *txn, page_id id, unsigned depth)
{
    txn->snapshot.root = id;
    txn->snapshot.depth = depth;
}

static inline uint8_t *tree_path_page(struct btree_txn *txn, struct tree_path *path, unsigned level)
{
    assert(page_txn(path->at[level].page) == txn->stamp);
    return tree_own_page(txn, path->at[level].id);
}

/* Pages that one insert can take: a copy of the path, a new page at each level for each of two
 * splits, two new roots. */
static inline size_t tree_pages_needed(const struct btree_txn *txn)
{
    return 3 * (size_t)txn->snapshot.depth + 6;
}

/* Before the first change: the path's pages are in use, and this transaction's are in memory. */
sombra_err tree_check_path(const struct btree_txn *txn,
                           const struct tree_path *path) SOMBRA_MUST_CHECK;
/* The same of the run of a value that is about to be freed. */
sombra_err tree_check_value(const struct btree_txn *txn,
                            const struct leaf_value *value) SOMBRA_MUST_CHECK;
/* Both, before a put that replaces `old`: damage that only shows now. */
sombra_err tree_check_put(const struct btree_txn *txn, const struct tree_path *path,
                          const struct leaf_value *old) SOMBRA_MUST_CHECK;
/* Adds `delta` to the counts of the path's children above `level`. */
void tree_add_counts(struct btree_txn *txn, struct tree_path *path, unsigned level, int64_t delta);
/* Recomputes the count that the parent of `level` has for the path's page, from the page. */
void tree_refresh_count(struct btree_txn *txn, struct tree_path *path, unsigned level);
/* Undoes a call that failed before its first change to the tree; `changes` and `redo_bytes` are
 * what the account and the redo had before it. Returns err. */
sombra_err tree_undo_call(struct btree_txn *txn, size_t changes, size_t redo_bytes,
                          sombra_err err) SOMBRA_MUST_CHECK;
/* Does the finger's path, which was found for another key, lead to where this one belongs? */
bool tree_finger_leads(struct btree_txn *txn, sombra_slice key);
/* Before an operation: writes out private images if there are too many, and copies arguments that
 * lie in one of them. */
sombra_err tree_keep_arguments(struct btree_txn *txn, sombra_slice *a,
                               sombra_slice *b) SOMBRA_MUST_CHECK;
/* Is that the value? What of it cannot be read is not: it is replaced. */
bool tree_value_is(struct btree_txn *txn, const struct leaf_value *stored, sombra_slice value);
/* Before the first change: a value too long for a leaf goes to a run of its own. */
sombra_err tree_store_value(struct btree_txn *txn, sombra_slice value,
                            struct leaf_value *out) SOMBRA_MUST_CHECK;
/* tree_split.c. Puts a new child to the right of the path's page at `level` into the branch above,
 * splitting it if it must, and brings every count above up to date. The path is used up: it leads
 * nowhere afterwards. */
void tree_add_child(struct btree_txn *txn, struct tree_path *path, unsigned level,
                    sombra_slice separator, struct branch_child child);
/* tree_split.c. The leaf has no room for the entry: spreads it over two or three. The path's pages
 * are this transaction's. */
sombra_err tree_spread_leaf(struct btree_txn *txn, struct tree_path *path, sombra_slice key,
                            const struct leaf_value *value, bool replaces) SOMBRA_MUST_CHECK;

#endif
