/* SPDX-License-Identifier: MIT */
/* YCSB's core workloads. Updates commit one by one. Which
 * operation comes when is decided by its number, so that all stores do the same. */
#include "kv.h"

/* What of a hundred operations is what; the rest are reads. */
struct mix {
    uint32_t name; /* its letter: no two write the same values */
    unsigned updates, inserts, scans, read_updates;
    bool reads_latest;
};

enum { SCAN_MAX = 100 };

struct ycsb {
    const struct store_kind *kind;
    void *session;
    const struct plan *plan;
    struct mix mix;
    uint64_t inserted, sum;
};

static uint64_t read_one(struct ycsb *run, uint64_t index)
{
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    data_key(index, key);
    run->kind->read_begin(run->session);
    if (!run->kind->get(run->session, key, value))
        die("%s: a key is missing", run->kind->name);
    run->kind->read_end(run->session);
    return record_sum(key, value);
}

static void write_one(struct ycsb *run, uint64_t index, uint64_t version)
{
    uint8_t key[KEY_BYTES];
    data_key(index, key);
    run->kind->write_begin(run->session);
    run->kind->put(run->session, key, data_value(index, version), false);
    run->kind->write_commit(run->session);
}

static uint64_t scan_some(struct ycsb *run, uint64_t index, uint64_t count)
{
    uint8_t key[KEY_BYTES];
    data_key(index, key);
    struct scan scan = { .from = key, .count_max = count, .work = SCAN_COPY };
    run->kind->scan(run->session, &scan);
    return scan.sum + scan.count;
}

static void operate(struct ycsb *run, uint32_t at)
{
    const struct mix *mix = &run->mix;
    uint64_t draw = hash_u64(at), index = run->plan->zipf[at];
    uint64_t version = ((uint64_t)mix->name << 32) + at; /* no value that is there */
    unsigned what = (unsigned)(draw % 100);
    if (what < mix->updates) {
        write_one(run, index, version);
    } else if ((what -= mix->updates) < mix->inserts) {
        write_one(run, run->plan->count + run->inserted++, version);
    } else if ((what -= mix->inserts) < mix->scans) {
        run->sum += scan_some(run, index, 1 + (draw >> 32) % SCAN_MAX);
    } else if ((what -= mix->scans) < mix->read_updates) {
        run->sum += read_one(run, index);
        write_one(run, index, version);
    } else {
        /* The newest record is the most read one. */
        uint64_t newest = run->plan->count + run->inserted - 1;
        run->sum += read_one(run, mix->reads_latest ? newest - index : index);
    }
}

static void run_mix(struct bench_store *store, const struct plan *plan, struct mix mix,
                    struct result *result)
{
    struct ycsb run = { .kind = store->kind, .session = store->session, .plan = plan, .mix = mix };
    clock_start(result);
    for (uint32_t at = 0; at < plan->operations; at++)
        operate(&run, at);
    clock_stop(result);
    result->operations = plan->operations;
    uint64_t sum = run.sum;
    sum_store(store, result);
    result->sum += sum;
}

static void load(struct bench_store *store, const struct plan *plan, struct result *result)
{
    uint8_t key[KEY_BYTES];
    clock_start(result);
    for (uint32_t at = 0; at < plan->count; at++) {
        data_key(plan->order[at], key);
        store->kind->write_begin(store->session);
        store->kind->put(store->session, key, data_value(plan->order[at], 0), false);
        store->kind->write_commit(store->session);
    }
    clock_stop(result);
    result->operations = plan->count;
    sum_store(store, result);
}

static void ycsb_a(struct bench_store *store, const struct plan *plan, struct result *result)
{
    run_mix(store, plan, (struct mix){ .name = 'a', .updates = 50 }, result);
}

static void ycsb_b(struct bench_store *store, const struct plan *plan, struct result *result)
{
    run_mix(store, plan, (struct mix){ .name = 'b', .updates = 5 }, result);
}

static void ycsb_c(struct bench_store *store, const struct plan *plan, struct result *result)
{
    run_mix(store, plan, (struct mix){ .name = 'c', .updates = 0 }, result);
}

static void ycsb_d(struct bench_store *store, const struct plan *plan, struct result *result)
{
    run_mix(store, plan, (struct mix){ .name = 'd', .inserts = 5, .reads_latest = true }, result);
}

static void ycsb_e(struct bench_store *store, const struct plan *plan, struct result *result)
{
    run_mix(store, plan, (struct mix){ .name = 'e', .inserts = 5, .scans = 95 }, result);
}

static void ycsb_f(struct bench_store *store, const struct plan *plan, struct result *result)
{
    run_mix(store, plan, (struct mix){ .name = 'f', .read_updates = 50 }, result);
}

/* Inserts of D and E begin behind the loaded records: E overwrites what D inserted. */
const struct workload ycsb_workloads[YCSB_WORKLOADS] = {
    { "ycsb_load", load, UNIT_RATE }, { "ycsb_b", ycsb_b, UNIT_RATE },
    { "ycsb_a", ycsb_a, UNIT_RATE },  { "ycsb_c", ycsb_c, UNIT_RATE },
    { "ycsb_d", ycsb_d, UNIT_RATE },  { "ycsb_e", ycsb_e, UNIT_RATE },
    { "ycsb_f", ycsb_f, UNIT_RATE },
};
