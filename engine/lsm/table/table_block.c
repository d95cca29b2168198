/* SPDX-License-Identifier: MIT */
/* Blocks of tables from the file: what stands on disk is checked here, before it is used. */
#include "table_read.h"

static uint32_t raw_bytes_max(uint8_t kind)
{
    switch (kind) {
    case TABLE_BLOCK_DATA:
        return TABLE_DATA_BYTES_MAX;
    case TABLE_BLOCK_VALUE:
        return TABLE_VALUE_PIECE;
    case TABLE_BLOCK_PROPERTIES:
        return TABLE_PROPERTIES_MAX;
    case TABLE_BLOCK_RANGES:
    case TABLE_BLOCK_FILTER:
    case TABLE_BLOCK_PREFIX_FILTER:
    case TABLE_BLOCK_INDEX:
        return TABLE_META_BYTES_MAX;
    default:
        return 0;
    }
}

static sombra_err damaged(struct os_file *file, uint64_t offset, const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "%s: block at %" PRIu64 ": %s", os_file_path(file), offset,
                     what);
}

static sombra_err in_block(sombra_err err, struct os_file *file, uint64_t offset)
{
    return diag_wrap(err, "%s: block at %" PRIu64, os_file_path(file), offset);
}

sombra_err table_header_check(struct os_file *file, uint64_t offset, uint64_t left,
                              const uint8_t *header, struct table_block_header *out)
{
    if (left < TABLE_BLOCK_HEADER_BYTES)
        return damaged(file, offset, "no room for a header");
    struct table_block_header found = {
        .raw_bytes = get_le32(header + TABLE_BLOCK_RAW_BYTES),
        .stored_bytes = get_le32(header + TABLE_BLOCK_STORED_BYTES),
        .codec = header[TABLE_BLOCK_CODEC],
        .kind = header[TABLE_BLOCK_KIND],
    };
    if (found.raw_bytes == 0 || found.raw_bytes > raw_bytes_max(found.kind) ||
        get_le16(header + TABLE_BLOCK_ZERO) != 0)
        return damaged(file, offset, "not the header of a block");
    if (found.codec == CODEC_NONE ? found.stored_bytes != found.raw_bytes
                                  : found.stored_bytes >= found.raw_bytes)
        return damaged(file, offset, "lengths that cannot be");
    if (found.stored_bytes > left - TABLE_BLOCK_HEADER_BYTES)
        return damaged(file, offset, "ends behind the end of its place");
    *out = found;
    return SOMBRA_OK;
}

sombra_err table_block_check(struct os_file *file, uint64_t offset, sombra_slice bytes,
                             enum table_block_kind kind, struct table_block_header *out)
{
    const uint8_t *header = bytes.data;
    struct table_block_header found = { 0 };
    sombra_err err = table_header_check(file, offset, bytes.bytes, header, &found);
    if (err)
        return err;
    sombra_slice stored = slice_from(bytes, TABLE_BLOCK_HEADER_BYTES);
    if (found.stored_bytes != stored.bytes || found.kind != kind)
        return damaged(file, offset, "another block than is referred to");
    if (get_le32(header + TABLE_BLOCK_CRC) != table_block_crc(header, offset, stored))
        return damaged(file, offset, "wrong checksum");
    *out = found;
    return SOMBRA_OK;
}

static sombra_err decompress(struct os_file *file, uint64_t offset, uint8_t codec,
                             sombra_slice stored, uint8_t *to, size_t raw_bytes)
{
    if (codec >= CODECS)
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "%s: block at %" PRIu64 ": codec %u is of a newer format",
                         os_file_path(file), offset, codec);
    return in_block(codec_decompress((enum codec_id)codec, stored, to, raw_bytes), file, offset);
}

/* A decompressed data block: checked, then unpacked into the cache's memory. */
static sombra_err raw_open(struct os_file *file, struct cache *cache, uint64_t offset,
                           sombra_slice raw, uint64_t entries, struct cache_block **out_block)
{
    struct block block;
    uint8_t *to;
    sombra_err err = in_block(block_check(raw, &block_rules_data), file, offset);
    if (err)
        return err;
    block_open(&block, raw, &block_rules_data);
    if (entries > 0 && block.entries != entries)
        return damaged(file, offset, "not as many entries as the index says");
    /* Prefix compression must not be a bomb: the writer keeps to this bound. */
    size_t unpacked = rows_bytes(&block);
    if (unpacked > rows_bytes_max(block.entries))
        return damaged(file, offset, "its keys are longer together than those of a block may be");
    err = cache_block_new(cache, unpacked, &to, out_block);
    if (!err)
        rows_unpack(&block, to, unpacked);
    return err;
}

