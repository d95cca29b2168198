/* SPDX-License-Identifier: MIT */
/* The first commit of an open, which makes no log (decision 0025), when its record rots, and when
 * its process dies of it while another is attached, or comes, or follows.
 */
#include "btree_fixture.h"

#include "btree/upkeep.h"
#include "btree/meta_format.h"

#include <inttypes.h>

static const struct btree_options options = {
    .create = true, .page_bytes = 4096, .no_background = true, .map_bytes_max = TEST_MAP_BYTES
};

enum { STATES = 5, CALLS_MAX = 100 };

/* The content after commit n. */
static uint64_t digests[STATES];

static struct kv *open_store(struct os *os)
{
    struct kv *kv;
    expect_ok(btree_open(os, "store", &options, &kv));
    return kv;
}

static sombra_err write_state(struct kv *kv, uint64_t number)
{
    struct kv_txn *txn;
    struct kv_begin_options write = { .is_write = true, .busy_timeout_ms = 10000 };
    sombra_err err = kv_begin(kv, &write, &txn);
    if (err)
        return err;
    kv_put_numbers(txn, 0, 40, 90, number);
    return kv_commit(txn, KV_FULL);
}

/* A machine that knows commit 1, closed. */
static struct os_sim *machine_new(void)
{
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = open_store(os_sim_start(sim));
    expect_ok(write_state(kv, 1));
    expect_ok(kv_close(kv));
    return sim;
}

static int digests_fill(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = open_store(os_sim_start(sim));
    for (uint64_t n = 0; n < STATES; n++) {
        if (n > 0)
            expect_ok(write_state(kv, n));
        expect_ok(content_digest(kv, &digests[n]));
    }
    expect_ok(kv_close(kv));
    os_sim_free(sim);
    return 0;
}

static void expect_state(struct kv *kv, uint64_t least, uint64_t most, const char *what)
{
    uint64_t digest = 0;
    bool is_right = false;
    expect_ok(content_digest(kv, &digest));
    for (uint64_t n = least; n <= most; n++)
        is_right = is_right || digests[n] == digest;
    if (!is_right)
        fail_msg("%s: not what was committed", what);
    kv_expect_sound(kv);
}

static bool there_is(struct os *os, const char *path)
{
    struct os_identity identity;
    return os_identify_path(os, path, &identity) == SOMBRA_OK;
}

