/* SPDX-License-Identifier: MIT */
/* The writer's turn: first among the threads of this process (the gate), then among processes (the
 * lock word `writer` in shared memory).
 *
 * Who comes to a free gate takes it, though others may be waking up for it: a turn handed over
 * costs a switch of threads, and a commit much less. But nobody is passed over more than
 * GATE_PASSES_MAX times while it is the first of those that wait: then the turn is not given free
 * but given to it. So who waits behind n others has its turn after at most (n + 1) *
 * (GATE_PASSES_MAX + 1) commits.
 *
 * Processes do the same as well as they can without a queue: when the lock was taken
 * GATE_PASSES_MAX times by who had not waited, while somebody did, the next one leaves it free for
 * a moment. One that waited and died is still counted among those that wait: who stood back in vain
 * stands back half as often, down to hardly ever.
 */
#include "btree_internal.h"

enum { PASSES_TOP = 1 << 20, STAND_BACK_STEP_US = 50, STAND_BACK_STEPS = 40 };

/* A thread that waits; on its stack, and in the list until it has the turn or gives up. */
struct gate_waiter {
    struct gate_waiter *next;
    pthread_t thread;
    _Atomic uint32_t wakes; /* the futex; raised with the mutex held */
    bool is_asleep;         /* since it was woken last */
    bool is_asking;         /* and not to be woken, nor given a turn */
    bool is_brief;
    bool has_turn; /* it was given */
};

/* ---- in this process --------------------------------------------------------------------- */

/* False: it is on its way already. */
static bool waiter_rouse(struct gate_waiter *waiter)
{
    if (!waiter || !waiter->is_asleep)
        return false;
    waiter->is_asleep = false;
    atomic_fetch_add(&waiter->wakes, 1);
    return true;
}

static void waiter_add(struct writer_gate *gate, struct gate_waiter *waiter)
{
    struct gate_waiter **link = &gate->waiters;
    while (*link)
        link = &(*link)->next;
    *link = waiter;
    gate->waiter_count++;
}

static void waiter_remove(struct writer_gate *gate, struct gate_waiter *waiter)
{
    struct gate_waiter **link = &gate->waiters;
    if (*link == waiter)
        gate->passes = 0;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    gate->waiter_count--;
}

/* With the mutex. The waiter that is to be woken without it, or NULL. */
static struct gate_waiter *turn_pass_on(struct writer_gate *gate)
{
    assert(gate->is_held);
    struct gate_waiter *first = gate->waiters;
    while (first && first->is_asking)
        first = first->next;
    if (first && gate->passes >= GATE_PASSES_MAX) {
        gate->owner = first->thread;
        gate->is_brief = first->is_brief;
        first->has_turn = true;
    } else {
        gate->is_held = false;
    }
    return waiter_rouse(first) ? first : NULL;
}

static void gate_open(struct btree *btree)
{
    struct writer_gate *gate = &btree->gate;
    os_mutex_lock(&gate->mutex);
    struct gate_waiter *roused = turn_pass_on(gate);
    os_mutex_unlock(&gate->mutex);
    /* Without the mutex, which it wants at once. It may have left meanwhile: then this wakes
     * nobody, or somebody who looks again. */
    if (roused)
        os_word_wake(&roused->wakes, 1);
}

sombra_err gate_wish_ask(const struct gate_wish *wish)
{
    return wish->wait ? kv_wait_ask(wish->wait, os_monotonic_ns(os_posix())) : SOMBRA_OK;
}

uint64_t gate_wish_nap_ms(const struct gate_wish *wish, uint64_t left_ms)
{
    return wish->wait ? kv_wait_nap_ms(wish->wait, left_ms) : left_ms;
}

static sombra_err gate_refuse(uint64_t timeout_ms)
{
    return diag_fail(SOMBRA_BUSY,
                     "another write transaction was open for %" PRIu64 " ms (busy timeout)",
                     timeout_ms);
}

/* With the mutex, which is given back meanwhile. Who is asked may take long about it, or say no:
 * until then a turn is another's, and it looks again before it sleeps. */
static sombra_err gate_ask(struct writer_gate *gate, const struct gate_wish *wish,
                           struct gate_waiter *self)
{
    self->is_asking = true;
    os_mutex_unlock(&gate->mutex);
    sombra_err err = gate_wish_ask(wish);
    os_mutex_lock(&gate->mutex);
    self->is_asking = false;
    return err;
}

