/* SPDX-License-Identifier: MIT */
#include "table_bytes.h"

#include "lsm/table/filter.h"

/* ---- what is written ---------------------------------------------------------------------- */

static void model_add(struct model *model, sombra_slice key, sombra_slice value,
                      enum entry_kind kind)
{
    if (model->count == model->capacity) {
        model->capacity = size_max(64, model->capacity * 2);
        model->entries = realloc(model->entries, model->capacity * sizeof *model->entries);
        assert_non_null(model->entries);
    }
    model->entries[model->count++] = (struct lsm_entry){ .key = arena_copy(&model->arena, key),
                                                         .value = arena_copy(&model->arena, value),
                                                         .kind = kind };
}

void model_release(struct model *model)
{
    free(model->entries);
    arena_release(&model->arena);
}

void model_fill(struct model *model, size_t count, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    uint64_t number = 0;
    uint8_t key[KV_KEY_BYTES_MAX], *value = malloc(3 * MiB);
    for (size_t i = 0; i < 3 * MiB; i++)
        value[i] = (uint8_t)(i % 97 ? i / 1000 : random_u64(&random));
    for (size_t i = 0; i < count; i++) {
        number += 1 + random_below(&random, 1000);
        size_t key_bytes = 12;
        memcpy(key, "pre\xff", 4);
        put_be64(key + 4, number << 24); /* several keys of a prefix */
        if (random_below(&random, 20) == 0) {
            memset(key + 12, 0xff, sizeof key - 12);
            key_bytes += random_below(&random, sizeof key - 12 + 1);
        }
        uint64_t length = random_below(&random, 100);
        if (random_below(&random, 50) == 0)
            length = random_below(&random, 5000);
        if (i % 1000 == 500)
            length = (i / 1000 + 1) * MiB; /* whole pieces */
        bool is_delete = random_below(&random, 7) == 0;
        model_add(model, slice_of(key, key_bytes), slice_of(value, is_delete ? 0 : length),
                  is_delete ? ENTRY_DELETE : ENTRY_PUT);
    }
    free(value);
}

static void load(struct os *os, const char *path, struct buf *out)
{
    struct os_file *file = open_file(os, path, OS_READ);
    uint8_t *at;
    buf_reset(out);
    assert_ok(buf_extend(out, size_of(file), &at));
    assert_ok(os_read(file, 0, at, out->bytes));
    os_close(file);
}

/* ---- reading by hand ---------------------------------------------------------------------- */

struct block block_at(const struct buf *file, uint64_t offset)
{
    struct block block = { .offset = offset, .raw = BUF_INIT };
    assert_true(offset + 16 <= file->bytes);
    const uint8_t *header = file->data + offset;
    uint32_t raw_bytes = get_le32(header), stored_bytes = get_le32(header + 4);
    block.codec = header[8];
    block.kind = header[9];
    assert_int_equal(get_le16(header + 10), 0);
    block.next = offset + 16 + stored_bytes;
    assert_true(block.next <= file->bytes);
    block.stored = slice_of(header + 16, stored_bytes);

    uint8_t place[8];
    put_le64(place, offset);
    uint32_t crc = crc32_update(crc32_update(0, header, 12), place, 8);
    assert_int_equal(get_le32(header + 12), crc32_update(crc, block.stored.data, stored_bytes));

    assert_true(block.codec == CODEC_NONE ? stored_bytes == raw_bytes : stored_bytes < raw_bytes);
    if (codec_is_there(block.codec)) {
        uint8_t *at;
        assert_ok(buf_extend(&block.raw, raw_bytes, &at));
        assert_ok(codec_decompress(block.codec, block.stored, at, raw_bytes));
    }
    return block;
}

sombra_slice key_of(const struct parsed_entry *entry)
{
    return slice_of(entry->key, entry->key_bytes);
}

static uint64_t varint_at(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    *at = varint_get(*at, end, &value);
    assert_non_null(*at);
    return value;
}

struct parsed_entry *entries_of(sombra_slice raw, uint32_t interval, uint32_t *out_count)
{
    const uint8_t *data = raw.data, *trailer = data + raw.bytes - 12;
    uint32_t restarts = get_le32(trailer), count = get_le32(trailer + 4);
    uint32_t prefix = get_le32(trailer + 8);
    const uint8_t *places = trailer - 4 * (size_t)restarts;
    const uint8_t *heads = places - 8 * (size_t)restarts, *at = data;
    assert_true(count > 0);
    assert_int_equal(restarts, (count + interval - 1) / interval);
    struct parsed_entry *entries = calloc(count, sizeof *entries);
    assert_non_null(entries);
    for (uint32_t i = 0; i < count; i++) {
        struct parsed_entry *entry = &entries[i];
        size_t place = (size_t)(at - data);
        uint64_t shared = varint_at(&at, heads), unshared = varint_at(&at, heads);
        uint64_t packed = varint_at(&at, heads);
        assert_true(shared + unshared <= sizeof entry->key);
        if (i % interval == 0) {
            assert_int_equal(shared, 0);
            assert_int_equal(get_le32(places + 4 * (size_t)(i / interval)), place);
        } else {
            memcpy(entry->key, entries[i - 1].key, shared);
        }
        assert_true((size_t)(heads - at) >= unshared + (packed >> 2));
        memcpy(entry->key + shared, at, unshared);
        entry->key_bytes = shared + unshared;
        entry->kind = packed & 3;
        entry->value = slice_of(at + unshared, packed >> 2);
        at += unshared + (packed >> 2);
        if (i > 0)
            assert_true(slice_compare(key_of(&entries[i - 1]), key_of(entry)) < 0);
    }
    assert_ptr_equal(at, heads);
    assert_int_equal(prefix, slice_common_prefix(key_of(&entries[0]), key_of(&entries[count - 1])));
    for (uint32_t i = 0; i < restarts; i++) {
        uint8_t head[8] = { 0 };
        sombra_slice behind = slice_from(key_of(&entries[i * interval]), prefix);
        memcpy(head, behind.data, size_min(8, behind.bytes));
        assert_memory_equal(heads + 8 * (size_t)i, head, 8);
    }
    *out_count = count;
    return entries;
}

