/* SPDX-License-Identifier: MIT */
/* Facts about transactions, savepoints, threads and maintenance. */
#include "kv_contract.h"
#include "kv_check.h"

#include <pthread.h>
#include <stdatomic.h>

static struct kv *store_of(void **state)
{
    return ((struct kv_contract *)*state)->kv;
}

/* ---- isolation --------------------------------------------------------------------------- */

static void test_kv__writer_reads_its_own_writes(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b");
    kv_expect_text(txn, "a", "a");
    kv_put_text(txn, "a", "new");
    kv_expect_text(txn, "a", "new");
    kv_delete_text(txn, "b");
    kv_expect_missing(txn, "b");
    kv_expect_words(txn, NULL, NULL, "a");
    kv_commit_ok(txn);
}

static void test_kv__abort_leaves_nothing(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_words(txn, "a b c");
    kv_commit_ok(txn);
    txn = kv_begin_write(kv);
    kv_put_words(txn, "d e");
    kv_put_text(txn, "a", "changed");
    kv_delete_text(txn, "b");
    expect_ok(kv_delete_range(txn, kv_text_range("c", NULL), NULL));
    kv_put_numbers(txn, 0, 2000, 100, 0);
    kv_put_numbers(txn, 0, 3, 100000, 0);
    kv_abort(txn);
    txn = kv_begin_read(kv);
    kv_expect_words(txn, NULL, NULL, "a b c");
    kv_expect_text(txn, "a", "a");
    kv_abort(txn);
    kv_expect_sound(kv);
}

static void test_kv__snapshot_does_not_see_later_commits(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_txn *writer = kv_begin_write(kv);
    kv_put_words(writer, "a b c");
    struct kv_txn *before = kv_begin_read(kv);
    kv_expect_words(before, NULL, NULL, "");
    kv_commit_ok(writer);
    kv_expect_words(before, NULL, NULL, "");
    struct kv_txn *middle = kv_begin_read(kv);
    writer = kv_begin_write(kv);
    kv_put_words(writer, "d");
    kv_delete_text(writer, "a");
    kv_put_text(writer, "b", "changed");
    kv_expect_words(middle, NULL, NULL, "a b c");
    kv_commit_ok(writer);
    kv_expect_words(middle, NULL, NULL, "a b c");
    kv_expect_text(middle, "b", "b");
    struct kv_txn *after = kv_begin_read(kv);
    kv_expect_words(after, NULL, NULL, "b c d");
    kv_expect_text(after, "b", "changed");
    kv_expect_words(before, NULL, NULL, "");
    kv_abort(before);
    expect_ok(kv_commit(middle, KV_DURABILITY_STORE));
    kv_abort(after);
}

/* A snapshot of each of many commits, ended in another order than begun. */
static void test_kv__many_snapshots_keep_their_own_state(void **state)
{
    enum { COUNT = 64 };
    struct kv *kv = store_of(state);
    struct kv_txn *readers[COUNT];
    uint64_t digests[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        struct kv_txn *writer = kv_begin_write(kv);
        kv_put_numbers(writer, i * 5 % 100, i * 5 % 100 + 40, 90, i * 1000);
        if (i % 8 == 7)
            expect_ok(kv_delete_range(writer, kv_text_range(NULL, NULL), NULL));
        if (i % 5 == 4)
            kv_put_numbers(writer, 500, 501, 20000, i);
        kv_commit_ok(writer);
        readers[i] = kv_begin_read(kv);
        digests[i] = kv_digest(readers[i], kv_text_range(NULL, NULL), NULL);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t which = i * 37 % COUNT;
        assert_true(kv_digest(readers[which], kv_text_range(NULL, NULL), NULL) == digests[which]);
        kv_abort(readers[which]);
        if (i % 16 == 0) {
            struct kv_txn *writer = kv_begin_write(kv);
            kv_put_numbers(writer, 0, 100, 95, i);
            kv_commit_ok(writer);
        }
    }
    kv_expect_sound(kv);
}

