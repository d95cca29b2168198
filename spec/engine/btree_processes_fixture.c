/* SPDX-License-Identifier: MIT */
#include "btree_processes_fixture.h"

#include <inttypes.h>

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x;
}

static uint64_t random_seeded(uint64_t seed, uint64_t step)
{
    uint64_t state = hash_u64(seed * 1000003 + step);
    return state ? state : 1;
}

/* ---- steps ------------------------------------------------------------------------------- */

const char *step_name(enum step_kind kind)
{
    static const char *const names[STEP_KINDS] = { "small",     "overflow",   "range",   "bypass",
                                                   "savepoint", "checkpoint", "compact", "abort" };
    return names[kind];
}

enum step_kind step_kind_of(uint64_t seed, uint64_t step)
{
    uint64_t state = random_seeded(seed, step);
    static const enum step_kind kinds[] = {
        STEP_SMALL, STEP_SMALL,  STEP_SMALL,     STEP_SMALL,      STEP_SMALL,   STEP_OVERFLOW,
        STEP_RANGE, STEP_BYPASS, STEP_SAVEPOINT, STEP_CHECKPOINT, STEP_COMPACT, STEP_ABORT,
    };
    return kinds[random_next(&state) % COUNT_OF(kinds)];
}

enum { STEP_KEYS = 400 };

static sombra_err pattern_put(struct kv_txn *txn, uint64_t number, uint64_t salt, size_t bytes)
{
    uint8_t key[8];
    struct buf value = BUF_INIT;
    sombra_err err =
        kv_put(txn, kv_number_key(number, key), kv_pattern(&value, number * 31 + salt, bytes));
    buf_release(&value);
    return err;
}

static sombra_err changes_apply(struct kv_txn *txn, uint64_t *random, unsigned count,
                                size_t bytes_max)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned i = 0; i < count && !err; i++) {
        uint64_t number = random_next(random) % STEP_KEYS;
        uint64_t salt = random_next(random);
        uint8_t key[8];
        if (salt % 4 == 0) {
            err = kv_delete(txn, kv_number_key(number, key));
            if (err == SOMBRA_NOT_FOUND)
                err = SOMBRA_OK;
        } else {
            err = pattern_put(txn, number, salt, 8 + salt % bytes_max);
        }
    }
    return err;
}

static sombra_err with_savepoint(struct kv_txn *txn, uint64_t *random)
{
    uint64_t mark;
    sombra_err err = changes_apply(txn, random, 3, 200);
    if (!err)
        err = kv_savepoint(txn, KV_SAVEPOINT_SET, &mark);
    unsigned count = random_next(random) % 2 ? 60 : 5;
    if (!err)
        err = changes_apply(txn, random, count, 900);
    if (!err)
        err = kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark);
    return err ? err : changes_apply(txn, random, 3, 200);
}

static sombra_err range_apply(struct kv_txn *txn, uint64_t *random)
{
    uint8_t low[8];
    uint8_t high[8];
    uint64_t first = random_next(random) % STEP_KEYS;
    struct kv_range range = { kv_number_key(first, low),
                              kv_number_key(first + 1 + random_next(random) % 60, high) };
    sombra_err err = kv_delete_range(txn, range, NULL);
    return err ? err : changes_apply(txn, random, 2, 100);
}

sombra_err step_apply(struct kv_txn *txn, uint64_t seed, uint64_t step)
{
    uint64_t random = random_seeded(seed, step + (UINT64_C(1) << 32));
    switch (step_kind_of(seed, step)) {
    case STEP_ABORT: {
        /* The file grows, and nobody hears of it. */
        sombra_err err = changes_apply(txn, &random, 4, 200);
        return err ? err : pattern_put(txn, STEP_KEYS, step, (size_t)(random % 8) * 100000);
    }
    case STEP_SMALL:
        return changes_apply(txn, &random, 1 + (unsigned)(random % 8), 300);
    case STEP_OVERFLOW: {
        sombra_err err = changes_apply(txn, &random, 3, 9000);
        return err ? err : pattern_put(txn, random_next(&random) % STEP_KEYS, step, 12000);
    }
    case STEP_RANGE:
        return range_apply(txn, &random);
    case STEP_BYPASS: {
        /* The same keys, twice: pages of the transaction are freed in it. */
        sombra_err err = changes_apply(txn, &random, 60, 1500);
        return err ? err : changes_apply(txn, &random, 20, 3000);
    }
    case STEP_SAVEPOINT:
        return with_savepoint(txn, &random);
    case STEP_CHECKPOINT:
    case STEP_COMPACT:
    case STEP_KINDS:
        break;
    }
    return SOMBRA_OK;
}

