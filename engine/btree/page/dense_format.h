/* SPDX-License-Identifier: MIT */
/* The bytes of a dense leaf: short, alike entries in runs, each entry written as its difference
 * from the one before. Values are on disk: append only.
 *
 *   0        24      26       28      32     36     38    39     40
 *   +--------+-------+--------+-------+------+------+-----+------+----------+----------+----------+
 *   | common | count | prefix | cells | zero | runs |flags| ends | heads    | offsets  | ordinals |
 *   | header | u16   | bytes  | u32   | u32  | u16  | u8  | u8   | u32 each | u16 each | u16 each |
 *   +--------+-------+--------+-------+------+------+-----+------+----------+----------+----------+
 *
 *   <- free -+----------------------------------------+ page's end
 *            | run n-1 | ... | run 1 | run 0 | prefix |
 *            +---------+-----+-------+-------+--------+
 *
 * heads[r]: the 4 bytes of run r's first key behind the page's prefix, as in a general leaf.
 * offsets[r]: where run r begins; it ends where run r - 1 begins (run 0: at the prefix), so there
 * are no holes and an append moves one run only. ordinals[r]: index of its first entry.
 *
 * entry: one byte shared << 4 | suffix bytes; for a half that is 15, then in this order a length
 * (LEB128) of what is above 15; then, if flags is DENSE_VALUES, one byte value length; then the
 * suffix, then the value. `shared` counts bytes behind the page's prefix that are equal to those of
 * the entry before; it is 0 for the first entry of a run, and the longest possible else.
 * flags: 0 = no values. DENSE_VALUES = each entry tells the length of its value. Else DENSE_VALUES
 * and, above it, the usual length (1 to 127): entries tell none, and an entry whose value has any
 * other has two bytes in front, DENSE_UNUSUAL and that length. No entry begins with DENSE_UNUSUAL
 * otherwise: what shares bytes with the entry before has a suffix.
 * So that an entry can always be removed in place, the form of two neighbours is never shorter
 * than the form of the second alone: bytes(a + b) <= bytes(a) + bytes(b) + 1.
 * ends: as in a general leaf.
 */
#ifndef BTREE_DENSE_FORMAT_H
#define BTREE_DENSE_FORMAT_H

#include "leaf_format.h"

enum {
    DENSE_RUNS = 36,
    DENSE_FLAGS = 38,

    DENSE_VALUES = 1,        /* flag: entries have values */
    DENSE_USUAL_SHIFT = 1,   /* flags above it: the usual length of these, 0 = there is none */
    DENSE_UNUSUAL = 0xf0,    /* first byte of an entry whose value has another */
    DENSE_UNUSUAL_BYTES = 2, /* that and the length */

    DENSE_SLOT_BYTES = 8,    /* head, offset, ordinal */
    DENSE_INTERVAL = 16,     /* entries of a run as built; it splits above twice as many */
    DENSE_ROW_INTERVAL = 32, /* as built in a row of leaves: fewer bytes, and no slower to read */
    DENSE_VALUE_BYTES_MAX = 127, /* longer values, and overflow runs, are unfit */
    DENSE_NIBBLE_MAX = 15,
};

#endif
