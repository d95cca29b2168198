/* SPDX-License-Identifier: MIT */
/* Random transactions of threads on one lsm store are serializable in the order of time, readers
 * see snapshots, whatever flushes and compactions run, and what was durable survives power cuts and
 * kills: recorded, and checked afterwards by kv_serial.h. SOMBRA_LONG=1 makes it 10^6 operations.
 */
#include "kv_serial_work.h"
#include "lsm_store.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSIONS_MAX = 16, LONG_TXNS = 20000 };

static const struct lsm_options with_threads = { LSM_STORE_SMALL(4 * KiB), .busy_timeout_ms = 20000,
                                                 .sync_interval_ms = 3, .threads = 2 };
static const struct lsm_options tiered_inline = { LSM_STORE_SMALL(4 * KiB),
                                                  .busy_timeout_ms = 20000, .sync_interval_ms = 3,
                                                  .style = LSM_TIERED, .no_background = true };

static uint64_t seed_of_test;

static bool test_is_long(void)
{
    return getenv("SOMBRA_LONG") != NULL;
}

/* ---- threads ----------------------------------------------------------------------------- */

struct worker {
    struct serial_log *log;
    struct kv *kv;
    uint32_t session, count;
    pthread_t thread;
};

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    serial_work(worker->log, worker->kv, worker->session, worker->count, seed_of_test);
    return NULL;
}

static void workers_run(struct worker *workers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
}

static void expect_serial(const struct serial_log *log, const struct serial_txn *extra,
                          size_t extra_count, struct kv *kv)
{
    uint32_t keys = serial_log_keys(log);
    struct serial_list *lists = serial_lists_read(kv, keys);
    assert_true(serial_log_check(log, extra, extra_count, lists));
    serial_lists_free(lists, keys);
    kv_expect_sound(kv);
}

static void run_threads(const struct lsm_options *options, uint32_t threads)
{
    uint32_t count = test_is_long() ? LONG_TXNS : 300;
    struct serial_log *log = serial_log_new(threads, count, 60);
    struct lsm_store store;
    lsm_store_init(&store, options);
    struct worker workers[SESSIONS_MAX];
    for (uint32_t i = 0; i < threads; i++)
        workers[i] = (struct worker){ log, store.kv, i, count, 0 };
    workers_run(workers, threads);
    expect_serial(log, NULL, 0, store.kv);
    lsm_store_close(&store);
    lsm_store_open(&store);
    expect_serial(log, NULL, 0, store.kv);
    lsm_store_release(&store);
    serial_log_free(log);
}

static void test_serial__threads_beside_flushes_and_compactions(void **state)
{
    (void)state;
    run_threads(&with_threads, 8);
}

static void test_serial__threads_that_flush_and_compact_themselves(void **state)
{
    (void)state;
    run_threads(&tiered_inline, 8);
}

/* ---- power cuts -------------------------------------------------------------------------- */

enum { CUTS_MAX = 400 };

struct cuts {
    pthread_mutex_t mutex; /* guards what follows */
    struct random random;
    uint64_t one_in; /* calls that are cut */
    size_t count;
    struct os_sim *images[CUTS_MAX];
    struct serial_txn txns[CUTS_MAX];
};

static void cut_sometimes(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cuts *cuts = context;
    pthread_mutex_lock(&cuts->mutex);
    if (cuts->count < CUTS_MAX && random_below(&cuts->random, cuts->one_in) == 0) {
        enum os_sim_variant variant =
            (enum os_sim_variant)random_below(&cuts->random, OS_SIM_VARIANTS);
        struct serial_txn *txn = &cuts->txns[cuts->count];
        txn->begin_ns = os_monotonic_ns(os_posix());
        cuts->images[cuts->count] = os_sim_crash(sim, variant, event->number);
        txn->begun_ns = os_monotonic_ns(os_posix());
        cuts->count++;
    }
    pthread_mutex_unlock(&cuts->mutex);
}

static void image_read(struct os_sim *image, uint32_t keys, struct serial_txn *txn)
{
    struct kv *kv;
    expect_ok(lsm_open(os_sim_start(image), "data", &with_threads, &kv));
    struct serial_list *lists = serial_lists_read(kv, keys);
    struct serial_txn read = serial_lists_txn(lists, keys);
    serial_lists_free(lists, keys);
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    txn->ops = read.ops;
    txn->op_count = read.op_count;
    txn->outcome = SERIAL_COMMITTED;
    txn->is_after_cut = true;
    txn->commit_ns = txn->end_ns = txn->begun_ns;
}

