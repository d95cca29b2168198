/* SPDX-License-Identifier: MIT */
/* The pattern of a match step: docs/query.md, "Patterns". */
#include "match_internal.h"

#include <stdlib.h>

/* How many of a hundred nodes a condition lets through, where no index says. */
enum { PART_EQUAL = 1, PART_ANY_OF = 5, PART_OTHER = 25 };

static sombra_err bad(const char *what, sombra_slice name)
{
    return diag_fail(SOMBRA_INVALID, "pattern: %s '%.*s'", what, (int)size_min(name.bytes, 60),
                     (const char *)name.data);
}

/* ---- nodes ------------------------------------------------------------------------------- */

/* The labels of a node, a name or a list of names, given to `each`. */
static sombra_err each_label(const sombra_value *label,
                             sombra_err (*each)(void *context, sombra_slice name), void *context)
{
    sombra_value_cursor cursor;
    if (label->kind == SOMBRA_STRING)
        return each(context, label->as.string);
    if (label->kind != SOMBRA_LIST)
        return diag_fail(SOMBRA_INVALID, "pattern: a label is a %s; give a name or a list of names",
                         sombra_kind_name(label->kind));
    sombra_value_enter(label, &cursor);
    for (;;) {
        sombra_value name;
        bool found = false;
        sombra_err err = sombra_value_next(&cursor, NULL, &name, &found);
        if (err || !found)
            return err;
        if (name.kind != SOMBRA_STRING)
            return diag_fail(SOMBRA_INVALID, "pattern: a list of labels holds a %s",
                             sombra_kind_name(name.kind));
        err = each(context, name.as.string);
        if (err)
            return err;
    }
}

struct labels {
    struct query_run *run;
    sombra_value_builder *builder;
    struct match_node *node;
    sombra_slice first;
    unsigned count;
};

static void push_text(sombra_value_builder *builder, const char *text)
{
    (void)sombra_value_push_string(builder, text, strlen(text));
}

/* Adds {"label", name} to the predicate, and counts: the smallest label is the source. */
static sombra_err add_label(void *context, sombra_slice name)
{
    struct labels *labels = context;
    uint64_t count = 0;
    sombra_err err = graph_node_count(labels->run->txn, name, &count);
    if (err)
        return diag_wrap(err, "pattern: label");
    (void)sombra_value_begin_list(labels->builder);
    push_text(labels->builder, "label");
    (void)sombra_value_push_string(labels->builder, name.data, name.bytes);
    (void)sombra_value_end_list(labels->builder);
    if (labels->count++ == 0 || (double)count < labels->node->estimate) {
        labels->first = name;
        labels->node->estimate = (double)count;
    }
    return SOMBRA_OK;
}

static sombra_err finish_copy(struct query_run *run, sombra_value_builder *builder,
                              sombra_slice *out)
{
    sombra_err err = sombra_value_finish(builder, out);
    if (!err)
        err = run_copy(run, &run->arena, out);
    sombra_value_builder_reset(builder);
    return err;
}

/* The predicate of labels and where together, which the node's steps and checks both use. */
static sombra_err node_predicate(struct query_run *run, sombra_value_builder *builder,
                                 const sombra_value *label, sombra_slice where,
                                 struct labels *labels, sombra_slice *out_encoded)
{
    struct match_node *node = labels->node;
    sombra_err err = SOMBRA_OK;
    (void)sombra_value_begin_list(builder);
    push_text(builder, "and");
    if (label)
        err = each_label(label, add_label, labels);
    if (err)
        return err;
    if (where.bytes)
        (void)sombra_value_push_encoded(builder, where);
    (void)sombra_value_end_list(builder);
    err = finish_copy(run, builder, out_encoded);
    if (!err && (labels->count || where.bytes))
        err = predicate_new(run->txn, *out_encoded, &node->fits);
    return err;
}

/* {{source}, {"where", predicate}}: planned as any query, so an index may serve it. */
static sombra_err node_steps(struct query_run *run, sombra_value_builder *builder,
                             const struct labels *labels, sombra_slice predicate)
{
    struct match_node *node = labels->node;
    (void)sombra_value_begin_list(builder);
    (void)sombra_value_begin_list(builder);
    if (node->has_ids) {
        push_text(builder, "ids");
        (void)sombra_value_begin_list(builder);
        for (size_t i = 0; i < node->ids.count; i++)
            (void)sombra_value_push_integer(builder, (int64_t)node->ids.items[i]);
        (void)sombra_value_end_list(builder);
    } else if (labels->count) {
        push_text(builder, "label");
        (void)sombra_value_push_string(builder, labels->first.data, labels->first.bytes);
    } else {
        push_text(builder, "all");
    }
    (void)sombra_value_end_list(builder);
    if (node->fits) {
        (void)sombra_value_begin_list(builder);
        push_text(builder, "where");
        (void)sombra_value_push_encoded(builder, predicate);
        (void)sombra_value_end_list(builder);
    }
    (void)sombra_value_end_list(builder);
    return finish_copy(run, builder, &node->steps);
}

