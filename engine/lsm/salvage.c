/* SPDX-License-Identifier: MIT */
/* Salvage: what can be read of a damaged store, written anew.
 *
 * Tables and logs are applied to a new store in the order of their age, oldest first, so that what
 * is newer wins as it did before: hidden ranges of a table first (they hide older tables only),
 * then its entries. The manifest says which tables there are and which is older; without a sound
 * one all tables of the directory count, by the newest commit that each knows, and what is in them
 * is uncertain: it may have been merged into another table since. A table whose footer, properties
 * or index are damaged is read block by block; its hidden ranges are lost then, and what they hid
 * may come back, which is uncertain too.
 */
#include "lsm_internal.h"
#include "write_internal.h"
#include "paths.h"

#include <stdio.h>
#include <stdlib.h>

enum { TXN_BYTES = 4 << 20, CACHE_BYTES = 4 << 20 };

struct salvage_table {
    uint64_t number;
    uint64_t age; /* greater = newer */
};

struct salvage {
    struct os *os;
    char *directory;
    const struct lsm_salvage_options *options;
    struct lsm_salvage_report report;
    struct os_file *lock;
    struct cache *cache;
    struct salvage_table *tables; /* oldest first, once sorted */
    size_t count, capacity;
    uint64_t *logs; /* base numbers, ascending, once sorted */
    size_t log_count, log_capacity;
    uint64_t log_seq; /* of the manifest: older logs are in tables */
    bool needs_log;   /* it says that the log behind log_seq is there */
    char *staging;    /* "<to>-new": it gets its name when it is whole */
    struct kv *to;
    struct kv_txn *txn;
    size_t txn_bytes;
    bool is_uncertain; /* of the table in work */
    uint64_t done;     /* files */
};

/* ---- findings ---------------------------------------------------------------------------- */

static void finding(struct salvage *salvage, sombra_err code, uint64_t number)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    salvage->report.problems++;
    if (salvage->options->problem)
        salvage->options->problem(
            salvage->options->context,
            &(struct kv_problem){ .code = code, .page = number, .message = text });
}

static bool is_damage(sombra_err err)
{
    return err == SOMBRA_CORRUPT || err == SOMBRA_UNSUPPORTED || err == SOMBRA_NOT_FOUND ||
           err == SOMBRA_INVALID;
}

static sombra_err progress(struct salvage *salvage)
{
    uint64_t total = salvage->count + salvage->log_count;
    if (!salvage->options->progress ||
        salvage->options->progress(salvage->options->context, salvage->done, total))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " of %" PRIu64 " files",
                     salvage->done, total);
}

/* ---- writing the new store --------------------------------------------------------------- */

static sombra_err txn_begin(struct salvage *salvage)
{
    const struct kv_begin_options options = { .is_write = true };
    return salvage->txn ? SOMBRA_OK : kv_begin(salvage->to, &options, &salvage->txn);
}

static sombra_err txn_commit(struct salvage *salvage)
{
    struct kv_txn *txn = salvage->txn;
    salvage->txn = NULL;
    salvage->txn_bytes = 0;
    return txn ? kv_commit(txn, KV_OFF) : SOMBRA_OK;
}

static sombra_err apply(struct salvage *salvage, enum entry_kind kind, sombra_slice key,
                        sombra_slice value)
{
    sombra_err err = txn_begin(salvage);
    if (err)
        return err;
    if (kind == ENTRY_DELETE)
        err = kv_delete(salvage->txn, key);
    else
        err = kv_put(salvage->txn, key, value);
    if (err == SOMBRA_NOT_FOUND)
        err = SOMBRA_OK;
    salvage->txn_bytes += key.bytes + value.bytes;
    if (!err && salvage->txn_bytes >= TXN_BYTES)
        err = txn_commit(salvage);
    return err;
}

static sombra_err apply_entry(void *context, const struct lsm_entry *entry,
                              sombra_slice large_value)
{
    struct salvage *salvage = context;
    salvage->report.entries_uncertain += salvage->is_uncertain;
    return apply(salvage, entry->kind, entry->key,
                 entry->kind == ENTRY_LARGE ? large_value : entry->value);
}

