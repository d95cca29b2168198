/* SPDX-License-Identifier: MIT */
/* Opening tables, lookups in them. */
#include "table_read.h"

static sombra_err damaged(const struct table *table, const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "%s: %s", os_file_path(table->file), what);
}

/* ---- open: footer and properties --------------------------------------------------------- */

static struct table_handle handle_at(const uint8_t *at)
{
    return (struct table_handle){ .offset = get_le64(at + TABLE_HANDLE_OFFSET),
                                  .bytes = get_le64(at + TABLE_HANDLE_SIZE) };
}

static sombra_err footer_read(struct table *table, struct table_handle *out_properties)
{
    uint8_t footer[TABLE_FOOTER_BYTES];
    struct table_properties *properties = &table->properties;
    uint64_t file_bytes = 0;
    sombra_err err = os_size(table->file, &file_bytes);
    if (err)
        return err;
    if (file_bytes < TABLE_FOOTER_BYTES)
        return damaged(table, "too short for a table");
    err = os_read(table->file, file_bytes - TABLE_FOOTER_BYTES, footer, sizeof footer);
    if (err)
        return err;
    if (memcmp(footer + TABLE_FOOTER_MAGIC, TABLE_MAGIC, TABLE_MAGIC_BYTES) != 0)
        return damaged(table, "does not end as a table does");
    if (get_le32(footer + TABLE_FOOTER_CRC) != crc32_update(0, footer, TABLE_FOOTER_CRC))
        return damaged(table, "wrong checksum of the footer");
    if (get_le32(footer + TABLE_FOOTER_VERSION) != TABLE_VERSION)
        return diag_fail(SOMBRA_UNSUPPORTED, "%s: a table of format %" PRIu32 ", this is %d",
                         os_file_path(table->file), get_le32(footer + TABLE_FOOTER_VERSION),
                         TABLE_VERSION);
    if (get_le32(footer + TABLE_FOOTER_ZERO) != 0 || get_le32(footer + TABLE_FOOTER_ZERO_TOO) != 0)
        return damaged(table, "a footer with bytes that are not zero");
    properties->meta.file_bytes = file_bytes;
    properties->meta.number = get_le64(footer + TABLE_FOOTER_NUMBER);
    properties->index = handle_at(footer + TABLE_FOOTER_INDEX);
    *out_properties = handle_at(footer + TABLE_FOOTER_PROPERTIES);
    return SOMBRA_OK;
}

/* Reads a whole block that is stored as it is and keeps it. Its raw bytes are aligned to a line of
 * a filter. */
static sombra_err part_read(struct table *table, struct table_handle handle,
                            enum table_block_kind kind)
{
    struct table_part *part = &table->parts[kind];
    struct table_block_header header = { 0 };
    uint64_t end = table->properties.meta.file_bytes - TABLE_FOOTER_BYTES;
    const size_t pad = TABLE_FILTER_LINE_BYTES - TABLE_BLOCK_HEADER_BYTES;
    if (handle.bytes <= TABLE_BLOCK_HEADER_BYTES || handle.offset > end ||
        handle.bytes > end - handle.offset ||
        handle.bytes > TABLE_META_BYTES_MAX + TABLE_BLOCK_HEADER_BYTES)
        return damaged(table, "a block where none can be");
    size_t bytes = (size_t)handle.bytes;
    assert(!part->memory);
    part->memory = mem_alloc_aligned(TABLE_FILTER_LINE_BYTES, pad + bytes);
    if (!part->memory)
        return diag_nomem("a block of a table", pad + bytes);
    part->memory_bytes = pad + bytes;
    sombra_err err = os_read(table->file, handle.offset, part->memory + pad, bytes);
    if (!err)
        err = table_block_check(table->file, handle.offset, slice_of(part->memory + pad, bytes),
                                kind, &header);
    if (!err && header.codec != CODEC_NONE)
        err = damaged(table, "a compressed block of a kind that is not compressed");
    if (!err)
        part->raw = slice_of(part->memory + pad + TABLE_BLOCK_HEADER_BYTES, header.raw_bytes);
    return err;
}

