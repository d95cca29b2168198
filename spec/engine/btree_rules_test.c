/* SPDX-License-Identifier: MIT */
/* Rules of the store that no random history comes near often enough: one test each. See
 * docs/testing.md for the tests of the others.
 */
#include "btree_fixture.h"

#include "btree/btree_internal.h"

#include <inttypes.h>

static struct btree_options small_options(void)
{
    return (struct btree_options){ .create = true,
                                   .page_bytes = 4096,
                                   .no_background = true,
                                   .busy_timeout_ms = 5000,
                                   .map_bytes_max = TEST_MAP_BYTES };
}

static struct kv *process_open(struct os_sim *sim, const struct btree_options *options,
                               struct os **out_os)
{
    struct kv *kv;
    struct os *os = os_sim_start(sim);
    expect_ok(btree_open(os, "store", options, &kv));
    if (out_os)
        *out_os = os;
    return kv;
}

/* ---- a checkpoint and the commits beside it ---------------------------------------------- */

/* A second process that commits while the first one's checkpoint waits for its first sync, and the
 * power that fails then. */
struct beside {
    struct kv *other;
    struct os_sim *image;
};

static void commit_beside(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct beside *beside = context;
    const char *name = strrchr(event->path, '/');
    bool is_database = strcmp(name ? name + 1 : event->path, "store") == 0;
    if (!beside->other || event->call != OS_SIM_SYNC || !is_database)
        return;
    struct kv *other = beside->other;
    beside->other = NULL; /* its own calls come here too */
    kv_put_one(other, "beside", "durable", KV_FULL);
    beside->image = os_sim_crash(sim, OS_SIM_NOTHING, 0);
}

/* The commit is in the new half of the log; what it stands on is in the old one, and nobody had
 * synced that. */
static void test_rules__durable_commit_syncs_the_older_half_of_the_log_too(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *first = process_open(sim, &options, NULL);
    kv_put_one(first, "made", "durable", KV_FULL);
    struct beside beside = { .other = process_open(sim, &options, NULL) };
    struct kv *second = beside.other;
    kv_put_one(second, "second", "writes", KV_FULL);
    kv_put_one(first, "before", "not durable by itself", KV_OFF);
    os_sim_set_hook(sim, commit_beside, &beside);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(first, &job));
    os_sim_set_hook(sim, NULL, NULL);
    assert_non_null(beside.image);
    struct kv *kv = process_open(beside.image, &options, NULL);
    struct kv_txn *txn = kv_begin_read(kv);
    kv_expect_text(txn, "beside", "durable");
    kv_expect_text(txn, "before", "not durable by itself");
    kv_abort(txn);
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    os_sim_free(beside.image);
    expect_ok(kv_close(first));
    expect_ok(kv_close(second));
    os_sim_free(sim);
}

