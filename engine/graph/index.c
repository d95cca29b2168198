/* SPDX-License-Identifier: MIT */
/* What a write of a node or an edge does to indexes, and what constraints say to it. */
#include "index_internal.h"

#include <stdio.h>

/* A key among the plan's bytes; no bytes: there is none. */
struct plan_key {
    size_t at, bytes;
};
struct plan_step {
    bool is_ready; /* an entry that goes must be there */
    uint32_t rule;
    struct plan_key remove, add;
};

struct graph_plan {
    size_t changes; /* noted for triggers before it */
    bool is_open;   /* made, and not applied yet */
    struct plan_step *steps;
    size_t count, capacity;
    struct buf keys;
    struct buf before, after; /* values under one index */
    struct buf other;         /* values of another member */
};

void plan_drop(struct graph_txn *txn)
{
    if (!txn->plan)
        return;
    txn->plan->count = 0;
    if (txn->plan->is_open)
        changes_cut(txn, txn->plan->changes);
    txn->plan->is_open = false;
}

void plan_trim(struct graph_plan *plan)
{
    struct buf *bufs[] = { &plan->keys, &plan->before, &plan->after, &plan->other };
    for (size_t i = 0; i < COUNT_OF(bufs); i++) {
        if (bufs[i]->capacity > MiB)
            buf_release(bufs[i]);
        buf_reset(bufs[i]);
    }
}

size_t plan_size(const struct graph_txn *txn)
{
    return txn->plan ? txn->plan->count : 0;
}

void plan_free(struct graph_plan *plan)
{
    if (!plan)
        return;
    mem_free(plan->steps);
    buf_release(&plan->keys);
    buf_release(&plan->before);
    buf_release(&plan->after);
    buf_release(&plan->other);
    mem_free(plan);
}

static sombra_err plan_begin(struct graph_txn *txn)
{
    if (!txn->plan) {
        txn->plan = mem_zalloc(sizeof *txn->plan);
        if (!txn->plan)
            return diag_nomem("changes of indexes", sizeof *txn->plan);
    }
    txn->plan->count = 0;
    txn->plan->changes = changes_count(txn);
    txn->plan->is_open = true;
    buf_reset(&txn->plan->keys);
    return SOMBRA_OK;
}

/* ---- refusals ---------------------------------------------------------------------------- */

static void violation_set(struct graph_txn *txn, const struct graph_rule *rule, uint64_t id)
{
    sombra_name subject = { 0 }, property = { 0 };
    sombra_err err = graph_name_by_id(txn, rule->is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL,
                                      rule->subject, &subject);
    if (!err)
        err = graph_name_by_id(txn, SOMBRA_NAME_PROPERTY, rule->properties[0], &property);
    (void)err; /* a name that is lost leaves an empty text: the refusal is what matters */
    txn->violation = (sombra_violation){ .struct_bytes = sizeof txn->violation,
                                         .rule = rule->id,
                                         .is_edge = rule->is_edge,
                                         .subject = subject.text,
                                         .property = property.text,
                                         .id = id };
}

static const char *noun(const struct graph_rule *rule)
{
    return rule->is_edge ? "edge" : "node";
}

sombra_err unique_refuse(struct graph_txn *txn, const struct graph_rule *rule, uint64_t other)
{
    char text[RULE_TEXT_BYTES];
    violation_set(txn, rule, other);
    return diag_fail(SOMBRA_UNIQUE, "%s must be unique, and %s %" PRIu64 " has the same",
                     rule_text(txn, rule, text), noun(rule), other);
}

static sombra_err constraint_refuse(struct graph_txn *txn, const struct graph_rule *rule,
                                    uint64_t id, const char *what)
{
    char text[RULE_TEXT_BYTES];
    violation_set(txn, rule, id);
    return diag_fail(SOMBRA_CONSTRAINT, "%s %s", rule_text(txn, rule, text), what);
}

static sombra_err find_or_empty(const sombra_record *record, uint32_t property,
                                sombra_slice *out_value)
{
    sombra_slice none = { NULL, 0 };
    sombra_err err = record ? graph_record_find(record, property, out_value) : SOMBRA_NOT_FOUND;
    if (err == SOMBRA_NOT_FOUND) {
        *out_value = none;
        err = SOMBRA_OK;
    }
    return err;
}

