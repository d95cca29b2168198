/* SPDX-License-Identifier: MIT */
/* The table library with bounded loops: lengths are believed only as far as the work is counted,
 * and every element counts. Elements are read and written as Lua's library does, with metamethods.
 */
#include "sandbox.h"

#include <lauxlib.h>
#include <lualib.h>

enum {
    UNPACK_MAX = 100000, /* values on the stack */
    SORT_MAX = 1 << 26,
    SORT_SMALL = 12, /* elements sorted by insertion */
    ELEMENT_WORK = 20,
};

/* Argument `index` as a table, or something that behaves like one. */
static void check_table(lua_State *L, int index)
{
    int top = lua_gettop(L);
    if (lua_type(L, index) != LUA_TTABLE && !luaL_getmetafield(L, index, "__index"))
        luaL_checktype(L, index, LUA_TTABLE);
    lua_settop(L, top);
}

static int table_insert(lua_State *L)
{
    check_table(L, 1);
    lua_Integer end = luaL_len(L, 1) + 1;
    lua_Integer at = end;
    switch (lua_gettop(L)) {
    case 2:
        break;
    case 3:
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, (lua_Unsigned)at - 1u < (lua_Unsigned)end, 2, "position out of bounds");
        for (lua_Integer i = end; i > at; i--) {
            sandbox_tick(L, ELEMENT_WORK);
            lua_geti(L, 1, i - 1);
            lua_seti(L, 1, i);
        }
        break;
    default:
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_seti(L, 1, at);
    return 0;
}

static int table_remove(lua_State *L)
{
    check_table(L, 1);
    lua_Integer length = luaL_len(L, 1);
    lua_Integer at = luaL_optinteger(L, 2, length);
    if (!lua_isnoneornil(L, 2))
        luaL_argcheck(L,
                      (lua_Unsigned)length + 1u - (lua_Unsigned)at <= (lua_Unsigned)length ||
                          at == length + 1 || (length == 0 && at == 0),
                      2, "position out of bounds");
    lua_geti(L, 1, at);
    for (; at < length; at++) {
        sandbox_tick(L, ELEMENT_WORK);
        lua_geti(L, 1, at + 1);
        lua_seti(L, 1, at);
    }
    lua_pushnil(L);
    lua_seti(L, 1, at);
    return 1;
}

static int table_move(lua_State *L)
{
    lua_Integer from = luaL_checkinteger(L, 2), end = luaL_checkinteger(L, 3);
    lua_Integer to = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    check_table(L, 1);
    check_table(L, target);
    if (end >= from) {
        luaL_argcheck(L, from > 0 || end < LUA_MAXINTEGER + from, 3, "too many elements to move");
        lua_Integer count = end - from + 1;
        luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
        bool is_up =
            to > end || to <= from || (target != 1 && !lua_compare(L, 1, target, LUA_OPEQ));
        for (lua_Integer i = 0; i < count; i++) {
            lua_Integer offset = is_up ? i : count - 1 - i;
            sandbox_tick(L, ELEMENT_WORK);
            lua_geti(L, 1, from + offset);
            lua_seti(L, target, to + offset);
        }
    }
    lua_pushvalue(L, target);
    return 1;
}

/* Proves that the element on top can be joined, and gives its bytes. */
static size_t concat_bytes(lua_State *L, lua_Integer index)
{
    size_t bytes = 0;
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid value (at index %I) in table for 'concat'", index);
    (void)lua_tolstring(L, -1, &bytes);
    return bytes;
}

static int table_concat(lua_State *L)
{
    size_t separator_bytes;
    uint64_t bytes = 0;
    luaL_Buffer buffer;
    check_table(L, 1);
    const char *separator = luaL_optlstring(L, 2, "", &separator_bytes);
    lua_Integer first = luaL_optinteger(L, 3, 1);
    lua_Integer last = lua_isnoneornil(L, 4) ? luaL_len(L, 1) : luaL_checkinteger(L, 4);
    luaL_buffinit(L, &buffer);
    for (lua_Integer i = first; i <= last; i++) {
        lua_geti(L, 1, i);
        size_t own = concat_bytes(L, i);
        bytes += own + separator_bytes;
        sandbox_tick(L, ELEMENT_WORK + own + separator_bytes);
        sandbox_check_block(L, bytes, "concat");
        luaL_addvalue(&buffer);
        if (i == last) /* also keeps i from passing the largest integer */
            break;
        luaL_addlstring(&buffer, separator, separator_bytes);
    }
    luaL_pushresult(&buffer);
    return 1;
}

static int table_pack(lua_State *L)
{
    int count = lua_gettop(L);
    sandbox_tick(L, (uint64_t)count * ELEMENT_WORK);
    lua_createtable(L, count, 1);
    lua_insert(L, 1);
    for (int i = count; i >= 1; i--)
        lua_seti(L, 1, i);
    lua_pushinteger(L, count);
    lua_setfield(L, 1, "n");
    return 1;
}

