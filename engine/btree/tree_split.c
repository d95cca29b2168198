/* SPDX-License-Identifier: MIT */
/* A full leaf: its entries spread over a neighbour, or split, and the branches above with it. */
#include "tree_write_internal.h"

/* A full leaf spreads its entries over a neighbour that is filled no more than this, and splits
 * only if there is none. More would fill pages better, and spread more often. */
enum { SHARE_USED_PERCENT = 88, REBUILD_USED_PERCENT = 70 };
/* So many entries put one right behind the other are a sequential load. */
enum { RUN_ENTRIES_MIN = 16 };

/* Makes a root of the path's root and its new right neighbour. */
static void root_grow(struct btree_txn *txn, struct tree_path *path, sombra_slice separator,
                      struct branch_child right)
{
    unsigned level = path->depth;
    page_id id;
    uint8_t *root = tree_new_page(txn, &id);
    page_init(root, txn->btree->pager.page_bytes, PAGE_BRANCH, level, id, txn->stamp);
    const struct path_level *left = &path->at[level - 1];
    branch_build(root, txn->btree->pager.page_bytes,
                 (struct branch_child){ left->id, tree_entries(txn, left->page, level - 1) },
                 separator, right);
    tree_set_root(txn, id, level + 1);
}

void tree_add_child(struct btree_txn *txn, struct tree_path *path, unsigned level,
                    sombra_slice separator, struct branch_child child)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    unsigned above = level + 1;
    if (above == path->depth) {
        root_grow(txn, path, separator, child);
        return;
    }
    tree_refresh_count(txn, path, level);
    struct path_level *at = &path->at[above];
    uint8_t *branch = tree_path_page(txn, path, above);
    if (branch_insert(branch, page_bytes, at->index + 1, separator, child)) {
        for (; above + 1 < path->depth; above++)
            tree_refresh_count(txn, path, above);
        return;
    }
    struct branch_split split;
    split.left = txn->btree->scratch[0];
    split.right = txn->btree->scratch[1];
    branch_split(branch, page_bytes, at->index + 1, separator, child, &split);
    page_id right_id;
    uint8_t *right_page = tree_new_page(txn, &right_id);
    tree_put_image(txn, branch, at->id, split.left);
    tree_put_image(txn, right_page, right_id, split.right);
    tree_add_child(txn, path, above, slice_of(split.separator, split.separator_bytes),
                   (struct branch_child){ right_id, tree_entries(txn, right_page, above) });
}

/* What a page says of its own size, before it is proved: not to prove one that is full anyway. */
static bool may_have_room(struct btree_txn *txn, page_id id, size_t used_max)
{
    struct pager *pager = &txn->btree->pager;
    if (pager_has_mode(pager, PAGER_BUFFERED) || id >= txn->snapshot.page_count ||
        pager_bit(pager->sound_trees, id))
        return true;
    if (pager_bring(pager, id) != SOMBRA_OK)
        return false;
    const uint8_t *page = pager_page(pager, id);
    return page_level(page) == 0 &&
           (page_kind(page) == PAGE_LEAF || page_kind(page) == PAGE_DENSE) &&
           page_used(page, pager->page_bytes) <= used_max;
}

/* The emptier neighbour of the path's leaf under the same branch, if it has room to share; NULL if
 * none has. One that cannot be read is left alone. */
static const uint8_t *neighbour_with_room(struct btree_txn *txn, const struct tree_path *path,
                                          unsigned *out_index)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    const struct path_level *above = &path->at[1];
    const uint8_t *best = NULL;
    size_t least = page_bytes * SHARE_USED_PERCENT / 100;
    for (unsigned side = 0; side < 2; side++) {
        if (side ? above->index + 1 >= page_count(above->page) : above->index == 0)
            continue;
        unsigned index = side ? above->index + 1 : above->index - 1;
        page_id id = branch_child(above->page, page_bytes, index);
        const uint8_t *page;
        if (!may_have_room(txn, id, least) || tree_page(txn, id, 0, &page) ||
            (page_txn(page) != txn->stamp && tree_check_used(txn, id, 1)))
            continue;
        size_t used = page_used(page, page_bytes);
        if (used > least)
            continue;
        least = used;
        best = page;
        *out_index = index;
    }
    return best;
}

/* The page that will hold what is built for the neighbour: its own, or a copy's. */
static uint8_t *neighbour_page(struct btree_txn *txn, const uint8_t *neighbour, page_id *out_id)
{
    if (page_txn(neighbour) == txn->stamp) {
        *out_id = page_number(neighbour);
        return tree_own_page(txn, *out_id);
    }
    tree_free_page(txn, page_number(neighbour), page_txn(neighbour));
    return tree_new_page(txn, out_id);
}

/* In place: only what has to move is copied, a few of the entries. */
static uint8_t *share_moving(struct btree_txn *txn, const uint8_t *other, uint8_t *leaf,
                             bool is_left, unsigned cut, page_id *out_id)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    uint8_t *page = neighbour_page(txn, other, out_id);
    if (page_number(other) != *out_id)
        tree_put_image(txn, page, *out_id, other);
    leaf_balance_move(is_left ? page : leaf, is_left ? leaf : page, page_bytes, cut);
    return page;
}

