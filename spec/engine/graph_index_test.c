/* SPDX-License-Identifier: MIT */
/* Indexes as they are read: order, ranges, counts, and their upkeep under random histories, against
 * an order of values that owes nothing to theirs. */
#include "graph_index_fixture.h"

#include "base/random.h"
#include "graph/index_internal.h"

#include <math.h>

/* ---- values ------------------------------------------------------------------------------ */

static struct random random_state;
static uint64_t below(uint64_t bound)
{
    return random_below(&random_state, bound);
}

static const double hard_floats[] = {
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    0x1p53,
    0x1p53 + 2,
    -0x1p53,
    0x1p62,
    0x1p63,
    -0x1p63,
    0x1p64,
    -0x1p64,
    1e308,
    -1e308,
    INFINITY,
    -INFINITY,
    NAN,
    5e-324,
    -5e-324,
    0.1,
    127.5,
    128.5,
    -127.5,
    -128.5,
    255.999,
    -32768.25,
    0x1.fffffffffffffp62,
    2.2250738585072014e-308,
};
static const int64_t hard_integers[] = {
    0,
    1,
    -1,
    127,
    128,
    -127,
    -128,
    255,
    256,
    -255,
    -256,
    32767,
    32768,
    -32768,
    -32769,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    INT64_MAX - 1,
    INT64_MIN + 1,
    (1ll << 53) + 1,
    (1ll << 53) - 1,
    1ll << 53,
    -(1ll << 53) - 1,
    1ll << 62,
    (1ll << 62) - 1,
};

static void push_string(sombra_value_builder *b)
{
    char bytes[1200];
    size_t length = (size_t)below(6);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (char)(below(2) ? 'a' + below(3) : (below(2) ? 0 : 255 - below(2)));
    if (below(3) == 0) { /* long ones differ in front of the cut, at it, or behind it */
        static const size_t lengths[] = { 380, 381, 382, 383, 384, 385, 400, 1000 };
        size_t at = lengths[below(COUNT_OF(lengths))];
        memset(bytes, 'x', at);
        length = at;
        for (uint64_t tail = below(4); tail > 0; tail--)
            bytes[length++] = (char)('w' + below(3));
        if (below(4) == 0)
            bytes[below(4)] = 'y';
    }
    sombra_value_push_string(b, bytes, length);
}

static void push_any(sombra_value_builder *b, unsigned depth)
{
    switch (below(depth ? 8 : 6)) {
    case 0:
        sombra_value_push_boolean(b, below(2));
        return;
    case 1:
        sombra_value_push_integer(b, hard_integers[below(COUNT_OF(hard_integers))]);
        return;
    case 2:
        sombra_value_push_float(b, hard_floats[below(COUNT_OF(hard_floats))]);
        return;
    case 3:
        sombra_value_push_integer(b, (int64_t)below(20) - 10);
        return;
    case 4:
    case 5:
        push_string(b);
        return;
    case 6:
        sombra_value_begin_list(b);
        for (uint64_t i = below(3); i > 0; i--) {
            if (below(5) == 0)
                sombra_value_push_null(b);
            else
                push_any(b, depth - 1);
        }
        sombra_value_end_list(b);
        return;
    default:
        sombra_value_begin_map(b);
        if (below(2)) {
            sombra_value_push_key(b, below(2) ? "k" : "kk", 1 + below(2));
            push_any(b, depth - 1);
        }
        sombra_value_end_map(b);
    }
}

static sombra_slice some_value(struct fixture *f)
{
    sombra_slice encoded;
    sombra_value_builder_reset(f->builder);
    push_any(f->builder, 2);
    assert_ok(sombra_value_finish(f->builder, &encoded));
    return value_keep(encoded);
}

/* ---- the order of keys ------------------------------------------------------------------- */

