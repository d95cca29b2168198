/* SPDX-License-Identifier: MIT */
/* Which pages are used, pending and free. In memory two bitmaps, a stack of recently freed pages
 * and the list of pending runs; on disk space_format.h (space_disk.c).
 *
 * A run born in transaction B and freed in F can be seen by the snapshots in [B, F) and no others:
 * it is reused as soon as none of them is pinned, by a reader or by a checkpoint. One old reader
 * thus pins what it can see and no more.
 *
 * Invariant: every page below page_count is exactly one of meta area, used, pending, free (its bit
 * is set) or reserved. All calls are the writer's.
 */
#include "btree_internal.h"

/* Few enough that a page comes into use again while the processor's cache still has it, from when
 * it was copied away: single commits save a tenth. */
enum { SCAN_BATCH_PAGES = 24 };

void space_init(struct space *space, struct btree *btree)
{
    *space = (struct space){ .btree = btree };
    space->first_page = u64_max(1, META_AREA_BYTES / btree->pager.page_bytes);
    space->page_count = space->first_page;
}

void space_release(struct space *space)
{
    mem_free(space->free_bits);
    mem_free(space->pending_bits);
    mem_free(space->reserved_bits);
    mem_free(space->ready);
    mem_free(space->reserve);
    mem_free(space->pending);
    mem_free(space->changes);
    mem_free(space->chunks);
    mem_free(space->directory);
    mem_free(space->orphans);
    *space = (struct space){ 0 };
}

/* ---- bits -------------------------------------------------------------------------------- */

static void chunk_touch(struct space *space, page_id id)
{
    if (UNLIKELY(id - space->touched_first >= space->touched_pages)) {
        space->touched_pages = space_chunk_pages(space);
        space->touched_chunk = (size_t)(id / space->touched_pages);
        space->touched_first = space->touched_chunk * space->touched_pages;
    }
    space->chunks[space->touched_chunk].is_dirty = true;
}

static void run_bits_change(struct space *space, uint64_t *bits, page_id id, uint64_t pages,
                            bool value)
{
    for (page_id at = id; at < id + pages; at++) {
        assert(space_bit(bits, at) != value);
        bits[at / 64] ^= UINT64_C(1) << (at % 64);
        if (at == id || at % 4096 == 0)
            chunk_touch(space, at);
    }
    if (pages)
        chunk_touch(space, id + pages - 1);
}

static inline void bits_change(struct space *space, uint64_t *bits, page_id id, uint64_t pages,
                               bool value)
{
    if (LIKELY(pages == 1)) {
        assert(space_bit(bits, id) != value);
        bits[id / 64] ^= UINT64_C(1) << (id % 64);
        chunk_touch(space, id);
        return;
    }
    run_bits_change(space, bits, id, pages, value);
}

static void free_set(struct space *space, page_id id, uint64_t pages)
{
    bits_change(space, space->free_bits, id, pages, true);
    space->free_count += pages;
    /* A hint that is lost costs a search later. */
    if (pages == 1 && space->ready_count < space->ready_capacity)
        space->ready[space->ready_count++] = id;
    else
        space->search_word = u64_min(space->search_word, id / 64);
    space->low_word = u64_min(space->low_word, id / 64);
}

static void free_clear(struct space *space, page_id id, uint64_t pages)
{
    bits_change(space, space->free_bits, id, pages, false);
    space->free_count -= pages;
}

static void reserve_push(struct space *space, page_id id)
{
    assert(space->reserve_count < space->reserve_capacity);
    assert(!space_bit(space->free_bits, id) && !space_bit(space->reserved_bits, id));
    space->reserved_bits[id / 64] |= UINT64_C(1) << (id % 64);
    /* The lowest is taken first: what is left over in the end is the file's end, if it has grown,
     * and is cut off. */
    size_t at = space->reserve_count++;
    for (; at > 0 && space->reserve[at - 1] < id; at--)
        space->reserve[at] = space->reserve[at - 1];
    space->reserve[at] = id;
}

static page_id reserve_pop(struct space *space)
{
    assert(space->reserve_count > 0 && "space_reserve went before");
    page_id id = space->reserve[--space->reserve_count];
    space->reserved_bits[id / 64] &= ~(UINT64_C(1) << (id % 64));
    return id;
}

