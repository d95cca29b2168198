/* SPDX-License-Identifier: MIT */
/* What readers keep of the edges of a node is what the store has for their version: against a plain
 * reference, by neighbours and by sweeps, with readers of several versions open at once. */
#include "graph_readers.h"

#include "graph/kept_ends.h"

enum { NODES = 40, EDGES = 600, TYPES = 2, FOUND_MAX = 2 * EDGES };

static const char *const type_names[TYPES] = { "K", "L" };
static uint32_t types[TYPES]; /* ids, ascending */

/* By number of the edge; type 0 = it is not there. */
struct redge {
    sombra_edge_id id;
    sombra_node_id src, dst;
    uint32_t type;
};
struct reference {
    size_t count;
    struct redge edges[EDGES];
};

/* ---- reading ------------------------------------------------------------------------------ */

struct found {
    size_t count;
    struct redge at[FOUND_MAX]; /* src = the node asked, dst = the other one */
};

static int found_order(const void *a, const void *b)
{
    const struct redge *left = a, *right = b;
    if (left->type != right->type)
        return left->type < right->type ? -1 : 1;
    if (left->dst != right->dst)
        return left->dst < right->dst ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

/* In the order of the store; `type` 0 = all. */
static void expect(const struct reference *seen, sombra_node_id node, bool is_out, uint32_t type,
                   struct found *out)
{
    const size_t first = out->count;
    for (size_t i = 0; i < seen->count; i++) {
        const struct redge *edge = &seen->edges[i];
        if (edge->type && (is_out ? edge->src : edge->dst) == node && (!type || type == edge->type))
            out->at[out->count++] = (struct redge){
                .id = edge->id, .src = node, .dst = is_out ? edge->dst : edge->src, edge->type
            };
    }
    qsort(out->at + first, out->count - first, sizeof *out->at, found_order);
}

static void assert_found(const struct found *have, const struct found *want)
{
    assert_int_equal(have->count, want->count);
    for (size_t i = 0; i < want->count; i++) {
        assert_int_equal(have->at[i].src, want->at[i].src);
        assert_int_equal(have->at[i].dst, want->at[i].dst);
        assert_int_equal(have->at[i].id, want->at[i].id);
        assert_int_equal(have->at[i].type, want->at[i].type);
    }
}

/* One or no type, one direction; sometimes the last first, or not all of them. */
static void read_neighbours(struct history *h, struct graph_txn *txn, const struct reference *seen)
{
    static struct graph_neighbours n;
    static struct found have, want;
    const bool is_out = below(h, 2);
    const unsigned type = (unsigned)below(h, TYPES + 1);
    const sombra_slice name = type ? text(type_names[type - 1]) : NOTHING;
    sombra_neighbours_options options = { .direction = is_out ? SOMBRA_OUT : SOMBRA_IN,
                                          .types = &name,
                                          .type_count = type > 0,
                                          .limit = below(h, 6) ? 0 : 1 + below(h, 20),
                                          .reverse = below(h, 6) == 0 };
    const sombra_node_id node = 1 + below(h, NODES + 1);
    const sombra_neighbour *batch;
    size_t count = 0;
    have.count = want.count = 0;
    expect(seen, node, is_out, type ? types[type - 1] : 0, &want);
    assert_ok(graph_neighbours_open(&n, txn, node, &options));
    do {
        assert_ok(graph_neighbours_next(&n, &batch, &count));
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(batch[i].is_out, is_out);
            have.at[have.count++] =
                (struct redge){ batch[i].edge, node, batch[i].node, batch[i].type };
        }
    } while (count);
    graph_neighbours_close(&n);
    graph_neighbours_release(&n);
    n = (struct graph_neighbours){ .txn = NULL };
    for (size_t i = 0; options.reverse && i < want.count / 2; i++) {
        struct redge moved = want.at[i];
        want.at[i] = want.at[want.count - 1 - i];
        want.at[want.count - 1 - i] = moved;
    }
    if (options.limit)
        want.count = size_min(want.count, options.limit);
    assert_found(&have, &want);
}

