/* SPDX-License-Identifier: MIT */
/* Opening and closing: what is there, what is asked for, what is refused and in which words. On the
 * simulated machine but for what is about real files. */
#include "lsm/manifest_format.h"
#include "lsm_store.h"
#include "os/os_ops.h"
#include "wal/wal_format.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static struct lsm_options quiet(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(16 * KiB), .no_background = true };
}

static void expect_text(const char *part)
{
    if (!strstr(sombra_err_message(), part))
        fail_msg("\"%s\" is not in: %s", part, sombra_err_message());
}

static void commit_words(struct kv *kv, const char *words)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_words(txn, words);
    expect_ok(kv_commit(txn, KV_FULL));
}

static void expect_content(struct kv *kv, const char *words)
{
    struct kv_txn *txn = kv_begin_read(kv);
    kv_expect_words(txn, NULL, NULL, words);
    kv_abort(txn);
}

static void fill(struct kv *kv, uint64_t first, uint64_t last, size_t value_bytes, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, first, last, value_bytes, salt);
    expect_ok(kv_commit(txn, KV_OFF));
}

/* ---- what is there ----------------------------------------------------------------------- */

struct machine {
    struct os_sim *sim;
    struct os *os;
};

static struct machine machine_new(void)
{
    struct machine machine = { .sim = os_sim_new(NULL) };
    machine.os = os_sim_start(machine.sim);
    return machine;
}

static void test_lsm_open__nothing_there_is_not_found_and_nothing_is_made(void **state)
{
    (void)state;
    struct machine machine = machine_new();
    struct lsm_options options = quiet();
    struct kv *kv;
    options.create = false;
    expect_err(SOMBRA_NOT_FOUND, lsm_open(machine.os, "data", &options, &kv));
    expect_text("create");
    expect_text("data");
    options.create = options.is_readonly = true;
    expect_err(SOMBRA_NOT_FOUND, lsm_open(machine.os, "data", &options, &kv));
    struct os_identity identity;
    expect_err(SOMBRA_NOT_FOUND, os_identify_path(machine.os, "data", &identity));
    assert_false(lsm_store_is_at(machine.os, "data"));

    expect_ok(os_make_directory(machine.os, "data", 0700));
    options.create = options.is_readonly = false;
    expect_err(SOMBRA_NOT_FOUND, lsm_open(machine.os, "data", &options, &kv));
    expect_text("no store is here");
    options.is_readonly = true;
    expect_err(SOMBRA_NOT_FOUND, lsm_open(machine.os, "data", &options, &kv));
    assert_string_equal(names_of(machine.os, "data").text, "");
    options = quiet();
    expect_err(SOMBRA_NOT_FOUND, lsm_open(machine.os, "none/data", &options, &kv));
    os_sim_free(machine.sim);
}

static void test_lsm_open__an_empty_directory_becomes_a_store(void **state)
{
    (void)state;
    struct machine machine = machine_new();
    struct lsm_options options = quiet();
    struct kv *kv;
    expect_ok(os_make_directory(machine.os, "data", 0700));
    expect_ok(lsm_open(machine.os, "data", &options, &kv));
    assert_true(lsm_store_is_at(machine.os, "data"));
    commit_words(kv, "a b c");
    expect_ok(kv_close(kv));
    options.create = false;
    expect_ok(lsm_open(machine.os, "data", &options, &kv));
    expect_content(kv, "a b c");
    expect_ok(kv_close(kv));
    os_sim_free(machine.sim);
}

static void test_lsm_open__foreign_files_are_named_and_left_alone(void **state)
{
    (void)state;
    struct machine machine = machine_new();
    struct lsm_options options = quiet();
    struct kv *kv;
    expect_ok(os_make_directory(machine.os, "data", 0700));
    lsm_store_file_make(machine.os, "data/letter.txt", "dear");
    expect_err(SOMBRA_EXISTS, lsm_open(machine.os, "data", &options, &kv));
    expect_text("letter.txt");
    options.create = false;
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        options.is_readonly = readonly;
        expect_err(SOMBRA_NOT_FOUND, lsm_open(machine.os, "data", &options, &kv));
    }
    options.is_readonly = false;
    assert_string_equal(names_of(machine.os, "data").text, " letter.txt");
    lsm_store_file_make(machine.os, "file", "no directory");
    for (unsigned create = 0; create < 2; create++) {
        options.create = create;
        expect_err(SOMBRA_INVALID, lsm_open(machine.os, "file", &options, &kv));
        expect_text("is a file");
    }
    os_sim_free(machine.sim);
}

