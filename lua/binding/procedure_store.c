/* SPDX-License-Identifier: MIT */
/* Units in the bucket "sombra.procedures": the key is "name@" and the version as ten digits, so
 * that the newest version of a name is the last key of its prefix; the value a map {text, hash,
 * chunk, mode, doc, params, limits, has_run, has_exports, defined}.
 */
#include "procedure.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUCKET "sombra.procedures"

enum { KEY_BYTES_MAX = UNIT_NAME_BYTES_MAX + 1 + 10, DEFINE_TIME_US = 1000000 };

/* ---- bytes ------------------------------------------------------------------------------- */

bool bytes_append(struct bytes *bytes, sombra_slice from)
{
    size_t needed = bytes->count + from.bytes;
    if (needed > bytes->capacity) {
        size_t capacity = needed * 2;
        uint8_t *data = realloc(bytes->data, capacity);
        if (!data)
            return false;
        bytes->data = data;
        bytes->capacity = capacity;
    }
    if (from.bytes)
        memcpy(bytes->data + bytes->count, from.data, from.bytes);
    bytes->count = needed;
    return true;
}

bool bytes_set(struct bytes *bytes, sombra_slice from)
{
    bytes->count = 0;
    return bytes_append(bytes, from);
}

/* ---- members of encoded maps ----------------------------------------------------------------- */

bool member_value(sombra_slice map, const char *name, sombra_value *out)
{
    sombra_value whole;
    return !sombra_value_decode(map, &whole) && whole.kind == SOMBRA_MAP &&
           !sombra_value_member(&whole, (sombra_slice){ name, strlen(name) }, out);
}

bool member_string(sombra_slice map, const char *name, sombra_slice *out)
{
    sombra_value value;
    if (!member_value(map, name, &value) || value.kind != SOMBRA_STRING)
        return false;
    *out = value.as.string;
    return true;
}

/* ---- ids ------------------------------------------------------------------------------------- */

static bool is_name_byte(char c, bool is_first)
{
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return is_letter || (!is_first && ((c >= '0' && c <= '9') || c == '.' || c == '-'));
}

bool unit_parse_id(const char *text, size_t bytes, struct unit_id *out)
{
    size_t length = 0;
    uint64_t version = 0;
    while (length < bytes && is_name_byte(text[length], length == 0))
        length++;
    if (length == 0 || length > UNIT_NAME_BYTES_MAX)
        return false;
    if (length < bytes) {
        if (text[length] != '@' || length + 1 == bytes || bytes - length > 10)
            return false;
        for (size_t i = length + 1; i < bytes; i++) {
            if (text[i] < '0' || text[i] > '9')
                return false;
            version = version * 10 + (uint64_t)(text[i] - '0');
        }
        if (version == 0)
            return false;
    }
    memcpy(out->name, text, length);
    out->name[length] = '\0';
    out->version = (uint32_t)version;
    return true;
}

void unit_check_id(lua_State *L, int arg, struct unit_id *out)
{
    size_t bytes;
    luaL_checktype(L, arg, LUA_TSTRING);
    const char *text = lua_tolstring(L, arg, &bytes);
    if (!unit_parse_id(text, bytes, out))
        luaL_argerror(L, arg, "\"name\" or \"name@version\" expected: letters, digits and _ . -");
}

static sombra_key unit_key(const struct unit_id *id, char key[KEY_BYTES_MAX + 1])
{
    int bytes = snprintf(key, KEY_BYTES_MAX + 1, "%s@%010u", id->name, (unsigned)id->version);
    return sombra_key_string(key, (size_t)bytes);
}

static sombra_err open_bucket(sombra_txn *txn, bool create, sombra_bucket_id *out_bucket)
{
    sombra_bucket_options options = SOMBRA_BUCKET_OPTIONS_INIT;
    options.create = create;
    options.is_internal = true;
    return sombra_bucket_open(txn, (sombra_slice){ BUCKET, sizeof BUCKET - 1 }, &options,
                              out_bucket);
}

/* ---- read ------------------------------------------------------------------------------------ */

