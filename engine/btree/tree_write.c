/* SPDX-License-Identifier: MIT */
/* Writing the tree: copy-on-write along the path, counts, put and its finger. */
#include "edit.h"
#include "overflow_format.h"
#include "tree_write_internal.h"

/* ---- pages ------------------------------------------------------------------------------- */

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
            at->page = tree_own_page(txn, at->id);
            continue;
        }
        page_id id;
        uint8_t *copy = tree_new_page(txn, &id);
        page_copy(copy, at->page, page_bytes);
        page_set_identity(copy, id, txn->stamp);
        tree_free_page(txn, at->id, page_txn(at->page));
        *at = (struct path_level){ .id = id, .page = copy, .index = at->index };
        if (level + 1 == path->depth) {
            txn->snapshot.root = id;
        } else {
            struct path_level *above = &path->at[level + 1];
            branch_set_child(tree_own_page(txn, above->id), page_bytes, above->index, id,
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
        !space_is_unused(space, id) && (pages == 1 || !space_is_unused(space, id + pages - 1)))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT,
                     "%s: page %" PRIu64 ": in use by the tree, and free in the space maps",
                     txn->btree->path ? txn->btree->path : BTREE_MEMORY, id);
}

sombra_err tree_check_path(const struct btree_txn *txn, const struct tree_path *path)
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

sombra_err tree_check_value(const struct btree_txn *txn, const struct leaf_value *value)
{
    if (!value->overflow)
        return SOMBRA_OK;
    uint64_t pages = value->overflow_bytes <= KV_VALUE_BYTES_MAX
                         ? pager_run_pages(&txn->btree->pager, value->overflow_bytes)
                         : UINT64_MAX;
    return tree_check_used(txn, value->overflow, pages);
}

/* ---- counts ------------------------------------------------------------------------------ */

uint64_t tree_entries(const struct btree_txn *txn, const uint8_t *page, unsigned level)
{
    return level ? branch_entries_before(page, txn->btree->pager.page_bytes, page_count(page))
                 : page_count(page);
}

/* Adds `delta` to the counts of the path's children above `level`. */
void tree_add_counts(struct btree_txn *txn, struct tree_path *path, unsigned level, int64_t delta)
{
    for (unsigned above = level + 1; above < path->depth; above++)
        branch_add_entries(tree_path_page(txn, path, above), path->at[above].index, delta);
}

/* Recomputes the count that the parent of `level` has for the path's page, from the page. */
void tree_refresh_count(struct btree_txn *txn, struct tree_path *path, unsigned level)
{
    if (level + 1 >= path->depth)
        return;
    struct path_level *at = &path->at[level];
    branch_set_child(tree_path_page(txn, path, level + 1), txn->btree->pager.page_bytes,
                     path->at[level + 1].index, at->id, tree_entries(txn, at->page, level));
}

/* ---- calls ------------------------------------------------------------------------------- */

