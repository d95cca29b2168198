/* SPDX-License-Identifier: MIT */
/* The space maps on disk: loading them at the first write, writing the changed chunks at a
 * checkpoint. */
#include "btree_internal.h"
#include "space_format.h"

uint64_t space_chunk_pages(const struct space *space)
{
    return (uint64_t)(space->btree->pager.page_bytes - SPACE_MAP_AT) * 8;
}

static size_t directory_entries(const struct space *space)
{
    return (space->btree->pager.page_bytes - SPACE_DIRECTORY_AT) / SPACE_ENTRY_BYTES;
}

/* ---- load -------------------------------------------------------------------------------- */

static sombra_err page_read(struct space *space, page_id id, enum page_kind kind, uint8_t *to)
{
    struct pager *pager = &space->btree->pager;
    const char *path = os_file_path(pager->file);
    if (id < space->first_page || id >= space->page_count)
        return diag_fail(SOMBRA_CORRUPT, "%s: space map at page %" PRIu64 " of %" PRIu64, path, id,
                         space->page_count);
    sombra_err err = os_read(pager->file, id << pager->page_shift, to, pager->page_bytes);
    if (err)
        return err;
    uint32_t crc = crc32_update(0, to + PAGE_NUMBER, pager->page_bytes - PAGE_NUMBER);
    if (crc != get_le32(to + PAGE_CRC) || get_le32(to + PAGE_SEAL) != PAGE_SEALED)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: page %" PRIu64 ": checksum of a space map is %08" PRIx32
                         ", stored is %08" PRIx32,
                         path, id, crc, get_le32(to + PAGE_CRC));
    if (page_number(to) != id || page_kind(to) != kind)
        return diag_fail(SOMBRA_CORRUPT, "%s: page %" PRIu64 ": kind %d, expected a space map",
                         path, id, (int)page_kind(to));
    return SOMBRA_OK;
}

/* Copies the bits of chunk `chunk` that lie below page_count. */
static sombra_err map_load(struct space *space, page_id id, size_t chunk, unsigned which,
                           uint64_t *bits, uint8_t *page)
{
    sombra_err err = page_read(space, id, PAGE_SPACE_MAP, page);
    if (err)
        return err;
    if (get_le32(page + SPACE_MAP_CHUNK) != chunk || get_le32(page + SPACE_MAP_WHICH) != which)
        return diag_fail(
            SOMBRA_CORRUPT, "%s: page %" PRIu64 ": space map of chunk %" PRIu32 ", expected %zu",
            os_file_path(space->btree->pager.file), id, get_le32(page + SPACE_MAP_CHUNK), chunk);
    uint64_t pages = space_chunk_pages(space);
    page_id first = chunk * pages;
    page_id last = u64_min(first + pages, space->page_count); /* may be less than first */
    for (page_id at = first; at < last; at++) {
        uint64_t bit = at - first;
        if ((page[SPACE_MAP_AT + bit / 8] >> (bit % 8)) & 1)
            bits[at / 64] |= UINT64_C(1) << (at % 64);
    }
    return SOMBRA_OK;
}

static sombra_err directory_load(struct space *space, page_id directory, uint64_t *used,
                                 uint64_t *pending, uint8_t *pages)
{
    size_t chunk = 0;
    uint8_t *page = pages;
    uint8_t *map = pages + space->btree->pager.page_bytes;
    const char *path = os_file_path(space->btree->pager.file);
    while (directory) {
        sombra_err err = page_read(space, directory, PAGE_SPACE, page);
        if (err)
            return err;
        page_id *grown =
            mem_realloc(space->directory, (space->directory_count + 1) * sizeof *grown);
        if (!grown)
            return diag_nomem("the space directory", sizeof *grown);
        space->directory = grown;
        space->directory[space->directory_count++] = directory;
        size_t count = get_le32(page + SPACE_DIRECTORY_ENTRIES);
        /* A close cuts the file and not the directory: it may name chunks behind the file's end. */
        size_t chunks_max =
            (size_t)((space->btree->pager.map_bytes >> space->btree->pager.page_shift) /
                     space_chunk_pages(space)) +
            2;
        if (space->directory_count > chunks_max || count > directory_entries(space) ||
            chunk + count > chunks_max)
            return diag_fail(SOMBRA_CORRUPT, "%s: page %" PRIu64 ": space directory of %zu entries",
                             path, directory, count);
        err = space_chunks_reserve(space, chunk + count);
        if (err)
            return err;
        for (size_t i = 0; i < count; i++, chunk++) {
            const uint8_t *entry = page + SPACE_DIRECTORY_AT + i * SPACE_ENTRY_BYTES;
            struct space_chunk *to = &space->chunks[chunk];
            to->used_map = get_le48(entry);
            to->pending_map = get_le48(entry + SPACE_ENTRY_PENDING);
            err = to->used_map ? map_load(space, to->used_map, chunk, 0, used, map) : SOMBRA_OK;
            if (!err && to->pending_map)
                err = map_load(space, to->pending_map, chunk, 1, pending, map);
            if (err)
                return err;
        }
        directory = get_le48(page + SPACE_DIRECTORY_NEXT);
    }
    return SOMBRA_OK;
}

