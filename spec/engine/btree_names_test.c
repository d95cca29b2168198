/* SPDX-License-Identifier: MIT */
/* One file, one store: other names of it, what is in the way of a new one, file systems where it
 * cannot be, and many opens at once.
 */
#include "btree_fixture.h"

#include "btree/btree_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct btree_options small_options(void)
{
    return (struct btree_options){
        .page_bytes = 4096, .map_bytes_max = TEST_MAP_BYTES, .create = true, .no_background = true
    };
}

static sombra_err open_at(struct os *os, const char *path, struct kv **out_kv)
{
    struct btree_options options = small_options();
    return btree_open(os, path, &options, out_kv);
}

static void put_one(struct kv *kv, const char *key)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_text(txn, key, "value");
    kv_commit_ok(txn);
}

/* ---- other names ------------------------------------------------------------------------- */

/* Rule 12: each name has a lock file and logs of its own, and two writers would not know of each
 * other. */
static void test_btree__an_open_file_is_refused_under_another_name(void **state)
{
    (void)state;
    for (int is_killed = 0; is_killed < 2; is_killed++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *first = os_sim_start(sim);
        struct os *second = os_sim_start(sim);
        struct kv *kv, *other = NULL;
        expect_ok(open_at(first, "store", &kv));
        put_one(kv, "first");
        expect_ok(os_rename(second, "store", "moved"));
        expect_err(SOMBRA_CONFLICT, open_at(second, "moved", &other));
        assert_non_null(strstr(sombra_err_message(), "another name"));
        expect_ok(os_rename(second, "moved", "store"));
        if (is_killed)
            os_sim_kill(first);
        else
            expect_ok(kv_close(kv));
        expect_ok(open_at(second, "store", &other));
        put_one(other, "second");
        expect_ok(kv_close(other));
        /* Closed, it may have any name, and another lock file. */
        expect_ok(os_rename(second, "store", "moved"));
        expect_ok(open_at(second, "moved", &other));
        assert_int_equal(store_stats(other, false).entries, 2);
        expect_ok(kv_close(other));
        if (is_killed)
            (void)!kv_close(kv);
        os_sim_free(sim);
    }
}

/* Who removes the lock file of an open database gets no second one. */
static void test_btree__a_removed_lock_file_is_noticed(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *first = os_sim_start(sim);
    struct os *second = os_sim_start(sim);
    struct kv *kv, *other = NULL;
    expect_ok(open_at(first, "store", &kv));
    expect_ok(os_unlink(second, "store-lock"));
    expect_err(SOMBRA_CONFLICT, open_at(second, "store", &other));
    expect_ok(kv_close(kv));
    expect_ok(open_at(second, "store", &other));
    expect_ok(kv_close(other));
    os_sim_free(sim);
}

/* ---- what is in the way of a new file ----------------------------------------------------- */

static void directory_paths(char directory[64], char path[96], char staging[112])
{
    struct store store;
    store_init(&store, NULL);
    store_close(&store);
    unlink(store.path);
    memcpy(directory, store.directory, 64);
    snprintf(path, 96, "%s", store.path);
    snprintf(staging, 112, "%s-new", store.path);
}

static void expect_bytes(const char *path, const char *text)
{
    struct buf bytes = BUF_INIT;
    assert_true(file_load(path, &bytes));
    assert_true(slice_equal(buf_slice(&bytes), slice_str(text)));
    buf_release(&bytes);
}

/* Its close once removed the log and the lock file of the new one. */
static void test_btree__a_file_made_anew_is_left_alone_by_the_store_before(void **state)
{
    (void)state;
    for (int is_removed = 0; is_removed < 2; is_removed++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *first = os_sim_start(sim);
        struct os *second = os_sim_start(sim);
        struct kv *kv, *other = NULL;
        expect_ok(open_at(first, "store", &kv));
        store_use_log(kv);
        put_one(kv, "first");
        if (is_removed)
            expect_ok(os_unlink(second, "store"));
        else
            expect_ok(os_rename(second, "store", "moved"));
        expect_ok(os_unlink(second, "store-lock"));
        expect_ok(os_unlink(second, "store-log0"));
        expect_ok(os_unlink(second, "store-log1"));
        expect_ok(open_at(second, "store", &other));
        put_one(other, "second");
        put_one(kv, "third");
        expect_err(SOMBRA_CONFLICT, kv_close(kv));
        assert_non_null(strstr(sombra_err_message(), "was replaced"));
        put_one(other, "fourth");
        os_sim_kill(second);
        struct os *third = os_sim_start(sim);
        expect_ok(open_at(third, "store", &kv));
        struct kv_txn *txn = kv_begin_read(kv);
        kv_expect_words(txn, NULL, NULL, "fourth second");
        kv_abort(txn);
        expect_ok(kv_close(kv));
        os_sim_free(sim);
    }
}