static void reserve_remove(struct space *space, size_t index)
{
    page_id id = space->reserve[index];
    space->reserve_count--;
    memmove(space->reserve + index, space->reserve + index + 1,
            (space->reserve_count - index) * sizeof *space->reserve);
    space->reserved_bits[id / 64] &= ~(UINT64_C(1) << (id % 64));
}

/* ---- growing arrays ---------------------------------------------------------------------- */

static sombra_err array_reserve(void *array_at, size_t *capacity, size_t need, size_t item_bytes)
{
    void **array = array_at;
    if (LIKELY(need <= *capacity))
        return SOMBRA_OK;
    size_t grown = size_max(need, size_max(64, *capacity * 2));
    void *memory = mem_realloc(*array, grown * item_bytes);
    if (!memory)
        return diag_nomem("the page account", grown * item_bytes);
    *array = memory;
    *capacity = grown;
    return SOMBRA_OK;
}

sombra_err space_chunks_reserve(struct space *space, size_t chunks)
{
    if (chunks <= space->chunk_count)
        return SOMBRA_OK;
    struct space_chunk *memory = mem_realloc(space->chunks, chunks * sizeof *memory);
    if (!memory)
        return diag_nomem("the page account", chunks * sizeof *memory);
    memset(memory + space->chunk_count, 0, (chunks - space->chunk_count) * sizeof *memory);
    space->chunks = memory;
    space->chunk_count = chunks;
    return SOMBRA_OK;
}

static sombra_err bits_grow(struct space *space, uint64_t page_count)
{
    size_t words = (size_t)(page_count / 64 + 1);
    if (words > space->words) {
        words = size_max(words, space->words * 2);
        uint64_t **arrays[] = { &space->free_bits, &space->pending_bits, &space->reserved_bits };
        for (size_t i = 0; i < COUNT_OF(arrays); i++) {
            uint64_t *bits = mem_realloc(*arrays[i], words * sizeof *bits);
            if (!bits)
                return diag_nomem("the page account", words * sizeof *bits);
            memset(bits + space->words, 0, (words - space->words) * sizeof *bits);
            *arrays[i] = bits;
        }
        space->words = words;
    }
    return space_chunks_reserve(space, (size_t)(page_count / space_chunk_pages(space) + 1));
}

sombra_err space_set_page_count(struct space *space, uint64_t page_count)
{
    sombra_err err = bits_grow(space, page_count);
    enum { READY_PAGES = 4096 };
    if (!err)
        err =
            array_reserve(&space->ready, &space->ready_capacity, READY_PAGES, sizeof *space->ready);
    if (!err)
        space->page_count = page_count;
    return err;
}

/* ---- pending ----------------------------------------------------------------------------- */

enum pin { PIN_NONE, PIN_CHECKPOINT, PIN_READER };

/* Who needs a run: who of the ascending txns is in [born, freed)? A reader of a checkpoint's own
 * snapshot pins what that pins, and passes for it. */
static enum pin pin_of(const struct pending_run *run, const uint64_t *txns, size_t count,
                       const uint64_t checkpoints[2])
{
    size_t low = 0;
    size_t high = count;
    if (LIKELY(count == 0 || txns[count - 1] < run->born))
        return PIN_NONE;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (txns[middle] < run->born)
            low = middle + 1;
        else
            high = middle;
    }
    enum pin pin = PIN_NONE;
    for (; low < count && txns[low] < run->freed; low++) {
        if (txns[low] != checkpoints[0] && txns[low] != checkpoints[1])
            return PIN_READER;
        pin = PIN_CHECKPOINT;
    }
    return pin;
}

static void run_set_read(struct space *space, struct pending_run *run, bool is_read)
{
    if (run->is_read != is_read)
        space->read_count += is_read ? run->pages : -run->pages;
    run->is_read = is_read;
}

static uint64_t txns_signature(const uint64_t *txns, size_t count)
{
    uint64_t signature = count;
    for (size_t i = 0; i < count; i++)
        signature = hash_u64(signature ^ txns[i]);
    return signature;
}

