/* SPDX-License-Identifier: MIT */
/* Bringing a new rule over what is there: its members are walked in key order, in runs that are
 * sorted and put. Where a run ended is kept beside the rule (TAG_FILL), so that filling goes on in
 * another transaction, or after a crash. What others write in between keeps the rule themselves,
 * since they see it, and puts entries that filling then puts again. */
#include "index_internal.h"

/* Nodes or edges of a run in one transaction, and in the steps of an online build. */
enum { FILL_RUN = 1 << 20, FILL_STEP = 8192 };

struct fill {
    struct graph_txn *txn;
    struct graph_rule rule; /* a copy: the set changes when the rule becomes ready */
    struct index_batch batch;
    struct kv_cursor *cursor; /* labels of nodes, or outgoing edges */
    struct buf next;          /* the first key not looked at */
    const struct graph_job *job;
    uint64_t done, total;
    bool is_at_end;
};

static struct graph_key fill_prefix(const struct graph_rule *rule)
{
    return rule->is_edge ? key_begin(TAG_OUT) : key_1(TAG_LABEL, rule->subject);
}

static sombra_err fill_open(struct fill *fill, struct graph_txn *txn, const struct graph_rule *rule)
{
    struct graph_key prefix = fill_prefix(rule), from = key_1(TAG_FILL, rule->id);
    struct key_span span;
    sombra_slice stored;
    *fill = (struct fill){ .txn = txn, .rule = *rule };
    fill->batch.rule = &fill->rule;
    struct kv_range range = span_of(&prefix, &span);
    sombra_err err = kv_get(txn->kv, key_slice(&from), &stored);
    if (err == SOMBRA_NOT_FOUND)
        stored = range.low;
    else if (!err && !slice_has_prefix(stored, key_slice(&prefix)))
        err = diag_fail(SOMBRA_CORRUPT, "filling rule %" PRIu32 " cannot go on", rule->id);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    err = buf_set(&fill->next, stored);
    range.low = buf_slice(&fill->next);
    if (!err)
        err = kv_count(txn->kv, range, 0, &fill->total);
    return err ? err : kv_cursor_open(txn->kv, range, &fill->cursor);
}

static void fill_close(struct fill *fill)
{
    kv_cursor_close(fill->cursor);
    index_batch_release(&fill->batch);
    buf_release(&fill->next);
}

/* One member of the rule. */
static sombra_err member_add(struct fill *fill, uint64_t id, const sombra_record *record)
{
    return rule_is_index(&fill->rule) ? index_batch_add(&fill->batch, id, record)
                                      : constraint_check(fill->txn, &fill->rule, id, NULL, record);
}

static sombra_err add_node(struct fill *fill, sombra_slice key)
{
    const uint8_t *at = key.data, *end = at + key.bytes;
    uint64_t node = 0;
    sombra_record record;
    if (ordered_get(at + fill_prefix(&fill->rule).length, end, &node) != end || node == 0)
        return corrupt_key(key, "tag, label, node");
    sombra_err err = member_record(fill->txn, false, node, &record);
    return err ? err : member_add(fill, node, &record);
}

static sombra_err add_edge(struct fill *fill, sombra_slice key, sombra_slice value)
{
    enum { SRC, TYPE, DST, EDGE, FIELDS };
    const uint8_t *at = (const uint8_t *)key.data + 1;
    const uint8_t *end = (const uint8_t *)key.data + key.bytes;
    uint64_t fields[FIELDS];
    sombra_record record;
    for (size_t i = 0; i < FIELDS; i++) {
        at = ordered_read(at, end, &fields[i]);
        if (!at)
            return corrupt_key(key, "tag, source, type, target, edge");
    }
    if (at != end || fields[EDGE] == 0)
        return corrupt_key(key, "tag, source, type, target, edge");
    if (fields[TYPE] != fill->rule.subject)
        return SOMBRA_OK;
    sombra_err err = graph_record_open(value, false, &record);
    return err ? err : member_add(fill, fields[EDGE], &record);
}

static sombra_err fill_put(struct fill *fill)
{
    struct put_run run;
    sombra_err err = put_run_init(&run, fill->txn, fill->batch.count);
    if (!err)
        err = index_batch_put(&fill->batch, &run);
    put_run_release(&run);
    return err;
}

