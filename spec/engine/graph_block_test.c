/* SPDX-License-Identifier: MIT */
/* Blocks of edges' ends: as bytes, in the store, beside the entries of older formats. */
#include "graph_fixture.h"
#include "graph/edge_block.h"
#include "graph_index_fixture.h"

#include "base/random.h"

/* ---- bytes ------------------------------------------------------------------------------- */

static uint64_t number_below(struct random *random, unsigned bits)
{
    return 1 + (bits ? random_u64(random) >> (64 - bits) : 0);
}

/* Columns of any width, around any number; of some slots nothing. */
static void block_fill(struct edge_block *block, struct random *random)
{
    unsigned count = 1 + (unsigned)random_below(random, EDGE_BLOCK_EDGES);
    unsigned src_bits = (unsigned)random_below(random, 63);
    unsigned dst_bits = (unsigned)random_below(random, 63);
    unsigned type_bits = (unsigned)random_below(random, 32);
    uint64_t src = random_below(random, INT64_MAX >> src_bits), dst = random_below(random, 9);
    bool has_gaps = random_below(random, 2);
    memset(block, 0, sizeof *block);
    for (unsigned slot = 0; slot < count; slot++) {
        const struct graph_edge edge = {
            .src = u64_min(src + number_below(random, src_bits), INT64_MAX),
            .dst = u64_min(dst + number_below(random, dst_bits), INT64_MAX),
            .type = (uint32_t)number_below(random, type_bits)
        };
        if (slot + 1 == count || !has_gaps || random_below(random, 3))
            edge_block_set(block, slot, &edge);
    }
}

static void test_block__any_edges_are_read_back(void **state)
{
    (void)state;
    struct random random;
    size_t longest = 0;
    random_seed(&random, test_seed());
    for (int i = 0; i < 3000; i++) {
        struct edge_block block, read;
        struct edge_block_view view;
        uint8_t value[EDGE_BLOCK_BYTES_MAX];
        block_fill(&block, &random);
        size_t bytes = edge_block_write(&block, value);
        longest = size_max(longest, bytes);
        assert_ok(edge_block_read(slice_of(value, bytes), &read));
        assert_ok(edge_block_open(slice_of(value, bytes), &view));
        assert_true(read.present == block.present && view.present == block.present);
        for (unsigned slot = 0; slot < EDGE_BLOCK_EDGES; slot++) {
            struct graph_edge edge;
            if (!(block.present >> slot & 1))
                continue;
            assert_ok(edge_block_get(&view, slot, &edge));
            assert_true(edge.src == block.ends[EDGE_SRC][slot]);
            assert_true(edge.dst == block.ends[EDGE_DST][slot]);
            assert_true(edge.type == block.ends[EDGE_TYPE][slot]);
            assert_true(read.ends[EDGE_SRC][slot] == edge.src);
            assert_true(read.ends[EDGE_DST][slot] == edge.dst);
            assert_true(read.ends[EDGE_TYPE][slot] == edge.type);
        }
    }
    assert_true(longest > 1000);
}

/* Edges of one source, to any of 100,000 nodes. */
static void test_block__takes_the_bits_that_it_needs(void **state)
{
    (void)state;
    struct edge_block block = { .number = 1 };
    uint8_t value[EDGE_BLOCK_BYTES_MAX];
    for (unsigned slot = 0; slot < EDGE_BLOCK_EDGES; slot++) {
        const struct graph_edge edge = { .src = 7, .type = 3, .dst = 1 + slot * UINT64_C(1587) };
        edge_block_set(&block, slot, &edge);
    }
    assert_int_equal(edge_block_write(&block, value), 1 + 3 * 2 + 64 * 17 / 8);
}

