/* SPDX-License-Identifier: MIT */
/* The life of a graph transaction: counters, savepoints, and the guards of every call. */
#include "graph_internal.h"
#include "index_internal.h"
#include "kept_values.h"
#include "names.h"

/* ---- counters ---------------------------------------------------------------------------- */

struct counters {
    uint64_t format, next_node, next_edge, next_bucket, rules;
};

/* What a store without the record has: an empty graph. */
#define COUNTERS_INIT                                                                  \
    {                                                                                  \
        .format = GRAPH_FORMAT_PLAIN, .next_node = 1, .next_edge = 1, .next_bucket = 1 \
    }

static sombra_err counters_read(struct kv_txn *kv, struct counters *out)
{
    struct graph_key key = key_begin(TAG_COUNTERS);
    sombra_slice value;
    struct counters c = COUNTERS_INIT;
    sombra_err err = kv_get(kv, key_slice(&key), &value);
    if (!err) {
        const uint8_t *at = value.data, *end = at + value.bytes;
        at = at ? varint_get(at, end, &c.format) : NULL;
        if (at && c.format > GRAPH_FORMAT)
            return diag_fail(SOMBRA_UNSUPPORTED,
                             "the graph has format %" PRIu64 ", this library reads up to %d; use a "
                             "newer one",
                             c.format, GRAPH_FORMAT);
        if (at && c.format == GRAPH_FORMAT_UNFINISHED)
            return diag_fail(SOMBRA_INVALID, "this is a copy that was never finished: remove it");
        at = at ? varint_get(at, end, &c.next_node) : NULL;
        at = at ? varint_get(at, end, &c.next_edge) : NULL;
        at = at ? varint_get(at, end, &c.next_bucket) : NULL;
        if (at && c.format >= GRAPH_FORMAT_RULES)
            at = varint_get(at, end, &c.rules);
        if (at != end || at == NULL || c.next_node == 0 || c.next_edge == 0 || c.next_bucket == 0)
            return diag_fail(SOMBRA_CORRUPT, "the record of the counters is damaged");
    } else if (err != SOMBRA_NOT_FOUND) {
        return err;
    }
    *out = c;
    return SOMBRA_OK;
}

sombra_err graph_check_format(struct kv_txn *kv)
{
    struct counters unused;
    return counters_read(kv, &unused);
}

sombra_err graph_mark_unfinished(struct kv_txn *kv)
{
    static const uint8_t value[] = { GRAPH_FORMAT_UNFINISHED };
    struct graph_key key = key_begin(TAG_COUNTERS);
    return kv_put(kv, key_slice(&key), slice_of(value, sizeof value));
}

sombra_err graph_unmark_unfinished(struct kv_txn *kv)
{
    struct graph_key key = key_begin(TAG_COUNTERS);
    return kv_delete(kv, key_slice(&key));
}

bool graph_is_format_key(sombra_slice key)
{
    return key.bytes == 1 && *(const uint8_t *)key.data == TAG_COUNTERS;
}

size_t graph_key_prefix(sombra_slice key)
{
    const uint8_t *at = key.data;
    uint64_t node;
    if (key.bytes < 2 || (at[0] != TAG_OUT && at[0] != TAG_IN))
        return 0;
    const uint8_t *end = ordered_get(at + 1, at + key.bytes, &node);
    return end ? (size_t)(end - at) : 0;
}

sombra_err txn_load_counters(struct graph_txn *txn)
{
    struct counters c;
    if (LIKELY(txn->has_counters))
        return SOMBRA_OK;
    sombra_err err = counters_read(txn->kv, &c);
    if (err)
        return err;
    /* After a rollback the store may be behind: ids that were given out are not given again. */
    txn->next_node = u64_max(txn->next_node, c.next_node);
    txn->next_edge = u64_max(txn->next_edge, c.next_edge);
    txn->next_bucket = u64_max(txn->next_bucket, c.next_bucket);
    txn->rules_version = c.rules;
    txn->fresh_node = txn->next_node;
    txn->is_older_format = c.format < GRAPH_FORMAT;
    txn->has_counters = true;
    return SOMBRA_OK;
}

