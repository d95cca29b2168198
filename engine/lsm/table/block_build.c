/* SPDX-License-Identifier: MIT */
#include "block_build.h"

enum { PLACES_MIN = 64, ENTRY_HEADER_MAX = 3 * VARINT_BYTES_MAX };

void block_builder_init(struct block_builder *builder, uint32_t interval)
{
    assert(interval >= 1);
    *builder = (struct block_builder){ .bytes = BUF_INIT, .interval = interval };
}

void block_builder_release(struct block_builder *builder)
{
    buf_release(&builder->bytes);
    mem_free(builder->places);
    block_builder_init(builder, builder->interval);
}

void block_builder_reset(struct block_builder *builder)
{
    buf_reset(&builder->bytes);
    builder->restarts = builder->entries = 0;
}

static sombra_err restart_add(struct block_builder *builder)
{
    if (builder->restarts == builder->places_capacity) {
        size_t capacity = size_max(builder->places_capacity * 2, PLACES_MIN);
        uint32_t *places = mem_realloc(builder->places, capacity * sizeof *places);
        if (!places)
            return diag_nomem("a block's restarts", capacity * sizeof *places);
        builder->places = places;
        builder->places_capacity = capacity;
    }
    builder->places[builder->restarts++] = (uint32_t)builder->bytes.bytes;
    return SOMBRA_OK;
}

sombra_err block_builder_add(struct block_builder *builder, size_t shared, sombra_slice key,
                             enum entry_kind kind, sombra_slice value)
{
    assert(shared <= key.bytes && shared <= builder->last_bytes);
    assert(key.bytes <= sizeof builder->last);
    assert(builder->bytes.bytes <= TABLE_META_BYTES_MAX);

    const uint8_t *key_data = key.data;
    size_t unshared = key.bytes - shared;
    sombra_err err = buf_reserve(&builder->bytes, ENTRY_HEADER_MAX + key.bytes + value.bytes);
    if (err)
        return err;
    size_t stored_from = shared;
    if (builder->entries % builder->interval == 0) {
        err = restart_add(builder);
        if (err)
            return err;
        stored_from = 0;
    }
    uint8_t *at = builder->bytes.data + builder->bytes.bytes;
    at = varint_put(at, stored_from);
    at = varint_put(at, key.bytes - stored_from);
    at = varint_put(at, (uint64_t)value.bytes << 2 | (uint64_t)kind);
    if (key.bytes > stored_from)
        memcpy(at, key_data + stored_from, key.bytes - stored_from);
    at += key.bytes - stored_from;
    if (value.bytes > 0)
        memcpy(at, value.data, value.bytes);
    builder->bytes.bytes = (size_t)(at - builder->bytes.data) + value.bytes;
    builder->entries++;
    if (unshared > 0)
        memcpy(builder->last + shared, key_data + shared, unshared);
    builder->last_bytes = key.bytes;
    return SOMBRA_OK;
}

static size_t tail_bytes(const struct block_builder *builder)
{
    return (size_t)builder->restarts * (TABLE_HEAD_BYTES + TABLE_PLACE_BYTES) + TABLE_TRAILER_BYTES;
}

size_t block_builder_bytes(const struct block_builder *builder)
{
    return builder->bytes.bytes + tail_bytes(builder);
}

/* The key of a restart, which stands in full. */
static sombra_slice restart_key(const struct block_builder *builder, uint32_t restart)
{
    assert(restart < builder->restarts);
    const uint8_t *at = builder->bytes.data + builder->places[restart];
    const uint8_t *end = builder->bytes.data + builder->bytes.bytes;
    uint64_t shared = 0, unshared = 0, packed = 0;
    at = varint_get(at, end, &shared);
    at = varint_get(at, end, &unshared);
    at = varint_get(at, end, &packed);
    assert(shared == 0 && at != NULL);
    return slice_of(at, (size_t)unshared);
}

sombra_err block_builder_finish(struct block_builder *builder, sombra_slice *out_block)
{
    assert(builder->entries > 0 && builder->restarts > 0);
    size_t bytes = tail_bytes(builder);
    sombra_err err = buf_reserve(&builder->bytes, bytes);
    if (err)
        return err;

    size_t prefix = slice_common_prefix(restart_key(builder, 0), block_builder_last(builder));
    uint8_t *heads = builder->bytes.data + builder->bytes.bytes;
    uint8_t *places = heads + (size_t)builder->restarts * TABLE_HEAD_BYTES;
    uint8_t *trailer = places + (size_t)builder->restarts * TABLE_PLACE_BYTES;
    memset(heads, 0, (size_t)(places - heads));
    for (uint32_t i = 0; i < builder->restarts; i++) {
        sombra_slice behind = slice_from(restart_key(builder, i), prefix);
        memcpy(heads + (size_t)i * TABLE_HEAD_BYTES, behind.data,
               size_min(behind.bytes, TABLE_HEAD_BYTES));
        put_le32(places + (size_t)i * TABLE_PLACE_BYTES, builder->places[i]);
    }
    put_le32(trailer + TABLE_TRAILER_RESTARTS, builder->restarts);
    put_le32(trailer + TABLE_TRAILER_ENTRIES, builder->entries);
    put_le32(trailer + TABLE_TRAILER_PREFIX_BYTES, (uint32_t)prefix);
    builder->bytes.bytes += bytes;
    *out_block = buf_slice(&builder->bytes);
    return SOMBRA_OK;
}
