/* SPDX-License-Identifier: MIT */
/* Databases by path, on the real engine and the real file system. */
#include "base/base.h"
#include "sombra/sombra.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define NOTHING ((sombra_slice){ NULL, 0 })

static void expect(sombra_err have, sombra_err want, int line)
{
    if (have != want)
        print_error("line %d: %s\n", line, sombra_err_message());
    _assert_int_equal((uintmax_t)have, (uintmax_t)want, __FILE__, line);
}
#define OK(call)        expect(call, SOMBRA_OK, __LINE__)
#define ERR(call, code) expect(call, code, __LINE__)

static char directory[64];
static char path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "db_open_test.XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/social.sombra", directory);
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static sombra_db *open_at(const char *at, bool create, bool readonly)
{
    sombra_db *db;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.create = create;
    options.readonly = readonly;
    OK(sombra_open(at, &options, &db));
    return db;
}

static sombra_txn *begin(sombra_db *db, bool is_write)
{
    sombra_txn *txn;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = is_write;
    OK(sombra_txn_begin(db, &options, &txn));
    return txn;
}

static uint64_t count_of(sombra_db *db, const char *label)
{
    uint64_t count;
    sombra_txn *txn = begin(db, false);
    OK(sombra_node_count(txn, slice_str(label), &count));
    sombra_txn_close(txn);
    return count;
}

static void add_nodes(sombra_db *db, unsigned count)
{
    sombra_txn *txn = begin(db, true);
    sombra_slice label = slice_str("Person");
    sombra_node_id first = 0, node = 0;
    for (unsigned i = 0; i < count; i++) {
        sombra_edge_id edge;
        OK(sombra_node_create(txn, &label, 1, NOTHING, &node));
        if (!first)
            first = node;
        OK(sombra_edge_create(txn, first, slice_str("KNOWS"), node, NOTHING, &edge));
    }
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
}

static void verify(sombra_db *db)
{
    uint64_t problems;
    OK(sombra_db_verify(db, NULL, &problems));
    assert_int_equal(problems, 0);
}

static void test_open__memory_is_a_new_database_each_time(void **state)
{
    (void)state;
    sombra_db *a, *b;
    OK(sombra_open(":memory:", NULL, &a));
    OK(sombra_open(":memory:", NULL, &b));
    add_nodes(a, 500);
    assert_int_equal(count_of(a, "Person"), 500);
    assert_int_equal(count_of(b, "Person"), 0);
    verify(a);
    OK(sombra_close(a));
    OK(sombra_close(b));
}

static void test_open__a_file_keeps_what_was_committed(void **state)
{
    (void)state;
    sombra_db *db = open_at(path, true, false);
    assert_string_equal(sombra_db_path(db), path);
    assert_string_equal(sombra_db_engine(db), "btree");
    add_nodes(db, 2000);
    sombra_txn *undone = begin(db, true);
    sombra_slice label = slice_str("Ghost");
    sombra_node_id node;
    OK(sombra_node_create(undone, &label, 1, NOTHING, &node));
    OK(sombra_close(db)); /* with the transaction open */
    sombra_txn_close(undone);
    db = open_at(path, false, false);
    assert_int_equal(count_of(db, "Person"), 2000);
    assert_int_equal(count_of(db, "Ghost"), 0);
    verify(db);
    sombra_stats stats = SOMBRA_STATS_INIT;
    OK(sombra_db_stats(db, &stats));
    assert_int_equal(stats.nodes, 2000);
    assert_int_equal(stats.edges, 2000);
    assert_true(stats.page_bytes >= 4096 && stats.file_bytes > 0);
    OK(sombra_close(db));
}

static void test_open__what_cannot_be_opened_is_refused(void **state)
{
    (void)state;
    sombra_db *db = NULL;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    ERR(sombra_open(path, &options, &db), SOMBRA_NOT_FOUND);
    assert_non_null(strstr(sombra_err_message(), path));
    ERR(sombra_open("", &options, &db), SOMBRA_INVALID);
    options.engine = "paper";
    ERR(sombra_open(path, &options, &db), SOMBRA_UNSUPPORTED);
    options.engine = "btree";
    options.create = options.readonly = true;
    ERR(sombra_open(path, &options, &db), SOMBRA_INVALID);
    options.readonly = false;
    options.durability = (sombra_durability)7;
    ERR(sombra_open(path, &options, &db), SOMBRA_INVALID);
    options.durability = SOMBRA_DURABILITY_DEFAULT;
    options.page_bytes = 5000;
    ERR(sombra_open(path, &options, &db), SOMBRA_INVALID);
    assert_null(db);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_open__readonly_reads_and_refuses_writers(void **state)
{
    (void)state;
    sombra_db *db = open_at(path, true, false);
    add_nodes(db, 10);
    OK(sombra_close(db));
    db = open_at(path, false, true);
    assert_true(sombra_db_is_readonly(db));
    assert_int_equal(count_of(db, "Person"), 10);
    sombra_txn *txn;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = true;
    ERR(sombra_txn_begin(db, &options, &txn), SOMBRA_READONLY);
    verify(db);
    OK(sombra_close(db));
}

static void test_open__the_same_path_twice_is_one_store(void **state)
{
    (void)state;
    sombra_db *a = open_at(path, true, false), *b = open_at(path, false, false);
    add_nodes(a, 10);
    assert_int_equal(count_of(b, "Person"), 10);
    add_nodes(b, 5);
    assert_int_equal(count_of(a, "Person"), 15);
    OK(sombra_close(a));
    assert_int_equal(count_of(b, "Person"), 15);
    OK(sombra_close(b));
}

static void test_db__a_checkpoint_keeps_everything(void **state)
{
    (void)state;
    sombra_db *db = open_at(path, true, false);
    add_nodes(db, 300);
    OK(sombra_db_checkpoint(db, NULL));
    add_nodes(db, 300);
    OK(sombra_close(db));
    db = open_at(path, false, false);
    assert_int_equal(count_of(db, "Person"), 600);
    verify(db);
    OK(sombra_close(db));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_open__memory_is_a_new_database_each_time),
        TEST(test_open__a_file_keeps_what_was_committed),
        TEST(test_open__what_cannot_be_opened_is_refused),
        TEST(test_open__readonly_reads_and_refuses_writers),
        TEST(test_open__the_same_path_twice_is_one_store),
        TEST(test_db__a_checkpoint_keeps_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
