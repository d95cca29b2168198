/* SPDX-License-Identifier: MIT */
/* A backup is one snapshot, whole and compact, under a name that was free; or it is nothing. */
#include "btree_fixture.h"

#include <dirent.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 };

static struct btree_options small_options(void)
{
    return (struct btree_options){ .page_bytes = PAGE_BYTES,
                                   .map_bytes_max = TEST_MAP_BYTES,
                                   .no_background = true };
}

/* A store in a directory of its own, and where its copy goes. */
struct original {
    struct store store;
    char copy[128];
};

static sombra_err backup_to(struct kv *kv, const char *path)
{
    struct kv_maintenance job = { .kind = KV_BACKUP, .path = path };
    return kv_maintain(kv, &job);
}

static int original_open(void **state)
{
    static struct original original;
    struct btree_options options = small_options();
    store_init(&original.store, &options);
    snprintf(original.copy, sizeof original.copy, "%s-copy", original.store.path);
    *state = &original;
    return 0;
}

static int original_close(void **state)
{
    struct original *original = *state;
    unlink(original->copy);
    store_release(&original->store);
    return 0;
}

#define BACKUP_TEST(test) cmocka_unit_test_setup_teardown(test, original_open, original_close)

static void fill(struct kv *kv, uint64_t entries)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, entries, 40, 0);
    put_sized(txn, "a value of pages", 1, 3 * PAGE_BYTES);
    put_sized(txn, "empty", 2, 0);
    kv_commit_ok(txn);
}

/* The copy opens without a recovery, is sound, and holds exactly that. */
static void expect_copy(struct os *os, const char *path, uint64_t digest)
{
    struct kv *kv;
    uint64_t found = 0;
    struct btree_options options = small_options();
    options.is_readonly = true;
    expect_ok(btree_open(os, path, &options, &kv));
    expect_ok(content_digest(kv, &found));
    assert_int_equal(found, digest);
    expect_ok(kv_close(kv));
    options.is_readonly = false;
    expect_ok(btree_open(os, path, &options, &kv));
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
}

static sombra_err name_count(void *context, const char *name)
{
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        (*(unsigned *)context)++;
    return SOMBRA_OK;
}

static unsigned names_in(struct os *os, const char *directory)
{
    unsigned count = 0;
    expect_ok(os_list_directory(os, directory, name_count, &count));
    return count;
}

static bool is_there(struct os *os, const char *path)
{
    struct os_identity identity;
    sombra_err err = os_identify_path(os, path, &identity);
    if (err != SOMBRA_NOT_FOUND)
        expect_ok(err);
    return !err;
}

/* ---- what it is -------------------------------------------------------------------------- */

static void test_backup__holds_everything_and_stands_alone(void **state)
{
    struct original *original = *state;
    fill(original->store.kv, 5000);
    uint64_t digest = 0;
    expect_ok(content_digest(original->store.kv, &digest));
    unsigned names = names_in(original->store.os, original->store.directory);
    expect_ok(backup_to(original->store.kv, original->copy));
    assert_int_equal(names_in(original->store.os, original->store.directory), names + 1);
    expect_copy(original->store.os, original->copy, digest);
    store_expect_exact(original->store.kv);
}

static void test_backup__of_an_empty_store_is_an_empty_store(void **state)
{
    struct original *original = *state;
    uint64_t digest = 0;
    expect_ok(content_digest(original->store.kv, &digest));
    expect_ok(backup_to(original->store.kv, original->copy));
    expect_copy(original->store.os, original->copy, digest);
}

static void test_backup__saves_a_database_without_a_file(void **state)
{
    struct original *original = *state;
    struct btree_options options = small_options();
    struct kv *memory;
    expect_ok(btree_open(original->store.os, BTREE_MEMORY, &options, &memory));
    fill(memory, 3000);
    uint64_t digest = 0;
    expect_ok(content_digest(memory, &digest));
    expect_ok(backup_to(memory, original->copy));
    expect_copy(original->store.os, original->copy, digest);
    expect_ok(kv_close(memory));
}

