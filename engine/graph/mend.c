/* SPDX-License-Identifier: MIT */
/* Mending a graph that lost entries: what a salvage of a damaged store leaves.
 *
 * In this order, each step on what the one before left: names as they are known; nodes, and with
 * them the entries of labels; edges, each of whose three entries tells the ends, so that one of
 * them is enough to put the others again (properties stand in one only); buckets; names that are
 * used and not known; the counters; then every ready rule, anew, for to find out which of its
 * entries are wrong costs as much. */
#include "index_internal.h"
#include "mend_internal.h"

enum { COMMIT_CHANGES = 16384 };

/* ---- reads and writes -------------------------------------------------------------------- */

static sombra_err writer_begin(struct mend *mend)
{
    const struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = UINT64_MAX };
    return mend->writer ? SOMBRA_OK : kv_begin(mend->kv, &options, &mend->writer);
}

sombra_err mend_commit(struct mend *mend, enum kv_durability durability)
{
    struct kv_txn *writer = mend->writer;
    mend->writer = NULL;
    mend->changes = 0;
    return writer ? kv_commit(writer, durability) : SOMBRA_OK;
}

sombra_err mend_get(struct mend *mend, sombra_slice key, sombra_slice *out_value)
{
    sombra_err err = writer_begin(mend);
    return err ? err : kv_get(mend->writer, key, out_value);
}

sombra_err mend_has(struct mend *mend, struct graph_key key, bool *out_has)
{
    sombra_slice unused;
    sombra_err err = mend_get(mend, key_slice(&key), &unused);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    *out_has = !err;
    return SOMBRA_OK;
}

sombra_err mend_put(struct mend *mend, sombra_slice key, sombra_slice value)
{
    sombra_err err = writer_begin(mend);
    mend->changes++;
    return err ? err : kv_put(mend->writer, key, value);
}

sombra_err mend_rebuild(struct mend *mend, sombra_slice key, sombra_slice value)
{
    sombra_slice have;
    sombra_err err = mend_get(mend, key, &have);
    if ((err && err != SOMBRA_NOT_FOUND) || (!err && slice_equal(have, value)))
        return err;
    err = mend_put(mend, key, value);
    if (!err)
        mend->report->rebuilt++;
    return err;
}

sombra_err mend_delete(struct mend *mend, sombra_slice key)
{
    bool was_there;
    uint64_t dropped = mend->report->dropped;
    sombra_err err = mend_drop(mend, key, &was_there);
    mend->report->dropped = dropped;
    return err;
}

sombra_err mend_drop(struct mend *mend, sombra_slice key, bool *out_was_there)
{
    sombra_err err = writer_begin(mend);
    if (!err)
        err = kv_delete(mend->writer, key);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    *out_was_there = !err;
    mend->changes++;
    mend->report->dropped += !err;
    return SOMBRA_OK;
}

void mend_tell(struct mend *mend, sombra_err code)
{
    char text[DIAG_TEXT_BYTES];
    struct graph_mend *report = mend->report;
    diag_save(text); /* the callback may fail at something of its own */
    report->problems++;
    if (report->problem)
        report->problem(report->context, code, text);
}

/* A damaged entry is told and taken out; other failures stay. */
static sombra_err entry_end(struct mend *mend, sombra_slice key, sombra_err err)
{
    bool was_there = false;
    if (err != SOMBRA_CORRUPT)
        return err;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    err = mend_drop(mend, key, &was_there);
    diag_restore(text);
    if (!err && was_there)
        mend_tell(mend, SOMBRA_CORRUPT);
    return err;
}

sombra_err mend_walk(struct mend *mend, const struct graph_key *prefix, mend_entry entry)
{
    struct key_span span;
    struct kv_txn *reader;
    struct kv_cursor *cursor = NULL;
    sombra_err err = kv_begin(mend->kv, &(struct kv_begin_options){ 0 }, &reader);
    if (err)
        return err;
    err = kv_cursor_open(reader, span_of(prefix, &span), &cursor);
    while (!err) {
        bool found = false;
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        err =
            entry_end(mend, cursor->entry.key, entry(mend, cursor->entry.key, cursor->entry.value));
        if (!err && mend->changes >= COMMIT_CHANGES)
            err = mend_commit(mend, KV_OFF);
    }
    kv_cursor_close(cursor);
    kv_abort(reader);
    return err ? err : mend_commit(mend, KV_OFF);
}

sombra_err mend_walk_tag(struct mend *mend, enum graph_tag tag, mend_entry entry)
{
    struct graph_key prefix = key_begin(tag);
    return mend_walk(mend, &prefix, entry);
}

