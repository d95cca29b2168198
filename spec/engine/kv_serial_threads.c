/* SPDX-License-Identifier: MIT */
#include "kv_serial_threads.h"

#include "kv_check.h"

#include <stdlib.h>

static void *worker_main(void *argument)
{
    struct serial_worker *worker = argument;
    serial_work(worker->log, worker->kv, worker->session, worker->count, worker->seed);
    return NULL;
}

bool serial_workers_run(struct serial_worker *workers, uint32_t count)
{
    uint32_t begun = 0;
    while (begun < count &&
           !pthread_create(&workers[begun].thread, NULL, worker_main, &workers[begun]))
        begun++;
    for (uint32_t i = 0; i < begun; i++)
        pthread_join(workers[i].thread, NULL);
    return begun == count;
}

void serial_expect(const struct serial_log *log, const struct serial_txn *extra, size_t extra_count,
                   struct kv *kv)
{
    uint32_t keys = serial_log_keys(log);
    struct serial_list *lists = serial_lists_read(kv, keys);
    assert_true(serial_log_check(log, extra, extra_count, lists));
    serial_lists_free(lists, keys);
    kv_expect_sound(kv);
}

struct serial_cuts *serial_cuts_new(uint64_t seed, uint64_t one_in)
{
    struct serial_cuts *cuts = calloc(1, sizeof *cuts);
    assert_non_null(cuts);
    pthread_mutex_init(&cuts->mutex, NULL);
    random_seed(&cuts->random, seed);
    cuts->one_in = one_in;
    return cuts;
}

void serial_cuts_free(struct serial_cuts *cuts)
{
    for (size_t i = 0; i < cuts->count; i++)
        free(cuts->txns[i].ops);
    pthread_mutex_destroy(&cuts->mutex);
    free(cuts);
}

void serial_cut_sometimes(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct serial_cuts *cuts = context;
    pthread_mutex_lock(&cuts->mutex);
    if (!cuts->is_over && cuts->count < SERIAL_CUTS_MAX &&
        random_below(&cuts->random, cuts->one_in) == 0) {
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

static void image_read(struct os_sim *image, sombra_err (*open)(struct os *os, struct kv **out_kv),
                       uint32_t keys, struct serial_txn *txn)
{
    struct kv *kv;
    expect_ok(open(os_sim_start(image), &kv));
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

void serial_cuts_read(struct serial_cuts *cuts, uint32_t keys,
                      sombra_err (*open)(struct os *os, struct kv **out_kv))
{
    pthread_mutex_lock(&cuts->mutex);
    cuts->is_over = true;
    pthread_mutex_unlock(&cuts->mutex);
    for (size_t i = 0; i < cuts->count; i++) {
        image_read(cuts->images[i], open, keys, &cuts->txns[i]);
        os_sim_free(cuts->images[i]);
    }
    print_message("%zu power cuts\n", cuts->count);
    assert_true(cuts->count > 0);
}
