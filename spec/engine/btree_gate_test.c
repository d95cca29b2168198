/* SPDX-License-Identifier: MIT */
/* Whoever waits for the writer's turn gets it after so many turns of others, though these never
 * pause: counted, not timed. */
#include "btree_fixture.h"

#include "btree/btree_internal.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum { WAITERS = 6, TURNS = 30 };

struct crowd {
    struct kv *kv;
    unsigned turns; /* of each */
    uint64_t timeout_ms;
    _Atomic unsigned served; /* turns */
    _Atomic unsigned done;   /* threads */
};

static struct btree *store_of(struct kv *kv)
{
    return container_of(kv, struct btree, kv);
}

static unsigned waiting_in(struct kv *kv)
{
    struct writer_gate *gate = &store_of(kv)->gate;
    os_mutex_lock(&gate->mutex);
    unsigned count = gate->waiter_count;
    os_mutex_unlock(&gate->mutex);
    return count;
}

static sombra_err commit_one(struct kv *kv, uint64_t timeout_ms, const char *key)
{
    const struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = timeout_ms };
    struct kv_txn *txn;
    sombra_err err = kv_begin(kv, &options, &txn);
    if (err)
        return err;
    err = kv_put(txn, slice_str(key), slice_str("x"));
    if (!err)
        return kv_commit(txn, KV_OFF);
    kv_abort(txn);
    return err;
}

static void *wait_main(void *argument)
{
    struct crowd *crowd = argument;
    for (unsigned i = 0; i < crowd->turns; i++) {
        if (!commit_one(crowd->kv, crowd->timeout_ms, "waiter"))
            atomic_fetch_add(&crowd->served, 1);
    }
    atomic_fetch_add(&crowd->done, 1);
    return NULL;
}

/* While all wait, the main thread commits without a pause until all had the turn. */
static void test_gate__who_waits_is_passed_over_so_often_and_no_more(void **state)
{
    (void)state;
    struct store store;
    struct crowd crowd = { .turns = 1, .timeout_ms = UINT64_MAX };
    pthread_t threads[WAITERS];
    store_init(&store, NULL);
    crowd.kv = store.kv;
    expect_ok(commit_one(store.kv, UINT64_MAX, "first"));
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_main, &crowd), 0);
    while (waiting_in(store.kv) < WAITERS)
        os_sleep_us(os_posix(), 100);
    kv_abort(txn);
    unsigned mine = 0;
    for (; waiting_in(store.kv); mine++) {
        expect_ok(commit_one(store.kv, UINT64_MAX, "main"));
        assert_true(mine <= WAITERS * (GATE_PASSES_MAX + 1));
    }
    for (unsigned i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.served), WAITERS);
    store_release(&store);
}

/* Some of those that wait give up, at any place of the queue. */
static void test_gate__who_gives_up_holds_up_nobody(void **state)
{
    (void)state;
    struct store store;
    struct crowd hasty = { .turns = TURNS, .timeout_ms = 1 };
    struct crowd patient = { .turns = TURNS, .timeout_ms = UINT64_MAX };
    pthread_t threads[2 * WAITERS];
    store_init(&store, NULL);
    hasty.kv = patient.kv = store.kv;
    for (unsigned i = 0; i < 2 * WAITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_main, i % 2 ? &hasty : &patient),
                         0);
    while (atomic_load(&patient.done) < WAITERS) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        os_sleep_us(os_posix(), 700);
        kv_abort(txn);
    }
    for (unsigned i = 0; i < 2 * WAITERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&patient.served), WAITERS * TURNS);
    assert_int_equal(waiting_in(store.kv), 0);
    expect_ok(commit_one(store.kv, 0, "last"));
    store_release(&store);
}

