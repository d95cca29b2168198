/* SPDX-License-Identifier: MIT */
#include "graph_fixture.h"
#include "lsm_store.h"

#include <unistd.h>

static char root[] = "graph_fixture_lsm.XXXXXX";

static void root_remove(void)
{
    lsm_store_remove(root);
}

/* Small memtables and blocks, so that a few hundred entries are flushed and compacted. */
sombra_err fixture_open_store(struct kv **out_kv)
{
    static unsigned count;
    const struct lsm_options options = { LSM_STORE_SMALL(16 * KiB), .durability = KV_OFF,
                                         .no_background = true,
                                         .prefix = { "edges", graph_key_prefix } };
    char path[64];
    if (count == 0) {
        if (!mkdtemp(root))
            abort();
        atexit(root_remove);
    }
    snprintf(path, sizeof path, "%s/%u", root, count++);
    return lsm_open(os_posix(), path, &options, out_kv);
}
