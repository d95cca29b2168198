/* SPDX-License-Identifier: MIT */
/* The keys and records of graph and buckets in the one ordered keyspace of a store.
 *
 * A key is one tag byte and then its fields: numbers as ordered varints (base/varint.h), bytes as
 * they are and only as the last field. Values hold LEB128 varints unless said otherwise.
 *
 *   tag  key                      value
 *   10   -                        counters: format, next node, next edge, next bucket
 *   11   type                     number of edges of the type
 *   18   kind, text               id of the name
 *   19   kind, id                 text of the name
 *   1a   text                     id of the bucket
 *   1b   bucket                   text: its name
 *   20   node                     node record
 *   21   label, node              empty
 *   30   edge                     src, type, dst
 *   31   src, type, dst, edge     edge record
 *   32   dst, type, src, edge     empty
 *   40   bucket, entry key        encoded value (value_format.h)
 *
 * Tags 50 to 5f are for indexes. The counters stand next to the type counts, so that a commit
 * touches one page for both.
 *
 * Node record: label count, label ids ascending, properties. Edge record: properties.
 * Properties: nothing at all if there are none, else
 *
 *     +-------+---------+---------------+---------------+---------+---- ...
 *     | count | name id | length of the | encoded value | name id |
 *     |       |         | value, bytes  |               |         |
 *     +-------+---------+---------------+---------------+---------+---- ...
 *
 * with name ids strictly ascending, so that one property is found by skipping over those before.
 *
 * Entry key of a bucket: one head byte, then
 *     head 78 .. 7f   integer below zero in (80 - head) bytes: the low bytes of its two's
 * complement, big-endian head 80         the integer 0 head 81 .. 88   integer above zero in (head
 * - 80) bytes, big-endian head 90         string: its bytes
 *
 * Values are on disk: append only.
 */
#ifndef GRAPH_FORMAT_H
#define GRAPH_FORMAT_H

#include "base/base.h"
#include "kv/kv.h"
#include "sombra/bucket.h"
#include "sombra/graph.h"

#include <assert.h>

enum { GRAPH_FORMAT = 1 };

enum graph_tag {
    TAG_COUNTERS = 0x10,
    TAG_TYPE_COUNT = 0x11,
    TAG_NAME_BY_TEXT = 0x18,
    TAG_NAME_BY_ID = 0x19,
    TAG_BUCKET_BY_NAME = 0x1a,
    TAG_BUCKET = 0x1b,
    TAG_NODE = 0x20,
    TAG_LABEL = 0x21,
    TAG_EDGE = 0x30,
    TAG_OUT = 0x31,
    TAG_IN = 0x32,
    TAG_ENTRY = 0x40,
};

enum { ENTRY_ZERO = 0x80, ENTRY_STRING = 0x90 };

/* The longest key of numbers only, and the longest of all. */
enum {
    GRAPH_NUMBERS_MAX = 4,
    GRAPH_KEY_BYTES_MAX = 1 + GRAPH_NUMBERS_MAX * ORDERED_BYTES_MAX,
    ENTRY_KEY_BYTES_MAX = 1 + ORDERED_BYTES_MAX + 1 + SOMBRA_KEY_BYTES_MAX,
};
static_assert((int)ENTRY_KEY_BYTES_MAX <= (int)KV_KEY_BYTES_MAX, "bucket keys fit the store");
static_assert(1 + 1 + (int)SOMBRA_NAME_BYTES_MAX <= (int)KV_KEY_BYTES_MAX, "names fit the store");

#endif
