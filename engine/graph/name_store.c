/* SPDX-License-Identifier: MIT */
/* Names in the store, and the way to them: names this transaction made, names that the graph saw
 * committed, the store itself. What the store answers beyond the transaction's own names is
 * committed (a rollback takes a name out of both), so it may be shared at once. */
#include "graph_internal.h"
#include "index_internal.h"
#include "names.h"

#include <stdlib.h>

sombra_err graph_init(struct graph *graph)
{
    memset(graph, 0, sizeof *graph);
    int failed = pthread_mutex_init(&graph->mutex, NULL);
    return failed ? diag_nomem("a mutex", sizeof graph->mutex) : SOMBRA_OK;
}

void graph_release(struct graph *graph)
{
    if (!graph)
        return;
    rules_release(graph);
    graph_names_release(&graph->names);
    pthread_mutex_destroy(&graph->mutex);
}

static sombra_err check_name(sombra_name_kind kind, sombra_slice text)
{
    if (kind < SOMBRA_NAME_LABEL || kind > SOMBRA_NAME_PROPERTY)
        return diag_fail(SOMBRA_INVALID, "%d is no kind of name", (int)kind);
    if (text.bytes == 0)
        return diag_fail(SOMBRA_INVALID, "a name is empty; give 1 to %d bytes",
                         SOMBRA_NAME_BYTES_MAX);
    if (text.bytes > SOMBRA_NAME_BYTES_MAX)
        return diag_fail(SOMBRA_LIMIT, "a name has %zu bytes; give 1 to %d", text.bytes,
                         SOMBRA_NAME_BYTES_MAX);
    assert(text.data);
    return SOMBRA_OK;
}

static size_t text_key(sombra_name_kind kind, sombra_slice text, uint8_t *to)
{
    to[0] = TAG_NAME_BY_TEXT;
    to[1] = (uint8_t)kind; /* below 0x80: its own ordered varint */
    memcpy(to + 2, text.data, text.bytes);
    return 2 + text.bytes;
}

static sombra_err read_id(sombra_slice value, uint32_t *out_id)
{
    uint64_t id;
    const uint8_t *at = value.data, *end = at + value.bytes;
    if (!at || varint_get(at, end, &id) != end || id == 0 || id > UINT32_MAX)
        return diag_fail(SOMBRA_CORRUPT, "the id of a name is not a number of 1 to 2^32 - 1");
    *out_id = (uint32_t)id;
    return SOMBRA_OK;
}

/* Shares a committed name; *out_name is the shared one, made here or by another in the meantime. */
static sombra_err share(struct graph *graph, sombra_name_kind kind, uint32_t id, sombra_slice text,
                        struct graph_name **out_name)
{
    struct graph_name *name = NULL;
    sombra_err err = SOMBRA_OK;
    pthread_mutex_lock(&graph->mutex);
    struct graph_name *known = graph_names_by_text(&graph->names, kind, text);
    if (!known) {
        err = graph_name_new(kind, id, text, &name);
        if (!err)
            err = graph_names_add(&graph->names, name);
        if (err)
            mem_free(name);
    } else if (known->id != id) {
        err =
            diag_fail(SOMBRA_CORRUPT, "a name has the ids %" PRIu32 " and %" PRIu32, known->id, id);
    }
    pthread_mutex_unlock(&graph->mutex);
    if (!err)
        *out_name = known ? known : name;
    return err;
}

