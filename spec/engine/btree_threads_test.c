/* SPDX-License-Identifier: MIT */
/* Readers beside a writer and its checkpoints: every snapshot is one commit, whole. Run it under
 * ThreadSanitizer too.
 *
 * The content is ACCOUNTS numbers whose sum every commit leaves as it was, in records of changing
 * sizes, and a counter of commits. A snapshot of parts of two commits has another sum.
 */
#include "btree_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { ACCOUNTS = 1500, BALANCE = 1000, READERS_MAX = 128 };

struct bank {
    struct store store;
    uint64_t seed;
    uint64_t commits; /* to make */
    unsigned readers;
    _Atomic uint64_t made; /* commits so far */
    _Atomic bool is_over;
    _Atomic uint64_t snapshots; /* checked */
    _Atomic uint64_t failures;  /* a thread may not end the test */
    char failure[DIAG_TEXT_BYTES + 100];
};

static void note_failure(struct bank *bank, const char *what)
{
    if (atomic_fetch_add(&bank->failures, 1) == 0)
        snprintf(bank->failure, sizeof bank->failure, "%s: %s", what, sombra_err_message());
}

/* ---- records ----------------------------------------------------------------------------- */

/* 8 bytes of balance and a tail of up to two pages that follows from it. */
static size_t record_make(uint64_t account, uint64_t balance, uint8_t *to)
{
    size_t tail = (size_t)(hash_u64(account * 31 + balance) % 64);
    if (account % 50 == 0)
        tail = 1500 + (size_t)(balance % 5000);
    put_le64(to, balance);
    memset(to + 8, (int)(balance & 0xff), tail);
    return 8 + tail;
}

static bool record_read(uint64_t account, sombra_slice value, uint64_t *out_balance)
{
    static _Thread_local uint8_t want[8 + 8000];
    if (value.bytes < 8)
        return false;
    *out_balance = get_le64(value.data);
    size_t bytes = record_make(account, *out_balance, want);
    return slice_equal(value, slice_of(want, bytes));
}

static sombra_err balance_set(struct kv_txn *txn, uint64_t account, uint64_t balance)
{
    static _Thread_local uint8_t record[8 + 8000];
    uint8_t key[8];
    size_t bytes = record_make(account, balance, record);
    return kv_put(txn, kv_number_key(account, key), slice_of(record, bytes));
}

static sombra_err balance_get(struct kv_txn *txn, uint64_t account, uint64_t *out_balance)
{
    uint8_t key[8];
    sombra_slice value;
    sombra_err err = kv_get(txn, kv_number_key(account, key), &value);
    if (!err && !record_read(account, value, out_balance))
        err = diag_fail(SOMBRA_CORRUPT, "account %" PRIu64 ": the record contradicts itself",
                        account);
    return err;
}

/* ---- the writer -------------------------------------------------------------------------- */

static sombra_err transfer(struct kv_txn *txn, struct random *random)
{
    uint64_t from = random_below(random, ACCOUNTS), to = random_below(random, ACCOUNTS);
    uint64_t balances[2];
    if (from == to)
        return SOMBRA_OK;
    sombra_err err = balance_get(txn, from, &balances[0]);
    if (!err)
        err = balance_get(txn, to, &balances[1]);
    uint64_t amount = err ? 0 : random_below(random, balances[0] + 1);
    if (!err)
        err = balance_set(txn, from, balances[0] - amount);
    if (!err)
        err = balance_set(txn, to, balances[1] + amount);
    return err;
}

/* Removes a stretch of accounts and makes them anew, all with the mean of their sum but one. */
static sombra_err rebuild(struct kv_txn *txn, struct random *random)
{
    uint8_t low[8], high[8];
    uint64_t first = random_below(random, ACCOUNTS - 300), count = 1 + random_below(random, 300);
    uint64_t sum = 0, removed = 0;
    sombra_err err = SOMBRA_OK;
    for (uint64_t i = 0; i < count && !err; i++) {
        uint64_t balance = 0;
        err = balance_get(txn, first + i, &balance);
        sum += balance;
    }
    struct kv_range range = { kv_number_key(first, low), kv_number_key(first + count, high) };
    if (!err)
        err = kv_delete_range(txn, range, &removed);
    if (!err && removed != count)
        err = diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " removed, not %" PRIu64, removed, count);
    for (uint64_t i = 0; i < count && !err; i++)
        err = balance_set(txn, first + i, i ? sum / count : sum - sum / count * (count - 1));
    return err;
}

