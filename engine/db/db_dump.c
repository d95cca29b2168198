/* SPDX-License-Identifier: MIT */
/* How a database is stored, for people: the engine's lines. */
#include "db_internal.h"

#include "btree/btree.h"

static_assert((int)SOMBRA_DUMP_META == BTREE_DUMP_META, "the same in both headers");
static_assert((int)SOMBRA_DUMP_PAGE == BTREE_DUMP_PAGE, "the same in both headers");
static_assert((int)SOMBRA_DUMP_LOG == BTREE_DUMP_LOG, "the same in both headers");
static_assert((int)SOMBRA_DUMP_TREE == BTREE_DUMP_TREE, "the same in both headers");

sombra_err sombra_dump(const char *path, sombra_dump_what what, uint64_t page, sombra_dump_fn line,
                       void *context)
{
    if (!path || !*path || !line)
        return diag_fail(SOMBRA_INVALID, "dump: no path or no function for the lines is given");
    if ((unsigned)what > SOMBRA_DUMP_TREE)
        return diag_fail(SOMBRA_INVALID, "dump: there is nothing with the number %d", (int)what);
    return diag_wrap(btree_dump(os_posix(), path, (enum btree_dump_what)what, page, line, context),
                     "dump");
}
