/* SPDX-License-Identifier: MIT */
/* How a database is stored, for people: the engine's lines. */
#include "db_internal.h"

#include "btree/btree.h"
#include "lsm/lsm.h"

static_assert((int)SOMBRA_DUMP_META == BTREE_DUMP_META, "the same in both headers");
static_assert((int)SOMBRA_DUMP_PAGE == BTREE_DUMP_PAGE, "the same in both headers");
static_assert((int)SOMBRA_DUMP_LOG == BTREE_DUMP_LOG, "the same in both headers");
static_assert((int)SOMBRA_DUMP_TREE == BTREE_DUMP_TREE, "the same in both headers");
static_assert((int)SOMBRA_DUMP_META == LSM_DUMP_MANIFEST, "the same in both headers");
static_assert((int)SOMBRA_DUMP_PAGE == LSM_DUMP_TABLE, "the same in both headers");
static_assert((int)SOMBRA_DUMP_LOG == LSM_DUMP_LOG, "the same in both headers");
static_assert((int)SOMBRA_DUMP_TREE == LSM_DUMP_TABLES, "the same in both headers");

sombra_err sombra_dump(const char *path, sombra_dump_what what, uint64_t page, sombra_dump_fn line,
                       void *context)
{
    if (!path || !*path || !line)
        return diag_fail(SOMBRA_INVALID, "dump: no path or no function for the lines is given");
    if ((unsigned)what > SOMBRA_DUMP_TREE)
        return diag_fail(SOMBRA_INVALID, "dump: there is nothing with the number %d", (int)what);
    enum db_place place = db_place_of(path);
    sombra_err err =
        place == DB_DIRECTORY
            ? lsm_dump(os_posix(), path, (enum lsm_dump_what)what, page, line, context)
            : btree_dump(os_posix(), path, (enum btree_dump_what)what, page, line, context);
    return diag_wrap(err, "dump");
}
