/* SPDX-License-Identifier: MIT */
/* Page images of one file: a read-only map for everybody, and for the one writer either a writable
 * alias of the same file, mapped in windows, or private images that are written by system calls.
 *
 * Slices of readers point into the read-only map, so that a stray pointer of the host program
 * cannot damage the file. Only pages that no snapshot and no checkpoint can reach are ever written.
 */
#include "btree_internal.h"
#include "overflow_format.h"

#include <stdlib.h>

#if HAS_ADDRESS_SANITIZER || HAS_THREAD_SANITIZER
enum { MAP_BITS_DEFAULT = 36 }; /* the sanitizers' shadow memory leaves less */
#else
enum { MAP_BITS_DEFAULT = 40 };
#endif

static void bit_set(_Atomic uint64_t *bits, uint64_t index)
{
    atomic_fetch_or_explicit(&bits[index / 64], UINT64_C(1) << (index % 64), memory_order_relaxed);
}

static void bit_clear(_Atomic uint64_t *bits, uint64_t index)
{
    atomic_fetch_and_explicit(&bits[index / 64], ~(UINT64_C(1) << (index % 64)),
                              memory_order_relaxed);
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static sombra_err map_try(struct pager *pager, uint64_t bytes)
{
    void *address = NULL;
    sombra_err err = pager->file ? os_map(pager->file, 0, (size_t)bytes, false, &address)
                                 : os_reserve_anonymous((size_t)bytes, &address);
    if (err)
        return diag_wrap(err, "reserve %" PRIu64 " MiB of address space (option map_bytes_max)",
                         bytes / MiB);
    pager->map = address;
    pager->map_bytes = (size_t)bytes;
    return SOMBRA_OK;
}

static void map_release(struct pager *pager)
{
    if (pager->map && pager->file)
        os_unmap(pager->file, pager->map, pager->map_bytes);
    else if (pager->map)
        os_release_anonymous(pager->map, pager->map_bytes);
    pager->map = NULL;
}

/* Is there as much again, for the windows that the file is written through, and half of it for
 * everything else? */
static bool leaves_room(uint64_t bytes)
{
    void *address = NULL;
    size_t room = (size_t)(bytes + bytes / 2);
    if (os_reserve_anonymous(room, &address))
        return false;
    os_release_anonymous(address, room);
    return true;
}

/* Where the system refuses (ulimit -v): a power of two that leaves room, or the least that holds
 * the file. */
static sombra_err map_reserve_scarce(struct pager *pager, uint64_t bytes)
{
    uint64_t least = PAGER_WINDOW_BYTES, file_bytes = 0;
    sombra_err err = pager->file ? os_size(pager->file, &file_bytes) : SOMBRA_OK;
    if (err)
        return err;
    least = u64_max(least, file_bytes);
    for (;; bytes /= 2) {
        bool is_least = bytes / 2 < least;
        err = map_try(pager, bytes);
        if (is_least || (!err && leaves_room(bytes)))
            return err;
        map_release(pager);
    }
}

static sombra_err map_reserve(struct pager *pager, uint64_t bytes_max)
{
    uint64_t bytes = bytes_max ? bytes_max : UINT64_C(1) << MAP_BITS_DEFAULT;
    bytes = u64_align_up(u64_max(bytes, PAGER_WINDOW_BYTES), PAGER_WINDOW_BYTES);
    sombra_err err = map_try(pager, bytes);
    return err && !bytes_max ? map_reserve_scarce(pager, bytes / 2) : err;
}

/* In one piece: an open of a small store is to be short, and they are hardly touched then. */
static sombra_err tables_reserve(struct pager *pager)
{
    enum { BITMAPS = 3 };
    uint64_t pages = pager->map_bytes >> pager->page_shift;
    uint64_t clusters = pager->map_bytes / PAGER_CLUSTER_BYTES + 1;
    uint64_t windows = pager->file ? pager->map_bytes / PAGER_WINDOW_BYTES : 0;
    size_t page_bits = (size_t)u64_align_up(pages / 8 + 8, 4096);
    size_t cluster_bits = (size_t)u64_align_up(clusters / 8 + 8, 4096);
    size_t bytes = BITMAPS * page_bits + cluster_bits + (size_t)windows * sizeof *pager->windows;
    void *at = NULL;
    sombra_err err = os_reserve_anonymous(bytes, &at);
    if (err)
        return err;
    pager->tables = at;
    pager->tables_bytes = bytes;
    pager->sound_trees = (void *)pager->tables;
    pager->sound_runs = (void *)(pager->tables + page_bits);
    pager->unsealed = (void *)(pager->tables + 2 * page_bits);
    pager->read_clusters = (void *)(pager->tables + BITMAPS * page_bits);
    if (windows)
        pager->windows = (void *)(pager->tables + BITMAPS * page_bits + cluster_bits);
    return SOMBRA_OK;
}

sombra_err pager_open(struct pager *pager, struct os *os, struct os_file *file, size_t page_bytes,
                      const struct btree_options *options)
{
    assert(page_bytes >= PAGE_BYTES_MIN && page_bytes <= PAGE_BYTES_MAX);
    *pager = (struct pager){ .os = os, .file = file, .page_bytes = page_bytes };
    pager->page_shift = (unsigned)__builtin_ctzll(page_bytes);
    pager->can_map = !options->no_mapped_stores && file && os_can_store_mapped(file);
    atomic_init(&pager->modes, file && !pager->can_map ? PAGER_BUFFERED : 0);
    pager->memory_bytes = options->memory_bytes;
    pager->dirty.limit = (size_t)(options->txn_memory_max >> pager->page_shift);
    sombra_err err = map_reserve(pager, options->map_bytes_max);
    if (!err)
        err = tables_reserve(pager);
    if (err)
        pager_release(pager);
    return err;
}

void pager_release(struct pager *pager)
{
    pager_dirty_clear(pager);
    filters_free(atomic_load(&pager->filters));
    for (size_t i = 0; i < pager->dirty.spare_count; i++)
        mem_free(pager->dirty.spare[i]);
    mem_free(pager->dirty.spare);
    mem_free(pager->dirty.slots);
    for (size_t i = 0; i < atomic_load(&pager->windows_end); i++)
        os_unmap(pager->file, atomic_load(&pager->windows[i]), PAGER_WINDOW_BYTES);
    os_release_anonymous(pager->tables, pager->tables_bytes);
    map_release(pager);
    *pager = (struct pager){ 0 };
}

sombra_err pager_grow(struct pager *pager, uint64_t old_count, uint64_t page_count)
{
    uint64_t limit = pager->map_bytes >> pager->page_shift;
    if (page_count > limit)
        return diag_fail(
            SOMBRA_LIMIT,
            "the database needs more than the %zu MiB of address space reserved for it: "
            "reopen with a greater map_bytes_max",
            pager->map_bytes / MiB);
    if (!pager->file)
        return SOMBRA_OK;
    uint64_t from = old_count << pager->page_shift;
    uint64_t bytes = (page_count - old_count) << pager->page_shift;
    sombra_err err = os_allocate(pager->file, from, bytes);
    if (err == SOMBRA_UNSUPPORTED)
        err = os_write_zeros(pager->file, from, bytes);
    if (err)
        return diag_wrap(err, "grow the database by %" PRIu64 " KiB", bytes / KiB);
    if (pager->fresh_to != from)
        pager->fresh_from = from;
    pager->fresh_to = from + bytes;
    return SOMBRA_OK;
}

sombra_err pager_touch_fresh_slow(struct pager *pager, page_id id, bool is_large)
{
    uint64_t at = id << pager->page_shift;
    if (pager_has_mode(pager, PAGER_BUFFERED))
        return SOMBRA_OK;
    uint64_t stretch = is_large ? PAGER_FRESH_BYTES_MAX : PAGER_FRESH_BYTES_MIN;
    uint64_t from = u64_max(pager->fresh_from, at - at % stretch);
    uint64_t to = u64_align_up(at + pager->page_bytes, stretch);
    to = u64_min(to, pager->fresh_to);
    sombra_err err = os_write_zeros(pager->file, from, to - from);
    if (!err)
        pager->fresh_from = to;
    return err;
}

/* ---- private images ---------------------------------------------------------------------- */

static struct dirty_page *dirty_slot(const struct dirty_table *table, page_id id)
{
    size_t at = (size_t)hash_u64(id) & (table->capacity - 1);
    while (table->slots[at].id != 0 && table->slots[at].id != id)
        at = (at + 1) & (table->capacity - 1);
    return &table->slots[at];
}

static sombra_err dirty_grow(struct dirty_table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : 64;
    struct dirty_page *slots = mem_zalloc(capacity * sizeof *slots);
    if (!slots)
        return diag_nomem("the table of changed pages", capacity * sizeof *slots);
    struct dirty_table grown = { .slots = slots, .capacity = capacity };
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].id)
            *dirty_slot(&grown, table->slots[i].id) = table->slots[i];
    mem_free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return SOMBRA_OK;
}

