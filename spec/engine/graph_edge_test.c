/* SPDX-License-Identifier: MIT */
#include "graph/graph_internal.h"
#include "graph_fixture.h"

static void test_edge__keeps_ends_type_and_properties(void **state)
{
    struct fixture *f = *state;
    struct graph_edge ends;
    sombra_edge_id edge;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    assert_ok(graph_edge_create(&f->txn, &(struct graph_edge){ .src = a, .dst = b },
                                text("FOLLOWS"), map_of(f, "if", "since", 2026, "weight", 0.5),
                                &edge));
    assert_int_equal(edge, 1);
    commit(f);
    begin_write(f);
    assert_ok(graph_edge_ends(&f->txn, edge, &ends));
    assert_int_equal(ends.src, a);
    assert_int_equal(ends.dst, b);
    assert_string_equal(edge_text(f, edge), "since=2026 weight=0.500000");
    assert_ok(graph_edge_change(&f->txn, edge, map_of(f, "ni", "since", "n", 3), GRAPH_MERGE));
    assert_string_equal(edge_text(f, edge), "weight=0.500000 n=3");
    assert_ok(graph_edge_remove_property(&f->txn, edge, text("weight")));
    assert_string_equal(edge_text(f, edge), "n=3");
    assert_ok(graph_edge_change(&f->txn, edge, NOTHING, GRAPH_REPLACE));
    assert_string_equal(edge_text(f, edge), "");
    sombra_slice value;
    assert_err(graph_edge_property(&f->txn, edge, text("n"), &value), SOMBRA_NOT_FOUND);
    assert_sound(f);
}

static void test_edge__needs_both_nodes(void **state)
{
    struct fixture *f = *state;
    sombra_edge_id edge;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL);
    assert_err(graph_edge_create(&f->txn, &(struct graph_edge){ .src = a, .dst = 9 }, text("T"),
                                 NOTHING, &edge),
               SOMBRA_NOT_FOUND);
    assert_err(graph_edge_create(&f->txn, &(struct graph_edge){ .src = 9, .dst = a }, text("T"),
                                 NOTHING, &edge),
               SOMBRA_NOT_FOUND);
    assert_err(graph_edge_create(&f->txn, &(struct graph_edge){ .src = a, .dst = a }, NOTHING,
                                 NOTHING, &edge),
               SOMBRA_INVALID);
    /* Existence was remembered; deleting must forget it. */
    edge_new(f, a, "T", a);
    assert_ok(graph_node_delete(&f->txn, a, true));
    assert_err(graph_edge_create(&f->txn, &(struct graph_edge){ .src = a, .dst = a }, text("T"),
                                 NOTHING, &edge),
               SOMBRA_NOT_FOUND);
    assert_sound(f);
}

static void test_edge__a_node_undone_by_rollback_takes_no_edges(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    sombra_edge_id edge;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL);
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    sombra_node_id b = node_new(f, NULL);
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_err(graph_edge_create(&f->txn, &(struct graph_edge){ .src = a, .dst = b }, text("T"),
                                 NOTHING, &edge),
               SOMBRA_NOT_FOUND);
}

static void test_edge__parallel_edges_are_told_apart_and_found_oldest_first(void **state)
{
    struct fixture *f = *state;
    sombra_edge_id found;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    sombra_edge_id first = edge_new(f, a, "T", b), second = edge_new(f, a, "T", b);
    edge_new(f, b, "T", a);
    assert_string_equal(neighbours_text(f, a, &(sombra_neighbours_options){ 0 }), ">T:2/1 >T:2/2");
    assert_ok(graph_edge_find(&f->txn, a, text("T"), b, &found));
    assert_int_equal(found, first);
    assert_ok(graph_edge_delete(&f->txn, first));
    assert_ok(graph_edge_find(&f->txn, a, text("T"), b, &found));
    assert_int_equal(found, second);
    assert_ok(graph_edge_find(&f->txn, a, NOTHING, b, &found));
    assert_int_equal(found, second);
    assert_ok(graph_edge_delete(&f->txn, second));
    assert_err(graph_edge_find(&f->txn, a, text("T"), b, &found), SOMBRA_NOT_FOUND);
    assert_err(graph_edge_find(&f->txn, a, NOTHING, b, &found), SOMBRA_NOT_FOUND);
    assert_err(graph_edge_find(&f->txn, a, text("UNKNOWN"), b, &found), SOMBRA_NOT_FOUND);
    assert_err(graph_edge_delete(&f->txn, second), SOMBRA_NOT_FOUND);
    assert_sound(f);
}

