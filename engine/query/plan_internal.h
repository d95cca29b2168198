/* SPDX-License-Identifier: MIT */
/* What parse.c hands to plan.c, and what plan.c makes of it: checked steps, and the operators of
 * this folder.
 *
 * Ownership: a plan lies in the run's arena, a step in that of its kept_step, but what a walk or a
 * predicate holds; those are released with the list of all steps (`made_before`).
 */
#ifndef QUERY_PLAN_INTERNAL_H
#define QUERY_PLAN_INTERNAL_H

#include "query_internal.h"

/* ---- steps (parse.c) ------------------------------------------------------------------------ */

enum step_kind {
    STEP_IDS,
    STEP_EDGE_IDS,
    STEP_ALL,
    STEP_LABEL,
    STEP_EDGES,
    STEP_OTHER_SOURCE, /* match, paths, cycles, topological, subgraph, statistics */
    STEP_EXPAND,
    STEP_END, /* source, target, other */
    STEP_WHERE,
    STEP_FILTER,
    STEP_DISTINCT,
    STEP_EXCEPT,
    STEP_ORDER,
    STEP_SKIP,
    STEP_LIMIT,
    STEP_SELECT,
    STEP_GROUP,
    STEP_UNION,
    STEP_OPTIONAL,
    STEP_REPEAT,
    STEP_PATH,
    STEP_AFTER,
};

enum column_kind {
    COLUMN_PROPERTY,
    COLUMN_ID,
    COLUMN_LABELS,
    COLUMN_TYPE,
    COLUMN_SOURCE,
    COLUMN_TARGET,
    COLUMN_DEPTH,
};
/* One value of a row: of a select, group or order step. */
struct column {
    enum column_kind kind;
    sombra_slice as;   /* its name in the record made of it */
    sombra_slice name; /* of the property, or of the member of a record */
    uint32_t property; /* its id; 0 = there is no such name */
    bool descending;   /* order */
};

enum aggregate_kind {
    AGGREGATE_COUNT,
    AGGREGATE_SUM,
    AGGREGATE_MIN,
    AGGREGATE_MAX,
    AGGREGATE_AVG,
    AGGREGATE_COLLECT,
};
struct aggregate {
    enum aggregate_kind kind;
    bool has_column; /* false = counts rows */
    struct column column;
    sombra_slice as;
};

enum walk_unique { UNIQUE_NONE, UNIQUE_EDGES, UNIQUE_NODES };
enum edge_end { END_SOURCE, END_TARGET, END_OTHER };
enum repeat_emit { EMIT_LAST, EMIT_ALL, EMIT_WHERE };

typedef sombra_err (*source_new_fn)(struct query_run *run, const sombra_value *options,
                                    struct operator** out);

/* ---- paths between two nodes (paths_pair.c) --------------------------------------------- */

/* The options of a search for paths of least edges from one node to one, with no predicates. */
struct paths_pair {
    uint64_t nodes[2]; /* from, to */
    size_t at[2];      /* where their numbers stand in the encoded options */
    struct walk walk;
    uint32_t max; /* edges */
    bool collects;
};
/* *out_pair: NULL for all other options, and for those that are not sound; its walk is the
 * caller's to release. NOMEM. */
sombra_err paths_pair_read(struct graph_txn *txn, struct arena *arena, const sombra_value *options,
                           sombra_slice encoded, struct paths_pair **out_pair) SOMBRA_MUST_CHECK;
/* The pair that was read from `kept` becomes that of `given`, which need not be sound, if they
 * differ in the two nodes only; else it stays and the answer is false. */
bool paths_pair_rebind(struct paths_pair *pair, sombra_slice kept, sombra_slice given);
/* The operator; `pair` must outlive it. */
sombra_err paths_pair_new(struct query_run *run, const struct paths_pair *pair,
                          struct operator** out) SOMBRA_MUST_CHECK;

struct step {
    enum step_kind kind;
    const char *name;
    unsigned number;          /* in its list, from 1 */
    sombra_row_kind from, to; /* rows it takes (of a source: what it gives) and gives */
    struct step *next;
    struct step *made_before;
    union {
        struct {
            uint64_t *items;
            size_t count;
        } ids;                /* ids, edge_ids, except (there ascending) */
        sombra_slice subject; /* label, edges */
        struct {
            source_new_fn make;
            sombra_value options;
            struct paths_pair *pair; /* `paths` between two nodes; else NULL */
        } source;
        struct {
            struct walk walk;
            uint32_t min, max;
            enum walk_unique unique;
            bool gives_edges;
            bool is_set; /* plan: each node once, in any order */
        } expand;
        enum edge_end end;
        struct predicate *predicate; /* where */
        uint64_t number;             /* filter, skip, limit */
        struct {
            struct column *items;
            size_t count;
            struct aggregate *aggregates;
            size_t aggregate_count;
        } columns; /* order, select, group */
        struct {
            struct step **items;
            size_t count;
        } lists; /* union, optional */
        struct {
            struct step *body;
            uint32_t min, max; /* UINT32_MAX = none */
            struct predicate *until, *emits;
            enum repeat_emit emit;
            bool is_unique;
        } repeat;
        sombra_slice position; /* after */
    } as;
};

