/* SPDX-License-Identifier: MIT */
/* sombra.db: an open database; and sombra.open. Its transactions are in tx.c and managed.c. */
#include "procedure.h"

#include <limits.h>
#include <string.h>

/* A string of the options, which their table keeps alive; NULL if it is not given. */
static const char *option_text(lua_State *L, int arg, const char *name)
{
    const char *text = NULL;
    if (option_push(L, arg, name) != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING)
            option_error(L, arg, name, "string expected");
        size_t bytes;
        text = lua_tolstring(L, -1, &bytes);
        if (strlen(text) != bytes)
            option_error(L, arg, name, "a string without zero bytes expected");
    }
    lua_pop(L, 1);
    return text;
}

static unsigned option_unsigned(lua_State *L, int arg, const char *name, unsigned least)
{
    uint64_t count = option_count(L, arg, name, least, 0);
    if (count > UINT_MAX - 1)
        option_error(L, arg, name, "a smaller number expected");
    return (unsigned)count;
}

/* Those of engines with tables. */
static void read_table_options(lua_State *L, int arg, sombra_options *options)
{
    options->cache_bytes = option_count(L, arg, "cache_size", 1, 0);
    options->memtable_bytes = option_count(L, arg, "memtable_size", 1, 0);
    options->block_bytes = option_count(L, arg, "block_size", 1, 0);
    options->table_bytes = option_count(L, arg, "table_size", 1, 0);
    options->level_bytes = option_count(L, arg, "level_size", 1, 0);
    options->level_ratio = option_unsigned(L, arg, "level_ratio", 1);
    options->compaction_threads = option_unsigned(L, arg, "compaction_threads", 1);
    options->compaction_rate = option_count(L, arg, "compaction_rate", 1, 0);
    options->codec = option_text(L, arg, "codec");
    options->bottom_codec = option_text(L, arg, "bottom_codec");
    options->compaction = option_text(L, arg, "compaction");
    if (option_push(L, arg, "filter_bits") != LUA_TNIL) {
        unsigned bits = option_unsigned(L, arg, "filter_bits", 0);
        options->filter_bits = bits ? bits : SOMBRA_NO_FILTER;
    }
    lua_pop(L, 1);
}

void open_options_read(lua_State *L, int arg, sombra_options *options)
{
    static const char *const names[] = {
        "engine",           "create",
        "readonly",         "sync",
        "busy_timeout",     "page_size",
        "sync_interval",    "group_wait",
        "wal_bypass_bytes", "file_mode",
        "txn_memory_max",   "memory_size",
        "network_files",    "auto_compact",
        "triggers",         "cache_size",
        "memtable_size",    "block_size",
        "filter_bits",      "codec",
        "bottom_codec",     "compaction",
        "table_size",       "level_size",
        "level_ratio",      "compaction_threads",
        "compaction_rate",  NULL,
    };
    if (!options_given(L, arg, names))
        return;
    options->engine = option_text(L, arg, "engine");
    options->create = option_boolean(L, arg, "create", false);
    options->readonly = option_boolean(L, arg, "readonly", false);
    options->durability = option_sync(L, arg);
    options->busy_timeout_ms = option_wait_ms(L, arg, "busy_timeout");
    options->page_bytes = option_count(L, arg, "page_size", 1, 0);
    options->sync_interval_ms = option_seconds(L, arg, "sync_interval", 1e3);
    options->group_wait_us = option_seconds(L, arg, "group_wait", 1e6);
    options->no_auto_compact = !option_boolean(L, arg, "auto_compact", true);
    options->wal_bypass_bytes = option_count(L, arg, "wal_bypass_bytes", 1, 0);
    options->txn_memory_max = option_count(L, arg, "txn_memory_max", 1, 0);
    options->memory_bytes = option_count(L, arg, "memory_size", 1, 0);
    options->network_files = option_boolean(L, arg, "network_files", false);
    uint64_t file_mode = option_count(L, arg, "file_mode", 1, 0);
    if (file_mode > 0777)
        option_error(L, arg, "file_mode", "permission bits, up to 0x1ff, expected");
    options->mode = (unsigned)file_mode;
    (void)option_boolean(L, arg, "triggers", true);
    read_table_options(L, arg, options);
}

