/* SPDX-License-Identifier: MIT */
/* The source "statistics": counts that the store keeps, and what can be said of degrees. */
#include "search_internal.h"

#include <stdlib.h>

enum subject { OF_LABELS, OF_TYPES, OF_DEGREES, OF_HUBS, OF_ISOLATED };
static const char *const subjects[] = { "labels", "types", "degrees", "hubs", "isolated", NULL };
enum { HUBS_DEFAULT = 10 };

struct hub {
    uint64_t id, degree;
};
struct degree_count {
    uint64_t degree, nodes;
};

struct statistics {
    struct operator head;
    struct walk walk;
    enum subject of;
    uint32_t k;
    bool is_ready; /* hubs and degrees are counted, ids are open */
    bool is_done;
    uint32_t name;        /* labels, types: the last one seen */
    struct graph_ids ids; /* all nodes */
    struct hub *hubs;     /* a heap with the least on top, then in the order of the rows */
    size_t hub_count, hub_capacity;
    struct degree_count *degrees;
    size_t degree_count, degree_capacity;
    struct id_map by_degree; /* degree + 1 -> index */
    size_t next;             /* of hubs or degrees: the next row */
    struct row_values values;
};

static struct statistics *statistics_of(struct operator* op)
{
    return container_of(op, struct statistics, head);
}

/* ---- rows -------------------------------------------------------------------------------- */

static void push_number(sombra_value_builder *builder, const char *key, uint64_t number)
{
    (void)sombra_value_push_key(builder, key, strlen(key));
    (void)sombra_value_push_integer(builder, (int64_t)number);
}

/* What was pushed between begin_map and here is the row. A failure sticks to the builder and is
 * said now. */
static sombra_err add_row(struct statistics *s, struct row_batch *out)
{
    const struct row row = { .id = 0 };
    (void)sombra_value_end_map(s->values.builder);
    return row_values_add(&s->values, out, &row);
}

static sombra_err add_pair(struct statistics *s, struct row_batch *out, const char *first,
                           uint64_t a, const char *second, uint64_t b)
{
    sombra_value_builder *builder = s->values.builder;
    (void)sombra_value_begin_map(builder);
    push_number(builder, first, a);
    if (second)
        push_number(builder, second, b);
    return add_row(s, out);
}

/* ---- labels and types -------------------------------------------------------------------- */

