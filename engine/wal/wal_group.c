/* SPDX-License-Identifier: MIT */
/* wal_group: see the header. Round n is over when `ended` >= n. While nothing is being synced,
 * round ended + 1 gathers its members; while that is being synced, ended + 2 does. Rounds n and
 * n + 2 share a futex: all who sleep there for n are woken when n ends, and who is woken by the
 * other looks and sleeps again.
 */
#include "wal/wal.h"

#include <assert.h>

enum { PAUSE_MAX = 64 };

sombra_err wal_group_init(struct wal_group *group, const struct wal_group_ops *ops, void *context)
{
    assert(ops->durable_lsn && ops->newest_lsn && ops->check && ops->sync);
    *group = (struct wal_group){ .ops = ops, .context = context };
    return os_mutex_init(&group->mutex);
}

void wal_group_release(struct wal_group *group)
{
    assert(!group->is_syncing && group->members[0] == 0 && group->members[1] == 0);
    os_mutex_release(&group->mutex);
}

static bool is_durable(const struct wal_group *group, uint64_t lsn)
{
    return group->ops->durable_lsn(group->context) >= lsn;
}

static bool is_over(struct wal_group *group, uint64_t round)
{
    return atomic_load(&group->ended) >= round;
}

/* ---- under the mutex --------------------------------------------------------------------- */

static uint64_t round_join(struct wal_group *group, uint64_t lsn)
{
    uint64_t round = atomic_load(&group->ended) + 1;
    if (group->is_syncing && lsn > group->target_lsn)
        round++;
    group->members[round % 2]++;
    return round;
}

/* Nobody is waited for. */
static bool is_complete(const struct wal_group *group, uint64_t round)
{
    return group->company < 2 || group->pause || group->members[round % 2] >= group->company;
}

/* Is this thread to lead the round now? If not, how long may it sleep? The deadline is the
 * keeper's; 0 = it is not the keeper. */
static bool is_to_lead(struct wal_group *group, uint64_t round, uint64_t *deadline_ns,
                       uint64_t *out_sleep_ns)
{
    *out_sleep_ns = UINT64_MAX;
    if (group->is_syncing)
        return false;
    assert(round == atomic_load(&group->ended) + 1);
    if (is_complete(group, round))
        return true;
    if (!*deadline_ns && group->has_keeper)
        return false;
    uint64_t now_ns = os_monotonic_ns(os_posix());
    if (!*deadline_ns)
        *deadline_ns = now_ns + u64_min(group->sync_ns, WAL_GROUP_WAIT_NS_MAX);
    group->has_keeper = true;
    if (now_ns >= *deadline_ns)
        return true;
    *out_sleep_ns = *deadline_ns - now_ns;
    return false;
}

/* Was it worth waiting? Less than half of those who were waited for have come: no. */
static void pause_learn(struct wal_group *group, uint64_t round)
{
    if (group->company < 2)
        return;
    if (group->pause) {
        group->pause--;
    } else if (group->members[round % 2] - 1 < group->company / 2) {
        group->pause_next = (uint32_t)u64_min(group->pause_next * 2 + 1, PAUSE_MAX);
        group->pause = group->pause_next;
    } else {
        group->pause_next = 0;
    }
}

/* ---- rounds ------------------------------------------------------------------------------ */

/* With the mutex, which it takes again for the caller. */
static sombra_err round_sync(struct wal_group *group)
{
    group->is_syncing = true;
    group->has_keeper = false;
    group->target_lsn = group->ops->newest_lsn(group->context);
    os_mutex_unlock(&group->mutex);
    uint64_t begin_ns = os_monotonic_ns(os_posix());
    sombra_err err = group->ops->check(group->context);
    if (!err)
        err = group->ops->sync(group->context);
    uint64_t sync_ns = os_monotonic_ns(os_posix()) - begin_ns;
    os_mutex_lock(&group->mutex);
    group->is_syncing = false;
    group->sync_ns = sync_ns;
    return err;
}

/* With the mutex, which it gives back. */
static sombra_err round_lead(struct wal_group *group, uint64_t round)
{
    pause_learn(group, round);
    sombra_err err = round_sync(group);
    uint32_t others = group->members[round % 2] - 1;
    uint32_t next = group->members[(round + 1) % 2];
    group->company =
        err ? 0 : others + 1 + next; /* who finds out that it failed waits for nobody */
    group->members[round % 2] = 0;
    atomic_store(&group->ended, round);
    for (unsigned i = 0; i < COUNT_OF(group->words); i++)
        atomic_fetch_add(&group->words[i], 1);
    os_mutex_unlock(&group->mutex);
    if (others)
        os_own_word_wake(&group->words[round % 2], UINT32_MAX);
    if (next)
        os_own_word_wake(&group->words[(round + 1) % 2], 1);
    return err;
}

/* Until the round that the lsn belongs to is over; the error is of the sync that this thread led.
 */
static sombra_err round_attend(struct wal_group *group, uint64_t lsn)
{
    os_mutex_lock(&group->mutex);
    uint64_t round = round_join(group, lsn);
    uint64_t deadline_ns = 0, sleep_ns;
    while (!is_to_lead(group, round, &deadline_ns, &sleep_ns)) {
        _Atomic uint32_t *word = &group->words[round % 2];
        uint32_t seen = atomic_load(word);
        os_mutex_unlock(&group->mutex);
        os_own_word_wait(word, seen, sleep_ns);
        if (is_over(group, round))
            return SOMBRA_OK;
        os_mutex_lock(&group->mutex);
        if (is_over(group, round)) {
            os_mutex_unlock(&group->mutex);
            return SOMBRA_OK;
        }
    }
    return round_lead(group, round);
}

sombra_err wal_group_sync(struct wal_group *group, uint64_t lsn)
{
    sombra_err err = SOMBRA_OK;
    while (!err && !is_durable(group, lsn)) {
        err = group->ops->check(group->context);
        if (!err)
            err = round_attend(group, lsn);
    }
    return err;
}
