/* SPDX-License-Identifier: MIT */
/* Writes a table front to back: blocks are compressed into one buffer and written when it is large.
 * A data block ends when it is full; its index entry waits for the next key, which bounds the
 * separator. */
#include "block_build.h"
#include "filter.h"
#include "table_internal.h"

#include <inttypes.h>

enum { WRITE_BYTES = 256 << 10 };

struct handle {
    uint64_t offset, bytes;
};

struct table_writer {
    struct os *os;
    struct os_file *file;
    struct table_writer_options options;
    uint64_t number;
    size_t inline_bytes;
    bool is_failed, is_finished;

    struct buf out;   /* blocks not yet written */
    uint64_t written; /* bytes of the file before them */

    struct block_builder data, index, ranges;
    struct handle ended;     /* the data block that waits for its index entry; bytes 0 = none */
    uint64_t entries_before; /* it */
    size_t block_key_bytes;  /* of whole keys in the data block that is being built */
    uint64_t entries_ended;  /* in data blocks that ended */

    struct filter_builder keys, prefixes;
    size_t last_prefix_bytes; /* of the last key; 0 = it has none */

    struct buf range_low, range_high; /* the last range hidden, which the next may lengthen */
    struct buf ranges_low;            /* the first one's low */
    bool has_range;

    uint64_t entries, deletes, large, range_count;
    uint64_t key_bytes, value_bytes; /* raw */
    uint64_t data_blocks, value_blocks;
    uint64_t body_bytes;
    struct handle ranges_handle, filter_handle, prefix_handle, index_handle, properties_handle;
    struct buf low, end; /* of all keys and ranges */
};

static uint64_t position(const struct table_writer *writer)
{
    return writer->written + writer->out.bytes;
}

static bool has_filter(const struct table_writer *writer)
{
    return writer->options.filter_bits > 0;
}

static bool has_prefix_filter(const struct table_writer *writer)
{
    return has_filter(writer) && writer->options.prefix.bytes;
}

/* ---- open, close ------------------------------------------------------------------------- */

static void writer_free(struct table_writer *writer)
{
    struct buf *bufs[] = { &writer->out,        &writer->range_low, &writer->range_high,
                           &writer->ranges_low, &writer->low,       &writer->end };
    for (size_t i = 0; i < COUNT_OF(bufs); i++)
        buf_release(bufs[i]);
    block_builder_release(&writer->data);
    block_builder_release(&writer->index);
    block_builder_release(&writer->ranges);
    filter_builder_release(&writer->keys);
    filter_builder_release(&writer->prefixes);
    mem_free(writer);
}

sombra_err table_writer_open(struct os *os, const char *path, uint64_t number,
                             const struct table_writer_options *options,
                             struct table_writer **out_writer)
{
    assert(options->block_bytes >= TABLE_BLOCK_BYTES_MIN);
    assert(options->block_bytes <= TABLE_BLOCK_BYTES_MAX);
    assert(options->filter_bits <= FILTER_BITS_MAX);
    assert(!options->prefix.bytes || strlen(options->prefix.name) <= TABLE_PREFIX_NAME_MAX);

    struct table_writer *writer = mem_zalloc(sizeof *writer);
    if (!writer)
        return diag_nomem("a table writer", sizeof *writer);
    writer->os = os;
    writer->options = *options;
    writer->number = number;
    writer->inline_bytes = table_inline_bytes((uint32_t)options->block_bytes);
    block_builder_init(&writer->data, TABLE_RESTART_ENTRIES);
    block_builder_init(&writer->index, 1);
    block_builder_init(&writer->ranges, 1);

    /* The file comes last: a failure before it leaves nothing to unlink. */
    sombra_err err = buf_reserve(&writer->out, WRITE_BYTES + 2 * options->block_bytes);
    if (!err && has_filter(writer))
        err = filter_builder_reserve(&writer->keys, options->entries_hint);
    if (!err)
        err = os_open(os, path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, options->mode, &writer->file);
    if (err) {
        writer_free(writer);
        return diag_wrap(err, "make table %06" PRIu64, number);
    }
    *out_writer = writer;
    return SOMBRA_OK;
}

void table_writer_close(struct table_writer *writer)
{
    if (!writer)
        return;
    if (!writer->is_finished) {
        /* What failed before is what the caller wants to read. A file that stays nevertheless is
         * named by nothing. */
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        sombra_err err = os_unlink(writer->os, os_file_path(writer->file));
        (void)err;
        diag_restore(text);
    }
    os_close(writer->file);
    writer_free(writer);
}