sombra_err constraint_check(struct graph_txn *txn, const struct graph_rule *rule, uint64_t id,
                            const sombra_record *before, const sombra_record *after)
{
    sombra_slice old, now;
    char what[96];
    sombra_err err = find_or_empty(before, rule->properties[0], &old);
    if (!err)
        err = find_or_empty(after, rule->properties[0], &now);
    if (err || (before && slice_equal(old, now)))
        return err;
    if (now.bytes == 0)
        return rule->kind == SOMBRA_RULE_REQUIRED
                   ? constraint_refuse(txn, rule, id, "is required and missing")
                   : SOMBRA_OK;
    if (rule->kind == SOMBRA_RULE_REQUIRED)
        return SOMBRA_OK;
    sombra_value value;
    err = sombra_value_decode(now, &value);
    if (err)
        return err;
    bool fits = rule->value_kind == SOMBRA_NULL
                    ? value.kind == SOMBRA_INTEGER || value.kind == SOMBRA_FLOAT
                    : value.kind == rule->value_kind;
    if (fits)
        return SOMBRA_OK;
    snprintf(what, sizeof what, "must be of kind %s, not %s",
             rule->value_kind == SOMBRA_NULL ? "number" : sombra_kind_name(rule->value_kind),
             sombra_kind_name(value.kind));
    return constraint_refuse(txn, rule, id, what);
}

/* ---- uniqueness -------------------------------------------------------------------------- */

sombra_err member_record(struct graph_txn *txn, bool is_edge, uint64_t id,
                         sombra_record *out_record)
{
    struct graph_key key = key_1(TAG_NODE, id);
    struct graph_edge edge;
    sombra_slice value;
    sombra_err err;
    if (is_edge) {
        err = graph_edge_ends(txn, id, &edge);
        if (!err)
            err = edge_stored_record(txn, &edge, &value);
    } else {
        err = kv_get(txn->kv, key_slice(&key), &value);
    }
    if (err == SOMBRA_NOT_FOUND)
        err = diag_fail(SOMBRA_CORRUPT,
                        "an index has an entry for %s %" PRIu64 ", which does not exist",
                        is_edge ? "edge" : "node", id);
    return err ? err : graph_record_open(value, !is_edge, out_record);
}

/* Do the values that are cut in its key equal these? */
static sombra_err member_equals(struct graph_txn *txn, const struct graph_rule *rule, uint64_t id,
                                sombra_slice values, bool *out_equals)
{
    sombra_record record;
    enum index_membership membership;
    struct buf *other = &txn->plan->other;
    sombra_err err = member_record(txn, rule->is_edge, id, &record);
    if (!err)
        err = index_values(rule, &record, other, &membership);
    if (!err)
        *out_equals = slice_equal(buf_slice(other), values);
    return err;
}

sombra_err unique_conflict(struct graph_txn *txn, const struct graph_rule *rule,
                           sombra_slice values, uint64_t id, uint64_t *out_other)
{
    struct index_key prefix;
    uint8_t high[KV_KEY_BYTES_MAX];
    struct kv_cursor *cursor;
    uint64_t other = 0;
    index_key_values(rule->id, values, &prefix);
    struct kv_range range = { index_key_slice(&prefix),
                              kv_prefix_end(index_key_slice(&prefix), high) };
    sombra_err err = txn->plan ? SOMBRA_OK : plan_begin(txn);
    if (!err)
        err = kv_cursor_open(txn->kv, range, &cursor);
    if (err)
        return err;
    while (other == 0) {
        struct index_entry entry;
        bool found = false, equals = true;
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        err = index_entry_read(cursor->entry.key, key_of_index(rule->id).length, &entry);
        if (!err && entry.is_cut && entry.id != id)
            err = member_equals(txn, rule, entry.id, values, &equals);
        if (err)
            break;
        if (entry.id != id && equals)
            other = entry.id;
    }
    kv_cursor_close(cursor);
    if (!err)
        *out_other = other;
    return err;
}