static void test_edge__a_loop_counts_once_in_each_direction_and_once_in_both(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    edge_new(f, a, "T", a);
    edge_new(f, a, "T", b);
    edge_new(f, b, "U", a);
    edge_new(f, a, "U", a);
    assert_int_equal(degree_of(f, a, SOMBRA_OUT, NULL), 3);
    assert_int_equal(degree_of(f, a, SOMBRA_IN, NULL), 3);
    assert_int_equal(degree_of(f, a, SOMBRA_BOTH, NULL), 4);
    assert_int_equal(degree_of(f, a, SOMBRA_BOTH, "T"), 2);
    assert_int_equal(degree_of(f, a, SOMBRA_BOTH, "X"), 0);
    const sombra_neighbours_options out = { .direction = SOMBRA_OUT };
    const sombra_neighbours_options in = { .direction = SOMBRA_IN };
    const sombra_neighbours_options both = { .direction = SOMBRA_BOTH };
    const sombra_neighbours_options both_back = { .direction = SOMBRA_BOTH, .reverse = true };
    assert_string_equal(neighbours_text(f, a, &out), ">T:1/1 >T:2/2 >U:1/4");
    assert_string_equal(neighbours_text(f, a, &in), "<T:1/1 <U:1/4 <U:2/3");
    assert_string_equal(neighbours_text(f, a, &both), ">T:1/1 >T:2/2 >U:1/4 <U:2/3");
    assert_string_equal(neighbours_text(f, a, &both_back), "<U:2/3 >U:1/4 >T:2/2 >T:1/1");
    assert_sound(f);
}

static void test_edge__neighbours_are_chosen_by_type_other_node_and_limit(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL), c = node_new(f, NULL);
    edge_new(f, a, "T", c);
    edge_new(f, a, "U", b);
    edge_new(f, a, "V", c);
    edge_new(f, a, "T", b);
    edge_new(f, c, "V", a);
    sombra_slice types[] = { text("V"), text("T"), text("UNKNOWN"), text("V") };
    const sombra_neighbours_options two = { .types = types, .type_count = 4 };
    assert_string_equal(neighbours_text(f, a, &two), ">T:2/4 >T:3/1 >V:3/3");
    const sombra_neighbours_options back = {
        .types = types, .type_count = 4, .reverse = true, .limit = 2
    };
    assert_string_equal(neighbours_text(f, a, &back), ">V:3/3 >T:3/1");
    const sombra_neighbours_options to_c = { .direction = SOMBRA_BOTH, .other = c };
    assert_string_equal(neighbours_text(f, a, &to_c), ">T:3/1 >V:3/3 <V:3/5");
    const sombra_neighbours_options v_to_b = { .types = types, .type_count = 1, .other = b };
    assert_string_equal(neighbours_text(f, a, &v_to_b), "");
    const sombra_neighbours_options unknown = { .types = types + 2, .type_count = 1 };
    assert_string_equal(neighbours_text(f, a, &unknown), "");
    const sombra_neighbours_options limited = { .direction = SOMBRA_BOTH, .limit = 4 };
    assert_string_equal(neighbours_text(f, a, &limited), ">T:2/4 >T:3/1 >U:2/2 >V:3/3");
    assert_string_equal(neighbours_text(f, 99, &two), "");
}

