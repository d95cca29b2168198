/* SPDX-License-Identifier: MIT */
/* The lsm engine keeps the contract: with flushes and compactions all the time, by its threads or
 * by the commits themselves, in files and on a simulated machine, in both styles of compaction.
 */
#include "kv_contract_store.h"
#include "lsm/lsm.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

static sombra_err open_store(struct os *os, const char *path, const void *options,
                             struct kv **out_kv)
{
    return lsm_open(os, path, options, out_kv);
}

static void remove_store(const char *directory)
{
    DIR *names = opendir(directory);
    for (struct dirent *at = names ? readdir(names) : NULL; at; at = readdir(names)) {
        char path[64 + 256 + 2];
        snprintf(path, sizeof path, "%s/%s", directory, at->d_name);
        unlink(path);
    }
    if (names) {
        closedir(names);
        rmdir(directory);
    }
}

static const struct kv_contract_engine lsm = { .open = open_store, .remove = remove_store };

/* So small that every few hundred entries are a flush, and every few flushes a compaction. */
static struct lsm_options small_options(void)
{
    return (struct lsm_options){ .create = true,
                                 .memtable_bytes = 64 * KiB,
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
    struct lsm_options options = { .create = true, .durability = KV_OFF };
    failed += kv_contract_run_file(&lsm, "lsm, everything in the memtable", &options, SHORT_OPS);
    options = small_options();
    failed += kv_contract_run_file(&lsm, "lsm, small tables", &options, LONG_OPS);
    options.style = LSM_TIERED;
    options.threads = 2;
    failed += kv_contract_run_file(&lsm, "lsm, small tables, tiered", &options, SHORT_OPS);
    options = small_options();
    options.no_background = true;
    failed +=
        kv_contract_run_file(&lsm, "lsm, small tables, no thread of its own", &options, LONG_OPS);
    options.filter_bits = LSM_NO_FILTER;
    options.durability = KV_NORMAL;
    failed +=
        kv_contract_run_file(&lsm, "lsm, no filters, no thread of its own", &options, SHORT_OPS);
    options = small_options();
    options.no_background = true;
    options.durability = KV_FULL;
    failed += kv_contract_run_simulated(&lsm, "lsm, simulated machine", &options, SHORT_OPS);
    return failed;
}

int main(void)
{
    return kv_contract_main(run_all);
}
