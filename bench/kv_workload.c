/* SPDX-License-Identifier: MIT */
/* The workloads: what is put, read, deleted and timed. Sums of what a store holds are taken outside
 * the clock. */
#include "kv.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 1000, SYNC_BATCH = 100, SNAPSHOT_GETS = 1000, RAW_BYTES = 200 };

/* Keys of the durable workloads: multiples modulo a prime, so none comes twice. */
#define SYNC_KEYS   UINT64_C(99999989)
#define SYNC_FACTOR UINT64_C(61803397)

/* ---- clocks ------------------------------------------------------------------------------ */

void clock_start(struct result *result)
{
    io_counts(&result->io);
    result->wall_s = -wall_s();
    result->cpu_s = -cpu_s();
}

void clock_stop(struct result *result)
{
    struct io_counts now;
    result->wall_s += wall_s();
    result->cpu_s += cpu_s();
    io_counts(&now);
    result->io = (struct io_counts){ now.read_bytes - result->io.read_bytes,
                                     now.written_bytes - result->io.written_bytes,
                                     now.major_faults - result->io.major_faults };
}

bool clock_is_over(const struct plan *plan, struct result *result)
{
    if (plan->line_seconds > 0 && wall_s() + result->wall_s > plan->line_seconds)
        result->is_cut = true;
    return result->is_cut;
}

/* ---- the plan ---------------------------------------------------------------------------- */

void plan_init(struct plan *plan, uint32_t count, uint32_t operations, double sync_seconds)
{
    plan->count = count;
    plan->operations = operations;
    plan->sync_seconds = sync_seconds;
    plan->order = data_order(count, 1);
    plan->deletes = data_order(count, 2);
    plan->overwrites = data_choice(operations, count, 3);
    plan->reads = data_choice(operations, count, 4);
    plan->zipf = data_zipf(operations, count, 5);
}

void plan_release(struct plan *plan)
{
    free(plan->order);
    free(plan->deletes);
    free(plan->overwrites);
    free(plan->reads);
    free(plan->zipf);
}

uint64_t store_hash(struct bench_store *store, uint64_t *out_count)
{
    struct scan scan = { .count_max = UINT64_MAX, .work = SCAN_HASH };
    store->kind->scan(store->session, &scan);
    *out_count = scan.count;
    return scan.sum;
}

void sum_store(struct bench_store *store, struct result *result)
{
    uint64_t count;
    result->sum = store_hash(store, &count) + count;
}

/* ---- writes ------------------------------------------------------------------------------ */

struct writes {
    const uint32_t *indexes; /* NULL: 0, 1, 2 ... */
    uint32_t count, batch;
    uint64_t version; /* of the first value, the next are one more each; 0: of all */
    bool is_remove;
};

static void write_one(struct bench_store *store, const struct writes *writes, uint32_t at)
{
    uint8_t key[KEY_BYTES];
    uint64_t index = writes->indexes ? writes->indexes[at] : at;
    data_key(index, key);
    if (writes->is_remove)
        store->kind->remove(store->session, key);
    else
        store->kind->put(store->session, key,
                         data_value(index, writes->version ? writes->version + at : 0),
                         !writes->indexes);
}

/* One transaction, from `at` on. Returns where the next begins. */
static uint32_t write_batch(struct bench_store *store, const struct writes *writes, uint32_t at)
{
    uint32_t end = at + writes->batch < writes->count ? at + writes->batch : writes->count;
    store->kind->write_begin(store->session);
    while (at < end)
        write_one(store, writes, at++);
    store->kind->write_commit(store->session);
    return end;
}

static void write_all(struct bench_store *store, const struct writes *writes)
{
    for (uint32_t at = 0; at < writes->count;)
        at = write_batch(store, writes, at);
}

static void write_timed(struct bench_store *store, const struct plan *plan, struct writes writes,
                        struct result *result)
{
    uint32_t at = 0;
    clock_start(result);
    while (at < writes.count && !(writes.batch > 1 && clock_is_over(plan, result)))
        at = write_batch(store, &writes, at);
    clock_stop(result);
    result->operations = at;
    if (!result->is_cut)
        sum_store(store, result);
}

static void fillseq(struct bench_store *store, const struct plan *plan, struct result *result)
{
    write_timed(store, plan, (struct writes){ .count = plan->count, .batch = BATCH }, result);
}