/* *out_name NULL: there is none. */
static sombra_err find(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                       struct graph_name **out_name)
{
    sombra_err err = check_name(kind, text);
    if (err)
        return err;
    struct graph_name **recent = &txn->recent[kind][text.bytes % GRAPH_RECENT_NAMES];
    struct graph_name *name = *recent;
    /* Shared names stay; one made here has the same text only until it is shared itself. */
    if (LIKELY(name && name->bytes == text.bytes && txn->made.count == 0 &&
               memcmp(name->text, text.data, text.bytes) == 0)) {
        *out_name = name;
        return SOMBRA_OK;
    }
    name = NULL;
    if (txn->made.count)
        name = graph_names_by_text(&txn->made, kind, text);
    if (!name) {
        name = graph_names_by_text(&txn->graph->names, kind, text);
        *recent = name;
    }
    if (LIKELY(name != NULL)) {
        *out_name = name;
        return SOMBRA_OK;
    }
    uint8_t key[2 + SOMBRA_NAME_BYTES_MAX];
    sombra_slice value;
    uint32_t id = 0;
    err = kv_get(txn->kv, slice_of(key, text_key(kind, text, key)), &value);
    if (err == SOMBRA_NOT_FOUND) {
        txn->names_missed++;
        *out_name = NULL;
        return SOMBRA_OK;
    }
    if (!err)
        err = read_id(value, &id);
    if (!err)
        err = share(txn->graph, kind, id, text, out_name);
    return diag_wrap(err, "find a name");
}

sombra_err graph_name_find(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                           uint32_t *out_id)
{
    struct graph_name *name;
    sombra_err err = find(txn, kind, text, &name);
    if (!err)
        *out_id = name ? name->id : 0;
    return err;
}

static sombra_name name_view(const struct graph_name *name)
{
    return (sombra_name){ .id = name->id, .text = slice_of(name->text, name->bytes) };
}

sombra_err graph_name_by_text(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                              sombra_name *out_name)
{
    struct graph_name *name;
    sombra_err err = find(txn, kind, text, &name);
    if (err)
        return err;
    if (!name)
        return SOMBRA_NOT_FOUND;
    *out_name = name_view(name);
    return SOMBRA_OK;
}

static sombra_err stored_by_id(struct graph_txn *txn, sombra_name_kind kind, uint32_t id,
                               struct graph_name **out_name)
{
    struct graph_key key = key_2(TAG_NAME_BY_ID, (uint64_t)kind, id);
    sombra_slice text;
    sombra_err err = kv_get(txn->kv, key_slice(&key), &text);
    if (!err && check_name(kind, text))
        err = diag_fail(SOMBRA_CORRUPT, "name %" PRIu32 " has %zu bytes", id, text.bytes);
    if (err)
        return err;
    /* Names made here that many others come before are not found by id (names.c), and what is not
     * committed must not be shared. */
    if (txn->made.count && (*out_name = graph_names_by_text(&txn->made, kind, text)))
        return SOMBRA_OK;
    return share(txn->graph, kind, id, text, out_name);
}

sombra_err graph_name_by_id(struct graph_txn *txn, sombra_name_kind kind, uint32_t id,
                            sombra_name *out_name)
{
    struct graph_name *name = NULL;
    if (kind < SOMBRA_NAME_LABEL || kind > SOMBRA_NAME_PROPERTY)
        return diag_fail(SOMBRA_INVALID, "%d is no kind of name", (int)kind);
    if (UNLIKELY(txn->made.count))
        name = graph_names_by_id(&txn->made, kind, id);
    if (!name)
        name = graph_names_by_id(&txn->graph->names, kind, id);
    if (UNLIKELY(!name)) {
        sombra_err err = stored_by_id(txn, kind, id, &name);
        if (err)
            return err;
    }
    *out_name = name_view(name);
    return SOMBRA_OK;
}

sombra_err graph_name_of_record(struct graph_txn *txn, sombra_name_kind kind, uint32_t id,
                                sombra_name *out_name)
{
    sombra_err err = graph_name_by_id(txn, kind, id, out_name);
    if (err == SOMBRA_NOT_FOUND)
        err = diag_fail(SOMBRA_CORRUPT, "a record uses name %" PRIu32 ", which does not exist", id);
    return err;
}

/* The last field of a (kind, id) key. */
static sombra_err id_of_key(sombra_slice key, uint32_t *out_id)
{
    const uint8_t *at = key.data, *end = at + key.bytes;
    uint64_t id;
    if (key.bytes < 3 || ordered_read(at + 2, end, &id) != end || id == 0 || id > UINT32_MAX)
        return corrupt_key(key, "kind, id of a name");
    *out_id = (uint32_t)id;
    return SOMBRA_OK;
}

