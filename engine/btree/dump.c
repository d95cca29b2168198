/* SPDX-License-Identifier: MIT */
/* What stands in the files, for people who look for a fault in the store: read page by page without
 * a lock and without opening the store, so that a damaged file is shown as far as it goes. */
#include "btree_internal.h"
#include "overflow_format.h"
#include "redo_format.h"

#include <stdio.h>

struct dump {
    struct os *os;
    const char *path;
    struct os_file *file;
    struct kv_lines lines;
    bool has_meta[META_SLOTS];
    struct meta metas[META_SLOTS];
    const struct meta *meta; /* the newest sound one; NULL = none */
    size_t page_bytes;
    uint64_t page_count; /* of the file */
    uint8_t *images;     /* a page for each level of the tree */
    unsigned half;       /* of the log, while its records are shown */
    bool is_log_over;    /* a half that cannot be read: where the other goes on is not known */
};

/* ---- meta -------------------------------------------------------------------------------- */

static sombra_err metas_load(struct dump *dump)
{
    for (unsigned slot = 0; slot < META_SLOTS; slot++) {
        uint8_t bytes[META_BYTES] = { 0 };
        size_t got = 0;
        sombra_err err =
            os_read_some(dump->file, (uint64_t)slot * META_SLOT_BYTES, bytes, sizeof bytes, &got);
        if (err)
            return err;
        dump->has_meta[slot] = meta_decode(bytes, &dump->metas[slot]) == SOMBRA_OK;
        if (dump->has_meta[slot] &&
            (!dump->meta || dump->metas[slot].sequence > dump->meta->sequence))
            dump->meta = &dump->metas[slot];
    }
    return SOMBRA_OK;
}

static sombra_err meta_show(struct dump *dump, unsigned slot)
{
    const struct meta *meta = &dump->metas[slot];
    const struct snapshot *snapshot = &meta->snapshot;
    static const char *const states[] = { "clean", "in_use", "beside" };
    char uuid[2 * sizeof meta->uuid + 1];
    return kv_lines_tell(
        &dump->lines,
        "meta slot=%u newest=%s sequence=%" PRIu64 " page_bytes=%" PRIu32 " uuid=%s txn=%" PRIu64
        " root=%" PRIu64 " entries=%" PRIu64 " depth=%" PRIu64 " page_count=%" PRIu64
        " pages_free=%" PRIu64 " pages_pending=%" PRIu64 " space_directory=%" PRIu64
        " covered_lsn=%" PRIu64 " log_state=%s log_half=%u log_epoch=%" PRIu64
        " log_offset=%" PRIu64 " log_link=%08" PRIx32 " created_ns=%" PRIu64,
        slot, meta == dump->meta ? "true" : "false", meta->sequence, meta->page_bytes,
        kv_line_hex(slice_of(meta->uuid, sizeof meta->uuid), sizeof meta->uuid, uuid),
        snapshot->txn, snapshot->root, snapshot->entries, snapshot->depth, snapshot->page_count,
        meta->pages_free, meta->pages_pending, meta->space_directory, snapshot->lsn,
        states[meta->log_state], meta->log_half, meta->log.epoch, meta->log.offset, meta->log.link,
        meta->created_ns);
}

static sombra_err metas_show(struct dump *dump)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned slot = 0; slot < META_SLOTS && !err; slot++) {
        uint8_t bytes[META_BYTES] = { 0 };
        size_t got = 0;
        if (dump->has_meta[slot]) {
            err = meta_show(dump, slot);
            continue;
        }
        err = os_read_some(dump->file, (uint64_t)slot * META_SLOT_BYTES, bytes, sizeof bytes, &got);
        if (!err && meta_decode(bytes, &dump->metas[slot]) != SOMBRA_OK)
            err = kv_lines_tell_problem(&dump->lines, "meta", slot);
    }
    return err;
}

/* ---- pages ------------------------------------------------------------------------------- */

static const char *kind_name(unsigned kind)
{
    static const char *const names[] = { "none",     "leaf",  "dense",    "branch",
                                         "overflow", "space", "space_map" };
    return kind < COUNT_OF(names) ? names[kind] : "unknown";
}

static bool is_tree_page(const uint8_t *page)
{
    return page[PAGE_KIND] == PAGE_LEAF || page[PAGE_KIND] == PAGE_DENSE ||
           page[PAGE_KIND] == PAGE_BRANCH;
}

