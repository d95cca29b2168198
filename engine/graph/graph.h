/* SPDX-License-Identifier: MIT */
/* graph: nodes, edges, labels, properties and buckets as ordered keys of a kv store
 * (graph_format.h). This is the folder's only header for others.
 *
 * `struct graph` is what one store shares between its transactions: the names that were ever seen
 * committed. `struct graph_txn` stands on one kv transaction, which it does not own: its user
 * begins the kv transaction, calls graph_txn_begin, works, and calls graph_txn_flush before the kv
 * commit and graph_txn_end after it.
 *
 * Counters (next ids, edges a type) are kept in memory and written by flush, and before each
 * savepoint, so that what the store holds at a savepoint is complete and a rollback just forgets
 * what is in memory.
 *
 * Failure: arguments and existence are checked before the first write; a write that fails behind
 * the first one leaves half a change, so the transaction is then marked broken and refuses
 * everything but a rollback.
 *
 * Threads: a graph by any; a transaction by one at a time.
 * Ownership: records and values lent live until the next record or value is lent by the same
 * transaction; the bytes are the transaction's own copy. Names live as long as the graph, or, when
 * made by the transaction, until its end.
 */
#ifndef GRAPH_H
#define GRAPH_H

#include "kv/kv.h"
#include "sombra/bucket.h"
#include "sombra/graph.h"
#include "sombra/index.h"
#include "value.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- names shared by all transactions (names.c) ------------------------------------------- */

enum { GRAPH_NAME_KINDS = 4 }; /* index 0 is unused */

struct graph_name {
    struct graph_name *next; /* of the same owner, added before this one */
    uint32_t id;
    uint8_t kind;
    uint16_t bytes;
    uint8_t text[];
};
struct graph_name_table; /* open addressing, by text */
struct graph_name_ids;   /* by id, one for each kind */

/* Lookups take no lock; who adds excludes others that add. Tables that were outgrown are kept,
 * because a reader may be in them. */
struct graph_names {
    struct graph_name *newest; /* the list owns the names */
    size_t count;
    _Atomic(struct graph_name_table *) by_text;
    _Atomic(struct graph_name_ids *) by_id[GRAPH_NAME_KINDS];
};

struct graph_rule_set; /* all rules of one version; counted references */

struct graph {
    pthread_mutex_t mutex; /* for adding, and for `rules` */
    struct graph_names names;
    struct graph_rule_set *rules; /* of the newest version seen committed; NULL = none seen */
    _Atomic uint64_t kept_bytes;  /* of the tables of kept values, all transactions' */
};

sombra_err graph_init(struct graph *graph) SOMBRA_MUST_CHECK;
void graph_release(struct graph *graph);

/* ---- transactions (txn.c) ------------------------------------------------------------------ */

struct graph_property; /* one property while a record is merged */
struct graph_mark;     /* a savepoint */
struct graph_plan;     /* what a write will do to indexes */
struct edge_block;     /* ends of 64 edges */
struct graph_changes;  /* what triggers are waiting to hear of */

/* One property of many records: of those of a kind most begin with the same bytes, up to their
 * first value, and then it is known how many values stand before the one that is wanted. */
struct record_finder {
    uint64_t form, mask; /* what the last one began with; no mask: nothing is known */
    uint32_t name;
    uint8_t head_bytes, skipped; /* in front of the values, values in front of the wanted one */
    bool is_node, is_there;
};

/* What readers of one version have read (kept_values.h, kept_ends.h). */
enum kept_kind { KEPT_BY_NODE, KEPT_BY_VALUE, KEPT_ENDS, KEPT_KINDS };
struct kept_values {
    void *at;            /* entries of its kind; NULL = there is no table */
    enum kept_kind kind; /* values of nodes; nodes by values of an index; ends of edges */
    size_t mask;         /* entries, less one: a power of two */
    size_t pushed;       /* entries that others took the place of, since it grew */
    uint64_t version;    /* kv's: what the last reader saw; 0 = there was none */
    uint32_t generation; /* of that version's entries */
    uint32_t asked;      /* what a reader last asked of a node, if it came to none since; 0 = no */
    bool is_on;          /* values are looked for here, and kept */
    uint64_t left;       /* reads until that is thought over */
    uint64_t rest;       /* reads then, if not KEPT_READS; 0 = that many */
    uint64_t hits;       /* of the last KEPT_READS */
    uint64_t pause;      /* reads that the next values are not kept for; 0 = it pays */
};

