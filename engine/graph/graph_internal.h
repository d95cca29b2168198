/* SPDX-License-Identifier: MIT */
/* What the files of graph/ share: keys, guards, reads that copy.
 */
#ifndef GRAPH_INTERNAL_H
#define GRAPH_INTERNAL_H

#include "graph.h"
#include "graph_format.h"
#include "value.h"

#include <assert.h>
#include <inttypes.h>

struct graph_property {
    uint32_t name;
    bool is_null;
    sombra_slice key;   /* of those that are given: the name's text */
    sombra_slice value; /* encoded */
    /* In a record that is changed, what it takes the place of; nothing, if it comes there. */
    const uint8_t *from, *to;
};

struct graph_mark {
    uint64_t mark;     /* the kv's */
    size_t name_count; /* names made before it */
    size_t changes;    /* noted before it, for triggers */
};

/* ---- keys ---------------------------------------------------------------------------------- */

struct graph_key {
    size_t length; /* bytes */
    uint8_t bytes[GRAPH_KEY_BYTES_MAX];
};

static inline struct graph_key key_begin(enum graph_tag tag)
{
    struct graph_key key;
    key.bytes[0] = (uint8_t)tag;
    key.length = 1;
    return key;
}
static inline void key_add(struct graph_key *key, uint64_t number)
{
    assert(key->length + ORDERED_BYTES_MAX <= sizeof key->bytes);
    key->length = (size_t)(ordered_put(key->bytes + key->length, number) - key->bytes);
}
/* Keys where they are wanted; they return where the key ends. What was just stored byte by byte is
 * slow to copy: of many keys none should be. */
static inline uint8_t *key_put_1(uint8_t *at, enum graph_tag tag, uint64_t a)
{
    *at++ = (uint8_t)tag;
    return ordered_put(at, a);
}
static inline uint8_t *key_put_2(uint8_t *at, enum graph_tag tag, uint64_t a, uint64_t b)
{
    return ordered_put(key_put_1(at, tag, a), b);
}
static inline struct graph_key key_1(enum graph_tag tag, uint64_t a)
{
    struct graph_key key;
    key.length = (size_t)(key_put_1(key.bytes, tag, a) - key.bytes);
    return key;
}
static inline struct graph_key key_2(enum graph_tag tag, uint64_t a, uint64_t b)
{
    struct graph_key key;
    key.length = (size_t)(key_put_2(key.bytes, tag, a, b) - key.bytes);
    return key;
}
static inline struct graph_key key_3(enum graph_tag tag, uint64_t a, uint64_t b, uint64_t c)
{
    struct graph_key key = key_2(tag, a, b);
    key_add(&key, c);
    return key;
}
static inline uint8_t *key_put_out(uint8_t *at, const struct graph_edge *edge)
{
    at = key_put_2(at, TAG_OUT, edge->src, edge->type);
    return ordered_put(ordered_put(at, edge->dst), edge->id);
}
static inline uint8_t *key_put_in(uint8_t *at, const struct graph_edge *edge)
{
    at = key_put_2(at, TAG_IN, edge->dst, edge->type);
    return ordered_put(ordered_put(at, edge->src), edge->id);
}
static inline struct graph_key key_out(const struct graph_edge *edge)
{
    struct graph_key key;
    key.length = (size_t)(key_put_out(key.bytes, edge) - key.bytes);
    return key;
}
static inline struct graph_key key_in(const struct graph_edge *edge)
{
    struct graph_key key;
    key.length = (size_t)(key_put_in(key.bytes, edge) - key.bytes);
    return key;
}
static inline sombra_slice key_slice(const struct graph_key *key)
{
    return slice_of(key->bytes, key->length);
}

/* All keys that begin with a prefix, and the memory of the upper bound. */
struct key_span {
    struct graph_key low;
    uint8_t high[KV_KEY_BYTES_MAX]; /* kv_prefix_end asks for so much */
};
static inline struct kv_range span_of(const struct graph_key *prefix, struct key_span *span)
{
    span->low = *prefix;
    sombra_slice high = kv_prefix_end(key_slice(prefix), span->high);
    return (struct kv_range){ .low = key_slice(&span->low), .high = high };
}