/* Without a thread the first commit behind the interval syncs what the ones before it left. */
static void test_rules__normal_commits_without_a_thread_sync_now_and_then(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.sync_interval_ms = 100;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os;
    struct kv *kv = process_open(sim, &options, &os);
    kv_put_one(kv, "made", "durable", KV_FULL);
    kv_put_one(kv, "logged", "durable", KV_FULL);
    const uint64_t syncs = kv_metrics_count(kv->metrics, KV_COUNTER_LOG_SYNCS);
    kv_put_one(kv, "left", "for a while", KV_NORMAL);
    assert_int_equal(kv_metrics_count(kv->metrics, KV_COUNTER_LOG_SYNCS), syncs);
    os_sleep_us(os, 101000);
    kv_put_one(kv, "next", "of them", KV_NORMAL);
    assert_int_equal(kv_metrics_count(kv->metrics, KV_COUNTER_LOG_SYNCS), syncs + 1);
    struct os_sim *image = os_sim_crash(sim, OS_SIM_NOTHING, 0);
    struct kv *after = process_open(image, &options, NULL);
    kv_expect_one(after, "left", "for a while");
    kv_expect_one(after, "next", "of them");
    expect_ok(kv_close(after));
    os_sim_free(image);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* ---- a checkpoint that its process does not live to finish --------------------------------- */

struct cut_short {
    struct os *dies; /* at its first sync of the database; NULL = did */
    struct kv *cuts; /* the power, at its first sync of it; NULL = did, or later */
    enum os_sim_variant variant;
    struct os_sim *image;
};

static void cut_short(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cut_short *cut = context;
    const char *name = strrchr(event->path, '/');
    if (event->call != OS_SIM_SYNC || strcmp(name ? name + 1 : event->path, "store") != 0)
        return;
    if (cut->dies && event->process == cut->dies) {
        os_sim_kill(cut->dies);
        cut->dies = NULL;
    } else if (cut->cuts) {
        cut->image = os_sim_crash(sim, cut->variant, 1);
        cut->cuts = NULL;
    }
}

/* What the log's other half has is in no durable tree: the next checkpoint must not begin it anew.
 */
static void test_rules__both_halves_of_the_log_are_kept_behind_a_dead_checkpoint(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    for (int keeps = 0; keeps < 2; keeps++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *os;
        struct kv *first = process_open(sim, &options, &os);
        kv_put_one(first, "made", "durable", KV_FULL);
        struct kv *second = process_open(sim, &options, NULL);
        kv_put_one(second, "in the", "older half", KV_FULL);
        struct cut_short cut = { .dies = os, .variant = keeps ? OS_SIM_ALL : OS_SIM_NOTHING };
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        os_sim_set_hook(sim, cut_short, &cut);
        assert_int_not_equal(kv_maintain(first, &job), SOMBRA_OK);
        assert_null(cut.dies);
        kv_put_one(second, "in the newer", "half", KV_FULL);
        cut.cuts = second;
        expect_ok(kv_maintain(second, &job));
        os_sim_set_hook(sim, NULL, NULL);
        assert_non_null(cut.image);
        struct kv *kv = process_open(cut.image, &options, NULL);
        kv_expect_one(kv, "made", "durable");
        kv_expect_one(kv, "in the", "older half");
        kv_expect_one(kv, "in the newer", "half");
        kv_expect_sound(kv);
        expect_ok(kv_close(kv));
        os_sim_free(cut.image);
        (void)!kv_close(first);
        expect_ok(kv_close(second));
        os_sim_free(sim);
    }
}

/* Somebody else heard of a sync that failed, while this one's checkpoint waits for its first. */
static void poison_beside(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct btree **poisoned = context;
    const char *name = strrchr(event->path, '/');
    (void)sim;
    if (*poisoned && event->call == OS_SIM_SYNC &&
        strcmp(name ? name + 1 : event->path, "store") == 0) {
        head_poison(*poisoned);
        *poisoned = NULL;
    }
}

/* The failure is told once, and not to the checkpoint: its own syncs succeed. */
static void test_rules__no_meta_is_written_over_a_sync_that_failed_for_another(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, &options, NULL);
    kv_put_one(kv, "made", "durable", KV_FULL);
    kv_put_one(kv, "another", "one", KV_FULL);
    struct btree *btree = container_of(kv, struct btree, kv), *poisoned = btree;
    const uint64_t sequence = btree->meta.sequence;
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    os_sim_set_hook(sim, poison_beside, &poisoned);
    sombra_err err = kv_maintain(kv, &job);
    os_sim_set_hook(sim, NULL, NULL);
    assert_null(poisoned);
    assert_int_not_equal(err, SOMBRA_OK);
    assert_int_equal(btree->meta.sequence, sequence);
    (void)!kv_close(kv);
    kv = process_open(sim, &options, NULL);
    kv_expect_one(kv, "made", "durable");
    kv_expect_one(kv, "another", "one");
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* ---- who writes nothing, and promises ----------------------------------------------------- */

static void test_rules__who_promises_what_he_read_syncs_what_others_left(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    for (unsigned way = 0; way < KV_DURABLE_WAYS; way++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct kv *kv = process_open(sim, &options, NULL);
        kv_put_one(kv, "made", "durable", KV_FULL);
        kv_put_one(kv, "left", "in the page cache", KV_OFF);
        kv_make_durable(kv, way);
        struct os_sim *image = os_sim_crash(sim, OS_SIM_NOTHING, 0);
        struct kv *after = process_open(image, &options, NULL);
        kv_expect_one(after, "left", "in the page cache");
        expect_ok(kv_close(after));
        os_sim_free(image);
        expect_ok(kv_close(kv));
        os_sim_free(sim);
    }
}

/* ---- the last record before idle --------------------------------------------------------- */

/* Flips a byte of the log's record that holds `text`. */
static void log_flip(struct os_sim *sim, const char *text)
{
    struct os_file *file;
    uint64_t bytes;
    struct buf content = BUF_INIT;
    uint8_t *to;
    expect_ok(os_open(os_sim_start(sim), "store-log0", OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    expect_ok(buf_extend(&content, (size_t)bytes, &to));
    expect_ok(os_read(file, 0, to, (size_t)bytes));
    os_close(file);
    const uint8_t *at = memmem(to, (size_t)bytes, text, strlen(text));
    assert_non_null(at);
    assert_true(os_sim_flip(sim, "store-log0", (uint64_t)(at - to), 1));
    buf_release(&content);
}

/* Rot of the newest durable record looks like a crash's tail, unless a later record says that it
 * was durable: an idle store appends one. */
static void test_rules__rot_of_the_last_record_before_idle_is_found(void **state)
{
    (void)state;
    enum { TRIES = 400 };
    struct btree_options options = small_options();
    options.no_background = false;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, &options, NULL);
    kv_put_one(kv, "first", "value", KV_FULL);
    kv_put_one(kv, "last", "the last value", KV_FULL);
    sombra_err err = SOMBRA_OK;
    for (int i = 0; i < TRIES && err != SOMBRA_CORRUPT; i++) {
        os_sleep_us(os_posix(), 50000);
        struct os_sim *killed = os_sim_clone(sim);
        struct kv *after = NULL;
        log_flip(killed, "the last value");
        err = btree_open(os_sim_start(killed), "store", &options, &after);
        if (!err)
            expect_ok(kv_close(after));
        os_sim_free(killed);
    }
    assert_int_equal(err, SOMBRA_CORRUPT);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* ---- the end of the file ----------------------------------------------------------------- */

enum { CLOSE_IMAGES_MAX = 120 };

struct close_cuts {
    struct os_sim *images[CLOSE_IMAGES_MAX];
    size_t count;
    bool has_truncated;
};

static void cut_close(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct close_cuts *cuts = context;
    static const enum os_sim_variant variants[] = { OS_SIM_NOTHING, OS_SIM_SIZES_ONLY,
                                                    OS_SIM_LAST_ONLY };
    assert_true(cuts->count + COUNT_OF(variants) <= CLOSE_IMAGES_MAX);
    for (size_t i = 0; i < COUNT_OF(variants); i++)
        cuts->images[cuts->count++] = os_sim_crash(sim, variants[i], event->number);
    cuts->has_truncated |= event->call == OS_SIM_TRUNCATE;
}

/* A close that gives the free end back, cut at each call with the sizes surviving alone: no durable
 * meta record names a page that the file has not. */
static void test_rules__file_is_cut_when_its_meta_is_durable(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, &options, NULL);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 3000, 100, 0);
    expect_ok(kv_commit(txn, KV_FULL));
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(kv, &job));
    txn = kv_begin_write(kv);
    uint8_t low[8];
    struct kv_range range = { .low = kv_number_key(100, low) };
    expect_ok(kv_delete_range(txn, range, NULL));
    expect_ok(kv_commit(txn, KV_FULL));
    uint64_t digest, found;
    expect_ok(content_digest(kv, &digest));
    static struct close_cuts cuts;
    os_sim_set_hook(sim, cut_close, &cuts);
    expect_ok(kv_close(kv));
    os_sim_set_hook(sim, NULL, NULL);
    assert_true(cuts.has_truncated);
    for (size_t i = 0; i < cuts.count; i++) {
        kv = process_open(cuts.images[i], &options, NULL);
        expect_ok(content_digest(kv, &found));
        assert_true(found == digest);
        kv_expect_sound(kv);
        expect_ok(kv_close(kv));
        os_sim_free(cuts.images[i]);
    }
    os_sim_free(sim);
}

