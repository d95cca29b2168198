/* SPDX-License-Identifier: MIT */
/* graph: labelled nodes, typed directed edges, properties on both.
 *
 * Ids are 64-bit, from 1 up to INT64_MAX, growing and never used twice (those that an aborted
 * transaction gave out existed for nobody else and are given out again). A node has any number of
 * labels, an edge one type. Parallel edges and loops are allowed.
 *
 * Names (labels, types, property names) are 1 to SOMBRA_NAME_BYTES_MAX bytes of any content. The
 * database keeps each once and gives it a small number, which is never changed or dropped.
 *
 * Properties go in as one encoded map (value.h; an empty slice is an empty map) and come out of a
 * sombra_record one by one. A null on the way in means "no such property"; nested nulls are kept.
 *
 * Loops: a loop is one outgoing and one incoming edge of its node; in direction "both" it is one.
 *
 * Lifetime: unless said otherwise, bytes that a read of a node or edge returns live until the next
 * such read on the same transaction, or its end. Writes do not disturb them.
 * Errors: a read that finds nothing gives NOT_FOUND and sets no text, since a miss is an answer.
 * Common to all: INVALID (over, or a wrong argument), CORRUPT, IO, NOMEM; for writes
 * READONLY, LIMIT (a record over SOMBRA_VALUE_BYTES_MAX, a name too long, ids used up).
 */
#ifndef SOMBRA_GRAPH_H
#define SOMBRA_GRAPH_H

#include "db.h"
#include "value.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t sombra_node_id; /* 0 = none */
typedef uint64_t sombra_edge_id; /* 0 = none */

enum { SOMBRA_NAME_BYTES_MAX = 255 };

/* Numbers are part of the ABI: append only. */
typedef enum sombra_name_kind {
    SOMBRA_NAME_LABEL = 1,
    SOMBRA_NAME_TYPE = 2,
    SOMBRA_NAME_PROPERTY = 3,
} sombra_name_kind;

typedef struct sombra_name {
    uint32_t id;       /* from 1; of its kind, in this database */
    sombra_slice text; /* lives as long as the database handle; a name this transaction made, until
                          the transaction ends */
} sombra_name;

/* ---- names ------------------------------------------------------------------------------- */

/* The name with the next id above `after` (0 = the first). *out_found false = no more. Names of
 * which nothing is left are listed too. */
SOMBRA_API sombra_err sombra_name_next(sombra_txn *txn, sombra_name_kind kind, uint32_t after,
                                       sombra_name *out_name, bool *out_found) SOMBRA_MUST_CHECK;
/* NOT_FOUND. */
SOMBRA_API sombra_err sombra_name_by_id(sombra_txn *txn, sombra_name_kind kind, uint32_t id,
                                        sombra_name *out_name) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_name_by_text(sombra_txn *txn, sombra_name_kind kind, sombra_slice text,
                                          sombra_name *out_name) SOMBRA_MUST_CHECK;

/* ---- records: labels and properties of one node or edge, read in place ------------------- */

/* `label_count` and `property_count` are for the caller; the rest is private. A record whose bytes
 * have been replaced by a later read answers INVALID. */
typedef struct sombra_record {
    uint32_t label_count; /* 0 for edges */
    uint32_t property_count;
    uint32_t labels_left;
    uint32_t properties_left;
    uint32_t label_last;
    uint32_t property_last;
    uint32_t property_next;
    uint64_t property_mask;
    const uint8_t *label_at;
    const uint8_t *properties;
    const uint8_t *property_at;
    const uint8_t *end;
    sombra_txn *txn;
    uint64_t generation;
} sombra_record;

/* Labels in the order of their ids. *out_found false = no more. */
SOMBRA_API sombra_err sombra_record_next_label(sombra_record *record, sombra_name *out_label,
                                               bool *out_found) SOMBRA_MUST_CHECK;
/* Properties in the order of their name ids; *out_value is an encoded value. */
SOMBRA_API sombra_err sombra_record_next_property(sombra_record *record, sombra_name *out_name,
                                                  sombra_slice *out_value,
                                                  bool *out_found) SOMBRA_MUST_CHECK;
/* One property among those not yet walked; NOT_FOUND. Does not move the record. */
SOMBRA_API sombra_err sombra_record_property(const sombra_record *record, sombra_slice name,
                                             sombra_slice *out_value) SOMBRA_MUST_CHECK;

/* ---- nodes: write ------------------------------------------------------------------------ */

/* A label given twice counts once. */
SOMBRA_API sombra_err sombra_node_create(sombra_txn *txn, const sombra_slice *labels,
                                         size_t label_count, sombra_slice properties,
                                         sombra_node_id *out_node) SOMBRA_MUST_CHECK;
/* Sets the properties in the map, removes those that are null there, keeps the others. NOT_FOUND.
 */
SOMBRA_API sombra_err sombra_node_set(sombra_txn *txn, sombra_node_id node,
                                      sombra_slice properties) SOMBRA_MUST_CHECK;
/* The map becomes all the properties there are. NOT_FOUND. */
SOMBRA_API sombra_err sombra_node_replace(sombra_txn *txn, sombra_node_id node,
                                          sombra_slice properties) SOMBRA_MUST_CHECK;
