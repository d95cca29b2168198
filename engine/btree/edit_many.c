/* SPDX-License-Identifier: MIT */
/* Commits of many puts, or of many deletes, that change pages where they are: edit.c says when that
 * may be.
 *
 * Each finds its place, which proves the pages, and is logged and noted. What is noted has
 * different keys, so that its order does not matter, nor what was done between. At the commit each
 * place is found anew: whose leaf is nobody else's, has room for what is put or keeps most of its
 * entries, is changed there; the rest is made as ever before that. If the transaction reads, or
 * does both, all of them are.
 *
 * A put of a key that is held takes the place of the one before, which stays in the log.
 */
#include "edit.h"
#include "tree_write_internal.h"

enum {
    HELD_MAX = 2048, /* readers wait for no more than these take */
    /* Puts are held in a tree of so many leaves, and of one for so many writes: else a copy of a
     * leaf serves many of them. */
    LEAVES_MIN = 16,
    WRITES_PER_LEAF = 2,
    WANTED_UNKNOWN = UINT16_MAX,
    MOVES_SEEN = 12, /* children of a branch on either side that a place is looked for in */
    HELD_BYTES_MAX = 512 << 10,
    TABLE_SLOTS = 2 * HELD_MAX,
    BRANCHES_MAX = 3,  /* above a leaf */
    MANY_PAUSE = 64,   /* transactions, after one that read, or was too long */
    KEEPS_DIVISOR = 4, /* of a leaf's entries one in so many may go: it stays a leaf that is not
                          merged */
};

/* Where what is held changes what. */
struct edit_place {
    page_id leaf, branches[BRANCHES_MAX];
    uint16_t indexes[BRANCHES_MAX];
    /* Of a put: what it takes of the leaf's gap, or WANTED_UNKNOWN, and where in the leaf the value
     * stands that it writes over, or 0. */
    uint16_t wanted, value_at;
};

/* ---- the table --------------------------------------------------------------------------- */

/* Words that are not 0, hashed by `hash`: the slot of the one that equals `word` in the bits of
 * `mask`, or the free one for it. */
static uint64_t *table_find(const struct held_table *table, uint64_t hash, uint64_t word,
                            uint64_t mask)
{
    size_t slot = hash % TABLE_SLOTS;
    while (table->words[slot] && (table->words[slot] & mask) != (word & mask))
        slot = (slot + 1) % TABLE_SLOTS;
    return &table->words[slot];
}

static void table_note(struct held_table *table, uint64_t *slot, uint64_t word)
{
    if (*slot == 0)
        table->slots[table->slot_count++] = (uint16_t)(slot - table->words);
    *slot = word;
}

static void table_empty(struct held_table *table)
{
    for (size_t i = 0; i < table->slot_count; i++)
        table->words[table->slots[i]] = 0;
    table->slot_count = 0;
}

static bool table_make(struct held_table *table)
{
    if (!table->words)
        table->words = mem_zalloc(TABLE_SLOTS * sizeof *table->words);
    if (table->words && !table->slots)
        table->slots = mem_alloc(TABLE_SLOTS * sizeof *table->slots);
    return table->slots != NULL;
}

static void table_release(struct held_table *table)
{
    mem_free(table->words);
    mem_free(table->slots);
}

enum { INDEX_MASK = UINT16_MAX };

/* Of a key: a hash, and behind it room for the index of what is held, plus 1. Two keys of one word
 * are taken for the same: all is made as ever then, in its order. */
static uint64_t key_word(sombra_slice key)
{
    return hash_bytes(key.data, key.bytes, 0) & ~(uint64_t)INDEX_MASK;
}

static uint64_t *key_find(const struct held_many *many, sombra_slice key)
{
    uint64_t word = key_word(key);
    return table_find(&many->keys, word >> 16, word, ~(uint64_t)INDEX_MASK);
}

