/* SPDX-License-Identifier: MIT */
/* Asks a predicate about one row. */
#include "predicate_internal.h"

/* The row, and what was read of it. */
struct view {
    const struct predicate *predicate;
    struct graph_txn *txn;
    const struct row *row;       /* NULL for a record row */
    const sombra_record *record; /* NULL if none is needed */
    const sombra_value *map;     /* of a record row; else NULL */
    bool is_node;
    sombra_value slots[PREDICATE_SLOTS_MAX]; /* null = missing */
};

/* ---- what a test looks at ---------------------------------------------------------------- */

/* Both the record and the slots ascend by property id. */
static sombra_err fill_slots(struct view *view)
{
    const struct predicate *p = view->predicate;
    sombra_record walk = *view->record;
    size_t slot = 0;
    while (slot < p->slot_count) {
        uint32_t name;
        sombra_slice value;
        bool found = false;
        sombra_err err = graph_record_next_property(&walk, &name, &value, &found);
        if (err)
            return err;
        if (!found)
            break;
        while (slot < p->slot_count && p->slots[slot] < name)
            view->slots[slot++].kind = SOMBRA_NULL;
        if (slot == p->slot_count || p->slots[slot] != name)
            continue;
        err = sombra_value_decode(value, &view->slots[slot]);
        if (err)
            return err;
        slot++;
    }
    for (; slot < p->slot_count; slot++)
        view->slots[slot].kind = SOMBRA_NULL;
    return SOMBRA_OK;
}

/* A property of which no slot knows: there were too many, or its name came into being after the
 * predicate, by a write of the same transaction. */
static sombra_err find_property(const struct view *view, const struct test *test,
                                sombra_value *out_value)
{
    uint32_t id = test->name_id;
    sombra_slice encoded;
    sombra_err err = SOMBRA_OK;
    if (id == 0 && view->txn->kv->is_write)
        err = graph_name_find(view->txn, SOMBRA_NAME_PROPERTY, test->name, &id);
    if (err || id == 0)
        return err;
    err = graph_record_find(view->record, id, &encoded);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    return err ? err : sombra_value_decode(encoded, out_value);
}

static sombra_value value_of_number(uint64_t number)
{
    return (sombra_value){ .kind = SOMBRA_INTEGER, .as.integer = (int64_t)number };
}

/* *out_value is null if there is no such thing. */
static sombra_err look(const struct view *view, const struct test *test, sombra_value *out_value)
{
    const struct row *row = view->row;
    sombra_name type;
    sombra_err err = SOMBRA_OK;
    out_value->kind = SOMBRA_NULL;
    if (view->map) {
        err = sombra_value_member(view->map, test->name, out_value);
        return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    }
    switch (test->subject) {
    case SUBJECT_PROPERTY:
        if (test->slot == SLOT_NONE)
            return find_property(view, test, out_value);
        *out_value = view->slots[test->slot];
        return SOMBRA_OK;
    case SUBJECT_ID:
        *out_value = value_of_number(row->id);
        return SOMBRA_OK;
    case SUBJECT_DEPTH:
        *out_value = value_of_number(row->depth);
        return SOMBRA_OK;
    case SUBJECT_SOURCE:
        if (!view->is_node)
            *out_value = value_of_number(row->src);
        return SOMBRA_OK;
    case SUBJECT_TARGET:
        if (!view->is_node)
            *out_value = value_of_number(row->dst);
        return SOMBRA_OK;
    case SUBJECT_TYPE:
        if (view->is_node)
            return SOMBRA_OK;
        err = graph_name_by_id(view->txn, SOMBRA_NAME_TYPE, row->type, &type);
        if (!err)
            *out_value = (sombra_value){ .kind = SOMBRA_STRING, .as.string = type.text };
        return err;
    default:
        assert(false); /* labels are asked for by has_label */
        return SOMBRA_OK;
    }
}

/* An empty name: any label. */
static sombra_err has_label(const struct view *view, uint32_t id, sombra_slice name, bool *out_has)
{
    *out_has = false;
    if (!view->is_node || view->map)
        return SOMBRA_OK;
    if (!view->record)
        return graph_node_has_label(view->txn, view->row->id, name, out_has);
    sombra_err err = SOMBRA_OK;
    if (id == 0 && name.bytes && view->txn->kv->is_write)
        err = graph_name_find(view->txn, SOMBRA_NAME_LABEL, name, &id);
    sombra_record walk = *view->record;
    while (!err) {
        uint32_t label = 0;
        bool found = false;
        err = graph_record_next_label(&walk, &label, &found);
        if (err || !found)
            break;
        if (label == id || name.bytes == 0) {
            *out_has = true;
            break;
        }
    }
    return err;
}

/* ---- comparisons ------------------------------------------------------------------------- */