enum { GRAPH_KNOWN_NODES = 64, GRAPH_RECENT_NAMES = 4 };

struct graph_txn {
    struct graph *graph;
    struct kv_txn *kv;
    sombra_err broken;                 /* OK, or why only a rollback is left */
    bool is_readonly;                  /* writes are refused, for as long as its user says */
    sombra_txn_poll poll;              /* asked while many entries are written */
    uint64_t lent;                     /* generation of `read`: raised when it is overwritten */
    uint64_t writes;                   /* raised by every write: cursors' bytes have died */
    uint64_t plain_writes;             /* those that add and remove no node, label or edge */
    struct buf read;                   /* what was lent last */
    struct buf record;                 /* a record under construction */
    struct buf old;                    /* the record it replaces */
    struct graph_property *properties; /* of the record under construction */
    size_t property_count, property_capacity;
    /* Shared names that were found last, by kind and length: the same few are asked for again. */
    struct graph_name *recent[GRAPH_NAME_KINDS][GRAPH_RECENT_NAMES];
    uint64_t names_missed;             /* times that there was no such name */
    struct record_finder finder;       /* of the property of many that was read last */
    struct kept_values kept;           /* of readers, of the one before as well */
    struct kept_values found;          /* the same: what they found by the values of an index */
    struct kept_values ends;           /* the same: edges of nodes that have few */
    struct graph_rule_set *rules;      /* as this transaction sees them; NULL = not looked yet */
    struct graph_rule_set *kept_rules; /* of the reader before this one; NULL = none */
    uint64_t kept_version;             /* kv's: what that one saw */
    uint64_t version;       /* kv's, 0 for writers; here, since the kv transaction ends first */
    bool has_counters;      /* loaded from the store */
    bool is_older_format;   /* the store, before what this transaction writes */
    uint64_t rules_version; /* among them */
    /* the rest is for writers */
    bool rules_changed; /* here: `rules` is not for others */
    struct graph_plan *plan;
    struct graph_changes *changes; /* for triggers; NULL = none was ever noted */
    sombra_violation violation;
    struct graph_names made;         /* names made here */
    struct graph_name *names_undone; /* rolled back, but perhaps still lent */
    struct graph_mark *marks;
    size_t mark_count, mark_capacity;
    bool counters_dirty; /* differ from it */
    bool types_dirty;    /* some delta is not 0 */
    uint64_t next_node, next_edge, next_bucket;
    int64_t *type_deltas; /* by type id: edges made less edges deleted since the last flush */
    size_t type_capacity;
    struct edge_block *block; /* of edges' ends that changed last; NULL = none ever did */
    uint64_t known_nodes[GRAPH_KNOWN_NODES]; /* seen to exist; by id modulo, 0 = none */
    uint64_t fresh_node;   /* this and all up to next_node were made here, and are there */
    uint64_t known_bucket; /* seen to exist; 0 = none */
};

/* Checks the format of what is stored; UNSUPPORTED for a newer one. */
sombra_err graph_check_format(struct kv_txn *kv) SOMBRA_MUST_CHECK;
/* Makes the store one that graph_check_format refuses (INVALID), until the counters of a graph are
 * written there: a copy that is not whole is not taken for a database. */
sombra_err graph_mark_unfinished(struct kv_txn *kv) SOMBRA_MUST_CHECK;
sombra_err graph_unmark_unfinished(struct kv_txn *kv) SOMBRA_MUST_CHECK;
/* The key whose record the mark stands in. */
bool graph_is_format_key(sombra_slice key);
/* For engines with prefix filters: how many of the key's first bytes name the node whose edges it
 * is among; 0 for other keys. A pure function of the bytes. */
size_t graph_key_prefix(sombra_slice key);

/* `txn` is zeroed or was used before: its buffers are kept. Cannot fail. */
void graph_txn_begin(struct graph_txn *txn, struct graph *graph, struct kv_txn *kv);
/* Writes what is kept in memory; to be called right before the kv commit. */
sombra_err graph_txn_flush(struct graph_txn *txn) SOMBRA_MUST_CHECK;
/* The kv transaction is over; names it made are shared from now on if it was committed. */
void graph_txn_end(struct graph_txn *txn, bool is_committed);
/* What it knows of the graph by heart; before the graph is released, of every transaction that
 * outlives it. */