/* ---- nodes ------------------------------------------------------------------------------- */

sombra_err mend_use_property(void *context, uint32_t name)
{
    return mend_use_name(context, SOMBRA_NAME_PROPERTY, name);
}

/* Is the label among those of a record, of which none was read? */
static sombra_err has_label(sombra_record *record, uint64_t wanted, bool *out_has)
{
    uint32_t label = 0;
    bool found = true;
    sombra_err err = SOMBRA_OK;
    while (!err && found && label != wanted)
        err = graph_record_next_label(record, &label, &found);
    *out_has = !err && found;
    return err;
}

static sombra_err check_labels(struct mend *mend, sombra_record *record)
{
    for (;;) {
        uint32_t label = 0;
        bool found = false;
        sombra_err err = graph_record_next_label(record, &label, &found);
        if (err || !found)
            return err;
        err = mend_use_name(mend, SOMBRA_NAME_LABEL, label);
        if (err)
            return err;
    }
}

/* The entries of a record that was checked. */
static sombra_err labels_rebuild(struct mend *mend, uint64_t node, sombra_record *record)
{
    for (;;) {
        uint32_t label = 0;
        bool found = false;
        sombra_err err = graph_record_next_label(record, &label, &found);
        if (err || !found)
            return err;
        struct graph_key key = key_2(TAG_LABEL, label, node);
        err = mend_rebuild(mend, key_slice(&key), slice_of(NULL, 0));
        if (err)
            return err;
    }
}

static sombra_err mend_node(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    sombra_record record = { 0 }, walk;
    sombra_err err = key_fields_read(key, 1, &f);
    if (err)
        return err;
    if (f.at[0] > INT64_MAX)
        return corrupt_key(key, "a node's number");
    err = graph_record_open(value, true, &record);
    walk = record;
    if (!err)
        err = check_labels(mend, &walk);
    if (!err)
        err = record_prove(&walk, mend_use_property, mend);
    if (!err)
        err = labels_rebuild(mend, f.at[0], &record);
    if (!err)
        mend->top_node = u64_max(mend->top_node, f.at[0]);
    return diag_wrap(err, "node %" PRIu64 " is lost", f.at[0]);
}

/* The node's record says whether it has the label. */
static sombra_err mend_label(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    sombra_slice stored;
    sombra_record record;
    bool has = false, was_there;
    sombra_err err = key_fields_read(key, 2, &f);
    if (err)
        return err;
    struct graph_key node = key_1(TAG_NODE, f.at[1]);
    err = mend_get(mend, key_slice(&node), &stored);
    if (err == SOMBRA_NOT_FOUND)
        return diag_fail(SOMBRA_CORRUPT, "node %" PRIu64 " is lost, which had label %" PRIu64,
                         f.at[1], f.at[0]);
    if (!err)
        err = graph_record_open(stored, true, &record);
    if (!err)
        err = has_label(&record, f.at[0], &has);
    if (!err && !has)
        err = mend_drop(mend, key, &was_there); /* nothing of worth is lost with it */
    else if (!err && value.bytes)
        err = mend_rebuild(mend, key, slice_of(NULL, 0));
    return err;
}

/* ---- counters ---------------------------------------------------------------------------- */

/* One graph transaction on the writer, which is committed. */
typedef sombra_err (*mend_part)(struct mend *mend, struct graph_txn *txn, void *context);

static sombra_err in_txn(struct mend *mend, struct graph *graph, enum kv_durability durability,
                         mend_part part, void *context)
{
    struct graph_txn txn = { 0 };
    sombra_err err = writer_begin(mend);
    if (err)
        return err;
    graph_txn_begin(&txn, graph, mend->writer);
    err = part(mend, &txn, context);
    if (!err)
        err = graph_txn_flush(&txn);
    char text[DIAG_TEXT_BYTES];
    if (err) {
        diag_save(text);
        graph_txn_end(&txn, false);
        kv_abort(mend->writer);
        mend->writer = NULL;
        diag_restore(text);
    } else {
        err = mend_commit(mend, durability);
        graph_txn_end(&txn, !err);
    }
    graph_txn_release(&txn);
    return err;
}

static sombra_err counters_save(struct mend *mend, struct graph_txn *txn, void *context)
{
    (void)context;
    sombra_err err = txn_load_counters(txn);
    if (err && err != SOMBRA_CORRUPT)
        return err;
    txn->has_counters = true; /* what is damaged counts as nothing */
    txn->next_node = u64_max(txn->next_node, mend->top_node + 1);
    txn->fresh_node = txn->next_node; /* not all below it are there */
    txn->next_edge = u64_max(txn->next_edge, mend->top_edge + 1);
    txn->next_bucket = u64_max(txn->next_bucket, mend->top_bucket + 1);
    txn->rules_version = u64_max(txn->rules_version, mend->top_rule);
    txn->counters_dirty = true;
    return SOMBRA_OK;
}

