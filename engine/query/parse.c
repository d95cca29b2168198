/* SPDX-License-Identifier: MIT */
/* Steps as given -> checked steps. What the grammar does not allow gives INVALID, and every text
 * begins with the step it is about: "step 3 (out): unknown option 'typs'; it takes types, ...".
 */
#include "plan_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct parser {
    struct query_run *run;
    struct arena *arena; /* of the step and all that it holds */
    struct step **all;
};

/* The elements of a step behind its name. */
struct arguments {
    size_t count;
    sombra_slice *encoded;
    sombra_value *values;
};

struct step_rule {
    const char *name;
    enum step_kind kind;
    unsigned from;      /* row kinds it takes, a bit each; 0 = it is a source */
    sombra_row_kind to; /* 0 = what it takes */
    size_t arguments_min, arguments_max;
    sombra_err (*parse)(struct parser *parser, struct step *step, const struct arguments *given);
};

enum {
    NODES = 1 << SOMBRA_ROW_NODE,
    EDGES = 1 << SOMBRA_ROW_EDGE,
    PATHS = 1 << SOMBRA_ROW_PATH,
    RECORDS = 1 << SOMBRA_ROW_RECORD,
    ANY = NODES | EDGES | PATHS | RECORDS,
};
#define SAME ((sombra_row_kind)0)

/* An empty map. */
static const sombra_value no_options = { .kind = SOMBRA_MAP, .as.body = { "", 0 } };

static const char *rows_name(sombra_row_kind kind)
{
    static const char *const names[] = { "", "nodes", "edges", "paths", "records" };
    return names[kind];
}

static sombra_err parse_steps(struct parser *parser, const struct arguments *steps,
                              sombra_row_kind from, struct step **out_first,
                              sombra_row_kind *out_to);

static sombra_err parser_alloc(struct parser *parser, size_t count, size_t bytes, void *out)
{
    void *memory = arena_alloc(parser->arena, count * bytes);
    if (!memory)
        return diag_nomem("the steps of a query", count * bytes);
    memset(memory, 0, count * bytes);
    memcpy(out, &memory, sizeof memory);
    return SOMBRA_OK;
}

/* Nothing in it: an empty list, or the empty map of a language that has one empty table. */
static bool is_empty(const sombra_value *value)
{
    return (value->kind == SOMBRA_LIST || value->kind == SOMBRA_MAP) && value->count == 0;
}

static sombra_err expect_list(const sombra_value *value, const char *what)
{
    if (value->kind == SOMBRA_LIST || is_empty(value))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_INVALID, "%s must be a list, not a %s", what,
                     sombra_kind_name(value->kind));
}

static sombra_err expect_string(const sombra_value *value, const char *what)
{
    if (value->kind == SOMBRA_STRING)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_INVALID, "%s must be a string, not a %s", what,
                     sombra_kind_name(value->kind));
}

/* The elements of a list, decoded. */
static sombra_err read_elements(struct parser *parser, const sombra_value *list,
                                struct arguments *out)
{
    sombra_value_cursor cursor;
    struct arguments elements = { .count = list->count };
    bool found = false;
    sombra_err err = parser_alloc(parser, list->count, sizeof *elements.encoded, &elements.encoded);
    if (!err)
        err = parser_alloc(parser, list->count, sizeof *elements.values, &elements.values);
    sombra_value_enter(list, &cursor);
    for (size_t i = 0; !err && i < elements.count; i++) {
        err = value_next_encoded(&cursor, NULL, &elements.encoded[i], &found);
        if (!err)
            err = sombra_value_decode(elements.encoded[i], &elements.values[i]);
    }
    if (!err)
        *out = elements;
    return err;
}

/* ---- sources ----------------------------------------------------------------------------- */

