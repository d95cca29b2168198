/* SPDX-License-Identifier: MIT */
#include "kv_trace.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    TRACE_LINE_BYTES = 320,
    TRACE_KEY_SHOWN = 24, /* bytes of a key before it is cut */
    TRACE_KEY_BYTES = 4 * TRACE_KEY_SHOWN + 32,
};

struct trace {
    struct kv kv;
    struct kv *inner;
    kv_trace_fn line;
    void *context;
    _Atomic uint64_t last_txn; /* numbers in the lines */
    _Atomic uint64_t last_cursor;
};

struct trace_txn {
    struct kv_txn txn;
    struct kv_txn *inner;
    uint64_t number;
    struct trace_cursor *cursors;
};

struct trace_cursor {
    struct kv_cursor cursor;
    struct kv_cursor *inner;
    uint64_t number;
    struct trace_cursor *next, **link; /* in trace_txn.cursors */
};

static const struct kv_ops trace_ops;

static struct trace *trace_of(struct kv *kv)
{
    assert(kv->ops == &trace_ops);
    return container_of(kv, struct trace, kv);
}

static struct trace_txn *txn_of(struct kv_txn *txn)
{
    assert(txn->ops == &trace_ops);
    return container_of(txn, struct trace_txn, txn);
}

static struct trace_cursor *cursor_of(struct kv_cursor *cursor)
{
    assert(cursor->ops == &trace_ops);
    return container_of(cursor, struct trace_cursor, cursor);
}

/* ---- text -------------------------------------------------------------------------------- */

/* Quoted, what is not printable as \xNN, a long one cut; the empty slice is "". */
static const char *key_text(sombra_slice key, char to[TRACE_KEY_BYTES])
{
    const uint8_t *bytes = key.data;
    size_t used = 0;
    to[used++] = '"';
    for (size_t i = 0; i < size_min(key.bytes, TRACE_KEY_SHOWN); i++) {
        bool is_plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\';
        int more =
            snprintf(to + used, TRACE_KEY_BYTES - used, is_plain ? "%c" : "\\x%02x", bytes[i]);
        used += (size_t)more;
    }
    if (key.bytes > TRACE_KEY_SHOWN)
        snprintf(to + used, TRACE_KEY_BYTES - used, "...\" (%zu bytes)", key.bytes);
    else
        snprintf(to + used, TRACE_KEY_BYTES - used, "\"");
    return to;
}

static void tell(struct trace *trace, const char *format, ...) SOMBRA_PRINTF(2, 3);
static void tell(struct trace *trace, const char *format, ...)
{
    char line[TRACE_LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    trace->line(trace->context, line);
}

static void tell_range(const struct trace_txn *t, const char *verb, struct kv_range range,
                       sombra_err err, uint64_t result)
{
    char low[TRACE_KEY_BYTES], high[TRACE_KEY_BYTES];
    tell(trace_of(t->txn.kv), "txn %" PRIu64 ": %s [%s, %s): %s %" PRIu64, t->number, verb,
         key_text(range.low, low), key_text(range.high, high), sombra_err_name(err), result);
}

/* ---- transactions ------------------------------------------------------------------------ */

static sombra_err trace_begin(struct kv *kv, const struct kv_begin_options *options,
                              struct kv_txn **out_txn)
{
    struct trace *trace = trace_of(kv);
    struct trace_txn *t = mem_zalloc(sizeof *t);
    if (!t)
        return diag_nomem("traced transaction", sizeof *t);
    t->txn = (struct kv_txn){ .ops = &trace_ops, .kv = kv, .is_write = options->is_write };
    t->number = atomic_fetch_add(&trace->last_txn, 1) + 1;
    sombra_err err = kv_begin(trace->inner, options, &t->inner);
    tell(trace, "txn %" PRIu64 ": begin %s%s: %s", t->number, options->is_write ? "write" : "read",
         options->needs_durable ? " durable" : "", sombra_err_name(err));
    if (err) {
        mem_free(t);
        return err;
    }
    *out_txn = &t->txn;
    return SOMBRA_OK;
}

static sombra_err trace_commit(struct kv_txn *txn, enum kv_durability durability)
{
    static const char *const names[] = { "as the store", "full", "group", "normal", "off" };
    struct trace_txn *t = txn_of(txn);
    assert((unsigned)durability < COUNT_OF(names));
    assert(!t->cursors);
    sombra_err err = kv_commit(t->inner, durability);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": commit %s: %s", t->number, names[durability],
         sombra_err_name(err));
    mem_free(t);
    return err;
}

static void trace_abort(struct kv_txn *txn)
{
    struct trace_txn *t = txn_of(txn);
    assert(!t->cursors);
    kv_abort(t->inner);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": abort", t->number);
    mem_free(t);
}