static void test_btree__creation_follows_no_link_and_takes_no_others_file(void **state)
{
    (void)state;
    char directory[64], path[96], staging[112], victim[112];
    directory_paths(directory, path, staging);
    snprintf(victim, sizeof victim, "%s/victim", directory);
    struct kv *kv = NULL;
    file_store(victim, slice_str("somebody's letters"));
    assert_int_equal(symlink(victim, staging), 0);
    assert_int_not_equal(open_at(os_posix(), path, &kv), SOMBRA_OK);
    expect_bytes(victim, "somebody's letters");
    unlink(staging);
    file_store(staging, slice_str("somebody's diary"));
    expect_err(SOMBRA_INVALID, open_at(os_posix(), path, &kv));
    assert_non_null(strstr(sombra_err_message(), "in the way"));
    expect_bytes(staging, "somebody's diary");
    unlink(staging);
    unlink(victim);
    /* Neither does it take a database that has that name. */
    struct kv *neighbour;
    expect_ok(open_at(os_posix(), staging, &neighbour));
    expect_err(SOMBRA_INVALID, open_at(os_posix(), path, &kv));
    put_one(neighbour, "kept");
    expect_ok(kv_close(neighbour));
    expect_err(SOMBRA_INVALID, open_at(os_posix(), path, &kv));
    expect_ok(open_at(os_posix(), staging, &neighbour));
    assert_int_equal(store_stats(neighbour, false).entries, 1);
    expect_ok(kv_close(neighbour));
    unlink(staging);
    assert_int_equal(rmdir(directory), 0);
}

static void test_btree__what_a_dead_creator_left_is_taken_away(void **state)
{
    (void)state;
    static const char *const leftovers[] = { "", "\0\0\0\0", "" };
    for (size_t i = 0; i < COUNT_OF(leftovers); i++) {
        char directory[64], path[96], staging[112];
        directory_paths(directory, path, staging);
        struct kv *kv;
        if (i < 2) {
            file_store(staging, slice_of(leftovers[i], i * 4));
        } else { /* whole, but for its name */
            expect_ok(open_at(os_posix(), staging, &kv));
            expect_ok(kv_close(kv));
        }
        expect_ok(open_at(os_posix(), path, &kv));
        assert_int_equal(access(staging, F_OK), -1);
        put_one(kv, "new");
        expect_ok(kv_close(kv));
        unlink(path);
        assert_int_equal(rmdir(directory), 0);
    }
}

/* ---- file systems ------------------------------------------------------------------------ */

static void test_btree__a_network_file_system_is_refused_unless_allowed(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(&(struct os_sim_options){ .is_network = true });
    struct os *os = os_sim_start(sim);
    struct kv *kv = NULL;
    struct os_identity identity;
    expect_err(SOMBRA_UNSUPPORTED, open_at(os, "store", &kv));
    assert_non_null(strstr(sombra_err_message(), "network_files"));
    expect_err(SOMBRA_NOT_FOUND, os_identify_path(os, "store", &identity));
    expect_err(SOMBRA_NOT_FOUND, os_identify_path(os, "store-new", &identity));
    struct btree_options options = small_options();
    options.allows_network = true;
    expect_ok(btree_open(os, "store", &options, &kv));
    put_one(kv, "key");
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    expect_err(SOMBRA_UNSUPPORTED, open_at(os, "store", &kv));
    os_sim_free(sim);
}

/* ---- many opens --------------------------------------------------------------------------- */

struct stopped_open {
    pthread_t thread;
    struct os *os;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_inside, may_go;
    sombra_err err;
};

static void stop_inside(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    (void)event;
    struct stopped_open *open = context;
    pthread_mutex_lock(&open->mutex);
    open->is_inside = true;
    pthread_cond_broadcast(&open->changed);
    while (!open->may_go)
        pthread_cond_wait(&open->changed, &open->mutex);
    pthread_mutex_unlock(&open->mutex);
}

