/* SPDX-License-Identifier: MIT */
/* Predicates of docs/query.md, read once into a tree of tests. */
#include "predicate_internal.h"

#include <stdlib.h>

static const char *const operator_names[TEST_OPERATORS] = {
    [TEST_EQ] = "eq",
    [TEST_NE] = "ne",
    [TEST_LT] = "lt",
    [TEST_LE] = "le",
    [TEST_GT] = "gt",
    [TEST_GE] = "ge",
    [TEST_ANY_OF] = "any_of",
    [TEST_EXISTS] = "exists",
    [TEST_PREFIX] = "prefix",
    [TEST_SUFFIX] = "suffix",
    [TEST_CONTAINS] = "contains",
};

static const char *const subject_names[] = {
    [SUBJECT_ID] = "#id",         [SUBJECT_DEPTH] = "#depth",   [SUBJECT_TYPE] = "#type",
    [SUBJECT_LABELS] = "#labels", [SUBJECT_SOURCE] = "#source", [SUBJECT_TARGET] = "#target",
};

/* For texts: enough to know it by. */
#define SHOWN(s) (int)size_min((s).bytes, 60), (const char *)(s).data

static sombra_err bad_operand(sombra_slice property, int kind, const char *want,
                              const sombra_value *have)
{
    return diag_fail(SOMBRA_INVALID, "property \"%.*s\": operator %s takes %s, not a %s",
                     SHOWN(property), operator_names[kind], want, sombra_kind_name(have->kind));
}

struct parse {
    struct graph_txn *txn;
    struct predicate *predicate;
    bool must_hold; /* all of what is read now, for the whole to hold */
};

/* ---- tests ------------------------------------------------------------------------------- */

