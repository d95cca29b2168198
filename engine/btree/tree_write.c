/* SPDX-License-Identifier: MIT */
/* Writing the tree: copy-on-write along the path, splits, merges, counts.
 *
 * Each operation first reserves all pages it can need, so that between its first change and its
 * last nothing can fail but reading a damaged or unreadable page; that marks the transaction
 * failed. After each operation: every branch's count of a child is the number of entries below that
 * child, no page but the root is empty, a page whose txn is not the transaction's stamp was not
 * changed.
 */
#include "btree_internal.h"

/* A page this empty is merged with a neighbour if both fit into one. */
enum { MERGE_BELOW_DIVISOR = 3 };
/* A full leaf spreads its entries over a neighbour that is filled no more than this, and splits
 * only if there is none. More would fill pages better, and spread more often. */
enum { SHARE_USED_PERCENT = 70 };
/* So many entries put one right behind the other are a sequential load. */
enum { RUN_ENTRIES_MIN = 16 };

static sombra_err writable_check(struct btree_txn *txn)
{
    if (UNLIKELY(!txn->kv.is_write))
        return diag_fail(SOMBRA_READONLY,
                         "the transaction is read-only: begin a write transaction");
    if (UNLIKELY(!txn_is_usable(txn)))
        return txn_unusable(txn);
    return SOMBRA_OK;
}

static sombra_err broken(struct btree_txn *txn, sombra_err err)
{
    if (err)
        txn->is_failed = true;
    return err;
}

/* ---- pages ------------------------------------------------------------------------------- */

static uint8_t *page_of(struct btree_txn *txn, page_id id)
{
    return pager_writable(&txn->btree->pager, id);
}

static uint8_t *page_new(struct btree_txn *txn, page_id *out_id)
{
    page_id id = space_take(&txn->btree->space);
    *out_id = id;
    return page_of(txn, id);
}

static void page_free(struct btree_txn *txn, page_id id, uint64_t born)
{
    space_free(&txn->btree->space, id, 1, born, txn->stamp);
}

void tree_free_value(struct btree_txn *txn, const struct leaf_value *value)
{
    if (!value->overflow)
        return;
    struct pager *pager = &txn->btree->pager;
    const uint8_t *head = pager_page(pager, value->overflow);
    /* A run that was never read may be damaged: then its birth is unknown, and 0 is never too
     * large. */
    uint64_t born = pager_bit(pager->sound_runs, value->overflow) ? page_txn(head) : 0;
    space_free(&txn->btree->space, value->overflow, pager_run_pages(pager, value->overflow_bytes),
               born, txn->stamp);
}

static void root_set(struct btree_txn *txn, page_id id, unsigned depth)
{
    txn->snapshot.root = id;
    txn->snapshot.depth = depth;
}

/* Puts an image built elsewhere into a page of this transaction. */
void tree_put_image(struct btree_txn *txn, uint8_t *to, page_id id, const uint8_t *image)
{
    page_copy(to, image, txn->btree->pager.page_bytes);
    page_set_identity(to, id, txn->stamp);
}

/* Makes levels [from, depth) of the path this transaction's own. */
void tree_touch(struct btree_txn *txn, struct tree_path *path, unsigned from)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    for (unsigned level = path->depth; level-- > from;) {
        struct path_level *at = &path->at[level];
        if (page_txn(at->page) == txn->stamp) {
            at->page = page_of(txn, at->id);
            continue;
        }
        page_id id;
        uint8_t *copy = page_new(txn, &id);
        page_copy(copy, at->page, page_bytes);
        page_set_identity(copy, id, txn->stamp);
        page_free(txn, at->id, page_txn(at->page));
        *at = (struct path_level){ .id = id, .page = copy, .index = at->index };
        if (level + 1 == path->depth) {
            txn->snapshot.root = id;
        } else {
            struct path_level *above = &path->at[level + 1];
            branch_set_child(page_of(txn, above->id), page_bytes, above->index, id,
                             branch_entries(above->page, page_bytes, above->index));
        }
    }
}