/* `more` of the leaf go, entries or bytes of its gap. False: there would be more than `most`. */
static bool leaf_gives(struct held_many *many, page_id leaf, size_t more, size_t most)
{
    const uint64_t count_mask = UINT16_MAX, id = leaf << 16;
    if (more == 0)
        return true;
    uint64_t *slot = table_find(&many->leaves, hash_u64(leaf), id, ~count_mask);
    uint64_t count = (*slot & count_mask) + more;
    if (count > most)
        return false;
    table_note(&many->leaves, slot, id | count);
    return true;
}

/* ---- holding ----------------------------------------------------------------------------- */

void edit_many_forget(struct btree_txn *txn)
{
    struct held_many *many = &txn->many;
    many->count = 0;
    table_empty(&many->keys);
    table_empty(&many->leaves);
    txn->care &= (unsigned)~TXN_MANY;
}

void edit_many_release(struct btree_txn *txn)
{
    mem_free(txn->many.places);
    mem_free(txn->many.redo_ats);
    table_release(&txn->many.keys);
    table_release(&txn->many.leaves);
    txn->many = (struct held_many){ 0 };
}

/* What is made last says that all is there. */
static bool many_has_room(struct held_many *many)
{
    if (LIKELY(many->leaves.slots))
        return true;
    if (!many->places)
        many->places = mem_alloc(HELD_MAX * sizeof *many->places);
    if (!many->redo_ats)
        many->redo_ats = mem_alloc(HELD_MAX * sizeof *many->redo_ats);
    return many->places && many->redo_ats && table_make(&many->keys) && table_make(&many->leaves);
}

/* Is this one of the transactions of a pause? It is counted then. */
static bool many_pauses(struct edits *edits)
{
    if (edits->many_pause == 0)
        return false;
    edits->many_pause--;
    return true;
}

/* The transaction's first delete decides; it may_continue. */
static bool may_begin(struct btree_txn *txn)
{
    assert(txn->savepoint_count == 0 && !txn->is_replay && !txn->is_bypass);
    return !txn->is_changed && txn->btree->space.change_count == 0 &&
           !many_pauses(&txn->btree->edits) && edit_is_possible(txn) && many_has_room(&txn->many);
}

/* One more? What is held is read from the redo: a bypass has none. */
static bool may_continue(const struct btree_txn *txn, size_t key_bytes, size_t value_bytes)
{
    const struct held_many *many = &txn->many;
    uint64_t bytes_max = u64_min(HELD_BYTES_MAX, txn->btree->options.wal_bypass_bytes);
    uint64_t bytes = kv_redo_bytes_max(key_bytes, value_bytes);
    return (txn->care & (unsigned)~TXN_MANY) == 0 && many->count < HELD_MAX &&
           txn->savepoint_count == 0 && !txn->is_replay && !txn->is_bypass &&
           txn->redo.bytes <= bytes_max && bytes <= bytes_max - txn->redo.bytes &&
           !atomic_load_explicit(&txn->btree->is_forked, memory_order_relaxed);
}

bool edit_many_may(struct btree_txn *txn, sombra_slice key)
{
    if (!txn->kv.is_write || txn->many.state == MANY_PUTS || txn->many.state == MANY_OVER ||
        !may_continue(txn, key.bytes, 0))
        return false;
    if (txn->many.state == MANY_NEW)
        txn->many.state = may_begin(txn) ? MANY_DELETES : MANY_OVER;
    return txn->many.state == MANY_DELETES && *key_find(&txn->many, key) == 0;
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
    /* A tree that grows by a root before the commit has indexes that no path told: any will do. */
    *place = (struct edit_place){ .leaf = path->at[0].id };
    for (unsigned level = 1; level < path->depth; level++) {
        place->branches[level - 1] = path->at[level].id;
        place->indexes[level - 1] = (uint16_t)path->at[level].index;
    }
}