static void test_kv__read_transaction_refuses_writes(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_words(txn, "a b");
    kv_commit_ok(txn);
    txn = kv_begin_read(kv);
    uint64_t removed = 7;
    expect_err(SOMBRA_READONLY, kv_put(txn, slice_str("c"), slice_str("c")));
    expect_err(SOMBRA_READONLY, kv_delete(txn, slice_str("a")));
    expect_err(SOMBRA_READONLY, kv_delete_range(txn, kv_text_range(NULL, NULL), &removed));
    assert_int_equal(removed, 7);
    kv_expect_words(txn, NULL, NULL, "a b");
    kv_commit_ok(txn);
}

static void test_kv__commit_of_nothing_is_allowed(void **state)
{
    struct kv *kv = store_of(state);
    kv_commit_ok(kv_begin_write(kv));
    kv_abort(kv_begin_write(kv));
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_words(txn, "a");
    kv_delete_text(txn, "a");
    kv_commit_ok(txn);
    txn = kv_begin_read(kv);
    kv_expect_words(txn, NULL, NULL, "");
    kv_abort(txn);
    kv_expect_sound(kv);
}

static void test_kv__every_durability_commits(void **state)
{
    struct kv_contract *contract = *state;
    for (int durability = KV_DURABILITY_STORE; durability <= KV_OFF; durability++) {
        struct kv_txn *txn = kv_begin_write(contract->kv);
        const char key[] = { (char)('a' + durability), 0 };
        kv_put_words(txn, key);
        expect_ok(kv_commit(txn, (enum kv_durability)durability));
        struct kv_begin_options options = { .needs_durable = durability % 2 };
        expect_ok(kv_begin(contract->kv, &options, &txn));
        kv_expect_text(txn, key, key);
        kv_abort(txn);
    }
    kv_contract_reopen(contract);
    struct kv_txn *txn = kv_begin_read(contract->kv);
    kv_expect_words(txn, NULL, NULL, "a b c d e");
    kv_abort(txn);
}

static void test_kv__content_outlives_close(void **state)
{
    struct kv_contract *contract = *state;
    uint64_t digest = 0, entries = 0;
    for (uint64_t round = 0; round < 6; round++) {
        struct kv_txn *txn = kv_begin_write(contract->kv);
        kv_put_numbers(txn, round * 300, round * 300 + 500, 70 * round, round);
        kv_put_numbers(txn, round, round + 1, 100000, round);
        if (round == 4)
            expect_ok(kv_delete_range(txn, kv_text_range(NULL, NULL), NULL));
        digest = kv_digest(txn, kv_text_range(NULL, NULL), &entries);
        kv_commit_ok(txn);
        if (round % 2) {
            struct kv_maintenance job = { .kind = KV_CHECKPOINT };
            expect_ok(kv_maintain(contract->kv, &job));
        }
        if (!kv_contract_reopen(contract))
            skip();
        txn = kv_begin_read(contract->kv);
        uint64_t counted;
        expect_ok(kv_count(txn, kv_text_range(NULL, NULL), 0, &counted));
        assert_int_equal(counted, entries);
        assert_true(kv_digest(txn, kv_text_range(NULL, NULL), NULL) == digest);
        kv_abort(txn);
        kv_expect_sound(contract->kv);
    }
}

static void test_kv__one_transaction_may_be_large(void **state)
{
    enum { COUNT = 30000 };
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint8_t key[8];
        expect_ok(kv_put(txn, kv_number_key(i * 7919 % COUNT, key), slice_of(&i, sizeof i)));
    }
    kv_commit_ok(txn);
    txn = kv_begin_read(kv);
    uint64_t count;
    expect_ok(kv_count(txn, kv_text_range(NULL, NULL), 0, &count));
    assert_int_equal(count, COUNT);
    for (uint64_t i = 0; i < COUNT; i += 97) {
        uint8_t key[8];
        kv_expect_value(txn, kv_number_key(i * 7919 % COUNT, key), slice_of(&i, sizeof i));
    }
    kv_abort(txn);
    kv_expect_sound(kv);
}

