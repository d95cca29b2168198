/* SPDX-License-Identifier: MIT */
/* Histories of short scripts by chance (decision 0025): a few processes of a simulated machine
 * open the store, write a little, with or without a sync, give up, read on, verify, compact and
 * close; calls fail, processes die, the power fails and meta records rot. What is read is the
 * newest commit; what survives is no older than the last one that was promised. SOMBRA_SEED and
 * SOMBRA_RUNS repeat and lengthen it, SOMBRA_TRACE shows the calls.
 */
#include "btree_fixture.h"

#include "btree/meta_format.h"

#include <inttypes.h>

enum { PROCESSES = 3, KEYS = 150, STEPS = 60, STATES_MAX = 200, BIG_BYTES = 9000 };

struct content {
    uint32_t salts[KEYS]; /* 0 = absent */
};

/* What may be found. */
struct hope {
    uint64_t digests[STATES_MAX];
    size_t least, count; /* after a power cut: [least, count); else the last */
    uint64_t ghost;      /* of a commit whose outcome is not known; 0 = none */
    bool is_ghost_gone;  /* for who reads now */
};

struct world {
    struct random random;
    uint64_t seed;
    struct os_sim *sim;
    struct os *os[PROCESSES];
    struct kv *kv[PROCESSES];
    bool is_readonly[PROCESSES];
    struct kv_txn *reader[PROCESSES];
    uint64_t reader_digest[PROCESSES];
    struct content now, next; /* next: of the ghost */
    struct hope hope;
    uint64_t cut_in; /* calls */
    struct os_sim *image;
    struct hope image_hope;
    enum os_sim_variant image_variant;
    uint64_t faults; /* that struck before this step */
    bool has_failed; /* in the last step: then the disk may be full in this one */
    unsigned step;
    const char *what;
};

static struct world *running;
static bool fills_disk; /* behind failures, often */

static bool chance(struct world *world, uint64_t of)
{
    return random_below(&world->random, of) == 0;
}

static sombra_slice value_of(struct buf *value, uint64_t key, uint32_t salt)
{
    size_t bytes = salt % 23 == 0 ? BIG_BYTES + salt % 5000 : salt % 300;
    return kv_pattern(value, key * 7919 + salt, bytes);
}

static uint64_t content_of(const struct content *content)
{
    struct buf value = { 0 };
    uint64_t digest = 0;
    uint8_t bytes[8];
    for (uint64_t key = 0; key < KEYS; key++)
        if (content->salts[key])
            digest = kv_entry_digest(digest, kv_number_key(key, bytes),
                                     value_of(&value, key, content->salts[key]));
    buf_release(&value);
    return digest;
}

static uint64_t digest_of(struct kv_txn *txn)
{
    return kv_digest(txn, (struct kv_range){ 0 }, NULL);
}

static void fail_here(const char *what)
{
    fail_msg("seed %" PRIu64 ", step %u (%s): %s", running->seed, running->step, running->what,
             what);
}

static bool survives(const struct hope *hope, uint64_t digest)
{
    for (size_t i = hope->least; i < hope->count; i++)
        if (hope->digests[i] == digest)
            return true;
    return hope->ghost && hope->ghost == digest;
}

static void hope_push(struct hope *hope, uint64_t digest, bool is_durable)
{
    if (hope->count == STATES_MAX) {
        size_t kept = hope->count - hope->least;
        if (kept > STATES_MAX / 2)
            fail_here("too many states");
        memmove(hope->digests, hope->digests + hope->least, kept * sizeof *hope->digests);
        hope->least = 0;
        hope->count = kept;
    }
    hope->digests[hope->count++] = digest;
    hope->is_ghost_gone = true;
    if (is_durable) {
        hope->least = hope->count - 1;
        hope->ghost = 0;
    }
}

