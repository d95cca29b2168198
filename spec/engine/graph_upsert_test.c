/* SPDX-License-Identifier: MIT */
/* Find, upsert and batches under rules; random histories against a table; lost memory. */
#include "graph_index_fixture.h"

#include "base/random.h"

/* ---- find and upsert --------------------------------------------------------------------- */

static void test_find__takes_the_index_of_just_these_properties(void **state)
{
    struct fixture *f = *state;
    uint64_t node;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(name,born)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(born)");
    uint64_t ada = person_new(f, map_of(f, "si", "name", "Ada", "born", 1815));
    (void)person_new(f, map_of(f, "si", "name", "Ada", "born", 1815));
    assert_int_equal(find(f, map_of(f, "is", "born", 1815, "name", "Ada")), ada);
    assert_int_equal(find(f, map_of(f, "f", "born", 1815.0)), ada);
    assert_int_equal(find(f, map_of(f, "i", "born", 1816)), 0);
    assert_err(graph_node_find(&f->txn, person, map_of(f, "s", "name", "Ada"), &node),
               SOMBRA_INVALID);
    assert_err(graph_node_find(&f->txn, person, map_of(f, "n", "born"), &node), SOMBRA_INVALID);
    assert_err(graph_node_find(&f->txn, person, NOTHING, &node), SOMBRA_INVALID);
    assert_err(graph_node_find(&f->txn, text("Nobody"), map_of(f, "i", "born", 1), &node),
               SOMBRA_INVALID);
    rollback(f);
}

static void test_find__by_one_property_takes_a_value_that_is_not_encoded(void **state)
{
    struct fixture *f = *state;
    uint64_t nodes[7], found = 0;
    char *texts[] = { long_text('a'), long_text('b') };
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(name,born)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(born)");
    const sombra_value values[] = {
        { .kind = SOMBRA_INTEGER, .as.integer = 1815 },
        { .kind = SOMBRA_FLOAT, .as.real = 0.5 },
        { .kind = SOMBRA_BOOLEAN, .as.boolean = true },
        { .kind = SOMBRA_STRING, .as.string = text("early") },
        { .kind = SOMBRA_STRING, .as.string = text(texts[0]) },
        { .kind = SOMBRA_STRING, .as.string = text(texts[1]) },
        { .kind = SOMBRA_LIST },
    };
    nodes[0] = person_new(f, map_of(f, "i", "born", 1815));
    nodes[1] = person_new(f, map_of(f, "f", "born", 0.5));
    nodes[2] = person_new(f, map_of(f, "b", "born", true));
    nodes[3] = person_new(f, map_of(f, "s", "born", "early"));
    nodes[4] = person_new(f, map_of(f, "s", "born", texts[0]));
    nodes[5] = person_new(f, map_of(f, "s", "born", texts[1]));
    nodes[6] = person_new(f, map_of(f, "l", "born"));
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        assert_ok(graph_node_find_by(&f->txn, person, text("born"), &values[i], &found));
        assert_int_equal(found, nodes[i]);
    }
    sombra_value value = { .kind = SOMBRA_FLOAT, .as.real = 1815.0 };
    assert_ok(graph_node_find_by(&f->txn, person, text("born"), &value, &found));
    assert_int_equal(found, nodes[0]);
    value = (sombra_value){ .kind = SOMBRA_INTEGER, .as.integer = 1816 };
    assert_int_equal(graph_node_find_by(&f->txn, person, text("born"), &value, &found),
                     SOMBRA_NOT_FOUND);
    assert_err(graph_node_find_by(&f->txn, person, text("name"), &value, &found), SOMBRA_INVALID);
    assert_err(graph_node_find_by(&f->txn, person, text("none"), &value, &found), SOMBRA_INVALID);
    assert_err(graph_node_find_by(&f->txn, text("Nobody"), text("born"), &value, &found),
               SOMBRA_INVALID);
    value.kind = SOMBRA_NULL;
    assert_err(graph_node_find_by(&f->txn, person, text("born"), &value, &found), SOMBRA_INVALID);
    rollback(f);
}

