/* SPDX-License-Identifier: MIT */
/* Mending names and buckets: both stand twice, by number and by text, and one tells the other. What
 * is used and has lost both gets a name that says so. */
#include "mend_internal.h"

#include <stdio.h>

enum { TEXT_KEY_BYTES = 2 + SOMBRA_NAME_BYTES_MAX };

static const char *const kind_texts[GRAPH_NAME_KINDS] = {
    [SOMBRA_NAME_LABEL] = "label",
    [SOMBRA_NAME_TYPE] = "type",
    [SOMBRA_NAME_PROPERTY] = "property",
};

/* Names, with their kind, or buckets (kind 0). */
static size_t text_key(unsigned kind, sombra_slice text, uint8_t to[TEXT_KEY_BYTES])
{
    size_t head = 0;
    to[head++] = kind ? TAG_NAME_BY_TEXT : TAG_BUCKET_BY_NAME;
    if (kind)
        to[head++] = (uint8_t)kind;
    if (text.bytes)
        memcpy(to + head, text.data, text.bytes);
    return head + text.bytes;
}

static struct graph_key id_key(unsigned kind, uint64_t id)
{
    return kind ? key_2(TAG_NAME_BY_ID, kind, id) : key_1(TAG_BUCKET, id);
}

static bool text_is_sound(sombra_slice text)
{
    return text.bytes >= 1 && text.bytes <= SOMBRA_NAME_BYTES_MAX;
}

/* Whose number a text has; 0 = it has none that can be read. */
static sombra_err id_by_text(struct mend *mend, unsigned kind, sombra_slice text, uint64_t *out_id)
{
    uint8_t key[TEXT_KEY_BYTES];
    sombra_slice value = { NULL, 0 };
    uint64_t id = 0;
    sombra_err err = mend_get(mend, slice_of(key, text_key(kind, text, key)), &value);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    const uint8_t *at = err ? NULL : value.data, *end = at ? at + value.bytes : NULL;
    *out_id = at && varint_get(at, end, &id) == end ? id : 0;
    return SOMBRA_OK;
}

/* Both entries. */
static sombra_err put_both(struct mend *mend, unsigned kind, uint64_t id, sombra_slice text)
{
    uint8_t key[TEXT_KEY_BYTES], value[VARINT_BYTES_MAX];
    struct graph_key by_id = id_key(kind, id);
    size_t bytes = (size_t)(varint_put(value, id) - value);
    sombra_err err =
        mend_rebuild(mend, slice_of(key, text_key(kind, text, key)), slice_of(value, bytes));
    return err ? err : mend_rebuild(mend, key_slice(&by_id), text);
}

/* A name that nobody has, for what lost its own. */
static sombra_err put_made(struct mend *mend, unsigned kind, uint64_t id)
{
    enum { TRIES = 1000 };
    char text[64];
    uint64_t other = 1;
    const char *what = kind ? kind_texts[kind] : "bucket";
    sombra_err err = SOMBRA_OK;
    snprintf(text, sizeof text, "lost-%s-%" PRIu64, what, id);
    for (int i = 2; !err && other && i < TRIES; i++) {
        err = id_by_text(mend, kind, slice_str(text), &other);
        if (!err && other)
            snprintf(text, sizeof text, "lost-%s-%" PRIu64 "-%d", what, id, i);
    }
    if (!err)
        err = put_both(mend, kind, id, slice_str(text));
    if (err)
        return err;
    mend->report->names_made++;
    mend_tell(mend,
              diag_fail(SOMBRA_CORRUPT, "the name of %s %" PRIu64 " is lost: it is now \"%s\"",
                        what, id, text));
    return SOMBRA_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

sombra_err mend_use_name(struct mend *mend, sombra_name_kind kind, uint64_t id)
{
    struct mend_names *names = &mend->names[kind];
    assert(kind >= SOMBRA_NAME_LABEL && kind <= SOMBRA_NAME_PROPERTY);
    if (id == 0 || id > MEND_NAMES_MAX)
        return diag_fail(SOMBRA_CORRUPT, "%" PRIu64 " is no %s", id, kind_texts[kind]);
    if (id >= names->capacity) {
        size_t capacity = size_max(64, (size_t)id * 2);
        struct buf *grown = mem_realloc(names->texts, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("names", capacity * sizeof *grown);
        for (size_t i = names->capacity; i < capacity; i++)
            grown[i] = (struct buf)BUF_INIT;
        names->texts = grown;
        names->capacity = capacity;
    }
    if (id > names->top)
        names->top = (uint32_t)id;
    return SOMBRA_OK;
}

void mend_names_release(struct mend *mend)
{
    for (unsigned kind = 1; kind < GRAPH_NAME_KINDS; kind++) {
        struct mend_names *names = &mend->names[kind];
        for (size_t i = 0; i < names->capacity; i++)
            buf_release(&names->texts[i]);
        mem_free(names->texts);
        *names = (struct mend_names){ 0 };
    }
}

static sombra_err load_by_id(struct mend *mend, sombra_slice key, sombra_slice text)
{
    struct key_fields f;
    sombra_err err = key_fields_read(key, 2, &f);
    if (err)
        return err;
    if (f.at[0] >= GRAPH_NAME_KINDS || !text_is_sound(text))
        return corrupt_key(key, "a name");
    err = mend_use_name(mend, (sombra_name_kind)f.at[0], f.at[1]);
    return err ? err : buf_set(&mend->names[f.at[0]].texts[f.at[1]], text);
}

/* An entry by text that the one by number contradicts is wrong: that is written for good. */
static sombra_err load_by_text(struct mend *mend, sombra_slice key, sombra_slice value)
{
    const uint8_t *at = key.data, *end;
    uint64_t id = 0;
    if (key.bytes < 3 || at[1] == 0 || at[1] >= GRAPH_NAME_KINDS ||
        !text_is_sound(slice_from(key, 2)))
        return corrupt_key(key, "kind and text of a name");
    unsigned kind = at[1];
    at = value.data;
    end = at + value.bytes;
    if (!at || varint_get(at, end, &id) != end)
        return corrupt_key(key, "of a name with a number");
    sombra_err err = mend_use_name(mend, (sombra_name_kind)kind, id);
    if (err)
        return err;
    struct buf *text = &mend->names[kind].texts[id];
    if (text->bytes == 0)
        return buf_set(text, slice_from(key, 2));
    if (slice_equal(buf_slice(text), slice_from(key, 2)))
        return SOMBRA_OK;
    return corrupt_key(key, "the text of its number");
}

sombra_err mend_names_load(struct mend *mend)
{
    struct graph_key by_id = key_begin(TAG_NAME_BY_ID), by_text = key_begin(TAG_NAME_BY_TEXT);
    sombra_err err = mend_walk(mend, &by_id, load_by_id);
    return err ? err : mend_walk(mend, &by_text, load_by_text);
}

static sombra_err name_save(struct mend *mend, unsigned kind, uint32_t id)
{
    sombra_slice text = buf_slice(&mend->names[kind].texts[id]);
    uint64_t other = 0;
    sombra_err err = SOMBRA_OK;
    if (text.bytes)
        err = id_by_text(mend, kind, text, &other);
    if (err)
        return err;
    /* Two numbers with one text: the one that is found by it keeps it. */
    return text.bytes == 0 || (other && other != id) ? put_made(mend, kind, id)
                                                     : put_both(mend, kind, id, text);
}

sombra_err mend_names_save(struct mend *mend)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned kind = 1; kind < GRAPH_NAME_KINDS; kind++) {
        for (uint32_t id = 1; !err && id <= mend->names[kind].top; id++)
            err = name_save(mend, kind, id);
    }
    return err ? err : mend_commit(mend, KV_OFF);
}

