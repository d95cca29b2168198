/* SPDX-License-Identifier: MIT */
/* The walk that proves a graph: every key of the store once, in order, each checked against the
 * others that must agree with it. Memory is one counter a type. */
#include "edge_block.h"
#include "index_internal.h"

struct walk {
    struct graph_txn *txn;
    struct graph_check *check;
    uint64_t names[GRAPH_NAME_KINDS]; /* seen by id */
    uint64_t names_by_text[GRAPH_NAME_KINDS];
    uint64_t *edges_by_type;  /* one for each type that has a name, and one */
    uint64_t type_counts;     /* entries */
    uint64_t last_older_edge; /* the highest that is in no block */
    uint64_t nodes, edges, outs, ins, labels, label_entries;
    uint64_t buckets, buckets_by_name;
    struct rule_tally *rules; /* one for each of txn->rules */
    struct buf values;        /* of one member under one index */
    struct buf last;          /* the index entry before, as far as its key has the values */
    uint32_t last_rule;
    uint64_t last_id;
};

/* Index entries that records ask for, and those that are there. */
struct rule_tally {
    uint64_t wanted, seen;
};

static void report(struct graph_check *check, sombra_err code)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text); /* the callback may fail at something of its own */
    check->problems++;
    if (check->problem)
        check->problem(check->context, code, text);
}

/* An entry that another one asks for. */
static sombra_err expect(struct walk *walk, struct graph_key key, const char *what)
{
    bool has = false;
    sombra_err err = txn_has(walk->txn, &key, &has);
    if (!err && !has)
        err = diag_fail(SOMBRA_CORRUPT, "%s is missing", what);
    return err;
}

static sombra_err expect_id(uint64_t id, uint64_t next, const char *what)
{
    return id < next
               ? SOMBRA_OK
               : diag_fail(SOMBRA_CORRUPT, "%s %" PRIu64 " is not below the next id, %" PRIu64,
                           what, id, next);
}

static sombra_err expect_empty(sombra_slice value)
{
    return value.bytes == 0 ? SOMBRA_OK
                            : diag_fail(SOMBRA_CORRUPT, "%zu bytes where none belong", value.bytes);
}

