/* SPDX-License-Identifier: MIT */
/* The real system, in a directory of its own under TMPDIR. */
#include "os_fixture.h"
#include "os/os_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[PATH_MAX / 2];

/* A path inside the directory; four may be in use at once. */
static const char *path_of(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % COUNT_OF(paths)];
    (void)snprintf(path, PATH_MAX, "%s/%s", directory, name);
    return path;
}

static int directory_make(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    (void)snprintf(directory, sizeof directory, "%s/os_posix_test.XXXXXX",
                   parent ? parent : P_tmpdir);
    return mkdtemp(directory) ? 0 : -1;
}

static int directory_remove(void **state)
{
    (void)state;
    char command[PATH_MAX];
    (void)snprintf(command, sizeof command, "rm -r '%s'", directory);
    return system(command);
}

static struct os_file *make_file(const char *name)
{
    return open_file(os_posix(), path_of(name), OS_WRITE | OS_CREATE);
}

/* ---- files ------------------------------------------------------------------------------- */

static void test_os__open_of_a_missing_file_is_not_found_and_names_it(void **state)
{
    (void)state;
    struct os_file *file = NULL;
    assert_fails(SOMBRA_NOT_FOUND, os_open(os_posix(), path_of("none"), OS_READ, 0, &file));
    assert_text_has("none: open: No such file");
    assert_null(file);
}

static void test_os__exclusive_create_refuses_what_is_there(void **state)
{
    (void)state;
    os_close(make_file("twice"));
    struct os_file *file = NULL;
    unsigned flags = OS_WRITE | OS_CREATE | OS_EXCLUSIVE;
    assert_fails(SOMBRA_EXISTS, os_open(os_posix(), path_of("twice"), flags, 0600, &file));
    assert_int_equal(symlink("nowhere", path_of("link")), 0);
    assert_fails(SOMBRA_EXISTS, os_open(os_posix(), path_of("link"), flags, 0600, &file));
    assert_null(file);
}

