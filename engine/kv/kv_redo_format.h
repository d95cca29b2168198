/* SPDX-License-Identifier: MIT */
/* kv_redo_format: one operation in the log of an engine. A record has them one behind the other, in
 * the order they were made. A byte of enum kv_redo_kind and
 *   PUT           varint key bytes, varint value bytes, key, value
 *   DELETE        varint key bytes, key
 *   DELETE_RANGE  varint low bytes, varint high bytes, low, high (0 bytes = no bound)
 *
 * Bytes from KV_REDO_OWN on are an engine's own. Values are on disk: append only.
 */
#ifndef KV_REDO_FORMAT_H
#define KV_REDO_FORMAT_H

enum kv_redo_kind {
    KV_REDO_PUT = 1,
    KV_REDO_DELETE = 2,
    KV_REDO_DELETE_RANGE = 3,
    KV_REDO_OWN = 4,
};

#endif
