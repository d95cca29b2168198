/* SPDX-License-Identifier: MIT */
#ifdef SOMBRA_WITH_BINDING
#include "serve.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "binding/binding.h"

#define SERVER_NAME  "sombra.server"
#define ADDRESS_PORT "9464" /* the usual one of exporters of applications */

enum {
    CONNECTIONS_MAX = 32,
    CONNECTION_TIMEOUT_S = 10,
    CONNECTION_BYTES = 16 << 10, /* of request headers: more is refused */
    LISTEN_BACKLOG = 16,
    HOST_BYTES = 64,
    PORT_MAX = 65535,
    ADDRESS_BYTES = HOST_BYTES + 16,
};

struct server {
    struct MHD_Daemon *daemon; /* NULL = closed */
    struct db_handle *db;      /* user value 1; not closed before the server */
    sigset_t signals_before;
    char address[ADDRESS_BYTES];
};

/* ---- the library ---------------------------------------------------------------------------- */

/* libmicrohttpd is loaded by the first server: with it comes GnuTLS, which would cost every start
 * of the host 3 ms. */
#define HTTP_FUNCTIONS(X)          \
    X(start_daemon)                \
    X(stop_daemon)                 \
    X(create_response_from_buffer) \
    X(add_response_header)         \
    X(queue_response)              \
    X(destroy_response)

static struct {
#define HTTP_MEMBER(name) __typeof__(MHD_##name) *name;
    HTTP_FUNCTIONS(HTTP_MEMBER)
#undef HTTP_MEMBER
    bool is_loaded;
} http;

/* NULL, or why it cannot be loaded. */
static const char *http_load(void)
{
    if (http.is_loaded)
        return NULL;
    void *library = dlopen(MICROHTTPD_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return dlerror();
        /* A pointer to a function in the bytes of one to an object: POSIX has dlsym so. */
#define HTTP_FIND(name)                                  \
    *(void **)&http.name = dlsym(library, "MHD_" #name); \
    if (!http.name)                                      \
        return dlerror();
    HTTP_FUNCTIONS(HTTP_FIND)
#undef HTTP_FIND
    http.is_loaded = true; /* never unloaded: its threads may be on their way out */
    return NULL;
}

/* ---- answers, on the server's thread ------------------------------------------------------- */

/* Takes the response. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type,
                             struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    enum MHD_Result result = http.add_response_header(response, "Content-Type", type);
    if (result == MHD_YES)
        result = http.add_response_header(response, "Cache-Control", "no-store");
    if (result == MHD_YES && status == MHD_HTTP_METHOD_NOT_ALLOWED)
        result = http.add_response_header(response, "Allow", "GET, HEAD");
    if (result == MHD_YES)
        result = http.queue_response(connection, status, response);
    http.destroy_response(response);
    return result;
}

static enum MHD_Result reply_text(struct MHD_Connection *connection, unsigned status,
                                  const char *type, const char *text)
{
    /* MUST_COPY: nothing is written through the pointer, whatever its type. */
    return reply(connection, status, type,
                 http.create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                  MHD_RESPMEM_MUST_COPY));
}

static void make_response(void *context, const char *text, size_t bytes)
{
    struct MHD_Response **response = context;
    *response =
        http.create_response_from_buffer(bytes, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result reply_metrics(struct MHD_Connection *connection, sombra_db *db)
{
    struct MHD_Response *response = NULL;
    sombra_err err = sombra_db_metrics_text(db, make_response, &response);
    if (err)
        return reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8",
                          "the metrics cannot be read\n");
    return reply(connection, MHD_HTTP_OK, SOMBRA_METRICS_CONTENT_TYPE, response);
}

static bool find_refusal(void *context, const sombra_metric *metric)
{
    bool *refuses = context;
    if (strcmp(metric->name, "sombra_refuses_writes") != 0)
        return true;
    *refuses = metric->value != 0;
    return false;
}

static enum MHD_Result reply_health(struct MHD_Connection *connection, sombra_db *db)
{
    bool refuses = false;
    const char *text = "{\"status\":\"ok\"}\n";
    if (sombra_db_metrics(db, find_refusal, &refuses))
        text = "{\"status\":\"unreadable\"}\n";
    else if (refuses)
        text = "{\"status\":\"refuses writes\"}\n";
    else
        return reply_text(connection, MHD_HTTP_OK, "application/json", text);
    return reply_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "application/json", text);
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **request)
{
    static char seen;
    sombra_db *db = context;
    (void)version;
    (void)upload;
    (void)upload_bytes;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8",
                          "only GET and HEAD are answered\n");
    if (*request == NULL) { /* the headers; the answer is wanted at the second call */
        *request = &seen;
        return MHD_YES;
    }
    if (strcmp(url, "/metrics") == 0)
        return reply_metrics(connection, db);
    if (strcmp(url, "/health") == 0)
        return reply_health(connection, db);
    return reply_text(connection, MHD_HTTP_NOT_FOUND, "text/plain; charset=utf-8",
                      "there is /metrics and /health\n");
}

/* ---- addresses ----------------------------------------------------------------------------- */

