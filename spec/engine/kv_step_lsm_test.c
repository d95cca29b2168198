/* SPDX-License-Identifier: MIT */
/* The lsm engine after kills at any instruction of a commit. */
#include "kv_step.h"
#include "lsm/lsm.h"

static sombra_err open_store(struct os *os, const char *path, const void *options,
                             struct kv **out_kv)
{
    return lsm_open(os, path, options, out_kv);
}

static const struct lsm_options by_default = { .create = true, .no_background = true };

static const struct kv_step_driver drivers[] = {
    { "lsm", &by_default, open_store },
};

int main(void)
{
    return kv_step_main("lsm, kills at any instruction", drivers, COUNT_OF(drivers));
}
