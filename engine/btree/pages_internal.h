/* SPDX-License-Identifier: MIT */
/* Where pages are: pager (images in the map, the writer's alias, private ones) and space (which
 * pages are used, pending, free). The rest of the folder stands on these two.
 */
#ifndef PAGES_INTERNAL_H
#define PAGES_INTERNAL_H

#include "btree.h"
#include "btree/page/page.h"
#include "wal/wal.h"

struct btree;
struct btree_txn;
struct snapshot;
struct meta;
struct head;

/* ---- pager.c: where page images live ----------------------------------------------------- */

enum {
    PAGER_WINDOW_BYTES = 64 << 20,  /* of the writable alias, mapped one at a time */
    PAGER_CLUSTER_BYTES = 64 << 10, /* read at once on first touch */
    /* Of new space, written at once before the first store: the larger, the cheaper, for the system
     * keeps what one call wrote as one block of its cache where it can, and maps it by one fault.
     * But a store to any part of a block dirties all of it: with 256 KiB a checkpoint after random
     * writes wrote ten times as much. So in large transactions only (decision 0023). */
    PAGER_FRESH_BYTES_MIN = 8 << 10,
    PAGER_FRESH_BYTES_MAX = 64 << 10,
};

struct dirty_page {
    page_id id; /* 0 = empty slot */
    uint8_t *image;
    bool is_written; /* handed out for writing; else only prepared */
    bool is_recent;  /* handed out since the last spill */
};

enum pager_mode {
    PAGER_BUFFERED = 1, /* pages are written by os_write from `dirty`, else through windows; changed
                           by the writer, between transactions */
    PAGER_SHORT = 2,    /* of memory: the file is larger than what the system has for it */
};

/* Private images of the write transaction's pages, where stores cannot go through a mapping. */
struct dirty_table {
    struct dirty_page *slots; /* open addressing; capacity is a power of two */
    size_t capacity, count;
    size_t limit;    /* more than so many are spilled before the next operation */
    uint8_t **spare; /* images kept for reuse */
    size_t spare_count, spare_capacity;
    _Atomic size_t images; /* allocated, spare ones too; for stats */
};

struct pager {
    struct os *os;
    struct os_file *file; /* NULL for a database without a file */
    size_t page_bytes;
    unsigned page_shift;
    uint8_t *map; /* read-only view of the whole file, longer than it */
    size_t map_bytes;
    _Atomic uint8_t modes;       /* enum pager_mode: 0 where nothing is to be minded */
    bool can_map;                /* pages may be written through windows */
    _Atomic(uint8_t *) *windows; /* writable alias, NULL until used; of writer and checkpoint */
    _Atomic size_t windows_end;  /* none behind was ever used */
    struct dirty_table dirty;    /* the writer's */
    /* One bit a page: proved sound since this process opened the file. Relaxed atomics. */
    _Atomic uint64_t *sound_trees;
    _Atomic uint64_t *sound_runs;
    _Atomic uint64_t *read_clusters; /* one bit a cluster: brought in without an IO error */
    _Atomic uint64_t
        *unsealed;   /* one bit a page: written since a checkpoint sealed it, as far as known */
    uint8_t *tables; /* where the bits and the windows stand: anonymous memory, hardly touched */
    size_t tables_bytes;
    const struct head *head;                    /* what is durable, what is newest */
    _Atomic(struct filters *) filters;          /* NULL until memory is short */
    uint64_t memory_bytes;                      /* as the option says; 0 = the system is asked */
    _Atomic uint64_t weighed_bytes, weighed_ns; /* what memory there was, and when */
    _Atomic uint32_t unweighed_clusters;        /* to be read before that is asked; 0 = it was */
    /* Bytes of the file that this process's growth added and nobody has used; the writer's. */
    uint64_t fresh_from, fresh_to;
};

static inline bool pager_has_mode(const struct pager *pager, enum pager_mode mode)
{
    return atomic_load_explicit(&pager->modes, memory_order_relaxed) & mode;
}

sombra_err pager_open(struct pager *pager, struct os *os, struct os_file *file, size_t page_bytes,
                      const struct btree_options *options) SOMBRA_MUST_CHECK;
