/* SPDX-License-Identifier: MIT */
/* The btree engine keeps the contract: in a file, on a simulated machine and in memory, at several
 * page sizes, with stores through mappings and without, and behind the tracing wrapper.
 */
#include "btree/btree.h"
#include "kv/kv_trace.h"
#include "kv_check.h"
#include "kv_contract.h"
#include "kv_history.h"
#include "os/os_sim.h"

#include <stdlib.h>
#include <unistd.h>

struct btree_driver {
    struct btree_options options;
    bool is_simulated;
    struct os_sim *sim; /* while a store of a simulated machine is there */
    struct os *os;
    char path[64];
};

/* ---- stores with a file ------------------------------------------------------------------ */

static char directory[] = "kv_contract_btree.XXXXXX";
static unsigned stores; /* made in the directory: each has a name of its own */

static sombra_err open_new(void *context, struct kv **out_kv)
{
    struct btree_driver *driver = context;
    if (driver->is_simulated) {
        driver->sim = os_sim_new(NULL);
        driver->os = os_sim_start(driver->sim);
        snprintf(driver->path, sizeof driver->path, "store");
    } else {
        driver->os = os_posix();
        snprintf(driver->path, sizeof driver->path, "%s/%u", directory, stores++);
    }
    return btree_open(driver->os, driver->path, &driver->options, out_kv);
}

static sombra_err open_again(void *context, struct kv **out_kv)
{
    struct btree_driver *driver = context;
    return btree_open(driver->os, driver->path, &driver->options, out_kv);
}

/* A store that was not closed, after a failed fact, leaves its logs and lock too. */
static void remove_store(void *context)
{
    static const char *const suffixes[] = { "", "-log0", "-log1", "-lock" };
    struct btree_driver *driver = context;
    for (size_t i = 0; i < COUNT_OF(suffixes) && !driver->is_simulated; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", driver->path, suffixes[i]);
        unlink(name);
    }
    os_sim_free(driver->sim);
    driver->sim = NULL;
}

static int run_with_file(const char *name, bool is_simulated, struct btree_options options,
                         uint64_t ops)
{
    options.create = true;
    struct btree_driver context = { .options = options, .is_simulated = is_simulated };
    const struct kv_driver driver = { .name = name,
                                      .context = &context,
                                      .open = open_new,
                                      .reopen = open_again,
                                      .remove = remove_store,
                                      .is_counted = true };
    return kv_contract_run(&driver, ops);
}

/* ---- stores in memory -------------------------------------------------------------------- */

static sombra_err open_memory(void *context, struct kv **out_kv)
{
    const struct btree_options *options = context;
    return btree_open(os_posix(), BTREE_MEMORY, options, out_kv);
}

static void ignore_line(void *context, const char *line)
{
    (void)context;
    (void)line;
}

static sombra_err open_traced(void *context, struct kv **out_kv)
{
    struct kv *inner;
    sombra_err err = open_memory(context, &inner);
    return err ? err : kv_trace_open(inner, ignore_line, NULL, out_kv);
}

static int run_in_memory(const char *name, bool is_traced, size_t page_bytes, uint64_t ops)
{
    struct btree_options options = { .create = true, .page_bytes = page_bytes };
    const struct kv_driver driver = { .name = name,
                                      .context = &options,
                                      .open = is_traced ? open_traced : open_memory,
                                      .is_counted = true };
    return kv_contract_run(&driver, ops);
}

/* ---- which ------------------------------------------------------------------------------- */

enum { SHORT_OPS = 15000, LONG_OPS = 100000 };

static int run_all(void)
{
    int failed = 0;
    struct btree_options options = { .page_bytes = 4096, .durability = KV_OFF };
    failed += run_in_memory("btree in memory, 4 KiB pages", false, 4096, SHORT_OPS);
    failed += run_in_memory("btree in memory, 16 KiB pages", false, 16384, SHORT_OPS);
    failed += run_in_memory("btree in memory, traced", true, 8192, SHORT_OPS);
    failed += run_with_file("btree, file, 4 KiB pages", false, options, LONG_OPS);
    options = (struct btree_options){ .page_bytes = 8192 };
    failed += run_with_file("btree, file, 8 KiB pages, full", false, options, SHORT_OPS);
    options = (struct btree_options){ .page_bytes = 16384,
                                      .durability = KV_NORMAL,
                                      .no_mapped_stores = true };
    failed +=
        run_with_file("btree, file, 16 KiB pages, written by calls", false, options, SHORT_OPS);
    options.durability = KV_OFF;
    options.txn_memory_max = 1; /* every operation spills what the one before changed */
    failed += run_with_file("btree, file, 16 KiB pages, spilling", false, options, SHORT_OPS);
    /* Small enough logs that checkpoints and transactions beside the log happen all the time. */
    options = (struct btree_options){ .page_bytes = 4096,
                                      .durability = KV_OFF,
                                      .checkpoint_log_bytes = 256 * KiB,
                                      .wal_bypass_bytes = 64 * KiB };
    failed += run_with_file("btree, file, small log", false, options, SHORT_OPS);
    options.durability = KV_FULL;
    failed += run_with_file("btree, simulated machine, small log", true, options, SHORT_OPS);
    return failed;
}

int main(void)
{
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    int failed = run_all();
    rmdir(directory);
    return failed;
}
