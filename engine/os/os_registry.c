/* SPDX-License-Identifier: MIT */
/* os_registry: what this process has open, claims to open or close, and fork(). */
#include "os.h"

#include <assert.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t claim_ended = PTHREAD_COND_INITIALIZER;
static struct os_registered *entries;
static struct os_claim *claims;
_Atomic uint32_t os_fork_number;

/* ---- claims ------------------------------------------------------------------------------ */

static bool path_is_claimed(const struct os *os, const char *path)
{
    for (const struct os_claim *at = claims; at; at = at->next)
        if (at->os == os && at->path && strcmp(at->path, path) == 0)
            return true;
    return false;
}

static bool identity_is_claimed(const struct os_claim *by)
{
    for (const struct os_claim *at = claims; at; at = at->next)
        if (at != by && at->os == by->os && at->has_identity &&
            os_identity_is_same(&at->identity, &by->identity))
            return true;
    return false;
}

static void claim_add(struct os_claim *claim)
{
    claim->next = claims;
    claims = claim;
}

static void claim_remove(struct os_claim *claim)
{
    struct os_claim **at = &claims;
    while (*at != claim)
        at = &(*at)->next;
    *at = claim->next;
    pthread_cond_broadcast(&claim_ended);
}

void os_claim_begin(struct os_claim *claim, struct os *os, const char *path)
{
    assert(os);
    *claim = (struct os_claim){ .os = os, .path = path };
    pthread_mutex_lock(&mutex);
    while (path && path_is_claimed(os, path))
        pthread_cond_wait(&claim_ended, &mutex);
    claim_add(claim);
    pthread_mutex_unlock(&mutex);
}

static struct os_registered *entry_find(const struct os_claim *claim)
{
    struct os_registered *at = entries;
    while (at && !(at->os == claim->os && at->identity &&
                   os_identity_is_same(at->identity, &claim->identity) &&
                   !(at->is_gone && at->is_gone(at))))
        at = at->next;
    return at;
}

sombra_err os_claim_identity(struct os_claim *claim, const struct os_identity *identity,
                             bool wants_write, struct os_registered **out_entry, bool *out_waited)
{
    sombra_err err = SOMBRA_OK;
    pthread_mutex_lock(&mutex);
    claim->identity = *identity;
    claim->has_identity = false;
    *out_waited = identity_is_claimed(claim);
    while (identity_is_claimed(claim))
        pthread_cond_wait(&claim_ended, &mutex);
    claim->has_identity = !*out_waited;
    struct os_registered *found = *out_waited ? NULL : entry_find(claim);
    if (found && wants_write && found->is_readonly)
        err = diag_fail(SOMBRA_BUSY, "%s is open read-only in this process: close that first",
                        found->path);
    else if (found)
        found->handles++;
    pthread_mutex_unlock(&mutex);
    if (!err)
        *out_entry = found;
    return err;
}

void os_claim_end(struct os_claim *claim, struct os_registered *opened)
{
    pthread_mutex_lock(&mutex);
    if (opened) {
        opened->handles = 1;
        opened->next = entries;
        entries = opened;
    }
    if (claim)
        claim_remove(claim);
    pthread_mutex_unlock(&mutex);
}

static void entry_remove(struct os_registered *entry)
{
    struct os_registered **at = &entries;
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
}

sombra_err os_claim_close(struct os_claim *claim, struct os_registered *entry, bool *out_is_last)
{
    *claim = (struct os_claim){ .os = entry->os };
    if (entry->identity) {
        claim->identity = *entry->identity;
        claim->has_identity = true;
    }
    pthread_mutex_lock(&mutex);
    assert(entry->handles > 0);
    *out_is_last = entry->handles == 1;
    sombra_err err = *out_is_last ? entry->check_idle(entry) : SOMBRA_OK;
    if (!err && !*out_is_last) {
        entry->handles--;
    } else if (!err) {
        entry_remove(entry);
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

static void fork_child(void)
{
    atomic_fetch_add(&os_fork_number, 1);
    for (struct os_registered *at = entries; at; at = at->next)
        at->fork_child(at);
    entries = NULL;
    claim_ended = (pthread_cond_t)PTHREAD_COND_INITIALIZER; /* threads that waited are not here */
    pthread_mutex_unlock(&mutex);
}

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_watch(void)
{
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

sombra_err os_registry_watch_fork(void)
{
    if (pthread_once(&fork_once, fork_watch) != 0)
        return diag_fail(SOMBRA_NOMEM, "out of memory: watching for fork()");
    return SOMBRA_OK;
}