void pager_release(struct pager *pager);
/* Makes sure the file holds pages [0, page_count): allocated or written, not yet synced. */
sombra_err pager_grow(struct pager *pager, uint64_t old_count,
                      uint64_t page_count) SOMBRA_MUST_CHECK;
/* The writer will use a page: new space is written as zeros, a stretch at a time, for a store to
 * what was only allocated costs the system five times as much. `is_large`: many pages are needed.
 */
sombra_err pager_touch_fresh_slow(struct pager *pager, page_id id, bool is_large) SOMBRA_MUST_CHECK;
static inline sombra_err pager_touch_fresh(struct pager *pager, page_id id, bool is_large)
{
    uint64_t at = id << pager->page_shift;
    bool is_fresh = UNLIKELY(at >= pager->fresh_from && at < pager->fresh_to);
    return is_fresh ? pager_touch_fresh_slow(pager, id, is_large) : SOMBRA_OK;
}
/* Another process may have used it. */
static inline void pager_forget_fresh(struct pager *pager)
{
    pager->fresh_from = pager->fresh_to;
}
/* Makes pager_writable(id) possible: maps the window or finds a buffer. */
sombra_err pager_prepare_slow(struct pager *pager, page_id id) SOMBRA_MUST_CHECK;
static inline sombra_err pager_prepare(struct pager *pager, page_id id)
{
    bool is_mapped =
        pager->file && !pager_has_mode(pager, PAGER_BUFFERED) &&
        atomic_load_explicit(&pager->windows[(id << pager->page_shift) / PAGER_WINDOW_BYTES],
                             memory_order_relaxed);
    return LIKELY(is_mapped) ? SOMBRA_OK : pager_prepare_slow(pager, id);
}
/* The image the writer may change; pager_prepare(id) went before in this transaction. */
uint8_t *pager_writable_slow(struct pager *pager, page_id id);
static inline uint8_t *pager_window_page(struct pager *pager, page_id id)
{
    uint64_t at = id << pager->page_shift;
    uint8_t *window =
        atomic_load_explicit(&pager->windows[at / PAGER_WINDOW_BYTES], memory_order_relaxed);
    assert(window && "pager_prepare went before");
    return window + at % PAGER_WINDOW_BYTES;
}
static inline uint8_t *pager_writable(struct pager *pager, page_id id)
{
    assert(id != 0);
    if (UNLIKELY(!pager->file || pager_has_mode(pager, PAGER_BUFFERED)))
        return pager_writable_slow(pager, id);
    return pager_window_page(pager, id);
}
/* The writer's private image of a page, or NULL (always NULL unless buffered). */
uint8_t *pager_dirty_find(const struct pager *pager, page_id id);
/* Forgets a page's private image: the page was freed or never used. */
void pager_dirty_drop(struct pager *pager, page_id id);
/* Writes every private image that was written out (unsynced, sealed) and forgets it. */
sombra_err pager_dirty_flush(struct pager *pager) SOMBRA_MUST_CHECK;
static inline bool pager_must_spill(const struct pager *pager)
{
    return pager->dirty.count > pager->dirty.limit;
}
/* Between operations, when no pointer into an image is held: writes some of them to their pages,
 * which nothing durable or published refers to, and forgets them. After a failure all are there. */
sombra_err pager_spill(struct pager *pager, page_id root) SOMBRA_MUST_CHECK;
/* The page was written in this transaction and will be again: brings a spilled image back. */
sombra_err pager_recall_slow(struct pager *pager, page_id id) SOMBRA_MUST_CHECK;
void pager_dirty_clear(struct pager *pager);
/* First touch of a tree page / of an overflow run: reads, proves, remembers. Tree pages of
 * transactions after `sealed_txn` may have no checksum yet. */
sombra_err pager_prove_tree(struct pager *pager, page_id id, uint64_t sealed_txn) SOMBRA_MUST_CHECK;
sombra_err pager_prove_run(struct pager *pager, page_id id, uint64_t value_bytes,
                           uint64_t page_count) SOMBRA_MUST_CHECK;