static void *open_and_close(void *argument)
{
    struct stopped_open *open = argument;
    struct kv *kv;
    open->err = open_at(open->os, "slow", &kv);
    if (!open->err)
        open->err = kv_close(kv);
    return NULL;
}

/* The first open stands still in the middle until the second is done. */
static void test_btree__opens_of_different_files_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct stopped_open slow = { .os = os_sim_start(sim),
                                 .mutex = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER };
    os_sim_set_hook(sim, stop_inside, &slow);
    assert_int_equal(pthread_create(&slow.thread, NULL, open_and_close, &slow), 0);
    pthread_mutex_lock(&slow.mutex);
    while (!slow.is_inside)
        pthread_cond_wait(&slow.changed, &slow.mutex);
    pthread_mutex_unlock(&slow.mutex);
    struct store store;
    store_init(&store, NULL);
    put_one(store.kv, "key");
    store_release(&store);
    pthread_mutex_lock(&slow.mutex);
    slow.may_go = true;
    pthread_cond_broadcast(&slow.changed);
    pthread_mutex_unlock(&slow.mutex);
    pthread_join(slow.thread, NULL);
    assert_int_equal(slow.err, SOMBRA_OK);
    os_sim_free(sim);
}

enum { OPENERS = 4, OPENS = 40 };

struct opener {
    pthread_t thread;
    const char *paths[3]; /* the last two are one file */
    uint64_t random;
    uint64_t failures;
};

static bool open_once(const char *path, uint64_t number)
{
    struct kv *kv;
    if (open_at(os_posix(), path, &kv))
        return false;
    uint8_t key[8];
    struct kv_txn *txn;
    struct kv_begin_options patient = { .is_write = true, .busy_timeout_ms = UINT64_MAX };
    sombra_err err = kv_begin(kv, &patient, &txn);
    if (!err) {
        err = kv_put(txn, kv_number_key(number, key), slice_of("v", 1));
        if (err)
            kv_abort(txn);
        else
            err = kv_commit(txn, KV_OFF);
    }
    sombra_err close_err = kv_close(kv);
    return !err && !close_err;
}

static void *open_often(void *argument)
{
    struct opener *opener = argument;
    for (uint64_t i = 0; i < OPENS; i++) {
        uint64_t number = hash_u64(opener->random + i);
        opener->failures += !open_once(opener->paths[number % 3], number);
    }
    return NULL;
}

static void test_btree__threads_open_and_close_the_same_files(void **state)
{
    (void)state;
    struct store one, two;
    store_init(&one, NULL);
    store_init(&two, NULL);
    store_close(&one);
    store_close(&two);
    char link[112];
    snprintf(link, sizeof link, "%s/link", two.directory);
    assert_int_equal(symlink(two.path, link), 0);
    struct opener openers[OPENERS];
    for (uint64_t i = 0; i < OPENERS; i++) {
        openers[i] = (struct opener){ .paths = { one.path, two.path, link }, .random = i * 1000 };
        assert_int_equal(pthread_create(&openers[i].thread, NULL, open_often, &openers[i]), 0);
    }
    uint64_t failures = 0;
    for (size_t i = 0; i < OPENERS; i++) {
        pthread_join(openers[i].thread, NULL);
        failures += openers[i].failures;
    }
    assert_int_equal(failures, 0);
    unlink(link);
    store_open(&one);
    store_open(&two);
    uint64_t entries = store_stats(one.kv, false).entries + store_stats(two.kv, false).entries;
    assert_int_equal(entries, OPENERS * OPENS);
    store_release(&one);
    store_release(&two);
}

/* ---- what a killed process leaves to the others -------------------------------------------- */