static void node_estimate(struct match_node *node)
{
    const struct condition *conditions;
    size_t count = node->fits ? predicate_conditions(node->fits, &conditions) : 0;
    if (node->has_ids)
        node->estimate = (double)node->ids.count;
    for (size_t i = 0; i < count; i++) {
        unsigned part = conditions[i].kind == CONDITION_EQUAL    ? PART_EQUAL
                        : conditions[i].kind == CONDITION_ANY_OF ? PART_ANY_OF
                                                                 : PART_OTHER;
        node->estimate = node->estimate * part / 100;
    }
}

static int id_order(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static sombra_err parse_node(struct query_run *run, sombra_value_builder *builder,
                             const sombra_value *value, uint64_t node_total,
                             struct match_node *node)
{
    static const char *const names[] = { "label", "where", "ids", NULL };
    struct labels labels = { .run = run, .builder = builder, .node = node };
    sombra_slice where = { NULL, 0 }, predicate;
    sombra_value label;
    bool has_where = false;
    sombra_err err = options_check(value, names);
    if (!err)
        err = option_encoded(value, "where", &where, &has_where);
    if (!err)
        err = option_ids(run, value, "ids", &node->ids, &node->has_ids);
    if (err)
        return err;
    if (node->ids.count > 1) {
        size_t kept = 1;
        qsort(node->ids.items, node->ids.count, sizeof *node->ids.items, id_order);
        for (size_t i = 1; i < node->ids.count; i++) {
            if (node->ids.items[i] != node->ids.items[kept - 1])
                node->ids.items[kept++] = node->ids.items[i];
        }
        node->ids.count = kept;
    }
    node->estimate = (double)node_total;
    sombra_err has_label = value->kind == SOMBRA_MAP
                               ? sombra_value_member(value, slice_str("label"), &label)
                               : SOMBRA_NOT_FOUND;
    if (has_label && has_label != SOMBRA_NOT_FOUND)
        return has_label;
    err = node_predicate(run, builder, has_label ? NULL : &label, where, &labels, &predicate);
    if (!err)
        err = node_steps(run, builder, &labels, predicate);
    if (!err)
        node_estimate(node);
    return err;
}

static sombra_err parse_nodes(struct query_run *run, sombra_value_builder *builder,
                              const sombra_value *nodes, struct pattern *pattern)
{
    sombra_value_cursor cursor;
    if (nodes->kind != SOMBRA_MAP || nodes->count == 0)
        return diag_fail(SOMBRA_INVALID, "pattern: 'nodes' must be a map of at least one name");
    sombra_value_enter(nodes, &cursor);
    for (;;) {
        sombra_slice name;
        sombra_value value;
        bool found = false;
        sombra_err err = sombra_value_next(&cursor, &name, &value, &found);
        if (err || !found)
            return err;
        if (pattern->node_count == MATCH_NODES_MAX)
            return diag_fail(SOMBRA_LIMIT, "pattern: more than %d nodes", MATCH_NODES_MAX);
        struct match_node *node = &pattern->nodes[pattern->node_count++];
        node->name = name;
        node->is_hidden = name.bytes && *(const char *)name.data == '#';
        err = parse_node(run, builder, &value, pattern->node_total, node);
        if (err)
            return diag_wrap(err, "pattern: node '%.*s'", (int)size_min(name.bytes, 60),
                             (const char *)name.data);
    }
}

/* ---- edges ------------------------------------------------------------------------------- */

static sombra_err find_node(const struct pattern *pattern, const sombra_value *name,
                            unsigned *out_index)
{
    if (name->kind != SOMBRA_STRING)
        return diag_fail(SOMBRA_INVALID, "pattern: an edge must name its nodes");
    for (unsigned i = 0; i < pattern->node_count; i++) {
        if (slice_equal(pattern->nodes[i].name, name->as.string)) {
            *out_index = i;
            return SOMBRA_OK;
        }
    }
    return bad("an edge names a node that is not there:", name->as.string);
}

static sombra_err add_type(struct query_run *run, const sombra_value *name, struct match_edge *edge)
{
    uint32_t id = 0;
    if (name->kind != SOMBRA_STRING || name->as.string.bytes == 0)
        return diag_fail(SOMBRA_INVALID, "pattern: an edge's types must be names");
    sombra_err err = graph_name_find(run->txn, SOMBRA_NAME_TYPE, name->as.string, &id);
    if (err || !id) /* edges of a type that does not exist: there are none */
        return err;
    for (size_t i = 0; i < edge->type_count; i++) {
        if (edge->walk.types[i] == id)
            return SOMBRA_OK;
    }
    edge->types[edge->type_count] = name->as.string;
    edge->walk.types[edge->type_count++] = id;
    return SOMBRA_OK;
}

/* "" (any), a name, or a list of names. */
static sombra_err parse_types(struct query_run *run, const sombra_value *types,
                              struct match_edge *edge)
{
    sombra_value_cursor cursor;
    sombra_err err = SOMBRA_OK;
    if (types->kind == SOMBRA_STRING && types->as.string.bytes == 0)
        return SOMBRA_OK;
    size_t count = types->kind == SOMBRA_LIST ? size_max(types->count, 1) : 1;
    edge->walk.has_types = true;
    edge->walk.types = mem_alloc(count * sizeof *edge->walk.types);
    edge->types = arena_alloc(&run->arena, count * sizeof *edge->types);
    if (!edge->walk.types || !edge->types)
        return diag_nomem("types of edges", count * sizeof *edge->types);
    if (types->kind != SOMBRA_LIST) {
        err = add_type(run, types, edge);
    } else {
        sombra_value_enter(types, &cursor);
        while (!err) {
            sombra_value name;
            bool found = false;
            err = sombra_value_next(&cursor, NULL, &name, &found);
            if (err || !found)
                break;
            err = add_type(run, &name, edge);
        }
    }
    edge->walk.type_count = edge->type_count;
    /* Ascending ids with their names beside them: the lists are short. */
    for (size_t i = 1; !err && i < edge->type_count; i++) {
        for (size_t j = i; j > 0 && edge->walk.types[j] < edge->walk.types[j - 1]; j--) {
            uint32_t id = edge->walk.types[j];
            sombra_slice name = edge->types[j];
            edge->walk.types[j] = edge->walk.types[j - 1];
            edge->types[j] = edge->types[j - 1];
            edge->walk.types[j - 1] = id;
            edge->types[j - 1] = name;
        }
    }
    return err;
}

static sombra_err edge_fan(struct query_run *run, uint64_t node_total, struct match_edge *edge)
{
    uint64_t edges = 0;
    sombra_err err = SOMBRA_OK;
    if (!edge->walk.has_types)
        err = graph_edge_count(run->txn, slice_of(NULL, 0), &edges);
    for (size_t i = 0; !err && i < edge->type_count; i++) {
        uint64_t count = 0;
        err = graph_edge_count(run->txn, edge->types[i], &count);
        edges += count;
    }
    edge->fan = (double)edges / (double)(node_total ? node_total : 1);
    if (edge->walk.direction == SOMBRA_BOTH)
        edge->fan *= 2;
    if (edge->walk.where)
        edge->fan /= 4;
    return err;
}

static sombra_err parse_edge_options(struct query_run *run, const sombra_value *options,
                                     struct match_edge *edge)
{
    static const char *const names[] = { "as", "where", "direction", NULL };
    static const char *const directions[] = { "out", "both", "into", NULL };
    static const sombra_direction values[] = { SOMBRA_OUT, SOMBRA_BOTH, SOMBRA_IN };
    unsigned direction = 0;
    sombra_slice where;
    sombra_value as;
    bool has_where = false;
    sombra_err err = options_check(options, names);
    if (!err)
        err = option_choice(options, "direction", directions, &direction);
    edge->walk.direction = values[direction];
    if (!err)
        err = option_encoded(options, "where", &where, &has_where);
    if (!err && has_where)
        err = predicate_new(run->txn, where, &edge->walk.where);
    if (err || options->kind != SOMBRA_MAP)
        return err;
    err = sombra_value_member(options, slice_str("as"), &as);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err && as.kind != SOMBRA_STRING)
        err = diag_fail(SOMBRA_INVALID, "pattern: option 'as' must be a name");
    if (!err)
        edge->as = as.as.string;
    return err;
}