/* Bounds of hidden ranges may be one byte longer than keys. A key k is below such a `high` if it is
 * not behind the first bytes of that, and not below such a `low` if it is behind those of that. */
static sombra_err apply_range(struct salvage *salvage, sombra_slice low, sombra_slice high)
{
    struct kv_range range = { slice_of(low.data, size_min(low.bytes, KV_KEY_BYTES_MAX)),
                              slice_of(high.data, size_min(high.bytes, KV_KEY_BYTES_MAX)) };
    struct buf kept = BUF_INIT;
    sombra_slice value;
    bool has_kept = false;
    sombra_err err = txn_begin(salvage);
    if (!err && low.bytes > KV_KEY_BYTES_MAX) {
        err = kv_get(salvage->txn, range.low, &value);
        has_kept = !err;
        err = err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
        if (!err && has_kept)
            err = buf_set(&kept, value);
    }
    if (!err)
        err = kv_delete_range(salvage->txn, range, NULL);
    if (!err && high.bytes > KV_KEY_BYTES_MAX) {
        err = kv_delete(salvage->txn, range.high);
        err = err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    }
    if (!err && has_kept)
        err = kv_put(salvage->txn, range.low, buf_slice(&kept));
    buf_release(&kept);
    return err;
}

/* ---- what there is ----------------------------------------------------------------------- */

static sombra_err table_note(struct salvage *salvage, uint64_t number, uint64_t age)
{
    if (salvage->count == salvage->capacity) {
        size_t capacity = size_max(16, salvage->capacity * 2);
        void *tables = mem_realloc(salvage->tables, capacity * sizeof *salvage->tables);
        if (!tables)
            return diag_nomem("a list of tables", capacity * sizeof *salvage->tables);
        salvage->tables = tables;
        salvage->capacity = capacity;
    }
    salvage->tables[salvage->count++] = (struct salvage_table){ number, age };
    return SOMBRA_OK;
}

static sombra_err log_note(struct salvage *salvage, uint64_t base)
{
    if (salvage->log_count == salvage->log_capacity) {
        size_t capacity = size_max(8, salvage->log_capacity * 2);
        void *logs = mem_realloc(salvage->logs, capacity * sizeof *salvage->logs);
        if (!logs)
            return diag_nomem("a list of logs", capacity * sizeof *salvage->logs);
        salvage->logs = logs;
        salvage->log_capacity = capacity;
    }
    salvage->logs[salvage->log_count++] = base;
    return SOMBRA_OK;
}

/* Of a table that no manifest places: the newest commit it knows; 0 if it says nothing. */
static uint64_t table_age(struct salvage *salvage, uint64_t number)
{
    const struct table_context context = { .os = salvage->os, .cache = salvage->cache };
    struct table *table;
    uint64_t age = 0;
    char *path = lsm_path_of_table(salvage->directory, number);
    if (path && table_open(&context, path, NULL, &table) == SOMBRA_OK) {
        age = table_meta(table)->seq_max;
        table_unref(table);
    }
    mem_free(path);
    return age;
}

static sombra_err name_note(void *context, const char *name)
{
    struct salvage *salvage = context;
    char *end;
    uint64_t number = strtoull(name, &end, 10);
    if (end == name)
        return SOMBRA_OK;
    if (strcmp(end, ".log") == 0)
        return log_note(salvage, number);
    if (strcmp(end, ".sst") == 0 && !salvage->report.has_manifest)
        return table_note(salvage, number, table_age(salvage, number));
    return SOMBRA_OK;
}

/* From the manifest: tables by the age of their runs. */
static sombra_err version_note(struct salvage *salvage)
{
    const struct table_context context = { .os = salvage->os, .cache = salvage->cache };
    struct table_cache *cache = NULL;
    struct manifest_state state;
    struct version *version = NULL;
    sombra_err err = table_cache_new(&context, salvage->directory, 1, &cache);
    if (!err)
        err = manifest_read(salvage->os, salvage->directory, cache, &state, &version);
    if (!err) {
        salvage->report.has_manifest = true;
        salvage->log_seq = state.log_seq;
        salvage->needs_log = !state.is_clean;
        for (size_t i = 0; i < version->count && !err; i++) {
            for (size_t k = 0; k < version->runs[i].count && !err; k++)
                err = table_note(salvage, version->runs[i].tables[k]->meta.number,
                                 version->count - i);
        }
    } else if (is_damage(err)) {
        finding(salvage, err, 0);
        err = SOMBRA_OK;
    }
    version_unref(version);
    table_cache_free(cache);
    return err;
}

