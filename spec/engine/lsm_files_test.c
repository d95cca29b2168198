/* SPDX-License-Identifier: MIT */
/* lsm_edit, views, and when files go, on the simulated machine with fake tables and memtables. */
#include "lsm_manifest_fixture.h"

#include "lsm/lsm_internal.h"
#include "lsm/paths.h"

#include <stdio.h>

#define DIRECTORY "/store"

struct memtable {
    _Atomic uint32_t refs;
};
void memtable_ref(struct memtable *memtable)
{
    memtable->refs++;
}
void memtable_unref(struct memtable *memtable)
{
    if (memtable)
        memtable->refs--;
}

static uint64_t dropped_log_seq;
void lsm_pool_sweep(struct lsm *lsm)
{
    (void)lsm;
}

void lsm_memory_adapt(struct lsm *lsm, const struct version *version)
{
    (void)lsm;
    (void)version;
}

void lsm_logs_drop(struct lsm *lsm, uint64_t log_seq)
{
    (void)lsm;
    dropped_log_seq = log_seq;
}

void lsm_logs_add(struct lsm *lsm, struct lsm_log *log)
{
    log->next = lsm->logs;
    lsm->logs = log;
}

sombra_err lsm_check_writable(struct lsm *lsm)
{
    return lsm->is_failed ? diag_fail(SOMBRA_IO, "failed before") : SOMBRA_OK;
}

sombra_err lsm_fail(struct lsm *lsm, sombra_err err)
{
    lsm->is_failed = true;
    return err;
}

struct rig {
    struct os_sim *sim;
    struct os *os;
    struct lsm lsm;
    struct chain chain; /* the same edits, for their model */
    struct memtable memtables[3];
};

static void lsm_begin_fake(struct rig *rig)
{
    struct lsm *lsm = &rig->lsm;
    struct table_context context = { .os = rig->os };
    struct version *version;
    lsm->os = rig->os;
    lsm->directory = (char *)(uintptr_t)DIRECTORY;
    assert_ok(os_mutex_init(&lsm->mutex));
    assert_ok(os_mutex_init(&lsm->manifest_mutex));
    assert_ok(os_open(rig->os, DIRECTORY "/LOCK", OS_WRITE | OS_CREATE, 0600, &lsm->lock));
    assert_ok(os_lock(lsm->lock, LOCK_WRITER, 1, OS_LOCK_EXCLUSIVE));
    assert_ok(table_cache_new(&context, DIRECTORY, 4, &lsm->tables));
    table_cache_on_obsolete(lsm->tables, lsm_table_obsolete, lsm);
    lsm->state = rig->chain.state;
    lsm->next_number = lsm->state.next_number;
    lsm->next_run = lsm->state.next_run;
    assert_ok(version_empty(lsm->tables, lsm->state.version, &version));
    assert_ok(manifest_create(rig->os, DIRECTORY, 0600, &lsm->state, version, &lsm->manifest));
    struct memtable *memtables[] = { &rig->memtables[0], &rig->memtables[1], &rig->memtables[2] };
    os_mutex_lock(&lsm->mutex);
    assert_ok(view_publish(lsm, memtables, 3, version));
    os_mutex_unlock(&lsm->mutex);
    version_unref(version);
}

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    mem_test_fail_at(0, false);
    uint64_t seed = fake_seed();
    rig->sim = os_sim_new(&(struct os_sim_options){ .seed = seed });
    rig->os = os_sim_start(rig->sim);
    assert_ok(os_make_directory(rig->os, DIRECTORY, 0700));
    assert_ok(os_sync_directory_of(rig->os, DIRECTORY));
    chain_init(&rig->chain, seed);
    lsm_begin_fake(rig);
    dropped_log_seq = 0;
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    struct lsm *lsm = &rig->lsm;
    view_release(lsm->view);
    lsm_purge(lsm, true);
    manifest_close(lsm->manifest);
    table_cache_free(lsm->tables);
    mem_free(lsm->strays.files);
    os_close(lsm->lock);
    os_mutex_release(&lsm->mutex);
    os_mutex_release(&lsm->manifest_mutex);
    chain_release(&rig->chain);
    os_sim_free(rig->sim);
    for (size_t i = 0; i < COUNT_OF(rig->memtables); i++)
        assert_int_equal(rig->memtables[i].refs, 0);
    assert_int_equal(mem_test_live(), 0);
    free(rig);
    return 0;
}