/* Those of which something is there, in the order in which they were made. */
static sombra_err next_names(struct statistics *s, struct row_batch *out)
{
    struct graph_txn *txn = s->head.run->txn;
    sombra_value_builder *builder = s->values.builder;
    bool is_label = s->of == OF_LABELS;
    const char *key = is_label ? "label" : "type";
    while (!s->is_done && out->count < QUERY_BATCH) {
        sombra_name name;
        bool found = false;
        uint64_t count = 0;
        sombra_err err = run_tick(s->head.run);
        if (!err)
            err = graph_name_next(txn, is_label ? SOMBRA_NAME_LABEL : SOMBRA_NAME_TYPE, s->name,
                                  &name, &found);
        if (!err && found)
            err = is_label ? graph_node_count(txn, name.text, &count)
                           : graph_edge_count(txn, name.text, &count);
        if (err)
            return err;
        s->is_done = !found;
        if (!found)
            break;
        s->name = name.id;
        if (count == 0)
            continue;
        (void)sombra_value_begin_map(builder);
        (void)sombra_value_push_key(builder, key, strlen(key));
        (void)sombra_value_push_string(builder, name.text.data, name.text.bytes);
        push_number(builder, is_label ? "nodes" : "edges", count);
        err = add_row(s, out);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

/* ---- degrees ----------------------------------------------------------------------------- */

static sombra_err degree_of(struct statistics *s, uint64_t node, uint64_t *out_degree)
{
    const struct walk *walk = &s->walk;
    sombra_err err = run_tick(s->head.run);
    return err ? err
               : graph_degree_by(s->head.run->txn, node, walk->direction, walk->types,
                                 walk->type_count, walk->has_types, out_degree);
}

static sombra_err count_degree(struct statistics *s, uint64_t degree)
{
    uint32_t index;
    if (id_map_find(&s->by_degree, degree + 1, &index)) {
        s->degrees[index].nodes++;
        return SOMBRA_OK;
    }
    sombra_err err = run_room(s->head.run, &s->degrees, s->degree_count, &s->degree_capacity,
                              sizeof *s->degrees, "degrees");
    if (!err)
        err = id_map_put(s->head.run, &s->by_degree, degree + 1, (uint32_t)s->degree_count);
    if (!err)
        s->degrees[s->degree_count++] = (struct degree_count){ .degree = degree, .nodes = 1 };
    return err;
}

/* Less of a hub: a lower degree, of the same one a higher id. */
static bool is_less(const struct hub *a, const struct hub *b)
{
    return a->degree != b->degree ? a->degree < b->degree : a->id > b->id;
}

/* Sinks the hub at `at` to its place among the first `count`. */
static void sink(struct hub *hubs, size_t at, size_t count)
{
    for (;;) {
        size_t least = at, left = 2 * at + 1;
        if (left < count && is_less(&hubs[left], &hubs[least]))
            least = left;
        if (left + 1 < count && is_less(&hubs[left + 1], &hubs[least]))
            least = left + 1;
        if (least == at)
            return;
        struct hub moved = hubs[at];
        hubs[at] = hubs[least];
        hubs[least] = moved;
        at = least;
    }
}

/* The heap has the k greatest seen so far, the least of them on top. */
static sombra_err consider_hub(struct statistics *s, struct hub hub)
{
    if (hub.degree == 0 || s->k == 0)
        return SOMBRA_OK;
    if (s->hub_count == s->k) {
        if (is_less(&s->hubs[0], &hub)) {
            s->hubs[0] = hub;
            sink(s->hubs, 0, s->hub_count);
        }
        return SOMBRA_OK;
    }
    sombra_err err =
        run_room(s->head.run, &s->hubs, s->hub_count, &s->hub_capacity, sizeof *s->hubs, "hubs");
    if (err)
        return err;
    s->hubs[s->hub_count++] = hub;
    for (size_t at = s->hub_count - 1; at > 0 && is_less(&s->hubs[at], &s->hubs[(at - 1) / 2]);) {
        size_t parent = (at - 1) / 2;
        struct hub moved = s->hubs[at];
        s->hubs[at] = s->hubs[parent];
        s->hubs[parent] = moved;
        at = parent;
    }
    return SOMBRA_OK;
}

static int hub_order(const void *a, const void *b)
{
    return is_less(a, b) ? 1 : is_less(b, a) ? -1 : 0;
}

static int degree_order(const void *a, const void *b)
{
    uint64_t left = ((const struct degree_count *)a)->degree;
    uint64_t right = ((const struct degree_count *)b)->degree;
    return (left > right) - (left < right);
}

static sombra_err count_all(struct statistics *s)
{
    sombra_err err = SOMBRA_OK;
    while (!err) {
        const uint64_t *ids;
        size_t count;
        err = graph_ids_next(&s->ids, &ids, &count);
        if (err || count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++) {
            uint64_t degree = 0;
            err = degree_of(s, ids[i], &degree);
            if (!err && s->of == OF_HUBS)
                err = consider_hub(s, (struct hub){ .id = ids[i], .degree = degree });
            else if (!err)
                err = count_degree(s, degree);
        }
    }
    if (!err && s->hub_count)
        qsort(s->hubs, s->hub_count, sizeof *s->hubs, hub_order);
    if (!err && s->degree_count)
        qsort(s->degrees, s->degree_count, sizeof *s->degrees, degree_order);
    return err;
}

static sombra_err next_counted(struct statistics *s, struct row_batch *out)
{
    sombra_err err = SOMBRA_OK;
    size_t count = s->of == OF_HUBS ? s->hub_count : s->degree_count;
    for (; !err && s->next < count && out->count < QUERY_BATCH; s->next++) {
        if (s->of == OF_HUBS)
            err = add_pair(s, out, "degree", s->hubs[s->next].degree, "id", s->hubs[s->next].id);
        else
            err = add_pair(s, out, "degree", s->degrees[s->next].degree, "nodes",
                           s->degrees[s->next].nodes);
    }
    return err;
}

/* Whole batches of ids are looked at, so that none is looked at twice; a batch of rows holds them.
 */
static sombra_err next_isolated(struct statistics *s, struct row_batch *out)
{
    static_assert((int)GRAPH_BATCH <= (int)QUERY_BATCH, "a batch of ids fits a batch of rows");
    sombra_err err = SOMBRA_OK;
    while (!err && !s->is_done && out->count == 0) {
        const uint64_t *ids;
        size_t count = 0;
        err = graph_ids_next(&s->ids, &ids, &count);
        s->is_done = !err && count == 0;
        for (size_t i = 0; !err && i < count; i++) {
            uint64_t degree = 1;
            err = degree_of(s, ids[i], &degree);
            if (!err && degree == 0)
                err = add_pair(s, out, "id", ids[i], NULL, 0);
        }
    }
    return err;
}

/* ---- operator ---------------------------------------------------------------------------- */

static sombra_err prepare(struct statistics *s)
{
    const sombra_ids_options options = SOMBRA_IDS_OPTIONS_INIT;
    sombra_err err =
        graph_ids_open(&s->ids, s->head.run->txn, GRAPH_NODES, slice_of(NULL, 0), &options);
    if (!err && s->of != OF_ISOLATED)
        err = count_all(s);
    s->is_ready = !err;
    return err;
}

static sombra_err statistics_next(struct operator* op, struct row_batch *out)
{
    struct statistics *s = statistics_of(op);
    bool is_of_names = s->of == OF_LABELS || s->of == OF_TYPES;
    sombra_err err = s->is_ready || is_of_names ? SOMBRA_OK : prepare(s);
    row_values_begin(&s->values, out);
    if (!err && is_of_names)
        err = next_names(s, out);
    else if (!err)
        err = s->of == OF_ISOLATED ? next_isolated(s, out) : next_counted(s, out);
    if (!err)
        row_values_end(&s->values, out);
    return err;
}

static void statistics_free(struct operator* op)
{
    struct statistics *s = statistics_of(op);
    struct query_run *run = op->run;
    graph_ids_close(&s->ids);
    run_free(run, &s->hubs, &s->hub_capacity, sizeof *s->hubs);
    run_free(run, &s->degrees, &s->degree_capacity, sizeof *s->degrees);
    id_map_release(run, &s->by_degree);
    row_values_release(&s->values);
    walk_release(&s->walk);
    search_operator_free(op, sizeof *s);
}

/* What the others would ignore in silence is refused. */
static sombra_err check_options(const struct statistics *s, const sombra_value *options)
{
    static const char *const of_names[] = { "of", NULL };
    static const char *const of_degrees[] = { "of", "direction", "types", NULL };
    static const char *const of_hubs[] = { "of", "direction", "types", "k", NULL };
    if (s->of == OF_HUBS)
        return options_check(options, of_hubs);
    return options_check(options, s->of == OF_LABELS || s->of == OF_TYPES ? of_names : of_degrees);
}

static sombra_err parse(struct statistics *s, const sombra_value *options)
{
    unsigned of = UINT32_MAX;
    sombra_err err = option_choice(options, "of", subjects, &of);
    if (!err && of == UINT32_MAX)
        err = diag_fail(SOMBRA_INVALID, "option 'of' is missing; give one of labels, types, "
                                        "degrees, hubs, isolated");
    if (err)
        return err;
    s->of = (enum subject)of;
    s->k = HUBS_DEFAULT;
    err = check_options(s, options);
    if (!err)
        err = option_count(options, "k", UINT32_MAX - 1, &s->k);
    return err ? err : walk_parse(s->head.run->txn, options, SOMBRA_BOTH, &s->walk);
}

sombra_err statistics_new(struct query_run *run, const sombra_value *options, struct operator** out)
{
    static const struct operator_ops ops = {
        .name = "statistics",
        .next = statistics_next,
        .free = statistics_free,
    };
    struct statistics *s;
    sombra_err err = search_operator_new(run, &ops, sizeof *s, SOMBRA_ROW_RECORD, &s);
    if (err)
        return err;
    err = row_values_init(&s->values, run);
    if (!err)
        err = parse(s, options);
    if (err) {
        statistics_free(&s->head);
        return err;
    }
    operator_describe(&s->head, "%s", subjects[s->of]);
    *out = &s->head;
    return SOMBRA_OK;
}