/* A step of a query as it is given. */
struct step_given {
    sombra_slice encoded; /* in the arena, sound */
    unsigned number;      /* in the list, from 1 */
    sombra_row_kind from; /* rows before it; 0 = there are none */
};
/* *all_steps holds what was made, with the steps within it, also on failure. */
sombra_err step_parse(struct query_run *run, struct arena *arena, const struct step_given *given,
                      struct step **all_steps, struct step **out_step) SOMBRA_MUST_CHECK;
void steps_release(struct step *all_steps);

/* ---- steps kept (kept.c) --------------------------------------------------------------------
 *
 * A closed query keeps its steps: programs ask the same again and again, and most steps of the next
 * query are those of the last one, byte for byte. What such a step was made into stands as long as
 * the names in it do: names that are committed stay, with their ids; where one was missing, or was
 * made by the transaction itself, the step is made again. Plans are never kept.
 */
struct kept_step {
    struct arena arena; /* of all below */
    sombra_slice bytes; /* as given, in `own`; data NULL: nothing is here */
    uint8_t *own;
    size_t own_bytes;
    sombra_row_kind from;
    struct step *step;
    struct step *all; /* with those within it */
    size_t map;       /* of a where of one equality: where its map begins */
    size_t constant;  /* of a where of one equality: where its constant stands; 0 = it is none */
    uint64_t number;  /* of its making; constants that it takes later are no other making */
    bool lasts;       /* the next query may have it */
};
enum { KEPT_STEPS_MAX = 8 };
/* Programs ask a few things in turn: each place of the list has room for some steps. */
enum { KEPT_WAYS = 4 };
struct kept_place {
    struct kept_step ways[KEPT_WAYS];
    struct kept_step *now; /* of this query */
    unsigned oldest;       /* the way that is given up next */
};
/* Zeroed, read, closed, read ..., released. */
struct kept_steps {
    struct graph *graph;       /* whose names they have */
    struct kept_place *places; /* of the first ones, where they lie while a query is open */
    size_t count;              /* of this query */
    size_t made;
    struct step *others; /* of this query: those behind, and those within them; in its arena */
    uint64_t makings;    /* so far */
};
/* The steps of a query, linked. `given` need not be sound. */
sombra_err kept_steps_read(struct kept_steps *kept, struct query_run *run,
                           const sombra_slice *given, size_t count,
                           struct step **out_first) SOMBRA_MUST_CHECK;
void kept_steps_close(struct kept_steps *kept);
void kept_steps_release(struct kept_steps *kept);

/* The options of steps (options.c). `names` ends with NULL. INVALID names what is unknown. */
sombra_err options_check(const sombra_value *options, const char *const *names) SOMBRA_MUST_CHECK;
/* The same; of fewer than 32 names, the bit of each that is given is set, if only to null. */
sombra_err options_given(const sombra_value *options, const char *const *names,
                         uint32_t *out_given) SOMBRA_MUST_CHECK;
/* Each leaves its out parameter alone if there is no such option. */
sombra_err option_count(const sombra_value *options, const char *name, uint64_t max,
                        uint32_t *out_value) SOMBRA_MUST_CHECK;
sombra_err option_boolean(const sombra_value *options, const char *name,
                          bool *out_value) SOMBRA_MUST_CHECK;
sombra_err option_choice(const sombra_value *options, const char *name, const char *const *choices,
                         unsigned *out_choice) SOMBRA_MUST_CHECK;
sombra_err option_encoded(const sombra_value *options, const char *name, sombra_slice *out_encoded,
                          bool *out_found) SOMBRA_MUST_CHECK;

/* ---- plan (plan.c) -------------------------------------------------------------------------- */

struct plan {
    struct query_run *run;
    struct operator* last;            /* so far */
    struct operator* newest;          /* of all made: the list that frees them */
    bool is_distinct;                 /* no row of `last` comes twice */
    bool is_by_id;                    /* rows of `last` come by ascending id, each once */
    const struct step *order;         /* the step whose order they come in; NULL = none */
    const struct step *after;         /* the position step, until it was applied; NULL = none */
    const struct step *tail;          /* the first of the skips and limits before it, or itself */
    const struct step *proved;        /* where steps up to this one hold of all rows; NULL = none */
    const struct index_choice *index; /* that the source looks in; NULL = none */
};
sombra_err plan_make(struct plan *plan, struct step *first) SOMBRA_MUST_CHECK;
/* The steps of a body behind a feed. */
sombra_err plan_body(struct plan *plan, struct step *first, struct operator* feed,
                     struct operator** out_last) SOMBRA_MUST_CHECK;

