/* SPDX-License-Identifier: MIT */
/* Packing the tree: the page work of a compaction step.
 *
 * A pass goes over the pages of one level in key order, by windows: neighbours under one branch.
 * Where the entries of a window would fit into clearly fewer pages they are pushed together, from
 * the left; and what lies too far behind in the file is copied before. A window's pages are all
 * read and its pages reserved before the first of them is changed.
 *
 * No entry changes, and no count above the window's branch.
 */
#include "btree_internal.h"

enum {
    WINDOW_PAGES = 64,        /* children looked at together */
    STEP_PAGES_SEEN = 1024,   /* a step ends behind so many, */
    STEP_CHANGES = 128,       /* or so many changes of the page account, */
    STEP_RUN_BYTES = 4 << 20, /* or so many bytes of values moved */
    /* Packed pages keep some room: the next small insert need not split. */
    FILL_DIVISOR = 32,
};

/* Neighbours under one branch: the path leads to the branch, at level + 1. */
struct window {
    struct btree_txn *txn;
    struct pack *pack;
    struct tree_path path;
    unsigned level;       /* of the children */
    unsigned first, last; /* children [first, last) */
    unsigned movers;      /* of these lie behind, and were not moved yet */
    bool packs;           /* they would fit into clearly fewer pages */
    uint64_t run_bytes;   /* moved */
};

static size_t page_bytes_of(const struct window *window)
{
    return window->txn->btree->pager.page_bytes;
}

static const uint8_t *branch_of(const struct window *window)
{
    return window->path.at[window->level + 1].page;
}

static sombra_err child_read(struct window *window, unsigned index, const uint8_t **out_page)
{
    page_id id = branch_child(branch_of(window), page_bytes_of(window), index);
    sombra_err err = tree_page(window->txn, id, window->level, out_page);
    if (!err && page_txn(*out_page) != window->txn->stamp)
        err = tree_check_used(window->txn, id, 1);
    return err;
}

/* Makes the child, and the branch above, this transaction's own. The root is nobody's child: its
 * index does not count. */
static uint8_t *child_touch(struct window *window, unsigned index, const uint8_t *page)
{
    struct tree_path *path = &window->path;
    window->pack->pages_moved += page_txn(page) != window->txn->stamp;
    if (window->level + 1 < path->depth)
        path->at[window->level + 1].index = index;
    path->at[window->level] = (struct path_level){ .id = page_number(page), .page = page };
    tree_touch(window->txn, path, window->level);
    return pager_writable(&window->txn->btree->pager, path->at[window->level].id);
}

static uint8_t *branch_writable(struct window *window)
{
    const struct path_level *at = &window->path.at[window->level + 1];
    assert(page_txn(at->page) == window->txn->stamp);
    return pager_writable(&window->txn->btree->pager, at->id);
}

static void child_count(struct window *window, unsigned index, const uint8_t *page)
{
    branch_set_child(branch_writable(window), page_bytes_of(window), index, page_number(page),
                     tree_entries(window->txn, page, window->level));
}

/* ---- packing ----------------------------------------------------------------------------- */

static bool pair_join(struct window *window, unsigned index, const uint8_t *left,
                      const uint8_t *right, uint8_t *to)
{
    size_t page_bytes = page_bytes_of(window);
    if (page_used(left, page_bytes) + page_used(right, page_bytes) > page_bytes + page_bytes / 8)
        return false;
    if (window->level == 0)
        return leaf_merge(left, right, page_bytes, to);
    uint8_t between[KV_KEY_BYTES_MAX];
    size_t bytes = branch_separator(branch_of(window), page_bytes, index + 1, between);
    return branch_merge(left, slice_of(between, bytes), right, page_bytes, to);
}

/* Children index and index + 1 become one, if they fit. */
static bool pair_merge(struct window *window, unsigned index, const uint8_t *left,
                       const uint8_t *right)
{
    struct btree_txn *txn = window->txn;
    uint8_t *joined = txn->btree->scratch[0];
    if (!pair_join(window, index, left, right, joined))
        return false;
    page_id right_id = page_number(right);
    uint64_t right_born = page_txn(right);
    uint8_t *page = child_touch(window, index, left);
    tree_put_image(txn, page, page_number(page), joined);
    space_free(&txn->btree->space, right_id, 1, right_born, txn->stamp);
    branch_remove(branch_writable(window), page_bytes_of(window), index + 1, index + 2);
    child_count(window, index, page);
    window->pack->pages_saved++;
    window->last--;
    return true;
}

