/* SPDX-License-Identifier: MIT */
/* Putting many entries in the order of their keys.
 *
 * Where enough of them belong to one leaf, a step merges them with its entries and builds a row of
 * new leaves; the first takes the leaf's place, the others become its neighbours. Leaves behind it
 * under the same branch that get enough as well go into the same row: one by one, each would leave
 * a leaf half empty. Few are put one by one. A step is one operation in the sense of
 * tree_write_internal.h.
 */
#include "tree_write_internal.h"

enum {
    /* A leaf is built anew if a twentieth as many entries come as it has: one by one they would
     * split it, and cost about as much from a tenth on. */
    MERGE_SHARE = 20,
    MERGE_ENTRIES_MIN = 8,
    /* Entries of one step: as many as fill so many pages, about. */
    STEP_PAGES = 16,
    STEP_ENTRIES_MAX = 16384,
    /* Old leaves of one step, at most. */
    STEP_LEAVES_MAX = 16,
    /* Where a leaf gets fewer than so many, the next entries are put without looking. */
    SPARSE_ENTRIES = 4,
    SPARSE_STRIDE = 16,
    /* From so many leaves on, entries that all stand together are a sequential load. */
    RUN_PAGES_MIN = 3,
    /* Up to so many leaves are filled alike. Of more, alike would be nearly full. */
    ALIKE_PAGES_MAX = 8,
};

/* A new leaf. */
struct piece {
    struct leaf_cut cut;
    page_id id;
};

struct put_many {
    struct btree_txn *txn;
    const struct kv_entry *entries; /* what is left */
    size_t count;
    struct tree_path path; /* to the leaf that the first of them belongs to */
    /* The step: the entries of that leaf and of its next neighbours, and `taken` of the new ones.
     */
    const uint8_t *leaves[STEP_LEAVES_MAX];
    unsigned leaf_count;
    size_t old_count; /* entries of the leaves */
    size_t taken, replaced;
    struct buf keys;            /* of the leaves */
    struct leaf_entry *entered; /* the leaves', then all of them in order */
    uint16_t *shared;
    size_t capacity; /* of both */
    struct leaf_row row;
    unsigned new_first, new_last; /* the row's first new entry, and behind its last */
    struct piece *pieces;
    size_t piece_count, piece_capacity;
    struct leaf_value *freed; /* long values that are replaced */
    size_t freed_count, freed_capacity;
    bool is_changed; /* does the step put what is not there? */
};

static void release(struct put_many *many)
{
    buf_release(&many->keys);
    mem_free(many->entered);
    mem_free(many->shared);
    mem_free(many->pieces);
    mem_free(many->freed);
}

/* Room for `count` items. */
static sombra_err reserve_items(void **items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count <= *capacity)
        return SOMBRA_OK;
    size_t wanted = size_max(size_max(64, *capacity * 2), count);
    void *grown = mem_realloc(*items, wanted * item_bytes);
    if (!grown)
        return diag_nomem("entries put together", wanted * item_bytes);
    *items = grown;
    *capacity = wanted;
    return SOMBRA_OK;
}

/* ---- how many ---------------------------------------------------------------------------- */

/* The nearest separator to the right of so many leaves from the path's on; none: 0 bytes. */
static sombra_slice leaves_bound(const struct put_many *many, unsigned leaves, uint8_t *to)
{
    size_t page_bytes = many->txn->btree->pager.page_bytes;
    for (unsigned level = 1; level < many->path.depth; level++) {
        const struct path_level *at = &many->path.at[level];
        unsigned index = at->index + (level == 1 ? leaves : 1);
        if (index < page_count(at->page))
            return slice_of(to, branch_separator(at->page, page_bytes, index, to));
    }
    return slice_of(NULL, 0);
}

/* A leaf is built anew if it gets so many entries. */
static size_t wanted_of(const uint8_t *leaf)
{
    return size_max(page_count(leaf) / MERGE_SHARE, MERGE_ENTRIES_MIN);
}

static bool is_below(const struct put_many *many, size_t index, sombra_slice bound)
{
    return bound.bytes == 0 || slice_compare(many->entries[index].key, bound) < 0;
}

