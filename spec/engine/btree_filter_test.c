/* SPDX-License-Identifier: MIT */
/* The filters of leaves, where memory is short: a key that is not there costs no page, and whatever
 * becomes of the pages, through whatever process, a filter never hides a key that is there. A
 * cursor asks no filter: what a get and a cursor say of a key must be the same.
 */
#include "btree/page/page.h"
#include "btree_fixture.h"
#include "child.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, ENTRIES = 10000, VALUE_BYTES = 60 };

static const struct btree_options short_options = { .create = true,
                                                    .page_bytes = PAGE_BYTES,
                                                    .durability = KV_OFF,
                                                    .no_background = true,
                                                    .no_auto_compact = true,
                                                    .map_bytes_max = GiB,
                                                    .memory_bytes = 16 * MiB };

/* ---- that they answer ---------------------------------------------------------------------- */

static uint64_t counter(struct kv *kv, enum kv_counter which)
{
    return kv_metrics_count(kv->metrics, which);
}

/* Even numbers, all over, in transactions of a thousand. */
static void put_even(struct kv *kv, uint64_t salt)
{
    for (uint64_t i = 0; i < ENTRIES;) {
        struct kv_txn *txn = kv_begin_write(kv);
        do {
            uint8_t key[8], value[VALUE_BYTES];
            memset(value, (int)(i + salt), sizeof value);
            expect_ok(kv_put(txn, kv_number_key(2 * (i * 7919 % ENTRIES), key),
                             slice_of(value, sizeof value)));
        } while (++i % 1000);
        kv_commit_ok(txn);
    }
}

/* Gets all that is there and all that is not; returns how many of the latter read their leaf. */
static uint64_t get_all(struct kv_txn *txn, uint64_t depth)
{
    uint64_t leaves = 0;
    for (uint64_t i = 0; i < 2 * ENTRIES; i++) {
        uint8_t key[8];
        sombra_slice value;
        uint64_t pages = txn->pages;
        expect_err(i % 2 ? SOMBRA_NOT_FOUND : SOMBRA_OK,
                   kv_get(txn, kv_number_key(i, key), &value));
        leaves += i % 2 && txn->pages - pages == depth;
    }
    return leaves;
}

static uint64_t get_all_anew(struct kv *kv)
{
    uint64_t depth = store_stats(kv, true).depth;
    struct kv_txn *txn = kv_begin_read(kv);
    uint64_t leaves = get_all(txn, depth);
    kv_abort(txn);
    return leaves;
}

/* Of enough memory for the filters, and less than the file is large; filled twice, the last of it
 * while memory was short. */
static void store_init_filled(struct store *store)
{
    struct btree_options options = short_options;
    options.memory_bytes = 1 * MiB;
    store_init(store, &options);
    put_even(store->kv, 1);
    put_even(store->kv, 2);
}

enum { FEW = ENTRIES / 20 }; /* of the filters' answers are wrong: about one in a hundred */

static void test_btree__a_missing_key_reads_no_leaf_that_was_written_or_read(void **state)
{
    (void)state;
    struct store store;
    store_init_filled(&store);
    assert_true(get_all_anew(store.kv) < FEW);
    assert_true(counter(store.kv, KV_COUNTER_FILTER_SKIPS) > ENTRIES - FEW);
    assert_true(counter(store.kv, KV_COUNTER_FILTER_FALSE) < FEW);
    assert_true(store_stats(store.kv, false).memory_bytes > 0);
    /* Read: one key of each leaf, then the others. */
    store_reopen(&store);
    struct kv_stats stats = store_stats(store.kv, true);
    (void)get_all_anew(store.kv);
    assert_true(get_all_anew(store.kv) < FEW);
    assert_in_range(store_stats(store.kv, false).memory_bytes, stats.pages_leaf * 64 / 2,
                    1 * MiB / 8);
    store_release(&store);
}

static void test_btree__in_ample_memory_there_are_no_filters(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = short_options;
    options.memory_bytes = GiB;
    store_init(&store, &options);
    put_even(store.kv, 1);
    assert_int_equal(get_all_anew(store.kv), ENTRIES);
    assert_int_equal(counter(store.kv, KV_COUNTER_FILTER_CHECKS), 0);
    assert_int_equal(store_stats(store.kv, false).memory_bytes, 0);
    store_release(&store);
}

