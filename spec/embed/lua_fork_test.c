/* SPDX-License-Identifier: MIT */
/* A Lua program that forks beside the threads of its databases: in the child every handle of before
 * says so, closes and is collected, and a database of the child's own works. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/sanitizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_SECONDS_MAX = 60 };

/* fork() -> 0 in the child, which is killed if it hangs, or its number */
static int lua_fork(lua_State *L)
{
    pid_t child = fork();
    if (child == 0)
        alarm(CHILD_SECONDS_MAX);
    lua_pushinteger(L, child);
    return 1;
}

/* wait(number) -> how it ended */
static int lua_wait(lua_State *L)
{
    int status = -1;
    pid_t child = (pid_t)luaL_checkinteger(L, 1);
    lua_pushboolean(L, waitpid(child, &status, 0) == child && status == 0);
    return 1;
}

/* leave(): _exit, after collectgarbage */
static int lua_leave(lua_State *L)
{
    (void)L;
    _exit(0);
}

static const char script[] =
    "local folder, engine, fork, wait, leave = ...\n"
    "local sombra = require 'sombra'\n"
    "local function refused(fn, ...)\n"
    "  local ok, a, b = pcall(fn, ...)\n"
    "  local text = tostring(ok and b or a)\n"
    "  if not text:find('fork()', 1, true) then error('not refused: ' .. text, 2) end\n"
    "end\n"
    "local events = 0\n"
    "local db = assert(sombra.open(folder .. '/' .. engine, {create = true, engine = engine,\n"
    "  sync = 'normal', sync_interval = 0.001,\n"
    "  memtable_size = engine == 'lsm' and 65536 or nil}))\n"
    "db:on_event(function() events = events + 1 end)\n"
    "for round = 1, 40 do\n"
    "  db:write(function(tx)\n"
    "    for i = 1, 100 do tx:create('Person', {name = ('x'):rep(100) .. i}) end\n"
    "  end)\n"
    "  local reader, writer = db:begin('read'), db:begin('write')\n"
    "  local child = fork()\n"
    "  if child == 0 then\n"
    "    refused(db.begin, db, 'read')\n"
    "    refused(db.write, db, function() end)\n"
    "    refused(db.verify, db)\n"
    "    refused(reader.count, reader, 'Person')\n"
    "    refused(writer.create, writer, 'Person')\n"
    "    refused(writer.commit, writer)\n"
    "    db:poll_events()\n"
    "    if round % 2 == 0 then db:on_event(nil) end\n"
    "    if round % 3 == 0 then assert(db:close()) end\n"
    "    reader, writer, db = nil, nil, nil\n"
    "    collectgarbage()\n"
    "    if round % 8 == 0 then\n"
    "      local own = assert(sombra.open(folder .. '/own', {create = true, engine = 'lsm'}))\n"
    "      own:write(function(tx) tx:create('Person') end)\n"
    "      assert(own:close())\n"
    "    end\n"
    "    if round % 2 == 1 then leave() end\n"
    "    os.exit(0, true)\n"
    "  end\n"
    "  assert(wait(child), 'the child of round ' .. round)\n"
    "  reader:rollback()\n"
    "  writer:rollback()\n"
    "end\n"
    "local problems = db:verify()\n"
    "assert(#problems == 0)\n"
    "assert(db:close())\n";

static int run(const char *folder, const char *engine)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_pushliteral(L, SOMBRA_MODULE_PATH);
    lua_setfield(L, -2, "cpath");
    lua_pop(L, 1);
    int failed = luaL_loadbuffer(L, script, sizeof script - 1, "=script");
    lua_pushstring(L, folder);
    lua_pushstring(L, engine);
    lua_pushcfunction(L, lua_fork);
    lua_pushcfunction(L, lua_wait);
    lua_pushcfunction(L, lua_leave);
    failed = failed || lua_pcall(L, 5, 0, 0);
    if (failed)
        fprintf(stderr, "%s: %s\n", engine, lua_tostring(L, -1));
    lua_close(L);
    return failed;
}

int main(void)
{
    char folder[] = "lua_fork_test.XXXXXX", command[64];
    if (HAS_ADDRESS_SANITIZER) {
        puts("skipped: AddressSanitizer's malloc may hold a lock for ever in a child of several "
             "threads");
        return 0;
    }
    if (!mkdtemp(folder))
        return 1;
    pid_t self = getpid();
    int failed = run(folder, "btree") | run(folder, "lsm");
    if (getpid() != self) /* a child that failed */
        return 1;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 || failed;
}
