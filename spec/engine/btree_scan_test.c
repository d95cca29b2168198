/* SPDX-License-Identifier: MIT */
/* Into how many batches a scan falls: who reads on from leaf to leaf gets a leaf of short entries
 * in parts, between which the next leaf is fetched; nobody else is made to call more often. That
 * batches hold the right entries is tested for all engines (kv_contract_cursors.c).
 */
#include "btree_fixture.h"

enum { CAPACITY = 512 };

static const struct btree_options options = { .create = true,
                                              .page_bytes = 8192,
                                              .durability = KV_OFF,
                                              .no_background = true,
                                              .map_bytes_max = TEST_MAP_BYTES };

/* Numbers 0, 1, 2 ... Returns how many leaves they are in. */
static uint64_t store_fill(struct store *store, uint64_t count, size_t value_bytes)
{
    store_init(store, &options);
    struct kv_txn *txn = kv_begin_write(store->kv);
    kv_put_numbers(txn, 0, count, value_bytes, 0);
    kv_commit_ok(txn);
    struct kv_stats stats = store_stats(store->kv, true);
    return stats.pages_leaf + stats.pages_leaf_dense;
}

/* Reads from `low` on; `most`: so many entries. Returns the number of batches. */
static uint64_t read_batches(struct kv_txn *txn, struct kv_range range, enum kv_motion direction,
                             size_t capacity, uint64_t most)
{
    struct kv_entry entries[CAPACITY];
    struct kv_batch batch = { .entries = entries };
    struct kv_cursor *cursor;
    uint64_t batches = 0, left = most;
    expect_ok(kv_cursor_open(txn, range, &cursor));
    while (left > 0) {
        batch.capacity = (size_t)u64_min(capacity, left);
        expect_ok(kv_cursor_read(cursor, direction, &batch));
        assert_true(batch.count > 0);
        left -= batch.count;
        batches++;
    }
    kv_cursor_close(cursor);
    return batches;
}

static void test_scan__leaves_of_short_entries_come_in_parts(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct store store;
    uint64_t leaves = store_fill(&store, COUNT, 60);
    struct kv_txn *txn = kv_begin_read(store.kv);
    const struct kv_range all = { .low = slice_of(NULL, 0) };
    uint64_t forward = read_batches(txn, all, KV_NEXT, CAPACITY, COUNT);
    uint64_t backward = read_batches(txn, all, KV_PREVIOUS, CAPACITY, COUNT);
    assert_true(leaves > 100);
    assert_true(forward > 2 * leaves && forward < 8 * leaves);
    assert_true(backward > 2 * leaves && backward < 8 * leaves);
    kv_abort(txn);
    store_release(&store);
}

static void test_scan__leaves_of_long_entries_come_whole(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct store store;
    uint64_t leaves = store_fill(&store, COUNT, 600);
    struct kv_txn *txn = kv_begin_read(store.kv);
    const struct kv_range all = { .low = slice_of(NULL, 0) };
    assert_int_equal(read_batches(txn, all, KV_NEXT, CAPACITY, COUNT), leaves);
    assert_int_equal(read_batches(txn, all, KV_PREVIOUS, CAPACITY, COUNT), leaves);
    kv_abort(txn);
    store_release(&store);
}

/* From each key on, and a range that ends in the same leaf: one batch, or two where it lies in two
 * leaves. */
static void test_scan__a_few_entries_come_at_once(void **state)
{
    (void)state;
    enum { COUNT = 3000, FEW = 8 };
    struct store store;
    uint64_t leaves = store_fill(&store, COUNT, 60), divided = 0;
    struct kv_txn *txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i + FEW <= COUNT; i++) {
        uint8_t low[8], high[8];
        struct kv_range range = { .low = kv_number_key(i, low) };
        uint64_t open = read_batches(txn, range, KV_NEXT, FEW, FEW);
        range.high = kv_number_key(i + FEW, high);
        assert_int_equal(read_batches(txn, range, KV_NEXT, CAPACITY, FEW), open);
        assert_true(open <= 2);
        divided += open - 1;
    }
    assert_true(divided <= (FEW - 1) * leaves);
    kv_abort(txn);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan__leaves_of_short_entries_come_in_parts),
        cmocka_unit_test(test_scan__leaves_of_long_entries_come_whole),
        cmocka_unit_test(test_scan__a_few_entries_come_at_once),
    };
    return cmocka_run_group_tests_name("btree, scan", tests, NULL, NULL);
}
