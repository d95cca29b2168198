/* SPDX-License-Identifier: MIT */
/* os_sim: simulated machines and their processes: life, death, faults, and the gate that every call
 * of a process passes. The calls themselves are in os_sim_calls.c and os_sim_names.c. */
#include "os_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SIM_CALL_NS = 1000 /* what a call takes */ };

struct sim_process *sim_process_of(struct os *os)
{
    assert(os->ops == &sim_ops);
    return container_of(os, struct sim_process, os);
}

/* ---- entering and leaving ---------------------------------------------------------------- */

void sim_lock_machine(struct os_sim *sim)
{
    int code = pthread_mutex_lock(&sim->mutex);
    assert(code == 0);
    (void)code;
}

void sim_unlock_machine(struct os_sim *sim)
{
    int code = pthread_mutex_unlock(&sim->mutex);
    assert(code == 0);
    (void)code;
}

int sim_leave(struct os_sim *sim, int result)
{
    sim_unlock_machine(sim);
    return result;
}

struct os_sim *sim_enter(struct os *os)
{
    struct os_sim *sim = sim_process_of(os)->sim;
    sim_lock_machine(sim);
    sim->now_ns += SIM_CALL_NS;
    return sim;
}

static void process_kill(struct sim_process *process)
{
    struct os_sim *sim = process->sim;
    if (process->is_dead)
        return;
    process->is_dead = true;
    for (size_t fd = 0; fd < sim->description_count; fd++) {
        if (sim->descriptions[fd].process == process)
            lock_drop_all(sim->descriptions[fd].inode, (int)fd);
    }
    for (size_t i = 0; i < sim->mapping_count; i++) {
        struct sim_mapping *mapping = &sim->mappings[i];
        if (mapping->process != process || !mapping->is_writable)
            continue;
        /* its threads may go on storing: from here on into copies of their own */
        void *address = mmap(mapping->address, mapping->bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, mapping->inode->memfd,
                             (off_t)mapping->offset);
        if (address == MAP_FAILED) {
            perror("os_sim: private mapping");
            abort();
        }
        mapping->is_private = true;
        inode_unmap_writable(&sim->disk, mapping->inode);
    }
}

/* Can this kind of fault strike that call? */
static bool fault_fits(enum os_sim_fault_kind kind, enum os_sim_call call)
{
    switch (kind) {
    case OS_SIM_EIO:
    case OS_SIM_EINTR:
        return true;
    case OS_SIM_ENOSPC:
        return call != OS_SIM_UNLINK && call != OS_SIM_PUNCH && call != OS_SIM_SYNC_DIRECTORY;
    case OS_SIM_SHORT:
        return call == OS_SIM_WRITE || call == OS_SIM_SYNC || call == OS_SIM_SYNC_DIRECTORY;
    }
    return false;
}

/* 0, -errno or SIM_FAULT_SHORT. */
static int fault_draw(struct os_sim *sim, enum os_sim_call call)
{
    struct os_sim_fault *fault = &sim->fault;
    if (fault->nth == 0 || (fault->calls != 0 && !(fault->calls & 1u << call)))
        return 0;
    if (fault->nth > 1) {
        fault->nth--;
        return 0;
    }
    enum os_sim_fault_kind kind = fault->kind;
    if (!fault->is_sticky)
        fault->nth = 0;
    if (!fault_fits(kind, call))
        return 0;
    sim->faults++;
    switch (kind) {
    case OS_SIM_EIO:
        return -EIO;
    case OS_SIM_ENOSPC:
        return -ENOSPC;
    case OS_SIM_EINTR:
        return -EINTR;
    case OS_SIM_SHORT:
        return SIM_FAULT_SHORT;
    }
    return 0;
}

