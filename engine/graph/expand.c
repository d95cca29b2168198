/* SPDX-License-Identifier: MIT */
/* Edges of many nodes: a sweep over the adjacency keys.
 *
 * Each direction is a lane: one cursor over all its keys that reads ahead in batches. What one node
 * does not use the next one often does, since neighbours in id are neighbours in the tree. A lane
 * knows its floor: everything behind the range it read last is either in the batch or still ahead,
 * and only what lies before it, or far behind the batch, costs a seek.
 *
 * Stores that read keys as numbers keep their place themselves: a seek each, no reading ahead.
 *
 * Ranges (a node, or a node and a type) are told apart by the bytes of the keys; only what follows
 * those bytes is decoded, and only of the range's own entries.
 */
#include "edge_words.h"
#include "kept_ends.h"

/* How far ahead (in nodes, and for how many of them) reading on is cheaper than a seek, and how
 * many entries are looked at one by one rather than halved. */
enum { READ_ON_NODES = 2, READ_ON_SOURCES = 16, LOOK_AT = 8, LANE_ENTRIES = 256 };

/* One direction: a cursor over all edges in its order, and what it has read ahead. */
struct graph_lane {
    struct kv_cursor *cursor;
    uint64_t floor_node; /* everything behind the range (floor_node, floor_type) lies ahead */
    uint32_t floor_type, taken_type;
    uint64_t taken_other, taken_edge; /* of that range, taken last; edge 0 = none */
    bool is_placed;                   /* the floor is set */
    bool is_at_end;                   /* nothing is left behind what was read */
    uint64_t writes;                  /* of the transaction when it read */
    size_t at, count;                 /* of the entries read */
    size_t done_bytes;                /* of `done`; 0 = not known */
    uint8_t done[32];                 /* the key before which nothing is left to be read */
    sombra_slice prefix;              /* of their keys */
    size_t match_bytes, rest_bytes;   /* of the range behind the prefix; of the prefix behind it */
    uint64_t match_word, rest_word;   /* if they are 1 to 8; the latter left-aligned */
    uint8_t match[KV_KEY_BYTES_MAX];
    union {
        struct kv_entry entries[LANE_ENTRIES];
        struct edge_words words;
    };
};

/* ---- words of keys ----------------------------------------------------------------------- */

/* Up to 16 bytes, left-aligned: a key behind the batch's prefix rarely has more. */
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

static inline void word_drop(struct key_word *word, size_t bytes) /* 0 to 8 */
{
    unsigned bits = 8 * (unsigned)bytes;
    if (bits == 0)
        return;
    word->high = bits == 64 ? word->low : word->high << bits | word->low >> (64 - bits);
    word->low = bits == 64 ? 0 : word->low << bits;
    word->left -= bytes;
}

static inline void word_prepend(struct key_word *word, uint64_t front, size_t bytes) /* 1 to 8 */
{
    unsigned bits = 8 * (unsigned)bytes;
    word->low = bits == 64 ? word->high : word->low >> bits | word->high << (64 - bits);
    word->high = bits == 64 ? front : front | word->high >> bits;
    word->left += bytes;
}

/* One ordered number of up to 5 bytes; false for all else. */
static inline __attribute__((always_inline)) bool word_number(struct key_word *word,
                                                              uint64_t *out_number)
{
    size_t bytes = 8;
    if (UNLIKELY(!word_take(&word->high, &bytes, out_number)))
        return false;
    size_t taken = 8 - bytes;
    if (UNLIKELY(taken > word->left))
        return false;
    word->high |= word->low >> (64 - 8 * taken);
    word->low <<= 8 * taken;
    word->left -= taken;
    return true;
}

/* ---- ranges within a batch ----------------------------------------------------------------- */

