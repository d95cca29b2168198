/* SPDX-License-Identifier: MIT */
/* Reading the tree: pages proved on first touch, descents, ranks, values. */
#include "btree_internal.h"
#include "overflow_format.h"

static sombra_err page_corrupt(const struct btree_txn *txn, page_id id, const char *what)
{
    const struct btree *btree = txn->btree;
    return diag_fail(SOMBRA_CORRUPT, "%s: page %" PRIu64 ": %s",
                     btree->path ? btree->path : BTREE_MEMORY, id, what);
}

sombra_err tree_page_slow(struct btree_txn *txn, page_id id, unsigned level,
                          const uint8_t **out_page)
{
    struct pager *pager = &txn->btree->pager;
    const uint8_t *page = txn->kv.is_write ? pager_dirty_find(pager, id) : NULL;
    if (!page) {
        uint64_t page_count =
            txn->kv.is_write ? txn->btree->space.page_count : txn->snapshot.page_count;
        if (id == 0 || id >= page_count)
            return page_corrupt(txn, id, "referenced, but beyond the file's end");
        if (level == 0 && pager_has_mode(pager, PAGER_SHORT) && !txn->deferred.is_settling)
            memory_bring(pager, id, 1);
        if (!pager_bit(pager->sound_trees, id)) {
            sombra_err err = pager_prove_tree(pager, id, txn->sealed_txn);
            if (err)
                return err;
        }
        page = pager_page(pager, id);
    }
    if (page_number(page) != id)
        return page_corrupt(txn, id, "holds another page's number");
    if (page_level(page) != level)
        return page_corrupt(txn, id, "is not of the level its parent has it at");
    if (page_txn(page) > txn->newest_page_txn)
        return page_corrupt(txn, id, "is newer than the snapshot that refers to it");
    if (level == 0 && !txn->kv.is_write && pager_has_mode(pager, PAGER_SHORT)) {
        atomic_fetch_add_explicit(&txn->btree->leaves_read, 1, memory_order_relaxed);
        filters_make(pager, txn->snapshot.entries, txn->snapshot.page_count);
        filters_note_read(pager, page, txn->snapshot.txn);
    }
    *out_page = page;
    return SOMBRA_OK;
}

enum filter_answer tree_ask_filter(struct btree_txn *txn, const uint8_t *branch, page_id leaf,
                                   sombra_slice key)
{
    struct kv_metrics *metrics = &txn->btree->metrics;
    /* Beyond the file's end lies damage, to be told. */
    if (!pager_has_mode(&txn->btree->pager, PAGER_SHORT) || leaf >= txn->snapshot.page_count)
        return FILTER_UNKNOWN;
    enum filter_answer answer =
        filters_ask(&txn->btree->pager, leaf, page_txn(branch), txn->snapshot.txn, key);
    if (answer != FILTER_UNKNOWN)
        kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_CHECKS, 1);
    if (answer == FILTER_NO)
        kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_SKIPS, 1);
    return answer;
}

sombra_err tree_get_asked(struct btree_txn *txn, page_id id, enum filter_answer answer,
                          sombra_slice key, sombra_slice *out_value)
{
    if (answer == FILTER_NO)
        return SOMBRA_NOT_FOUND;
    const uint8_t *leaf;
    struct leaf_value value;
    sombra_err err = tree_page(txn, id, 0, &leaf);
    if (err)
        return err;
    if (leaf_get(leaf, txn->btree->pager.page_bytes, key, &value))
        return tree_value(txn, &value, out_value);
    if (answer == FILTER_MAYBE)
        kv_metrics_add(&txn->btree->metrics, KV_COUNTER_FILTER_FALSE, 1);
    return SOMBRA_NOT_FOUND;
}

/* Descents: those that write see a page, from its header on, by the address that it was written by.
 */