static void fillrandom_b1000(struct bench_store *store, const struct plan *plan,
                             struct result *result)
{
    write_timed(store, plan,
                (struct writes){ .indexes = plan->order, .count = plan->count, .batch = BATCH },
                result);
}

static void fillrandom_single(struct bench_store *store, const struct plan *plan,
                              struct result *result)
{
    write_timed(store, plan,
                (struct writes){ .indexes = plan->order, .count = plan->count, .batch = 1 },
                result);
}

/* No pass writes a value that is there: a store may see that nothing changes. */
static struct writes overwrites_of(const struct plan *plan, unsigned pass)
{
    return (struct writes){ .indexes = plan->overwrites,
                            .count = plan->operations,
                            .batch = BATCH,
                            .version = 1 + (uint64_t)pass * plan->operations };
}

static void overwrite_b1000(struct bench_store *store, const struct plan *plan,
                            struct result *result)
{
    write_timed(store, plan, overwrites_of(plan, 0), result);
}

static void deleterandom_b1000(struct bench_store *store, const struct plan *plan,
                               struct result *result)
{
    write_timed(store, plan,
                (struct writes){ .indexes = plan->deletes,
                                 .count = plan->operations / 2,
                                 .batch = BATCH,
                                 .is_remove = true },
                result);
}

/* ---- sizes ------------------------------------------------------------------------------- */

static void size_closed(struct bench_store *store, const struct plan *plan, struct result *result)
{
    (void)plan;
    store_reopen(store, false);
    *result = (struct result){ .operations = (double)store_file_bytes(store) };
    sum_store(store, result);
}

/* Until the store is closed and open again: what lies in memory only is not written yet. */
static void written_by(struct bench_store *store, struct writes writes, struct result *result)
{
    struct io_counts before, after;
    io_counts(&before);
    write_all(store, &writes);
    store_reopen(store, false);
    io_counts(&after);
    uint64_t bytes = after.written_bytes - before.written_bytes;
    *result = (struct result){ .operations = (double)bytes /
                                             (writes.count * (KEY_BYTES + VALUE_BYTES + 0.0)) };
    sum_store(store, result);
}

static void written_fill(struct bench_store *store, const struct plan *plan, struct result *result)
{
    written_by(store,
               (struct writes){ .indexes = plan->order, .count = plan->count, .batch = BATCH },
               result);
}

static void written_b1000(struct bench_store *store, const struct plan *plan, struct result *result)
{
    written_by(store, overwrites_of(plan, 1), result);
}

static void written_single(struct bench_store *store, const struct plan *plan,
                           struct result *result)
{
    struct writes writes = overwrites_of(plan, 2);
    writes.batch = 1;
    written_by(store, writes, result);
}

/* All files, logs too, while a snapshot is held that was taken before every record was overwritten
 * once on average; the snapshot must not have changed. */
static void size_pinned(struct bench_store *store, const struct plan *plan, struct result *result)
{
    const struct store_kind *kind = store->kind;
    struct scan first = { .count_max = UINT64_MAX, .work = SCAN_HASH };
    struct scan second = first;
    struct writes fill = { .indexes = plan->order, .count = plan->count, .batch = BATCH };
    struct writes overwrites = overwrites_of(plan, 0);
    write_all(store, &fill);
    void *reader = kind->session_open(store->store);
    kind->read_begin(reader);
    kind->scan(reader, &first);
    write_all(store, &overwrites);
    *result = (struct result){ .operations = (double)store_file_bytes(store) };
    kind->scan(reader, &second);
    kind->read_end(reader);
    kind->session_close(reader);
    if (first.sum != second.sum || second.count != plan->count)
        die("%s: a held snapshot changed", kind->name);
    result->sum = second.sum;
}

/* ---- point reads ------------------------------------------------------------------------- */

struct reads {
    const uint32_t *indexes;
    uint32_t count;
    uint32_t snapshot_gets; /* gets of one snapshot */
    bool is_missing;        /* keys that are not there */
};

/* Between looks at the clock, which cost a store in memory nothing then. */
enum { CLOCK_STEP = 64 };

