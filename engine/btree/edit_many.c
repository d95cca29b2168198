/* SPDX-License-Identifier: MIT */
/* Commits of many deletes that change pages where they are: edit.c says when that may be.
 *
 * A delete finds its place, which proves the pages, and is logged and noted. What is noted has
 * different keys, so that its order does not matter, nor what was done between. At the commit each
 * place is found anew: whose leaf is nobody else's, and keeps most of its entries, is changed
 * there; the rest is deleted as ever before that. If the transaction reads, or puts, all of them
 * are.
 */
#include "edit.h"
#include "tree_write_internal.h"

enum {
    HELD_MAX = 2048, /* readers wait for no more than these take */
    HELD_BYTES_MAX = 512 << 10,
    TABLE_SLOTS = 2 * HELD_MAX,
    BRANCHES_MAX = 3,  /* above a leaf */
    MANY_PAUSE = 64,   /* transactions, after one that read, or was too long */
    KEEPS_DIVISOR = 4, /* of a leaf's entries one in so many may go: it stays a leaf that is not
                          merged */
};

/* Where a held delete changes what. */
struct edit_place {
    page_id leaf, branches[BRANCHES_MAX];
    uint16_t indexes[BRANCHES_MAX];
};

/* ---- the table --------------------------------------------------------------------------- */

/* Words that are not 0, hashed by `hash`: the slot of the one that equals `word` in the bits of
 * `mask`, or the free one for it. */
static uint64_t *table_find(const struct held_many *many, uint64_t hash, uint64_t word,
                            uint64_t mask)
{
    size_t slot = (hash >> 8) % TABLE_SLOTS; /* the lowest bit is set */
    while (many->table[slot] && (many->table[slot] & mask) != (word & mask))
        slot = (slot + 1) % TABLE_SLOTS;
    return &many->table[slot];
}

static void table_note(struct held_many *many, uint64_t *slot, uint64_t word)
{
    if (*slot == 0)
        many->slots[many->slot_count++] = (uint16_t)(slot - many->table);
    *slot = word;
}

static void table_empty(struct held_many *many)
{
    for (size_t i = 0; i < many->slot_count; i++)
        many->table[many->slots[i]] = 0;
    many->slot_count = 0;
}

/* Two keys of one word are taken for the same: all is deleted then, in its order. */
static uint64_t key_word(sombra_slice key)
{
    return hash_bytes(key.data, key.bytes, 0) | 1;
}

/* ---- holding ----------------------------------------------------------------------------- */

void edit_many_forget(struct btree_txn *txn)
{
    struct held_many *many = &txn->many;
    many->count = 0;
    table_empty(many);
    txn->care &= (unsigned)~TXN_MANY;
}

void edit_many_release(struct btree_txn *txn)
{
    mem_free(txn->many.places);
    mem_free(txn->many.redo_ats);
    mem_free(txn->many.table);
    mem_free(txn->many.slots);
    txn->many = (struct held_many){ 0 };
}

static bool many_has_room(struct held_many *many)
{
    if (LIKELY(many->slots))
        return true;
    if (!many->places)
        many->places = mem_alloc(HELD_MAX * sizeof *many->places);
    if (!many->redo_ats)
        many->redo_ats = mem_alloc(HELD_MAX * sizeof *many->redo_ats);
    if (!many->table)
        many->table = mem_zalloc(TABLE_SLOTS * sizeof *many->table);
    if (!many->places || !many->redo_ats || !many->table)
        return false;
    many->slots = mem_alloc(TABLE_SLOTS * sizeof *many->slots);
    return many->slots != NULL;
}

/* The transaction's first write decides. */
static bool may_begin(struct btree_txn *txn)
{
    struct edits *edits = &txn->btree->edits;
    if (txn->savepoint_count || txn->is_replay || txn->is_bypass || txn->is_changed ||
        txn->btree->space.change_count)
        return false;
    if (edits->many_pause) {
        edits->many_pause--;
        return false;
    }
    return edit_is_possible(txn) && many_has_room(&txn->many);
}

/* One more, of another key? What is held is read from the redo: a bypass has none. */
static bool may_continue(const struct btree_txn *txn, sombra_slice key)
{
    const struct held_many *many = &txn->many;
    uint64_t bytes_max = u64_min(HELD_BYTES_MAX, txn->btree->options.wal_bypass_bytes);
    uint64_t word = key_word(key);
    return many->count < HELD_MAX && txn->savepoint_count == 0 && !txn->is_replay &&
           !txn->is_bypass && txn->redo.bytes + kv_redo_bytes_max(key.bytes, 0) <= bytes_max &&
           *table_find(many, word, word, UINT64_MAX) == 0;
}