sombra_err table_data_open(struct os_file *file, struct cache *cache, uint64_t offset,
                           sombra_slice bytes, uint64_t entries, struct cache_block **out_block)
{
    struct table_block_header header = { 0 };
    sombra_err err = table_block_check(file, offset, bytes, TABLE_BLOCK_DATA, &header);
    if (err)
        return err;
    sombra_slice raw = slice_from(bytes, TABLE_BLOCK_HEADER_BYTES);
    if (header.codec == CODEC_NONE)
        return raw_open(file, cache, offset, raw, entries, out_block);
    uint8_t *to = mem_alloc(header.raw_bytes);
    if (!to)
        return diag_nomem("a block of a table", header.raw_bytes);
    err = decompress(file, offset, header.codec, raw, to, header.raw_bytes);
    if (!err)
        err = raw_open(file, cache, offset, slice_of(to, header.raw_bytes), entries, out_block);
    mem_free(to);
    return err;
}

bool table_advise(struct table *table)
{
    bool is_short = cache_is_short(table->context.cache);
    if (UNLIKELY(atomic_load_explicit(&table->is_random, memory_order_relaxed) != is_short)) {
        atomic_store_explicit(&table->is_random, is_short, memory_order_relaxed);
        os_advise_random(table->file, is_short);
    }
    return is_short;
}

/* One access of the medium fetches a window of the file as fast as a block, and others are likely
 * to be read from it: but once in the life of an open table, so that no more is ever fetched in
 * vain than the file has. Blocks in a row are left to the system, which reads ahead by itself. */
static void read_around(struct table *table, uint32_t index, uint64_t offset)
{
    uint64_t window = offset / TABLE_WINDOW_BYTES;
    if (table_advise(table))
        return;
    uint32_t last = atomic_exchange_explicit(&table->loaded, index, memory_order_relaxed);
    bool was_read = table_window_was_read(table, window);
    if (!was_read && index == last + 1)
        return;
    uint64_t end = window + cache_may_read_around(table->context.cache, was_read);
    uint64_t file_end = table->properties.body_bytes, next = window;
    while (next < end && next * TABLE_WINDOW_BYTES < file_end &&
           !table_window_was_read(table, next)) {
        atomic_fetch_or_explicit(&table->around[next / 64], UINT64_C(1) << next % 64,
                                 memory_order_relaxed);
        next++;
    }
    if (next > window)
        os_read_ahead(table->file, window * TABLE_WINDOW_BYTES,
                      u64_min(next * TABLE_WINDOW_BYTES, file_end) - window * TABLE_WINDOW_BYTES);
}

/* ---- blocks that are read together ------------------------------------------------------- */

/* Blocks [first, end) of the index, without a gap in the file. */
struct span {
    uint32_t first, end;
    uint64_t offset;
    size_t bytes;
};

static bool span_is_cached(const struct table *table, uint32_t index)
{
    return cache_has(table->context.cache, table->properties.meta.number,
                     table_handle_at(table, index).offset);
}

/* Adds up to `ahead` blocks: what is read at once and takes no noticeable part of the cache, up to
 * the first that is there already. */
static void span_extend(const struct table *table, struct span *span, uint32_t ahead)
{
    enum { CACHE_PART = 32 };
    size_t bytes_max =
        size_min(cache_bytes_max(table->context.cache) / CACHE_PART, CACHE_SPARE_BYTES);
    for (; ahead > 0 && span->end < table->index.entries; ahead--) {
        struct table_handle handle = table_handle_at(table, span->end);
        if (handle.offset != span->offset + span->bytes || handle.bytes + span->bytes > bytes_max ||
            span_is_cached(table, span->end))
            return;
        span->bytes += (size_t)handle.bytes;
        span->end++;
    }
}

