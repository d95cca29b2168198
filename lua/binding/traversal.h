/* SPDX-License-Identifier: MIT */
/* traversal: the Lua side of queries, shared by the traversal_*.c files of this folder.
 *
 * A sombra.traversal is one step (docs/query.md), encoded, behind the traversal that it goes on
 * from: every method gives a new one and changes none, so that any of them can be kept and gone on
 * from. It runs when rows are asked for; the engine then gets the steps of the chain.
 *
 * User values of one: 1 what it keeps alive: the traversal before it, or of the first its
 * transaction; of the first 2, the list of functions that steps call by number, or nil, and of
 * every CHAIN_ANCHORS-th one 2, the first, which is looked for at each step that has functions or
 * bodies. A body (the inner steps of optional, union and repeating) has a first one of its own,
 * with the transaction and the functions of the traversal that it becomes a part of.
 *
 * The chain of a prepared traversal (prepare.c) is one userdata: its last step, behind which the
 * others lie; it counts as the first.
 */
#ifndef BINDING_TRAVERSAL_H
#define BINDING_TRAVERSAL_H

#include "binding.h"

#define TRAVERSAL_NAME "sombra.traversal"

enum { TRAVERSAL_BEFORE = 1, TRAVERSAL_FUNCTIONS = 2, TRAVERSAL_FIRST = 2 };
enum { CHAIN_ANCHORS = 32 };
#define TRAVERSAL_HOPS_MAX (UINT32_MAX - 1) /* the most that the engine takes: no bound */

struct traversal {
    struct tx_handle *tx;           /* kept alive by the first */
    const struct traversal *before; /* NULL: there is none */
    struct traversal *first;        /* of the chain, which keeps the transaction */
    const char *name;               /* of its step, a literal; NULL: it adds none */
    uint32_t count;                 /* of steps, with its own */
    uint32_t place;                 /* in the chain; the first has 0 */
    bool is_body;
    bool has_functions; /* of the first: user value 2 is a list */
    bool is_bounds;     /* `bytes` are a struct traversal_bounds */
    size_t bytes;       /* of its step, encoded */
    _Alignas(uint64_t) unsigned char step[];
};

/* Of a run; 0 = none. */
struct traversal_bounds {
    uint64_t rows, memory, time_ms;
};

/* Argument 1 as a traversal. */
struct traversal *traversal_self(lua_State *L);
/* Argument 1 as one that can run: of an open transaction. */
struct traversal *traversal_to_run(lua_State *L);
/* The database whose builder its steps are made in; raises if the transaction is over. */
struct db_handle *traversal_db(lua_State *L, const struct traversal *traversal);

/* What a new one holds. `bytes` may be the engine's: they are copied first. */
struct traversal_part {
    const char *name; /* a literal, or NULL */
    sombra_slice bytes;
    bool is_bounds;
};
/* Pushes a first one, of the transaction at `tx`. */
void traversal_push_first(lua_State *L, int tx, const struct traversal_part *part);
/* Pushes a first one that has all these steps, whose bytes lie where no finalizer changes them. For
 * functions with the upvalues of methods. */
void traversal_push_chain(lua_State *L, int tx, const struct traversal_part *parts, size_t count);
/* Pushes an empty first one with the transaction and functions of the one at `index`. */
void traversal_push_body(lua_State *L, int index);
/* Pushes one behind the one at `index`. */
void traversal_push_next(lua_State *L, int index, const struct traversal_part *part);
/* Pushes one without steps before it, but with the transaction and functions of the one at `index`.
 */
void traversal_push_instead(lua_State *L, int index, const struct traversal_part *part);

/* Its steps, `count` of them, which lie in it and those before it. */
void traversal_list_steps(const struct traversal *traversal, sombra_slice *out_steps);
/* The bounds nearest to its end, or NULL. */
const struct traversal_bounds *traversal_bounds(const struct traversal *traversal);
/* The traversal of the last step among it and those before it; NULL if there is none. NULL goes. */
const struct traversal *traversal_last_step(const struct traversal *traversal);

static inline bool traversal_has_functions(const struct traversal *traversal)
{
    return traversal->first->has_functions;
}
/* Pushes the list of functions of the one at `index`; nil, or a new one if it `makes`. */
void traversal_push_functions(lua_State *L, int index, bool makes);
/* Keeps the function at `function` in the list of the traversal at `index`; its number from 1. */
lua_Integer traversal_keep_function(lua_State *L, int index, int function);

extern const luaL_Reg tx_traversal_methods[];    /* tx:from and others: traversal_build.c */
extern const luaL_Reg traversal_step_methods[];  /* traversal_build.c */
extern const luaL_Reg traversal_paths_methods[]; /* traversal_paths.c */
extern const luaL_Reg traversal_run_methods[];   /* traversal_run.c */

void traversal_register(lua_State *L);
void cursor_register(lua_State *L); /* traversal_run.c */

/* Turns the pattern options at `index` (as of tx:match) into the step's second element, pushed.
 * (traversal_match.c) */
void match_push_pattern(lua_State *L, int index);

/* ---- a step in the making (traversal_step.c) --------------------------------------------------
 *
 * Between step_begin and its end nothing may be called that allocates in Lua; to raise is allowed.
 */

struct step {
    lua_State *L;
    struct db_handle *db;
    sombra_value_builder *builder;
    const char *name;
};
struct step step_begin(lua_State *L, struct db_handle *db, const char *name);
/* Adds the value at `index`, of argument `arg`. */
void step_add(const struct step *step, int arg, int index);
/* Adds a list of the ids at `arg`: an integer, or a list of them. */
void step_add_ids(const struct step *step, int arg);

enum member_kind {
    MEMBER_NONE,
    MEMBER_VALUE,
    MEMBER_IDS,
    MEMBER_INTEGER,
    MEMBER_TRUE,
    MEMBER_TEXT
};
/* Of a map of options: takes the place of the one that was given. */
struct member {
    const char *name;
    enum member_kind kind; /* NONE: there is none */
    int index;             /* VALUE, IDS */
    lua_Integer number;
    const char *text; /* a literal */
};
enum { MEMBERS_MAX = 8 };
struct members {
    size_t count;
    struct member at[MEMBERS_MAX];
};
void members_add(struct members *members, const struct member *member);
/* The functions among the options `weight` and `heuristic` of the table at `arg` (nil: of none)
 * become numbers in the list of the traversal at `index`. Allocates. */
void members_add_functions(lua_State *L, struct members *members, int arg, int index);
/* Adds the map of options of the table that argument `arg` is (nil, none: empty), and the members.
 */
void step_add_options(const struct step *step, int arg, const struct members *members);
struct traversal_part step_end(const struct step *step);
/* Steps of a name and one text come again and again, byte for byte: a few of them are known. The
 * part lives until the next step is noted; `name` is a literal, which stands for one form of a step
 * only. False: it is not known. */
bool step_recall(const struct db_handle *db, const char *name, sombra_slice text,
                 struct traversal_part *out_part);
void step_note(struct db_handle *db, sombra_slice text, const struct traversal_part *part);
/* Ends it as one behind argument 1, pushed. */
int step_extend(const struct step *step);

#endif
