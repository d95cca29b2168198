/* SPDX-License-Identifier: MIT */
/* kv: what the key-value benchmark's files share: the data, the stores, the workloads, the report.
 *
 * Every store sees the same bytes: keys of 16 zero-padded decimal digits, values that are windows
 * of 100 bytes into one pool. What a store returns is summed as it comes, and the sums of all
 * stores must agree. Any failure ends the program: a benchmark has nothing to recover.
 *
 * Threads: a session belongs to one thread; a store to all.
 */
#ifndef BENCH_KV_H
#define BENCH_KV_H

#include "base/base.h"
#include "measure.h"

#include <inttypes.h>

enum { KEY_BYTES = 16, VALUE_BYTES = 100, ROUNDS_MAX = 15, THREADS_MAX = 16 };

/* ---- kv_data.c: the records ------------------------------------------------------------- */

void data_init(void);
/* The value of record `index` in its `version`: a window of the pool. */
const uint8_t *data_value(uint64_t index, uint64_t version);
void data_key(uint64_t index, uint8_t to[KEY_BYTES]);
/* 0 ... count - 1 in an order that `seed` decides. malloc's memory. */
uint32_t *data_order(uint32_t count, uint64_t seed);
/* `count` numbers below `bound`, with repetition. malloc's memory. */
uint32_t *data_choice(uint32_t count, uint32_t bound, uint64_t seed);
/* The same with YCSB's distribution (Zipf, 0.99). */
uint32_t *data_zipf(uint32_t count, uint32_t bound, uint64_t seed);

static inline uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Of one record, so cheap that it does not hide a store: the key's changing half, the value's
 * first and last words. Sums are independent of the order. */
static inline uint64_t record_sum(const uint8_t *key, const uint8_t *value)
{
    return (word_at(key + KEY_BYTES - 8) ^ (word_at(value) * UINT64_C(0x9E3779B97F4A7C15))) +
           word_at(value + VALUE_BYTES - 8);
}
/* Of every byte of a record, for the untimed comparisons of whole stores. */
uint64_t record_hash(const uint8_t *key, const uint8_t *value);

/* ---- scans ------------------------------------------------------------------------------- */

enum scan_work {
    SCAN_SUM,  /* record_sum in place */
    SCAN_COPY, /* the value copied out first */
    SCAN_HASH, /* record_hash */
};

struct scan {
    const uint8_t *from; /* first key, or NULL: the whole store */
    uint64_t count_max;
    bool is_backward;
    enum scan_work work;
    uint64_t count, sum; /* out */
};

static inline void scan_entry(struct scan *scan, const uint8_t *key, const uint8_t *value,
                              size_t value_bytes)
{
    if (value_bytes != VALUE_BYTES)
        die("a value has %zu bytes", value_bytes);
    scan->count++;
    if (LIKELY(scan->work == SCAN_SUM)) {
        scan->sum += record_sum(key, value);
    } else if (scan->work == SCAN_COPY) {
        uint8_t copy[VALUE_BYTES];
        memcpy(copy, value, VALUE_BYTES);
        __asm__ volatile("" : : "r"(copy) : "memory");
        scan->sum += record_sum(key, copy);
    } else {
        scan->sum += record_hash(key, value);
    }
}

/* ---- stores ------------------------------------------------------------------------------ */

struct store_kind {
    const char *name;
    const char *settings; /* for the report */
    /* `folder` is empty or holds what this kind wrote. Durable: a commit that returned is on disk.
     */
    void *(*open)(const char *folder, bool is_durable);
    void (*close)(void *store); /* leaves nothing in a log */
    void *(*session_open)(void *store);
    void (*session_close)(void *session);
    void (*write_begin)(void *session);
    /* `is_append`: the key is greater than all others, for stores that want to be told. */
    void (*put)(void *session, const uint8_t *key, const uint8_t *value, bool is_append);
    void (*remove)(void *session, const uint8_t *key); /* the key is there */
    void (*write_commit)(void *session);
    void (*read_begin)(void *session);
    void (*read_end)(void *session);
    /* False = not there. Else the value is copied out. */
    bool (*get)(void *session, const uint8_t *key, uint8_t to_value[VALUE_BYTES]);
    /* Of a new snapshot, unless the session has one. */
    void (*scan)(void *session, struct scan *scan);
    /* Writes what is in memory and merges all there is; NULL: this kind has no such thing. */
    void (*settle)(void *store);
};

/* What every kind has, for a file whose functions have the members' names. */
#define STORE_KIND_CALLS                                                                        \
    .close = close_store, .session_open = session_open, .session_close = session_close,         \
    .write_begin = write_begin, .put = put, .remove = remove_key, .write_commit = write_commit, \
    .read_begin = read_begin, .read_end = read_end, .get = get, .scan = scan

extern const struct store_kind kind_sombra, kind_lsm, kind_lmdb, kind_lmdb_writemap, kind_sqlite;

/* Weak: their address is NULL where the peer is not installed. */
extern const struct store_kind kind_leveldb __attribute__((weak)),
    kind_rocksdb __attribute__((weak)), kind_wiredtiger __attribute__((weak));

