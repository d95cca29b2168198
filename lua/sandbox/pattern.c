/* SPDX-License-Identifier: MIT */
/* Lua patterns (find, match, gmatch, gsub) with every step of the matcher counted: a pattern can
 * take exponential time, and no hook runs in C. The language is that of the Lua 5.4 manual, 6.4.1;
 * the matcher is a backtracking one over the pattern's text.
 */
#include "sandbox.h"

#include <ctype.h>
#include <string.h>

#include <lauxlib.h>

enum {
    CAPTURES_MAX = 32,
    DEPTH_MAX = 200, /* nested calls of the matcher */
    STEPS_AT_ONCE = 512,
    CAPTURE_OPEN = -1,
    CAPTURE_POSITION = -2,
};

struct capture {
    const char *start;
    ptrdiff_t bytes; /* or CAPTURE_OPEN, CAPTURE_POSITION */
};

struct matcher {
    lua_State *L;
    const char *subject, *subject_end, *pattern_end;
    int depth;
    unsigned steps; /* not yet told */
    unsigned capture_count;
    struct capture captures[CAPTURES_MAX];
};

static const char *match_here(struct matcher *m, const char *at, const char *pattern);

static inline void step(struct matcher *m)
{
    if (++m->steps >= STEPS_AT_ONCE) {
        m->steps = 0;
        sandbox_tick(m->L, (uint64_t)STEPS_AT_ONCE * 4);
    }
}

static unsigned char byte_at(const char *at)
{
    return (unsigned char)*at;
}

/* ---- single characters ------------------------------------------------------------------- */

