/* SPDX-License-Identifier: MIT */
/* The file's pages, one by one; and which tree of them is read. */
#include "salvage_internal.h"

#include "space_format.h"

/* ---- meta records, size of a page -------------------------------------------------------- */

static sombra_err metas_read(struct salvage *salvage)
{
    for (unsigned slot = 0; slot < META_SLOTS; slot++) {
        uint8_t bytes[META_BYTES] = { 0 };
        size_t got = 0;
        sombra_err err = os_read_some(salvage->file, (uint64_t)slot * META_SLOT_BYTES, bytes,
                                      sizeof bytes, &got);
        if (!err)
            err = meta_decode(bytes, &salvage->metas[slot]);
        if (err == SOMBRA_UNSUPPORTED || (err && !salvage_is_damage(err)))
            return err;
        salvage->has_meta[slot] = !err;
        if (!err)
            continue;
        err = diag_wrap(err, "meta record %u", slot);
        salvage_problem(salvage, SOMBRA_CORRUPT, 0);
    }
    for (unsigned slot = 0; slot < META_SLOTS; slot++) {
        const struct meta *meta = &salvage->metas[slot];
        if (salvage->has_meta[slot] && (!salvage->meta || meta->sequence > salvage->meta->sequence))
            salvage->meta = meta;
    }
    return SOMBRA_OK;
}

/* A page's header names its own number, so that its place tells the size of the pages before it:
 * the size that most headers tell. */
static sombra_err page_bytes_find(struct salvage *salvage, uint64_t file_bytes)
{
    uint64_t votes[17] = { 0 }; /* by log2 of the size */
    for (uint64_t at = PAGE_BYTES_MIN; at + PAGE_HEADER_BYTES <= file_bytes; at += PAGE_BYTES_MIN) {
        uint8_t head[PAGE_HEADER_BYTES];
        if (os_read(salvage->file, at, head, sizeof head) != SOMBRA_OK)
            continue;
        uint64_t number = page_number(head);
        if (get_le32(head + PAGE_SEAL) != PAGE_SEALED || head[PAGE_KIND] == PAGE_NONE ||
            head[PAGE_KIND] > PAGE_SPACE_MAP || number == 0 || at % number)
            continue;
        uint64_t bytes = at / number;
        if (bytes >= PAGE_BYTES_MIN && bytes <= PAGE_BYTES_MAX && (bytes & (bytes - 1)) == 0)
            votes[__builtin_ctzll(bytes)]++;
    }
    unsigned best = 0;
    for (unsigned i = 0; i < COUNT_OF(votes); i++)
        if (votes[i] > votes[best])
            best = i;
    if (votes[best] == 0)
        return diag_fail(SOMBRA_INVALID,
                         "%s: neither a meta record nor a page of a sombra database is in it",
                         salvage->path);
    salvage->page_bytes = (size_t)1 << best;
    return SOMBRA_OK;
}

static sombra_err size_find(struct salvage *salvage)
{
    uint64_t file_bytes = 0;
    sombra_err err = os_size(salvage->file, &file_bytes);
    if (!err && salvage->meta)
        salvage->page_bytes = salvage->meta->page_bytes;
    else if (!err)
        err = page_bytes_find(salvage, file_bytes);
    if (err)
        return err;
    salvage->first_page = u64_max(1, META_AREA_BYTES / salvage->page_bytes);
    salvage->page_count = file_bytes / salvage->page_bytes;
    salvage->report.page_bytes = salvage->page_bytes;
    salvage->report.pages = salvage->page_count;
    if (salvage->meta && salvage->meta->snapshot.page_count > salvage->page_count) {
        (void)diag_fail(SOMBRA_CORRUPT,
                        "the file has %" PRIu64 " of its %" PRIu64 " pages: it was cut short",
                        salvage->page_count, salvage->meta->snapshot.page_count);
        salvage_problem(salvage, SOMBRA_CORRUPT, 0);
    }
    return SOMBRA_OK;
}

/* ---- facts ------------------------------------------------------------------------------- */

static bool is_sound_map(const uint8_t *page, size_t page_bytes, page_id id)
{
    return (page[PAGE_KIND] == PAGE_SPACE || page[PAGE_KIND] == PAGE_SPACE_MAP) &&
           page_number(page) == id && get_le32(page + PAGE_SEAL) == PAGE_SEALED &&
           get_le32(page + PAGE_CRC) ==
               crc32_update(0, page + PAGE_NUMBER, page_bytes - PAGE_NUMBER);
}