static sombra_err expect_name(const struct walk *walk, sombra_name_kind kind, uint64_t id)
{
    if (id == 0 || id > walk->names[kind])
        return diag_fail(SOMBRA_CORRUPT, "name %" PRIu64 " of kind %d does not exist", id,
                         (int)kind);
    return SOMBRA_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

static sombra_err check_name_by_id(struct walk *walk, sombra_slice key, sombra_slice text)
{
    struct key_fields f;
    uint8_t other[2 + SOMBRA_NAME_BYTES_MAX];
    sombra_slice value;
    sombra_err err = key_fields_read(key, 2, &f);
    if (err)
        return err;
    if (f.at[0] >= GRAPH_NAME_KINDS || text.bytes == 0 || text.bytes > SOMBRA_NAME_BYTES_MAX)
        return corrupt_key(key, "a name");
    uint64_t before = walk->names[f.at[0]];
    walk->names[f.at[0]] = before + 1;
    if (f.at[1] != before + 1)
        return diag_fail(SOMBRA_CORRUPT,
                         "names of kind %" PRIu64 " skip from %" PRIu64 " to %" PRIu64, f.at[0],
                         before, f.at[1]);
    other[0] = TAG_NAME_BY_TEXT;
    other[1] = (uint8_t)f.at[0];
    memcpy(other + 2, text.data, text.bytes);
    err = kv_get(walk->txn->kv, slice_of(other, 2 + text.bytes), &value);
    uint64_t id = 0;
    const uint8_t *at = err ? NULL : value.data;
    if (!at || varint_get(at, at + value.bytes, &id) != at + value.bytes || id != f.at[1])
        return diag_fail(SOMBRA_CORRUPT,
                         "name %" PRIu64 " of kind %" PRIu64 " is not found by text", f.at[1],
                         f.at[0]);
    return SOMBRA_OK;
}

static sombra_err check_name_by_text(struct walk *walk, sombra_slice key)
{
    const uint8_t *at = key.data;
    if (key.bytes < 3 || at[1] == 0 || at[1] >= GRAPH_NAME_KINDS)
        return corrupt_key(key, "kind and text of a name");
    walk->names_by_text[at[1]]++;
    return SOMBRA_OK;
}

/* ---- nodes and edges --------------------------------------------------------------------- */

static sombra_err expect_property(void *walk, uint32_t name)
{
    return expect_name(walk, SOMBRA_NAME_PROPERTY, name);
}

/* What the rules of a label or type ask of a record. Its properties were not walked yet. */
static sombra_err check_rules(struct walk *walk, bool is_edge, uint32_t subject, uint64_t id,
                              const sombra_record *record)
{
    const struct graph_rule *rules;
    size_t count;
    rules_of(walk->txn, is_edge, subject, &rules, &count);
    for (size_t i = 0; i < count; i++) {
        enum index_membership membership = INDEX_OUTSIDE;
        sombra_err err = SOMBRA_OK;
        if (!rules[i].is_ready || rules[i].kind == SOMBRA_RULE_TRIGGER)
            continue;
        if (rule_is_index(&rules[i]))
            err = index_values(&rules[i], record, &walk->values, &membership);
        else
            err = constraint_check(walk->txn, &rules[i], id, NULL, record);
        if (err == SOMBRA_CONSTRAINT)
            err = diag_wrap(diag_fail(SOMBRA_CORRUPT, "%s", diag_text()), "constraint");
        if (err)
            return err;
        if (membership != INDEX_OUTSIDE)
            walk->rules[&rules[i] - walk->txn->rules->rules].wanted++;
    }
    return SOMBRA_OK;
}

static sombra_err check_node(struct walk *walk, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    sombra_record record;
    walk->nodes++;
    sombra_err err = key_fields_read(key, 1, &f);
    if (err)
        return err;
    err = expect_id(f.at[0], walk->txn->next_node, "node");
    if (!err)
        err = graph_record_open(value, true, &record);
    while (!err) {
        uint32_t label = 0;
        bool found = false;
        err = graph_record_next_label(&record, &label, &found);
        if (err || !found)
            break;
        walk->labels++;
        err = expect_name(walk, SOMBRA_NAME_LABEL, label);
        if (!err)
            err = expect(walk, key_2(TAG_LABEL, label, f.at[0]), "the entry of a label");
        if (!err)
            err = check_rules(walk, false, label, f.at[0], &record);
    }
    if (!err)
        err = record_prove(&record, expect_property, walk);
    return diag_wrap(err, "node %" PRIu64, f.at[0]);
}

/* That each label of a record has its entry is known; so counting finds entries too many. */
static sombra_err check_label(struct walk *walk, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    walk->label_entries++;
    sombra_err err = key_fields_read(key, 2, &f);
    if (!err)
        err = expect_name(walk, SOMBRA_NAME_LABEL, f.at[0]);
    if (!err)
        err = expect(walk, key_1(TAG_NODE, f.at[1]), "the node of a label");
    return err ? err : expect_empty(value);
}

static sombra_err check_edge(struct walk *walk, const struct graph_edge *edge)
{
    sombra_err err = expect_id(edge->id, walk->txn->next_edge, "edge");
    if (!err)
        err = expect_name(walk, SOMBRA_NAME_TYPE, edge->type);
    if (!err)
        walk->edges_by_type[edge->type]++;
    if (!err)
        err = expect(walk, key_1(TAG_NODE, edge->src), "its source");
    if (!err)
        err = expect(walk, key_1(TAG_NODE, edge->dst), "its target");
    if (!err)
        err = expect(walk, key_out(edge), "its entry at the source");
    if (!err)
        err = expect(walk, key_in(edge), "its entry at the target");
    return diag_wrap(err, "edge %" PRIu64, edge->id);
}

/* An entry of an older format; blocks begin behind the last one. */
static sombra_err check_older_edge(struct walk *walk, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    struct graph_edge edge = { 0 };
    walk->edges++;
    sombra_err err = key_fields_read(key, 1, &f);
    if (err)
        return err;
    edge.id = walk->last_older_edge = f.at[0];
    err = edge_ends_read(value, &edge);
    return err ? diag_wrap(err, "edge %" PRIu64, f.at[0]) : check_edge(walk, &edge);
}

/* What is wrong with one edge is told; the others are looked at all the same. */
static sombra_err check_block(struct walk *walk, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    struct edge_block_view view;
    sombra_err err = key_fields_read(key, 1, &f);
    if (err)
        return err;
    if (f.at[0] > INT64_MAX / EDGE_BLOCK_EDGES + 1)
        return corrupt_key(key, "a block of edges");
    err = edge_block_open(value, &view);
    if (err)
        return diag_wrap(err, "block %" PRIu64, f.at[0]);
    for (unsigned slot = 0; slot < view.count; slot++) {
        struct graph_edge edge = { .id = edge_id_at(f.at[0], slot) };
        if (!(view.present >> slot & 1))
            continue;
        walk->edges++;
        err = edge_block_get(&view, slot, &edge);
        if (!err && edge.id <= walk->last_older_edge)
            err = diag_fail(SOMBRA_CORRUPT, "it stands in a block, below edges that do not");
        err = err ? diag_wrap(err, "edge %" PRIu64, edge.id) : check_edge(walk, &edge);
        if (err == SOMBRA_CORRUPT)
            report(walk->check, err);
        else if (err)
            return err;
    }
    return SOMBRA_OK;
}

static sombra_err check_adjacency(struct walk *walk, sombra_slice key, sombra_slice value)
{
    struct key_fields f;
    struct graph_edge edge;
    bool is_out = *(const uint8_t *)key.data == TAG_OUT;
    sombra_record record;
    if (is_out)
        walk->outs++;
    else
        walk->ins++;
    sombra_err err = key_fields_read(key, 4, &f);
    if (err)
        return err;
    err = graph_edge_ends(walk->txn, f.at[3], &edge);
    if (err == SOMBRA_NOT_FOUND ||
        (!err && (edge.type != f.at[1] || (is_out ? edge.src : edge.dst) != f.at[0] ||
                  (is_out ? edge.dst : edge.src) != f.at[2])))
        return corrupt_key(key, "an entry of the edge it names");
    if (!err && !is_out)
        return expect_empty(value);
    if (!err)
        err = graph_record_open(value, false, &record);
    if (!err)
        err = check_rules(walk, true, edge.type, edge.id, &record);
    if (!err)
        err = record_prove(&record, expect_property, walk);
    return diag_wrap(err, "edge %" PRIu64, f.at[3]);
}

/* ---- buckets ----------------------------------------------------------------------------- */

static sombra_err check_bucket(struct walk *walk, sombra_slice key, sombra_slice name)
{
    struct key_fields f;
    uint8_t by_name[1 + SOMBRA_NAME_BYTES_MAX];
    sombra_slice value;
    uint64_t id = 0;
    walk->buckets++;
    sombra_err err = key_fields_read(key, 1, &f);
    if (!err)
        err = expect_id(f.at[0], walk->txn->next_bucket, "bucket");
    if (!err && (name.bytes == 0 || name.bytes > SOMBRA_NAME_BYTES_MAX))
        err = corrupt_key(key, "a bucket with a name");
    if (err)
        return err;
    by_name[0] = TAG_BUCKET_BY_NAME;
    memcpy(by_name + 1, name.data, name.bytes);
    err = kv_get(walk->txn->kv, slice_of(by_name, 1 + name.bytes), &value);
    const uint8_t *at = err ? NULL : value.data;
    if (!at || varint_get(at, at + value.bytes, &id) != at + value.bytes || id != f.at[0])
        return diag_fail(SOMBRA_CORRUPT, "bucket %" PRIu64 " is not found by name", f.at[0]);
    return SOMBRA_OK;
}

static sombra_err check_entry(struct walk *walk, sombra_slice key, sombra_slice value)
{
    uint64_t bucket = 0;
    sombra_key unused;
    const uint8_t *at = (const uint8_t *)key.data + 1;
    const uint8_t *end = (const uint8_t *)key.data + key.bytes;
    at = ordered_read(at, end, &bucket);
    if (!at)
        return corrupt_key(key, "bucket, entry");
    sombra_err err = bucket_check(walk->txn, bucket);
    if (err == SOMBRA_NOT_FOUND)
        return corrupt_key(key, "an entry of a bucket that exists");
    if (!err)
        err = entry_key_read(slice_of(at, (size_t)(end - at)), &unused);
    return err ? err
               : diag_wrap(sombra_value_validate(value), "an entry of bucket %" PRIu64, bucket);
}

/* ---- rules ------------------------------------------------------------------------------- */

static sombra_err check_rule(struct walk *walk, sombra_slice key, sombra_slice value)
{
    struct graph_rule rule;
    sombra_err err = rule_read(key, value, &rule);
    if (!err)
        err = expect_id(rule.id, walk->txn->rules_version + 1, "rule");
    if (!err)
        err = expect_name(walk, rule.is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL, rule.subject);
    for (size_t i = 0; !err && i < rule.property_count; i++)
        err = expect_name(walk, SOMBRA_NAME_PROPERTY, rule.properties[i]);
    return err;
}

static sombra_err read_rule(struct walk *walk, sombra_slice key, const struct graph_rule **out_rule,
                            size_t *out_prefix_bytes)
{
    uint64_t id = 0;
    const uint8_t *from = key.data;
    const uint8_t *at = ordered_get(from + 1, from + key.bytes, &id);
    const struct graph_rule *rule = at ? rules_by_id(walk->txn, id) : NULL;
    if (!rule)
        return corrupt_key(key, "of a rule that exists");
    *out_rule = rule;
    *out_prefix_bytes = (size_t)(at - from);
    return SOMBRA_OK;
}

/* Is the member one of the rule's? An edge has its type, a node its labels. */
static sombra_err check_subject(struct walk *walk, const struct graph_rule *rule, uint64_t id,
                                sombra_record *record)
{
    struct graph_edge edge;
    sombra_err err;
    if (rule->is_edge) {
        err = graph_edge_ends(walk->txn, id, &edge);
        if (!err && edge.type == rule->subject)
            return SOMBRA_OK;
    } else {
        for (;;) {
            uint32_t label = 0;
            bool found = false;
            err = graph_record_next_label(record, &label, &found);
            if (!err && found && label == rule->subject)
                return SOMBRA_OK;
            if (err || !found)
                break;
        }
    }
    return err ? err : diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " is not of the label or type", id);
}