/* A block of the span, from its bytes, into the cache. */
static sombra_err span_block(struct table *table, const struct span *span, const uint8_t *bytes,
                             uint32_t index, struct cache_block **out_block)
{
    struct cache *cache = table->context.cache;
    struct table_handle handle = table_handle_at(table, index);
    struct cache_block *block = NULL;
    sombra_err err =
        table_data_open(table->file, cache, handle.offset,
                        slice_of(bytes + (handle.offset - span->offset), (size_t)handle.bytes),
                        table_entries_in(table, index), &block);
    if (err)
        return err;
    uint64_t number = table->properties.meta.number;
    *out_block = index == span->first ? cache_offer(cache, number, handle.offset, block)
                                      : cache_add(cache, number, handle.offset, block);
    return SOMBRA_OK;
}

/* The blocks behind the first, as far as they are sound: who wants them is told what is wrong. */
static void span_fill(struct table *table, const struct span *span, const uint8_t *bytes)
{
    struct cache_block *block = NULL;
    for (uint32_t i = span->first + 1; i < span->end; i++) {
        if (span_block(table, span, bytes, i, &block))
            return;
        cache_release(table->context.cache, block);
    }
}

static sombra_err span_load(struct table *table, const struct span *span,
                            struct cache_block **out_block)
{
    struct cache *cache = table->context.cache;
    uint8_t *bytes = cache_spare_take(cache);
    if (!bytes)
        return diag_nomem("blocks of a table", CACHE_SPARE_BYTES);
    sombra_err err = os_read(table->file, span->offset, bytes, span->bytes);
    if (!err)
        err = span_block(table, span, bytes, span->first, out_block);
    if (!err) {
        span_fill(table, span, bytes);
        atomic_store_explicit(&table->loaded, span->end - 1, memory_order_relaxed);
    }
    cache_spare_give(cache, bytes);
    return err;
}

static sombra_err block_load(struct table *table, const struct span *span,
                             struct cache_block **out_block)
{
    uint8_t *bytes = mem_alloc(span->bytes);
    if (!bytes)
        return diag_nomem("a block of a table", span->bytes);
    sombra_err err = os_read(table->file, span->offset, bytes, span->bytes);
    if (!err)
        err = span_block(table, span, bytes, span->first, out_block);
    mem_free(bytes);
    return err;
}

sombra_err table_load(struct table *table, uint32_t index, uint32_t ahead,
                      struct cache_block **out_block)
{
    struct table_handle handle = table_handle_at(table, index);
    struct cache_block *block =
        cache_get(table->context.cache, table->properties.meta.number, handle.offset);
    if (LIKELY(block)) {
        *out_block = block;
        return SOMBRA_OK;
    }
    /* Within the file and the maximum: index_check. */
    struct span span = { index, index + 1, handle.offset, (size_t)handle.bytes };
    span_extend(table, &span, ahead);
    read_around(table, index, handle.offset);
    return span.end - index > 1 ? span_load(table, &span, out_block)
                                : block_load(table, &span, out_block);
}

/* ---- lookups ----------------------------------------------------------------------------- */

/* A block as it stands in the file, its checksum right, in memory that the cache does not count. */
static sombra_err raw_read(struct table *table, struct table_handle handle,
                           struct cache_block **out_block, sombra_slice *out_raw)
{
    struct cache *cache = table->context.cache;
    struct table_block_header header = { 0 };
    struct cache_block *block = NULL, *unpacked = NULL;
    uint8_t *to;
    sombra_err err = cache_block_new(cache, (size_t)handle.bytes, &to, &block);
    if (err)
        return err;
    cache_disown(cache, block);
    sombra_slice bytes = slice_of(to, block->bytes);
    err = os_read(table->file, handle.offset, to, bytes.bytes);
    if (!err)
        err = table_block_check(table->file, handle.offset, bytes, TABLE_BLOCK_DATA, &header);
    sombra_slice raw = slice_from(bytes, TABLE_BLOCK_HEADER_BYTES);
    if (!err && header.codec != CODEC_NONE) {
        err = cache_block_new(cache, header.raw_bytes, &to, &unpacked);
        if (!err) {
            cache_disown(cache, unpacked);
            err = decompress(table->file, handle.offset, header.codec, raw, to, header.raw_bytes);
        }
        raw = slice_of(to, header.raw_bytes);
        cache_release(cache, block);
        block = unpacked;
    }
    if (err) {
        cache_release(cache, block);
        return err;
    }
    *out_block = block;
    *out_raw = raw;
    return SOMBRA_OK;
}

