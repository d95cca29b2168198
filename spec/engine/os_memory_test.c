/* SPDX-License-Identifier: MIT */
/* What memory there is, by the system's files: real ones, and some made up below a directory. */
#include "os/os_ops.h"
#include "os_fixture.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

static char root[PATH_MAX / 2];

static int root_make(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    (void)snprintf(root, sizeof root, "%s/os_memory_test.XXXXXX", parent ? parent : P_tmpdir);
    return mkdtemp(root) ? 0 : -1;
}

static int root_remove(void **state)
{
    (void)state;
    char command[PATH_MAX];
    (void)snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

/* With its directories. */
static void text_write(const char *name, const char *text)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

#define MEMINFO   "MemTotal:  8000000 kB\nMemFree: 10 kB\nMemAvailable:    4000000 kB\n"
#define AVAILABLE (UINT64_C(4000000) * KiB)

static int root_renew(void **state)
{
    return root_remove(state) || root_make(state);
}

static void test_os__memory_of_this_machine_is_known(void **state)
{
    (void)state;
    uint64_t bytes = os_memory_bytes(os_posix());
    assert_true(bytes > MiB);
    assert_true(bytes < UINT64_MAX);
}

static void test_os__memory_is_unknown_without_the_systems_files(void **state)
{
    (void)state;
    assert_true(os_posix_memory_bytes(root) == UINT64_MAX);
    text_write("proc/self/cgroup", "0::/a\n");
    text_write("sys/fs/cgroup/a/memory.max", "1000000\n");
    assert_true(os_posix_memory_bytes(root) == UINT64_MAX); /* what it uses is not said */
}

static void test_os__memory_without_a_group_is_what_is_available(void **state)
{
    (void)state;
    text_write("proc/meminfo", MEMINFO);
    assert_true(os_posix_memory_bytes(root) == AVAILABLE);
    text_write("proc/self/cgroup", "0::/\n");
    assert_true(os_posix_memory_bytes(root) == AVAILABLE);
    text_write("sys/fs/cgroup/memory.max", "max\n");
    assert_true(os_posix_memory_bytes(root) == AVAILABLE);
}

static void test_os__memory_of_a_group_counts_its_cached_pages_as_available(void **state)
{
    (void)state;
    text_write("proc/meminfo", MEMINFO);
    text_write("proc/self/cgroup", "0::/a/b\n");
    text_write("sys/fs/cgroup/a/b/memory.max", "1000000\n");
    text_write("sys/fs/cgroup/a/b/memory.current", "900000\n");
    text_write("sys/fs/cgroup/a/b/memory.stat",
               "anon 500000\nfile 400000\ninactive_file 300000\nactive_file 100000\n");
    assert_int_equal(os_posix_memory_bytes(root), 500000);
    /* A group above with less is what counts. */
    text_write("sys/fs/cgroup/a/memory.max", "2000000\n");
    text_write("sys/fs/cgroup/a/memory.current", "1950000\n");
    text_write("sys/fs/cgroup/a/memory.stat", "inactive_file 350000\nactive_file 0\n");
    assert_int_equal(os_posix_memory_bytes(root), 400000);
}

static void test_os__memory_of_a_group_of_the_first_version_is_found(void **state)
{
    (void)state;
    text_write("proc/meminfo", MEMINFO);
    text_write("proc/self/cgroup", "5:cpu,memory:/x\n4:cpuset:/\n0::/\n");
    text_write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    text_write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000000\n");
    text_write("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "2000\n");
    text_write("sys/fs/cgroup/memory/x/memory.stat", "inactive_file 1\n"
                                                     "total_inactive_file 500\n"
                                                     "total_active_file 500\n");
    assert_int_equal(os_posix_memory_bytes(root), 999000);
}

static void test_os__memory_of_a_full_group_is_none(void **state)
{
    (void)state;
    text_write("proc/meminfo", MEMINFO);
    text_write("proc/self/cgroup", "0::/a\n");
    text_write("sys/fs/cgroup/a/memory.max", "1000\n");
    text_write("sys/fs/cgroup/a/memory.current", "1200\n");
    text_write("sys/fs/cgroup/a/memory.stat", "anon 1200\n");
    assert_int_equal(os_posix_memory_bytes(root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os__memory_of_this_machine_is_known),
        cmocka_unit_test_setup(test_os__memory_is_unknown_without_the_systems_files, root_renew),
        cmocka_unit_test_setup(test_os__memory_without_a_group_is_what_is_available, root_renew),
        cmocka_unit_test_setup(test_os__memory_of_a_group_counts_its_cached_pages_as_available,
                               root_renew),
        cmocka_unit_test_setup(test_os__memory_of_a_group_of_the_first_version_is_found,
                               root_renew),
        cmocka_unit_test_setup(test_os__memory_of_a_full_group_is_none, root_renew),
    };
    return cmocka_run_group_tests_name("os_memory", tests, root_make, root_remove);
}