/* ---- names ------------------------------------------------------------------------------- */

static void appear(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    bool *has_appeared = context;
    if (*has_appeared || (event->call != OS_SIM_LINK && event->call != OS_SIM_RENAME))
        return;
    *has_appeared = true;
    struct os_file *file;
    expect_ok(
        os_open(os_sim_start(sim), "store", OS_WRITE | OS_CREATE | OS_EXCLUSIVE, 0600, &file));
    expect_ok(os_write(file, 0, "somebody else's", 15));
    os_close(file);
}

/* What came under the name while a database was being made is not replaced by it. */
static void test_rules__creation_replaces_nothing(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    bool has_appeared = false;
    struct kv *kv;
    os_sim_set_hook(sim, appear, &has_appeared);
    expect_err(SOMBRA_INVALID, btree_open(os_sim_start(sim), "store", &options, &kv));
    os_sim_set_hook(sim, NULL, NULL);
    assert_true(has_appeared);
    struct os_file *file;
    char content[15];
    expect_ok(os_open(os_sim_start(sim), "store", OS_READ, 0, &file));
    expect_ok(os_read(file, 0, content, sizeof content));
    assert_memory_equal(content, "somebody else's", sizeof content);
    os_close(file);
    os_sim_free(sim);
}

/* ---- entries of processes ---------------------------------------------------------------- */