/* `result` is the line's that may end early, or NULL; then *out_done may be less than the count. */
static uint64_t read_all(const struct store_kind *kind, void *session, const struct reads *reads,
                         const struct plan *plan, struct result *result, uint32_t *out_done)
{
    uint64_t sum = 0;
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    uint32_t at = 0;
    while (at < reads->count) {
        if (result && at % CLOCK_STEP == 0 && clock_is_over(plan, result))
            break;
        uint32_t end = at + reads->snapshot_gets;
        if (end > reads->count)
            end = reads->count;
        kind->read_begin(session);
        for (; at < end; at++) {
            data_key(reads->indexes[at], key);
            if (reads->is_missing)
                key[KEY_BYTES - 1] = '.';
            if (kind->get(session, key, value))
                sum += record_sum(key, value);
            else if (reads->is_missing)
                sum++;
            else
                die("%s: a key is missing", kind->name);
        }
        kind->read_end(session);
    }
    *out_done = at;
    return sum;
}

static void read_timed(struct bench_store *store, const struct plan *plan, struct reads reads,
                       struct result *result)
{
    reads.indexes = plan->reads;
    reads.count = plan->operations;
    uint32_t done;
    clock_start(result);
    result->sum = read_all(store->kind, store->session, &reads, plan, result, &done);
    clock_stop(result);
    result->operations = done;
}

static void readrandom(struct bench_store *store, const struct plan *plan, struct result *result)
{
    read_timed(store, plan, (struct reads){ .snapshot_gets = 1 }, result);
}

static void readrandom_snap(struct bench_store *store, const struct plan *plan,
                            struct result *result)
{
    read_timed(store, plan, (struct reads){ .snapshot_gets = SNAPSHOT_GETS }, result);
}

static void readmissing(struct bench_store *store, const struct plan *plan, struct result *result)
{
    read_timed(store, plan, (struct reads){ .snapshot_gets = 1, .is_missing = true }, result);
}

struct read_thread {
    pthread_t thread;
    const struct store_kind *kind;
    void *session;
    struct reads reads;
    uint64_t sum;
};

static void *read_thread_run(void *opaque)
{
    struct read_thread *thread = opaque;
    uint32_t done;
    thread->sum = read_all(thread->kind, thread->session, &thread->reads, NULL, NULL, &done);
    return NULL;
}

static void readrandom_t2(struct bench_store *store, const struct plan *plan, struct result *result)
{
    enum { THREADS = 2 };
    struct read_thread threads[THREADS];
    uint32_t half = plan->operations / THREADS;
    for (uint32_t i = 0; i < THREADS; i++)
        threads[i] = (struct read_thread){
            .kind = store->kind,
            .session = store->kind->session_open(store->store),
            .reads = { .indexes = plan->reads + i * half, .count = half, .snapshot_gets = 1 },
        };
    clock_start(result);
    for (uint32_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i].thread, NULL, read_thread_run, &threads[i]))
            die("no thread");
    result->sum = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        result->sum += threads[i].sum;
    }
    clock_stop(result);
    result->operations = half * THREADS;
    for (uint32_t i = 0; i < THREADS; i++)
        store->kind->session_close(threads[i].session);
}

/* ---- reads beside a writer --------------------------------------------------------------- */

struct write_thread {
    pthread_t thread;
    const struct store_kind *kind;
    void *session;
    const struct plan *plan;
    atomic_bool is_over;
};

static void *write_thread_run(void *opaque)
{
    struct write_thread *thread = opaque;
    const struct store_kind *kind = thread->kind;
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    for (uint64_t at = 0; !atomic_load(&thread->is_over); at++) {
        uint64_t index = thread->plan->overwrites[at % thread->plan->operations];
        data_key(index, key);
        memcpy(value, data_value(index, 0), VALUE_BYTES);
        memcpy(value + VALUE_BYTES / 2, &at, sizeof at); /* which no sum of reads takes in */
        kind->write_begin(thread->session);
        kind->put(thread->session, key, value, false);
        kind->write_commit(thread->session);
    }
    return NULL;
}

/* The reads are counted; the writer overwrites single records as fast as it can, with values of the
 * same sum. */
static void readwhilewriting(struct bench_store *store, const struct plan *plan,
                             struct result *result)
{
    struct write_thread writer = { .kind = store->kind,
                                   .session = store->kind->session_open(store->store),
                                   .plan = plan };
    atomic_init(&writer.is_over, false);
    if (pthread_create(&writer.thread, NULL, write_thread_run, &writer))
        die("no thread");
    read_timed(store, plan, (struct reads){ .snapshot_gets = 1 }, result);
    atomic_store(&writer.is_over, true);
    pthread_join(writer.thread, NULL);
    store->kind->session_close(writer.session);
}