static bool is_used(const struct space *space, const uint64_t *used, page_id id)
{
    return id == 0 || (id < space->page_count && space_bit(used, id));
}

/* The maps must at least call themselves used; the rest is verify's. */
static sombra_err own_pages_check(const struct space *space, const uint64_t *used,
                                  const struct meta *meta)
{
    bool sound = true;
    for (size_t i = 0; i < space->directory_count; i++)
        sound = sound && is_used(space, used, space->directory[i]);
    for (size_t i = 0; i < space->chunk_count; i++)
        sound = sound && is_used(space, used, space->chunks[i].used_map) &&
                is_used(space, used, space->chunks[i].pending_map);
    for (page_id id = 0; id < space->first_page; id++)
        sound = sound && space_bit(used, id);
    sound = sound && is_used(space, used, meta->snapshot.root);
    if (!sound)
        return diag_fail(SOMBRA_CORRUPT, "%s: the space maps call pages free that are in use",
                         os_file_path(space->btree->pager.file));
    return SOMBRA_OK;
}

/* The bits of the pending maps, as one run a page: whoever frees them later looks at each anyway.
 */
static sombra_err pending_load(struct space *space, const uint64_t *pending, uint64_t txn)
{
    for (page_id id = space->first_page; id < space->page_count; id++) {
        if (!space_bit(pending, id))
            continue;
        sombra_err err = space_apply_freed(space, id, 1, 0, txn);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

sombra_err space_load(struct space *space, const struct meta *meta, bool keeps_pending)
{
    size_t page_bytes = space->btree->pager.page_bytes;
    sombra_err err = space_set_page_count(space, meta->snapshot.page_count);
    if (err)
        return err;
    uint64_t *used = mem_zalloc(space->words * sizeof *used);
    uint64_t *pending = mem_zalloc(space->words * sizeof *pending);
    uint8_t *pages = mem_alloc(2 * page_bytes);
    if (!used || !pending || !pages)
        err = diag_nomem("the space maps", 2 * space->words * sizeof *used + 2 * page_bytes);
    if (!err)
        err = meta->space_directory
                  ? directory_load(space, meta->space_directory, used, pending, pages)
                  : SOMBRA_OK;
    if (!err && meta->space_directory)
        err = own_pages_check(space, used, meta);
    for (page_id id = space->first_page; !err && meta->space_directory && id < space->page_count;
         id++) {
        if (!space_bit(used, id) && !(keeps_pending && space_bit(pending, id))) {
            space->free_bits[id / 64] |= UINT64_C(1) << (id % 64);
            space->free_count++;
        }
    }
    if (!err && keeps_pending)
        err = pending_load(space, pending, meta->snapshot.txn);
    /* What is pending on disk and nobody needs: its map page is written anew. */
    for (size_t i = 0; i < space->chunk_count && !err; i++)
        space->chunks[i].is_dirty = !keeps_pending && space->chunks[i].pending_map != 0;
    mem_free(pages);
    mem_free(pending);
    mem_free(used);
    if (err)
        return err;
    space->lsn = meta->snapshot.lsn;
    space->noted_count = meta->snapshot.page_count;
    space->meta_sequence = meta->sequence;
    space->log = meta->log;
    space->log_half = meta->log_half;
    space->is_loaded = true;
    return SOMBRA_OK;
}

sombra_err space_read_maps(struct space *space, const struct meta *meta)
{
    size_t page_bytes = space->btree->pager.page_bytes;
    assert(space->lsn >= meta->snapshot.lsn);
    uint64_t *ignored = mem_zalloc(2 * space->words * sizeof *ignored);
    uint8_t *pages = mem_alloc(2 * page_bytes);
    sombra_err err = ignored && pages ? SOMBRA_OK : diag_nomem("the space maps", 2 * page_bytes);
    if (!err)
        space_forget_maps(space);
    if (!err && meta->space_directory)
        err = directory_load(space, meta->space_directory, ignored, ignored + space->words, pages);
    if (!err)
        space->meta_sequence = meta->sequence;
    mem_free(pages);
    mem_free(ignored);
    return err;
}

sombra_err space_refresh_maps(struct space *space)
{
    struct btree *btree = space->btree;
    if (!btree->file || head_meta_sequence(btree->head) <= space->meta_sequence)
        return SOMBRA_OK;
    struct meta meta;
    unsigned slot;
    sombra_err err = meta_read_durable(btree, &meta, &slot);
    return err ? err : space_read_maps(space, &meta);
}

/* ---- plan -------------------------------------------------------------------------------- */

static void chunks_touch(struct space *space, page_id id, uint64_t pages)
{
    uint64_t first = id / space_chunk_pages(space);
    uint64_t last = (id + pages - 1) / space_chunk_pages(space);
    for (uint64_t chunk = first; chunk <= last; chunk++)
        space->chunks[chunk].is_dirty = true;
}

static void old_free(struct space *space, page_id id, uint64_t stamp)
{
    if (!id)
        return;
    /* No reader needs it, only the durable checkpoint: it counts as born with that. */
    space_free(space, id, 1, space->btree->meta.snapshot.txn, stamp);
    chunks_touch(space, id, 1);
}

static sombra_err image_reserve(struct space *space, struct space_image *image, size_t pages)
{
    size_t page_bytes = space->btree->pager.page_bytes;
    sombra_err err = space_reserve(space, pages, pages);
    if (err)
        return err;
    page_id *ids = mem_realloc(image->ids, (image->count + pages) * sizeof *ids);
    if (ids)
        image->ids = ids;
    uint8_t *images = ids ? mem_realloc(image->images, (image->count + pages) * page_bytes) : NULL;
    if (!images)
        return diag_nomem("the space maps", (image->count + pages) * page_bytes);
    image->images = images;
    image->capacity = image->count + pages;
    return SOMBRA_OK;
}

static void image_take(struct space *space, struct space_image *image)
{
    assert(image->count < image->capacity);
    image->ids[image->count++] = space_take(space);
}

static size_t chunks_unplanned(const struct space *space)
{
    size_t count = 0;
    for (size_t i = 0; i < space->chunk_count; i++)
        count += space->chunks[i].is_dirty && !space->chunks[i].is_planned;
    return count;
}

/* Map pages are taken two a chunk, used then pending. Taking them may dirty further chunks. */
static sombra_err chunks_plan(struct space *space, uint64_t stamp, struct space_image *image)
{
    for (;;) {
        size_t unplanned = chunks_unplanned(space);
        if (unplanned == 0)
            return SOMBRA_OK;
        sombra_err err = image_reserve(space, image, 2 * unplanned);
        if (err)
            return err;
        for (size_t i = 0; i < space->chunk_count && unplanned; i++) {
            struct space_chunk *chunk = &space->chunks[i];
            if (!chunk->is_dirty || chunk->is_planned)
                continue;
            chunk->is_planned = true;
            unplanned--;
            old_free(space, chunk->used_map, stamp);
            old_free(space, chunk->pending_map, stamp);
            chunk->plan_at = image->count;
            image_take(space, image);
            image_take(space, image);
        }
    }
}

sombra_err space_plan(struct space *space, uint64_t stamp, struct space_image *out)
{
    struct space_image image = { 0 };
    size_t mark = space->change_count;
    for (size_t i = 0; i < mark; i++)
        if (space->changes[i].action == SPACE_FREED)
            chunks_touch(space, space->changes[i].id, space->changes[i].pages);
    for (size_t i = 0; i < space->chunk_count; i++)
        space->chunks[i].is_planned = false;
    size_t directories =
        (space->chunk_count + directory_entries(space) - 1) / directory_entries(space);
    sombra_err err = space_reserve(space, directories, directories + space->directory_count);
    /* One more than needed: growing for the reserve may add a chunk that needs a place. */
    if (!err)
        err = image_reserve(space, &image, directories + 1);
    if (!err) {
        size_t changes = space->directory_count + space->orphan_count;
        err = space_reserve(space, directories + 1, directories + 1 + changes);
    }
    if (!err) {
        image.directory_count = directories + 1;
        for (size_t i = 0; i < image.directory_count; i++)
            image_take(space, &image);
        for (size_t i = 0; i < space->directory_count; i++)
            old_free(space, space->directory[i], stamp);
        for (size_t i = 0; i < space->orphan_count; i++)
            old_free(space, space->orphans[i], stamp);
        err = chunks_plan(space, stamp, &image);
    }
    if (!err) {
        page_id *kept = mem_realloc(space->directory, image.directory_count * sizeof *kept);
        if (kept)
            space->directory = kept;
        else
            err = diag_nomem("the space directory", image.directory_count * sizeof *kept);
    }
    if (err) {
        space_undo(space, mark);
        space_image_release(&image);
        return err;
    }
    *out = image;
    return SOMBRA_OK;
}

/* ---- build ------------------------------------------------------------------------------- */

static uint8_t *image_page(struct space *space, struct space_image *image, size_t index,
                           enum page_kind kind, uint64_t stamp)
{
    size_t page_bytes = space->btree->pager.page_bytes;
    uint8_t *page = image->images + index * page_bytes;
    memset(page, 0, page_bytes);
    put_le48(page + PAGE_NUMBER, image->ids[index]);
    page[PAGE_KIND] = (uint8_t)kind;
    put_le64(page + PAGE_TXN, stamp);
    return page;
}

static void image_seal(struct space *space, uint8_t *page)
{
    size_t page_bytes = space->btree->pager.page_bytes;
    put_le32(page + PAGE_CRC, crc32_update(0, page + PAGE_NUMBER, page_bytes - PAGE_NUMBER));
    put_le32(page + PAGE_SEAL, PAGE_SEALED);
}

static void chunk_build(struct space *space, size_t index, uint64_t stamp,
                        struct space_image *image)
{
    struct space_chunk *chunk = &space->chunks[index];
    uint8_t *used = image_page(space, image, chunk->plan_at, PAGE_SPACE_MAP, stamp);
    uint8_t *pending = image_page(space, image, chunk->plan_at + 1, PAGE_SPACE_MAP, stamp);
    put_le32(used + SPACE_MAP_CHUNK, (uint32_t)index);
    put_le32(pending + SPACE_MAP_CHUNK, (uint32_t)index);
    put_le32(pending + SPACE_MAP_WHICH, 1);
    page_id first = index * space_chunk_pages(space);
    page_id last = u64_min(first + space_chunk_pages(space), space->page_count);
    /* A chunk begins on a word: 64 pages at a time. */
    for (page_id id = first; id < last; id += 64) {
        uint64_t mask = last - id < 64 ? (UINT64_C(1) << (last - id)) - 1 : UINT64_MAX;
        uint64_t waiting = space->pending_bits[id / 64] & mask;
        put_le64(pending + SPACE_MAP_AT + (id - first) / 8, waiting);
        put_le64(used + SPACE_MAP_AT + (id - first) / 8,
                 ~(space->free_bits[id / 64] | waiting) & mask);
    }
    for (size_t i = 0; i < space->reserve_count; i++) {
        page_id id = space->reserve[i];
        if (id >= first && id < last)
            used[SPACE_MAP_AT + (id - first) / 8] &= (uint8_t) ~(1u << ((id - first) % 8));
    }
    image_seal(space, used);
    image_seal(space, pending);
    chunk->used_map = image->ids[chunk->plan_at];
    chunk->pending_map = image->ids[chunk->plan_at + 1];
    chunk->is_dirty = chunk->is_planned = false;
}

void space_build(struct space *space, uint64_t stamp, struct space_image *image)
{
    for (size_t i = 0; i < space->chunk_count; i++)
        if (space->chunks[i].is_planned)
            chunk_build(space, i, stamp, image);
    size_t chunk = 0;
    for (size_t i = 0; i < image->directory_count; i++) {
        uint8_t *page = image_page(space, image, i, PAGE_SPACE, stamp);
        size_t count = size_min(directory_entries(space), space->chunk_count - chunk);
        put_le32(page + SPACE_DIRECTORY_ENTRIES, (uint32_t)count);
        bool is_last = i + 1 == image->directory_count;
        put_le48(page + SPACE_DIRECTORY_NEXT, is_last ? 0 : image->ids[i + 1]);
        for (size_t k = 0; k < count; k++, chunk++) {
            uint8_t *entry = page + SPACE_DIRECTORY_AT + k * SPACE_ENTRY_BYTES;
            put_le48(entry, space->chunks[chunk].used_map);
            put_le48(entry + SPACE_ENTRY_PENDING, space->chunks[chunk].pending_map);
        }
        image_seal(space, page);
        space->directory[i] = image->ids[i];
    }
    space->directory_count = image->directory_count;
    space->orphan_count = 0;
}

void space_image_release(struct space_image *image)
{
    mem_free(image->ids);
    mem_free(image->images);
    *image = (struct space_image){ 0 };
}

void space_each_own(const struct space *space, void (*each)(void *context, page_id id),
                    void *context)
{
    for (size_t i = 0; i < space->directory_count; i++)
        each(context, space->directory[i]);
    for (size_t i = 0; i < space->orphan_count; i++)
        each(context, space->orphans[i]);
    for (size_t i = 0; i < space->chunk_count; i++) {
        if (space->chunks[i].used_map)
            each(context, space->chunks[i].used_map);
        if (space->chunks[i].pending_map)
            each(context, space->chunks[i].pending_map);
    }
}

/* ---- the end of the file ------------------------------------------------------------------ */

uint64_t space_trimmed_count(const struct space *space)
{
    uint64_t count = space->page_count;
    while (count > space->first_page && space_is_unused(space, count - 1))
        count--;
    return count;
}

uint64_t space_free_end(const struct space *space)
{
    assert(space->reserve_count == 0);
    uint64_t count = space->page_count;
    while (count > space->first_page && space_bit(space->free_bits, count - 1))
        count--;
    return count;
}

uint64_t space_free_before(const struct space *space, page_id end)
{
    uint64_t count = 0;
    for (size_t i = 0; i < end / 64; i++)
        count += (uint64_t)__builtin_popcountll(space->free_bits[i]);
    if (end % 64)
        count += (uint64_t)__builtin_popcountll(space->free_bits[end / 64] &
                                                ((UINT64_C(1) << (end % 64)) - 1));
    for (size_t i = 0; i < space->reserve_count; i++)
        count += space->reserve[i] < end;
    return count;
}

page_id space_clearable(const struct space *space, page_id end)
{
    assert(space->reserve_count == 0 && end <= space->page_count);
    uint64_t room = space_free_before(space, end);
    uint64_t used = 0;
    page_id at = end;
    while (at > space->first_page) {
        if (space_bit(space->free_bits, at - 1))
            room--;
        else
            used++;
        if (used + used / 4 >= room)
            break;
        at--;
    }
    return at;
}

void space_move_maps(struct space *space, page_id end)
{
    for (size_t i = 0; i < space->chunk_count; i++)
        if (space->chunks[i].used_map >= end || space->chunks[i].pending_map >= end)
            space->chunks[i].is_dirty = true;
}

uint64_t space_unused_below(const struct space *space, uint64_t page_count)
{
    uint64_t unused = 0;
    for (page_id id = space->first_page; id < page_count; id++)
        unused += space_bit(space->free_bits, id) || space_bit(space->pending_bits, id);
    for (size_t i = 0; i < space->reserve_count; i++)
        unused += space->reserve[i] < page_count;
    return unused;
}