static sombra_err leaf_show(struct dump *dump, const uint8_t *page)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned i = 0; i < page_count(page) && !err; i++) {
        uint8_t key[KV_KEY_BYTES_MAX];
        char key_hex[2 * KV_KEY_BYTES_MAX + 1], value_hex[2 * KV_LINE_VALUE_BYTES + 1];
        struct leaf_value value;
        size_t key_bytes = leaf_key_at(page, dump->page_bytes, i, key);
        leaf_value_at(page, dump->page_bytes, i, &value);
        kv_line_hex(slice_of(key, key_bytes), key_bytes, key_hex);
        if (value.overflow)
            err = kv_lines_tell(&dump->lines,
                                "entry index=%u key=%s value_bytes=%" PRIu64 " overflow=%" PRIu64,
                                i, key_hex, value.overflow_bytes, value.overflow);
        else
            err = kv_lines_tell(&dump->lines, "entry index=%u key=%s value_bytes=%zu value=%s", i,
                                key_hex, value.bytes.bytes,
                                kv_line_hex(value.bytes, KV_LINE_VALUE_BYTES, value_hex));
    }
    return err;
}

static sombra_err branch_show(struct dump *dump, const uint8_t *page)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned i = 0; i < page_count(page) && !err; i++) {
        uint8_t key[KV_KEY_BYTES_MAX];
        char key_hex[2 * KV_KEY_BYTES_MAX + 1];
        size_t key_bytes = i ? branch_separator(page, dump->page_bytes, i, key) : 0;
        err = kv_lines_tell(
            &dump->lines, "child index=%u page=%" PRIu64 " entries=%" PRIu64 " separator=%s", i,
            branch_child(page, dump->page_bytes, i), branch_entries(page, dump->page_bytes, i),
            kv_line_hex(slice_of(key, key_bytes), key_bytes, key_hex));
    }
    return err;
}

/* The line of a page; *out_is_sound says whether more of it can be read as a tree page. */
static sombra_err page_head_show(struct dump *dump, const uint8_t *page, page_id id, unsigned depth,
                                 bool *out_is_sound)
{
    unsigned kind = page[PAGE_KIND];
    sombra_err err;
    *out_is_sound = is_tree_page(page);
    if (*out_is_sound) {
        err = page_validate(page, dump->page_bytes, id, true);
        if (err) {
            *out_is_sound = false;
            return kv_lines_tell_problem(&dump->lines, "page", id);
        }
        return kv_lines_tell(&dump->lines,
                             "page number=%" PRIu64 " depth=%u kind=%s level=%u txn=%" PRIu64
                             " sealed=%s count=%u used=%zu",
                             id, depth, kind_name(kind), page_level(page), page_txn(page),
                             page_is_sealed(page) ? "true" : "false", page_count(page),
                             page_used(page, dump->page_bytes));
    }
    if (kind == PAGE_OVERFLOW)
        return kv_lines_tell(&dump->lines,
                             "page number=%" PRIu64 " depth=%u kind=overflow txn=%" PRIu64
                             " sealed=%s value_bytes=%" PRIu64,
                             id, depth, page_txn(page), page_is_sealed(page) ? "true" : "false",
                             get_le64(page + OVERFLOW_VALUE_BYTES));
    return kv_lines_tell(&dump->lines,
                         "page number=%" PRIu64 " depth=%u kind=%s says_number=%" PRIu64
                         " txn=%" PRIu64,
                         id, depth, kind_name(kind), page_number(page), page_txn(page));
}

static sombra_err page_show(struct dump *dump, page_id id)
{
    bool is_sound;
    if (!dump->page_bytes)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: no meta record is sound, so the size of its pages is not known",
                         dump->path);
    if (id >= dump->page_count || id < u64_max(1, META_AREA_BYTES / dump->page_bytes))
        return diag_fail(SOMBRA_NOT_FOUND,
                         "%s has pages %" PRIu64 " to %" PRIu64 ", no page %" PRIu64, dump->path,
                         u64_max(1, META_AREA_BYTES / dump->page_bytes), dump->page_count - 1, id);
    sombra_err err = os_read(dump->file, id * dump->page_bytes, dump->images, dump->page_bytes);
    if (!err)
        err = page_head_show(dump, dump->images, id, 0, &is_sound);
    if (err || !is_sound)
        return err;
    return page_kind(dump->images) == PAGE_BRANCH ? branch_show(dump, dump->images)
                                                  : leaf_show(dump, dump->images);
}