static bool take_slice(const uint8_t **at, const uint8_t *end, size_t bytes_max, sombra_slice *out)
{
    uint64_t bytes;
    const uint8_t *data = varint_get(*at, end, &bytes);
    if (!data || bytes > bytes_max || bytes > (size_t)(end - data))
        return false;
    *out = slice_of(data, (size_t)bytes);
    *at = data + bytes;
    return true;
}

static sombra_err properties_parse(struct table *table)
{
    struct table_properties *to = &table->properties;
    sombra_slice raw = table->parts[TABLE_BLOCK_PROPERTIES].raw;
    const uint8_t *data = raw.data, *at = data + TABLE_PROPERTY_FIXED_BYTES;
    const uint8_t *end = data + raw.bytes;
    if (raw.bytes < TABLE_PROPERTY_FIXED_BYTES ||
        !take_slice(&at, end, TABLE_BOUND_BYTES_MAX, &to->meta.low) ||
        !take_slice(&at, end, TABLE_BOUND_BYTES_MAX, &to->meta.end) ||
        !take_slice(&at, end, TABLE_PREFIX_NAME_MAX, &to->prefix_name) || at != end)
        return damaged(table, "properties of a wrong length");
    if (get_le64(data + TABLE_PROPERTY_NUMBER) != to->meta.number)
        return damaged(table, "properties of another table");
    to->meta.entries = get_le64(data + TABLE_PROPERTY_ENTRIES);
    to->meta.deletes = get_le64(data + TABLE_PROPERTY_DELETES);
    to->meta.range_count = get_le64(data + TABLE_PROPERTY_RANGES);
    to->meta.seq_max = get_le64(data + TABLE_PROPERTY_SEQ_MAX);
    to->large = get_le64(data + TABLE_PROPERTY_LARGE);
    to->key_bytes = get_le64(data + TABLE_PROPERTY_KEY_BYTES);
    to->value_bytes = get_le64(data + TABLE_PROPERTY_VALUE_BYTES);
    to->data_blocks = get_le64(data + TABLE_PROPERTY_DATA_BLOCKS);
    to->value_blocks = get_le64(data + TABLE_PROPERTY_VALUE_BLOCKS);
    to->body_bytes = get_le64(data + TABLE_PROPERTY_BODY_BYTES);
    to->ranges = handle_at(data + TABLE_PROPERTY_RANGES_HANDLE);
    to->filter = handle_at(data + TABLE_PROPERTY_FILTER_HANDLE);
    to->prefix_filter = handle_at(data + TABLE_PROPERTY_PREFIX_HANDLE);
    to->block_bytes = get_le32(data + TABLE_PROPERTY_BLOCK_BYTES);
    to->filter_bits = get_le32(data + TABLE_PROPERTY_FILTER_BITS);
    if (get_le32(data + TABLE_PROPERTY_ZERO) != 0)
        return damaged(table, "properties with bytes that are not zero");
    return SOMBRA_OK;
}

/* All blocks behind the body stand back to back up to the footer, and the counts agree with what is
 * there. */
static sombra_err properties_check(struct table *table, struct table_handle properties)
{
    const struct table_properties *of = &table->properties;
    const struct table_handle *order[] = { &of->ranges, &of->filter, &of->prefix_filter, &of->index,
                                           &properties };
    uint64_t end = of->meta.file_bytes - TABLE_FOOTER_BYTES, at = of->body_bytes;
    if (at > end)
        return damaged(table, "a body longer than the file");
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        if (order[i]->offset == 0 && order[i]->bytes == 0)
            continue;
        if (order[i]->offset != at || order[i]->bytes > end - at)
            return damaged(table, "blocks that do not stand back to back");
        at += order[i]->bytes;
    }
    if (at != end)
        return damaged(table, "bytes between the blocks and the footer");
    if (of->meta.deletes > of->meta.entries || of->large > of->meta.entries - of->meta.deletes ||
        of->data_blocks > of->meta.entries || (of->index.bytes != 0) != (of->meta.entries != 0) ||
        (of->ranges.bytes != 0) != (of->meta.range_count != 0) ||
        slice_compare(of->meta.low, of->meta.end) >= 0)
        return damaged(table, "properties that contradict each other");
    return SOMBRA_OK;
}

