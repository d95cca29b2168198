/* SPDX-License-Identifier: MIT */
/* manifest: edits to bytes and back, and the file they are in.
 *
 * Each commit is synced before it counts, so a record knows all before it as durable, and a mark
 * behind it, which nobody waits for, says so of itself: damage to a record is told from a crash's
 * tail (wal.h) even where it is the last. A lost edit would not only be an older state: the files
 * of the older state are gone.
 */
#include "lsm/manifest.h"
#include "lsm/manifest_format.h"
#include "paths.h"

enum { READ_ATTEMPTS = 3 };
#define OUTGROWN_BYTES_MIN ((uint64_t)4 * MiB)
#define OUTGROWN_RATIO     8
#define FILE_BYTES_MAX     (UINT64_MAX / 4)

struct manifest {
    struct os *os;
    char *path, *new_path; /* "MANIFEST", "MANIFEST-new" */
    unsigned mode;
    struct wal *wal;
    uint64_t lsn;         /* of the last record */
    uint64_t whole_bytes; /* what the first record took */
    struct manifest_state state;
    bool is_failed; /* beyond what the log knows: its name may be another file's */
};

static_assert(MANIFEST_TOTALS + 8 * TOTAL_COUNT == MANIFEST_HEADER_BYTES,
              "totals close the header");

/* ---- encode ------------------------------------------------------------------------------- */

static sombra_err encode_header(struct buf *to, enum manifest_kind kind,
                                const struct manifest_state *state, uint64_t removed_count,
                                uint64_t added_count)
{
    uint8_t *at;
    sombra_err err = buf_extend(to, MANIFEST_HEADER_BYTES, &at);
    if (err)
        return err;
    memset(at, 0, MANIFEST_HEADER_BYTES);
    memcpy(at + MANIFEST_MAGIC, MANIFEST_MAGIC_TEXT, MANIFEST_FORMAT);
    put_le32(at + MANIFEST_FORMAT, MANIFEST_FORMAT_VERSION);
    put_le32(at + MANIFEST_KIND, kind);
    put_le64(at + MANIFEST_VERSION, state->version);
    put_le64(at + MANIFEST_NEXT_NUMBER, state->next_number);
    put_le64(at + MANIFEST_NEXT_RUN, state->next_run);
    put_le64(at + MANIFEST_SEQ, state->seq);
    put_le64(at + MANIFEST_LOG_SEQ, state->log_seq);
    put_le32(at + MANIFEST_FLAGS, state->is_clean ? MANIFEST_FLAG_CLEAN : 0);
    memcpy(at + MANIFEST_IDENTITY, state->identity, sizeof state->identity);
    put_le64(at + MANIFEST_REMOVED_COUNT, removed_count);
    put_le64(at + MANIFEST_ADDED_COUNT, added_count);
    for (size_t i = 0; i < TOTAL_COUNT; i++)
        put_le64(at + MANIFEST_TOTALS + 8 * i, state->totals[i]);
    return SOMBRA_OK;
}

static sombra_err encode_table(struct buf *to, unsigned level, uint64_t run,
                               const struct table_meta *meta, const struct manifest_state *state)
{
    uint8_t *at;
    /* What decode_edit asks for. */
    assert(meta->number > 0 && meta->number < state->next_number);
    assert(level > 0 || run < u64_max(state->next_run, 1));
    (void)state;
    if (meta->low.bytes > UINT32_MAX || meta->end.bytes > UINT32_MAX)
        return diag_fail(SOMBRA_LIMIT, "table %06" PRIu64 ": a key of 4 GiB in the manifest",
                         meta->number);
    sombra_err err = buf_extend(to, MANIFEST_TABLE_BYTES, &at);
    if (err)
        return err;
    memset(at, 0, MANIFEST_TABLE_BYTES);
    put_le64(at + MANIFEST_TABLE_NUMBER, meta->number);
    put_le64(at + MANIFEST_TABLE_FILE_BYTES, meta->file_bytes);
    put_le64(at + MANIFEST_TABLE_ENTRIES, meta->entries);
    put_le64(at + MANIFEST_TABLE_DELETES, meta->deletes);
    put_le64(at + MANIFEST_TABLE_RANGE_COUNT, meta->range_count);
    put_le64(at + MANIFEST_TABLE_SEQ_MAX, meta->seq_max);
    put_le64(at + MANIFEST_TABLE_RUN, run);
    put_le32(at + MANIFEST_TABLE_LEVEL, level);
    put_le32(at + MANIFEST_TABLE_LOW_BYTES, (uint32_t)meta->low.bytes);
    put_le32(at + MANIFEST_TABLE_END_BYTES, (uint32_t)meta->end.bytes);
    err = buf_append_slice(to, meta->low);
    return err ? err : buf_append_slice(to, meta->end);
}

