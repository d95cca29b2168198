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
        mask = event_of(lua_tostring(L, -1));
    } else if (type == LUA_TTABLE) {
        for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
            uint32_t event = lua_type(L, -1) == LUA_TSTRING ? event_of(lua_tostring(L, -1)) : 0;
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

/* Pushes the one argument of a trigger's procedure. The change's bytes are copied before anything
 * else can run. */
static void push_change(lua_State *L, const sombra_change *change)
{
    lua_pushlstring(L, change->before.data, change->before.bytes);
    int before = lua_gettop(L);
    lua_createtable(L, 0, 4);
    lua_pushstring(L, event_name(change->event));
    lua_setfield(L, -2, "event");
    lua_pushinteger(L, (lua_Integer)change->id);
    lua_setfield(L, -2, "id");
    lua_pushvalue(L, before - 1); /* the subject, pushed by the caller */
    lua_setfield(L, -2, change->is_edge ? "type" : "label");
    sombra_slice encoded;
    encoded.data = lua_tolstring(L, before, &encoded.bytes);
    if (encoded.bytes) {
        value_push(L, encoded);
        lua_setfield(L, -2, "old");
    }
    lua_remove(L, before);
}

static void run_trigger(lua_State *L, int index, const sombra_change *change)
{
    int top = lua_gettop(L);
    lua_pushlstring(L, change->procedure.data, change->procedure.bytes);
    lua_pushlstring(L, change->subject.data, change->subject.bytes);
    push_change(L, change);
    lua_getfield(L, index, "call");
    lua_pushvalue(L, index);
    lua_pushvalue(L, top + 1);
    lua_pushvalue(L, top + 3);
    lua_call(L, 3, 2);
    if (lua_isnil(L, -2) && !lua_isnil(L, -1)) {
        const char *why = luaL_tolstring(L, -1, NULL);
        error_raise_text(L, SOMBRA_CONSTRAINT,
                         lua_pushfstring(L, "trigger '%s' refused the change: %s",
                                         lua_tostring(L, top + 1), why));
    }
    lua_settop(L, top);
}

void tx_run_triggers(lua_State *L, int index)
{
    struct tx_handle *tx = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    luaL_checkstack(L, 12, "triggers");
    while (tx->is_write && tx_is_open(tx)) {
        sombra_change change = SOMBRA_CHANGE_INIT;
        bool is_found = false;
        sombra_err err = sombra_change_next(tx->txn, &change, &is_found);
        if (err)
            error_raise(L, err);
        if (!is_found)
            return;
        if (!tx->db->ignores_triggers)
            run_trigger(L, index, &change);
    }
}
