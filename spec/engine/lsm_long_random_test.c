/* SPDX-License-Identifier: MIT */
/* Random histories of transactions that are long for the log, beside others that are not: failing
 * calls, power cuts and kills at random calls, snapshots, and a reader of another process that
 * refreshes in the middle of them. The same with opens on full disks; SOMBRA_FULL_DISK=1 runs those
 * alone.
 */
#include "lsm/lsm_internal.h"
#include "lsm/write_internal.h"
#include "lsm_store.h"

#include <pthread.h>
#include <stdlib.h>

enum { STATES_MAX = 400, SNAPSHOTS = 4, KEYS = 600, CUTS_AT_ONCE = 3 };

static const struct kv_range all = { { 0 }, { 0 } };
static bool traces, fills_disk;
#define TRACE(...)               \
    do {                         \
        if (traces) {            \
            printf(__VA_ARGS__); \
            fflush(stdout);      \
        }                        \
    } while (0)

struct cut {
    uint64_t at;
    enum os_sim_variant variant;
    bool is_clone;
    struct os_sim *image;
    uint64_t durable, newest; /* states, when it was made */
};

struct history {
    struct lsm_store store;
    struct random random;
    uint64_t digests[STATES_MAX]; /* after each commit */
    uint64_t count;               /* of them */
    _Atomic uint64_t durable;     /* the last that was promised */
    _Atomic uint64_t newest;      /* that may be there */
    uint64_t seqs[STATES_MAX];
    struct kv_txn *snapshots[SNAPSHOTS];
    uint64_t seen[SNAPSHOTS];
    struct cut cuts[CUTS_AT_ONCE];
    _Atomic uint64_t calls;
    pthread_mutex_t mutex;
    struct kv *reader;
    uint64_t reader_every;
    uint64_t reader_state; /* at least */
    uint64_t refreshes, refused;
    bool has_fault;
    _Atomic bool has_mem;
    uint64_t long_commits, failures, reopens, cut_count;
    uint64_t backups, resumes;
};

static bool find_state(const struct history *h, uint64_t digest, uint64_t from, uint64_t to,
                       uint64_t *out)
{
    for (uint64_t i = from; i <= to && i < STATES_MAX; i++) {
        if (h->digests[i] == digest) {
            *out = i;
            return true;
        }
    }
    return false;
}

static void reader_look(struct history *h)
{
    struct kv_maintenance job = { .kind = KV_REFRESH };
    sombra_err err = kv_maintain(h->reader, &job);
    if (err) {
        h->refused++;
        if (!h->has_fault)
            fail_msg("a refresh: %d %s", (int)err, sombra_err_message());
        return;
    }
    h->refreshes++;
    uint64_t state = 0;
    if (!find_state(h, kv_committed_digest(h->reader, NULL), h->reader_state,
                    atomic_load(&h->newest), &state))
        fail_msg("the reader sees no state from %llu to %llu", (unsigned long long)h->reader_state,
                 (unsigned long long)atomic_load(&h->newest));
    h->reader_state = state;
}

static _Thread_local bool is_in_hook;

static void hook(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct history *h = context;
    if (is_in_hook)
        return;
    is_in_hook = true;
    uint64_t call = atomic_fetch_add(&h->calls, 1) + 1;
    TRACE("     %s %s %llu %llu\n", os_sim_call_name(event->call), event->path,
          (unsigned long long)event->offset, (unsigned long long)event->bytes);
    pthread_mutex_lock(&h->mutex);
    for (size_t i = 0; i < CUTS_AT_ONCE; i++) {
        struct cut *cut = &h->cuts[i];
        if (cut->at != call)
            continue;
        cut->durable = atomic_load(&h->durable);
        cut->image =
            cut->is_clone ? os_sim_clone(sim) : os_sim_crash(sim, cut->variant, event->number);
        cut->newest = atomic_load(&h->newest);
        TRACE("   cut %zu before %s %s at %llu\n", i, os_sim_call_name(event->call), event->path,
              (unsigned long long)call);
    }
    if (h->reader && !h->has_mem && h->reader_every && call % h->reader_every == 0)
        reader_look(h);
    pthread_mutex_unlock(&h->mutex);
    is_in_hook = false;
}

