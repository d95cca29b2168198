/* SPDX-License-Identifier: MIT */
/* How small a file is after loads: nothing free in it, and full pages. */
#include "btree_fixture.h"

#include <stdlib.h>

enum { BATCH_MAX = 100000 };

static struct btree_options quiet(void)
{
    return (struct btree_options){
        .map_bytes_max = GiB, .no_background = true, .durability = KV_OFF
    };
}

/* Puts `count` numbers from `first` on, `stride` apart, in one call. */
static void put_together(struct kv_txn *txn, uint64_t first, uint64_t stride, size_t count,
                         sombra_slice value)
{
    static struct kv_entry entries[BATCH_MAX];
    static uint8_t keys[BATCH_MAX][8];
    assert_true(count <= BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        entries[i] =
            (struct kv_entry){ .key = kv_number_key(first + stride * i, keys[i]), .value = value };
    expect_ok(kv_put_many(txn, entries, count));
}

/* ---- nothing free ------------------------------------------------------------------------ */

static void test_size__a_load_leaves_nothing_free(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    store_init(&store, &options);
    for (uint64_t batch = 0; batch < 2; batch++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_together(txn, batch * BATCH_MAX, 1, BATCH_MAX, slice_str("a value of some bytes"));
        kv_commit_ok(txn);
    }
    store_reopen(&store);
    struct kv_stats stats = store_stats(store.kv, false);
    print_message("%" PRIu64 " of %" PRIu64 " pages are free\n", stats.pages_free,
                  stats.pages_total);
    assert_true(stats.pages_total > 500);
    /* What the second batch copied of the first one's. */
    assert_true(stats.pages_free + stats.pages_pending <= 4);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size__a_load_leaves_nothing_free),
    };
    return cmocka_run_group_tests_name("btree, size", tests, NULL, NULL);
}
