/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <libdeflate.h>

uint32_t crc32_update(uint32_t crc, const void *data, size_t bytes)
{
    /* libdeflate takes a NULL buffer for a request of the initial value. */
    return bytes ? libdeflate_crc32(crc, data, bytes) : crc;
}
