/* SPDX-License-Identifier: MIT */
/* What the files of the memtable share: memory, the tree, versions, covers of ranges.
 *
 * An ENTRY is a key and the chain of its versions. It is allocated once and never moves, so leaves
 * only say which keys there are and in what order; writing a version or taking one back changes the
 * entry and no leaf. Its first version stands right behind the key and has no pointer to an older
 * one.
 *
 * Range tombstones are a second tree, of BOUNDARIES: a boundary's chain says since which numbers
 * the keys from it up to the next boundary are covered, and ends in `memtable_uncovered`. A new
 * boundary begins with the chain of the one before it, which changes nothing for any reader.
 */
#ifndef LSM_MEMTABLE_INTERNAL_H
#define LSM_MEMTABLE_INTERNAL_H

#include "kv/kv.h"
#include "memtable.h"

#include <assert.h>
#include <stdatomic.h>

/* ---- memory ------------------------------------------------------------------------------ */

enum { NODE_ALIGNMENT = 64 };

/* Chunks that are freed together. What a failed or undone write took stays taken. */
struct tree_node;
struct memtable_arena {
    struct memtable_chunk *chunks; /* all of them */
    uint8_t *at, *end;             /* the free part of the current one */
    size_t alignment;              /* of every block */
    size_t chunk_bytes;            /* of the newest */
    _Atomic size_t *bytes;         /* counts what is allocated */
};
void memtable_arena_init(struct memtable_arena *arena, size_t alignment, _Atomic size_t *bytes);
void memtable_arena_release(struct memtable_arena *arena);
/* What is reserved can be allocated without failing. */
sombra_err memtable_arena_reserve(struct memtable_arena *arena, size_t bytes) SOMBRA_MUST_CHECK;
/* NULL when memory is out. Uninitialised. */
void *memtable_arena_alloc(struct memtable_arena *arena, size_t bytes);

/* Nodes of the trees. One that was replaced stays as it is while a reader may be in it: until all
 * whose snapshots are older than the commit behind its death have gone. Then it is used again. */
struct node_list {
    struct tree_node **nodes;
    size_t count, capacity;
};
struct memtable_nodes {
    struct memtable_arena arena;
    struct free_node *free[2]; /* [1] leaves, [0] others */
    struct node_list dead;     /* since `waiting` was filled */
    struct node_list waiting;  /* for readers with snapshots below waiting_seq */
    uint64_t waiting_seq;
    size_t dead_asked; /* dead.count when memtable_nodes_reuse was called last */
};
/* memtable_arena_reserve holds for nodes as well: a free one takes nothing of it. */
void *memtable_nodes_alloc(struct memtable_nodes *nodes, bool is_leaf, size_t bytes);
/* The node was replaced: who comes from the root or from a live leaf does not find it any more. */
void memtable_nodes_retire(struct memtable_nodes *nodes, struct tree_node *node);
/* See memtable_reuse_nodes. */
void memtable_nodes_reuse(struct memtable_nodes *nodes, uint64_t next_seq, uint64_t oldest_seq);
void memtable_nodes_release(struct memtable_nodes *nodes);

/* ---- entries ----------------------------------------------------------------------------- */

/* One version; never changed after it was published. Where an older one is below it, the pointer to
 * that stands right before it. */
struct version_record {
    uint32_t seq[2]; /* low half, high half */
    uint32_t what;   /* bytes of the value that was put, or one of the two below; and a flag */
    uint8_t value[];
};
enum { RECORD_BYTES = 12 };
static_assert(sizeof(struct version_record) == RECORD_BYTES, "aligned like its words");
#define RECORD_HAS_OLDER UINT32_C(0x80000000)
#define RECORD_DELETE    UINT32_C(0x7FFFFFFF)
#define RECORD_COVER     UINT32_C(0x7FFFFFFE) /* what stands in boundaries */
static_assert(KV_VALUE_BYTES_MAX < RECORD_COVER, "a length is no kind");