uint8_t *pager_dirty_find(const struct pager *pager, page_id id)
{
    if (pager->dirty.count == 0)
        return NULL;
    return dirty_slot(&pager->dirty, id)->image;
}

/* An image of zeros or of an earlier page's bytes: gaps are never filled, and no bytes of the heap
 * reach the file. */
static uint8_t *image_new(struct pager *pager)
{
    struct dirty_table *table = &pager->dirty;
    if (table->spare_count > 0)
        return table->spare[--table->spare_count];
    uint8_t *image = mem_alloc_aligned(64, pager->page_bytes);
    if (!image)
        return NULL;
    memset(image, 0, pager->page_bytes);
    atomic_fetch_add_explicit(&table->images, 1, memory_order_relaxed);
    return image;
}

static sombra_err dirty_add(struct pager *pager, page_id id)
{
    struct dirty_table *table = &pager->dirty;
    if (pager_dirty_find(pager, id))
        return SOMBRA_OK;
    if ((table->count + 1) * 4 > table->capacity * 3) {
        sombra_err err = dirty_grow(table);
        if (err)
            return err;
    }
    uint8_t *image = image_new(pager);
    if (!image)
        return diag_nomem("a changed page", pager->page_bytes);
    *dirty_slot(table, id) = (struct dirty_page){ .id = id, .image = image };
    table->count++;
    return SOMBRA_OK;
}

