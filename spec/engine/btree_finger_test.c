/* SPDX-License-Identifier: MIT */
/* Runs of puts to neighbouring keys, which go to the leaf of the put before without a descent,
 * mixed with everything that leads that shortcut astray: splits, deletes, ranges, savepoints,
 * cursors, other transactions. The content is compared with a plain array, counts and pages with
 * verify. */
#include "btree_fixture.h"

#include <inttypes.h>

enum { KEYS = 2500, MARKS_MAX = 4, VALUE_BYTES_MAX = 7000 };

/* What each key should have: 0 = nothing, else the seed of its value. */
struct content {
    uint32_t seeds[KEYS];
};

struct run {
    struct store store;
    struct random random;
    struct kv_txn *txn;
    struct content now, committed;
    struct {
        uint64_t mark;
        struct content content;
    } marks[MARKS_MAX];
    size_t mark_count;
    uint32_t seed; /* of the next value */
    struct buf value;
};

/* Every seventh key is long: longer than any separator between short ones. */
static sombra_slice key_of(uint32_t number, uint8_t to[KV_KEY_BYTES_MAX])
{
    int bytes = snprintf((char *)to, KV_KEY_BYTES_MAX, "key%06" PRIu32, number);
    size_t tail = number % 7 ? 0 : 200 + (number * 37) % 800;
    memset(to + bytes, (int)('a' + number % 26), tail);
    return slice_of(to, (size_t)bytes + tail);
}

static size_t value_bytes_of(uint32_t seed)
{
    if (seed % 61 == 0)
        return VALUE_BYTES_MAX; /* pages of its own */
    return seed % 23 == 0 ? 900 : seed % 90;
}

static void put(struct run *run, uint32_t number)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    bool repeats = run->now.seeds[number] && random_below(&run->random, 4) == 0;
    uint32_t seed = repeats ? run->now.seeds[number] : ++run->seed;
    sombra_slice value = kv_pattern(&run->value, seed, value_bytes_of(seed));
    expect_ok(kv_put(run->txn, key_of(number, key), value));
    run->now.seeds[number] = seed;
}

static void expect_key(struct run *run, uint32_t number)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    uint32_t seed = run->now.seeds[number];
    sombra_slice value;
    if (!seed) {
        expect_err(SOMBRA_NOT_FOUND, kv_get(run->txn, key_of(number, key), &value));
        return;
    }
    expect_ok(kv_get(run->txn, key_of(number, key), &value));
    assert_true(slice_equal(value, kv_pattern(&run->value, seed, value_bytes_of(seed))));
}

static void expect_content(struct run *run)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    struct kv_cursor *cursor;
    bool found;
    uint64_t count = 0, have;
    expect_ok(kv_cursor_open(run->txn, (struct kv_range){ 0 }, &cursor));
    for (uint32_t i = 0; i < KEYS; i++) {
        if (!run->now.seeds[i])
            continue;
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found);
        assert_true(slice_equal(cursor->entry.key, key_of(i, key)));
        count++;
        expect_key(run, i);
    }
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_false(found);
    kv_cursor_close(cursor);
    expect_ok(kv_count(run->txn, (struct kv_range){ 0 }, 0, &have));
    assert_int_equal(have, count);
}

/* ---- what is done -------------------------------------------------------------------------- */

static uint32_t random_key(struct run *run)
{
    return (uint32_t)random_below(&run->random, KEYS);
}

/* Neighbours in turn, upwards, downwards, or one key again and again. */
static void put_neighbours(struct run *run)
{
    uint32_t number = random_key(run), count = 1 + (uint32_t)random_below(&run->random, 60);
    int step = (int)random_below(&run->random, 3) - 1;
    for (uint32_t i = 0; i < count && number < KEYS; i++) {
        put(run, number);
        if (random_below(&run->random, 16) == 0)
            expect_key(run, random_key(run));
        number += (uint32_t)step;
    }
}

