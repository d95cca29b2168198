/* SPDX-License-Identifier: MIT */
/* index: indexes, constraints, and what stands on them: find, upsert, batches.
 *
 * An index covers the nodes with a label, or the edges of a type, by one to SOMBRA_INDEX_PROPERTIES
 * properties. A node is in it if it has the label and the first property; later properties may be
 * missing. It is kept in the same transaction as what it covers, is part of the file, and nothing
 * of it is read or rebuilt at open. Values are ordered: booleans (false first), numbers (integers
 * and floats by numeric value, NaN last), strings by bytes, lists, maps; what is missing comes
 * after all. Equality is that of the order: 1 equals 1.0.
 *
 * Constraints: unique (an index that refuses a second node with the same values; nodes that miss
 * one of the properties are free), required (every node with the label has the property), kind (the
 * property, where it is there, is of this kind). The same for edges by type. They are checked by
 * each write, and against what is there when they are made.
 *
 * Errors common to all: INVALID (over, wrong argument), CORRUPT, IO, NOMEM; for writes READONLY,
 * LIMIT. A write that a constraint refuses gives UNIQUE or CONSTRAINT and changes nothing;
 * sombra_txn_violation says which.
 */
#ifndef SOMBRA_INDEX_H
#define SOMBRA_INDEX_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SOMBRA_INDEX_PROPERTIES = 8 };

/* Numbers are part of the ABI and on disk: append only. */
typedef enum sombra_rule_kind {
    SOMBRA_RULE_INDEX = 1,
    SOMBRA_RULE_UNIQUE = 2, /* an index, too */
    SOMBRA_RULE_REQUIRED = 3,
    SOMBRA_RULE_KIND = 4,
    SOMBRA_RULE_TRIGGER = 5, /* properties[0] names a procedure; `events` says when */
} sombra_rule_kind;

/* What happened to a node with a label, or an edge of a type. A label that a node gets or loses is
 * a creation or a deletion among those with the label. Bits; numbers are on disk. */
typedef enum sombra_event {
    SOMBRA_EVENT_CREATE = 1,
    SOMBRA_EVENT_UPDATE = 2, /* of properties */
    SOMBRA_EVENT_DELETE = 4,
} sombra_event;

/* An index, a constraint or a trigger. Names are text; the slices of one that was read live until
 * the next call of sombra_rule_next on the transaction, or its end. */
typedef struct sombra_rule {
    size_t struct_bytes;
    uint32_t id; /* out; from 1, never used twice */
    sombra_rule_kind kind;
    bool is_edge;  /* `subject` is an edge type, else a label */
    bool is_ready; /* out: covers all there is; else it is still being built */
    sombra_slice subject;
    size_t property_count; /* 1 for REQUIRED and KIND */
    sombra_slice properties[SOMBRA_INDEX_PROPERTIES];
    sombra_kind value_kind; /* of KIND; SOMBRA_NULL = any number (integer or float) */
    uint64_t entries;       /* out, of an index: exact, O(log n) */
    uint32_t events;        /* of a TRIGGER: sombra_event bits */
} sombra_rule;

#define SOMBRA_RULE_INIT                    \
    {                                       \
        .struct_bytes = sizeof(sombra_rule) \
    }

/* Makes it in the transaction, over what is there: O(nodes with the label). EXISTS if the same is
 * there already (its id is in *out_id then); UNIQUE or CONSTRAINT if what is there breaks it.
 * `job` may be NULL; its progress may cancel, and then nothing was made (CANCELLED). */
SOMBRA_API sombra_err sombra_rule_create(sombra_txn *txn, const sombra_rule *rule,
                                         const sombra_job *job, uint32_t *out_id) SOMBRA_MUST_CHECK;
/* The same in transactions of its own of bounded size, with writers of others in between: first it
 * is kept up by every write, then it is filled; it is used once it is ready. After a crash, or when
 * cancelled, the unready index is there, and the same call goes on with it. */
SOMBRA_API sombra_err sombra_rule_create_online(sombra_db *db, const sombra_rule *rule,
                                                const sombra_job *job,
                                                uint32_t *out_id) SOMBRA_MUST_CHECK;
/* NOT_FOUND. */
SOMBRA_API sombra_err sombra_rule_drop(sombra_txn *txn, uint32_t id) SOMBRA_MUST_CHECK;
/* The rule with the next id above `after`. *out_found false = no more. */
SOMBRA_API sombra_err sombra_rule_next(sombra_txn *txn, uint32_t after, sombra_rule *out_rule,
                                       bool *out_found) SOMBRA_MUST_CHECK;
/* The rule of this kind, subject and properties (id ignored); NOT_FOUND, without a text. */
SOMBRA_API sombra_err sombra_rule_find(sombra_txn *txn, const sombra_rule *rule,
                                       uint32_t *out_id) SOMBRA_MUST_CHECK;

/* What the last UNIQUE or CONSTRAINT of this transaction was about; id 0 = there was none. The
 * slices live until the transaction's next call. */
typedef struct sombra_violation {
    size_t struct_bytes;
    uint32_t rule;
    bool is_edge;
    sombra_slice subject;
    sombra_slice property; /* the (first) property of the rule */
    uint64_t id;           /* the node or edge that is in the way; 0 if there is none */
} sombra_violation;

#define SOMBRA_VIOLATION_INIT                    \
    {                                            \
        .struct_bytes = sizeof(sombra_violation) \
    }

SOMBRA_API sombra_err sombra_txn_violation(sombra_txn *txn,
                                           sombra_violation *out_violation) SOMBRA_MUST_CHECK;

