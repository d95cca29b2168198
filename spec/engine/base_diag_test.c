/* SPDX-License-Identifier: MIT */
/* diag: the text of a failure, how it grows on the way up, and whose it is. */
#include "base/base.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_diag__fail_returns_the_code_and_keeps_the_text(void **state)
{
    (void)state;
    assert_int_equal(diag_fail(SOMBRA_IO, "read %d bytes at %d", 40, 12), SOMBRA_IO);
    assert_string_equal(sombra_err_message(), "read 40 bytes at 12");
    assert_string_equal(diag_text(), "read 40 bytes at 12");
}

static void test_diag__wrap_puts_the_operation_in_front(void **state)
{
    (void)state;
    sombra_err err = diag_fail(SOMBRA_CORRUPT, "bad checksum");
    err = diag_wrap(err, "page %d", 7);
    err = diag_wrap(err, "open %s", "a.sombra");
    assert_int_equal(err, SOMBRA_CORRUPT);
    assert_string_equal(diag_text(), "open a.sombra: page 7: bad checksum");
}

static void test_diag__wrap_of_ok_changes_nothing(void **state)
{
    (void)state;
    (void)diag_fail(SOMBRA_IO, "earlier");
    assert_int_equal(diag_wrap(SOMBRA_OK, "open"), SOMBRA_OK);
    assert_string_equal(diag_text(), "earlier");
}

/* A code returned without a text must not be explained by what failed before it. */
static void test_diag__wrap_of_a_bare_code_does_not_take_an_older_text(void **state)
{
    (void)state;
    (void)diag_fail(SOMBRA_IO, "disk on fire");
    assert_int_equal(diag_wrap(SOMBRA_NOT_FOUND, "bucket 'users'"), SOMBRA_NOT_FOUND);
    assert_string_equal(diag_text(), "bucket 'users': no such record");
}

static void test_diag__own_text_may_be_an_argument(void **state)
{
    (void)state;
    (void)diag_fail(SOMBRA_IO, "inner");
    (void)diag_fail(SOMBRA_CORRUPT, "outer (%s)", diag_text());
    assert_string_equal(diag_text(), "outer (inner)");
    (void)diag_wrap(SOMBRA_CORRUPT, "[%s]", diag_text());
    assert_string_equal(diag_text(), "[outer (inner)]: outer (inner)");
}

static void test_diag__long_text_is_cut_at_its_end(void **state)
{
    (void)state;
    char name[2000];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    (void)diag_fail(SOMBRA_IO, "begin %s", name);
    assert_in_range(strlen(diag_text()), DIAG_TEXT_BYTES - 8, DIAG_TEXT_BYTES - 1);
    assert_memory_equal(diag_text(), "begin x", 7);
    for (int i = 0; i < 10; i++)
        (void)diag_wrap(SOMBRA_IO, "level %d", i);
    assert_memory_equal(diag_text(), "level 9: level 8: ", 18);
    assert_in_range(strlen(diag_text()), DIAG_TEXT_BYTES - 8, DIAG_TEXT_BYTES - 1);
}

static void test_diag__restored_text_is_wrapped_as_its_own(void **state)
{
    (void)state;
    char saved[DIAG_TEXT_BYTES];
    sombra_err err = diag_fail(SOMBRA_LIMIT, "disk full");
    diag_save(saved);
    (void)diag_fail(SOMBRA_IO, "close failed too");
    diag_restore(saved);
    assert_string_equal(diag_text(), "disk full");
    (void)diag_wrap(err, "commit");
    assert_string_equal(diag_text(), "commit: disk full");
}

static void test_diag__nomem_says_what_and_how_much(void **state)
{
    (void)state;
    assert_int_equal(diag_nomem("the page cache", 4096), SOMBRA_NOMEM);
    assert_string_equal(diag_text(), "out of memory: 4096 bytes for the page cache");
}

static void test_diag__names_are_stable(void **state)
{
    (void)state;
    assert_string_equal(sombra_err_name(SOMBRA_OK), "ok");
    assert_string_equal(sombra_err_name(SOMBRA_NOT_FOUND), "not_found");
    assert_string_equal(sombra_err_name(SOMBRA_CANCELLED), "cancelled");
    assert_string_equal(sombra_err_name(SOMBRA_UNIQUE), "unique");
    assert_string_equal(sombra_err_name(SOMBRA_CONSTRAINT), "constraint");
    assert_string_equal(sombra_err_name((sombra_err)999), "unknown");
}

static void *fail_on_a_thread(void *context)
{
    char *out_seen = context;
    strcpy(out_seen, diag_text());
    (void)diag_fail(SOMBRA_BUSY, "the other thread's");
    strcat(out_seen, diag_text());
    return NULL;
}

static void test_diag__each_thread_has_its_own_text(void **state)
{
    (void)state;
    pthread_t thread;
    char seen[2 * DIAG_TEXT_BYTES];
    (void)diag_fail(SOMBRA_IO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_on_a_thread, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen, "the other thread's");
    assert_string_equal(diag_text(), "mine");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diag__fail_returns_the_code_and_keeps_the_text),
        cmocka_unit_test(test_diag__wrap_puts_the_operation_in_front),
        cmocka_unit_test(test_diag__wrap_of_ok_changes_nothing),
        cmocka_unit_test(test_diag__wrap_of_a_bare_code_does_not_take_an_older_text),
        cmocka_unit_test(test_diag__own_text_may_be_an_argument),
        cmocka_unit_test(test_diag__long_text_is_cut_at_its_end),
        cmocka_unit_test(test_diag__restored_text_is_wrapped_as_its_own),
        cmocka_unit_test(test_diag__nomem_says_what_and_how_much),
        cmocka_unit_test(test_diag__names_are_stable),
        cmocka_unit_test(test_diag__each_thread_has_its_own_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