bool edit_many_may(struct btree_txn *txn, sombra_slice key)
{
    if (!txn->kv.is_write || txn->many.state == MANY_OVER ||
        (txn->care & (unsigned)~TXN_MANY) != 0 ||
        atomic_load_explicit(&txn->btree->is_forked, memory_order_relaxed))
        return false;
    if (txn->many.state == MANY_NEW)
        txn->many.state = may_begin(txn) ? MANY_ON : MANY_OVER;
    return txn->many.state == MANY_ON && may_continue(txn, key);
}

/* May the page be changed where it is, as far as is known before the commit? */
static bool page_is_free(struct btree_txn *txn, page_id id, const uint8_t *page)
{
    return page_txn(page) > txn->btree->edits.floor && edit_may_store(txn, id, page);
}

/* Pages of the transaction's own are changed at once. */
static bool path_is_free(struct btree_txn *txn, const struct tree_path *path)
{
    if (path->depth > BRANCHES_MAX + 1 || page_txn(path->at[0].page) == txn->stamp)
        return false;
    for (unsigned level = 0; level < path->depth; level++)
        if (!page_is_free(txn, path->at[level].id, path->at[level].page))
            return false;
    return true;
}

bool edit_many_wants(struct btree_txn *txn, const struct tree_path *path, unsigned index)
{
    return path_is_free(txn, path) &&
           leaf_may_lose(path->at[0].page, txn->btree->pager.page_bytes, index);
}

static void place_note(struct edit_place *place, const struct tree_path *path)
{
    place->leaf = path->at[0].id;
    for (unsigned level = 1; level < path->depth; level++) {
        place->branches[level - 1] = path->at[level].id;
        place->indexes[level - 1] = (uint16_t)path->at[level].index;
    }
}

void edit_many_hold(struct btree_txn *txn, const struct tree_path *path, sombra_slice key,
                    size_t redo_at)
{
    struct held_many *many = &txn->many;
    uint64_t word = key_word(key);
    assert(many->count < HELD_MAX && redo_at < HELD_BYTES_MAX);
    table_note(many, table_find(many, word, word, UINT64_MAX), word);
    place_note(&many->places[many->count], path);
    many->redo_ats[many->count++] = (uint32_t)redo_at;
    txn->care |= TXN_MANY;
}

/* ---- deleting as ever -------------------------------------------------------------------- */

static sombra_slice held_key(const struct btree_txn *txn, size_t i)
{
    const struct buf *redo = &txn->redo;
    size_t at = txn->many.redo_ats[i];
    struct byte_reader reader = byte_reader_of(slice_of(redo->data + at, redo->bytes - at));
    struct kv_redo op;
    bool is_whole = kv_redo_read(&reader, &op);
    assert(is_whole && op.kind == KV_REDO_DELETE);
    (void)is_whole;
    return op.a;
}

/* Logged and counted it is. */
static sombra_err held_delete(struct btree_txn *txn, size_t i)
{
    bool is_replay = txn->is_replay;
    unsigned care = txn->care;
    uint64_t given_bytes = txn->given_bytes;
    txn->is_replay = true;
    txn->care &= (unsigned)~TXN_MANY;
    sombra_err err = btree_delete(&txn->kv, held_key(txn, i));
    txn->is_replay = is_replay;
    txn->given_bytes = given_bytes;
    txn->care |= care;
    if (UNLIKELY(err == SOMBRA_NOT_FOUND))
        return tree_broken(txn, diag_fail(SOMBRA_CORRUPT, "a key is where no search finds it"));
    return err;
}

sombra_err edit_many_settle(struct btree_txn *txn)
{
    struct held_many *many = &txn->many;
    size_t done = 0;
    sombra_err err = SOMBRA_OK;
    while (done < many->count && !err) {
        err = held_delete(txn, done);
        done += !err;
    }
    if (LIKELY(!err || txn->care & TXN_FAILED)) {
        edit_many_forget(txn);
        return err;
    }
    many->count -= done;
    memmove(many->redo_ats, many->redo_ats + done, many->count * sizeof *many->redo_ats);
    memmove(many->places, many->places + done, many->count * sizeof *many->places);
    return err;
}

sombra_err edit_many_break_off(struct btree_txn *txn)
{
    txn->many.state = MANY_OVER;
    txn->btree->edits.many_pause = MANY_PAUSE;
    txn->btree->edits.is_likely = false;
    return edit_many_settle(txn);
}

/* ---- the commit -------------------------------------------------------------------------- */

/* One more of the leaf goes. False: too many do. */
static bool leaf_loses(struct held_many *many, page_id leaf, const uint8_t *page)
{
    const uint64_t count_mask = UINT16_MAX, id = leaf << 16;
    uint64_t *slot = table_find(many, hash_u64(leaf), id, ~count_mask);
    uint64_t count = (*slot & count_mask) + 1;
    if (count > page_count(page) / KEEPS_DIVISOR)
        return false;
    table_note(many, slot, id | count);
    return true;
}

/* Does the place still lead where it did? A page has one parent, so no key needs to be looked at;
 * but for pages of the transaction's own, which may have been freed and taken for another since.
 * False may be said of one that does. */
