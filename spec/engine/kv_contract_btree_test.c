/* SPDX-License-Identifier: MIT */
/* The btree engine keeps the contract: in a file, on a simulated machine and in memory, at several
 * page sizes, with stores through mappings and without, and behind the tracing wrapper.
 */
#include "btree/btree.h"
#include "kv/kv_trace.h"
#include "kv_contract_store.h"

#include <stdio.h>
#include <unistd.h>

/* ---- stores with a file ------------------------------------------------------------------ */

static sombra_err open_file(struct os *os, const char *path, const void *options,
                            struct kv **out_kv)
{
    return btree_open(os, path, options, out_kv);
}

/* A store that was not closed, after a failed fact, leaves its logs and lock too. */
static void remove_file(const char *path)
{
    static const char *const suffixes[] = { "", "-log0", "-log1", "-lock" };
    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static const struct kv_contract_engine btree = { .open = open_file,
                                                 .remove = remove_file,
                                                 .is_counted = true };

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
    struct btree_options options = { .create = true, .page_bytes = 4096, .durability = KV_OFF };
    failed += run_in_memory("btree in memory, 4 KiB pages", false, 4096, SHORT_OPS);
    failed += run_in_memory("btree in memory, 16 KiB pages", false, 16384, SHORT_OPS);
    failed += run_in_memory("btree in memory, traced", true, 8192, SHORT_OPS);
    failed += kv_contract_run_file(&btree, "btree, file, 4 KiB pages", &options, LONG_OPS);
    options = (struct btree_options){ .create = true, .page_bytes = 8192 };
    failed += kv_contract_run_file(&btree, "btree, file, 8 KiB pages, full", &options, SHORT_OPS);
    options = (struct btree_options){
        .create = true, .page_bytes = 16384, .durability = KV_NORMAL, .no_mapped_stores = true
    };
    failed += kv_contract_run_file(&btree, "btree, file, 16 KiB pages, written by calls", &options,
                                   SHORT_OPS);
    options.durability = KV_OFF;
    options.txn_memory_max = 1; /* every operation spills what the one before changed */
    failed +=
        kv_contract_run_file(&btree, "btree, file, 16 KiB pages, spilling", &options, SHORT_OPS);
    /* Small enough logs that checkpoints and transactions beside the log happen all the time. */
    options = (struct btree_options){ .create = true,
                                      .page_bytes = 4096,
                                      .durability = KV_OFF,
                                      .checkpoint_log_bytes = 256 * KiB,
                                      .wal_bypass_bytes = 64 * KiB };
    failed += kv_contract_run_file(&btree, "btree, file, small log", &options, SHORT_OPS);
    options.durability = KV_FULL;
    failed += kv_contract_run_simulated(&btree, "btree, simulated machine, small log", &options,
                                        SHORT_OPS);
    options = (struct btree_options){ .create = true,
                                      .page_bytes = 4096,
                                      .durability = KV_OFF,
                                      .checkpoint_log_bytes = 256 * KiB,
                                      .memory_bytes = 1 };
    failed += kv_contract_run_file(&btree, "btree, file, memory is short", &options, SHORT_OPS);
    options.memory_bytes = 400 * KiB; /* sometimes */
    failed +=
        kv_contract_run_file(&btree, "btree, file, memory becomes short", &options, SHORT_OPS);
    return failed;
}

int main(void)
{
    return kv_contract_main(run_all);
}
