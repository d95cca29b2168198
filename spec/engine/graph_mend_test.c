/* SPDX-License-Identifier: MIT */
/* Entries are taken out of a store or damaged, and the graph is mended: it must be sound then, and
 * the one that it was where other entries tell what is missing. */
#include "graph_fixture.h"
#include "graph/graph_internal.h"
#include "graph_index_fixture.h"

enum { PEOPLE = 40 };

/* People who know each other, with indexes and constraints, and a bucket. */
static void make_graph(struct fixture *f)
{
    sombra_bucket_id bucket;
    const sombra_bucket_options create = { .create = true };
    char name[32];
    begin_write(f);
    for (int i = 0; i < PEOPLE; i++) {
        const sombra_slice labels[] = { text("Person"), text(i % 2 ? "Odd" : "Even") };
        sombra_node_id node;
        snprintf(name, sizeof name, "name %d", i);
        assert_ok(graph_node_create(&f->txn, labels, 2, map_of(f, "si", "name", name, "age", i % 7),
                                    &node));
        assert_int_equal(node, i + 1);
    }
    for (int i = 0; i < 3 * PEOPLE; i++) {
        sombra_edge_id edge =
            edge_new(f, (sombra_node_id)(i % PEOPLE + 1), i % 3 ? "KNOWS" : "LIKES",
                     (sombra_node_id)(i * 7 % PEOPLE + 1));
        assert_ok(graph_edge_change(&f->txn, edge, map_of(f, "i", "since", i), GRAPH_MERGE));
    }
    rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    rule_new(f, SOMBRA_RULE_INDEX, "Person(age)");
    rule_new(f, SOMBRA_RULE_INDEX, ">KNOWS(since)");
    rule_new(f, SOMBRA_RULE_REQUIRED, "Odd(name)");
    assert_ok(graph_bucket_open(&f->txn, text("b"), &create, &bucket));
    for (int i = 0; i < 50; i++) {
        sombra_key key = sombra_key_integer(i);
        assert_ok(graph_bucket_put(&f->txn, bucket, &key, slice_of("\x00", 1)));
    }
    commit(f);
}

/* All but the counters, in which mending of rules leaves a trace. */
static void content_read(struct fixture *f, struct buf *to)
{
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    buf_reset(to);
    assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ 0 }, &txn));
    assert_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (;;) {
        bool found = false;
        assert_ok(kv_cursor_move(cursor, KV_NEXT, NOTHING, &found));
        if (!found)
            break;
        if (graph_is_format_key(cursor->entry.key))
            continue;
        assert_ok(buf_append_varint(to, cursor->entry.key.bytes));
        assert_ok(buf_append_slice(to, cursor->entry.key));
        assert_ok(buf_append_varint(to, cursor->entry.value.bytes));
        assert_ok(buf_append_slice(to, cursor->entry.value));
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void note_problem(void *context, sombra_err code, const char *message)
{
    struct buf *texts = context;
    assert_int_equal(code, SOMBRA_CORRUPT);
    assert_ok(buf_append_slice(texts, slice_str(message)));
    assert_ok(buf_append_u8(texts, '\n'));
}

/* What the graph and its transaction know by heart. */
static void graph_forget(struct fixture *f)
{
    graph_txn_unlearn(&f->txn);
    graph_release(&f->graph);
    assert_ok(graph_init(&f->graph));
}

/* Mends, and sees that the graph is sound. What the graph knows by heart is forgotten: somebody
 * else made the damage. */
static struct graph_mend mend(struct fixture *f, struct buf *texts)
{
    struct graph_mend report = { .problem = texts ? note_problem : NULL, .context = texts };
    assert_ok(graph_mend(f->kv, &report));
    graph_forget(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
    return report;
}

static struct kv_txn *damage_begin(struct fixture *f)
{
    struct kv_txn *txn;
    assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ .is_write = true }, &txn));
    return txn;
}

