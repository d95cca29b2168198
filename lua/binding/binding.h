/* SPDX-License-Identifier: MIT */
/* binding: the C half of the Lua module `sombra`. Shared by the files of this folder only.
 *
 * Four userdata: sombra.db, sombra.tx, sombra.bucket, sombra.iterator, each with its methods in a
 * hidden metatable. Every method is a closure whose first upvalue is that metatable, so that `self`
 * is proved by one pointer comparison; and whose third is the proof of the last such call.
 *
 * Any lua_* call that can allocate may longjmp (no memory) or run a finalizer, which may be a
 * script's and may use the same transaction. Hence three rules:
 *   1. A handle is made empty first and opened into, so that nothing is lost on the way.
 *   2. Bytes of the engine are copied before the first such call: scalars by the push itself
 *      (lua_pushlstring copies before it collects), the rest by value_push_* below.
 *   3. Encoding uses raw access only, which never allocates; so the builder of the database is
 *      not used twice at once.
 *
 * Lifetime: a transaction keeps its database alive, a bucket and an iterator their transaction, by
 * user value 1. The engine lets parents end before their children, in any order.
 *
 * Threads: as Lua: one state, one thread at a time.
 */
#ifndef BINDING_H
#define BINDING_H

#include "compat.h"

#include "sombra/sombra.h"

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define DB_NAME       "sombra.db"
#define TX_NAME       "sombra.tx"
#define BUCKET_NAME   "sombra.bucket"
#define ITERATOR_NAME "sombra.iterator"
#define ERROR_NAME    "sombra.error"
#define LIST_NAME     "sombra.list"
#define NULL_NAME     "sombra.null"

/* What `self` was last proved to be; one for each Lua state, upvalue 3 of every method. A method
 * that is called on the same one again does not look at metatables. Invariant: `tx` is NULL or the
 * handle of a transaction that its end has not taken out yet; the handle is alive then, for handles
 * end before they are freed. */
struct proof {
    struct tx_handle *tx;
    struct db_handle *db; /* in the same way, of an open database */
};

/* How a transaction ended, for messages. */
enum tx_state {
    TX_EMPTY,
    TX_OPEN,
    TX_COMMITTED,
    TX_ROLLED_BACK,
    TX_FAILED,
    TX_PREPARES /* none: it takes the steps of a traversal for sombra.prepare, and never opens */
};

struct db_handle {
    sombra_db *db;                 /* NULL = closed */
    sombra_value_builder *builder; /* scratch of every encoding; lives as long as `db` */
    size_t encoded_bytes;          /* of the last encoding, to give back a big scratch */
    unsigned writers;              /* open write transactions of this handle: 0 or 1 */
    bool has_collected;            /* looked whether that one is garbage */
    bool ignores_triggers;         /* opened with triggers = false */
    unsigned jobs;                 /* that call Lua are running: it must not be closed */
    struct event_queue *events;    /* metrics.c; NULL before the first handler */
    struct ahead *ahead;           /* ahead.c; NULL before the first get in a loop */
    struct known_step *steps;      /* traversal_step.c; NULL before the first traversal */
    struct proof *proof;           /* that names it, or once named it; NULL before */
    bool listens;                  /* there is a handler: user value 1 */
    bool delivers;                 /* it is running */
    bool is_collected;             /* of a traversal that is prepared: it takes no steps any more */
};

struct tx_handle {
    sombra_txn *txn;      /* NULL unless open, or aborted by the end of its database */
    struct proof *proof;  /* that names it, or once named it; NULL before */
    const void *iterator; /* of its last loop; kept alive by user value 2 */
    struct db_handle *db; /* kept alive by user value 1 */
    enum tx_state state;
    bool is_write;
    bool is_managed; /* inside db:read or db:write, which end it */
    bool is_snapshot;
    bool is_lent;        /* somebody else's, who ends it: to a procedure, or to a C program's */
    bool is_sandboxed;   /* lent to a procedure: used in the state of a sandbox */
    unsigned jobs;       /* of the engine that run Lua functions meanwhile: it must not end */
    uint64_t mark_least; /* lent: savepoints up to this one are out of reach */
};

struct bucket_handle {
    struct tx_handle *tx; /* kept alive by user value 1 */
    sombra_bucket_id id;
};

/* ---- userdata ---------------------------------------------------------------------------- */