/* Equal values stand next to each other, unless they are cut: then the store is asked. */
static sombra_err check_unique(struct walk *walk, const struct graph_rule *rule,
                               const struct index_entry *entry)
{
    uint64_t other = 0;
    sombra_err err = SOMBRA_OK;
    if (entry->is_cut)
        err = unique_conflict(walk->txn, rule, buf_slice(&walk->values), entry->id, &other);
    else if (walk->last_rule == rule->id && slice_equal(buf_slice(&walk->last), entry->values))
        other = walk->last_id;
    if (!err && other)
        err = diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " and %" PRIu64 " have the same unique values",
                        entry->id, other);
    return err;
}

/* That each entry is what its member's record asks for is known then, so that counting finds
 * entries that are missing. */
static sombra_err check_index_entry(struct walk *walk, sombra_slice key, sombra_slice value)
{
    const struct graph_rule *rule = NULL;
    struct index_entry entry;
    struct index_key wanted;
    sombra_record record;
    enum index_membership membership = INDEX_OUTSIDE;
    size_t prefix_bytes = 0;
    sombra_err err = read_rule(walk, key, &rule, &prefix_bytes);
    if (!err)
        err = index_entry_read(key, prefix_bytes, &entry);
    if (err)
        return err;
    if (rule->is_ready)
        walk->rules[rule - walk->txn->rules->rules].seen++;
    err = member_record(walk->txn, rule->is_edge, entry.id, &record);
    if (!err)
        err = index_values(rule, &record, &walk->values, &membership);
    if (!err)
        err = check_subject(walk, rule, entry.id, &record);
    if (!err && membership != INDEX_OUTSIDE)
        index_key_of(rule->id, buf_slice(&walk->values), entry.id, &wanted);
    if (!err && (membership == INDEX_OUTSIDE || !slice_equal(key, index_key_slice(&wanted))))
        err = corrupt_key(key, "what the record asks for");
    if (!err && rule->kind == SOMBRA_RULE_UNIQUE && membership == INDEX_COMPLETE)
        err = check_unique(walk, rule, &entry);
    if (!err)
        err = expect_empty(value);
    walk->last_rule = rule->id;
    walk->last_id = entry.id;
    sombra_err kept = buf_set(&walk->last, entry.values);
    return diag_wrap(err ? err : kept, "index %" PRIu32, rule->id);
}

