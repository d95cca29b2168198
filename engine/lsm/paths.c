/* SPDX-License-Identifier: MIT */
#include "paths.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAME_BYTES = 32 };

char *lsm_path(const char *directory, const char *name)
{
    size_t bytes = strlen(directory) + strlen(name) + 2;
    char *path = mem_alloc(bytes);
    if (path)
        (void)snprintf(path, bytes, "%s/%s", directory, name);
    return path;
}

char *lsm_path_of_table(const char *directory, uint64_t number)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%06" PRIu64 ".sst", number);
    return lsm_path(directory, name);
}

char *lsm_path_of_log(const char *directory, uint64_t base_seq)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%020" PRIu64 ".log", base_seq);
    return lsm_path(directory, name);
}
