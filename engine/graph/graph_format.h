/* SPDX-License-Identifier: MIT */
/* The keys and records of graph and buckets in the one ordered keyspace of a store.
 *
 * A key is one tag byte and then its fields: numbers as ordered varints (base/varint.h), bytes as
 * they are and only as the last field. Values hold LEB128 varints unless said otherwise.
 *
 *   tag  key                      value
 *   10   -                        counters: format, next node, next edge, next bucket, and from
 *                                 format 2 on the version of the rules
 *   11   type                     number of edges of the type
 *   18   kind, text               id of the name
 *   19   kind, id                 text of the name
 *   1a   text                     id of the bucket
 *   1b   bucket                   text: its name
 *   20   node                     node record
 *   21   label, node              empty
 *   30   edge                     formats 1 to 3: ends: src, type, dst
 *   31   src, type, dst, edge     edge record
 *   32   dst, type, src, edge     empty
 *   33   block                    ends of the edges 64 block - 63 to 64 block
 *   40   bucket, entry key        encoded value (value_format.h)
 *
 *   50   rule                     definition: kind, flags, subject, value kind, count, properties
 *   51   rule, values, node or edge, trailer
 *                                 empty: an entry of an index
 *   52   rule                     key (bytes): the first one that filling has not looked at
 *
 * Tags 53 to 5f are for what indexes may need. The counters stand next to the type counts, so that
 * a commit touches one page for both.
 *
 * Format 4 is what is written: whatever the first write finds becomes one. Format 3 has no blocks
 * of edges. Formats 1 (without rules) and 2 have no decimals and short integers (value_format.h)
 * either, no packed ends and no properties with a head. What they wrote is read for ever, and
 * written anew only when it changes; the edges under tag 30 all have ids below those in blocks.
 * The version of the rules is raised by each change of them; the number of a new rule is the
 * version that it makes.
 *
 * A block of edges: a byte, the highest slot in use and 40 if there are gaps below it; then a bit
 * for each slot up to it, if there are gaps: 1 = there is an edge; then for src, type and dst the
 * width of a column in bits (a byte, to 63) and the number its values begin from; then the columns,
 * one behind the other: for each slot the value less that number, lowest bit first, the last byte
 * filled up. Slot i is edge 64 block - 63 + i. Where there is none, its bits say nothing. No block
 * is without an edge.
 *
 * Ends of formats 1 to 3: a number of up to 64 bits, little-endian, and a byte 1ttsssss behind it.
 * The lowest sssss + 1 bits of the number are src; the next 0, 3, 6 or 16 (tt 0 to 3) are type less
 * 1; the others dst. What does not fit, and all of formats 1 and 2: src, type and dst as numbers,
 * of which the last byte is always below 80.
 *
 * Definition: kind as in sombra/index.h; flags 1 = subject is an edge type, 2 = ready; subject and
 * properties are ids of names.
 *
 * Values of an index entry: one after the other, for each property of the rule
 *     10, 11      false, true
 *     20 .. 32    number. m = 2 * |whole part| + (1 if there is a rest): head 29 + n, m in n bytes,
 *                 big-endian, as few as hold it; if there is a rest, |rest| as binary64,
 *                 big-endian. From 2^63 on: head 32, the number as binary64. Below zero:
 *                 head 29 - n (20), and all bytes inverted. Equal numbers have equal bytes,
 *                 integer or float; -0.0 is 0.
 *     33          NaN
 *     40          string: its bytes, 00 as 00 ff; then 00 01
 *     50          list: its values; then 01
 *     58          map: for each member 02, the key as a string without head, the value; then 01
 *     60          null inside of a list or map
 *     70          the property is missing (never the first one)
 *
 * so that the order of bytes is the order of values. What is longer than INDEX_CUT_BYTES is cut
 * there, and followed by the FNV-1a hash (64 bits, big-endian) of all of it. Trailer: one byte, the
 * length of the id before it in bytes; 80 more if the values are cut.
 *
 * Node record: label count, label ids ascending, properties. Edge record: properties.
 * Properties: nothing at all if there are none. If they take less than 256 bytes and begin with a
 * byte from 80 on, a head that says which names they have, and then the values, one behind the
 * other to the end of the record, in the order of their names' ids:
 *
 *     80 .. bf    bits 2 to 5: the first id less 1; bits 0 and 1: how many follow it without a gap
 *     c0 .. ff    bits 0 to 5: the first id less 1, or 3f and then the first id as a number; then a
 *                 number whose bit i says that the first id + 1 + i has a value
 *
 * Else (they are longer, have ids more than 64 apart, or were written in format 1 or 2)
 *
 *     +-------+---------+---------------+---------------+---------+---- ...
 *     | count | name id | length of the | encoded value | name id |
 *     |       |         | value, bytes  |               |         |
 *     +-------+---------+---------------+---------------+---------+---- ...
 *
 * with name ids strictly ascending, so that one property is found by skipping over those before. A
 * count of 128 or more, whose first byte is like a head's, goes with more than 256 bytes.
 *
 * Entry key of a bucket: one head byte, then
 *     head 78 .. 7f   integer below zero in (80 - head) bytes: the low bytes of its two's
 *                     complement, big-endian
 *     head 80         the integer 0
 *     head 81 .. 88   integer above zero in (head - 80) bytes, big-endian
 *     head 90         string: its bytes
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

/* Formats; and a copy that is not whole, whose record says no more than that. */
enum {
    GRAPH_FORMAT_UNFINISHED = 0,
    GRAPH_FORMAT_PLAIN = 1,
    GRAPH_FORMAT_RULES = 2,
    GRAPH_FORMAT_PACKED = 3,
    GRAPH_FORMAT = 4,
};

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
    TAG_EDGE_BLOCK = 0x33,
    TAG_ENTRY = 0x40,
    TAG_RULE = 0x50,
    TAG_INDEX = 0x51,
    TAG_FILL = 0x52,
};