/* What a cursor says of itself changes by its moves and by its transaction's writes. */
static void cursor_mirror(struct trace_cursor *c)
{
    c->cursor.entry = c->inner->entry;
    c->cursor.is_positioned = c->inner->is_positioned;
}

static void cursors_mirror(struct trace_txn *t)
{
    for (struct trace_cursor *c = t->cursors; c; c = c->next)
        cursor_mirror(c);
}

static sombra_err trace_savepoint(struct kv_txn *txn, enum kv_savepoint_action action,
                                  uint64_t *mark)
{
    static const char *const names[] = { "set", "roll back to", "release" };
    struct trace_txn *t = txn_of(txn);
    assert((unsigned)action < COUNT_OF(names));
    sombra_err err = kv_savepoint(t->inner, action, mark);
    cursors_mirror(t);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": %s savepoint %" PRIu64 ": %s", t->number,
         names[action], *mark, sombra_err_name(err));
    return err;
}

/* ---- read and write ---------------------------------------------------------------------- */

static sombra_err trace_get(struct kv_txn *txn, sombra_slice key, sombra_slice *out_value)
{
    struct trace_txn *t = txn_of(txn);
    char shown[TRACE_KEY_BYTES];
    key_text(key, shown); /* before the call: the key may be bytes that the call takes back */
    sombra_err err = kv_get(t->inner, key, out_value);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": get %s: %s %zu bytes", t->number, shown,
         sombra_err_name(err), err ? 0 : out_value->bytes);
    return err;
}

static sombra_err trace_put(struct kv_txn *txn, sombra_slice key, sombra_slice value)
{
    struct trace_txn *t = txn_of(txn);
    char shown[TRACE_KEY_BYTES];
    key_text(key, shown);
    sombra_err err = kv_put(t->inner, key, value);
    cursors_mirror(t);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": put %s = %zu bytes: %s", t->number, shown,
         value.bytes, sombra_err_name(err));
    return err;
}

static sombra_err trace_expect(struct kv_txn *txn, uint64_t bytes)
{
    struct trace_txn *t = txn_of(txn);
    sombra_err err = kv_expect(t->inner, bytes);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": expect %" PRIu64 " bytes: %s", t->number, bytes,
         sombra_err_name(err));
    return err;
}

static sombra_err trace_remove(struct kv_txn *txn, sombra_slice key)
{
    struct trace_txn *t = txn_of(txn);
    char shown[TRACE_KEY_BYTES];
    key_text(key, shown);
    sombra_err err = kv_delete(t->inner, key);
    cursors_mirror(t);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": delete %s: %s", t->number, shown,
         sombra_err_name(err));
    return err;
}

static sombra_err trace_remove_range(struct kv_txn *txn, struct kv_range range,
                                     uint64_t *out_removed)
{
    struct trace_txn *t = txn_of(txn);
    uint64_t removed = 0;
    char low[TRACE_KEY_BYTES], high[TRACE_KEY_BYTES];
    key_text(range.low, low);
    key_text(range.high, high);
    sombra_err err = kv_delete_range(t->inner, range, &removed);
    cursors_mirror(t);
    tell(trace_of(txn->kv), "txn %" PRIu64 ": delete [%s, %s): %s %" PRIu64, t->number, low, high,
         sombra_err_name(err), removed);
    if (!err && out_removed)
        *out_removed = removed;
    return err;
}

static sombra_err trace_count(struct kv_txn *txn, struct kv_range range, uint64_t limit,
                              uint64_t *out_count)
{
    struct trace_txn *t = txn_of(txn);
    sombra_err err = kv_count(t->inner, range, limit, out_count);
    tell_range(t, "count", range, err, err ? 0 : *out_count);
    return err;
}

static sombra_err trace_estimate(struct kv_txn *txn, struct kv_range range, uint64_t *out_count)
{
    struct trace_txn *t = txn_of(txn);
    sombra_err err = kv_estimate(t->inner, range, out_count);
    tell_range(t, "estimate", range, err, err ? 0 : *out_count);
    return err;
}

/* ---- cursors ----------------------------------------------------------------------------- */

static sombra_err trace_cursor_open(struct kv_txn *txn, struct kv_range range,
                                    struct kv_cursor **out_cursor)
{
    struct trace_txn *t = txn_of(txn);
    struct trace *trace = trace_of(txn->kv);
    struct trace_cursor *c = mem_zalloc(sizeof *c);
    if (!c)
        return diag_nomem("traced cursor", sizeof *c);
    c->cursor = (struct kv_cursor){ .ops = &trace_ops, .txn = txn };
    c->number = atomic_fetch_add(&trace->last_cursor, 1) + 1;
    sombra_err err = kv_cursor_open(t->inner, range, &c->inner);
    tell_range(t, "open cursor on", range, err, c->number);
    if (err) {
        mem_free(c);
        return err;
    }
    c->next = t->cursors;
    c->link = &t->cursors;
    if (c->next)
        c->next->link = &c->next;
    t->cursors = c;
    *out_cursor = &c->cursor;
    return SOMBRA_OK;
}