/* The bytes that all keys of the lane's range begin with. */
static struct graph_key range_key(const struct graph_expand *expand)
{
    struct graph_key key = key_1(expand->is_in ? TAG_IN : TAG_OUT, expand->sources[expand->source]);
    if (expand->has_types)
        key_add(&key, expand->types[expand->type]);
    return key;
}

/* How the range's bytes lie to the batch's prefix: sets what is left of them to be compared with
 * each entry. -1: all of the batch lies before the range, 1: behind it. */
static int lane_match(struct graph_lane *lane, const struct graph_key *range)
{
    size_t common = size_min(range->length, lane->prefix.bytes);
    int order = common ? memcmp(lane->prefix.data, range->bytes, common) : 0;
    lane->match_bytes = range->length - common;
    lane->rest_bytes = lane->prefix.bytes - common;
    if (order)
        return order < 0 ? -1 : 1;
    memcpy(lane->match, range->bytes + common, lane->match_bytes);
    lane->match_word = lane->match_bytes - 1 < 8 ? word_load(lane->match, lane->match_bytes) >>
                                                       (64 - 8 * lane->match_bytes)
                                                 : 0;
    lane->rest_word = lane->rest_bytes - 1 < 8
                          ? word_load((const uint8_t *)lane->prefix.data + common, lane->rest_bytes)
                          : 0;
    return 0;
}

/* An entry's bytes against the range's: below, in it, above. */
static int entry_order(const struct graph_lane *lane, sombra_slice suffix)
{
    size_t common = size_min(suffix.bytes, lane->match_bytes);
    int order = common ? memcmp(suffix.data, lane->match, common) : 0;
    return order ? order : suffix.bytes < lane->match_bytes ? -1 : 0;
}