static void on_call(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct world *world = context;
    if (kv_test_number("SOMBRA_TRACE", 0))
        print_message("    %u: %s %s %" PRIu64 "+%" PRIu64 "\n",
                      event->process == world->os[2] ? 2 : event->process == world->os[1],
                      os_sim_call_name(event->call), event->path, event->offset, event->bytes);
    if (world->image || --world->cut_in > 0)
        return;
    world->image_variant = (enum os_sim_variant)random_below(&world->random, OS_SIM_VARIANTS);
    world->image = os_sim_crash(sim, world->image_variant, random_u64(&world->random));
    world->image_hope = world->hope;
    /* The commit that this call may belong to. */
    uint64_t next = content_of(&world->next);
    if (!survives(&world->image_hope, next) && world->image_hope.count < STATES_MAX)
        world->image_hope.digests[world->image_hope.count++] = next;
    if (kv_test_number("SOMBRA_TRACE", 0))
        print_message("    image: %s\n", os_sim_variant_name(world->image_variant));
}

static struct btree_options options_any(struct world *world)
{
    static const enum kv_durability durabilities[] = { KV_FULL, KV_FULL, KV_FULL, KV_GROUP,
                                                       KV_NORMAL };
    return (struct btree_options){
        .create = true,
        .page_bytes = 4096,
        .no_background = true,
        .map_bytes_max = TEST_MAP_BYTES,
        .busy_timeout_ms = 3000,
        .group_wait_us = 1,
        .no_mapped_stores = chance(world, 2),
        .txn_memory_max = chance(world, 4) ? 64 * KiB : 0,
        .checkpoint_log_bytes = chance(world, 3) ? 40 * KiB : 0,
        .wal_bypass_bytes = chance(world, 3) ? 24 * KiB : 0,
        .durability = durabilities[random_below(&world->random, COUNT_OF(durabilities))],
    };
}

static bool has_failed(const struct world *world)
{
    return os_sim_faults(world->sim) > world->faults;
}

static bool has_trouble(const struct world *world, unsigned process)
{
    return os_sim_is_dead(world->os[process]) || has_failed(world);
}

static uint64_t read_digest(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_read(kv);
    uint64_t digest = digest_of(txn);
    kv_abort(txn);
    return digest;
}

/* A living process reads the newest commit, or the one of unknown outcome. */
static void expect_now(struct world *world, unsigned process)
{
    struct hope *hope = &world->hope;
    uint64_t digest = read_digest(world->kv[process]);
    if (hope->digests[hope->count - 1] == digest)
        return;
    if (!hope->ghost || hope->is_ghost_gone || hope->ghost != digest)
        fail_here("what is read is not the newest commit");
    hope_push(hope, digest, false);
    world->now = world->next;
}

static void process_open(struct world *world, unsigned process)
{
    if (world->kv[process])
        return;
    bool is_alone = true;
    for (unsigned i = 0; i < PROCESSES; i++)
        is_alone = is_alone && !world->kv[i];
    struct btree_options options = options_any(world);
    options.is_readonly = process > 0 && world->kv[0] && chance(world, 3);
    options.create = !options.is_readonly;
    world->is_readonly[process] = options.is_readonly;
    sombra_err err = btree_open(world->os[process], "store", &options, &world->kv[process]);
    if (err) {
        world->kv[process] = NULL;
        if (!has_trouble(world, process))
            expect_ok(err);
    } else if (!os_sim_is_dead(world->os[process])) {
        expect_now(world, process); /* what is written next is built on it */
        /* What is shown by the first to open it is durable, after any failure. */
        if (is_alone) {
            world->hope.least = world->hope.count - 1;
            world->hope.ghost = 0;
        }
    }
}

static void reader_end(struct world *world, unsigned process)
{
    if (world->reader[process])
        kv_abort(world->reader[process]);
    world->reader[process] = NULL;
}