static sombra_err parse_ids(struct parser *parser, struct step *step, const struct arguments *given)
{
    const sombra_value *list = &given->values[0];
    sombra_value_cursor cursor;
    sombra_err err = expect_list(list, "ids");
    if (!err)
        err = parser_alloc(parser, list->count, sizeof(uint64_t), &step->as.ids.items);
    sombra_value_enter(list, &cursor);
    for (uint32_t i = 0; !err && i < list->count; i++) {
        sombra_value id;
        bool found = false;
        err = sombra_value_next(&cursor, NULL, &id, &found);
        if (!err && id.kind != SOMBRA_INTEGER)
            err = diag_fail(SOMBRA_INVALID, "id %" PRIu32 " must be an integer, not a %s", i + 1,
                            sombra_kind_name(id.kind));
        if (!err && id.as.integer > 0)
            step->as.ids.items[step->as.ids.count++] = (uint64_t)id.as.integer;
    }
    return err;
}

static int id_order(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static sombra_err parse_except(struct parser *parser, struct step *step,
                               const struct arguments *given)
{
    sombra_err err = parse_ids(parser, step, given);
    if (!err && step->as.ids.count > 1)
        qsort(step->as.ids.items, step->as.ids.count, sizeof(uint64_t), id_order);
    return err;
}

static sombra_err parse_subject(struct parser *parser, struct step *step,
                                const struct arguments *given)
{
    (void)parser;
    if (given->count == 0)
        return SOMBRA_OK;
    sombra_err err = expect_string(&given->values[0], "a name");
    if (!err && given->values[0].as.string.bytes == 0)
        err = diag_fail(SOMBRA_INVALID, "the name is empty");
    if (!err)
        step->as.subject = given->values[0].as.string;
    return err;
}

/* Sources that read their options themselves. */
static sombra_err parse_search(struct parser *parser, struct step *step,
                               const struct arguments *given)
{
    static const struct {
        const char *name;
        source_new_fn make;
    } sources[] = {
        { "match", match_new },       { "paths", paths_new },
        { "cycles", cycles_new },     { "topological", topological_new },
        { "subgraph", subgraph_new }, { "statistics", statistics_new },
    };
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        if (strcmp(step->name, sources[i].name) == 0)
            step->as.source.make = sources[i].make;
    }
    assert(step->as.source.make);
    step->as.source.options = given->count ? given->values[0] : no_options;
    return step->as.source.make == paths_new
               ? paths_pair_read(parser->run->txn, parser->arena, &step->as.source.options,
                                 given->encoded[0], &step->as.source.pair)
               : SOMBRA_OK;
}

/* ---- edges walked ------------------------------------------------------------------------ */

static sombra_err check_expand(const struct step *step)
{
    if (step->as.expand.max < step->as.expand.min)
        return diag_fail(SOMBRA_INVALID, "max %" PRIu32 " is less than min %" PRIu32,
                         step->as.expand.max, step->as.expand.min);
    if (step->as.expand.gives_edges && (step->as.expand.min != 1 || step->as.expand.max != 1))
        return diag_fail(SOMBRA_INVALID, "edges = true goes with one hop only");
    if (step->as.expand.gives_edges && step->as.expand.unique == UNIQUE_NODES)
        return diag_fail(SOMBRA_INVALID, "edges = true does not go with unique = \"nodes\"");
    return SOMBRA_OK;
}

static sombra_err parse_expand(struct parser *parser, struct step *step,
                               const struct arguments *given, sombra_direction direction)
{
    static const char *const names[] = { "types", "min",    "max",   "where",
                                         "nodes", "unique", "edges", NULL };
    static const char *const uniques[] = { "none", "edges", "nodes", NULL };
    const sombra_value *options = given->count ? &given->values[0] : &no_options;
    unsigned unique = UNIQUE_NONE;
    step->as.expand.min = step->as.expand.max = 1;
    sombra_err err = options_check(options, names);
    if (!err)
        err = option_count(options, "min", UINT32_MAX - 1, &step->as.expand.min);
    step->as.expand.max = step->as.expand.min ? step->as.expand.min : 1;
    if (!err)
        err = option_count(options, "max", UINT32_MAX - 1, &step->as.expand.max);
    if (!err)
        err = option_choice(options, "unique", uniques, &unique);
    if (!err)
        err = option_boolean(options, "edges", &step->as.expand.gives_edges);
    if (err)
        return err;
    step->as.expand.unique = (enum walk_unique)unique;
    if (step->as.expand.gives_edges)
        step->to = SOMBRA_ROW_EDGE;
    err = check_expand(step);
    return err ? err : walk_parse(parser->run->txn, options, direction, &step->as.expand.walk);
}