/* Frees what no snapshot needs. Runs looked at under the same snapshots are not looked at again,
 * and a full pass over a long list is paid for by the pages taken since the last, or by a
 * checkpoint. */
static void pending_scan(struct space *space)
{
    shared_sweep(space->btree);
    const struct head *head = space->btree->head;
    uint64_t *txns = space->pinned;
    /* Before the look at all: what has become durable since is taken for a reader's, for once. */
    uint64_t checkpoints[] = { atomic_load(&head->pinned_meta), atomic_load(&head->pinned_intent) };
    size_t count = head_pinned(space->btree->head, txns);
    uint64_t signature = txns_signature(txns, count);
    size_t from = space->pending_scanned;
    if (signature != space->scan_signature &&
        (space->taken_since_scan * 8 >= from || checkpoints[0] != space->scan_durable)) {
        from = 0;
        space->taken_since_scan = 0;
        space->scan_durable = checkpoints[0];
    }
    /* A part scanned under other snapshots than the rest leaves no signature that fits all. */
    space->scan_signature = from == 0 || signature == space->scan_signature ? signature : 0;
    size_t kept = from;
    for (size_t i = from; i < space->pending_runs; i++) {
        struct pending_run *run = &space->pending[i];
        enum pin pin = pin_of(run, txns, count, checkpoints);
        run_set_read(space, run, pin == PIN_READER);
        if (pin != PIN_NONE) {
            space->pending[kept++] = *run;
            continue;
        }
        bits_change(space, space->pending_bits, run->id, run->pages, false);
        space->pending_count -= run->pages;
        free_set(space, run->id, run->pages);
    }
    space->pending_runs = kept;
    space->pending_scanned = kept;
}

uint64_t space_pins(struct space *space)
{
    shared_sweep(space->btree);
    return txns_signature(space->pinned, head_pinned(space->btree->head, space->pinned));
}

void space_reclaim(struct space *space)
{
    space->pending_scanned = 0;
    space->scan_signature = 0;
    if (space->pending_runs)
        pending_scan(space);
}

/* ---- taking ------------------------------------------------------------------------------ */

static page_id free_search(struct space *space)
{
    size_t words = (size_t)(space->page_count / 64 + 1);
    for (size_t i = 0; i < words; i++) {
        size_t at = (size_t)((space->search_word + i) % words);
        if (space->free_bits[at]) {
            space->search_word = at;
            return at * 64 + (uint64_t)__builtin_ctzll(space->free_bits[at]);
        }
    }
    return 0;
}

/* The free page nearest to the file's beginning. */
static page_id free_lowest(struct space *space)
{
    size_t words = (size_t)(space->page_count / 64 + 1);
    for (size_t at = (size_t)space->low_word; at < words; at++) {
        if (space->free_bits[at]) {
            space->low_word = at;
            return at * 64 + (uint64_t)__builtin_ctzll(space->free_bits[at]);
        }
    }
    space->low_word = words;
    return 0;
}

/* The file grows by this share of its pages: each step costs a system call, and space. */
enum { GROWTH_SHARE = 32 };

/* The file's pages from `first` on are new, and free. */
static void tail_set(struct space *space, page_id first)
{
    bits_change(space, space->free_bits, first, space->page_count - first, true);
    space->free_count += space->page_count - first;
    space->low_word = u64_min(space->low_word, first / 64);
}

static sombra_err grow(struct space *space, uint64_t pages)
{
    struct pager *pager = &space->btree->pager;
    uint64_t step_min = (256 * KiB) >> pager->page_shift;
    uint64_t step_max = (32 * MiB) >> pager->page_shift;
    uint64_t step = u64_max(step_min, u64_min(step_max, space->page_count / GROWTH_SHARE));
    uint64_t count = space->page_count + u64_max(step, pages);
    sombra_err err = bits_grow(space, count);
    if (!err) {
        err = pager_grow(pager, space->page_count, count);
        /* A disk or a limit that has no room for the step may have room for the need. */
        if (err == SOMBRA_LIMIT && step > pages) {
            count = space->page_count + pages;
            err = pager_grow(pager, space->page_count, count);
        }
    }
    if (err)
        return err;
    uint64_t old = space->page_count;
    space->page_count = count;
    tail_set(space, old);
    memory_weigh_grown(space->btree, count);
    return SOMBRA_OK;
}

