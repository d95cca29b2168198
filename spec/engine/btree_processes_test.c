/* SPDX-License-Identifier: MIT */
/* Real processes on one btree file: they hand the turn to each other, die by SIGKILL, come and go.
 * The parent never has the store open, so that every child begins as a program of its own would.
 * SOMBRA_LONG=1 makes it long.
 */
#include "btree_processes_fixture.h"
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILDREN_MAX = 8, DEADLINE_MS = 20000 };

/* Memory that all processes share. What stands here was acknowledged. */
struct board {
    _Atomic uint32_t stops;
    _Atomic uint64_t acknowledged[CHILDREN_MAX];
    _Atomic uint64_t reads, checkpoints;
    _Atomic uint32_t ready;
};

static struct board *board;
static uint64_t seed_of_test;
static char directory[64], path[80];

/* ---- children ---------------------------------------------------------------------------- */

struct task {
    unsigned number;
    struct btree_options options;
    uint64_t commits; /* to do */
    uint64_t seed;
    enum kv_durability durability; /* of most commits */
};

static struct kv *store_open(const struct btree_options *options)
{
    struct kv *kv = NULL;
    must(btree_open(os_posix(), path, options, &kv));
    return kv;
}

static struct kv_txn *begin(struct kv *kv, bool is_write)
{
    struct kv_txn *txn = NULL;
    struct kv_begin_options options = { .is_write = is_write, .busy_timeout_ms = DEADLINE_MS };
    must(kv_begin(kv, &options, &txn));
    return txn;
}

/* What every snapshot shows. Returns the sum of the counters. */
static uint64_t snapshot_check(struct kv *kv, uint64_t *seen)
{
    uint64_t acknowledged[CHILDREN_MAX];
    for (unsigned i = 0; i < CHILDREN_MAX; i++)
        acknowledged[i] = atomic_load(&board->acknowledged[i]);
    struct kv_txn *txn = begin(kv, false);
    uint64_t sum = 0;
    must(accounts_sum(txn, &sum));
    must_be(sum == (uint64_t)ACCOUNTS * ACCOUNT_START);
    uint64_t total = 0;
    for (unsigned i = 0; i < CHILDREN_MAX; i++) {
        uint64_t sequence = 0;
        must(counter_get(txn, i, &sequence));
        must_be(sequence >= acknowledged[i]);
        must_be(sequence >= seen[i]);
        seen[i] = sequence;
        total += sequence;
    }
    kv_abort(txn);
    atomic_fetch_add(&board->reads, 1);
    return total;
}

static void verify(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_VERIFY, .problem = NULL };
    must(kv_maintain(kv, &job));
    must_be(job.problems == 0);
}

/* One commit; the turn is there until it ends. */
static void transfer(struct kv *kv, const struct task *task, uint64_t *random, uint64_t sequence)
{
    struct kv_txn *txn = begin(kv, true);
    must(accounts_transfer(txn, random, task->number, sequence, random_next(random) % 64 == 0));
    must(kv_commit(txn, random_next(random) % 8 ? task->durability : KV_FULL));
    atomic_store(&board->acknowledged[task->number], sequence);
}

static void work_as_writer(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    uint64_t random = task->seed | 1;
    uint64_t sequence = 0;
    struct kv_txn *txn = begin(kv, false);
    must(counter_get(txn, task->number, &sequence));
    kv_abort(txn);
    /* A commit that was not acknowledged may have happened; one more cannot. */
    uint64_t acknowledged = atomic_load(&board->acknowledged[task->number]);
    must_be(sequence >= acknowledged && sequence <= acknowledged + 1);
    atomic_store(&board->acknowledged[task->number], sequence);
    uint64_t seen[CHILDREN_MAX] = { 0 };
    for (uint64_t i = 0; i < task->commits && !atomic_load(&board->stops); i++) {
        transfer(kv, task, &random, ++sequence);
        if (random_next(&random) % 100 == 0)
            (void)snapshot_check(kv, seen);
        if (random_next(&random) % 300 == 0) {
            struct kv_maintenance job = { .kind = random_next(&random) % 4 ? KV_CHECKPOINT
                                                                           : KV_COMPACT };
            must(kv_maintain(kv, &job));
        }
    }
    struct kv_maintenance job = { .kind = KV_STATS };
    must(kv_maintain(kv, &job));
    atomic_fetch_add(&board->checkpoints, job.stats.checkpoints);
    must(kv_close(kv));
}

