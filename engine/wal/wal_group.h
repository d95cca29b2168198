/* SPDX-License-Identifier: MIT */
/* wal_group: one sync of the log for all threads that wait for one (group commit: DeWitt et al.
 * 1984, "Implementation techniques for main memory database systems"; LevelDB's queue of writers).
 *
 * Syncs are counted as rounds. Who wants an lsn durable is a member of the round that is being
 * synced, if that covers the lsn, or else of the next, and sleeps until that round has ended. A
 * member leads the next round, which is to call the sync, as soon as
 *
 *   - nothing is being synced, and
 *   - as many are members as wanted a sync when the last one ended (the company): they are likely
 * to be back at once with the next commit, and one sync for all of them spares the others. Nobody
 *     waits for them longer than the last sync took, nor than WAL_GROUP_WAIT_NS_MAX; one thread
 *     alone never waits; and after a wait in vain some rounds go without, more each time.
 *
 * So the last of the company to come leads, while all others sleep: the first of them, the keeper,
 * with a time limit. The end of a round wakes all its members by one word, and they leave without a
 * lock; of the members of the next, one is woken to look whether to lead.
 *
 * Units: nanoseconds of the real monotonic clock (no machine is simulated in its threads).
 * Threads: wal_group_sync from any; init and release from one, with nobody inside.
 * Failure: who led gets what the sync returned. The others find their lsn not durable and ask
 * `check`, which fails after a failed sync, in each thread with a text of its own; where it does
 * not (the sync could not begin), they go on with the next round.
 */
#ifndef WAL_GROUP_H
#define WAL_GROUP_H

#include "os/os.h"

enum { WAL_GROUP_WAIT_NS_MAX = 500000 };

/* What the log's owner does for the group; `context` is its own. */
struct wal_group_ops {
    uint64_t (*durable_lsn)(void *context); /* from any thread; it only rises */
    /* The newest lsn that a sync covers which begins now. Under the group's mutex: brief. */
    uint64_t (*newest_lsn)(void *context);
    /* Fails where nothing may be synced any more. From any thread. */
    sombra_err (*check)(void *context);
    /* Makes all up to newest_lsn durable and raises durable_lsn, or fails. One at a time. */
    sombra_err (*sync)(void *context);
};

struct wal_group {
    const struct wal_group_ops *ops;
    void *context;
    struct os_mutex mutex; /* guards all below; not held while anybody sleeps or syncs */
    uint64_t target_lsn;   /* covered by the sync that is running */
    uint64_t sync_ns;      /* how long the last one took */
    uint32_t members[2];   /* of round n at n % 2: there are the one that runs and the next */
    uint32_t company;      /* members of both when the last sync ended */
    uint32_t pause;        /* rounds to lead without waiting for company */
    uint32_t pause_next;   /* the last of those pauses; 0 = the last wait was not in vain */
    bool is_syncing;
    bool has_keeper;           /* the next round */
    _Atomic uint64_t ended;    /* rounds; read without the mutex too, as are */
    _Atomic uint32_t words[2]; /* the futexes of round n at n % 2: raised when a round ends */
};

sombra_err wal_group_init(struct wal_group *group, const struct wal_group_ops *ops,
                          void *context) SOMBRA_MUST_CHECK;
void wal_group_release(struct wal_group *group);
/* All up to `lsn`, which has been appended, is durable when it returns OK. */
sombra_err wal_group_sync(struct wal_group *group, uint64_t lsn) SOMBRA_MUST_CHECK;

#endif