/* What is not sound may be anything: free, part of a value, damaged. The walk tells. */
static sombra_err facts_collect(struct salvage *salvage)
{
    size_t levels = PAGE_LEVEL_MAX + 1;
    salvage->facts = mem_zalloc((size_t)(salvage->page_count + 1) * sizeof *salvage->facts);
    salvage->images = mem_alloc_aligned(64, levels * salvage->page_bytes);
    if (!salvage->facts || !salvage->images)
        return diag_nomem("the facts of all pages",
                          (size_t)salvage->page_count * sizeof *salvage->facts);
    uint8_t *page = salvage->images;
    for (page_id id = salvage->first_page; id < salvage->page_count; id++) {
        sombra_err err = salvage_progress(salvage);
        if (err)
            return err;
        err = salvage_read_tree(salvage, id, page);
        if (err && !salvage_is_damage(err))
            return err;
        if (err && (err == SOMBRA_IO || !is_sound_map(page, salvage->page_bytes, id)))
            continue;
        struct page_fact *fact = &salvage->facts[id];
        fact->txn = page_txn(page);
        fact->kind = (uint8_t)page_kind(page);
        fact->level = (uint8_t)page_level(page);
    }
    return SOMBRA_OK;
}

/* ---- space maps -------------------------------------------------------------------------- */

static sombra_err map_page_read(struct salvage *salvage, page_id id, enum page_kind kind,
                                uint8_t *to)
{
    if (id >= salvage->page_count || salvage->facts[id].kind != kind ||
        salvage->facts[id].txn > salvage->state.txn)
        return diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 ": a space map is damaged", id);
    return os_read(salvage->file, id * salvage->page_bytes, to, salvage->page_bytes);
}

static void chunk_set(struct salvage *salvage, uint64_t chunk, const uint8_t *map)
{
    uint64_t pages = (uint64_t)(salvage->page_bytes - SPACE_MAP_AT) * 8;
    page_id first = chunk * pages;
    for (uint64_t bit = 0; bit < pages && first + bit < salvage->page_count; bit++) {
        bool is_used = map && (map[SPACE_MAP_AT + bit / 8] >> (bit % 8)) & 1;
        salvage->facts[first + bit].use = is_used ? USE_YES : USE_NO;
    }
}

static sombra_err chunk_load(struct salvage *salvage, page_id id, uint64_t chunk)
{
    uint8_t *map = salvage_image(salvage, 1);
    if (id == 0) {
        chunk_set(salvage, chunk, NULL);
        return SOMBRA_OK;
    }
    sombra_err err = map_page_read(salvage, id, PAGE_SPACE_MAP, map);
    if (!err && (get_le32(map + SPACE_MAP_CHUNK) != chunk || get_le32(map + SPACE_MAP_WHICH) != 0))
        err = diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 ": not the space map of chunk %" PRIu64, id,
                        chunk);
    if (!err)
        chunk_set(salvage, chunk, map);
    return err;
}

/* Uses by the maps; where a map cannot be read they stay unknown. */
static sombra_err uses_load(struct salvage *salvage)
{
    uint8_t *page = salvage_image(salvage, 0);
    size_t entries_max = (salvage->page_bytes - SPACE_DIRECTORY_AT) / SPACE_ENTRY_BYTES;
    uint64_t chunk = 0, steps = 0;
    page_id at = salvage->state.directory;
    while (at && steps++ < salvage->page_count) {
        sombra_err err = map_page_read(salvage, at, PAGE_SPACE, page);
        size_t count = err ? 0 : get_le32(page + SPACE_DIRECTORY_ENTRIES);
        if (!err && count > entries_max)
            err = diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 ": space directory of %zu entries", at,
                            count);
        if (err && !salvage_is_damage(err))
            return err;
        if (err) {
            salvage_problem(salvage, err, at);
            break;
        }
        for (size_t i = 0; i < count; i++, chunk++) {
            page_id map = get_le48(page + SPACE_DIRECTORY_AT + i * SPACE_ENTRY_BYTES);
            err = chunk_load(salvage, map, chunk);
            if (err && !salvage_is_damage(err))
                return err;
            if (err)
                salvage_problem(salvage, err, map);
        }
        at = get_le48(page + SPACE_DIRECTORY_NEXT);
    }
    for (page_id id = salvage->state.page_count; id < salvage->page_count; id++)
        salvage->facts[id].use = USE_NO;
    return SOMBRA_OK;
}