/* ---- savepoints -------------------------------------------------------------------------- */

static uint64_t savepoint_set(struct kv_txn *txn)
{
    uint64_t mark = 0;
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    return mark;
}

static void test_kv__rollback_undoes_what_came_after_the_mark(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b");
    uint64_t mark = savepoint_set(txn);
    kv_put_words(txn, "c");
    kv_put_text(txn, "a", "changed");
    kv_delete_text(txn, "b");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_expect_words(txn, NULL, NULL, "a b");
    kv_expect_text(txn, "a", "a");
    kv_put_words(txn, "d");
    expect_ok(kv_delete_range(txn, kv_text_range(NULL, "d"), NULL));
    kv_expect_words(txn, NULL, NULL, "d");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_expect_words(txn, NULL, NULL, "a b");
    kv_put_words(txn, "e");
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    kv_expect_words(txn, NULL, NULL, "a b e");
    kv_abort(txn);
}

static void test_kv__savepoints_nest(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    uint64_t marks[4];
    static const char *const words[] = { "a", "b", "c", "d" };
    for (size_t i = 0; i < COUNT_OF(marks); i++) {
        marks[i] = savepoint_set(txn);
        kv_put_words(txn, words[i]);
    }
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[3]));
    kv_expect_words(txn, NULL, NULL, "a b c");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[1]));
    kv_expect_words(txn, NULL, NULL, "a");
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[2]));
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &marks[3]));
    kv_put_words(txn, "e");
    uint64_t inner = savepoint_set(txn);
    kv_put_words(txn, "f");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &inner));
    kv_expect_words(txn, NULL, NULL, "a e");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[0]));
    kv_expect_words(txn, NULL, NULL, "");
    kv_commit_ok(txn);
}

static void test_kv__released_work_joins_the_outer_savepoint(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a");
    uint64_t outer = savepoint_set(txn);
    kv_put_words(txn, "b");
    uint64_t inner = savepoint_set(txn);
    kv_put_words(txn, "c");
    uint64_t innermost = savepoint_set(txn);
    kv_put_words(txn, "d");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &inner));
    kv_expect_words(txn, NULL, NULL, "a b c d");
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &inner));
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &innermost));
    kv_expect_words(txn, NULL, NULL, "a b c d");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &outer));
    kv_expect_words(txn, NULL, NULL, "a");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &outer));
    kv_put_words(txn, "z");
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    kv_expect_words(txn, NULL, NULL, "a z");
    kv_abort(txn);
}

static void test_kv__unknown_mark_is_invalid(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    uint64_t mark = UINT64_MAX - 5;
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &mark));
    kv_put_words(txn, "a");
    kv_commit_ok(txn);
}

static void test_kv__rollback_of_much_work_leaves_the_store_sound(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 3000, 80, 0);
    kv_commit_ok(txn);
    txn = kv_begin_write(kv);
    kv_put_numbers(txn, 2500, 3500, 120, 1);
    uint64_t digest = kv_digest(txn, kv_text_range(NULL, NULL), NULL);
    uint64_t mark = savepoint_set(txn);
    for (uint64_t round = 0; round < 4; round++) {
        kv_put_numbers(txn, 1000 * round, 1000 * round + 2000, 200, round + 2);
        kv_put_numbers(txn, 100, 104, 90000, round);
        uint64_t inner = savepoint_set(txn);
        expect_ok(kv_delete_range(txn, kv_text_range(NULL, NULL), NULL));
        if (round % 2)
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &inner));
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        assert_true(kv_digest(txn, kv_text_range(NULL, NULL), NULL) == digest);
    }
    kv_commit_ok(txn);
    txn = kv_begin_read(kv);
    assert_true(kv_digest(txn, kv_text_range(NULL, NULL), NULL) == digest);
    kv_abort(txn);
    kv_expect_sound(kv);
}

