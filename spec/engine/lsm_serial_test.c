/* SPDX-License-Identifier: MIT */
/* Random transactions of threads on one lsm store are serializable in the order of time, readers
 * see snapshots, whatever flushes and compactions run, and what was durable survives power cuts and
 * kills: recorded, and checked afterwards by kv_serial.h. SOMBRA_LONG=1 makes it 10^6 operations.
 */
#include "kv_serial_threads.h"
#include "lsm_store.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_TXNS = 20000 };

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

static void run_threads(const struct lsm_options *options, uint32_t threads)
{
    uint32_t count = test_is_long() ? LONG_TXNS : 300;
    struct serial_log *log = serial_log_new(threads, count, 60);
    struct lsm_store store;
    lsm_store_init(&store, options);
    struct serial_worker workers[SERIAL_THREADS_MAX];
    for (uint32_t i = 0; i < threads; i++)
        workers[i] = (struct serial_worker){ log, store.kv, i, count, seed_of_test, 0 };
    assert_true(serial_workers_run(workers, threads));
    serial_expect(log, NULL, 0, store.kv);
    lsm_store_close(&store);
    lsm_store_open(&store);
    serial_expect(log, NULL, 0, store.kv);
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

static sombra_err image_open(struct os *os, struct kv **out_kv)
{
    return lsm_open(os, "data", &with_threads, out_kv);
}

static void test_serial__power_cuts_take_no_durable_write_or_read(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    uint32_t count = test_is_long() ? 1500 : 60;
    struct serial_cuts *cuts = serial_cuts_new(seed_of_test, test_is_long() ? 20 : 8);
    struct serial_log *log = serial_log_new(THREADS, count, 40);
    struct lsm_store store;
    lsm_store_init_simulated(&store, &with_threads);
    os_sim_set_hook(store.sim, serial_cut_sometimes, cuts);
    struct serial_worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++)
        workers[i] = (struct serial_worker){ log, store.kv, i, count, seed_of_test, 0 };
    assert_true(serial_workers_run(workers, THREADS));
    os_sim_set_hook(store.sim, NULL, NULL);
    serial_cuts_read(cuts, serial_log_keys(log), image_open);
    serial_expect(log, cuts->txns, cuts->count, store.kv);
    lsm_store_release(&store);
    serial_log_free(log);
    serial_cuts_free(cuts);
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
    struct serial_worker workers[SERIAL_THREADS_MAX];
    struct kv *kv = NULL;
    if (lsm_open(os_posix(), store->path, &store->options, &kv)) {
        fprintf(stderr, "child: %s\n", sombra_err_message());
        _exit(1);
    }
    for (uint32_t i = 0; i < given->count; i++)
        workers[i] =
            (struct serial_worker){ given->log,   kv, given->first + i, given->log->txns_each,
                                    seed_of_test, 0 };
    if (!serial_workers_run(workers, given->count))
        _exit(1);
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
    serial_expect(log, NULL, 0, store.kv);
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