static void test_index__bytes_are_ordered_as_values(void **state)
{
    struct fixture *f = *state;
    struct buf x = BUF_INIT, y = BUF_INIT;
    random_seed(&random_state, test_seed());
    for (int i = 0; i < 30000; i++) {
        sombra_slice a = some_value(f), b = some_value(f);
        buf_reset(&x);
        buf_reset(&y);
        assert_ok(index_append(&x, a));
        assert_ok(index_append(&y, b));
        int order = slice_compare(buf_slice(&x), buf_slice(&y));
        assert_int_equal((order > 0) - (order < 0), reference_order(a, b));
        if (order) /* else what follows in a composite key would decide */
            assert_true(!slice_has_prefix(buf_slice(&x), buf_slice(&y)) &&
                        !slice_has_prefix(buf_slice(&y), buf_slice(&x)));
    }
    buf_release(&x);
    buf_release(&y);
}

static void test_index__every_pair_of_hard_numbers_is_ordered(void **state)
{
    struct fixture *f = *state;
    sombra_slice all[COUNT_OF(hard_floats) + COUNT_OF(hard_integers)];
    size_t count = 0;
    struct buf x = BUF_INIT, y = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(hard_floats); i++)
        all[count++] = value_of(f, "f", hard_floats[i]);
    for (size_t i = 0; i < COUNT_OF(hard_integers); i++)
        all[count++] = value_of(f, "i", hard_integers[i]);
    for (size_t i = 0; i < count * count; i++) {
        buf_reset(&x);
        buf_reset(&y);
        assert_ok(index_append(&x, all[i / count]));
        assert_ok(index_append(&y, all[i % count]));
        int order = slice_compare(buf_slice(&x), buf_slice(&y));
        assert_int_equal((order > 0) - (order < 0),
                         reference_order(all[i / count], all[i % count]));
    }
    buf_release(&x);
    buf_release(&y);
}

/* ---- what is there, read from the records ------------------------------------------------ */

enum { NODES = 160, PROPERTIES = 2 };

struct member {
    uint64_t id;
    sombra_slice values[PROPERTIES]; /* no bytes = missing */
};
struct members {
    struct member at[NODES];
    size_t count;
};

