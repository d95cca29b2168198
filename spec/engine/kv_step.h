/* SPDX-License-Identifier: MIT */
/* kv_step: a process that is killed at any instruction of a commit, also between two stores to a
 * mapped page, where no call to the machine is: a parent steps through the commit (ptrace) and
 * kills. What is there afterwards must be every acknowledged commit, and of the one that was killed
 * all or nothing. What the process stored is in the page cache, so nothing is lost with it.
 *
 * The kills come at random instructions by the printed seed; SOMBRA_LONG=1 takes many more. Where
 * the machine forbids tracing the tests are skipped, and say so.
 */
#ifndef KV_STEP_H
#define KV_STEP_H

#include "kv/kv.h"
#include "os/os.h"

struct kv_step_driver {
    const char *name;
    const void *options; /* the engine's; no threads of its own */
    /* Opens the store there, making it if it is missing. */
    sombra_err (*open)(struct os *os, const char *path, const void *options, struct kv **out_kv);
};

/* The program of tests of an engine: all of it for each driver. */
int kv_step_main(const char *engine, const struct kv_step_driver *drivers, size_t count);

#endif