/* Random inserts and deletes leave holes everywhere; the copy has none. */
static void test_backup__is_compact(void **state)
{
    struct original *original = *state;
    uint8_t key[8];
    struct btree_options options = small_options();
    fill(original->store.kv, 20000);
    struct kv_txn *txn = kv_begin_write(original->store.kv);
    for (uint64_t i = 0; i < 20000; i++)
        if (i % 4)
            expect_ok(kv_delete(txn, kv_number_key(i, key)));
    kv_commit_ok(txn);
    uint64_t digest = 0;
    expect_ok(content_digest(original->store.kv, &digest));
    expect_ok(backup_to(original->store.kv, original->copy));
    expect_copy(original->store.os, original->copy, digest);
    struct kv *kv;
    expect_ok(btree_open(original->store.os, original->copy, &options, &kv));
    struct kv_stats stats = store_stats(kv, true);
    expect_ok(kv_close(kv));
    uint64_t pages = stats.pages_leaf + stats.pages_leaf_dense + stats.pages_branch;
    if (stats.bytes_used * 10 < (pages + stats.pages_overflow) * PAGE_BYTES * 8)
        fail_msg("%" PRIu64 " bytes in %" PRIu64 " pages", stats.bytes_used, pages);
    assert_true(stats.pages_total < store_stats(original->store.kv, false).pages_total / 2);
}

