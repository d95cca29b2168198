/* SPDX-License-Identifier: MIT */
/* Power cuts and kills at every call of the history of kv_crash.c.
 *
 * The hook only takes images. They are checked by the thread that runs the history, outside of open
 * and close, which an engine may hold a lock around that the check's own open needs.
 */
#include "kv_crash_internal.h"
#include "kv_check.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    POWER_COMMITS = 30,
    POWER_IMAGES = 400,      /* sampled */
    RECOVERY_CUT_EVERY = 28, /* images, also when all are taken: each gives some 30 more */
    IMAGES_WAITING_MAX = 8,  /* before they are checked in the middle of a call */
};

/* One more than the machine's variants: the process is killed, the page cache stays. */
enum { VARIANT_KILLED = OS_SIM_VARIANTS, VARIANTS };

struct image {
    struct os_sim *sim;
    struct crash_bounds bounds;
    bool writes, is_recovery_cut;
    char what[CRASH_TEXT_BYTES];
    struct image *next;
};

struct cutter {
    struct crash_run *run;
    pthread_t thread; /* that runs the history and checks */
    uint64_t total;   /* images a whole run would take */
    uint64_t checked, recovery_cuts;
    pthread_mutex_t mutex; /* guards what follows */
    struct image *waiting;
    unsigned waiting_count;
};

static struct os_sim *take(struct os_sim *sim, unsigned variant, uint64_t seed)
{
    return variant == VARIANT_KILLED ? os_sim_clone(sim)
                                     : os_sim_crash(sim, (enum os_sim_variant)variant, seed);
}

static const char *variant_text(unsigned variant)
{
    return variant == VARIANT_KILLED ? "killed" : os_sim_variant_name((enum os_sim_variant)variant);
}

static void enqueue(struct cutter *cutter, const struct image *image)
{
    struct image *copy = malloc(sizeof *copy);
    if (!copy)
        abort();
    *copy = *image;
    pthread_mutex_lock(&cutter->mutex);
    copy->next = cutter->waiting;
    cutter->waiting = copy;
    cutter->waiting_count++;
    pthread_mutex_unlock(&cutter->mutex);
}

static bool has_many_waiting(struct cutter *cutter)
{
    pthread_mutex_lock(&cutter->mutex);
    bool has_many = cutter->waiting_count > IMAGES_WAITING_MAX;
    pthread_mutex_unlock(&cutter->mutex);
    return has_many;
}

static struct image *dequeue(struct cutter *cutter)
{
    pthread_mutex_lock(&cutter->mutex);
    struct image *image = cutter->waiting;
    if (image) {
        cutter->waiting = image->next;
        cutter->waiting_count--;
    }
    pthread_mutex_unlock(&cutter->mutex);
    return image;
}

/* ---- recovery, and the first commit after it, cut --------------------------------------- */

struct recovery {
    struct cutter *cutter;
    const struct image *image;
    struct image *cuts;
    _Atomic uint64_t begun; /* the commit that is made after the recovery */
};

static void cut_recovery(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct recovery *recovery = context;
    const struct image *from = recovery->image;
    unsigned variant = (unsigned)(hash_u64(recovery->cutter->run->seed + event->number) % VARIANTS);
    struct image *cut = calloc(1, sizeof *cut);
    if (!cut)
        abort();
    cut->sim = take(sim, variant, event->number);
    cut->bounds = from->bounds;
    cut->bounds.high = u64_max(from->bounds.high, atomic_load(&recovery->begun));
    if (variant != VARIANT_KILLED)
        cut->bounds.low = from->bounds.durable;
    cut->writes = event->number % 2;
    snprintf(cut->what, sizeof cut->what,
             "%.250s; recovery cut before call %" PRIu64 " (%s of %s), %s", from->what,
             event->number, os_sim_call_name(event->call), event->path, variant_text(variant));
    cut->next = recovery->cuts;
    recovery->cuts = cut;
}

static void cut_recoveries(struct cutter *cutter, const struct image *image)
{
    const struct kv_crash_driver *driver = cutter->run->driver;
    struct recovery recovery = { .cutter = cutter, .image = image };
    struct os_sim *sim = os_sim_clone(image->sim);
    struct kv *kv = NULL;
    os_sim_set_hook(sim, cut_recovery, &recovery);
    sombra_err err = driver->open(driver->context, os_sim_start(sim), &kv);
    if (!err)
        err = crash_commit_next(cutter->run, kv, &recovery.begun);
    os_sim_set_hook(sim, NULL, NULL);
    sombra_err close_err = kv ? kv_close(kv) : SOMBRA_OK;
    if (err || close_err)
        crash_report(cutter->run, "%s: %s: %s", image->what, sombra_err_name(err ? err : close_err),
                     sombra_err_message());
    os_sim_free(sim);
    while (recovery.cuts) {
        struct image *cut = recovery.cuts;
        recovery.cuts = cut->next;
        crash_check_machine(cutter->run, cut->sim, cut->bounds, cut->writes, cut->what);
        cutter->recovery_cuts++;
        os_sim_free(cut->sim);
        free(cut);
    }
}