/* Argument 1 as a userdata of the class, plain ones among them; raises if it is something else. */
void *class_check(lua_State *L, const char *name);
/* The same in a function whose upvalue 1 is the metatable of the class. */
static inline void *self_check(lua_State *L, const char *name)
{
    void *self = lua_touserdata(L, 1);
    if (LIKELY(self && lua_getmetatable(L, 1))) {
        int is_same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (LIKELY(is_same))
            return self;
    }
    return class_check(L, name);
}

/* Makes the metatable `name`: metamethods as given, the methods of all sets (NULL ends them) behind
 * __index, each with the metatable as upvalue 1, the iterators' step function as upvalue 2 and the
 * proof of the state as upvalue 3. */
void class_register(lua_State *L, const char *name, const luaL_Reg *metamethods,
                    const luaL_Reg *const *method_sets);
/* Gives the userdata on top the metatable that was registered under the same address of a name: no
 * text is looked up. */
void class_set(lua_State *L, const char *name);
/* Plain userdata of a class have no __gc, which costs as much as all the rest of a short life: for
 * those that are certain to be closed, or have nothing to release. class_register_plain comes after
 * class_register. */
enum known_class { PLAIN_TX = 1, PLAIN_ITERATOR, KNOWN_TRAVERSAL, KNOWN_LIST };
/* User values of the proof: metatables that methods know without a look-up, and a cursor
 * (traversal_run.c). */
enum { PROOF_CURSOR = KNOWN_LIST + 1, PROOF_VALUES = PROOF_CURSOR };
void class_register_plain(lua_State *L, const char *name, enum known_class plain);
/* Lets methods know the metatable on top. */
void class_register_known(lua_State *L, enum known_class known);
/* Gives what is on top one of those; for functions with the upvalues of methods. */
void class_set_known(lua_State *L, enum known_class known);
/* Pushes the proof of the state, which is made if it is not there. */
void proof_push(lua_State *L);

void db_register(lua_State *L);
int db_open(lua_State *L); /* sombra.open */
/* Argument 1 as an open database. */
struct db_handle *db_self(lua_State *L);
int db_method_read(lua_State *L);
int db_method_write(lua_State *L);

/* job.c: long work with findings and progress. */
int db_verify(lua_State *L);
int db_checkpoint(lua_State *L);
int db_backup(lua_State *L);
int db_compact(lua_State *L);
int db_repair(lua_State *L); /* sombra.repair */
int db_copy(lua_State *L);   /* sombra.copy */
/* Options of sombra.open in the table `arg`, which keeps their strings alive. */
void open_options_read(lua_State *L, int arg, sombra_options *options);
int db_create_index(lua_State *L);
int db_dump(lua_State *L); /* sombra.dump */

/* metrics.c */
int db_metrics(lua_State *L);
int db_on_event(lua_State *L);
int db_poll_events(lua_State *L);
/* Calls the handler of the database at `db_index` for what has happened, unless a write transaction
 * of that handle is open; raises nothing. The handler may do what it likes: close the database,
 * too. */
void events_deliver(lua_State *L, int db_index);
void events_free(struct event_queue *queue); /* after sombra_close; NULL is a no-op */

void tx_register(lua_State *L);
/* Pushes an empty handle whose database stands at `db_index`. */
struct tx_handle *tx_push(lua_State *L, int db_index);
/* The same of one that the calling method lets the language close (lua_toclose), and the collector
 * does not: not in a coroutine, which may be dropped and closes nothing then. */
struct tx_handle *tx_push_scoped(lua_State *L, int db_index);
/* Opens an empty handle; raises on failure. */
void tx_begin(lua_State *L, struct tx_handle *tx, const sombra_txn_options *options);
/* Pushes a handle on a transaction of another state, which its owner ends; tx_lent_end cuts it off
 * before that. */
struct tx_handle *tx_push_lent(lua_State *L, struct db_handle *db, sombra_txn *txn, bool is_write,
                               uint64_t mark_least);
void tx_lent_end(struct tx_handle *tx);
/* Raises if the procedure that it is lent to has had its time: the hook comes only every thousand
 * instructions, of which each may be a long call. (procedure_sandbox.c) */
void tx_sandbox_look(lua_State *L);
/* Ends it undone; does nothing if it is over. Never raises. */
void tx_abort(struct tx_handle *tx);
/* Ends it; on a failure it is undone. */
sombra_err tx_commit(struct tx_handle *tx, sombra_durability durability);
/* Raises that argument 1 belongs to a transaction that is over. */
int tx_raise_over(lua_State *L, const struct tx_handle *tx);

