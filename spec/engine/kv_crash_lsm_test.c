/* SPDX-License-Identifier: MIT */
/* The lsm engine after power cuts, kills, failing calls and failing allocations.
 * SOMBRA_LONG=1 tries every one of them; else they are sampled by the printed seed.
 */
#include "kv_check.h"
#include "kv_crash.h"
#include "lsm/lsm.h"

static sombra_err open_store(void *context, struct os *os, struct kv **out_kv)
{
    return lsm_open(os, "store", context, out_kv);
}

#define SMALL                                                                                 \
    .create = true, .busy_timeout_ms = 5000, .block_bytes = 1 * KiB, .table_bytes = 16 * KiB, \
    .level_bytes = 32 * KiB, .level_ratio = 4, .level0_compact = 2

static struct lsm_options by_default = { .create = true,
                                         .no_background = true,
                                         .busy_timeout_ms = 5000 };
/* Flushes and compactions all the time. */
static struct lsm_options with_small_tables = { SMALL, .memtable_bytes = 4 * KiB,
                                                .no_background = true };
/* Many transactions are too long for the log. */
static struct lsm_options without_much_log = { SMALL, .memtable_bytes = 16 * KiB,
                                               .wal_bypass_bytes = 600, .no_background = true };
static struct lsm_options tiered = { SMALL, .memtable_bytes = 4 * KiB, .no_background = true,
                                     .style = LSM_TIERED, .codec = LSM_CODEC_ZLIB };
static struct lsm_options with_threads = { SMALL, .memtable_bytes = 4 * KiB, .sync_interval_ms = 5,
                                           .threads = 2 };

/* An open store is many files: an image of it costs more than one of a btree. */
#define DRIVER(text, options) \
    .name = (text), .context = &(options), .open = open_store, .share_percent = 15

static const struct kv_crash_driver drivers[] = {
    { DRIVER("lsm", by_default) },
    { DRIVER("lsm, small tables", with_small_tables) },
    { DRIVER("lsm, tiered, zlib", tiered) },
    { DRIVER("lsm, commits by flushes", without_much_log) },
    { DRIVER("lsm, machine without allocate and mapped stores", with_small_tables),
      .machine = { .lacks_allocate = true, .lacks_mapped_stores = true, .lacks_populate = true } },
    { DRIVER("lsm, background threads", with_threads), .has_threads = true },
};

int main(void)
{
    return kv_crash_main("lsm, crashes", drivers, COUNT_OF(drivers));
}
