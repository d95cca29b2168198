/* SPDX-License-Identifier: MIT */
#include "kv.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static_assert(KV_LINE_BYTES >= 4 * (KV_KEY_BYTES_MAX + 1) + 2 * KV_LINE_VALUE_BYTES + 512,
              "a line holds what is told of an entry");

sombra_err kv_lines_tell(struct kv_lines *lines, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(lines->text, sizeof lines->text, format, arguments);
    va_end(arguments);
    if (!lines->line(lines->context, lines->text))
        return diag_fail(SOMBRA_CANCELLED, "the dump was cancelled");
    return SOMBRA_OK;
}

sombra_err kv_lines_tell_problem(struct kv_lines *lines, const char *what, uint64_t number)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    return kv_lines_tell(lines, "%s number=%" PRIu64 " problem=%s", what, number, text);
}

const char *kv_line_hex(sombra_slice bytes, size_t shown, char *to)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *data = bytes.data;
    size_t count = size_min(bytes.bytes, shown);
    for (size_t i = 0; i < count; i++) {
        to[2 * i] = digits[data[i] >> 4];
        to[2 * i + 1] = digits[data[i] & 15];
    }
    to[2 * count] = '\0';
    return to;
}
