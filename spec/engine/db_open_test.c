/* SPDX-License-Identifier: MIT */
/* Databases by path, on the real engine and the real file system. */
#include "db_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static char directory[64];
static char path[96];

static int setup(void **state)
{
    (void)state;
    if (folder_make(directory, sizeof directory, "db_open_test"))
        return -1;
    snprintf(path, sizeof path, "%s/social.sombra", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return folder_remove(directory);
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
    commit(txn);
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
    options.page_bytes = 0;
    options.txn_memory_max = 1000;
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

static void count_problem(void *context, const sombra_problem *problem)
{
    assert_non_null(problem->message);
    assert_true(problem->code != SOMBRA_OK);
    ++*(uint64_t *)context;
}

static bool cancel(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    assert_true(done <= total);
    return false;
}

static void test_db__a_backup_is_the_graph(void **state)
{
    (void)state;
    char copy[128];
    snprintf(copy, sizeof copy, "%s-copy", path);
    sombra_db *db = open_at(path, true, false);
    add_nodes(db, 300);
    sombra_job job = SOMBRA_JOB_INIT;
    job.progress = cancel;
    ERR(sombra_db_backup(db, copy, &job), SOMBRA_CANCELLED);
    ERR(sombra_db_backup(db, "", NULL), SOMBRA_INVALID);
    OK(sombra_db_backup(db, copy, NULL));
    ERR(sombra_db_backup(db, copy, NULL), SOMBRA_EXISTS);
    add_nodes(db, 1);
    sombra_db *saved = open_at(copy, false, false);
    assert_int_equal(count_of(saved, "Person"), 300);
    verify(saved);
    OK(sombra_close(saved));
    OK(sombra_close(db));
}

static void file_read(const char *at, long offset, void *bytes, size_t count)
{
    FILE *file = fopen(at, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fread(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void file_write(const char *at, long offset, const void *bytes, size_t count)
{
    FILE *file = fopen(at, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void test_repair__saves_the_graph_of_a_damaged_file(void **state)
{
    (void)state;
    char copy[128];
    uint64_t told = 0;
    uint8_t zeros[8192] = { 0 };
    sombra_db *db = open_at(path, true, false);
    sombra_repair_report report = SOMBRA_REPAIR_REPORT_INIT;
    sombra_job job = SOMBRA_JOB_INIT;
    job.problem = count_problem;
    job.context = &told;
    snprintf(copy, sizeof copy, "%s-saved", path);
    add_nodes(db, 300);
    ERR(sombra_repair(path, copy, &job, &report), SOMBRA_BUSY);
    OK(sombra_close(db));
    ERR(sombra_repair(path, path, &job, &report), SOMBRA_EXISTS);
    file_write(path, 0, zeros, sizeof zeros);
    OK(sombra_repair(path, copy, &job, &report));
    assert_true(report.problems > 0);
    assert_int_equal(told, report.problems);
    assert_int_equal(report.problems_mended + report.problems_left + report.entries_lost, 0);
    assert_true(report.entries > 600);
    db = open_at(copy, false, false);
    assert_int_equal(count_of(db, "Person"), 300);
    verify(db);
    OK(sombra_close(db));
}

static void index_add(sombra_db *db, const char *property)
{
    sombra_txn *txn = begin(db, true);
    sombra_rule rule = SOMBRA_RULE_INIT;
    uint32_t id;
    rule.kind = SOMBRA_RULE_INDEX;
    rule.subject = slice_str("Person");
    rule.properties[0] = slice_str(property);
    rule.property_count = 1;
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
}

static void numbers_set(sombra_db *db, unsigned count)
{
    sombra_txn *txn = begin(db, true);
    sombra_value_builder *builder;
    OK(sombra_value_builder_new(&builder));
    for (sombra_node_id node = 1; node <= count; node++) {
        sombra_slice map;
        sombra_value_builder_reset(builder);
        OK(sombra_value_begin_map(builder));
        OK(sombra_value_push_key(builder, "number", 6));
        OK(sombra_value_push_integer(builder, (int64_t)node * 1000003));
        OK(sombra_value_end_map(builder));
        OK(sombra_value_finish(builder, &map));
        OK(sombra_node_set(txn, node, map));
    }
    sombra_value_builder_free(builder);
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
}

/* Whichever page is lost, the repaired database is sound, its index whole. */
static void test_repair__mends_what_the_loss_broke(void **state)
{
    (void)state;
    char copy[128];
    sombra_db *db = open_at(path, true, false);
    add_nodes(db, 600);
    numbers_set(db, 600);
    index_add(db, "number");
    OK(sombra_close(db));
    sombra_repair_report sound = SOMBRA_REPAIR_REPORT_INIT;
    snprintf(copy, sizeof copy, "%s-sound", path);
    OK(sombra_repair(path, copy, NULL, &sound));
    assert_int_equal(sound.problems + sound.problems_mended + sound.problems_left +
                         sound.entries_lost + sound.rules_rebuilt,
                     0);
    unsigned rebuilt = 0, dropped = 0;
    for (uint64_t page = 1; page < sound.pages; page++) {
        sombra_repair_report report = SOMBRA_REPAIR_REPORT_INIT;
        sombra_job job = SOMBRA_JOB_INIT;
        uint8_t bytes[6];
        uint64_t told = 0;
        long at = (long)(page * sound.page_bytes + 60);
        job.problem = count_problem;
        job.context = &told;
        file_read(path, at, bytes, sizeof bytes);
        file_write(path, at, "damage", 6);
        snprintf(copy, sizeof copy, "%s-%u", path, (unsigned)page);
        OK(sombra_repair(path, copy, &job, &report));
        file_write(path, at, bytes, sizeof bytes);
        assert_int_equal(report.problems_left, 0);
        assert_int_equal(told, report.problems + report.problems_mended);
        assert_int_equal(report.entries + report.entries_lost, sound.entries);
        db = open_at(copy, false, false);
        verify(db);
        OK(sombra_close(db));
        assert_int_equal(unlink(copy), 0);
        rebuilt += report.rules_rebuilt > 0;
        dropped += report.entries_dropped > 0;
    }
    assert_true(rebuilt > 0 && dropped > 0 && rebuilt > dropped);
}

/* A caller that was compiled with a shorter report gets what it knows. */
static void test_repair__fills_the_report_as_compiled(void **state)
{
    (void)state;
    char copy[128];
    sombra_db *db = open_at(path, true, false);
    OK(sombra_close(db));
    sombra_repair_report report = SOMBRA_REPAIR_REPORT_INIT;
    report.struct_bytes = offsetof(sombra_repair_report, page_bytes);
    report.page_bytes = 77;
    snprintf(copy, sizeof copy, "%s-saved", path);
    OK(sombra_repair(path, copy, NULL, &report));
    assert_true(report.pages > 0);
    assert_int_equal(report.page_bytes, 77);
    report.struct_bytes = 0;
    ERR(sombra_repair(path, copy, NULL, &report), SOMBRA_INVALID);
}

/* ---- what opening costs -------------------------------------------------------------------- */

/* Bytes of the file that are mapped in, in all mappings of it: what was touched, in clusters of 64
 * KiB; false where the system does not say. */
static bool bytes_touched(const char *at, uint64_t *out_bytes)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    uint64_t bytes = 0;
    bool is_ours = false;
    if (!file)
        return false;
    while (fgets(line, sizeof line, file)) {
        unsigned long from, to, resident_kib;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            is_ours = strstr(line, at) && !strstr(line, "-lock") && !strstr(line, "-log");
        else if (is_ours && sscanf(line, "Rss: %lu kB", &resident_kib) == 1)
            bytes += (uint64_t)resident_kib * KiB;
    }
    fclose(file);
    *out_bytes = bytes;
    return true;
}

/* A closed database of so many nodes under a unique index. */
static void make_indexed(const char *at, size_t count)
{
    sombra_db *db = open_at(at, true, false);
    sombra_txn *txn = begin(db, true);
    sombra_rule rule = SOMBRA_RULE_INIT;
    sombra_slice label = slice_str("Person"), *properties = calloc(count, sizeof *properties);
    sombra_value_builder **builders = calloc(count, sizeof(void *));
    sombra_node_id first;
    uint32_t id;
    assert_true(properties && builders);
    rule.kind = SOMBRA_RULE_UNIQUE;
    rule.subject = label;
    rule.properties[rule.property_count++] = slice_str("number");
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    for (size_t i = 0; i < count; i++) {
        OK(sombra_value_builder_new(&builders[i]));
        (void)sombra_value_begin_map(builders[i]);
        (void)sombra_value_push_key(builders[i], "number", 6);
        (void)sombra_value_push_integer(builders[i], (int64_t)i);
        (void)sombra_value_end_map(builders[i]);
        OK(sombra_value_finish(builders[i], &properties[i]));
    }
    OK(sombra_node_create_many(txn, &label, 1, properties, count, &first));
    commit(txn);
    OK(sombra_close(db));
    for (size_t i = 0; i < count; i++)
        sombra_value_builder_free(builders[i]);
    free(builders);
    free(properties);
}

/* Opening, and one lookup by the index: how much of the file that touches. */
static uint64_t bytes_to_find(const char *at, int64_t number)
{
    uint64_t bytes = 0;
    sombra_value_builder *builder;
    sombra_slice values;
    sombra_node_id node;
    OK(sombra_value_builder_new(&builder));
    (void)sombra_value_begin_map(builder);
    (void)sombra_value_push_key(builder, "number", 6);
    (void)sombra_value_push_integer(builder, number);
    (void)sombra_value_end_map(builder);
    OK(sombra_value_finish(builder, &values));
    sombra_db *db = open_at(at, false, true);
    sombra_txn *txn = begin(db, false);
    OK(sombra_node_find(txn, slice_str("Person"), values, &node));
    bool is_known = bytes_touched(at, &bytes);
    sombra_txn_close(txn);
    OK(sombra_close(db));
    sombra_value_builder_free(builder);
    if (!is_known)
        skip();
    return bytes;
}

/* Nothing of an index is read or rebuilt at open: what a lookup right behind it touches is a path
 * of the tree, a few clusters, however many entries there are. */
/* A page each of: head, root, branches, counters, rules, index, node. The kernel maps what stands
 * around a page as well: 64 KiB, and more where it keeps a file in larger pieces (tmpfs). */
enum { LARGE_NODES = 200000, TOUCHED_CLUSTERS = 12 };

static void test_open__reads_nothing_of_indexes(void **state)
{
    (void)state;
    char large[128];
    struct stat file;
    snprintf(large, sizeof large, "%s/large.sombra", directory);
    make_indexed(path, 50);
    make_indexed(large, LARGE_NODES);
    uint64_t few = bytes_to_find(path, 25), many = bytes_to_find(large, LARGE_NODES / 2);
    assert_int_equal(stat(large, &file), 0);
    print_message("open and find touch %llu bytes with 50 nodes, %llu with %d (of %llu)\n",
                  (unsigned long long)few, (unsigned long long)many, LARGE_NODES,
                  (unsigned long long)file.st_size);
    assert_true(few > 0 && many <= TOUCHED_CLUSTERS * 64 * KiB);
    assert_true((uint64_t)file.st_size > 4 * many);
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
        TEST(test_db__a_backup_is_the_graph),
        TEST(test_repair__saves_the_graph_of_a_damaged_file),
        TEST(test_repair__mends_what_the_loss_broke),
        TEST(test_repair__fills_the_report_as_compiled),
        TEST(test_open__reads_nothing_of_indexes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