static bool is_there(struct os *os, uint64_t number)
{
    struct os_identity identity;
    char *path = lsm_path_of_table(DIRECTORY, number);
    bool is = os_identify_path(os, path, &identity) == SOMBRA_OK;
    mem_free(path);
    return is;
}

static bool name_is_there(struct rig *rig, const char *path)
{
    struct os_identity identity;
    return os_identify_path(rig->os, path, &identity) == SOMBRA_OK;
}

static void make_file(struct os *os, const char *path)
{
    struct os_file *file;
    assert_ok(os_open(os, path, OS_WRITE | OS_CREATE, 0600, &file));
    assert_ok(os_write(file, 0, "table", 5));
    assert_ok(os_sync(file));
    os_close(file);
}

static void make_table(struct os *os, uint64_t number)
{
    char *path = lsm_path_of_table(DIRECTORY, number);
    make_file(os, path);
    mem_free(path);
}

/* The files of the drafted edit, as a flush would leave them. */
static void draft(struct rig *rig)
{
    chain_draft(&rig->chain);
    rig->chain.next_state.is_clean = false;
    for (size_t i = 0; i < rig->chain.edit.added_count; i++)
        make_table(rig->os, rig->chain.edit.added[i].meta.number);
    os_mutex_lock(&rig->lsm.mutex);
    rig->lsm.next_number = rig->chain.next_state.next_number;
    rig->lsm.next_run = rig->chain.next_state.next_run;
    os_mutex_unlock(&rig->lsm.mutex);
}

static void edit(struct rig *rig)
{
    draft(rig);
    assert_ok(lsm_edit(&rig->lsm, &rig->chain.edit, NULL));
    chain_accept(&rig->chain);
}

static bool has_table(struct rig *rig, uint64_t number)
{
    return version_find(rig->lsm.view->version, number, NULL, NULL);
}

/* An edit that adds `added` (0 = none) in run `added`, and removes `removed`. */
static sombra_err edit_one(struct rig *rig, uint64_t added, uint64_t removed)
{
    struct fake_key low = fake_key_of(1), end = fake_key_of(2);
    struct edit_table table = fake_table(0, added, added, &low, &end);
    struct edit edit = {
        .added = &table, .added_count = added > 0, .removed = &removed, .removed_count = removed > 0
    };
    rig->lsm.next_number = u64_max(rig->lsm.next_number, added + 1);
    rig->lsm.next_run = u64_max(rig->lsm.next_run, added + 1);
    if (added)
        make_table(rig->os, added);
    return lsm_edit(&rig->lsm, &edit, NULL);
}

/* ---- views -------------------------------------------------------------------------------- */

static void test_view__edit_publishes_tables_without_the_flushed_memtable(void **state)
{
    struct rig *rig = *state;
    struct view *old = view_acquire(&rig->lsm);
    struct lsm_full flushed = { .memtable = &rig->memtables[1] };
    struct fake_key low = fake_key_of(1), end = fake_key_of(2);
    struct edit_table table = fake_table(0, 1, 1, &low, &end);
    struct edit edit = { .added = &table, .added_count = 1, .seq = 40, .log_seq = 30 };
    assert_int_equal(lsm_take_number(&rig->lsm), 1);
    rig->lsm.next_run = 2;
    make_table(rig->os, 1);
    assert_ok(lsm_edit(&rig->lsm, &edit, &flushed));
    const struct view *view = rig->lsm.view;
    assert_int_equal(view->count, 2);
    assert_ptr_equal(view->memtables[0], &rig->memtables[0]);
    assert_ptr_equal(view->memtables[1], &rig->memtables[2]);
    assert_true(has_table(rig, 1));
    assert_true(view->number > old->number);
    assert_int_equal(rig->lsm.view_number, view->number);
    assert_int_equal(rig->lsm.version_number, old->version->number + 1);
    assert_int_equal(old->count, 3);
    assert_int_equal(rig->memtables[1].refs, 1);
    assert_int_equal(dropped_log_seq, 30);
    assert_int_equal(rig->lsm.state.seq, 40);
    view_release(old);
    assert_int_equal(rig->memtables[1].refs, 0);
}

