/* SPDX-License-Identifier: MIT */
/* What a small change costs in the log, told by the statistics of the public API. */
#include "db/db.h"
#include "kv_check.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    /* The log's files grow to 256 KiB, then by doubling: one more byte than 4 MiB makes 8. */
    LOG_BYTES = 4 << 20,
    LOG_OTHER_BYTES = 256 << 10,
    BYTES_EACH = 300,
    NODES = 500,
};

static sombra_txn *begin_write(sombra_db *db)
{
    sombra_txn *txn;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = true;
    expect_ok(sombra_txn_begin(db, &options, &txn));
    return txn;
}

static void commit(sombra_txn *txn)
{
    expect_ok(sombra_txn_commit(txn, SOMBRA_DURABILITY_OFF));
    sombra_txn_close(txn);
}

static void push_text(sombra_value_builder *builder, const char *key, const char *text)
{
    expect_ok(sombra_value_push_key(builder, key, strlen(key)));
    expect_ok(sombra_value_push_string(builder, text, strlen(text)));
}

static void push_number(sombra_value_builder *builder, const char *key, int64_t number)
{
    expect_ok(sombra_value_push_key(builder, key, strlen(key)));
    expect_ok(sombra_value_push_integer(builder, number));
}

/* The five properties of the benchmarks' nodes. */
static sombra_slice node_properties(sombra_value_builder *builder, int64_t number)
{
    char name[40];
    sombra_slice encoded;
    snprintf(name, sizeof name, "node number %d", (int)number);
    sombra_value_builder_reset(builder);
    expect_ok(sombra_value_begin_map(builder));
    push_number(builder, "id", number);
    push_text(builder, "name", name);
    push_number(builder, "age", number % 90);
    push_text(builder, "city", "Kopenhagen");
    push_number(builder, "score", number * 77);
    expect_ok(sombra_value_end_map(builder));
    expect_ok(sombra_value_finish(builder, &encoded));
    return encoded;
}

static sombra_slice one_property(sombra_value_builder *builder, int64_t age)
{
    sombra_slice encoded;
    sombra_value_builder_reset(builder);
    expect_ok(sombra_value_begin_map(builder));
    push_number(builder, "age", age);
    expect_ok(sombra_value_end_map(builder));
    expect_ok(sombra_value_finish(builder, &encoded));
    return encoded;
}

static void test_log__property_update_takes_no_more_than_300_bytes(void **state)
{
    (void)state;
    char directory[] = "/tmp/db_log.XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/store", directory);
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.create = true;
    sombra_db *db;
    expect_ok(sombra_open(path, &options, &db));
    sombra_value_builder *builder;
    expect_ok(sombra_value_builder_new(&builder));
    sombra_node_id nodes[NODES];
    sombra_slice label = slice_str("Person");
    sombra_txn *txn = begin_write(db);
    for (int64_t i = 0; i < NODES; i++)
        expect_ok(sombra_node_create(txn, &label, 1, node_properties(builder, i), &nodes[i]));
    commit(txn);
    expect_ok(sombra_close(db)); /* the log begins anew */
    expect_ok(sombra_open(path, &options, &db));
    for (int64_t i = 0; i < LOG_BYTES / BYTES_EACH; i++) {
        txn = begin_write(db);
        expect_ok(sombra_node_set(txn, nodes[(i * 37) % NODES], one_property(builder, -1 - i)));
        commit(txn);
    }
    sombra_stats stats = SOMBRA_STATS_INIT;
    expect_ok(sombra_db_stats(db, &stats));
    print_message("%d updates: %d bytes of log\n", LOG_BYTES / BYTES_EACH, (int)stats.log_bytes);
    assert_int_equal(stats.commits, LOG_BYTES / BYTES_EACH);
    assert_int_equal(stats.checkpoints, 1); /* the open's first commit goes beside the log */
    assert_true(stats.log_bytes <= LOG_BYTES + LOG_OTHER_BYTES);
    sombra_value_builder_free(builder);
    expect_ok(sombra_close(db));
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log__property_update_takes_no_more_than_300_bytes),
    };
    return cmocka_run_group_tests_name("db, log", tests, NULL, NULL);
}