/* The successor of a killed process in its entry: what the dead one's readers pinned is free, and
 * is not taken for the successor's own. */
static void test_rules__readers_of_a_dead_process_are_not_its_successors(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct os *dead_os;
    struct kv *stays = process_open(sim, &options, NULL);
    kv_put_one(stays, "key", "value", KV_FULL);
    struct kv *dead = process_open(sim, &options, &dead_os);
    struct kv_txn *readers[2] = { kv_begin_read(dead), kv_begin_read(dead) };
    assert_int_equal(store_stats(stays, false).readers, 2);
    os_sim_kill(dead_os);
    for (size_t i = 0; i < COUNT_OF(readers); i++)
        kv_abort(readers[i]); /* frees memory; nothing that the dead do reaches anybody */
    struct kv *successor = process_open(sim, &options, NULL);
    assert_int_equal(store_stats(successor, false).readers, 0);
    struct kv_txn *txn = kv_begin_read(successor);
    assert_int_equal(store_stats(stays, false).readers, 1);
    kv_abort(txn);
    sombra_err ignored = kv_close(dead);
    (void)ignored;
    expect_ok(kv_close(successor));
    expect_ok(kv_close(stays));
    os_sim_free(sim);
}

/* ---- snapshots that are taken while the head moves --------------------------------------- */

/* A writer publishes transaction after transaction; the pages of one that is neither the newest nor
 * in any slot count as used again. */
struct moving_head {
    struct btree btree;
    uint64_t rounds;
    _Atomic uint8_t *is_reused; /* by transaction */
    _Atomic bool is_over;
};

static struct snapshot snapshot_of(uint64_t txn)
{
    return (struct snapshot){ .txn = txn, .root = txn * 3, .lsn = txn * 5, .entries = txn * 7 };
}

static void *head_move(void *argument)
{
    static uint64_t pinned[HEAD_SLOTS + 2];
    struct moving_head *moving = argument;
    uint64_t oldest = 1; /* that was not used again yet */
    for (uint64_t txn = 2; txn < moving->rounds; txn++) {
        struct snapshot snapshot = snapshot_of(txn);
        head_publish(moving->btree.head, &snapshot);
        size_t count = head_pinned(moving->btree.head, pinned);
        uint64_t until = count ? pinned[0] : txn;
        for (; oldest < until && oldest < txn; oldest++)
            atomic_store(&moving->is_reused[oldest], 1);
    }
    atomic_store(&moving->is_over, true);
    return NULL;
}