/* Reads a page without proving it: what it says is a hint, and may be anything. */
sombra_err pager_bring(struct pager *pager, page_id id) SOMBRA_MUST_CHECK;
/* Seals a published page in place; checkpoints only. */
sombra_err pager_seal(struct pager *pager, page_id id) SOMBRA_MUST_CHECK;
/* Before a sync of the file: see os_map_let_go. Beside the writer. */
void pager_let_go(struct pager *pager);
/* The page was written since the last checkpoint, by whomever. */
void pager_note_unsealed(struct pager *pager, page_id id);
/* The file may end at page `page_count` now: what lay behind was not read. */
void pager_forget_behind(struct pager *pager, uint64_t page_count, uint64_t file_bytes);
/* Writes a run that holds `value`, sealed; its pages are taken already. */
sombra_err pager_write_run(struct pager *pager, page_id id, uint64_t txn,
                           sombra_slice value) SOMBRA_MUST_CHECK;
uint64_t pager_run_pages(const struct pager *pager, uint64_t value_bytes);

static inline bool pager_bit(const _Atomic uint64_t *bits, uint64_t index)
{
    return (atomic_load_explicit(&bits[index / 64], memory_order_relaxed) >> (index % 64)) & 1;
}

/* This process wrote the page: it is sound. */
void pager_trust_slow(struct pager *pager, page_id id);
static inline void pager_trust(struct pager *pager, page_id id)
{
    if (UNLIKELY(!pager_bit(pager->sound_trees, id) || !pager_bit(pager->unsealed, id)))
        pager_trust_slow(pager, id);
}

static inline const uint8_t *pager_page(const struct pager *pager, page_id id)
{
    return pager->map + (id << pager->page_shift);
}

/* The same page as the writer sees it, for what it reads on its way to a change: one that was
 * written lately through the window that it was written by, so that the processor has to know one
 * address of it and not two. Not for what users are lent. */
static inline const uint8_t *pager_view(const struct pager *pager, page_id id, const uint8_t *page)
{
    if (UNLIKELY(!pager->file || pager_has_mode(pager, PAGER_BUFFERED)) ||
        !pager_bit(pager->unsealed, id))
        return page;
    uint64_t at = id << pager->page_shift;
    const uint8_t *window =
        atomic_load_explicit(&pager->windows[at / PAGER_WINDOW_BYTES], memory_order_relaxed);
    return window ? window + at % PAGER_WINDOW_BYTES : page;
}

static inline sombra_err pager_recall(struct pager *pager, page_id id)
{
    return LIKELY(!pager_has_mode(pager, PAGER_BUFFERED)) ? SOMBRA_OK
                                                          : pager_recall_slow(pager, id);
}

/* ---- memory.c: where memory is short (decision 0018) --------------------------------------- */

/* Is memory short for a file of `page_count` pages? Asks the system, and advises it. */
void memory_weigh(struct btree *btree, uint64_t page_count);
/* The same for a file that has just become so long; asks seldom while there is far more. */
void memory_weigh_grown(struct btree *btree, uint64_t page_count);
/* The same for a store that was just opened; not before it reads much, or writes. */
void memory_weigh_late(struct btree *btree, uint64_t page_count);
/* A cluster was read, and it is not weighed yet. */
void memory_note_read(struct pager *pager);
/* The same, if it was not looked at for a while. */
void memory_weigh_again(struct btree *btree);
/* With the writer's turn, before a transaction: are its pages to be buffered? */
void memory_settle_writes(struct btree *btree, const struct snapshot *newest);
/* At a commit, before its pages change hands: those that only the durable checkpoint has will not
 * be read soon. */
void memory_forget_freed(struct btree *btree);
/* Where memory is short: these pages are about to be used, and one access of the medium is to fetch
 * all of them that are not in memory. Waits for nothing. */
void memory_bring(const struct pager *pager, page_id id, uint64_t pages);
/* The same for many, which become a few accesses where they lie side by side; sorts `ids`. */
void memory_bring_many(const struct pager *pager, page_id *ids, size_t count);

/* ---- filters.c: which keys a leaf may hold, without the leaf -------------------------------- */

struct filters;