/* ---- plans kept (kept_plan.c) -----------------------------------------------------------------
 *
 * What kept steps became is kept with them, where nothing but they and the rules say what it is: no
 * counts, and operators that can be wound back. It is that of the next reader with those steps that
 * sees those rules; its operators hold nothing of the store.
 */
struct kept_plan {
    struct arena arena;             /* of the operators */
    uint64_t steps[KEPT_STEPS_MAX]; /* by their making */
    size_t count;                   /* of steps; 0: nothing is here */
    uint64_t rules;                 /* the version that it was made with, if it has an index */
    struct plan plan;               /* as it was made; its run is the query's */
};
/* Zeroed, taken from or made, closed ..., released. */
struct kept_plans {
    struct kept_plan ways[KEPT_WAYS + 1]; /* one of them is free, while no query is open */
    struct kept_plan *now;                /* of this query, where a plan lies that may be kept */
    uint64_t missed;                      /* names that the transaction had missed before */
    unsigned oldest;                      /* the way that is given up next */
};
/* The plan of these steps: *out_found, and it is in *plan; else run->planned is where it is to be
 * made. `steps` are those of the run's query. */
sombra_err kept_plans_find(struct kept_plans *kept, const struct kept_steps *steps,
                           struct plan *plan, bool *out_found) SOMBRA_MUST_CHECK;
/* Winds back the plan, or frees it if it cannot be kept or `may_keep` is false; before the steps
 * are closed. */
void kept_plans_close(struct kept_plans *kept, const struct kept_steps *steps,
                      const struct plan *plan, bool may_keep);
void kept_plans_release(struct kept_plans *kept);

/* ---- operators ------------------------------------------------------------------------------ */

/* Zeroed memory of the arena with the head filled in, in the list of all. `inputs` may be NULL. */
sombra_err operator_make(struct plan *plan, const struct operator_ops *ops, size_t bytes,
                         sombra_row_kind kind, struct operator* input,
                         void *out_operator) SOMBRA_MUST_CHECK;
