/* SPDX-License-Identifier: MIT */
/* A database that was not closed, and damage to its log or metas: what was acknowledged as durable
 * is there, or the open fails with CORRUPT. Never is it silently gone.
 *
 * SOMBRA_LONG=1 flips every byte of the logs' records; else a sample by the printed seed.
 */
#include "btree_fixture.h"

#include "btree/meta_format.h"

#include <inttypes.h>

enum { PAGE_BYTES = 4096, COMMITS = 60 };

/* Every commit is durable when it returns. */
static struct btree_options unclean_options(void)
{
    return (struct btree_options){ .page_bytes = PAGE_BYTES,
                                   .map_bytes_max = TEST_MAP_BYTES,
                                   .no_background = true,
                                   .durability = KV_FULL };
}

/* A machine whose process can be taken away at any moment, and the content after each commit. */
struct victim {
    struct store store;
    uint64_t seed;
    uint64_t digests[COMMITS + 1];
    unsigned commits;
    unsigned commits_in_hook; /* to be made while the next meta record is about to be written */
    struct os_sim *taken;     /* the machine as it was then */
};

static void commit_next(struct victim *victim)
{
    assert_true(victim->commits < COMMITS);
    unsigned n = ++victim->commits;
    struct kv_txn *txn = kv_begin_write(victim->store.kv);
    char key[32];
    snprintf(key, sizeof key, "commit %03u", n);
    put_sized(txn, key, n, 30 + n);
    put_sized(txn, "the same key every time", n, 100);
    if (n % 5 == 0)
        put_sized(txn, "a value in pages of its own", n, 3000);
    snprintf(key, sizeof key, "commit %03u", n / 2);
    if (n % 3 == 0)
        kv_delete_text(txn, key);
    if (n % 3 == 0)
        put_sized(txn, key, n, 10);
    kv_commit_ok(txn);
    expect_ok(content_digest(victim->store.kv, &victim->digests[n]));
}

static void commit_some(struct victim *victim, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        commit_next(victim);
}

static void victim_begin(struct victim *victim, const struct btree_options *options)
{
    victim->commits = 0;
    store_init_simulated(&victim->store, options);
    expect_ok(content_digest(victim->store.kv, &victim->digests[0]));
}

static void checkpoint(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(kv, &job));
}

/* Opens what is on the machine. The commit found, or -1 for an error, which must be of damage. */
static int commit_found(struct victim *victim, struct os_sim *sim, const char *what)
{
    struct kv *kv;
    struct btree_options options = unclean_options();
    sombra_err err = btree_open(os_sim_start(sim), "store", &options, &kv);
    if (err) {
        if (err != SOMBRA_CORRUPT)
            fail_msg("%s: %s: %s", what, sombra_err_name(err), sombra_err_message());
        assert_non_null(strstr(sombra_err_message(), "store"));
        return -1;
    }
    uint64_t digest, problems;
    int found = -1;
    expect_ok(content_digest(kv, &digest));
    for (unsigned n = 0; n <= victim->commits; n++)
        if (victim->digests[n] == digest)
            found = (int)n;
    if (found < 0)
        fail_msg("%s: the content is that of no commit", what);
    expect_ok(verify_count(kv, &problems));
    if (problems)
        fail_msg("%s: %" PRIu64 " problems", what, problems);
    expect_ok(kv_close(kv));
    return found;
}

static void expect_at_least(struct victim *victim, struct os_sim *sim, unsigned low,
                            const char *what)
{
    int found = commit_found(victim, sim, what);
    if (found >= 0 && (unsigned)found < low)
        fail_msg("%s: durable commit %u is silently gone, %d is there", what, low, found);
}

/* Flips bytes [first, last) of a file of the machine, each on a clone of its own. */
static void flip_each(struct victim *victim, struct os_sim *sim, const char *path, uint64_t first,
                      uint64_t last, uint64_t one_in, unsigned low)
{
    uint64_t flips = 0;
    for (uint64_t at = first; at < last; at++) {
        if (!test_is_long() && hash_u64(victim->seed + at) % one_in)
            continue;
        for (unsigned i = 0; i < 2; i++) {
            char what[96];
            struct os_sim *clone = os_sim_clone(sim);
            uint8_t bits = i ? 1 : 0xff;
            snprintf(what, sizeof what, "%s, byte %" PRIu64 " xor %02x", path, at, bits);
            assert_true(os_sim_flip(clone, path, at, bits));
            expect_at_least(victim, clone, low, what);
            os_sim_free(clone);
            flips++;
        }
    }
    print_message("%" PRIu64 " flips in %s\n", flips, path);
    assert_true(flips > 0);
}

/* ---- the log ----------------------------------------------------------------------------- */