static void test_upsert__creates_once_and_merges_then(void **state)
{
    struct fixture *f = *state;
    uint64_t first, second;
    bool created;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    sombra_slice key = value_keep(map_of(f, "s", "name", "Ada"));
    assert_ok(graph_node_upsert(&f->txn, person, key, map_of(f, "ii", "born", 1815, "x", 1), &first,
                                &created));
    assert_true(created);
    assert_string_equal(node_text(f, first), "name='Ada' born=1815 x=1");
    assert_ok(graph_node_upsert(&f->txn, person, key, map_of(f, "in", "born", 1816, "x"), &second,
                                &created));
    assert_false(created);
    assert_int_equal(first, second);
    assert_string_equal(node_text(f, first), "name='Ada' born=1816");
    assert_ok(graph_node_upsert(&f->txn, person, key, NOTHING, &second, &created));
    assert_false(created);
    assert_err(
        graph_node_upsert(&f->txn, person, map_of(f, "i", "born", 1), NOTHING, &second, &created),
        SOMBRA_INVALID);
    assert_int_equal(nodes_of(f, "Person"), 1);
    assert_sound(f);
    rollback(f);
}

static void test_upsert__of_an_edge_is_by_its_ends(void **state)
{
    struct fixture *f = *state;
    uint64_t first, second;
    bool created;
    begin_write(f);
    const struct graph_edge ends = { .src = node_new(f, NULL), .dst = node_new(f, NULL) };
    assert_ok(graph_edge_upsert(&f->txn, &ends, text("KNOWS"), map_of(f, "i", "since", 1), &first,
                                &created));
    assert_true(created);
    assert_ok(graph_edge_upsert(&f->txn, &ends, text("KNOWS"), map_of(f, "i", "weight", 2), &second,
                                &created));
    assert_false(created);
    assert_int_equal(first, second);
    assert_string_equal(edge_text(f, first), "since=1 weight=2");
    const struct graph_edge nowhere = { .src = ends.src, .dst = 99 };
    assert_err(graph_edge_upsert(&f->txn, &nowhere, text("KNOWS"), NOTHING, &second, &created),
               SOMBRA_NOT_FOUND);
    assert_sound(f);
    rollback(f);
}

static struct kv_stats stats_of(struct fixture *f)
{
    struct kv_maintenance job = { .kind = KV_STATS };
    assert_ok(kv_maintain(f->kv, &job));
    return job.stats;
}

static void write_the_same(struct fixture *f, sombra_slice key, const struct graph_edge *ends,
                           uint64_t node, uint64_t edge)
{
    uint64_t found;
    bool is_new;
    assert_ok(graph_node_upsert(&f->txn, person, key, map_of(f, "ii", "born", 1815, "x", 1), &found,
                                &is_new));
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "x", 1), GRAPH_MERGE));
    assert_ok(graph_node_change(
        &f->txn, node, map_of(f, "isi", "x", 1, "name", "Ada", "born", 1815), GRAPH_REPLACE));
    assert_ok(graph_edge_upsert(&f->txn, ends, text("KNOWS"), map_of(f, "i", "since", 1), &found,
                                &is_new));
    assert_ok(graph_edge_change(&f->txn, edge, map_of(f, "i", "since", 1), GRAPH_MERGE));
}

static void test_upsert__of_what_is_there_commits_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t node, edge;
    bool is_new;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(born)");
    sombra_slice key = value_keep(map_of(f, "s", "name", "Ada"));
    assert_ok(graph_node_upsert(&f->txn, person, key, map_of(f, "ii", "born", 1815, "x", 1), &node,
                                &is_new));
    const struct graph_edge ends = { .src = node, .dst = node_new(f, NULL) };
    assert_ok(graph_edge_upsert(&f->txn, &ends, text("KNOWS"), map_of(f, "i", "since", 1), &edge,
                                &is_new));
    commit(f);
    struct kv_stats before = stats_of(f);
    begin_write(f);
    uint64_t writes = f->txn.writes;
    write_the_same(f, key, &ends, node, edge);
    assert_int_equal(f->txn.writes, writes);
    commit(f);
    if (strcmp(f->kv->ops->name, "model") != 0) { /* which counts every commit */
        assert_int_equal(stats_of(f).txn, before.txn);
        assert_int_equal(stats_of(f).lsn, before.lsn);
    }
    begin_write(f); /* and a change among them is one */
    write_the_same(f, key, &ends, node, edge);
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "born", 1816), GRAPH_MERGE));
    commit(f);
    assert_true(stats_of(f).txn > before.txn);
    begin_read(f);
    assert_int_equal(find(f, map_of(f, "i", "born", 1816)), node);
    assert_sound(f);
    rollback(f);
}