int db_open(lua_State *L)
{
    size_t bytes;
    const char *path = luaL_checklstring(L, 1, &bytes);
    luaL_argcheck(L, strlen(path) == bytes, 1, "the path contains a zero byte");
    sombra_options options = SOMBRA_OPTIONS_INIT;
    lua_settop(L, 2);
    open_options_read(L, 2, &options);

    struct db_handle *db = lua_newuserdatauv(L, sizeof *db, 1);
    *db = (struct db_handle){ .db = NULL };
    luaL_setmetatable(L, DB_NAME);
    if (lua_istable(L, 2))
        db->ignores_triggers = !option_boolean(L, 2, "triggers", true);
    sombra_err err = sombra_open(path, &options, &db->db);
    if (!err)
        return 1;
    error_push(L, err);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "path");
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
}

struct db_handle *db_self(lua_State *L)
{
    struct proof *proof = lua_touserdata(L, lua_upvalueindex(3));
    struct db_handle *db = lua_touserdata(L, 1);
    if (LIKELY(db && db == proof->db))
        return db;
    db = self_check(L, DB_NAME);
    if (UNLIKELY(!db->db))
        luaL_argerror(L, 1, "the database is closed");
    db->proof = proof;
    proof->db = db;
    return db;
}

static sombra_err release(struct db_handle *db)
{
    sombra_db *handle = db->db;
    sombra_value_builder *builder = db->builder;
    struct event_queue *events = db->events;
    ahead_free(db->ahead);
    steps_free(db->steps);
    if (db->proof && db->proof->db == db)
        db->proof->db = NULL;
    *db = (struct db_handle){ .db = NULL, .delivers = db->delivers };
    sombra_value_builder_free(builder);
    sombra_err err = sombra_close(handle);
    events_free(events);
    return err;
}