/* The end of the single-character class at `pattern`. */
static const char *class_end(struct matcher *m, const char *pattern)
{
    char first = *pattern++;
    if (first == '%') {
        if (pattern == m->pattern_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return pattern + 1;
    }
    if (first != '[')
        return pattern;
    if (pattern < m->pattern_end && *pattern == '^')
        pattern++;
    do { /* a ']' at the front stands for itself */
        if (pattern == m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        if (*pattern++ == '%') {
            if (pattern == m->pattern_end)
                luaL_error(m->L, "malformed pattern (missing ']')");
            pattern++;
        }
    } while (pattern == m->pattern_end || *pattern != ']');
    return pattern + 1;
}

static bool is_in_letter_class(int c, int letter)
{
    bool is_in;
    switch (tolower(letter)) {
    case 'a':
        is_in = isalpha(c);
        break;
    case 'c':
        is_in = iscntrl(c);
        break;
    case 'd':
        is_in = isdigit(c);
        break;
    case 'g':
        is_in = isgraph(c);
        break;
    case 'l':
        is_in = islower(c);
        break;
    case 'p':
        is_in = ispunct(c);
        break;
    case 's':
        is_in = isspace(c);
        break;
    case 'u':
        is_in = isupper(c);
        break;
    case 'w':
        is_in = isalnum(c);
        break;
    case 'x':
        is_in = isxdigit(c);
        break;
    default:
        return letter == c;
    }
    return isupper(letter) ? !is_in : is_in;
}

/* `set` is at the '[', `last` at the ']'. */
static bool is_in_set(int c, const char *set, const char *last)
{
    bool found = true;
    if (set[1] == '^') {
        found = false;
        set++;
    }
    while (++set < last) {
        if (*set == '%') {
            if (is_in_letter_class(c, byte_at(++set)))
                return found;
        } else if (set[1] == '-' && set + 2 < last) {
            if (byte_at(set) <= c && c <= byte_at(set + 2))
                return found;
            set += 2;
        } else if (byte_at(set) == c) {
            return found;
        }
    }
    return !found;
}

static bool is_single(struct matcher *m, const char *at, const char *pattern, const char *end)
{
    step(m);
    if (at >= m->subject_end)
        return false;
    int c = byte_at(at);
    switch (*pattern) {
    case '.':
        return true;
    case '%':
        return is_in_letter_class(c, byte_at(pattern + 1));
    case '[':
        m->steps += (unsigned)(end - pattern) / 4;
        return is_in_set(c, pattern, end - 1);
    default:
        return byte_at(pattern) == c;
    }
}

/* ---- items ------------------------------------------------------------------------------- */

static const char *match_balance(struct matcher *m, const char *at, const char *pattern)
{
    if (m->pattern_end - pattern < 2)
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (at >= m->subject_end || *at != pattern[0])
        return NULL;
    int open = 1;
    while (++at < m->subject_end) {
        step(m);
        if (*at == pattern[1]) {
            if (--open == 0)
                return at + 1;
        } else if (*at == pattern[0]) {
            open++;
        }
    }
    return NULL;
}

static const char *match_greedy(struct matcher *m, const char *at, const char *pattern,
                                const char *end)
{
    ptrdiff_t count = 0;
    while (is_single(m, at + count, pattern, end))
        count++;
    for (; count >= 0; count--) {
        step(m);
        const char *result = match_here(m, at + count, end + 1);
        if (result)
            return result;
    }
    return NULL;
}

static const char *match_lazy(struct matcher *m, const char *at, const char *pattern,
                              const char *end)
{
    for (;;) {
        const char *result = match_here(m, at, end + 1);
        if (result)
            return result;
        if (!is_single(m, at, pattern, end))
            return NULL;
        at++;
    }
}

static const char *match_capture_start(struct matcher *m, const char *at, const char *pattern,
                                       ptrdiff_t kind)
{
    if (m->capture_count >= CAPTURES_MAX)
        luaL_error(m->L, "too many captures");
    m->captures[m->capture_count].start = at;
    m->captures[m->capture_count].bytes = kind;
    m->capture_count++;
    const char *result = match_here(m, at, pattern);
    if (!result)
        m->capture_count--;
    return result;
}

static const char *match_capture_end(struct matcher *m, const char *at, const char *pattern)
{
    unsigned open = m->capture_count;
    while (open > 0 && m->captures[open - 1].bytes != CAPTURE_OPEN)
        open--;
    if (open == 0)
        luaL_error(m->L, "invalid pattern capture");
    struct capture *capture = &m->captures[open - 1];
    capture->bytes = at - capture->start;
    const char *result = match_here(m, at, pattern);
    if (!result)
        capture->bytes = CAPTURE_OPEN;
    return result;
}

static const struct capture *back_reference(struct matcher *m, int digit)
{
    int index = digit - '1';
    if (index < 0 || index >= (int)m->capture_count || m->captures[index].bytes == CAPTURE_OPEN)
        luaL_error(m->L, "invalid capture index %%%d", index + 1);
    return &m->captures[index];
}

static const char *match_back_reference(struct matcher *m, const char *at, int digit)
{
    const struct capture *capture = back_reference(m, digit);
    if (capture->bytes < 0) /* a position is no text */
        return NULL;
    size_t bytes = (size_t)capture->bytes;
    m->steps += (unsigned)(bytes / 16);
    if ((size_t)(m->subject_end - at) < bytes || memcmp(capture->start, at, bytes) != 0)
        return NULL;
    return at + bytes;
}

static bool is_frontier(struct matcher *m, const char *at, const char *set, const char *end)
{
    int before = at == m->subject ? 0 : byte_at(at - 1);
    int here = at < m->subject_end ? byte_at(at) : 0;
    step(m);
    return !is_in_set(before, set, end - 1) && is_in_set(here, set, end - 1);
}

/* ---- the matcher ------------------------------------------------------------------------- */

/* An item that begins with '%' and is no class. *out_pattern is moved behind it; false if it is a
 * class after all. */
static bool match_special(struct matcher *m, const char **at, const char **pattern)
{
    const char *item = *pattern + 1;
    if (item == m->pattern_end)
        return false;
    switch (*item) {
    case 'b':
        *at = match_balance(m, *at, item + 1);
        *pattern = item + 3;
        return true;
    case 'f': {
        const char *set = item + 1;
        if (set == m->pattern_end || *set != '[')
            luaL_error(m->L, "missing '[' after '%%f' in pattern");
        const char *end = class_end(m, set);
        if (!is_frontier(m, *at, set, end))
            *at = NULL;
        *pattern = end;
        return true;
    }
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        *at = match_back_reference(m, *at, *item);
        *pattern = item + 1;
        return true;
    default:
        return false;
    }
}

/* A single-character class with its suffix. *out_is_done: *at is the end of the whole match (or
 * NULL); else the matcher goes on at *at and *pattern. */
static bool match_class(struct matcher *m, const char **at, const char **pattern)
{
    const char *end = class_end(m, *pattern);
    char suffix = end < m->pattern_end ? *end : '\0';
    switch (suffix) {
    case '?':
        if (is_single(m, *at, *pattern, end)) {
            const char *result = match_here(m, *at + 1, end + 1);
            if (result) {
                *at = result;
                return true;
            }
        }
        *pattern = end + 1;
        return false;
    case '+':
        *at = is_single(m, *at, *pattern, end) ? match_greedy(m, *at + 1, *pattern, end) : NULL;
        return true;
    case '*':
        *at = match_greedy(m, *at, *pattern, end);
        return true;
    case '-':
        *at = match_lazy(m, *at, *pattern, end);
        return true;
    default:
        *at = is_single(m, *at, *pattern, end) ? *at + 1 : NULL;
        *pattern = end;
        return *at == NULL;
    }
}

/* The end of the match of `pattern` at `at`, or NULL. */
static const char *match_here(struct matcher *m, const char *at, const char *pattern)
{
    if (++m->depth > DEPTH_MAX)
        luaL_error(m->L, "pattern too complex");
    while (at && pattern < m->pattern_end) {
        step(m);
        if (*pattern == '(') {
            bool is_position = pattern + 1 < m->pattern_end && pattern[1] == ')';
            at = match_capture_start(m, at, pattern + (is_position ? 2 : 1),
                                     is_position ? CAPTURE_POSITION : CAPTURE_OPEN);
            break;
        }
        if (*pattern == ')') {
            at = match_capture_end(m, at, pattern + 1);
            break;
        }
        if (*pattern == '$' && pattern + 1 == m->pattern_end) {
            if (at != m->subject_end)
                at = NULL;
            break;
        }
        if (*pattern == '%' && match_special(m, &at, &pattern))
            continue;
        if (match_class(m, &at, &pattern))
            break;
    }
    m->depth--;
    return at;
}

static void matcher_begin(struct matcher *m, lua_State *L, const char *subject,
                          size_t subject_bytes, const char *pattern_end)
{
    m->L = L;
    m->subject = subject;
    m->subject_end = subject + subject_bytes;
    m->pattern_end = pattern_end;
    m->steps = 0;
    m->depth = 0;
    m->capture_count = 0;
}

static const char *matcher_try(struct matcher *m, const char *at, const char *pattern)
{
    m->depth = 0;
    m->capture_count = 0;
    step(m);
    return match_here(m, at, pattern);
}

/* ---- captures ---------------------------------------------------------------------------- */

/* Pushes capture `index`; of a pattern without any, 0 is the whole match. */
static void push_capture(struct matcher *m, unsigned index, const char *start, const char *end)
{
    if (index >= m->capture_count) {
        if (index != 0)
            luaL_error(m->L, "invalid capture index %%%d", (int)index + 1);
        lua_pushlstring(m->L, start, (size_t)(end - start));
        return;
    }
    const struct capture *capture = &m->captures[index];
    if (capture->bytes == CAPTURE_OPEN)
        luaL_error(m->L, "unfinished capture");
    if (capture->bytes == CAPTURE_POSITION)
        lua_pushinteger(m->L, capture->start - m->subject + 1);
    else
        lua_pushlstring(m->L, capture->start, (size_t)capture->bytes);
}

/* All captures, or the whole match if there are none and `start` is given. */
static int push_captures(struct matcher *m, const char *start, const char *end)
{
    unsigned count = m->capture_count == 0 && start ? 1 : m->capture_count;
    luaL_checkstack(m->L, (int)count, "too many captures");
    for (unsigned i = 0; i < count; i++)
        push_capture(m, i, start, end);
    return (int)count;
}

/* ---- find and match ---------------------------------------------------------------------- */

/* The index of the first byte from a position that may be negative. */
static size_t start_index(lua_Integer position, size_t bytes)
{
    if (position > 0)
        return (size_t)position - 1;
    if (position == 0 || position < -(lua_Integer)bytes)
        return 0;
    return bytes - (size_t)-position;
}

static bool has_specials(const char *pattern, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (pattern[i] && strchr("^$*+?.([%-", pattern[i]))
            return true;
    }
    return false;
}

static int find_plain(lua_State *L, const char *subject, size_t bytes, size_t from)
{
    size_t pattern_bytes;
    const char *pattern = lua_tolstring(L, 2, &pattern_bytes);
    sandbox_tick(L, 50 + (bytes - from) / 2 + pattern_bytes);
    const char *found = pattern_bytes == 0
                            ? subject + from
                            : memmem(subject + from, bytes - from, pattern, pattern_bytes);
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - subject + 1);
    lua_pushinteger(L, found - subject + (ptrdiff_t)pattern_bytes);
    return 2;
}

