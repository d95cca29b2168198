/* SPDX-License-Identifier: MIT */
/* Facts about reads: a view of memtables and runs, made by hand with all that can hide all else,
 * must read like one sorted array. */
#include "kv_check.h"
#include "lsm/lsm_internal.h"
#include "os/os_sim.h"

#include <stdlib.h>

enum { KEYS = 1200, TABLES_MAX = 6, ENTRIES_MAX = 300, LARGE_BYTES = 100000 };

struct content {
    uint32_t seeds[KEYS]; /* of the value; 0 = not there */
};

struct store {
    struct os_sim *sim;
    struct lsm lsm;
    struct version *version;
    struct view *view;
    struct lsm_txn txn;
    struct random random;
    struct content content;
    struct buf value;
    uint32_t seed;
    uint64_t next_number, next_run;
    bool has_no_deletes; /* in the tables made from now on */
    bool is_all_large;   /* so are their values */
};

/* Groups of twenty have a prefix in common; every seventh group has none. */
static sombra_slice key_of(uint32_t number, uint8_t to[KV_KEY_BYTES_MAX + 1])
{
    int bytes = snprintf((char *)to, KV_KEY_BYTES_MAX, "group %03u%c%04u", number / 20,
                         number / 20 % 7 ? '/' : '-', number);
    size_t tail = number % 11 ? 0 : number % 900;
    memset(to + bytes, 'x', tail);
    return slice_of(to, (size_t)bytes + tail);
}

static uint32_t number_of(sombra_slice key)
{
    unsigned number = KEYS;
    assert_true(key.bytes >= 14);
    assert_int_equal(sscanf((const char *)key.data + 10, "%4u", &number), 1);
    return number;
}

static size_t prefix_bytes(sombra_slice key)
{
    const uint8_t *end = memchr(key.data, '/', key.bytes);
    return end ? (size_t)(end - (const uint8_t *)key.data) + 1 : 0;
}

static size_t value_bytes(uint32_t seed)
{
    if (seed % 97 == 0)
        return LARGE_BYTES + seed % 7;
    return seed % 13 ? seed % 60 : 1500;
}

static sombra_slice value_of(struct store *store, uint32_t seed)
{
    return kv_pattern(&store->value, seed, value_bytes(seed));
}

static uint32_t below(struct store *store, uint32_t bound)
{
    return (uint32_t)random_below(&store->random, bound);
}

/* ---- making one -------------------------------------------------------------------------- */

static void store_open(struct store *store, const char *what)
{
    *store = (struct store){ .next_number = 1, .next_run = 1 };
    random_seed(&store->random, kv_test_seed(what));
    store->sim = os_sim_new(NULL);
    assert_non_null(store->sim);
    struct lsm *lsm = &store->lsm;
    lsm->kv = (struct kv){ .ops = &lsm_ops, .metrics = &lsm->metrics };
    lsm->os = os_sim_start(store->sim);
    lsm->options.prefix = (struct lsm_prefix){ .name = "slash", .bytes = prefix_bytes };
    expect_ok(os_make_directory(lsm->os, "store", 0700));
    expect_ok(cache_new(1 << 20, &lsm->metrics, &lsm->cache));
    struct table_context context = { lsm->os, lsm->cache, &lsm->metrics, lsm->options.prefix };
    expect_ok(table_cache_new(&context, "store", 4, &lsm->tables));
    expect_ok(version_empty(lsm->tables, 0, &store->version));
    store->view = calloc(1, sizeof(struct view) + 4 * sizeof(struct memtable *));
    assert_non_null(store->view);
    store->txn = (struct lsm_txn){ .txn = { .ops = &lsm_ops, .kv = &lsm->kv, .is_write = true },
                                   .view = store->view,
                                   .seq = 1 };
    store->view->version = store->version;
}

static void store_close(struct store *store)
{
    cache_release(store->lsm.cache, store->txn.got.block);
    buf_release(&store->txn.large);
    lsm_cursor_free_spare(&store->txn);
    for (size_t i = 0; i < store->view->count; i++)
        memtable_unref(store->view->memtables[i]);
    version_unref(store->version);
    table_cache_free(store->lsm.tables);
    cache_free(store->lsm.cache);
    os_sim_free(store->sim);
    buf_release(&store->value);
    free(store->view);
}