uint64_t table_writer_bytes(const struct table_writer *writer)
{
    return position(writer) + writer->data.bytes.bytes;
}

/* ---- blocks ------------------------------------------------------------------------------ */

static sombra_err out_write(struct table_writer *writer)
{
    sombra_err err = os_write(writer->file, writer->written, writer->out.data, writer->out.bytes);
    if (err)
        return err;
    writer->written += writer->out.bytes;
    buf_reset(&writer->out);
    return SOMBRA_OK;
}

/* A block's place in the output; the header is filled in by block_end. */
static sombra_err block_begin(struct table_writer *writer, size_t *out_start)
{
    uint8_t *header;
    size_t start = writer->out.bytes;
    sombra_err err = buf_extend(&writer->out, TABLE_BLOCK_HEADER_BYTES, &header);
    if (!err)
        *out_start = start;
    return err;
}

/* The stored bytes are all that stands behind the header. */
static sombra_err block_end(struct table_writer *writer, size_t start, enum table_block_kind kind,
                            enum codec_id codec, size_t raw_bytes, struct handle *out_handle)
{
    uint8_t *header = writer->out.data + start;
    uint64_t offset = writer->written + start;
    sombra_slice stored = slice_from(buf_slice(&writer->out), start + TABLE_BLOCK_HEADER_BYTES);
    assert(raw_bytes >= 1 && raw_bytes <= TABLE_META_BYTES_MAX);
    assert(codec == CODEC_NONE ? stored.bytes == raw_bytes : stored.bytes < raw_bytes);

    put_le32(header + TABLE_BLOCK_RAW_BYTES, (uint32_t)raw_bytes);
    put_le32(header + TABLE_BLOCK_STORED_BYTES, (uint32_t)stored.bytes);
    header[TABLE_BLOCK_CODEC] = (uint8_t)codec;
    header[TABLE_BLOCK_KIND] = (uint8_t)kind;
    put_le16(header + TABLE_BLOCK_ZERO, 0);
    put_le32(header + TABLE_BLOCK_CRC, table_block_crc(header, offset, stored));
    *out_handle = (struct handle){ offset, TABLE_BLOCK_HEADER_BYTES + stored.bytes };
    return writer->out.bytes >= WRITE_BYTES ? out_write(writer) : SOMBRA_OK;
}

static sombra_err block_write(struct table_writer *writer, enum table_block_kind kind,
                              enum codec_id codec, sombra_slice raw, struct handle *out_handle)
{
    size_t start = 0;
    sombra_err err = block_begin(writer, &start);
    if (!err)
        err = codec_compress(codec, raw, &writer->out, &codec);
    if (!err)
        err = block_end(writer, start, kind, codec, raw.bytes, out_handle);
    return err;
}

/* Index and ranges grow with the table: their bound is the format's. */
static sombra_err meta_add(struct block_builder *builder, size_t shared, sombra_slice key,
                           sombra_slice value)
{
    if (block_builder_bytes(builder) > TABLE_META_BYTES_MAX - 4 * TABLE_BOUND_BYTES_MAX)
        return diag_fail(SOMBRA_LIMIT, "a table's index or ranges are full: %" PRIu32 " entries",
                         builder->entries);
    return block_builder_add(builder, shared, key, ENTRY_PUT, value);
}

/* ---- index ------------------------------------------------------------------------------- */

/* The shortest s with last <= s < next (which share `shared` bytes), or one not longer than last.
 */
static sombra_slice separator(sombra_slice last, sombra_slice next, size_t shared, uint8_t *to)
{
    const uint8_t *low = last.data;
    const uint8_t *high = next.data;
    if (shared == last.bytes)
        return last;
    assert(shared < next.bytes && low[shared] < high[shared]);
    if (next.bytes > shared + 1)
        return slice_of(high, shared + 1);
    /* The byte that differs, made greater by one, would be all of `next` unless it lies between. */
    size_t at = low[shared] + 1 < high[shared] ? shared : shared + 1;
    while (at < last.bytes && low[at] == 0xff)
        at++;
    if (at >= last.bytes)
        return last;
    memcpy(to, low, at);
    to[at] = (uint8_t)(low[at] + 1);
    return slice_of(to, at + 1);
}