/* Undoes a call that failed before its first change to the tree. */
sombra_err tree_undo_call(struct btree_txn *txn, size_t changes, size_t redo_bytes, sombra_err err)
{
    if (err && !(txn->care & TXN_FAILED)) {
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
        if (LIKELY(!is_in_map && !(pager_has_mode(pager, PAGER_BUFFERED) && pager->dirty.count)) ||
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

sombra_err tree_keep_arguments(struct btree_txn *txn, sombra_slice *a, sombra_slice *b)
{
    if (LIKELY(!pager_must_spill(&txn->btree->pager)))
        return SOMBRA_OK;
    sombra_err err = arguments_keep(txn, a, b);
    return err ? err : images_spill(txn);
}

/* ---- put --------------------------------------------------------------------------------- */

static bool finger_is_set(const struct btree_txn *txn)
{
    const struct put_finger *finger = &txn->btree->finger;
    return finger->stamp == txn->stamp && finger->generation == txn->generation;
}

static bool bounds_hold(const struct put_finger *finger, sombra_slice key)
{
    return (!finger->low_bytes ||
            slice_compare(key, slice_of(finger->low, finger->low_bytes)) >= 0) &&
           (!finger->high_bytes ||
            slice_compare(key, slice_of(finger->high, finger->high_bytes)) < 0);
}

/* Would a descent for the key lead to the finger's leaf? */
static bool finger_holds(const struct btree_txn *txn, sombra_slice key)
{
    const struct put_finger *finger = &txn->btree->finger;
    return finger_is_set(txn) && finger->has_bounds && bounds_hold(finger, key);
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

bool tree_finger_leads(struct btree_txn *txn, sombra_slice key)
{
    struct put_finger *finger = &txn->btree->finger;
    finger_bound(finger, txn->btree->pager.page_bytes);
    return bounds_hold(finger, key);
}

/* The finger's path begins to lead to where the key is or belongs: its leaf is on the way. It is
 * not set again before the put has left the path as it is. */
struct put_approach {
    page_id before;   /* the leaf of the put before, or 0 */
    bool has_arrived; /* by the trail of a get: the path has its entry, too, */
    bool is_there;    /* and the key is there */
};

static sombra_err finger_approach(struct btree_txn *txn, sombra_slice key, struct put_approach *out)
{
    struct put_finger *finger = &txn->btree->finger;
    out->before = finger_is_set(txn) ? finger->path.at[0].id : 0;
    finger->stamp = 0;
    finger->has_bounds = false;
    out->has_arrived = tree_trail_leads(txn, key, &finger->path, &out->is_there);
    return out->has_arrived ? SOMBRA_OK : tree_approach_writing(txn, key, &finger->path);
}

static sombra_err finger_arrive(struct btree_txn *txn, const struct put_approach *approach)
{
    struct put_finger *finger = &txn->btree->finger;
    sombra_err err = approach->has_arrived ? SOMBRA_OK : tree_arrive_writing(txn, &finger->path);
    if (!err && finger->path.at[0].id == approach->before)
        finger_bound(finger, txn->btree->pager.page_bytes);
    return err;
}

static void finger_set(struct btree_txn *txn)
{
    struct put_finger *finger = &txn->btree->finger;
    if (pager_has_mode(&txn->btree->pager, PAGER_BUFFERED))
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

sombra_err tree_check_put(const struct btree_txn *txn, const struct tree_path *path,
                          const struct leaf_value *old)
{
    sombra_err err = tree_check_path(txn, path);
    if (!err)
        err = tree_check_value(txn, old);
    if (!err && path->depth >= PAGE_LEVEL_MAX)
        err = diag_fail(SOMBRA_CORRUPT, "the tree has %u levels: no tree has so many", path->depth);
    return err;
}

/* A run that nobody has read yet is read only if it begins alike. */
static bool run_holds(struct btree_txn *txn, const struct leaf_value *run, sombra_slice value)
{
    enum { PEEK_BYTES = 256 };
    const struct pager *pager = &txn->btree->pager;
    uint8_t peek[PEEK_BYTES];
    sombra_slice stored;
    if (run->overflow_bytes != value.bytes || tree_check_value(txn, run))
        return false;
    if (pager->file && !pager_bit(pager->sound_runs, run->overflow)) {
        size_t bytes = size_min(value.bytes, PEEK_BYTES);
        uint64_t at = (run->overflow << pager->page_shift) + OVERFLOW_AT;
        if (os_read(pager->file, at, peek, bytes) || memcmp(peek, value.data, bytes) != 0)
            return false;
    }
    return !tree_value(txn, run, &stored) && slice_equal(stored, value);
}

bool tree_value_is(struct btree_txn *txn, const struct leaf_value *stored, sombra_slice value)
{
    return stored->overflow ? run_holds(txn, stored, value) : slice_equal(stored->bytes, value);
}

static sombra_err pages_reserve(struct btree_txn *txn)
{
    size_t pages = tree_pages_needed(txn);
    return space_reserve(&txn->btree->space, pages, pages + 2);
}

/* With pages reserved: a run of the value's own may have been taken from them. */
static sombra_err value_store(struct btree_txn *txn, sombra_slice value, struct leaf_value *out)
{
    sombra_err err = tree_store_value(txn, value, out);
    return err || !out->overflow ? err : pages_reserve(txn);
}

static sombra_err first_leaf(struct btree_txn *txn, sombra_slice key, sombra_slice value)
{
    struct leaf_value stored;
    sombra_err err = pages_reserve(txn);
    if (!err)
        err = value_store(txn, value, &stored);
    if (err)
        return err;
    page_id id;
    uint8_t *page = tree_new_page(txn, &id);
    page_init(page, txn->btree->pager.page_bytes, PAGE_LEAF, 0, id, txn->stamp);
    bool fits = leaf_insert(page, txn->btree->pager.page_bytes, 0, key, &stored);
    assert(fits);
    (void)fits;
    tree_set_root(txn, id, 1);
    txn->snapshot.entries = 1;
    return SOMBRA_OK;
}

/* An entry for the place that the finger's path leads to. */
struct leaf_change {
    sombra_slice key;
    struct leaf_value value, old;
    page_id before;
    bool replaces;
};

/* The path's pages are this transaction's. */
static sombra_err leaf_write(struct btree_txn *txn, const struct leaf_change *change)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    struct tree_path *path = &txn->btree->finger.path;
    unsigned index = path->at[0].index;
    finger_note(&txn->btree->finger, change->before, change->replaces);
    if (change->replaces)
        tree_free_value(txn, &change->old);
    else
        txn->snapshot.entries++;
    uint8_t *page = tree_path_page(txn, path, 0);
    bool fits = change->replaces
                    ? leaf_replace(page, page_bytes, index, &change->value)
                    : leaf_insert(page, page_bytes, index, change->key, &change->value);
    if (!fits) {
        txn->btree->finger.stamp = 0;
        return tree_spread_leaf(txn, path, change->key, &change->value, change->replaces);
    }
    if (!change->replaces)
        tree_add_counts(txn, path, 0, 1);
    finger_set(txn);
    return SOMBRA_OK;
}

sombra_err tree_held_settle(struct btree_txn *txn)
{
    const struct held_put *held = &txn->held;
    struct leaf_change change = { .before = held->before, .replaces = held->replaces };
    txn->care &= (unsigned)~TXN_HELD;
    redo_read_put(txn, held->redo_at, &change.key, &change.value.bytes);
    tree_touch(txn, &txn->btree->finger.path, 0);
    txn->generation--; /* it was counted, and what follows says how it will be */
    sombra_err err = leaf_write(txn, &change);
    txn->generation++;
    return tree_broken(txn, err);
}

/* With a path that was just found. */
static bool leaf_holds(struct btree_txn *txn, const struct leaf_change *change, bool may_hold)
{
    const struct tree_path *path = &txn->btree->finger.path;
    const struct path_level *leaf = &path->at[0];
    if (change->old.overflow || change->value.overflow)
        return false;
    if (may_hold)
        return edit_many_takes(txn, path, change->key, &change->value,
                               change->replaces ? &change->old : NULL);
    if (!edit_wants(txn, path) ||
        !leaf_has_place(leaf->page, txn->btree->pager.page_bytes, leaf->index, change->replaces,
                        change->key, &change->value))
        return false;
    txn->held.before = change->before;
    txn->held.replaces = change->replaces;
    txn->care |= TXN_HELD;
    return true;
}

/* *out_changed false: the value is what stands there. */
static sombra_err leaf_put(struct btree_txn *txn, sombra_slice key, sombra_slice value,
                           bool may_hold, bool *out_changed)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    struct tree_path *path = &txn->btree->finger.path;
    bool is_held = finger_holds(txn, key);
    struct put_approach approach = { .before = is_held ? path->at[0].id : 0 };
    sombra_err err = is_held ? SOMBRA_OK : finger_approach(txn, key, &approach);
    if (!err)
        err = pages_reserve(txn); /* while the leaf comes */
    if (!err && !is_held)
        err = finger_arrive(txn, &approach);
    if (err)
        return err;
    struct path_level *leaf = &path->at[0];
    bool replaces = approach.is_there;
    if (is_held && leaf_is_behind(leaf->page, page_bytes, key))
        leaf->index = page_count(leaf->page);
    else if (!approach.has_arrived)
        replaces = leaf_find(leaf->page, page_bytes, key, &leaf->index);
    struct leaf_value old = { 0 }, stored;
    if (replaces)
        leaf_value_at(leaf->page, page_bytes, leaf->index, &old);
    *out_changed = !replaces || !tree_value_is(txn, &old, value);
    if (!*out_changed)
        return SOMBRA_OK;
    if (!is_held || old.overflow)
        err = tree_check_put(txn, path, &old);
    if (!err)
        err = value_store(txn, value, &stored);
    if (err)
        return err;
    struct leaf_change change = {
        .key = key, .value = stored, .old = old, .before = approach.before, .replaces = replaces
    };
    if (!is_held && leaf_holds(txn, &change, may_hold))
        return SOMBRA_OK;
    if (!is_held)
        tree_touch(txn, path, 0);
    return leaf_write(txn, &change);
}

/* The put of a load in key order: the key belongs behind the last entry of the finger's leaf, which
 * has room. False = nothing changed. */
static bool finger_append(struct btree_txn *txn, sombra_slice key, sombra_slice value)
{
    struct put_finger *finger = &txn->btree->finger;
    size_t page_bytes = txn->btree->pager.page_bytes;
    if (!finger_is_set(txn) || !finger->has_bounds || value.bytes > leaf_inline_max(page_bytes) ||
        (finger->high_bytes && slice_compare(key, slice_of(finger->high, finger->high_bytes)) >= 0))
        return false;
    struct tree_path *path = &finger->path;
    uint8_t *page = tree_path_page(txn, path, 0);
    if (!leaf_append(page, page_bytes, key, &(struct leaf_value){ .bytes = value }))
        return false;
    path->at[0].index = page_count(page) - 1;
    /* A load in key order: a copy of a leaf serves many. */
    if (txn->many.state == MANY_PUTS && txn->care == 0)
        txn->many.state = MANY_OVER;
    finger_note(finger, path->at[0].id, false);
    txn->snapshot.entries++;
    tree_add_counts(txn, path, 0, 1);
    finger_set(txn);
    return true;
}

sombra_err tree_store_value(struct btree_txn *txn, sombra_slice value, struct leaf_value *out)
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

/* A transaction that holds puts, or may, is asked what to do with this one. */
static inline sombra_err put_check_held(struct btree_txn *txn, sombra_slice key, sombra_slice value,
                                        enum edit_answer *out_answer)
{
    bool may_hold = txn->many.state == MANY_PUTS && !txn->is_replay;
    if (LIKELY(!may_hold))
        return txn->care & (TXN_HELD | TXN_MANY) ? txn_attend(txn) : SOMBRA_OK;
    sombra_err err = kv_check_key(key);
    if (!err)
        err = kv_check_value(value);
    return err ? err : edit_many_put(txn, key, value, out_answer);
}

sombra_err btree_put(struct kv_txn *kv_txn, sombra_slice key, sombra_slice value)
{
    struct btree_txn *txn = txn_of(kv_txn);
    bool is_deferred = false;
    enum edit_answer answer = EDIT_AT_ONCE;
    sombra_err err = put_check_held(txn, key, value, &answer);
    if (err || answer == EDIT_DONE)
        return err;
    bool may_hold = answer == EDIT_MAY_HOLD;
    /* One that may be held is not deferred, even if memory got short a moment ago: beside what is
     * held nothing may wait. */
    if (UNLIKELY(!may_hold && (txn->care || pager_has_mode(&txn->btree->pager, PAGER_SHORT))))
        err = tree_defer_put(txn, key, value, &is_deferred);
    else if (!may_hold)
        err = tree_check_writable(txn);
    if (!err)
        err = kv_check_key(key);
    if (!err)
        err = kv_check_value(value);
    if (UNLIKELY(err || is_deferred))
        return err;
    size_t changes = txn->btree->space.change_count, redo_bytes = txn->redo.bytes;
    bool changes_tree = true;
    err = arguments_keep(txn, &key, &value);
    if (!err)
        err = images_spill(txn);
    if (!err)
        err = redo_put(txn, key, value);
    txn->held.redo_at = redo_bytes;
    if (!err && !finger_append(txn, key, value))
        err = txn->snapshot.depth == 0 ? first_leaf(txn, key, value)
                                       : leaf_put(txn, key, value, may_hold, &changes_tree);
    if (err)
        return tree_undo_call(txn, changes, redo_bytes, err);
    if (!changes_tree) {
        redo_rewind(txn, redo_bytes);
        return SOMBRA_OK;
    }
    txn->generation++;
    txn->given_bytes += key.bytes + value.bytes;
    txn->is_changed = true;
    return SOMBRA_OK;
}