static sombra_err count_missing(void *context, size_t index, const sombra_slice *value)
{
    uint64_t *missing = context;
    assert_int_equal(index % 2, value == NULL);
    *missing += !value;
    return SOMBRA_OK;
}

static void test_btree__many_keys_and_deletes_ask_the_filters_too(void **state)
{
    (void)state;
    enum { MANY = 600 };
    struct store store;
    store_init_filled(&store);
    uint8_t bytes[MANY][8];
    sombra_slice keys[MANY];
    for (size_t i = 0; i < MANY; i++)
        keys[i] = kv_number_key(1000 + i, bytes[i]);
    uint64_t skips = counter(store.kv, KV_COUNTER_FILTER_SKIPS), missing = 0;
    struct kv_txn *txn = kv_begin_read(store.kv);
    expect_ok(kv_get_many(txn, keys, MANY, count_missing, &missing));
    kv_abort(txn);
    assert_int_equal(missing, MANY / 2);
    assert_true(counter(store.kv, KV_COUNTER_FILTER_SKIPS) > skips + MANY / 2 * 9 / 10);
    skips = counter(store.kv, KV_COUNTER_FILTER_SKIPS);
    txn = kv_begin_write(store.kv);
    for (size_t i = 1; i < MANY; i += 2)
        expect_err(SOMBRA_NOT_FOUND, kv_delete(txn, keys[i]));
    kv_abort(txn);
    assert_true(counter(store.kv, KV_COUNTER_FILTER_SKIPS) > skips + MANY / 2 * 9 / 10);
    store_release(&store);
}

/* No filter is made of what is not proved. */
static void test_btree__damaged_leaves_are_told_however_often_they_are_asked(void **state)
{
    (void)state;
    struct store store;
    struct buf file = BUF_INIT;
    struct btree_options options = short_options;
    options.memory_bytes = 1;
    store_init(&store, &options);
    put_even(store.kv, 1);
    store_close(&store);
    assert_true(file_load(store.path, &file));
    for (size_t at = PAGE_BYTES; at < file.bytes; at += PAGE_BYTES)
        if (page_level(file.data + at) == 0 && page_number(file.data + at) == at / PAGE_BYTES)
            file.data[at + PAGE_BYTES - 1] ^= 1;
    file_store(store.path, slice_of(file.data, file.bytes));
    buf_release(&file);
    store_open(&store);
    struct kv_txn *txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i < 4 * ENTRIES; i += 7) {
        uint8_t key[8];
        sombra_slice value;
        expect_err(SOMBRA_CORRUPT, kv_get(txn, kv_number_key(i % (2 * ENTRIES), key), &value));
    }
    kv_abort(txn);
    assert_int_equal(counter(store.kv, KV_COUNTER_FILTER_CHECKS), 0);
    store_release(&store);
}

/* ---- that they hide nothing ---------------------------------------------------------------- */

enum { KEYS = 4000, HELD = 3, LOOKS = 40, MANY_KEYS = 20, PROCESSES = 3, READERS = 2 };

/* So small that hundreds of keys share a leaf: more than its filter can tell apart. */
static bool values_are_tiny;

