/* SPDX-License-Identifier: MIT */
/* Reads what is left of a damaged table. Blocks stand back to back, and a block's checksum covers
 * its place in the file, so that after damage the next block is found by looking at every byte:
 * what looks like a header is believed when its checksum holds.
 *
 * A file made to look like headers everywhere would cost a checksum of megabytes for each of its
 * bytes: the bytes summed in vain are bounded, and what is then left is counted as lost. */
#include "table_read.h"

enum { CHUNK_BYTES = 1 << 20, VAIN_FACTOR = 64 };

struct salvage {
    struct table_context context;
    struct os_file *file;
    uint64_t bytes; /* of the file */
    sombra_err (*each)(void *context, const struct lsm_entry *entry, sombra_slice large_value);
    void *each_context;
    struct buf chunk; /* what stands from chunk_offset on */
    uint64_t chunk_offset;
    struct buf stored, large;
    uint64_t vain_left;
    uint64_t blocks_lost;
};

/* Damage is passed over; what stops the walk is memory, and errors of `each`. */
static bool is_damage(sombra_err err)
{
    return err == SOMBRA_CORRUPT || err == SOMBRA_IO || err == SOMBRA_UNSUPPORTED;
}

/* The bytes of a header at `offset`; *out_header is NULL where they cannot be read. */
static sombra_err header_read(struct salvage *salvage, uint64_t offset, const uint8_t **out_header)
{
    struct buf *chunk = &salvage->chunk;
    assert(offset + TABLE_BLOCK_HEADER_BYTES <= salvage->bytes);
    if (offset < salvage->chunk_offset ||
        offset + TABLE_BLOCK_HEADER_BYTES > salvage->chunk_offset + chunk->bytes) {
        uint8_t *to;
        size_t bytes = (size_t)u64_min(CHUNK_BYTES, salvage->bytes - offset);
        buf_reset(chunk);
        sombra_err err = buf_extend(chunk, bytes, &to);
        if (err)
            return err;
        salvage->chunk_offset = offset;
        err = os_read(salvage->file, offset, to, bytes);
        if (is_damage(err)) /* part of the chunk may be readable */
            err = os_read(salvage->file, offset, to, bytes = TABLE_BLOCK_HEADER_BYTES);
        chunk->bytes = err ? 0 : bytes;
        if (err && !is_damage(err))
            return err;
    }
    *out_header = chunk->bytes ? chunk->data + (offset - salvage->chunk_offset) : NULL;
    return SOMBRA_OK;
}

/* A whole block at `offset` with a checksum that holds, in salvage->stored; *out_is_sound false if
 * none is there. */
static sombra_err block_read(struct salvage *salvage, uint64_t offset,
                             struct table_block_header *out_header, bool *out_is_sound)
{
    const uint8_t *header = NULL;
    uint8_t *to;
    *out_is_sound = false;
    sombra_err err = header_read(salvage, offset, &header);
    if (err || !header)
        return err;
    err = table_header_check(salvage->file, offset, salvage->bytes - offset, header, out_header);
    if (err)
        return SOMBRA_OK;
    size_t bytes = (size_t)TABLE_BLOCK_HEADER_BYTES + out_header->stored_bytes;
    if (bytes > salvage->vain_left)
        return SOMBRA_OK;
    buf_reset(&salvage->stored);
    err = buf_extend(&salvage->stored, bytes, &to);
    if (!err)
        err = os_read(salvage->file, offset, to, bytes);
    if (!err)
        err = table_block_check(salvage->file, offset, buf_slice(&salvage->stored),
                                (enum table_block_kind)out_header->kind, out_header);
    if (err && !is_damage(err))
        return err;
    *out_is_sound = !err;
    if (err)
        salvage->vain_left -= bytes;
    return SOMBRA_OK;
}

