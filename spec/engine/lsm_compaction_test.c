/* SPDX-License-Identifier: MIT */
/* A random store beside a model: flushes and compactions at any moment change nothing that anybody
 * sees, not even snapshots from before them. */
#include "assert_err.h"
#include "lsm/compaction.h"
#include "os/os_sim.h"

#include <stdio.h>
#include <unistd.h>

enum { KEYS = 600, SNAPSHOTS = 4, VALUE_BYTES_MAX = 3000 };

struct model {
    uint32_t value[KEYS]; /* 0 = not there; else what the value is made of */
};
struct history {
    struct os *os;
    struct kv *kv;
    uint64_t compactions; /* of the handles closed so far */
    struct lsm_options options;
    char directory[64];
    struct random random;
    struct model model;
    uint32_t next_value;
    struct {
        struct kv_txn *txn;
        struct model model;
    } snapshots[SNAPSHOTS];
};

static sombra_slice key_at(char *to, size_t index)
{
    return slice_of(to, (size_t)snprintf(to, 32, "key%05zu", index));
}

/* Some values are large enough to stand out of line. */
static sombra_slice value_at(uint8_t *to, uint32_t value)
{
    size_t bytes = value % 7 == 0 ? VALUE_BYTES_MAX : 8 + value % 90;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value * 31 + i * (i % 5 + 1));
    return slice_of(to, bytes);
}

static void check_scan(struct kv_txn *txn, const struct model *model)
{
    struct kv_cursor *cursor;
    assert_ok(kv_cursor_open(txn, (struct kv_range){ .low = { NULL, 0 } }, &cursor));
    size_t at = 0;
    for (;;) {
        bool found;
        char name[32];
        uint8_t bytes[VALUE_BYTES_MAX];
        assert_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        while (at < KEYS && model->value[at] == 0)
            at++;
        assert_int_equal(found, at < KEYS);
        if (!found)
            break;
        assert_true(slice_equal(cursor->entry.key, key_at(name, at)));
        assert_true(slice_equal(cursor->entry.value, value_at(bytes, model->value[at])));
        at++;
    }
    kv_cursor_close(cursor);
}

static void check_gets(struct history *history, struct kv_txn *txn, const struct model *model)
{
    for (unsigned i = 0; i < 20; i++) {
        char name[32];
        uint8_t bytes[VALUE_BYTES_MAX];
        size_t at = (size_t)random_below(&history->random, KEYS);
        sombra_slice value;
        sombra_err err = kv_get(txn, key_at(name, at), &value);
        assert_int_equal(err, model->value[at] ? SOMBRA_OK : SOMBRA_NOT_FOUND);
        if (!err)
            assert_true(slice_equal(value, value_at(bytes, model->value[at])));
    }
}

static void check_now(struct history *history)
{
    struct kv_txn *txn;
    assert_ok(kv_begin(history->kv, &(struct kv_begin_options){ .is_write = false }, &txn));
    check_scan(txn, &history->model);
    check_gets(history, txn, &history->model);
    kv_abort(txn);
}

static void write_some(struct history *history)
{
    struct kv_txn *txn;
    struct model model = history->model;
    assert_ok(kv_begin(history->kv,
                       &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 20000 },
                       &txn));
    uint64_t count = 1 + random_below(&history->random, 40);
    for (uint64_t i = 0; i < count; i++) {
        char name[32], other[32];
        uint8_t bytes[VALUE_BYTES_MAX];
        size_t at = (size_t)random_below(&history->random, KEYS);
        uint64_t choice = random_below(&history->random, 100);
        if (choice < 3) {
            size_t end = at + (size_t)random_below(&history->random, KEYS / 4) + 1;
            struct kv_range range = { .low = key_at(name, at),
                                      .high = end < KEYS ? key_at(other, end) : slice_of(NULL, 0) };
            assert_ok(kv_delete_range(txn, range, NULL));
            for (size_t j = at; j < end && j < KEYS; j++)
                model.value[j] = 0;
        } else if (choice < 30) {
            sombra_err err = kv_delete(txn, key_at(name, at));
            assert_int_equal(err, model.value[at] ? SOMBRA_OK : SOMBRA_NOT_FOUND);
            model.value[at] = 0;
        } else {
            model.value[at] = ++history->next_value;
            assert_ok(kv_put(txn, key_at(name, at), value_at(bytes, model.value[at])));
        }
    }
    if (random_below(&history->random, 10) == 0) {
        kv_abort(txn);
        return;
    }
    assert_ok(kv_commit(txn, KV_OFF));
    history->model = model;
}

static void flush_now(struct history *history)
{
    struct lsm *lsm = lsm_of(history->kv);
    assert_ok(lsm_turn_take(lsm, UINT64_MAX));
    assert_ok(lsm_switch_memtable(lsm));
    lsm_turn_give(lsm);
    assert_ok(lsm_flush_full(lsm));
}

static void snapshot_turn(struct history *history)
{
    size_t at = (size_t)random_below(&history->random, SNAPSHOTS);
    if (!history->snapshots[at].txn) {
        assert_ok(kv_begin(history->kv, &(struct kv_begin_options){ .is_write = false },
                           &history->snapshots[at].txn));
        history->snapshots[at].model = history->model;
        return;
    }
    check_scan(history->snapshots[at].txn, &history->snapshots[at].model);
    check_gets(history, history->snapshots[at].txn, &history->snapshots[at].model);
    kv_abort(history->snapshots[at].txn);
    history->snapshots[at].txn = NULL;
}

