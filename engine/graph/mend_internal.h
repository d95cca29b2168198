/* SPDX-License-Identifier: MIT */
/* What the files that mend a graph share: walks over one snapshot, with a writer beside it. */
#ifndef GRAPH_MEND_INTERNAL_H
#define GRAPH_MEND_INTERNAL_H

#include "graph_internal.h"

/* Who has an id above it names nothing: ids of names are dense, and a damaged one must not ask for
 * memory without bound. */
enum { MEND_NAMES_MAX = 1 << 20 };

/* The names of a kind by id; an empty text: not known (yet). Index 0 is unused. */
struct mend_names {
    struct buf *texts;
    size_t capacity;
    uint32_t top; /* the highest id that is used or named */
};

struct mend {
    struct kv *kv;
    struct graph_mend *report;
    struct kv_txn *writer; /* NULL = nothing is to be committed */
    uint64_t changes;      /* of the writer */
    struct mend_names names[GRAPH_NAME_KINDS];
    uint64_t *type_counts; /* of edges, by type */
    size_t type_capacity;
    uint64_t top_node, top_edge, top_bucket, top_rule; /* the highest ids; 0 = none */
    uint64_t bucket;                                   /* known to have a name; 0 = none */
};

typedef sombra_err (*mend_entry)(struct mend *mend, sombra_slice key, sombra_slice value);

/* Every entry behind a prefix, as one snapshot has them; what `entry` finds CORRUPT is told and
 * dropped. All is committed at the end. */
sombra_err mend_walk(struct mend *mend, const struct graph_key *prefix,
                     mend_entry entry) SOMBRA_MUST_CHECK;
/* Reads and writes of what will be. Lent bytes live until the next call. */
sombra_err mend_get(struct mend *mend, sombra_slice key, sombra_slice *out_value) SOMBRA_MUST_CHECK;
sombra_err mend_has(struct mend *mend, struct graph_key key, bool *out_has) SOMBRA_MUST_CHECK;
sombra_err mend_put(struct mend *mend, sombra_slice key, sombra_slice value) SOMBRA_MUST_CHECK;
/* Puts it if it is not there with this value. */
sombra_err mend_rebuild(struct mend *mend, sombra_slice key, sombra_slice value) SOMBRA_MUST_CHECK;
sombra_err mend_drop(struct mend *mend, sombra_slice key, bool *out_was_there) SOMBRA_MUST_CHECK;
/* What stands elsewhere now: nothing is dropped with it. */
sombra_err mend_delete(struct mend *mend, sombra_slice key) SOMBRA_MUST_CHECK;
sombra_err mend_commit(struct mend *mend, enum kv_durability durability) SOMBRA_MUST_CHECK;
/* Tells of a loss: the text of the last failure. */
void mend_tell(struct mend *mend, sombra_err code);

/* mend_walk of a whole tag. */
sombra_err mend_walk_tag(struct mend *mend, enum graph_tag tag, mend_entry entry) SOMBRA_MUST_CHECK;
/* For record_prove, of the mend that `context` is. */
sombra_err mend_use_property(void *context, uint32_t name) SOMBRA_MUST_CHECK;

/* ---- edges (mend_edges.c) -------------------------------------------------------------------- */

/* Behind nodes; and the counts of types. */
sombra_err mend_edges(struct mend *mend) SOMBRA_MUST_CHECK;

/* ---- names and buckets (mend_names.c) -------------------------------------------------------- */

/* A record or rule uses it: it will have a name. CORRUPT. */
sombra_err mend_use_name(struct mend *mend, sombra_name_kind kind, uint64_t id) SOMBRA_MUST_CHECK;
sombra_err mend_names_load(struct mend *mend) SOMBRA_MUST_CHECK;
/* Behind everything that uses names. */
sombra_err mend_names_save(struct mend *mend) SOMBRA_MUST_CHECK;
void mend_names_release(struct mend *mend);
sombra_err mend_buckets(struct mend *mend) SOMBRA_MUST_CHECK;

#endif