static inline sombra_err descent_page(struct btree_txn *txn, page_id id, unsigned level,
                                      bool writes, const uint8_t **out_page)
{
    const struct pager *pager = &txn->btree->pager;
    if (writes && LIKELY(tree_page_is_near(txn, id))) {
        const uint8_t *page = pager_view(pager, id, pager_page(pager, id));
        if (LIKELY(tree_page_fits(txn, page, id, level))) {
            txn->kv.pages++;
            *out_page = page;
            return SOMBRA_OK;
        }
    }
    sombra_err err = tree_page(txn, id, level, out_page);
    if (!err && writes)
        *out_page = pager_view(pager, id, *out_page);
    return err;
}

/* So much of a leaf is asked for at once: no more of a longer one is wanted before it is copied. */
enum { LEAF_FETCH_BYTES = 4 << 10 };

/* Where the part of a leaf begins that is full of cells in most. */
static inline size_t leaf_full_from(const struct pager *pager)
{
    return pager->page_bytes - size_min(pager->page_bytes / 2, LEAF_FETCH_BYTES);
}

/* Will the leaf be changed where it is (edit.c), as far as can be guessed? */
static inline bool leaf_is_edited(const struct btree_txn *txn)
{
    return txn->btree->edits.is_likely && (!txn->is_changed || txn->care & TXN_MANY);
}

/* What a search of a page touches first, and of a leaf to be written what a copy does. Any number
 * may be given, also one from a page that was not proved. */
static inline void descent_prefetch(const struct btree_txn *txn, page_id id, unsigned level,
                                    bool writes)
{
    enum { LINE_BYTES = 64, NEAR_BYTES = 5 * LINE_BYTES, SLOTS_BYTES = 8 * LINE_BYTES };
    const struct pager *pager = &txn->btree->pager;
    if (!writes) {
        level ? tree_prefetch(txn, id) : tree_prefetch_leaf(txn, id);
        return;
    }
    if (UNLIKELY(id >= txn->snapshot.page_count))
        return;
    const uint8_t *page = pager_view(pager, id, pager_page(pager, id));
    for (size_t at = 0; at < NEAR_BYTES; at += LINE_BYTES)
        __builtin_prefetch(page + at);
    if (level)
        return;
    /* Its cells stand at its end, the prefix last of all. What lies between is free, or asked for
     * when the header is there. */
    __builtin_prefetch(page + pager->page_bytes - LINE_BYTES);
    if (leaf_is_edited(txn)) {
        for (size_t at = NEAR_BYTES; at < SLOTS_BYTES; at += LINE_BYTES)
            __builtin_prefetch(page + at);
        return;
    }
    for (size_t at = leaf_full_from(pager); at < pager->page_bytes - LINE_BYTES; at += LINE_BYTES)
        __builtin_prefetch(page + at);
}

static inline sombra_err descend(struct btree_txn *txn, sombra_slice key, bool writes,
                                 struct tree_path *out_path)
{
    const struct pager *pager = &txn->btree->pager;
    unsigned level = (unsigned)txn->snapshot.depth;
    page_id id = txn->snapshot.root;
    out_path->depth = level;
    out_path->steps = out_path->fetched = 0;
    out_path->ahead = NULL;
    while (level-- > 1) {
        const uint8_t *page;
        sombra_err err = descent_page(txn, id, level, writes, &page);
        if (err)
            return err;
        unsigned index = branch_find(page, pager->page_bytes, key);
        out_path->at[level] = (struct path_level){ .id = id, .page = page, .index = index };
        id = branch_child(page, pager->page_bytes, index);
        descent_prefetch(txn, id, level - 1, writes);
    }
    out_path->at[0].id = id;
    return SOMBRA_OK;
}

static inline sombra_err descend_last(struct btree_txn *txn, bool writes, struct tree_path *path)
{
    struct path_level *at = &path->at[0];
    at->index = 0;
    return path->depth ? descent_page(txn, at->id, 0, writes, &at->page) : SOMBRA_OK;
}

sombra_err tree_descend(struct btree_txn *txn, sombra_slice key, struct tree_path *out_path)
{
    sombra_err err = descend(txn, key, false, out_path);
    return err ? err : descend_last(txn, false, out_path);
}