static sombra_err give_large(struct salvage *salvage, const struct lsm_entry *entry)
{
    struct table_large large = { 0 };
    buf_reset(&salvage->large);
    sombra_err err = table_large_parse(salvage->file, salvage->bytes, entry->value, &large);
    if (!err)
        err = table_large_walk(salvage->file, &large, table_large_append, &salvage->large);
    if (is_damage(err)) { /* the walk over blocks counts the damaged one */
        return SOMBRA_OK;
    }
    return err ? err : salvage->each(salvage->each_context, entry, buf_slice(&salvage->large));
}

static sombra_err give_entries(struct salvage *salvage, const struct rows *rows)
{
    sombra_err err = SOMBRA_OK;
    for (uint32_t i = 0; i < rows->count && !err; i++) {
        struct lsm_entry entry = { .table = NULL };
        rows_entry(rows, i, &entry);
        err = entry.kind == ENTRY_LARGE
                  ? give_large(salvage, &entry)
                  : salvage->each(salvage->each_context, &entry, slice_of(NULL, 0));
    }
    return err;
}

static sombra_err give_block(struct salvage *salvage, uint64_t offset)
{
    struct cache_block *bytes = NULL;
    struct rows rows;
    sombra_err err = table_data_open(salvage->file, salvage->context.cache, offset,
                                     buf_slice(&salvage->stored), 0, &bytes);
    if (is_damage(err)) {
        salvage->blocks_lost++;
        return SOMBRA_OK;
    }
    if (err)
        return err;
    rows_open(&rows, bytes->data);
    err = give_entries(salvage, &rows);
    cache_release(salvage->context.cache, bytes);
    return err;
}

/* True where the file ends as a table does. */
static bool is_footer(struct salvage *salvage, uint64_t offset)
{
    uint8_t footer[TABLE_FOOTER_BYTES];
    return salvage->bytes - offset == TABLE_FOOTER_BYTES &&
           !os_read(salvage->file, offset, footer, sizeof footer) &&
           memcmp(footer, TABLE_MAGIC, TABLE_MAGIC_BYTES) == 0;
}

static sombra_err walk(struct salvage *salvage)
{
    uint64_t offset = 0;
    bool is_lost = false; /* within damage that was counted */
    while (salvage->bytes - offset >= TABLE_BLOCK_HEADER_BYTES && !is_footer(salvage, offset)) {
        struct table_block_header header = { 0 };
        bool is_sound;
        sombra_err err = block_read(salvage, offset, &header, &is_sound);
        if (!err && is_sound && header.kind == TABLE_BLOCK_DATA)
            err = give_block(salvage, offset);
        if (err)
            return err;
        if (!is_sound && !is_lost)
            salvage->blocks_lost++;
        is_lost = !is_sound;
        offset += is_sound ? (uint64_t)TABLE_BLOCK_HEADER_BYTES + header.stored_bytes : 1;
    }
    return SOMBRA_OK;
}

sombra_err table_salvage(const struct table_context *context, const char *path,
                         sombra_err (*each)(void *context, const struct lsm_entry *entry,
                                            sombra_slice large_value),
                         void *each_context, uint64_t *out_blocks_lost)
{
    struct salvage salvage = {
        .context = *context,
        .each = each,
        .each_context = each_context,
        .chunk = BUF_INIT,
        .stored = BUF_INIT,
        .large = BUF_INIT,
    };
    sombra_err err = os_open(context->os, path, OS_READ, 0, &salvage.file);
    if (!err)
        err = os_size(salvage.file, &salvage.bytes);
    salvage.vain_left = salvage.bytes > UINT64_MAX / (2 * VAIN_FACTOR)
                            ? UINT64_MAX
                            : VAIN_FACTOR * salvage.bytes + TABLE_DATA_BYTES_MAX;
    if (!err)
        err = walk(&salvage);
    os_close(salvage.file);
    buf_release(&salvage.chunk);
    buf_release(&salvage.stored);
    buf_release(&salvage.large);
    if (err)
        return err;
    *out_blocks_lost = salvage.blocks_lost;
    return SOMBRA_OK;
}
