/* SPDX-License-Identifier: MIT */
/* os.c over a scripted system: short, interrupted and failing calls. */
#include "os_fixture.h"
#include "os/os_ops.h"

#include <errno.h>
#include <fcntl.h>

/* A system with one file of 4 KiB, which does as told. */
struct scripted {
    struct os os;
    uint8_t bytes[4096];
    uint64_t size;
    uint64_t transfer_max;     /* of one call */
    unsigned interrupted_each; /* every n-th call is; 0 = none */
    unsigned calls;
    int64_t answer; /* < 0: of every call but open and close, instead of doing anything */
    int64_t answer_open;
    bool is_open;
};

static struct scripted *scripted_of(struct os *os)
{
    return container_of(os, struct scripted, os);
}

/* 0 = do it. */
static int64_t scripted_answer(struct os *os)
{
    struct scripted *scripted = scripted_of(os);
    scripted->calls++;
    if (scripted->interrupted_each && scripted->calls % scripted->interrupted_each == 0)
        return -EINTR;
    return scripted->answer;
}

static int scripted_open(struct os *os, const char *path, unsigned flags, unsigned mode)
{
    (void)path, (void)flags, (void)mode;
    struct scripted *scripted = scripted_of(os);
    if (scripted->answer_open < 0)
        return (int)scripted->answer_open;
    scripted->is_open = true;
    return 3;
}

static void scripted_close(struct os *os, int fd)
{
    assert_int_equal(fd, 3);
    scripted_of(os)->is_open = false;
}

static int64_t scripted_read(struct os *os, int fd, uint64_t offset, void *to, size_t bytes)
{
    (void)fd;
    struct scripted *scripted = scripted_of(os);
    int64_t answer = scripted_answer(os);
    if (answer < 0 || offset >= scripted->size)
        return answer;
    uint64_t part = u64_min(u64_min(bytes, scripted->transfer_max), scripted->size - offset);
    memcpy(to, scripted->bytes + offset, part);
    return (int64_t)part;
}

static int64_t scripted_write(struct os *os, int fd, uint64_t offset, const struct iovec *parts,
                              int count)
{
    (void)fd;
    struct scripted *scripted = scripted_of(os);
    int64_t answer = scripted_answer(os);
    if (answer < 0)
        return answer;
    uint64_t done = 0;
    for (int i = 0; i < count && done < scripted->transfer_max; i++) {
        uint64_t part = u64_min(parts[i].iov_len, scripted->transfer_max - done);
        assert_true(offset + done + part <= sizeof scripted->bytes);
        if (part > 0) /* an empty part may have no address */
            memcpy(scripted->bytes + offset + done, parts[i].iov_base, part);
        done += part;
    }
    scripted->size = u64_max(scripted->size, offset + done);
    return (int64_t)done;
}

static int scripted_call(struct os *os, int fd)
{
    (void)fd;
    return (int)scripted_answer(os);
}

static int scripted_range(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)offset, (void)bytes;
    return scripted_call(os, fd);
}

static int scripted_map(struct os *os, int fd, uint64_t offset, size_t bytes, bool is_writable,
                        void **out_address)
{
    (void)is_writable, (void)out_address;
    return scripted_range(os, fd, offset, bytes);
}

static int scripted_populate(struct os *os, int fd, uint64_t offset, void *address, size_t bytes)
{
    (void)os, (void)fd, (void)offset, (void)address, (void)bytes;
    return -EINVAL; /* an old kernel */
}

static int scripted_lock(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type)
{
    (void)type;
    return scripted_range(os, fd, offset, bytes);
}

static int scripted_path(struct os *os, const char *path)
{
    (void)path;
    return scripted_call(os, 0);
}

static const struct os_ops scripted_ops = {
    .name = "scripted",
    .open = scripted_open,
    .close = scripted_close,
    .read = scripted_read,
    .write = scripted_write,
    .sync = scripted_call,
    .allocate = scripted_range,
    .punch = scripted_range,
    .unlink = scripted_path,
    .map = scripted_map,
    .populate = scripted_populate,
    .lock = scripted_lock,
};

static struct os_file *scripted_file(struct scripted *scripted)
{
    *scripted = (struct scripted){ .os = { &scripted_ops }, .transfer_max = UINT64_MAX };
    return open_file(&scripted->os, "some/file", OS_WRITE);
}

/* ---- transfers --------------------------------------------------------------------------- */

static void test_os__short_and_interrupted_transfers_are_invisible(void **state)
{
    (void)state;
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    for (uint64_t transfer_max = 1; transfer_max < 40; transfer_max++) {
        for (unsigned each = 0; each <= 3; each++) {
            if (each == 1)
                continue; /* interrupted for ever */
            scripted.transfer_max = transfer_max;
            scripted.interrupted_each = each;
            memset(scripted.bytes, 0, sizeof scripted.bytes);
            scripted.size = 0;
            struct os_iovec parts[] = {
                { "hello", 5 }, { "", 0 }, { NULL, 0 }, { ", ", 2 }, { "sombra", 6 }
            };
            assert_ok(os_write_gather(file, 100, parts, COUNT_OF(parts)));
            assert_memory_equal(scripted.bytes + 100, "hello, sombra", 14);
            assert_int_equal(scripted.size, 113);
            char read[13];
            assert_ok(os_read(file, 100, read, sizeof read));
            assert_memory_equal(read, "hello, sombra", 13);
            assert_ok(os_write_zeros(file, 101, 11));
            assert_memory_equal(scripted.bytes + 100, "h\0\0\0\0\0\0\0\0\0\0\0a", 13);
            assert_ok(os_sync(file));
            assert_ok(os_unlink(&scripted.os, "some/file"));
        }
    }
    os_close(file);
    assert_false(scripted.is_open);
}