static void test_backup__has_the_mode_of_the_options(void **state)
{
    (void)state;
    struct store store;
    char copy[144];
    struct stat found;
    struct btree_options options = small_options();
    options.mode = 0640;
    store_init(&store, &options);
    snprintf(copy, sizeof copy, "%s-copy", store.path);
    mode_t mask = umask(0);
    expect_ok(backup_to(store.kv, copy));
    umask(mask);
    assert_int_equal(stat(copy, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0640);
    unlink(copy);
    store_release(&store);
}

/* Without mapped stores the pages are private until a batch is committed. */
static void test_backup__larger_than_a_batch_is_whole(void **state)
{
    struct original *original = *state;
    struct kv_txn *txn = kv_begin_write(original->store.kv);
    for (unsigned i = 0; i < 12; i++) {
        char key[16];
        snprintf(key, sizeof key, "large %02u", i);
        put_sized(txn, key, i, 6 * MiB);
    }
    kv_commit_ok(txn);
    fill(original->store.kv, 2000);
    uint64_t digest = 0;
    expect_ok(content_digest(original->store.kv, &digest));
    expect_ok(backup_to(original->store.kv, original->copy));
    expect_copy(original->store.os, original->copy, digest);
}

/* ---- what it refuses --------------------------------------------------------------------- */

static void test_backup__never_replaces(void **state)
{
    struct original *original = *state;
    fill(original->store.kv, 100);
    file_store(original->copy, slice_str("somebody's"));
    unsigned names = names_in(original->store.os, original->store.directory);
    expect_err(SOMBRA_EXISTS, backup_to(original->store.kv, original->copy));
    expect_err(SOMBRA_EXISTS, backup_to(original->store.kv, original->store.path));
    expect_err(SOMBRA_INVALID, backup_to(original->store.kv, BTREE_MEMORY));
    expect_err(SOMBRA_NOT_FOUND, backup_to(original->store.kv, "/nonexistent/directory/copy"));
    assert_int_equal(names_in(original->store.os, original->store.directory), names);
    struct buf bytes = BUF_INIT;
    assert_true(file_load(original->copy, &bytes));
    assert_true(slice_equal(buf_slice(&bytes), slice_str("somebody's")));
    buf_release(&bytes);
    unlink(original->copy);
    /* The log of a database that was there would not let the copy open. */
    char log[144];
    snprintf(log, sizeof log, "%s-log1", original->copy);
    file_store(log, slice_str("somebody's"));
    expect_err(SOMBRA_EXISTS, backup_to(original->store.kv, original->copy));
    assert_int_equal(names_in(original->store.os, original->store.directory), names);
    unlink(log);
}

/* The name is taken while the copy is made: it stays with who has it. */
struct intruder {
    const char *path;
    uint64_t calls, last_done, total;
    uint64_t cancel_at; /* call; 0 = never */
};

static bool intrude(void *context, uint64_t done, uint64_t total)
{
    struct intruder *intruder = context;
    intruder->calls++;
    intruder->total = total;
    assert_true(done >= intruder->last_done && done <= total);
    intruder->last_done = done;
    if (intruder->path && intruder->calls == 2)
        file_store(intruder->path, slice_str("faster"));
    return intruder->calls != intruder->cancel_at;
}

static void test_backup__loses_a_race_for_the_name(void **state)
{
    struct original *original = *state;
    fill(original->store.kv, 2000);
    unsigned names = names_in(original->store.os, original->store.directory);
    struct intruder intruder = { .path = original->copy };
    struct kv_maintenance job = {
        .kind = KV_BACKUP, .path = original->copy, .progress = intrude, .context = &intruder
    };
    expect_err(SOMBRA_EXISTS, kv_maintain(original->store.kv, &job));
    assert_int_equal(names_in(original->store.os, original->store.directory), names + 1);
    struct buf bytes = BUF_INIT;
    assert_true(file_load(original->copy, &bytes));
    assert_true(slice_equal(buf_slice(&bytes), slice_str("faster")));
    buf_release(&bytes);
}

static void test_backup__cancelled_leaves_nothing(void **state)
{
    struct original *original = *state;
    fill(original->store.kv, 2000);
    unsigned names = names_in(original->store.os, original->store.directory);
    struct intruder watcher = { .calls = 0 };
    struct kv_maintenance job = {
        .kind = KV_BACKUP, .path = original->copy, .progress = intrude, .context = &watcher
    };
    expect_ok(kv_maintain(original->store.kv, &job));
    assert_int_equal(watcher.last_done, 2002);
    assert_int_equal(watcher.total, 2002);
    unlink(original->copy);
    uint64_t calls = watcher.calls;
    assert_true(calls > 5);
    for (uint64_t at = 1; at <= calls; at++) {
        watcher = (struct intruder){ .cancel_at = at };
        expect_err(SOMBRA_CANCELLED, kv_maintain(original->store.kv, &job));
        assert_int_equal(watcher.calls, at);
        assert_int_equal(names_in(original->store.os, original->store.directory), names);
    }
    assert_int_equal(store_stats(original->store.kv, false).readers, 0);
}

static void test_backup__of_damaged_content_is_refused(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = small_options();
    store_init_simulated(&store, &options);
    fill(store.kv, 2000);
    store_reopen(&store);
    struct kv_stats stats = store_stats(store.kv, false);
    store_close(&store);
    unsigned refused = 0;
    for (uint64_t page = 2; page < stats.pages_total; page++) {
        assert_true(os_sim_flip(store.sim, store.path, page * PAGE_BYTES + 100, 0x10));
        struct kv *kv;
        struct btree_options readonly = small_options();
        readonly.is_readonly = true;
        expect_ok(btree_open(store.os, store.path, &readonly, &kv));
        unsigned names = names_in(store.os, ".");
        sombra_err err = backup_to(kv, "copy");
        if (err) {
            expect_err(SOMBRA_CORRUPT, err);
            refused++;
        } else {
            expect_ok(os_unlink(store.os, "copy"));
        }
        assert_int_equal(names_in(store.os, "."), names);
        expect_ok(kv_close(kv));
        assert_true(os_sim_flip(store.sim, store.path, page * PAGE_BYTES + 100, 0x10));
    }
    assert_true(refused > 10);
    store_release(&store);
}

/* ---- beside a writer --------------------------------------------------------------------- */

struct writer {
    struct kv *kv;
    atomic_bool stops;
    atomic_uint commits;
    _Atomic sombra_err err;
};

/* Each commit moves a unit from one key to another: the sum is the same in every snapshot. */
enum { ACCOUNTS = 64, UNITS = 1000 };

static sombra_err unit_read(struct kv_txn *txn, uint64_t account, uint64_t *out)
{
    uint8_t key[8];
    sombra_slice value;
    sombra_err err = kv_get(txn, kv_number_key(account, key), &value);
    if (!err)
        *out = get_le64(value.data);
    return err;
}

static sombra_err unit_write(struct kv_txn *txn, uint64_t account, uint64_t units)
{
    uint8_t key[8], value[400] = { 0 };
    put_le64(value, units);
    return kv_put(txn, kv_number_key(account, key), slice_of(value, sizeof value));
}

static sombra_err transfer(struct kv *kv, uint64_t from, uint64_t to)
{
    struct kv_txn *txn;
    uint64_t a = 0, b = 0;
    sombra_err err = kv_begin(
        kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 10000 }, &txn);
    if (err)
        return err;
    err = unit_read(txn, from, &a);
    if (!err)
        err = unit_read(txn, to, &b);
    if (!err && from != to && a > 0) {
        err = unit_write(txn, from, a - 1);
        if (!err)
            err = unit_write(txn, to, b + 1);
    }
    if (err) {
        kv_abort(txn);
        return err;
    }
    return kv_commit(txn, KV_OFF);
}