static void work_as_reader(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    uint64_t seen[CHILDREN_MAX] = { 0 };
    while (!atomic_load(&board->stops))
        (void)snapshot_check(kv, seen);
    must(kv_close(kv));
}

/* Alone at the end: everything is there, the account is exact. */
static void work_as_auditor(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    uint64_t seen[CHILDREN_MAX] = { 0 };
    (void)snapshot_check(kv, seen);
    for (unsigned i = 0; i < CHILDREN_MAX; i++)
        must_be(seen[i] <= atomic_load(&board->acknowledged[i]) + 1);
    verify(kv);
    must(kv_close(kv));
}

typedef void (*work_fn)(const struct task *task);

/* Those that a failed test leaves behind. */
static pid_t living[CHILDREN_MAX * 2];

static void living_replace(pid_t from, pid_t to)
{
    for (size_t i = 0; i < COUNT_OF(living); i++) {
        if (living[i] == from) {
            living[i] = to;
            return;
        }
    }
}

static pid_t start(work_fn work, const struct task *task)
{
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        alarm(DEADLINE_MS / 1000 * 15); /* a hang ends by itself */
        work(task);
        _exit(0);
    }
    assert_true(child > 0);
    living_replace(0, child);
    return child;
}

static void expect_exit(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    living_replace(child, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        print_error("child %d ended with status %x\n", (int)child, (unsigned)status);
        fail();
    }
}

static void run(work_fn work, const struct task *task)
{
    expect_exit(start(work, task));
}

static uint64_t now_ms(void)
{
    return os_monotonic_ns(os_posix()) / 1000000;
}

/* ---- fixture ----------------------------------------------------------------------------- */

static void work_as_maker(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    must(accounts_make(kv));
    must(kv_close(kv));
}

static int place_make(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/processes_XXXXXX",
             base && strlen(base) < 40 ? base : "/tmp");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/store", directory);
    memset(board, 0, sizeof *board);
    return 0;
}

static int place_remove(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(living); i++) {
        if (living[i]) {
            kill(living[i], SIGKILL);
            waitpid(living[i], NULL, 0);
            living[i] = 0;
        }
    }
    static const char *const suffixes[] = { "", "-lock", "-log0", "-log1", "-new" };
    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        char name[100];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
    return rmdir(directory);
}

static void expect_one_file(void)
{
    DIR *at = opendir(directory);
    assert_non_null(at);
    for (struct dirent *entry = readdir(at); entry; entry = readdir(at))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_string_equal(entry->d_name, "store");
    closedir(at);
}

#define SMALL_LOG                                                         \
    .create = true, .page_bytes = 4096, .busy_timeout_ms = DEADLINE_MS,   \
    .map_bytes_max = UINT64_C(1) << 34, .checkpoint_log_bytes = 96 * KiB, \
    .wal_bypass_bytes = 24 * KiB

static const struct btree_options by_mapping = { SMALL_LOG };
static const struct btree_options by_calls = { SMALL_LOG, .no_mapped_stores = true };

/* ---- handing over ------------------------------------------------------------------------ */