/* ordered_get with the short forms inline: they are nearly all there are. */
static inline const uint8_t *ordered_read(const uint8_t *at, const uint8_t *end,
                                          uint64_t *out_value)
{
    if (LIKELY(end - at >= 3)) {
        uint32_t first = at[0];
        if (first < 0x80) {
            *out_value = first;
            return at + 1;
        }
        if (first < 0xc0) {
            uint32_t value = (first & 0x3f) << 8 | at[1];
            if (value >= 1u << 7) {
                *out_value = value;
                return at + 2;
            }
        } else if (first < 0xe0) {
            uint32_t value = (first & 0x1f) << 16 | (uint32_t)at[1] << 8 | at[2];
            if (value >= 1u << 14) {
                *out_value = value;
                return at + 3;
            }
        }
    }
    return ordered_get(at, end, out_value);
}

/* Reads the fields of batched keys behind a range's prefix of `prefix_bytes`. What the batch's
 * common prefix says of them is decoded once: whole fields at once, the bytes of a started one
 * (`rest`) go in front of every suffix. */
struct batch_keys {
    size_t skip;        /* bytes of each suffix that belong to the range's prefix */
    size_t rest;        /* bytes at the front of `bytes` */
    uint64_t rest_word; /* the same, left-aligned, if they are at most 8 */
    size_t known;       /* fields in `fields` */
    uint64_t fields[3];
    uint8_t bytes[(GRAPH_NUMBERS_MAX + 1) * ORDERED_BYTES_MAX];
};
/* `fields` wanted: 1 to 3. CORRUPT. */
sombra_err batch_keys_begin(struct batch_keys *keys, sombra_slice prefix, size_t prefix_bytes,
                            size_t fields) SOMBRA_MUST_CHECK;
/* Any suffix; false if its fields are not exactly `count` ordered numbers. */
bool batch_key_read_slow(struct batch_keys *keys, sombra_slice suffix, size_t count,
                         uint64_t *out_fields);

/* 1 to 8 bytes, left-aligned, without touching others: loads overlap, and agree where they do. */
static inline uint64_t word_load(const uint8_t *at, size_t bytes)
{
    if (bytes == 8)
        return get_be64(at);
    if (bytes >= 4)
        return (uint64_t)get_be32(at) << 32 | (uint64_t)get_be32(at + bytes - 4)
                                                  << (8 * (8 - bytes));
    return (uint64_t)at[0] << 56 | (uint64_t)at[bytes / 2] << (56 - 8 * (bytes / 2)) |
           (uint64_t)at[bytes - 1] << (56 - 8 * (bytes - 1));
}

/* 1 to 16 bytes without a call, some of them twice: loads overlap here, too. */
static inline void bytes_put_few(uint8_t *to, const uint8_t *from, size_t bytes)
{
    const size_t last = bytes - 1;
    if (bytes >= 8) {
        uint64_t first_word = get_le64(from), last_word = get_le64(from + last - 7);
        put_le64(to, first_word);
        put_le64(to + last - 7, last_word);
    } else if (bytes >= 4) {
        uint32_t first_word = get_le32(from), last_word = get_le32(from + last - 3);
        put_le32(to, first_word);
        put_le32(to + last - 3, last_word);
    } else {
        to[0] = from[0];
        to[bytes / 2] = from[bytes / 2];
        to[last] = from[last];
    }
}

/* Rest and suffix as one left-aligned word, if they fit: putting them together in memory costs a
 * stall for each key. False = read it slowly. */
static inline bool batch_key_word(const struct batch_keys *keys, sombra_slice suffix,
                                  uint64_t *out_word, size_t *out_left)
{
    size_t own = suffix.bytes - keys->skip; /* wraps if it is too short: then it is not small */
    if (UNLIKELY(own - 1 >= 8 || keys->rest + own > 8))
        return false;
    uint64_t word = word_load((const uint8_t *)suffix.data + keys->skip, own);
    *out_word = keys->rest_word | word >> (8 * keys->rest);
    *out_left = keys->rest + own;
    return true;
}
/* Takes one ordered number of `bytes` off the word. False if it is not the shortest form. */
static inline bool word_take_bytes(uint64_t *word, size_t *left, unsigned bytes,
                                   uint64_t *out_number)
{
    uint64_t number = *word << bytes >> (64 - 7 * bytes);
    *out_number = number;
    *word <<= 8 * bytes;
    if (UNLIKELY(*left < bytes))
        return false;
    *left -= bytes;
    return bytes == 1 || number >> (7 * (bytes - 1)) != 0;
}
/* False for numbers above 35 bits, too; the slow way then decides. Numbers of one batch are mostly
 * of one length, so that branches on it are cheaper than counting bits. */
