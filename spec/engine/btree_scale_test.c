/* SPDX-License-Identifier: MIT */
/* Size: a million keys, values of many mebibytes, keys and values at the limits.
 * SOMBRA_LONG=1 goes deeper.
 */
#include "btree_fixture.h"

#include "btree/page/page.h"

#include <inttypes.h>

static uint64_t keys_wanted(void)
{
    return kv_test_number("SOMBRA_KEYS", test_is_long() ? 5000000 : 1000000);
}

/* ---- a million keys ---------------------------------------------------------------------- */

/* A permutation of [0, count): key number i of the random order. */
static uint64_t shuffled(uint64_t i, uint64_t count)
{
    /* Coprime to every count used here, and far from a regular step. */
    return (uint64_t)(((unsigned __int128)i * UINT64_C(2654435761) + 12345) % count);
}

/* The value of a number in generation `generation`: 8 bytes of it, now and then more. */
static sombra_slice value_of(uint64_t number, uint64_t generation, uint8_t to[64])
{
    uint64_t mix = hash_u64(number * 7 + generation);
    put_le64(to, mix);
    memset(to + 8, (int)(mix & 0xff), 56);
    return slice_of(to, 8 + (size_t)(mix % 57));
}

/* Even numbers were updated once. */
static uint64_t generation_of(uint64_t number)
{
    return number % 2 == 0;
}

static void put_all(struct kv *kv, uint64_t count)
{
    enum { BATCH = 20000 };
    uint8_t key[8], value[64];
    for (uint64_t i = 0; i < count;) {
        struct kv_txn *txn = kv_begin_write(kv);
        for (uint64_t end = u64_min(count, i + BATCH); i < end; i++) {
            uint64_t number = shuffled(i, count);
            expect_ok(kv_put(txn, kv_number_key(number, key), value_of(number, 0, value)));
        }
        kv_commit_ok(txn);
    }
}

static void update_even(struct kv *kv, uint64_t count)
{
    enum { BATCH = 50000 };
    uint8_t key[8], value[64];
    for (uint64_t i = 0; i < count;) {
        struct kv_txn *txn = kv_begin_write(kv);
        for (uint64_t end = u64_min(count, i + BATCH); i < end; i++) {
            uint64_t number = shuffled(i, count);
            if (generation_of(number))
                expect_ok(kv_put(txn, kv_number_key(number, key), value_of(number, 1, value)));
        }
        kv_commit_ok(txn);
    }
}

static void expect_scan(struct kv_txn *txn, enum kv_motion direction, uint64_t count)
{
    struct kv_cursor *cursor;
    uint8_t key[8], value[64];
    uint64_t seen = 0;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (;; seen++) {
        bool found;
        expect_ok(kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found));
        if (!found)
            break;
        uint64_t number = direction == KV_NEXT ? seen : count - 1 - seen;
        if (!slice_equal(cursor->entry.key, kv_number_key(number, key)) ||
            !slice_equal(cursor->entry.value, value_of(number, generation_of(number), value)))
            fail_msg("entry %" PRIu64 " is another", seen);
    }
    assert_int_equal(seen, count);
    kv_cursor_close(cursor);
}

static void expect_gets(struct kv_txn *txn, uint64_t count)
{
    uint8_t key[8], value[64];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = shuffled(i, count);
        sombra_slice got;
        expect_ok(kv_get(txn, kv_number_key(number, key), &got));
        if (!slice_equal(got, value_of(number, generation_of(number), value)))
            fail_msg("number %" PRIu64 " has another value", number);
    }
}

static void expect_counts(struct kv_txn *txn, uint64_t count, struct random *random)
{
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t low_key[8], high_key[8];
        uint64_t low = random_below(random, count + 10), high = random_below(random, count + 10);
        struct kv_range range = { kv_number_key(low, low_key), kv_number_key(high, high_key) };
        uint64_t want = u64_min(high, count) - u64_min(u64_min(low, count), u64_min(high, count));
        uint64_t counted;
        expect_ok(kv_count(txn, range, 0, &counted));
        assert_int_equal(counted, want);
    }
}

static void test_scale__million_keys_in_random_order(void **state)
{
    uint64_t seed = *(uint64_t *)*state, count = keys_wanted();
    struct btree_options options = { .durability = KV_OFF };
    struct random random;
    struct store store;
    random_seed(&random, seed);
    store_init(&store, &options);
    put_all(store.kv, count);
    update_even(store.kv, count);
    struct kv_txn *txn = kv_begin_read(store.kv);
    expect_gets(txn, count);
    expect_scan(txn, KV_NEXT, count);
    expect_scan(txn, KV_PREVIOUS, count);
    expect_counts(txn, count, &random);
    kv_abort(txn);
    store_expect_exact(store.kv);
    store_reopen(&store);
    txn = kv_begin_read(store.kv);
    expect_scan(txn, KV_NEXT, count);
    kv_abort(txn);
    store_expect_exact(store.kv);
    struct kv_stats stats = store_stats(store.kv, true);
    assert_int_equal(stats.entries, count);
    print_message("%" PRIu64 " keys: depth %" PRIu64 ", %" PRIu64 " MiB\n", count, stats.depth,
                  stats.file_bytes / MiB);
    /* Deleted in one go, the file is empty but for its account. */
    txn = kv_begin_write(store.kv);
    uint64_t removed;
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, &removed));
    assert_int_equal(removed, count);
    kv_commit_ok(txn);
    store_reopen(&store);
    stats = store_stats(store.kv, true);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.pages_branch + stats.pages_leaf + stats.pages_leaf_dense, 0);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Too big for the log: it commits as a checkpoint. */