static sombra_err commit_one(struct bank *bank, struct random *random, uint64_t number)
{
    struct kv_txn *txn;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 60000 };
    sombra_err err = kv_begin(bank->store.kv, &options, &txn);
    if (err)
        return err;
    uint64_t mark, kind = random_below(random, 16);
    err = kind == 0 ? rebuild(txn, random) : transfer(txn, random);
    if (!err && kind == 1) { /* work that is undone again */
        err = kv_savepoint(txn, KV_SAVEPOINT_SET, &mark);
        if (!err)
            err = rebuild(txn, random);
        if (!err)
            err = kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark);
    }
    uint8_t counter[8];
    put_le64(counter, number);
    if (!err)
        err = kv_put(txn, slice_str("~commits"), slice_of(counter, 8));
    if (err || kind == 2) {
        kv_abort(txn);
        return err;
    }
    return kv_commit(txn, KV_DURABILITY_STORE);
}

static void *writer_main(void *argument)
{
    struct bank *bank = argument;
    struct random random;
    random_seed(&random, bank->seed);
    for (uint64_t n = 1; n <= bank->commits && !atomic_load(&bank->failures); n++) {
        if (commit_one(bank, &random, n))
            note_failure(bank, "writer");
        atomic_store(&bank->made, n);
    }
    atomic_store(&bank->is_over, true);
    return NULL;
}

/* ---- readers ----------------------------------------------------------------------------- */

static sombra_err sum_by_moves(struct kv_txn *txn, enum kv_motion direction, uint64_t *out_sum,
                               uint64_t *out_count)
{
    uint8_t high[8];
    struct kv_range range = { slice_of(NULL, 0), kv_number_key(ACCOUNTS, high) };
    struct kv_cursor *cursor;
    sombra_err err = kv_cursor_open(txn, range, &cursor);
    if (err)
        return err;
    *out_sum = *out_count = 0;
    for (;;) {
        bool found = false;
        uint64_t balance;
        err = kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        if (!record_read(get_be64(cursor->entry.key.data), cursor->entry.value, &balance)) {
            err = diag_fail(SOMBRA_CORRUPT, "a record contradicts itself");
            break;
        }
        *out_sum += balance;
        ++*out_count;
    }
    kv_cursor_close(cursor);
    return err;
}

static sombra_err sum_by_batches(struct kv_txn *txn, uint64_t *out_sum, uint64_t *out_count)
{
    uint8_t high[8];
    struct kv_range range = { slice_of(NULL, 0), kv_number_key(ACCOUNTS, high) };
    struct kv_entry entries[100];
    struct kv_batch batch = { .entries = entries, .capacity = COUNT_OF(entries) };
    struct kv_cursor *cursor;
    sombra_err err = kv_cursor_open(txn, range, &cursor);
    if (err)
        return err;
    *out_sum = *out_count = 0;
    while (!(err = kv_cursor_read(cursor, KV_NEXT, &batch)) && batch.count) {
        for (size_t i = 0; i < batch.count; i++)
            *out_sum += get_le64(entries[i].value.data);
        *out_count += batch.count;
    }
    kv_cursor_close(cursor);
    return err;
}

static sombra_err snapshot_check(struct kv_txn *txn, struct random *random)
{
    uint64_t sum = 0, count = 0, counted = 0, kind = random_below(random, 4);
    uint8_t high[8];
    sombra_err err = SOMBRA_OK;
    struct kv_range range = { slice_of(NULL, 0), kv_number_key(ACCOUNTS, high) };
    if (kind == 3) { /* point reads, in no order */
        uint64_t start = random_below(random, ACCOUNTS);
        for (count = 0; count < ACCOUNTS && !err; count++) {
            uint64_t balance = 0;
            err = balance_get(txn, (start + count * 7) % ACCOUNTS, &balance);
            sum += balance;
        }
    } else if (kind == 2) {
        err = sum_by_batches(txn, &sum, &count);
    } else {
        err = sum_by_moves(txn, kind ? KV_NEXT : KV_PREVIOUS, &sum, &count);
    }
    if (!err)
        err = kv_count(txn, range, 0, &counted);
    if (!err && (sum != (uint64_t)ACCOUNTS * BALANCE || count != ACCOUNTS || counted != ACCOUNTS))
        err = diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " in %" PRIu64 " accounts, counted as %" PRIu64,
                        sum, count, counted);
    return err;
}

