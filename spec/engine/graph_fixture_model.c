/* SPDX-License-Identifier: MIT */
#include "graph_fixture.h"
#include "kv_model.h"

/* Short batches, as engines give them at the ends of pages. */
sombra_err fixture_open_store(struct kv **out_kv)
{
    return kv_model_open(&(struct kv_model_options){ .batch_entries_max = 50 }, out_kv);
}
