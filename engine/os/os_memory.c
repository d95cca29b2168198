/* SPDX-License-Identifier: MIT */
/* How much memory Linux has for the cached pages of this process's files: what /proc/meminfo calls
 * available, or less where a control group (memory controller, version 1 or 2) says so. What a
 * group has in cached pages of files counts as available: it can be given up.
 */
#include "os_ops.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT_BYTES = 8192, NAMES_MAX = 3 };

/* Names of one version's files, and of the rows of its memory.stat. */
struct group_version {
    const char *mount, *limit, *usage;
    const char *files[NAMES_MAX];
};
static const struct group_version version1 = {
    .mount = "/sys/fs/cgroup/memory",
    .limit = "memory.limit_in_bytes",
    .usage = "memory.usage_in_bytes",
    .files = { "total_inactive_file", "total_active_file", NULL },
};
static const struct group_version version2 = {
    .mount = "/sys/fs/cgroup",
    .limit = "memory.max",
    .usage = "memory.current",
    .files = { "inactive_file", "active_file", NULL },
};

/* False where there is no such file. */
static bool text_read(const char *folder, const char *name, char text[TEXT_BYTES])
{
    char path[PATH_MAX];
    int printed = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (printed < 0 || (size_t)printed >= sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, TEXT_BYTES - 1);
    (void)close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* The number of the line that begins with `name`; UINT64_MAX without one. */
static uint64_t row_of(const char *text, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, bytes) == 0 && (line[bytes] == ' ' || line[bytes] == ':'))
            return strtoull(line + bytes + 1, NULL, 10);
    }
    return UINT64_MAX;
}

/* UINT64_MAX: it has no limit ("max"), or there is no such group. */
static uint64_t group_bytes(const struct group_version *version, const char *folder)
{
    char text[TEXT_BYTES];
    if (!text_read(folder, version->limit, text) || text[0] < '0' || text[0] > '9')
        return UINT64_MAX;
    uint64_t limit = strtoull(text, NULL, 10);
    if (limit >= (uint64_t)INT64_MAX / 2 || !text_read(folder, version->usage, text))
        return UINT64_MAX;
    uint64_t used = strtoull(text, NULL, 10);
    if (!text_read(folder, "memory.stat", text))
        return UINT64_MAX;
    for (size_t i = 0; version->files[i]; i++) {
        uint64_t bytes = row_of(text, version->files[i]);
        used -= bytes == UINT64_MAX ? 0 : u64_min(used, bytes);
    }
    return limit > used ? limit - used : 0;
}

/* Of the group at `path` and of all above it, which bind it too. */
static uint64_t groups_bytes(const char *root, const struct group_version *version, char *path)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        char folder[PATH_MAX];
        int printed = snprintf(folder, sizeof folder, "%s%s%s", root, version->mount, path);
        if (printed >= 0 && (size_t)printed < sizeof folder)
            least = u64_min(least, group_bytes(version, folder));
        char *last = strrchr(path, '/');
        if (!last)
            return least;
        *last = '\0';
    }
}

static bool has_word(const char *words, const char *end, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *at = words; at < end; at += strcspn(at, ",:") + 1)
        if (strncmp(at, word, bytes) == 0 && (at[bytes] == ',' || at[bytes] == ':'))
            return true;
    return false;
}

/* Lines are number:controllers:path, without controllers in version 2. */
static uint64_t all_groups_bytes(const char *root, char *text)
{
    uint64_t least = UINT64_MAX;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        const struct group_version *version = path == controllers + 1 ? &version2
                                              : has_word(controllers + 1, path + 1, "memory")
                                                  ? &version1
                                                  : NULL;
        if (version)
            least = u64_min(least, groups_bytes(root, version, path + 1));
    }
    return least;
}

uint64_t os_posix_memory_bytes(const char *root)
{
    char folder[PATH_MAX], text[TEXT_BYTES];
    int printed = snprintf(folder, sizeof folder, "%s/proc", root);
    if (printed < 0 || (size_t)printed >= sizeof folder)
        return UINT64_MAX;
    uint64_t least = UINT64_MAX;
    if (text_read(folder, "meminfo", text)) {
        uint64_t available = row_of(text, "MemAvailable");
        least = available < UINT64_MAX / KiB ? available * KiB : UINT64_MAX;
    }
    if (text_read(folder, "self/cgroup", text))
        least = u64_min(least, all_groups_bytes(root, text));
    return least;
}
