/* SPDX-License-Identifier: MIT */
/* Recovery, verify and the first write after them when memory is out or calls fail, at each
 * allocation and each call: the error says so, nothing leaks, and trying again finds everything.
 * Without SOMBRA_LONG=1 each fault tries every fourth call, and the faults together all.
 */
#include "btree_fixture.h"

#include <inttypes.h>

enum { COMMITS = 24, TRIES_MAX = 2000 };

static const struct btree_options options = { .create = true,
                                              .page_bytes = 4096,
                                              .no_background = true,
                                              .map_bytes_max = TEST_MAP_BYTES,
                                              .checkpoint_log_bytes = 4 * KiB,
                                              .wal_bypass_bytes = 12 * KiB };

/* A machine whose store was killed with checkpoints and bypasses behind it, and both halves of the
 * log in use; *out_digest is what recovery must find. */
static struct os_sim *killed_machine(uint64_t *out_digest)
{
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    for (uint64_t n = 0; n < COMMITS; n++) {
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_numbers(txn, n * 10, n * 10 + (n == 5 ? 150 : 12), 90, n);
        kv_commit_ok(txn);
    }
    assert_true(store_stats(kv, false).checkpoints > 1);
    expect_ok(content_digest(kv, out_digest));
    struct os_sim *killed = os_sim_clone(sim);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
    return killed;
}

static void expect_all_there(struct os_sim *sim, uint64_t digest)
{
    struct kv *kv;
    uint64_t found;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    expect_ok(content_digest(kv, &found));
    assert_true(found == digest);
    kv_expect_sound(kv);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_text(txn, "again", "written");
    expect_ok(kv_commit(txn, KV_FULL));
    expect_ok(kv_close(kv));
}

static void test_recovery__survives_failing_allocations(void **state)
{
    (void)state;
    uint64_t digest, tries = 0;
    struct os_sim *killed = killed_machine(&digest);
    for (int is_sticky = 0; is_sticky < 2; is_sticky++) {
        sombra_err err = SOMBRA_NOMEM;
        for (uint64_t nth = 1; err; nth++, tries++) {
            assert_true(nth < TRIES_MAX);
            struct os_sim *sim = os_sim_clone(killed);
            struct kv *kv = NULL;
            uint64_t live = mem_test_live();
            mem_test_fail_at(nth, is_sticky);
            err = btree_open(os_sim_start(sim), "store", &options, &kv);
            mem_test_fail_at(0, false);
            if (err)
                assert_int_equal(err, SOMBRA_NOMEM);
            else
                expect_ok(kv_close(kv));
            assert_int_equal(mem_test_live(), live);
            expect_all_there(sim, digest);
            os_sim_free(sim);
        }
    }
    print_message("%" PRIu64 " runs, one for each allocation of a recovery\n", tries);
    assert_true(tries > 20);
    os_sim_free(killed);
}

static void fault_run(struct os_sim *killed, const struct os_sim_fault *fault, uint64_t digest)
{
    struct os_sim *sim = os_sim_clone(killed);
    struct kv *kv = NULL;
    os_sim_fail(sim, fault);
    sombra_err err = btree_open(os_sim_start(sim), "store", &options, &kv);
    bool is_invisible = fault->kind == OS_SIM_EINTR || fault->calls == 1u << OS_SIM_WRITE;
    if (err && (is_invisible || (err != SOMBRA_IO && err != SOMBRA_LIMIT)))
        fail_msg("fault %d at call %" PRIu64 ": %s", (int)fault->kind, fault->nth,
                 sombra_err_message());
    sombra_err close_err = kv ? kv_close(kv) : SOMBRA_OK;
    assert_true(!close_err || !is_invisible);
    os_sim_fail(sim, NULL);
    struct os_sim *after =
        os_sim_crash(sim, (enum os_sim_variant)(fault->nth % OS_SIM_VARIANTS), fault->nth);
    expect_all_there(after, digest);
    expect_all_there(sim, digest);
    os_sim_free(after);
    os_sim_free(sim);
}