static void image_check(struct history *h, struct cut *cut)
{
    struct kv *kv;
    uint64_t state = 0;
    struct lsm_options options = h->store.options;
    sombra_err err = lsm_open(os_sim_start(cut->image), "data", &options, &kv);
    if (err)
        fail_msg("open after %s: %d %s", cut->is_clone ? "kill" : os_sim_variant_name(cut->variant),
                 (int)err, sombra_err_message());
    uint64_t digest = kv_committed_digest(kv, NULL);
    if (traces) {
        uint64_t found = 9999;
        (void)find_state(h, digest, 0, STATES_MAX - 1, &found);
        TRACE("   image has state %llu (%llu to %llu)\n", (unsigned long long)found,
              (unsigned long long)cut->durable, (unsigned long long)cut->newest);
    }
    uint64_t from = cut->is_clone ? h->count > 0 ? cut->durable : 0 : cut->durable;
    if (!find_state(h, digest, from, cut->newest, &state))
        fail_msg("after %s: no state from %llu to %llu",
                 cut->is_clone ? "kill" : os_sim_variant_name(cut->variant),
                 (unsigned long long)from, (unsigned long long)cut->newest);
    kv_expect_sound(kv);
    /* it goes on, and again long */
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 10000, 10000 + random_below(&h->random, 40), 50, 1);
    uint64_t entries;
    digest = kv_digest(txn, all, &entries);
    expect_ok(kv_commit(txn, KV_FULL));
    if (random_below(&h->random, 2)) {
        expect_ok(kv_close(kv)); /* clean */
    } else {                     /* killed */
        struct os_sim *again = os_sim_clone(cut->image);
        expect_ok(kv_close(kv));
        os_sim_free(cut->image);
        cut->image = again;
    }
    expect_ok(lsm_open(os_sim_start(cut->image), "data", &options, &kv));
    assert_int_equal(kv_committed_digest(kv, NULL), digest);
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    os_sim_free(cut->image);
    cut->image = NULL;
    h->cut_count++;
}

static void cuts_check(struct history *h)
{
    for (size_t i = 0; i < CUTS_AT_ONCE; i++) {
        pthread_mutex_lock(&h->mutex);
        struct cut cut = h->cuts[i];
        h->cuts[i].image = NULL;
        h->cuts[i].at = 0;
        pthread_mutex_unlock(&h->mutex);
        if (cut.image)
            image_check(h, &cut);
    }
}

static void cuts_arm(struct history *h)
{
    pthread_mutex_lock(&h->mutex);
    for (size_t i = 0; i < CUTS_AT_ONCE; i++)
        h->cuts[i] = (struct cut){ .at = atomic_load(&h->calls) + 1 + random_below(&h->random, 40),
                                   .is_clone = random_below(&h->random, 4) == 0,
                                   .variant = (enum os_sim_variant)random_below(&h->random,
                                                                                OS_SIM_VARIANTS) };
    pthread_mutex_unlock(&h->mutex);
}

static void snapshots_end(struct history *h)
{
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        if (h->snapshots[i])
            kv_abort(h->snapshots[i]);
        h->snapshots[i] = NULL;
    }
}

static void snapshot_step(struct history *h)
{
    size_t i = random_below(&h->random, SNAPSHOTS);
    if (!h->snapshots[i]) {
        h->snapshots[i] = kv_begin_read(h->store.kv);
        h->seen[i] = h->count - 1;
    } else if (random_below(&h->random, 3) == 0) {
        kv_abort(h->snapshots[i]);
        h->snapshots[i] = NULL;
    }
    for (i = 0; i < SNAPSHOTS; i++) {
        uint64_t entries;
        if (h->snapshots[i] && random_below(&h->random, 3) == 0)
            assert_int_equal(kv_digest(h->snapshots[i], all, &entries), h->digests[h->seen[i]]);
    }
}

static bool has_failed(struct history *h)
{
    struct lsm *lsm = lsm_of(h->store.kv);
    return atomic_load(&lsm->is_failed) || (lsm->manifest && manifest_has_failed(lsm->manifest));
}

/* A thread of the store may tell only now of a fault that struck it before. */
static bool may_fail_late(struct history *h)
{
    return os_sim_faults(h->store.sim) > 0;
}

static void reader_close(struct history *h)
{
    pthread_mutex_lock(&h->mutex);
    if (h->reader)
        expect_ok(kv_close(h->reader));
    h->reader = NULL;
    pthread_mutex_unlock(&h->mutex);
}