static inline bool word_take(uint64_t *word, size_t *left, uint64_t *out_number)
{
    unsigned first = (unsigned)(*word >> 56); /* its leading ones count the bytes that follow */
    if (first < 0x80)
        return word_take_bytes(word, left, 1, out_number);
    if (first < 0xc0)
        return word_take_bytes(word, left, 2, out_number);
    if (first < 0xe0)
        return word_take_bytes(word, left, 3, out_number);
    if (first < 0xf0)
        return word_take_bytes(word, left, 4, out_number);
    return first < 0xf8 && word_take_bytes(word, left, 5, out_number);
}

/* ---- guards -------------------------------------------------------------------------------- */

sombra_err txn_refuse_broken(const struct graph_txn *txn);
static inline sombra_err txn_check_read(const struct graph_txn *txn)
{
    assert(txn->kv);
    return UNLIKELY(txn->broken) ? txn_refuse_broken(txn) : SOMBRA_OK;
}
/* And loads the counters. */
sombra_err txn_check_write(struct graph_txn *txn) SOMBRA_MUST_CHECK;
/* Does the transaction's user want to go on (sombra_txn_set_poll)? */
static inline SOMBRA_MUST_CHECK sombra_err txn_ask(const struct graph_txn *txn)
{
    sombra_err err = txn->poll.ask ? txn->poll.ask(txn->poll.context) : SOMBRA_OK;
    return err ? diag_fail(err, "its user wants no more of it") : SOMBRA_OK;
}
/* The same in a loop over many: asked for every POLL_ROWS-th. */
enum { POLL_ROWS = 4096 };
static inline SOMBRA_MUST_CHECK sombra_err txn_poll(const struct graph_txn *txn, size_t row)
{
    return LIKELY(row % POLL_ROWS) ? SOMBRA_OK : txn_ask(txn);
}
/* Once a transaction. */
sombra_err txn_load_counters(struct graph_txn *txn) SOMBRA_MUST_CHECK;
/* A write failed behind the first one: only a rollback is left. Returns `err`, wrapped. */
sombra_err txn_break(struct graph_txn *txn, sombra_err err);
/* What it made is committed: the graph takes its names over. */
void txn_share_names(struct graph_txn *txn);
/* Next id of a kind; LIMIT. */
sombra_err txn_take_id(uint64_t *next, const char *what, uint64_t *out_id) SOMBRA_MUST_CHECK;
sombra_err txn_type_add(struct graph_txn *txn, uint32_t type, int64_t edges) SOMBRA_MUST_CHECK;
/* The record of a type's count. CORRUPT. */
sombra_err type_count_read(sombra_slice value, uint64_t *out_count) SOMBRA_MUST_CHECK;
int64_t txn_type_delta(const struct graph_txn *txn, uint32_t type);
/* As the store has it, without the delta. */
sombra_err txn_type_stored(struct graph_txn *txn, uint32_t type,
                           uint64_t *out_count) SOMBRA_MUST_CHECK;

static inline bool txn_knows_node(const struct graph_txn *txn, sombra_node_id node)
{
    return (node >= txn->fresh_node && node < txn->next_node) ||
           (node != 0 && txn->known_nodes[node % GRAPH_KNOWN_NODES] == node);
}
static inline void txn_know_node(struct graph_txn *txn, sombra_node_id node)
{
    txn->known_nodes[node % GRAPH_KNOWN_NODES] = node;
}
static inline void txn_forget_node(struct graph_txn *txn, sombra_node_id node)
{
    if (txn->known_nodes[node % GRAPH_KNOWN_NODES] == node)
        txn->known_nodes[node % GRAPH_KNOWN_NODES] = 0;
    if (node >= txn->fresh_node)
        txn->fresh_node = txn->next_node;
}

/* ---- reads --------------------------------------------------------------------------------- */

/* Copies `bytes` to the transaction's own memory, which ends what was lent before. */
sombra_err txn_lend(struct graph_txn *txn, sombra_slice bytes,
                    sombra_slice *out_lent) SOMBRA_MUST_CHECK;
/* A write after which there are the same nodes, labels and edges. */
static inline void txn_note_plain_write(struct graph_txn *txn)
{
    txn->writes++;
    txn->plain_writes++;
}
/* Another one: some have come or gone. */
static inline uint64_t txn_shape(const struct graph_txn *txn)
{
    return txn->writes - txn->plain_writes;
}
/* Has it changed since a batch of `count` was read, of which `used` were used? (txn.c) */
sombra_err txn_check_shape(const struct graph_txn *txn, uint64_t shape, size_t used, size_t count,
                           bool *out_is_stale) SOMBRA_MUST_CHECK;