static int member_order(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    for (int i = 0; i < PROPERTIES; i++) {
        int order = reference_order(x->values[i], y->values[i]);
        if (order)
            return order;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Members of Thing(a, b) or Thing(a): those that have a. */
static void members_read(struct fixture *f, struct members *members, bool has_b)
{
    static struct graph_ids ids;
    const uint64_t *batch;
    size_t count;
    memset(&ids, 0, sizeof ids);
    members->count = 0;
    assert_ok(
        graph_ids_open(&ids, &f->txn, GRAPH_NODES, text("Thing"), &(sombra_ids_options){ 0 }));
    do {
        assert_ok(graph_ids_next(&ids, &batch, &count));
        for (size_t i = 0; i < count; i++) {
            struct member member = { .id = batch[i] };
            sombra_slice value;
            for (int p = 0; p < 1 + has_b; p++) {
                sombra_err err =
                    graph_node_property(&f->txn, batch[i], text(p ? "b" : "a"), &value);
                if (!err)
                    member.values[p] = value_keep(value);
            }
            if (member.values[0].bytes)
                members->at[members->count++] = member;
        }
    } while (count);
    graph_ids_close(&ids);
    qsort(members->at, members->count, sizeof members->at[0], member_order);
}

static bool kinds_compare(sombra_slice a, sombra_slice b)
{
    sombra_value x, y;
    if (!a.bytes || !b.bytes)
        return false;
    assert_ok(sombra_value_decode(a, &x));
    assert_ok(sombra_value_decode(b, &y));
    bool is_number_x = x.kind == SOMBRA_INTEGER || x.kind == SOMBRA_FLOAT;
    bool is_number_y = y.kind == SOMBRA_INTEGER || y.kind == SOMBRA_FLOAT;
    if (is_number_x && is_number_y)
        return (x.kind == SOMBRA_FLOAT && isnan(x.as.real)) ==
               (y.kind == SOMBRA_FLOAT && isnan(y.as.real));
    return x.kind == y.kind;
}

static bool is_in(const struct member *member, const struct graph_index_range *range)
{
    for (size_t i = 0; i < range->equal_count; i++) {
        if (!member->values[i].bytes || reference_order(member->values[i], range->equal[i]))
            return false;
    }
    if (range->equal_count == PROPERTIES)
        return true;
    sombra_slice value = member->values[range->equal_count];
    if (range->has_property && !value.bytes)
        return false;
    if (range->has_prefix) {
        sombra_value v = { .kind = SOMBRA_NULL };
        if (value.bytes)
            assert_ok(sombra_value_decode(value, &v));
        return v.kind == SOMBRA_STRING && slice_has_prefix(v.as.string, range->prefix);
    }
    if (range->low.bytes) {
        int order = value.bytes ? reference_order(value, range->low) : 1;
        if (order < 0 || (order == 0 && range->excludes_low))
            return false;
        if (!range->high.bytes && !kinds_compare(value, range->low))
            return false;
    }
    if (range->high.bytes) {
        int order = value.bytes ? reference_order(value, range->high) : 1;
        if (order > 0 || (order == 0 && range->excludes_high))
            return false;
        if (!range->low.bytes && !kinds_compare(value, range->high))
            return false;
    }
    return true;
}

static void compare_range(struct fixture *f, uint32_t rule, const struct members *members,
                          const struct graph_index_range *range)
{
    uint64_t have[NODES], wanted[NODES], counted;
    size_t count = 0;
    bool has_long = false;
    for (size_t i = 0; i < members->count; i++) {
        has_long =
            has_long || members->at[i].values[0].bytes + members->at[i].values[1].bytes > 180;
        if (is_in(&members->at[i], range))
            wanted[count++] = members->at[i].id;
    }
    assert_int_equal(scan_ids(f, rule, range, false, have, NODES), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(have[i], wanted[i]);
    assert_int_equal(scan_ids(f, rule, range, true, have, NODES), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(have[count - 1 - i], wanted[i]);
    assert_ok(graph_index_count(&f->txn, rule_get(f, rule), range, &counted));
    assert_true(has_long ? counted >= count : counted == count);
}

static sombra_slice some_bound(struct fixture *f, const struct members *members, size_t property)
{
    sombra_slice value = NOTHING;
    if (members->count && below(3))
        value = members->at[below(members->count)].values[property];
    return value.bytes ? value : some_value(f);
}

/* A range over property `equal_count` of an index. */
static void compare_some_range(struct fixture *f, uint32_t rule, const struct members *members,
                               bool has_b)
{
    sombra_slice equal[PROPERTIES];
    struct graph_index_range range = { .equal = equal };
    char prefix[400];
    range.equal_count = (size_t)below(2 + has_b);
    for (size_t i = 0; i < range.equal_count; i++)
        equal[i] = some_bound(f, members, i);
    if (range.equal_count < 1u + has_b) {
        size_t property = range.equal_count;
        if (below(2))
            range.low = some_bound(f, members, property);
        if (below(2))
            range.high = some_bound(f, members, property);
        range.excludes_low = below(2);
        range.excludes_high = below(2);
        if (!range.low.bytes && !range.high.bytes) {
            size_t bytes = below(2) ? (size_t)below(3) : 380 + (size_t)below(8);
            memset(prefix, bytes > 3 ? 'x' : 'a', sizeof prefix);
            range.has_prefix = below(2);
            range.prefix = slice_of(prefix, bytes);
            range.has_property = !range.has_prefix && below(2);
        }
    }
    if (range.low.bytes && range.high.bytes && !kinds_compare(range.low, range.high))
        return; /* bounds are of one kind */
    compare_range(f, rule, members, &range);
}

/* ---- random histories -------------------------------------------------------------------- */

static sombra_slice some_properties(struct fixture *f, bool removes)
{
    sombra_slice encoded;
    sombra_value_builder *b = f->builder;
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    for (const char *name = "abc"; *name; name++) {
        uint64_t choice = below(6);
        if (choice == 0)
            continue;
        sombra_value_push_key(b, name, 1);
        if (choice == 1 && removes)
            sombra_value_push_null(b);
        else if (*name == 'b')
            sombra_value_push_integer(b, (int64_t)below(4));
        else
            push_any(b, 1);
    }
    sombra_value_end_map(b);
    assert_ok(sombra_value_finish(b, &encoded));
    return value_keep(encoded);
}

static uint64_t nodes_made; /* ids are 1 to this, some deleted */

static void do_something(struct fixture *f)
{
    static const sombra_slice labels[] = { { "Thing", 5 }, { "Other", 5 } };
    uint64_t node = 1 + below(nodes_made + 1), created, edge;
    sombra_err err = SOMBRA_OK;
    bool unused;
    switch (below(9)) {
    case 0:
    case 1:
        if (nodes_made < NODES - 20) {
            assert_ok(
                graph_node_create(&f->txn, labels, below(3), some_properties(f, true), &created));
            nodes_made = u64_max(nodes_made, created);
        }
        return;
    case 2:
        err = graph_node_change(&f->txn, node, some_properties(f, true), GRAPH_MERGE);
        break;
    case 3:
        err = graph_node_change(&f->txn, node, some_properties(f, true), GRAPH_REPLACE);
        break;
    case 4:
        err = graph_node_remove_property(&f->txn, node, text(below(2) ? "a" : "b"));
        break;
    case 5:
        err = below(2) ? graph_node_add_label(&f->txn, node, text("Thing"), &unused)
                       : graph_node_remove_label(&f->txn, node, text("Thing"), &unused);
        break;
    case 6:
        if (below(6) == 0)
            err = graph_node_delete(&f->txn, node, true);
        break;
    case 7: {
        const struct graph_edge ends = { .src = node, .dst = 1 + below(nodes_made + 1) };
        err = graph_edge_create(&f->txn, &ends, text("LINKS"), some_properties(f, true), &edge);
        break;
    }
    default:
        edge = 1 + below(60);
        err = below(4) ? graph_edge_change(&f->txn, edge, some_properties(f, true),
                                           below(2) ? GRAPH_MERGE : GRAPH_REPLACE)
                       : graph_edge_delete(&f->txn, edge);
    }
    if (err != SOMBRA_NOT_FOUND)
        assert_ok(err);
}

static void compare_all(struct fixture *f, const uint32_t rules[3])
{
    static struct members members;
    for (int composite = 0; composite < 2; composite++) {
        members_read(f, &members, composite);
        assert_int_equal(entries_of(f, rules[composite]), members.count);
        compare_range(f, rules[composite], &members, &(struct graph_index_range){ 0 });
        for (int i = 0; i < 6; i++)
            compare_some_range(f, rules[composite], &members, composite);
    }
    assert_sound(f);
}

static void test_index__random_histories_keep_indexes_exact(void **state)
{
    struct fixture *f = *state;
    uint64_t mark = 0;
    uint32_t rules[3];
    random_seed(&random_state, test_seed());
    nodes_made = 0;
    begin_write(f);
    for (int i = 0; i < 40; i++)
        do_something(f);
    rules[0] = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a)");
    rules[1] = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a,b)");
    rules[2] = rule_new(f, SOMBRA_RULE_INDEX, ">LINKS(b,a)");
    for (int step = 0; step < 1500; step++) {
        do_something(f);
        if (step % 50 == 10)
            assert_ok(graph_txn_savepoint(&f->txn, &mark));
        if (step % 50 == 30 && mark && below(2)) {
            assert_ok(graph_txn_rollback_to(&f->txn, mark));
            compare_all(f, rules);
        }
        if (step % 50 != 49)
            continue;
        if (below(3)) {
            commit(f);
        } else if (step > 100) {
            rollback(f);
        } else {
            commit(f);
        }
        mark = 0;
        begin_read(f);
        compare_all(f, rules);
        rollback(f);
        begin_write(f);
    }
    rollback(f);
}

/* ---- single facts ------------------------------------------------------------------------ */

static uint64_t thing_with(struct fixture *f, const char *kinds, sombra_slice value)
{
    sombra_slice encoded;
    uint64_t node;
    sombra_value_builder_reset(f->builder);
    sombra_value_begin_map(f->builder);
    sombra_value_push_key(f->builder, kinds, 1);
    sombra_value_push_encoded(f->builder, value);
    sombra_value_end_map(f->builder);
    assert_ok(sombra_value_finish(f->builder, &encoded));
    assert_ok(graph_node_create(&f->txn, &(sombra_slice){ "Thing", 5 }, 1, encoded, &node));
    return node;
}

static void test_index__one_equals_one_point_zero_and_zero_minus_zero(void **state)
{
    struct fixture *f = *state;
    uint64_t have[8];
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a)");
    uint64_t minus = thing_with(f, "a", value_of(f, "f", -0.0));
    uint64_t one = thing_with(f, "a", value_of(f, "i", (int64_t)1));
    uint64_t zero = thing_with(f, "a", value_of(f, "i", (int64_t)0));
    uint64_t one_float = thing_with(f, "a", value_of(f, "f", 1.0));
    sombra_slice equal = value_of(f, "f", 1.0);
    struct graph_index_range range = { .equal = &equal, .equal_count = 1 };
    assert_int_equal(scan_ids(f, rule, &range, false, have, 8), 2);
    assert_int_equal(have[0], one);
    assert_int_equal(have[1], one_float);
    equal = value_of(f, "f", 0.0);
    assert_int_equal(scan_ids(f, rule, &range, false, have, 8), 2);
    assert_int_equal(have[0], minus);
    assert_int_equal(have[1], zero);
    rollback(f);
}

static void test_index__an_integer_beyond_2_53_is_not_its_neighbour(void **state)
{
    struct fixture *f = *state;
    uint64_t have[8];
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a)");
    uint64_t above = thing_with(f, "a", value_of(f, "i", (int64_t)(1ll << 53) + 1));
    uint64_t at = thing_with(f, "a", value_of(f, "f", 0x1p53));
    sombra_slice bound = value_of(f, "f", 0x1p53);
    assert_int_equal(scan_ids(f, rule,
                              &(struct graph_index_range){ .low = bound, .excludes_low = true },
                              false, have, 8),
                     1);
    assert_int_equal(have[0], above);
    assert_int_equal(
        scan_ids(f, rule, &(struct graph_index_range){ .high = bound }, false, have, 8), 1);
    assert_int_equal(have[0], at);
    rollback(f);
}