static struct block block_of_handle(const struct buf *file, const uint8_t *handle, unsigned kind)
{
    uint64_t offset = get_le64(handle), bytes = get_le64(handle + 8);
    if (bytes == 0) {
        assert_int_equal(offset, 0);
        return (struct block){ .raw = BUF_INIT };
    }
    struct block block = block_at(file, offset);
    assert_int_equal(block.next, offset + bytes);
    assert_int_equal(block.kind, kind);
    assert_int_equal(block.codec, CODEC_NONE);
    return block;
}

static sombra_slice text_at(const uint8_t **at, const uint8_t *end)
{
    uint64_t bytes = varint_at(at, end);
    sombra_slice text = slice_of(*at, bytes);
    assert_true((size_t)(end - *at) >= bytes);
    *at += bytes;
    return text;
}

struct parsed parse(struct os *os, const char *path)
{
    struct parsed parsed = { .file = BUF_INIT };
    load(os, path, &parsed.file);
    assert_true(parsed.file.bytes > 64);
    const uint8_t *footer = parsed.footer = parsed.file.data + parsed.file.bytes - 64;
    assert_memory_equal(footer, "sombsst\n\1\0\0\0\0\0\0\0", 16);
    assert_int_equal(get_le32(footer + 56), 0);
    assert_int_equal(get_le32(footer + 60), crc32_update(0, footer, 60));
    parsed.index = block_of_handle(&parsed.file, footer + 24, TABLE_BLOCK_INDEX);
    parsed.properties = block_of_handle(&parsed.file, footer + 40, TABLE_BLOCK_PROPERTIES);
    assert_int_equal(parsed.properties.next, parsed.file.bytes - 64);

    const uint8_t *fields = parsed.properties.raw.data;
    const uint8_t *at = fields + 152, *end = fields + parsed.properties.raw.bytes;
    assert_true(get_le64(fields) == get_le64(footer + 16));
    parsed.ranges = block_of_handle(&parsed.file, fields + 88, TABLE_BLOCK_RANGES);
    parsed.filter = block_of_handle(&parsed.file, fields + 104, TABLE_BLOCK_FILTER);
    parsed.prefix_filter = block_of_handle(&parsed.file, fields + 120, TABLE_BLOCK_PREFIX_FILTER);
    parsed.low = text_at(&at, end);
    parsed.end = text_at(&at, end);
    parsed.prefix_name = text_at(&at, end);
    assert_ptr_equal(at, end);
    return parsed;
}

void parsed_release(struct parsed *parsed)
{
    buf_release(&parsed->properties.raw);
    buf_release(&parsed->index.raw);
    buf_release(&parsed->filter.raw);
    buf_release(&parsed->prefix_filter.raw);
    buf_release(&parsed->ranges.raw);
    buf_release(&parsed->file);
}

uint64_t property(const struct parsed *parsed, size_t offset)
{
    return get_le64(parsed->properties.raw.data + offset);
}

/* ---- comparing ---------------------------------------------------------------------------- */

/* The value that a reference names, from the blocks before `offset`; *at_value moves behind them.
 */
static void check_large(const struct buf *file, sombra_slice reference, sombra_slice want,
                        uint64_t *at_value)
{
    const uint8_t *fields = reference.data;
    assert_int_equal(reference.bytes, 24);
    uint64_t first = get_le64(fields), offset = first;
    assert_true(first >= *at_value);
    assert_int_equal(get_le64(fields + 8), want.bytes);
    for (size_t at = 0; at < want.bytes; at += MiB) {
        struct block block = block_at(file, offset);
        assert_int_equal(block.kind, TABLE_BLOCK_VALUE);
        assert_int_equal(block.raw.bytes, size_min(MiB, want.bytes - at));
        assert_memory_equal(block.raw.data, (const uint8_t *)want.data + at, block.raw.bytes);
        offset = block.next;
        buf_release(&block.raw);
    }
    assert_int_equal(get_le64(fields + 16), offset - first);
    *at_value = offset;
}

