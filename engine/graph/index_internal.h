/* SPDX-License-Identifier: MIT */
/* What the files of graph/ that know rules share.
 *
 * A write asks for the rules of its labels or type, plans what it does to their indexes (and is
 * refused there, before it has written anything), writes, and carries the plan out.
 */
#ifndef GRAPH_INDEX_INTERNAL_H
#define GRAPH_INDEX_INTERNAL_H

#include "graph_internal.h"

/* ---- rules (rules.c) ------------------------------------------------------------------------ */

/* Ordered by is_edge, subject, id. Immutable. */
struct graph_rule_set {
    size_t references; /* under the graph's mutex */
    uint64_t version;
    size_t count;
    struct graph_rule rules[];
};

/* Sets txn->rules if it is not set; once a transaction, and after a change. */
sombra_err rules_load_slow(struct graph_txn *txn) SOMBRA_MUST_CHECK;
static inline sombra_err rules_load(struct graph_txn *txn)
{
    return LIKELY(txn->rules != NULL) ? SOMBRA_OK : rules_load_slow(txn);
}
void rules_unload(struct graph_txn *txn);
/* The same at the end of a transaction; a reader keeps them for the next one of the same handle:
 * what it sees has the same rules if the store says that it is the same. */
void rules_keep(struct graph_txn *txn);
void rules_take_kept(struct graph_txn *txn);
/* Of a transaction that is over: nothing is kept any more. */
void rules_forget(struct graph_txn *txn);
void rules_release(struct graph *graph);
/* A rollback may have undone changes of the rules. */
sombra_err rules_rolled_back(struct graph_txn *txn) SOMBRA_MUST_CHECK;
/* By id; NULL. */
const struct graph_rule *rules_by_id(const struct graph_txn *txn, uint64_t id);
/* A definition. CORRUPT. */
sombra_err rule_read(sombra_slice key, sombra_slice value,
                     struct graph_rule *out_rule) SOMBRA_MUST_CHECK;
/* Writes the definition, under the version that this change makes if its id is 0. */
sombra_err rule_write(struct graph_txn *txn, struct graph_rule *rule) SOMBRA_MUST_CHECK;
static inline bool rule_is_index(const struct graph_rule *rule)
{
    return rule->kind == SOMBRA_RULE_INDEX || rule->kind == SOMBRA_RULE_UNIQUE;
}
/* "Person (name, email)", into `to`; returns it. */
enum { RULE_TEXT_BYTES = 160 };
const char *rule_text(struct graph_txn *txn, const struct graph_rule *rule,
                      char to[RULE_TEXT_BYTES]);

/* Writers: the rules of a subject, which are loaded. */
void rules_of(const struct graph_txn *txn, bool is_edge, uint32_t subject,
              const struct graph_rule **out_rules, size_t *out_count);

/* ---- changes for triggers (trigger.c) --------------------------------------------------- */

/* Notes what a write is about to do, for a trigger that wants to hear of it. */
sombra_err change_note(struct graph_txn *txn, const struct graph_rule *trigger, uint64_t id,
                       const sombra_record *before, const sombra_record *after) SOMBRA_MUST_CHECK;
/* How many there are, and back to so many: the write was refused, or rolled back. */
size_t changes_count(const struct graph_txn *txn);
void changes_cut(struct graph_txn *txn, size_t count);
void changes_free(struct graph_changes *changes);

/* ---- keys of index entries (index_key.c) ---------------------------------------------------- */

/* Appends one encoded value in the form whose order of bytes is the order of values. */
sombra_err index_append(struct buf *to, sombra_slice encoded) SOMBRA_MUST_CHECK;
/* Appends the beginning of all strings that begin with `prefix`. */
sombra_err index_append_prefix(struct buf *to, sombra_slice prefix) SOMBRA_MUST_CHECK;

enum index_membership {
    INDEX_OUTSIDE,  /* the first property is missing */
    INDEX_PARTIAL,  /* a later one is */
    INDEX_COMPLETE, /* none is */
};
/* A decoded value, whole. */
sombra_err index_append_value(struct buf *to, const sombra_value *value) SOMBRA_MUST_CHECK;
/* The same of a string; and of an integer, to `at`, which has room for INDEX_NUMBER_BYTES_MAX:
 * returns its end. */
enum { INDEX_NUMBER_BYTES_MAX = 1 + 8 + 8 };
sombra_err index_append_string(struct buf *to, sombra_slice string) SOMBRA_MUST_CHECK;
uint8_t *index_put_integer(uint8_t *at, int64_t integer);
/* Appends the values of a record under an index; what was appended is of no use if it is outside,
 * or after a failure. */
sombra_err index_append_values(const struct graph_rule *index, const sombra_record *record,
                               struct buf *to,
                               enum index_membership *out_membership) SOMBRA_MUST_CHECK;
/* Sets `to` to them. */
sombra_err index_values(const struct graph_rule *index, const sombra_record *record, struct buf *to,
                        enum index_membership *out_membership) SOMBRA_MUST_CHECK;