static void *write_on(void *argument)
{
    struct writer *writer = argument;
    uint64_t step = 1;
    while (!atomic_load(&writer->stops) && !writer->err) {
        step = hash_u64(step + 1);
        writer->err = transfer(writer->kv, step % ACCOUNTS, step / ACCOUNTS % ACCOUNTS);
        atomic_fetch_add(&writer->commits, 1);
    }
    return NULL;
}

/* Goes on only when the writer has committed again: the two do run at the same time. */
static bool wait_for_commit(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    struct writer *writer = context;
    unsigned seen = atomic_load(&writer->commits);
    while (atomic_load(&writer->commits) == seen && !writer->err)
        os_sleep_us(os_posix(), 50);
    return true;
}

static void test_backup__is_one_snapshot_while_a_writer_commits(void **state)
{
    struct original *original = *state;
    struct btree_options options = small_options();
    struct kv_txn *txn = kv_begin_write(original->store.kv);
    for (uint64_t i = 0; i < ACCOUNTS; i++)
        expect_ok(unit_write(txn, i, UNITS));
    kv_put_numbers(txn, ACCOUNTS, 5000, 40, 0);
    kv_commit_ok(txn);
    struct writer writer = { .kv = original->store.kv };
    struct os_thread thread;
    expect_ok(os_thread_start(&thread, write_on, &writer));
    for (unsigned round = 0; round < 4; round++) {
        struct kv_maintenance job = { .kind = KV_BACKUP,
                                      .path = original->copy,
                                      .progress = wait_for_commit,
                                      .context = &writer };
        expect_ok(kv_maintain(original->store.kv, &job));
        struct kv *copy;
        uint64_t sum = 0;
        expect_ok(btree_open(original->store.os, original->copy, &options, &copy));
        txn = kv_begin_read(copy);
        for (uint64_t i = 0; i < ACCOUNTS; i++) {
            uint64_t units = 0;
            expect_ok(unit_read(txn, i, &units));
            sum += units;
        }
        kv_abort(txn);
        store_expect_exact(copy);
        expect_ok(kv_close(copy));
        assert_int_equal(sum, ACCOUNTS * UNITS);
        unlink(original->copy);
    }
    atomic_store(&writer.stops, true);
    os_thread_join(&thread);
    expect_ok(writer.err);
    assert_true(atomic_load(&writer.commits) > 40);
    store_expect_exact(original->store.kv);
}

/* ---- crashes and faults ------------------------------------------------------------------ */

struct image {
    struct os_sim *sim;
    char what[160];
};

struct cuts {
    const struct store *store;
    uint64_t digest;
    unsigned with_target, without_target;
    struct image *images; /* looked at later: opening a store inside another's open would wait */
    size_t image_count;
};

