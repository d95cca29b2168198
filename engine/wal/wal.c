/* SPDX-License-Identifier: MIT */
/* wal: lifecycle and the writing half.
 *
 * A record is written in this order of risk: wal_reserve does everything that may fail for want of
 * space or memory (zeros, their sync, the mapping) and changes nothing when it fails; the append
 * behind it only stores bytes. A process killed inside an append leaves a record whose checksum
 * is wrong; through the window, the word with the checksum is also stored last.
 */
#include "wal/wal_internal.h"

enum {
    CREATE_ALIGN_BYTES = 4096,
    WINDOW_ALIGN_BYTES = 65536, /* a multiple of every page size in use */
};
#define WINDOW_BYTES_MIN         ((uint64_t)16 * MiB)
#define GROW_BYTES_MIN           ((uint64_t)64 * KiB)
#define GROW_BYTES_MAX           ((uint64_t)8 * MiB)
#define GROW_UNWRITTEN_BYTES_MAX ((uint64_t)1 * MiB)
/* A record so long is written, even where others are stored through the window: a first store to a
 * page costs a fault, which is more than a share of a system call. */
#define WINDOW_RECORD_BYTES_MAX ((uint64_t)16 * KiB)
/* And a first store to what is only allocated costs five times one to what was written. */
#define FRESH_BYTES ((uint64_t)256 * KiB)
/* Zeros for a record so long, and their sync, cost as much as the record: it gets space that is
 * only allocated, and its own sync saves the size along. */
#define ALLOCATED_RECORD_BYTES_MIN ((uint64_t)1 * MiB)

static const uint8_t zeros[WAL_HEADER_BYTES];

/* ---- headers ------------------------------------------------------------------------------ */

struct wal_header wal_header_get(const uint8_t *at)
{
    return (struct wal_header){
        .crc = get_le32(at + WAL_CRC),
        .payload_bytes = get_le32(at + WAL_PAYLOAD_BYTES),
        .epoch = get_le64(at + WAL_EPOCH),
        .lsn = get_le64(at + WAL_LSN),
        .offset = get_le64(at + WAL_OFFSET),
        .durable_lsn = get_le64(at + WAL_DURABLE_LSN),
        .link = get_le32(at + WAL_LINK),
        .kind = get_le32(at + WAL_KIND),
    };
}

void wal_header_put(uint8_t *at, const struct wal_header *header)
{
    assert(header->epoch != 0);
    assert(header->offset % WAL_ALIGN_BYTES == 0);
    put_le32(at + WAL_PAYLOAD_BYTES, header->payload_bytes);
    put_le64(at + WAL_EPOCH, header->epoch);
    put_le64(at + WAL_LSN, header->lsn);
    put_le64(at + WAL_OFFSET, header->offset);
    put_le64(at + WAL_DURABLE_LSN, header->durable_lsn);
    put_le32(at + WAL_LINK, header->link);
    put_le32(at + WAL_KIND, header->kind);
}

bool wal_header_fits(const struct wal_header *header, uint64_t epoch, uint64_t offset,
                     uint64_t file_bytes)
{
    assert(epoch != 0);
    assert(offset <= file_bytes && file_bytes - offset >= WAL_HEADER_BYTES);
    return header->epoch == epoch && header->offset == offset &&
           header->payload_bytes <= file_bytes - offset - WAL_HEADER_BYTES;
}

bool wal_short_get(const uint8_t *at, struct wal_position position, uint64_t last_lsn,
                   uint64_t file_bytes, struct wal_header *out_header)
{
    assert(position.offset <= file_bytes);
    assert(file_bytes - position.offset >= WAL_SHORT_HEADER_BYTES);
    struct wal_header header = {
        .crc = get_le32(at + WAL_CRC),
        .payload_bytes = get_le16(at + WAL_SHORT_PAYLOAD_BYTES),
        .epoch = position.epoch,
        .lsn = last_lsn + 1,
        .offset = position.offset,
        .link = position.link,
        .kind = WAL_KIND_SHORT,
        .is_short = true,
    };
    if (at[WAL_SHORT_TAG] != WAL_SHORT_TAG_VALUE || at[WAL_SHORT_LSN] != (uint8_t)header.lsn ||
        header.payload_bytes > file_bytes - position.offset - WAL_SHORT_HEADER_BYTES)
        return false;
    *out_header = header;
    return true;
}

