/* SPDX-License-Identifier: MIT */
/* Free space on disk, written by checkpoints: a chain of directory pages names, for each chunk of
 * the file's pages, a page of bits for used and one for pending pages. Page id 0: all bits are
 * zero.
 *
 * Directory page (PAGE_SPACE), behind the common header:
 *   24 u32 entries   28 u32 zero   32 u48 next directory page (0 = last)   38 u16 zero
 *   40 entries of 12 bytes: u48 used map page, u48 pending map page
 * Map page (PAGE_SPACE_MAP):
 *   24 u32 chunk   28 u32 map (0 used, 1 pending)
 *   32 bits, page chunk * n first, least significant bit first
 */
#ifndef BTREE_SPACE_FORMAT_H
#define BTREE_SPACE_FORMAT_H

enum {
    SPACE_DIRECTORY_ENTRIES = 24,
    SPACE_DIRECTORY_NEXT = 32,
    SPACE_DIRECTORY_AT = 40,
    SPACE_ENTRY_BYTES = 12,
    SPACE_ENTRY_PENDING = 6,

    SPACE_MAP_CHUNK = 24,
    SPACE_MAP_WHICH = 28,
    SPACE_MAP_AT = 32,
};

#endif
