/* SPDX-License-Identifier: MIT */
/* Triggers: procedures that run before a commit, inside its transaction, for what it changed. The
 * engine notes the changes (sombra/index.h); whoever commits runs them here first.
 */
#include "binding.h"

#include <string.h>

static const struct {
    const char *name;
    sombra_event event;
} events[] = {
    { "create", SOMBRA_EVENT_CREATE },
    { "update", SOMBRA_EVENT_UPDATE },
    { "delete", SOMBRA_EVENT_DELETE },
};
enum { EVENT_COUNT = sizeof events / sizeof events[0] };

static uint32_t event_of(const char *name)
{
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        if (strcmp(events[i].name, name) == 0)
            return (uint32_t)events[i].event;
    }
    return 0;
}

static const char *event_name(sombra_event event)
{
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        if (events[i].event == event)
            return events[i].name;
    }
    return "unknown";
}

void trigger_push_events(lua_State *L, uint32_t mask)
{
    lua_Integer count = 0;
    lua_createtable(L, EVENT_COUNT, 0);
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        if (!(mask & (uint32_t)events[i].event))
            continue;
        lua_pushstring(L, events[i].name);
        lua_rawseti(L, -2, ++count);
    }
}

/* Option `on` of the table at 4: a name or a list of names; nil is all of them. */
static uint32_t check_events(lua_State *L)
{
    uint32_t mask = 0;
    int type = option_push(L, 4, "on");
    if (type == LUA_TNIL) {
        for (size_t i = 0; i < EVENT_COUNT; i++)
            mask |= (uint32_t)events[i].event;
    } else if (type == LUA_TSTRING) {
        mask = event_of(word_at(L, -1));
    } else if (type == LUA_TTABLE) {
        for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
            uint32_t event = event_of(word_at(L, -1));
            if (!event)
                option_error(L, 4, "on", "'create', 'update' or 'delete' expected");
            mask |= event;
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (!mask)
        option_error(L, 4, "on", "'create', 'update' or 'delete', or a list of them, expected");
    return mask;
}

static void check_trigger(lua_State *L, sombra_rule *out_rule)
{
    static const char *const names[] = { "on", "edge", NULL };
    sombra_rule rule = SOMBRA_RULE_INIT;
    lua_settop(L, 4);
    rule.kind = SOMBRA_RULE_TRIGGER;
    rule.subject = check_name(L, 2);
    rule.properties[0] = check_name(L, 3);
    rule.property_count = 1;
    if (!options_given(L, 4, names)) {
        lua_newtable(L);
        lua_replace(L, 4);
    }
    rule.is_edge = option_boolean(L, 4, "edge", false);
    rule.events = check_events(L);
    *out_rule = rule;
}

/* tx:create_trigger(label, procedure [, {on, edge}]) -> id */
static int tx_create_trigger(lua_State *L)
{
    sombra_rule rule;
    uint32_t id = 0;
    struct tx_handle *tx = tx_self(L);
    check_trigger(L, &rule);
    sombra_err err = sombra_rule_create(tx->txn, &rule, NULL, &id);
    if (err)
        return error_raise(L, err);
    lua_pushinteger(L, id);
    return 1;
}

/* tx:drop_trigger(label, procedure [, {edge}]) -> whether it was there */
static int tx_drop_trigger(lua_State *L)
{
    sombra_rule rule;
    uint32_t id = 0;
    struct tx_handle *tx = tx_self(L);
    check_trigger(L, &rule);
    sombra_err err = sombra_rule_find(tx->txn, &rule, &id);
    bool is_there = err != SOMBRA_NOT_FOUND;
    if (!err)
        err = sombra_rule_drop(tx->txn, id);
    if (err && is_there)
        return error_raise(L, err);
    lua_pushboolean(L, is_there);
    return 1;
}

const luaL_Reg tx_trigger_methods[] = {
    { "create_trigger", tx_create_trigger },
    { "drop_trigger", tx_drop_trigger },
    { NULL, NULL },
};

enum { SLOT_TX = 1, SLOT_CHANGE, SLOT_BEFORE, SLOT_PROCEDURE, SLOT_SUBJECT, SLOT_TABLE };

/* Puts texts of the change into their slots. All are copied before anything else can run. */
static void push_texts(lua_State *L, const sombra_change *change)
{
    char names[2][SOMBRA_NAME_BYTES_MAX];
    size_t bytes[2] = { change->procedure.bytes, change->subject.bytes };
    memcpy(names[0], change->procedure.data, bytes[0]);
    memcpy(names[1], change->subject.data, bytes[1]);
    lua_pushlstring(L, change->before.data, change->before.bytes);
    lua_pushlstring(L, names[0], bytes[0]);
    lua_pushlstring(L, names[1], bytes[1]);
}

/* Puts the one argument of a trigger's procedure into its slot. */
static void push_change(lua_State *L, const sombra_change *change)
{
    sombra_slice before;
    lua_createtable(L, 0, 5);
    lua_pushstring(L, event_name(change->event));
    lua_setfield(L, -2, "event");
    lua_pushinteger(L, (lua_Integer)change->id);
    lua_setfield(L, -2, "id");
    lua_pushvalue(L, SLOT_SUBJECT);
    lua_setfield(L, -2, change->is_edge ? "type" : "label");
    before.data = lua_tolstring(L, SLOT_BEFORE, &before.bytes);
    if (before.bytes) {
        value_push(L, before);
        lua_setfield(L, -2, "old");
    }
}

/* The error object on top says which change it is about. */
static int explain(lua_State *L, const sombra_change *change)
{
    int error = lua_gettop(L);
    luaL_getmetatable(L, ERROR_NAME);
    if (lua_type(L, error) == LUA_TTABLE && lua_getmetatable(L, error) && lua_rawequal(L, -1, -2)) {
        lua_getfield(L, error, "message");
        const char *message = lua_tostring(L, -1);
        lua_pushfstring(L, "on %s of %s %I: %s", event_name(change->event),
                        lua_tostring(L, SLOT_SUBJECT), (lua_Integer)change->id,
                        message ? message : "");
        lua_setfield(L, error, "message");
        lua_pushvalue(L, SLOT_PROCEDURE);
        lua_setfield(L, SLOT_TABLE, "procedure");
        lua_pushvalue(L, SLOT_TABLE);
        lua_setfield(L, error, "trigger");
    }
    lua_settop(L, error);
    return lua_error(L);
}

/* Arguments: the transaction, the change. */
static int run_trigger(lua_State *L)
{
    const sombra_change change = *(const sombra_change *)lua_touserdata(L, SLOT_CHANGE);
    push_texts(L, &change);
    push_change(L, &change);
    lua_getfield(L, SLOT_TX, "call");
    lua_pushvalue(L, SLOT_TX);
    lua_pushvalue(L, SLOT_PROCEDURE);
    lua_pushvalue(L, SLOT_TABLE);
    if (lua_pcall(L, 3, 2, 0) != LUA_OK)
        return explain(L, &change);
    if (lua_isnil(L, -2) && !lua_isnil(L, -1)) {
        const char *why = luaL_tolstring(L, -1, NULL);
        error_push_text(L, SOMBRA_CONSTRAINT,
                        lua_pushfstring(L, "trigger '%s' refused it: %s",
                                        lua_tostring(L, SLOT_PROCEDURE), why));
        return explain(L, &change);
    }
    return 0;
}

/* What a trigger refused is taken and would not be asked about again: the transaction must end
 * with it, and in a coroutine nobody else would see to that. */
void tx_run_triggers(lua_State *L, int index)
{
    struct tx_handle *tx = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    luaL_checkstack(L, 4, "triggers");
    while (tx->is_write && tx_is_open(tx)) {
        sombra_change change = SOMBRA_CHANGE_INIT;
        bool is_found = false;
        sombra_err err = sombra_change_next(tx->txn, &change, &is_found);
        if (err) {
            error_push(L, err);
            tx_abort(tx);
            lua_error(L);
        }
        if (!is_found)
            return;
        if (tx->db->ignores_triggers)
            continue;
        lua_pushcfunction(L, run_trigger);
        lua_pushvalue(L, index);
        lua_pushlightuserdata(L, &change);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
            tx_abort(tx);
            lua_error(L);
        }
    }
}
