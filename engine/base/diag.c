/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

/* The code rides in the text's last byte, behind the terminator, so that save and restore keep the
 * two together. It tells a text of this failure from one that an earlier failure left: many codes
 * (NOT_FOUND of a lookup) are returned with no text at all. */
enum { TEXT_BYTES_MAX = DIAG_TEXT_BYTES - 1, CODE_AT = DIAG_TEXT_BYTES - 1 };

static _Thread_local char text[DIAG_TEXT_BYTES];

static const char *meaning_of(sombra_err err)
{
    switch (err) {
#define MEANING_CASE(code, number, name, meaning) \
    case SOMBRA_##code:                           \
        return meaning;
        SOMBRA_ERRORS(MEANING_CASE)
#undef MEANING_CASE
    }
    return "unknown error";
}

const char *sombra_err_name(sombra_err err)
{
    switch (err) {
#define NAME_CASE(code, number, name, meaning) \
    case SOMBRA_##code:                        \
        return name;
        SOMBRA_ERRORS(NAME_CASE)
#undef NAME_CASE
    }
    return "unknown";
}

const char *sombra_err_message(void)
{
    return text;
}

/* Through a second buffer, since an argument may be the old text itself. */
static void set_text(const char *new_text, sombra_err code)
{
    size_t bytes = size_min(strlen(new_text), TEXT_BYTES_MAX - 1);
    memmove(text, new_text, bytes);
    text[bytes] = '\0';
    text[CODE_AT] = (char)code;
}

sombra_err diag_fail(sombra_err code, const char *format, ...)
{
    char formatted[DIAG_TEXT_BYTES];
    va_list arguments;
    assert(code != SOMBRA_OK);
    assert(format);
    va_start(arguments, format);
    vsnprintf(formatted, sizeof formatted, format, arguments);
    va_end(arguments);
    set_text(formatted, code);
    return code;
}

sombra_err diag_wrap(sombra_err err, const char *format, ...)
{
    char formatted[2 * DIAG_TEXT_BYTES];
    va_list arguments;
    assert(format);
    if (err == SOMBRA_OK)
        return err;
    va_start(arguments, format);
    vsnprintf(formatted, DIAG_TEXT_BYTES, format, arguments);
    va_end(arguments);

    size_t bytes = strlen(formatted);
    const char *cause = text[CODE_AT] == (char)err ? text : meaning_of(err);
    snprintf(formatted + bytes, sizeof formatted - bytes, ": %s", cause);
    set_text(formatted, err);
    return err;
}

const char *diag_text(void)
{
    return text;
}

void diag_save(char out_text[DIAG_TEXT_BYTES])
{
    memcpy(out_text, text, DIAG_TEXT_BYTES);
}

void diag_restore(const char saved[DIAG_TEXT_BYTES])
{
    memcpy(text, saved, DIAG_TEXT_BYTES);
}