static bool cursor_has(struct kv_txn *txn, sombra_slice key)
{
    struct kv_cursor *cursor;
    bool found;
    must(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    must(kv_cursor_move(cursor, KV_SEEK_GE, key, &found));
    bool has = found && slice_compare(cursor->entry.key, key) == 0;
    kv_cursor_close(cursor);
    return has;
}

struct many {
    bool has[MANY_KEYS];
};

static sombra_err note_many(void *context, size_t index, const sombra_slice *value)
{
    struct many *many = context;
    many->has[index] = value != NULL;
    return SOMBRA_OK;
}

/* Gets first: the cursor's reads make filters. */
static void look(struct kv_txn *txn, struct random *random)
{
    uint8_t bytes[MANY_KEYS][8];
    sombra_slice keys[MANY_KEYS], value;
    struct many many;
    for (size_t i = 0; i < MANY_KEYS; i++)
        keys[i] = kv_number_key(random_below(random, KEYS), bytes[i]);
    if (random_below(random, 2))
        must(kv_get_many(txn, keys, MANY_KEYS, note_many, &many));
    else
        for (size_t i = 0; i < MANY_KEYS; i++) {
            sombra_err err = kv_get(txn, keys[i], &value);
            must(err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err);
            many.has[i] = !err;
        }
    for (size_t i = 0; i < MANY_KEYS; i++)
        must_be(many.has[i] == cursor_has(txn, keys[i]));
}

static void change_one(struct kv_txn *txn, struct random *random, uint64_t number)
{
    static const uint8_t value[3000];
    uint8_t bytes[8];
    sombra_slice key = kv_number_key(number, bytes);
    if (random_below(random, 2)) {
        size_t most = values_are_tiny ? 2 : random_below(random, 50) ? 120 : sizeof value;
        must(kv_put(txn, key, slice_of(value, random_below(random, most))));
        return;
    }
    bool has = random_below(random, 2) && cursor_has(txn, key);
    sombra_err err = kv_delete(txn, key);
    must(err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err);
    must_be(!has || !err);
    must_be(!cursor_has(txn, key));
}

/* Neighbours, so that leaves fill up, empty, and change hands. */
static void change(struct kv_txn *txn, struct random *random)
{
    uint64_t first = random_below(random, KEYS);
    uint64_t count = 1 + random_below(random, random_below(random, 4) ? 10 : 300);
    bool is_spread = random_below(random, 2);
    for (uint64_t i = 0; i < count; i++)
        change_one(txn, random, is_spread ? random_below(random, KEYS) : (first + i) % KEYS);
    if (random_below(random, 8) == 0) {
        uint8_t low[8], high[8];
        struct kv_range range = { .low = kv_number_key(first, low),
                                  .high = kv_number_key(first + 200, high) };
        must(kv_delete_range(txn, range, NULL));
    }
}

static void write_some(struct kv *kv, struct random *random)
{
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 60000 };
    struct kv_txn *txn;
    must(kv_begin(kv, &options, &txn));
    change(txn, random);
    for (uint64_t parts = random_below(random, 3); parts > 0; parts--) {
        uint64_t mark;
        must(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
        change(txn, random);
        look(txn, random);
        if (random_below(random, 2))
            must(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    }
    look(txn, random);
    if (random_below(random, 6) == 0)
        kv_abort(txn);
    else
        must(kv_commit(txn, KV_OFF));
}

static uint64_t steps_wanted(void)
{
    uint64_t share = u64_min(kv_test_number("SOMBRA_SHARE", 100), 30);
    return kv_test_number("SOMBRA_STEPS", test_is_long() ? 20000 : 250 + share * 25);
}

/* Who only reads goes on until `is_over`, which may be NULL. */
static void live(struct kv *kv, uint64_t seed, bool writes, const _Atomic bool *is_over)
{
    uint64_t steps = steps_wanted();
    struct random random;
    struct kv_txn *held[HELD] = { NULL };
    struct kv_begin_options options = { .busy_timeout_ms = 60000 };
    random_seed(&random, seed);
    for (uint64_t step = 0; step < steps || (is_over && !atomic_load(is_over)); step++) {
        uint64_t at = random_below(&random, HELD);
        if (held[at] && random_below(&random, 3) == 0) {
            kv_abort(held[at]);
            held[at] = NULL;
        } else if (!held[at]) {
            must(kv_begin(kv, &options, &held[at]));
        }
        if (writes && random_below(&random, 2))
            write_some(kv, &random);
        for (at = 0; at < HELD; at++)
            if (held[at])
                look(held[at], &random);
        struct kv_maintenance job = { .kind =
                                          random_below(&random, 4) ? KV_CHECKPOINT : KV_COMPACT };
        if (writes && random_below(&random, 40) == 0) {
            sombra_err err = kv_maintain(kv, &job);
            must(err == SOMBRA_BUSY || err == SOMBRA_CANCELLED ? SOMBRA_OK : err);
        }
    }
    for (size_t i = 0; i < HELD; i++)
        if (held[i])
            kv_abort(held[i]);
}

/* Short of memory always; sometimes; never: that one writes through a mapping. Small logs, and
 * transactions that spill. */
static struct btree_options process_options(unsigned number)
{
    static const uint64_t memory[PROCESSES] = { 1, 500 * KiB, GiB };
    struct btree_options options = short_options;
    options.checkpoint_log_bytes = 64 * KiB;
    options.wal_bypass_bytes = 16 * KiB;
    options.txn_memory_max = 40 * KiB;
    options.memory_bytes = memory[number % PROCESSES];
    options.busy_timeout_ms = 60000;
    return options;
}

static void expect_exits(const pid_t *children, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = 0;
        while (waitpid(children[i], &status, 0) < 0)
            assert_int_equal(errno, EINTR);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            print_error("child %zu ended with status %x\n", i, (unsigned)status);
            fail();
        }
    }
}