struct os_sim *sim_enter_mutating(struct os *os, struct os_sim_event event, int *out_fault)
{
    struct sim_process *process = sim_process_of(os);
    struct os_sim *sim = sim_enter(os);
    if (!process->is_dead && process->stop_in > 0 && --process->stop_in == 0)
        process_kill(process);
    if (!process->is_dead) {
        event.process = os;
        event.number = ++sim->calls;
        os_sim_hook_fn hook = sim->hook;
        void *context = sim->hook_context;
        if (hook) {
            sim_unlock_machine(sim);
            hook(context, sim, &event);
            sim_lock_machine(sim);
        }
    }
    *out_fault = process->is_dead ? -EIO : fault_draw(sim, event.call);
    return sim;
}

void sim_mapping_remove(struct os_sim *sim, size_t index)
{
    struct sim_mapping mapping = sim->mappings[index];
    if (mapping.is_writable && !mapping.is_private)
        inode_unmap_writable(&sim->disk, mapping.inode);
    mapping.inode->opens--;
    sim->mappings[index] = sim->mappings[--sim->mapping_count];
    (void)munmap(mapping.address, mapping.bytes);
}

/* ---- machines and processes -------------------------------------------------------------- */

static struct os_sim *machine_new(const struct os_sim_options *options)
{
    struct os_sim *sim = sim_alloc(sizeof *sim);
    if (options)
        sim->options = *options;
    random_seed(&sim->random, sim->options.seed);
    int code = pthread_mutex_init(&sim->mutex, NULL);
    assert(code == 0);
    (void)code;
    return sim;
}

struct os_sim *os_sim_new(const struct os_sim_options *options)
{
    struct os_sim *sim = machine_new(options);
    disk_init(&sim->disk);
    return sim;
}

void os_sim_free(struct os_sim *sim)
{
    if (!sim)
        return;
    while (sim->mapping_count > 0)
        sim_mapping_remove(sim, sim->mapping_count - 1);
    for (size_t fd = 0; fd < sim->description_count; fd++)
        free(sim->descriptions[fd].path);
    while (sim->processes) {
        struct sim_process *next = sim->processes->next;
        free(sim->processes);
        sim->processes = next;
    }
    free(sim->descriptions);
    free(sim->mappings);
    disk_release(&sim->disk);
    (void)pthread_mutex_destroy(&sim->mutex);
    free(sim);
}

struct os *os_sim_start(struct os_sim *sim)
{
    struct sim_process *process = sim_alloc(sizeof *process);
    process->os.ops = &sim_ops;
    process->sim = sim;
    sim_lock_machine(sim);
    process->next = sim->processes;
    sim->processes = process;
    sim_unlock_machine(sim);
    return &process->os;
}

void os_sim_stop_at(struct os *os, uint64_t nth)
{
    struct sim_process *process = sim_process_of(os);
    sim_lock_machine(process->sim);
    process->stop_in = nth;
    sim_unlock_machine(process->sim);
}

void os_sim_kill(struct os *os)
{
    struct sim_process *process = sim_process_of(os);
    sim_lock_machine(process->sim);
    process_kill(process);
    sim_unlock_machine(process->sim);
}

bool os_sim_is_dead(struct os *os)
{
    struct sim_process *process = sim_process_of(os);
    sim_lock_machine(process->sim);
    bool is_dead = process->is_dead;
    sim_unlock_machine(process->sim);
    return is_dead;
}

struct os_sim *os_sim_crash(struct os_sim *sim, enum os_sim_variant variant, uint64_t seed)
{
    assert(variant < OS_SIM_VARIANTS);
    struct os_sim *after = machine_new(&sim->options);
    sim_lock_machine(sim);
    after->now_ns = sim->now_ns;
    after->random = sim->random;
    disk_crash(&sim->disk, variant, seed, &after->disk);
    sim_unlock_machine(sim);
    return after;
}

struct os_sim *os_sim_clone(struct os_sim *sim)
{
    struct os_sim *clone = machine_new(&sim->options);
    sim_lock_machine(sim);
    clone->now_ns = sim->now_ns;
    clone->random = sim->random;
    disk_clone(&sim->disk, &clone->disk);
    sim_unlock_machine(sim);
    return clone;
}