/* Makes them, if they are not there, for a tree of so many entries; without the memory for it there
 * are none. */
void filters_make(struct pager *pager, uint64_t entries, uint64_t page_count);
void filters_free(struct filters *filters);        /* NULL is a no-op */
uint64_t filters_bytes(const struct pager *pager); /* in use */

enum filter_answer {
    FILTER_UNKNOWN, /* there is none of what this snapshot has at that page */
    FILTER_NO,      /* the key is not in that leaf */
    FILTER_MAYBE,
};
/* Of the leaf `id`, child of a branch that transaction `branch_txn` wrote, in the tree of a
 * snapshot or a write transaction that stands on it. Touches no page. */
enum filter_answer filters_ask(const struct pager *pager, page_id id, uint64_t branch_txn,
                               uint64_t snapshot_txn, sombra_slice key);
/* A leaf was read, and proved, in a snapshot that is pinned. */
void filters_note_read(struct pager *pager, const uint8_t *leaf, uint64_t snapshot_txn);
/* A leaf of the write transaction is about to be written. */
void filters_note_written(struct pager *pager, const uint8_t *leaf);
/* With the writer's turn: a write transaction begins. `follows`: each leaf that it writes is noted
 * before it is published. */
void filters_begin(struct pager *pager, uint64_t newest_txn, bool follows);
/* It is about to be published as `txn`. */
void filters_publish(struct pager *pager, uint64_t txn);

/* ---- sizes of the shared head (head.c) ---------------------------------------------------- */

enum {
    HEAD_RING = 8,           /* descriptors; a reader repeats only if so many commits pass it */
    HEAD_SNAPSHOT_WORDS = 9, /* of struct snapshot */
    HEAD_BLOCK_SLOTS = 16,   /* reader slots are handed to processes in blocks */
    HEAD_BLOCKS = 256,
    HEAD_SLOTS = HEAD_BLOCKS * HEAD_BLOCK_SLOTS, /* concurrent snapshots */
    HEAD_ENTRIES = 256,                          /* processes */
};

/* ---- space.c: which pages are used ------------------------------------------------------- */

/* A page or run that a snapshot in [born, freed) or the checkpoint may still need. */
struct pending_run {
    page_id id;
    uint64_t pages;
    uint64_t born;  /* txn that wrote it; may be too small, never too large */
    uint64_t freed; /* txn that no longer has it; may be too large, never too small */
    bool is_read;   /* a reader's snapshot needs it, as the last scan saw it */
};

/* What a write transaction did to the space, so that it can be undone from the end. */
/* Values are on disk, in log records. */
enum space_action { SPACE_TAKEN = 0, SPACE_RETURNED = 1, SPACE_FREED = 2 };
struct space_change {
    enum space_action action;
    page_id id;
    uint64_t pages;
    uint64_t born; /* SPACE_FREED */
};

struct space_chunk {
    page_id used_map, pending_map; /* of the newest checkpoint; 0 = none */
    bool is_dirty;                 /* differs from them */
    bool is_planned;               /* has its new pages already */
    size_t plan_at;                /* index of the used map's page in the image; pending follows */
};

