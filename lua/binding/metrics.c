/* SPDX-License-Identifier: MIT */
/* db:metrics, db:on_event, db:poll_events.
 *
 * Events come from any thread, a Lua state belongs to one: they wait in a queue, and the handler is
 * called on the state's own thread, when a transaction has ended or somebody asks. The handler is
 * user value 1 of the database. A full queue loses its oldest event, which the next one tells.
 */
#include "binding.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUEUE_EVENTS = 64, EVENT_TEXT_BYTES = 160 };

struct queued_event {
    sombra_store_event event;
    uint64_t dropped; /* lost before it */
    char text[EVENT_TEXT_BYTES];
};

struct event_queue {
    pthread_mutex_t mutex;
    pid_t process;            /* a child of its may have it with a mutex that nobody gives back */
    _Atomic unsigned waiting; /* changed under the mutex; read without it */
    unsigned first;
    uint64_t dropped; /* since the last one that was taken */
    struct queued_event events[QUEUE_EVENTS];
};

/* ---- the queue --------------------------------------------------------------------------- */

/* On any thread. */
static void queue_put(void *context, const sombra_store_event *event)
{
    struct event_queue *queue = context;
    pthread_mutex_lock(&queue->mutex);
    if (queue->waiting == QUEUE_EVENTS) {
        queue->first = (queue->first + 1) % QUEUE_EVENTS;
        queue->waiting--;
        queue->dropped++;
    }
    struct queued_event *at = &queue->events[(queue->first + queue->waiting) % QUEUE_EVENTS];
    at->event = *event;
    size_t bytes = strnlen(event->text, sizeof at->text - 1);
    memcpy(at->text, event->text, bytes);
    at->text[bytes] = 0;
    queue->waiting++;
    pthread_mutex_unlock(&queue->mutex);
}

static bool queue_take(struct event_queue *queue, struct queued_event *out)
{
    if (queue->process != getpid())
        return false;
    pthread_mutex_lock(&queue->mutex);
    bool is_there = queue->waiting > 0;
    if (is_there) {
        *out = queue->events[queue->first];
        out->dropped = queue->dropped;
        queue->dropped = 0;
        queue->first = (queue->first + 1) % QUEUE_EVENTS;
        queue->waiting--;
    }
    pthread_mutex_unlock(&queue->mutex);
    return is_there;
}

static struct event_queue *queue_new(void)
{
    struct event_queue *queue = calloc(1, sizeof *queue);
    if (queue && pthread_mutex_init(&queue->mutex, NULL)) {
        free(queue);
        queue = NULL;
    }
    if (queue)
        queue->process = getpid();
    return queue;
}

void events_free(struct event_queue *queue)
{
    if (!queue)
        return;
    if (queue->process == getpid())
        pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

/* ---- delivery ---------------------------------------------------------------------------- */

static void set_seconds(lua_State *L, const char *name, uint64_t ns)
{
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    lua_setfield(L, -2, name);
}

/* (handler, event): under a protected call, so that no memory for the table is no error of whoever
 * ended a transaction. */
static int call_handler(lua_State *L)
{
    const struct queued_event *queued = lua_touserdata(L, 2);
    const sombra_store_event *event = &queued->event;
    const char *kind = sombra_store_event_name(event->kind);
    lua_settop(L, 1);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, kind ? kind : "unknown");
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, queued->text);
    lua_setfield(L, -2, "text");
    set_seconds(L, "duration", event->duration_ns);
    set_integer(L, "bytes_read", event->bytes_read);
    set_integer(L, "bytes_written", event->bytes_written);
    set_integer(L, "count", event->count);
    set_integer(L, "level", event->level);
    set_integer(L, "dropped", queued->dropped);
    lua_call(L, 1, 0);
    return 0;
}

/* Calls the handler for what waits now, until one raises: false, and the error is on top. */
static bool deliver(lua_State *L, int db_index, unsigned *out_delivered)
{
    struct db_handle *db = lua_touserdata(L, db_index);
    /* No more than a full queue, so that a handler which causes events does not run for ever. The
     * handler may close the database. */
    *out_delivered = 0;
    db->delivers = true;
    bool is_fine = true;
    for (unsigned i = 0; i < QUEUE_EVENTS && is_fine && db->events; i++) {
        struct queued_event queued;
        if (!queue_take(db->events, &queued))
            break;
        lua_pushcfunction(L, call_handler);
        if (lua_getiuservalue(L, db_index, 1) != LUA_TFUNCTION) {
            lua_pop(L, 2);
            break;
        }
        lua_pushlightuserdata(L, &queued);
        is_fine = lua_pcall(L, 2, 0, 0) == LUA_OK;
        *out_delivered += is_fine;
    }
    db->delivers = false;
    return is_fine;
}

static void warn(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_warning(L, "sombra: error in the handler of events: ", 1);
    lua_warning(L, text ? text : luaL_typename(L, -1), 0);
}

static bool has_events(const struct db_handle *db)
{
    return db->events && !db->delivers &&
           atomic_load_explicit(&db->events->waiting, memory_order_relaxed) > 0;
}

void events_deliver(lua_State *L, int db_index)
{
    const struct db_handle *db = lua_touserdata(L, db_index);
    unsigned delivered;
    enum { SLOTS = 4 };
    if (LIKELY(!has_events(db)) || db->writers > 0 || !lua_checkstack(L, SLOTS))
        return;
    db_index = lua_absindex(L, db_index);
    while (has_events(db) && !deliver(L, db_index, &delivered)) {
        warn(L);
        lua_pop(L, 1);
    }
}