/* Up to `count` members; then what was collected is written. */
static sombra_err fill_run(struct fill *fill, uint64_t count)
{
    sombra_err err = SOMBRA_OK;
    for (uint64_t i = 0; !err && i < count; i++, fill->done++) {
        bool found = false;
        if (fill->job && fill->job->progress && fill->done % 1024 == 0 &&
            !fill->job->progress(fill->job->context, fill->done, fill->total))
            return diag_fail(SOMBRA_CANCELLED, "making the rule was cancelled");
        err = txn_poll(fill->txn, fill->done);
        if (err)
            break;
        err = kv_cursor_move(fill->cursor, KV_NEXT, slice_of(NULL, 0), &found);
        fill->is_at_end = !err && !found;
        if (err || !found)
            break;
        const struct kv_entry *entry = &fill->cursor->entry;
        err = buf_set(&fill->next, entry->key); /* and a zero byte: the smallest key behind it */
        if (!err)
            err = buf_append_u8(&fill->next, 0);
        if (!err)
            err = fill->rule.is_edge ? add_edge(fill, entry->key, entry->value)
                                     : add_node(fill, entry->key);
    }
    if (!err && rule_is_index(&fill->rule))
        err = index_batch_check(&fill->batch, fill->txn);
    return err ? err : fill_put(fill);
}

static sombra_err make_ready(struct graph_txn *txn, struct graph_rule *rule)
{
    struct graph_key key = key_1(TAG_FILL, rule->id);
    rule->is_ready = true;
    sombra_err err = kv_delete(txn->kv, key_slice(&key));
    if (err && err != SOMBRA_NOT_FOUND)
        return txn_break(txn, err);
    return rule_write(txn, rule);
}

static sombra_err fill_all(struct graph_txn *txn, uint32_t id, const struct graph_job *job)
{
    struct fill fill;
    sombra_err err = fill_open(&fill, txn, rules_by_id(txn, id));
    fill.job = job;
    while (!err && !fill.is_at_end)
        err = fill_run(&fill, FILL_RUN);
    if (!err && job && job->progress && !job->progress(job->context, fill.done, fill.total))
        err = diag_fail(SOMBRA_CANCELLED, "making the rule was cancelled");
    if (!err)
        err = make_ready(txn, &fill.rule);
    fill_close(&fill);
    return err;
}

/* Undoes to the mark and forgets it, if `err`; else just forgets it. Returns err, with its text. */
static sombra_err end_mark(struct graph_txn *txn, uint64_t mark, sombra_err err)
{
    char text[DIAG_TEXT_BYTES];
    sombra_err undone = SOMBRA_OK;
    if (err) {
        diag_save(text);
        undone = graph_txn_rollback_to(txn, mark);
    }
    if (!undone)
        undone = graph_txn_forget(txn, mark);
    if (undone && !txn->broken)
        undone = txn_break(txn, undone);
    if (err)
        diag_restore(text);
    return err ? err : undone;
}

sombra_err graph_rule_create(struct graph_txn *txn, const sombra_rule *rule,
                             const struct graph_job *job, uint32_t *out_id)
{
    uint64_t mark = 0;
    uint32_t id = 0;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_txn_savepoint(txn, &mark);
    if (err)
        return diag_wrap(err, "make a rule");
    err = graph_rule_begin(txn, rule, &id);
    bool exists = err == SOMBRA_EXISTS;
    if (!err && rule->kind != SOMBRA_RULE_TRIGGER)
        err = fill_all(txn, id, job);
    err = end_mark(txn, mark, err);
    if (!err || exists)
        *out_id = id;
    return diag_wrap(err, "make a rule");
}

sombra_err graph_rule_fill(struct graph_txn *txn, uint32_t id, struct graph_fill *progress,
                           bool *out_is_ready)
{
    struct fill fill;
    struct graph_key key = key_1(TAG_FILL, id);
    sombra_err err = txn_check_write(txn);
    if (err)
        return err;
    const struct graph_rule *rule = rules_by_id(txn, id);
    if (!rule)
        return diag_fail(SOMBRA_NOT_FOUND, "rule %" PRIu32 " was dropped while it was made", id);
    if (rule->is_ready) { /* another one that made it was faster */
        *out_is_ready = true;
        return SOMBRA_OK;
    }
    err = fill_open(&fill, txn, rule);
    if (!err)
        err = fill_run(&fill, FILL_STEP);
    if (!err && fill.is_at_end) {
        err = make_ready(txn, &fill.rule);
    } else if (!err) {
        txn->writes++;
        err = kv_put(txn->kv, key_slice(&key), buf_slice(&fill.next));
    }
    if (!err) {
        progress->done += fill.done;
        progress->total = progress->done + (fill.total - fill.done);
        *out_is_ready = fill.is_at_end;
    }
    fill_close(&fill);
    return diag_wrap(err, "make rule %" PRIu32, id);
}