/* Moves entries of leaf index + 1 to leaf index. */
static void pair_fill(struct window *window, unsigned index, const uint8_t *left,
                      const uint8_t *right)
{
    struct btree *btree = window->txn->btree;
    size_t page_bytes = page_bytes_of(window);
    struct leaf_split split = { .left = btree->scratch[2],
                                .middle = btree->scratch[3],
                                .right = btree->scratch[4] };
    if (!leaf_fill(left, right, page_bytes, page_bytes - page_bytes / FILL_DIVISOR, &split))
        return;
    uint8_t *page = child_touch(window, index, left);
    /* A longer separator may not fit into the branch: then they stay as they are. */
    if (!branch_replace_separator(branch_writable(window), page_bytes, index + 1,
                                  slice_of(split.separator, split.separator_bytes)))
        return;
    tree_put_image(window->txn, page, page_number(page), split.left);
    child_count(window, index, page);
    page = child_touch(window, index + 1, right);
    tree_put_image(window->txn, page, page_number(page), split.right);
    child_count(window, index + 1, page);
}

static sombra_err window_pack(struct window *window)
{
    unsigned index = window->first;
    while (index + 1 < window->last) {
        const uint8_t *left, *right;
        sombra_err err = child_read(window, index, &left);
        if (!err)
            err = child_read(window, index + 1, &right);
        if (err)
            return err;
        if (pair_merge(window, index, left, right))
            continue;
        if (window->level == 0)
            pair_fill(window, index, left, right);
        index++;
    }
    return SOMBRA_OK;
}

/* ---- moving ------------------------------------------------------------------------------ */

/* Room for the leaves that the window may still touch, without a longer file. */
static sombra_err value_reserve(struct window *window, bool *out_has_room)
{
    struct space *space = &window->txn->btree->space;
    size_t pages = (size_t)window->txn->snapshot.depth + window->movers + 1;
    *out_has_room = space_free_before(space, window->pack->tree_end) >= pages;
    return *out_has_room ? space_reserve(space, pages, 2 * pages + 4) : SOMBRA_OK;
}

/* Copies a value that lies behind to the lowest place before it that has room. */
static sombra_err value_move(struct window *window, unsigned child, unsigned index,
                             const struct leaf_value *value, const uint8_t **page)
{
    struct btree_txn *txn = window->txn;
    struct btree *btree = txn->btree;
    uint64_t pages = pager_run_pages(&btree->pager, value->overflow_bytes);
    bool has_room = false;
    sombra_slice bytes;
    sombra_err err = tree_value(txn, value, &bytes);
    if (!err)
        err = tree_check_used(txn, value->overflow, pages);
    if (!err)
        err = value_reserve(window, &has_room);
    if (err)
        return err;
    struct leaf_value moved = { .overflow_bytes = value->overflow_bytes };
    if (has_room)
        moved.overflow = space_take_run_before(&btree->space, pages, value->overflow);
    else
        window->pack->is_short = !window->pack->is_starved;
    if (!moved.overflow) {
        window->pack->runs_stuck++;
        return SOMBRA_OK;
    }
    err = pager_write_run(&btree->pager, moved.overflow, txn->stamp, bytes);
    if (err)
        return err;
    uint8_t *leaf = child_touch(window, child, *page);
    bool fits = leaf_replace(leaf, page_bytes_of(window), index, &moved);
    assert(fits && "a reference is as long as any other");
    (void)fits;
    *page = leaf;
    tree_free_value(txn, value);
    window->pack->pages_moved += pages;
    window->run_bytes += value->overflow_bytes;
    return SOMBRA_OK;
}

