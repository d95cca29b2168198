/* SPDX-License-Identifier: MIT */
/* The options of the usual search, least edges from one node to one other: read once, and for other
 * nodes asked again without reading the rest (kept.c). All other options are paths.c's.
 */
#include "paths_internal.h"

/* False: not of a pair, or not sound; paths.c says which. */
static bool take_member(struct paths_pair *pair, sombra_slice key, const sombra_value *value,
                        size_t at)
{
    if (slice_equal(key, slice_str("from")) || slice_equal(key, slice_str("to"))) {
        const size_t end = key.bytes == strlen("to");
        pair->at[end] = at;
        pair->nodes[end] = value->kind == SOMBRA_INTEGER && value->as.integer > 0
                               ? (uint64_t)value->as.integer
                               : 0;
        return pair->nodes[end] != 0;
    }
    if (slice_equal(key, slice_str("kind"))) {
        pair->collects = value->kind == SOMBRA_STRING &&
                         slice_equal(value->as.string, slice_str("all_shortest"));
        return pair->collects || (value->kind == SOMBRA_STRING &&
                                  slice_equal(value->as.string, slice_str("shortest")));
    }
    if (slice_equal(key, slice_str("max"))) {
        if (value->kind != SOMBRA_INTEGER || value->as.integer < 0 ||
            value->as.integer >= UINT32_MAX)
            return false;
        pair->max = (uint32_t)value->as.integer;
        return true;
    }
    return slice_equal(key, slice_str("types")) || slice_equal(key, slice_str("direction"));
}

static bool read_members(struct paths_pair *pair, const sombra_value *options, sombra_slice encoded)
{
    sombra_value_cursor cursor;
    sombra_slice key, member;
    sombra_value value;
    bool found = true;
    sombra_value_enter(options, &cursor);
    for (;;) {
        if (value_next_encoded(&cursor, &key, &member, &found))
            return false;
        if (!found)
            return pair->nodes[0] && pair->nodes[1];
        const size_t at = (size_t)((const uint8_t *)member.data - (const uint8_t *)encoded.data);
        if (sombra_value_decode(member, &value) || !take_member(pair, key, &value, at))
            return false;
    }
}

sombra_err paths_pair_read(struct graph_txn *txn, struct arena *arena, const sombra_value *options,
                           sombra_slice encoded, struct paths_pair **out_pair)
{
    struct paths_pair pair = { .max = UINT32_MAX };
    *out_pair = NULL;
    if (options->kind != SOMBRA_MAP || !read_members(&pair, options, encoded))
        return SOMBRA_OK;
    struct paths_pair *kept = arena_alloc(arena, sizeof *kept);
    if (!kept)
        return diag_nomem("the steps of a query", sizeof *kept);
    if (walk_parse(txn, options, SOMBRA_OUT, &pair.walk))
        return SOMBRA_OK;
    *kept = pair;
    *out_pair = kept;
    return SOMBRA_OK;
}

/* The id that stands at `at`; returns its bytes, 0 if there is none. */
static size_t id_at(sombra_slice options, size_t at, uint64_t *out_id)
{
    sombra_value id;
    const uint8_t *bytes = options.data;
    const size_t length = value_length(bytes + at, options.bytes - at);
    if (length == 0 || sombra_value_decode(slice_of(bytes + at, length), &id) ||
        id.kind != SOMBRA_INTEGER || id.as.integer <= 0)
        return 0;
    *out_id = (uint64_t)id.as.integer;
    return length;
}

bool paths_pair_rebind(struct paths_pair *pair, sombra_slice kept, sombra_slice given)
{
    const uint8_t *own = kept.data, *bytes = given.data;
    struct paths_pair bound = *pair;
    size_t own_at = VALUE_HEAD_1, at = VALUE_HEAD_1;
    if (given.bytes < VALUE_HEAD_1 || bytes[0] != VALUE_MAP_1 || own[0] != VALUE_MAP_1 ||
        bytes[2] != own[2] || given.bytes != VALUE_HEAD_1 + (size_t)bytes[1])
        return false;
    for (size_t i = 0; i < COUNT_OF(pair->at); i++) {
        const size_t between = pair->at[i] - own_at;
        if (given.bytes - at <= between || memcmp(bytes + at, own + own_at, between) != 0)
            return false;
        bound.at[i] = at + between;
        const size_t length = id_at(given, bound.at[i], &bound.nodes[i]);
        if (length == 0)
            return false;
        at = bound.at[i] + length;
        own_at = pair->at[i] + value_length(own + pair->at[i], kept.bytes - pair->at[i]);
    }
    const size_t rest = kept.bytes - own_at;
    if (given.bytes - at != rest || memcmp(bytes + at, own + own_at, rest) != 0)
        return false;
    *pair = bound;
    return true;
}