static void reader_open(struct history *h)
{
    struct lsm_options options = h->store.options;
    options.is_readonly = true;
    options.create = false;
    options.busy_timeout_ms = 0;
    pthread_mutex_lock(&h->mutex);
    h->reader_state = 0;
    expect_ok(lsm_open(os_sim_start(h->store.sim), "data", &options, &h->reader));
    reader_look(h);
    pthread_mutex_unlock(&h->mutex);
}

/* Closes and opens again; what is there afterwards is where the history goes on. */
static void reopen(struct history *h, int how)
{
    TRACE("  reopen %d\n", how);
    snapshots_end(h);
    bool failed = has_failed(h);
    os_sim_fail(h->store.sim, NULL);
    if (how == 0) {
        sombra_err err = kv_close(h->store.kv);
        if (err && !failed && !h->has_fault && !may_fail_late(h))
            fail_msg("close: %s", sombra_err_message());
        failed |= err != SOMBRA_OK;
    } else {
        reader_close(h);
        struct os_sim *before = h->store.sim;
        os_sim_set_hook(before, NULL, NULL);
        uint64_t durable = atomic_load(&h->durable);
        (void)durable;
        struct os_sim *after =
            how == 1 ? os_sim_clone(before)
                     : os_sim_crash(before,
                                    (enum os_sim_variant)random_below(&h->random, OS_SIM_VARIANTS),
                                    random_below(&h->random, UINT64_MAX));
        sombra_err err = kv_close(h->store.kv);
        (void)err;
        os_sim_free(before);
        h->store.sim = after;
        os_sim_set_hook(after, hook, h);
    }
    h->store.kv = NULL;
    h->store.os = os_sim_start(h->store.sim);
    if (fills_disk && random_below(&h->random, 3) == 0) {
        h->has_fault = true;
        os_sim_fail(h->store.sim, &(struct os_sim_fault){ .kind = OS_SIM_ENOSPC,
                                                          .nth = 1 + random_below(&h->random, 6),
                                                          .is_sticky = true });
        TRACE("   with a full disk\n");
    }
    sombra_err err = lsm_open(h->store.os, "data", &h->store.options, &h->store.kv);
    if (err == SOMBRA_LIMIT && h->has_fault) {
        TRACE("   which failed: %s\n", sombra_err_message());
        os_sim_fail(h->store.sim, NULL);
        h->store.os = os_sim_start(h->store.sim);
        err = lsm_open(h->store.os, "data", &h->store.options, &h->store.kv);
    }
    h->resumes += !err && lsm_of(h->store.kv)->writer->resumes;
    if (err)
        fail_msg("open again (%d): %s", how, sombra_err_message());
    uint64_t state = 0;
    uint64_t digest = kv_committed_digest(h->store.kv, NULL);
    uint64_t from = how == 2 || failed ? atomic_load(&h->durable) : h->count - 1;
    if (!find_state(h, digest, from, atomic_load(&h->newest), &state))
        fail_msg("opened again (%d, failed %d): no state from %llu to %llu", how, failed,
                 (unsigned long long)from, (unsigned long long)atomic_load(&h->newest));
    if (how == 2) { /* what was lost is gone */
        h->reader_state = 0;
    }
    h->count = state + 1;
    atomic_store(&h->newest, state);
    /* else it may be page cache, and nothing is promised of it */
    if (!atomic_load(&lsm_of(h->store.kv)->writer->is_unsaved))
        atomic_store(&h->durable, state);
    h->reopens++;
    kv_expect_sound(h->store.kv);
}