/* ---- accounts ---------------------------------------------------------------------------- */

enum { COUNTER_BASE = 1 << 20, FILLER_BASE = 1 << 21, ACCOUNT_FILL_BYTES = 120 };

static sombra_err amount_put(struct kv_txn *txn, uint64_t account, uint64_t amount, size_t bytes)
{
    uint8_t key[8];
    struct buf value = BUF_INIT;
    kv_pattern(&value, account + amount, bytes + 8);
    put_le64(value.data, amount);
    sombra_err err = kv_put(txn, kv_number_key(account, key), buf_slice(&value));
    buf_release(&value);
    return err;
}

static sombra_err amount_get(struct kv_txn *txn, uint64_t account, uint64_t *out_amount)
{
    uint8_t key[8];
    sombra_slice value;
    sombra_err err = kv_get(txn, kv_number_key(account, key), &value);
    if (!err && value.bytes < 8)
        err = diag_fail(SOMBRA_CORRUPT, "account %" PRIu64 " has %zu bytes", account, value.bytes);
    if (!err)
        *out_amount = get_le64(value.data);
    return err;
}

sombra_err accounts_make(struct kv *kv)
{
    struct kv_txn *txn;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 10000 };
    sombra_err err = kv_begin(kv, &options, &txn);
    if (err)
        return err;
    for (uint64_t i = 0; i < ACCOUNTS && !err; i++)
        err = amount_put(txn, i, ACCOUNT_START, ACCOUNT_FILL_BYTES);
    if (!err)
        return kv_commit(txn, KV_FULL);
    kv_abort(txn);
    return err;
}

static sombra_err transfer_one(struct kv_txn *txn, uint64_t *random, size_t bytes)
{
    uint64_t from = random_next(random) % ACCOUNTS;
    uint64_t to = random_next(random) % ACCOUNTS;
    uint64_t have = 0;
    uint64_t had = 0;
    sombra_err err = amount_get(txn, from, &have);
    uint64_t amount = have ? random_next(random) % have : 0;
    if (!err)
        err = amount_put(txn, from, have - amount, bytes);
    if (!err)
        err = amount_get(txn, to, &had);
    return err ? err : amount_put(txn, to, had + amount, bytes);
}

sombra_err accounts_transfer(struct kv_txn *txn, uint64_t *random, unsigned process,
                             uint64_t sequence, bool is_big)
{
    sombra_err err = SOMBRA_OK;
    for (int i = 0; i < (is_big ? 100 : 1) && !err; i++)
        err = transfer_one(txn, random, random_next(random) % 50 == 0 ? 9000 : ACCOUNT_FILL_BYTES);
    uint64_t dice = random_next(random) % 16;
    uint64_t base = FILLER_BASE + (uint64_t)process * 1000;
    if (!err && dice == 0) {
        uint8_t low[8];
        uint8_t high[8];
        uint64_t first = base + random_next(random) % 200;
        struct kv_range range = { kv_number_key(first, low), kv_number_key(first + 40, high) };
        err = kv_delete_range(txn, range, NULL);
    } else if (!err && dice < 8) {
        err = amount_put(txn, base + random_next(random) % 240, sequence, 200);
    }
    return err ? err : amount_put(txn, COUNTER_BASE + process, sequence, 0);
}

sombra_err accounts_sum(struct kv_txn *txn, uint64_t *out_sum)
{
    uint8_t high[8];
    struct kv_range range = { slice_of(NULL, 0), kv_number_key(ACCOUNTS, high) };
    struct kv_cursor *cursor = NULL;
    sombra_err err = kv_cursor_open(txn, range, &cursor);
    uint64_t sum = 0;
    uint64_t count = 0;
    while (!err) {
        bool found;
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        sum += get_le64(cursor->entry.value.data);
        count++;
    }
    kv_cursor_close(cursor);
    if (!err && count != ACCOUNTS)
        err = diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " accounts", count);
    if (!err)
        *out_sum = sum;
    return err;
}

sombra_err counter_get(struct kv_txn *txn, unsigned process, uint64_t *out_sequence)
{
    sombra_err err = amount_get(txn, COUNTER_BASE + process, out_sequence);
    if (err != SOMBRA_NOT_FOUND)
        return err;
    *out_sequence = 0;
    return SOMBRA_OK;
}
