/* SPDX-License-Identifier: MIT */
/* Several processes on one directory: the lock of the writing one, children of fork(), and readers
 * beside a writer. */
#include "kv_fork.h"
#include "lsm_store.h"
#include "os/os_ops.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
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

/* ---- another process --------------------------------------------------------------------- */

/* It does what the letters say, one at a time, and answers each with the code of what it did. */
struct process {
    pid_t pid;
    int to, from;
};

enum { ROUND_NUMBERS = 200, VALUE_BYTES = 100 };

static sombra_err round_write(struct kv *kv, uint64_t round)
{
    struct kv_txn *txn;
    struct buf value = BUF_INIT;
    uint8_t key[8];
    sombra_err err = kv_begin(
        kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 10000 }, &txn);
    if (err)
        return err;
    for (uint64_t i = 0; i < ROUND_NUMBERS && !err; i++)
        err = kv_put(txn, kv_number_key(i, key), kv_pattern(&value, i + round, VALUE_BYTES));
    buf_release(&value);
    if (!err)
        return kv_commit(txn, KV_OFF);
    kv_abort(txn);
    return err;
}

static sombra_err maintain(struct kv *kv, enum kv_maintenance_kind kind)
{
    struct kv_maintenance job = { .kind = kind };
    return kv_maintain(kv, &job);
}

static sombra_err obey(char what, const char *path, const struct lsm_options *options,
                       struct kv **kv, uint64_t *round)
{
    switch (what) {
    case 'o':
        return lsm_open(os_posix(), path, options, kv);
    case 'w':
        return round_write(*kv, ++*round);
    case 'p':
        return maintain(*kv, KV_CHECKPOINT);
    case 'm':
        return maintain(*kv, KV_COMPACT);
    case 'c':
        return kv_close(*kv);
    default:
        return SOMBRA_INVALID;
    }
}

static void child_run(const char *path, const struct lsm_options *options, int from, int to)
{
    struct kv *kv = NULL;
    uint64_t round = 0;
    char what;
    while (read(from, &what, 1) == 1) {
        char answer = (char)obey(what, path, options, &kv, &round);
        if (write(to, &answer, 1) != 1)
            break;
    }
    _exit(0);
}