/* The last record has nothing behind it that knows it durable: it may look like a crash's tail. */
static void test_unclean__flipped_log_bytes_lose_nothing_that_a_mark_covers(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    commit_some(victim, 12);
    uint64_t log_bytes = 12 * 400;
    struct os_sim *sim = os_sim_clone(victim->store.sim);
    struct os_sim *clone = os_sim_clone(sim);
    assert_int_equal(commit_found(victim, clone, "untouched"), 12);
    os_sim_free(clone);
    flip_each(victim, sim, "store-log0", 0, log_bytes, 8, 11);
    os_sim_free(sim);
    store_release(&victim->store);
}

static void commit_in_hook(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct victim *victim = context;
    const char *slash = strrchr(event->path, '/');
    const char *name = slash ? slash + 1 : event->path;
    bool is_meta = event->call == OS_SIM_WRITE && strcmp(name, "store") == 0 &&
                   event->offset < META_AREA_BYTES && event->bytes == META_BYTES;
    if (!is_meta)
        return;
    os_sim_set_hook(sim, NULL, NULL);
    commit_some(victim, victim->commits_in_hook);
    victim->taken = os_sim_clone(sim);
}

/* A checkpoint was about to write its meta record, commits went on meanwhile: the log has two
 * halves that count. */
static void test_unclean__flips_in_either_half_of_the_log_lose_nothing(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    commit_some(victim, 8);
    victim->commits_in_hook = 6;
    os_sim_set_hook(victim->store.sim, commit_in_hook, victim);
    checkpoint(victim->store.kv);
    assert_non_null(victim->taken);
    assert_int_equal(victim->commits, 14);
    struct os_sim *sim = victim->taken;
    struct os_sim *clone = os_sim_clone(sim);
    assert_int_equal(commit_found(victim, clone, "untouched"), 14);
    os_sim_free(clone);
    /* The first half with the checkpoint's own record at its end, and the second. */
    flip_each(victim, sim, "store-log0", 0, 9 * 400, 8, 13);
    flip_each(victim, sim, "store-log1", 0, 6 * 400, 8, 13);
    os_sim_free(sim);
    store_release(&victim->store);
}

static void expect_corrupt(struct victim *victim, struct os_sim *sim, const char *what)
{
    if (commit_found(victim, sim, what) >= 0)
        fail_msg("%s: not noticed", what);
}

static void test_unclean__missing_log_is_corrupt_and_changes_nothing(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    commit_some(victim, 5);
    for (unsigned files = 1; files < 4; files++) {
        struct os_sim *clone = os_sim_clone(victim->store.sim);
        struct os *os = os_sim_start(clone);
        if (files & 1)
            expect_ok(os_rename(os, "store-log0", "kept0"));
        if (files & 2)
            expect_ok(os_rename(os, "store-log1", "kept1"));
        expect_corrupt(victim, clone, "a log is missing");
        /* Put back, it is all there. */
        if (files & 1)
            expect_ok(os_rename(os, "kept0", "store-log0"));
        if (files & 2)
            expect_ok(os_rename(os, "kept1", "store-log1"));
        assert_int_equal(commit_found(victim, clone, "put back"), 5);
        os_sim_free(clone);
    }
    store_release(&victim->store);
}

/* Commits of another database, of the same shape. */
static void other_database(struct os_sim *sim, struct kv **out_kv)
{
    struct btree_options options = unclean_options();
    options.create = true;
    expect_ok(btree_open(os_sim_start(sim), "other", &options, out_kv));
    for (unsigned n = 1; n < 9; n++) {
        struct kv_txn *txn = kv_begin_write(*out_kv);
        put_sized(txn, "somebody else's", n, 200);
        kv_commit_ok(txn);
    }
}

/* The random part of the epoch may be greater or less than the own one: both ways. */
static void test_unclean__log_of_another_database_is_corrupt(void **state)
{
    struct victim *victim = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct os_sim_options machine = { .seed = victim->seed + seed };
        struct btree_options options = unclean_options();
        options.create = true;
        victim->store = (struct store){ .sim = os_sim_new(&machine), .options = options };
        victim->store.os = os_sim_start(victim->store.sim);
        snprintf(victim->store.path, sizeof victim->store.path, "store");
        store_open(&victim->store);
        victim->commits = 0;
        expect_ok(content_digest(victim->store.kv, &victim->digests[0]));
        commit_some(victim, 6);
        struct kv *other;
        other_database(victim->store.sim, &other);
        struct os_sim *clone = os_sim_clone(victim->store.sim);
        struct os *os = os_sim_start(clone);
        expect_ok(os_rename(os, "other-log0", "store-log0"));
        expect_ok(os_rename(os, "other-log1", "store-log1"));
        expect_corrupt(victim, clone, "the log of another database");
        os_sim_free(clone);
        expect_ok(kv_close(other));
        store_release(&victim->store);
    }
}

static void test_unclean__halves_put_back_the_wrong_way_round_are_corrupt(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    for (unsigned checkpoints = 0; checkpoints < 3; checkpoints++) {
        commit_some(victim, 3);
        struct os_sim *clone = os_sim_clone(victim->store.sim);
        struct os *os = os_sim_start(clone);
        expect_ok(os_rename(os, "store-log0", "kept"));
        expect_ok(os_rename(os, "store-log1", "store-log0"));
        expect_ok(os_rename(os, "kept", "store-log1"));
        expect_corrupt(victim, clone, "the halves are swapped");
        os_sim_free(clone);
        checkpoint(victim->store.kv);
    }
    store_release(&victim->store);
}

