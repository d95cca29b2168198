/* SPDX-License-Identifier: MIT */
/* os_thread: mutexes, conditions, threads and futex words, the same for every system. */
#include "os.h"

#include <assert.h>
#include <sched.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS_MAX = 1000000000 /* 31 years; keeps deadlines inside time_t */ };

static sombra_err thread_fail(int code, const char *what)
{
    sombra_err err = code == ENOMEM ? SOMBRA_NOMEM : code == EAGAIN ? SOMBRA_LIMIT : SOMBRA_IO;
    char text[128];
    return diag_fail(err, "%s: %s", what, strerror_r(code, text, sizeof text));
}

static struct timespec timespec_of_ms(uint64_t timeout_ms)
{
    uint64_t seconds = u64_min(timeout_ms / 1000, TIMEOUT_SECONDS_MAX);
    return (struct timespec){ .tv_sec = (time_t)seconds,
                              .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };
}

/* ---- mutexes and conditions -------------------------------------------------------------- */

sombra_err os_mutex_init(struct os_mutex *mutex)
{
    int code = pthread_mutex_init(&mutex->handle, NULL);
    return code ? thread_fail(code, "make a mutex") : SOMBRA_OK;
}

void os_mutex_release(struct os_mutex *mutex)
{
    int code = pthread_mutex_destroy(&mutex->handle);
    assert(code == 0);
    (void)code;
}

void os_mutex_lock(struct os_mutex *mutex)
{
    int code = pthread_mutex_lock(&mutex->handle);
    assert(code == 0);
    (void)code;
}

void os_mutex_unlock(struct os_mutex *mutex)
{
    int code = pthread_mutex_unlock(&mutex->handle);
    assert(code == 0);
    (void)code;
}

sombra_err os_condition_init(struct os_condition *condition)
{
    pthread_condattr_t attributes;
    int code = pthread_condattr_init(&attributes);
    if (code)
        return thread_fail(code, "make a condition");
    code = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (!code)
        code = pthread_cond_init(&condition->handle, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return code ? thread_fail(code, "make a condition") : SOMBRA_OK;
}

void os_condition_release(struct os_condition *condition)
{
    int code = pthread_cond_destroy(&condition->handle);
    assert(code == 0);
    (void)code;
}

bool os_condition_wait(struct os_condition *condition, struct os_mutex *mutex, uint64_t timeout_ms)
{
    if (timeout_ms == UINT64_MAX) {
        int code = pthread_cond_wait(&condition->handle, &mutex->handle);
        assert(code == 0);
        (void)code;
        return true;
    }
    struct timespec wait = timespec_of_ms(timeout_ms);
    struct timespec deadline;
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += wait.tv_sec;
    deadline.tv_nsec += wait.tv_nsec;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_nsec -= 1000000000;
        deadline.tv_sec++;
    }
    int code = pthread_cond_timedwait(&condition->handle, &mutex->handle, &deadline);
    assert(code == 0 || code == ETIMEDOUT);
    return code == 0;
}

void os_condition_broadcast(struct os_condition *condition)
{
    (void)pthread_cond_broadcast(&condition->handle);
}

/* ---- threads ----------------------------------------------------------------------------- */

sombra_err os_thread_start(struct os_thread *thread, void *(*run)(void *), void *argument)
{
    /* The host's signals belong to the host's threads: ours are born with all of them blocked. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int code = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (code)
        return thread_fail(code, "start a thread");
    pthread_t handle;
    code = pthread_create(&handle, NULL, run, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code)
        return thread_fail(code, "start a thread");
    thread->handle = handle;
    return SOMBRA_OK;
}

void os_thread_join(struct os_thread *thread)
{
    int code = pthread_join(thread->handle, NULL);
    assert(code == 0);
    (void)code;
}

/* ---- words ------------------------------------------------------------------------------- */

void os_thread_yield(void)
{
    (void)sched_yield();
}

static void word_wait(_Atomic uint32_t *word, int operation, uint32_t expected,
                      const struct timespec *timeout)
{
    (void)syscall(SYS_futex, (void *)word, operation, expected, timeout, NULL, 0);
}

static void word_wake(_Atomic uint32_t *word, int operation, unsigned count)
{
    int wake = count > INT_MAX ? INT_MAX : (int)count;
    (void)syscall(SYS_futex, (void *)word, operation, wake, NULL, NULL, 0);
}

/* Not FUTEX_PRIVATE: a word in a shared mapping is known by its file, to all processes. */
void os_word_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ms)
{
    struct timespec timeout = timespec_of_ms(timeout_ms);
    word_wait(word, FUTEX_WAIT, expected, timeout_ms == UINT64_MAX ? NULL : &timeout);
}

void os_word_wake(_Atomic uint32_t *word, unsigned count)
{
    word_wake(word, FUTEX_WAKE, count);
}

void os_own_word_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec timeout = { .tv_sec = (time_t)(timeout_ns / 1000000000),
                                .tv_nsec = (long)(timeout_ns % 1000000000) };
    word_wait(word, FUTEX_WAIT_PRIVATE, expected, timeout_ns == UINT64_MAX ? NULL : &timeout);
}

void os_own_word_wake(_Atomic uint32_t *word, unsigned count)
{
    word_wake(word, FUTEX_WAKE_PRIVATE, count);
}

uint64_t os_process_id(void)
{
    return (uint64_t)getpid();
}
