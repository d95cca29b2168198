/* SPDX-License-Identifier: MIT */
/* The ends of edges by id: in blocks of 64. A writer keeps the block that it changes in memory
 * until it needs another one, or the store must be complete: edges that are made one by one come to
 * one write for many.
 *
 * Formats 1 to 3 had an entry for each edge. Those entries stay: their ids are below all in blocks.
 */
#include "edge_block.h"

/* ---- entries of formats 1 to 3 ----------------------------------------------------------- */

static const unsigned type_bits[] = { 0, 3, 6, 16 };

/* Of 1 to 8 bytes and the one that says what they are; src 0 = they are damaged. */
static struct graph_edge unpack_ends(const uint8_t *at, size_t bytes)
{
    unsigned head = at[bytes - 1], source = (head & (ENDS_SOURCE_BITS_MAX - 1)) + 1;
    unsigned low = source + type_bits[head >> ENDS_TYPE_SHIFT & 3];
    uint64_t number = 0;
    for (size_t i = 0; i < bytes - 1; i++)
        number |= (uint64_t)at[i] << (8 * i);
    uint64_t lowest = number & ((UINT64_C(1) << low) - 1);
    return (struct graph_edge){ .src = lowest & ((UINT64_C(1) << source) - 1),
                                .type = (uint32_t)(lowest >> source) + 1,
                                .dst = number >> low };
}

sombra_err edge_ends_read(sombra_slice value, struct graph_edge *out_edge)
{
    const uint8_t *at = value.data, *end = at + value.bytes;
    uint64_t src = 0, type = 0, dst = 0;
    if (value.bytes > 1 && value.bytes <= 9 && end[-1] >= ENDS_PACKED) {
        struct graph_edge ends = unpack_ends(at, value.bytes);
        src = ends.src;
        type = ends.type;
        dst = ends.dst;
    } else {
        at = at ? varint_get(at, end, &src) : NULL;
        at = at ? varint_get(at, end, &type) : NULL;
        at = at ? varint_get(at, end, &dst) : NULL;
        if (at != end)
            at = NULL;
    }
    if (!at || src == 0 || dst == 0 || type == 0 || type > UINT32_MAX)
        return diag_fail(SOMBRA_CORRUPT, "the entry of an edge is not (source, type, target)");
    out_edge->src = src;
    out_edge->type = (uint32_t)type;
    out_edge->dst = dst;
    return SOMBRA_OK;
}

static sombra_err older_get(struct graph_txn *txn, sombra_edge_id edge, struct graph_edge *out_edge)
{
    struct graph_key key = key_1(TAG_EDGE, edge);
    sombra_slice value;
    sombra_err err = kv_get(txn->kv, key_slice(&key), &value);
    return err ? err : edge_ends_read(value, out_edge);
}

/* ---- the block of a writer --------------------------------------------------------------- */

static bool holds(const struct graph_txn *txn, uint64_t number)
{
    return txn->block && txn->block->number == number;
}

sombra_err edge_ends_flush(struct graph_txn *txn)
{
    struct edge_block *block = txn->block;
    if (!block || !block->is_dirty)
        return SOMBRA_OK;
    struct graph_key key = key_1(TAG_EDGE_BLOCK, block->number);
    uint8_t value[EDGE_BLOCK_BYTES_MAX];
    sombra_err err = SOMBRA_OK;
    if (block->present)
        err = kv_put(txn->kv, key_slice(&key), slice_of(value, edge_block_write(block, value)));
    else
        err = kv_delete(txn->kv, key_slice(&key));
    if (err == SOMBRA_NOT_FOUND) /* its edges were made and deleted since */
        err = SOMBRA_OK;
    txn->writes++;
    if (!err)
        block->is_dirty = false;
    return diag_wrap(err, "edges %" PRIu64 " to %" PRIu64, edge_id_at(block->number, 0),
                     edge_id_at(block->number, EDGE_BLOCK_EDGES - 1));
}

void edge_ends_forget(struct graph_txn *txn)
{
    if (txn->block)
        txn->block->number = txn->block->is_dirty = 0;
}