uint32_t wal_short_put(uint8_t *at, const struct wal_header *header)
{
    uint8_t whole[WAL_HEADER_BYTES];
    assert(header->is_short && header->kind == WAL_KIND_SHORT && header->durable_lsn == 0);
    wal_header_put(whole, header);
    put_le16(at + WAL_SHORT_PAYLOAD_BYTES, (uint16_t)header->payload_bytes);
    at[WAL_SHORT_LSN] = (uint8_t)header->lsn;
    at[WAL_SHORT_TAG] = WAL_SHORT_TAG_VALUE;
    memcpy(whole + WAL_PAYLOAD_BYTES, at + WAL_SHORT_PAYLOAD_BYTES, 4);
    return crc32_update(0, whole + WAL_PAYLOAD_BYTES, WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES);
}

/* ---- lifecycle ---------------------------------------------------------------------------- */

static sombra_err open_file(struct os *os, const char *path, unsigned flags, unsigned mode,
                            struct wal **out_wal)
{
    struct wal *wal = mem_zalloc(sizeof *wal);
    if (!wal)
        return diag_nomem("log", sizeof *wal);
    wal->os = os;
    wal->is_readonly = !(flags & OS_WRITE);
    atomic_init(&wal->is_failed, false);
    sombra_err err = os_mutex_init(&wal->sync_mutex);
    if (err) {
        mem_free(wal);
        return err;
    }
    err = os_open(os, path, flags, mode, &wal->file);
    if (err) {
        os_mutex_release(&wal->sync_mutex);
        mem_free(wal);
        return diag_wrap(err, "open log");
    }
    *out_wal = wal;
    return SOMBRA_OK;
}

static sombra_err fill_new(struct wal *wal, const char *path, uint64_t bytes, bool syncs)
{
    sombra_err err = bytes > 0 ? os_write_zeros(wal->file, 0, bytes) : SOMBRA_OK;
    if (!err && syncs)
        err = os_sync(wal->file); /* the zeros before the name: a log by this name is whole */
    if (!err && syncs)
        err = os_sync_directory_of(wal->os, path);
    if (!err)
        wal->file_bytes = bytes;
    return err;
}

static sombra_err create(struct os *os, const char *path, unsigned mode, uint64_t bytes, bool syncs,
                         struct wal **out_wal)
{
    assert(os && path && out_wal);
    assert(bytes <= UINT64_MAX / 2);
    struct wal *wal = NULL;
    sombra_err err = open_file(os, path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, mode, &wal);
    if (err)
        return diag_wrap(err, "create log");
    err = fill_new(wal, path, u64_align_up(bytes, CREATE_ALIGN_BYTES), syncs);
    if (err) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        wal_close(wal);
        sombra_err unlink_err = os_unlink(os, path); /* the first failure is the one to tell */
        (void)unlink_err;
        diag_restore(text);
        return diag_wrap(err, "create log");
    }
    *out_wal = wal;
    return SOMBRA_OK;
}

sombra_err wal_create(struct os *os, const char *path, unsigned mode, uint64_t bytes,
                      struct wal **out_wal)
{
    return create(os, path, mode, u64_max(bytes, 1), true, out_wal);
}

sombra_err wal_create_unsynced(struct os *os, const char *path, unsigned mode, uint64_t bytes,
                               struct wal **out_wal)
{
    return create(os, path, mode, bytes, false, out_wal);
}

sombra_err wal_open(struct os *os, const char *path, bool is_readonly, struct wal **out_wal)
{
    assert(os && path && out_wal);
    struct wal *wal = NULL;
    sombra_err err = open_file(os, path, is_readonly ? OS_READ : OS_WRITE, 0, &wal);
    if (err)
        return err;
    err = os_size(wal->file, &wal->file_bytes);
    if (err) {
        wal_close(wal);
        return diag_wrap(err, "open log");
    }
    *out_wal = wal;
    return SOMBRA_OK;
}

static void window_release(struct wal *wal)
{
    if (wal->window)
        os_unmap(wal->file, wal->window, wal->window_bytes);
    wal->window = NULL;
    wal->window_bytes = 0;
}

void wal_close(struct wal *wal)
{
    if (!wal)
        return;
    window_release(wal);
    os_close(wal->file);
    os_mutex_release(&wal->sync_mutex);
    mem_free(wal);
}

void wal_use_short_records(struct wal *wal)
{
    wal->has_short_records = true;
}

