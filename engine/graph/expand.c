/* SPDX-License-Identifier: MIT */
/* Edges of many nodes: a sweep over the adjacency keys.
 *
 * Each direction is a lane: one cursor over all its keys that reads ahead in batches and decodes
 * them whole (node, type, other, edge). What one node does not use the next one often does, since
 * neighbours in id are neighbours in the tree. A lane knows its floor, the place from which on it
 * has everything either decoded or still ahead; only what lies before it, or far behind what was
 * decoded, costs a seek.
 */
#include "graph_internal.h"

/* How far ahead (in nodes) reading on is cheaper than a seek. */
enum { READ_ON_NODES = 2 };

/* ---- decoding ---------------------------------------------------------------------------- */

/* Up to 16 bytes of key, left-aligned: a key behind its tag rarely has more. */
struct key_word {
    uint64_t high, low;
    size_t left; /* bytes */
};

static inline struct key_word word_of(const uint8_t *at, size_t bytes)
{
    struct key_word word = { 0, 0, bytes };
    if (bytes > 8) {
        word.high = get_be64(at);
        word.low = word_load(at + 8, bytes - 8);
    } else if (bytes) {
        word.high = word_load(at, bytes);
    }
    return word;
}

/* Bytes in front, left-aligned in `front`; they fit. */
static inline void word_prepend(struct key_word *word, uint64_t front, size_t bytes)
{
    if (bytes == 0)
        return;
    unsigned bits = 8 * (unsigned)bytes;
    word->low = bits == 64 ? word->high : word->low >> bits | word->high << (64 - bits);
    word->high = bits == 64 ? front : front | word->high >> bits;
    word->left += bytes;
}

/* One ordered number of up to 5 bytes; false for all else. */
static inline bool word_number(struct key_word *word, uint64_t *out_number)
{
    size_t bytes = 8;
    if (!word_take(&word->high, &bytes, out_number))
        return false;
    unsigned taken = 8 - (unsigned)bytes;
    if (UNLIKELY(taken > word->left))
        return false;
    word->high |= word->low >> (64 - 8 * taken);
    word->low <<= 8 * taken;
    word->left -= taken;
    return true;
}

enum { FIELDS = 4 }; /* node, type, other, edge */

/* What a batch's common prefix says: whole fields, and bytes of a started one. */
struct lane_prefix {
    size_t known;
    uint64_t fields[FIELDS];
    size_t skip; /* of each suffix: what is missing of the tag */
    size_t rest; /* bytes */
    uint64_t rest_word;
    uint8_t bytes[GRAPH_KEY_BYTES_MAX];
};

static sombra_err prefix_read(struct lane_prefix *prefix, sombra_slice common)
{
    const uint8_t *at = common.data, *end = at + common.bytes;
    prefix->known = 0;
    prefix->skip = common.bytes ? 0 : 1;
    if (common.bytes)
        at++;
    while (prefix->known < FIELDS && at < end) {
        const uint8_t *next = ordered_get(at, end, &prefix->fields[prefix->known]);
        if (!next)
            break;
        prefix->known++;
        at = next;
    }
    prefix->rest = (size_t)(end - at);
    if (prefix->rest > ORDERED_BYTES_MAX || (prefix->known == FIELDS && prefix->rest))
        return corrupt_key(common, "node, type, node, edge");
    if (prefix->rest)
        memcpy(prefix->bytes, at, prefix->rest);
    prefix->rest_word =
        prefix->rest && prefix->rest <= 8 ? word_load(prefix->bytes, prefix->rest) : 0;
    return SOMBRA_OK;
}

