/* SPDX-License-Identifier: MIT */
/* Opening and closing: who may, by which name, how often, and what is left behind. */
#include "btree_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct btree_options small_options(void)
{
    return (struct btree_options){ .page_bytes = 4096, .map_bytes_max = TEST_MAP_BYTES };
}

static void store_begin(struct store *store)
{
    struct btree_options options = small_options();
    store_init(store, &options);
    kv_put_one(store->kv, "key", "value", KV_DURABILITY_STORE);
}

/* ---- read-only --------------------------------------------------------------------------- */

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void test_btree__readonly_open_writes_nothing(void **state)
{
    (void)state;
    struct store store;
    struct buf before = BUF_INIT, after = BUF_INIT;
    struct stat was, is, directory_was, directory_is;
    store_begin(&store);
    store_close(&store);
    assert_true(file_load(store.path, &before));
    assert_int_equal(stat(store.path, &was), 0);
    assert_int_equal(stat(store.directory, &directory_was), 0);
    usleep(20000); /* longer than the clock of the file system ticks */
    struct btree_options options = small_options();
    options.is_readonly = true;
    expect_ok(btree_open(store.os, store.path, &options, &store.kv));
    kv_expect_one(store.kv, "key", "value");
    kv_expect_sound(store.kv);
    struct kv_txn *txn;
    struct kv_begin_options write = { .is_write = true };
    expect_err(SOMBRA_READONLY, kv_begin(store.kv, &write, &txn));
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(store.kv, &job));
    store_close(&store);
    assert_int_equal(stat(store.path, &is), 0);
    assert_int_equal(stat(store.directory, &directory_is), 0);
    assert_true(is_same_time(was.st_mtim, is.st_mtim) && is_same_time(was.st_ctim, is.st_ctim));
    /* The lock file came and went: the reader is seen by writers. */
    assert_int_equal(directory_was.st_nlink, directory_is.st_nlink);
    assert_true(file_load(store.path, &after));
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    buf_release(&before);
    buf_release(&after);
    store_release(&store);
}

static void test_btree__readonly_open_of_an_unclean_store_says_what_to_do(void **state)
{
    (void)state;
    struct store store, copy;
    struct buf before = BUF_INIT, after = BUF_INIT;
    store_begin(&store);
    store_use_log(store.kv);
    store_copy(&store, &copy);
    struct btree_options options = small_options();
    options.is_readonly = true;
    assert_true(file_load(copy.path, &before));
    expect_err(SOMBRA_READONLY, btree_open(copy.os, copy.path, &options, &copy.kv));
    assert_non_null(strstr(sombra_err_message(), "open it once for writing"));
    assert_true(file_load(copy.path, &after));
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    store_open(&copy);
    kv_expect_one(copy.kv, "key", "value");
    buf_release(&before);
    buf_release(&after);
    store_release(&copy);
    store_release(&store);
}

static void test_btree__readonly_open_makes_no_file(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    char path[128];
    snprintf(path, sizeof path, "%s/other", store.directory);
    struct kv *kv;
    struct btree_options options = small_options();
    options.is_readonly = true;
    for (unsigned create = 0; create < 2; create++) {
        options.create = create;
        expect_err(SOMBRA_NOT_FOUND, btree_open(store.os, path, &options, &kv));
        assert_int_equal(access(path, F_OK), -1);
    }
    options.is_readonly = options.create = false;
    expect_err(SOMBRA_NOT_FOUND, btree_open(store.os, path, &options, &kv));
    assert_int_equal(access(path, F_OK), -1);
    store_release(&store);
}

/* Only what is not root is refused by modes. */
static void in_child_as_nobody(void (*run)(struct store *store), struct store *store)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(3);
        run(store);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void open_in_unwritable(struct store *store)
{
    struct kv *kv;
    struct btree_options options = small_options();
    options.create = true;
    char path[128];
    snprintf(path, sizeof path, "%s/other", store->directory);
    if (btree_open(os_posix(), path, &options, &kv) != SOMBRA_READONLY)
        _exit(10);
    if (!strstr(sombra_err_message(), path))
        _exit(11);
    /* The file may be read, and not written. */
    if (btree_open(os_posix(), store->path, &options, &kv) != SOMBRA_READONLY)
        _exit(12);
    options.is_readonly = true;
    if (btree_open(os_posix(), store->path, &options, &kv) != SOMBRA_OK)
        _exit(13);
    struct kv_txn *txn;
    sombra_slice value;
    if (kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn) != SOMBRA_OK ||
        kv_get(txn, slice_str("key"), &value) != SOMBRA_OK || value.bytes != 5)
        _exit(14);
    kv_abort(txn);
    if (kv_close(kv) != SOMBRA_OK)
        _exit(15);
}