static sombra_err parse_out(struct parser *parser, struct step *step, const struct arguments *given)
{
    return parse_expand(parser, step, given, SOMBRA_OUT);
}
static sombra_err parse_into(struct parser *parser, struct step *step,
                             const struct arguments *given)
{
    return parse_expand(parser, step, given, SOMBRA_IN);
}
static sombra_err parse_both(struct parser *parser, struct step *step,
                             const struct arguments *given)
{
    return parse_expand(parser, step, given, SOMBRA_BOTH);
}

static sombra_err parse_end(struct parser *parser, struct step *step, const struct arguments *given)
{
    (void)parser;
    (void)given;
    step->as.end = step->name[0] == 's'   ? END_SOURCE
                   : step->name[0] == 't' ? END_TARGET
                                          : END_OTHER;
    return SOMBRA_OK;
}

/* ---- rows kept and passed ---------------------------------------------------------------- */

static sombra_err parse_where(struct parser *parser, struct step *step,
                              const struct arguments *given)
{
    return predicate_new(parser->run->txn, given->encoded[0], &step->as.predicate);
}

static sombra_err parse_number(struct parser *parser, struct step *step,
                               const struct arguments *given)
{
    (void)parser;
    const sombra_value *number = &given->values[0];
    if (number->kind != SOMBRA_INTEGER || number->as.integer < 0)
        return diag_fail(SOMBRA_INVALID, "it takes an integer from 0 on");
    step->as.number = (uint64_t)number->as.integer;
    if (step->kind == STEP_FILTER && (step->as.number > UINT32_MAX || !parser->run->options.filter))
        return diag_fail(SOMBRA_INVALID, "the query was opened without a function %" PRIu64,
                         step->as.number);
    return SOMBRA_OK;
}

static sombra_err parse_nothing(struct parser *parser, struct step *step,
                                const struct arguments *given)
{
    (void)parser;
    (void)step;
    (void)given;
    return SOMBRA_OK;
}

static sombra_err parse_position(struct parser *parser, struct step *step,
                                 const struct arguments *given)
{
    (void)parser;
    sombra_err err = expect_string(&given->values[0], "a position");
    if (!err)
        step->as.position = given->values[0].as.string;
    return err;
}

/* ---- columns ----------------------------------------------------------------------------- */

static sombra_err column_special(const struct step *step, struct column *column)
{
    static const struct {
        const char *name;
        enum column_kind kind;
        unsigned from;
        bool orders; /* may stand in an order step */
    } columns[] = {
        { "#id", COLUMN_ID, NODES | EDGES, true },  { "#depth", COLUMN_DEPTH, NODES | EDGES, true },
        { "#labels", COLUMN_LABELS, NODES, false }, { "#type", COLUMN_TYPE, EDGES, true },
        { "#source", COLUMN_SOURCE, EDGES, true },  { "#target", COLUMN_TARGET, EDGES, true },
    };
    for (size_t i = 0; i < COUNT_OF(columns); i++) {
        if (!slice_equal(column->name, slice_str(columns[i].name)))
            continue;
        if (!(columns[i].from & 1u << step->from) ||
            (step->kind == STEP_ORDER && !columns[i].orders))
            return diag_fail(SOMBRA_INVALID, "%s have no column '%s' here", rows_name(step->from),
                             columns[i].name);
        column->kind = columns[i].kind;
        return SOMBRA_OK;
    }
    return diag_fail(SOMBRA_INVALID,
                     "unknown column '%.*s'; there are #id, #depth, #labels, "
                     "#type, #source and #target, and names of properties",
                     (int)size_min(column->name.bytes, 60), (const char *)column->name.data);
}

/* `name` is a property, or with # something of the row's own. */
static sombra_err column_named(struct parser *parser, const struct step *step, sombra_slice name,
                               struct column *column)
{
    column->name = name;
    column->kind = COLUMN_PROPERTY;
    if (name.bytes && *(const char *)name.data == '#' && step->from != SOMBRA_ROW_RECORD)
        return column_special(step, column);
    if (step->from == SOMBRA_ROW_RECORD)
        return SOMBRA_OK;
    return graph_name_find(parser->run->txn, SOMBRA_NAME_PROPERTY, name, &column->property);
}