static void test_edge__neighbours_beyond_one_batch_come_in_order(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id hub = node_new(f, NULL);
    for (int i = 0; i < 700; i++)
        node_new(f, NULL);
    for (uint64_t i = 0; i < 700; i++) /* 577 and 700 share no divisor: each node once */
        edge_new(f, hub, "T", 2 + i * 577 % 700);
    struct graph_neighbours *n = calloc(1, sizeof *n);
    for (int reverse = 0; reverse < 2; reverse++) {
        const sombra_neighbours_options options = { .reverse = reverse };
        size_t seen = 0, count;
        assert_ok(graph_neighbours_open(n, &f->txn, hub, &options));
        do {
            const sombra_neighbour *batch;
            assert_ok(graph_neighbours_next(n, &batch, &count));
            for (size_t i = 0; i < count; i++, seen++) {
                uint64_t want = reverse ? 701 - seen : 2 + seen;
                assert_int_equal(batch[i].node, want);
                assert_int_equal((batch[i].edge - 1) * 577 % 700, want - 2);
            }
        } while (count);
        assert_int_equal(seen, 700);
        graph_neighbours_close(n);
    }
    graph_neighbours_release(n);
    free(n);
}

/* Engines that read keys as numbers once counted from a null pointer here. */
static void test_edge__a_key_cut_short_is_corrupt_in_every_listing(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    (void)edge_new(f, a, "T", b);
    struct graph_key cut = key_3(TAG_OUT, a, 1, b); /* without the edge */
    assert_ok(kv_put(f->txn.kv, key_slice(&cut), NOTHING));
    const sombra_slice type = text("T");
    const sombra_neighbours_options by[] = { { 0 }, { .types = &type, .type_count = 1 } };
    for (size_t i = 0; i < COUNT_OF(by); i++) {
        struct graph_neighbours *n = calloc(1, sizeof *n);
        const sombra_neighbour *batch;
        size_t count;
        assert_ok(graph_neighbours_open(n, &f->txn, a, &by[i]));
        assert_err(graph_neighbours_next(n, &batch, &count), SOMBRA_CORRUPT);
        graph_neighbours_close(n);
        graph_neighbours_release(n);
        free(n);
    }
    rollback(f);
}

/* Keys are decoded in a machine word where they fit, and slowly where not: every width of an id,
 * and steps from one width to the next. */
static void test_edge__ids_of_all_widths_are_listed(void **state)
{
    struct fixture *f = *state;
    for (unsigned bits = 5; bits < 63; bits++) {
        struct graph_key key = key_begin(TAG_COUNTERS);
        uint64_t base = (UINT64_C(1) << bits) - 3, seen = 0;
        uint8_t counters[40], *at = varint_put(counters, 1);
        at = varint_put(varint_put(varint_put(at, base), base), 1);
        struct kv_txn *kv;
        assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ .is_write = true }, &kv));
        assert_ok(kv_put(kv, key_slice(&key), slice_of(counters, (size_t)(at - counters))));
        graph_txn_begin(&f->txn, &f->graph, kv);
        for (uint64_t i = 0; i < 6; i++)
            assert_int_equal(node_new(f, NULL), base + i);
        for (uint64_t i = 0; i < 6; i++)
            assert_int_equal(edge_new(f, base, "T", base + i), base + i);
        for (uint64_t i = 0; i < 6; i++) /* and a type whose edges fall where its nodes rise */
            assert_int_equal(edge_new(f, base, "U", base + 5 - i), base + 6 + i);
        struct graph_neighbours *n = calloc(1, sizeof *n);
        struct graph_ids *ids = calloc(1, sizeof *ids);
        size_t count;
        assert_ok(graph_neighbours_open(n, &f->txn, base, &(sombra_neighbours_options){ 0 }));
        do {
            const sombra_neighbour *batch;
            assert_ok(graph_neighbours_next(n, &batch, &count));
            for (size_t i = 0; i < count; i++, seen++) {
                assert_int_equal(batch[i].node, base + seen % 6);
                assert_int_equal(batch[i].edge, seen < 6 ? base + seen : base + 17 - seen);
            }
        } while (count);
        assert_int_equal(seen, 12);
        assert_ok(graph_ids_open(ids, &f->txn, GRAPH_EDGES, NOTHING, &(sombra_ids_options){ 0 }));
        do {
            const uint64_t *batch;
            assert_ok(graph_ids_next(ids, &batch, &count));
            for (size_t i = 0; i < count; i++, seen++)
                assert_int_equal(batch[i], base + seen - 12);
        } while (count);
        assert_int_equal(seen, 24);
        graph_neighbours_close(n);
        graph_neighbours_release(n);
        graph_ids_close(ids);
        free(n);
        free(ids);
        assert_sound(f);
        rollback(f);
    }
}

