/* SPDX-License-Identifier: MIT */
/* Edges of one node. What is asked for is a sequence of key ranges, one for each direction and
 * type (or one a direction, when all types are wanted), read one after the other in batches. */
#include "edge_words.h"
#include "kept_ends.h"

#include <stdlib.h>

/* ---- types ------------------------------------------------------------------------------- */

static sombra_err type_add(uint32_t type, uint32_t **types, size_t *count, size_t *capacity)
{
    if (*count == *capacity) {
        size_t more = size_max(16, *capacity * 2);
        uint32_t *grown = mem_realloc(*types, more * sizeof *grown);
        if (!grown)
            return diag_nomem("types of edges", more * sizeof *grown);
        *types = grown;
        *capacity = more;
    }
    (*types)[(*count)++] = type;
    return SOMBRA_OK;
}

/* Leaps from type to type: two seeks each, however many edges there are. */
sombra_err node_types(struct graph_txn *txn, sombra_node_id node, enum graph_tag tag,
                      uint32_t **types, size_t *count, size_t *capacity)
{
    struct graph_key prefix = key_1(tag, node);
    struct key_span span;
    struct kv_cursor *cursor;
    uint64_t type = 0;
    sombra_err err = kv_cursor_open(txn->kv, span_of(&prefix, &span), &cursor);
    if (err)
        return err;
    while (!err && type < UINT32_MAX) {
        struct graph_key from = key_2(tag, node, type + 1);
        bool found = false;
        err = kv_cursor_move(cursor, KV_SEEK_GE, key_slice(&from), &found);
        if (err || !found)
            break;
        sombra_slice key = cursor->entry.key;
        const uint8_t *at = (const uint8_t *)key.data + prefix.length;
        const uint8_t *end = (const uint8_t *)key.data + key.bytes;
        uint64_t next = 0;
        if (!ordered_read(at, end, &next) || next <= type || next > UINT32_MAX)
            err = corrupt_key(key, "node, type, node, edge");
        else
            err = type_add((uint32_t)next, types, count, capacity);
        type = next;
    }
    kv_cursor_close(cursor);
    return err;
}

