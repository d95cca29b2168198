/* SPDX-License-Identifier: MIT */
/* A merge of sources. Its inputs that stand on an entry are kept sorted by it, the newest first
 * where keys are equal: the first one is what the merge gives. After a step of the first, one
 * comparison tells whether it stays there; runs that follow each other, or one that dominates, cost
 * no more than that. Otherwise its new place is found by bisection.
 *
 * Inputs that stand on the key of the first, older ones by their place, are moved along only when
 * the merge leaves that key. So after a batch read the first input seldom has to move again, which
 * would end the life of the batch's bytes; where it must, they are copied before.
 *
 * Keys are compared by their first sixteen bytes as numbers, kept beside the input, and by the rest
 * only on a tie.
 *
 * A batch read gives what one input has before the next one's key. Where inputs interleave that is
 * an entry or two; then a batch is copied together, step by step, until one input gives many in a
 * row again.
 */
#include "lsm_internal.h"

enum {
    SHORT_READ = 4,    /* entries: batches below this are copied together */
    LONG_READ = 8,     /* entries of one input in a row: worth a read of its own */
    ROOM_BYTES = 16384 /* of what is copied together */
};

/* The first bytes of a key as numbers, zeros behind its end. */
struct merge_head {
    uint64_t first, second;
};
struct merge_input {
    struct source *source;
    struct merge_head head; /* of its entry's key, while it is in the order */
};

struct merge {
    struct source source;
    size_t count;
    size_t live;   /* inputs in the order: those not at their end */
    size_t hiding; /* inputs from this one on never hide; the last one's ranges are not counted */
    bool drops_deletes;
    struct kv_range within;     /* behind the inputs: no deletes are passed by outside of it */
    bool is_backward;           /* inputs stand on entries <= the position; else >= */
    bool is_written;            /* the newest input changes under the merge */
    bool interleaves;           /* reads were short lately */
    uint64_t deletes;           /* passed by */
    struct kv_metrics *metrics; /* for them, when it closes; NULL = nobody counts */

    /* The batch being read, while its bytes are those of an input. */
    const struct merge_input *lender;
    struct lsm_entry *lent;
    size_t lent_count;
    struct buf copies; /* of its bytes, when that input had to move */
    struct buf tables; /* pointers to those that its values out of line are in, referenced */

    struct merge_input **order;
    struct merge_input inputs[]; /* newest first */
};

static struct merge *merge_of(struct source *source)
{
    return container_of(source, struct merge, source);
}

/* ---- order ------------------------------------------------------------------------------- */

static inline struct merge_head key_head(sombra_slice key)
{
    const uint8_t *at = key.data;
    uint8_t head[sizeof(struct merge_head)] = { 0 };
    if (UNLIKELY(key.bytes < sizeof head)) {
        if (key.bytes)
            memcpy(head, at, key.bytes);
        at = head;
    }
    return (struct merge_head){ get_be64(at), get_be64(at + sizeof(uint64_t)) };
}

/* < 0, 0, > 0; 0 says nothing of the bytes behind. */
static inline int head_compare(struct merge_head a, struct merge_head b)
{
    if (a.first != b.first)
        return a.first < b.first ? -1 : 1;
    return (a.second > b.second) - (a.second < b.second);
}

static inline sombra_slice input_key(const struct merge_input *input)
{
    assert(input->source->is_valid);
    return input->source->entry.key;
}

static inline bool key_is_same(const struct merge_input *a, const struct merge_input *b)
{
    return a->head.second == b->head.second && a->head.first == b->head.first &&
           slice_equal(input_key(a), input_key(b));
}

/* Does `a` come before `b`? */
static inline bool precedes(const struct merge *merge, const struct merge_input *a,
                            const struct merge_input *b)
{
    int order = head_compare(a->head, b->head);
    if (UNLIKELY(order == 0))
        order = slice_compare(input_key(a), input_key(b));
    if (order != 0)
        return (order < 0) != merge->is_backward;
    return a < b;
}

static void order_take_out(struct merge *merge, size_t at)
{
    assert(at < merge->live);
    merge->live--;
    memmove(merge->order + at, merge->order + at + 1,
            (merge->live - at) * sizeof(struct merge_input *));
}