static void hand_over(const struct btree_options *first, const struct btree_options *second)
{
    bool is_long = kv_test_number("SOMBRA_LONG", 0) != 0;
    struct task maker = { .options = *first };
    run(work_as_maker, &maker);
    enum { WRITERS = 2, READERS = 2 };
    pid_t children[WRITERS + READERS];
    uint64_t commits = is_long ? 20000 : 1500;
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        struct task task = { .number = i,
                             .options = i % 2 ? *second : *first,
                             .commits = commits,
                             .seed = hash_u64(seed_of_test + i),
                             .durability = KV_NORMAL };
        children[i] = start(i < WRITERS ? work_as_writer : work_as_reader, &task);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        expect_exit(children[i]);
    atomic_store(&board->stops, 1);
    for (unsigned i = WRITERS; i < WRITERS + READERS; i++)
        expect_exit(children[i]);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(atomic_load(&board->acknowledged[i]), commits);
    expect_one_file();
    run(work_as_auditor, &maker);
    expect_one_file();
    assert_true(atomic_load(&board->checkpoints) > 4);
    print_message("%" PRIu64 " snapshots, %" PRIu64 " checkpoints\n", atomic_load(&board->reads),
                  atomic_load(&board->checkpoints));
}

static void test_processes__writers_hand_over_by_mapping(void **state)
{
    (void)state;
    hand_over(&by_mapping, &by_mapping);
}

static void test_processes__writers_hand_over_by_calls(void **state)
{
    (void)state;
    hand_over(&by_calls, &by_calls);
}

static void test_processes__writers_hand_over_mixed(void **state)
{
    (void)state;
    hand_over(&by_calls, &by_mapping);
}

/* ---- kill -9 ----------------------------------------------------------------------------- */

static uint64_t acknowledged_by_all(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < CHILDREN_MAX; i++)
        sum += atomic_load(&board->acknowledged[i]);
    return sum;
}

/* A child that ended by itself found something wrong. */
static void expect_all_run(const pid_t *children, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int status = 0;
        if (waitpid(children[i], &status, WNOHANG) != 0) {
            print_error("child %u ended with status %x\n", i, (unsigned)status);
            fail();
        }
    }
}

/* The living commit again; how long it took. */
static uint64_t expect_progress(const pid_t *children, unsigned count)
{
    uint64_t begin_ms = now_ms();
    uint64_t goal = acknowledged_by_all() + 3;
    while (acknowledged_by_all() < goal) {
        expect_all_run(children, count);
        if (now_ms() - begin_ms > DEADLINE_MS) {
            print_error("nobody commits any more\n");
            fail();
        }
        os_sleep_us(os_posix(), 500);
    }
    return now_ms() - begin_ms;
}

static void kill_one(pid_t child)
{
    kill(child, SIGKILL);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    living_replace(child, 0);
    if (!WIFSIGNALED(status)) {
        print_error("child ended with status %x before it was killed\n", (unsigned)status);
        fail();
    }
}

static void test_processes__killed_ones_hold_up_nobody(void **state)
{
    (void)state;
    enum { LIVING = 4, ALL_EVERY = 13 };
    uint64_t kills = kv_test_number("SOMBRA_LONG", 0) ? 1000 : 40;
    uint64_t random = hash_u64(seed_of_test + 99) | 1;
    struct task tasks[LIVING];
    pid_t children[LIVING];
    struct task maker = { .options = by_mapping };
    run(work_as_maker, &maker);
    for (unsigned i = 0; i < LIVING; i++) {
        tasks[i] = (struct task){ .number = i,
                                  .options = i == 3 ? by_calls : by_mapping,
                                  .commits = UINT64_MAX,
                                  .seed = random_next(&random),
                                  .durability = KV_FULL };
        children[i] = start(work_as_writer, &tasks[i]);
    }
    uint64_t slowest_ms = 0;
    for (uint64_t n = 1; n <= kills; n++) {
        os_sleep_us(os_posix(), 1000 + random_next(&random) % 49000);
        bool kills_all = n % ALL_EVERY == 0;
        unsigned victim = (unsigned)(random_next(&random) % LIVING);
        for (unsigned i = 0; i < LIVING; i++)
            if (kills_all || i == victim)
                kill_one(children[i]);
        if (kills_all)
            run(work_as_auditor, &maker);
        for (unsigned i = 0; i < LIVING; i++) {
            if (!kills_all && i != victim)
                continue;
            tasks[i].seed = random_next(&random);
            children[i] = start(work_as_writer, &tasks[i]);
        }
        slowest_ms = u64_max(slowest_ms, expect_progress(children, LIVING));
    }
    atomic_store(&board->stops, 1);
    for (unsigned i = 0; i < LIVING; i++)
        expect_exit(children[i]);
    expect_one_file();
    run(work_as_auditor, &maker);
    print_message("%" PRIu64 " kills, %" PRIu64 " commits, slowest take-over %" PRIu64 " ms\n",
                  kills, acknowledged_by_all(), slowest_ms);
}