/* ---- buckets ----------------------------------------------------------------------------- */

static sombra_err bucket_by_name(struct mend *mend, sombra_slice key, sombra_slice value)
{
    const uint8_t *at = value.data, *end = at + value.bytes;
    sombra_slice text = slice_from(key, 1), name = { NULL, 0 };
    uint64_t id = 0;
    if (!text_is_sound(text) || !at || varint_get(at, end, &id) != end || id == 0 || id > INT64_MAX)
        return corrupt_key(key, "the name of a bucket with a number");
    struct graph_key by_id = id_key(0, id);
    sombra_err err = mend_get(mend, key_slice(&by_id), &name);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    if (err || !text_is_sound(name))
        return put_both(mend, 0, id, text);
    return slice_equal(name, text) ? SOMBRA_OK : corrupt_key(key, "the name of its number");
}

static sombra_err bucket_by_id(struct mend *mend, sombra_slice key, sombra_slice name)
{
    struct key_fields f;
    uint64_t other = 0;
    sombra_err err = key_fields_read(key, 1, &f);
    if (err)
        return err;
    if (f.at[0] > INT64_MAX || !text_is_sound(name))
        return corrupt_key(key, "a bucket with a name");
    mend->top_bucket = u64_max(mend->top_bucket, f.at[0]);
    err = id_by_text(mend, 0, name, &other);
    if (err)
        return err;
    return other && other != f.at[0] ? put_made(mend, 0, f.at[0])
                                     : put_both(mend, 0, f.at[0], name);
}

static sombra_err bucket_entry(struct mend *mend, sombra_slice key, sombra_slice value)
{
    uint64_t bucket = 0;
    sombra_key unused;
    const uint8_t *at = (const uint8_t *)key.data + 1;
    const uint8_t *end = (const uint8_t *)key.data + key.bytes;
    sombra_err err = SOMBRA_OK;
    bool has = true;
    at = ordered_read(at, end, &bucket);
    if (!at || bucket == 0 || bucket > INT64_MAX)
        return corrupt_key(key, "bucket, entry");
    err = entry_key_read(slice_of(at, (size_t)(end - at)), &unused);
    if (!err)
        err = diag_wrap(sombra_value_validate(value), "an entry of bucket %" PRIu64, bucket);
    if (!err && bucket != mend->bucket)
        err = mend_has(mend, id_key(0, bucket), &has);
    if (!err && !has)
        err = put_made(mend, 0, bucket);
    if (err)
        return err;
    mend->bucket = bucket;
    mend->top_bucket = u64_max(mend->top_bucket, bucket);
    return SOMBRA_OK;
}

sombra_err mend_buckets(struct mend *mend)
{
    struct graph_key by_id = key_begin(TAG_BUCKET), by_name = key_begin(TAG_BUCKET_BY_NAME);
    struct graph_key entries = key_begin(TAG_ENTRY);
    sombra_err err = mend_walk(mend, &by_name, bucket_by_name);
    if (!err)
        err = mend_walk(mend, &by_id, bucket_by_id);
    return err ? err : mend_walk(mend, &entries, bucket_entry);
}