/* The same of what kv_get gave: where that lives as long as the transaction, it is not copied. */
static inline sombra_err txn_lend_value(struct graph_txn *txn, sombra_slice value,
                                        sombra_slice *out_lent)
{
    if (!txn->kv->keeps_values)
        return txn_lend(txn, value, out_lent);
    txn->lent++;
    *out_lent = value;
    return SOMBRA_OK;
}
sombra_err txn_has(struct graph_txn *txn, const struct graph_key *key,
                   bool *out_has) SOMBRA_MUST_CHECK;
sombra_err txn_count(struct graph_txn *txn, const struct graph_key *prefix, uint64_t limit,
                     uint64_t *out_count) SOMBRA_MUST_CHECK;
sombra_err corrupt_key(sombra_slice key, const char *what);
/* The numbers of a key behind its tag; `count` of them, all above 0, and nothing else. CORRUPT. */
struct key_fields {
    uint64_t at[GRAPH_NUMBERS_MAX];
};
sombra_err key_fields_read(sombra_slice key, size_t count,
                           struct key_fields *out) SOMBRA_MUST_CHECK;

/* Where the finder stands already, it knows what it knows: that is of bytes alone. */
static inline void record_finder_set(struct record_finder *finder, bool is_node, uint32_t name)
{
    if (finder->name != name || finder->is_node != is_node)
        *finder = (struct record_finder){ .name = name, .is_node = is_node };
}
/* As graph_record_value. */
sombra_err record_finder_value_slow(struct record_finder *finder, sombra_slice bytes,
                                    sombra_slice *out_value) SOMBRA_MUST_CHECK;
static inline sombra_err record_finder_value(struct record_finder *finder, sombra_slice bytes,
                                             sombra_slice *out_value)
{
    const uint8_t *at = bytes.data;
    if (UNLIKELY(finder->mask == 0 || bytes.bytes - 8 > COMPACT_BYTES_MAX - 8 ||
                 (get_le64(at) & finder->mask) != finder->form))
        return record_finder_value_slow(finder, bytes, out_value);
    if (!finder->is_there)
        return SOMBRA_NOT_FOUND;
    const uint8_t *end = at + bytes.bytes;
    at += finder->head_bytes;
    for (unsigned left = finder->skipped;; left--) {
        size_t length = value_length(at, (size_t)(end - at));
        if (UNLIKELY(length == 0))
            return record_finder_value_slow(finder, bytes, out_value);
        if (left == 0) {
            *out_value = slice_of(at, length);
            return SOMBRA_OK;
        }
        at += length;
    }
}

/* The ids of the labels, ascending, each once; those that do not exist are made. */
sombra_err node_labels(struct graph_txn *txn, const sombra_slice *labels, size_t count,
                       uint32_t *ids, size_t *out_count) SOMBRA_MUST_CHECK;
/* Creates the node whose record txn->record is. */
sombra_err node_create_built(struct graph_txn *txn, const uint32_t *labels, size_t label_count,
                             sombra_node_id *out_node) SOMBRA_MUST_CHECK;

/* The distinct types of a node's edges in a direction, ascending, appended to *types. */
sombra_err node_types(struct graph_txn *txn, sombra_node_id node, enum graph_tag tag,
                      uint32_t **types, size_t *count, size_t *capacity) SOMBRA_MUST_CHECK;

/* Its three entries and its share of the type's count; breaks the transaction if one is missing. */
sombra_err edge_delete(struct graph_txn *txn, const struct graph_edge *edge) SOMBRA_MUST_CHECK;
/* The record as the store lends it. That an edge has none is damage (CORRUPT), not absence. */
sombra_err edge_stored_record(struct graph_txn *txn, const struct graph_edge *edge,
                              sombra_slice *out_value) SOMBRA_MUST_CHECK;
/* ---- ends of edges by id (edge_ends.c) -------------------------------------------------- */

sombra_err edge_ends_add(struct graph_txn *txn, const struct graph_edge *edge) SOMBRA_MUST_CHECK;
/* NOT_FOUND. */
sombra_err edge_ends_delete(struct graph_txn *txn, sombra_edge_id edge) SOMBRA_MUST_CHECK;
/* Writes what is kept in memory, so that the store is complete; or forgets it after a rollback. */
sombra_err edge_ends_flush(struct graph_txn *txn) SOMBRA_MUST_CHECK;
void edge_ends_forget(struct graph_txn *txn);
/* The value that formats 1 to 3 had for an edge; sets all but the id. */
sombra_err edge_ends_read(sombra_slice value, struct graph_edge *out_edge) SOMBRA_MUST_CHECK;