static sombra_err ops_run(struct history *h, struct kv_txn *txn)
{
    struct random *r = &h->random;
    uint64_t marks[8];
    size_t depth = 0;
    sombra_err err = SOMBRA_OK;
    struct buf value = BUF_INIT;
    uint8_t key[8], low[8], high[8];
    uint64_t ops = random_below(r, 3) == 0 ? random_below(r, 300) : random_below(r, 20);
    if (random_below(r, 8) == 0)
        err = kv_expect(txn, random_below(r, 2000));
    for (uint64_t i = 0; i < ops && !err; i++) {
        uint64_t n = random_below(r, KEYS), removed;
        switch (random_below(r, 14)) {
        case 0:
            if (depth < 8)
                err = kv_savepoint(txn, KV_SAVEPOINT_SET, &marks[depth++]);
            break;
        case 1:
            if (depth > 0) {
                size_t to = random_below(r, depth);
                depth = to + 1;
                err = kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[to]);
            }
            break;
        case 2:
            if (depth > 0)
                err = kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &marks[--depth]);
            break;
        case 3:
        case 4:
            err = kv_delete(txn, kv_number_key(n, key));
            if (err == SOMBRA_NOT_FOUND)
                err = SOMBRA_OK;
            break;
        case 5:
            if (random_below(r, 3))
                break;
            err =
                kv_delete_range(txn,
                                (struct kv_range){ kv_number_key(n, low),
                                                   kv_number_key(n + random_below(r, 200), high) },
                                random_below(r, 2) ? &removed : NULL);
            break;
        case 6: {
            struct kv_entry entries[20];
            uint8_t keys[20][8];
            size_t count = random_below(r, 20);
            for (size_t k = 0; k < count; k++)
                entries[k] = (struct kv_entry){ .key = kv_number_key(n + k, keys[k]),
                                                .value = kv_pattern(&value, n, 40) };
            for (size_t k = 0; k < count; k++)
                entries[k].value = buf_slice(&value);
            err = kv_put_many(txn, entries, count);
            break;
        }
        case 7:
            if (random_below(r, 20) == 0)
                err = kv_expect(txn, random_below(r, 3000));
            break;
        default:
            err = kv_put(txn, kv_number_key(n, key),
                         kv_pattern(&value, random_below(r, UINT64_MAX), random_below(r, 90)));
        }
    }
    buf_release(&value);
    return err;
}

static void fault_arm(struct history *h)
{
    if (random_below(&h->random, 4))
        return;
    if (random_below(&h->random, 3) == 0) {
        uint64_t nth = 1 + random_below(&h->random, 60);
        bool is_sticky = random_below(&h->random, 3) == 0;
        h->has_fault = true;
        TRACE("  memory %llu sticky %d\n", (unsigned long long)nth, is_sticky);
        pthread_mutex_lock(&h->mutex); /* the reader does not look just now */
        h->has_mem = true;
        mem_test_fail_at(nth, is_sticky);
        pthread_mutex_unlock(&h->mutex);
        return;
    }
    static const enum os_sim_fault_kind kinds[] = { OS_SIM_EIO, OS_SIM_ENOSPC, OS_SIM_SHORT,
                                                    OS_SIM_EINTR, OS_SIM_ENOSPC };
    struct os_sim_fault fault = { .kind = kinds[random_below(&h->random, COUNT_OF(kinds))],
                                  .nth = 1 + random_below(&h->random, 25) };
    fault.is_sticky = fault.kind != OS_SIM_EINTR && random_below(&h->random, 3) == 0;
    h->has_fault = true;
    TRACE("  fault %d nth %llu sticky %d\n", fault.kind, (unsigned long long)fault.nth,
          fault.is_sticky);
    os_sim_fail(h->store.sim, &fault);
}

static void txn_step(struct history *h)
{
    struct kv_txn *txn;
    struct random *r = &h->random;
    struct lsm *lsm = lsm_of(h->store.kv);
    fault_arm(h);
    sombra_err err = kv_begin(
        h->store.kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 2000 }, &txn);
    if (h->has_mem) {
        mem_test_fail_at(0, false);
        h->has_mem = h->has_fault = false;
    }
    if (!err) {
        err = ops_run(h, txn);
        uint64_t entries;
        if (err || random_below(r, 8) == 0) {
            kv_abort(txn);
        } else {
            uint64_t digest = kv_digest(txn, all, &entries);
            if (!h->has_fault && random_below(r, 3) == 0)
                fault_arm(h);
            enum kv_durability durability = (enum kv_durability)random_below(r, KV_OFF + 1);
            h->digests[h->count] = digest;
            atomic_store(&h->newest, h->count);
            uint64_t logged = kv_metrics_count(h->store.kv->metrics, KV_COUNTER_LOG_BYTES);
            err = kv_commit(txn, durability);
            TRACE("  commit %llu %s durability %d entries %llu: %d %s\n",
                  (unsigned long long)h->count, digest == h->digests[h->count - 1] ? "same" : "",
                  durability, (unsigned long long)entries, err, err ? sombra_err_message() : "");
            if (!err) {
                bool is_long =
                    logged == kv_metrics_count(h->store.kv->metrics, KV_COUNTER_LOG_BYTES) &&
                    digest != h->digests[h->count - 1];
                h->long_commits += is_long;
                if (durability == KV_FULL || durability == KV_GROUP || is_long)
                    atomic_store(&h->durable, h->count);
                h->count++;
            } else if (has_failed(h)) {
                ; /* it may be there */
            } else {
                atomic_store(&h->newest, h->count - 1);
            }
        }
    }
    h->failures += err != SOMBRA_OK;
    os_sim_fail(h->store.sim, NULL);
    mem_test_fail_at(0, false);
    h->has_mem = false;
    bool failed = has_failed(h);
    if (!failed || atomic_load(&h->newest) == h->count - 1)
        assert_int_equal(kv_committed_digest(h->store.kv, NULL), h->digests[h->count - 1]);
    if (!failed && lsm->options.no_background) {
        /* the store goes on */
        if (atomic_load(&h->newest) != h->count - 1)
            fail_msg("?");
    }
    h->has_fault = false;
    if (failed) {
        reopen(h, (int)random_below(r, 3));
    }
}