/* ---- the metas --------------------------------------------------------------------------- */

/* Flips both metas' bytes; a state of the store that has `low` durable commits. */
static void flip_metas(struct victim *victim, const char *what)
{
    struct os_sim *sim = os_sim_clone(victim->store.sim);
    struct os_sim *clone = os_sim_clone(sim);
    assert_int_equal(commit_found(victim, clone, what), (int)victim->commits);
    os_sim_free(clone);
    for (unsigned slot = 0; slot < META_SLOTS; slot++)
        flip_each(victim, sim, "store", slot * META_SLOT_BYTES, slot * META_SLOT_BYTES + META_BYTES,
                  8, victim->commits);
    os_sim_free(sim);
}

/* The meta before says "clean": damage to the newer one must not make the log forgotten. */
static void test_unclean__damaged_meta_of_the_first_write_does_not_hide_the_log(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    commit_some(victim, 4);
    store_reopen(&victim->store);
    commit_some(victim, 4);
    flip_metas(victim, "after the first write");
    store_release(&victim->store);
}

/* The checkpoint before is no longer pinned: its pages may be rewritten. */
static void test_unclean__damaged_meta_does_not_bring_an_older_tree_back(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    for (unsigned i = 0; i < 3; i++) {
        commit_some(victim, 4);
        checkpoint(victim->store.kv);
    }
    commit_some(victim, 40);
    flip_metas(victim, "after checkpoints");
    store_release(&victim->store);
}

/* A transaction beside the log is in no log. */
static void test_unclean__damaged_meta_does_not_lose_a_commit_beside_the_log(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    options.wal_bypass_bytes = 1;
    victim_begin(victim, &options);
    commit_some(victim, 7);
    assert_int_equal(store_stats(victim->store.kv, false).checkpoints, 7);
    flip_metas(victim, "after commits beside the log");
    store_release(&victim->store);
}

/* ---- the tree ---------------------------------------------------------------------------- */

static void test_unclean__flips_in_checkpointed_pages_are_found(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = unclean_options();
    victim_begin(victim, &options);
    commit_some(victim, 10);
    checkpoint(victim->store.kv);
    commit_some(victim, 5);
    struct os_sim *sim = os_sim_clone(victim->store.sim);
    struct kv_stats stats = store_stats(victim->store.kv, false);
    uint64_t unnoticed = 0;
    for (uint64_t page = 2; page < stats.pages_total; page++) {
        struct os_sim *clone = os_sim_clone(sim);
        assert_true(os_sim_flip(clone, "store", page * PAGE_BYTES + 60, 0xff));
        struct kv *kv;
        uint64_t digest;
        sombra_err err = btree_open(os_sim_start(clone), "store", &options, &kv);
        if (!err) {
            err = content_digest(kv, &digest);
            if (!err && digest != victim->digests[victim->commits])
                fail_msg("page %" PRIu64 ": another content", page);
            unnoticed += !err;
            expect_ok(kv_close(kv));
        }
        if (err && err != SOMBRA_CORRUPT)
            fail_msg("page %" PRIu64 ": %s: %s", page, sombra_err_name(err), sombra_err_message());
        os_sim_free(clone);
    }
    assert_true(unnoticed > 0 && unnoticed < stats.pages_total - 2);
    os_sim_free(sim);
    store_release(&victim->store);
}

int main(void)
{
    struct victim victim = { .seed = kv_test_seed("btree, unclean files") };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_unclean__flipped_log_bytes_lose_nothing_that_a_mark_covers,
                                  &victim),
        cmocka_unit_test_prestate(test_unclean__flips_in_either_half_of_the_log_lose_nothing,
                                  &victim),
        cmocka_unit_test_prestate(test_unclean__missing_log_is_corrupt_and_changes_nothing,
                                  &victim),
        cmocka_unit_test_prestate(test_unclean__log_of_another_database_is_corrupt, &victim),
        cmocka_unit_test_prestate(test_unclean__halves_put_back_the_wrong_way_round_are_corrupt,
                                  &victim),
        cmocka_unit_test_prestate(
            test_unclean__damaged_meta_of_the_first_write_does_not_hide_the_log, &victim),
        cmocka_unit_test_prestate(test_unclean__damaged_meta_does_not_bring_an_older_tree_back,
                                  &victim),
        cmocka_unit_test_prestate(test_unclean__damaged_meta_does_not_lose_a_commit_beside_the_log,
                                  &victim),
        cmocka_unit_test_prestate(test_unclean__flips_in_checkpointed_pages_are_found, &victim),
    };
    return cmocka_run_group_tests_name("btree, unclean files", tests, NULL, NULL);
}