static void expect_step(struct kv_cursor *cursor, enum kv_motion motion, const char *want)
{
    bool found;
    expect_ok(kv_cursor_move(cursor, motion, slice_of(NULL, 0), &found));
    assert_int_equal(found, want != NULL);
    if (want)
        assert_true(slice_equal(cursor->entry.key, slice_str(want)));
}

static void test_kv__cursors_survive_a_rollback(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a c e");
    uint64_t mark = savepoint_set(txn);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    kv_put_words(txn, "b d");
    kv_delete_text(txn, "c");
    expect_step(cursor, KV_NEXT, "a");
    expect_step(cursor, KV_NEXT, "b");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    expect_step(cursor, KV_NEXT, "c"); /* the successor of b, which is gone */
    kv_put_words(txn, "cc");
    expect_step(cursor, KV_NEXT, "cc");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    expect_step(cursor, KV_PREVIOUS, "c");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

/* ---- one writer at a time ---------------------------------------------------------------- */

static void test_kv__second_writer_on_a_thread_is_busy_at_once(void **state)
{
    struct kv_txn *writer = kv_begin_write(store_of(state)), *second = NULL;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = UINT64_MAX };
    expect_err(SOMBRA_BUSY, kv_begin(store_of(state), &options, &second));
    assert_null(second);
    kv_put_words(writer, "a");
    kv_commit_ok(writer);
    writer = kv_begin_write(store_of(state));
    kv_expect_words(writer, NULL, NULL, "a");
    kv_abort(writer);
}

struct other_thread {
    struct kv *kv;
    uint64_t timeout_ms;
    sombra_err err; /* of begin, or of what came after */
    _Atomic bool has_begun;
};

/* Waits for its turn, puts "other" and commits. */
static void *write_elsewhere(void *argument)
{
    struct other_thread *other = argument;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = other->timeout_ms };
    struct kv_txn *txn = NULL;
    atomic_store(&other->has_begun, true);
    other->err = kv_begin(other->kv, &options, &txn);
    if (other->err)
        return NULL;
    other->err = kv_put(txn, slice_str("other"), slice_str("other"));
    if (other->err)
        kv_abort(txn);
    else
        other->err = kv_commit(txn, KV_DURABILITY_STORE);
    return NULL;
}

static void test_kv__second_writer_is_busy_when_its_time_is_up(void **state)
{
    struct kv_txn *writer = kv_begin_write(store_of(state));
    for (uint64_t timeout_ms = 0; timeout_ms <= 30; timeout_ms += 30) {
        struct other_thread other = { .kv = store_of(state), .timeout_ms = timeout_ms };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_elsewhere, &other), 0);
        pthread_join(thread, NULL);
        assert_int_equal(other.err, SOMBRA_BUSY);
    }
    kv_put_words(writer, "mine");
    kv_commit_ok(writer);
    struct kv_txn *txn = kv_begin_read(store_of(state));
    kv_expect_words(txn, NULL, NULL, "mine");
    kv_abort(txn);
}

static void test_kv__waiting_writer_follows_the_first(void **state)
{
    for (unsigned round = 0; round < 4; round++) {
        struct kv_txn *writer = kv_begin_write(store_of(state));
        struct other_thread other = { .kv = store_of(state), .timeout_ms = UINT64_MAX };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_elsewhere, &other), 0);
        while (!atomic_load(&other.has_begun))
            sched_yield();
        kv_put_words(writer, "mine");
        if (round % 2)
            kv_commit_ok(writer);
        else
            kv_abort(writer);
        pthread_join(thread, NULL);
        assert_int_equal(other.err, SOMBRA_OK);
        struct kv_txn *txn = kv_begin_write(store_of(state));
        kv_expect_words(txn, NULL, NULL, round % 2 ? "mine other" : "other");
        expect_ok(kv_delete_range(txn, kv_text_range(NULL, NULL), NULL));
        kv_commit_ok(txn);
    }
}

