/* SPDX-License-Identifier: MIT */
#include "graph_index_fixture.h"

#include <math.h>
#include <string.h>

sombra_rule rule_from(sombra_rule_kind kind, const char *words)
{
    static char text_ring[16][128];
    static unsigned at;
    char *copy = text_ring[at++ % 16];
    sombra_rule rule = SOMBRA_RULE_INIT;
    snprintf(copy, sizeof text_ring[0], "%s", words);
    rule.kind = kind;
    rule.is_edge = copy[0] == '>';
    rule.subject = text(strtok(copy + rule.is_edge, "("));
    for (char *name = strtok(NULL, ",)"); name; name = strtok(NULL, ",)"))
        rule.properties[rule.property_count++] = text(name);
    return rule;
}

uint32_t rule_new(struct fixture *f, sombra_rule_kind kind, const char *words)
{
    sombra_rule rule = rule_from(kind, words);
    uint32_t id = 0;
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
    assert_true(id > 0);
    return id;
}

const struct graph_rule *rule_get(struct fixture *f, uint32_t id)
{
    sombra_rule rule = SOMBRA_RULE_INIT;
    const struct graph_rule *rules;
    size_t count;
    bool found;
    uint32_t subject;
    assert_ok(graph_rule_next(&f->txn, id - 1, &rule, &found));
    assert_true(found && rule.id == id);
    assert_ok(graph_name_find(&f->txn, rule.is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL,
                              rule.subject, &subject));
    assert_ok(graph_rules_of(&f->txn, rule.is_edge, subject, &rules, &count));
    for (size_t i = 0; i < count; i++) {
        if (rules[i].id == id)
            return &rules[i];
    }
    fail_msg("rule %u is not among those of its subject", id);
    return NULL;
}

uint64_t entries_of(struct fixture *f, uint32_t rule)
{
    sombra_rule listed = SOMBRA_RULE_INIT;
    bool found;
    assert_ok(graph_rule_next(&f->txn, rule - 1, &listed, &found));
    assert_true(found && listed.id == rule);
    return listed.entries;
}

/* ---- order ------------------------------------------------------------------------------- */

static int rank(const sombra_value *value)
{
    switch (value->kind) {
    case SOMBRA_BOOLEAN:
        return 1;
    case SOMBRA_INTEGER:
        return 2;
    case SOMBRA_FLOAT:
        return isnan(value->as.real) ? 3 : 2;
    case SOMBRA_STRING:
        return 4;
    case SOMBRA_LIST:
        return 5;
    case SOMBRA_MAP:
        return 6;
    case SOMBRA_NULL:
        break;
    }
    return 7;
}

/* A long double holds every int64 and every double. */
static int order_of(const sombra_value *a, const sombra_value *b)
{
    int left = rank(a), right = rank(b);
    if (left != right)
        return left < right ? -1 : 1;
    if (left == 1)
        return a->as.boolean - b->as.boolean;
    if (left == 2) {
        long double x = a->kind == SOMBRA_INTEGER ? (long double)a->as.integer : a->as.real;
        long double y = b->kind == SOMBRA_INTEGER ? (long double)b->as.integer : b->as.real;
        return (x > y) - (x < y);
    }
    if (left == 4) {
        int order = slice_compare(a->as.string, b->as.string);
        return (order > 0) - (order < 0);
    }
    if (left != 5 && left != 6)
        return 0;
    sombra_value_cursor i, j;
    sombra_value_enter(a, &i);
    sombra_value_enter(b, &j);
    for (;;) {
        sombra_slice p = NOTHING, q = NOTHING;
        sombra_value x, y;
        bool more, other;
        assert_ok(sombra_value_next(&i, &p, &x, &more));
        assert_ok(sombra_value_next(&j, &q, &y, &other));
        if (!more || !other)
            return more - other;
        int order = slice_compare(p, q);
        order = order ? (order > 0) - (order < 0) : order_of(&x, &y);
        if (order)
            return order;
    }
}

