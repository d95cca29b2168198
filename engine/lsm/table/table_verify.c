/* SPDX-License-Identifier: MIT */
/* Reads a whole table in the order of the file and compares what stands there twice: keys with
 * index, bounds and filters; references with value blocks; everything with the properties. */
#include "table_read.h"

#include <stdarg.h>
#include <stdio.h>

struct verify {
    struct table *table;
    void (*problem)(void *context, const struct kv_problem *problem);
    void *context;
    uint64_t problems;
    uint64_t offset; /* behind the blocks accounted for */
    uint64_t entries, deletes, large, key_bytes, value_bytes, value_blocks;
    bool has_lost_blocks; /* the sums cannot be compared */
};

SOMBRA_PRINTF(3, 4)
static void report(struct verify *verify, sombra_err code, const char *format, ...)
{
    char message[DIAG_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    verify->problems++;
    if (verify->problem)
        verify->problem(verify->context,
                        &(struct kv_problem){ .code = code,
                                              .page = verify->table->properties.meta.number,
                                              .message = message });
}

static void report_at(struct verify *verify, uint64_t offset, const char *what)
{
    report(verify, SOMBRA_CORRUPT, "%s: block at %" PRIu64 ": %s",
           os_file_path(verify->table->file), offset, what);
}

/* A failure of a call that concerns one block is a problem; without memory the walk ends. */
static sombra_err report_failure(struct verify *verify, sombra_err err)
{
    char text[DIAG_TEXT_BYTES];
    if (err == SOMBRA_OK || err == SOMBRA_NOMEM)
        return err;
    diag_save(text);
    report(verify, err, "%s", text);
    verify->has_lost_blocks = true;
    return SOMBRA_OK;
}

/* Pieces of a value are decompressed one at a time and dropped. */
struct piece_check {
    struct buf raw;
    uint64_t count;
};

static sombra_err piece_check(void *context, const struct table_piece *piece)
{
    struct piece_check *check = context;
    check->count++;
    buf_reset(&check->raw);
    return table_large_append(&check->raw, piece);
}

static sombra_err verify_large(struct verify *verify, sombra_slice reference)
{
    struct table_large large = { 0 };
    struct piece_check check = { .raw = BUF_INIT };
    sombra_err err = table_large_check(verify->table, reference, &large);
    if (!err && large.offset != verify->offset)
        report_at(verify, large.offset, "a value that does not stand behind the block before");
    if (!err) {
        err = table_large_walk(verify->table->file, &large, piece_check, &check);
        verify->offset = large.offset + large.stored;
        verify->value_blocks += check.count;
        verify->value_bytes += large.value_bytes;
    }
    buf_release(&check.raw);
    return report_failure(verify, err);
}

static void verify_filters(struct verify *verify, uint64_t offset, sombra_slice key)
{
    const struct table *table = verify->table;
    const struct lsm_prefix *prefix = &table->context.prefix;
    if (table->filter.count > 0 && !filter_has(&table->filter, filter_hash(key)))
        report_at(verify, offset, "a key that the filter does not know");
    if (table->prefix_filter.count == 0)
        return;
    size_t bytes = prefix->bytes(key);
    if (bytes > 0 && !filter_has(&table->prefix_filter, filter_hash(slice_of(key.data, bytes))))
        report_at(verify, offset, "a key whose prefix the filter does not know");
}

static sombra_err verify_entry(struct verify *verify, uint64_t offset,
                               const struct lsm_entry *entry)
{
    verify->entries++;
    verify->deletes += entry->kind == ENTRY_DELETE;
    verify->large += entry->kind == ENTRY_LARGE;
    verify->key_bytes += entry->key.bytes;
    verify_filters(verify, offset, entry->key);
    if (entry->kind == ENTRY_LARGE)
        return verify_large(verify, entry->value);
    verify->value_bytes += entry->value.bytes;
    return SOMBRA_OK;
}

/* The keys of a block ascend (block_check); its first and its last key decide the rest. */
static sombra_err verify_block(struct verify *verify, uint32_t index, sombra_slice separator_before,
                               const struct rows *rows)
{
    const struct table *table = verify->table;
    struct block_entry separator;
    uint64_t offset = table_handle_at(table, index).offset;
    sombra_slice first = rows_key(rows, 0), last = rows_key(rows, rows->count - 1);
    sombra_err err = SOMBRA_OK;
    if (index > 0 && slice_compare(first, separator_before) <= 0)
        report_at(verify, offset, "a first key that belongs into the block before");
    if (index == 0 && slice_compare(first, table->properties.meta.low) < 0)
        report_at(verify, offset, "a key before the beginning of its table");
    for (uint32_t i = 0; i < rows->count && !err; i++) {
        struct lsm_entry entry;
        rows_entry(rows, i, &entry);
        err = verify_entry(verify, offset, &entry);
    }
    block_entry_at(block_restart(&table->index, index), &separator);
    if (!err && slice_compare(last, separator.rest) > 0)
        report_at(verify, offset, "a last key that belongs into the next block");
    return err;
}

static sombra_err verify_data(struct verify *verify, uint32_t index, struct buf *stored)
{
    struct table *table = verify->table;
    struct table_handle handle = table_handle_at(table, index);
    struct cache_block *bytes = NULL;
    struct block_entry before = { 0 };
    struct rows rows;
    uint8_t *to;
    buf_reset(stored);
    sombra_err err = buf_extend(stored, (size_t)handle.bytes, &to);
    if (!err)
        err = os_read(table->file, handle.offset, to, stored->bytes);
    if (!err)
        err = table_data_open(table->file, table->context.cache, handle.offset, buf_slice(stored),
                              table_entries_in(table, index), &bytes);
    if (err) {
        verify->offset = handle.offset + handle.bytes;
        return report_failure(verify, err);
    }
    if (index > 0)
        block_entry_at(block_restart(&table->index, index - 1), &before);
    rows_open(&rows, bytes->data);
    err = verify_block(verify, index, before.rest, &rows);
    cache_release(table->context.cache, bytes);
    if (verify->offset != handle.offset && !verify->has_lost_blocks)
        report_at(verify, handle.offset, "bytes before it that belong to nothing");
    verify->offset = handle.offset + handle.bytes;
    return err;
}

static void verify_sums(struct verify *verify)
{
    const struct table_properties *of = &verify->table->properties;
    const struct {
        const char *what;
        uint64_t is, want;
    } sums[] = {
        { "entries", verify->entries, of->meta.entries },
        { "deletes", verify->deletes, of->meta.deletes },
        { "values out of line", verify->large, of->large },
        { "bytes of keys", verify->key_bytes, of->key_bytes },
        { "bytes of values", verify->value_bytes, of->value_bytes },
        { "value blocks", verify->value_blocks, of->value_blocks },
        { "bytes of blocks", verify->offset, of->body_bytes },
    };
    for (size_t i = 0; i < COUNT_OF(sums) && !verify->has_lost_blocks; i++)
        if (sums[i].is != sums[i].want)
            report(verify, SOMBRA_CORRUPT, "%s: %" PRIu64 " %s, its properties say %" PRIu64,
                   os_file_path(verify->table->file), sums[i].is, sums[i].what, sums[i].want);
}

sombra_err table_verify(struct table *table,
                        void (*problem)(void *context, const struct kv_problem *problem),
                        void *context, uint64_t *out_problems)
{
    struct verify verify = { .table = table, .problem = problem, .context = context };
    struct buf stored = BUF_INIT;
    sombra_err err = SOMBRA_OK;
    for (uint32_t i = 0; i < table->index.entries && !err; i++)
        err = verify_data(&verify, i, &stored);
    buf_release(&stored);
    if (err)
        return err;
    verify_sums(&verify);
    *out_problems = verify.problems;
    return SOMBRA_OK;
}