static void process_close(struct world *world, unsigned process, bool must_work)
{
    if (!world->kv[process])
        return;
    reader_end(world, process);
    sombra_err err = kv_close(world->kv[process]);
    world->kv[process] = NULL;
    if (must_work && !has_trouble(world, process))
        expect_ok(err);
}

static void process_renew(struct world *world, unsigned process)
{
    os_sim_kill(world->os[process]);
    process_close(world, process, false);
    world->os[process] = os_sim_start(world->sim);
}

/* Changes some keys, by the model as well. */
static sombra_err change_some(struct world *world, struct kv_txn *txn, struct content *content)
{
    struct buf value = { 0 };
    uint8_t bytes[8];
    sombra_err err = SOMBRA_OK;
    uint64_t count = chance(world, 6) ? KEYS : random_below(&world->random, 4);
    for (uint64_t i = 0; i < count && !err; i++) {
        uint64_t key = count == KEYS ? i : random_below(&world->random, KEYS);
        uint32_t salt = chance(world, count == KEYS ? 8 : 3)
                            ? 0
                            : (uint32_t)random_below(&world->random, 1 << 20) + 1;
        sombra_slice name = kv_number_key(key, bytes);
        if (salt)
            err = kv_put(txn, name, value_of(&value, key, salt));
        else if (content->salts[key])
            err = kv_delete(txn, name);
        content->salts[key] = salt;
    }
    buf_release(&value);
    return err;
}

static void step_write(struct world *world, unsigned process)
{
    static const enum kv_durability durabilities[] = { KV_FULL,  KV_FULL,   KV_FULL,
                                                       KV_GROUP, KV_NORMAL, KV_OFF };
    struct kv_begin_options write = { .is_write = true, .busy_timeout_ms = 1000 };
    struct kv_txn *txn;
    sombra_err err = kv_begin(world->kv[process], &write, &txn);
    if (err && !has_trouble(world, process))
        expect_ok(err);
    if (err)
        return;
    struct content next = world->now;
    err = change_some(world, txn, &next);
    if (!err && chance(world, 5)) {
        uint64_t mark;
        struct content other = next;
        err = kv_savepoint(txn, KV_SAVEPOINT_SET, &mark);
        if (!err)
            err = change_some(world, txn, &other);
        if (!err)
            err = kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark);
        if (!err && chance(world, 2))
            err = change_some(world, txn, &next);
    }
    if (err && !has_trouble(world, process))
        expect_ok(err);
    unsigned other = (process + 1) % PROCESSES;
    if (chance(world, 6) && !os_sim_is_dead(world->os[process])) {
        process_open(world, other);
        if (world->kv[other] && !world->reader[other] && chance(world, 2)) {
            expect_now(world, other);
            world->reader[other] = kv_begin_read(world->kv[other]);
            world->reader_digest[other] = digest_of(world->reader[other]);
        }
    }
    if (err || chance(world, 6)) {
        kv_abort(txn);
        return;
    }
    enum kv_durability durability =
        durabilities[random_below(&world->random, COUNT_OF(durabilities))];
    world->next = next;
    uint64_t digest = content_of(&next);
    err = kv_commit(txn, durability);
    if (!err) {
        world->now = next;
        hope_push(&world->hope, digest, durability == KV_FULL || durability == KV_GROUP);
        return;
    }
    if (!has_trouble(world, process))
        expect_ok(err);
    bool is_unknown =
        os_sim_is_dead(world->os[process]) || store_stats(world->kv[process], false).refuses_writes;
    if (is_unknown) {
        world->hope.ghost = digest;
        world->hope.is_ghost_gone = false;
    } else {
        world->next = world->now;
    }
}

static void step_maintain(struct world *world, unsigned process)
{
    if (chance(world, 2)) {
        kv_expect_sound(world->kv[process]);
        return;
    }
    struct kv_maintenance job = { .kind = chance(world, 2) ? KV_COMPACT : KV_CHECKPOINT };
    sombra_err err = kv_maintain(world->kv[process], &job);
    if (err && !world->is_readonly[process] && !has_trouble(world, process))
        expect_ok(err);
}

