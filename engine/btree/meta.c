/* SPDX-License-Identifier: MIT */
/* The meta records: encode, decode, choose. */
#include "btree_internal.h"

void meta_encode(const struct meta *meta, uint8_t out_bytes[META_BYTES])
{
    const struct snapshot *snapshot = &meta->snapshot;
    memset(out_bytes, 0, META_BYTES);
    memcpy(out_bytes + META_MAGIC, META_MAGIC_BYTES, 8);
    put_le32(out_bytes + META_VERSION, META_FORMAT_VERSION);
    put_le32(out_bytes + META_PAGE_BYTES, meta->page_bytes);
    memcpy(out_bytes + META_UUID, meta->uuid, sizeof meta->uuid);
    put_le64(out_bytes + META_SEQUENCE, meta->sequence);
    put_le64(out_bytes + META_TXN, snapshot->txn);
    put_le64(out_bytes + META_ROOT, snapshot->root);
    put_le64(out_bytes + META_ENTRIES, snapshot->entries);
    put_le32(out_bytes + META_DEPTH, (uint32_t)snapshot->depth);
    put_le32(out_bytes + META_LOG_STATE, meta->log_state);
    put_le64(out_bytes + META_PAGE_COUNT, snapshot->page_count);
    put_le64(out_bytes + META_COVERED_LSN, snapshot->lsn);
    put_le64(out_bytes + META_LOG_EPOCH, meta->log.epoch);
    put_le64(out_bytes + META_LOG_OFFSET, meta->log.offset);
    put_le32(out_bytes + META_LOG_LINK, meta->log.link);
    put_le32(out_bytes + META_LOG_HALF, meta->log_half);
    put_le64(out_bytes + META_SPACE_DIRECTORY, meta->space_directory);
    put_le64(out_bytes + META_PAGES_FREE, meta->pages_free);
    put_le64(out_bytes + META_PAGES_PENDING, meta->pages_pending);
    put_le64(out_bytes + META_CREATED_NS, meta->created_ns);
    put_le64(out_bytes + META_COMPACT_TXN, meta->compact_txn);
    put_le64(out_bytes + META_COMPACT_MOVED, meta->compact_moved);
    put_le32(out_bytes + META_COMPACT_WATERMARK, meta->compact_watermark_ppm);
    put_le64(out_bytes + META_COMPACT_RETURNED, meta->compact_returned);
    put_le32(out_bytes + META_CRC, crc32_update(0, out_bytes, META_CRC));
}

static sombra_err fields_check(const struct meta *meta)
{
    const struct snapshot *snapshot = &meta->snapshot;
    /* Numbers that only grow are never near their end. */
    const uint64_t limit = UINT64_C(1) << 62;
    if (snapshot->txn == 0 || snapshot->txn >= limit || snapshot->lsn >= limit ||
        meta->sequence >= limit || meta->log.epoch >> 63 || meta->log.offset >= limit ||
        snapshot->entries >> 48)
        return diag_fail(SOMBRA_CORRUPT,
                         "meta: txn %" PRIu64 ", lsn %" PRIu64 ", sequence %" PRIu64
                         ": impossible numbers",
                         snapshot->txn, snapshot->lsn, meta->sequence);
    uint64_t first_page = u64_max(1, META_AREA_BYTES / meta->page_bytes);
    if (snapshot->depth > PAGE_LEVEL_MAX + 1 || (snapshot->depth == 0) != (snapshot->root == 0))
        return diag_fail(SOMBRA_CORRUPT, "meta: depth %" PRIu64 " with root page %" PRIu64,
                         snapshot->depth, snapshot->root);
    if (snapshot->page_count < first_page || snapshot->page_count >> 48 ||
        (snapshot->root && (snapshot->root < first_page || snapshot->root >= snapshot->page_count)))
        return diag_fail(SOMBRA_CORRUPT, "meta: root page %" PRIu64 " of %" PRIu64 " pages",
                         snapshot->root, snapshot->page_count);
    if (meta->space_directory &&
        (meta->space_directory < first_page || meta->space_directory >= snapshot->page_count))
        return diag_fail(SOMBRA_CORRUPT, "meta: space directory at page %" PRIu64 " of %" PRIu64,
                         meta->space_directory, snapshot->page_count);
    if (meta->log_state > META_LOG_BESIDE || meta->log_half >= LOG_HALVES || meta->log.offset % 8)
        return diag_fail(SOMBRA_CORRUPT, "meta: log state %d, half %u, offset %" PRIu64,
                         (int)meta->log_state, meta->log_half, meta->log.offset);
    return SOMBRA_OK;
}

static void fields_get(const uint8_t *bytes, struct meta *out)
{
    out->page_bytes = get_le32(bytes + META_PAGE_BYTES);
    memcpy(out->uuid, bytes + META_UUID, sizeof out->uuid);
    out->sequence = get_le64(bytes + META_SEQUENCE);
    out->snapshot.txn = get_le64(bytes + META_TXN);
    out->snapshot.root = get_le64(bytes + META_ROOT);
    out->snapshot.entries = get_le64(bytes + META_ENTRIES);
    out->snapshot.depth = get_le32(bytes + META_DEPTH);
    out->snapshot.page_count = get_le64(bytes + META_PAGE_COUNT);
    out->snapshot.lsn = get_le64(bytes + META_COVERED_LSN);
    out->log_state = (enum meta_log_state)get_le32(bytes + META_LOG_STATE);
    out->log.epoch = get_le64(bytes + META_LOG_EPOCH);
    out->log.offset = get_le64(bytes + META_LOG_OFFSET);
    out->log.link = get_le32(bytes + META_LOG_LINK);
    out->log_half = get_le32(bytes + META_LOG_HALF);
    out->space_directory = get_le64(bytes + META_SPACE_DIRECTORY);
    out->pages_free = get_le64(bytes + META_PAGES_FREE);
    out->pages_pending = get_le64(bytes + META_PAGES_PENDING);
    out->created_ns = get_le64(bytes + META_CREATED_NS);
    out->compact_txn = get_le64(bytes + META_COMPACT_TXN);
    out->compact_moved = get_le64(bytes + META_COMPACT_MOVED);
    out->compact_watermark_ppm = get_le32(bytes + META_COMPACT_WATERMARK);
    out->compact_returned = get_le64(bytes + META_COMPACT_RETURNED);
}

