/* SPDX-License-Identifier: MIT */
#include "kv_crash_internal.h"
#include "kv_check.h"
#include "kv_model.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    VALUE_BYTES_MAX = 120 * 1024,
};

bool crash_report(struct crash_run *run, const char *format, ...)
{
    if (run->failures++ >= REPORTS_MAX)
        return false;
    FILE *report = run->driver->report ? run->driver->report : stderr;
    va_list args;
    va_start(args, format);
    fprintf(report, "%s, seed %" PRIu64 ": ", run->driver->name, run->seed);
    vfprintf(report, format, args);
    fprintf(report, "\n");
    va_end(args);
    return false;
}

bool crash_is_sampled(const struct crash_run *run, uint64_t seed, uint64_t number, uint64_t wanted,
                      uint64_t total)
{
    if (kv_test_number("SOMBRA_LONG", 0))
        return true;
    uint64_t share = run->driver->share_percent ? run->driver->share_percent : 100;
    double chance = (double)(wanted * share * kv_test_number("SOMBRA_SHARE", 100)) / 10000;
    return (double)(hash_u64(seed + hash_u64(number)) % total) < chance;
}

/* ---- the history ------------------------------------------------------------------------- */

static const sombra_slice counter_key = { "commit", 6 };

/* What one transaction is made of. The values lie in a block of its own, from malloc: a hook may
 * run another transaction in the middle of this one, and allocations of the test must not fail. */
struct work {
    struct kv_txn *txn;
    struct random random;
    uint8_t *value; /* VALUE_BYTES_MAX + 8 bytes */
};

static struct work work_begin(struct kv_txn *txn, uint64_t seed)
{
    struct work work = { .txn = txn, .value = malloc(VALUE_BYTES_MAX + 8) };
    if (!work.value)
        abort();
    random_seed(&work.random, hash_u64(seed));
    return work;
}

static sombra_slice work_value(struct work *work, uint64_t seed, size_t bytes)
{
    struct random random;
    random_seed(&random, hash_u64(seed));
    for (size_t i = 0; i < bytes; i += 8)
        put_le64(work->value + i, random_u64(&random));
    return slice_of(work->value, bytes);
}

static uint64_t work_below(struct work *work, uint64_t bound)
{
    return random_below(&work->random, bound);
}

static sombra_slice crash_key(uint8_t tag, uint64_t number, uint8_t to[9])
{
    to[0] = tag;
    put_be64(to + 1, number);
    return slice_of(to, 9);
}

static size_t crash_value_bytes(struct work *work)
{
    uint64_t dice = work_below(work, 100);
    if (dice < 30)
        return 0;
    if (dice < 85)
        return (size_t)work_below(work, 200);
    return (size_t)work_below(work, dice < 95 ? 6000 : VALUE_BYTES_MAX);
}

static sombra_err put_some(struct work *work, uint64_t count)
{
    sombra_err err = SOMBRA_OK;
    uint8_t to[9];
    for (uint64_t i = 0; i < count && !err; i++) {
        uint8_t tag = (uint8_t)work_below(work, 3);
        sombra_slice key = crash_key(tag, work_below(work, 120), to);
        if (work_below(work, 4) == 0) {
            err = kv_delete(work->txn, key);
            err = err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
        } else {
            size_t bytes = crash_value_bytes(work);
            err = kv_put(work->txn, key, work_value(work, random_u64(&work->random), bytes));
        }
    }
    return err;
}

static sombra_err put_run(struct work *work, uint64_t count)
{
    sombra_err err = SOMBRA_OK;
    uint64_t first = work_below(work, 1000);
    uint8_t key[9];
    for (uint64_t i = first; i < first + count && !err; i++)
        err = kv_put(work->txn, crash_key('r', i, key), work_value(work, i, 80));
    return err;
}

static sombra_err put_many(struct work *work, uint64_t count)
{
    enum { MANY_MAX = 200 };
    uint8_t keys[MANY_MAX][9];
    struct kv_entry entries[MANY_MAX];
    uint64_t first = work_below(work, 1000), stride = 1 + work_below(work, 3);
    sombra_slice value = work_value(work, first, crash_value_bytes(work));
    count = value.bytes > 300 ? 12 : u64_min(count, MANY_MAX);
    for (uint64_t i = 0; i < count; i++)
        entries[i] =
            (struct kv_entry){ .key = crash_key('r', first + stride * i, keys[i]), .value = value };
    return kv_put_many(work->txn, entries, count);
}

static sombra_err delete_run(struct work *work)
{
    uint8_t low[9], high[9];
    bool is_run = work_below(work, 2);
    uint8_t tag = is_run ? 'r' : (uint8_t)work_below(work, 3);
    uint64_t first = work_below(work, is_run ? 1000 : 100);
    struct kv_range range = { crash_key(tag, first, low), crash_key(tag, first + 150, high) };
    return kv_delete_range(work->txn, range, NULL);
}

