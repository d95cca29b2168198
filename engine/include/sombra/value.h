/* SPDX-License-Identifier: MIT */
/* value: what a property or a bucket entry holds, as self-describing bytes.
 *
 * Seven kinds. Integer and float are different kinds (1 is not 1.0); a string is any bytes; a list
 * and a map are different even when empty. A map's keys are strings, each at most once; they are
 * kept in byte order whatever order they were given in, so that equal values have equal bytes.
 * Lists and maps nest up to SOMBRA_VALUE_DEPTH_MAX deep.
 *
 * Writing: a builder turns pushes into bytes and keeps its memory from value to value. Reading:
 * sombra_value_decode looks at one value, a sombra_value_cursor walks a list or map; neither
 * allocates. Readers prove every byte they look at and give CORRUPT for what no builder makes.
 *
 * Ownership: slices point into the encoded bytes and live as long as those do.
 * Threads: a builder by one thread at a time; the rest is plain data.
 */
#ifndef SOMBRA_VALUE_H
#define SOMBRA_VALUE_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SOMBRA_VALUE_DEPTH_MAX = 64,              /* lists and maps around a value */
    SOMBRA_VALUE_BYTES_MAX = (1 << 30) - 4096 /* of an encoded value */
};

/* Numbers are part of the ABI: append only. */
typedef enum sombra_kind {
    SOMBRA_NULL = 0,
    SOMBRA_BOOLEAN = 1,
    SOMBRA_INTEGER = 2,
    SOMBRA_FLOAT = 3,
    SOMBRA_STRING = 4,
    SOMBRA_LIST = 5,
    SOMBRA_MAP = 6,
} sombra_kind;

/* One value, looked at. */
typedef struct sombra_value {
    sombra_kind kind;
    uint32_t count; /* list: elements; map: entries; else 0 */
    uint32_t depth; /* lists and maps around it */
    union {
        bool boolean;
        int64_t integer;
        double real;
        sombra_slice string;
        sombra_slice body; /* list, map: for sombra_value_enter */
    } as;
} sombra_value;

/* "null", "boolean", "integer", "float", "string", "list", "map"; "unknown" for anything else. */
SOMBRA_API const char *sombra_kind_name(sombra_kind kind);

/* ---- write ------------------------------------------------------------------------------- */

typedef struct sombra_value_builder sombra_value_builder;

SOMBRA_API sombra_err sombra_value_builder_new(sombra_value_builder **out_builder)
    SOMBRA_MUST_CHECK;
SOMBRA_API void sombra_value_builder_free(sombra_value_builder *builder); /* NULL is a no-op */
/* Forgets what was pushed, and the failure; keeps the memory. */
SOMBRA_API void sombra_value_builder_reset(sombra_value_builder *builder);

/* Each pushes one value: the whole, the next element of the open list, or the value behind the
 * last key. The first failure sticks: later calls do nothing and return it again, and so does
 * finish, which is the one that must be checked. INVALID: a value where a key must come, a second
 * whole value, the same key twice (said by end_map); LIMIT: deeper or longer than allowed; NOMEM.
 */
SOMBRA_API sombra_err sombra_value_push_null(sombra_value_builder *builder);
SOMBRA_API sombra_err sombra_value_push_boolean(sombra_value_builder *builder, bool value);
SOMBRA_API sombra_err sombra_value_push_integer(sombra_value_builder *builder, int64_t value);
SOMBRA_API sombra_err sombra_value_push_float(sombra_value_builder *builder, double value);
SOMBRA_API sombra_err sombra_value_push_string(sombra_value_builder *builder, const void *data,
                                               size_t bytes);
/* A whole encoded value, as one; INVALID if it is not sound. */
SOMBRA_API sombra_err sombra_value_push_encoded(sombra_value_builder *builder,
                                                sombra_slice encoded);
SOMBRA_API sombra_err sombra_value_begin_list(sombra_value_builder *builder);
SOMBRA_API sombra_err sombra_value_end_list(sombra_value_builder *builder);
SOMBRA_API sombra_err sombra_value_begin_map(sombra_value_builder *builder);
SOMBRA_API sombra_err sombra_value_push_key(sombra_value_builder *builder, const void *data,
                                            size_t bytes); /* any bytes, empty allowed */
SOMBRA_API sombra_err sombra_value_end_map(sombra_value_builder *builder);

/* The bytes of the one value pushed; they live until the builder's next call. INVALID if there is
 * none or a list or map is still open. */
SOMBRA_API sombra_err sombra_value_finish(sombra_value_builder *builder,
                                          sombra_slice *out_encoded) SOMBRA_MUST_CHECK;

/* ---- read -------------------------------------------------------------------------------- */

/* Looks at the one value that `encoded` is. CORRUPT if its own bytes are not sound; what is inside
 * a list or map is proved as a cursor reaches it. */
SOMBRA_API sombra_err sombra_value_decode(sombra_slice encoded,
                                          sombra_value *out_value) SOMBRA_MUST_CHECK;

/* Walks one list or map; one cursor for each level. The fields are private. */
typedef struct sombra_value_cursor {
    const uint8_t *next;
    const uint8_t *end;
    uint32_t left;
    uint32_t depth;
    bool is_map;
    bool has_key;
    sombra_slice key;
} sombra_value_cursor;

/* `container` is a list or map; of any other kind it is walked as an empty list. */
SOMBRA_API void sombra_value_enter(const sombra_value *container, sombra_value_cursor *out_cursor);
/* The next element; *out_key (may be NULL) is set in a map only. *out_found false = no more. */
SOMBRA_API sombra_err sombra_value_next(sombra_value_cursor *cursor, sombra_slice *out_key,
                                        sombra_value *out_value, bool *out_found) SOMBRA_MUST_CHECK;
/* The value of `key` in a map; NOT_FOUND. O(entries). */
SOMBRA_API sombra_err sombra_value_member(const sombra_value *map, sombra_slice key,
                                          sombra_value *out_value) SOMBRA_MUST_CHECK;

/* Proves all of `encoded`, every level; CORRUPT says where. */
SOMBRA_API sombra_err sombra_value_validate(sombra_slice encoded) SOMBRA_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