/* ---- state -------------------------------------------------------------------------------- */

static void check(const struct wal *wal)
{
    assert(wal->file);
    assert(wal->next.offset % WAL_ALIGN_BYTES == 0);
    assert(wal->next.epoch == 0 || wal->next.offset <= wal->file_bytes);
    assert((wal->window == NULL) == (wal->window_bytes == 0));
    (void)wal;
}

struct wal_position wal_position(const struct wal *wal)
{
    check(wal);
    /* Field by field: what was stored in parts a moment ago the processor cannot load in one before
     * all stores in between are done. */
    return (struct wal_position){
        .epoch = __atomic_load_n(&wal->next.epoch, __ATOMIC_RELAXED),
        .offset = __atomic_load_n(&wal->next.offset, __ATOMIC_RELAXED),
        .link = __atomic_load_n(&wal->next.link, __ATOMIC_RELAXED),
    };
}

uint64_t wal_file_bytes(const struct wal *wal)
{
    return wal->file_bytes;
}

uint64_t wal_record_bytes(uint64_t payload_bytes)
{
    assert(payload_bytes <= UINT64_MAX / 2);
    return WAL_HEADER_BYTES + u64_align_up(payload_bytes, WAL_ALIGN_BYTES);
}

bool wal_has_failed(const struct wal *wal)
{
    return atomic_load_explicit(&wal->is_failed, memory_order_acquire);
}

static sombra_err refuse_if_failed(const struct wal *wal)
{
    if (LIKELY(!wal_has_failed(wal)))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_IO, "log %s failed before: close the database and open it again",
                     os_file_path(wal->file));
}

/* Ends the log for ever: what the system lost of it is unknown. */
static sombra_err poison(struct wal *wal, sombra_err err)
{
    assert(err);
    atomic_store_explicit(&wal->is_failed, true, memory_order_release);
    return err;
}

/* What one failed sync lost, no other tells: of two at once, one fails and one has nothing to do,
 * though it was its records that are lost. So they go one after the other. */
static sombra_err file_sync(struct wal *wal)
{
    os_mutex_lock(&wal->sync_mutex);
    sombra_err err = refuse_if_failed(wal);
    if (!err) {
        err = os_sync(wal->file);
        if (err)
            err = poison(wal, err);
    }
    os_mutex_unlock(&wal->sync_mutex);
    return err;
}

/* ---- where the log stands ----------------------------------------------------------------- */

/* Another process may have grown the file since this one looked. */
static sombra_err file_bytes_refresh(struct wal *wal)
{
    uint64_t bytes;
    sombra_err err = os_size(wal->file, &bytes);
    if (!err)
        wal->file_bytes = bytes;
    return err;
}

static void move_to(struct wal *wal, struct wal_position at)
{
    wal->next = at;
    wal->last_lsn = 0;
    wal->leader_block = UINT64_MAX;
    wal->told_durable_lsn = 0;
    wal->written_bytes = wal->file_bytes; /* as far as known */
    check(wal);
}

sombra_err wal_restart(struct wal *wal, uint64_t epoch, uint32_t link)
{
    check(wal);
    assert(!wal->is_readonly);
    assert(epoch > wal->next.epoch);
    sombra_err err = refuse_if_failed(wal);
    if (!err)
        err = file_bytes_refresh(wal);
    if (!err && wal->file_bytes > 0)
        err = os_write(wal->file, 0, zeros, (size_t)u64_min(wal->file_bytes, WAL_HEADER_BYTES));
    if (err)
        return diag_wrap(err, "restart log");
    move_to(wal, (struct wal_position){ .epoch = epoch, .offset = 0, .link = link });
    return SOMBRA_OK;
}

/* Zeroes the headers of the records chained from `at` on: a record written again here with the same
 * bytes would give them a valid predecessor. A header at `at` that is no record's goes too. */
static sombra_err zero_chain(struct wal *wal, struct wal_position at, uint64_t last_lsn)
{
    struct wal_reader reader;
    bool is_valid = true;
    sombra_err err = wal_reader_init(&reader, wal->file);
    for (bool is_first = true; !err && is_valid; is_first = false) {
        struct wal_header header = { 0 };
        sombra_slice payload;
        err = wal_read_record(&reader, at, last_lsn, &header, &payload, &is_valid);
        if (err || (!is_valid && !is_first))
            break;
        uint64_t rest = u64_min(reader.file_bytes - at.offset, WAL_HEADER_BYTES);
        err = os_write(wal->file, at.offset, zeros,
                       is_valid && header.is_short ? WAL_SHORT_HEADER_BYTES : (size_t)rest);
        at.offset += is_valid ? wal_header_record_bytes(&header) : 0;
        at.link = header.crc;
        last_lsn = header.lsn;
    }
    wal_reader_release(&reader);
    return err;
}

