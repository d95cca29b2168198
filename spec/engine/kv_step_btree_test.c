/* SPDX-License-Identifier: MIT */
/* The btree engine after kills at any instruction of a commit. */
#include "btree/btree.h"
#include "kv_step.h"

static sombra_err open_store(struct os *os, const char *path, const void *options,
                             struct kv **out_kv)
{
    return btree_open(os, path, options, out_kv);
}

static const struct btree_options by_default = {
    .create = true, .page_bytes = 4096, .no_background = true, .map_bytes_max = 64 * MiB
};
/* Pages are written by calls, none is changed where it is. */
static const struct btree_options by_calls = { .create = true,
                                               .page_bytes = 4096,
                                               .no_background = true,
                                               .no_mapped_stores = true,
                                               .map_bytes_max = 64 * MiB };

static const struct kv_step_driver drivers[] = {
    { "btree", &by_default, open_store },
    { "btree, pages written by calls", &by_calls, open_store },
};

int main(void)
{
    return kv_step_main("btree, kills at any instruction", drivers, COUNT_OF(drivers));
}
