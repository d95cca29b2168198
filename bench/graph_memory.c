/* SPDX-License-Identifier: MIT */
/* The peak memory of a process that only reads: opens a loaded store and runs every read line. It
 * is a process of its own, the same program again, for the peak of this one says nothing. */
#include "graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct items items_read(const char *folder, const char *name)
{
    struct items items = { .items = NULL };
    struct item item = { 0 };
    size_t capacity = 0;
    char path[600], line[100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        die("%s: cannot read", path);
    while (fgets(line, sizeof line, file) &&
           sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64, &item.a, &item.b, &item.c) > 0) {
        if (items.count == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            items.items = realloc(items.items, capacity * sizeof *items.items);
            if (!items.items)
                die("out of memory");
        }
        items.items[items.count++] = item;
    }
    fclose(file);
    return items;
}

/* KiB. getrusage would tell of the process before exec, too. */
static long peak_kibibytes(void)
{
    char line[200];
    long peak = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "VmHWM: %ld", &peak) != 1) {
    }
    if (file)
        fclose(file);
    return peak;
}

int memory_child(const struct graph_kind *kind, const char *path, const char *data)
{
    static const struct {
        enum line line;
        const char *cases;
    } reads[] = {
        { LINE_LOOKUP, "w_lookup.txt" }, { LINE_HOP1, "w_hop1.txt" },
        { LINE_HOP1_IDS, "w_hop1.txt" }, { LINE_HOP2, "w_hop2.txt" },
        { LINE_HOP3, "w_hop3.txt" },     { LINE_WITHIN3, "w_hop3.txt" },
        { LINE_PATH, "w_pairs.txt" },
    };
    uint64_t sum = 0;
    void *store = kind->open(path);
    for (size_t i = 0; i < COUNT_OF(reads); i++) {
        if (!kind->run[reads[i].line])
            continue;
        struct items items = items_read(data, reads[i].cases);
        for (size_t j = 0; j < items.count; j++)
            sum += kind->run[reads[i].line](store, &items.items[j]);
        free(items.items);
    }
    printf("%ld %" PRIu64 "\n", peak_kibibytes(), sum);
    kind->close(store);
    return 0;
}

double memory_bytes(const char *const *arguments, uint64_t *out_sum)
{
    int ends[2], status = 0;
    long kibibytes = 0;
    if (pipe(ends))
        die("no pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        die("no process");
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execv("/proc/self/exe", (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(ends[1]);
    FILE *answer = fdopen(ends[0], "r");
    if (!answer || fscanf(answer, "%ld %" SCNu64, &kibibytes, out_sum) != 2)
        die("a process that measures memory failed");
    fclose(answer);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status)
        die("a process that measures memory failed");
    return (double)kibibytes * 1024;
}