static void image_free(struct dirty_table *table, uint8_t *image)
{
    mem_free(image);
    atomic_fetch_sub_explicit(&table->images, 1, memory_order_relaxed);
}

static void dirty_keep_spare(struct dirty_table *table, uint8_t *image)
{
    /* A transaction of a thousand puts may change as many pages, and the next as many again. */
    enum { SPARE_FIRST = 256, SPARE_MAX = 2048 };
    if (table->spare_count == table->spare_capacity && table->spare_capacity < SPARE_MAX) {
        size_t capacity = size_max(SPARE_FIRST, 2 * table->spare_capacity);
        uint8_t **spare = mem_realloc(table->spare, capacity * sizeof *spare);
        if (spare) {
            table->spare = spare;
            table->spare_capacity = capacity;
        }
    }
    if (table->spare_count < table->spare_capacity &&
        table->spare_count < size_max(SPARE_FIRST, table->limit))
        table->spare[table->spare_count++] = image;
    else
        image_free(table, image);
}

void pager_dirty_drop(struct pager *pager, page_id id)
{
    struct dirty_table *table = &pager->dirty;
    if (table->count == 0)
        return;
    struct dirty_page *slot = dirty_slot(table, id);
    if (!slot->id)
        return;
    dirty_keep_spare(table, slot->image);
    *slot = (struct dirty_page){ 0 };
    table->count--;
    /* Close the gap: entries behind it may have been pushed there by this one. */
    size_t at = (size_t)(slot - table->slots);
    for (;;) {
        at = (at + 1) & (table->capacity - 1);
        struct dirty_page moved = table->slots[at];
        if (!moved.id)
            break;
        table->slots[at] = (struct dirty_page){ 0 };
        *dirty_slot(table, moved.id) = moved;
    }
}

void pager_dirty_clear(struct pager *pager)
{
    struct dirty_table *table = &pager->dirty;
    for (size_t i = 0; i < table->capacity && table->count; i++) {
        if (table->slots[i].id) {
            dirty_keep_spare(table, table->slots[i].image);
            table->slots[i] = (struct dirty_page){ 0 };
            table->count--;
        }
    }
}

static int id_compare(const void *a, const void *b)
{
    page_id left = ((const struct dirty_page *)a)->id;
    page_id right = ((const struct dirty_page *)b)->id;
    return (left > right) - (left < right);
}

