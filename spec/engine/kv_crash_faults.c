/* SPDX-License-Identifier: MIT */
/* Failing calls and failing allocations under the history of kv_crash.c. */
#include "kv_crash_internal.h"
#include "kv_check.h"

#include <inttypes.h>

enum {
    FAULT_COMMITS = 16,
    FAULT_RUNS = 40,       /* sampled, of each kind */
    ALLOCATION_RUNS = 100, /* sampled, single and sticky each */
    ERRORS_MAX = 4,        /* after which a history gives up */
};

/* Goes on with the history as far as the store lets it: what failed is tried again, a store that
 * refuses is left. Returns how many errors it saw. */
static unsigned run_with_errors(struct crash_run *run, bool (*is_expected)(sombra_err err),
                                void (*on_error)(struct crash_run *run))
{
    unsigned errors = 0;
    while (errors < ERRORS_MAX) {
        uint64_t n = atomic_load(&run->acknowledged) + 1;
        sombra_err err = run->kv ? SOMBRA_OK : crash_open(run);
        if (!err && n > run->commits)
            break;
        if (!err)
            err = crash_step(run, n);
        if (!err)
            continue;
        errors++;
        if (!is_expected(err))
            crash_report(run, "%s: %s", sombra_err_name(err), sombra_err_message());
        if (on_error)
            on_error(run);
    }
    return errors;
}

/* ---- failing calls ----------------------------------------------------------------------- */

struct fault_kind {
    const char *name;
    struct os_sim_fault fault; /* nth is filled in */
    bool is_invisible;         /* the store must not notice */
};

static const struct fault_kind fault_kinds[] = {
    { "EIO once", { .kind = OS_SIM_EIO }, false },
    /* But for syncs of directories: a name they lost while nobody could take the file away again is
     * lost to every process that comes later. */
    { "EIO from then on",
      { .kind = OS_SIM_EIO,
        .is_sticky = true,
        .calls = ~(1u << OS_SIM_SYNC_DIRECTORY) & ((1u << OS_SIM_CALLS) - 1) },
      false },
    { "EIO of a directory", { .kind = OS_SIM_EIO, .calls = 1u << OS_SIM_SYNC_DIRECTORY }, false },
    { "disk full once", { .kind = OS_SIM_ENOSPC }, false },
    { "disk full from then on", { .kind = OS_SIM_ENOSPC, .is_sticky = true }, false },
    { "half a sync", { .kind = OS_SIM_SHORT, .calls = 1u << OS_SIM_SYNC }, false },
    { "interrupted", { .kind = OS_SIM_EINTR }, true },
    { "short writes",
      { .kind = OS_SIM_SHORT, .is_sticky = true, .calls = 1u << OS_SIM_WRITE },
      true },
};

static bool is_system_error(sombra_err err)
{
    return err == SOMBRA_IO || err == SOMBRA_LIMIT;
}

/* The store's own view after an error: reads go on and show one of the commits. */
static void check_open_store(struct crash_run *run, const char *what)
{
    uint64_t commit = 0;
    sombra_err err = crash_content(run, run->kv, &commit);
    if (err)
        crash_report(run, "%s: read after the error: %s: %s", what, sombra_err_name(err),
                     sombra_err_message());
    else if (commit < atomic_load(&run->acknowledged) || commit > atomic_load(&run->begun))
        crash_report(run, "%s: commit %" PRIu64 " seen after the error", what, commit);
}