static sombra_err check_fill(struct walk *walk, sombra_slice key)
{
    const struct graph_rule *rule = NULL;
    size_t unused;
    sombra_err err = read_rule(walk, key, &rule, &unused);
    if (!err && rule->is_ready)
        err = corrupt_key(key, "of a rule that is being filled");
    return err;
}

/* ---- the walk ---------------------------------------------------------------------------- */

/* Names come before everything that uses them, so the table of types can be made at the first use.
 */
static sombra_err make_types(struct walk *walk)
{
    size_t bytes = (walk->names[SOMBRA_NAME_TYPE] + 1) * sizeof *walk->edges_by_type;
    if (walk->edges_by_type)
        return SOMBRA_OK;
    walk->edges_by_type = mem_zalloc(bytes);
    return walk->edges_by_type ? SOMBRA_OK : diag_nomem("edges by type", bytes);
}

static sombra_err check_key(struct walk *walk, sombra_slice key, sombra_slice value)
{
    sombra_err err;
    switch (*(const uint8_t *)key.data) {
    case TAG_COUNTERS:
        return SOMBRA_OK; /* read when the walk began */
    case TAG_TYPE_COUNT:
        walk->type_counts++;
        return SOMBRA_OK; /* compared at the end */
    case TAG_NAME_BY_TEXT:
        return check_name_by_text(walk, key);
    case TAG_NAME_BY_ID:
        return check_name_by_id(walk, key, value);
    case TAG_BUCKET_BY_NAME:
        walk->buckets_by_name++;
        return SOMBRA_OK;
    case TAG_BUCKET:
        return check_bucket(walk, key, value);
    case TAG_NODE:
        return check_node(walk, key, value);
    case TAG_LABEL:
        return check_label(walk, key, value);
    case TAG_EDGE:
        err = make_types(walk);
        return err ? err : check_older_edge(walk, key, value);
    case TAG_EDGE_BLOCK:
        err = make_types(walk);
        return err ? err : check_block(walk, key, value);
    case TAG_OUT:
    case TAG_IN:
        return check_adjacency(walk, key, value);
    case TAG_ENTRY:
        return check_entry(walk, key, value);
    case TAG_RULE:
        return check_rule(walk, key, value);
    case TAG_INDEX:
        return check_index_entry(walk, key, value);
    case TAG_FILL:
        return check_fill(walk, key);
    default:
        return corrupt_key(key, "of a known tag");
    }
}

