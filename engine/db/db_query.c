/* SPDX-License-Identifier: MIT */
/* sombra/query.h: each call checks the handle and hands on to query/. */
#include "db_internal.h"
static uint64_t now_ns(void)
{
    return os_monotonic_ns(os_posix());
}

static sombra_err open_query(sombra_txn *txn, const struct query_steps *steps,
                             const sombra_query_options *given, sombra_query **out_query)
{
    sombra_query_options options;
    void *child;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &options, sizeof options);
    if (!err)
        err = child_new(txn, CHILD_QUERY, &child);
    if (err)
        return err;
    sombra_query *query = child;
    atomic_store(&query->is_cancelled, 0);
    const struct query_environment environment = { now_ns, &query->is_cancelled };
    err = query->query ? SOMBRA_OK : query_new(&query->query);
    if (!err)
        err = query_open_steps(query->query, &txn->graph, steps, &options, &environment);
    if (err) {
        child_close(&query->child);
        return err;
    }
    query->kind = query_kind(query->query);
    *out_query = query;
    return SOMBRA_OK;
}

sombra_err sombra_query_open(sombra_txn *txn, sombra_slice steps,
                             const sombra_query_options *options, sombra_query **out_query)
{
    const struct query_steps whole = { .whole = steps };
    return open_query(txn, &whole, options, out_query);
}

sombra_err sombra_query_open_steps(sombra_txn *txn, const sombra_slice *steps, size_t step_count,
                                   const sombra_query_options *options, sombra_query **out_query)
{
    const struct query_steps each = { .items = steps, .count = step_count };
    return open_query(txn, &each, options, out_query);
}

sombra_row_kind sombra_query_kind(const sombra_query *query)
{
    return query->kind;
}

sombra_err sombra_query_next(sombra_query *query, const sombra_row **out_rows, size_t *out_count)
{
    sombra_err err = txn_live(query->child.txn);
    return err ? err : query_next(query->query, out_rows, out_count);
}

sombra_err sombra_query_count(sombra_query *query, uint64_t *out_count)
{
    sombra_err err = txn_live(query->child.txn);
    return err ? err : query_count(query->query, out_count);
}

sombra_err sombra_query_explain(sombra_query *query, sombra_slice *out_plan)
{
    sombra_err err = txn_live(query->child.txn);
    return err ? err : query_explain(query->query, out_plan);
}

sombra_err sombra_query_position(sombra_query *query, sombra_slice *out_position)
{
    sombra_err err = txn_live(query->child.txn);
    return err ? err : query_position(query->query, out_position);
}

/* The flag is the handle's own: it is there until the handle is closed, whatever becomes of the
 * transaction meanwhile. */
void sombra_query_cancel(sombra_query *query)
{
    atomic_store_explicit(&query->is_cancelled, 1, memory_order_relaxed);
}

void sombra_query_close(sombra_query *query)
{
    if (query)
        child_close(&query->child);
}