static void test_edge__neighbours_bring_properties_from_both_sides(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    for (int i = 0; i < 300; i++) {
        sombra_edge_id edge;
        struct graph_edge ends = { .src = i % 2 ? a : b, .dst = i % 3 ? a : b };
        assert_ok(graph_edge_create(&f->txn, &ends, text("T"),
                                    i % 5 ? map_of(f, "i", "n", i) : NOTHING, &edge));
    }
    struct graph_neighbours *n = calloc(1, sizeof *n);
    const sombra_neighbours_options options = { .direction = SOMBRA_BOTH, .with_properties = true };
    size_t seen = 0, count;
    assert_ok(graph_neighbours_open(n, &f->txn, a, &options));
    do {
        const sombra_neighbour *batch;
        assert_ok(graph_neighbours_next(n, &batch, &count));
        node_new(f, NULL); /* a write must not disturb the batch */
        for (size_t i = 0; i < count; i++, seen++) {
            sombra_record record;
            char want[32] = "";
            if ((batch[i].edge - 1) % 5)
                snprintf(want, sizeof want, "n=%d", (int)batch[i].edge - 1);
            assert_ok(graph_record_open(batch[i].properties, false, &record));
            assert_string_equal(record_text(f, &record), want);
        }
    } while (count);
    assert_int_equal(seen, degree_of(f, a, SOMBRA_BOTH, NULL));
    assert_true(seen > 200);
    graph_neighbours_close(n);
    graph_neighbours_release(n);
    free(n);
}

static void test_edge__edges_may_be_deleted_while_they_are_listed(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    for (int i = 0; i < 500; i++)
        edge_new(f, a, i % 2 ? "T" : "U", b);
    struct graph_neighbours *n = calloc(1, sizeof *n);
    size_t count, seen = 0;
    assert_ok(graph_neighbours_open(n, &f->txn, a, &(sombra_neighbours_options){ 0 }));
    do {
        const sombra_neighbour *batch;
        assert_ok(graph_neighbours_next(n, &batch, &count));
        for (size_t i = 0; i < count; i++, seen++)
            assert_ok(graph_edge_delete(&f->txn, batch[i].edge));
    } while (count);
    assert_int_equal(seen, 500);
    assert_int_equal(edges_of(f, NULL), 0);
    graph_neighbours_close(n);
    graph_neighbours_release(n);
    free(n);
    assert_sound(f);
}

/* Of 400 edges of a hub. What was deleted before lay in the way of the next ones again and again:
 * 160,000 times by the count of the lsm. */
static void delete_one_by_one(struct fixture *f, const sombra_neighbours_options *options)
{
    enum { EDGES = 400 };
    begin_write(f);
    sombra_node_id hub = node_new(f, NULL), b = node_new(f, NULL);
    for (int i = 0; i < EDGES; i++)
        edge_new(f, hub, i % 2 ? "T" : "U", i % 3 ? b : hub);
    commit(f);
    begin_write(f);
    struct graph_neighbours *n = calloc(1, sizeof *n);
    const uint64_t before = kv_metrics_count(f->kv->metrics, KV_COUNTER_DELETES_PASSED);
    size_t count, seen = 0;
    assert_ok(graph_neighbours_open(n, &f->txn, hub, options));
    do {
        const sombra_neighbour *batch;
        bool is_renewed = false;
        assert_ok(graph_neighbours_next(n, &batch, &count));
        for (size_t i = 0; i < count && !is_renewed; i++, seen++) {
            assert_ok(graph_edge_delete(&f->txn, batch[i].edge));
            assert_ok(graph_neighbours_renew(n, i + 1, &is_renewed));
            assert_true(is_renewed);
        }
    } while (count);
    assert_int_equal(seen, EDGES);
    graph_neighbours_close(n);
    graph_neighbours_release(n);
    free(n);
    assert_int_equal(degree_of(f, hub, SOMBRA_BOTH, NULL), 0);
    assert_true(kv_metrics_count(f->kv->metrics, KV_COUNTER_DELETES_PASSED) - before <
                (uint64_t)8 * EDGES);
    assert_sound(f);
    commit(f);
}

