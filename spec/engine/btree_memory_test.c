/* SPDX-License-Identifier: MIT */
/* Where memory is short: what the system is told, how pages are written, puts that are deferred;
 * and the same content.
 */
#include "btree_fixture.h"

#include "btree/btree_internal.h"
#include "os/os_ops.h"

#include <stdatomic.h>

enum { PAGE_BYTES = 4096, ENTRIES = 20000, VALUE_BYTES = 60 };

/* The real system, which notes what it was told. */
struct noting {
    struct os os;
    struct os_ops ops;
    _Atomic uint64_t memory_bytes, questions, now_ns;
    _Atomic int random_maps; /* advised so, less those where it was taken back */
    _Atomic uint64_t ahead_bytes, forgotten_bytes;
};

static struct noting *noting_of(struct os *os)
{
    return container_of(os, struct noting, os);
}

static uint64_t memory_noted(struct os *os)
{
    atomic_fetch_add(&noting_of(os)->questions, 1);
    return atomic_load(&noting_of(os)->memory_bytes);
}

static uint64_t clock_noted(struct os *os)
{
    return atomic_load(&noting_of(os)->now_ns);
}

static void random_noted(struct os *os, void *address, size_t bytes, bool is_random)
{
    (void)address;
    (void)bytes;
    atomic_fetch_add(&noting_of(os)->random_maps, is_random ? 1 : -1);
}

static void ahead_noted(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)fd;
    (void)offset;
    atomic_fetch_add(&noting_of(os)->ahead_bytes, bytes);
}

static void forget_noted(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)fd;
    (void)offset;
    atomic_fetch_add(&noting_of(os)->forgotten_bytes, bytes);
}

static void noting_init(struct noting *noting, uint64_t memory_bytes)
{
    *noting = (struct noting){ .ops = *os_posix()->ops };
    noting->ops.memory_bytes = memory_noted;
    noting->ops.map_advise_random = random_noted;
    noting->ops.read_ahead = ahead_noted;
    noting->ops.forget = forget_noted;
    noting->os.ops = &noting->ops;
    atomic_init(&noting->memory_bytes, memory_bytes);
}

static void noted_store_init(struct store *store, struct noting *noting, uint64_t memory_bytes)
{
    struct btree_options options = { .page_bytes = PAGE_BYTES,
                                     .durability = KV_OFF,
                                     .no_background = true,
                                     .no_auto_compact = true,
                                     .map_bytes_max = GiB,
                                     .memory_bytes = memory_bytes };
    store_init(store, &options);
    store_close(store);
    store->os = &noting->os;
    store_open(store);
}

static void put_number(struct kv_txn *txn, uint64_t number, uint64_t salt)
{
    uint8_t key[8], value[VALUE_BYTES];
    memset(value, (int)(number + salt), sizeof value);
    expect_ok(kv_put(txn, kv_number_key(number, key), slice_of(value, sizeof value)));
}

static void expect_number(struct kv_txn *txn, uint64_t number, uint64_t salt)
{
    uint8_t key[8], value[VALUE_BYTES];
    memset(value, (int)(number + salt), sizeof value);
    kv_expect_value(txn, kv_number_key(number, key), slice_of(value, sizeof value));
}

/* Numbers all over, in transactions of a thousand. */
static void put_all(struct kv *kv, uint64_t salt)
{
    for (uint64_t i = 0; i < ENTRIES;) {
        struct kv_txn *txn = kv_begin_write(kv);
        do
            put_number(txn, i * 7919 % ENTRIES, salt);
        while (++i % 1000);
        kv_commit_ok(txn);
    }
}

static void expect_all(struct kv *kv, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_read(kv);
    for (uint64_t i = 0; i < ENTRIES; i++)
        expect_number(txn, i, salt);
    kv_abort(txn);
}

/* ---- what the system is told -------------------------------------------------------------- */