static sombra_err encode_edit(struct buf *to, const struct edit *edit,
                              const struct manifest_state *state)
{
    sombra_err err =
        encode_header(to, MANIFEST_KIND_EDIT, state, edit->removed_count, edit->added_count);
    for (size_t i = 0; !err && i < edit->removed_count; i++) {
        uint8_t number[8];
        put_le64(number, edit->removed[i]);
        err = buf_append(to, number, sizeof number);
    }
    for (size_t i = 0; !err && i < edit->added_count; i++)
        err =
            encode_table(to, edit->added[i].level, edit->added[i].run, &edit->added[i].meta, state);
    return err;
}

static sombra_err encode_whole(struct buf *to, const struct version *version,
                               const struct manifest_state *state)
{
    uint64_t tables = 0;
    for (size_t i = 0; i < version->count; i++)
        tables += version->runs[i].count;
    sombra_err err = encode_header(to, MANIFEST_KIND_WHOLE, state, 0, tables);
    for (size_t i = 0; !err && i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        for (size_t k = 0; !err && k < run->count; k++)
            err = encode_table(to, run->level, run->number, &run->tables[k]->meta, state);
    }
    return err;
}

/* ---- decode ------------------------------------------------------------------------------- */

struct reading {
    struct table_cache *cache;
    struct manifest_state state;
    struct version *version; /* NULL before the first record */
};

static sombra_err check_magic(sombra_slice payload)
{
    const uint8_t *at = payload.data;
    if (payload.bytes < MANIFEST_KIND ||
        memcmp(at + MANIFEST_MAGIC, MANIFEST_MAGIC_TEXT, MANIFEST_FORMAT) != 0)
        return diag_fail(SOMBRA_CORRUPT, "no record of a manifest");
    uint32_t format = get_le32(at + MANIFEST_FORMAT);
    if (format != MANIFEST_FORMAT_VERSION)
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "format %" PRIu32 " of the manifest; this build reads %d", format,
                         MANIFEST_FORMAT_VERSION);
    if (payload.bytes < MANIFEST_HEADER_BYTES)
        return diag_fail(SOMBRA_CORRUPT, "a record of %zu bytes", payload.bytes);
    return SOMBRA_OK;
}

static sombra_err decode_state(const uint8_t *at, struct manifest_state *out_state)
{
    uint32_t flags = get_le32(at + MANIFEST_FLAGS);
    struct manifest_state state = {
        .version = get_le64(at + MANIFEST_VERSION),
        .next_number = get_le64(at + MANIFEST_NEXT_NUMBER),
        .next_run = get_le64(at + MANIFEST_NEXT_RUN),
        .seq = get_le64(at + MANIFEST_SEQ),
        .log_seq = get_le64(at + MANIFEST_LOG_SEQ),
        .is_clean = flags & MANIFEST_FLAG_CLEAN,
    };
    memcpy(state.identity, at + MANIFEST_IDENTITY, sizeof state.identity);
    for (size_t i = 0; i < TOTAL_COUNT; i++)
        state.totals[i] = get_le64(at + MANIFEST_TOTALS + 8 * i);
    if ((flags & ~(uint32_t)MANIFEST_FLAGS_KNOWN) != 0 || get_le32(at + MANIFEST_ZERO) != 0)
        return diag_fail(SOMBRA_CORRUPT, "unknown flags %" PRIx32, flags);
    if ((state.version | state.next_number | state.next_run) >= MANIFEST_NUMBER_MAX ||
        state.seq >= MANIFEST_COMMIT_MAX || state.log_seq >= MANIFEST_COMMIT_MAX)
        return diag_fail(SOMBRA_CORRUPT, "a count is out of range");
    *out_state = state;
    return SOMBRA_OK;
}