static int compare_tables(const void *a, const void *b)
{
    const struct salvage_table *left = a, *right = b;
    if (left->age != right->age)
        return left->age < right->age ? -1 : 1;
    return (left->number > right->number) - (left->number < right->number);
}

static int compare_logs(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static sombra_err files_list(struct salvage *salvage)
{
    sombra_err err = version_note(salvage);
    if (!err)
        err = os_list_directory(salvage->os, salvage->directory, name_note, salvage);
    if (err)
        return err;
    if (salvage->count + salvage->log_count == 0 && !salvage->report.has_manifest)
        return diag_fail(SOMBRA_INVALID, "nothing in it is of a database");
    if (salvage->count)
        qsort(salvage->tables, salvage->count, sizeof *salvage->tables, compare_tables);
    if (salvage->log_count)
        qsort(salvage->logs, salvage->log_count, sizeof *salvage->logs, compare_logs);
    return SOMBRA_OK;
}

/* ---- tables ------------------------------------------------------------------------------ */

static sombra_err ranges_apply(struct salvage *salvage, const char *path, uint64_t number)
{
    const struct table_context context = { .os = salvage->os, .cache = salvage->cache };
    struct table *table;
    sombra_err err = table_open(&context, path, NULL, &table);
    if (is_damage(err)) {
        finding(salvage, err, number);
        salvage->report.tables_damaged++;
        salvage->is_uncertain = true;
        return SOMBRA_OK;
    }
    if (err)
        return err;
    for (size_t i = 0; i < table_meta(table)->range_count && !err; i++) {
        sombra_slice low, high;
        table_range(table, i, &low, &high);
        err = apply_range(salvage, low, high);
    }
    table_unref(table);
    return err;
}

static sombra_err table_apply(struct salvage *salvage, const struct salvage_table *listed)
{
    const struct table_context context = { .os = salvage->os, .cache = salvage->cache };
    uint64_t lost = 0;
    uint64_t damaged = salvage->report.tables_damaged;
    char *path = lsm_path_of_table(salvage->directory, listed->number);
    if (!path)
        return diag_nomem("a path", strlen(salvage->directory));
    salvage->is_uncertain = !salvage->report.has_manifest;
    salvage->report.tables++;
    sombra_err err = ranges_apply(salvage, path, listed->number);
    if (!err)
        err = table_salvage(&context, path, apply_entry, salvage, &lost);
    if (is_damage(err)) {
        finding(salvage, err, listed->number);
        err = SOMBRA_OK;
        lost++;
    }
    if (lost && damaged == salvage->report.tables_damaged)
        salvage->report.tables_damaged++;
    if (lost) {
        sombra_err said =
            diag_fail(SOMBRA_CORRUPT, "%s: %" PRIu64 " blocks cannot be read", path, lost);
        finding(salvage, said, listed->number);
    }
    salvage->report.blocks_lost += lost;
    salvage->done++;
    mem_free(path);
    return err ? err : progress(salvage);
}

/* ---- logs -------------------------------------------------------------------------------- */

struct log_work {
    struct salvage *salvage;
    uint64_t txns;
};

/* Each record is a whole transaction: read into a memtable of its own, and from there applied. */
static sombra_err record_apply(void *context, const struct wal_record *record)
{
    struct log_work *work = context;
    struct salvage *salvage = work->salvage;
    struct memtable *memtable;
    struct source *source = NULL;
    struct range_set ranges = RANGE_SET_INIT;
    static const uint8_t nothing[1];
    sombra_err err = memtable_new(&memtable);
    if (err)
        return err;
    err = lsm_redo_apply(record->payload, record->lsn, memtable);
    if (!err)
        err = memtable_ranges(memtable, record->lsn, &ranges);
    for (size_t i = 0; i < ranges.count && !err; i++)
        err = apply_range(salvage, ranges.ranges[i].low, ranges.ranges[i].high);
    if (!err)
        err = memtable_source(memtable, record->lsn, &source);
    if (!err)
        err = source->ops->seek_ge(source, slice_of(nothing, 0));
    while (!err && source->is_valid) {
        err = apply(salvage, source->entry.kind, source->entry.key, source->entry.value);
        if (!err)
            err = source->ops->next(source);
    }
    source_close(source);
    range_set_release(&ranges);
    memtable_unref(memtable);
    work->txns += !err;
    return err;
}

static sombra_err log_apply(struct salvage *salvage, uint64_t base, uint64_t *last_seq)
{
    struct log_work work = { .salvage = salvage };
    struct wal_replay_result result = { .last_lsn = base };
    struct wal *wal = NULL;
    char *path = lsm_path_of_log(salvage->directory, base);
    if (!path)
        return diag_nomem("a path", strlen(salvage->directory));
    sombra_err err = wal_open(salvage->os, path, true, &wal);
    if (!err)
        err = wal_replay(wal, (struct wal_position){ .epoch = base + 1 }, base, record_apply, &work,
                         &result);
    if (is_damage(err)) {
        finding(salvage, err, 0);
        salvage->report.is_log_incomplete = true;
        err = SOMBRA_OK;
        *last_seq = base + work.txns;
    } else if (!err) {
        *last_seq = result.last_lsn;
    }
    salvage->report.txns_replayed += work.txns;
    salvage->done++;
    wal_close(wal);
    mem_free(path);
    return err ? err : progress(salvage);
}

static void log_miss(struct salvage *salvage)
{
    sombra_err said = diag_fail(SOMBRA_NOT_FOUND, "%s/%020" PRIu64 ".log is missing, and needed",
                                salvage->directory, salvage->log_seq);
    finding(salvage, said, 0);
    salvage->report.is_log_incomplete = true;
}

/* Only while the chain holds: what follows a gap belongs to commits that came after lost ones. A
 * log within another is what a failed call left, without a commit. */
static sombra_err logs_apply(struct salvage *salvage)
{
    uint64_t last_seq = 0;
    bool is_first = true;
    for (size_t i = 0; i < salvage->log_count; i++) {
        uint64_t base = salvage->logs[i];
        if (base < salvage->log_seq || (!is_first && base < last_seq))
            continue;
        if (is_first && salvage->needs_log && base != salvage->log_seq)
            break;
        if (salvage->report.is_log_incomplete || (!is_first && base > last_seq)) {
            salvage->report.is_log_incomplete = true;
            break;
        }
        sombra_err err = log_apply(salvage, base, &last_seq);
        if (err)
            return err;
        is_first = false;
    }
    if (is_first && salvage->needs_log)
        log_miss(salvage);
    return txn_commit(salvage);
}

/* ---- the job ----------------------------------------------------------------------------- */

/* A writing process would change the files below us. */
static sombra_err lock_take(struct salvage *salvage)
{
    char *path = lsm_path(salvage->directory, "LOCK");
    if (!path)
        return diag_nomem("a path", strlen(salvage->directory));
    sombra_err err = os_open(salvage->os, path, OS_READ, 0, &salvage->lock);
    mem_free(path);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err)
        err = os_lock(salvage->lock, LOCK_WRITER, 1, OS_LOCK_SHARED);
    if (err == SOMBRA_BUSY)
        return diag_fail(SOMBRA_BUSY, "a process has it open for writing: close it there first");
    return err;
}

