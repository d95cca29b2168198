/* SPDX-License-Identifier: MIT */
/* What a process has open: one entry for an identity, claims that exclude, fork(). */
#include "os_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

struct thing {
    struct os_registered registered;
    struct os_identity identity;
    bool is_busy;
    unsigned told; /* by fork_child */
};

static sombra_err check_idle(struct os_registered *entry)
{
    struct thing *thing = container_of(entry, struct thing, registered);
    return thing->is_busy ? diag_fail(SOMBRA_BUSY, "%s is in use", entry->path) : SOMBRA_OK;
}

static void fork_child(struct os_registered *entry)
{
    container_of(entry, struct thing, registered)->told++;
}

static void thing_init(struct thing *thing, uint64_t inode, bool is_readonly)
{
    *thing = (struct thing){ .identity = { .device = 7, .inode = inode, .links = 1 } };
    thing->registered = (struct os_registered){ .os = os_posix(),
                                                .path = "thing",
                                                .identity = &thing->identity,
                                                .is_readonly = is_readonly,
                                                .check_idle = check_idle,
                                                .fork_child = fork_child };
}

/* NULL: nobody has it open, and the claim is the caller's. */
static struct os_registered *look(struct os_claim *claim, const struct os_identity *identity)
{
    struct os_registered *found = NULL;
    bool waited = true;
    os_claim_begin(claim, os_posix(), NULL);
    while (waited)
        assert_ok(os_claim_identity(claim, identity, true, &found, &waited));
    return found;
}

static void thing_open(struct thing *thing)
{
    struct os_claim claim;
    assert_null(look(&claim, &thing->identity));
    os_claim_end(&claim, &thing->registered);
}

static void thing_close(struct thing *thing)
{
    struct os_claim claim;
    bool is_last = false;
    assert_ok(os_claim_close(&claim, &thing->registered, &is_last));
    assert_true(is_last);
    os_claim_end(&claim, NULL);
}

static void test_os_registry__an_identity_is_open_once(void **state)
{
    (void)state;
    struct thing one, other;
    thing_init(&one, 1, false);
    thing_init(&other, 2, false);
    thing_open(&one);
    thing_open(&other);
    struct os_claim claim;
    bool is_last = true;
    assert_ptr_equal(look(&claim, &one.identity), &one.registered);
    os_claim_end(&claim, NULL);
    assert_ok(os_claim_close(&claim, &one.registered, &is_last));
    assert_false(is_last);
    thing_close(&one);
    assert_null(look(&claim, &one.identity));
    os_claim_end(&claim, NULL);
    thing_close(&other);
}

static void test_os_registry__what_is_open_read_only_is_not_given_to_a_writer(void **state)
{
    (void)state;
    struct thing thing;
    thing_init(&thing, 3, true);
    thing_open(&thing);
    struct os_claim claim;
    struct os_registered *found = NULL;
    bool waited;
    os_claim_begin(&claim, os_posix(), NULL);
    assert_fails(SOMBRA_BUSY, os_claim_identity(&claim, &thing.identity, true, &found, &waited));
    assert_text_has("thing is open read-only");
    assert_ok(os_claim_identity(&claim, &thing.identity, false, &found, &waited));
    assert_ptr_equal(found, &thing.registered);
    os_claim_end(&claim, NULL);
    bool is_last = true;
    assert_ok(os_claim_close(&claim, &thing.registered, &is_last));
    assert_false(is_last);
    thing_close(&thing);
}

static void test_os_registry__what_is_in_use_stays_open(void **state)
{
    (void)state;
    struct thing thing;
    thing_init(&thing, 4, false);
    thing_open(&thing);
    thing.is_busy = true;
    struct os_claim claim;
    bool is_last = false;
    assert_fails(SOMBRA_BUSY, os_claim_close(&claim, &thing.registered, &is_last));
    assert_text_has("in use");
    assert_ptr_equal(look(&claim, &thing.identity), &thing.registered);
    os_claim_end(&claim, NULL);
    assert_ok(os_claim_close(&claim, &thing.registered, &is_last)); /* not the last: not asked */
    assert_false(is_last);
    thing.is_busy = false;
    thing_close(&thing);
}