static inline bool tx_is_open(const struct tx_handle *tx)
{
    return tx->txn && sombra_txn_is_open(tx->txn);
}
/* Raises where no method may use it: it is over, or the procedure that has it has had its time. */
static inline void tx_check(lua_State *L, const struct tx_handle *tx)
{
    if (UNLIKELY(!tx_is_open(tx)))
        tx_raise_over(L, tx);
    if (UNLIKELY(tx->is_sandboxed))
        tx_sandbox_look(L);
}
/* Lets the next methods know an open transaction at once; for functions with the upvalues of
 * methods. */
static inline void tx_set_proved(lua_State *L, struct tx_handle *tx)
{
    tx->proof = lua_touserdata(L, lua_upvalueindex(3));
    tx->proof->tx = tx;
}
/* Argument 1 as a transaction's handle, open or not. */
static inline struct tx_handle *tx_any(lua_State *L)
{
    const struct proof *proof = lua_touserdata(L, lua_upvalueindex(3));
    struct tx_handle *tx = lua_touserdata(L, 1);
    return LIKELY(tx && tx == proof->tx) ? tx : self_check(L, TX_NAME);
}
static inline struct tx_handle *tx_self(lua_State *L)
{
    const struct proof *proof = lua_touserdata(L, lua_upvalueindex(3));
    struct tx_handle *tx = lua_touserdata(L, 1);
    if (UNLIKELY(!tx || tx != proof->tx)) {
        tx = self_check(L, TX_NAME);
        if (tx->txn)
            tx_set_proved(L, tx);
    }
    tx_check(L, tx);
    return tx;
}

/* The classes that a transaction needs, in a state that has no databases. (module.c) */
void binding_open_transactions(lua_State *L);

/* Raises an engine's failure; a refusal by a rule says by which. */
int tx_raise(lua_State *L, struct tx_handle *tx, sombra_err code);

/* Before a commit of the write transaction at `index`: runs what its changes set off; raises. */
void tx_run_triggers(lua_State *L, int index);
/* Pushes the list of a trigger's events. */
void trigger_push_events(lua_State *L, uint32_t mask);

extern const luaL_Reg tx_trigger_methods[];
extern const luaL_Reg tx_node_methods[];
extern const luaL_Reg tx_edge_methods[];
extern const luaL_Reg tx_iterator_methods[];
extern const luaL_Reg tx_bucket_methods[];
extern const luaL_Reg tx_index_methods[];

/* index.c: rules. */
int db_schema(lua_State *L);
/* The index of the arguments label, names, options; the slices live as long as they do. `options`
 * has been checked if `has_options`. */
void check_index(lua_State *L, int label, int names, int options, bool has_options,
                 sombra_rule *out_rule);

extern const luaL_Reg db_migration_methods[];
extern const luaL_Reg tx_migration_methods[];

void bucket_register(lua_State *L);
/* Pushes a bucket of the open transaction at `tx_index`. After an error, NOT_FOUND among them,
 * nothing is pushed. */
sombra_err bucket_push(lua_State *L, int tx_index, sombra_slice name,
                       const sombra_bucket_options *options);
/* Argument 1 as a bucket of an open transaction. */
struct bucket_handle *bucket_self(lua_State *L);

void iterator_register(lua_State *L);
/* Pushes the step function of all iterators; before iterator_register, nil. */
void iterator_push_step(lua_State *L);
/* Of a loop over neighbours: is the node that it gave last this one, and which of its batch? */
bool iterator_is_at(const void *iterator, uint64_t node, size_t *out_at);
/* The nodes of its batch from that one on, at most `most`; how many they are. */
size_t iterator_nodes(const void *iterator, size_t at, uint64_t *nodes, size_t most);
/* b:scan, among the methods of buckets. */
int iterator_scan(lua_State *L);
/* The bounds and the prefix of an option table; `range` points into `keys` and the table. */
void check_key_range(lua_State *L, int arg, sombra_key_range *range, sombra_key keys[2]);

/* ---- arguments --------------------------------------------------------------------------- */

/* An id; raises for what cannot be one. Negative ones are refused, unknown ones are not. */
uint64_t check_id(lua_State *L, int arg);
/* A string that is one, not a number; raises if it is empty. */
sombra_slice check_name(lua_State *L, int arg);
/* nil and none are the empty slice. */
sombra_slice optional_name(lua_State *L, int arg);
sombra_key check_key(lua_State *L, int arg);
/* The value at `index` as a key; false if it cannot be one. Strings are the value's. */
bool to_key(lua_State *L, int index, sombra_key *out_key);