struct row_batch *batch_new(struct query_run *run); /* of the arena; NULL = NOMEM, with a text */
void operator_describe(struct operator* op, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* Describes it and all below. */
sombra_err operator_explain(struct operator* op) SOMBRA_MUST_CHECK;
sombra_err operator_reset(struct operator* op) SOMBRA_MUST_CHECK; /* it and its inputs */
/* Rows left, by its own count or by walking. */
sombra_err operator_count(struct operator* op, uint64_t *out_count) SOMBRA_MUST_CHECK;

/* ---- columns (columns.c) ------------------------------------------------------------------- */

/* Reads values of rows of one kind. Zeroed, initialised, released. */
struct columns {
    struct query_run *run;
    sombra_row_kind kind;
    const struct column *items;
    size_t count;
    bool needs_record, needs_builder;
    sombra_value_builder *builder;
    struct buf own;              /* encoded, of what is not a property */
    size_t *ends;                /* in it */
    struct row_records *records; /* of nodes; NULL before the first batch that was begun */
};
sombra_err columns_init(struct columns *columns, struct query_run *run, sombra_row_kind kind,
                        const struct column *items, size_t count) SOMBRA_MUST_CHECK;
/* Rows of this batch are read next. */
sombra_err columns_begin(struct columns *columns, const struct row_batch *batch) SOMBRA_MUST_CHECK;
/* Encoded values, empty = missing; they live until the next read of the transaction. */
sombra_err columns_read(struct columns *columns, const struct row *row,
                        sombra_slice *out_values) SOMBRA_MUST_CHECK;
void columns_release(struct columns *columns);

/* ---- positions (position.c) ---------------------------------------------------------------- */

/* Where rows delivered so far end: the row's keys and id, and how many stood there before it. */
struct position {
    uint64_t id;
    uint32_t ordinal;
    size_t key_count;
    sombra_value *keys;    /* null = missing */
    sombra_slice *encoded; /* the same */
};
/* `order` NULL = by id. INVALID for what is no position of such rows. */
sombra_err position_read(struct query_run *run, sombra_slice encoded, const struct step *order,
                         struct position *out_position) SOMBRA_MUST_CHECK;
sombra_err position_write(struct query_run *run, sombra_value_builder *builder,
                          const struct row *row, const struct step *order,
                          sombra_slice *out_encoded) SOMBRA_MUST_CHECK;

/* ---- choice of indexes (choose.c) ----------------------------------------------------------- */

enum { CONDITIONS_MAX = 32 };

struct index_choice {
    struct graph_rule index;
    struct graph_index_range *ranges;
    size_t range_count;
    sombra_slice *values;                /* of the first range: what properties are equal to */
    const struct condition **conditions; /* and where each of those stands */
    uint64_t count;                      /* of ids in the ranges */
    bool is_one;               /* a unique index, each property equal to a value: at most one id,
                                  which was not counted */
    const struct step *proved; /* is_one: this where step and those before it hold of the row, by
                                  its key; NULL = none */
    const struct step *order;  /* the ids come in the order of this step; NULL = not so */
    bool reverse;              /* by the index backwards */
    bool sorts;                /* ids are read first and sorted */
    bool id_reverse;           /* from the highest */
    uint64_t from_id;          /* with `sorts`: the first wanted; 0 = all */
    const char *what;          /* for explain */
};
struct index_search {
    struct index_choice *choice; /* NULL = a scan by id is better */
    bool is_empty;               /* no row can fit */
};
/* For a source and the where, order, skip, limit steps behind it. `subject`: id of the label or
 * type, `subject_count` of its nodes or edges. */
/* If a unique index alone says which row it can be, that; nothing is counted for it. */
sombra_err index_choose_unique(struct query_run *run, const struct step *source, uint32_t subject,
                               struct index_search *out) SOMBRA_MUST_CHECK;
/* Of a choice that is_one: the values are those that its predicates have now. */
void index_choice_bind(const struct index_choice *choice);
sombra_err index_choose(struct query_run *run, const struct step *source, uint32_t subject,
                        uint64_t subject_count, struct index_search *out) SOMBRA_MUST_CHECK;

/* Each takes what its step holds. (source.c) */
sombra_err ids_source_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
struct scan_range {
    uint64_t from; /* the first id wanted; 0 = all */
    bool reverse;
};
sombra_err scan_source_new(struct plan *plan, const struct step *step,
                           const struct scan_range *range) SOMBRA_MUST_CHECK;
sombra_err index_source_new(struct plan *plan, const struct step *step,
                            const struct index_choice *choice) SOMBRA_MUST_CHECK;
/* A row of one node or edge, its first; NOT_FOUND for an edge. */
sombra_err row_of_node(struct query_run *run, uint64_t node, struct row *out_row) SOMBRA_MUST_CHECK;
/* Where paths are kept, nodes that have none yet begin one. */
sombra_err rows_track(struct query_run *run, struct row *rows, size_t count) SOMBRA_MUST_CHECK;
sombra_err row_of_edge(struct query_run *run, uint64_t id, struct row *out_row) SOMBRA_MUST_CHECK;
/* (expand.c, levels.c, ends.c) */
sombra_err expand_new(struct plan *plan, struct step *step) SOMBRA_MUST_CHECK;
/* For explain: what an operator that walks does. */
sombra_err walk_describe(struct operator* op, const struct step *step) SOMBRA_MUST_CHECK;
/* A sweep over what it lets through by direction and types. */
sombra_err walk_open(const struct walk *walk, struct query_run *run,
                     struct graph_expand *sweep) SOMBRA_MUST_CHECK;
/* Do its predicates hold on the edge, and on the node it leads to? */
sombra_err walk_allows(const struct walk *walk, struct query_run *run, const struct row *from,
                       const struct graph_hop *hop, bool *out_allowed) SOMBRA_MUST_CHECK;
sombra_err levels_new(struct plan *plan, struct step *step) SOMBRA_MUST_CHECK;
sombra_err ends_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
sombra_err path_new(struct plan *plan) SOMBRA_MUST_CHECK;
/* (filter.c) */
sombra_err where_new(struct plan *plan, const struct predicate *predicate) SOMBRA_MUST_CHECK;
sombra_err filter_new(struct plan *plan, uint32_t number) SOMBRA_MUST_CHECK;
sombra_err distinct_new(struct plan *plan) SOMBRA_MUST_CHECK;
sombra_err except_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
sombra_err bound_new(struct plan *plan, uint64_t skip, uint64_t limit) SOMBRA_MUST_CHECK;
/* (sort.c) The first `keep_max` rows in order, behind a position if there is one. */
sombra_err sort_new(struct plan *plan, const struct step *step, uint64_t keep_max,
                    const struct position *after) SOMBRA_MUST_CHECK;
/* Rows that come in that order already (NULL: by id): those behind the position. */
sombra_err behind_new(struct plan *plan, const struct step *step,
                      const struct position *after) SOMBRA_MUST_CHECK;
/* (record.c, group.c, branch.c) */
sombra_err select_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
sombra_err group_step_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
sombra_err union_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
sombra_err optional_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;
sombra_err repeat_new(struct plan *plan, const struct step *step) SOMBRA_MUST_CHECK;

#endif
