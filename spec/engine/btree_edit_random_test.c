/* SPDX-License-Identifier: MIT */
/* Transactions of deletes or of puts that may be held (engine/btree/edit_many.c), mixed with
 * everything that makes them copies: beside a model, with readers, other processes, checkpoints,
 * compactions, failing allocations and full disks, and what a killed process leaves.
 */
#include "btree_fixture.h"

#include "btree/upkeep.h"

#include <inttypes.h>
#include <limits.h>

enum { KEYS = 9000, READERS = 3, POINTS = 4, VALUE_MAX = 2600 };

struct model {
    uint32_t versions[KEYS]; /* 0 = not there */
};

struct run {
    struct os_sim *sim;
    struct kv *kv, *other;
    uint64_t random;
    uint32_t version;
    struct model now;            /* committed */
    struct model txn;            /* of the open transaction */
    struct model points[POINTS]; /* of its savepoints */
    uint64_t marks[POINTS];
    unsigned point_count;
    struct kv_txn *readers[READERS];
    struct model seen[READERS];
    uint64_t commits, edits, failures;
    size_t page_bytes;
    uint64_t bypass_bytes;
    bool is_crowded; /* readers and other processes come often */
};

static struct btree *store_of(struct kv *kv)
{
    return container_of(kv, struct btree, kv);
}

static uint64_t dice_below(struct run *run, uint64_t end)
{
    uint64_t *state = &run->random;
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (*state * UINT64_C(0x2545f4914f6cdd1d) >> 32) % end;
}

/* Some share long prefixes, some are dense, some are long. */
static sombra_slice key_of(uint32_t number, char to[96])
{
    if (number < KEYS / 3)
        return kv_number_key(number, (uint8_t *)to);
    int bytes =
        number < 2 * KEYS / 3
            ? snprintf(to, 96, "a common prefix/%05u", number)
            : snprintf(
                  to, 96, "b%05u%.*s", number, (int)(number % 70),
                  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    return slice_of(to, (size_t)bytes);
}

static size_t value_bytes(uint32_t number, uint32_t version)
{
    uint64_t hash = hash_u64((uint64_t)number << 32 | version);
    if (number < KEYS / 3)
        return number % 2 ? 0 : hash % 3;
    if (number % 3 == 0) /* every value as long as the one before */
        return number % 100;
    if (hash % 53 == 0)
        return 1000 + hash / 53 % 1600;
    return hash % 120;
}

static sombra_slice value_of(uint32_t number, uint32_t version, uint8_t to[VALUE_MAX])
{
    size_t bytes = value_bytes(number, version);
    memset(to, (int)(version + number) & 0xff, bytes);
    if (bytes >= 8) {
        put_le32(to, number);
        put_le32(to + 4, version);
    }
    return slice_of(to, bytes);
}

static void expect_key(struct kv_txn *txn, const struct model *model, uint32_t number)
{
    char key[96];
    uint8_t want[VALUE_MAX];
    sombra_slice value;
    uint32_t version = model->versions[number];
    sombra_err err = kv_get(txn, key_of(number, key), &value);
    if (err != (version ? SOMBRA_OK : SOMBRA_NOT_FOUND))
        fail_msg("key %u: %d, version %u", number, (int)err, version);
    if (version && !slice_equal(value, value_of(number, version, want)))
        fail_msg("key %u has not the value of version %u", number, version);
}

static uint64_t model_count(const struct model *model)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        count += model->versions[i] != 0;
    return count;
}

static void expect_count(struct kv_txn *txn, const struct model *model)
{
    uint64_t count = 0;
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, model_count(model));
}

static void expect_walk(struct kv_txn *txn, const struct model *model)
{
    struct kv_cursor *cursor;
    bool found;
    uint64_t entries = 0, want = 0, sum = 0, want_sum = 0;
    char key[96];
    uint8_t value[VALUE_MAX];
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (;;) {
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (!found)
            break;
        entries++;
        sum += kv_entry_digest(0, cursor->entry.key, cursor->entry.value);
    }
    kv_cursor_close(cursor);
    for (uint32_t i = 0; i < KEYS; i++)
        if (model->versions[i]) {
            want++;
            want_sum += kv_entry_digest(0, key_of(i, key), value_of(i, model->versions[i], value));
        }
    assert_int_equal(entries, want);
    assert_int_equal(sum, want_sum);
}

