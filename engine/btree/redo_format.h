/* SPDX-License-Identifier: MIT */
/* The payload of a log record: one whole transaction.
 *
 *   u64 txn
 *   varint page count of the file behind it, varint unused pages (free + pending) behind it
 *   varint n, then n changes of the page account, in order: varint zigzag(page - page before),
 *     varint pages << 2 | what (0 taken, 1 given back by the same transaction, 2 freed),
 *     and for freed: varint (txn - born)
 *   operations to the record's end
 *
 * Operations are those of kv_redo_format.h and REDO_MOVE, with nothing behind it: a compaction
 * moved pages, and no entry changed.
 *
 * A record without operations is a checkpoint's: it takes pages for the space maps, frees those of
 * the maps before, and may cut free pages off the file's end.
 *
 * Recovery applies the operations and allocates anew; the page lists are for a process that takes
 * the writer's place while others live. Values are on disk: append only.
 */
#ifndef BTREE_REDO_FORMAT_H
#define BTREE_REDO_FORMAT_H

#include "kv/kv.h"

enum { REDO_MOVE = KV_REDO_OWN };

#endif