static void maintain_step(struct history *h)
{
    os_sim_fail(h->store.sim, NULL);
    h->has_fault = false;
    char path[32];
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    switch (random_below(&h->random, 4)) {
    case 0:
        break;
    case 1:
        job.kind = KV_COMPACT;
        break;
    case 2:
        kv_expect_sound(h->store.kv);
        return;
    case 3:
        snprintf(path, sizeof path, "backup%llu", (unsigned long long)h->backups++);
        job.kind = KV_BACKUP;
        job.path = path;
        break;
    }
    TRACE("  maintain %d\n", job.kind);
    sombra_err err = kv_maintain(h->store.kv, &job);
    if (err && has_failed(h) && may_fail_late(h)) {
        reopen(h, (int)random_below(&h->random, 3));
        return;
    }
    expect_ok(err);
    if (job.kind == KV_BACKUP) {
        struct kv *kv;
        struct lsm_options options = h->store.options;
        options.is_readonly = true;
        expect_ok(lsm_open(os_sim_start(h->store.sim), path, &options, &kv));
        assert_int_equal(kv_committed_digest(kv, NULL), h->digests[h->count - 1]);
        expect_ok(kv_close(kv));
    }
}

static struct lsm_options options_random(struct random *r)
{
    struct lsm_options options = { LSM_STORE_SMALL(4 * KiB << random_below(r, 5)) };
    options.wal_bypass_bytes = random_below(r, 5) == 0 ? 1 : (uint64_t)200 << random_below(r, 6);
    options.no_background = random_below(r, 3) > 0;
    options.busy_timeout_ms = 5000;
    options.memtables_max = 1 + (unsigned)random_below(r, 3);
    options.sync_interval_ms = random_below(r, 2) ? 1 : 0;
    options.table_bytes = 4 * KiB << random_below(r, 4);
    options.style = random_below(r, 3) == 0 ? LSM_TIERED : options.style;
    if (random_below(r, 4) == 0)
        options.txn_memory_max = 64 * KiB;
    return options;
}

static void history_run(uint64_t seed)
{
    static struct history h;
    h = (struct history){ .count = 1 };
    random_seed(&h.random, seed);
    pthread_mutex_init(&h.mutex, NULL);
    struct lsm_options options = options_random(&h.random);
    TRACE("seed %llu: memtable %llu bypass %llu background %d\n", (unsigned long long)seed,
          (unsigned long long)options.memtable_bytes, (unsigned long long)options.wal_bypass_bytes,
          !options.no_background);
    lsm_store_init_simulated(&h.store, &options);
    h.digests[0] = kv_committed_digest(h.store.kv, NULL);
    os_sim_set_hook(h.store.sim, hook, &h);
    h.reader_every = 1 + random_below(&h.random, 12);
    const bool has_reader = random_below(&h.random, 2);
    for (unsigned i = 0; i < 60 && h.count < STATES_MAX - 2; i++) {
        TRACE(" step %u\n", i);
        if (has_reader && !h.reader && random_below(&h.random, 3) == 0)
            reader_open(&h);
        if (random_below(&h.random, 3) == 0)
            cuts_arm(&h);
        txn_step(&h);
        if (random_below(&h.random, 2))
            snapshot_step(&h);
        if (random_below(&h.random, 10) == 0)
            maintain_step(&h);
        cuts_check(&h);
        if (random_below(&h.random, 12) == 0) {
            reopen(&h, (int)random_below(&h.random, 3));
            cuts_check(&h);
        }
    }
    snapshots_end(&h);
    reader_close(&h);
    os_sim_set_hook(h.store.sim, NULL, NULL);
    if (traces || seed % 50 == 0)
        print_message("seed %llu: %llu states, %llu long, %llu failures, %llu reopens, %llu cuts, "
                      "%llu refreshes, %llu refused, %llu resumes\n",
                      (unsigned long long)seed, (unsigned long long)h.count,
                      (unsigned long long)h.long_commits, (unsigned long long)h.failures,
                      (unsigned long long)h.reopens, (unsigned long long)h.cut_count,
                      (unsigned long long)h.refreshes, (unsigned long long)h.refused,
                      (unsigned long long)h.resumes);
    struct kv *kv = h.store.kv;
    h.store.kv = NULL;
    sombra_err err = kv_close(kv);
    if (err && !may_fail_late(&h))
        fail_msg("the last close: %s", sombra_err_message());
    lsm_store_release(&h.store);
    pthread_mutex_destroy(&h.mutex);
}