/* The source is whole; the target is whole or not there. */
static void machine_check(struct cuts *cuts, struct os_sim *sim, const char *what)
{
    struct os *os = os_sim_start(sim);
    struct kv *kv;
    uint64_t digest = 0;
    expect_ok(btree_open(os, cuts->store->path, &cuts->store->options, &kv));
    expect_ok(content_digest(kv, &digest));
    if (digest != cuts->digest)
        fail_msg("%s: the source changed", what);
    expect_ok(kv_close(kv));
    if (!is_there(os, "copy")) {
        cuts->without_target++;
        /* Nothing that was left is in the way of the next one. */
        expect_ok(btree_open(os, cuts->store->path, &cuts->store->options, &kv));
        sombra_err err = backup_to(kv, "copy");
        if (err)
            fail_msg("%s: the next backup: %s: %s", what, sombra_err_name(err),
                     sombra_err_message());
        expect_ok(kv_close(kv));
    } else {
        cuts->with_target++;
    }
    struct btree_options options = small_options();
    sombra_err err = btree_open(os, "copy", &options, &kv);
    if (err)
        fail_msg("%s: the copy: %s: %s", what, sombra_err_name(err), sombra_err_message());
    expect_ok(content_digest(kv, &digest));
    if (digest != cuts->digest)
        fail_msg("%s: the copy is not the source", what);
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
}

static void cut(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cuts *cuts = context;
    size_t count = cuts->image_count + OS_SIM_VARIANTS;
    cuts->images = realloc(cuts->images, count * sizeof *cuts->images);
    assert_non_null(cuts->images);
    for (unsigned variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        struct image *image = &cuts->images[cuts->image_count++];
        snprintf(image->what, sizeof image->what, "power cut before call %" PRIu64 " (%s %s): %s",
                 event->number, os_sim_call_name(event->call), event->path,
                 os_sim_variant_name((enum os_sim_variant)variant));
        image->sim = os_sim_crash(sim, (enum os_sim_variant)variant, event->number);
    }
}

static void images_check(struct cuts *cuts)
{
    for (size_t i = 0; i < cuts->image_count; i++) {
        machine_check(cuts, cuts->images[i].sim, cuts->images[i].what);
        os_sim_free(cuts->images[i].sim);
    }
    free(cuts->images);
    cuts->images = NULL;
    cuts->image_count = 0;
}

static void crash_store(struct store *store, struct cuts *cuts)
{
    struct btree_options options = small_options();
    store_init_simulated(store, &options);
    fill(store->kv, 300);
    store_reopen(store);
    *cuts = (struct cuts){ .store = store };
    expect_ok(content_digest(store->kv, &cuts->digest));
}

static void test_backup__cut_anywhere_is_nothing_or_whole(void **state)
{
    (void)state;
    struct store store;
    struct cuts cuts;
    crash_store(&store, &cuts);
    os_sim_set_hook(store.sim, cut, &cuts);
    expect_ok(backup_to(store.kv, "copy"));
    os_sim_set_hook(store.sim, NULL, NULL);
    images_check(&cuts);
    assert_true(cuts.with_target > 0 && cuts.without_target > 100);
    /* When it returned, no power cut takes it away. */
    unsigned before = cuts.with_target;
    for (unsigned variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        struct os_sim *after = os_sim_crash(store.sim, (enum os_sim_variant)variant, 1);
        machine_check(&cuts, after, os_sim_variant_name((enum os_sim_variant)variant));
        os_sim_free(after);
    }
    assert_int_equal(cuts.with_target, before + OS_SIM_VARIANTS);
    store_release(&store);
}

