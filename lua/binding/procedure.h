/* SPDX-License-Identifier: MIT */
/* procedure: stored procedures, shared by the procedure_*.c files of this folder.
 *
 * A unit is one Lua source text in the database, known by name and version. It returns a table: a
 * procedure if that has `run`, a library for other units if it has `exports`, or both. Each call
 * gets a sandbox (lua/sandbox) of its own, in which the caller's transaction is lent.
 *
 * Nothing in a sandbox's state may be touched unprotected, since every allocation there may be
 * refused: what is done there is done by C functions that sandbox_call calls. Bytes go between the
 * two states as encoded values.
 */
#ifndef BINDING_PROCEDURE_H
#define BINDING_PROCEDURE_H

#include "binding.h"
#include "sandbox/sandbox.h"

#define CALL_NAME "sombra.call"

enum {
    UNIT_NAME_BYTES_MAX = 200,
    UNIT_VERSION_MAX = 999999999,
    CALL_DEPTH_MAX = 8, /* procedures that call procedures */
};

/* Encoded bytes that belong to a call. */
struct bytes {
    uint8_t *data;
    size_t count, capacity;
};
/* False if there is no memory. */
bool bytes_set(struct bytes *bytes, sombra_slice from);
bool bytes_append(struct bytes *bytes, sombra_slice from);
static inline sombra_slice bytes_slice(const struct bytes *bytes)
{
    return (sombra_slice){ bytes->data, bytes->count };
}

/* "name" or "name@version"; 0 = the newest. */
struct unit_id {
    char name[UNIT_NAME_BYTES_MAX + 1];
    uint32_t version;
};

/* One running procedure: a userdata of the state that called it, closed by it. */
struct call {
    struct db_handle *db;
    sombra_txn *txn; /* of the caller */
    bool is_write;   /* as the procedure may use it */
    bool is_stream;
    bool is_opening;         /* db:stream has not returned it yet */
    struct sandbox *sandbox; /* NULL = over */
    lua_State *thread;       /* of a stream, in the sandbox */
    struct tx_handle *lent;  /* in the sandbox; cut off at the end */
    lua_State *caller;       /* that waits for it now */
    struct call *outer;      /* whose sandbox the caller is; NULL = it is none */
    int raised;              /* stack index there of what ended it; 0 = nothing */
    sombra_txn_poll around;  /* asked by the transaction outside of it */
    struct unit_id unit;
    unsigned depth;          /* of calls around it */
    uint64_t mark;           /* savepoint below it; 0 = none */
    struct bytes definition; /* encoded map, as stored */
    struct bytes arguments;  /* encoded value of the parameters; empty = none */
    struct bytes results;    /* see call_push_results */
    int result_count;
    bool says_no; /* it returned nil and a reason */
    bool has_row; /* of a stream: `results` is one row */
};

/* ---- procedure_store.c: units in their bucket ------------------------------------------------ */

/* Argument `arg` as an id; raises. */
void unit_check_id(lua_State *L, int arg, struct unit_id *out);
bool unit_parse_id(const char *text, size_t bytes, struct unit_id *out);
/* Copies the definition; NOT_FOUND. On success id->version is that found. */
sombra_err unit_load(sombra_txn *txn, struct unit_id *id, struct bytes *out_definition);
/* A member of an encoded map; false if it is missing or of another kind. */
bool member_string(sombra_slice map, const char *name, sombra_slice *out);
bool member_value(sombra_slice map, const char *name, sombra_value *out);

extern const luaL_Reg tx_procedure_methods[];
extern const luaL_Reg db_procedure_methods[];

/* ---- procedure_sandbox.c: what a unit sees, and how it is run --------------------------- */

/* What runs inside a procedure gets no more than what is left of that one's limits. */
void call_bound_limits(const struct call *outer, struct sandbox_limits *limits);
/* Makes the call's sandbox and opens it; raises in L. */
void call_open_sandbox(lua_State *L, struct call *call, const struct sandbox_limits *limits);
/* Runs the definition text in `text` far enough to describe it: call->results becomes the encoded
 * description that the store keeps. A Lua status; the error is the sandbox's. */
int call_describe(struct call *call, sombra_slice text, const char *chunk);
/* Runs the unit's procedure; its results are in call->results. */
int call_run(struct call *call);
/* Goes on with a stream until its next row or its end. */
int call_resume(struct call *call);
/* Pushes the error that a status stands for: an error object of L. */
void call_push_error(lua_State *L, struct call *call, int status);
/* Pushes the results; their number. */
int call_push_results(lua_State *L, struct call *call);
/* Ends it: the sandbox and all memory go. */
void call_close(struct call *call);
/* The call that a sandbox's state runs; NULL in any other state. */
struct call *call_of(lua_State *L);

/* ---- procedure_call.c ------------------------------------------------------------------- */

void call_register(lua_State *L);
/* Proves the type of the value on top, and turns an integral float into the integer it must be. */
bool parameter_fits(lua_State *L, sombra_slice type);
int procedure_source(lua_State *L); /* sombra.source */
int tx_call(lua_State *L);          /* tx:call */
int db_call(lua_State *L);          /* db:call */
int db_stream(lua_State *L);        /* db:stream */

#endif