/* How many entries stand below the bound, at most `most`; `known` of them do. */
static size_t count_below(const struct put_many *many, sombra_slice bound, size_t known,
                          size_t most)
{
    size_t low = known, step = 1;
    while (low < most && is_below(many, size_min(low + step, most) - 1, bound)) {
        low = size_min(low + step, most);
        step *= 2;
    }
    size_t high = size_min(low + step, most);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_below(many, middle, bound))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Takes entries up to the `most`-th, as many as one step may. */
static void step_take(struct put_many *many, size_t *bytes, size_t most)
{
    size_t page_bytes = many->txn->btree->pager.page_bytes;
    const size_t inline_max = leaf_inline_max(page_bytes);
    most = size_min(most, STEP_ENTRIES_MAX);
    while (many->taken < most && *bytes < STEP_PAGES * page_bytes) {
        const struct kv_entry *entry = &many->entries[many->taken++];
        *bytes += entry->key.bytes;
        *bytes += entry->value.bytes <= inline_max ? entry->value.bytes : 0;
    }
}

/* The leaf behind those of the step, if it gets enough entries; *out_leaf NULL: it does not. */
static sombra_err leaf_behind(const struct put_many *many, const uint8_t **out_leaf,
                              size_t *out_most)
{
    struct btree_txn *txn = many->txn;
    const struct path_level *above = &many->path.at[1];
    uint8_t bytes[KV_KEY_BYTES_MAX];
    unsigned index = above->index + many->leaf_count;
    const uint8_t *leaf;
    *out_leaf = NULL;
    if (many->path.depth < 2 || index >= page_count(above->page) || many->taken == many->count)
        return SOMBRA_OK;
    page_id id = branch_child(above->page, txn->btree->pager.page_bytes, index);
    sombra_err err = tree_page(txn, id, 0, &leaf);
    if (err)
        return err;
    sombra_slice bound = leaves_bound(many, many->leaf_count + 1, bytes);
    size_t least = many->taken + wanted_of(leaf);
    if (least > many->count || !is_below(many, least - 1, bound))
        return SOMBRA_OK;
    *out_most = count_below(many, bound, least, many->count);
    *out_leaf = leaf;
    return page_txn(leaf) == txn->stamp ? SOMBRA_OK : tree_check_used(txn, id, 1);
}

/* Of the path's leaf, which gets `most` entries, and of its neighbours. */
static sombra_err step_plan(struct put_many *many, size_t most)
{
    const uint8_t *leaf = many->path.at[0].page;
    size_t bytes = 0;
    sombra_err err = SOMBRA_OK;
    many->taken = many->old_count = 0;
    many->leaf_count = 0;
    while (!err && leaf) {
        many->leaves[many->leaf_count++] = leaf;
        many->old_count += page_count(leaf);
        step_take(many, &bytes, most);
        if (many->taken < most || many->leaf_count == STEP_LEAVES_MAX)
            break;
        err = leaf_behind(many, &leaf, &most);
    }
    return err;
}

/* ---- the row ----------------------------------------------------------------------------- */

static sombra_err row_reserve(struct put_many *many, size_t count)
{
    size_t capacity = many->capacity;
    sombra_err err =
        reserve_items((void **)&many->entered, &capacity, count, sizeof *many->entered);
    if (!err)
        err = reserve_items((void **)&many->shared, &many->capacity, count, sizeof *many->shared);
    return err;
}

/* A leaf's entries with whole keys; their bytes go to `keys`, which may move meanwhile. */
static sombra_err leaf_unpack(struct put_many *many, const uint8_t *page, struct leaf_entry *to)
{
    unsigned count = page_count(page);
    struct leaf_iter iter;
    if (count == 0)
        return SOMBRA_OK;
    leaf_iter_seek(&iter, page, many->txn->btree->pager.page_bytes, 0);
    for (unsigned i = 0; i < count; i++) {
        size_t bytes = iter.prefix.bytes + iter.suffix.bytes;
        if (many->keys.capacity - many->keys.bytes < bytes) {
            sombra_err err = buf_reserve(&many->keys, bytes);
            if (err)
                return err;
        }
        uint8_t *at = many->keys.data + many->keys.bytes;
        many->keys.bytes += bytes;
        memcpy(at, iter.prefix.data, iter.prefix.bytes);
        memcpy(at + iter.prefix.bytes, iter.suffix.data, iter.suffix.bytes);
        to[i] = (struct leaf_entry){ .key = slice_of(NULL, bytes), .value = iter.value };
        (void)leaf_iter_next(&iter);
    }
    return SOMBRA_OK;
}