/* ---- threads ----------------------------------------------------------------------------- */

enum { ACCOUNTS = 40, TRANSFERS = 150, AUDITORS = 3 };

struct bank {
    struct kv *kv;
    _Atomic bool is_over;
    _Atomic uint64_t audits, wrong, errors;
};

static sombra_err account_add(struct kv_txn *txn, uint64_t account, int64_t amount)
{
    uint8_t key[8], balance[8];
    sombra_slice value;
    sombra_err err = kv_get(txn, kv_number_key(account, key), &value);
    if (err)
        return err;
    put_le64(balance, get_le64(value.data) + (uint64_t)amount);
    return kv_put(txn, kv_number_key(account, key), slice_of(balance, 8));
}

static void *bank_transfers(void *argument)
{
    struct bank *bank = argument;
    struct random random;
    random_seed(&random, (uint64_t)(uintptr_t)&random);
    for (unsigned i = 0; i < TRANSFERS; i++) {
        struct kv_txn *txn;
        struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = UINT64_MAX };
        sombra_err err = kv_begin(bank->kv, &options, &txn);
        if (!err) {
            int64_t amount = (int64_t)random_below(&random, 100);
            err = account_add(txn, random_below(&random, ACCOUNTS), amount);
            if (!err)
                err = account_add(txn, random_below(&random, ACCOUNTS), -amount);
            if (err || i % 10 == 9)
                kv_abort(txn);
            else
                err = kv_commit(txn, KV_OFF);
        }
        if (err)
            atomic_fetch_add(&bank->errors, 1);
    }
    return NULL;
}

static sombra_err bank_sum(struct kv_txn *txn, uint64_t *out_sum, uint64_t *out_accounts)
{
    struct kv_entry entries[16];
    struct kv_batch batch = { .entries = entries, .capacity = COUNT_OF(entries) };
    struct kv_cursor *cursor;
    sombra_err err = kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor);
    if (err)
        return err;
    *out_sum = *out_accounts = 0;
    do {
        err = kv_cursor_read(cursor, KV_NEXT, &batch);
        for (size_t i = 0; !err && i < batch.count; i++) {
            *out_sum += get_le64(entries[i].value.data);
            ++*out_accounts;
        }
    } while (!err && batch.count);
    kv_cursor_close(cursor);
    return err;
}

static void *bank_audits(void *argument)
{
    struct bank *bank = argument;
    do {
        struct kv_txn *txn;
        struct kv_begin_options options = { .is_write = false };
        sombra_err err = kv_begin(bank->kv, &options, &txn);
        if (!err) {
            uint64_t sum, accounts;
            err = bank_sum(txn, &sum, &accounts);
            if (!err && (sum != ACCOUNTS * UINT64_C(1000) || accounts != ACCOUNTS))
                atomic_fetch_add(&bank->wrong, 1);
            kv_abort(txn);
        }
        if (err)
            atomic_fetch_add(&bank->errors, 1);
        atomic_fetch_add(&bank->audits, 1);
    } while (!atomic_load(&bank->is_over));
    return NULL;
}