static void delete_one(struct run *run)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    uint32_t number = random_key(run);
    sombra_err want = run->now.seeds[number] ? SOMBRA_OK : SOMBRA_NOT_FOUND;
    expect_err(want, kv_delete(run->txn, key_of(number, key)));
    run->now.seeds[number] = 0;
}

static void delete_some(struct run *run)
{
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
    uint32_t first = random_key(run), count = (uint32_t)random_below(&run->random, KEYS / 4);
    uint32_t last = first + count < KEYS ? first + count : KEYS - 1;
    struct kv_range range = { key_of(first, low), key_of(last, high) };
    uint64_t removed, want = 0;
    for (uint32_t i = first; i < last; i++) {
        want += run->now.seeds[i] != 0;
        run->now.seeds[i] = 0;
    }
    expect_ok(kv_delete_range(run->txn, range, &removed));
    assert_int_equal(removed, want);
}

static void savepoint(struct run *run)
{
    uint64_t kind = random_below(&run->random, 3);
    if (kind == 0 && run->mark_count < MARKS_MAX) {
        size_t i = run->mark_count++;
        expect_ok(kv_savepoint(run->txn, KV_SAVEPOINT_SET, &run->marks[i].mark));
        run->marks[i].content = run->now;
    } else if (run->mark_count) {
        size_t i = random_below(&run->random, run->mark_count);
        enum kv_savepoint_action action = kind == 1 ? KV_SAVEPOINT_RELEASE : KV_SAVEPOINT_ROLLBACK;
        expect_ok(kv_savepoint(run->txn, action, &run->marks[i].mark));
        if (action == KV_SAVEPOINT_ROLLBACK)
            run->now = run->marks[i].content;
        run->mark_count = action == KV_SAVEPOINT_ROLLBACK ? i + 1 : i;
    }
}

/* Puts where a cursor stands: it lends bytes of the leaf that is written. */
static void put_at_cursor(struct run *run)
{
    struct kv_cursor *cursor;
    bool found;
    uint8_t key[KV_KEY_BYTES_MAX];
    uint32_t number = random_key(run);
    expect_ok(kv_cursor_open(run->txn, (struct kv_range){ 0 }, &cursor));
    expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, key_of(number, key), &found));
    for (int i = 0; i < 10 && found; i++) {
        while (!run->now.seeds[number])
            number++;
        assert_true(slice_equal(cursor->entry.key, key_of(number, key)));
        uint32_t to = random_key(run);
        if (i % 2)
            to = number;
        expect_ok(kv_put(run->txn, key_of(to, key), cursor->entry.value));
        run->now.seeds[to] = run->now.seeds[number];
        number++;
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    }
    kv_cursor_close(cursor);
}

/* A put of the key that was read last goes where the read went, unless something came between. */
static void put_what_was_read(struct run *run)
{
    for (int i = 0; i < 20; i++) {
        uint32_t number = random_key(run);
        expect_key(run, number);
        switch (random_below(&run->random, 12)) {
        case 0:
            delete_one(run);
            break;
        case 1:
            savepoint(run);
            break;
        case 2:
            put_at_cursor(run);
            break;
        case 3:
            put(run, number + 1 < KEYS ? number + 1 : number);
            break;
        case 4:
            if (i == 0)
                delete_some(run);
            break;
        default:
            break;
        }
        put(run, number);
        if (random_below(&run->random, 4) == 0)
            expect_key(run, number);
    }
}

static void transaction_end(struct run *run)
{
    run->mark_count = 0;
    expect_content(run);
    if (random_below(&run->random, 4) == 0) {
        kv_abort(run->txn);
        run->now = run->committed;
    } else {
        kv_commit_ok(run->txn);
        run->committed = run->now;
    }
    run->txn = kv_begin_write(run->store.kv);
}