static void test_edge__edges_deleted_one_by_one_are_not_in_the_way_of_the_next(void **state)
{
    struct fixture *f = *state;
    delete_one_by_one(f, &(sombra_neighbours_options){ .direction = SOMBRA_BOTH });
    delete_one_by_one(f, &(sombra_neighbours_options){ .direction = SOMBRA_BOTH, .reverse = true });
    delete_one_by_one(
        f, &(sombra_neighbours_options){ .direction = SOMBRA_BOTH, .with_properties = true });
    const sombra_slice types[] = { text("T"), text("U") };
    delete_one_by_one(f, &(sombra_neighbours_options){
                             .direction = SOMBRA_BOTH, .types = types, .type_count = 2 });
}

static void test_edge__a_renewed_batch_begins_behind_what_was_used(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    sombra_edge_id edges[6];
    for (int i = 0; i < 5; i++)
        edges[i] = edge_new(f, a, "T", b);
    struct graph_neighbours *n = calloc(1, sizeof *n);
    const sombra_neighbour *batch;
    size_t count;
    bool is_renewed = true;
    const sombra_neighbours_options options = { .limit = 5 };
    assert_ok(graph_neighbours_open(n, &f->txn, a, &options));
    assert_err(graph_neighbours_renew(n, 1, &is_renewed), SOMBRA_INVALID); /* no batch yet */
    assert_ok(graph_neighbours_next(n, &batch, &count));
    assert_int_equal(count, 5);
    assert_ok(graph_neighbours_renew(n, 2, &is_renewed));
    assert_false(is_renewed);
    assert_ok(graph_edge_change(&f->txn, edges[2], map_of(f, "i", "x", 1), GRAPH_MERGE));
    assert_ok(graph_neighbours_renew(n, 2, &is_renewed));
    assert_false(is_renewed); /* a property takes no edge away */
    assert_ok(graph_edge_delete(&f->txn, edges[1]));
    assert_ok(graph_edge_delete(&f->txn, edges[2]));
    edges[5] = edge_new(f, a, "T", b);
    assert_err(graph_neighbours_renew(n, 0, &is_renewed), SOMBRA_INVALID);
    assert_err(graph_neighbours_renew(n, 6, &is_renewed), SOMBRA_INVALID);
    assert_ok(graph_neighbours_renew(n, 2, &is_renewed));
    assert_true(is_renewed);
    assert_ok(graph_neighbours_next(n, &batch, &count));
    assert_int_equal(count, 3); /* what the limit has left */
    for (size_t i = 0; i < count; i++)
        assert_int_equal(batch[i].edge, edges[3 + i]);
    graph_neighbours_close(n);
    graph_neighbours_release(n);
    free(n);
    assert_sound(f);
}