/* Every `step`-th key behind a tag, from `first` on. */
static unsigned lose(struct fixture *f, enum graph_tag tag, unsigned first, unsigned step)
{
    struct graph_key prefix = key_begin(tag);
    struct key_span span;
    struct kv_txn *txn = damage_begin(f);
    struct kv_cursor *cursor;
    unsigned lost = 0;
    assert_ok(kv_cursor_open(txn, span_of(&prefix, &span), &cursor));
    for (unsigned i = 0;; i++) {
        uint8_t key[KV_KEY_BYTES_MAX];
        bool found = false;
        assert_ok(kv_cursor_move(cursor, KV_NEXT, NOTHING, &found));
        if (!found)
            break;
        if (i < first || (i - first) % step)
            continue;
        size_t bytes = cursor->entry.key.bytes;
        memcpy(key, cursor->entry.key.data, bytes);
        assert_ok(kv_delete(txn, slice_of(key, bytes)));
        lost++;
    }
    kv_cursor_close(cursor);
    assert_ok(kv_commit(txn, KV_OFF));
    assert_true(lost > 0);
    return lost;
}

static void put(struct fixture *f, struct graph_key key, sombra_slice value)
{
    struct kv_txn *txn = damage_begin(f);
    assert_ok(kv_put(txn, key_slice(&key), value));
    assert_ok(kv_commit(txn, KV_OFF));
}

static void test_mend__a_sound_graph_is_not_changed(void **state)
{
    struct fixture *f = *state;
    struct buf before = BUF_INIT, after = BUF_INIT;
    make_graph(f);
    content_read(f, &before);
    struct graph_mend report = mend(f, NULL);
    content_read(f, &after);
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    assert_int_equal(report.rebuilt + report.dropped + report.problems + report.rules_rebuilt, 0);
    buf_release(&before);
    buf_release(&after);
}

/* Entries that others repeat come back whole. */
static void test_mend__what_others_tell_is_put_again(void **state)
{
    struct fixture *f = *state;
    static const enum graph_tag tags[] = {
        TAG_TYPE_COUNT, TAG_NAME_BY_TEXT, TAG_NAME_BY_ID, TAG_LABEL, TAG_BUCKET_BY_NAME,
        TAG_BUCKET,     TAG_EDGE_BLOCK,   TAG_IN,         TAG_INDEX
    };
    struct buf before = BUF_INIT, after = BUF_INIT;
    make_graph(f);
    content_read(f, &before);
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        for (unsigned step = 1; step <= 2; step++) {
            lose(f, tags[i], 0, step);
            struct graph_mend report = mend(f, NULL);
            content_read(f, &after);
            if (!slice_equal(buf_slice(&before), buf_slice(&after)))
                fail_msg("tag %02x, each %u.", tags[i], step);
            assert_int_equal(report.problems + report.dropped + report.names_made, 0);
            assert_int_equal(report.rules_rebuilt, 4);
        }
    }
    buf_release(&before);
    buf_release(&after);
}

static void test_mend__edges_of_lost_nodes_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct buf texts = BUF_INIT;
    make_graph(f);
    struct graph_key node = key_1(TAG_NODE, 8);
    struct kv_txn *txn = damage_begin(f);
    assert_ok(kv_delete(txn, key_slice(&node)));
    assert_ok(kv_commit(txn, KV_OFF));
    begin_read(f);
    uint64_t edges = edges_of(f, NULL);
    uint64_t out = degree_of(f, 8, SOMBRA_OUT, NULL), in = degree_of(f, 8, SOMBRA_IN, NULL);
    rollback(f);
    struct graph_mend report = mend(f, &texts);
    begin_read(f);
    assert_int_equal(edges_of(f, NULL), edges - out - in);
    assert_int_equal(nodes_of(f, "Person"), PEOPLE - 1);
    rollback(f);
    assert_ok(buf_append_u8(&texts, 0));
    assert_non_null(strstr((const char *)texts.data, "node 8 is lost, which had label 1"));
    assert_non_null(strstr((const char *)texts.data, "node 8\n"));
    assert_int_equal(report.problems, 2 + out + in); /* two labels; each edge once */
    assert_int_equal(report.dropped, 2 + 3 * (out + in));
    buf_release(&texts);
}