static inline uint64_t record_seq(const struct version_record *record)
{
    return (uint64_t)record->seq[1] << 32 | record->seq[0];
}
static inline const struct version_record *record_older(const struct version_record *record)
{
    const struct version_record *older;
    if (!(record->what & RECORD_HAS_OLDER))
        return NULL;
    memcpy(&older, (const uint8_t *)record - sizeof older, sizeof older);
    return older;
}
static inline uint32_t record_what(const struct version_record *record)
{
    return record->what & ~RECORD_HAS_OLDER;
}
static inline bool record_is_delete(const struct version_record *record)
{
    return record_what(record) == RECORD_DELETE;
}
static inline sombra_slice record_value(const struct version_record *record)
{
    uint32_t what = record_what(record);
    return slice_of(record->value, what < RECORD_COVER ? what : 0);
}

struct memtable_entry {
    _Atomic(const struct version_record *) newest; /* NULL: no entry, no boundary */
    uint16_t key_bytes;
    uint8_t key[];
};
enum { ENTRY_HEAD_BYTES = offsetof(struct memtable_entry, key) };
static inline sombra_slice entry_key(const struct memtable_entry *entry)
{
    return slice_of(entry->key, entry->key_bytes);
}
/* What a reader at `seq` sees; NULL = nothing. */
static inline const struct version_record *entry_version(const struct memtable_entry *entry,
                                                         uint64_t seq)
{
    const struct version_record *record =
        atomic_load_explicit(&entry->newest, memory_order_acquire);
    while (record && record_seq(record) > seq)
        record = record_older(record);
    return record;
}

/* ---- tree -------------------------------------------------------------------------------- */

enum { LEAF_SLOTS = 14, INNER_SLOTS = 15, TREE_LEVELS_MAX = 24 };

/* Head of inner nodes and leaves. */
struct tree_node {
    _Atomic uint64_t order; /* 4 bits of count, then 4 bits of slot for each rank */
    uint32_t level;         /* 0 = leaf */
    uint32_t skip;          /* bytes that all keys which belong here share; heads begin behind */
};
struct tree_leaf {
    struct tree_node node;
    _Atomic(struct tree_leaf *) next, previous;
    uint64_t heads[LEAF_SLOTS]; /* 8 bytes of the key from `skip` on, big-endian */
    struct memtable_entry *entries[LEAF_SLOTS];
};
static_assert(sizeof(struct tree_leaf) == 256, "four cache lines");
/* A child has the keys from its own separator up to the next one's; that of rank 0 is not looked
 * at, its head is 0. */
struct tree_inner {
    struct tree_node node;
    uint64_t heads[INNER_SLOTS];
    struct memtable_entry *entries[INNER_SLOTS];
    _Atomic(struct tree_node *) children[INNER_SLOTS];
};

/* The writer's way to a leaf, and what of the key space belongs to each node of it. */
struct tree_path {
    struct {
        struct tree_node *node;
        unsigned rank;                    /* of the child taken */
        const struct memtable_entry *low; /* NULL = no bound */
        const struct memtable_entry *high;
    } at[TREE_LEVELS_MAX]; /* by level */
    unsigned levels;       /* 0 = none */
};
struct memtable_tree {
    _Atomic(struct tree_node *) root;
    struct memtable_nodes *nodes;
    struct tree_path finger; /* to the leaf of the last write */
    unsigned rank;           /* there, of what was located last */
    unsigned hits;           /* grows when the finger helped; 0 = it is not tried */
};

sombra_err memtable_tree_init(struct memtable_tree *tree,
                              struct memtable_nodes *nodes) SOMBRA_MUST_CHECK;

/* Writer. Puts the finger on the leaf of `key`: the entry, or NULL and the rank it would have. */
struct memtable_entry *memtable_tree_locate(struct memtable_tree *tree, sombra_slice key,
                                            unsigned *out_rank);
/* The same for a key above the one that was located last, and added if it was not there. */
struct memtable_entry *memtable_tree_locate_next(struct memtable_tree *tree, sombra_slice key,
                                                 unsigned *out_rank);