static page_id ready_pop(struct space *space)
{
    /* While a compaction runs nothing new is put behind it. */
    if (UNLIKELY(atomic_load_explicit(&space->btree->compacts, memory_order_relaxed)))
        return free_lowest(space);
    while (space->ready_count) {
        page_id id = space->ready[--space->ready_count];
        if (id < space->page_count && space_bit(space->free_bits, id))
            return id;
    }
    return 0;
}

/* Many pages taken, and no leaf filled: the load is over. What overwrites records splits none. */
static bool order_goes_on(const struct space *space)
{
    enum { TAKEN_MAX = 64 };
    return space->taken_since_leaf <= TAKEN_MAX;
}

void space_note_full(struct space *space, bool is_in_order)
{
    if (!is_in_order || !order_goes_on(space))
        space->leaves_in_order = 0;
    space->leaves_in_order += is_in_order;
    space->taken_since_leaf = 0;
}

/* A batch of a thousand random puts is not large, for single puts may change its pages later: the
 * system writes all that was made at once then for each. It is not known to be the last; a batch
 * that says what it puts fills pages one behind the other, as puts in key order do, and the first
 * transaction of an open writes all it has at its commit, into a file whose other pages come at
 * once as well. */
static bool is_large(const struct space *space)
{
    enum { CHANGES_LARGE = 2560, CHANGES_LARGE_ALONE = 256, LEAVES_LARGE = 16 };
    const uint64_t known = space->btree->is_beside ? space->change_count : 0;
    bool is_ordered = space->leaves_in_order >= LEAVES_LARGE && order_goes_on(space);
    return is_ordered || space->change_count >= CHANGES_LARGE ||
           u64_max(space->expected_changes, known) >= CHANGES_LARGE_ALONE;
}

static sombra_err reserve_one(struct space *space)
{
    page_id id = ready_pop(space);
    if (!id) {
        if (space->pending_runs >= space->pending_scanned + SCAN_BATCH_PAGES ||
            (space->free_count < SCAN_BATCH_PAGES && space->pending_runs)) {
            pending_scan(space);
            /* It looks after the dead: if a sync of theirs is found to have failed, the pages that
             * this transaction builds on may be lost by now. */
            sombra_err err = head_check_writable(space->btree->head);
            if (err)
                return err;
        }
        id = ready_pop(space);
    }
    if (!id && space->free_count)
        id = free_search(space);
    if (!id) {
        sombra_err err = grow(space, 1);
        if (err)
            return err;
        id = free_search(space);
    }
    assert(id >= space->first_page);
    sombra_err err = pager_touch_fresh(&space->btree->pager, id, is_large(space));
    if (!err)
        err = pager_prepare(&space->btree->pager, id);
    if (err)
        return err;
    free_clear(space, id, 1);
    reserve_push(space, id);
    return SOMBRA_OK;
}

sombra_err space_reserve(struct space *space, size_t pages, size_t changes)
{
    sombra_err err = array_reserve(&space->changes, &space->change_capacity,
                                   space->change_count + pages + changes, sizeof *space->changes);
    if (!err)
        err =
            array_reserve(&space->reserve, &space->reserve_capacity, pages, sizeof *space->reserve);
    while (!err && space->reserve_count < pages)
        err = reserve_one(space);
    return err;
}

static void change_note(struct space *space, struct space_change change)
{
    assert(space->change_count < space->change_capacity && "space_reserve counted too few changes");
    space->changes[space->change_count++] = change;
}

page_id space_take(struct space *space)
{
    page_id id = reserve_pop(space);
    space->taken_since_scan++;
    space->taken_since_leaf++;
    chunk_touch(space, id);
    pager_trust(&space->btree->pager, id);
    change_note(space, (struct space_change){ .action = SPACE_TAKEN, .id = id, .pages = 1 });
    return id;
}