static sombra_err meta_check(const struct table *table, const struct table_meta *want)
{
    const struct table_meta *is = &table->properties.meta;
    if (is->number != want->number || is->file_bytes != want->file_bytes ||
        is->entries != want->entries || is->deletes != want->deletes ||
        is->range_count != want->range_count || is->seq_max != want->seq_max ||
        !slice_equal(is->low, want->low) || !slice_equal(is->end, want->end))
        return damaged(table, "not the table that the manifest knows");
    return SOMBRA_OK;
}

/* ---- open: index, ranges, filters -------------------------------------------------------- */

/* Data blocks in the order of the file, within its body, each with at least one entry: notes them
 * in `spots`. */
static sombra_err index_check(const struct table *table, struct table_spot *spots)
{
    const struct table_properties *of = &table->properties;
    struct block_entry entry = { 0 };
    uint64_t end = 0, before = 0;
    if (table->index.entries != of->data_blocks)
        return damaged(table, "an index of another number of blocks");
    for (uint32_t i = 0; i < table->index.entries; i++) {
        block_entry_at(block_restart(&table->index, i), &entry);
        if (entry.value.bytes != TABLE_INDEX_BYTES)
            return damaged(table, "an index entry of a wrong length");
        struct table_place place = table_place_of(entry.value);
        if (place.handle.offset < end || place.handle.offset > of->body_bytes ||
            place.handle.bytes <= TABLE_BLOCK_HEADER_BYTES ||
            place.handle.bytes > of->body_bytes - place.handle.offset ||
            place.handle.bytes > TABLE_DATA_BYTES_MAX + TABLE_BLOCK_HEADER_BYTES)
            return damaged(table, "an index entry for a block that cannot be");
        if (i == 0 ? place.entries_before != 0
                   : place.entries_before - before - 1 >= TABLE_DATA_BYTES_MAX)
            return damaged(table, "an index that counts wrong");
        spots[i] = (struct table_spot){ .offset = place.handle.offset,
                                        .bytes = (uint32_t)place.handle.bytes };
        if (i > 0)
            spots[i - 1].entries = (uint32_t)(place.entries_before - before);
        end = place.handle.offset + place.handle.bytes;
        before = place.entries_before;
    }
    if (of->meta.entries - before - 1 >= TABLE_DATA_BYTES_MAX ||
        slice_compare(entry.rest, of->meta.end) >= 0)
        return damaged(table, "an index that goes on behind the end of its table");
    spots[table->index.entries - 1].entries = (uint32_t)(of->meta.entries - before);
    return SOMBRA_OK;
}

static size_t spots_bytes(const struct table *table)
{
    return table->index.entries * sizeof *table->spots;
}

static sombra_err index_note(struct table *table)
{
    table->spots = mem_alloc(spots_bytes(table));
    if (!table->spots)
        return diag_nomem("the blocks of a table", spots_bytes(table));
    return index_check(table, table->spots);
}

static sombra_err ranges_check(const struct table *table)
{
    const struct table_meta *meta = &table->properties.meta;
    sombra_slice end = meta->low; /* of the range before */
    struct block_entry entry;
    if (table->ranges.entries != meta->range_count)
        return damaged(table, "another number of hidden ranges");
    for (uint32_t i = 0; i < table->ranges.entries; i++) {
        block_entry_at(block_restart(&table->ranges, i), &entry);
        int order = slice_compare(entry.rest, end);
        if (order < 0 || (order == 0 && i > 0) || entry.value.bytes > TABLE_BOUND_BYTES_MAX ||
            slice_compare(entry.value, entry.rest) <= 0)
            return damaged(table, "a hidden range that cannot be");
        end = entry.value;
    }
    if (slice_compare(end, meta->end) > 0)
        return damaged(table, "a hidden range behind the end of the table");
    return SOMBRA_OK;
}

static sombra_err sorted_read(struct table *table, struct table_handle handle,
                              enum table_block_kind kind, const struct block_rules *rules,
                              struct block *out)
{
    if (handle.bytes == 0)
        return SOMBRA_OK;
    sombra_err err = part_read(table, handle, kind);
    if (!err)
        err = diag_wrap(block_check(table->parts[kind].raw, rules), "%s: block at %" PRIu64,
                        os_file_path(table->file), handle.offset);
    if (!err)
        block_open(out, table->parts[kind].raw, rules);
    return err;
}