/* Seals and writes the images, neighbours in one call, and forgets them. */
static sombra_err images_write(struct pager *pager, struct dirty_page *pages, size_t count)
{
    enum { GATHER = 64 };
    qsort(pages, count, sizeof *pages, id_compare);
    for (size_t i = 0; i < count;) {
        struct os_iovec parts[GATHER];
        size_t n = 0;
        do {
            page_seal(pages[i + n].image, pager->page_bytes);
            if (page_level(pages[i + n].image) == 0)
                filters_note_written(pager, pages[i + n].image);
            parts[n] = (struct os_iovec){ pages[i + n].image, pager->page_bytes };
            n++;
        } while (n < GATHER && i + n < count && pages[i + n].id == pages[i].id + n);
        sombra_err err = os_write_gather(pager->file, pages[i].id << pager->page_shift, parts, n);
        if (err)
            return err;
        i += n;
    }
    for (size_t i = 0; i < count; i++) {
        /* A checkpoint need not come for it. To one below a branch it comes by way of that. */
        if (page_level(pages[i].image) == 0)
            bit_clear(pager->unsealed, pages[i].id);
        pager_dirty_drop(pager, pages[i].id);
    }
    return SOMBRA_OK;
}

/* The images that were written to, but for `except`. */
static sombra_err images_collect(const struct pager *pager, page_id except,
                                 struct dirty_page **out_pages, size_t *out_count)
{
    const struct dirty_table *table = &pager->dirty;
    struct dirty_page *pages = mem_alloc(table->count * sizeof *pages);
    if (!pages)
        return diag_nomem("sorting changed pages", table->count * sizeof *pages);
    size_t count = 0;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].is_written && table->slots[i].id != except)
            pages[count++] = table->slots[i];
    *out_pages = pages;
    *out_count = count;
    return SOMBRA_OK;
}

sombra_err pager_dirty_flush(struct pager *pager)
{
    if (pager->dirty.count == 0)
        return SOMBRA_OK;
    struct dirty_page *pages = NULL;
    size_t count = 0;
    sombra_err err = images_collect(pager, 0, &pages, &count);
    if (err)
        return err;
    err = images_write(pager, pages, count);
    mem_free(pages);
    return err;
}

/* ---- spill ------------------------------------------------------------------------------- */

static int victim_rank(const struct dirty_page *page)
{
    return page->is_recent * 2 + (page_level(page->image) > 0);
}

static int victim_compare(const void *a, const void *b)
{
    return victim_rank(a) - victim_rank(b);
}

sombra_err pager_spill(struct pager *pager, page_id root)
{
    struct dirty_table *table = &pager->dirty;
    assert(pager_has_mode(pager, PAGER_BUFFERED) && pager_must_spill(pager));
    struct dirty_page *victims = NULL;
    size_t count = 0;
    sombra_err err = images_collect(pager, root, &victims, &count);
    if (err)
        return err;
    /* Half of them, so that it is not needed again at once: what was not touched for a while
     * first, and leaves before branches. */
    size_t wanted = table->count - table->limit / 2;
    if (wanted < count) {
        qsort(victims, count, sizeof *victims, victim_compare);
        count = wanted;
    }
    err = images_write(pager, victims, count);
    mem_free(victims);
    while (table->spare_count) /* it is memory that is short */
        image_free(table, table->spare[--table->spare_count]);
    for (size_t i = 0; i < table->capacity; i++)
        table->slots[i].is_recent = false;
    return diag_wrap(err, "spill a transaction's pages to the file");
}

sombra_err pager_recall_slow(struct pager *pager, page_id id)
{
    struct dirty_page *slot = pager->dirty.count ? dirty_slot(&pager->dirty, id) : NULL;
    if (LIKELY(slot && slot->image))
        return SOMBRA_OK;
    sombra_err err = dirty_add(pager, id);
    if (err)
        return err;
    slot = dirty_slot(&pager->dirty, id);
    memcpy(slot->image, pager_page(pager, id), pager->page_bytes);
    assert(page_number(slot->image) == id);
    /* Its checksum is that of what was spilled. */
    page_set_identity(slot->image, id, page_txn(slot->image));
    slot->is_written = true;
    return SOMBRA_OK;
}