/* The entries of the leaves, to the end of `entered`, whose size is `total`. */
static sombra_err leaves_unpack(struct put_many *many, size_t total)
{
    struct leaf_entry *to = many->entered + (total - many->old_count);
    sombra_err err = SOMBRA_OK;
    buf_reset(&many->keys);
    for (unsigned i = 0, at = 0; !err && i < many->leaf_count; i++) {
        err = leaf_unpack(many, many->leaves[i], to + at);
        at += page_count(many->leaves[i]);
    }
    const uint8_t *key = many->keys.data;
    for (size_t i = 0; !err && i < many->old_count; i++) {
        to[i].key.data = key;
        key += to[i].key.bytes;
    }
    return err;
}

/* The old value of an entry that is replaced. */
static sombra_err value_drop(struct put_many *many, const struct leaf_value *value)
{
    if (!value->overflow)
        return SOMBRA_OK;
    sombra_err err = tree_check_value(many->txn, value);
    if (!err)
        err = reserve_items((void **)&many->freed, &many->freed_capacity, many->freed_count + 1,
                            sizeof *many->freed);
    if (!err)
        many->freed[many->freed_count++] = *value;
    return err;
}

/* What the row holds of a new entry; `old` NULL: its key is not in the leaf. */
static sombra_err value_put(struct put_many *many, const struct leaf_value *old, sombra_slice value,
                            struct leaf_value *out)
{
    if (old && tree_value_is(many->txn, old, value)) {
        *out = *old;
        return SOMBRA_OK;
    }
    many->is_changed = true;
    sombra_err err = old ? value_drop(many, old) : SOMBRA_OK;
    return err ? err : tree_store_value(many->txn, value, out);
}

/* Merges the leaves' entries, which stand at the end of `entered`, with the new ones: what was read
 * is never overwritten, for no more are written than read and to come. */
static sombra_err row_merge(struct put_many *many, size_t total)
{
    const struct leaf_entry *old = many->entered + (total - many->old_count);
    const struct leaf_entry *old_end = many->entered + total;
    struct leaf_entry *to = many->entered;
    const size_t inline_max = leaf_inline_max(many->txn->btree->pager.page_bytes);
    for (size_t i = 0; i < many->taken; i++) {
        const struct kv_entry *entry = &many->entries[i];
        int order = 1;
        while (old < old_end && (order = slice_compare(old->key, entry->key)) < 0)
            *to++ = *old++;
        bool replaces = old < old_end && order == 0;
        if (LIKELY(!replaces && entry->value.bytes <= inline_max)) { /* value_put, of most */
            to->value = (struct leaf_value){ .bytes = entry->value };
            many->is_changed = true;
        } else {
            sombra_err err =
                value_put(many, replaces ? &old->value : NULL, entry->value, &to->value);
            if (err)
                return err;
            old += replaces;
            many->replaced += replaces;
        }
        to->key = entry->key;
        if (i == 0)
            many->new_first = (unsigned)(to - many->entered);
        to++;
    }
    many->new_last = (unsigned)(to - many->entered);
    while (old < old_end)
        *to++ = *old++;
    many->row.count = (unsigned)(to - many->entered);
    assert(many->row.count == total - many->replaced);
    return SOMBRA_OK;
}

static sombra_err row_build(struct put_many *many)
{
    size_t total = many->old_count + many->taken;
    sombra_err err = row_reserve(many, total);
    many->replaced = many->freed_count = 0;
    many->is_changed = false;
    if (!err)
        err = leaves_unpack(many, total);
    if (!err)
        err = row_merge(many, total);
    if (err)
        return err;
    many->row.entries = many->entered;
    many->row.shared = many->shared;
    many->row.page_bytes = many->txn->btree->pager.page_bytes;
    many->shared[0] = 0;
    for (unsigned i = 1; i < many->row.count; i++)
        many->shared[i] =
            (uint16_t)slice_common_prefix(many->entered[i - 1].key, many->entered[i].key);
    return SOMBRA_OK;
}

/* ---- where to cut ------------------------------------------------------------------------ */

