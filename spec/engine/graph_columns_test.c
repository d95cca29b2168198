/* SPDX-License-Identifier: MIT */
/* Batches by columns: the same as by maps, under rules too; what is refused; lost memory. */
#include "graph_index_fixture.h"

#include "base/random.h"

enum { ROWS = 120, COLUMNS = 6 };

/* The same values by columns and by maps. */
struct both {
    int64_t integers[ROWS];
    double floats[ROWS];
    bool booleans[ROWS];
    sombra_slice strings[ROWS];
    sombra_slice any[2][ROWS]; /* of some kinds; of many rows nothing */
    char texts[ROWS][400];
    sombra_column columns[COLUMNS];
    sombra_columns all;
    sombra_slice maps[ROWS];
};

static void columns_fill(struct fixture *f, struct both *both, struct random *random)
{
    static const char *const names[COLUMNS] = { "key", "weight", "flag", "name", "any", "rare" };
    for (int i = 0; i < ROWS; i++) {
        int length = random_below(random, 20) ? (int)random_below(random, 30)
                                              : (int)random_below(random, sizeof both->texts[0]);
        both->integers[i] = (int64_t)random_u64(random) >> random_below(random, 64);
        both->floats[i] =
            (double)random_below(random, 1000) / (double)(1 + random_below(random, 9));
        both->booleans[i] = random_below(random, 2);
        memset(both->texts[i], 'a' + i % 26, sizeof both->texts[i]);
        both->texts[i][length] = 0;
        both->strings[i] = slice_str(both->texts[i]);
        both->any[0][i] = random_below(random, 4) ? value_of(f, "i", (int64_t)i) : NOTHING;
        if (i % 5 == 0)
            both->any[0][i] = value_keep(i % 2 ? slice_of("", 1) : value_of(f, "f", 1.5));
        both->any[1][i] = i == 7 ? value_of(f, "s", "seven") : NOTHING;
    }
    both->columns[0] = (sombra_column){ slice_str(names[0]),
                                        SOMBRA_COLUMN_INTEGER,
                                        { .integers = both->integers } };
    both->columns[1] =
        (sombra_column){ slice_str(names[1]), SOMBRA_COLUMN_FLOAT, { .floats = both->floats } };
    both->columns[2] = (sombra_column){ slice_str(names[2]),
                                        SOMBRA_COLUMN_BOOLEAN,
                                        { .booleans = both->booleans } };
    both->columns[3] =
        (sombra_column){ slice_str(names[3]), SOMBRA_COLUMN_STRING, { .strings = both->strings } };
    for (size_t i = 0; i < 2; i++)
        both->columns[4 + i] = (sombra_column){ slice_str(names[4 + i]),
                                                SOMBRA_COLUMN_ENCODED,
                                                { .encoded = both->any[i] } };
    both->all = (sombra_columns){ both->columns, COLUMNS, ROWS };
}

static void push_key(struct fixture *f, const char *name)
{
    assert_ok(sombra_value_push_key(f->builder, name, strlen(name)));
}

static void maps_fill(struct fixture *f, struct both *both)
{
    for (int i = 0; i < ROWS; i++) {
        sombra_slice encoded;
        sombra_value_builder_reset(f->builder);
        assert_ok(sombra_value_begin_map(f->builder));
        push_key(f, "key");
        assert_ok(sombra_value_push_integer(f->builder, both->integers[i]));
        push_key(f, "weight");
        assert_ok(sombra_value_push_float(f->builder, both->floats[i]));
        push_key(f, "flag");
        assert_ok(sombra_value_push_boolean(f->builder, both->booleans[i]));
        push_key(f, "name");
        assert_ok(
            sombra_value_push_string(f->builder, both->strings[i].data, both->strings[i].bytes));
        for (size_t j = 0; j < 2; j++) {
            if (both->any[j][i].bytes == 0)
                continue;
            push_key(f, j ? "rare" : "any");
            assert_ok(sombra_value_push_encoded(f->builder, both->any[j][i]));
        }
        assert_ok(sombra_value_end_map(f->builder));
        assert_ok(sombra_value_finish(f->builder, &encoded));
        both->maps[i] = value_keep(encoded);
    }
}

/* The bytes of a node's or edge's record behind its labels. */
static void assert_same_record(struct fixture *f, bool is_node, uint64_t a, uint64_t b)
{
    uint8_t bytes[8192];
    sombra_slice values[2];
    for (int i = 0; i < 2; i++) {
        struct graph_edge edge;
        sombra_record record;
        if (is_node) {
            assert_ok(graph_node_get(&f->txn, i ? b : a, &record));
        } else {
            assert_ok(graph_edge_ends(&f->txn, i ? b : a, &edge));
            assert_ok(graph_edge_record(&f->txn, &edge, &record));
        }
        values[i] = f->txn.read.bytes ? buf_slice(&f->txn.read) : NOTHING;
        if (i == 0) {
            assert_true(values[0].bytes <= sizeof bytes);
            if (values[0].bytes)
                memcpy(bytes, values[0].data, values[0].bytes);
            values[0].data = bytes;
        }
    }
    assert_true(slice_equal(values[0], values[1]));
}