struct walk check_body(const struct parsed *parsed, const struct model *model, size_t inline_bytes)
{
    struct walk walk = { 0 };
    uint32_t index_count = 0;
    uint64_t at_value = 0, offset = 0, entry = 0;
    struct parsed_entry *index = entries_of(buf_slice(&parsed->index.raw), 1, &index_count);
    while (offset < property(parsed, TABLE_PROPERTY_BODY_BYTES)) {
        struct block block = block_at(&parsed->file, offset);
        uint32_t count = 0;
        offset = block.next;
        if (block.kind == TABLE_BLOCK_VALUE) {
            walk.value_blocks++;
            buf_release(&block.raw);
            continue;
        }
        assert_int_equal(block.kind, TABLE_BLOCK_DATA);
        struct parsed_entry *entries = entries_of(buf_slice(&block.raw), 16, &count);
        const struct parsed_entry *in_index = &index[walk.data_blocks];
        const uint8_t *handle = in_index->value.data;
        assert_int_equal(in_index->kind, ENTRY_PUT);
        assert_int_equal(in_index->value.bytes, 24);
        assert_int_equal(get_le64(handle), block.offset);
        assert_int_equal(get_le64(handle + 8), block.next - block.offset);
        assert_int_equal(get_le64(handle + 16), entry);
        for (uint32_t i = 0; i < count; i++, entry++) {
            assert_true(entry < model->count);
            const struct lsm_entry *want = &model->entries[entry];
            assert_true(slice_equal(key_of(&entries[i]), want->key));
            bool is_large = want->value.bytes > inline_bytes;
            assert_int_equal(entries[i].kind, is_large ? ENTRY_LARGE : want->kind);
            if (is_large)
                check_large(&parsed->file, entries[i].value, want->value, &at_value);
            else
                assert_true(slice_equal(entries[i].value, want->value));
            walk.large += is_large;
        }
        assert_true(slice_compare(model->entries[entry - 1].key, key_of(in_index)) <= 0);
        if (entry < model->count)
            assert_true(slice_compare(key_of(in_index), model->entries[entry].key) < 0);
        walk.data_blocks++;
        free(entries);
        buf_release(&block.raw);
    }
    assert_int_equal(entry, model->count);
    assert_int_equal(index_count, walk.data_blocks);
    assert_true(slice_equal(key_of(&index[index_count - 1]), model->entries[entry - 1].key));
    free(index);
    return walk;
}

void check_filters(const struct parsed *parsed, const struct model *model)
{
    struct filter keys, prefixes;
    assert_ok(filter_open(buf_slice(&parsed->filter.raw), &keys));
    assert_ok(filter_open(buf_slice(&parsed->prefix_filter.raw), &prefixes));
    for (size_t i = 0; i < model->count; i++) {
        sombra_slice key = model->entries[i].key;
        assert_true(filter_has(&keys, filter_hash(key)));
        assert_true(filter_has(&prefixes, filter_hash(slice_of(key.data, 8))));
    }
    assert_true(prefixes.count < keys.count); /* each prefix once */
}

void check_properties(const struct parsed *parsed, const struct model *model,
                      const struct walk *walk)
{
    uint64_t deletes = 0, key_bytes = 0, value_bytes = 0;
    for (size_t i = 0; i < model->count; i++) {
        deletes += model->entries[i].kind == ENTRY_DELETE;
        key_bytes += model->entries[i].key.bytes;
        value_bytes += model->entries[i].value.bytes;
    }
    assert_int_equal(property(parsed, TABLE_PROPERTY_NUMBER), 7);
    assert_int_equal(property(parsed, TABLE_PROPERTY_ENTRIES), model->count);
    assert_int_equal(property(parsed, TABLE_PROPERTY_DELETES), deletes);
    assert_int_equal(property(parsed, TABLE_PROPERTY_LARGE), walk->large);
    assert_int_equal(property(parsed, TABLE_PROPERTY_SEQ_MAX), 4242);
    assert_int_equal(property(parsed, TABLE_PROPERTY_KEY_BYTES), key_bytes);
    assert_int_equal(property(parsed, TABLE_PROPERTY_VALUE_BYTES), value_bytes);
    assert_int_equal(property(parsed, TABLE_PROPERTY_DATA_BLOCKS), walk->data_blocks);
    assert_int_equal(property(parsed, TABLE_PROPERTY_VALUE_BLOCKS), walk->value_blocks);
}

void check_meta(const struct parsed *parsed, const struct table_meta *meta)
{
    assert_int_equal(meta->number, 7);
    assert_int_equal(meta->file_bytes, parsed->file.bytes);
    assert_int_equal(meta->entries, property(parsed, TABLE_PROPERTY_ENTRIES));
    assert_int_equal(meta->deletes, property(parsed, TABLE_PROPERTY_DELETES));
    assert_int_equal(meta->range_count, property(parsed, TABLE_PROPERTY_RANGES));
    assert_int_equal(meta->seq_max, 4242);
    assert_true(slice_equal(meta->low, parsed->low));
    assert_true(slice_equal(meta->end, parsed->end));
}