static void test_rules__no_page_is_used_again_under_a_snapshot_being_taken(void **state)
{
    (void)state;
    static struct moving_head moving;
    void *memory;
    pthread_t writer;
    expect_ok(os_reserve_anonymous(sizeof(struct head), &memory));
    moving = (struct moving_head){ .rounds = test_is_long() ? 5000000 : 300000 };
    moving.btree.head = memory;
    moving.btree.os = os_posix();
    moving.btree.attachment.self = 1 << 16 | 1;
    moving.is_reused = calloc(moving.rounds, 1);
    assert_non_null(moving.is_reused);
    expect_ok(os_mutex_init(&moving.btree.attachment.blocks_mutex));
    struct snapshot snapshot = snapshot_of(1);
    head_publish(moving.btree.head, &snapshot);
    assert_int_equal(pthread_create(&writer, NULL, head_move, &moving), 0);
    uint64_t taken = 0, torn = 0, lost = 0;
    while (!atomic_load(&moving.is_over)) {
        unsigned slot;
        expect_ok(head_pin(&moving.btree, 0, &slot, &snapshot));
        struct snapshot whole = snapshot_of(snapshot.txn);
        torn += snapshot.root != whole.root || snapshot.lsn != whole.lsn ||
                snapshot.entries != whole.entries;
        lost += atomic_load(&moving.is_reused[snapshot.txn]);
        head_unpin(moving.btree.head, slot);
        taken++;
    }
    pthread_join(writer, NULL);
    print_message("%" PRIu64 " snapshots of a moving head\n", taken);
    assert_int_equal(torn, 0);
    assert_int_equal(lost, 0);
    os_mutex_release(&moving.btree.attachment.blocks_mutex);
    os_release_anonymous(memory, sizeof(struct head));
    free((void *)moving.is_reused);
}

/* ---- numbers of transactions ------------------------------------------------------------- */

/* Pages of transactions that a power cut took may be on the disk: no page of another one gets their
 * numbers. */
static void test_rules__numbers_of_lost_transactions_are_not_used_again(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, &options, NULL);
    kv_put_one(kv, "kept", "value", KV_FULL);
    uint64_t kept = store_stats(kv, false).txn;
    for (int i = 0; i < 50; i++)
        kv_put_one(kv, "lost", "value", KV_OFF);
    uint64_t lost = store_stats(kv, false).txn;
    assert_true(lost > kept);
    struct os_sim *image = os_sim_crash(sim, OS_SIM_NOTHING, 0);
    struct kv *after = process_open(image, &options, NULL);
    struct kv_txn *txn = kv_begin_read(after);
    kv_expect_missing(txn, "lost");
    kv_abort(txn);
    kv_put_one(after, "new", "value", KV_FULL);
    assert_true(store_stats(after, false).txn > lost);
    expect_ok(kv_close(after));
    os_sim_free(image);
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* ---- the medium -------------------------------------------------------------------------- */

/* A page that cannot be read is an error at its first touch, not a signal; the others are there. */
static void test_rules__unreadable_page_is_an_error_of_the_read(void **state)
{
    (void)state;
    enum { NUMBERS = 4000, CLUSTER_BYTES = 64 * 1024 };
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *kv = process_open(sim, &options, NULL);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, NUMBERS, 100, 0);
    expect_ok(kv_commit(txn, KV_FULL));
    expect_ok(kv_close(kv));
    assert_true(os_sim_break(sim, "store", 4 * CLUSTER_BYTES, 4096));
    kv = process_open(sim, &options, NULL);
    txn = kv_begin_read(kv);
    uint64_t good = 0, bad = 0;
    for (uint64_t i = 0; i < NUMBERS; i++) {
        uint8_t to[8];
        sombra_slice value;
        sombra_err err = kv_get(txn, kv_number_key(i, to), &value);
        assert_true(!err || err == SOMBRA_IO);
        ++*(err ? &bad : &good);
    }
    assert_true(bad > 0 && good > NUMBERS / 4);
    kv_abort(txn);
    assert_true(os_sim_break(sim, "store", 0, 0));
    expect_ok(kv_close(kv));
    os_sim_free(sim);
}

/* Its account of the pages is of the last commit that it had caught up with. */
static void test_rules__verify_beside_a_poisoned_process_finds_nothing(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *first = process_open(sim, &options, NULL);
    struct kv *other = process_open(sim, &options, NULL);
    kv_put_one(first, "first", "one", KV_FULL);
    kv_put_one(other, "other", "two", KV_FULL);
    for (int i = 0; i < 20; i++) {
        struct kv_txn *txn = kv_begin_write(first);
        kv_put_numbers(txn, (uint64_t)i * 100, (uint64_t)i * 100 + 100, 40, 1);
        expect_ok(kv_commit(txn, KV_FULL));
    }
    kv_expect_sound(other);
    kv_put_one(first, "first", "three", KV_FULL);
    struct kv_txn *txn = kv_begin_write(first);
    kv_put_text(txn, "first", "four");
    os_sim_fail_at(sim, 1, OS_SIM_EIO, true);
    expect_err(SOMBRA_IO, kv_commit(txn, KV_FULL));
    os_sim_fail(sim, NULL);
    kv_expect_sound(first);
    kv_expect_sound(other);
    sombra_err ignored = kv_close(first);
    ignored = kv_close(other);
    (void)ignored;
    os_sim_free(sim);
}

