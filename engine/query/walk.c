/* SPDX-License-Identifier: MIT */
/* The options that every walk over edges takes. */
#include "query_internal.h"

#include <stdlib.h>

static sombra_err bad_option(const char *name, const char *want, const sombra_value *have)
{
    return diag_fail(SOMBRA_INVALID, "option \"%s\" is a %s; give %s", name,
                     sombra_kind_name(have->kind), want);
}

static sombra_err parse_direction(const sombra_value *value, sombra_direction *out_direction)
{
    static const struct {
        const char *name;
        sombra_direction direction;
    } names[] = { { "out", SOMBRA_OUT }, { "into", SOMBRA_IN }, { "both", SOMBRA_BOTH } };
    const char *want = "\"out\", \"into\" or \"both\"";
    if (value->kind != SOMBRA_STRING)
        return bad_option("direction", want, value);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (slice_equal(value->as.string, slice_str(names[i].name))) {
            *out_direction = names[i].direction;
            return SOMBRA_OK;
        }
    }
    return diag_fail(SOMBRA_INVALID, "option \"direction\" is \"%.*s\"; give %s",
                     (int)size_min(value->as.string.bytes, 40), (const char *)value->as.string.data,
                     want);
}

static int type_order(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static sombra_err add_type(struct graph_txn *txn, const sombra_value *name, struct walk *walk)
{
    uint32_t type = 0;
    if (name->kind != SOMBRA_STRING)
        return diag_fail(SOMBRA_INVALID, "option \"types\" holds a %s; give names of types",
                         sombra_kind_name(name->kind));
    sombra_err err = graph_name_find(txn, SOMBRA_NAME_TYPE, name->as.string, &type);
    if (!err && type)
        walk->types[walk->type_count++] = type;
    return diag_wrap(err, "option \"types\"");
}

/* A list of names, or one. Names of no type are left out: they have no edges. */
static sombra_err parse_types(struct graph_txn *txn, const sombra_value *value, struct walk *walk)
{
    bool is_empty_map = value->kind == SOMBRA_MAP && value->count == 0; /* Lua's {} */
    if (value->kind != SOMBRA_LIST && value->kind != SOMBRA_STRING && !is_empty_map)
        return bad_option("types", "a list of names of types", value);
    assert(!walk->types);
    size_t bytes = size_max(value->count, 1) * sizeof *walk->types;
    walk->has_types = true;
    walk->types = mem_alloc(bytes);
    if (!walk->types)
        return diag_nomem("types of edges", bytes);
    if (value->kind == SOMBRA_STRING)
        return add_type(txn, value, walk);
    sombra_value_cursor cursor;
    sombra_value_enter(value, &cursor);
    for (;;) {
        sombra_value name;
        bool found = false;
        sombra_err err = sombra_value_next(&cursor, NULL, &name, &found);
        if (err)
            return err;
        if (!found)
            break;
        err = add_type(txn, &name, walk);
        if (err)
            return err;
    }
    size_t kept = 0;
    qsort(walk->types, walk->type_count, sizeof *walk->types, type_order);
    for (size_t i = 0; i < walk->type_count; i++) {
        if (kept == 0 || walk->types[kept - 1] != walk->types[i])
            walk->types[kept++] = walk->types[i];
    }
    walk->type_count = kept;
    return SOMBRA_OK;
}

static sombra_err parse_member(struct graph_txn *txn, sombra_slice key, sombra_slice encoded,
                               struct walk *walk)
{
    sombra_value value;
    sombra_err err = sombra_value_decode(encoded, &value);
    if (err)
        return err;
    if (slice_equal(key, slice_str("direction")))
        return parse_direction(&value, &walk->direction);
    if (slice_equal(key, slice_str("types")))
        return parse_types(txn, &value, walk);
    if (slice_equal(key, slice_str("where")))
        return diag_wrap(predicate_new(txn, encoded, &walk->where), "option \"where\"");
    if (slice_equal(key, slice_str("nodes")))
        return diag_wrap(predicate_new(txn, encoded, &walk->nodes), "option \"nodes\"");
    return SOMBRA_OK;
}

sombra_err walk_parse(struct graph_txn *txn, const sombra_value *options,
                      sombra_direction direction, struct walk *out_walk)
{
    struct walk walk = { .direction = direction };
    sombra_value_cursor cursor;
    sombra_err err = SOMBRA_OK;
    bool is_empty_list = options->kind == SOMBRA_LIST && options->count == 0; /* Lua's {} */
    assert(direction >= SOMBRA_OUT && direction <= SOMBRA_BOTH);
    if (options->kind != SOMBRA_MAP && !is_empty_list)
        return diag_fail(SOMBRA_INVALID, "options are a %s; give a map",
                         sombra_kind_name(options->kind));
    sombra_value_enter(options, &cursor);
    while (!err) {
        sombra_slice key = { NULL, 0 }, encoded;
        bool found = false;
        err = value_next_proved(&cursor, &key, &encoded, &found);
        if (err || !found)
            break;
        err = parse_member(txn, key, encoded, &walk);
    }
    if (err) {
        walk_release(&walk);
        return err;
    }
    *out_walk = walk;
    return SOMBRA_OK;
}

void walk_release(struct walk *walk)
{
    mem_free(walk->types);
    predicate_free(walk->where);
    predicate_free(walk->nodes);
    *walk = (struct walk){ .types = NULL };
}
