/* SPDX-License-Identifier: MIT */
/* A source over one table. The keys of a block are prefix-compressed, so entries come out in file
 * order: from a restart on they are decoded one by one into a window and stay there until another
 * interval is entered. A step back is a look into the window; an interval is decoded once,
 * whichever way it is walked.
 */
#include "table_read.h"

enum {
    COPY_SLACK = 16,             /* copies go in whole steps of so many bytes */
    READ_KEYS_BYTES = 64 * 1024, /* of the keys that one read gives */
    AHEAD_BYTES = 256 * 1024,    /* read at once in scans beside the cache */
};

struct window_entry {
    const uint8_t *key; /* in `keys` */
    size_t key_bytes;
    sombra_slice value;
    enum entry_kind kind;
};

struct table_source {
    struct source source;
    struct table *table;
    bool fill_cache;

    uint32_t index;            /* of the block in the table */
    struct cache_block *bytes; /* the block; NULL = none */
    struct block block;
    uint32_t position; /* of the current entry in the block; while source.is_valid */

    /* Decoded: entries [first, first + count) of the block, all of one interval. */
    uint32_t first, count;
    struct window_entry window[TABLE_RESTART_ENTRIES];

    struct cache_block *given; /* the block that the last read's values lie in, if it was left */
    uint8_t *read_keys;        /* NULL until the first read */

    struct buf ahead; /* bytes of the file from ahead_offset on; whole blocks */
    uint64_t ahead_offset;

    uint8_t keys[TABLE_RESTART_ENTRIES * KV_KEY_BYTES_MAX + COPY_SLACK];
};

static struct table_source *source_of(struct source *source)
{
    return container_of(source, struct table_source, source);
}

/* Copies up to COPY_SLACK - 1 bytes more than asked for: cheaper than to ask how many. Both sides
 * have them: keys are followed by slack, entries by heads, places and trailer of their block. */
static inline void copy_wide(uint8_t *to, const uint8_t *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += COPY_SLACK)
        memcpy(to + at, from + at, COPY_SLACK);
}
static_assert(TABLE_HEAD_BYTES + TABLE_PLACE_BYTES + TABLE_TRAILER_BYTES >= COPY_SLACK,
              "what follows the last entry can be copied with it");

/* ---- blocks ------------------------------------------------------------------------------ */

/* How many bytes to read for the block at `index` and those behind it without a gap. */
static uint64_t ahead_bytes(const struct table *table, uint32_t index, bool is_forward)
{
    struct table_handle first = table_place_at(table, index).handle;
    uint64_t end = first.offset + first.bytes;
    while (is_forward && ++index < table->index.entries) {
        struct table_handle next = table_place_at(table, index).handle;
        if (next.offset != end || end + next.bytes - first.offset > AHEAD_BYTES)
            break;
        end += next.bytes;
    }
    return end - first.offset;
}

static sombra_err load_beside_cache(struct table_source *source, uint32_t index, bool is_forward,
                                    struct cache_block **out_block)
{
    struct table *table = source->table;
    struct table_handle handle = table_place_at(table, index).handle;
    sombra_err err = SOMBRA_OK;
    if (handle.offset < source->ahead_offset ||
        handle.offset + handle.bytes > source->ahead_offset + source->ahead.bytes) {
        uint8_t *to;
        size_t bytes = (size_t)ahead_bytes(table, index, is_forward);
        buf_reset(&source->ahead);
        source->ahead_offset = handle.offset;
        err = buf_extend(&source->ahead, bytes, &to);
        if (!err)
            err = os_read(table->file, handle.offset, to, bytes);
        if (err) {
            buf_reset(&source->ahead);
            return err;
        }
    }
    const uint8_t *at = source->ahead.data + (handle.offset - source->ahead_offset);
    return table_data_open(table->file, table->context.cache, handle.offset,
                           slice_of(at, (size_t)handle.bytes), table_entries_in(table, index),
                           out_block);
}

static void leave_block(struct table_source *source)
{
    cache_release(source->table->context.cache, source->bytes);
    source->bytes = NULL;
    source->source.is_valid = false;
}

static sombra_err enter_block(struct table_source *source, uint32_t index, bool is_forward)
{
    assert(index < source->table->index.entries);
    if (source->bytes && source->index == index)
        return SOMBRA_OK;
    leave_block(source);
    struct cache_block *bytes = NULL;
    sombra_err err = source->fill_cache ? table_load(source->table, index, &bytes)
                                        : load_beside_cache(source, index, is_forward, &bytes);
    if (err)
        return err;
    source->bytes = bytes;
    source->index = index;
    source->first = source->count = 0;
    table_block_open(&source->block, bytes);
    return SOMBRA_OK;
}