/* db:poll_events() -> integer */
int db_poll_events(lua_State *L)
{
    const struct db_handle *db = db_self(L);
    unsigned delivered = 0;
    lua_settop(L, 1);
    if (has_events(db) && !deliver(L, 1, &delivered))
        return lua_error(L);
    lua_pushinteger(L, (lua_Integer)delivered);
    return 1;
}

/* db:on_event(fn | nil) */
int db_on_event(lua_State *L)
{
    struct db_handle *db = db_self(L);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    bool wants = lua_isfunction(L, 2);
    lua_setiuservalue(L, 1, 1);
    if (!wants) {
        /* The queue stays: the handler may be the caller. */
        sombra_db_listen(db->db, NULL, NULL);
        struct queued_event forgotten;
        while (db->events && queue_take(db->events, &forgotten))
            ;
    } else {
        bool is_new = !db->events;
        if (is_new)
            db->events = queue_new();
        if (!db->events)
            return error_raise_text(L, SOMBRA_NOMEM, "out of memory for a queue of events");
        if (!db->listens)
            sombra_db_listen(db->db, queue_put, db->events);
    }
    db->listens = wants;
    return 0;
}

/* ---- metrics ----------------------------------------------------------------------------- */

struct kept_metric {
    sombra_metric metric;
    sombra_metric_bucket buckets[SOMBRA_METRIC_BUCKETS_MAX];
};

struct kept_metrics {
    struct kept_metric *metrics;
    size_t capacity, count; /* count goes on beyond the capacity */
};

static bool keep_metric(void *context, const sombra_metric *metric)
{
    struct kept_metrics *kept = context;
    if (kept->count < kept->capacity) {
        struct kept_metric *at = &kept->metrics[kept->count];
        at->metric = *metric;
        if (metric->bucket_count)
            memcpy(at->buckets, metric->buckets, metric->bucket_count * sizeof at->buckets[0]);
    }
    kept->count++;
    return true;
}

/* {le, count}, cumulative, as Prometheus has them. */
static void set_buckets(lua_State *L, const struct kept_metric *kept)
{
    uint64_t below = 0;
    list_push(L);
    for (size_t i = 0; i < kept->metric.bucket_count; i++) {
        uint64_t bound_ns = kept->buckets[i].bound_ns;
        below += kept->buckets[i].count;
        lua_createtable(L, 0, 2);
        lua_pushnumber(L,
                       bound_ns == UINT64_MAX ? (lua_Number)HUGE_VAL : (lua_Number)bound_ns / 1e9);
        lua_setfield(L, -2, "le");
        set_integer(L, "count", below);
        list_append(L);
    }
    lua_setfield(L, -2, "buckets");
}

/* Stack: counters, gauges, histograms. */
static void set_metric(lua_State *L, int first, const struct kept_metric *kept)
{
    const sombra_metric *metric = &kept->metric;
    const char *name = metric->name + strlen("sombra_");
    if (metric->kind == SOMBRA_METRIC_HISTOGRAM) {
        lua_createtable(L, 0, 3);
        set_integer(L, "count", metric->value);
        set_seconds(L, "sum", metric->sum_ns);
        set_buckets(L, kept);
    } else {
        lua_pushinteger(L, (lua_Integer)metric->value);
    }
    lua_setfield(L, first + (int)metric->kind, name);
}

static int push_table(lua_State *L)
{
    struct kept_metrics kept = { .capacity = 0 };
    for (;;) {
        struct db_handle *db = db_self(L); /* a finalizer may have closed it */
        kept.count = 0;
        sombra_err err = sombra_db_metrics(db->db, keep_metric, &kept);
        if (err)
            return error_raise(L, err);
        if (kept.count <= kept.capacity)
            break;
        kept.capacity = kept.count;
        kept.metrics = lua_newuserdatauv(L, kept.capacity * sizeof kept.metrics[0], 0);
    }
    static const char *const names[] = { "counters", "gauges", "histograms" };
    lua_newtable(L);
    int all = lua_gettop(L);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        lua_newtable(L);
    for (size_t i = 0; i < kept.count; i++)
        set_metric(L, all + 1, &kept.metrics[i]);
    for (size_t i = sizeof names / sizeof names[0]; i-- > 0;)
        lua_setfield(L, all, names[i]);
    return 1;
}

struct kept_text {
    char *text;
    size_t capacity, bytes;
};

static void keep_text(void *context, const char *text, size_t bytes)
{
    struct kept_text *kept = context;
    if (bytes <= kept->capacity)
        memcpy(kept->text, text, bytes);
    kept->bytes = bytes;
}

static int push_text(lua_State *L)
{
    struct kept_text kept = { .capacity = 32 << 10 };
    for (;;) {
        kept.text = lua_newuserdatauv(L, kept.capacity, 0);
        struct db_handle *db = db_self(L);
        sombra_err err = sombra_db_metrics_text(db->db, keep_text, &kept);
        if (err)
            return error_raise(L, err);
        if (kept.bytes <= kept.capacity)
            break;
        kept.capacity = 2 * kept.bytes;
    }
    lua_pushlstring(L, kept.text, kept.bytes);
    return 1;
}

/* db:metrics(["prometheus"]) -> table, or text */
int db_metrics(lua_State *L)
{
    static const char *const formats[] = { "table", "prometheus", NULL };
    (void)db_self(L);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TSTRING);
    bool is_text = check_choice(L, 2, "table", formats) == 1;
    lua_settop(L, 1);
    events_deliver(L, 1);
    return is_text ? push_text(L) : push_table(L);
}
