/* SPDX-License-Identifier: MIT */
/* A value too large for a leaf: a run of whole, neighbouring pages. Only the first has a header;
 * the value is contiguous behind it. The checksum covers bytes 8 to the value's end; runs are
 * sealed when they are written. 24 u64 value bytes   32 the value
 */
#ifndef BTREE_OVERFLOW_FORMAT_H
#define BTREE_OVERFLOW_FORMAT_H

enum {
    OVERFLOW_VALUE_BYTES = 24,
    OVERFLOW_AT = 32,
};

#endif
