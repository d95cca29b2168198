/* SPDX-License-Identifier: MIT */
/* query: step lists over one graph transaction. This is the folder's only header for others; the
 * rules are those of sombra/query.h.
 *
 * Threads: as the transaction.
 * Ownership: who opens closes, before the transaction ends. A closed query may be opened again,
 * with the memory it has; who is done with it releases it. The encoded steps are copied.
 */
#ifndef QUERY_H
#define QUERY_H

#include "graph/graph.h"
#include "sombra/query.h"

struct query;

/* What a query has of the world outside; it outlives the query. */
struct query_environment {
    uint64_t (*now_ns)(void); /* monotonic: this folder knows no system */
    _Atomic uint32_t
        *is_cancelled; /* not 0: the next step of work gives CANCELLED. By any thread */
};

/* Encoded: one by one, or all of them as one list. */
struct query_steps {
    const sombra_slice *items; /* NULL: `whole` */
    size_t count;
    sombra_slice whole;
};

sombra_err query_new(struct query **out_query) SOMBRA_MUST_CHECK; /* closed */
/* `options` is complete. After a failure it is closed. */
sombra_err query_open_steps(struct query *query, struct graph_txn *txn,
                            const struct query_steps *steps, const sombra_query_options *options,
                            const struct query_environment *environment) SOMBRA_MUST_CHECK;
static inline sombra_err query_open(struct query *query, struct graph_txn *txn, sombra_slice steps,
                                    const sombra_query_options *options,
                                    const struct query_environment *environment)
{
    const struct query_steps whole = { .whole = steps };
    return query_open_steps(query, txn, &whole, options, environment);
}
sombra_row_kind query_kind(const struct query *query);
sombra_err query_next(struct query *query, const sombra_row **out_rows,
                      size_t *out_count) SOMBRA_MUST_CHECK;
sombra_err query_count(struct query *query, uint64_t *out_count) SOMBRA_MUST_CHECK;
sombra_err query_explain(struct query *query, sombra_slice *out_plan) SOMBRA_MUST_CHECK;
sombra_err query_position(struct query *query, sombra_slice *out_position) SOMBRA_MUST_CHECK;
void query_close(struct query *query);   /* of a closed one it does nothing */
void query_release(struct query *query); /* a closed one, or NULL */

#endif