/* ---- the window -------------------------------------------------------------------------- */

/* Puts the entry at `at` into the window, behind those that are there; `before` is the key before
 * it, not looked at where the entry shares nothing. */
static void window_add(struct table_source *source, const uint8_t *at, const uint8_t *before)
{
    struct block_entry entry;
    assert(source->count < TABLE_RESTART_ENTRIES);
    struct window_entry *to = &source->window[source->count];
    uint8_t *key = source->keys;
    if (source->count > 0)
        key += (size_t)(to[-1].key - source->keys) + to[-1].key_bytes;
    block_entry_at(at, &entry);
    assert(entry.shared + entry.rest.bytes <= KV_KEY_BYTES_MAX);
    if (entry.shared > 0)
        copy_wide(key, before, entry.shared);
    copy_wide(key + entry.shared, entry.rest.data, entry.rest.bytes);
    *to = (struct window_entry){
        .key = key,
        .key_bytes = entry.shared + entry.rest.bytes,
        .value = entry.value,
        .kind = entry.kind,
    };
    source->count++;
}

/* Makes the entry at `position` of the block the current one. */
static void go_to(struct table_source *source, uint32_t position)
{
    uint32_t restart = position / TABLE_RESTART_ENTRIES;
    uint32_t begin = restart * TABLE_RESTART_ENTRIES;
    assert(source->bytes && position < source->block.entries);
    if (source->count == 0 || source->first < begin || source->first > position) {
        source->first = begin;
        source->count = 0;
        window_add(source, block_restart(&source->block, restart), NULL);
    }
    while (source->first + source->count <= position) {
        const struct window_entry *last = &source->window[source->count - 1];
        window_add(source, (const uint8_t *)last->value.data + last->value.bytes, last->key);
    }
    const struct window_entry *entry = &source->window[position - source->first];
    source->position = position;
    source->source.entry = (struct lsm_entry){
        .key = slice_of(entry->key, entry->key_bytes),
        .value = entry->value,
        .kind = entry->kind,
        .table = entry->kind == ENTRY_LARGE ? source->table : NULL,
    };
    source->source.is_valid = true;
}

static sombra_err enter_first(struct table_source *source, uint32_t index)
{
    source->source.is_valid = false;
    if (index >= source->table->index.entries)
        return SOMBRA_OK;
    sombra_err err = enter_block(source, index, true);
    if (!err)
        go_to(source, 0);
    return err;
}

/* Of the block before `index`. */
static sombra_err enter_last_before(struct table_source *source, uint32_t index)
{
    source->source.is_valid = false;
    if (index == 0)
        return SOMBRA_OK;
    sombra_err err = enter_block(source, index - 1, false);
    if (!err)
        go_to(source, source->block.entries - 1);
    return err;
}

/* ---- operations -------------------------------------------------------------------------- */

static sombra_err table_source_seek_ge(struct source *base, sombra_slice key)
{
    struct table_source *source = source_of(base);
    const struct table *table = source->table;
    struct block_spot spot;
    base->is_valid = false;
    if (key.bytes == 0 || table->index.entries == 0)
        return enter_first(source, 0);
    block_find(&table->index, key, &spot);
    if (!spot.at)
        return SOMBRA_OK;
    uint32_t index = spot.index;
    sombra_err err = enter_block(source, index, true);
    if (err)
        return err;
    block_find(&source->block, key, &spot);
    if (!spot.at) /* between the last key of the block and its separator */
        return enter_first(source, index + 1);
    go_to(source, spot.index);
    return SOMBRA_OK;
}

static sombra_err table_source_seek_lt(struct source *base, sombra_slice key)
{
    struct table_source *source = source_of(base);
    const struct table *table = source->table;
    struct block_spot spot;
    base->is_valid = false;
    if (key.bytes == 0 || table->index.entries == 0)
        return enter_last_before(source, table->index.entries);
    block_find(&table->index, key, &spot);
    if (!spot.at)
        return enter_last_before(source, table->index.entries);
    uint32_t index = spot.index;
    sombra_err err = enter_block(source, index, false);
    if (err)
        return err;
    block_find(&source->block, key, &spot);
    if (spot.index == 0)
        return enter_last_before(source, index);
    go_to(source, spot.index - 1);
    return SOMBRA_OK;
}

static sombra_err table_source_next(struct source *base)
{
    struct table_source *source = source_of(base);
    assert(base->is_valid);
    if (LIKELY(source->position + 1 < source->block.entries)) {
        go_to(source, source->position + 1);
        return SOMBRA_OK;
    }
    return enter_first(source, source->index + 1);
}