static void fault_run(struct crash_run *run, const struct fault_kind *kind, uint64_t nth)
{
    char what[CRASH_TEXT_BYTES];
    struct os_sim *sim = os_sim_new(&run->driver->machine);
    struct os_sim_fault fault = kind->fault;
    fault.nth = nth;
    crash_run_restart(run, os_sim_start(sim));
    os_sim_fail(sim, &fault);
    snprintf(what, sizeof what, "%s at call %" PRIu64, kind->name, nth);
    unsigned errors = run_with_errors(run, is_system_error, NULL);
    if (errors && kind->is_invisible)
        crash_report(run, "%s was noticed: %s", what, sombra_err_message());
    if (run->kv)
        check_open_store(run, what);
    sombra_err err = crash_close(run);
    assert_null(run->kv);
    if (err && !is_system_error(err))
        crash_report(run, "%s: close: %s", what, sombra_err_name(err));
    uint64_t durable = atomic_load(&run->durable);
    struct crash_bounds bounds = { durable, atomic_load(&run->begun), durable };
    enum os_sim_variant variant =
        (enum os_sim_variant)(hash_u64(run->seed + nth) % OS_SIM_VARIANTS);
    struct os_sim *after = os_sim_crash(sim, variant, nth);
    size_t used = strlen(what);
    snprintf(what + used, sizeof what - used, ", then a power cut: %s",
             os_sim_variant_name(variant));
    crash_check_machine(run, after, bounds, true, what);
    os_sim_free(after);
    /* Without a power cut nothing acknowledged is lost, durable or not. */
    os_sim_fail(sim, NULL);
    bounds.low = atomic_load(&run->acknowledged);
    snprintf(what + used, sizeof what - used, ", then another process");
    crash_check_machine(run, sim, bounds, true, what);
    os_sim_free(sim);
}

bool kv_crash_faults(const struct kv_crash_driver *driver, uint64_t seed)
{
    struct crash_run run;
    crash_run_init(&run, driver, seed, FAULT_COMMITS);
    uint64_t calls = crash_count_calls(&run), runs = 0;
    for (size_t i = 0; i < COUNT_OF(fault_kinds); i++)
        for (uint64_t nth = 1; nth <= calls && run.failures < REPORTS_MAX; nth++)
            if (crash_is_sampled(&run, seed + i, nth, FAULT_RUNS, calls)) {
                fault_run(&run, &fault_kinds[i], nth);
                runs++;
            }
    print_message("%s: %" PRIu64 " faults at up to %" PRIu64 " calls\n", driver->name, runs, calls);
    return run.failures == 0;
}

/* ---- failing allocations ----------------------------------------------------------------- */

static bool is_out_of_memory(sombra_err err)
{
    return err == SOMBRA_NOMEM;
}

static void end_of_want(struct crash_run *run)
{
    (void)run;
    mem_test_fail_at(0, false);
}

/* The failure is over once it was seen: then the history must go on to its end. */
static void allocation_run(struct crash_run *run, uint64_t nth, bool is_sticky)
{
    char what[CRASH_TEXT_BYTES];
    uint64_t live = mem_test_live();
    struct os_sim *sim = os_sim_new(&run->driver->machine);
    crash_run_restart(run, os_sim_start(sim));
    snprintf(what, sizeof what, "allocation %" PRIu64 " fails%s", nth,
             is_sticky ? " and all after it" : "");
    mem_test_fail_at(nth, is_sticky);
    run_with_errors(run, is_out_of_memory, end_of_want);
    /* The allocation that fails may be one of close. */
    sombra_err err = crash_close(run);
    mem_test_fail_at(0, false);
    assert_null(run->kv);
    if (err && err != SOMBRA_NOMEM)
        crash_report(run, "%s: %s", what, sombra_err_message());
    uint64_t acknowledged = atomic_load(&run->acknowledged);
    if (acknowledged != run->commits)
        crash_report(run, "%s: the history stops after commit %" PRIu64 ": %s", what, acknowledged,
                     sombra_err_message());
    if (mem_test_live() != live)
        crash_report(run, "%s: %" PRIu64 " blocks leak", what, mem_test_live() - live);
    crash_check_machine(run, sim, (struct crash_bounds){ acknowledged, acknowledged, acknowledged },
                        true, what);
    os_sim_free(sim);
}

bool kv_crash_allocations(const struct kv_crash_driver *driver, uint64_t seed)
{
    struct crash_run run;
    crash_run_init(&run, driver, seed, FAULT_COMMITS);
    uint64_t before = mem_test_allocations();
    crash_count_calls(&run);
    uint64_t allocations = mem_test_allocations() - before, runs = 0;
    for (unsigned sticky = 0; sticky < 2; sticky++)
        for (uint64_t nth = 1; nth <= allocations && run.failures < REPORTS_MAX; nth++)
            if (crash_is_sampled(&run, seed + sticky, nth, ALLOCATION_RUNS, allocations)) {
                allocation_run(&run, nth, sticky);
                runs++;
            }
    print_message("%s: %" PRIu64 " runs, the history makes %" PRIu64 " allocations\n", driver->name,
                  runs, allocations);
    return run.failures == 0;
}