static struct table_writer *writer_open(struct store *store, uint64_t number)
{
    char path[64];
    struct table_writer *writer;
    struct table_writer_options options = {
        .block_bytes = 1024, .filter_bits = 10, .prefix = store->lsm.options.prefix, .mode = 0600
    };
    snprintf(path, sizeof path, "store/%06u.sst", (unsigned)number);
    expect_ok(table_writer_open(store->lsm.os, path, number, &options, &writer));
    return writer;
}

/* A table over [first, end): puts and deletes of some keys, and maybe a hidden range. */
static struct table_writer *table_fill(struct store *store, uint64_t number, uint32_t first,
                                       uint32_t end, bool hides)
{
    uint8_t key[KV_KEY_BYTES_MAX + 1], high[KV_KEY_BYTES_MAX + 1];
    struct table_writer *writer = writer_open(store, number);
    if (hides) {
        uint32_t from = first + below(store, end - first), to = from + 1 + below(store, end - from);
        expect_ok(table_writer_hide(writer, key_of(from, key), key_of(to, high)));
        for (uint32_t i = from; i < to && i < KEYS; i++)
            store->content.seeds[i] = 0;
    }
    uint32_t of = 2 + below(store, 8), deletes = below(store, 2) && !store->has_no_deletes ? 4 : 0;
    for (uint32_t i = first; i < end; i++) {
        if (i > first && below(store, of)) /* the first one is there: no table is empty */
            continue;
        bool is_delete = below(store, 10) < deletes;
        store->seed += store->is_all_large ? 97 - store->seed % 97 : 1;
        store->content.seeds[i] = is_delete ? 0 : store->seed;
        struct lsm_entry entry = { .key = key_of(i, key),
                                   .kind = is_delete ? ENTRY_DELETE : ENTRY_PUT };
        if (!is_delete)
            entry.value = value_of(store, store->seed);
        expect_ok(table_writer_add(writer, &entry));
    }
    return writer;
}

/* A run of tables over parts of [0, KEYS), newer than those before. */
static void run_add(struct store *store, unsigned level, size_t tables, bool hides)
{
    struct edit_table added[TABLES_MAX];
    struct table_writer *writers[TABLES_MAX];
    uint64_t run = level ? 0 : store->next_run++;
    assert_true(tables <= TABLES_MAX);
    for (size_t i = 0; i < tables; i++) {
        uint32_t width = (uint32_t)(KEYS / tables), first = (uint32_t)i * width;
        uint32_t from = first + below(store, width / 4), end = first + width - below(store, 20) - 1;
        writers[i] = table_fill(store, store->next_number++, from, end, hides);
        added[i] = (struct edit_table){ .level = level, .run = run };
        expect_ok(table_writer_finish(writers[i], 1, &added[i].meta));
    }
    struct edit edit = { .added = added, .added_count = tables, .seq = 1 };
    struct version *version;
    expect_ok(version_apply(store->version, store->lsm.tables, &edit, &version));
    for (size_t i = 0; i < tables; i++)
        table_writer_close(writers[i]);
    version_unref(store->version);
    store->version = store->view->version = version;
}

static void memtable_add(struct store *store)
{
    struct view *view = store->view;
    memmove(view->memtables + 1, view->memtables, view->count * sizeof(struct memtable *));
    expect_ok(memtable_new(&view->memtables[0]));
    view->count++;
}

/* A change of the writing transaction. */
static void write_once(struct store *store)
{
    uint8_t key[KV_KEY_BYTES_MAX + 1], high[KV_KEY_BYTES_MAX + 1];
    struct memtable *memtable = store->view->memtables[0];
    uint32_t number = below(store, KEYS), what = below(store, 40);
    store->txn.changes++;
    if (what == 0) {
        uint32_t to = number + 1 + below(store, 30);
        expect_ok(
            memtable_delete_range(memtable, store->txn.seq, key_of(number, key), key_of(to, high)));
        for (; number < to && number < KEYS; number++)
            store->content.seeds[number] = 0;
        return;
    }
    enum entry_kind kind = what < 10 ? ENTRY_DELETE : ENTRY_PUT;
    store->content.seeds[number] = kind == ENTRY_PUT ? ++store->seed : 0;
    expect_ok(memtable_put(memtable, store->txn.seq, kind, key_of(number, key),
                           kind == ENTRY_PUT ? value_of(store, store->seed) : slice_of(NULL, 0)));
}