static void put_handle(uint8_t *at, struct handle handle)
{
    put_le64(at + TABLE_HANDLE_OFFSET, handle.offset);
    put_le64(at + TABLE_HANDLE_SIZE, handle.bytes);
}

/* The entry of the data block that ended. */
static sombra_err index_add(struct table_writer *writer, sombra_slice key)
{
    assert(writer->ended.bytes > 0);
    uint8_t value[TABLE_INDEX_BYTES];
    put_handle(value + TABLE_INDEX_HANDLE, writer->ended);
    put_le64(value + TABLE_INDEX_ENTRIES_BEFORE, writer->entries_before);
    size_t shared = slice_common_prefix(block_builder_last(&writer->index), key);
    sombra_err err = meta_add(&writer->index, shared, key, slice_of(value, sizeof value));
    if (!err)
        writer->ended = (struct handle){ 0, 0 };
    return err;
}

static sombra_err data_block_end(struct table_writer *writer)
{
    writer->block_key_bytes = 0;
    assert(writer->ended.bytes == 0);
    sombra_slice raw;
    sombra_err err = block_builder_finish(&writer->data, &raw);
    if (!err)
        err = block_write(writer, TABLE_BLOCK_DATA, writer->options.codec, raw, &writer->ended);
    if (err)
        return err;
    writer->entries_before = writer->entries_ended;
    writer->entries_ended += writer->data.entries;
    writer->data_blocks++;
    block_builder_reset(&writer->data);
    return SOMBRA_OK;
}

/* ---- values out of line ------------------------------------------------------------------ */

static sombra_err large_write(struct table_writer *writer, sombra_slice value)
{
    sombra_err err = SOMBRA_OK;
    struct handle handle;
    for (size_t at = 0; !err && at < value.bytes; at += TABLE_VALUE_PIECE) {
        sombra_slice rest = slice_from(value, at);
        rest.bytes = size_min(rest.bytes, TABLE_VALUE_PIECE);
        err = block_write(writer, TABLE_BLOCK_VALUE, writer->options.codec, rest, &handle);
        writer->value_blocks++;
    }
    return err;
}

struct copy {
    struct table_writer *writer;
    uint64_t value_bytes;
};

static sombra_err piece_copy(void *context, const struct table_piece *piece)
{
    struct copy *copy = context;
    struct table_writer *writer = copy->writer;
    size_t start = 0;
    struct handle handle;
    sombra_err err = block_begin(writer, &start);
    if (!err)
        err = buf_append_slice(&writer->out, piece->stored);
    if (!err)
        err = block_end(writer, start, TABLE_BLOCK_VALUE, piece->codec, piece->raw_bytes, &handle);
    if (err)
        return err;
    copy->value_bytes += piece->raw_bytes;
    writer->value_blocks++;
    return SOMBRA_OK;
}

/* Writes or copies the value's blocks; *out_bytes := of the value. */
static sombra_err large_add(struct table_writer *writer, const struct lsm_entry *entry,
                            uint8_t reference[TABLE_LARGE_BYTES], uint64_t *out_bytes)
{
    uint64_t offset = position(writer);
    struct copy copy = { writer, entry->value.bytes };
    sombra_err err;
    if (entry->kind == ENTRY_LARGE) {
        assert(entry->table);
        copy.value_bytes = 0;
        err = table_copy_large(entry->table, entry->value, piece_copy, &copy);
    } else {
        err = large_write(writer, entry->value);
    }
    if (err)
        return err;
    put_le64(reference + TABLE_LARGE_OFFSET, offset);
    put_le64(reference + TABLE_LARGE_VALUE_BYTES, copy.value_bytes);
    put_le64(reference + TABLE_LARGE_STORED, position(writer) - offset);
    writer->large++;
    *out_bytes = copy.value_bytes;
    return SOMBRA_OK;
}

/* ---- add --------------------------------------------------------------------------------- */

static sombra_err filters_add(struct table_writer *writer, size_t shared, sombra_slice key)
{
    if (!has_filter(writer))
        return SOMBRA_OK;
    sombra_err err = filter_builder_add(&writer->keys, filter_hash(key));
    if (err || !has_prefix_filter(writer))
        return err;
    size_t prefix_bytes = writer->options.prefix.bytes(key);
    assert(prefix_bytes <= key.bytes);
    /* Keys of one prefix stand together. */
    bool is_new = prefix_bytes != writer->last_prefix_bytes || shared < prefix_bytes;
    if (prefix_bytes > 0 && is_new)
        err = filter_builder_add(&writer->prefixes, filter_hash(slice_of(key.data, prefix_bytes)));
    writer->last_prefix_bytes = prefix_bytes;
    return err;
}