/* ---- coming and going -------------------------------------------------------------------- */

static void work_as_visitor(const struct task *task)
{
    uint64_t seen[CHILDREN_MAX] = { 0 };
    uint64_t random = task->seed | 1;
    uint64_t sequence = 0;
    for (uint64_t i = 0; i < task->commits; i++) {
        struct kv *kv = store_open(&task->options);
        if (i % 3 != 2)
            transfer(kv, task, &random, ++sequence);
        (void)snapshot_check(kv, seen);
        must(kv_close(kv));
    }
}

static void test_processes__come_and_go_while_one_writes(void **state)
{
    (void)state;
    enum { VISITORS = 4 };
    struct task maker = { .options = by_mapping };
    run(work_as_maker, &maker);
    pid_t children[VISITORS + 1];
    for (unsigned i = 0; i <= VISITORS; i++) {
        struct task task = { .number = i,
                             .options = i % 2 ? by_calls : by_mapping,
                             .commits = i == VISITORS ? UINT64_MAX : 60,
                             .seed = hash_u64(seed_of_test * 3 + i),
                             .durability = KV_NORMAL };
        children[i] = start(i == VISITORS ? work_as_writer : work_as_visitor, &task);
    }
    for (unsigned i = 0; i < VISITORS; i++)
        expect_exit(children[i]);
    atomic_store(&board->stops, 1);
    expect_exit(children[VISITORS]);
    expect_one_file();
    run(work_as_auditor, &maker);
    expect_one_file();
}

/* Nobody stays: first opens and last closes meet all the time. */
static void test_processes__first_and_last_meet(void **state)
{
    (void)state;
    enum { VISITORS = 4 };
    struct task maker = { .options = by_mapping };
    run(work_as_maker, &maker);
    pid_t children[VISITORS];
    for (unsigned i = 0; i < VISITORS; i++) {
        struct task task = { .number = i,
                             .options = i % 2 ? by_calls : by_mapping,
                             .commits = 60,
                             .seed = hash_u64(seed_of_test * 5 + i),
                             .durability = KV_NORMAL };
        children[i] = start(work_as_visitor, &task);
    }
    for (unsigned i = 0; i < VISITORS; i++)
        expect_exit(children[i]);
    expect_one_file();
    run(work_as_auditor, &maker);
}

static void work_as_first(const struct task *task)
{
    uint8_t key[8];
    atomic_fetch_add(&board->ready, 1);
    while (atomic_load(&board->ready) < task->commits)
        ;
    struct kv *kv = store_open(&task->options);
    struct kv_txn *txn = begin(kv, true);
    must(kv_put(txn, kv_number_key(task->number, key), slice_str("here")));
    must(kv_commit(txn, KV_FULL));
    must(kv_close(kv));
}