/* ---- the end of files ---------------------------------------------------------------------- */

static void test_files__table_goes_with_the_last_view_that_has_it(void **state)
{
    struct rig *rig = *state;
    assert_ok(edit_one(rig, 1, 0));
    struct view *old = view_acquire(&rig->lsm);
    assert_ok(edit_one(rig, 2, 1));
    assert_true(is_there(rig->os, 1));
    view_release(old);
    assert_false(is_there(rig->os, 1));
    assert_true(is_there(rig->os, 2));
}

static void test_files__reader_of_another_process_keeps_tables_of_its_version(void **state)
{
    struct rig *rig = *state;
    struct lsm reader = { .os = rig->os };
    assert_ok(os_open(os_sim_start(rig->sim), DIRECTORY "/LOCK", OS_READ, 0, &reader.lock));
    assert_ok(edit_one(rig, 1, 0));
    uint64_t pinned = rig->lsm.version_number;
    assert_ok(lsm_version_pin_begin(&reader));
    assert_ok(edit_one(rig, 2, 1));
    assert_true(is_there(rig->os, 1)); /* it may be reading any version */
    assert_ok(lsm_version_pin(&reader, pinned));
    lsm_version_pin_end(&reader);
    assert_ok(edit_one(rig, 3, 2));
    assert_true(is_there(rig->os, 1));  /* it has the older version */
    assert_false(is_there(rig->os, 2)); /* which had no such table */
    assert_ok(lsm_version_pin(&reader, pinned + 2));
    lsm_version_unpin(&reader, pinned, pinned + 2);
    lsm_purge(&rig->lsm, false);
    assert_false(is_there(rig->os, 1)); /* dropped before the version that is pinned now */
    assert_ok(edit_one(rig, 0, 3));
    assert_true(is_there(rig->os, 3));
    os_close(reader.lock);
    lsm_purge(&rig->lsm, false);
    assert_false(is_there(rig->os, 3));
}

static void strays_remove(struct rig *rig)
{
    assert_ok(lsm_strays_find(&rig->lsm));
    lsm_strays_remove(&rig->lsm);
}

static void test_files__failed_unlink_is_no_failed_edit(void **state)
{
    struct rig *rig = *state;
    struct os_sim_fault fault = {
        .kind = OS_SIM_EIO, .nth = 1, .is_sticky = true, .calls = 1u << OS_SIM_UNLINK
    };
    assert_ok(edit_one(rig, 1, 0));
    os_sim_fail(rig->sim, &fault);
    assert_ok(edit_one(rig, 2, 1));
    os_sim_fail(rig->sim, NULL);
    assert_true(is_there(rig->os, 1));
    strays_remove(rig);
    assert_false(is_there(rig->os, 1));
    assert_true(is_there(rig->os, 2));
}

