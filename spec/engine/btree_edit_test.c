/* SPDX-License-Identifier: MIT */
/* Commits of one put that change pages where they are: when they may, who waits for them, what a
 * process leaves that dies in the middle of one. Run it under ThreadSanitizer too.
 */
#include "btree_fixture.h"

#include "btree/upkeep.h"

#include <inttypes.h>
#include <pthread.h>

enum {
    FILLER = 2000,
    FILLER_BYTES = 56, /* of values: leaves of shorter ones may be dense, which are copied */
    KEYS = 64,
    WRITE_FROM = 500,
};

static struct btree_options small_options(void)
{
    return (struct btree_options){ .create = true,
                                   .page_bytes = 4096,
                                   .no_background = true,
                                   .busy_timeout_ms = 5000,
                                   .map_bytes_max = TEST_MAP_BYTES };
}

static struct btree *store_of(struct kv *kv)
{
    return container_of(kv, struct btree, kv);
}

static struct kv *process_open(struct os_sim *sim, struct os **out_os)
{
    struct btree_options options = small_options();
    struct kv *kv;
    struct os *os = os_sim_start(sim);
    expect_ok(btree_open(os, "store", &options, &kv));
    if (out_os)
        *out_os = os;
    return kv;
}

/* A tree of two levels, and one put by which its path is copied. */
static void fill(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, WRITE_FROM, WRITE_FROM + FILLER, FILLER_BYTES, 1);
    expect_ok(kv_commit(txn, KV_OFF));
    kv_put_one(kv, "key", "zero", KV_OFF);
}

static page_id root_of(struct kv *kv)
{
    struct snapshot newest;
    head_newest(store_of(kv)->head, &newest);
    return newest.root;
}

/* Whether one more put leaves the root where it is. */
static bool put_is_edit(struct kv *kv, const char *key, const char *value)
{
    page_id root = root_of(kv);
    kv_put_one(kv, key, value, KV_OFF);
    kv_expect_one(kv, key, value);
    return root_of(kv) == root;
}

static sombra_err checkpoint(struct kv *kv)
{
    return checkpoint_run(store_of(kv), NULL);
}

/* `expect` finds `wanted` in the store as it is, and as its log has it; ends both, and the machine.
 */
static void expect_at_end(struct os_sim *sim, struct kv *kv,
                          void (*expect)(struct kv_txn *txn, const void *wanted),
                          const void *wanted)
{
    store_expect_exact(kv);
    struct os_sim *killed = os_sim_clone(sim);
    struct kv *stores[] = { kv, process_open(killed, NULL) };
    for (size_t s = 0; s < COUNT_OF(stores); s++) {
        struct kv_txn *txn = kv_begin_read(stores[s]);
        expect(txn, wanted);
        kv_abort(txn);
        kv_expect_sound(stores[s]);
        expect_ok(kv_close(stores[s]));
    }
    os_sim_free(killed);
    os_sim_free(sim);
}

/* ---- when -------------------------------------------------------------------------------- */