static sombra_err filter_read(struct table *table, struct table_handle handle,
                              enum table_block_kind kind, struct filter *out)
{
    if (handle.bytes == 0)
        return SOMBRA_OK;
    sombra_err err = part_read(table, handle, kind);
    if (!err)
        err = diag_wrap(filter_open(table->parts[kind].raw, out), "%s: block at %" PRIu64,
                        os_file_path(table->file), handle.offset);
    return err;
}

/* Filters of another extractor do not know this one's prefixes; they are not kept. */
static bool prefixes_fit(const struct table *table)
{
    const struct lsm_prefix *prefix = &table->context.prefix;
    return prefix->bytes && prefix->name &&
           slice_equal(slice_str(prefix->name), table->properties.prefix_name);
}

static sombra_err parts_read(struct table *table)
{
    const struct table_properties *of = &table->properties;
    sombra_err err =
        sorted_read(table, of->index, TABLE_BLOCK_INDEX, &block_rules_index, &table->index);
    if (!err && of->index.bytes)
        err = index_note(table);
    else if (!err && of->body_bytes > 0)
        err = damaged(table, "data without an index");
    if (!err)
        err =
            sorted_read(table, of->ranges, TABLE_BLOCK_RANGES, &block_rules_ranges, &table->ranges);
    if (!err && of->ranges.bytes)
        err = ranges_check(table);
    if (!err)
        err = filter_read(table, of->filter, TABLE_BLOCK_FILTER, &table->filter);
    if (!err && prefixes_fit(table))
        err =
            filter_read(table, of->prefix_filter, TABLE_BLOCK_PREFIX_FILTER, &table->prefix_filter);
    return err;
}

static sombra_err contents_read(struct table *table, const struct table_meta *meta)
{
    struct table_handle properties = { 0 };
    sombra_err err = footer_read(table, &properties);
    if (!err)
        err = part_read(table, properties, TABLE_BLOCK_PROPERTIES);
    if (!err)
        err = properties_parse(table);
    if (!err)
        err = properties_check(table, properties);
    if (!err && meta)
        err = meta_check(table, meta);
    if (!err)
        err = parts_read(table);
    return err;
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static void table_free(struct table *table)
{
    cache_charge(table->context.cache, -(int64_t)table->memory_bytes);
    for (size_t i = 0; i < COUNT_OF(table->parts); i++)
        mem_free(table->parts[i].memory);
    mem_free(table->spots);
    mem_free(table->around);
    os_close(table->file);
    mem_free(table);
}

sombra_err table_open(const struct table_context *context, const char *path,
                      const struct table_meta *meta, struct table **out_table)
{
    struct table *table = mem_zalloc(sizeof *table);
    if (!table)
        return diag_nomem("an open table", sizeof *table);
    assert(context->os && context->cache);
    table->context = *context;
    atomic_init(&table->refs, 1);
    sombra_err err = os_open(context->os, path, OS_READ, 0, &table->file);
    if (!err)
        err = contents_read(table, meta);
    size_t around_bytes = 0;
    if (!err) {
        around_bytes = (size_t)(table->properties.meta.file_bytes / TABLE_WINDOW_BYTES / 64 + 1) *
                       sizeof *table->around;
        table->around = mem_zalloc(around_bytes);
        if (!table->around)
            err = diag_nomem("an open table", around_bytes);
    }
    if (err) {
        table_free(table);
        return err;
    }
    table->memory_bytes = sizeof *table + around_bytes + spots_bytes(table);
    for (size_t i = 0; i < COUNT_OF(table->parts); i++)
        table->memory_bytes += table->parts[i].memory_bytes;
    cache_charge(context->cache, (int64_t)table->memory_bytes);
    *out_table = table;
    return SOMBRA_OK;
}

void table_ref(struct table *table)
{
    uint32_t before = atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
}

void table_unref(struct table *table)
{
    if (table && atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) == 1)
        table_free(table);
}

const struct table_meta *table_meta(const struct table *table)
{
    return &table->properties.meta;
}

size_t table_memory_bytes(const struct table *table)
{
    return table->memory_bytes;
}

/* ---- lookups ----------------------------------------------------------------------------- */

uint64_t table_key_hash(sombra_slice key)
{
    return filter_hash(key);
}

