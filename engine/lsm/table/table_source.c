/* SPDX-License-Identifier: MIT */
/* A source over one table. Blocks lie unpacked in the cache (rows.h), so a step is an addition, and
 * entries are given where they stand. */
#include "table_read.h"

enum {
    AHEAD_BYTES = 256 * 1024, /* read at once in scans beside the cache */
    /* Where memory is short and the system reads nothing ahead: a scan asks for so much once it has
     * gone on for so many blocks, and for more each time. */
    RUN_BLOCKS_MIN = 3,
    RUN_FIRST_BYTES = 64 * 1024,
    RUN_BYTES_MAX = 1024 * 1024,
    AHEAD_BLOCKS_MAX = 64, /* in others: as many as were entered in a row, up to these */
};

struct table_source {
    struct source source;
    struct table *table;
    bool fill_cache;

    uint32_t index;            /* of the block in the table */
    struct cache_block *block; /* NULL = none */
    struct rows rows;          /* of it */
    uint32_t position;         /* of the current entry in it; while source.is_valid */

    uint32_t in_row; /* blocks that were entered before this one, each behind the other */

    struct cache_block *given; /* the block that the last read's entries lie in, if it was left */

    uint32_t run_blocks; /* entered one behind the other */
    uint64_t run_bytes;  /* that were asked for ahead at once; 0 = none yet */
    uint64_t run_edge;   /* up to here they were */

    struct buf ahead; /* bytes of the file from ahead_offset on; whole blocks */
    uint64_t ahead_offset;
};

static struct table_source *source_of(struct source *source)
{
    return container_of(source, struct table_source, source);
}

/* ---- blocks ------------------------------------------------------------------------------ */