static void test_script__first_commit_makes_no_log(void **state)
{
    (void)state;
    struct os_sim *sim = machine_new();
    struct os *os = os_sim_start(sim);
    struct kv *kv = open_store(os);
    expect_ok(write_state(kv, 2));
    assert_false(there_is(os, "store-log0"));
    assert_int_equal(store_stats(kv, false).checkpoints, 1);
    expect_ok(write_state(kv, 3));
    assert_true(there_is(os, "store-log0"));
    assert_int_equal(store_stats(kv, false).checkpoints, 1);
    expect_ok(kv_close(kv));
    /* Who is not alone is likely to be long at work. */
    kv = open_store(os);
    struct kv *other = open_store(os_sim_start(sim));
    expect_ok(write_state(kv, 4));
    assert_true(there_is(os, "store-log0"));
    expect_ok(kv_close(other));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* What it took of the file's end is cut off under the mapping, and taken again. */
static void test_script__first_transaction_may_be_given_up(void **state)
{
    (void)state;
    struct os_sim *sim = machine_new();
    struct kv *kv = open_store(os_sim_start(sim));
    for (uint64_t round = 0; round < 3; round++) {
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_numbers(txn, 0, 2000 + 1000 * round, 90, round);
        kv_abort(txn);
        expect_state(kv, 1, 1, "given up");
    }
    struct kv_txn *txn = kv_begin_write(kv);
    uint64_t mark;
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    kv_put_numbers(txn, 0, 3000, 90, 3);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_put_numbers(txn, 0, 40, 90, 2);
    expect_ok(kv_commit(txn, KV_FULL));
    expect_state(kv, 2, 2, "committed");
    txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 3000, 90, 3);
    kv_abort(txn);
    expect_ok(write_state(kv, 3));
    expect_state(kv, 3, 3, "logged");
    struct os_sim *cut = os_sim_crash(sim, OS_SIM_NOTHING, 1);
    struct kv *after = open_store(os_sim_start(cut));
    expect_state(after, 3, 3, "logged, and cut");
    expect_ok(kv_close(after));
    os_sim_free(cut);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* What the first commit freed is still read, by a snapshot of who writes next, or of the first. */
static void test_script__next_process_keeps_what_snapshots_read(void **state)
{
    (void)state;
    for (int reads_first = 0; reads_first < 2; reads_first++) {
        struct os_sim *sim = machine_new();
        struct kv *kv = open_store(os_sim_start(sim));
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_numbers(txn, 0, 40, 90, 2);
        struct kv *other = open_store(os_sim_start(sim));
        struct kv_txn *reader = kv_begin_read(reads_first ? kv : other);
        uint64_t entries;
        uint64_t digest = kv_digest(reader, (struct kv_range){ 0 }, &entries);
        kv_commit_ok(txn);
        expect_ok(write_state(other, 3));
        expect_ok(write_state(other, 4));
        assert_int_equal(kv_digest(reader, (struct kv_range){ 0 }, &entries), digest);
        expect_ok(write_state(kv, 3));
        assert_int_equal(kv_digest(reader, (struct kv_range){ 0 }, &entries), digest);
        kv_abort(reader);
        expect_state(kv, 3, 3, "the first");
        expect_state(other, 3, 3, "the other");
        expect_ok(kv_close(kv));
        expect_ok(kv_close(other));
        os_sim_free(sim);
    }
}

/* Who may only read knows the account by the file, and that is of the newest commit. */
static void test_script__readonly_process_verifies_the_commit(void **state)
{
    (void)state;
    struct os_sim *sim = machine_new();
    struct kv *kv = open_store(os_sim_start(sim));
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 40, 90, 2);
    struct btree_options reads = options;
    reads.create = false;
    reads.is_readonly = true;
    struct kv *reader;
    expect_ok(btree_open(os_sim_start(sim), "store", &reads, &reader));
    expect_state(reader, 1, 1, "while it is open");
    kv_commit_ok(txn);
    expect_state(reader, 2, 2, "committed");
    expect_ok(write_state(kv, 3));
    expect_state(reader, 3, 3, "logged");
    expect_ok(kv_close(kv));
    expect_ok(kv_close(reader));
    os_sim_free(sim);
}

/* Pages prepared for a transaction that was given up are another process's by the time that this
 * one comes to them again. */
static void test_script__given_up_pages_may_be_taken_by_others(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(&(struct os_sim_options){ .lacks_mapped_stores = true });
    struct kv *kv = open_store(os_sim_start(sim));
    expect_ok(write_state(kv, 1));
    expect_ok(kv_close(kv));
    for (uint64_t entries = 1; entries < 300; entries += 7) {
        kv = open_store(os_sim_start(sim));
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_numbers(txn, 0, entries, 90, 5);
        kv_abort(txn);
        expect_ok(write_state(kv, 2));
        struct kv *other = open_store(os_sim_start(sim));
        txn = kv_begin_write(other);
        kv_put_numbers(txn, 0, 1000, 90, entries);
        kv_commit_ok(txn);
        txn = kv_begin_write(kv);
        kv_put_numbers(txn, 500, 600, 90, entries);
        uint64_t found, all = 0;
        uint64_t digest = kv_digest(txn, (struct kv_range){ 0 }, &found);
        kv_commit_ok(txn);
        txn = kv_begin_read(other);
        assert_true(digest == kv_digest(txn, (struct kv_range){ 0 }, &all));
        assert_int_equal(all, found);
        kv_abort(txn);
        kv_expect_sound(other);
        txn = kv_begin_write(other);
        uint64_t gone = 0;
        expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, &gone));
        kv_commit_ok(txn);
        expect_ok(kv_close(kv));
        expect_ok(kv_close(other));
    }
    os_sim_free(sim);
}