static sombra_err counters_save(struct graph_txn *txn)
{
    struct graph_key key = key_begin(TAG_COUNTERS);
    uint8_t value[5 * VARINT_BYTES_MAX], *at = value;
    at = varint_put(at, GRAPH_FORMAT);
    at = varint_put(at, txn->next_node);
    at = varint_put(at, txn->next_edge);
    at = varint_put(at, txn->next_bucket);
    at = varint_put(at, txn->rules_version);
    return kv_put(txn->kv, key_slice(&key), slice_of(value, (size_t)(at - value)));
}

sombra_err txn_take_id(uint64_t *next, const char *what, uint64_t *out_id)
{
    if (*next > INT64_MAX)
        return diag_fail(SOMBRA_LIMIT, "all ids of %s are used up", what);
    *out_id = (*next)++;
    return SOMBRA_OK;
}

sombra_err rules_rolled_back(struct graph_txn *txn)
{
    struct counters c;
    if (!txn->rules_changed)
        return SOMBRA_OK;
    rules_unload(txn);
    sombra_err err = counters_read(txn->kv, &c);
    if (err)
        return txn_break(txn, err);
    txn->rules_version = c.rules;
    return SOMBRA_OK;
}

/* ---- edges a type ------------------------------------------------------------------------ */

sombra_err txn_type_add(struct graph_txn *txn, uint32_t type, int64_t edges)
{
    if (type >= txn->type_capacity) {
        size_t capacity = size_max(64, (size_t)type * 2);
        int64_t *grown = mem_realloc(txn->type_deltas, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("edges a type", capacity * sizeof *grown);
        memset(grown + txn->type_capacity, 0, (capacity - txn->type_capacity) * sizeof *grown);
        txn->type_deltas = grown;
        txn->type_capacity = capacity;
    }
    txn->type_deltas[type] += edges;
    txn->types_dirty = true;
    return SOMBRA_OK;
}

int64_t txn_type_delta(const struct graph_txn *txn, uint32_t type)
{
    return txn->types_dirty && type < txn->type_capacity ? txn->type_deltas[type] : 0;
}

sombra_err type_count_read(sombra_slice value, uint64_t *out_count)
{
    uint64_t count = 0;
    const uint8_t *at = value.data, *end = at + value.bytes;
    if (!at || varint_get(at, end, &count) != end || count > INT64_MAX)
        return diag_fail(SOMBRA_CORRUPT, "the count of a type is damaged");
    *out_count = count;
    return SOMBRA_OK;
}

sombra_err txn_type_stored(struct graph_txn *txn, uint32_t type, uint64_t *out_count)
{
    struct graph_key key = key_1(TAG_TYPE_COUNT, type);
    sombra_slice value;
    sombra_err err = kv_get(txn->kv, key_slice(&key), &value);
    if (err == SOMBRA_NOT_FOUND) {
        *out_count = 0;
        return SOMBRA_OK;
    }
    if (!err)
        err = type_count_read(value, out_count);
    return diag_wrap(err, "type %" PRIu32, type);
}

static sombra_err type_save(struct graph_txn *txn, uint32_t type, int64_t delta)
{
    struct graph_key key = key_1(TAG_TYPE_COUNT, type);
    uint8_t value[VARINT_BYTES_MAX];
    uint64_t count;
    sombra_err err = txn_type_stored(txn, type, &count);
    if (err)
        return err;
    if (delta < 0 && (uint64_t)-delta > count)
        return diag_fail(SOMBRA_CORRUPT, "type %" PRIu32 " counts %" PRIu64 " edges and loses more",
                         type, count);
    count += (uint64_t)delta;
    if (count == 0)
        return kv_delete(txn->kv, key_slice(&key));
    size_t bytes = (size_t)(varint_put(value, count) - value);
    return kv_put(txn->kv, key_slice(&key), slice_of(value, bytes));
}

sombra_err graph_txn_flush(struct graph_txn *txn)
{
    sombra_err err = txn_check_read(txn);
    if (err || !txn->kv->is_write)
        return err;
    /* The first that this version writes makes the graph one of its format. */
    if (txn->counters_dirty || (txn->is_older_format && txn->writes > 0))
        err = counters_save(txn);
    if (!err)
        err = edge_ends_flush(txn);
    for (uint32_t type = 0; !err && txn->types_dirty && type < txn->type_capacity; type++) {
        if (txn->type_deltas[type])
            err = type_save(txn, type, txn->type_deltas[type]);
        if (!err)
            txn->type_deltas[type] = 0;
    }
    if (err)
        return txn_break(txn, err);
    txn->writes += txn->types_dirty || txn->counters_dirty;
    txn->types_dirty = false;
    txn->counters_dirty = false;
    return SOMBRA_OK;
}

/* ---- guards ------------------------------------------------------------------------------ */

sombra_err txn_refuse_broken(const struct graph_txn *txn)
{
    return diag_fail(SOMBRA_INVALID, "the transaction failed before (%s); roll it back",
                     sombra_err_name(txn->broken));
}

sombra_err txn_check_write(struct graph_txn *txn)
{
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    if (txn->is_readonly)
        return diag_fail(SOMBRA_READONLY, "what runs now may only read: a procedure of mode "
                                          "\"read\", or a function of a query");
    if (!txn->kv->is_write)
        return diag_fail(SOMBRA_READONLY, "the transaction only reads; begin it for writing");
    err = txn_load_counters(txn);
    return err ? err : rules_load(txn);
}

sombra_err txn_break(struct graph_txn *txn, sombra_err err)
{
    assert(err);
    txn->broken = err;
    return diag_wrap(err, "the transaction must be rolled back");
}

/* ---- life -------------------------------------------------------------------------------- */

void graph_txn_begin(struct graph_txn *txn, struct graph *graph, struct kv_txn *kv)
{
    assert(graph && kv && !txn->kv);
    txn->is_readonly = false;
    txn->poll = (sombra_txn_poll){ 0 };
    txn->graph = graph;
    txn->kv = kv;
    txn->version = kv->is_write ? 0 : kv->version;
    txn->broken = SOMBRA_OK;
    txn->lent++;
    txn->writes = txn->plain_writes = 0;
    txn->known_bucket = 0;
    txn->has_counters = false;
    txn->is_older_format = false;
    txn->rules_version = 0;
    txn->next_node = txn->next_edge = txn->next_bucket = 0;
    if (!kv->is_write) {
        rules_take_kept(txn);
        kept_values_begin(txn);
        return;
    }
    assert(txn->made.count == 0 && txn->mark_count == 0 && !txn->types_dirty);
    txn->counters_dirty = false;
    txn->rules_changed = false;
    txn->violation = (sombra_violation){ 0 };
    memset(txn->known_nodes, 0, sizeof txn->known_nodes);
    txn->fresh_node = txn->next_node;
}

static void forget_deltas(struct graph_txn *txn)
{
    if (txn->types_dirty)
        memset(txn->type_deltas, 0, txn->type_capacity * sizeof *txn->type_deltas);
    txn->types_dirty = false;
}

/* A buffer that one huge record made grow is not kept. */
static void trim(struct buf *buf)
{
    if (buf->capacity > MiB)
        buf_release(buf);
    buf_reset(buf);
}

void graph_txn_end(struct graph_txn *txn, bool is_committed)
{
    assert(txn->kv);
    if (is_committed && txn->made.count)
        txn_share_names(txn);
    if (txn->made.by_text)
        graph_names_release(&txn->made);
    graph_name_list_free(txn->names_undone);
    txn->names_undone = NULL;
    rules_keep(txn);
    plan_drop(txn);
    changes_cut(txn, 0);
    txn->mark_count = 0;
    forget_deltas(txn);
    edge_ends_forget(txn);
    trim(&txn->read);
    trim(&txn->record);
    trim(&txn->old);
    if (txn->plan)
        plan_trim(txn->plan);
    txn->lent++;
    txn->kv = NULL;
}

void graph_txn_unlearn(struct graph_txn *txn)
{
    assert(!txn->kv);
    if (txn->kept_rules)
        rules_forget(txn);
    kept_values_release(txn);
    memset(txn->recent, 0, sizeof txn->recent);
}

void graph_txn_release(struct graph_txn *txn)
{
    graph_txn_unlearn(txn);
    buf_release(&txn->read);
    buf_release(&txn->record);
    buf_release(&txn->old);
    mem_free(txn->properties);
    mem_free(txn->marks);
    mem_free(txn->type_deltas);
    mem_free(txn->block);
    plan_free(txn->plan);
    changes_free(txn->changes);
}

/* ---- savepoints -------------------------------------------------------------------------- */

static sombra_err refuse_reader(const struct graph_txn *txn)
{
    return txn->kv->is_write
               ? SOMBRA_OK
               : diag_fail(SOMBRA_READONLY, "only write transactions have savepoints");
}

sombra_err graph_txn_savepoint(struct graph_txn *txn, uint64_t *out_mark)
{
    sombra_err err = refuse_reader(txn);
    if (!err)
        err = txn_check_read(txn);
    if (err)
        return err;
    if (txn->mark_count == txn->mark_capacity) {
        size_t capacity = size_max(8, txn->mark_capacity * 2);
        struct graph_mark *grown = mem_realloc(txn->marks, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("savepoints", capacity * sizeof *grown);
        txn->marks = grown;
        txn->mark_capacity = capacity;
    }
    struct graph_mark mark = { .name_count = txn->made.count, .changes = changes_count(txn) };
    err = graph_txn_flush(txn); /* what the store holds at the mark is complete */
    if (!err)
        err = kv_savepoint(txn->kv, KV_SAVEPOINT_SET, &mark.mark);
    if (err)
        return err;
    txn->marks[txn->mark_count++] = mark;
    *out_mark = mark.mark;
    return SOMBRA_OK;
}

/* INVALID if it is not set. */
static sombra_err mark_find(const struct graph_txn *txn, uint64_t mark, size_t *out_index)
{
    for (size_t i = txn->mark_count; i > 0; i--) {
        if (txn->marks[i - 1].mark == mark) {
            *out_index = i - 1;
            return SOMBRA_OK;
        }
    }
    return diag_fail(SOMBRA_INVALID, "no savepoint %" PRIu64 " is set", mark);
}

sombra_err graph_txn_rollback_to(struct graph_txn *txn, uint64_t mark)
{
    size_t index = 0;
    uint64_t kv_mark = mark;
    sombra_err err = refuse_reader(txn);
    if (!err)
        err = mark_find(txn, mark, &index);
    if (!err)
        err = kv_savepoint(txn->kv, KV_SAVEPOINT_ROLLBACK, &kv_mark);
    if (err)
        return err;
    txn->mark_count = index + 1;
    struct graph_name *undone = graph_names_cut(&txn->made, txn->marks[index].name_count);
    if (undone) {
        struct graph_name *last = undone;
        while (last->next)
            last = last->next;
        last->next = txn->names_undone;
        txn->names_undone = undone;
    }
    plan_drop(txn);
    changes_cut(txn, txn->marks[index].changes);
    forget_deltas(txn);
    edge_ends_forget(txn);
    memset(txn->known_nodes, 0, sizeof txn->known_nodes);
    txn->fresh_node = txn->next_node;
    txn->known_bucket = 0;
    txn->writes++;
    txn->broken = SOMBRA_OK;
    err = rules_rolled_back(txn);
    txn->counters_dirty = txn->has_counters;
    return err;
}

sombra_err graph_txn_forget(struct graph_txn *txn, uint64_t mark)
{
    size_t index = 0;
    uint64_t kv_mark = mark;
    sombra_err err = refuse_reader(txn);
    if (!err)
        err = txn_check_read(txn);
    if (!err)
        err = mark_find(txn, mark, &index);
    if (!err)
        err = kv_savepoint(txn->kv, KV_SAVEPOINT_RELEASE, &kv_mark);
    if (!err)
        txn->mark_count = index;
    return err;
}

/* ---- reads ------------------------------------------------------------------------------- */

sombra_err txn_lend(struct graph_txn *txn, sombra_slice bytes, sombra_slice *out_lent)
{
    txn->lent++;
    sombra_err err = buf_set(&txn->read, bytes);
    if (!err)
        *out_lent = buf_slice(&txn->read);
    return err;
}

sombra_err txn_has(struct graph_txn *txn, const struct graph_key *key, bool *out_has)
{
    sombra_slice unused;
    sombra_err err = kv_get(txn->kv, key_slice(key), &unused);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    *out_has = !err;
    return SOMBRA_OK;
}

sombra_err txn_count(struct graph_txn *txn, const struct graph_key *prefix, uint64_t limit,
                     uint64_t *out_count)
{
    struct key_span span;
    return kv_count(txn->kv, span_of(prefix, &span), limit, out_count);
}

sombra_err corrupt_key(sombra_slice key, const char *what)
{
    char hex[2 * 40 + 1] = "";
    const uint8_t *at = key.data;
    for (size_t i = 0; i < key.bytes && i < 40; i++) {
        hex[2 * i] = "0123456789abcdef"[at[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[at[i] & 15];
    }
    return diag_fail(SOMBRA_CORRUPT, "key %s of %zu bytes is not (%s)", hex, key.bytes, what);
}

sombra_err key_fields_read(sombra_slice key, size_t count, struct key_fields *out)
{
    const uint8_t *at = (const uint8_t *)key.data + 1;
    const uint8_t *end = (const uint8_t *)key.data + key.bytes;
    assert(count <= GRAPH_NUMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        at = ordered_read(at, end, &out->at[i]);
        if (!at || out->at[i] == 0)
            return corrupt_key(key, "a tag and numbers above 0");
    }
    return at == end ? SOMBRA_OK : corrupt_key(key, "numbers up to its end");
}

sombra_err batch_keys_begin(struct batch_keys *keys, sombra_slice prefix, size_t prefix_bytes,
                            size_t fields)
{
    assert(fields >= 1 && fields <= COUNT_OF(keys->fields));
    keys->skip = keys->rest = keys->known = 0;
    keys->rest_word = 0;
    if (prefix.bytes <= prefix_bytes) {
        keys->skip = prefix_bytes - prefix.bytes;
        return SOMBRA_OK;
    }
    const uint8_t *at = (const uint8_t *)prefix.data + prefix_bytes;
    const uint8_t *end = (const uint8_t *)prefix.data + prefix.bytes;
    while (keys->known < fields) {
        const uint8_t *next = ordered_read(at, end, &keys->fields[keys->known]);
        if (!next)
            break;
        keys->known++;
        at = next;
    }
    if ((size_t)(end - at) >= ORDERED_BYTES_MAX)
        return corrupt_key(prefix, "a batch's prefix");
    keys->rest = (size_t)(end - at);
    if (keys->rest)
        memcpy(keys->bytes, at, keys->rest);
    if (keys->rest && keys->rest <= 8)
        keys->rest_word = word_load(at, keys->rest);
    return SOMBRA_OK;
}

bool batch_key_read_slow(struct batch_keys *keys, sombra_slice suffix, size_t count,
                         uint64_t *out_fields)
{
    if (suffix.bytes < keys->skip || suffix.bytes > sizeof keys->bytes - keys->rest)
        return false;
    const uint8_t *at = (const uint8_t *)suffix.data + keys->skip;
    const uint8_t *end = (const uint8_t *)suffix.data + suffix.bytes;
    if (keys->rest) { /* and then nothing is skipped */
        if (suffix.bytes)
            memcpy(keys->bytes + keys->rest, suffix.data, suffix.bytes);
        at = keys->bytes;
        end = at + keys->rest + suffix.bytes;
    }
    for (size_t i = 0; i < count; i++) {
        at = ordered_read(at, end, &out_fields[i]);
        if (!at)
            return false;
    }
    return at == end;
}

/* ---- batches ----------------------------------------------------------------------------- */

sombra_err txn_check_shape(const struct graph_txn *txn, uint64_t shape, size_t used, size_t count,
                           bool *out_is_stale)
{
    sombra_err err = txn_check_read(txn);
    if (!err && (used == 0 || used > count))
        err = diag_fail(SOMBRA_INVALID, "%zu of a batch of %zu cannot have been used", used, count);
    if (!err)
        *out_is_stale = shape != txn_shape(txn);
    return err;
}