/* In memory of just their size, for the sanitizer to see. */
static void read_hostile(const uint8_t *bytes, size_t count)
{
    uint8_t *copy = malloc(count + 1);
    struct edge_block block;
    memcpy(copy, bytes, count);
    sombra_err err = edge_block_read(slice_of(copy, count), &block);
    assert_true(err == SOMBRA_OK || err == SOMBRA_CORRUPT);
    for (unsigned slot = 0; !err && slot < EDGE_BLOCK_EDGES; slot++) {
        if (!(block.present >> slot & 1))
            continue;
        assert_in_range(block.ends[EDGE_SRC][slot], 1, INT64_MAX);
        assert_in_range(block.ends[EDGE_DST][slot], 1, INT64_MAX);
        assert_in_range(block.ends[EDGE_TYPE][slot], 1, UINT32_MAX);
    }
    free(copy);
}

static void test_block__hostile_bytes_are_corrupt_or_sound(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, test_seed());
    for (int i = 0; i < 400; i++) {
        struct edge_block block;
        uint8_t value[EDGE_BLOCK_BYTES_MAX];
        block_fill(&block, &random);
        size_t bytes = edge_block_write(&block, value);
        for (size_t cut = 0; cut < bytes; cut += 1 + cut / 40) {
            struct edge_block read;
            assert_err(edge_block_read(slice_of(cut ? value : NULL, cut), &read), SOMBRA_CORRUPT);
            read_hostile(value, cut);
        }
        for (int j = 0; j < 100; j++) {
            size_t at = random_below(&random, j % 2 ? size_min(bytes, 24) : bytes);
            uint8_t was = value[at];
            value[at] = (uint8_t)random_u64(&random);
            read_hostile(value, bytes);
            if (j % 3)
                value[at] = was;
        }
    }
}

/* ---- in the store ------------------------------------------------------------------------ */

enum { NODES = 9, EDGES = 300 };

struct wanted {
    uint64_t ids[EDGES * 2];
    size_t count;
};

/* Edges of which each third is deleted again. */
static void make_edges(struct fixture *f, struct wanted *wanted)
{
    begin_write(f);
    for (int i = 0; i < NODES; i++)
        (void)node_new(f, NULL);
    for (uint64_t i = 0; i < EDGES; i++)
        (void)edge_new(f, 1 + i % NODES, i % 4 ? "KNOWS" : "LIKES", 1 + i * i % NODES);
    wanted->count = 0;
    for (uint64_t id = 1; id <= EDGES; id++) {
        if (id % 3 == 0 || (id > 130 && id < 200))
            assert_ok(graph_edge_delete(&f->txn, id));
        else
            wanted->ids[wanted->count++] = id;
    }
    commit(f);
}

/* The ids that a loop gives, with `change` called behind each batch. */
static size_t ids_of(struct fixture *f, const sombra_ids_options *options, uint64_t *ids,
                     void (*change)(struct fixture *f, const uint64_t *batch, size_t count))
{
    struct graph_ids *loop = calloc(1, sizeof *loop);
    size_t total = 0, count;
    assert_ok(graph_ids_open(loop, &f->txn, GRAPH_EDGES, NOTHING, options));
    do {
        const uint64_t *batch;
        assert_ok(graph_ids_next(loop, &batch, &count));
        if (count)
            memcpy(ids + total, batch, count * sizeof *ids);
        total += count;
        if (count && change)
            change(f, ids + total - count, count);
    } while (count);
    graph_ids_close(loop);
    free(loop);
    return total;
}

/* Any bounds, any limit, both ways. */
static void assert_loops(struct fixture *f, const struct wanted *wanted, struct random *random)
{
    uint64_t ids[EDGES * 2];
    for (int i = 0; i < 300; i++) {
        sombra_ids_options options = { .reverse = random_below(random, 2) };
        size_t expected = 0, at = 0;
        if (random_below(random, 2))
            options.from = random_below(random, EDGES * 2);
        if (random_below(random, 2))
            options.to = random_below(random, EDGES * 2);
        if (random_below(random, 2))
            options.limit = 1 + random_below(random, 150);
        size_t count = ids_of(f, &options, ids, NULL);
        for (size_t j = 0; j < wanted->count; j++) {
            uint64_t id = wanted->ids[options.reverse ? wanted->count - 1 - j : j];
            if (id < options.from || (options.to && id > options.to) ||
                (options.limit && expected == options.limit))
                continue;
            expected++;
            if (at < count)
                assert_int_equal(ids[at++], id);
        }
        assert_int_equal(count, expected);
    }
}