/* "HOST:PORT", "HOST", ":PORT", "[IPv6]:PORT"; what is missing is the default. */
static bool split_address(const char *address, char host[HOST_BYTES], char port[8])
{
    const char *end;
    const char *begin = address;
    if (*begin == '[') {
        end = strchr(++begin, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
    } else {
        end = begin + strcspn(begin, ":");
        if (strchr(end, ':') != strrchr(end, ':'))
            return false; /* an IPv6 address without its brackets */
    }
    const char *colon = *end == ']' ? end + 1 : end;
    const char *number = *colon == ':' ? colon + 1 : ADDRESS_PORT;
    size_t host_bytes = (size_t)(end - begin);
    if (host_bytes >= HOST_BYTES || strlen(number) > 5 || !*number ||
        strspn(number, "0123456789") != strlen(number) || strtol(number, NULL, 10) > PORT_MAX)
        return false;
    snprintf(host, HOST_BYTES, "%.*s", (int)host_bytes, begin);
    if (!*host || strcmp(host, "localhost") == 0)
        strcpy(host, "127.0.0.1");
    strcpy(port, number);
    return true;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)address;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static void describe(int listener, char to[ADDRESS_BYTES])
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    char host[HOST_BYTES] = "?", port[8] = "?";
    if (getsockname(listener, (void *)&address, &bytes) == 0)
        (void)getnameinfo((void *)&address, bytes, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(to, ADDRESS_BYTES, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* A socket that listens, or -1 and errno. */
static int listen_at(const struct addrinfo *at)
{
    const int on = 1;
    int listener = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0)
        return -1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(listener, at->ai_addr, at->ai_addrlen) || listen(listener, LISTEN_BACKLOG)) {
        int saved = errno;
        close(listener);
        errno = saved;
        return -1;
    }
    return listener;
}

/* ---- the server ---------------------------------------------------------------------------- */

static void block_signals(struct server *server)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &wanted, &server->signals_before);
}

static bool server_start(struct server *server, int listener, int family)
{
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD;
    if (family == AF_INET6)
        flags |= MHD_USE_IPv6;
    describe(listener, server->address);
    block_signals(server); /* before its thread begins, which inherits the mask */
    server->daemon = http.start_daemon(
        flags, 0, NULL, NULL, answer, server->db->db, MHD_OPTION_LISTEN_SOCKET, listener,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    if (server->daemon) {
        server->db->jobs++;
        return true;
    }
    close(listener);
    pthread_sigmask(SIG_SETMASK, &server->signals_before, NULL);
    return false;
}

static int refuse(lua_State *L, bool is_usage, const char *what, const char *address,
                  const char *why)
{
    luaL_pushfail(L);
    lua_pushfstring(L, "%s %s: %s", what, address, why);
    lua_pushboolean(L, is_usage);
    return 3;
}

/* serve.start(db, address, allow_remote) -> server; nil, message, is_usage */
static int start(lua_State *L)
{
    struct db_handle *db = luaL_checkudata(L, 1, DB_NAME);
    const char *address = luaL_checkstring(L, 2);
    bool allow_remote = lua_toboolean(L, 3);
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    char host[HOST_BYTES], port[8];
    struct addrinfo *found = NULL;
    luaL_argcheck(L, db->db, 1, "the database is closed");
    struct server *server = lua_newuserdatauv(L, sizeof *server, 1);
    *server = (struct server){ .db = db };
    luaL_setmetatable(L, SERVER_NAME);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (!split_address(address, host, port) || getaddrinfo(host, port, &hints, &found) != 0)
        return refuse(L, true, "address", address,
                      "an IP address and a port are needed, such as 127.0.0.1:" ADDRESS_PORT);
    if (!allow_remote && !is_loopback(found->ai_addr)) {
        freeaddrinfo(found);
        return refuse(L, true, "address", address,
                      "it is not of this machine alone, and nothing here asks for a password; "
                      "--allow-remote permits it");
    }
    const char *missing = http_load();
    if (missing) {
        freeaddrinfo(found);
        return refuse(L, false, "cannot serve", address, missing);
    }
    int family = found->ai_family;
    int listener = listen_at(found);
    int error = errno;
    freeaddrinfo(found);
    if (listener < 0)
        return refuse(L, false, "cannot listen on", address, strerror(error));
    if (!server_start(server, listener, family))
        return refuse(L, false, "cannot serve", address, "the server does not start");
    return 1;
}

static struct server *check_open(lua_State *L)
{
    struct server *server = luaL_checkudata(L, 1, SERVER_NAME);
    luaL_argcheck(L, server->daemon, 1, "the server is closed");
    return server;
}

static int server_address(lua_State *L)
{
    lua_pushstring(L, check_open(L)->address);
    return 1;
}

/* server:wait() -> the name of the signal that ended it */
static int server_wait(lua_State *L)
{
    sigset_t wanted;
    int signal_number = 0;
    (void)check_open(L);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    while (sigwait(&wanted, &signal_number) != 0)
        ;
    lua_pushstring(L, signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    return 1;
}

/* Requests that are being answered are finished first. */
static int server_close(lua_State *L)
{
    struct server *server = luaL_checkudata(L, 1, SERVER_NAME);
    if (!server->daemon)
        return 0;
    http.stop_daemon(server->daemon);
    server->daemon = NULL;
    server->db->jobs--;
    pthread_sigmask(SIG_SETMASK, &server->signals_before, NULL);
    return 0;
}

static int is_directory(lua_State *L)
{
    struct stat status;
    lua_pushboolean(L, stat(luaL_checkstring(L, 1), &status) == 0 && S_ISDIR(status.st_mode));
    return 1;
}

int luaopen_sombra_serve(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "start", start },
        { "is_directory", is_directory },
        { NULL, NULL },
    };
    static const luaL_Reg metamethods[] = {
        { "__gc", server_close },
        { "__close", server_close },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "address", server_address },
        { "wait", server_wait },
        { "close", server_close },
        { NULL, NULL },
    };
    luaL_newmetatable(L, SERVER_NAME);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
#else
typedef int serve_needs_the_binding; /* a file of C has a declaration */
#endif