static void processes_live(uint64_t seed, unsigned first, bool all_write)
{
    struct store store;
    struct btree_options options = process_options(0);
    options.no_background = true;
    store_init(&store, &options);
    store_close(&store);
    pid_t children[PROCESSES];
    _Atomic bool *is_over =
        mmap(NULL, sizeof *is_over, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal((void *)is_over, MAP_FAILED);
    for (unsigned i = 0; i < PROCESSES; i++) {
        fflush(stdout);
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            alarm(test_is_long() ? 3600 : 300);
            struct btree_options own = process_options(first + i);
            struct kv *kv = NULL;
            must(btree_open(os_posix(), store.path, &own, &kv));
            bool writes = all_write || i == 0;
            live(kv, hash_u64(seed + i), writes, writes ? NULL : is_over);
            if (i == 0)
                atomic_store(is_over, true);
            must_be(own.memory_bytes != 1 || values_are_tiny ||
                    counter(kv, KV_COUNTER_FILTER_SKIPS) > 100);
            must(kv_close(kv));
            _exit(0);
        }
    }
    expect_exits(children, PROCESSES);
    assert_int_equal(munmap((void *)is_over, sizeof *is_over), 0);
    store_open(&store);
    store_expect_exact(store.kv);
    store_release(&store);
}

static void test_btree__filters_hide_nothing_that_any_of_several_processes_wrote(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("filters, processes");
    for (unsigned i = 0; i < 2; i++) {
        values_are_tiny = i > 0;
        processes_live(seed + i, 0, true);
    }
    values_are_tiny = false;
}

static void test_btree__filters_of_readers_hide_nothing_that_another_process_wrote(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("filters, readers");
    for (unsigned first = 0; first < PROCESSES; first++)
        processes_live(seed, first, false);
}

static void test_btree__filters_hide_nothing_in_one_process(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("filters, one process");
    for (unsigned i = 0; i < 2 * PROCESSES; i++) {
        struct store store;
        values_are_tiny = i >= PROCESSES;
        struct btree_options options = process_options(i);
        store_init(&store, &options);
        live(store.kv, seed + i, true, NULL);
        assert_true(i || counter(store.kv, KV_COUNTER_FILTER_SKIPS) > 1000);
        store_expect_exact(store.kv);
        store_release(&store);
    }
    values_are_tiny = false;
}

/* ---- beside each other --------------------------------------------------------------------- */

struct reader {
    struct os_thread thread;
    struct kv *kv;
    uint64_t seed;
    const _Atomic bool *is_over;
};

static void *reader_main(void *argument)
{
    struct reader *reader = argument;
    live(reader->kv, reader->seed, false, reader->is_over);
    return NULL;
}

static void test_btree__filters_hide_nothing_from_threads_beside_the_writer(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("filters, threads");
    struct store store;
    struct btree_options options = process_options(0);
    store_init(&store, &options);
    struct reader readers[READERS];
    _Atomic bool is_over = false;
    for (size_t i = 0; i < READERS; i++) {
        readers[i] =
            (struct reader){ .kv = store.kv, .seed = hash_u64(seed + i), .is_over = &is_over };
        expect_ok(os_thread_start(&readers[i].thread, reader_main, &readers[i]));
    }
    live(store.kv, seed, true, NULL);
    atomic_store(&is_over, true);
    for (size_t i = 0; i < READERS; i++)
        os_thread_join(&readers[i].thread);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_btree__a_missing_key_reads_no_leaf_that_was_written_or_read),
        cmocka_unit_test(test_btree__in_ample_memory_there_are_no_filters),
        cmocka_unit_test(test_btree__many_keys_and_deletes_ask_the_filters_too),
        cmocka_unit_test(test_btree__damaged_leaves_are_told_however_often_they_are_asked),
        cmocka_unit_test(test_btree__filters_hide_nothing_in_one_process),
        cmocka_unit_test(test_btree__filters_hide_nothing_that_any_of_several_processes_wrote),
        cmocka_unit_test(test_btree__filters_of_readers_hide_nothing_that_another_process_wrote),
        cmocka_unit_test(test_btree__filters_hide_nothing_from_threads_beside_the_writer),
    };
    return cmocka_run_group_tests_name("btree_filter", tests, NULL, NULL);
}