/* ---- batches ----------------------------------------------------------------------------- */

static void test_batch__makes_nodes_as_single_calls_do(void **state)
{
    struct fixture *f = *state;
    sombra_slice properties[500];
    sombra_slice labels[2] = { person, { "Author", 6 } };
    uint64_t first;
    begin_write(f);
    (void)node_new(f, NULL);
    uint32_t unique = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    uint32_t index = rule_new(f, SOMBRA_RULE_INDEX, "Author(even,key)");
    (void)rule_new(f, SOMBRA_RULE_REQUIRED, "Author(key)");
    for (int i = 0; i < 500; i++)
        properties[i] = value_keep(map_of(f, "iis", "key", 499 - i, "even", i % 2, "name", "x"));
    assert_ok(graph_node_create_many(&f->txn, labels, 2, properties, 500, &first));
    assert_int_equal(first, 2);
    assert_string_equal(labels_text(f, first + 499), "Person,Author");
    assert_string_equal(node_text(f, first + 1), "key=498 even=1 name='x'");
    assert_int_equal(entries_of(f, unique), 500);
    assert_int_equal(entries_of(f, index), 500);
    assert_int_equal(node_new(f, NULL), first + 500);
    assert_ok(graph_node_create_many(&f->txn, NULL, 0, NULL, 0, &first));
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

/* Among keys that are cut, hashes order, not the values behind the cut. */
static void test_batch__values_alike_beyond_the_cut_are_all_indexed(void **state)
{
    struct fixture *f = *state;
    sombra_slice properties[40];
    char long_text[600];
    uint64_t first;
    memset(long_text, 'x', sizeof long_text);
    begin_write(f);
    uint32_t unique = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    for (int i = 0; i < 40; i++) {
        snprintf(long_text + 500, 16, "%d", i);
        properties[i] = value_keep(map_of(f, "s", "key", long_text));
    }
    assert_ok(graph_node_create_many(&f->txn, &person, 1, properties, 40, &first));
    assert_int_equal(entries_of(f, unique), 40);
    assert_sound(f);
    assert_err(graph_node_create_many(&f->txn, &person, 1, properties + 39, 1, &first),
               SOMBRA_UNIQUE);
    rollback(f);
}

static void test_batch__refused_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    sombra_slice properties[4];
    uint64_t first = 0;
    begin_write(f);
    uint32_t unique = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    uint64_t seven = person_new(f, map_of(f, "i", "key", 7));
    static const int keys[][4] = { { 1, 2, 3, 2 }, { 1, 7, 2, 3 } };
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++)
            properties[i] = value_keep(map_of(f, "i", "key", keys[round][i]));
        assert_err(graph_node_create_many(&f->txn, &person, 1, properties, 4, &first),
                   SOMBRA_UNIQUE);
        assert_violation(f, unique, "key", round ? seven : seven + 2);
        assert_int_equal(nodes_of(f, NULL), 1);
        assert_sound(f);
    }
    properties[3] = text("\xff");
    assert_err(graph_node_create_many(&f->txn, &person, 1, properties, 4, &first), SOMBRA_INVALID);
    assert_int_equal(first, 0);
    assert_int_equal(nodes_of(f, NULL), 1);
    assert_int_equal(person_new(f, NOTHING), seven + 1);
    assert_sound(f);
    rollback(f);
}

static void test_batch__makes_edges_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct random random;
    sombra_new_edge edges[600];
    uint64_t first, out = 0;
    begin_write(f);
    random_seed(&random, test_seed());
    uint32_t index = rule_new(f, SOMBRA_RULE_INDEX, ">KNOWS(key)");
    for (int i = 0; i < 50; i++)
        (void)node_new(f, NULL);
    (void)edge_new(f, 1, "KNOWS", 2);
    for (int i = 0; i < 600; i++) {
        edges[i] = (sombra_new_edge){ .src = 1 + random_below(&random, 50),
                                      .dst = 1 + random_below(&random, 50),
                                      .properties =
                                          i % 3 ? NOTHING : value_keep(map_of(f, "i", "key", i)) };
        out += edges[i].src == 1;
    }
    assert_ok(graph_edge_create_many(&f->txn, text("KNOWS"), edges, 600, &first));
    assert_int_equal(first, 2);
    for (uint64_t i = 0; i < 600; i += 37) {
        struct graph_edge ends;
        assert_ok(graph_edge_ends(&f->txn, first + i, &ends));
        assert_int_equal(ends.src, edges[i].src);
        assert_int_equal(ends.dst, edges[i].dst);
    }
    assert_string_equal(edge_text(f, first + 3), "key=3");
    assert_int_equal(degree_of(f, 1, SOMBRA_OUT, "KNOWS"), out + 1);
    assert_int_equal(edges_of(f, "KNOWS"), 601);
    assert_int_equal(entries_of(f, index), 200);
    assert_sound(f);
    edges[300].dst = 77;
    assert_err(graph_edge_create_many(&f->txn, text("KNOWS"), edges, 600, &first),
               SOMBRA_NOT_FOUND);
    assert_int_equal(edges_of(f, "KNOWS"), 601);
    assert_int_equal(edge_new(f, 1, "KNOWS", 2), first + 600);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

