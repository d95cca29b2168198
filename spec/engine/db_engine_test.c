/* SPDX-License-Identifier: MIT */
/* The two engines behind one door: which one opens, what contradicts, copies from one to the other,
 * repair and dump of a directory. On real files. */
#include "db_fixture.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_text(const char *part)
{
    if (!strstr(sombra_err_message(), part))
        fail_msg("\"%s\" is not in: %s", part, sombra_err_message());
}

static char directory[64], file[96], store[96], other[96];

static int setup(void **state)
{
    (void)state;
    if (folder_make(directory, sizeof directory, "db_engine_test"))
        return -1;
    snprintf(file, sizeof file, "%s/social.sombra", directory);
    snprintf(store, sizeof store, "%s/social", directory);
    snprintf(other, sizeof other, "%s/other", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return folder_remove(directory);
}

static sombra_options options_of(const char *engine, bool create)
{
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.engine = engine;
    options.create = create;
    options.durability = SOMBRA_DURABILITY_OFF;
    options.busy_timeout_ms = SOMBRA_WAIT_NOT;
    return options;
}

static sombra_db *open_as(const char *path, const char *engine, bool create)
{
    sombra_db *db;
    sombra_options options = options_of(engine, create);
    OK(sombra_open(path, &options, &db));
    return db;
}

/* Nodes with an edge each to the first one, and a bucket. */
static void add_some(sombra_db *db, unsigned count)
{
    sombra_txn *txn = begin(db, true);
    sombra_slice label = slice_str("Person");
    sombra_node_id first = 0, node = 0;
    static const uint8_t truth[] = { 0x02 };
    const sombra_slice value = slice_of(truth, sizeof truth);
    sombra_bucket_options make = SOMBRA_BUCKET_OPTIONS_INIT;
    sombra_bucket_id bucket;
    make.create = true;
    OK(sombra_bucket_open(txn, slice_str("notes"), &make, &bucket));
    for (unsigned i = 0; i < count; i++) {
        sombra_edge_id edge;
        OK(sombra_node_create(txn, &label, 1, NOTHING, &node));
        first = first ? first : node;
        OK(sombra_edge_create(txn, first, slice_str("KNOWS"), node, NOTHING, &edge));
        sombra_key key = sombra_key_integer((int64_t)node);
        OK(sombra_bucket_put(txn, bucket, &key, value));
    }
    commit(txn);
}

static uint64_t nodes_in(sombra_db *db)
{
    uint64_t count;
    sombra_txn *txn = begin(db, false);
    OK(sombra_node_count(txn, slice_str("Person"), &count));
    sombra_txn_close(txn);
    return count;
}

static void verify(sombra_db *db)
{
    uint64_t problems;
    OK(sombra_db_verify(db, NULL, &problems));
    assert_int_equal(problems, 0);
}

static void expect_content(const char *path, const char *engine, uint64_t nodes)
{
    sombra_db *db = open_as(path, NULL, false);
    assert_string_equal(sombra_db_engine(db), engine);
    assert_int_equal(nodes_in(db), nodes);
    sombra_txn *txn = begin(db, false);
    sombra_bucket_options find = SOMBRA_BUCKET_OPTIONS_INIT;
    sombra_bucket_id bucket;
    uint64_t count;
    OK(sombra_bucket_open(txn, slice_str("notes"), &find, &bucket));
    OK(sombra_bucket_count(txn, bucket, NULL, &count));
    assert_int_equal(count, nodes);
    sombra_txn_close(txn);
    verify(db);
    OK(sombra_close(db));
}

static void make(const char *path, const char *engine, unsigned nodes)
{
    sombra_db *db = open_as(path, engine, true);
    add_some(db, nodes);
    OK(sombra_close(db));
}

/* ---- which engine ------------------------------------------------------------------------ */

static void test_engine__what_is_at_the_path_decides(void **state)
{
    (void)state;
    make(file, NULL, 20);
    make(store, "lsm", 30);
    expect_content(file, "btree", 20);
    expect_content(store, "lsm", 30);
    struct stat status;
    assert_int_equal(stat(store, &status), 0);
    assert_true(S_ISDIR(status.st_mode));
    /* Whoever names the engine too must name the one that is there. */
    OK(sombra_close(open_as(file, "btree", true)));
    OK(sombra_close(open_as(store, "lsm", true)));
    sombra_db *db;
    sombra_options options = options_of("lsm", true);
    ERR(sombra_open(file, &options, &db), SOMBRA_INVALID);
    expect_text("it is a file");
    options.engine = "btree";
    ERR(sombra_open(store, &options, &db), SOMBRA_INVALID);
    expect_text("\"lsm\"");
    options.engine = "hash";
    ERR(sombra_open(store, &options, &db), SOMBRA_UNSUPPORTED);
    expect_text("\"hash\"");
    expect_text("\"btree\" and \"lsm\"");
    options.engine = "lsm";
    ERR(sombra_open(":memory:", &options, &db), SOMBRA_UNSUPPORTED);
    expect_text("in memory");
    options.create = false;
    ERR(sombra_open(other, &options, &db), SOMBRA_NOT_FOUND);
    expect_text(other);
}

static void test_engine__a_directory_without_a_database_is_taken_for_lsm_alone(void **state)
{
    (void)state;
    sombra_db *db;
    assert_int_equal(mkdir(store, 0700), 0);
    sombra_options options = options_of(NULL, true);
    ERR(sombra_open(store, &options, &db), SOMBRA_INVALID);
    expect_text("directory without a database");
    options.engine = "btree";
    ERR(sombra_open(store, &options, &db), SOMBRA_INVALID);
    assert_int_equal(rmdir(store), 0); /* nothing was made in it */
    assert_int_equal(mkdir(store, 0700), 0);
    make(store, "lsm", 5);
    expect_content(store, "lsm", 5);
}

#define FOREIGN(path, engine_name, field, value, words)                     \
    do {                                                                    \
        sombra_options foreign = options_of(engine_name, true);             \
        foreign.field = value;                                              \
        ERR(sombra_open(path, &foreign, &db), SOMBRA_INVALID);              \
        expect_text(words);                                                 \
        expect_text(strcmp(engine_name, "lsm") == 0 ? "btree" : "\"lsm\""); \
        assert_int_equal(access(path, F_OK), -1);                           \
    } while (0)

static void test_engine__options_of_the_other_engine_are_refused_by_name(void **state)
{
    (void)state;
    sombra_db *db;
    FOREIGN(file, "btree", cache_bytes, 1 << 20, "cache size");
    FOREIGN(file, "btree", memtable_bytes, 1 << 20, "memtable size");
    FOREIGN(file, "btree", block_bytes, 4096, "block size");
    FOREIGN(file, "btree", filter_bits, 10, "filter bits");
    FOREIGN(file, "btree", codec, "none", "codec");
    FOREIGN(file, "btree", bottom_codec, "none", "bottom codec");
    FOREIGN(file, "btree", compaction, "leveled", "compaction");
    FOREIGN(file, "btree", table_bytes, 1 << 20, "table size");
    FOREIGN(file, "btree", level_bytes, 1 << 20, "level size");
    FOREIGN(file, "btree", level_ratio, 10, "level ratio");
    FOREIGN(file, "btree", compaction_threads, 1, "compaction threads");
    FOREIGN(file, "btree", compaction_rate, 1, "compaction rate");
    FOREIGN(store, "lsm", page_bytes, 4096, "page size");
    FOREIGN(store, "lsm", wal_bypass_bytes, 4096, "wal_bypass_bytes");
    FOREIGN(store, "lsm", no_auto_compact, true, "automatic compaction");
    sombra_options options = options_of("lsm", true);
    options.codec = "brotli";
    ERR(sombra_open(store, &options, &db), SOMBRA_INVALID);
    expect_text("none of none, lz4, zlib, zstd");
    options.codec = NULL;
    options.compaction = "lazy";
    ERR(sombra_open(store, &options, &db), SOMBRA_INVALID);
    expect_text("neither leveled nor tiered");
    options.compaction = "tiered";
    options.codec = "none";
    options.bottom_codec = "zlib";
    options.filter_bits = SOMBRA_NO_FILTER;
    options.network_files = true; /* is of both */
    OK(sombra_open(store, &options, &db));
    add_some(db, 10);
    OK(sombra_close(db));
    expect_content(store, "lsm", 10);
}

/* ---- copies ------------------------------------------------------------------------------ */

struct watch {
    uint64_t calls, cancel_at;
};

static bool watch_progress(void *context, uint64_t done, uint64_t total)
{
    struct watch *watch = context;
    (void)done, (void)total;
    return ++watch->calls != watch->cancel_at;
}

static uint64_t entries_of(const char *path)
{
    sombra_db *db = open_as(path, NULL, false);
    sombra_stats stats = SOMBRA_STATS_INIT;
    sombra_txn *txn = begin(db, false);
    OK(sombra_db_stats(db, &stats));
    sombra_txn_close(txn);
    OK(sombra_close(db));
    return stats.entries;
}

static void test_engine__a_copy_has_the_same_content_on_either_engine(void **state)
{
    (void)state;
    make(file, "btree", 700);
    uint64_t entries = 0, back = 0;
    sombra_options options = options_of("lsm", false);
    options.bottom_codec = "zlib";
    OK(sombra_copy(file, store, &options, NULL, &entries));
    assert_int_equal(entries, entries_of(file));
    expect_content(store, "lsm", 700);
    options = options_of(NULL, false);
    OK(sombra_copy(store, other, &options, NULL, &back));
    assert_int_equal(back, entries);
    expect_content(other, "btree", 700);
    /* The copy lives on as any database. */
    sombra_db *db = open_as(other, NULL, false);
    sombra_txn *txn = begin(db, true);
    sombra_node_id node;
    sombra_slice label = slice_str("Person");
    OK(sombra_node_create(txn, &label, 1, NOTHING, &node));
    assert_int_equal(node, 701); /* the counters came along */
    sombra_txn_close(txn);
    OK(sombra_close(db));

    ERR(sombra_copy(file, store, &options, NULL, &entries), SOMBRA_EXISTS);
    expect_text(store);
    ERR(sombra_copy(store, file, &options, NULL, &entries), SOMBRA_EXISTS);
    char nowhere[128], target[128];
    snprintf(nowhere, sizeof nowhere, "%s/nowhere", directory);
    snprintf(target, sizeof target, "%s/target", directory);
    ERR(sombra_copy(nowhere, target, &options, NULL, &entries), SOMBRA_NOT_FOUND);
    assert_int_equal(access(target, F_OK), -1);
    expect_content(store, "lsm", 700);
}

static void test_engine__an_unfinished_copy_does_not_open(void **state)
{
    (void)state;
    make(file, "btree", 400);
    const char *engines[] = { "btree", "lsm" };
    for (unsigned e = 0; e < 2; e++) {
        char to[128];
        sombra_options options = options_of(engines[e], false);
        unsigned cancelled = 0;
        for (uint64_t at = 1; at < 40; at += 3) {
            struct watch watch = { .cancel_at = at };
            sombra_job job = SOMBRA_JOB_INIT;
            job.progress = watch_progress;
            job.context = &watch;
            snprintf(to, sizeof to, "%s/copy %s %u", directory, engines[e], (unsigned)at);
            sombra_err err = sombra_copy(file, to, &options, &job, NULL);
            if (!err)
                break;
            ERR(err, SOMBRA_CANCELLED);
            cancelled++;
            sombra_db *db;
            assert_int_not_equal(sombra_open(to, NULL, &db), SOMBRA_OK);
            expect_text("never finished");
        }
        assert_true(cancelled > 1);
        expect_content(to, engines[e], 400);
    }
}

/* ---- read-only beside a writer ----------------------------------------------------------- */

static void test_engine__refresh_shows_what_another_process_committed(void **state)
{
    (void)state;
    int go[2], done[2];
    char byte = 0;
    make(store, "lsm", 10);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sombra_db *db;
        sombra_options options = options_of(NULL, false);
        sombra_err err = sombra_open(store, &options, &db);
        while (!err && read(go[0], &byte, 1) == 1 && byte == 'w') {
            add_some(db, 10);
            err = write(done[1], &byte, 1) == 1 ? SOMBRA_OK : SOMBRA_IO;
        }
        _exit(err ? 1 : 0); /* without a close */
    }
    assert_int_equal(write(go[1], "w", 1), 1);
    assert_int_equal(read(done[0], &byte, 1), 1);
    sombra_db *db, *writer;
    sombra_options options = options_of(NULL, false);
    options.readonly = true;
    OK(sombra_open(store, &options, &db));
    assert_int_equal(nodes_in(db), 20);
    assert_int_equal(write(go[1], "w", 1), 1);
    assert_int_equal(read(done[0], &byte, 1), 1);
    assert_int_equal(nodes_in(db), 20);
    OK(sombra_db_refresh(db));
    assert_int_equal(nodes_in(db), 30);
    verify(db);
    OK(sombra_close(db));
    options.readonly = false;
    ERR(sombra_open(store, &options, &writer), SOMBRA_BUSY);
    expect_text("another process");
    assert_int_equal(write(go[1], "x", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_content(store, "lsm", 30);
    db = open_as(store, NULL, false); /* and where it means nothing */
    OK(sombra_db_refresh(db));
    OK(sombra_close(db));
}

/* ---- repair, dump, backup ---------------------------------------------------------------- */

static void test_engine__a_directory_is_repaired_to_a_directory(void **state)
{
    (void)state;
    char command[256];
    make(store, "lsm", 300);
    snprintf(command, sizeof command, "rm '%s/MANIFEST'", store);
    assert_int_equal(system(command), 0);
    sombra_db *db;
    sombra_options options = options_of("lsm", false);
    ERR(sombra_open(store, &options, &db), SOMBRA_CORRUPT);
    expect_text("no MANIFEST");
    sombra_repair_report report = SOMBRA_REPAIR_REPORT_INIT;
    OK(sombra_repair(store, other, NULL, &report));
    assert_int_equal(report.problems, 1);
    assert_int_equal(report.problems_left, 0);
    assert_int_equal(report.entries_uncertain, report.entries);
    assert_false(report.is_lost_exact);
    assert_true(report.pages > 0 && report.pages_damaged == 0);
    expect_content(other, "lsm", 300);
    ERR(sombra_repair(store, other, NULL, &report), SOMBRA_EXISTS);
}

static void name_index_add(const char *at)
{
    sombra_db *db = open_as(at, NULL, false);
    sombra_txn *txn = begin(db, true);
    sombra_rule rule = SOMBRA_RULE_INIT;
    uint32_t id;
    rule.kind = SOMBRA_RULE_INDEX;
    rule.subject = slice_str("Person");
    rule.properties[0] = slice_str("name");
    rule.property_count = 1;
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
    OK(sombra_db_compact(db, NULL));
    OK(sombra_close(db));
}

/* Blocks of the table are lost, one after the other: what is left is sound each time. */
static void test_engine__a_repaired_directory_is_sound(void **state)
{
    (void)state;
    char command[512];
    make(store, "lsm", 500);
    name_index_add(store);
    uint64_t mended = 0;
    for (unsigned at = 500; at < 8000; at += 1500) {
        sombra_repair_report report = SOMBRA_REPAIR_REPORT_INIT;
        snprintf(command, sizeof command,
                 "for f in '%s'/*.sst; do printf damage | dd of=$f bs=1 seek=%u conv=notrunc "
                 "2>/dev/null; done",
                 store, at);
        assert_int_equal(system(command), 0);
        OK(sombra_repair(store, other, NULL, &report));
        assert_true(report.problems > 0);
        assert_int_equal(report.problems_left, 0);
        mended += report.problems_mended + report.entries_rebuilt;
        sombra_db *db = open_as(other, NULL, false);
        verify(db);
        OK(sombra_close(db));
        snprintf(command, sizeof command, "rm -r '%s'", other);
        assert_int_equal(system(command), 0);
    }
    assert_true(mended > 0);
}

static bool line_note(void *context, const char *line)
{
    assert_non_null(line);
    ++*(unsigned *)context;
    return true;
}

static void test_engine__a_directory_is_dumped(void **state)
{
    (void)state;
    unsigned lines = 0;
    make(store, "lsm", 50);
    OK(sombra_dump(store, SOMBRA_DUMP_META, 0, line_note, &lines));
    assert_int_equal(lines, 1);
    OK(sombra_dump(store, SOMBRA_DUMP_TREE, 0, line_note, &lines));
    assert_int_equal(lines, 3); /* a run and a table more */
    lines = 0;
    OK(sombra_dump(store, SOMBRA_DUMP_PAGE, 1, line_note, &lines));
    assert_true(lines > 100);
    ERR(sombra_dump(store, SOMBRA_DUMP_PAGE, 99, line_note, &lines), SOMBRA_NOT_FOUND);
    OK(sombra_dump(store, SOMBRA_DUMP_LOG, 0, line_note, &lines));
    ERR(sombra_dump(other, SOMBRA_DUMP_META, 0, line_note, &lines), SOMBRA_NOT_FOUND);
}

static void test_engine__a_backup_of_lsm_is_a_database(void **state)
{
    (void)state;
    make(store, "lsm", 60);
    sombra_db *db = open_as(store, NULL, false);
    add_some(db, 5);
    OK(sombra_db_backup(db, other, NULL));
    ERR(sombra_db_backup(db, other, NULL), SOMBRA_EXISTS);
    OK(sombra_db_checkpoint(db, NULL));
    OK(sombra_db_compact(db, NULL));
    OK(sombra_close(db));
    expect_content(other, "lsm", 65);
    expect_content(store, "lsm", 65);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_engine__what_is_at_the_path_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_engine__a_directory_without_a_database_is_taken_for_lsm_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_engine__options_of_the_other_engine_are_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine__a_copy_has_the_same_content_on_either_engine,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine__an_unfinished_copy_does_not_open, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine__refresh_shows_what_another_process_committed,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine__a_repaired_directory_is_sound, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine__a_directory_is_repaired_to_a_directory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine__a_directory_is_dumped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine__a_backup_of_lsm_is_a_database, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