static void writes(struct store *store, size_t count)
{
    for (size_t i = 0; i < count; i++)
        write_once(store);
    memtable_settle(store->view->memtables[0]);
    store->txn.seq++;
}

static void store_fill(struct store *store)
{
    run_add(store, 6, TABLES_MAX, false);
    run_add(store, 2, 3, below(store, 2));
    run_add(store, 0, 1, true);
    run_add(store, 0, 1, false);
    memtable_add(store);
    writes(store, 60);
    memtable_add(store);
    writes(store, 60);
}

/* ---- what must be ------------------------------------------------------------------------ */

static uint64_t count_of(const struct store *store, uint32_t low, uint32_t high)
{
    uint64_t count = 0;
    for (uint32_t i = low; i < high && i < KEYS; i++)
        count += store->content.seeds[i] != 0;
    return count;
}

static uint32_t next_of(const struct store *store, uint32_t from, uint32_t high)
{
    while (from < high && store->content.seeds[from] == 0)
        from++;
    return from < high ? from : KEYS;
}

/* The last one < `behind`, or KEYS. */
static uint32_t previous_of(const struct store *store, uint32_t behind, uint32_t low)
{
    while (behind > low && store->content.seeds[behind - 1] == 0)
        behind--;
    return behind > low ? behind - 1 : KEYS;
}

static void expect_entry(struct store *store, uint32_t want, const struct kv_entry *entry)
{
    uint8_t key[KV_KEY_BYTES_MAX + 1];
    assert_true(want < KEYS);
    if (!slice_equal(entry->key, key_of(want, key)))
        fail_msg("key %u where %u should be", number_of(entry->key), want);
    assert_true(slice_equal(entry->value, value_of(store, store->content.seeds[want])));
}

struct many_points {
    struct store *store;
    uint32_t numbers[KEYS];
    size_t given;
};

static sombra_err many_each(void *context, size_t index, const sombra_slice *value)
{
    struct many_points *points = context;
    uint32_t seed = points->store->content.seeds[points->numbers[index]];
    assert_int_equal(index, points->given++);
    assert_int_equal(value != NULL, seed != 0);
    assert_true(!seed || slice_equal(*value, value_of(points->store, seed)));
    return SOMBRA_OK;
}

/* As many keys as chance has it, ascending or in any order, some more than once. */
static void expect_many_points(struct store *store)
{
    static uint8_t bytes[KEYS][KV_KEY_BYTES_MAX + 1];
    static struct many_points points;
    sombra_slice keys[KEYS];
    size_t count = 0;
    uint32_t stride = 1 + below(store, 40);
    bool ascends = below(store, 2);
    for (uint32_t at = 0; at < KEYS; at += below(store, stride + 1), count++) {
        if (count == KEYS)
            break;
        points.numbers[count] = ascends ? at : below(store, KEYS);
        keys[count] = key_of(points.numbers[count], bytes[count]);
    }
    points.store = store;
    points.given = 0;
    expect_ok(lsm_get_many(&store->txn.txn, keys, count, many_each, &points));
    assert_int_equal(points.given, count);
}

static void expect_points(struct store *store)
{
    expect_many_points(store);
    uint8_t key[KV_KEY_BYTES_MAX + 1];
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t seed = store->content.seeds[i];
        sombra_slice value;
        bool has = !seed;
        expect_ok(lsm_has(&store->txn, key_of(i, key), &has));
        assert_int_equal(has, seed != 0);
        expect_err(seed ? SOMBRA_OK : SOMBRA_NOT_FOUND,
                   lsm_get(&store->txn.txn, key_of(i, key), &value));
        assert_true(!seed || slice_equal(value, value_of(store, seed)));
    }
}

/* [low, high) with room for their bytes; KEYS as high is sometimes no bound. */
struct bounds {
    uint32_t low, high;
    struct kv_range range;
    uint8_t bytes[2][KV_KEY_BYTES_MAX + 1];
};