/* NOT_FOUND for the node; a property that is not there is no error. */
SOMBRA_API sombra_err sombra_node_remove_property(sombra_txn *txn, sombra_node_id node,
                                                  sombra_slice name) SOMBRA_MUST_CHECK;
/* *out_changed (may be NULL) is false if the node had the label already, or had it not. */
SOMBRA_API sombra_err sombra_node_add_label(sombra_txn *txn, sombra_node_id node,
                                            sombra_slice label,
                                            bool *out_changed) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_node_remove_label(sombra_txn *txn, sombra_node_id node,
                                               sombra_slice label,
                                               bool *out_changed) SOMBRA_MUST_CHECK;
/* NOT_FOUND; CONFLICT if it has edges, unless `detach`: then they are deleted too. */
SOMBRA_API sombra_err sombra_node_delete(sombra_txn *txn, sombra_node_id node,
                                         bool detach) SOMBRA_MUST_CHECK;

/* ---- nodes: read ------------------------------------------------------------------------- */

SOMBRA_API sombra_err sombra_node_exists(sombra_txn *txn, sombra_node_id node,
                                         bool *out_exists) SOMBRA_MUST_CHECK;
/* NOT_FOUND. */
SOMBRA_API sombra_err sombra_node_get(sombra_txn *txn, sombra_node_id node,
                                      sombra_record *out_record) SOMBRA_MUST_CHECK;
/* One property, without decoding the others. NOT_FOUND if the node or the property is missing. */
SOMBRA_API sombra_err sombra_node_property(sombra_txn *txn, sombra_node_id node, sombra_slice name,
                                           sombra_slice *out_value) SOMBRA_MUST_CHECK;
/* Several of one node, out of one read: out_values[i] is that of names[i], its data NULL where
 * there is none. All live until the next read on the transaction. NOT_FOUND if the node is missing.
 */
SOMBRA_API sombra_err sombra_node_properties(sombra_txn *txn, sombra_node_id node,
                                             const sombra_slice *names, size_t count,
                                             sombra_slice *out_values) SOMBRA_MUST_CHECK;
/* One property of `count` nodes, fastest where they ascend: out_values[i] is that of nodes[i], and
 * its data NULL where the node or the property is missing. All live until the next read on the
 * transaction; writes do not disturb them. */
SOMBRA_API sombra_err sombra_node_property_many(sombra_txn *txn, const sombra_node_id *nodes,
                                                size_t count, sombra_slice name,
                                                sombra_slice *out_values) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_node_has_label(sombra_txn *txn, sombra_node_id node,
                                            sombra_slice label, bool *out_has) SOMBRA_MUST_CHECK;

/* ---- edges ------------------------------------------------------------------------------- */

typedef struct sombra_edge {
    sombra_edge_id id;
    sombra_node_id src;
    sombra_node_id dst;
    sombra_name type;
} sombra_edge;

/* NOT_FOUND if one of the nodes is missing. */
SOMBRA_API sombra_err sombra_edge_create(sombra_txn *txn, sombra_node_id src, sombra_slice type,
                                         sombra_node_id dst, sombra_slice properties,
                                         sombra_edge_id *out_edge) SOMBRA_MUST_CHECK;
/* As for nodes; all NOT_FOUND. */
SOMBRA_API sombra_err sombra_edge_set(sombra_txn *txn, sombra_edge_id edge,
                                      sombra_slice properties) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_edge_replace(sombra_txn *txn, sombra_edge_id edge,
                                          sombra_slice properties) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_edge_remove_property(sombra_txn *txn, sombra_edge_id edge,
                                                  sombra_slice name) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_edge_delete(sombra_txn *txn, sombra_edge_id edge) SOMBRA_MUST_CHECK;

SOMBRA_API sombra_err sombra_edge_exists(sombra_txn *txn, sombra_edge_id edge,
                                         bool *out_exists) SOMBRA_MUST_CHECK;
/* out_edge and out_record may each be NULL (the record costs a second lookup). NOT_FOUND. */
SOMBRA_API sombra_err sombra_edge_get(sombra_txn *txn, sombra_edge_id edge, sombra_edge *out_edge,
                                      sombra_record *out_record) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_edge_property(sombra_txn *txn, sombra_edge_id edge, sombra_slice name,
                                           sombra_slice *out_value) SOMBRA_MUST_CHECK;
/* The edge from src to dst with the lowest id (of parallel ones); an empty type is any type, and
 * then the edge of the oldest type. NOT_FOUND. For all of them: neighbours with `other`. */
SOMBRA_API sombra_err sombra_edge_find(sombra_txn *txn, sombra_node_id src, sombra_slice type,
                                       sombra_node_id dst,
                                       sombra_edge_id *out_edge) SOMBRA_MUST_CHECK;

/* ---- neighbours -------------------------------------------------------------------------- */

typedef enum sombra_direction {
    SOMBRA_OUT = 1,
    SOMBRA_IN = 2,
    SOMBRA_BOTH = 3, /* the outgoing ones first */
} sombra_direction;

