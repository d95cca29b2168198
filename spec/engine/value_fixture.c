/* SPDX-License-Identifier: MIT */
#include "value_fixture.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static sombra_value_builder *builder;
static struct arena arena = ARENA_INIT;
static const char *whole; /* what is read now, for messages */

static const char *blank(const char *at)
{
    while (*at == ' ' || *at == ',' || *at == '\n')
        at++;
    return at;
}

/* "name =" or "["name"] =": the key, or NULL if none is there. */
static const char *read_key(const char *at, sombra_slice *out_key)
{
    const char *begin = at, *end;
    if (at[0] == '[' && (at[1] == '"' || at[1] == '\'')) {
        begin = at + 2;
        end = strchr(begin, at[1]);
        if (!end || end[1] != ']')
            return NULL;
        at = blank(end + 2);
    } else {
        while (isalnum((unsigned char)*at) || *at == '_')
            at++;
        end = at;
        at = blank(at);
    }
    if (end == begin || *at != '=')
        return NULL;
    *out_key = slice_of(begin, (size_t)(end - begin));
    return at + 1;
}

static const char *push(const char *at);

static const char *push_table(const char *at)
{
    sombra_slice key;
    bool is_map = *at == '}' || read_key(at, &key);
    if (is_map)
        sombra_value_begin_map(builder);
    else
        sombra_value_begin_list(builder);
    while (*at != '}') {
        if (is_map) {
            at = read_key(at, &key);
            if (!at)
                fail_msg("a key is missing: %s", whole);
            sombra_value_push_key(builder, key.data, key.bytes);
        }
        at = blank(push(blank(at)));
    }
    if (is_map)
        sombra_value_end_map(builder);
    else
        sombra_value_end_list(builder);
    return at + 1;
}

static const char *push_number(const char *at)
{
    char *end;
    size_t length = strspn(at, "+-0123456789.epx");
    if (strcspn(at, ".ep") < length)
        sombra_value_push_float(builder, strtod(at, &end));
    else
        sombra_value_push_integer(builder, strtoll(at, &end, 10));
    if (end == at)
        fail_msg("no value at '%s' of %s", at, whole);
    return end;
}

static const char *push(const char *at)
{
    static const struct {
        const char *word;
        int what;
        double real;
    } words[] = { { "null", 0, 0 },  { "false", 1, 0 },      { "true", 2, 0 },
                  { "nan", 3, NAN }, { "inf", 3, INFINITY }, { "-inf", 3, -INFINITY } };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        size_t length = strlen(words[i].word);
        if (strncmp(at, words[i].word, length) != 0)
            continue;
        if (words[i].what == 0)
            sombra_value_push_null(builder);
        else if (words[i].what < 3)
            sombra_value_push_boolean(builder, words[i].what == 2);
        else
            sombra_value_push_float(builder, words[i].real);
        return at + length;
    }
    if (*at == '"' || *at == '\'') {
        const char *end = strchr(at + 1, *at);
        if (!end)
            fail_msg("a string has no end: %s", whole);
        sombra_value_push_string(builder, at + 1, (size_t)(end - at) - 1);
        return end + 1;
    }
    if (at[0] == '[' && at[1] == ']') {
        sombra_value_begin_list(builder);
        sombra_value_end_list(builder);
        return at + 2;
    }
    return *at == '{' ? push_table(blank(at + 1)) : push_number(at);
}

static sombra_slice read_text(const char *format, va_list arguments)
{
    char text[1 << 14];
    sombra_slice encoded;
    int length = vsnprintf(text, sizeof text, format, arguments);
    assert_in_range(length, 0, sizeof text - 1);
    whole = text;
    if (!builder)
        assert_int_equal(sombra_value_builder_new(&builder), SOMBRA_OK);
    sombra_value_builder_reset(builder);
    if (*blank(push(blank(text))))
        fail_msg("more than one value: %s", text);
    assert_int_equal(sombra_value_finish(builder, &encoded), SOMBRA_OK);
    encoded = arena_copy(&arena, encoded);
    assert_non_null(encoded.data);
    return encoded;
}

sombra_slice value_text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sombra_slice encoded = read_text(format, arguments);
    va_end(arguments);
    return encoded;
}

sombra_value value_decoded(const char *format, ...)
{
    sombra_value value;
    va_list arguments;
    va_start(arguments, format);
    sombra_slice encoded = read_text(format, arguments);
    va_end(arguments);
    assert_int_equal(sombra_value_decode(encoded, &value), SOMBRA_OK);
    return value;
}

void values_release(void)
{
    sombra_value_builder_free(builder);
    builder = NULL;
    arena_release(&arena);
    arena = (struct arena)ARENA_INIT;
}

/* ---- back to text ------------------------------------------------------------------------ */

static char output[1 << 16];

static void say(const char *format, ...)
{
    size_t used = strlen(output);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(output + used, sizeof output - used, format, arguments);
    va_end(arguments);
}

static void say_value(const sombra_value *value)
{
    sombra_value_cursor cursor;
    const char *separator = "";
    switch (value->kind) {
    case SOMBRA_NULL:
        say("null");
        return;
    case SOMBRA_BOOLEAN:
        say(value->as.boolean ? "true" : "false");
        return;
    case SOMBRA_INTEGER:
        say("%" PRId64, value->as.integer);
        return;
    case SOMBRA_FLOAT:
        say("%#g", value->as.real);
        return;
    case SOMBRA_STRING:
        say("'%.*s'", (int)value->as.string.bytes, (const char *)value->as.string.data);
        return;
    case SOMBRA_LIST:
    case SOMBRA_MAP:
        break;
    }
    say("{");
    sombra_value_enter(value, &cursor);
    for (;; separator = " ") {
        sombra_slice key = { NULL, 0 };
        sombra_value element;
        bool found = false;
        assert_int_equal(sombra_value_next(&cursor, &key, &element, &found), SOMBRA_OK);
        if (!found)
            break;
        say("%s", separator);
        if (value->kind == SOMBRA_MAP)
            say("%.*s=", (int)key.bytes, (const char *)key.data);
        say_value(&element);
    }
    say("}");
}

const char *text_of_value(sombra_slice encoded)
{
    sombra_value value;
    output[0] = 0;
    assert_int_equal(sombra_value_decode(encoded, &value), SOMBRA_OK);
    say_value(&value);
    return output;
}
