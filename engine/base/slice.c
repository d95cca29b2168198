/* SPDX-License-Identifier: MIT */
#include "base/base.h"

size_t slice_common_prefix(sombra_slice a, sombra_slice b)
{
    const uint8_t *left = a.data;
    const uint8_t *right = b.data;
    size_t limit = size_min(a.bytes, b.bytes);
    size_t same = 0;
    for (; limit - same >= sizeof(uint64_t); same += sizeof(uint64_t)) {
        uint64_t differing = get_le64(left + same) ^ get_le64(right + same);
        if (differing)
            return same + (size_t)__builtin_ctzll(differing) / 8;
    }
    if (limit >= sizeof(uint64_t)) { /* the last ones, some of them once more */
        same = limit - sizeof(uint64_t);
        uint64_t differing = get_le64(left + same) ^ get_le64(right + same);
        return differing ? same + (size_t)__builtin_ctzll(differing) / 8 : limit;
    }
    while (same < limit && left[same] == right[same])
        same++;
    return same;
}