static sombra_err raw_lookup(struct table *table, struct table_handle handle, sombra_slice key,
                             struct lsm_entry *out_entry, struct cache_block **out_block)
{
    struct cache_block *block = NULL;
    struct block_entry entry = { 0 };
    sombra_slice raw = slice_of(NULL, 0);
    bool is_found = false;
    sombra_err err = raw_read(table, handle, &block, &raw);
    if (!err)
        err = in_block(block_lookup(raw, key, &is_found, &entry), table->file, handle.offset);
    if (err || !is_found) {
        cache_release(table->context.cache, block);
        return err;
    }
    *out_entry = (struct lsm_entry){ .key = key, .value = entry.value, .kind = entry.kind };
    *out_block = block;
    return SOMBRA_OK;
}

sombra_err table_lookup(struct table *table, uint32_t index, sombra_slice key,
                        struct lsm_entry *out_entry, struct cache_block **out_block)
{
    struct cache *cache = table->context.cache;
    uint64_t number = table->properties.meta.number;
    struct table_handle handle = table_handle_at(table, index);
    struct cache_block *block = cache_get(cache, number, handle.offset);
    *out_block = NULL;
    if (UNLIKELY(!block)) {
        struct span span = { index, index + 1, handle.offset, (size_t)handle.bytes };
        read_around(table, index, handle.offset);
        if (cache_declines(cache, number, handle.offset, span.bytes))
            return raw_lookup(table, handle, key, out_entry, out_block);
        sombra_err err = block_load(table, &span, &block);
        if (err)
            return err;
    }
    struct rows rows;
    bool is_equal;
    rows_open(&rows, block->data);
    uint32_t at = rows_find(&rows, key, &is_equal);
    if (!is_equal) {
        cache_release(cache, block);
        return SOMBRA_OK;
    }
    rows_entry(&rows, at, out_entry);
    *out_block = block;
    return SOMBRA_OK;
}

/* ---- values out of line ------------------------------------------------------------------ */

sombra_err table_large_parse(struct os_file *file, uint64_t end, sombra_slice reference,
                             struct table_large *out)
{
    const uint8_t *at = reference.data;
    if (reference.bytes != TABLE_LARGE_BYTES)
        return diag_fail(SOMBRA_CORRUPT, "%s: a reference to a value of %zu bytes",
                         os_file_path(file), reference.bytes);
    struct table_large found = {
        .offset = get_le64(at + TABLE_LARGE_OFFSET),
        .value_bytes = get_le64(at + TABLE_LARGE_VALUE_BYTES),
        .stored = get_le64(at + TABLE_LARGE_STORED),
    };
    uint64_t pieces =
        found.value_bytes / TABLE_VALUE_PIECE + (found.value_bytes % TABLE_VALUE_PIECE != 0);
    if (found.value_bytes == 0 || found.value_bytes > KV_VALUE_BYTES_MAX || found.offset > end ||
        found.stored > end - found.offset ||
        found.stored < pieces * (TABLE_BLOCK_HEADER_BYTES + 1) ||
        found.stored > found.value_bytes + pieces * TABLE_BLOCK_HEADER_BYTES)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: a value of %" PRIu64 " bytes in %" PRIu64 " at %" PRIu64 " cannot be",
                         os_file_path(file), found.value_bytes, found.stored, found.offset);
    *out = found;
    return SOMBRA_OK;
}

sombra_err table_large_check(const struct table *table, sombra_slice reference,
                             struct table_large *out)
{
    return table_large_parse(table->file, table->properties.body_bytes, reference, out);
}

/* A part of the file in memory, at least one value block long. */
struct window {
    uint8_t *data;
    size_t capacity, bytes;
    uint64_t offset;
};

