/* SPDX-License-Identifier: MIT */
/* Methods of sombra.tx that stand on indexes, and rules: making, dropping and listing them. The
 * online build is in job.c. */
#include "batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rules ------------------------------------------------------------------------------- */

void check_index(lua_State *L, int label, int names, int options, bool has_options,
                 sombra_rule *out_rule)
{
    sombra_slice inlined[NAMES_INLINE];
    size_t count;
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.kind = SOMBRA_RULE_INDEX;
    rule.subject = check_name(L, label);
    const sombra_slice *given = check_names(L, names, inlined, &count);
    if (count == 0 || count > SOMBRA_INDEX_PROPERTIES)
        luaL_argerror(
            L, names,
            lua_pushfstring(L, "an index has 1 to %d properties", (int)SOMBRA_INDEX_PROPERTIES));
    rule.property_count = count;
    memcpy(rule.properties, given, count * sizeof *given);
    if (has_options && option_boolean(L, options, "unique", false))
        rule.kind = SOMBRA_RULE_UNIQUE;
    rule.is_edge = has_options && option_boolean(L, options, "edge", false);
    *out_rule = rule;
}

/* What a constraint's option `kind` may be; SOMBRA_NULL stands for any number. */
static const struct {
    const char *name;
    sombra_kind kind;
} kinds[] = {
    { "boolean", SOMBRA_BOOLEAN }, { "integer", SOMBRA_INTEGER }, { "float", SOMBRA_FLOAT },
    { "number", SOMBRA_NULL },     { "string", SOMBRA_STRING },   { "list", SOMBRA_LIST },
    { "map", SOMBRA_MAP },
};

static const char *kind_name(sombra_kind kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].kind == kind)
            return kinds[i].name;
    }
    return "unknown";
}

/* The constraint of the arguments label, property, {required | kind, edge}. */
static void check_constraint(lua_State *L, sombra_rule *out_rule)
{
    static const char *const names[] = { "required", "kind", "edge", NULL };
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.subject = check_name(L, 2);
    rule.properties[0] = check_name(L, 3);
    rule.property_count = 1;
    luaL_checktype(L, 4, LUA_TTABLE);
    (void)options_given(L, 4, names);
    rule.is_edge = option_boolean(L, 4, "edge", false);
    bool is_required = option_boolean(L, 4, "required", false);
    int type = option_push(L, 4, "kind");
    if (is_required == (type != LUA_TNIL))
        luaL_argerror(L, 4, "give one of the options 'required' and 'kind'");
    rule.kind = is_required ? SOMBRA_RULE_REQUIRED : SOMBRA_RULE_KIND;
    const char *given = word_at(L, -1);
    bool is_known = is_required;
    for (size_t i = 0; !is_known && i < sizeof kinds / sizeof kinds[0]; i++) {
        is_known = strcmp(given, kinds[i].name) == 0;
        rule.value_kind = kinds[i].kind;
    }
    if (!is_known)
        option_error(L, 4, "kind",
                     "'boolean', 'integer', 'float', 'number', 'string', 'list' or 'map' expected");
    lua_pop(L, 1);
    *out_rule = rule;
}

static int rule_create(lua_State *L, struct tx_handle *tx, const sombra_rule *rule)
{
    uint32_t id = 0;
    struct watch watch;
    watch_begin(L, tx, &watch);
    sombra_err err = sombra_rule_create(tx->txn, rule, NULL, &id);
    watch_end(&watch);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

static int rule_drop(lua_State *L, struct tx_handle *tx, const sombra_rule *rule)
{
    uint32_t id;
    sombra_err err = sombra_rule_find(tx->txn, rule, &id);
    bool is_there = err != SOMBRA_NOT_FOUND;
    if (!err)
        err = sombra_rule_drop(tx->txn, id);
    if (err && is_there)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, is_there);
    return 1;
}

static struct tx_handle *index_arguments(lua_State *L, sombra_rule *out_rule)
{
    static const char *const names[] = { "unique", "edge", NULL };
    struct tx_handle *tx = tx_self(L);
    lua_settop(L, 4);
    check_index(L, 2, 3, 4, options_given(L, 4, names), out_rule);
    return tx;
}

/* tx:create_index(label, names [, {unique, edge}]) -> id */
static int tx_create_index(lua_State *L)
{
    sombra_rule rule;
    struct tx_handle *tx = index_arguments(L, &rule);
    return rule_create(L, tx, &rule);
}

/* tx:drop_index(label, names [, {unique, edge}]) -> whether it was there */
static int tx_drop_index(lua_State *L)
{
    sombra_rule rule;
    struct tx_handle *tx = index_arguments(L, &rule);
    return rule_drop(L, tx, &rule);
}

/* tx:create_constraint(label, property, {required | kind, edge}) -> id */
static int tx_create_constraint(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_rule rule;
    lua_settop(L, 4);
    check_constraint(L, &rule);
    return rule_create(L, tx, &rule);
}