static void compare(struct walk *walk, const char *what, uint64_t have, uint64_t want)
{
    if (have != want)
        report(walk->check, diag_fail(SOMBRA_CORRUPT, "%s: %" PRIu64 " where %" PRIu64 " belong",
                                      what, have, want));
}

/* What only sums can tell. */
static sombra_err compare_counts(struct walk *walk)
{
    uint64_t types = 0;
    sombra_err err = make_types(walk);
    compare(walk, "entries of labels", walk->label_entries, walk->labels);
    compare(walk, "outgoing entries of edges", walk->outs, walk->edges);
    compare(walk, "incoming entries of edges", walk->ins, walk->edges);
    compare(walk, "names of buckets", walk->buckets_by_name, walk->buckets);
    for (unsigned kind = 1; kind < GRAPH_NAME_KINDS; kind++)
        compare(walk, "names by text", walk->names_by_text[kind], walk->names[kind]);
    for (size_t i = 0; i < walk->txn->rules->count; i++)
        compare(walk, "entries of an index", walk->rules[i].seen, walk->rules[i].wanted);
    for (uint32_t type = 1; !err && type <= walk->names[SOMBRA_NAME_TYPE]; type++) {
        uint64_t stored = 0;
        err = txn_type_stored(walk->txn, type, &stored);
        if (err)
            break;
        types += stored != 0;
        stored += (uint64_t)txn_type_delta(walk->txn, type);
        compare(walk, "the count of a type", stored, walk->edges_by_type[type]);
    }
    if (!err)
        compare(walk, "counts of types", walk->type_counts, types);
    return err;
}

static sombra_err walk_keys(struct walk *walk, uint64_t total)
{
    struct graph_check *check = walk->check;
    struct kv_cursor *cursor = NULL;
    sombra_err err = kv_cursor_open(walk->txn->kv, (struct kv_range){ 0 }, &cursor);
    for (uint64_t done = 0; !err; done++) {
        bool found = false;
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        err = check_key(walk, cursor->entry.key, cursor->entry.value);
        if (err == SOMBRA_CORRUPT) {
            report(check, err);
            err = SOMBRA_OK;
        }
        if (!err && done % 1024 == 0 && check->progress &&
            !check->progress(check->context, done, total))
            err = diag_fail(SOMBRA_CANCELLED, "verify was cancelled");
    }
    kv_cursor_close(cursor);
    return err;
}

sombra_err graph_verify(struct graph_txn *txn, struct graph_check *check)
{
    struct walk walk = { .txn = txn, .check = check };
    uint64_t total = 0;
    check->problems = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = txn_load_counters(txn);
    if (!err)
        err = edge_ends_flush(txn);
    if (!err)
        err = kv_count(txn->kv, (struct kv_range){ 0 }, 0, &total);
    if (!err)
        err = rules_load(txn);
    if (!err) {
        size_t bytes = (txn->rules->count + 1) * sizeof *walk.rules;
        walk.rules = mem_zalloc(bytes);
        err = walk.rules ? SOMBRA_OK : diag_nomem("rules", bytes);
    }
    if (!err)
        err = walk_keys(&walk, total);
    if (!err)
        err = compare_counts(&walk);
    mem_free(walk.edges_by_type);
    mem_free(walk.rules);
    buf_release(&walk.values);
    buf_release(&walk.last);
    if (err == SOMBRA_CORRUPT) { /* the store cannot go on: what it found is the last finding */
        report(check, err);
        err = SOMBRA_OK;
    }
    return err;
}