/* ---- the history cut --------------------------------------------------------------------- */

static void check_waiting(struct cutter *cutter)
{
    for (struct image *image = dequeue(cutter); image; image = dequeue(cutter)) {
        if (image->is_recovery_cut)
            cut_recoveries(cutter, image);
        crash_check_machine(cutter->run, image->sim, image->bounds, image->writes, image->what);
        cutter->checked++;
        os_sim_free(image->sim);
        free(image);
    }
}

static void cut(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cutter *cutter = context;
    struct crash_run *run = cutter->run;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        uint64_t number = event->number * VARIANTS + variant;
        /* Every call is cut in one variant at least, where all of the sample is taken. */
        bool is_this_calls = hash_u64(run->seed + event->number) % VARIANTS == variant &&
                             crash_is_sampled(run, run->seed, event->number, 100, 100);
        if (!is_this_calls &&
            !crash_is_sampled(run, run->seed, number, POWER_IMAGES, cutter->total))
            continue;
        struct image image = { .writes = hash_u64(number) % 2 };
        /* Low before the image and high after it: other threads may be at work. */
        uint64_t durable = atomic_load(&run->durable);
        uint64_t low = variant == VARIANT_KILLED ? atomic_load(&run->acknowledged) : durable;
        image.sim = take(sim, variant, number);
        uint64_t high = atomic_load(&run->begun);
        image.bounds = (struct crash_bounds){ low, high, durable };
        image.is_recovery_cut = hash_u64(run->seed ^ hash_u64(number)) % RECOVERY_CUT_EVERY == 0;
        snprintf(image.what, sizeof image.what, "cut before call %" PRIu64 " (%s of %s), %s",
                 event->number, os_sim_call_name(event->call), event->path, variant_text(variant));
        enqueue(cutter, &image);
    }
    bool is_ours = pthread_equal(pthread_self(), cutter->thread) && !atomic_load(&run->is_opening);
    if (is_ours && has_many_waiting(cutter))
        check_waiting(cutter);
}

static void run_cut(struct cutter *cutter, struct os_sim *sim)
{
    struct crash_run *run = cutter->run;
    crash_run_restart(run, os_sim_start(sim));
    os_sim_set_hook(sim, cut, cutter);
    sombra_err err = crash_open(run);
    for (uint64_t n = 1; n <= run->commits && !err; n++) {
        err = crash_step(run, n);
        check_waiting(cutter);
    }
    sombra_err close_err = crash_close(run);
    os_sim_set_hook(sim, NULL, NULL);
    check_waiting(cutter);
    if (run->kv)
        print_error("%s\n", sombra_err_message());
    assert_null(run->kv); /* it could not even be closed: nothing here may be freed */
    if (err || close_err)
        crash_report(run, "%s: %s", sombra_err_name(err ? err : close_err), sombra_err_message());
    else
        crash_check_machine(run, sim,
                            (struct crash_bounds){ run->commits, run->commits, run->commits }, true,
                            "closed");
}

bool kv_crash_power_cuts(const struct kv_crash_driver *driver, uint64_t seed)
{
    struct crash_run run;
    crash_run_init(&run, driver, seed, POWER_COMMITS);
    struct cutter cutter = { .run = &run,
                             .thread = pthread_self(),
                             .total = crash_count_calls(&run) * VARIANTS,
                             .mutex = PTHREAD_MUTEX_INITIALIZER };
    if (run.failures == 0) {
        struct os_sim *sim = os_sim_new(&driver->machine);
        run_cut(&cutter, sim);
        os_sim_free(sim);
    }
    print_message("%s: %" PRIu64 " of %" PRIu64 " images checked, %" PRIu64 " cuts in recovery\n",
                  driver->name, cutter.checked, cutter.total, cutter.recovery_cuts);
    static uint64_t cut_points, wrong; /* of all stores */
    cut_points += cutter.checked + cutter.recovery_cuts;
    wrong += run.failures;
    print_message("in all %" PRIu64 " cut points, %" PRIu64 " commits lost, in part or reordered\n",
                  cut_points, wrong);
    return run.failures == 0;
}