static sombra_err cut_at(struct wal *wal, struct wal_position at, uint64_t last_lsn)
{
    uint8_t bytes[WAL_HEADER_BYTES];
    size_t rest = (size_t)u64_min(wal->file_bytes - at.offset, sizeof bytes);
    sombra_err err = rest > 0 ? os_read(wal->file, at.offset, bytes, rest) : SOMBRA_OK;
    if (err || memcmp(bytes, zeros, rest) == 0)
        return err;
    return zero_chain(wal, at, last_lsn);
}

sombra_err wal_cut(struct wal *wal, struct wal_position at, uint64_t last_lsn)
{
    check(wal);
    assert(!wal->is_readonly);
    assert(at.epoch != 0 && at.offset % WAL_ALIGN_BYTES == 0);
    sombra_err err = refuse_if_failed(wal);
    if (!err)
        err = file_bytes_refresh(wal);
    if (!err && at.offset > wal->file_bytes)
        err =
            diag_fail(SOMBRA_CORRUPT, "log %s ends at %" PRIu64 ", before its own tail at %" PRIu64,
                      os_file_path(wal->file), wal->file_bytes, at.offset);
    if (!err)
        err = cut_at(wal, at, last_lsn);
    if (err)
        return diag_wrap(err, "cut log");
    move_to(wal, at);
    return SOMBRA_OK;
}

/* ---- space -------------------------------------------------------------------------------- */

/* Space that reads as zeros, promised and not written: a sync of a written record saves the size
 * along. For what nobody waits for, so that nobody pays for it either; and for long records. */
static sombra_err grow_unwritten(struct wal *wal, uint64_t bytes)
{
    assert(bytes > wal->file_bytes);
    assert(wal->written_bytes <= wal->file_bytes);
    sombra_err err = os_allocate(wal->file, wal->file_bytes, bytes - wal->file_bytes);
    if (!err)
        wal->file_bytes = bytes;
    return err;
}

/* Writes the next stretch of allocated space before records are stored there. */
static sombra_err fresh_write(struct wal *wal, uint64_t bytes)
{
    uint64_t end = wal->next.offset + bytes;
    if (LIKELY(end <= wal->written_bytes))
        return SOMBRA_OK;
    uint64_t from = u64_max(wal->written_bytes, wal->next.offset);
    uint64_t to = u64_min(u64_align_up(end, FRESH_BYTES), wal->file_bytes);
    sombra_err err = os_write_zeros(wal->file, from, to - from);
    if (!err)
        wal->written_bytes = to;
    return diag_wrap(err, "write the log ahead");
}

/* In pieces, for the system caches a file in pieces as large as its writes were, and looks at all
 * of a piece's blocks for each record that is written to it: 3 us for one of 200 bytes, and 5 where
 * the pieces were 1 MiB (ext4, Linux 6.18). */
static sombra_err zeros_write(struct wal *wal, uint64_t from, uint64_t to)
{
    enum { PIECE_BYTES = 32 << 10 };
    sombra_err err = SOMBRA_OK;
    for (uint64_t at = from; at < to && !err;) {
        uint64_t end = u64_min(to, (at / PIECE_BYTES + 1) * PIECE_BYTES);
        err = os_write_zeros(wal->file, at, end - at);
        at = end;
    }
    return err;
}

static sombra_err grow_to(struct wal *wal, uint64_t bytes, bool is_unwritten)
{
    assert(bytes > wal->file_bytes);
    if (is_unwritten) {
        sombra_err unwritten_err = grow_unwritten(wal, bytes);
        if (unwritten_err != SOMBRA_UNSUPPORTED)
            return unwritten_err;
    }
    sombra_err err = zeros_write(wal, wal->file_bytes, bytes);
    if (err)
        return err; /* zeros that did reach the file are written again by the next try */
    /* The growth's sync covers earlier, unsynced records too: when it fails they may be lost, and
     * no later sync would say so. */
    err = file_sync(wal);
    if (err)
        return err;
    wal->file_bytes = bytes;
    wal->written_bytes = bytes;
    return SOMBRA_OK;
}