/* All allocations fail from one on: the error says so, and not that there is no store. */
static void test_lsm_open__out_of_memory_is_told_as_such(void **state)
{
    (void)state;
    struct machine machine = machine_new();
    struct lsm_options options = quiet();
    struct kv *kv;
    expect_ok(lsm_open(machine.os, "data", &options, &kv));
    commit_words(kv, "a b c");
    expect_ok(kv_close(kv));
    sombra_err err = SOMBRA_NOMEM;
    uint64_t nth;
    for (nth = 1; err; nth++) {
        mem_test_fail_at(nth, true);
        err = lsm_open(machine.os, "data", &options, &kv);
        mem_test_fail_at(0, false);
        if (err)
            expect_err(SOMBRA_NOMEM, err);
    }
    assert_true(nth > 10);
    expect_content(kv, "a b c");
    expect_ok(kv_close(kv));
    os_sim_free(machine.sim);
}

static void test_lsm_open__tables_without_a_manifest_are_damage(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    commit_words(store.kv, "a b c");
    lsm_store_close(&store);
    expect_ok(os_rename(store.os, "data/MANIFEST", "data/elsewhere"));
    for (unsigned create = 0; create < 2; create++) {
        options.create = create;
        expect_err(SOMBRA_CORRUPT, lsm_open(store.os, store.path, &options, &store.kv));
        expect_text("no MANIFEST");
        expect_text(".sst");
    }
    assert_int_equal(names_of(store.os, store.path).tables, 1);
    expect_ok(os_rename(store.os, "data/elsewhere", "data/MANIFEST"));
    lsm_store_open(&store);
    expect_content(store.kv, "a b c");
    lsm_store_release(&store);
}

/* Files that are not the store's stay where they are, whatever it does. */
static void test_lsm_open__other_names_in_a_store_are_left_alone(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    lsm_store_file_make(store.os, "data/notes", "mine");
    lsm_store_file_make(store.os, "data/1.sst", "mine");
    lsm_store_close(&store);
    lsm_store_open(&store);
    lsm_store_close(&store);
    struct names names = names_of(store.os, store.path);
    assert_non_null(strstr(names.text, " notes"));
    assert_non_null(strstr(names.text, " 1.sst"));
    lsm_store_release(&store);
}

/* ---- options ----------------------------------------------------------------------------- */

static void expect_refused(const struct lsm_options *options, const char *name, const char *value,
                           const char *limits)
{
    struct machine machine = machine_new();
    struct kv *kv;
    expect_err(SOMBRA_INVALID, lsm_open(machine.os, "data", options, &kv));
    expect_text(name);
    expect_text(value);
    expect_text(limits);
    assert_string_equal(names_of(machine.os, ".").text, "");
    os_sim_free(machine.sim);
}