static sombra_err add_test(struct predicate *p, const struct test *test, uint32_t *out_index)
{
    if (p->test_count == p->test_capacity) {
        size_t capacity = p->test_capacity ? p->test_capacity * 2 : 8;
        if (capacity > UINT32_MAX / 2)
            return diag_fail(SOMBRA_LIMIT, "a predicate of more than %zu tests", p->test_count);
        struct test *grown = mem_realloc(p->tests, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("a predicate", capacity * sizeof *grown);
        p->tests = grown;
        p->test_capacity = capacity;
    }
    p->tests[p->test_count] = *test;
    *out_index = (uint32_t)p->test_count++;
    return SOMBRA_OK;
}

/* Appends a child to those of a parent, whose last one so far is *last. */
static void link_child(struct predicate *p, uint32_t parent, uint32_t *last, uint32_t child)
{
    assert(child > parent);
    if (*last)
        p->tests[*last].next = child;
    else
        p->tests[parent].child = child;
    *last = child;
}

/* Slots are filled once all ids are known; until then the test only knows its id. */
static sombra_err resolve_subject(struct graph_txn *txn, struct predicate *p, sombra_slice name,
                                  struct test *test)
{
    test->name = name;
    test->slot = SLOT_NONE;
    test->subject = SUBJECT_PROPERTY;
    if (name.bytes == 0 || *(const char *)name.data != '#') {
        p->needs_record = true;
        return diag_wrap(graph_name_find(txn, SOMBRA_NAME_PROPERTY, name, &test->name_id),
                         "property \"%.*s\"", SHOWN(name));
    }
    for (size_t i = 1; i < COUNT_OF(subject_names); i++) {
        if (slice_equal(name, slice_str(subject_names[i]))) {
            test->subject = (uint8_t)i;
            return SOMBRA_OK;
        }
    }
    return diag_fail(SOMBRA_INVALID,
                     "property \"%.*s\": a row has #id, #depth, #type, #labels, #source, #target",
                     SHOWN(name));
}

/* ---- operands ---------------------------------------------------------------------------- */

static int set_order(const void *a, const void *b)
{
    int order = 0;
    sombra_err err = value_order(a, b, &order);
    assert(!err); /* the predicate was validated as a whole */
    (void)err;
    return order;
}

static sombra_err read_set(struct test *test)
{
    sombra_value_cursor cursor;
    size_t bytes = size_max(test->value.count, 1) * sizeof *test->set;
    test->set = mem_alloc(bytes);
    if (!test->set)
        return diag_nomem("a list of values", bytes);
    sombra_value_enter(&test->value, &cursor);
    for (;;) {
        sombra_value value;
        bool found = false;
        sombra_err err = sombra_value_next(&cursor, NULL, &value, &found);
        if (err)
            return err;
        if (!found)
            break;
        if (value.kind == SOMBRA_NULL)
            return bad_operand(test->name, TEST_ANY_OF, "a list of values", &value);
        if (!value_is_nan(&value))
            test->set[test->set_count++] = value;
    }
    size_t kept = 0;
    qsort(test->set, test->set_count, sizeof *test->set, set_order);
    for (size_t i = 0; i < test->set_count; i++) {
        if (kept == 0 || set_order(&test->set[kept - 1], &test->set[i]) != 0)
            test->set[kept++] = test->set[i];
    }
    test->set_count = kept;
    return SOMBRA_OK;
}

static sombra_err check_operand(struct test *test)
{
    const sombra_value *value = &test->value;
    bool is_empty_map = value->kind == SOMBRA_MAP && value->count == 0; /* Lua's {} */
    switch (test->kind) {
    case TEST_ANY_OF:
        if (value->kind != SOMBRA_LIST && !is_empty_map)
            return bad_operand(test->name, test->kind, "a list of values", value);
        return read_set(test);
    case TEST_EXISTS:
        if (value->kind != SOMBRA_BOOLEAN)
            return bad_operand(test->name, test->kind, "true or false", value);
        test->wants = value->as.boolean;
        return SOMBRA_OK;
    case TEST_PREFIX:
    case TEST_SUFFIX:
        if (value->kind != SOMBRA_STRING)
            return bad_operand(test->name, test->kind, "a string", value);
        return SOMBRA_OK;
    default:
        if (value->kind == SOMBRA_NULL)
            return bad_operand(test->name, test->kind, "a value (see exists)", value);
        return SOMBRA_OK;
    }
}

/* Labels are a set: they have no order to compare by. */
static sombra_err check_labels_operator(struct parse *parse, struct test *test)
{
    if (test->subject != SUBJECT_LABELS)
        return SOMBRA_OK;
    if (test->kind == TEST_EXISTS) {
        parse->predicate->needs_record = true; /* no key says that a node has any label */
        return SOMBRA_OK;
    }
    if (test->kind == TEST_CONTAINS && test->value.kind == SOMBRA_STRING)
        return graph_name_find(parse->txn, SOMBRA_NAME_LABEL, test->value.as.string,
                               &test->name_id);
    if (test->kind == TEST_CONTAINS)
        return bad_operand(test->name, test->kind, "the name of a label", &test->value);
    return diag_fail(SOMBRA_INVALID, "property \"#labels\" has the operators contains and exists");
}

/* ---- conditions for the planner ---------------------------------------------------------- */

static sombra_err add_condition(struct predicate *p, const struct condition *condition)
{
    if (p->condition_count == p->condition_capacity) {
        size_t capacity = p->condition_capacity ? p->condition_capacity * 2 : 4;
        struct condition *grown = mem_realloc(p->conditions, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("a predicate", capacity * sizeof *grown);
        p->conditions = grown;
        p->condition_capacity = capacity;
    }
    p->conditions[p->condition_count++] = *condition;
    return SOMBRA_OK;
}

static bool encoded_kinds_compare(sombra_slice a, sombra_slice b)
{
    sombra_value x, y;
    return !sombra_value_decode(a, &x) && !sombra_value_decode(b, &y) &&
           kinds_compare(x.kind, y.kind);
}

/* A bound joins a range of the same property that is open on its side and of its kind. */
static sombra_err add_bound(struct predicate *p, const struct test *test, sombra_slice encoded)
{
    size_t side = test->kind == TEST_LT || test->kind == TEST_LE;
    bool excludes = test->kind == TEST_LT || test->kind == TEST_GT;
    for (size_t i = 0; i < p->condition_count; i++) {
        struct condition *range = &p->conditions[i];
        if (range->kind == CONDITION_RANGE && slice_equal(range->property, test->name) &&
            range->values[side].bytes == 0 &&
            encoded_kinds_compare(range->values[1 - side], encoded)) {
            range->values[side] = encoded;
            range->excludes[side] = excludes;
            return SOMBRA_OK;
        }
    }
    struct condition range = { .kind = CONDITION_RANGE,
                               .property = test->name,
                               .property_id = test->name_id };
    range.values[side] = encoded;
    range.excludes[side] = excludes;
    return add_condition(p, &range);
}

/* What a test that must hold says of its property. */
static sombra_err note_condition(struct predicate *p, const struct test *test, sombra_slice encoded)
{
    struct condition condition = { .kind = CONDITION_EXISTS,
                                   .property = test->name,
                                   .property_id = test->name_id };
    if (test->subject != SUBJECT_PROPERTY || value_is_nan(&test->value))
        return SOMBRA_OK;
    switch (test->kind) {
    case TEST_EQ:
        condition.kind = CONDITION_EQUAL;
        condition.values[0] = encoded;
        break;
    case TEST_ANY_OF:
        condition.kind = CONDITION_ANY_OF;
        condition.values[0] = encoded;
        break;
    case TEST_PREFIX:
        condition.kind = CONDITION_PREFIX;
        condition.values[0] = encoded;
        break;
    case TEST_LT:
    case TEST_LE:
    case TEST_GT:
    case TEST_GE:
        return add_bound(p, test, encoded);
    case TEST_EXISTS:
        if (!test->wants)
            return SOMBRA_OK;
        break;
    default: /* ne, suffix, contains: it is there */
        break;
    }
    return add_condition(p, &condition);
}

/* ---- the two forms ----------------------------------------------------------------------- */

static sombra_err parse_predicate(struct parse *parse, const sombra_value *value,
                                  uint32_t *out_index);

static sombra_err add_operator(struct parse *parse, struct test *test, sombra_slice encoded,
                               uint32_t *out_index)
{
    sombra_err err = sombra_value_decode(encoded, &test->value);
    if (!err)
        err = check_labels_operator(parse, test);
    if (!err)
        err = check_operand(test);
    if (!err && parse->must_hold)
        err = note_condition(parse->predicate, test, encoded);
    if (!err)
        err = add_test(parse->predicate, test, out_index);
    if (err)
        mem_free(test->set);
    return err;
}

static sombra_err operator_of(sombra_slice property, sombra_slice name, uint8_t *out_kind)
{
    for (size_t i = 0; i < COUNT_OF(operator_names); i++) {
        if (slice_equal(name, slice_str(operator_names[i]))) {
            *out_kind = (uint8_t)i;
            return SOMBRA_OK;
        }
    }
    return diag_fail(SOMBRA_INVALID,
                     "property \"%.*s\": there is no operator \"%.*s\"; there are eq, ne, lt, le, "
                     "gt, ge, any_of, exists, prefix, suffix, contains",
                     SHOWN(property), SHOWN(name));
}

/* {ge = 1800, lt = 1900} */
static sombra_err parse_operators(struct parse *parse, const struct test *head,
                                  const sombra_value *operators, uint32_t parent, uint32_t *last)
{
    sombra_value_cursor cursor;
    if (operators->count == 0)
        return diag_fail(SOMBRA_INVALID,
                         "property \"%.*s\": an empty map names no operator; for an empty list say "
                         "{eq = list}",
                         SHOWN(head->name));
    sombra_value_enter(operators, &cursor);
    for (;;) {
        sombra_slice key = { NULL, 0 }, encoded;
        bool found = false;
        struct test test = *head;
        uint32_t index;
        sombra_err err = value_next_encoded(&cursor, &key, &encoded, &found);
        if (err || !found)
            return err;
        err = operator_of(head->name, key, &test.kind);
        if (!err)
            err = add_operator(parse, &test, encoded, &index);
        if (err)
            return err;
        link_child(parse->predicate, parent, last, index);
    }
}

/* {name = "Ada", born = {ge = 1800}}: one flat "and". */
static sombra_err parse_map(struct parse *parse, const sombra_value *map, uint32_t *out_index)
{
    sombra_value_cursor cursor;
    uint32_t last = 0;
    struct test all = { .kind = TEST_AND };
    sombra_err err = add_test(parse->predicate, &all, out_index);
    sombra_value_enter(map, &cursor);
    while (!err) {
        sombra_slice name = { NULL, 0 }, encoded;
        sombra_value value;
        bool found = false;
        struct test test = { .kind = TEST_EQ };
        uint32_t index;
        err = value_next_encoded(&cursor, &name, &encoded, &found);
        if (err || !found)
            break;
        err = resolve_subject(parse->txn, parse->predicate, name, &test);
        if (!err)
            err = sombra_value_decode(encoded, &value);
        if (!err && value.kind == SOMBRA_MAP) {
            err = parse_operators(parse, &test, &value, *out_index, &last);
        } else if (!err) {
            err = add_operator(parse, &test, encoded, &index);
            if (!err)
                link_child(parse->predicate, *out_index, &last, index);
        }
    }
    return err;
}

static sombra_err parse_label(struct parse *parse, sombra_value_cursor *cursor, uint32_t count,
                              uint32_t *out_index)
{
    struct test test = { .kind = TEST_LABEL };
    sombra_value name = { .kind = SOMBRA_NULL };
    bool found = false;
    sombra_err err = sombra_value_next(cursor, NULL, &name, &found);
    if (err)
        return err;
    if (count != 2 || name.kind != SOMBRA_STRING)
        return diag_fail(SOMBRA_INVALID, "predicate \"label\" takes the name of one label");
    test.name = name.as.string;
    err = graph_name_find(parse->txn, SOMBRA_NAME_LABEL, test.name, &test.name_id);
    return err ? diag_wrap(err, "predicate \"label\"")
               : add_test(parse->predicate, &test, out_index);
}

/* What follows "and", "or", "not". */
static sombra_err parse_parts(struct parse *parse, enum test_kind kind, sombra_value_cursor *cursor,
                              uint32_t *out_index)
{
    struct test test = { .kind = (uint8_t)kind };
    uint32_t last = 0, index;
    bool must_hold = parse->must_hold;
    sombra_err err = add_test(parse->predicate, &test, out_index);
    parse->must_hold = must_hold && kind == TEST_AND;
    while (!err) {
        sombra_value part;
        bool found = false;
        err = sombra_value_next(cursor, NULL, &part, &found);
        if (err || !found)
            break;
        err = parse_predicate(parse, &part, &index);
        if (!err)
            link_child(parse->predicate, *out_index, &last, index);
    }
    parse->must_hold = must_hold;
    return err;
}

static sombra_err parse_list(struct parse *parse, const sombra_value *list, uint32_t *out_index)
{
    sombra_value_cursor cursor;
    sombra_value head = { .kind = SOMBRA_NULL };
    bool found = false;
    sombra_value_enter(list, &cursor);
    sombra_err err = sombra_value_next(&cursor, NULL, &head, &found);
    if (err)
        return err;
    if (head.kind != SOMBRA_STRING)
        return diag_fail(SOMBRA_INVALID,
                         "a predicate that is a list begins with \"and\", \"or\", "
                         "\"not\" or \"label\", not with a %s",
                         sombra_kind_name(head.kind));
    if (slice_equal(head.as.string, slice_str("and")))
        return parse_parts(parse, TEST_AND, &cursor, out_index);
    if (slice_equal(head.as.string, slice_str("or")))
        return parse_parts(parse, TEST_OR, &cursor, out_index);
    if (slice_equal(head.as.string, slice_str("label")))
        return parse_label(parse, &cursor, list->count, out_index);
    if (!slice_equal(head.as.string, slice_str("not")))
        return diag_fail(SOMBRA_INVALID,
                         "there is no predicate \"%.*s\"; there are \"and\", "
                         "\"or\", \"not\", \"label\" and maps",
                         SHOWN(head.as.string));
    if (list->count != 2)
        return diag_fail(SOMBRA_INVALID, "predicate \"not\" takes one predicate, not %" PRIu32,
                         list->count - 1);
    return parse_parts(parse, TEST_NOT, &cursor, out_index);
}

/* Recursion is as deep as the value, which the reader bounds. */
static sombra_err parse_predicate(struct parse *parse, const sombra_value *value,
                                  uint32_t *out_index)
{
    if (value->kind == SOMBRA_MAP || (value->kind == SOMBRA_LIST && value->count == 0))
        return parse_map(parse, value, out_index); /* an empty list is Lua's {}: no conditions */
    if (value->kind == SOMBRA_LIST)
        return parse_list(parse, value, out_index);
    return diag_fail(SOMBRA_INVALID, "a predicate is a map of conditions or a list, not a %s",
                     sombra_kind_name(value->kind));
}

/* ---- slots ------------------------------------------------------------------------------- */

static void add_slot(struct predicate *p, uint32_t id)
{
    size_t at = p->slot_count;
    for (size_t i = 0; i < p->slot_count; i++) {
        if (p->slots[i] == id)
            return;
    }
    if (p->slot_count == PREDICATE_SLOTS_MAX)
        return;
    for (; at > 0 && p->slots[at - 1] > id; at--)
        p->slots[at] = p->slots[at - 1];
    p->slots[at] = id;
    p->slot_count++;
}

static void assign_slots(struct predicate *p)
{
    for (size_t i = 0; i < p->test_count; i++) {
        const struct test *test = &p->tests[i];
        if (test->kind < TEST_OPERATORS && test->subject == SUBJECT_PROPERTY && test->name_id)
            add_slot(p, test->name_id);
    }
    for (size_t i = 0; i < p->test_count; i++) {
        struct test *test = &p->tests[i];
        test->slot = SLOT_NONE;
        for (size_t s = 0; s < p->slot_count; s++) {
            if (test->kind < TEST_OPERATORS && test->subject == SUBJECT_PROPERTY &&
                test->name_id == p->slots[s])
                test->slot = (uint16_t)s;
        }
    }
}

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err predicate_new(struct graph_txn *txn, sombra_slice encoded,
                         struct predicate **out_predicate)
{
    sombra_value value;
    uint32_t root = 0;
    assert(txn && out_predicate);
    if (sombra_value_validate(encoded) || sombra_value_decode(encoded, &value))
        return diag_wrap(diag_fail(SOMBRA_INVALID, "%s", diag_text()), "predicate");
    struct predicate *predicate = mem_zalloc(sizeof *predicate);
    if (!predicate)
        return diag_nomem("a predicate", sizeof *predicate);
    struct parse parse = { .txn = txn, .predicate = predicate, .must_hold = true };
    sombra_err err = parse_predicate(&parse, &value, &root);
    if (err) {
        predicate_free(predicate);
        return err;
    }
    assert(root == 0 && predicate->test_count > 0);
    assign_slots(predicate);
    *out_predicate = predicate;
    return SOMBRA_OK;
}

/* ---- other constants --------------------------------------------------------------------- */

/* Of a test that is equal to a plain value, and to another of its kind: then all that was made of
 * it stays, and the condition for the planner. */
static bool is_plain(const sombra_value *value)
{
    return value->kind >= SOMBRA_BOOLEAN && value->kind <= SOMBRA_STRING && !value_is_nan(value);
}

bool predicate_fits(const struct predicate *p, sombra_slice encoded)
{
    sombra_value_cursor cursor;
    size_t at = 1, conditions = 0;
    if (p->tests[0].kind != TEST_AND || value_open_map_unproved(encoded, &cursor))
        return false;
    for (;; at++) {
        sombra_slice name, constant;
        sombra_value value;
        bool found = false;
        if (value_next_proved(&cursor, &name, &constant, &found))
            return false;
        if (!found)
            break;
        const struct test *test = &p->tests[at];
        if (at == p->test_count || test->kind != TEST_EQ || !slice_equal(test->name, name) ||
            sombra_value_decode(constant, &value) || value.kind != test->value.kind ||
            !is_plain(&value) || !is_plain(&test->value))
            return false;
        conditions += test->subject == SUBJECT_PROPERTY;
    }
    return at == p->test_count && conditions == p->condition_count;
}

void predicate_bind(struct predicate *p, sombra_slice encoded)
{
    sombra_value_cursor cursor;
    struct condition *condition = p->conditions;
    sombra_err err = value_open_map_unproved(encoded, &cursor);
    for (size_t at = 1; !err && at < p->test_count; at++) {
        struct test *test = &p->tests[at];
        sombra_slice constant;
        bool found = false;
        err = value_next_proved(&cursor, &test->name, &constant, &found);
        assert(!err && found);
        if (!err)
            err = sombra_value_decode(constant, &test->value);
        if (test->subject != SUBJECT_PROPERTY)
            continue;
        condition->property = test->name;
        condition->values[0] = constant;
        condition++;
    }
    assert(!err); /* it fits */
    (void)err;
}

bool predicate_constant(const struct predicate *p, sombra_slice *out_constant)
{
    if (p->tests[0].kind != TEST_AND || p->test_count != 2 || p->condition_count != 1 ||
        p->tests[1].kind != TEST_EQ || p->tests[1].subject != SUBJECT_PROPERTY ||
        !is_plain(&p->tests[1].value))
        return false;
    const sombra_slice name = p->tests[1].name, constant = p->conditions[0].values[0];
    if ((const uint8_t *)name.data + name.bytes != constant.data)
        return false; /* {name = {eq = constant}}: nobody would look at the length of that map */
    *out_constant = constant;
    return true;
}

bool predicate_rebind(struct predicate *p, sombra_slice constant, void *own)
{
    struct test *test = &p->tests[1];
    sombra_value value;
    if (sombra_value_decode(constant, &value) || value.kind != test->value.kind ||
        !is_plain(&value))
        return false;
    memcpy(own, constant.data, constant.bytes);
    p->conditions[0].values[0] = slice_of(own, constant.bytes);
    if (value.kind == SOMBRA_STRING)
        value.as.string.data = (uint8_t *)own + ((const uint8_t *)value.as.string.data -
                                                 (const uint8_t *)constant.data);
    test->value = value;
    return true;
}

void predicate_free(struct predicate *predicate)
{
    if (!predicate)
        return;
    for (size_t i = 0; i < predicate->test_count; i++)
        mem_free(predicate->tests[i].set);
    mem_free(predicate->tests);
    mem_free(predicate->conditions);
    mem_free(predicate);
}

bool predicate_needs_record(const struct predicate *predicate)
{
    return predicate->needs_record;
}

size_t predicate_conditions(const struct predicate *predicate, const struct condition **out)
{
    *out = predicate->conditions;
    return predicate->condition_count;
}

bool predicate_is_equalities(const struct predicate *p)
{
    if (p->tests[0].kind != TEST_AND || p->condition_count != p->test_count - 1)
        return false;
    for (size_t i = 1; i < p->test_count; i++) {
        if (p->tests[i].kind != TEST_EQ || p->tests[i].subject != SUBJECT_PROPERTY)
            return false;
    }
    return true;
}