static sombra_err entry_add(struct table_writer *writer, const struct lsm_entry *entry,
                            size_t shared)
{
    uint8_t reference[TABLE_LARGE_BYTES];
    sombra_slice value = entry->value;
    uint64_t value_bytes = value.bytes;
    enum entry_kind kind = entry->kind;
    if (kind == ENTRY_LARGE || (kind == ENTRY_PUT && value.bytes > writer->inline_bytes)) {
        sombra_err err = large_add(writer, entry, reference, &value_bytes);
        if (err)
            return err;
        kind = ENTRY_LARGE;
        value = slice_of(reference, sizeof reference);
    }
    assert(kind != ENTRY_DELETE || value.bytes == 0);
    sombra_err err = block_builder_add(&writer->data, shared, entry->key, kind, value);
    if (err)
        return err;
    writer->entries++;
    writer->block_key_bytes += entry->key.bytes;
    writer->deletes += kind == ENTRY_DELETE;
    writer->key_bytes += entry->key.bytes;
    writer->value_bytes += value_bytes;
    return SOMBRA_OK;
}

static sombra_err add(struct table_writer *writer, const struct lsm_entry *entry)
{
    sombra_slice key = entry->key;
    if (key.bytes > KV_KEY_BYTES_MAX)
        return diag_fail(SOMBRA_CORRUPT, "a key of %zu bytes", key.bytes);
    /* Entries may come from a table whose bytes are sound but senseless: an order that is wrong
     * must not be copied. */
    ptrdiff_t common = block_builder_shared(&writer->data, key);
    if (common < 0)
        return diag_fail(SOMBRA_CORRUPT, "keys do not ascend behind entry %" PRIu64,
                         writer->entries);
    size_t shared = (size_t)common;
    sombra_err err = SOMBRA_OK;
    if (writer->ended.bytes > 0) {
        uint8_t room[KV_KEY_BYTES_MAX];
        err = index_add(writer, separator(block_builder_last(&writer->data), key, shared, room));
    }
    if (!err && writer->entries == 0)
        err = buf_set(&writer->low, key);
    if (!err)
        err = filters_add(writer, shared, key);
    if (!err)
        err = entry_add(writer, entry, shared);
    if (!err && (block_builder_bytes(&writer->data) >= writer->options.block_bytes ||
                 writer->block_key_bytes > TABLE_DATA_KEYS_MAX - KV_KEY_BYTES_MAX))
        err = data_block_end(writer);
    return err;
}

static sombra_err outcome(struct table_writer *writer, sombra_err err)
{
    if (LIKELY(!err))
        return SOMBRA_OK;
    writer->is_failed = true;
    return diag_wrap(err, "write table %06" PRIu64, writer->number);
}

sombra_err table_writer_add(struct table_writer *writer, const struct lsm_entry *entry)
{
    assert(!writer->is_failed && !writer->is_finished);
    return outcome(writer, add(writer, entry));
}

/* ---- ranges ------------------------------------------------------------------------------ */

static sombra_err range_flush(struct table_writer *writer)
{
    if (!writer->has_range)
        return SOMBRA_OK;
    sombra_slice low = buf_slice(&writer->range_low);
    size_t shared = slice_common_prefix(block_builder_last(&writer->ranges), low);
    sombra_err err = meta_add(&writer->ranges, shared, low, buf_slice(&writer->range_high));
    if (!err)
        writer->range_count++;
    return err;
}

static sombra_err hide(struct table_writer *writer, sombra_slice low, sombra_slice high)
{
    if (low.bytes > TABLE_BOUND_BYTES_MAX || high.bytes > TABLE_BOUND_BYTES_MAX ||
        slice_compare(low, high) >= 0)
        return diag_fail(SOMBRA_CORRUPT, "a hidden range with bounds of %zu and %zu bytes",
                         low.bytes, high.bytes);
    int order = writer->has_range ? slice_compare(buf_slice(&writer->range_high), low) : -1;
    if (order > 0)
        return diag_fail(SOMBRA_CORRUPT, "hidden ranges overlap");
    sombra_err err = SOMBRA_OK;
    if (order < 0) {
        err = range_flush(writer);
        if (!err)
            err = buf_set(&writer->range_low, low);
    }
    if (!err && !writer->has_range)
        err = buf_set(&writer->ranges_low, low);
    if (!err)
        err = buf_set(&writer->range_high, high);
    if (!err)
        writer->has_range = true;
    return err;
}