/* Grows by as much as there is, which saves syncs, up to 8 MiB; or where nothing is synced by an
 * eighth of it, up to 1 MiB: space that is only promised is missed by others, and cheap to ask for
 * often. At least by 64 KiB, or to the need if that is more; on a disk too full for that, by the
 * bare need. */
static sombra_err grow(struct wal *wal, uint64_t record_bytes, uint64_t file_bytes_max)
{
    uint64_t need = wal->next.offset + record_bytes;
    bool is_long = !wal->uses_window && record_bytes >= ALLOCATED_RECORD_BYTES_MIN;
    assert(need > wal->file_bytes);
    if (need > file_bytes_max)
        return diag_fail(SOMBRA_LIMIT,
                         "log %s would grow to %" PRIu64 " bytes; its limit is %" PRIu64,
                         os_file_path(wal->file), need, file_bytes_max);
    uint64_t share = wal->uses_window ? wal->file_bytes / 8 : wal->file_bytes;
    uint64_t step_max = wal->uses_window ? GROW_UNWRITTEN_BYTES_MAX : GROW_BYTES_MAX;
    uint64_t step = u64_min(u64_max(share, GROW_BYTES_MIN), step_max);
    uint64_t goal = u64_align_up(u64_max(wal->file_bytes + step, need), CREATE_ALIGN_BYTES);
    if (is_long) /* what comes behind it is short again, and wants what was written */
        goal = u64_align_up(need, CREATE_ALIGN_BYTES);
    goal = u64_min(goal, file_bytes_max);
    bool is_unwritten = wal->uses_window || is_long;
    sombra_err err = grow_to(wal, goal, is_unwritten);
    if (err == SOMBRA_LIMIT && goal > need && !wal_has_failed(wal))
        err = grow_to(wal, need, is_unwritten);
    return diag_wrap(err, "grow log");
}

static bool window_covers(const struct wal *wal, uint64_t bytes)
{
    uint64_t offset = wal->next.offset;
    return wal->window && offset >= wal->window_offset &&
           offset - wal->window_offset <= wal->window_bytes &&
           bytes <= wal->window_bytes - (offset - wal->window_offset);
}

/* Maps what the next append stores to. Without a mapping appends fall back to writes: slower, and
 * the same bytes. */
static void window_cover(struct wal *wal, uint64_t bytes)
{
    uint64_t offset = wal->next.offset;
    assert(offset + bytes <= wal->file_bytes);
    if (window_covers(wal, bytes))
        return;
    window_release(wal);
    uint64_t start = offset - offset % WINDOW_ALIGN_BYTES;
    uint64_t span = u64_align_up(offset - start + bytes, WINDOW_ALIGN_BYTES);
    void *address;
    wal->window_offset = start;
    span = u64_max(span, WINDOW_BYTES_MIN);
    if (span > SIZE_MAX || os_map(wal->file, start, (size_t)span, true, &address) != SOMBRA_OK)
        return;
    wal->window = address;
    wal->window_bytes = (size_t)span;
}

sombra_err wal_reserve(struct wal *wal, uint64_t payload_bytes, uint64_t file_bytes_max)
{
    check(wal);
    assert(!wal->is_readonly);
    assert(wal->next.epoch != 0);
    sombra_err err = refuse_if_failed(wal);
    if (err)
        return err;
    if (payload_bytes > WAL_PAYLOAD_BYTES_MAX)
        return diag_fail(SOMBRA_LIMIT,
                         "a log record of %" PRIu64 " bytes: the format holds %" PRIu64,
                         payload_bytes, WAL_PAYLOAD_BYTES_MAX);
    uint64_t record_bytes = wal_record_bytes(payload_bytes);
    uint64_t need = wal->next.offset + record_bytes;
    if (need > wal->file_bytes)
        err = grow(wal, record_bytes, file_bytes_max);
    if (err)
        return err;
    wal->reserved_bytes_limit = file_bytes_max;
    if (!wal->uses_window || record_bytes > WINDOW_RECORD_BYTES_MAX)
        return SOMBRA_OK;
    err = fresh_write(wal, record_bytes);
    if (!err)
        window_cover(wal, record_bytes);
    return err;
}

/* After a power cut a file may have its size and not its blocks; a store there could die of SIGBUS
 * on a full disk. Growth from here on is by written zeros. */
