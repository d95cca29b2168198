/* SPDX-License-Identifier: MIT */
/* The bytes of a general leaf. Values are on disk: append only.
 *
 *   0        24      26       28      32      36     39     40
 *   +--------+-------+--------+-------+-------+------+------+--------------+--------------+
 *   | common | count | prefix | cells | holes | zero | ends | heads        | slots        |
 *   | header | u16   | bytes  | u32   | u32   | u24  | u8   | u32 each     | u16 each     |
 *   +--------+-------+--------+-------+-------+------+------+--------------+--------------+
 *
 *   <- free -+-------------------------- page's end
 *            | cells, any order | prefix |
 *            +------------------+--------+
 *
 * heads[i]: the 4 bytes of key i behind the page's prefix, zero padded, as a number (stored
 * little-endian): its order is the order of keys but for ties. slots[i]: where cell i begins.
 * cell: varint suffix bytes, varint (value bytes << 1), suffix, value; or varint suffix bytes,
 * 1, suffix, first page of the overflow run (8 bytes), bytes of the value (8 bytes).
 * cells: lowest byte of the cell area (u32: 65536 is a legal value). holes: unused bytes in it.
 * ends: low half, how many of the latest inserts in a row stood last; high half, first (at most 15
 * each): the mark of a sequential load, by which a split keeps full pages full.
 */
#ifndef BTREE_LEAF_FORMAT_H
#define BTREE_LEAF_FORMAT_H

#include "page_format.h"

/* Shared by general leaves, dense leaves and branches. */
enum {
    CELLS_COUNT = 24,        /* u16: entries, or children of a branch */
    CELLS_PREFIX_BYTES = 26, /* u16 */
    CELLS_LOW = 28,          /* u32 */
    CELLS_HOLES = 32,        /* u32; 0 in dense leaves */
    CELLS_HEADS = 40,
};

enum {
    LEAF_ZERO = 36, /* u16 and u8, reserved; a dense leaf has fields of its own there */
    LEAF_ENDS = 39, /* in both kinds of leaf */

    LEAF_SLOT_BYTES = 6, /* head and slot */
    LEAF_OVERFLOW_BYTES = 16,
    LEAF_OVERFLOW_MARK = 1,
};

static_assert(CELLS_HEADS % 8 == 0, "heads are aligned");

#endif
