/* SPDX-License-Identifier: MIT */
/* lsm_store: a store of the engine lsm for tests, in a directory of its own or on a simulated
 * machine. Failures end the test. */
#ifndef LSM_STORE_H
#define LSM_STORE_H

#include "kv_check.h"
#include "lsm/lsm.h"
#include "os/os_sim.h"

#include <pthread.h>
#include <stdatomic.h>

/* So small that a few hundred entries are several tables on two levels. */
#define LSM_STORE_SMALL(memtable)                                                                  \
    .create = true, .memtable_bytes = (memtable), .block_bytes = 1 * KiB, .table_bytes = 32 * KiB, \
    .level_bytes = 128 * KiB, .level_ratio = 4, .level0_compact = 2, .cache_bytes = 256 * KiB

struct lsm_store {
    struct lsm_options options;
    struct os_sim *sim; /* NULL = real files */
    struct os *os;
    char directory[64]; /* of real files: the store is below it */
    char path[96];
    struct kv *kv; /* NULL = closed */
};

/* Makes and opens a new, empty store; create is implied. */
void lsm_store_init(struct lsm_store *store, const struct lsm_options *options);
void lsm_store_init_simulated(struct lsm_store *store, const struct lsm_options *options);
void lsm_store_open(struct lsm_store *store);
void lsm_store_close(struct lsm_store *store);
/* Closes it if it is open and removes everything. */
void lsm_store_release(struct lsm_store *store);
void lsm_store_file_make(struct os *os, const char *path, const char *text);
/* What is in a directory. */
struct names {
    char text[4096]; /* each behind a blank */
    unsigned tables, logs, others;
};
struct names names_of(struct os *os, const char *path);
bool lsm_store_is_at(struct os *os, const char *path);
/* Removes a directory of real files and all in it. */
void lsm_store_remove(const char *directory);

/* One put of 200 bytes, committed without a sync; waits so long for its turn. */
sombra_err lsm_store_try_put(struct kv *kv, uint64_t number, uint64_t timeout_ms);
/* Live entries. */
uint64_t lsm_store_count(struct kv *kv);

/* Holds whoever would make another table, but for the thread that set it up, of which `most` are
 * not yet made: `table_gate_hook` is set with one of these as its context. Whoever is held goes on
 * when `most` is more, and after ten seconds. */
struct table_gate {
    pthread_t free_thread;
    _Atomic unsigned made, most;
};

void table_gate_hook(void *context, struct os_sim *sim, const struct os_sim_event *event);
/* Until somebody is held. */
void table_gate_wait(const struct table_gate *gate);

/* Content of the store "data" of that machine, which has to be sound. */
uint64_t lsm_store_image_digest(struct os_sim *image, const struct lsm_options *options);

/* A cut of the power beside a commit: `power_cut_hook` is set with one of these as its context. */
struct power_cut {
    enum os_sim_variant variant;
    _Atomic uint64_t calls;    /* mutating ones, so far */
    _Atomic uint64_t at;       /* the one before which the power is cut */
    _Atomic bool is_committed; /* the test says so */
    bool had_committed;        /* when it was cut */
    struct os_sim *image;      /* the machine after it; NULL = not cut */
};

void power_cut_hook(void *context, struct os_sim *sim, const struct os_sim_event *event);
/* If the power was cut: the image has the content behind the commit, or that before it if this had
 * not returned. Frees it. */
bool power_cut_expect_whole(struct power_cut *cut, const struct lsm_options *options,
                            uint64_t before, uint64_t behind);

#endif