static void test_btree__with_ample_memory_the_system_is_told_nothing(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    noting_init(&noting, GiB);
    noted_store_init(&store, &noting, GiB);
    put_all(store.kv, 1);
    put_all(store.kv, 2);
    expect_all(store.kv, 2);
    assert_int_equal(atomic_load(&noting.random_maps), 0);
    assert_int_equal(atomic_load(&noting.ahead_bytes), 0);
    assert_int_equal(atomic_load(&noting.forgotten_bytes), 0);
    store_release(&store);
}

static void test_btree__where_memory_is_short_leaves_are_fetched_as_wholes(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    noting_init(&noting, GiB); /* the option counts */
    noted_store_init(&store, &noting, 100 * KiB);
    put_all(store.kv, 1);
    assert_true(atomic_load(&noting.random_maps) > 0);
    atomic_store(&noting.ahead_bytes, 0);
    expect_all(store.kv, 1);
    assert_int_equal(atomic_load(&noting.ahead_bytes), ENTRIES * PAGE_BYTES);
    store_expect_exact(store.kv);
    store_reopen(&store);
    expect_all(store.kv, 1);
    store_release(&store);
}

/* Of a tree that a checkpoint wrote, every page is superseded. */
static void test_btree__what_only_the_checkpoint_has_is_forgotten(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    struct kv_maintenance checkpoint = { .kind = KV_CHECKPOINT };
    noting_init(&noting, GiB);
    noted_store_init(&store, &noting, 100 * KiB);
    put_all(store.kv, 1);
    expect_ok(kv_maintain(store.kv, &checkpoint));
    struct kv_stats stats = store_stats(store.kv, true);
    atomic_store(&noting.forgotten_bytes, 0);
    put_all(store.kv, 2);
    assert_int_equal(atomic_load(&noting.forgotten_bytes),
                     (stats.pages_leaf + stats.pages_leaf_dense + stats.pages_branch) * PAGE_BYTES);
    store_release(&store);
}

static void test_btree__a_scan_asks_for_each_leaf_once(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    noting_init(&noting, GiB);
    noted_store_init(&store, &noting, 100 * KiB);
    put_all(store.kv, 1);
    struct kv_stats stats = store_stats(store.kv, true);
    uint64_t leaves = stats.pages_leaf + stats.pages_leaf_dense;
    const enum kv_motion directions[] = { KV_NEXT, KV_PREVIOUS };
    for (size_t i = 0; i < COUNT_OF(directions); i++) {
        struct kv_txn *txn = kv_begin_read(store.kv);
        struct kv_cursor *cursor;
        bool found;
        uint64_t count = 0;
        expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
        atomic_store(&noting.ahead_bytes, 0);
        do
            expect_ok(kv_cursor_move(cursor, directions[i], slice_of(NULL, 0), &found));
        while (found && ++count);
        assert_int_equal(count, ENTRIES);
        /* Once as one of the next ones, and once when it is entered. */
        assert_in_range(atomic_load(&noting.ahead_bytes), leaves * PAGE_BYTES * 3 / 2,
                        leaves * PAGE_BYTES * 2);
        kv_cursor_close(cursor);
        kv_abort(txn);
    }
    store_release(&store);
}

