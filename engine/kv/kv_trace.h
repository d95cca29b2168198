/* SPDX-License-Identifier: MIT */
/* kv_trace: a store that forwards every call to another one and tells each as a line of text.
 *
 * For support and for tests: it proves that everything goes through kv.h. A line names the object
 * (txn 3, cursor 5 of txn 3), the call, its arguments with long keys cut, and the outcome:
 *     txn 3: put "name\x00ada" = 12 bytes: ok
 *
 * Ownership: the tracing store owns the inner one: kv_close closes both (or, BUSY, neither).
 * Threads: as kv.h says; lines come from the calling threads, perhaps at the same time.
 */
#ifndef KV_TRACE_H
#define KV_TRACE_H

#include "kv.h"

/* `line` has no newline and lives until the callback returns. */
typedef void (*kv_trace_fn)(void *context, const char *line);

/* NOMEM; then `inner` is still the caller's. */
sombra_err kv_trace_open(struct kv *inner, kv_trace_fn line, void *context,
                         struct kv **out_kv) SOMBRA_MUST_CHECK;

#endif
