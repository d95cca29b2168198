/* SPDX-License-Identifier: MIT */
/* Two processes of a simulated machine have one file open and commit in turn. One of them dies
 * before a call that changes the disk, whichever: the other goes on, and what it sees is the state
 * before or after the step that was cut short, and nothing else. Then the power fails: what
 * recovers is a state no older than the last acknowledged one.
 * SOMBRA_LONG=1 tries every call; else they are sampled by the printed seed.
 */
#include "btree_processes_fixture.h"
#include "kv_model.h"
#include "os/os_sim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 36, PROCESSES = 2, STATES_MAX = STEPS * 2 + 4, KILLS_SAMPLED = 70 };

struct setup {
    const char *name;
    struct btree_options options[PROCESSES];
    struct os_sim_options machine;
};

#define SMALL_LOG                                                                       \
    .create = true, .page_bytes = 4096, .no_background = true, .busy_timeout_ms = 3000, \
    .map_bytes_max = 1 << 30, .checkpoint_log_bytes = 40 * KiB, .wal_bypass_bytes = 24 * KiB

static const struct setup setups[] = {
    { .name = "mapped stores", .options = { { SMALL_LOG }, { SMALL_LOG } } },
    { .name = "stores by calls, of which one spills",
      .options = { { SMALL_LOG, .no_mapped_stores = true, .txn_memory_max = 64 * KiB },
                   { SMALL_LOG, .no_mapped_stores = true } } },
    { .name = "one of each",
      .options = { { SMALL_LOG, .no_mapped_stores = true }, { SMALL_LOG } } },
    { .name = "machine without allocate and mapped stores",
      .options = { { SMALL_LOG }, { SMALL_LOG } },
      .machine = { .lacks_allocate = true, .lacks_mapped_stores = true } },
};

struct world {
    const struct setup *setup;
    uint64_t seed;
    struct os_sim *sim;
    struct os *os[PROCESSES];
    struct kv *kv[PROCESSES];
    struct os *dead_os;
    struct kv *dead; /* still to be closed */
    struct kv *model;
    uint64_t states[STATES_MAX]; /* digests, in the order of commits */
    size_t count, acknowledged;  /* states[acknowledged] and later may recover */
    uint64_t ghost;              /* of a step cut short, that may still be in the log */
    bool has_ghost;
    struct kv_txn *reader; /* of process 0 or 1, kept open over steps */
    unsigned reader_of;
    uint64_t reader_digest, reader_until;
    /* The power also fails in the middle of a step: an image, and what may recover from it. */
    uint64_t random, cut_in; /* calls */
    struct os_sim *image;
    size_t image_acknowledged;
    uint64_t image_ghost;
    bool image_has_ghost;
    enum os_sim_variant image_variant;
};

/* What a failing test was doing. */
static char where[200];
static bool is_done;

static uint64_t digest_now(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_read(kv);
    uint64_t digest = kv_digest(txn, (struct kv_range){ 0 }, NULL);
    kv_abort(txn);
    return digest;
}

/* ---- the machine ------------------------------------------------------------------------- */

/* SOMBRA_TRACE=1 shows the calls of a history that is looked into. */
static void on_call(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct world *world = context;
    if (kv_test_number("SOMBRA_TRACE", 0))
        print_message("    %u: %s %s %" PRIu64 "+%" PRIu64 "\n", event->process == world->os[1],
                      os_sim_call_name(event->call), event->path, event->offset, event->bytes);
    if (world->image || --world->cut_in > 0)
        return;
    world->image_variant = (enum os_sim_variant)(random_next(&world->random) % OS_SIM_VARIANTS);
    world->image = os_sim_crash(sim, world->image_variant, random_next(&world->random));
    world->image_acknowledged = world->acknowledged;
    world->image_ghost = world->ghost;
    world->image_has_ghost = world->has_ghost;
    if (kv_test_number("SOMBRA_TRACE", 0))
        print_message("    image: %s\n", os_sim_variant_name(world->image_variant));
}

static struct world *world_new(const struct setup *setup, uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->setup = setup;
    world->seed = seed;
    struct os_sim_options machine = setup->machine;
    machine.seed = seed;
    world->sim = os_sim_new(&machine);
    for (unsigned i = 0; i < PROCESSES; i++)
        world->os[i] = os_sim_start(world->sim);
    world->random = hash_u64(seed + 5) | 1;
    world->cut_in = 1 + random_next(&world->random) % 100;
    os_sim_set_hook(world->sim, on_call, world);
    expect_ok(kv_model_open(NULL, &world->model));
    world->states[world->count++] = digest_now(world->model);
    return world;
}