static sombra_err row_cut_at(struct put_many *many, size_t fill_bytes, size_t *out_bytes)
{
    size_t bytes = 0;
    many->piece_count = 0;
    for (unsigned first = 0; first < many->row.count;) {
        sombra_err err = reserve_items((void **)&many->pieces, &many->piece_capacity,
                                       many->piece_count + 1, sizeof *many->pieces);
        if (err)
            return err;
        struct leaf_cut *cut = &many->pieces[many->piece_count++].cut;
        leaf_row_cut(&many->row, first, fill_bytes, cut);
        first += cut->count;
        bytes += cut->bytes;
    }
    *out_bytes = bytes;
    return SOMBRA_OK;
}

/* Do the new entries stand together, as those of a sequential load do? Then leaves are filled, and
 * the last one goes on being filled. */
static bool row_is_run(const struct put_many *many)
{
    return many->new_last - many->new_first == many->taken &&
           (many->piece_count >= RUN_PAGES_MIN || many->new_last == many->row.count);
}

/* As few leaves as will do; filled alike, unless they are many or it is a sequential load. */
static sombra_err row_cut(struct put_many *many)
{
    size_t page_bytes = many->row.page_bytes;
    size_t bytes;
    sombra_err err = row_cut_at(many, page_bytes, &bytes);
    size_t fewest = many->piece_count;
    if (err || fewest == 1 || fewest > ALIKE_PAGES_MAX || row_is_run(many))
        return err;
    size_t fill_bytes = bytes / fewest;
    do {
        fill_bytes = size_min(fill_bytes + page_bytes / 32, page_bytes);
        err = row_cut_at(many, fill_bytes, &bytes);
    } while (!err && many->piece_count > fewest && fill_bytes < page_bytes);
    return err;
}

/* The shortest start of the leaf's first key that is above the key before it. */
static sombra_slice piece_separator(const struct put_many *many, size_t index)
{
    unsigned first = many->pieces[index].cut.first;
    assert(first > 0);
    return slice_of(many->row.entries[first].key.data, (size_t)many->row.shared[first] + 1);
}

/* ---- the step ---------------------------------------------------------------------------- */

static sombra_err step_reserve(struct put_many *many)
{
    struct btree_txn *txn = many->txn;
    sombra_err err = row_cut(many);
    if (!err)
        err = redo_put_many(txn, many->entries, many->taken);
    if (err)
        return err;
    /* A branch has room for four children at least, so that adding leaves splits fewer branches
     * than there are leaves. */
    size_t pages = tree_pages_needed(txn) + 2 * many->piece_count;
    return space_reserve(&txn->btree->space, pages,
                         pages + many->leaf_count + many->freed_count + 2);
}

/* Values may lie in the old leaves, if those were this transaction's already: so the first one's
 * own new image comes last, and the others are given up behind that. */
static void leaves_write(struct put_many *many)
{
    struct btree_txn *txn = many->txn;
    uint8_t **scratch = txn->btree->scratch;
    for (size_t i = 1; i < many->piece_count; i++) {
        struct piece *piece = &many->pieces[i];
        uint8_t *page = tree_new_page(txn, &piece->id);
        leaf_row_build(&many->row, &piece->cut, scratch[3]);
        tree_put_image(txn, page, piece->id, scratch[3]);
        if (row_is_run(many) && piece->cut.first + piece->cut.count == many->new_last)
            leaf_mark_appended(page);
    }
    leaf_row_build(&many->row, &many->pieces[0].cut, scratch[2]);
    tree_put_image(txn, tree_path_page(txn, &many->path, 0), many->path.at[0].id, scratch[2]);
    for (unsigned i = 1; i < many->leaf_count; i++)
        tree_free_page(txn, page_number(many->leaves[i]), page_txn(many->leaves[i]));
}

/* Takes the leaves behind the first out of the branch; where they stood, new ones are added. */
static void children_remove(struct put_many *many)
{
    struct btree_txn *txn = many->txn;
    unsigned behind = many->path.at[1].index + 1;
    branch_remove(tree_path_page(txn, &many->path, 1), txn->btree->pager.page_bytes, behind,
                  behind + many->leaf_count - 1);
}

static sombra_err children_add(struct put_many *many)
{
    struct btree_txn *txn = many->txn;
    struct tree_path *path = &many->path;
    for (size_t i = 1; i < many->piece_count; i++) {
        const struct piece *piece = &many->pieces[i];
        if (i > 1) { /* the path is used up */
            sombra_err err = tree_descend(txn, piece_separator(many, i - 1), path);
            if (err)
                return err;
            assert(path->at[0].id == piece[-1].id);
        }
        tree_add_child(txn, path, 0, piece_separator(many, i),
                       (struct branch_child){ piece->id, piece->cut.count });
    }
    return SOMBRA_OK;
}