static sombra_err back_with_space(struct wal *wal)
{
    if (!os_can_store_mapped(wal->file))
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "log %s: its file system promises no space to mapped stores",
                         os_file_path(wal->file));
    sombra_err err = SOMBRA_OK;
    if (wal->file_bytes > 0)
        err = os_allocate(wal->file, 0, wal->file_bytes);
    if (err)
        return diag_wrap(err, "back log with space");
    wal->is_backed = true;
    return SOMBRA_OK;
}

sombra_err wal_use_window(struct wal *wal, bool use)
{
    check(wal);
    assert(!wal->is_readonly);
    if (use && !wal->is_backed) {
        sombra_err err = back_with_space(wal);
        if (err)
            return err;
    }
    wal->uses_window = use; /* a mapping stays for the next switch */
    return SOMBRA_OK;
}

/* ---- append ------------------------------------------------------------------------------- */

/* What is appended: a header of 8 or 48 bytes, the payload, zeros. */
struct append {
    uint8_t header[WAL_HEADER_BYTES];
    size_t header_bytes, padding_bytes;
    const struct os_iovec *parts;
    size_t part_count;
};

/* What the next record will be stored to, in memory that nobody has touched: on its way while its
 * transaction works. */
static void window_prefetch(const struct wal *wal)
{
    enum { LINE_BYTES = 64, LINES = 4 };
    const uint8_t *at = wal->window + (wal->next.offset - wal->window_offset);
    for (size_t i = 0; i < LINES; i++)
        __builtin_prefetch(at + i * LINE_BYTES, 1);
}

static void store_mapped(struct wal *wal, const struct append *append)
{
    uint8_t *record = wal->window + (wal->next.offset - wal->window_offset);
    uint8_t *at = record + append->header_bytes;
    for (size_t i = 0; i < append->part_count; i++) {
        if (append->parts[i].bytes)
            memcpy(at, append->parts[i].data, append->parts[i].bytes);
        at += append->parts[i].bytes;
    }
    memset(at, 0, append->padding_bytes);
    memcpy(record + 8, append->header + 8, append->header_bytes - 8);
    /* Checksum and length last, in one store: whoever is killed above leaves the old word. */
    uint64_t word;
    memcpy(&word, append->header, sizeof word);
    __atomic_store_n((uint64_t *)(void *)record, word, __ATOMIC_RELEASE);
}

static sombra_err store_written(struct wal *wal, const struct append *append)
{
    struct os_iovec gather[WAL_PARTS_MAX + 2];
    size_t count = 0;
    assert(append->part_count <= WAL_PARTS_MAX);
    gather[count++] = (struct os_iovec){ .data = append->header, .bytes = append->header_bytes };
    for (size_t i = 0; i < append->part_count; i++)
        if (append->parts[i].bytes)
            gather[count++] = append->parts[i];
    if (append->padding_bytes)
        gather[count++] = (struct os_iovec){ .data = zeros, .bytes = append->padding_bytes };
    return os_write_gather(wal->file, wal->next.offset, gather, count);
}

/* The rules of short records: see wal_format.h. */
static bool can_be_short(const struct wal *wal, const struct wal_header *header)
{
    return wal->has_short_records && header->kind == WAL_KIND_LEADER &&
           header->payload_bytes <= WAL_SHORT_PAYLOAD_BYTES_MAX &&
           header->durable_lsn <= wal->told_durable_lsn &&
           header->offset / WAL_BLOCK_BYTES == wal->leader_block;
}

/* Completes `header` with place, epoch, link, length and checksum, and writes it to `append`. */
static void header_seal(const struct wal *wal, struct wal_header *header, struct append *append)
{
    uint64_t payload_bytes = 0;
    for (size_t i = 0; i < append->part_count; i++)
        payload_bytes += append->parts[i].bytes;
    assert(payload_bytes <= WAL_PAYLOAD_BYTES_MAX);
    header->payload_bytes = (uint32_t)payload_bytes;
    header->epoch = wal->next.epoch;
    header->offset = wal->next.offset;
    header->link = wal->next.link;
    if (can_be_short(wal, header)) {
        header->is_short = true;
        header->kind = WAL_KIND_SHORT;
        header->durable_lsn = 0;
        header->crc = wal_short_put(append->header, header);
        append->header_bytes = WAL_SHORT_HEADER_BYTES;
    } else {
        wal_header_put(append->header, header);
        header->crc = crc32_update(0, append->header + WAL_PAYLOAD_BYTES,
                                   WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES);
        append->header_bytes = WAL_HEADER_BYTES;
    }
    for (size_t i = 0; i < append->part_count; i++)
        if (append->parts[i].bytes)
            header->crc = crc32_update(header->crc, append->parts[i].data, append->parts[i].bytes);
    put_le32(append->header + WAL_CRC, header->crc);
}