static void expect_all(struct kv_txn *txn, const struct model *model)
{
    for (uint32_t i = 0; i < KEYS; i++)
        expect_key(txn, model, i);
    expect_count(txn, model);
    expect_walk(txn, model);
}

/* ---- one transaction --------------------------------------------------------------------- */

static bool broke(struct run *run, sombra_err err)
{
    if (!err || err == SOMBRA_NOT_FOUND)
        return false;
    if (err != SOMBRA_NOMEM && err != SOMBRA_IO && err != SOMBRA_LIMIT)
        fail_msg("%d: %s", (int)err, diag_text());
    run->failures++;
    return true;
}

static bool do_delete(struct run *run, struct kv_txn *txn, uint32_t number)
{
    char key[96];
    sombra_err err = kv_delete(txn, key_of(number, key));
    if (broke(run, err))
        return false;
    assert_int_equal(err, run->txn.versions[number] ? SOMBRA_OK : SOMBRA_NOT_FOUND);
    run->txn.versions[number] = 0;
    return true;
}

static bool do_put(struct run *run, struct kv_txn *txn, uint32_t number)
{
    char key[96];
    uint8_t value[VALUE_MAX];
    uint32_t version = ++run->version;
    sombra_err err = kv_put(txn, key_of(number, key), value_of(number, version, value));
    if (broke(run, err))
        return false;
    run->txn.versions[number] = version;
    return true;
}

static bool do_deletes(struct run *run, struct kv_txn *txn)
{
    static const unsigned longest[] = { 3, 40, 400, 2500 };
    uint64_t count = 1 + dice_below(run, longest[dice_below(run, 16) ? dice_below(run, 3) : 3]);
    uint64_t from = dice_below(run, KEYS), shape = dice_below(run, 4);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = shape == 0   ? from + i
                          : shape == 1 ? from + i * 7
                          : shape == 2 ? from + dice_below(run, 300)
                                       : dice_below(run, KEYS);
        if (!do_delete(run, txn, (uint32_t)(number % KEYS)))
            return false;
        if (shape == 3 && i > 1 && dice_below(run, 400) == 0 &&
            !do_delete(run, txn, (uint32_t)(number % KEYS)))
            return false;
    }
    return true;
}

static bool do_puts(struct run *run, struct kv_txn *txn, uint64_t most)
{
    uint64_t count = 1 + dice_below(run, most), from = dice_below(run, KEYS);
    uint64_t shape = dice_below(run, 5);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = shape < 2    ? from + i
                          : shape == 2 ? from + dice_below(run, 300)
                          : shape == 3 ? from - from % 3 + 3 * dice_below(run, KEYS / 3)
                                       : dice_below(run, KEYS);
        if (!do_put(run, txn, (uint32_t)(number % KEYS)))
            return false;
    }
    return true;
}

static bool do_alike(struct run *run, struct kv_txn *txn, bool puts)
{
    static const unsigned longest[] = { 3, 40, 400, 3000 };
    return puts ? do_puts(run, txn, longest[dice_below(run, 16) ? dice_below(run, 3) : 3])
                : do_deletes(run, txn);
}

/* The value that it has: nothing is held, and nothing changes. */
static bool do_same(struct run *run, struct kv_txn *txn)
{
    char key[96];
    uint8_t value[VALUE_MAX];
    uint32_t number = (uint32_t)dice_below(run, KEYS), version = run->txn.versions[number];
    return !version ||
           !broke(run, kv_put(txn, key_of(number, key), value_of(number, version, value)));
}