/* ---- entries of buckets -------------------------------------------------------------------- */

struct entry_key {
    size_t length;                          /* bytes */
    uint8_t bytes[ENTRY_KEY_BYTES_MAX + 1]; /* one more, for the smallest key above it */
};
/* The prefix of all entries of a bucket. */
static inline struct graph_key key_of_bucket(sombra_bucket_id bucket)
{
    return key_1(TAG_ENTRY, bucket);
}
/* LIMIT for a string too long. */
sombra_err entry_key_of(sombra_bucket_id bucket, const sombra_key *key,
                        struct entry_key *out) SOMBRA_MUST_CHECK;
/* What follows the bucket's prefix in a key; the string points into it. */
sombra_err entry_key_read(sombra_slice bytes, sombra_key *out_key) SOMBRA_MUST_CHECK;
/* The store's range for a range of entries; the slices point into *low and *high. *out_is_empty:
 * the bounds exclude each other. */
sombra_err entry_range(sombra_bucket_id bucket, const sombra_key_range *range,
                       struct entry_key *low, struct entry_key *high,
                       bool *out_is_empty) SOMBRA_MUST_CHECK;
/* NOT_FOUND if there is no such bucket. */
sombra_err bucket_check(struct graph_txn *txn, sombra_bucket_id bucket) SOMBRA_MUST_CHECK;

/* ---- many entries (put_run.c) ----------------------------------------------------------- */

/* Entries whose keys ascend, on their way to the store. */
struct put_run {
    struct graph_txn *txn;
    struct kv_entry *entries;
    size_t count, capacity;
    uint8_t *bytes; /* of their keys */
    size_t bytes_used;
    size_t bytes_last; /* if more are used, there may be no room for another entry */
};
/* A value that is built behind its key has no more than so many bytes. */
enum { PUT_RUN_VALUE_BYTES_MAX = 4096 };
/* For about `count` entries. To be released even after a failure. */
sombra_err put_run_init(struct put_run *run, struct graph_txn *txn, size_t count) SOMBRA_MUST_CHECK;
void put_run_release(struct put_run *run);
/* The key is copied; the value (a few numbers, if so) only if told, else it outlives the flush. */
sombra_err put_run_add(struct put_run *run, sombra_slice key, sombra_slice value,
                       bool copies_value) SOMBRA_MUST_CHECK;
/* Puts what is left. A key below those before may follow. */
sombra_err put_run_flush(struct put_run *run) SOMBRA_MUST_CHECK;
/* put_run_add in two steps, for a key that is built where it belongs: there is room for the longest
 * at *out_key, and behind it for a value. */
static inline SOMBRA_MUST_CHECK sombra_err put_run_begin(struct put_run *run, uint8_t **out_key)
{
    if (UNLIKELY(run->count == run->capacity || run->bytes_used > run->bytes_last)) {
        sombra_err err = put_run_flush(run);
        if (err)
            return err;
    }
    *out_key = run->bytes + run->bytes_used;
    return SOMBRA_OK;
}
/* The key ends at `key_end`; the value outlives the flush. */
static inline void put_run_end(struct put_run *run, const uint8_t *key_end, sombra_slice value)
{
    const uint8_t *key = run->bytes + run->bytes_used;
    assert(key_end > key && run->count < run->capacity);
    run->entries[run->count++] =
        (struct kv_entry){ .key = slice_of(key, (size_t)(key_end - key)), .value = value };
    run->bytes_used += (size_t)(key_end - key);
}
/* The same; the value was built behind the key, and ends at `value_end`. */
static inline void put_run_end_both(struct put_run *run, const uint8_t *key_end,
                                    const uint8_t *value_end)
{
    size_t bytes = (size_t)(value_end - key_end);
    assert(value_end >= key_end && bytes <= PUT_RUN_VALUE_BYTES_MAX);
    put_run_end(run, key_end, slice_of(key_end, bytes));
    run->bytes_used += bytes;
}

