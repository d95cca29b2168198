/* SPDX-License-Identifier: MIT */
/* Reader slots: the lock file grows for them, in whoever needs them, on a full disk as well.
 */
#include "btree_fixture.h"

#include "btree/btree_internal.h"

enum { SNAPSHOTS = 1000 };

static const struct btree_options options = {
    .create = true, .page_bytes = 4096, .no_background = true, .map_bytes_max = TEST_MAP_BYTES
};

static struct kv *process_open(struct os_sim *sim)
{
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    return kv;
}

static uint64_t lock_file_bytes(struct os_sim *sim)
{
    struct os_file *file;
    uint64_t bytes = 0;
    expect_ok(os_open(os_sim_start(sim), "store-lock", OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    return bytes;
}

/* Snapshots until one is refused, SNAPSHOTS at most. */
static sombra_err pin_many(struct kv *kv, struct kv_txn **txns, size_t *count)
{
    sombra_err err = SOMBRA_OK;
    for (*count = 0; *count < SNAPSHOTS && !err; *count += !err)
        err = kv_begin(kv, &(struct kv_begin_options){ 0 }, &txns[*count]);
    return err;
}

static void unpin_many(struct kv_txn **txns, size_t count)
{
    while (count > 0)
        kv_abort(txns[--count]);
}

/* One process has many snapshots; another, which had mapped the file before that, writes around
 * them, and then needs slots behind them. */
static void slots_run(const struct os_sim_options *system)
{
    static struct kv_txn *txns[SNAPSHOTS], *others[SNAPSHOTS];
    size_t count = 0, other_count = 0;
    struct os_sim *sim = os_sim_new(system);
    struct kv *kv = process_open(sim), *other = process_open(sim);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 500, 90, 1);
    kv_commit_ok(txn);
    expect_ok(pin_many(kv, txns, &count));
    uint64_t entries, digest = kv_digest(txns[count - 1], (struct kv_range){ 0 }, &entries);
    for (uint64_t i = 2; i < 20; i++) {
        txn = kv_begin_write(other);
        kv_put_numbers(txn, 0, 500, 90, i);
        kv_commit_ok(txn);
    }
    expect_ok(pin_many(other, others, &other_count));
    txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 500, 90, 50);
    kv_commit_ok(txn);
    assert_true(kv_digest(txns[count - 1], (struct kv_range){ 0 }, &entries) == digest);
    kv_expect_sound(other);
    unpin_many(txns, count);
    unpin_many(others, other_count);
    expect_ok(kv_close(kv));
    expect_ok(kv_close(other));
    os_sim_free(sim);
}

static void test_slots__lock_file_grows_under_its_processes(void **state)
{
    (void)state;
    slots_run(NULL);
    slots_run(&(struct os_sim_options){ .lacks_allocate = true });
    slots_run(&(struct os_sim_options){ .lacks_mapped_stores = true });
}

/* Few readers need little of a disk; where space is no promise, everything is written at once. */
static void test_slots__lock_file_is_small(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim);
    assert_true(lock_file_bytes(sim) < sizeof(struct head) / 4 || os_page_bytes() > 4096);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
    sim = os_sim_new(&(struct os_sim_options){ .lacks_mapped_stores = true });
    kv = process_open(sim);
    assert_int_equal(lock_file_bytes(sim), sizeof(struct head));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* No store to a page without space (SIGBUS): the transaction is refused, the others go on, and so
 * does this one as soon as there is room. */
static void full_run(const struct os_sim_options *system)
{
    static struct kv_txn *txns[SNAPSHOTS];
    size_t count = 0, again = 0;
    struct os_sim *sim = os_sim_new(system);
    struct kv *kv = process_open(sim);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 40, 90, 1);
    kv_commit_ok(txn);
    os_sim_fail_at(sim, 1, OS_SIM_ENOSPC, true);
    assert_int_equal(pin_many(kv, txns, &count), SOMBRA_LIMIT);
    assert_non_null(strstr(sombra_err_message(), "disk is full"));
    assert_non_null(strstr(sombra_err_message(), "store-lock"));
    assert_true(count >= HEAD_BLOCK_SLOTS && count < SNAPSHOTS);
    kv_abort(txns[--count]);
    expect_ok(kv_begin(kv, &(struct kv_begin_options){ 0 }, &txns[count]));
    count++;
    os_sim_fail(sim, NULL);
    struct kv *other = process_open(sim);
    uint64_t entries;
    txn = kv_begin_read(other);
    assert_true(kv_digest(txn, (struct kv_range){ 0 }, &entries) && entries == 40);
    kv_abort(txn);
    unpin_many(txns, count);
    expect_ok(pin_many(kv, txns, &again));
    unpin_many(txns, again);
    expect_ok(kv_close(other));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

static void test_slots__full_disk_refuses_readers_in_words(void **state)
{
    (void)state;
    full_run(NULL);
    full_run(&(struct os_sim_options){ .lacks_allocate = true });
}

/* What a killed process left is made anew, whatever its size. */
static void test_slots__next_process_begins_with_a_small_file(void **state)
{
    (void)state;
    static struct kv_txn *txns[SNAPSHOTS];
    size_t count = 0;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct kv *kv;
    expect_ok(btree_open(os, "store", &options, &kv));
    expect_ok(pin_many(kv, txns, &count));
    uint64_t grown = lock_file_bytes(sim);
    os_sim_kill(os);
    unpin_many(txns, count);
    sombra_err ignored = kv_close(kv);
    (void)ignored; /* it is dead */
    struct kv *after = process_open(sim);
    assert_true(lock_file_bytes(sim) < grown);
    struct kv_txn *txn = kv_begin_write(after);
    kv_put_numbers(txn, 0, 40, 90, 1);
    kv_commit_ok(txn);
    kv_expect_sound(after);
    expect_ok(kv_close(after));
    os_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots__lock_file_grows_under_its_processes),
        cmocka_unit_test(test_slots__lock_file_is_small),
        cmocka_unit_test(test_slots__full_disk_refuses_readers_in_words),
        cmocka_unit_test(test_slots__next_process_begins_with_a_small_file),
    };
    return cmocka_run_group_tests_name("btree, reader slots", tests, NULL, NULL);
}
