/* SPDX-License-Identifier: MIT */
/* The writer's turn: one word, taken by compare-and-swap, slept on as a futex when it is taken
 * (Drepper 2004, "Futexes are tricky", the second mutex), so that nobody in the way costs nothing.
 */
#include "write_internal.h"

enum { TURN_FREE, TURN_TAKEN, TURN_WAITED_FOR };

/* Names this thread: no two that live have one address. */
static uintptr_t thread_name(void)
{
    static _Thread_local char name;
    return (uintptr_t)&name;
}

static void turn_note(struct lsm_writer *writer)
{
    assert(atomic_load_explicit(&writer->turn_owner, memory_order_relaxed) == 0);
    atomic_store_explicit(&writer->turn_owner, thread_name(), memory_order_relaxed);
}

static sombra_err turn_wait(struct lsm_writer *writer, uint64_t timeout_ms, struct kv_wait *wait)
{
    uint64_t begun_ns = os_monotonic_ns(os_posix());
    /* Who waits leaves the word so that the next owner wakes another, also when there is none. */
    while (atomic_exchange(&writer->turn, TURN_WAITED_FOR) != TURN_FREE) {
        uint64_t now_ns = os_monotonic_ns(os_posix()), waited_ms = (now_ns - begun_ns) / 1000000;
        sombra_err err = kv_wait_ask(wait, now_ns);
        if (err)
            return err;
        if (waited_ms >= timeout_ms)
            return diag_fail(SOMBRA_BUSY,
                             "another write transaction was open for %" PRIu64 " ms (busy timeout)",
                             timeout_ms);
        uint64_t left_ms = timeout_ms == UINT64_MAX ? UINT64_MAX : timeout_ms - waited_ms;
        os_word_wait(&writer->turn, TURN_WAITED_FOR, kv_wait_nap_ms(wait, left_ms));
    }
    return SOMBRA_OK;
}

sombra_err lsm_turn_take_asking(struct lsm *lsm, uint64_t timeout_ms, struct kv_wait *wait)
{
    struct lsm_writer *writer = lsm->writer;
    uint32_t expected = TURN_FREE;
    if (UNLIKELY(!atomic_compare_exchange_strong(&writer->turn, &expected, TURN_TAKEN))) {
        /* Only this thread stores its own name, so it cannot come up meanwhile. */
        if (atomic_load_explicit(&writer->turn_owner, memory_order_relaxed) == thread_name())
            return diag_fail(SOMBRA_BUSY, "this thread has a write transaction open already: "
                                          "end it, or do the work inside it");
        sombra_err err = turn_wait(writer, timeout_ms, wait);
        if (err)
            return err;
    }
    turn_note(writer);
    return SOMBRA_OK;
}

sombra_err lsm_turn_take(struct lsm *lsm, uint64_t timeout_ms)
{
    return lsm_turn_take_asking(lsm, timeout_ms, &(struct kv_wait){ 0 });
}

sombra_err lsm_turn_take_for(struct lsm *lsm, const struct kv_maintenance *job)
{
    uint64_t now_ns = os_monotonic_ns(os_posix());
    struct kv_wait wait = kv_wait_begin(job, now_ns);
    return lsm_turn_take_asking(lsm, kv_wait_left_ms(&wait, now_ns), &wait);
}

void lsm_turn_give(struct lsm *lsm)
{
    struct lsm_writer *writer = lsm->writer;
    assert(atomic_load_explicit(&writer->turn_owner, memory_order_relaxed) != 0);
    atomic_store_explicit(&writer->turn_owner, 0, memory_order_relaxed);
    if (UNLIKELY(atomic_exchange(&writer->turn, TURN_FREE) == TURN_WAITED_FOR))
        os_word_wake(&writer->turn, 1);
}