static sombra_err values_equal(const sombra_value *a, const sombra_value *b, bool *out_equal)
{
    int order = 1;
    sombra_err err = SOMBRA_OK;
    if (kinds_compare(a->kind, b->kind) && !value_is_nan(a) && !value_is_nan(b))
        err = value_order(a, b, &order);
    *out_equal = order == 0;
    return err;
}

static sombra_err is_among(const struct test *test, const sombra_value *have, bool *out_is)
{
    size_t low = 0, high = test->set_count;
    *out_is = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = 0;
        sombra_err err = value_order(have, &test->set[middle], &order);
        if (err)
            return err;
        if (order == 0) {
            *out_is = true;
            return SOMBRA_OK;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SOMBRA_OK;
}

/* In linear time, whatever both are. */
static bool slice_contains(sombra_slice text, sombra_slice part)
{
    return part.bytes == 0 ||
           (text.bytes && memmem(text.data, text.bytes, part.data, part.bytes) != NULL);
}

static sombra_err contains(const struct test *test, const sombra_value *have, bool *out_contains)
{
    bool contains = have->kind == SOMBRA_STRING && test->value.kind == SOMBRA_STRING &&
                    slice_contains(have->as.string, test->value.as.string);
    if (have->kind == SOMBRA_LIST) {
        sombra_value_cursor cursor;
        sombra_value_enter(have, &cursor);
        while (!contains) {
            sombra_value element;
            bool found = false;
            sombra_err err = sombra_value_next(&cursor, NULL, &element, &found);
            if (!err && found)
                err = values_equal(&element, &test->value, &contains);
            if (err)
                return err;
            if (!found)
                break;
        }
    }
    *out_contains = contains;
    return SOMBRA_OK;
}

static bool has_affix(const struct test *test, const sombra_value *have)
{
    sombra_slice text = have->as.string, affix = test->value.as.string;
    if (have->kind != SOMBRA_STRING || text.bytes < affix.bytes)
        return false;
    if (test->kind == TEST_SUFFIX)
        text = slice_from(text, text.bytes - affix.bytes);
    return slice_has_prefix(text, affix);
}

static sombra_err compare(const struct test *test, const sombra_value *have, bool *out_holds)
{
    const sombra_value *want = &test->value;
    int order = 0;
    *out_holds = test->kind == TEST_NE;
    if (!kinds_compare(have->kind, want->kind) || value_is_nan(have) || value_is_nan(want))
        return SOMBRA_OK;
    sombra_err err = value_order(have, want, &order);
    if (err)
        return err;
    switch (test->kind) {
    case TEST_EQ:
        *out_holds = order == 0;
        break;
    case TEST_NE:
        *out_holds = order != 0;
        break;
    case TEST_LT:
        *out_holds = order < 0;
        break;
    case TEST_LE:
        *out_holds = order <= 0;
        break;
    case TEST_GT:
        *out_holds = order > 0;
        break;
    default:
        assert(test->kind == TEST_GE);
        *out_holds = order >= 0;
        break;
    }
    return SOMBRA_OK;
}

static sombra_err operator_holds(const struct view *view, const struct test *test, bool *out_holds)
{
    sombra_value have;
    sombra_err err = look(view, test, &have);
    if (err)
        return err;
    if (have.kind == SOMBRA_NULL) {
        *out_holds = test->kind == TEST_EXISTS && !test->wants;
        return SOMBRA_OK;
    }
    switch (test->kind) {
    case TEST_EXISTS:
        *out_holds = test->wants;
        return SOMBRA_OK;
    case TEST_ANY_OF:
        return is_among(test, &have, out_holds);
    case TEST_PREFIX:
    case TEST_SUFFIX:
        *out_holds = has_affix(test, &have);
        return SOMBRA_OK;
    case TEST_CONTAINS:
        return contains(test, &have, out_holds);
    default:
        return compare(test, &have, out_holds);
    }
}

/* "#labels" of a node. */
static sombra_err labels_hold(const struct view *view, const struct test *test, bool *out_holds)
{
    sombra_slice any = { NULL, 0 };
    bool has = false;
    sombra_err err;
    if (test->kind == TEST_CONTAINS)
        return has_label(view, test->name_id, test->value.as.string, out_holds);
    assert(test->kind == TEST_EXISTS && view->record);
    err = has_label(view, 0, any, &has);
    *out_holds = has == test->wants;
    return err;
}

/* ---- the tree ---------------------------------------------------------------------------- */

/* As deep as the predicate is nested, which its encoding bounds. */
static sombra_err test_holds(const struct view *view, uint32_t index, bool *out_holds)
{
    const struct predicate *p = view->predicate;
    const struct test *test = &p->tests[index];
    switch (test->kind) {
    case TEST_AND:
    case TEST_OR:
        *out_holds = test->kind == TEST_AND;
        for (uint32_t child = test->child; child; child = p->tests[child].next) {
            bool holds = false;
            sombra_err err = test_holds(view, child, &holds);
            if (err)
                return err;
            if (holds == (test->kind == TEST_OR)) {
                *out_holds = holds;
                return SOMBRA_OK;
            }
        }
        return SOMBRA_OK;
    case TEST_NOT: {
        bool holds = false;
        sombra_err err = test_holds(view, test->child, &holds);
        *out_holds = !holds;
        return err;
    }
    case TEST_LABEL:
        return has_label(view, test->name_id, test->name, out_holds);
    default:
        if (test->subject == SUBJECT_LABELS && !view->map)
            return labels_hold(view, test, out_holds);
        return operator_holds(view, test, out_holds);
    }
}

sombra_err predicate_tick(const struct predicate *predicate, struct query_run *run)
{
    enum { FEW = 64, TESTS_OF_TICK = 16 };
    if (LIKELY(predicate->test_count <= FEW))
        return SOMBRA_OK;
    return run_ticks(run, (uint32_t)(predicate->test_count / TESTS_OF_TICK));
}

sombra_err predicate_holds(const struct predicate *predicate, struct query_run *run,
                           const struct row *row, bool is_node, const sombra_record *record,
                           bool *out_holds)
{
    struct view view; /* not zeroed: the slots are large */
    bool holds = false;
    assert(predicate && row && (record || !predicate->needs_record));
    view.predicate = predicate;
    view.txn = run->txn;
    view.row = row;
    view.record = record;
    view.map = NULL;
    view.is_node = is_node;
    sombra_err err = predicate->slot_count ? fill_slots(&view) : SOMBRA_OK;
    if (!err)
        err = test_holds(&view, 0, &holds);
    if (err)
        return diag_wrap(err, "%s %" PRIu64, is_node ? "node" : "edge", row->id);
    *out_holds = holds;
    return SOMBRA_OK;
}

/* Within one snapshot nothing goes; beside writes of its own transaction it may. */
static sombra_err row_exists(struct graph_txn *txn, const struct row *row, bool is_node,
                             bool *out_exists)
{
    struct graph_edge edge;
    *out_exists = true;
    if (!txn->kv->is_write)
        return SOMBRA_OK;
    if (is_node)
        return graph_node_exists(txn, row->id, out_exists);
    sombra_err err = graph_edge_ends(txn, row->id, &edge);
    *out_exists = !err;
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

sombra_err predicate_test(const struct predicate *predicate, struct query_run *run,
                          const struct row *row, bool is_node, bool *out_holds)
{
    sombra_record record;
    bool exists = true;
    sombra_err err = predicate_tick(predicate, run);
    if (!err)
        err = row_exists(run->txn, row, is_node, &exists);
    if (!err && !exists) {
        *out_holds = false;
        return SOMBRA_OK;
    }
    if (err || !predicate->needs_record)
        return err ? err : predicate_holds(predicate, run, row, is_node, NULL, out_holds);
    if (is_node) {
        err = graph_node_get(run->txn, row->id, &record);
    } else {
        struct graph_edge edge = {
            .id = row->id, .src = row->src, .dst = row->dst, .type = row->type
        };
        err = graph_edge_record(run->txn, &edge, &record);
    }
    if (err == SOMBRA_NOT_FOUND) {
        *out_holds = false;
        return SOMBRA_OK;
    }
    return err ? err : predicate_holds(predicate, run, row, is_node, &record, out_holds);
}

sombra_err predicate_test_node(const struct predicate *predicate, struct query_run *run,
                               struct row_records *records, const struct row *row, bool *out_holds)
{
    sombra_record record;
    bool exists = true;
    if (!predicate->needs_record)
        return predicate_test(predicate, run, row, true, out_holds);
    sombra_err err = predicate_tick(predicate, run);
    if (!err)
        err = row_records_get(records, run, row, &record, &exists);
    if (!err && !exists)
        *out_holds = false;
    return err || !exists ? err : predicate_holds(predicate, run, row, true, &record, out_holds);
}

sombra_err predicate_holds_map(const struct predicate *predicate, struct query_run *run,
                               sombra_slice map, bool *out_holds)
{
    struct view view;
    sombra_value value;
    bool holds = false;
    sombra_err err = sombra_value_decode(map, &value);
    assert(predicate && (err || value.kind == SOMBRA_MAP));
    view.predicate = predicate;
    view.txn = run->txn;
    view.row = NULL;
    view.record = NULL;
    view.map = &value;
    view.is_node = false;
    if (!err)
        err = predicate_tick(predicate, run);
    if (!err)
        err = test_holds(&view, 0, &holds);
    if (!err)
        *out_holds = holds;
    return err;
}