/* `memory_max` 0: stores through mappings; else by calls, and what is more is spilled. */
static void run_store(uint64_t seed, size_t memory_max, unsigned steps)
{
    static struct run run;
    struct btree_options options = { .page_bytes = 4096,
                                     .durability = KV_OFF,
                                     .map_bytes_max = TEST_MAP_BYTES,
                                     .no_mapped_stores = memory_max > 0,
                                     .txn_memory_max = memory_max };
    run = (struct run){ 0 };
    store_init(&run.store, &options);
    random_seed(&run.random, seed);
    run.txn = kv_begin_write(run.store.kv);
    for (unsigned step = 0; step < steps; step++) {
        uint64_t kind = random_below(&run.random, 22);
        if (kind >= 20)
            put_what_was_read(&run);
        else if (kind < 12)
            put_neighbours(&run);
        else if (kind < 15)
            delete_one(&run);
        else if (kind < 16)
            delete_some(&run);
        else if (kind < 18)
            savepoint(&run);
        else if (kind < 19)
            put_at_cursor(&run);
        else
            transaction_end(&run);
    }
    transaction_end(&run);
    kv_abort(run.txn);
    store_expect_exact(run.store.kv);
    store_reopen(&run.store);
    run.txn = kv_begin_read(run.store.kv);
    run.now = run.committed;
    expect_content(&run);
    kv_abort(run.txn);
    store_expect_exact(run.store.kv);
    buf_release(&run.value);
    store_release(&run.store);
}

static void test_puts__neighbours_land_where_they_belong(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    for (uint64_t i = 0; i < (test_is_long() ? 40 : 4); i++)
        run_store(seed + i, 0, 1200);
}

static void test_puts__they_do_so_where_pages_move_in_memory(void **state)
{
    run_store(*(uint64_t *)*state, 64 * MiB, 600);
    run_store(*(uint64_t *)*state, 64 * KiB, 600);
}

/* ---- one by one ---------------------------------------------------------------------------- */

static void put_range(struct kv_txn *txn, uint64_t first, uint64_t last, uint64_t salt)
{
    kv_put_numbers(txn, first, last, 50, salt);
}

static void expect_range(struct kv_txn *txn, uint64_t first, uint64_t last, uint64_t salt)
{
    struct buf value = BUF_INIT;
    uint8_t key[8];
    for (uint64_t i = first; i < last; i++)
        kv_expect_value(txn, kv_number_key(i, key), kv_pattern(&value, i + salt, 50));
    buf_release(&value);
}

