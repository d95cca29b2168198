/* SPDX-License-Identifier: MIT */
/* What the files of query/ share: rows, operators, predicates, and the run they belong to.
 *
 * parse.c turns steps into a tree of struct step; plan.c turns that into operators, choosing
 * sources by exact counts; each operator pulls batches of rows from its input.
 */
#ifndef QUERY_INTERNAL_H
#define QUERY_INTERNAL_H

#include "base/base.h"
#include "graph/graph.h"
#include "query.h"

#include <assert.h>
#include <inttypes.h>

struct query;

/* ---- rows --------------------------------------------------------------------------------- */

enum { QUERY_BATCH = 256, TRACK_NONE = 0 };

/* One row inside the engine. `value` lives in the run's arena of the batch, or in the operator that
 * made the row, until that operator's next call. */
struct row {
    uint64_t id;        /* node or edge */
    uint64_t src, dst;  /* edges */
    uint64_t came_from; /* edges: the node they were walked from; 0 = none */
    uint32_t type;      /* edges */
    uint32_t depth;
    uint32_t track;   /* how it was reached: index into the run's tracks; TRACK_NONE = not kept */
    uint32_t ordinal; /* of an order: rows before it that stand at the same place */
    double cost;
    sombra_slice value; /* paths and records: encoded */
};

struct row_batch {
    size_t count; /* 0 = the end */
    /* Nothing follows these rows: set by those who know, so that nobody asks again. What works in
     * place leaves it. */
    bool is_last;
    struct row rows[QUERY_BATCH];
};

/* As it is shown. */
static inline sombra_row row_public(sombra_row_kind kind, const struct row *row)
{
    return (sombra_row){ .kind = kind,
                         .depth = row->depth,
                         .id = kind == SOMBRA_ROW_RECORD ? 0 : row->id,
                         .cost = row->cost,
                         .value = kind >= SOMBRA_ROW_PATH ? row->value : slice_of(NULL, 0) };
}

/* ---- the run: what all operators of one query share ----------------------------------------- */

/* One step of a path: where it came from and over which edge. Kept only if the plan needs paths. */
struct track {
    uint32_t parent; /* TRACK_NONE for the first node */
    uint64_t node;
    uint64_t edge; /* 0 for the first node */
};

/* Which sides of a search know an id: two bits of a byte for each, all zero but while a search runs
 * (paths_bfs.c). */
struct marks {
    uint8_t *of_ids;
    size_t capacity; /* ids; a power of two, or 0 */
};

struct query_run {
    struct graph_txn *txn;
    sombra_query_options options;
    struct arena arena;    /* lives as long as the query */
    struct arena *planned; /* of the operators, and the choice of an index: may outlive it */
    /* The next query of the handle finds these two again: */
    struct marks marks;
    sombra_value_builder *values; /* of whoever makes a row's value; NULL until then */
    struct query_environment environment;
    size_t memory_used;   /* bytes charged by run_charge */
    size_t memory_asked;  /* bytes that options.memory was asked for: the most that were used */
    uint64_t deadline_ns; /* 0 = none */
    uint32_t ticks;       /* since the clock was read */
    bool keeps_tracks;
    struct track *tracks; /* index 0 is unused */
    size_t track_count, track_capacity;
};

/* Frees what it keeps from query to query. */
void run_release(struct query_run *run);
/* Charges memory to the query before it is allocated; LIMIT. `bytes` may be negative. */
sombra_err run_charge(struct query_run *run, int64_t bytes) SOMBRA_MUST_CHECK;
void run_refund(struct query_run *run, size_t bytes);
/* Doubles an array of mem_*, charged; what was in it stays. */
sombra_err run_grow(struct query_run *run, void **memory, size_t *capacity, size_t item_bytes,
                    const char *what) SOMBRA_MUST_CHECK;
/* Moves *bytes to memory of the arena, charged. */
sombra_err run_copy(struct query_run *run, struct arena *arena,
                    sombra_slice *bytes) SOMBRA_MUST_CHECK;
/* To be called once for every few rows of work: CANCELLED, LIMIT (time). */
sombra_err run_tick_slow(struct query_run *run) SOMBRA_MUST_CHECK;
static inline sombra_err run_tick(struct query_run *run)
{
    return LIKELY(++run->ticks & 255) ? SOMBRA_OK : run_tick_slow(run);
}
static inline sombra_err run_ticks(struct query_run *run, uint32_t count) /* so many at once */
{
    uint32_t before = run->ticks;
    run->ticks += count;
    return LIKELY(before / 256 == run->ticks / 256) ? SOMBRA_OK : run_tick_slow(run);
}
sombra_err run_track(struct query_run *run, uint32_t parent, uint64_t node, uint64_t edge,
                     uint32_t *out_track) SOMBRA_MUST_CHECK;