/* Rot of the commit's meta record never shows the state before it as if nothing were. */
static void test_script__damaged_meta_of_the_commit_is_found(void **state)
{
    (void)state;
    struct os_sim *sim = machine_new();
    struct kv *kv = open_store(os_sim_start(sim));
    expect_ok(write_state(kv, 2));
    struct os_sim *cut = os_sim_crash(sim, OS_SIM_NOTHING, 1);
    expect_ok(kv_close(kv));
    unsigned corrupt = 0;
    for (uint64_t slot = 0; slot < META_SLOTS; slot++) {
        for (uint64_t offset = 0; offset < META_BYTES; offset += 3) {
            struct os_sim *rotten = os_sim_clone(cut);
            assert_true(os_sim_flip(rotten, "store", slot * META_SLOT_BYTES + offset, 4));
            sombra_err err = btree_open(os_sim_start(rotten), "store", &options, &kv);
            bool is_refused = err == SOMBRA_CORRUPT || err == SOMBRA_UNSUPPORTED;
            corrupt += err == SOMBRA_CORRUPT;
            if (!is_refused) {
                expect_ok(err);
                expect_state(kv, 2, 2, "one meta record damaged");
                expect_ok(kv_close(kv));
            }
            os_sim_free(rotten);
        }
    }
    assert_true(corrupt > META_BYTES / 3 - 5);
    os_sim_free(cut);
    os_sim_free(sim);
}

/* What a power cut leaves, in any form; without SOMBRA_LONG=1 in each fifth, another fifth
 * each time. */
static void expect_survived(struct os_sim *sim, uint64_t least, uint64_t most, const char *what)
{
    static unsigned calls;
    unsigned step = test_is_long() ? 1 : 5;
    for (unsigned variant = calls++ % step; variant < OS_SIM_VARIANTS; variant += step) {
        struct os_sim *after = os_sim_crash(sim, (enum os_sim_variant)variant, 7);
        struct kv *kv = open_store(os_sim_start(after));
        expect_state(kv, least, most, what);
        expect_ok(write_state(kv, 4));
        expect_ok(kv_close(kv));
        kv = open_store(os_sim_start(after));
        expect_state(kv, 4, 4, what);
        expect_ok(kv_close(kv));
        os_sim_free(after);
    }
}

/* The process dies at call `nth` of its commit or close; another came while its transaction was
 * open
 * (`joins`), or comes after it. False: it had fewer calls. */
static bool death_run(uint64_t nth, bool joins)
{
    char what[80];
    snprintf(what, sizeof what, "dead at call %" PRIu64 "%s", nth, joins ? ", not alone" : "");
    struct os_sim *sim = machine_new();
    struct os *os = os_sim_start(sim), *neighbour = os_sim_start(sim);
    struct kv *kv = open_store(os), *other = NULL;
    struct kv_begin_options write = { .is_write = true };
    struct kv_txn *txn;
    expect_ok(kv_begin(kv, &write, &txn));
    kv_put_numbers(txn, 0, 40, 90, 2);
    if (joins)
        other = open_store(neighbour);
    os_sim_stop_at(os, nth);
    sombra_err err = kv_commit(txn, KV_FULL);
    uint64_t least = err ? 1 : 2;
    bool is_dead = os_sim_is_dead(os);
    if (!is_dead && joins)
        expect_state(other, 2, 2, what);
    sombra_err ignored = kv_close(kv);
    (void)ignored; /* dead or alive */
    is_dead = is_dead || os_sim_is_dead(os);
    os_sim_kill(os);
    expect_survived(sim, least, 2, what);
    if (!joins)
        other = open_store(neighbour);
    /* What an open finds is durable. */
    uint64_t digest;
    expect_ok(content_digest(other, &digest));
    least = digest == digests[2] ? 2 : least;
    expect_survived(sim, least, 2, what);
    expect_state(other, least, 2, what);
    expect_ok(write_state(other, 3));
    expect_state(other, 3, 3, what);
    expect_survived(sim, 3, 3, what);
    expect_ok(kv_close(other));
    expect_survived(sim, 3, 3, what);
    os_sim_free(sim);
    return is_dead;
}