static int find_or_match(lua_State *L, bool finds)
{
    size_t bytes, pattern_bytes;
    const char *subject = luaL_checklstring(L, 1, &bytes);
    const char *pattern = luaL_checklstring(L, 2, &pattern_bytes);
    size_t from = start_index(luaL_optinteger(L, 3, 1), bytes);
    if (from > bytes) {
        lua_pushnil(L);
        return 1;
    }
    if (finds && (lua_toboolean(L, 4) || !has_specials(pattern, pattern_bytes)))
        return find_plain(L, subject, bytes, from);
    struct matcher m;
    bool is_anchored = pattern_bytes > 0 && *pattern == '^';
    matcher_begin(&m, L, subject, bytes, pattern + pattern_bytes);
    pattern += is_anchored;
    for (const char *at = subject + from; at <= m.subject_end; at++) {
        const char *end = matcher_try(&m, at, pattern);
        if (end && finds) {
            lua_pushinteger(L, at - subject + 1);
            lua_pushinteger(L, end - subject);
            return 2 + push_captures(&m, NULL, NULL);
        }
        if (end)
            return push_captures(&m, at, end);
        if (is_anchored)
            break;
    }
    lua_pushnil(L);
    return 1;
}

static int string_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int string_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch ------------------------------------------------------------------------------ */