static void bounds_make(struct store *store, struct bounds *bounds)
{
    bounds->low = below(store, KEYS);
    bounds->high = below(store, 3) ? bounds->low + below(store, 60) : KEYS;
    if (below(store, 4) == 0)
        bounds->low = 0;
    if (bounds->high > KEYS)
        bounds->high = KEYS;
    bounds->range = (struct kv_range){ key_of(bounds->low, bounds->bytes[0]),
                                       key_of(bounds->high, bounds->bytes[1]) };
    if (bounds->low == 0 && below(store, 2))
        bounds->range.low = slice_of(NULL, 0);
    if (bounds->high == KEYS && below(store, 2))
        bounds->range.high = slice_of(NULL, 0);
}

static void expect_counts(struct store *store, const struct bounds *bounds)
{
    uint64_t want = count_of(store, bounds->low, bounds->high), count, limit = 1 + below(store, 99);
    expect_ok(lsm_count(&store->txn.txn, bounds->range, 0, &count));
    assert_int_equal(count, want);
    expect_ok(lsm_count(&store->txn.txn, bounds->range, limit, &count));
    assert_int_equal(count, u64_min(limit, want));
    expect_ok(lsm_estimate(&store->txn.txn, bounds->range, &count));
    assert_true(count <= 6 * KEYS);
    if (bounds->low >= bounds->high)
        assert_int_equal(count, 0);
}

static void expect_batches(struct store *store, const struct bounds *bounds,
                           enum kv_motion direction)
{
    struct kv_entry entries[200];
    struct kv_batch batch = { .entries = entries, .capacity = 1 + below(store, 200) };
    uint8_t before[KV_KEY_BYTES_MAX + 1];
    uint32_t hint = below(store, KEYS), at = direction == KV_NEXT ? bounds->low : bounds->high;
    if (below(store, 3) == 0)
        batch.before = key_of(hint, before);
    struct kv_cursor *cursor;
    expect_ok(lsm_cursor_open(&store->txn.txn, bounds->range, &cursor));
    do {
        expect_ok(lsm_cursor_read(cursor, direction, &batch));
        for (size_t i = 0; i < batch.count; i++) {
            uint32_t want = direction == KV_NEXT ? next_of(store, at, bounds->high)
                                                 : previous_of(store, at, bounds->low);
            expect_entry(store, want, &entries[i]);
            at = direction == KV_NEXT ? want + 1 : want;
            assert_true(direction != KV_NEXT || !batch.before.bytes || want < hint || i == 0);
        }
        if (batch.is_before_next)
            assert_int_equal(next_of(store, at, hint < bounds->high ? hint : bounds->high), KEYS);
    } while (batch.count);
    assert_int_equal(direction == KV_NEXT ? next_of(store, at, bounds->high)
                                          : previous_of(store, at, bounds->low),
                     KEYS);
    lsm_cursor_close(cursor);
}

/* ---- random motions ---------------------------------------------------------------------- */

struct walk {
    struct bounds bounds;
    struct kv_cursor *cursor;
    bool is_fresh;
    uint32_t behind; /* the cursor stands before this one ... */
    uint32_t before; /* ... and behind the one before this: the position's neighbours */
};

/* Where a motion leads by the model; KEYS = nowhere. */
static uint32_t walk_want(struct store *store, const struct walk *walk, enum kv_motion motion,
                          uint32_t number)
{
    uint32_t low = walk->bounds.low, high = walk->bounds.high;
    switch (motion) {
    case KV_FIRST:
        return next_of(store, low, high);
    case KV_LAST:
        return previous_of(store, high, low);
    case KV_NEXT:
        return next_of(store, walk->is_fresh ? low : walk->behind, high);
    case KV_PREVIOUS:
        return previous_of(store, walk->is_fresh ? high : walk->before, low);
    case KV_SEEK_GE:
        return next_of(store, number < low ? low : number, high);
    case KV_SEEK_LE:
        return previous_of(store, number + 1 < high ? number + 1 : high, low);
    }
    return KEYS;
}