static void test_script__whoever_follows_a_dead_one_goes_on(void **state)
{
    (void)state;
    unsigned runs = 0;
    for (int joins = 0; joins < 2; joins++)
        for (uint64_t nth = 1; death_run(nth, joins); nth++, runs++)
            assert_true(nth < CALLS_MAX);
    print_message("%u deaths\n", runs);
    assert_true(runs > 12);
}

static void cut_while_following(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)context;
    static const enum os_sim_variant variants[] = { OS_SIM_NOTHING, OS_SIM_ALL, OS_SIM_NAMES_ONLY };
    for (size_t i = 0; i < COUNT_OF(variants); i++) {
        struct os_sim *after = os_sim_crash(sim, variants[i], event->number);
        struct kv *kv = open_store(os_sim_start(after));
        expect_state(kv, 1, 1, "cut while another compacts");
        expect_ok(kv_close(kv));
        os_sim_free(after);
    }
}

/* One that is not alone dies as it makes the log, and the first that another does is to compact. */
static void test_script__whoever_compacts_finishes_what_a_dead_one_began(void **state)
{
    (void)state;
    bool is_dead = true;
    for (uint64_t nth = 1; is_dead; nth++) {
        assert_true(nth < CALLS_MAX);
        struct os_sim *sim = machine_new();
        struct os *os = os_sim_start(sim);
        struct kv *other = open_store(os_sim_start(sim));
        struct kv *kv = open_store(os);
        os_sim_stop_at(os, nth);
        struct kv_begin_options write = { .is_write = true };
        struct kv_txn *txn;
        if (!kv_begin(kv, &write, &txn))
            kv_abort(txn);
        is_dead = os_sim_is_dead(os);
        os_sim_kill(os);
        sombra_err ignored = kv_close(kv);
        (void)ignored; /* it is dead */
        os_sim_set_hook(sim, cut_while_following, NULL);
        struct kv_maintenance job = { .kind = KV_COMPACT };
        expect_ok(kv_maintain(other, &job));
        os_sim_set_hook(sim, NULL, NULL);
        expect_state(other, 1, 1, "compacted");
        expect_ok(kv_close(other));
        os_sim_free(sim);
    }
}

/* An earlier version takes a record that says "beside" for damage, and goes by the other: where a
 * death was undone, that is blank. */
static void expect_other_record(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)event;
    static const uint8_t blank[META_BYTES];
    unsigned *blanks = context;
    uint8_t bytes[META_SLOTS][META_BYTES];
    struct os_sim *now = os_sim_clone(sim);
    struct os_file *file;
    expect_ok(os_open(os_sim_start(now), "store", OS_READ, 0, &file));
    for (unsigned slot = 0; slot < META_SLOTS; slot++)
        expect_ok(os_read(file, (uint64_t)slot * META_SLOT_BYTES, bytes[slot], META_BYTES));
    os_close(file);
    os_sim_free(now);
    for (unsigned slot = 0; slot < META_SLOTS; slot++) {
        bool is_blank = memcmp(bytes[1 - slot], blank, META_BYTES) == 0;
        *blanks += is_blank;
        assert_false(is_blank && get_le32(bytes[slot] + META_LOG_STATE) == META_LOG_BESIDE);
    }
}

static void test_script__undone_commit_leaves_what_earlier_versions_read(void **state)
{
    (void)state;
    unsigned blanks = 0;
    bool is_dead = true;
    for (uint64_t nth = 1; is_dead; nth++) {
        assert_true(nth < CALLS_MAX);
        struct os_sim *sim = machine_new();
        struct os *os = os_sim_start(sim);
        struct kv *kv = open_store(os);
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_numbers(txn, 0, 40, 90, 2);
        struct kv *other = open_store(os_sim_start(sim));
        os_sim_stop_at(os, nth);
        sombra_err ignored = kv_commit(txn, KV_FULL);
        is_dead = os_sim_is_dead(os);
        os_sim_kill(os);
        os_sim_set_hook(sim, expect_other_record, &blanks);
        expect_ok(write_state(other, 3));
        os_sim_set_hook(sim, NULL, NULL);
        ignored = kv_close(kv);
        (void)ignored; /* it is dead */
        expect_ok(kv_close(other));
        os_sim_free(sim);
    }
    assert_true(blanks > 0);
}