static sombra_err append_record(struct wal *wal, struct wal_header header,
                                const struct os_iovec *parts, size_t part_count)
{
    struct append append = { .parts = parts, .part_count = part_count };
    header_seal(wal, &header, &append);
    uint64_t record_bytes = wal_header_record_bytes(&header);
    append.padding_bytes = (size_t)(record_bytes - append.header_bytes - header.payload_bytes);
    assert(record_bytes <= wal->file_bytes - wal->next.offset); /* wal_reserve came first */
    assert(header.lsn >= wal->last_lsn);
    bool is_mapped = wal->uses_window && record_bytes <= WINDOW_RECORD_BYTES_MAX &&
                     window_covers(wal, record_bytes);
    if (is_mapped) {
        store_mapped(wal, &append);
    } else {
        sombra_err err = store_written(wal, &append);
        if (err)
            return diag_wrap(poison(wal, err), "append to log");
    }
    if (header.kind == WAL_KIND_LEADER)
        wal->leader_block = header.offset / WAL_BLOCK_BYTES;
    wal->told_durable_lsn = u64_max(wal->told_durable_lsn, header.durable_lsn);
    wal->next.offset += record_bytes;
    wal->written_bytes = u64_max(wal->written_bytes, wal->next.offset);
    wal->next.link = header.crc;
    wal->last_lsn = header.lsn;
    if (is_mapped)
        window_prefetch(wal);
    check(wal);
    return SOMBRA_OK;
}

sombra_err wal_append(struct wal *wal, uint64_t lsn, uint64_t durable_lsn,
                      const struct os_iovec *parts, size_t part_count)
{
    check(wal);
    assert(!wal->is_readonly && wal->next.epoch != 0);
    assert(lsn > wal->last_lsn && durable_lsn < lsn);
    sombra_err err = refuse_if_failed(wal);
    if (err)
        return err;
    if (part_count > WAL_PARTS_MAX)
        return diag_fail(SOMBRA_INVALID, "a log record in %zu parts: at most %d", part_count,
                         WAL_PARTS_MAX);
    struct wal_header header = { .kind = wal->has_short_records ? WAL_KIND_LEADER : WAL_KIND_RECORD,
                                 .lsn = lsn,
                                 .durable_lsn = durable_lsn };
    return append_record(wal, header, parts, part_count);
}

sombra_err wal_append_mark(struct wal *wal, uint64_t last_lsn, uint64_t durable_lsn)
{
    check(wal);
    assert(durable_lsn <= last_lsn);
    sombra_err err = wal_reserve(wal, 0, wal->reserved_bytes_limit);
    if (err)
        return err;
    struct wal_header header = { .kind = WAL_KIND_MARK,
                                 .lsn = last_lsn,
                                 .durable_lsn = durable_lsn };
    return append_record(wal, header, NULL, 0);
}

void wal_let_go(struct wal *wal)
{
    enum { STRETCH_BYTES = 1 << 20, LAG_BYTES = 2 * STRETCH_BYTES };
    uint64_t at = wal->next.offset - wal->next.offset % STRETCH_BYTES;
    if (LIKELY(at == wal->let_go_bytes))
        return;
    uint64_t from = at > wal->let_go_bytes ? wal->let_go_bytes : 0; /* it may have begun anew */
    wal->let_go_bytes = at;
    os_write_out(wal->file, from, at - from);
    /* What was on its way two stretches ago is written by now, mostly. */
    uint64_t low = from > LAG_BYTES ? from - LAG_BYTES : 0;
    if (at > LAG_BYTES)
        os_forget(wal->file, low, at - LAG_BYTES - low);
    if (at + STRETCH_BYTES < wal->file_bytes)
        os_read_ahead(wal->file, at + STRETCH_BYTES,
                      u64_min(STRETCH_BYTES, wal->file_bytes - at - STRETCH_BYTES));
}

sombra_err wal_sync(struct wal *wal)
{
    assert(wal);
    return diag_wrap(file_sync(wal), "sync log");
}
