/* SPDX-License-Identifier: MIT */
/* Changes in place of pages that another process wrote, in a part of the file that this one has not
 * written to yet.
 */
#include "btree_fixture.h"

#include "btree/btree_internal.h"

#include <limits.h>

enum { FILLER = 2000, FAR_BYTES = 72 << 20 };

static struct btree *store_of(struct kv *kv)
{
    return container_of(kv, struct btree, kv);
}

static struct kv *process_open(struct os_sim *sim)
{
    struct btree_options options = { .create = true,
                                     .page_bytes = 4096,
                                     .no_background = true,
                                     .busy_timeout_ms = 5000,
                                     .map_bytes_max = TEST_MAP_BYTES };
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    return kv;
}

static page_id root_of(struct kv *kv)
{
    struct snapshot newest;
    head_newest(store_of(kv)->head, &newest);
    return newest.root;
}

/* A tree behind the first window that no checkpoint has. */
static void fill_far(struct kv *other)
{
    struct kv_txn *txn = kv_begin_write(other);
    put_sized(txn, "far", 1, FAR_BYTES); /* commits as a checkpoint */
    expect_ok(kv_commit(txn, KV_OFF));
    txn = kv_begin_write(other);
    kv_put_numbers(txn, 1, 1 + FILLER, 56, 1);
    expect_ok(kv_commit(txn, KV_OFF));
    assert_true(root_of(other) * 4096 >= PAGER_WINDOW_BYTES);
}

/* The next look finds that the others have gone. */
static void look_next(struct kv *kv)
{
    store_of(kv)->edits.looks = UINT_MAX;
}

static void test_far__pages_that_another_process_wrote(void **state)
{
    (void)state;
    for (int deletes = 0; deletes < 2; deletes++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct kv *kv = process_open(sim), *other = process_open(sim);
        fill_far(other);
        expect_ok(kv_close(other));
        look_next(kv);
        store_of(kv)->edits.joins = UINT64_MAX;
        uint8_t key[8];
        struct kv_txn *txn = kv_begin_write(kv);
        if (deletes)
            expect_ok(kv_delete(txn, kv_number_key(FILLER / 2, key)));
        else
            expect_ok(kv_put(txn, kv_number_key(FILLER / 2, key), slice_str("new")));
        expect_ok(kv_commit(txn, KV_OFF));
        kv_expect_sound(kv);
        expect_ok(kv_close(kv));
        os_sim_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_far__pages_that_another_process_wrote),
    };
    return cmocka_run_group_tests_name("btree, changes in place of far pages", tests, NULL, NULL);
}