static void walk_step(struct store *store, struct walk *walk)
{
    static const enum kv_motion motions[] = { KV_NEXT,     KV_NEXT,     KV_NEXT,
                                              KV_PREVIOUS, KV_PREVIOUS, KV_FIRST,
                                              KV_LAST,     KV_SEEK_GE,  KV_SEEK_LE };
    uint8_t key[KV_KEY_BYTES_MAX + 1];
    enum kv_motion motion = motions[below(store, COUNT_OF(motions))];
    uint32_t number = below(store, KEYS), want = walk_want(store, walk, motion, number);
    bool found, is_forward = motion == KV_NEXT || motion == KV_FIRST || motion == KV_SEEK_GE;
    expect_ok(lsm_cursor_move(walk->cursor, motion, key_of(number, key), &found));
    assert_int_equal(found, want < KEYS);
    assert_int_equal(found, walk->cursor->is_positioned);
    walk->is_fresh = false;
    if (found) {
        expect_entry(store, want, &walk->cursor->entry);
        walk->before = want;
        walk->behind = want + 1;
    } else {
        /* Off an end: of an empty range, too. */
        walk->before = walk->behind = is_forward ? walk->bounds.high : walk->bounds.low;
    }
}

static void walk_read(struct store *store, struct walk *walk)
{
    struct kv_entry entries[8];
    struct kv_batch batch = { .entries = entries, .capacity = 1 + below(store, 8) };
    bool is_forward = below(store, 2);
    uint32_t low = walk->bounds.low, high = walk->bounds.high;
    uint32_t at = is_forward ? walk->behind : walk->before;
    if (walk->is_fresh)
        at = is_forward ? low : high;
    expect_ok(lsm_cursor_read(walk->cursor, is_forward ? KV_NEXT : KV_PREVIOUS, &batch));
    for (size_t i = 0; i < batch.count; i++) {
        uint32_t want = is_forward ? next_of(store, at, high) : previous_of(store, at, low);
        expect_entry(store, want, &entries[i]);
        at = is_forward ? want + 1 : want;
        walk->before = want;
        walk->behind = want + 1;
    }
    walk->is_fresh = false;
    if (batch.count) {
        expect_entry(store, walk->before, &walk->cursor->entry);
        return;
    }
    assert_int_equal(is_forward ? next_of(store, at, high) : previous_of(store, at, low), KEYS);
    walk->before = walk->behind = is_forward ? high : low;
}

static void expect_walk(struct store *store, bool is_writing)
{
    struct walk walk = { .is_fresh = true };
    bounds_make(store, &walk.bounds);
    expect_ok(lsm_cursor_open(&store->txn.txn, walk.bounds.range, &walk.cursor));
    for (unsigned i = 0; i < 40; i++) {
        if (below(store, 4) == 0)
            walk_read(store, &walk);
        else
            walk_step(store, &walk);
        if (is_writing && below(store, 3) == 0)
            write_once(store);
    }
    lsm_cursor_close(walk.cursor);
}

/* ---- facts ------------------------------------------------------------------------------- */

static void test_read__view_reads_like_one_sorted_array(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct store store;
        store_open(&store, "views");
        store_fill(&store);
        expect_points(&store);
        for (unsigned i = 0; i < 25; i++) {
            struct bounds bounds;
            bounds_make(&store, &bounds);
            expect_counts(&store, &bounds);
            expect_batches(&store, &bounds, KV_NEXT);
            expect_batches(&store, &bounds, KV_PREVIOUS);
            expect_walk(&store, false);
        }
        store_close(&store);
    }
}

static void test_read__cursors_of_a_writer_follow_its_writes(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        struct store store;
        store_open(&store, "writers");
        store_fill(&store);
        if (round & 1)
            memtable_add(&store); /* an empty one, without ranges at first */
        for (unsigned i = 0; i < 25; i++)
            expect_walk(&store, true);
        expect_points(&store);
        store_close(&store);
    }
}