static char *staging_path(const char *to)
{
    size_t bytes = strlen(to);
    char *path = mem_alloc(bytes + sizeof "-new");
    while (bytes > 1 && to[bytes - 1] == '/')
        bytes--;
    if (path)
        (void)snprintf(path, bytes + sizeof "-new", "%.*s-new", (int)bytes, to);
    return path;
}

static sombra_err target_open(struct salvage *salvage, const char *to)
{
    const struct lsm_options options = { .create = true,
                                         .mode = salvage->options->mode,
                                         .durability = KV_OFF,
                                         .prefix = salvage->options->prefix };
    struct os_identity identity;
    sombra_err err = os_identify_path(salvage->os, to, &identity);
    if (!err)
        return diag_fail(SOMBRA_EXISTS, "%s exists; it is not replaced", to);
    if (err != SOMBRA_NOT_FOUND)
        return err;
    salvage->staging = staging_path(to);
    if (!salvage->staging)
        return diag_nomem("a path", strlen(to));
    err = os_identify_path(salvage->os, salvage->staging, &identity);
    if (!err)
        return diag_fail(SOMBRA_EXISTS, "%s is left from a repair that did not end: remove it",
                         salvage->staging);
    return err == SOMBRA_NOT_FOUND ? lsm_open(salvage->os, salvage->staging, &options, &salvage->to)
                                   : err;
}

