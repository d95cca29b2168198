/* SPDX-License-Identifier: MIT */
/* The stores that this process has open, and who is opening or closing one.
 *
 * One file is one store in a process, whatever its names. Opening and closing take long (recovery,
 * the last checkpoint) and are done without the mutex: who does either has a claim to the path and,
 * once it is known, to the file. Others who want the same wait for that claim; who waits for a file
 * has none itself, so that nobody waits in circles. Opens of different files do not meet.
 */
#include "btree_internal.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t claim_ended = PTHREAD_COND_INITIALIZER;
static struct btree *stores;
static struct registry_claim *claims;

/* ---- claims ------------------------------------------------------------------------------ */

static bool is_same_file(const struct os_identity *a, const struct os_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

static bool path_is_claimed(const struct os *os, const char *path)
{
    for (const struct registry_claim *at = claims; at; at = at->next)
        if (at->os == os && at->path && strcmp(at->path, path) == 0)
            return true;
    return false;
}

static bool file_is_claimed(const struct registry_claim *by)
{
    for (const struct registry_claim *at = claims; at; at = at->next)
        if (at != by && at->os == by->os && at->has_file && is_same_file(&at->file, &by->file))
            return true;
    return false;
}

static void claim_add(struct registry_claim *claim)
{
    claim->next = claims;
    claims = claim;
}

void registry_claim_path(struct registry_claim *claim, struct os *os, const char *path)
{
    assert(os && path);
    *claim = (struct registry_claim){ .os = os, .path = path };
    pthread_mutex_lock(&mutex);
    while (path_is_claimed(os, path))
        pthread_cond_wait(&claim_ended, &mutex);
    claim_add(claim);
    pthread_mutex_unlock(&mutex);
}

static struct btree *store_find(const struct registry_claim *claim)
{
    for (struct btree *at = stores; at; at = at->next_open)
        if (at->os == claim->os && at->file && is_same_file(&at->identity, &claim->file))
            return at;
    return NULL;
}

sombra_err registry_claim_file(struct registry_claim *claim, const struct os_identity *file,
                               bool wants_write, struct btree **out_store, bool *out_waited)
{
    sombra_err err = SOMBRA_OK;
    pthread_mutex_lock(&mutex);
    claim->file = *file;
    claim->has_file = false;
    *out_waited = file_is_claimed(claim);
    while (file_is_claimed(claim))
        pthread_cond_wait(&claim_ended, &mutex);
    claim->has_file = !*out_waited;
    struct btree *store = *out_waited ? NULL : store_find(claim);
    if (store && wants_write && store->options.is_readonly)
        err = diag_fail(SOMBRA_BUSY, "%s is open read-only in this process: close that first",
                        claim->path);
    else if (store)
        store->references++;
    pthread_mutex_unlock(&mutex);
    if (!err)
        *out_store = store;
    return err;
}

static void claim_remove(struct registry_claim *claim)
{
    struct registry_claim **at = &claims;
    while (*at != claim)
        at = &(*at)->next;
    *at = claim->next;
    pthread_cond_broadcast(&claim_ended);
}

void registry_end(struct registry_claim *claim, struct btree *opened)
{
    pthread_mutex_lock(&mutex);
    if (opened) {
        opened->next_open = stores;
        stores = opened;
    }
    if (claim)
        claim_remove(claim);
    pthread_mutex_unlock(&mutex);
}

sombra_err registry_begin_close(struct btree *btree, struct registry_claim *claim,
                                bool *out_is_last)
{
    sombra_err err = SOMBRA_OK;
    *claim = (struct registry_claim){
        .os = btree->os, .path = btree->path, .file = btree->identity, .has_file = btree->file
    };
    pthread_mutex_lock(&mutex);
    *out_is_last = btree->references == 1;
    if (!*out_is_last) {
        btree->references--;
    } else if (atomic_load(&btree->transactions_open) > 0) {
        err = diag_fail(SOMBRA_BUSY, "%s has open transactions: end them first",
                        btree->path ? btree->path : BTREE_MEMORY);
    } else {
        struct btree **at = &stores;
        while (*at != btree)
            at = &(*at)->next_open;
        *at = btree->next_open;
        claim_add(claim);
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
 * and the files that carry the parent's locks are closed, so that the locks end with the parent.
 * Nothing reads them any more: the maps are not the child's either. */
static void fork_child(void)
{
    for (struct btree *at = stores; at; at = at->next_open) {
        atomic_store(&at->is_forked, 1);
        if (at->file && at->os == os_posix()) {
            os_close(at->attachment.file);
            os_close(at->file);
            at->attachment.file = at->file = NULL;
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

sombra_err registry_watch_fork(void)
{
    if (pthread_once(&fork_once, fork_watch) != 0)
        return diag_fail(SOMBRA_NOMEM, "out of memory: watching for fork()");
    return SOMBRA_OK;
}
