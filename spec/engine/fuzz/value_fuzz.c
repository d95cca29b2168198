/* SPDX-License-Identifier: MIT */
/* Arbitrary bytes as an encoded value and as the record of a node: readers stay inside the input,
 * and a value that validate accepts can be read whole and built again with the same content. */
#include "graph/graph.h"
#include "sombra/value.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void touch(sombra_slice s)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < s.bytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)s.data)[i]);
}

static void push_scalar(sombra_value_builder *to, const sombra_value *value)
{
    if (value->kind == SOMBRA_BOOLEAN)
        sombra_value_push_boolean(to, value->as.boolean);
    else if (value->kind == SOMBRA_INTEGER)
        sombra_value_push_integer(to, value->as.integer);
    else if (value->kind == SOMBRA_FLOAT)
        sombra_value_push_float(to, value->as.real);
    else if (value->kind == SOMBRA_STRING)
        sombra_value_push_string(to, value->as.string.data, value->as.string.bytes);
    else
        sombra_value_push_null(to);
}

/* Builds what the reader sees; false if it meets damage. */
static bool copy(sombra_value_builder *to, const sombra_value *value)
{
    sombra_value_cursor cursor;
    sombra_value element;
    sombra_slice key = { NULL, 0 };
    bool found = true;
    if (value->kind != SOMBRA_LIST && value->kind != SOMBRA_MAP) {
        push_scalar(to, value);
        return true;
    }
    bool is_map = value->kind == SOMBRA_MAP;
    if (is_map)
        sombra_value_begin_map(to);
    else
        sombra_value_begin_list(to);
    sombra_value_enter(value, &cursor);
    for (;;) {
        if (sombra_value_next(&cursor, &key, &element, &found))
            return false;
        if (!found)
            break;
        if (is_map)
            sombra_value_push_key(to, key.data, key.bytes);
        if (!copy(to, &element))
            return false;
    }
    if (is_map)
        sombra_value_end_map(to);
    else
        sombra_value_end_list(to);
    return true;
}

static void read_value(sombra_slice input)
{
    static sombra_value_builder *builder;
    sombra_value value;
    sombra_slice again, third;
    if (!builder)
        require(sombra_value_builder_new(&builder) == SOMBRA_OK);
    bool sound = sombra_value_validate(input) == SOMBRA_OK;
    if (sombra_value_decode(input, &value)) {
        require(!sound);
        return;
    }
    sombra_value_builder_reset(builder);
    bool copied = copy(builder, &value);
    require(copied == sound);
    if (!sound)
        return;
    /* Not always the same bytes: readers accept longer forms. But building is idempotent. */
    require(sombra_value_finish(builder, &again) == SOMBRA_OK);
    uint8_t *kept = malloc(again.bytes);
    require(kept != NULL);
    memcpy(kept, again.data, again.bytes);
    again.data = kept;
    require(sombra_value_decode(again, &value) == SOMBRA_OK);
    sombra_value_builder_reset(builder);
    require(copy(builder, &value));
    require(sombra_value_finish(builder, &third) == SOMBRA_OK);
    require(again.bytes == third.bytes && memcmp(again.data, third.data, third.bytes) == 0);
    require(value_canonical(builder, again, &third) == SOMBRA_OK && third.data == kept);
    free(kept);
    require(value_canonical(builder, input, &third) == SOMBRA_OK);
    require(sombra_value_validate(third) == SOMBRA_OK);
}

static void read_record(sombra_slice input, bool is_node)
{
    sombra_record record;
    uint32_t id, before = 0;
    sombra_slice value;
    bool found = true;
    if (graph_record_open(input, is_node, &record))
        return;
    while (!graph_record_next_label(&record, &id, &found) && found) {
        require(id > before);
        before = id;
    }
    (void)(graph_record_find(&record, 3, &value) == SOMBRA_OK);
    before = 0;
    const sombra_record whole = record;
    while (!graph_record_next_property(&record, &id, &value, &found) && found) {
        sombra_slice again;
        require(id > before);
        before = id;
        touch(value);
        require(graph_record_find(&whole, id, &again) == SOMBRA_OK && again.data == value.data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    sombra_slice input = { data, bytes };
    read_value(input);
    read_record(input, true);
    read_record(input, false);
    return 0;
}