/* With the mutex, which is given back while it sleeps or asks. */
static sombra_err gate_wait(struct writer_gate *gate, const struct gate_wish *wish)
{
    struct gate_waiter self = { .thread = pthread_self(), .is_brief = wish->is_brief };
    uint64_t timeout_ms = wish->timeout_ms, now_ns = os_monotonic_ns(os_posix());
    uint64_t deadline_ns =
        timeout_ms > UINT64_MAX / 2000000 ? UINT64_MAX : now_ns + timeout_ms * 1000000;
    sombra_err err = SOMBRA_OK;
    waiter_add(gate, &self);
    while (gate->is_held && !self.has_turn) {
        now_ns = os_monotonic_ns(os_posix());
        if (now_ns >= deadline_ns && !gate->is_brief) {
            err = gate_refuse(timeout_ms);
            break;
        }
        if (wish->wait) {
            err = gate_ask(gate, wish, &self);
            if (err || !gate->is_held)
                break;
        }
        uint64_t left_ms = 1;
        if (now_ns < deadline_ns)
            left_ms = deadline_ns == UINT64_MAX ? UINT64_MAX : (deadline_ns - now_ns) / 1000000 + 1;
        uint32_t wakes = atomic_load(&self.wakes);
        self.is_asleep = true;
        os_mutex_unlock(&gate->mutex);
        os_word_wait(&self.wakes, wakes, gate_wish_nap_ms(wish, left_ms));
        os_mutex_lock(&gate->mutex);
    }
    assert(!err || !self.has_turn);
    waiter_remove(gate, &self);
    return err;
}

/* With the gate's mutex. */
static bool is_held_by_self(const struct writer_gate *gate)
{
    return gate->is_held && pthread_equal(gate->owner, pthread_self());
}

static sombra_err gate_close(struct writer_gate *gate, const struct gate_wish *wish)
{
    sombra_err err = SOMBRA_OK;
    os_mutex_lock(&gate->mutex);
    if (is_held_by_self(gate))
        err = diag_fail(SOMBRA_BUSY, "this thread has a write transaction open already: "
                                     "end it, or do the work inside it");
    else if (gate->is_held)
        err = gate_wait(gate, wish);
    else
        gate->passes += gate->waiters != NULL;
    if (!err) {
        gate->is_held = true;
        gate->is_brief = wish->is_brief;
        gate->owner = pthread_self();
    }
    os_mutex_unlock(&gate->mutex);
    return err;
}

/* ---- among processes --------------------------------------------------------------------- */

/* Before the word is tried. Others may take it meanwhile, which have not waited either: they count
 * as well. */
static void stand_back(struct btree *btree)
{
    struct head *head = btree->head;
    unsigned patience = btree->gate.patience;
    if (LIKELY(atomic_load_explicit(&head->writer_passes, memory_order_relaxed) < patience) ||
        atomic_load(&head->writer.waiters) == 0)
        return;
    for (int i = 0; i < STAND_BACK_STEPS; i++) {
        os_word_wake(&head->writer.sequence, 1);
        os_sleep_us(os_posix(), STAND_BACK_STEP_US);
        if (atomic_load(&head->writer_passes) < patience) {
            btree->gate.patience = GATE_PASSES_MAX;
            return;
        }
    }
    btree->gate.patience = patience >= PASSES_TOP ? PASSES_TOP : patience * 2;
    atomic_store(&head->writer_passes, 0);
}

static sombra_err processes_enter(struct btree *btree, const struct gate_wish *wish,
                                  owner_word *out_dead)
{
    struct head *head = btree->head;
    bool has_waited = false;
    if (wish->timeout_ms)
        stand_back(btree);
    sombra_err err = shared_lock_enter(btree, &head->writer, wish, out_dead, &has_waited);
    if (err)
        return err;
    if (has_waited)
        atomic_store(&head->writer_passes, 0);
    else if (UNLIKELY(atomic_load_explicit(&head->writer.waiters, memory_order_relaxed)))
        atomic_fetch_add(&head->writer_passes, 1);
    return SOMBRA_OK;
}

/* ---- both -------------------------------------------------------------------------------- */

sombra_err gate_init(struct writer_gate *gate)
{
    *gate = (struct writer_gate){ .patience = GATE_PASSES_MAX };
    return os_mutex_init(&gate->mutex);
}

void gate_release(struct writer_gate *gate)
{
    assert(!gate->is_held && !gate->waiters);
    os_mutex_release(&gate->mutex);
}

sombra_err gate_enter_as(struct btree *btree, const struct gate_wish *wish, owner_word *out_dead)
{
    sombra_err err = gate_close(&btree->gate, wish);
    if (err)
        return err;
    err = processes_enter(btree, wish, out_dead);
    if (err)
        gate_open(btree);
    else if (wish->is_brief)
        atomic_store(&btree->head->writer_is_brief, 1);
    return err;
}

bool gate_is_held_long(struct btree *btree)
{
    struct writer_gate *gate = &btree->gate;
    os_mutex_lock(&gate->mutex);
    bool is_held_long = gate->is_held && !gate->is_brief;
    os_mutex_unlock(&gate->mutex);
    return is_held_long;
}

sombra_err gate_enter(struct btree *btree, uint64_t timeout_ms, owner_word *out_dead)
{
    return gate_enter_as(btree, &(struct gate_wish){ .timeout_ms = timeout_ms }, out_dead);
}

sombra_err gate_enter_brief(struct btree *btree, uint64_t timeout_ms, owner_word *out_dead)
{
    return gate_enter_as(btree, &(struct gate_wish){ .timeout_ms = timeout_ms, .is_brief = true },
                         out_dead);
}

void gate_leave(struct btree *btree)
{
    atomic_store_explicit(&btree->head->writer_is_brief, 0, memory_order_relaxed);
    shared_lock_leave(&btree->head->writer);
    gate_open(btree);
}
