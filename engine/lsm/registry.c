/* SPDX-License-Identifier: MIT */
/* The stores that this process has open, and who is opening or closing one.
 *
 * One directory is one store in a process, whatever its names. Opening and closing take long
 * (recovery, the last flush) and are done without the mutex: who does either has a claim to the
 * directory, and others who want the same wait for its end. Different directories do not meet.
 */
#include "write_internal.h"

#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t claim_ended = PTHREAD_COND_INITIALIZER;
static struct lsm *stores;
static struct lsm_claim *claims;

static bool is_same(const struct os_identity *a, const struct os_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

static bool is_claimed(const struct os *os, const struct os_identity *directory)
{
    for (const struct lsm_claim *at = claims; at; at = at->next)
        if (at->os == os && is_same(&at->directory, directory))
            return true;
    return false;
}

static void claim_add(struct lsm_claim *claim, struct os *os, const struct os_identity *directory)
{
    *claim = (struct lsm_claim){ .os = os, .directory = *directory, .next = claims };
    claims = claim;
}

sombra_err lsm_registry_claim(struct lsm_claim *claim, struct os *os,
                              const struct os_identity *directory, bool wants_write,
                              struct lsm **out_store)
{
    sombra_err err = SOMBRA_OK;
    pthread_mutex_lock(&mutex);
    while (is_claimed(os, directory))
        pthread_cond_wait(&claim_ended, &mutex);
    struct lsm *store = stores;
    while (store && !(store->os == os && is_same(&store->identity, directory)))
        store = store->next_open;
    if (!store)
        claim_add(claim, os, directory);
    else if (wants_write && store->options.is_readonly)
        err = diag_fail(SOMBRA_BUSY, "%s is open read-only in this process: close that first",
                        store->directory);
    else
        store->handles++;
    pthread_mutex_unlock(&mutex);
    if (!err)
        *out_store = store;
    return err;
}

void lsm_registry_end(struct lsm_claim *claim, struct lsm *opened)
{
    pthread_mutex_lock(&mutex);
    if (opened) {
        opened->next_open = stores;
        stores = opened;
    }
    struct lsm_claim **at = &claims;
    while (*at != claim)
        at = &(*at)->next;
    *at = claim->next;
    pthread_cond_broadcast(&claim_ended);
    pthread_mutex_unlock(&mutex);
}

/* The background has the turn for a moment when it marks the log of an idle store. */
enum { MARK_WAIT_MS = 200 };

sombra_err lsm_registry_begin_close(struct lsm *lsm, struct lsm_claim *claim, bool *out_is_last)
{
    sombra_err err = SOMBRA_OK;
    pthread_mutex_lock(&mutex);
    assert(lsm->handles > 0);
    *out_is_last = lsm->handles == 1;
    if (!*out_is_last) {
        lsm->handles--;
    } else if (lsm_turn_take(lsm, MARK_WAIT_MS) != SOMBRA_OK) {
        err = diag_fail(SOMBRA_BUSY, "%s has an open write transaction: end it first",
                        lsm->directory);
    } else if (atomic_load(&lsm->writer->stalled) > 0 || lsm_readers_count(lsm) > 0) {
        lsm_turn_give(lsm);
        err = diag_fail(SOMBRA_BUSY, "%s has open transactions: end them first", lsm->directory);
    } else {
        struct lsm **at = &stores;
        while (*at != lsm)
            at = &(*at)->next_open;
        *at = lsm->next_open;
        claim_add(claim, lsm->os, &lsm->identity);
    }
    pthread_mutex_unlock(&mutex);
    return err;
}

/* ---- fork -------------------------------------------------------------------------------- */

/* Nobody is half way through an open or a close, whose locks the child would keep. */
static void fork_prepare(void)
{
    pthread_mutex_lock(&mutex);
    while (claims)
        pthread_cond_wait(&claim_ended, &mutex);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The child has the parent's handles and none of its rights: they answer with an error from now on,
 * and the file that carries the parent's locks is closed, so that the locks end with the parent. */
static void fork_child(void)
{
    for (struct lsm *at = stores; at; at = at->next_open) {
        atomic_store(&at->is_forked, true);
        if (at->lock && at->os == os_posix()) {
            os_close(at->lock);
            at->lock = NULL;
        }
    }
    stores = NULL;
    claim_ended = (pthread_cond_t)PTHREAD_COND_INITIALIZER; /* threads that waited are not here */
    pthread_mutex_unlock(&mutex);
}

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_watch(void)
{
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

sombra_err lsm_registry_watch_fork(void)
{
    if (pthread_once(&fork_once, fork_watch) != 0)
        return diag_fail(SOMBRA_NOMEM, "out of memory: watching for fork()");
    return SOMBRA_OK;
}