/* So many that they are sorted another way. */
static void makes_thousands(struct fixture *f, uint64_t sources, uint64_t targets)
{
    enum { NODES = 3000, EDGES = 20000 };
    struct random random;
    sombra_slice *nothing = calloc(NODES, sizeof *nothing);
    sombra_new_edge *edges = calloc(EDGES, sizeof *edges);
    uint64_t first, node, out[2] = { 0, 0 };
    random_seed(&random, test_seed());
    begin_write(f);
    assert_ok(graph_node_create_many(&f->txn, NULL, 0, nothing, NODES, &node));
    for (int i = 0; i < EDGES; i++) {
        edges[i].src = NODES - random_below(&random, sources);
        edges[i].dst = 1 + random_below(&random, i % 2 ? targets : u64_min(targets, 3));
        out[0] += edges[i].src == NODES;
        out[1] += edges[i].dst == 2;
    }
    assert_ok(graph_edge_create_many(&f->txn, text("KNOWS"), edges, EDGES, &first));
    for (uint64_t i = 0; i < EDGES; i++) {
        struct graph_edge ends;
        assert_ok(graph_edge_ends(&f->txn, first + i, &ends));
        assert_true(ends.src == edges[i].src && ends.dst == edges[i].dst);
    }
    assert_int_equal(degree_of(f, NODES, SOMBRA_OUT, NULL), out[0]);
    assert_int_equal(degree_of(f, 2, SOMBRA_IN, NULL), out[1]);
    assert_sound(f);
    rollback(f);
    free(edges);
    free(nothing);
}

static void test_batch__makes_thousands_of_edges_in_any_order(void **state)
{
    makes_thousands(*state, 3000, 3000);
    makes_thousands(*state, 3000, 1);
    makes_thousands(*state, 1, 3000);
    makes_thousands(*state, 2, 1);
}

/* ---- random histories against a table ------------------------------------------------------ */

enum { ROWS = 120, KEYS = 14, SECONDS = 3, MISSING = 99 };

/* What is wanted of each node: unique (key), unique (key, second), required (key). */
struct row {
    bool exists, is_person;
    int key, second;
};
struct table {
    struct row rows[ROWS];
    uint64_t next;
};

static bool clashes(const struct row *a, const struct row *b)
{
    return a->exists && b->exists && a->is_person && b->is_person && a->second != MISSING &&
           a->key == b->key && a->second == b->second;
}

/* SOMBRA_OK if the row may stand in the table at `id`. */
static sombra_err verdict(const struct table *table, uint64_t id, const struct row *row)
{
    if (row->exists && row->is_person && row->key == MISSING)
        return SOMBRA_CONSTRAINT;
    for (uint64_t other = 1; other < table->next; other++) {
        if (other != id && clashes(row, &table->rows[other]))
            return SOMBRA_UNIQUE;
    }
    return SOMBRA_OK;
}

static sombra_slice row_map(struct fixture *f, struct random *random, const struct row *row)
{
    bool is_float = random_below(random, 2);
    sombra_value_builder *b = f->builder;
    sombra_slice encoded;
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    if (row->key != MISSING) {
        sombra_value_push_key(b, "key", 3);
        if (row->key % 3 == 0) {
            const char *text_key = long_text((char)('a' + row->key));
            sombra_value_push_string(b, text_key, strlen(text_key));
        } else if (is_float) {
            sombra_value_push_float(b, row->key);
        } else {
            sombra_value_push_integer(b, row->key);
        }
    }
    if (row->second != MISSING) {
        sombra_value_push_key(b, "second", 6);
        sombra_value_push_integer(b, row->second);
    }
    sombra_value_end_map(b);
    assert_ok(sombra_value_finish(b, &encoded));
    return value_keep(encoded);
}

