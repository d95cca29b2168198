/* SPDX-License-Identifier: MIT */
#include "query_fixture.h"

#include <time.h>

sombra_query_options query_options;
_Atomic uint32_t query_is_cancelled;

/* Closed, with what it keeps from query to query: most tests run on what others left. NULL = none.
 */
static struct query *spare;

static char output[1 << 16];
static char given[1 << 14];

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const struct query_environment query_environment = { now_ns, &query_is_cancelled };

int query_setup(void **state)
{
    query_options = (sombra_query_options)SOMBRA_QUERY_OPTIONS_INIT;
    query_is_cancelled = 0;
    fixture_setup(state);
    begin_write(*state);
    return 0;
}

int query_teardown(void **state)
{
    query_release(spare);
    spare = NULL;
    values_release();
    return fixture_teardown(state);
}

struct query *query_begin(struct fixture *f, sombra_slice steps)
{
    struct query *query = query_take();
    assert_ok(query_open(query, &f->txn, steps, &query_options, &query_environment));
    return query;
}

struct query *query_take(void)
{
    struct query *query = spare;
    spare = NULL;
    if (!query)
        assert_ok(query_new(&query));
    return query;
}

void query_end(struct query *query)
{
    query_close(query);
    if (spare)
        query_release(query);
    else
        spare = query;
}

#define READ_GIVEN(format)                                                                  \
    do {                                                                                    \
        va_list arguments;                                                                  \
        va_start(arguments, format);                                                        \
        assert_true(vsnprintf(given, sizeof given, format, arguments) < (int)sizeof given); \
        va_end(arguments);                                                                  \
    } while (0)

static size_t put_row(size_t used, const sombra_row *row)
{
    size_t left = sizeof output - used;
    const char *blank = used ? " " : "";
    int bytes = row->kind >= SOMBRA_ROW_PATH
                    ? snprintf(output + used, left, "%s%s", blank, text_of_value(row->value))
                : row->depth
                    ? snprintf(output + used, left, "%s%" PRIu64 "@%u", blank, row->id, row->depth)
                    : snprintf(output + used, left, "%s%" PRIu64, blank, row->id);
    assert_true(bytes >= 0 && (size_t)bytes < left);
    return used + (size_t)bytes;
}

const char *rows_text(struct fixture *f, const char *format, ...)
{
    size_t used = 0;
    READ_GIVEN(format);
    struct query *query = query_begin(f, value_text("%s", given));
    output[0] = '\0';
    for (;;) {
        const sombra_row *rows;
        size_t count;
        assert_ok(query_next(query, &rows, &count));
        if (count == 0)
            break;
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(rows[i].kind, query_kind(query));
            used = put_row(used, &rows[i]);
        }
    }
    query_end(query);
    return output;
}

uint64_t rows_count(struct fixture *f, const char *format, ...)
{
    uint64_t count = UINT64_MAX;
    READ_GIVEN(format);
    struct query *query = query_begin(f, value_text("%s", given));
    assert_ok(query_count(query, &count));
    query_end(query);
    return count;
}

sombra_err query_error(struct fixture *f, const char *format, ...)
{
    struct query *query = query_take();
    const sombra_row *rows;
    size_t count = 1;
    READ_GIVEN(format);
    sombra_err err =
        query_open(query, &f->txn, value_text("%s", given), &query_options, &query_environment);
    while (!err && count)
        err = query_next(query, &rows, &count);
    query_end(query);
    return err;
}

void assert_refused(struct fixture *f, const char *text, const char *format, ...)
{
    char steps[2000];
    READ_GIVEN(format);
    assert_true(strlen(given) < sizeof steps);
    strcpy(steps, given);
    sombra_err err = query_error(f, "%s", steps);
    if (err != SOMBRA_INVALID || !strstr(sombra_err_message(), text))
        fail_msg("%s: %s: %s\nwanted: %s", steps, sombra_err_name(err), sombra_err_message(), text);
}

static sombra_value member(const sombra_value *map, const char *name)
{
    sombra_value value = { .kind = SOMBRA_NULL };
    sombra_err err = sombra_value_member(map, slice_str(name), &value);
    assert_true(err == SOMBRA_OK || err == SOMBRA_NOT_FOUND);
    return value;
}

const char *plan_text(struct fixture *f, const char *format, ...)
{
    size_t used = 0;
    sombra_slice encoded;
    sombra_value at, inputs;
    READ_GIVEN(format);
    struct query *query = query_begin(f, value_text("%s", given));
    assert_ok(query_explain(query, &encoded));
    assert_ok(sombra_value_validate(encoded));
    assert_ok(sombra_value_decode(encoded, &at));
    for (;;) {
        sombra_value_cursor cursor;
        bool found;
        sombra_value name = member(&at, "operator"), detail = member(&at, "detail");
        used += (size_t)snprintf(output + used, sizeof output - used, "%s%.*s", used ? " <- " : "",
                                 (int)name.as.string.bytes, (const char *)name.as.string.data);
        if (detail.kind == SOMBRA_STRING)
            used +=
                (size_t)snprintf(output + used, sizeof output - used, "(%.*s)",
                                 (int)detail.as.string.bytes, (const char *)detail.as.string.data);
        inputs = member(&at, "inputs");
        if (inputs.kind != SOMBRA_LIST)
            break;
        sombra_value_enter(&inputs, &cursor);
        assert_ok(sombra_value_next(&cursor, NULL, &at, &found));
        assert_true(found);
    }
    query_end(query);
    return output;
}
