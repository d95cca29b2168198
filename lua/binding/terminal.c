/* SPDX-License-Identifier: MIT */
/* luaopen_sombra_terminal: what the subcommands ask of the system and Lua does not tell. */
#include "binding.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

LUAMOD_API __attribute__((visibility("default"))) int luaopen_sombra_terminal(lua_State *L);

static int check_descriptor(lua_State *L)
{
    const luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    luaL_argcheck(L, stream->closef != NULL, 1, "the file is closed");
    return fileno(stream->f);
}

/* terminal.is_terminal(file) */
static int is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty(check_descriptor(L)));
    return 1;
}

/* terminal.size(file) -> columns, lines; nil if it is no terminal or does not say */
static int size(lua_State *L)
{
    struct winsize window;
    if (ioctl(check_descriptor(L), TIOCGWINSZ, &window) != 0 || window.ws_col == 0) {
        luaL_pushfail(L);
        return 1;
    }
    lua_pushinteger(L, window.ws_col);
    lua_pushinteger(L, window.ws_row);
    return 2;
}

/* terminal.clock() -> seconds that only differences mean something of; it never steps back */
static int monotonic_clock(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

/* terminal.place(path) -> "file", "directory" or "other"; a text that no other place has; and the
 * path behind symbolic links, if it has one. Nil where nothing is. */
static int place(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char identity[64], real[PATH_MAX];
    struct stat status;
    if (stat(path, &status) != 0) {
        luaL_pushfail(L);
        return 1;
    }
    lua_pushstring(L, S_ISREG(status.st_mode)   ? "file"
                      : S_ISDIR(status.st_mode) ? "directory"
                                                : "other");
    (void)snprintf(identity, sizeof identity, "%ju:%ju", (uintmax_t)status.st_dev,
                   (uintmax_t)status.st_ino);
    lua_pushstring(L, identity);
    lua_pushstring(L, realpath(path, real)); /* nil for NULL */
    return 3;
}

int luaopen_sombra_terminal(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "is_terminal", is_terminal },
        { "size", size },
        { "clock", monotonic_clock },
        { "place", place },
        { NULL, NULL },
    };
    luaL_checkversion(L);
    luaL_newlib(L, functions);
    return 1;
}