#define REFUSED(field, words, given, limits)         \
    do {                                             \
        struct lsm_options bad = quiet();            \
        bad.field = given;                           \
        expect_refused(&bad, words, #given, limits); \
    } while (0)

static void test_lsm_open__options_out_of_range_are_named_with_their_limits(void **state)
{
    (void)state;
    REFUSED(sync_interval_ms, "sync interval in ms", 3600001, "from 1 to 3600000");
    REFUSED(group_wait_us, "group wait in us", 1000001, "from 1 to 1000000");
    REFUSED(memtable_bytes, "memtable size", 4095, "from 4096 to");
    REFUSED(memtable_bytes, "memtable size", 17179869185, "to 17179869184");
    REFUSED(memtables_max, "memtables_max", 61, "from 1 to 60");
    REFUSED(cache_bytes, "cache size", 65535, "from 65536 to");
    REFUSED(tables_open_max, "tables_open_max", 7, "from 8 to 1000000");
    REFUSED(tables_open_max, "tables_open_max", 1000001, "from 8 to 1000000");
    REFUSED(block_bytes, "block size", 1023, "from 1024 to 1048576");
    REFUSED(block_bytes, "block size", 1048577, "from 1024 to 1048576");
    REFUSED(filter_bits, "filter bits", 33, "from 1 to 32");
    REFUSED(table_bytes, "table size", 4095, "from 4096 to");
    REFUSED(level_bytes, "level size", 4095, "from 4096 to");
    REFUSED(level_ratio, "level ratio", 1, "from 2 to 100");
    REFUSED(level_ratio, "level ratio", 101, "from 2 to 100");
    REFUSED(level0_compact, "level0_compact", 1001, "from 1 to 1000");
    REFUSED(level0_slow, "level0_slow", 10001, "from 1 to 10000");
    REFUSED(level0_stop, "level0_stop", 1, "from 2 to 10000");
    REFUSED(threads, "compaction threads", 65, "from 1 to 64");
    REFUSED(durability, "durability", 17, "durability");
    REFUSED(style, "style", 3, "leveled is 0, tiered 1");
    REFUSED(codec, "codec", 9, "codec");
    REFUSED(bottom_codec, "bottom_codec", 9, "codec");
    struct lsm_options order = quiet();
    order.level0_slow = 5;
    order.level0_compact = 6;
    expect_refused(&order, "level0_slow", "5", "no less than the one before");
    struct lsm_options nameless = quiet();
    nameless.prefix.bytes = (size_t(*)(sombra_slice))(uintptr_t)1;
    expect_refused(&nameless, "prefix", "no name", "");
}

static void test_lsm_open__limits_themselves_are_accepted(void **state)
{
    (void)state;
    struct lsm_options least = { .create = true,
                                 .sync_interval_ms = 1,
                                 .group_wait_us = 1,
                                 .memtable_bytes = 4 * KiB,
                                 .memtables_max = 1,
                                 .block_bytes = KiB,
                                 .filter_bits = 1,
                                 .table_bytes = 4 * KiB,
                                 .level_bytes = 4 * KiB,
                                 .level_ratio = 2,
                                 .level0_compact = 1,
                                 .level0_slow = 1,
                                 .level0_stop = 2,
                                 .cache_bytes = 64 * KiB,
                                 .tables_open_max = 8 };
    struct lsm_store store;
    lsm_store_init_simulated(&store, &least);
    for (uint64_t i = 0; i < 40; i++)
        fill(store.kv, 10 * i, 10 * i + 10, 100, i);
    kv_expect_sound(store.kv);
    lsm_store_close(&store);
    store.options = (struct lsm_options){ .block_bytes = MiB,
                                          .filter_bits = 32,
                                          .level_ratio = 100,
                                          .threads = 64,
                                          .memtables_max = 60 };
    lsm_store_open(&store);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* ---- formats ----------------------------------------------------------------------------- */

/* Changes a byte of the first record's payload and seals the record again. */
static void manifest_patch(struct os *os, uint32_t at, uint8_t value)
{
    struct os_file *file;
    uint64_t bytes;
    expect_ok(os_open(os, "data/MANIFEST", OS_WRITE, 0, &file));
    expect_ok(os_size(file, &bytes));
    uint8_t *all = malloc(bytes);
    assert_non_null(all);
    expect_ok(os_read(file, 0, all, bytes));
    uint32_t payload_bytes = get_le32(all + WAL_PAYLOAD_BYTES);
    assert_true(WAL_HEADER_BYTES + payload_bytes <= bytes);
    all[WAL_HEADER_BYTES + at] = value;
    put_le32(all + WAL_CRC, crc32_update(0, all + WAL_PAYLOAD_BYTES,
                                         WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES + payload_bytes));
    expect_ok(os_write(file, 0, all, WAL_HEADER_BYTES + payload_bytes));
    os_close(file);
    free(all);
}

static void test_lsm_open__a_newer_format_is_unsupported(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    commit_words(store.kv, "a");
    lsm_store_close(&store);
    struct names before = names_of(store.os, store.path);
    manifest_patch(store.os, MANIFEST_FORMAT, MANIFEST_FORMAT_VERSION + 1);
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        options.is_readonly = readonly;
        expect_err(SOMBRA_UNSUPPORTED, lsm_open(store.os, store.path, &options, &store.kv));
        expect_text("MANIFEST");
    }
    assert_string_equal(before.text, names_of(store.os, store.path).text);
    lsm_store_release(&store);
}

/* ---- network ----------------------------------------------------------------------------- */

static void test_lsm_open__a_network_file_system_is_refused_unless_allowed(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(&(struct os_sim_options){ .is_network = true });
    struct os *os = os_sim_start(sim);
    struct lsm_options options = quiet();
    struct kv *kv;
    expect_err(SOMBRA_UNSUPPORTED, lsm_open(os, "data", &options, &kv));
    expect_text("network_files");
    options.allows_network = true;
    expect_ok(lsm_open(os, "data", &options, &kv));
    commit_words(kv, "a b");
    expect_ok(kv_close(kv));
    options = quiet();
    options.is_readonly = true;
    expect_err(SOMBRA_UNSUPPORTED, lsm_open(os, "data", &options, &kv));
    os_sim_free(sim);
}

/* ---- handles ----------------------------------------------------------------------------- */

static void test_lsm_open__handles_of_a_process_share_one_store(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet(), others = { .is_readonly = true, .txn_memory_max = 1 };
    lsm_store_init(&store, &options);
    char name[128];
    snprintf(name, sizeof name, "%s/link", store.directory);
    assert_int_equal(symlink("data", name), 0);
    struct kv *again;
    expect_ok(lsm_open(store.os, name, &others, &again));
    assert_ptr_equal(again, store.kv); /* the first opener's options hold: it may be written */
    commit_words(again, "a b c");
    expect_content(store.kv, "a b c");
    expect_ok(kv_close(again));
    expect_content(store.kv, "a b c");
    lsm_store_close(&store);

    options.is_readonly = true;
    options.create = false;
    expect_ok(lsm_open(store.os, name, &options, &again));
    options.is_readonly = false;
    struct kv *writer;
    expect_err(SOMBRA_BUSY, lsm_open(store.os, store.path, &options, &writer));
    expect_text("read-only in this process");
    expect_ok(kv_close(again));
    expect_ok(lsm_open(store.os, store.path, &options, &store.kv));
    lsm_store_release(&store);
}

/* The old one once shared itself with who opened the new one (a new directory may have the number
 * of a removed one), made tables there and removed its log. */
static void test_lsm_open__a_store_made_anew_is_left_alone_by_the_one_before(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    struct kv *old, *kv;
    lsm_store_init(&store, &options);
    old = store.kv;
    commit_words(old, "a b c");
    for (int i = 0; i < 3; i++) {
        lsm_store_remove(store.path);
        expect_ok(lsm_open(store.os, store.path, &options, &kv));
        assert_ptr_not_equal(kv, old);
        expect_content(kv, "");
        commit_words(kv, "x y");
        struct names before = names_of(store.os, store.path);
        if (i == 0) {
            fill(old, 1, 10, 100, 1); /* in its memory and its removed log */
            struct kv_maintenance job = { .kind = KV_CHECKPOINT };
            expect_err(SOMBRA_CONFLICT, kv_maintain(old, &job));
            expect_text("was moved or replaced");
        }
        if (i > 0)
            expect_content(old, "x y");
        struct names after = names_of(store.os, store.path);
        assert_string_equal(after.text, before.text);
        expect_err(i == 0 ? SOMBRA_IO : SOMBRA_CONFLICT, kv_close(old));
        after = names_of(store.os, store.path);
        assert_string_equal(after.text, before.text);
        expect_content(kv, "x y");
        old = kv;
    }
    store.kv = old;
    lsm_store_close(&store);
    lsm_store_open(&store);
    expect_content(store.kv, "x y");
    lsm_store_release(&store);
}

static void test_lsm_open__a_store_with_open_transactions_is_not_closed(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    for (unsigned is_write = 0; is_write < 2; is_write++) {
        struct kv_txn *txn = is_write ? kv_begin_write(store.kv) : kv_begin_read(store.kv);
        expect_err(SOMBRA_BUSY, kv_close(store.kv));
        expect_text(is_write ? "open write transaction" : "open transactions");
        kv_abort(txn);
    }
    commit_words(store.kv, "goes on");
    lsm_store_release(&store);
}

/* ---- ends -------------------------------------------------------------------------------- */

static void test_lsm_open__a_clean_close_leaves_no_log(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    assert_int_equal(names_of(store.os, store.path).logs, 0);
    commit_words(store.kv, "a b c");
    assert_int_equal(names_of(store.os, store.path).logs, 1);
    lsm_store_close(&store);
    struct names names = names_of(store.os, store.path);
    assert_int_equal(names.logs, 0);
    assert_int_equal(names.tables, 1);
    assert_int_equal(names.others, 2); /* LOCK, MANIFEST */
    lsm_store_open(&store);
    assert_int_equal(kv_metrics_count(store.kv->metrics, KV_COUNTER_RECOVERIES), 0);
    expect_content(store.kv, "a b c");
    lsm_store_release(&store);
}

/* Opens, reads, gives up a write and closes while every call that changes a disk would fail. */
static void look_without_writing(struct lsm_store *store, const char *words)
{
    os_sim_fail(store->sim, &(struct os_sim_fault){ .kind = OS_SIM_EIO,
                                                    .nth = 1,
                                                    .is_sticky = true,
                                                    .calls = (1U << OS_SIM_CALLS) - 1 });
    lsm_store_open(store);
    expect_content(store->kv, words);
    struct kv_txn *txn = kv_begin_write(store->kv);
    kv_put_words(txn, "given up");
    kv_abort(txn);
    txn = kv_begin_write(store->kv);
    expect_ok(kv_commit(txn, KV_FULL)); /* of nothing */
    expect_ok(kv_maintain(store->kv, &(struct kv_maintenance){ .kind = KV_CHECKPOINT }));
    lsm_store_close(store);
    os_sim_fail(store->sim, NULL);
}

static void test_lsm_open__who_only_reads_writes_nothing(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    lsm_store_close(&store);
    look_without_writing(&store, ""); /* a store that nobody ever wrote to */
    lsm_store_open(&store);
    commit_words(store.kv, "a b c");
    lsm_store_close(&store);
    struct names before = names_of(store.os, store.path);
    look_without_writing(&store, "a b c");
    assert_string_equal(names_of(store.os, store.path).text, before.text);
    lsm_store_open(&store);
    commit_words(store.kv, "d");
    lsm_store_close(&store);
    look_without_writing(&store, "a b c d");
    lsm_store_release(&store);
}

static void test_lsm_open__an_unclean_end_is_recovered(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    commit_words(store.kv, "a b c");
    commit_words(store.kv, "d");
    os_sim_kill(store.os);
    assert_int_not_equal(kv_close(store.kv), SOMBRA_OK);
    store.kv = NULL;
    store.os = os_sim_start(store.sim);
    assert_int_equal(names_of(store.os, store.path).logs, 1);

    store.options.is_readonly = true; /* reads it, and writes nothing */
    struct names before = names_of(store.os, store.path);
    uint64_t calls = os_sim_calls(store.sim);
    lsm_store_open(&store);
    expect_content(store.kv, "a b c d");
    lsm_store_close(&store);
    assert_int_equal(os_sim_calls(store.sim), calls);
    assert_string_equal(before.text, names_of(store.os, store.path).text);

    store.options.is_readonly = false;
    lsm_store_open(&store);
    assert_int_equal(kv_metrics_count(store.kv->metrics, KV_COUNTER_RECOVERIES), 1);
    assert_int_equal(kv_metrics_count(store.kv->metrics, KV_COUNTER_RECOVERED_RECORDS), 2);
    expect_content(store.kv, "a b c d");
    lsm_store_release(&store);
}

/* ---- chains of logs ---------------------------------------------------------------------- */

/* Holds the flusher before it makes its first table, so that two logs are needed. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_there, is_open;
};

static void gate_hook(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    struct gate *gate = context;
    size_t bytes = strlen(event->path);
    if (event->call != OS_SIM_CREATE || bytes < 4 || strcmp(event->path + bytes - 4, ".sst") != 0)
        return;
    pthread_mutex_lock(&gate->mutex);
    gate->is_there = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->is_open)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->is_open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_await(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    while (!gate->is_there)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

enum { CHAIN_FIRST_BYTES = 10 << 10, CHAIN_SECOND_BYTES = 300 << 10, CHAIN_TAIL = 10 };

/* A machine whose store has two needed logs: numbers [0, 2) in the first, one a commit, the others
 * in the second. */
static struct os_sim *chain_make(void)
{
    struct gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false };
    struct lsm_options options = { LSM_STORE_SMALL(256 * KiB) };
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, gate_hook, &gate);
    for (uint64_t i = 0; i < 2 + CHAIN_TAIL; i++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        size_t value_bytes = i == 0 ? CHAIN_FIRST_BYTES : i == 1 ? CHAIN_SECOND_BYTES : 10;
        kv_put_numbers(txn, i, i + 1, value_bytes, 0);
        expect_ok(kv_commit(txn, KV_FULL));
    }
    gate_await(&gate);
    struct os_sim *chain = os_sim_clone(store.sim);
    gate_open(&gate);
    lsm_store_release(&store);
    return chain;
}