/* ---- range reads ------------------------------------------------------------------------- */

static void seek_timed(struct bench_store *store, const struct plan *plan, uint32_t entries,
                       struct result *result)
{
    uint32_t seeks = plan->operations / entries, i = 0;
    uint8_t key[KEY_BYTES];
    result->sum = 0;
    clock_start(result);
    for (; i < seeks && !(i % CLOCK_STEP == 0 && clock_is_over(plan, result)); i++) {
        data_key(plan->reads[i], key);
        struct scan scan = { .from = key, .count_max = entries, .work = SCAN_COPY };
        store->kind->scan(store->session, &scan);
        result->sum += scan.sum + scan.count;
    }
    clock_stop(result);
    result->operations = i;
}

static void seek10(struct bench_store *store, const struct plan *plan, struct result *result)
{
    seek_timed(store, plan, 10, result);
}

static void seek100(struct bench_store *store, const struct plan *plan, struct result *result)
{
    seek_timed(store, plan, 100, result);
}

static void scan_timed(struct bench_store *store, bool is_backward, struct result *result)
{
    struct scan scan = { .count_max = UINT64_MAX, .is_backward = is_backward, .work = SCAN_SUM };
    clock_start(result);
    store->kind->scan(store->session, &scan);
    clock_stop(result);
    result->operations = (double)scan.count;
    result->sum = scan.sum + scan.count;
}

static void readseq(struct bench_store *store, const struct plan *plan, struct result *result)
{
    (void)plan;
    scan_timed(store, false, result);
}

static void readreverse(struct bench_store *store, const struct plan *plan, struct result *result)
{
    (void)plan;
    scan_timed(store, true, result);
}

/* ---- durable commits --------------------------------------------------------------------- */

struct sync_thread {
    pthread_t thread;
    const struct store_kind *kind;
    void *session;
    uint32_t first, step; /* of the numbers of its records */
    uint32_t batch;
    double deadline_s;
    uint64_t count, sum; /* of what it committed */
};

static void *sync_thread_run(void *opaque)
{
    struct sync_thread *thread = opaque;
    const struct store_kind *kind = thread->kind;
    uint64_t number = thread->first;
    uint8_t key[KEY_BYTES];
    do {
        kind->write_begin(thread->session);
        for (uint32_t i = 0; i < thread->batch; i++, number += thread->step) {
            uint64_t index = number * SYNC_FACTOR % SYNC_KEYS;
            const uint8_t *value = data_value(index, 0);
            data_key(index, key);
            kind->put(thread->session, key, value, false);
            thread->sum += record_hash(key, value);
        }
        kind->write_commit(thread->session);
        thread->count += thread->batch;
    } while (wall_s() < thread->deadline_s);
    return NULL;
}

static void fillsync(struct bench_store *store, const struct plan *plan, uint32_t thread_count,
                     uint32_t batch, struct result *result)
{
    struct sync_thread threads[THREADS_MAX];
    for (uint32_t i = 0; i < thread_count; i++)
        threads[i] = (struct sync_thread){ .kind = store->kind,
                                           .session = store->kind->session_open(store->store),
                                           .first = i + 1,
                                           .step = thread_count,
                                           .batch = batch,
                                           .deadline_s = wall_s() + plan->sync_seconds };
    clock_start(result);
    for (uint32_t i = 0; i < thread_count; i++)
        if (pthread_create(&threads[i].thread, NULL, sync_thread_run, &threads[i]))
            die("no thread");
    uint64_t count = 0;
    result->sum_wanted = 0;
    for (uint32_t i = 0; i < thread_count; i++) {
        pthread_join(threads[i].thread, NULL);
        count += threads[i].count;
        result->sum_wanted += threads[i].sum;
    }
    clock_stop(result);
    result->operations = (double)count;
    result->sum_wanted += count;
    for (uint32_t i = 0; i < thread_count; i++)
        store->kind->session_close(threads[i].session);
    sum_store(store, result);
}