static struct row some_row(struct random *random)
{
    return (struct row){
        .exists = true,
        .is_person = random_below(random, 4) != 0,
        .key = random_below(random, 12) ? (int)random_below(random, KEYS) : MISSING,
        .second = random_below(random, 5) ? (int)random_below(random, SECONDS) : MISSING
    };
}

static void table_batch(struct fixture *f, struct random *random, struct table *table)
{
    struct table tried = *table;
    sombra_slice maps[4];
    uint64_t first;
    size_t count = 1 + (size_t)random_below(random, 4);
    bool may = true, required = true;
    if (table->next + count >= ROWS)
        return;
    for (size_t i = 0; i < count; i++) {
        struct row row = some_row(random);
        row.is_person = true;
        maps[i] = row_map(f, random, &row);
        sombra_err wanted = verdict(&tried, 0, &row);
        may = may && !wanted;
        required = required && wanted != SOMBRA_CONSTRAINT;
        tried.rows[tried.next++] = row;
    }
    sombra_err err = graph_node_create_many(&f->txn, &person, 1, maps, count, &first);
    if (may) {
        assert_ok(err);
        assert_int_equal(first, table->next);
        *table = tried;
    } else {
        assert_true(err == SOMBRA_UNIQUE || err == SOMBRA_CONSTRAINT);
        if (required)
            assert_err(err, SOMBRA_UNIQUE);
    }
}

static void table_step(struct fixture *f, struct random *random, struct table *table)
{
    uint64_t id = 1 + random_below(random, table->next), made;
    struct row row = some_row(random), *old = &table->rows[id];
    sombra_err wanted = SOMBRA_NOT_FOUND, err;
    bool changed;
    switch (random_below(random, 5)) {
    case 0:
        if (table->next + 1 >= ROWS)
            return;
        id = table->next;
        wanted = verdict(table, id, &row);
        err = graph_node_create(&f->txn, &person, row.is_person, row_map(f, random, &row), &made);
        if (!err) {
            assert_int_equal(made, id);
            table->next++;
        }
        break;
    case 1:
        row.is_person = old->is_person;
        err = graph_node_change(&f->txn, id, row_map(f, random, &row), GRAPH_REPLACE);
        if (old->exists)
            wanted = verdict(table, id, &row);
        break;
    case 2:
        row.key = old->key;
        row.second = old->second;
        err = row.is_person ? graph_node_add_label(&f->txn, id, person, &changed)
                            : graph_node_remove_label(&f->txn, id, person, &changed);
        if (old->exists)
            wanted = verdict(table, id, &row);
        break;
    case 3:
        row = (struct row){ .exists = false };
        err = graph_node_delete(&f->txn, id, false);
        if (old->exists)
            wanted = SOMBRA_OK;
        break;
    default:
        table_batch(f, random, table);
        return;
    }
    assert_err(err, wanted);
    if (!err)
        table->rows[id] = row;
}

static void table_compare(struct fixture *f, const struct table *table, uint32_t rule)
{
    uint64_t members = 0;
    for (uint64_t id = 1; id < table->next; id++)
        members += table->rows[id].exists && table->rows[id].is_person;
    assert_int_equal(entries_of(f, rule), members);
    for (int key = 0; key < KEYS; key++) {
        const struct row wanted = { true, true, key, 1 };
        struct random random = { 7 };
        uint64_t found = find(f, row_map(f, &random, &wanted)), holder = 0;
        for (uint64_t id = 1; id < table->next; id++) {
            if (clashes(&wanted, &table->rows[id]))
                holder = id;
        }
        assert_int_equal(found, holder);
    }
    assert_sound(f);
}