static bool do_range(struct run *run, struct kv_txn *txn)
{
    char low[96], high[96];
    uint32_t third = KEYS / 3 * (uint32_t)dice_below(run, 3);
    uint32_t from = third + (uint32_t)dice_below(run, KEYS / 3 - 200);
    uint32_t to = from + 1 + (uint32_t)dice_below(run, 150);
    uint64_t removed = 0, want = 0;
    sombra_err err =
        kv_delete_range(txn, (struct kv_range){ key_of(from, low), key_of(to, high) }, &removed);
    if (broke(run, err))
        return false;
    for (uint32_t i = from; i < to; i++) {
        want += run->txn.versions[i] != 0;
        run->txn.versions[i] = 0;
    }
    assert_int_equal(removed, want);
    return true;
}

static bool do_savepoint(struct run *run, struct kv_txn *txn)
{
    uint64_t dice = dice_below(run, 3);
    if (dice == 0 && run->point_count < POINTS) {
        if (broke(run, kv_savepoint(txn, KV_SAVEPOINT_SET, &run->marks[run->point_count])))
            return false;
        run->points[run->point_count++] = run->txn;
    } else if (run->point_count) {
        unsigned point = (unsigned)dice_below(run, run->point_count);
        expect_ok(kv_savepoint(txn, dice == 1 ? KV_SAVEPOINT_ROLLBACK : KV_SAVEPOINT_RELEASE,
                               &run->marks[point]));
        if (dice == 1)
            run->txn = run->points[point];
        run->point_count = dice == 1 ? point + 1 : point;
    }
    return true;
}

/* Mostly too little to matter; else the rest of the transaction is not logged. */
static bool do_expect(struct run *run, struct kv_txn *txn)
{
    return !broke(run, kv_expect(txn, dice_below(run, 4) ? 1 : UINT64_MAX));
}

/* False: an allocation or the disk failed. */
static bool do_step(struct run *run, struct kv_txn *txn, bool fails)
{
    uint64_t dice = dice_below(run, 100);
    if (dice < 50)
        return do_deletes(run, txn);
    if (dice < 78)
        return do_puts(run, txn, 30);
    if (dice < 82)
        return do_range(run, txn);
    if (dice < 90)
        return do_savepoint(run, txn);
    if (dice < 92)
        return do_expect(run, txn);
    if (fails)
        return true;
    if (dice < 97)
        expect_key(txn, &run->txn, (uint32_t)dice_below(run, KEYS));
    else if (dice < 99)
        expect_count(txn, &run->txn);
    else
        expect_walk(txn, &run->txn);
    return true;
}

static void reader_turn(struct run *run, unsigned i)
{
    if (run->readers[i]) {
        expect_all(run->readers[i], &run->seen[i]);
        kv_abort(run->readers[i]);
        run->readers[i] = NULL;
    } else {
        run->readers[i] = kv_begin_read(run->kv);
        run->seen[i] = run->now;
    }
}

static struct kv *process_open(const struct run *run, struct os_sim *sim)
{
    struct btree_options options = { .create = true,
                                     .page_bytes = run->page_bytes,
                                     .wal_bypass_bytes = run->bypass_bytes,
                                     .no_background = true,
                                     .busy_timeout_ms = 5000,
                                     .checkpoint_log_bytes = 512 << 10,
                                     .map_bytes_max = TEST_MAP_BYTES };
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    return kv;
}

static bool is_poisoned(const struct run *run)
{
    return atomic_load(&store_of(run->kv)->head->poisoned);
}

static void other_turn(struct run *run, bool in_txn)
{
    if (run->other && in_txn)
        return;
    if (run->other) {
        if (!is_poisoned(run))
            kv_expect_sound(run->other);
        expect_ok(kv_close(run->other));
        store_of(run->kv)->edits.looks = UINT_MAX;
        run->other = NULL;
    } else {
        run->other = process_open(run, run->sim);
    }
}

static void beside(struct run *run, bool in_txn)
{
    uint64_t dice = dice_below(run, run->is_crowded ? 60 : 600);
    if (dice < 6)
        reader_turn(run, (unsigned)dice_below(run, READERS));
    else if (dice == 6)
        other_turn(run, in_txn);
}

static void expect_killed(struct run *run)
{
    struct os_sim *killed = os_sim_clone(run->sim);
    struct kv *kv = process_open(run, killed);
    store_expect_exact(kv);
    struct kv_txn *txn = kv_begin_read(kv);
    expect_all(txn, &run->now);
    kv_abort(txn);
    expect_ok(kv_close(kv));
    os_sim_free(killed);
}