static void test_os__a_new_file_has_its_mode_and_is_closed_on_exec(void **state)
{
    (void)state;
    struct os *os = os_posix();
    int fd = os->ops->open(os, path_of("mode"), OS_WRITE | OS_CREATE | OS_RANDOM, 0600);
    assert_true(fd >= 0);
    struct stat found;
    assert_int_equal(fstat(fd, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    os->ops->close(os, fd);
}

/* Database files got the number of the closed standard output, and what was printed. */
static void test_os__a_file_never_stands_in_for_a_standard_stream(void **state)
{
    (void)state;
    for (int closed = 1; closed < 8; closed++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct os_file *files[4];
            char byte = 'x';
            for (int fd = 0; fd < 3; fd++)
                if (closed & 1 << fd)
                    (void)close(fd);
            for (int i = 0; i < 4; i++)
                if (os_open(os_posix(), path_of("a file"), OS_WRITE | OS_CREATE, 0600, &files[i]))
                    _exit(1);
            for (int fd = 0; fd < 3; fd++)
                if (closed & 1 << fd &&
                    ((fd > 0 && write(fd, &byte, 1) >= 0) || (fd == 0 && read(fd, &byte, 1) >= 0)))
                    _exit(2);
            for (int i = 0; i < 4; i++)
                os_close(files[i]);
            _exit(0);
        }
        int status;
        struct stat there;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(stat(path_of("a file"), &there), 0);
        assert_int_equal(there.st_size, 0);
        assert_int_equal(unlink(path_of("a file")), 0);
    }
}

static void test_os__read_behind_the_end_is_corrupt_but_some_is_enough(void **state)
{
    (void)state;
    struct os_file *file = make_file("short");
    assert_ok(os_write(file, 0, "abcdef", 6));
    char bytes[10] = "";
    assert_fails(SOMBRA_CORRUPT, os_read(file, 2, bytes, sizeof bytes));
    assert_text_has("is cut short: 10 bytes wanted at 2, 4 are there");
    size_t got = 99;
    assert_ok(os_read_some(file, 2, bytes, sizeof bytes, &got));
    assert_int_equal(got, 4);
    assert_memory_equal(bytes, "cdef", 4);
    assert_ok(os_read_some(file, 6, bytes, sizeof bytes, &got));
    assert_int_equal(got, 0);
    os_close(file);
}

static void test_os__a_gathered_write_lands_in_order(void **state)
{
    (void)state;
    struct os_file *file = make_file("gather");
    enum { PARTS = 300 };
    static char data[PARTS][7];
    struct os_iovec parts[PARTS];
    size_t total = 0;
    for (size_t i = 0; i < PARTS; i++) {
        memset(data[i], 'a' + (int)(i % 26), sizeof data[i]);
        parts[i] = (struct os_iovec){ .data = data[i], .bytes = i % 8 }; /* 0 among them */
        total += i % 8;
    }
    assert_ok(os_write_gather(file, 5, parts, PARTS));
    assert_int_equal(size_of(file), 5 + total);
    size_t at = 5;
    for (size_t i = 0; i < PARTS; i++) {
        char bytes[8];
        assert_ok(os_read(file, at, bytes, i % 8));
        assert_memory_equal(bytes, data[i], i % 8);
        at += i % 8;
    }
    os_close(file);
}

static void test_os__zeros_replace_bytes_and_grow_the_file(void **state)
{
    (void)state;
    struct os_file *file = make_file("zeros");
    assert_ok(os_write(file, 0, "abcdefgh", 8));
    uint64_t bytes = 3 * MiB + 17; /* more than one call takes */
    assert_ok(os_write_zeros(file, 3, bytes));
    assert_int_equal(size_of(file), 3 + bytes);
    uint8_t *read = malloc(bytes + 3);
    assert_ok(os_read(file, 0, read, bytes + 3));
    assert_memory_equal(read, "abc", 3);
    for (uint64_t i = 3; i < 3 + bytes; i++)
        assert_int_equal(read[i], 0);
    free(read);
    os_close(file);
}

static void test_os__allocate_grows_and_punch_leaves_zeros(void **state)
{
    (void)state;
    struct os_file *file = make_file("space");
    assert_ok(os_write(file, 0, "abcdefgh", 8));
    sombra_err err = os_allocate(file, 4096, 3 * 4096);
    if (err == SOMBRA_UNSUPPORTED) {
        os_close(file);
        skip();
    }
    assert_ok(err);
    assert_int_equal(size_of(file), 4 * 4096);
    assert_ok(os_allocate(file, 0, 4096)); /* inside: the size stays */
    assert_int_equal(size_of(file), 4 * 4096);
    assert_ok(os_punch(file, 2, 4));
    char bytes[8];
    assert_ok(os_read(file, 0, bytes, 8));
    assert_memory_equal(bytes, "ab\0\0\0\0gh", 8);
    assert_int_equal(size_of(file), 4 * 4096);
    assert_ok(os_truncate(file, 3));
    assert_int_equal(size_of(file), 3);
    assert_ok(os_sync(file));
    os_close(file);
}

static void test_os__a_file_opened_for_reading_refuses_writes(void **state)
{
    (void)state;
    os_close(make_file("readable"));
    struct os_file *file = open_file(os_posix(), path_of("readable"), OS_READ);
    assert_fails(SOMBRA_IO, os_write(file, 0, "x", 1));
    void *address = NULL;
    assert_fails(SOMBRA_READONLY, os_map(file, 0, 4096, true, &address));
    assert_null(address);
    os_close(file);
}

static void test_os__a_file_system_without_promises_takes_no_mapped_stores(void **state)
{
    (void)state;
    struct os_file *file = NULL;
    if (os_open(os_posix(), "/proc/self/status", OS_READ, 0, &file))
        skip();
    assert_false(os_can_store_mapped(file));
    assert_false(os_is_network(file));
    os_close(file);
}

static void test_os__a_link_is_not_followed_if_it_must_not_be(void **state)
{
    (void)state;
    os_close(make_file("target"));
    assert_int_equal(symlink("target", path_of("pointer")), 0);
    struct os_file *file = open_file(os_posix(), path_of("pointer"), OS_WRITE);
    os_close(file);
    file = NULL;
    assert_fails(SOMBRA_IO,
                 os_open(os_posix(), path_of("pointer"), OS_WRITE | OS_NO_FOLLOW, 0, &file));
    os_close(open_file(os_posix(), path_of("target"), OS_WRITE | OS_NO_FOLLOW));
}

/* ---- names ------------------------------------------------------------------------------- */

static void test_os__link_publishes_without_replacing(void **state)
{
    (void)state;
    struct os *os = os_posix();
    struct os_file *file = make_file("temporary");
    assert_ok(os_link(os, path_of("temporary"), path_of("published")));
    struct os_identity first, second;
    assert_ok(os_identify(file, &first));
    assert_ok(os_identify_path(os, path_of("published"), &second));
    assert_int_equal(first.device, second.device);
    assert_int_equal(first.inode, second.inode);
    assert_int_equal(first.links, 2);
    os_close(file);
    os_close(make_file("other"));
    assert_fails(SOMBRA_EXISTS, os_link(os, path_of("other"), path_of("published")));
    assert_text_has("published: ");
    assert_ok(os_unlink(os, path_of("temporary")));
    assert_ok(os_identify_path(os, path_of("published"), &first));
    assert_int_equal(first.inode, second.inode);
    assert_int_equal(first.links, 1);
}

static void test_os__rename_replaces(void **state)
{
    (void)state;
    struct os *os = os_posix();
    os_close(make_file("old"));
    struct os_file *file = make_file("new");
    struct os_identity mine, found;
    assert_ok(os_identify(file, &mine));
    assert_ok(os_rename(os, path_of("new"), path_of("old")));
    assert_ok(os_identify_path(os, path_of("old"), &found));
    assert_int_equal(mine.inode, found.inode);
    assert_fails(SOMBRA_NOT_FOUND, os_rename(os, path_of("new"), path_of("old")));
    assert_ok(os_sync_directory_of(os, path_of("old")));
    os_close(file);
}

static void test_os__a_missing_name_is_not_found(void **state)
{
    (void)state;
    struct os *os = os_posix();
    struct os_identity identity;
    assert_fails(SOMBRA_NOT_FOUND, os_unlink(os, path_of("missing")));
    assert_fails(SOMBRA_NOT_FOUND, os_identify_path(os, path_of("missing"), &identity));
    assert_fails(SOMBRA_NOT_FOUND, os_sync_directory_of(os, path_of("missing/file")));
    assert_ok(os_make_directory(os, path_of("made"), 0700));
    assert_fails(SOMBRA_EXISTS, os_make_directory(os, path_of("made"), 0700));
    os_close(make_file("made/file"));
    assert_fails(SOMBRA_IO, os_remove_directory(os, path_of("made")));
    assert_ok(os_unlink(os, path_of("made/file")));
    assert_ok(os_remove_directory(os, path_of("made")));
    assert_fails(SOMBRA_NOT_FOUND, os_remove_directory(os, path_of("made")));
}

static void assert_resolves(const char *name, const char *want)
{
    char *resolved = NULL;
    assert_ok(os_resolve(os_posix(), path_of(name), &resolved));
    char *real = realpath(directory, NULL);
    char expected[PATH_MAX];
    (void)snprintf(expected, sizeof expected, "%s/%s", real, want);
    assert_string_equal(resolved, expected);
    free(real);
    mem_free(resolved);
}

static void test_os__resolve_follows_links_also_to_files_not_yet_there(void **state)
{
    (void)state;
    struct os *os = os_posix();
    assert_ok(os_make_directory(os, path_of("real"), 0700));
    assert_int_equal(symlink("real", path_of("alias")), 0);
    os_close(make_file("real/file"));
    assert_resolves("alias/file", "real/file");
    assert_resolves("alias/../alias/./file", "real/file");
    assert_resolves("alias/absent", "real/absent");
    /* a link whose file is missing stands for that file: it is what open would create */
    assert_int_equal(symlink("alias/later", path_of("dangling")), 0);
    assert_resolves("dangling", "real/later");
    assert_int_equal(symlink("circle", path_of("circle")), 0);
    char *resolved = NULL;
    assert_fails(SOMBRA_IO, os_resolve(os, path_of("circle"), &resolved));
    assert_fails(SOMBRA_NOT_FOUND, os_resolve(os, path_of("absent/file"), &resolved));
    assert_fails(SOMBRA_NOT_FOUND, os_resolve(os, path_of("absent/"), &resolved));
    assert_null(resolved);
}

struct listing {
    unsigned names;
    unsigned stop_at;
};

static sombra_err count_name(void *context, const char *name)
{
    struct listing *listing = context;
    assert_true(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    listing->names++;
    return listing->names == listing->stop_at ? SOMBRA_CANCELLED : SOMBRA_OK;
}

static void test_os__a_listing_ends_at_the_first_error(void **state)
{
    (void)state;
    struct os *os = os_posix();
    assert_ok(os_make_directory(os, path_of("listed"), 0700));
    os_close(make_file("listed/a"));
    os_close(make_file("listed/b"));
    os_close(make_file("listed/c"));
    struct listing listing = { 0, 0 };
    assert_ok(os_list_directory(os, path_of("listed"), count_name, &listing));
    assert_int_equal(listing.names, 3);
    listing = (struct listing){ 0, 2 };
    assert_fails(SOMBRA_CANCELLED, os_list_directory(os, path_of("listed"), count_name, &listing));
    assert_int_equal(listing.names, 2);
    assert_fails(SOMBRA_NOT_FOUND, os_list_directory(os, path_of("missing"), count_name, &listing));
}

/* ---- mappings ---------------------------------------------------------------------------- */

static void test_os__a_mapping_may_reach_far_beyond_the_end(void **state)
{
    (void)state;
    struct os_file *file = make_file("mapped");
    assert_ok(os_write(file, 0, "abc", 3));
    size_t bytes = FAR_MAP_BYTES;
    void *address = NULL;
    assert_ok(os_map(file, 0, bytes, false, &address));
    assert_memory_equal(address, "abc", 3);
    /* no call maps anything anew when the file has grown */
    assert_ok(os_write(file, 8 * 4096, "xyz", 3));
    assert_memory_equal((char *)address + 8 * 4096, "xyz", 3);
    assert_ok(os_map_populate(file, 0, address, 8 * 4096 + 3));
    assert_ok(os_map_populate(file, 4097, (char *)address + 4097, 10));
    os_unmap(file, address, bytes);
    os_close(file);
}

static void test_os__populate_behind_the_end_is_an_error_and_no_signal(void **state)
{
    (void)state;
    struct os_file *file = make_file("populated");
    assert_ok(os_write_zeros(file, 0, 4096));
    void *address = NULL;
    assert_ok(os_map(file, 0, 1 * MiB, false, &address));
    sombra_err err = os_map_populate(file, 64 * KiB, (char *)address + 64 * KiB, 4096);
    /* CORRUPT where an old kernel made it a read */
    assert_true(err == SOMBRA_IO || err == SOMBRA_CORRUPT);
    assert_text_has("populated: ");
    os_unmap(file, address, 1 * MiB);
    os_close(file);
}

/* One thread stores without a pause while another takes the pages out and syncs. */
struct store_loop {
    _Atomic uint64_t *word;
    _Atomic uint32_t is_over;
    uint64_t stored;
};

static void *store_loop_run(void *argument)
{
    struct store_loop *loop = argument;
    while (!atomic_load(&loop->is_over))
        atomic_store(loop->word, ++loop->stored);
    return NULL;
}

static void test_os__a_mapping_that_lets_go_loses_no_store(void **state)
{
    (void)state;
    enum { BYTES = 64 * 4096, LOOPS = 50 };
    struct os_file *file = make_file("let_go");
    assert_ok(os_write_zeros(file, 0, BYTES));
    void *address = NULL;
    assert_ok(os_map(file, 0, BYTES, true, &address));
    struct store_loop loop = { .word = address };
    struct os_thread thread;
    assert_ok(os_thread_start(&thread, store_loop_run, &loop));
    char *own = (char *)address + BYTES / 2;
    for (int i = 0; i < LOOPS; i++) {
        memset(own, 'a' + i % 26, 4096);
        os_map_let_go(file, address, BYTES);
        assert_ok(os_sync(file));
        char read[4096];
        assert_ok(os_read(file, BYTES / 2, read, sizeof read));
        assert_true(read[0] == 'a' + i % 26 && memcmp(read, own, sizeof read) == 0);
    }
    atomic_store(&loop.is_over, 1);
    os_thread_join(&thread);
    os_map_let_go(file, address, BYTES);
    uint64_t last = 0;
    assert_ok(os_read(file, 0, &last, sizeof last));
    assert_true(last == loop.stored && atomic_load(loop.word) == last);
    os_unmap(file, address, BYTES);
    os_close(file);
}

static void test_os__mapped_stores_are_what_others_read(void **state)
{
    (void)state;
    struct os_file *file = make_file("stored");
    assert_ok(os_write_zeros(file, 0, 16 * 4096));
    void *address = NULL;
    assert_ok(os_map(file, 4096, 4096, true, &address));
    memcpy((char *)address + 10, "stored", 6);
    char bytes[6];
    assert_ok(os_read(file, 4096 + 10, bytes, 6));
    assert_memory_equal(bytes, "stored", 6);
    os_unmap(file, address, 4096);
    os_close(file);
}

static void test_os__a_mapping_is_not_inherited(void **state)
{
    (void)state;
    struct os_file *file = make_file("forked");
    assert_ok(os_write_zeros(file, 0, 4096));
    void *address = NULL;
    assert_ok(os_map(file, 0, 4096, true, &address));
    unsigned char resident;
    assert_int_equal(mincore(address, 4096, &resident), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(mincore(address, 4096, &resident) == -1 && errno == ENOMEM ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    os_unmap(file, address, 4096);
    os_close(file);
}

static void test_os__anonymous_memory_is_zeroed(void **state)
{
    (void)state;
    void *address = NULL;
    size_t bytes = 1 * GiB;
    assert_ok(os_reserve_anonymous(bytes, &address));
    char *last = (char *)address + bytes - 1;
    assert_int_equal(*last, 0);
    *last = 1;
    os_release_anonymous(address, bytes);
    os_release_anonymous(NULL, bytes);
}

/* ---- locks ------------------------------------------------------------------------------- */

#define FAR_OFFSET (UINT64_C(1) << 62) /* where the engine keeps its liveness bytes */

static void test_os__locks_belong_to_the_open_file(void **state)
{
    (void)state;
    struct os_file *first = make_file("locked");
    struct os_file *second = make_file("locked");
    bool is_held = true;
    assert_ok(os_lock(first, FAR_OFFSET, 1, OS_LOCK_EXCLUSIVE));
    assert_ok(os_lock(first, FAR_OFFSET, 1, OS_LOCK_EXCLUSIVE)); /* one's own never conflicts */
    assert_ok(os_lock_is_held(first, FAR_OFFSET, 1, OS_LOCK_EXCLUSIVE, &is_held));
    assert_false(is_held);
    assert_fails(SOMBRA_BUSY, os_lock(second, FAR_OFFSET, 1, OS_LOCK_SHARED));
    assert_ok(os_lock_is_held(second, FAR_OFFSET, 1, OS_LOCK_SHARED, &is_held));
    assert_true(is_held);
    assert_ok(os_lock(second, FAR_OFFSET + 1, 1, OS_LOCK_EXCLUSIVE)); /* the byte beside is free */
    /* a POSIX lock would die with any close of the file in this process */
    os_close(make_file("locked"));
    assert_fails(SOMBRA_BUSY, os_lock(second, FAR_OFFSET, 1, OS_LOCK_EXCLUSIVE));
    os_unlock(first, FAR_OFFSET, 1);
    assert_ok(os_lock(second, FAR_OFFSET, 1, OS_LOCK_SHARED));
    assert_ok(os_lock(first, FAR_OFFSET, 1, OS_LOCK_SHARED));
    assert_ok(os_lock_is_held(first, FAR_OFFSET, 1, OS_LOCK_SHARED, &is_held));
    assert_false(is_held);
    assert_ok(os_lock_is_held(first, FAR_OFFSET, 1, OS_LOCK_EXCLUSIVE, &is_held));
    assert_true(is_held);
    os_close(second);
    assert_ok(os_lock(first, FAR_OFFSET, 2, OS_LOCK_EXCLUSIVE)); /* close released */
    os_close(first);
}

static void test_os__a_shared_lock_needs_only_read_access(void **state)
{
    (void)state;
    os_close(make_file("lock_readable"));
    struct os_file *file = open_file(os_posix(), path_of("lock_readable"), OS_READ);
    assert_ok(os_lock(file, 0, 1, OS_LOCK_SHARED));
    assert_fails(SOMBRA_IO, os_lock(file, 0, 1, OS_LOCK_EXCLUSIVE));
    os_close(file);
}

static void test_os__a_lock_is_seen_by_other_processes(void **state)
{
    (void)state;
    struct os_file *file = make_file("lock_process");
    assert_ok(os_lock(file, 7, 1, OS_LOCK_EXCLUSIVE));
    const char *path = path_of("lock_process");
    pid_t child = fork();
    if (child == 0) {
        struct os_file *mine = NULL;
        if (os_open(os_posix(), path, OS_WRITE, 0, &mine))
            _exit(2);
        _exit(os_lock(mine, 7, 1, OS_LOCK_SHARED) == SOMBRA_BUSY ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    os_close(file);
}

static void *unlock_soon(void *argument)
{
    os_sleep_us(os_posix(), 20000);
    os_unlock(argument, 0, 1);
    return NULL;
}

static void test_os__lock_wait_waits_and_gives_up(void **state)
{
    (void)state;
    struct os_file *first = make_file("lock_wait");
    struct os_file *second = make_file("lock_wait");
    assert_ok(os_lock(first, 0, 1, OS_LOCK_EXCLUSIVE));
    assert_fails(SOMBRA_BUSY, os_lock_wait(second, 0, 1, OS_LOCK_EXCLUSIVE, 0));
    uint64_t start_ns = os_monotonic_ns(os_posix());
    assert_fails(SOMBRA_BUSY, os_lock_wait(second, 0, 1, OS_LOCK_EXCLUSIVE, 15));
    assert_true(os_monotonic_ns(os_posix()) - start_ns >= 15000000); /* never early */
    assert_text_has("waited 15 ms");
    struct os_thread thread;
    assert_ok(os_thread_start(&thread, unlock_soon, first));
    assert_ok(os_lock_wait(second, 0, 1, OS_LOCK_EXCLUSIVE, UINT64_MAX));
    os_thread_join(&thread);
    os_close(second);
    os_close(first);
}

/* ---- clocks, randomness ------------------------------------------------------------------ */

static void test_os__sleep_lasts_and_random_differs(void **state)
{
    (void)state;
    struct os *os = os_posix();
    uint64_t start_ns = os_monotonic_ns(os);
    os_sleep_us(os, 3000);
    assert_true(os_monotonic_ns(os) - start_ns >= 3000000);
    assert_true(os_wall_ns(os) > UINT64_C(1700000000000000000));
    uint8_t first[600], second[600]; /* more than getrandom gives at once, by its man page */
    assert_ok(os_random(os, first, sizeof first));
    assert_ok(os_random(os, second, sizeof second));
    assert_memory_not_equal(first, second, sizeof first);
    assert_int_equal(os_process_id(), getpid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os__open_of_a_missing_file_is_not_found_and_names_it),
        cmocka_unit_test(test_os__exclusive_create_refuses_what_is_there),
        cmocka_unit_test(test_os__a_new_file_has_its_mode_and_is_closed_on_exec),
        cmocka_unit_test(test_os__a_file_never_stands_in_for_a_standard_stream),
        cmocka_unit_test(test_os__read_behind_the_end_is_corrupt_but_some_is_enough),
        cmocka_unit_test(test_os__a_gathered_write_lands_in_order),
        cmocka_unit_test(test_os__zeros_replace_bytes_and_grow_the_file),
        cmocka_unit_test(test_os__allocate_grows_and_punch_leaves_zeros),
        cmocka_unit_test(test_os__a_file_opened_for_reading_refuses_writes),
        cmocka_unit_test(test_os__a_link_is_not_followed_if_it_must_not_be),
        cmocka_unit_test(test_os__a_file_system_without_promises_takes_no_mapped_stores),
        cmocka_unit_test(test_os__link_publishes_without_replacing),
        cmocka_unit_test(test_os__rename_replaces),
        cmocka_unit_test(test_os__a_missing_name_is_not_found),
        cmocka_unit_test(test_os__resolve_follows_links_also_to_files_not_yet_there),
        cmocka_unit_test(test_os__a_listing_ends_at_the_first_error),
        cmocka_unit_test(test_os__a_mapping_may_reach_far_beyond_the_end),
        cmocka_unit_test(test_os__populate_behind_the_end_is_an_error_and_no_signal),
        cmocka_unit_test(test_os__a_mapping_that_lets_go_loses_no_store),
        cmocka_unit_test(test_os__mapped_stores_are_what_others_read),
        cmocka_unit_test(test_os__a_mapping_is_not_inherited),
        cmocka_unit_test(test_os__anonymous_memory_is_zeroed),
        cmocka_unit_test(test_os__locks_belong_to_the_open_file),
        cmocka_unit_test(test_os__a_shared_lock_needs_only_read_access),
        cmocka_unit_test(test_os__a_lock_is_seen_by_other_processes),
        cmocka_unit_test(test_os__lock_wait_waits_and_gives_up),
        cmocka_unit_test(test_os__sleep_lasts_and_random_differs),
    };
    return cmocka_run_group_tests_name("os_posix", tests, directory_make, directory_remove);
}