/* The newest version of the name: the last key of its prefix. */
static sombra_err find_newest(sombra_txn *txn, sombra_bucket_id bucket, struct unit_id *id)
{
    char prefix[KEY_BYTES_MAX + 1];
    sombra_key_range range = SOMBRA_KEY_RANGE_INIT;
    sombra_scan *scan;
    sombra_key key;
    sombra_slice value;
    bool is_found = false;
    int bytes = snprintf(prefix, sizeof prefix, "%s@", id->name);
    range.prefix = (sombra_slice){ prefix, (size_t)bytes };
    range.reverse = true;
    range.limit = 1;
    sombra_err err = sombra_scan_open(txn, bucket, &range, &scan);
    if (err)
        return err;
    err = sombra_scan_next(scan, &key, &value, &is_found);
    if (!err && !is_found)
        err = SOMBRA_NOT_FOUND;
    if (!err) {
        const char *digits = key.string.data;
        uint64_t version = 0;
        for (size_t i = (size_t)bytes; i < key.string.bytes; i++)
            version = version * 10 + (uint64_t)(digits[i] - '0');
        id->version = (uint32_t)version;
    }
    sombra_scan_close(scan);
    return err;
}

sombra_err unit_load(sombra_txn *txn, struct unit_id *id, struct bytes *out_definition)
{
    char text[KEY_BYTES_MAX + 1];
    sombra_bucket_id bucket;
    sombra_slice value;
    sombra_err err = open_bucket(txn, false, &bucket);
    if (!err && id->version == 0)
        err = find_newest(txn, bucket, id);
    if (!err) {
        sombra_key key = unit_key(id, text);
        err = sombra_bucket_get(txn, bucket, &key, &value);
    }
    if (!err && !bytes_set(out_definition, value))
        err = SOMBRA_NOMEM;
    return err;
}

/* ---- define ---------------------------------------------------------------------------------- */

static void hash_text(const char *text, size_t bytes, char out[SHA256_DIGEST_STRING_LENGTH])
{
    SHA256Data((const uint8_t *)text, bytes, out);
}

/* Source at index 2: text, or what sombra.source gave: {text, name}. Pushes text and chunk name. */
static void push_source(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TTABLE) {
        lua_getfield(L, 2, "text");
        lua_getfield(L, 2, "name");
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            luaL_argerror(L, 2, "source text, or sombra.source(path), expected");
        return;
    }
    luaL_checktype(L, 2, LUA_TSTRING);
    lua_pushvalue(L, 2);
    lua_pushliteral(L, "");
}

static void set_string(lua_State *L, const char *name, const char *text, size_t bytes)
{
    lua_pushlstring(L, text, bytes);
    lua_setfield(L, -2, name);
}

/* The version that is there already: the same text is no change, another is refused. Returns
 * whether it is there. */
static bool is_defined(lua_State *L, sombra_txn *txn, struct unit_id *id, const char *hash)
{
    struct bytes *old = lua_newuserdatauv(L, sizeof *old, 0); /* collected without its block: */
    *old = (struct bytes){ .data = NULL };                    /* nothing raises before free */
    sombra_err err = unit_load(txn, id, old);
    sombra_slice old_hash = { NULL, 0 };
    bool is_same = !err && member_string(bytes_slice(old), "hash", &old_hash) &&
                   old_hash.bytes == strlen(hash) &&
                   memcmp(old_hash.data, hash, old_hash.bytes) == 0;
    free(old->data);
    lua_pop(L, 1);
    if (err == SOMBRA_NOT_FOUND)
        return false;
    if (err)
        error_raise(L, err);
    if (!is_same)
        error_raise_text(L, SOMBRA_EXISTS,
                         lua_pushfstring(L,
                                         "procedure '%s' version %d is defined with another text: "
                                         "give the new one a new version",
                                         id->name, (int)id->version));
    return true;
}