/* The input at `at` has moved on: it goes to its new place, or out. */
static void order_restore(struct merge *merge, size_t at)
{
    struct merge_input *input = merge->order[at];
    if (UNLIKELY(!input->source->is_valid)) {
        order_take_out(merge, at);
        return;
    }
    input->head = key_head(input_key(input));
    if (at + 1 == merge->live || precedes(merge, input, merge->order[at + 1]))
        return;
    size_t low = at + 2, high = merge->live; /* those before `low` precede it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (precedes(merge, input, merge->order[middle]))
            high = middle;
        else
            low = middle + 1;
    }
    memmove(merge->order + at, merge->order + at + 1,
            (low - 1 - at) * sizeof(struct merge_input *));
    merge->order[low - 1] = input;
}

/* From where all inputs stand now. */
static void order_make(struct merge *merge)
{
    merge->live = 0;
    for (size_t i = 0; i < merge->count; i++) {
        struct merge_input *input = &merge->inputs[i];
        if (!input->source->is_valid)
            continue;
        input->head = key_head(input_key(input));
        size_t at = merge->live++;
        for (; at > 0 && precedes(merge, input, merge->order[at - 1]); at--)
            merge->order[at] = merge->order[at - 1];
        merge->order[at] = input;
    }
}

/* ---- moves ------------------------------------------------------------------------------- */

/* Nothing is known of where the inputs stand: only a seek helps. */
static sombra_err merge_lose(struct merge *merge, sombra_err err)
{
    merge->live = 0;
    merge->lender = NULL;
    merge->source.is_valid = false;
    return err;
}

/* A new call: what the last one gave may go. */
static void lent_forget(struct merge *merge)
{
    merge->lender = NULL;
    for (size_t at = 0; UNLIKELY(at < merge->tables.bytes); at += sizeof(struct table *)) {
        struct table *table;
        memcpy(&table, merge->tables.data + at, sizeof table);
        table_unref(table);
    }
    buf_reset(&merge->tables);
}

/* A run keeps the tables of what it gave until it moves. */
static sombra_err lent_keep_tables(struct merge *merge)
{
    const struct table *last = NULL;
    for (size_t i = 0; i < merge->lent_count; i++) {
        struct table *table = merge->lent[i].table;
        if (!table || table == last)
            continue;
        sombra_err err = buf_append(&merge->tables, &table, sizeof table);
        if (err)
            return err;
        table_ref(table);
        last = table;
    }
    return SOMBRA_OK;
}

/* `input` is about to move: a batch that it lent must live on. */
static sombra_err lent_keep(struct merge *merge, const struct merge_input *input)
{
    if (LIKELY(merge->lender != input))
        return SOMBRA_OK;
    size_t bytes = 0;
    for (size_t i = 0; i < merge->lent_count; i++)
        bytes += merge->lent[i].key.bytes + merge->lent[i].value.bytes;
    uint8_t *to;
    buf_reset(&merge->copies);
    sombra_err err = buf_extend(&merge->copies, bytes, &to);
    if (!err)
        err = lent_keep_tables(merge);
    if (err)
        return err;
    for (size_t i = 0; i < merge->lent_count; i++) {
        sombra_slice *slices[] = { &merge->lent[i].key, &merge->lent[i].value };
        for (size_t j = 0; j < COUNT_OF(slices); j++) {
            if (slices[j]->bytes)
                memcpy(to, slices[j]->data, slices[j]->bytes);
            slices[j]->data = to;
            to += slices[j]->bytes;
        }
    }
    merge->lender = NULL;
    return SOMBRA_OK;
}

static sombra_err order_step(struct merge *merge, size_t at)
{
    struct merge_input *input = merge->order[at];
    sombra_err err = lent_keep(merge, input);
    if (!err)
        err = merge->is_backward ? input->source->ops->previous(input->source)
                                 : input->source->ops->next(input->source);
    if (!err)
        order_restore(merge, at);
    return err;
}

/* Older inputs that stand on the key of the first. */
static sombra_err equals_step(struct merge *merge)
{
    while (merge->live > 1 && UNLIKELY(key_is_same(merge->order[0], merge->order[1]))) {
        sombra_err err = order_step(merge, 1);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

/* Off the key of the first. */
static sombra_err step(struct merge *merge)
{
    assert(merge->live > 0);
    sombra_err err = equals_step(merge);
    return err ? err : order_step(merge, 0);
}

/* Is the key, of `input`, hidden by a newer one? The bounds are those of one range that does. */
static bool is_hidden(const struct merge *merge, const struct merge_input *input, sombra_slice key,
                      struct kv_range_bytes *out_range)
{
    size_t newer = size_min((size_t)(input - merge->inputs), merge->hiding);
    for (size_t i = 0; i < newer; i++) {
        struct source *source = merge->inputs[i].source;
        if (source->ops->hides &&
            source->ops->hides(source, key, &out_range->low, &out_range->high))
            return true;
    }
    return false;
}

/* Takes the first input over the hidden range; an open bound leads to its end. */
static sombra_err skip_hidden(struct merge *merge, const struct kv_range_bytes *range)
{
    struct merge_input *input = merge->order[0];
    sombra_slice to = merge->is_backward ? range->low : range->high;
    if (to.bytes == 0) {
        order_take_out(merge, 0);
        return SOMBRA_OK;
    }
    sombra_err err = lent_keep(merge, input);
    if (!err)
        err = merge->is_backward ? input->source->ops->seek_lt(input->source, to)
                                 : input->source->ops->seek_ge(input->source, to);
    if (!err)
        order_restore(merge, 0);
    return err;
}

/* Nothing that the merge is asked for is at the key or behind it. */
static bool is_behind(const struct merge *merge, sombra_slice key)
{
    sombra_slice low = merge->within.low, high = merge->within.high;
    return merge->is_backward ? low.bytes && slice_compare(key, low) < 0
                              : high.bytes && slice_compare(key, high) >= 0;
}

/* Moves on while what comes first is hidden or a delete that is dropped; then shows it. */
static sombra_err settle(struct merge *merge)
{
    while (LIKELY(merge->live > 0)) {
        struct merge_input *first = merge->order[0];
        struct kv_range_bytes range;
        sombra_err err;
        if (UNLIKELY(merge->hiding) && is_hidden(merge, first, input_key(first), &range)) {
            err = skip_hidden(merge, &range);
        } else if (merge->drops_deletes && first->source->entry.kind == ENTRY_DELETE) {
            if (is_behind(merge, input_key(first)))
                break;
            merge->deletes++;
            err = step(merge);
        } else {
            merge->source.entry = first->source->entry;
            merge->source.is_valid = true;
            return SOMBRA_OK;
        }
        if (err)
            return err;
    }
    merge->source.is_valid = false;
    return SOMBRA_OK;
}

static sombra_err seek_all(struct merge *merge, bool is_backward, sombra_slice key)
{
    lent_forget(merge);
    merge->is_backward = is_backward;
    for (size_t i = 0; i < merge->count; i++) {
        struct source *source = merge->inputs[i].source;
        sombra_err err =
            is_backward ? source->ops->seek_lt(source, key) : source->ops->seek_ge(source, key);
        if (err)
            return err;
    }
    order_make(merge);
    return SOMBRA_OK;
}

/* The others stand on the wrong side of the first one's key, which stays where it is. */
static sombra_err turn(struct merge *merge)
{
    const struct merge_input *first = merge->order[0];
    sombra_slice key = input_key(first);
    merge->is_backward = !merge->is_backward;
    for (size_t i = 0; i < merge->count; i++) {
        struct source *source = merge->inputs[i].source;
        if (&merge->inputs[i] == first)
            continue;
        sombra_err err = merge->is_backward ? source->ops->seek_lt(source, key)
                                            : source->ops->seek_ge(source, key);
        if (err)
            return err;
    }
    order_make(merge);
    if (merge->order[0] != first)
        return diag_fail(SOMBRA_CORRUPT, "entries of a table or a memtable are out of order");
    return SOMBRA_OK;
}

/* ---- the source -------------------------------------------------------------------------- */

/* From a position at or before `key`: inputs that stand at or behind it stay. What is written
 * meanwhile is in the newest alone. */
static sombra_err seek_on(struct merge *merge, sombra_slice key)
{
    struct merge_head head = key_head(key);
    lent_forget(merge);
    if (merge->is_written) {
        struct source *newest = merge->inputs[0].source;
        sombra_err err = newest->ops->seek_ge(newest, key);
        if (err)
            return err;
        order_make(merge);
    }
    while (merge->live > 0) {
        struct merge_input *first = merge->order[0];
        int order = head_compare(first->head, head);
        if (order > 0 || (order == 0 && slice_compare(input_key(first), key) >= 0))
            break;
        sombra_err err = first->source->ops->seek_ge(first->source, key);
        if (err)
            return err;
        order_restore(merge, 0);
    }
    return SOMBRA_OK;
}

static sombra_err merge_seek(struct merge *merge, bool is_backward, sombra_slice key)
{
    bool is_on = !is_backward && !merge->is_backward && merge->source.is_valid && key.bytes > 0 &&
                 slice_compare(merge->source.entry.key, key) <= 0;
    sombra_err err = is_on ? seek_on(merge, key) : seek_all(merge, is_backward, key);
    if (!err)
        err = settle(merge);
    return err ? merge_lose(merge, err) : SOMBRA_OK;
}

static sombra_err merge_seek_ge(struct source *source, sombra_slice key)
{
    return merge_seek(merge_of(source), false, key);
}

static sombra_err merge_seek_lt(struct source *source, sombra_slice key)
{
    return merge_seek(merge_of(source), true, key);
}

static sombra_err merge_move(struct merge *merge, bool is_backward)
{
    assert(merge->source.is_valid && merge->live > 0);
    lent_forget(merge);
    sombra_err err = merge->is_backward != is_backward ? turn(merge) : SOMBRA_OK;
    if (!err)
        err = step(merge);
    if (!err)
        err = settle(merge);
    return UNLIKELY(err) ? merge_lose(merge, err) : SOMBRA_OK;
}

static sombra_err merge_next(struct source *source)
{
    return merge_move(merge_of(source), false);
}

static sombra_err merge_previous(struct source *source)
{
    return merge_move(merge_of(source), true);
}

/* Takes out of a batch of `input` what the merge does not give; how many are left. */
static size_t batch_sift(const struct merge *merge, const struct merge_input *input,
                         struct lsm_entry *entries, size_t count)
{
    bool may_be_hidden = merge->hiding && input != merge->inputs;
    if (!may_be_hidden && !merge->drops_deletes)
        return count;
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        struct kv_range_bytes range;
        if (merge->drops_deletes && entries[i].kind == ENTRY_DELETE)
            continue;
        if (may_be_hidden && is_hidden(merge, input, entries[i].key, &range))
            continue;
        if (left != i)
            entries[left] = entries[i];
        left++;
    }
    return left;
}

/* What the first input has before the key of the second, and before `before`. */
static sombra_err batch_read(struct merge *merge, sombra_slice before, struct lsm_entry *entries,
                             size_t capacity, size_t *out_count)
{
    sombra_err err = equals_step(merge);
    if (err)
        return err;
    struct merge_input *first = merge->order[0];
    if (merge->live > 1) {
        sombra_slice second = input_key(merge->order[1]);
        if (before.bytes == 0 || slice_compare(second, before) < 0)
            before = second;
    }
    size_t count;
    err = first->source->ops->read(first->source, before, entries, capacity, &count);
    if (err)
        return err;
    assert(count > 0 && count <= capacity);
    bool is_short = count < SHORT_READ;
    count = batch_sift(merge, first, entries, count);
    merge->lender = count ? first : NULL;
    merge->lent = entries;
    merge->lent_count = count;
    order_restore(merge, 0);
    if (is_short && merge->live > 1 && merge->order[0] != first)
        merge->interleaves = true;
    *out_count = count;
    return settle(merge);
}

static bool copies_add(struct merge *merge, struct lsm_entry *to)
{
    const struct lsm_entry *entry = &merge->source.entry;
    uint8_t *at = merge->copies.data + merge->copies.bytes;
    size_t left = ROOM_BYTES - merge->copies.bytes;
    if (entry->kind == ENTRY_LARGE || entry->key.bytes > left ||
        entry->value.bytes > left - entry->key.bytes)
        return false;
    memcpy(at, entry->key.data, entry->key.bytes);
    if (entry->value.bytes)
        memcpy(at + entry->key.bytes, entry->value.data, entry->value.bytes);
    *to = (struct lsm_entry){ .key = slice_of(at, entry->key.bytes),
                              .value = slice_of(at + entry->key.bytes, entry->value.bytes),
                              .kind = entry->kind };
    merge->copies.bytes += entry->key.bytes + entry->value.bytes;
    return true;
}

/* A batch copied together from inputs that interleave. May give none: the entry is too large. */
static sombra_err batch_gather(struct merge *merge, sombra_slice before, struct lsm_entry *entries,
                               size_t capacity, size_t *out_count)
{
    const struct merge_input *last = NULL;
    size_t count = 0, in_a_row = 0;
    buf_reset(&merge->copies);
    sombra_err err = buf_reserve(&merge->copies, ROOM_BYTES);
    merge->lender = NULL;
    while (!err && count < capacity && merge->source.is_valid && merge->interleaves &&
           (before.bytes == 0 || slice_compare(merge->source.entry.key, before) < 0)) {
        if (!copies_add(merge, &entries[count]))
            break;
        count++;
        in_a_row = merge->order[0] == last ? in_a_row + 1 : 1;
        last = merge->order[0];
        merge->interleaves = merge->live > 1 && in_a_row < LONG_READ;
        err = step(merge);
        if (!err)
            err = settle(merge);
    }
    *out_count = count;
    return err;
}

static sombra_err merge_read(struct source *source, sombra_slice before, struct lsm_entry *entries,
                             size_t capacity, size_t *out_count)
{
    struct merge *merge = merge_of(source);
    assert(capacity > 0 && source->is_valid);
    size_t count = 0;
    lent_forget(merge);
    sombra_err err = merge->is_backward ? turn(merge) : SOMBRA_OK;
    if (!err && merge->interleaves)
        err = batch_gather(merge, before, entries, capacity, &count);
    while (!err && count == 0 && source->is_valid &&
           (before.bytes == 0 || slice_compare(source->entry.key, before) < 0))
        err = batch_read(merge, before, entries, capacity, &count);
    merge->lender = NULL;
    if (UNLIKELY(err))
        return merge_lose(merge, err);
    *out_count = count;
    return SOMBRA_OK;
}

/* The widest of the sources' ranges that have the key: hiding may begin before and go on behind. */
static bool merge_hides(struct source *source, sombra_slice key, sombra_slice *out_low,
                        sombra_slice *out_end)
{
    struct merge *merge = merge_of(source);
    bool hides = false;
    for (size_t i = 0; i < merge->count; i++) {
        struct source *input = merge->inputs[i].source;
        sombra_slice low, end;
        if (!input->ops->hides || !input->ops->hides(input, key, &low, &end))
            continue;
        if (!hides || slice_compare(low, *out_low) < 0)
            *out_low = low;
        if (!hides || end.bytes == 0 || (out_end->bytes && slice_compare(end, *out_end) > 0))
            *out_end = end;
        hides = true;
    }
    return hides;
}

static void merge_close(struct source *source)
{
    struct merge *merge = merge_of(source);
    for (size_t i = 0; i < merge->count; i++)
        source_close(merge->inputs[i].source);
    if (UNLIKELY(merge->deletes > 0) && merge->metrics)
        kv_metrics_add(merge->metrics, KV_COUNTER_DELETES_PASSED, merge->deletes);
    lent_forget(merge);
    buf_release(&merge->tables);
    buf_release(&merge->copies);
    mem_free(merge);
}

static const struct source_ops merge_ops = {
    .seek_ge = merge_seek_ge,
    .seek_lt = merge_seek_lt,
    .next = merge_next,
    .previous = merge_previous,
    .read = merge_read,
    .close = merge_close,
};

static const struct source_ops merge_hiding_ops = {
    .seek_ge = merge_seek_ge,
    .seek_lt = merge_seek_lt,
    .next = merge_next,
    .previous = merge_previous,
    .read = merge_read,
    .hides = merge_hides,
    .close = merge_close,
};

static sombra_slice bound_keep(uint8_t **at, sombra_slice bound)
{
    if (bound.bytes == 0)
        return slice_of(NULL, 0);
    memcpy(*at, bound.data, bound.bytes);
    *at += bound.bytes;
    return slice_of(*at - bound.bytes, bound.bytes);
}

sombra_err merge_open(struct source **sources, size_t count, bool drops_deletes,
                      struct kv_range within, struct source **out_source)
{
    if (count == 1 && !drops_deletes) {
        *out_source = sources[0];
        return SOMBRA_OK;
    }
    size_t bytes = sizeof(struct merge) +
                   count * (sizeof(struct merge_input) + sizeof(struct merge_input *)) +
                   within.low.bytes + within.high.bytes;
    struct merge *merge = mem_alloc(bytes);
    if (!merge) {
        for (size_t i = 0; i < count; i++)
            source_close(sources[i]);
        return diag_nomem("a merge of sources", bytes);
    }
    *merge = (struct merge){ .count = count, .drops_deletes = drops_deletes };
    merge->order = (struct merge_input **)(void *)&merge->inputs[count];
    uint8_t *at = (uint8_t *)&merge->order[count];
    merge->within.low = bound_keep(&at, within.low);
    merge->within.high = bound_keep(&at, within.high);
    bool hides = false;
    for (size_t i = 0; i < count; i++) {
        merge->inputs[i] = (struct merge_input){ .source = sources[i] };
        if (!sources[i]->ops->hides)
            continue;
        hides = true;
        if (i + 1 < count)
            merge->hiding = i + 1;
    }
    merge->source.ops = hides ? &merge_hiding_ops : &merge_ops;
    *out_source = &merge->source;
    return SOMBRA_OK;
}

void merge_count_deletes(struct source *source, struct kv_metrics *metrics)
{
    merge_of(source)->metrics = metrics;
}

void merge_follow_writes(struct source *source)
{
    merge_of(source)->is_written = true;
}

void merge_limit_hiding(struct source *source, size_t count)
{
    struct merge *merge = merge_of(source);
    assert(merge->drops_deletes && count <= merge->count);
    merge->hiding = size_min(merge->hiding, count);
}