/* Two processes of one machine; the one that waits has its turns while the other never pauses. */
static void test_gate__a_process_that_never_pauses_stands_back(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(0);
    const struct btree_options options = {
        .create = true, .page_bytes = 4096, .no_background = true, .map_bytes_max = TEST_MAP_BYTES
    };
    struct kv *busy, *other;
    pthread_t thread;
    struct crowd crowd = { .turns = TURNS, .timeout_ms = UINT64_MAX };
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &busy));
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &other));
    crowd.kv = other;
    expect_ok(commit_one(busy, UINT64_MAX, "first"));
    assert_int_equal(pthread_create(&thread, NULL, wait_main, &crowd), 0);
    while (atomic_load(&crowd.done) == 0)
        expect_ok(commit_one(busy, UINT64_MAX, "main"));
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&crowd.served), TURNS);
    /* As one that died while it waited leaves it: nobody is there, and it costs ever less. */
    struct writer_gate *gate = &store_of(busy)->gate;
    atomic_fetch_add(&store_of(busy)->head->writer.waiters, 1);
    gate->patience = GATE_PASSES_MAX;
    for (unsigned i = 0; i < 20 * GATE_PASSES_MAX; i++)
        expect_ok(commit_one(busy, UINT64_MAX, "main"));
    assert_true(gate->patience > 4 * GATE_PASSES_MAX);
    atomic_fetch_sub(&store_of(busy)->head->writer.waiters, 1);
    expect_ok(kv_close(other));
    expect_ok(kv_close(busy));
    os_sim_free(sim);
}

/* ---- who may give up ----------------------------------------------------------------------- */

struct asked {
    struct kv *kv;
    enum kv_maintenance_kind kind;
    unsigned asks; /* that it goes on after */
    uint64_t wait_ms_max;
    sombra_err expected;
    _Atomic bool has_ended;
};

static bool give_up(void *context, uint64_t done, uint64_t total)
{
    struct asked *asked = context;
    (void)done;
    (void)total;
    return asked->asks-- > 0;
}

static void *asked_main(void *argument)
{
    struct asked *asked = argument;
    struct kv_maintenance job = { .kind = asked->kind,
                                  .progress = give_up,
                                  .context = asked,
                                  .wait_ms_max = asked->wait_ms_max };
    expect_err(asked->expected, kv_maintain(asked->kv, &job));
    atomic_store(&asked->has_ended, true);
    return NULL;
}

/* While this process, or another one, writes. */
static void ends_beside_writer(struct kv *writer, struct asked asked)
{
    pthread_t thread;
    struct kv_txn *txn = kv_begin_write(writer);
    assert_int_equal(pthread_create(&thread, NULL, asked_main, &asked), 0);
    for (unsigned i = 0; i < 1000 && !atomic_load(&asked.has_ended); i++)
        os_sleep_us(os_posix(), 10000);
    const bool has_ended = atomic_load(&asked.has_ended);
    kv_put_text(txn, "goes", "on");
    expect_ok(kv_commit(txn, KV_FULL));
    pthread_join(thread, NULL);
    assert_true(has_ended);
    expect_ok(commit_one(asked.kv, 0, "after"));
}

static void jobs_end(struct kv *writer, struct kv *kv)
{
    static const enum kv_maintenance_kind kinds[] = { KV_CHECKPOINT, KV_VERIFY, KV_COMPACT };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        for (unsigned asks = 0; asks < 3; asks++)
            ends_beside_writer(writer, (struct asked){ .kv = kv,
                                                       .kind = kinds[i],
                                                       .asks = asks,
                                                       .expected = SOMBRA_CANCELLED });
        if (kinds[i] != KV_COMPACT)
            ends_beside_writer(writer, (struct asked){ .kv = kv,
                                                       .kind = kinds[i],
                                                       .asks = UINT_MAX,
                                                       .wait_ms_max = 70,
                                                       .expected = SOMBRA_BUSY });
    }
}

static void test_gate__a_job_that_waits_can_be_ended(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    expect_ok(commit_one(store.kv, UINT64_MAX, "first"));
    jobs_end(store.kv, store.kv);
    store_release(&store);

    struct os_sim *sim = os_sim_new(0);
    const struct btree_options options = {
        .create = true, .page_bytes = 4096, .no_background = true, .map_bytes_max = TEST_MAP_BYTES
    };
    struct kv *writer, *other;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &writer));
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &other));
    jobs_end(writer, other);
    expect_ok(kv_close(other));
    expect_ok(kv_close(writer));
    os_sim_free(sim);
}