static void test_mend__an_edge_is_kept_when_its_properties_are_lost(void **state)
{
    struct fixture *f = *state;
    make_graph(f);
    unsigned lost = lose(f, TAG_OUT, 0, 3);
    struct graph_mend report = mend(f, NULL);
    assert_int_equal(report.bare_edges, lost);
    assert_int_equal(report.problems, lost);
    assert_int_equal(report.dropped, 0);
    begin_read(f);
    assert_int_equal(edges_of(f, NULL), 3 * PEOPLE);
    rollback(f);
    lose(f, TAG_OUT, 0, 1); /* what only the targets know */
    lose(f, TAG_EDGE_BLOCK, 0, 1);
    report = mend(f, NULL);
    assert_int_equal(report.bare_edges, 3 * PEOPLE);
    begin_read(f);
    assert_int_equal(edges_of(f, NULL), 3 * PEOPLE);
    rollback(f);
}

static void test_mend__lost_names_are_made_up(void **state)
{
    struct fixture *f = *state;
    struct buf texts = BUF_INIT;
    sombra_name name;
    make_graph(f);
    lose(f, TAG_NAME_BY_TEXT, 0, 1);
    lose(f, TAG_NAME_BY_ID, 0, 1);
    lose(f, TAG_BUCKET_BY_NAME, 0, 1);
    lose(f, TAG_BUCKET, 0, 1);
    struct graph_mend report = mend(f, &texts);
    assert_int_equal(report.names_made, 3 + 2 + 3 + 1); /* labels, types, properties, a bucket */
    assert_ok(buf_append_u8(&texts, 0));
    assert_non_null(strstr((const char *)texts.data,
                           "the name of label 1 is lost: it is now \"lost-label-1\""));
    begin_write(f);
    assert_int_equal(nodes_of(f, "lost-label-1"), PEOPLE);
    assert_ok(graph_name_by_text(&f->txn, SOMBRA_NAME_TYPE, text("lost-type-2"), &name));
    assert_int_equal(node_new(f, "Person"), PEOPLE + 1); /* and the old name is free again */
    commit(f);
    /* A made name that is taken: the next one. */
    begin_write(f);
    node_new(f, "lost-label-5");
    node_new(f, "later"); /* label 6 */
    commit(f);
    struct graph_key five = key_2(TAG_NAME_BY_ID, SOMBRA_NAME_LABEL, 6);
    put(f, five, text("lost-label-6"));
    mend(f, NULL);
    buf_release(&texts);
}

static void test_mend__a_rule_that_does_not_hold_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct buf texts = BUF_INIT;
    struct graph_key first = key_1(TAG_NODE, 1), second = key_1(TAG_NODE, 3);
    make_graph(f);
    struct kv_txn *txn = damage_begin(f);
    sombra_slice record;
    assert_ok(kv_get(txn, key_slice(&first), &record));
    uint8_t copy[256];
    assert_true(record.bytes <= sizeof copy);
    memcpy(copy, record.data, record.bytes);
    assert_ok(kv_put(txn, key_slice(&second), slice_of(copy, record.bytes)));
    assert_ok(kv_commit(txn, KV_OFF));
    struct graph_mend report = mend(f, &texts);
    assert_int_equal(report.rules_dropped, 1);
    assert_int_equal(report.rules_rebuilt, 3);
    assert_ok(buf_append_u8(&texts, 0));
    assert_non_null(strstr((const char *)texts.data, "rule 1 is dropped"));
    buf_release(&texts);
}

static void test_mend__a_rule_in_the_making_begins_anew(void **state)
{
    struct fixture *f = *state;
    sombra_rule rule = rule_from(SOMBRA_RULE_INDEX, "Odd(age)");
    struct graph_fill progress = { 0 };
    bool is_ready = false;
    uint32_t id = 0;
    make_graph(f);
    begin_write(f);
    assert_ok(graph_rule_begin(&f->txn, &rule, &id));
    commit(f);
    lose(f, TAG_LABEL, 0, 5);
    struct graph_mend report = mend(f, NULL);
    assert_int_equal(report.rules_rebuilt, 4);
    begin_write(f);
    assert_false(rule_get(f, id)->is_ready);
    assert_ok(graph_rule_fill(&f->txn, id, &progress, &is_ready));
    assert_true(is_ready);
    assert_int_equal(entries_of(f, id), PEOPLE / 2);
    assert_sound(f);
    commit(f);
}