static void fillsync_t1(struct bench_store *store, const struct plan *plan, struct result *result)
{
    fillsync(store, plan, 1, 1, result);
}

static void fillsync_t4(struct bench_store *store, const struct plan *plan, struct result *result)
{
    fillsync(store, plan, 4, 1, result);
}

static void fillsync_t16(struct bench_store *store, const struct plan *plan, struct result *result)
{
    fillsync(store, plan, 16, 1, result);
}

static void fillsync_b100(struct bench_store *store, const struct plan *plan, struct result *result)
{
    fillsync(store, plan, 1, SYNC_BATCH, result);
}

void raw_appends(const char *folder, double seconds, struct result *result)
{
    struct raw_file file;
    uint64_t count = 0;
    raw_open(&file, folder);
    clock_start(result);
    double deadline_s = wall_s() + seconds;
    do {
        raw_append(&file, RAW_BYTES);
        count++;
    } while (wall_s() < deadline_s);
    clock_stop(result);
    result->operations = (double)count;
    raw_close(&file);
}

/* ---- the list ---------------------------------------------------------------------------- */

static const struct workload sequential[] = { { "fillseq", fillseq, UNIT_RATE } };
static const struct workload batched[] = {
    { "fillrandom_b1000", fillrandom_b1000, UNIT_RATE },
    { "size_fillrandom", size_closed, UNIT_BYTES },
    { "overwrite_b1000", overwrite_b1000, UNIT_RATE },
    { "deleterandom_b1000", deleterandom_b1000, UNIT_RATE },
};
static const struct workload reading[] = {
    { "fillrandom_single", fillrandom_single, UNIT_RATE },
    { "readrandom_unsettled", readrandom, UNIT_RATE },
    { "readrandom", readrandom, UNIT_RATE },
    { "readrandom_snap", readrandom_snap, UNIT_RATE },
    { "readrandom_t2", readrandom_t2, UNIT_RATE },
    { "readmissing", readmissing, UNIT_RATE },
    { "seek10", seek10, UNIT_RATE },
    { "seek100", seek100, UNIT_RATE },
    { "readseq", readseq, UNIT_RATE },
    { "readreverse", readreverse, UNIT_RATE },
    { "readwhilewriting", readwhilewriting, UNIT_RATE },
};
static const struct workload limited[] = {
    { "fillrandom_b1000", fillrandom_b1000, UNIT_RATE },
    { "overwrite_b1000", overwrite_b1000, UNIT_RATE },
    { "readrandom", readrandom, UNIT_RATE },
    { "readmissing", readmissing, UNIT_RATE },
    { "seek10", seek10, UNIT_RATE },
    { "readseq", readseq, UNIT_RATE },
};
static const struct workload sync_t1[] = { { "fillsync_t1", fillsync_t1, UNIT_RATE } };
static const struct workload sync_t4[] = { { "fillsync_t4", fillsync_t4, UNIT_RATE } };
static const struct workload sync_t16[] = { { "fillsync_t16", fillsync_t16, UNIT_RATE } };
static const struct workload sync_b100[] = { { "fillsync_b100", fillsync_b100, UNIT_RATE } };
static const struct workload written[] = {
    { "written_fillrandom", written_fill, UNIT_FACTOR },
    { "written_overwrite", written_b1000, UNIT_FACTOR },
    { "written_single", written_single, UNIT_FACTOR },
};
static const struct workload pinned[] = { { "size_pinned", size_pinned, UNIT_BYTES } };

#define GROUP(array, ...)                                         \
    {                                                             \
        .workloads = array, .count = COUNT_OF(array), __VA_ARGS__ \
    }

const struct workload_group workload_groups[] = {
    GROUP(sequential, .is_durable = false),
    GROUP(batched, .is_durable = false),
    GROUP(reading, .writing = 2),
    GROUP(sync_t1, .is_durable = true, .has_raw = true),
    GROUP(sync_t4, .is_durable = true),
    GROUP(sync_t16, .is_durable = true),
    GROUP(sync_b100, .is_durable = true),
    GROUP(written, .is_durable = false),
    GROUP(pinned, .is_durable = false),
    { .workloads = ycsb_workloads, .count = YCSB_WORKLOADS },
};
const size_t workload_group_count = COUNT_OF(workload_groups);
const struct workload_group workload_group_limited = GROUP(limited, .writing = 2);