static uint8_t *share_rebuilding(struct btree_txn *txn, const uint8_t *other,
                                 struct path_level *leaf, bool is_left, page_id *out_id)
{
    const struct leaf_split *split = txn->btree->split;
    uint8_t *page = neighbour_page(txn, other, out_id);
    tree_put_image(txn, page, *out_id, is_left ? split->left : split->right);
    tree_put_image(txn, tree_own_page(txn, leaf->id), leaf->id,
                   is_left ? split->right : split->left);
    return page;
}

/* Spreads the entries of the path's leaf, which is full, evenly over it and a neighbour. The path
 * then leads to the one that `key` belongs to. False = nothing changed. */
static bool leaf_share(struct btree_txn *txn, struct tree_path *path, sombra_slice key)
{
    struct btree *btree = txn->btree;
    size_t page_bytes = btree->pager.page_bytes;
    struct path_level *leaf = &path->at[0];
    struct path_level *above = &path->at[1];
    unsigned other_index = 0;
    const uint8_t *other = path->depth > 1 && !leaf_splits_at_edge(leaf->page, leaf->index)
                               ? neighbour_with_room(txn, path, &other_index)
                               : NULL;
    if (!other || (page_txn(other) == txn->stamp &&
                   pager_recall(&btree->pager, page_number(other)) != SOMBRA_OK))
        return false;
    bool is_left = other_index < above->index;
    unsigned right_index = is_left ? above->index : other_index;
    struct leaf_split *split = btree->split;
    *split = (struct leaf_split){ .left = btree->scratch[2], .right = btree->scratch[4] };
    const uint8_t *left = is_left ? other : leaf->page;
    const uint8_t *right = is_left ? leaf->page : other;
    unsigned cut = leaf_balance_plan(left, right, page_bytes, split);
    if (!cut) {
        if (page_used(other, page_bytes) > page_bytes * REBUILD_USED_PERCENT / 100)
            return false;
        leaf_balance(left, right, page_bytes, split);
    }
    sombra_slice separator = slice_of(split->separator, split->separator_bytes);
    uint8_t *branch = tree_path_page(txn, path, 1);
    if (!branch_replace_separator(branch, page_bytes, right_index, separator))
        return false;
    page_id other_id;
    const uint8_t *other_page =
        cut ? share_moving(txn, other, tree_path_page(txn, path, 0), is_left, cut, &other_id)
            : share_rebuilding(txn, other, leaf, is_left, &other_id);
    branch_set_child(branch, page_bytes, other_index, other_id, page_count(other_page));
    tree_refresh_count(txn, path, 0);
    bool to_right = slice_compare(key, separator) >= 0;
    if ((to_right ? right_index : right_index - 1) == other_index) {
        above->index = other_index;
        *leaf = (struct path_level){ .id = other_id, .page = other_page };
    }
    (void)leaf_find(leaf->page, page_bytes, key, &leaf->index);
    return true;
}

/* The leaf has no room for the entry: spreads it over two or three. The path's pages are this
 * transaction's. */
sombra_err tree_spread_leaf(struct btree_txn *txn, struct tree_path *path, sombra_slice key,
                            const struct leaf_value *value, bool replaces)
{
    struct btree *btree = txn->btree;
    size_t page_bytes = btree->pager.page_bytes;
    struct path_level *leaf = &path->at[0];
    bool ends_run = !replaces && btree->finger.run >= RUN_ENTRIES_MIN;
    space_note_full(&btree->space, !replaces && leaf_splits_at_edge(leaf->page, leaf->index));
    if (!replaces && !ends_run && leaf_share(txn, path, key) &&
        leaf_insert(tree_path_page(txn, path, 0), page_bytes, leaf->index, key, value)) {
        for (unsigned level = 0; level + 1 < path->depth; level++)
            tree_refresh_count(txn, path, level);
        return SOMBRA_OK;
    }
    struct leaf_split *split = btree->split;
    *split = (struct leaf_split){ .left = btree->scratch[2],
                                  .middle = btree->scratch[3],
                                  .right = btree->scratch[4],
                                  .replaces = replaces,
                                  .ends_run = ends_run };
    leaf_split(leaf->page, page_bytes, leaf->index, key, value, split);
    tree_put_image(txn, tree_path_page(txn, path, 0), leaf->id, split->left);
    if (split->pages == 1) {
        for (unsigned level = 0; level + 1 < path->depth; level++)
            tree_refresh_count(txn, path, level);
        return SOMBRA_OK;
    }
    page_id id;
    uint8_t *page = tree_new_page(txn, &id);
    tree_put_image(txn, page, id, split->pages == 3 ? split->middle : split->right);
    sombra_slice separator = slice_of(split->separator, split->separator_bytes);
    tree_add_child(txn, path, 0, separator, (struct branch_child){ id, page_count(page) });
    if (split->pages == 2)
        return SOMBRA_OK;
    struct tree_path to_middle;
    sombra_err err = tree_descend(txn, separator, &to_middle);
    if (err)
        return tree_broken(txn, err);
    assert(to_middle.at[0].id == id);
    page = tree_new_page(txn, &id);
    tree_put_image(txn, page, id, split->right);
    tree_add_child(txn, &to_middle, 0, slice_of(split->separator2, split->separator2_bytes),
                   (struct branch_child){ id, page_count(page) });
    return SOMBRA_OK;
}