static sombra_record record_kept(struct fixture *f, sombra_node_id node)
{
    sombra_record record;
    assert_ok(graph_node_get(&f->txn, node, &record));
    assert_ok(graph_record_open(value_keep(buf_slice(&f->txn.read)), true, &record));
    return record;
}

static void test_index__only_an_index_whose_value_changes_is_written(void **state)
{
    struct fixture *f = *state;
    uint64_t node;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Thing(a)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Thing(b)");
    (void)rule_new(f, SOMBRA_RULE_REQUIRED, "Thing(a)");
    assert_ok(graph_node_create(&f->txn, &(sombra_slice){ "Thing", 5 }, 1,
                                map_of(f, "iii", "a", 1, "b", 1, "c", 1), &node));
    sombra_record before = record_kept(f, node);
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "ffi", "a", 1.0, "b", 1.0, "c", 2),
                                GRAPH_MERGE));
    sombra_record after = record_kept(f, node);
    struct subject_change change = { .id = node, .before = &before, .after = &after };
    assert_ok(plan_change(&f->txn, &change));
    assert_int_equal(plan_size(&f->txn), 0);
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "b", 2), GRAPH_MERGE));
    after = record_kept(f, node);
    assert_ok(plan_change(&f->txn, &change));
    assert_int_equal(plan_size(&f->txn), 1);
    rollback(f);
}