/* A range that the transaction removed comes back with the rollback, under an open cursor too. */
static void test_read__rollback_shows_what_was_removed(void **state)
{
    (void)state;
    struct store store;
    store_open(&store, "rollback");
    run_add(&store, 6, 2, false);
    memtable_add(&store);
    struct kv_cursor *cursor;
    bool found;
    uint8_t low[KV_KEY_BYTES_MAX + 1];
    expect_ok(lsm_cursor_open(&store.txn.txn, kv_text_range(NULL, NULL), &cursor));
    expect_ok(lsm_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found));
    assert_true(found);
    struct memtable_mark mark = memtable_mark(store.view->memtables[0]);
    expect_ok(memtable_delete_range(store.view->memtables[0], store.txn.seq, key_of(0, low),
                                    slice_of(NULL, 0)));
    store.txn.changes++;
    expect_ok(lsm_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_false(found);
    memtable_rollback(store.view->memtables[0], mark);
    store.txn.changes++;
    expect_ok(lsm_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found));
    assert_true(found);
    expect_entry(&store, next_of(&store, 0, KEYS), &cursor->entry);
    expect_ok(lsm_cursor_move(cursor, KV_LAST, slice_of(NULL, 0), &found));
    expect_entry(&store, previous_of(&store, KEYS, 0), &cursor->entry);
    lsm_cursor_close(cursor);
    store_close(&store);
}

static void test_read__prefix_filters_spare_tables(void **state)
{
    (void)state;
    struct store store;
    store_open(&store, "prefixes");
    run_add(&store, 6, 1, false);
    run_add(&store, 0, 1, false);
    uint64_t count, skips = kv_metrics_count(&store.lsm.metrics, KV_COUNTER_PREFIX_SKIPS);
    struct kv_range ranges[] = { kv_text_range("group 0205/", "group 0205/z"),
                                 kv_text_range("group 0215/", "group 02150"),
                                 kv_text_range("group 022x/a", "group 022x/b") };
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        expect_ok(lsm_count(&store.txn.txn, ranges[i], 0, &count));
        assert_int_equal(count, 0);
        struct kv_cursor *cursor;
        bool found;
        expect_ok(lsm_cursor_open(&store.txn.txn, ranges[i], &cursor));
        expect_ok(lsm_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found));
        assert_false(found);
        lsm_cursor_close(cursor);
    }
    assert_true(kv_metrics_count(&store.lsm.metrics, KV_COUNTER_PREFIX_SKIPS) > skips);
    store_close(&store);
}

/* The filter knows of keys only: a table that hides others' keys is asked all the same. */
static void test_read__prefix_filters_spare_no_hidden_range(void **state)
{
    (void)state;
    struct store store;
    uint8_t key[KV_KEY_BYTES_MAX + 1], low[KV_KEY_BYTES_MAX + 1], high[KV_KEY_BYTES_MAX + 1];
    store_open(&store, "prefixes and ranges");
    store.has_no_deletes = true;
    run_add(&store, 6, 1, false);
    struct table_writer *writer = writer_open(&store, store.next_number++);
    struct lsm_entry entry = { .key = key_of(KEYS - 1, key), .kind = ENTRY_DELETE };
    struct edit_table added = { .level = 0, .run = store.next_run++ };
    expect_ok(table_writer_hide(writer, key_of(400, low), key_of(700, high)));
    expect_ok(table_writer_add(writer, &entry));
    expect_ok(table_writer_finish(writer, 1, &added.meta));
    struct edit edit = { .added = &added, .added_count = 1, .seq = 1 };
    struct version *version;
    expect_ok(version_apply(store.version, store.lsm.tables, &edit, &version));
    table_writer_close(writer);
    version_unref(store.version);
    store.version = store.view->version = version;
    uint64_t count;
    uint32_t hidden = next_of(&store, 420, 680); /* one that the table below has, with a prefix */
    while (hidden / 20 % 7 == 0)
        hidden = next_of(&store, hidden + 1, 680);
    assert_true(hidden < KEYS);
    sombra_slice prefix = slice_of(key, prefix_bytes(key_of(hidden, key)));
    struct kv_range range = { prefix, kv_prefix_end(prefix, high) };
    expect_ok(lsm_count(&store.txn.txn, range, 0, &count));
    assert_int_equal(count, 0);
    store_close(&store);
}