/* "name", or {as, name}. */
static sombra_err parse_column(struct parser *parser, const struct step *step,
                               const sombra_value *value, struct column *column)
{
    struct arguments pair;
    if (value->kind == SOMBRA_STRING) {
        column->as = value->as.string;
        return column_named(parser, step, value->as.string, column);
    }
    if (value->kind != SOMBRA_LIST || value->count != 2)
        return diag_fail(SOMBRA_INVALID, "a column is a name, or a list of two: as and name");
    sombra_err err = read_elements(parser, value, &pair);
    if (!err)
        err = expect_string(&pair.values[0], "the name to give a column");
    if (!err)
        err = expect_string(&pair.values[1], "a column");
    if (err)
        return err;
    column->as = pair.values[0].as.string;
    return column_named(parser, step, pair.values[1].as.string, column);
}

/* "name", "-name", or {"property", name, descending}. */
static sombra_err parse_key(struct parser *parser, const struct step *step,
                            const sombra_value *value, struct column *column)
{
    struct arguments parts;
    if (value->kind == SOMBRA_STRING) {
        sombra_slice name = value->as.string;
        column->descending = name.bytes && *(const char *)name.data == '-';
        return column_named(parser, step, column->descending ? slice_from(name, 1) : name, column);
    }
    if (value->kind != SOMBRA_LIST || value->count < 2 || value->count > 3)
        return diag_fail(SOMBRA_INVALID,
                         "a key is a name, \"-name\", or {\"property\", name, descending}");
    sombra_err err = read_elements(parser, value, &parts);
    if (!err)
        err = expect_string(&parts.values[1], "a property");
    if (!err && (parts.values[0].kind != SOMBRA_STRING ||
                 !slice_equal(parts.values[0].as.string, slice_str("property"))))
        err = diag_fail(SOMBRA_INVALID, "a list as a key begins with \"property\"");
    if (!err && parts.count == 3 && parts.values[2].kind != SOMBRA_BOOLEAN)
        err = diag_fail(SOMBRA_INVALID, "'descending' of a key must be a boolean");
    if (err)
        return err;
    column->name = parts.values[1].as.string;
    column->descending = parts.count == 3 && parts.values[2].as.boolean;
    if (step->from == SOMBRA_ROW_RECORD)
        return SOMBRA_OK;
    return graph_name_find(parser->run->txn, SOMBRA_NAME_PROPERTY, column->name, &column->property);
}

static sombra_err parse_columns(struct parser *parser, struct step *step,
                                const struct arguments *given)
{
    struct arguments list;
    sombra_err err = expect_list(&given->values[0], step->kind == STEP_ORDER ? "keys" : "columns");
    if (!err)
        err = read_elements(parser, &given->values[0], &list);
    if (!err)
        err = parser_alloc(parser, list.count, sizeof(struct column), &step->as.columns.items);
    for (size_t i = 0; !err && i < list.count; i++) {
        struct column *column = &step->as.columns.items[i];
        err = step->kind == STEP_ORDER ? parse_key(parser, step, &list.values[i], column)
                                       : parse_column(parser, step, &list.values[i], column);
        err = diag_wrap(err, step->kind == STEP_ORDER ? "key %zu" : "column %zu", i + 1);
    }
    if (!err)
        step->as.columns.count = list.count;
    return err;
}

/* Two members of one name would make no map. */
static sombra_err check_names(const struct step *step)
{
    size_t columns = step->as.columns.count, count = columns + step->as.columns.aggregate_count;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j <= i; j++) {
            sombra_slice a = i < columns ? step->as.columns.items[i].as
                                         : step->as.columns.aggregates[i - columns].as;
            sombra_slice b = j < columns ? step->as.columns.items[j].as
                                         : step->as.columns.aggregates[j - columns].as;
            if (i != j && slice_equal(a, b))
                return diag_fail(SOMBRA_INVALID, "two columns are called '%.*s'",
                                 (int)size_min(a.bytes, 60), (const char *)a.data);
        }
    }
    return SOMBRA_OK;
}

