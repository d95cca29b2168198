/* SPDX-License-Identifier: MIT */
/* Read transactions and cursors are used again: a loop that has run once allocates nothing. And
 * what is used again is never used by two. Run it under ThreadSanitizer too. */
#include "btree_fixture.h"
#include "kv_fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NUMBERS = 6000,  /* keys of 8 bytes with values: general leaves */
    PLAIN = 6000,    /* text keys without values: dense leaves */
    LARGE_EVERY = 50 /* of the numbers, with a value of its own pages */
};

static size_t value_bytes(uint64_t number)
{
    return number % LARGE_EVERY == 0 ? 9000 : 100;
}

static void fill(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    struct buf value = BUF_INIT;
    uint8_t key[8];
    char text[24];
    for (uint64_t i = 0; i < NUMBERS; i++)
        expect_ok(kv_put(txn, kv_number_key(i, key), kv_pattern(&value, i, value_bytes(i))));
    for (unsigned i = 0; i < PLAIN; i++) {
        snprintf(text, sizeof text, "plain.%06u", i);
        expect_ok(kv_put(txn, slice_str(text), slice_of(NULL, 0)));
    }
    buf_release(&value);
    kv_commit_ok(txn);
}

/* ---- what a loop does --------------------------------------------------------------------- */

static void get_some(struct kv_txn *txn, uint64_t round)
{
    for (uint64_t i = 0; i < 20; i++) {
        uint8_t key[8];
        sombra_slice value;
        uint64_t number = (round * 977 + i * 31) % NUMBERS;
        expect_ok(kv_get(txn, kv_number_key(number, key), &value));
        assert_int_equal(value.bytes, value_bytes(number));
    }
}

static void walk_some(struct kv_txn *txn, uint64_t round)
{
    uint8_t key[8];
    struct kv_cursor *cursor;
    uint64_t first = (round * 31) % (NUMBERS - 20);
    bool found;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, kv_number_key(first, key), &found));
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(found);
        assert_true(slice_equal(cursor->entry.key, kv_number_key(first + i, key)));
        assert_int_equal(cursor->entry.value.bytes, value_bytes(first + i));
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    }
    kv_cursor_close(cursor);
}

/* Batches over both kinds of leaves, more at a time than before. */
static void read_some(struct kv_txn *txn, enum kv_motion direction)
{
    struct kv_entry entries[300];
    struct kv_cursor *cursor;
    size_t total = 0;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (size_t capacity = 1;; capacity = size_min(capacity * 2, COUNT_OF(entries))) {
        struct kv_batch batch = { .entries = entries, .capacity = capacity };
        expect_ok(kv_cursor_read(cursor, direction, &batch));
        if (batch.count == 0)
            break;
        total += batch.count;
    }
    kv_cursor_close(cursor);
    assert_int_equal(total, NUMBERS + PLAIN);
}

static void read_round(struct kv *kv, uint64_t round)
{
    struct kv_txn *txn = kv_begin_read(kv);
    get_some(txn, round);
    walk_some(txn, round);
    read_some(txn, round % 2 ? KV_NEXT : KV_PREVIOUS);
    kv_commit_ok(txn);
}

/* ---- nothing is allocated ----------------------------------------------------------------- */

static void test_reads__a_loop_that_has_run_once_allocates_nothing(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    fill(store.kv);
    read_round(store.kv, 0);
    read_round(store.kv, 1);
    uint64_t before = mem_test_allocations();
    for (uint64_t round = 0; round < 20; round++)
        read_round(store.kv, round);
    struct kv_txn *txn = kv_begin_read(store.kv);
    for (uint64_t round = 0; round < 100; round++) {
        get_some(txn, round);
        walk_some(txn, round);
    }
    kv_abort(txn);
    assert_int_equal(mem_test_allocations(), before);
    store_release(&store);
}

static void test_reads__neither_do_the_cursors_of_a_writer(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    fill(store.kv);
    for (uint64_t round = 0; round < 2; round++) {
        uint64_t before = mem_test_allocations();
        struct kv_txn *txn = kv_begin_write(store.kv);
        for (uint64_t i = 0; i < 20; i++)
            walk_some(txn, round + i);
        read_some(txn, KV_NEXT);
        kv_abort(txn);
        assert_true(round == 0 || mem_test_allocations() == before);
    }
    store_release(&store);
}