/* ---- plan -------------------------------------------------------------------------------- */

/* Do the records differ in what the index looks at? By bytes: equal values have equal bytes, and
 * what differs in bytes alone (1 and 1.0) is found out later. */
static sombra_err differs(const struct graph_rule *rule, const sombra_record *before,
                          const sombra_record *after, bool *out_differs)
{
    for (size_t i = 0; i < rule->property_count; i++) {
        sombra_slice old, now;
        sombra_err err = find_or_empty(before, rule->properties[i], &old);
        if (!err)
            err = find_or_empty(after, rule->properties[i], &now);
        if (err)
            return err;
        if (!slice_equal(old, now)) {
            *out_differs = true;
            return SOMBRA_OK;
        }
    }
    *out_differs = false;
    return SOMBRA_OK;
}

static sombra_err key_note(struct graph_plan *plan, const struct graph_rule *rule,
                           sombra_slice values, uint64_t id, struct plan_key *out_key)
{
    struct index_key key;
    index_key_of(rule->id, values, id, &key);
    *out_key = (struct plan_key){ plan->keys.bytes, key.length };
    return buf_append_slice(&plan->keys, index_key_slice(&key));
}

static sombra_err step_add(struct graph_plan *plan, const struct plan_step *step)
{
    if (plan->count == plan->capacity) {
        size_t capacity = size_max(8, plan->capacity * 2);
        struct plan_step *grown = mem_realloc(plan->steps, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("changes of indexes", capacity * sizeof *grown);
        plan->steps = grown;
        plan->capacity = capacity;
    }
    plan->steps[plan->count++] = *step;
    return SOMBRA_OK;
}

static sombra_err plan_index(struct graph_txn *txn, const struct graph_rule *rule, uint64_t id,
                             const sombra_record *before, const sombra_record *after)
{
    struct graph_plan *plan = txn->plan;
    struct plan_step step = { .is_ready = rule->is_ready, .rule = rule->id };
    enum index_membership was = INDEX_OUTSIDE, is = INDEX_OUTSIDE;
    bool is_different = true;
    sombra_err err = SOMBRA_OK;
    if (before && after)
        err = differs(rule, before, after, &is_different);
    if (!err && !is_different)
        return SOMBRA_OK;
    if (!err && before)
        err = index_values(rule, before, &plan->before, &was);
    if (!err && after)
        err = index_values(rule, after, &plan->after, &is);
    if (err || (was == INDEX_OUTSIDE && is == INDEX_OUTSIDE))
        return err;
    sombra_slice values = buf_slice(&plan->after);
    if (was != INDEX_OUTSIDE && is != INDEX_OUTSIDE &&
        slice_equal(buf_slice(&plan->before), values))
        return SOMBRA_OK;
    if (rule->kind == SOMBRA_RULE_UNIQUE && is == INDEX_COMPLETE) {
        uint64_t other = 0;
        err = unique_conflict(txn, rule, values, id, &other);
        if (!err && other)
            err = unique_refuse(txn, rule, other);
    }
    if (!err && was != INDEX_OUTSIDE)
        err = key_note(plan, rule, buf_slice(&plan->before), id, &step.remove);
    if (!err && is != INDEX_OUTSIDE)
        err = key_note(plan, rule, values, id, &step.add);
    return err ? err : step_add(plan, &step);
}

/* `before`, `after`: NULL if the subject was not, is not one of the rules'. */
static sombra_err plan_rules(struct graph_txn *txn, const struct subject_change *change,
                             uint32_t subject, const sombra_record *before,
                             const sombra_record *after)
{
    const struct graph_rule *rules;
    size_t count;
    rules_of(txn, change->is_edge, subject, &rules, &count);
    for (size_t i = 0; i < count; i++) {
        sombra_err err = SOMBRA_OK;
        if (rule_is_index(&rules[i]))
            err = plan_index(txn, &rules[i], change->id, before, after);
        else if (rules[i].kind == SOMBRA_RULE_TRIGGER)
            err = change_note(txn, &rules[i], change->id, before, after);
        else if (after)
            err = constraint_check(txn, &rules[i], before ? change->id : 0, before, after);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

#define NO_LABEL UINT64_MAX

static sombra_err next_label(sombra_record *record, bool has_record, uint64_t *out_label)
{
    uint32_t label = 0;
    bool found = false;
    sombra_err err = has_record ? graph_record_next_label(record, &label, &found) : SOMBRA_OK;
    *out_label = found ? label : NO_LABEL;
    return err;
}

/* Walks the labels of both records together: they are ascending. */
static sombra_err plan_labels(struct graph_txn *txn, const struct subject_change *change)
{
    sombra_record old = { 0 }, now = { 0 };
    uint64_t was = NO_LABEL, is = NO_LABEL;
    if (change->before)
        old = *change->before;
    if (change->after)
        now = *change->after;
    sombra_err err = next_label(&old, change->before, &was);
    if (!err)
        err = next_label(&now, change->after, &is);
    while (!err && (was != NO_LABEL || is != NO_LABEL)) {
        uint64_t label = u64_min(was, is);
        err = plan_rules(txn, change, (uint32_t)label, was == label ? change->before : NULL,
                         is == label ? change->after : NULL);
        bool moves_old = was == label, moves_now = is == label;
        if (!err && moves_old)
            err = next_label(&old, true, &was);
        if (!err && moves_now)
            err = next_label(&now, true, &is);
    }
    return err;
}

sombra_err plan_change(struct graph_txn *txn, const struct subject_change *change)
{
    assert(txn->rules && (change->before || change->after) && change->id);
    if (txn->rules->count == 0)
        return SOMBRA_OK;
    sombra_err err = plan_begin(txn);
    if (!err && change->is_edge)
        err = plan_rules(txn, change, change->type, change->before, change->after);
    else if (!err)
        err = plan_labels(txn, change);
    if (err)
        plan_drop(txn);
    return err;
}

static sombra_slice key_planned(const struct graph_plan *plan, struct plan_key key)
{
    assert(key.at + key.bytes <= plan->keys.bytes);
    return slice_of(plan->keys.data + key.at, key.bytes);
}

sombra_err plan_apply(struct graph_txn *txn)
{
    struct graph_plan *plan = txn->plan;
    if (!plan || txn->rules->count == 0)
        return SOMBRA_OK;
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_step *step = &plan->steps[i];
        sombra_err err = SOMBRA_OK;
        if (step->remove.bytes)
            err = kv_delete(txn->kv, key_planned(plan, step->remove));
        if (err == SOMBRA_NOT_FOUND && step->is_ready)
            return diag_fail(SOMBRA_CORRUPT, "index %" PRIu32 " lacks an entry", step->rule);
        if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK; /* filling has not come so far */
        if (!err && step->add.bytes)
            err = kv_put(txn->kv, key_planned(plan, step->add), slice_of(NULL, 0));
        if (err)
            return err;
    }
    plan->count = 0;
    plan->is_open = false;
    return SOMBRA_OK;
}

sombra_err plan_record(struct graph_txn *txn, struct subject_change change)
{
    sombra_record after;
    if (LIKELY(txn->rules->count == 0))
        return SOMBRA_OK;
    sombra_err err = graph_record_open(buf_slice(&txn->record), !change.is_edge, &after);
    change.after = &after;
    return err ? err : plan_change(txn, &change);
}

sombra_err plan_store_record(struct graph_txn *txn, const struct graph_key *key,
                             struct subject_change change)
{
    sombra_err err = SOMBRA_OK;
    if (UNLIKELY(txn->rules->count)) { /* the old one was walked while the new one was built */
        sombra_record old;
        err = graph_record_open(buf_slice(&txn->old), !change.is_edge, &old);
        change.before = &old;
        if (!err)
            err = plan_record(txn, change);
    }
    if (err)
        return err;
    if (slice_equal(buf_slice(&txn->old), buf_slice(&txn->record)))
        return plan_apply(txn); /* it is there already, and so are its entries */
    txn_note_plain_write(txn);
    err = kv_put(txn->kv, key_slice(key), buf_slice(&txn->record));
    if (!err)
        err = plan_apply(txn);
    return err ? txn_break(txn, err) : SOMBRA_OK;
}