sombra_err tree_approach_writing(struct btree_txn *txn, sombra_slice key,
                                 struct tree_path *out_path)
{
    assert(txn->kv.is_write);
    return descend(txn, key, true, out_path);
}

/* The cells that the descent did not ask for. */
static inline void leaf_prefetch_rest(const struct pager *pager, const uint8_t *page)
{
    enum { LINE_BYTES = 64 };
    size_t end = leaf_full_from(pager), low = page_cells_low(page);
    for (size_t at = size_max(low, end - size_min(end, LEAF_FETCH_BYTES)); at < end;
         at += LINE_BYTES)
        __builtin_prefetch(page + at);
}

/* Where the next cell goes, if it is not long. */
static inline void leaf_prefetch_place(const uint8_t *page)
{
    enum { LINE_BYTES = 64 };
    const uint8_t *low = page + page_cells_low(page);
    __builtin_prefetch(low - LINE_BYTES);
    __builtin_prefetch(low - 2 * LINE_BYTES);
}

/* Of a leaf that was read, what is left of a copy to be asked for. The transaction's own is not
 * copied. */
static inline void leaf_prefetch_change(const struct btree_txn *txn, const uint8_t *page)
{
    enum { LINE_BYTES = 64 };
    const struct pager *pager = &txn->btree->pager;
    if (page_txn(page) == txn->stamp || leaf_is_edited(txn)) {
        leaf_prefetch_place(page);
        return;
    }
    for (size_t at = page_cells_low(page); at < pager->page_bytes; at += LINE_BYTES)
        __builtin_prefetch(page + at);
}

sombra_err tree_arrive_writing(struct btree_txn *txn, struct tree_path *path)
{
    assert(txn->kv.is_write && path->depth == txn->snapshot.depth);
    sombra_err err = descend_last(txn, true, path);
    if (err || !path->depth)
        return err;
    const uint8_t *page = path->at[0].page;
    if (leaf_is_edited(txn))
        leaf_prefetch_place(page);
    else
        leaf_prefetch_rest(&txn->btree->pager, page);
    return SOMBRA_OK;
}

bool tree_trail_leads(struct btree_txn *txn, sombra_slice key, struct tree_path *out_path,
                      bool *out_is_there)
{
    const struct pager *pager = &txn->btree->pager;
    const struct get_trail *trail = &txn->btree->trail;
    if (trail->stamp != txn->stamp || trail->generation != txn->generation ||
        !slice_equal(key, slice_of(trail->key, trail->key_bytes)))
        return false;
    out_path->depth = trail->path.depth;
    out_path->steps = out_path->fetched = 0;
    out_path->ahead = NULL;
    for (unsigned level = 0; level < trail->path.depth; level++) {
        out_path->at[level] = trail->path.at[level];
        out_path->at[level].page =
            pager_view(pager, trail->path.at[level].id, trail->path.at[level].page);
    }
    leaf_prefetch_change(txn, out_path->at[0].page);
    *out_is_there = trail->is_there;
    return true;
}

/* Fills levels below `level` along the first or last children. */
static sombra_err edge_below(struct btree_txn *txn, struct tree_path *path, unsigned level,
                             bool to_last)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    while (level-- > 0) {
        struct path_level *above = &path->at[level + 1];
        page_id id = branch_child(above->page, page_bytes, above->index);
        const uint8_t *page;
        sombra_err err = tree_page(txn, id, level, &page);
        if (err)
            return err;
        unsigned index = to_last && page_count(page) ? page_count(page) - 1 : 0;
        path->at[level] = (struct path_level){ .id = id, .page = page, .index = index };
    }
    return SOMBRA_OK;
}