static void test_reads__a_reused_cursor_forgets_what_it_was(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_words(txn, "a b c d e");
    for (int i = 0; i < 3; i++) {
        kv_expect_words(txn, "b", "d", "b c");
        kv_expect_words(txn, "", "c", "a b");
        kv_expect_words(txn, "c", "", "c d e");
        kv_expect_words(txn, "", "", "a b c d e");
        kv_expect_words(txn, "x", "", "");
    }
    /* Closed where it stood on an entry, the next one stands nowhere. */
    struct kv_cursor *cursor;
    bool found;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    expect_ok(kv_cursor_move(cursor, KV_LAST, slice_of(NULL, 0), &found));
    kv_cursor_close(cursor);
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    assert_false(cursor->is_positioned);
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(slice_equal(cursor->entry.key, slice_str("a")));
    kv_cursor_close(cursor);
    kv_commit_ok(txn);
    store_release(&store);
}

/* ---- what is kept is bounded, and freed ---------------------------------------------------- */

static void test_reads__a_crowd_is_not_kept(void **state)
{
    (void)state;
    enum { CROWD = 300, KEPT_MAX = 64, CURSORS = 9, CURSORS_KEPT_MAX = 4 };
    static struct kv_txn *txns[CROWD];
    struct store store;
    uint64_t live_outside = mem_test_live();
    store_init(&store, NULL);
    fill(store.kv);
    uint64_t live = mem_test_live();
    for (size_t i = 0; i < CROWD; i++)
        txns[i] = kv_begin_read(store.kv);
    assert_int_equal(store_stats(store.kv, false).readers, CROWD);
    for (size_t i = 0; i < CROWD; i++)
        kv_abort(txns[i]);
    assert_int_equal(store_stats(store.kv, false).readers, 0);
    assert_true(mem_test_live() <= live + KEPT_MAX);

    struct kv_cursor *cursors[CURSORS];
    struct kv_txn *txn = kv_begin_read(store.kv);
    live = mem_test_live();
    for (size_t i = 0; i < CURSORS; i++)
        expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursors[i]));
    for (size_t i = 0; i < CURSORS; i++)
        kv_cursor_close(cursors[i]);
    assert_true(mem_test_live() <= live + CURSORS_KEPT_MAX);
    kv_abort(txn);
    store_release(&store);
    assert_int_equal(mem_test_live(), live_outside);
}

static void test_reads__a_begin_without_memory_leaves_no_slot_taken(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_words(txn, "a b c");
    kv_commit_ok(txn);
    struct kv_begin_options options = { 0 };
    mem_test_fail_at(1, false);
    expect_err(SOMBRA_NOMEM, kv_begin(store.kv, &options, &txn));
    mem_test_fail_at(0, false);
    assert_int_equal(store_stats(store.kv, false).readers, 0);
    txn = kv_begin_read(store.kv);
    struct kv_cursor *cursor;
    mem_test_fail_at(1, false);
    expect_err(SOMBRA_NOMEM, kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    mem_test_fail_at(0, false);
    kv_expect_words(txn, "", "", "a b c");
    kv_commit_ok(txn);
    store_release(&store);
}

/* ---- threads ------------------------------------------------------------------------------- */

enum { THREADS = 6, ROUNDS = 150, HANDED = 4 };

struct crowd {
    struct store store;
    _Atomic(struct kv_txn *) handed[HANDED]; /* begun by one thread, ended by another */
    _Atomic unsigned failures;
};

/* Two counters that every commit keeps equal; read by a cursor, so that a cursor or a transaction
 * used by two threads shows. */
static sombra_err pair_check(struct kv_txn *txn)
{
    struct kv_entry entries[8];
    struct kv_batch batch = { .entries = entries, .capacity = COUNT_OF(entries) };
    struct kv_cursor *cursor;
    struct kv_range range = { slice_str("pair.a"), slice_str("pair.c") };
    sombra_slice value;
    sombra_err err = kv_cursor_open(txn, range, &cursor);
    if (err)
        return err;
    err = kv_cursor_read(cursor, KV_NEXT, &batch);
    if (!err && (batch.count != 2 || !slice_equal(entries[0].value, entries[1].value)))
        err = diag_fail(SOMBRA_CORRUPT, "the pair differs");
    kv_cursor_close(cursor);
    if (!err)
        err = kv_get(txn, slice_str("pair.b"), &value);
    return err;
}

static void *reader_main(void *argument)
{
    struct crowd *crowd = argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct kv_begin_options options = { 0 };
        struct kv_txn *txn;
        sombra_err err = kv_begin(crowd->store.kv, &options, &txn);
        if (!err) {
            err = pair_check(txn);
            txn = atomic_exchange(&crowd->handed[round % HANDED], txn);
            if (txn && !err)
                err = pair_check(txn);
            if (txn)
                kv_abort(txn);
        }
        if (err)
            atomic_fetch_add(&crowd->failures, 1);
    }
    return NULL;
}