enum { NAMES_INLINE = 16 };
/* nil, a name, or a list of names. The slices live as long as the argument; the array is `inlined`
 * or a userdata that stays on the stack. */
const sombra_slice *check_names(lua_State *L, int arg, sombra_slice inlined[NAMES_INLINE],
                                size_t *out_count);

/* Options: tables read without metamethods. `names` ends with NULL; false for nil and none. */
bool options_given(lua_State *L, int arg, const char *const *names);
/* One of them, byte by byte: a name may have zeros in it. */
bool option_is_among(const char *name, size_t bytes, const char *const *names);
/* Refuses one, which it shows whole, with those that there are. */
void option_unknown(lua_State *L, int arg, const char *name, size_t bytes,
                    const char *const *names);
/* The string at `index`, for comparisons with words; "" of all else, and where it has zeros. */
const char *word_at(lua_State *L, int index);
/* luaL_checkoption, whole; what is refused is told the words that there are. */
int check_choice(lua_State *L, int arg, const char *otherwise, const char *const *names);
int option_push(lua_State *L, int arg, const char *name);
bool option_boolean(lua_State *L, int arg, const char *name, bool otherwise);
/* An integer of at least `least`. */
uint64_t option_count(lua_State *L, int arg, const char *name, uint64_t least, uint64_t otherwise);
/* Seconds, times `units`, rounded up; 0 if it is not given, and only then: 0 seconds are refused,
 * which would be the default, or no limit. */
uint64_t option_seconds(lua_State *L, int arg, const char *name, double units);
/* Seconds as milliseconds, in the terms of db.h: 0 is "not at all", math.huge "for ever". */
uint64_t option_wait_ms(lua_State *L, int arg, const char *name);
sombra_durability option_sync(lua_State *L, int arg);
int option_error(lua_State *L, int arg, const char *name, const char *what);

/* ---- fields of the table on top of the stack -------------------------------------------- */

