/* SPDX-License-Identifier: MIT */
/* The bytes of a branch. Values are on disk: append only.
 *
 *   0        24      26       28      32      36     40
 *   +--------+-------+--------+-------+-------+------+--------------+--------------+->
 *   | common | count | prefix | cells | holes | zero | heads        | slots        |
 *   | header | u16   | bytes  | u32   | u32   | u32  | (n - 1) u32  | (n - 1) u16  |
 *   +--------+-------+--------+-------+-------+------+--------------+--------------+->
 *     >---------------+---------------+- free -+-------------------------- page's end
 *     | children      | entries       |        | cells, any order | prefix |
 *     | n page ids u48| n counts u48  |        +------------------+--------+
 *     +---------------+---------------+
 *
 * n = count children have n - 1 separators; separator j stands left of child j + 1. heads, slots,
 * cells, holes, prefix: as in a leaf (leaf_format.h). cell: varint suffix bytes, suffix. A search
 * reads heads and one cell; children and entries are apart, so that it never touches them.
 */
#ifndef BTREE_BRANCH_FORMAT_H
#define BTREE_BRANCH_FORMAT_H

#include "leaf_format.h"

enum {
    BRANCH_ZERO = 36,       /* u32, reserved */
    BRANCH_SLOT_BYTES = 6,  /* head and slot, a separator */
    BRANCH_CHILD_BYTES = 6, /* and as many for its count */
};

#endif