const char *os_sim_variant_name(enum os_sim_variant variant)
{
    static const char *const names[] = {
#define VARIANT_NAME(name, text) text,
        OS_SIM_VARIANT_LIST(VARIANT_NAME)
#undef VARIANT_NAME
    };
    assert(variant < OS_SIM_VARIANTS);
    return names[variant];
}

/* ---- watching, faults, rot --------------------------------------------------------------- */

const char *os_sim_call_name(enum os_sim_call call)
{
    static const char *const names[] = {
        [OS_SIM_CREATE] = "create",
        [OS_SIM_WRITE] = "write",
        [OS_SIM_SYNC] = "sync",
        [OS_SIM_TRUNCATE] = "truncate",
        [OS_SIM_ALLOCATE] = "allocate",
        [OS_SIM_PUNCH] = "punch",
        [OS_SIM_RENAME] = "rename",
        [OS_SIM_LINK] = "link",
        [OS_SIM_UNLINK] = "unlink",
        [OS_SIM_MAKE_DIRECTORY] = "make directory",
        [OS_SIM_SYNC_DIRECTORY] = "sync directory",
    };
    static_assert(COUNT_OF(names) == OS_SIM_CALLS, "one name for each call");
    assert(call < OS_SIM_CALLS);
    return names[call];
}

void os_sim_set_hook(struct os_sim *sim, os_sim_hook_fn hook, void *context)
{
    sim_lock_machine(sim);
    sim->hook = hook;
    sim->hook_context = context;
    sim_unlock_machine(sim);
}

uint64_t os_sim_calls(struct os_sim *sim)
{
    sim_lock_machine(sim);
    uint64_t calls = sim->calls;
    sim_unlock_machine(sim);
    return calls;
}

uint64_t os_sim_faults(struct os_sim *sim)
{
    sim_lock_machine(sim);
    uint64_t faults = sim->faults;
    sim_unlock_machine(sim);
    return faults;
}

uint64_t os_sim_unsynced(struct os_sim *sim)
{
    sim_lock_machine(sim);
    disk_scan(&sim->disk);
    uint64_t changes = 0;
    for (uint32_t i = 0; i < sim->disk.inode_count; i++)
        changes += sim->disk.inodes[i] ? sim->disk.inodes[i]->change_count : 0;
    sim_unlock_machine(sim);
    return changes;
}

void os_sim_fail(struct os_sim *sim, const struct os_sim_fault *fault)
{
    assert(!fault || fault->nth >= 1);
    assert(!fault || fault->kind != OS_SIM_EINTR || !fault->is_sticky);
    sim_lock_machine(sim);
    sim->fault = fault ? *fault : (struct os_sim_fault){ .nth = 0 };
    sim_unlock_machine(sim);
}

void os_sim_fail_at(struct os_sim *sim, uint64_t nth, enum os_sim_fault_kind kind, bool is_sticky)
{
    struct os_sim_fault fault = { .kind = kind, .nth = nth, .is_sticky = is_sticky };
    os_sim_fail(sim, nth ? &fault : NULL);
}

static struct sim_inode *file_at(struct os_sim *sim, const char *path)
{
    struct sim_inode *inode;
    if (disk_find(&sim->disk, path, &inode) < 0 || inode->is_directory)
        return NULL;
    return inode;
}

bool os_sim_flip(struct os_sim *sim, const char *path, uint64_t offset, uint8_t bits)
{
    sim_lock_machine(sim);
    struct sim_inode *inode = file_at(sim, path);
    bool is_there = inode && offset < inode->bytes;
    if (is_there)
        inode_flip(inode, offset, bits);
    sim_unlock_machine(sim);
    return is_there;
}

bool os_sim_break(struct os_sim *sim, const char *path, uint64_t offset, uint64_t bytes)
{
    sim_lock_machine(sim);
    struct sim_inode *inode = file_at(sim, path);
    if (inode) {
        inode->bad_offset = offset;
        inode->bad_bytes = bytes;
    }
    sim_unlock_machine(sim);
    return inode != NULL;
}