/* Rule 23: nobody but the others is left to sync it. */
static void test_btree__normal_commits_of_a_killed_process_are_synced_by_another(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *idle = os_sim_start(sim);
    struct os *writer = os_sim_start(sim);
    struct btree_options options = small_options();
    options.sync_interval_ms = 3600 * 1000;
    struct kv *kv, *dying;
    options.no_background = false;
    expect_ok(btree_open(idle, "store", &options, &kv));
    options.no_background = true; /* no thread to be killed */
    expect_ok(btree_open(writer, "store", &options, &dying));
    put_one(dying, "synced");
    kv_abort(kv_begin_read(kv)); /* it has a thread from now on */
    struct kv_txn *txn = kv_begin_write(dying);
    kv_put_text(txn, "left behind", "value");
    expect_ok(kv_commit(txn, KV_NORMAL));
    struct kv_stats stats = store_stats(kv, false);
    assert_true(stats.durable_lsn < stats.lsn);
    os_sim_kill(writer);
    for (int i = 0; i < 3000 && stats.durable_lsn < stats.lsn; i++) {
        os_sleep_us(os_posix(), 10000);
        stats = store_stats(kv, false);
    }
    assert_int_equal(stats.durable_lsn, stats.lsn);
    struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, 1);
    struct kv *survivor;
    expect_ok(open_at(os_sim_start(after), "store", &survivor));
    assert_int_equal(store_stats(survivor, false).entries, 2);
    expect_ok(kv_close(survivor));
    os_sim_free(after);
    expect_ok(kv_close(kv));
    (void)!kv_close(dying);
    os_sim_free(sim);
}

struct second_opener {
    struct os *os;
    struct kv *kv; /* NULL until it has opened */
};

static void open_between_names(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct second_opener *opener = context;
    if (event->call != OS_SIM_UNLINK || !strstr(event->path, "store-new"))
        return;
    os_sim_set_hook(sim, NULL, NULL);
    expect_ok(open_at(opener->os, "store", &opener->kv));
}

/* The maker of the file once took its name away again where another had opened it already, and
 * had taken away the name that it was made under. */
static void test_btree__new_file_may_be_opened_before_its_maker_is_done(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct second_opener opener = { .os = os_sim_start(sim) };
    struct kv *kv;
    os_sim_set_hook(sim, open_between_names, &opener);
    expect_ok(open_at(os_sim_start(sim), "store", &kv));
    assert_non_null(opener.kv);
    put_one(opener.kv, "second");
    put_one(kv, "first");
    assert_int_equal(store_stats(opener.kv, false).entries, 2);
    expect_ok(kv_close(opener.kv));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

static bool commit_is_durable(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_text(txn, "key", store_stats(kv, false).lsn % 2 ? "odd" : "even");
    expect_ok(kv_commit(txn, KV_NORMAL));
    struct kv_stats stats = store_stats(kv, false);
    return stats.durable_lsn == stats.lsn;
}

/* Rule 23 again: who came first has no thread before it does something, and until then nobody
 * counts on one. */
static void test_btree__normal_commits_beside_one_without_a_thread_are_synced(void **state)
{
    (void)state;
    enum { TRANSACTIONS = 8 };
    struct btree_options options = small_options();
    options.sync_interval_ms = 3600 * 1000;
    for (int ends = 0; ends < 3; ends++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *idle = os_sim_start(sim);
        struct kv *kv, *other;
        options.no_background = false;
        expect_ok(btree_open(idle, "store", &options, &kv));
        for (int i = 1; ends == 2 && i < TRANSACTIONS; i++)
            kv_abort(kv_begin_read(kv));
        options.no_background = true;
        expect_ok(btree_open(os_sim_start(sim), "store", &options, &other));
        put_one(other, "first");
        assert_true(commit_is_durable(other));
        assert_true(commit_is_durable(other));
        if (ends == 0)
            os_sim_kill(idle);
        if (ends < 2)
            (void)!kv_close(kv);
        else
            kv_abort(kv_begin_read(kv));
        assert_false(commit_is_durable(other));
        expect_ok(kv_close(other));
        if (ends == 2)
            expect_ok(kv_close(kv));
        os_sim_free(sim);
    }
}

struct growth_watch {
    struct btree *btree;
    uint64_t syncs, unmarked;
};

static void watch_log_syncs(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    struct growth_watch *watch = context;
    if (event->call != OS_SIM_SYNC || !strstr(event->path, "-log"))
        return;
    struct head *head = watch->btree->head;
    watch->syncs++;
    watch->unmarked += !atomic_load(&head->entries[watch->btree->attachment.entry].sync_inflight);
}

/* Rule 5: that of the log's growth is a sync as any other. It is synced for commits that
 * are. */
static void test_btree__every_sync_of_the_log_is_known_to_be_on_the_way(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.durability = KV_FULL;
    struct store store;
    store_init_simulated(&store, &options);
    put_one(store.kv, "the log is there");
    struct growth_watch watch = { .btree = btree_of(store.kv) };
    os_sim_set_hook(store.sim, watch_log_syncs, &watch);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 20000, 30, 0);
    kv_commit_ok(txn);
    assert_true(watch.syncs > 1); /* the growth's, and the commit's */
    assert_int_equal(watch.unmarked, 0);
    os_sim_set_hook(store.sim, NULL, NULL);
    store_release(&store);
}