static bool read_slow(struct lane_prefix *prefix, sombra_slice suffix, uint64_t fields[FIELDS])
{
    uint8_t bytes[2 * GRAPH_KEY_BYTES_MAX];
    if (suffix.bytes < prefix->skip || suffix.bytes - prefix->skip > GRAPH_KEY_BYTES_MAX)
        return false;
    memcpy(bytes, prefix->bytes, prefix->rest);
    sombra_slice own = slice_from(suffix, prefix->skip);
    if (own.bytes)
        memcpy(bytes + prefix->rest, own.data, own.bytes);
    const uint8_t *at = bytes, *end = bytes + prefix->rest + own.bytes;
    for (size_t i = prefix->known; at && i < FIELDS; i++)
        at = ordered_get(at, end, &fields[i]);
    return at == end;
}

/* Inlined for each number of known fields: 0, 1 or 2. */
static inline bool read_fields(const struct lane_prefix *prefix, sombra_slice suffix,
                               const size_t known, uint64_t fields[FIELDS])
{
    size_t own = suffix.bytes - prefix->skip; /* wraps if it is too short: then it is not small */
    if (UNLIKELY(own > 16 || prefix->rest > 8 || prefix->rest + own > 16))
        return false;
    struct key_word word = word_of((const uint8_t *)suffix.data + prefix->skip, own);
    word_prepend(&word, prefix->rest_word, prefix->rest);
    for (size_t i = known; i < FIELDS; i++) {
        if (UNLIKELY(!word_number(&word, &fields[i])))
            return false;
    }
    return word.left == 0;
}

static inline sombra_err decode_known(struct graph_lane *lane, const struct kv_batch *from,
                                      struct lane_prefix *prefix, const size_t known)
{
    uint64_t fields[FIELDS];
    memcpy(fields, prefix->fields, sizeof fields);
    for (size_t i = 0; i < from->count; i++) {
        sombra_slice suffix = from->entries[i].key;
        if (UNLIKELY(known == SIZE_MAX || !read_fields(prefix, suffix, known, fields)) &&
            UNLIKELY(!read_slow(prefix, suffix, fields)))
            return corrupt_key(suffix, "the end of node, type, node, edge");
        if (UNLIKELY(fields[1] - 1 >= UINT32_MAX || fields[2] == 0))
            return corrupt_key(suffix, "the end of node, type, node, edge");
        lane->nodes[i] = fields[0];
        lane->types[i] = (uint32_t)fields[1];
        lane->others[i] = fields[2];
        lane->edges[i] = fields[3];
    }
    lane->count = from->count;
    return SOMBRA_OK;
}

static sombra_err lane_decode(struct graph_lane *lane, const struct kv_batch *from)
{
    struct lane_prefix prefix = { .known = 0 };
    sombra_err err = prefix_read(&prefix, from->prefix);
    lane->at = lane->count = 0;
    if (err)
        return err;
    switch (prefix.known) {
    case 0:
        return decode_known(lane, from, &prefix, 0);
    case 1:
        return decode_known(lane, from, &prefix, 1);
    case 2:
        return decode_known(lane, from, &prefix, 2);
    default:
        return decode_known(lane, from, &prefix, SIZE_MAX);
    }
}

/* ---- moving ------------------------------------------------------------------------------ */

static sombra_err lane_read(struct graph_expand *expand, struct graph_lane *lane)
{
    struct kv_batch batch = { .entries = expand->entries, .capacity = lane->capacity };
    lane->at = lane->count = 0;
    sombra_err err = kv_cursor_read(lane->cursor, KV_NEXT, &batch);
    if (err)
        return err;
    lane->capacity = (unsigned)size_min(lane->capacity * 2u, GRAPH_LANE);
    lane->is_at_end = batch.count == 0;
    return batch.count ? lane_decode(lane, &batch) : SOMBRA_OK;
}

static sombra_err lane_seek(struct graph_expand *expand, struct graph_lane *lane,
                            const struct graph_key *key)
{
    bool found = false;
    lane->at = lane->count = 0;
    lane->capacity = GRAPH_LANE_FIRST;
    lane->writes = expand->txn->writes;
    sombra_err err = kv_cursor_move(lane->cursor, KV_SEEK_GE, key_slice(key), &found);
    if (err)
        return err;
    lane->is_at_end = !found;
    if (!found)
        return SOMBRA_OK;
    const struct kv_batch one = { .entries = &lane->cursor->entry, .capacity = 1, .count = 1 };
    return lane_decode(lane, &one);
}