static void work_as_counter(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    struct kv_txn *txn = begin(kv, false);
    uint64_t count = 0;
    must(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    must_be(count == task->commits);
    kv_abort(txn);
    verify(kv);
    must(kv_close(kv));
}

static void test_processes__all_that_make_the_file_at_once_have_the_same(void **state)
{
    (void)state;
    for (int round = 0; round < 8; round++) {
        atomic_store(&board->ready, 0);
        pid_t children[CHILDREN_MAX];
        for (unsigned i = 0; i < CHILDREN_MAX; i++) {
            struct task task = { .number = i,
                                 .commits = CHILDREN_MAX,
                                 .options = i % 2 ? by_calls : by_mapping };
            children[i] = start(work_as_first, &task);
        }
        for (unsigned i = 0; i < CHILDREN_MAX; i++)
            expect_exit(children[i]);
        expect_one_file();
        struct task counter = { .commits = CHILDREN_MAX, .options = by_mapping };
        run(work_as_counter, &counter);
        assert_int_equal(unlink(path), 0);
    }
}

/* ---- readers ----------------------------------------------------------------------------- */

static uint64_t content_digest(struct kv_txn *txn)
{
    struct kv_cursor *cursor = NULL;
    must(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    uint64_t digest = 0;
    for (;;) {
        bool found;
        must(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (!found)
            break;
        digest = kv_entry_digest(digest, cursor->entry.key, cursor->entry.value);
    }
    kv_cursor_close(cursor);
    return digest;
}

/* One snapshot, from the first commits of the writers to their last. */
static void work_as_long_reader(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    struct kv_txn *txn = begin(kv, false);
    /* Not all at once: most pages are first touched when they are long gone from the newest tree.
     */
    uint64_t sum = 0;
    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->stops))
        os_sleep_us(os_posix(), 1000);
    must(accounts_sum(txn, &sum));
    must_be(sum == (uint64_t)ACCOUNTS * ACCOUNT_START);
    uint64_t sequence = 1;
    must(counter_get(txn, 0, &sequence));
    must_be(sequence == 0);
    uint64_t digest = content_digest(txn);
    must_be(digest == content_digest(txn));
    must_be(digest == task->seed);
    kv_abort(txn);
    must(kv_close(kv));
}

static void work_as_digester(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    struct kv_txn *txn = begin(kv, false);
    atomic_store(&board->acknowledged[CHILDREN_MAX - 1], content_digest(txn));
    kv_abort(txn);
    must(kv_close(kv));
}

static void test_processes__a_long_reader_sees_its_snapshot_to_the_end(void **state)
{
    (void)state;
    struct task maker = { .options = by_mapping };
    run(work_as_maker, &maker);
    run(work_as_digester, &maker);
    uint64_t digest = atomic_exchange(&board->acknowledged[CHILDREN_MAX - 1], 0);
    struct task reader = { .options = by_mapping, .seed = digest };
    struct task writer = { .number = 0,
                           .options = by_mapping,
                           .commits = 800,
                           .seed = hash_u64(seed_of_test),
                           .durability = KV_NORMAL };
    pid_t reading[2] = { start(work_as_long_reader, &reader), 0 };
    reader.options = by_calls;
    reading[1] = start(work_as_long_reader, &reader);
    uint64_t begin_ms = now_ms();
    while (atomic_load(&board->ready) < 2 && now_ms() - begin_ms < DEADLINE_MS)
        os_sleep_us(os_posix(), 1000);
    run(work_as_writer, &writer);
    atomic_store(&board->stops, 1);
    expect_exit(reading[0]);
    expect_exit(reading[1]);
    expect_one_file();
    run(work_as_auditor, &maker);
}

static void work_as_forgotten_reader(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    struct kv_txn *txn = begin(kv, false);
    (void)txn;
    atomic_fetch_add(&board->ready, 1);
    for (;;)
        pause();
}

static uint64_t pages_pending(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_STATS };
    must(kv_maintain(kv, &job));
    return job.stats.pages_pending;
}