/* ---- tree -------------------------------------------------------------------------------- */

/* Levels fall by one from page to child, so that a damaged tree cannot lead in circles. */
static sombra_err subtree_show(struct dump *dump, page_id id, unsigned depth, unsigned level)
{
    uint8_t *page = dump->images + (size_t)level * dump->page_bytes;
    bool is_sound = false;
    sombra_err err = id >= dump->page_count
                         ? diag_fail(SOMBRA_CORRUPT, "the page is beyond the file's end")
                         : os_read(dump->file, id * dump->page_bytes, page, dump->page_bytes);
    if (err)
        return kv_lines_tell_problem(&dump->lines, "page", id);
    err = page_head_show(dump, page, id, depth, &is_sound);
    if (err || !is_sound)
        return err;
    if (page_level(page) != level)
        return kv_lines_tell(&dump->lines,
                             "page number=%" PRIu64 " problem=its level is %u, not %u", id,
                             page_level(page), level);
    for (unsigned i = 0; level > 0 && i < page_count(page) && !err; i++)
        err = subtree_show(dump, branch_child(page, dump->page_bytes, i), depth + 1, level - 1);
    return err;
}

static sombra_err tree_show(struct dump *dump)
{
    if (!dump->meta)
        return diag_fail(SOMBRA_CORRUPT, "%s: no meta record is sound, so the root is not known",
                         dump->path);
    const struct snapshot *snapshot = &dump->meta->snapshot;
    sombra_err err = kv_lines_tell(
        &dump->lines, "tree root=%" PRIu64 " depth=%" PRIu64 " entries=%" PRIu64 " txn=%" PRIu64,
        snapshot->root, snapshot->depth, snapshot->entries, snapshot->txn);
    if (!err && snapshot->root)
        err = subtree_show(dump, snapshot->root, 0, (unsigned)snapshot->depth - 1);
    return err;
}

/* ---- log --------------------------------------------------------------------------------- */

struct record_facts {
    uint64_t txn, pages, unused, changes;
    uint64_t puts, deletes, range_deletes;
};

/* Reads `count` varints and forgets them; NULL when the bytes end before. */
static const uint8_t *varints_skip(const uint8_t *at, const uint8_t *end, unsigned count)
{
    uint64_t value;
    for (; at && count > 0; count--)
        at = varint_get(at, end, &value);
    return at;
}

static const uint8_t *head_read(const uint8_t *at, const uint8_t *end, struct record_facts *facts)
{
    if (end - at < 8)
        return NULL;
    facts->txn = get_le64(at);
    at = varint_get(at + 8, end, &facts->pages);
    at = at ? varint_get(at, end, &facts->unused) : NULL;
    at = at ? varint_get(at, end, &facts->changes) : NULL;
    for (uint64_t i = 0; at && i < facts->changes; i++) {
        uint64_t what;
        at = varints_skip(at, end, 1);
        at = at ? varint_get(at, end, &what) : NULL;
        if (at && (what & 3) == 2) /* freed: when it was born */
            at = varints_skip(at, end, 1);
    }
    return at;
}

/* False when it cannot be read, or is not known here. */
static bool operation_count(struct byte_reader *reader, struct record_facts *facts)
{
    struct kv_redo redo;
    if (*reader->at == REDO_MOVE) { /* says that pages moved, and no more */
        reader->at++;
        return true;
    }
    if (!kv_redo_read(reader, &redo))
        return false;
    facts->puts += redo.kind == KV_REDO_PUT;
    facts->deletes += redo.kind == KV_REDO_DELETE;
    facts->range_deletes += redo.kind == KV_REDO_DELETE_RANGE;
    return true;
}

static sombra_err record_show(void *context, const struct wal_record *record)
{
    struct dump *dump = context;
    struct record_facts facts = { 0 };
    struct byte_reader reader = byte_reader_of(record->payload);
    reader.at = head_read(reader.at, reader.end, &facts);
    bool is_read = reader.at != NULL;
    while (is_read && reader.at < reader.end)
        is_read = operation_count(&reader, &facts);
    return kv_lines_tell(
        &dump->lines,
        "record half=%u lsn=%" PRIu64 " durable_lsn=%" PRIu64 " payload_bytes=%zu txn=%" PRIu64
        " page_count=%" PRIu64 " page_changes=%" PRIu64 " puts=%" PRIu64 " deletes=%" PRIu64
        " range_deletes=%" PRIu64 "%s",
        dump->half, record->lsn, record->durable_lsn, record->payload.bytes, facts.txn, facts.pages,
        facts.changes, facts.puts, facts.deletes, facts.range_deletes,
        is_read ? "" : " problem=an operation of it cannot be read");
}