/* Adds `entry`, for which one of them just gave `rank`. NOMEM: nothing changed. */
sombra_err memtable_tree_insert(struct memtable_tree *tree, unsigned rank,
                                struct memtable_entry *entry) SOMBRA_MUST_CHECK;

/* Readers. */
struct memtable_entry *memtable_tree_find(const struct memtable_tree *tree, sombra_slice key);
/* Where `key` lies, as a fraction of all entries. */
double memtable_tree_fraction(const struct memtable_tree *tree, sombra_slice key);
/* One that has about half of a flush's work before it; NULL: there are few. */
const struct memtable_entry *memtable_tree_middle(const struct memtable_tree *tree);

/* A place among the entries of a leaf as it was when the cursor came to it. */
struct tree_cursor {
    const struct tree_leaf *leaf; /* NULL = no place */
    uint64_t order;
    unsigned rank;
};
struct tree_cursor memtable_tree_seek_ge(const struct memtable_tree *tree, sombra_slice key);
struct tree_cursor memtable_tree_seek_le(const struct memtable_tree *tree, sombra_slice key);
struct tree_cursor memtable_tree_seek_lt(const struct memtable_tree *tree, sombra_slice key);
void memtable_tree_next_leaf(struct tree_cursor *cursor);
void memtable_tree_previous_leaf(struct tree_cursor *cursor);

static inline unsigned order_count(uint64_t order)
{
    return (unsigned)(order & 15);
}
static inline unsigned order_slot(uint64_t order, unsigned rank)
{
    return (unsigned)(order >> (4 + 4 * rank)) & 15;
}
static inline struct memtable_entry *memtable_tree_cursor_entry(const struct tree_cursor *cursor)
{
    assert(cursor->leaf && cursor->rank < order_count(cursor->order));
    return cursor->leaf->entries[order_slot(cursor->order, cursor->rank)];
}
static inline void memtable_tree_next(struct tree_cursor *cursor)
{
    if (++cursor->rank == order_count(cursor->order))
        memtable_tree_next_leaf(cursor);
}
static inline void memtable_tree_previous(struct tree_cursor *cursor)
{
    if (cursor->rank == 0)
        memtable_tree_previous_leaf(cursor);
    else
        cursor->rank--;
}

/* ---- the memtable ------------------------------------------------------------------------ */

/* A change of an entry: its address, for what it had before is its newest version's older one; and
 * UNDO_MADE where that is not so, for it had none. */
typedef uintptr_t memtable_undo;
#define UNDO_MADE ((memtable_undo)1)
static inline struct memtable_entry *undo_entry(memtable_undo undo)
{
    return (struct memtable_entry *)(undo & ~UNDO_MADE);
}

struct memtable {
    struct memtable_tree keys, ranges;
    struct memtable_nodes nodes;
    struct memtable_arena records;
    memtable_undo *undo; /* the writer's */
    size_t undo_count, undo_capacity;
    uint64_t settled_seq; /* newest number when the undo list was last forgotten */
    uint64_t newest_seq;

    _Atomic size_t bytes;
    _Atomic uint64_t entries;       /* with a version */
    _Atomic uint64_t covers;        /* versions of boundaries */
    _Atomic uint64_t range_changes; /* grows with each change of a boundary */
    _Atomic uint32_t refs;
};

/* Above every key: what an open high bound stands for. */
sombra_slice memtable_key_end(void);
/* The end of every boundary's chain; numbered 0. */
extern const struct version_record memtable_uncovered;

/* Keys in [low, end) are covered by a range tombstone numbered `seq`; 0 = by none. */
struct memtable_cover {
    sombra_slice low, end;
    uint64_t seq;
};
/* What covers `key` at `seq`, and how far that goes. */
struct memtable_cover memtable_cover_at(const struct memtable *memtable, uint64_t seq,
                                        sombra_slice key);
static inline bool memtable_cover_has(const struct memtable_cover *cover, sombra_slice key)
{
    return slice_compare(cover->low, key) <= 0 && slice_compare(key, cover->end) < 0;
}

#endif