static void snapshots_end(struct history *history)
{
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        if (!history->snapshots[i].txn)
            continue;
        check_scan(history->snapshots[i].txn, &history->snapshots[i].model);
        kv_abort(history->snapshots[i].txn);
        history->snapshots[i].txn = NULL;
    }
}

static void close_store(struct history *history)
{
    history->compactions += atomic_load(&history->kv->metrics->counters[KV_COUNTER_COMPACTIONS]);
    assert_ok(kv_close(history->kv));
}

static void reopen(struct history *history)
{
    snapshots_end(history);
    close_store(history);
    assert_ok(lsm_open(history->os, history->directory, &history->options, &history->kv));
}

static void check_one_run_without_deletes(struct history *history)
{
    struct view *view = view_acquire(lsm_of(history->kv));
    assert_true(view->version->count <= 1);
    for (size_t i = 0; i < view->version->count; i++) {
        assert_int_equal(view->version->runs[i].level, LSM_LEVELS - 1);
        for (size_t j = 0; j < view->version->runs[i].count; j++) {
            const struct table_meta *meta = &view->version->runs[i].tables[j]->meta;
            assert_int_equal(meta->deletes, 0);
            assert_int_equal(meta->range_count, 0);
        }
    }
    view_release(view);
}

static void compact_now(struct history *history)
{
    struct kv_maintenance job = { .kind = KV_COMPACT };
    assert_ok(lsm_compact_all(lsm_of(history->kv), &job));
    if (history->options.no_background)
        check_one_run_without_deletes(history);
}

static void run(uint64_t seed, enum lsm_compaction_style style, bool no_background, unsigned steps)
{
    struct history *history = calloc(1, sizeof(*history));
    assert_non_null(history);
    random_seed(&history->random, seed);
    strcpy(history->directory, "lsm_compaction.XXXXXX");
    /* Syncs of the simulated system cost nothing; threads need the real one. */
    struct os_sim *sim = no_background ? os_sim_new(NULL) : NULL;
    history->os = sim ? os_sim_start(sim) : os_posix();
    if (!sim)
        assert_non_null(mkdtemp(history->directory));
    history->options = (struct lsm_options){ .create = true,
                                             .durability = KV_OFF,
                                             .memtable_bytes = 64 * KiB,
                                             .table_bytes = 8 * KiB,
                                             .level_bytes = 64 * KiB,
                                             .level_ratio = 3,
                                             .level0_compact = 3,
                                             .block_bytes = KiB,
                                             .cache_bytes = 256 * KiB,
                                             .style = style,
                                             .threads = 2,
                                             .no_background = no_background };
    assert_ok(lsm_open(history->os, history->directory, &history->options, &history->kv));
    for (unsigned i = 0; i < steps; i++) {
        uint64_t choice = random_below(&history->random, 200);
        if (choice < 120)
            write_some(history);
        else if (choice < 140)
            flush_now(history);
        else if (choice < 142)
            compact_now(history);
        else if (choice < 180)
            snapshot_turn(history);
        else if (choice < 198)
            check_now(history);
        else
            reopen(history);
    }
    check_now(history);
    snapshots_end(history);
    compact_now(history);
    check_now(history);
    close_store(history);
    /* How many threads come to is up to the scheduler. */
    assert_true(history->compactions > (no_background ? 10 : 0));
    os_sim_free(sim);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", history->directory);
    assert_int_equal(system(command), 0);
    free(history);
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("SOMBRA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20261121;
    print_message("SOMBRA_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static void test_compaction__levels_keep_what_snapshots_see(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    for (uint64_t i = 0; i < 3; i++)
        run(seed + i, LSM_LEVELED, true, 300);
}

static void test_compaction__tiers_keep_what_snapshots_see(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    for (uint64_t i = 0; i < 2; i++)
        run(seed + i, LSM_TIERED, true, 300);
}

static void test_compaction__threads_beside_the_writer_change_nothing(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    run(seed, LSM_LEVELED, false, 150);
    run(seed, LSM_TIERED, false, 150);
}

static bool give_up(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(unsigned *)context;
    return false;
}

static void test_compaction__a_cancelled_one_changes_nothing(void **state)
{
    (void)state;
    char directory[] = "lsm_compaction.XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct history *history = calloc(1, sizeof(*history));
    assert_non_null(history);
    random_seed(&history->random, 1);
    struct lsm_options options = { .create = true, .no_background = true, .durability = KV_OFF };
    assert_ok(lsm_open(os_posix(), directory, &options, &history->kv));
    write_some(history);
    flush_now(history);
    write_some(history);
    unsigned calls = 0;
    struct kv_maintenance job = { .kind = KV_COMPACT, .progress = give_up, .context = &calls };
    assert_int_equal(lsm_compact_all(lsm_of(history->kv), &job), SOMBRA_CANCELLED);
    assert_true(calls > 0);
    check_now(history);
    job.progress = NULL;
    assert_ok(lsm_compact_all(lsm_of(history->kv), &job));
    check_one_run_without_deletes(history);
    check_now(history);
    assert_ok(kv_close(history->kv));
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
    free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compaction__levels_keep_what_snapshots_see),
        cmocka_unit_test(test_compaction__tiers_keep_what_snapshots_see),
        cmocka_unit_test(test_compaction__threads_beside_the_writer_change_nothing),
        cmocka_unit_test(test_compaction__a_cancelled_one_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