/* Records are built when they are put, unless a rule looks at them or one may be long. */
enum columns_case { ROWS_WAIT, ROWS_ARE_CHECKED, ROWS_ARE_LONG };

static void nodes_made_alike(struct fixture *f, enum columns_case which)
{
    static struct both both;
    static char long_text[5000];
    struct random random;
    sombra_slice labels[2] = { person, { "Author", 6 } };
    uint64_t by_maps, by_columns;
    random_seed(&random, test_seed());
    begin_write(f);
    columns_fill(f, &both, &random);
    both.strings[1] = slice_of("a\0b\0", 4);
    if (which == ROWS_ARE_LONG)
        both.strings[3] = slice_of(memset(long_text, 'x', sizeof long_text), sizeof long_text);
    maps_fill(f, &both);
    uint32_t indexes[] = { rule_new(f, SOMBRA_RULE_INDEX, "Person(key)"),
                           rule_new(f, SOMBRA_RULE_INDEX, "Person(name)"),
                           rule_new(f, SOMBRA_RULE_INDEX, "Person(flag)"),
                           rule_new(f, SOMBRA_RULE_INDEX, "Person(name,any)"),
                           rule_new(f, SOMBRA_RULE_INDEX, "Author(any,weight,rare)"),
                           rule_new(f, SOMBRA_RULE_INDEX, "Author(rare)"),
                           rule_new(f, SOMBRA_RULE_INDEX, "Author(absent)"),
                           rule_new(f, SOMBRA_RULE_UNIQUE, "Person(flag,absent)") };
    if (which == ROWS_ARE_CHECKED)
        (void)rule_new(f, SOMBRA_RULE_REQUIRED, "Author(name)");
    assert_ok(graph_node_create_many(&f->txn, labels, 2, both.maps, ROWS, &by_maps));
    uint64_t entries[COUNT_OF(indexes)];
    for (size_t i = 0; i < COUNT_OF(indexes); i++)
        entries[i] = entries_of(f, indexes[i]);
    assert_ok(graph_node_create_columns(&f->txn, labels, 2, &both.all, &by_columns));
    assert_int_equal(by_columns, by_maps + ROWS);
    for (uint64_t i = 0; i < ROWS; i++)
        assert_same_record(f, true, by_maps + i, by_columns + i);
    for (size_t i = 0; i < COUNT_OF(indexes); i++)
        assert_int_equal(entries_of(f, indexes[i]), 2 * entries[i]);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

static void test_columns__make_the_nodes_that_maps_make(void **state)
{
    nodes_made_alike(*state, ROWS_WAIT);
}

static void test_columns__under_a_rule_make_the_nodes_that_maps_make(void **state)
{
    nodes_made_alike(*state, ROWS_ARE_CHECKED);
}

static void test_columns__of_long_values_make_the_nodes_that_maps_make(void **state)
{
    nodes_made_alike(*state, ROWS_ARE_LONG);
}

static void test_columns__make_the_edges_that_rows_make(void **state)
{
    struct fixture *f = *state;
    static struct both both;
    struct random random;
    sombra_new_edge edges[ROWS];
    uint64_t sources[ROWS], targets[ROWS], by_rows, by_columns;
    random_seed(&random, test_seed());
    begin_write(f);
    columns_fill(f, &both, &random);
    maps_fill(f, &both);
    uint32_t index = rule_new(f, SOMBRA_RULE_INDEX, ">KNOWS(key)");
    for (int i = 0; i < 20; i++)
        (void)node_new(f, NULL);
    for (int i = 0; i < ROWS; i++) {
        sources[i] = 1 + random_below(&random, 20);
        targets[i] = 1 + random_below(&random, 20);
        edges[i] = (sombra_new_edge){ sources[i], targets[i], both.maps[i] };
    }
    assert_ok(graph_edge_create_many(&f->txn, text("KNOWS"), edges, ROWS, &by_rows));
    assert_ok(graph_edge_create_columns(&f->txn, text("KNOWS"), sources, targets, &both.all,
                                        &by_columns));
    assert_int_equal(by_columns, by_rows + ROWS);
    for (uint64_t i = 0; i < ROWS; i++) {
        struct graph_edge ends;
        assert_ok(graph_edge_ends(&f->txn, by_columns + i, &ends));
        assert_int_equal(ends.src, sources[i]);
        assert_int_equal(ends.dst, targets[i]);
        assert_same_record(f, false, by_rows + i, by_columns + i);
    }
    assert_int_equal(entries_of(f, index), 2 * ROWS);
    const sombra_columns bare = { NULL, 0, ROWS };
    assert_ok(graph_edge_create_columns(&f->txn, text("KNOWS"), sources, targets, &bare, &by_rows));
    assert_string_equal(edge_text(f, by_rows + 3), "");
    assert_sound(f);
    targets[ROWS - 1] = 99;
    assert_err(graph_edge_create_columns(&f->txn, text("KNOWS"), sources, targets, &bare, &by_rows),
               SOMBRA_NOT_FOUND);
    assert_int_equal(edges_of(f, "KNOWS"), 3 * ROWS);
    assert_sound(f);
    rollback(f);
}

static void test_columns__of_nothing_but_nulls_make_no_name(void **state)
{
    struct fixture *f = *state;
    const sombra_slice values[3] = { NOTHING, { "", 1 } /* null */, NOTHING };
    const sombra_column column = { text("ghost"), SOMBRA_COLUMN_ENCODED, { .encoded = values } };
    uint64_t first;
    uint32_t name;
    begin_write(f);
    assert_ok(
        graph_node_create_columns(&f->txn, &person, 1, &(sombra_columns){ &column, 1, 3 }, &first));
    assert_string_equal(node_text(f, first + 2), "");
    assert_ok(graph_name_find(&f->txn, SOMBRA_NAME_PROPERTY, text("ghost"), &name));
    assert_int_equal(name, 0);
    assert_ok(
        graph_node_create_columns(&f->txn, &person, 1, &(sombra_columns){ NULL, 0, 0 }, &first));
    assert_int_equal(nodes_of(f, NULL), 3);
    assert_sound(f);
    rollback(f);
}

static void test_columns__refused_leave_nothing(void **state)
{
    struct fixture *f = *state;
    static const int64_t integers[3] = { 1, 2, 2 };
    const sombra_slice broken[3] = { NOTHING, { "\xff", 1 }, NOTHING };
    const sombra_column key = { text("key"), SOMBRA_COLUMN_INTEGER, { .integers = integers } };
    const struct {
        sombra_column second;
        sombra_err err;
    } cases[] = {
        { { text("key"), SOMBRA_COLUMN_INTEGER, { .integers = integers } }, SOMBRA_INVALID },
        { { text("a"), SOMBRA_COLUMN_ENCODED, { .encoded = broken } }, SOMBRA_INVALID },
        { { text("a"), (sombra_column_kind)77, { .integers = integers } }, SOMBRA_INVALID },
        { { text("a"), SOMBRA_COLUMN_INTEGER, { .integers = NULL } }, SOMBRA_INVALID },
        { { text(""), SOMBRA_COLUMN_INTEGER, { .integers = integers } }, SOMBRA_INVALID },
        { { text("a"), SOMBRA_COLUMN_INTEGER, { .integers = integers } }, SOMBRA_UNIQUE },
    };
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(key)");
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const sombra_column columns[2] = { key, cases[i].second };
        uint64_t first = 0;
        assert_err(graph_node_create_columns(&f->txn, &person, 1,
                                             &(sombra_columns){ columns, 2, 3 }, &first),
                   cases[i].err);
        assert_int_equal(first, 0);
        assert_int_equal(nodes_of(f, NULL), 0);
        assert_sound(f);
    }
    rollback(f);
    begin_read(f);
    uint64_t first;
    assert_err(
        graph_node_create_columns(&f->txn, &person, 1, &(sombra_columns){ &key, 1, 3 }, &first),
        SOMBRA_READONLY);
    rollback(f);
}