static void fault_run(const struct os_sim_fault *fault, uint64_t nth, uint64_t *out_calls)
{
    struct store store;
    struct cuts cuts;
    char what[64];
    crash_store(&store, &cuts);
    uint64_t calls = os_sim_calls(store.sim);
    struct os_sim_fault at = *fault;
    at.nth = nth;
    if (nth)
        os_sim_fail(store.sim, &at);
    snprintf(what, sizeof what, "fault %d at call %" PRIu64, (int)fault->kind, nth);
    sombra_err err = backup_to(store.kv, "copy");
    bool did_strike = os_sim_faults(store.sim) > 0;
    os_sim_fail(store.sim, NULL);
    *out_calls = os_sim_calls(store.sim) - calls;
    if (err && err != SOMBRA_IO && err != SOMBRA_LIMIT)
        fail_msg("%s: %s: %s", what, sombra_err_name(err), sombra_err_message());
    if (err && !did_strike)
        fail_msg("%s: %s", what, sombra_err_message());
    /* A single failure does not keep the clean-up from its work, unless it is in the clean-up. */
    if (err && !fault->is_sticky)
        assert_false(is_there(store.os, "copy"));
    if (!err)
        assert_true(is_there(store.os, "copy"));
    /* The source takes no harm. */
    store_expect_exact(store.kv);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_abort(txn);
    store_close(&store);
    machine_check(&cuts, store.sim, what);
    store_release(&store);
}

static void test_backup__fails_cleanly_at_every_call(void **state)
{
    (void)state;
    static const struct os_sim_fault faults[] = {
        { .kind = OS_SIM_EIO },
        { .kind = OS_SIM_ENOSPC },
        { .kind = OS_SIM_EIO,
          .is_sticky = true,
          .calls = ((1u << OS_SIM_CALLS) - 1) & ~(1u << OS_SIM_UNLINK) },
    };
    uint64_t calls = 0, unused = 0;
    fault_run(&faults[0], 0, &calls);
    assert_true(calls > 20);
    for (size_t i = 0; i < COUNT_OF(faults); i++)
        for (uint64_t nth = 1; nth <= calls; nth++)
            fault_run(&faults[i], nth, &unused);
}

static void test_backup__survives_failing_allocations(void **state)
{
    (void)state;
    struct store store;
    struct cuts cuts;
    (void)mem_test_live();
    crash_store(&store, &cuts);
    uint64_t before = mem_test_allocations();
    expect_ok(backup_to(store.kv, "copy"));
    uint64_t allocations = mem_test_allocations() - before;
    expect_ok(os_unlink(store.os, "copy"));
    assert_true(allocations > 20);
    uint64_t live = mem_test_live();
    unsigned names = names_in(store.os, ".");
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        for (uint64_t nth = 1; nth <= allocations; nth++) {
            mem_test_fail_at(nth, sticky);
            sombra_err err = backup_to(store.kv, "copy");
            mem_test_fail_at(0, false);
            if (err)
                expect_err(SOMBRA_NOMEM, err);
            else
                expect_ok(os_unlink(store.os, "copy"));
            assert_int_equal(mem_test_live(), live);
            assert_int_equal(names_in(store.os, "."), names);
        }
    }
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BACKUP_TEST(test_backup__holds_everything_and_stands_alone),
        BACKUP_TEST(test_backup__of_an_empty_store_is_an_empty_store),
        BACKUP_TEST(test_backup__saves_a_database_without_a_file),
        BACKUP_TEST(test_backup__is_compact),
        cmocka_unit_test(test_backup__has_the_mode_of_the_options),
        BACKUP_TEST(test_backup__larger_than_a_batch_is_whole),
        BACKUP_TEST(test_backup__never_replaces),
        BACKUP_TEST(test_backup__loses_a_race_for_the_name),
        BACKUP_TEST(test_backup__cancelled_leaves_nothing),
        cmocka_unit_test(test_backup__of_damaged_content_is_refused),
        BACKUP_TEST(test_backup__is_one_snapshot_while_a_writer_commits),
        cmocka_unit_test(test_backup__cut_anywhere_is_nothing_or_whole),
        cmocka_unit_test(test_backup__fails_cleanly_at_every_call),
        cmocka_unit_test(test_backup__survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