/* ---- writing ----------------------------------------------------------------------------- */

static _Atomic(uint8_t *) *window_of(struct pager *pager, page_id id)
{
    return &pager->windows[(id << pager->page_shift) / PAGER_WINDOW_BYTES];
}

static sombra_err window_map(struct pager *pager, page_id id)
{
    _Atomic(uint8_t *) *window = window_of(pager, id);
    if (LIKELY(atomic_load(window) != NULL))
        return SOMBRA_OK;
    void *address = NULL;
    uint64_t offset = (id << pager->page_shift) / PAGER_WINDOW_BYTES * PAGER_WINDOW_BYTES;
    sombra_err err = os_map(pager->file, offset, PAGER_WINDOW_BYTES, true, &address);
    if (err)
        return diag_wrap(err, "map a window for writing");
    size_t end = (size_t)(offset / PAGER_WINDOW_BYTES) + 1;
    size_t seen = atomic_load(&pager->windows_end);
    while (seen < end && !atomic_compare_exchange_weak(&pager->windows_end, &seen, end))
        ;
    /* The writer and a checkpoint may need the same one at once. */
    uint8_t *none = NULL;
    if (!atomic_compare_exchange_strong(window, &none, address))
        os_unmap(pager->file, address, PAGER_WINDOW_BYTES);
    else if (pager_has_mode(pager, PAGER_SHORT))
        os_map_advise_random(pager->file, address, PAGER_WINDOW_BYTES, true);
    return SOMBRA_OK;
}

sombra_err pager_prepare_slow(struct pager *pager, page_id id)
{
    if (!pager->file)
        return SOMBRA_OK;
    return pager_has_mode(pager, PAGER_BUFFERED) ? dirty_add(pager, id) : window_map(pager, id);
}

uint8_t *pager_writable_slow(struct pager *pager, page_id id)
{
    if (!pager->file)
        return pager->map + (id << pager->page_shift);
    struct dirty_page *slot = dirty_slot(&pager->dirty, id);
    assert(slot->image && "pager_prepare went before");
    slot->is_written = slot->is_recent = true;
    return slot->image;
}

sombra_err pager_seal(struct pager *pager, page_id id)
{
    sombra_err err = SOMBRA_OK;
    if (page_is_sealed(pager_page(pager, id))) {
        /* It was buffered. */
    } else if (pager->can_map) {
        err = window_map(pager, id);
        if (!err)
            page_seal(pager_window_page(pager, id), pager->page_bytes);
    } else {
        /* Another process wrote it, through a mapping. */
        uint8_t *copy = mem_alloc_aligned(64, pager->page_bytes);
        if (!copy)
            return diag_nomem("sealing a page", pager->page_bytes);
        memcpy(copy, pager_page(pager, id), pager->page_bytes);
        page_seal(copy, pager->page_bytes);
        err = os_write(pager->file, id << pager->page_shift, copy, PAGE_NUMBER);
        mem_free(copy);
    }
    if (!err)
        bit_clear(pager->unsealed, id);
    return err;
}

void pager_let_go(struct pager *pager)
{
    for (size_t i = 0; i < atomic_load(&pager->windows_end); i++) {
        uint8_t *window = atomic_load_explicit(&pager->windows[i], memory_order_relaxed);
        if (window)
            os_map_let_go(pager->file, window, PAGER_WINDOW_BYTES);
    }
}

void pager_trust_slow(struct pager *pager, page_id id)
{
    bit_set(pager->sound_trees, id);
    pager_note_unsealed(pager, id);
}

void pager_note_unsealed(struct pager *pager, page_id id)
{
    if (!pager_bit(pager->unsealed, id))
        bit_set(pager->unsealed, id);
}

uint64_t pager_run_pages(const struct pager *pager, uint64_t value_bytes)
{
    return (OVERFLOW_AT + value_bytes + pager->page_bytes - 1) >> pager->page_shift;
}

