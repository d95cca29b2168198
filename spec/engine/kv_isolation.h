/* SPDX-License-Identifier: MIT */
/* kv_isolation: the anomalies of Hermitage (Kleppmann, 2014) as schedules of up to four sessions
 * on one store: each must be impossible. A session is a thread.
 */
#ifndef KV_ISOLATION_H
#define KV_ISOLATION_H

#include "kv/kv.h"

struct kv_isolation_driver {
    const char *name;
    void *context;
    /* Opens a new store twice; odd sessions use the first handle, even ones the second. They may be
     * the same. Failures end the test. */
    void (*open)(void *context, struct kv *out_kvs[2]);
    void (*close)(void *context, struct kv *kvs[2]);
};

/* Runs all schedules; a failure names the schedule and the step, and ends the test. */
void kv_isolation_check(const struct kv_isolation_driver *driver);
/* A schedule by itself, for the test of this file: false with the first wrong step in `report`. */
bool kv_isolation_run(struct kv *kvs[2], const char *schedule, char *report, size_t report_bytes);

#endif