/* Does `next` continue what was read so far? */
static sombra_err check_state(const struct reading *reading, const struct manifest_state *next)
{
    const struct manifest_state *last = &reading->state;
    if (!reading->version)
        return SOMBRA_OK;
    if (next->version != last->version + 1)
        return diag_fail(SOMBRA_CORRUPT, "version %" PRIu64 " follows %" PRIu64, next->version,
                         last->version);
    if (memcmp(next->identity, last->identity, sizeof last->identity) != 0)
        return diag_fail(SOMBRA_CORRUPT, "a record of another store");
    if (next->next_number < last->next_number || next->next_run < last->next_run ||
        next->seq < last->seq || next->log_seq < last->log_seq)
        return diag_fail(SOMBRA_CORRUPT, "a count is smaller than in the record before");
    return SOMBRA_OK;
}

/* Moves *at behind one table. Keys stay in the payload. */
static sombra_err decode_table(const uint8_t **at, const uint8_t *end, struct edit_table *out)
{
    const uint8_t *from = *at;
    if ((size_t)(end - from) < MANIFEST_TABLE_BYTES)
        return diag_fail(SOMBRA_CORRUPT, "a table is cut short");
    size_t rest = (size_t)(end - from) - MANIFEST_TABLE_BYTES;
    uint32_t low_bytes = get_le32(from + MANIFEST_TABLE_LOW_BYTES);
    uint32_t end_bytes = get_le32(from + MANIFEST_TABLE_END_BYTES);
    if (low_bytes > rest || end_bytes > rest - low_bytes)
        return diag_fail(SOMBRA_CORRUPT, "the keys of a table are cut short");
    if (get_le32(from + MANIFEST_TABLE_PAD) != 0)
        return diag_fail(SOMBRA_CORRUPT, "a table's padding is not zero");
    const uint8_t *keys = from + MANIFEST_TABLE_BYTES;
    *out = (struct edit_table){
        .level = get_le32(from + MANIFEST_TABLE_LEVEL),
        .run = get_le64(from + MANIFEST_TABLE_RUN),
        .meta = { .number = get_le64(from + MANIFEST_TABLE_NUMBER),
                  .file_bytes = get_le64(from + MANIFEST_TABLE_FILE_BYTES),
                  .entries = get_le64(from + MANIFEST_TABLE_ENTRIES),
                  .deletes = get_le64(from + MANIFEST_TABLE_DELETES),
                  .range_count = get_le64(from + MANIFEST_TABLE_RANGE_COUNT),
                  .seq_max = get_le64(from + MANIFEST_TABLE_SEQ_MAX),
                  .low = slice_of(keys, low_bytes),
                  .end = slice_of(keys + low_bytes, end_bytes) },
    };
    *at = keys + low_bytes + end_bytes;
    return SOMBRA_OK;
}

/* Fills `edit`, whose arrays have room for the counts that it holds. */
static sombra_err decode_edit(sombra_slice payload, const struct manifest_state *state,
                              struct edit *edit)
{
    const uint8_t *at = (const uint8_t *)payload.data + MANIFEST_HEADER_BYTES;
    const uint8_t *end = (const uint8_t *)payload.data + payload.bytes;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < edit->removed_count; i++, at += 8)
        edit->removed[i] = get_le64(at);
    for (size_t i = 0; !err && i < edit->added_count; i++) {
        struct edit_table *table = &edit->added[i];
        err = decode_table(&at, end, table);
        if (!err && table->meta.number >= state->next_number)
            err = diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 ", but the next one is %06" PRIu64,
                            table->meta.number, state->next_number);
        if (!err && table->level == 0 && table->run >= u64_max(state->next_run, 1))
            err = diag_fail(SOMBRA_CORRUPT, "run %" PRIu64 ", but the next one is %" PRIu64,
                            table->run, state->next_run);
    }
    if (!err && at != end)
        err = diag_fail(SOMBRA_CORRUPT, "%zu bytes behind the tables", (size_t)(end - at));
    return err;
}