static void test_os_registry__without_an_identity_nobody_finds_it(void **state)
{
    (void)state;
    struct thing thing;
    thing_init(&thing, 5, false);
    thing.registered.identity = NULL;
    os_claim_end(NULL, &thing.registered);
    struct os_claim claim;
    assert_null(look(&claim, &thing.identity));
    os_claim_end(&claim, NULL);
    thing_close(&thing);
}

/* ---- claims ------------------------------------------------------------------------------ */

struct opener {
    const char *path; /* NULL: by the identity */
    struct thing *thing;
    _Atomic bool is_begun, has_ended;
    bool waited;
    struct os_registered *found;
};

static void *open_beside(void *argument)
{
    struct opener *opener = argument;
    struct os_claim claim;
    bool waited = false;
    os_claim_begin(&claim, os_posix(), NULL);
    atomic_store(&opener->is_begun, true);
    if (opener->path) {
        os_claim_end(&claim, NULL);
        os_claim_begin(&claim, os_posix(), opener->path);
    } else {
        do {
            assert_ok(
                os_claim_identity(&claim, &opener->thing->identity, true, &opener->found, &waited));
            opener->waited |= waited;
        } while (waited);
    }
    atomic_store(&opener->has_ended, true);
    os_claim_end(&claim, NULL);
    return NULL;
}

/* The opener runs while `claim` is held, and ends only after it. */
static void run_beside(struct opener *opener, struct os_claim *claim, struct os_registered *opened)
{
    struct os_thread thread;
    assert_ok(os_thread_start(&thread, open_beside, opener));
    while (!atomic_load(&opener->is_begun))
        os_thread_yield();
    for (int i = 0; i < 1000; i++)
        os_thread_yield();
    assert_false(atomic_load(&opener->has_ended));
    os_claim_end(claim, opened);
    os_thread_join(&thread);
}

static void test_os_registry__a_claim_to_an_identity_is_waited_for(void **state)
{
    (void)state;
    struct thing thing;
    thing_init(&thing, 6, false);
    struct opener opener = { .thing = &thing };
    struct os_claim claim;
    assert_null(look(&claim, &thing.identity));
    run_beside(&opener, &claim, &thing.registered);
    assert_true(opener.waited);
    assert_ptr_equal(opener.found, &thing.registered);

    struct opener late = { .thing = &thing };
    bool is_last = true;
    assert_ok(os_claim_close(&claim, &thing.registered, &is_last));
    assert_false(is_last);
    assert_ok(os_claim_close(&claim, &thing.registered, &is_last));
    assert_true(is_last);
    run_beside(&late, &claim, NULL);
    assert_true(late.waited);
    assert_null(late.found);
}

static void test_os_registry__a_claim_to_a_path_is_waited_for(void **state)
{
    (void)state;
    struct opener opener = { .path = "/a/path" };
    struct os_claim claim, other;
    os_claim_begin(&claim, os_posix(), "/a/path");
    os_claim_begin(&other, os_posix(), "/another/path");
    os_claim_end(&other, NULL);
    run_beside(&opener, &claim, NULL);
}

/* ---- fork -------------------------------------------------------------------------------- */

static void test_os_registry__a_child_is_told_and_has_nothing_open(void **state)
{
    (void)state;
    struct thing thing;
    thing_init(&thing, 8, false);
    assert_ok(os_registry_watch_fork());
    thing_open(&thing);
    pid_t child = fork();
    if (child == 0) {
        struct os_claim claim;
        _exit(thing.told == 1 && !look(&claim, &thing.identity) ? 0 : 1);
    }
    int status = -1;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    assert_int_equal(thing.told, 0);
    thing_close(&thing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os_registry__an_identity_is_open_once),
        cmocka_unit_test(test_os_registry__what_is_open_read_only_is_not_given_to_a_writer),
        cmocka_unit_test(test_os_registry__what_is_in_use_stays_open),
        cmocka_unit_test(test_os_registry__without_an_identity_nobody_finds_it),
        cmocka_unit_test(test_os_registry__a_claim_to_an_identity_is_waited_for),
        cmocka_unit_test(test_os_registry__a_claim_to_a_path_is_waited_for),
        cmocka_unit_test(test_os_registry__a_child_is_told_and_has_nothing_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