/* Before the first change, what can fail. A page that the tree uses and the account calls unused,
 * or a run that reaches beyond the file, is damage; changing on would make it worse. */
sombra_err tree_check_used(const struct btree_txn *txn, page_id id, uint64_t pages)
{
    const struct space *space = &txn->btree->space;
    if (id >= space->first_page && id < space->page_count && pages <= space->page_count - id &&
        !space_is_unused(space, id) && !space_is_unused(space, id + pages - 1))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT,
                     "%s: page %" PRIu64 ": in use by the tree, and free in the space maps",
                     txn->btree->path ? txn->btree->path : BTREE_MEMORY, id);
}

static sombra_err path_check(const struct btree_txn *txn, const struct tree_path *path)
{
    for (unsigned level = 0; level < path->depth; level++) {
        bool is_own = page_txn(path->at[level].page) == txn->stamp;
        page_id id = path->at[level].id;
        sombra_err err =
            is_own ? pager_recall(&txn->btree->pager, id) : tree_check_used(txn, id, 1);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

static sombra_err value_check(const struct btree_txn *txn, const struct leaf_value *value)
{
    if (!value->overflow)
        return SOMBRA_OK;
    uint64_t pages = value->overflow_bytes <= KV_VALUE_BYTES_MAX
                         ? pager_run_pages(&txn->btree->pager, value->overflow_bytes)
                         : UINT64_MAX;
    return tree_check_used(txn, value->overflow, pages);
}

static uint8_t *path_page(struct btree_txn *txn, struct tree_path *path, unsigned level)
{
    assert(page_txn(path->at[level].page) == txn->stamp);
    return page_of(txn, path->at[level].id);
}

/* ---- counts ------------------------------------------------------------------------------ */

uint64_t tree_entries(const struct btree_txn *txn, const uint8_t *page, unsigned level)
{
    return level ? branch_entries_before(page, txn->btree->pager.page_bytes, page_count(page))
                 : page_count(page);
}

/* Adds `delta` to the counts of the path's children above `level`. */
static void counts_add(struct btree_txn *txn, struct tree_path *path, unsigned level, int64_t delta)
{
    for (unsigned above = level + 1; above < path->depth; above++)
        branch_add_entries(path_page(txn, path, above), path->at[above].index, delta);
}

/* Recomputes the count that the parent of `level` has for the path's page, from the page. */
static void count_refresh(struct btree_txn *txn, struct tree_path *path, unsigned level)
{
    if (level + 1 >= path->depth)
        return;
    struct path_level *at = &path->at[level];
    branch_set_child(path_page(txn, path, level + 1), txn->btree->pager.page_bytes,
                     path->at[level + 1].index, at->id, tree_entries(txn, at->page, level));
}

/* ---- splits ------------------------------------------------------------------------------ */

/* Makes a root of the path's root and its new right neighbour. */
static void root_grow(struct btree_txn *txn, struct tree_path *path, sombra_slice separator,
                      page_id right, uint64_t right_entries)
{
    unsigned level = path->depth;
    page_id id;
    uint8_t *root = page_new(txn, &id);
    page_init(root, txn->btree->pager.page_bytes, PAGE_BRANCH, level, id, txn->stamp);
    const struct path_level *left = &path->at[level - 1];
    branch_build(root, txn->btree->pager.page_bytes, left->id,
                 tree_entries(txn, left->page, level - 1), separator, right, right_entries);
    root_set(txn, id, level + 1);
}

/* Puts a new child to the right of the path's page at `level` into the branch above, splitting it
 * if it must, and brings every count above up to date. The path is used up: it leads nowhere
 * afterwards. */
static void branch_add(struct btree_txn *txn, struct tree_path *path, unsigned level,
                       sombra_slice separator, page_id child, uint64_t entries)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    unsigned above = level + 1;
    if (above == path->depth) {
        root_grow(txn, path, separator, child, entries);
        return;
    }
    count_refresh(txn, path, level);
    struct path_level *at = &path->at[above];
    uint8_t *branch = path_page(txn, path, above);
    if (branch_insert(branch, page_bytes, at->index + 1, separator, child, entries)) {
        for (; above + 1 < path->depth; above++)
            count_refresh(txn, path, above);
        return;
    }
    uint8_t *left = txn->btree->scratch[0];
    uint8_t *right = txn->btree->scratch[1];
    uint8_t up[KV_KEY_BYTES_MAX];
    size_t up_bytes;
    branch_split(branch, page_bytes, at->index + 1, separator, child, entries, left, right, up,
                 &up_bytes);
    page_id right_id;
    uint8_t *right_page = page_new(txn, &right_id);
    tree_put_image(txn, branch, at->id, left);
    tree_put_image(txn, right_page, right_id, right);
    branch_add(txn, path, above, slice_of(up, up_bytes), right_id,
               tree_entries(txn, right_page, above));
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
        if (tree_page(txn, id, 0, &page) ||
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
        return page_of(txn, *out_id);
    }
    page_free(txn, page_number(neighbour), page_txn(neighbour));
    return page_new(txn, out_id);
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
    leaf_balance(is_left ? other : leaf->page, is_left ? leaf->page : other, page_bytes, split);
    sombra_slice separator = slice_of(split->separator, split->separator_bytes);
    uint8_t *branch = path_page(txn, path, 1);
    if (!branch_replace_separator(branch, page_bytes, right_index, separator))
        return false;
    page_id other_id;
    uint8_t *other_page = neighbour_page(txn, other, &other_id);
    tree_put_image(txn, other_page, other_id, is_left ? split->left : split->right);
    tree_put_image(txn, path_page(txn, path, 0), leaf->id, is_left ? split->right : split->left);
    branch_set_child(branch, page_bytes, other_index, other_id, page_count(other_page));
    count_refresh(txn, path, 0);
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
static sombra_err leaf_spread(struct btree_txn *txn, struct tree_path *path, sombra_slice key,
                              const struct leaf_value *value, bool replaces)
{
    struct btree *btree = txn->btree;
    size_t page_bytes = btree->pager.page_bytes;
    struct path_level *leaf = &path->at[0];
    bool ends_run = !replaces && btree->finger.run >= RUN_ENTRIES_MIN;
    if (!replaces && !ends_run && leaf_share(txn, path, key) &&
        leaf_insert(path_page(txn, path, 0), page_bytes, leaf->index, key, value)) {
        for (unsigned level = 0; level + 1 < path->depth; level++)
            count_refresh(txn, path, level);
        return SOMBRA_OK;
    }
    struct leaf_split *split = btree->split;
    *split = (struct leaf_split){ .left = btree->scratch[2],
                                  .middle = btree->scratch[3],
                                  .right = btree->scratch[4],
                                  .ends_run = ends_run };
    leaf_split(leaf->page, page_bytes, leaf->index, key, value, replaces, split);
    tree_put_image(txn, path_page(txn, path, 0), leaf->id, split->left);
    if (split->pages == 1) {
        for (unsigned level = 0; level + 1 < path->depth; level++)
            count_refresh(txn, path, level);
        return SOMBRA_OK;
    }
    page_id id;
    uint8_t *page = page_new(txn, &id);
    tree_put_image(txn, page, id, split->pages == 3 ? split->middle : split->right);
    sombra_slice separator = slice_of(split->separator, split->separator_bytes);
    branch_add(txn, path, 0, separator, id, page_count(page));
    if (split->pages == 2)
        return SOMBRA_OK;
    struct tree_path to_middle;
    sombra_err err = tree_descend(txn, separator, &to_middle);
    if (err)
        return broken(txn, err);
    assert(to_middle.at[0].id == id);
    page = page_new(txn, &id);
    tree_put_image(txn, page, id, split->right);
    branch_add(txn, &to_middle, 0, slice_of(split->separator2, split->separator2_bytes), id,
               page_count(page));
    return SOMBRA_OK;
}

/* ---- put --------------------------------------------------------------------------------- */

/* Pages that one insert can take: a copy of the path, a new page at each level for each of two
 * splits, two new roots. */
static size_t pages_needed(const struct btree_txn *txn)
{
    return 3 * (size_t)txn->snapshot.depth + 6;
}

static bool finger_is_set(const struct btree_txn *txn)
{
    const struct put_finger *finger = &txn->btree->finger;
    return finger->stamp == txn->stamp && finger->generation == txn->generation;
}

/* Would a descent for the key lead to the finger's leaf? */
static bool finger_holds(const struct btree_txn *txn, sombra_slice key)
{
    const struct put_finger *finger = &txn->btree->finger;
    return finger_is_set(txn) && finger->has_bounds &&
           (!finger->low_bytes ||
            slice_compare(key, slice_of(finger->low, finger->low_bytes)) >= 0) &&
           (!finger->high_bytes ||
            slice_compare(key, slice_of(finger->high, finger->high_bytes)) < 0);
}

/* The bounds of a leaf are the nearest separators on its path. */
static void finger_bound(struct put_finger *finger, size_t page_bytes)
{
    finger->low_bytes = finger->high_bytes = 0;
    for (unsigned level = 1; level < finger->path.depth; level++) {
        const struct path_level *at = &finger->path.at[level];
        if (!finger->low_bytes && at->index > 0)
            finger->low_bytes = branch_separator(at->page, page_bytes, at->index, finger->low);
        if (!finger->high_bytes && at->index + 1 < page_count(at->page))
            finger->high_bytes =
                branch_separator(at->page, page_bytes, at->index + 1, finger->high);
    }
    finger->has_bounds = true;
}

/* The finger's path leads to where the key is or belongs, all of it the transaction's own pages. It
 * is not set again before the put has left the path as it is. */
static sombra_err finger_move(struct btree_txn *txn, sombra_slice key)
{
    struct put_finger *finger = &txn->btree->finger;
    page_id before = finger_is_set(txn) ? finger->path.at[0].id : 0;
    finger->stamp = 0;
    finger->has_bounds = false;
    sombra_err err = tree_descend(txn, key, &finger->path);
    if (!err && finger->path.at[0].id == before)
        finger_bound(finger, txn->btree->pager.page_bytes);
    return err;
}

static void finger_set(struct btree_txn *txn)
{
    struct put_finger *finger = &txn->btree->finger;
    if (txn->btree->pager.is_buffered)
        return;
    finger->stamp = txn->stamp;
    finger->generation = txn->generation + 1; /* as this put will leave it */
}

/* The path leads to where an entry is put; `before` is the leaf of the put before, or 0. */
static void finger_note(struct put_finger *finger, page_id before, bool replaces)
{
    const struct path_level *leaf = &finger->path.at[0];
    bool follows = !replaces && leaf->id == before && leaf->index == finger->run_index + 1;
    finger->run = replaces ? 0 : follows ? finger->run + 1 : 1;
    finger->run_index = leaf->index;
}

static void first_leaf(struct btree_txn *txn, sombra_slice key, const struct leaf_value *value)
{
    page_id id;
    uint8_t *page = page_new(txn, &id);
    page_init(page, txn->btree->pager.page_bytes, PAGE_LEAF, 0, id, txn->stamp);
    bool fits = leaf_insert(page, txn->btree->pager.page_bytes, 0, key, value);
    assert(fits);
    (void)fits;
    root_set(txn, id, 1);
}

/* Before the first change: damage that only shows now. */
static sombra_err put_check(const struct btree_txn *txn, const struct tree_path *path,
                            const struct leaf_value *old)
{
    sombra_err err = path_check(txn, path);
    if (!err)
        err = value_check(txn, old);
    if (!err && path->depth >= PAGE_LEVEL_MAX)
        err = diag_fail(SOMBRA_CORRUPT, "the tree has %u levels: no tree has so many", path->depth);
    return err;
}

static sombra_err leaf_put(struct btree_txn *txn, sombra_slice key, const struct leaf_value *value)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    if (txn->snapshot.depth == 0) {
        first_leaf(txn, key, value);
        txn->snapshot.entries = 1;
        return SOMBRA_OK;
    }
    struct tree_path *path = &txn->btree->finger.path;
    page_id before = finger_is_set(txn) ? path->at[0].id : 0;
    bool is_held = finger_holds(txn, key);
    sombra_err err = is_held ? SOMBRA_OK : finger_move(txn, key);
    if (err)
        return err;
    struct path_level *leaf = &path->at[0];
    bool replaces = false;
    if (is_held && leaf_is_behind(leaf->page, page_bytes, key))
        leaf->index = page_count(leaf->page);
    else
        replaces = leaf_find(leaf->page, page_bytes, key, &leaf->index);
    struct leaf_value old = { 0 };
    if (replaces)
        leaf_value_at(leaf->page, page_bytes, leaf->index, &old);
    if (!is_held || old.overflow)
        err = put_check(txn, path, &old);
    if (err)
        return err;
    if (!is_held)
        tree_touch(txn, path, 0);
    finger_note(&txn->btree->finger, before, replaces);
    if (replaces)
        tree_free_value(txn, &old);
    else
        txn->snapshot.entries++;
    uint8_t *page = path_page(txn, path, 0);
    bool fits = replaces ? leaf_replace(page, page_bytes, leaf->index, value)
                         : leaf_insert(page, page_bytes, leaf->index, key, value);
    if (!fits) {
        txn->btree->finger.stamp = 0;
        return leaf_spread(txn, path, key, value, replaces);
    }
    if (!replaces)
        counts_add(txn, path, 0, 1);
    finger_set(txn);
    return SOMBRA_OK;
}

static sombra_err value_store(struct btree_txn *txn, sombra_slice value, struct leaf_value *out)
{
    struct btree *btree = txn->btree;
    *out = (struct leaf_value){ .bytes = value };
    if (value.bytes <= leaf_inline_max(btree->pager.page_bytes))
        return SOMBRA_OK;
    uint64_t pages = pager_run_pages(&btree->pager, value.bytes);
    page_id id;
    sombra_err err = space_take_run(&btree->space, pages, &id);
    if (err)
        return err;
    err = pager_write_run(&btree->pager, id, txn->stamp, value);
    if (err)
        return err;
    *out = (struct leaf_value){ .overflow = id, .overflow_bytes = value.bytes };
    return SOMBRA_OK;
}

/* Undoes a call that failed before its first change to the tree. */
static sombra_err undone(struct btree_txn *txn, size_t changes, size_t redo_bytes, sombra_err err)
{
    if (err && !txn->is_failed) {
        space_undo(&txn->btree->space, changes);
        redo_rewind(txn, redo_bytes);
    }
    return err;
}

/* Bytes that this store lent may lie in pages that the call changes: those are copied first. */
static sombra_err arguments_keep(struct btree_txn *txn, sombra_slice *key, sombra_slice *value)
{
    const struct pager *pager = &txn->btree->pager;
    sombra_slice *arguments[] = { key, value };
    buf_reset(&txn->lent);
    sombra_err err = SOMBRA_OK;
    size_t keep_max = size_max(leaf_inline_max(pager->page_bytes), KV_KEY_BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(arguments) && !err; i++) {
        const uint8_t *data = arguments[i]->data;
        bool is_in_map = data >= pager->map && data < pager->map + pager->map_bytes;
        /* Private images move about in memory; a value for a run of its own is written before
         * anything changes. */
        if (LIKELY(!is_in_map && !(pager->is_buffered && pager->dirty.count)) ||
            arguments[i]->bytes > keep_max)
            continue;
        size_t at = txn->lent.bytes;
        /* At once for both, so that the buffer does not move under the key. */
        if (at == 0)
            err = buf_reserve(&txn->lent, KV_KEY_BYTES_MAX + keep_max);
        if (!err)
            err = buf_append_slice(&txn->lent, *arguments[i]);
        if (!err)
            *arguments[i] = slice_of(txn->lent.data + at, arguments[i]->bytes);
    }
    return err;
}

/* Before an operation, whose arguments were kept: cursors must not use their paths any more. */
static sombra_err images_spill(struct btree_txn *txn)
{
    struct pager *pager = &txn->btree->pager;
    if (LIKELY(!pager_must_spill(pager)))
        return SOMBRA_OK;
    txn->generation++;
    return pager_spill(pager, txn->snapshot.root);
}

static sombra_err arguments_keep_and_spill(struct btree_txn *txn, sombra_slice *a, sombra_slice *b)
{
    if (LIKELY(!pager_must_spill(&txn->btree->pager)))
        return SOMBRA_OK;
    sombra_err err = arguments_keep(txn, a, b);
    return err ? err : images_spill(txn);
}

sombra_err btree_put(struct kv_txn *kv_txn, sombra_slice key, sombra_slice value)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = writable_check(txn);
    if (!err)
        err = kv_check_key(key);
    if (!err)
        err = kv_check_value(value);
    if (err)
        return err;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    struct leaf_value stored;
    err = arguments_keep(txn, &key, &value);
    if (!err)
        err = images_spill(txn);
    if (!err)
        err = redo_put(txn, key, value);
    if (!err)
        err = value_store(txn, value, &stored);
    if (!err)
        err = space_reserve(&txn->btree->space, pages_needed(txn), pages_needed(txn) + 2);
    if (!err)
        err = leaf_put(txn, key, &stored);
    if (err)
        return undone(txn, changes, redo_bytes, err);
    txn->generation++;
    txn->given_bytes += key.bytes + value.bytes;
    txn->is_changed = true;
    return SOMBRA_OK;
}