sombra_err table_writer_hide(struct table_writer *writer, sombra_slice low, sombra_slice high)
{
    assert(!writer->is_failed && !writer->is_finished);
    return outcome(writer, hide(writer, low, high));
}

/* ---- finish ------------------------------------------------------------------------------ */

static sombra_err ranges_write(struct table_writer *writer)
{
    sombra_err err = range_flush(writer);
    if (err || writer->range_count == 0)
        return err;
    sombra_slice raw;
    err = block_builder_finish(&writer->ranges, &raw);
    if (!err)
        err = block_write(writer, TABLE_BLOCK_RANGES, CODEC_NONE, raw, &writer->ranges_handle);
    return err;
}

static sombra_err filter_write(struct table_writer *writer, const struct filter_builder *builder,
                               enum table_block_kind kind, struct handle *out_handle)
{
    if (builder->count == 0)
        return SOMBRA_OK;
    unsigned bits = writer->options.filter_bits;
    size_t start = 0, bytes = filter_builder_bytes(builder, bits);
    uint8_t *at = NULL;
    sombra_err err = block_begin(writer, &start);
    if (!err)
        err = buf_extend(&writer->out, bytes, &at);
    if (err)
        return err;
    filter_builder_finish(builder, bits, at);
    return block_end(writer, start, kind, CODEC_NONE, bytes, out_handle);
}

static sombra_err index_write(struct table_writer *writer)
{
    if (writer->entries == 0)
        return SOMBRA_OK;
    sombra_err err = index_add(writer, block_builder_last(&writer->data));
    sombra_slice raw;
    if (!err)
        err = block_builder_finish(&writer->index, &raw);
    if (!err)
        err = block_write(writer, TABLE_BLOCK_INDEX, CODEC_NONE, raw, &writer->index_handle);
    return err;
}

/* low and end, over keys and ranges. */
static sombra_err bounds_set(struct table_writer *writer)
{
    sombra_err err = SOMBRA_OK;
    if (writer->entries > 0) {
        err = buf_set(&writer->end, block_builder_last(&writer->data));
        if (!err)
            err = buf_append_u8(&writer->end, 0);
    }
    if (err || !writer->has_range)
        return err;
    sombra_slice low = buf_slice(&writer->ranges_low);
    sombra_slice high = buf_slice(&writer->range_high);
    if (writer->entries == 0 || slice_compare(low, buf_slice(&writer->low)) < 0)
        err = buf_set(&writer->low, low);
    if (!err && slice_compare(high, buf_slice(&writer->end)) > 0)
        err = buf_set(&writer->end, high);
    return err;
}

static void properties_put(const struct table_writer *writer, uint64_t seq_max, uint8_t *at)
{
    memset(at, 0, TABLE_PROPERTY_FIXED_BYTES);
    put_le64(at + TABLE_PROPERTY_NUMBER, writer->number);
    put_le64(at + TABLE_PROPERTY_ENTRIES, writer->entries);
    put_le64(at + TABLE_PROPERTY_DELETES, writer->deletes);
    put_le64(at + TABLE_PROPERTY_LARGE, writer->large);
    put_le64(at + TABLE_PROPERTY_RANGES, writer->range_count);
    put_le64(at + TABLE_PROPERTY_SEQ_MAX, seq_max);
    put_le64(at + TABLE_PROPERTY_KEY_BYTES, writer->key_bytes);
    put_le64(at + TABLE_PROPERTY_VALUE_BYTES, writer->value_bytes);
    put_le64(at + TABLE_PROPERTY_DATA_BLOCKS, writer->data_blocks);
    put_le64(at + TABLE_PROPERTY_VALUE_BLOCKS, writer->value_blocks);
    put_le64(at + TABLE_PROPERTY_BODY_BYTES, writer->body_bytes);
    put_handle(at + TABLE_PROPERTY_RANGES_HANDLE, writer->ranges_handle);
    put_handle(at + TABLE_PROPERTY_FILTER_HANDLE, writer->filter_handle);
    put_handle(at + TABLE_PROPERTY_PREFIX_HANDLE, writer->prefix_handle);
    put_le32(at + TABLE_PROPERTY_BLOCK_BYTES, (uint32_t)writer->options.block_bytes);
    put_le32(at + TABLE_PROPERTY_FILTER_BITS, writer->options.filter_bits);
    put_le32(at + TABLE_PROPERTY_CODEC, (uint32_t)writer->options.codec);
}