void edit_many_hold(struct btree_txn *txn, const struct tree_path *path, sombra_slice key,
                    size_t redo_at)
{
    struct held_many *many = &txn->many;
    assert(many->count < HELD_MAX && redo_at < HELD_BYTES_MAX);
    place_note(&many->places[many->count], path);
    many->redo_ats[many->count++] = (uint32_t)redo_at;
    table_note(&many->keys, key_find(many, key), key_word(key) | many->count);
    txn->care |= TXN_MANY;
}

static struct kv_redo held_op(const struct btree_txn *txn, size_t i)
{
    const struct buf *redo = &txn->redo;
    size_t at = txn->many.redo_ats[i];
    struct byte_reader reader = byte_reader_of(slice_of(redo->data + at, redo->bytes - at));
    struct kv_redo op;
    bool is_whole = kv_redo_read(&reader, &op);
    assert(is_whole && (op.kind == KV_REDO_DELETE || op.kind == KV_REDO_PUT));
    (void)is_whole;
    return op;
}

/* ---- puts -------------------------------------------------------------------------------- */

/* What a put at the end of the path does to its leaf; false: it cannot be done there. */
static bool place_want(struct edit_place *place, const struct tree_path *path, size_t page_bytes,
                       sombra_slice key, const struct leaf_value *value,
                       const struct leaf_value *old)
{
    const struct path_level *leaf = &path->at[0];
    size_t wanted = leaf_gap_wanted(leaf->page, page_bytes, leaf->index, old != NULL, key, value);
    if (wanted >= WANTED_UNKNOWN || wanted > leaf_gap(leaf->page))
        return false;
    place->wanted = (uint16_t)wanted;
    if (wanted == 0)
        place->value_at = (uint16_t)((const uint8_t *)old->bytes.data - leaf->page);
    return true;
}

bool edit_many_takes(struct btree_txn *txn, const struct tree_path *path, sombra_slice key,
                     const struct leaf_value *value, const struct leaf_value *old)
{
    struct edit_place want = { 0 };
    const struct path_level *leaf = &path->at[0];
    if (!path_is_free(txn, path) ||
        !place_want(&want, path, txn->btree->pager.page_bytes, key, value, old) ||
        !leaf_gives(&txn->many, leaf->id, want.wanted, leaf_gap(leaf->page)))
        return false;
    edit_many_hold(txn, path, key, txn->held.redo_at);
    struct edit_place *place = &txn->many.places[txn->many.count - 1];
    place->wanted = want.wanted;
    place->value_at = want.value_at;
    return true;
}

/* The first put is held by itself: it becomes the first of many, unless the next one goes to the
 * same leaf, as those of a sequential load do, or the tree has few. */
static bool held_adopt(struct btree_txn *txn, sombra_slice next)
{
    struct edits *edits = &txn->btree->edits;
    const struct tree_path *path = &txn->btree->finger.path;
    struct leaf_value old;
    sombra_slice key;
    struct leaf_value value = { 0 };
    size_t page_bytes = txn->btree->pager.page_bytes;
    uint64_t leaves = txn->snapshot.entries / (page_count(path->at[0].page) + 1);
    if (leaves < LEAVES_MIN || leaves * WRITES_PER_LEAF < edits->writes_last)
        return false;
    if (tree_finger_leads(txn, next))
        return false;
    redo_read_put(txn, txn->held.redo_at, &key, &value.bytes);
    if (txn->held.replaces)
        leaf_value_at(path->at[0].page, page_bytes, path->at[0].index, &old);
    if (!edit_many_takes(txn, path, key, &value, txn->held.replaces ? &old : NULL))
        return false;
    txn->care &= (unsigned)~TXN_HELD;
    edits->is_likely = true;
    return true;
}

/* The transaction holds one put or none. */
static bool may_begin_puts(struct btree_txn *txn, sombra_slice key)
{
    return !many_pauses(&txn->btree->edits) && many_has_room(&txn->many) &&
           (txn->care != TXN_HELD || held_adopt(txn, key));
}