static void pair_write(struct kv *kv, uint64_t number)
{
    uint8_t bytes[8];
    struct kv_txn *txn = kv_begin_write(kv);
    sombra_slice value = kv_number_key(number, bytes);
    expect_ok(kv_put(txn, slice_str("pair.a"), value));
    expect_ok(kv_put(txn, slice_str("pair.b"), value));
    kv_commit_ok(txn);
}

static void test_reads__threads_hand_them_on(void **state)
{
    (void)state;
    static struct crowd crowd;
    struct btree_options options = { .durability = KV_OFF };
    pthread_t threads[THREADS];
    store_init(&crowd.store, &options);
    pair_write(crowd.store.kv, 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &crowd), 0);
    for (uint64_t i = 1; i <= ROUNDS; i++)
        pair_write(crowd.store.kv, i);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    for (size_t i = 0; i < HANDED; i++)
        if (crowd.handed[i])
            kv_abort(crowd.handed[i]);
    assert_int_equal(store_stats(crowd.store.kv, false).readers, 0);
    store_release(&crowd.store);
}

/* ---- fork ---------------------------------------------------------------------------------- */

static void test_reads__a_child_of_fork_takes_nothing_back(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    pair_write(store.kv, 1);
    struct kv_txn *txn = kv_begin_read(store.kv);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    pid_t child = fork();
    if (child == 0) {
        /* Ends what it inherited, and is refused anew. */
        struct kv_begin_options options = { 0 };
        kv_cursor_close(cursor);
        kv_abort(txn);
        sombra_err err = kv_begin(store.kv, &options, &txn);
        _exit(err == SOMBRA_INVALID ? 0 : 1);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(store_stats(store.kv, false).readers, 1);
    pair_write(store.kv, 2);
    bool found;
    expect_ok(kv_cursor_move(cursor, KV_LAST, slice_of(NULL, 0), &found));
    uint8_t bytes[8];
    assert_true(slice_equal(cursor->entry.value, kv_number_key(1, bytes)));
    kv_cursor_close(cursor);
    kv_commit_ok(txn);
    store_release(&store);
}

static void test_reads__a_child_of_fork_is_refused_everywhere(void **state)
{
    (void)state;
    struct store store;
    store_init(&store, NULL);
    fill(store.kv);
    for (unsigned puts = 0; puts < 4; puts++) { /* writers that hold what they put, or not */
        struct kv_inherited has;
        bool found;
        kv_fork_open(store.kv, &has);
        if (puts)
            kv_put_numbers(has.writer, puts * 1000000, puts * 1000000 + puts * 300, 100, 1);
        if (puts == 3)
            kv_delete_text(has.writer, "a");
        pid_t child = fork();
        if (child == 0)
            _exit(kv_fork_refusals(&has));
        int status = 1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        expect_ok(kv_cursor_move(has.cursor, KV_NEXT, slice_of(NULL, 0), &found));
        kv_cursor_close(has.cursor);
        kv_abort(has.reader);
        kv_commit_ok(has.writer);
        kv_expect_sound(store.kv);
    }
    store_release(&store);
}

int main(void)
{
    (void)mem_test_live(); /* counting begins before the first block */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads__a_loop_that_has_run_once_allocates_nothing),
        cmocka_unit_test(test_reads__neither_do_the_cursors_of_a_writer),
        cmocka_unit_test(test_reads__a_reused_cursor_forgets_what_it_was),
        cmocka_unit_test(test_reads__a_crowd_is_not_kept),
        cmocka_unit_test(test_reads__a_begin_without_memory_leaves_no_slot_taken),
        cmocka_unit_test(test_reads__threads_hand_them_on),
        cmocka_unit_test(test_reads__a_child_of_fork_takes_nothing_back),
        cmocka_unit_test(test_reads__a_child_of_fork_is_refused_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
