/* SPDX-License-Identifier: MIT */
/* The bytes of an encoded value. Every value begins with one tag byte and says its own length.
 *
 *   tag          kind     what follows
 *   00           null     -
 *   01, 02       boolean  - (false, true)
 *   10 .. 18     integer  the low nibble counts the bytes: two's complement, little-endian, as few
 *                         as hold the number (0 is the tag alone)
 *   60 .. 7f     integer  128 to 8191: the low five bits are its bits 8 to 12, one byte follows
 *   24           float    4 bytes, IEEE 754 binary32, little-endian: where that loses nothing
 *   28           float    8 bytes, IEEE 754 binary64, little-endian
 *   30 .. 3e     string   the low nibble counts the bytes
 *   3f           string   LEB128 length (15 or more), the bytes
 *   41, 44       list     body length, element count, body: both in 1 or both in 4 bytes, little-
 *                         endian; 1 where the body has at most 255 bytes
 *   51, 54       map      the same; the body holds LEB128 key length, key bytes, value, in strictly
 *                         ascending byte order of the keys
 *   80 .. fe     float    decimal: bits 3 to 6 are its digits behind the point (0 to 15), the low
 *                         three bits count the bytes (0 to 6) of the number without the point, as
 *                         in an integer. 0.37 is 91 25
 *
 *     +----+------------+-----------+----------------------+
 *     | 41 | bytes (u8) | count (u8)| element, element ... |
 *     +----+------------+-----------+----------------------+
 *
 * A float is the double nearest to its decimal, which one division gives exactly: the number has
 * less than 2^47 and the power of ten is a double. The decimal of the fewest digits is written
 * where it gives back every bit and is shorter than 24 or 28; never for -0.0, infinities and NaN.
 *
 * Equal values have equal bytes, but for numbers written before there were decimals and 60 .. 7f
 * (graph formats 1 and 2): value_canonical. Readers refuse all other tags, a nesting deeper than
 * SOMBRA_VALUE_DEPTH_MAX, and lengths that leave their container; they do not insist on the
 * shortest form. Values are on disk: append only.
 */
#ifndef GRAPH_VALUE_FORMAT_H
#define GRAPH_VALUE_FORMAT_H

enum {
    VALUE_NULL = 0x00,
    VALUE_FALSE = 0x01,
    VALUE_TRUE = 0x02,
    VALUE_INTEGER = 0x10, /* + bytes, 0 to 8 */
    VALUE_FLOAT_4 = 0x24,
    VALUE_FLOAT_8 = 0x28,
    VALUE_STRING = 0x30, /* + bytes, 0 to 14 */
    VALUE_STRING_LONG = 0x3f,
    VALUE_LIST_1 = 0x41,
    VALUE_LIST_4 = 0x44,
    VALUE_MAP_1 = 0x51,
    VALUE_MAP_4 = 0x54,
    VALUE_INTEGER_SHORT = 0x60, /* + bits 8 to 12 */
    VALUE_DECIMAL = 0x80,       /* + digits behind the point << 3, + bytes */

    VALUE_INTEGER_SHORT_MIN = 0x80,
    VALUE_INTEGER_SHORT_MAX = 0x1fff,
    VALUE_STRING_SHORT_MAX = 14,
    VALUE_HEAD_1 = 3, /* bytes of tag, length and count */
    VALUE_HEAD_4 = 9,
    VALUE_BODY_1_MAX = 255,
    VALUE_DECIMAL_DIGITS_MAX = 15, /* 10^15 is a double, so is every power below */
    VALUE_DECIMAL_BYTES_MAX = 6,
};

#endif
