/* SPDX-License-Identifier: MIT */
/* readers: how reads scale with threads, alone and beside writers, on the btree engine and LMDB.
 *
 *   readers [--rounds N] [--seconds S] [--folder PATH] [records]
 *
 * A reader takes a new snapshot, gets one record, copies its value out, and ends the snapshot. A
 * writer overwrites one record in a commit without sync. Each round runs every row on both stores,
 * one after the other; a figure is the median of the rounds, a ratio that of ours / peer within a
 * round. Neither readers nor writers do anything but that, so that with more threads than cores
 * they share the cores: what must not happen is that readers wait for writers.
 */
#include "kv.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RECORDS = 200000, READERS_MAX = 128, WRITERS_MAX = 4, ROUNDS = 3, BATCH = 1000, STORES = 2 };

struct row {
    unsigned readers, writers;
};

static const struct row rows[] = { { 1, 0 }, { 2, 0 }, { 4, 0 },   { 16, 0 }, { 128, 0 },
                                   { 1, 1 }, { 4, 1 }, { 128, 1 }, { 2, 2 },  { 4, 4 } };

struct figures {
    double reads_s, commits_s;
};

struct run {
    uint32_t records;
    atomic_bool begins, ends;
};

struct worker {
    struct run *run;
    const struct store_kind *kind;
    void *session;
    uint64_t seed, operations;
    bool is_writer;
    pthread_t thread;
};

static void read_one(struct worker *worker, const uint8_t key[KEY_BYTES])
{
    uint8_t value[VALUE_BYTES];
    worker->kind->read_begin(worker->session);
    if (!worker->kind->get(worker->session, key, value))
        die("%s: a record is missing", worker->kind->name);
    worker->kind->read_end(worker->session);
}

static void write_one(struct worker *worker, uint64_t index, const uint8_t key[KEY_BYTES])
{
    worker->kind->write_begin(worker->session);
    worker->kind->put(worker->session, key, data_value(index, 1 + worker->operations), false);
    worker->kind->write_commit(worker->session);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct random random;
    random_seed(&random, worker->seed);
    while (!atomic_load(&worker->run->begins))
        sched_yield();
    while (!atomic_load_explicit(&worker->run->ends, memory_order_relaxed)) {
        uint8_t key[KEY_BYTES];
        uint64_t index = random_below(&random, worker->run->records);
        data_key(index, key);
        if (worker->is_writer)
            write_one(worker, index, key);
        else
            read_one(worker, key);
        worker->operations++;
    }
    return NULL;
}

static struct figures row_run(struct bench_store *store, const struct row *row, uint32_t records,
                              double seconds)
{
    static struct worker workers[READERS_MAX + WRITERS_MAX];
    struct run run = { .records = records };
    unsigned count = row->readers + row->writers;
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){ .run = &run,
                                      .kind = store->kind,
                                      .session = store->kind->session_open(store->store),
                                      .seed = i + 1,
                                      .is_writer = i >= row->readers };
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]))
            die("cannot start a thread");
    }
    double begin_s = wall_s();
    atomic_store(&run.begins, true);
    struct timespec wait = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    nanosleep(&wait, NULL);
    atomic_store(&run.ends, true);
    struct figures figures = { 0 };
    for (unsigned i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        *(workers[i].is_writer ? &figures.commits_s : &figures.reads_s) +=
            (double)workers[i].operations;
        store->kind->session_close(workers[i].session);
    }
    double passed_s = wall_s() - begin_s;
    figures.reads_s /= passed_s;
    figures.commits_s /= passed_s;
    return figures;
}

static void fill(struct bench_store *store, uint32_t records)
{
    uint32_t *order = data_order(records, 1);
    for (uint32_t i = 0; i < records; i++) {
        uint8_t key[KEY_BYTES];
        if (i % BATCH == 0)
            store->kind->write_begin(store->session);
        data_key(order[i], key);
        store->kind->put(store->session, key, data_value(order[i], 0), false);
        if (i % BATCH == BATCH - 1 || i == records - 1)
            store->kind->write_commit(store->session);
    }
    free(order);
}

static void row_print(const struct row *row, struct figures figures[STORES][ROUNDS_MAX],
                      size_t rounds)
{
    double reads[STORES][ROUNDS_MAX], commits[STORES][ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (size_t i = 0; i < rounds; i++) {
        for (size_t store = 0; store < STORES; store++) {
            reads[store][i] = figures[store][i].reads_s;
            commits[store][i] = figures[store][i].commits_s;
        }
        ratio[i] = reads[0][i] / reads[1][i];
    }
    printf("| %3u | %u | %8.0fk | %8.0fk | %5.2f | %7.1fk | %7.1fk |\n", row->readers, row->writers,
           median(reads[0], rounds) / 1e3, median(reads[1], rounds) / 1e3, median(ratio, rounds),
           median(commits[0], rounds) / 1e3, median(commits[1], rounds) / 1e3);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    uint32_t records = RECORDS;
    size_t rounds = ROUNDS;
    double seconds = 0.5;
    const char *folder = ".";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = size_min(strtoul(argv[++i], NULL, 10), ROUNDS_MAX);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtod(argv[++i], NULL);
        else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc)
            folder = argv[++i];
        else
            records = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    if (records == 0 || rounds == 0 || seconds <= 0)
        die("usage: readers [--rounds N] [--seconds S] [--folder PATH] [records]");
    static const struct store_kind *const kinds[STORES] = { &kind_sombra, &kind_lmdb };
    struct bench_store stores[STORES];
    data_init();
    for (size_t i = 0; i < STORES; i++) {
        store_open(&stores[i], kinds[i], folder, false);
        fill(&stores[i], records);
    }
    printf("%" PRIu32 " records, %zu rounds of %.1f s a store and row\n\n", records, rounds,
           seconds);
    printf("| readers | writers | sombra reads/s | lmdb reads/s | ratio | sombra commits/s | lmdb "
           "commits/s |\n|--:|--:|--:|--:|--:|--:|--:|\n");
    for (size_t r = 0; r < COUNT_OF(rows); r++) {
        static struct figures figures[STORES][ROUNDS_MAX];
        for (size_t round = 0; round < rounds; round++)
            for (size_t i = 0; i < STORES; i++)
                figures[i][round] = row_run(&stores[i], &rows[r], records, seconds);
        row_print(&rows[r], figures, rounds);
    }
    for (size_t i = 0; i < STORES; i++) {
        store_close(&stores[i]);
        store_delete(&stores[i]);
    }
    return 0;
}