static sombra_err values_move(struct window *window, unsigned child, const uint8_t *page)
{
    struct pack *pack = window->pack;
    const struct pager *pager = &window->txn->btree->pager;
    if (page_kind(page) != PAGE_LEAF)
        return SOMBRA_OK;
    unsigned count = page_count(page);
    for (unsigned i = 0; i < count; i++) {
        struct leaf_value value;
        leaf_value_at(page, pager->page_bytes, i, &value);
        if (!value.overflow)
            continue;
        uint64_t pages = value.overflow_bytes <= KV_VALUE_BYTES_MAX
                             ? pager_run_pages(pager, value.overflow_bytes)
                             : 0;
        if (value.overflow + pages <= pack->run_end)
            continue;
        sombra_err err = value_move(window, child, i, &value, &page);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

static sombra_err window_move(struct window *window)
{
    struct pack *pack = window->pack;
    for (unsigned index = window->first; index < window->last; index++) {
        const uint8_t *page;
        sombra_err err = child_read(window, index, &page);
        if (err)
            return err;
        if (page_number(page) >= pack->tree_end && page_txn(page) != window->txn->stamp) {
            page = child_touch(window, index, page);
            window->movers -= window->movers > 0;
        }
        if (window->level == 0)
            err = values_move(window, index, page);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

/* ---- windows ----------------------------------------------------------------------------- */

/* Where memory is short: one access of the medium after the other would be slow. */
static void window_bring(const struct window *window)
{
    const struct btree *btree = window->txn->btree;
    page_id ids[WINDOW_PAGES];
    size_t count = 0;
    for (unsigned index = window->first; index < window->last; index++) {
        page_id id = branch_child(branch_of(window), page_bytes_of(window), index);
        if (id < btree->space.page_count && !pager_dirty_find(&btree->pager, id))
            ids[count++] = id;
    }
    memory_bring_many(&btree->pager, ids, count);
}

/* Reads the children. */
static sombra_err window_measure(struct window *window)
{
    if (UNLIKELY(pager_has_mode(&window->txn->btree->pager, PAGER_SHORT)))
        window_bring(window);
    size_t page_bytes = page_bytes_of(window);
    size_t fill_bytes = page_bytes - page_bytes / FILL_DIVISOR;
    size_t used = 0;
    for (unsigned index = window->first; index < window->last; index++) {
        const uint8_t *page;
        sombra_err err = child_read(window, index, &page);
        if (err)
            return err;
        used += page_used(page, page_bytes);
        window->movers += page_number(page) >= window->pack->tree_end;
    }
    unsigned count = window->last - window->first;
    size_t need = (used + fill_bytes - 1) / fill_bytes;
    window->packs = need < count && (count - need) * window->pack->gain_share >= count;
    return SOMBRA_OK;
}

/* Leaves so many of the pages that lie behind in the window; at least one. */
static void window_cut(struct window *window, uint64_t movers)
{
    const uint8_t *branch = branch_of(window);
    window->movers = 0;
    for (unsigned index = window->first; index < window->last; index++) {
        if (branch_child(branch, page_bytes_of(window), index) < window->pack->tree_end)
            continue;
        if (window->movers == movers) {
            window->last = index;
            return;
        }
        window->movers++;
    }
}

/* Room for a copy of every page that will change: packing may make the file longer for a while,
 * moving may not. */
static sombra_err window_reserve(struct window *window, bool *out_has_room)
{
    const struct pack *pack = window->pack;
    struct space *space = &window->txn->btree->space;
    size_t depth = (size_t)window->txn->snapshot.depth;
    size_t pages = 0;
    if (window->packs) {
        uint64_t unused = space->free_count + space->reserve_count;
        pages = depth + (window->last - window->first) + 1;
        *out_has_room = unused >= pages || space->page_count + pages <= pack->page_count_max;
    } else {
        uint64_t room = space_free_before(space, pack->tree_end);
        *out_has_room = window->movers == 0 || room > depth + 1;
        if (*out_has_room && window->movers + depth + 1 > room)
            window_cut(window, room - depth - 1);
        pages = window->movers ? depth + window->movers + 1 : 0;
    }
    return *out_has_room ? space_reserve(space, pages, 3 * pages) : SOMBRA_OK;
}

/* The first key behind the branch; 0 bytes: nothing is. */
static size_t key_behind(const struct window *window, uint8_t *to)
{
    const struct tree_path *path = &window->path;
    for (unsigned level = window->level + 2; level < path->depth; level++) {
        const struct path_level *at = &path->at[level];
        if (at->index + 1 < page_count(at->page))
            return branch_separator(at->page, page_bytes_of(window), at->index + 1, to);
    }
    return 0;
}

/* The next window begins with this one's last child, which may have room left. */
static void place_advance(const struct window *window, struct pack_place *place)
{
    const uint8_t *branch = branch_of(window);
    if (window->last < page_count(branch)) {
        unsigned index = window->last - 1;
        if (index > 0)
            place->key_bytes = branch_separator(branch, page_bytes_of(window), index, place->key);
        return;
    }
    uint8_t key[KV_KEY_BYTES_MAX];
    place->key_bytes = key_behind(window, key);
    memcpy(place->key, key, place->key_bytes);
    place->is_done = place->key_bytes == 0;
}

static sombra_err window_find(struct window *window, const struct pack_place *place)
{
    struct btree_txn *txn = window->txn;
    sombra_err err = place->key_bytes
                         ? tree_descend(txn, slice_of(place->key, place->key_bytes), &window->path)
                         : tree_descend_edge(txn, false, &window->path);
    if (err)
        return err;
    for (unsigned level = place->level + 1; level < window->path.depth && !err; level++)
        if (page_txn(window->path.at[level].page) != txn->stamp)
            err = tree_check_used(txn, window->path.at[level].id, 1);
    unsigned count = page_count(branch_of(window));
    window->first = window->path.at[place->level + 1].index;
    window->last = count - window->first > WINDOW_PAGES ? window->first + WINDOW_PAGES : count;
    return err;
}

/* One window; `place` moves behind it. */
static sombra_err window_run(struct window *window, struct pack_place *place)
{
    struct pack *pack = window->pack;
    bool has_room;
    sombra_err err = window_find(window, place);
    if (!err)
        err = window_measure(window);
    if (!err)
        err = window_reserve(window, &has_room);
    if (err)
        return err;
    if (!has_room && !pack->is_starved) {
        pack->is_short = true;
        return SOMBRA_OK;
    }
    pack->pages_seen += window->last - window->first;
    if (window->packs && has_room)
        err = window_pack(window);
    if (!err && has_room)
        err = window_move(window);
    if (!err && !pack->is_short)
        place_advance(window, place);
    return err;
}

/* The root has no branch above to find it by, and may be a leaf. */
static sombra_err root_run(struct btree_txn *txn, struct pack *pack, struct pack_place *place)
{
    struct space *space = &txn->btree->space;
    struct window window = { .txn = txn, .pack = pack, .level = place->level, .last = 1 };
    sombra_err err = tree_descend_edge(txn, false, &window.path);
    if (err)
        return err;
    const uint8_t *page = window.path.at[place->level].page;
    err = tree_check_used(txn, page_number(page), 1);
    pack->pages_seen++;
    if (!err && page_number(page) >= pack->tree_end) {
        bool has_room = space_free_before(space, pack->tree_end) > 0;
        pack->is_short = !has_room && !pack->is_starved;
        err = has_room ? space_reserve(space, 1, 2) : SOMBRA_OK;
        if (!err && has_room)
            page = child_touch(&window, 0, page);
    }
    if (!err && place->level == 0)
        err = values_move(&window, 0, page);
    place->is_done = !pack->is_short;
    return err;
}

sombra_err tree_pack_step(struct btree_txn *txn, struct pack *pack, struct pack_place *place)
{
    struct space *space = &txn->btree->space;
    assert(space->change_count == 0 && !place->is_done);
    pack->is_short = false;
    uint64_t seen_end = pack->pages_seen + STEP_PAGES_SEEN;
    uint64_t run_bytes = 0;
    /* What a checkpoint has freed since counts; what lies ready was picked by other rules. */
    space_reclaim(space);
    space_drop_reserve(space);
    sombra_err err = SOMBRA_OK;
    do {
        if (place->level + 1u == txn->snapshot.depth)
            return root_run(txn, pack, place);
        if (place->level >= txn->snapshot.depth) {
            place->is_done = true; /* the tree has lost this level */
            break;
        }
        struct window window = { .txn = txn, .pack = pack, .level = place->level };
        err = window_run(&window, place);
        run_bytes += window.run_bytes;
        if (!err)
            err = tree_shrink_root(txn);
    } while (!err && !pack->is_short && !place->is_done && pack->pages_seen < seen_end &&
             space->change_count < STEP_CHANGES && run_bytes < STEP_RUN_BYTES);
    return err;
}