/* Moves to one end of the ids of a kind, from `low` on; *out_id 0 = there are none. */
static sombra_err edge_id(struct graph_txn *txn, sombra_name_kind kind, uint64_t low,
                          enum kv_motion motion, uint32_t *out_id)
{
    struct graph_key prefix = key_1(TAG_NAME_BY_ID, (uint64_t)kind);
    struct graph_key from = key_2(TAG_NAME_BY_ID, (uint64_t)kind, low);
    struct key_span span;
    struct kv_range range = span_of(&prefix, &span);
    range.low = key_slice(&from);
    struct kv_cursor *cursor;
    bool found = false;
    sombra_err err = kv_cursor_open(txn->kv, range, &cursor);
    if (err)
        return err;
    err = kv_cursor_move(cursor, motion, slice_of(NULL, 0), &found);
    if (!err && found)
        err = id_of_key(cursor->entry.key, out_id);
    else if (!err)
        *out_id = 0;
    kv_cursor_close(cursor);
    return err;
}

sombra_err graph_name_next(struct graph_txn *txn, sombra_name_kind kind, uint32_t after,
                           sombra_name *out_name, bool *out_found)
{
    uint32_t id;
    sombra_name name;
    if (kind < SOMBRA_NAME_LABEL || kind > SOMBRA_NAME_PROPERTY)
        return diag_fail(SOMBRA_INVALID, "%d is no kind of name", (int)kind);
    sombra_err err = edge_id(txn, kind, (uint64_t)after + 1, KV_FIRST, &id);
    if (!err && id)
        err = graph_name_by_id(txn, kind, id, &name);
    if (err)
        return err;
    if (id)
        *out_name = name;
    *out_found = id != 0;
    return SOMBRA_OK;
}

/* Writes a new name under the next id. */
static sombra_err make(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                       uint32_t *out_id)
{
    uint32_t last = 0;
    struct graph_name *name = NULL;
    uint8_t by_text[2 + SOMBRA_NAME_BYTES_MAX], value[VARINT_BYTES_MAX];
    sombra_err err = edge_id(txn, kind, 1, KV_LAST, &last);
    if (!err && last == UINT32_MAX)
        err = diag_fail(SOMBRA_LIMIT, "2^32 - 1 names of a kind are used up");
    if (!err)
        err = graph_name_new(kind, last + 1, text, &name);
    if (err)
        return err;
    struct graph_key by_id = key_2(TAG_NAME_BY_ID, (uint64_t)kind, name->id);
    size_t value_bytes = (size_t)(varint_put(value, name->id) - value);
    txn_note_plain_write(txn);
    err = kv_put(txn->kv, slice_of(by_text, text_key(kind, text, by_text)),
                 slice_of(value, value_bytes));
    if (!err)
        err = kv_put(txn->kv, key_slice(&by_id), text);
    if (!err)
        err = graph_names_add(&txn->made, name);
    if (err) {
        mem_free(name);
        return txn_break(txn, err); /* the store may have it and the transaction not know it */
    }
    *out_id = name->id;
    return SOMBRA_OK;
}

sombra_err graph_name_intern(struct graph_txn *txn, sombra_name_kind kind, sombra_slice text,
                             uint32_t *out_id)
{
    struct graph_name *name;
    sombra_err err = find(txn, kind, text, &name);
    if (err)
        return err;
    if (!name)
        return make(txn, kind, text, out_id);
    *out_id = name->id;
    return SOMBRA_OK;
}

void txn_share_names(struct graph_txn *txn)
{
    struct graph *graph = txn->graph;
    pthread_mutex_lock(&graph->mutex);
    for (struct graph_name *name = graph_names_cut(&txn->made, 0); name;) {
        struct graph_name *next = name->next;
        /* Another transaction may have read it from the store already; and a name that cannot be
         * added is found there each time. */
        if (graph_names_by_text(&graph->names, name->kind, slice_of(name->text, name->bytes)) ||
            graph_names_add(&graph->names, name))
            mem_free(name);
        name = next;
    }
    pthread_mutex_unlock(&graph->mutex);
}