/* What was used last is there still: it does not come again, in either direction. */
static void test_edge__a_renewed_batch_gives_no_edge_twice(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
    for (int reverse = 0; reverse < 2; reverse++) {
        sombra_edge_id edges[5];
        for (int i = 0; i < 5; i++)
            edges[i] = edge_new(f, a, reverse ? "R" : "T", b);
        struct graph_neighbours *n = calloc(1, sizeof *n);
        const sombra_slice type = text(reverse ? "R" : "T");
        const sombra_neighbours_options options = { .types = &type,
                                                    .type_count = 1,
                                                    .reverse = reverse };
        const sombra_neighbour *batch;
        size_t count;
        bool is_renewed = false;
        assert_ok(graph_neighbours_open(n, &f->txn, a, &options));
        assert_ok(graph_neighbours_next(n, &batch, &count));
        assert_int_equal(count, 5);
        assert_int_equal(batch[1].edge, edges[reverse ? 3 : 1]);
        assert_ok(graph_edge_delete(&f->txn, edges[2]));
        assert_ok(graph_neighbours_renew(n, 2, &is_renewed));
        assert_true(is_renewed);
        assert_ok(graph_neighbours_next(n, &batch, &count));
        assert_int_equal(count, 2);
        assert_int_equal(batch[0].edge, edges[reverse ? 1 : 3]);
        assert_int_equal(batch[1].edge, edges[reverse ? 0 : 4]);
        graph_neighbours_close(n);
        graph_neighbours_release(n);
        free(n);
    }
    assert_sound(f);
}

/* The next batch of a sweep has these edges. */
static void expect_hops(struct graph_expand *expand, const sombra_edge_id *edges, size_t count)
{
    const struct graph_hop *batch;
    size_t have;
    assert_ok(graph_expand_next(expand, &batch, &have));
    assert_int_equal(have, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(batch[i].edge, edges[i]);
}

/* Whatever it had read ahead; nothing comes twice. */
static void test_edge__a_sweep_sees_what_was_deleted_between_its_batches(void **state)
{
    enum { BATCH = 4, EDGES = 10 };
    struct fixture *f = *state;
    sombra_edge_id of_a[EDGES], of_c[EDGES], left[] = { 0, 0, 0, 0 };
    struct arena arena = ARENA_INIT;
    static struct graph_expand expand;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL), c = node_new(f, NULL);
    for (int i = 0; i < EDGES; i++)
        of_a[i] = edge_new(f, a, "T", b);
    for (int i = 0; i < EDGES; i++)
        of_c[i] = edge_new(f, c, "T", b);
    const struct graph_expand_options options = { .arena = &arena, .direction = SOMBRA_OUT };
    const uint64_t sources[] = { a, c };
    assert_ok(graph_expand_open(&expand, &f->txn, &options));
    expand.batch_max = BATCH;
    graph_expand_sources(&expand, sources, 2);
    expect_hops(&expand, of_a, BATCH);
    assert_ok(graph_edge_delete(&f->txn, of_a[5]));
    left[0] = of_a[4], left[1] = of_a[6], left[2] = of_a[7], left[3] = of_a[8];
    expect_hops(&expand, left, BATCH);
    assert_ok(graph_edge_delete(&f->txn, of_c[0]));
    left[0] = of_a[9], left[1] = of_c[1], left[2] = of_c[2], left[3] = of_c[3];
    expect_hops(&expand, left, BATCH);
    /* Begun anew before it was over. */
    graph_expand_sources(&expand, sources, 1);
    expect_hops(&expand, of_a, BATCH);
    assert_ok(graph_edge_delete(&f->txn, of_c[2]));
    graph_expand_sources(&expand, sources + 1, 1);
    left[0] = of_c[1], left[1] = of_c[3], left[2] = of_c[4], left[3] = of_c[5];
    expect_hops(&expand, left, BATCH);
    graph_expand_close(&expand);
    arena_release(&arena);
    assert_sound(f);
}

