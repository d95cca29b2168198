/* SPDX-License-Identifier: MIT */
/* Salvage: what is readable of a damaged store comes back, what was deleted stays deleted where the
 * manifest is sound, and the report says what is missing. On the simulated machine. */
#include "lsm/lsm_internal.h"
#include "lsm_store.h"
#include "os/os_sim.h"

#include <stdlib.h>

enum { NUMBERS = 600 };

static struct lsm_options quiet(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(16 * KiB), .no_background = true };
}

static void commit_numbers(struct kv *kv, uint64_t first, uint64_t last, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, first, last, 100, salt);
    kv_commit_ok(txn);
}

/* Rounds of numbers on several levels; [100, 110) deleted one by one, [200, 330) by a range;
 * values out of line. */
static void store_fill(struct kv *kv)
{
    uint8_t low[8], high[8];
    for (uint64_t i = 0; i < 30; i++)
        commit_numbers(kv, 37 * i % (NUMBERS - 120), 37 * i % (NUMBERS - 120) + 120, i);
    struct kv_txn *txn = kv_begin_write(kv);
    struct kv_range range = { kv_number_key(200, low), kv_number_key(330, high) };
    expect_ok(kv_delete_range(txn, range, NULL));
    for (uint64_t i = 100; i < 110; i++)
        expect_ok(kv_delete(txn, kv_number_key(i, low)));
    struct buf value = BUF_INIT;
    expect_ok(kv_put(txn, slice_str("large"), kv_pattern(&value, 1, 20000)));
    kv_commit_ok(txn);
    buf_release(&value);
}

/* A store that was closed and what was in it. */
struct victim {
    struct lsm_store store;
    uint64_t digest, entries;
};

static void victim_make(struct victim *victim, bool closes)
{
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&victim->store, &options);
    store_fill(victim->store.kv);
    victim->digest = kv_committed_digest(victim->store.kv, &victim->entries);
    if (closes) {
        lsm_store_close(&victim->store);
        return;
    }
    os_sim_kill(victim->store.os);
    assert_int_not_equal(kv_close(victim->store.kv), SOMBRA_OK);
    victim->store.kv = NULL;
    victim->store.os = os_sim_start(victim->store.sim);
}

/* One run, in a store that is closed before and after. */
static void victim_compact(struct victim *victim)
{
    lsm_store_open(&victim->store);
    expect_ok(kv_maintain(victim->store.kv, &(struct kv_maintenance){ .kind = KV_COMPACT }));
    lsm_store_close(&victim->store);
}

/* ---- salvage and what came of it ---------------------------------------------------------- */

struct outcome {
    struct lsm_salvage_report report;
    uint64_t problems, digest, entries;
    char text[DIAG_TEXT_BYTES]; /* of the first problem */
    struct kv *kv;              /* the new store */
};

static void problem_note(void *context, const struct kv_problem *problem)
{
    struct outcome *outcome = context;
    if (outcome->problems++ == 0)
        snprintf(outcome->text, sizeof outcome->text, "%s", problem->message);
}

static void salvage_to(struct lsm_store *store, const char *to, struct outcome *outcome)
{
    *outcome = (struct outcome){ .problems = 0 };
    struct lsm_salvage_options options = { .problem = problem_note, .context = outcome };
    struct lsm_options quietly = quiet();
    expect_ok(lsm_salvage(store->os, store->path, to, &options, &outcome->report));
    assert_int_equal(outcome->report.problems, outcome->problems);
    quietly.create = false;
    expect_ok(lsm_open(store->os, to, &quietly, &outcome->kv));
    kv_expect_sound(outcome->kv);
    outcome->digest = kv_committed_digest(outcome->kv, &outcome->entries);
    assert_int_equal(outcome->report.entries, outcome->entries);
}

static void outcome_close(struct outcome *outcome)
{
    expect_ok(kv_close(outcome->kv));
}