static void test_index__a_scan_beside_writes_of_its_transaction_goes_on(void **state)
{
    struct fixture *f = *state;
    struct graph_index_scan *scan;
    const uint64_t *ids;
    size_t count, total = 0;
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a)");
    for (int i = 0; i < 1000; i++)
        (void)thing_with(f, "a", value_of(f, "i", (int64_t)i));
    assert_ok(graph_index_open(&f->txn, rule_get(f, rule), &(struct graph_index_range){ 0 }, false,
                               &scan));
    do { /* those it gave are moved in front of it */
        assert_ok(graph_index_next(scan, &ids, &count));
        for (size_t i = 0; i < count; i++)
            assert_ok(
                graph_node_change(&f->txn, ids[i], map_of(f, "i", "a", -1 - (int)i), GRAPH_MERGE));
        total += count;
    } while (count);
    graph_index_close(scan);
    assert_int_equal(total, 1000);
    assert_sound(f);
    rollback(f);
}

static void test_index__unready_indexes_and_constraints_are_not_scanned(void **state)
{
    struct fixture *f = *state;
    struct graph_index_scan *scan;
    uint32_t id;
    begin_write(f);
    sombra_rule rule = rule_from(SOMBRA_RULE_INDEX, "Thing(a)");
    assert_ok(graph_rule_begin(&f->txn, &rule, &id));
    assert_err(
        graph_index_open(&f->txn, rule_get(f, id), &(struct graph_index_range){ 0 }, false, &scan),
        SOMBRA_INVALID);
    id = rule_new(f, SOMBRA_RULE_REQUIRED, "Thing(b)");
    assert_err(
        graph_index_open(&f->txn, rule_get(f, id), &(struct graph_index_range){ 0 }, false, &scan),
        SOMBRA_INVALID);
    rollback(f);
}