/* The ends of new edges, whose ids follow one another (edge_ends.c): whole blocks go to the run. */
struct edge_range {
    sombra_edge_id first;
    size_t count;
};
typedef struct graph_edge (*edge_at)(const void *context, size_t index);
sombra_err edge_ends_run(struct graph_txn *txn, struct put_run *run, edge_at at,
                         const void *context, struct edge_range range) SOMBRA_MUST_CHECK;

/* ---- records (record.c, record_build.c) ---------------------------------------------------- */

/* Builds txn->record for what had the record `old`: its labels, then the properties of `given` (an
 * encoded map), merged over those of `old` with GRAPH_MERGE. Without `old` (a new node or edge) the
 * caller has begun a node's record with its labels. Makes the names it needs; moves `old`. */
sombra_err record_build(struct graph_txn *txn, sombra_record *old, bool is_node, sombra_slice given,
                        enum graph_change change) SOMBRA_MUST_CHECK;
/* Walks the properties: each value, and by `name_check` each name. CORRUPT. */
typedef sombra_err (*record_name_check)(void *context, uint32_t name);
sombra_err record_prove(sombra_record *record, record_name_check name_check,
                        void *context) SOMBRA_MUST_CHECK;
/* Names of properties as the maps of a batch gave them, by their place in the map: most have the
 * same in the same places. The texts are the maps'. */
enum { RECORD_NAMES = 16 };
struct record_names {
    struct record_name {
        sombra_slice text;
        uint32_t id; /* 0 = none yet */
    } at[RECORD_NAMES];
};
/* Appends the properties of a new node or edge to txn->record, where its labels are. */
sombra_err record_append_new(struct graph_txn *txn, struct record_names *names,
                             sombra_slice given) SOMBRA_MUST_CHECK;
/* Adds one to txn->properties, which are in the order of their names' ids, each once. */
sombra_err record_property_add(struct graph_txn *txn,
                               const struct graph_property *property) SOMBRA_MUST_CHECK;
/* Appends them to txn->record. */
sombra_err record_append_properties(struct graph_txn *txn) SOMBRA_MUST_CHECK;
/* The head that a record of just their names has if it is short enough; returns its bytes, or 0. */
size_t record_head(const struct graph_txn *txn, uint8_t to[HEAD_BYTES_MAX]);
/* The same labels, and the properties of `old` less one. Moves `old`. */
sombra_err record_build_without(struct graph_txn *txn, sombra_record *old, bool is_node,
                                uint32_t name) SOMBRA_MUST_CHECK;
/* Begins the record of a node. Ascending ids, each once. */
sombra_err record_begin_labels(struct graph_txn *txn, const uint32_t *labels,
                               size_t count) SOMBRA_MUST_CHECK;

/* ---- records by columns (record_columns.c) ---------------------------------------------- */

/* What the caller gave, which outlives it. */
struct record_columns {
    struct record_column {
        const sombra_column *column;
        uint32_t name;
    } * at;       /* in the order of names' ids; those that have any value */
    size_t count; /* of them */
    uint8_t head[HEAD_BYTES_MAX];
    size_t head_bytes; /* of a short record that has all of them; 0 = it has none */
    size_t bytes_max;  /* no row's properties take more in a record */
    size_t bytes_all;  /* the properties of all rows together take hardly less */
    bool are_whole;    /* each row has all of them, and is short */
    struct buf values; /* of one record that is not such */
};
/* Proves the columns, then makes their names. To be released even after a failure. */
sombra_err record_columns_init(struct record_columns *columns, struct graph_txn *txn,
                               const sombra_columns *given) SOMBRA_MUST_CHECK;
void record_columns_release(struct record_columns *columns);
/* Appends the properties of a row to txn->record, where the labels are. */
sombra_err record_columns_append(struct graph_txn *txn, struct record_columns *columns,
                                 size_t row) SOMBRA_MUST_CHECK;
/* The same where bytes_max is small: to `to`, which has room for the labels (that txn->record
 * begins with, `label_bytes`) and for bytes_max behind them; *out_end is its end. */
sombra_err record_columns_write(struct graph_txn *txn, struct record_columns *columns, size_t row,
                                size_t label_bytes, uint8_t *to,
                                uint8_t **out_end) SOMBRA_MUST_CHECK;
/* The column of a property; NULL: no row has it. */
const sombra_column *record_columns_find(const struct record_columns *columns, uint32_t name);
/* The property of a row; *out_has false: it is missing. */
sombra_err record_columns_value(const struct record_columns *columns, uint32_t name, size_t row,
                                sombra_value *out_value, bool *out_has) SOMBRA_MUST_CHECK;

#endif