/* What was durable before the crash is there, whatever recovery met, and after a power cut too. */
static void test_recovery__survives_failing_calls(void **state)
{
    (void)state;
    uint64_t digest, tries = 0;
    struct os_sim *killed = killed_machine(&digest);
    static const struct os_sim_fault faults[] = {
        { .kind = OS_SIM_EIO },
        { .kind = OS_SIM_ENOSPC },
        { .kind = OS_SIM_ENOSPC, .is_sticky = true },
        { .kind = OS_SIM_EINTR },
        { .kind = OS_SIM_SHORT, .is_sticky = true, .calls = 1u << OS_SIM_WRITE },
        { .kind = OS_SIM_SHORT, .calls = 1u << OS_SIM_SYNC },
    };
    struct os_sim *sim = os_sim_clone(killed);
    expect_all_there(sim, digest);
    uint64_t calls = os_sim_calls(sim);
    os_sim_free(sim);
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        uint64_t step = test_is_long() ? 1 : 4;
        for (uint64_t nth = 1 + i % step; nth <= calls; nth += step, tries++) {
            struct os_sim_fault fault = faults[i];
            fault.nth = nth;
            fault_run(killed, &fault, digest);
        }
    }
    print_message("%" PRIu64 " faults at up to %" PRIu64 " calls of a recovery\n", tries, calls);
    os_sim_free(killed);
}

/* ---- what a failed sync left in the page cache ------------------------------------------- */

enum { IMAGES_MAX = 200 };

/* A history whose every commit is durable when it returns, until the first error. */
struct history {
    uint64_t digests[COMMITS + 2]; /* of the content after commit n; 0 = empty */
    uint64_t acknowledged;
};

static sombra_err history_run(struct history *history, struct kv *kv, bool is_clean)
{
    sombra_err err = SOMBRA_OK;
    for (uint64_t n = 1; n <= COMMITS && !err; n++) {
        struct kv_txn *txn;
        struct kv_begin_options write = { .is_write = true };
        err = kv_begin(kv, &write, &txn);
        if (err)
            return err;
        kv_put_numbers(txn, n * 10, n * 10 + (n % 7 == 5 ? 150 : 12), 90, n);
        err = kv_commit(txn, KV_FULL);
        if (!err)
            history->acknowledged = n;
        if (!err && is_clean)
            expect_ok(content_digest(kv, &history->digests[n]));
    }
    return err;
}

struct cuts {
    struct os_sim *images[IMAGES_MAX];
    size_t count;
};

static void cut_each_call(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cuts *cuts = context;
    uint64_t dice = hash_u64(event->number);
    assert_true(cuts->count + 2 <= IMAGES_MAX);
    cuts->images[cuts->count++] =
        os_sim_crash(sim, (enum os_sim_variant)(dice % OS_SIM_VARIANTS), dice);
    cuts->images[cuts->count++] = os_sim_crash(sim, OS_SIM_NEWER_HALF, dice);
}

static void image_check(struct os_sim *image, const uint64_t *digests, uint64_t least,
                        uint64_t most, const char *what)
{
    struct kv *kv = NULL;
    uint64_t digest = 0;
    sombra_err err = btree_open(os_sim_start(image), "store", &options, &kv);
    if (!err)
        err = content_digest(kv, &digest);
    bool is_right = false;
    for (uint64_t n = least; n <= most && !err; n++)
        is_right = is_right || digests[n] == digest;
    if (!is_right)
        fail_msg("%s: %s", what, err ? sombra_err_message() : "not what was acknowledged");
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    os_sim_free(image);
}

/* What was acknowledged, or with the write that was not. */
static void history_check(const struct history *history, struct os_sim *image, const char *what)
{
    image_check(image, history->digests, history->acknowledged, history->acknowledged + 1, what);
}

/* A sync fails, all processes die, recovery is cut by power: at no call may it have overwritten
 * what the disk's own newest state needs. */
static void failed_sync_run(struct history *history, uint64_t nth)
{
    char what[100];
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = NULL;
    struct os *os = os_sim_start(sim);
    struct os_sim_fault fault = { .kind = OS_SIM_EIO, .nth = nth, .calls = 1u << OS_SIM_SYNC };
    history->acknowledged = 0;
    os_sim_fail(sim, &fault);
    sombra_err err = btree_open(os, "store", &options, &kv);
    if (!err)
        err = history_run(history, kv, false);
    os_sim_fail(sim, NULL);
    struct os_sim *killed = os_sim_clone(sim);
    os_sim_kill(os);
    sombra_err ignored = kv ? kv_close(kv) : SOMBRA_OK;
    (void)ignored;
    os_sim_free(sim);
    static struct cuts cuts;
    cuts.count = 0;
    os_sim_set_hook(killed, cut_each_call, &cuts);
    expect_ok(btree_open(os_sim_start(killed), "store", &options, &kv));
    os_sim_set_hook(killed, NULL, NULL);
    expect_ok(kv_close(kv));
    for (size_t i = 0; i < cuts.count; i++) {
        snprintf(what, sizeof what, "sync %" PRIu64 " failed, recovery cut before its call %zu",
                 nth, i / 2 + 1);
        history_check(history, cuts.images[i], what);
    }
    history_check(history, killed, "recovered after a failed sync");
}