void graph_txn_unlearn(struct graph_txn *txn);
void graph_txn_release(struct graph_txn *txn);

sombra_err graph_txn_savepoint(struct graph_txn *txn, uint64_t *out_mark) SOMBRA_MUST_CHECK;
sombra_err graph_txn_rollback_to(struct graph_txn *txn, uint64_t mark) SOMBRA_MUST_CHECK;
sombra_err graph_txn_forget(struct graph_txn *txn, uint64_t mark) SOMBRA_MUST_CHECK;

/* ---- names --------------------------------------------------------------------------------- */

/* *out_id 0 if there is no such name (OK). INVALID, LIMIT for a name out of bounds. */
sombra_err graph_name_find(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                           uint32_t *out_id) SOMBRA_MUST_CHECK;
/* Finds or makes it. */
sombra_err graph_name_intern(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                             uint32_t *out_id) SOMBRA_MUST_CHECK;
/* NOT_FOUND. */
sombra_err graph_name_by_id(struct graph_txn *txn, sombra_name_kind kind, uint32_t id,
                            sombra_name *out_name) SOMBRA_MUST_CHECK;
/* One that a record uses: CORRUPT if there is none. */
sombra_err graph_name_of_record(struct graph_txn *txn, sombra_name_kind kind, uint32_t id,
                                sombra_name *out_name) SOMBRA_MUST_CHECK;
sombra_err graph_name_by_text(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                              sombra_name *out_name) SOMBRA_MUST_CHECK;
sombra_err graph_name_next(struct graph_txn *txn, sombra_name_kind kind, uint32_t after,
                           sombra_name *out_name, bool *out_found) SOMBRA_MUST_CHECK;

/* ---- records (record.c) -------------------------------------------------------------------- */

/* A view on the bytes of a node's or an edge's record. CORRUPT. `record->txn` and `generation` are
 * the caller's to set. */
sombra_err graph_record_open(sombra_slice bytes, bool is_node,
                             sombra_record *out_record) SOMBRA_MUST_CHECK;
sombra_err graph_record_next_label(sombra_record *record, uint32_t *out_label,
                                   bool *out_found) SOMBRA_MUST_CHECK;
sombra_err graph_record_next_property(sombra_record *record, uint32_t *out_name,
                                      sombra_slice *out_value, bool *out_found) SOMBRA_MUST_CHECK;
/* With the name itself. */
sombra_err graph_record_next_named(struct graph_txn *txn, sombra_record *record,
                                   sombra_name *out_name, sombra_slice *out_value,
                                   bool *out_found) SOMBRA_MUST_CHECK;
/* NOT_FOUND, which leaves *out_value alone. Among those not walked yet; does not move the record.
 */
sombra_err graph_record_find(const sombra_record *record, uint32_t name,
                             sombra_slice *out_value) SOMBRA_MUST_CHECK;

/* The same of a record's bytes at once. */
sombra_err graph_record_value(sombra_slice bytes, bool is_node, uint32_t name,
                              sombra_slice *out_value) SOMBRA_MUST_CHECK;

/* ---- nodes and edges (node.c, edge.c); the rules are those of sombra/graph.h ------------ */

sombra_err graph_node_create(struct graph_txn *txn, const sombra_slice *labels, size_t label_count,
                             sombra_slice properties, sombra_node_id *out_node) SOMBRA_MUST_CHECK;
enum graph_change { GRAPH_MERGE, GRAPH_REPLACE };
sombra_err graph_node_change(struct graph_txn *txn, sombra_node_id node, sombra_slice properties,
                             enum graph_change change) SOMBRA_MUST_CHECK;
sombra_err graph_node_remove_property(struct graph_txn *txn, sombra_node_id node,
                                      sombra_slice name) SOMBRA_MUST_CHECK;
sombra_err graph_node_add_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                                bool *out_changed) SOMBRA_MUST_CHECK;
sombra_err graph_node_remove_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                                   bool *out_changed) SOMBRA_MUST_CHECK;
sombra_err graph_node_delete(struct graph_txn *txn, sombra_node_id node,
                             bool detach) SOMBRA_MUST_CHECK;
sombra_err graph_node_exists(struct graph_txn *txn, sombra_node_id node,
                             bool *out_exists) SOMBRA_MUST_CHECK;
sombra_err graph_node_get(struct graph_txn *txn, sombra_node_id node,
                          sombra_record *out_record) SOMBRA_MUST_CHECK;
