/* SPDX-License-Identifier: MIT */
/* query: traversals, patterns and paths, run inside the engine.
 *
 * A query is a list of steps, given as an encoded value (docs/query.md has the grammar): a source,
 * then steps that each turn a stream of rows into another. It is checked as a whole when it is
 * opened, planned against exact counts, and run in batches as its rows are asked for.
 *
 * Lifetime: rows live until the next call on the same handle. A query ends with its transaction; it
 * may run beside writes of its own transaction, and then each batch shows what was written before
 * it was read.
 * Errors: INVALID with the step's number and name for what the grammar does not allow; LIMIT when a
 * bound of the options was reached (rows delivered before stand); CANCELLED; CORRUPT, IO, NOMEM.
 * Threads: as the transaction; sombra_query_cancel alone may be called from any thread.
 */
#ifndef SOMBRA_QUERY_H
#define SOMBRA_QUERY_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sombra_query sombra_query;

/* Numbers are part of the ABI: append only. All rows of a query are of one kind. */
typedef enum sombra_row_kind {
    SOMBRA_ROW_NODE = 1,
    SOMBRA_ROW_EDGE = 2,
    SOMBRA_ROW_PATH = 3,   /* value: list of node, edge, node ... node ids */
    SOMBRA_ROW_RECORD = 4, /* value: map */
} sombra_row_kind;

typedef struct sombra_row {
    sombra_row_kind kind;
    uint32_t depth;     /* edges walked since the source */
    uint64_t id;        /* node, edge; of a path its last node; else 0 */
    double cost;        /* of a weighted path; else 0 */
    sombra_slice value; /* path and record: encoded; else empty */
} sombra_row;

/* A filter step's function: *out_keep. An error ends the query with it. */
typedef sombra_err (*sombra_filter_fn)(void *context, uint32_t number, const sombra_row *row,
                                       bool *out_keep);
/* A weight's or heuristic's function (docs/query.md): a cost >= 0, or an error. For a weight `id`
 * is an edge, for a heuristic a node. */
typedef sombra_err (*sombra_cost_fn)(void *context, uint32_t number, uint64_t id, double *out_cost);

/* Called every few hundred steps of work: an error ends the query with it. For what interrupts the
 * program around it. */
typedef sombra_err (*sombra_poll_fn)(void *context);

/* Asked before a query takes `bytes` more than it ever had at a time: an error ends the query with
 * it. It has all that it was given until it is closed, of which nobody is told. */
typedef sombra_err (*sombra_memory_fn)(void *context, size_t bytes);

typedef struct sombra_query_options {
    size_t struct_bytes;
    uint64_t rows_max;       /* delivered; 0 = none */
    size_t memory_max;       /* bytes of this query's own; 0 = 256 MiB */
    uint64_t time_max_ms;    /* from open on, while it runs; 0 = none */
    bool profiles;           /* counts rows, pages and time of each operator */
    sombra_filter_fn filter; /* for steps that need them */
    sombra_cost_fn cost;
    sombra_poll_fn poll;     /* may be NULL */
    void *context;           /* given to all of them; they must not use this query */
    sombra_memory_fn memory; /* may be NULL */
} sombra_query_options;

#define SOMBRA_QUERY_OPTIONS_INIT                    \
    {                                                \
        .struct_bytes = sizeof(sombra_query_options) \
    }

/* `options` may be NULL. Freed by sombra_query_close. */
SOMBRA_API sombra_err sombra_query_open(sombra_txn *txn, sombra_slice steps,
                                        const sombra_query_options *options,
                                        sombra_query **out_query) SOMBRA_MUST_CHECK;
/* The same of steps that were encoded one by one: a program that keeps the parts of its queries
 * need not put them into one value. The steps are copied. */
SOMBRA_API sombra_err sombra_query_open_steps(sombra_txn *txn, const sombra_slice *steps,
                                              size_t step_count,
                                              const sombra_query_options *options,
                                              sombra_query **out_query) SOMBRA_MUST_CHECK;
SOMBRA_API sombra_row_kind sombra_query_kind(const sombra_query *query);
/* The next few rows; *out_count 0 = no more. */
SOMBRA_API sombra_err sombra_query_next(sombra_query *query, const sombra_row **out_rows,
                                        size_t *out_count) SOMBRA_MUST_CHECK;
/* The number of rows left, without delivering them: what can be counted is not walked. */
SOMBRA_API sombra_err sombra_query_count(sombra_query *query,
                                         uint64_t *out_count) SOMBRA_MUST_CHECK;
/* The plan as a tree: an encoded map {operator, detail, estimate, rows, pages, time_us, inputs =
 * list of such}; rows, pages and time only with `profiles`, for what has run so far. Lives until
 * the next call. */
SOMBRA_API sombra_err sombra_query_explain(sombra_query *query,
                                           sombra_slice *out_plan) SOMBRA_MUST_CHECK;
/* Where the rows delivered so far end, as bytes for the step {"after", bytes} of the same query in
 * a later transaction (docs/query.md: pages). Lives until the next call. */
SOMBRA_API sombra_err sombra_query_position(sombra_query *query,
                                            sombra_slice *out_position) SOMBRA_MUST_CHECK;
/* The query's next step of work gives CANCELLED. */
SOMBRA_API void sombra_query_cancel(sombra_query *query);
SOMBRA_API void sombra_query_close(sombra_query *query); /* NULL is a no-op */

#ifdef __cplusplus
}
#endif

#endif
