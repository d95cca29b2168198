/* SPDX-License-Identifier: MIT */
/* What this process has open, and who is opening or closing one of these things.
 *
 * One file or directory is open once in a process, whatever its names: a second open gets the first
 * one. Opening and closing take long (recovery, a last checkpoint) and are done without the
 * registry's mutex: who does either has a claim to the path and, once it is known, to the identity.
 * Others who want the same wait for that claim; who waits for an identity has no claim to one, so
 * that nobody waits in circles. Opens of different things do not meet.
 *
 * fork() waits until nobody has a claim; in the child each thing is told, and the registry is
 * empty.
 *
 * Any thread may call everything here. A part of os.h. */
#ifndef SOMBRA_OS_REGISTRY_H
#define SOMBRA_OS_REGISTRY_H

/* Embedded in what is open, and filled in before os_claim_end registers it. */
struct os_registered {
    struct os *os;
    const char *path;                   /* for errors */
    const struct os_identity *identity; /* NULL: in memory only, so that no other open finds it */
    bool is_readonly;
    /* Before the last handle goes: BUSY while something in it is in use. The registry's mutex is
     * held: wait for little. */
    sombra_err (*check_idle)(struct os_registered *entry);
    /* Has something else its identity by now? Then no open finds it. NULL: that cannot be, for it
     * holds the file open. The registry's mutex is held. */
    bool (*is_gone)(struct os_registered *entry);
    /* In the child of a fork: the handles answer with an error from now on, and what carries the
     * parent's locks is closed. */
    void (*fork_child)(struct os_registered *entry);
    unsigned handles;           /* the registry's */
    struct os_registered *next; /* the registry's */
};

/* Of who opens or closes; on its stack. What was begun is ended by os_claim_end, whatever fails. */
struct os_claim {
    struct os *os;
    const char *path; /* NULL: to no path */
    struct os_identity identity;
    bool has_identity;
    struct os_claim *next;
};

/* Rises in each child of a fork: what was made under another number is the parent's. */
extern _Atomic uint32_t os_fork_number;
static inline bool os_is_inherited(uint32_t made_under)
{
    return made_under != atomic_load_explicit(&os_fork_number, memory_order_relaxed);
}

/* NOMEM. Before the first claim. */
sombra_err os_registry_watch_fork(void) SOMBRA_MUST_CHECK;
/* Waits until nobody else has a claim to the path, which must outlive this one; with NULL it is a
 * claim to no path. */
void os_claim_begin(struct os_claim *claim, struct os *os, const char *path);
/* The claim is for that identity as well. *out_entry is what is open of it, with one handle more,
 * or NULL. *out_waited: another claim to the identity has ended meanwhile, look at the path again;
 * this claim is not to the identity then. BUSY: it is open read-only, and that is not enough. */
sombra_err os_claim_identity(struct os_claim *claim, const struct os_identity *identity,
                             bool wants_write, struct os_registered **out_entry,
                             bool *out_waited) SOMBRA_MUST_CHECK;
/* `opened`, if any, is open for others too from now on; the claim, if any, is over. */
void os_claim_end(struct os_claim *claim, struct os_registered *opened);
/* One handle less. *out_is_last: it was the last one, others find it no more, and the caller, who
 * closes it, has a claim to its identity. Fails with what check_idle says; nothing has changed. */
sombra_err os_claim_close(struct os_claim *claim, struct os_registered *entry,
                          bool *out_is_last) SOMBRA_MUST_CHECK;

#endif