static void test_puts__a_rollback_takes_back_what_followed_in_the_same_leaf(void **state)
{
    (void)state;
    struct store store;
    uint64_t mark;
    store_init(&store, NULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_range(txn, 0, 20, 0);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    put_range(txn, 10, 30, 1000);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    put_range(txn, 30, 40, 0);
    expect_range(txn, 0, 20, 0);
    expect_range(txn, 30, 40, 0);
    uint64_t count;
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, 30);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

static void test_puts__a_leaf_that_a_range_delete_took_is_not_written(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_range(txn, 0, 5000, 0);
    for (uint64_t i = 0; i < 20; i++) {
        put_range(txn, 4900, 5000, 0);
        uint8_t low[8], high[8];
        struct kv_range range = { kv_number_key(2000, low), kv_number_key(6000, high) };
        expect_ok(kv_delete_range(txn, range, NULL));
        put_range(txn, 4990, 5000, 0);
        put_range(txn, 2000, 5000, 0);
    }
    expect_range(txn, 0, 5000, 0);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

static void test_puts__a_key_beside_the_leaf_goes_to_its_neighbour(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < 4000; i += 2)
        put_range(txn, i, i + 1, 0);
    /* Across every boundary, both ways. */
    for (uint64_t i = 1; i < 4000; i += 2)
        put_range(txn, i, i + 1, 0);
    for (uint64_t i = 4000; i-- > 0;)
        put_range(txn, i, i + 1, 7);
    expect_range(txn, 0, 4000, 7);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Splits alone leave them at 69 in a hundred. */
/* Each in a transaction of its own, which changes the page where it is if nobody has it. */
static void test_puts__a_commit_of_what_was_read_lands_where_it_was(void **state)
{
    enum { NUMBERS = 3000, COMMITS = 4000 };
    static uint64_t salts[NUMBERS];
    struct btree_options options = { .page_bytes = 4096,
                                     .durability = KV_OFF,
                                     .map_bytes_max = TEST_MAP_BYTES };
    struct store store;
    struct random random;
    struct buf value = BUF_INIT;
    uint8_t key[8];
    store_init(&store, &options);
    random_seed(&random, *(uint64_t *)*state);
    memset(salts, 0, sizeof salts);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_range(txn, 0, NUMBERS, 0);
    kv_commit_ok(txn);
    for (uint64_t i = 1; i <= COMMITS; i++) {
        uint64_t read = random_below(&random, NUMBERS), put = i % 4 ? read : NUMBERS - 1 - read;
        struct kv_txn *reader = i % 33 == 0 ? kv_begin_read(store.kv) : NULL;
        txn = kv_begin_write(store.kv);
        kv_expect_value(txn, kv_number_key(read, key), kv_pattern(&value, read + salts[read], 50));
        expect_ok(kv_put(txn, kv_number_key(put, key), kv_pattern(&value, put + i, 50)));
        kv_commit_ok(txn);
        if (reader) {
            kv_expect_value(reader, kv_number_key(put, key),
                            kv_pattern(&value, put + salts[put], 50));
            kv_abort(reader);
        }
        salts[put] = i;
        if (i % 3)
            continue;
        /* What a transaction has read is nothing to the next one. */
        txn = kv_begin_write(store.kv);
        salts[read] = i + COMMITS;
        expect_ok(
            kv_put(txn, kv_number_key(read, key), kv_pattern(&value, read + salts[read], 50)));
        kv_commit_ok(txn);
    }
    txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i < NUMBERS; i++)
        kv_expect_value(txn, kv_number_key(i, key), kv_pattern(&value, i + salts[i], 50));
    kv_abort(txn);
    store_expect_exact(store.kv);
    buf_release(&value);
    store_release(&store);
}

static void test_puts__random_ones_fill_leaves_well(void **state)
{
    struct store store;
    struct btree_options options = { .page_bytes = 4096,
                                     .durability = KV_OFF,
                                     .map_bytes_max = TEST_MAP_BYTES };
    struct random random;
    struct buf value = BUF_INIT;
    random_seed(&random, *(uint64_t *)*state);
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (int i = 0; i < 20000; i++) {
        uint8_t key[8];
        uint64_t number = random_u64(&random);
        expect_ok(kv_put(txn, kv_number_key(number, key), kv_pattern(&value, number, 100)));
    }
    kv_commit_ok(txn);
    struct kv_stats stats = store_stats(store.kv, true);
    uint64_t pages = stats.pages_leaf + stats.pages_leaf_dense;
    assert_true(stats.bytes_used * 100 >= (pages + stats.pages_branch) * stats.page_bytes * 74);
    store_expect_exact(store.kv);
    buf_release(&value);
    store_release(&store);
}

int main(void)
{
    uint64_t seed = kv_test_seed("btree, finger");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_puts__neighbours_land_where_they_belong, &seed),
        cmocka_unit_test_prestate(test_puts__they_do_so_where_pages_move_in_memory, &seed),
        cmocka_unit_test(test_puts__a_rollback_takes_back_what_followed_in_the_same_leaf),
        cmocka_unit_test(test_puts__a_leaf_that_a_range_delete_took_is_not_written),
        cmocka_unit_test(test_puts__a_key_beside_the_leaf_goes_to_its_neighbour),
        cmocka_unit_test_prestate(test_puts__a_commit_of_what_was_read_lands_where_it_was, &seed),
        cmocka_unit_test_prestate(test_puts__random_ones_fill_leaves_well, &seed),
    };
    return cmocka_run_group_tests_name("btree, finger", tests, NULL, NULL);
}