/* Is what begins at (node, type) read ahead, or so near that reading on gets there? */
static bool lane_is_near(const struct graph_lane *lane, uint64_t node, uint32_t type)
{
    if (lane->at < lane->count || lane->is_at_end)
        return true;
    uint64_t last = lane->count ? lane->nodes[lane->count - 1] : 0;
    return last < node ? last + READ_ON_NODES >= node : type == 0;
}

/* To where (node, type) begins: past what lies before it in what is read ahead, or by a seek. */
static sombra_err lane_place(struct graph_expand *expand, struct graph_lane *lane, uint64_t node,
                             uint32_t type)
{
    bool is_ahead = lane->is_placed && lane->writes == expand->txn->writes &&
                    (node > lane->floor_node ||
                     (node == lane->floor_node && type > lane->floor_type));
    sombra_err err = SOMBRA_OK;
    while (!err && is_ahead) {
        while (lane->at < lane->count &&
               (lane->nodes[lane->at] < node ||
                (lane->nodes[lane->at] == node && lane->types[lane->at] < type)))
            lane->at++;
        if (lane->at < lane->count || lane->is_at_end)
            break;
        is_ahead = lane_is_near(lane, node, type);
        if (is_ahead)
            err = lane_read(expand, lane);
    }
    if (!err && !is_ahead) {
        struct graph_key key = key_1(expand->is_in ? TAG_IN : TAG_OUT, node);
        if (type)
            key_add(&key, type);
        err = lane_seek(expand, lane, &key);
    }
    lane->floor_node = node;
    lane->floor_type = type;
    lane->taken_edge = 0;
    lane->is_placed = !err;
    return err;
}

/* The transaction has written: what is read ahead may be gone. */
static sombra_err lane_renew(struct graph_expand *expand, struct graph_lane *lane, uint64_t node)
{
    struct graph_key key = key_1(expand->is_in ? TAG_IN : TAG_OUT, node);
    if (lane->taken_edge) {
        key_add(&key, lane->taken_type);
        key_add(&key, lane->taken_other);
        key_add(&key, lane->taken_edge + 1);
    } else if (lane->floor_type) {
        key_add(&key, lane->floor_type);
    }
    return lane_seek(expand, lane, &key);
}

/* Hops of the range that is read now, until it ends or the batch is full; *out_ended. */
static sombra_err lane_take(struct graph_expand *expand, struct graph_lane *lane, size_t *count,
                            bool *out_ended)
{
    const uint64_t node = expand->sources[expand->source];
    const uint32_t type = expand->has_types ? expand->types[expand->type] : 0;
    /* "both" has given loops among the outgoing edges. */
    const uint64_t loop = expand->is_in && expand->direction == SOMBRA_BOTH ? node : 0;
    size_t made = *count;
    *out_ended = false;
    for (;;) {
        size_t at = lane->at;
        for (; at < lane->count && made < GRAPH_BATCH; at++) {
            if (lane->nodes[at] != node || (type && lane->types[at] != type)) {
                *out_ended = true;
                break;
            }
            struct graph_hop *hop = &expand->batch[made];
            hop->node = lane->others[at];
            hop->edge = lane->edges[at];
            hop->source = (uint32_t)expand->source;
            hop->type = lane->types[at];
            hop->is_out = !expand->is_in;
            made += hop->node != loop;
        }
        if (at > lane->at) {
            lane->taken_type = lane->types[at - 1];
            lane->taken_other = lane->others[at - 1];
            lane->taken_edge = lane->edges[at - 1];
        }
        lane->at = at;
        *count = made;
        if (*out_ended || made == GRAPH_BATCH)
            return SOMBRA_OK;
        if (lane->is_at_end) {
            *out_ended = true;
            return SOMBRA_OK;
        }
        sombra_err err = lane_read(expand, lane);
        if (err)
            return err;
    }
}