static sombra_err roll_back_some(struct work *work)
{
    uint64_t mark;
    sombra_err err = kv_savepoint(work->txn, KV_SAVEPOINT_SET, &mark);
    if (!err)
        err = put_some(work, 6);
    if (!err)
        err = kv_delete_range(work->txn, (struct kv_range){ { 0 }, { 0 } }, NULL);
    if (!err)
        err = kv_savepoint(work->txn, KV_SAVEPOINT_ROLLBACK, &mark);
    if (!err)
        err = put_some(work, 2);
    return err ? err : kv_savepoint(work->txn, KV_SAVEPOINT_RELEASE, &mark);
}

/* Commit n may only be made on the content of commit n - 1. */
static sombra_err expect_counter(struct kv_txn *txn, uint64_t n)
{
    sombra_slice counter;
    sombra_err err = kv_get(txn, counter_key, &counter);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    uint64_t before = err || counter.bytes != 8 ? 0 : get_le64(counter.data);
    if (before != n - 1)
        return diag_fail(SOMBRA_CORRUPT, "commit %" PRIu64 " begins on the content of %" PRIu64, n,
                         before);
    return SOMBRA_OK;
}

static sombra_err apply_commit(struct kv_txn *txn, uint64_t seed, uint64_t n)
{
    sombra_err err = expect_counter(txn, n);
    if (err)
        return err;
    struct work work = work_begin(txn, seed + n);
    err = put_some(&work, work_below(&work, 10));
    if (!err && n % 4 == 1)
        err = put_run(&work, n % 8 == 5 ? 700 : 60);
    if (!err && n % 4 == 3)
        err = put_many(&work, n % 8 == 7 ? 200 : 40);
    if (!err && n % 5 == 0)
        err = delete_run(&work);
    if (!err && n % 6 == 2)
        err = roll_back_some(&work);
    if (!err && n % 13 == 12)
        err = kv_delete_range(txn, (struct kv_range){ { 0 }, { 0 } }, NULL);
    put_le64(work.value, n);
    if (!err)
        err = kv_put(txn, counter_key, slice_of(work.value, 8));
    free(work.value);
    return err;
}

static sombra_err begin_write(struct kv *kv, struct kv_txn **out_txn)
{
    return kv_begin(kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 10000 },
                    out_txn);
}

static void raise_to(_Atomic uint64_t *counter, uint64_t n)
{
    if (atomic_load(counter) < n)
        atomic_store(counter, n);
}

static sombra_err make_commit(struct crash_run *run, uint64_t n)
{
    static const enum kv_durability durabilities[] = { KV_FULL, KV_NORMAL, KV_OFF, KV_GROUP,
                                                       KV_DURABILITY_STORE };
    struct kv_txn *txn;
    sombra_err err = begin_write(run->kv, &txn);
    if (err)
        return diag_wrap(err, "begin commit %" PRIu64, n);
    err = apply_commit(txn, run->seed, n);
    if (err) {
        kv_abort(txn);
        return diag_wrap(err, "work of commit %" PRIu64, n);
    }
    enum kv_durability durability = durabilities[n % COUNT_OF(durabilities)];
    raise_to(&run->begun, n);
    err = kv_commit(txn, durability);
    if (err)
        return diag_wrap(err, "commit %" PRIu64, n);
    raise_to(&run->acknowledged, n);
    run->handle_commits = n;
    if (durability == KV_FULL || durability == KV_GROUP)
        raise_to(&run->durable, n);
    return SOMBRA_OK;
}

/* ---- around the commits ------------------------------------------------------------------ */

static sombra_err abort_some(struct crash_run *run, uint64_t n)
{
    struct kv_txn *txn;
    sombra_err err = begin_write(run->kv, &txn);
    if (err)
        return diag_wrap(err, "begin what is aborted before commit %" PRIu64, n);
    struct work work = work_begin(txn, n);
    err = put_some(&work, 12);
    if (!err)
        err = put_run(&work, 200);
    free(work.value);
    kv_abort(txn);
    return diag_wrap(err, "work that is aborted before commit %" PRIu64, n);
}

static void end_reader(struct crash_run *run)
{
    if (run->reader)
        kv_abort(run->reader);
    run->reader = NULL;
}

static sombra_err turn_reader(struct crash_run *run)
{
    if (run->reader) {
        end_reader(run);
        return SOMBRA_OK;
    }
    return kv_begin(run->kv, &(struct kv_begin_options){ 0 }, &run->reader);
}

static sombra_err checkpoint(struct crash_run *run)
{
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    sombra_err err = kv_maintain(run->kv, &job);
    if (!err)
        raise_to(&run->durable, run->handle_commits);
    return diag_wrap(err, "checkpoint");
}

