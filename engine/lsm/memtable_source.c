/* SPDX-License-Identifier: MIT */
/* The source of a memtable, and estimates. */
#include "memtable_internal.h"

struct memtable_source {
    struct source source;
    const struct memtable *memtable;
    uint64_t seq;
    struct tree_cursor at;
    /* The last answers about ranges hold until a boundary changes. What a reader sees never does;
     * the writer's own ranges come and go. */
    struct memtable_cover cover; /* has no key until first asked */
    struct memtable_cover hidden;
    uint64_t cover_changes, hidden_changes;
};

static inline struct memtable_source *memtable_source_of(struct source *source)
{
    return container_of(source, struct memtable_source, source);
}

/* ---- ranges ------------------------------------------------------------------------------ */

static uint64_t cover_of(struct memtable_source *source, sombra_slice key)
{
    uint64_t changes = atomic_load_explicit(&source->memtable->range_changes, memory_order_relaxed);
    if (changes != source->cover_changes || !memtable_cover_has(&source->cover, key)) {
        source->cover = memtable_cover_at(source->memtable, source->seq, key);
        source->cover_changes = changes;
    }
    return source->cover.seq;
}

/* Joins the pieces of different numbers on both sides. */
static struct memtable_cover hidden_at(const struct memtable *memtable, uint64_t seq,
                                       sombra_slice key)
{
    struct memtable_cover hidden = memtable_cover_at(memtable, seq, key);
    if (hidden.seq == 0)
        return hidden;
    while (slice_compare(hidden.end, memtable_key_end()) < 0) {
        struct memtable_cover after = memtable_cover_at(memtable, seq, hidden.end);
        if (after.seq == 0)
            break;
        hidden.end = after.end;
    }
    struct tree_cursor at = memtable_tree_seek_lt(&memtable->ranges, hidden.low);
    for (; at.leaf; memtable_tree_previous(&at)) {
        const struct version_record *record = entry_version(memtable_tree_cursor_entry(&at), seq);
        if (record && record_seq(record) == 0)
            break;
        if (record)
            hidden.low = entry_key(memtable_tree_cursor_entry(&at));
    }
    return hidden;
}

static bool source_hides(struct source *base, sombra_slice key, sombra_slice *out_low,
                         sombra_slice *out_end)
{
    struct memtable_source *source = memtable_source_of(base);
    if (LIKELY(!memtable_has_ranges(source->memtable)))
        return false;
    uint64_t changes = atomic_load_explicit(&source->memtable->range_changes, memory_order_relaxed);
    if (key.bytes == 0)
        key = slice_of("", 0);
    if (changes != source->hidden_changes || !memtable_cover_has(&source->hidden, key)) {
        source->hidden = hidden_at(source->memtable, source->seq, key);
        source->hidden_changes = changes;
    }
    if (source->hidden.seq == 0)
        return false;
    *out_low = source->hidden.low;
    *out_end = source->hidden.end;
    return true;
}

sombra_err memtable_ranges(struct memtable *memtable, uint64_t seq, struct range_set *set)
{
    sombra_slice key = slice_of("", 0);
    sombra_err err = SOMBRA_OK;
    while (!err && slice_compare(key, memtable_key_end()) < 0) {
        struct memtable_cover cover = memtable_cover_at(memtable, seq, key);
        if (cover.seq > 0)
            err = range_set_add(set, cover.low, cover.end);
        assert(slice_compare(cover.end, key) > 0);
        key = cover.end;
    }
    return err;
}

bool memtable_next_range(const struct memtable *memtable, uint64_t seq, sombra_slice from,
                         sombra_slice *out_low, sombra_slice *out_end)
{
    if (from.bytes == 0)
        from = slice_of("", 0);
    while (slice_compare(from, memtable_key_end()) < 0) {
        struct memtable_cover cover = memtable_cover_at(memtable, seq, from);
        if (cover.seq > 0) {
            *out_low = cover.low;
            *out_end = cover.end;
            return true;
        }
        assert(slice_compare(cover.end, from) > 0);
        from = cover.end;
    }
    return false;
}

/* ---- position ---------------------------------------------------------------------------- */

/* The version that the source gives for an entry; NULL = it has none. */
static inline const struct version_record *source_version(struct memtable_source *source,
                                                          const struct memtable_entry *entry)
{
    const struct version_record *record = entry_version(entry, source->seq);
    if (UNLIKELY(memtable_has_ranges(source->memtable)) && record &&
        record_seq(record) < cover_of(source, entry_key(entry)))
        return NULL;
    return record;
}

static inline void entry_fill(struct lsm_entry *to, const struct memtable_entry *entry,
                              const struct version_record *record)
{
    to->key = entry_key(entry);
    to->value = record_value(record);
    to->kind = record_is_delete(record) ? ENTRY_DELETE : ENTRY_PUT;
    to->table = NULL;
}

static sombra_err stand(struct memtable_source *source, bool is_forward)
{
    struct tree_cursor at = source->at;
    const struct version_record *record = NULL;
    while (at.leaf && !(record = source_version(source, memtable_tree_cursor_entry(&at)))) {
        if (is_forward)
            memtable_tree_next(&at);
        else
            memtable_tree_previous(&at);
    }
    source->at = at;
    source->source.is_valid = record != NULL;
    if (record)
        entry_fill(&source->source.entry, memtable_tree_cursor_entry(&at), record);
    return SOMBRA_OK;
}