static sombra_err apply_payload(struct reading *reading, const struct manifest_state *state,
                                sombra_slice payload, struct edit *edit)
{
    struct version *old = reading->version, *next;
    sombra_err err = decode_edit(payload, state, edit);
    if (!err && !old) /* the first record is an edit of nothing */
        err = version_empty(reading->cache, 0, &old);
    if (err)
        return err;
    err = version_apply(old, reading->cache, edit, &next);
    if (!err || !reading->version)
        version_unref(old);
    if (err)
        return err;
    next->number = state->version; /* nobody else has it yet */
    reading->version = next;
    reading->state = *state;
    return SOMBRA_OK;
}

static sombra_err decode_payload(struct reading *reading, sombra_slice payload)
{
    const uint8_t *at = payload.data;
    struct manifest_state state;
    sombra_err err = check_magic(payload);
    if (!err)
        err = decode_state(at, &state);
    if (!err)
        err = check_state(reading, &state);
    if (err)
        return err;
    uint32_t kind = get_le32(at + MANIFEST_KIND);
    uint64_t removed_count = get_le64(at + MANIFEST_REMOVED_COUNT);
    uint64_t added_count = get_le64(at + MANIFEST_ADDED_COUNT);
    size_t rest = payload.bytes - MANIFEST_HEADER_BYTES;
    if (kind != (uint32_t)(reading->version ? MANIFEST_KIND_EDIT : MANIFEST_KIND_WHOLE))
        return diag_fail(SOMBRA_CORRUPT, "kind %" PRIu32 " in the wrong place", kind);
    if (removed_count > rest / 8 ||
        added_count > (rest - (size_t)removed_count * 8) / MANIFEST_TABLE_BYTES)
        return diag_fail(SOMBRA_CORRUPT,
                         "%" PRIu64 " removed and %" PRIu64 " added tables in %zu bytes",
                         removed_count, added_count, payload.bytes);
    struct edit edit = { .removed_count = (size_t)removed_count,
                         .added_count = (size_t)added_count };
    edit.removed = mem_alloc(edit.removed_count * sizeof *edit.removed);
    edit.added = mem_alloc(edit.added_count * sizeof *edit.added);
    err = edit.removed && edit.added ? apply_payload(reading, &state, payload, &edit)
                                     : diag_nomem("edit of the manifest", payload.bytes);
    mem_free(edit.removed);
    mem_free(edit.added);
    return err;
}

/* ---- read --------------------------------------------------------------------------------- */

static sombra_err each_record(void *context, const struct wal_record *record)
{
    sombra_err err = decode_payload(context, record->payload);
    return diag_wrap(err, "record %" PRIu64, record->lsn);
}

static sombra_err read_records(struct wal *wal, struct reading *reading)
{
    struct wal_position from = { 0 };
    struct wal_replay_result result;
    sombra_err err = wal_first_epoch(wal, &from.epoch);
    if (!err && from.epoch == 0)
        err = diag_fail(SOMBRA_CORRUPT, "record 1 is damaged");
    if (!err)
        err = wal_replay(wal, from, 0, each_record, reading, &result);
    if (!err && !reading->version) /* a valid record, but none of ours */
        err = diag_fail(SOMBRA_CORRUPT, "record 1 is damaged");
    return err;
}

static sombra_err read_once(struct os *os, const char *path, struct reading *reading)
{
    struct wal *wal = NULL;
    sombra_err err = wal_open(os, path, true, &wal);
    if (err)
        return err;
    err = read_records(wal, reading);
    wal_close(wal);
    if (err) {
        version_unref(reading->version);
        reading->version = NULL;
    }
    return err;
}

sombra_err manifest_read(struct os *os, const char *directory, struct table_cache *cache,
                         struct manifest_state *out_state, struct version **out_version)
{
    assert(os && directory && cache && out_state && out_version);
    struct reading reading = { .cache = cache };
    char *path = lsm_path(directory, "MANIFEST");
    if (!path)
        return diag_nomem("path of the manifest", strlen(directory));
    /* Beside a writer, what was missing at first may be there, with its mark, when the tail is
     * looked at: that is no damage, and the next reading finds it. */
    sombra_err err = SOMBRA_CORRUPT;
    for (int i = 0; err == SOMBRA_CORRUPT && i < READ_ATTEMPTS; i++)
        err = read_once(os, path, &reading);
    if (!err) {
        *out_state = reading.state;
        *out_version = reading.version;
    }
    err = diag_wrap(err, "manifest %s", path);
    mem_free(path);
    return err;
}