static sombra_err step_write(struct put_many *many)
{
    struct btree_txn *txn = many->txn;
    txn->generation++;
    for (size_t i = 0; i < many->taken; i++)
        txn->given_bytes += many->entries[i].key.bytes + many->entries[i].value.bytes;
    txn->is_changed = true;
    tree_touch(txn, &many->path, 0);
    for (size_t i = 0; i < many->freed_count; i++)
        tree_free_value(txn, &many->freed[i]);
    leaves_write(many);
    txn->snapshot.entries += many->taken - many->replaced;
    if (many->leaf_count > 1)
        children_remove(many);
    if (many->piece_count > 1)
        return children_add(many);
    for (unsigned level = 0; level + 1 < many->path.depth; level++)
        tree_refresh_count(txn, &many->path, level);
    return many->leaf_count > 1 ? tree_shrink_root(txn) : SOMBRA_OK;
}

/* The first `count` entries belong to the path's leaf, and are enough. */
static sombra_err step(struct put_many *many, size_t count)
{
    struct btree_txn *txn = many->txn;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    txn->btree->finger.stamp = 0;
    sombra_err err = tree_check_put(txn, &many->path, &(struct leaf_value){ 0 });
    if (!err)
        err = step_plan(many, count);
    if (!err)
        err = row_build(many);
    if (!err && many->is_changed)
        err = step_reserve(many);
    if (err)
        return tree_undo_call(txn, changes, redo_bytes, err);
    if (many->is_changed)
        err = step_write(many);
    many->entries += many->taken;
    many->count -= many->taken;
    return tree_broken(txn, err);
}

static sombra_err put_each(struct put_many *many, size_t count)
{
    sombra_err err = SOMBRA_OK;
    for (; !err && count > 0; count--) {
        err = btree_put(&many->txn->kv, many->entries->key, many->entries->value);
        many->entries++;
        many->count--;
    }
    return err;
}

/* Puts those that belong to the leaf of the first, one way or the other. */
static sombra_err advance(struct put_many *many)
{
    struct btree_txn *txn = many->txn;
    uint8_t bytes[KV_KEY_BYTES_MAX];
    sombra_slice none[2] = { { 0 }, { 0 } };
    if (many->count < MERGE_ENTRIES_MIN)
        return put_each(many, many->count);
    if (txn->snapshot.depth == 0)
        return put_each(many, 1);
    /* Rows of leaves are built in copies, and so is the rest then. */
    sombra_err err = txn->care & (TXN_HELD | TXN_MANY) ? txn_attend(txn) : SOMBRA_OK;
    if (!err)
        err = tree_keep_arguments(txn, &none[0], &none[1]);
    if (!err)
        err = tree_descend(txn, many->entries->key, &many->path);
    if (err)
        return err;
    size_t wanted = wanted_of(many->path.at[0].page);
    sombra_slice bound = leaves_bound(many, 1, bytes);
    if (many->count < wanted)
        return put_each(many, many->count);
    if (is_below(many, wanted - 1, bound) && txn->care & TXN_DEFERRED)
        return tree_defer_settle(txn); /* the leaf is another then */
    if (is_below(many, wanted - 1, bound))
        return step(many, count_below(many, bound, wanted, many->count));
    size_t count = count_below(many, bound, 1, wanted - 1);
    return put_each(many, count < SPARSE_ENTRIES ? size_min(SPARSE_STRIDE, many->count) : count);
}

sombra_err btree_put_many(struct kv_txn *kv_txn, const struct kv_entry *entries, size_t count)
{
    struct put_many many = { .txn = txn_of(kv_txn), .entries = entries, .count = count };
    sombra_err err = tree_check_writable(many.txn);
    while (!err && many.count > 0)
        err = advance(&many);
    release(&many);
    return err;
}

/* What waits for its leaf is read from the redo: so it goes there first. */
sombra_err btree_expect(struct kv_txn *kv_txn, uint64_t bytes)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = tree_check_writable(txn);
    if (!err)
        redo_expect(txn, bytes);
    if (!err)
        space_expect(&txn->btree->space, bytes >> txn->btree->pager.page_shift);
    return err;
}