static void test_columns__out_of_memory_at_any_point_undoes_cleanly(void **state)
{
    struct fixture *f = *state;
    static struct both both;
    struct random random;
    sombra_err err = SOMBRA_NOMEM;
    random_seed(&random, test_seed());
    columns_fill(f, &both, &random);
    for (int i = 0; i < ROWS; i++)
        both.integers[i] = 7 * i % ROWS; /* no two alike */
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(any,name)");
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(name)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, ">KNOWS(key)");
    commit(f);
    uint64_t sources[ROWS];
    for (int i = 0; i < ROWS; i++)
        sources[i] = 1 + (uint64_t)(ROWS - i) / 2;
    for (uint64_t nth = 1; err; nth++) {
        uint64_t first;
        begin_write(f);
        mem_test_fail_at(nth, nth % 2);
        err = graph_node_create_columns(&f->txn, &person, 1, &both.all, &first);
        if (!err)
            err = graph_edge_create_columns(&f->txn, text("KNOWS"), sources, sources, &both.all,
                                            &first);
        mem_test_fail_at(0, false);
        if (err)
            assert_err(err, SOMBRA_NOMEM);
        rollback(f);
        begin_read(f);
        assert_int_equal(nodes_of(f, NULL), 0);
        assert_sound(f);
        rollback(f);
        assert_true(nth < 3000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_columns__make_the_nodes_that_maps_make),
        TEST(test_columns__under_a_rule_make_the_nodes_that_maps_make),
        TEST(test_columns__of_long_values_make_the_nodes_that_maps_make),
        TEST(test_columns__make_the_edges_that_rows_make),
        TEST(test_columns__of_nothing_but_nulls_make_no_name),
        TEST(test_columns__refused_leave_nothing),
        TEST(test_columns__out_of_memory_at_any_point_undoes_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