/* tx:drop_constraint(label, property, {required | kind, edge}) -> whether it was there */
static int tx_drop_constraint(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_rule rule;
    lua_settop(L, 4);
    check_constraint(L, &rule);
    return rule_drop(L, tx, &rule);
}

/* ---- schema ------------------------------------------------------------------------------ */

/* Names live as long as the database, or, of this reader, as nobody's: it makes none. Making tables
 * may run a finalizer that closes the database; hence the transaction is looked at again each time.
 */
static sombra_txn *schema_txn(lua_State *L, const struct tx_handle *tx)
{
    if (!tx_is_open(tx))
        error_raise_text(L, SOMBRA_INVALID, "the database is closed");
    return tx->txn;
}

static void push_names(lua_State *L, struct tx_handle *tx, sombra_name_kind kind)
{
    sombra_name name = { .id = 0 };
    bool is_label = kind == SOMBRA_NAME_LABEL;
    lua_newtable(L);
    for (lua_Integer i = 1;; i++) {
        bool found;
        uint64_t count = 0;
        sombra_txn *txn = schema_txn(L, tx);
        sombra_err err = sombra_name_next(txn, kind, name.id, &name, &found);
        if (!err && found && kind != SOMBRA_NAME_PROPERTY)
            err = is_label ? sombra_node_count(txn, name.text, &count)
                           : sombra_edge_count(txn, name.text, &count);
        if (err)
            error_raise(L, err);
        if (!found)
            return;
        lua_pushlstring(L, name.text.data, name.text.bytes);
        if (kind != SOMBRA_NAME_PROPERTY) {
            lua_createtable(L, 0, 2);
            lua_insert(L, -2);
            lua_setfield(L, -2, "name");
            set_integer(L, is_label ? "nodes" : "edges", count);
        }
        lua_rawseti(L, -2, i);
    }
}

/* The rule's texts, copied: its names do not survive what making a table may do. */
struct rule_copy {
    sombra_rule rule;
    size_t bytes[1 + SOMBRA_INDEX_PROPERTIES];
    char text[1 + SOMBRA_INDEX_PROPERTIES][SOMBRA_NAME_BYTES_MAX];
};

static void copy_rule(struct rule_copy *copy)
{
    for (size_t i = 0; i <= copy->rule.property_count; i++) {
        sombra_slice text = i ? copy->rule.properties[i - 1] : copy->rule.subject;
        copy->bytes[i] = text.bytes;
        memcpy(copy->text[i], text.data, text.bytes);
    }
}

static void push_rule(lua_State *L, const struct rule_copy *copy)
{
    const sombra_rule *rule = &copy->rule;
    bool is_index = rule->kind == SOMBRA_RULE_INDEX || rule->kind == SOMBRA_RULE_UNIQUE;
    lua_createtable(L, 0, 6);
    set_integer(L, "id", rule->id);
    set_boolean(L, "ready", rule->is_ready);
    lua_pushlstring(L, copy->text[0], copy->bytes[0]);
    lua_setfield(L, -2, rule->is_edge ? "type" : "label");
    if (rule->kind == SOMBRA_RULE_TRIGGER) {
        lua_pushlstring(L, copy->text[1], copy->bytes[1]);
        lua_setfield(L, -2, "procedure");
        trigger_push_events(L, rule->events);
        lua_setfield(L, -2, "on");
        return;
    }
    if (!is_index) {
        lua_pushlstring(L, copy->text[1], copy->bytes[1]);
        lua_setfield(L, -2, "property");
        if (rule->kind == SOMBRA_RULE_REQUIRED)
            set_boolean(L, "required", true);
        else
            lua_pushstring(L, kind_name(rule->value_kind));
        if (rule->kind != SOMBRA_RULE_REQUIRED)
            lua_setfield(L, -2, "kind");
        return;
    }
    set_boolean(L, "unique", rule->kind == SOMBRA_RULE_UNIQUE);
    set_integer(L, "entries", rule->entries);
    lua_createtable(L, (int)rule->property_count, 0);
    for (size_t i = 1; i <= rule->property_count; i++) {
        lua_pushlstring(L, copy->text[i], copy->bytes[i]);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    lua_setfield(L, -2, "properties");
}

enum rule_group { GROUP_INDEXES, GROUP_CONSTRAINTS, GROUP_TRIGGERS };

static enum rule_group group_of(sombra_rule_kind kind)
{
    if (kind == SOMBRA_RULE_TRIGGER)
        return GROUP_TRIGGERS;
    return kind == SOMBRA_RULE_INDEX || kind == SOMBRA_RULE_UNIQUE ? GROUP_INDEXES
                                                                   : GROUP_CONSTRAINTS;
}

/* Pushes the rules of a group. */
static void push_rules(lua_State *L, struct tx_handle *tx, enum rule_group group)
{
    struct rule_copy copy = { .rule = SOMBRA_RULE_INIT };
    lua_Integer count = 0;
    lua_newtable(L);
    for (;;) {
        bool found;
        sombra_err err = sombra_rule_next(schema_txn(L, tx), copy.rule.id, &copy.rule, &found);
        if (err)
            error_raise(L, err);
        if (!found)
            return;
        if (group_of(copy.rule.kind) != group)
            continue;
        copy_rule(&copy);
        push_rule(L, &copy);
        lua_rawseti(L, -2, ++count);
    }
}

static int push_schema(lua_State *L, struct tx_handle *tx)
{
    lua_createtable(L, 0, 6);
    push_names(L, tx, SOMBRA_NAME_LABEL);
    lua_setfield(L, -2, "labels");
    push_names(L, tx, SOMBRA_NAME_TYPE);
    lua_setfield(L, -2, "types");
    push_names(L, tx, SOMBRA_NAME_PROPERTY);
    lua_setfield(L, -2, "properties");
    push_rules(L, tx, GROUP_INDEXES);
    lua_setfield(L, -2, "indexes");
    push_rules(L, tx, GROUP_CONSTRAINTS);
    lua_setfield(L, -2, "constraints");
    push_rules(L, tx, GROUP_TRIGGERS);
    lua_setfield(L, -2, "triggers");
    return 1;
}

/* db:schema() -> {labels, types, properties, indexes, constraints, triggers} */
int db_schema(lua_State *L)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    (void)db_self(L);
    lua_settop(L, 1);
    struct tx_handle *tx = tx_push(L, 1);
    tx_begin(L, tx, &options);
    lua_toclose(L, 2);
    (void)push_schema(L, tx);
    tx_abort(tx);
    return 1;
}