typedef struct sombra_neighbour {
    sombra_node_id node; /* at the other end */
    sombra_edge_id edge;
    uint32_t type;           /* id of the type's name */
    bool is_out;             /* from the node asked about to `node` */
    sombra_slice properties; /* for sombra_neighbour_record; empty unless with_properties */
} sombra_neighbour;

typedef struct sombra_neighbours_options {
    size_t struct_bytes;
    sombra_direction direction; /* 0 is out */
    const sombra_slice *types;  /* any of these; a type that does not exist has no edges */
    size_t type_count;          /* 0 = all types */
    sombra_node_id other;       /* only edges to or from this node; 0 = any */
    uint64_t limit;             /* 0 = none */
    bool reverse;               /* backwards */
    bool with_properties;       /* costs nothing for out, one lookup an edge for in */
} sombra_neighbours_options;

#define SOMBRA_NEIGHBOURS_OPTIONS_INIT                    \
    {                                                     \
        .struct_bytes = sizeof(sombra_neighbours_options) \
    }

typedef struct sombra_neighbours sombra_neighbours;

/* Edges of `node` (one that does not exist has none), ordered by direction, type id, other node,
 * edge id. `options` NULL: all outgoing. The handle is freed by sombra_neighbours_close. */
SOMBRA_API sombra_err sombra_neighbours_open(sombra_txn *txn, sombra_node_id node,
                                             const sombra_neighbours_options *options,
                                             sombra_neighbours **out_neighbours) SOMBRA_MUST_CHECK;
/* The next few; *out_count 0 = no more. They live until the next call on this handle, and may be
 * used beside writes; what a write changes shows from the next batch on (sombra_neighbours_renew).
 */
SOMBRA_API sombra_err sombra_neighbours_next(sombra_neighbours *neighbours,
                                             const sombra_neighbour **out_batch,
                                             size_t *out_count) SOMBRA_MUST_CHECK;
/* For who takes a batch one by one and writes meanwhile. If nodes, labels or edges have come or
 * gone in the transaction since the batch: *out_is_renewed, and the next batch begins right behind
 * the first `used` (at least one) of this one, which has died. */
SOMBRA_API sombra_err sombra_neighbours_renew(sombra_neighbours *neighbours, size_t used,
                                              bool *out_is_renewed) SOMBRA_MUST_CHECK;
/* The properties of one of the batch (with_properties). Lives as long as the batch. */
SOMBRA_API sombra_err sombra_neighbour_record(sombra_neighbours *neighbours,
                                              const sombra_neighbour *neighbour,
                                              sombra_record *out_record) SOMBRA_MUST_CHECK;
SOMBRA_API void sombra_neighbours_close(sombra_neighbours *neighbours); /* NULL is a no-op */

/* Number of edges; an empty type is all types. O(log n), in direction "both" with all types
 * O(types of the node * log n). */
SOMBRA_API sombra_err sombra_degree(sombra_txn *txn, sombra_node_id node,
                                    sombra_direction direction, sombra_slice type,
                                    uint64_t *out_degree) SOMBRA_MUST_CHECK;

/* ---- all of a kind ----------------------------------------------------------------------- */

typedef struct sombra_ids_options {
    size_t struct_bytes;
    uint64_t from;  /* lowest id wanted */
    uint64_t to;    /* highest id wanted; 0 = no bound */
    uint64_t limit; /* 0 = none */
    bool reverse;   /* highest first: with a limit, the last n */
} sombra_ids_options;

#define SOMBRA_IDS_OPTIONS_INIT                    \
    {                                              \
        .struct_bytes = sizeof(sombra_ids_options) \
    }

/* Node or edge ids in order. */
typedef struct sombra_ids sombra_ids;

/* Nodes with a label; an empty label is all nodes. `options` may be NULL. Freed by
 * sombra_ids_close. */
SOMBRA_API sombra_err sombra_nodes_open(sombra_txn *txn, sombra_slice label,
                                        const sombra_ids_options *options,
                                        sombra_ids **out_ids) SOMBRA_MUST_CHECK;
/* All edges. */
SOMBRA_API sombra_err sombra_edges_open(sombra_txn *txn, const sombra_ids_options *options,
                                        sombra_ids **out_ids) SOMBRA_MUST_CHECK;
/* As sombra_neighbours_next. */
SOMBRA_API sombra_err sombra_ids_next(sombra_ids *ids, const uint64_t **out_batch,
                                      size_t *out_count) SOMBRA_MUST_CHECK;
/* As sombra_neighbours_renew. */
SOMBRA_API sombra_err sombra_ids_renew(sombra_ids *ids, size_t used,
                                       bool *out_is_renewed) SOMBRA_MUST_CHECK;
SOMBRA_API void sombra_ids_close(sombra_ids *ids); /* NULL is a no-op */

/* Exact, O(log n). An empty slice counts all; a name that does not exist counts 0. */
SOMBRA_API sombra_err sombra_node_count(sombra_txn *txn, sombra_slice label,
                                        uint64_t *out_count) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_err sombra_edge_count(sombra_txn *txn, sombra_slice type,
                                        uint64_t *out_count) SOMBRA_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
