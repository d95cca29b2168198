/* SPDX-License-Identifier: MIT */
/* db:verify, db:checkpoint, db:backup, db:compact, db:create_index, sombra.repair, sombra.copy and
 * sombra.dump: long work of the engine, which calls back.
 *
 * A callback must return to the engine. So findings are kept in C memory, and a progress function
 * is called protected: what it raises cancels the job and is raised when the engine is done. Where
 * there is none, Ctrl-C is looked for in its place.
 */
#include "binding.h"

#include <stdlib.h>
#include <string.h>

enum { FINDINGS_MAX = 1000 };

struct finding {
    struct finding *next;
    sombra_err code;
    uint64_t page;
    char message[];
};
struct findings {
    struct finding *first;
    struct finding **last; /* where the next one is linked */
    size_t left;           /* how many more are kept */
    bool is_out_of_memory;
};

/* The context of both callbacks. */
struct job {
    struct findings *findings;
    lua_State *L;
    int function; /* stack index of the progress function; 0 or a nil there: none */
    int raised;   /* of what ended the job; 0 = nothing */
};

/* ---- findings ---------------------------------------------------------------------------- */

static void keep_finding(void *context, const sombra_problem *problem)
{
    struct findings *findings = ((struct job *)context)->findings;
    if (findings->left == 0)
        return;
    findings->left--;
    size_t bytes = strlen(problem->message) + 1;
    struct finding *finding = malloc(sizeof *finding + bytes);
    if (!finding) {
        findings->is_out_of_memory = true;
        return;
    }
    finding->next = NULL;
    finding->code = problem->code;
    finding->page = problem->page;
    memcpy(finding->message, problem->message, bytes);
    *findings->last = finding;
    findings->last = &finding->next;
}

static int findings_gc(lua_State *L)
{
    struct findings *findings = lua_touserdata(L, 1);
    while (findings->first) {
        struct finding *finding = findings->first;
        findings->first = finding->next;
        free(finding);
    }
    findings->last = &findings->first;
    return 0;
}

/* Released at the latest when the calling function ends. */
static struct findings *push_findings(lua_State *L, size_t count_max)
{
    struct findings *findings = lua_newuserdatauv(L, sizeof *findings, 0);
    *findings = (struct findings){ .last = &findings->first, .left = count_max };
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, findings_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, findings_gc);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    return findings;
}

/* Pushes them as a list of {code, page, message}. */
static void push_problems(lua_State *L, const struct findings *findings)
{
    if (findings->is_out_of_memory)
        error_raise_text(L, SOMBRA_NOMEM, "out of memory for the list of problems");
    lua_newtable(L);
    lua_Integer i = 1;
    for (const struct finding *at = findings->first; at; at = at->next) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, sombra_err_name(at->code));
        lua_setfield(L, -2, "code");
        if (at->page)
            set_integer(L, "page", at->page);
        lua_pushstring(L, at->message);
        lua_setfield(L, -2, "message");
        lua_rawseti(L, -2, i++);
    }
}

/* ---- progress ---------------------------------------------------------------------------- */

/* Pushes the option `progress` of argument `arg`, or nil. */
static int push_progress(lua_State *L, int arg, bool has_options)
{
    if (!has_options)
        lua_pushnil(L);
    else if (option_push(L, arg, "progress") != LUA_TNIL && !lua_isfunction(L, -1))
        option_error(L, arg, "progress", "function expected");
    return lua_gettop(L);
}

/* Calls the function that was pushed with its two arguments. False ends the job: it raised, which
 * is kept for job_fail, or returned false. */
static bool call_goes_on(struct job *job)
{
    lua_State *L = job->L;
    if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
        job->raised = lua_gettop(L);
        return false;
    }
    bool goes_on = !lua_isboolean(L, -1) || lua_toboolean(L, -1);
    lua_pop(L, 1);
    return goes_on;
}

static bool report_progress(void *context, uint64_t done, uint64_t total)
{
    struct job *job = context;
    lua_State *L = job->L;
    if (job->raised) /* the engine has not come to its end yet */
        return false;
    if (!job->function || lua_isnil(L, job->function)) {
        if (hook_ends(L, "=database"))
            job->raised = lua_gettop(L);
        return !job->raised;
    }
    lua_pushvalue(L, job->function);
    lua_pushinteger(L, (lua_Integer)done);
    lua_pushinteger(L, (lua_Integer)total);
    return call_goes_on(job);
}

/* For sombra_txn_options; the context is a struct job. */
static bool job_waits_on(void *context)
{
    return report_progress(context, 0, 0);
}

static sombra_job job_begin(lua_State *L, struct job *job)
{
    sombra_job to = SOMBRA_JOB_INIT;
    luaL_checkstack(L, 4, "progress");
    job->L = L;
    to.progress = report_progress;
    if (job->findings)
        to.problem = keep_finding;
    to.context = job;
    return to;
}