/* Makes the block at `offset` whole in the window; `left`: bytes from there on that may be read. */
static sombra_err window_block(struct os_file *file, struct window *window, uint64_t offset,
                               uint64_t left, sombra_slice *out_bytes)
{
    struct table_block_header header = { 0 };
    for (unsigned turn = 0; turn < 2; turn++) {
        size_t at = (size_t)(offset - window->offset);
        size_t there = window->bytes - at;
        assert(offset >= window->offset && at <= window->bytes);
        if (there >= TABLE_BLOCK_HEADER_BYTES) {
            sombra_err err = table_header_check(file, offset, left, window->data + at, &header);
            if (err)
                return err;
            size_t bytes = (size_t)TABLE_BLOCK_HEADER_BYTES + header.stored_bytes;
            if (bytes <= there) {
                *out_bytes = slice_of(window->data + at, bytes);
                return SOMBRA_OK;
            }
        }
        if (turn == 0) {
            window->offset = offset;
            window->bytes = 0;
            size_t bytes = (size_t)u64_min(left, window->capacity);
            sombra_err err = os_read(file, offset, window->data, bytes);
            if (err)
                return err;
            window->bytes = bytes;
        }
    }
    return damaged(file, offset, "ends behind its value");
}

sombra_err table_large_walk(struct os_file *file, const struct table_large *large,
                            sombra_err (*each)(void *context, const struct table_piece *piece),
                            void *context)
{
    uint64_t value_left = large->value_bytes, left = large->stored, offset = large->offset;
    struct window window = {
        .capacity = (size_t)u64_min(left, TABLE_VALUE_PIECE + TABLE_BLOCK_HEADER_BYTES),
        .offset = offset,
    };
    sombra_err err = SOMBRA_OK;
    window.data = mem_alloc(window.capacity);
    if (!window.data)
        return diag_nomem("blocks of a value", window.capacity);
    while (value_left > 0 && !err) {
        struct table_block_header header = { 0 };
        sombra_slice bytes = slice_of(NULL, 0);
        uint64_t raw_bytes = u64_min(value_left, TABLE_VALUE_PIECE);
        err = window_block(file, &window, offset, left, &bytes);
        if (!err)
            err = table_block_check(file, offset, bytes, TABLE_BLOCK_VALUE, &header);
        if (!err && (header.raw_bytes != raw_bytes || header.codec >= CODECS))
            err = damaged(file, offset, "not the piece of a value that is referred to");
        if (err)
            break;
        err = each(context,
                   &(struct table_piece){ .raw_bytes = header.raw_bytes,
                                          .codec = (enum codec_id)header.codec,
                                          .stored = slice_from(bytes, TABLE_BLOCK_HEADER_BYTES) });
        value_left -= raw_bytes;
        left -= bytes.bytes;
        offset += bytes.bytes;
    }
    mem_free(window.data);
    if (!err && left > 0)
        return damaged(file, offset, "a value that is longer on disk than is referred to");
    return err;
}

sombra_err table_large_append(void *context, const struct table_piece *piece)
{
    struct buf *to = context;
    uint8_t *at;
    sombra_err err = buf_extend(to, piece->raw_bytes, &at);
    if (err)
        return err;
    return codec_decompress(piece->codec, piece->stored, at, piece->raw_bytes);
}

sombra_err table_copy_large(struct table *table, sombra_slice reference,
                            sombra_err (*each)(void *context, const struct table_piece *piece),
                            void *context)
{
    struct table_large large = { 0 };
    sombra_err err = table_large_check(table, reference, &large);
    return err ? err : table_large_walk(table->file, &large, each, context);
}

sombra_err table_read_large(struct table *table, sombra_slice reference, struct buf *to)
{
    struct table_large large = { 0 };
    sombra_err err = table_large_check(table, reference, &large);
    if (err)
        return err;
    buf_reset(to);
    /* Memory before a checksum only in proportion to what is on disk; beyond, it grows with the
     * pieces that were checked. */
    err = buf_reserve(to, (size_t)u64_min(large.value_bytes, 16 * large.stored));
    if (!err)
        err = diag_wrap(table_large_walk(table->file, &large, table_large_append, to),
                        "%s: value at %" PRIu64, os_file_path(table->file), large.offset);
    return err;
}

sombra_err table_large_bytes(struct table *table, sombra_slice reference, uint64_t *out_bytes)
{
    struct table_large large = { 0 };
    sombra_err err = table_large_check(table, reference, &large);
    if (!err)
        *out_bytes = large.value_bytes;
    return err;
}