/* tx:schema() -> the same, as the transaction sees it */
static int tx_schema(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    lua_settop(L, 1);
    return push_schema(L, tx);
}

/* ---- find and upsert --------------------------------------------------------------------- */

/* The node by one property; numbers, strings and booleans are not encoded for it. */
static sombra_err find_by_one(lua_State *L, struct tx_handle *tx, sombra_slice label,
                              sombra_node_id *out_node)
{
    sombra_value value;
    sombra_slice property = check_name(L, 3);
    luaL_argcheck(L, !lua_isnoneornil(L, 4), 4, "a value is expected");
    if (LIKELY(value_look(L, 4, &value)))
        return sombra_node_find_by(tx->txn, label, property, &value, out_node);
    lua_settop(L, 4);
    return sombra_node_find(tx->txn, label, value_encode_pair(L, tx->db, 3, 4), out_node);
}

/* tx:find(label, property, value) or tx:find(label, values) -> id or nil */
static int tx_find(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_slice label = check_name(L, 2);
    sombra_node_id node;
    sombra_err err =
        lua_type(L, 3) != LUA_TTABLE
            ? find_by_one(L, tx, label, &node)
            : sombra_node_find(tx->txn, label, value_encode_props(L, tx->db, 3), &node);
    if (LIKELY(!err))
        lua_pushinteger(L, (lua_Integer)node);
    else if (err == SOMBRA_NOT_FOUND)
        lua_pushnil(L);
    else
        return error_raise(L, err);
    return 1;
}

/* tx:upsert(label, key [, props]) -> id, whether it is new */
static int tx_upsert(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_slice label = check_name(L, 2);
    sombra_node_id node;
    bool is_created;
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 4);
    struct rows *rows = rows_push(L);
    tx = tx_self(L); /* a finalizer may have ended it */
    (void)rows_add(L, rows, value_encode_props(L, tx->db, 3));
    sombra_slice props = value_encode_props(L, tx->db, 4);
    sombra_slice key = { rows->data, rows->bytes };
    sombra_err err = sombra_node_upsert(tx->txn, label, key, props, &node, &is_created);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)node);
    lua_pushboolean(L, is_created);
    return 2;
}

/* tx:link_upsert(src, type, dst [, props]) -> edge id, whether it is new */
static int tx_link_upsert(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t src = check_id(L, 2);
    sombra_slice type = check_name(L, 3);
    uint64_t dst = check_id(L, 4);
    sombra_slice props = value_encode_props(L, tx->db, 5);
    sombra_edge_id edge;
    bool is_created;
    sombra_err err = sombra_edge_upsert(tx->txn, src, type, dst, props, &edge, &is_created);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)edge);
    lua_pushboolean(L, is_created);
    return 2;
}

const luaL_Reg tx_index_methods[] = {
    { "schema", tx_schema },
    { "create_index", tx_create_index },
    { "drop_index", tx_drop_index },
    { "create_constraint", tx_create_constraint },
    { "drop_constraint", tx_drop_constraint },
    { "find", tx_find },
    { "upsert", tx_upsert },
    { "link_upsert", tx_link_upsert },
    { "create_many", tx_create_many },
    { "link_many", tx_link_many },
    { NULL, NULL },
};