/* Another value for the key of the i-th. */
static sombra_err held_replace(struct btree_txn *txn, size_t i, const struct kv_redo *held,
                               sombra_slice key, sombra_slice value)
{
    size_t redo_at = txn->redo.bytes, value_bytes = held->b.bytes;
    if (slice_equal(held->b, value))
        return SOMBRA_OK;
    sombra_err err = redo_put(txn, key, value);
    if (err)
        return err;
    txn->many.redo_ats[i] = (uint32_t)redo_at;
    if (value.bytes != value_bytes)
        txn->many.places[i].wanted = WANTED_UNKNOWN;
    txn->generation++;
    txn->given_bytes += key.bytes + value.bytes;
    return SOMBRA_OK;
}

sombra_err edit_many_put(struct btree_txn *txn, sombra_slice key, sombra_slice value,
                         enum edit_answer *out_answer)
{
    struct held_many *many = &txn->many;
    assert(many->state == MANY_PUTS);
    if (txn->care != TXN_MANY && !may_begin_puts(txn, key))
        many->state = MANY_OVER;
    if (many->state == MANY_OVER || !may_continue(txn, key.bytes, value.bytes) ||
        pager_has_mode(&txn->btree->pager, PAGER_SHORT)) {
        many->state = MANY_OVER;
        return txn->care ? txn_attend(txn) : SOMBRA_OK;
    }
    *out_answer = EDIT_MAY_HOLD;
    uint64_t *slot = many->count ? key_find(many, key) : NULL;
    if (LIKELY(!slot || *slot == 0))
        return SOMBRA_OK;
    *out_answer = EDIT_DONE;
    size_t i = (*slot & INDEX_MASK) - 1;
    struct kv_redo held = held_op(txn, i);
    if (LIKELY(slice_equal(held.a, key)))
        return held_replace(txn, i, &held, key, value);
    *out_answer = EDIT_AT_ONCE;
    return txn_attend(txn);
}

/* ---- as ever ----------------------------------------------------------------------------- */

/* Logged and counted it is. */
static sombra_err held_make(struct btree_txn *txn, size_t i)
{
    const struct kv_redo op = held_op(txn, i);
    bool is_replay = txn->is_replay, is_settling = txn->deferred.is_settling;
    unsigned care = txn->care;
    uint64_t given_bytes = txn->given_bytes;
    txn->is_replay = txn->deferred.is_settling = true; /* it does not wait for its leaf either */
    txn->care &= (unsigned)~TXN_MANY;
    sombra_err err =
        op.kind == KV_REDO_PUT ? btree_put(&txn->kv, op.a, op.b) : btree_delete(&txn->kv, op.a);
    txn->is_replay = is_replay;
    txn->deferred.is_settling = is_settling;
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
        err = held_make(txn, done);
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

/* Where the child stands now, splits and merges may have moved it a little; the count: it is not
 * seen. */
static inline unsigned child_near(const uint8_t *branch, size_t page_bytes, unsigned index,
                                  page_id child)
{
    const unsigned count = page_count(branch);
    if (LIKELY(index < count && branch_child(branch, page_bytes, index) == child))
        return index;
    const unsigned end = count > index + MOVES_SEEN ? index + MOVES_SEEN : count;
    for (unsigned at = index > MOVES_SEEN ? index - MOVES_SEEN : 0; at < end; at++)
        if (branch_child(branch, page_bytes, at) == child)
            return at;
    return count;
}

/* Does the place still lead to its leaf? A page has one parent, so no key needs to be looked at;
 * but for pages of the transaction's own, which may have been freed and taken for another since.
 * False may be said of one that does. */
static bool place_holds(struct btree_txn *txn, struct edit_place *place, const uint8_t **out_leaf)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    page_id id = txn->snapshot.root;
    unsigned level = (unsigned)txn->snapshot.depth - 1;
    const uint8_t *page = tree_page_at_hand(txn, id, level);
    for (; level > 0 && page; level--) {
        unsigned index = place->indexes[level - 1];
        if (level == 1) /* the branches may have been copied */
            index = child_near(page, page_bytes, index, place->leaf);
        if (index >= page_count(page))
            return false;
        place->branches[level - 1] = id;
        place->indexes[level - 1] = (uint16_t)index;
        id = branch_child(page, page_bytes, index);
        page = tree_page_at_hand(txn, id, level - 1);
    }
    *out_leaf = page;
    return page && id == place->leaf && page_txn(page) != txn->stamp;
}