static void test_recovery__builds_on_nothing_that_is_only_cached(void **state)
{
    (void)state;
    struct history history = { { 0 }, 0 };
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    expect_ok(content_digest(kv, &history.digests[0]));
    expect_ok(history_run(&history, kv, true));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
    uint64_t step = test_is_long() ? 1 : 3, tries = 0;
    history.acknowledged = 0;
    for (uint64_t nth = 1; history.acknowledged < COMMITS; nth += step, tries++)
        failed_sync_run(&history, nth);
    print_message("%" PRIu64 " runs with a failed sync each\n", tries);
}

/* Another process's commits while a checkpoint waits for the sync of its meta record, which fails.
 * They are durable in the log; their recovery writes into pages that are free in that record, which
 * only the page cache has, and in use in the one before. */
struct beside {
    struct kv *other; /* NULL = not now */
    unsigned syncs;   /* of the database since the checkpoint began */
};

static void fail_the_second_sync(void *context, struct os_sim *sim,
                                 const struct os_sim_event *event)
{
    struct beside *beside = context;
    bool is_database = strcmp(event->path, "store") == 0 || strcmp(event->path, "/store") == 0;
    if (!beside->other || event->call != OS_SIM_SYNC || !is_database || ++beside->syncs != 2)
        return;
    struct kv *other = beside->other;
    beside->other = NULL; /* its own calls come here too */
    for (uint64_t n = 0; n < 3; n++) {
        struct kv_txn *txn = kv_begin_write(other);
        kv_put_numbers(txn, 0, 1500, 90, 100 + n);
        expect_ok(kv_commit(txn, KV_FULL));
    }
    os_sim_fail_at(sim, 1, OS_SIM_EIO, false);
}

static void test_recovery__of_commits_behind_a_checkpoint_whose_meta_is_only_cached(void **state)
{
    (void)state;
    struct btree_options quiet = options;
    quiet.checkpoint_log_bytes = MiB; /* only the one that the test asks for */
    quiet.wal_bypass_bytes = MiB;
    struct history history = { { 0 }, 0 };
    struct os_sim *sim = os_sim_new(NULL);
    struct os *processes[2] = { os_sim_start(sim), os_sim_start(sim) };
    struct kv *kvs[2];
    for (size_t i = 0; i < 2; i++) {
        expect_ok(btree_open(processes[i], "store", &quiet, &kvs[i]));
        struct kv_txn *txn = kv_begin_write(kvs[i]);
        kv_put_numbers(txn, 0, 1500, 90, i);
        expect_ok(kv_commit(txn, KV_FULL));
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        expect_ok(kv_maintain(kvs[i], &job));
    }
    struct kv_txn *txn = kv_begin_write(kvs[0]);
    kv_put_numbers(txn, 0, 1500, 90, 7);
    expect_ok(kv_commit(txn, KV_FULL));
    struct beside beside = { .other = kvs[1] };
    os_sim_set_hook(sim, fail_the_second_sync, &beside);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_err(SOMBRA_IO, kv_maintain(kvs[0], &job));
    os_sim_set_hook(sim, NULL, NULL);
    expect_ok(content_digest(kvs[1], &history.digests[0]));
    history.digests[1] = history.digests[0]; /* it stops before anything else is begun */
    struct os_sim *killed = os_sim_clone(sim);
    for (size_t i = 0; i < 2; i++) {
        os_sim_kill(processes[i]);
        sombra_err ignored = kv_close(kvs[i]);
        (void)ignored;
    }
    os_sim_free(sim);
    static struct cuts cuts;
    cuts.count = 0;
    os_sim_set_hook(killed, cut_each_call, &cuts);
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(killed), "store", &quiet, &kv));
    os_sim_set_hook(killed, NULL, NULL);
    expect_ok(kv_close(kv));
    for (size_t i = 0; i < cuts.count; i++)
        history_check(&history, cuts.images[i], "recovery of a cached meta record, cut");
    history_check(&history, killed, "recovered from a cached meta record");
    print_message("%zu cuts\n", cuts.count);
}