struct index_key {
    size_t length; /* bytes */
    uint8_t bytes[INDEX_KEY_BYTES_MAX];
};
static inline sombra_slice index_key_slice(const struct index_key *key)
{
    return slice_of(key->bytes, key->length);
}
static inline struct graph_key key_of_index(uint32_t rule)
{
    return key_1(TAG_INDEX, rule);
}
/* The key of an entry. */
void index_key_of(uint32_t rule, sombra_slice values, uint64_t id, struct index_key *out);
/* The same at `at`, which has room for INDEX_KEY_BYTES_MAX. Returns where it ends. */
uint8_t *index_key_put(uint8_t *at, uint32_t rule, sombra_slice values, uint64_t id);
/* What the keys of all entries with these values begin with. If the values are cut, others may
 * begin so, too. */
void index_key_values(uint32_t rule, sombra_slice values, struct index_key *out);

struct index_entry {
    uint64_t id;
    bool is_cut;
    sombra_slice values; /* as far as the key has them */
};
/* A whole key, behind tag and rule. CORRUPT. */
sombra_err index_entry_read(sombra_slice key, size_t prefix_bytes,
                            struct index_entry *out_entry) SOMBRA_MUST_CHECK;

/* ---- reading (index_scan.c) ----------------------------------------------------------------- */

/* As graph_index_open, for the members whose values, all of the index's, are these bytes. */
sombra_err index_open_equal(struct graph_txn *txn, const struct graph_rule *index,
                            sombra_slice values,
                            struct graph_index_scan **out_scan) SOMBRA_MUST_CHECK;

/* ---- changes (index.c) ---------------------------------------------------------------------- */

/* A node or edge before and after a write; NULL = it is not there. */
struct subject_change {
    bool is_edge;
    uint64_t id;
    uint32_t type; /* of an edge */
    const sombra_record *before, *after;
};
/* Checks constraints and notes what will change. UNIQUE, CONSTRAINT: then nothing is noted. */
sombra_err plan_change(struct graph_txn *txn,
                       const struct subject_change *change) SOMBRA_MUST_CHECK;
/* The same; txn->record is what is there after it. */
sombra_err plan_record(struct graph_txn *txn, struct subject_change change) SOMBRA_MUST_CHECK;
/* Puts txn->record in the place of the one whose bytes are txn->old (`before` of the change), and
 * carries out what follows from it. */
sombra_err plan_store_record(struct graph_txn *txn, const struct graph_key *key,
                             struct subject_change change) SOMBRA_MUST_CHECK;
/* Carries it out. A failure is for txn_break. */
sombra_err plan_apply(struct graph_txn *txn) SOMBRA_MUST_CHECK;
void plan_drop(struct graph_txn *txn);         /* nothing will change */
size_t plan_size(const struct graph_txn *txn); /* indexes that will change */
void plan_trim(struct graph_plan *plan);       /* what one huge value made grow is not kept */
void plan_free(struct graph_plan *plan);

/* Checks what is not an index: REQUIRED and KIND of `after`, as far as it differs from `before`. */
sombra_err constraint_check(struct graph_txn *txn, const struct graph_rule *rule, uint64_t id,
                            const sombra_record *before,
                            const sombra_record *after) SOMBRA_MUST_CHECK;
/* Another member with the same complete values; *out_other 0 = there is none. */
sombra_err unique_conflict(struct graph_txn *txn, const struct graph_rule *rule,
                           sombra_slice values, uint64_t id, uint64_t *out_other) SOMBRA_MUST_CHECK;
sombra_err unique_refuse(struct graph_txn *txn, const struct graph_rule *rule, uint64_t other);
/* The record of a member, as the store lends it; CORRUPT if there is none. */
sombra_err member_record(struct graph_txn *txn, bool is_edge, uint64_t id,
                         sombra_record *out_record) SOMBRA_MUST_CHECK;

/* ---- many entries at once (index_batch.c) --------------------------------------------------- */

/* Entries of one index, written in the order of their keys. */
struct index_batch {
    const struct graph_rule *rule;
    struct index_item *items;
    size_t count, capacity;
    struct buf values; /* of all items, one after the other */
};
/* Room for so many members: advice, they may be more. */
sombra_err index_batch_reserve(struct index_batch *batch, size_t count) SOMBRA_MUST_CHECK;
sombra_err index_batch_add(struct index_batch *batch, uint64_t id,
                           const sombra_record *record) SOMBRA_MUST_CHECK;
/* The same for a row of columns. */
sombra_err index_batch_add_row(struct index_batch *batch, uint64_t id,
                               const struct record_columns *columns, size_t row) SOMBRA_MUST_CHECK;
/* The same for all rows of columns, whose ids begin with `first`; the batch is empty. */
sombra_err index_batch_fill(struct index_batch *batch, uint64_t first,
                            const struct record_columns *columns, size_t count) SOMBRA_MUST_CHECK;
/* Gives the memory of one that was put to the next, if that has none yet. */
void index_batch_take_memory(struct index_batch *batch, struct index_batch *done);
/* Sorts them. UNIQUE, if two of them, or one of them and one that is stored, exclude each other. */
sombra_err index_batch_check(struct index_batch *batch, struct graph_txn *txn) SOMBRA_MUST_CHECK;
/* Puts what was checked, and forgets it. The run is empty, before and after. */
sombra_err index_batch_put(struct index_batch *batch, struct put_run *run) SOMBRA_MUST_CHECK;
void index_batch_release(struct index_batch *batch);

#endif