/* ---- rules ------------------------------------------------------------------------------- */

static sombra_err mend_rule(struct mend *mend, sombra_slice key, sombra_slice value)
{
    struct graph_rule rule;
    sombra_err err = rule_read(key, value, &rule);
    if (!err)
        err =
            mend_use_name(mend, rule.is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL, rule.subject);
    for (size_t i = 0; !err && i < rule.property_count; i++)
        err = mend_use_name(mend, SOMBRA_NAME_PROPERTY, rule.properties[i]);
    if (!err)
        mend->top_rule = u64_max(mend->top_rule, rule.id);
    else
        mend->report->rules_dropped += err == SOMBRA_CORRUPT;
    return diag_wrap(err, "a rule is lost");
}

static sombra_err drop_tag(struct mend *mend, enum graph_tag tag)
{
    struct graph_key prefix = key_begin(tag);
    struct key_span span;
    sombra_err err = writer_begin(mend);
    return err ? err : kv_delete_range(mend->writer, span_of(&prefix, &span), NULL);
}

struct refill {
    const struct graph_rule *rules; /* all, as they were */
    size_t count;
    struct graph_fill fill;
    uint32_t rule; /* the one that is filled */
    bool is_ready;
};

/* A trigger has no entries; one that is being built is left so, and begins anew. */
static bool is_refilled(const struct graph_rule *rule)
{
    return rule->is_ready && rule->kind != SOMBRA_RULE_TRIGGER;
}

static sombra_err rules_unready(struct mend *mend, struct graph_txn *txn, void *context)
{
    const struct refill *refill = context;
    (void)mend;
    sombra_err err = txn_check_write(txn);
    for (size_t i = 0; !err && i < refill->count; i++) {
        struct graph_rule rule = refill->rules[i];
        bool is_one = is_refilled(&rule);
        rule.is_ready = false;
        if (is_one)
            err = rule_write(txn, &rule);
    }
    return err;
}

static sombra_err rule_fill(struct mend *mend, struct graph_txn *txn, void *context)
{
    struct refill *refill = context;
    (void)mend;
    return graph_rule_fill(txn, refill->rule, &refill->fill, &refill->is_ready);
}

static sombra_err rule_drop(struct mend *mend, struct graph_txn *txn, void *context)
{
    const struct refill *refill = context;
    (void)mend;
    return graph_rule_drop(txn, refill->rule);
}

/* What is left may break a rule: of two nodes with one name the older was deleted once, or a value
 * that is required is lost. Then it is dropped, for a rule that does not hold is none. */
static sombra_err rule_refill(struct mend *mend, struct graph *graph, struct refill *refill)
{
    sombra_err err = SOMBRA_OK;
    refill->is_ready = false;
    refill->fill = (struct graph_fill){ 0 };
    while (!err && !refill->is_ready)
        err = in_txn(mend, graph, KV_OFF, rule_fill, refill);
    if (err != SOMBRA_UNIQUE && err != SOMBRA_CONSTRAINT) {
        mend->report->rules_rebuilt += !err;
        return err;
    }
    mend_tell(mend, diag_wrap(SOMBRA_CORRUPT, "rule %" PRIu32 " is dropped", refill->rule));
    mend->report->rules_dropped++;
    return in_txn(mend, graph, KV_OFF, rule_drop, refill);
}

/* The definitions as they stand; the caller frees them. */
static sombra_err rules_copy(struct mend *mend, struct graph *graph, struct refill *refill)
{
    struct graph_txn txn = { 0 };
    struct kv_txn *reader;
    struct graph_rule *rules = NULL;
    sombra_err err = kv_begin(mend->kv, &(struct kv_begin_options){ 0 }, &reader);
    if (err)
        return err;
    graph_txn_begin(&txn, graph, reader);
    err = rules_load(&txn);
    size_t count = err ? 0 : txn.rules->count;
    if (count) {
        rules = mem_alloc(count * sizeof *rules);
        if (rules)
            memcpy(rules, txn.rules->rules, count * sizeof *rules);
        else
            err = diag_nomem("rules", count * sizeof *rules);
    }
    graph_txn_end(&txn, false);
    graph_txn_release(&txn);
    kv_abort(reader);
    if (err)
        return err;
    refill->rules = rules;
    refill->count = count;
    return SOMBRA_OK;
}