/* The path that a track ends, as the encoded value of a path row, appended to nothing else. */
sombra_err run_track_path(struct query_run *run, uint32_t track,
                          struct buf *out_path) SOMBRA_MUST_CHECK;

/* ---- records of the nodes of a batch (records.c) --------------------------------------------- */

/* Zeroed, begun with each batch, released. What is asked for is read together with what follows it
 * in the batch. */
struct row_records {
    const struct row *rows; /* of the batch */
    size_t row_count;
    size_t first, count; /* of those that are read */
    struct buf bytes;
    sombra_slice at[GRAPH_RECORDS];
};
static inline void row_records_begin(struct row_records *records, const struct row *rows,
                                     size_t count)
{
    records->rows = rows;
    records->row_count = count;
    records->first = records->count = 0;
}
/* Of a row of the batch, or of any other; it lives until the next call. */
sombra_err row_records_get(struct row_records *records, struct query_run *run,
                           const struct row *row, sombra_record *out_record,
                           bool *out_exists) SOMBRA_MUST_CHECK;
static inline void row_records_release(struct row_records *records)
{
    buf_release(&records->bytes);
}

/* ---- predicates (predicate.c) --------------------------------------------------------------- */

/* A compiled predicate: property names resolved, constants decoded. Immutable once made. */
struct predicate;

/* What a condition looks like to the planner: one that the whole predicate implies. */
enum condition_kind {
    CONDITION_EQUAL,
    CONDITION_ANY_OF,
    CONDITION_RANGE,
    CONDITION_PREFIX,
    CONDITION_EXISTS,
};
struct condition {
    enum condition_kind kind;
    sombra_slice property;  /* its name */
    uint32_t property_id;   /* 0 = no such name: nothing can match, except by absence */
    sombra_slice values[2]; /* encoded: EQUAL [0]; ANY_OF [0] a list; RANGE low, high (empty =
                               open); PREFIX [0] */
    bool excludes[2];       /* RANGE: lt, gt instead of le, ge */
};

/* `encoded` as in docs/query.md; the slices in it must outlive the predicate. INVALID says what is
 * wrong with it. */
sombra_err predicate_new(struct graph_txn *txn, sombra_slice encoded,
                         struct predicate **out_predicate) SOMBRA_MUST_CHECK;
/* Is it a map of properties and constants, and the encoded one the same but for the constants,
 * which are of the same kinds? That one need not be sound. */
bool predicate_fits(const struct predicate *predicate, sombra_slice encoded);
/* Takes the constants of one that fits; its bytes must outlive the predicate, the former ones may
 * be gone. */
void predicate_bind(struct predicate *predicate, sombra_slice encoded);
/* Is it one property equal to one constant, right behind its name? Where that stands, encoded. */
bool predicate_constant(const struct predicate *predicate, sombra_slice *out_constant);
/* The same but for the constant, which takes its place at `own`, with room for it, if it is of the
 * same kind. */
bool predicate_rebind(struct predicate *predicate, sombra_slice constant, void *own);
void predicate_free(struct predicate *predicate); /* NULL is a no-op */
/* Does it look at nothing but id, depth, type and label? Then no record need be read. */
bool predicate_needs_record(const struct predicate *predicate);
/* The conditions joined by "and" at its top; for index choice. Live as long as the predicate. */
size_t predicate_conditions(const struct predicate *predicate, const struct condition **out);
/* Does it say no more than its conditions do, which are all EQUAL? */
bool predicate_is_equalities(const struct predicate *predicate);
/* A row that a long predicate looks at is as much work as many rows. Before the record is read: who
 * is polled may read in the same transaction, which ends what that lent. */
sombra_err predicate_tick(const struct predicate *predicate,
                          struct query_run *run) SOMBRA_MUST_CHECK;
/* `record` may be NULL if none is needed; it is not moved. Polls nobody. */
sombra_err predicate_holds(const struct predicate *predicate, struct query_run *run,
                           const struct row *row, bool is_node, const sombra_record *record,
                           bool *out_holds) SOMBRA_MUST_CHECK;
/* Reads the record of a node or edge row if it is needed, and asks. A node or edge that is gone
 * holds nothing. */
sombra_err predicate_test(const struct predicate *predicate, struct query_run *run,
                          const struct row *row, bool is_node, bool *out_holds) SOMBRA_MUST_CHECK;