/* Upvalues: subject, pattern, offset of the next try, offset behind the last match or -1. */
static int gmatch_step(lua_State *L)
{
    size_t bytes, pattern_bytes;
    struct matcher m;
    const char *subject = lua_tolstring(L, lua_upvalueindex(1), &bytes);
    const char *pattern = lua_tolstring(L, lua_upvalueindex(2), &pattern_bytes);
    lua_Integer from = lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    matcher_begin(&m, L, subject, bytes, pattern + pattern_bytes);
    for (const char *at = subject + from; at <= m.subject_end; at++) {
        const char *end = matcher_try(&m, at, pattern);
        if (!end || end - subject == last)
            continue;
        lua_pushinteger(L, end - subject);
        lua_copy(L, -1, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(&m, at, end);
    }
    lua_pushinteger(L, (lua_Integer)bytes + 1);
    lua_replace(L, lua_upvalueindex(3));
    return 0;
}

static int string_gmatch(lua_State *L)
{
    size_t bytes;
    luaL_checklstring(L, 1, &bytes);
    luaL_checkstring(L, 2);
    size_t from = start_index(luaL_optinteger(L, 3, 1), bytes);
    lua_settop(L, 2);
    lua_pushinteger(L, from > bytes ? (lua_Integer)bytes + 1 : (lua_Integer)from);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_step, 4);
    return 1;
}

/* ---- gsub -------------------------------------------------------------------------------- */

struct substitution {
    struct matcher m;
    luaL_Buffer buffer;
    uint64_t bytes; /* of the result so far */
};