/* db:close() -> true, or nil and an error; a second call does nothing */
static int db_close(lua_State *L)
{
    struct db_handle *db = self_check(L, DB_NAME);
    if (db->jobs > 0)
        return luaL_error(L, "the database cannot be closed by a function that it calls (progress, "
                             "filter, weight ...)");
    sombra_err err = release(db);
    if (err)
        return error_results(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int begin(lua_State *L, const sombra_txn_options *options, bool is_snapshot)
{
    struct tx_handle *tx = tx_push(L, 1);
    tx->is_snapshot = is_snapshot;
    tx_begin(L, tx, options);
    return 1;
}

/* db:begin("read" | "write" [, options]) -> tx */
static int db_begin(lua_State *L)
{
    static const char *const modes[] = { "read", "write", NULL };
    static const char *const names[2][2] = { { "durable", NULL }, { "busy_timeout", NULL } };
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    (void)db_self(L);
    luaL_checktype(L, 2, LUA_TSTRING);
    options.is_write = check_choice(L, 2, NULL, modes) == 1;
    if (options_given(L, 3, names[options.is_write])) {
        if (options.is_write)
            options.busy_timeout_ms = option_wait_ms(L, 3, "busy_timeout");
        else
            options.needs_durable = option_boolean(L, 3, "durable", false);
    }
    return begin(L, &options, false);
}

/* db:snapshot() -> tx, to be kept for long */
static int db_snapshot(lua_State *L)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    (void)db_self(L);
    return begin(L, &options, true);
}

/* ---- statistics and maintenance ---------------------------------------------------------- */

static void set_numbers(lua_State *L, const sombra_stats *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        { "nodes", stats->nodes },
        { "edges", stats->edges },
        { "entries", stats->entries },
        { "txn", stats->txn },
        { "lsn", stats->lsn },
        { "durable_lsn", stats->durable_lsn },
        { "depth", stats->depth },
        { "page_size", stats->page_bytes },
        { "pages", stats->pages_total },
        { "pages_free", stats->pages_free },
        { "pages_pending", stats->pages_pending },
        { "pages_read", stats->pages_read },
        { "file_bytes", stats->file_bytes },
        { "log_bytes", stats->log_bytes },
        { "memory_bytes", stats->memory_bytes },
        { "readers", stats->readers },
        { "checkpoints", stats->checkpoints },
        { "commits", stats->commits },
        { "transactions", stats->txns_open },
        { "compact_txn", stats->compact_txn },
        { "compact_pages_moved", stats->compact_pages_moved },
        { "compact_pages_returned", stats->compact_pages_returned },
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        set_integer(L, fields[i].name, fields[i].value);
}

/* Sets `levels` of the table on top: a list, level 0 first, of what engines with levels have. */
static void push_levels(lua_State *L, const sombra_stats *stats)
{
    lua_createtable(L, (int)stats->levels, 0);
    for (unsigned i = 0; i < stats->levels; i++) {
        const sombra_level_stats *level = &stats->level[i];
        lua_createtable(L, 0, 5);
        set_integer(L, "runs", level->runs);
        set_integer(L, "tables", level->tables);
        set_integer(L, "bytes", level->bytes);
        set_integer(L, "entries", level->entries);
        set_integer(L, "deletes", level->deletes);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "levels");
    set_integer(L, "memtable_bytes", stats->memtable_bytes);
    set_integer(L, "cache_bytes", stats->cache_bytes);
    set_integer(L, "compaction_debt_bytes", stats->compaction_debt_bytes);
    lua_createtable(L, 0, 8);
    set_integer(L, "commit_bytes", stats->total_commit_bytes);
    set_integer(L, "log_bytes", stats->total_log_bytes);
    set_integer(L, "flush_bytes", stats->total_flush_bytes);
    set_integer(L, "compaction_bytes", stats->total_compaction_bytes);
    set_integer(L, "filter_skips", stats->total_filter_skips);
    set_integer(L, "filter_false_positives", stats->total_filter_false_positives);
    set_integer(L, "stalls", stats->total_stalls);
    lua_pushnumber(L, (lua_Number)stats->total_stall_ns / 1e9);
    lua_setfield(L, -2, "stall_seconds");
    lua_setfield(L, -2, "totals");
}

/* db:stats() -> table */
static int db_stats(lua_State *L)
{
    struct db_handle *db = db_self(L);
    sombra_stats stats = SOMBRA_STATS_INIT;
    sombra_err err = sombra_db_stats(db->db, &stats);
    if (err)
        return error_raise(L, err);
    lua_pushstring(L, sombra_db_path(db->db));
    lua_createtable(L, 0, 28);
    lua_insert(L, -2);
    lua_setfield(L, -2, "path");
    set_numbers(L, &stats);
    if (stats.readers > 0) {
        lua_createtable(L, 0, 3);
        set_integer(L, "txn", stats.oldest_reader_txn);
        set_integer(L, "process", stats.oldest_reader_process);
        lua_pushnumber(L, (lua_Number)stats.oldest_reader_age_ms / 1000);
        lua_setfield(L, -2, "age");
        lua_setfield(L, -2, "oldest_reader");
    }
    if (stats.levels > 0)
        push_levels(L, &stats);
    db = db_self(L); /* a finalizer may have closed it */
    set_boolean(L, "entries_exact", !stats.is_entries_estimate);
    lua_pushboolean(L, sombra_db_is_readonly(db->db));
    lua_setfield(L, -2, "readonly");
    lua_pushstring(L, sombra_db_engine(db->db));
    lua_setfield(L, -2, "engine");
    return 1;
}

/* db:refresh() */
static int db_refresh(lua_State *L)
{
    struct db_handle *db = db_self(L);
    sombra_err err = sombra_db_refresh(db->db);
    return err ? error_raise(L, err) : 0;
}

/* ---- the class --------------------------------------------------------------------------- */

static int db_gc(lua_State *L)
{
    struct db_handle *db = luaL_checkudata(L, 1, DB_NAME);
    /* What close could not write is in the log, and is recovered at the next open. In the middle of
     * a job this is the end of the whole state, and so of the process. */
    if (db->jobs == 0)
        (void)release(db);
    return 0;
}

static int db_tostring(lua_State *L)
{
    const struct db_handle *db = luaL_checkudata(L, 1, DB_NAME);
    if (db->db)
        lua_pushfstring(L, "%s: %s, open", DB_NAME, sombra_db_path(db->db));
    else
        lua_pushfstring(L, "%s: closed", DB_NAME);
    return 1;
}

void db_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        { "__gc", db_gc },
        { "__close", db_gc },
        { "__tostring", db_tostring },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "read", db_method_read },
        { "write", db_method_write },
        { "begin", db_begin },
        { "snapshot", db_snapshot },
        { "stats", db_stats },
        { "metrics", db_metrics },
        { "on_event", db_on_event },
        { "poll_events", db_poll_events },
        { "checkpoint", db_checkpoint },
        { "refresh", db_refresh },
        { "verify", db_verify },
        { "backup", db_backup },
        { "compact", db_compact },
        { "schema", db_schema },
        { "create_index", db_create_index },
        { "close", db_close },
        { NULL, NULL },
    };
    const luaL_Reg *const sets[] = { methods, db_procedure_methods, db_migration_methods, NULL };
    class_register(L, DB_NAME, metamethods, sets);
}