sombra_err pager_write_run(struct pager *pager, page_id id, uint64_t txn, sombra_slice value)
{
    uint8_t head[OVERFLOW_AT] = { 0 };
    put_le48(head + PAGE_NUMBER, id);
    head[PAGE_KIND] = PAGE_OVERFLOW;
    put_le64(head + PAGE_TXN, txn);
    put_le64(head + OVERFLOW_VALUE_BYTES, value.bytes);
    uint32_t crc = crc32_update(0, head + PAGE_NUMBER, OVERFLOW_AT - PAGE_NUMBER);
    put_le32(head + PAGE_CRC, crc32_update(crc, value.data, value.bytes));
    put_le32(head + PAGE_SEAL, PAGE_SEALED);
    if (pager->file) {
        struct os_iovec parts[] = { { head, sizeof head }, { value.data, value.bytes } };
        sombra_err err = os_write_gather(pager->file, id << pager->page_shift, parts, 2);
        if (err)
            return err;
        uint64_t end = (id + pager_run_pages(pager, value.bytes)) << pager->page_shift;
        pager->fresh_from = u64_max(pager->fresh_from, u64_min(end, pager->fresh_to));
    } else {
        uint8_t *to = pager->map + (id << pager->page_shift);
        memcpy(to, head, sizeof head);
        memcpy(to + OVERFLOW_AT, value.data, value.bytes);
    }
    bit_set(pager->sound_runs, id);
    return SOMBRA_OK;
}

void pager_forget_behind(struct pager *pager, uint64_t page_count, uint64_t file_bytes)
{
    uint64_t first = (page_count << pager->page_shift) / PAGER_CLUSTER_BYTES;
    uint64_t last = u64_min(file_bytes, pager->map_bytes) / PAGER_CLUSTER_BYTES;
    for (uint64_t cluster = first; cluster <= last; cluster++)
        if (pager_bit(pager->read_clusters, cluster))
            bit_clear(pager->read_clusters, cluster);
}

/* ---- first touch ------------------------------------------------------------------------- */

/* The file may be cut behind what is needed while its end is read. */
static sombra_err cluster_populate(struct pager *pager, uint64_t at, uint64_t length,
                                   uint64_t file_bytes)
{
    sombra_err err = os_map_populate(pager->file, at, pager->map + at, (size_t)length);
    uint64_t now_bytes = file_bytes;
    if (!err || os_size(pager->file, &now_bytes) || now_bytes >= file_bytes || now_bytes <= at)
        return err;
    length = u64_min(length, now_bytes - at);
    return os_map_populate(pager->file, at, pager->map + at, (size_t)length);
}

static sombra_err cut_short(const struct pager *pager, uint64_t offset, uint64_t bytes,
                            uint64_t file_bytes)
{
    return diag_fail(SOMBRA_CORRUPT,
                     "%s: bytes %" PRIu64 " to %" PRIu64 " are used, but the file ends at %" PRIu64
                     ": it was cut short",
                     os_file_path(pager->file), offset, offset + bytes, file_bytes);
}

/* These bytes and no more. */
static sombra_err range_read(struct pager *pager, uint64_t offset, uint64_t bytes)
{
    uint64_t file_bytes = 0, first = offset >> pager->page_shift;
    sombra_err err = os_size(pager->file, &file_bytes);
    if (err)
        return err;
    if (offset > file_bytes || bytes > file_bytes - offset)
        return cut_short(pager, offset, bytes, file_bytes);
    uint64_t pages = ((offset + bytes - 1) >> pager->page_shift) - first + 1;
    memory_bring(pager, first, pages);
    return diag_wrap(cluster_populate(pager, offset, bytes, file_bytes), "read page %" PRIu64,
                     first);
}

/* Brings the bytes in by a call that can fail, so that a bad medium is an error and not a signal.
 */