static void test_os__a_system_that_takes_nothing_is_an_error_and_no_loop(void **state)
{
    (void)state;
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    scripted.transfer_max = 0;
    assert_fails(SOMBRA_IO, os_write(file, 0, "abc", 3));
    assert_ok(os_write(file, 0, NULL, 0)); /* nothing to take */
    os_close(file);
}

static void test_os__a_failed_sync_is_not_repeated(void **state)
{
    (void)state;
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    scripted.answer = -EIO;
    assert_fails(SOMBRA_IO, os_sync(file));
    assert_int_equal(scripted.calls, 1);
    assert_text_has("some/file: sync: ");
    os_close(file);
}

/* ---- codes ------------------------------------------------------------------------------- */

static void test_os__errno_becomes_a_code_and_a_text(void **state)
{
    (void)state;
    static const struct {
        int code;
        sombra_err err;
        const char *text;
    } rows[] = {
        { ENOENT, SOMBRA_NOT_FOUND, "No such file" },
        { EEXIST, SOMBRA_EXISTS, "exists" },
        { EACCES, SOMBRA_READONLY, "permission denied" },
        { EPERM, SOMBRA_READONLY, "not permitted" },
        { EROFS, SOMBRA_READONLY, "read-only" },
        { ENOMEM, SOMBRA_NOMEM, "out of memory" },
        { ENOSPC, SOMBRA_LIMIT, "disk is full" },
        { EDQUOT, SOMBRA_LIMIT, "quota" },
        { EFBIG, SOMBRA_LIMIT, "grow" },
        { EMFILE, SOMBRA_LIMIT, "ulimit -n" },
        { ENFILE, SOMBRA_LIMIT, "too many open files" },
        { EIO, SOMBRA_IO, "nput/output error" },
        { EAGAIN, SOMBRA_IO, "unavailable" }, /* BUSY is for locks */
    };
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        scripted.answer = -rows[i].code;
        assert_fails(rows[i].err, os_write(file, 12, "abc", 3));
        assert_text_has("some/file: write 3 bytes at 12: ");
        assert_text_has(rows[i].text);
        void *address = NULL;
        assert_fails(rows[i].err, os_map(file, 0, 4096, false, &address));
        assert_null(address);
    }
    os_close(file);
}

static void test_os__a_lock_that_is_taken_is_busy(void **state)
{
    (void)state;
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    scripted.answer = -EAGAIN;
    assert_fails(SOMBRA_BUSY, os_lock(file, 0, 1, OS_LOCK_SHARED));
    scripted.answer = -ENOLCK;
    assert_fails(SOMBRA_IO, os_lock(file, 0, 1, OS_LOCK_SHARED));
    os_close(file);
}

static void test_os__a_call_the_file_system_lacks_is_unsupported(void **state)
{
    (void)state;
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    scripted.answer = -EOPNOTSUPP;
    assert_fails(SOMBRA_UNSUPPORTED, os_allocate(file, 0, 4096));
    assert_fails(SOMBRA_UNSUPPORTED, os_punch(file, 0, 4096));
    scripted.answer = -ENOSPC;
    assert_fails(SOMBRA_LIMIT, os_allocate(file, 0, 4096));
    os_close(file);
}

static void test_os__populate_reads_where_the_kernel_cannot(void **state)
{
    (void)state;
    struct scripted scripted;
    struct os_file *file = scripted_file(&scripted);
    scripted.size = 4096;
    static char mapped[4096];
    assert_ok(os_map_populate(file, 96, mapped, 4000));
    assert_int_equal(scripted.calls, 1);
    scripted.answer = -EIO;
    assert_fails(SOMBRA_IO, os_map_populate(file, 96, mapped, 4000));
    os_close(file);
}

static void test_os__open_without_memory_leaves_nothing_open(void **state)
{
    (void)state;
    struct scripted scripted;
    os_close(scripted_file(&scripted));
    uint64_t live = mem_test_live();
    struct os_file *file = NULL;
    mem_test_fail_at(1, false);
    assert_fails(SOMBRA_NOMEM, os_open(&scripted.os, "some/file", OS_READ, 0, &file));
    mem_test_fail_at(0, false);
    assert_false(scripted.is_open);
    scripted.answer_open = -EMFILE;
    assert_fails(SOMBRA_LIMIT, os_open(&scripted.os, "some/file", OS_READ, 0, &file));
    assert_int_equal(mem_test_live(), live);
    assert_null(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os__short_and_interrupted_transfers_are_invisible),
        cmocka_unit_test(test_os__a_system_that_takes_nothing_is_an_error_and_no_loop),
        cmocka_unit_test(test_os__a_failed_sync_is_not_repeated),
        cmocka_unit_test(test_os__errno_becomes_a_code_and_a_text),
        cmocka_unit_test(test_os__a_lock_that_is_taken_is_busy),
        cmocka_unit_test(test_os__a_call_the_file_system_lacks_is_unsupported),
        cmocka_unit_test(test_os__populate_reads_where_the_kernel_cannot),
        cmocka_unit_test(test_os__open_without_memory_leaves_nothing_open),
    };
    return cmocka_run_group_tests_name("os_wrap", tests, NULL, NULL);
}