static bool place_holds(struct btree_txn *txn, struct edit_place *place, const uint8_t **out_leaf)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    page_id id = txn->snapshot.root;
    const uint8_t *page = tree_page_at_hand(txn, id, (unsigned)txn->snapshot.depth - 1);
    for (unsigned level = (unsigned)txn->snapshot.depth - 1; level > 0 && page; level--) {
        unsigned index = place->indexes[level - 1];
        page_id below = level > 1 ? place->branches[level - 2] : place->leaf;
        place->branches[level - 1] = id;
        if (index >= page_count(page) || branch_child(page, page_bytes, index) != below)
            return false;
        id = below;
        page = tree_page_at_hand(txn, id, level - 1);
    }
    *out_leaf = page;
    return page && page_txn(page) != txn->stamp;
}

/* *out_free: the held delete can be made in its place. */
static sombra_err place_find(struct btree_txn *txn, size_t i, struct edit_place *place,
                             uint64_t *oldest, bool *out_free)
{
    const uint8_t *leaf = NULL;
    *out_free = false;
    if (txn->snapshot.depth > BRANCHES_MAX + 1 || txn->snapshot.depth < 1)
        return SOMBRA_OK;
    if (!place_holds(txn, place, &leaf)) {
        struct tree_path path;
        sombra_err err = tree_descend(txn, held_key(txn, i), &path);
        if (err)
            return err;
        place_note(place, &path);
        for (unsigned level = 0; level < path.depth; level++)
            if (!page_is_free(txn, path.at[level].id, path.at[level].page))
                return SOMBRA_OK;
        leaf = path.at[0].page;
        unsigned index;
        if (!leaf_find(leaf, txn->btree->pager.page_bytes, held_key(txn, i), &index))
            return SOMBRA_OK;
    }
    if (!page_is_free(txn, place->leaf, leaf))
        return SOMBRA_OK;
    *oldest = u64_min(*oldest, page_txn(leaf));
    *out_free = leaf_loses(&txn->many, place->leaf, leaf);
    return SOMBRA_OK;
}

/* Finds the places of all, and deletes as ever what has to be: that may move others, so all are
 * found again. What is left is to be made in its place. */
static sombra_err places_find(struct btree_txn *txn, uint64_t *out_oldest)
{
    struct held_many *many = &txn->many;
    sombra_err err = SOMBRA_OK;
    bool is_moved = true;
    while (is_moved && !err) {
        size_t kept = 0, count = many->count;
        is_moved = false;
        *out_oldest = UINT64_MAX;
        table_empty(many);
        for (size_t i = 0; i < count && !err; i++) {
            bool is_free = false;
            err = place_find(txn, i, &many->places[i], out_oldest, &is_free);
            is_moved |= !is_free;
            if (!err && !is_free)
                err = held_delete(txn, i);
            if (err || !is_free)
                continue;
            many->places[kept] = many->places[i];
            many->redo_ats[kept++] = many->redo_ats[i];
        }
        many->count = kept;
    }
    return err;
}

/* Pages that nobody else sees change. */
static void pages_change(struct btree_txn *txn, size_t i)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    const struct edit_place *place = &txn->many.places[i];
    struct pager *pager = &txn->btree->pager;
    uint8_t *leaf = tree_own_page(txn, place->leaf);
    unsigned index;
    /* In a damaged tree one leaf may be two children. */
    if (UNLIKELY(!leaf_find(leaf, page_bytes, held_key(txn, i), &index)))
        return;
    leaf_remove(leaf, page_bytes, index, index + 1);
    pager_trust(pager, place->leaf);
    for (unsigned level = 0; level + 1 < txn->snapshot.depth; level++) {
        branch_add_entries(tree_own_page(txn, place->branches[level]), place->indexes[level], -1);
        pager_trust(pager, place->branches[level]);
    }
    txn->snapshot.entries--;
}

sombra_err edit_many_commit(struct btree_txn *txn, bool *out_done)
{
    struct btree *btree = txn->btree;
    uint64_t lsn = txn->snapshot.lsn + 1, oldest = 0;
    *out_done = false;
    btree->edits.is_likely = false;
    if (UNLIKELY(edit_must_pause(btree)))
        return SOMBRA_OK;
    btree->edits.floor = head_newest_pinned(btree->head);
    sombra_err err = places_find(txn, &oldest);
    if (err || txn->many.count == 0)
        return err;
    /* What can fail and takes time, before anybody waits. */
    err = txn_reserve(txn, false);
    if (err || !edit_begin(btree, oldest))
        return err;
    err = txn_append(txn, lsn);
    if (!err) {
        for (size_t i = 0; i < txn->many.count; i++)
            pages_change(txn, i);
        txn_publish(txn, lsn);
    }
    edit_end(btree);
    edit_many_forget(txn);
    btree->edits.since_pause++;
    btree->edits.is_likely = *out_done = !err;
    return err;
}