/* Raises what ended the job. */
static void job_end(lua_State *L, const struct job *job)
{
    if (LIKELY(!job->raised))
        return;
    lua_settop(L, job->raised);
    lua_error(L);
}

static const char *check_path(lua_State *L, int arg)
{
    size_t bytes;
    luaL_checktype(L, arg, LUA_TSTRING);
    const char *path = lua_tolstring(L, arg, &bytes);
    luaL_argcheck(L, bytes > 0, arg, "the path is empty");
    luaL_argcheck(L, strlen(path) == bytes, arg, "the path contains a zero byte");
    return path;
}

/* ---- the jobs ---------------------------------------------------------------------------- */

/* db:verify([{limit = 1000}]) -> list of {code, page, message}, number of problems */
int db_verify(lua_State *L)
{
    static const char *const names[] = { "limit", NULL };
    struct db_handle *db = db_self(L);
    size_t limit = FINDINGS_MAX;
    if (options_given(L, 2, names))
        limit = option_count(L, 2, "limit", 0, limit);
    struct job job = { .findings = push_findings(L, limit) };
    sombra_job to = job_begin(L, &job);
    db = db_self(L); /* making the userdata may have run a finalizer that closed it */
    uint64_t problems;
    db->jobs++;
    sombra_err err = sombra_db_verify(db->db, &to, &problems);
    db->jobs--;
    job_end(L, &job);
    if (err)
        return error_raise(L, err);
    push_problems(L, job.findings);
    lua_pushinteger(L, (lua_Integer)problems);
    return 2;
}

/* db:checkpoint() */
int db_checkpoint(lua_State *L)
{
    struct job job = { .L = NULL };
    (void)db_self(L);
    sombra_job to = job_begin(L, &job);
    struct db_handle *db = db_self(L);
    db->jobs++;
    sombra_err err = sombra_db_checkpoint(db->db, &to);
    db->jobs--;
    job_end(L, &job);
    return err ? error_raise(L, err) : 0;
}