/* Writes until the reader is dead, and on; its pages come back. */
static void work_beside_a_dead_reader(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    uint64_t random = task->seed | 1;
    uint64_t sequence = 0;
    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->stops))
        transfer(kv, task, &random, ++sequence);
    struct kv_maintenance checkpoint = { .kind = KV_CHECKPOINT };
    uint64_t before = pages_pending(kv);
    uint64_t least = before;
    for (int i = 0; i < 2000 && least > before / 4; i++) {
        transfer(kv, task, &random, ++sequence);
        if (i % 50 == 0)
            must(kv_maintain(kv, &checkpoint));
        least = u64_min(least, pages_pending(kv));
    }
    must_be(least <= before / 4);
    must(kv_maintain(kv, &checkpoint));
    struct kv_maintenance stats = { .kind = KV_STATS };
    must(kv_maintain(kv, &stats));
    must_be(stats.stats.readers == 0);
    must(kv_close(kv));
}

static void test_processes__a_dead_readers_pages_come_back(void **state)
{
    (void)state;
    struct task task = { .options = by_mapping, .seed = seed_of_test, .durability = KV_OFF };
    task.options.checkpoint_log_bytes = 64 * MiB; /* only those that the test asks for */
    run(work_as_maker, &task);
    pid_t reader = start(work_as_forgotten_reader, &task);
    while (atomic_load(&board->ready) < 1)
        os_sleep_us(os_posix(), 1000);
    pid_t writer = start(work_beside_a_dead_reader, &task);
    uint64_t begin_ms = now_ms();
    while (acknowledged_by_all() < 600 && now_ms() - begin_ms < DEADLINE_MS)
        os_sleep_us(os_posix(), 1000);
    kill_one(reader);
    atomic_store(&board->stops, 1);
    expect_exit(writer);
    expect_one_file();
}

/* ---- fork -------------------------------------------------------------------------------- */

/* The child of a process that has the store open has no rights in it, and disturbs nobody. */
static void work_as_forker(const struct task *task)
{
    struct kv *kv = store_open(&task->options);
    uint64_t random = task->seed | 1;
    transfer(kv, task, &random, 1);
    pid_t child = fork();
    if (child == 0) {
        struct kv_txn *txn = NULL;
        struct kv_begin_options options = { .is_write = true };
        bool is_refused = kv_begin(kv, &options, &txn) != SOMBRA_OK;
        options.is_write = false;
        is_refused = is_refused && kv_begin(kv, &options, &txn) != SOMBRA_OK;
        sombra_err ignored = kv_close(kv);
        (void)ignored;
        _exit(is_refused ? 0 : 1);
    }
    int status = 0;
    must_be(waitpid(child, &status, 0) == child);
    must_be(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (uint64_t i = 2; i < 50; i++)
        transfer(kv, task, &random, i);
    verify(kv);
    must(kv_close(kv));
}

static void test_processes__a_forked_child_is_refused_and_harmless(void **state)
{
    (void)state;
    struct task task = { .options = by_mapping, .seed = seed_of_test, .durability = KV_FULL };
    run(work_as_maker, &task);
    run(work_as_forker, &task);
    expect_one_file();
    run(work_as_auditor, &task);
}

int main(void)
{
    seed_of_test = kv_test_seed("btree, processes");
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return 1;
#define PROCESS_TEST(name) cmocka_unit_test_setup_teardown(name, place_make, place_remove)
    const struct CMUnitTest tests[] = {
        PROCESS_TEST(test_processes__writers_hand_over_by_mapping),
        PROCESS_TEST(test_processes__writers_hand_over_by_calls),
        PROCESS_TEST(test_processes__writers_hand_over_mixed),
        PROCESS_TEST(test_processes__killed_ones_hold_up_nobody),
        PROCESS_TEST(test_processes__come_and_go_while_one_writes),
        PROCESS_TEST(test_processes__first_and_last_meet),
        PROCESS_TEST(test_processes__all_that_make_the_file_at_once_have_the_same),
        PROCESS_TEST(test_processes__a_long_reader_sees_its_snapshot_to_the_end),
        PROCESS_TEST(test_processes__a_dead_readers_pages_come_back),
        PROCESS_TEST(test_processes__a_forked_child_is_refused_and_harmless),
    };
    return cmocka_run_group_tests_name("btree, processes", tests, NULL, NULL);
}