/* Money is neither made nor lost in any snapshot, whatever threads move it. */
static void test_kv__snapshots_of_many_threads_are_consistent(void **state)
{
    struct bank bank = { .kv = store_of(state) };
    struct kv_txn *txn = kv_begin_write(bank.kv);
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        uint8_t key[8], balance[8];
        put_le64(balance, 1000);
        expect_ok(kv_put(txn, kv_number_key(i, key), slice_of(balance, 8)));
    }
    kv_commit_ok(txn);
    pthread_t writers[2], readers[AUDITORS];
    for (size_t i = 0; i < AUDITORS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, bank_audits, &bank), 0);
    for (size_t i = 0; i < COUNT_OF(writers); i++)
        assert_int_equal(pthread_create(&writers[i], NULL, bank_transfers, &bank), 0);
    for (size_t i = 0; i < COUNT_OF(writers); i++)
        pthread_join(writers[i], NULL);
    atomic_store(&bank.is_over, true);
    for (size_t i = 0; i < AUDITORS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&bank.errors), 0);
    assert_int_equal(atomic_load(&bank.wrong), 0);
    assert_true(atomic_load(&bank.audits) >= AUDITORS);
    kv_expect_sound(bank.kv);
}

/* ---- maintenance ------------------------------------------------------------------------- */

static struct kv_stats stats_of(struct kv *kv, bool walk)
{
    struct kv_maintenance job = { .kind = KV_STATS, .walk = walk };
    expect_ok(kv_maintain(kv, &job));
    return job.stats;
}

static void test_kv__stats_count_entries_commits_and_readers(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_stats before = stats_of(kv, false);
    assert_int_equal(before.entries, 0);
    assert_int_equal(before.readers, 0);
    assert_int_equal(before.oldest_reader_txn, 0);
    struct kv_txn *writer = kv_begin_write(kv);
    kv_put_numbers(writer, 0, 1234, 20, 0);
    assert_int_equal(stats_of(kv, true).entries, 0);
    kv_commit_ok(writer);
    struct kv_stats after = stats_of(kv, true);
    assert_int_equal(after.entries, 1234);
    assert_true(after.txn > before.txn);
    assert_int_equal(after.commits, before.commits + 1);
    assert_true(after.durable_lsn <= after.lsn);
    struct kv_txn *first = kv_begin_read(kv);
    writer = kv_begin_write(kv);
    kv_put_words(writer, "more");
    kv_commit_ok(writer);
    struct kv_txn *second = kv_begin_read(kv);
    struct kv_stats now = stats_of(kv, false);
    assert_int_equal(now.readers, 2);
    assert_int_equal(now.oldest_reader_txn, after.txn);
    assert_true(now.txn > after.txn);
    kv_abort(first);
    assert_int_equal(stats_of(kv, false).oldest_reader_txn, now.txn);
    kv_abort(second);
    assert_int_equal(stats_of(kv, false).readers, 0);
}

static void test_kv__close_with_open_transactions_is_busy(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_txn *writer = kv_begin_write(kv);
    kv_put_words(writer, "a");
    expect_err(SOMBRA_BUSY, kv_close(kv));
    kv_put_words(writer, "b");
    kv_commit_ok(writer);
    struct kv_txn *reader = kv_begin_read(kv);
    expect_err(SOMBRA_BUSY, kv_close(kv));
    kv_expect_words(reader, NULL, NULL, "a b");
    kv_abort(reader);
    writer = kv_begin_write(kv);
    kv_put_words(writer, "c");
    kv_commit_ok(writer);
}

/* A store's own threads, at work after the last commits, are no open transactions. */
static void test_kv__close_right_after_commits_is_not_busy(void **state)
{
    struct kv_contract *contract = *state;
    for (uint64_t round = 0; round < 40; round++) {
        for (uint64_t i = 0; i < 3; i++) {
            struct kv_txn *txn = kv_begin_write(contract->kv);
            kv_put_numbers(txn, i, i + 1, 100 * KiB + round, round);
            expect_ok(kv_commit(txn, KV_OFF));
        }
        if (!kv_contract_reopen(contract))
            skip();
    }
    struct kv_txn *txn = kv_begin_read(contract->kv);
    uint64_t entries;
    expect_ok(kv_count(txn, kv_text_range(NULL, NULL), 0, &entries));
    assert_int_equal(entries, 3);
    kv_abort(txn);
}

static bool progress_cancels(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(unsigned *)context;
    return false;
}