/* db:backup(path [, {progress = function(done, total)}]) -> true, or nil and an error */
int db_backup(lua_State *L)
{
    static const char *const names[] = { "progress", NULL };
    struct db_handle *db = db_self(L);
    const char *path = check_path(L, 2);
    struct job job = { .function = push_progress(L, 3, options_given(L, 3, names)) };
    sombra_job to = job_begin(L, &job);
    db = db_self(L); /* a finalizer may have closed it */
    db->jobs++;
    sombra_err err = sombra_db_backup(db->db, path, &to);
    db->jobs--;
    job_end(L, &job);
    if (err)
        return error_results(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* db:compact([{progress = function(done, total)}]) -> true, or nil and an error */
int db_compact(lua_State *L)
{
    static const char *const names[] = { "progress", NULL };
    struct db_handle *db = db_self(L);
    struct job job = { .function = push_progress(L, 2, options_given(L, 2, names)) };
    sombra_job to = job_begin(L, &job);
    db = db_self(L); /* a finalizer may have closed it */
    db->jobs++;
    sombra_err err = sombra_db_compact(db->db, &to);
    db->jobs--;
    job_end(L, &job);
    if (err)
        return error_results(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static void push_report(lua_State *L, const sombra_repair_report *report)
{
    lua_createtable(L, 0, 24);
    set_integer(L, "pages", report->pages);
    set_integer(L, "page_size", report->page_bytes);
    set_integer(L, "pages_damaged", report->pages_damaged);
    set_integer(L, "entries", report->entries);
    set_integer(L, "entries_unreached", report->entries_unreached);
    set_integer(L, "entries_uncertain", report->entries_uncertain);
    set_integer(L, "entries_lost", report->entries_lost);
    set_boolean(L, "lost_exact", report->is_lost_exact);
    set_integer(L, "values_lost", report->values_lost);
    set_integer(L, "ranges_lost", report->ranges_lost);
    set_integer(L, "transactions_replayed", report->txns_replayed);
    set_boolean(L, "log_incomplete", report->is_log_incomplete);
    set_integer(L, "damage", report->problems);
    set_integer(L, "entries_rebuilt", report->entries_rebuilt);
    set_integer(L, "entries_dropped", report->entries_dropped);
    set_integer(L, "edges_bare", report->edges_bare);
    set_integer(L, "names_made", report->names_made);
    set_integer(L, "indexes_rebuilt", report->rules_rebuilt);
    set_integer(L, "indexes_dropped", report->rules_dropped);
    set_integer(L, "damage_mended", report->problems_mended);
    set_integer(L, "damage_left", report->problems_left);
}

/* sombra.repair(path, to [, {limit = 1000, progress = function(done, total)}]) -> a report, or nil
 * and an error */
int db_repair(lua_State *L)
{
    static const char *const names[] = { "limit", "progress", NULL };
    const char *path = check_path(L, 1);
    const char *to_path = check_path(L, 2);
    size_t limit = FINDINGS_MAX;
    lua_settop(L, 3);
    bool has_options = options_given(L, 3, names);
    if (has_options)
        limit = option_count(L, 3, "limit", 0, limit);
    struct job job = { .function = push_progress(L, 3, has_options) };
    job.findings = push_findings(L, limit);
    sombra_job to = job_begin(L, &job);
    sombra_repair_report report = SOMBRA_REPAIR_REPORT_INIT;
    sombra_err err = sombra_repair(path, to_path, &to, &report);
    job_end(L, &job);
    if (err)
        return error_results(L, err);
    push_report(L, &report);
    push_problems(L, job.findings);
    lua_setfield(L, -2, "problems");
    return 1;
}

/* sombra.copy(path, to [, open options of the new one [, {progress = function(done, total)}]]) ->
 * number of keys, or nil and an error */
int db_copy(lua_State *L)
{
    static const char *const names[] = { "progress", NULL };
    const char *path = check_path(L, 1);
    const char *to_path = check_path(L, 2);
    sombra_options options = SOMBRA_OPTIONS_INIT;
    uint64_t entries = 0;
    lua_settop(L, 4);
    open_options_read(L, 3, &options);
    struct job job = { .function = push_progress(L, 4, options_given(L, 4, names)) };
    sombra_job to = job_begin(L, &job);
    sombra_err err = sombra_copy(path, to_path, &options, &to, &entries);
    job_end(L, &job);
    if (err)
        return error_results(L, err);
    lua_pushinteger(L, (lua_Integer)entries);
    return 1;
}

static sombra_err create_at_once(sombra_db *db, const sombra_rule *rule, const sombra_job *job,
                                 uint32_t *out_id)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    sombra_txn *txn;
    options.is_write = true;
    options.waits_on = job_waits_on;
    options.context = job->context;
    sombra_err err = sombra_txn_begin(db, &options, &txn);
    if (err)
        return err;
    err = sombra_rule_create(txn, rule, job, out_id);
    if (!err)
        err = sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT);
    sombra_txn_close(txn); /* sets no text */
    return err;
}

/* db:create_index(label, names [, {unique, edge, online, progress}]) -> id, or nil and an error */
int db_create_index(lua_State *L)
{
    static const char *const names[] = { "unique", "edge", "online", "progress", NULL };
    struct db_handle *db = db_self(L);
    sombra_rule rule;
    uint32_t id = 0;
    lua_settop(L, 4);
    bool has_options = options_given(L, 4, names);
    bool is_online = !has_options || option_boolean(L, 4, "online", true);
    check_index(L, 2, 3, 4, has_options, &rule);
    struct job job = { .function = push_progress(L, 4, has_options) };
    sombra_job to = job_begin(L, &job);
    db = db_self(L); /* a finalizer may have closed it */
    db->jobs++;
    sombra_err err = is_online ? sombra_rule_create_online(db->db, &rule, &to, &id)
                               : create_at_once(db->db, &rule, &to, &id);
    db->jobs--;
    job_end(L, &job);
    if (err)
        return error_results(L, err);
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

/* ---- dump -------------------------------------------------------------------------------- */

/* Function, pointer to a line. */
static int call_with_line(lua_State *L)
{
    lua_pushstring(L, lua_touserdata(L, 2));
    lua_replace(L, 2);
    lua_call(L, 1, 1);
    return 1;
}

static bool report_line(void *context, const char *line)
{
    struct job *job = context;
    lua_State *L = job->L;
    if (job->raised)
        return false;
    lua_pushcfunction(L, call_with_line); /* what stands before the call allocates nothing */
    lua_pushvalue(L, job->function);
    lua_pushlightuserdata(L, (void *)(uintptr_t)line);
    return call_goes_on(job);
}

/* sombra.dump(path, what, fn [, page]) -> true, or nil and an error */
int db_dump(lua_State *L)
{
    static const char *const names[] = { "meta", "page", "log", "tree", NULL };
    const char *path = check_path(L, 1);
    int what = check_choice(L, 2, NULL, names);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    uint64_t page = what == SOMBRA_DUMP_PAGE ? check_id(L, 4) : 0;
    struct job job = { .L = L, .function = 3 };
    lua_settop(L, 4);
    luaL_checkstack(L, 4, "dump");
    sombra_err err = sombra_dump(path, (sombra_dump_what)what, page, report_line, &job);
    job_end(L, &job);
    if (err)
        return error_results(L, err);
    lua_pushboolean(L, 1);
    return 1;
}