static sombra_err parse_select(struct parser *parser, struct step *step,
                               const struct arguments *given)
{
    sombra_err err = parse_columns(parser, step, given);
    return err ? err : check_names(step);
}

static sombra_err parse_order(struct parser *parser, struct step *step,
                              const struct arguments *given)
{
    sombra_err err = parse_columns(parser, step, given);
    if (!err && step->as.columns.count == 0)
        err = diag_fail(SOMBRA_INVALID, "give at least one key");
    return err;
}

/* {as, "count"} or {as, function, column}. */
static sombra_err parse_aggregate(struct parser *parser, const struct step *step,
                                  const sombra_value *value, struct aggregate *aggregate)
{
    static const char *const functions[] = { "count", "sum", "min", "max", "avg", "collect" };
    struct arguments parts;
    if (value->kind != SOMBRA_LIST || value->count < 2 || value->count > 3)
        return diag_fail(SOMBRA_INVALID,
                         "an aggregate is {as, \"count\"} or {as, function, property}");
    sombra_err err = read_elements(parser, value, &parts);
    for (size_t i = 0; !err && i < parts.count; i++)
        err = expect_string(&parts.values[i], "each part of an aggregate");
    if (err)
        return err;
    size_t kind = 0;
    while (kind < COUNT_OF(functions) &&
           !slice_equal(parts.values[1].as.string, slice_str(functions[kind])))
        kind++;
    if (kind == COUNT_OF(functions))
        return diag_fail(SOMBRA_INVALID,
                         "unknown function '%.*s'; there are count, sum, min, max, avg, collect",
                         (int)size_min(parts.values[1].as.string.bytes, 60),
                         (const char *)parts.values[1].as.string.data);
    if (parts.count == 2 && kind != AGGREGATE_COUNT)
        return diag_fail(SOMBRA_INVALID, "%s needs a property", functions[kind]);
    aggregate->kind = (enum aggregate_kind)kind;
    aggregate->as = parts.values[0].as.string;
    aggregate->has_column = parts.count == 3;
    if (!aggregate->has_column)
        return SOMBRA_OK;
    return column_named(parser, step, parts.values[2].as.string, &aggregate->column);
}

static sombra_err parse_group(struct parser *parser, struct step *step,
                              const struct arguments *given)
{
    struct arguments list = { 0 };
    sombra_err err = parse_columns(parser, step, given);
    if (!err && given->count > 1) {
        err = expect_list(&given->values[1], "aggregates");
        if (!err)
            err = read_elements(parser, &given->values[1], &list);
    }
    if (!err)
        err = parser_alloc(parser, list.count, sizeof(struct aggregate),
                           &step->as.columns.aggregates);
    for (size_t i = 0; !err && i < list.count; i++) {
        err = parse_aggregate(parser, step, &list.values[i], &step->as.columns.aggregates[i]);
        err = diag_wrap(err, "aggregate %zu", i + 1);
    }
    if (err)
        return err;
    step->as.columns.aggregate_count = list.count;
    return check_names(step);
}

/* ---- steps within steps ------------------------------------------------------------------ */

static sombra_err parse_body(struct parser *parser, const struct step *step,
                             const sombra_value *list, struct step **out_first,
                             sombra_row_kind *out_to)
{
    struct arguments steps;
    sombra_err err = expect_list(list, "steps");
    if (!err)
        err = read_elements(parser, list, &steps);
    return err ? err : parse_steps(parser, &steps, step->from, out_first, out_to);
}

static sombra_err parse_union(struct parser *parser, struct step *step,
                              const struct arguments *given)
{
    sombra_err err =
        parser_alloc(parser, given->count, sizeof(struct step *), &step->as.lists.items);
    for (size_t i = 0; !err && i < given->count; i++) {
        sombra_row_kind to;
        err = diag_wrap(parse_body(parser, step, &given->values[i], &step->as.lists.items[i], &to),
                        "list %zu", i + 1);
        if (!err && i > 0 && to != step->to)
            err = diag_fail(SOMBRA_INVALID, "list %zu gives %s, list 1 %s", i + 1, rows_name(to),
                            rows_name(step->to));
        if (!err)
            step->to = to;
    }
    step->as.lists.count = given->count;
    return err;
}