/* It moves pages and cuts the file, and brings everything into it first. */
static sombra_err compact(struct crash_run *run)
{
    struct kv_maintenance job = { .kind = KV_COMPACT };
    sombra_err err = kv_maintain(run->kv, &job);
    if (!err)
        raise_to(&run->durable, run->handle_commits);
    return err == SOMBRA_UNSUPPORTED ? SOMBRA_OK : diag_wrap(err, "compact");
}

/* What a durable reader saw is promised to survive. */
static sombra_err read_durable(struct crash_run *run)
{
    struct kv_txn *txn;
    sombra_slice counter;
    sombra_err err = kv_begin(run->kv, &(struct kv_begin_options){ .needs_durable = true }, &txn);
    if (err)
        return diag_wrap(err, "begin a durable reader");
    err = kv_get(txn, counter_key, &counter);
    if (!err && counter.bytes == 8)
        raise_to(&run->durable, get_le64(counter.data));
    kv_abort(txn);
    return diag_wrap(err, "durable read");
}

sombra_err crash_open(struct crash_run *run)
{
    atomic_store(&run->is_opening, true);
    sombra_err err = run->driver->open(run->driver->context, run->os, &run->kv);
    atomic_store(&run->is_opening, false);
    return diag_wrap(err, "open");
}

sombra_err crash_close(struct crash_run *run)
{
    if (!run->kv)
        return SOMBRA_OK;
    end_reader(run);
    atomic_store(&run->is_opening, true);
    sombra_err err = kv_close(run->kv);
    atomic_store(&run->is_opening, false);
    if (err == SOMBRA_BUSY)
        return diag_wrap(err, "close");
    /* A store that was opened on the page cache of a killed one and wrote nothing promises nothing.
     */
    if (!err)
        raise_to(&run->durable, run->handle_commits);
    run->handle_commits = 0;
    run->kv = NULL;
    return diag_wrap(err, "close");
}

sombra_err crash_step(struct crash_run *run, uint64_t n)
{
    sombra_err err = SOMBRA_OK;
    if (n % 5 == 2)
        err = abort_some(run, n);
    if (!err)
        err = make_commit(run, n);
    if (!err && n % 3 == 1)
        err = turn_reader(run);
    if (!err && n % 7 == 3)
        err = checkpoint(run);
    if (!err && n % 8 == 6)
        err = compact(run);
    if (!err && n % 9 == 8)
        err = read_durable(run);
    if (!err && n % 11 == 6) {
        err = crash_close(run);
        if (!err)
            err = crash_open(run);
    }
    return err;
}

sombra_err crash_workload(struct crash_run *run)
{
    sombra_err err = crash_open(run);
    for (uint64_t n = 1; n <= run->commits && !err; n++)
        err = crash_step(run, n);
    sombra_err close_err = crash_close(run);
    return err ? err : close_err;
}

uint64_t crash_count_calls(struct crash_run *run)
{
    struct os_sim *sim = os_sim_new(&run->driver->machine);
    crash_run_restart(run, os_sim_start(sim));
    sombra_err err = crash_workload(run);
    if (err)
        crash_report(run, "%s: %s", sombra_err_name(err), sombra_err_message());
    uint64_t calls = os_sim_calls(sim);
    os_sim_free(sim);
    return calls;
}

/* ---- what a store holds ------------------------------------------------------------------ */

static sombra_err txn_digest(struct kv_txn *txn, uint64_t *out_digest)
{
    struct kv_cursor *cursor;
    sombra_err err = kv_cursor_open(txn, (struct kv_range){ { 0 }, { 0 } }, &cursor);
    uint64_t digest = 0;
    bool found = !err;
    if (err)
        return err;
    while (found) {
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err)
            break;
        if (found)
            digest = kv_entry_digest(digest, cursor->entry.key, cursor->entry.value);
    }
    kv_cursor_close(cursor);
    if (!err)
        *out_digest = digest;
    return err;
}

static sombra_err txn_content(const struct crash_run *run, struct kv_txn *txn, uint64_t *out_commit)
{
    sombra_slice counter;
    uint64_t digest, commit = 0;
    sombra_err err = kv_get(txn, counter_key, &counter);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    if (!err && counter.bytes == 8)
        commit = get_le64(counter.data);
    if (commit > run->commits + 1)
        return diag_fail(SOMBRA_CORRUPT, "the counter says %" PRIu64, commit);
    err = txn_digest(txn, &digest);
    if (err)
        return err;
    if (digest != run->digests[commit])
        return diag_fail(SOMBRA_CORRUPT, "commit %" PRIu64 " is there in part", commit);
    *out_commit = commit;
    return SOMBRA_OK;
}