static sombra_err source_seek_ge(struct source *base, sombra_slice key)
{
    struct memtable_source *source = memtable_source_of(base);
    if (key.bytes == 0)
        key = slice_of("", 0);
    source->at = memtable_tree_seek_ge(&source->memtable->keys, key);
    return stand(source, true);
}

static sombra_err source_seek_lt(struct source *base, sombra_slice key)
{
    struct memtable_source *source = memtable_source_of(base);
    if (key.bytes == 0)
        key = memtable_key_end();
    source->at = memtable_tree_seek_lt(&source->memtable->keys, key);
    return stand(source, false);
}

static sombra_err source_next(struct source *base)
{
    struct memtable_source *source = memtable_source_of(base);
    assert(base->is_valid);
    memtable_tree_next(&source->at);
    return stand(source, true);
}

static sombra_err source_previous(struct source *base)
{
    struct memtable_source *source = memtable_source_of(base);
    assert(base->is_valid);
    memtable_tree_previous(&source->at);
    return stand(source, false);
}

/* ---- read -------------------------------------------------------------------------------- */

/* Entries were put in in any order, so each is a cache miss of its own: all of a leaf at once.
 * Behind a key stands, as a rule, its value's record. */
static inline void prefetch_entries(const struct tree_cursor *at)
{
    for (unsigned rank = at->rank; rank < order_count(at->order); rank++) {
        const char *entry = (const char *)at->leaf->entries[order_slot(at->order, rank)];
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
    }
    const struct tree_leaf *next = atomic_load_explicit(&at->leaf->next, memory_order_acquire);
    if (next)
        for (size_t offset = 0; offset < sizeof *next; offset += 64)
            __builtin_prefetch((const char *)next + offset);
}

/* Ranks of the cursor's leaf with key < `before`, from the cursor on, as the rank behind them. */
static unsigned leaf_end(const struct tree_cursor *at, sombra_slice before)
{
    unsigned low = at->rank, high = order_count(at->order);
    if (before.bytes == 0)
        return high;
    while (low < high) { /* mostly the last one is below it, or none */
        unsigned middle = high - 1;
        if (slice_compare(entry_key(at->leaf->entries[order_slot(at->order, middle)]), before) < 0)
            return high;
        high = middle;
    }
    return high;
}

static sombra_err source_read(struct source *base, sombra_slice before, struct lsm_entry *entries,
                              size_t capacity, size_t *out_count)
{
    struct memtable_source *source = memtable_source_of(base);
    struct tree_cursor at = source->at;
    size_t count = 0;
    assert(base->is_valid && capacity > 0);
    while (at.leaf && count < capacity) {
        prefetch_entries(&at);
        unsigned end = leaf_end(&at, before);
        while (at.rank < end && count < capacity) {
            const struct memtable_entry *entry = at.leaf->entries[order_slot(at.order, at.rank++)];
            const struct version_record *record = source_version(source, entry);
            if (!record)
                continue;
            struct lsm_entry *to = &entries[count++];
            entry_fill(to, entry, record);
            __builtin_prefetch((const uint8_t *)to->value.data + to->value.bytes);
        }
        if (at.rank < order_count(at.order))
            break;
        memtable_tree_next_leaf(&at);
    }
    source->at = at;
    *out_count = count;
    return stand(source, true);
}

static void source_close_it(struct source *base)
{
    mem_free(memtable_source_of(base));
}

static const struct source_ops memtable_source_ops = {
    .seek_ge = source_seek_ge,
    .seek_lt = source_seek_lt,
    .next = source_next,
    .previous = source_previous,
    .read = source_read,
    .hides = source_hides,
    .close = source_close_it,
};

sombra_err memtable_source(struct memtable *memtable, uint64_t seq, struct source **out_source)
{
    struct memtable_source *source = mem_zalloc(sizeof *source);
    if (!source)
        return diag_nomem("a source", sizeof *source);
    source->source.ops = &memtable_source_ops;
    source->memtable = memtable;
    source->seq = seq;
    *out_source = &source->source;
    return SOMBRA_OK;
}

/* ---- estimates --------------------------------------------------------------------------- */

/* Exact where the range ends within a few leaves. */
uint64_t memtable_estimate(const struct memtable *memtable, sombra_slice low, sombra_slice high)
{
    enum { LEAVES_COUNTED = 8 };
    uint64_t total = memtable_entries(memtable), counted = 0;
    if (low.bytes == 0)
        low = slice_of("", 0);
    if (high.bytes == 0)
        high = memtable_key_end();
    if (slice_compare(low, high) >= 0)
        return 0;
    struct tree_cursor at = memtable_tree_seek_ge(&memtable->keys, low);
    for (unsigned leaves = 0; leaves < LEAVES_COUNTED; leaves++) {
        if (!at.leaf)
            return counted;
        unsigned end = leaf_end(&at, high);
        counted += end - at.rank;
        if (end < order_count(at.order))
            return counted;
        memtable_tree_next_leaf(&at);
    }
    double from = memtable_tree_fraction(&memtable->keys, low),
           to = memtable_tree_fraction(&memtable->keys, high);
    return to > from ? u64_max(counted, (uint64_t)((to - from) * (double)total)) : counted;
}