/* The counter never runs ahead of or behind what the thread knows, nor does it change. */
static sombra_err counter_check(struct bank *bank, struct kv_txn *txn, uint64_t low)
{
    sombra_slice value;
    sombra_err err = kv_get(txn, slice_str("~commits"), &value);
    if (err)
        return err;
    uint64_t seen = get_le64(value.data), high = atomic_load(&bank->made) + 1;
    /* Aborted commits leave gaps of their own number. */
    if (seen > high || seen + 64 < low)
        return diag_fail(SOMBRA_CORRUPT, "commit %" PRIu64 " seen, expected %" PRIu64 "-%" PRIu64,
                         seen, low, high);
    return SOMBRA_OK;
}

static void *reader_main(void *argument)
{
    static _Atomic uint64_t readers;
    struct bank *bank = argument;
    struct random random;
    random_seed(&random, bank->seed + 1000 + atomic_fetch_add(&readers, 1));
    do {
        struct kv_txn *txn;
        uint64_t low = atomic_load(&bank->made);
        struct kv_begin_options options = { .needs_durable = random_below(&random, 8) == 0 };
        sombra_err err = kv_begin(bank->store.kv, &options, &txn);
        if (err) {
            note_failure(bank, "begin");
            return NULL;
        }
        err = counter_check(bank, txn, low);
        /* Some snapshots are held over many commits. */
        uint64_t times = random_below(&random, 6) == 0 ? 5 : 1;
        for (uint64_t i = 0; i < times && !err; i++)
            err = snapshot_check(txn, &random);
        struct kv_maintenance job = { .kind = KV_STATS };
        if (!err && random_below(&random, 4) == 0)
            err = kv_maintain(bank->store.kv, &job);
        if (err)
            note_failure(bank, "reader");
        kv_abort(txn);
        atomic_fetch_add(&bank->snapshots, 1);
    } while (!atomic_load(&bank->is_over) && !atomic_load(&bank->failures));
    return NULL;
}

/* ---- runs -------------------------------------------------------------------------------- */

static void bank_fill(struct bank *bank)
{
    uint8_t counter[8] = { 0 };
    struct kv_txn *txn = kv_begin_write(bank->store.kv);
    for (uint64_t i = 0; i < ACCOUNTS; i++)
        expect_ok(balance_set(txn, i, BALANCE));
    expect_ok(kv_put(txn, slice_str("~commits"), slice_of(counter, 8)));
    kv_commit_ok(txn);
}

static void bank_run(struct bank *bank)
{
    pthread_t writer, readers[READERS_MAX];
    bank_fill(bank);
    assert_int_equal(pthread_create(&writer, NULL, writer_main, bank), 0);
    for (unsigned i = 0; i < bank->readers; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader_main, bank), 0);
    pthread_join(writer, NULL);
    for (unsigned i = 0; i < bank->readers; i++)
        pthread_join(readers[i], NULL);
    if (atomic_load(&bank->failures))
        fail_msg("%s", bank->failure);
    struct kv_stats stats = store_stats(bank->store.kv, false);
    print_message("%u readers: %" PRIu64 " snapshots beside %" PRIu64 " commits, %" PRIu64
                  " checkpoints\n",
                  bank->readers, atomic_load(&bank->snapshots), stats.commits, stats.checkpoints);
    assert_int_equal(stats.readers, 0);
}

static uint64_t commits_wanted(void)
{
    return kv_test_number("SOMBRA_COMMITS", test_is_long() ? 50000 : 1500);
}

static void bank_check_end(struct bank *bank)
{
    store_expect_exact(bank->store.kv);
    uint64_t before, after;
    expect_ok(content_digest(bank->store.kv, &before));
    store_reopen(&bank->store);
    expect_ok(content_digest(bank->store.kv, &after));
    assert_true(before == after);
    store_expect_exact(bank->store.kv);
    store_release(&bank->store);
}

static void run_with(void **state, unsigned readers, uint64_t commits, struct btree_options options)
{
    struct bank bank = { .seed = *(uint64_t *)*state + readers,
                         .readers = readers,
                         .commits = commits };
    options.map_bytes_max = GiB;
    store_init(&bank.store, &options);
    bank_run(&bank);
    assert_true(store_stats(bank.store.kv, false).checkpoints > 1); /* many readers let few begin */
    bank_check_end(&bank);
}