sombra_err meta_decode(const uint8_t bytes[META_BYTES], struct meta *out)
{
    if (memcmp(bytes + META_MAGIC, META_MAGIC_BYTES, 8) != 0)
        return diag_fail(SOMBRA_INVALID,
                         "not a sombra database: it does not begin with \"sombra\"");
    uint32_t crc = crc32_update(0, bytes, META_CRC);
    if (crc != get_le32(bytes + META_CRC))
        return diag_fail(SOMBRA_CORRUPT, "meta: checksum is %08" PRIx32 ", stored is %08" PRIx32,
                         crc, get_le32(bytes + META_CRC));
    uint32_t version = get_le32(bytes + META_VERSION);
    if (version != META_FORMAT_VERSION)
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "format version %" PRIu32 ", and this sombra reads version %d: "
                         "open it with a newer sombra",
                         version, META_FORMAT_VERSION);
    uint32_t page_bytes = get_le32(bytes + META_PAGE_BYTES);
    if (page_bytes < PAGE_BYTES_MIN || page_bytes > PAGE_BYTES_MAX ||
        (page_bytes & (page_bytes - 1)))
        return diag_fail(SOMBRA_CORRUPT, "meta: pages of %" PRIu32 " bytes", page_bytes);
    struct meta meta = { 0 };
    fields_get(bytes, &meta);
    sombra_err err = fields_check(&meta);
    if (!err)
        *out = meta;
    return err;
}

/* A close writes the second record when the first one's sync has returned: who finds both knows
 * that the first, and so this tree, is durable, whatever became of the second. */
static bool is_same_close(const struct meta *first, const struct meta *second)
{
    uint8_t bytes[META_SLOTS][META_BYTES];
    struct meta later = *first;
    later.sequence++;
    meta_encode(&later, bytes[0]);
    meta_encode(second, bytes[1]);
    return second->log_state == META_LOG_CLEAN && memcmp(bytes[0], bytes[1], META_BYTES) == 0;
}

sombra_err meta_choose(struct os_file *file, struct meta *out, unsigned *out_slot,
                       bool *out_is_settled)
{
    sombra_err errs[META_SLOTS];
    struct meta metas[META_SLOTS] = { 0 };
    char text[DIAG_TEXT_BYTES] = "";
    bool is_blank[META_SLOTS]; /* a checkpoint that was undone */
    for (unsigned slot = 0; slot < META_SLOTS; slot++) {
        uint8_t bytes[META_BYTES] = { 0 };
        size_t got = 0;
        sombra_err err =
            os_read_some(file, (uint64_t)slot * META_SLOT_BYTES, bytes, sizeof bytes, &got);
        if (err)
            return err;
        static const uint8_t blank[META_BYTES];
        is_blank[slot] = memcmp(bytes, blank, sizeof blank) == 0;
        errs[slot] = meta_decode(bytes, &metas[slot]);
        if (errs[slot] && (slot == 0 || errs[0] == SOMBRA_INVALID))
            diag_save(text);
    }
    /* A newer format in either slot is not ours to touch. */
    for (unsigned slot = 0; slot < META_SLOTS; slot++)
        if (errs[slot] == SOMBRA_UNSUPPORTED)
            return diag_wrap(errs[slot], "%s", os_file_path(file));
    if (errs[0] && errs[1]) {
        diag_restore(text);
        return diag_wrap(errs[0] == SOMBRA_INVALID ? errs[1] : errs[0], "%s", os_file_path(file));
    }
    unsigned slot = errs[0] || (!errs[1] && metas[1].sequence > metas[0].sequence) ? 1 : 0;
    if (!errs[0] && !errs[1] &&
        (metas[0].page_bytes != metas[1].page_bytes ||
         memcmp(metas[0].uuid, metas[1].uuid, 16) != 0 || metas[0].sequence == metas[1].sequence))
        return diag_fail(SOMBRA_CORRUPT, "%s: the two meta records contradict each other",
                         os_file_path(file));
    /* A meta record is one sector and does not tear, so a bad one rotted; only one that was undone
     * is blank. If it was the newer, the pages of this one may be overwritten, and commits beside
     * the log are in no log. */
    if (errs[1 - slot] && !is_blank[1 - slot] && metas[slot].log_state != META_LOG_CLEAN)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: meta record %u is damaged, the database was not closed, and the "
                         "damaged record may be the newer one",
                         os_file_path(file), 1 - slot);
    *out_is_settled = !errs[0] && !errs[1] && is_same_close(&metas[1 - slot], &metas[slot]);
    /* The second may be page cache, which forgets it: those who have the file open agree on the
     * record that the disk has. */
    if (*out_is_settled)
        slot = 1 - slot;
    *out = metas[slot];
    *out_slot = slot;
    return SOMBRA_OK;
}

sombra_err meta_write(struct os_file *file, unsigned slot, const struct meta *meta)
{
    assert(slot < META_SLOTS);
    uint8_t bytes[META_BYTES];
    meta_encode(meta, bytes);
    return diag_wrap(os_write(file, (uint64_t)slot * META_SLOT_BYTES, bytes, sizeof bytes),
                     "write meta %u", slot);
}