static sombra_err rules_refill(struct mend *mend, struct graph *graph)
{
    struct refill refill = { 0 };
    sombra_err err = rules_copy(mend, graph, &refill);
    if (!err)
        err = drop_tag(mend, TAG_INDEX);
    if (!err)
        err = drop_tag(mend, TAG_FILL);
    if (!err && refill.count)
        err = in_txn(mend, graph, KV_OFF, rules_unready, &refill);
    for (size_t i = 0; !err && i < refill.count; i++) {
        refill.rule = refill.rules[i].id;
        if (is_refilled(&refill.rules[i]))
            err = rule_refill(mend, graph, &refill);
    }
    mem_free((void *)(uintptr_t)refill.rules);
    return err ? err : mend_commit(mend, KV_OFF);
}

/* ---- the whole --------------------------------------------------------------------------- */

/* With a graph of its own: what it comes to know may be wrong. */
static sombra_err verify(struct kv *kv, bool *out_is_sound)
{
    struct graph graph;
    struct graph_txn txn = { 0 };
    struct graph_check check = { 0 };
    struct kv_txn *reader = NULL;
    sombra_err err = graph_init(&graph);
    if (err)
        return err;
    err = kv_begin(kv, &(struct kv_begin_options){ 0 }, &reader);
    if (err) {
        graph_release(&graph);
        return err;
    }
    graph_txn_begin(&txn, &graph, reader);
    err = graph_check_format(reader);
    if (!err)
        err = graph_verify(&txn, &check);
    graph_txn_end(&txn, false);
    graph_txn_release(&txn);
    kv_abort(reader);
    graph_release(&graph);
    *out_is_sound = !err && check.problems == 0;
    return err == SOMBRA_CORRUPT ? SOMBRA_OK : err; /* the counters are damaged */
}

/* Keys that no structure has. */
static sombra_err drop_foreign(struct mend *mend)
{
    static const uint8_t known[] = {
        TAG_COUNTERS,       TAG_TYPE_COUNT, TAG_NAME_BY_TEXT, TAG_NAME_BY_ID,
        TAG_BUCKET_BY_NAME, TAG_BUCKET,     TAG_NODE,         TAG_LABEL,
        TAG_EDGE,           TAG_OUT,        TAG_IN,           TAG_EDGE_BLOCK,
        TAG_ENTRY,          TAG_RULE,       TAG_INDEX,        TAG_FILL
    };
    sombra_err err = writer_begin(mend);
    for (unsigned tag = 0; !err && tag <= UINT8_MAX; tag++) {
        struct graph_key prefix = key_begin((enum graph_tag)tag);
        struct key_span span;
        uint64_t removed = 0;
        if (memchr(known, (int)tag, sizeof known))
            continue;
        err = kv_delete_range(mend->writer, span_of(&prefix, &span), &removed);
        if (err || removed == 0)
            continue;
        mend->report->dropped += removed;
        mend_tell(mend, diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " keys of tag %02x, which is unknown",
                                  removed, tag));
    }
    return err;
}

static sombra_err mend_entries(struct mend *mend)
{
    static const struct {
        enum graph_tag tag;
        mend_entry entry;
    } steps[] = { { TAG_NODE, mend_node }, { TAG_LABEL, mend_label }, { TAG_RULE, mend_rule } };
    sombra_err err = drop_foreign(mend);
    if (!err)
        err = mend_names_load(mend);
    for (size_t i = 0; !err && i < COUNT_OF(steps); i++)
        err = mend_walk_tag(mend, steps[i].tag, steps[i].entry);
    if (!err)
        err = mend_edges(mend);
    if (!err)
        err = mend_buckets(mend);
    return err ? err : mend_names_save(mend);
}

sombra_err graph_mend(struct kv *kv, struct graph_mend *report)
{
    struct mend mend = { .kv = kv, .report = report };
    struct graph graph;
    bool is_sound = false;
    report->problems = report->rebuilt = report->dropped = report->bare_edges = 0;
    report->names_made = report->rules_rebuilt = report->rules_dropped = 0;
    sombra_err err = graph_init(&graph);
    if (err)
        return err;
    err = verify(kv, &is_sound);
    if (!err && !is_sound) {
        err = mend_entries(&mend);
        if (!err)
            err = in_txn(&mend, &graph, KV_FULL, counters_save, NULL);
        if (!err)
            err = rules_refill(&mend, &graph);
    }
    if (mend.writer)
        kv_abort(mend.writer);
    mend_names_release(&mend);
    mem_free(mend.type_counts);
    graph_release(&graph);
    return diag_wrap(err, "mend the graph");
}