static void test_edit__who_is_alone_changes_pages_where_they_are(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    fill(kv);
    assert_true(put_is_edit(kv, "key", "one")); /* of another length */
    assert_true(put_is_edit(kv, "key", "two"));
    assert_true(put_is_edit(kv, "kez", "new"));
    kv_expect_sound(kv);
    /* One that was written by another way has a checksum. */
    struct pager *pager = &store_of(kv)->pager;
    page_seal(pager_writable(pager, root_of(kv)), pager->page_bytes);
    assert_false(put_is_edit(kv, "key", "six"));
    assert_true(put_is_edit(kv, "key", "ten"));
    /* The checkpoint has those pages. */
    expect_ok(checkpoint(kv));
    assert_false(put_is_edit(kv, "key", "three"));
    assert_true(put_is_edit(kv, "key", "four"));
    /* What is noted of leaves (decision 0018) would hide a new key. */
    filters_make(pager, FILLER, store_of(kv)->space.page_count);
    assert_non_null(atomic_load(&pager->filters));
    assert_false(put_is_edit(kv, "kex", "noted"));
    kv_expect_sound(kv);
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    kv = process_open(sim, NULL);
    kv_expect_one(kv, "key", "four");
    kv_expect_one(kv, "kez", "new");
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

static void test_edit__readers_keep_what_they_see(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    fill(kv);
    assert_true(put_is_edit(kv, "key", "old"));
    struct kv_txn *reader = kv_begin_read(kv);
    kv_put_one(kv, "key", "mid", KV_OFF); /* copied, for the reader has those pages */
    struct kv_txn *later = kv_begin_read(kv);
    assert_false(put_is_edit(kv, "key", "new"));
    kv_expect_text(reader, "key", "old");
    kv_expect_text(later, "key", "mid");
    kv_abort(later);
    page_id root = root_of(kv);
    kv_put_one(kv, "key", "end", KV_OFF); /* of pages that the older reader does not have */
    assert_int_equal(root_of(kv), root);
    kv_expect_text(reader, "key", "old");
    kv_abort(reader);
    kv_expect_one(kv, "key", "end");
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

static void test_edit__a_put_that_is_held_is_there_for_its_transaction(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    fill(kv);
    kv_put_one(kv, "key", "before", KV_OFF);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_text(txn, "key", "aborted");
    kv_abort(txn);
    kv_expect_one(kv, "key", "before");
    txn = kv_begin_write(kv);
    kv_put_text(txn, "key", "held!!");
    kv_expect_text(txn, "key", "held!!");
    kv_put_text(txn, "other", "second");
    kv_delete_text(txn, "key");
    kv_expect_missing(txn, "key");
    kv_commit_ok(txn);
    kv_expect_one(kv, "other", "second");
    txn = kv_begin_write(kv);
    kv_put_text(txn, "other", "put");
    uint64_t mark;
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    kv_put_text(txn, "other", "rolled back");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_expect_text(txn, "other", "put");
    expect_ok(kv_commit(txn, KV_OFF));
    txn = kv_begin_write(kv);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    kv_put_text(txn, "other", "rolled back");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    expect_ok(kv_commit(txn, KV_OFF));
    kv_expect_one(kv, "other", "put");
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* Single puts of keys and lengths as they come, some of which split leaves, beside a model. */
static void test_edit__many_puts_leave_what_batches_leave(void **state)
{
    (void)state;
    enum { PUTS = 20000, RANGE = 4000, CHECKPOINT_EVERY = 3000 };
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    static uint64_t seeds[RANGE];
    struct buf pattern = BUF_INIT;
    uint64_t edits = 0;
    memset(seeds, 0, sizeof seeds);
    for (uint64_t i = 1; i <= PUTS; i++) {
        uint8_t key[8];
        uint64_t number = hash_u64(i) % RANGE;
        page_id root = root_of(kv);
        struct kv_txn *txn = kv_begin_write(kv);
        expect_ok(kv_put(txn, kv_number_key(number, key),
                         kv_pattern(&pattern, i, (size_t)(hash_u64(~i) % 90))));
        expect_ok(kv_commit(txn, i % 7 ? KV_OFF : KV_NORMAL));
        edits += root && root_of(kv) == root;
        seeds[number] = i;
        if (i % CHECKPOINT_EVERY == 0)
            expect_ok(checkpoint(kv));
    }
    print_message("%" PRIu64 " of %d puts changed pages where they are\n", edits, PUTS);
    assert_true(edits > PUTS / 3);
    kv_expect_sound(kv);
    store_expect_exact(kv);
    /* As it is, and as its log has it. */
    struct os_sim *killed = os_sim_clone(sim);
    struct kv *stores[] = { kv, process_open(killed, NULL) };
    for (size_t s = 0; s < COUNT_OF(stores); s++) {
        struct kv_txn *txn = kv_begin_read(stores[s]);
        for (uint64_t number = 0; number < RANGE; number++) {
            uint8_t key[8];
            if (seeds[number])
                kv_expect_value(
                    txn, kv_number_key(number, key),
                    kv_pattern(&pattern, seeds[number], (size_t)(hash_u64(~seeds[number]) % 90)));
        }
        kv_abort(txn);
        expect_ok(kv_close(stores[s]));
    }
    buf_release(&pattern);
    os_sim_free(killed);
    os_sim_free(sim);
}

/* ---- deletes ----------------------------------------------------------------------------- */

enum { DELETE_RANGE = 6000, SWEEP = 40 };

static void sweep_put(struct kv_txn *txn, bool *present, uint64_t number)
{
    uint8_t key[8];
    struct buf pattern = BUF_INIT;
    expect_ok(kv_put(txn, kv_number_key(number, key), kv_pattern(&pattern, number, FILLER_BYTES)));
    present[number] = true;
    buf_release(&pattern);
}

static void sweep_expect(struct kv_txn *txn, const void *wanted_present)
{
    const bool *present = wanted_present;
    uint64_t count = 0, wanted = 0;
    uint8_t key[8];
    sombra_slice value;
    for (uint64_t number = 0; number < DELETE_RANGE; number++) {
        sombra_err err = kv_get(txn, kv_number_key(number, key), &value);
        assert_int_equal(err, present[number] ? SOMBRA_OK : SOMBRA_NOT_FOUND);
        wanted += present[number];
    }
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, wanted);
}

/* Deletes as they come, some of what is not there or not any more; now and then something else. */
static void sweep(struct kv_txn *txn, bool *present, uint64_t round)
{
    uint8_t key[8];
    sombra_slice value;
    uint64_t mark, from = hash_u64(round) % DELETE_RANGE;
    for (uint64_t i = 0; i < SWEEP; i++) {
        uint64_t dice = hash_u64(round * SWEEP + i);
        /* Some from all over, some of one leaf after the other. */
        uint64_t number = round % 3 ? dice % DELETE_RANGE : (from + i / 2) % DELETE_RANGE;
        sombra_err err = kv_delete(txn, kv_number_key(number, key));
        assert_int_equal(err, present[number] ? SOMBRA_OK : SOMBRA_NOT_FOUND);
        present[number] = false;
        if (round % 10 == 7 && i == SWEEP / 2)
            assert_int_equal(kv_get(txn, kv_number_key(number, key), &value), SOMBRA_NOT_FOUND);
        if (round % 10 == 8 && i == SWEEP / 2)
            sweep_put(txn, present, number);
        if (round % 50 == 9 && i == SWEEP / 2) {
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
            (void)!kv_delete(txn, kv_number_key((number + 1) % DELETE_RANGE, key));
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        }
    }
}

static void test_edit__many_deletes_leave_what_copies_leave(void **state)
{
    (void)state;
    enum { ROUNDS = 600, CHECKPOINT_EVERY = 97 };
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    static bool present[DELETE_RANGE], before[DELETE_RANGE];
    uint64_t edits = 0;
    memset(present, 0, sizeof present);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct kv_txn *reader = round % 11 == 5 ? kv_begin_read(kv) : NULL;
        struct kv_txn *txn = kv_begin_write(kv);
        if (round % 150 == 0)
            for (uint64_t i = 0; i < DELETE_RANGE; i++)
                sweep_put(txn, present, i);
        memcpy(before, present, sizeof before);
        store_of(kv)->edits.many_pause = 0;
        sweep(txn, present, round);
        page_id root = root_of(kv);
        if (round % 13 == 4) {
            kv_abort(txn);
            memcpy(present, before, sizeof before);
        } else {
            expect_ok(kv_commit(txn, round % 7 ? KV_OFF : KV_NORMAL));
            edits += root && root_of(kv) == root;
        }
        if (reader) {
            if (round % 150)
                sweep_expect(reader, before);
            kv_abort(reader);
        }
        if (round % CHECKPOINT_EVERY == 0)
            expect_ok(checkpoint(kv));
        if (round % 20 == 0)
            kv_expect_sound(kv);
    }
    print_message("%" PRIu64 " of %d changed pages where they are\n", edits, ROUNDS);
    assert_true(edits > ROUNDS / 10);
    expect_at_end(sim, kv, sweep_expect, present);
}

/* What was answered and finds no room to be made in copies is not lost: the call fails, and the
 * next tries again. */
static void deletes_find_no_room(bool reads_after)
{
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    static bool present[DELETE_RANGE];
    uint8_t key[8];
    sombra_slice value;
    store_use_log(kv);
    struct kv_txn *txn = kv_begin_write(kv);
    for (uint64_t i = 0; i < DELETE_RANGE; i++)
        sweep_put(txn, present, i);
    expect_ok(kv_commit(txn, KV_OFF));
    txn = kv_begin_write(kv);
    for (uint64_t i = 7; i < DELETE_RANGE; i += 20) {
        expect_ok(kv_delete(txn, kv_number_key(i, key)));
        present[i] = false;
    }
    assert_true(container_of(txn, struct btree_txn, kv)->many.count > 0);
    os_sim_fail_at(sim, 1, OS_SIM_ENOSPC, true);
    expect_err(SOMBRA_LIMIT, kv_get(txn, kv_number_key(1, key), &value));
    expect_err(SOMBRA_LIMIT, kv_get(txn, kv_number_key(1, key), &value));
    os_sim_fail(sim, NULL);
    if (reads_after)
        sweep_expect(txn, present);
    expect_ok(kv_commit(txn, KV_OFF));
    txn = kv_begin_read(kv);
    sweep_expect(txn, present);
    kv_abort(txn);
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

static void test_edit__deletes_that_find_no_room_stay_held(void **state)
{
    (void)state;
    deletes_find_no_room(true);
    deletes_find_no_room(false);
}

/* A transaction that is too long for the log logs no deletes that could be held. */
static void delete_behind_bypass(bool expects)
{
    struct os_sim *sim = os_sim_new(NULL);
    struct btree_options options = small_options();
    options.wal_bypass_bytes = 64 * KiB;
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    fill(kv);
    uint8_t key[8];
    struct kv_txn *txn = kv_begin_write(kv);
    expect_err(SOMBRA_NOT_FOUND, kv_delete(txn, slice_str("absent")));
    if (expects)
        expect_ok(kv_expect(txn, 64 * KiB + 1));
    else
        put_sized(txn, "long", 1, 64 * KiB);
    assert_true(container_of(txn, struct btree_txn, kv)->is_bypass);
    expect_ok(kv_delete(txn, kv_number_key(WRITE_FROM + 7, key)));
    expect_ok(kv_delete(txn, kv_number_key(WRITE_FROM + FILLER - 7, key)));
    expect_ok(kv_commit(txn, KV_OFF));
    txn = kv_begin_read(kv);
    sombra_slice value;
    expect_err(SOMBRA_NOT_FOUND, kv_get(txn, kv_number_key(WRITE_FROM + 7, key), &value));
    expect_err(SOMBRA_NOT_FOUND, kv_get(txn, kv_number_key(WRITE_FROM + FILLER - 7, key), &value));
    kv_abort(txn);
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

static void test_edit__deletes_of_a_long_transaction_are_made(void **state)
{
    (void)state;
    delete_behind_bypass(true);
    delete_behind_bypass(false);
}

/* ---- batches of puts --------------------------------------------------------------------- */

enum { PUT_RANGE = 6000, BATCH = 60 };

/* What `round` puts to a key: half of them as long as what is there. */
static sombra_slice batch_value(struct buf *pattern, uint64_t number, uint64_t round)
{
    uint64_t hash = hash_u64(number << 32 | round);
    return kv_pattern(pattern, hash, hash % 2 ? FILLER_BYTES : (size_t)(hash / 2 % 90));
}

static void batch_put(struct kv_txn *txn, uint64_t *rounds, uint64_t number, uint64_t round)
{
    uint8_t key[8];
    struct buf pattern = BUF_INIT;
    expect_ok(kv_put(txn, kv_number_key(number, key), batch_value(&pattern, number, round)));
    rounds[number] = round;
    buf_release(&pattern);
}

static void batches_expect(struct kv_txn *txn, const void *wanted_rounds)
{
    const uint64_t *rounds = wanted_rounds;
    uint64_t count = 0, wanted = 0;
    uint8_t key[8];
    struct buf pattern = BUF_INIT;
    for (uint64_t number = 0; number < PUT_RANGE; number++) {
        if (rounds[number])
            kv_expect_value(txn, kv_number_key(number, key),
                            batch_value(&pattern, number, rounds[number]));
        wanted += rounds[number] != 0;
    }
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, wanted);
    buf_release(&pattern);
}

/* Keys from all over, some of them again with another value; now and then something else. */
static void batch(struct kv_txn *txn, uint64_t *rounds, uint64_t round)
{
    uint8_t key[8];
    sombra_slice value;
    for (uint64_t i = 0; i < BATCH; i++) {
        uint64_t number = hash_u64(round * BATCH + i) % PUT_RANGE;
        if (i % 9 == 8)
            number = hash_u64(round * BATCH + i - 5) % PUT_RANGE;
        batch_put(txn, rounds, number, round + (i % 9 == 8 ? 100000 : 0));
        if (round % 10 == 7 && i == BATCH / 2)
            expect_ok(kv_get(txn, kv_number_key(number, key), &value));
        if (round % 10 == 8 && i == BATCH / 2) {
            expect_ok(kv_delete(txn, kv_number_key(number, key)));
            rounds[number] = 0;
        }
    }
}

static void test_edit__batches_of_puts_leave_what_copies_leave(void **state)
{
    (void)state;
    enum { ROUNDS = 600, CHECKPOINT_EVERY = 97 };
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    static uint64_t rounds[PUT_RANGE], before[PUT_RANGE];
    uint64_t edits = 0;
    memset(rounds, 0, sizeof rounds);
    struct kv_txn *txn = kv_begin_write(kv);
    for (uint64_t i = 0; i < PUT_RANGE; i += 2)
        batch_put(txn, rounds, i, 1);
    expect_ok(kv_commit(txn, KV_OFF));
    for (uint64_t round = 2; round < ROUNDS; round++) {
        struct kv_txn *reader = round % 11 == 5 ? kv_begin_read(kv) : NULL;
        memcpy(before, rounds, sizeof before);
        store_of(kv)->edits.many_pause = 0;
        unsigned edits_before = store_of(kv)->edits.since_pause;
        txn = kv_begin_write(kv);
        batch(txn, rounds, round);
        if (round % 13 == 4) {
            kv_abort(txn);
            memcpy(rounds, before, sizeof before);
        } else {
            expect_ok(kv_commit(txn, round % 7 ? KV_OFF : KV_NORMAL));
            edits += store_of(kv)->edits.since_pause != edits_before;
        }
        if (reader) {
            batches_expect(reader, before);
            kv_abort(reader);
        }
        if (round % CHECKPOINT_EVERY == 0)
            expect_ok(checkpoint(kv));
        if (round % 20 == 0)
            kv_expect_sound(kv);
    }
    print_message("%" PRIu64 " of %d changed pages where they are\n", edits, ROUNDS);
    assert_true(edits > ROUNDS / 3);
    expect_at_end(sim, kv, batches_expect, rounds);
}

/* ---- other processes --------------------------------------------------------------------- */

static void test_edit__who_is_not_alone_copies(void **state)
{
    (void)state;
    enum { LOOKS = 5000 };
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    fill(kv);
    assert_true(put_is_edit(kv, "key", "alone"));
    struct kv *other = process_open(sim, NULL);
    for (int i = 0; i < LOOKS; i++)
        assert_false(put_is_edit(kv, "key", i % 2 ? "seen!" : "known"));
    assert_false(put_is_edit(other, "key", "mine!"));
    kv_expect_one(kv, "key", "mine!");
    expect_ok(kv_close(other));
    int copied = 0;
    while (!put_is_edit(kv, "key", copied % 2 ? "again" : "alone"))
        assert_true(++copied < LOOKS);
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* As an editor leaves it that is killed in the middle: the newest commit's pages fit nothing. */
static void edit_break_off(struct kv *kv)
{
    struct btree *btree = store_of(kv);
    page_id root = root_of(kv);
    atomic_store(&btree->head->editor, btree->attachment.self);
    memset(pager_writable(&btree->pager, root) + PAGE_HEADER_BYTES, 0x5a, 200);
}

/* What it broke is not to be looked at. */
static void close_broken(struct kv *kv)
{
    head_poison(store_of(kv));
    sombra_err ignored = kv_close(kv);
    (void)ignored;
}

static void expect_recovered(struct kv *kv)
{
    kv_expect_one(kv, "key", "last");
    kv_expect_sound(kv);
    store_expect_exact(kv);
}

static void test_edit__one_that_breaks_off_is_recovered_from(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    fill(kv);
    assert_true(put_is_edit(kv, "key", "last"));
    edit_break_off(kv);
    struct os_sim *killed = os_sim_clone(sim);
    struct kv *after = process_open(killed, NULL);
    expect_recovered(after);
    expect_ok(kv_close(after));
    close_broken(kv);
    os_sim_free(killed);
    os_sim_free(sim);
}

static void *join_main(void *sim)
{
    return process_open(sim, NULL);
}

/* Who attaches waits for the editor; if that dies, it is alone, and recovers. */
static void test_edit__who_attaches_waits_for_it(void **state)
{
    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *os;
        struct kv *kv = process_open(sim, &os);
        struct head *head = store_of(kv)->head;
        pthread_t thread;
        void *joined;
        fill(kv);
        assert_true(put_is_edit(kv, "key", "last"));
        if (dies)
            edit_break_off(kv);
        else
            atomic_store(&head->editor, store_of(kv)->attachment.self);
        assert_int_equal(pthread_create(&thread, NULL, join_main, sim), 0);
        while (!atomic_load(&head->joins))
            os_sleep_us(os_posix(), 100);
        os_sleep_us(os_posix(), 2000);
        if (dies)
            os_sim_kill(os);
        else
            atomic_store(&head->editor, 0);
        pthread_join(thread, &joined);
        expect_recovered(joined);
        if (dies)
            close_broken(kv);
        else
            expect_ok(kv_close(kv));
        expect_ok(kv_close(joined));
        os_sim_free(sim);
    }
}

static void test_edit__who_attaches_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    struct btree_options options = small_options();
    struct kv *none;
    options.busy_timeout_ms = 1;
    fill(kv);
    atomic_store(&store_of(kv)->head->editor, store_of(kv)->attachment.self);
    expect_err(SOMBRA_BUSY, btree_open(os_sim_start(sim), "store", &options, &none));
    atomic_store(&store_of(kv)->head->editor, 0);
    struct kv *joined = process_open(sim, NULL);
    kv_expect_one(joined, "key", "zero");
    expect_ok(kv_close(joined));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* ---- threads ----------------------------------------------------------------------------- */

static void *read_main(void *kv)
{
    kv_expect_one(kv, "key", "one");
    return NULL;
}

static void test_edit__who_begins_to_read_waits_for_it(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, NULL);
    struct head *head = store_of(kv)->head;
    pthread_t thread;
    fill(kv);
    assert_true(put_is_edit(kv, "key", "one"));
    atomic_store(&head->editor, store_of(kv)->attachment.self);
    assert_int_equal(pthread_create(&thread, NULL, read_main, kv), 0);
    while (!atomic_load(&head->editor_waits))
        os_sleep_us(os_posix(), 100);
    atomic_store(&head->editor, 0);
    pthread_join(thread, NULL);
    /* Where readers had to wait, the next commits copy. */
    for (int i = 0; i < 10; i++)
        assert_false(put_is_edit(kv, "key", i % 2 ? "two" : "six"));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* Commit n gives key n % KEYS the number n: each snapshot has the last KEYS commits before its own,
 * and no other. */
struct rounds {
    struct kv *kv;
    _Atomic uint64_t snapshots, wrong;
    _Atomic bool is_over;
};

static bool snapshot_is_one_commit(struct kv_txn *txn)
{
    uint64_t numbers[KEYS], newest = 0;
    for (uint64_t i = 0; i < KEYS; i++) {
        uint8_t key[8];
        sombra_slice value;
        if (kv_get(txn, kv_number_key(i, key), &value) || value.bytes < 8)
            return false;
        numbers[i] = get_le64(value.data);
        newest = numbers[i] > newest ? numbers[i] : newest;
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t at = newest - (newest - i) % KEYS;
        if (numbers[i] != at)
            return false;
    }
    uint64_t count = 0;
    struct kv_range all = { 0 };
    return kv_count(txn, all, 0, &count) == SOMBRA_OK && count >= KEYS + FILLER;
}

static void *snapshots_main(void *argument)
{
    struct rounds *rounds = argument;
    while (!atomic_load(&rounds->is_over)) {
        struct kv_txn *txn = kv_begin_read(rounds->kv);
        bool is_one = snapshot_is_one_commit(txn) && snapshot_is_one_commit(txn);
        kv_abort(txn);
        atomic_fetch_add(&rounds->wrong, !is_one);
        atomic_fetch_add(&rounds->snapshots, 1);
        /* So that commits go on beside, for a while. */
        os_sleep_us(os_posix(), atomic_load(&rounds->snapshots) % 300);
    }
    return NULL;
}

static void test_edit__every_snapshot_beside_it_is_one_commit(void **state)
{
    (void)state;
    enum { READERS = 2 };
    const uint64_t commits = test_is_long() ? 3000000 : 150000;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    static struct rounds rounds;
    rounds = (struct rounds){ .kv = store.kv };
    fill(store.kv);
    pthread_t readers[READERS];
    uint64_t edits = 0;
    for (uint64_t n = 0; n < commits + KEYS; n++) {
        uint8_t key[8], value[16] = { 0 };
        page_id root = root_of(store.kv);
        put_le64(value, n);
        struct kv_txn *txn = kv_begin_write(store.kv);
        expect_ok(kv_put(txn, kv_number_key(n % KEYS, key), slice_of(value, 8 + n % 9)));
        expect_ok(kv_commit(txn, KV_OFF));
        edits += root_of(store.kv) == root;
        for (size_t i = 0; i < READERS && n == KEYS; i++)
            assert_int_equal(pthread_create(&readers[i], NULL, snapshots_main, &rounds), 0);
        if (n % 20000 == 0)
            expect_ok(checkpoint(store.kv));
    }
    atomic_store(&rounds.is_over, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    print_message("%" PRIu64 " snapshots beside %" PRIu64 " commits where the pages are\n",
                  atomic_load(&rounds.snapshots), edits);
    assert_int_equal(atomic_load(&rounds.wrong), 0);
    assert_true(edits > 0 || !store_of(store.kv)->pager.can_map);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edit__who_is_alone_changes_pages_where_they_are),
        cmocka_unit_test(test_edit__readers_keep_what_they_see),
        cmocka_unit_test(test_edit__a_put_that_is_held_is_there_for_its_transaction),
        cmocka_unit_test(test_edit__many_puts_leave_what_batches_leave),
        cmocka_unit_test(test_edit__many_deletes_leave_what_copies_leave),
        cmocka_unit_test(test_edit__deletes_that_find_no_room_stay_held),
        cmocka_unit_test(test_edit__deletes_of_a_long_transaction_are_made),
        cmocka_unit_test(test_edit__batches_of_puts_leave_what_copies_leave),
        cmocka_unit_test(test_edit__who_is_not_alone_copies),
        cmocka_unit_test(test_edit__one_that_breaks_off_is_recovered_from),
        cmocka_unit_test(test_edit__who_attaches_waits_for_it),
        cmocka_unit_test(test_edit__who_attaches_does_not_wait_for_ever),
        cmocka_unit_test(test_edit__who_begins_to_read_waits_for_it),
        cmocka_unit_test(test_edit__every_snapshot_beside_it_is_one_commit),
    };
    return cmocka_run_group_tests_name("btree, changes in place", tests, NULL, NULL);
}