static void test_blocks__loops_find_every_edge_both_ways(void **state)
{
    struct fixture *f = *state;
    struct wanted wanted;
    struct random random;
    random_seed(&random, test_seed());
    make_edges(f, &wanted);
    begin_read(f);
    assert_sound(f);
    assert_int_equal(edges_of(f, NULL), wanted.count);
    assert_loops(f, &wanted, &random);
    rollback(f);
}

static void add_and_delete(struct fixture *f, const uint64_t *batch, size_t count)
{
    if (batch[count - 1] < EDGES + 100)
        (void)edge_new(f, 1, "NEW", 2);
    assert_ok(graph_edge_delete(&f->txn, batch[0])); /* behind the loop */
}

static void test_blocks__loops_see_what_is_written_before_them(void **state)
{
    struct fixture *f = *state;
    struct wanted wanted;
    uint64_t ids[EDGES * 2];
    make_edges(f, &wanted);
    begin_write(f);
    size_t count = ids_of(f, &(sombra_ids_options){ 0 }, ids, add_and_delete);
    assert_true(count > wanted.count); /* those that were made at the end as well */
    for (size_t i = 1; i < count; i++)
        assert_true(ids[i - 1] < ids[i]);
    for (size_t i = 0; i < wanted.count; i++)
        assert_int_equal(ids[i], wanted.ids[i]);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

static void test_blocks__savepoints_keep_what_they_saw(void **state)
{
    struct fixture *f = *state;
    struct graph_edge ends;
    uint64_t mark;
    begin_write(f);
    uint64_t a = node_new(f, NULL), b = node_new(f, NULL);
    uint64_t first = edge_new(f, a, "T", b);
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    uint64_t second = edge_new(f, b, "T", a);
    assert_ok(graph_edge_delete(&f->txn, first));
    assert_err(graph_edge_ends(&f->txn, first, &ends), SOMBRA_NOT_FOUND);
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_ok(graph_edge_ends(&f->txn, first, &ends));
    assert_int_equal(ends.dst, b);
    assert_err(graph_edge_ends(&f->txn, second, &ends), SOMBRA_NOT_FOUND);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_int_equal(edges_of(f, NULL), 1);
    assert_sound(f);
    rollback(f);
    begin_write(f);
    assert_ok(graph_edge_delete(&f->txn, first));
    commit(f);
    begin_read(f);
    struct graph_key key = key_1(TAG_EDGE_BLOCK, 1);
    sombra_slice value;
    assert_err(kv_get(f->txn.kv, key_slice(&key), &value), SOMBRA_NOT_FOUND);
    assert_sound(f);
    rollback(f);
}

/* ---- beside older formats ---------------------------------------------------------------- */

/* As formats 1 to 3 had it: an entry for each edge, and no blocks. */
static void make_older(struct fixture *f, const struct wanted *wanted)
{
    struct graph_key counters = key_begin(TAG_COUNTERS), blocks = key_begin(TAG_EDGE_BLOCK);
    struct key_span span;
    sombra_slice value;
    uint8_t copy[64], entry[3 * VARINT_BYTES_MAX];
    begin_write(f);
    for (size_t i = 0; i < wanted->count; i++) {
        struct graph_edge edge;
        struct graph_key key = key_1(TAG_EDGE, wanted->ids[i]);
        assert_ok(graph_edge_ends(&f->txn, wanted->ids[i], &edge));
        uint8_t *at = varint_put(entry, edge.src);
        at = varint_put(at, edge.type);
        at = varint_put(at, edge.dst);
        assert_ok(kv_put(f->txn.kv, key_slice(&key), slice_of(entry, (size_t)(at - entry))));
    }
    assert_ok(kv_delete_range(f->txn.kv, span_of(&blocks, &span), NULL));
    assert_ok(kv_get(f->txn.kv, key_slice(&counters), &value));
    size_t bytes = value.bytes;
    memcpy(copy, value.data, bytes);
    copy[0] = GRAPH_FORMAT_PACKED;
    assert_ok(kv_put(f->txn.kv, key_slice(&counters), slice_of(copy, bytes)));
    commit(f);
}

static unsigned stored_format(struct fixture *f)
{
    struct graph_key counters = key_begin(TAG_COUNTERS);
    sombra_slice value;
    assert_ok(kv_get(f->txn.kv, key_slice(&counters), &value));
    return *(const uint8_t *)value.data;
}

static void test_blocks__stand_behind_the_edges_of_older_formats(void **state)
{
    struct fixture *f = *state;
    struct wanted wanted;
    struct random random;
    random_seed(&random, test_seed());
    make_edges(f, &wanted);
    make_older(f, &wanted);
    begin_read(f);
    assert_int_equal(stored_format(f), GRAPH_FORMAT_PACKED);
    assert_sound(f);
    assert_loops(f, &wanted, &random);
    rollback(f);
    begin_write(f);
    assert_ok(graph_edge_change(&f->txn, 1, map_of(f, "i", "since", 5), GRAPH_MERGE));
    for (int i = 0; i < 170; i++)
        wanted.ids[wanted.count++] = edge_new(f, 2, "NEW", 3);
    assert_int_equal(wanted.ids[wanted.count - 170], EDGES + 1);
    for (size_t i = 0; i < wanted.count;) {
        if (i % 5) {
            i++;
            continue;
        }
        assert_ok(graph_edge_delete(&f->txn, wanted.ids[i]));
        memmove(&wanted.ids[i], &wanted.ids[i + 1], (--wanted.count - i) * sizeof *wanted.ids);
        i += 4;
    }
    assert_sound(f);
    assert_loops(f, &wanted, &random);
    commit(f);
    begin_read(f);
    assert_int_equal(stored_format(f), GRAPH_FORMAT);
    assert_int_equal(edges_of(f, NULL), wanted.count);
    assert_sound(f);
    assert_loops(f, &wanted, &random);
    rollback(f);
}

static void test_blocks__mending_moves_older_edges_into_them(void **state)
{
    struct fixture *f = *state;
    struct wanted wanted;
    struct random random;
    struct graph_mend report = { 0 };
    struct graph_key in = key_begin(TAG_IN), older = key_begin(TAG_EDGE), lost = older;
    struct key_span span;
    uint64_t count;
    random_seed(&random, test_seed());
    make_edges(f, &wanted);
    make_older(f, &wanted);
    begin_write(f);
    key_add(&lost, wanted.ids[3]);
    assert_ok(kv_delete_range(f->txn.kv, span_of(&in, &span), NULL));
    assert_ok(kv_delete(f->txn.kv, key_slice(&lost)));
    commit(f);
    assert_ok(graph_mend(f->kv, &report));
    assert_int_equal(report.problems + report.dropped, 0);
    assert_int_equal(report.rebuilt, wanted.count + 1);
    begin_read(f);
    assert_int_equal(stored_format(f), GRAPH_FORMAT);
    assert_sound(f);
    assert_loops(f, &wanted, &random);
    assert_ok(kv_count(f->txn.kv, span_of(&older, &span), 0, &count));
    assert_int_equal(count, 0);
    rollback(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_block__any_edges_are_read_back),
        TEST(test_block__takes_the_bits_that_it_needs),
        TEST(test_block__hostile_bytes_are_corrupt_or_sound),
        TEST(test_blocks__loops_find_every_edge_both_ways),
        TEST(test_blocks__loops_see_what_is_written_before_them),
        TEST(test_blocks__savepoints_keep_what_they_saw),
        TEST(test_blocks__stand_behind_the_edges_of_older_formats),
        TEST(test_blocks__mending_moves_older_edges_into_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
