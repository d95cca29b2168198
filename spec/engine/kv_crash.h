/* SPDX-License-Identifier: MIT */
/* kv_crash: what a store promises about crashes and failures, proved on the simulated machine.
 *
 * One short history of commits, the same for a given seed, runs on the store. The content after
 * every commit is known from a run on the model, so that whatever a store holds after a crash must
 * be, exactly, the content of one commit: not before the last acknowledged as durable, not behind
 * the last begun.
 *
 * Every function reports what it found wrong and returns whether all was well. The number
 * of images, faults and failing allocations tried is bounded by sampling with the printed seed;
 * SOMBRA_LONG=1 tries them all.
 */
#ifndef KV_CRASH_H
#define KV_CRASH_H

#include "kv/kv.h"
#include "os/os_sim.h"

#include <stdio.h>

struct kv_crash_driver {
    const char *name;
    void *context;
    /* Opens the one store of the machine, making it if it is missing. */
    sombra_err (*open)(void *context, struct os *os, struct kv **out_kv);
    struct os_sim_options machine;
    unsigned share_percent; /* of what is sampled; 0 = 100 */
    bool has_threads;       /* of its own: calls come in another order each time, so only the power
                               is cut */
    FILE *report;           /* NULL = stderr */
};

/* The power fails, or the process is killed, before every call that changes the disk; recovery is
 * cut in the same way, some times. */
bool kv_crash_power_cuts(const struct kv_crash_driver *driver, uint64_t seed);
/* Calls fail once or from then on; interrupted and short calls go unnoticed. */
bool kv_crash_faults(const struct kv_crash_driver *driver, uint64_t seed);
/* Allocations fail, once or from then on until the failure was seen. */
bool kv_crash_allocations(const struct kv_crash_driver *driver, uint64_t seed);

/* The program of tests of an engine: all of it for each driver. */
int kv_crash_main(const char *engine, const struct kv_crash_driver *drivers, size_t count);

#endif