/* First fit; the run ends before `end`. */
static page_id run_search(const struct space *space, uint64_t pages, page_id end)
{
    assert(end <= space->page_count);
    uint64_t length = 0;
    for (page_id id = space->first_page; id < end; id++) {
        if (id % 64 == 0 && length == 0 && space->free_bits[id / 64] == 0) {
            id += 63;
            continue;
        }
        length = space_bit(space->free_bits, id) ? length + 1 : 0;
        if (length == pages)
            return id + 1 - pages;
    }
    return 0;
}

static void run_take(struct space *space, page_id id, uint64_t pages)
{
    assert(id >= space->first_page);
    free_clear(space, id, pages);
    space->taken_since_scan += pages;
    change_note(space, (struct space_change){ .action = SPACE_TAKEN, .id = id, .pages = pages });
}

sombra_err space_take_run(struct space *space, uint64_t pages, page_id *out_id)
{
    sombra_err err = array_reserve(&space->changes, &space->change_capacity,
                                   space->change_count + 1, sizeof *space->changes);
    if (err)
        return err;
    if (space->pending_runs)
        pending_scan(space);
    page_id id = space->free_count >= pages ? run_search(space, pages, space->page_count) : 0;
    if (!id) {
        err = grow(space, pages);
        if (err)
            return err;
        id = run_search(space, pages, space->page_count);
    }
    run_take(space, id, pages);
    *out_id = id;
    return SOMBRA_OK;
}

page_id space_take_run_before(struct space *space, uint64_t pages, page_id end)
{
    page_id id = space->free_count >= pages ? run_search(space, pages, end) : 0;
    if (id)
        run_take(space, id, pages);
    return id;
}

void space_free(struct space *space, page_id id, uint64_t pages, uint64_t born, uint64_t stamp)
{
    assert(id >= space->first_page && id + pages <= space->page_count);
    if (born == stamp) {
        if (pages == 1)
            pager_dirty_drop(&space->btree->pager, id);
        change_note(space,
                    (struct space_change){ .action = SPACE_RETURNED, .id = id, .pages = pages });
        free_set(space, id, pages);
        return;
    }
    change_note(space, (struct space_change){
                           .action = SPACE_FREED, .id = id, .pages = pages, .born = born });
}

void space_drop_reserve(struct space *space)
{
    while (space->reserve_count) {
        page_id id = reserve_pop(space);
        pager_dirty_drop(&space->btree->pager, id);
        free_set(space, id, 1);
    }
}

void space_forget_hints(struct space *space)
{
    space->ready_count = 0;
    space->search_word = 0;
}

/* ---- what other processes did ------------------------------------------------------------- */

static sombra_err apply_check(const struct space *space, page_id id, uint64_t pages)
{
    if (id >= space->first_page && pages > 0 && id < space->page_count &&
        pages <= space->page_count - id)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT,
                     "the log says that pages %" PRIu64 " to %" PRIu64 " of %" PRIu64
                     " changed hands",
                     id, id + pages, space->page_count);
}

/* The page was pending for us, and the other process knew that nobody needs it any more. */
static void pending_remove(struct space *space, page_id id)
{
    for (size_t i = 0; i < space->pending_runs; i++) {
        struct pending_run *run = &space->pending[i];
        if (id < run->id || id >= run->id + run->pages)
            continue;
        run_set_read(space, run, false);
        struct pending_run rest = *run;
        rest.pages = run->id + run->pages - (id + 1);
        rest.id = id + 1;
        run->pages = id - run->id;
        bits_change(space, space->pending_bits, id, 1, false);
        space->pending_count--;
        if (rest.pages && run->pages) {
            /* Two parts: room was made by the caller. */
            space->pending[space->pending_runs++] = rest;
        } else if (rest.pages) {
            *run = rest;
        } else if (!run->pages) {
            *run = space->pending[--space->pending_runs];
            space->pending_scanned = size_min(space->pending_scanned, i);
        }
        return;
    }
}