static void histories_run(void)
{
    uint64_t seed = kv_test_number("SOMBRA_SEED", 1), runs = kv_test_number("SOMBRA_RUNS", 20);
    mem_test_fail_at(0, false);
    traces = getenv("SOMBRA_TRACE") != NULL;
    for (uint64_t i = 0; i < runs; i++) {
        if (getenv("SOMBRA_SAY")) {
            printf("seed %llu\n", (unsigned long long)(seed + i));
            fflush(stdout);
        }
        history_run(seed + i);
    }
}

static void test_long__random_histories(void **state)
{
    (void)state;
    fills_disk = false;
    histories_run();
}

/* The first: an empty commit was told to be durable, and what it had read was page cache. */
static void test_long__random_histories_on_full_disks(void **state)
{
    (void)state;
    fills_disk = true;
    if (!getenv("SOMBRA_SEED"))
        history_run(700026);
    histories_run();
}

/* ---- threads -------------------------------------------------------------------------------- */

enum { ROUND_KEYS = 400 };

struct crowd {
    struct kv *kv;
    _Atomic bool is_over;
    _Atomic uint64_t rounds, small, reads, problems;
    _Atomic uint64_t floor; /* a round that is committed */
};

static void problem(struct crowd *crowd, const char *what, sombra_err err)
{
    if (atomic_fetch_add(&crowd->problems, 1) < 5)
        fprintf(stderr, "%s: %d %s\n", what, (int)err, sombra_err_message());
}

static void *long_main(void *argument)
{
    struct crowd *crowd = argument;
    struct buf value = BUF_INIT;
    uint8_t key[8];
    for (uint64_t round = 1; !atomic_load(&crowd->is_over); round++) {
        struct kv_txn *txn;
        uint64_t mark;
        sombra_err err = kv_begin(
            crowd->kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 30000 },
            &txn);
        if (err) {
            problem(crowd, "begin", err);
            continue;
        }
        if (round % 3 == 0)
            err = kv_expect(txn, MiB);
        if (!err)
            err = kv_savepoint(txn, KV_SAVEPOINT_SET, &mark);
        for (uint64_t i = 0; i < ROUND_KEYS / 2 && !err && round % 4 == 0; i++)
            err = kv_put(txn, kv_number_key(i * 2, key), slice_str("never"));
        if (!err)
            err = kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark);
        if (!err && round % 5 == 0)
            err = kv_delete_range(txn, (struct kv_range){ .high = kv_number_key(ROUND_KEYS, key) },
                                  NULL);
        for (uint64_t i = 0; i < ROUND_KEYS && !err; i++)
            err = kv_put(txn, kv_number_key(i, key), kv_pattern(&value, round, 30));
        if (err || round % 7 == 0) {
            kv_abort(txn);
            if (err)
                problem(crowd, "long", err);
            else
                continue;
        } else {
            err = kv_commit(txn, (enum kv_durability)(round % (KV_OFF + 1)));
            if (err)
                problem(crowd, "commit", err);
        }
        atomic_fetch_add(&crowd->rounds, 1);
    }
    buf_release(&value);
    return NULL;
}

