/* SPDX-License-Identifier: MIT */
/* Records of the nodes of a batch, read many at a time. */
#include "query_internal.h"

static sombra_err read_one(struct query_run *run, uint64_t node, sombra_record *out_record,
                           bool *out_exists)
{
    sombra_err err = graph_node_get(run->txn, node, out_record);
    *out_exists = !err;
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

/* From the row `first` of the batch on. */
static sombra_err read_from(struct row_records *records, struct query_run *run, size_t first)
{
    sombra_node_id nodes[GRAPH_RECORDS];
    size_t count = size_min(records->row_count - first, GRAPH_RECORDS);
    records->count = 0;
    for (size_t i = 0; i < count; i++)
        nodes[i] = records->rows[first + i].id;
    sombra_err err = graph_node_records(run->txn, nodes, count, &records->bytes, records->at);
    if (err)
        return err;
    records->first = first;
    records->count = count;
    return SOMBRA_OK;
}

sombra_err row_records_get(struct row_records *records, struct query_run *run,
                           const struct row *row, sombra_record *out_record, bool *out_exists)
{
    size_t at = ((uintptr_t)row - (uintptr_t)records->rows) / sizeof *row;
    if (at >= records->row_count || (at + 1 == records->row_count && records->count == 0))
        return read_one(run, row->id, out_record, out_exists);
    if (at - records->first >= records->count) {
        sombra_err err = read_from(records, run, at);
        if (err)
            return err;
    }
    sombra_slice bytes = records->at[at - records->first];
    if (UNLIKELY(!bytes.data && bytes.bytes)) /* too many bytes before it */
        return read_one(run, row->id, out_record, out_exists);
    *out_exists = bytes.data != NULL;
    if (!bytes.data)
        return SOMBRA_OK;
    return diag_wrap(graph_record_open(bytes, true, out_record), "node %" PRIu64, row->id);
}