sombra_err space_apply_taken(struct space *space, page_id id, uint64_t pages)
{
    sombra_err err = apply_check(space, id, pages);
    for (page_id at = id; at < id + pages && !err; at++) {
        pager_note_unsealed(&space->btree->pager, at);
        if (space_bit(space->free_bits, at)) {
            free_clear(space, at, 1);
        } else if (space_bit(space->pending_bits, at)) {
            err = array_reserve(&space->pending, &space->pending_capacity, space->pending_runs + 1,
                                sizeof *space->pending);
            if (!err)
                pending_remove(space, at);
        } else {
            err = diag_fail(SOMBRA_CORRUPT,
                            "the log says that page %" PRIu64 " was taken, which was in use", at);
        }
    }
    return err;
}

sombra_err space_apply_returned(struct space *space, page_id id, uint64_t pages)
{
    sombra_err err = apply_check(space, id, pages);
    for (page_id at = id; at < id + pages && !err; at++) {
        if (space_bit(space->free_bits, at) || space_bit(space->pending_bits, at))
            err =
                diag_fail(SOMBRA_CORRUPT,
                          "the log says that page %" PRIu64 " was given back, which was free", at);
        else
            free_set(space, at, 1);
    }
    return err;
}

sombra_err space_apply_freed(struct space *space, page_id id, uint64_t pages, uint64_t born,
                             uint64_t freed)
{
    sombra_err err = apply_check(space, id, pages);
    if (!err)
        err = array_reserve(&space->pending, &space->pending_capacity, space->pending_runs + 1,
                            sizeof *space->pending);
    for (page_id at = id; at < id + pages && !err; at++)
        if (space_bit(space->free_bits, at) || space_bit(space->pending_bits, at))
            err = diag_fail(SOMBRA_CORRUPT,
                            "the log says that page %" PRIu64 " was freed, which was free", at);
    if (err)
        return err;
    bits_change(space, space->pending_bits, id, pages, true);
    space->pending_count += pages;
    space->pending[space->pending_runs++] =
        (struct pending_run){ .id = id, .pages = pages, .born = born, .freed = freed };
    return SOMBRA_OK;
}

sombra_err space_adopt_orphan(struct space *space, page_id id)
{
    sombra_err err = array_reserve(&space->orphans, &space->orphan_capacity,
                                   space->orphan_count + 1, sizeof *space->orphans);
    if (!err)
        space->orphans[space->orphan_count++] = id;
    return err;
}

void space_forget_maps(struct space *space)
{
    for (size_t i = 0; i < space->chunk_count; i++)
        space->chunks[i] = (struct space_chunk){ .is_dirty = true };
    space->directory_count = 0;
    space->orphan_count = 0;
}

sombra_err space_grow_to(struct space *space, uint64_t page_count)
{
    if (page_count <= space->page_count)
        return SOMBRA_OK;
    sombra_err err = bits_grow(space, page_count);
    if (err)
        return err;
    uint64_t old = space->page_count;
    space->page_count = page_count;
    tail_set(space, old);
    return SOMBRA_OK;
}

void space_shrink_to(struct space *space, uint64_t page_count)
{
    if (page_count >= space->page_count)
        return;
    free_clear(space, page_count, space->page_count - page_count);
    space->page_count = page_count;
}

/* What is pending for us behind the new end was needed by nobody, as the other process knew. */
static void pending_cut(struct space *space, uint64_t page_count)
{
    size_t kept = 0;
    for (size_t i = 0; i < space->pending_runs; i++) {
        run_set_read(space, &space->pending[i], false);
        struct pending_run run = space->pending[i];
        uint64_t stays = run.id < page_count ? u64_min(run.pages, page_count - run.id) : 0;
        if (stays < run.pages)
            bits_change(space, space->pending_bits, run.id + stays, run.pages - stays, false);
        space->pending_count -= run.pages - stays;
        run.pages = stays;
        if (stays)
            space->pending[kept++] = run;
    }
    space->pending_runs = kept;
    space->pending_scanned = 0;
}

sombra_err space_apply_cut(struct space *space, uint64_t page_count)
{
    if (page_count >= space->page_count)
        return SOMBRA_OK;
    page_id at = u64_max(page_count, space->first_page);
    while (at < space->page_count &&
           (space_bit(space->free_bits, at) || space_bit(space->pending_bits, at)))
        at++;
    if (page_count < space->first_page || at < space->page_count)
        return diag_fail(SOMBRA_CORRUPT,
                         "the log says that the file ends at page %" PRIu64 ", and page %" PRIu64
                         " is in use",
                         page_count, at);
    pending_cut(space, page_count);
    for (at = page_count; at < space->page_count; at++)
        if (space_bit(space->free_bits, at))
            free_clear(space, at, 1);
    space->page_count = page_count;
    return SOMBRA_OK;
}