static void between(struct run *run)
{
    uint64_t dice = dice_below(run, 300);
    struct btree *btree = store_of(run->kv);
    if (dice < 6) {
        expect_ok(checkpoint_run(btree, NULL));
    } else if (dice == 6) {
        struct kv_maintenance job = { .kind = KV_COMPACT };
        expect_ok(kv_maintain(run->kv, &job));
    } else if (dice < 9) {
        store_expect_exact(run->kv);
    } else if (dice < 11) {
        expect_killed(run);
    } else if (dice < 14 && run->is_crowded && btree->pager.can_map) {
        /* Memory gets short for a while. */
        atomic_store(&btree->pager.weighed_bytes, 8 << 20);
        atomic_fetch_xor(&btree->pager.modes, PAGER_SHORT);
    }
}

/* A call has failed, and it alone: the transaction is as it was before it. */
static bool goes_on(struct run *run, struct kv_txn *txn)
{
    bool is_whole = true;
    mem_test_fail_at(0, false);
    os_sim_fail(run->sim, NULL);
    for (uint64_t steps = dice_below(run, 3); steps > 0 && is_whole; steps--)
        is_whole =
            dice_below(run, 2) ? do_step(run, txn, false) : do_alike(run, txn, dice_below(run, 2));
    assert_true(is_whole);
    return is_whole;
}

/* A write of the log that fails ends it all. */
static unsigned fails_of(struct run *run)
{
    return 1u << OS_SIM_ALLOCATE | (dice_below(run, 8) ? 0 : 1u << OS_SIM_WRITE);
}

static void one_txn(struct run *run, bool may_fail)
{
    struct kv *kv = run->other && dice_below(run, 3) == 0 ? run->other : run->kv;
    struct btree *btree = store_of(kv);
    bool fails = false;
    if (dice_below(run, 4))
        btree->edits.many_pause = btree->edits.pause = 0;
    struct kv_txn *txn = kv_begin_write(kv);
    unsigned before = btree->edits.since_pause;
    run->txn = run->now;
    run->point_count = 0;
    bool is_whole = true;
    if (model_count(&run->now) < KEYS / 3)
        is_whole = do_puts(run, txn, 4000);
    if (may_fail && dice_below(run, 2)) {
        fails = true;
        if (dice_below(run, 2))
            mem_test_fail_at(1 + dice_below(run, 12), dice_below(run, 2));
        else
            os_sim_fail(run->sim, &(struct os_sim_fault){ .kind = OS_SIM_ENOSPC,
                                                          .nth = 1 + dice_below(run, 4),
                                                          .is_sticky = dice_below(run, 2),
                                                          .calls = fails_of(run) });
    }
    bool is_mixed = dice_below(run, 3) == 0, puts = dice_below(run, 2);
    for (uint64_t i = 0, steps = 1 + dice_below(run, is_mixed ? 6 : 3); i < steps && is_whole;
         i++) {
        is_whole = is_mixed ? do_step(run, txn, fails) : do_alike(run, txn, puts);
        if (is_whole && !is_mixed && puts)
            is_whole = do_same(run, txn);
        if (!fails)
            beside(run, true);
    }
    sombra_err err = SOMBRA_OK;
    if (!is_whole && dice_below(run, 3) && !is_poisoned(run) &&
        !(container_of(txn, struct btree_txn, kv)->care & TXN_FAILED))
        is_whole = goes_on(run, txn);
    if (!is_whole || dice_below(run, 12) == 0) {
        kv_abort(txn);
    } else {
        enum kv_durability durability = dice_below(run, 8) ? KV_OFF : KV_FULL;
        err = kv_commit(txn, durability);
        (void)broke(run, err);
        if (!err)
            run->now = run->txn;
        run->commits += !err;
        run->edits += !err && btree->edits.since_pause != before;
    }
    mem_test_fail_at(0, false);
    os_sim_fail(run->sim, NULL);
}

