/* SPDX-License-Identifier: MIT */
/* The lsm engine keeps the contract: with flushes and compactions all the time, by its threads or
 * by the commits themselves, in files and on a simulated machine, in both styles of compaction.
 */
#include "kv_check.h"
#include "kv_contract.h"
#include "kv_history.h"
#include "lsm/lsm.h"
#include "os/os_sim.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct lsm_driver {
    struct lsm_options options;
    bool is_simulated;
    struct os_sim *sim; /* while a store of a simulated machine is there */
    struct os *os;
    char path[64];
};

static char directory[] = "kv_contract_lsm.XXXXXX";
static unsigned stores; /* made in the directory: each has a name of its own */

static sombra_err open_new(void *context, struct kv **out_kv)
{
    struct lsm_driver *driver = context;
    if (driver->is_simulated) {
        driver->sim = os_sim_new(NULL);
        driver->os = os_sim_start(driver->sim);
        snprintf(driver->path, sizeof driver->path, "store");
    } else {
        driver->os = os_posix();
        snprintf(driver->path, sizeof driver->path, "%s/%u", directory, stores++);
    }
    return lsm_open(driver->os, driver->path, &driver->options, out_kv);
}

static sombra_err open_again(void *context, struct kv **out_kv)
{
    struct lsm_driver *driver = context;
    return lsm_open(driver->os, driver->path, &driver->options, out_kv);
}

static void remove_store(void *context)
{
    struct lsm_driver *driver = context;
    DIR *names = driver->is_simulated ? NULL : opendir(driver->path);
    for (struct dirent *at = names ? readdir(names) : NULL; at; at = readdir(names)) {
        char path[64 + 256 + 2];
        snprintf(path, sizeof path, "%s/%s", driver->path, at->d_name);
        unlink(path);
    }
    if (names) {
        closedir(names);
        rmdir(driver->path);
    }
    os_sim_free(driver->sim);
    driver->sim = NULL;
}

static int run(const char *name, bool is_simulated, struct lsm_options options, uint64_t ops)
{
    options.create = true;
    struct lsm_driver context = { .options = options, .is_simulated = is_simulated };
    const struct kv_driver driver = { .name = name,
                                      .context = &context,
                                      .open = open_new,
                                      .reopen = open_again,
                                      .remove = remove_store };
    return kv_contract_run(&driver, ops);
}

/* So small that every few hundred entries are a flush, and every few flushes a compaction. */
static struct lsm_options small_options(void)
{
    return (struct lsm_options){ .memtable_bytes = 64 * KiB,
                                 .block_bytes = KiB,
                                 .table_bytes = 16 * KiB,
                                 .level_bytes = 32 * KiB,
                                 .level_ratio = 4,
                                 .level0_compact = 2,
                                 .cache_bytes = 256 * KiB,
                                 .tables_open_max = 8,
                                 .durability = KV_OFF };
}

enum { SHORT_OPS = 8000, LONG_OPS = 40000 };

static int run_all(void)
{
    int failed = 0;
    struct lsm_options options = { .durability = KV_OFF };
    failed += run("lsm, everything in the memtable", false, options, SHORT_OPS);
    options = small_options();
    failed += run("lsm, small tables", false, options, LONG_OPS);
    options.style = LSM_TIERED;
    options.threads = 2;
    failed += run("lsm, small tables, tiered", false, options, SHORT_OPS);
    options = small_options();
    options.no_background = true;
    failed += run("lsm, small tables, no thread of its own", false, options, LONG_OPS);
    options.filter_bits = LSM_NO_FILTER;
    options.durability = KV_NORMAL;
    failed += run("lsm, no filters, no thread of its own", false, options, SHORT_OPS);
    options = small_options();
    options.no_background = true;
    options.durability = KV_FULL;
    failed += run("lsm, simulated machine", true, options, SHORT_OPS);
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
