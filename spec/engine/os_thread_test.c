/* SPDX-License-Identifier: MIT */
/* Mutexes, conditions, threads and futex words. */
#include "os_fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
    struct os_mutex mutex;
    struct os_condition condition;
    uint64_t count;
    bool is_ready;
};

static void shared_init(struct shared *shared)
{
    *shared = (struct shared){ .count = 0 };
    assert_ok(os_mutex_init(&shared->mutex));
    assert_ok(os_condition_init(&shared->condition));
}

static void shared_release(struct shared *shared)
{
    os_condition_release(&shared->condition);
    os_mutex_release(&shared->mutex);
}

static void *add_many(void *argument)
{
    struct shared *shared = argument;
    for (int i = 0; i < 20000; i++) {
        os_mutex_lock(&shared->mutex);
        shared->count++;
        os_mutex_unlock(&shared->mutex);
    }
    return NULL;
}

static void test_os_thread__a_mutex_excludes(void **state)
{
    (void)state;
    struct shared shared;
    shared_init(&shared);
    struct os_thread threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_ok(os_thread_start(&threads[i], add_many, &shared));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        os_thread_join(&threads[i]);
    assert_int_equal(shared.count, 80000);
    shared_release(&shared);
}

static void *make_ready(void *argument)
{
    struct shared *shared = argument;
    os_mutex_lock(&shared->mutex);
    shared->is_ready = true;
    os_condition_broadcast(&shared->condition);
    os_mutex_unlock(&shared->mutex);
    return NULL;
}

static void test_os_thread__a_condition_wakes_its_waiter(void **state)
{
    (void)state;
    struct shared shared;
    shared_init(&shared);
    struct os_thread thread;
    os_mutex_lock(&shared.mutex);
    assert_ok(os_thread_start(&thread, make_ready, &shared));
    while (!shared.is_ready)
        assert_true(os_condition_wait(&shared.condition, &shared.mutex, UINT64_MAX));
    os_mutex_unlock(&shared.mutex);
    os_thread_join(&thread);
    shared_release(&shared);
}

static void test_os_thread__a_condition_gives_up_after_its_time(void **state)
{
    (void)state;
    struct shared shared;
    shared_init(&shared);
    uint64_t start_ns = os_monotonic_ns(os_posix());
    os_mutex_lock(&shared.mutex);
    while (os_condition_wait(&shared.condition, &shared.mutex, 5))
        start_ns = os_monotonic_ns(os_posix()); /* spurious */
    os_mutex_unlock(&shared.mutex);
    assert_true(os_monotonic_ns(os_posix()) - start_ns >= 5000000);
    shared_release(&shared);
}

static void *blocked_signals(void *argument)
{
    (void)pthread_sigmask(SIG_SETMASK, NULL, argument);
    return NULL;
}

static void test_os_thread__a_thread_takes_no_signals_of_the_host(void **state)
{
    (void)state;
    struct os_thread thread;
    sigset_t mine, theirs;
    (void)sigemptyset(&theirs);
    assert_ok(os_thread_start(&thread, blocked_signals, &theirs));
    os_thread_join(&thread);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_true(sigismember(&theirs, SIGINT) && sigismember(&theirs, SIGALRM));
    assert_false(sigismember(&mine, SIGINT)); /* the caller's own are as before */
}

static void test_os_thread__a_word_that_differs_is_not_waited_for(void **state)
{
    (void)state;
    _Atomic uint32_t word = 1;
    os_word_wait(&word, 2, UINT64_MAX); /* hangs if it waits */
    os_word_wait(&word, 1, 1);          /* hangs if it has no timeout */
    assert_int_equal(word, 1);
}

static void test_os_thread__a_word_is_shared_between_processes(void **state)
{
    (void)state;
    _Atomic uint32_t *words =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(words, MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        atomic_store(&words[1], 1);
        while (atomic_load(&words[0]) == 0)
            os_word_wait(&words[0], 0, UINT64_MAX);
        _exit(0);
    }
    while (atomic_load(&words[1]) == 0)
        os_sleep_us(os_posix(), 100);
    atomic_store(&words[0], 1);
    os_word_wake(&words[0], UINT32_MAX);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child); /* hangs if the wake is lost */
    assert_int_equal(status, 0);
    (void)munmap((void *)words, 4096);
}

static void test_os_thread__a_wait_for_an_own_word_gives_up_after_its_time(void **state)
{
    (void)state;
    _Atomic uint32_t word = 1;
    uint64_t begin_ns = os_monotonic_ns(os_posix());
    while (os_monotonic_ns(os_posix()) - begin_ns < 100000) /* a signal may end it before */
        os_own_word_wait(&word, 1, 100000);
    os_own_word_wait(&word, 2, UINT64_MAX); /* differs: at once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os_thread__a_wait_for_an_own_word_gives_up_after_its_time),
        cmocka_unit_test(test_os_thread__a_mutex_excludes),
        cmocka_unit_test(test_os_thread__a_condition_wakes_its_waiter),
        cmocka_unit_test(test_os_thread__a_condition_gives_up_after_its_time),
        cmocka_unit_test(test_os_thread__a_thread_takes_no_signals_of_the_host),
        cmocka_unit_test(test_os_thread__a_word_that_differs_is_not_waited_for),
        cmocka_unit_test(test_os_thread__a_word_is_shared_between_processes),
    };
    return cmocka_run_group_tests_name("os_thread", tests, NULL, NULL);
}
