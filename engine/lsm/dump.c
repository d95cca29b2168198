/* SPDX-License-Identifier: MIT */
/* What stands in the files, for people who look for a fault: read file by file without a lock and
 * without opening the store. */
#include "lsm_internal.h"
#include "paths.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CACHE_BYTES = 1 << 20 };

struct dump {
    struct os *os;
    const char *directory;
    struct kv_lines lines;
    struct cache *cache;
    struct table_cache *tables;
    struct manifest_state state;
    struct version *version; /* NULL = the manifest cannot be read */
};

static bool is_damage(sombra_err err)
{
    return err == SOMBRA_CORRUPT || err == SOMBRA_UNSUPPORTED || err == SOMBRA_NOT_FOUND;
}

/* ---- the manifest and its tables --------------------------------------------------------- */

static sombra_err dump_manifest(struct dump *dump)
{
    const struct manifest_state *state = &dump->state;
    char identity[2 * sizeof state->identity + 1];
    return kv_lines_tell(&dump->lines,
                         "manifest uuid=%s version=%" PRIu64 " next_number=%" PRIu64
                         " next_run=%" PRIu64 " seq=%" PRIu64 " log_seq=%" PRIu64 " clean=%s",
                         kv_line_hex(slice_of(state->identity, sizeof state->identity),
                                     sizeof state->identity, identity),
                         state->version, state->next_number, state->next_run, state->seq,
                         state->log_seq, state->is_clean ? "true" : "false");
}

static sombra_err dump_tables(struct dump *dump)
{
    char low[2 * (KV_KEY_BYTES_MAX + 1) + 1], end[2 * (KV_KEY_BYTES_MAX + 1) + 1];
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < dump->version->count && !err; i++) {
        const struct version_run *run = &dump->version->runs[i];
        err =
            kv_lines_tell(&dump->lines, "run level=%u number=%" PRIu64 " tables=%zu bytes=%" PRIu64,
                          run->level, run->number, run->count, run->bytes);
        for (size_t k = 0; k < run->count && !err; k++) {
            const struct table_meta *meta = &run->tables[k]->meta;
            err = kv_lines_tell(
                &dump->lines,
                "table number=%" PRIu64 " level=%u bytes=%" PRIu64 " entries=%" PRIu64
                " deletes=%" PRIu64 " ranges=%" PRIu64 " seq=%" PRIu64 " low=%s end=%s",
                meta->number, run->level, meta->file_bytes, meta->entries, meta->deletes,
                meta->range_count, meta->seq_max, kv_line_hex(meta->low, KV_KEY_BYTES_MAX + 1, low),
                kv_line_hex(meta->end, KV_KEY_BYTES_MAX + 1, end));
        }
    }
    return err;
}

/* ---- one table --------------------------------------------------------------------------- */

static sombra_err dump_entries(struct dump *dump, struct source *source)
{
    static const char *const kinds[] = { "put", "delete", "large" };
    static const uint8_t nothing[1];
    char key[2 * KV_KEY_BYTES_MAX + 1], value[2 * KV_LINE_VALUE_BYTES + 1];
    sombra_err err = source->ops->seek_ge(source, slice_of(nothing, 0));
    while (!err && source->is_valid) {
        const struct lsm_entry *entry = &source->entry;
        err = kv_lines_tell(&dump->lines, "entry kind=%s bytes=%zu key=%s value=%s",
                            kinds[entry->kind], entry->value.bytes,
                            kv_line_hex(entry->key, KV_KEY_BYTES_MAX, key),
                            kv_line_hex(entry->value, KV_LINE_VALUE_BYTES, value));
        if (!err)
            err = source->ops->next(source);
    }
    return err;
}

static sombra_err dump_table(struct dump *dump, uint64_t number)
{
    const struct table_context context = { .os = dump->os, .cache = dump->cache };
    struct table *table = NULL;
    struct source *source = NULL;
    char *path = lsm_path_of_table(dump->directory, number);
    if (!path)
        return diag_nomem("a path", strlen(dump->directory));
    sombra_err err = table_open(&context, path, NULL, &table);
    mem_free(path);
    if (err == SOMBRA_NOT_FOUND)
        return err;
    if (!err) {
        const struct table_meta *meta = table_meta(table);
        err = kv_lines_tell(&dump->lines,
                            "table number=%" PRIu64 " bytes=%" PRIu64 " entries=%" PRIu64
                            " deletes=%" PRIu64 " ranges=%" PRIu64 " seq=%" PRIu64 " memory=%zu",
                            meta->number, meta->file_bytes, meta->entries, meta->deletes,
                            meta->range_count, meta->seq_max, table_memory_bytes(table));
    }
    if (!err)
        err = table_source(table, false, &source);
    if (!err)
        err = dump_entries(dump, source);
    source_close(source);
    table_unref(table);
    return is_damage(err) ? kv_lines_tell_problem(&dump->lines, "table", number) : err;
}