static void test_btree__unwritable_directory_can_be_read(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    store_close(&store);
    assert_int_equal(chmod(store.path, 0444), 0);
    assert_int_equal(chmod(store.directory, 0555), 0);
    in_child_as_nobody(open_in_unwritable, &store);
    assert_int_equal(chmod(store.directory, 0700), 0);
    store_release(&store);
}

static void open_beside_a_writer(struct store *store)
{
    struct kv *kv;
    struct btree_options options = small_options();
    options.is_readonly = true;
    if (btree_open(os_posix(), store->path, &options, &kv) != SOMBRA_BUSY)
        _exit(20);
}

static int held_open[2], may_close[2]; /* pipes */

static void hold_open(struct store *store)
{
    struct kv *kv;
    char byte = 0;
    struct btree_options options = small_options();
    options.is_readonly = true;
    if (btree_open(os_posix(), store->path, &options, &kv) != SOMBRA_OK)
        _exit(21);
    if (write(held_open[1], &byte, 1) != 1 || read(may_close[0], &byte, 1) != 1)
        _exit(22);
    if (kv_close(kv) != SOMBRA_OK)
        _exit(23);
}

/* Nobody sees what it reads: its pages must not be used again. */
static void test_btree__reader_without_a_slot_and_writers_exclude_each_other(void **state)
{
    (void)state;
    struct store store;
    char byte = 0;
    if (geteuid() != 0)
        skip(); /* a user who may write cannot play both */
    store_begin(&store);
    assert_int_equal(chmod(store.path, 0444), 0);
    assert_int_equal(chmod(store.directory, 0555), 0);
    in_child_as_nobody(open_beside_a_writer, &store);
    store_close(&store);
    assert_int_equal(pipe(held_open), 0);
    assert_int_equal(pipe(may_close), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(held_open[0]);
        close(may_close[1]);
        if (setuid(65534) != 0)
            _exit(3);
        hold_open(&store);
        _exit(0);
    }
    close(held_open[1]);
    assert_int_equal(read(held_open[0], &byte, 1), 1);
    struct kv *kv;
    expect_err(SOMBRA_BUSY, btree_open(store.os, store.path, &store.options, &kv));
    assert_int_equal(write(may_close[1], &byte, 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    store_open(&store);
    close(held_open[0]);
    close(may_close[0]);
    close(may_close[1]);
    assert_int_equal(chmod(store.directory, 0700), 0);
    store_release(&store);
}

/* ---- one store, many names --------------------------------------------------------------- */

static void test_btree__paths_to_one_file_share_the_store(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    char link_path[128], dotted[200], directory_link[128], through[200];
    snprintf(link_path, sizeof link_path, "%s/link", store.directory);
    snprintf(directory_link, sizeof directory_link, "%s/here", store.directory);
    snprintf(dotted, sizeof dotted, "%s/../%s/store", store.directory,
             strrchr(store.directory, '/') + 1);
    snprintf(through, sizeof through, "%s/store", directory_link);
    assert_int_equal(symlink("store", link_path), 0);
    assert_int_equal(symlink(".", directory_link), 0);
    const char *const paths[] = { store.path, link_path, dotted, through };
    struct btree_options options = small_options();
    struct kv *handles[COUNT_OF(paths)];
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        expect_ok(btree_open(store.os, paths[i], &options, &handles[i]));
        char key[16];
        snprintf(key, sizeof key, "by %zu", i);
        kv_put_one(handles[i], key, "x", KV_DURABILITY_STORE);
        kv_expect_one(store.kv, key, "x");
        kv_expect_one(handles[0], key, "x");
    }
    /* One writer for all of them. */
    struct kv_txn *txn = kv_begin_write(handles[1]);
    struct kv_txn *second;
    struct kv_begin_options write = { .is_write = true };
    expect_err(SOMBRA_BUSY, kv_begin(handles[2], &write, &second));
    kv_abort(txn);
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        expect_ok(kv_close(handles[i]));
    kv_put_one(store.kv, "after", "x", KV_DURABILITY_STORE);
    /* Opened and made by its link, the logs stand beside the file. */
    store_close(&store);
    expect_ok(btree_open(store.os, link_path, &options, &store.kv));
    store_use_log(store.kv);
    kv_put_one(store.kv, "by link", "x", KV_DURABILITY_STORE);
    char log[112];
    store_file_path(&store, 1, log);
    assert_int_equal(access(log, F_OK), 0);
    store_close(&store);
    assert_int_equal(access(log, F_OK), -1);
    unlink(link_path);
    unlink(directory_link);
    store_release(&store);
}

static void test_btree__hard_linked_file_is_refused(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    store_close(&store);
    char other[128];
    snprintf(other, sizeof other, "%s/other", store.directory);
    assert_int_equal(link(store.path, other), 0);
    struct btree_options options = small_options();
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        options.is_readonly = readonly;
        expect_err(SOMBRA_INVALID, btree_open(store.os, other, &options, &store.kv));
        assert_non_null(strstr(sombra_err_message(), "hard links"));
        expect_err(SOMBRA_INVALID, btree_open(store.os, store.path, &options, &store.kv));
    }
    assert_int_equal(unlink(other), 0);
    store.kv = NULL;
    store_open(&store);
    kv_expect_one(store.kv, "key", "value");
    store_release(&store);
}