/* ---- ranges ------------------------------------------------------------------------------ */

static sombra_err lane_open(struct graph_expand *expand, struct arena *arena, bool is_in)
{
    struct graph_key prefix = key_begin(is_in ? TAG_IN : TAG_OUT);
    struct key_span span;
    struct graph_lane *lane = arena_alloc(arena, sizeof *lane);
    if (!lane)
        return diag_nomem("a sweep over edges", sizeof *lane);
    lane->is_placed = false;
    lane->at = lane->count = 0;
    lane->cursor = NULL;
    expand->lanes[is_in] = lane;
    return kv_cursor_open(expand->txn->kv, span_of(&prefix, &span), &lane->cursor);
}

sombra_err graph_expand_open(struct graph_expand *expand, struct graph_txn *txn,
                             const struct graph_expand_options *options)
{
    assert(!expand->entries);
    assert(options->direction >= SOMBRA_OUT && options->direction <= SOMBRA_BOTH);
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    expand->txn = txn;
    expand->direction = options->direction;
    expand->types = options->types;
    expand->type_count = options->type_count;
    expand->has_types = options->has_types;
    graph_expand_sources(expand, NULL, 0);
    expand->entries = arena_alloc(options->arena, GRAPH_LANE * sizeof *expand->entries);
    if (!expand->entries)
        err = diag_nomem("a sweep over edges", GRAPH_LANE * sizeof *expand->entries);
    if (!err && (expand->direction & SOMBRA_OUT))
        err = lane_open(expand, options->arena, false);
    if (!err && (expand->direction & SOMBRA_IN))
        err = lane_open(expand, options->arena, true);
    if (err)
        graph_expand_close(expand);
    return err;
}

void graph_expand_close(struct graph_expand *expand)
{
    for (size_t i = 0; i < COUNT_OF(expand->lanes); i++) {
        if (expand->lanes[i])
            kv_cursor_close(expand->lanes[i]->cursor);
        expand->lanes[i] = NULL;
    }
}

void graph_expand_sources(struct graph_expand *expand, const uint64_t *sources, size_t count)
{
    assert(count <= UINT32_MAX);
    expand->sources = sources;
    expand->source_count = count;
    expand->source = 0;
    expand->type = 0;
    expand->is_begun = false;
    expand->is_in = !(expand->direction & SOMBRA_OUT);
}

/* To the next type, direction, node. */
static void next_range(struct graph_expand *expand)
{
    expand->is_begun = false;
    if (expand->has_types && ++expand->type < expand->type_count)
        return;
    expand->type = 0;
    if (!expand->is_in && (expand->direction & SOMBRA_IN)) {
        expand->is_in = true;
        return;
    }
    expand->is_in = !(expand->direction & SOMBRA_OUT);
    expand->source++;
}

sombra_err graph_expand_next(struct graph_expand *expand, const struct graph_hop **out_batch,
                             size_t *out_count)
{
    size_t count = 0;
    sombra_err err = txn_check_read(expand->txn);
    if (expand->has_types && expand->type_count == 0)
        expand->source = expand->source_count;
    while (!err && count < GRAPH_BATCH && expand->source < expand->source_count) {
        struct graph_lane *lane = expand->lanes[expand->is_in];
        const uint64_t node = expand->sources[expand->source];
        bool ended = false;
        if (!expand->is_begun)
            err = lane_place(expand, lane, node,
                             expand->has_types ? expand->types[expand->type] : 0);
        else if (lane->writes != expand->txn->writes)
            err = lane_renew(expand, lane, node);
        expand->is_begun = !err;
        if (!err)
            err = lane_take(expand, lane, &count, &ended);
        if (err) {
            lane->is_placed = expand->is_begun = false;
            return diag_wrap(err, "edges of node %" PRIu64, node);
        }
        if (ended)
            next_range(expand);
    }
    if (err)
        return err;
    *out_batch = expand->batch;
    *out_count = count;
    return SOMBRA_OK;
}