/* ---- the first write behind a close ------------------------------------------------------- */

/* Power cuts at every call of an open, a write and a close. */
struct script {
    enum os_sim_variant variant;
    uint64_t written; /* numbers of the newest durable write, and */
    uint64_t begun;   /* of the newest begun */
    size_t count;
    struct os_sim *images[IMAGES_MAX];
    uint64_t least[IMAGES_MAX], most[IMAGES_MAX];
};

static void script_cut(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct script *script = context;
    assert_true(script->count < IMAGES_MAX);
    script->least[script->count] = script->written;
    script->most[script->count] = script->begun;
    script->images[script->count++] = os_sim_crash(sim, script->variant, event->number);
}

static sombra_err script_write(struct script *script, struct kv *kv, uint64_t number)
{
    struct kv_txn *txn;
    struct kv_begin_options write = { .is_write = true };
    script->begun = number;
    sombra_err err = kv_begin(kv, &write, &txn);
    if (err)
        return err;
    kv_put_numbers(txn, 0, 12, 90, number);
    err = kv_commit(txn, KV_FULL);
    if (!err)
        script->written = number;
    return err;
}

/* Two writes; sync `nth` of the close behind them fails, if it makes so many: says so. */
static bool script_prepare(struct script *script, struct os_sim *sim, uint64_t nth)
{
    struct kv *kv = NULL;
    for (uint64_t number = 1; number <= 2; number++) {
        expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
        expect_ok(script_write(script, kv, number));
        struct os_sim_fault fault = { .kind = OS_SIM_EIO, .nth = nth, .calls = 1u << OS_SIM_SYNC };
        os_sim_fail(sim, number == 2 ? &fault : NULL);
        sombra_err err = kv_close(kv);
        assert_true(number == 2 || !err);
    }
    os_sim_fail(sim, NULL);
    return os_sim_faults(sim) > 0;
}

/* Then a script: opens, writes, maybe writes again, closes; power is cut at each of its calls. */
static bool script_run(const uint64_t *digests, uint64_t nth, enum os_sim_variant variant,
                       uint64_t writes)
{
    static struct script script;
    script = (struct script){ .variant = variant };
    char what[100];
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = NULL;
    bool has_failed = script_prepare(&script, sim, nth);
    os_sim_set_hook(sim, script_cut, &script);
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    for (uint64_t number = 3; number < 3 + writes; number++)
        expect_ok(script_write(&script, kv, number));
    expect_ok(kv_close(kv));
    os_sim_set_hook(sim, NULL, NULL);
    for (size_t i = 0; i < script.count; i++) {
        snprintf(what, sizeof what, "sync %" PRIu64 " of the close, call %zu behind it, %s", nth,
                 i + 1, os_sim_variant_name(variant));
        image_check(script.images[i], digests, script.least[i], script.most[i], what);
    }
    image_check(os_sim_crash(sim, OS_SIM_NOTHING, 1), digests, 2 + writes, 2 + writes, "closed");
    os_sim_free(sim);
    return has_failed;
}

enum { NUMBERS = 5 };