static void dead_close(struct world *world)
{
    if (!world->dead)
        return;
    sombra_err ignored = kv_close(world->dead);
    (void)ignored; /* it is dead: its close can only free memory */
    world->dead = NULL;
}

static void world_free(struct world *world)
{
    dead_close(world);
    expect_ok(kv_close(world->model));
    os_sim_free(world->sim);
    free(world);
}

static sombra_err world_open(struct world *world, unsigned process)
{
    if (world->kv[process])
        return SOMBRA_OK;
    return btree_open(world->os[process], "store", &world->setup->options[process],
                      &world->kv[process]);
}

/* ---- what may be there ------------------------------------------------------------------- */

static void print_states(const struct world *world, uint64_t digest)
{
    print_error("%s\n    found %016" PRIx64 ", acknowledged is state %zu of %zu", where, digest,
                world->acknowledged, world->count - 1);
    for (size_t i = 0; i < world->count; i++)
        if (world->states[i] == digest)
            print_error("; it is state %zu", i);
    if (world->has_ghost && world->ghost == digest)
        print_error("; it is that of the step that was cut short");
    print_error("\n");
}

static bool may_recover(const struct world *world, uint64_t digest)
{
    for (size_t i = world->acknowledged; i < world->count; i++)
        if (world->states[i] == digest)
            return true;
    return world->has_ghost && world->ghost == digest;
}

/* Opens the machine that is left by a power cut, or by everybody's death. */
static void check_after(struct world *world, struct os_sim *after, const char *what)
{
    char before[sizeof where];
    memcpy(before, where, sizeof before);
    snprintf(where + strlen(where), sizeof where - strlen(where), "; %s", what);
    struct kv *kv = NULL;
    struct os *os = os_sim_start(after);
    expect_ok(btree_open(os, "store", &world->setup->options[0], &kv));
    uint64_t digest = digest_now(kv);
    if (!may_recover(world, digest)) {
        print_states(world, digest);
        fail();
    }
    kv_expect_sound(kv);
    struct kv_txn *txn = kv_begin_write(kv);
    expect_ok(step_apply(txn, world->seed, 77));
    expect_ok(kv_commit(txn, KV_FULL));
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    os_sim_free(after);
    memcpy(where, before, sizeof where);
}

/* The image that was taken in the middle of the last step, if any. */
static void image_check(struct world *world, bool has_died)
{
    if (!world->image)
        return;
    size_t acknowledged = world->acknowledged;
    uint64_t ghost = world->ghost;
    bool has_ghost = world->has_ghost;
    world->acknowledged = world->image_acknowledged;
    if (world->image_has_ghost) {
        world->ghost = world->image_ghost;
        world->has_ghost = true;
    }
    struct os_sim *image = world->image;
    world->image = NULL;
    check_after(world, image, os_sim_variant_name(world->image_variant));
    world->acknowledged = acknowledged;
    world->ghost = ghost;
    world->has_ghost = has_ghost;
    world->cut_in = 1 + random_next(&world->random) % (has_died ? 12 : 100);
}

static void cuts_check(struct world *world, uint64_t *random, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        enum os_sim_variant variant = (enum os_sim_variant)(random_next(random) % OS_SIM_VARIANTS);
        check_after(world, os_sim_crash(world->sim, variant, random_next(random)),
                    os_sim_variant_name(variant));
    }
    check_after(world, os_sim_clone(world->sim), "everybody killed");
}

/* ---- readers ----------------------------------------------------------------------------- */

static void reader_end(struct world *world)
{
    if (!world->reader)
        return;
    /* Of a process that died nothing is promised but that ending it is safe. */
    if (!os_sim_is_dead(world->os[world->reader_of]))
        assert_int_equal(kv_digest(world->reader, (struct kv_range){ 0 }, NULL),
                         world->reader_digest);
    kv_abort(world->reader);
    world->reader = NULL;
}

static void reader_begin(struct world *world, unsigned process, uint64_t step)
{
    if (world->reader || !world->kv[process])
        return;
    world->reader = kv_begin_read(world->kv[process]);
    world->reader_of = process;
    world->reader_digest = world->states[world->count - 1];
    world->reader_until = step + 9;
}

/* ---- steps ------------------------------------------------------------------------------- */

struct outcome {
    sombra_err err;
    bool is_durable;
};