/* Finds the log with the greatest or the least base. */
struct log_seek {
    bool wants_last;
    char name[64];
};

static sombra_err log_seek(void *context, const char *name)
{
    struct log_seek *seek = context;
    const char *dot = strrchr(name, '.');
    if (dot && strcmp(dot, ".log") == 0 &&
        (!seek->name[0] || (strcmp(name, seek->name) > 0) == seek->wants_last))
        snprintf(seek->name, sizeof seek->name, "%s", name);
    return SOMBRA_OK;
}

static void log_name(struct os *os, bool wants_last, char *to, size_t bytes)
{
    struct log_seek seek = { .wants_last = wants_last };
    expect_ok(os_list_directory(os, "data", log_seek, &seek));
    assert_true(seek.name[0] != 0);
    snprintf(to, bytes, "data/%s", seek.name);
}

/* Opens it as a writer and as a reader; *out_entries on OK. */
static sombra_err chain_open(struct os_sim *sim, bool is_readonly, uint64_t *out_entries)
{
    struct lsm_options options = quiet();
    struct os *os = os_sim_start(sim);
    struct kv *kv;
    options.create = false;
    options.is_readonly = is_readonly;
    sombra_err err = lsm_open(os, "data", &options, &kv);
    if (err)
        return err;
    struct kv_txn *txn = kv_begin_read(kv);
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, out_entries));
    kv_abort(txn);
    expect_ok(kv_close(kv));
    return SOMBRA_OK;
}