struct late_comer {
    struct os *os;
    uint64_t calls_left; /* before it opens the store */
    struct kv *kv;       /* NULL until then */
};

static void open_late(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    (void)event;
    struct late_comer *comer = context;
    if (comer->calls_left == 0 || --comer->calls_left > 0)
        return;
    comer->kv = open_store(comer->os);
}

/* The process dies at call `nth` of its commit, and the other came at an earlier one, or not at all
 * (*out_has_come). False: it had fewer calls. */
static bool late_run(uint64_t came, uint64_t nth, unsigned *blanks, bool *out_has_come)
{
    struct os_sim *sim = machine_new();
    struct os *os = os_sim_start(sim);
    struct late_comer comer = { .os = os_sim_start(sim), .calls_left = came };
    struct kv *kv = open_store(os);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 40, 90, 2);
    os_sim_set_hook(sim, open_late, &comer);
    os_sim_stop_at(os, nth);
    sombra_err err = kv_commit(txn, KV_FULL);
    bool is_dead = os_sim_is_dead(os);
    os_sim_kill(os);
    os_sim_set_hook(sim, NULL, NULL);
    sombra_err ignored = kv_close(kv);
    (void)ignored; /* it is dead */
    *out_has_come = comer.kv;
    if (comer.kv) {
        expect_survived(sim, err ? 1 : 2, 2, "dead in the middle");
        os_sim_set_hook(sim, expect_other_record, blanks);
        expect_ok(write_state(comer.kv, 3));
        os_sim_set_hook(sim, NULL, NULL);
        expect_survived(sim, 3, 3, "another went on");
        expect_ok(kv_close(comer.kv));
    }
    os_sim_free(sim);
    return is_dead;
}

/* It knows of the record "beside", if it came between the two, and once wrote that again after it
 * had undone the commit. */
static void test_script__who_came_in_the_middle_of_a_commit_goes_on(void **state)
{
    (void)state;
    unsigned blanks = 0, deaths = 0;
    bool has_come = true;
    for (uint64_t came = 1; has_come; came++)
        for (uint64_t nth = came + 1; late_run(came, nth, &blanks, &has_come); nth++, deaths++)
            assert_true(nth < CALLS_MAX);
    print_message("%u deaths\n", deaths);
    assert_true(deaths > 12 && blanks > 0);
}

/* One dies as it waits for the log. The sync that asks for it anew, in the middle of the other's
 * last checkpoint, fails: what the dead one had stored is lost, and that sync is the only one that
 * says so. */
static void test_script__checkpoint_heeds_the_failed_sync_of_a_dead_one(void **state)
{
    (void)state;
    struct os_sim *sim = machine_new();
    struct os *os = os_sim_start(sim);
    struct kv *other = open_store(os_sim_start(sim));
    struct kv *kv = open_store(os);
    expect_ok(write_state(kv, 2));
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 40, 90, 3);
    os_sim_stop_at(os, 2); /* the record, the sync */
    assert_int_not_equal(kv_commit(txn, KV_FULL), SOMBRA_OK);
    assert_true(os_sim_is_dead(os));
    sombra_err ignored = kv_close(kv);
    (void)ignored; /* it is dead */
    os_sim_fail(sim,
                &(struct os_sim_fault){ .kind = OS_SIM_EIO, .nth = 1, .calls = 1U << OS_SIM_SYNC });
    assert_int_equal(kv_close(other), SOMBRA_IO);
    assert_int_equal(os_sim_faults(sim), 1);
    expect_survived(sim, 2, 3, "a dead one's sync failed");
    os_sim_free(sim);
}

