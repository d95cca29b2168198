/* SPDX-License-Identifier: MIT */
/* Deleting: entries cut out of leaves, pages that are too empty merged with a neighbour. */
#include "edit.h"
#include "tree_write_internal.h"

/* A thin page that does not fit into its neighbour is not tried again at each removal, for a try
 * reads all of both: only when it has lost another such part of a page. */
enum { MERGE_STEP_DIVISOR = 32 };

/* After a removal: is a neighbour looked for? */
static bool merge_is_due(size_t used_before, size_t used, size_t page_bytes)
{
    const size_t thin = page_bytes / MERGE_BELOW_DIVISOR, step = page_bytes / MERGE_STEP_DIVISOR;
    return used < thin && (used_before >= thin || used / step < used_before / step);
}

/* The path's leaf is empty: takes it out of the tree, and every branch that this empties. Returns
 * the level of the branch that lost a child and stays, with what it used before; the path's depth
 * if none did. */
static unsigned leaf_drop(struct btree_txn *txn, struct tree_path *path, size_t *out_used_before)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    for (unsigned level = 0;; level++) {
        struct path_level *at = &path->at[level];
        tree_free_page(txn, at->id, page_txn(at->page));
        if (level + 1 == path->depth) {
            tree_set_root(txn, 0, 0);
            return path->depth;
        }
        struct path_level *above = &path->at[level + 1];
        if (page_count(above->page) > 1) {
            *out_used_before = page_used(above->page, page_bytes);
            branch_remove(tree_path_page(txn, path, level + 1), page_bytes, above->index,
                          above->index + 1);
            return level + 1;
        }
    }
}

/* A root of one child is no root. */
sombra_err tree_shrink_root(struct btree_txn *txn)
{
    while (txn->snapshot.depth > 1) {
        const uint8_t *page;
        sombra_err err =
            tree_page(txn, txn->snapshot.root, (unsigned)txn->snapshot.depth - 1, &page);
        if (err)
            return err;
        if (page_count(page) > 1)
            return SOMBRA_OK;
        page_id child = branch_child(page, txn->btree->pager.page_bytes, 0);
        tree_free_page(txn, txn->snapshot.root, page_txn(page));
        tree_set_root(txn, child, (unsigned)txn->snapshot.depth - 1);
    }
    return SOMBRA_OK;
}

/* Builds left and right, neighbours under the path's branch at level + 1 with `right_index` there,
 * into one. */
static bool pages_join(struct btree_txn *txn, const struct tree_path *path, unsigned level,
                       unsigned right_index, const uint8_t *left, const uint8_t *right, uint8_t *to)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    if (level == 0)
        return leaf_merge(left, right, page_bytes, to);
    uint8_t between[KV_KEY_BYTES_MAX];
    size_t bytes = branch_separator(path->at[level + 1].page, page_bytes, right_index, between);
    return branch_merge(left, slice_of(between, bytes), right, page_bytes, to);
}

/* Merges the path's page at `level` with its left or right neighbour when both fit into one page;
 * *out_merged says so. */
static sombra_err page_merge_with(struct btree_txn *txn, struct tree_path *path, unsigned level,
                                  bool is_right, bool *out_merged)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    struct path_level *at = &path->at[level];
    struct path_level *above = &path->at[level + 1];
    unsigned left_index = is_right ? above->index : above->index - 1;
    page_id sibling_id = branch_child(above->page, page_bytes, left_index + is_right);
    const uint8_t *sibling;
    sombra_err err = tree_page(txn, sibling_id, level, &sibling);
    if (err)
        return err;
    if (page_txn(sibling) != txn->stamp)
        err = tree_check_used(txn, sibling_id, 1);
    if (err)
        return err;
    if (page_used(sibling, page_bytes) + page_used(at->page, page_bytes) >
        page_bytes + page_bytes / 8)
        return SOMBRA_OK;
    kv_metrics_add_alone(&txn->btree->metrics, KV_COUNTER_JOINS_TRIED, 1);
    uint8_t *joined = txn->btree->scratch[0];
    if (!pages_join(txn, path, level, left_index + 1, is_right ? at->page : sibling,
                    is_right ? sibling : at->page, joined))
        return SOMBRA_OK;
    tree_put_image(txn, tree_path_page(txn, path, level), at->id, joined);
    tree_free_page(txn, sibling_id, page_txn(sibling));
    uint8_t *branch = tree_path_page(txn, path, level + 1);
    branch_remove(branch, page_bytes, left_index + 1, left_index + 2);
    branch_set_child(branch, page_bytes, left_index, at->id, tree_entries(txn, at->page, level));
    above->index = left_index;
    *out_merged = true;
    return SOMBRA_OK;
}

/* The same with either neighbour: the one on the right may be thin, too, and not be touched again.
 */
static sombra_err page_merge(struct btree_txn *txn, struct tree_path *path, unsigned level,
                             bool *out_merged)
{
    const struct path_level *above = &path->at[level + 1];
    sombra_err err = SOMBRA_OK;
    *out_merged = false;
    if (above->index > 0)
        err = page_merge_with(txn, path, level, false, out_merged);
    if (!err && !*out_merged && above->index + 1 < page_count(above->page))
        err = page_merge_with(txn, path, level, true, out_merged);
    return err;
}

/* After a removal from the path's page at `level`, of which `used_before` was in use. */
static sombra_err path_rebalance(struct btree_txn *txn, struct tree_path *path, unsigned level,
                                 size_t used_before)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    for (; level + 1 < path->depth; level++) {
        bool merged = false;
        if (!merge_is_due(used_before, page_used(path->at[level].page, page_bytes), page_bytes))
            break;
        used_before = page_used(path->at[level + 1].page, page_bytes);
        sombra_err err = page_merge(txn, path, level, &merged);
        if (err)
            return err;
        if (!merged)
            break;
    }
    return tree_shrink_root(txn);
}

