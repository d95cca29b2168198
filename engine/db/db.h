/* SPDX-License-Identifier: MIT */
/* db: the composition root. It implements engine/include/sombra and is the only folder that names
 * an engine. What is here beyond the public headers is for tests: a database on any kv store.
 *
 * Threads and ownership: as sombra/db.h says.
 */
#ifndef DB_H
#define DB_H

#include "kv/kv.h"
#include "sombra/sombra.h"

/* A database on an open store, which it closes with itself; after a failure the store is still the
 * caller's. UNSUPPORTED, CORRUPT for a graph it cannot read. */
sombra_err db_wrap(struct kv *kv, sombra_db **out_db) SOMBRA_MUST_CHECK;

#endif