sombra_err table_get(struct table *table, sombra_slice key, const uint64_t *hash,
                     enum lookup *out_lookup, struct table_value *out_value)
{
    struct kv_metrics *metrics = table->context.metrics;
    struct cache_block *block = NULL;
    struct block_spot spot;
    struct lsm_entry entry;
    assert(key.bytes > 0);
    if (hash && table->filter.count > 0) {
        kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_CHECKS, 1);
        if (!filter_has(&table->filter, *hash)) {
            kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_SKIPS, 1);
            *out_lookup = LOOKUP_ABSENT;
            return SOMBRA_OK;
        }
    }
    bool is_found = false;
    if (table->index.entries > 0)
        block_find(&table->index, key, &spot);
    if (table->index.entries > 0 && spot.at) {
        sombra_err err = table_lookup(table, spot.index, key, &entry, &block);
        if (err)
            return err;
        is_found = block != NULL;
    }
    if (is_found && entry.kind != ENTRY_DELETE) {
        *out_value = (struct table_value){ .value = entry.value,
                                           .block = block,
                                           .is_large = entry.kind == ENTRY_LARGE };
        *out_lookup = LOOKUP_FOUND;
        return SOMBRA_OK;
    }
    cache_release(table->context.cache, block);
    if (!is_found && hash && table->filter.count > 0)
        kv_metrics_add(metrics, KV_COUNTER_FILTER_FALSE, 1);
    *out_lookup = is_found ? LOOKUP_DELETED : LOOKUP_ABSENT;
    return SOMBRA_OK;
}

bool table_may_have_prefix(struct table *table, sombra_slice prefix)
{
    const struct table_meta *meta = &table->properties.meta;
    if (meta->entries == 0 || slice_compare(prefix, meta->end) >= 0 ||
        (slice_compare(meta->low, prefix) > 0 && !slice_has_prefix(meta->low, prefix)))
        return false;
    if (table->prefix_filter.count == 0)
        return true;
    kv_metrics_add(table->context.metrics, KV_COUNTER_PREFIX_CHECKS, 1);
    if (filter_has(&table->prefix_filter, filter_hash(prefix)))
        return true;
    kv_metrics_add(table->context.metrics, KV_COUNTER_PREFIX_SKIPS, 1);
    return false;
}

bool table_hides(struct table *table, sombra_slice key, sombra_slice *out_low,
                 sombra_slice *out_end)
{
    struct block_spot spot;
    struct block_entry entry;
    if (table->ranges.entries == 0)
        return false;
    block_find(&table->ranges, key, &spot);
    if (!spot.is_equal && spot.index == 0)
        return false;
    uint32_t range = spot.is_equal ? spot.index : spot.index - 1; /* the last with low <= key */
    block_entry_at(block_restart(&table->ranges, range), &entry);
    if (slice_compare(key, entry.value) >= 0)
        return false;
    *out_low = entry.rest;
    *out_end = entry.value;
    return true;
}

bool table_next_range(struct table *table, sombra_slice key, sombra_slice *out_low,
                      sombra_slice *out_end)
{
    struct block_spot spot;
    if (key.bytes == 0)
        key = slice_of("", 0);
    if (table_hides(table, key, out_low, out_end))
        return true;
    if (table->ranges.entries == 0)
        return false;
    block_find(&table->ranges, key, &spot); /* the first with low >= key */
    if (!spot.at)
        return false;
    table_range(table, spot.index, out_low, out_end);
    return true;
}

void table_range(struct table *table, size_t index, sombra_slice *out_low, sombra_slice *out_high)
{
    struct block_entry entry;
    assert(index < table->ranges.entries);
    block_entry_at(block_restart(&table->ranges, (uint32_t)index), &entry);
    *out_low = entry.rest;
    *out_high = entry.value;
}

uint64_t table_rank(struct table *table, sombra_slice key)
{
    const struct table_meta *meta = &table->properties.meta;
    struct block_spot spot;
    if (key.bytes == 0 || table->index.entries == 0)
        return meta->entries;
    if (slice_compare(key, meta->low) <= 0)
        return 0;
    block_find(&table->index, key, &spot);
    if (!spot.at)
        return meta->entries;
    /* Somewhere in this block: its middle is nearest on average. */
    return table_place_at(table, spot.index).entries_before +
           table_entries_in(table, spot.index) / 2;
}