static struct process process_start(const char *path, const struct lsm_options *options)
{
    struct process process;
    int to[2], from[2];
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    process.pid = fork();
    assert_true(process.pid >= 0);
    if (process.pid == 0) {
        close(to[1]);
        close(from[0]);
        child_run(path, options, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    process.to = to[1];
    process.from = from[0];
    return process;
}

static void process_tell(const struct process *process, char what)
{
    assert_int_equal(write(process->to, &what, 1), 1);
}

static sombra_err process_answer(const struct process *process)
{
    char answer;
    assert_int_equal(read(process->from, &answer, 1), 1);
    return (sombra_err)answer;
}

static void process_does(const struct process *process, const char *letters)
{
    for (; *letters; letters++) {
        process_tell(process, *letters);
        expect_ok(process_answer(process));
    }
}

static void process_end(struct process *process, bool kills)
{
    int status;
    if (kills)
        assert_int_equal(kill(process->pid, SIGKILL), 0);
    close(process->to);
    close(process->from);
    assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
}

/* ---- the lock ---------------------------------------------------------------------------- */

static void store_begin(struct lsm_store *store)
{
    struct lsm_options options = quiet();
    lsm_store_init(store, &options);
    lsm_store_close(store);
}

static void test_lsm_processes__a_second_writer_is_busy_and_says_so(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct process other = process_start(store.path, &store.options);
    process_does(&other, "ow");
    for (unsigned i = 0; i < 2; i++) {
        store.options.busy_timeout_ms = 30 * i;
        expect_err(SOMBRA_BUSY, lsm_open(store.os, store.path, &store.options, &store.kv));
        expect_text("another process");
        expect_text(i ? "30 ms" : "0 ms");
        expect_text(store.path);
    }
    process_does(&other, "w"); /* nothing happened to it */
    /* It closes while this one waits. */
    store.options.busy_timeout_ms = 60000;
    process_tell(&other, 'c');
    lsm_store_open(&store);
    expect_ok(process_answer(&other));
    kv_expect_sound(store.kv);
    process_end(&other, false);
    lsm_store_release(&store);
}

static void test_lsm_processes__death_frees_the_lock_and_loses_no_commit(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct process other = process_start(store.path, &store.options);
    process_does(&other, "owww");
    process_end(&other, true);
    lsm_store_open(&store);
    assert_int_equal(kv_metrics_count(store.kv->metrics, KV_COUNTER_RECOVERIES), 1);
    struct kv_txn *txn = kv_begin_read(store.kv);
    struct buf value = BUF_INIT;
    uint8_t key[8];
    kv_expect_value(txn, kv_number_key(7, key), kv_pattern(&value, 7 + 3, VALUE_BYTES));
    kv_abort(txn);
    buf_release(&value);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* ---- fork -------------------------------------------------------------------------------- */

static int child_refusals(const struct kv_inherited *has, const char *path)
{
    struct lsm_options options = quiet();
    struct kv *kv;
    int call = kv_fork_refusals(has);
    if (call)
        return call;
    if (lsm_open(os_posix(), path, &options, &kv) != SOMBRA_BUSY)
        return 101;
    options.is_readonly = true;
    return lsm_open(os_posix(), path, &options, &kv) || kv_close(kv) ? 102 : 0;
}

static void test_lsm_processes__a_child_of_fork_is_refused_everywhere(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = { LSM_STORE_SMALL(16 * KiB) }; /* with its threads */
    lsm_store_init(&store, &options);
    expect_ok(round_write(store.kv, 1));
    struct kv_inherited has;
    bool found;
    kv_fork_open(store.kv, &has);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_refusals(&has, store.path));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);

    /* The parent goes on, and its lock holds. */
    expect_ok(kv_cursor_move(has.cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    kv_cursor_close(has.cursor);
    kv_abort(has.reader);
    kv_commit_ok(has.writer);
    struct process other = process_start(store.path, &store.options);
    process_tell(&other, 'o');
    assert_int_equal(process_answer(&other), SOMBRA_BUSY);
    process_end(&other, false);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* A child that was forked keeps no lock of its parent. */
static void test_lsm_processes__a_child_does_not_keep_its_parents_lock(void **state)
{
    (void)state;
    struct lsm_store store;
    int hold[2];
    store_begin(&store);
    lsm_store_open(&store);
    assert_int_equal(pipe(hold), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(hold[0]);
    lsm_store_close(&store);
    struct process other = process_start(store.path, &store.options);
    process_does(&other, "owc");
    process_end(&other, false);
    close(hold[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    lsm_store_release(&store);
}

/* ---- readers beside a writer ------------------------------------------------------------- */

/* All of one round: what no other moment of the writer looks like. */
static void expect_round(struct kv *kv, uint64_t round)
{
    struct kv_txn *txn = kv_begin_read(kv);
    struct buf value = BUF_INIT;
    uint8_t key[8];
    uint64_t count;
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, round ? ROUND_NUMBERS : 0);
    for (uint64_t i = 0; round && i < ROUND_NUMBERS; i += 23)
        kv_expect_value(txn, kv_number_key(i, key), kv_pattern(&value, i + round, VALUE_BYTES));
    kv_abort(txn);
    buf_release(&value);
}

static unsigned tables_in(const char *path)
{
    DIR *directory = opendir(path);
    unsigned tables = 0;
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t bytes = strlen(entry->d_name);
        tables += bytes > 4 && strcmp(entry->d_name + bytes - 4, ".sst") == 0;
    }
    closedir(directory);
    return tables;
}

static void test_lsm_processes__a_reader_sees_one_moment_until_it_refreshes(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct process writer = process_start(store.path, &store.options);
    process_does(&writer, "ow");
    store.options.is_readonly = true;
    lsm_store_open(&store);
    expect_round(store.kv, 1); /* from the log: nothing is in tables yet */
    process_does(&writer, "wp");
    expect_round(store.kv, 1);
    expect_ok(maintain(store.kv, KV_REFRESH));
    expect_round(store.kv, 2);
    struct kv_txn *old = kv_begin_read(store.kv);
    process_does(&writer, "wpwm");
    expect_round(store.kv, 2);
    expect_ok(maintain(store.kv, KV_REFRESH));
    expect_round(store.kv, 4);
    struct buf value = BUF_INIT; /* a transaction that began before goes on with what it began */
    uint8_t key[8];
    kv_expect_value(old, kv_number_key(9, key), kv_pattern(&value, 9 + 2, VALUE_BYTES));
    kv_abort(old);
    buf_release(&value);
    kv_expect_sound(store.kv);
    struct kv_txn *txn;
    expect_err(SOMBRA_READONLY,
               kv_begin(store.kv, &(struct kv_begin_options){ .is_write = true }, &txn));
    expect_err(SOMBRA_READONLY, maintain(store.kv, KV_COMPACT));
    process_does(&writer, "c");
    expect_round(store.kv, 4);
    expect_ok(maintain(store.kv, KV_REFRESH));
    expect_round(store.kv, 4);
    process_end(&writer, false);
    lsm_store_release(&store);
}

static void test_lsm_processes__a_readers_tables_stay_until_it_lets_them_go(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct process writer = process_start(store.path, &store.options);
    process_does(&writer, "owm");
    unsigned alone = tables_in(store.path);
    assert_true(alone > 0);
    store.options.is_readonly = true;
    lsm_store_open(&store);
    process_does(&writer, "wmwmwm"); /* replaces all that the reader has, and that again */
    assert_int_equal(tables_in(store.path), 2 * alone);
    expect_round(store.kv, 1);
    expect_ok(maintain(store.kv, KV_REFRESH));
    struct kv_txn *old = kv_begin_read(store.kv); /* keeps what it reads beyond a refresh */
    process_does(&writer, "wm");                  /* its next change removes what nobody reads */
    assert_int_equal(tables_in(store.path), 2 * alone);
    expect_ok(maintain(store.kv, KV_REFRESH));
    process_does(&writer, "wm");
    assert_int_equal(tables_in(store.path), 3 * alone);
    expect_round(store.kv, 5);
    uint64_t entries;
    kv_digest(old, (struct kv_range){ 0 }, &entries);
    assert_int_equal(entries, ROUND_NUMBERS);
    kv_abort(old);
    expect_ok(maintain(store.kv, KV_REFRESH));
    process_does(&writer, "wm");
    assert_int_equal(tables_in(store.path), 2 * alone);
    expect_round(store.kv, 6);
    lsm_store_close(&store);
    process_does(&writer, "wm");
    assert_int_equal(tables_in(store.path), alone);
    process_does(&writer, "c");
    process_end(&writer, false);
    lsm_store_release(&store);
}

/* A reader of another process that dies keeps nothing. */
static void test_lsm_processes__a_dead_reader_keeps_no_table(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    lsm_store_open(&store);
    expect_ok(round_write(store.kv, 1));
    expect_ok(maintain(store.kv, KV_COMPACT));
    unsigned alone = tables_in(store.path);
    struct lsm_options readonly = quiet();
    readonly.is_readonly = true;
    struct process reader = process_start(store.path, &readonly);
    process_does(&reader, "o");
    expect_ok(round_write(store.kv, 2));
    expect_ok(maintain(store.kv, KV_COMPACT));
    assert_int_equal(tables_in(store.path), 2 * alone);
    process_end(&reader, true);
    expect_ok(round_write(store.kv, 3));
    expect_ok(maintain(store.kv, KV_COMPACT));
    assert_int_equal(tables_in(store.path), alone);
    lsm_store_release(&store);
}

/* ---- files that somebody put back ---------------------------------------------------------- */

static struct buf file_read(const char *directory, const char *name)
{
    struct buf bytes = BUF_INIT;
    char path[512];
    uint8_t chunk[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t count; (count = fread(chunk, 1, sizeof chunk, file)) > 0;)
        expect_ok(buf_append(&bytes, chunk, count));
    assert_int_equal(fclose(file), 0);
    return bytes;
}

static void file_write(const char *directory, const char *name, const struct buf *bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_true(unlink(path) == 0 || errno == ENOENT);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes->data, 1, bytes->bytes, file), bytes->bytes);
    assert_int_equal(fclose(file), 0);
}

static void
test_lsm_processes__a_reader_refuses_an_older_manifest_and_keeps_what_it_had(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct process writer = process_start(store.path, &store.options);
    process_does(&writer, "owm");
    struct buf older = file_read(store.path, "MANIFEST");
    process_does(&writer, "wmwmc");
    process_end(&writer, false);
    struct buf newer = file_read(store.path, "MANIFEST");
    store.options.is_readonly = true;
    lsm_store_open(&store);
    expect_round(store.kv, 3);
    file_write(store.path, "MANIFEST", &older); /* its tables are gone */
    expect_err(SOMBRA_CONFLICT, maintain(store.kv, KV_REFRESH));
    expect_text("the manifest is not what follows");
    expect_round(store.kv, 3);
    file_write(store.path, "MANIFEST", &newer);
    expect_ok(maintain(store.kv, KV_REFRESH));
    expect_round(store.kv, 3);
    buf_release(&older);
    buf_release(&newer);
    lsm_store_release(&store);
}

static void test_lsm_processes__a_reader_refuses_another_stores_manifest(void **state)
{
    (void)state;
    struct lsm_store store, other;
    store_begin(&store);
    store_begin(&other);
    for (struct lsm_store *at = &store;; at = &other) {
        lsm_store_open(at);
        for (uint64_t round = 1; round <= (at == &store ? 1 : 3); round++) {
            expect_ok(round_write(at->kv, round));
            expect_ok(maintain(at->kv, KV_COMPACT));
        }
        lsm_store_close(at);
        if (at == &other)
            break;
    }
    store.options.is_readonly = true;
    lsm_store_open(&store);
    struct buf others = file_read(other.path, "MANIFEST");
    file_write(store.path, "MANIFEST", &others);
    expect_err(SOMBRA_CONFLICT, maintain(store.kv, KV_REFRESH));
    expect_text("the manifest is another store's");
    expect_round(store.kv, 1);
    buf_release(&others);
    lsm_store_release(&other);
    lsm_store_release(&store);
}

/* The manifest is the same; the log that somebody cut is not. */
static void test_lsm_processes__a_reader_refuses_logs_that_end_sooner(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = { LSM_STORE_SMALL(1 * MiB), .no_background = true }; /* one log */
    lsm_store_init(&store, &options);
    lsm_store_close(&store);
    struct process writer = process_start(store.path, &store.options);
    process_does(&writer, "ow");
    char log[64] = "";
    DIR *directory = opendir(store.path);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strstr(entry->d_name, ".log"))
            snprintf(log, sizeof log, "%.60s", entry->d_name);
    closedir(directory);
    struct buf older = file_read(store.path, log);
    process_does(&writer, "w");
    process_end(&writer, true);
    store.options.is_readonly = true;
    lsm_store_open(&store);
    expect_round(store.kv, 2);
    file_write(store.path, log, &older);
    expect_err(SOMBRA_CORRUPT, maintain(store.kv, KV_REFRESH));
    expect_text("the logs end at commit");
    expect_round(store.kv, 2);
    buf_release(&older);
    lsm_store_release(&store);
}

/* ---- changes in the middle of an open ----------------------------------------------------- */

static struct {
    const struct os_ops *real;
    const struct process *writer;
    const char *letters; /* what it does before the next look at the logs */
} between;

/* A reader has the manifest by then. */
static int list_between(struct os *os, const char *path,
                        sombra_err (*each)(void *context, const char *name), void *context,
                        sombra_err *out_err)
{
    if (between.letters && each != NULL && strstr(path, "data")) {
        const char *letters = between.letters;
        between.letters = letters[0] == '-' ? letters + 1 : NULL; /* '-': at the list after this */
        if (letters[0] != '-')
            process_does(between.writer, letters);
    }
    return between.real->list(os, path, each, context, out_err);
}

/* Between its look at the manifest and at the logs these are switched, or the writer closes. */
static void test_lsm_processes__a_reader_opens_while_the_logs_change(void **state)
{
    (void)state;
    static const char *const letters[] = { "wp", "wmw", "wc", "c" };
    struct lsm_store store;
    between.real = os_posix()->ops;
    struct os_ops ops = *between.real;
    ops.list = list_between;
    struct os os = { .ops = &ops };
    store_begin(&store);
    struct lsm_options readonly = quiet();
    readonly.is_readonly = true;
    for (unsigned i = 0; i < 4; i++) {
        struct process writer = process_start(store.path, &store.options);
        struct kv *kv;
        process_does(&writer, "ow");
        between.writer = &writer;
        char dashed[8];
        snprintf(dashed, sizeof dashed, "-%s", letters[i]);
        between.letters = dashed;
        expect_ok(lsm_open(&os, store.path, &readonly, &kv));
        assert_null(between.letters); /* it came to it */
        kv_expect_sound(kv);
        expect_round(kv, letters[i][0] == 'c' ? 1 : letters[i][1] == 'm' ? 3 : 2);
        expect_ok(kv_close(kv));
        process_end(&writer, true);
    }
    lsm_store_release(&store);
}

/* ---- refresh beside everything that changes files ---------------------------------------- */

enum { REFRESHES = 150 };

/* Rounds, checkpoints, compactions, closes and opens without an end. */
static void writer_run(const char *path, const struct lsm_options *options)
{
    struct kv *kv = NULL;
    uint64_t round = 1000;
    for (unsigned i = 0;; i++) {
        sombra_err err = kv ? SOMBRA_OK : lsm_open(os_posix(), path, options, &kv);
        if (!err)
            err = round_write(kv, ++round);
        if (!err && i % 3 == 0)
            err = maintain(kv, KV_CHECKPOINT);
        if (!err && i % 7 == 0)
            err = maintain(kv, KV_COMPACT);
        if (!err && i % 5 == 0) {
            err = kv_close(kv);
            kv = NULL;
        }
        if (err) {
            fprintf(stderr, "writer: %s\n", sombra_err_message());
            _exit(1);
        }
    }
}

static void test_lsm_processes__refresh_beside_a_busy_writer_never_sees_damage(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        writer_run(store.path, &store.options);
    store.options.is_readonly = true;
    store.options.create = false;
    lsm_store_open(&store);
    uint64_t newest = 0, moves = 0;
    for (unsigned i = 0; i < REFRESHES || (moves < 5 && i < 1000 * REFRESHES); i++) {
        expect_ok(maintain(store.kv, KV_REFRESH));
        struct kv_txn *txn = kv_begin_read(store.kv);
        uint64_t entries, first = kv_digest(txn, (struct kv_range){ 0 }, &entries);
        assert_true(entries == 0 || entries == ROUND_NUMBERS);
        assert_int_equal(kv_digest(txn, (struct kv_range){ 0 }, &entries), first);
        kv_abort(txn);
        struct kv_maintenance job = { .kind = KV_STATS };
        expect_ok(kv_maintain(store.kv, &job));
        assert_true(job.stats.txn >= newest);
        moves += job.stats.txn > newest;
        newest = job.stats.txn;
        if (i % 10 == 0) {
            lsm_store_close(&store);
            lsm_store_open(&store);
        }
    }
    int status;
    assert_int_equal(waitpid(child, &status, WNOHANG), 0); /* it is still at it */
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(moves > 1);
    expect_ok(maintain(store.kv, KV_REFRESH));
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm_processes__a_second_writer_is_busy_and_says_so),
        cmocka_unit_test(test_lsm_processes__death_frees_the_lock_and_loses_no_commit),
        cmocka_unit_test(test_lsm_processes__a_child_of_fork_is_refused_everywhere),
        cmocka_unit_test(test_lsm_processes__a_child_does_not_keep_its_parents_lock),
        cmocka_unit_test(test_lsm_processes__a_reader_sees_one_moment_until_it_refreshes),
        cmocka_unit_test(test_lsm_processes__a_readers_tables_stay_until_it_lets_them_go),
        cmocka_unit_test(test_lsm_processes__a_dead_reader_keeps_no_table),
        cmocka_unit_test(test_lsm_processes__a_reader_opens_while_the_logs_change),
        cmocka_unit_test(
            test_lsm_processes__a_reader_refuses_an_older_manifest_and_keeps_what_it_had),
        cmocka_unit_test(test_lsm_processes__a_reader_refuses_another_stores_manifest),
        cmocka_unit_test(test_lsm_processes__a_reader_refuses_logs_that_end_sooner),
        cmocka_unit_test(test_lsm_processes__refresh_beside_a_busy_writer_never_sees_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