sombra_err graph_node_property(struct graph_txn *txn, sombra_node_id node, sombra_slice name,
                               sombra_slice *out_value) SOMBRA_MUST_CHECK;
sombra_err graph_node_properties(struct graph_txn *txn, sombra_node_id node,
                                 const sombra_slice *names, size_t count,
                                 sombra_slice *out_values) SOMBRA_MUST_CHECK;
sombra_err graph_node_property_many(struct graph_txn *txn, const sombra_node_id *nodes,
                                    size_t count, sombra_slice name,
                                    sombra_slice *out_values) SOMBRA_MUST_CHECK;
/* The records of at most GRAPH_RECORDS nodes, copied to `to`, which is reset: data NULL = there is
 * no such node; data NULL and bytes 1 = not read, for those before it took GRAPH_RECORDS_BYTES. */
enum { GRAPH_RECORDS = 64, GRAPH_RECORDS_BYTES = 64 * 1024 };
sombra_err graph_node_records(struct graph_txn *txn, const sombra_node_id *nodes, size_t count,
                              struct buf *to, sombra_slice *out_records) SOMBRA_MUST_CHECK;
sombra_err graph_node_has_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                                bool *out_has) SOMBRA_MUST_CHECK;
/* An empty label counts all. */
sombra_err graph_node_count(struct graph_txn *txn, sombra_slice label,
                            uint64_t *out_count) SOMBRA_MUST_CHECK;

struct graph_edge {
    sombra_edge_id id;
    sombra_node_id src;
    sombra_node_id dst;
    uint32_t type;
};

sombra_err graph_edge_create(struct graph_txn *txn, const struct graph_edge *ends,
                             sombra_slice type, sombra_slice properties,
                             sombra_edge_id *out_edge) SOMBRA_MUST_CHECK;
sombra_err graph_edge_change(struct graph_txn *txn, sombra_edge_id edge, sombra_slice properties,
                             enum graph_change change) SOMBRA_MUST_CHECK;
sombra_err graph_edge_remove_property(struct graph_txn *txn, sombra_edge_id edge,
                                      sombra_slice name) SOMBRA_MUST_CHECK;
sombra_err graph_edge_delete(struct graph_txn *txn, sombra_edge_id edge) SOMBRA_MUST_CHECK;
/* NOT_FOUND. */
sombra_err graph_edge_ends(struct graph_txn *txn, sombra_edge_id edge,
                           struct graph_edge *out_edge) SOMBRA_MUST_CHECK;
sombra_err graph_edge_record(struct graph_txn *txn, const struct graph_edge *edge,
                             sombra_record *out_record) SOMBRA_MUST_CHECK;
sombra_err graph_edge_property(struct graph_txn *txn, sombra_edge_id edge, sombra_slice name,
                               sombra_slice *out_value) SOMBRA_MUST_CHECK;
sombra_err graph_edge_find(struct graph_txn *txn, sombra_node_id src, sombra_slice type,
                           sombra_node_id dst, sombra_edge_id *out_edge) SOMBRA_MUST_CHECK;
sombra_err graph_edge_count(struct graph_txn *txn, sombra_slice type,
                            uint64_t *out_count) SOMBRA_MUST_CHECK;

/* ---- iterators (neighbours.c, ids.c, scan.c) -------------------------------------------- */

/* All three are zeroed, opened, read, closed; closing keeps the buffers for the next opening and
 * release frees them. They must be closed before their kv transaction ends. */
enum { GRAPH_BATCH_FIRST = 16, GRAPH_BATCH = 128 };

/* Keys of edges as numbers (edge_words.h). */
struct edge_words {
    uint64_t words[GRAPH_BATCH];
    uint8_t bytes[GRAPH_BATCH];
    size_t count;
    bool is_last;          /* no more of the range */
    sombra_slice long_key; /* if it is not empty, all there is: one key that no word holds */
};