/* A call of the first commit fails: what comes of it is the old state or the new one, and the store
 * goes on, or refuses and says so. */
static bool failure_run(uint64_t nth, enum os_sim_fault_kind kind)
{
    char what[80];
    snprintf(what, sizeof what, "fault %d at call %" PRIu64, (int)kind, nth);
    struct os_sim *sim = machine_new();
    struct kv *kv = open_store(os_sim_start(sim));
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 40, 90, 2);
    os_sim_fail_at(sim, nth, kind, false);
    sombra_err err = kv_commit(txn, KV_FULL);
    bool is_unknown = err && strstr(sombra_err_message(), "outcome of the commit unknown");
    bool has_failed = os_sim_faults(sim) > 0;
    os_sim_fail(sim, NULL);
    /* What is not unknown is the state before. */
    uint64_t most = err && !is_unknown ? 1 : 2;
    expect_survived(sim, err ? 1 : 2, most, what);
    if (!err)
        expect_state(kv, 2, 2, what);
    bool is_poisoned = store_stats(kv, false).refuses_writes;
    assert_true(is_poisoned || !is_unknown);
    sombra_err again = write_state(kv, 3);
    assert_int_equal(again, is_poisoned ? SOMBRA_IO : SOMBRA_OK);
    expect_survived(sim, again ? 1 : 3, again ? most : 3, what);
    sombra_err close_err = kv_close(kv);
    assert_int_equal(close_err, is_poisoned ? SOMBRA_IO : SOMBRA_OK);
    expect_survived(sim, again ? 1 : 3, again ? most : 3, what);
    kv = open_store(os_sim_start(sim));
    expect_state(kv, again ? 1 : 3, again ? most : 3, what);
    expect_ok(write_state(kv, 4));
    expect_ok(kv_close(kv));
    expect_survived(sim, 4, 4, what);
    os_sim_free(sim);
    return has_failed;
}

static void test_script__failing_calls_lose_nothing(void **state)
{
    (void)state;
    static const enum os_sim_fault_kind kinds[] = { OS_SIM_EIO, OS_SIM_ENOSPC, OS_SIM_SHORT };
    unsigned runs = 0;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (uint64_t nth = 1; failure_run(nth, kinds[i]); nth++, runs++)
            assert_true(nth < CALLS_MAX);
    print_message("%u faults\n", runs);
}

/* Nothing new fits on the disk. */
static void refuse_new_files(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    static const struct os_sim_fault full = { .kind = OS_SIM_ENOSPC, .nth = 1 };
    enum os_sim_call *refused = context;
    bool is_refused = event->call == *refused && strstr(event->path, "-log");
    os_sim_fail(sim, is_refused ? &full : NULL);
}

/* The close of a commit that freed much makes a whole checkpoint, and a log for it: without room
 * for that it does without. */
static void test_script__close_on_a_full_disk_needs_no_log(void **state)
{
    (void)state;
    enum os_sim_call refused[] = { OS_SIM_CREATE, OS_SIM_WRITE };
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *os = os_sim_start(sim);
        struct kv *kv = open_store(os);
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_numbers(txn, 0, 5000, 90, 1);
        kv_commit_ok(txn);
        expect_ok(kv_close(kv));
        kv = open_store(os);
        txn = kv_begin_write(kv);
        uint64_t gone = 0, before = os_sim_faults(sim);
        expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, &gone));
        kv_put_numbers(txn, 0, 40, 90, 2);
        expect_ok(kv_commit(txn, KV_FULL));
        assert_false(there_is(os, "store-log0"));
        os_sim_set_hook(sim, refuse_new_files, &refused[i]);
        expect_ok(kv_close(kv));
        os_sim_set_hook(sim, NULL, NULL);
        os_sim_fail(sim, NULL);
        assert_true(os_sim_faults(sim) > before);
        assert_false(there_is(os, "store-log0") || there_is(os, "store-log1"));
        expect_survived(sim, 2, 2, "closed on a full disk");
        os_sim_free(sim);
    }
}