sombra_err tree_descend_edge(struct btree_txn *txn, bool to_last, struct tree_path *out_path)
{
    unsigned depth = (unsigned)txn->snapshot.depth;
    out_path->depth = depth;
    out_path->steps = out_path->fetched = 0;
    out_path->ahead = NULL;
    if (depth == 0)
        return SOMBRA_OK;
    const uint8_t *page;
    sombra_err err = tree_page(txn, txn->snapshot.root, depth - 1, &page);
    if (err)
        return err;
    unsigned index = to_last && page_count(page) ? page_count(page) - 1 : 0;
    out_path->at[depth - 1] =
        (struct path_level){ .id = txn->snapshot.root, .page = page, .index = index };
    return edge_below(txn, out_path, depth - 1, to_last);
}

/* Of long ones the processor itself asks for what follows when the first bytes are read, and those
 * who read only their ends never wait for what lies between. */
static inline bool has_short_entries(const struct pager *pager, const uint8_t *leaf)
{
    enum { SHORT_BYTES = 160 };
    return pager->page_bytes - page_cells_low(leaf) <= (size_t)SHORT_BYTES * page_count(leaf);
}

/* Who walks from leaf to leaf comes to the next one soon: its arrays and its first cells, which
 * lie at the page's end. */
PREFETCHER leaf_prefetch(const struct btree_txn *txn, struct tree_path *path, bool forward)
{
    enum { LINE_BYTES = 64, FRONT_LINES = 6, BACK_LINES = 3 };
    const struct pager *pager = &txn->btree->pager;
    const struct path_level *above = &path->at[1];
    unsigned index = forward ? above->index + 1 : above->index - 1;
    path->ahead = NULL;
    if (index >= page_count(above->page))
        return;
    page_id id = branch_child(above->page, pager->page_bytes, index);
    /* A number read from a page: only of those that were proved before. */
    if (id >= txn->snapshot.page_count || !pager_bit(pager->sound_trees, id))
        return;
    const uint8_t *page = pager_page(pager, id);
    for (size_t i = 0; i < FRONT_LINES; i++)
        __builtin_prefetch(page + i * LINE_BYTES);
    for (size_t i = 1; i <= BACK_LINES; i++)
        __builtin_prefetch(page + pager->page_bytes - i * LINE_BYTES);
    if (tree_page_is_near(txn, id) && has_short_entries(pager, path->at[0].page)) {
        path->ahead = page;
        path->ahead_bytes = pager->page_bytes - BACK_LINES * LINE_BYTES;
    }
}

/* A processor waits for some 20 lines at a time: what is asked for beyond that keeps it from its
 * work. Parts of twice that made scans of a large store a tenth slower, all at once a third. */
enum { AHEAD_LINE_BYTES = 64, AHEAD_PART_BYTES = 24 * AHEAD_LINE_BYTES, AHEAD_ENTRIES_MIN = 8 };

/* Bytes of the leaf ahead that are to be asked for: those of its cells. Its header, which tells
 * where they begin, comes while the first half is asked for. */
static inline uint32_t ahead_wanted(const struct pager *pager, const struct tree_path *path)
{
    size_t half = pager->page_bytes / 2;
    size_t low = path->ahead_bytes > half ? half / 2 : page_cells_low(path->ahead);
    return path->ahead_bytes > low ? (uint32_t)(path->ahead_bytes - low) : 0;
}

unsigned tree_ahead_pace(const struct btree_txn *txn, struct tree_path *path, bool forward,
                         unsigned left)
{
    if (path->steps == 0 && !path->ahead && path->depth > 1)
        leaf_prefetch(txn, path, forward);
    if (!path->ahead)
        return left;
    uint32_t parts = 1 + ahead_wanted(&txn->btree->pager, path) / AHEAD_PART_BYTES;
    uint32_t pace = (left + parts - 1) / parts;
    return pace > AHEAD_ENTRIES_MIN ? pace : AHEAD_ENTRIES_MIN;
}