/* Of the content after each write. */
static void script_digests(uint64_t digests[NUMBERS])
{
    struct os_sim *sim = os_sim_new(NULL);
    struct script script = { .written = 0 };
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    for (uint64_t number = 1; number < NUMBERS; number++) {
        expect_ok(script_write(&script, kv, number));
        expect_ok(content_digest(kv, &digests[number]));
    }
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* The second meta record of a close may be page cache that the disk never got. */
static void test_recovery__of_scripts_behind_a_close_whose_sync_failed(void **state)
{
    (void)state;
    uint64_t digests[NUMBERS] = { 0 };
    script_digests(digests);
    unsigned tries = 0;
    for (int variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        bool has_failed = true;
        for (uint64_t nth = 1; has_failed; nth++, tries++)
            has_failed = script_run(digests, nth, (enum os_sim_variant)variant, 1 + nth % 2);
    }
    print_message("%u scripts\n", tries);
}

/* Two processes open what such a close left. The first, which saw both records, dies before call
 * `nth` of beginning to write, and the other writes: it undoes what was begun. False if nobody
 * died. */
static bool undo_run(const uint64_t *digests, uint64_t nth, enum os_sim_variant variant)
{
    enum { SYNC_OF_THE_SECOND_META = 1 }; /* the commit made the first one */
    static struct script script;
    script = (struct script){ .variant = variant };
    char what[100];
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os[2] = { os_sim_start(sim), os_sim_start(sim) };
    struct kv *kv[2];
    assert_true(script_prepare(&script, sim, SYNC_OF_THE_SECOND_META));
    for (size_t i = 0; i < 2; i++)
        expect_ok(btree_open(os[i], "store", &options, &kv[i]));
    struct kv_txn *txn;
    struct kv_begin_options write = { .is_write = true };
    os_sim_stop_at(os[0], nth);
    if (kv_begin(kv[0], &write, &txn) == SOMBRA_OK)
        kv_abort(txn);
    bool has_died = os_sim_is_dead(os[0]);
    os_sim_kill(os[0]);
    os_sim_set_hook(sim, script_cut, &script);
    expect_ok(script_write(&script, kv[1], 4));
    expect_ok(kv_close(kv[1]));
    os_sim_set_hook(sim, NULL, NULL);
    sombra_err ignored = kv_close(kv[0]);
    (void)ignored;
    for (size_t i = 0; i < script.count; i++) {
        snprintf(what, sizeof what, "killed at call %" PRIu64 ", call %zu behind it, %s", nth,
                 i + 1, os_sim_variant_name(variant));
        image_check(script.images[i], digests, script.least[i], script.most[i], what);
    }
    image_check(os_sim_crash(sim, OS_SIM_NOTHING, 1), digests, 4, 4, "closed");
    os_sim_free(sim);
    return has_died;
}

/* The record that stays when the one that was begun goes may be page cache that the disk never got.
 */
static void test_recovery__of_a_first_write_that_was_undone_behind_such_a_close(void **state)
{
    (void)state;
    uint64_t digests[NUMBERS] = { 0 };
    script_digests(digests);
    unsigned kills = 0, step = test_is_long() ? 1 : 4;
    for (uint64_t variant = kv_test_seed("the first form of a cut") % step;
         variant < OS_SIM_VARIANTS; variant += step)
        for (uint64_t nth = 1; undo_run(digests, nth, (enum os_sim_variant)variant); nth++)
            kills++;
    print_message("%u kills\n", kills);
}

static void test_recovery__verify_and_stats_survive_failing_allocations(void **state)
{
    (void)state;
    static const enum kv_maintenance_kind kinds[] = { KV_VERIFY, KV_STATS, KV_CHECKPOINT };
    uint64_t digest, found, tries = 0;
    struct os_sim *sim = killed_machine(&digest);
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(sim), "store", &options, &kv));
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        sombra_err err = SOMBRA_NOMEM;
        for (uint64_t nth = 1; err; nth++, tries++) {
            assert_true(nth < TRIES_MAX);
            struct kv_maintenance job = { .kind = kinds[i], .walk = true };
            uint64_t live = mem_test_live();
            mem_test_fail_at(nth, false);
            err = kv_maintain(kv, &job);
            mem_test_fail_at(0, false);
            if (err)
                assert_int_equal(err, SOMBRA_NOMEM);
            assert_int_equal(job.problems, 0);
            assert_int_equal(mem_test_live(), live);
            expect_ok(content_digest(kv, &found));
            assert_true(found == digest);
        }
    }
    print_message("%" PRIu64 " runs, one for each allocation of a job\n", tries);
    expect_ok(kv_close(kv));
    expect_all_there(sim, digest);
    os_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovery__survives_failing_allocations),
        cmocka_unit_test(test_recovery__survives_failing_calls),
        cmocka_unit_test(test_recovery__builds_on_nothing_that_is_only_cached),
        cmocka_unit_test(test_recovery__of_commits_behind_a_checkpoint_whose_meta_is_only_cached),
        cmocka_unit_test(test_recovery__of_scripts_behind_a_close_whose_sync_failed),
        cmocka_unit_test(test_recovery__of_a_first_write_that_was_undone_behind_such_a_close),
        cmocka_unit_test(test_recovery__verify_and_stats_survive_failing_allocations),
    };
    return cmocka_run_group_tests_name("btree, recovery", tests, NULL, NULL);
}
