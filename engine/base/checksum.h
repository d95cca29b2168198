/* SPDX-License-Identifier: MIT */
/* checksum: CRC-32 (ISO-HDLC, zlib's polynomial), computed by folding. */
#ifndef BASE_CHECKSUM_H
#define BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over more bytes. */
uint32_t crc32_update(uint32_t crc, const void *data, size_t bytes);

#endif
