/* SPDX-License-Identifier: MIT */
#include "interrupt.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>

enum { PRESSES_STICKY = 2, PRESSES_FATAL = 3, TICK_NS = 50 * 1000 * 1000 };

#ifndef sigev_notify_thread_id /* older C libraries */
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Written by the handler and by the one thread that it interrupts. */
static lua_State *volatile running_state; /* NULL outside begin .. end */
static volatile sig_atomic_t press_count; /* SIGINTs since begin */
static volatile sig_atomic_t is_pending;  /* an error is still to be raised */
static pthread_t script_thread;
static struct sigaction action_before;      /* what SIGINT meant before begin */
static struct sigaction action_held;        /* and before interrupt_hold */
static volatile sig_atomic_t has_come_late; /* outside begin .. end */
static volatile sig_atomic_t has_timer;
static timer_t timer; /* of script_thread, if has_timer */

/* ---- ticks -------------------------------------------------------------------------------- */

/* A signal that comes just before a call blocks does not wake it, and no hook runs until that call
 * returns. So the signal is sent again as long as its error is to be raised; these are not counted.
 * Async-signal-safe. */
static void ticks_set(bool are_on)
{
    const struct itimerspec often = { { 0, TICK_NS }, { 0, TICK_NS } };
    const struct itimerspec never = { { 0, 0 }, { 0, 0 } };

    if (has_timer)
        (void)timer_settime(timer, 0, are_on ? &often : &never, NULL);
}

/* Without a timer Ctrl-C works but for that moment. */
static void timer_make(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGINT };

    if (has_timer)
        return;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    has_timer = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
}

/* ---- the hook and the handler ------------------------------------------------------------- */

static void on_hook(lua_State *L, lua_Debug *activation)
{
    (void)activation;
    if (press_count < PRESSES_STICKY) {
        lua_sethook(L, NULL, 0, 0);
        if (!is_pending)
            return; /* a hook that was set on, or inherited by, a coroutine which ran only now */
        is_pending = 0;
        ticks_set(false);
    }
    luaL_where(L, 0);
    lua_pushliteral(L, "interrupted!");
    lua_concat(L, 2);
    lua_error(L);
}

/* lua_sethook is the one call of Lua that is allowed in a signal handler. Instructions are counted
 * and calls are not hooked: an error at the call of a C function's __close would skip it, and leave
 * a transaction open that was about to be rolled back. */
static void arm(lua_State *L)
{
    lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
}

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    const int saved_errno = errno;

    (void)context;
    if (info->si_code == SI_TIMER) {
        if (!is_pending)
            ticks_set(false);
    } else if (!pthread_equal(pthread_self(), script_thread)) {
        (void)pthread_kill(script_thread, signal_number);
    } else if (running_state != NULL) {
        press_count = press_count + 1;
        if (press_count >= PRESSES_FATAL) {
            (void)signal(signal_number, SIG_DFL);
            (void)raise(signal_number); /* taken when this handler returns */
        }
        is_pending = 1;
        arm(running_state);
        ticks_set(true);
    }
    errno = saved_errno;
}

lua_State *interrupt_enter(lua_State *running)
{
    lua_State *before = running_state;

    running_state = running;
    /* The signal may have come while the other state was noted, and armed only that one. */
    if (is_pending && running != NULL)
        arm(running);
    return before;
}

void interrupt_begin(lua_State *L)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

    assert(running_state == NULL);
    script_thread = pthread_self();
    timer_make();
    press_count = 0;
    is_pending = 0;
    running_state = L;
    /* No SA_RESTART: a blocked read must return, so that the hook gets to run. */
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, &action_before);
}

bool interrupt_end(lua_State *L)
{
    if (running_state == NULL)
        return false;
    is_pending = 0;
    ticks_set(false); /* while the handler is there: SIGINT may end the process again behind it */
    (void)sigaction(SIGINT, &action_before, NULL);
    running_state = NULL;
    is_pending = 0;
    if (lua_gethook(L) == on_hook)
        lua_sethook(L, NULL, 0, 0);
    return press_count > 0;
}

/* A handler rather than SIG_IGN, which other programs would inherit. */
static void on_late_signal(int signal_number)
{
    (void)signal_number;
    has_come_late = 1;
}

void interrupt_hold(void)
{
    struct sigaction action = { .sa_handler = on_late_signal };

    has_come_late = 0;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, &action_held);
}

void interrupt_release(void)
{
    (void)sigaction(SIGINT, &action_held, NULL);
}

bool interrupt_came_late(void)
{
    const bool has_come = has_come_late;

    has_come_late = 0;
    return has_come;
}

bool interrupt_was_pressed(void)
{
    return press_count > 0;
}