struct space {
    struct btree *btree;
    uint64_t page_count;     /* pages the file holds */
    uint64_t first_page;     /* behind the meta area */
    uint64_t *free_bits;     /* 1 = free now (reserved pages are not) */
    uint64_t *pending_bits;  /* 1 = pending */
    uint64_t *reserved_bits; /* 1 = in `reserve` */
    size_t words;            /* of each */
    uint64_t free_count;     /* set bits of free_bits */
    uint64_t pending_count;
    uint64_t read_count; /* of these, pages of runs that are read */
    page_id *ready;      /* recently freed pages, last in first out; hints: the bit decides */
    size_t ready_count, ready_capacity;
    page_id *reserve; /* taken from free_bits, prepared for writing, not used: count as free */
    size_t reserve_count, reserve_capacity;
    uint64_t search_word; /* where the next search of free_bits begins */
    uint64_t low_word;    /* no bit of free_bits is set before it */
    struct pending_run *pending;
    size_t pending_runs, pending_capacity;
    size_t pending_scanned;  /* runs that were looked at under `scan_signature` */
    uint64_t scan_signature; /* of the snapshots then */
    uint64_t scan_durable;   /* the durable checkpoint of the last scan of all */
    uint64_t taken_since_scan;
    struct space_change *changes; /* of the write transaction */
    size_t change_count, change_capacity;
    uint64_t expected_changes; /* of all, by what it said that it will put; advice */
    unsigned leaves_in_order;  /* that puts filled one behind the other, and no other leaf was full
                                  since; of this and earlier transactions; advice */
    uint64_t taken_since_leaf; /* pages, since a leaf was full last; advice */
    struct space_chunk *chunks;
    size_t chunk_count;
    size_t touched_chunk; /* the last one that was made dirty, and its pages: spares a division */
    page_id touched_first;
    uint64_t touched_pages; /* 0 = none yet */
    page_id *orphans; /* maps that another process's checkpoint took, which is not durable (yet) */
    size_t orphan_count, orphan_capacity;
    page_id *directory; /* directory pages of the newest checkpoint */
    size_t directory_count;
    bool is_loaded;
    uint64_t lsn;            /* the commit that this account is of */
    uint64_t noted_count;    /* its page_count: others know nothing of what was added since */
    uint64_t meta_sequence;  /* the checkpoint whose maps `chunks` and `directory` name */
    struct wal_position log; /* behind that commit */
    unsigned log_half;
    uint64_t pinned[HEAD_SLOTS + 2]; /* scratch of the scan */
};

static inline bool space_bit(const uint64_t *bits, page_id id)
{
    return (bits[id / 64] >> (id % 64)) & 1;
}
void space_init(struct space *space, struct btree *btree);
void space_release(struct space *space);
/* Room for page_count pages; all that are new are used until somebody frees them. */
sombra_err space_set_page_count(struct space *space, uint64_t page_count) SOMBRA_MUST_CHECK;
/* Reads the maps that a meta names. What is pending there stays so if others may read it (as seen
 * by every snapshot before the meta's); else it is free. */
sombra_err space_load(struct space *space, const struct meta *meta,
                      bool keeps_pending) SOMBRA_MUST_CHECK;
/* Applies what another process's commit took, gave back, freed (redo.c). CORRUPT if that cannot be.
 */
sombra_err space_apply_taken(struct space *space, page_id id, uint64_t pages) SOMBRA_MUST_CHECK;
sombra_err space_apply_returned(struct space *space, page_id id, uint64_t pages) SOMBRA_MUST_CHECK;
sombra_err space_apply_freed(struct space *space, page_id id, uint64_t pages, uint64_t born,
                             uint64_t freed) SOMBRA_MUST_CHECK;
/* Learns where the maps of a checkpoint are that the account is not behind. The account itself
 * stays. */
sombra_err space_read_maps(struct space *space, const struct meta *meta) SOMBRA_MUST_CHECK;
/* The same of the durable one, if another process wrote it; no checkpoint runs beside. */
sombra_err space_refresh_maps(struct space *space) SOMBRA_MUST_CHECK;
/* Room for so many chunks; the maps on disk may have more than the file's pages need. */
sombra_err space_chunks_reserve(struct space *space, size_t chunks) SOMBRA_MUST_CHECK;
/* Is the page free, pending or reserved, as the account has it? Then no tree may refer to it. */
static inline bool space_is_unused(const struct space *space, page_id id)
{
    if (UNLIKELY(id >= space->page_count))
        return true;
    size_t word = id / 64;
    uint64_t unused =
        space->free_bits[word] | space->pending_bits[word] | space->reserved_bits[word];
    return unused >> (id % 64) & 1;
}
/* The record of another process's checkpoint has been applied: these pages are its maps, and those
 * of the checkpoint before are freed. */