/* ---- write -------------------------------------------------------------------------------- */

static void check_next(const struct manifest_state *last, const struct manifest_state *next)
{
    assert(next->version == last->version + 1);
    assert(next->next_number >= last->next_number);
    assert(next->next_run >= last->next_run);
    assert(next->seq >= last->seq);
    assert(next->log_seq >= last->log_seq);
    assert(next->seq < MANIFEST_COMMIT_MAX && next->log_seq < MANIFEST_COMMIT_MAX);
    assert(memcmp(next->identity, last->identity, sizeof last->identity) == 0);
    (void)last, (void)next;
}

/* Nothing that a key may hold can imitate a record of a log with an epoch nobody knows. */
static sombra_err random_epoch(struct os *os, uint64_t *out_epoch)
{
    uint64_t epoch = 0;
    sombra_err err = os_random(os, &epoch, sizeof epoch);
    if (!err)
        *out_epoch = u64_max(epoch, 1);
    return err;
}

static sombra_err write_first(struct wal *wal, uint64_t epoch, sombra_slice payload)
{
    struct os_iovec part = { .data = payload.data, .bytes = payload.bytes };
    sombra_err err = wal_restart(wal, epoch, 0);
    if (!err)
        err = wal_reserve(wal, payload.bytes, FILE_BYTES_MAX);
    if (!err)
        err = wal_append(wal, 1, 0, &part, 1);
    return err ? err : wal_sync(wal);
}

/* Writes "MANIFEST-new", whole and synced by one call, with its record; of its name nothing is
 * asked before the rename. */
static sombra_err write_new(const struct manifest *manifest, sombra_slice payload,
                            struct wal **out_wal)
{
    struct wal *wal = NULL;
    uint64_t epoch = 0;
    uint64_t bytes = wal_record_bytes(payload.bytes) + 16 * KiB;
    sombra_err err = random_epoch(manifest->os, &epoch);
    if (!err)
        err = os_unlink(manifest->os, manifest->new_path); /* of a crash */
    if (err == SOMBRA_NOT_FOUND)
        err = SOMBRA_OK;
    if (!err)
        err = wal_create_unsynced(manifest->os, manifest->new_path, manifest->mode, bytes, &wal);
    if (err)
        return err;
    err = write_first(wal, epoch, payload);
    if (err)
        wal_close(wal);
    else
        *out_wal = wal;
    return err;
}

/* A failed new file is in nobody's way: the next one replaces it, and so does an open. */
static void unlink_new(const struct manifest *manifest)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err err = os_unlink(manifest->os, manifest->new_path);
    (void)err;
    diag_restore(text);
}

static sombra_err replace(struct manifest *manifest, const struct manifest_state *state,
                          const struct version *version)
{
    struct buf payload = BUF_INIT;
    struct wal *wal = NULL;
    assert(state->version == version->number);
    assert(state->version < MANIFEST_NUMBER_MAX);
    sombra_err err = encode_whole(&payload, version, state);
    if (!err)
        err = write_new(manifest, buf_slice(&payload), &wal);
    if (!err) {
        err = os_rename(manifest->os, manifest->new_path, manifest->path);
        manifest->is_failed |= err == SOMBRA_IO; /* it may have happened */
    }
    if (err) {
        wal_close(wal);
        unlink_new(manifest);
    } else {
        err = os_sync_directory_of(manifest->os, manifest->path);
        /* Which of the two files the name will mean after a crash is not known. */
        manifest->is_failed |= err != SOMBRA_OK;
        wal_close(manifest->wal);
        manifest->wal = wal;
        manifest->lsn = 1;
        manifest->whole_bytes = wal_record_bytes(payload.bytes);
        manifest->state = *state;
    }
    buf_release(&payload);
    return diag_wrap(err, "write manifest %s", manifest->path);
}