/* {from, types, to [, options]} */
static sombra_err parse_edge(struct query_run *run, const sombra_value *value,
                             const struct pattern *pattern, struct match_edge *edge)
{
    sombra_value parts[4];
    sombra_value_cursor cursor;
    edge->walk.direction = SOMBRA_OUT;
    if (value->kind != SOMBRA_LIST || value->count < 3 || value->count > 4)
        return diag_fail(SOMBRA_INVALID,
                         "pattern: an edge must be a list {from, type, to, options}");
    sombra_value_enter(value, &cursor);
    for (uint32_t i = 0; i < value->count; i++) {
        bool found = false;
        sombra_err err = sombra_value_next(&cursor, NULL, &parts[i], &found);
        if (err)
            return err;
        assert(found);
    }
    sombra_err err = find_node(pattern, &parts[0], &edge->from);
    if (!err)
        err = find_node(pattern, &parts[2], &edge->to);
    if (!err)
        err = parse_types(run, &parts[1], edge);
    if (!err && value->count == 4)
        err = parse_edge_options(run, &parts[3], edge);
    return err ? err : edge_fan(run, pattern->node_total, edge);
}

static sombra_err parse_edges(struct query_run *run, const sombra_value *edges,
                              struct pattern *pattern)
{
    sombra_value_cursor cursor;
    bool is_empty_map = edges->kind == SOMBRA_MAP && edges->count == 0;
    if (edges->kind != SOMBRA_LIST && !is_empty_map)
        return diag_fail(SOMBRA_INVALID, "pattern: 'edges' must be a list");
    sombra_value_enter(edges, &cursor);
    for (;;) {
        sombra_value value;
        bool found = false;
        sombra_err err = sombra_value_next(&cursor, NULL, &value, &found);
        if (err || !found)
            return err;
        if (pattern->edge_count == MATCH_EDGES_MAX)
            return diag_fail(SOMBRA_LIMIT, "pattern: more than %d edges", MATCH_EDGES_MAX);
        err = parse_edge(run, &value, pattern, &pattern->edges[pattern->edge_count++]);
        if (err)
            return diag_wrap(err, "pattern: edge %u", pattern->edge_count);
    }
}