static void test_mend__damaged_entries_are_found_and_taken_out(void **state)
{
    struct fixture *f = *state;
    const struct graph_edge other = { .id = 1, .src = 1, .dst = 1, .type = 1 };
    const struct graph_edge none = { .id = 700, .src = 1, .dst = 2, .type = 1 };
    const struct {
        struct graph_key key;
        sombra_slice value;
    } cases[] = {
        { key_1(TAG_NODE, 99), slice_of("\0", 1) },                /* above the next id */
        { key_1(TAG_NODE, UINT64_MAX), slice_of("\0", 1) },        /* above all */
        { key_1(TAG_NODE, 1), slice_of("\x09", 1) },               /* labels cut short */
        { key_1(TAG_NODE, 1), slice_of("\x01\x05", 2) },           /* a label without a name */
        { key_1(TAG_NODE, 2), slice_of("\0\x01\x09\x01\0", 5) },   /* a property without a name */
        { key_1(TAG_NODE, 2), slice_of("\0\x01\x01\x01\xee", 5) }, /* an unsound value */
        { key_1(TAG_NODE, 2), slice_of("\0\x01\xff\xff\xff\xff\x0f\x01\0", 9) }, /* a huge name */
        { key_2(TAG_NODE, 1, 1), slice_of("\0", 1) }, /* one number too many */
        { key_2(TAG_LABEL, 1, 200), NOTHING },
        { key_2(TAG_LABEL, 1, 1), slice_of("x", 1) },
        { key_out(&none), NOTHING },
        { key_in(&none), NOTHING },
        { key_out(&other), NOTHING },
        { key_in(&other), NOTHING },
        { key_1(TAG_EDGE, 1), slice_of("\x01\x01", 2) },
        { key_1(TAG_EDGE, 1), slice_of("\x01\x01\x01", 3) }, /* another target */
        { key_1(TAG_EDGE, 1), slice_of("\x01\x00\x01", 3) }, /* no type */
        { key_1(TAG_EDGE_BLOCK, 1), NOTHING },
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\1\0\1\0\1", 7) },  /* other targets, few edges */
        { key_1(TAG_EDGE_BLOCK, 2), slice_of("\1\0\0\0\1\0\1", 7) },  /* the source 0 */
        { key_1(TAG_EDGE_BLOCK, 2), slice_of("\1\0\7\0\11\0\1", 7) }, /* no such type */
        { key_1(TAG_EDGE_BLOCK, 3), slice_of("\1\0\7\0\1\0\1", 7) },
        { key_1(TAG_EDGE_BLOCK, UINT64_MAX), slice_of("\0\0\1\0\1\0\2", 7) },
        { key_1(TAG_TYPE_COUNT, 1), slice_of("\x03", 1) },
        { key_1(TAG_TYPE_COUNT, 9), slice_of("\x01", 1) },
        { key_2(TAG_NAME_BY_ID, SOMBRA_NAME_LABEL, 9), slice_of("x", 1) },
        { key_2(TAG_NAME_BY_ID, SOMBRA_NAME_LABEL, 2), slice_of("x", 1) },
        { key_2(TAG_NAME_BY_ID, 7, 2), slice_of("x", 1) },
        { key_2(TAG_NAME_BY_TEXT, SOMBRA_NAME_LABEL, 'x'), slice_of("\x02", 1) },
        { key_2(TAG_NAME_BY_TEXT, SOMBRA_NAME_LABEL, 'x'), slice_of("\x02\x02", 2) },
        { key_1(TAG_BUCKET, 9), slice_of("x", 1) },
        { key_1(TAG_BUCKET, 9), slice_of("b", 1) },
        { key_1(TAG_BUCKET_BY_NAME, 'z'), slice_of("\x01", 1) },
        { key_1(TAG_BUCKET_BY_NAME, 'z'), NOTHING },
        { key_2(TAG_ENTRY, 1, 5), slice_of("\0", 1) }, /* no entry key */
        { key_2(TAG_ENTRY, 77, ENTRY_ZERO), slice_of("\0", 1) },
        { key_1(TAG_RULE, 2), slice_of("\0", 1) },
        { key_1(TAG_RULE, 77), slice_of("\0", 1) },
        { key_2(TAG_INDEX, 1, 1), NOTHING },
        { key_1(TAG_FILL, 1), slice_of("x", 1) },
        { key_begin(TAG_COUNTERS), slice_of("\1", 1) },
        { key_begin((enum graph_tag)0x70), NOTHING },
        { key_begin((enum graph_tag)0xff), NOTHING },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct kv_txn *txn;
        make_graph(f);
        put(f, cases[i].key, cases[i].value);
        mend(f, NULL);
        txn = damage_begin(f); /* from nothing */
        assert_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        assert_ok(kv_commit(txn, KV_OFF));
        graph_forget(f);
    }
}

