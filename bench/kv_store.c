/* SPDX-License-Identifier: MIT */
/* The benchmark's stores, each in a folder of its own, and the end of a program that failed. */
#include "kv.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct tuning tuning = { .cache_bytes = 256 * MiB, .memtable_bytes = 64 * MiB };

void io_counts(struct io_counts *out_counts)
{
    struct io_counts counts = { 0 };
    struct rusage usage;
    char line[100];
    FILE *file = fopen("/proc/self/io", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "read_bytes: %" SCNu64, &counts.read_bytes) != 1 &&
            sscanf(line, "write_bytes: %" SCNu64, &counts.written_bytes) == 1)
            break;
    if (file)
        fclose(file);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        counts.major_faults = (uint64_t)usage.ru_majflt;
    *out_counts = counts;
}

/* ---- stores ------------------------------------------------------------------------------ */

static void store_start(struct bench_store *store, bool is_durable)
{
    store->store = store->kind->open(store->folder, is_durable);
    store->session = store->kind->session_open(store->store);
}

void store_open(struct bench_store *store, const struct store_kind *kind, const char *folder,
                bool is_durable)
{
    store->kind = kind;
    if ((size_t)snprintf(store->folder, sizeof store->folder, "%s/kv-bench-%s-%d", folder,
                         kind->name, (int)getpid()) >= sizeof store->folder)
        die("%s: too long", folder);
    if (mkdir(store->folder, 0700))
        die("%s: cannot make the folder", store->folder);
    store_start(store, is_durable);
}

void store_close(struct bench_store *store)
{
    store->kind->session_close(store->session);
    store->kind->close(store->store);
}

void store_reopen(struct bench_store *store, bool is_durable)
{
    store_close(store);
    store_start(store, is_durable);
}

/* Calls `each` with the path of every file. */
static void store_each_file(const struct bench_store *store,
                            void (*each)(const char *path, void *context), void *context)
{
    DIR *folder = opendir(store->folder);
    if (!folder)
        die("%s: cannot read", store->folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", store->folder, entry->d_name);
        if (entry->d_name[0] != '.')
            each(path, context);
    }
    closedir(folder);
}

static void file_add(const char *path, void *context)
{
    struct stat status;
    if (stat(path, &status) == 0)
        *(uint64_t *)context += (uint64_t)status.st_blocks * 512;
}

static void file_compare(const char *path, void *context)
{
    uint64_t bytes = 0, *largest = context;
    file_add(path, &bytes);
    *largest = u64_max(*largest, bytes);
}

static void file_remove(const char *path, void *context)
{
    (void)context;
    unlink(path);
}

uint64_t store_file_bytes(const struct bench_store *store)
{
    uint64_t bytes = 0;
    sync(); /* blocks are counted when they are allocated */
    store_each_file(store, file_add, &bytes);
    return bytes;
}

uint64_t store_largest_file_bytes(const struct bench_store *store)
{
    uint64_t bytes = 0;
    sync();
    store_each_file(store, file_compare, &bytes);
    return bytes;
}

/* Of a file that is written and not mapped. */
static void file_uncache(const char *path, void *context)
{
    (void)context;
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return;
    if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        die("%s: its pages stay in memory", path);
    close(fd);
}

void store_cool(struct bench_store *store, bool is_durable)
{
    store_close(store);
    store_each_file(store, file_uncache, NULL);
    store_start(store, is_durable);
}

static void file_count(const char *path, void *context)
{
    (void)path;
    ++*(size_t *)context;
}

size_t store_file_count(const struct bench_store *store)
{
    size_t count = 0;
    store_each_file(store, file_count, &count);
    return count;
}

void store_delete(struct bench_store *store)
{
    store_each_file(store, file_remove, NULL);
    rmdir(store->folder);
}