sombra_err manifest_new(struct os *os, const char *directory, unsigned mode,
                        struct manifest **out_manifest)
{
    assert(os && directory && out_manifest);
    struct manifest *manifest = mem_zalloc(sizeof *manifest);
    if (!manifest)
        return diag_nomem("manifest", sizeof *manifest);
    manifest->os = os;
    manifest->mode = mode;
    manifest->path = lsm_path(directory, "MANIFEST");
    manifest->new_path = lsm_path(directory, "MANIFEST-new");
    if (!manifest->path || !manifest->new_path) {
        manifest_close(manifest);
        return diag_nomem("path of the manifest", strlen(directory));
    }
    *out_manifest = manifest;
    return SOMBRA_OK;
}

sombra_err manifest_create(struct os *os, const char *directory, unsigned mode,
                           const struct manifest_state *state, const struct version *version,
                           struct manifest **out_manifest)
{
    assert(state && version && out_manifest);
    struct manifest *manifest = NULL;
    sombra_err err = manifest_new(os, directory, mode, &manifest);
    if (!err)
        err = replace(manifest, state, version);
    if (err)
        manifest_close(manifest);
    else
        *out_manifest = manifest;
    return err;
}

void manifest_close(struct manifest *manifest)
{
    if (!manifest)
        return;
    wal_close(manifest->wal);
    mem_free(manifest->path);
    mem_free(manifest->new_path);
    mem_free(manifest);
}

static sombra_err refuse_if_failed(const struct manifest *manifest)
{
    if (!manifest_has_failed(manifest))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_IO, "manifest %s failed before: close the database and open it again",
                     manifest->path);
}

sombra_err manifest_rewrite(struct manifest *manifest, const struct manifest_state *state,
                            const struct version *version)
{
    assert(manifest && state && version);
    sombra_err err = refuse_if_failed(manifest);
    return err ? err : replace(manifest, state, version);
}

/* The edit is durable; what becomes of the mark changes nothing for it. */
static void append_mark(struct manifest *manifest)
{
    sombra_err err = wal_append_mark(manifest->wal, manifest->lsn, manifest->lsn);
    (void)err; /* a failed append shows at the next commit */
}

static sombra_err append_edit(struct manifest *manifest, sombra_slice payload)
{
    struct os_iovec part = { .data = payload.data, .bytes = payload.bytes };
    sombra_err err =
        wal_reserve(manifest->wal, payload.bytes + wal_record_bytes(0), FILE_BYTES_MAX);
    if (!err)
        err = wal_append(manifest->wal, manifest->lsn + 1, manifest->lsn, &part, 1);
    return err ? err : wal_sync(manifest->wal);
}

sombra_err manifest_commit(struct manifest *manifest, const struct edit *edit,
                           const struct manifest_state *state)
{
    assert(manifest && edit && state);
    assert(manifest_is_written(manifest));
    check_next(&manifest->state, state);
    struct buf payload = BUF_INIT;
    sombra_err err = refuse_if_failed(manifest);
    if (!err)
        err = encode_edit(&payload, edit, state);
    if (!err)
        err = append_edit(manifest, buf_slice(&payload));
    if (!err) {
        manifest->lsn++;
        manifest->state = *state;
        append_mark(manifest);
    }
    buf_release(&payload);
    return diag_wrap(err, "commit to manifest %s", manifest->path);
}

/* ---- state -------------------------------------------------------------------------------- */

bool manifest_has_outgrown(const struct manifest *manifest)
{
    uint64_t bytes = manifest_bytes(manifest);
    return bytes > OUTGROWN_BYTES_MIN && bytes / OUTGROWN_RATIO > manifest->whole_bytes;
}

uint64_t manifest_bytes(const struct manifest *manifest)
{
    assert(manifest->wal);
    return wal_position(manifest->wal).offset;
}

bool manifest_has_failed(const struct manifest *manifest)
{
    return manifest->is_failed || (manifest->wal && wal_has_failed(manifest->wal));
}

bool manifest_is_written(const struct manifest *manifest)
{
    return manifest->wal != NULL;
}