static sombra_err parse_optional(struct parser *parser, struct step *step,
                                 const struct arguments *given)
{
    sombra_row_kind to;
    sombra_err err = parser_alloc(parser, 1, sizeof(struct step *), &step->as.lists.items);
    if (!err)
        err = parse_body(parser, step, &given->values[0], &step->as.lists.items[0], &to);
    if (!err && to != SOMBRA_ROW_NODE)
        err = diag_fail(SOMBRA_INVALID, "its steps give %s; they must give nodes", rows_name(to));
    if (!err)
        step->as.lists.count = 1;
    return err;
}

/* "last", "all", or a predicate. */
static sombra_err parse_emit(struct parser *parser, struct step *step, sombra_slice encoded)
{
    sombra_value value;
    sombra_err err = sombra_value_decode(encoded, &value);
    if (err)
        return err;
    step->as.repeat.emit = EMIT_WHERE;
    if (value.kind != SOMBRA_STRING)
        return diag_wrap(predicate_new(parser->run->txn, encoded, &step->as.repeat.emits), "emit");
    if (slice_equal(value.as.string, slice_str("last")))
        step->as.repeat.emit = EMIT_LAST;
    else if (slice_equal(value.as.string, slice_str("all")))
        step->as.repeat.emit = EMIT_ALL;
    else
        return diag_fail(SOMBRA_INVALID, "option 'emit' must be \"last\", \"all\" or a predicate");
    return SOMBRA_OK;
}

static sombra_err check_repeat(const struct step *step, bool has_max)
{
    bool ends = has_max || step->as.repeat.until;
    if (!ends && !step->as.repeat.is_unique)
        return diag_fail(SOMBRA_INVALID, "give max, until or unique: else it has no end");
    if (!ends && step->as.repeat.emit == EMIT_LAST)
        return diag_fail(SOMBRA_INVALID,
                         "no row is the last one without max or until; give emit = \"all\"");
    if (step->as.repeat.max < step->as.repeat.min)
        return diag_fail(SOMBRA_INVALID, "max %" PRIu32 " is less than min %" PRIu32,
                         step->as.repeat.max, step->as.repeat.min);
    return SOMBRA_OK;
}

static sombra_err parse_repeat(struct parser *parser, struct step *step,
                               const struct arguments *given)
{
    static const char *const names[] = { "min", "max", "until", "emit", "unique", NULL };
    static const char *const uniques[] = { "none", "nodes", NULL };
    const sombra_value *options = given->count > 1 ? &given->values[1] : &no_options;
    sombra_row_kind to;
    sombra_slice encoded;
    unsigned unique = 0;
    bool has_until = false, has_emit = false;
    step->as.repeat.min = 1;
    step->as.repeat.max = UINT32_MAX;
    sombra_err err = parse_body(parser, step, &given->values[0], &step->as.repeat.body, &to);
    if (!err && to != SOMBRA_ROW_NODE)
        err = diag_fail(SOMBRA_INVALID, "its steps give %s; they must give nodes", rows_name(to));
    if (!err)
        err = options_check(options, names);
    if (!err)
        err = option_count(options, "min", UINT32_MAX - 1, &step->as.repeat.min);
    if (!err)
        err = option_count(options, "max", UINT32_MAX - 1, &step->as.repeat.max);
    if (!err)
        err = option_choice(options, "unique", uniques, &unique);
    step->as.repeat.is_unique = unique == 1;
    if (!err)
        err = option_encoded(options, "until", &encoded, &has_until);
    if (!err && has_until)
        err = diag_wrap(predicate_new(parser->run->txn, encoded, &step->as.repeat.until), "until");
    if (!err)
        err = option_encoded(options, "emit", &encoded, &has_emit);
    if (!err && has_emit)
        err = parse_emit(parser, step, encoded);
    return err ? err : check_repeat(step, step->as.repeat.max != UINT32_MAX);
}

/* ---- the list ---------------------------------------------------------------------------- */