/* The same of a node of a batch. */
sombra_err predicate_test_node(const struct predicate *predicate, struct query_run *run,
                               struct row_records *records, const struct row *row,
                               bool *out_holds) SOMBRA_MUST_CHECK;
/* For a record row: its map. */
sombra_err predicate_holds_map(const struct predicate *predicate, struct query_run *run,
                               sombra_slice map, bool *out_holds) SOMBRA_MUST_CHECK;

/* ---- edge filters: what every walk over edges takes (walk.c) --------------------------------- */

/* The options types, direction, where, nodes of docs/query.md. */
struct walk {
    sombra_direction direction;
    bool has_types;  /* with none: all types that exist are excluded */
    uint32_t *types; /* ids, ascending */
    size_t type_count;
    struct predicate *where; /* on edges; NULL = all */
    struct predicate *nodes; /* on nodes reached; NULL = all */
};
/* Reads them out of an options map; members of other names are left to the caller. `*out_walk` is
 * released by walk_release. */
sombra_err walk_parse(struct graph_txn *txn, const sombra_value *options,
                      sombra_direction direction, struct walk *out_walk) SOMBRA_MUST_CHECK;
void walk_release(struct walk *walk);

/* ---- operators ------------------------------------------------------------------------------ */

struct operator;
struct operator_ops {
    const char *name; /* for explain: "index_scan", "expand", ... */
    /* Fills the batch; count 0 = no more, for ever. */
    sombra_err (*next)(struct operator* op, struct row_batch *out);
    /* All rows, without making them; asked only before the first was read. NULL where only walking
     * tells. */
    sombra_err (*count)(struct operator* op, uint64_t *out_count);
    /* Starts again (the body of repeat, optional, union); the input was reset before. NULL for
     * sources, which are never in a body. */
    sombra_err (*reset)(struct operator* op);
    void (*free)(struct operator* op); /* itself, not its inputs */
    /* When the query is closed: lets go of all that is not the plan's, and stands as it was made,
     * for another transaction. What its step says is looked up where it lies, or again. NULL: it
     * ends with its query. */
    void (*rewind)(struct operator* op);
    /* Sets detail and estimate, for explain; those of its inputs are set. NULL where they are set
     * when it is made, or there is nothing to say. */
    sombra_err (*describe)(struct operator* op);
};

enum { OPERATOR_INPUTS_MAX = 2 };

/* The head of every operator. */
struct operator
{
    const struct operator_ops *ops;
    struct query_run *run;
    sombra_row_kind kind; /* of the rows it gives */
    struct operator* inputs[OPERATOR_INPUTS_MAX];
    size_t input_count;
    struct operator** bodies; /* chains of its own, for explain */
    size_t body_count;
    struct operator* made_before; /* all operators of the query, for freeing */
    double estimate;              /* rows, by the planner */
    char detail[160];             /* for explain: what it does here */
    bool is_started;
    /* profile; of time and pages with its inputs' */
    uint64_t rows, time_ns, pages;
};

/* Calls next and keeps the profile. */
sombra_err operator_next(struct operator* op, struct row_batch *out) SOMBRA_MUST_CHECK;

/* Sources that other files of the folder implement; `options` is the step's second element. The
 * encoded steps outlive the operator. */
sombra_err paths_new(struct query_run *run, const sombra_value *options,
                     struct operator** out) SOMBRA_MUST_CHECK; /* paths.c */
sombra_err cycles_new(struct query_run *run, const sombra_value *options,
                      struct operator** out) SOMBRA_MUST_CHECK; /* order_cycles.c */
sombra_err topological_new(struct query_run *run, const sombra_value *options,
                           struct operator** out) SOMBRA_MUST_CHECK; /* order_topological.c */
sombra_err subgraph_new(struct query_run *run, const sombra_value *options,
                        struct operator** out) SOMBRA_MUST_CHECK; /* subgraph.c */
sombra_err statistics_new(struct query_run *run, const sombra_value *options,
                          struct operator** out) SOMBRA_MUST_CHECK; /* statistics.c */
sombra_err match_new(struct query_run *run, const sombra_value *pattern,
                     struct operator** out) SOMBRA_MUST_CHECK; /* match.c */

/* A set of ids, dense or sparse: bitmap over what was seen, hashed beyond (id_set.c). */
struct id_set;
sombra_err id_set_new(struct query_run *run, struct id_set **out_set) SOMBRA_MUST_CHECK;
void id_set_free(struct id_set *set);
sombra_err id_set_add(struct id_set *set, uint64_t id, bool *out_added) SOMBRA_MUST_CHECK;
bool id_set_has(const struct id_set *set, uint64_t id);

#endif