/* What all stores that have such a thing are given, filters and blocks as in the study that the
 * peers' published numbers come from. */
enum { FILTER_BITS = 10, BLOCK_BYTES = 4 << 10 };
#define LSM_SETTINGS "no compression, filters of 10 bits, blocks of 4 KiB"

struct tuning {
    size_t cache_bytes;    /* 256 MiB */
    size_t memtable_bytes; /* 64 MiB */
    size_t table_bytes;    /* 0 = the store's own; 8 MiB of LevelDB, as in the study */
    size_t log_bytes;      /* of btree, after which a checkpoint begins; 0 = its own */
};
extern struct tuning tuning; /* set before the first store is opened */

/* A store of a kind in a folder of its own. */
struct bench_store {
    const struct store_kind *kind;
    char folder[256];
    void *store;
    void *session; /* the main thread's */
};

void store_open(struct bench_store *store, const struct store_kind *kind, const char *folder,
                bool is_durable);
void store_close(struct bench_store *store);
void store_reopen(struct bench_store *store, bool is_durable);
/* As store_reopen, and its files leave the system's page cache meanwhile. */
void store_cool(struct bench_store *store, bool is_durable);
void store_delete(struct bench_store *store);               /* closed */
uint64_t store_file_bytes(const struct bench_store *store); /* allocated by its folder's files */
/* Of these, by the largest: the database without its logs. */
uint64_t store_largest_file_bytes(const struct bench_store *store);
size_t store_file_count(const struct bench_store *store);

/* What this process made the kernel do until now. */
struct io_counts {
    uint64_t read_bytes;    /* fetched from the medium, for faults and read-ahead too */
    uint64_t written_bytes; /* pages when they became dirty, so that one that is written again
                               before it is on the disk counts once */
    uint64_t major_faults;
};
void io_counts(struct io_counts *out_counts);

/* ---- kv_workload.c ----------------------------------------------------------------------- */

/* What all workloads of a run know. */
struct plan {
    uint32_t count;
    uint32_t operations; /* of a workload that is no fill, at most `count` */
    double sync_seconds; /* of each durable workload */
    double line_seconds; /* batched fills and overwrites, gets and seeks end after these */
    uint32_t *order;     /* of the random fill */
    uint32_t *overwrites, *deletes, *reads, *zipf;
};

struct result {
    double operations; /* records or seeks; bytes or the factor, where that is the unit */
    double wall_s, cpu_s;
    uint64_t sum;        /* of what was returned */
    uint64_t sum_wanted; /* where the data says so; else all stores must agree */
    bool is_cut;         /* ended after line_seconds, not done: there is no sum */
    struct io_counts io;
};

typedef void (*workload_fn)(struct bench_store *store, const struct plan *plan,
                            struct result *out_result);

enum unit {
    UNIT_RATE,   /* operations a second */
    UNIT_BYTES,  /* less is better */
    UNIT_FACTOR, /* bytes written for a byte put: less is better */
};

struct workload {
    const char *name;
    workload_fn run;
    enum unit unit;
};

/* Which workloads follow each other in one store. */
struct workload_group {
    const struct workload *workloads;
    size_t count;
    bool is_durable;
    bool has_raw;   /* raw_appends runs beside it */
    size_t writing; /* 0 = all. The first so many run in a new store in each round; the others leave
                       the store, settled, as it is, and are repeated in it */
};

extern const struct workload_group workload_groups[];
extern const size_t workload_group_count;
/* Batched writes and the reads that follow, in one store. */
extern const struct workload_group workload_group_limited;

void plan_init(struct plan *plan, uint32_t count, uint32_t operations, double sync_seconds);
void plan_release(struct plan *plan);
/* Every record, every byte. */
uint64_t store_hash(struct bench_store *store, uint64_t *out_count);
/* Appends of 200 bytes to a file of zeros, each with its fdatasync: what the disk allows. */
void raw_appends(const char *folder, double seconds, struct result *out_result);

/* Shared with kv_ycsb.c. */
/* Under the clock: is the line to end here? */
bool clock_is_over(const struct plan *plan, struct result *result);
void clock_start(struct result *result);
void clock_stop(struct result *result);
void sum_store(struct bench_store *store, struct result *result);

/* ---- kv_ycsb.c --------------------------------------------------------------------------- */

/* Cooper et al., "Benchmarking cloud serving systems with YCSB", 2010: on a store of plan->count
 * records, plan->operations of them, each a transaction. */
enum { YCSB_WORKLOADS = 7 };
extern const struct workload ycsb_workloads[YCSB_WORKLOADS];

/* ---- kv_report.c ------------------------------------------------------------------------- */

enum { KINDS_MAX = 8 };

struct line {
    const struct workload *workload;
    size_t rounds;
    struct result results[KINDS_MAX][ROUNDS_MAX];
};

struct report {
    const struct store_kind *const *kinds; /* the first is ours */
    size_t kind_count;
    struct line *lines;
    size_t line_count;
    struct line raw; /* results[0] only; workload NULL if it was not run */
    const struct plan *plan;
};

void report_table(const struct report *report);
void report_cpu_table(const struct report *report);
void report_settings(const struct report *report);
void report_json(const struct report *report, const char *path);

#endif