static void run_txns(struct run *run, uint64_t txns, bool may_fail)
{
    run->kv = process_open(run, run->sim);
    for (uint64_t i = 0; i < txns; i++) {
        one_txn(run, may_fail);
        if (is_poisoned(run)) /* outcome unknown: another test's */
            break;
        beside(run, false);
        between(run);
    }
    for (unsigned i = 0; i < READERS; i++)
        if (run->readers[i])
            reader_turn(run, i);
    if (run->other)
        other_turn(run, false);
    if (!is_poisoned(run)) {
        expect_killed(run);
        store_expect_exact(run->kv);
        struct kv_txn *txn = kv_begin_read(run->kv);
        expect_all(txn, &run->now);
        kv_abort(txn);
        expect_ok(kv_close(run->kv));
    } else {
        sombra_err ignored = kv_close(run->kv);
        (void)ignored;
    }
}

static void run_seeds(bool may_fail)
{
    enum { ROUNDS = 6 };
    uint64_t seed = kv_test_seed("changes in place");
    uint64_t txns = kv_test_number("SOMBRA_OPS", 3000) / 20;
    static struct run run;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        run = (struct run){ .random = hash_u64(seed + i) | 1, .is_crowded = (seed + i) % 3 == 0 };
        /* Mostly small ones, of which there are many. */
        run.page_bytes = (size_t)4096 << (dice_below(&run, 2) ? 0 : dice_below(&run, 5));
        run.bypass_bytes = dice_below(&run, 3) ? 0 : (uint64_t)20000 << dice_below(&run, 5);
        run.sim = os_sim_new(NULL);
        run_txns(&run, txns, may_fail);
        print_message("seed %" PRIu64 ": %" PRIu64 " commits, %" PRIu64
                      " where the pages are, %" PRIu64 " failures\n",
                      seed + i, run.commits, run.edits, run.failures);
        os_sim_free(run.sim);
    }
}

static void test_random__what_is_held_and_everything_else_equal_the_model(void **state)
{
    (void)state;
    run_seeds(false);
}

static void test_random__what_fails_happened_not_at_all(void **state)
{
    (void)state;
    run_seeds(true);
}

/* ---- memory for what is held ------------------------------------------------------------- */

static void number_change(struct run *run, struct kv_txn *txn, uint32_t number, bool puts)
{
    assert_true(puts ? do_put(run, txn, number) : do_delete(run, txn, number));
}

static void test_random__memory_that_was_not_there_is_asked_for_again(void **state)
{
    (void)state;
    enum { ALLOCATIONS = 9, STEP = 97 };
    for (uint64_t nth = 1; nth <= ALLOCATIONS; nth++)
        for (int puts = 0; puts < 2; puts++) {
            static struct run run;
            run = (struct run){ .random = 1, .page_bytes = 4096, .sim = os_sim_new(NULL) };
            run.kv = process_open(&run, run.sim);
            struct kv_txn *txn = kv_begin_write(run.kv);
            for (uint32_t i = 0; i < KEYS; i++)
                number_change(&run, txn, i, true);
            expect_ok(kv_commit(txn, KV_OFF));
            for (int tries = 0; tries < 3; tries++) {
                store_of(run.kv)->edits.many_pause = 0;
                txn = kv_begin_write(run.kv);
                mem_test_fail_at(tries ? 0 : nth, false);
                for (uint32_t i = KEYS / 3 + (uint32_t)tries; i < KEYS; i += STEP)
                    if (puts ? !do_put(&run, txn, i) : !do_delete(&run, txn, i))
                        number_change(&run, txn, i, puts);
                mem_test_fail_at(0, false);
                expect_ok(kv_commit(txn, KV_OFF));
            }
            run.now = run.txn;
            expect_killed(&run);
            kv_expect_sound(run.kv);
            expect_ok(kv_close(run.kv));
            os_sim_free(run.sim);
        }
}

int main(void)
{
    (void)mem_test_live();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random__what_is_held_and_everything_else_equal_the_model),
        cmocka_unit_test(test_random__what_fails_happened_not_at_all),
        cmocka_unit_test(test_random__memory_that_was_not_there_is_asked_for_again),
    };
    return cmocka_run_group_tests_name("btree, changes in place", tests, NULL, NULL);
}