struct giver_up {
    struct kv *kv;
    _Atomic bool is_asked, may_answer, has_ended;
};

/* Not before another had the turn. */
static bool answer_late(void *context)
{
    struct giver_up *giver = context;
    atomic_store(&giver->is_asked, true);
    while (!atomic_load(&giver->may_answer))
        os_sleep_us(os_posix(), 100);
    return false;
}

static void *giver_up_main(void *argument)
{
    struct giver_up *giver = argument;
    const struct kv_begin_options options = {
        .is_write = true, .busy_timeout_ms = UINT64_MAX, .waits_on = answer_late, .context = giver
    };
    struct kv_txn *txn;
    expect_err(SOMBRA_CANCELLED, kv_begin(giver->kv, &options, &txn));
    atomic_store(&giver->has_ended, true);
    return NULL;
}

/* The turn was kept for it, and the others slept on: also behind its no. */
static void test_gate__who_is_asked_long_holds_up_nobody(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    expect_ok(commit_one(store.kv, UINT64_MAX, "first"));
    for (unsigned passes = 0; passes <= GATE_PASSES_MAX; passes += GATE_PASSES_MAX) {
        struct giver_up giver = { .kv = store.kv };
        struct crowd patient = { .kv = store.kv, .turns = 1, .timeout_ms = UINT64_MAX };
        pthread_t threads[2];
        struct kv_txn *txn = kv_begin_write(store.kv);
        assert_int_equal(pthread_create(&threads[0], NULL, giver_up_main, &giver), 0);
        while (!atomic_load(&giver.is_asked))
            os_sleep_us(os_posix(), 100);
        assert_int_equal(pthread_create(&threads[1], NULL, wait_main, &patient), 0);
        while (waiting_in(store.kv) < 2)
            os_sleep_us(os_posix(), 100);
        os_sleep_us(os_posix(), 10000); /* and asleep */
        os_mutex_lock(&store_of(store.kv)->gate.mutex);
        store_of(store.kv)->gate.passes = passes;
        os_mutex_unlock(&store_of(store.kv)->gate.mutex);
        kv_abort(txn);
        for (unsigned i = 0; i < 200 && !atomic_load(&patient.done); i++)
            os_sleep_us(os_posix(), 10000);
        const bool is_done = atomic_load(&patient.done);
        atomic_store(&giver.may_answer, true);
        expect_ok(commit_one(store.kv, UINT64_MAX, "wakes"));
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        assert_true(is_done && atomic_load(&giver.has_ended));
    }
    store_release(&store);
}

/* A verify, which has the turn and the slot of checkpoints, is waited for no longer. */
static bool checkpoint_in(void *context, uint64_t done, uint64_t total)
{
    struct asked *asked = context;
    pthread_t thread;
    (void)done;
    (void)total;
    if (asked->asks-- == 0) {
        asked->asks = UINT_MAX;
        assert_int_equal(pthread_create(&thread, NULL, asked_main, asked), 0);
        pthread_join(thread, NULL);
    }
    return true;
}

static void test_gate__a_checkpoint_beside_a_verify_is_busy(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    expect_ok(commit_one(store.kv, UINT64_MAX, "first"));
    struct asked asked = {
        .kv = store.kv, .kind = KV_CHECKPOINT, .wait_ms_max = 70, .expected = SOMBRA_BUSY
    };
    struct kv_maintenance verify = { .kind = KV_VERIFY,
                                     .progress = checkpoint_in,
                                     .context = &asked };
    expect_ok(kv_maintain(store.kv, &verify));
    assert_true(atomic_load(&asked.has_ended));
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate__who_waits_is_passed_over_so_often_and_no_more),
        cmocka_unit_test(test_gate__who_gives_up_holds_up_nobody),
        cmocka_unit_test(test_gate__a_process_that_never_pauses_stands_back),
        cmocka_unit_test(test_gate__a_job_that_waits_can_be_ended),
        cmocka_unit_test(test_gate__who_is_asked_long_holds_up_nobody),
        cmocka_unit_test(test_gate__a_checkpoint_beside_a_verify_is_busy),
    };
    return cmocka_run_group_tests_name("btree, gate", tests, NULL, NULL);
}