static void test_btree__memory_that_is_short_no_more_is_used_again(void **state)
{
    (void)state;
    enum { LONG_BYTES = 40000, LONGS = 900, MORE = 200 };
    struct noting noting;
    struct store store;
    noting_init(&noting, 30 * MiB);
    noted_store_init(&store, &noting, 0); /* the system is asked */
    for (uint64_t i = 0; i < LONGS + MORE; i++) {
        char key[16];
        if (i == LONGS) {
            assert_true(atomic_load(&noting.random_maps) > 0);
            atomic_store(&noting.memory_bytes, GiB);
        }
        struct kv_txn *txn = kv_begin_write(store.kv);
        snprintf(key, sizeof key, "%08u", (unsigned)i);
        put_sized(txn, key, i, LONG_BYTES);
        put_number(txn, i, 1);
        kv_commit_ok(txn);
    }
    assert_int_equal(atomic_load(&noting.random_maps), 0);
    struct kv_txn *txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i < LONGS + MORE; i++) {
        char key[16];
        snprintf(key, sizeof key, "%08u", (unsigned)i);
        expect_sized(txn, key, i, LONG_BYTES);
        expect_number(txn, i, 1);
    }
    kv_abort(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- deferred puts ------------------------------------------------------------------------ */

static void short_store_init(struct store *store, struct noting *noting)
{
    noting_init(noting, GiB);
    noted_store_init(store, noting, 1);
    put_all(store->kv, 1);
}

static void test_btree__a_deferred_put_is_seen_by_every_call(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    struct kv_cursor *cursor;
    uint64_t count, removed, mark;
    uint8_t key[8];
    bool found;
    short_store_init(&store, &noting);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_number(txn, 5, 2);
    expect_number(txn, 5, 2); /* get */
    put_number(txn, ENTRIES, 2);
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, ENTRIES + 1);
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    expect_ok(kv_cursor_move(cursor, KV_LAST, slice_of(NULL, 0), &found));
    put_number(txn, ENTRIES + 1, 2);
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    assert_true(slice_equal(cursor->entry.key, kv_number_key(ENTRIES + 1, key)));
    kv_cursor_close(cursor);
    put_number(txn, ENTRIES + 2, 2);
    expect_ok(kv_delete(txn, kv_number_key(ENTRIES + 2, key)));
    put_number(txn, ENTRIES + 3, 2);
    struct kv_range range = { .low = kv_number_key(ENTRIES, key) };
    expect_ok(kv_delete_range(txn, range, &removed));
    assert_int_equal(removed, 3);
    put_number(txn, 6, 2);
    put_number(txn, 6, 3); /* the later one holds */
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    put_number(txn, 6, 4);
    put_number(txn, 7, 4);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    put_number(txn, 8, 5);
    kv_commit_ok(txn);
    txn = kv_begin_read(store.kv);
    expect_number(txn, 5, 2);
    expect_number(txn, 6, 3);
    expect_number(txn, 7, 1);
    expect_number(txn, 8, 5);
    kv_abort(txn);
    assert_int_equal(store_stats(store.kv, true).entries, ENTRIES);
    store_release(&store);
}

static void test_btree__deferred_puts_of_an_aborted_transaction_are_gone(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    short_store_init(&store, &noting);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < 100; i++)
        put_number(txn, i, 9);
    kv_abort(txn);
    txn = kv_begin_write(store.kv);
    put_number(txn, ENTRIES, 2);
    kv_commit_ok(txn);
    expect_all(store.kv, 1);
    assert_int_equal(store_stats(store.kv, true).entries, ENTRIES + 1);
    store_release(&store);
}

/* Neighbours in the order of keys, many to a leaf, and long values between them. */
static void test_btree__deferred_puts_and_others_are_logged_in_their_order(void **state)
{
    (void)state;
    enum { LONG_BYTES = 3000, ROUNDS = 3000 };
    struct noting noting;
    struct store store, copy;
    uint64_t digest, again;
    short_store_init(&store, &noting);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        char key[16];
        uint8_t number[8];
        snprintf(key, sizeof key, "%08u", (unsigned)(i / 3));
        if (i % 10 == 9)
            put_sized(txn, key, i, LONG_BYTES);
        else if (i % 17 == 16)
            expect_ok(kv_delete(txn, kv_number_key(i / 17, number)));
        else
            put_sized(txn, key, i, i % 50);
    }
    kv_commit_ok(txn);
    expect_ok(content_digest(store.kv, &digest));
    store_copy(&store, &copy); /* as after a kill: the log is replayed */
    store_open(&copy);
    expect_ok(content_digest(copy.kv, &again));
    assert_true(digest == again);
    store_release(&copy);
    store_release(&store);
}

