/* SPDX-License-Identifier: MIT */
/* version: which tables make up the store at one moment, immutable and counted.
 *
 * A version is a list of runs, newest first; a run is a list of tables, sorted and disjoint. What a
 * newer run says of a key hides the older ones. A run carries its level: 0 for what flushes wrote
 * (and for all runs of the tiered style), 1 ... LSM_LEVELS - 1 with at most one run each. Runs of
 * level 0 have a run number, greater = newer; level 0 comes before level 1, that before 2, ...
 *
 * An edit makes the next version of one; the manifest keeps edits. A table file is unlinked
 * when no version that anybody holds (views here, readers in other processes by their lock)
 * has it, and never because a directory listing shows it.
 *
 * Ownership: versions share `struct version_table`s, which open their table lazily and keep it open
 * or leave that to the table cache (at most tables_open_max files are open; the least recently used
 * unreferenced ones are closed).
 * Threads: a version is read by any; refs are atomic.
 */
#ifndef LSM_VERSION_H
#define LSM_VERSION_H

#include "lsm.h"
#include "lsm/table/table.h"

struct table_cache; /* open tables of a store: version.c */

struct version_table {
    struct table_meta meta; /* low and end are this struct's own copies */
    _Atomic uint32_t refs;
    _Atomic bool is_obsolete;   /* no newer version has it */
    _Atomic bool is_compacting; /* input of a running compaction; under lsm->mutex */
    uint64_t made_in;           /* the version number that it came with; 0 = not known any more */
    uint64_t obsolete_since;    /* the version number that dropped it */
    struct table_cache *cache;
    _Atomic(struct table *) table; /* open, or NULL; managed by the table cache */
    _Atomic uint32_t entering;     /* threads between reading `table` and holding a reference */
    _Atomic uint32_t used;         /* clock bit */
    size_t place;                  /* in the cache's ring while open; the cache's mutex */
};

struct version_run {
    unsigned level;
    uint64_t number; /* level 0; else 0 */
    struct version_table **tables;
    _Atomic(struct table *) *held; /* open ones that the version keeps referenced, or NULL each;
                                      NULL = it keeps none */
    size_t count;
    uint64_t bytes;  /* of its files */
    bool has_ranges; /* some table hides ranges */
};

struct version {
    _Atomic uint32_t refs;
    uint64_t number; /* = number of edits since the store was made */
    struct version_run *runs;
    size_t count;
};

void version_ref(struct version *version);
void version_unref(struct version *version); /* NULL is a no-op */

/* First table of the run whose end is > `key`, or count. */
size_t version_run_find(const struct version_run *run, sombra_slice key);
/* An open table, referenced (table_unref). Opens it if needed, without any lock held while reading.
 */
sombra_err version_table_open(struct version_table *table,
                              struct table **out_table) SOMBRA_MUST_CHECK;
/* Table `at` of a run, open for as long as the version is kept, or until table_unref(*out_owned),
 * which may be NULL: a version of few tables keeps them open once they were asked for, so that a
 * lookup counts no references. */
sombra_err version_table_borrow(const struct version_run *run, size_t at, struct table **out_table,
                                struct table **out_owned) SOMBRA_MUST_CHECK;
/* The source of a run, tables opened as the position reaches them. The version must be kept. */
sombra_err version_run_source(const struct version_run *run, bool fill_cache,
                              struct source **out_source) SOMBRA_MUST_CHECK;
/* The same over some tables of a run, first <= i < first + count. */
sombra_err version_tables_source(struct version_table *const *tables, size_t count, bool fill_cache,
                                 struct source **out_source) SOMBRA_MUST_CHECK;
/* The table of this number and where it stands (either may be NULL); false if the version lacks it.
 */
bool version_find(const struct version *version, uint64_t number, struct version_table **out_table,
                  unsigned *out_level);
/* Bytes, tables, entries by level, for stats and the policy. */
void version_levels(const struct version *version, struct kv_level_stats level[KV_LEVELS_MAX]);

/* ---- edits ------------------------------------------------------------------------------- */

struct edit_table {
    unsigned level;
    uint64_t run; /* run number; 0 but in level 0 */
    struct table_meta meta;
};
/* What one job changes. All of it holds at once, or nothing. */
struct edit {
    struct edit_table *added;
    size_t added_count;
    uint64_t *removed; /* numbers of tables */
    size_t removed_count;
    uint64_t log_seq; /* 0 = unchanged; logs that begin before this commit number are no longer
                         needed */
    uint64_t seq;     /* newest commit that the tables have */
    bool begins_log;  /* the log of log_seq is in use from now on: not closed any more */
};
/* *out_version (refs = 1) has number old->number + 1. New tables are kept in `cache`. CORRUPT where
 * the edit contradicts the version: removes what is not there, overlaps in a run. A number that is
 * both removed and added moves: the table is the same, its meta must be. */
sombra_err version_apply(const struct version *old, struct table_cache *cache,
                         const struct edit *edit, struct version **out_version) SOMBRA_MUST_CHECK;
sombra_err version_empty(struct table_cache *cache, uint64_t number,
                         struct version **out_version) SOMBRA_MUST_CHECK;

/* ---- table cache ------------------------------------------------------------------------- */

/* `directory` is kept by reference. */
sombra_err table_cache_new(const struct table_context *context, const char *directory,
                           unsigned open_max, struct table_cache **out_cache) SOMBRA_MUST_CHECK;
void table_cache_free(struct table_cache *cache); /* NULL is a no-op; no version may be left */
size_t table_cache_memory_bytes(struct table_cache *cache);
size_t table_cache_open_count(struct table_cache *cache);
unsigned table_cache_open_max(const struct table_cache *cache);
/* Closes what the cache holds of a table that no version has any more. */
void table_cache_forget(struct version_table *table);
/* Called when the last reference to an obsolete table went: its file may be unlinked now (any
 * thread, no lock held). */
void table_cache_on_obsolete(struct table_cache *cache,
                             void (*obsolete)(void *context, const struct version_table *table),
                             void *context);
/* Says so of an obsolete table. */
void table_cache_tell_obsolete(const struct version_table *table);

#endif