static void step_read(struct world *world, unsigned process)
{
    if (world->reader[process]) {
        if (digest_of(world->reader[process]) != world->reader_digest[process])
            fail_here("a snapshot changed");
        if (chance(world, 3))
            reader_end(world, process);
        return;
    }
    expect_now(world, process);
    world->reader[process] = kv_begin_read(world->kv[process]);
    world->reader_digest[process] = digest_of(world->reader[process]);
}

/* Opens what a power cut left. */
static void image_check(struct world *world)
{
    struct os_sim *image = world->image;
    struct hope hope = world->image_hope;
    bool is_rotten = false;
    struct btree_options options = options_any(world);
    if (chance(world, 3))
        is_rotten = os_sim_flip(image, "store",
                                random_below(&world->random, META_SLOTS) * META_SLOT_BYTES +
                                    random_below(&world->random, META_BYTES),
                                (uint8_t)(1U << random_below(&world->random, 8)));
    struct kv *kv;
    sombra_err err = btree_open(os_sim_start(image), "store", &options, &kv);
    if (is_rotten &&
        (err == SOMBRA_CORRUPT || err == SOMBRA_UNSUPPORTED || err == SOMBRA_INVALID)) {
        os_sim_free(image);
        return;
    }
    if (err)
        print_message("seed %" PRIu64 ", step %u: image %s%s\n", world->seed, world->step,
                      os_sim_variant_name(world->image_variant), is_rotten ? ", rotten" : "");
    expect_ok(err);
    uint64_t digest = read_digest(kv);
    if (!survives(&hope, digest)) {
        print_message("image %s%s\n", os_sim_variant_name(world->image_variant),
                      is_rotten ? ", rotten" : "");
        fail_here("what survived is not what was promised");
    }
    kv_expect_sound(kv);
    for (int i = 0; i < 2; i++) {
        struct kv_txn *txn = kv_begin_write(kv);
        kv_put_text(txn, "after", i ? "b" : "a");
        expect_ok(kv_commit(txn, KV_FULL));
        kv_expect_sound(kv);
    }
    expect_ok(kv_close(kv));
    expect_ok(btree_open(os_sim_start(image), "store", &options, &kv));
    kv_expect_one(kv, "after", "b");
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    os_sim_free(image);
}

static void step_trouble_begin(struct world *world, unsigned process)
{
    /* Not short writes: the power would fail in the middle of a sector. */
    static const enum os_sim_fault_kind kinds[] = { OS_SIM_EIO, OS_SIM_ENOSPC };
    uint64_t nth = 1 + random_below(&world->random, 14);
    if (chance(world, 3))
        os_sim_stop_at(world->os[process], nth);
    else if (chance(world, 2))
        os_sim_fail_at(world->sim, nth, kinds[random_below(&world->random, COUNT_OF(kinds))],
                       chance(world, 4));
}

/* A process that died is another one from now on; a store that failed is closed by all. */
static void step_trouble_end(struct world *world, unsigned process)
{
    bool is_dead = os_sim_is_dead(world->os[process]);
    os_sim_stop_at(world->os[process], 0);
    os_sim_fail(world->sim, NULL);
    if (is_dead)
        process_renew(world, process);
    for (unsigned i = 0; i < PROCESSES && has_failed(world); i++)
        process_close(world, i, false);
}

