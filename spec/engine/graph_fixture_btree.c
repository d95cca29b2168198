/* SPDX-License-Identifier: MIT */
#include "btree/btree.h"
#include "graph_fixture.h"

/* Small pages, so that a few hundred entries make a tree. */
sombra_err fixture_open_store(struct kv **out_kv)
{
    const struct btree_options options = { .page_bytes = 4096 };
    return btree_open(os_posix(), BTREE_MEMORY, &options, out_kv);
}