/* Makes the block the one that is kept. */
static sombra_err block_take(struct graph_txn *txn, uint64_t number)
{
    struct graph_key key = key_1(TAG_EDGE_BLOCK, number);
    sombra_slice value;
    if (holds(txn, number))
        return SOMBRA_OK;
    if (!txn->block) {
        txn->block = mem_zalloc(sizeof *txn->block);
        if (!txn->block)
            return diag_nomem("a block of edges", sizeof *txn->block);
    }
    sombra_err err = edge_ends_flush(txn);
    if (err)
        return err;
    edge_ends_forget(txn);
    txn->block->present = 0;
    err = kv_get(txn->kv, key_slice(&key), &value);
    if (!err)
        err = edge_block_read(value, txn->block);
    else if (err == SOMBRA_NOT_FOUND)
        err = SOMBRA_OK;
    if (!err)
        txn->block->number = number;
    return err;
}

/* ---- what the others call ---------------------------------------------------------------- */

sombra_err graph_edge_ends(struct graph_txn *txn, sombra_edge_id edge, struct graph_edge *out_edge)
{
    uint64_t number = edge ? edge_block_of(edge) : 0;
    unsigned slot = edge_slot_of(edge);
    struct graph_edge found = { .id = edge };
    struct graph_key key = key_1(TAG_EDGE_BLOCK, number);
    struct edge_block_view view = { 0 };
    sombra_slice value;
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    if (edge == 0)
        return SOMBRA_NOT_FOUND;
    if (holds(txn, number)) {
        const struct edge_block *block = txn->block;
        if (block->present >> slot & 1) {
            *out_edge =
                (struct graph_edge){ edge, block->ends[EDGE_SRC][slot], block->ends[EDGE_DST][slot],
                                     (uint32_t)block->ends[EDGE_TYPE][slot] };
            return SOMBRA_OK;
        }
    } else {
        err = kv_get(txn->kv, key_slice(&key), &value);
        if (!err)
            err = edge_block_open(value, &view);
        if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK;
    }
    if (!err && view.present >> slot & 1)
        err = edge_block_get(&view, slot, &found);
    else if (!err)
        err = older_get(txn, edge, &found);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_NOT_FOUND;
    if (err)
        return diag_wrap(err, "edge %" PRIu64, edge);
    *out_edge = found;
    return SOMBRA_OK;
}

sombra_err edge_ends_add(struct graph_txn *txn, const struct graph_edge *edge)
{
    sombra_err err = block_take(txn, edge_block_of(edge->id));
    if (err)
        return err;
    edge_block_set(txn->block, edge_slot_of(edge->id), edge);
    txn->block->is_dirty = true;
    return SOMBRA_OK;
}

sombra_err edge_ends_delete(struct graph_txn *txn, sombra_edge_id edge)
{
    sombra_err err = block_take(txn, edge_block_of(edge));
    uint64_t bit = UINT64_C(1) << edge_slot_of(edge);
    if (!err && txn->block->present & bit) {
        txn->block->present &= ~bit;
        txn->block->is_dirty = true;
        return SOMBRA_OK;
    }
    struct graph_key key = key_1(TAG_EDGE, edge);
    return err ? err : kv_delete(txn->kv, key_slice(&key));
}

sombra_err edge_ends_run(struct graph_txn *txn, struct put_run *run, edge_at at,
                         const void *context, struct edge_range range)
{
    sombra_err err = SOMBRA_OK;
    sombra_edge_id end = range.first + range.count;
    for (sombra_edge_id id = range.first; !err && id < end;) {
        struct edge_block block = { .number = edge_block_of(id) };
        unsigned slot = edge_slot_of(id);
        if (slot > 0 || end - id < EDGE_BLOCK_EDGES) { /* a part: the rest may come, or be there */
            struct graph_edge edge = at(context, id++ - range.first);
            err = edge_ends_add(txn, &edge);
            continue;
        }
        for (; slot < EDGE_BLOCK_EDGES; slot++, id++) {
            struct graph_edge edge = at(context, id - range.first);
            edge_block_set(&block, slot, &edge);
        }
        struct graph_key key = key_1(TAG_EDGE_BLOCK, block.number);
        uint8_t value[EDGE_BLOCK_BYTES_MAX];
        err = put_run_add(run, key_slice(&key), slice_of(value, edge_block_write(&block, value)),
                          true);
    }
    return err;
}