/* It is closed, and all of it durable. */
static sombra_err target_publish(struct salvage *salvage, const char *to)
{
    sombra_err err = os_rename(salvage->os, salvage->staging, to);
    return err ? err : os_sync_directory_of(salvage->os, salvage->staging);
}

static sombra_err target_finish(struct salvage *salvage)
{
    struct kv_txn *txn;
    sombra_err err = kv_begin(salvage->to, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    err = kv_count(txn, (struct kv_range){ 0 }, 0, &salvage->report.entries);
    kv_abort(txn);
    return err;
}

static sombra_err salvage_run(struct salvage *salvage, const char *to)
{
    sombra_err err = lock_take(salvage);
    if (!err)
        err = cache_new(CACHE_BYTES, NULL, &salvage->cache);
    if (!err)
        err = files_list(salvage);
    if (!err)
        err = target_open(salvage, to);
    for (size_t i = 0; i < salvage->count && !err; i++)
        err = table_apply(salvage, &salvage->tables[i]);
    if (!err)
        err = logs_apply(salvage);
    if (!err)
        err = target_finish(salvage);
    return err;
}

static sombra_err target_name(void *context, const char *name)
{
    return buf_append(context, name, strlen(name) + 1);
}

static void target_unlink(struct salvage *salvage, const char *to, const char *name)
{
    char *path = lsm_path(to, name);
    if (!path)
        return;
    sombra_err err = os_unlink(salvage->os, path);
    (void)err; /* what stays is no store: the manifest goes first */
    mem_free(path);
}

/* Half of a store must not be taken for one. The directory was made here: all in it is ours. */
static void target_remove(struct salvage *salvage, const char *to)
{
    struct buf names = BUF_INIT;
    target_unlink(salvage, to, "MANIFEST");
    sombra_err err = os_list_directory(salvage->os, to, target_name, &names);
    for (size_t at = 0; !err && at < names.bytes;) {
        const char *name = (const char *)names.data + at;
        target_unlink(salvage, to, name);
        at += strlen(name) + 1;
    }
    buf_release(&names);
    err = os_remove_directory(salvage->os, to);
    (void)err;
}

/* The first error counts. */
static sombra_err salvage_release(struct salvage *salvage, const char *to, sombra_err err)
{
    char text[DIAG_TEXT_BYTES];
    bool has_target = salvage->to != NULL;
    diag_save(text);
    if (salvage->txn)
        kv_abort(salvage->txn);
    if (salvage->to) {
        sombra_err closed = kv_close(salvage->to);
        if (!err && closed) {
            diag_save(text);
            err = closed;
        }
    }
    if (!err) {
        err = target_publish(salvage, to);
        diag_save(text);
    }
    if (err && has_target)
        target_remove(salvage, salvage->staging);
    mem_free(salvage->staging);
    cache_free(salvage->cache);
    os_close(salvage->lock);
    mem_free(salvage->tables);
    mem_free(salvage->logs);
    mem_free(salvage->directory);
    diag_restore(text);
    return err;
}

sombra_err lsm_salvage(struct os *os, const char *path, const char *to,
                       const struct lsm_salvage_options *options,
                       struct lsm_salvage_report *out_report)
{
    struct salvage salvage = { .os = os, .options = options };
    assert(os && path && to && options && out_report);
    sombra_err err = os_resolve(os, path, &salvage.directory);
    if (!err)
        err = salvage_run(&salvage, to);
    err = salvage_release(&salvage, to, err);
    if (!err)
        *out_report = salvage.report;
    return diag_wrap(err, "repair %s", path);
}