static void test_btree__first_handle_may_close_before_the_second(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    struct kv *second;
    expect_ok(btree_open(store.os, store.path, &store.options, &second));
    store_close(&store);
    kv_put_one(second, "still", "open", KV_DURABILITY_STORE);
    kv_expect_one(second, "key", "value");
    expect_ok(kv_close(second));
    store_open(&store);
    kv_expect_one(store.kv, "still", "open");
    store_release(&store);
}

static void test_btree__readonly_store_is_not_shared_for_writing(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    store_close(&store);
    struct btree_options options = small_options();
    options.is_readonly = true;
    struct kv *readers[2], *writer;
    expect_ok(btree_open(store.os, store.path, &options, &readers[0]));
    expect_ok(btree_open(store.os, store.path, &options, &readers[1]));
    expect_err(SOMBRA_BUSY, btree_open(store.os, store.path, &store.options, &writer));
    expect_ok(kv_close(readers[0]));
    expect_ok(kv_close(readers[1]));
    store_open(&store);
    store_release(&store);
}

/* ---- other processes --------------------------------------------------------------------- */

static void child_must(struct store *store, bool readonly, sombra_err want)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* A process of its own: the parent's registry was copied and means nothing here. */
        char readonly_text[2] = { readonly ? '1' : '0', 0 };
        execl("/proc/self/exe", "btree_open_test", "--open", store->path, readonly_text, NULL);
        _exit(100);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), want);
}

static int child_main(const char *path, bool readonly)
{
    struct kv *kv;
    struct btree_options options = small_options();
    options.is_readonly = readonly;
    sombra_err err = btree_open(os_posix(), path, &options, &kv);
    if (err)
        return (int)err;
    return (int)kv_close(kv);
}

static void test_btree__second_process_shares_the_file(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    child_must(&store, false, SOMBRA_OK);
    child_must(&store, true, SOMBRA_OK);
    store_close(&store);
    child_must(&store, false, SOMBRA_OK);
    /* A writer joins a reader as well. */
    struct btree_options options = small_options();
    options.is_readonly = true;
    expect_ok(btree_open(store.os, store.path, &options, &store.kv));
    child_must(&store, true, SOMBRA_OK);
    child_must(&store, false, SOMBRA_OK);
    store_close(&store);
    child_must(&store, false, SOMBRA_OK);
    store_release(&store);
}

/* Killed in the middle of work, not closed: the next process finds everything that was
 * acknowledged. */
static void test_btree__killed_process_leaves_its_commits(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    store_close(&store);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct kv *kv;
        struct btree_options options = small_options();
        options.durability = KV_OFF;
        options.checkpoint_log_bytes = 60000;
        if (btree_open(os_posix(), store.path, &options, &kv))
            _exit(1);
        for (uint64_t n = 0;; n++) {
            struct kv_txn *txn;
            uint8_t key[8];
            struct kv_begin_options write_now = { .is_write = true };
            if (kv_begin(kv, &write_now, &txn) ||
                kv_put(txn, kv_number_key(n, key), slice_of("0123456789", 10)) ||
                kv_commit(txn, KV_DURABILITY_STORE) || write(pipes[1], &n, sizeof n) != sizeof n) {
                fprintf(stderr, "child: %s\n", sombra_err_message());
                _exit(2);
            }
        }
    }
    uint64_t n = 0;
    close(pipes[1]);
    while (n < 3000)
        assert_int_equal(read(pipes[0], &n, sizeof n), sizeof n);
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    while (read(pipes[0], &n, sizeof n) == sizeof n)
        ;
    close(pipes[0]);
    store_open(&store);
    uint64_t entries = store_stats(store.kv, false).entries;
    /* The text key, the acknowledged numbers, and at most one on its way. */
    assert_in_range(entries, n + 2, n + 3);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- close ------------------------------------------------------------------------------- */

