/* SPDX-License-Identifier: MIT */
/* memtable: lifecycle, memory, writes and their undoing, point lookups. */
#include "memtable_internal.h"

/* ---- memory ------------------------------------------------------------------------------ */

enum { CHUNK_ALIGNMENT = 64 };
static const size_t chunk_bytes_min = 4 * KiB, chunk_bytes_max = 1 * MiB;

struct memtable_chunk {
    struct memtable_chunk *next;
    uint8_t padding[CHUNK_ALIGNMENT - sizeof(struct memtable_chunk *)];
};
static_assert(sizeof(struct memtable_chunk) == CHUNK_ALIGNMENT, "blocks begin aligned");

static void arena_init(struct memtable_arena *arena, size_t alignment, _Atomic size_t *bytes)
{
    assert(alignment <= CHUNK_ALIGNMENT);
    *arena = (struct memtable_arena){ .alignment = alignment, .bytes = bytes };
}

void memtable_arena_release(struct memtable_arena *arena)
{
    for (struct memtable_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    arena->chunks = NULL;
    arena->at = arena->end = NULL;
}

static struct memtable_chunk *chunk_new(struct memtable_arena *arena, size_t bytes)
{
    struct memtable_chunk *chunk = mem_alloc_aligned(CHUNK_ALIGNMENT, bytes);
    if (!chunk)
        return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    atomic_fetch_add_explicit(arena->bytes, bytes, memory_order_relaxed);
    return chunk;
}

/* Chunks double, so that small memtables stay small. */
sombra_err memtable_arena_reserve(struct memtable_arena *arena, size_t bytes)
{
    if ((size_t)(arena->end - arena->at) >= bytes)
        return SOMBRA_OK;
    size_t chunk_bytes =
        size_min(size_max(2 * arena->chunk_bytes, chunk_bytes_min), chunk_bytes_max);
    while (chunk_bytes < bytes + sizeof(struct memtable_chunk))
        chunk_bytes *= 2;
    struct memtable_chunk *chunk = chunk_new(arena, chunk_bytes);
    if (!chunk)
        return diag_nomem("a memtable", chunk_bytes);
    arena->chunk_bytes = chunk_bytes;
    arena->at = (uint8_t *)(chunk + 1);
    arena->end = (uint8_t *)chunk + chunk_bytes;
    return SOMBRA_OK;
}

/* A block that would waste much of a chunk gets one of its own. */
void *memtable_arena_alloc(struct memtable_arena *arena, size_t bytes)
{
    bytes = (size_t)u64_align_up(bytes, arena->alignment);
    if (bytes > chunk_bytes_max / 4 && (size_t)(arena->end - arena->at) < bytes) {
        struct memtable_chunk *chunk = chunk_new(arena, sizeof *chunk + bytes);
        return chunk ? chunk + 1 : NULL;
    }
    if (memtable_arena_reserve(arena, bytes))
        return NULL;
    void *block = arena->at;
    arena->at += bytes;
    return block;
}

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_slice memtable_key_end(void)
{
    static const uint8_t end[KV_KEY_BYTES_MAX + 1] = { [0 ... KV_KEY_BYTES_MAX] = 0xFF };
    return slice_of(end, sizeof end);
}

const struct version_record memtable_uncovered = { .seq = 0, .kind = RECORD_COVER };

sombra_err memtable_new(struct memtable **out_memtable)
{
    struct memtable *memtable = mem_zalloc(sizeof *memtable);
    if (!memtable)
        return diag_nomem("a memtable", sizeof *memtable);
    atomic_init(&memtable->refs, 1);
    atomic_init(&memtable->bytes, sizeof *memtable);
    arena_init(&memtable->nodes, CHUNK_ALIGNMENT, &memtable->bytes);
    arena_init(&memtable->records, sizeof(uint64_t), &memtable->bytes);
    sombra_err err = memtable_tree_init(&memtable->keys, &memtable->nodes);
    if (!err)
        err = memtable_tree_init(&memtable->ranges, &memtable->nodes);
    if (err) {
        memtable_unref(memtable);
        return err;
    }
    *out_memtable = memtable;
    return SOMBRA_OK;
}

void memtable_ref(struct memtable *memtable)
{
    uint32_t refs = atomic_fetch_add_explicit(&memtable->refs, 1, memory_order_relaxed);
    assert(refs > 0);
    (void)refs;
}

void memtable_unref(struct memtable *memtable)
{
    if (!memtable || atomic_fetch_sub_explicit(&memtable->refs, 1, memory_order_acq_rel) > 1)
        return;
    memtable_arena_release(&memtable->nodes);
    memtable_arena_release(&memtable->records);
    mem_free(memtable->undo);
    mem_free(memtable);
}

/* ---- undo -------------------------------------------------------------------------------- */

static const size_t undo_kept_max = 8192; /* changes */

static sombra_err undo_reserve(struct memtable *memtable)
{
    if (LIKELY(memtable->undo_count < memtable->undo_capacity))
        return SOMBRA_OK;
    size_t capacity = size_max(16, 2 * memtable->undo_capacity);
    struct memtable_undo *undo = mem_realloc(memtable->undo, capacity * sizeof *undo);
    if (!undo)
        return diag_nomem("a memtable's undo list", capacity * sizeof *undo);
    atomic_fetch_add_explicit(&memtable->bytes, (capacity - memtable->undo_capacity) * sizeof *undo,
                              memory_order_relaxed);
    memtable->undo = undo;
    memtable->undo_capacity = capacity;
    return SOMBRA_OK;
}

/* Counters that one thread changes and others only look at. */
static inline void count_up(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

/* Gives the entry a new newest version; undo_reserve was called. */
static void entry_set(struct memtable *memtable, struct memtable_entry *entry,
                      const struct version_record *record)
{
    const struct version_record *former =
        atomic_load_explicit(&entry->newest, memory_order_relaxed);
    assert(memtable->undo_count < memtable->undo_capacity);
    memtable->undo[memtable->undo_count++] = (struct memtable_undo){ entry, former };
    atomic_store_explicit(&entry->newest, record, memory_order_release);
}

static bool is_boundary_record(const struct version_record *record)
{
    return record->kind == RECORD_COVER;
}

struct memtable_mark memtable_mark(const struct memtable *memtable)
{
    return (struct memtable_mark){ .changes = memtable->undo_count };
}

void memtable_rollback(struct memtable *memtable, struct memtable_mark mark)
{
    assert(mark.changes <= memtable->undo_count);
    while (memtable->undo_count > mark.changes) {
        struct memtable_undo undo = memtable->undo[--memtable->undo_count];
        const struct version_record *record =
            atomic_load_explicit(&undo.entry->newest, memory_order_relaxed);
        assert(record);
        atomic_store_explicit(&undo.entry->newest, undo.former, memory_order_release);
        if (is_boundary_record(record)) {
            count_up(&memtable->range_changes, 1);
            if (undo.former)
                count_up(&memtable->covers, (uint64_t)-1);
        } else if (!undo.former) {
            count_up(&memtable->entries, (uint64_t)-1);
        }
    }
}

/* The list of an unusually large transaction is not kept for the next. */
void memtable_settle(struct memtable *memtable)
{
    memtable->undo_count = 0;
    if (UNLIKELY(memtable->undo_capacity > undo_kept_max)) {
        atomic_fetch_sub_explicit(&memtable->bytes,
                                  memtable->undo_capacity * sizeof *memtable->undo,
                                  memory_order_relaxed);
        mem_free(memtable->undo);
        memtable->undo = NULL;
        memtable->undo_capacity = 0;
    }
    memtable->settled_seq = memtable->newest_seq;
}

/* ---- put --------------------------------------------------------------------------------- */

static void record_init(struct version_record *record, uint64_t seq, uint32_t kind,
                        sombra_slice value)
{
    record->seq = seq;
    record->older = NULL;
    record->value_bytes = (uint32_t)value.bytes;
    record->kind = kind;
    if (value.bytes)
        memcpy(record->value, value.data, value.bytes);
}

static size_t entry_bytes(sombra_slice key)
{
    return (size_t)u64_align_up(sizeof(struct memtable_entry) + key.bytes, sizeof(uint64_t));
}

/* An entry without a version, and room for one behind it. */
static struct memtable_entry *entry_new(struct memtable *memtable, sombra_slice key,
                                        size_t more_bytes)
{
    struct memtable_entry *entry =
        memtable_arena_alloc(&memtable->records, entry_bytes(key) + more_bytes);
    if (!entry)
        return NULL;
    atomic_init(&entry->newest, NULL);
    entry->key_bytes = (uint32_t)key.bytes;
    if (key.bytes)
        memcpy(entry->key, key.data, key.bytes);
    return entry;
}

static sombra_err put_new(struct memtable *memtable, unsigned rank, uint64_t seq, uint32_t kind,
                          const sombra_slice pair[2])
{
    struct memtable_entry *entry =
        entry_new(memtable, pair[0], sizeof(struct version_record) + pair[1].bytes);
    if (!entry)
        return diag_nomem("an entry", pair[0].bytes + pair[1].bytes);
    struct version_record *record = (void *)((uint8_t *)entry + entry_bytes(pair[0]));
    record_init(record, seq, kind, pair[1]);
    sombra_err err = memtable_tree_insert(&memtable->keys, rank, entry);
    if (err)
        return err;
    entry_set(memtable, entry, record);
    count_up(&memtable->entries, 1);
    return SOMBRA_OK;
}

static sombra_err put_version(struct memtable *memtable, struct memtable_entry *entry, uint64_t seq,
                              uint32_t kind, sombra_slice value)
{
    struct version_record *record =
        memtable_arena_alloc(&memtable->records, sizeof *record + value.bytes);
    if (!record)
        return diag_nomem("a version", value.bytes);
    record_init(record, seq, kind, value);
    record->older = atomic_load_explicit(&entry->newest, memory_order_relaxed);
    assert(!record->older || record->older->seq <= seq);
    if (!record->older)
        count_up(&memtable->entries, 1);
    entry_set(memtable, entry, record);
    return SOMBRA_OK;
}

sombra_err memtable_put(struct memtable *memtable, uint64_t seq, enum entry_kind kind,
                        sombra_slice key, sombra_slice value)
{
    assert(kind == ENTRY_PUT || kind == ENTRY_DELETE);
    assert(seq >= memtable->newest_seq && key.bytes > 0 && value.bytes <= UINT32_MAX);
    sombra_err err = undo_reserve(memtable);
    if (err)
        return err;
    unsigned rank;
    struct memtable_entry *entry = memtable_tree_locate(&memtable->keys, key, &rank);
    if (entry)
        err = put_version(memtable, entry, seq, kind, value);
    else
        err = put_new(memtable, rank, seq, kind, (const sombra_slice[2]){ key, value });
    if (!err)
        memtable->newest_seq = seq;
    return err;
}

/* ---- ranges ------------------------------------------------------------------------------ */

/* Makes `key` a boundary. What is covered stays the same. */
static sombra_err boundary_make(struct memtable *memtable, sombra_slice key)
{
    sombra_err err = undo_reserve(memtable);
    if (err)
        return err;
    unsigned rank;
    struct memtable_entry *entry = memtable_tree_locate(&memtable->ranges, key, &rank);
    if (entry && atomic_load_explicit(&entry->newest, memory_order_relaxed))
        return SOMBRA_OK;
    const struct version_record *covers = &memtable_uncovered;
    struct tree_cursor cursor = memtable_tree_seek_lt(&memtable->ranges, key);
    for (; cursor.leaf; memtable_tree_previous(&cursor)) {
        const struct version_record *before = atomic_load_explicit(
            &memtable_tree_cursor_entry(&cursor)->newest, memory_order_relaxed);
        if (before) {
            covers = before;
            break;
        }
    }
    if (!entry) {
        entry = entry_new(memtable, key, 0);
        if (!entry)
            return diag_nomem("the bound of a range", key.bytes);
        err = memtable_tree_insert(&memtable->ranges, rank, entry);
        if (err)
            return err;
    }
    entry_set(memtable, entry, covers);
    count_up(&memtable->range_changes, 1);
    return SOMBRA_OK;
}

static sombra_err boundaries_cover(struct memtable *memtable, uint64_t seq, sombra_slice low,
                                   sombra_slice high)
{
    struct tree_cursor cursor = memtable_tree_seek_ge(&memtable->ranges, low);
    for (; cursor.leaf; memtable_tree_next(&cursor)) {
        struct memtable_entry *entry = memtable_tree_cursor_entry(&cursor);
        const struct version_record *former =
            atomic_load_explicit(&entry->newest, memory_order_relaxed);
        if (slice_compare(entry_key(entry), high) >= 0)
            break;
        if (!former || former->seq == seq)
            continue;
        struct version_record *record = memtable_arena_alloc(&memtable->records, sizeof *record);
        if (!record)
            return diag_nomem("a range", sizeof *record);
        sombra_err err = undo_reserve(memtable);
        if (err)
            return err;
        record_init(record, seq, RECORD_COVER, slice_of(NULL, 0));
        record->older = former;
        entry_set(memtable, entry, record);
        count_up(&memtable->covers, 1);
        count_up(&memtable->range_changes, 1);
    }
    return SOMBRA_OK;
}

/* What the same transaction wrote before is not older than its range: it becomes a delete. */
static sombra_err entry_bury(struct memtable *memtable, uint64_t seq, struct memtable_entry *entry)
{
    const struct version_record *newest =
        atomic_load_explicit(&entry->newest, memory_order_relaxed);
    if (!newest || newest->seq != seq || newest->kind == ENTRY_DELETE)
        return SOMBRA_OK;
    sombra_err err = undo_reserve(memtable);
    return err ? err : put_version(memtable, entry, seq, ENTRY_DELETE, slice_of(NULL, 0));
}

static bool range_has(sombra_slice low, sombra_slice high, const struct memtable_entry *entry)
{
    return slice_compare(low, entry_key(entry)) <= 0 && slice_compare(entry_key(entry), high) < 0;
}

/* All that the transaction changed is in the undo list, unless that was forgotten in its middle;
 * it or the range is walked, whichever is shorter. */
static sombra_err range_bury(struct memtable *memtable, uint64_t seq, sombra_slice low,
                             sombra_slice high)
{
    sombra_err err = SOMBRA_OK;
    if (memtable->settled_seq < seq &&
        memtable->undo_count <= memtable_estimate(memtable, low, high)) {
        size_t count = memtable->undo_count;
        for (size_t i = 0; i < count && !err; i++) {
            struct memtable_entry *entry = memtable->undo[i].entry;
            const struct version_record *newest =
                atomic_load_explicit(&entry->newest, memory_order_relaxed);
            if (newest && newest->kind != RECORD_COVER && range_has(low, high, entry))
                err = entry_bury(memtable, seq, entry);
        }
        return err;
    }
    struct tree_cursor cursor = memtable_tree_seek_ge(&memtable->keys, low);
    for (; cursor.leaf && !err; memtable_tree_next(&cursor)) {
        struct memtable_entry *entry = memtable_tree_cursor_entry(&cursor);
        if (slice_compare(entry_key(entry), high) >= 0)
            break;
        err = entry_bury(memtable, seq, entry);
    }
    return err;
}

sombra_err memtable_delete_range(struct memtable *memtable, uint64_t seq, sombra_slice low,
                                 sombra_slice high)
{
    assert(seq > 0 && seq >= memtable->newest_seq);
    if (low.bytes == 0)
        low = slice_of("", 0);
    if (high.bytes == 0)
        high = memtable_key_end();
    if (slice_compare(low, high) >= 0)
        return SOMBRA_OK;
    struct memtable_mark mark = memtable_mark(memtable);
    sombra_err err = range_bury(memtable, seq, low, high);
    if (!err)
        err = boundary_make(memtable, high);
    if (!err)
        err = boundary_make(memtable, low);
    if (!err)
        err = boundaries_cover(memtable, seq, low, high);
    if (err)
        memtable_rollback(memtable, mark);
    else
        memtable->newest_seq = seq;
    return err;
}

/* Boundaries without a chain were taken back: the one before them goes on. */
struct memtable_cover memtable_cover_at(const struct memtable *memtable, uint64_t seq,
                                        sombra_slice key)
{
    struct memtable_cover cover = { .low = slice_of("", 0), .end = memtable_key_end(), .seq = 0 };
    const struct version_record *record = NULL;
    struct tree_cursor at = memtable_tree_seek_le(&memtable->ranges, key);
    while (at.leaf && !(record = entry_version(memtable_tree_cursor_entry(&at), seq)))
        memtable_tree_previous(&at);
    if (record) {
        cover.low = entry_key(memtable_tree_cursor_entry(&at));
        cover.seq = record->seq;
        memtable_tree_next(&at);
    } else {
        at = memtable_tree_seek_ge(&memtable->ranges, key);
    }
    while (at.leaf && !entry_version(memtable_tree_cursor_entry(&at), seq))
        memtable_tree_next(&at);
    if (at.leaf)
        cover.end = entry_key(memtable_tree_cursor_entry(&at));
    return cover;
}

/* ---- read -------------------------------------------------------------------------------- */

enum lookup memtable_get(const struct memtable *memtable, uint64_t seq, sombra_slice key,
                         sombra_slice *out_value)
{
    const struct memtable_entry *entry = memtable_tree_find(&memtable->keys, key);
    const struct version_record *record = entry ? entry_version(entry, seq) : NULL;
    if (UNLIKELY(memtable_has_ranges(memtable))) {
        uint64_t covered = memtable_cover_at(memtable, seq, key).seq;
        if (covered > 0 && (!record || record->seq < covered))
            return LOOKUP_DELETED;
    }
    if (!record)
        return LOOKUP_ABSENT;
    if (record->kind == ENTRY_DELETE)
        return LOOKUP_DELETED;
    *out_value = slice_of(record->value, record->value_bytes);
    return LOOKUP_FOUND;
}

size_t memtable_bytes(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->bytes, memory_order_relaxed);
}

uint64_t memtable_entries(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->entries, memory_order_relaxed);
}

bool memtable_has_ranges(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->covers, memory_order_relaxed) > 0;
}

bool memtable_is_empty(const struct memtable *memtable)
{
    return memtable_entries(memtable) == 0 && !memtable_has_ranges(memtable);
}