int reference_order(sombra_slice a, sombra_slice b)
{
    sombra_value x = { .kind = SOMBRA_NULL }, y = { .kind = SOMBRA_NULL };
    if (a.bytes)
        assert_ok(sombra_value_decode(a, &x));
    if (b.bytes)
        assert_ok(sombra_value_decode(b, &y));
    return order_of(&x, &y);
}

/* ---- scans and values -------------------------------------------------------------------- */

size_t scan_ids(struct fixture *f, uint32_t rule, const struct graph_index_range *range,
                bool reverse, uint64_t *out_ids, size_t capacity)
{
    static const struct graph_index_range all;
    struct graph_index_scan *scan;
    const uint64_t *ids;
    size_t count, total = 0;
    assert_ok(graph_index_open(&f->txn, rule_get(f, rule), range ? range : &all, reverse, &scan));
    do {
        assert_ok(graph_index_next(scan, &ids, &count));
        assert_true(total + count <= capacity);
        for (size_t i = 0; i < count; i++)
            out_ids[total++] = ids[i];
    } while (count);
    graph_index_close(scan);
    return total;
}

sombra_slice value_keep(sombra_slice encoded)
{
    static uint8_t *ring[1024];
    static unsigned at;
    uint8_t **slot = &ring[at++ % COUNT_OF(ring)];
    free(*slot);
    *slot = malloc(encoded.bytes + 1);
    memcpy(*slot, encoded.data, encoded.bytes);
    return slice_of(*slot, encoded.bytes);
}

sombra_slice value_of(struct fixture *f, const char *kind, ...)
{
    sombra_slice encoded;
    const char *s;
    va_list arguments;
    va_start(arguments, kind);
    sombra_value_builder *b = f->builder;
    sombra_value_builder_reset(b);
    switch (*kind) {
    case 'i':
        sombra_value_push_integer(b, va_arg(arguments, int64_t));
        break;
    case 'f':
        sombra_value_push_float(b, va_arg(arguments, double));
        break;
    case 's':
        s = va_arg(arguments, const char *);
        sombra_value_push_string(b, s, strlen(s));
        break;
    case 'b':
        sombra_value_push_boolean(b, va_arg(arguments, int));
        break;
    default:
        fail_msg("unknown kind %s", kind);
    }
    va_end(arguments);
    assert_ok(sombra_value_finish(b, &encoded));
    return value_keep(encoded);
}

/* ---- persons ----------------------------------------------------------------------------- */

const sombra_slice person = { "Person", 6 };

uint64_t person_new(struct fixture *f, sombra_slice properties)
{
    uint64_t node;
    assert_ok(graph_node_create(&f->txn, &person, 1, properties, &node));
    return node;
}

sombra_err person_try(struct fixture *f, sombra_slice properties)
{
    uint64_t unused;
    return graph_node_create(&f->txn, &person, 1, properties, &unused);
}

uint64_t find(struct fixture *f, sombra_slice values)
{
    uint64_t node = 0;
    sombra_err err = graph_node_find(&f->txn, person, values, &node);
    if (err != SOMBRA_NOT_FOUND)
        assert_ok(err);
    return node;
}

void assert_no_rules(struct fixture *f)
{
    sombra_rule rule = SOMBRA_RULE_INIT;
    bool found;
    assert_ok(graph_rule_next(&f->txn, 0, &rule, &found));
    assert_false(found);
}

char *long_text(char last)
{
    static char texts[8][700];
    static unsigned at;
    char *to = texts[at++ % 8];
    memset(to, 'q', 600);
    to[600] = last;
    to[601] = 0;
    return to;
}

void persons_new(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++)
        (void)person_new(f, map_of(f, "ii", "key", i, "even", i % 2));
}

void assert_violation(struct fixture *f, uint32_t rule, const char *property, uint64_t id)
{
    assert_int_equal(f->txn.violation.rule, rule);
    assert_true(slice_equal(f->txn.violation.property, text(property)));
    assert_int_equal(f->txn.violation.id, id);
}