/* tx:define(source) -> name, version, whether it is new */
static int tx_define(lua_State *L)
{
    size_t bytes, chunk_bytes;
    char hash[SHA256_DIGEST_STRING_LENGTH], key_text[KEY_BYTES_MAX + 1], chunk_name[300];
    struct tx_handle *tx = tx_self(L);
    lua_settop(L, 2);
    push_source(L); /* 3 text, 4 chunk */
    const char *text = lua_tolstring(L, 3, &bytes);
    const char *chunk = lua_tolstring(L, 4, &chunk_bytes);
    if (!tx->is_write)
        return error_raise_text(L, SOMBRA_READONLY, "define needs a write transaction");
    hash_text(text, bytes, hash);
    snprintf(chunk_name, sizeof chunk_name, "%s%s", chunk_bytes ? "@" : "=",
             chunk_bytes ? chunk : "procedure");
    struct call *call = lua_newuserdatauv(L, sizeof *call, 0);
    *call = (struct call){ .db = tx->db, .txn = tx->txn };
    luaL_setmetatable(L, CALL_NAME);
    lua_toclose(L, -1);
    struct sandbox_limits limits = { .time_us = DEFINE_TIME_US };
    if (call_of(L))
        call_bound_limits(call_of(L), &limits);
    call_open_sandbox(L, call, &limits);
    int status = call_describe(call, (sombra_slice){ text, bytes }, chunk_name);
    if (call_of(L))
        sandbox_tick(L, sandbox_work(call->sandbox));
    if (status != LUA_OK) {
        call_push_error(L, call, status);
        return lua_error(L);
    }
    value_push(L, bytes_slice(&call->results)); /* a normalised description */
    lua_getfield(L, -1, "name");
    lua_getfield(L, -2, "version");
    struct unit_id id;
    size_t name_bytes;
    const char *name = lua_tolstring(L, -2, &name_bytes);
    if (!unit_parse_id(name, name_bytes, &id) || id.version != 0)
        return error_raise_text(L, SOMBRA_INVALID,
                                "the procedure's name is not made of letters, digits and _ . -");
    id.version = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 2);
    bool is_there = is_defined(L, tx->txn, &id, hash);
    if (!is_there) {
        set_string(L, "text", text, bytes);
        set_string(L, "hash", hash, strlen(hash));
        set_string(L, "chunk", chunk, chunk_bytes);
        lua_pushinteger(L, (lua_Integer)time(NULL));
        lua_setfield(L, -2, "defined");
        sombra_bucket_id bucket;
        sombra_err err = open_bucket(tx->txn, true, &bucket);
        sombra_key key = unit_key(&id, key_text);
        if (!err) {
            sombra_slice value = value_encode(L, tx->db, lua_gettop(L), "procedure");
            err = sombra_bucket_put(tx->txn, bucket, &key, value);
        }
        if (err)
            return error_raise(L, err);
    }
    lua_pushstring(L, id.name);
    lua_pushinteger(L, id.version);
    lua_pushboolean(L, !is_there);
    return 3;
}

/* Deletes one version, or all of a name; how many. */
static sombra_err delete_versions(sombra_txn *txn, const struct unit_id *id, uint64_t *out_deleted)
{
    char text[KEY_BYTES_MAX + 1];
    sombra_bucket_id bucket;
    sombra_key_range range = SOMBRA_KEY_RANGE_INIT;
    sombra_err err = open_bucket(txn, false, &bucket);
    if (err == SOMBRA_NOT_FOUND) {
        *out_deleted = 0;
        return SOMBRA_OK;
    }
    if (err)
        return err;
    if (id->version) {
        bool is_deleted = false;
        sombra_key key = unit_key(id, text);
        err = sombra_bucket_delete(txn, bucket, &key, &is_deleted);
        *out_deleted = is_deleted;
        return err;
    }
    int bytes = snprintf(text, sizeof text, "%s@", id->name);
    range.prefix = (sombra_slice){ text, (size_t)bytes };
    return sombra_bucket_delete_range(txn, bucket, &range, out_deleted);
}

/* tx:undefine(name [, {version = n}]) -> number of versions removed */
static int tx_undefine(lua_State *L)
{
    static const char *const names[] = { "version", NULL };
    struct unit_id id;
    uint64_t deleted = 0;
    struct tx_handle *tx = tx_self(L);
    unit_check_id(L, 2, &id);
    if (options_given(L, 3, names))
        id.version = (uint32_t)option_count(L, 3, "version", 1, id.version);
    sombra_err err = delete_versions(tx->txn, &id, &deleted);
    if (err)
        return error_raise(L, err);
    lua_pushinteger(L, (lua_Integer)deleted);
    return 1;
}