/* ---- the transaction's end --------------------------------------------------------------- */

/* Pages between a return and its undoing may have been taken again, and those takes were undone
 * before; or they sit in the reserve, prepared for the next take. */
static void undo_return(struct space *space, const struct space_change *change)
{
    for (page_id id = change->id; id < change->id + change->pages; id++) {
        if (space_bit(space->free_bits, id)) {
            free_clear(space, id, 1);
            continue;
        }
        for (size_t i = 0; i < space->reserve_count; i++) {
            if (space->reserve[i] == id) {
                reserve_remove(space, i);
                break;
            }
        }
    }
}

void space_expect(struct space *space, uint64_t pages)
{
    space->expected_changes = u64_max(space->expected_changes, space->change_count + pages);
}

void space_undo(struct space *space, size_t from)
{
    while (space->change_count > from) {
        struct space_change *change = &space->changes[--space->change_count];
        if (change->action == SPACE_TAKEN) {
            if (change->pages == 1)
                pager_dirty_drop(&space->btree->pager, change->id);
            free_set(space, change->id, change->pages);
        } else if (change->action == SPACE_RETURNED) {
            undo_return(space, change);
        }
    }
}

sombra_err space_commit_reserve(struct space *space)
{
    /* No more of them than changes are runs that were freed. */
    return array_reserve(&space->pending, &space->pending_capacity,
                         space->pending_runs + space->change_count, sizeof *space->pending);
}

/* Of the pages that the newest tree has, in percent: when readers need so many others, a checkpoint
 * begins as soon as checkpoints need SHORT and the free ones are no more, and commits wait for it
 * once that is OUT and next to none is free. Less would make the file smaller, and each checkpoint
 * writes as much. */
enum { READ_PERCENT = 25, HELD_SHORT_PERCENT = 6, HELD_OUT_PERCENT = 9, FREE_OUT_PERCENT = 2 };
/* A checkpoint for less than this share of the log that starts one anyway costs more than it saves.
 */
enum { HELD_LOG_SHARE = 16 };

static enum space_pressure pressure(const struct space *space)
{
    const struct btree *btree = space->btree;
    uint64_t read = space->read_count;
    uint64_t held = space->pending_count - read;
    uint64_t free = space->free_count + space->reserve_count;
    uint64_t tree = space->page_count - free - space->pending_count;
    if (LIKELY(read * 100 < tree * READ_PERCENT) || held * 100 < tree * HELD_SHORT_PERCENT ||
        free * 100 > tree * HELD_SHORT_PERCENT)
        return SPACE_EASY;
    /* After a checkpoint the next scan says what it has freed. */
    if (space->scan_durable != atomic_load(&btree->head->pinned_meta) ||
        held << btree->pager.page_shift < btree->options.checkpoint_log_bytes / HELD_LOG_SHARE)
        return SPACE_EASY;
    bool is_out = held * 100 >= tree * HELD_OUT_PERCENT && free * 100 < tree * FREE_OUT_PERCENT;
    return is_out ? SPACE_OUT : SPACE_SHORT;
}

void space_commit(struct space *space, uint64_t txn)
{
    for (size_t i = 0; i < space->change_count; i++) {
        const struct space_change *change = &space->changes[i];
        if (change->action != SPACE_FREED)
            continue;
        bits_change(space, space->pending_bits, change->id, change->pages, true);
        space->pending_count += change->pages;
        space->pending[space->pending_runs++] = (struct pending_run){
            .id = change->id, .pages = change->pages, .born = change->born, .freed = txn
        };
    }
    space->change_count = 0;
    atomic_store_explicit(&space->btree->pages_read, space->read_count, memory_order_relaxed);
    atomic_store_explicit(&space->btree->space_pressure, pressure(space), memory_order_relaxed);
}