static void test_kv__cancelled_verify_says_so(void **state)
{
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 5000, 100, 0);
    kv_commit_ok(txn);
    unsigned calls = 0;
    struct kv_maintenance job = { .kind = KV_VERIFY,
                                  .progress = progress_cancels,
                                  .context = &calls };
    expect_err(SOMBRA_CANCELLED, kv_maintain(kv, &job));
    assert_int_equal(calls, 1);
    kv_expect_sound(kv);
}

/* Each job leaves content and open snapshots as they were; an engine may not have it. */
static void test_kv__maintenance_changes_no_content(void **state)
{
    static const enum kv_maintenance_kind kinds[] = { KV_STATS, KV_CHECKPOINT, KV_COMPACT,
                                                      KV_VERIFY };
    struct kv *kv = store_of(state);
    struct kv_txn *writer = kv_begin_write(kv);
    kv_put_numbers(writer, 0, 3000, 150, 0);
    kv_commit_ok(writer);
    struct kv_txn *reader = kv_begin_read(kv);
    uint64_t before = kv_digest(reader, kv_text_range(NULL, NULL), NULL);
    writer = kv_begin_write(kv);
    uint8_t low[8], high[8];
    struct kv_range range = { kv_number_key(500, low), kv_number_key(2500, high) };
    expect_ok(kv_delete_range(writer, range, NULL));
    uint64_t after = kv_digest(writer, kv_text_range(NULL, NULL), NULL);
    kv_commit_ok(writer);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct kv_maintenance job = { .kind = kinds[i], .walk = true };
        sombra_err err = kv_maintain(kv, &job);
        assert_true(err == SOMBRA_OK || (err == SOMBRA_UNSUPPORTED && kinds[i] == KV_COMPACT));
        assert_int_equal(job.problems, 0);
        assert_true(kv_digest(reader, kv_text_range(NULL, NULL), NULL) == before);
        struct kv_txn *txn = kv_begin_read(kv);
        assert_true(kv_digest(txn, kv_text_range(NULL, NULL), NULL) == after);
        kv_abort(txn);
    }
    kv_abort(reader);
}

const struct kv_fact kv_contract_txns[] = {
    KV_FACT(test_kv__writer_reads_its_own_writes),
    KV_FACT(test_kv__abort_leaves_nothing),
    KV_FACT(test_kv__snapshot_does_not_see_later_commits),
    KV_FACT(test_kv__many_snapshots_keep_their_own_state),
    KV_FACT(test_kv__read_transaction_refuses_writes),
    KV_FACT(test_kv__commit_of_nothing_is_allowed),
    KV_FACT(test_kv__every_durability_commits),
    KV_FACT(test_kv__content_outlives_close),
    KV_FACT(test_kv__one_transaction_may_be_large),
    KV_FACT(test_kv__rollback_undoes_what_came_after_the_mark),
    KV_FACT(test_kv__savepoints_nest),
    KV_FACT(test_kv__released_work_joins_the_outer_savepoint),
    KV_FACT(test_kv__unknown_mark_is_invalid),
    KV_FACT(test_kv__rollback_of_much_work_leaves_the_store_sound),
    KV_FACT(test_kv__cursors_survive_a_rollback),
    KV_FACT(test_kv__second_writer_on_a_thread_is_busy_at_once),
    KV_FACT(test_kv__second_writer_is_busy_when_its_time_is_up),
    KV_FACT(test_kv__waiting_writer_follows_the_first),
    KV_FACT(test_kv__snapshots_of_many_threads_are_consistent),
    KV_FACT(test_kv__stats_count_entries_commits_and_readers),
    KV_FACT(test_kv__close_with_open_transactions_is_busy),
    KV_FACT(test_kv__close_right_after_commits_is_not_busy),
    KV_FACT(test_kv__cancelled_verify_says_so),
    KV_FACT(test_kv__maintenance_changes_no_content),
    { .name = NULL },
};