#if !HAS_ADDRESS_SANITIZER && !HAS_THREAD_SANITIZER
/* The reservation once took what the windows for writing need, or was refused. */
static void write_in_little_space(const char *path, uint64_t space_bytes)
{
    static uint8_t value[256 << 10];
    const struct btree_options options = { .create = true };
    const struct rlimit limit = { .rlim_cur = space_bytes, .rlim_max = space_bytes };
    struct kv *kv;
    if (setrlimit(RLIMIT_AS, &limit))
        _exit(2);
    if (btree_open(os_posix(), path, &options, &kv))
        _exit(3);
    for (uint64_t i = 0; i < 120; i++) {
        uint8_t key[8];
        struct kv_txn *txn;
        if (kv_begin(kv, &(struct kv_begin_options){ .is_write = true }, &txn) ||
            kv_put(txn, kv_number_key(i, key), slice_of(value, sizeof value)) ||
            kv_commit(txn, KV_OFF))
            _exit(4);
    }
    _exit(kv_close(kv) ? 5 : 0);
}

static void test_btree__little_address_space_is_shared_with_what_writes(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    store_close(&store);
    char path[160];
    for (uint64_t space_bytes = 300 * MiB; space_bytes <= 2400 * MiB; space_bytes *= 2) {
        snprintf(path, sizeof path, "%s/little-%u", store.directory, (unsigned)(space_bytes / MiB));
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            write_in_little_space(path, space_bytes);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(unlink(path), 0);
        strcat(path, "-lock");
        (void)unlink(path);
    }
    store_release(&store);
}
#endif

static void syncs_count(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    unsigned *syncs = context;
    *syncs += event->call == OS_SIM_SYNC || event->call == OS_SIM_SYNC_DIRECTORY;
}

/* What scripts cost that open, write so many times and close: syncs. */
static unsigned script_syncs(struct store *store, unsigned writes)
{
    static uint64_t seed;
    unsigned syncs = 0;
    os_sim_set_hook(store->sim, syncs_count, &syncs);
    store_open(store);
    for (unsigned i = 0; i < writes; i++) {
        struct kv_txn *txn = kv_begin_write(store->kv);
        put_sized(txn, "key", seed++, 100);
        expect_ok(kv_commit(txn, KV_FULL));
    }
    store_close(store);
    os_sim_set_hook(store->sim, NULL, NULL);
    return syncs;
}

/* One write: the names, its pages, its meta record; at the close the other record. Several: the
 * second saves the names and the meta record that has the logs; each its own record; the close the
 * pages and both meta records. */
static void test_btree__scripts_sync_no_more_than_they_need(void **state)
{
    (void)state;
    enum { BESIDE = 3, LOG = 2, CLOSE = 3, CREATION = 2 };
    struct store store;
    struct btree_options options = small_options();
    options.no_background = true;
    unsigned syncs = 0;
    store_init_simulated(&store, &options);
    store_close(&store);
    expect_ok(os_unlink(store.os, store.path));
    assert_int_equal(script_syncs(&store, 1), CREATION + BESIDE - 1 + 1);
    assert_int_equal(script_syncs(&store, 0), 0);
    assert_int_equal(script_syncs(&store, 1), BESIDE + 1);
    assert_int_equal(script_syncs(&store, 2), BESIDE + LOG + 1 + CLOSE);
    assert_int_equal(script_syncs(&store, 5), BESIDE + LOG + 4 + CLOSE);
    /* Who waits for no sync does not go beside the log. */
    store.options.durability = KV_NORMAL;
    assert_int_equal(script_syncs(&store, 1), LOG + 1 + CLOSE);
    /* A transaction that is given up costs nothing. */
    store.options.durability = KV_FULL;
    os_sim_set_hook(store.sim, syncs_count, &syncs);
    store_open(&store);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_sized(txn, "key", 0, 5000);
    kv_abort(txn);
    store_close(&store);
    os_sim_set_hook(store.sim, NULL, NULL);
    assert_int_equal(syncs, 0);
    store_release(&store);
}