static void test_rule__random_histories_are_refused_as_the_table_says(void **state)
{
    struct fixture *f = *state;
    static struct table now, marked, committed;
    struct random random;
    uint64_t mark = 0;
    random_seed(&random, test_seed());
    memset(&now, 0, sizeof now);
    now.next = 1;
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key,second)");
    (void)rule_new(f, SOMBRA_RULE_REQUIRED, "Person(key)");
    commit(f);
    begin_write(f);
    committed = now;
    for (int step = 1; step <= 1200; step++) {
        table_step(f, &random, &now);
        if (step % 40 == 5) {
            assert_ok(graph_txn_savepoint(&f->txn, &mark));
            marked = now;
        } else if (step % 40 == 20 && random_below(&random, 2)) {
            uint64_t next = now.next; /* ids that a rollback to a savepoint undid stay used */
            assert_ok(graph_txn_rollback_to(&f->txn, mark));
            now = marked;
            now.next = next;
        } else if (step % 40 == 0) {
            bool is_kept = random_below(&random, 3) != 0;
            if (is_kept)
                commit(f);
            else
                rollback(f);
            now = is_kept ? now : committed;
            committed = now;
            begin_write(f);
            table_compare(f, &now, rule);
        }
    }
    rollback(f);
}

/* ---- memory runs out ---------------------------------------------------------------------- */

static sombra_err try_everything(struct fixture *f, const sombra_slice *maps)
{
    sombra_rule index = rule_from(SOMBRA_RULE_INDEX, "Person(even,key)");
    sombra_rule unique = rule_from(SOMBRA_RULE_UNIQUE, "Person(key)");
    sombra_rule edges = rule_from(SOMBRA_RULE_INDEX, ">KNOWS(key)");
    struct graph_index_scan *scan = NULL;
    const sombra_new_edge new_edges[2] = { { 2, 1, maps[0] }, { 1, 2, maps[1] } };
    const struct graph_rule *rules;
    const uint64_t *ids;
    uint64_t node;
    size_t count;
    bool created;
    uint32_t id, label;
    sombra_err err = graph_rule_create(&f->txn, &index, NULL, &id);
    if (!err)
        err = graph_rule_create(&f->txn, &unique, NULL, &id);
    if (!err)
        err = graph_rule_create(&f->txn, &edges, NULL, &id);
    if (!err)
        err = graph_node_create_many(&f->txn, &person, 1, maps, 3, &node);
    if (!err)
        err = graph_edge_create_many(&f->txn, text("KNOWS"), new_edges, 2, &node);
    if (!err)
        err = graph_node_upsert(&f->txn, person, maps[3], NOTHING, &node, &created);
    if (!err)
        err = graph_node_change(&f->txn, 1, maps[4], GRAPH_MERGE);
    if (!err)
        err = graph_name_find(&f->txn, SOMBRA_NAME_LABEL, person, &label);
    if (!err)
        err = graph_rules_of(&f->txn, false, label, &rules, &count);
    if (!err)
        err = graph_index_open(&f->txn, &rules[0], &(struct graph_index_range){ 0 }, false, &scan);
    if (!err)
        err = graph_index_next(scan, &ids, &count);
    graph_index_close(scan);
    return err;
}

static void test_rule__out_of_memory_at_any_point_undoes_cleanly(void **state)
{
    struct fixture *f = *state;
    sombra_slice maps[5];
    sombra_err err = SOMBRA_NOMEM;
    for (int i = 0; i < 5; i++)
        maps[i] = value_keep(i == 3 ? map_of(f, "i", "key", 103)
                                    : map_of(f, "is", "key", 100 + i, "even", long_text('z')));
    begin_write(f);
    persons_new(f, 30);
    commit(f);
    for (uint64_t nth = 1; err; nth++) {
        begin_write(f);
        mem_test_fail_at(nth, nth % 2);
        err = try_everything(f, maps);
        mem_test_fail_at(0, false);
        if (err)
            assert_err(err, SOMBRA_NOMEM);
        rollback(f);
        begin_read(f);
        assert_no_rules(f);
        assert_int_equal(nodes_of(f, NULL), 30);
        assert_sound(f);
        rollback(f);
        assert_true(nth < 2000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_find__takes_the_index_of_just_these_properties),
        TEST(test_find__by_one_property_takes_a_value_that_is_not_encoded),
        TEST(test_upsert__creates_once_and_merges_then),
        TEST(test_upsert__of_an_edge_is_by_its_ends),
        TEST(test_upsert__of_what_is_there_commits_nothing),
        TEST(test_batch__makes_nodes_as_single_calls_do),
        TEST(test_batch__values_alike_beyond_the_cut_are_all_indexed),
        TEST(test_batch__refused_leaves_nothing),
        TEST(test_batch__makes_edges_in_any_order),
        TEST(test_batch__makes_thousands_of_edges_in_any_order),
        TEST(test_rule__random_histories_are_refused_as_the_table_says),
        TEST(test_rule__out_of_memory_at_any_point_undoes_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