/* Who has done so little that it has no thread gets one where much is free. */
static void test_script__first_commit_that_frees_much_is_compacted_behind(void **state)
{
    (void)state;
    enum { VALUES = 20, LARGE_BYTES = 1 << 20 };
    struct btree_options large = options;
    struct store store;
    large.no_background = false;
    store_init(&store, &large);
    struct kv_txn *txn = kv_begin_write(store.kv);
    char key[16];
    for (unsigned i = 0; i < VALUES; i++) {
        snprintf(key, sizeof key, "%u", i);
        put_sized(txn, key, i, LARGE_BYTES);
    }
    kv_commit_ok(txn);
    store_reopen(&store);
    uint64_t bytes = store_stats(store.kv, false).file_bytes;
    txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
    kv_put_text(txn, "key", "value");
    kv_commit_ok(txn);
    for (unsigned i = 0; i < 1000 && store_stats(store.kv, false).file_bytes > bytes / 4; i++)
        os_sleep_us(os_posix(), 10000);
    assert_true(store_stats(store.kv, false).file_bytes <= bytes / 4);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Not so much that it is compacted at once; but a store that is left open may come to rest. */
static void test_script__first_commit_that_frees_half_starts_the_thread(void **state)
{
    (void)state;
    enum { VALUES = 64, FREED = 40, VALUE_BYTES = 500000 };
    assert_true(FREED * VALUE_BYTES > COMPACT_UNUSED_BYTES_MIN);
    struct btree_options threaded = options;
    threaded.no_background = false;
    for (int frees = 0; frees < 2; frees++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *os = os_sim_start(sim);
        struct kv *kv = open_store(os);
        struct kv_txn *txn = kv_begin_write(kv);
        char key[16];
        for (unsigned i = 0; i < VALUES; i++) {
            snprintf(key, sizeof key, "key %u", i);
            put_sized(txn, key, i, VALUE_BYTES);
        }
        kv_commit_ok(txn);
        expect_ok(kv_close(kv));
        expect_ok(btree_open(os, "store", &threaded, &kv));
        txn = kv_begin_write(kv);
        for (unsigned i = 0; frees && i < FREED; i++) {
            snprintf(key, sizeof key, "key %u", i);
            expect_ok(kv_delete(txn, slice_str(key)));
        }
        kv_put_numbers(txn, 0, 40, 90, 2);
        expect_ok(kv_commit(txn, KV_FULL));
        assert_int_equal(atomic_load(&container_of(kv, struct btree, kv)->has_background), frees);
        expect_ok(kv_close(kv));
        os_sim_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_script__first_commit_makes_no_log),
        cmocka_unit_test(test_script__first_transaction_may_be_given_up),
        cmocka_unit_test(test_script__next_process_keeps_what_snapshots_read),
        cmocka_unit_test(test_script__readonly_process_verifies_the_commit),
        cmocka_unit_test(test_script__given_up_pages_may_be_taken_by_others),
        cmocka_unit_test(test_script__damaged_meta_of_the_commit_is_found),
        cmocka_unit_test(test_script__whoever_follows_a_dead_one_goes_on),
        cmocka_unit_test(test_script__whoever_compacts_finishes_what_a_dead_one_began),
        cmocka_unit_test(test_script__checkpoint_heeds_the_failed_sync_of_a_dead_one),
        cmocka_unit_test(test_script__failing_calls_lose_nothing),
        cmocka_unit_test(test_script__undone_commit_leaves_what_earlier_versions_read),
        cmocka_unit_test(test_script__who_came_in_the_middle_of_a_commit_goes_on),
        cmocka_unit_test(test_script__close_on_a_full_disk_needs_no_log),
        cmocka_unit_test(test_script__first_commit_that_frees_much_is_compacted_behind),
        cmocka_unit_test(test_script__first_commit_that_frees_half_starts_the_thread),
    };
    return cmocka_run_group_tests_name("btree, short scripts", tests, digests_fill, NULL);
}