static const struct step_rule rules[] = {
    { "ids", STEP_IDS, 0, SOMBRA_ROW_NODE, 1, 1, parse_ids },
    { "edge_ids", STEP_EDGE_IDS, 0, SOMBRA_ROW_EDGE, 1, 1, parse_ids },
    { "all", STEP_ALL, 0, SOMBRA_ROW_NODE, 0, 0, parse_nothing },
    { "label", STEP_LABEL, 0, SOMBRA_ROW_NODE, 1, 1, parse_subject },
    { "edges", STEP_EDGES, 0, SOMBRA_ROW_EDGE, 0, 1, parse_subject },
    { "match", STEP_OTHER_SOURCE, 0, SOMBRA_ROW_RECORD, 1, 1, parse_search },
    { "paths", STEP_OTHER_SOURCE, 0, SOMBRA_ROW_PATH, 1, 1, parse_search },
    { "cycles", STEP_OTHER_SOURCE, 0, SOMBRA_ROW_PATH, 0, 1, parse_search },
    { "topological", STEP_OTHER_SOURCE, 0, SOMBRA_ROW_NODE, 0, 1, parse_search },
    { "subgraph", STEP_OTHER_SOURCE, 0, SOMBRA_ROW_RECORD, 1, 1, parse_search },
    { "statistics", STEP_OTHER_SOURCE, 0, SOMBRA_ROW_RECORD, 1, 1, parse_search },
    { "out", STEP_EXPAND, NODES, SOMBRA_ROW_NODE, 0, 1, parse_out },
    { "into", STEP_EXPAND, NODES, SOMBRA_ROW_NODE, 0, 1, parse_into },
    { "both", STEP_EXPAND, NODES, SOMBRA_ROW_NODE, 0, 1, parse_both },
    { "source", STEP_END, EDGES, SOMBRA_ROW_NODE, 0, 0, parse_end },
    { "target", STEP_END, EDGES, SOMBRA_ROW_NODE, 0, 0, parse_end },
    { "other", STEP_END, EDGES, SOMBRA_ROW_NODE, 0, 0, parse_end },
    { "where", STEP_WHERE, NODES | EDGES | RECORDS, SAME, 1, 1, parse_where },
    { "filter", STEP_FILTER, ANY, SAME, 1, 1, parse_number },
    { "distinct", STEP_DISTINCT, ANY, SAME, 0, 0, parse_nothing },
    { "except", STEP_EXCEPT, NODES | EDGES, SAME, 1, 1, parse_except },
    { "order", STEP_ORDER, NODES | EDGES | RECORDS, SAME, 1, 1, parse_order },
    { "skip", STEP_SKIP, ANY, SAME, 1, 1, parse_number },
    { "limit", STEP_LIMIT, ANY, SAME, 1, 1, parse_number },
    { "select", STEP_SELECT, NODES | EDGES, SOMBRA_ROW_RECORD, 1, 1, parse_select },
    { "group", STEP_GROUP, NODES | EDGES | RECORDS, SOMBRA_ROW_RECORD, 1, 2, parse_group },
    { "union", STEP_UNION, ANY, SAME, 1, SIZE_MAX, parse_union },
    { "optional", STEP_OPTIONAL, NODES, SOMBRA_ROW_NODE, 1, 1, parse_optional },
    { "repeat", STEP_REPEAT, NODES, SOMBRA_ROW_NODE, 1, 2, parse_repeat },
    { "path", STEP_PATH, NODES, SOMBRA_ROW_PATH, 0, 0, parse_nothing },
    { "after", STEP_AFTER, ANY, SAME, 1, 1, parse_position },
};

static const struct step_rule *rule_of(sombra_slice name)
{
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (slice_equal(name, slice_str(rules[i].name)))
            return &rules[i];
    }
    return NULL;
}

static sombra_err refuse_rows(const struct step_rule *rule, sombra_row_kind from)
{
    char takes[64] = "";
    for (unsigned kind = SOMBRA_ROW_NODE; kind <= SOMBRA_ROW_RECORD; kind++) {
        size_t used = strlen(takes);
        if (rule->from & 1u << kind)
            snprintf(takes + used, sizeof takes - used, "%s%s", used ? ", " : "", rows_name(kind));
    }
    return diag_fail(SOMBRA_INVALID, "it does not take %s, but %s", rows_name(from), takes);
}

