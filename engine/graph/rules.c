/* SPDX-License-Identifier: MIT */
/* Rules: their definitions in the store, and the set of them that transactions share.
 *
 * The counters hold the version of the rules, so that a transaction knows without another read
 * whether the set that the graph keeps is its own. Committed versions only grow, and a transaction
 * that changes rules keeps its set to itself. */
#include "index_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- definitions ------------------------------------------------------------------------- */

static sombra_err damaged(uint64_t id)
{
    return diag_fail(SOMBRA_CORRUPT, "the definition of rule %" PRIu64 " is damaged", id);
}

static bool kind_is_known(sombra_rule_kind kind)
{
    return kind >= SOMBRA_RULE_INDEX && kind <= SOMBRA_RULE_TRIGGER;
}
static bool kind_is_index(sombra_rule_kind kind)
{
    return kind == SOMBRA_RULE_INDEX || kind == SOMBRA_RULE_UNIQUE;
}

static bool value_kind_is_sound(uint64_t kind, uint64_t value_kind)
{
    const uint64_t all = SOMBRA_EVENT_CREATE | SOMBRA_EVENT_UPDATE | SOMBRA_EVENT_DELETE;
    return kind == SOMBRA_RULE_TRIGGER ? value_kind != 0 && value_kind <= all
                                       : value_kind <= SOMBRA_MAP;
}

sombra_err rule_read(sombra_slice key, sombra_slice value, struct graph_rule *out_rule)
{
    enum { KIND, FLAGS, SUBJECT, VALUE_KIND, COUNT, FIELDS };
    const uint8_t *at = key.data, *end = at + key.bytes;
    uint64_t id = 0, fields[FIELDS];
    struct graph_rule rule = { 0 };
    if (ordered_get(at + 1, end, &id) != end || id == 0 || id > UINT32_MAX)
        return corrupt_key(key, "tag, number of a rule");
    at = value.data;
    end = at + value.bytes;
    for (size_t i = 0; i < FIELDS; i++)
        at = at ? varint_get(at, end, &fields[i]) : NULL;
    if (!at || fields[KIND] > SOMBRA_RULE_TRIGGER ||
        !kind_is_known((sombra_rule_kind)fields[KIND]) ||
        fields[FLAGS] > (RULE_IS_EDGE | RULE_IS_READY) || fields[SUBJECT] == 0 ||
        fields[SUBJECT] > UINT32_MAX || !value_kind_is_sound(fields[KIND], fields[VALUE_KIND]) ||
        fields[COUNT] == 0 || fields[COUNT] > SOMBRA_INDEX_PROPERTIES)
        return damaged(id);
    rule.id = (uint32_t)id;
    rule.kind = (sombra_rule_kind)fields[KIND];
    rule.is_edge = fields[FLAGS] & RULE_IS_EDGE;
    rule.is_ready = fields[FLAGS] & RULE_IS_READY;
    rule.subject = (uint32_t)fields[SUBJECT];
    if (rule.kind == SOMBRA_RULE_TRIGGER)
        rule.events = (uint32_t)fields[VALUE_KIND];
    else
        rule.value_kind = (sombra_kind)fields[VALUE_KIND];
    rule.property_count = fields[COUNT];
    for (size_t i = 0; i < rule.property_count; i++) {
        uint64_t property = 0;
        at = at ? varint_get(at, end, &property) : NULL;
        if (!at || property == 0 || property > UINT32_MAX)
            return damaged(id);
        rule.properties[i] = (uint32_t)property;
    }
    if (at != end || (!kind_is_index(rule.kind) && rule.property_count != 1))
        return damaged(id);
    *out_rule = rule;
    return SOMBRA_OK;
}

static sombra_err version_raise(struct graph_txn *txn)
{
    if (txn->rules_version >= UINT32_MAX)
        return diag_fail(SOMBRA_LIMIT, "the rules were changed 2^32 times");
    txn->rules_version++;
    txn->rules_changed = true;
    txn->counters_dirty = true;
    txn->writes++;
    rules_unload(txn);
    return SOMBRA_OK;
}