/* A sweep over one node, or over a few. */
static void read_sweep(struct history *h, struct graph_txn *txn, const struct reference *seen)
{
    static struct graph_expand expand;
    static struct found have, want;
    struct arena arena = ARENA_INIT;
    const bool is_out = below(h, 2);
    const unsigned type = (unsigned)below(h, TYPES + 1);
    const uint64_t sources = 1 + (below(h, 3) ? 0 : below(h, 3));
    uint64_t nodes[3];
    const struct graph_hop *batch;
    size_t count = 0;
    const struct graph_expand_options options = { .arena = &arena,
                                                  .direction = is_out ? SOMBRA_OUT : SOMBRA_IN,
                                                  .has_types = type > 0,
                                                  .types = type ? &types[type - 1] : NULL,
                                                  .type_count = type > 0 };
    assert_ok(graph_expand_open(&expand, txn, &options));
    for (unsigned again = 0; again < 2; again++) {
        have.count = want.count = 0;
        for (uint64_t i = 0; i < sources; i++) {
            nodes[i] = (i ? nodes[i - 1] : 0) + 1 + below(h, NODES / 3);
            expect(seen, nodes[i], is_out, type ? types[type - 1] : 0, &want);
        }
        graph_expand_sources(&expand, nodes, sources);
        do {
            assert_ok(graph_expand_next(&expand, &batch, &count));
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(batch[i].is_out, is_out);
                have.at[have.count++] = (struct redge){ batch[i].edge, nodes[batch[i].source],
                                                        batch[i].node, batch[i].type };
            }
        } while (count);
        assert_found(&have, &want);
    }
    graph_expand_close(&expand);
    arena_release(&arena);
}

static void read_some(struct history *h, struct graph_txn *txn, const struct reference *seen)
{
    for (uint64_t left = 1 + below(h, 100); left; left--) {
        if (below(h, 2))
            read_neighbours(h, txn, seen);
        else
            read_sweep(h, txn, seen);
    }
}

/* ---- writing ------------------------------------------------------------------------------- */

static void link_one(struct history *h, sombra_node_id src, unsigned type, sombra_node_id dst)
{
    if (h->now->count == EDGES)
        return;
    const sombra_edge_id id = edge_new(h->f, src, type_names[type], dst);
    h->now->edges[h->now->count++] = (struct redge){ id, src, dst, types[type] };
}

static void make_nodes(struct history *h)
{
    begin_write(h->f);
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(node_new(h->f, NULL), i + 1);
    for (unsigned type = 0; type < TYPES; type++) {
        link_one(h, 1, type, 2);
        assert_ok(
            graph_name_find(&h->f->txn, SOMBRA_NAME_TYPE, text(type_names[type]), &types[type]));
        h->now->edges[type].type = types[type];
    }
    assert_true(types[0] < types[1]);
    history_commit(h);
}

/* The first nodes have many edges of one type, some more than what is kept. */
static void write_one(struct history *h)
{
    struct redge *edge = &h->now->edges[below(h, h->now->count)];
    if (below(h, 4) == 0 && edge->type) {
        assert_ok(graph_edge_delete(&h->f->txn, edge->id));
        edge->type = 0;
    } else if (below(h, 2)) {
        link_one(h, 1 + below(h, 6), 0, 7 + below(h, NODES - 6));
    } else {
        link_one(h, 1 + below(h, NODES), (unsigned)below(h, TYPES), 1 + below(h, NODES));
    }
}

/* ---- tests --------------------------------------------------------------------------------- */

static uint64_t readers_hits;

static void count_reader(const struct graph_txn *txn)
{
    readers_hits += txn->ends.hits;
}

static const struct history_work work = { .reference_bytes = sizeof(struct reference),
                                          .write_odds = 20,
                                          .writes_max = 12,
                                          .end_odds = 12,
                                          .makes_tables_again = true,
                                          .write_one = write_one,
                                          .read_some = read_some,
                                          .count_reader = count_reader };

static void test_kept_ends__are_those_of_the_version_that_is_read(void **state)
{
    struct history h;
    history_init(&h, &work, *state);
    make_nodes(&h);
    history_run(&h);
    print_message("found %u times or more\n", (unsigned)readers_hits);
    history_release(&h);
}

/* Of one type, or of all; how many, and the last one. */
static size_t out_of_type(struct graph_txn *txn, sombra_node_id node, const char *type,
                          sombra_edge_id *out_last)
{
    static struct graph_neighbours n;
    const sombra_slice name = type ? text(type) : NOTHING;
    const sombra_neighbours_options options = { .direction = SOMBRA_OUT,
                                                .types = &name,
                                                .type_count = type != NULL };
    const sombra_neighbour *batch;
    size_t count = 0, all = 0;
    assert_ok(graph_neighbours_open(&n, txn, node, &options));
    do {
        assert_ok(graph_neighbours_next(&n, &batch, &count));
        for (size_t i = 0; i < count; i++)
            *out_last = batch[i].edge;
        all += count;
    } while (count);
    graph_neighbours_close(&n);
    graph_neighbours_release(&n);
    n = (struct graph_neighbours){ .txn = NULL };
    return all;
}

