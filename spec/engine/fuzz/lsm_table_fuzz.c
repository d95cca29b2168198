/* SPDX-License-Identifier: MIT */
/* A whole table out of arbitrary bytes: whatever they are, opening, looking up, scanning, verifying
 * and salvaging end, and touch nothing outside. With an odd last byte (which is cut off) every
 * block's checksum and that of the footer are put right first, so that what stands behind the
 * checksums is reached. */
#include "lsm/table/table.h"
#include "lsm/table/table_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(sombra_err err)
{
    if (err)
        abort();
}

static void mend_block(uint8_t *data, size_t end, uint64_t offset)
{
    uint8_t covered[TABLE_BLOCK_CRC + 8];
    if (offset > end || end - offset < TABLE_BLOCK_HEADER_BYTES)
        return;
    uint8_t *header = data + offset;
    uint32_t stored = get_le32(header + TABLE_BLOCK_STORED_BYTES);
    if (stored > end - offset - TABLE_BLOCK_HEADER_BYTES)
        return;
    memcpy(covered, header, TABLE_BLOCK_CRC);
    put_le64(covered + TABLE_BLOCK_CRC, offset);
    uint32_t crc = crc32_update(crc32_update(0, covered, sizeof covered),
                                header + TABLE_BLOCK_HEADER_BYTES, stored);
    put_le32(header + TABLE_BLOCK_CRC, crc);
}

/* Block by block from the front; the last ones, if damage lies before, by the footer's handles. */
static void mend(uint8_t *data, size_t bytes)
{
    if (bytes < TABLE_FOOTER_BYTES)
        return;
    size_t end = bytes - TABLE_FOOTER_BYTES;
    uint8_t *footer = data + end;
    for (size_t at = 0; at <= end && end - at >= TABLE_BLOCK_HEADER_BYTES;) {
        mend_block(data, end, at);
        at += TABLE_BLOCK_HEADER_BYTES + (size_t)get_le32(data + at + TABLE_BLOCK_STORED_BYTES);
    }
    mend_block(data, end, get_le64(footer + TABLE_FOOTER_INDEX));
    mend_block(data, end, get_le64(footer + TABLE_FOOTER_PROPERTIES));
    put_le32(footer + TABLE_FOOTER_CRC, crc32_update(0, footer, TABLE_FOOTER_CRC));
}

struct use {
    const struct table_context *context;
    struct table *table;
    struct buf value;
    uint64_t sum;
};

static void use_entry(struct use *use, const struct lsm_entry *entry)
{
    struct table *table = use->table;
    enum lookup lookup = LOOKUP_ABSENT;
    struct table_value got = { .block = NULL };
    uint64_t large = 0;
    sombra_slice low, end;
    (void)table_rank(table, entry->key);
    (void)table_hides(table, entry->key, &low, &end);
    (void)table_may_have_prefix(table, entry->key);
    if (entry->kind == ENTRY_LARGE && !table_large_bytes(table, entry->value, &large) &&
        large < 64 * KiB)
        (void)!table_read_large(table, entry->value, &use->value);
    (void)!table_get(table, entry->key, &(uint64_t){ table_key_hash(entry->key) }, &lookup, &got);
    if (got.value.bytes > 0) /* all of it lies in memory */
        use->sum += (unsigned)((const uint8_t *)got.value.data)[0] +
                    ((const uint8_t *)got.value.data)[got.value.bytes - 1];
    cache_release(use->context->cache, got.block);
}

/* Keys of a source ascend, whatever the file says. */
static void use_scans(struct use *use)
{
    struct source *source;
    struct lsm_entry entries[9];
    uint8_t last[KV_KEY_BYTES_MAX];
    size_t last_bytes = 0, count = 0;
    must(table_source(use->table, true, &source));
    sombra_err err = source->ops->seek_ge(source, slice_of(NULL, 0));
    while (!err && source->is_valid) {
        err = source->ops->read(source, slice_of(NULL, 0), entries, COUNT_OF(entries), &count);
        for (size_t i = 0; i < count && !err; i++) {
            if (entries[i].key.bytes == 0 || entries[i].key.bytes > sizeof last)
                abort();
            memcpy(last, entries[i].key.data, last_bytes = entries[i].key.bytes);
        }
        if (!err && count > 0)
            use_entry(use, &entries[0]);
    }
    err = source->ops->seek_lt(source, slice_of(last, last_bytes));
    for (size_t i = 0; !err && source->is_valid && i < 100; i++)
        err = source->ops->previous(source);
    (void)!source->ops->seek_ge(source, slice_of(last, last_bytes));
    source_close(source);
}

static size_t prefix_bytes(sombra_slice key)
{
    return key.bytes >= 2 ? 2 : 0;
}

static sombra_err ignore(void *context, const struct lsm_entry *entry, sombra_slice large_value)
{
    (void)context, (void)entry, (void)large_value;
    return SOMBRA_OK;
}

/* One file in memory for all runs. */
static const char *file_of(const uint8_t *data, size_t bytes)
{
    static int file = -1;
    static char path[64];
    if (file < 0)
        file = memfd_create("lsm_table_fuzz", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, bytes, 0) != (ssize_t)bytes)
        abort();
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct cache *cache;
    struct buf file = BUF_INIT;
    uint64_t count;
    if (!cache)
        must(cache_new(MiB, NULL, &cache));
    /* A full cache: lookups search blocks as they stand on disk. */
    cache_limit(cache, bytes > 1 && data[bytes - 1] & 2 ? 1 : MiB, false);
    struct table_context context = { .os = os_posix(),
                                     .cache = cache,
                                     .prefix = { .name = "two", .bytes = prefix_bytes } };
    struct use use = { .context = &context, .value = BUF_INIT };
    must(buf_append(&file, data, bytes));
    if (bytes > 0 && data[bytes - 1] % 2 == 1)
        mend(file.data, --file.bytes);
    const char *path = file_of(file.data, file.bytes);
    if (!table_open(&context, path, NULL, &use.table)) {
        use_scans(&use);
        (void)!table_verify(use.table, NULL, NULL, &count);
        cache_drop_table(cache, table_meta(use.table)->number);
        table_unref(use.table);
    }
    (void)!table_salvage(&context, path, ignore, NULL, &count);
    buf_release(&use.value);
    buf_release(&file);
    return 0;
}