static void *small_main(void *argument)
{
    struct crowd *crowd = argument;
    uint8_t key[8], value[60] = { 0 };
    for (uint64_t i = 0; !atomic_load(&crowd->is_over); i++) {
        struct kv_txn *txn;
        sombra_err err =
            kv_begin(crowd->kv,
                     &(struct kv_begin_options){
                         .is_write = true, .busy_timeout_ms = 30000, .needs_durable = i % 9 == 0 },
                     &txn);
        if (!err)
            err =
                kv_put(txn, kv_number_key(1000000 + i % 3000, key), slice_of(value, sizeof value));
        if (!err)
            err = kv_commit(txn, (enum kv_durability)(i % (KV_OFF + 1)));
        if (err)
            problem(crowd, "small", err);
        atomic_fetch_add(&crowd->small, 1);
    }
    return NULL;
}

static void *read_main(void *argument)
{
    struct crowd *crowd = argument;
    uint8_t key[8];
    uint64_t seed = (uint64_t)(uintptr_t)&key, last = 0;
    struct random random;
    random_seed(&random, seed);
    while (!atomic_load(&crowd->is_over)) {
        struct kv_txn *txn;
        sombra_err err = kv_begin(
            crowd->kv, &(struct kv_begin_options){ .needs_durable = random_below(&random, 4) == 0 },
            &txn);
        if (err) {
            problem(crowd, "read", err);
            continue;
        }
        if (txn->version < last)
            problem(crowd, "a version that goes back", SOMBRA_OK);
        last = txn->version;
        uint8_t first[64];
        size_t bytes = 0;
        uint64_t count = 0;
        for (unsigned i = 0; i < 30; i++) {
            sombra_slice value;
            err = kv_get(txn, kv_number_key(random_below(&random, ROUND_KEYS), key), &value);
            if (err == SOMBRA_NOT_FOUND && bytes == 0)
                break;
            if (err) {
                problem(crowd, "get", err);
                break;
            }
            if (bytes == 0)
                memcpy(first, value.data, bytes = value.bytes);
            else if (bytes != value.bytes || memcmp(first, value.data, bytes) != 0)
                problem(crowd, "two rounds in one snapshot", SOMBRA_OK);
        }
        uint8_t high[8];
        err =
            kv_count(txn, (struct kv_range){ .high = kv_number_key(ROUND_KEYS, high) }, 0, &count);
        if (err || (count != 0 && count != ROUND_KEYS) || (count == 0) != (bytes == 0))
            problem(crowd, "count", err);
        kv_abort(txn);
        atomic_fetch_add(&crowd->reads, 1);
    }
    return NULL;
}

static void test_long__threads(void **state)
{
    (void)state;
    struct lsm_store store;
    uint64_t seconds = kv_test_number("SOMBRA_SECONDS", 3);
    struct lsm_options options = { LSM_STORE_SMALL(16 * KiB), .wal_bypass_bytes = 2 * KiB,
                                   .threads = 2, .sync_interval_ms = 2, .memtables_max = 1 };
    lsm_store_init(&store, &options);
    struct crowd crowd = { .kv = store.kv };
    pthread_t threads[8];
    size_t count = 0;
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[count++], NULL, i ? small_main : long_main, &crowd);
    for (unsigned i = 0; i < 3; i++)
        pthread_create(&threads[count++], NULL, read_main, &crowd);
    uint64_t end = os_monotonic_ns(os_posix()) + seconds * 1000000000;
    for (unsigned i = 0; os_monotonic_ns(os_posix()) < end; i++) {
        struct kv_maintenance job = { .kind = i % 5 == 0   ? KV_COMPACT
                                              : i % 5 == 1 ? KV_VERIFY
                                              : i % 5 == 2 ? KV_STATS
                                                           : KV_CHECKPOINT };
        expect_ok(kv_maintain(store.kv, &job));
        os_sleep_us(os_posix(), 20000);
    }
    atomic_store(&crowd.is_over, true);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    print_message("%llu rounds, %llu small, %llu reads\n", (unsigned long long)crowd.rounds,
                  (unsigned long long)crowd.small, (unsigned long long)crowd.reads);
    assert_int_equal(atomic_load(&crowd.problems), 0);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest threads[] = { cmocka_unit_test(test_long__threads) };
    if (getenv("SOMBRA_THREADS"))
        return cmocka_run_group_tests(threads, NULL, NULL);
    const struct CMUnitTest full_disk[] = { cmocka_unit_test(
        test_long__random_histories_on_full_disks) };
    if (getenv("SOMBRA_FULL_DISK"))
        return cmocka_run_group_tests(full_disk, NULL, NULL);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_long__random_histories),
                                        full_disk[0] };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