static void test_lsm_open__a_chain_of_logs_is_replayed_whole(void **state)
{
    (void)state;
    struct os_sim *sim = chain_make();
    assert_int_equal(names_of(os_sim_start(sim), "data").logs, 2);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t entries = 0;
        expect_ok(chain_open(sim, i == 0, &entries));
        assert_int_equal(entries, 2 + CHAIN_TAIL);
    }
    os_sim_free(sim);
}

static void test_lsm_open__a_gap_in_the_chain_of_logs_is_damage(void **state)
{
    (void)state;
    struct os_sim *whole = chain_make();
    for (unsigned way = 0; way < 3; way++) {
        struct os_sim *sim = os_sim_clone(whole);
        struct os *os = os_sim_start(sim);
        char path[96];
        uint64_t entries, bytes = WAL_HEADER_BYTES + CHAIN_FIRST_BYTES;
        log_name(os, false, path, sizeof path);
        if (way == 0)
            expect_ok(os_unlink(os, path));
        else /* the first commit; the second, which only the other log proves durable */
            assert_true(os_sim_flip(sim, path, way == 1 ? 100 : bytes + 200, 1));
        for (unsigned i = 0; i < 2; i++) {
            expect_err(SOMBRA_CORRUPT, chain_open(sim, i == 0, &entries));
            expect_text(path);
            expect_text(way == 0 ? "is missing" : way == 1 ? "" : "durable");
        }
        os_sim_free(sim);
    }
    os_sim_free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm_open__nothing_there_is_not_found_and_nothing_is_made),
        cmocka_unit_test(test_lsm_open__an_empty_directory_becomes_a_store),
        cmocka_unit_test(test_lsm_open__foreign_files_are_named_and_left_alone),
        cmocka_unit_test(test_lsm_open__out_of_memory_is_told_as_such),
        cmocka_unit_test(test_lsm_open__tables_without_a_manifest_are_damage),
        cmocka_unit_test(test_lsm_open__other_names_in_a_store_are_left_alone),
        cmocka_unit_test(test_lsm_open__options_out_of_range_are_named_with_their_limits),
        cmocka_unit_test(test_lsm_open__limits_themselves_are_accepted),
        cmocka_unit_test(test_lsm_open__a_newer_format_is_unsupported),
        cmocka_unit_test(test_lsm_open__a_network_file_system_is_refused_unless_allowed),
        cmocka_unit_test(test_lsm_open__handles_of_a_process_share_one_store),
        cmocka_unit_test(test_lsm_open__a_store_made_anew_is_left_alone_by_the_one_before),
        cmocka_unit_test(test_lsm_open__a_store_with_open_transactions_is_not_closed),
        cmocka_unit_test(test_lsm_open__a_clean_close_leaves_no_log),
        cmocka_unit_test(test_lsm_open__who_only_reads_writes_nothing),
        cmocka_unit_test(test_lsm_open__an_unclean_end_is_recovered),
        cmocka_unit_test(test_lsm_open__a_chain_of_logs_is_replayed_whole),
        cmocka_unit_test(test_lsm_open__a_gap_in_the_chain_of_logs_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