/* sombra.source(path) -> {text, name}, for define */
int procedure_source(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    luaL_Buffer buffer;
    FILE *file = fopen(path, "rb");
    if (!file)
        return luaL_fileresult(L, 0, path);
    luaL_buffinit(L, &buffer);
    size_t bytes, total = 0;
    do { /* one byte over the limit is enough to refuse it later */
        char *to = luaL_prepbuffer(&buffer);
        bytes = fread(to, 1, LUAL_BUFFERSIZE, file);
        luaL_addsize(&buffer, bytes);
        total += bytes;
    } while (bytes == LUAL_BUFFERSIZE && total <= SANDBOX_SOURCE_BYTES_MAX);
    int has_failed = ferror(file);
    fclose(file);
    if (has_failed)
        return luaL_fileresult(L, 0, path);
    luaL_pushresult(&buffer);
    lua_createtable(L, 0, 2);
    lua_insert(L, -2);
    lua_setfield(L, -2, "text");
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "name");
    return 1;
}

/* ---- list ------------------------------------------------------------------------------------ */

/* Upvalues: list, position. */
static int next_procedure(lua_State *L)
{
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(2)) + 1;
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(2));
    if (lua_rawgeti(L, lua_upvalueindex(1), at) == LUA_TNIL)
        return 1;
    lua_getfield(L, -1, "name");
    lua_insert(L, -2);
    return 2;
}

/* tx:procedures() -> iterator of name, info; every version, oldest first. What it lists is read at
 * once: definitions are few. */
static int tx_procedures(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_bucket_id bucket;
    sombra_scan *scan = NULL;
    sombra_err err = open_bucket(tx->txn, false, &bucket);
    lua_settop(L, 1);
    lua_newtable(L);
    if (!err) {
        err = sombra_scan_open(tx->txn, bucket, NULL, &scan);
        for (lua_Integer i = 1; !err; i++) {
            sombra_key key;
            sombra_slice value;
            bool is_found = false;
            err = sombra_scan_next(scan, &key, &value, &is_found);
            if (err || !is_found)
                break;
            /* A raise leaves the scan to its transaction, which owns it. */
            value_push(L, value);
            lua_rawseti(L, 2, i);
        }
        sombra_scan_close(scan);
    }
    if (err && err != SOMBRA_NOT_FOUND)
        return error_raise(L, err);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_procedure, 2);
    return 1;
}

/* ---- the same on databases ------------------------------------------------------------------- */

/* Upvalues: name of the method of tx, arguments. Argument 1 is the transaction. */
static int forward(lua_State *L)
{
    int count = (int)lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 1);
    lua_getfield(L, 1, lua_tostring(L, lua_upvalueindex(1)));
    lua_insert(L, 1);
    for (int i = 0; i < count; i++)
        lua_pushvalue(L, lua_upvalueindex(3 + i));
    lua_call(L, 1 + count, LUA_MULTRET);
    return lua_gettop(L);
}

/* db:method(...) as one managed transaction around tx:method(...). */
static int in_transaction(lua_State *L, const char *mode, const char *method)
{
    (void)db_self(L);
    int count = lua_gettop(L) - 1;
    lua_pushstring(L, method);
    lua_pushinteger(L, count);
    lua_rotate(L, 2, 2);
    lua_pushcclosure(L, forward, 2 + count);
    lua_getfield(L, 1, mode);
    lua_insert(L, 1);
    lua_call(L, 2, LUA_MULTRET);
    return lua_gettop(L);
}

static int db_define(lua_State *L)
{
    lua_settop(L, 2);
    return in_transaction(L, "write", "define");
}

static int db_undefine(lua_State *L)
{
    lua_settop(L, 3);
    return in_transaction(L, "write", "undefine");
}

static int db_procedures(lua_State *L)
{
    lua_settop(L, 1);
    return in_transaction(L, "read", "procedures");
}

const luaL_Reg tx_procedure_methods[] = {
    { "define", tx_define },
    { "undefine", tx_undefine },
    { "procedures", tx_procedures },
    { "call", tx_call },
    { NULL, NULL },
};
const luaL_Reg db_procedure_methods[] = {
    { "define", db_define }, { "undefine", db_undefine }, { "procedures", db_procedures },
    { "call", db_call },     { "stream", db_stream },     { NULL, NULL },
};
