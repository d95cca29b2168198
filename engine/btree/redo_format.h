/* SPDX-License-Identifier: MIT */
/* The payload of a log record: one whole transaction.
 *
 *   u64 txn
 *   varint page count of the file behind it, varint unused pages (free + pending) behind it
 *   varint n, then n taken runs: varint zigzag(page - page before), varint pages
 *   varint n, then n returned runs (taken and no longer needed by the same transaction): the same
 *   varint n, then n freed runs: the same, and varint (txn - born)
 *   operations to the record's end
 *
 * An operation is a byte of enum redo_op and
 *   PUT           varint key bytes, varint value bytes, key, value
 *   DELETE        varint key bytes, key
 *   DELETE_RANGE  varint low bytes, varint high bytes, low, high (0 bytes = no bound)
 *
 * Recovery applies the operations and allocates anew; the page lists are for a process that takes
 * the writer's place while others live. Values are on disk: append only.
 */
#ifndef BTREE_REDO_FORMAT_H
#define BTREE_REDO_FORMAT_H

enum redo_op {
    REDO_PUT = 1,
    REDO_DELETE = 2,
    REDO_DELETE_RANGE = 3,
};

#endif