static void test_edge__type_counts_follow_savepoints(void **state)
{
    struct fixture *f = *state;
    uint64_t outer, inner;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL);
    edge_new(f, a, "T", a);
    assert_ok(graph_txn_savepoint(&f->txn, &outer));
    edge_new(f, a, "T", a);
    assert_ok(graph_txn_savepoint(&f->txn, &inner));
    sombra_edge_id third = edge_new(f, a, "T", a);
    edge_new(f, a, "U", a);
    assert_int_equal(edges_of(f, "T"), 3);
    assert_ok(graph_txn_rollback_to(&f->txn, inner));
    assert_int_equal(edges_of(f, "T"), 2);
    assert_int_equal(edges_of(f, "U"), 0);
    assert_int_equal(edge_new(f, a, "T", a), third + 2); /* ids given out are not given again */
    assert_ok(graph_txn_forget(&f->txn, inner));
    assert_err(graph_txn_rollback_to(&f->txn, inner), SOMBRA_INVALID);
    assert_int_equal(edges_of(f, "T"), 3);
    assert_sound(f);
    assert_ok(graph_txn_rollback_to(&f->txn, outer));
    assert_int_equal(edges_of(f, "T"), 1);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_int_equal(edges_of(f, "T"), 1);
    assert_int_equal(edges_of(f, NULL), 1);
    assert_sound(f);
}

static void test_edge__an_aborted_transaction_counts_nothing(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id a = node_new(f, NULL);
    edge_new(f, a, "T", a);
    commit(f);
    begin_write(f);
    edge_new(f, a, "T", a);
    rollback(f);
    begin_write(f);
    assert_int_equal(edges_of(f, "T"), 1);
    edge_new(f, a, "T", a);
    commit(f);
    begin_read(f);
    assert_int_equal(edges_of(f, "T"), 2);
    assert_sound(f);
}

/* ---- names ------------------------------------------------------------------------------- */

static uint32_t name_id(struct fixture *f, sombra_name_kind kind, const char *name)
{
    uint32_t id = 99;
    assert_ok(graph_name_find(&f->txn, kind, text(name), &id));
    return id;
}

static void test_name__of_an_aborted_transaction_is_forgotten(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    node_new(f, "Ghost");
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Ghost"), 1);
    rollback(f);
    begin_write(f);
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Ghost"), 0);
    node_new(f, "Other"); /* takes the id the ghost had */
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Other"), 1);
    commit(f);
    begin_write(f);
    node_new(f, "Ghost");
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Ghost"), 2);
    assert_string_equal(labels_text(f, 1), "Other");
    assert_sound(f);
}

/* It has so many before it that it is not found by id where the few new ones are. */
static void test_name__of_an_aborted_transaction_is_forgotten_behind_many(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 300 };
    begin_write(f);
    for (int i = 1; i <= MANY; i++) {
        char name[24];
        snprintf(name, sizeof name, "Many%d", i);
        node_new(f, name);
    }
    commit(f);
    begin_write(f);
    sombra_node_id node = node_new(f, "Ghost");
    assert_string_equal(labels_text(f, node), "Ghost");
    rollback(f);
    begin_write(f);
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Ghost"), 0);
    node = node_new(f, "Other"); /* takes the id the ghost had */
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Other"), MANY + 1);
    assert_string_equal(labels_text(f, node), "Other");
    commit(f);
    begin_write(f);
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Ghost"), 0);
    assert_string_equal(labels_text(f, node), "Other");
    assert_sound(f);
}

static void test_name__of_a_rolled_back_savepoint_is_forgotten(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    sombra_name lent;
    begin_write(f);
    node_new(f, "Kept");
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    for (int i = 0; i < 200; i++) {
        char name[24];
        snprintf(name, sizeof name, "Ghost%d", i);
        node_new(f, name);
    }
    assert_ok(graph_name_by_text(&f->txn, SOMBRA_NAME_LABEL, text("Ghost7"), &lent));
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Kept"), 1);
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Ghost7"), 0);
    assert_true(slice_equal(lent.text, text("Ghost7"))); /* lent until the transaction's end */
    sombra_node_id node = node_new(f, "New");
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "New"), 2);
    commit(f);
    begin_read(f);
    assert_string_equal(labels_text(f, node), "New");
    assert_sound(f);
}