static sombra_err table_source_previous(struct source *base)
{
    struct table_source *source = source_of(base);
    assert(base->is_valid);
    if (LIKELY(source->position > 0)) {
        go_to(source, source->position - 1);
        return SOMBRA_OK;
    }
    return enter_last_before(source, source->index);
}

/* Decodes entries of the block from the current one on, as many as there is room for, and gives how
 * many. Their keys go to read_keys. *out_at is where the entry behind them begins. */
static uint32_t read_entries(struct table_source *source, uint32_t count_max,
                             struct lsm_entry *entries, const uint8_t **out_at)
{
    const uint8_t *keys_end = source->read_keys + READ_KEYS_BYTES - KV_KEY_BYTES_MAX - COPY_SLACK;
    const struct lsm_entry *current = &source->source.entry;
    uint8_t *before = source->read_keys;
    const uint8_t *at = (const uint8_t *)current->value.data + current->value.bytes;
    uint32_t count = 1;
    assert(count_max > 0 && source->read_keys);
    copy_wide(before, current->key.data, current->key.bytes);
    entries[0] = *current;
    entries[0].key.data = before;
    uint8_t *key = before + current->key.bytes;
    for (; count < count_max && key <= keys_end; count++) {
        struct block_entry entry;
        block_entry_at(at, &entry);
        copy_wide(key, before, entry.shared);
        copy_wide(key + entry.shared, entry.rest.data, entry.rest.bytes);
        entries[count] = (struct lsm_entry){
            .key = slice_of(key, entry.shared + entry.rest.bytes),
            .value = entry.value,
            .kind = entry.kind,
            .table = entry.kind == ENTRY_LARGE ? source->table : NULL,
        };
        at = entry.next;
        before = key;
        key += entry.shared + entry.rest.bytes;
    }
    *out_at = at;
    return count;
}

static sombra_err table_source_read(struct source *base, sombra_slice before,
                                    struct lsm_entry *entries, size_t capacity, size_t *out_count)
{
    struct table_source *source = source_of(base);
    const uint8_t *at;
    assert(base->is_valid && capacity > 0);
    cache_release(source->table->context.cache, source->given);
    source->given = NULL;
    if (!source->read_keys) {
        source->read_keys = mem_alloc(READ_KEYS_BYTES);
        if (!source->read_keys)
            return diag_nomem("keys of a scan", READ_KEYS_BYTES);
    }
    uint32_t end = source->block.entries;
    if (before.bytes > 0) {
        struct block_spot spot;
        block_find(&source->block, before, &spot);
        end = spot.index;
    }
    if (end <= source->position) {
        *out_count = 0;
        return SOMBRA_OK;
    }
    uint32_t count_max = (uint32_t)u64_min(capacity, end - source->position);
    uint32_t count = read_entries(source, count_max, entries, &at);
    uint32_t position = source->position + count;
    if (position == source->block.entries) {
        source->given = source->bytes; /* the values lie in it */
        source->bytes = NULL;
        sombra_err err = enter_first(source, source->index + 1);
        if (err)
            return err;
    } else {
        if (position % TABLE_RESTART_ENTRIES != 0) {
            source->first = position;
            source->count = 0;
            window_add(source, at, entries[count - 1].key.data);
        }
        go_to(source, position);
    }
    *out_count = count;
    return SOMBRA_OK;
}

static bool table_source_hides(struct source *base, sombra_slice key, sombra_slice *out_low,
                               sombra_slice *out_end)
{
    return table_hides(source_of(base)->table, key, out_low, out_end);
}

static void table_source_close(struct source *base)
{
    struct table_source *source = source_of(base);
    leave_block(source);
    cache_release(source->table->context.cache, source->given);
    buf_release(&source->ahead);
    mem_free(source->read_keys);
    mem_free(source);
}

static const struct source_ops plain_ops = {
    .seek_ge = table_source_seek_ge,
    .seek_lt = table_source_seek_lt,
    .next = table_source_next,
    .previous = table_source_previous,
    .read = table_source_read,
    .hides = NULL,
    .close = table_source_close,
};
static const struct source_ops hiding_ops = {
    .seek_ge = table_source_seek_ge,
    .seek_lt = table_source_seek_lt,
    .next = table_source_next,
    .previous = table_source_previous,
    .read = table_source_read,
    .hides = table_source_hides,
    .close = table_source_close,
};

sombra_err table_source(struct table *table, bool fill_cache, struct source **out_source)
{
    struct table_source *source = mem_alloc(sizeof *source);
    if (!source)
        return diag_nomem("a scan of a table", sizeof *source);
    memset(source, 0, offsetof(struct table_source, keys));
    source->source.ops = table->ranges.entries > 0 ? &hiding_ops : &plain_ops;
    source->table = table;
    source->fill_cache = fill_cache;
    *out_source = &source->source;
    return SOMBRA_OK;
}