/* ---- logs of others ------------------------------------------------------------------------ */

/* Who asked for less could not append to what another made, nor come to a checkpoint. */
static void test_rules__the_log_may_grow_as_whom_allows_most_says(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *small = process_open(sim, &options, NULL);
    const struct head *head = btree_of(small)->head;
    uint64_t before = atomic_load(&head->log_bytes_max);
    assert_true(before >= 4 * CHECKPOINT_LOG_BYTES_MAX);
    options.checkpoint_log_bytes = 1 * GiB;
    struct kv *large = process_open(sim, &options, NULL);
    uint64_t most = atomic_load(&head->log_bytes_max);
    assert_true(most >= 4 * GiB);
    expect_ok(kv_close(large));
    /* Its log is still there. */
    assert_true(atomic_load(&head->log_bytes_max) == most);
    kv_put_one(small, "a", "b", KV_FULL);
    expect_ok(kv_close(small));
    small = process_open(sim, &(struct btree_options){ .map_bytes_max = TEST_MAP_BYTES }, NULL);
    assert_true(atomic_load(&btree_of(small)->head->log_bytes_max) == before);
    expect_ok(kv_close(small));
    os_sim_free(sim);
}

/* ---- reads of a read-only store ---------------------------------------------------------- */

/* What a process that writes has not synced is page cache. */
static void test_rules__a_durable_read_of_a_read_only_store_is_durable(void **state)
{
    (void)state;
    struct btree_options options = small_options(), reads = small_options();
    reads.is_readonly = true;
    struct os_sim *sim = os_sim_new(NULL);
    struct kv *writer = process_open(sim, &options, NULL);
    kv_put_one(writer, "first", "one", KV_FULL);
    struct kv *reader = process_open(sim, &reads, NULL);
    for (unsigned round = 1; round <= 5; round++) {
        char text[16];
        snprintf(text, sizeof text, "%u", round);
        kv_put_one(writer, "round", text, KV_OFF);
        struct kv_txn *txn;
        expect_ok(kv_begin(reader, &(struct kv_begin_options){ .needs_durable = true }, &txn));
        kv_expect_text(txn, "round", text);
        kv_abort(txn);
        struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, round);
        struct kv *kv = process_open(after, &options, NULL);
        kv_expect_one(kv, "round", text);
        expect_ok(kv_close(kv));
        os_sim_free(after);
    }
    expect_ok(kv_close(reader));
    expect_ok(kv_close(writer));
    os_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules__who_promises_what_he_read_syncs_what_others_left),
        cmocka_unit_test(test_rules__normal_commits_without_a_thread_sync_now_and_then),
        cmocka_unit_test(test_rules__both_halves_of_the_log_are_kept_behind_a_dead_checkpoint),
        cmocka_unit_test(test_rules__no_meta_is_written_over_a_sync_that_failed_for_another),
        cmocka_unit_test(test_rules__durable_commit_syncs_the_older_half_of_the_log_too),
        cmocka_unit_test(test_rules__rot_of_the_last_record_before_idle_is_found),
        cmocka_unit_test(test_rules__file_is_cut_when_its_meta_is_durable),
        cmocka_unit_test(test_rules__creation_replaces_nothing),
        cmocka_unit_test(test_rules__readers_of_a_dead_process_are_not_its_successors),
        cmocka_unit_test(test_rules__no_page_is_used_again_under_a_snapshot_being_taken),
        cmocka_unit_test(test_rules__numbers_of_lost_transactions_are_not_used_again),
        cmocka_unit_test(test_rules__unreadable_page_is_an_error_of_the_read),
        cmocka_unit_test(test_rules__verify_beside_a_poisoned_process_finds_nothing),
        cmocka_unit_test(test_rules__the_log_may_grow_as_whom_allows_most_says),
        cmocka_unit_test(test_rules__a_durable_read_of_a_read_only_store_is_durable),
    };
    return cmocka_run_group_tests_name("btree, rules", tests, NULL, NULL);
}
