/* SPDX-License-Identifier: MIT */
/* Where flushes and compactions write: ascending entries are cut into tables, and deletes that hide
 * nothing older are left out.
 */
#include "compaction.h"

/* A table is cut before it overlaps more than so many tables two levels down, or its own way down
 * would be dear. */
enum { BELOW_TABLES_MAX = 10 };

sombra_err table_output_init(struct table_output *output, sombra_slice low)
{
    assert(output->lsm && output->version && output->older <= output->version->count);
    assert(!output->tables && !output->writer);
    size_t bytes = output->version->count * sizeof(output->places[0]);
    output->places = mem_zalloc(bytes);
    if (!output->places)
        return diag_nomem("an output of tables", bytes);
    const struct range_set *ranges = output->ranges;
    while (ranges && output->range < ranges->count && low.bytes &&
           slice_compare(ranges->ranges[output->range].high, low) <= 0)
        output->range++;
    return buf_set(&output->from, low);
}

uint64_t table_output_bytes(const struct table_output *output)
{
    return output->bytes + (output->writer ? table_writer_bytes(output->writer) : 0);
}

/* ---- what lies below ----------------------------------------------------------------------- */

/* Keys ascend, so a place in each run is enough. */
static bool has_older(struct table_output *output, sombra_slice key)
{
    for (size_t i = output->older; i < output->version->count; i++) {
        const struct version_run *run = &output->version->runs[i];
        size_t *place = &output->places[i];
        while (*place < run->count && slice_compare(run->tables[*place]->meta.end, key) <= 0)
            (*place)++;
        if (*place < run->count && slice_compare(run->tables[*place]->meta.low, key) <= 0)
            return true;
    }
    return false;
}

static bool range_has_older(const struct table_output *output, sombra_slice low, sombra_slice high)
{
    size_t first;
    for (size_t i = output->older; i < output->version->count; i++)
        if (policy_overlap(&output->version->runs[i], low, high, &first) > 0)
            return true;
    return false;
}

static bool is_over_too_much(struct table_output *output, sombra_slice key)
{
    const struct version_run *below = output->below;
    if (!below)
        return false;
    while (output->below_place < below->count &&
           slice_compare(below->tables[output->below_place]->meta.end, key) <= 0) {
        if (output->writer)
            output->below_bytes += below->tables[output->below_place]->meta.file_bytes;
        output->below_place++;
    }
    return output->below_bytes > BELOW_TABLES_MAX * output->lsm->options.table_bytes;
}

/* ---- tables -------------------------------------------------------------------------------- */

static sombra_err output_begin(struct table_output *output)
{
    struct lsm *lsm = output->lsm;
    assert(!output->writer);
    if (output->count == output->capacity) {
        size_t capacity = output->capacity ? 2 * output->capacity : 8;
        struct edit_table *tables =
            mem_realloc(output->tables, capacity * sizeof(output->tables[0]));
        if (!tables)
            return diag_nomem("an output of tables", capacity * sizeof(output->tables[0]));
        output->tables = tables;
        output->capacity = capacity;
    }
    struct table_writer_options options = {
        .codec = output->codec,
        .block_bytes = lsm->options.block_bytes,
        .filter_bits = lsm->options.filter_bits == LSM_NO_FILTER ? 0 : lsm->options.filter_bits,
        .prefix = lsm->options.prefix,
        .entries_hint = output->entries_hint,
        .mode = lsm->options.mode,
    };
    uint64_t number = lsm_take_number(lsm);
    char *path = lsm_table_path(lsm, number);
    if (!path)
        return diag_nomem("a path", LSM_PATH_BYTES_EXTRA);
    sombra_err err = lsm_check_place(lsm);
    if (!err)
        err = table_writer_open(lsm->os, path, number, &options, &output->writer);
    mem_free(path);
    output->below_bytes = 0;
    return err;
}

/* Hides what is left of the ranges before `end` (empty = all) in the current table, which is begun
 * if there is none. */