static const char *motion_name(enum kv_motion motion)
{
    static const char *const names[] = {
        "first", "last", "next", "previous", "seek >= ", "seek <= "
    };
    assert((unsigned)motion < COUNT_OF(names));
    return names[motion];
}

static sombra_err trace_cursor_move(struct kv_cursor *cursor, enum kv_motion motion,
                                    sombra_slice key, bool *out_found)
{
    struct trace_cursor *c = cursor_of(cursor);
    bool is_seek = motion == KV_SEEK_GE || motion == KV_SEEK_LE;
    char wanted[TRACE_KEY_BYTES] = "", found[TRACE_KEY_BYTES] = "none";
    if (is_seek)
        key_text(key, wanted);
    sombra_err err = kv_cursor_move(c->inner, motion, key, out_found);
    cursor_mirror(c);
    if (!err && *out_found)
        key_text(cursor->entry.key, found);
    tell(trace_of(cursor->txn->kv), "cursor %" PRIu64 " of txn %" PRIu64 ": %s%s: %s %s", c->number,
         txn_of(cursor->txn)->number, motion_name(motion), wanted, sombra_err_name(err),
         err ? "" : found);
    return err;
}

static sombra_err trace_cursor_read(struct kv_cursor *cursor, enum kv_motion direction,
                                    struct kv_batch *batch)
{
    struct trace_cursor *c = cursor_of(cursor);
    sombra_err err = kv_cursor_read(c->inner, direction, batch);
    cursor_mirror(c);
    tell(trace_of(cursor->txn->kv),
         "cursor %" PRIu64 " of txn %" PRIu64 ": read %s, at most %zu: %s %zu", c->number,
         txn_of(cursor->txn)->number, motion_name(direction), batch->capacity, sombra_err_name(err),
         err ? 0 : batch->count);
    return err;
}

static void trace_cursor_close(struct kv_cursor *cursor)
{
    struct trace_cursor *c = cursor_of(cursor);
    kv_cursor_close(c->inner);
    tell(trace_of(cursor->txn->kv), "cursor %" PRIu64 " of txn %" PRIu64 ": close", c->number,
         txn_of(cursor->txn)->number);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    mem_free(c);
}

/* ---- the store --------------------------------------------------------------------------- */

static sombra_err trace_maintain(struct kv *kv, struct kv_maintenance *job)
{
    static const char *const names[] = { "stats", "checkpoint", "compact", "verify", "backup" };
    struct trace *trace = trace_of(kv);
    assert((unsigned)job->kind < COUNT_OF(names));
    sombra_err err = kv_maintain(trace->inner, job);
    tell(trace, "store: %s: %s", names[job->kind], sombra_err_name(err));
    return err;
}

static sombra_err trace_close(struct kv *kv)
{
    struct trace *trace = trace_of(kv);
    sombra_err err = kv_close(trace->inner);
    tell(trace, "store: close: %s", sombra_err_name(err));
    if (err != SOMBRA_BUSY)
        mem_free(trace);
    return err;
}

static const struct kv_ops trace_ops = {
    .name = "trace",
    .close = trace_close,
    .begin = trace_begin,
    .commit = trace_commit,
    .abort = trace_abort,
    .savepoint = trace_savepoint,
    .get = trace_get,
    .put = trace_put,
    .expect = trace_expect,
    .remove = trace_remove,
    .remove_range = trace_remove_range,
    .count = trace_count,
    .estimate = trace_estimate,
    .cursor_open = trace_cursor_open,
    .cursor_move = trace_cursor_move,
    .cursor_read = trace_cursor_read,
    .cursor_close = trace_cursor_close,
    .maintain = trace_maintain,
};

sombra_err kv_trace_open(struct kv *inner, kv_trace_fn line, void *context, struct kv **out_kv)
{
    assert(inner && line);
    struct trace *trace = mem_zalloc(sizeof *trace);
    if (!trace)
        return diag_nomem("tracing store", sizeof *trace);
    trace->kv = (struct kv){ .ops = &trace_ops, .metrics = inner->metrics };
    trace->inner = inner;
    trace->line = line;
    trace->context = context;
    *out_kv = &trace->kv;
    return SOMBRA_OK;
}