/* ---- the logs ---------------------------------------------------------------------------- */

static sombra_err dump_record(void *context, const struct wal_record *record)
{
    struct dump *dump = context;
    return kv_lines_tell(&dump->lines, "record lsn=%" PRIu64 " durable_lsn=%" PRIu64 " bytes=%zu",
                         record->lsn, record->durable_lsn, record->payload.bytes);
}

static sombra_err dump_log(void *context, const char *name)
{
    struct dump *dump = context;
    struct wal_replay_result result;
    struct wal *wal;
    char *end;
    uint64_t base = strtoull(name, &end, 10);
    if (end == name || strcmp(end, ".log") != 0)
        return SOMBRA_OK;
    char *path = lsm_path(dump->directory, name);
    if (!path)
        return diag_nomem("a path", strlen(dump->directory));
    sombra_err err = wal_open(dump->os, path, true, &wal);
    mem_free(path);
    if (err)
        return is_damage(err) ? kv_lines_tell_problem(&dump->lines, "log", base) : err;
    err = kv_lines_tell(&dump->lines, "log base=%" PRIu64 " bytes=%" PRIu64 " needed=%s", base,
                        wal_file_bytes(wal),
                        !dump->version || base >= dump->state.log_seq ? "true" : "false");
    if (!err)
        err = wal_replay(wal, (struct wal_position){ .epoch = base + 1 }, base, dump_record, dump,
                         &result);
    if (!err)
        err = kv_lines_tell(&dump->lines,
                            "log_end base=%" PRIu64 " last_lsn=%" PRIu64 " offset=%" PRIu64, base,
                            result.last_lsn, result.end.offset);
    else if (is_damage(err))
        err = kv_lines_tell_problem(&dump->lines, "log", base);
    wal_close(wal);
    return err;
}

/* ---- the dump ---------------------------------------------------------------------------- */

static sombra_err dump_open(struct dump *dump)
{
    const struct table_context context = { .os = dump->os };
    sombra_err err = cache_new(CACHE_BYTES, NULL, &dump->cache);
    struct table_context with_cache = context;
    with_cache.cache = dump->cache;
    if (!err)
        err = table_cache_new(&with_cache, dump->directory, 1, &dump->tables);
    if (!err)
        err = manifest_read(dump->os, dump->directory, dump->tables, &dump->state, &dump->version);
    return err;
}

static void dump_close(struct dump *dump)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    version_unref(dump->version);
    table_cache_free(dump->tables);
    cache_free(dump->cache);
    diag_restore(text);
}

sombra_err lsm_dump(struct os *os, const char *path, enum lsm_dump_what what, uint64_t number,
                    kv_line_fn line, void *context)
{
    struct dump *dump = mem_zalloc(sizeof *dump);
    assert(os && path && line);
    if (!dump)
        return diag_nomem("a dump", sizeof *dump);
    *dump =
        (struct dump){ .os = os, .directory = path, .lines = { .line = line, .context = context } };
    sombra_err err = dump_open(dump);
    bool needs_manifest = what == LSM_DUMP_MANIFEST || what == LSM_DUMP_TABLES;
    struct os_identity identity;
    bool is_there = os_identify_path(os, path, &identity) == SOMBRA_OK;
    if (is_damage(err) && is_there && !needs_manifest)
        err = kv_lines_tell_problem(&dump->lines, "manifest", 0);
    if (!err && what == LSM_DUMP_MANIFEST)
        err = dump_manifest(dump);
    else if (!err && what == LSM_DUMP_TABLES)
        err = dump_tables(dump);
    else if (!err && what == LSM_DUMP_TABLE)
        err = dump_table(dump, number);
    else if (!err)
        err = os_list_directory(os, path, dump_log, dump);
    dump_close(dump);
    mem_free(dump);
    return diag_wrap(err, "%s", path);
}