sombra_err space_adopt_orphan(struct space *space, page_id id) SOMBRA_MUST_CHECK;
void space_forget_maps(struct space *space);
/* Another process made the file longer. */
sombra_err space_grow_to(struct space *space, uint64_t page_count) SOMBRA_MUST_CHECK;
/* Another process cut the file's end off; it must not be in use. */
sombra_err space_apply_cut(struct space *space, uint64_t page_count) SOMBRA_MUST_CHECK;
/* Forgets the pages from page_count on, which must be free. */
void space_shrink_to(struct space *space, uint64_t page_count);
/* The reserve becomes free again: others may take those pages now. */
void space_drop_reserve(struct space *space);
/* What is reserved next are the lowest free pages. */
void space_forget_hints(struct space *space);
/* Makes the next `pages` single-page takes and `changes` change records impossible to fail. */
sombra_err space_reserve(struct space *space, size_t pages, size_t changes) SOMBRA_MUST_CHECK;
page_id space_take(struct space *space);
/* Neighbouring pages, not prepared for writing. */
sombra_err space_take_run(struct space *space, uint64_t pages, page_id *out_id) SOMBRA_MUST_CHECK;
/* The lowest such run that ends before `end`; 0 = there is none. space_reserve went before, for one
 * change. */
page_id space_take_run_before(struct space *space, uint64_t pages, page_id end);
/* Frees every pending page that no snapshot needs any more. */
void space_reclaim(struct space *space);
/* A number of all pinned snapshots: another one = others are pinned. */
uint64_t space_pins(struct space *space);
/* No longer used by the write transaction, whose stamp is `stamp`: free at once if it was born
 * under the same stamp, else pending when the transaction commits. */
void space_free(struct space *space, page_id id, uint64_t pages, uint64_t born, uint64_t stamp);
/* The transaction will write so many pages more, its user says: their space comes in large pieces
 * from the first on. */
void space_expect(struct space *space, uint64_t pages);
/* A put found its leaf full; `is_in_order`: it belongs at the leaf's edge, as those before did. */
void space_note_full(struct space *space, bool is_in_order);
/* Undoes changes [from, change_count). */
void space_undo(struct space *space, size_t from);
/* Room for the freed runs of the transaction in `pending`; then commit cannot fail. */
sombra_err space_commit_reserve(struct space *space) SOMBRA_MUST_CHECK;
void space_commit(struct space *space, uint64_t txn);
/* Would a checkpoint save the file from growing? While readers pin much of an old tree, the pages
 * that only checkpoints need are the part that can be had back. */
enum space_pressure {
    SPACE_EASY,
    SPACE_SHORT, /* a checkpoint is to begin */
    SPACE_OUT,   /* commits wait for it */
};
static inline uint64_t space_unused(const struct space *space)
{
    return space->free_count + space->reserve_count + space->pending_count;
}
/* Writing the maps, in two steps. The plan takes pages for every map page that will differ and for
 * the directory, and frees those they replace: changes of the current transaction, not committed
 * yet. After space_commit the build fills the images (page_bytes each, one after the other,
 * sealed). */
struct space_image {
    page_id *ids;
    uint8_t *images;
    size_t count, capacity;
    size_t directory_count; /* the first ids are the directory */
};
sombra_err space_plan(struct space *space, uint64_t stamp,
                      struct space_image *out) SOMBRA_MUST_CHECK;
void space_build(struct space *space, uint64_t stamp, struct space_image *image);
void space_image_release(struct space_image *image);
/* Calls `each` for every page that space uses on disk itself. */
void space_each_own(const struct space *space, void (*each)(void *context, page_id id),
                    void *context);
/* The page count that is enough when free and pending pages are cut off the end. */
uint64_t space_trimmed_count(const struct space *space);
/* The same for free pages alone: what nobody needs. The reserve is empty. */
uint64_t space_free_end(const struct space *space);
/* Free and reserved pages below `end`. */
uint64_t space_free_before(const struct space *space, page_id end);
/* The lowest page from which on everything before `end` could be moved into gaps before it. The
 * reserve is empty. */
page_id space_clearable(const struct space *space, page_id end);
/* The next plan takes new pages for the maps that lie at or behind `end`. */
void space_move_maps(struct space *space, page_id end);
/* Free, pending and reserved pages below `page_count`. */
uint64_t space_unused_below(const struct space *space, uint64_t page_count);
/* Pages of the file that one map page covers. */
uint64_t space_chunk_pages(const struct space *space);

#endif