/* The pages that a commit without a log freed at the file's end are cut off by the close if they
 * are many, and the growth that it did not need in any case. */
static void test_btree__scripts_leave_no_free_end(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = small_options();
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 3000, 100, 1);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_close(&store);
    struct stat full, empty;
    assert_int_equal(stat(store.path, &full), 0);
    store_open(&store);
    struct kv_stats stats = store_stats(store.kv, false);
    assert_int_equal(full.st_size, stats.file_bytes);
    assert_true(stats.pages_free * options.page_bytes * 8 < stats.file_bytes);
    txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ .low = slice_of(NULL, 0) }, NULL));
    kv_commit_ok(txn);
    store_reopen(&store);
    assert_int_equal(stat(store.path, &empty), 0);
    assert_true(empty.st_size < full.st_size / 4);
    store_expect_exact(store.kv);
    store_release(&store);
}

static void test_btree__close_with_open_transactions_changes_nothing(void **state)
{
    (void)state;
    struct store store;
    store_begin(&store);
    struct kv_txn *reader = kv_begin_read(store.kv);
    expect_err(SOMBRA_BUSY, kv_close(store.kv));
    kv_expect_text(reader, "key", "value");
    kv_put_one(store.kv, "after the refusal", "1",
               KV_DURABILITY_STORE); /* durable: the background still runs */
    kv_abort(reader);
    struct kv_txn *writer = kv_begin_write(store.kv);
    kv_put_text(writer, "in the writer", "2");
    expect_err(SOMBRA_BUSY, kv_close(store.kv));
    kv_put_text(writer, "behind the refusal", "3");
    kv_commit_ok(writer);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(store.kv, &job));
    store_reopen(&store);
    kv_expect_one(store.kv, "after the refusal", "1");
    kv_expect_one(store.kv, "in the writer", "2");
    kv_expect_one(store.kv, "behind the refusal", "3");
    store_expect_exact(store.kv);
    store_release(&store);
}

/* A refused close stopped the background thread once: normal commits must still be synced, and
 * checkpoints made. */
static void test_btree__background_work_goes_on_after_a_refused_close(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = small_options();
    options.durability = KV_NORMAL;
    options.sync_interval_ms = 1;
    options.checkpoint_log_bytes = 20000;
    store_init(&store, &options);
    kv_put_one(store.kv, "first", "1", KV_DURABILITY_STORE);
    struct kv_txn *reader = kv_begin_read(store.kv);
    expect_err(SOMBRA_BUSY, kv_close(store.kv));
    kv_abort(reader);
    uint64_t checkpoints = store_stats(store.kv, false).checkpoints;
    for (unsigned i = 0; i < 300; i++)
        kv_put_one(store.kv, "again and again",
                   i % 2 ? "a value that is not so short that it were nothing"
                         : "another one of about that length, for a change",
                   KV_DURABILITY_STORE);
    struct kv_stats stats;
    for (unsigned tries = 0; tries < 2000; tries++) {
        stats = store_stats(store.kv, false);
        if (stats.checkpoints > checkpoints && stats.durable_lsn >= stats.lsn)
            break;
        usleep(5000);
    }
    assert_true(stats.checkpoints > checkpoints);
    assert_true(stats.durable_lsn >= stats.lsn);
    store_release(&store);
}

/* A checkpoint in the background is no open transaction. */
static void test_btree__close_waits_for_a_background_checkpoint(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.durability = KV_OFF;
    options.checkpoint_log_bytes = 3000;
    for (unsigned round = 0; round < 60; round++) {
        struct store store;
        store_init(&store, &options);
        for (unsigned i = 0; i < 1 + round % 8; i++) {
            struct kv_txn *txn = kv_begin_write(store.kv);
            put_sized(txn, "enough for a checkpoint", i, 900);
            kv_commit_ok(txn);
        }
        store_release(&store);
    }
}