/* A name stands for one thing: the record has one member of it. */
static sombra_err check_names(const struct pattern *pattern)
{
    for (unsigned i = 0; i < pattern->edge_count; i++) {
        sombra_slice as = pattern->edges[i].as;
        if (!as.bytes)
            continue;
        for (unsigned j = 0; j < pattern->node_count; j++) {
            if (slice_equal(as, pattern->nodes[j].name))
                return bad("an edge has the name of a node:", as);
        }
        for (unsigned j = 0; j < i; j++) {
            if (slice_equal(as, pattern->edges[j].as))
                return bad("two edges have the name", as);
        }
    }
    return SOMBRA_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

sombra_err pattern_parse(struct query_run *run, const sombra_value *value, struct pattern *pattern)
{
    static const char *const names[] = { "nodes", "edges", "distinct", NULL };
    static const char *const choices[] = { "edges", "nodes", "none", NULL };
    sombra_value nodes, edges;
    sombra_value_builder *builder = NULL;
    unsigned distinct = MATCH_DISTINCT_EDGES;
    sombra_err err = options_check(value, names);
    if (!err)
        err = option_choice(value, "distinct", choices, &distinct);
    pattern->distinct = (enum match_distinct)distinct;
    if (!err && (value->kind != SOMBRA_MAP ||
                 sombra_value_member(value, slice_str("nodes"), &nodes) != SOMBRA_OK))
        err = diag_fail(SOMBRA_INVALID, "pattern: 'nodes' is missing");
    if (!err)
        err = graph_node_count(run->txn, slice_of(NULL, 0), &pattern->node_total);
    if (!err)
        err = sombra_value_builder_new(&builder);
    if (!err)
        err = parse_nodes(run, builder, &nodes, pattern);
    sombra_value_builder_free(builder);
    if (!err && sombra_value_member(value, slice_str("edges"), &edges) == SOMBRA_OK)
        err = parse_edges(run, &edges, pattern);
    return err ? err : check_names(pattern);
}

void pattern_release(struct query_run *run, struct pattern *pattern)
{
    for (unsigned i = 0; i < pattern->node_count; i++) {
        predicate_free(pattern->nodes[i].fits);
        id_list_release(run, &pattern->nodes[i].ids);
    }
    for (unsigned i = 0; i < pattern->edge_count; i++)
        walk_release(&pattern->edges[i].walk);
    pattern->node_count = pattern->edge_count = 0;
}