static void test_files__only_strays_of_our_own_are_removed(void **state)
{
    struct rig *rig = *state;
    static const char *const strays[] = {
        DIRECTORY "/000077.sst",
        DIRECTORY "/1234567.sst",
        DIRECTORY "/00000000000000000004.log",
    };
    static const char *const others[] = {
        DIRECTORY "/77.sst",         DIRECTORY "/0000077.sst",
        DIRECTORY "/000077.sst.bak", DIRECTORY "/notes",
        DIRECTORY "/4.log",          DIRECTORY "/-00077.sst",
        DIRECTORY "/000078.SST",     DIRECTORY "/MANIFEST",
        DIRECTORY "/LOCK",           DIRECTORY "/00000000000000000005.log", /* needed */
    };
    assert_ok(edit_one(rig, 1, 0));
    rig->lsm.state.log_seq = 5;
    for (size_t i = 0; i < COUNT_OF(strays); i++)
        make_file(rig->os, strays[i]);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (!name_is_there(rig, others[i]))
            make_file(rig->os, others[i]);
    strays_remove(rig);
    for (size_t i = 0; i < COUNT_OF(strays); i++)
        if (name_is_there(rig, strays[i]))
            fail_msg("%s is still there", strays[i]);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (!name_is_there(rig, others[i]))
            fail_msg("%s is gone", others[i]);
    assert_true(is_there(rig->os, 1));
    assert_int_equal(lsm_take_number(&rig->lsm), 1234568);
    rig->lsm.state.log_seq = 0;
}

/* What was read at open may be page cache that a power cut takes back. */
static void test_files__nothing_is_removed_before_the_manifest_is_written_anew(void **state)
{
    struct rig *rig = *state;
    struct lsm *lsm = &rig->lsm;
    manifest_close(lsm->manifest);
    assert_ok(manifest_new(rig->os, DIRECTORY, 0600, &lsm->manifest));
    make_table(rig->os, 50);
    make_file(rig->os, DIRECTORY "/MANIFEST-new");
    make_file(rig->os, DIRECTORY "/00000000000000000004.log");
    make_file(rig->os, DIRECTORY "/00000000000000000007.log");
    assert_ok(lsm_strays_find(lsm));
    uint64_t newest = 0;
    assert_true(lsm_strays_newest_log(lsm, &newest));
    assert_int_equal(newest, 7);
    assert_false(manifest_is_written(lsm->manifest));
    assert_true(is_there(rig->os, 50));
    assert_int_equal(lsm->next_number, 51);
    assert_ok(edit_one(rig, 51, 0));
    assert_true(manifest_is_written(lsm->manifest));
    assert_false(is_there(rig->os, 50));
    assert_true(is_there(rig->os, 51));
    assert_false(name_is_there(rig, DIRECTORY "/MANIFEST-new"));
    assert_true(name_is_there(rig, DIRECTORY "/00000000000000000004.log"));
    lsm->state.log_seq = 5;
    lsm_strays_remove(lsm);
    assert_false(name_is_there(rig, DIRECTORY "/00000000000000000004.log"));
    assert_true(name_is_there(rig, DIRECTORY "/00000000000000000007.log"));
    lsm->state.log_seq = 0;
}

static void test_files__paths_are_as_the_format_says(void **state)
{
    struct rig *rig = *state;
    char *table = lsm_table_path(&rig->lsm, 42), *log = lsm_log_path(&rig->lsm, 42);
    assert_string_equal(table, DIRECTORY "/000042.sst");
    assert_string_equal(log, DIRECTORY "/00000000000000000042.log");
    mem_free(table);
    mem_free(log);
}

/* ---- edits -------------------------------------------------------------------------------- */

static void expect_as_chain(struct rig *rig)
{
    struct chain *chain = &rig->chain;
    struct manifest_state expected = chain->state;
    expected.is_clean = false;
    assert_int_equal(version_digest(rig->lsm.view->version, &expected),
                     version_digest(chain->version, &expected));
}

static void test_edit__random_ones_keep_the_files_of_the_version_and_no_others(void **state)
{
    struct rig *rig = *state;
    for (int i = 0; i < 60; i++) {
        edit(rig);
        expect_as_chain(rig);
        for (uint64_t number = 1; number < rig->lsm.next_number; number++)
            assert_int_equal(is_there(rig->os, number), has_table(rig, number));
    }
    assert_true(rig->lsm.next_number > 20);
}