/* Long runs: SOMBRA_LONG=1. */
static void test_index__a_million_entries_and_100_000_updates(void **state)
{
    struct fixture *f = *state;
    uint64_t counted, *have;
    size_t many = getenv("SOMBRA_LONG") ? 1000000 : 20000, updates = many / 10;
    sombra_slice *properties = calloc(many, sizeof *properties);
    uint8_t *bytes = malloc(many * 32), *at = bytes;
    uint64_t first;
    random_seed(&random_state, test_seed());
    for (size_t i = 0; i < many; i++) {
        sombra_slice map = map_of(f, "ii", "a", (int)below(many), "b", (int)i);
        assert_true(map.bytes <= 32);
        memcpy(at, map.data, map.bytes);
        properties[i] = slice_of(at, map.bytes);
        at += map.bytes;
    }
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a)");
    assert_ok(graph_node_create_many(&f->txn, &(sombra_slice){ "Thing", 5 }, 1, properties, many,
                                     &first));
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
    begin_write(f);
    for (size_t i = 0; i < updates; i++)
        assert_ok(graph_node_change(&f->txn, first + below(many),
                                    map_of(f, "i", "a", (int)below(many)), GRAPH_MERGE));
    uint32_t rebuilt = rule_new(f, SOMBRA_RULE_INDEX, "Thing(a,zz)");
    have = calloc(2 * many, sizeof *have);
    assert_int_equal(scan_ids(f, rule, NULL, false, have, many), many);
    assert_int_equal(scan_ids(f, rebuilt, NULL, false, have + many, many), many);
    assert_memory_equal(have, have + many, many * sizeof *have);
    assert_ok(
        graph_index_count(&f->txn, rule_get(f, rule), &(struct graph_index_range){ 0 }, &counted));
    assert_int_equal(counted, many);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
    free(have);
    free(bytes);
    free(properties);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_index__bytes_are_ordered_as_values),
        TEST(test_index__every_pair_of_hard_numbers_is_ordered),
        TEST(test_index__one_equals_one_point_zero_and_zero_minus_zero),
        TEST(test_index__an_integer_beyond_2_53_is_not_its_neighbour),
        TEST(test_index__only_an_index_whose_value_changes_is_written),
        TEST(test_index__a_scan_beside_writes_of_its_transaction_goes_on),
        TEST(test_index__unready_indexes_and_constraints_are_not_scanned),
        TEST(test_index__random_histories_keep_indexes_exact),
        TEST(test_index__a_million_entries_and_100_000_updates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