static struct outcome step_store(struct world *world, unsigned process, uint64_t step)
{
    struct outcome outcome = { .is_durable = hash_u64(world->seed + step) % 4 != 0 };
    outcome.err = world_open(world, process);
    if (outcome.err)
        return outcome;
    struct kv *kv = world->kv[process];
    enum step_kind kind = step_kind_of(world->seed, step);
    if (kind == STEP_CHECKPOINT || kind == STEP_COMPACT) {
        struct kv_maintenance job = { .kind = kind == STEP_COMPACT ? KV_COMPACT : KV_CHECKPOINT };
        outcome.err = kv_maintain(kv, &job);
        return outcome;
    }
    struct kv_txn *txn = NULL;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 3000 };
    outcome.err = kv_begin(kv, &options, &txn);
    if (outcome.err)
        return outcome;
    outcome.err = step_apply(txn, world->seed, step);
    if (outcome.err || kind == STEP_ABORT) {
        kv_abort(txn);
        outcome.is_durable = false; /* it promises nothing about the commits before it */
    } else
        outcome.err = kv_commit(txn, outcome.is_durable ? KV_FULL : KV_NORMAL);
    return outcome;
}

/* The state that the step leads to, and the model's transaction that made it. */
static struct kv_txn *step_model(struct world *world, uint64_t step, uint64_t *out_digest)
{
    struct kv_txn *txn = kv_begin_write(world->model);
    if (step_kind_of(world->seed, step) != STEP_ABORT)
        expect_ok(step_apply(txn, world->seed, step));
    *out_digest = kv_digest(txn, (struct kv_range){ 0 }, NULL);
    return txn;
}

static void state_push(struct world *world, struct kv_txn *txn, uint64_t digest)
{
    kv_commit_ok(txn);
    assert_true(world->count < STATES_MAX);
    world->states[world->count++] = digest;
}

/* The process died in the step: the other finds it done, or not begun. */
static void survive(struct world *world, unsigned process, struct kv_txn *txn, uint64_t digest)
{
    unsigned other = 1 - process;
    if (world->reader && world->reader_of == process)
        reader_end(world);
    world->dead = world->kv[process];
    world->dead_os = world->os[process];
    world->kv[process] = NULL;
    world->os[process] = os_sim_start(world->sim);
    world->ghost = digest;
    world->has_ghost = true;
    if (!world->kv[other])
        expect_ok(world_open(world, other));
    uint64_t found = digest_now(world->kv[other]);
    if (found == digest && found != world->states[world->count - 1]) {
        state_push(world, txn, digest);
        return;
    }
    kv_abort(txn);
    if (found != world->states[world->count - 1]) {
        print_states(world, found);
        fail();
    }
}

/* False when the process died in it. */
static bool step_run(struct world *world, unsigned process, uint64_t step)
{
    snprintf(where + strlen(where), sizeof where - strlen(where),
             "\n    step %" PRIu64 " (%s) by %u", step, step_name(step_kind_of(world->seed, step)),
             process);
    if (kv_test_number("SOMBRA_TRACE", 0))
        print_message("%s\n", where);
    uint64_t digest;
    struct kv_txn *txn = step_model(world, step, &digest);
    struct outcome outcome = step_store(world, process, step);
    if (os_sim_is_dead(world->os[process])) {
        survive(world, process, txn, digest);
        return false;
    }
    expect_ok(outcome.err);
    state_push(world, txn, digest);
    if (outcome.is_durable) {
        world->acknowledged = world->count - 1;
        world->has_ghost = false;
    }
    return true;
}

static void files_see(struct world *world)
{
    static const char *const gone[] = { "store-lock", "store-log0", "store-log1", "store-new" };
    struct os_identity identity;
    struct os *os = os_sim_start(world->sim);
    for (size_t i = 0; i < COUNT_OF(gone); i++)
        expect_err(SOMBRA_NOT_FOUND, os_identify_path(os, gone[i], &identity));
    expect_ok(os_identify_path(os, "store", &identity));
}

static void world_close(struct world *world, uint64_t *random)
{
    reader_end(world);
    dead_close(world);
    unsigned first = (unsigned)(random_next(random) % PROCESSES);
    for (unsigned i = 0; i < PROCESSES; i++) {
        unsigned process = (first + i) % PROCESSES;
        if (!world->kv[process])
            continue;
        snprintf(where + strlen(where), sizeof where - strlen(where), "\n    close of %u", process);
        expect_ok(kv_close(world->kv[process]));
        world->kv[process] = NULL;
    }
    files_see(world);
    struct kv *kv = NULL;
    expect_ok(btree_open(os_sim_start(world->sim), "store", &world->setup->options[0], &kv));
    assert_int_equal(digest_now(kv), world->states[world->count - 1]);
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
}

