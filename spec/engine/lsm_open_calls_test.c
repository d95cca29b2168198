/* SPDX-License-Identifier: MIT */
/* Opening, and the real system: how often it is called, and what it does not allow. */
#include "lsm_store.h"
#include "os/os_ops.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct lsm_options quiet(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(16 * KiB), .no_background = true };
}

static void fill(struct kv *kv, uint64_t first, uint64_t last, size_t value_bytes, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, first, last, value_bytes, salt);
    expect_ok(kv_commit(txn, KV_OFF));
}

/* ---- calls ------------------------------------------------------------------------------- */

static const struct os_ops *real;
static uint64_t calls, table_opens;

static int count_open(struct os *os, const char *path, unsigned flags, unsigned mode)
{
    calls++;
    table_opens += strstr(path, ".sst") != NULL;
    return real->open(os, path, flags, mode);
}
static int64_t count_read(struct os *os, int fd, uint64_t offset, void *to, size_t bytes)
{
    calls++;
    return real->read(os, fd, offset, to, bytes);
}
static int64_t count_write(struct os *os, int fd, uint64_t offset, const struct iovec *parts,
                           int count)
{
    calls++;
    return real->write(os, fd, offset, parts, count);
}
static int count_stat(struct os *os, int fd, struct os_stat *out)
{
    calls++;
    return real->stat(os, fd, out);
}
static int count_stat_path(struct os *os, const char *path, struct os_stat *out)
{
    calls++;
    return real->stat_path(os, path, out);
}
static int count_list(struct os *os, const char *path,
                      sombra_err (*each)(void *context, const char *name), void *context,
                      sombra_err *out_err)
{
    calls++;
    return real->list(os, path, each, context, out_err);
}
static int count_unlink(struct os *os, const char *path)
{
    calls++;
    return real->unlink(os, path);
}
static int count_lock(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type)
{
    calls++;
    return real->lock(os, fd, offset, bytes, type);
}
static int count_map(struct os *os, int fd, uint64_t offset, size_t bytes, bool is_writable,
                     void **out_address)
{
    calls++;
    return real->map(os, fd, offset, bytes, is_writable, out_address);
}
/* Real ones would take the test's time. */
static int no_sync(struct os *os, int fd)
{
    (void)os, (void)fd;
    calls++;
    return 0;
}
static int no_sync_directory(struct os *os, const char *directory)
{
    (void)os, (void)directory;
    calls++;
    return 0;
}

/* What opening costs, of a store with `tables` tables, which is closed. */
static uint64_t open_calls(struct os *os, unsigned tables, bool is_readonly)
{
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.table_bytes = 4 * KiB;
    options.memtable_bytes = 64 * MiB;
    options.codec = LSM_CODEC_NONE;
    lsm_store_init(&store, &options);
    lsm_store_close(&store);
    store.os = os;
    lsm_store_open(&store);
    fill(store.kv, 0, 4 * tables, 1050, 0);
    struct kv_maintenance job = { .kind = KV_COMPACT };
    expect_ok(kv_maintain(store.kv, &job));
    lsm_store_close(&store);
    assert_in_range(names_of(store.os, store.path).tables, tables * 3 / 4, tables * 5 / 4);
    store.options.is_readonly = is_readonly;
    calls = table_opens = 0;
    lsm_store_open(&store);
    uint64_t counted = calls;
    assert_int_equal(table_opens, 0);
    struct kv_txn *txn = kv_begin_read(store.kv);
    uint8_t key[8];
    sombra_slice value;
    expect_ok(kv_get(txn, kv_number_key(2 * tables, key), &value));
    assert_int_equal(table_opens, 1);
    kv_abort(txn);
    lsm_store_release(&store);
    return counted;
}

static void test_lsm_open__a_thousand_tables_open_with_the_calls_of_ten(void **state)
{
    (void)state;
    real = os_posix()->ops;
    struct os_ops ops = *real;
    ops.open = count_open;
    ops.read = count_read;
    ops.write = count_write;
    ops.stat = count_stat;
    ops.stat_path = count_stat_path;
    ops.list = count_list;
    ops.unlink = count_unlink;
    ops.lock = count_lock;
    ops.map = count_map;
    ops.sync = no_sync;
    ops.sync_directory = no_sync_directory;
    struct os os = { .ops = &ops };
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        uint64_t ten = open_calls(&os, 10, readonly), thousand = open_calls(&os, 1000, readonly);
        print_message("%s: %u calls for 10 tables, %u for 1000\n", readonly ? "reading" : "writing",
                      (unsigned)ten, (unsigned)thousand);
        assert_int_equal(ten, thousand);
    }
}

/* ---- a medium that cannot be written ----------------------------------------------------- */

static void read_as_nobody(const struct lsm_store *store, bool is_readonly, int want)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct lsm_options options = { .is_readonly = is_readonly };
        struct kv *kv;
        struct kv_txn *txn;
        sombra_slice value;
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(100);
        sombra_err err = lsm_open(os_posix(), store->path, &options, &kv);
        if (err)
            _exit((int)err);
        err = kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn);
        if (!err)
            err = kv_get(txn, slice_str("b"), &value);
        kv_abort(txn);
        _exit(err || kv_close(kv) ? 101 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), want);
}

/* Tests that run as root become nobody, who may not reach a private working directory. */
static bool nobody_gets_here(void)
{
    pid_t child = fork();
    int status;
    assert_true(child >= 0);
    if (child == 0)
        _exit((geteuid() == 0 && setuid(65534) != 0) || access(".", R_OK | X_OK) != 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_lsm_open__a_directory_that_cannot_be_written_is_read(void **state)
{
    (void)state;
    if (!nobody_gets_here()) {
        print_message("nobody may not enter the working directory\n");
        skip();
    }
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.mode = 0644;
    lsm_store_init(&store, &options);
    assert_int_equal(chmod(store.directory, 0755), 0);
    kv_put_one(store.kv, "b", "value", KV_FULL);
    lsm_store_close(&store);
    struct names before = names_of(store.os, store.path);
    assert_int_equal(chmod(store.path, 0555), 0);
    read_as_nobody(&store, true, 0);
    read_as_nobody(&store, false, SOMBRA_READONLY);

    char lock[128];
    snprintf(lock, sizeof lock, "%s/LOCK", store.path);
    assert_int_equal(chmod(store.path, 0755), 0);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(chmod(store.path, 0555), 0);
    read_as_nobody(&store, true, 0);
    assert_int_equal(chmod(store.path, 0755), 0);
    struct names after = names_of(store.os, store.path);
    assert_int_equal(after.others + 1, before.others);
    assert_int_equal(after.tables, before.tables);
    assert_int_equal(after.logs, 0);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm_open__a_thousand_tables_open_with_the_calls_of_ten),
        cmocka_unit_test(test_lsm_open__a_directory_that_cannot_be_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
