/* SPDX-License-Identifier: MIT */
/* Random transactions of threads and of processes on one btree file are serializable in the order
 * of time, readers see snapshots, and what was durable survives kills and power cuts: recorded, and
 * checked afterwards by kv_serial.h. SOMBRA_LONG=1 makes it 10^6 operations.
 */
#include "btree_fixture.h"
#include "kv_serial_threads.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL_LOG                                                                       \
    .create = true, .page_bytes = 4096, .busy_timeout_ms = 20000, .map_bytes_max = GiB, \
    .sync_interval_ms = 3, .checkpoint_log_bytes = 96 * KiB, .wal_bypass_bytes = 3 * KiB

static const struct btree_options by_mapping = { SMALL_LOG };
static const struct btree_options by_calls = { SMALL_LOG, .no_mapped_stores = true };

static uint64_t seed_of_test;

/* ---- threads ----------------------------------------------------------------------------- */

static void run_threads(const struct btree_options *options, uint32_t threads)
{
    uint32_t count = test_is_long() ? 20000 : 300;
    struct serial_log *log = serial_log_new(threads, count, 60);
    struct store store;
    store_init(&store, options);
    struct kv *second = NULL; /* another handle of the same store */
    expect_ok(btree_open(store.os, store.path, options, &second));
    struct serial_worker workers[SERIAL_THREADS_MAX];
    for (uint32_t i = 0; i < threads; i++)
        workers[i] =
            (struct serial_worker){ log, i % 2 ? second : store.kv, i, count, seed_of_test, 0 };
    assert_true(serial_workers_run(workers, threads));
    expect_ok(kv_close(second));
    serial_expect(log, NULL, 0, store.kv);
    assert_true(store_stats(store.kv, false).checkpoints > 1);
    store_reopen(&store);
    serial_expect(log, NULL, 0, store.kv);
    store_release(&store);
    serial_log_free(log);
}

static void test_serial__threads_by_mapping(void **state)
{
    (void)state;
    run_threads(&by_mapping, 8);
}

static void test_serial__threads_by_calls(void **state)
{
    (void)state;
    run_threads(&by_calls, 8);
}

/* ---- power cuts -------------------------------------------------------------------------- */

static sombra_err image_open(struct os *os, struct kv **out_kv)
{
    return btree_open(os, "store", &by_mapping, out_kv);
}

static void test_serial__power_cuts_take_no_durable_write_or_read(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    uint32_t count = test_is_long() ? 1500 : 60;
    struct serial_cuts *cuts = serial_cuts_new(seed_of_test, test_is_long() ? 20 : 8);
    struct os_sim *sim = os_sim_new(NULL);
    struct serial_log *log = serial_log_new(THREADS, count, 40);
    struct kv *kvs[2];
    for (size_t i = 0; i < COUNT_OF(kvs); i++)
        expect_ok(btree_open(os_sim_start(sim), "store", i ? &by_calls : &by_mapping, &kvs[i]));
    os_sim_set_hook(sim, serial_cut_sometimes, cuts);
    struct serial_worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++)
        workers[i] = (struct serial_worker){ log, kvs[i % 2], i, count, seed_of_test, 0 };
    assert_true(serial_workers_run(workers, THREADS));
    os_sim_set_hook(sim, NULL, NULL);
    serial_cuts_read(cuts, serial_log_keys(log), image_open);
    serial_expect(log, cuts->txns, cuts->count, kvs[0]);
    for (size_t i = 0; i < COUNT_OF(kvs); i++)
        expect_ok(kv_close(kvs[i]));
    os_sim_free(sim);
    serial_log_free(log);
    serial_cuts_free(cuts);
}

/* ---- processes --------------------------------------------------------------------------- */

struct place {
    struct store store;
    pid_t children[SERIAL_THREADS_MAX];
};

static pid_t child_start(const struct place *place, struct serial_log *log, uint32_t session,
                         uint32_t count)
{
    pid_t child = fork();
    if (child != 0) {
        assert_true(child > 0);
        return child;
    }
    alarm(300); /* a hang ends by itself */
    struct kv *kv = NULL;
    const struct btree_options *options = session % 3 == 2 ? &by_calls : &by_mapping;
    sombra_err err = btree_open(os_posix(), place->store.path, options, &kv);
    bool is_right = !err && serial_work(log, kv, session, count, seed_of_test);
    if (kv && kv_close(kv))
        is_right = false;
    if (!is_right)
        fprintf(stderr, "session %u: %s\n", session, sombra_err_message());
    _exit(is_right ? 0 : 1);
}

static void child_expect(pid_t child, bool is_killed)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    bool is_right = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (is_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        is_right = true;
    if (!is_right)
        print_error("a session ended with status %x\n", (unsigned)status);
    assert_true(is_right);
}

/* Sessions of processes of their own; some are killed in the middle and followed by others. */
static void test_serial__processes_that_are_killed_and_followed(void **state)
{
    (void)state;
    enum { PROCESSES = 4 };
    uint32_t kills = test_is_long() ? 200 : 6, count = test_is_long() ? 20000 : 250;
    struct random random;
    random_seed(&random, seed_of_test ^ 77);
    struct serial_log *log = serial_log_new(PROCESSES + kills, count, 60);
    struct place place;
    store_init(&place.store, &by_mapping);
    store_close(&place.store);
    for (uint32_t i = 0; i < PROCESSES; i++)
        place.children[i] = child_start(&place, log, i, count);
    for (uint32_t i = 0; i < kills; i++) {
        os_sleep_us(os_posix(), 5000 + random_below(&random, 25000));
        uint32_t victim = (uint32_t)random_below(&random, PROCESSES);
        kill(place.children[victim], SIGKILL);
        child_expect(place.children[victim], true);
        place.children[victim] = child_start(&place, log, PROCESSES + i, count);
    }
    for (uint32_t i = 0; i < PROCESSES; i++)
        child_expect(place.children[i], false);
    store_open(&place.store);
    serial_expect(log, NULL, 0, place.store.kv);
    store_release(&place.store);
    serial_log_free(log);
}

int main(void)
{
    seed_of_test = kv_test_seed("btree, serializability");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial__threads_by_mapping),
        cmocka_unit_test(test_serial__threads_by_calls),
        cmocka_unit_test(test_serial__power_cuts_take_no_durable_write_or_read),
        cmocka_unit_test(test_serial__processes_that_are_killed_and_followed),
    };
    return cmocka_run_group_tests_name("btree, serializability", tests, NULL, NULL);
}