/* ---- delete ------------------------------------------------------------------------------ */

/* The path's leaf is empty: takes it out of the tree, and every branch that this empties. Returns
 * the level of the branch that lost a child and stays; the path's depth if none did. */
static unsigned leaf_drop(struct btree_txn *txn, struct tree_path *path)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    for (unsigned level = 0;; level++) {
        struct path_level *at = &path->at[level];
        page_free(txn, at->id, page_txn(at->page));
        if (level + 1 == path->depth) {
            root_set(txn, 0, 0);
            return path->depth;
        }
        struct path_level *above = &path->at[level + 1];
        if (page_count(above->page) > 1) {
            branch_remove(path_page(txn, path, level + 1), page_bytes, above->index,
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
        page_free(txn, txn->snapshot.root, page_txn(page));
        root_set(txn, child, (unsigned)txn->snapshot.depth - 1);
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

/* Merges the path's page at `level` with a neighbour when both fit into one page; *out_merged says
 * so. */
static sombra_err page_merge(struct btree_txn *txn, struct tree_path *path, unsigned level,
                             bool *out_merged)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    struct path_level *at = &path->at[level];
    struct path_level *above = &path->at[level + 1];
    *out_merged = false;
    if (page_count(above->page) < 2)
        return SOMBRA_OK;
    bool is_left = above->index == 0;
    unsigned left_index = is_left ? 0 : above->index - 1;
    page_id sibling_id = branch_child(above->page, page_bytes, is_left ? 1 : left_index);
    const uint8_t *sibling;
    sombra_err err = tree_page(txn, sibling_id, level, &sibling);
    if (err)
        return err;
    if (page_txn(sibling) != txn->stamp)
        err = tree_check_used(txn, sibling_id, 1);
    if (err)
        return err;
    uint8_t *joined = txn->btree->scratch[0];
    if (page_used(sibling, page_bytes) + page_used(at->page, page_bytes) >
            page_bytes + page_bytes / 8 ||
        !pages_join(txn, path, level, left_index + 1, is_left ? at->page : sibling,
                    is_left ? sibling : at->page, joined))
        return SOMBRA_OK;
    tree_put_image(txn, path_page(txn, path, level), at->id, joined);
    page_free(txn, sibling_id, page_txn(sibling));
    uint8_t *branch = path_page(txn, path, level + 1);
    branch_remove(branch, page_bytes, left_index + 1, left_index + 2);
    branch_set_child(branch, page_bytes, left_index, at->id, tree_entries(txn, at->page, level));
    above->index = left_index;
    *out_merged = true;
    return SOMBRA_OK;
}

/* After a removal from the path's page at `level`. */
static sombra_err path_rebalance(struct btree_txn *txn, struct tree_path *path, unsigned level)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    for (; level + 1 < path->depth; level++) {
        bool merged = false;
        if (page_used(path->at[level].page, page_bytes) < page_bytes / MERGE_BELOW_DIVISOR) {
            sombra_err err = page_merge(txn, path, level, &merged);
            if (err)
                return err;
        }
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
    sombra_err err = path_check(txn, path);
    for (unsigned index = first; index < last && !err; index++) {
        struct leaf_value value;
        leaf_value_at(page, page_bytes, index, &value);
        err = value_check(txn, &value);
        if (!err)
            tree_free_value(txn, &value);
    }
    if (err)
        return err;
    bool is_whole = first == 0 && last == page_count(page);
    tree_touch(txn, path, is_whole ? 1 : 0);
    counts_add(txn, path, 0, -(int64_t)(last - first));
    txn->snapshot.entries -= last - first;
    if (is_whole)
        return path_rebalance(txn, path, leaf_drop(txn, path));
    leaf_remove(path_page(txn, path, 0), page_bytes, first, last);
    return path_rebalance(txn, path, 0);
}

sombra_err btree_delete(struct kv_txn *kv_txn, sombra_slice key)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = writable_check(txn);
    if (!err)
        err = kv_check_key(key);
    if (!err)
        err = arguments_keep_and_spill(txn, &key, &(sombra_slice){ 0 });
    if (err)
        return err;
    if (txn->snapshot.depth == 0)
        return SOMBRA_NOT_FOUND;
    struct tree_path path;
    err = tree_descend(txn, key, &path);
    if (err)
        return err;
    unsigned index;
    if (!leaf_find(path.at[0].page, txn->btree->pager.page_bytes, key, &index))
        return SOMBRA_NOT_FOUND;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    err = redo_delete(txn, key);
    if (!err)
        err = space_reserve(&txn->btree->space, pages_needed(txn), 3 * pages_needed(txn));
    if (err)
        return undone(txn, changes, redo_bytes, err);
    txn->generation++;
    txn->given_bytes += key.bytes;
    txn->is_changed = true;
    return broken(txn, leaf_cut(txn, &path, index, index + 1));
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
    err = space_reserve(&txn->btree->space, pages_needed(txn),
                        3 * pages_needed(txn) + (last - first));
    if (err)
        return err;
    *out_removed = last - first;
    return leaf_cut(txn, &path, first, last);
}

sombra_err btree_delete_range(struct kv_txn *kv_txn, struct kv_range range, uint64_t *out_removed)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = writable_check(txn);
    if (!err && (range.low.bytes > KV_KEY_BYTES_MAX || range.high.bytes > KV_KEY_BYTES_MAX))
        err = range_invalid(range);
    if (!err)
        err = arguments_keep_and_spill(txn, &range.low, &range.high);
    if (err)
        return err;
    uint64_t total = 0;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    err = redo_delete_range(txn, range);
    /* All its steps together use no more than one set of pages, for what they copy and empty is
     * free for the next: with two sets, none of them can run out of space in the middle. */
    if (!err)
        err = space_reserve(&txn->btree->space, 2 * pages_needed(txn), 0);
    if (err)
        return undone(txn, changes, redo_bytes, err);
    txn->generation++;
    for (;;) {
        unsigned removed;
        err = range_step(txn, range, &removed);
        if (err && total == 0 && !removed)
            return undone(txn, changes, redo_bytes, err);
        if (err)
            return broken(txn, err);
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
