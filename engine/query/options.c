/* SPDX-License-Identifier: MIT */
/* The options map of a step: every member is known, of its kind, and in its bounds. */
#include "plan_internal.h"

#include <stdio.h>

/* The name's index; that of their end if it is none of them. */
static unsigned index_of(sombra_slice key, const char *const *names)
{
    unsigned index = 0;
    while (names[index] && !slice_equal(key, slice_str(names[index])))
        index++;
    return index;
}

/* "a, b, c", cut where the room ends. */
static const char *join(const char *const *names, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; names[i]; i++) {
        size_t left = bytes - used;
        int added = snprintf(text + used, left, "%s%s", i ? ", " : "", names[i]);
        if (added < 0 || (size_t)added >= left)
            break;
        used += (size_t)added;
    }
    return text;
}

sombra_err options_check(const sombra_value *options, const char *const *names)
{
    uint32_t given;
    return options_given(options, names, &given);
}

sombra_err options_given(const sombra_value *options, const char *const *names, uint32_t *out_given)
{
    sombra_value_cursor cursor;
    char text[200];
    *out_given = 0;
    if (options->kind == SOMBRA_LIST && options->count == 0)
        return SOMBRA_OK; /* {} of a language that has one empty table */
    if (options->kind != SOMBRA_MAP)
        return diag_fail(SOMBRA_INVALID, "options are a %s; give a map",
                         sombra_kind_name(options->kind));
    sombra_value_enter(options, &cursor);
    for (;;) {
        sombra_slice key, unused;
        bool found = false;
        sombra_err err = value_next_proved(&cursor, &key, &unused, &found);
        if (err || !found)
            return err;
        const unsigned index = index_of(key, names);
        assert(index < 32);
        *out_given |= UINT32_C(1) << index;
        if (!names[index])
            return diag_fail(SOMBRA_INVALID, "unknown option '%.*s'; it takes %s",
                             (int)size_min(key.bytes, 60), (const char *)key.data,
                             join(names, text, sizeof text));
    }
}

/* *out_found false = no such option; null counts as none. */
static sombra_err option_find(const sombra_value *options, const char *name,
                              sombra_value *out_value, bool *out_found)
{
    *out_found = false;
    if (options->kind != SOMBRA_MAP)
        return SOMBRA_OK;
    sombra_err err = sombra_value_member(options, slice_str(name), out_value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    *out_found = !err && out_value->kind != SOMBRA_NULL;
    return err;
}

sombra_err option_count(const sombra_value *options, const char *name, uint64_t max,
                        uint32_t *out_value)
{
    sombra_value value;
    bool found;
    assert(max <= UINT32_MAX);
    sombra_err err = option_find(options, name, &value, &found);
    if (err || !found)
        return err;
    if (value.kind != SOMBRA_INTEGER || value.as.integer < 0 || (uint64_t)value.as.integer > max)
        return diag_fail(SOMBRA_INVALID, "option '%s' must be an integer from 0 to %" PRIu64, name,
                         max);
    *out_value = (uint32_t)value.as.integer;
    return SOMBRA_OK;
}

sombra_err option_boolean(const sombra_value *options, const char *name, bool *out_value)
{
    sombra_value value;
    bool found;
    sombra_err err = option_find(options, name, &value, &found);
    if (err || !found)
        return err;
    if (value.kind != SOMBRA_BOOLEAN)
        return diag_fail(SOMBRA_INVALID, "option '%s' must be a boolean", name);
    *out_value = value.as.boolean;
    return SOMBRA_OK;
}

sombra_err option_choice(const sombra_value *options, const char *name, const char *const *choices,
                         unsigned *out_choice)
{
    sombra_value value;
    bool found;
    char text[200];
    sombra_err err = option_find(options, name, &value, &found);
    if (err || !found)
        return err;
    for (unsigned i = 0; value.kind == SOMBRA_STRING && choices[i]; i++) {
        if (slice_equal(value.as.string, slice_str(choices[i]))) {
            *out_choice = i;
            return SOMBRA_OK;
        }
    }
    return diag_fail(SOMBRA_INVALID, "option '%s' must be one of %s", name,
                     join(choices, text, sizeof text));
}

sombra_err option_encoded(const sombra_value *options, const char *name, sombra_slice *out_encoded,
                          bool *out_found)
{
    sombra_value value;
    sombra_slice encoded;
    *out_found = false;
    if (options->kind != SOMBRA_MAP)
        return SOMBRA_OK;
    sombra_err err = value_member(options, slice_str(name), &value, &encoded);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err && value.kind != SOMBRA_NULL) {
        *out_encoded = encoded;
        *out_found = true;
    }
    return err;
}