sombra_err rule_write(struct graph_txn *txn, struct graph_rule *rule)
{
    uint8_t value[(5 + SOMBRA_INDEX_PROPERTIES) * VARINT_BYTES_MAX], *at = value;
    assert(rule->property_count >= 1 && rule->property_count <= SOMBRA_INDEX_PROPERTIES);
    sombra_err err = version_raise(txn);
    if (err)
        return err;
    if (rule->id == 0)
        rule->id = (uint32_t)txn->rules_version;
    at = varint_put(at, (uint64_t)rule->kind);
    at =
        varint_put(at, (rule->is_edge ? RULE_IS_EDGE : 0u) | (rule->is_ready ? RULE_IS_READY : 0u));
    at = varint_put(at, rule->subject);
    at = varint_put(at, rule->events ? rule->events : (uint64_t)rule->value_kind);
    at = varint_put(at, rule->property_count);
    for (size_t i = 0; i < rule->property_count; i++)
        at = varint_put(at, rule->properties[i]);
    struct graph_key key = key_1(TAG_RULE, rule->id);
    err = kv_put(txn->kv, key_slice(&key), slice_of(value, (size_t)(at - value)));
    if (!err)
        err = rules_load(txn);
    return err ? txn_break(txn, err) : SOMBRA_OK;
}

/* ---- the set ----------------------------------------------------------------------------- */

static struct graph_rule_set no_rules; /* version 0: nobody counts references */

