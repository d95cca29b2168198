/* SPDX-License-Identifier: MIT */
/* Putting many entries in the order of their keys.
 *
 * Where enough of them belong to one leaf, a step merges them with its entries and builds a row of
 * new leaves; the first takes the leaf's place, the others become its neighbours. Few are put one
 * by one. A step is one operation in the sense of tree_write_internal.h.
 */
#include "tree_write_internal.h"

enum {
    /* A leaf is built anew if a quarter as many entries come as it has. */
    MERGE_SHARE = 4,
    MERGE_ENTRIES_MIN = 8,
    /* Entries of one step: as many as fill so many pages, about. */
    STEP_PAGES = 16,
    STEP_ENTRIES_MAX = 16384,
    /* Where a leaf gets fewer than so many, the next entries are put without looking. */
    SPARSE_ENTRIES = 4,
    SPARSE_STRIDE = 16,
    /* From so many leaves on, entries that all stand together are a sequential load. */
    RUN_PAGES_MIN = 3,
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
    /* The step: the leaf's entries and `taken` of the new ones. */
    size_t taken, replaced;
    struct buf keys;            /* of the leaf */
    struct leaf_entry *entered; /* the leaf's, then all of them in order */
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

/* The nearest separator to the right of the path's leaf; none: 0 bytes. */
static sombra_slice leaf_bound(const struct put_many *many, uint8_t *to)
{
    size_t page_bytes = many->txn->btree->pager.page_bytes;
    for (unsigned level = 1; level < many->path.depth; level++) {
        const struct path_level *at = &many->path.at[level];
        if (at->index + 1 < page_count(at->page))
            return slice_of(to, branch_separator(at->page, page_bytes, at->index + 1, to));
    }
    return slice_of(NULL, 0);
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

/* As many of the first `most` entries as one step takes. */
static size_t step_limit(const struct put_many *many, size_t most)
{
    size_t page_bytes = many->txn->btree->pager.page_bytes;
    const size_t inline_max = leaf_inline_max(page_bytes);
    size_t bytes = 0, count = 0;
    most = size_min(most, STEP_ENTRIES_MAX);
    while (count < most && bytes < STEP_PAGES * page_bytes) {
        size_t value_bytes = many->entries[count].value.bytes;
        bytes += many->entries[count].key.bytes;
        bytes += value_bytes <= inline_max ? value_bytes : 0;
        count++;
    }
    return count;
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

/* The leaf's entries with whole keys, to the end of `entered`, whose size is `total`. */
static sombra_err leaf_unpack(struct put_many *many, size_t total)
{
    size_t page_bytes = many->txn->btree->pager.page_bytes;
    const uint8_t *page = many->path.at[0].page;
    unsigned count = page_count(page);
    struct leaf_entry *to = many->entered + (total - count);
    struct leaf_iter iter;
    buf_reset(&many->keys);
    if (count == 0)
        return SOMBRA_OK;
    leaf_iter_seek(&iter, page, page_bytes, 0);
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
    const uint8_t *key = many->keys.data;
    for (unsigned i = 0; i < count; i++) {
        to[i].key.data = key;
        key += to[i].key.bytes;
    }
    return SOMBRA_OK;
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

/* Merges the leaf's entries, which stand at the end of `entered`, with the new ones: what was read
 * is never overwritten, for no more are written than read and to come. */
static sombra_err row_merge(struct put_many *many, size_t total)
{
    unsigned old_count = page_count(many->path.at[0].page);
    const struct leaf_entry *old = many->entered + (total - old_count);
    const struct leaf_entry *old_end = many->entered + total;
    struct leaf_entry *to = many->entered;
    const size_t inline_max = leaf_inline_max(many->txn->btree->pager.page_bytes);
    for (size_t i = 0; i < many->taken; i++) {
        const struct kv_entry *entry = &many->entries[i];
        int order = 1;
        while (old < old_end && (order = slice_compare(old->key, entry->key)) < 0)
            *to++ = *old++;
        bool replaces = old < old_end && order == 0;
        if (LIKELY(!replaces && entry->value.bytes <= inline_max)) {
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
    size_t total = page_count(many->path.at[0].page) + many->taken;
    sombra_err err = row_reserve(many, total);
    many->replaced = many->freed_count = 0;
    many->is_changed = false;
    if (!err)
        err = leaf_unpack(many, total);
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

/* As few leaves as will do; filled alike, unless it is a sequential load. */
static sombra_err row_cut(struct put_many *many)
{
    size_t page_bytes = many->row.page_bytes;
    size_t bytes;
    sombra_err err = row_cut_at(many, page_bytes, &bytes);
    size_t fewest = many->piece_count;
    if (err || fewest == 1 || row_is_run(many))
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
    return space_reserve(&txn->btree->space, pages, pages + many->freed_count + 2);
}

/* Values may lie in the old leaf, if that was this transaction's already: so its own new image
 * comes last. */
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
        tree_add_child(txn, path, 0, piece_separator(many, i), piece->id, piece->cut.count);
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
    if (many->piece_count > 1)
        return children_add(many);
    for (unsigned level = 0; level + 1 < many->path.depth; level++)
        tree_refresh_count(txn, &many->path, level);
    return SOMBRA_OK;
}

/* The first `count` entries belong to the path's leaf. */
static sombra_err step(struct put_many *many, size_t count)
{
    struct btree_txn *txn = many->txn;
    size_t changes = txn->btree->space.change_count;
    size_t redo_bytes = txn->redo.bytes;
    many->taken = count;
    txn->btree->finger.stamp = 0;
    sombra_err err = tree_check_put(txn, &many->path, &(struct leaf_value){ 0 });
    if (!err)
        err = row_build(many);
    if (!err && many->is_changed)
        err = step_reserve(many);
    if (err)
        return tree_undo_call(txn, changes, redo_bytes, err);
    if (many->is_changed)
        err = step_write(many);
    many->entries += count;
    many->count -= count;
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
    sombra_err err = tree_keep_arguments(txn, &none[0], &none[1]);
    if (!err)
        err = tree_descend(txn, many->entries->key, &many->path);
    if (err)
        return err;
    size_t wanted = size_max(page_count(many->path.at[0].page) / MERGE_SHARE, MERGE_ENTRIES_MIN);
    sombra_slice bound = leaf_bound(many, bytes);
    if (many->count < wanted)
        return put_each(many, many->count);
    if (is_below(many, wanted - 1, bound) && txn->care & TXN_DEFERRED)
        return tree_defer_settle(txn); /* the leaf is another then */
    if (is_below(many, wanted - 1, bound))
        return step(many, step_limit(many, count_below(many, bound, wanted, many->count)));
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