/* From the leaf's end to its front throughout: parts that ran the other way saved half as much. */
void tree_ahead_fetch(const struct btree_txn *txn, struct tree_path *path)
{
    if (!path->ahead)
        return;
    uint32_t bytes = ahead_wanted(&txn->btree->pager, path);
    bytes = bytes < AHEAD_PART_BYTES ? bytes : AHEAD_PART_BYTES;
    const uint8_t *end = path->ahead + path->ahead_bytes;
    path->ahead_bytes -= bytes;
    for (uint32_t back = AHEAD_LINE_BYTES; back <= bytes; back += AHEAD_LINE_BYTES)
        __builtin_prefetch(end - back);
}

/* Where memory is short: who has stepped from leaf to leaf some times will go on, and the more
 * leaves are asked for. Who turns round finds some of them, and asks for others when he has gone
 * on. */
static void leaves_fetch(struct btree_txn *txn, struct tree_path *path, bool forward)
{
    enum { STEPS_MIN = 2, FETCH_FIRST = 4, FETCH_MAX = 64 };
    const struct pager *pager = &txn->btree->pager;
    const struct path_level *above = &path->at[1];
    path->fetched -= path->fetched > 0;
    unsigned doublings = path->steps / STEPS_MIN;
    unsigned wanted = doublings < 5 ? (unsigned)FETCH_FIRST << doublings : FETCH_MAX;
    unsigned left = forward ? page_count(above->page) - 1 - above->index : above->index;
    if (path->steps < STEPS_MIN || path->fetched > wanted / 2)
        return;
    wanted = (unsigned)u64_min(u64_min(wanted, FETCH_MAX), left);
    page_id ids[FETCH_MAX];
    size_t count = 0;
    for (; path->fetched < wanted; path->fetched++) {
        unsigned far = path->fetched + 1;
        page_id id = branch_child(above->page, pager->page_bytes,
                                  forward ? above->index + far : above->index - far);
        if (id < txn->snapshot.page_count)
            ids[count++] = id;
    }
    memory_bring_many(pager, ids, count);
}

sombra_err tree_step_leaf(struct btree_txn *txn, struct tree_path *path, bool forward,
                          bool *out_found)
{
    for (unsigned level = 1; level < path->depth; level++) {
        struct path_level *at = &path->at[level];
        if (forward ? at->index + 1 < page_count(at->page) : at->index > 0) {
            at->index = forward ? at->index + 1 : at->index - 1;
            path->steps++;
            if (UNLIKELY(level > 1))
                path->fetched = 0;
            sombra_err err = edge_below(txn, path, level, !forward);
            if (err)
                return err;
            if (UNLIKELY(pager_has_mode(&txn->btree->pager, PAGER_SHORT)))
                leaves_fetch(txn, path, forward);
            leaf_prefetch(txn, path, forward);
            *out_found = true;
            return SOMBRA_OK;
        }
    }
    *out_found = false;
    return SOMBRA_OK;
}

sombra_err tree_rank(struct btree_txn *txn, sombra_slice key, uint64_t *out_rank)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    if (txn->snapshot.depth == 0) {
        *out_rank = 0;
        return SOMBRA_OK;
    }
    struct tree_path path;
    sombra_err err = tree_descend(txn, key, &path);
    if (err)
        return err;
    uint64_t rank = 0;
    for (unsigned level = path.depth - 1; level > 0; level--)
        rank += branch_entries_before(path.at[level].page, page_bytes, path.at[level].index);
    unsigned index;
    (void)leaf_find(path.at[0].page, page_bytes, key, &index);
    *out_rank = rank + index;
    return SOMBRA_OK;
}

sombra_err tree_value(struct btree_txn *txn, const struct leaf_value *value, sombra_slice *out)
{
    if (LIKELY(value->overflow == 0)) {
        *out = value->bytes;
        return SOMBRA_OK;
    }
    struct pager *pager = &txn->btree->pager;
    uint64_t page_count =
        txn->kv.is_write ? txn->btree->space.page_count : txn->snapshot.page_count;
    sombra_err err = pager_prove_run(pager, value->overflow, value->overflow_bytes, page_count);
    if (err)
        return err;
    *out =
        slice_of(pager_page(pager, value->overflow) + OVERFLOW_AT, (size_t)value->overflow_bytes);
    return SOMBRA_OK;
}

