/* SPDX-License-Identifier: MIT */
/* salvage: what its files share. Reading a damaged file page by page, never through the map. */
#ifndef BTREE_SALVAGE_INTERNAL_H
#define BTREE_SALVAGE_INTERNAL_H

#include "btree_internal.h"
#include "target_internal.h"

/* What the space maps of the chosen state say of a page. */
enum page_use { USE_UNKNOWN, USE_YES, USE_NO };

/* One page of the file, as the scan found it. */
struct page_fact {
    uint64_t txn;
    uint8_t kind; /* enum page_kind of a sound, sealed page; else PAGE_NONE */
    uint8_t level;
    uint8_t use;  /* enum page_use */
    bool is_seen; /* the walk came by */
};

/* A part of the keys whose pages cannot be read. */
struct lost_range {
    uint8_t *keys;                /* low, then high */
    size_t low_bytes, high_bytes; /* 0 = no bound */
    uint64_t entries;             /* that were there, where a branch or a meta counted them */
    bool is_counted;
    bool is_closed; /* it was one damaged leaf, which a sound branch names: no other holds its keys
                     */
    uint64_t found; /* of them, in leaves that nothing leads to */
};

/* The tree that is read. */
struct salvage_state {
    uint64_t txn;   /* no page of it is newer */
    page_id root;   /* 0 = none, or not found */
    unsigned level; /* of the root */
    uint64_t page_count;
    uint64_t entries;
    page_id directory; /* of the space maps; 0 = none */
    bool is_guess;     /* from the pages: no sound meta record names it */
};

struct salvage {
    struct os *os;
    const char *path;
    struct os_file *file;
    struct btree_salvage_options options;
    struct btree_salvage_report report;
    struct target target;
    size_t page_bytes;
    page_id first_page, page_count; /* of the file */
    bool has_meta[META_SLOTS];
    struct meta metas[META_SLOTS];
    const struct meta *meta; /* the newest sound one; NULL = none */
    struct page_fact *facts; /* by page */
    struct salvage_state state;
    uint8_t *images; /* a page for each level; level 0 is the leaf */
    struct buf value;
    struct lost_range *ranges; /* ascending, apart */
    size_t range_count, range_capacity;
    bool is_trial;         /* the walk only finds out whether the tree is whole */
    uint64_t trial_damage; /* its findings */
    uint8_t first[KV_KEY_BYTES_MAX], last[KV_KEY_BYTES_MAX]; /* keys that the walk reached */
    size_t first_bytes, last_bytes;
    sombra_err write_err; /* of the log's operations: not the log's fault */
    uint64_t done;        /* pages, for progress: each is counted when scanned and when walked */
};

/* A finding about `page` (0 = none); the text is the thread's error text. */
void salvage_problem(struct salvage *salvage, sombra_err code, page_id page);
/* CANCELLED when the caller says so. */
sombra_err salvage_progress(struct salvage *salvage) SOMBRA_MUST_CHECK;
/* Reads a page and proves it as a tree page. CORRUPT, IO. */
sombra_err salvage_read_tree(struct salvage *salvage, page_id id, uint8_t *to) SOMBRA_MUST_CHECK;
/* Is it damage, to be noted and passed by, or a failure of ours? */
static inline bool salvage_is_damage(sombra_err err)
{
    return err == SOMBRA_CORRUPT || err == SOMBRA_IO || err == SOMBRA_INVALID ||
           err == SOMBRA_UNSUPPORTED;
}
static inline uint8_t *salvage_image(const struct salvage *salvage, unsigned level)
{
    return salvage->images + (size_t)level * salvage->page_bytes;
}

/* ---- salvage_scan.c: the file's pages, and which tree to read ----------------------------- */

/* The meta records, the size of a page, the facts, the state, the uses. */
sombra_err salvage_scan(struct salvage *salvage) SOMBRA_MUST_CHECK;

/* ---- salvage_walk.c: the tree, and leaves that nothing leads to ---------------------------- */

/* Walks the state's tree into the target; what it cannot read becomes lost ranges. */
sombra_err salvage_walk(struct salvage *salvage) SOMBRA_MUST_CHECK;
/* Is the tree of `state` whole? Nothing is written and nothing reported. */
sombra_err salvage_try(struct salvage *salvage, const struct salvage_state *state,
                       bool *out_is_whole) SOMBRA_MUST_CHECK;
/* Fills lost ranges from sound leaves that the walk did not reach. */
sombra_err salvage_unreached(struct salvage *salvage) SOMBRA_MUST_CHECK;

/* ---- salvage_log.c ------------------------------------------------------------------------- */

/* Applies the log behind the state's meta to the target. */
sombra_err salvage_log(struct salvage *salvage) SOMBRA_MUST_CHECK;

#endif