/* The process closes, and comes back when it is its turn. True if it died in closing. */
static bool leave(struct world *world, unsigned process)
{
    if (!world->kv[0] || !world->kv[1])
        return false;
    sombra_err err = kv_close(world->kv[process]);
    world->kv[process] = NULL;
    if (!os_sim_is_dead(world->os[process])) {
        expect_ok(err);
        return false;
    }
    world->os[process] = os_sim_start(world->sim);
    return true;
}

/* One history. The first process dies before its nth call (0 = never); says whether it did. */
static bool history_run(const struct setup *setup, uint64_t seed, unsigned victim, uint64_t nth)
{
    char head[100];
    snprintf(head, sizeof head, "%s: SOMBRA_SEED=%" PRIu64 ", process %u dies at call %" PRIu64,
             setup->name, seed, victim, nth);
    struct world *world = world_new(setup, seed);
    uint64_t random = hash_u64(seed + nth * 7 + 1) | 1;
    os_sim_stop_at(world->os[victim], nth);
    bool has_died = false;
    for (uint64_t step = 0; step < STEPS; step++) {
        snprintf(where, sizeof where, "%s", head);
        unsigned process = (unsigned)(hash_u64(seed * 3 + step) % PROCESSES);
        bool lived = step_run(world, process, step);
        if (!lived) {
            has_died = true;
            if (random_next(&random) % 2)
                dead_close(world);
            cuts_check(world, &random, 1);
            world->cut_in = 1 + random_next(&random) % 6;
        } else if (has_died && random_next(&random) % 12 == 0) {
            cuts_check(world, &random, 1);
        }
        image_check(world, has_died);
        if (step % 7 == 3)
            reader_begin(world, (unsigned)(random_next(&random) % PROCESSES), step);
        if (world->reader && step >= world->reader_until)
            reader_end(world);
        if ((nth == 0 || has_died) && world->kv[process] && random_next(&random) % 4 == 0)
            kv_expect_sound(world->kv[process]);
        if (step % 11 == 10 && !world->reader)
            has_died |= leave(world, 1 - process);
    }
    snprintf(where, sizeof where, "%s", head);
    os_sim_stop_at(world->os[victim], 0);
    cuts_check(world, &random, 2);
    world_close(world, &random);
    image_check(world, has_died);
    world_free(world);
    return has_died;
}

static void kills_try(const struct setup *setup, uint64_t seed)
{
    bool is_long = kv_test_number("SOMBRA_LONG", 0) != 0;
    uint64_t random = hash_u64(seed + 17) | 1;
    for (unsigned victim = (unsigned)kv_test_number("SOMBRA_VICTIM", 0); victim < PROCESSES;
         victim++) {
        uint64_t nth = kv_test_number("SOMBRA_CALL", 1);
        unsigned tried = 0;
        while (history_run(setup, seed, victim, nth)) {
            nth += is_long ? 1 : 1 + random_next(&random) % 21;
            tried++;
        }
        print_message("%s, process %u: %u kills over %" PRIu64 " calls\n", setup->name, victim,
                      tried, nth);
    }
}

static int begin(void **state)
{
    (void)state;
    is_done = false;
    where[0] = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (!is_done)
        print_error("%s\n", where);
    return 0;
}

static void test_takeover__two_processes_in_turn_see_each_other(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    for (size_t i = 0; i < COUNT_OF(setups); i++)
        for (uint64_t n = 0; n < 6; n++)
            assert_false(history_run(&setups[i], seed + n, 0, 0));
    is_done = true;
}

static void test_takeover__whoever_dies_at_whichever_call_the_other_goes_on(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    for (size_t i = 0; i < COUNT_OF(setups); i++)
        if (i >= kv_test_number("SOMBRA_SETUP", 0))
            kills_try(&setups[i], seed);
    is_done = true;
}

static void on_abort(int number)
{
    (void)number;
    print_error("%s\n", where);
    _exit(1);
}

int main(void)
{
    signal(SIGABRT, on_abort); /* an assert says what failed, this says where */
    uint64_t seed = kv_test_seed("btree, takeover");
    const struct CMUnitTest tests[] = {
        { "test_takeover__two_processes_in_turn_see_each_other",
          test_takeover__two_processes_in_turn_see_each_other, begin, end, &seed },
        { "test_takeover__whoever_dies_at_whichever_call_the_other_goes_on",
          test_takeover__whoever_dies_at_whichever_call_the_other_goes_on, begin, end, &seed },
    };
    /* cmocka hands the state to the fixture and the test alike. */
    return cmocka_run_group_tests_name("btree, takeover", tests, NULL, NULL);
}