enum { ENTRY_ZERO = 0x80, ENTRY_STRING = 0x90 };

enum { RULE_IS_EDGE = 1, RULE_IS_READY = 2 };

enum index_head {
    INDEX_END = 0x01,
    INDEX_MEMBER = 0x02,
    INDEX_FALSE = 0x10,
    INDEX_TRUE = 0x11,
    INDEX_NUMBER_LOW = 0x20, /* -2^63 and below */
    INDEX_ZERO = 0x29,
    INDEX_NUMBER_HIGH = 0x32,
    INDEX_NAN = 0x33,
    INDEX_STRING = 0x40,
    INDEX_LIST = 0x50,
    INDEX_MAP = 0x58,
    INDEX_NULL = 0x60,
    INDEX_MISSING = 0x70,
};
enum {
    INDEX_CUT_BYTES = 384,
    INDEX_HASH_BYTES = 8,
    INDEX_TRAILER_CUT = 0x80,
    INDEX_KEY_BYTES_MAX =
        1 + ORDERED_BYTES_MAX + INDEX_CUT_BYTES + INDEX_HASH_BYTES + ORDERED_BYTES_MAX + 1,
};

/* The longest key of numbers only, and the longest of all. */
enum {
    GRAPH_NUMBERS_MAX = 4,
    GRAPH_KEY_BYTES_MAX = 1 + GRAPH_NUMBERS_MAX * ORDERED_BYTES_MAX,
    ENTRY_KEY_BYTES_MAX = 1 + ORDERED_BYTES_MAX + 1 + SOMBRA_KEY_BYTES_MAX,
};
/* Blocks of edges. */
enum {
    EDGE_BLOCK_EDGES = 64,
    EDGE_BLOCK_GAPS = 0x40,
    EDGE_WIDTH_MAX = 63,
    EDGE_BLOCK_BYTES_MAX =
        1 + EDGE_BLOCK_EDGES / 8 + 3 * (1 + VARINT_BYTES_MAX + 8 * EDGE_WIDTH_MAX),
};
/* The last byte of packed ends. */
enum {
    ENDS_PACKED = 0x80,
    ENDS_TYPE_SHIFT = 5,
    ENDS_SOURCE_BITS_MAX = 32,
};

/* Heads of properties without lengths. */
enum {
    HEAD_COMPACT = 0x80,
    HEAD_MASK = 0xc0,
    HEAD_FOLLOWING_MAX = 3,
    HEAD_FIRST_MAX = 16, /* in 80 .. bf; ids */
    HEAD_FIRST_LONG = 0x3f,
    HEAD_BYTES_MAX = 1 + 5 + VARINT_BYTES_MAX,
    COMPACT_BYTES_MAX = 255,
};
static_assert(2 + 128 * 3 > (int)COMPACT_BYTES_MAX, "no count of properties is like a head");

static_assert((int)ENTRY_KEY_BYTES_MAX <= (int)KV_KEY_BYTES_MAX, "bucket keys fit the store");
static_assert((int)INDEX_KEY_BYTES_MAX < (int)KV_KEY_BYTES_MAX, "index keys fit the store");
static_assert(1 + 1 + (int)SOMBRA_NAME_BYTES_MAX <= (int)KV_KEY_BYTES_MAX, "names fit the store");

#endif