static int table_unpack(lua_State *L)
{
    lua_Integer first = luaL_optinteger(L, 2, 1);
    lua_Integer last = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
    if (first > last)
        return 0;
    lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)first;
    if (count >= UNPACK_MAX || !lua_checkstack(L, (int)count + 1))
        return luaL_error(L, "too many results to unpack");
    sandbox_tick(L, (count + 1) * ELEMENT_WORK);
    for (; first < last; first++)
        lua_geti(L, 1, first);
    lua_geti(L, 1, last);
    return (int)count + 1;
}

/* ---- sort: heap sort on ranges that partition badly, else quicksort ------------------------- */

static bool is_less(lua_State *L, int a, int b)
{
    sandbox_tick(L, ELEMENT_WORK);
    if (lua_isnil(L, 2))
        return lua_compare(L, a, b, LUA_OPLT);
    a = lua_absindex(L, a);
    b = lua_absindex(L, b);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, a);
    lua_pushvalue(L, b);
    lua_call(L, 2, 1);
    bool result = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return result;
}

/* table[i] < table[j], or the other way */
static bool elements_less(lua_State *L, lua_Integer i, lua_Integer j)
{
    lua_geti(L, 1, i);
    lua_geti(L, 1, j);
    bool result = is_less(L, -2, -1);
    lua_pop(L, 2);
    return result;
}

static void swap(lua_State *L, lua_Integer i, lua_Integer j)
{
    lua_geti(L, 1, i);
    lua_geti(L, 1, j);
    lua_seti(L, 1, i);
    lua_seti(L, 1, j);
}

static void sort_insertion(lua_State *L, lua_Integer low, lua_Integer high)
{
    for (lua_Integer i = low + 1; i <= high; i++) {
        for (lua_Integer j = i; j > low && elements_less(L, j, j - 1); j--)
            swap(L, j, j - 1);
    }
}

static void sift(lua_State *L, lua_Integer low, lua_Integer at, lua_Integer count)
{
    for (;;) {
        lua_Integer child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && elements_less(L, low + child, low + child + 1))
            child++;
        if (!elements_less(L, low + at, low + child))
            return;
        swap(L, low + at, low + child);
        at = child;
    }
}

static void sort_heap(lua_State *L, lua_Integer low, lua_Integer high)
{
    lua_Integer count = high - low + 1;
    for (lua_Integer at = count / 2; at-- > 0;)
        sift(L, low, at, count);
    for (lua_Integer left = count - 1; left > 0; left--) {
        swap(L, low, low + left);
        sift(L, low, 0, left);
    }
}

/* Puts the median of three at `low`. */
static void choose_pivot(lua_State *L, lua_Integer low, lua_Integer high)
{
    lua_Integer middle = low + (high - low) / 2;
    if (elements_less(L, middle, low))
        swap(L, middle, low);
    if (elements_less(L, high, middle)) {
        swap(L, high, middle);
        if (elements_less(L, middle, low))
            swap(L, middle, low);
    }
    swap(L, middle, low);
}

/* The elements around the pivot at `low`; an order that is none cannot lead outside. */
static lua_Integer partition(lua_State *L, lua_Integer low, lua_Integer high)
{
    lua_Integer i = low + 1, j = high;
    lua_geti(L, 1, low);
    for (;;) {
        bool less;
        for (; i <= j; i++) {
            lua_geti(L, 1, i);
            less = is_less(L, -1, -2);
            lua_pop(L, 1);
            if (!less)
                break;
        }
        for (; i <= j; j--) {
            lua_geti(L, 1, j);
            less = is_less(L, -2, -1);
            lua_pop(L, 1);
            if (!less)
                break;
        }
        if (i >= j)
            break;
        swap(L, i++, j--);
    }
    lua_pop(L, 1);
    swap(L, low, j);
    return j;
}

static void sort_range(lua_State *L, lua_Integer low, lua_Integer high, unsigned depth)
{
    while (high - low >= SORT_SMALL) {
        if (depth == 0) {
            sort_heap(L, low, high);
            return;
        }
        depth--;
        choose_pivot(L, low, high);
        lua_Integer pivot = partition(L, low, high);
        if (pivot - low < high - pivot) {
            sort_range(L, low, pivot - 1, depth);
            low = pivot + 1;
        } else {
            sort_range(L, pivot + 1, high, depth);
            high = pivot - 1;
        }
    }
    sort_insertion(L, low, high);
}

static int table_sort(lua_State *L)
{
    unsigned depth = 2;
    check_table(L, 1);
    lua_Integer count = luaL_len(L, 1);
    if (count > 1) {
        luaL_argcheck(L, count < SORT_MAX, 1, "array too big");
        if (!lua_isnoneornil(L, 2))
            luaL_checktype(L, 2, LUA_TFUNCTION);
        lua_settop(L, 2);
        luaL_checkstack(L, 20 + 8 * 64, "sort");
        for (lua_Integer left = count; left > 1; left /= 2)
            depth += 2;
        sort_range(L, 1, count, depth);
    }
    return 0;
}

void sandbox_open_table(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "concat", table_concat }, { "insert", table_insert },
        { "move", table_move },     { "pack", table_pack },
        { "remove", table_remove }, { "sort", table_sort },
        { "unpack", table_unpack }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
}