static void test_serial__power_cuts_take_no_durable_write_or_read(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    uint32_t count = test_is_long() ? 1500 : 60;
    struct cuts *cuts = calloc(1, sizeof *cuts);
    assert_non_null(cuts);
    pthread_mutex_init(&cuts->mutex, NULL);
    random_seed(&cuts->random, seed_of_test);
    cuts->one_in = test_is_long() ? 20 : 8;
    struct serial_log *log = serial_log_new(THREADS, count, 40);
    struct lsm_store store;
    lsm_store_init_simulated(&store, &with_threads);
    os_sim_set_hook(store.sim, cut_sometimes, cuts);
    struct worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++)
        workers[i] = (struct worker){ log, store.kv, i, count, 0 };
    workers_run(workers, THREADS);
    os_sim_set_hook(store.sim, NULL, NULL);
    for (size_t i = 0; i < cuts->count; i++) {
        image_read(cuts->images[i], serial_log_keys(log), &cuts->txns[i]);
        os_sim_free(cuts->images[i]);
    }
    print_message("%zu power cuts\n", cuts->count);
    assert_true(cuts->count > 0);
    expect_serial(log, cuts->txns, cuts->count, store.kv);
    lsm_store_release(&store);
    for (size_t i = 0; i < cuts->count; i++)
        free(cuts->txns[i].ops);
    serial_log_free(log);
    free(cuts);
}

/* ---- kills ------------------------------------------------------------------------------- */

struct child {
    struct serial_log *log;
    uint32_t first, count; /* sessions, a thread each */
};

static pid_t child_start(const struct lsm_store *store, const struct child *given)
{
    pid_t pid = fork();
    if (pid != 0) {
        assert_true(pid > 0);
        return pid;
    }
    alarm(300); /* a hang ends by itself */
    struct worker workers[SESSIONS_MAX];
    struct kv *kv = NULL;
    if (lsm_open(os_posix(), store->path, &store->options, &kv)) {
        fprintf(stderr, "child: %s\n", sombra_err_message());
        _exit(1);
    }
    for (uint32_t i = 0; i < given->count; i++)
        workers[i] = (struct worker){ given->log, kv, given->first + i, given->log->txns_each, 0 };
    for (uint32_t i = 0; i < given->count; i++) {
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]))
            _exit(1);
    }
    for (uint32_t i = 0; i < given->count; i++)
        pthread_join(workers[i].thread, NULL);
    _exit(atomic_load(&given->log->failures) || kv_close(kv) ? 1 : 0);
}

static bool child_end(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!is_killed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        print_error("a child ended with status %x\n", (unsigned)status);
    return is_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Kills the writing process in the middle of commits, flushes and compactions, again and again. */
static void test_serial__processes_that_are_killed_and_followed(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    uint32_t kills = test_is_long() ? 200 : 6;
    struct random random;
    random_seed(&random, seed_of_test ^ 77);
    struct serial_log *log = serial_log_new(THREADS * (kills + 1), LONG_TXNS, 60);
    struct lsm_store store;
    lsm_store_init(&store, &with_threads);
    lsm_store_close(&store);
    for (uint32_t i = 0; i < kills; i++) {
        const struct child child = { log, THREADS * i, THREADS };
        pid_t pid = child_start(&store, &child);
        os_sleep_us(os_posix(), 20000 + random_below(&random, 60000));
        kill(pid, SIGKILL);
        assert_true(child_end(pid));
    }
    lsm_store_open(&store);
    expect_serial(log, NULL, 0, store.kv);
    lsm_store_release(&store);
    serial_log_free(log);
}

int main(void)
{
    seed_of_test = kv_test_seed("lsm, serializability");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial__threads_beside_flushes_and_compactions),
        cmocka_unit_test(test_serial__threads_that_flush_and_compact_themselves),
        cmocka_unit_test(test_serial__power_cuts_take_no_durable_write_or_read),
        cmocka_unit_test(test_serial__processes_that_are_killed_and_followed),
    };
    return cmocka_run_group_tests_name("lsm, serializability", tests, NULL, NULL);
}