sombra_err crash_content(const struct crash_run *run, struct kv *kv, uint64_t *out_commit)
{
    struct kv_txn *txn;
    sombra_err err = kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return diag_wrap(err, "begin read");
    err = txn_content(run, txn, out_commit);
    kv_abort(txn);
    return err;
}

void crash_run_init(struct crash_run *run, const struct kv_crash_driver *driver, uint64_t seed,
                    uint64_t commits)
{
    assert_true(commits <= CRASH_COMMITS_MAX);
    memset(run, 0, sizeof *run);
    run->driver = driver;
    run->seed = seed;
    run->commits = commits;
    struct kv *model;
    expect_ok(kv_model_open(NULL, &model));
    for (uint64_t n = 1; n <= commits + 1; n++) {
        struct kv_txn *txn = kv_begin_write(model);
        expect_ok(apply_commit(txn, seed, n));
        expect_ok(txn_digest(txn, &run->digests[n]));
        kv_commit_ok(txn);
    }
    expect_ok(kv_close(model));
}

void crash_run_restart(struct crash_run *run, struct os *os)
{
    assert_null(run->kv);
    run->os = os;
    run->handle_commits = 0;
    atomic_store(&run->begun, 0);
    atomic_store(&run->acknowledged, 0);
    atomic_store(&run->durable, 0);
}

/* ---- the check of a machine -------------------------------------------------------------- */

sombra_err crash_commit_next(struct crash_run *run, struct kv *kv, _Atomic uint64_t *begun)
{
    struct kv_txn *txn;
    uint64_t commit;
    sombra_err err = crash_content(run, kv, &commit);
    if (err || commit > run->commits)
        return err;
    atomic_store(begun, commit + 1);
    err = begin_write(kv, &txn);
    if (err)
        return diag_wrap(err, "write again");
    err = apply_commit(txn, run->seed, commit + 1);
    if (err)
        kv_abort(txn);
    else
        err = kv_commit(txn, KV_FULL);
    return diag_wrap(err, "write again");
}

/* Looks and, if `writes`, commits; *out_commit is what it leaves. */
static sombra_err visit_store(struct crash_run *run, struct kv *kv, struct crash_bounds bounds,
                              bool writes, uint64_t *out_commit)
{
    uint64_t commit;
    sombra_err err = crash_content(run, kv, &commit);
    if (err)
        return err;
    if (commit < bounds.low || commit > bounds.high)
        return diag_fail(SOMBRA_CORRUPT,
                         "commit %" PRIu64 " found, %" PRIu64 " to %" PRIu64 " expected", commit,
                         bounds.low, bounds.high);
    struct kv_maintenance verify = { .kind = KV_VERIFY };
    err = kv_maintain(kv, &verify);
    if (err)
        return diag_wrap(err, "verify");
    if (verify.problems)
        return diag_fail(SOMBRA_CORRUPT, "verify finds %" PRIu64 " problems at commit %" PRIu64,
                         verify.problems, commit);
    _Atomic uint64_t begun = commit;
    if (writes)
        err = crash_commit_next(run, kv, &begun);
    if (!err)
        *out_commit = atomic_load(&begun);
    return err;
}

/* What a power cut of the machine now, in its hardest form, leaves. */
static sombra_err revisit_after_cut(struct crash_run *run, struct os_sim *sim,
                                    struct crash_bounds bounds)
{
    struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, run->seed);
    struct kv *kv = NULL;
    uint64_t found;
    sombra_err err = run->driver->open(run->driver->context, os_sim_start(after), &kv);
    if (!err)
        err = visit_store(run, kv, bounds, false, &found);
    if (kv && kv_close(kv) != SOMBRA_OK && !err)
        err = diag_fail(SOMBRA_IO, "close: %s", sombra_err_message());
    os_sim_free(after);
    return diag_wrap(err, "after one more power cut");
}

bool crash_check_machine(struct crash_run *run, struct os_sim *sim, struct crash_bounds bounds,
                         bool writes, const char *what)
{
    struct kv *kv = NULL;
    uint64_t commit = 0;
    sombra_err err = run->driver->open(run->driver->context, os_sim_start(sim), &kv);
    if (err)
        return crash_report(run, "%s: open: %s: %s", what, sombra_err_name(err),
                            sombra_err_message());
    err = visit_store(run, kv, bounds, writes, &commit);
    if (!err)
        err = revisit_after_cut(
            run, sim,
            (struct crash_bounds){ .low = writes ? commit : bounds.durable, .high = commit });
    if (err)
        crash_report(run, "%s: %s: %s", what, sombra_err_name(err), sombra_err_message());
    sombra_err close_err = kv_close(kv);
    if (close_err && !err)
        return crash_report(run, "%s: close: %s: %s", what, sombra_err_name(close_err),
                            sombra_err_message());
    return !err;
}