/* A writer's, where pages stay where they are; the tree has a leaf. */
static sombra_err get_leaving_trail(struct btree_txn *txn, sombra_slice key,
                                    sombra_slice *out_value)
{
    const size_t page_bytes = txn->btree->pager.page_bytes;
    struct get_trail *trail = &txn->btree->trail;
    struct path_level *at = &trail->path.at[0];
    struct leaf_value value;
    trail->stamp = 0;
    sombra_err err = tree_descend(txn, key, &trail->path);
    if (err)
        return err;
    if (page_kind(at->page) != PAGE_LEAF)
        return leaf_get(at->page, page_bytes, key, &value) ? tree_value(txn, &value, out_value)
                                                           : SOMBRA_NOT_FOUND;
    trail->is_there = leaf_find(at->page, page_bytes, key, &at->index);
    if (key.bytes <= sizeof trail->key) {
        memcpy(trail->key, key.data, key.bytes);
        trail->key_bytes = key.bytes;
        trail->stamp = txn->stamp;
        trail->generation = txn->generation;
    }
    if (!trail->is_there)
        return SOMBRA_NOT_FOUND;
    leaf_value_at(at->page, page_bytes, at->index, &value);
    return tree_value(txn, &value, out_value);
}

sombra_err btree_get(struct kv_txn *kv_txn, sombra_slice key, sombra_slice *out_value)
{
    struct btree_txn *txn = txn_of(kv_txn);
    if (UNLIKELY(key.bytes - 1 >= KV_KEY_BYTES_MAX))
        return kv_check_key(key);
    sombra_err err;
    if (UNLIKELY(!txn_is_plain(txn)) && (err = txn_attend(txn)))
        return err;
    size_t page_bytes = txn->btree->pager.page_bytes;
    page_id id = txn->snapshot.root;
    unsigned level = (unsigned)txn->snapshot.depth;
    if (level == 0)
        return SOMBRA_NOT_FOUND;
    if (kv_txn->is_write && !pager_has_mode(&txn->btree->pager, PAGER_BUFFERED | PAGER_SHORT))
        return get_leaving_trail(txn, key, out_value);
    const uint8_t *page = NULL;
    while (level-- > 1) {
        err = tree_page(txn, id, level, &page);
        if (UNLIKELY(err))
            return err;
        id = branch_child(page, page_bytes, branch_find(page, page_bytes, key));
        level > 1 ? tree_prefetch(txn, id) : tree_prefetch_leaf(txn, id);
    }
    const uint8_t *leaf = tree_page_at_hand(txn, id, 0);
    struct leaf_value value;
    if (UNLIKELY(!leaf))
        return tree_get_asked(txn, id, page ? tree_ask_filter(txn, page, id, key) : FILTER_UNKNOWN,
                              key, out_value);
    txn->kv.pages++;
    if (!leaf_get(leaf, page_bytes, key, &value))
        return SOMBRA_NOT_FOUND;
    return tree_value(txn, &value, out_value);
}

sombra_err btree_count(struct kv_txn *kv_txn, struct kv_range range, uint64_t limit,
                       uint64_t *out_count)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = txn_check(txn);
    if (!err)
        err = kv_check_range(range);
    uint64_t low = 0;
    uint64_t high = txn->snapshot.entries;
    if (!err && range.low.bytes)
        err = tree_rank(txn, range.low, &low);
    if (!err && range.high.bytes)
        err = tree_rank(txn, range.high, &high);
    if (err)
        return err;
    uint64_t count = high > low ? high - low : 0;
    *out_count = limit ? u64_min(count, limit) : count;
    return SOMBRA_OK;
}

sombra_err btree_estimate(struct kv_txn *kv_txn, struct kv_range range, uint64_t *out_count)
{
    return btree_count(kv_txn, range, 0, out_count);
}