/* Replays one half from `from` on, which is moved to where the other half goes on. */
static sombra_err half_show(struct dump *dump, struct wal_position *from, uint64_t *lsn)
{
    struct wal *wal = NULL;
    struct wal_replay_result result;
    uint64_t epoch = 0;
    char *path = path_with(dump->path, dump->half ? "-log1" : "-log0");
    if (!path)
        return diag_nomem("the log's path", strlen(dump->path));
    sombra_err err = wal_open(dump->os, path, true, &wal);
    mem_free(path);
    if (!err)
        err = wal_first_epoch(wal, &epoch);
    if (!err)
        err = kv_lines_tell(&dump->lines,
                            "log half=%u file_bytes=%" PRIu64 " first_epoch=%" PRIu64
                            " epoch=%" PRIu64,
                            dump->half, wal_file_bytes(wal), epoch, from->epoch);
    if (!err)
        err = wal_replay(wal, *from, *lsn, record_show, dump, &result);
    wal_close(wal);
    if (err == SOMBRA_CANCELLED)
        return err;
    dump->is_log_over = err != SOMBRA_OK;
    if (err)
        return kv_lines_tell_problem(&dump->lines, "log", dump->half);
    *from = (struct wal_position){ .epoch = from->epoch + 1, .link = result.end.link };
    *lsn = result.last_lsn;
    return kv_lines_tell(&dump->lines,
                         "end half=%u records=%" PRIu64 " last_lsn=%" PRIu64 " offset=%" PRIu64
                         " durable_lsn=%" PRIu64,
                         dump->half, result.records, result.last_lsn, result.end.offset,
                         result.durable_lsn);
}

static sombra_err log_show(struct dump *dump)
{
    if (!dump->meta)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: no meta record is sound, so the log's begin is not known",
                         dump->path);
    if (dump->meta->log_state != META_LOG_IN_USE)
        return kv_lines_tell(&dump->lines, "log state=clean");
    struct wal_position from = dump->meta->log;
    uint64_t lsn = dump->meta->snapshot.lsn;
    sombra_err err = SOMBRA_OK;
    dump->half = dump->meta->log_half;
    for (unsigned i = 0; i < LOG_HALVES && !err && !dump->is_log_over; i++) {
        err = half_show(dump, &from, &lsn);
        dump->half = 1 - dump->half;
    }
    return err;
}

/* ---- the call ---------------------------------------------------------------------------- */

static sombra_err sizes_find(struct dump *dump)
{
    uint64_t file_bytes = 0;
    sombra_err err = os_size(dump->file, &file_bytes);
    if (err || !dump->meta)
        return err;
    dump->page_bytes = dump->meta->page_bytes;
    dump->page_count = file_bytes / dump->page_bytes;
    dump->images = mem_alloc_aligned(64, (PAGE_LEVEL_MAX + 2) * dump->page_bytes);
    return dump->images ? SOMBRA_OK : diag_nomem("pages", (PAGE_LEVEL_MAX + 2) * dump->page_bytes);
}

sombra_err btree_dump(struct os *os, const char *path, enum btree_dump_what what, uint64_t page,
                      kv_line_fn line, void *context)
{
    assert(os && path && line);
    struct dump *dump = mem_zalloc(sizeof *dump);
    if (!dump)
        return diag_nomem("a dump", sizeof *dump);
    *dump = (struct dump){ .os = os, .path = path, .lines = { .line = line, .context = context } };
    sombra_err err = os_open(os, path, OS_READ, 0, &dump->file);
    if (!err)
        err = metas_load(dump);
    if (!err)
        err = sizes_find(dump);
    if (!err && what == BTREE_DUMP_META)
        err = metas_show(dump);
    else if (!err && what == BTREE_DUMP_PAGE)
        err = page_show(dump, page);
    else if (!err && what == BTREE_DUMP_TREE)
        err = tree_show(dump);
    else if (!err)
        err = log_show(dump);
    os_close(dump->file);
    mem_free(dump->images);
    mem_free(dump);
    return err;
}