static void test_mend__a_newer_format_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct graph_mend report = { 0 };
    make_graph(f);
    put(f, key_begin(TAG_COUNTERS), slice_of("\x05\x01\x01\x01\0", 5));
    lose(f, TAG_LABEL, 0, 2);
    assert_err(graph_mend(f->kv, &report), SOMBRA_UNSUPPORTED);
    assert_int_equal(report.rebuilt + report.dropped, 0);
}

/* Anything at all may be lost; ranges of keys, as of pages, or single ones. */
static void test_mend__random_losses_leave_a_sound_graph(void **state)
{
    struct fixture *f = *state;
    struct random random;
    uint64_t changed = 0;
    random_seed(&random, test_seed());
    for (int round = 0; round < 24; round++) {
        make_graph(f);
        struct kv_txn *txn = damage_begin(f);
        uint64_t count = 0;
        bool found = false;
        assert_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
        struct kv_cursor *cursor;
        assert_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
        uint64_t run = 0, rare = 1 + random_below(&random, 60);
        for (uint64_t i = 0; i < count; i++) {
            assert_ok(kv_cursor_move(cursor, KV_NEXT, NOTHING, &found));
            if (!run && random_below(&random, rare) == 0)
                run = 1 + random_below(&random, round % 2 ? 1 : 40);
            if (!run)
                continue;
            run--;
            uint8_t key[KV_KEY_BYTES_MAX], value[256];
            size_t key_bytes = cursor->entry.key.bytes, bytes = cursor->entry.value.bytes;
            memcpy(key, cursor->entry.key.data, key_bytes);
            if (round % 3 == 0 && bytes && bytes < sizeof value && key[0] != TAG_COUNTERS) {
                memcpy(value, cursor->entry.value.data, bytes);
                value[random_below(&random, bytes)] ^= (uint8_t)(1u << random_below(&random, 8));
                assert_ok(kv_put(txn, slice_of(key, key_bytes), slice_of(value, bytes)));
            } else {
                assert_ok(kv_delete(txn, slice_of(key, key_bytes)));
            }
        }
        kv_cursor_close(cursor);
        assert_ok(kv_commit(txn, KV_OFF));
        struct graph_mend report = mend(f, NULL);
        changed += report.rebuilt + report.dropped;
        report = mend(f, NULL);
        assert_int_equal(report.rebuilt + report.dropped + report.problems, 0);
        begin_write(f); /* and work goes on */
        edge_new(f, node_new(f, "Free"), "FREE",
                 node_new(f, NULL)); /* of which no damaged rule is */
        assert_sound(f);
        commit(f);
        txn = damage_begin(f);
        assert_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        assert_ok(kv_commit(txn, KV_OFF));
        graph_forget(f);
    }
    assert_true(changed > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_mend__a_sound_graph_is_not_changed),
        TEST(test_mend__what_others_tell_is_put_again),
        TEST(test_mend__edges_of_lost_nodes_are_dropped),
        TEST(test_mend__an_edge_is_kept_when_its_properties_are_lost),
        TEST(test_mend__lost_names_are_made_up),
        TEST(test_mend__a_rule_that_does_not_hold_is_dropped),
        TEST(test_mend__a_rule_in_the_making_begins_anew),
        TEST(test_mend__damaged_entries_are_found_and_taken_out),
        TEST(test_mend__a_newer_format_is_left_alone),
        TEST(test_mend__random_losses_leave_a_sound_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