/* How many bytes to read for the block at `index` and those behind it without a gap. */
static uint64_t ahead_bytes(const struct table *table, uint32_t index, bool is_forward)
{
    struct table_handle first = table_handle_at(table, index);
    uint64_t end = first.offset + first.bytes;
    while (is_forward && ++index < table->index.entries) {
        struct table_handle next = table_handle_at(table, index);
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
    struct table_handle handle = table_handle_at(table, index);
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
        if (!err && is_forward && table_advise(table))
            os_read_ahead(table->file, handle.offset + bytes, AHEAD_BYTES);
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
    cache_release(source->table->context.cache, source->block);
    source->block = NULL;
    source->source.is_valid = false;
}

/* The block at `index` is entered, most often next to the one before: is this a scan? The next
 * stretch is asked for when half of the last one is left. */
static void run_note(struct table_source *source, uint32_t index, bool is_forward)
{
    struct table *table = source->table;
    bool goes_on = is_forward ? index == source->index + 1 : index + 1 == source->index;
    source->run_blocks = goes_on ? source->run_blocks + 1 : 0;
    if (!goes_on)
        source->run_bytes = 0;
    if (LIKELY(source->run_blocks < RUN_BLOCKS_MIN) || !table_advise(table))
        return;
    struct table_handle handle = table_handle_at(table, index);
    uint64_t had = source->run_bytes, low = handle.offset, high = handle.offset + handle.bytes;
    uint64_t wanted = had ? u64_min(had * 2, RUN_BYTES_MAX) : RUN_FIRST_BYTES;
    if (had && (is_forward ? high + had / 2 < source->run_edge : low > source->run_edge + had / 2))
        return;
    if (is_forward) {
        low = had ? u64_max(source->run_edge, low) : low;
        high = source->run_edge = u64_min(low + wanted, table->properties.body_bytes);
    } else {
        high = had ? u64_min(source->run_edge, high) : high;
        low = source->run_edge = high > wanted ? high - wanted : 0;
    }
    source->run_bytes = wanted;
    if (high > low)
        os_read_ahead(table->file, low, high - low);
}

static sombra_err enter_block(struct table_source *source, uint32_t index, bool is_forward)
{
    assert(index < source->table->index.entries);
    if (source->block && source->index == index)
        return SOMBRA_OK;
    leave_block(source);
    struct cache_block *block = NULL;
    bool goes_on = is_forward && index == source->index + 1;
    source->in_row = goes_on ? (uint32_t)u64_min(source->in_row + 1, AHEAD_BLOCKS_MAX) : 0;
    if (source->fill_cache)
        run_note(source, index, is_forward);
    sombra_err err = source->fill_cache ? table_load(source->table, index, source->in_row, &block)
                                        : load_beside_cache(source, index, is_forward, &block);
    if (err)
        return err;
    source->block = block;
    source->index = index;
    rows_open(&source->rows, block->data);
    return SOMBRA_OK;
}

/* ---- positions --------------------------------------------------------------------------- */

static inline void entry_fill(const struct table_source *source, uint32_t position,
                              struct lsm_entry *to)
{
    rows_entry(&source->rows, position, to);
    to->table = to->kind == ENTRY_LARGE ? source->table : NULL;
}

/* Makes the entry at `position` of the block the current one. */
static inline void go_to(struct table_source *source, uint32_t position)
{
    assert(source->block && position < source->rows.count);
    source->position = position;
    entry_fill(source, position, &source->source.entry);
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
        go_to(source, source->rows.count - 1);
    return err;
}

/* ---- operations -------------------------------------------------------------------------- */

/* Whoever seeks often seeks near: is the answer for `key`, or its neighbour, in the block that is
 * here? */
static bool is_here(const struct table_source *source, sombra_slice key)
{
    const struct rows *rows = &source->rows;
    return source->block && slice_compare(key, rows_key(rows, rows->count - 1)) <= 0 &&
           slice_compare(key, rows_key(rows, 0)) > 0;
}

/* The block that has the first key >= `key`, unless that is the first of the next one.
 * *out_is_there false: all keys are less. */
static sombra_err enter_block_of(struct table_source *source, sombra_slice key, bool is_forward,
                                 bool *out_is_there)
{
    struct block_spot spot;
    *out_is_there = true;
    if (is_here(source, key))
        return SOMBRA_OK;
    block_find(&source->table->index, key, &spot);
    *out_is_there = spot.at != NULL;
    return spot.at ? enter_block(source, spot.index, is_forward) : SOMBRA_OK;
}

static sombra_err table_source_seek_ge(struct source *base, sombra_slice key)
{
    struct table_source *source = source_of(base);
    bool is_there;
    base->is_valid = false;
    if (key.bytes == 0 || source->table->index.entries == 0)
        return enter_first(source, 0);
    sombra_err err = enter_block_of(source, key, true, &is_there);
    if (err || !is_there)
        return err;
    uint32_t position = rows_find(&source->rows, key, NULL);
    if (position == source->rows.count) /* between the last key of the block and its separator */
        return enter_first(source, source->index + 1);
    go_to(source, position);
    return SOMBRA_OK;
}

static sombra_err table_source_seek_lt(struct source *base, sombra_slice key)
{
    struct table_source *source = source_of(base);
    const struct table *table = source->table;
    bool is_there;
    base->is_valid = false;
    if (key.bytes == 0 || table->index.entries == 0)
        return enter_last_before(source, table->index.entries);
    sombra_err err = enter_block_of(source, key, false, &is_there);
    if (err)
        return err;
    if (!is_there)
        return enter_last_before(source, table->index.entries);
    uint32_t position = rows_find(&source->rows, key, NULL);
    if (position == 0)
        return enter_last_before(source, source->index);
    go_to(source, position - 1);
    return SOMBRA_OK;
}

static sombra_err table_source_next(struct source *base)
{
    struct table_source *source = source_of(base);
    assert(base->is_valid);
    if (LIKELY(source->position + 1 < source->rows.count)) {
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

static sombra_err table_source_read(struct source *base, sombra_slice before,
                                    struct lsm_entry *entries, size_t capacity, size_t *out_count)
{
    struct table_source *source = source_of(base);
    assert(base->is_valid && capacity > 0);
    cache_release(source->table->context.cache, source->given);
    source->given = NULL;
    uint32_t end = source->rows.count, at = source->position;
    if (before.bytes > 0)
        end = rows_find_from(&source->rows, before, at);
    end = (uint32_t)u64_min(end, at + (uint64_t)capacity);
    *out_count = end - at;
    for (; at < end; at++)
        entry_fill(source, at, entries++);
    if (at < source->rows.count) {
        go_to(source, at);
        return SOMBRA_OK;
    }
    source->given = source->block;
    source->block = NULL;
    return enter_first(source, source->index + 1);
}

static sombra_err table_source_words(struct source *base, sombra_slice before,
                                     struct kv_words *words)
{
    struct table_source *source = source_of(base);
    assert(base->is_valid && words->count < words->capacity);
    cache_release(source->table->context.cache, source->given);
    source->given = NULL;
    uint32_t end = source->rows.count, at = source->position;
    if (before.bytes > 0)
        end = rows_find_from(&source->rows, before, at);
    end = (uint32_t)u64_min(end, at + (uint64_t)(words->capacity - words->count));
    /* In variables of their own: no store in the loop can change them. */
    const size_t skip = words->within.bytes;
    const struct rows rows = source->rows;
    uint64_t *to = words->words + words->count;
    uint8_t *to_bytes = words->bytes + words->count;
    for (; at < end; at++, to++, to_bytes++) {
        const uint32_t key_bytes = rows_key_bytes(&rows, at);
        const uint8_t *key = rows.bytes + rows_key_at(&rows, at);
        if (UNLIKELY(!source_word(key, key_bytes, skip, to, to_bytes)))
            break;
    }
    words->count = (size_t)(to - words->words);
    words->is_long = at < end;
    if (UNLIKELY(words->is_long))
        return rows_key_bytes(&rows, at) < skip
                   ? diag_fail(SOMBRA_CORRUPT, "%s: keys are out of order",
                               os_file_path(source->table->file))
                   : SOMBRA_OK;
    if (at == rows.count)
        return enter_first(source, source->index + 1);
    go_to(source, at);
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
    table_unref(source->table);
    mem_free(source);
}

static const struct source_ops plain_ops = {
    .seek_ge = table_source_seek_ge,
    .seek_lt = table_source_seek_lt,
    .next = table_source_next,
    .previous = table_source_previous,
    .read = table_source_read,
    .words = table_source_words,
    .hides = NULL,
    .close = table_source_close,
};
static const struct source_ops hiding_ops = {
    .seek_ge = table_source_seek_ge,
    .seek_lt = table_source_seek_lt,
    .next = table_source_next,
    .previous = table_source_previous,
    .read = table_source_read,
    .words = table_source_words,
    .hides = table_source_hides,
    .close = table_source_close,
};

sombra_err table_source(struct table *table, bool fill_cache, struct source **out_source)
{
    struct table_source *source = mem_alloc(sizeof *source); /* faster than cleared, and often */
    if (!source)
        return diag_nomem("a scan of a table", sizeof *source);
    *source = (struct table_source){
        .source.ops = table->ranges.entries > 0 ? &hiding_ops : &plain_ops,
        .table = table,
        .fill_cache = fill_cache,
    };
    table_ref(table);
    *out_source = &source->source;
    return SOMBRA_OK;
}