static void test_scale__one_transaction_of_a_million_puts(void **state)
{
    (void)state;
    uint64_t count = keys_wanted();
    struct btree_options options = { .durability = KV_FULL,
                                     .page_bytes = 4096,
                                     .wal_bypass_bytes = MiB };
    struct store store;
    store_init(&store, &options);
    store_use_log(store.kv);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_text(txn, "~before", "it");
    kv_commit_ok(txn);
    uint64_t log_bytes = store_stats(store.kv, false).log_bytes;
    uint8_t key[8], value[64];
    txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < count; i++)
        expect_ok(kv_put(txn, kv_number_key(i, key), value_of(i, generation_of(i), value)));
    kv_commit_ok(txn);
    struct kv_stats stats = store_stats(store.kv, false);
    assert_int_equal(stats.checkpoints, 2);       /* the open's first commit was one */
    assert_int_equal(stats.log_bytes, log_bytes); /* nothing of it went through the log */
    assert_int_equal(stats.durable_lsn, stats.lsn);
    /* As after a kill: what a copy of the files holds. */
    struct store copy;
    store_copy(&store, &copy);
    store_open(&copy);
    assert_int_equal(store_stats(copy.kv, false).entries, count + 1);
    kv_expect_sound(copy.kv);
    store_release(&copy);
    txn = kv_begin_write(store.kv);
    kv_delete_text(txn, "~before");
    kv_commit_ok(txn);
    store_reopen(&store);
    txn = kv_begin_read(store.kv);
    expect_scan(txn, KV_NEXT, count);
    kv_abort(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- large values ------------------------------------------------------------------------ */

static void test_scale__value_of_64_mebibytes_gives_its_pages_back(void **state)
{
    (void)state;
    const size_t bytes = 64 * MiB;
    struct btree_options options = { .durability = KV_OFF };
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_sized(txn, "large", 1, bytes);
    expect_sized(txn, "large", 1, bytes);
    kv_commit_ok(txn);
    store_reopen(&store);
    txn = kv_begin_read(store.kv);
    expect_sized(txn, "large", 1, bytes);
    kv_abort(txn);
    struct kv_stats stats = store_stats(store.kv, true);
    assert_int_equal(stats.pages_overflow, bytes / stats.page_bytes + 1);
    store_expect_exact(store.kv);
    txn = kv_begin_write(store.kv);
    put_sized(txn, "large", 2, bytes + 1);
    kv_commit_ok(txn);
    store_reopen(&store); /* a checkpoint: the first value's pages are free */
    txn = kv_begin_read(store.kv);
    expect_sized(txn, "large", 2, bytes + 1);
    kv_abort(txn);
    uint64_t file_bytes = store_stats(store.kv, false).file_bytes;
    for (uint64_t seed = 3; seed < 6; seed++) {
        txn = kv_begin_write(store.kv);
        put_sized(txn, "large", seed, bytes);
        kv_commit_ok(txn);
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        expect_ok(kv_maintain(store.kv, &job));
    }
    /* Two runs are enough for ever: the newest, and that of the checkpoint before it. */
    assert_true(store_stats(store.kv, false).file_bytes <=
                u64_max(file_bytes, 2 * bytes + bytes / 4 + MiB));
    txn = kv_begin_write(store.kv);
    kv_delete_text(txn, "large");
    kv_commit_ok(txn);
    store_reopen(&store);
    stats = store_stats(store.kv, true);
    assert_int_equal(stats.pages_overflow, 0);
    assert_int_equal(stats.entries, 0);
    assert_true(stats.pages_total - stats.pages_free < 10);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- limits ------------------------------------------------------------------------------ */

/* Alike in all but the last bytes: no prefix of a page is short, no separator can be cut. */
static sombra_slice long_key(unsigned number, unsigned differing, uint8_t to[KV_KEY_BYTES_MAX])
{
    memset(to, 'k', KV_KEY_BYTES_MAX);
    for (unsigned i = 0; i < differing; i++, number /= 256)
        to[KV_KEY_BYTES_MAX - 1 - i] = (uint8_t)(number % 256);
    return slice_of(to, KV_KEY_BYTES_MAX);
}

static void long_keys_run(size_t page_bytes, unsigned count, unsigned differing, size_t value_bytes)
{
    struct btree_options options = { .page_bytes = page_bytes,
                                     .map_bytes_max = GiB,
                                     .durability = KV_OFF };
    struct store store;
    uint8_t key[KV_KEY_BYTES_MAX];
    struct buf value = BUF_INIT;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < count; i++) {
        unsigned number = i * 97 % count; /* 97 is coprime to the counts below */
        kv_pattern(&value, number, value_bytes);
        expect_ok(kv_put(txn, long_key(number, differing, key), buf_slice(&value)));
    }
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_reopen(&store);
    txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < count; i++) {
        kv_pattern(&value, i, value_bytes);
        kv_expect_value(txn, long_key(i, differing, key), buf_slice(&value));
    }
    uint64_t counted;
    uint8_t high[KV_KEY_BYTES_MAX];
    struct kv_range range = { long_key(count / 3, differing, key),
                              long_key(count / 3 * 2, differing, high) };
    expect_ok(kv_count(txn, range, 0, &counted));
    assert_int_equal(counted, count / 3);
    /* Away again, every other one first. */
    for (unsigned step = 0; step < 2; step++)
        for (unsigned i = step; i < count; i += 2)
            expect_ok(kv_delete(txn, long_key(i, differing, key)));
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &counted));
    assert_int_equal(counted, 0);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    buf_release(&value);
    store_release(&store);
}