/* Entries of the new store are of the old one, with the value that they had there. */
static void expect_subset(struct kv *kv, const struct victim *victim)
{
    struct victim whole;
    victim_make(&whole, true);
    assert_int_equal(whole.digest, victim->digest);
    lsm_store_open(&whole.store);
    struct kv_txn *txn = kv_begin_read(kv), *was = kv_begin_read(whole.store.kv);
    struct kv_cursor *cursor;
    bool found;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (;;) {
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (!found)
            break;
        kv_expect_value(was, cursor->entry.key, cursor->entry.value);
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
    kv_abort(was);
    lsm_store_release(&whole.store);
}

/* ---- files ------------------------------------------------------------------------------- */

struct files {
    char tables[64][40], logs[8][40];
    unsigned table_count, log_count;
};

static sombra_err file_note(void *context, const char *name)
{
    struct files *files = context;
    if (strstr(name, ".sst") && files->table_count < 64)
        snprintf(files->tables[files->table_count++], 40, "data/%s", name);
    if (strstr(name, ".log") && files->log_count < 8)
        snprintf(files->logs[files->log_count++], 40, "data/%s", name);
    return SOMBRA_OK;
}

static struct files files_of(struct lsm_store *store)
{
    struct files files = { .table_count = 0 };
    expect_ok(os_list_directory(store->os, store->path, file_note, &files));
    return files;
}

static uint64_t file_bytes(struct lsm_store *store, const char *path)
{
    struct os_file *file;
    uint64_t bytes;
    expect_ok(os_open(store->os, path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    return bytes;
}

/* ---- facts ------------------------------------------------------------------------------- */

static void test_lsm_salvage__a_sound_store_comes_back_whole(void **state)
{
    (void)state;
    for (unsigned closes = 0; closes < 2; closes++) {
        struct victim victim;
        struct outcome outcome;
        victim_make(&victim, closes);
        uint64_t before = os_sim_calls(victim.store.sim);
        struct files files = files_of(&victim.store);
        salvage_to(&victim.store, "new", &outcome);
        assert_int_equal(outcome.digest, victim.digest);
        assert_int_equal(outcome.problems, 0);
        assert_true(outcome.report.has_manifest);
        assert_false(outcome.report.is_log_incomplete);
        assert_int_equal(outcome.report.tables, files.table_count);
        assert_int_equal(outcome.report.tables_damaged, 0);
        assert_int_equal(outcome.report.entries_uncertain, 0);
        assert_int_equal(outcome.report.txns_replayed > 0, !closes);
        assert_true(os_sim_calls(victim.store.sim) > before);
        outcome_close(&outcome);
        struct files after = files_of(&victim.store); /* it was only read */
        assert_memory_equal(&files, &after, sizeof files);
        lsm_store_open(&victim.store);
        assert_int_equal(kv_committed_digest(victim.store.kv, &victim.entries), victim.digest);
        lsm_store_release(&victim.store);
    }
}

static void test_lsm_salvage__without_a_manifest_tables_say_how_old_they_are(void **state)
{
    (void)state;
    struct victim victim;
    struct outcome outcome;
    victim_make(&victim, true);
    /* One run, which nothing contradicts. */
    victim_compact(&victim);
    expect_ok(os_unlink(victim.store.os, "data/MANIFEST"));
    salvage_to(&victim.store, "new", &outcome);
    assert_int_equal(outcome.digest, victim.digest);
    assert_false(outcome.report.has_manifest);
    assert_int_equal(outcome.report.entries_uncertain, victim.entries);
    assert_int_equal(outcome.problems, 1);
    assert_non_null(strstr(outcome.text, "MANIFEST"));
    outcome_close(&outcome);

    /* The same with a manifest that is there and rotten, and a commit in a log. */
    lsm_store_release(&victim.store);
    victim_make(&victim, false);
    assert_true(os_sim_flip(victim.store.sim, "data/MANIFEST", 60, 4));
    salvage_to(&victim.store, "new", &outcome);
    assert_false(outcome.report.has_manifest);
    assert_true(outcome.entries >= victim.entries); /* all of it, and maybe what was deleted */
    assert_true(outcome.report.txns_replayed > 0);
    outcome_close(&outcome);
    lsm_store_release(&victim.store);
}

static void test_lsm_salvage__a_missing_table_costs_what_was_in_it(void **state)
{
    (void)state;
    struct victim victim;
    struct outcome outcome;
    victim_make(&victim, true);
    victim_compact(&victim);
    struct files files = files_of(&victim.store);
    assert_true(files.table_count > 1);
    expect_ok(os_unlink(victim.store.os, files.tables[0]));
    salvage_to(&victim.store, "new", &outcome);
    assert_int_equal(outcome.report.tables, files.table_count);
    assert_int_equal(outcome.report.tables_damaged, 1);
    assert_true(outcome.problems > 0);
    assert_non_null(strstr(outcome.text, files.tables[0]));
    assert_true(outcome.entries > 0 && outcome.entries < victim.entries);
    expect_subset(outcome.kv, &victim);
    outcome_close(&outcome);
    lsm_store_release(&victim.store);
}

/* The footer is needed to open a table, not to read its blocks. */
static void test_lsm_salvage__a_table_with_a_damaged_footer_is_read_block_by_block(void **state)
{
    (void)state;
    struct victim victim;
    struct outcome outcome;
    victim_make(&victim, true);
    victim_compact(&victim);
    struct files files = files_of(&victim.store);
    uint64_t bytes = file_bytes(&victim.store, files.tables[0]);
    assert_true(os_sim_flip(victim.store.sim, files.tables[0], bytes - 30, 1));
    salvage_to(&victim.store, "new", &outcome);
    assert_int_equal(outcome.digest, victim.digest);
    assert_int_equal(outcome.report.tables_damaged, 1);
    assert_true(outcome.report.entries_uncertain > 0);
    assert_true(outcome.report.entries_uncertain < victim.entries);
    outcome_close(&outcome);
    lsm_store_release(&victim.store);
}

static void test_lsm_salvage__a_damaged_block_costs_its_entries_alone(void **state)
{
    (void)state;
    struct victim victim;
    struct outcome outcome;
    victim_make(&victim, true);
    victim_compact(&victim);
    struct files files = files_of(&victim.store);
    for (uint64_t k = 1; k < 6; k++) {
        char to[16];
        snprintf(to, sizeof to, "new %u", (unsigned)k);
        uint64_t offset = file_bytes(&victim.store, files.tables[0]) * k / 12;
        assert_true(os_sim_flip(victim.store.sim, files.tables[0], offset, 8));
        salvage_to(&victim.store, to, &outcome);
        assert_int_equal(outcome.report.tables_damaged, 1);
        assert_int_equal(outcome.report.blocks_lost, 1);
        assert_true(outcome.entries < victim.entries);
        assert_true(outcome.entries + 20 >= victim.entries);
        assert_int_equal(outcome.report.entries_uncertain, 0);
        expect_subset(outcome.kv, &victim);
        outcome_close(&outcome);
        assert_true(os_sim_flip(victim.store.sim, files.tables[0], offset, 8));
    }
    lsm_store_release(&victim.store);
}

/* With many levels, whatever is damaged in one table: what sound newer tables deleted stays so. */
static void test_lsm_salvage__what_was_deleted_does_not_come_back(void **state)
{
    (void)state;
    struct victim victim;
    struct outcome outcome;
    victim_make(&victim, true);
    struct files files = files_of(&victim.store);
    assert_true(files.table_count > 2);
    /* The newest table has the deletes: any other may be damaged. */
    for (unsigned i = 0; i + 1 < files.table_count; i++) {
        char to[16];
        snprintf(to, sizeof to, "new %u", i);
        uint64_t offset = file_bytes(&victim.store, files.tables[i]) / 4;
        assert_true(os_sim_flip(victim.store.sim, files.tables[i], offset, 8));
        salvage_to(&victim.store, to, &outcome);
        assert_int_equal(outcome.report.tables_damaged, 1);
        struct kv_txn *txn = kv_begin_read(outcome.kv);
        uint8_t low[8], high[8];
        uint64_t count;
        struct kv_range range = { kv_number_key(200, low), kv_number_key(330, high) };
        expect_ok(kv_count(txn, range, 0, &count));
        assert_int_equal(count, 0);
        range = (struct kv_range){ kv_number_key(100, low), kv_number_key(110, high) };
        expect_ok(kv_count(txn, range, 0, &count));
        assert_int_equal(count, 0);
        kv_abort(txn);
        outcome_close(&outcome);
        assert_true(os_sim_flip(victim.store.sim, files.tables[i], offset, 8));
    }
    lsm_store_release(&victim.store);
}

/* A range without bounds ends behind the longest key: its bound is longer than a key may be. */
static void test_lsm_salvage__hidden_ranges_reach_to_the_longest_keys(void **state)
{
    (void)state;
    for (unsigned in_log = 0; in_log < 2; in_log++) {
        struct lsm_store store;
        struct outcome outcome;
        struct lsm_options options = quiet();
        lsm_store_init_simulated(&store, &options);
        commit_numbers(store.kv, 0, 400, 0);
        uint8_t longest[KV_KEY_BYTES_MAX];
        memset(longest, 0xff, sizeof longest);
        struct kv_txn *txn = kv_begin_write(store.kv);
        expect_ok(kv_put(txn, slice_of(longest, sizeof longest), slice_str("last")));
        kv_commit_ok(txn);
        expect_ok(kv_maintain(store.kv, &(struct kv_maintenance){ .kind = KV_CHECKPOINT }));
        txn = kv_begin_write(store.kv);
        expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        kv_put_words(txn, "a b c");
        kv_commit_ok(txn);
        if (in_log) {
            os_sim_kill(store.os);
            assert_int_not_equal(kv_close(store.kv), SOMBRA_OK);
            store.kv = NULL;
            store.os = os_sim_start(store.sim);
        } else {
            lsm_store_close(&store);
        }
        salvage_to(&store, "new", &outcome);
        assert_int_equal(outcome.problems, 0);
        txn = kv_begin_read(outcome.kv);
        kv_expect_words(txn, NULL, NULL, "a b c");
        kv_abort(txn);
        outcome_close(&outcome);
        lsm_store_release(&store);
    }
}

/* ---- logs -------------------------------------------------------------------------------- */

static void test_lsm_salvage__a_rotten_log_gives_what_stands_before_the_rot(void **state)
{
    (void)state;
    struct lsm_store store;
    struct outcome outcome;
    struct lsm_options options = quiet();
    options.memtable_bytes = MiB;
    lsm_store_init_simulated(&store, &options);
    for (uint64_t i = 0; i < 10; i++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, i, i + 1, 1000, 0);
        expect_ok(kv_commit(txn, KV_FULL));
    }
    os_sim_kill(store.os);
    assert_int_not_equal(kv_close(store.kv), SOMBRA_OK);
    store.kv = NULL;
    store.os = os_sim_start(store.sim);
    struct files files = files_of(&store);
    assert_int_equal(files.log_count, 1);
    assert_true(os_sim_flip(store.sim, files.logs[0], 5 * 1100, 1));
    struct kv *kv;
    expect_err(SOMBRA_CORRUPT, lsm_open(store.os, store.path, &options, &kv));
    salvage_to(&store, "new", &outcome);
    assert_true(outcome.report.is_log_incomplete);
    assert_int_equal(outcome.report.txns_replayed, 5);
    assert_int_equal(outcome.entries, 5);
    assert_true(outcome.problems > 0);
    outcome_close(&outcome);

    expect_ok(os_unlink(store.os, files.logs[0])); /* all of it is lost, and it says so */
    salvage_to(&store, "new 2", &outcome);
    assert_true(outcome.report.is_log_incomplete);
    assert_int_equal(outcome.entries, 0);
    outcome_close(&outcome);
    lsm_store_release(&store);
}

/* ---- refusals ---------------------------------------------------------------------------- */

static bool cancel(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    assert_true(done <= total);
    return false;
}

static void test_lsm_salvage__it_says_why_it_does_not_begin(void **state)
{
    (void)state;
    struct victim victim;
    struct lsm_salvage_options options = { .mode = 0600 };
    struct lsm_salvage_report report;
    victim_make(&victim, true);
    struct os *os = victim.store.os;
    expect_err(SOMBRA_NOT_FOUND, lsm_salvage(os, "nowhere", "new", &options, &report));
    expect_ok(os_make_directory(os, "empty", 0700));
    expect_err(SOMBRA_INVALID, lsm_salvage(os, "empty", "new", &options, &report));
    expect_err(SOMBRA_EXISTS, lsm_salvage(os, "data", "empty", &options, &report));
    struct os_identity identity;
    expect_err(SOMBRA_NOT_FOUND, os_identify_path(os, "new", &identity));
    struct os *other = os_sim_start(victim.store.sim);
    struct kv *kv;
    struct lsm_options quietly = quiet();
    expect_ok(lsm_open(other, "data", &quietly, &kv));
    expect_err(SOMBRA_BUSY, lsm_salvage(os, "data", "new", &options, &report));
    assert_non_null(strstr(sombra_err_message(), "process"));
    expect_ok(kv_close(kv));
    options.progress = cancel;
    expect_err(SOMBRA_CANCELLED, lsm_salvage(os, "data", "new", &options, &report));
    expect_err(SOMBRA_NOT_FOUND, os_identify_path(os, "new", &identity)); /* half of one is none */
    expect_err(SOMBRA_NOT_FOUND, os_identify_path(os, "new-new", &identity));
    lsm_store_release(&victim.store);
}

/* A machine that stops in the middle leaves no store at `to`, or a whole one. */
struct cut {
    struct victim *victim;
    unsigned seen, whole;
};

static void cut_check(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cut *cut = context;
    if (event->number % 7 && event->call != OS_SIM_RENAME && event->call != OS_SIM_SYNC_DIRECTORY)
        return;
    for (unsigned variant = OS_SIM_NOTHING; variant <= OS_SIM_ALL; variant++) {
        struct os_sim *after = os_sim_crash(sim, (enum os_sim_variant)variant, event->number);
        struct os *os = os_sim_start(after);
        cut->seen++;
        if (lsm_store_is_at(os, "new")) {
            struct lsm_options options = { .is_readonly = true };
            struct kv *kv;
            uint64_t entries;
            expect_ok(lsm_open(os, "new", &options, &kv));
            assert_int_equal(kv_committed_digest(kv, &entries), cut->victim->digest);
            expect_ok(kv_close(kv));
            cut->whole++;
        }
        os_sim_free(after);
    }
}

static void test_lsm_salvage__a_power_cut_leaves_nothing_or_all(void **state)
{
    (void)state;
    struct victim victim;
    struct outcome outcome;
    struct cut cut = { .victim = &victim };
    victim_make(&victim, true);
    os_sim_set_hook(victim.store.sim, cut_check, &cut);
    struct lsm_salvage_options options = { .mode = 0600 };
    expect_ok(lsm_salvage(victim.store.os, "data", "new/", &options, &outcome.report));
    os_sim_set_hook(victim.store.sim, NULL, NULL);
    assert_true(cut.seen > 5 && cut.whole > 0 && cut.whole < cut.seen);
    struct os_sim *after = os_sim_crash(victim.store.sim, OS_SIM_NOTHING, 1);
    assert_true(lsm_store_is_at(os_sim_start(after), "new"));
    os_sim_free(after);
    lsm_store_release(&victim.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm_salvage__a_sound_store_comes_back_whole),
        cmocka_unit_test(test_lsm_salvage__without_a_manifest_tables_say_how_old_they_are),
        cmocka_unit_test(test_lsm_salvage__a_missing_table_costs_what_was_in_it),
        cmocka_unit_test(test_lsm_salvage__a_table_with_a_damaged_footer_is_read_block_by_block),
        cmocka_unit_test(test_lsm_salvage__a_damaged_block_costs_its_entries_alone),
        cmocka_unit_test(test_lsm_salvage__what_was_deleted_does_not_come_back),
        cmocka_unit_test(test_lsm_salvage__hidden_ranges_reach_to_the_longest_keys),
        cmocka_unit_test(test_lsm_salvage__a_rotten_log_gives_what_stands_before_the_rot),
        cmocka_unit_test(test_lsm_salvage__a_power_cut_leaves_nothing_or_all),
        cmocka_unit_test(test_lsm_salvage__it_says_why_it_does_not_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