/* What goes in for more than one byte is counted and bounded. */
static void add_bytes(struct substitution *s, const char *data, size_t bytes)
{
    s->bytes += bytes;
    sandbox_tick(s->m.L, 10 + bytes / 16);
    sandbox_check_block(s->m.L, s->bytes, "gsub");
    luaL_addlstring(&s->buffer, data, bytes);
}

static void add_top(struct substitution *s)
{
    size_t bytes;
    (void)lua_tolstring(s->m.L, -1, &bytes);
    s->bytes += bytes;
    sandbox_tick(s->m.L, 10 + bytes / 16);
    sandbox_check_block(s->m.L, s->bytes, "gsub");
    luaL_addvalue(&s->buffer);
}

/* The replacement text of argument 3, with its captures. */
static void add_template(struct substitution *s, const char *start, const char *end)
{
    size_t bytes;
    lua_State *L = s->m.L;
    const char *text = lua_tolstring(L, 3, &bytes), *text_end = text + bytes;
    while (text < text_end) {
        const char *percent = memchr(text, '%', (size_t)(text_end - text));
        add_bytes(s, text, (size_t)((percent ? percent : text_end) - text));
        if (!percent)
            return;
        text = percent + 1;
        if (text == text_end || (*text != '%' && !isdigit(byte_at(text))))
            luaL_error(L, "invalid use of '%%' in replacement string");
        if (*text == '%') {
            add_bytes(s, "%", 1);
        } else if (*text == '0') {
            add_bytes(s, start, (size_t)(end - start));
        } else {
            push_capture(&s->m, (unsigned)(*text - '1'), start, end);
            luaL_tolstring(L, -1, NULL); /* a position is a number */
            lua_remove(L, -2);
            add_top(s);
        }
        text++;
    }
}

/* True if something else than the match itself was put in. */
static bool add_replacement(struct substitution *s, const char *start, const char *end)
{
    lua_State *L = s->m.L;
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION: {
        lua_pushvalue(L, 3);
        int count = push_captures(&s->m, start, end);
        sandbox_tick(L, 50);
        lua_call(L, count, 1);
        break;
    }
    case LUA_TTABLE:
        push_capture(&s->m, 0, start, end);
        lua_gettable(L, 3);
        break;
    default:
        add_template(s, start, end);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        add_bytes(s, start, (size_t)(end - start));
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    add_top(s);
    return true;
}

static int string_gsub(lua_State *L)
{
    size_t bytes, pattern_bytes;
    struct substitution s = { .bytes = 0 };
    const char *subject = luaL_checklstring(L, 1, &bytes);
    const char *pattern = luaL_checklstring(L, 2, &pattern_bytes);
    int kind = lua_type(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)bytes + 1), done = 0;
    luaL_argexpected(L,
                     kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION ||
                         kind == LUA_TTABLE,
                     3, "string/function/table");
    if (kind == LUA_TNUMBER)
        lua_tolstring(L, 3, NULL);
    bool is_anchored = pattern_bytes > 0 && *pattern == '^';
    bool is_changed = false;
    matcher_begin(&s.m, L, subject, bytes, pattern + pattern_bytes);
    pattern += is_anchored;
    const char *at = subject, *last = NULL;
    luaL_buffinit(L, &s.buffer);
    while (done < most) {
        const char *end = matcher_try(&s.m, at, pattern);
        if (end && end != last) {
            done++;
            is_changed |= add_replacement(&s, at, end);
            at = last = end;
        } else if (at < s.m.subject_end) {
            s.bytes++;
            luaL_addchar(&s.buffer, *at++);
        } else {
            break;
        }
        if (is_anchored)
            break;
    }
    if (is_changed) {
        add_bytes(&s, at, (size_t)(s.m.subject_end - at));
        luaL_pushresult(&s.buffer);
    } else {
        lua_pushvalue(L, 1);
    }
    lua_pushinteger(L, done);
    return 2;
}

void sandbox_open_pattern(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "find", string_find },
        { "match", string_match },
        { "gmatch", string_gmatch },
        { "gsub", string_gsub },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
}