static void test_btree__a_deferred_put_that_fails_fails_the_transaction(void **state)
{
    (void)state;
    enum { MAP_BYTES = 64 << 20, VALUE = 900 };
    struct store store;
    struct btree_options options = { .page_bytes = PAGE_BYTES,
                                     .durability = KV_OFF,
                                     .no_background = true,
                                     .map_bytes_max = MAP_BYTES,
                                     .wal_bypass_bytes = GiB,
                                     .memory_bytes = 1 };
    store_init(&store, &options);
    uint64_t i = 0, before;
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_number(txn, 1, 1);
    kv_commit_ok(txn);
    expect_ok(content_digest(store.kv, &before));
    txn = kv_begin_write(store.kv);
    sombra_err err = SOMBRA_OK;
    uint8_t key[8], value[VALUE] = { 0 };
    for (; !err && i < MAP_BYTES / VALUE * 2; i++)
        err = kv_put(txn, kv_number_key(hash_u64(i), key), slice_of(value, sizeof value));
    assert_int_equal(err, SOMBRA_LIMIT);
    assert_int_equal(kv_put(txn, kv_number_key(1, key), slice_of(value, 1)), SOMBRA_INVALID);
    assert_int_equal(kv_commit(txn, KV_OFF), SOMBRA_INVALID);
    uint64_t after;
    expect_ok(content_digest(store.kv, &after));
    assert_true(before == after);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Another thread finds that memory is short, and that it is not, as often as it can. */
struct weigher {
    struct btree *btree;
    _Atomic uint32_t runs, is_over;
};

static void *weigher_run(void *context)
{
    struct weigher *weigher = context;
    while (!atomic_load(&weigher->is_over))
        if (atomic_load(&weigher->runs) == 1) {
            atomic_fetch_xor(&weigher->btree->pager.modes, PAGER_SHORT);
        } else {
            atomic_fetch_and(&weigher->btree->pager.modes, (uint8_t)~PAGER_SHORT);
            atomic_store(&weigher->runs, 0);
            os_thread_yield();
        }
    return NULL;
}

static void weigher_pause(struct weigher *weigher)
{
    atomic_store(&weigher->runs, 2);
    while (atomic_load(&weigher->runs))
        os_thread_yield();
}

static void test_btree__memory_gets_short_in_the_middle_of_puts(void **state)
{
    (void)state;
    enum { TXNS = 8000, PUTS = 4 };
    struct store store;
    struct btree_options options = { .page_bytes = PAGE_BYTES,
                                     .durability = KV_OFF,
                                     .no_background = true,
                                     .no_auto_compact = true,
                                     .memory_bytes = GiB };
    store_init(&store, &options);
    put_all(store.kv, 0);
    struct weigher weigher = { .btree = container_of(store.kv, struct btree, kv) };
    struct os_thread thread;
    expect_ok(os_thread_start(&thread, weigher_run, &weigher));
    for (uint64_t i = 1; i <= TXNS; i++) {
        weigher.btree->edits.many_pause = 0;
        struct kv_txn *txn = kv_begin_write(store.kv);
        for (uint64_t put = 0; put < PUTS; put++) {
            if (put == PUTS - 1)
                atomic_store(&weigher.runs, 1);
            put_number(txn, (i + put * 1511) % ENTRIES, i);
        }
        weigher_pause(&weigher);
        kv_commit_ok(txn);
        txn = kv_begin_read(store.kv);
        for (uint64_t put = 0; put < PUTS; put++)
            expect_number(txn, (i + put * 1511) % ENTRIES, i);
        kv_abort(txn);
    }
    atomic_store(&weigher.is_over, 1);
    os_thread_join(&thread);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* It takes as long as half of an open: who reads little does without. */
static void test_btree__memory_is_asked_for_by_who_reads_much_or_writes(void **state)
{
    (void)state;
    enum { VALUES = 40, LARGE_BYTES = 1 << 20 };
    struct noting noting;
    struct store store;
    noting_init(&noting, 8 * MiB);
    noted_store_init(&store, &noting, GiB);
    uint8_t key[8], *large = calloc(1, LARGE_BYTES);
    assert_non_null(large);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < VALUES; i++)
        expect_ok(kv_put(txn, kv_number_key(i, key), slice_of(large, LARGE_BYTES)));
    kv_commit_ok(txn);
    for (int writes = 0; writes < 2; writes++) {
        store_close(&store);
        store.options.memory_bytes = 0;
        uint64_t questions = atomic_load(&noting.questions);
        store_open(&store);
        txn = kv_begin_read(store.kv);
        kv_expect_value(txn, kv_number_key(7, key), slice_of(large, LARGE_BYTES));
        assert_int_equal(atomic_load(&noting.questions), questions);
        for (uint64_t i = 0; i < VALUES && !writes; i++)
            kv_expect_value(txn, kv_number_key(i, key), slice_of(large, LARGE_BYTES));
        kv_abort(txn);
        if (writes)
            kv_abort(kv_begin_write(store.kv));
        assert_int_equal(atomic_load(&noting.questions), questions + 1);
        assert_true(atomic_load(&noting.random_maps) > 0);
    }
    free(large);
    store_release(&store);
}

/* Values of 40 MiB in all. How often the system was asked. */
static uint64_t questions_of_growth(struct store *store, const struct noting *noting)
{
    enum { LONG_BYTES = 40000, LONGS = 1000 };
    uint64_t before = atomic_load(&noting->questions);
    static uint64_t next;
    for (uint64_t i = 0; i < LONGS; i++) {
        char key[16];
        struct kv_txn *txn = kv_begin_write(store->kv);
        snprintf(key, sizeof key, "%08u", (unsigned)next++);
        put_sized(txn, key, i, LONG_BYTES);
        kv_commit_ok(txn);
    }
    return atomic_load(&noting->questions) - before;
}

static void test_btree__a_file_that_grows_asks_seldom_while_there_is_far_more_memory(void **state)
{
    (void)state;
    struct noting noting;
    struct store store;
    noting_init(&noting, GiB);
    noting.ops.coarse_ns = clock_noted;
    noted_store_init(&store, &noting, 0); /* the system is asked */
    assert_in_range(questions_of_growth(&store, &noting), 1, 2);
    assert_int_equal(questions_of_growth(&store, &noting), 0);
    atomic_fetch_add(&noting.now_ns, UINT64_C(1000000000)); /* a moment is over */
    assert_int_equal(questions_of_growth(&store, &noting), 1);
    atomic_fetch_add(&noting.now_ns, UINT64_C(1000000000));
    atomic_store(&noting.memory_bytes, 200 * MiB); /* the file has more than half of it */
    assert_true(questions_of_growth(&store, &noting) > 5);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_btree__memory_is_asked_for_by_who_reads_much_or_writes),
        cmocka_unit_test(test_btree__with_ample_memory_the_system_is_told_nothing),
        cmocka_unit_test(test_btree__where_memory_is_short_leaves_are_fetched_as_wholes),
        cmocka_unit_test(test_btree__what_only_the_checkpoint_has_is_forgotten),
        cmocka_unit_test(test_btree__a_scan_asks_for_each_leaf_once),
        cmocka_unit_test(test_btree__memory_that_is_short_no_more_is_used_again),
        cmocka_unit_test(test_btree__a_deferred_put_is_seen_by_every_call),
        cmocka_unit_test(test_btree__deferred_puts_of_an_aborted_transaction_are_gone),
        cmocka_unit_test(test_btree__deferred_puts_and_others_are_logged_in_their_order),
        cmocka_unit_test(test_btree__a_deferred_put_that_fails_fails_the_transaction),
        cmocka_unit_test(test_btree__memory_gets_short_in_the_middle_of_puts),
        cmocka_unit_test(test_btree__a_file_that_grows_asks_seldom_while_there_is_far_more_memory),
    };
    return cmocka_run_group_tests_name("btree_memory", tests, NULL, NULL);
}