static sombra_err bytes_read(struct pager *pager, uint64_t offset, uint64_t bytes)
{
    if (!pager->file)
        return SOMBRA_OK;
    /* Where memory is short, nothing around them. */
    if (UNLIKELY(pager_has_mode(pager, PAGER_SHORT)))
        return range_read(pager, offset, bytes);
    uint64_t first = offset / PAGER_CLUSTER_BYTES;
    uint64_t last = (offset + bytes - 1) / PAGER_CLUSTER_BYTES;
    uint64_t file_bytes = 0;
    for (uint64_t cluster = first; cluster <= last; cluster++) {
        if (pager_bit(pager->read_clusters, cluster))
            continue;
        if (file_bytes == 0) {
            sombra_err err = os_size(pager->file, &file_bytes);
            if (err)
                return err;
        }
        uint64_t at = cluster * PAGER_CLUSTER_BYTES;
        if (at >= file_bytes || offset + bytes > file_bytes)
            return cut_short(pager, offset, bytes, file_bytes);
        uint64_t length = u64_min(PAGER_CLUSTER_BYTES, file_bytes - at);
        sombra_err err = cluster_populate(pager, at, length, file_bytes);
        if (err)
            return diag_wrap(err, "read page %" PRIu64, at >> pager->page_shift);
        /* A cluster at the end may grow: it is read again until it is whole. */
        if (length == PAGER_CLUSTER_BYTES)
            bit_set(pager->read_clusters, cluster);
        if (UNLIKELY(atomic_load_explicit(&pager->unweighed_clusters, memory_order_relaxed)))
            memory_note_read(pager);
    }
    return SOMBRA_OK;
}

sombra_err pager_bring(struct pager *pager, page_id id)
{
    return bytes_read(pager, id << pager->page_shift, pager->page_bytes);
}

static const char *pager_name(const struct pager *pager)
{
    return pager->file ? os_file_path(pager->file) : BTREE_MEMORY;
}

sombra_err pager_prove_tree(struct pager *pager, page_id id, uint64_t sealed_txn)
{
    sombra_err err = bytes_read(pager, id << pager->page_shift, pager->page_bytes);
    if (err)
        return err;
    const uint8_t *page = pager_page(pager, id);
    /* Without a checksum only if a living process wrote it since the last checkpoint: published,
     * and newer. What this process wrote is trusted and not proved. */
    struct snapshot newest;
    head_newest(pager->head, &newest);
    if (page_txn(page) > newest.txn)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: page %" PRIu64 ", offset %d: written by transaction %" PRIu64
                         ", and the newest is %" PRIu64,
                         pager_name(pager), id, PAGE_TXN, page_txn(page), newest.txn);
    err = page_validate(page, pager->page_bytes, id, page_txn(page) > sealed_txn);
    if (err)
        return diag_wrap(err, "%s", pager_name(pager));
    bit_set(pager->sound_trees, id);
    return SOMBRA_OK;
}

sombra_err pager_prove_run(struct pager *pager, page_id id, uint64_t value_bytes,
                           uint64_t page_count)
{
    uint64_t pages =
        value_bytes <= KV_VALUE_BYTES_MAX ? pager_run_pages(pager, value_bytes) : UINT64_MAX;
    if (id == 0 || id >= page_count || pages > page_count - id)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: a value of %" PRIu64 " bytes at page %" PRIu64
                         " reaches beyond the file's %" PRIu64 " pages",
                         pager_name(pager), value_bytes, id, page_count);
    const uint8_t *head = pager_page(pager, id);
    if (UNLIKELY(pager_has_mode(pager, PAGER_SHORT)))
        memory_bring(pager, id, pages);
    if (pager_bit(pager->sound_runs, id) && head[PAGE_KIND] == PAGE_OVERFLOW &&
        page_number(head) == id && get_le64(head + OVERFLOW_VALUE_BYTES) == value_bytes)
        return SOMBRA_OK;
    sombra_err err = bytes_read(pager, id << pager->page_shift, OVERFLOW_AT + value_bytes);
    if (err)
        return err;
    const uint8_t *page = pager_page(pager, id);
    if (page_number(page) != id || page[PAGE_KIND] != PAGE_OVERFLOW || page[PAGE_LEVEL] != 0 ||
        get_le32(page + PAGE_SEAL) != PAGE_SEALED ||
        get_le64(page + OVERFLOW_VALUE_BYTES) != value_bytes)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: page %" PRIu64 ": not the head of a value of %" PRIu64 " bytes",
                         pager_name(pager), id, value_bytes);
    uint32_t crc = crc32_update(0, page + PAGE_NUMBER, OVERFLOW_AT - PAGE_NUMBER + value_bytes);
    if (crc != get_le32(page + PAGE_CRC))
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: page %" PRIu64 ": checksum of the value is %08" PRIx32
                         ", stored is %08" PRIx32,
                         pager_name(pager), id, crc, get_le32(page + PAGE_CRC));
    bit_set(pager->sound_runs, id);
    return SOMBRA_OK;
}
