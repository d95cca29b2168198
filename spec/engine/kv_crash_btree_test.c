/* SPDX-License-Identifier: MIT */
/* The btree engine after power cuts, kills, failing calls and failing allocations.
 * SOMBRA_LONG=1 tries every one of them; else they are sampled by the printed seed.
 */
#include "btree/btree.h"
#include "kv_check.h"
#include "kv_crash.h"

static sombra_err open_store(void *context, struct os *os, struct kv **out_kv)
{
    return btree_open(os, "store", context, out_kv);
}

static struct btree_options by_default = {
    .create = true, .page_bytes = 4096, .no_background = true, .busy_timeout_ms = 5000
};
/* Checkpoints and commits beside the log all the time. */
static struct btree_options with_small_log = { .create = true,
                                               .page_bytes = 4096,
                                               .no_background = true,
                                               .busy_timeout_ms = 5000,
                                               .checkpoint_log_bytes = 128 * KiB,
                                               .wal_bypass_bytes = 48 * KiB };
static struct btree_options by_calls = { .create = true,
                                         .page_bytes = 8192,
                                         .no_background = true,
                                         .no_mapped_stores = true,
                                         .busy_timeout_ms = 5000,
                                         .checkpoint_log_bytes = 256 * KiB };
/* Pages spill in logged transactions and in those beside the log. */
static struct btree_options with_spill = { .create = true,
                                           .page_bytes = 4096,
                                           .no_background = true,
                                           .no_mapped_stores = true,
                                           .busy_timeout_ms = 5000,
                                           .checkpoint_log_bytes = 128 * KiB,
                                           .txn_memory_max = 88 * KiB };
/* Puts are deferred, and pages buffered as soon as the file is larger than that. */
static struct btree_options with_little_memory = { .create = true,
                                                   .page_bytes = 4096,
                                                   .no_background = true,
                                                   .busy_timeout_ms = 5000,
                                                   .checkpoint_log_bytes = 128 * KiB,
                                                   .memory_bytes = 300 * KiB };
static struct btree_options with_threads = { .create = true,
                                             .page_bytes = 4096,
                                             .busy_timeout_ms = 5000,
                                             .sync_interval_ms = 5,
                                             .checkpoint_log_bytes = 128 * KiB };

static const struct kv_crash_driver drivers[] = {
    { .name = "btree", .context = &by_default, .open = open_store },
    { .name = "btree, small log", .context = &with_small_log, .open = open_store },
    { .name = "btree, pages written by calls", .context = &by_calls, .open = open_store },
    { .name = "btree, machine without allocate and mapped stores",
      .context = &with_small_log,
      .open = open_store,
      .machine = { .lacks_allocate = true, .lacks_mapped_stores = true, .lacks_populate = true } },
    { .name = "btree, pages spill", .context = &with_spill, .open = open_store },
    { .name = "btree, memory becomes short", .context = &with_little_memory, .open = open_store },
    { .name = "btree, background threads",
      .context = &with_threads,
      .open = open_store,
      .has_threads = true },
};

int main(void)
{
    return kv_crash_main("btree, crashes", drivers, COUNT_OF(drivers));
}
