/* SPDX-License-Identifier: MIT */
/* Positions: where a page ended, as a list of the order's fingerprint, the row's id, how many rows
 * stood at its place before it, and its keys.
 */
#include "plan_internal.h"

enum { POSITION_HEAD = 3 };

/* Of what the rows are sorted by: a position of another order means nothing. */
static int64_t fingerprint(const struct step *order)
{
    uint64_t hash = 1;
    for (size_t i = 0; order && i < order->as.columns.count; i++) {
        const struct column *key = &order->as.columns.items[i];
        hash = hash_bytes(key->name.data, key->name.bytes, hash + key->descending);
        hash += key->kind;
    }
    return (int64_t)(hash >> 16);
}

static sombra_err not_a_position(void)
{
    return diag_fail(SOMBRA_INVALID, "that is no position of a query with this order");
}

sombra_err position_read(struct query_run *run, sombra_slice encoded, const struct step *order,
                         struct position *out_position)
{
    sombra_value list, head[POSITION_HEAD];
    sombra_value_cursor cursor;
    bool found = false;
    const size_t key_count = order ? order->as.columns.count : 0;
    if (sombra_value_validate(encoded) || sombra_value_decode(encoded, &list) ||
        list.kind != SOMBRA_LIST || list.count != POSITION_HEAD + key_count)
        return not_a_position();
    sombra_value_enter(&list, &cursor);
    for (size_t i = 0; i < POSITION_HEAD; i++) {
        if (sombra_value_next(&cursor, NULL, &head[i], &found) || head[i].kind != SOMBRA_INTEGER)
            return not_a_position();
    }
    if (head[0].as.integer != fingerprint(order) || head[1].as.integer < 0 ||
        head[2].as.integer < 0 || head[2].as.integer >= UINT32_MAX)
        return not_a_position();
    struct position position = { .id = (uint64_t)head[1].as.integer,
                                 .ordinal = (uint32_t)head[2].as.integer,
                                 .key_count = key_count };
    position.keys = arena_alloc(&run->arena, key_count * sizeof *position.keys);
    position.encoded = arena_alloc(&run->arena, key_count * sizeof *position.encoded);
    if (!position.keys || !position.encoded)
        return diag_nomem("a position", key_count * sizeof *position.keys);
    for (size_t i = 0; i < key_count; i++) {
        if (value_next_encoded(&cursor, NULL, &position.encoded[i], &found) ||
            sombra_value_decode(position.encoded[i], &position.keys[i]))
            return not_a_position();
    }
    *out_position = position;
    return SOMBRA_OK;
}

static sombra_err push_keys(struct query_run *run, sombra_value_builder *builder,
                            const struct row *row, const struct step *order)
{
    struct columns columns = { .count = 0 };
    const size_t count = order->as.columns.count;
    sombra_slice *values = mem_alloc(count * sizeof *values);
    if (!values)
        return diag_nomem("a position", count * sizeof *values);
    sombra_err err = columns_init(&columns, run, order->from, order->as.columns.items, count);
    if (!err)
        err = columns_read(&columns, row, values);
    for (size_t i = 0; !err && i < count; i++)
        err = values[i].bytes ? sombra_value_push_encoded(builder, values[i])
                              : sombra_value_push_null(builder);
    columns_release(&columns);
    mem_free(values);
    return err;
}

sombra_err position_write(struct query_run *run, sombra_value_builder *builder,
                          const struct row *row, const struct step *order,
                          sombra_slice *out_encoded)
{
    sombra_err err = SOMBRA_OK;
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_list(builder);
    (void)sombra_value_push_integer(builder, fingerprint(order));
    (void)sombra_value_push_integer(builder, (int64_t)row->id);
    (void)sombra_value_push_integer(builder, row->ordinal);
    if (order)
        err = push_keys(run, builder, row, order);
    (void)sombra_value_end_list(builder);
    return err ? err : sombra_value_finish(builder, out_encoded); /* failures of pushes stick */
}