struct graph_neighbours {
    struct graph_txn *txn;
    struct kv_cursor *cursor; /* of the range that is read now; NULL between ranges */
    sombra_node_id node, other;
    uint64_t left;   /* of the limit */
    uint32_t *types; /* ascending, each once; unused when all are wanted */
    size_t type_count;
    size_t type_capacity;
    size_t range; /* which one comes next, of range_count: all types of the first direction,
                     then all of the second */
    size_t range_count;
    size_t prefix_bytes; /* of the keys of the range that is read now */
    size_t field;        /* the first field behind them: 0 type, 1 other node, 2 edge */
    uint32_t range_type; /* that all keys share, if field >= 1 */
    unsigned capacity;   /* of the next batch */
    size_t count;        /* of this one */
    uint64_t shape;      /* of the transaction, when this one was read */
    bool is_out;         /* the range that is read now */
    bool is_begun;       /* by words */
    bool is_rest;        /* only what is behind an edge of it is read */
    bool has_types;
    bool reverse;
    bool with_properties;
    sombra_direction direction;
    struct buf properties; /* of the batch */
    union {
        struct kv_entry entries[GRAPH_BATCH];
        struct edge_words words;
    };
    sombra_neighbour batch[GRAPH_BATCH];
};

sombra_err graph_neighbours_open(struct graph_neighbours *neighbours, struct graph_txn *txn,
                                 sombra_node_id node,
                                 const sombra_neighbours_options *options) SOMBRA_MUST_CHECK;
sombra_err graph_neighbours_next(struct graph_neighbours *neighbours,
                                 const sombra_neighbour **out_batch,
                                 size_t *out_count) SOMBRA_MUST_CHECK;
/* If nodes, labels or edges have come or gone since the batch was read: forgets what of it is
 * behind its first `used` (at least one), so that the next batch begins right behind those. */
sombra_err graph_neighbours_renew(struct graph_neighbours *neighbours, size_t used,
                                  bool *out_is_renewed) SOMBRA_MUST_CHECK;
void graph_neighbours_close(struct graph_neighbours *neighbours);
void graph_neighbours_release(struct graph_neighbours *neighbours);

sombra_err graph_degree(struct graph_txn *txn, sombra_node_id node, sombra_direction direction,
                        sombra_slice type, uint64_t *out_degree) SOMBRA_MUST_CHECK;

/* One edge of one of many nodes. */
struct graph_hop {
    sombra_node_id node; /* at the other end */
    sombra_edge_id edge;
    uint32_t source; /* index of the node it was walked from */
    uint32_t type;
    bool is_out;
};

/* How an edge is told among ends: by its id, or by the end of its key as a word, of which few are
 * ever taken apart. */
enum graph_edge_form { GRAPH_EDGE_ID, GRAPH_EDGE_KEY, GRAPH_EDGE_TYPED_KEY };

/* The same as far as a search looks at it: edges of one node. */
struct graph_ends {
    size_t count;
    uint32_t source; /* index of the node they were walked from */
    enum graph_edge_form form;
    uint64_t node_bits;    /* those that are set in any of `nodes`, and perhaps others */
    const uint64_t *edges; /* in that form; until the next call */
    uint64_t nodes[GRAPH_BATCH];
};

struct graph_lane;

/* The edges of many nodes, in the order of the nodes and for each as graph_neighbours has them. One
 * cursor a direction sweeps over all: nodes in ascending order cost a seek each where they lie
 * apart, and none where they lie together. Zeroed, opened, read, given other sources, closed. */
struct graph_expand {
    struct graph_txn *txn;
    const uint64_t *sources; /* the caller's, until it gives others */
    const uint32_t *types;   /* ascending; the caller's */
    size_t source_count, type_count;
    size_t source, type; /* the range that is read now */
    bool has_types;      /* else all */
    bool has_words;      /* the lanes read numbers */
    bool is_in;          /* reads incoming edges now */
    bool is_begun;       /* the range: its lane stands in it */
    unsigned batch_max;  /* hops of a batch; who may stop early sets it lower than GRAPH_BATCH */
    sombra_direction direction;
    struct graph_lane *lanes[2]; /* out, in */
    struct graph_hop batch[GRAPH_BATCH];
};

struct graph_expand_options {
    struct arena *arena; /* for what is read ahead; outlives the sweep */
    sombra_direction direction;
    bool has_types; /* else all */
    const uint32_t *types;
    size_t type_count;
};
sombra_err graph_expand_open(struct graph_expand *expand, struct graph_txn *txn,
                             const struct graph_expand_options *options) SOMBRA_MUST_CHECK;
/* Other sources, with what was read ahead kept. */
void graph_expand_sources(struct graph_expand *expand, const uint64_t *sources, size_t count);
sombra_err graph_expand_next(struct graph_expand *expand, const struct graph_hop **out_batch,
                             size_t *out_count) SOMBRA_MUST_CHECK;