static void test_scale__long_keys_alike_but_for_the_last_byte(void **state)
{
    (void)state;
    long_keys_run(4096, 255, 1, 0);
    long_keys_run(4096, 255, 1, 100);
    long_keys_run(4096, 255, 1, leaf_inline_max(4096));
    long_keys_run(4096, 255, 1, leaf_inline_max(4096) + 1);
    long_keys_run(4096, 6000, 2, 10);
    long_keys_run(65536, 6000, 2, 10);
}

static void test_scale__keys_of_one_byte_are_all_256(void **state)
{
    (void)state;
    struct btree_options options = { .page_bytes = 4096,
                                     .map_bytes_max = GiB,
                                     .durability = KV_OFF };
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < 256; i++) {
        uint8_t key = (uint8_t)(i * 37), longest[KV_KEY_BYTES_MAX];
        expect_ok(kv_put(txn, slice_of(&key, 1), slice_of(&key, 1)));
        memset(longest, key, sizeof longest);
        expect_ok(kv_put(txn, slice_of(longest, sizeof longest), slice_of(&key, 1)));
    }
    kv_commit_ok(txn);
    txn = kv_begin_read(store.kv);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (unsigned i = 0; i < 512; i++) {
        bool found;
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found);
        assert_int_equal(cursor->entry.key.bytes, i % 2 ? KV_KEY_BYTES_MAX : 1);
        assert_int_equal(*(const uint8_t *)cursor->entry.key.data, i / 2);
        assert_int_equal(*(const uint8_t *)cursor->entry.value.data, i / 2);
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Every size around every border between inline and overflow, one page and two. */
static void test_scale__values_around_the_borders_of_pages(void **state)
{
    (void)state;
    for (size_t page_bytes = 4096; page_bytes <= 65536; page_bytes *= 4) {
        struct btree_options options = { .page_bytes = page_bytes,
                                         .map_bytes_max = GiB,
                                         .durability = KV_OFF };
        struct store store;
        store_init(&store, &options);
        const size_t borders[] = { leaf_inline_max(page_bytes), page_bytes - 32, page_bytes,
                                   2 * page_bytes - 32, 5 * page_bytes - 32 };
        for (unsigned round = 0; round < 3; round++) {
            struct kv_txn *txn = kv_begin_write(store.kv);
            for (size_t b = 0; b < COUNT_OF(borders); b++) {
                for (size_t i = 0; i < 7; i++) {
                    char key[32];
                    snprintf(key, sizeof key, "%zu:%zu", b, i);
                    /* Each key crosses its border from round to round. */
                    put_sized(txn, key, round, borders[b] - 3 + (i + round * 3) % 7);
                }
            }
            kv_commit_ok(txn);
            store_reopen(&store);
            txn = kv_begin_read(store.kv);
            for (size_t b = 0; b < COUNT_OF(borders); b++) {
                for (size_t i = 0; i < 7; i++) {
                    char key[32];
                    snprintf(key, sizeof key, "%zu:%zu", b, i);
                    expect_sized(txn, key, round, borders[b] - 3 + (i + round * 3) % 7);
                }
            }
            kv_abort(txn);
            store_expect_exact(store.kv);
        }
        struct kv_txn *txn = kv_begin_write(store.kv);
        expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        kv_commit_ok(txn);
        store_expect_exact(store.kv);
        assert_int_equal(store_stats(store.kv, true).pages_overflow, 0);
        store_release(&store);
    }
}

int main(void)
{
    uint64_t seed = kv_test_seed("btree, size");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_scale__million_keys_in_random_order, &seed),
        cmocka_unit_test(test_scale__one_transaction_of_a_million_puts),
        cmocka_unit_test(test_scale__value_of_64_mebibytes_gives_its_pages_back),
        cmocka_unit_test(test_scale__long_keys_alike_but_for_the_last_byte),
        cmocka_unit_test(test_scale__keys_of_one_byte_are_all_256),
        cmocka_unit_test(test_scale__values_around_the_borders_of_pages),
    };
    return cmocka_run_group_tests_name("btree, size", tests, NULL, NULL);
}