static void test_read__batches_of_large_values_come_in_parts(void **state)
{
    (void)state;
    struct store store;
    store_open(&store, "large values");
    store.is_all_large = store.has_no_deletes = true;
    run_add(&store, 6, 6, false);
    store.is_all_large = false;
    run_add(&store, 0, 1, false);
    struct bounds bounds = { .low = 0, .high = KEYS };
    for (unsigned i = 0; i < 2; i++) {
        expect_batches(&store, &bounds, KV_NEXT);
        expect_batches(&store, &bounds, KV_PREVIOUS);
    }
    store_close(&store);
}

static uint64_t blocks_read(const struct store *store)
{
    const struct kv_metrics *metrics = &store->lsm.metrics;
    return kv_metrics_count(metrics, KV_COUNTER_CACHE_HITS) +
           kv_metrics_count(metrics, KV_COUNTER_CACHE_MISSES);
}

/* A run without deletes that nothing is above of knows how many entries its tables have. */
static void test_read__count_of_one_run_reads_its_ends_only(void **state)
{
    (void)state;
    struct store store;
    store_open(&store, "counts");
    store.has_no_deletes = true;
    run_add(&store, 6, TABLES_MAX, false);
    uint64_t count, blocks = blocks_read(&store);
    expect_ok(lsm_count(&store.txn.txn, kv_text_range(NULL, NULL), 0, &count));
    assert_int_equal(count, count_of(&store, 0, KEYS));
    assert_int_equal(blocks_read(&store), blocks);
    for (unsigned i = 0; i < 50; i++) {
        struct bounds bounds;
        bounds_make(&store, &bounds);
        expect_counts(&store, &bounds);
    }
    assert_true(blocks_read(&store) > blocks);
    store_close(&store);
}

static void test_read__count_of_one_run_leaves_deletes_out(void **state)
{
    (void)state;
    struct store store;
    store_open(&store, "counts and deletes");
    run_add(&store, 6, TABLES_MAX, false);
    struct version_run *run = &store.version->runs[0];
    uint64_t deletes = 0, count;
    while (run->tables[0]->meta.deletes == 0 && store.next_run < 50) {
        run_add(&store, 0, 2, false); /* what is above must be seen */
        run = &store.version->runs[0];
    }
    for (size_t i = 0; i < run->count; i++)
        deletes += run->tables[i]->meta.deletes;
    assert_true(deletes > 0);
    struct version alone = { .refs = 1, .runs = run, .count = 1 };
    store.view->version = &alone;
    uint64_t entries = 0;
    for (size_t i = 0; i < run->count; i++)
        entries += run->tables[i]->meta.entries;
    expect_ok(lsm_count(&store.txn.txn, kv_text_range(NULL, NULL), 0, &count));
    assert_int_equal(count, entries - deletes);
    store.view->version = store.version;
    expect_ok(lsm_count(&store.txn.txn, kv_text_range(NULL, NULL), 0, &count));
    assert_int_equal(count, count_of(&store, 0, KEYS));
    store_close(&store);
}

static void test_read__bounds_longer_than_keys_are_refused(void **state)
{
    (void)state;
    struct store store;
    uint8_t bytes[KV_KEY_BYTES_MAX + 1] = { 1 };
    store_open(&store, "bounds");
    memtable_add(&store);
    struct kv_cursor *cursor;
    struct kv_range range = { .low = slice_of(bytes, sizeof bytes) };
    expect_err(SOMBRA_INVALID, lsm_cursor_open(&store.txn.txn, range, &cursor));
    sombra_slice value;
    expect_err(SOMBRA_INVALID, lsm_get(&store.txn.txn, range.low, &value));
    expect_err(SOMBRA_INVALID, lsm_get(&store.txn.txn, slice_of(NULL, 0), &value));
    store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__view_reads_like_one_sorted_array),
        cmocka_unit_test(test_read__cursors_of_a_writer_follow_its_writes),
        cmocka_unit_test(test_read__rollback_shows_what_was_removed),
        cmocka_unit_test(test_read__prefix_filters_spare_tables),
        cmocka_unit_test(test_read__prefix_filters_spare_no_hidden_range),
        cmocka_unit_test(test_read__batches_of_large_values_come_in_parts),
        cmocka_unit_test(test_read__count_of_one_run_reads_its_ends_only),
        cmocka_unit_test(test_read__count_of_one_run_leaves_deletes_out),
        cmocka_unit_test(test_read__bounds_longer_than_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
