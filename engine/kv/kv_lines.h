/* SPDX-License-Identifier: MIT */
/* kv_lines: what an engine's dump tells, for people: a line is a word and fields,
 * `page number=12 kind=leaf`; bytes are hexadecimal. `problem=` is the last field of its line and
 * reaches to its end.
 *
 * Threads: one at a time.
 */
#ifndef KV_LINES_H
#define KV_LINES_H

#include "base/base.h"

enum {
    KV_LINE_VALUE_BYTES = 64, /* of a value, shown */
    KV_LINE_BYTES = 5 << 10,  /* two keys and a value in hexadecimal, and words */
};

/* One line; the text lives until it returns. False cancels. */
typedef bool (*kv_line_fn)(void *context, const char *line);

struct kv_lines {
    kv_line_fn line;
    void *context;
    char text[KV_LINE_BYTES];
};

/* Tells one line. CANCELLED when its function says so. */
sombra_err kv_lines_tell(struct kv_lines *lines, const char *format, ...)
    SOMBRA_PRINTF(2, 3) SOMBRA_MUST_CHECK;
/* The thread's error text as a line: `what number=NUMBER problem=...`. */
sombra_err kv_lines_tell_problem(struct kv_lines *lines, const char *what,
                                 uint64_t number) SOMBRA_MUST_CHECK;
/* At most the first `shown` bytes, in hexadecimal; `to` has room for two characters each and the
 * end. Returns `to`. */
const char *kv_line_hex(sombra_slice bytes, size_t shown, char *to);

#endif
