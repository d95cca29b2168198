/* SPDX-License-Identifier: MIT */
/* slice: helpers on borrowed bytes. Order is that of memcmp, shorter first on a tie. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "sombra/types.h"

#include <string.h>

static inline sombra_slice slice_of(const void *data, size_t bytes)
{
    return (sombra_slice){ .data = data, .bytes = bytes };
}

static inline sombra_slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline sombra_slice slice_from(sombra_slice s, size_t offset)
{
    return slice_of((const uint8_t *)s.data + offset, s.bytes - offset);
}

static inline int slice_compare(sombra_slice a, sombra_slice b)
{
    size_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static inline bool slice_equal(sombra_slice a, sombra_slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static inline bool slice_has_prefix(sombra_slice s, sombra_slice prefix)
{
    return s.bytes >= prefix.bytes &&
           (prefix.bytes == 0 || memcmp(s.data, prefix.data, prefix.bytes) == 0);
}

/* Length of the longest common prefix. */
size_t slice_common_prefix(sombra_slice a, sombra_slice b);

#endif