static void step_run(struct world *world)
{
    unsigned process = 0;
    while (process + 1 < PROCESSES && chance(world, 4))
        process++;
    /* The name of a new file that cannot be synced nor taken away is lost with the power. */
    bool is_troubled = world->step > 0 && chance(world, 6);
    bool is_full = fills_disk && world->has_failed && chance(world, 2);
    if (is_full)
        os_sim_fail_at(world->sim, 1 + random_below(&world->random, 12), OS_SIM_ENOSPC, true);
    else if (is_troubled)
        step_trouble_begin(world, process);
    is_troubled |= is_full;
    bool was_open = world->kv[process] != NULL;
    bool traces = kv_test_number("SOMBRA_TRACE", 0) != 0;
    if (traces)
        print_message("  step %u: process %u%s%s\n", world->step, process, was_open ? ", open" : "",
                      is_troubled ? ", trouble" : "");
    world->what = "open";
    process_open(world, process);
    if (world->kv[process] && !os_sim_is_dead(world->os[process])) {
        uint64_t which = random_below(&world->random, 10);
        world->what = which < 6 ? "write" : which < 7 ? "read" : which < 8 ? "maintain" : "close";
        if (traces)
            print_message("  %s%s\n", world->what, world->is_readonly[process] ? ", may read" : "");
        if (which < 6 && !world->is_readonly[process])
            step_write(world, process);
        else if (which < 7)
            step_read(world, process);
        else if (which < 8 && !is_troubled)
            step_maintain(world, process);
        else if (was_open || chance(world, 3))
            process_close(world, process, true);
    }
}

static void history_run(uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    running = world;
    world->seed = seed;
    random_seed(&world->random, seed);
    bool lacks = chance(world, 4);
    world->sim = os_sim_new(&(struct os_sim_options){
        .seed = seed, .lacks_mapped_stores = lacks, .lacks_allocate = lacks });
    for (unsigned i = 0; i < PROCESSES; i++)
        world->os[i] = os_sim_start(world->sim);
    hope_push(&world->hope, content_of(&world->now), true);
    world->cut_in = 1 + random_below(&world->random, 30);
    os_sim_set_hook(world->sim, on_call, world);
    for (world->step = 0; world->step < STEPS; world->step++) {
        unsigned process = 0;
        step_run(world);
        world->what = "after";
        world->has_failed = has_failed(world);
        for (process = 0; process < PROCESSES; process++)
            step_trouble_end(world, process);
        world->faults = os_sim_faults(world->sim);
        if (world->image) {
            image_check(world);
            world->image = NULL;
            world->cut_in = 1 + random_below(&world->random, 40);
        }
        for (process = 0; process < PROCESSES; process++) {
            if (!world->kv[process])
                continue;
            if (world->reader[process] &&
                digest_of(world->reader[process]) != world->reader_digest[process])
                fail_here("a snapshot changed");
            expect_now(world, process);
        }
    }
    world->what = "end";
    os_sim_set_hook(world->sim, NULL, NULL);
    for (unsigned i = 0; i < PROCESSES; i++)
        process_close(world, i, false);
    struct btree_options options = options_any(world);
    struct kv *kv;
    expect_ok(btree_open(os_sim_start(world->sim), "store", &options, &kv));
    if (!survives(&world->hope, read_digest(kv)))
        fail_here("at the end");
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    if (world->image)
        os_sim_free(world->image);
    os_sim_free(world->sim);
    free(world);
}

static void test_history__short_scripts(void **state)
{
    (void)state;
    history_run(7001759); /* the second record of a close, whose sync failed, is forgotten */
    uint64_t runs = kv_test_number("SOMBRA_RUNS", test_is_long() ? 3000 : 60);
    uint64_t seed = kv_test_seed("short scripts");
    for (uint64_t i = 0; i < runs; i++)
        history_run(seed + i);
}

static void test_history__full_disks(void **state)
{
    (void)state;
    fills_disk = true;
    uint64_t runs = kv_test_number("SOMBRA_RUNS", test_is_long() ? 3000 : 30);
    uint64_t seed = kv_test_seed("full disks");
    for (uint64_t i = 0; i < runs; i++)
        history_run(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history__short_scripts),
        cmocka_unit_test(test_history__full_disks),
    };
    return cmocka_run_group_tests_name("btree, histories of short scripts", tests, NULL, NULL);
}