static void uses_forget(struct salvage *salvage)
{
    for (page_id id = 0; id < salvage->page_count; id++)
        salvage->facts[id].use = USE_UNKNOWN;
}

/* ---- the state --------------------------------------------------------------------------- */

static struct salvage_state state_of_meta(const struct meta *meta)
{
    const struct snapshot *snapshot = &meta->snapshot;
    return (struct salvage_state){ .txn = snapshot->txn,
                                   .root = snapshot->root,
                                   .level = snapshot->depth ? (unsigned)snapshot->depth - 1 : 0,
                                   .page_count = snapshot->page_count,
                                   .entries = snapshot->entries,
                                   .directory = meta->space_directory };
}

/* The newest checkpoint by its space directory, if one page is that. */
static page_id directory_newest(const struct salvage *salvage)
{
    page_id newest = 0;
    bool is_alone = false;
    for (page_id id = salvage->first_page; id < salvage->page_count; id++) {
        const struct page_fact *fact = &salvage->facts[id];
        if (fact->kind != PAGE_SPACE)
            continue;
        if (newest && fact->txn == salvage->facts[newest].txn)
            is_alone = false;
        if (newest && fact->txn <= salvage->facts[newest].txn)
            continue;
        newest = id;
        is_alone = true;
    }
    return is_alone ? newest : 0;
}

/* A child is never newer than its parent, and every change changes the root: it is the newest page
 * in use, and of those the highest. */
static void root_guess(struct salvage *salvage)
{
    struct salvage_state *state = &salvage->state;
    uint64_t best_txn = 0;
    for (page_id id = salvage->first_page; id < salvage->page_count; id++) {
        const struct page_fact *fact = &salvage->facts[id];
        if (fact->kind < PAGE_LEAF || fact->kind > PAGE_BRANCH || fact->use == USE_NO ||
            fact->txn > state->txn)
            continue;
        if (state->root &&
            (fact->txn < best_txn || (fact->txn == best_txn && fact->level <= state->level)))
            continue;
        state->root = id;
        state->level = fact->level;
        best_txn = fact->txn;
    }
}

static sombra_err state_guess(struct salvage *salvage)
{
    page_id directory = directory_newest(salvage);
    salvage->state = (struct salvage_state){
        .txn = directory ? salvage->facts[directory].txn : UINT64_MAX,
        .page_count = salvage->page_count,
        .directory = directory,
        .is_guess = true,
    };
    sombra_err err = uses_load(salvage);
    if (!err)
        root_guess(salvage);
    return err;
}

/* A newer checkpoint than the one sound meta record knows: then the damaged record was the newer
 * one, and pages of the older tree may have been used anew. The older one counts only if it is
 * whole. */
static sombra_err state_is_outdated(struct salvage *salvage, bool *out_is_outdated)
{
    const struct salvage_state older = state_of_meta(salvage->meta);
    page_id directory = directory_newest(salvage);
    *out_is_outdated = false;
    if ((salvage->has_meta[0] && salvage->has_meta[1]) || !directory ||
        salvage->facts[directory].txn <= older.txn)
        return SOMBRA_OK;
    bool is_whole;
    sombra_err err = salvage_try(salvage, &older, &is_whole);
    if (!err)
        *out_is_outdated = !is_whole;
    return err;
}

static sombra_err state_choose(struct salvage *salvage)
{
    bool is_outdated = false;
    sombra_err err = salvage->meta ? state_is_outdated(salvage, &is_outdated) : SOMBRA_OK;
    if (err)
        return err;
    if (salvage->meta && !is_outdated) {
        salvage->state = state_of_meta(salvage->meta);
        return uses_load(salvage);
    }
    salvage->meta = NULL;
    uses_forget(salvage);
    (void)diag_fail(SOMBRA_CORRUPT,
                    "the newest meta record is damaged: the newest tree is found by its pages");
    salvage_problem(salvage, SOMBRA_CORRUPT, 0);
    return state_guess(salvage);
}

sombra_err salvage_scan(struct salvage *salvage)
{
    sombra_err err = metas_read(salvage);
    if (!err)
        err = size_find(salvage);
    if (!err)
        err = facts_collect(salvage);
    if (!err)
        err = state_choose(salvage);
    return err;
}
