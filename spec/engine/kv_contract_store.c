/* SPDX-License-Identifier: MIT */
#include "kv_contract_store.h"
#include "os/os_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct place {
    const struct kv_contract_engine *engine;
    const void *options;
    bool is_simulated;
    struct os_sim *sim; /* while a store of a simulated machine is there */
    struct os *os;
    char path[64];
};

static char directory[] = "kv_contract.XXXXXX";
static unsigned stores; /* made in the directory: each has a name of its own */

static sombra_err open_again(void *context, struct kv **out_kv)
{
    const struct place *place = context;
    return place->engine->open(place->os, place->path, place->options, out_kv);
}

static sombra_err open_new(void *context, struct kv **out_kv)
{
    struct place *place = context;
    if (place->is_simulated) {
        place->sim = os_sim_new(NULL);
        place->os = os_sim_start(place->sim);
        snprintf(place->path, sizeof place->path, "store");
    } else {
        place->os = os_posix();
        snprintf(place->path, sizeof place->path, "%s/%u", directory, stores++);
    }
    return open_again(context, out_kv);
}

static void remove_store(void *context)
{
    struct place *place = context;
    if (!place->is_simulated)
        place->engine->remove(place->path);
    os_sim_free(place->sim);
    place->sim = NULL;
}

static int run_at(struct place *place, const char *name, uint64_t history_ops)
{
    const struct kv_driver driver = { .name = name,
                                      .context = place,
                                      .open = open_new,
                                      .reopen = open_again,
                                      .remove = remove_store,
                                      .is_counted = place->engine->is_counted };
    return kv_contract_run(&driver, history_ops);
}

int kv_contract_run_file(const struct kv_contract_engine *engine, const char *name,
                         const void *options, uint64_t history_ops)
{
    return run_at(&(struct place){ .engine = engine, .options = options }, name, history_ops);
}

int kv_contract_run_simulated(const struct kv_contract_engine *engine, const char *name,
                              const void *options, uint64_t history_ops)
{
    return run_at(&(struct place){ .engine = engine, .options = options, .is_simulated = true },
                  name, history_ops);
}

int kv_contract_main(int (*run)(void))
{
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    int failed = run();
    rmdir(directory);
    return failed;
}
