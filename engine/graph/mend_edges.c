/* SPDX-License-Identifier: MIT */
/* Mending edges. Each of the three places where an edge stands tells its ends, so that one of them
 * is enough to put the others again; its properties stand in one only. Edges of older formats move
 * into blocks: all of them, so that the order of ids stays that of the places. */
#include "edge_block.h"
#include "mend_internal.h"

/* ---- ends by id, as they will be --------------------------------------------------------- */

static sombra_err block_load(struct mend *mend, uint64_t number, struct edge_block *out_block)
{
    struct graph_key key = key_1(TAG_EDGE_BLOCK, number);
    sombra_slice value;
    out_block->number = number;
    out_block->present = 0;
    sombra_err err = mend_get(mend, key_slice(&key), &value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    return err ? err : edge_block_read(value, out_block);
}

static sombra_err block_save(struct mend *mend, const struct edge_block *block)
{
    struct graph_key key = key_1(TAG_EDGE_BLOCK, block->number);
    uint8_t value[EDGE_BLOCK_BYTES_MAX];
    if (block->present)
        return mend_put(mend, key_slice(&key), slice_of(value, edge_block_write(block, value)));
    return mend_delete(mend, key_slice(&key));
}

static sombra_err ends_put(struct mend *mend, const struct graph_edge *edge)
{
    struct edge_block block;
    sombra_err err = block_load(mend, edge_block_of(edge->id), &block);
    if (err)
        return err;
    edge_block_set(&block, edge_slot_of(edge->id), edge);
    return block_save(mend, &block);
}

/* CORRUPT if the edge has other ends there. */
static sombra_err ends_compare(struct mend *mend, const struct graph_edge *edge, bool *out_exists)
{
    struct graph_key key = key_1(TAG_EDGE_BLOCK, edge_block_of(edge->id));
    unsigned slot = edge_slot_of(edge->id);
    struct graph_edge stored;
    struct edge_block_view view;
    sombra_slice value;
    *out_exists = false;
    sombra_err err = mend_get(mend, key_slice(&key), &value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err)
        err = edge_block_open(value, &view);
    if (err || !(view.present >> slot & 1))
        return err;
    err = edge_block_get(&view, slot, &stored);
    if (err)
        return err;
    if (stored.src != edge->src || stored.dst != edge->dst || stored.type != edge->type)
        return diag_fail(SOMBRA_CORRUPT, "edge %" PRIu64 " has other ends elsewhere", edge->id);
    *out_exists = true;
    return SOMBRA_OK;
}

/* ---- one edge ---------------------------------------------------------------------------- */

/* CORRUPT if one of them is lost. */
static sombra_err check_ends(struct mend *mend, const struct graph_edge *edge)
{
    bool has_src = false, has_dst = false;
    sombra_err err = mend_has(mend, key_1(TAG_NODE, edge->src), &has_src);
    if (!err)
        err = mend_has(mend, key_1(TAG_NODE, edge->dst), &has_dst);
    if (!err && !(has_src && has_dst))
        err = diag_fail(SOMBRA_CORRUPT, "edge %" PRIu64 " is lost with its %s, node %" PRIu64,
                        edge->id, has_src ? "target" : "source", has_src ? edge->dst : edge->src);
    return err ? err : mend_use_name(mend, SOMBRA_NAME_TYPE, edge->type);
}

/* Takes out what else there is of an edge that is given up. */
static sombra_err drop_rest(struct mend *mend, const struct graph_edge *edge, sombra_err why)
{
    struct graph_key out = key_out(edge), in = key_in(edge);
    bool was_there;
    char text[DIAG_TEXT_BYTES];
    if (why != SOMBRA_CORRUPT)
        return why;
    diag_save(text);
    sombra_err err = mend_drop(mend, key_slice(&in), &was_there);
    if (!err)
        err = mend_drop(mend, key_slice(&out), &was_there);
    diag_restore(text);
    return err ? err : why;
}

/* An edge whose properties are lost is kept, for its ends say the most. */
static sombra_err put_bare(struct mend *mend, const struct graph_edge *edge)
{
    struct graph_key key = key_out(edge);
    sombra_err err = mend_put(mend, key_slice(&key), slice_of(NULL, 0));
    if (err)
        return err;
    mend->report->bare_edges++;
    sombra_err told =
        diag_fail(SOMBRA_CORRUPT, "edge %" PRIu64 " is there, its properties are lost", edge->id);
    mend_tell(mend, told);
    return SOMBRA_OK;
}

/* An edge that is known by its id. */
static sombra_err mend_by_id(struct mend *mend, const struct graph_edge *edge)
{
    bool has_out = false;
    sombra_err err = drop_rest(mend, edge, check_ends(mend, edge));
    if (!err)
        err = mend_has(mend, key_out(edge), &has_out);
    if (!err && !has_out)
        err = put_bare(mend, edge);
    struct graph_key in = key_in(edge);
    return err ? err : mend_rebuild(mend, key_slice(&in), slice_of(NULL, 0));
}

/* ---- the places, one after the other ----------------------------------------------------- */

/* Edges that are given up leave the block; one that is not well formed goes as a whole, and its
 * edges are found again by their adjacency. */
static sombra_err mend_block(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    struct edge_block block = { 0 };
    struct edge_block_view view;
    sombra_err err = key_fields_read(key, 1, &f);
    if (!err && f.at[0] > INT64_MAX / EDGE_BLOCK_EDGES)
        err = corrupt_key(key, "the number of a block of edges");
    if (!err)
        err = edge_block_open(value, &view);
    if (err)
        return err;
    block.number = f.at[0];
    for (unsigned slot = 0; slot < view.count; slot++) {
        struct graph_edge edge = { .id = edge_id_at(f.at[0], slot) };
        if (!(view.present >> slot & 1))
            continue;
        err = edge_block_get(&view, slot, &edge);
        if (!err)
            err = mend_by_id(mend, &edge);
        if (err && err != SOMBRA_CORRUPT)
            return err;
        if (!err) {
            edge_block_set(&block, slot, &edge);
        } else {
            mend_tell(mend, err);
            mend->report->dropped++;
        }
    }
    return block.present == view.present ? SOMBRA_OK : block_save(mend, &block);
}

static sombra_err mend_older(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    struct graph_edge edge = { 0 };
    bool exists = false;
    sombra_err err = key_fields_read(key, 1, &f);
    if (err)
        return err;
    edge.id = f.at[0];
    err = edge.id > INT64_MAX ? corrupt_key(key, "an edge's number") : edge_ends_read(value, &edge);
    if (!err)
        err = ends_compare(mend, &edge, &exists);
    if (!err)
        err = mend_by_id(mend, &edge);
    if (!err && !exists)
        err = ends_put(mend, &edge);
    return err ? err : mend_delete(mend, key);
}

/* The ends that an adjacency key says, and whether those by id agree: *out_exists false if there
 * are none. CORRUPT if they say otherwise. */
static sombra_err read_adjacency(struct mend *mend, sombra_slice key, struct graph_edge *out_edge,
                                 bool *out_exists)
{
    struct key_fields f;
    sombra_err err = key_fields_read(key, 4, &f);
    if (err)
        return err;
    bool is_out = *(const uint8_t *)key.data == TAG_OUT;
    struct graph_edge edge = { .id = f.at[3],
                               .src = is_out ? f.at[0] : f.at[2],
                               .dst = is_out ? f.at[2] : f.at[0] };
    if (f.at[1] > UINT32_MAX || edge.id > INT64_MAX)
        return corrupt_key(key, "the numbers of an edge");
    edge.type = (uint32_t)f.at[1];
    *out_edge = edge;
    return ends_compare(mend, &edge, out_exists);
}

/* An edge that its adjacency alone knows. */
static sombra_err put_found(struct mend *mend, const struct graph_edge *edge)
{
    sombra_err err = check_ends(mend, edge);
    if (!err)
        err = ends_put(mend, edge);
    if (!err)
        mend->report->rebuilt++;
    return err;
}

static sombra_err mend_out(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct graph_edge edge;
    sombra_record record;
    bool exists = false;
    sombra_err err = read_adjacency(mend, key, &edge, &exists);
    if (!err && !exists)
        err = put_found(mend, &edge);
    if (err)
        return err;
    err = graph_record_open(value, false, &record);
    if (!err)
        err = record_prove(&record, mend_use_property, mend);
    if (err == SOMBRA_CORRUPT)
        err = put_bare(mend, &edge);
    struct graph_key in = key_in(&edge);
    return err ? err : mend_rebuild(mend, key_slice(&in), slice_of(NULL, 0));
}

static sombra_err mend_in(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct graph_edge edge;
    bool exists = false;
    sombra_err err = read_adjacency(mend, key, &edge, &exists);
    if (!err && !exists)
        err = put_found(mend, &edge);
    if (!err && !exists)
        err = put_bare(mend, &edge);
    if (!err && value.bytes)
        err = mend_rebuild(mend, key, slice_of(NULL, 0));
    return err;
}

/* ---- counts of types --------------------------------------------------------------------- */

static sombra_err count_edge(struct mend *mend, const struct graph_edge *edge)
{
    if (edge->type >= mend->type_capacity) {
        size_t capacity = size_max(64, (size_t)edge->type * 2);
        uint64_t *grown = mem_realloc(mend->type_counts, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("edges a type", capacity * sizeof *grown);
        memset(grown + mend->type_capacity, 0, (capacity - mend->type_capacity) * sizeof *grown);
        mend->type_counts = grown;
        mend->type_capacity = capacity;
    }
    mend->type_counts[edge->type]++;
    mend->top_edge = u64_max(mend->top_edge, edge->id);
    return SOMBRA_OK;
}

static sombra_err count_block(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    struct edge_block_view view = { 0 };
    sombra_err err = key_fields_read(key, 1, &f);
    if (!err)
        err = edge_block_open(value, &view);
    for (unsigned slot = 0; !err && slot < view.count; slot++) {
        struct graph_edge edge = { .id = edge_id_at(f.at[0], slot) };
        if (!(view.present >> slot & 1))
            continue;
        err = edge_block_get(&view, slot, &edge);
        if (!err)
            err = count_edge(mend, &edge);
    }
    return err;
}

static sombra_err drop_type_count(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    (void)value;
    sombra_err err = key_fields_read(key, 1, &f);
    if (!err && f.at[0] < mend->type_capacity && mend->type_counts[f.at[0]])
        return SOMBRA_OK;
    bool was_there;
    return mend_drop(mend, key, &was_there);
}

static sombra_err type_counts_save(struct mend *mend)
{
    sombra_err err = mend_walk_tag(mend, TAG_EDGE_BLOCK, count_block);
    if (!err)
        err = mend_walk_tag(mend, TAG_TYPE_COUNT, drop_type_count);
    for (size_t type = 0; !err && type < mend->type_capacity; type++) {
        uint8_t value[VARINT_BYTES_MAX];
        struct graph_key key = key_1(TAG_TYPE_COUNT, type);
        size_t bytes = (size_t)(varint_put(value, mend->type_counts[type]) - value);
        if (mend->type_counts[type])
            err = mend_rebuild(mend, key_slice(&key), slice_of(value, bytes));
    }
    return err;
}

sombra_err mend_edges(struct mend *mend)
{
    sombra_err err = mend_walk_tag(mend, TAG_EDGE_BLOCK, mend_block);
    if (!err)
        err = mend_walk_tag(mend, TAG_EDGE, mend_older);
    if (!err)
        err = mend_walk_tag(mend, TAG_OUT, mend_out);
    if (!err)
        err = mend_walk_tag(mend, TAG_IN, mend_in);
    return err ? err : type_counts_save(mend);
}