/* Instead of graph_expand_next, where expand->has_words; count 0 = no more. With "both" a loop
 * comes twice: who searches knows the node. */
sombra_err graph_expand_ends(struct graph_expand *expand,
                             struct graph_ends *out_ends) SOMBRA_MUST_CHECK;
/* The id of one of their edges. CORRUPT. */
sombra_err graph_ends_edge(uint64_t edge, enum graph_edge_form form,
                           sombra_edge_id *out_edge) SOMBRA_MUST_CHECK;
void graph_expand_close(struct graph_expand *expand); /* not for opening again */

/* As graph_degree, by the ids of types. */
sombra_err graph_degree_by(struct graph_txn *txn, sombra_node_id node, sombra_direction direction,
                           const uint32_t *types, size_t type_count, bool has_types,
                           uint64_t *out_degree) SOMBRA_MUST_CHECK;

struct graph_ids {
    struct graph_txn *txn;
    struct kv_cursor *cursor; /* NULL = nothing can be there */
    struct kv_cursor *blocks; /* of edges: those that have an entry of their own come before */
    uint64_t left;
    uint64_t from, to; /* of edges: those that are still asked for; 0 = no bound */
    uint64_t writes;   /* of the transaction, when the cursor on blocks was moved last */
    uint32_t label;    /* of nodes; 0 = all */
    size_t prefix_bytes;
    unsigned capacity;
    bool reverse;
    size_t count;   /* of the batch */
    uint64_t shape; /* of the transaction, when it was read */
    struct kv_entry entries[GRAPH_BATCH];
    uint64_t batch[GRAPH_BATCH];
};

enum graph_ids_kind { GRAPH_NODES, GRAPH_EDGES };
/* `label` counts for nodes only; empty = all. */
sombra_err graph_ids_open(struct graph_ids *ids, struct graph_txn *txn, enum graph_ids_kind kind,
                          sombra_slice label, const sombra_ids_options *options) SOMBRA_MUST_CHECK;
sombra_err graph_ids_next(struct graph_ids *ids, const uint64_t **out_batch,
                          size_t *out_count) SOMBRA_MUST_CHECK;
/* As graph_neighbours_renew. */
sombra_err graph_ids_renew(struct graph_ids *ids, size_t used,
                           bool *out_is_renewed) SOMBRA_MUST_CHECK;
void graph_ids_close(struct graph_ids *ids);

/* ---- buckets (bucket.c, scan.c) --------------------------------------------------------- */

sombra_err graph_bucket_open(struct graph_txn *txn, sombra_slice name,
                             const sombra_bucket_options *options,
                             sombra_bucket_id *out_bucket) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_next(struct graph_txn *txn, sombra_slice after, sombra_slice *out_name,
                             sombra_bucket_id *out_bucket, bool *out_found) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_drop(struct graph_txn *txn, sombra_bucket_id bucket) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_get(struct graph_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                            sombra_slice *out_value) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_get_many(struct graph_txn *txn, sombra_bucket_id bucket,
                                 const sombra_key *keys, size_t count,
                                 sombra_slice *out_values) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_put(struct graph_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                            sombra_slice value) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_delete(struct graph_txn *txn, sombra_bucket_id bucket,
                               const sombra_key *key, bool *out_deleted) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_count(struct graph_txn *txn, sombra_bucket_id bucket,
                              const sombra_key_range *range, uint64_t *out_count) SOMBRA_MUST_CHECK;
sombra_err graph_bucket_delete_range(struct graph_txn *txn, sombra_bucket_id bucket,
                                     const sombra_key_range *range,
                                     uint64_t *out_deleted) SOMBRA_MUST_CHECK;

struct graph_scan {
    struct graph_txn *txn;
    struct kv_cursor *cursor; /* NULL = at its end */
    uint64_t left;
    uint64_t writes;     /* of the transaction when the batch was read */
    size_t prefix_bytes; /* tag and bucket: where entry keys begin */
    size_t at, count;    /* of the batch */
    unsigned capacity;
    bool reverse;
    struct buf low, high; /* the range's bounds; one moves when writes force a new cursor */
    struct buf key;       /* the key lent last, whole */
    sombra_slice prefix;  /* of the batch */
    struct kv_entry entries[GRAPH_BATCH];
};

sombra_err graph_scan_open(struct graph_scan *scan, struct graph_txn *txn, sombra_bucket_id bucket,
                           const sombra_key_range *range) SOMBRA_MUST_CHECK;