/* Removes entries [first, last) of the path's leaf. */
static sombra_err leaf_cut(struct btree_txn *txn, struct tree_path *path, unsigned first,
                           unsigned last)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    const uint8_t *page = path->at[0].page;
    sombra_err err = tree_check_path(txn, path);
    for (unsigned index = first; index < last && !err; index++) {
        struct leaf_value value;
        leaf_value_at(page, page_bytes, index, &value);
        err = tree_check_value(txn, &value);
        if (!err)
            tree_free_value(txn, &value);
    }
    if (err)
        return err;
    bool is_whole = first == 0 && last == page_count(page);
    size_t used_before = page_used(page, page_bytes);
    tree_touch(txn, path, is_whole ? 1 : 0);
    tree_add_counts(txn, path, 0, -(int64_t)(last - first));
    txn->snapshot.entries -= last - first;
    unsigned level = 0;
    if (is_whole)
        level = leaf_drop(txn, path, &used_before);
    else
        leaf_remove(tree_path_page(txn, path, 0), page_bytes, first, last);
    return path_rebalance(txn, path, level, used_before);
}

sombra_err btree_delete(struct kv_txn *kv_txn, sombra_slice key)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = kv_check_key(key);
    const bool holds = !err && edit_many_may(txn, key);
    if (!holds) {
        sombra_err other = tree_check_writable(txn);
        err = other ? other : err;
    }
    if (!err)
        err = tree_keep_arguments(txn, &key, &(sombra_slice){ 0 });
    if (err)
        return err;
    if (txn->snapshot.depth == 0)
        return SOMBRA_NOT_FOUND;
    struct tree_path path;
    err = tree_approach_writing(txn, key, &path);
    if (!err && path.depth > 1 &&
        tree_ask_filter(txn, path.at[1].page, path.at[0].id, key) == FILTER_NO)
        return SOMBRA_NOT_FOUND;
    if (!err)
        err = tree_arrive_writing(txn, &path);
    if (err)
        return err;
    unsigned index;
    size_t page_bytes = txn->btree->pager.page_bytes;
    if (!leaf_find(path.at[0].page, page_bytes, key, &index))
        return SOMBRA_NOT_FOUND;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    bool is_held = holds && edit_many_wants(txn, &path, index);
    if (is_held)
        err = tree_check_path(txn, &path);
    if (!err)
        err = redo_delete(txn, key);
    if (!err && !is_held)
        err = space_reserve(&txn->btree->space, tree_pages_needed(txn), 3 * tree_pages_needed(txn));
    if (err)
        return tree_undo_call(txn, changes, redo_bytes, err);
    txn->generation++;
    txn->given_bytes += key.bytes;
    txn->is_changed = true;
    if (is_held) {
        edit_many_hold(txn, &path, key, redo_bytes);
        return SOMBRA_OK;
    }
    return tree_broken(txn, leaf_cut(txn, &path, index, index + 1));
}

/* Removes what the range has in its first leaf; *out_removed 0 = there is nothing left. */
static sombra_err range_step(struct btree_txn *txn, struct kv_range range, unsigned *out_removed)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    *out_removed = 0;
    if (txn->snapshot.depth == 0)
        return SOMBRA_OK;
    struct tree_path path;
    unsigned first = 0;
    sombra_err err = range.low.bytes ? tree_descend(txn, range.low, &path)
                                     : tree_descend_edge(txn, false, &path);
    if (err)
        return err;
    if (range.low.bytes)
        (void)leaf_find(path.at[0].page, page_bytes, range.low, &first);
    if (first == page_count(path.at[0].page)) {
        bool found;
        err = tree_step_leaf(txn, &path, true, &found);
        if (err || !found)
            return err;
        first = 0;
    }
    const uint8_t *page = path.at[0].page;
    unsigned last = page_count(page);
    if (range.high.bytes)
        (void)leaf_find(page, page_bytes, range.high, &last);
    if (first >= last)
        return SOMBRA_OK;
    err = space_reserve(&txn->btree->space, tree_pages_needed(txn),
                        3 * tree_pages_needed(txn) + (last - first));
    if (err)
        return err;
    *out_removed = last - first;
    return leaf_cut(txn, &path, first, last);
}

sombra_err btree_delete_range(struct kv_txn *kv_txn, struct kv_range range, uint64_t *out_removed)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = tree_check_writable(txn);
    if (!err)
        err = kv_check_range(range);
    if (!err)
        err = tree_keep_arguments(txn, &range.low, &range.high);
    if (err)
        return err;
    uint64_t total = 0;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    err = redo_delete_range(txn, range);
    /* All its steps together use no more than one set of pages, for what they copy and empty is
     * free for the next: with two sets, none of them can run out of space in the middle. */
    if (!err)
        err = space_reserve(&txn->btree->space, 2 * tree_pages_needed(txn), 0);
    if (err)
        return tree_undo_call(txn, changes, redo_bytes, err);
    txn->generation++;
    for (;;) {
        unsigned removed;
        err = range_step(txn, range, &removed);
        if (err && total == 0 && !removed)
            return tree_undo_call(txn, changes, redo_bytes, err);
        if (err)
            return tree_broken(txn, err);
        if (!removed)
            break;
        total += removed;
    }
    /* A record without operations is a checkpoint's: what removed nothing is no change. */
    if (total == 0)
        redo_rewind(txn, redo_bytes);
    else
        txn->is_changed = true;
    if (out_removed)
        *out_removed = total;
    return SOMBRA_OK;
}