static int id_order(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void sort_types(struct graph_neighbours *n)
{
    size_t kept = 0;
    if (n->type_count > 1)
        qsort(n->types, n->type_count, sizeof *n->types, id_order);
    for (size_t i = 0; i < n->type_count; i++) {
        if (kept == 0 || n->types[kept - 1] != n->types[i])
            n->types[kept++] = n->types[i];
    }
    n->type_count = kept;
}

static sombra_err choose_types(struct graph_neighbours *n, const sombra_neighbours_options *options)
{
    sombra_err err = SOMBRA_OK;
    n->type_count = 0;
    n->has_types = options->type_count > 0 || n->other;
    for (size_t i = 0; !err && i < options->type_count; i++) {
        uint32_t type = 0;
        err = graph_name_find(n->txn, SOMBRA_NAME_TYPE, options->types[i], &type);
        if (!err && type)
            err = type_add(type, &n->types, &n->type_count, &n->type_capacity);
    }
    /* One other node, all types: its entries are not adjacent, so each type is asked for. */
    if (!err && options->type_count == 0 && n->other) {
        if (n->direction & SOMBRA_OUT)
            err =
                node_types(n->txn, n->node, TAG_OUT, &n->types, &n->type_count, &n->type_capacity);
        if (!err && (n->direction & SOMBRA_IN))
            err = node_types(n->txn, n->node, TAG_IN, &n->types, &n->type_count, &n->type_capacity);
    }
    sort_types(n);
    return err;
}

/* ---- ranges ------------------------------------------------------------------------------ */

sombra_err graph_neighbours_open(struct graph_neighbours *n, struct graph_txn *txn,
                                 sombra_node_id node, const sombra_neighbours_options *options)
{
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    if (options->direction > SOMBRA_BOTH)
        return diag_fail(SOMBRA_INVALID, "%d is no direction", (int)options->direction);
    n->txn = txn;
    n->cursor = NULL;
    n->node = node;
    n->other = options->other;
    n->direction = options->direction ? options->direction : SOMBRA_OUT;
    n->left = options->limit ? options->limit : UINT64_MAX;
    n->reverse = options->reverse;
    n->with_properties = options->with_properties;
    n->capacity = GRAPH_BATCH_FIRST;
    n->count = 0;
    n->range = 0;
    err = choose_types(n, options);
    n->range_count = (n->direction == SOMBRA_BOTH ? 2 : 1) * (n->has_types ? n->type_count : 1);
    return err;
}

void graph_neighbours_close(struct graph_neighbours *n)
{
    kv_cursor_close(n->cursor);
    n->cursor = NULL;
    n->range = n->range_count = 0;
}

void graph_neighbours_release(struct graph_neighbours *n)
{
    assert(!n->cursor);
    mem_free(n->types);
    buf_release(&n->properties);
}

/* What the keys of the range that is read now begin with. */
static struct graph_key range_key(const struct graph_neighbours *n)
{
    struct graph_key key = key_1(n->is_out ? TAG_OUT : TAG_IN, n->node);
    if (n->field >= 1)
        key_add(&key, n->range_type);
    if (n->field >= 2)
        key_add(&key, n->other);
    return key;
}

static sombra_err open_range(struct graph_neighbours *n)
{
    size_t of_direction = n->has_types ? n->type_count : 1;
    size_t range = n->reverse ? n->range_count - 1 - n->range : n->range;
    assert(n->range < n->range_count);
    n->is_out = (n->direction & SOMBRA_OUT) && range < of_direction;
    n->field = n->has_types ? n->other ? 2 : 1 : 0;
    if (n->has_types)
        n->range_type = n->types[range % of_direction];
    const struct graph_key prefix = range_key(n);
    n->prefix_bytes = prefix.length;
    n->range++;
    n->is_begun = n->is_rest = false;
    struct key_span span;
    return kv_cursor_open(n->txn->kv, span_of(&prefix, &span), &n->cursor);
}

/* What is behind `last` of the range that is read now, or was. It is opened anew: to seek that key,
 * which may be gone like many before it, would pass all of their deletes by. */
static sombra_err open_rest(struct graph_neighbours *n, const sombra_neighbour *last)
{
    const struct graph_key prefix = range_key(n);
    struct graph_key key = key_3(last->is_out ? TAG_OUT : TAG_IN, n->node, last->type, last->node);
    struct key_span span;
    struct kv_range range = span_of(&prefix, &span);
    key_add(&key, n->reverse ? last->edge : last->edge + 1);
    assert(last->is_out == n->is_out && memcmp(key.bytes, prefix.bytes, prefix.length) == 0);
    if (n->reverse)
        range.high = key_slice(&key);
    else
        range.low = key_slice(&key);
    kv_cursor_close(n->cursor);
    n->cursor = NULL;
    n->is_begun = false;
    n->is_rest = true;
    return kv_cursor_open(n->txn->kv, range, &n->cursor);
}

/* ---- batches ----------------------------------------------------------------------------- */

static sombra_err corrupt_suffix(sombra_slice suffix)
{
    return corrupt_key(suffix, "the end of node, type, node, edge");
}

/* Decodes keys of which the first fields are known; inlined for each number of the others. */
static inline sombra_err decode_last(struct graph_neighbours *n, const struct kv_batch *from,
                                     struct batch_keys *keys, const size_t wanted,
                                     const uint64_t known[3])
{
    uint64_t type = known[0], other = known[1], edge = known[2];
    size_t count = 0;
    /* "both" has given loops among the outgoing edges. */
    const uint64_t loop = n->direction == SOMBRA_BOTH && !n->is_out ? n->node : 0;
    for (size_t i = 0; i < from->count; i++) {
        sombra_slice suffix = from->entries[i].key;
        uint64_t word;
        size_t left;
        if (UNLIKELY(!batch_key_word(keys, suffix, &word, &left) ||
                     (wanted >= 3 && !word_take(&word, &left, &type)) ||
                     (wanted >= 2 && !word_take(&word, &left, &other)) ||
                     (wanted >= 1 && !word_take(&word, &left, &edge)) || left != 0)) {
            uint64_t fields[3] = { type, other, edge };
            if (!batch_key_read_slow(keys, suffix, wanted, fields + 3 - wanted))
                return corrupt_suffix(suffix);
            type = fields[0];
            other = fields[1];
            edge = fields[2];
        }
        if (UNLIKELY(type - 1 >= UINT32_MAX || other == 0))
            return corrupt_suffix(suffix);
        sombra_neighbour *to = &n->batch[count];
        to->node = other;
        to->edge = edge;
        to->type = (uint32_t)type;
        to->is_out = n->is_out;
        to->properties = slice_of(NULL, 0);
        count += other != loop;
    }
    n->count = count;
    return SOMBRA_OK;
}

static sombra_err decode(struct graph_neighbours *n, const struct kv_batch *from)
{
    struct batch_keys keys;
    size_t field = n->field;
    uint64_t known[3] = { n->range_type, n->other, 0 };
    sombra_err err = batch_keys_begin(&keys, from->prefix, n->prefix_bytes, 3 - field);
    if (err)
        return err;
    for (size_t i = 0; i < keys.known; i++)
        known[field++] = keys.fields[i];
    switch (field) {
    case 0:
        return decode_last(n, from, &keys, 3, known);
    case 1:
        return decode_last(n, from, &keys, 2, known);
    case 2:
        return decode_last(n, from, &keys, 1, known);
    default:
        return decode_last(n, from, &keys, 0, known);
    }
}

/* Properties stand in the entries of the source. They are copied, so that they live as long as the
 * batch; addresses are set last, because the buffer moves while it grows. */
static sombra_err read_properties(struct graph_neighbours *n, size_t count)
{
    size_t ends[GRAPH_BATCH];
    sombra_err err = SOMBRA_OK;
    assert(count <= GRAPH_BATCH);
    buf_reset(&n->properties);
    for (size_t i = 0; !err && i < count; i++) {
        sombra_slice record = n->entries[i].value;
        if (!n->is_out) {
            struct graph_edge edge = { .id = n->batch[i].edge,
                                       .src = n->batch[i].node,
                                       .dst = n->node,
                                       .type = n->batch[i].type };
            err = edge_stored_record(n->txn, &edge, &record);
        }
        if (!err)
            err = buf_append_slice(&n->properties, record);
        ends[i] = n->properties.bytes;
    }
    for (size_t i = 0; !err && i < count; i++) {
        size_t offset = i ? ends[i - 1] : 0;
        if (ends[i] > offset)
            n->batch[i].properties = slice_of(n->properties.data + offset, ends[i] - offset);
    }
    return err;
}

/* As `decode`; `field` is the first one that the words have. */
static inline __attribute__((always_inline)) sombra_err decode_words(struct graph_neighbours *n,
                                                                     const size_t field)
{
    struct edge_fields fields = { .type = n->range_type, .other = n->other };
    const uint64_t loop = n->direction == SOMBRA_BOTH && !n->is_out ? n->node : 0;
    sombra_neighbour *to = n->batch;
    enum { FEW = 3 }; /* for which it does not pay to know what they have in common */
    struct edge_shape shape = { .bytes = 0 }, *known = n->words.count > FEW ? &shape : NULL;
    for (size_t i = 0; i < n->words.count; i++) {
        if (UNLIKELY(!edge_words_get(&n->words, i, field, known, &fields)))
            return diag_fail(SOMBRA_CORRUPT, "an edge's key is damaged");
        to->node = fields.other;
        to->edge = fields.edge;
        to->type = (uint32_t)fields.type;
        to->is_out = n->is_out;
        to->properties = slice_of(NULL, 0);
        to += fields.other != loop;
    }
    n->count = (size_t)(to - n->batch);
    return SOMBRA_OK;
}

/* Does the store read this range as numbers? It begins with the first key of a beginning. */
static bool has_words(const struct graph_neighbours *n)
{
    return !n->reverse && !n->with_properties && !n->is_rest && kv_has_words(n->txn->kv);
}

/* The next keys of the range, decoded; *out_ended: there are no more. */
static sombra_err read_words(struct graph_neighbours *n, size_t capacity, bool *out_ended)
{
    const struct graph_key within = range_key(n);
    sombra_err err =
        edge_words_read(&n->words, n->cursor, key_slice(&within), !n->is_begun, capacity);
    if (err)
        return err;
    n->is_begun = true;
    *out_ended = n->words.is_last;
    switch (n->field) {
    case 0:
        return decode_words(n, 0);
    case 1:
        return decode_words(n, 1);
    default:
        return decode_words(n, 2);
    }
}

static sombra_err read_entries(struct graph_neighbours *n, size_t capacity, bool *out_ended)
{
    struct kv_batch batch = { .entries = n->entries, .capacity = capacity };
    sombra_err err = kv_cursor_read(n->cursor, n->reverse ? KV_PREVIOUS : KV_NEXT, &batch);
    if (err)
        return err;
    *out_ended = batch.count == 0;
    return batch.count ? decode(n, &batch) : SOMBRA_OK;
}

/* The next of what the store has. */
static sombra_err next_stored(struct graph_neighbours *n)
{
    sombra_err err = SOMBRA_OK;
    while (!err && n->count == 0 && n->left > 0) {
        if (!n->cursor) {
            if (n->range == n->range_count)
                break;
            err = open_range(n);
            if (err)
                break;
        }
        bool ended = false;
        size_t capacity = (size_t)u64_min(n->capacity, n->left);
        err = has_words(n) ? read_words(n, capacity, &ended) : read_entries(n, capacity, &ended);
        n->capacity = GRAPH_BATCH;
        if (ended) {
            kv_cursor_close(n->cursor);
            n->cursor = NULL;
        }
    }
    return err;
}

static void take_kept(struct graph_neighbours *n, const struct kept_ends *kept)
{
    const bool is_out = n->direction == SOMBRA_OUT;
    uint32_t property;
    if (kept_value_expect(&n->txn->kept, &property)) {
        for (uint32_t i = 0; i < kept->count; i++)
            kept_value_fetch(&n->txn->kept, kept->ends[i].node, property);
    }
    for (uint32_t i = 0; i < kept->count; i++)
        n->batch[i] = (sombra_neighbour){ .node = kept->ends[i].node,
                                          .edge = kept->ends[i].edge,
                                          .type = kept->type,
                                          .is_out = is_out };
    n->count = kept->count;
    n->range = n->range_count;
}

/* The batch has all that there are. */
static void keep(struct graph_neighbours *n, uint32_t asked)
{
    bool fits = n->count <= KEPT_ENDS_MAX;
    struct kept_ends *kept = fits ? kept_ends_add(n->txn, n->node, asked) : NULL;
    for (size_t i = 0; fits && i < n->count; i++)
        fits = kept_ends_put(kept, n->batch[i].node, n->batch[i].edge, n->batch[i].type);
}

/* All of them, if a reader of this version has read them; else the first, which are kept if they
 * are all and few. */
static sombra_err next_first(struct graph_neighbours *n)
{
    const bool asks_all = n->range_count == 1 && !n->other && !n->reverse && !n->with_properties &&
                          n->left == UINT64_MAX;
    const uint32_t asked =
        asks_all ? kept_ends_asked(n->direction, n->has_types, n->types, n->type_count) : 0;
    if (!asked || !kept_values_wanted(n->txn, &n->txn->ends, 1))
        return next_stored(n);
    const struct kept_ends *kept = kept_ends_find(n->txn, n->node, asked);
    if (kept) {
        take_kept(n, kept);
        return SOMBRA_OK;
    }
    n->capacity = KEPT_ENDS_MAX + 1;
    sombra_err err = next_stored(n);
    if (!err && !n->cursor)
        keep(n, asked);
    return err;
}

sombra_err graph_neighbours_next(struct graph_neighbours *n, const sombra_neighbour **out_batch,
                                 size_t *out_count)
{
    sombra_err err = txn_check_read(n->txn);
    n->count = 0;
    if (!err)
        err = n->cursor || n->range ? next_stored(n) : next_first(n);
    if (!err && n->with_properties && n->count)
        err = read_properties(n, n->count);
    if (err)
        return diag_wrap(err, "neighbours of node %" PRIu64, n->node);
    n->left -= n->count;
    n->shape = txn_shape(n->txn);
    *out_batch = n->batch;
    *out_count = n->count;
    return SOMBRA_OK;
}

sombra_err graph_neighbours_renew(struct graph_neighbours *n, size_t used, bool *out_is_renewed)
{
    bool is_stale = false;
    sombra_err err = txn_check_shape(n->txn, n->shape, used, n->count, &is_stale);
    if (!err && is_stale)
        err = open_rest(n, &n->batch[used - 1]);
    if (err)
        return err;
    if (is_stale) {
        n->left += n->count - used;
        n->count = used;
        n->capacity = GRAPH_BATCH_FIRST;
        n->shape = txn_shape(n->txn);
    }
    *out_is_renewed = is_stale;
    return SOMBRA_OK;
}

/* ---- degree ------------------------------------------------------------------------------ */

/* Loops of a node, of one type or, with 0, of all. */
static sombra_err count_loops(struct graph_txn *txn, sombra_node_id node, uint32_t type,
                              uint64_t *out_loops)
{
    uint32_t *types = NULL;
    size_t count = 0, capacity = 0;
    uint64_t loops = 0;
    sombra_err err = type ? type_add(type, &types, &count, &capacity)
                          : node_types(txn, node, TAG_OUT, &types, &count, &capacity);
    for (size_t i = 0; !err && i < count; i++) {
        struct graph_key prefix = key_3(TAG_OUT, node, types[i], node);
        uint64_t of_type;
        err = txn_count(txn, &prefix, 0, &of_type);
        if (!err)
            loops += of_type;
    }
    mem_free(types);
    if (!err)
        *out_loops = loops;
    return err;
}

/* Edges of one type, or with 0 of all. */
static sombra_err count_edges(struct graph_txn *txn, sombra_node_id node,
                              sombra_direction direction, uint32_t type, uint64_t *out_degree)
{
    uint64_t out = 0, in = 0, loops = 0;
    sombra_err err = SOMBRA_OK;
    struct graph_key prefix = type ? key_2(TAG_OUT, node, type) : key_1(TAG_OUT, node);
    if (direction & SOMBRA_OUT)
        err = txn_count(txn, &prefix, 0, &out);
    prefix.bytes[0] = TAG_IN;
    if (!err && (direction & SOMBRA_IN))
        err = txn_count(txn, &prefix, 0, &in);
    if (!err && direction == SOMBRA_BOTH && out && in)
        err = count_loops(txn, node, type, &loops);
    if (!err)
        *out_degree = out + in - loops;
    return err;
}

sombra_err graph_degree(struct graph_txn *txn, sombra_node_id node, sombra_direction direction,
                        sombra_slice type, uint64_t *out_degree)
{
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (!err && (direction < SOMBRA_OUT || direction > SOMBRA_BOTH))
        err = diag_fail(SOMBRA_INVALID, "%d is no direction", (int)direction);
    if (!err && type.bytes) {
        err = graph_name_find(txn, SOMBRA_NAME_TYPE, type, &id);
        if (!err && id == 0) {
            *out_degree = 0;
            return SOMBRA_OK;
        }
    }
    return err ? err : count_edges(txn, node, direction, id, out_degree);
}

sombra_err graph_degree_by(struct graph_txn *txn, sombra_node_id node, sombra_direction direction,
                           const uint32_t *types, size_t type_count, bool has_types,
                           uint64_t *out_degree)
{
    uint64_t degree = 0;
    sombra_err err = txn_check_read(txn);
    if (!err && !has_types)
        return count_edges(txn, node, direction, 0, out_degree);
    for (size_t i = 0; !err && i < type_count; i++) {
        uint64_t of_type = 0;
        err = count_edges(txn, node, direction, types[i], &of_type);
        degree += of_type;
    }
    if (!err)
        *out_degree = degree;
    return err;
}