sombra_err graph_scan_next(struct graph_scan *scan, sombra_key *out_key, sombra_slice *out_value,
                           bool *out_found) SOMBRA_MUST_CHECK;
void graph_scan_close(struct graph_scan *scan);
void graph_scan_release(struct graph_scan *scan);

/* ---- indexes and constraints (rules.c, index.c, index_scan.c; sombra/index.h) ----------- */

/* A rule as the store has it, with names resolved to ids. */
struct graph_rule {
    uint32_t id;
    sombra_rule_kind kind;
    bool is_edge, is_ready;
    uint32_t subject; /* label or type */
    size_t property_count;
    uint32_t properties[SOMBRA_INDEX_PROPERTIES];
    sombra_kind value_kind;
    uint32_t events; /* of a TRIGGER: sombra_event bits */
};

/* The rules of a label or type, as this transaction sees them; live until it changes rules, or its
 * end. Cheap: every write of a node asks. */
sombra_err graph_rules_of(struct graph_txn *txn, bool is_edge, uint32_t subject,
                          const struct graph_rule **out_rules, size_t *out_count) SOMBRA_MUST_CHECK;
/* Two transactions that only read see the same rules if this is the same. */
sombra_err graph_rules_version(struct graph_txn *txn, uint64_t *out_version) SOMBRA_MUST_CHECK;

/* INVALID for a rule that makes no sense; else as the calls of sombra/index.h. Progress may be
 * NULL.
 */
struct graph_job {
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};
sombra_err graph_rule_create(struct graph_txn *txn, const sombra_rule *rule,
                             const struct graph_job *job, uint32_t *out_id) SOMBRA_MUST_CHECK;
sombra_err graph_rule_drop(struct graph_txn *txn, uint32_t id) SOMBRA_MUST_CHECK;
sombra_err graph_rule_next(struct graph_txn *txn, uint32_t after, sombra_rule *out_rule,
                           bool *out_found) SOMBRA_MUST_CHECK;
sombra_err graph_rule_find(struct graph_txn *txn, const sombra_rule *rule,
                           uint32_t *out_id) SOMBRA_MUST_CHECK;

/* The parts of an online build: an unready rule, or the one that is there (EXISTS if that is
 * ready); then steps, each in a transaction of its own, until *out_is_ready. */
sombra_err graph_rule_begin(struct graph_txn *txn, const sombra_rule *rule,
                            uint32_t *out_id) SOMBRA_MUST_CHECK;
struct graph_fill {
    uint64_t done,
        total; /* nodes or edges looked at, since the fill began or went on; of how many */
};
sombra_err graph_rule_fill(struct graph_txn *txn, uint32_t id, struct graph_fill *fill,
                           bool *out_is_ready) SOMBRA_MUST_CHECK;

/* Part of an index: the first `equal_count` properties equal these encoded values, and the next one
 * lies between bounds. */
struct graph_index_range {
    const sombra_slice *equal;
    size_t equal_count;
    /* Encoded values of one kind; empty = open. With one of them the other end is that of its kind:
     * number, string ... (and of numbers NaN is left out, which compares with none). */
    sombra_slice low, high;
    bool excludes_low, excludes_high;
    sombra_slice prefix; /* raw bytes that a string begins with; instead of the bounds */
    bool has_prefix;
    bool has_property; /* with open bounds: the next property must be there */
};

/* Walks ids of nodes or edges in the order of the index, backwards with `reverse`; among equal
 * values by id (in reverse, too, descending). The order is exact, also of values that are too long
 * for a key. Zeroed, opened, read, closed, as the iterators above; for ready indexes only. */
struct graph_index_scan;
sombra_err graph_index_open(struct graph_txn *txn, const struct graph_rule *index,
                            const struct graph_index_range *range, bool reverse,
                            struct graph_index_scan **out_scan) SOMBRA_MUST_CHECK;
sombra_err graph_index_next(struct graph_index_scan *scan, const uint64_t **out_ids,
                            size_t *out_count) SOMBRA_MUST_CHECK;
void graph_index_close(struct graph_index_scan *scan); /* NULL is a no-op */
/* The first entry with these values, all the index has; *out_id 0 = there is none. */
sombra_err graph_index_find(struct graph_txn *txn, const struct graph_rule *index,
                            const sombra_slice *equal, uint64_t *out_id) SOMBRA_MUST_CHECK;