/* Moves to the first entry at or behind the range's beginning. */
static void lane_skip(struct graph_lane *lane)
{
    size_t low = lane->at, high = lane->count;
    for (size_t i = 0; i < LOOK_AT && low < high; i++) {
        if (entry_order(lane, lane->entries[low].key) >= 0) {
            lane->at = low;
            return;
        }
        low++;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_order(lane, lane->entries[middle].key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    lane->at = low;
}

/* ---- decoding ---------------------------------------------------------------------------- */

/* What an entry says behind the range's bytes. */
struct entry {
    uint64_t type, other, edge;
};

/* Any entry of the range: type (if it is not given), other, edge. */
static bool read_slow(const struct graph_lane *lane, sombra_slice suffix, bool has_type,
                      struct entry *entry)
{
    uint8_t bytes[2 * GRAPH_KEY_BYTES_MAX];
    if (lane->rest_bytes > GRAPH_KEY_BYTES_MAX || suffix.bytes > GRAPH_KEY_BYTES_MAX)
        return false;
    sombra_slice own = slice_from(suffix, lane->match_bytes);
    if (lane->rest_bytes)
        memcpy(bytes, (const uint8_t *)lane->prefix.data + lane->prefix.bytes - lane->rest_bytes,
               lane->rest_bytes);
    if (own.bytes)
        memcpy(bytes + lane->rest_bytes, own.data, own.bytes);
    const uint8_t *at = bytes, *end = bytes + lane->rest_bytes + own.bytes;
    if (!has_type)
        at = ordered_get(at, end, &entry->type);
    if (at)
        at = ordered_get(at, end, &entry->other);
    if (at)
        at = ordered_get(at, end, &entry->edge);
    return at == end && entry->type - 1 < UINT32_MAX && entry->other != 0;
}

/* Is the entry of the range? Then its fields, if it is of the usual size; else *is_usual is false.
 */
static inline __attribute__((always_inline)) bool read_usual(const struct graph_lane *lane,
                                                             sombra_slice suffix,
                                                             const bool has_type,
                                                             struct entry *entry, bool *is_usual)
{
    uint64_t type = entry->type, other = 0, edge = 0;
    struct key_word word = word_of(suffix.data, suffix.bytes);
    if (lane->match_bytes) {
        if (word.high >> (64 - 8 * lane->match_bytes) != lane->match_word ||
            suffix.bytes < lane->match_bytes)
            return false;
        word_drop(&word, lane->match_bytes);
    } else if (lane->rest_bytes) {
        word_prepend(&word, lane->rest_word, lane->rest_bytes);
    }
    *is_usual = (has_type || word_number(&word, &type)) && word_number(&word, &other) &&
                word_number(&word, &edge) && word.left == 0 && type - 1 < UINT32_MAX && other != 0;
    *entry = (struct entry){ type, other, edge };
    return true;
}

/* The same for a suffix of 1 to 8 bytes whose fields make one word: most are so. */
static inline __attribute__((always_inline)) bool read_short(const struct graph_lane *lane,
                                                             sombra_slice suffix,
                                                             const bool has_type,
                                                             struct entry *entry, bool *is_usual)
{
    uint64_t type = entry->type, other = 0, edge = 0;
    uint64_t word = word_load(suffix.data, suffix.bytes);
    size_t left = suffix.bytes + lane->rest_bytes - lane->match_bytes;
    if (lane->match_bytes) { /* fewer than 8, and then `rest` is empty */
        if (word >> (64 - 8 * lane->match_bytes) != lane->match_word)
            return false;
        word <<= 8 * lane->match_bytes;
    } else {
        word = lane->rest_word | word >> (8 * lane->rest_bytes);
    }
    *is_usual = (has_type || word_take(&word, &left, &type)) && word_take(&word, &left, &other) &&
                word_take(&word, &left, &edge) && left == 0 && type - 1 < UINT32_MAX && other != 0;
    *entry = (struct entry){ type, other, edge };
    return true;
}

static sombra_err entry_corrupt(sombra_slice suffix)
{
    return corrupt_key(suffix, "the end of node, type, node, edge");
}

/* Hops of the lane's entries, while they are of the range and the batch has room. */
static inline sombra_err take_entries(struct graph_expand *expand, struct graph_lane *lane,
                                      const bool has_type, size_t *count, bool *out_ended)
{
    const uint64_t node = expand->sources[expand->source];
    const uint32_t source = (uint32_t)expand->source;
    /* "both" has given loops among the outgoing edges. */
    const uint64_t loop = expand->is_in && expand->direction == SOMBRA_BOTH ? node : 0;
    const bool is_out = !expand->is_in;
    const size_t usual_end = lane->match_bytes <= 8 && lane->rest_bytes <= 8
                                 ? 17 - lane->rest_bytes
                                 : 0; /* suffixes of fewer bytes make one word */
    /* And one word of 8 bytes: suffixes longer than what they must match. */
    const size_t short_min = lane->match_bytes < 8 ? lane->match_bytes + 1 : SIZE_MAX;
    const size_t short_max = usual_end && lane->rest_bytes < 8 ? 8 - lane->rest_bytes : 0;
    size_t at = lane->at, made = *count;
    struct entry entry = { .type = has_type ? expand->types[expand->type] : 0 };
    for (; at < lane->count && made < expand->batch_max; at++) {
        const sombra_slice suffix = lane->entries[at].key;
        bool is_usual = false;
        bool is_in_range;
        if (LIKELY(suffix.bytes <= short_max && suffix.bytes >= short_min))
            is_in_range = read_short(lane, suffix, has_type, &entry, &is_usual);
        else if (suffix.bytes < usual_end)
            is_in_range = read_usual(lane, suffix, has_type, &entry, &is_usual);
        else
            is_in_range = entry_order(lane, suffix) == 0;
        if (!is_in_range) {
            *out_ended = true;
            break;
        }
        if (UNLIKELY(!is_usual)) { /* on a copy: the entry itself stays in registers */
            struct entry slow = entry;
            if (!read_slow(lane, suffix, has_type, &slow))
                return entry_corrupt(suffix);
            entry = slow;
        }
        struct graph_hop *hop = &expand->batch[made];
        hop->node = entry.other;
        hop->edge = entry.edge;
        hop->source = source;
        hop->type = (uint32_t)entry.type;
        hop->is_out = is_out;
        made += entry.other != loop;
    }
    if (at > lane->at) {
        lane->taken_type = (uint32_t)entry.type;
        lane->taken_other = entry.other;
        lane->taken_edge = entry.edge;
    }
    lane->at = at;
    *count = made;
    return SOMBRA_OK;
}

/* ---- moving ------------------------------------------------------------------------------ */

/* Where what is wanted now ends: behind the node, or behind the last of those that follow it close
 * by. */
static struct graph_key wanted_end(const struct graph_expand *expand)
{
    size_t last = expand->source;
    const uint64_t *sources = expand->sources;
    if (!expand->has_types || expand->type_count == 1) {
        size_t end = size_min(expand->source_count, last + READ_ON_SOURCES);
        while (last + 1 < end && sources[last + 1] > sources[last] &&
               sources[last + 1] - sources[last] <= READ_ON_NODES)
            last++;
    }
    struct graph_key key =
        key_1(expand->is_in ? TAG_IN : TAG_OUT, sources[last] + (expand->has_types ? 0 : 1));
    if (expand->has_types)
        key_add(&key, (uint64_t)expand->types[expand->type] + 1);
    return key;
}

static sombra_err lane_read(struct graph_expand *expand, struct graph_lane *lane)
{
    const struct graph_key end = wanted_end(expand);
    struct kv_batch batch = { .entries = lane->entries,
                              .capacity = size_min(LANE_ENTRIES, 2 * (size_t)expand->batch_max),
                              .before = key_slice(&end) };
    lane->at = lane->count = 0;
    sombra_err err = kv_cursor_read(lane->cursor, KV_NEXT, &batch);
    if (err)
        return err;
    lane->is_at_end = batch.count == 0;
    lane->done_bytes = 0;
    if (batch.is_before_next && end.length <= sizeof lane->done) {
        memcpy(lane->done, end.bytes, end.length);
        lane->done_bytes = end.length;
    }
    lane->prefix = batch.prefix;
    lane->count = batch.count;
    return SOMBRA_OK;
}

/* To the first key from `key` on. */
static sombra_err lane_seek(struct graph_expand *expand, struct graph_lane *lane,
                            const struct graph_key *key)
{
    bool found = false;
    lane->at = lane->count = 0;
    lane->writes = expand->txn->writes;
    sombra_err err = kv_cursor_move(lane->cursor, KV_SEEK_GE, key_slice(key), &found);
    if (err)
        return err;
    lane->is_at_end = !found;
    lane->done_bytes = 0;
    lane->prefix = slice_of(NULL, 0);
    lane->count = found;
    if (found)
        lane->entries[0] = lane->cursor->entry;
    return SOMBRA_OK;
}

/* The node of the batch's last entry; 0 if it cannot be told. */
static uint64_t last_node(const struct graph_lane *lane)
{
    uint8_t bytes[1 + ORDERED_BYTES_MAX];
    uint64_t node = 0;
    if (lane->count == 0)
        return 0;
    sombra_slice suffix = lane->entries[lane->count - 1].key;
    size_t front = size_min(lane->prefix.bytes, sizeof bytes);
    size_t back = size_min(suffix.bytes, sizeof bytes - front);
    if (front)
        memcpy(bytes, lane->prefix.data, front);
    if (back)
        memcpy(bytes + front, suffix.data, back);
    const uint8_t *end = bytes + front + back;
    return front + back && ordered_get(bytes + 1, end, &node) ? node : 0;
}

/* Was all of the range read that there is? */
static bool lane_is_done(const struct graph_lane *lane, const struct graph_key *range)
{
    return lane->is_at_end ||
           (lane->done_bytes &&
            slice_compare(key_slice(range), slice_of(lane->done, lane->done_bytes)) < 0);
}

/* To where the range begins: past what lies before it in the batch, or by reading on, or by a
 * seek. */
static sombra_err lane_place(struct graph_expand *expand, struct graph_lane *lane)
{
    const uint64_t node = expand->sources[expand->source];
    const uint32_t type = expand->has_types ? expand->types[expand->type] : 0;
    const struct graph_key range = range_key(expand);
    bool is_ahead =
        lane->is_placed && lane->writes == expand->txn->writes &&
        (node > lane->floor_node || (node == lane->floor_node && type > lane->floor_type));
    sombra_err err = SOMBRA_OK;
    while (!err && is_ahead) {
        if (lane->at < lane->count) {
            int order = lane_match(lane, &range);
            if (order == 0)
                lane_skip(lane);
            else if (order < 0)
                lane->at = lane->count;
        }
        if (lane->at < lane->count || lane_is_done(lane, &range))
            break;
        uint64_t last = last_node(lane);
        is_ahead = last < node ? last + READ_ON_NODES >= node : last == node && type == 0;
        if (is_ahead)
            err = lane_read(expand, lane);
    }
    if (!err && !is_ahead)
        err = lane_seek(expand, lane, &range);
    lane->floor_node = node;
    lane->floor_type = type;
    lane->taken_edge = 0;
    lane->is_placed = !err;
    return err;
}

/* The transaction has written: what is read ahead may be gone. */
static sombra_err lane_renew(struct graph_expand *expand, struct graph_lane *lane)
{
    struct graph_key key = range_key(expand);
    if (lane->taken_edge) {
        key = key_2(expand->is_in ? TAG_IN : TAG_OUT, lane->floor_node, lane->taken_type);
        key_add(&key, lane->taken_other);
        key_add(&key, lane->taken_edge + 1);
    }
    return lane_seek(expand, lane, &key);
}

/* Hops of the range that is read now, until it ends or the batch is full. */
static sombra_err lane_take(struct graph_expand *expand, struct graph_lane *lane, size_t *count,
                            bool *out_ended)
{
    const struct graph_key range = range_key(expand);
    sombra_err err = SOMBRA_OK;
    *out_ended = false;
    for (;;) {
        if (lane->at < lane->count) {
            if (lane_match(lane, &range) != 0)
                *out_ended = true;
            else if (expand->has_types)
                err = take_entries(expand, lane, true, count, out_ended);
            else
                err = take_entries(expand, lane, false, count, out_ended);
        }
        if (err || *out_ended || *count == expand->batch_max)
            return err;
        if (lane_is_done(lane, &range)) {
            *out_ended = true;
            return SOMBRA_OK;
        }
        err = lane_read(expand, lane);
        if (err)
            return err;
    }
}

/* ---- numbers ----------------------------------------------------------------------------- */

/* Hops of the words; the first field is 0 (type) or 1 (other). */
static inline __attribute__((always_inline)) sombra_err take_words(struct graph_expand *expand,
                                                                   const struct edge_words *words,
                                                                   const size_t field,
                                                                   size_t *count)
{
    const uint64_t node = expand->sources[expand->source];
    const uint64_t loop = expand->is_in && expand->direction == SOMBRA_BOTH ? node : 0;
    const bool is_out = !expand->is_in;
    struct edge_shape shape = { .bytes = 0 };
    struct edge_fields fields = { .type = field ? expand->types[expand->type] : 0 };
    struct graph_hop *hop = &expand->batch[*count];
    for (size_t i = 0; i < words->count; i++) {
        if (UNLIKELY(!edge_words_get(words, i, field, &shape, &fields)))
            return diag_fail(SOMBRA_CORRUPT, "an edge's key is damaged");
        hop->node = fields.other;
        hop->edge = fields.edge;
        hop->source = (uint32_t)expand->source;
        hop->type = (uint32_t)fields.type;
        hop->is_out = is_out;
        hop += fields.other != loop;
    }
    *count = (size_t)(hop - expand->batch);
    return SOMBRA_OK;
}

/* One read of the store, whose cursor keeps the place. */
static sombra_err lane_read_words(struct graph_expand *expand, struct graph_lane *lane, size_t most,
                                  bool *out_ended)
{
    const struct graph_key range = range_key(expand);
    sombra_err err =
        edge_words_read(&lane->words, lane->cursor, key_slice(&range), !expand->is_begun, most);
    *out_ended = !err && lane->words.is_last;
    return err;
}

/* As lane_take. */
static sombra_err lane_take_words(struct graph_expand *expand, struct graph_lane *lane,
                                  size_t *count, bool *out_ended)
{
    sombra_err err = lane_read_words(expand, lane, expand->batch_max - *count, out_ended);
    if (err)
        return err;
    return expand->has_types ? take_words(expand, &lane->words, 1, count)
                             : take_words(expand, &lane->words, 0, count);
}

/* What edge_words_others has not read. */
static sombra_err take_ends_slow(struct edge_words *words, size_t field, struct graph_ends *ends)
{
    struct edge_fields fields = { .type = 1 };
    ends->node_bits = 0;
    for (size_t i = 0; i < words->count; i++) {
        if (!edge_words_get(words, i, field, NULL, &fields))
            return diag_fail(SOMBRA_CORRUPT, "an edge's key is damaged");
        ends->nodes[i] = fields.other;
        ends->node_bits |= fields.other;
    }
    if (words->long_key.bytes) { /* the only one, of which there is no word */
        words->words[0] = fields.edge;
        ends->form = GRAPH_EDGE_ID;
    }
    return SOMBRA_OK;
}

/* As take_words; of which types they are, and their edges, is left in the words. */
static sombra_err take_ends(struct edge_words *words, size_t field, struct graph_ends *ends)
{
    ends->form = field ? GRAPH_EDGE_KEY : GRAPH_EDGE_TYPED_KEY;
    ends->edges = words->words;
    ends->count = words->count;
    return edge_words_others(words, field, ends->nodes, &ends->node_bits)
               ? SOMBRA_OK
               : take_ends_slow(words, field, ends);
}

sombra_err graph_ends_edge(uint64_t edge, enum graph_edge_form form, sombra_edge_id *out_edge)
{
    if (form == GRAPH_EDGE_ID) {
        *out_edge = edge;
        return SOMBRA_OK;
    }
    return edge_word_edge(edge, form == GRAPH_EDGE_KEY, out_edge)
               ? SOMBRA_OK
               : diag_fail(SOMBRA_CORRUPT, "an edge's key is damaged");
}

static sombra_err lane_take_ends(struct graph_expand *expand, struct graph_lane *lane,
                                 struct graph_ends *ends, bool *out_ended)
{
    sombra_err err = lane_read_words(expand, lane, expand->batch_max, out_ended);
    if (!err)
        err = take_ends(&lane->words, expand->has_types, ends);
    ends->source = (uint32_t)expand->source;
    return err;
}

/* ---- life -------------------------------------------------------------------------------- */

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
    assert(!expand->lanes[0] && !expand->lanes[1]);
    assert(options->direction >= SOMBRA_OUT && options->direction <= SOMBRA_BOTH);
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    expand->txn = txn;
    expand->direction = options->direction;
    expand->types = options->types;
    expand->type_count = options->type_count;
    expand->has_types = options->has_types;
    expand->batch_max = GRAPH_BATCH;
    expand->has_words = kv_has_words(txn->kv);
    graph_expand_sources(expand, NULL, 0);
    if (expand->direction & SOMBRA_OUT)
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

/* The next hops of what the store has. */
static sombra_err next_stored(struct graph_expand *expand, size_t *out_count)
{
    size_t count = 0;
    sombra_err err = SOMBRA_OK;
    while (!err && count < expand->batch_max && expand->source < expand->source_count) {
        struct graph_lane *lane = expand->lanes[expand->is_in];
        bool ended = false;
        if (expand->has_words)
            err = lane_take_words(expand, lane, &count, &ended);
        else if (!expand->is_begun)
            err = lane_place(expand, lane);
        else if (lane->writes != expand->txn->writes)
            err = lane_renew(expand, lane);
        expand->is_begun = !err;
        if (!err && !expand->has_words)
            err = lane_take(expand, lane, &count, &ended);
        if (err) {
            lane->is_placed = expand->is_begun = false;
            return diag_wrap(err, "edges of node %" PRIu64, expand->sources[expand->source]);
        }
        if (ended)
            next_range(expand);
    }
    *out_count = count;
    return err;
}

static void take_kept(struct graph_expand *expand, const struct kept_ends *kept)
{
    const bool is_out = expand->direction == SOMBRA_OUT;
    for (uint32_t i = 0; i < kept->count; i++)
        expand->batch[i] = (struct graph_hop){ .node = kept->ends[i].node,
                                               .edge = kept->ends[i].edge,
                                               .source = 0,
                                               .type = kept->type,
                                               .is_out = is_out };
    expand->source = 1;
}

/* Of one node only: as graph_neighbours_next. A sweep over many has most of them in leaves that it
 * reads anyway. */
static sombra_err next_of_one(struct graph_expand *expand, size_t *out_count)
{
    const sombra_node_id node = expand->sources[0];
    const uint32_t asked =
        kept_ends_asked(expand->direction, expand->has_types, expand->types, expand->type_count);
    if (!asked || expand->batch_max <= KEPT_ENDS_MAX ||
        !kept_values_wanted(expand->txn, &expand->txn->ends, 1))
        return next_stored(expand, out_count);
    const struct kept_ends *kept = kept_ends_find(expand->txn, node, asked);
    if (kept) {
        take_kept(expand, kept);
        *out_count = kept->count;
        return SOMBRA_OK;
    }
    sombra_err err = next_stored(expand, out_count);
    if (err || expand->source == 0 || *out_count > KEPT_ENDS_MAX)
        return err;
    struct kept_ends *entry = kept_ends_add(expand->txn, node, asked);
    bool fits = true;
    for (size_t i = 0; fits && i < *out_count; i++)
        fits = kept_ends_put(entry, expand->batch[i].node, expand->batch[i].edge,
                             expand->batch[i].type);
    return SOMBRA_OK;
}

sombra_err graph_expand_next(struct graph_expand *expand, const struct graph_hop **out_batch,
                             size_t *out_count)
{
    size_t count = 0;
    sombra_err err = txn_check_read(expand->txn);
    if (expand->has_types && expand->type_count == 0)
        expand->source = expand->source_count;
    if (!err)
        err = expand->source_count == 1 && expand->source == 0 && !expand->is_begun
                  ? next_of_one(expand, &count)
                  : next_stored(expand, &count);
    if (err)
        return err;
    *out_batch = expand->batch;
    *out_count = count;
    return SOMBRA_OK;
}

sombra_err graph_expand_ends(struct graph_expand *expand, struct graph_ends *out_ends)
{
    sombra_err err = txn_check_read(expand->txn);
    assert(expand->has_words);
    out_ends->count = 0;
    if (expand->has_types && expand->type_count == 0)
        expand->source = expand->source_count;
    while (!err && out_ends->count == 0 && expand->source < expand->source_count) {
        bool ended = false;
        err = lane_take_ends(expand, expand->lanes[expand->is_in], out_ends, &ended);
        expand->is_begun = !err;
        if (err)
            return diag_wrap(err, "edges of node %" PRIu64, expand->sources[expand->source]);
        if (ended)
            next_range(expand);
    }
    return err;
}
