/* SPDX-License-Identifier: MIT */
/* kv_serial_threads: sessions of kv_serial_work.h as threads, and power cuts taken meanwhile, for
 * the tests of each engine. All but serial_workers_run end the running cmocka test when something
 * is wrong.
 */
#ifndef KV_SERIAL_THREADS_H
#define KV_SERIAL_THREADS_H

#include "kv_serial_work.h"
#include "os/os_sim.h"

#include <pthread.h>

enum { SERIAL_THREADS_MAX = 16, SERIAL_CUTS_MAX = 400 };

struct serial_worker {
    struct serial_log *log;
    struct kv *kv;
    uint32_t session, count;
    uint64_t seed;
    pthread_t thread;
};

/* Runs them all to their end; also for a forked child. False = there were not enough threads. */
bool serial_workers_run(struct serial_worker *workers, uint32_t count);

/* Everything that the store `kv` holds is checked against the log. */
void serial_expect(const struct serial_log *log, const struct serial_txn *extra, size_t extra_count,
                   struct kv *kv);

/* Images of a simulated machine whose power fails now and then while threads work; they go on. What
 * is read from an image is a transaction that began when the power failed. */
struct serial_cuts {
    pthread_mutex_t mutex; /* guards what follows */
    struct random random;
    uint64_t one_in; /* calls that are cut */
    bool is_over;    /* a background thread may be in the hook still */
    size_t count;
    struct os_sim *images[SERIAL_CUTS_MAX];
    struct serial_txn txns[SERIAL_CUTS_MAX];
};

/* `one_in`: of so many calls one is cut, by chance. */
struct serial_cuts *serial_cuts_new(uint64_t seed, uint64_t one_in);
void serial_cuts_free(struct serial_cuts *cuts);
/* os_sim's hook; context: the cuts. */
void serial_cut_sometimes(void *context, struct os_sim *sim, const struct os_sim_event *event);
/* Opens each image by `open`, reads it and frees it. At least one there must be. */
void serial_cuts_read(struct serial_cuts *cuts, uint32_t keys,
                      sombra_err (*open)(struct os *os, struct kv **out_kv));

#endif