/* O(log n). Exact, but for values too long for a key, which it may count though they differ. */
sombra_err graph_index_count(struct graph_txn *txn, const struct graph_rule *index,
                             const struct graph_index_range *range,
                             uint64_t *out_count) SOMBRA_MUST_CHECK;

/* ---- find, upsert, batches (upsert.c, batch.c; sombra/index.h) -------------------------- */

sombra_err graph_node_find(struct graph_txn *txn, sombra_slice label, sombra_slice values,
                           sombra_node_id *out_node) SOMBRA_MUST_CHECK;
sombra_err graph_node_find_by(struct graph_txn *txn, sombra_slice label, sombra_slice property,
                              const sombra_value *value,
                              sombra_node_id *out_node) SOMBRA_MUST_CHECK;
sombra_err graph_node_upsert(struct graph_txn *txn, sombra_slice label, sombra_slice key,
                             sombra_slice properties, sombra_node_id *out_node,
                             bool *out_created) SOMBRA_MUST_CHECK;
sombra_err graph_edge_upsert(struct graph_txn *txn, const struct graph_edge *ends,
                             sombra_slice type, sombra_slice properties, sombra_edge_id *out_edge,
                             bool *out_created) SOMBRA_MUST_CHECK;
sombra_err graph_node_create_many(struct graph_txn *txn, const sombra_slice *labels,
                                  size_t label_count, const sombra_slice *properties, size_t count,
                                  sombra_node_id *out_first) SOMBRA_MUST_CHECK;
sombra_err graph_edge_create_many(struct graph_txn *txn, sombra_slice type,
                                  const sombra_new_edge *edges, size_t count,
                                  sombra_edge_id *out_first) SOMBRA_MUST_CHECK;

sombra_err graph_node_create_columns(struct graph_txn *txn, const sombra_slice *labels,
                                     size_t label_count, const sombra_columns *columns,
                                     sombra_node_id *out_first) SOMBRA_MUST_CHECK;
sombra_err graph_edge_create_columns(struct graph_txn *txn, sombra_slice type,
                                     const sombra_node_id *sources, const sombra_node_id *targets,
                                     const sombra_columns *columns,
                                     sombra_edge_id *out_first) SOMBRA_MUST_CHECK;

/* ---- triggers (trigger.c; sombra/index.h) ----------------------------------------------- */

sombra_err graph_change_next(struct graph_txn *txn, sombra_change *out_change,
                             bool *out_found) SOMBRA_MUST_CHECK;
/* Changes that nobody took. */
size_t graph_changes_left(const struct graph_txn *txn);

/* ---- check (verify.c) ------------------------------------------------------------------------ */

struct graph_check {
    void (*problem)(void *context, sombra_err code, const char *message); /* may be NULL */
    bool (*progress)(void *context, uint64_t done, uint64_t total);       /* may be NULL */
    void *context;
    uint64_t problems; /* out */
};

/* Walks everything of a read transaction: every edge in both adjacency orders and in the id table,
 * label keys against records, counters, names that records use, buckets and their values. OK when
 * the walk was done, whatever it found; CANCELLED. */
sombra_err graph_verify(struct graph_txn *txn, struct graph_check *check) SOMBRA_MUST_CHECK;

/* ---- mend (mend.c) --------------------------------------------------------------------------- */

/* What mending did. */
struct graph_mend {
    void (*problem)(void *context, sombra_err code, const char *message); /* may be NULL */
    void *context;
    /* out */
    uint64_t problems;   /* as given to `problem`: what is lost for good */
    uint64_t rebuilt;    /* entries put again from others that say the same */
    uint64_t dropped;    /* entries taken out: what they belong to is lost, or they are damaged */
    uint64_t bare_edges; /* that are there, and their properties lost */
    uint64_t names_made; /* of labels, types, properties, buckets, in place of lost ones */
    uint64_t rules_rebuilt; /* indexes made anew, constraints proved again */
    uint64_t rules_dropped; /* that what is left breaks, or whose definition is damaged */
};

/* Makes of a graph that lost entries one that verify finds sound: what can be told from other
 * entries is put again, what belongs to nothing any more is taken out, rules are brought over what
 * is left. A sound graph is not changed. Nobody else uses the store. Begins and ends transactions
 * of its own; a failure leaves what was done, and may be followed by another try. */
sombra_err graph_mend(struct kv *kv, struct graph_mend *mend) SOMBRA_MUST_CHECK;

#endif