static void test_edit__out_of_memory_changes_nothing(void **state)
{
    struct rig *rig = *state;
    edit(rig);
    draft(rig);
    sombra_err err = SOMBRA_NOMEM;
    uint64_t nth;
    for (nth = 1; err == SOMBRA_NOMEM; nth++) {
        mem_test_fail_at(nth, false);
        err = lsm_edit(&rig->lsm, &rig->chain.edit, NULL);
        mem_test_fail_at(0, false);
        if (err) {
            expect_as_chain(rig);
            assert_false(rig->lsm.is_failed);
        }
    }
    assert_ok(err);
    assert_true(nth > 3);
    chain_accept(&rig->chain);
    expect_as_chain(rig);
}

static void test_edit__failed_sync_ends_writing(void **state)
{
    struct rig *rig = *state;
    struct os_sim_fault fault = { .kind = OS_SIM_EIO, .nth = 1, .calls = 1u << OS_SIM_SYNC };
    edit(rig);
    draft(rig);
    os_sim_fail(rig->sim, &fault);
    assert_fails(SOMBRA_IO, lsm_edit(&rig->lsm, &rig->chain.edit, NULL));
    os_sim_fail(rig->sim, NULL);
    assert_true(rig->lsm.is_failed);
    expect_as_chain(rig);
    assert_fails(SOMBRA_IO, lsm_edit(&rig->lsm, &rig->chain.edit, NULL));
    chain_reject(&rig->chain);
}

static void test_edit__contradiction_is_refused_before_anything_is_written(void **state)
{
    struct rig *rig = *state;
    uint64_t bytes = manifest_bytes(rig->lsm.manifest);
    assert_fails(SOMBRA_CORRUPT, edit_one(rig, 0, 77));
    assert_int_equal(manifest_bytes(rig->lsm.manifest), bytes);
    assert_false(rig->lsm.is_failed);
}

/* Whatever the power cut leaves, the manifest names only files that are there. */
static void cut(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    uint64_t *cuts = context;
    for (int variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        struct os_sim *after = os_sim_crash(sim, (enum os_sim_variant)variant, event->number);
        struct os *os = os_sim_start(after);
        struct table_context table_context = { .os = os };
        struct table_cache *cache;
        struct version *version;
        struct manifest_state state;
        assert_ok(table_cache_new(&table_context, DIRECTORY, 4, &cache));
        assert_ok(manifest_read(os, DIRECTORY, cache, &state, &version));
        for (size_t i = 0; i < version->count; i++)
            for (size_t k = 0; k < version->runs[i].count; k++)
                if (!is_there(os, version->runs[i].tables[k]->meta.number))
                    fail_msg("%s before %s: table %" PRIu64 " is gone",
                             os_sim_variant_name((enum os_sim_variant)variant),
                             os_sim_call_name(event->call),
                             version->runs[i].tables[k]->meta.number);
        version_unref(version);
        table_cache_free(cache);
        os_sim_free(after);
        ++*cuts;
    }
}

static void test_edit__any_power_cut_leaves_every_table_that_the_manifest_names(void **state)
{
    struct rig *rig = *state;
    uint64_t cuts = 0;
    edit(rig);
    os_sim_set_hook(rig->sim, cut, &cuts);
    for (int i = 0; i < 12; i++)
        edit(rig);
    os_sim_set_hook(rig->sim, NULL, NULL);
    assert_true(cuts > 500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(view__edit_publishes_tables_without_the_flushed_memtable),
        TEST(files__table_goes_with_the_last_view_that_has_it),
        TEST(files__reader_of_another_process_keeps_tables_of_its_version),
        TEST(files__failed_unlink_is_no_failed_edit),
        TEST(files__only_strays_of_our_own_are_removed),
        TEST(files__nothing_is_removed_before_the_manifest_is_written_anew),
        TEST(files__paths_are_as_the_format_says),
        TEST(edit__random_ones_keep_the_files_of_the_version_and_no_others),
        TEST(edit__out_of_memory_changes_nothing),
        TEST(edit__failed_sync_ends_writing),
        TEST(edit__contradiction_is_refused_before_anything_is_written),
        TEST(edit__any_power_cut_leaves_every_table_that_the_manifest_names),
    };
    mem_test_live(); /* counting begins */
    return cmocka_run_group_tests_name("lsm_files", tests, NULL, NULL);
}