/* Nor is it a reason for BUSY, not even for a writer that does not wait. */
static void test_btree__writer_that_does_not_wait_is_not_refused_for_a_checkpoint(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = small_options();
    options.durability = KV_OFF;
    options.checkpoint_log_bytes = 3000;
    store_init(&store, &options);
    for (unsigned i = 0; i < 6000; i++) {
        struct kv_txn *txn;
        struct kv_begin_options at_once = { .is_write = true, .busy_timeout_ms = 0 };
        expect_ok(kv_begin(store.kv, &at_once, &txn));
        put_sized(txn, "key", i, 100);
        kv_commit_ok(txn);
    }
    assert_true(store_stats(store.kv, false).checkpoints > 20);
    store_release(&store);
}

/* ---- a failed sync ----------------------------------------------------------------------- */

static void test_btree__failed_sync_stops_writes_for_good_and_reads_go_on(void **state)
{
    (void)state;
    static const unsigned calls[] = { 1u << OS_SIM_SYNC, 1u << OS_SIM_WRITE };
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        struct store store;
        struct btree_options options = small_options();
        options.no_background = true;
        store_init_simulated(&store, &options);
        store_use_log(store.kv);
        kv_put_one(store.kv, "key", "value", KV_DURABILITY_STORE);
        struct os_sim_fault fault = { .kind = OS_SIM_EIO, .nth = 1, .calls = calls[i] };
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_text(txn, "unknown", "outcome");
        os_sim_fail(store.sim, &fault); /* behind the put, which may make the file longer */
        expect_err(SOMBRA_IO, kv_commit(txn, KV_FULL));
        assert_true(strstr(sombra_err_message(), "outcome unknown") ||
                    strstr(sombra_err_message(), "outcome of the commit unknown"));
        os_sim_fail(store.sim, NULL);
        for (unsigned again = 0; again < 3; again++) {
            struct kv_begin_options write = { .is_write = true };
            expect_err(SOMBRA_IO, kv_begin(store.kv, &write, &txn));
            assert_non_null(strstr(sombra_err_message(), "open the database again"));
            kv_expect_one(store.kv, "key", "value");
            uint64_t digest;
            expect_ok(content_digest(store.kv, &digest));
        }
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        expect_err(SOMBRA_IO, kv_maintain(store.kv, &job));
        /* A second handle is no way round it. */
        struct kv *second;
        struct kv_begin_options write = { .is_write = true };
        expect_ok(btree_open(store.os, store.path, &store.options, &second));
        expect_err(SOMBRA_IO, kv_begin(second, &write, &txn));
        expect_ok(kv_close(second));
        expect_err(SOMBRA_IO, kv_close(store.kv));
        store.kv = NULL;
        store_open(&store);
        kv_expect_one(store.kv, "key", "value");
        kv_put_one(store.kv, "new", "commit", KV_DURABILITY_STORE);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--open") == 0)
        return child_main(argv[2], argv[3][0] == '1');
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_btree__readonly_open_writes_nothing),
        cmocka_unit_test(test_btree__readonly_open_of_an_unclean_store_says_what_to_do),
        cmocka_unit_test(test_btree__readonly_open_makes_no_file),
        cmocka_unit_test(test_btree__unwritable_directory_can_be_read),
        cmocka_unit_test(test_btree__reader_without_a_slot_and_writers_exclude_each_other),
        cmocka_unit_test(test_btree__paths_to_one_file_share_the_store),
        cmocka_unit_test(test_btree__hard_linked_file_is_refused),
        cmocka_unit_test(test_btree__first_handle_may_close_before_the_second),
        cmocka_unit_test(test_btree__readonly_store_is_not_shared_for_writing),
        cmocka_unit_test(test_btree__second_process_shares_the_file),
        cmocka_unit_test(test_btree__killed_process_leaves_its_commits),
#if !HAS_ADDRESS_SANITIZER && !HAS_THREAD_SANITIZER
        cmocka_unit_test(test_btree__little_address_space_is_shared_with_what_writes),
#endif
        cmocka_unit_test(test_btree__scripts_sync_no_more_than_they_need),
        cmocka_unit_test(test_btree__scripts_leave_no_free_end),
        cmocka_unit_test(test_btree__close_with_open_transactions_changes_nothing),
        cmocka_unit_test(test_btree__background_work_goes_on_after_a_refused_close),
        cmocka_unit_test(test_btree__close_waits_for_a_background_checkpoint),
        cmocka_unit_test(test_btree__writer_that_does_not_wait_is_not_refused_for_a_checkpoint),
        cmocka_unit_test(test_btree__failed_sync_stops_writes_for_good_and_reads_go_on),
    };
    return cmocka_run_group_tests_name("btree, open and close", tests, NULL, NULL);
}
