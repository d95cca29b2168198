/* SPDX-License-Identifier: MIT */
/* Deletes do not come back: random puts, deletes and deletes of ranges beside a plain array,
 * through flushes, compactions, reopening, power cuts and kills. */
#include "lsm/write_internal.h"
#include "lsm_store.h"

static void maintain(struct kv *kv, enum kv_maintenance_kind kind)
{
    struct kv_maintenance job = { .kind = kind };
    expect_ok(kv_maintain(kv, &job));
}

enum { KEYS = 160, STEPS = 260 };

struct history {
    struct lsm_store store;
    struct random random;
    uint32_t values[KEYS], saved[KEYS]; /* 0 = none; at the last durable moment */
    uint32_t next;
};

static void history_check(struct history *history, const uint32_t *values)
{
    struct kv_txn *txn = kv_begin_read(history->store.kv);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t key[8];
        sombra_slice value;
        sombra_err err = kv_get(txn, kv_number_key(i, key), &value);
        if (values[i] == 0)
            assert_int_equal(err, SOMBRA_NOT_FOUND);
        else
            expect_ok(err);
        if (values[i])
            assert_int_equal(get_le32(value.data), values[i]);
    }
    uint64_t entries, wanted = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        wanted += values[i] != 0;
    kv_digest(txn, (struct kv_range){ { 0 }, { 0 } }, &entries);
    assert_int_equal(entries, wanted);
    kv_abort(txn);
}

static void history_write(struct history *history)
{
    struct random *random = &history->random;
    struct kv_txn *txn = kv_begin_write(history->store.kv);
    uint8_t low[8], high[8], value[60] = { 0 };
    for (uint64_t i = 0, count = 1 + random_below(random, 12); i < count; i++) {
        uint32_t at = (uint32_t)random_below(random, KEYS);
        if (random_below(random, 3)) {
            history->values[at] = ++history->next;
            put_le32(value, history->next);
            expect_ok(kv_put(txn, kv_number_key(at, low), slice_of(value, sizeof value)));
        } else if (random_below(random, 2)) {
            sombra_err err = kv_delete(txn, kv_number_key(at, low));
            assert_int_equal(err, history->values[at] ? SOMBRA_OK : SOMBRA_NOT_FOUND);
            history->values[at] = 0;
        } else {
            uint32_t end = at + 1 + (uint32_t)random_below(random, KEYS - at);
            struct kv_range range = { kv_number_key(at, low), kv_number_key(end, high) };
            expect_ok(kv_delete_range(txn, range, NULL));
            memset(history->values + at, 0, (end - at) * sizeof history->values[0]);
        }
    }
    bool is_durable = random_below(random, 4) == 0;
    expect_ok(kv_commit(txn, is_durable ? KV_FULL : KV_OFF));
    if (is_durable)
        memcpy(history->saved, history->values, sizeof history->saved);
}

/* The power fails, or the process is killed, behind a durable commit. */
static void history_crash(struct history *history)
{
    struct lsm_store *store = &history->store;
    kv_put_one(store->kv, "durable", "value", KV_FULL);
    memcpy(history->saved, history->values, sizeof history->saved);
    struct os_sim *after = random_below(&history->random, 2)
                               ? os_sim_crash(store->sim, OS_SIM_NOTHING, history->next)
                               : os_sim_clone(store->sim);
    lsm_store_close(store);
    os_sim_free(store->sim);
    store->sim = after;
    store->os = os_sim_start(after);
    lsm_store_open(store);
    struct kv_txn *txn = kv_begin_write(store->kv);
    kv_delete_text(txn, "durable");
    expect_ok(kv_commit(txn, KV_OFF));
}

static void history_run(struct lsm_options options, uint64_t seed)
{
    struct history history = { .next = 0 };
    random_seed(&history.random, seed);
    lsm_store_init_simulated(&history.store, &options);
    for (int i = 0; i < STEPS; i++) {
        history_write(&history);
        uint64_t dice = random_below(&history.random, 20);
        if (dice < 5)
            maintain(history.store.kv, KV_CHECKPOINT);
        else if (dice == 5)
            maintain(history.store.kv, KV_COMPACT);
        else if (dice == 6)
            history_crash(&history);
        if (dice == 7) {
            lsm_store_close(&history.store);
            lsm_store_open(&history.store);
        }
        if (dice < 8 || i == STEPS - 1)
            history_check(&history, history.values);
    }
    kv_expect_sound(history.store.kv);
    lsm_store_release(&history.store);
}

static void test_deletes__none_comes_back(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("lsm, deletes");
    struct lsm_options options = { LSM_STORE_SMALL(4 * KiB), .no_background = true,
                                   .busy_timeout_ms = 5000 };
    options.table_bytes = 4 * KiB;
    options.level_bytes = 8 * KiB;
    history_run(options, seed);
    options.style = LSM_TIERED;
    history_run(options, seed + 1);
    options.style = LSM_LEVELED;
    options.no_background = false;
    options.threads = 2;
    history_run(options, seed + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deletes__none_comes_back),
    };
    return cmocka_run_group_tests_name("lsm, deletes", tests, NULL, NULL);
}
