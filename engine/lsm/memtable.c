/* SPDX-License-Identifier: MIT */
/* memtable: lifecycle, writes and their undoing, point lookups. */
#include "memtable_internal.h"

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_slice memtable_key_end(void)
{
    static const uint8_t end[KV_KEY_BYTES_MAX + 1] = { [0 ... KV_KEY_BYTES_MAX] = 0xFF };
    return slice_of(end, sizeof end);
}

const struct version_record memtable_uncovered = { .what = RECORD_COVER };

sombra_err memtable_new(struct memtable **out_memtable)
{
    struct memtable *memtable = mem_zalloc(sizeof *memtable);
    if (!memtable)
        return diag_nomem("a memtable", sizeof *memtable);
    atomic_init(&memtable->refs, 1);
    atomic_init(&memtable->bytes, sizeof *memtable);
    memtable_arena_init(&memtable->nodes.arena, NODE_ALIGNMENT, &memtable->bytes);
    memtable_arena_init(&memtable->records, sizeof(uint64_t), &memtable->bytes);
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
    memtable_nodes_release(&memtable->nodes);
    memtable_arena_release(&memtable->records);
    mem_free(memtable->undo);
    mem_free(memtable);
}

bool memtable_has_waste(const struct memtable *memtable)
{
    enum { WASTE_NODES_MIN = 128 };
    const struct memtable_nodes *nodes = &memtable->nodes;
    return nodes->dead.count - nodes->dead_asked >= WASTE_NODES_MIN;
}

void memtable_reuse_nodes(struct memtable *memtable, uint64_t next_seq, uint64_t oldest_seq)
{
    assert(next_seq > memtable->settled_seq);
    memtable_nodes_reuse(&memtable->nodes, next_seq, oldest_seq);
}

/* ---- undo -------------------------------------------------------------------------------- */

static const size_t undo_kept_max = 8192; /* changes */