static sombra_err output_hide(struct table_output *output, sombra_slice end)
{
    const struct range_set *ranges = output->ranges;
    while (ranges && output->range < ranges->count) {
        sombra_slice low = ranges->ranges[output->range].low;
        sombra_slice high = ranges->ranges[output->range].high;
        if (output->from.bytes && slice_compare(low, buf_slice(&output->from)) < 0)
            low = buf_slice(&output->from);
        if (end.bytes && slice_compare(low, end) >= 0)
            return SOMBRA_OK;
        bool is_cut = end.bytes && slice_compare(end, high) < 0;
        if (is_cut)
            high = end;
        if (slice_compare(low, high) < 0 && range_has_older(output, low, high)) {
            sombra_err err = output->writer ? SOMBRA_OK : output_begin(output);
            if (!err)
                err = table_writer_hide(output->writer, low, high);
            if (err)
                return err;
        }
        if (is_cut)
            return buf_set(&output->from, end);
        output->range++;
    }
    return SOMBRA_OK;
}

static sombra_err output_keep(struct table_output *output, const struct table_meta *meta)
{
    assert(output->count < output->capacity);
    uint8_t *bounds = mem_alloc(meta->low.bytes + meta->end.bytes);
    if (!bounds)
        return diag_nomem("the bounds of a table", meta->low.bytes + meta->end.bytes);
    struct edit_table *table = &output->tables[output->count];
    *table = (struct edit_table){ .level = output->level, .run = output->run, .meta = *meta };
    if (meta->low.bytes)
        memcpy(bounds, meta->low.data, meta->low.bytes);
    if (meta->end.bytes)
        memcpy(bounds + meta->low.bytes, meta->end.data, meta->end.bytes);
    table->meta.low = slice_of(bounds, meta->low.bytes);
    table->meta.end = slice_of(bounds + meta->low.bytes, meta->end.bytes);
    output->count++;
    output->bytes += meta->file_bytes;
    return SOMBRA_OK;
}

static void unlink_table(struct lsm *lsm, uint64_t number)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    char *path = lsm_table_path(lsm, number);
    /* What cannot be removed now is an orphan, which the next open removes. */
    if (path && lsm_unlink(lsm, path) != SOMBRA_OK)
        diag_restore(text);
    mem_free(path);
    diag_restore(text);
}

sombra_err table_output_finish(struct table_output *output, sombra_slice end)
{
    sombra_err err = output_hide(output, end);
    if (err || !output->writer)
        return err;
    struct table_meta meta;
    err = table_writer_finish(output->writer, output->seq_max, &meta);
    if (!err) {
        err = output_keep(output, &meta);
        if (err)
            unlink_table(output->lsm, meta.number);
    }
    table_writer_close(output->writer);
    output->writer = NULL;
    return err;
}

sombra_err table_output_add(struct table_output *output, const struct lsm_entry *entry)
{
    if (entry->kind == ENTRY_DELETE && !has_older(output, entry->key))
        return SOMBRA_OK;
    sombra_err err = SOMBRA_OK;
    bool is_full =
        output->writer && table_writer_bytes(output->writer) >= output->lsm->options.table_bytes;
    if (is_over_too_much(output, entry->key) || is_full)
        err = table_output_finish(output, entry->key);
    if (!err && !output->writer)
        err = output_begin(output);
    return err ? err : table_writer_add(output->writer, entry);
}

void table_output_release(struct table_output *output, bool is_kept)
{
    table_writer_close(output->writer);
    for (size_t i = 0; i < output->count; i++) {
        if (!is_kept)
            unlink_table(output->lsm, output->tables[i].meta.number);
        mem_free((void *)(uintptr_t)output->tables[i].meta.low.data);
    }
    mem_free(output->tables);
    mem_free(output->places);
    buf_release(&output->from);
    memset(output, 0, sizeof(*output));
}
