/* SPDX-License-Identifier: MIT */
/* space: what the files grow to when records are overwritten under an old snapshot, what comes back
 * when it ends, and how much is written for a random put; the btree engine beside LMDB, or lsm
 * beside LevelDB and RocksDB.
 *
 *   space [--lsm] [--alone] [--folder PATH] [records]
 *
 * --alone leaves the other stores out, which need many times the space and the time.
 * Data is keys and values, 116 bytes a record. The file is the largest of the store's files; logs
 * are what the others have. Written: what the kernel was given to write (/proc/self/io,
 * write_bytes), until the store is closed; commits are not synced one by one.
 */
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RECORDS = 1000000, BATCH = 10, FILL_BATCH = 1000, LOOKS = 10, REST_S = 40 };

/* No value that is there is written again but with version 0. */
static void overwrite(struct bench_store *store, void *session, const uint32_t *indexes,
                      uint32_t count, uint32_t batch, uint64_t version)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[KEY_BYTES];
        if (i % batch == 0)
            store->kind->write_begin(session);
        data_key(indexes[i], key);
        store->kind->put(session, key, data_value(indexes[i], version ? version << 32 | i : 0),
                         false);
        if (i % batch == batch - 1 || i == count - 1)
            store->kind->write_commit(session);
    }
}

static uint64_t content_sum(struct bench_store *store)
{
    struct scan scan = { .count_max = UINT64_MAX, .work = SCAN_SUM };
    store->kind->scan(store->session, &scan);
    return scan.sum;
}

struct sizes {
    uint64_t file, logs;
};

static struct sizes sizes_of(const struct bench_store *store)
{
    uint64_t file = store_largest_file_bytes(store);
    return (struct sizes){ file, store_file_bytes(store) - file };
}

static void sizes_print(const struct bench_store *store, const char *what, struct sizes sizes,
                        uint32_t records)
{
    double data = (double)records * (KEY_BYTES + VALUE_BYTES);
    printf("| %-7s | %-46s | %7.1f | %5.2f | %6.1f |\n", store->kind->name, what,
           (double)sizes.file / 1e6, (double)sizes.file / data, (double)sizes.logs / 1e6);
    fflush(stdout);
}

/* The session of the store holds the old snapshot, another one writes. */
static void pinned(struct bench_store *store, uint32_t records)
{
    uint32_t *order = data_order(records, 1), *choice = data_choice(records, records, 2);
    void *writer = store->kind->session_open(store->store);
    overwrite(store, writer, order, records, FILL_BATCH, 0);
    sizes_print(store, "filled in random order", sizes_of(store), records);
    store->kind->read_begin(store->session);
    uint64_t sum = content_sum(store);
    struct sizes most = { 0 };
    for (uint32_t i = 0; i < LOOKS; i++) {
        uint32_t first = records / LOOKS * i;
        overwrite(store, writer, choice + first, records / LOOKS, BATCH, 1 + i % 7);
        struct sizes now = sizes_of(store);
        most.file = u64_max(most.file, now.file);
        most.logs = u64_max(most.logs, now.logs);
    }
    sizes_print(store, "most, overwritten once under an old snapshot", most, records);
    if (content_sum(store) != sum)
        die("%s: the old snapshot changed", store->kind->name);
    store->kind->read_end(store->session);
    overwrite(store, writer, choice, records, BATCH, 8);
    sizes_print(store, "overwritten once more, the snapshot ended", sizes_of(store), records);
    sleep(REST_S);
    sizes_print(store, "40 seconds later", sizes_of(store), records);
    store->kind->session_close(writer);
    store_reopen(store, false);
    sizes_print(store, "closed", sizes_of(store), records);
    free(order);
    free(choice);
}

static void amplification(struct bench_store *store, uint32_t records)
{
    static const uint32_t batches[] = { 1, 100 };
    uint32_t *order = data_order(records, 1);
    overwrite(store, store->session, order, records, FILL_BATCH, 0);
    store_reopen(store, false);
    free(order);
    for (size_t i = 0; i < COUNT_OF(batches); i++) {
        uint32_t count = records / 2, *choice = data_choice(count, records, 3 + i);
        struct io_counts before, after;
        io_counts(&before);
        overwrite(store, store->session, choice, count, batches[i], 6);
        store_reopen(store, false);
        io_counts(&after);
        double user = (double)count * (KEY_BYTES + VALUE_BYTES);
        printf("| %-7s | %9" PRIu32 " | %10" PRIu32 " | %7.1f |\n", store->kind->name, count,
               batches[i], (double)(after.written_bytes - before.written_bytes) / user);
        fflush(stdout);
        free(choice);
    }
}

/* Each in a new store. */
static void run_each(const struct store_kind *const *kinds, size_t count, const char *folder,
                     void (*run)(struct bench_store *store, uint32_t records), uint32_t records)
{
    for (size_t i = 0; i < count; i++) {
        struct bench_store store;
        if (!kinds[i])
            continue;
        store_open(&store, kinds[i], folder, false);
        run(&store, records);
        store_close(&store);
        store_delete(&store);
    }
}

int main(int argc, char **argv)
{
    uint32_t records = RECORDS;
    const char *folder = ".";
    bool is_lsm = false, is_alone = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--lsm") == 0)
            is_lsm = true;
        else if (strcmp(argv[i], "--alone") == 0)
            is_alone = true;
        else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc)
            folder = argv[++i];
        else
            records = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    if (records < LOOKS)
        die("usage: space [--lsm] [--alone] [--folder PATH] [records]");
    static const struct store_kind *const of_btree[] = { &kind_sombra, &kind_lmdb, NULL };
    static const struct store_kind *const of_lsm[] = { &kind_lsm, &kind_leveldb, &kind_rocksdb };
    const struct store_kind *const *kinds = is_lsm ? of_lsm : of_btree;
    size_t count = is_alone ? 1 : COUNT_OF(of_lsm);
    data_init();
    printf("%" PRIu32 " records, overwritten in commits of %d\n\n", records, BATCH);
    printf("| store | when | file MB | x data | logs MB |\n|---|---|--:|--:|--:|\n");
    run_each(kinds, count, folder, pinned, records);
    printf("\n| store | overwrites | a commit | bytes written / bytes put |\n|---|--:|--:|--:|\n");
    run_each(kinds, count, folder, amplification, records);
    return 0;
}
