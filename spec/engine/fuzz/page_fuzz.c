/* SPDX-License-Identifier: MIT */
/* A page image out of arbitrary bytes: if page_validate accepts it, nothing that can be done with
 * it reaches outside the image, and every change leaves valid pages.
 *
 * The input is the image, filled up with zeros to the next page size; page number, seal and level
 * are put right, so that the interesting bytes decide. With the fourth byte odd, heads are computed
 * and holes counted anew (general leaves and branches), which random changes seldom get right. */
#include "../page_exercise.h"

#include "btree/page/branch_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static size_t page_bytes_for(size_t bytes)
{
    size_t page_bytes = PAGE_BYTES_MIN;
    while (page_bytes < bytes && page_bytes < PAGE_BYTES_MAX)
        page_bytes *= 2;
    return page_bytes;
}

/* Heads of the keys as they stand in the cells, where the slots point into the page. */
static void mend_heads(uint8_t *page, size_t page_bytes, unsigned keys, bool has_value)
{
    size_t prefix_bytes = get_le16(page + CELLS_PREFIX_BYTES);
    if (CELLS_HEADS + 6 * (size_t)keys > page_bytes || prefix_bytes > KV_KEY_BYTES_MAX)
        return;
    const uint8_t *end = page + page_bytes - prefix_bytes;
    for (unsigned i = 0; i < keys; i++) {
        size_t offset = get_le16(page + CELLS_HEADS + 4 * (size_t)keys + 2 * (size_t)i);
        uint64_t suffix_bytes = 0, value_bytes;
        uint8_t head[4] = { 0 };
        if (offset >= page_bytes - prefix_bytes)
            return;
        const uint8_t *at = varint_get(page + offset, end, &suffix_bytes);
        if (at && has_value)
            at = varint_get(at, end, &value_bytes);
        if (!at || suffix_bytes > (size_t)(end - at))
            return;
        memcpy(head, at, size_min(suffix_bytes, 4));
        put_le32(page + CELLS_HEADS + 4 * (size_t)i, get_be32(head));
    }
}

static void mend(uint8_t *page, size_t page_bytes, bool mends_heads)
{
    bool is_branch = page[PAGE_KIND] == PAGE_BRANCH;
    page_set_identity(page, EXERCISE_ID, 1);
    if (is_branch && page[PAGE_LEVEL] == 0)
        page[PAGE_LEVEL] = 1;
    if (!is_branch)
        page[PAGE_LEVEL] = 0;
    unsigned count = get_le16(page + CELLS_COUNT);
    if (mends_heads && is_branch && count > 0)
        mend_heads(page, page_bytes, count - 1, false);
    if (mends_heads && page[PAGE_KIND] == PAGE_LEAF)
        mend_heads(page, page_bytes, count, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < CELLS_HEADS)
        return 0;
    size_t page_bytes = page_bytes_for(bytes);
    uint8_t *page = mem_alloc_aligned(8, page_bytes);
    if (!page)
        return 0;
    memset(page, 0, page_bytes);
    memcpy(page, data, size_min(bytes, page_bytes));
    bool mends_heads = (page[3] & 1) != 0;
    uint64_t seed = get_le32(page);
    mend(page, page_bytes, mends_heads);
    if (page_validate(page, page_bytes, EXERCISE_ID, true) == SOMBRA_OK)
        page_exercise(page, page_bytes, seed);
    mem_free(page);
    return 0;
}