/* Does the step fit the rows before it? `from` 0 = there are none. */
static sombra_err check_place(const struct step_rule *rule, sombra_row_kind from, size_t given)
{
    if (rule->from == 0 && from != 0)
        return diag_fail(SOMBRA_INVALID, "it is a source: it can only come first");
    if (rule->from != 0 && from == 0)
        return diag_fail(SOMBRA_INVALID, "the first step must be a source, such as ids or label");
    if (rule->from != 0 && !(rule->from & 1u << from))
        return refuse_rows(rule, from);
    if (given < rule->arguments_min || given > rule->arguments_max)
        return diag_fail(SOMBRA_INVALID, "it has %zu arguments, and takes %zu%s", given,
                         given < rule->arguments_min ? rule->arguments_min : rule->arguments_max,
                         rule->arguments_min == rule->arguments_max ? ""
                         : given < rule->arguments_min              ? " or more"
                                                                    : " or fewer");
    return SOMBRA_OK;
}

static sombra_err parse_step(struct parser *parser, const sombra_value *value, unsigned number,
                             sombra_row_kind from, struct step **out_step)
{
    struct arguments parts;
    struct step *step = NULL;
    if (value->kind != SOMBRA_LIST || value->count == 0)
        return diag_fail(SOMBRA_INVALID, "step %u: a step is a list that begins with its name",
                         number);
    sombra_err err = read_elements(parser, value, &parts);
    if (!err)
        err = diag_wrap(expect_string(&parts.values[0], "the name"), "step %u", number);
    if (err)
        return err;
    sombra_slice name = parts.values[0].as.string;
    const struct step_rule *rule = rule_of(name);
    if (!rule)
        return diag_fail(SOMBRA_INVALID, "step %u: unknown step '%.*s'", number,
                         (int)size_min(name.bytes, 60), (const char *)name.data);
    const struct arguments given = { parts.count - 1, parts.encoded + 1, parts.values + 1 };
    err = check_place(rule, from, given.count);
    if (!err)
        err = parser_alloc(parser, 1, sizeof *step, &step);
    if (!err) {
        step->kind = rule->kind;
        step->name = rule->name;
        step->number = number;
        step->from = rule->from ? from : rule->to;
        step->to = rule->to ? rule->to : from;
        step->made_before = *parser->all;
        *parser->all = step;
        err = rule->parse(parser, step, &given);
    }
    if (!err)
        *out_step = step;
    return diag_wrap(err, "step %u (%s)", number, rule->name);
}

/* Steps within a step. */
static sombra_err parse_steps(struct parser *parser, const struct arguments *steps,
                              sombra_row_kind from, struct step **out_first,
                              sombra_row_kind *out_to)
{
    struct step *first = NULL, **link = &first, *last = NULL;
    assert(from != 0);
    for (size_t i = 0; i < steps->count; i++) {
        const unsigned number = (unsigned)i + 1;
        sombra_err err = parse_step(parser, &steps->values[i], number, from, &last);
        if (err)
            return err;
        if (last->kind == STEP_AFTER)
            return diag_fail(SOMBRA_INVALID, "step %u (after): it cannot stand within a step",
                             number);
        *link = last;
        link = &last->next;
        from = last->to;
    }
    *out_first = first;
    *out_to = from;
    return SOMBRA_OK;
}

sombra_err step_parse(struct query_run *run, struct arena *arena, const struct step_given *given,
                      struct step **all_steps, struct step **out_step)
{
    struct parser parser = { .run = run, .arena = arena, .all = all_steps };
    sombra_value value;
    sombra_err err = sombra_value_decode(given->encoded, &value);
    return err ? err : parse_step(&parser, &value, given->number, given->from, out_step);
}

void steps_release(struct step *all_steps)
{
    for (struct step *step = all_steps; step; step = step->made_before) {
        if (step->kind == STEP_EXPAND) {
            walk_release(&step->as.expand.walk);
        } else if (step->kind == STEP_OTHER_SOURCE && step->as.source.pair) {
            walk_release(&step->as.source.pair->walk);
        } else if (step->kind == STEP_WHERE) {
            predicate_free(step->as.predicate);
        } else if (step->kind == STEP_REPEAT) {
            predicate_free(step->as.repeat.until);
            predicate_free(step->as.repeat.emits);
        }
    }
}
