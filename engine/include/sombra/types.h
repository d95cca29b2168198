/* SPDX-License-Identifier: MIT */
/* The types that every sombra header shares: error codes and byte slices.
 *
 * Threads: plain data; nothing here is shared.
 */
#ifndef SOMBRA_TYPES_H
#define SOMBRA_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SOMBRA_API                 __attribute__((visibility("default")))
#define SOMBRA_MUST_CHECK          __attribute__((warn_unused_result))
#define SOMBRA_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define SOMBRA_API
#define SOMBRA_MUST_CHECK
#define SOMBRA_PRINTF(text, first)
#endif

/* X(code, number, Lua name, meaning). Numbers are part of the ABI: append only. */
#define SOMBRA_ERRORS(X)                                                                    \
    X(OK, 0, "ok", "success")                                                               \
    X(NOT_FOUND, 1, "not_found", "no such record")                                          \
    X(EXISTS, 2, "exists", "the record exists already")                                     \
    X(INVALID, 3, "invalid", "wrong argument or wrong state")                               \
    X(CONFLICT, 4, "conflict",                                                              \
      "the snapshot is no longer the newest, or a constraint is violated")                  \
    X(BUSY, 5, "busy", "another transaction, process or reader holds what is needed")       \
    X(READONLY, 6, "readonly", "the database or the transaction is read-only")              \
    X(LIMIT, 7, "limit", "a configured or built-in limit was reached")                      \
    X(NOMEM, 8, "nomem", "out of memory")                                                   \
    X(IO, 9, "io", "the operating system failed the operation")                             \
    X(CORRUPT, 10, "corrupt", "stored bytes are damaged")                                   \
    X(UNSUPPORTED, 11, "unsupported", "not supported by this build, format or file system") \
    X(CANCELLED, 12, "cancelled", "cancelled on request")                                   \
    X(UNIQUE, 13, "unique", "a unique constraint has the values already")                   \
    X(CONSTRAINT, 14, "constraint", "a constraint refuses the value, or that it is missing")

typedef enum sombra_err {
#define SOMBRA_ERROR_ENUM(code, number, name, text) SOMBRA_##code = number,
    SOMBRA_ERRORS(SOMBRA_ERROR_ENUM)
#undef SOMBRA_ERROR_ENUM
} sombra_err;

/* Bytes owned by somebody else. `data` may be NULL only when `bytes` is 0. */
typedef struct sombra_slice {
    const void *data;
    size_t bytes;
} sombra_slice;

/* The stable lower-case name of a code ("not_found"); "unknown" for anything else. */
SOMBRA_API const char *sombra_err_name(sombra_err err);

/* The text of the calling thread's last failure: what, where, what to do. It lives in a fixed
 * thread-local buffer until the thread's next failure; never NULL. */
SOMBRA_API const char *sombra_err_message(void);

#ifdef __cplusplus
}
#endif

#endif