/* ---- triggers ----------------------------------------------------------------------------- */

/* The engine keeps triggers and notes what sets them off; procedures are Lua's, so whoever commits
 * takes the changes one by one, runs the procedures (whose own changes are noted in turn), and then
 * commits. A commit with changes that nobody took gives INVALID. */
typedef struct sombra_change {
    size_t struct_bytes;
    uint32_t rule; /* the trigger */
    sombra_event event;
    bool is_edge;
    uint64_t id;
    sombra_slice subject;   /* the label or type */
    sombra_slice procedure; /* its name */
    sombra_slice before;    /* encoded map of the properties before; empty for a creation */
} sombra_change;

#define SOMBRA_CHANGE_INIT                    \
    {                                         \
        .struct_bytes = sizeof(sombra_change) \
    }

/* The oldest change not taken yet, in the order of the writes, and for one write of the triggers'
 * ids. What is written until the next call is set off by it. *out_found false = no more. The slices
 * live until the next call on the transaction. LIMIT: triggers set each other off more than 16
 * deep, or more than a million times. */
SOMBRA_API sombra_err sombra_change_next(sombra_txn *txn, sombra_change *out_change,
                                         bool *out_found) SOMBRA_MUST_CHECK;

/* ---- find and upsert ---------------------------------------------------------------------- */

/* The node with the label and these values (an encoded map), by a unique or other index whose
 * properties are exactly those: of several, the one with the lowest id. INVALID if no index covers
 * it: then a query is the way. NOT_FOUND, without a text. */
SOMBRA_API sombra_err sombra_node_find(sombra_txn *txn, sombra_slice label, sombra_slice values,
                                       sombra_node_id *out_node) SOMBRA_MUST_CHECK;
/* The same by one property, whose value is not encoded: the quickest way. A list or map is one that
 * sombra_value_decode gave. INVALID for a null. */
SOMBRA_API sombra_err sombra_node_find_by(sombra_txn *txn, sombra_slice label,
                                          sombra_slice property, const sombra_value *value,
                                          sombra_node_id *out_node) SOMBRA_MUST_CHECK;
/* Finds the node with the label and the values of `key` (an encoded map, covered by a unique index,
 * else INVALID), or creates it with them; then merges `properties` into it. */
SOMBRA_API sombra_err sombra_node_upsert(sombra_txn *txn, sombra_slice label, sombra_slice key,
                                         sombra_slice properties, sombra_node_id *out_node,
                                         bool *out_created) SOMBRA_MUST_CHECK;
/* The edge of the type from src to dst (of parallel ones the lowest id), or a new one; then merges
 * `properties` into it. NOT_FOUND for the nodes. */
SOMBRA_API sombra_err sombra_edge_upsert(sombra_txn *txn, sombra_node_id src, sombra_slice type,
                                         sombra_node_id dst, sombra_slice properties,
                                         sombra_edge_id *out_edge,
                                         bool *out_created) SOMBRA_MUST_CHECK;

/* ---- batches ------------------------------------------------------------------------------ */

/* Creates `count` nodes with the same labels, one for each encoded map; their ids follow one
 * another from *out_first. All or none: a refusal leaves nothing of the batch. */
SOMBRA_API sombra_err sombra_node_create_many(sombra_txn *txn, const sombra_slice *labels,
                                              size_t label_count, const sombra_slice *properties,
                                              size_t count,
                                              sombra_node_id *out_first) SOMBRA_MUST_CHECK;
typedef struct sombra_new_edge {
    sombra_node_id src, dst;
    sombra_slice properties; /* encoded map, or empty */
} sombra_new_edge;
/* As sombra_node_create_many, in whatever order they are given (they are written in key order). */
SOMBRA_API sombra_err sombra_edge_create_many(sombra_txn *txn, sombra_slice type,
                                              const sombra_new_edge *edges, size_t count,
                                              sombra_edge_id *out_first) SOMBRA_MUST_CHECK;

/* ---- batches by columns -------------------------------------------------------------------- */

typedef enum sombra_column_kind {
    SOMBRA_COLUMN_ENCODED, /* values as of sombra/value.h; of an empty one or a null, the property
                              is missing there */
    SOMBRA_COLUMN_BOOLEAN,
    SOMBRA_COLUMN_INTEGER,
    SOMBRA_COLUMN_FLOAT,
    SOMBRA_COLUMN_STRING,
} sombra_column_kind;

/* One property of many nodes or edges: a value for each. */
typedef struct sombra_column {
    sombra_slice name;
    sombra_column_kind kind;
    union {
        const sombra_slice *encoded;
        const bool *booleans;
        const int64_t *integers;
        const double *floats;
        const sombra_slice *strings;
    } as;
} sombra_column;

typedef struct sombra_columns {
    const sombra_column *columns; /* each with another name, in any order */
    size_t column_count;
    size_t count; /* nodes or edges: values of each column */
} sombra_columns;

/* sombra_node_create_many without a map for each node: the fastest way. */
SOMBRA_API sombra_err sombra_node_create_columns(sombra_txn *txn, const sombra_slice *labels,
                                                 size_t label_count, const sombra_columns *columns,
                                                 sombra_node_id *out_first) SOMBRA_MUST_CHECK;
/* And of edges: `count` sources and targets. */
SOMBRA_API sombra_err sombra_edge_create_columns(sombra_txn *txn, sombra_slice type,
                                                 const sombra_node_id *sources,
                                                 const sombra_node_id *targets,
                                                 const sombra_columns *columns,
                                                 sombra_edge_id *out_first) SOMBRA_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