static size_t out_of(struct graph_txn *txn, sombra_node_id node, sombra_edge_id *out_last)
{
    return out_of_type(txn, node, NULL, out_last);
}

/* Two nodes, and two types of one, whose places are the same as long as a table is small. */
static void test_kept_ends__are_of_one_node_and_one_type(void **state)
{
    enum { FAR = 1 << 13, TYPES_APART = KEPT_CAPACITY_MIN / 2 / 4 };
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    sombra_edge_id edges[2 + TYPES_APART], far, last = 0;
    char name[24];
    begin_write(f);
    const sombra_node_id near = node_new(f, NULL);
    f->txn.next_node = near + FAR;
    const sombra_node_id node = node_new(f, NULL);
    for (unsigned i = 0; i <= TYPES_APART; i++) {
        snprintf(name, sizeof name, "T%u", i);
        edges[i] = edge_new(f, node, name, near);
    }
    far = edge_new(f, near, "T0", node);
    commit(f);
    reader_begin(f, &txn);
    for (unsigned i = 0; i < 2 * KEPT_READS_BEFORE; i++)
        assert_int_equal(out_of_type(&txn, node, "T1", &last), 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(out_of_type(&txn, node, "T0", &last), 1);
        assert_int_equal(last, edges[0]);
        assert_int_equal(out_of_type(&txn, near, "T0", &last), 1);
        assert_int_equal(last, far);
        assert_int_equal(out_of_type(&txn, node, name, &last), 1);
        assert_int_equal(last, edges[TYPES_APART]);
    }
    reader_end(&txn);
    graph_txn_release(&txn);
}

static void test_kept_ends__have_no_large_numbers_and_no_long_lists(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    sombra_edge_id last = 0, edge = 0;
    begin_write(f);
    sombra_node_id many[] = { node_new(f, NULL), node_new(f, NULL) };
    sombra_node_id large = node_new(f, NULL), none = node_new(f, NULL);
    for (unsigned i = 0; i < KEPT_ENDS_MAX; i++) {
        (void)edge_new(f, many[0], "K", none);
        (void)edge_new(f, many[1], "K", none);
    }
    (void)edge_new(f, many[1], "K", none);
    f->txn.next_edge = (UINT64_C(1) << 32) + 7;
    edge = edge_new(f, large, "K", none);
    assert_int_equal(edge, (UINT64_C(1) << 32) + 7);
    commit(f);
    reader_begin(f, &txn);
    for (unsigned i = 0; i < 2 * KEPT_READS_BEFORE; i++)
        assert_int_equal(out_of(&txn, none, &last), 0);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t hits = txn.ends.hits;
        assert_int_equal(out_of(&txn, many[0], &last), KEPT_ENDS_MAX);
        assert_int_equal(out_of(&txn, none, &last), 0);
        assert_int_equal(txn.ends.hits - hits, txn.version ? (i ? 2 : 1) : 0);
        assert_int_equal(out_of(&txn, many[1], &last), KEPT_ENDS_MAX + 1);
        assert_int_equal(out_of(&txn, large, &last), 1);
        assert_int_equal(last, edge);
        assert_int_equal(txn.ends.hits - hits, txn.version ? (i ? 2 : 1) : 0);
    }
    reader_end(&txn);
    graph_txn_release(&txn);
}

/* Keys that are no word end a batch: what was read until then is not all that there are. */
static void test_kept_ends__with_a_long_key_are_all_of_them(void **state)
{
    enum { FAR = 1 << 30, EACH = 3 };
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    sombra_edge_id last = 0, far = 0;
    begin_write(f);
    const sombra_node_id node = node_new(f, NULL);
    for (unsigned i = 0; i < EACH; i++)
        (void)edge_new(f, node, "K", node);
    f->txn.next_node = f->txn.next_edge = FAR;
    far = edge_new(f, node, "K", node_new(f, NULL));
    commit(f);
    reader_begin(f, &txn);
    for (unsigned i = 0; i < 2 * KEPT_READS_BEFORE; i++) {
        assert_int_equal(out_of(&txn, node, &last), EACH + 1);
        assert_int_equal(last, far);
        assert_int_equal(out_of_type(&txn, node, "K", &last), EACH + 1);
        assert_int_equal(last, far);
    }
    reader_end(&txn);
    graph_txn_release(&txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept_ends__are_those_of_the_version_that_is_read,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_ends__are_of_one_node_and_one_type, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_ends__with_a_long_key_are_all_of_them,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_ends__have_no_large_numbers_and_no_long_lists,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