static void test_name__made_elsewhere_is_found_and_shared(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    node_new(f, "Person");
    commit(f);
    graph_release(&f->graph); /* as another process would see it */
    assert_ok(graph_init(&f->graph));
    begin_read(f);
    assert_string_equal(labels_text(f, 1), "Person");
    assert_int_equal(name_id(f, SOMBRA_NAME_LABEL, "Person"), 1);
    rollback(f);
    begin_write(f);
    node_new(f, "Person");
    assert_int_equal(nodes_of(f, "Person"), 2);
    assert_sound(f);
}

static void test_name__lists_in_the_order_of_ids_and_kinds_apart(void **state)
{
    struct fixture *f = *state;
    sombra_name name = { 0 };
    bool found = true;
    begin_write(f);
    node_new(f, "B");
    node_new(f, "A");
    edge_new(f, 1, "B", 2);
    char listed[64] = "";
    for (;;) {
        assert_ok(graph_name_next(&f->txn, SOMBRA_NAME_LABEL, name.id, &name, &found));
        if (!found)
            break;
        strncat(listed, (const char *)name.text.data, name.text.bytes);
    }
    assert_string_equal(listed, "BA");
    assert_ok(graph_name_next(&f->txn, SOMBRA_NAME_TYPE, 1, &name, &found));
    assert_false(found);
    assert_ok(graph_name_next(&f->txn, SOMBRA_NAME_PROPERTY, 0, &name, &found));
    assert_false(found);
    assert_err(graph_name_by_id(&f->txn, SOMBRA_NAME_LABEL, 3, &name), SOMBRA_NOT_FOUND);
    assert_err(graph_name_by_id(&f->txn, (sombra_name_kind)4, 1, &name), SOMBRA_INVALID);
}

static void test_name__out_of_bounds_is_refused(void **state)
{
    struct fixture *f = *state;
    char long_name[SOMBRA_NAME_BYTES_MAX + 1];
    memset(long_name, 'x', sizeof long_name);
    sombra_slice label = slice_of(long_name, sizeof long_name), empty = NOTHING;
    sombra_node_id node;
    begin_write(f);
    assert_err(graph_node_create(&f->txn, &label, 1, NOTHING, &node), SOMBRA_LIMIT);
    assert_err(graph_node_create(&f->txn, &empty, 1, NOTHING, &node), SOMBRA_INVALID);
    label.bytes--;
    assert_ok(graph_node_create(&f->txn, &label, 1, NOTHING, &node));
    assert_sound(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(test_edge__keeps_ends_type_and_properties),
        TEST(test_edge__needs_both_nodes),
        TEST(test_edge__a_node_undone_by_rollback_takes_no_edges),
        TEST(test_edge__parallel_edges_are_told_apart_and_found_oldest_first),
        TEST(test_edge__a_loop_counts_once_in_each_direction_and_once_in_both),
        TEST(test_edge__neighbours_are_chosen_by_type_other_node_and_limit),
        TEST(test_edge__neighbours_beyond_one_batch_come_in_order),
        TEST(test_edge__a_key_cut_short_is_corrupt_in_every_listing),
        TEST(test_edge__ids_of_all_widths_are_listed),
        TEST(test_edge__neighbours_bring_properties_from_both_sides),
        TEST(test_edge__edges_may_be_deleted_while_they_are_listed),
        TEST(test_edge__edges_deleted_one_by_one_are_not_in_the_way_of_the_next),
        TEST(test_edge__a_renewed_batch_begins_behind_what_was_used),
        TEST(test_edge__a_renewed_batch_gives_no_edge_twice),
        TEST(test_edge__a_sweep_sees_what_was_deleted_between_its_batches),
        TEST(test_edge__type_counts_follow_savepoints),
        TEST(test_edge__an_aborted_transaction_counts_nothing),
        TEST(test_name__of_an_aborted_transaction_is_forgotten),
        TEST(test_name__of_an_aborted_transaction_is_forgotten_behind_many),
        TEST(test_name__of_a_rolled_back_savepoint_is_forgotten),
        TEST(test_name__made_elsewhere_is_found_and_shared),
        TEST(test_name__lists_in_the_order_of_ids_and_kinds_apart),
        TEST(test_name__out_of_bounds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