/* ---- who reads ---------------------------------------------------------------------------- */

static void test_btree__the_oldest_reader_is_named_and_a_dead_one_is_none(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *first = os_sim_start(sim);
    struct os *second = os_sim_start(sim);
    struct kv *kv, *other;
    expect_ok(open_at(first, "store", &kv));
    expect_ok(open_at(second, "store", &other));
    assert_int_equal(store_stats(kv, false).oldest_reader_process, 0);
    struct kv_txn *reader = kv_begin_read(other);
    put_one(kv, "newer");
    struct kv_txn *newer = kv_begin_read(kv);
    struct kv_stats stats = store_stats(kv, false);
    assert_int_equal(stats.readers, 2);
    assert_true(stats.oldest_reader_txn < stats.txn);
    assert_int_equal(stats.oldest_reader_process, os_process_id());
    os_sim_kill(second);
    stats = store_stats(kv, false);
    assert_int_equal(stats.readers, 1);
    assert_int_equal(stats.oldest_reader_txn, stats.txn);
    kv_abort(newer);
    kv_abort(reader);
    (void)!kv_close(other);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

#ifdef __GLIBC__
static void stack_size_set(size_t bytes)
{
    pthread_attr_t attributes;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, bytes), 0);
    assert_int_equal(pthread_setattr_default_np(&attributes), 0);
    pthread_attr_destroy(&attributes);
}

/* No one counts on a thread that the system did not give: of the first process, and of one that
 * found others. */
static void test_btree__normal_commits_beside_one_that_got_no_thread_are_synced(void **state)
{
    (void)state;
    const size_t usual_bytes = (size_t)8 << 20, no_memory_has = (size_t)1 << 50;
    struct btree_options options = small_options();
    options.sync_interval_ms = 3600 * 1000;
    for (int is_first = 0; is_first < 2; is_first++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct kv *kv[2];
        for (int i = 0; i < 2; i++) {
            bool has_none = (i == 0) == is_first;
            options.no_background = !has_none;
            if (has_none)
                stack_size_set(no_memory_has);
            expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv[i]));
            if (has_none)
                put_one(kv[i], "first");
            stack_size_set(usual_bytes);
        }
        struct kv *other = kv[is_first];
        put_one(other, "second");
        assert_true(commit_is_durable(other));
        expect_ok(kv_close(kv[1 - is_first]));
        assert_false(commit_is_durable(other));
        expect_ok(kv_close(other));
        os_sim_free(sim);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_btree__an_open_file_is_refused_under_another_name),
        cmocka_unit_test(test_btree__a_removed_lock_file_is_noticed),
        cmocka_unit_test(test_btree__a_file_made_anew_is_left_alone_by_the_store_before),
        cmocka_unit_test(test_btree__creation_follows_no_link_and_takes_no_others_file),
        cmocka_unit_test(test_btree__what_a_dead_creator_left_is_taken_away),
        cmocka_unit_test(test_btree__a_network_file_system_is_refused_unless_allowed),
        cmocka_unit_test(test_btree__opens_of_different_files_do_not_wait_for_each_other),
        cmocka_unit_test(test_btree__threads_open_and_close_the_same_files),
        cmocka_unit_test(test_btree__normal_commits_of_a_killed_process_are_synced_by_another),
        cmocka_unit_test(test_btree__new_file_may_be_opened_before_its_maker_is_done),
        cmocka_unit_test(test_btree__normal_commits_beside_one_without_a_thread_are_synced),
#ifdef __GLIBC__
        cmocka_unit_test(test_btree__normal_commits_beside_one_that_got_no_thread_are_synced),
#endif
        cmocka_unit_test(test_btree__every_sync_of_the_log_is_known_to_be_on_the_way),
        cmocka_unit_test(test_btree__the_oldest_reader_is_named_and_a_dead_one_is_none),
    };
    return cmocka_run_group_tests_name("btree, names", tests, NULL, NULL);
}