/* Can what is held be made in its place? */
static bool place_is_free(struct btree_txn *txn, struct edit_place *place, uint64_t *oldest)
{
    struct held_many *many = &txn->many;
    const uint8_t *leaf = NULL;
    if (place->wanted == WANTED_UNKNOWN || txn->snapshot.depth > BRANCHES_MAX + 1 ||
        txn->snapshot.depth < 1 || !place_holds(txn, place, &leaf) ||
        !page_is_free(txn, place->leaf, leaf))
        return false;
    *oldest = u64_min(*oldest, page_txn(leaf));
    return many->state == MANY_PUTS
               ? leaf_gives(many, place->leaf, place->wanted, leaf_gap(leaf))
               : leaf_gives(many, place->leaf, 1, page_count(leaf) / KEEPS_DIVISOR);
}

/* Finds the places of all, and makes as ever what has to be, also what belongs into a page of the
 * transaction's own by now. That may move others: then all are found again. What is left is to be
 * made in its place. */
static sombra_err places_find(struct btree_txn *txn, uint64_t *out_oldest)
{
    struct held_many *many = &txn->many;
    const size_t *changes = &txn->btree->space.change_count;
    sombra_err err = SOMBRA_OK;
    bool is_moved = true;
    while (is_moved && !err) {
        size_t kept = 0, count = many->count, before = *changes;
        *out_oldest = UINT64_MAX;
        table_empty(&many->leaves);
        for (size_t i = 0; i < count && !err; i++) {
            if (!place_is_free(txn, &many->places[i], out_oldest)) {
                err = held_make(txn, i);
                continue;
            }
            many->places[kept] = many->places[i];
            many->redo_ats[kept++] = many->redo_ats[i];
        }
        many->count = kept;
        is_moved = *changes != before;
    }
    return err;
}

/* How many entries more the leaf has then. */
static int leaf_change(const struct kv_redo *op, const struct edit_place *place, uint8_t *leaf,
                       size_t page_bytes)
{
    if (place->value_at) {
        memcpy(leaf + place->value_at, op->b.data, op->b.bytes);
        return 0;
    }
    unsigned index;
    bool is_there = leaf_find(leaf, page_bytes, op->a, &index);
    if (op->kind == KV_REDO_DELETE) {
        if (is_there) /* in a damaged tree one leaf may be two children */
            leaf_remove(leaf, page_bytes, index, index + 1);
        return is_there ? -1 : 0;
    }
    const struct leaf_value value = { .bytes = op->b };
    bool fits = is_there ? leaf_replace(leaf, page_bytes, index, &value)
                         : leaf_insert(leaf, page_bytes, index, op->a, &value);
    assert(fits && "leaf_gives went before");
    return fits && !is_there ? 1 : 0;
}

/* Pages that nobody else sees change. */
static void pages_change(struct btree_txn *txn, size_t i)
{
    const struct edit_place *place = &txn->many.places[i];
    struct pager *pager = &txn->btree->pager;
    const struct kv_redo op = held_op(txn, i);
    int more = leaf_change(&op, place, tree_own_page(txn, place->leaf), pager->page_bytes);
    pager_trust(pager, place->leaf);
    if (more == 0)
        return;
    for (unsigned level = 0; level + 1 < txn->snapshot.depth; level++) {
        branch_add_entries(tree_own_page(txn, place->branches[level]), place->indexes[level], more);
        pager_trust(pager, place->branches[level]);
    }
    txn->snapshot.entries += (uint64_t)(int64_t)more;
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