static sombra_err properties_write(struct table_writer *writer, uint64_t seq_max)
{
    const struct lsm_prefix *prefix = &writer->options.prefix;
    const sombra_slice texts[] = { buf_slice(&writer->low), buf_slice(&writer->end),
                                   slice_str(prefix->bytes ? prefix->name : "") };
    struct buf *out = &writer->out;
    size_t start = 0;
    uint8_t *fixed = NULL;
    sombra_err err = block_begin(writer, &start);
    if (!err)
        err = buf_extend(out, TABLE_PROPERTY_FIXED_BYTES, &fixed);
    if (!err)
        properties_put(writer, seq_max, fixed);
    for (size_t i = 0; !err && i < COUNT_OF(texts); i++) {
        err = buf_append_varint(out, texts[i].bytes);
        if (!err)
            err = buf_append_slice(out, texts[i]);
    }
    if (err)
        return err;
    size_t raw_bytes = out->bytes - start - TABLE_BLOCK_HEADER_BYTES;
    assert(raw_bytes <= TABLE_PROPERTIES_MAX);
    return block_end(writer, start, TABLE_BLOCK_PROPERTIES, CODEC_NONE, raw_bytes,
                     &writer->properties_handle);
}

static sombra_err footer_write(struct table_writer *writer)
{
    uint8_t *at = NULL;
    sombra_err err = buf_extend(&writer->out, TABLE_FOOTER_BYTES, &at);
    if (err)
        return err;
    memset(at, 0, TABLE_FOOTER_BYTES);
    memcpy(at + TABLE_FOOTER_MAGIC, TABLE_MAGIC, TABLE_MAGIC_BYTES);
    put_le32(at + TABLE_FOOTER_VERSION, TABLE_VERSION);
    put_le64(at + TABLE_FOOTER_NUMBER, writer->number);
    put_handle(at + TABLE_FOOTER_INDEX, writer->index_handle);
    put_handle(at + TABLE_FOOTER_PROPERTIES, writer->properties_handle);
    put_le32(at + TABLE_FOOTER_CRC, crc32_update(0, at, TABLE_FOOTER_CRC));
    return out_write(writer);
}

static sombra_err finish(struct table_writer *writer, uint64_t seq_max)
{
    if (writer->entries == 0 && !writer->has_range)
        return diag_fail(SOMBRA_INVALID, "it is empty");
    sombra_err err = SOMBRA_OK;
    if (writer->data.entries > 0)
        err = data_block_end(writer);
    writer->body_bytes = position(writer);
    if (!err)
        err = ranges_write(writer);
    if (!err)
        err = filter_write(writer, &writer->keys, TABLE_BLOCK_FILTER, &writer->filter_handle);
    if (!err)
        err = filter_write(writer, &writer->prefixes, TABLE_BLOCK_PREFIX_FILTER,
                           &writer->prefix_handle);
    if (!err)
        err = index_write(writer);
    if (!err)
        err = bounds_set(writer);
    if (!err)
        err = properties_write(writer, seq_max);
    if (!err)
        err = footer_write(writer);
    if (!err)
        err = os_sync(writer->file);
    return err;
}

sombra_err table_writer_finish(struct table_writer *writer, uint64_t seq_max,
                               struct table_meta *out_meta)
{
    assert(!writer->is_failed && !writer->is_finished);
    sombra_err err = outcome(writer, finish(writer, seq_max));
    if (err)
        return err;
    writer->is_finished = true;
    *out_meta = (struct table_meta){
        .number = writer->number,
        .file_bytes = writer->written,
        .entries = writer->entries,
        .deletes = writer->deletes,
        .range_count = writer->range_count,
        .seq_max = seq_max,
        .low = buf_slice(&writer->low),
        .end = buf_slice(&writer->end),
    };
    return SOMBRA_OK;
}