static int rule_order(const void *a, const void *b)
{
    const struct graph_rule *left = a, *right = b;
    if (left->is_edge != right->is_edge)
        return left->is_edge ? 1 : -1;
    if (left->subject != right->subject)
        return left->subject < right->subject ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

/* Reads all definitions; the caller owns the one reference. */
static sombra_err set_read(struct graph_txn *txn, struct graph_rule_set **out_set)
{
    struct graph_key prefix = key_begin(TAG_RULE);
    struct key_span span;
    struct kv_cursor *cursor = NULL;
    uint64_t count = 0;
    sombra_err err = txn_count(txn, &prefix, 0, &count);
    if (err)
        return err;
    size_t bytes = sizeof(struct graph_rule_set) + count * sizeof(struct graph_rule);
    struct graph_rule_set *set = mem_alloc(bytes);
    if (!set)
        return diag_nomem("rules", bytes);
    *set = (struct graph_rule_set){ .references = 1, .version = txn->rules_version };
    err = kv_cursor_open(txn->kv, span_of(&prefix, &span), &cursor);
    while (!err && set->count < count) {
        bool found = false;
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        err = rule_read(cursor->entry.key, cursor->entry.value, &set->rules[set->count]);
        set->count++;
    }
    kv_cursor_close(cursor);
    if (err) {
        mem_free(set);
        return err;
    }
    qsort(set->rules, set->count, sizeof set->rules[0], rule_order);
    *out_set = set;
    return SOMBRA_OK;
}

/* With the graph's mutex. */
static void set_unref(struct graph_rule_set *set)
{
    if (set && --set->references == 0)
        mem_free(set);
}

void rules_release(struct graph *graph)
{
    set_unref(graph->rules);
    graph->rules = NULL;
}

/* The graph's set, if it is of the transaction's version. */
static struct graph_rule_set *set_shared(struct graph_txn *txn)
{
    struct graph *graph = txn->graph;
    struct graph_rule_set *set = NULL;
    pthread_mutex_lock(&graph->mutex);
    if (graph->rules && graph->rules->version == txn->rules_version) {
        set = graph->rules;
        set->references++;
    }
    pthread_mutex_unlock(&graph->mutex);
    return set;
}

/* The graph keeps it, unless it has a newer one. */
static void set_share(struct graph_txn *txn, struct graph_rule_set *set)
{
    struct graph *graph = txn->graph;
    pthread_mutex_lock(&graph->mutex);
    if (!graph->rules || graph->rules->version < set->version) {
        set_unref(graph->rules);
        graph->rules = set;
        set->references++;
    }
    pthread_mutex_unlock(&graph->mutex);
}

sombra_err rules_load_slow(struct graph_txn *txn)
{
    sombra_err err = txn_load_counters(txn);
    if (err)
        return err;
    if (txn->rules_version == 0) {
        txn->rules = &no_rules;
        return SOMBRA_OK;
    }
    if (!txn->rules_changed)
        txn->rules = set_shared(txn);
    if (txn->rules)
        return SOMBRA_OK;
    struct graph_rule_set *set;
    err = set_read(txn, &set);
    if (err)
        return err;
    if (!txn->rules_changed)
        set_share(txn, set);
    txn->rules = set;
    return SOMBRA_OK;
}

void rules_unload(struct graph_txn *txn)
{
    struct graph_rule_set *set = txn->rules;
    txn->rules = NULL;
    if (!set || set == &no_rules)
        return;
    pthread_mutex_lock(&txn->graph->mutex);
    set_unref(set);
    pthread_mutex_unlock(&txn->graph->mutex);
}

void rules_forget(struct graph_txn *txn)
{
    assert(!txn->rules);
    txn->rules = txn->kept_rules;
    txn->kept_rules = NULL;
    txn->kept_version = 0;
    rules_unload(txn);
}

void rules_keep(struct graph_txn *txn)
{
    struct graph_rule_set *set = txn->rules;
    if (!set || txn->version == 0) {
        rules_unload(txn);
        return;
    }
    txn->rules = NULL;
    rules_forget(txn);
    txn->kept_rules = set;
    txn->kept_version = txn->version;
}

void rules_take_kept(struct graph_txn *txn)
{
    assert(!txn->rules);
    if (!txn->kept_rules || txn->version == 0 || txn->kept_version != txn->version)
        return;
    txn->rules = txn->kept_rules;
    txn->kept_rules = NULL; /* the reference goes along */
    txn->rules_version = txn->rules->version;
}

void rules_of(const struct graph_txn *txn, bool is_edge, uint32_t subject,
              const struct graph_rule **out_rules, size_t *out_count)
{
    const struct graph_rule_set *set = txn->rules;
    const struct graph_rule wanted = { .is_edge = is_edge, .subject = subject };
    assert(set);
    size_t low = 0, high = set->count; /* the first that is not below (subject, id 0) */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rule_order(&set->rules[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < set->count && set->rules[end].is_edge == is_edge &&
           set->rules[end].subject == subject)
        end++;
    *out_rules = set->rules + low;
    *out_count = end - low;
}

sombra_err graph_rules_of(struct graph_txn *txn, bool is_edge, uint32_t subject,
                          const struct graph_rule **out_rules, size_t *out_count)
{
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = rules_load(txn);
    if (!err)
        rules_of(txn, is_edge, subject, out_rules, out_count);
    return err;
}

sombra_err graph_rules_version(struct graph_txn *txn, uint64_t *out_version)
{
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = rules_load(txn);
    if (!err)
        *out_version = txn->rules_version;
    return err;
}

const struct graph_rule *rules_by_id(const struct graph_txn *txn, uint64_t id)
{
    assert(txn->rules);
    for (size_t i = 0; i < txn->rules->count; i++) {
        if (txn->rules->rules[i].id == id)
            return &txn->rules->rules[i];
    }
    return NULL;
}

/* ---- find and list ----------------------------------------------------------------------- */

static sombra_name_kind subject_kind(bool is_edge)
{
    return is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL;
}

static sombra_err rule_refuse(const sombra_rule *rule)
{
    if (!kind_is_known(rule->kind))
        return diag_fail(SOMBRA_INVALID, "%d is no kind of rule", (int)rule->kind);
    if (rule->property_count == 0 || rule->property_count > SOMBRA_INDEX_PROPERTIES)
        return diag_fail(SOMBRA_INVALID, "a rule has %zu properties; give 1 to %d",
                         rule->property_count, SOMBRA_INDEX_PROPERTIES);
    if (!kind_is_index(rule->kind) && rule->property_count != 1)
        return diag_fail(SOMBRA_INVALID, "this kind of rule is about one property");
    if (rule->value_kind < SOMBRA_NULL || rule->value_kind > SOMBRA_MAP)
        return diag_fail(SOMBRA_INVALID, "%d is no kind of value", (int)rule->value_kind);
    if (rule->kind == SOMBRA_RULE_TRIGGER &&
        !value_kind_is_sound(SOMBRA_RULE_TRIGGER, rule->events))
        return diag_fail(SOMBRA_INVALID, "a trigger needs events: create, update or delete");
    for (size_t i = 0; i < rule->property_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (slice_equal(rule->properties[i], rule->properties[j]))
                return diag_fail(SOMBRA_INVALID, "a property is given twice");
        }
    }
    return SOMBRA_OK;
}

/* The names of a rule as ids, those that do not exist made if `makes`; *out_exists false: one does
 * not exist. */
static sombra_err resolve(struct graph_txn *txn, const sombra_rule *from, bool makes,
                          struct graph_rule *out_rule, bool *out_exists)
{
    sombra_err (*const get)(struct graph_txn *, sombra_name_kind, sombra_slice, uint32_t *) =
        makes ? graph_name_intern : graph_name_find;
    struct graph_rule rule = { .kind = from->kind,
                               .is_edge = from->is_edge,
                               .property_count = from->property_count };
    sombra_err err = rule_refuse(from);
    if (!err && from->kind == SOMBRA_RULE_KIND)
        rule.value_kind = from->value_kind;
    if (!err && from->kind == SOMBRA_RULE_TRIGGER)
        rule.events = from->events;
    if (!err)
        err = get(txn, subject_kind(from->is_edge), from->subject, &rule.subject);
    bool exists = rule.subject != 0;
    for (size_t i = 0; !err && i < rule.property_count; i++) {
        err = get(txn, SOMBRA_NAME_PROPERTY, from->properties[i], &rule.properties[i]);
        exists = exists && rule.properties[i] != 0;
    }
    if (err)
        return err;
    *out_rule = rule;
    *out_exists = exists;
    return SOMBRA_OK;
}

static const struct graph_rule *find(struct graph_txn *txn, const struct graph_rule *wanted)
{
    const struct graph_rule *rules;
    size_t count;
    rules_of(txn, wanted->is_edge, wanted->subject, &rules, &count);
    for (size_t i = 0; i < count; i++) {
        if (rules[i].kind == wanted->kind && rules[i].property_count == wanted->property_count &&
            memcmp(rules[i].properties, wanted->properties, sizeof rules[i].properties) == 0)
            return &rules[i];
    }
    return NULL;
}

sombra_err graph_rule_find(struct graph_txn *txn, const sombra_rule *rule, uint32_t *out_id)
{
    struct graph_rule wanted;
    bool exists = false;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = rules_load(txn);
    if (!err)
        err = resolve(txn, rule, false, &wanted, &exists);
    if (err)
        return err;
    const struct graph_rule *found = exists ? find(txn, &wanted) : NULL;
    if (!found)
        return SOMBRA_NOT_FOUND;
    *out_id = found->id;
    return SOMBRA_OK;
}

static sombra_err name_text(struct graph_txn *txn, sombra_name_kind kind, uint32_t id,
                            sombra_slice *out_text)
{
    sombra_name name;
    sombra_err err = graph_name_by_id(txn, kind, id, &name);
    if (err == SOMBRA_NOT_FOUND)
        err = diag_fail(SOMBRA_CORRUPT, "a rule uses name %" PRIu32 ", which does not exist", id);
    if (!err)
        *out_text = name.text;
    return err;
}

sombra_err graph_rule_next(struct graph_txn *txn, uint32_t after, sombra_rule *out_rule,
                           bool *out_found)
{
    const struct graph_rule *next = NULL;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = rules_load(txn);
    for (size_t i = 0; !err && i < txn->rules->count; i++) {
        const struct graph_rule *rule = &txn->rules->rules[i];
        if (rule->id > after && (!next || rule->id < next->id))
            next = rule;
    }
    if (!err && !next)
        *out_found = false;
    if (err || !next)
        return err;
    sombra_rule rule = { .id = next->id,
                         .kind = next->kind,
                         .is_edge = next->is_edge,
                         .is_ready = next->is_ready,
                         .property_count = next->property_count,
                         .value_kind = next->value_kind,
                         .events = next->events };
    err = name_text(txn, subject_kind(next->is_edge), next->subject, &rule.subject);
    for (size_t i = 0; !err && i < next->property_count; i++)
        err = name_text(txn, SOMBRA_NAME_PROPERTY, next->properties[i], &rule.properties[i]);
    struct graph_key prefix = key_of_index(next->id);
    if (!err && rule_is_index(next))
        err = txn_count(txn, &prefix, 0, &rule.entries);
    if (err)
        return diag_wrap(err, "rule %" PRIu32, next->id);
    *out_rule = rule;
    *out_found = true;
    return SOMBRA_OK;
}

const char *rule_text(struct graph_txn *txn, const struct graph_rule *rule,
                      char to[RULE_TEXT_BYTES])
{
    sombra_slice name = { NULL, 0 };
    int used = 0;
    if (name_text(txn, subject_kind(rule->is_edge), rule->subject, &name))
        name = slice_str("?");
    used = snprintf(to, RULE_TEXT_BYTES, "%.*s (", (int)size_min(name.bytes, 40),
                    (const char *)name.data);
    for (size_t i = 0; i < rule->property_count && used < RULE_TEXT_BYTES - 48; i++) {
        if (name_text(txn, SOMBRA_NAME_PROPERTY, rule->properties[i], &name))
            name = slice_str("?");
        used += snprintf(to + used, (size_t)(RULE_TEXT_BYTES - used), "%s%.*s", i ? ", " : "",
                         (int)size_min(name.bytes, 40), (const char *)name.data);
    }
    snprintf(to + used, (size_t)(RULE_TEXT_BYTES - used), ")");
    return to;
}

/* ---- make and drop ----------------------------------------------------------------------- */

sombra_err graph_rule_begin(struct graph_txn *txn, const sombra_rule *from, uint32_t *out_id)
{
    struct graph_rule rule;
    bool exists = false;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = resolve(txn, from, true, &rule, &exists);
    if (err)
        return err;
    const struct graph_rule *found = find(txn, &rule);
    if (found) {
        *out_id = found->id;
        if (!found->is_ready && found->value_kind == rule.value_kind)
            return SOMBRA_OK;
        char text[RULE_TEXT_BYTES];
        return diag_fail(SOMBRA_EXISTS, "%s is there already, as number %" PRIu32,
                         rule_text(txn, found, text), found->id);
    }
    rule.is_ready = rule.kind == SOMBRA_RULE_TRIGGER; /* there is nothing to fill or to prove */
    err = rule_write(txn, &rule);
    if (!err)
        *out_id = rule.id;
    return err;
}

sombra_err graph_rule_drop(struct graph_txn *txn, uint32_t id)
{
    struct graph_key definition = key_1(TAG_RULE, id), fill = key_1(TAG_FILL, id);
    struct graph_key entries = key_of_index(id);
    struct key_span span;
    sombra_err err = txn_check_write(txn);
    if (!err && !rules_by_id(txn, id))
        return diag_fail(SOMBRA_NOT_FOUND, "there is no rule %" PRIu32, id);
    if (!err)
        err = version_raise(txn);
    if (err)
        return err;
    err = kv_delete(txn->kv, key_slice(&definition));
    if (!err)
        err = kv_delete(txn->kv, key_slice(&fill));
    if (err == SOMBRA_NOT_FOUND)
        err = SOMBRA_OK; /* it is not being filled */
    if (!err)
        err = kv_delete_range(txn->kv, span_of(&entries, &span), NULL);
    if (!err)
        err = rules_load(txn);
    return err ? diag_wrap(txn_break(txn, err), "drop rule %" PRIu32, id) : SOMBRA_OK;
}