static sombra_err undo_reserve(struct memtable *memtable)
{
    if (LIKELY(memtable->undo_count < memtable->undo_capacity))
        return SOMBRA_OK;
    size_t capacity = size_max(16, 2 * memtable->undo_capacity);
    memtable_undo *undo = mem_realloc(memtable->undo, capacity * sizeof *undo);
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

/* Notes that the entry changes; undo_reserve was called. */
static inline void undo_add(struct memtable *memtable, const struct memtable_entry *entry,
                            memtable_undo flag)
{
    assert(memtable->undo_count < memtable->undo_capacity && !((uintptr_t)entry & UNDO_MADE));
    memtable->undo[memtable->undo_count++] = (uintptr_t)entry | flag;
}

/* Gives the entry a new newest version, over the one it has. */
static void entry_set(struct memtable *memtable, struct memtable_entry *entry,
                      const struct version_record *record)
{
    assert(record_older(record) == atomic_load_explicit(&entry->newest, memory_order_relaxed));
    undo_add(memtable, entry, 0);
    atomic_store_explicit(&entry->newest, record, memory_order_release);
}

/* Gives an entry without versions a chain that is there already. */
static void entry_make(struct memtable *memtable, struct memtable_entry *entry,
                       const struct version_record *record)
{
    assert(!atomic_load_explicit(&entry->newest, memory_order_relaxed));
    undo_add(memtable, entry, UNDO_MADE);
    atomic_store_explicit(&entry->newest, record, memory_order_release);
}

static bool is_boundary_record(const struct version_record *record)
{
    return record_what(record) == RECORD_COVER;
}

struct memtable_mark memtable_mark(const struct memtable *memtable)
{
    return (struct memtable_mark){ .changes = memtable->undo_count };
}

void memtable_rollback(struct memtable *memtable, struct memtable_mark mark)
{
    assert(mark.changes <= memtable->undo_count);
    while (memtable->undo_count > mark.changes) {
        memtable_undo undo = memtable->undo[--memtable->undo_count];
        struct memtable_entry *entry = undo_entry(undo);
        const struct version_record *record =
            atomic_load_explicit(&entry->newest, memory_order_relaxed);
        assert(record);
        const struct version_record *former = undo & UNDO_MADE ? NULL : record_older(record);
        atomic_store_explicit(&entry->newest, former, memory_order_release);
        if (is_boundary_record(record)) {
            count_up(&memtable->range_changes, 1);
            if (former)
                count_up(&memtable->covers, (uint64_t)-1);
        } else if (!former) {
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

static uint32_t what_of(enum entry_kind kind, sombra_slice value)
{
    assert(kind == ENTRY_PUT ? value.bytes <= KV_VALUE_BYTES_MAX : value.bytes == 0);
    return kind == ENTRY_PUT ? (uint32_t)value.bytes : RECORD_DELETE;
}

static void record_init(struct version_record *record, uint64_t seq, uint32_t what,
                        sombra_slice value)
{
    record->seq[0] = (uint32_t)seq;
    record->seq[1] = (uint32_t)(seq >> 32);
    record->what = what;
    if (value.bytes)
        memcpy(record->value, value.data, value.bytes);
}

/* A version over `older`, or the first. NULL: NOMEM. */
static struct version_record *record_new(struct memtable *memtable, uint64_t seq, uint32_t what,
                                         sombra_slice value, const struct version_record *older)
{
    size_t head_bytes = older ? sizeof older : 0;
    uint8_t *block =
        memtable_arena_alloc(&memtable->records, head_bytes + RECORD_BYTES + value.bytes);
    if (!block)
        return NULL;
    struct version_record *record = (void *)(block + head_bytes);
    record_init(record, seq, older ? what | RECORD_HAS_OLDER : what, value);
    if (older)
        memcpy(block, &older, sizeof older);
    return record;
}

/* Up to its first version. */
static size_t entry_bytes(sombra_slice key)
{
    return (size_t)u64_align_up(ENTRY_HEAD_BYTES + key.bytes, _Alignof(struct version_record));
}

/* An entry without a version, and room for one behind it. */
static struct memtable_entry *entry_new(struct memtable *memtable, sombra_slice key,
                                        size_t more_bytes)
{
    assert(key.bytes <= UINT16_MAX);
    struct memtable_entry *entry =
        memtable_arena_alloc(&memtable->records, entry_bytes(key) + more_bytes);
    if (!entry)
        return NULL;
    atomic_init(&entry->newest, NULL);
    entry->key_bytes = (uint16_t)key.bytes;
    if (key.bytes)
        memcpy(entry->key, key.data, key.bytes);
    return entry;
}

static inline __attribute__((always_inline)) sombra_err put_new(struct memtable *memtable,
                                                                unsigned rank, uint64_t seq,
                                                                uint32_t what,
                                                                const sombra_slice pair[2])
{
    struct memtable_entry *entry = entry_new(memtable, pair[0], RECORD_BYTES + pair[1].bytes);
    if (!entry)
        return diag_nomem("an entry", pair[0].bytes + pair[1].bytes);
    struct version_record *record = (void *)((uint8_t *)entry + entry_bytes(pair[0]));
    record_init(record, seq, what, pair[1]);
    sombra_err err = memtable_tree_insert(&memtable->keys, rank, entry);
    if (err)
        return err;
    entry_set(memtable, entry, record);
    count_up(&memtable->entries, 1);
    return SOMBRA_OK;
}

static sombra_err put_version(struct memtable *memtable, struct memtable_entry *entry, uint64_t seq,
                              uint32_t what, sombra_slice value)
{
    const struct version_record *older = atomic_load_explicit(&entry->newest, memory_order_relaxed);
    struct version_record *record = record_new(memtable, seq, what, value, older);
    if (!record)
        return diag_nomem("a version", value.bytes);
    assert(!older || record_seq(older) <= seq);
    if (!older)
        count_up(&memtable->entries, 1);
    entry_set(memtable, entry, record);
    return SOMBRA_OK;
}

/* `entry`, `rank`: as the tree located the key. */
static inline sombra_err put_at(struct memtable *memtable, struct memtable_entry *entry,
                                unsigned rank, uint64_t seq, uint32_t what,
                                const sombra_slice pair[2])
{
    sombra_err err = entry ? put_version(memtable, entry, seq, what, pair[1])
                           : put_new(memtable, rank, seq, what, pair);
    if (!err)
        memtable->newest_seq = seq;
    return err;
}

sombra_err memtable_put(struct memtable *memtable, uint64_t seq, enum entry_kind kind,
                        sombra_slice key, sombra_slice value)
{
    assert(kind == ENTRY_PUT || kind == ENTRY_DELETE);
    assert(seq >= memtable->newest_seq && key.bytes > 0);
    sombra_err err = undo_reserve(memtable);
    if (err)
        return err;
    unsigned rank;
    struct memtable_entry *entry = memtable_tree_locate(&memtable->keys, key, &rank);
    return put_at(memtable, entry, rank, seq, what_of(kind, value),
                  (const sombra_slice[2]){ key, value });
}

sombra_err memtable_put_next(struct memtable *memtable, uint64_t seq, sombra_slice key,
                             sombra_slice value)
{
    assert(seq >= memtable->newest_seq && key.bytes > 0);
    sombra_err err = undo_reserve(memtable);
    if (err)
        return err;
    unsigned rank;
    struct memtable_entry *entry = memtable_tree_locate_next(&memtable->keys, key, &rank);
    return put_at(memtable, entry, rank, seq, what_of(ENTRY_PUT, value),
                  (const sombra_slice[2]){ key, value });
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
    entry_make(memtable, entry, covers);
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
        if (!former || record_seq(former) == seq)
            continue;
        struct version_record *record =
            record_new(memtable, seq, RECORD_COVER, slice_of(NULL, 0), former);
        if (!record)
            return diag_nomem("a range", sizeof *record);
        sombra_err err = undo_reserve(memtable);
        if (err)
            return err;
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
    if (!newest || record_seq(newest) != seq || record_is_delete(newest))
        return SOMBRA_OK;
    sombra_err err = undo_reserve(memtable);
    return err ? err : put_version(memtable, entry, seq, RECORD_DELETE, slice_of(NULL, 0));
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
            struct memtable_entry *entry = undo_entry(memtable->undo[i]);
            const struct version_record *newest =
                atomic_load_explicit(&entry->newest, memory_order_relaxed);
            if (newest && !is_boundary_record(newest) && range_has(low, high, entry))
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
        cover.seq = record_seq(record);
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
        if (covered > 0 && (!record || record_seq(record) < covered))
            return LOOKUP_DELETED;
    }
    if (!record)
        return LOOKUP_ABSENT;
    if (record_is_delete(record))
        return LOOKUP_DELETED;
    *out_value = record_value(record);
    return LOOKUP_FOUND;
}

sombra_slice memtable_middle(const struct memtable *memtable)
{
    const struct memtable_entry *entry = memtable_tree_middle(&memtable->keys);
    return entry ? entry_key(entry) : slice_of(NULL, 0);
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