static void test_threads__snapshots_beside_a_mapped_writer_are_whole(void **state)
{
    run_with(state, 4, commits_wanted(),
             (struct btree_options){
                 .page_bytes = 4096, .durability = KV_OFF, .checkpoint_log_bytes = 200000 });
}

static void test_threads__snapshots_beside_a_writer_by_calls_are_whole(void **state)
{
    run_with(state, 6, commits_wanted(),
             (struct btree_options){ .page_bytes = 8192,
                                     .durability = KV_NORMAL,
                                     .sync_interval_ms = 2,
                                     .no_mapped_stores = true,
                                     .checkpoint_log_bytes = 150000 });
}

static void test_threads__many_readers_beside_commits_past_the_log(void **state)
{
    run_with(state, 16, commits_wanted(),
             (struct btree_options){ .page_bytes = 4096,
                                     .durability = KV_OFF,
                                     .checkpoint_log_bytes = 100000,
                                     .wal_bypass_bytes = 8000 });
}

/* More readers than slots in two blocks, and than cores: most are off the processor while they hold
 * a snapshot. */
static void test_threads__128_readers_beside_a_writer(void **state)
{
    run_with(state, READERS_MAX, commits_wanted() / 10,
             (struct btree_options){
                 .page_bytes = 4096, .durability = KV_OFF, .checkpoint_log_bytes = 10000 });
}

/* ---- several writers --------------------------------------------------------------------- */

static void *increments_main(void *argument)
{
    struct bank *bank = argument;
    for (uint64_t i = 0; i < bank->commits && !atomic_load(&bank->failures); i++) {
        struct kv_txn *txn;
        struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = UINT64_MAX };
        sombra_err err = kv_begin(bank->store.kv, &options, &txn);
        if (err) {
            note_failure(bank, "begin");
            break;
        }
        sombra_slice value;
        uint8_t number[8] = { 0 };
        err = kv_get(txn, slice_str("number"), &value);
        if (!err)
            put_le64(number, get_le64(value.data) + 1);
        else if (err == SOMBRA_NOT_FOUND)
            put_le64(number, 1);
        err = kv_put(txn, slice_str("number"), slice_of(number, 8));
        if (!err)
            err = kv_commit(txn, i % 4 ? KV_OFF : KV_FULL);
        else
            kv_abort(txn);
        if (err)
            note_failure(bank, "increment");
    }
    return NULL;
}

static void test_threads__writers_of_all_durabilities_take_turns(void **state)
{
    (void)state;
    enum { WRITERS = 5 };
    struct bank bank = { .commits = commits_wanted() / 5 };
    struct btree_options options = { .page_bytes = 4096,
                                     .map_bytes_max = GiB,
                                     .checkpoint_log_bytes = 20000 };
    store_init(&bank.store, &options);
    pthread_t threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, increments_main, &bank), 0);
    /* Jobs and durable reads of the main thread, from before the first write on. */
    for (unsigned i = 0; i < 20; i++) {
        (void)store_stats(bank.store.kv, false);
        struct kv_txn *reader;
        struct kv_begin_options durable = { .needs_durable = true };
        expect_ok(kv_begin(bank.store.kv, &durable, &reader));
        kv_abort(reader);
        struct kv_maintenance job = { .kind = i % 2 ? KV_VERIFY : KV_CHECKPOINT };
        expect_ok(kv_maintain(bank.store.kv, &job));
        assert_int_equal(job.problems, 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    if (atomic_load(&bank.failures))
        fail_msg("%s", bank.failure);
    uint8_t number[8];
    put_le64(number, WRITERS * bank.commits);
    struct kv_txn *txn = kv_begin_read(bank.store.kv);
    kv_expect_value(txn, slice_str("number"), slice_of(number, 8));
    kv_abort(txn);
    bank_check_end(&bank);
}

int main(void)
{
    uint64_t seed = kv_test_seed("btree, threads");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_threads__snapshots_beside_a_mapped_writer_are_whole, &seed),
        cmocka_unit_test_prestate(test_threads__snapshots_beside_a_writer_by_calls_are_whole,
                                  &seed),
        cmocka_unit_test_prestate(test_threads__many_readers_beside_commits_past_the_log, &seed),
        cmocka_unit_test_prestate(test_threads__128_readers_beside_a_writer, &seed),
        cmocka_unit_test(test_threads__writers_of_all_durabilities_take_turns),
    };
    return cmocka_run_group_tests_name("btree, threads", tests, NULL, NULL);
}