static inline void set_integer(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}
static inline void set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}
void value_mark_list(lua_State *L);          /* the table on top is a list; pops nothing */
bool value_is_list(lua_State *L, int index); /* a table that is marked so */
/* Pushes an empty list, marked as one. */
static inline void list_push(lua_State *L)
{
    lua_newtable(L);
    value_mark_list(L);
}
/* Pops the value on top and puts it at the end of the list below it. */
static inline void list_append(lua_State *L)
{
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* ---- errors ------------------------------------------------------------------------------ */

void error_register(lua_State *L);
/* Pushes an error object with the engine's text; raise throws it; results gives nil and it. */
void error_push(lua_State *L, sombra_err code);
int error_raise(lua_State *L, sombra_err code);
int error_results(lua_State *L, sombra_err code);
void error_push_text(lua_State *L, sombra_err code, const char *text);
int error_raise_text(lua_State *L, sombra_err code, const char *text);

/* ---- values ------------------------------------------------------------------------------ */

/* sombra.null and sombra.list; expects the module table on top. */
void value_register(lua_State *L);
void value_push_null(lua_State *L);
bool value_is_null(lua_State *L, int index);

/* Encodes argument `arg`; `root` names it in messages. The bytes live until the next encoding. */
sombra_slice value_encode(lua_State *L, struct db_handle *db, int arg, const char *root);
/* The same of the value at `index`, which is a part of argument `arg`. */
sombra_slice value_encode_part(lua_State *L, struct db_handle *db, int arg, int index,
                               const char *root);
/* The same of one that will be a property: it may nest one level less. */
sombra_slice value_encode_element(lua_State *L, struct db_handle *db, int arg, int index,
                                  const char *root);
/* A number, string or boolean as it stands, without its bytes being made; false for all else. A
 * string is the Lua value's. */
bool value_look(lua_State *L, int index, sombra_value *out_value);
/* Encodes the map {[key] = value} of two arguments, the first of them a string. */
sombra_slice value_encode_pair(lua_State *L, struct db_handle *db, int key, int value);
/* A value of several parts: the builder of the database, reset; what is pushed to it and added; the
 * bytes, which live until the next encoding. Nothing in between may allocate in Lua. Raises. */
sombra_value_builder *value_begin(lua_State *L, struct db_handle *db);
/* Adds the value at `index`, which is a part of argument `arg`, `root` in messages. */
void value_add(lua_State *L, sombra_value_builder *builder, int arg, int index, const char *root);
/* Adds the members of the table that argument `arg` is, but those of the names `without`, which
 * NULL ends, to the open map. */
void value_add_members(lua_State *L, sombra_value_builder *builder, int arg, const char *root,
                       const char *const *without);
sombra_slice value_end(lua_State *L, struct db_handle *db);
/* Encodes a table of properties; nil and none are no properties. */
sombra_slice value_encode_props(lua_State *L, struct db_handle *db, int arg);

/* Pushes one encoded value; the bytes need not outlive the call's first allocation. */
void value_push(lua_State *L, sombra_slice encoded);
/* The same of a value that was looked at; the bytes must outlive the call. */
void value_push_decoded(lua_State *L, const sombra_value *value);

enum { VALUES_ROOM_BYTES = 1024 };
struct values_room {
    char bytes[VALUES_ROOM_BYTES];
};
/* Copies the bytes of values that the engine gave together, which lie in one piece, and lets them
 * point to the copy: in the room, or in a string that stays on the stack. Always pushes one value.
 * Those without bytes are left alone. */
void values_copy(lua_State *L, sombra_slice *values, size_t count, struct values_room *room);
/* Pushes one of those, or sombra.null for one that is not there. */
void value_push_or_null(lua_State *L, sombra_slice encoded);
/* Appends a property of each node to the list at `list`, behind `count` that are there: sombra.null
 * where there is none. Raises. At most VALUES_CHUNK nodes. */
enum { VALUES_CHUNK = 64 };
void values_append(lua_State *L, struct tx_handle *tx, int list, lua_Integer count,
                   const uint64_t *nodes, size_t node_count, sombra_slice name);

/* ---- ahead.c ---------------------------------------------------------------------------- */

/* A property of a node in a transaction that only reads and has a loop; NOT_FOUND, or no bytes: it
 * is not there. The value lives until the next call of this, or on the transaction. */
sombra_err ahead_get(struct tx_handle *tx, uint64_t node, sombra_slice name,
                     sombra_slice *out_value);
/* An iterator has another batch, or begins where an earlier one was. */
void ahead_forget(struct db_handle *db, const void *iterator);
void ahead_free(struct ahead *ahead); /* NULL is a no-op */

/* ---- prepare.c -------------------------------------------------------------------------- */

/* What may be given for a place. One id is a list of it for IDS, and a number for ENDS; ROWS is how
 * many. */
enum place_kind { PLACE_VALUE, PLACE_IDS, PLACE_ENDS, PLACE_ROWS };
/* Is the value at `index` a place of the traversal that sombra.prepare makes with this builder?
 * Then it is added. Allocates nothing in Lua. */
bool place_add(lua_State *L, sombra_value_builder *builder, int index, enum place_kind kind);
/* Sets `prepare` in the table on top. */
void prepare_register(lua_State *L);

/* What traversal_step.c keeps for a database; NULL is a no-op. */
void steps_free(struct known_step *steps);

/* ---- hook.c ------------------------------------------------------------------------------ */

/* Is Lua code to be interrupted, by Ctrl-C say? Then what was raised is on top of the stack, and
 * the caller raises it when the engine has returned. `place` names it in the message, as a chunk's
 * name ("=batch"). Raises nothing; the stack may grow. */
bool hook_ends(lua_State *L, const char *place);
/* Notes what the hooks of scripts are to C, once for a state. */
void hook_register(lua_State *L);
/* The engine writes many entries in one call: it is asked now and then. */
struct watch {
    lua_State *L;
    struct tx_handle *tx;
    bool is_raised; /* what ends it is on top of the stack */
    sombra_txn_poll before;
};
/* For sombra_txn_options; the context is a struct watch with L set. Once it has returned false,
 * what was raised is on top of the stack. */
bool hook_waits_on(void *context);
/* Nothing raises between the two. */
void watch_begin(lua_State *L, struct tx_handle *tx, struct watch *watch);
/* Raises what ended it. */
void watch_end(struct watch *watch);

/* ---- records ----------------------------------------------------------------------------- */

/* Reads a record, again if need be: a longer buffer costs an allocation, and the engine's bytes do
 * not survive that. */
typedef sombra_err (*record_read_fn)(sombra_txn *txn, uint64_t id, sombra_record *out_record);
/* Sets the field `props`, and `labels` if `has_labels`, of the table on top of the stack. NOT_FOUND
 * is returned; other failures are raised. */
sombra_err record_set_fields(lua_State *L, struct tx_handle *tx, uint64_t id, record_read_fn read,
                             bool has_labels);

#endif
